# SPDX-License-Identifier: Apache-2.0
#
# For vendors, after find_package(ptqc):
#
#   ptqc_add_plugin(NAME VENDOR "..." VERSION "..." SOURCES file...)
#
# builds NAME.so as the contract wants it (one exported symbol, hardened, no
# symbol left to the process) and writes its manifest NAME.ptqc.json beside
# it. `ptqc --backend-path DIR` then finds it in that folder.

function(ptqc_add_plugin name)
  cmake_parse_arguments(P "" "VENDOR;VERSION" "SOURCES" ${ARGN})
  set(map ${CMAKE_CURRENT_BINARY_DIR}/${name}.map)
  file(WRITE ${map} "{ global: ptqc_plugin_query_v0; local: *; };\n")
  add_library(${name} MODULE ${P_SOURCES})
  set_target_properties(${name} PROPERTIES PREFIX "" LINK_DEPENDS ${map}
    C_VISIBILITY_PRESET hidden CXX_VISIBILITY_PRESET hidden
    VISIBILITY_INLINES_HIDDEN ON)
  target_link_libraries(${name} PRIVATE ptqc::sdk)
  target_link_options(${name} PRIVATE
    -Wl,--version-script=${map} -Wl,--exclude-libs,ALL -Wl,-Bsymbolic
    -Wl,--gc-sections -Wl,-z,defs -Wl,-z,now -Wl,-z,relro)
  string(TOLOWER ${CMAKE_SYSTEM_PROCESSOR} arch)
  string(REPLACE "x86_64" "amd64" arch ${arch})
  file(GENERATE OUTPUT "$<TARGET_FILE_DIR:${name}>/${name}.ptqc.json" CONTENT
"{
  \"manifest\": 1,
  \"name\": \"${name}\",
  \"vendor\": \"${P_VENDOR}\",
  \"version\": \"${P_VERSION}\",
  \"abi\": 2,
  \"library\": \"${name}.so\",
  \"platform\": \"linux_${arch}\"
}
")
endfunction()
