# SPDX-License-Identifier: Apache-2.0
# The folders of the house, from the bottom up.

ptqc_module(base base USES PkgConfig::JANSSON PkgConfig::XXHASH PkgConfig::CRYPTO Threads::Threads ${CMAKE_DL_LIBS} m)
ptqc_module(quant quant RECURSE USES pq_base)
# Vectors of loops with selects: comparisons may be done whose floating-point
# exceptions nobody asks for. Bits stay.
set_source_files_properties(${CMAKE_SOURCE_DIR}/quant/adaround_step.c
  ${CMAKE_SOURCE_DIR}/quant/adaround_group.c ${CMAKE_SOURCE_DIR}/quant/e8p.c
  ${CMAKE_SOURCE_DIR}/quant/trellis.c PROPERTIES COMPILE_OPTIONS
  "$<$<C_COMPILER_ID:GNU>:-fno-trapping-math;-fvect-cost-model=dynamic>")
ptqc_module(tokenizer tokenizer USES pq_base PkgConfig::UTF8PROC PkgConfig::PCRE2)
ptqc_module(ir ir RECURSE USES pq_quant)
ptqc_module(frontend frontend RECURSE USES pq_ir pq_tokenizer)
ptqc_module(passes passes RECURSE USES pq_ir pq_tokenizer PkgConfig::YAML)
ptqc_module(export export USES pq_ir)
ptqc_module(runtime runtime USES pq_base pq_tokenizer)
target_compile_definitions(pq_runtime PRIVATE
  PTQC_VERSION_TEXT="${PROJECT_VERSION}" PTQC_BACKEND_DIR="${PTQC_BACKEND_DIR}")
ptqc_module(compiler compiler USES pq_frontend pq_passes pq_export pq_runtime)

if(PTQC_TESTS)
  ptqc_module(test_support tests/support USES pq_base)
endif()
ptqc_tests(base USES pq_base)
ptqc_tests(quant USES pq_quant)
ptqc_tests(tokenizer USES pq_tokenizer)
ptqc_tests(ir USES pq_ir)
ptqc_tests(ir/interp USES pq_ir)
ptqc_tests(frontend/onnx USES pq_frontend)
ptqc_tests(frontend/gguf USES pq_frontend)
ptqc_tests(frontend/hf USES pq_frontend)
ptqc_tests(frontend/llm USES pq_frontend)
ptqc_tests(passes USES pq_passes)
if(PTQC_TESTS OR PTQC_FUZZ)
  include(${CMAKE_SOURCE_DIR}/tests/unit/runtime/samples.cmake)
endif()
ptqc_tests(runtime USES pq_runtime_samples)
ptqc_tests(compiler USES pq_compiler)

include(${CMAKE_SOURCE_DIR}/backends/Backends.cmake OPTIONAL)
include(${CMAKE_SOURCE_DIR}/cmake/PtqcProducts.cmake OPTIONAL)
