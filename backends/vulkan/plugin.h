// SPDX-License-Identifier: Apache-2.0
//
// The parts behind the plugin's table, and the instance: the loader and open
// devices, both only when something needs them.
#ifndef PTQC_BACKENDS_VULKAN_PLUGIN_H
#define PTQC_BACKENDS_VULKAN_PLUGIN_H

#include "device.h"

#define PQ_VK_TARGET "vulkan"

struct ptqc_instance {
    const ptqc_host *host; // borrowed, outlives the instance
    const char *library;   // of the loader; static text
    uint32_t features;     // used where there are; or PQ_VK_PREFERRED
    int64_t range_bytes;   // of a buffer that kernels bind; tests lower it
    pthread_mutex_t lock;  // of all below
    bool is_looked_at;
    char reason[256]; // why there is no Vulkan; "" = there is
    pq_vk_api api;
    pq_vk_gpu *gpus; // owned: [PQ_VK_GPUS_MAX]
    uint32_t gpu_count;
    pq_vk_device *devices[PQ_VK_GPUS_MAX]; // owned; NULL: not open
};

extern const ptqc_plugin_vt pq_vk_table;

ptqc_be_status pq_vk_instance_create(ptqc_call *call, const ptqc_host *host,
                                     const char *library, ptqc_instance **out);
void pq_vk_instance_destroy(ptqc_instance *inst);
// Opens the loader and lists devices, once; what is missing is in
// inst->reason. RESOURCE alone fails.
ptqc_be_status pq_vk_instance_look(ptqc_call *call, ptqc_instance *inst);
// The device of an id "vulkan:0", opened. The error was said.
ptqc_be_status pq_vk_instance_device(ptqc_call *call, ptqc_instance *inst,
                                     ptqc_str id, pq_vk_device **out);

ptqc_be_status pq_vk_devices(ptqc_call *call, ptqc_instance *inst,
                             ptqc_sink *sink);
ptqc_be_status pq_vk_targets(ptqc_call *call, ptqc_instance *inst,
                             ptqc_sink *sink);
ptqc_be_status pq_vk_rules(ptqc_call *call, ptqc_instance *inst,
                           ptqc_str target, ptqc_sink *sink);
ptqc_be_status pq_vk_check(ptqc_call *call, ptqc_instance *inst,
                           ptqc_str target, ptqc_bytes graph,
                           const uint32_t *nodes, uint64_t node_count,
                           ptqc_sink *sink);
ptqc_be_status pq_vk_compile(ptqc_call *call, ptqc_instance *inst,
                             ptqc_str target, const ptqc_entry *entries,
                             uint64_t entry_count, ptqc_sink *sink);
// UNSUPPORTED was said.
ptqc_be_status pq_vk_target_check(const ptqc_host *host, ptqc_call *call,
                                  ptqc_str target);

ptqc_be_status pq_vk_load(ptqc_call *call, ptqc_instance *inst, ptqc_str device,
                          ptqc_bytes blob, const ptqc_bytes *constants,
                          uint64_t constant_count, ptqc_exe **out);
void pq_vk_exe_free(ptqc_exe *exe);
ptqc_be_status pq_vk_specialize(ptqc_call *call, ptqc_exe *exe, uint32_t entry,
                                const int64_t *dims, uint64_t dim_count,
                                ptqc_spec **out);
ptqc_be_status pq_vk_needs(ptqc_call *call, ptqc_spec *spec, ptqc_sink *sink);
void pq_vk_spec_free(ptqc_spec *spec);
ptqc_be_status pq_vk_submit(ptqc_call *call, ptqc_spec *spec,
                            const ptqc_submit *submit);

ptqc_be_status pq_vk_buf_alloc(ptqc_call *call, ptqc_instance *inst,
                               ptqc_str device, uint64_t bytes, uint64_t align,
                               ptqc_buffer **out);
void pq_vk_buf_free(ptqc_buffer *buf);
ptqc_be_status pq_vk_buf_write(ptqc_call *call, ptqc_buffer *buf,
                               uint64_t offset, ptqc_bytes from);
ptqc_be_status pq_vk_buf_read(ptqc_call *call, ptqc_buffer *buf,
                              uint64_t offset, void *to, uint64_t bytes);

#endif
