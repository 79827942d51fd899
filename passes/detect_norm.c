// SPDX-License-Identifier: Apache-2.0
//
// Norms over the last axis written out become one op:
//   layer_norm  d / sqrt(mean(d^2) + eps) * scale + bias, d = x - mean(x)
//   rms_norm    x / sqrt(mean(x^2) + eps) * scale
// The scale (and bias) are f32 constants of the last axis; without a scale
// it is ones. A norm whose scale is computed stays as it is.

#include "ir/builder.h"
#include "passes/match.h"
#include "passes/registry.h"

// v = 1 / sqrt(mean(d^2) + eps) or, `is_root`, its reciprocal.
static bool
is_deviation(const pq_graph *g, pq_value_id v, bool is_root, pq_value_id d,
             float *out_eps)
{
    const pq_op *root = pq_producer(g, v, is_root ? PQ_OP_SQRT : PQ_OP_RSQRT);
    const pq_op *add =
        root != NULL ? pq_producer(g, root->inputs[0], PQ_OP_ADD) : NULL;
    if (add == NULL || !pq_scalar_of(g, add->inputs[1], out_eps)) {
        return false;
    }
    const pq_op *mean = pq_producer(g, add->inputs[0], PQ_OP_REDUCE_MEAN);
    if (mean == NULL || !pq_reduces_last(g, mean)) {
        return false;
    }
    const pq_op *square = pq_producer(g, mean->inputs[0], PQ_OP_MUL);
    return square != NULL && pq_value_equal(square->inputs[0], d) &&
           pq_value_equal(square->inputs[1], d);
}

// d when op = d / deviation or d * (1 / deviation).
static bool
is_normalized(const pq_graph *g, const pq_op *op, pq_value_id *out_d,
              float *out_eps)
{
    if (op->code == PQ_OP_DIV) {
        *out_d = op->inputs[0];
        return is_deviation(g, op->inputs[1], true, *out_d, out_eps);
    }
    for (uint32_t i = 0; op->code == PQ_OP_MUL && i < 2; i++) {
        *out_d = op->inputs[i];
        if (is_deviation(g, op->inputs[1 - i], false, *out_d, out_eps)) {
            return true;
        }
    }
    return false;
}

// x when d = x - mean(x).
static bool
is_centered(const pq_graph *g, pq_value_id d, pq_value_id *out_x)
{
    const pq_op *sub = pq_producer(g, d, PQ_OP_SUB);
    const pq_op *mean =
        sub != NULL ? pq_producer(g, sub->inputs[1], PQ_OP_REDUCE_MEAN) : NULL;
    if (mean == NULL || !pq_reduces_last(g, mean) ||
        !pq_value_equal(mean->inputs[0], sub->inputs[0])) {
        return false;
    }
    *out_x = sub->inputs[0];
    return true;
}

// The only user of v, when it combines v with a f32 constant [n].
static pq_op_id
vector_user(const pq_graph *g, pq_value_id v, pq_opcode code, int64_t n,
            pq_value_id *out_vector)
{
    pq_op_id id = pq_single_user(g, v);
    const pq_op *op = pq_graph_op(g, id);
    if (op == NULL || op->code != code || pq_op_attr(op, PQ_ATTR_ACT) != NULL) {
        return (pq_op_id){0};
    }
    pq_value_id other = pq_other_operand(op, v);
    if (!pq_is_float_constant(g, other) ||
        pq_graph_value(g, other)->type.rank != 1 ||
        pq_static_dim(g, other, 0) != n) {
        return (pq_op_id){0};
    }
    *out_vector = other;
    return id;
}

typedef struct pq_norm {
    pq_value_id x, scale, bias;
    pq_op_id last; // the op whose result is the norm's
    float eps;
    bool is_layer; // else rms
} pq_norm;

static bool
find_norm(const pq_graph *g, pq_op_id id, pq_norm *out)
{
    const pq_op *op = pq_graph_op(g, id);
    pq_value_id d;
    *out = (pq_norm){.last = id};
    if (!is_normalized(g, op, &d, &out->eps)) {
        return false;
    }
    out->x = d;
    out->is_layer = is_centered(g, d, &out->x);
    uint32_t rank = pq_graph_value(g, d)->type.rank;
    int64_t n = rank > 0 ? pq_static_dim(g, d, rank - 1) : -1;
    if (n < 1 || !pq_same_type(g, d, op->outputs[0])) {
        return false;
    }
    pq_op_id scaled = vector_user(g, op->outputs[0], PQ_OP_MUL, n, &out->scale);
    if (pq_op_is_none(scaled)) {
        return true;
    }
    out->last = scaled;
    pq_op_id shifted = out->is_layer
                           ? vector_user(g, pq_graph_op(g, scaled)->outputs[0],
                                         PQ_OP_ADD, n, &out->bias)
                           : (pq_op_id){0};
    out->last = pq_op_is_none(shifted) ? scaled : shifted;
    return true;
}

static ptqc_status
make_ones(pq_graph *g, pq_value_id x, pq_arena *scratch, pq_value_id *out)
{
    uint32_t rank = pq_graph_value(g, x)->type.rank;
    int64_t n = pq_static_dim(g, x, rank - 1);
    float *ones = pq_arena_array(scratch, (size_t)n, sizeof *ones);
    PQ_TRY_ALLOC(ones);
    for (int64_t i = 0; i < n; i++) {
        ones[i] = 1.0f;
    }
    return pq_make_vector(g, ones, n, out);
}

static ptqc_status
replace(pq_graph *g, pq_norm *norm, pq_arena *scratch)
{
    pq_builder b;
    pq_value_id y;
    if (pq_value_is_none(norm->scale)) {
        PQ_TRY(make_ones(g, norm->x, scratch, &norm->scale));
    }
    pq_build_begin(&b, g, norm->last,
                   norm->is_layer ? PQ_OP_LAYER_NORM : PQ_OP_RMS_NORM,
                   pq_graph_op(g, norm->last)->name);
    pq_build_input(&b, norm->x);
    pq_build_input(&b, norm->scale);
    if (!pq_value_is_none(norm->bias)) {
        pq_build_input(&b, norm->bias);
    }
    pq_build_i64(&b, PQ_ATTR_AXIS, -1);
    pq_build_f32(&b, PQ_ATTR_EPSILON, norm->eps);
    PQ_TRY(pq_build_end(&b, NULL, &y, NULL));
    return pq_replace_op(g, norm->last, y);
}

ptqc_status
pq_pass_detect_norm(pq_graph *g, pq_pass_env *env)
{
    PQ_FOR_EACH_OP(g, id)
    {
        pq_norm norm;
        const pq_op *op = pq_graph_op(g, id);
        if ((op->code == PQ_OP_DIV || op->code == PQ_OP_MUL) &&
            pq_is_float(g, op->outputs[0]) && find_norm(g, id, &norm)) {
            PQ_TRY(replace(g, &norm, env->scratch));
        }
    }
    (void)pq_erase_dead(g);
    return PTQC_OK;
}
