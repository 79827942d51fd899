// SPDX-License-Identifier: Apache-2.0
//
// Softmax written out, e / sum(e) with e = exp(x - max(x)) over one axis,
// becomes one op. Without the subtraction of the maximum it stays as it is:
// softmax cannot overflow where that does.

#include "ir/builder.h"
#include "passes/match.h"
#include "passes/registry.h"

// A reduction over one axis that it keeps; the axis, or -1.
static int64_t
kept_axis(const pq_graph *g, const pq_op *op)
{
    const pq_attr *axes = pq_op_attr(op, PQ_ATTR_AXES);
    int64_t rank = pq_graph_value(g, op->inputs[0])->type.rank;
    if (axes == NULL || axes->ints.n != 1 ||
        pq_op_i64(op, PQ_ATTR_KEEPDIMS, 1) == 0) {
        return -1;
    }
    int64_t axis = axes->ints.p[0];
    return axis < 0 ? axis + rank : axis;
}

static bool
matches(const pq_graph *g, const pq_op *op, pq_value_id *out_x,
        int64_t *out_axis)
{
    const pq_op *exp = pq_producer(g, op->inputs[0], PQ_OP_EXP);
    const pq_op *sum = pq_producer(g, op->inputs[1], PQ_OP_REDUCE_SUM);
    if (exp == NULL || sum == NULL ||
        !pq_value_equal(sum->inputs[0], op->inputs[0])) {
        return false;
    }
    const pq_op *sub = pq_producer(g, exp->inputs[0], PQ_OP_SUB);
    const pq_op *max =
        sub != NULL ? pq_producer(g, sub->inputs[1], PQ_OP_REDUCE_MAX) : NULL;
    if (max == NULL || !pq_value_equal(max->inputs[0], sub->inputs[0])) {
        return false;
    }
    *out_x = sub->inputs[0];
    *out_axis = kept_axis(g, sum);
    return *out_axis >= 0 && *out_axis == kept_axis(g, max);
}

ptqc_status
pq_pass_detect_softmax(pq_graph *g, pq_pass_env *env)
{
    (void)env;
    PQ_FOR_EACH_OP(g, id)
    {
        const pq_op *op = pq_graph_op(g, id);
        pq_value_id x, y;
        int64_t axis;
        if (op->code != PQ_OP_DIV || !pq_is_float(g, op->outputs[0]) ||
            !matches(g, op, &x, &axis)) {
            continue;
        }
        pq_builder b;
        pq_build_begin(&b, g, id, PQ_OP_SOFTMAX, op->name);
        pq_build_input(&b, x);
        pq_build_i64(&b, PQ_ATTR_AXIS, axis);
        PQ_TRY(pq_build_end(&b, NULL, &y, NULL));
        PQ_TRY(pq_replace_op(g, id, y));
    }
    (void)pq_erase_dead(g);
    return PTQC_OK;
}
