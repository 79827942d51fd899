// SPDX-License-Identifier: Apache-2.0
//
// What is in the machine: physical devices with what matters of them, usable
// or not. Order: discrete, integrated, virtual, other, processors; so that
// the first usable one is the one to take.
#ifndef PTQC_BACKENDS_VULKAN_GPU_H
#define PTQC_BACKENDS_VULKAN_GPU_H

#include "features.h"

#define PQ_VK_GPUS_MAX 16u

typedef struct pq_vk_gpu {
    VkPhysicalDevice physical;
    char name[VK_MAX_PHYSICAL_DEVICE_NAME_SIZE];
    char reason[160]; // of being unusable; "" = usable
    VkPhysicalDeviceType type;
    VkPhysicalDeviceLimits limits;
    VkPhysicalDeviceMemoryProperties memory;
    uint64_t memory_bytes;         // of the largest heap of the device
    uint64_t max_allocation_bytes; // of one vkAllocateMemory
    uint32_t queue_family;         // with compute
    uint32_t timestamp_bits;       // of the queue; 0 = it cannot tell the time
    uint32_t subgroup_size;
    bool has_float64;
    pq_vk_features features;
    // Which driver made compiled code, for caches.
    uint32_t vendor_id, device_id, driver_version, api_version;
    uint8_t driver_uuid[VK_UUID_SIZE], device_uuid[VK_UUID_SIZE],
        cache_uuid[VK_UUID_SIZE];
} pq_vk_gpu;

// Fills at most PQ_VK_GPUS_MAX. A failure of the driver: its name in *out_why
// (static text) and no devices. `room`: [PQ_VK_EXTENSIONS_MAX], scratch.
uint32_t pq_vk_gpus_list(const pq_vk_api *api, VkExtensionProperties *room,
                         pq_vk_gpu *out, const char **out_why);

#endif
