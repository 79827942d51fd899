// SPDX-License-Identifier: Apache-2.0
//
// Elementwise ops of one input, and activations fused into other ops.
#include <math.h>

#include "base/dtype.h"
#include "base/mathfn.h"
#include "ir/interp/eval.h"
#include "ir/interp/families.h"

// Attributes an op has when they are absent (docs/operators.md).
typedef struct act_default {
    pq_opcode code;
    float alpha, beta;
} act_default;

static const act_default act_defaults[] = {
    {PQ_OP_CLIP, -INFINITY, INFINITY},
    {PQ_OP_LEAKY_RELU, 0.01f, 0.0f},
    {PQ_OP_ELU, 1.0f, 0.0f},
    {PQ_OP_SELU, 1.67326319217681884765625f, 1.05070102214813232421875f},
    {PQ_OP_CELU, 1.0f, 0.0f},
    {PQ_OP_THRESHOLDED_RELU, 1.0f, 0.0f},
    {PQ_OP_HARDSIGMOID, 0.2f, 0.5f},
    {PQ_OP_SHRINK, 0.5f, 0.0f},
};

static pq_act
with_defaults(const pq_op *op, pq_opcode code, pq_attr_name alpha,
              pq_attr_name beta)
{
    pq_act act = {.code = code};
    for (size_t i = 0; i < sizeof act_defaults / sizeof act_defaults[0]; i++) {
        if (act_defaults[i].code == code) {
            act.alpha = act_defaults[i].alpha;
            act.beta = act_defaults[i].beta;
        }
    }
    act.alpha = pq_op_f32(op, alpha, act.alpha);
    act.beta = pq_op_f32(op, beta, act.beta);
    return act;
}

pq_act
pq_act_fused(const pq_op *op)
{
    pq_opcode code = (pq_opcode)pq_op_i64(op, PQ_ATTR_ACT, PQ_OP_NONE);
    return with_defaults(op, code, PQ_ATTR_ACT_ALPHA, PQ_ATTR_ACT_BETA);
}

pq_act
pq_act_own(const pq_op *op)
{
    return with_defaults(op, op->code, PQ_ATTR_ALPHA, PQ_ATTR_BETA);
}

void
pq_act_row(const pq_act *act, const float *x, float *y, int64_t n)
{
    pq_rows_get()->act(act, x, y, n);
}

bool
pq_act_is_f32(pq_opcode code)
{
    switch ((int)code) {
#define UNARY_REAL(OP, f32_expr, f64_expr)                                     \
    case PQ_OP_##OP:                                                           \
        return true;
#include "ir/interp/elementwise.def"
    default:
        return false;
    }
}

static double
clip64(double x, float lo, float hi)
{
    double t = x < (double)lo ? (double)lo : x;
    return t > (double)hi ? (double)hi : t;
}

static double
unit64(double x)
{
    return clip64(x, 0.0f, 1.0f);
}

static double
shrink64(double x, double lambd, double bias)
{
    double r = x < -lambd ? x + bias : 0.0;
    r = x > lambd ? x - bias : r;
    return x != x ? x : r;
}

static void
act_f64(const pq_act *act, const double *px, double *py, int64_t n)
{
    float alpha = act->alpha;
    float beta = act->beta;
    switch ((int)act->code) {
#define UNARY_REAL(OP, f32_expr, f64_expr)                                     \
    case PQ_OP_##OP:                                                           \
        for (int64_t i = 0; i < n; i++) {                                      \
            double x = px[i];                                                  \
            py[i] = (f64_expr);                                                \
        }                                                                      \
        break;
#include "ir/interp/elementwise.def"
    default:
        break;
    }
}

// Bounds outside the type saturate to it.
static int64_t
clip_int(int64_t x, const pq_act *act, ptqc_dtype t)
{
    double value = t == PTQC_U64 ? (double)(uint64_t)x : (double)x;
    if (value < (double)act->alpha) {
        x = pq_integer_of((double)act->alpha, t);
        value = (double)act->alpha;
    }
    return value > (double)act->beta ? pq_integer_of((double)act->beta, t) : x;
}

static void
act_int(const pq_act *act, const int64_t *px, int64_t *py, int64_t n,
        ptqc_dtype t)
{
    bool is_u64 = t == PTQC_U64;
    switch ((int)act->code) {
#define UNARY_INT(OP, expr)                                                    \
    case PQ_OP_##OP:                                                           \
        for (int64_t i = 0; i < n; i++) {                                      \
            int64_t x = px[i];                                                 \
            py[i] = (expr);                                                    \
        }                                                                      \
        break;
#include "ir/interp/elementwise.def"
    case PQ_OP_CLIP:
        for (int64_t i = 0; i < n; i++) {
            py[i] = clip_int(px[i], act, t);
        }
        break;
    default:
        break;
    }
}

static bool
act_is_int(pq_opcode code)
{
    switch ((int)code) {
#define UNARY_INT(OP, expr)                                                    \
    case PQ_OP_##OP:                                                           \
        return true;
#include "ir/interp/elementwise.def"
    default:
        return code == PQ_OP_CLIP;
    }
}

const char *
pq_rule_unary(pq_graph *g, const pq_op *op)
{
    uint32_t kind = pq_value_kind(g, op->inputs[0]);
    bool is_int = (kind & (PQ_KIND_INT | PQ_KIND_BOOL)) != 0;
    if (op->code == PQ_OP_NOT && kind != PQ_KIND_BOOL) {
        return "the input is not bool";
    }
    if (is_int && !act_is_int(op->code)) {
        return "not defined for integers";
    }
    return !is_int && !pq_act_is_f32(op->code) ? "not defined for floats"
                                               : NULL;
}

ptqc_status
pq_eval_unary(pq_eval *e)
{
    pq_act act = pq_act_own(e->op);
    int64_t n = pq_tensor_count(&e->out[0]);
    pq_work work = pq_in_work(e, 0);
    if (work == PQ_WORK_F32) {
        const float *x;
        float *y;
        PQ_TRY(pq_in_f32(e, 0, &x));
        PQ_TRY(pq_out_f32(e, 0, &y));
        pq_act_row(&act, x, y, n);
        return pq_end_f32(e, 0, y);
    }
    if (work == PQ_WORK_F64) {
        act_f64(&act, e->in[0].p, e->out[0].p, n);
        return PTQC_OK;
    }
    const int64_t *x;
    int64_t *y;
    PQ_TRY(pq_in_i64(e, 0, &x));
    PQ_TRY(pq_out_i64(e, 0, &y));
    act_int(&act, x, y, n, e->in[0].dtype);
    return pq_end_i64(e, 0, y);
}

ptqc_status
pq_eval_test_float(pq_eval *e)
{
    int64_t n = pq_tensor_count(&e->out[0]);
    bool is_nan_test = e->op->code == PQ_OP_IS_NAN;
    uint8_t *y = e->out[0].p;
    if (pq_in_work(e, 0) == PQ_WORK_F64) {
        const double *x = e->in[0].p;
        for (int64_t i = 0; i < n; i++) {
            y[i] = is_nan_test ? x[i] != x[i] : isinf(x[i]) != 0;
        }
        return PTQC_OK;
    }
    const float *x;
    PQ_TRY(pq_in_f32(e, 0, &x));
    for (int64_t i = 0; i < n; i++) {
        y[i] = is_nan_test ? x[i] != x[i] : isinf(x[i]) != 0;
    }
    return PTQC_OK;
}
