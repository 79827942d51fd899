// SPDX-License-Identifier: Apache-2.0
//
// Recording and replaying.
#include "commands.h"

#include <string.h>

#include "say.h"

// Bytes a dispatch reads or writes.
typedef struct pq_vk_span {
    VkBuffer buffer;
    uint64_t offset, bytes;
    bool is_written;
} pq_vk_span;

// ---- operands --------------------------------------------------------------

static pq_vk_span
resolve(const pq_vk_operand *o, const ptqc_submit *submit)
{
    const ptqc_binding *b = o->home == PQ_VK_HOME_BINDING
                                ? &submit->bindings[o->index]
                                : &submit->workspace;
    if (o->home == PQ_VK_HOME_BLOCK) {
        return (pq_vk_span){o->block->buffer, o->offset, o->bytes,
                            o->is_written};
    }
    return (pq_vk_span){b->buf->block.buffer, b->offset + o->offset, o->bytes,
                        o->is_written};
}

static bool
covers(const pq_vk_device *d, const ptqc_binding *b, uint64_t end)
{
    return b->buf != NULL && b->buf->device == d && b->bytes >= end &&
           b->offset <= b->buf->block.bytes &&
           end <= b->buf->block.bytes - b->offset &&
           b->offset % d->gpu->limits.minStorageBufferOffsetAlignment == 0;
}

static ptqc_be_status
check_bindings(const pq_vk_commands *c, ptqc_call *call,
               const ptqc_submit *submit)
{
    bool is_good = submit->binding_count == c->binding_count;
    for (uint32_t i = 0; i < c->count && is_good; i++) {
        const pq_vk_dispatch *d = &c->dispatches[i];
        for (uint32_t k = 0; k < d->operand_count && is_good; k++) {
            const pq_vk_operand *o = &d->operands[k];
            const ptqc_binding *b = o->home == PQ_VK_HOME_BINDING
                                        ? &submit->bindings[o->index]
                                        : &submit->workspace;
            is_good = o->home == PQ_VK_HOME_BLOCK ||
                      covers(c->device, b, o->offset + o->bytes);
        }
    }
    return is_good ? PTQC_BE_OK
                   : pq_kg_fail(c->device->host, call, PTQC_BE_INVALID,
                                "bindings are not what needs asked for");
}

// ---- recording -------------------------------------------------------------

static bool
pushes(const pq_vk_commands *c)
{
    return (c->device->features & PQ_VK_PUSH_DESCRIPTORS) != 0;
}

// The descriptors of a dispatch.
typedef struct descriptors {
    VkDescriptorBufferInfo infos[PQ_VK_BUFFERS_MAX];
    VkWriteDescriptorSet writes[PQ_VK_BUFFERS_MAX];
} descriptors;

static void
describe(const pq_vk_dispatch *d, const ptqc_submit *submit,
         VkDescriptorSet set, descriptors *out)
{
    for (uint32_t k = 0; k < d->operand_count; k++) {
        pq_vk_span span = resolve(&d->operands[k], submit);
        out->infos[k] =
            (VkDescriptorBufferInfo){span.buffer, span.offset, span.bytes};
        out->writes[k] = (VkWriteDescriptorSet){
            .sType = VK_STRUCTURE_TYPE_WRITE_DESCRIPTOR_SET,
            .dstSet = set,
            .dstBinding = k,
            .descriptorCount = 1,
            .descriptorType = VK_DESCRIPTOR_TYPE_STORAGE_BUFFER,
            .pBufferInfo = &out->infos[k],
        };
    }
}

static void
write_sets(const pq_vk_commands *c, const ptqc_submit *submit)
{
    descriptors all;
    for (uint32_t i = 0; i < c->count && !pushes(c); i++) {
        const pq_vk_dispatch *d = &c->dispatches[i];
        describe(d, submit, c->sets[i], &all);
        c->device->vk.UpdateDescriptorSets(c->device->device, d->operand_count,
                                           all.writes, 0, NULL);
    }
}

static void
put_descriptors(const pq_vk_commands *c, VkCommandBuffer to, uint32_t index,
                const ptqc_submit *submit)
{
    const pq_vk_functions *vk = &c->device->vk;
    const pq_vk_dispatch *d = &c->dispatches[index];
    if (pushes(c)) {
        descriptors all;
        describe(d, submit, VK_NULL_HANDLE, &all);
        vk->CmdPushDescriptorSetKHR(to, VK_PIPELINE_BIND_POINT_COMPUTE,
                                    d->layout.pipeline, 0, d->operand_count,
                                    all.writes);
    } else {
        vk->CmdBindDescriptorSets(to, VK_PIPELINE_BIND_POINT_COMPUTE,
                                  d->layout.pipeline, 0, 1, &c->sets[index], 0,
                                  NULL);
    }
}

static bool
collide(const pq_vk_span *a, const pq_vk_span *b)
{
    return (a->is_written || b->is_written) && a->buffer == b->buffer &&
           a->offset < b->offset + b->bytes && b->offset < a->offset + a->bytes;
}

// Adds the dispatch's spans to the `count` pending ones; true (and the pending
// ones forgotten) when it has to wait for one of them.
static bool
must_wait(const pq_vk_commands *c, const pq_vk_dispatch *d,
          const ptqc_submit *submit, uint32_t *count)
{
    bool waits = false;
    for (uint32_t k = 0; k < d->operand_count && !waits; k++) {
        pq_vk_span span = resolve(&d->operands[k], submit);
        for (uint32_t i = 0; i < *count && !waits; i++) {
            waits = collide(&span, &c->spans[i]);
        }
    }
    *count = waits ? 0 : *count;
    for (uint32_t k = 0; k < d->operand_count; k++) {
        c->spans[(*count)++] = resolve(&d->operands[k], submit);
    }
    return waits;
}

static void
put_barrier(const pq_vk_commands *c, VkCommandBuffer to, bool is_last)
{
    const VkAccessFlags shader =
        VK_ACCESS_SHADER_READ_BIT | VK_ACCESS_SHADER_WRITE_BIT;
    const VkMemoryBarrier barrier = {
        .sType = VK_STRUCTURE_TYPE_MEMORY_BARRIER,
        .srcAccessMask = VK_ACCESS_SHADER_WRITE_BIT,
        .dstAccessMask = is_last ? shader | VK_ACCESS_TRANSFER_READ_BIT |
                                       VK_ACCESS_TRANSFER_WRITE_BIT |
                                       VK_ACCESS_HOST_READ_BIT
                                 : shader,
    };
    VkPipelineStageFlags after = VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT;
    if (is_last) {
        after |= VK_PIPELINE_STAGE_TRANSFER_BIT | VK_PIPELINE_STAGE_HOST_BIT;
    }
    c->device->vk.CmdPipelineBarrier(to, VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT,
                                     after, 0, 1, &barrier, 0, NULL, 0, NULL);
}

static void
put_dispatch(const pq_vk_commands *c, VkCommandBuffer to, uint32_t index,
             const ptqc_submit *submit, VkPipeline *last)
{
    const pq_vk_functions *vk = &c->device->vk;
    const pq_vk_dispatch *d = &c->dispatches[index];
    if (d->pipeline != *last) {
        vk->CmdBindPipeline(to, VK_PIPELINE_BIND_POINT_COMPUTE, d->pipeline);
        *last = d->pipeline;
    }
    put_descriptors(c, to, index, submit);
    if (d->word_count > 0) {
        vk->CmdPushConstants(
            to, d->layout.pipeline, VK_SHADER_STAGE_COMPUTE_BIT, 0,
            d->word_count * (uint32_t)sizeof d->words[0], d->words);
    }
    vk->CmdDispatch(to, d->groups[0], d->groups[1], d->groups[2]);
}

static VkResult
record(pq_vk_commands *c, const ptqc_submit *submit)
{
    const VkCommandBufferBeginInfo begin = {
        .sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_BEGIN_INFO};
    VkPipeline last = VK_NULL_HANDLE;
    uint32_t pending = 0;
    write_sets(c, submit);
    VkResult result = c->device->vk.BeginCommandBuffer(c->commands, &begin);
    if (result != VK_SUCCESS) {
        return result;
    }
    c->barrier_count = 0;
    for (uint32_t i = 0; i < c->count; i++) {
        if (must_wait(c, &c->dispatches[i], submit, &pending)) {
            put_barrier(c, c->commands, false);
            c->barrier_count++;
        }
        put_dispatch(c, c->commands, i, submit, &last);
    }
    put_barrier(c, c->commands, true);
    return c->device->vk.EndCommandBuffer(c->commands);
}

// ---- binding ---------------------------------------------------------------

static pq_vk_bound
bound_of(const ptqc_binding *b)
{
    return b->buf == NULL ? (pq_vk_bound){0}
                          : (pq_vk_bound){b->buf->serial, b->offset, b->bytes};
}

static bool
is_bound(const pq_vk_bound *bound, const ptqc_binding *b)
{
    pq_vk_bound now = bound_of(b);
    return bound->serial == now.serial && bound->offset == now.offset &&
           bound->bytes == now.bytes;
}

static bool
are_bound(const pq_vk_commands *c, const ptqc_submit *submit)
{
    if (!c->is_recorded || submit->binding_count != c->binding_count ||
        !is_bound(&c->bound[c->binding_count], &submit->workspace)) {
        return false;
    }
    for (uint32_t i = 0; i < c->binding_count; i++) {
        if (!is_bound(&c->bound[i], &submit->bindings[i])) {
            return false;
        }
    }
    return true;
}

static ptqc_be_status
bind(pq_vk_commands *c, ptqc_call *call, const ptqc_submit *submit)
{
    ptqc_be_status st = check_bindings(c, call, submit);
    if (st != PTQC_BE_OK) {
        return st;
    }
    c->is_recorded = false;
    st = pq_vk_device_result(c->device, call, record(c, submit),
                             "record commands");
    if (st == PTQC_BE_OK) {
        for (uint32_t i = 0; i < c->binding_count; i++) {
            c->bound[i] = bound_of(&submit->bindings[i]);
        }
        c->bound[c->binding_count] = bound_of(&submit->workspace);
        c->is_recorded = true;
        c->record_count++;
    }
    return st;
}

// ---- profiles --------------------------------------------------------------

static VkResult
record_profiling(pq_vk_commands *c, const ptqc_submit *submit)
{
    const pq_vk_functions *vk = &c->device->vk;
    const VkCommandBufferBeginInfo begin = {
        .sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_BEGIN_INFO,
        .flags = VK_COMMAND_BUFFER_USAGE_ONE_TIME_SUBMIT_BIT,
    };
    VkPipeline last = VK_NULL_HANDLE;
    VkResult result = vk->BeginCommandBuffer(c->profiling, &begin);
    if (result != VK_SUCCESS) {
        return result;
    }
    vk->CmdResetQueryPool(c->profiling, c->stamps, 0, c->count + 1);
    vk->CmdWriteTimestamp(c->profiling, VK_PIPELINE_STAGE_BOTTOM_OF_PIPE_BIT,
                          c->stamps, 0);
    for (uint32_t i = 0; i < c->count; i++) {
        put_dispatch(c, c->profiling, i, submit, &last);
        put_barrier(c, c->profiling, i + 1 == c->count);
        vk->CmdWriteTimestamp(c->profiling,
                              VK_PIPELINE_STAGE_BOTTOM_OF_PIPE_BIT, c->stamps,
                              i + 1);
    }
    return vk->EndCommandBuffer(c->profiling);
}

static VkResult
need_stamps(pq_vk_commands *c)
{
    const VkQueryPoolCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_QUERY_POOL_CREATE_INFO,
        .queryType = VK_QUERY_TYPE_TIMESTAMP,
        .queryCount = c->count + 1,
    };
    return c->stamps != VK_NULL_HANDLE
               ? VK_SUCCESS
               : c->device->vk.CreateQueryPool(c->device->device, &info, NULL,
                                               &c->stamps);
}

static void
tell_times(const pq_vk_commands *c, const ptqc_submit *submit)
{
    uint32_t bits = c->device->gpu->timestamp_bits;
    uint64_t mask = bits >= 64 ? UINT64_MAX : (UINT64_C(1) << bits) - 1;
    double period = (double)c->device->gpu->limits.timestampPeriod;
    for (uint32_t i = 0; i < c->count; i++) {
        uint64_t ticks = (c->times[i + 1] - c->times[i]) & mask;
        const ptqc_step_profile step = {
            .label = c->dispatches[i].label,
            .ns = (uint64_t)((double)ticks * period),
            .ops = c->dispatches[i].ops,
            .bytes = c->dispatches[i].bytes,
        };
        submit->profile(submit->profile_user, &step);
    }
}

// Every dispatch alone between two time stamps.
static ptqc_be_status
run_profiling(pq_vk_commands *c, ptqc_call *call, const ptqc_submit *submit)
{
    VkResult result = need_stamps(c);
    if (result == VK_SUCCESS) {
        result = record_profiling(c, submit);
    }
    ptqc_be_status st =
        pq_vk_device_result(c->device, call, result, "record a profile");
    if (st == PTQC_BE_OK) {
        st = pq_vk_device_run(c->device, call, c->profiling, c->fence);
    }
    if (st != PTQC_BE_OK) {
        return st;
    }
    result = c->device->vk.GetQueryPoolResults(
        c->device->device, c->stamps, 0, c->count + 1,
        (c->count + 1) * sizeof *c->times, c->times, sizeof *c->times,
        VK_QUERY_RESULT_64_BIT | VK_QUERY_RESULT_WAIT_BIT);
    st = pq_vk_device_result(c->device, call, result, "read time stamps");
    if (st == PTQC_BE_OK) {
        tell_times(c, submit);
    }
    return st;
}

// ---- all -------------------------------------------------------------------

ptqc_be_status
pq_vk_commands_run(pq_vk_commands *c, ptqc_call *call,
                   const ptqc_submit *submit)
{
    ptqc_be_status st =
        are_bound(c, submit) ? PTQC_BE_OK : bind(c, call, submit);
    if (st != PTQC_BE_OK || c->count == 0) {
        return st;
    }
    c->run_count++;
    if (submit->profile != NULL && c->device->gpu->timestamp_bits > 0) {
        return run_profiling(c, call, submit);
    }
    return pq_vk_device_run(c->device, call, c->commands, c->fence);
}

static VkResult
make_sets(pq_vk_commands *c, pq_mem *mem, uint32_t operand_count)
{
    const pq_vk_functions *vk = &c->device->vk;
    const VkDescriptorPoolSize size = {VK_DESCRIPTOR_TYPE_STORAGE_BUFFER,
                                       operand_count};
    const VkDescriptorPoolCreateInfo pool = {
        .sType = VK_STRUCTURE_TYPE_DESCRIPTOR_POOL_CREATE_INFO,
        .maxSets = c->count,
        .poolSizeCount = 1,
        .pPoolSizes = &size,
    };
    VkDescriptorSetLayout *layouts =
        pq_mem_array(mem, c->count, sizeof(VkDescriptorSetLayout));
    if (layouts == NULL) {
        return VK_ERROR_OUT_OF_HOST_MEMORY;
    }
    for (uint32_t i = 0; i < c->count; i++) {
        layouts[i] = c->dispatches[i].layout.set;
    }
    VkResult result =
        vk->CreateDescriptorPool(c->device->device, &pool, NULL, &c->sets_of);
    if (result != VK_SUCCESS) {
        return result;
    }
    const VkDescriptorSetAllocateInfo sets = {
        .sType = VK_STRUCTURE_TYPE_DESCRIPTOR_SET_ALLOCATE_INFO,
        .descriptorPool = c->sets_of,
        .descriptorSetCount = c->count,
        .pSetLayouts = layouts,
    };
    return vk->AllocateDescriptorSets(c->device->device, &sets, c->sets);
}

static VkResult
make_commands(pq_vk_commands *c)
{
    const pq_vk_functions *vk = &c->device->vk;
    const VkCommandPoolCreateInfo pool = {
        .sType = VK_STRUCTURE_TYPE_COMMAND_POOL_CREATE_INFO,
        .flags = VK_COMMAND_POOL_CREATE_RESET_COMMAND_BUFFER_BIT,
        .queueFamilyIndex = c->device->gpu->queue_family,
    };
    const VkFenceCreateInfo fence = {.sType =
                                         VK_STRUCTURE_TYPE_FENCE_CREATE_INFO};
    VkCommandBuffer both[2];
    VkResult result =
        vk->CreateCommandPool(c->device->device, &pool, NULL, &c->pool);
    if (result != VK_SUCCESS) {
        return result;
    }
    const VkCommandBufferAllocateInfo info = {
        .sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_ALLOCATE_INFO,
        .commandPool = c->pool,
        .level = VK_COMMAND_BUFFER_LEVEL_PRIMARY,
        .commandBufferCount = 2,
    };
    result = vk->AllocateCommandBuffers(c->device->device, &info, both);
    if (result != VK_SUCCESS) {
        return result;
    }
    c->commands = both[0];
    c->profiling = both[1];
    return vk->CreateFence(c->device->device, &fence, NULL, &c->fence);
}

ptqc_be_status
pq_vk_commands_create(pq_vk_commands *c, ptqc_call *call, pq_vk_device *device,
                      pq_mem *mem, pq_vk_dispatch *dispatches, uint32_t count,
                      uint32_t binding_count)
{
    uint32_t operand_count = 0;
    *c = (pq_vk_commands){.device = device,
                          .dispatches = dispatches,
                          .count = count,
                          .binding_count = binding_count};
    for (uint32_t i = 0; i < count; i++) {
        operand_count += dispatches[i].operand_count;
    }
    c->bound = pq_mem_array(mem, (size_t)binding_count + 1, sizeof *c->bound);
    c->sets = pq_mem_array(mem, count, sizeof(VkDescriptorSet));
    c->times = pq_mem_array(mem, (size_t)count + 1, sizeof *c->times);
    c->spans = pq_mem_array(mem, operand_count, sizeof *c->spans);
    if (c->bound == NULL || c->sets == NULL || c->times == NULL ||
        c->spans == NULL) {
        return pq_vk_no_memory(device->host, call);
    }
    VkResult result =
        count > 0 && !pushes(c) ? make_sets(c, mem, operand_count) : VK_SUCCESS;
    if (result == VK_SUCCESS) {
        result = make_commands(c);
    }
    return pq_vk_device_result(device, call, result, "prepare commands");
}

void
pq_vk_commands_destroy(pq_vk_commands *c)
{
    pq_vk_device *d = c->device;
    if (d == NULL) {
        return;
    }
    d->vk.DestroyFence(d->device, c->fence, NULL);
    d->vk.DestroyCommandPool(d->device, c->pool, NULL);
    d->vk.DestroyQueryPool(d->device, c->stamps, NULL);
    d->vk.DestroyDescriptorPool(d->device, c->sets_of, NULL);
    *c = (pq_vk_commands){0};
}
