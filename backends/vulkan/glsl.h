// SPDX-License-Identifier: Apache-2.0
//
// GLSL to SPIR-V, by shaderc inside of the plugin.
#ifndef PTQC_BACKENDS_VULKAN_GLSL_H
#define PTQC_BACKENDS_VULKAN_GLSL_H

#include <stdbool.h>
#include <stddef.h>

#include "backends/kgen/mem.h"

// Compiles one text; *out (whole words, in mem) is the module. The same text
// gives the same bytes. INTERNAL: the text is wrong; *out_log (in mem) is what
// the compiler says of it.
ptqc_be_status pq_vk_glsl_compile(pq_mem *mem, const char *name,
                                  const char *text, size_t bytes,
                                  ptqc_bytes *out, const char **out_log);
// "shaderc 2023.2 (SPIR-V 1.3)": of what decides the bytes.
const char *pq_vk_glsl_version(void);

// Whether the words are a valid module for Vulkan 1.1. false: `log` says what
// is wrong with it.
bool pq_vk_spirv_is_valid(const uint32_t *words, size_t word_count, char *log,
                          size_t log_bytes);

#endif
