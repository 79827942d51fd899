# SPDX-License-Identifier: Apache-2.0
#
# The ref plugin: the interpreter of ir/ behind the plugin table, linked in
# statically and hidden.

file(GLOB ptqc_ref_sources CONFIGURE_DEPENDS
     ${CMAKE_SOURCE_DIR}/backends/ref/*.c)
ptqc_plugin(ref ${ptqc_ref_sources} USES pq_ir)
target_compile_definitions(ptqc_backend_ref PRIVATE
  PTQC_PLUGIN_VERSION="${PROJECT_VERSION}")
