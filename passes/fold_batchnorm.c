// SPDX-License-Identifier: Apache-2.0
//
// Batch normalization: y = (x - mean) * k + bias, k = scale / sqrt(var + eps),
// per channel (axis 1). After a product it goes into weights and bias:
// w' = w * k[c], b' = (b - mean) * k + bias, in double, rounded once; of any
// sign. Elsewhere it becomes one mul and one add per channel.

#include <math.h>

#include "ir/builder.h"
#include "passes/channel_facts.h"
#include "passes/registry.h"
#include "passes/rescale.h"

typedef struct pq_affine {
    int64_t channels;
    double *factor, *shift; // [channels]
    const float *mean;      // [channels] of y
    const float *deviation; // [channels] of y
} pq_affine;

// false: its parameters are not constant.
static bool
has_constants(const pq_graph *g, const pq_op *op)
{
    for (uint32_t i = 1; i < 5; i++) {
        if (!pq_is_float_constant(g, op->inputs[i])) {
            return false;
        }
    }
    return pq_is_float(g, op->inputs[0]);
}

static ptqc_status
read_affine(const pq_graph *g, const pq_op *op, pq_arena *scratch,
            pq_affine *out)
{
    float *p[5] = {NULL};
    double eps = (double)pq_op_f32(op, PQ_ATTR_EPSILON, 1e-5f);
    for (uint32_t i = 1; i < 5; i++) {
        p[i] = pq_copy_floats(g, op->inputs[i], scratch);
        PQ_TRY_ALLOC(p[i]);
    }
    size_t n = (size_t)pq_static_dim(g, op->inputs[1], 0);
    out->channels = (int64_t)n;
    out->factor = pq_arena_array(scratch, n, sizeof *out->factor);
    out->shift = pq_arena_array(scratch, n, sizeof *out->shift);
    PQ_TRY_ALLOC(out->factor);
    PQ_TRY_ALLOC(out->shift);
    out->mean = p[2];
    out->deviation = p[1];
    for (size_t c = 0; c < n; c++) {
        out->factor[c] = (double)p[1][c] / sqrt((double)p[4][c] + eps);
        out->shift[c] = (double)p[2][c] - (double)p[3][c] * out->factor[c];
        p[1][c] = fabsf(p[1][c]); // |gamma|
    }
    return PTQC_OK;
}

// [C, 1, 1, ...] so that it broadcasts along axis 1 of x.
static ptqc_status
make_channel_constant(pq_graph *g, const double *p, int64_t n, uint32_t rank,
                      pq_arena *scratch, pq_value_id *out)
{
    int64_t dims[PTQC_MAX_RANK] = {n, 1, 1, 1, 1, 1, 1, 1};
    float *f = pq_arena_array(scratch, (size_t)n, sizeof *f);
    PQ_TRY_ALLOC(f);
    for (int64_t c = 0; c < n; c++) {
        f[c] = (float)p[c];
    }
    return pq_build_constant(g, (pq_str){0}, PTQC_F32, dims,
                             rank > 1 ? rank - 1 : 1, f, out);
}

static ptqc_status
split(pq_graph *g, pq_op_id id, const pq_affine *a, pq_arena *scratch)
{
    const pq_op *op = pq_graph_op(g, id);
    uint32_t rank = pq_graph_value(g, op->inputs[0])->type.rank;
    pq_value_id k, b, product, sum;
    PQ_TRY(make_channel_constant(g, a->factor, a->channels, rank, scratch, &k));
    PQ_TRY(make_channel_constant(g, a->shift, a->channels, rank, scratch, &b));
    PQ_TRY(pq_build_binary(g, id, PQ_OP_MUL, op->inputs[0], k, &product));
    PQ_TRY(pq_build_binary(g, id, PQ_OP_ADD, product, b, &sum));
    return pq_replace_op(g, id, sum);
}

static ptqc_status
fold(pq_graph *g, pq_op_id id, pq_arena *scratch)
{
    const pq_op *op = pq_graph_op(g, id);
    pq_affine a;
    uint32_t w_axis, y_axis;
    PQ_TRY(read_affine(g, op, scratch, &a));
    pq_op_id producer = pq_producer_id(g, op->inputs[0]);
    const pq_op *product = pq_graph_op(g, producer);
    if (!pq_can_rescale(g, product) ||
        pq_channel_count(g, product) != a.channels ||
        !pq_channel_axes(g, product, &w_axis, &y_axis) || y_axis != 1) {
        return split(g, id, &a, scratch);
    }
    const pq_channel_facts facts = {a.channels, a.mean, a.deviation};
    PQ_TRY(pq_rescale(g, producer, a.factor, a.shift, scratch));
    PQ_TRY(pq_channel_facts_set(g, producer, &facts));
    return pq_replace_op(g, id, pq_graph_op(g, producer)->outputs[0]);
}

ptqc_status
pq_pass_fold_batchnorm(pq_graph *g, pq_pass_env *env)
{
    PQ_FOR_EACH_OP(g, id)
    {
        const pq_op *op = pq_graph_op(g, id);
        if (op->code == PQ_OP_BATCH_NORM && has_constants(g, op)) {
            PQ_TRY(fold(g, id, env->scratch));
        }
    }
    return PTQC_OK;
}
