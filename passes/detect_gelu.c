// SPDX-License-Identifier: Apache-2.0
//
// GELU written out:
//   erf form   0.5 x (1 + erf(x / sqrt 2))
//   tanh form  0.5 x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3)))
// in any order of the factors becomes one op.

#include <math.h>

#include "passes/factors.h"
#include "passes/registry.h"

#define PQ_SQRT_HALF    0.70710678118654752
#define PQ_SQRT_2_BY_PI 0.79788456080286536
#define PQ_GELU_CUBIC   0.044715

// x when v = erf(x / sqrt 2).
static bool
is_erf_part(const pq_graph *g, pq_value_id v, pq_value_id *out_x)
{
    const pq_op *erf = pq_producer(g, v, PQ_OP_ERF);
    if (erf == NULL) {
        return false;
    }
    pq_factors f = pq_factors_of(g, erf->inputs[0], PQ_NO_VALUE);
    *out_x = f.other;
    return f.is_other && !pq_value_is_none(f.other) &&
           pq_is_close(f.constant, PQ_SQRT_HALF);
}

// Whether v = 0.044715 x^3.
static bool
is_cubic_part(const pq_graph *g, pq_value_id v, pq_value_id x)
{
    pq_factors f = pq_factors_of(g, v, x);
    return f.power == 3 && f.is_other && pq_value_is_none(f.other) &&
           pq_is_close(f.constant, PQ_GELU_CUBIC);
}

// x when v = tanh(sqrt(2 / pi) (x + 0.044715 x^3)).
static bool
is_tanh_part(const pq_graph *g, pq_value_id v, pq_value_id *out_x)
{
    const pq_op *op = pq_producer(g, v, PQ_OP_TANH);
    if (op == NULL) {
        return false;
    }
    pq_factors f = pq_factors_of(g, op->inputs[0], PQ_NO_VALUE);
    const pq_op *sum = f.is_other ? pq_producer(g, f.other, PQ_OP_ADD) : NULL;
    if (sum == NULL || !pq_is_close(f.constant, PQ_SQRT_2_BY_PI)) {
        return false;
    }
    for (uint32_t i = 0; i < 2; i++) {
        if (is_cubic_part(g, sum->inputs[1 - i], sum->inputs[i])) {
            *out_x = sum->inputs[i];
            return true;
        }
    }
    return false;
}

// Whether v = 0.5 x * (1 + part of x).
static bool
matches(const pq_graph *g, pq_value_id v, pq_value_id one_plus,
        pq_opcode *out_code, pq_value_id *out_x)
{
    const pq_op *add = pq_producer(g, one_plus, PQ_OP_ADD);
    if (add == NULL || !pq_is_scalar(g, add->inputs[1], 1.0f)) {
        return false;
    }
    if (is_erf_part(g, add->inputs[0], out_x)) {
        *out_code = PQ_OP_GELU;
    } else if (is_tanh_part(g, add->inputs[0], out_x)) {
        *out_code = PQ_OP_GELU_TANH;
    } else {
        return false;
    }
    pq_factors f = pq_factors_of(g, v, *out_x);
    return f.power == 1 && f.is_other && pq_value_equal(f.other, one_plus) &&
           pq_is_close(f.constant, 0.5);
}

// The value 1 + ... among the factors of a mul, up to two muls down.
static bool
find(const pq_graph *g, const pq_op *mul, pq_opcode *out_code,
     pq_value_id *out_x)
{
    for (uint32_t i = 0; i < 2; i++) {
        pq_value_id v = mul->inputs[i];
        if (matches(g, mul->outputs[0], v, out_code, out_x)) {
            return true;
        }
        const pq_op *inner = pq_producer(g, v, PQ_OP_MUL);
        for (uint32_t j = 0; inner != NULL && j < 2; j++) {
            if (matches(g, mul->outputs[0], inner->inputs[j], out_code,
                        out_x)) {
                return true;
            }
        }
    }
    return false;
}

ptqc_status
pq_pass_detect_gelu(pq_graph *g, pq_pass_env *env)
{
    (void)env;
    PQ_FOR_EACH_OP(g, id)
    {
        const pq_op *op = pq_graph_op(g, id);
        pq_opcode code;
        pq_value_id x;
        if (op->code != PQ_OP_MUL || !pq_is_float(g, op->outputs[0]) ||
            !find(g, op, &code, &x) || !pq_same_type(g, x, op->outputs[0])) {
            continue;
        }
        PQ_TRY(pq_replace_by(g, id, code, &x, 1));
    }
    (void)pq_erase_dead(g);
    return PTQC_OK;
}
