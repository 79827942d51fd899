// SPDX-License-Identifier: Apache-2.0
//
// What the shared lowering (backends/kgen/) is told about Vulkan devices, and
// the kernels of its steps as text.
#ifndef PTQC_BACKENDS_VULKAN_LOWERING_H
#define PTQC_BACKENDS_VULKAN_LOWERING_H

#include "backends/kgen/kernel.h"
#include "backends/kgen/lower.h"

// What every device reaches in one binding, in bytes (Vulkan specification,
// required limits: maxStorageBufferRange).
#define PQ_VK_RANGE_MIN ((int64_t)1 << 27)

extern const pq_kg_device pq_vk_lowering;

// The table of the instance's: its name is that of pq_vk_lowering.
pq_kg_device pq_vk_lowering_of(int64_t range_bytes);

// The text of a step of the entry that may use features (as pq_kg_source_of).
ptqc_be_status pq_vk_source(pq_mem *mem, const pq_kg_entry *entry,
                            const pq_kg_step *step, uint32_t features,
                            pq_kg_source *out, const char **out_why);

#endif
