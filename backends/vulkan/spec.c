// SPDX-License-Identifier: Apache-2.0
//
// Specialization: dims -> shapes -> workspace -> one dispatch per step, with
// its pipeline and where its operands lie; then descriptor sets and command
// buffers. submit only binds and runs.
#include <string.h>

#include "backends/kgen/planar_lower.h"
#include "cache.h"
#include "exe.h"
#include "plugin.h"
#include "say.h"

// Kernels read whole words, up to 16 bytes (kgen/kernel.h).
#define STORAGE_ALIGN 16u

struct ptqc_spec {
    pq_mem mem;
    ptqc_exe *exe; // borrowed
    const pq_kg_entry *entry;
    uint32_t entry_index;
    pq_kg_shape *shapes; // [value_count]
    int64_t *dims;       // [dim_count]
    uint64_t *offsets;   // [value_count] of root temporaries
    uint64_t workspace_bytes;
    pq_vk_dispatch *dispatches; // [dispatch_count]
    uint32_t dispatch_count;
    // Tables of launches, one behind the other.
    pq_vk_block tables; // owned
    uint64_t *table_at; // [step_count]
    uint64_t table_bytes;
    pq_vk_commands commands;
};

static uint64_t
stored(int64_t bytes)
{
    uint64_t n = (uint64_t)bytes;
    return n < STORAGE_ALIGN
               ? STORAGE_ALIGN
               : (n + STORAGE_ALIGN - 1) & ~(uint64_t)(STORAGE_ALIGN - 1);
}

static uint64_t
offset_align(const ptqc_spec *spec)
{
    uint64_t a = spec->exe->device->gpu->limits.minStorageBufferOffsetAlignment;
    return a < STORAGE_ALIGN ? STORAGE_ALIGN : a;
}

// ---- sizes -----------------------------------------------------------------

static ptqc_be_status
make_sizes(ptqc_call *call, ptqc_spec *spec, const int64_t *symbols,
           uint64_t symbol_count)
{
    const ptqc_exe *exe = spec->exe;
    const pq_kg_entry *e = spec->entry;
    const pq_kg_teller teller = {"vulkan", exe->host, call};
    uint32_t constants = exe->program.program.constant_count;
    uint64_t *bytes = pq_mem_array(&spec->mem, constants, sizeof *bytes);
    spec->dims = pq_mem_array(&spec->mem, e->dim_count, sizeof *spec->dims);
    spec->shapes =
        pq_mem_array(&spec->mem, e->value_count, sizeof *spec->shapes);
    spec->offsets =
        pq_mem_array(&spec->mem, e->value_count, sizeof *spec->offsets);
    if (bytes == NULL || spec->dims == NULL || spec->shapes == NULL ||
        spec->offsets == NULL) {
        return pq_vk_no_memory(exe->host, call);
    }
    for (uint32_t i = 0; i < constants; i++) {
        bytes[i] = exe->constants[i].given;
    }
    ptqc_be_status st =
        pq_kg_plan_dims(&teller, e, symbols, symbol_count, spec->dims);
    if (st == PTQC_BE_OK) {
        st = pq_kg_plan_shapes(&teller, e, spec->dims, bytes, spec->shapes);
    }
    const pq_kg_plan_desc desc = {.entry = e,
                                  .shapes = spec->shapes,
                                  .align = offset_align(spec),
                                  .guard = STORAGE_ALIGN};
    return st != PTQC_BE_OK
               ? st
               : pq_kg_plan_workspace(&teller, &spec->mem, &desc, spec->offsets,
                                      &spec->workspace_bytes);
}

// ---- steps -----------------------------------------------------------------

// Where an operand lies.
static pq_vk_operand
operand_of(const ptqc_spec *spec, uint32_t value, bool is_written)
{
    const pq_kg_entry *e = spec->entry;
    uint32_t root = pq_kg_root(e, value);
    pq_vk_operand o = {.bytes = stored(spec->shapes[root].bytes),
                       .is_written = is_written};
    if (e->values[root].place == PQ_PLACE_CONSTANT) {
        const pq_vk_constant *c = &spec->exe->constants[e->values[root].index];
        o.home = PQ_VK_HOME_BLOCK;
        o.block = c->block;
        o.offset = c->offset;
        o.bytes = c->bytes;
    } else if (e->values[root].place == PQ_PLACE_BINDING) {
        o.home = PQ_VK_HOME_BINDING;
        o.index = e->values[root].index;
    } else {
        o.home = PQ_VK_HOME_WORKSPACE;
        o.offset = spec->offsets[root];
    }
    return o;
}

static ptqc_be_status
make_operands(ptqc_call *call, ptqc_spec *spec, const pq_kg_step *step,
              const pq_vk_kernel *kernel, pq_vk_dispatch *out)
{
    const ptqc_exe *exe = spec->exe;
    uint32_t count = kernel->buffer_count + (kernel->has_table ? 1 : 0);
    pq_vk_operand *operands = pq_mem_array(&spec->mem, count, sizeof *operands);
    uint64_t most = exe->device->gpu->limits.maxStorageBufferRange;
    if (operands == NULL) {
        return pq_vk_no_memory(exe->host, call);
    }
    for (uint32_t i = 0; i < kernel->buffer_count; i++) {
        const pq_kg_buffer *b = &kernel->buffers[i];
        uint32_t v = spec->entry->args[step->first_arg + b->arg];
        if (v == PQ_KG_NONE) {
            return pq_kg_fail(exe->host, call, PTQC_BE_CORRUPT,
                              "vulkan: damaged program: a kernel binds an "
                              "absent operand");
        }
        operands[i] = operand_of(spec, v, b->is_written);
        out->bytes += operands[i].bytes;
        if (operands[i].bytes > most) {
            return pq_kg_fail(
                exe->host, call, PTQC_BE_RESOURCE,
                "%s: a tensor of %llu bytes, a shader reaches %llu at most",
                exe->device->gpu->name, (unsigned long long)operands[i].bytes,
                (unsigned long long)most);
        }
    }
    out->operands = operands;
    out->operand_count = kernel->buffer_count;
    return PTQC_BE_OK;
}

static bool
is_empty(const pq_kg_launch *launch)
{
    return launch->groups[0] == 0 || launch->groups[1] == 0 ||
           launch->groups[2] == 0;
}

// Tables are collected, to be copied to the device as one.
static ptqc_be_status
keep_table(ptqc_call *call, ptqc_spec *spec, const pq_kg_launch *launch,
           pq_vk_dispatch *out)
{
    pq_vk_operand *o =
        (pq_vk_operand *)(uintptr_t)&out->operands[out->operand_count++];
    uint64_t align = offset_align(spec);
    uint64_t bytes = stored((int64_t)launch->table_words * 4);
    if (launch->table == NULL) {
        return pq_kg_fail(spec->exe->host, call, PTQC_BE_INTERNAL,
                          "vulkan: a launch without its table");
    }
    *o = (pq_vk_operand){.home = PQ_VK_HOME_BLOCK,
                         .block = &spec->tables,
                         .offset = spec->table_bytes,
                         .bytes = bytes};
    spec->table_bytes += (bytes + align - 1) & ~(align - 1);
    return PTQC_BE_OK;
}

static const pq_vk_kernel *
kernel_of(const ptqc_spec *spec, uint32_t step)
{
    const ptqc_exe *exe = spec->exe;
    return &exe->program.kernels[exe->first_kernel[spec->entry_index] + step];
}

static const pq_vk_variant *
variant_of(const ptqc_spec *spec, uint32_t step)
{
    const ptqc_exe *exe = spec->exe;
    uint32_t k = exe->first_kernel[spec->entry_index] + step;
    return &exe->program.kernels[k].variants[exe->chosen[k]];
}

static ptqc_be_status
make_dispatch(ptqc_call *call, ptqc_spec *spec, uint32_t index,
              pq_kg_launch *launch)
{
    ptqc_exe *exe = spec->exe;
    const pq_kg_step *step = &spec->entry->steps[index];
    const pq_vk_kernel *kernel = kernel_of(spec, index);
    pq_vk_dispatch *d = &spec->dispatches[spec->dispatch_count];
    *d = (pq_vk_dispatch){
        .label = {spec->entry->text + step->label, step->label_bytes},
        .ops = launch->work_ops,
        .word_count = launch->word_count,
    };
    memcpy(d->groups, launch->groups, sizeof d->groups);
    memcpy(d->words, launch->words, launch->word_count * sizeof *d->words);
    ptqc_be_status st = make_operands(call, spec, step, kernel, d);
    if (st == PTQC_BE_OK && kernel->has_table) {
        st = keep_table(call, spec, launch, d);
    }
    if (st == PTQC_BE_OK) {
        st = pq_vk_pipelines_get(&exe->pipelines, call,
                                 variant_of(spec, index)->module,
                                 d->operand_count, launch->specs,
                                 launch->spec_count, &d->pipeline, &d->layout);
    }
    spec->dispatch_count += st == PTQC_BE_OK;
    return st;
}

// Mesa's llvmpipe leaves every loop of an invocation after so many turns of all
// of them (gallivm/lp_bld_limits.h, LP_MAX_TGSI_LOOP_ITERATIONS).
#define LLVMPIPE_TURNS 65535

static pq_kg_limits
limits_of(const pq_vk_gpu *gpu)
{
    pq_kg_limits l = {
        .max_local_size = gpu->limits.maxComputeWorkGroupSize[0],
        .subgroup_size = gpu->subgroup_size,
        .is_cpu = gpu->type == VK_PHYSICAL_DEVICE_TYPE_CPU,
        .max_turns =
            strncmp(gpu->name, "llvmpipe", 8) == 0 ? LLVMPIPE_TURNS : 0,
    };
    if (gpu->limits.maxComputeWorkGroupInvocations < l.max_local_size) {
        l.max_local_size = gpu->limits.maxComputeWorkGroupInvocations;
    }
    memcpy(l.max_groups, gpu->limits.maxComputeWorkGroupCount,
           sizeof l.max_groups);
    return l;
}

// Launches of all steps; those with nothing to do are left out.
static ptqc_be_status
make_dispatches(ptqc_call *call, ptqc_spec *spec, pq_mem *scratch,
                pq_kg_launch *launches)
{
    const ptqc_exe *exe = spec->exe;
    const pq_kg_entry *e = spec->entry;
    pq_kg_limits limits = limits_of(exe->device->gpu);
    ptqc_be_status st = PTQC_BE_OK;
    for (uint32_t i = 0; i < e->step_count && st == PTQC_BE_OK; i++) {
        const char *why = "";
        pq_kg_launch *launch = &launches[spec->dispatch_count];
        pq_kg_job job;
        if (!pq_kg_job_of(scratch, e, &e->steps[i], spec->shapes, spec->dims,
                          &job)) {
            return pq_vk_no_memory(exe->host, call);
        }
        *launch = (pq_kg_launch){0};
        limits.features = variant_of(spec, i)->features;
        st = pq_kg_launch_of(scratch, &job, &limits, launch, &why);
        if (st != PTQC_BE_OK) {
            return pq_kg_fail(exe->host, call, st, "vulkan: %s: %s",
                              pq_step_info_of(e->steps[i].kind)->name, why);
        }
        if (!is_empty(launch)) {
            st = make_dispatch(call, spec, i, launch);
        }
    }
    return st;
}

static ptqc_be_status
copy_tables(ptqc_call *call, ptqc_spec *spec, const pq_kg_launch *launches)
{
    pq_vk_device *d = spec->exe->device;
    if (spec->table_bytes == 0) {
        return PTQC_BE_OK;
    }
    ptqc_be_status st = pq_vk_block_create(d, call, spec->table_bytes,
                                           PQ_VK_USE_DEVICE, &spec->tables);
    for (uint32_t i = 0; i < spec->dispatch_count && st == PTQC_BE_OK; i++) {
        const pq_vk_dispatch *one = &spec->dispatches[i];
        if (launches[i].table != NULL) {
            st = pq_vk_block_write(d, call, &spec->tables,
                                   one->operands[one->operand_count - 1].offset,
                                   launches[i].table,
                                   (uint64_t)launches[i].table_words * 4);
        }
    }
    return st;
}

// ---- all -------------------------------------------------------------------

static ptqc_be_status
fill(ptqc_call *call, ptqc_spec *spec, const int64_t *symbols,
     uint64_t symbol_count)
{
    ptqc_exe *exe = spec->exe;
    const pq_kg_entry *e = spec->entry;
    pq_mem scratch = {exe->host, NULL};
    ptqc_be_status st = make_sizes(call, spec, symbols, symbol_count);
    if (st != PTQC_BE_OK) {
        return st;
    }
    pq_kg_launch *launches =
        pq_mem_array(&scratch, e->step_count, sizeof *launches);
    spec->dispatches =
        pq_mem_array(&spec->mem, e->step_count, sizeof *spec->dispatches);
    st = launches != NULL && spec->dispatches != NULL
             ? make_dispatches(call, spec, &scratch, launches)
             : pq_vk_no_memory(exe->host, call);
    if (st == PTQC_BE_OK) {
        st = copy_tables(call, spec, launches);
    }
    if (st == PTQC_BE_OK) {
        st = pq_vk_commands_create(&spec->commands, call, exe->device,
                                   &spec->mem, spec->dispatches,
                                   spec->dispatch_count, e->binding_count);
    }
    pq_mem_release(&scratch);
    return st;
}

ptqc_be_status
pq_vk_specialize(ptqc_call *call, ptqc_exe *exe, uint32_t entry,
                 const int64_t *dims, uint64_t dim_count, ptqc_spec **out)
{
    pq_mem mem = {exe->host, NULL};
    *out = NULL;
    if (entry >= exe->program.program.entry_count) {
        return pq_kg_fail(exe->host, call, PTQC_BE_INVALID,
                          "vulkan: no entry %u", entry);
    }
    ptqc_spec *spec = pq_mem_alloc(&mem, sizeof *spec);
    if (spec == NULL) {
        return pq_vk_no_memory(exe->host, call);
    }
    spec->mem = mem;
    spec->exe = exe;
    spec->entry = &exe->program.program.entries[entry];
    spec->entry_index = entry;
    ptqc_be_status st = fill(call, spec, dims, dim_count);
    if (st != PTQC_BE_OK) {
        pq_vk_spec_free(spec);
        return st;
    }
    pq_vk_cache_store(exe->device);
    *out = spec;
    return PTQC_BE_OK;
}

void
pq_vk_spec_free(ptqc_spec *spec)
{
    if (spec == NULL) {
        return;
    }
    pq_vk_commands_destroy(&spec->commands);
    pq_vk_block_destroy(spec->exe->device, &spec->tables);
    pq_mem mem = spec->mem; // the spec itself lives in it
    pq_mem_release(&mem);
}

// Bytes of a binding: of the largest value that lies in it.
static uint64_t
binding_bytes(const ptqc_spec *spec, uint32_t binding)
{
    const pq_kg_entry *e = spec->entry;
    uint64_t most = STORAGE_ALIGN;
    for (uint32_t i = 0; i < e->value_count; i++) {
        uint64_t bytes = stored(spec->shapes[i].bytes);
        if (e->values[i].place == PQ_PLACE_BINDING &&
            e->values[i].index == binding && bytes > most) {
            most = bytes;
        }
    }
    return most;
}

ptqc_be_status
pq_vk_needs(ptqc_call *call, ptqc_spec *spec, ptqc_sink *sink)
{
    (void)call;
    const ptqc_host *host = spec->exe->host;
    const ptqc_needs needs = {
        .h = {.size = sizeof needs, .type = PTQC_REC_NEEDS},
        .workspace_bytes = spec->workspace_bytes,
        .workspace_align = offset_align(spec),
    };
    ptqc_be_status st = host->vt->emit(sink, &needs.h);
    for (uint32_t b = 0; b < spec->entry->binding_count && st == PTQC_BE_OK;
         b++) {
        const ptqc_buffer_need n = {
            .h = {.size = sizeof n, .type = PTQC_REC_BUFFER_NEED},
            .bytes = binding_bytes(spec, b),
            .align = offset_align(spec),
        };
        st = host->vt->emit(sink, &n.h);
    }
    return st;
}

ptqc_be_status
pq_vk_submit(ptqc_call *call, ptqc_spec *spec, const ptqc_submit *submit)
{
    return pq_vk_commands_run(&spec->commands, call, submit);
}
