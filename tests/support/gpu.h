// SPDX-License-Identifier: Apache-2.0
//
// A bare Vulkan device for tests and benches of kernel texts: compiles GLSL
// with the command-line tools, runs one kernel on host-visible buffers. Not
// the plugin: no streams, no reuse, no care for speed but that of the kernel.
#ifndef PTQC_TESTS_GPU_H
#define PTQC_TESTS_GPU_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct pq_test_gpu pq_test_gpu;

typedef struct pq_test_gpu_buffer {
    void *data; // mapped
    size_t bytes;
    void *buffer, *memory; // Vulkan handles
} pq_test_gpu_buffer;

// SPIR-V of a compute shader's text; spirv-val has passed it. NULL: *out_why
// is a reason to skip (no tools) or, with *out_is_error, what they said.
uint32_t *pq_test_gpu_compile(const char *text, size_t *out_bytes,
                              bool *out_is_error, const char **out_why);

// The first device; NULL and a reason to skip. The validation layer is on
// when it is installed and asked for.
pq_test_gpu *pq_test_gpu_open(bool validates, const char **out_why);
void pq_test_gpu_close(pq_test_gpu *gpu); // NULL allowed
// The first message of the validation layer; NULL: none.
const char *pq_test_gpu_complaint(const pq_test_gpu *gpu);
const char *pq_test_gpu_name(const pq_test_gpu *gpu);
bool pq_test_gpu_is_cpu(const pq_test_gpu *gpu);
// Optional features, on when the device has them: packed integer dot products,
// 16-bit floats with rounding to nearest even, and the size of full subgroups
// with shuffles (0: none).
bool pq_test_gpu_has_dot(const pq_test_gpu *gpu);
bool pq_test_gpu_has_halves(const pq_test_gpu *gpu);
uint32_t pq_test_gpu_subgroup(const pq_test_gpu *gpu);

// Zeroed. false: no memory.
bool pq_test_gpu_buffer_create(pq_test_gpu *gpu, size_t bytes,
                               pq_test_gpu_buffer *out);
void pq_test_gpu_buffer_destroy(pq_test_gpu *gpu, pq_test_gpu_buffer *buffer);

typedef struct pq_test_gpu_desc {
    const uint32_t *spirv;
    size_t spirv_bytes;
    const pq_test_gpu_buffer *const *buffers; // at bindings 0..
    uint32_t buffer_count;                    // <= 16
    const uint32_t *specs, *words;
    uint32_t spec_count, word_count;
    uint32_t groups[3];
    bool needs_full_subgroups;
} pq_test_gpu_desc;

typedef struct pq_test_gpu_kernel pq_test_gpu_kernel;

// Pipeline and a recorded command buffer; NULL: it failed.
pq_test_gpu_kernel *pq_test_gpu_kernel_create(pq_test_gpu *gpu,
                                              const pq_test_gpu_desc *desc);
void pq_test_gpu_kernel_destroy(pq_test_gpu_kernel *kernel);
// Submits and waits; seconds, < 0 when it failed.
double pq_test_gpu_kernel_run(pq_test_gpu_kernel *kernel);

#endif
