// SPDX-License-Identifier: Apache-2.0
//
// shaderc and SPIRV-Tools, called through their C interfaces.
#include "glsl.h"

#include <shaderc/shaderc.h>
#include <spirv-tools/libspirv.h>
#include <stdio.h>
#include <string.h>

#ifndef PTQC_SHADERC_VERSION
#define PTQC_SHADERC_VERSION "unknown"
#endif

const char *
pq_vk_glsl_version(void)
{
    return "shaderc " PTQC_SHADERC_VERSION " (SPIR-V 1.3)";
}

static ptqc_be_status
take_result(pq_mem *mem, shaderc_compilation_result_t result, ptqc_bytes *out,
            const char **out_log)
{
    if (result == NULL) {
        return PTQC_BE_RESOURCE;
    }
    bool is_good = shaderc_result_get_compilation_status(result) ==
                   shaderc_compilation_status_success;
    const char *from = is_good ? shaderc_result_get_bytes(result)
                               : shaderc_result_get_error_message(result);
    size_t n = is_good ? shaderc_result_get_length(result) : strlen(from);
    char *copy = pq_mem_alloc(mem, n + 1);
    if (copy == NULL) {
        return PTQC_BE_RESOURCE;
    }
    memcpy(copy, from, n);
    if (!is_good) {
        *out_log = copy;
        return PTQC_BE_INTERNAL;
    }
    *out = (ptqc_bytes){copy, n};
    return PTQC_BE_OK;
}

ptqc_be_status
pq_vk_glsl_compile(pq_mem *mem, const char *name, const char *text,
                   size_t bytes, ptqc_bytes *out, const char **out_log)
{
    *out_log = "";
    shaderc_compiler_t compiler = shaderc_compiler_initialize();
    shaderc_compile_options_t options = shaderc_compile_options_initialize();
    ptqc_be_status st = PTQC_BE_RESOURCE;
    if (compiler != NULL && options != NULL) {
        shaderc_compile_options_set_target_env(
            options, shaderc_target_env_vulkan, shaderc_env_version_vulkan_1_1);
        shaderc_compile_options_set_optimization_level(
            options, shaderc_optimization_level_performance);
        shaderc_compilation_result_t result = shaderc_compile_into_spv(
            compiler, text, bytes, shaderc_glsl_compute_shader, name, "main",
            options);
        st = take_result(mem, result, out, out_log);
        shaderc_result_release(result);
    }
    shaderc_compile_options_release(options);
    shaderc_compiler_release(compiler);
    return st;
}

bool
pq_vk_spirv_is_valid(const uint32_t *words, size_t word_count, char *log,
                     size_t log_bytes)
{
    spv_context context = spvContextCreate(SPV_ENV_VULKAN_1_1);
    spv_diagnostic diagnostic = NULL;
    spv_const_binary_t binary = {words, word_count};
    snprintf(log, log_bytes, "out of memory");
    bool is_valid = context != NULL &&
                    spvValidate(context, &binary, &diagnostic) == SPV_SUCCESS;
    if (diagnostic != NULL && diagnostic->error != NULL) {
        snprintf(log, log_bytes, "%s", diagnostic->error);
    }
    spvDiagnosticDestroy(diagnostic);
    spvContextDestroy(context);
    return is_valid;
}
