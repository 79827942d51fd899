// SPDX-License-Identifier: Apache-2.0
//
// Preparing the plan for one set of symbol values: specialize every step, ask
// what memory it needs, allocate everything a run will touch.

#include <string.h>

#include "base/checked.h"
#include "base/dtype.h"
#include "runtime/host.h"
#include "runtime/session.h"

// Collects what one spec answers to `needs`.
typedef struct pq_needs_sink {
    pq_shape *shape;
    const uint32_t *operands; // IFACE values of the bindings
    uint32_t operand_count, seen;
    uint64_t workspace_bytes;
} pq_needs_sink;

static uint64_t
max_u64(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

static ptqc_be_status
take_need(void *user, const ptqc_hdr *record)
{
    pq_needs_sink *sink = user;
    if (record->type == PTQC_REC_NEEDS) {
        ptqc_needs needs;
        pq_record_read(&needs, sizeof needs, record);
        sink->workspace_bytes = needs.workspace_bytes;
        return needs.workspace_align > 4096 ? PTQC_BE_INVALID : PTQC_BE_OK;
    }
    if (record->type == PTQC_REC_BUFFER_NEED &&
        sink->seen++ < sink->operand_count) {
        ptqc_buffer_need need;
        pq_record_read(&need, sizeof need, record);
        pq_slot *slot = &sink->shape->slots[sink->operands[sink->seen - 1]];
        slot->need_bytes = max_u64(slot->need_bytes, need.bytes);
        slot->need_align = max_u64(slot->need_align, need.align);
        return need.align > 4096 || (need.align & (need.align - 1)) != 0
                   ? PTQC_BE_INVALID
                   : PTQC_BE_OK;
    }
    return PTQC_BE_OK;
}

static ptqc_status
ask_needs(ptqc_session *s, pq_shape *shape, const pq_file_step *file,
          pq_shape_step *step)
{
    const pq_plugin *plugin = s->programs[file->program].plugin;
    pq_needs_sink needs = {.shape = shape,
                           .operands =
                               s->artifact->operands + file->first_operand,
                           .operand_count = step->binding_count};
    ptqc_sink sink = {.emit = take_need, .user = &needs};
    ptqc_call call;
    pq_call_init(&call, s->ctx, plugin);
    ptqc_be_status st = plugin->table->vt->needs(&call, step->spec, &sink);
    PQ_TRY(pq_call_end(&call, st, "needs"));
    if (needs.seen != step->binding_count) {
        return PQ_FAIL(s->ctx, PTQC_E_BACKEND,
                       "plugin %s: needs told of %u buffers, expected %u",
                       plugin->name, needs.seen, step->binding_count);
    }
    uint64_t *bytes =
        &shape->workspace_bytes[s->programs[file->program].memory];
    *bytes = max_u64(*bytes, needs.workspace_bytes);
    return PTQC_OK;
}

static ptqc_status
specialize_step(ptqc_session *s, pq_shape *shape, uint32_t index)
{
    const ptqc_artifact *a = s->artifact;
    const pq_file_step *file = &a->steps[index];
    pq_shape_step *step = &shape->steps[index];
    step->binding_count =
        file->input_count + file->state_count + file->output_count;
    step->bindings =
        pq_alloc_array(s->ctx, step->binding_count, sizeof *step->bindings);
    PQ_TRY_ALLOC(step->bindings);
    int64_t *dims = pq_alloc_array(s->ctx, file->dim_count, sizeof *dims);
    PQ_TRY_ALLOC(dims);
    for (uint32_t i = 0; i < file->dim_count; i++) {
        dims[i] = shape->dims[a->operands[file->first_dim + i]];
    }
    const pq_session_program *program = &s->programs[file->program];
    ptqc_call call;
    pq_call_init(&call, s->ctx, program->plugin);
    ptqc_be_status st = program->plugin->table->vt->specialize(
        &call, program->exe, file->entry, dims, file->dim_count, &step->spec);
    pq_free(s->ctx, dims);
    PQ_TRY(pq_call_end(&call, st, "specialize"));
    return ask_needs(s, shape, file, step);
}

// dtype, dims and bytes of every value.
static ptqc_status
size_slots(ptqc_session *s, pq_shape *shape)
{
    const ptqc_gb *g = &s->artifact->iface;
    for (uint32_t i = 0; i < ptqc_gb_count(g, PTQC_GB_VALUES); i++) {
        const ptqc_gb_value *v = ptqc_gb_value_at(g, i);
        ptqc_tensor *t = &shape->slots[i].tensor;
        t->dtype = (ptqc_dtype)v->dtype;
        t->rank = v->rank;
        for (uint32_t d = 0; d < v->rank; d++) {
            t->dims[d] = shape->dims[ptqc_gb_value_dim(g, v, d)];
        }
        if (!pq_dtype_bytes(t->dtype, t->dims, t->rank, &t->bytes)) {
            ptqc_str name = ptqc_gb_str(g, v->name);
            return PQ_FAIL(s->ctx, PTQC_E_INPUT,
                           "value '%.*s': its size overflows", (int)name.n,
                           name.p);
        }
        shape->slots[i].need_bytes = t->bytes;
        shape->slots[i].need_align = 64;
    }
    return PTQC_OK;
}

pq_storage *
pq_shape_storage(const ptqc_session *s, const pq_shape *shape, uint32_t memory,
                 uint32_t value)
{
    return &shape->storages[(size_t)memory * ptqc_gb_count(&s->artifact->iface,
                                                           PTQC_GB_VALUES) +
                            value];
}

static bool
state_fits(const pq_state *state, const pq_slot *slot)
{
    return !pq_storage_is_empty(&state->storage) &&
           state->bytes == slot->need_bytes &&
           state->align % slot->need_align == 0;
}

// States belong to the session: they outlive the shape that first needs them.
// Other sizes than before (another number of sequences) start them afresh;
// shapes that were prepared for the size before are bound anew when they run.
static ptqc_status
bind_states(ptqc_session *s, pq_shape *shape)
{
    const ptqc_gb *g = &s->artifact->iface;
    for (uint32_t i = 0; i < ptqc_gb_count(g, PTQC_GB_STATES); i++) {
        uint32_t value = ptqc_gb_u32_at(g, PTQC_GB_STATES, i);
        pq_slot *slot = &shape->slots[value];
        pq_state *state = &s->states[i];
        const pq_memory *memory = &s->memories[state->memory];
        if (!state_fits(state, slot)) {
            pq_storage_free(s->ctx, memory, &state->storage);
            PQ_TRY(pq_storage_alloc(s->ctx, memory, slot->need_bytes,
                                    slot->need_align, &state->storage));
            state->bytes = slot->need_bytes;
            state->align = slot->need_align;
        }
        slot->is_state = true;
        slot->tensor.data = state->storage.host;
        pq_storage *at = pq_shape_storage(s, shape, state->memory, value);
        *at = state->storage;
        at->is_borrowed = true;
    }
    return PTQC_OK;
}

// A value's storage in one memory.
static ptqc_status
allocate_value(ptqc_session *s, pq_shape *shape, uint32_t memory,
               uint32_t value)
{
    uint32_t values = ptqc_gb_count(&s->artifact->iface, PTQC_GB_VALUES);
    pq_slot *slot = &shape->slots[value];
    pq_storage *at = pq_shape_storage(s, shape, memory, value);
    if (slot->is_state ||
        !s->transfers.is_used[(size_t)memory * values + value]) {
        return PTQC_OK;
    }
    PQ_TRY(pq_storage_alloc(s->ctx, &s->memories[memory], slot->need_bytes,
                            slot->need_align, at));
    if (memory == PQ_HOST_MEMORY) {
        slot->tensor.data = at->host;
    }
    return PTQC_OK;
}

// Memory of values and workspaces.
static ptqc_status
allocate(ptqc_session *s, pq_shape *shape)
{
    uint32_t values = ptqc_gb_count(&s->artifact->iface, PTQC_GB_VALUES);
    for (uint32_t m = 0; m < s->memory_count; m++) {
        for (uint32_t i = 0; i < values; i++) {
            PQ_TRY(allocate_value(s, shape, m, i));
        }
        PQ_TRY(pq_storage_alloc(s->ctx, &s->memories[m],
                                shape->workspace_bytes[m], 4096,
                                &shape->workspaces[m]));
    }
    return PTQC_OK;
}

static ptqc_status
make_arrays(ptqc_session *s, pq_shape *shape)
{
    const ptqc_gb *g = &s->artifact->iface;
    uint32_t values = ptqc_gb_count(g, PTQC_GB_VALUES);
    shape->symbols = pq_alloc_array(s->ctx, ptqc_gb_count(g, PTQC_GB_SYMBOLS),
                                    sizeof *shape->symbols);
    shape->dims = pq_alloc_array(s->ctx, ptqc_gb_count(g, PTQC_GB_DIMS),
                                 sizeof *shape->dims);
    shape->slots = pq_alloc_array(s->ctx, values, sizeof *shape->slots);
    shape->steps =
        pq_alloc_array(s->ctx, s->artifact->step_count, sizeof *shape->steps);
    shape->storages = pq_alloc_array(s->ctx, (size_t)s->memory_count * values,
                                     sizeof *shape->storages);
    shape->workspaces =
        pq_alloc_array(s->ctx, s->memory_count, sizeof *shape->workspaces);
    shape->workspace_bytes =
        pq_alloc_array(s->ctx, s->memory_count, sizeof *shape->workspace_bytes);
    return shape->symbols != NULL && shape->dims != NULL &&
                   shape->slots != NULL && shape->steps != NULL &&
                   shape->storages != NULL && shape->workspaces != NULL &&
                   shape->workspace_bytes != NULL
               ? PTQC_OK
               : PTQC_E_RESOURCE;
}

static ptqc_status
prepare(ptqc_session *s, pq_shape *shape)
{
    const ptqc_artifact *a = s->artifact;
    const ptqc_gb *g = &a->iface;
    uint32_t symbols = ptqc_gb_count(g, PTQC_GB_SYMBOLS);
    PQ_TRY(make_arrays(s, shape));
    memcpy(shape->symbols, s->symbols, symbols * sizeof *shape->symbols);
    if (!ptqc_gb_eval_dims(g, shape->symbols, shape->dims, NULL)) {
        return PQ_FAIL(s->ctx, PTQC_E_INPUT,
                       "the inputs' dimensions are outside what the model "
                       "allows");
    }
    PQ_TRY(size_slots(s, shape));
    for (uint32_t i = 0; i < a->step_count; i++) {
        PQ_TRY(pq_check_cancelled(s->ctx));
        PQ_TRY(specialize_step(s, shape, i));
    }
    PQ_TRY(bind_states(s, shape));
    return allocate(s, shape);
}

void
pq_shape_deinit(ptqc_session *s, pq_shape *shape)
{
    const ptqc_artifact *a = s->artifact;
    for (uint32_t i = 0; shape->steps != NULL && i < a->step_count; i++) {
        pq_shape_step *step = &shape->steps[i];
        if (step->spec != NULL) {
            s->programs[a->steps[i].program].plugin->table->vt->spec_free(
                step->spec);
        }
        pq_free(s->ctx, step->bindings);
    }
    uint32_t values = ptqc_gb_count(&a->iface, PTQC_GB_VALUES);
    for (uint32_t m = 0; m < s->memory_count; m++) {
        for (uint32_t i = 0; shape->storages != NULL && i < values; i++) {
            pq_storage_free(s->ctx, &s->memories[m],
                            pq_shape_storage(s, shape, m, i));
        }
        if (shape->workspaces != NULL) {
            pq_storage_free(s->ctx, &s->memories[m], &shape->workspaces[m]);
        }
    }
    pq_free(s->ctx, shape->workspace_bytes);
    pq_free(s->ctx, shape->workspaces);
    pq_free(s->ctx, shape->storages);
    pq_free(s->ctx, shape->steps);
    pq_free(s->ctx, shape->slots);
    pq_free(s->ctx, shape->dims);
    pq_free(s->ctx, shape->symbols);
    *shape = (pq_shape){0};
}

ptqc_status
pq_session_shape(ptqc_session *s, pq_shape **out)
{
    size_t bytes = ptqc_gb_count(&s->artifact->iface, PTQC_GB_SYMBOLS) *
                   sizeof *s->symbols;
    pq_shape *oldest = &s->shapes[0];
    for (uint32_t i = 0; i < PQ_SHAPE_LIMIT; i++) {
        pq_shape *shape = &s->shapes[i];
        if (shape->symbols != NULL &&
            memcmp(shape->symbols, s->symbols, bytes) == 0) {
            *out = shape;
            return bind_states(s, shape);
        }
        if (shape->last_used < oldest->last_used) {
            oldest = shape;
        }
    }
    pq_shape_deinit(s, oldest);
    ptqc_status st = prepare(s, oldest);
    if (st != PTQC_OK) {
        pq_shape_deinit(s, oldest);
        return st;
    }
    *out = oldest;
    return PTQC_OK;
}
