# SPDX-License-Identifier: Apache-2.0
# What is shipped: libptqc (everything), libptqc_rt (runtime only), the ptqc
# command, ptqc-conform, headers, the SDK for vendors, examples.

# ptqc_library(name version-script-free list of modules): a shared library
# that exports the public API of its modules and nothing else.
function(ptqc_library target output)
  add_library(${target} SHARED ${CMAKE_SOURCE_DIR}/cmake/empty.c)
  set_target_properties(${target} PROPERTIES OUTPUT_NAME ${output}
    VERSION ${PROJECT_VERSION} SOVERSION ${PROJECT_VERSION_MAJOR}
    BUILD_RPATH "$ORIGIN" INSTALL_RPATH "$ORIGIN")
  set(map ${CMAKE_BINARY_DIR}/${output}.map)
  file(WRITE ${map} "{ global: ptqc_*; local: *; };\n")
  target_link_options(${target} PRIVATE -Wl,--version-script=${map}
    -Wl,-z,now -Wl,-z,relro -Wl,--gc-sections)
  foreach(module ${ARGN})
    target_link_libraries(${target} PRIVATE
      -Wl,--whole-archive $<TARGET_FILE:pq_${module}> -Wl,--no-whole-archive)
    add_dependencies(${target} pq_${module})
  endforeach()
  target_link_libraries(${target} PRIVATE PkgConfig::JANSSON PkgConfig::XXHASH
    PkgConfig::CRYPTO PkgConfig::UTF8PROC PkgConfig::PCRE2 Threads::Threads ${CMAKE_DL_LIBS} m)
  target_include_directories(${target} INTERFACE
    $<BUILD_INTERFACE:${CMAKE_SOURCE_DIR}/include>
    $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)
endfunction()

ptqc_library(ptqc_rt ptqc_rt base tokenizer runtime)
ptqc_library(ptqc ptqc base quant tokenizer ir frontend passes runtime compiler)
target_link_libraries(ptqc PRIVATE PkgConfig::YAML)

file(GLOB ptqc_cli_sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/cli/*.c)
if(ptqc_cli_sources)
  list(REMOVE_ITEM ptqc_cli_sources ${CMAKE_SOURCE_DIR}/cli/main.c)
  # The command without main, so that tests and fuzzers can link its readers.
  add_library(pq_cli STATIC ${ptqc_cli_sources})
  target_link_libraries(pq_cli PUBLIC ptqc PkgConfig::PNG PkgConfig::JPEG PkgConfig::ZLIB
    PkgConfig::JANSSON m)
  add_executable(ptqc_command ${CMAKE_SOURCE_DIR}/cli/main.c)
  set_target_properties(ptqc_command PROPERTIES OUTPUT_NAME ptqc
    BUILD_RPATH "$ORIGIN/../lib"
    INSTALL_RPATH "$ORIGIN/../${CMAKE_INSTALL_LIBDIR}")
  target_link_libraries(ptqc_command PRIVATE pq_cli)
  install(TARGETS ptqc_command RUNTIME)
  ptqc_tests(cli USES pq_cli)
  if(TARGET cli_test_run)
    target_compile_definitions(cli_test_run PRIVATE PTQC_COMMAND="$<TARGET_FILE:ptqc_command>")
    add_dependencies(cli_test_run ptqc_command)
  endif()
  if(PTQC_TESTS)
    foreach(test demo_model demo_lm compile_output recipes calibration calibrate_lm
        resume_lm resume_cnn)
      add_test(NAME e2e_${test}
        COMMAND ${CMAKE_SOURCE_DIR}/tests/e2e/${test}.sh $<TARGET_FILE:ptqc_command>
        WORKING_DIRECTORY ${CMAKE_SOURCE_DIR})
    endforeach()
    if(TARGET fake_vulkan)
      add_test(NAME e2e_vulkan_device
        COMMAND ${CMAKE_SOURCE_DIR}/tests/e2e/vulkan_device.sh
          $<TARGET_FILE:ptqc_command> ${PTQC_FAKE_VULKAN_DIR}
        WORKING_DIRECTORY ${CMAKE_SOURCE_DIR})
      set_tests_properties(e2e_vulkan_device PROPERTIES SKIP_RETURN_CODE 77)
      if(PTQC_SANITIZE) # what drivers keep: backends/vulkan/vulkan.cmake
        set_tests_properties(e2e_vulkan_device PROPERTIES
          ENVIRONMENT "ASAN_OPTIONS=detect_leaks=0")
      endif()
    endif()
  endif()
endif()

# Developer programs.
if(EXISTS ${CMAKE_SOURCE_DIR}/tools/ptqc_opt.c)
  add_executable(ptqc-opt ${CMAKE_SOURCE_DIR}/tools/ptqc_opt.c)
  target_link_libraries(ptqc-opt PRIVATE pq_compiler)
endif()

# The conformance kit.
file(GLOB ptqc_conform_sources CONFIGURE_DEPENDS
  ${CMAKE_SOURCE_DIR}/tools/conform/*.c)
if(ptqc_conform_sources)
  add_executable(ptqc-conform ${ptqc_conform_sources})
  target_link_libraries(ptqc-conform PRIVATE pq_compiler)
  install(TARGETS ptqc-conform RUNTIME)
  if(PTQC_TESTS)
    include(${CMAKE_SOURCE_DIR}/tests/conform/conform.cmake)
  endif()
endif()

# Benchmarks: every bench/bench_*.c is a program of its own.
if(PTQC_BENCH)
  file(GLOB ptqc_bench_sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/bench/bench_*.c)
  foreach(source ${ptqc_bench_sources})
    get_filename_component(stem ${source} NAME_WE)
    add_executable(${stem} ${source})
    set_target_properties(${stem} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/bench)
    if(stem STREQUAL "bench_linalg")
      target_link_libraries(${stem} PRIVATE pq_quant m)
    else()
      target_link_libraries(${stem} PRIVATE pq_cpu pq_llvm_shared pq_base m)
    endif()
    if(stem STREQUAL "bench_gpu_kernels")
      target_sources(${stem} PRIVATE ${CMAKE_SOURCE_DIR}/tests/support/gpu.c)
      target_link_libraries(${stem} PRIVATE ptqc)
      target_compile_definitions(${stem} PRIVATE
        PTQC_PLUGIN_DIR="${PTQC_PLUGIN_OUTPUT_DIR}"
        PTQC_DEMO_LM="${CMAKE_SOURCE_DIR}/examples/models/bible_lm")
      if(TARGET ptqc_backend_vulkan)
        add_dependencies(${stem} ptqc_backend_vulkan ptqc_backend_cpu)
      endif()
    endif()
  endforeach()
endif()

# Fuzz targets: tests/fuzz/fuzz_*.c.
if(PTQC_FUZZ)
  file(GLOB ptqc_fuzz_sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/tests/fuzz/fuzz_*.c)
  foreach(source ${ptqc_fuzz_sources})
    get_filename_component(stem ${source} NAME_WE)
    add_executable(${stem} ${source})
    set_target_properties(${stem} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/fuzz)
    target_link_options(${stem} PRIVATE -fsanitize=fuzzer)
    target_link_libraries(${stem} PRIVATE pq_compiler)
    if(TARGET pq_cli)
      target_link_libraries(${stem} PRIVATE pq_cli)
    endif()
  endforeach()
  if(TARGET fuzz_artifact)
    target_compile_definitions(fuzz_artifact PRIVATE
      PTQC_FAKE_DIR="${PTQC_FAKE_DIR}")
    add_dependencies(fuzz_artifact fake_fake)
  endif()
endif()

# ---- installation ----------------------------------------------------------

install(TARGETS ptqc ptqc_rt EXPORT ptqcTargets LIBRARY)
install(DIRECTORY ${CMAKE_SOURCE_DIR}/include/ptqc DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
install(EXPORT ptqcTargets NAMESPACE ptqc:: DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/ptqc)
include(CMakePackageConfigHelpers)
configure_package_config_file(${CMAKE_SOURCE_DIR}/cmake/ptqcConfig.cmake.in
  ${CMAKE_BINARY_DIR}/ptqcConfig.cmake
  INSTALL_DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/ptqc)
write_basic_package_version_file(${CMAKE_BINARY_DIR}/ptqcConfigVersion.cmake
  COMPATIBILITY SameMinorVersion)
install(FILES ${CMAKE_BINARY_DIR}/ptqcConfig.cmake ${CMAKE_BINARY_DIR}/ptqcConfigVersion.cmake
  ${CMAKE_SOURCE_DIR}/cmake/ptqcPlugin.cmake
  DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/ptqc)
file(RELATIVE_PATH PTQC_PC_TO_PREFIX
  ${CMAKE_INSTALL_FULL_LIBDIR}/pkgconfig ${CMAKE_INSTALL_PREFIX})
foreach(name ptqc ptqc_rt ptqc_sdk)
  set(PTQC_PC_NAME ${name})
  configure_file(${CMAKE_SOURCE_DIR}/cmake/ptqc.pc.in ${CMAKE_BINARY_DIR}/${name}.pc @ONLY)
  install(FILES ${CMAKE_BINARY_DIR}/${name}.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
endforeach()
install(FILES ${CMAKE_SOURCE_DIR}/LICENSE DESTINATION ${CMAKE_INSTALL_DOCDIR})
