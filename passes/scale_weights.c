// SPDX-License-Identifier: Apache-2.0
//
// Chooses the scales of annotated weights (quant/share.c), by the importance
// of their columns where statistics tell it; scales that were chosen before
// (calib/clips.h) stay. The bias of an integer product is kept in units of sx *
// sw[c]: where it would come near the end of int32, the weight scale of that
// channel grows.

#include <math.h>

#include "ir/weights.h"
#include "passes/calib/stats.h"
#include "passes/match.h"
#include "passes/params.h"
#include "passes/plan.h"
#include "passes/registry.h"

// Half of int32 for the bias leaves the other half to the products' sum.
#define PQ_BIAS_LIMIT 1073741824.0 // 2^30

static ptqc_status
least_scales(const pq_graph *g, const pq_op *op, int64_t channels,
             pq_arena *scratch, const float **out)
{
    pq_params x;
    pq_value_id bias = pq_op_input(op, 2);
    if (!pq_tensor_params(g, pq_annotation(g, op->inputs[0]), &x) ||
        !pq_is_float_constant(g, bias)) {
        return PTQC_OK;
    }
    float *b = pq_copy_floats(g, bias, scratch);
    float *least = pq_arena_array(scratch, (size_t)channels, sizeof *least);
    PQ_TRY_ALLOC(b);
    PQ_TRY_ALLOC(least);
    int64_t n = pq_static_dim(g, bias, 0);
    for (int64_t c = 0; c < n; c++) {
        int64_t to = channels == n ? c : 0;
        float need =
            (float)(fabs((double)b[c]) / ((double)x.scale * PQ_BIAS_LIMIT));
        least[to] = need > least[to] ? need : least[to];
    }
    *out = least;
    return PTQC_OK;
}

// Parameters of one weight being chosen.
typedef struct pq_choice {
    const float *least_scale; // [channels], NULL: none
    const float *importance;  // [inner], NULL: all alike
    pq_scale_search search;
    int64_t group_count; // scales per channel
    float *scales;       // [channels][groups], or one for all
    int32_t *zero_points;
} pq_choice;

static void
choose_block(void *user, const pq_weight_block *block)
{
    const pq_choice *c = user;
    pq_weights w = block->weights;
    int64_t first = block->first_channel * c->group_count;
    w.search = c->search;
    w.importance = c->importance;
    if (c->least_scale != NULL) {
        w.least_scale = c->least_scale + block->first_channel;
    }
    pq_choose_weight_params(&w, c->scales + first, c->zero_points + first);
}

// Mean squares of the columns of w, by the name of the op or of its weight.
static ptqc_status
find_importance(const pq_graph *g, const pq_stats *stats, const pq_op *op,
                const pq_weights *view, const float **out)
{
    const pq_stat *s = NULL;
    if (stats != NULL) {
        s = pq_stats_find(stats, pq_op_label(g, op));
        s = s != NULL
                ? s
                : pq_stats_find(stats, pq_graph_value(g, op->inputs[1])->name);
    }
    if (s == NULL || s->squares == NULL || op->code != PQ_OP_MATMUL ||
        view->outer != 1) {
        return PTQC_OK;
    }
    if (s->column_count != view->inner) {
        return PQ_FAIL(pq_graph_ctx(g), PTQC_E_USAGE,
                       "statistics: '%.*s' has %lld columns, the weight has "
                       "%lld: are they of another model?",
                       PQ_STR_ARG(s->name), (long long)s->column_count,
                       (long long)view->inner);
    }
    *out = s->squares;
    return PTQC_OK;
}

static ptqc_status
choose(pq_graph *g, const pq_op *op, pq_mode mode, pq_scale_search search,
       const pq_stats *stats, pq_arena *scratch)
{
    pq_value_id id = op->inputs[1];
    const pq_constant *w =
        pq_graph_constant(g, pq_graph_value(g, id)->constant);
    const pq_scheme scheme = pq_annotation(g, id)->scheme;
    const pq_weights view = pq_weights_view(w, &scheme);
    int64_t count = pq_weights_scale_count(&view);
    int64_t channels = view.channels > 0 ? view.channels : 1;
    pq_choice c = {.search = search, .group_count = count / channels};
    c.scales = pq_arena_array(scratch, (size_t)count, sizeof *c.scales);
    c.zero_points =
        pq_arena_array(scratch, (size_t)count, sizeof *c.zero_points);
    PQ_TRY_ALLOC(c.scales);
    PQ_TRY_ALLOC(c.zero_points);
    PQ_TRY(find_importance(g, stats, op, &view, &c.importance));
    if (mode == PQ_MODE_STATIC) {
        PQ_TRY(least_scales(g, op, view.channels, scratch, &c.least_scale));
    }
    PQ_TRY(pq_weights_for_blocks(pq_graph_ctx(g), w, &scheme, PQ_CUT_CHANNELS,
                                 choose_block, &c));
    bool has_groups = scheme.granularity == PQ_GRAN_GROUP;
    int64_t dims[2] = {count, 1};
    if (has_groups) {
        dims[0] = view.channels;
        dims[1] = c.group_count;
    }
    return pq_make_quant(g, &scheme, c.scales, c.zero_points, dims,
                         has_groups ? 2 : 1, &pq_graph_value(g, id)->quant);
}

static ptqc_status
visit(pq_graph *g, const pq_op *op, pq_mode mode, pq_scale_search search,
      const pq_stats *stats)
{
    pq_arena local;
    PQ_TRY(pq_check_cancelled(pq_graph_ctx(g)));
    pq_arena_init(&local, pq_graph_ctx(g));
    ptqc_status st = choose(g, op, mode, search, stats, &local);
    pq_arena_deinit(&local);
    return st;
}

ptqc_status
pq_pass_scale_weights(pq_graph *g, pq_pass_env *env)
{
    pq_mode *modes;
    uint32_t done = 0;
    PQ_TRY(pq_plan_modes(g, env->recipe, env->scratch, &modes));
    PQ_FOR_EACH_OP(g, id)
    {
        const pq_op *op = pq_graph_op(g, id);
        if (pq_is_product(op->code) && modes[id.index] != PQ_MODE_FLOAT &&
            pq_const_is_none(pq_annotation(g, op->inputs[1])->scale)) {
            const pq_settings s = pq_recipe_settings(env->recipe, g, op);
            PQ_TRY(visit(g, op, modes[id.index], s.scale_search, env->stats));
        }
        pq_progress(pq_graph_ctx(g), "scale weights", ++done,
                    pq_graph_live_op_count(g));
    }
    return PTQC_OK;
}
