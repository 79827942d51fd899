// SPDX-License-Identifier: Apache-2.0
//
// The device side: an executable (program, modules, constants on the device)
// and a specialization (dispatches for known dims).
#ifndef PTQC_BACKENDS_VULKAN_EXE_H
#define PTQC_BACKENDS_VULKAN_EXE_H

#include "blob.h"
#include "commands.h"

// A packed constant on the device.
typedef struct pq_vk_constant {
    const pq_vk_block *block; // borrowed from the exe
    uint64_t offset;          // in it
    uint64_t bytes;           // bound: a multiple of 16
    uint64_t given;           // of the constant itself
} pq_vk_constant;

struct ptqc_exe {
    pq_mem mem; // owns what follows; the exe itself lives in it
    const ptqc_host *host;
    pq_vk_device *device; // borrowed from the instance
    pq_vk_program program;
    uint32_t *first_kernel; // [entries]
    uint32_t *chosen;       // [program.kernel_count]: variants in use
    pq_vk_pipelines pipelines;
    pq_vk_constant *constants; // [program.program.constant_count]
    pq_vk_block *blocks;       // owned: [block_count]
    uint32_t block_count;
};

#endif
