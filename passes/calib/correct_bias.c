// SPDX-License-Identifier: Apache-2.0
//
// Bias correction (Nagel et al., Data-Free Quantization, 2019, section 4.2):
// quantizing moves the mean of every output channel of a product, and the bias
// takes that back, b -= sum over k of (w'[k] E[x'_k] - w[k] E[x_k]), where w'
// is w rounded by the scales of the annotation, x the product's input and x'
// what the quantized model gives it. At padded borders a tap counts for the
// share of the output positions where it lies inside. Biases that were learned
// with the codes (calib/adaround_outputs.c) stay. How E is known:
//
//   empirical   x' = x, both as the float graph has them on the samples
//   analytic    x' = x, by the mean and deviation of the batch norm before it
//               (channel_facts.h); without these, measured
//   sequential  empirical first; then, product by product in the order of the
//               graph, x' as the products before it leave it, which are
//               corrected already: what rounding and a shift before a ReLU or
//               a clip make of the mean behind it is taken back as well
//               (bias_sequence.c). Correcting several by one run of the whole
//               graph is not the same: the later ones would take back once more
//               what the earlier ones did, and in residual networks that grows
//               from block to block.

#include <math.h>

#include "passes/calib/bias.h"
#include "passes/calib/simulate.h"
#include "passes/channel_facts.h"
#include "passes/links.h"
#include "passes/method.h"
#include "passes/plan.h"
#include "passes/registry.h"
#include "passes/rescale.h"

#define RUNS          1280 // of one sample each, shared out among the products ...
#define LEAST_SAMPLES 8    // ... but each sees so many, and none more than ...
#define MOST_SAMPLES  64

// ---- targets --------------------------------------------------------------

// Whether adaround chose the bias, with the codes.
static bool
is_learned(const pq_graph *g, const pq_recipe *recipe, const pq_op *op)
{
    const pq_quant *q = pq_annotation(g, op->inputs[1]);
    pq_method method;
    return q != NULL && !pq_const_is_none(q->codes) &&
           pq_method_of_op(g, recipe, op, &method) && method.does_adaround &&
           !method.learns_from_gram;
}

static bool
is_corrected(const pq_graph *g, const pq_op *op, pq_mode mode)
{
    pq_value_id bias = pq_op_input(op, 2);
    uint32_t w_axis, y_axis;
    bool is_linear =
        op->code == PQ_OP_CONV ||
        (op->code == PQ_OP_MATMUL && pq_op_i64(op, PQ_ATTR_TRANS_A, 0) == 0);
    return is_linear && mode == PQ_MODE_STATIC &&
           pq_channel_axes(g, op, &w_axis, &y_axis) && w_axis == 0 &&
           pq_channel_count(g, op) > 0 &&
           (pq_value_is_none(bias) || pq_is_float_constant(g, bias));
}

static ptqc_status
add_target(pq_bias_pass *p, pq_op_id id)
{
    const pq_op *op = pq_graph_op(p->g, id);
    pq_bias_target t = {.op = id,
                        .axis = pq_input_axis(p->g, op),
                        .outs = pq_channel_count(p->g, op)};
    int64_t channels = pq_static_dim(p->g, op->inputs[0], t.axis);
    int64_t groups = pq_op_i64(op, PQ_ATTR_GROUP, 1);
    if (channels < 1 || channels % groups != 0 || t.outs % groups != 0) {
        return PTQC_OK;
    }
    t.inputs = channels / groups;
    t.before =
        pq_arena_array(p->env->scratch, (size_t)t.outs, sizeof *t.before);
    t.shift = pq_arena_array(p->env->scratch, (size_t)t.outs, sizeof *t.shift);
    PQ_TRY_ALLOC(t.before);
    PQ_TRY_ALLOC(t.shift);
    p->targets[p->count++] = t;
    return PTQC_OK;
}

static ptqc_status
find_targets(pq_bias_pass *p)
{
    pq_mode *modes;
    PQ_TRY(pq_plan_modes(p->g, p->env->recipe, p->env->scratch, &modes));
    p->targets = pq_arena_array(p->env->scratch, pq_graph_op_count(p->g),
                                sizeof *p->targets);
    PQ_TRY_ALLOC(p->targets);
    PQ_FOR_EACH_OP(p->g, id)
    {
        const pq_op *op = pq_graph_op(p->g, id);
        if (is_corrected(p->g, op, modes[id.index]) &&
            !is_learned(p->g, p->env->recipe, op)) {
            PQ_TRY(add_target(p, id));
        }
    }
    return PTQC_OK;
}

// ---- products of weights and means ----------------------------------------

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
tap_shares(const pq_graph *g, const pq_op *op, int64_t taps, pq_arena *arena,
           double **out)
{
    const pq_type *w = &pq_graph_value(g, op->inputs[1])->type;
    double *share = pq_arena_array(arena, (size_t)taps, sizeof *share);
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

// out[outs]: sum over k of w[k] E[x_k]; mean: of every channel of x.
static ptqc_status
mean_outputs(const pq_bias_pass *p, const pq_bias_target *t, const float *w,
             int64_t count, const double *mean, pq_arena *arena, double *out)
{
    const pq_op *op = pq_graph_op(p->g, t->op);
    int64_t inner = count / t->outs;
    int64_t taps = inner / t->inputs;
    int64_t groups = pq_op_i64(op, PQ_ATTR_GROUP, 1);
    double *share;
    PQ_TRY(tap_shares(p->g, op, taps, arena, &share));
    for (int64_t y = 0; y < t->outs; y++) {
        const double *m = mean + y / (t->outs / groups) * t->inputs;
        out[y] = 0;
        for (int64_t k = 0; k < inner; k++) {
            out[y] += (double)w[y * inner + k] * m[k / taps] * share[k % taps];
        }
    }
    return PTQC_OK;
}

// shift[outs]: sum of w E[x] less that of the rounded weights.
static ptqc_status
measure(const pq_bias_pass *p, const pq_bias_target *t, const double *mean,
        const double *rounded_mean, pq_arena *arena, double *out)
{
    pq_value_id source = pq_graph_op(p->g, t->op)->inputs[1];
    float *rounded;
    const float *w;
    int64_t count;
    PQ_TRY(pq_rounded_weights(p->g, source, arena, &rounded, &w, &count));
    if (mean != NULL) {
        PQ_TRY(mean_outputs(p, t, w, count, mean, arena, t->before));
    }
    PQ_TRY(mean_outputs(p, t, rounded, count, rounded_mean, arena, out));
    for (int64_t y = 0; y < t->outs; y++) {
        out[y] = t->before[y] - out[y];
    }
    return PTQC_OK;
}

ptqc_status
pq_bias_measure(const pq_bias_pass *p, const pq_bias_target *t,
                const double *mean, pq_arena *arena, double *out)
{
    return measure(p, t, NULL, mean, arena, out);
}

ptqc_status
pq_bias_apply(const pq_bias_pass *p, pq_bias_target *t, const double *shift,
              pq_arena *arena)
{
    double *rest = pq_arena_array(arena, (size_t)t->outs, sizeof *rest);
    PQ_TRY_ALLOC(rest);
    for (int64_t y = 0; y < t->outs; y++) {
        rest[y] = shift[y] - t->shift[y];
        t->shift[y] = shift[y];
    }
    return pq_rescale(p->g, t->op, NULL, rest, arena);
}

const double *
pq_bias_means(const pq_channel_stats *s, pq_arena *arena)
{
    double *mean = pq_arena_array(arena, (size_t)s->channels, sizeof *mean);
    for (int64_t i = 0; mean != NULL && i < s->channels; i++) {
        mean[i] = s->sum[i] / s->count;
    }
    return mean;
}

// By the mean inputs of the float model.
static ptqc_status
correct_by(const pq_bias_pass *p, pq_bias_target *t, const double *mean)
{
    pq_arena local;
    pq_arena_init(&local, pq_graph_ctx(p->g));
    ptqc_status st = PTQC_E_RESOURCE;
    double *shift = pq_arena_array(&local, (size_t)t->outs, sizeof *shift);
    if (shift != NULL) {
        st = measure(p, t, mean, mean, &local, shift);
    }
    if (st == PTQC_OK) {
        st = pq_bias_apply(p, t, shift, &local);
    }
    pq_arena_deinit(&local);
    return st;
}

// ---- the three ways -------------------------------------------------------

// By the batch norm before the input, where the recipe says so.
static ptqc_status
expect_inputs(const pq_bias_pass *p, pq_bias_target *t)
{
    ptqc_status st = PTQC_OK;
    pq_value_id x = pq_graph_op(p->g, t->op)->inputs[0];
    const pq_op *producer = pq_graph_op(p->g, pq_producer_id(p->g, x));
    if (p->env->recipe->bias_correction == PQ_BIAS_ANALYTIC) {
        t->expected = pq_expected_outputs(producer, p->env->scratch, &st);
    }
    return st;
}

static ptqc_status
correct_empirically(pq_bias_pass *p, const pq_pass_env *env)
{
    pq_channel_stats_set set;
    pq_graph *g = p->g;
    PQ_TRY(pq_channel_stats_set_init(&set, g, env->scratch));
    for (uint32_t i = 0; i < p->count; i++) {
        pq_bias_target *t = &p->targets[i];
        PQ_TRY(expect_inputs(p, t));
        if (t->expected != NULL) {
            continue;
        }
        PQ_TRY(pq_channel_stats_set_add(
            &set, g, pq_graph_op(g, t->op)->inputs[0], t->axis, env->scratch));
    }
    PQ_TRY(pq_channel_stats_measure(&set, g, env, "correct-bias"));
    for (uint32_t i = 0; i < p->count; i++) {
        pq_bias_target *t = &p->targets[i];
        pq_value_id x = pq_graph_op(g, t->op)->inputs[0];
        const pq_channel_stats *seen = pq_channel_stats_find(&set, x, t->axis);
        const double *mean = t->expected;
        if (mean == NULL && seen != NULL) {
            mean = pq_bias_means(seen, env->scratch);
            PQ_TRY_ALLOC(mean);
        }
        if (mean != NULL) {
            PQ_TRY(correct_by(p, t, mean));
        }
    }
    return PTQC_OK;
}

static uint64_t
samples_for(uint32_t count, uint64_t limit)
{
    uint64_t n = RUNS / count;
    n = n < LEAST_SAMPLES ? LEAST_SAMPLES : n;
    n = n > MOST_SAMPLES ? MOST_SAMPLES : n;
    return limit > 0 && limit < n ? limit : n;
}

static ptqc_status
correct_in_sequence(pq_bias_pass *p, pq_pass_env *env)
{
    pq_pass_env fewer = *env;
    pq_samples some;
    if (env->samples != NULL) {
        // Float and quantized means of the same samples: what differs between
        // samples cancels out.
        some = *env->samples;
        some.limit = samples_for(p->count, some.limit);
        fewer.samples = &some;
    }
    PQ_TRY(correct_empirically(p, &fewer));
    return pq_bias_sequence(p, &fewer);
}

ptqc_status
pq_pass_correct_bias(pq_graph *g, pq_pass_env *env)
{
    pq_bias_pass c = {.g = g, .env = env};
    if (env->recipe->bias_correction == PQ_BIAS_OFF) {
        return PTQC_OK;
    }
    PQ_TRY(find_targets(&c));
    if (c.count == 0) {
        return PTQC_OK;
    }
    if (env->samples == NULL) { // ranges came from statistics
        pq_say(pq_graph_ctx(g), PTQC_SEVERITY_WARNING,
               "biases are not corrected: that takes samples");
        return PTQC_OK;
    }
    // A language model (what has states) has hundreds of products and samples
    // of hundreds of tokens: a run up to each of them would take hours.
    bool is_sequential = env->recipe->bias_correction == PQ_BIAS_SEQUENTIAL &&
                         pq_graph_state_count(g) == 0;
    return is_sequential ? correct_in_sequence(&c, env)
                         : correct_empirically(&c, env);
}
