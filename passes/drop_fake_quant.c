// SPDX-License-Identifier: Apache-2.0
//
// quantize whose codes only dequantize reads does nothing but round: no op on
// codes came of the pair that insert-qdq made, because no target runs one.
// The numbers go through unrounded. Weights that no op reads as codes become
// (rounded) floats again. Not for models that come quantized: there all this
// is part of the model.

#include "passes/fold.h"
#include "passes/match.h"
#include "passes/registry.h"

static bool
is_only_dequantized(const pq_graph *g, pq_value_id codes)
{
    if (pq_value_is_output(g, codes)) {
        return false;
    }
    for (const pq_use *u = pq_value_uses(g, codes); u != NULL; u = u->next) {
        if (pq_graph_op(g, u->op)->code != PQ_OP_DEQUANTIZE) {
            return false;
        }
    }
    return true;
}

static ptqc_status
visit(pq_graph *g, pq_op_id id, pq_arena *scratch)
{
    const pq_op *op = pq_graph_op(g, id);
    if (pq_is_constant(g, op->inputs[0])) {
        return pq_fold_op(g, id, scratch);
    }
    const pq_op *quantize = pq_producer(g, op->inputs[0], PQ_OP_QUANTIZE);
    return quantize != NULL && is_only_dequantized(g, op->inputs[0]) &&
                   pq_same_type(g, quantize->inputs[0], op->outputs[0])
               ? pq_replace_op(g, id, quantize->inputs[0])
               : PTQC_OK;
}

ptqc_status
pq_pass_drop_fake_quant(pq_graph *g, pq_pass_env *env)
{
    PQ_FOR_EACH_OP(g, id)
    {
        if (pq_graph_op(g, id)->code == PQ_OP_DEQUANTIZE) {
            PQ_TRY(visit(g, id, env->scratch));
        }
    }
    (void)pq_erase_dead(g);
    return PTQC_OK;
}
