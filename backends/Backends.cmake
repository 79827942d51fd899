# SPDX-License-Identifier: Apache-2.0
#
# How plugins are built: one shared object per plugin with a single exported
# symbol, everything else (LLVM too) linked in and hidden, and its manifest
# beside it, which the loader reads before it opens the library.

set(PTQC_PLUGIN_OUTPUT_DIR ${CMAKE_BINARY_DIR}/lib/ptqc/backends)
string(TOLOWER ${CMAKE_SYSTEM_PROCESSOR} ptqc_arch)
string(REPLACE "x86_64" "amd64" ptqc_arch ${ptqc_arch})
set(PTQC_PLATFORM linux_${ptqc_arch})

# The parts of base/ that plugins may use and backends/kgen/ (kgen.cmake): the
# SDK, installed as libptqc_sdk.a (target ptqc::sdk) with its headers below
# ptqc/sdk/.
file(GLOB ptqc_sdk_sources CONFIGURE_DEPENDS
  ${CMAKE_SOURCE_DIR}/base/graph_block.c
  ${CMAKE_SOURCE_DIR}/base/float16.c
  ${CMAKE_SOURCE_DIR}/base/narrow.c)
if(ptqc_sdk_sources)
  add_library(pq_sdk STATIC ${ptqc_sdk_sources})
  target_compile_options(pq_sdk PRIVATE -ffunction-sections -fdata-sections)
  set_target_properties(pq_sdk PROPERTIES OUTPUT_NAME ptqc_sdk EXPORT_NAME sdk)
  target_include_directories(pq_sdk INTERFACE
    $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)
  install(TARGETS pq_sdk EXPORT ptqcTargets ARCHIVE)
  install(FILES ${CMAKE_SOURCE_DIR}/base/bits.h
    ${CMAKE_SOURCE_DIR}/base/checked.h ${CMAKE_SOURCE_DIR}/base/float16.h
    ${CMAKE_SOURCE_DIR}/base/narrow.h
    DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/ptqc/sdk)
else()
  add_library(pq_sdk INTERFACE)
endif()

# ptqc_plugin(NAME source... [USES lib...] [LINK_POOL pool])
# -> target ptqc_backend_NAME, lib/ptqc/backends/NAME.so and NAME.ptqc.json
function(ptqc_plugin name)
  cmake_parse_arguments(P "" "LINK_POOL" "USES" ${ARGN})
  set(target ptqc_backend_${name})
  set(map ${CMAKE_CURRENT_BINARY_DIR}/${name}.map)
  file(WRITE ${map} "{ global: ptqc_plugin_query_v0; local: *; };\n")
  add_library(${target} MODULE ${P_UNPARSED_ARGUMENTS})
  set_target_properties(${target} PROPERTIES
    PREFIX "" OUTPUT_NAME ${name} LINK_DEPENDS ${map}
    LIBRARY_OUTPUT_DIRECTORY ${PTQC_PLUGIN_OUTPUT_DIR})
  if(P_LINK_POOL)
    set_property(TARGET ${target} PROPERTY JOB_POOL_LINK ${P_LINK_POOL})
  endif()
  target_compile_options(${target} PRIVATE -ffunction-sections -fdata-sections)
  target_link_libraries(${target} PRIVATE ${P_USES} pq_sdk m)
  target_link_options(${target} PRIVATE
    -Wl,--version-script=${map} -Wl,--exclude-libs,ALL -Wl,-Bsymbolic
    -Wl,--gc-sections -Wl,-z,now -Wl,-z,relro -Wl,--as-needed)
  if(NOT PTQC_SANITIZE)
    target_link_options(${target} PRIVATE -Wl,-z,defs)
  endif()
  set(PTQC_PLUGIN_NAME ${name})
  configure_file(${CMAKE_SOURCE_DIR}/backends/manifest.json.in
                 ${PTQC_PLUGIN_OUTPUT_DIR}/${name}.ptqc.json @ONLY)
  install(TARGETS ${target}
          LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR}/ptqc/backends)
  install(FILES ${PTQC_PLUGIN_OUTPUT_DIR}/${name}.ptqc.json
          DESTINATION ${CMAKE_INSTALL_LIBDIR}/ptqc/backends)
endfunction()

# Every backend folder may bring its own part.
file(GLOB ptqc_backend_parts CONFIGURE_DEPENDS
  ${CMAKE_SOURCE_DIR}/backends/*/*.cmake)
foreach(part ${ptqc_backend_parts})
  include(${part})
endforeach()
