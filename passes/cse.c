// SPDX-License-Identifier: Apache-2.0
//
// Common subexpressions: of ops with the same code, operands, attributes and
// result types the first one serves all. Ops are deterministic, so outputs
// keep their bits.

#include <string.h>

#include "base/hash.h"
#include "ir/rewrite.h"
#include "passes/registry.h"

// Open addressing over op ids, twice as many slots as ops.
typedef struct pq_cse {
    pq_graph *g;
    uint32_t *slots; // [slot_count] op index or 0
    uint32_t slot_count;
} pq_cse;

static uint64_t
mix(uint64_t hash, const void *p, size_t n)
{
    uint64_t both[2] = {hash, pq_hash64(p, n)};
    return pq_hash64(both, sizeof both);
}

static const void *
attr_bytes(const pq_attr *a, size_t *out_n)
{
    switch (pq_attr_kind_of(a->name)) {
    case PQ_KIND_I64S:
        *out_n = a->ints.n * sizeof *a->ints.p;
        return a->ints.p;
    case PQ_KIND_F32S:
        *out_n = a->floats.n * sizeof *a->floats.p;
        return a->floats.p;
    case PQ_KIND_DIMS:
        *out_n = a->dims.n * sizeof *a->dims.p;
        return a->dims.p;
    case PQ_KIND_F32:
        *out_n = sizeof a->f;
        return &a->f;
    case PQ_KIND_I64:
    case PQ_KIND_OP:
    case PQ_KIND_DTYPE:
        break;
    }
    *out_n = sizeof a->i;
    return &a->i;
}

static uint64_t
hash_op(const pq_op *op)
{
    uint64_t hash = mix((uint64_t)op->code, op->inputs,
                        op->input_count * sizeof *op->inputs);
    for (uint32_t i = 0; i < op->attr_count; i++) {
        size_t n;
        const void *p = attr_bytes(&op->attrs[i], &n);
        hash = mix(hash + op->attrs[i].name, p, n);
    }
    return hash;
}

static bool
same_attrs(const pq_op *a, const pq_op *b)
{
    if (a->attr_count != b->attr_count) {
        return false;
    }
    for (uint32_t i = 0; i < a->attr_count; i++) {
        size_t n, m;
        const void *p = attr_bytes(&a->attrs[i], &n);
        const void *q = attr_bytes(&b->attrs[i], &m);
        if (a->attrs[i].name != b->attrs[i].name || n != m ||
            (n > 0 && memcmp(p, q, n) != 0)) {
            return false;
        }
    }
    return true;
}

static bool
same_results(const pq_graph *g, const pq_op *a, const pq_op *b)
{
    for (uint32_t i = 0; i < a->output_count; i++) {
        const pq_value *x = pq_graph_value(g, a->outputs[i]);
        const pq_value *y = pq_graph_value(g, b->outputs[i]);
        if (x->type.dtype != y->type.dtype ||
            !pq_quant_equal(x->quant, y->quant)) {
            return false;
        }
    }
    return true;
}

static bool
same_op(const pq_graph *g, const pq_op *a, const pq_op *b)
{
    return a->code == b->code && a->input_count == b->input_count &&
           a->output_count == b->output_count &&
           (a->input_count == 0 ||
            memcmp(a->inputs, b->inputs, a->input_count * sizeof *a->inputs) ==
                0) &&
           same_attrs(a, b) && same_results(g, a, b);
}

static ptqc_status
visit(pq_cse *c, pq_op_id id)
{
    const pq_op *op = pq_graph_op(c->g, id);
    uint32_t mask = c->slot_count - 1;
    uint32_t at = (uint32_t)hash_op(op) & mask;
    for (; c->slots[at] != 0; at = (at + 1) & mask) {
        const pq_op *other = pq_graph_op(c->g, (pq_op_id){c->slots[at]});
        if (!same_op(c->g, op, other)) {
            continue;
        }
        for (uint32_t i = 0; i < op->output_count; i++) {
            PQ_TRY(pq_replace_uses(c->g, op->outputs[i], other->outputs[i]));
        }
        pq_erase_op(c->g, id);
        return PTQC_OK;
    }
    c->slots[at] = id.index;
    return PTQC_OK;
}

ptqc_status
pq_pass_cse(pq_graph *g, pq_pass_env *env)
{
    pq_cse c = {.g = g, .slot_count = 16};
    while (c.slot_count < 2 * pq_graph_live_op_count(g)) {
        c.slot_count *= 2;
    }
    c.slots = pq_arena_array(env->scratch, c.slot_count, sizeof *c.slots);
    PQ_TRY_ALLOC(c.slots);
    PQ_FOR_EACH_OP(g, id)
    {
        PQ_TRY(visit(&c, id));
    }
    return PTQC_OK;
}
