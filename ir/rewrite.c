// SPDX-License-Identifier: Apache-2.0
//
// Changing a graph. Every value keeps the list of its uses, so replacing one
// costs what its uses cost.
#include "ir/rewrite.h"

#include <assert.h>
#include <string.h>

#include "ir/graph_internal.h"

void
pq_op_link(pq_graph *g, pq_op_id id, pq_op_id before)
{
    pq_op *op = pq_graph_op(g, id);
    pq_op *after = pq_graph_op(g, before);
    op->next = before;
    op->prev = after != NULL ? after->prev : g->last_op;
    if (pq_op_is_none(op->prev)) {
        g->first_op = id;
    } else {
        pq_graph_op(g, op->prev)->next = id;
    }
    if (after != NULL) {
        after->prev = id;
    } else {
        g->last_op = id;
    }
}

// Leaves op's own links as they are.
void
pq_op_unlink(pq_graph *g, pq_op_id id)
{
    const pq_op *op = pq_graph_op(g, id);
    if (pq_op_is_none(op->prev)) {
        g->first_op = op->next;
    } else {
        pq_graph_op(g, op->prev)->next = op->next;
    }
    if (pq_op_is_none(op->next)) {
        g->last_op = op->prev;
    } else {
        pq_graph_op(g, op->next)->prev = op->prev;
    }
}

pq_use *
pq_use_alloc(pq_graph *g)
{
    pq_use *use = g->free_uses;
    if (use != NULL) {
        g->free_uses = use->next;
        return use;
    }
    return pq_arena_alloc(&g->arena, sizeof *use);
}

void
pq_use_add(pq_graph *g, pq_value_id v, pq_op_id op, pq_use *use)
{
    pq_value_slot *slot = pq_graph_slot(g, v);
    *use = (pq_use){.op = op, .next = slot->uses};
    slot->uses = use;
    slot->value.use_count++;
}

void
pq_use_remove(pq_graph *g, pq_value_id v, pq_op_id op)
{
    pq_value_slot *slot = pq_graph_slot(g, v);
    pq_use **link = &slot->uses;
    while (*link != NULL && !pq_op_equal((*link)->op, op)) {
        link = &(*link)->next;
    }
    assert(*link != NULL);
    pq_use *use = *link;
    *link = use->next;
    use->next = g->free_uses;
    g->free_uses = use;
    slot->value.use_count--;
}

const pq_use *
pq_value_uses(const pq_graph *g, pq_value_id v)
{
    const pq_value_slot *slot = pq_graph_slot(g, v);
    return slot != NULL ? slot->uses : NULL;
}

bool
pq_value_is_output(const pq_graph *g, pq_value_id v)
{
    const pq_value_slot *slot = pq_graph_slot(g, v);
    return slot != NULL && slot->output_uses != 0;
}

// In one op, one operand per use that is moved.
static void
replace_operand(pq_op *op, pq_value_id from, pq_value_id to)
{
    for (uint32_t i = 0; i < op->input_count; i++) {
        if (pq_value_equal(op->inputs[i], from)) {
            op->inputs[i] = to;
            return;
        }
    }
    assert(false && "a use without its operand");
}

ptqc_status
pq_replace_uses(pq_graph *g, pq_value_id from, pq_value_id to)
{
    pq_value_slot *source = pq_graph_slot(g, from);
    pq_value_slot *target = pq_graph_slot(g, to);
    if (source == NULL || target == NULL) {
        return PQ_FAIL(g->ctx, PTQC_E_INTERNAL,
                       "replacing uses of or by no value");
    }
    if (source == target) {
        return PTQC_OK;
    }
    pq_use **link = &source->uses;
    while (*link != NULL) {
        pq_use *use = *link;
        if (pq_op_equal(use->op, target->value.producer)) {
            link = &use->next;
            continue;
        }
        *link = use->next;
        replace_operand(pq_graph_op(g, use->op), from, to);
        use->next = target->uses;
        target->uses = use;
        source->value.use_count--;
        target->value.use_count++;
    }
    for (uint32_t i = 0; source->output_uses != 0 && i < g->outputs.count;
         i++) {
        if (pq_value_equal(pq_graph_output(g, i), from)) {
            pq_graph_set_output(g, i, to);
        }
    }
    return PTQC_OK;
}

ptqc_status
pq_set_input(pq_graph *g, pq_op_id id, uint32_t i, pq_value_id v)
{
    pq_op *op = pq_graph_op(g, id);
    uint32_t count = i >= op->input_count ? i + 1 : op->input_count;
    if (i >= pq_op_info_of(op->code)->max_inputs) {
        return PQ_FAIL(g->ctx, PTQC_E_INTERNAL, "%s has no input %u",
                       pq_op_info_of(op->code)->name, i);
    }
    pq_use *use = NULL;
    if (!pq_value_is_none(v)) {
        use = pq_use_alloc(g);
        PQ_TRY_ALLOC(use);
    }
    if (count > op->input_count) {
        pq_value_id *inputs = pq_arena_array(&g->arena, count, sizeof *inputs);
        PQ_TRY_ALLOC(inputs);
        memcpy(inputs, op->inputs, op->input_count * sizeof *inputs);
        op->inputs = inputs;
        op->input_count = count;
    }
    if (!pq_value_is_none(op->inputs[i])) {
        pq_use_remove(g, op->inputs[i], id);
    }
    op->inputs[i] = v;
    if (use != NULL) {
        pq_use_add(g, v, id, use);
    }
    return PTQC_OK;
}

bool
pq_attr_own(pq_graph *g, pq_attr *a)
{
    switch (pq_attr_kind_of(a->name)) {
    case PQ_KIND_I64S:
        a->ints.p = pq_arena_memdup(&g->arena, a->ints.p,
                                    a->ints.n * sizeof *a->ints.p);
        return a->ints.p != NULL;
    case PQ_KIND_F32S:
        a->floats.p = pq_arena_memdup(&g->arena, a->floats.p,
                                      a->floats.n * sizeof *a->floats.p);
        return a->floats.p != NULL;
    case PQ_KIND_DIMS:
        a->dims.p = pq_arena_memdup(&g->arena, a->dims.p,
                                    a->dims.n * sizeof *a->dims.p);
        return a->dims.p != NULL;
    case PQ_KIND_I64:
    case PQ_KIND_F32:
    case PQ_KIND_OP:
    case PQ_KIND_DTYPE:
        break;
    }
    return true;
}

ptqc_status
pq_set_attr(pq_graph *g, pq_op_id id, const pq_attr *attr)
{
    pq_op *op = pq_graph_op(g, id);
    pq_attr copy = *attr;
    uint32_t at = 0;
    if (!pq_attr_own(g, &copy)) {
        return PTQC_E_RESOURCE;
    }
    while (at < op->attr_count && op->attrs[at].name < attr->name) {
        at++;
    }
    if (at < op->attr_count && op->attrs[at].name == attr->name) {
        op->attrs[at] = copy;
        return PTQC_OK;
    }
    pq_attr *attrs =
        pq_arena_array(&g->arena, op->attr_count + 1, sizeof *attrs);
    PQ_TRY_ALLOC(attrs);
    memcpy(attrs, op->attrs, at * sizeof *attrs);
    attrs[at] = copy;
    memcpy(attrs + at + 1, op->attrs + at,
           (op->attr_count - at) * sizeof *attrs);
    op->attrs = attrs;
    op->attr_count++;
    return PTQC_OK;
}

void
pq_drop_attr(pq_graph *g, pq_op_id id, pq_attr_name name)
{
    pq_op *op = pq_graph_op(g, id);
    uint32_t kept = 0;
    for (uint32_t i = 0; i < op->attr_count; i++) {
        if (op->attrs[i].name != name) {
            op->attrs[kept++] = op->attrs[i];
        }
    }
    op->attr_count = kept;
}

static bool
has_used_output(const pq_graph *g, const pq_op *op)
{
    for (uint32_t i = 0; i < op->output_count; i++) {
        if (pq_graph_value(g, op->outputs[i])->use_count != 0) {
            return true;
        }
    }
    return false;
}

void
pq_erase_op(pq_graph *g, pq_op_id id)
{
    pq_op *op = pq_graph_op(g, id);
    assert(!op->is_dead && !has_used_output(g, op));
    for (uint32_t i = 0; i < op->input_count; i++) {
        if (!pq_value_is_none(op->inputs[i])) {
            pq_use_remove(g, op->inputs[i], id);
        }
    }
    pq_op_unlink(g, id);
    op->is_dead = true;
    g->live_ops--;
}

static bool
changes_state(const pq_graph *g, const pq_op *op)
{
    return pq_op_updates(op->code) > 0 &&
           pq_graph_value(g, op->inputs[0])->is_state;
}

uint32_t
pq_erase_dead(pq_graph *g)
{
    uint32_t erased = 0;
    pq_op_id id = g->last_op;
    while (!pq_op_is_none(id)) {
        const pq_op *op = pq_graph_op(g, id);
        pq_op_id prev = op->prev;
        if (!has_used_output(g, op) && !changes_state(g, op)) {
            pq_erase_op(g, id);
            erased++;
        }
        id = prev;
    }
    return erased;
}

pq_op_id
pq_single_user(const pq_graph *g, pq_value_id v)
{
    const pq_value_slot *slot = pq_graph_slot(g, v);
    if (slot == NULL || slot->value.use_count != 1 || slot->output_uses != 0) {
        return (pq_op_id){0};
    }
    return slot->uses->op;
}

void
pq_move_op(pq_graph *g, pq_op_id id, pq_op_id before)
{
    if (!pq_op_equal(id, before)) {
        pq_op_unlink(g, id);
        pq_op_link(g, id, before);
    }
}
