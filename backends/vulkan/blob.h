// SPDX-License-Identifier: Apache-2.0
//
// What compile writes and load reads: the program, for each of its steps the
// kernel that does it, and the modules of the kernels, each once.
//
// All little-endian:
//     u32 magic "PQVK", u32 version, u64 checksum of all that follows,
//     u64 program bytes, u32 modules, u32 kernels
//     the program (kgen/program.h), filled up to 8 bytes
//     per kernel, in order of entries and steps:
//         u32 buffers | variants << 8 | table << 16,
//         per variant u32 module, u32 features,
//         per buffer u32 operand | written << 31
//     per module: u32 words, u32 name bytes; the name, filled up to 4 bytes;
//         the words of the SPIR-V
#ifndef PTQC_BACKENDS_VULKAN_BLOB_H
#define PTQC_BACKENDS_VULKAN_BLOB_H

#include "backends/kgen/kernel.h"
#include "backends/kgen/program.h"

// One text of a kernel.
typedef struct pq_vk_variant {
    uint32_t module;
    uint32_t features; // that the device must have (kgen/kernel.h)
} pq_vk_variant;

// All sets of PQ_KG_FEATURES.
#define PQ_VK_VARIANTS_MAX 8u

typedef struct pq_vk_kernel {
    pq_vk_variant variants[PQ_VK_VARIANTS_MAX]; // the first needs no features
    uint32_t variant_count;                     // >= 1
    uint32_t buffer_count;
    pq_kg_buffer buffers[PQ_KG_BUFFERS_MAX];
    bool has_table;
} pq_vk_kernel;

typedef struct pq_vk_module {
    const char *name;
    ptqc_bytes words; // 4-byte aligned
} pq_vk_module;

typedef struct pq_vk_program {
    pq_kg_program program;
    pq_vk_kernel *kernels; // [kernel_count]
    uint32_t kernel_count; // steps of all entries
    pq_vk_module *modules; // [module_count]
    uint32_t module_count;
} pq_vk_program;

// NULL p when out of memory.
ptqc_bytes pq_vk_blob_write(pq_mem *mem, const pq_vk_program *program);
// Checks everything but the SPIR-V. CORRUPT, INCOMPATIBLE (*out_why: static
// text) or RESOURCE.
ptqc_be_status pq_vk_blob_read(pq_mem *mem, ptqc_bytes blob, pq_vk_program *out,
                               const char **out_why);

#endif
