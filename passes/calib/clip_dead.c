// SPDX-License-Identifier: Apache-2.0
//
// Weights of inputs that were 0 in every sample must not widen the scales that
// they share with others: they are clipped to the range of the weights of
// live inputs with the same scale. On the samples nothing changes. Folded
// batch norms leave such weights: a channel that never fires has a deviation
// near 0, so a factor without bound (in MobileNetV2's first depthwise layer
// they are 30 times larger than the largest live one, and with one scale per
// tensor the layer is lost). Channels seen fewer than LEAST_COUNT times are
// not judged: a feature that few pictures have is not dead.

#include <math.h>
#include <stdio.h>

#include "passes/calib/channel_stats.h"
#include "passes/links.h"
#include "passes/plan.h"
#include "passes/registry.h"
#include "passes/rescale.h"

#define LEAST_COUNT 4096

typedef struct pq_weight_walk {
    int64_t out_step, out_size; // output channel of i: i / step % size
    int64_t in_step, in_size;   // input channel
    int64_t count;
    bool is_shared; // one scale for all output channels
} pq_weight_walk;

static bool
is_judged(const pq_graph *g, const pq_op *op)
{
    uint32_t w_axis, y_axis;
    return pq_is_product(op->code) && pq_is_float_constant(g, op->inputs[1]) &&
           pq_annotation(g, op->inputs[1]) != NULL &&
           pq_channel_axes(g, op, &w_axis, &y_axis) &&
           (op->code != PQ_OP_MATMUL ||
            pq_op_i64(op, PQ_ATTR_TRANS_A, 0) == 0) &&
           (pq_is_depthwise(g, op) || pq_op_i64(op, PQ_ATTR_GROUP, 1) == 1);
}

static pq_weight_walk
walk_of(const pq_graph *g, const pq_op *op, bool is_shared)
{
    const pq_constant *c =
        pq_graph_constant(g, pq_graph_value(g, op->inputs[1])->constant);
    uint32_t out_axis, y_axis;
    uint32_t in_axis = pq_weight_input_axis(g, op);
    (void)pq_channel_axes(g, op, &out_axis, &y_axis);
    pq_weight_walk k = {.out_step = 1,
                        .in_step = 1,
                        .out_size = c->dims[out_axis],
                        .in_size = c->dims[in_axis],
                        .count = pq_element_count(c),
                        .is_shared = is_shared};
    for (uint32_t i = 0; i < c->rank; i++) {
        k.out_step *= i > out_axis ? c->dims[i] : 1;
        k.in_step *= i > in_axis ? c->dims[i] : 1;
    }
    return k;
}

static bool
is_dead(const pq_channel_stats *s, int64_t channel)
{
    return !(s->min[channel] < 0) && !(s->max[channel] > 0);
}

static ptqc_status
clip(pq_graph *g, pq_op_id id, const pq_weight_walk *k,
     const pq_channel_stats *s, pq_pass_env *env)
{
    size_t units = k->is_shared ? 1 : (size_t)k->out_size;
    float *live = pq_arena_array(env->scratch, units, sizeof *live);
    float *w =
        pq_copy_floats(g, pq_graph_op(g, id)->inputs[1], pq_graph_arena(g));
    bool is_changed = false;
    PQ_TRY_ALLOC(live);
    PQ_TRY_ALLOC(w);
    for (int64_t i = 0; i < k->count; i++) {
        float *most = &live[k->is_shared ? 0 : i / k->out_step % k->out_size];
        if (!is_dead(s, i / k->in_step % k->in_size)) {
            *most = fmaxf(*most, fabsf(w[i]));
        }
    }
    for (int64_t i = 0; i < k->count; i++) {
        float most = live[k->is_shared ? 0 : i / k->out_step % k->out_size];
        if (is_dead(s, i / k->in_step % k->in_size) && most > 0 &&
            fabsf(w[i]) > most) {
            w[i] = copysignf(most, w[i]);
            is_changed = true;
        }
    }
    return is_changed ? pq_replace_weights(g, id, w) : PTQC_OK;
}

static ptqc_status
visit(pq_graph *g, pq_op_id id, const pq_channel_stats_set *set,
      pq_pass_env *env)
{
    const pq_op *op = pq_graph_op(g, id);
    const pq_channel_stats *s =
        pq_channel_stats_find(set, op->inputs[0], pq_input_axis(g, op));
    pq_granularity granularity =
        pq_annotation(g, op->inputs[1])->scheme.granularity;
    if (s == NULL || s->count < LEAST_COUNT) {
        return PTQC_OK;
    }
    pq_weight_walk k = walk_of(g, op, granularity == PQ_GRAN_TENSOR);
    int64_t dead = 0;
    for (int64_t c = 0; c < s->channels; c++) {
        dead += is_dead(s, c);
    }
    if (dead == 0 || k.in_size != s->channels) {
        return PTQC_OK;
    }
    if (env->note != NULL) {
        char what[64];
        snprintf(what, sizeof what, "%lld of %lld inputs", (long long)dead,
                 (long long)s->channels);
        env->note(env->note_user, pq_op_label(g, op), what,
                  "never active: their weights do not widen its scales");
    }
    return clip(g, id, &k, s, env);
}

ptqc_status
pq_pass_clip_dead(pq_graph *g, pq_pass_env *env)
{
    pq_channel_stats_set set;
    if (env->samples == NULL || env->make_runner == NULL ||
        env->recipe->equalize == PQ_EQUALIZE_OFF) {
        return PTQC_OK;
    }
    PQ_TRY(pq_channel_stats_set_init(&set, g, env->scratch));
    PQ_FOR_EACH_OP(g, id)
    {
        const pq_op *op = pq_graph_op(g, id);
        if (is_judged(g, op)) {
            PQ_TRY(pq_channel_stats_set_add(
                &set, g, op->inputs[0], pq_input_axis(g, op), env->scratch));
        }
    }
    PQ_TRY(pq_channel_stats_measure(&set, g, env, "clip-dead"));
    PQ_FOR_EACH_OP(g, id)
    {
        if (is_judged(g, pq_graph_op(g, id))) {
            PQ_TRY(visit(g, id, &set, env));
        }
    }
    return PTQC_OK;
}
