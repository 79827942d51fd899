// SPDX-License-Identifier: Apache-2.0
//
// An activation that alone uses the result of conv, conv_transpose, matmul or
// add is computed with it: attribute ACT. The arithmetic stays the same.

#include "passes/match.h"
#include "passes/registry.h"

static bool
is_fusable(pq_opcode code)
{
    switch ((int)code) {
    case PQ_OP_RELU:
    case PQ_OP_CLIP:
    case PQ_OP_LEAKY_RELU:
    case PQ_OP_HARDSIGMOID:
    case PQ_OP_HARDSWISH:
    case PQ_OP_SIGMOID:
    case PQ_OP_TANH:
    case PQ_OP_GELU:
    case PQ_OP_GELU_TANH:
    case PQ_OP_SILU:
    case PQ_OP_ELU:
    case PQ_OP_MISH:
    case PQ_OP_SOFTPLUS:
        return true;
    default:
        return false;
    }
}

// Products of two activations are left alone: kernels for those are bare.
static bool
takes_activation(const pq_graph *g, const pq_op *op)
{
    if (op == NULL) {
        return false;
    }
    const pq_op *real = op->input_count > 1
                            ? pq_producer(g, op->inputs[1], PQ_OP_DEQUANTIZE)
                            : NULL;
    bool is_product =
        pq_is_product(op->code) &&
        pq_is_constant(g, real != NULL ? real->inputs[0] : op->inputs[1]);
    return (is_product || op->code == PQ_OP_ADD) &&
           pq_op_attr(op, PQ_ATTR_ACT) == NULL &&
           pq_is_float(g, op->inputs[0]) && pq_is_float(g, op->outputs[0]);
}

static ptqc_status
move_parameter(pq_graph *g, const pq_op *from, pq_op_id to, pq_attr_name name,
               pq_attr_name as)
{
    const pq_attr *a = pq_op_attr(from, name);
    if (a == NULL) {
        return PTQC_OK;
    }
    pq_attr moved = *a;
    moved.name = as;
    return pq_set_attr(g, to, &moved);
}

ptqc_status
pq_pass_fuse_activation(pq_graph *g, pq_pass_env *env)
{
    (void)env;
    PQ_FOR_EACH_OP(g, id)
    {
        const pq_op *op = pq_graph_op(g, id);
        if (!is_fusable(op->code)) {
            continue;
        }
        pq_op_id producer = pq_producer_id(g, op->inputs[0]);
        if (pq_op_is_none(pq_single_user(g, op->inputs[0])) ||
            !takes_activation(g, pq_graph_op(g, producer))) {
            continue;
        }
        pq_attr act = {.name = PQ_ATTR_ACT, .i = (int64_t)op->code};
        PQ_TRY(pq_set_attr(g, producer, &act));
        PQ_TRY(
            move_parameter(g, op, producer, PQ_ATTR_ALPHA, PQ_ATTR_ACT_ALPHA));
        PQ_TRY(move_parameter(g, op, producer, PQ_ATTR_BETA, PQ_ATTR_ACT_BETA));
        PQ_TRY(pq_replace_op(g, id, pq_graph_op(g, producer)->outputs[0]));
    }
    return PTQC_OK;
}
