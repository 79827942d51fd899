// SPDX-License-Identifier: Apache-2.0
//
// add of a constant per output channel becomes the product's bias. Exact when
// the product has none yet (the bias is one f32 add after the sum); else the
// two biases are added first. sub of a constant is add of its negative.

#include "passes/registry.h"
#include "passes/rescale.h"

static pq_op_id
biased_product(const pq_graph *g, const pq_op *op, pq_value_id *out_bias)
{
    uint32_t sides = op->code == PQ_OP_ADD ? 2 : 1;
    for (uint32_t i = 0; i < sides; i++) {
        pq_op_id producer = pq_producer_id(g, op->inputs[i]);
        if (pq_can_rescale(g, pq_graph_op(g, producer)) &&
            pq_same_dims(g, op->inputs[i], op->outputs[0])) {
            *out_bias = op->inputs[1 - i];
            return producer;
        }
    }
    return (pq_op_id){0};
}

ptqc_status
pq_pass_fuse_bias(pq_graph *g, pq_pass_env *env)
{
    PQ_FOR_EACH_OP(g, id)
    {
        const pq_op *op = pq_graph_op(g, id);
        pq_value_id bias;
        ptqc_status st;
        if ((op->code != PQ_OP_ADD && op->code != PQ_OP_SUB) ||
            pq_op_attr(op, PQ_ATTR_ACT) != NULL) {
            continue;
        }
        pq_op_id producer = biased_product(g, op, &bias);
        if (pq_op_is_none(producer)) {
            continue;
        }
        const pq_op *product = pq_graph_op(g, producer);
        float *b = pq_per_channel(g, product, bias, env->scratch, &st);
        PQ_TRY(st);
        if (b == NULL) {
            continue;
        }
        size_t n = (size_t)pq_channel_count(g, product);
        double *shift = pq_arena_array(env->scratch, n, sizeof *shift);
        PQ_TRY_ALLOC(shift);
        for (size_t c = 0; c < n; c++) {
            shift[c] = op->code == PQ_OP_ADD ? (double)b[c] : -(double)b[c];
        }
        PQ_TRY(pq_rescale(g, producer, NULL, shift, env->scratch));
        PQ_TRY(pq_replace_op(g, id, product->outputs[0]));
    }
    return PTQC_OK;
}
