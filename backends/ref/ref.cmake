# SPDX-License-Identifier: Apache-2.0
#
# The ref plugin: the interpreter of ir/ behind the plugin table, linked in
# statically and hidden.

file(GLOB ptqc_ref_sources CONFIGURE_DEPENDS
     ${CMAKE_SOURCE_DIR}/backends/ref/*.c)
# For the plugin and for its unit tests.
add_library(pq_ref STATIC ${ptqc_ref_sources})
target_compile_definitions(pq_ref PRIVATE
  PTQC_PLUGIN_VERSION="${PROJECT_VERSION}")
target_link_libraries(pq_ref PUBLIC pq_ir pq_sdk m)

ptqc_plugin(ref ${CMAKE_SOURCE_DIR}/backends/ref/plugin.c USES pq_ref)
target_compile_definitions(ptqc_backend_ref PRIVATE
  PTQC_PLUGIN_VERSION="${PROJECT_VERSION}")

ptqc_tests(backends/ref USES pq_ref pq_ir)
