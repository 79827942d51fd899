// SPDX-License-Identifier: Apache-2.0
//
// Queries to the targets' rules, see admit.h.

#include "passes/admit.h"

#include "passes/match.h"

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

// Constants, also those behind dequantize: their codes are.
static uint64_t
constants_of(const pq_graph *g, const pq_op *op)
{
    uint64_t bits = 0;
    for (uint32_t i = 0; i < op->input_count && i < 64; i++) {
        const pq_op *real = pq_producer(g, op->inputs[i], PQ_OP_DEQUANTIZE);
        pq_value_id v = real != NULL ? real->inputs[0] : op->inputs[i];
        bits |= pq_is_constant(g, v) ? UINT64_C(1) << i : 0;
    }
    return bits;
}

#define PQ_PRODUCT_INPUTS 5

// inputs: room, that lives as long as the query.
static pq_caps_query
product_query(const pq_graph *g, const pq_op *op, const pq_product_schemes *s,
              pq_scheme inputs[PQ_PRODUCT_INPUTS])
{
    inputs[0] = s->x;
    inputs[1] = s->w;
    inputs[2] = s->bias;
    inputs[3] = s->residual;
    inputs[4] = s->x_scale;
    return (pq_caps_query){
        .op = op->code,
        .inputs = inputs,
        .input_count = PQ_PRODUCT_INPUTS,
        .constants = constants_of(g, op),
        .output = s->y,
        .rank = pq_graph_value(g, op->inputs[0])->type.rank,
    };
}

static uint32_t
product_target(const pq_graph *g, const pq_caps *caps, const pq_op *op,
               const pq_product_schemes *s)
{
    pq_scheme inputs[PQ_PRODUCT_INPUTS];
    const pq_caps_query query = product_query(g, op, s, inputs);
    return pq_caps_target(caps, &query);
}

// Codes as the real numbers they stand for.
static pq_scheme
real_of(const pq_scheme *s)
{
    return (pq_scheme){
        .format = s->format != PTQC_DTYPE_NONE ? PTQC_F32 : PTQC_DTYPE_NONE};
}

static bool
is_no_worse(uint32_t target, uint32_t target_of_real)
{
    return target != PQ_CAPS_NONE && target <= target_of_real;
}

static pq_product_schemes
real_product(const pq_product_schemes *s)
{
    return (pq_product_schemes){
        .x = real_of(&s->x),
        .w = real_of(&s->w),
        .bias = real_of(&s->bias),
        .residual = real_of(&s->residual),
        .y = real_of(&s->y),
    };
}

bool
pq_admits_product(const pq_graph *g, const pq_caps *caps, const pq_op *op,
                  const pq_product_schemes *s)
{
    const pq_product_schemes real = real_product(s);
    return is_no_worse(product_target(g, caps, op, s),
                       product_target(g, caps, op, &real));
}

void
pq_print_refusal(const pq_graph *g, const pq_caps *caps, const pq_op *op,
                 const pq_product_schemes *s, pq_strbuf *out)
{
    pq_scheme inputs[PQ_PRODUCT_INPUTS];
    const pq_product_schemes real = real_product(s);
    const pq_caps_query query = product_query(g, op, s, inputs);
    pq_caps_print_reason(caps, &query, product_target(g, caps, op, &real), out);
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
    pq_product_schemes without = s;
    without.residual = (pq_scheme){0};
    return is_no_worse(product_target(g, caps, op, &s),
                       product_target(g, caps, op, &without));
}

bool
pq_admits_op(const pq_graph *g, const pq_caps *caps, const pq_op *op,
             const pq_scheme *inputs, const pq_scheme *output)
{
    pq_scheme real[PQ_MAX_INPUTS];
    for (uint32_t i = 0; i < op->input_count; i++) {
        bool is_codes = inputs[i].granularity != PQ_GRAN_NONE;
        real[i] = is_codes ? real_of(&inputs[i]) : inputs[i];
    }
    pq_caps_query query = {.op = op->code,
                           .inputs = inputs,
                           .input_count = op->input_count,
                           .output = *output,
                           .rank = pq_graph_value(g, op->inputs[0])->type.rank};
    uint32_t target = pq_caps_target(caps, &query);
    query.inputs = real;
    query.output = real_of(output);
    return is_no_worse(target, pq_caps_target(caps, &query));
}
