// SPDX-License-Identifier: Apache-2.0
//
// The instance: loader, devices, and buffers of devices.
#include <stdio.h>
#include <string.h>

#include "commands.h"
#include "lowering.h"
#include "plugin.h"
#include "say.h"

#define ID_PREFIX PQ_VK_TARGET ":"

// ---- life ------------------------------------------------------------------

ptqc_be_status
pq_vk_instance_create(ptqc_call *call, const ptqc_host *host,
                      const char *library, ptqc_instance **out)
{
    ptqc_instance *inst = host->vt->alloc(host->self, sizeof *inst, 16);
    if (inst == NULL) {
        return pq_vk_no_memory(host, call);
    }
    memset(inst, 0, sizeof *inst);
    inst->host = host;
    inst->library = library;
    inst->range_bytes = PQ_VK_RANGE_MIN;
    inst->features = PQ_VK_PREFERRED;
    if (pthread_mutex_init(&inst->lock, NULL) != 0) {
        host->vt->free(host->self, inst);
        return pq_vk_no_memory(host, call);
    }
    *out = inst;
    return PTQC_BE_OK;
}

void
pq_vk_instance_destroy(ptqc_instance *inst)
{
    if (inst == NULL) {
        return;
    }
    const ptqc_host *host = inst->host;
    for (uint32_t i = 0; i < PQ_VK_GPUS_MAX; i++) {
        pq_vk_device_close(inst->devices[i]);
    }
    pq_vk_api_close(&inst->api);
    pthread_mutex_destroy(&inst->lock);
    host->vt->free(host->self, inst->gpus);
    host->vt->free(host->self, inst);
}

// ---- looking ---------------------------------------------------------------

static void
look(ptqc_instance *inst, VkExtensionProperties *room)
{
    const char *why = NULL;
    if (!pq_vk_api_open(&inst->api, inst->library, inst->reason,
                        sizeof inst->reason)) {
        return;
    }
    inst->gpu_count = pq_vk_gpus_list(&inst->api, room, inst->gpus, &why);
    if (inst->gpu_count == 0) {
        snprintf(inst->reason, sizeof inst->reason, "no Vulkan device%s%s",
                 why != NULL ? ": " : "", why != NULL ? why : "");
    }
}

ptqc_be_status
pq_vk_instance_look(ptqc_call *call, ptqc_instance *inst)
{
    ptqc_be_status st = PTQC_BE_OK;
    pq_mem scratch = {inst->host, NULL};
    pthread_mutex_lock(&inst->lock);
    if (inst->gpus == NULL) {
        inst->gpus = inst->host->vt->alloc(
            inst->host->self, PQ_VK_GPUS_MAX * sizeof *inst->gpus, 16);
    }
    if (inst->gpus == NULL) {
        st = pq_vk_no_memory(inst->host, call);
    } else if (!inst->is_looked_at) {
        VkExtensionProperties *room =
            pq_mem_array(&scratch, PQ_VK_EXTENSIONS_MAX, sizeof *room);
        if (room != NULL) {
            look(inst, room);
            inst->is_looked_at = true;
        } else {
            st = pq_vk_no_memory(inst->host, call);
        }
    }
    pq_mem_release(&scratch);
    pthread_mutex_unlock(&inst->lock);
    return st;
}

// "vulkan:3" -> 3; false: no such text.
static bool
read_id(ptqc_str id, uint32_t *out)
{
    const size_t prefix = sizeof ID_PREFIX - 1;
    uint32_t number = 0;
    if (id.n <= prefix || id.n > prefix + 3 ||
        memcmp(id.p, ID_PREFIX, prefix) != 0) {
        return false;
    }
    for (size_t i = prefix; i < id.n; i++) {
        if (id.p[i] < '0' || id.p[i] > '9') {
            return false;
        }
        number = 10 * number + (uint32_t)(id.p[i] - '0');
    }
    *out = number;
    return true;
}

static uint32_t
used_features(const ptqc_instance *inst, uint32_t number)
{
    const pq_vk_features *f = &inst->gpus[number].features;
    return inst->features == PQ_VK_PREFERRED ? f->preferred
                                             : f->has & inst->features;
}

static ptqc_be_status
open_device(ptqc_call *call, ptqc_instance *inst, uint32_t number,
            pq_vk_device **out)
{
    ptqc_be_status st = PTQC_BE_OK;
    pthread_mutex_lock(&inst->lock);
    if (inst->devices[number] == NULL) {
        st = pq_vk_device_open(inst->host, call, &inst->api,
                               &inst->gpus[number], used_features(inst, number),
                               &inst->devices[number]);
    }
    *out = inst->devices[number];
    pthread_mutex_unlock(&inst->lock);
    return st;
}

ptqc_be_status
pq_vk_instance_device(ptqc_call *call, ptqc_instance *inst, ptqc_str id,
                      pq_vk_device **out)
{
    uint32_t number;
    *out = NULL;
    ptqc_be_status st = pq_vk_instance_look(call, inst);
    if (st != PTQC_BE_OK) {
        return st;
    }
    if (inst->reason[0] != '\0') {
        return pq_kg_fail(inst->host, call, PTQC_BE_UNSUPPORTED, "vulkan: %s",
                          inst->reason);
    }
    if (!read_id(id, &number) || number >= inst->gpu_count) {
        return pq_kg_fail(inst->host, call, PTQC_BE_UNSUPPORTED,
                          "vulkan: no device '%.*s' (there are %u)",
                          id.n < 64 ? (int)id.n : 64, id.p, inst->gpu_count);
    }
    if (inst->gpus[number].reason[0] != '\0') {
        return pq_kg_fail(inst->host, call, PTQC_BE_UNSUPPORTED,
                          "vulkan: %s: %s", inst->gpus[number].name,
                          inst->gpus[number].reason);
    }
    return open_device(call, inst, number, out);
}

// ---- telling ---------------------------------------------------------------

static ptqc_be_status
tell_absence(const ptqc_instance *inst, ptqc_sink *sink)
{
    const ptqc_device d = {
        .h = {.size = sizeof d, .type = PTQC_REC_DEVICE},
        .id = pq_vk_str(PQ_VK_TARGET),
        .name = pq_vk_str("no device"),
        .target = pq_vk_str(PQ_VK_TARGET),
        .reason = pq_vk_str(inst->reason),
        .state = PTQC_DEVICE_UNUSABLE,
    };
    return inst->host->vt->emit(sink, &d.h);
}

// The driver's name and the optional features that are used.
static void
name_device(const ptqc_instance *inst, uint32_t number, char *out, size_t n)
{
    char text[PQ_VK_FEATURES_TEXT];
    (void)pq_vk_features_print(used_features(inst, number), text);
    snprintf(out, n, "%s%s%s%s", inst->gpus[number].name,
             text[0] != '\0' ? " [" : "", text, text[0] != '\0' ? "]" : "");
}

ptqc_be_status
pq_vk_devices(ptqc_call *call, ptqc_instance *inst, ptqc_sink *sink)
{
    ptqc_be_status st = pq_vk_instance_look(call, inst);
    if (st == PTQC_BE_OK && inst->reason[0] != '\0') {
        return tell_absence(inst, sink);
    }
    for (uint32_t i = 0; i < inst->gpu_count && st == PTQC_BE_OK; i++) {
        const pq_vk_gpu *gpu = &inst->gpus[i];
        char id[32], name[sizeof gpu->name + PQ_VK_FEATURES_TEXT + 4];
        snprintf(id, sizeof id, ID_PREFIX "%u", i);
        name_device(inst, i, name, sizeof name);
        const ptqc_device d = {
            .h = {.size = sizeof d, .type = PTQC_REC_DEVICE},
            .id = pq_vk_str(id),
            .name = pq_vk_str(name),
            .target = pq_vk_str(PQ_VK_TARGET),
            .reason = pq_vk_str(gpu->reason),
            .state = gpu->reason[0] == '\0' ? PTQC_DEVICE_USABLE
                                            : PTQC_DEVICE_UNUSABLE,
            .memory_bytes = gpu->memory_bytes,
        };
        st = inst->host->vt->emit(sink, &d.h);
    }
    return st;
}

// ---- buffers ---------------------------------------------------------------

ptqc_be_status
pq_vk_buf_alloc(ptqc_call *call, ptqc_instance *inst, ptqc_str device,
                uint64_t bytes, uint64_t align, ptqc_buffer **out)
{
    (void)align; // a buffer begins where memory does
    pq_vk_device *d = NULL;
    ptqc_be_status st = pq_vk_instance_device(call, inst, device, &d);
    if (st != PTQC_BE_OK) {
        return st;
    }
    ptqc_buffer *b = inst->host->vt->alloc(inst->host->self, sizeof *b, 16);
    if (b == NULL) {
        return pq_vk_no_memory(inst->host, call);
    }
    *b = (ptqc_buffer){.device = d, .serial = ++d->serial};
    st = pq_vk_block_create(d, call, bytes, PQ_VK_USE_DEVICE, &b->block);
    if (st != PTQC_BE_OK) {
        inst->host->vt->free(inst->host->self, b);
        return st;
    }
    *out = b;
    return PTQC_BE_OK;
}

void
pq_vk_buf_free(ptqc_buffer *b)
{
    if (b != NULL) {
        const ptqc_host *host = b->device->host;
        pq_vk_block_destroy(b->device, &b->block);
        host->vt->free(host->self, b);
    }
}

ptqc_be_status
pq_vk_buf_write(ptqc_call *call, ptqc_buffer *b, uint64_t offset,
                ptqc_bytes from)
{
    return pq_vk_block_write(b->device, call, &b->block, offset, from.p,
                             from.n);
}

ptqc_be_status
pq_vk_buf_read(ptqc_call *call, ptqc_buffer *b, uint64_t offset, void *to,
               uint64_t bytes)
{
    return pq_vk_block_read(b->device, call, &b->block, offset, to, bytes);
}
