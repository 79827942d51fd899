# SPDX-License-Identifier: Apache-2.0
#
# The cpu plugin. LLVM 19 comes in statically and hidden (PTQC_LLVM=static,
# the only variant that is safe beside the LLVM of GPU drivers) or as the
# system's shared library. Without LLVM the plugin is left out.

find_program(PTQC_LLVM_CONFIG NAMES llvm-config-19
             HINTS /usr/lib/llvm-19/bin)
if(NOT PTQC_LLVM_CONFIG)
  message(WARNING "llvm-config-19 not found: no cpu plugin")
  return()
endif()

function(ptqc_llvm_ask out)
  execute_process(COMMAND ${PTQC_LLVM_CONFIG} ${ARGN}
    OUTPUT_VARIABLE text OUTPUT_STRIP_TRAILING_WHITESPACE
    COMMAND_ERROR_IS_FATAL ANY)
  separate_arguments(text)
  set(${out} ${text} PARENT_SCOPE)
endfunction()

set(ptqc_llvm_components core mc x86 aarch64)
ptqc_llvm_ask(ptqc_llvm_includes --includedir)
ptqc_llvm_ask(ptqc_llvm_libdir --libdir)
ptqc_llvm_ask(ptqc_llvm_static --link-static --libs
              core mc x86codegen x86desc x86info
              aarch64codegen aarch64desc aarch64info)

add_library(pq_llvm_shared INTERFACE)
target_link_options(pq_llvm_shared INTERFACE -L${ptqc_llvm_libdir})
target_link_libraries(pq_llvm_shared INTERFACE LLVM-19)
if(PTQC_LLVM STREQUAL "shared")
  add_library(pq_llvm ALIAS pq_llvm_shared)
else()
  # -lzstd without libzstd-dev: name the library file itself.
  find_library(PTQC_ZSTD NAMES zstd libzstd.so.1 REQUIRED)
  add_library(pq_llvm INTERFACE)
  target_link_options(pq_llvm INTERFACE -L${ptqc_llvm_libdir})
  target_link_libraries(pq_llvm INTERFACE ${ptqc_llvm_static}
    rt dl m z ${PTQC_ZSTD} stdc++)
endif()

file(GLOB ptqc_cpu_sources CONFIGURE_DEPENDS
     ${CMAKE_SOURCE_DIR}/backends/cpu/*.c)
# Everything but LLVM, for the plugin and for its unit tests.
add_library(pq_cpu STATIC ${ptqc_cpu_sources})
target_include_directories(pq_cpu SYSTEM PUBLIC ${ptqc_llvm_includes})
target_compile_options(pq_cpu PRIVATE -ffunction-sections -fdata-sections)
target_compile_definitions(pq_cpu PRIVATE
  PTQC_PLUGIN_VERSION="${PROJECT_VERSION}")
target_link_libraries(pq_cpu PUBLIC pq_sdk m)

if(EXISTS ${CMAKE_SOURCE_DIR}/backends/cpu/plugin.c)
ptqc_plugin(cpu ${CMAKE_SOURCE_DIR}/backends/cpu/plugin.c
            USES pq_cpu pq_llvm LINK_POOL llvm_link)
target_compile_definitions(ptqc_backend_cpu PRIVATE
  PTQC_PLUGIN_VERSION="${PROJECT_VERSION}")
endif()

# Tests use the shared LLVM: small, quick to link.
ptqc_tests(backends/cpu USES pq_cpu pq_llvm_shared pq_ir)
