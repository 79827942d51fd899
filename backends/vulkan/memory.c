// SPDX-License-Identifier: Apache-2.0
//
// Device memory: kernels work in device-local memory; where the host can
// reach all of that (integrated devices, resizable BARs, processors) it is
// mapped, elsewhere copies go through staging memory, piece by piece.
#include <string.h>

#include "device.h"
#include "say.h"

#define STAGING_BYTES ((uint64_t)8 << 20)
#define NO_TYPE       UINT32_MAX

// ---- choosing memory -------------------------------------------------------

// The first type allowed by `mask` that has all of `wanted`.
static uint32_t
find_type(const pq_vk_gpu *gpu, uint32_t mask, VkMemoryPropertyFlags wanted)
{
    for (uint32_t i = 0; i < gpu->memory.memoryTypeCount; i++) {
        if ((mask >> i & 1) != 0 &&
            (gpu->memory.memoryTypes[i].propertyFlags & wanted) == wanted) {
            return i;
        }
    }
    return NO_TYPE;
}

// Memory of the device that the host can reach, when that is all of it and
// not a small window.
static uint32_t
find_shared_type(const pq_vk_gpu *gpu, uint32_t mask)
{
    uint32_t type = find_type(gpu, mask,
                              VK_MEMORY_PROPERTY_DEVICE_LOCAL_BIT |
                                  VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT);
    if (type == NO_TYPE) {
        return NO_TYPE;
    }
    uint32_t heap = gpu->memory.memoryTypes[type].heapIndex;
    return gpu->memory.memoryHeaps[heap].size >= gpu->memory_bytes ? type
                                                                   : NO_TYPE;
}

static uint32_t
choose_type(const pq_vk_gpu *gpu, uint32_t mask, pq_vk_use use)
{
    const VkMemoryPropertyFlags visible = VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT;
    uint32_t type;
    switch (use) {
    case PQ_VK_USE_DEVICE:
        type = find_shared_type(gpu, mask);
        if (type == NO_TYPE) {
            type = find_type(gpu, mask, VK_MEMORY_PROPERTY_DEVICE_LOCAL_BIT);
        }
        return type != NO_TYPE ? type : find_type(gpu, mask, 0);
    case PQ_VK_USE_UPLOAD:
        type = find_type(gpu, mask,
                         visible | VK_MEMORY_PROPERTY_HOST_COHERENT_BIT);
        break;
    case PQ_VK_USE_READBACK:
        type =
            find_type(gpu, mask, visible | VK_MEMORY_PROPERTY_HOST_CACHED_BIT);
        break;
    }
    return type != NO_TYPE ? type : find_type(gpu, mask, visible);
}

// ---- blocks ----------------------------------------------------------------

static VkResult
allocate(pq_vk_device *d, pq_vk_use use, pq_vk_block *b)
{
    VkMemoryRequirements need;
    d->vk.GetBufferMemoryRequirements(d->device, b->buffer, &need);
    uint32_t type = choose_type(d->gpu, need.memoryTypeBits, use);
    if (type == NO_TYPE) {
        return VK_ERROR_FEATURE_NOT_PRESENT;
    }
    if (d->gpu->max_allocation_bytes > 0 &&
        need.size > d->gpu->max_allocation_bytes) {
        return VK_ERROR_OUT_OF_DEVICE_MEMORY;
    }
    const VkMemoryAllocateInfo info = {
        .sType = VK_STRUCTURE_TYPE_MEMORY_ALLOCATE_INFO,
        .allocationSize = need.size,
        .memoryTypeIndex = type,
    };
    VkResult result = d->vk.AllocateMemory(d->device, &info, NULL, &b->memory);
    if (result == VK_SUCCESS) {
        result = d->vk.BindBufferMemory(d->device, b->buffer, b->memory, 0);
    }
    VkMemoryPropertyFlags flags =
        d->gpu->memory.memoryTypes[type].propertyFlags;
    b->is_coherent = (flags & VK_MEMORY_PROPERTY_HOST_COHERENT_BIT) != 0;
    b->is_cached = (flags & VK_MEMORY_PROPERTY_HOST_CACHED_BIT) != 0;
    if (result == VK_SUCCESS &&
        (flags & VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT) != 0) {
        void *mapped = NULL;
        result =
            d->vk.MapMemory(d->device, b->memory, 0, VK_WHOLE_SIZE, 0, &mapped);
        b->mapped = mapped;
    }
    return result;
}

static VkResult
create(pq_vk_device *d, uint64_t bytes, pq_vk_use use, pq_vk_block *b)
{
    const VkBufferCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_BUFFER_CREATE_INFO,
        .size = bytes,
        .usage = VK_BUFFER_USAGE_STORAGE_BUFFER_BIT |
                 VK_BUFFER_USAGE_TRANSFER_SRC_BIT |
                 VK_BUFFER_USAGE_TRANSFER_DST_BIT,
        .sharingMode = VK_SHARING_MODE_EXCLUSIVE,
    };
    b->bytes = bytes;
    VkResult result = d->vk.CreateBuffer(d->device, &info, NULL, &b->buffer);
    return result == VK_SUCCESS ? allocate(d, use, b) : result;
}

// ---- copies ----------------------------------------------------------------

static VkResult
begin(pq_vk_device *d)
{
    const VkCommandBufferBeginInfo info = {
        .sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_BEGIN_INFO,
        .flags = VK_COMMAND_BUFFER_USAGE_ONE_TIME_SUBMIT_BIT,
    };
    return d->vk.BeginCommandBuffer(d->commands, &info);
}

// Ends what begin began: what was written is there for kernels, copies and
// the host. The lock is held.
static ptqc_be_status
end_and_wait(pq_vk_device *d, ptqc_call *call, const char *doing)
{
    const VkMemoryBarrier barrier = {
        .sType = VK_STRUCTURE_TYPE_MEMORY_BARRIER,
        .srcAccessMask = VK_ACCESS_TRANSFER_WRITE_BIT,
        .dstAccessMask = VK_ACCESS_SHADER_READ_BIT |
                         VK_ACCESS_SHADER_WRITE_BIT |
                         VK_ACCESS_TRANSFER_READ_BIT |
                         VK_ACCESS_TRANSFER_WRITE_BIT | VK_ACCESS_HOST_READ_BIT,
    };
    const VkSubmitInfo submit = {
        .sType = VK_STRUCTURE_TYPE_SUBMIT_INFO,
        .commandBufferCount = 1,
        .pCommandBuffers = &d->commands,
    };
    d->vk.CmdPipelineBarrier(d->commands, VK_PIPELINE_STAGE_TRANSFER_BIT,
                             VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT |
                                 VK_PIPELINE_STAGE_TRANSFER_BIT |
                                 VK_PIPELINE_STAGE_HOST_BIT,
                             0, 1, &barrier, 0, NULL, 0, NULL);
    VkResult result = d->vk.EndCommandBuffer(d->commands);
    if (result == VK_SUCCESS) {
        result = d->vk.ResetFences(d->device, 1, &d->fence);
    }
    if (result == VK_SUCCESS) {
        result = d->vk.QueueSubmit(d->queue, 1, &submit, d->fence);
    }
    if (result == VK_SUCCESS) {
        result = pq_vk_device_wait(d, d->fence);
    }
    return pq_vk_device_result(d, call, result, doing);
}

static ptqc_be_status
fill_with_zeros(pq_vk_device *d, ptqc_call *call, const pq_vk_block *b)
{
    pthread_mutex_lock(&d->lock);
    ptqc_be_status st = pq_vk_device_result(d, call, begin(d), "record a copy");
    if (st == PTQC_BE_OK) {
        d->vk.CmdFillBuffer(d->commands, b->buffer, 0, VK_WHOLE_SIZE, 0);
        st = end_and_wait(d, call, "clear memory");
    }
    pthread_mutex_unlock(&d->lock);
    return st;
}

// One piece; the lock is held.
static ptqc_be_status
copy_piece(pq_vk_device *d, ptqc_call *call, VkBuffer from, VkBuffer to,
           const VkBufferCopy *piece)
{
    ptqc_be_status st = pq_vk_device_result(d, call, begin(d), "record a copy");
    if (st == PTQC_BE_OK) {
        d->vk.CmdCopyBuffer(d->commands, from, to, 1, piece);
        st = end_and_wait(d, call, "copy memory");
    }
    return st;
}

static ptqc_be_status
sync_mapped(pq_vk_device *d, ptqc_call *call, const pq_vk_block *b,
            bool is_write)
{
    const VkMappedMemoryRange all = {
        .sType = VK_STRUCTURE_TYPE_MAPPED_MEMORY_RANGE,
        .memory = b->memory,
        .size = VK_WHOLE_SIZE,
    };
    if (b->is_coherent) {
        return PTQC_BE_OK;
    }
    VkResult result =
        is_write ? d->vk.FlushMappedMemoryRanges(d->device, 1, &all)
                 : d->vk.InvalidateMappedMemoryRanges(d->device, 1, &all);
    return pq_vk_device_result(d, call, result, "synchronize memory");
}

static ptqc_be_status
need_staging(pq_vk_device *d, ptqc_call *call, pq_vk_use use, pq_vk_block *b)
{
    if (b->buffer != VK_NULL_HANDLE) {
        return PTQC_BE_OK;
    }
    ptqc_be_status st = pq_vk_block_create(d, call, STAGING_BYTES, use, b);
    if (st == PTQC_BE_OK && b->mapped == NULL) {
        pq_vk_block_destroy(d, b);
        st = pq_kg_fail(d->host, call, PTQC_BE_INTERNAL,
                        "%s: no memory that the host can reach", d->gpu->name);
    }
    return st;
}

static ptqc_be_status
write_staged(pq_vk_device *d, ptqc_call *call, const pq_vk_block *b,
             uint64_t offset, const uint8_t *from, uint64_t bytes)
{
    pthread_mutex_lock(&d->lock);
    ptqc_be_status st = need_staging(d, call, PQ_VK_USE_UPLOAD, &d->upload);
    while (bytes > 0 && st == PTQC_BE_OK) {
        VkBufferCopy piece = {
            .dstOffset = offset,
            .size = bytes < STAGING_BYTES ? bytes : STAGING_BYTES,
        };
        memcpy(d->upload.mapped, from, piece.size);
        st = sync_mapped(d, call, &d->upload, true);
        if (st == PTQC_BE_OK) {
            st = copy_piece(d, call, d->upload.buffer, b->buffer, &piece);
        }
        offset += piece.size;
        from += piece.size;
        bytes -= piece.size;
    }
    pthread_mutex_unlock(&d->lock);
    return st;
}

static ptqc_be_status
read_staged(pq_vk_device *d, ptqc_call *call, const pq_vk_block *b,
            uint64_t offset, uint8_t *to, uint64_t bytes)
{
    pthread_mutex_lock(&d->lock);
    ptqc_be_status st = need_staging(d, call, PQ_VK_USE_READBACK, &d->readback);
    while (bytes > 0 && st == PTQC_BE_OK) {
        VkBufferCopy piece = {
            .srcOffset = offset,
            .size = bytes < STAGING_BYTES ? bytes : STAGING_BYTES,
        };
        st = copy_piece(d, call, b->buffer, d->readback.buffer, &piece);
        if (st == PTQC_BE_OK) {
            st = sync_mapped(d, call, &d->readback, false);
        }
        if (st == PTQC_BE_OK) {
            memcpy(to, d->readback.mapped, piece.size);
        }
        offset += piece.size;
        to += piece.size;
        bytes -= piece.size;
    }
    pthread_mutex_unlock(&d->lock);
    return st;
}

ptqc_be_status
pq_vk_block_write(pq_vk_device *d, ptqc_call *call, const pq_vk_block *b,
                  uint64_t offset, const void *from, uint64_t bytes)
{
    if (offset > b->bytes || bytes > b->bytes - offset) {
        return pq_kg_fail(d->host, call, PTQC_BE_INVALID,
                          "a write behind the end of a buffer");
    }
    if (bytes == 0) {
        return PTQC_BE_OK;
    }
    if (b->mapped == NULL) {
        return write_staged(d, call, b, offset, from, bytes);
    }
    memcpy(b->mapped + offset, from, bytes);
    return sync_mapped(d, call, b, true);
}

ptqc_be_status
pq_vk_block_read(pq_vk_device *d, ptqc_call *call, const pq_vk_block *b,
                 uint64_t offset, void *to, uint64_t bytes)
{
    if (offset > b->bytes || bytes > b->bytes - offset) {
        return pq_kg_fail(d->host, call, PTQC_BE_INVALID,
                          "a read behind the end of a buffer");
    }
    if (bytes == 0) {
        return PTQC_BE_OK;
    }
    if (b->mapped == NULL || !b->is_cached) {
        return read_staged(d, call, b, offset, to, bytes);
    }
    ptqc_be_status st = sync_mapped(d, call, b, false);
    if (st == PTQC_BE_OK) {
        memcpy(to, b->mapped + offset, bytes);
    }
    return st;
}

// ---- life of a block -------------------------------------------------------

ptqc_be_status
pq_vk_block_create(pq_vk_device *d, ptqc_call *call, uint64_t bytes,
                   pq_vk_use use, pq_vk_block *out)
{
    *out = (pq_vk_block){0};
    if (bytes > UINT64_MAX - 15) {
        return pq_vk_no_memory(d->host, call);
    }
    bytes = bytes < 16 ? 16 : (bytes + 15) & ~UINT64_C(15);
    ptqc_be_status st = pq_vk_device_result(d, call, create(d, bytes, use, out),
                                            "allocate a buffer");
    if (st == PTQC_BE_OK && use == PQ_VK_USE_DEVICE) {
        if (out->mapped != NULL) {
            memset(out->mapped, 0, bytes);
            st = sync_mapped(d, call, out, true);
        } else {
            st = fill_with_zeros(d, call, out);
        }
    }
    if (st != PTQC_BE_OK) {
        pq_vk_block_destroy(d, out);
    }
    return st;
}

void
pq_vk_block_destroy(pq_vk_device *d, pq_vk_block *b)
{
    d->vk.DestroyBuffer(d->device, b->buffer, NULL);
    d->vk.FreeMemory(d->device, b->memory, NULL); // unmaps it
    *b = (pq_vk_block){0};
}
