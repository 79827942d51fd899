// SPDX-License-Identifier: Apache-2.0
//
// An open device: queue, staging memory, pipeline cache. Buffers, executables
// and specializations borrow it; the instance owns it until it is destroyed.
//
// Threads: everything that touches the queue or the staging memory holds the
// device's mutex. A lost device stays lost: every call says so.
#ifndef PTQC_BACKENDS_VULKAN_DEVICE_H
#define PTQC_BACKENDS_VULKAN_DEVICE_H

#include <pthread.h>
#include <stdatomic.h>

#include "ptqc/backend.h"

#include "gpu.h"

// Memory with one buffer over all of it.
typedef struct pq_vk_block {
    VkBuffer buffer;       // owned
    VkDeviceMemory memory; // owned
    uint8_t *mapped;       // NULL: the host cannot reach it
    uint64_t bytes;        // asked for
    bool is_coherent;      // host writes need no flush
    bool is_cached;        // the host reads it at full speed
} pq_vk_block;

typedef enum pq_vk_use {
    PQ_VK_USE_DEVICE,   // what kernels work on
    PQ_VK_USE_UPLOAD,   // written by the host, copied from by the device
    PQ_VK_USE_READBACK, // the other way round
} pq_vk_use;

typedef struct pq_vk_device {
    const ptqc_host *host; // borrowed
    const pq_vk_gpu *gpu;  // borrowed from the instance
    uint32_t features;     // in use (features.h)
    VkDevice device;       // owned
    pq_vk_functions vk;
    VkQueue queue;
    pthread_mutex_t lock;
    VkCommandPool pool;           // owned, for copies
    VkCommandBuffer commands;     // for copies
    VkFence fence;                // owned, for copies
    pq_vk_block upload, readback; // owned; made when first needed
    VkPipelineCache pipelines;    // owned
    uint64_t pipelines_bytes;     // of it when it was last stored
    uint8_t pipelines_key[32];    // in the host's cache
    atomic_bool is_lost;
    atomic_uint_fast64_t serial; // buffers made so far
} pq_vk_device;

// With these of the device's features in use. The error was said. *out is NULL
// on failure.
ptqc_be_status pq_vk_device_open(const ptqc_host *host, ptqc_call *call,
                                 const pq_vk_api *api, const pq_vk_gpu *gpu,
                                 uint32_t features, pq_vk_device **out);
void pq_vk_device_close(pq_vk_device *d); // NULL allowed

// Says what a Vulkan call gave: memory -> RESOURCE, device lost -> DEVICE_LOST
// (and remembered), all else INTERNAL. VK_SUCCESS: OK, nothing said.
ptqc_be_status pq_vk_device_result(pq_vk_device *d, ptqc_call *call,
                                   VkResult result, const char *doing);

// Zeroed when it is for the device. bytes may be 0.
ptqc_be_status pq_vk_block_create(pq_vk_device *d, ptqc_call *call,
                                  uint64_t bytes, pq_vk_use use,
                                  pq_vk_block *out);
void pq_vk_block_destroy(pq_vk_device *d, pq_vk_block *b);
ptqc_be_status pq_vk_block_write(pq_vk_device *d, ptqc_call *call,
                                 const pq_vk_block *b, uint64_t offset,
                                 const void *from, uint64_t bytes);
ptqc_be_status pq_vk_block_read(pq_vk_device *d, ptqc_call *call,
                                const pq_vk_block *b, uint64_t offset, void *to,
                                uint64_t bytes);

// Waits for a submission that signals the fence; nothing runs any more, also
// when it fails.
VkResult pq_vk_device_wait(pq_vk_device *d, VkFence fence);
// Submits and waits. Takes the lock.
ptqc_be_status pq_vk_device_run(pq_vk_device *d, ptqc_call *call,
                                VkCommandBuffer commands, VkFence fence);

#endif
