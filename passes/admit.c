// SPDX-License-Identifier: Apache-2.0
//
// Queries to the targets' rules, see admit.h.

#include "passes/admit.h"

pq_scheme
pq_scheme_of_value(const pq_graph *g, pq_value_id v)
{
    const pq_value *value = pq_graph_value(g, v);
    if (value == NULL) {
        return (pq_scheme){0};
    }
    const pq_quant *q = pq_graph_quant(g, value->quant);
    return q != NULL && q->scheme.format == value->type.dtype
               ? q->scheme
               : (pq_scheme){.format = value->type.dtype};
}

bool
pq_admits_product(const pq_graph *g, const pq_caps *caps, const pq_op *op,
                  const pq_product_schemes *s)
{
    const pq_scheme inputs[] = {s->x, s->w, s->bias, s->residual, s->x_scale};
    const pq_caps_query query = {
        .op = op->code,
        .inputs = inputs,
        .input_count = sizeof inputs / sizeof *inputs,
        .output = s->y,
        .rank = pq_graph_value(g, op->inputs[0])->type.rank,
    };
    return pq_caps_admit(caps, &query);
}

bool
pq_admits_residual(const pq_graph *g, const pq_caps *caps, const pq_op *op,
                   pq_value_id r)
{
    const pq_product_schemes s = {
        .x = pq_scheme_of_value(g, op->inputs[0]),
        .w = pq_scheme_of_value(g, op->inputs[1]),
        .bias = pq_scheme_of_value(g, pq_op_input(op, 2)),
        .residual = pq_scheme_of_value(g, r),
        .y = pq_scheme_of_value(g, op->outputs[0]),
    };
    return pq_admits_product(g, caps, op, &s);
}
