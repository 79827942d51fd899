// SPDX-License-Identifier: Apache-2.0
//
// Canonicalization rules of elementwise arithmetic.

#include <float.h>
#include <math.h>

#include "ir/builder.h"
#include "passes/canonicalize.h"
#include "passes/match.h"

// Fused activations and codes are left alone.
static bool
is_plain(const pq_graph *g, const pq_op *op)
{
    return pq_op_attr(op, PQ_ATTR_ACT) == NULL &&
           pq_is_float(g, op->outputs[0]) && pq_is_float(g, op->inputs[0]);
}

// x when `op` does nothing but keep its type.
static ptqc_status
drop(pq_graph *g, pq_op_id id, bool *out_changed)
{
    const pq_op *op = pq_graph_op(g, id);
    if (!pq_same_type(g, op->inputs[0], op->outputs[0])) {
        return PTQC_OK;
    }
    *out_changed = true;
    return pq_replace_op(g, id, op->inputs[0]);
}

static ptqc_status
replace_by_unary(pq_graph *g, pq_op_id id, pq_opcode code, pq_value_id x,
                 bool *out_changed)
{
    *out_changed = true;
    return pq_replace_by(g, id, code, &x, 1);
}

static ptqc_status
replace_by_binary(pq_graph *g, pq_op_id id, pq_opcode code, pq_value_id x,
                  pq_value_id y, bool *out_changed)
{
    const pq_value_id inputs[] = {x, y};
    *out_changed = true;
    return pq_replace_by(g, id, code, inputs, 2);
}

ptqc_status
pq_canon_commute(pq_graph *g, pq_op_id id, bool *out_changed)
{
    const pq_op *op = pq_graph_op(g, id);
    pq_value_id left = op->inputs[0];
    pq_value_id right = op->inputs[1];
    if (!pq_is_constant(g, left) || pq_is_constant(g, right)) {
        return PTQC_OK;
    }
    *out_changed = true;
    PQ_TRY(pq_set_input(g, id, 0, right));
    return pq_set_input(g, id, 1, left);
}

ptqc_status
pq_canon_add_zero(pq_graph *g, pq_op_id id, bool *out_changed)
{
    const pq_op *op = pq_graph_op(g, id);
    bool is_zero = pq_is_scalar(g, op->inputs[1], 0.0f) ||
                   pq_is_scalar(g, op->inputs[1], -0.0f);
    return is_plain(g, op) && is_zero ? drop(g, id, out_changed) : PTQC_OK;
}

ptqc_status
pq_canon_sub_zero(pq_graph *g, pq_op_id id, bool *out_changed)
{
    const pq_op *op = pq_graph_op(g, id);
    return is_plain(g, op) && pq_is_scalar(g, op->inputs[1], 0.0f)
               ? drop(g, id, out_changed)
               : PTQC_OK;
}

ptqc_status
pq_canon_mul_one(pq_graph *g, pq_op_id id, bool *out_changed)
{
    const pq_op *op = pq_graph_op(g, id);
    return is_plain(g, op) && pq_is_scalar(g, op->inputs[1], 1.0f)
               ? drop(g, id, out_changed)
               : PTQC_OK;
}

// 1/x when it is a normal power of two.
static bool
exact_reciprocal(float x, float *out)
{
    int exponent;
    *out = 1.0f / x;
    float mantissa = fabsf(frexpf(x, &exponent));
    return isnormal(x) && isnormal(*out) && !(mantissa > 0.5f);
}

ptqc_status
pq_canon_div(pq_graph *g, pq_op_id id, bool *out_changed)
{
    const pq_op *op = pq_graph_op(g, id);
    float x, r;
    if (!is_plain(g, op)) {
        return PTQC_OK;
    }
    if (pq_is_scalar(g, op->inputs[1], 1.0f)) {
        return drop(g, id, out_changed);
    }
    if (pq_is_scalar(g, op->inputs[0], 1.0f) &&
        pq_same_type(g, op->inputs[1], op->outputs[0])) {
        return replace_by_unary(g, id, PQ_OP_RECIPROCAL, op->inputs[1],
                                out_changed);
    }
    if (pq_scalar_of(g, op->inputs[1], &x) && exact_reciprocal(x, &r)) {
        const pq_value *old = pq_graph_value(g, op->inputs[1]);
        static const int64_t ones[PTQC_MAX_RANK] = {1, 1, 1, 1, 1, 1, 1, 1};
        pq_value_id k;
        PQ_TRY(pq_build_constant(g, (pq_str){0}, PTQC_F32, ones, old->type.rank,
                                 &r, &k));
        return replace_by_binary(g, id, PQ_OP_MUL, op->inputs[0], k,
                                 out_changed);
    }
    return PTQC_OK;
}

ptqc_status
pq_canon_pow(pq_graph *g, pq_op_id id, bool *out_changed)
{
    static const struct {
        float exponent;
        pq_opcode code;
    } forms[] = {
        {0.5f, PQ_OP_SQRT}, {-0.5f, PQ_OP_RSQRT}, {-1.0f, PQ_OP_RECIPROCAL}};
    const pq_op *op = pq_graph_op(g, id);
    if (!is_plain(g, op) || !pq_same_type(g, op->inputs[0], op->outputs[0])) {
        return PTQC_OK;
    }
    if (pq_is_scalar(g, op->inputs[1], 1.0f)) {
        return drop(g, id, out_changed);
    }
    if (pq_is_scalar(g, op->inputs[1], 2.0f)) {
        return replace_by_binary(g, id, PQ_OP_MUL, op->inputs[0], op->inputs[0],
                                 out_changed);
    }
    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++) {
        if (pq_is_scalar(g, op->inputs[1], forms[i].exponent)) {
            return replace_by_unary(g, id, forms[i].code, op->inputs[0],
                                    out_changed);
        }
    }
    return PTQC_OK;
}

ptqc_status
pq_canon_reciprocal(pq_graph *g, pq_op_id id, bool *out_changed)
{
    const pq_op *op = pq_graph_op(g, id);
    const pq_op *root = pq_producer(g, op->inputs[0], PQ_OP_SQRT);
    return root != NULL && is_plain(g, op)
               ? replace_by_unary(g, id, PQ_OP_RSQRT, root->inputs[0],
                                  out_changed)
               : PTQC_OK;
}

// ---- ranges ---------------------------------------------------------------

ptqc_status
pq_canon_max(pq_graph *g, pq_op_id id, bool *out_changed)
{
    const pq_op *op = pq_graph_op(g, id);
    return is_plain(g, op) && pq_is_scalar(g, op->inputs[1], 0.0f) &&
                   pq_same_type(g, op->inputs[0], op->outputs[0])
               ? replace_by_unary(g, id, PQ_OP_RELU, op->inputs[0], out_changed)
               : PTQC_OK;
}

ptqc_status
pq_canon_min(pq_graph *g, pq_op_id id, bool *out_changed)
{
    const pq_op *op = pq_graph_op(g, id);
    const pq_op *relu = pq_producer(g, op->inputs[0], PQ_OP_RELU);
    float c;
    if (relu == NULL || !is_plain(g, op) ||
        !pq_same_type(g, op->inputs[0], op->outputs[0]) ||
        !pq_scalar_of(g, op->inputs[1], &c) || !(c > 0)) {
        return PTQC_OK;
    }
    pq_builder b;
    pq_value_id v;
    pq_build_begin(&b, g, id, PQ_OP_CLIP, op->name);
    pq_build_input(&b, relu->inputs[0]);
    pq_build_f32(&b, PQ_ATTR_ALPHA, 0.0f);
    pq_build_f32(&b, PQ_ATTR_BETA, c);
    PQ_TRY(pq_build_end(&b, NULL, &v, NULL));
    *out_changed = true;
    return pq_replace_op(g, id, v);
}

ptqc_status
pq_canon_clip(pq_graph *g, pq_op_id id, bool *out_changed)
{
    const pq_op *op = pq_graph_op(g, id);
    float low = pq_op_f32(op, PQ_ATTR_ALPHA, -HUGE_VALF);
    float high = pq_op_f32(op, PQ_ATTR_BETA, HUGE_VALF);
    bool is_relu = fabsf(low) <= 0 && high >= FLT_MAX;
    return is_plain(g, op) && is_relu
               ? replace_by_unary(g, id, PQ_OP_RELU, op->inputs[0], out_changed)
               : PTQC_OK;
}

// Whether v is never negative.
static bool
is_never_negative(const pq_graph *g, pq_value_id v)
{
    const pq_op *op = pq_graph_op(g, pq_producer_id(g, v));
    if (op == NULL) {
        return false;
    }
    return op->code == PQ_OP_RELU || op->code == PQ_OP_SIGMOID ||
           op->code == PQ_OP_SOFTMAX || op->code == PQ_OP_HARDSIGMOID ||
           (op->code == PQ_OP_CLIP &&
            pq_op_f32(op, PQ_ATTR_ALPHA, -HUGE_VALF) >= 0);
}

ptqc_status
pq_canon_relu(pq_graph *g, pq_op_id id, bool *out_changed)
{
    const pq_op *op = pq_graph_op(g, id);
    return is_plain(g, op) && is_never_negative(g, op->inputs[0])
               ? drop(g, id, out_changed)
               : PTQC_OK;
}
