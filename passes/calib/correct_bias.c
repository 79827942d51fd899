// SPDX-License-Identifier: Apache-2.0
//
// Bias correction: rounding the weights moves the mean of every output
// channel by sum over k of (w'[k] - w[k]) * E[x_k]; the bias takes that back.
// E[x] is measured per input channel on the samples, by the float graph (the
// empirical E[x] in the analytic formula of Nagel et al., Data-Free
// Quantization, 2019, section 4.2). At padded borders a tap counts for the
// share of the output positions where it lies inside. w' is w rounded by the
// scales of the annotation.

#include <math.h>

#include "base/dtype.h"
#include "passes/calib/samples.h"
#include "passes/match.h"
#include "passes/params.h"
#include "passes/plan.h"
#include "passes/registry.h"
#include "passes/rescale.h"
#include "passes/weights.h"
#include "quant/pack.h"

// Sums of one value over everything but its channel axis.
typedef struct pq_channel_sums {
    uint32_t axis; // that products contract
    int64_t channels;
    double *sum;  // [channels]
    double count; // numbers per channel
} pq_channel_sums;

typedef struct pq_correction {
    pq_graph *g;
    pq_pass_env *env;
    const pq_mode *modes;
    pq_value_id *watched;  // [count]
    pq_channel_sums *sums; // [count]
    uint32_t count;
    uint32_t *slot_of; // [values] index + 1
} pq_correction;

static bool
is_corrected(const pq_correction *c, pq_op_id id)
{
    const pq_op *op = pq_graph_op(c->g, id);
    pq_value_id bias = pq_op_input(op, 2);
    uint32_t w_axis, y_axis;
    bool is_linear =
        op->code == PQ_OP_CONV ||
        (op->code == PQ_OP_MATMUL && pq_op_i64(op, PQ_ATTR_TRANS_A, 0) == 0);
    return is_linear && c->modes[id.index] == PQ_MODE_STATIC &&
           pq_channel_axes(c->g, op, &w_axis, &y_axis) && w_axis == 0 &&
           pq_channel_count(c->g, op) > 0 &&
           (pq_value_is_none(bias) || pq_is_float_constant(c->g, bias));
}

static ptqc_status
watch(pq_correction *c, const pq_op *op)
{
    pq_value_id x = op->inputs[0];
    uint32_t rank = pq_graph_value(c->g, x)->type.rank;
    uint32_t axis = op->code == PQ_OP_CONV ? 1 : rank - 1;
    int64_t channels = pq_static_dim(c->g, x, axis);
    uint32_t slot = c->slot_of[x.index];
    if (channels < 1 || (slot != 0 && c->sums[slot - 1].axis != axis)) {
        return PTQC_OK; // read in two ways: the first one counts
    }
    if (slot != 0) {
        return PTQC_OK;
    }
    pq_channel_sums *s = &c->sums[c->count];
    *s = (pq_channel_sums){.axis = axis, .channels = channels};
    s->sum = pq_arena_array(c->env->scratch, (size_t)channels, sizeof *s->sum);
    PQ_TRY_ALLOC(s->sum);
    c->watched[c->count++] = x;
    c->slot_of[x.index] = c->count;
    return PTQC_OK;
}

static ptqc_status
find_watched(pq_correction *c)
{
    uint32_t values = pq_graph_value_count(c->g);
    c->slot_of = pq_arena_array(c->env->scratch, values, sizeof *c->slot_of);
    c->watched = pq_arena_array(c->env->scratch, values, sizeof *c->watched);
    c->sums = pq_arena_array(c->env->scratch, values, sizeof *c->sums);
    PQ_TRY_ALLOC(c->slot_of);
    PQ_TRY_ALLOC(c->watched);
    PQ_TRY_ALLOC(c->sums);
    PQ_FOR_EACH_OP(c->g, id)
    {
        if (is_corrected(c, id)) {
            PQ_TRY(watch(c, pq_graph_op(c->g, id)));
        }
    }
    return PTQC_OK;
}

static ptqc_status
observe(void *user, pq_value_id v, const pq_tensor *t)
{
    pq_correction *c = user;
    pq_channel_sums *s = &c->sums[c->slot_of[v.index] - 1];
    const float *x = t->p;
    int64_t inner = 1;
    if (t->dtype != PTQC_F32 || s->axis >= t->rank ||
        t->dims[s->axis] != s->channels) {
        return PTQC_OK;
    }
    for (uint32_t i = s->axis + 1; i < t->rank; i++) {
        inner *= t->dims[i];
    }
    int64_t rows = (int64_t)(t->bytes / sizeof *x) / (inner > 0 ? inner : 1);
    for (int64_t r = 0; r < rows; r++) {
        double sum = 0;
        for (int64_t i = 0; i < inner; i++) {
            sum += (double)x[r * inner + i];
        }
        s->sum[r % s->channels] += sum;
    }
    s->count += (double)(rows / s->channels * inner);
    return PTQC_OK;
}

// ---- the correction -------------------------------------------------------

// Share of the output positions along spatial axis `a` where kernel tap
// `tap` reads inside x; 1 when sizes are symbolic.
static double
share_inside(const pq_graph *g, const pq_op *op, uint32_t a, int64_t tap)
{
    int64_t in = pq_static_dim(g, op->inputs[0], a + 2);
    int64_t out = pq_static_dim(g, op->outputs[0], a + 2);
    int64_t stride = pq_op_int_at(op, PQ_ATTR_STRIDES, a, 1);
    int64_t begin = pq_op_int_at(op, PQ_ATTR_PADS, a, 0);
    int64_t step = pq_op_int_at(op, PQ_ATTR_DILATIONS, a, 1);
    int64_t inside = 0;
    if (in < 1 || out < 1) {
        return 1;
    }
    for (int64_t o = 0; o < out; o++) {
        int64_t i = o * stride + tap * step - begin;
        inside += i >= 0 && i < in;
    }
    return (double)inside / (double)out;
}

// share[tap] over the kernel, row-major.
static ptqc_status
tap_shares(const pq_graph *g, const pq_op *op, int64_t taps, pq_arena *scratch,
           double **out)
{
    const pq_type *w = &pq_graph_value(g, op->inputs[1])->type;
    double *share = pq_arena_array(scratch, (size_t)taps, sizeof *share);
    PQ_TRY_ALLOC(share);
    for (int64_t t = 0; t < taps; t++) {
        int64_t rest = t;
        share[t] = 1;
        for (uint32_t axis = w->rank; op->code == PQ_OP_CONV && axis-- > 2;) {
            int64_t size = pq_static_dim(g, op->inputs[1], axis);
            share[t] *= share_inside(g, op, axis - 2, rest % size);
            rest /= size;
        }
    }
    *out = share;
    return PTQC_OK;
}

// Codes of the weight, one byte each: those that a solver chose, else rounded.
static ptqc_status
make_codes(const pq_graph *g, const pq_quant *q, const pq_weights *ws,
           const float *scales, const int32_t *zeros, uint8_t *out)
{
    const pq_constant *c = pq_graph_constant(g, q->codes);
    if (c == NULL) {
        pq_encode_weights(ws, scales, zeros, out);
        return PTQC_OK;
    }
    size_t row = (size_t)c->dims[c->rank - 1];
    size_t count = (size_t)(ws->outer * ws->channels * ws->inner);
    unsigned bits = pq_dtype_bits(c->dtype);
    const uint8_t *packed = pq_graph_constant_bytes(g, q->codes);
    PQ_TRY_ALLOC(packed);
    for (size_t i = 0; i < count; i += row) {
        pq_unpack_row(packed, row, bits, pq_dtype_is_signed(c->dtype), out + i);
        packed += pq_packed_bytes(row, bits);
    }
    return PTQC_OK;
}

// w' - w, [channels][inputs * taps].
static ptqc_status
weight_errors(const pq_correction *c, pq_value_id w, pq_arena *scratch,
              float **out, pq_weights *out_ws)
{
    const pq_quant *q = pq_annotation(c->g, w);
    PQ_TRY(pq_weights_of(c->g, w, scratch, out_ws));
    int64_t n = pq_weights_scale_count(out_ws);
    int64_t count = out_ws->outer * out_ws->channels * out_ws->inner;
    float *scales = pq_arena_array(scratch, (size_t)n, sizeof *scales);
    int32_t *zeros = pq_arena_array(scratch, (size_t)n, sizeof *zeros);
    uint8_t *codes = pq_arena_alloc(scratch, (size_t)count);
    float *errors = pq_arena_array(scratch, (size_t)count, sizeof *errors);
    PQ_TRY_ALLOC(scales);
    PQ_TRY_ALLOC(zeros);
    PQ_TRY_ALLOC(codes);
    PQ_TRY_ALLOC(errors);
    for (int64_t i = 0; i < n; i++) {
        pq_params p = pq_params_at(c->g, q, i);
        scales[i] = p.scale;
        zeros[i] = p.zero_point;
    }
    PQ_TRY(make_codes(c->g, q, out_ws, scales, zeros, codes));
    bool is_signed = out_ws->scheme.format == PTQC_I8;
    for (int64_t i = 0; i < count; i++) {
        int64_t s = n == 1 ? 0 : i / out_ws->inner % n;
        int32_t code = is_signed ? (int8_t)codes[i] : codes[i];
        errors[i] = scales[s] * (float)(code - zeros[s]) - out_ws->w[i];
    }
    *out = errors;
    return PTQC_OK;
}

static ptqc_status
correct(pq_correction *c, pq_op_id id, pq_arena *scratch)
{
    pq_graph *g = c->g;
    const pq_op *op = pq_graph_op(g, id);
    uint32_t slot = c->slot_of[op->inputs[0].index];
    pq_weights ws;
    float *errors;
    double *share;
    if (slot == 0 || !(c->sums[slot - 1].count > 0)) {
        return PTQC_OK;
    }
    const pq_channel_sums *sums = &c->sums[slot - 1];
    PQ_TRY(weight_errors(c, op->inputs[1], scratch, &errors, &ws));
    int64_t n = pq_channel_count(g, op);
    int64_t inner = ws.outer * ws.channels * ws.inner / n;
    int64_t groups = pq_op_i64(op, PQ_ATTR_GROUP, 1);
    int64_t inputs = sums->channels / groups; // per output channel
    if (inputs < 1 || inner % inputs != 0 || n % groups != 0) {
        return PTQC_OK;
    }
    int64_t taps = inner / inputs;
    PQ_TRY(tap_shares(g, op, taps, scratch, &share));
    double *shift = pq_arena_array(scratch, (size_t)n, sizeof *shift);
    PQ_TRY_ALLOC(shift);
    for (int64_t y = 0; y < n; y++) {
        const double *mean = sums->sum + y / (n / groups) * inputs;
        for (int64_t k = 0; k < inner; k++) {
            shift[y] -= (double)errors[y * inner + k] * mean[k / taps] *
                        share[k % taps] / sums->count;
        }
    }
    return pq_rescale(g, id, NULL, shift, scratch);
}

// Copies of one weight at a time.
static ptqc_status
visit(pq_correction *c, pq_op_id id)
{
    pq_arena local;
    pq_arena_init(&local, pq_graph_ctx(c->g));
    ptqc_status st = correct(c, id, &local);
    pq_arena_deinit(&local);
    return st;
}

ptqc_status
pq_pass_correct_bias(pq_graph *g, pq_pass_env *env)
{
    pq_correction c = {.g = g, .env = env};
    pq_mode *modes;
    PQ_TRY(pq_plan_modes(g, env->recipe, env->scratch, &modes));
    c.modes = modes;
    PQ_TRY(find_watched(&c));
    if (c.count == 0) {
        return PTQC_OK;
    }
    PQ_TRY(pq_run_samples(g, env, "correct bias", c.watched, c.count, observe,
                          &c));
    PQ_FOR_EACH_OP(g, id)
    {
        if (is_corrected(&c, id)) {
            PQ_TRY(visit(&c, id));
        }
    }
    return PTQC_OK;
}
