// SPDX-License-Identifier: Apache-2.0
//
// Symbolic dimensions: the hash-consed table, symbols, evaluation and
// bounds. The normal form is made in dim_rules.c. Recursion here ends with
// PQ_DIM_MAX_WEIGHT, which no expression exceeds.
#include <assert.h>

#include "base/checked.h"
#include "base/hash.h"
#include "ir/graph_internal.h"

const pq_dim_node *
pq_dim_node_of(const pq_graph *g, pq_dim d)
{
    assert(d.index != 0 && d.index < g->dims.count);
    return g->dims.items[d.index];
}

const pq_dim_expr *
pq_dim_get(const pq_graph *g, pq_dim d)
{
    return &pq_dim_node_of(g, d)->expr;
}

// ---- the table ------------------------------------------------------------

static uint64_t
hash_of(const pq_graph *g, pq_dim_op op, pq_dim a, pq_dim b, int64_t value)
{
    const uint64_t words[4] = {
        (uint64_t)op,
        pq_dim_is_none(a) ? 0 : pq_dim_node_of(g, a)->hash,
        pq_dim_is_none(b) ? 0 : pq_dim_node_of(g, b)->hash,
        (uint64_t)value,
    };
    return pq_hash64(words, sizeof words);
}

static bool
is_same(const pq_dim_expr *e, pq_dim_op op, pq_dim a, pq_dim b, int64_t value)
{
    return e->op == op && pq_dim_equal(e->a, a) && pq_dim_equal(e->b, b) &&
           e->value == value;
}

static void
put_slot(uint32_t *slots, uint32_t slot_count, uint64_t hash, uint32_t index)
{
    uint32_t at = (uint32_t)hash & (slot_count - 1);
    while (slots[at] != 0) {
        at = (at + 1) & (slot_count - 1);
    }
    slots[at] = index;
}

static bool
grow_slots(pq_graph *g)
{
    if (g->dims.count * 2 < g->dim_slot_count) {
        return true;
    }
    uint32_t count = g->dim_slot_count == 0 ? 64 : g->dim_slot_count * 2;
    uint32_t *slots = pq_alloc_array(g->ctx, count, sizeof *slots);
    if (slots == NULL) {
        return false;
    }
    for (uint32_t i = 1; i < g->dims.count; i++) {
        put_slot(slots, count, pq_dim_node_of(g, (pq_dim){i})->hash, i);
    }
    pq_free(g->ctx, g->dim_slots);
    g->dim_slots = slots;
    g->dim_slot_count = count;
    return true;
}

static uint32_t
weight_of(const pq_graph *g, pq_dim a, pq_dim b)
{
    uint32_t weight = 1;
    weight += pq_dim_is_none(a) ? 0 : pq_dim_node_of(g, a)->weight;
    weight += pq_dim_is_none(b) ? 0 : pq_dim_node_of(g, b)->weight;
    return weight;
}

pq_dim
pq_dim_intern(pq_graph *g, pq_dim_op op, pq_dim a, pq_dim b, int64_t value,
              bool is_opaque)
{
    const pq_dim none = {0};
    uint64_t hash = hash_of(g, op, a, b, value);
    if (!grow_slots(g)) {
        pq_graph_note(g, PTQC_E_RESOURCE);
        return none;
    }
    uint32_t mask = g->dim_slot_count - 1;
    for (uint32_t at = (uint32_t)hash & mask; g->dim_slots[at] != 0;
         at = (at + 1) & mask) {
        pq_dim d = {g->dim_slots[at]};
        if (is_same(pq_dim_get(g, d), op, a, b, value)) {
            return d;
        }
    }
    uint32_t weight = weight_of(g, a, b);
    if (weight > PQ_DIM_MAX_WEIGHT) {
        pq_graph_note(g, PQ_FAIL(g->ctx, PTQC_E_UNSUPPORTED,
                                 "dimension expression has more than %u terms",
                                 PQ_DIM_MAX_WEIGHT));
        return none;
    }
    pq_dim_node *node = pq_arena_alloc(&g->arena, sizeof *node);
    if (node == NULL || !pq_table_push(g, &g->dims, node)) {
        pq_graph_note(g, PTQC_E_RESOURCE);
        return none;
    }
    *node = (pq_dim_node){.expr = {.op = op, .a = a, .b = b, .value = value},
                          .hash = hash,
                          .weight = weight,
                          .is_opaque = is_opaque};
    uint32_t index = g->dims.count - 1;
    put_slot(g->dim_slots, g->dim_slot_count, hash, index);
    return (pq_dim){index};
}

pq_dim
pq_dim_const(pq_graph *g, int64_t value)
{
    return pq_dim_intern(g, PQ_DIM_CONST, (pq_dim){0}, (pq_dim){0}, value,
                         false);
}

bool
pq_dim_is_const(const pq_graph *g, pq_dim d, int64_t *out)
{
    if (pq_dim_is_none(d) || pq_dim_get(g, d)->op != PQ_DIM_CONST) {
        return false;
    }
    if (out != NULL) {
        *out = pq_dim_get(g, d)->value;
    }
    return true;
}

uint32_t
pq_graph_dim_count(const pq_graph *g)
{
    return g->dims.count;
}

// ---- symbols ----------------------------------------------------------------

uint32_t
pq_graph_symbol_count(const pq_graph *g)
{
    return g->symbols.count;
}

pq_symbol *
pq_graph_symbol(pq_graph *g, uint32_t index)
{
    return index < g->symbols.count ? g->symbols.items[index] : NULL;
}

static bool
add_symbol(pq_graph *g, pq_str name, int64_t min, int64_t max)
{
    pq_symbol *symbol = pq_arena_alloc(&g->arena, sizeof *symbol);
    if (symbol == NULL || !pq_copy_str(g, name, &symbol->name)) {
        return false;
    }
    symbol->min = min;
    symbol->max = max;
    symbol->multiple = 1;
    return pq_strmap_set(&g->symbol_names, symbol->name, g->symbols.count,
                         NULL) == PTQC_OK &&
           pq_table_push(g, &g->symbols, symbol);
}

pq_dim
pq_dim_symbol(pq_graph *g, pq_str name, int64_t min, int64_t max)
{
    const pq_dim none = {0};
    uint64_t index;
    if (pq_strmap_find(&g->symbol_names, name, &index)) {
        pq_symbol *symbol = pq_graph_symbol(g, (uint32_t)index);
        symbol->min = min > symbol->min ? min : symbol->min;
        symbol->max = max < symbol->max ? max : symbol->max;
    } else {
        index = g->symbols.count;
        if (!add_symbol(g, name, min, max)) {
            pq_graph_note(g, PTQC_E_RESOURCE);
            return none;
        }
    }
    return pq_dim_intern(g, PQ_DIM_SYMBOL, none, none, (int64_t)index, false);
}

// ---- arithmetic -----------------------------------------------------------

static bool
floor_div(int64_t a, int64_t b, int64_t *out)
{
    if (b == 0 || (a == INT64_MIN && b == -1)) {
        return false;
    }
    int64_t q = a / b;
    *out = a % b != 0 && (a < 0) != (b < 0) ? q - 1 : q;
    return true;
}

bool
pq_dim_compute(pq_dim_op op, int64_t a, int64_t b, int64_t *out)
{
    int64_t q;
    switch (op) {
    case PQ_DIM_ADD:
        return pq_add_i64(a, b, out);
    case PQ_DIM_SUB:
        return pq_sub_i64(a, b, out);
    case PQ_DIM_MUL:
        return pq_mul_i64(a, b, out);
    case PQ_DIM_DIV:
        return floor_div(a, b, out);
    case PQ_DIM_CDIV:
        if (!floor_div(a, b, &q)) {
            return false;
        }
        *out = a % b != 0 ? q + 1 : q;
        return true;
    case PQ_DIM_MOD:
        if (!floor_div(a, b, &q)) {
            return false;
        }
        *out = a - q * b;
        return true;
    case PQ_DIM_MIN:
        *out = a < b ? a : b;
        return true;
    case PQ_DIM_MAX:
        *out = a > b ? a : b;
        return true;
    case PQ_DIM_CONST:
    case PQ_DIM_SYMBOL:
        break;
    }
    assert(false && "not an operation");
    return false;
}

pq_dim
pq_dim_make(pq_graph *g, pq_dim_op op, pq_dim a, pq_dim b)
{
    int64_t x;
    int64_t y;
    int64_t result;
    if (pq_dim_is_none(a) || pq_dim_is_none(b)) {
        return (pq_dim){0};
    }
    if (!pq_dim_is_const(g, a, &x) || !pq_dim_is_const(g, b, &y)) {
        return pq_dim_simplify(g, op, a, b);
    }
    if (!pq_dim_compute(op, x, y, &result)) {
        pq_graph_note(
            g, PQ_FAIL(g->ctx, PTQC_E_INPUT,
                       "dimension overflows or divides by zero: %lld and %lld",
                       (long long)x, (long long)y));
        return (pq_dim){0};
    }
    return pq_dim_const(g, result);
}

// ---- evaluation -----------------------------------------------------------

typedef struct evaluation {
    const pq_graph *g;
    const int64_t *symbols;
    const pq_dim_expr *bad; // the expression that fails
} evaluation;

static bool
evaluate(evaluation *ev, pq_dim d, int64_t *out)
{
    const pq_dim_expr *e = pq_dim_get(ev->g, d);
    int64_t a;
    int64_t b;
    if (e->op == PQ_DIM_CONST) {
        *out = e->value;
        return true;
    }
    if (e->op == PQ_DIM_SYMBOL) {
        const pq_symbol *s = ev->g->symbols.items[e->value];
        *out = ev->symbols[e->value];
        if (*out >= s->min && *out <= s->max && *out % s->multiple == 0) {
            return true;
        }
        ev->bad = e;
        return false;
    }
    if (!evaluate(ev, e->a, &a) || !evaluate(ev, e->b, &b)) {
        return false;
    }
    if (pq_dim_compute(e->op, a, b, out)) {
        return true;
    }
    ev->bad = e;
    return false;
}

ptqc_status
pq_dim_eval(const pq_graph *g, pq_dim d, const int64_t *symbols, int64_t *out)
{
    evaluation ev = {.g = g, .symbols = symbols};
    if (pq_dim_is_none(d)) {
        return PQ_FAIL(g->ctx, PTQC_E_INTERNAL, "evaluating no dimension");
    }
    if (evaluate(&ev, d, out)) {
        return PTQC_OK;
    }
    if (ev.bad->op != PQ_DIM_SYMBOL) {
        return PQ_FAIL(g->ctx, PTQC_E_INPUT,
                       "dimension overflows or divides by zero for these "
                       "input shapes");
    }
    const pq_symbol *s = g->symbols.items[ev.bad->value];
    return PQ_FAIL(g->ctx, PTQC_E_INPUT,
                   "dimension '%.*s' is %lld, expected %lld to %lld, a "
                   "multiple of %lld",
                   PQ_STR_ARG(s->name), (long long)symbols[ev.bad->value],
                   (long long)s->min, (long long)s->max,
                   (long long)s->multiple);
}
