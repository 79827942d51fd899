// SPDX-License-Identifier: Apache-2.0
//
// mul by a constant goes into the weights and the bias of the product before
// it: one number per output channel directly after it, one number for all
// also from behind ops that only move elements and behind products of two
// activations (the scale of attention scores).

#include "passes/registry.h"
#include "passes/rescale.h"

// Ops between a mul and its product, at most; ends every walk.
#define PQ_WALK_LIMIT 16

// The product whose result `op` scales; *out_k: by which operand.
static pq_op_id
scaled_product(const pq_graph *g, const pq_op *op, pq_value_id *out_k)
{
    for (uint32_t i = 0; i < 2; i++) {
        pq_op_id producer = pq_producer_id(g, op->inputs[i]);
        if (pq_can_rescale(g, pq_graph_op(g, producer)) &&
            pq_same_dims(g, op->inputs[i], op->outputs[0])) {
            *out_k = op->inputs[1 - i];
            return producer;
        }
    }
    return (pq_op_id){0};
}

// A product of two activations that nothing is fused into.
static bool
is_bare_matmul(const pq_graph *g, const pq_op *op)
{
    return op->code == PQ_OP_MATMUL && op->input_count == 2 &&
           pq_op_attr(op, PQ_ATTR_ACT) == NULL &&
           pq_is_float(g, op->inputs[0]) && pq_is_float(g, op->inputs[1]);
}

// The product that scaling v comes down to.
static pq_op_id
source_product(const pq_graph *g, pq_value_id v)
{
    for (int step = 0; step < PQ_WALK_LIMIT; step++) {
        pq_op_id id = pq_producer_id(g, v);
        const pq_op *op = pq_graph_op(g, id);
        if (op == NULL || pq_op_is_none(pq_single_user(g, v))) {
            break;
        }
        if (pq_can_rescale(g, op)) {
            return id;
        }
        if (!is_bare_matmul(g, op) &&
            pq_op_info_of(op->code)->cls != PQ_CLASS_SAME) {
            break;
        }
        v = op->inputs[0];
    }
    return (pq_op_id){0};
}

// The product far before a mul by one number; *out_x: what the mul becomes.
static pq_op_id
distant_product(const pq_graph *g, const pq_op *op, pq_value_id *out_x,
                float *out_k)
{
    for (uint32_t i = 0; i < 2; i++) {
        pq_value_id x = op->inputs[i];
        if (pq_scalar_of(g, op->inputs[1 - i], out_k) &&
            pq_same_dims(g, x, op->outputs[0])) {
            *out_x = x;
            return source_product(g, x);
        }
    }
    return (pq_op_id){0};
}

static ptqc_status
rescale(pq_graph *g, pq_op_id product, const float *k, bool is_one,
        pq_arena *scratch)
{
    size_t n = (size_t)pq_channel_count(g, pq_graph_op(g, product));
    double *factor = pq_arena_array(scratch, n, sizeof *factor);
    PQ_TRY_ALLOC(factor);
    for (size_t c = 0; c < n; c++) {
        factor[c] = (double)k[is_one ? 0 : c];
    }
    return pq_rescale(g, product, factor, NULL, scratch);
}

static ptqc_status
visit(pq_graph *g, pq_op_id id, pq_arena *scratch)
{
    const pq_op *op = pq_graph_op(g, id);
    pq_value_id k, x;
    float one;
    ptqc_status st;
    pq_op_id near = scaled_product(g, op, &k);
    if (!pq_op_is_none(near)) {
        const pq_op *product = pq_graph_op(g, near);
        float *f = pq_per_channel(g, product, k, scratch, &st);
        PQ_TRY(st);
        if (f != NULL) {
            PQ_TRY(rescale(g, near, f, false, scratch));
            return pq_replace_op(g, id, product->outputs[0]);
        }
    }
    pq_op_id far = distant_product(g, op, &x, &one);
    if (pq_op_is_none(far)) {
        return PTQC_OK;
    }
    PQ_TRY(rescale(g, far, &one, true, scratch));
    return pq_replace_op(g, id, x);
}

ptqc_status
pq_pass_fold_scale(pq_graph *g, pq_pass_env *env)
{
    PQ_FOR_EACH_OP(g, id)
    {
        const pq_op *op = pq_graph_op(g, id);
        if (op->code == PQ_OP_MUL && pq_op_attr(op, PQ_ATTR_ACT) == NULL &&
            pq_is_float(g, op->outputs[0])) {
            PQ_TRY(visit(g, id, env->scratch));
        }
    }
    return PTQC_OK;
}
