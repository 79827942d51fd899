// SPDX-License-Identifier: Apache-2.0
//
// mul by a constant per output channel (or one for all) goes into weights and
// bias of the product before it.

#include "passes/registry.h"
#include "passes/rescale.h"

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

ptqc_status
pq_pass_fold_scale(pq_graph *g, pq_pass_env *env)
{
    PQ_FOR_EACH_OP(g, id)
    {
        const pq_op *op = pq_graph_op(g, id);
        pq_value_id k;
        ptqc_status st;
        if (op->code != PQ_OP_MUL || pq_op_attr(op, PQ_ATTR_ACT) != NULL) {
            continue;
        }
        pq_op_id producer = scaled_product(g, op, &k);
        if (pq_op_is_none(producer)) {
            continue;
        }
        const pq_op *product = pq_graph_op(g, producer);
        float *f = pq_per_channel(g, product, k, env->scratch, &st);
        PQ_TRY(st);
        if (f == NULL) {
            continue;
        }
        size_t n = (size_t)pq_channel_count(g, product);
        double *factor = pq_arena_array(env->scratch, n, sizeof *factor);
        PQ_TRY_ALLOC(factor);
        for (size_t c = 0; c < n; c++) {
            factor[c] = (double)f[c];
        }
        PQ_TRY(pq_rescale(g, producer, factor, NULL, env->scratch));
        PQ_TRY(pq_replace_op(g, id, product->outputs[0]));
    }
    return PTQC_OK;
}
