// SPDX-License-Identifier: Apache-2.0
//
// Modules and the pipelines made of them: one per module and set of
// specialization values. Kernels have storage buffers at set 0, bindings 0 to
// n - 1, and push words; layouts are made per number of buffers.
#ifndef PTQC_BACKENDS_VULKAN_PIPELINE_H
#define PTQC_BACKENDS_VULKAN_PIPELINE_H

#include "backends/kgen/mem.h"
#include "device.h"

#define PQ_VK_BUFFERS_MAX 13u // operands and a table
#define PQ_VK_SPECS_MAX   12u
#define PQ_VK_PUSH_BYTES  128u
#define PQ_VK_UNUSED      UINT32_MAX

typedef struct pq_vk_layout {
    VkDescriptorSetLayout set;
    VkPipelineLayout pipeline;
} pq_vk_layout;

typedef struct pq_vk_pipeline {
    uint32_t module;
    uint32_t spec_count;
    uint32_t specs[PQ_VK_SPECS_MAX];
    VkPipeline pipeline;
} pq_vk_pipeline;

typedef struct pq_vk_pipelines {
    pq_vk_device *device; // borrowed
    pq_mem *mem;          // borrowed
    pthread_mutex_t lock;
    VkShaderModule *modules; // owned: [module_count]
    uint32_t *features;      // [module_count]: that a module uses
    uint32_t module_count;
    pq_vk_layout layouts[PQ_VK_BUFFERS_MAX + 1]; // owned, by buffer count
    pq_vk_pipeline *all;                         // owned
    uint32_t count, room;
} pq_vk_pipelines;

// `words` of module i; they are valid SPIR-V where the module is used.
// features: bits that module i uses, or PQ_VK_UNUSED; NULL: none.
ptqc_be_status pq_vk_pipelines_create(pq_vk_pipelines *p, ptqc_call *call,
                                      pq_vk_device *device, pq_mem *mem,
                                      const ptqc_bytes *words,
                                      const uint32_t *features,
                                      uint32_t module_count);
// NULL device: nothing to do.
void pq_vk_pipelines_destroy(pq_vk_pipelines *p);
// Found or made; stays valid as long as *p. Takes the lock.
ptqc_be_status pq_vk_pipelines_get(pq_vk_pipelines *p, ptqc_call *call,
                                   uint32_t module, uint32_t buffer_count,
                                   const uint32_t *specs, uint32_t spec_count,
                                   VkPipeline *out, pq_vk_layout *out_layout);

#endif
