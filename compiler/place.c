// SPDX-License-Identifier: Apache-2.0
//
// Every op goes to the first target that accepts it; then ops of one target
// are gathered into parts, as few as the order of data allows.

#include "compiler/place.h"

#include <string.h>

#include "base/vec.h"
#include "ir/block.h"

// ---- who takes what -------------------------------------------------------

// Ops in order, the block that shows them, and what is still homeless.
typedef struct pq_offer {
    pq_graph *g;
    pq_targets *targets;
    pq_placement *p;
    pq_op_id *ops; // [op_count]: node index -> op
    uint32_t op_count;
    void *block; // owned
    size_t block_bytes;
    uint32_t *asked; // node indices offered to the target at hand
    uint32_t asked_count;
    uint32_t target;
    uint32_t decline_capacity;
    pq_decline *declines; // growing, owned while placing
    uint32_t decline_count;
    ptqc_status st;
} pq_offer;

static ptqc_status
keep_decline(pq_offer *offer, const ptqc_verdict *v)
{
    if (v->node >= offer->op_count) {
        return PQ_FAIL(offer->targets->ctx, PTQC_E_BACKEND,
                       "plugin %s: check names node %u of %u",
                       offer->targets->all[offer->target].plugin->name, v->node,
                       offer->op_count);
    }
    pq_op_id op = offer->ops[v->node];
    if (offer->p->target_of[op.index] != offer->target) {
        return PTQC_OK; // a second verdict, or on an op it was not offered
    }
    offer->p->target_of[op.index] = UINT32_MAX;
    void *all = offer->declines;
    PQ_TRY(pq_vec_reserve(offer->targets->ctx, &all, &offer->decline_capacity,
                          (size_t)offer->decline_count + 1,
                          sizeof *offer->declines));
    offer->declines = all;
    const char *reason =
        pq_arena_strndup(&offer->p->arena, v->reason.p, v->reason.n);
    PQ_TRY_ALLOC(reason);
    offer->declines[offer->decline_count++] =
        (pq_decline){.op = op, .target = offer->target, .reason = reason};
    return PTQC_OK;
}

static ptqc_be_status
take_verdict(void *user, const ptqc_hdr *record)
{
    pq_offer *offer = user;
    if (offer->st == PTQC_OK && record->type == PTQC_REC_VERDICT) {
        ptqc_verdict v;
        pq_record_read(&v, sizeof v, record);
        offer->st = keep_decline(offer, &v);
    }
    return offer->st == PTQC_OK ? PTQC_BE_OK : PTQC_BE_RESOURCE;
}

// Offers all homeless ops to one target.
static ptqc_status
offer_to(pq_offer *offer, uint32_t target)
{
    const pq_target *t = &offer->targets->all[target];
    offer->target = target;
    offer->asked_count = 0;
    for (uint32_t i = 0; i < offer->op_count; i++) {
        uint32_t *home = &offer->p->target_of[offer->ops[i].index];
        if (*home == UINT32_MAX) {
            *home = target;
            offer->asked[offer->asked_count++] = i;
        }
    }
    if (offer->asked_count == 0) {
        return PTQC_OK;
    }
    ptqc_sink sink = {.emit = take_verdict, .user = offer};
    ptqc_call call;
    pq_call_init(&call, offer->targets->ctx, t->plugin);
    call.constant_map = pq_block_constant;
    call.constant_release = pq_block_release;
    call.constant_user = offer->g;
    ptqc_be_status st = t->plugin->table->vt->check(
        &call, t->plugin->instance,
        (ptqc_str){t->text.target.p, t->text.target.n},
        (ptqc_bytes){offer->block, offer->block_bytes}, offer->asked,
        offer->asked_count, &sink);
    pq_graph_release_constants(offer->g);
    PQ_TRY(offer->st);
    return pq_call_end(&call, st, "check");
}

static ptqc_status
homeless(const pq_offer *offer)
{
    for (uint32_t i = 0; i < offer->op_count; i++) {
        if (offer->p->target_of[offer->ops[i].index] != UINT32_MAX) {
            continue;
        }
        const pq_op *op = pq_graph_op(offer->g, offer->ops[i]);
        const char *reason = "no target";
        for (uint32_t d = 0; d < offer->decline_count; d++) {
            if (pq_op_equal(offer->declines[d].op, offer->ops[i])) {
                reason = offer->declines[d].reason;
            }
        }
        return PQ_FAIL(offer->targets->ctx, PTQC_E_UNSUPPORTED,
                       "op %s '%.*s': no target runs it: %s",
                       pq_op_info_of(op->code)->name, PQ_STR_ARG(op->name),
                       reason);
    }
    return PTQC_OK;
}

static ptqc_status
assign(pq_offer *offer)
{
    pq_arena *arena = &offer->p->arena;
    uint32_t ids = pq_graph_op_count(offer->g);
    offer->ops = pq_arena_array(arena, ids, sizeof *offer->ops);
    offer->asked = pq_arena_array(arena, ids, sizeof *offer->asked);
    offer->p->target_of =
        pq_arena_array(arena, ids, sizeof *offer->p->target_of);
    if (offer->ops == NULL || offer->asked == NULL ||
        offer->p->target_of == NULL) {
        return PTQC_E_RESOURCE;
    }
    PQ_FOR_EACH_OP(offer->g, id)
    {
        offer->ops[offer->op_count++] = id;
        offer->p->target_of[id.index] = UINT32_MAX;
    }
    PQ_TRY(pq_block_write(offer->g, &(pq_block_desc){0}, &offer->block,
                          &offer->block_bytes));
    for (uint32_t t = 0; t < offer->targets->count; t++) {
        PQ_TRY(offer_to(offer, t));
    }
    PQ_TRY(homeless(offer));
    offer->p->declines = pq_arena_memdup(
        arena, offer->declines, offer->decline_count * sizeof *offer->declines);
    PQ_TRY_ALLOC(offer->p->declines);
    offer->p->decline_count = offer->decline_count;
    return PTQC_OK;
}

// ---- parts ----------------------------------------------------------------

// part_of[op] and the parts' targets; an op joins the first part of its
// target that does not come before any part it reads from.
typedef struct pq_gather {
    pq_graph *g;
    pq_placement *p;
    uint32_t *part_of; // [op ids]
    pq_part *parts;    // [live ops] room
} pq_gather;

static uint32_t
first_allowed(const pq_gather *s, const pq_op *op)
{
    uint32_t first = 0;
    for (uint32_t i = 0; i < op->input_count; i++) {
        const pq_value *v = pq_graph_value(s->g, op->inputs[i]);
        if (v != NULL && !pq_op_is_none(v->producer) &&
            s->part_of[v->producer.index] > first) {
            first = s->part_of[v->producer.index];
        }
    }
    return first;
}

static void
join(pq_gather *s, pq_op_id id)
{
    const pq_op *op = pq_graph_op(s->g, id);
    uint32_t target = s->p->target_of[id.index];
    uint32_t part = first_allowed(s, op);
    while (part < s->p->part_count && s->parts[part].target != target) {
        part++;
    }
    if (part == s->p->part_count) {
        s->parts[s->p->part_count++].target = target;
    }
    s->part_of[id.index] = part;
    s->parts[part].op_count++;
}

static ptqc_status
fill_ops(pq_gather *s)
{
    for (uint32_t i = 0; i < s->p->part_count; i++) {
        s->parts[i].ops = pq_arena_array(&s->p->arena, s->parts[i].op_count,
                                         sizeof *s->parts[i].ops);
        PQ_TRY_ALLOC(s->parts[i].ops);
        s->parts[i].op_count = 0;
    }
    PQ_FOR_EACH_OP(s->g, id)
    {
        pq_part *part = &s->parts[s->part_of[id.index]];
        part->ops[part->op_count++] = id;
    }
    return PTQC_OK;
}

// A state lies as the program that has it wants: no other one may.
static ptqc_status
own_state(const pq_gather *s, const pq_part *part, pq_value_id id)
{
    for (const pq_part *p = s->parts; p < part; p++) {
        for (uint32_t i = 0; i < p->state_count; i++) {
            if (pq_value_equal(p->states[i], id)) {
                return PQ_FAIL(pq_graph_ctx(s->g), PTQC_E_UNSUPPORTED,
                               "state '%.*s' is used in two programs: one "
                               "alone can have it",
                               PQ_STR_ARG(pq_graph_value(s->g, id)->name));
            }
        }
    }
    return PTQC_OK;
}

// is_seen[value]: made by the part so far, or listed among its inputs.
static ptqc_status
find_inputs(pq_gather *s, pq_part *part, bool *is_seen)
{
    uint32_t room = 0;
    for (uint32_t i = 0; i < part->op_count; i++) {
        room += pq_graph_op(s->g, part->ops[i])->input_count;
    }
    part->inputs = pq_arena_array(&s->p->arena, room, sizeof *part->inputs);
    part->states = pq_arena_array(&s->p->arena, room, sizeof *part->states);
    PQ_TRY_ALLOC(part->inputs);
    PQ_TRY_ALLOC(part->states);
    for (uint32_t i = 0; i < part->op_count; i++) {
        const pq_op *op = pq_graph_op(s->g, part->ops[i]);
        for (uint32_t k = 0; k < op->input_count; k++) {
            pq_value_id id = op->inputs[k];
            const pq_value *v = pq_graph_value(s->g, id);
            if (v == NULL || !pq_const_is_none(v->constant) ||
                is_seen[id.index]) {
                continue;
            }
            is_seen[id.index] = true;
            if (v->is_state) {
                PQ_TRY(own_state(s, part, id));
                part->states[part->state_count++] = id;
            } else {
                part->inputs[part->input_count++] = id;
            }
        }
        for (uint32_t k = 0; k < op->output_count; k++) {
            is_seen[op->outputs[k].index] = true;
        }
    }
    return PTQC_OK;
}

// leaves[value]: some part other than the maker's reads it, or the caller.
static void
mark_leaving(pq_gather *s, bool *leaves)
{
    for (uint32_t i = 0; i < pq_graph_output_count(s->g); i++) {
        leaves[pq_graph_output(s->g, i).index] = true;
    }
    PQ_FOR_EACH_OP(s->g, id)
    {
        const pq_op *op = pq_graph_op(s->g, id);
        for (uint32_t k = 0; k < op->input_count; k++) {
            const pq_value *v = pq_graph_value(s->g, op->inputs[k]);
            if (v != NULL && !pq_op_is_none(v->producer) &&
                s->part_of[v->producer.index] != s->part_of[id.index]) {
                leaves[op->inputs[k].index] = true;
            }
        }
    }
}

static ptqc_status
find_outputs(pq_gather *s, pq_part *part, const bool *leaves)
{
    uint32_t room = 0;
    for (uint32_t i = 0; i < part->op_count; i++) {
        room += pq_graph_op(s->g, part->ops[i])->output_count;
    }
    part->outputs = pq_arena_array(&s->p->arena, room, sizeof *part->outputs);
    PQ_TRY_ALLOC(part->outputs);
    for (uint32_t i = 0; i < part->op_count; i++) {
        const pq_op *op = pq_graph_op(s->g, part->ops[i]);
        for (uint32_t k = 0; k < op->output_count; k++) {
            if (leaves[op->outputs[k].index]) {
                part->outputs[part->output_count++] = op->outputs[k];
            }
        }
    }
    return PTQC_OK;
}

static ptqc_status
gather(pq_graph *g, pq_placement *p)
{
    pq_gather s = {.g = g, .p = p};
    uint32_t values = pq_graph_value_count(g);
    s.part_of =
        pq_arena_array(&p->arena, pq_graph_op_count(g), sizeof *s.part_of);
    s.parts =
        pq_arena_array(&p->arena, pq_graph_live_op_count(g), sizeof *s.parts);
    bool *is_seen = pq_arena_array(&p->arena, values, sizeof *is_seen);
    bool *leaves = pq_arena_array(&p->arena, values, sizeof *leaves);
    if (s.part_of == NULL || s.parts == NULL || is_seen == NULL ||
        leaves == NULL) {
        return PTQC_E_RESOURCE;
    }
    PQ_FOR_EACH_OP(g, id)
    {
        join(&s, id);
    }
    p->parts = s.parts;
    PQ_TRY(fill_ops(&s));
    mark_leaving(&s, leaves);
    for (uint32_t i = 0; i < p->part_count; i++) {
        memset(is_seen, 0, values * sizeof *is_seen);
        PQ_TRY(find_inputs(&s, &p->parts[i], is_seen));
        PQ_TRY(find_outputs(&s, &p->parts[i], leaves));
    }
    return PTQC_OK;
}

ptqc_status
pq_place(pq_graph *g, pq_targets *targets, pq_placement *out)
{
    *out = (pq_placement){0};
    pq_arena_init(&out->arena, targets->ctx);
    pq_offer offer = {.g = g, .targets = targets, .p = out};
    ptqc_status st = assign(&offer);
    if (st == PTQC_OK) {
        st = gather(g, out);
    }
    pq_free(targets->ctx, offer.block);
    pq_free(targets->ctx, offer.declines);
    if (st != PTQC_OK) {
        pq_placement_deinit(out);
    }
    return st;
}

void
pq_placement_deinit(pq_placement *p)
{
    if (p->arena.ctx != NULL) {
        pq_arena_deinit(&p->arena);
    }
    *p = (pq_placement){0};
}

// ---- telling of declines --------------------------------------------------

bool
pq_decline_is_like(const pq_graph *g, const pq_decline *a, const pq_decline *b)
{
    return a->target == b->target &&
           pq_graph_op(g, a->op)->code == pq_graph_op(g, b->op)->code &&
           strcmp(a->reason, b->reason) == 0;
}

uint32_t
pq_decline_count_like(const pq_graph *g, const pq_placement *p, uint32_t i)
{
    uint32_t n = 0;
    for (uint32_t k = 0; k < p->decline_count; k++) {
        if (!pq_decline_is_like(g, &p->declines[i], &p->declines[k])) {
            continue;
        }
        if (k < i) {
            return 0;
        }
        n++;
    }
    return n;
}
