// SPDX-License-Identifier: Apache-2.0
//
// When values are copied between memories, planned once per session: inputs
// begin in the host's memory, a step's outputs in its device's, states stay
// where the one program that has them runs. A step that reads a value from
// elsewhere has a copy in front of it, by way of the host when both are
// devices; what the caller gets is copied to the host at the end. Nothing is
// copied twice.

#include <string.h>

#include "base/vec.h"
#include "runtime/session.h"

typedef struct planner {
    ptqc_session *s;
    pq_transfers *t;
    uint32_t value_count;
    bool *is_current; // [memory count][value count]
    uint32_t count, capacity;
} planner;

static ptqc_status
add(planner *p, uint32_t value, uint32_t from, uint32_t to)
{
    void *all = p->t->list;
    PQ_TRY(pq_vec_reserve(p->s->ctx, &all, &p->capacity, (size_t)p->count + 1,
                          sizeof *p->t->list));
    p->t->list = all;
    p->t->list[p->count++] = (pq_transfer){value, from, to};
    p->is_current[(size_t)to * p->value_count + value] = true;
    p->t->is_used[(size_t)to * p->value_count + value] = true;
    return PTQC_OK;
}

// Makes the value current in the memory. One that nobody has written yet (a
// careless artifact) stays as it was made: zeros.
static ptqc_status
fetch(planner *p, uint32_t value, uint32_t to)
{
    p->t->is_used[(size_t)to * p->value_count + value] = true;
    if (p->is_current[(size_t)to * p->value_count + value]) {
        return PTQC_OK;
    }
    uint32_t from = 0;
    while (from < p->s->memory_count &&
           !p->is_current[(size_t)from * p->value_count + value]) {
        from++;
    }
    if (from == p->s->memory_count) {
        return PTQC_OK;
    }
    if (from != PQ_HOST_MEMORY && to != PQ_HOST_MEMORY) {
        PQ_TRY(add(p, value, from, PQ_HOST_MEMORY));
        from = PQ_HOST_MEMORY;
    }
    return add(p, value, from, to);
}

static ptqc_status
own_state(planner *p, uint32_t value, uint32_t memory)
{
    const ptqc_gb *g = &p->s->artifact->iface;
    for (uint32_t i = 0; i < ptqc_gb_count(g, PTQC_GB_STATES); i++) {
        pq_state *state = &p->s->states[i];
        if (ptqc_gb_u32_at(g, PTQC_GB_STATES, i) != value) {
            continue;
        }
        if (state->is_used && state->memory != memory) {
            ptqc_str name = ptqc_gb_str(g, ptqc_gb_value_at(g, value)->name);
            return PQ_FAIL(p->s->ctx, PTQC_E_UNSUPPORTED,
                           "state '%.*s' is used on two devices", (int)name.n,
                           name.p);
        }
        state->is_used = true;
        state->memory = memory;
    }
    p->t->is_used[(size_t)memory * p->value_count + value] = true;
    return PTQC_OK;
}

static ptqc_status
plan_step(planner *p, const pq_file_step *step)
{
    const uint32_t *operands = p->s->artifact->operands + step->first_operand;
    uint32_t memory = p->s->programs[step->program].memory;
    for (uint32_t i = 0; i < step->input_count; i++) {
        PQ_TRY(fetch(p, operands[i], memory));
    }
    operands += step->input_count;
    for (uint32_t i = 0; i < step->state_count; i++) {
        PQ_TRY(own_state(p, operands[i], memory));
    }
    operands += step->state_count;
    for (uint32_t i = 0; i < step->output_count; i++) {
        for (uint32_t m = 0; m < p->s->memory_count; m++) {
            p->is_current[(size_t)m * p->value_count + operands[i]] =
                m == memory;
        }
        p->t->is_used[(size_t)memory * p->value_count + operands[i]] = true;
    }
    return PTQC_OK;
}

static ptqc_status
plan_all(planner *p)
{
    const ptqc_artifact *a = p->s->artifact;
    const ptqc_gb *g = &a->iface;
    for (uint32_t i = 0; i < ptqc_gb_count(g, PTQC_GB_INPUTS); i++) {
        p->is_current[ptqc_gb_u32_at(g, PTQC_GB_INPUTS, i)] = true;
    }
    for (uint32_t i = 0; i < a->step_count; i++) {
        p->t->first[i] = p->count;
        PQ_TRY(plan_step(p, &a->steps[i]));
    }
    p->t->first[a->step_count] = p->count;
    for (uint32_t i = 0; i < ptqc_gb_count(g, PTQC_GB_OUTPUTS); i++) {
        PQ_TRY(fetch(p, ptqc_gb_u32_at(g, PTQC_GB_OUTPUTS, i), PQ_HOST_MEMORY));
    }
    p->t->first[a->step_count + 1] = p->count;
    return PTQC_OK;
}

ptqc_status
pq_transfers_plan(ptqc_session *s, pq_transfers *out)
{
    uint32_t values = ptqc_gb_count(&s->artifact->iface, PTQC_GB_VALUES);
    size_t places = (size_t)s->memory_count * values;
    planner p = {.s = s, .t = out, .value_count = values};
    out->first = pq_alloc_array(s->ctx, (size_t)s->artifact->step_count + 2,
                                sizeof *out->first);
    out->is_used = pq_alloc_array(s->ctx, places, sizeof *out->is_used);
    p.is_current = pq_alloc_array(s->ctx, places, sizeof *p.is_current);
    ptqc_status st =
        out->first != NULL && out->is_used != NULL && p.is_current != NULL
            ? plan_all(&p)
            : PTQC_E_RESOURCE;
    pq_free(s->ctx, p.is_current);
    return st;
}

void
pq_transfers_deinit(ptqc_ctx *ctx, pq_transfers *t)
{
    pq_free(ctx, t->list);
    pq_free(ctx, t->first);
    pq_free(ctx, t->is_used);
    *t = (pq_transfers){0};
}

ptqc_status
pq_transfers_run(ptqc_session *s, pq_shape *shape, uint32_t step)
{
    const pq_transfers *t = &s->transfers;
    for (uint32_t i = t->first[step]; i < t->first[step + 1]; i++) {
        const pq_transfer *one = &t->list[i];
        pq_slot *slot = &shape->slots[one->value];
        pq_storage host = {.host = slot->tensor.data};
        const pq_storage *from =
            pq_shape_storage(s, shape, one->from, one->value);
        const pq_storage *to = pq_shape_storage(s, shape, one->to, one->value);
        PQ_TRY(pq_storage_copy(
            s->ctx, &s->memories[one->from],
            one->from == PQ_HOST_MEMORY ? &host : from, &s->memories[one->to],
            one->to == PQ_HOST_MEMORY ? &host : to, slot->tensor.bytes));
    }
    return PTQC_OK;
}
