# SPDX-License-Identifier: Apache-2.0
#
# What backends share (lowering, programs, kernels as text): part of the SDK's
# library, its headers below ptqc/sdk/kgen/.

file(GLOB ptqc_kgen_sources CONFIGURE_DEPENDS
     ${CMAKE_SOURCE_DIR}/backends/kgen/*.c)
file(GLOB ptqc_kgen_headers CONFIGURE_DEPENDS
     ${CMAKE_SOURCE_DIR}/backends/kgen/*.h
     ${CMAKE_SOURCE_DIR}/backends/kgen/*.def)
target_sources(pq_sdk PRIVATE ${ptqc_kgen_sources})

# Texts of kernels, as C arrays.
file(GLOB ptqc_kgen_skeletons CONFIGURE_DEPENDS
     ${CMAKE_SOURCE_DIR}/backends/kgen/skeletons/*.kg)
string(REPLACE ";" "," ptqc_kgen_list "${ptqc_kgen_skeletons}")
set(ptqc_kgen_embedded ${CMAKE_BINARY_DIR}/kgen_skeletons.c)
add_custom_command(OUTPUT ${ptqc_kgen_embedded}
  COMMAND ${CMAKE_COMMAND} -DOUT=${ptqc_kgen_embedded}
          -DFILES=${ptqc_kgen_list}
          -P ${CMAKE_SOURCE_DIR}/backends/kgen/embed.cmake
  DEPENDS ${ptqc_kgen_skeletons} ${CMAKE_SOURCE_DIR}/backends/kgen/embed.cmake
  VERBATIM)
target_sources(pq_sdk PRIVATE ${ptqc_kgen_embedded})
set_source_files_properties(${ptqc_kgen_embedded} PROPERTIES
  INCLUDE_DIRECTORIES ${CMAKE_SOURCE_DIR}/backends/kgen)

install(FILES ${ptqc_kgen_headers}
        DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/ptqc/sdk/kgen)

ptqc_tests(backends/kgen USES pq_sdk pq_ir)

# Rows again with subgroups of 16 items (lavapipe's are as wide as its vectors;
# other drivers ignore it).
if(PTQC_TESTS)
  add_test(NAME backends_kgen_test_kernel_row_wide
    COMMAND backends_kgen_test_kernel_row
    WORKING_DIRECTORY ${CMAKE_SOURCE_DIR})
  set_tests_properties(backends_kgen_test_kernel_row_wide PROPERTIES
    ENVIRONMENT "LP_NATIVE_VECTOR_WIDTH=512")
endif()
