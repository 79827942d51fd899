# SPDX-License-Identifier: Apache-2.0

# ptqc_tests(folder [USES lib...]): every tests/unit/<folder>/test_*.c is one
# cmocka program, run with the source folder as working directory.
function(ptqc_tests folder)
  if(NOT PTQC_TESTS)
    return()
  endif()
  cmake_parse_arguments(T "" "" "USES" ${ARGN})
  file(GLOB sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/tests/unit/${folder}/test_*.c)
  foreach(source ${sources})
    get_filename_component(stem ${source} NAME_WE)
    string(REPLACE "/" "_" prefix ${folder})
    set(target ${prefix}_${stem})
    add_executable(${target} ${source})
    set_target_properties(${target} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests)
    target_link_libraries(${target} PRIVATE ${T_USES} pq_test_support cmocka m)
    add_test(NAME ${target} COMMAND ${target} WORKING_DIRECTORY ${CMAKE_SOURCE_DIR})
  endforeach()
endfunction()
