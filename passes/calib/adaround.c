// SPDX-License-Identifier: Apache-2.0
//
// AdaRound over a graph: which of its two neighbours each weight becomes is
// learned. Annotates weights with codes; scales stay. Two forms, by the
// method's setting:
//
//   outputs  from what products make behind their activation, group by group
//            (adaround_outputs.c)
//   gram     from Gram matrices of the products' inputs in the float graph
//            (adaround_gram.c)

#include "passes/calib/adaround.h"

#include "passes/registry.h"

static ptqc_status
find_layers(const pq_graph *g, const pq_pass_env *env, bool is_gram,
            pq_layer *layers, uint32_t *out_count)
{
    pq_mode *modes;
    PQ_TRY(pq_plan_modes(g, env->recipe, env->scratch, &modes));
    *out_count = 0;
    PQ_FOR_EACH_OP(g, id)
    {
        pq_method method;
        if (pq_layer_of(g, env->recipe, id, modes[id.index],
                        &layers[*out_count], &method) &&
            method.learns_from_gram == is_gram) {
            ++*out_count;
        }
    }
    return PTQC_OK;
}

ptqc_status
pq_pass_adaround(pq_graph *g, pq_pass_env *env)
{
    uint32_t count;
    if (env->samples == NULL || env->make_runner == NULL) {
        return PQ_FAIL(pq_graph_ctx(g), PTQC_E_USAGE,
                       "method adaround needs calibration samples");
    }
    pq_layer *layers = pq_arena_array(
        env->scratch, (size_t)pq_graph_op_count(g) + 1, sizeof *layers);
    PQ_TRY_ALLOC(layers);
    PQ_TRY(find_layers(g, env, true, layers, &count));
    if (count > 0) {
        PQ_TRY(pq_adaround_by_gram(g, env, layers, count));
    }
    PQ_TRY(find_layers(g, env, false, layers, &count));
    return count > 0 ? pq_adaround_by_outputs(g, env, layers, count) : PTQC_OK;
}
