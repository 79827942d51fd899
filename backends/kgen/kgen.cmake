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
install(FILES ${ptqc_kgen_headers}
        DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/ptqc/sdk/kgen)

ptqc_tests(backends/kgen USES pq_sdk pq_ir)
