// SPDX-License-Identifier: Apache-2.0
//
// add of a value of the same shape to the result of a product that has no
// other use becomes the product's residual (input 3). The product moves to
// the place of the add, where both operands are there; the other operand
// cannot depend on it, because the add is its only use. Of two products the
// later one takes the other as residual. Exact: the residual is one f32 add
// after the bias.

#include "passes/admit.h"
#include "passes/match.h"
#include "passes/registry.h"

static bool
can_take(pq_graph *g, const pq_pass_env *env, const pq_op *add, uint32_t side)
{
    pq_value_id y = add->inputs[side];
    pq_value_id r = add->inputs[1 - side];
    const pq_op *op = pq_graph_op(g, pq_producer_id(g, y));
    if (op == NULL || !pq_is_product(op->code) || pq_value_equal(y, r) ||
        pq_op_is_none(pq_single_user(g, y)) ||
        !pq_value_is_none(pq_op_input(op, 3)) ||
        pq_op_attr(op, PQ_ATTR_ACT) != NULL || pq_is_constant(g, r) ||
        !pq_same_type(g, y, r) || !pq_is_float(g, y) ||
        !pq_is_float(g, op->inputs[0])) {
        return false;
    }
    return pq_admits_residual(g, env->caps, op, r);
}

// Whether a comes before b in the list.
static bool
is_before(const pq_graph *g, pq_op_id a, pq_op_id b)
{
    for (pq_op_id at = pq_graph_op(g, a)->next; !pq_op_is_none(at);
         at = pq_graph_op(g, at)->next) {
        if (pq_op_equal(at, b)) {
            return true;
        }
    }
    return false;
}

static ptqc_status
fuse(pq_graph *g, pq_op_id id, uint32_t side)
{
    const pq_op *add = pq_graph_op(g, id);
    pq_op_id producer = pq_producer_id(g, add->inputs[side]);
    pq_value_id y = add->inputs[side];
    pq_move_op(g, producer, id);
    PQ_TRY(pq_set_input(g, producer, 3, add->inputs[1 - side]));
    const pq_attr *act = pq_op_attr(add, PQ_ATTR_ACT);
    static const pq_attr_name names[] = {PQ_ATTR_ACT, PQ_ATTR_ACT_ALPHA,
                                         PQ_ATTR_ACT_BETA};
    for (size_t i = 0; act != NULL && i < sizeof names / sizeof *names; i++) {
        const pq_attr *a = pq_op_attr(add, names[i]);
        if (a != NULL) {
            PQ_TRY(pq_set_attr(g, producer, a));
        }
    }
    return pq_replace_op(g, id, y);
}

ptqc_status
pq_pass_fuse_residual(pq_graph *g, pq_pass_env *env)
{
    PQ_FOR_EACH_OP(g, id)
    {
        const pq_op *op = pq_graph_op(g, id);
        if (op->code != PQ_OP_ADD) {
            continue;
        }
        bool left = can_take(g, env, op, 0);
        bool right = can_take(g, env, op, 1);
        if (left && right) {
            left = !is_before(g, pq_producer_id(g, op->inputs[0]),
                              pq_producer_id(g, op->inputs[1]));
        }
        if (left || right) {
            PQ_TRY(fuse(g, id, left ? 0 : 1));
        }
    }
    return PTQC_OK;
}
