// SPDX-License-Identifier: Apache-2.0
//
// Hashes, and the pipeline cache. Drivers are trusted to check the inside of
// a cache they wrote; that it is one of theirs is checked here: its header
// (Vulkan specification, "Pipeline Cache Header") and, in the key, driver
// UUID and version.
#define XXH_INLINE_ALL
#include "cache.h"

#include <string.h>
#include <xxhash.h>

#include "base/bits.h"

#define HEADER_BYTES 32u // length, version, vendor, device, UUID

void
pq_vk_hash(const ptqc_bytes *parts, uint32_t count, uint8_t out[32])
{
    XXH3_state_t low, high;
    XXH3_INITSTATE(&low);
    XXH3_INITSTATE(&high);
    XXH3_128bits_reset(&low);
    XXH3_128bits_reset_withSeed(&high, UINT64_C(0x9e3779b97f4a7c15));
    for (uint32_t i = 0; i < count; i++) {
        uint64_t n = parts[i].n; // separates neighbours
        XXH3_128bits_update(&low, &n, sizeof n);
        XXH3_128bits_update(&high, &n, sizeof n);
        XXH3_128bits_update(&low, parts[i].p, parts[i].n);
        XXH3_128bits_update(&high, parts[i].p, parts[i].n);
    }
    XXH128_canonicalFromHash((XXH128_canonical_t *)(void *)out,
                             XXH3_128bits_digest(&low));
    XXH128_canonicalFromHash((XXH128_canonical_t *)(void *)(out + 16),
                             XXH3_128bits_digest(&high));
}

// ---- the pipeline cache ----------------------------------------------------

static void
make_key(pq_vk_device *d)
{
    static const char tag[] = "ptqc vulkan pipelines 1";
    const pq_vk_gpu *g = d->gpu;
    const ptqc_bytes parts[] = {
        {tag, sizeof tag},
        {g->driver_uuid, sizeof g->driver_uuid},
        {g->device_uuid, sizeof g->device_uuid},
        {&g->driver_version, sizeof g->driver_version},
        {g->name, strlen(g->name)},
    };
    pq_vk_hash(parts, sizeof parts / sizeof parts[0], d->pipelines_key);
}

static bool
is_ours(const pq_vk_device *d, ptqc_bytes data)
{
    const uint8_t *p = data.p;
    return data.n >= HEADER_BYTES && pq_load_le32(p) == HEADER_BYTES &&
           pq_load_le32(p + 4) == VK_PIPELINE_CACHE_HEADER_VERSION_ONE &&
           pq_load_le32(p + 8) == d->gpu->vendor_id &&
           pq_load_le32(p + 12) == d->gpu->device_id &&
           memcmp(p + 16, d->gpu->cache_uuid, VK_UUID_SIZE) == 0;
}

ptqc_be_status
pq_vk_cache_open(pq_vk_device *d, ptqc_call *call)
{
    const ptqc_host_vt *vt = d->host->vt;
    ptqc_bytes data = {0};
    make_key(d);
    if (vt->cache_get(d->host->self, d->pipelines_key, &data) != PTQC_BE_OK) {
        data = (ptqc_bytes){0};
    }
    bool is_good = is_ours(d, data);
    const VkPipelineCacheCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_PIPELINE_CACHE_CREATE_INFO,
        .initialDataSize = is_good ? data.n : 0,
        .pInitialData = is_good ? data.p : NULL,
    };
    VkResult result =
        d->vk.CreatePipelineCache(d->device, &info, NULL, &d->pipelines);
    d->pipelines_bytes = is_good ? data.n : 0;
    vt->free(d->host->self, (void *)(uintptr_t)data.p);
    return pq_vk_device_result(d, call, result, "make a pipeline cache");
}

void
pq_vk_cache_store(pq_vk_device *d)
{
    const ptqc_host_vt *vt = d->host->vt;
    size_t bytes = 0;
    if (d->vk.GetPipelineCacheData(d->device, d->pipelines, &bytes, NULL) !=
            VK_SUCCESS ||
        bytes <= d->pipelines_bytes) {
        return;
    }
    void *data = vt->alloc(d->host->self, bytes, 64);
    if (data != NULL &&
        d->vk.GetPipelineCacheData(d->device, d->pipelines, &bytes, data) ==
            VK_SUCCESS) {
        (void)vt->cache_put(d->host->self, d->pipelines_key,
                            (ptqc_bytes){data, bytes});
        d->pipelines_bytes = bytes;
    }
    vt->free(d->host->self, data);
}

void
pq_vk_cache_close(pq_vk_device *d)
{
    d->vk.DestroyPipelineCache(d->device, d->pipelines, NULL);
}
