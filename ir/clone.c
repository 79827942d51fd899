// SPDX-License-Identifier: Apache-2.0
//
// Deep copies of graphs, table by table, so that every id keeps its number.
#include <string.h>

#include "ir/graph_internal.h"

// Items of `from` copied as `bytes` each; NULL items stay NULL.
static bool
copy_table(pq_graph *g, pq_table *to, const pq_table *from, size_t bytes)
{
    for (uint32_t i = to->count; i < from->count; i++) {
        void *item = pq_arena_memdup(&g->arena, from->items[i], bytes);
        if (item == NULL || !pq_table_push(g, to, item)) {
            return false;
        }
    }
    return true;
}

static bool
copy_array(pq_graph *g, const void **p, size_t bytes)
{
    if (*p != NULL) {
        *p = pq_arena_memdup(&g->arena, *p, bytes);
        return *p != NULL;
    }
    return true;
}

// Made bytes stay with the graph that owns them: taken out of every slot before
// anything fails, else the clone would free them as it goes.
static bool
copy_slots(pq_graph *g, const pq_graph *from)
{
    bool is_good = copy_table(g, &g->constants, &from->constants,
                              sizeof(pq_constant_slot));
    for (uint32_t i = 1; i < g->constants.count; i++) {
        pq_constant_slot *slot = g->constants.items[i];
        slot->made = NULL;
    }
    return is_good;
}

static bool
copy_constants(pq_graph *g, const pq_graph *from, bool own_bytes)
{
    if (!copy_slots(g, from)) {
        return false;
    }
    for (uint32_t i = 1; i < g->constants.count; i++) {
        pq_constant_slot *slot = g->constants.items[i];
        pq_constant *c = &slot->constant;
        const void *dims = c->dims;
        if (!copy_array(g, &dims, c->rank * sizeof *c->dims) ||
            (own_bytes && !copy_array(g, &c->p, c->bytes))) {
            return false;
        }
        c->dims = dims;
    }
    return true;
}

static bool
copy_symbols(pq_graph *g)
{
    for (uint32_t i = 0; i < g->symbols.count; i++) {
        pq_symbol *s = g->symbols.items[i];
        if (!pq_copy_str(g, s->name, &s->name) ||
            pq_strmap_set(&g->symbol_names, s->name, i, NULL) != PTQC_OK) {
            return false;
        }
    }
    return true;
}

static bool
copy_values(pq_graph *g)
{
    for (uint32_t i = 1; i < g->values.count; i++) {
        pq_value_slot *slot = g->values.items[i];
        pq_value *v = &slot->value;
        const void *dims = v->type.dims;
        const void *elements = v->elements;
        slot->uses = NULL; // added with the ops
        v->use_count = slot->output_uses;
        if (!pq_copy_str(g, v->name, &v->name) ||
            pq_strmap_set(&g->value_names, v->name, i, NULL) != PTQC_OK ||
            !copy_array(g, &dims, v->type.rank * sizeof(pq_dim)) ||
            !copy_array(g, &elements, v->element_count * sizeof(pq_dim))) {
            return false;
        }
        v->type.dims = dims;
        v->elements = elements;
    }
    return true;
}

static bool
copy_operands(pq_graph *g, pq_op *op)
{
    const void *inputs = op->inputs;
    const void *outputs = op->outputs;
    const void *attrs = op->attrs;
    if (!copy_array(g, &inputs, op->input_count * sizeof *op->inputs) ||
        !copy_array(g, &outputs, op->output_count * sizeof *op->outputs) ||
        !copy_array(g, &attrs, op->attr_count * sizeof *op->attrs)) {
        return false;
    }
    op->inputs = (pq_value_id *)inputs; // the copies are the graph's own
    op->outputs = (pq_value_id *)outputs;
    op->attrs = (pq_attr *)attrs;
    for (uint32_t i = 0; i < op->attr_count; i++) {
        if (!pq_attr_own(g, &op->attrs[i])) {
            return false;
        }
    }
    return pq_copy_str(g, op->name, &op->name);
}

static bool
copy_ops(pq_graph *g)
{
    for (uint32_t i = 1; i < g->ops.count; i++) {
        pq_op *op = g->ops.items[i];
        if (!copy_operands(g, op)) {
            return false;
        }
        for (uint32_t j = 0; j < op->input_count && !op->is_dead; j++) {
            if (pq_value_is_none(op->inputs[j])) {
                continue;
            }
            pq_use *use = pq_use_alloc(g);
            if (use == NULL) {
                return false;
            }
            pq_use_add(g, op->inputs[j], (pq_op_id){i}, use);
        }
    }
    return true;
}

static bool
copy_outputs(pq_graph *g)
{
    for (uint32_t i = 0; i < g->outputs.count; i++) {
        pq_output *output = g->outputs.items[i];
        if (!pq_copy_str(g, output->name, &output->name)) {
            return false;
        }
    }
    return true;
}

static bool
copy_dim_slots(pq_graph *g, const pq_graph *from)
{
    if (from->dim_slot_count == 0) {
        return true;
    }
    g->dim_slots =
        pq_alloc_array(g->ctx, from->dim_slot_count, sizeof *g->dim_slots);
    if (g->dim_slots == NULL) {
        return false;
    }
    memcpy(g->dim_slots, from->dim_slots,
           from->dim_slot_count * sizeof *g->dim_slots);
    g->dim_slot_count = from->dim_slot_count;
    return true;
}

static bool
copy_all(pq_graph *to, const pq_graph *from, bool own_bytes)
{
    to->stage = from->stage;
    to->first_op = from->first_op;
    to->last_op = from->last_op;
    to->live_ops = from->live_ops;
    return pq_copy_str(to, from->name, &to->name) &&
           copy_table(to, &to->dims, &from->dims, sizeof(pq_dim_node)) &&
           copy_dim_slots(to, from) &&
           copy_table(to, &to->symbols, &from->symbols, sizeof(pq_symbol)) &&
           copy_symbols(to) && copy_constants(to, from, own_bytes) &&
           copy_table(to, &to->quants, &from->quants, sizeof(pq_quant)) &&
           copy_table(to, &to->values, &from->values, sizeof(pq_value_slot)) &&
           copy_values(to) &&
           copy_table(to, &to->ops, &from->ops, sizeof(pq_op)) &&
           copy_ops(to) &&
           copy_table(to, &to->inputs, &from->inputs, sizeof(pq_value_id)) &&
           copy_table(to, &to->states, &from->states, sizeof(pq_value_id)) &&
           copy_table(to, &to->outputs, &from->outputs, sizeof(pq_output)) &&
           copy_outputs(to);
}

ptqc_status
pq_graph_clone(pq_graph *g, bool own_bytes, pq_graph **out)
{
    pq_graph *copy;
    *out = NULL;
    PQ_TRY(pq_graph_create(g->ctx, &copy));
    if (!copy_all(copy, g, own_bytes)) {
        pq_graph_destroy(copy);
        return PTQC_E_RESOURCE;
    }
    *out = copy;
    return PTQC_OK;
}
