// SPDX-License-Identifier: Apache-2.0
//
// Specialization: dims -> shapes -> ops -> workspace.
#include "spec.h"

#include <string.h>

#include "ptqc/graph_block.h"

#include "backends/kgen/say.h"
#include "base/bits.h"
#include "base/checked.h"

#define ALIGN 64u

// ---- for pq_prepare_* ------------------------------------------------------

ptqc_be_status
pq_prep_refuse(const pq_prep *prep, const char *what)
{
    return pq_kg_fail(prep->host, prep->call, PTQC_BE_CORRUPT,
                      "cpu: damaged program: not %s", what);
}

ptqc_be_status
pq_prep_no_memory(const pq_prep *prep)
{
    return pq_kg_fail(prep->host, prep->call, PTQC_BE_RESOURCE,
                      "cpu: out of memory");
}

int64_t
pq_shape_product(const pq_shape *shape, uint32_t begin, uint32_t end)
{
    int64_t n = 1;
    for (uint32_t i = begin; i < end; i++) {
        n *= shape->dims[i];
    }
    return n;
}

int64_t
pq_prep_i64(const pq_prep *prep, uint32_t i)
{
    return i < prep->param_count ? prep->params[i] : 0;
}

float
pq_prep_f32(const pq_prep *prep, uint32_t i)
{
    uint32_t bits = (uint32_t)(uint64_t)pq_prep_i64(prep, i);
    return pq_load_f32(&bits);
}

bool
pq_prep_dim(const pq_prep *prep, uint32_t i, int64_t *out)
{
    int64_t index = pq_prep_i64(prep, i);
    if (i >= prep->param_count || index < 0 || index >= prep->dim_count) {
        return false;
    }
    *out = prep->dims[index];
    return true;
}

// ---- ops -------------------------------------------------------------------

typedef ptqc_be_status (*prepare_fn)(const pq_prep *prep, pq_op *op);

static const prepare_fn PREPARE[PQ_STEP_KIND_COUNT] = {
#define STEP(NAME, text, fn, ins_min, ins_max, outs, params_min)               \
    [PQ_STEP_##NAME] = pq_prepare_##fn,
#define STEP_KGEN(NAME, text, fn, ins_min, ins_max, outs, params_min)
#include "backends/kgen/steps.def"
#undef STEP
};

static void
run_nothing(const void *state, const pq_run *run)
{
    (void)state;
    (void)run;
}

static bool
is_empty(const pq_shape *const *outs, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        if (outs[i] != NULL && outs[i]->count > 0) {
            return false;
        }
    }
    return true;
}

static ptqc_be_status
prepare_step(ptqc_call *call, ptqc_spec *spec, const int64_t *dims,
             pq_spec_step *s)
{
    const pq_kg_entry *e = spec->entry;
    const pq_kg_step *step = s->step;
    uint32_t count = step->input_count + step->output_count;
    const pq_shape **shapes = pq_mem_array(&spec->mem, count, sizeof *shapes);
    const void **bytes = pq_mem_array(&spec->mem, count, sizeof *bytes);
    s->args = pq_mem_array(&spec->mem, count, sizeof *s->args);
    if (shapes == NULL || bytes == NULL || s->args == NULL) {
        return pq_kg_fail(spec->exe->host, call, PTQC_BE_RESOURCE,
                          "cpu: out of memory");
    }
    for (uint32_t i = 0; i < count; i++) {
        uint32_t v = e->args[step->first_arg + i];
        if (v == PQ_KG_NONE) {
            continue;
        }
        shapes[i] = &spec->shapes[v];
        uint32_t root = pq_kg_root(e, v);
        if (e->values[root].place == PQ_PLACE_CONSTANT) {
            bytes[i] = spec->exe->constants[e->values[root].index].p;
        }
        s->bytes += (uint64_t)shapes[i]->bytes;
    }
    if (is_empty(shapes + step->input_count, step->output_count)) {
        s->op.run = run_nothing;
        s->op.serial = true;
        return PTQC_BE_OK;
    }
    pq_prep prep = {
        .host = spec->exe->host,
        .call = call,
        .jit = spec->exe->jit,
        .mem = &spec->mem,
        .ins = shapes,
        .outs = shapes + step->input_count,
        .constants = bytes,
        .in_count = step->input_count,
        .out_count = step->output_count,
        .params = e->params + step->first_param,
        .param_count = step->param_count,
        .dims = dims,
        .dim_count = e->dim_count,
    };
    PQ_NEED(&prep, PREPARE[step->kind] != NULL);
    return PREPARE[step->kind](&prep, &s->op);
}

static ptqc_be_status
prepare_steps(ptqc_call *call, ptqc_spec *spec, const int64_t *dims)
{
    const pq_kg_entry *e = spec->entry;
    for (uint32_t i = 0; i < e->step_count; i++) {
        spec->steps[i].step = &e->steps[i];
        ptqc_be_status st = prepare_step(call, spec, dims, &spec->steps[i]);
        if (st != PTQC_BE_OK) {
            return st;
        }
        if (spec->steps[i].op.scratch_bytes > spec->scratch_bytes) {
            spec->scratch_bytes = spec->steps[i].op.scratch_bytes;
        }
    }
    return PTQC_BE_OK;
}

static ptqc_be_status
plan_workspace(const pq_kg_teller *t, ptqc_spec *spec)
{
    uint32_t count = spec->entry->step_count;
    uint32_t *inplace = pq_mem_array(&spec->mem, count, sizeof *inplace);
    if (inplace == NULL) {
        return pq_kg_fail(t->host, t->call, PTQC_BE_RESOURCE,
                          "cpu: out of memory");
    }
    for (uint32_t i = 0; i < count; i++) {
        inplace[i] = spec->steps[i].op.inplace;
    }
    // Kernels may read (never write) a vector beyond the end.
    const pq_kg_plan_desc desc = {
        .entry = spec->entry,
        .shapes = spec->shapes,
        .inplace = inplace,
        .align = ALIGN,
        .guard = ALIGN,
    };
    return pq_kg_plan_workspace(t, &spec->mem, &desc, spec->offsets,
                                &spec->temp_bytes);
}

static bool
place_scratch(ptqc_spec *spec)
{
    size_t shared = 0;
    for (uint32_t i = 0; i < spec->entry->step_count; i++) {
        size_t bytes = (size_t)spec->steps[i].op.shared_bytes;
        shared = bytes > shared ? bytes : shared;
    }
    size_t at = 0, each = 0, all = 0;
    // A page between the scratch areas of workers: no shared line.
    bool ok = pq_align_size((size_t)spec->temp_bytes, ALIGN, &at);
    spec->shared_offset = at;
    ok = ok && pq_add_size(at, shared, &at) && pq_align_size(at, 4096, &at);
    spec->scratch_offset = at;
    ok = ok && pq_align_size((size_t)spec->scratch_bytes, 4096, &each);
    if (!ok) {
        return false;
    }
    spec->scratch_bytes = each;
    ok = pq_mul_size(each, spec->width, &all) && pq_add_size(at, all, &at);
    spec->workspace_bytes = at;
    return ok;
}

static ptqc_be_status
fill_spec(ptqc_call *call, ptqc_spec *spec, const int64_t *symbols,
          uint64_t symbol_count)
{
    const pq_kg_entry *e = spec->entry;
    const ptqc_host *host = spec->exe->host;
    int64_t *dims = pq_mem_array(&spec->mem, e->dim_count, sizeof *dims);
    spec->shapes =
        pq_mem_array(&spec->mem, e->value_count, sizeof *spec->shapes);
    spec->steps = pq_mem_array(&spec->mem, e->step_count, sizeof *spec->steps);
    spec->offsets =
        pq_mem_array(&spec->mem, e->value_count, sizeof *spec->offsets);
    spec->pointers =
        pq_mem_array(&spec->mem, e->value_count, sizeof *spec->pointers);
    if (dims == NULL || spec->shapes == NULL || spec->steps == NULL ||
        spec->offsets == NULL || spec->pointers == NULL) {
        return pq_kg_fail(host, call, PTQC_BE_RESOURCE, "cpu: out of memory");
    }
    spec->width = host->vt->pool_width(host->self);
    pq_kg_teller t = {"cpu", host, call};
    ptqc_be_status st = pq_kg_plan_dims(&t, e, symbols, symbol_count, dims);
    st = st == PTQC_BE_OK
             ? pq_kg_plan_shapes(&t, e, dims, spec->exe->constant_bytes,
                                 spec->shapes)
             : st;
    st = st == PTQC_BE_OK ? prepare_steps(call, spec, dims) : st;
    st = st == PTQC_BE_OK ? plan_workspace(&t, spec) : st;
    if (st == PTQC_BE_OK) {
        pq_spec_barriers(spec);
    }
    if (st == PTQC_BE_OK && !place_scratch(spec)) {
        st = pq_kg_fail(host, call, PTQC_BE_RESOURCE,
                        "cpu: workspace too large");
    }
    return st;
}

ptqc_be_status
pq_spec_create(ptqc_call *call, ptqc_exe *exe, uint32_t entry,
               const int64_t *dims, uint64_t dim_count, ptqc_spec **out)
{
    *out = NULL;
    if (entry >= exe->program.entry_count) {
        return pq_kg_fail(exe->host, call, PTQC_BE_INVALID, "cpu: no entry %u",
                          entry);
    }
    pq_mem mem = {exe->host, NULL};
    ptqc_spec *spec = pq_mem_alloc(&mem, sizeof *spec);
    if (spec == NULL) {
        return pq_kg_fail(exe->host, call, PTQC_BE_RESOURCE,
                          "cpu: out of memory");
    }
    spec->mem = mem;
    spec->exe = exe;
    spec->entry = &exe->program.entries[entry];
    ptqc_be_status st = fill_spec(call, spec, dims, dim_count);
    if (st != PTQC_BE_OK) {
        pq_spec_destroy(spec);
        return st;
    }
    *out = spec;
    return PTQC_BE_OK;
}

void
pq_spec_destroy(ptqc_spec *spec)
{
    if (spec == NULL) {
        return;
    }
    for (uint32_t i = 0; spec->steps != NULL && i < spec->entry->step_count;
         i++) {
        pq_op *op = &spec->steps[i].op;
        if (op->destroy != NULL && op->state != NULL) {
            op->destroy(op->state);
        }
    }
    pq_mem mem = spec->mem; // the spec itself lives in it
    pq_mem_release(&mem);
}
