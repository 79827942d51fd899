// SPDX-License-Identifier: Apache-2.0
//
// Looking at physical devices.
#include "gpu.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// What kernels may bind: operands and a table (kgen/kernel.h).
#define STORAGE_BUFFERS_NEEDED 13u
#define FAMILIES_MAX           32u

static void
find_queue(const pq_vk_api *api, pq_vk_gpu *gpu)
{
    VkQueueFamilyProperties families[FAMILIES_MAX];
    uint32_t count = FAMILIES_MAX;
    api->GetPhysicalDeviceQueueFamilyProperties(gpu->physical, &count,
                                                families);
    for (uint32_t i = 0; i < count; i++) {
        if ((families[i].queueFlags & VK_QUEUE_COMPUTE_BIT) != 0 &&
            families[i].queueCount > 0) {
            gpu->queue_family = i;
            gpu->timestamp_bits = families[i].timestampValidBits;
            return;
        }
    }
    snprintf(gpu->reason, sizeof gpu->reason, "no queue that computes");
}

static void
sum_memory(const pq_vk_api *api, pq_vk_gpu *gpu)
{
    api->GetPhysicalDeviceMemoryProperties(gpu->physical, &gpu->memory);
    for (uint32_t i = 0; i < gpu->memory.memoryHeapCount; i++) {
        const VkMemoryHeap *heap = &gpu->memory.memoryHeaps[i];
        if ((heap->flags & VK_MEMORY_HEAP_DEVICE_LOCAL_BIT) != 0 &&
            heap->size > gpu->memory_bytes) {
            gpu->memory_bytes = heap->size;
        }
    }
}

static void
read_properties(const pq_vk_api *api, pq_vk_gpu *gpu)
{
    VkPhysicalDeviceMaintenance3Properties sizes = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MAINTENANCE_3_PROPERTIES};
    VkPhysicalDeviceSubgroupProperties subgroup = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SUBGROUP_PROPERTIES,
        .pNext = &sizes};
    VkPhysicalDeviceIDProperties id = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_ID_PROPERTIES,
        .pNext = &subgroup};
    VkPhysicalDeviceProperties2 all = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PROPERTIES_2, .pNext = &id};
    VkPhysicalDeviceFeatures2 features = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_FEATURES_2};
    api->GetPhysicalDeviceProperties2(gpu->physical, &all);
    api->GetPhysicalDeviceFeatures2(gpu->physical, &features);
    gpu->limits = all.properties.limits;
    gpu->max_allocation_bytes = sizes.maxMemoryAllocationSize;
    gpu->subgroup_size = subgroup.subgroupSize;
    gpu->has_float64 = features.features.shaderFloat64 == VK_TRUE;
    memcpy(gpu->driver_uuid, id.driverUUID, VK_UUID_SIZE);
    memcpy(gpu->device_uuid, id.deviceUUID, VK_UUID_SIZE);
    memcpy(gpu->cache_uuid, all.properties.pipelineCacheUUID, VK_UUID_SIZE);
}

static void
look_at(const pq_vk_api *api, VkExtensionProperties *room, pq_vk_gpu *gpu)
{
    VkPhysicalDeviceProperties p;
    api->GetPhysicalDeviceProperties(gpu->physical, &p);
    snprintf(gpu->name, sizeof gpu->name, "%.*s", (int)sizeof p.deviceName - 1,
             p.deviceName);
    gpu->type = p.deviceType;
    gpu->vendor_id = p.vendorID;
    gpu->device_id = p.deviceID;
    gpu->driver_version = p.driverVersion;
    gpu->api_version = p.apiVersion;
    sum_memory(api, gpu);
    if (p.apiVersion < VK_API_VERSION_1_1) {
        snprintf(gpu->reason, sizeof gpu->reason,
                 "it has Vulkan %u.%u, 1.1 is needed",
                 VK_API_VERSION_MAJOR(p.apiVersion),
                 VK_API_VERSION_MINOR(p.apiVersion));
        return;
    }
    read_properties(api, gpu);
    pq_vk_features_read(api, gpu->physical, room, &gpu->features);
    if (gpu->limits.maxPerStageDescriptorStorageBuffers <
        STORAGE_BUFFERS_NEEDED) {
        snprintf(gpu->reason, sizeof gpu->reason,
                 "a shader has %u storage buffers at most, %u are needed",
                 gpu->limits.maxPerStageDescriptorStorageBuffers,
                 STORAGE_BUFFERS_NEEDED);
        return;
    }
    find_queue(api, gpu);
}

static int
rank_of(VkPhysicalDeviceType type)
{
    switch ((int)type) {
    case VK_PHYSICAL_DEVICE_TYPE_DISCRETE_GPU:
        return 0;
    case VK_PHYSICAL_DEVICE_TYPE_INTEGRATED_GPU:
        return 1;
    case VK_PHYSICAL_DEVICE_TYPE_VIRTUAL_GPU:
        return 2;
    case VK_PHYSICAL_DEVICE_TYPE_CPU:
        return 4;
    default:
        return 3;
    }
}

// Stable: devices of one kind stay in the loader's order.
static void
sort(pq_vk_gpu *gpus, uint32_t count)
{
    for (uint32_t i = 1; i < count; i++) {
        for (uint32_t k = i;
             k > 0 && rank_of(gpus[k].type) < rank_of(gpus[k - 1].type); k--) {
            pq_vk_gpu swap = gpus[k];
            gpus[k] = gpus[k - 1];
            gpus[k - 1] = swap;
        }
    }
}

uint32_t
pq_vk_gpus_list(const pq_vk_api *api, VkExtensionProperties *room,
                pq_vk_gpu *out, const char **out_why)
{
    VkPhysicalDevice all[PQ_VK_GPUS_MAX];
    uint32_t count = PQ_VK_GPUS_MAX;
    VkResult result = api->EnumeratePhysicalDevices(api->instance, &count, all);
    if (result != VK_SUCCESS && result != VK_INCOMPLETE) {
        *out_why = pq_vk_result_name(result);
        return 0;
    }
    for (uint32_t i = 0; i < count; i++) {
        out[i] = (pq_vk_gpu){.physical = all[i]};
        look_at(api, room, &out[i]);
    }
    sort(out, count);
    return count;
}
