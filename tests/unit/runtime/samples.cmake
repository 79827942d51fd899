# SPDX-License-Identifier: Apache-2.0
#
# What the runtime's tests and its fuzz target need: fake plugins, each in a
# folder of its own below build/tests/plugins, and sample artifacts.

set(PTQC_FAKE_DIR ${CMAKE_BINARY_DIR}/tests/plugins)

function(ptqc_fake_plugin name)
  add_library(fake_${name} MODULE
    ${CMAKE_SOURCE_DIR}/tests/unit/runtime/fake_plugin.c)
  target_compile_definitions(fake_${name} PRIVATE FAKE_NAME="${name}" ${ARGN})
  set_target_properties(fake_${name} PROPERTIES PREFIX "" OUTPUT_NAME ${name}
    LIBRARY_OUTPUT_DIRECTORY ${PTQC_FAKE_DIR}/${name})
  file(WRITE ${PTQC_FAKE_DIR}/${name}/${name}.ptqc.json
    "{\"manifest\": 1, \"name\": \"${name}\", \"version\": \"0.1\","
    " \"library\": \"${name}.so\"}\n")
endfunction()

ptqc_fake_plugin(fake)
if(PTQC_TESTS)
  ptqc_fake_plugin(skew FAKE_ABI=77)
  ptqc_fake_plugin(hollow FAKE_NO_SUBMIT)
  ptqc_fake_plugin(mute FAKE_NO_QUERY)
  ptqc_fake_plugin(far FAKE_FAR)
  ptqc_fake_plugin(farther FAKE_FAR)
  ptqc_fake_plugin(handless FAKE_FAR FAKE_NO_BUFFERS)
  add_library(pq_runtime_samples STATIC
    ${CMAKE_SOURCE_DIR}/tests/unit/runtime/sample.c)
  target_link_libraries(pq_runtime_samples PUBLIC pq_runtime cmocka)
  target_compile_definitions(pq_runtime_samples PUBLIC
    PTQC_FAKE_DIR="${PTQC_FAKE_DIR}")
  add_dependencies(pq_runtime_samples fake_fake fake_skew fake_hollow fake_mute
    fake_far fake_farther fake_handless)
endif()
