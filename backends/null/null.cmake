# SPDX-License-Identifier: Apache-2.0
#
# The null plugin: the template for new backends.

ptqc_plugin(null ${CMAKE_SOURCE_DIR}/backends/null/plugin.c)
target_compile_definitions(ptqc_backend_null PRIVATE
  PTQC_PLUGIN_VERSION="${PROJECT_VERSION}")
