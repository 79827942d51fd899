// SPDX-License-Identifier: Apache-2.0
//
// Chooses the scales of annotated weights (quant/share.c). The bias of an
// integer product is kept in units of sx * sw[c]: where it would come near
// the end of int32, the weight scale of that channel grows.

#include <math.h>

#include "passes/match.h"
#include "passes/params.h"
#include "passes/plan.h"
#include "passes/registry.h"
#include "passes/weights.h"

// Half of int32 for the bias leaves the other half to the products' sum.
#define PQ_BIAS_LIMIT 1073741824.0 // 2^30

static ptqc_status
least_scales(const pq_graph *g, const pq_op *op, pq_weights *ws,
             pq_arena *scratch)
{
    pq_params x;
    pq_value_id bias = pq_op_input(op, 2);
    if (!pq_tensor_params(g, pq_annotation(g, op->inputs[0]), &x) ||
        !pq_is_float_constant(g, bias)) {
        return PTQC_OK;
    }
    float *b = pq_copy_floats(g, bias, scratch);
    float *least = pq_arena_array(scratch, (size_t)ws->channels, sizeof *least);
    PQ_TRY_ALLOC(b);
    PQ_TRY_ALLOC(least);
    int64_t n = pq_static_dim(g, bias, 0);
    for (int64_t c = 0; c < n; c++) {
        int64_t to = ws->channels == n ? c : 0;
        float need =
            (float)(fabs((double)b[c]) / ((double)x.scale * PQ_BIAS_LIMIT));
        least[to] = need > least[to] ? need : least[to];
    }
    ws->least_scale = least;
    return PTQC_OK;
}

static ptqc_status
choose(pq_graph *g, const pq_op *op, pq_mode mode, pq_scale_search search,
       pq_arena *scratch)
{
    pq_weights ws;
    pq_value_id w = op->inputs[1];
    PQ_TRY(pq_weights_of(g, w, scratch, &ws));
    ws.search = search;
    if (mode == PQ_MODE_STATIC) {
        PQ_TRY(least_scales(g, op, &ws, scratch));
    }
    int64_t count = pq_weights_scale_count(&ws);
    float *scales = pq_arena_array(scratch, (size_t)count, sizeof *scales);
    int32_t *zeros = pq_arena_array(scratch, (size_t)count, sizeof *zeros);
    PQ_TRY_ALLOC(scales);
    PQ_TRY_ALLOC(zeros);
    pq_choose_weight_params(&ws, scales, zeros);
    bool has_groups = ws.scheme.granularity == PQ_GRAN_GROUP;
    int64_t dims[2] = {count, 1};
    if (has_groups) {
        dims[0] = ws.channels;
        dims[1] = count / ws.channels;
    }
    return pq_make_quant(g, &ws.scheme, scales, zeros, dims, has_groups ? 2 : 1,
                         &pq_graph_value(g, w)->quant);
}

// Copies of one weight at a time.
static ptqc_status
visit(pq_graph *g, const pq_op *op, pq_mode mode, pq_scale_search search)
{
    pq_arena local;
    pq_arena_init(&local, pq_graph_ctx(g));
    ptqc_status st = choose(g, op, mode, search, &local);
    pq_arena_deinit(&local);
    return st;
}

ptqc_status
pq_pass_scale_weights(pq_graph *g, pq_pass_env *env)
{
    pq_mode *modes;
    PQ_TRY(pq_plan_modes(g, env->recipe, env->scratch, &modes));
    PQ_FOR_EACH_OP(g, id)
    {
        const pq_op *op = pq_graph_op(g, id);
        if (pq_is_product(op->code) && modes[id.index] != PQ_MODE_FLOAT) {
            PQ_TRY(visit(g, op, modes[id.index], env->recipe->scale_search));
        }
    }
    return PTQC_OK;
}
