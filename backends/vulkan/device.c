// SPDX-License-Identifier: Apache-2.0
//
// Opening a device and running commands on it.
#include "device.h"

#include <stdio.h>
#include <string.h>

#include "cache.h"
#include "say.h"

// How long one wait lasts before the device is asked again, in nanoseconds.
#define WAIT_NS UINT64_C(1000000000)

ptqc_be_status
pq_vk_device_result(pq_vk_device *d, ptqc_call *call, VkResult result,
                    const char *doing)
{
    const char *name = pq_vk_result_name(result);
    switch ((int)result) {
    case VK_SUCCESS:
        return PTQC_BE_OK;
    case VK_ERROR_OUT_OF_DEVICE_MEMORY:
    case VK_ERROR_OUT_OF_HOST_MEMORY:
    case VK_ERROR_OUT_OF_POOL_MEMORY:
    case VK_ERROR_TOO_MANY_OBJECTS:
        return pq_kg_fail(d->host, call, PTQC_BE_RESOURCE,
                          "%s: not enough memory to %s (%s)", d->gpu->name,
                          doing, name);
    case VK_ERROR_DEVICE_LOST:
        atomic_store(&d->is_lost, true);
        return pq_kg_fail(d->host, call, PTQC_BE_DEVICE_LOST,
                          "%s: the device was lost while it had to %s",
                          d->gpu->name, doing);
    default:
        return pq_kg_fail(d->host, call, PTQC_BE_INTERNAL, "%s: cannot %s (%s)",
                          d->gpu->name, doing, name);
    }
}

VkResult
pq_vk_device_wait(pq_vk_device *d, VkFence fence)
{
    VkResult result = VK_TIMEOUT;
    while (result == VK_TIMEOUT) {
        result = d->vk.WaitForFences(d->device, 1, &fence, VK_TRUE, WAIT_NS);
    }
    if (result != VK_SUCCESS) {
        // What it works on may be freed now: it must not go on.
        (void)d->vk.QueueWaitIdle(d->queue);
    }
    return result;
}

ptqc_be_status
pq_vk_device_run(pq_vk_device *d, ptqc_call *call, VkCommandBuffer commands,
                 VkFence fence)
{
    if (atomic_load(&d->is_lost)) {
        return pq_vk_device_result(d, call, VK_ERROR_DEVICE_LOST, "run");
    }
    const VkSubmitInfo submit = {
        .sType = VK_STRUCTURE_TYPE_SUBMIT_INFO,
        .commandBufferCount = 1,
        .pCommandBuffers = &commands,
    };
    VkResult result = d->vk.ResetFences(d->device, 1, &fence);
    if (result == VK_SUCCESS) {
        pthread_mutex_lock(&d->lock);
        result = d->vk.QueueSubmit(d->queue, 1, &submit, fence);
        pthread_mutex_unlock(&d->lock);
    }
    // Work that was begun cannot be taken back: always waited for.
    if (result == VK_SUCCESS) {
        result = pq_vk_device_wait(d, fence);
    }
    return pq_vk_device_result(d, call, result, "run");
}

// ---- opening ---------------------------------------------------------------

static VkResult
create_device(const pq_vk_api *api, pq_vk_device *d)
{
    const float priority = 1.0f;
    const VkDeviceQueueCreateInfo queue = {
        .sType = VK_STRUCTURE_TYPE_DEVICE_QUEUE_CREATE_INFO,
        .queueFamilyIndex = d->gpu->queue_family,
        .queueCount = 1,
        .pQueuePriorities = &priority,
    };
    pq_vk_request request;
    pq_vk_request_make(&request, &d->gpu->features, d->features,
                       d->gpu->has_float64);
    const VkDeviceCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_DEVICE_CREATE_INFO,
        .pNext = &request.features,
        .queueCreateInfoCount = 1,
        .pQueueCreateInfos = &queue,
        .enabledExtensionCount = request.count,
        .ppEnabledExtensionNames = request.names,
    };
    return api->CreateDevice(d->gpu->physical, &info, NULL, &d->device);
}

static VkResult
create_copying(pq_vk_device *d)
{
    const VkCommandPoolCreateInfo pool = {
        .sType = VK_STRUCTURE_TYPE_COMMAND_POOL_CREATE_INFO,
        .flags = VK_COMMAND_POOL_CREATE_RESET_COMMAND_BUFFER_BIT,
        .queueFamilyIndex = d->gpu->queue_family,
    };
    const VkFenceCreateInfo fence = {.sType =
                                         VK_STRUCTURE_TYPE_FENCE_CREATE_INFO};
    d->vk.GetDeviceQueue(d->device, d->gpu->queue_family, 0, &d->queue);
    VkResult result = d->vk.CreateCommandPool(d->device, &pool, NULL, &d->pool);
    if (result != VK_SUCCESS) {
        return result;
    }
    const VkCommandBufferAllocateInfo commands = {
        .sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_ALLOCATE_INFO,
        .commandPool = d->pool,
        .level = VK_COMMAND_BUFFER_LEVEL_PRIMARY,
        .commandBufferCount = 1,
    };
    result = d->vk.AllocateCommandBuffers(d->device, &commands, &d->commands);
    return result != VK_SUCCESS
               ? result
               : d->vk.CreateFence(d->device, &fence, NULL, &d->fence);
}

// With no functions nothing can be given back: the device is left alone.
static ptqc_be_status
get_functions(pq_vk_device *d, ptqc_call *call, const pq_vk_api *api)
{
    const char *missing = NULL;
    bool has_all = pq_vk_functions_get(api, d->device, &d->vk, &missing);
    if (d->vk.CmdPushDescriptorSetKHR == NULL) {
        d->features &= ~PQ_VK_PUSH_DESCRIPTORS;
    }
    if (has_all) {
        return PTQC_BE_OK;
    }
    if (d->vk.DestroyDevice != NULL) {
        d->vk.DestroyDevice(d->device, NULL);
    }
    d->device = VK_NULL_HANDLE;
    return pq_kg_fail(d->host, call, PTQC_BE_INTERNAL,
                      "%s: the driver lacks %s", d->gpu->name, missing);
}

static ptqc_be_status
fill(pq_vk_device *d, ptqc_call *call, const pq_vk_api *api)
{
    ptqc_be_status st =
        pq_vk_device_result(d, call, create_device(api, d), "open the device");
    if (st == PTQC_BE_OK) {
        st = get_functions(d, call, api);
    }
    if (st == PTQC_BE_OK) {
        st = pq_vk_device_result(d, call, create_copying(d),
                                 "prepare for copies");
    }
    return st == PTQC_BE_OK ? pq_vk_cache_open(d, call) : st;
}

ptqc_be_status
pq_vk_device_open(const ptqc_host *host, ptqc_call *call, const pq_vk_api *api,
                  const pq_vk_gpu *gpu, uint32_t features, pq_vk_device **out)
{
    *out = NULL;
    pq_vk_device *d = host->vt->alloc(host->self, sizeof *d, 16);
    if (d == NULL) {
        return pq_vk_no_memory(host, call);
    }
    memset(d, 0, sizeof *d);
    d->host = host;
    d->gpu = gpu;
    d->features = features;
    if (pthread_mutex_init(&d->lock, NULL) != 0) {
        host->vt->free(host->self, d);
        return pq_vk_no_memory(host, call);
    }
    ptqc_be_status st = fill(d, call, api);
    if (st != PTQC_BE_OK) {
        pq_vk_device_close(d);
        return st;
    }
    *out = d;
    return PTQC_BE_OK;
}

void
pq_vk_device_close(pq_vk_device *d)
{
    if (d == NULL) {
        return;
    }
    if (d->device != VK_NULL_HANDLE) {
        pq_vk_cache_close(d);
        pq_vk_block_destroy(d, &d->upload);
        pq_vk_block_destroy(d, &d->readback);
        d->vk.DestroyFence(d->device, d->fence, NULL);
        d->vk.DestroyCommandPool(d->device, d->pool, NULL);
        d->vk.DestroyDevice(d->device, NULL);
    }
    pthread_mutex_destroy(&d->lock);
    d->host->vt->free(d->host->self, d);
}
