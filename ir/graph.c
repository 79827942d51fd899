// SPDX-License-Identifier: Apache-2.0
//
// The graph's tables: values, ops, constants, quantization parameters and
// the boundary. Dimensions are in dims.c, changes in rewrite.c.
#include "ir/graph.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "base/dtype.h"
#include "ir/graph_internal.h"

void
pq_graph_note(pq_graph *g, ptqc_status st)
{
    g->failure = st;
}

ptqc_status
pq_graph_failure(const pq_graph *g)
{
    return g->failure != PTQC_OK ? g->failure : PTQC_E_INTERNAL;
}

bool
pq_table_push(pq_graph *g, pq_table *t, void *item)
{
    if (t->count == t->capacity) {
        uint32_t more = t->capacity < 16 ? 16 : t->capacity * 2;
        void **items = NULL;
        if (t->capacity <= UINT32_MAX / 4) {
            items = pq_realloc_array(g->ctx, t->items, t->capacity, more,
                                     sizeof *items);
        }
        if (items == NULL) {
            pq_graph_note(g, PTQC_E_RESOURCE);
            return false;
        }
        t->items = items;
        t->capacity = more;
    }
    t->items[t->count++] = item;
    return true;
}

static void *
table_get(const pq_table *t, uint32_t index)
{
    return index < t->count ? t->items[index] : NULL;
}

bool
pq_copy_str(pq_graph *g, pq_str s, pq_str *out)
{
    char *p = pq_arena_strndup(&g->arena, s.p, s.n);
    if (p == NULL) {
        pq_graph_note(g, PTQC_E_RESOURCE);
        return false;
    }
    *out = (pq_str){p, s.n};
    return true;
}

// ---- the graph itself ---------------------------------------------------

ptqc_status
pq_graph_create(ptqc_ctx *ctx, pq_graph **out)
{
    *out = NULL;
    pq_graph *g = pq_alloc(ctx, sizeof *g);
    PQ_TRY_ALLOC(g);
    g->ctx = ctx;
    pq_arena_init(&g->arena, ctx);
    pq_strmap_init(&g->value_names, ctx);
    pq_strmap_init(&g->symbol_names, ctx);
    pq_table *const null_first[] = {&g->values, &g->ops, &g->constants,
                                    &g->quants, &g->dims};
    for (size_t i = 0; i < sizeof null_first / sizeof null_first[0]; i++) {
        if (!pq_table_push(g, null_first[i], NULL)) {
            pq_graph_destroy(g);
            return PTQC_E_RESOURCE;
        }
    }
    *out = g;
    return PTQC_OK;
}

void
pq_graph_destroy(pq_graph *g)
{
    if (g == NULL) {
        return;
    }
    pq_graph_release_constants(g);
    for (uint32_t i = 0; i < g->maps.count; i++) {
        pq_map_close(g->maps.items[i]);
    }
    pq_table *const tables[] = {
        &g->values,  &g->ops,  &g->constants, &g->quants, &g->dims,
        &g->symbols, &g->maps, &g->inputs,    &g->states, &g->outputs};
    for (size_t i = 0; i < sizeof tables / sizeof tables[0]; i++) {
        pq_free(g->ctx, tables[i]->items);
    }
    pq_free(g->ctx, g->dim_slots);
    pq_strmap_deinit(&g->value_names);
    pq_strmap_deinit(&g->symbol_names);
    pq_arena_deinit(&g->arena);
    pq_free(g->ctx, g);
}

ptqc_ctx *
pq_graph_ctx(const pq_graph *g)
{
    return g->ctx;
}

pq_arena *
pq_graph_arena(pq_graph *g)
{
    return &g->arena;
}

pq_stage
pq_graph_stage(const pq_graph *g)
{
    return g->stage;
}

void
pq_graph_set_stage(pq_graph *g, pq_stage stage)
{
    g->stage = stage;
}

pq_str
pq_graph_name(const pq_graph *g)
{
    return g->name;
}

ptqc_status
pq_graph_set_name(pq_graph *g, pq_str name)
{
    return pq_copy_str(g, name, &g->name) ? PTQC_OK : PTQC_E_RESOURCE;
}

ptqc_status
pq_graph_adopt_map(pq_graph *g, pq_map map)
{
    pq_map *copy = pq_arena_memdup(&g->arena, &map, sizeof map);
    return copy != NULL && pq_table_push(g, &g->maps, copy) ? PTQC_OK
                                                            : PTQC_E_RESOURCE;
}

// ---- constants and quantization -----------------------------------------

static bool
check_constant(pq_graph *g, const pq_constant *c)
{
    size_t bytes;
    if (c->rank > PTQC_MAX_RANK) {
        pq_graph_note(g, PQ_FAIL(g->ctx, PTQC_E_UNSUPPORTED,
                                 "constant: rank %u, at most %d is supported",
                                 c->rank, PTQC_MAX_RANK));
        return false;
    }
    if (pq_dtype_bits(c->dtype) == 0 ||
        !pq_dtype_bytes(c->dtype, c->dims, c->rank, &bytes) ||
        bytes != c->bytes) {
        pq_graph_note(g, PQ_FAIL(g->ctx, PTQC_E_INPUT,
                                 "constant: %zu bytes do not fit its %s shape",
                                 c->bytes, pq_dtype_name(c->dtype)));
        return false;
    }
    return true;
}

pq_const_id
pq_graph_add_constant(pq_graph *g, const pq_constant *c)
{
    if (!check_constant(g, c)) {
        return (pq_const_id){0};
    }
    pq_constant_slot *copy = pq_arena_alloc(&g->arena, sizeof *copy);
    int64_t *dims = pq_arena_memdup(&g->arena, c->dims, c->rank * sizeof *dims);
    if (copy == NULL || dims == NULL) {
        pq_graph_note(g, PTQC_E_RESOURCE);
        return (pq_const_id){0};
    }
    copy->constant = *c;
    copy->constant.dims = dims;
    if (!pq_table_push(g, &g->constants, copy)) {
        return (pq_const_id){0};
    }
    return (pq_const_id){g->constants.count - 1};
}

const pq_constant *
pq_graph_constant(const pq_graph *g, pq_const_id id)
{
    return table_get(&g->constants, id.index);
}

pq_constant_slot *
pq_graph_constant_slot(const pq_graph *g, pq_const_id id)
{
    return table_get(&g->constants, id.index);
}

ptqc_status
pq_graph_constant_hash(pq_graph *g, pq_const_id id, const pq_sha256 **out)
{
    pq_constant_slot *slot = pq_graph_constant_slot(g, id);
    assert(slot != NULL);
    if (!slot->has_hash) {
        PQ_TRY(pq_check_cancelled(g->ctx));
        if (pq_quant_is_none(slot->quant)) {
            PQ_TRY(pq_sha256_of(g->ctx, slot->constant.p, slot->constant.bytes,
                                &slot->hash));
        } else {
            PQ_TRY(pq_codes_hash(g, slot, &slot->hash));
        }
        slot->has_hash = true;
    }
    *out = &slot->hash;
    return PTQC_OK;
}

uint32_t
pq_graph_constant_count(const pq_graph *g)
{
    return g->constants.count;
}

pq_quant_id
pq_graph_add_quant(pq_graph *g, const pq_quant *q)
{
    pq_quant *copy = pq_arena_memdup(&g->arena, q, sizeof *q);
    if (copy == NULL) {
        pq_graph_note(g, PTQC_E_RESOURCE);
        return (pq_quant_id){0};
    }
    if (!pq_table_push(g, &g->quants, copy)) {
        return (pq_quant_id){0};
    }
    return (pq_quant_id){g->quants.count - 1};
}

const pq_quant *
pq_graph_quant(const pq_graph *g, pq_quant_id id)
{
    return table_get(&g->quants, id.index);
}

uint32_t
pq_graph_quant_count(const pq_graph *g)
{
    return g->quants.count;
}

// ---- values ---------------------------------------------------------------

pq_value_slot *
pq_graph_slot(const pq_graph *g, pq_value_id v)
{
    return table_get(&g->values, v.index);
}

pq_value *
pq_graph_value(const pq_graph *g, pq_value_id id)
{
    pq_value_slot *slot = pq_graph_slot(g, id);
    return slot != NULL ? &slot->value : NULL;
}

uint32_t
pq_graph_value_count(const pq_graph *g)
{
    return g->values.count;
}

// The name itself when it is free, else with the value's index, which ends
// after a few tries: an index is used once.
static bool
unique_name(pq_graph *g, pq_str name, uint32_t index, pq_str *out)
{
    uint64_t ignored;
    char suffix[32];
    if (name.n != 0 && !pq_strmap_find(&g->value_names, name, &ignored)) {
        return pq_copy_str(g, name, out);
    }
    pq_str stem = name.n != 0 ? name : PQ_STR("t");
    for (unsigned try = 0;; try++) {
        const char *dash = name.n != 0 ? "_" : "";
        int n = try == 0 ? snprintf(suffix, sizeof suffix, "%s%u", dash, index)
                         : snprintf(suffix, sizeof suffix, "%s%u_%u", dash,
                                    index, try);
        char *p = pq_arena_alloc(&g->arena, stem.n + (size_t)n + 1);
        if (p == NULL) {
            pq_graph_note(g, PTQC_E_RESOURCE);
            return false;
        }
        memcpy(p, stem.p, stem.n);
        memcpy(p + stem.n, suffix, (size_t)n);
        *out = (pq_str){p, stem.n + (size_t)n};
        if (!pq_strmap_find(&g->value_names, *out, &ignored)) {
            return true;
        }
    }
}

pq_value_id
pq_graph_add_value(pq_graph *g, pq_str name, pq_type type)
{
    const pq_value_id none = {0};
    uint32_t index = g->values.count;
    pq_value_slot *slot = pq_arena_alloc(&g->arena, sizeof *slot);
    if (slot == NULL) {
        pq_graph_note(g, PTQC_E_RESOURCE);
        return none;
    }
    slot->value.type = type;
    if (!unique_name(g, name, index, &slot->value.name)) {
        return none;
    }
    ptqc_status st =
        pq_strmap_set(&g->value_names, slot->value.name, index, NULL);
    if (st != PTQC_OK) {
        pq_graph_note(g, st);
        return none;
    }
    return pq_table_push(g, &g->values, slot) ? (pq_value_id){index} : none;
}

pq_value_id
pq_graph_add_constant_value(pq_graph *g, pq_str name, pq_const_id constant)
{
    const pq_constant *c = pq_graph_constant(g, constant);
    pq_dim dims[PTQC_MAX_RANK];
    pq_type type;
    assert(c != NULL);
    for (uint32_t i = 0; i < c->rank; i++) {
        dims[i] = pq_dim_const(g, c->dims[i]);
        if (pq_dim_is_none(dims[i])) {
            return PQ_NO_VALUE;
        }
    }
    if (!pq_type_make(g, c->dtype, dims, c->rank, &type)) {
        return PQ_NO_VALUE;
    }
    pq_value_id id = pq_graph_add_value(g, name, type);
    pq_value *v = pq_graph_value(g, id);
    if (v != NULL) {
        v->constant = constant;
        pq_constant_elements(g, v);
    }
    return id;
}

// A value that an erased op made is gone.
static bool
is_gone(const pq_graph *g, const pq_value *v)
{
    const pq_op *op = pq_graph_op(g, v->producer);
    return op != NULL && op->is_dead;
}

pq_value_id
pq_graph_find_value(const pq_graph *g, pq_str name)
{
    uint64_t index;
    if (!pq_strmap_find(&g->value_names, name, &index)) {
        return PQ_NO_VALUE;
    }
    pq_value_id id = {(uint32_t)index};
    const pq_value *v = pq_graph_value(g, id);
    return v == NULL || is_gone(g, v) ? PQ_NO_VALUE : id;
}

bool
pq_type_make(pq_graph *g, ptqc_dtype dtype, const pq_dim *dims, uint32_t rank,
             pq_type *out)
{
    pq_dim *copy = pq_arena_memdup(&g->arena, dims, rank * sizeof *copy);
    if (copy == NULL) {
        pq_graph_note(g, PTQC_E_RESOURCE);
        return false;
    }
    *out = (pq_type){.dtype = dtype, .rank = rank, .dims = copy};
    return true;
}

// ---- boundary -------------------------------------------------------------

// Appends a value from outside, which has no origin yet.
static ptqc_status
add_source(pq_graph *g, pq_table *t, pq_value_id v, const char *what)
{
    const pq_value *value = pq_graph_value(g, v);
    if (value == NULL || !pq_op_is_none(value->producer) ||
        !pq_const_is_none(value->constant)) {
        return PQ_FAIL(g->ctx, PTQC_E_INTERNAL,
                       "graph %s is no value or has a producer", what);
    }
    const pq_table *const taken[] = {&g->inputs, &g->states};
    for (uint32_t i = 0; i < taken[0]->count + taken[1]->count; i++) {
        uint32_t n = taken[0]->count;
        const pq_value_id *other =
            i < n ? taken[0]->items[i] : taken[1]->items[i - n];
        if (pq_value_equal(*other, v)) {
            return PQ_FAIL(g->ctx, PTQC_E_INTERNAL,
                           "'%.*s' is a graph input or state already",
                           PQ_STR_ARG(value->name));
        }
    }
    pq_value_id *id = pq_arena_memdup(&g->arena, &v, sizeof v);
    return id != NULL && pq_table_push(g, t, id) ? PTQC_OK : PTQC_E_RESOURCE;
}

ptqc_status
pq_graph_add_input(pq_graph *g, pq_value_id v)
{
    return add_source(g, &g->inputs, v, "input");
}

ptqc_status
pq_graph_add_state(pq_graph *g, pq_value_id v)
{
    PQ_TRY(add_source(g, &g->states, v, "state"));
    pq_graph_value(g, v)->is_state = true;
    return PTQC_OK;
}

ptqc_status
pq_graph_add_output(pq_graph *g, pq_value_id v)
{
    pq_value_slot *slot = pq_graph_slot(g, v);
    if (slot == NULL) {
        return PQ_FAIL(g->ctx, PTQC_E_INTERNAL, "graph output is no value");
    }
    pq_output *output = pq_arena_alloc(&g->arena, sizeof *output);
    if (output == NULL || !pq_table_push(g, &g->outputs, output)) {
        return PTQC_E_RESOURCE;
    }
    *output = (pq_output){.value = v, .name = slot->value.name};
    slot->value.use_count++;
    slot->output_uses++;
    return PTQC_OK;
}

uint32_t
pq_graph_input_count(const pq_graph *g)
{
    return g->inputs.count;
}

pq_value_id
pq_graph_input(const pq_graph *g, uint32_t i)
{
    const pq_value_id *id = table_get(&g->inputs, i);
    return id != NULL ? *id : PQ_NO_VALUE;
}

uint32_t
pq_graph_state_count(const pq_graph *g)
{
    return g->states.count;
}

pq_value_id
pq_graph_state(const pq_graph *g, uint32_t i)
{
    const pq_value_id *id = table_get(&g->states, i);
    return id != NULL ? *id : PQ_NO_VALUE;
}

uint32_t
pq_graph_output_count(const pq_graph *g)
{
    return g->outputs.count;
}

pq_value_id
pq_graph_output(const pq_graph *g, uint32_t i)
{
    const pq_output *output = table_get(&g->outputs, i);
    return output != NULL ? output->value : PQ_NO_VALUE;
}

static void
count_output(pq_graph *g, pq_value_id v, bool is_more)
{
    pq_value_slot *slot = pq_graph_slot(g, v);
    assert(slot != NULL);
    if (is_more) {
        slot->value.use_count++;
        slot->output_uses++;
    } else {
        slot->value.use_count--;
        slot->output_uses--;
    }
}

void
pq_graph_set_output(pq_graph *g, uint32_t i, pq_value_id v)
{
    assert(i < g->outputs.count && pq_graph_slot(g, v) != NULL);
    pq_output *output = g->outputs.items[i];
    count_output(g, output->value, false);
    output->value = v;
    count_output(g, v, true);
}

pq_str
pq_graph_output_name(const pq_graph *g, uint32_t i)
{
    const pq_output *output = table_get(&g->outputs, i);
    return output != NULL ? output->name : (pq_str){"", 0};
}

ptqc_status
pq_graph_set_output_name(pq_graph *g, uint32_t i, pq_str name)
{
    pq_output *output = table_get(&g->outputs, i);
    assert(output != NULL);
    return pq_copy_str(g, name, &output->name) ? PTQC_OK : PTQC_E_RESOURCE;
}

void
pq_graph_drop_outputs(pq_graph *g, uint32_t keep)
{
    while (g->outputs.count > keep) {
        count_output(g, pq_graph_output(g, g->outputs.count - 1), false);
        g->outputs.count--;
    }
}

// ---- ops ------------------------------------------------------------------

pq_op *
pq_graph_op(const pq_graph *g, pq_op_id id)
{
    return table_get(&g->ops, id.index);
}

pq_op_id
pq_graph_first_op(const pq_graph *g)
{
    return g->first_op;
}

pq_op_id
pq_graph_last_op(const pq_graph *g)
{
    return g->last_op;
}

uint32_t
pq_graph_op_count(const pq_graph *g)
{
    return g->ops.count;
}

uint32_t
pq_graph_live_op_count(const pq_graph *g)
{
    return g->live_ops;
}

const pq_attr *
pq_op_attr(const pq_op *op, pq_attr_name name)
{
    for (uint32_t i = 0; i < op->attr_count; i++) {
        if (op->attrs[i].name == name) {
            return &op->attrs[i];
        }
    }
    return NULL;
}

int64_t
pq_op_i64(const pq_op *op, pq_attr_name name, int64_t otherwise)
{
    const pq_attr *a = pq_op_attr(op, name);
    return a != NULL ? a->i : otherwise;
}

float
pq_op_f32(const pq_op *op, pq_attr_name name, float otherwise)
{
    const pq_attr *a = pq_op_attr(op, name);
    return a != NULL ? a->f : otherwise;
}

int64_t
pq_op_int_at(const pq_op *op, pq_attr_name name, uint32_t i, int64_t otherwise)
{
    const pq_attr *a = pq_op_attr(op, name);
    return a != NULL && i < a->ints.n ? a->ints.p[i] : otherwise;
}
