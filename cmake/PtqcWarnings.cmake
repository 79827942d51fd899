# SPDX-License-Identifier: Apache-2.0
# Flags of every C target.
add_compile_options(
  $<$<COMPILE_LANGUAGE:C>:-Wall>
  $<$<COMPILE_LANGUAGE:C>:-Wextra>
  $<$<COMPILE_LANGUAGE:C>:-Wshadow>
  $<$<COMPILE_LANGUAGE:C>:-Wconversion>
  $<$<COMPILE_LANGUAGE:C>:-Wstrict-prototypes>
  $<$<COMPILE_LANGUAGE:C>:-Wmissing-prototypes>
  $<$<COMPILE_LANGUAGE:C>:-Wvla>
  $<$<COMPILE_LANGUAGE:C>:-Wdouble-promotion>
  $<$<COMPILE_LANGUAGE:C>:-ffp-contract=off>
  # gcc sees no further than one function: an out-parameter that is written
  # on every success path is "maybe uninitialized" to it. clang and the
  # sanitizers look instead.
  $<$<C_COMPILER_ID:GNU>:-Wno-maybe-uninitialized>
  -fno-omit-frame-pointer)
if(PTQC_WERROR)
  add_compile_options($<$<COMPILE_LANGUAGE:C>:-Werror>)
endif()
if(PTQC_SANITIZE)
  add_compile_options(-fsanitize=${PTQC_SANITIZE} -fno-sanitize-recover=all)
  add_link_options(-fsanitize=${PTQC_SANITIZE})
endif()
if(PTQC_FUZZ)
  # Coverage of the code under test; the targets link the fuzzer itself.
  add_compile_options(-fsanitize=fuzzer-no-link)
endif()
add_compile_definitions(_GNU_SOURCE)
include_directories(${CMAKE_SOURCE_DIR} ${CMAKE_SOURCE_DIR}/include)
