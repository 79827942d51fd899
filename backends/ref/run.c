// SPDX-License-Identifier: Apache-2.0
//
// Device side of the ref plugin: a blob is validated once at load; a spec is
// a graph of its own with all dimensions evaluated and all memory planned
// (every intermediate value has its own place in the workspace). Submit runs
// op after op.
#include <stdlib.h>
#include <string.h>

#include "backends/ref/blob.h"
#include "backends/ref/ref.h"
#include "base/checked.h"
#include "base/dtype.h"
#include "base/hash.h"
#include "ir/block.h"
#include "ir/interp/interp.h"

#define PLACE_ALIGN 64u

struct ptqc_exe {
    const ptqc_instance *inst;
    uint8_t *blob; // owned copy, 64-byte aligned
    pq_ref_blob header;
    const ptqc_bytes *constants; // borrowed, outlive the exe
};

// Where a value's bytes are while running.
typedef enum pq_place {
    PLACE_NOWHERE, // nothing uses it
    PLACE_CONSTANT,
    PLACE_BINDING,  // `at` = index of the binding
    PLACE_WORKSPACE // `at` = offset
} pq_place;

typedef struct pq_spot {
    pq_place place;
    uint64_t at;
    pq_tensor tensor; // p is set while running, constants' at once
} pq_spot;

struct ptqc_spec {
    const ptqc_exe *exe; // borrowed
    pq_ref_ctx r;
    pq_graph *g;       // owned
    int64_t *symbols;  // owned
    pq_spot *spots;    // owned: [value count]
    pq_tensor *inputs; // owned: [most inputs of an op]
    pq_tensor *outputs;
    uint64_t workspace_bytes;
};

// ---- load -----------------------------------------------------------------

static const uint64_t *
ids_of(const ptqc_exe *exe)
{
    return (const uint64_t *)(const void *)(exe->blob + sizeof exe->header);
}

static const pq_ref_entry *
entry_of(const ptqc_exe *exe, uint32_t i)
{
    return (const pq_ref_entry *)(const void *)(ids_of(exe) +
                                                exe->header.constant_count) +
           i;
}

static int
compare_id(const void *key, const void *element)
{
    uint64_t x = *(const uint64_t *)key, y = *(const uint64_t *)element;
    return (x > y) - (x < y);
}

static const void *
map_constant(void *user, uint64_t id, uint64_t *out_bytes)
{
    const ptqc_exe *exe = user;
    uint32_t n = exe->header.constant_count;
    const uint64_t *found =
        n == 0 ? NULL : bsearch(&id, ids_of(exe), n, sizeof id, compare_id);
    if (found == NULL) {
        return NULL;
    }
    const ptqc_bytes *c = &exe->constants[found - ids_of(exe)];
    *out_bytes = c->n;
    return c->p;
}

// Text of what is wrong with the blob, or NULL.
static const char *
check_blob(const ptqc_exe *exe, uint64_t bytes, uint64_t constant_count)
{
    const pq_ref_blob *h = &exe->header;
    uint64_t tables = sizeof *h +
                      h->constant_count * (uint64_t)sizeof(uint64_t) +
                      h->entry_count * (uint64_t)sizeof(pq_ref_entry);
    if (h->total_bytes != bytes || tables > bytes) {
        return "the program is truncated";
    }
    if (pq_hash64(exe->blob + REF_BLOB_HASHED_FROM,
                  bytes - REF_BLOB_HASHED_FROM) != h->hash) {
        return "the program's checksum differs";
    }
    if (h->constant_count != constant_count) {
        return "the program has another number of constants";
    }
    for (uint32_t i = 0; i < h->entry_count; i++) {
        const pq_ref_entry *e = entry_of(exe, i);
        if (e->offset < tables || e->offset % 8 != 0 || e->offset > bytes ||
            e->bytes > bytes - e->offset) {
            return "an entry lies outside the program";
        }
    }
    return NULL;
}

// A program from outside must hold a graph that runs; that it is sound,
// reading it has checked.
static ptqc_status
check_ops(pq_graph *g)
{
    PQ_FOR_EACH_OP(g, id)
    {
        const char *reason = pq_interp_declines(g, pq_graph_op(g, id));
        if (reason != NULL) {
            return PQ_FAIL(pq_graph_ctx(g), PTQC_E_INTEGRITY, "%s", reason);
        }
    }
    return PTQC_OK;
}

static ptqc_status
read_entry(ptqc_ctx *ctx, const ptqc_exe *exe, uint32_t i, pq_graph **out)
{
    const pq_ref_entry *e = entry_of(exe, i);
    return pq_block_read(ctx, exe->blob + e->offset, e->bytes, map_constant,
                         (void *)(uintptr_t)exe, out);
}

static ptqc_be_status
check_entries(ptqc_call *call, const ptqc_exe *exe)
{
    pq_ref_ctx r;
    ptqc_be_status st = pq_ref_ctx_init(&r, &exe->inst->host, call);
    for (uint32_t i = 0; i < exe->header.entry_count && st == PTQC_BE_OK; i++) {
        pq_graph *g = NULL;
        ptqc_status read = read_entry(r.ctx, exe, i, &g);
        if (read == PTQC_OK) {
            read = check_ops(g);
        }
        pq_graph_destroy(g);
        st = read == PTQC_OK || read == PTQC_E_RESOURCE ? pq_ref_status(read)
                                                        : PTQC_BE_CORRUPT;
    }
    pq_ref_ctx_deinit(&r);
    return st;
}

static ptqc_be_status
check_exe(ptqc_call *call, const ptqc_exe *exe, uint64_t bytes,
          uint64_t constant_count)
{
    const ptqc_host *host = &exe->inst->host;
    if (exe->header.magic != REF_BLOB_MAGIC) {
        return pq_ref_say(host, call, PTQC_BE_CORRUPT,
                          "no program of the ref plugin");
    }
    if (exe->header.version != REF_BLOB_VERSION) {
        return pq_ref_say(host, call, PTQC_BE_INCOMPATIBLE,
                          "a program of another version of the ref plugin");
    }
    const char *reason = check_blob(exe, bytes, constant_count);
    return reason != NULL ? pq_ref_say(host, call, PTQC_BE_CORRUPT, reason)
                          : check_entries(call, exe);
}

ptqc_be_status
pq_ref_load(ptqc_call *call, ptqc_instance *inst, ptqc_str device,
            ptqc_bytes blob, const ptqc_bytes *constants,
            uint64_t constant_count, ptqc_exe **out)
{
    const ptqc_host *host = &inst->host;
    ptqc_str own = pq_ref_str(REF_NAME ":0");
    if (device.n != own.n || memcmp(device.p, own.p, own.n) != 0) {
        return pq_ref_say(host, call, PTQC_BE_UNSUPPORTED, "no such device");
    }
    if (blob.n < sizeof(pq_ref_blob)) {
        return pq_ref_say(host, call, PTQC_BE_CORRUPT,
                          "the program is truncated");
    }
    ptqc_exe *exe = host->vt->alloc(host->self, sizeof *exe, 16);
    if (exe == NULL) {
        return PTQC_BE_RESOURCE;
    }
    *exe = (ptqc_exe){.inst = inst, .constants = constants};
    exe->blob = host->vt->alloc(host->self, blob.n, 64);
    ptqc_be_status st = PTQC_BE_RESOURCE;
    if (exe->blob != NULL) {
        memcpy(exe->blob, blob.p, blob.n);
        memcpy(&exe->header, exe->blob, sizeof exe->header);
        st = check_exe(call, exe, blob.n, constant_count);
    }
    if (st != PTQC_BE_OK) {
        pq_ref_exe_free(exe);
        return st;
    }
    *out = exe;
    return PTQC_BE_OK;
}

void
pq_ref_exe_free(ptqc_exe *exe)
{
    const ptqc_host *host = &exe->inst->host;
    host->vt->free(host->self, exe->blob);
    host->vt->free(host->self, exe);
}

// ---- specialize -----------------------------------------------------------

static ptqc_status
measure(ptqc_spec *s, const pq_value *v, pq_tensor *t)
{
    t->dtype = v->type.dtype;
    t->rank = v->type.rank;
    for (uint32_t d = 0; d < t->rank; d++) {
        PQ_TRY(pq_dim_eval(s->g, v->type.dims[d], s->symbols, &t->dims[d]));
    }
    if (!pq_dtype_bytes(t->dtype, t->dims, t->rank, &t->bytes)) {
        return PQ_FAIL(s->r.ctx, PTQC_E_INPUT, "value '%.*s': bad size",
                       PQ_STR_ARG(v->name));
    }
    return PTQC_OK;
}

static ptqc_status
put_in_workspace(ptqc_spec *s, pq_spot *spot)
{
    size_t end;
    if (!pq_add_size(s->workspace_bytes, spot->tensor.bytes, &end) ||
        !pq_align_size(end, PLACE_ALIGN, &end)) {
        return PQ_FAIL(s->r.ctx, PTQC_E_RESOURCE, "the workspace overflows");
    }
    spot->place = PLACE_WORKSPACE;
    spot->at = s->workspace_bytes;
    s->workspace_bytes = end;
    return PTQC_OK;
}

// Bindings are inputs, states, outputs.
static uint32_t
binding_count(const ptqc_spec *s)
{
    return pq_graph_input_count(s->g) + pq_graph_state_count(s->g) +
           pq_graph_output_count(s->g);
}

static uint32_t
first_output(const ptqc_spec *s)
{
    return pq_graph_input_count(s->g) + pq_graph_state_count(s->g);
}

static pq_value_id
bound_value(const ptqc_spec *s, uint32_t i)
{
    uint32_t ins = pq_graph_input_count(s->g);
    if (i < ins) {
        return pq_graph_input(s->g, i);
    }
    return i < first_output(s) ? pq_graph_state(s->g, i - ins)
                               : pq_graph_output(s->g, i - first_output(s));
}

// An updated state stays where it is.
static void
place_updates(ptqc_spec *s)
{
    PQ_FOR_EACH_OP(s->g, id)
    {
        const pq_op *op = pq_graph_op(s->g, id);
        for (uint32_t i = 0; i < pq_op_updates(op->code); i++) {
            s->spots[op->outputs[i].index] = s->spots[op->inputs[i].index];
        }
    }
}

// Boundary values live in their (first) binding.
static void
place_boundary(ptqc_spec *s, uint32_t begin, uint32_t end)
{
    for (uint32_t i = begin; i < end; i++) {
        pq_value_id id = bound_value(s, i);
        pq_spot *spot = &s->spots[id.index];
        if (spot->place == PLACE_NOWHERE &&
            pq_const_is_none(pq_graph_value(s->g, id)->constant)) {
            *spot = (pq_spot){.place = PLACE_BINDING, .at = i};
        }
    }
}

static ptqc_status
place_values(ptqc_spec *s)
{
    uint32_t count = pq_graph_value_count(s->g);
    s->spots = pq_alloc_array(s->r.ctx, count, sizeof *s->spots);
    PQ_TRY_ALLOC(s->spots);
    place_boundary(s, 0, first_output(s));
    place_updates(s);
    place_boundary(s, first_output(s), binding_count(s));
    for (uint32_t i = 1; i < count; i++) {
        const pq_value *v = pq_graph_value(s->g, (pq_value_id){i});
        const pq_constant *c = pq_graph_constant(s->g, v->constant);
        pq_spot *spot = &s->spots[i];
        PQ_TRY(measure(s, v, &spot->tensor));
        if (c != NULL && !pq_const_is_none(v->constant)) {
            spot->place = PLACE_CONSTANT;
            spot->tensor.p = (void *)(uintptr_t)c->p;
        } else if (spot->place == PLACE_NOWHERE) {
            PQ_TRY(put_in_workspace(s, spot));
        }
    }
    return PTQC_OK;
}

static ptqc_status
make_operand_lists(ptqc_spec *s)
{
    uint32_t inputs = 0, outputs = 0;
    PQ_FOR_EACH_OP(s->g, id)
    {
        const pq_op *op = pq_graph_op(s->g, id);
        inputs = op->input_count > inputs ? op->input_count : inputs;
        outputs = op->output_count > outputs ? op->output_count : outputs;
    }
    s->inputs = pq_alloc_array(s->r.ctx, inputs, sizeof *s->inputs);
    PQ_TRY_ALLOC(s->inputs);
    s->outputs = pq_alloc_array(s->r.ctx, outputs, sizeof *s->outputs);
    PQ_TRY_ALLOC(s->outputs);
    return PTQC_OK;
}

static ptqc_status
prepare(ptqc_spec *s, uint32_t entry, const int64_t *dims, uint64_t dim_count)
{
    PQ_TRY(read_entry(s->r.ctx, s->exe, entry, &s->g));
    if (dim_count != pq_graph_symbol_count(s->g)) {
        return PQ_FAIL(s->r.ctx, PTQC_E_USAGE, "expected %u dims, given %llu",
                       pq_graph_symbol_count(s->g),
                       (unsigned long long)dim_count);
    }
    s->symbols = pq_alloc_array(s->r.ctx, dim_count, sizeof *s->symbols);
    PQ_TRY_ALLOC(s->symbols);
    if (dim_count > 0) {
        memcpy(s->symbols, dims, dim_count * sizeof *dims);
    }
    PQ_TRY(place_values(s));
    return make_operand_lists(s);
}

ptqc_be_status
pq_ref_specialize(ptqc_call *call, ptqc_exe *exe, uint32_t entry,
                  const int64_t *dims, uint64_t dim_count, ptqc_spec **out)
{
    const ptqc_host *host = &exe->inst->host;
    if (entry >= exe->header.entry_count) {
        return pq_ref_say(host, call, PTQC_BE_INVALID, "no such entry");
    }
    ptqc_spec *s = host->vt->alloc(host->self, sizeof *s, 16);
    if (s == NULL) {
        return PTQC_BE_RESOURCE;
    }
    *s = (ptqc_spec){.exe = exe};
    ptqc_be_status st = pq_ref_ctx_init(&s->r, host, call);
    if (st == PTQC_BE_OK) {
        st = pq_ref_status(prepare(s, entry, dims, dim_count));
    }
    s->r.call = NULL;
    if (st != PTQC_BE_OK) {
        pq_ref_spec_free(s);
        return st;
    }
    *out = s;
    return PTQC_BE_OK;
}

void
pq_ref_spec_free(ptqc_spec *s)
{
    const ptqc_host *host = &s->exe->inst->host;
    if (s->r.ctx != NULL) {
        pq_free(s->r.ctx, s->outputs);
        pq_free(s->r.ctx, s->inputs);
        pq_free(s->r.ctx, s->spots);
        pq_free(s->r.ctx, s->symbols);
        pq_graph_destroy(s->g);
    }
    pq_ref_ctx_deinit(&s->r);
    host->vt->free(host->self, s);
}

// ---- needs ----------------------------------------------------------------

ptqc_be_status
pq_ref_needs(ptqc_call *call, ptqc_spec *s, ptqc_sink *sink)
{
    (void)call;
    const ptqc_host_vt *vt = s->exe->inst->host.vt;
    const ptqc_needs needs = {
        .h = {.size = sizeof needs, .type = PTQC_REC_NEEDS},
        .workspace_bytes = s->workspace_bytes,
        .workspace_align = PLACE_ALIGN,
    };
    ptqc_be_status st = vt->emit(sink, &needs.h);
    for (uint32_t i = 0; i < binding_count(s) && st == PTQC_BE_OK; i++) {
        const ptqc_buffer_need need = {
            .h = {.size = sizeof need, .type = PTQC_REC_BUFFER_NEED},
            .bytes = s->spots[bound_value(s, i).index].tensor.bytes,
            .align = PLACE_ALIGN,
        };
        st = vt->emit(sink, &need.h);
    }
    return st;
}

// ---- submit ---------------------------------------------------------------

static ptqc_status
bind(ptqc_spec *s, const ptqc_submit *run)
{
    if (run->binding_count != binding_count(s)) {
        return PQ_FAIL(s->r.ctx, PTQC_E_USAGE, "expected %u bindings",
                       binding_count(s));
    }
    if (run->workspace.bytes < s->workspace_bytes) {
        return PQ_FAIL(s->r.ctx, PTQC_E_USAGE, "the workspace is too small");
    }
    for (uint32_t i = 0; i < run->binding_count; i++) {
        const pq_spot *spot = &s->spots[bound_value(s, i).index];
        if (run->bindings[i].bytes < spot->tensor.bytes) {
            return PQ_FAIL(s->r.ctx, PTQC_E_USAGE, "binding %u is too small",
                           i);
        }
    }
    uint32_t count = pq_graph_value_count(s->g);
    for (uint32_t i = 1; i < count; i++) {
        pq_spot *spot = &s->spots[i];
        if (spot->place == PLACE_BINDING) {
            spot->tensor.p = run->bindings[spot->at].host;
        } else if (spot->place == PLACE_WORKSPACE) {
            spot->tensor.p = (uint8_t *)run->workspace.host + spot->at;
        }
    }
    return PTQC_OK;
}

static ptqc_status
run_op(ptqc_spec *s, const pq_op *op)
{
    for (uint32_t i = 0; i < op->input_count; i++) {
        s->inputs[i] = s->spots[op->inputs[i].index].tensor; // zero: absent
    }
    for (uint32_t i = 0; i < op->output_count; i++) {
        s->outputs[i] = s->spots[op->outputs[i].index].tensor;
    }
    return pq_interp_op(s->g, op, s->symbols, s->inputs, s->outputs);
}

static void
tell_time(const ptqc_spec *s, const ptqc_submit *run, const pq_op *op,
          uint64_t ns)
{
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < op->input_count; i++) {
        bytes += s->inputs[i].bytes;
    }
    for (uint32_t i = 0; i < op->output_count; i++) {
        bytes += s->outputs[i].bytes;
    }
    const ptqc_step_profile step = {
        .label = pq_ref_str(pq_op_info_of(op->code)->name),
        .ns = ns,
        .bytes = bytes,
    };
    run->profile(run->profile_user, &step);
}

// An output that is also an input, a state, a constant or an earlier output.
static void
copy_outputs(const ptqc_spec *s, const ptqc_submit *run)
{
    for (uint32_t i = first_output(s); i < run->binding_count; i++) {
        const pq_tensor *t = &s->spots[bound_value(s, i).index].tensor;
        if (t->p != run->bindings[i].host && t->bytes > 0) {
            memcpy(run->bindings[i].host, t->p, t->bytes);
        }
    }
}

static ptqc_be_status
run_all(ptqc_call *call, ptqc_spec *s, const ptqc_submit *run)
{
    const ptqc_host *host = &s->exe->inst->host;
    ptqc_be_status st = pq_ref_status(bind(s, run));
    for (pq_op_id id = pq_graph_first_op(s->g);
         !pq_op_is_none(id) && st == PTQC_BE_OK;
         id = pq_graph_op(s->g, id)->next) {
        const pq_op *op = pq_graph_op(s->g, id);
        if (host->vt->cancelled(call) != 0) {
            return PTQC_BE_CANCELLED;
        }
        uint64_t start = host->vt->clock_ns(host->self);
        st = pq_ref_status(run_op(s, op));
        if (run->profile != NULL && st == PTQC_BE_OK) {
            tell_time(s, run, op, host->vt->clock_ns(host->self) - start);
        }
    }
    if (st == PTQC_BE_OK) {
        copy_outputs(s, run);
    }
    return st;
}

ptqc_be_status
pq_ref_submit(ptqc_call *call, ptqc_spec *s, const ptqc_submit *given)
{
    ptqc_submit run = {0};
    memcpy(&run, given,
           given->h.size < sizeof run ? given->h.size : sizeof run);
    s->r.call = call;
    ptqc_be_status st = run_all(call, s, &run);
    s->r.call = NULL;
    return st;
}
