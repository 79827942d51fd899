# SPDX-License-Identifier: Apache-2.0
#
# The conformance kit on the plugins of the house, and on plugins that break
# the contract in one way each: the kit must name it.

foreach(name null ref cpu)
  add_test(NAME conform_${name}
    COMMAND ptqc-conform $<TARGET_FILE:ptqc_backend_${name}>)
endforeach()

# Every trial is compiled by shaderc and by the driver: in parts, with a cache.
# Under sanitizers a rule has as many trials as it takes to see every case and
# every choice of types once, and no more.
if(TARGET ptqc_backend_vulkan)
  set(ptqc_conform_samples 16)
  if(PTQC_SANITIZE)
    set(ptqc_conform_samples 1)
  endif()
  foreach(part RANGE 1 4)
    add_test(NAME conform_vulkan_${part}
      COMMAND ptqc-conform $<TARGET_FILE:ptqc_backend_vulkan> --part ${part}/4
        --samples ${ptqc_conform_samples}
        --cache-dir ${CMAKE_BINARY_DIR}/tests/conform_cache)
  endforeach()
endif()

# ptqc_evil(number text): EVIL=number of evil.c is found out with this text.
function(ptqc_evil number text)
  set(target evil_${number})
  set(map ${CMAKE_BINARY_DIR}/tests/plugins/evil.map)
  file(WRITE ${map} "{ global: ptqc_plugin_query_v0; evil_second_export;"
    " local: *; };\n")
  add_library(${target} MODULE ${CMAKE_SOURCE_DIR}/tests/conform/evil.c)
  target_compile_definitions(${target} PRIVATE EVIL=${number})
  target_compile_options(${target} PRIVATE -frounding-math)
  set_target_properties(${target} PROPERTIES PREFIX ""
    LIBRARY_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests/plugins/evil)
  target_link_libraries(${target} PRIVATE pq_sdk m)
  target_link_options(${target} PRIVATE -Wl,--version-script=${map}
    -Wl,-z,now -Wl,-z,relro)
  add_test(NAME conform_evil_${number}
    COMMAND ptqc-conform $<TARGET_FILE:${target}> --timeout 2)
  set_tests_properties(conform_evil_${number} PROPERTIES
    PASS_REGULAR_EXPRESSION ${text})
endfunction()

ptqc_evil(0 "7 passed, 0 failed, 0 unsupported, 0 warnings")
ptqc_evil(1 "FAIL [^\n]*the interpreter has")
ptqc_evil(2 "FAIL [^\n]*writes outside a buffer")
ptqc_evil(3 "FAIL [^\n]*writes outside the workspace")
ptqc_evil(4 "FAIL [^\n]*changes an input")
ptqc_evil(5 "FAIL [^\n]*ends the process .signal 6")
ptqc_evil(6 "FAIL [^\n]*does not come to an end")
ptqc_evil(7 "FAIL [^\n]*changes signal handlers")
ptqc_evil(8 "FAIL [^\n]*(MXCSR|x87)")
ptqc_evil(9 "FAIL [^\n]*bytes of the host are not given back")
ptqc_evil(10 "FAIL [^\n]*flipped bit at [0-9]+ is not refused")
ptqc_evil(11 "FAIL [^\n]*compiling again gives other bytes")
ptqc_evil(12 "FAIL [^\n]*the rule admits it, check says")
ptqc_evil(13 "FAIL [^\n]*check accepts, compile fails")
ptqc_evil(14 "FAIL [^\n]*the rule admits it, check says")
ptqc_evil(15 "FAIL [^\n]*check declines [^\n]*compile gives status 0")
ptqc_evil(16 "FAIL [^\n]*changes working directory")
ptqc_evil(17 "FAIL [^\n]*exports more than")
ptqc_evil(18 "FAIL [^\n]*the interpreter has")
ptqc_evil(19 "FAIL [^\n]*unknown op 'conjure'")
ptqc_evil(20 "FAIL [^\n]*ends the process")
