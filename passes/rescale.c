// SPDX-License-Identifier: Apache-2.0
//
// Scaling the channels of a product, see rescale.h.

#include "passes/rescale.h"

#include "ir/builder.h"
#include "passes/channel_facts.h"
#include "passes/links.h"

bool
pq_can_rescale(const pq_graph *g, const pq_op *op)
{
    if (op == NULL || !pq_is_product(op->code) || pq_channel_count(g, op) < 1 ||
        pq_op_is_none(pq_single_user(g, op->outputs[0]))) {
        return false;
    }
    pq_value_id bias = pq_op_input(op, 2);
    return pq_is_float(g, op->inputs[0]) &&
           pq_is_float_constant(g, op->inputs[1]) &&
           (pq_value_is_none(bias) || pq_is_float_constant(g, bias)) &&
           pq_value_is_none(pq_op_input(op, 3)) &&
           pq_op_attr(op, PQ_ATTR_ACT) == NULL;
}

ptqc_status
pq_replace_weights(pq_graph *g, pq_op_id id, const float *w)
{
    pq_value_id old_id = pq_graph_op(g, id)->inputs[1];
    const pq_value old = *pq_graph_value(g, old_id);
    pq_constant c = *pq_graph_constant(g, old.constant);
    c.dtype = PTQC_F32;
    c.bytes = (size_t)pq_element_count(&c) * sizeof *w;
    c.p = w;
    pq_const_id constant = pq_graph_add_constant(g, &c);
    if (pq_const_is_none(constant)) {
        return pq_graph_failure(g);
    }
    pq_value_id v = pq_graph_add_constant_value(g, old.name, constant);
    if (pq_value_is_none(v)) {
        return pq_graph_failure(g);
    }
    pq_graph_value(g, v)->quant = old.quant;
    return pq_set_input(g, id, 1, v);
}

// Along `axis` of the weights, element i times factor[i / repeat].
static ptqc_status
scale_weights(pq_graph *g, pq_op_id id, uint32_t axis, const double *factor,
              int64_t repeat)
{
    const pq_op *op = pq_graph_op(g, id);
    const pq_value *value = pq_graph_value(g, op->inputs[1]);
    const pq_constant *c = pq_graph_constant(g, value->constant);
    int64_t inner = pq_axis_stride(c, axis);
    float *w = pq_copy_floats(g, op->inputs[1], pq_graph_arena(g));
    PQ_TRY_ALLOC(w);
    int64_t count = pq_element_count(c);
    for (int64_t i = 0; i < count; i++) {
        int64_t k = i / inner % c->dims[axis] / repeat;
        w[i] = (float)((double)w[i] * factor[k]);
    }
    return pq_replace_weights(g, id, w);
}

static ptqc_status
change_bias(pq_graph *g, pq_op_id id, const double *factor, const double *shift,
            pq_arena *scratch)
{
    const pq_op *op = pq_graph_op(g, id);
    int64_t n = pq_channel_count(g, op);
    pq_value_id old = pq_op_input(op, 2);
    float *bias = pq_arena_array(scratch, (size_t)n, sizeof *bias);
    PQ_TRY_ALLOC(bias);
    if (!pq_value_is_none(old)) {
        bias = pq_copy_floats(g, old, scratch);
        PQ_TRY_ALLOC(bias);
    } else if (shift == NULL) {
        return PTQC_OK;
    }
    for (int64_t c = 0; c < n; c++) {
        double b = (double)bias[c] * (factor != NULL ? factor[c] : 1);
        bias[c] = (float)(b + (shift != NULL ? shift[c] : 0));
    }
    pq_value_id v;
    PQ_TRY(pq_make_vector(g, bias, n, &v));
    return pq_set_input(g, id, 2, v);
}

ptqc_status
pq_rescale(pq_graph *g, pq_op_id id, const double *factor, const double *shift,
           pq_arena *scratch)
{
    if (factor != NULL) {
        uint32_t axis, y_axis;
        (void)pq_channel_axes(g, pq_graph_op(g, id), &axis, &y_axis);
        PQ_TRY(scale_weights(g, id, axis, factor, 1));
    }
    PQ_TRY(pq_channel_facts_rescale(g, id, factor, shift));
    return change_bias(g, id, factor, shift, scratch);
}

ptqc_status
pq_rescale_inputs(pq_graph *g, pq_op_id id, const double *factor,
                  int64_t repeat)
{
    uint32_t axis = pq_weight_input_axis(g, pq_graph_op(g, id));
    return scale_weights(g, id, axis, factor, repeat);
}
