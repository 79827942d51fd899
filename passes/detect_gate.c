// SPDX-License-Identifier: Apache-2.0
//
// Gated activations written out become one op:
//   hardsigmoid  clip(x + 3, 0, 6) / 6
//   silu         x * sigmoid(x)
//   hardswish    x * hardsigmoid(x) with slope 1/6 and offset 1/2
//   mish         x * tanh(softplus(x))

#include <math.h>

#include "ir/builder.h"
#include "passes/factors.h"
#include "passes/registry.h"

// Whether v = clip(x * slope + offset, 0, top); then v / top is a
// hardsigmoid of slope / top and offset / top.
static bool
is_clipped(const pq_graph *g, pq_value_id v, pq_value_id *out_x,
           double *out_offset, double *out_top)
{
    double slope = 1;
    const pq_op *clip = pq_producer(g, v, PQ_OP_CLIP);
    if (clip == NULL || fabsf(pq_op_f32(clip, PQ_ATTR_ALPHA, -1.0f)) > 0) {
        return false;
    }
    *out_top = (double)pq_op_f32(clip, PQ_ATTR_BETA, 0.0f);
    const pq_op *add = pq_producer(g, clip->inputs[0], PQ_OP_ADD);
    if (add == NULL || !(*out_top > 0)) {
        return false;
    }
    *out_x = add->inputs[0];
    return pq_is_affine_of(g, clip->inputs[0], *out_x, &slope, out_offset) &&
           pq_is_close(slope, 1);
}

// Whether v = x * clip(x + 3, 0, 6) / 6 with the clip among its factors.
static bool
is_hardswish(const pq_graph *g, const pq_op *op, pq_value_id *out_x)
{
    double offset, top;
    for (uint32_t i = 0; i < op->input_count; i++) {
        pq_value_id part = op->inputs[i];
        const pq_op *inner = pq_producer(g, part, PQ_OP_MUL);
        for (uint32_t j = 0; j < 3; j++) {
            pq_value_id v = j < 2 && inner != NULL ? inner->inputs[j] : part;
            if (!is_clipped(g, v, out_x, &offset, &top) ||
                !pq_is_close(offset, 3) || !pq_is_close(top, 6)) {
                continue;
            }
            pq_factors f = pq_factors_of(g, op->outputs[0], *out_x);
            if (f.power == 1 && f.is_other && pq_value_equal(f.other, v) &&
                pq_is_close(f.constant, 1.0 / 6)) {
                return true;
            }
        }
    }
    return false;
}

// clip(x + offset, 0, top) * (1 / top).
static bool
is_hardsigmoid(const pq_graph *g, const pq_op *op, pq_value_id *out_x,
               double *out_slope, double *out_offset)
{
    double offset, top;
    pq_factors f = pq_factors_of(g, op->outputs[0], PQ_NO_VALUE);
    if (!f.is_other || !is_clipped(g, f.other, out_x, &offset, &top) ||
        !pq_is_close(f.constant, 1 / top)) {
        return false;
    }
    *out_slope = 1 / top;
    *out_offset = offset / top;
    return true;
}

// The activation that x * gate is, NONE when it is none.
static pq_opcode
gated(const pq_graph *g, pq_value_id x, pq_value_id gate)
{
    const pq_op *op = pq_graph_op(g, pq_producer_id(g, gate));
    if (op == NULL || op->input_count == 0) {
        return PQ_OP_NONE;
    }
    if (op->code == PQ_OP_SIGMOID && pq_value_equal(op->inputs[0], x)) {
        return PQ_OP_SILU;
    }
    if (op->code == PQ_OP_HARDSIGMOID && pq_value_equal(op->inputs[0], x) &&
        pq_is_close((double)pq_op_f32(op, PQ_ATTR_ALPHA, 0.2f), 1.0 / 6) &&
        pq_is_close((double)pq_op_f32(op, PQ_ATTR_BETA, 0.5f), 0.5)) {
        return PQ_OP_HARDSWISH;
    }
    const pq_op *soft = op->code == PQ_OP_TANH
                            ? pq_producer(g, op->inputs[0], PQ_OP_SOFTPLUS)
                            : NULL;
    return soft != NULL && pq_value_equal(soft->inputs[0], x) ? PQ_OP_MISH
                                                              : PQ_OP_NONE;
}

static ptqc_status
replace_by_hardsigmoid(pq_graph *g, pq_op_id id, pq_value_id x, double slope,
                       double offset)
{
    pq_builder b;
    pq_value_id y;
    pq_build_begin(&b, g, id, PQ_OP_HARDSIGMOID, pq_graph_op(g, id)->name);
    pq_build_input(&b, x);
    pq_build_f32(&b, PQ_ATTR_ALPHA, (float)slope);
    pq_build_f32(&b, PQ_ATTR_BETA, (float)offset);
    PQ_TRY(pq_build_end(&b, NULL, &y, NULL));
    return pq_replace_op(g, id, y);
}

static ptqc_status
visit(pq_graph *g, pq_op_id id)
{
    const pq_op *op = pq_graph_op(g, id);
    pq_value_id x;
    double slope, offset;
    if (is_hardswish(g, op, &x) && pq_same_type(g, x, op->outputs[0])) {
        return pq_replace_by(g, id, PQ_OP_HARDSWISH, &x, 1);
    }
    if (is_hardsigmoid(g, op, &x, &slope, &offset) &&
        pq_same_type(g, x, op->outputs[0])) {
        return replace_by_hardsigmoid(g, id, x, slope, offset);
    }
    for (uint32_t i = 0; op->code == PQ_OP_MUL && i < 2; i++) {
        pq_opcode code = gated(g, op->inputs[i], op->inputs[1 - i]);
        if (code != PQ_OP_NONE &&
            pq_same_type(g, op->inputs[i], op->outputs[0])) {
            return pq_replace_by(g, id, code, &op->inputs[i], 1);
        }
    }
    return PTQC_OK;
}

ptqc_status
pq_pass_detect_gate(pq_graph *g, pq_pass_env *env)
{
    (void)env;
    PQ_FOR_EACH_OP(g, id)
    {
        const pq_op *op = pq_graph_op(g, id);
        if ((op->code == PQ_OP_MUL || op->code == PQ_OP_DIV) &&
            pq_is_float(g, op->outputs[0]) &&
            pq_op_attr(op, PQ_ATTR_ACT) == NULL) {
            PQ_TRY(visit(g, id));
        }
    }
    (void)pq_erase_dead(g);
    return PTQC_OK;
}
