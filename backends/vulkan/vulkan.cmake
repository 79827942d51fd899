# SPDX-License-Identifier: Apache-2.0
#
# The vulkan plugin. The Vulkan loader is opened at run time; what is needed
# to build are headers and, linked in and hidden, the static libraries that
# make SPIR-V of GLSL. (Debian 12's shared libshaderc lacks symbols.) Without
# them the plugin is left out.

find_path(PTQC_VULKAN_INCLUDE vulkan/vulkan_core.h)
find_path(PTQC_SHADERC_INCLUDE shaderc/shaderc.h)
find_path(PTQC_SPIRV_TOOLS_INCLUDE spirv-tools/libspirv.h)
set(ptqc_shaderc_archives)
foreach(name shaderc_combined glslang MachineIndependent GenericCodeGen
        OSDependent OGLCompiler HLSL SPIRV SPIRV-Tools-opt SPIRV-Tools)
  find_library(PTQC_STATIC_${name} lib${name}.a)
  list(APPEND ptqc_shaderc_archives ${PTQC_STATIC_${name}})
endforeach()

set(ptqc_vulkan_missing)
foreach(need PTQC_VULKAN_INCLUDE PTQC_SHADERC_INCLUDE PTQC_SPIRV_TOOLS_INCLUDE
        PTQC_STATIC_shaderc_combined PTQC_STATIC_glslang PTQC_STATIC_SPIRV
        PTQC_STATIC_SPIRV-Tools)
  if(NOT ${need})
    list(APPEND ptqc_vulkan_missing ${need})
  endif()
endforeach()
if(ptqc_vulkan_missing)
  list(FILTER ptqc_shaderc_archives EXCLUDE REGEX NOTFOUND)
  message(WARNING "no vulkan plugin: ${ptqc_vulkan_missing} not found "
    "(Debian: libvulkan-dev libshaderc-dev glslang-dev spirv-tools)")
  return()
endif()
list(FILTER ptqc_shaderc_archives EXCLUDE REGEX NOTFOUND)

# For cache keys and messages; from the package where it says it.
pkg_check_modules(PTQC_SHADERC QUIET shaderc_combined)
if(NOT PTQC_SHADERC_VERSION)
  set(PTQC_SHADERC_VERSION unknown)
endif()

add_library(pq_shaderc INTERFACE)
target_link_libraries(pq_shaderc INTERFACE
  -Wl,--start-group ${ptqc_shaderc_archives} -Wl,--end-group stdc++ m)

file(GLOB ptqc_vulkan_sources CONFIGURE_DEPENDS
     ${CMAKE_SOURCE_DIR}/backends/vulkan/*.c)
list(REMOVE_ITEM ptqc_vulkan_sources
     ${CMAKE_SOURCE_DIR}/backends/vulkan/plugin.c)
# Everything but the entry, for the plugin and for its unit tests.
add_library(pq_vulkan STATIC ${ptqc_vulkan_sources})
target_include_directories(pq_vulkan SYSTEM PUBLIC ${PTQC_VULKAN_INCLUDE}
  ${PTQC_SHADERC_INCLUDE} ${PTQC_SPIRV_TOOLS_INCLUDE})
target_compile_options(pq_vulkan PRIVATE -ffunction-sections -fdata-sections)
target_compile_definitions(pq_vulkan PUBLIC
  PTQC_SHADERC_VERSION="${PTQC_SHADERC_VERSION}")
target_link_libraries(pq_vulkan PUBLIC pq_sdk Threads::Threads
  ${CMAKE_DL_LIBS} m)

ptqc_plugin(vulkan ${CMAKE_SOURCE_DIR}/backends/vulkan/plugin.c
            USES pq_vulkan pq_shaderc)
target_compile_definitions(ptqc_backend_vulkan PRIVATE
  PTQC_PLUGIN_VERSION="${PROJECT_VERSION}")

if(PTQC_TESTS)
  # The loader that lies, for tests: fake_vulkan.so, and the same by the name
  # under which processes look for the loader.
  find_library(PTQC_VULKAN_LOADER NAMES libvulkan.so.1)
  add_library(fake_vulkan MODULE
    ${CMAKE_SOURCE_DIR}/tests/unit/backends/vulkan/fake_vulkan.c)
  target_include_directories(fake_vulkan SYSTEM PRIVATE ${PTQC_VULKAN_INCLUDE})
  target_compile_definitions(fake_vulkan PRIVATE
    REAL_VULKAN="${PTQC_VULKAN_LOADER}")
  target_link_libraries(fake_vulkan PRIVATE ${CMAKE_DL_LIBS})
  set(PTQC_FAKE_VULKAN_DIR ${CMAKE_BINARY_DIR}/tests/fake_vulkan)
  set_target_properties(fake_vulkan PROPERTIES PREFIX "" SUFFIX ""
    OUTPUT_NAME libvulkan.so.1 LIBRARY_OUTPUT_DIRECTORY ${PTQC_FAKE_VULKAN_DIR})
  add_library(pq_vulkan_test INTERFACE)
  target_link_libraries(pq_vulkan_test INTERFACE pq_vulkan pq_shaderc
    pq_compiler)
  target_compile_definitions(pq_vulkan_test INTERFACE
    FAKE_VULKAN_FILE="${PTQC_FAKE_VULKAN_DIR}/libvulkan.so.1"
    PTQC_PLUGIN_DIR="${PTQC_PLUGIN_OUTPUT_DIR}")
  add_dependencies(pq_vulkan_test fake_vulkan ptqc_backend_vulkan)
endif()
ptqc_tests(backends/vulkan USES pq_vulkan_test)
if(PTQC_TESTS) # subgroups of 16 items, as in backends/kgen/kgen.cmake
  add_test(NAME backends_vulkan_test_features_wide
    COMMAND backends_vulkan_test_features
    WORKING_DIRECTORY ${CMAKE_SOURCE_DIR})
  set_tests_properties(backends_vulkan_test_features_wide PROPERTIES
    ENVIRONMENT "LP_NATIVE_VECTOR_WIDTH=512")
endif()
# Drivers keep some bytes when they are unloaded; what is ours is counted by
# the tests themselves.
if(PTQC_TESTS AND PTQC_SANITIZE)
  foreach(name blob cache commands errors features orders ranges)
    set_tests_properties(backends_vulkan_test_${name} PROPERTIES
      ENVIRONMENT "ASAN_OPTIONS=detect_leaks=0")
  endforeach()
  set_tests_properties(backends_vulkan_test_features_wide PROPERTIES ENVIRONMENT
    "LP_NATIVE_VECTOR_WIDTH=512;ASAN_OPTIONS=detect_leaks=0")
endif()
