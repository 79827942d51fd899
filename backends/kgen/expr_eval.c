// SPDX-License-Identifier: Apache-2.0
//
// The scalar interpreter of expressions (expr_eval.h). f32 functions are those
// of base/mathfn.h, bit for bit.
#include "expr_eval.h"

#include <math.h>
#include <string.h>

#include "base/float16.h"
#include "base/mathfn.h"
#include "move.h"

// ---- elements --------------------------------------------------------------

static uint32_t
bits_of(uint32_t dtype)
{
    return 8 * pq_kg_element_bytes(dtype);
}

// Keeps the low bits of the type, extended by its sign.
static int64_t
wrap_to(uint32_t dtype, uint64_t bits)
{
    uint32_t n = bits_of(dtype);
    if (n == 64) {
        return (int64_t)bits;
    }
    uint64_t low = bits & ((UINT64_C(1) << n) - 1);
    if (pq_expr_dtype_is_signed(dtype) && (low >> (n - 1)) != 0) {
        low |= ~UINT64_C(0) << n;
    }
    return (int64_t)low;
}

pq_expr_scalar
pq_expr_load(uint32_t dtype, const uint8_t *p)
{
    pq_expr_scalar v = {0};
    uint64_t bits = 0;
    memcpy(&bits, p, bits_of(dtype) / 8);
    memcpy(&v.f32, &bits, sizeof v.f32);
    memcpy(&v.f64, &bits, sizeof v.f64);
    v.whole = wrap_to(dtype, bits);
    if (dtype == PTQC_BOOL) {
        v.whole = v.whole != 0;
    }
    return v;
}

void
pq_expr_store(uint32_t dtype, pq_expr_scalar v, uint8_t *p)
{
    if (dtype == PTQC_F32) {
        memcpy(p, &v.f32, sizeof v.f32);
    } else if (dtype == PTQC_F64) {
        memcpy(p, &v.f64, sizeof v.f64);
    } else {
        memcpy(p, &v.whole, bits_of(dtype) / 8);
    }
}

static int64_t
real_to_int(uint32_t to, double x)
{
    uint32_t n = bits_of(to);
    if (isnan(x)) {
        return 0;
    }
    double hi = ldexp(1.0, (int)n - (pq_expr_dtype_is_signed(to) ? 1 : 0));
    double lo = pq_expr_dtype_is_signed(to) ? -hi : 0.0;
    x = trunc(x);
    if (x >= hi) {
        return pq_expr_dtype_is_signed(to) ? (int64_t)(~UINT64_C(0) >> (65 - n))
                                           : wrap_to(to, ~UINT64_C(0));
    }
    if (x < lo) {
        return pq_expr_dtype_is_signed(to) ? wrap_to(to, UINT64_C(1) << (n - 1))
                                           : 0;
    }
    return pq_expr_dtype_is_signed(to) ? (int64_t)x : (int64_t)(uint64_t)x;
}

static pq_expr_scalar
cast(uint32_t from, uint32_t to, pq_expr_scalar v)
{
    pq_expr_scalar r = {0};
    if (from == to) {
        return v;
    }
    if (from == PTQC_F16 || from == PTQC_BF16) {
        v.f32 = from == PTQC_F16 ? pq_f16_to_f32((uint16_t)v.whole)
                                 : pq_bf16_to_f32((uint16_t)v.whole);
        from = PTQC_F32;
    }
    int from_real = from == PTQC_F32 || from == PTQC_F64;
    double wide = from == PTQC_F32 ? (double)v.f32 : v.f64;
    if (from_real) {
        r.f64 = wide;
        r.f32 = from == PTQC_F32 ? v.f32 : (float)wide;
        r.whole =
            pq_expr_dtype_is_int(to) ? real_to_int(to, wide) : wide != 0.0;
    } else {
        r.whole =
            to == PTQC_BOOL ? v.whole != 0 : wrap_to(to, (uint64_t)v.whole);
        r.f32 = pq_expr_dtype_is_signed(from) ? (float)v.whole
                                              : (float)(uint64_t)v.whole;
        r.f64 = pq_expr_dtype_is_signed(from) ? (double)v.whole
                                              : (double)(uint64_t)v.whole;
    }
    if (to == PTQC_F16) {
        r.whole = pq_f32_to_f16(r.f32);
    } else if (to == PTQC_BF16) {
        r.whole = pq_f32_to_bf16(r.f32);
    }
    return r;
}

static int64_t
divide(uint32_t dtype, uint32_t code, int64_t x, int64_t y)
{
    if (y == 0) {
        return 0;
    }
    if (!pq_expr_dtype_is_signed(dtype)) {
        uint64_t a = (uint64_t)x, b = (uint64_t)y;
        return (int64_t)(code == PQ_EXPR_DIV ? a / b : a % b);
    }
    if (y == -1) {
        return code == PQ_EXPR_DIV ? (int64_t)(0 - (uint64_t)x) : 0;
    }
    int64_t r = x % y;
    if (code == PQ_EXPR_MOD && r != 0 && (r < 0) != (y < 0)) {
        r += y;
    }
    return code == PQ_EXPR_DIV ? x / y : r;
}

static int
is_less(uint32_t dtype, int64_t a, int64_t b)
{
    return pq_expr_dtype_is_signed(dtype) ? a < b : (uint64_t)a < (uint64_t)b;
}

// Integer results before wrapping; 0 when the op is none of these.
static int
eval_int(uint32_t code, uint32_t t, const pq_expr_scalar *v, int64_t *out)
{
    int64_t a = v[0].whole, b = v[1].whole, c = v[2].whole;
    uint64_t ua = (uint64_t)a, ub = (uint64_t)b;
    uint32_t n = bits_of(t);
    uint64_t mask = ~UINT64_C(0) >> (64 - n);
    int negative = pq_expr_dtype_is_signed(t) && a < 0;
    int64_t max_ab = is_less(t, a, b) ? b : a;
    switch (code) {
    case PQ_EXPR_NEG:
        *out = (int64_t)(0 - ua);
        return 1;
    case PQ_EXPR_ABS:
        *out = negative ? (int64_t)(0 - ua) : a;
        return 1;
    case PQ_EXPR_SIGN:
        *out = negative ? -1 : a != 0;
        return 1;
    case PQ_EXPR_RELU:
        *out = negative ? 0 : a;
        return 1;
    case PQ_EXPR_CLIP:
        *out = is_less(t, c, max_ab) ? c : max_ab;
        return 1;
    case PQ_EXPR_ADD:
        *out = (int64_t)(ua + ub);
        return 1;
    case PQ_EXPR_SUB:
        *out = (int64_t)(ua - ub);
        return 1;
    case PQ_EXPR_MUL:
        *out = (int64_t)(ua * ub);
        return 1;
    case PQ_EXPR_DIV:
    case PQ_EXPR_MOD:
    case PQ_EXPR_FMOD:
        *out = divide(t, code, a, b);
        return 1;
    case PQ_EXPR_MIN:
        *out = is_less(t, b, a) ? b : a;
        return 1;
    case PQ_EXPR_MAX:
        *out = max_ab;
        return 1;
    case PQ_EXPR_SHL:
        *out = (ub & mask) < n ? (int64_t)(ua << (ub & 63)) : 0;
        return 1;
    case PQ_EXPR_SHR:
        *out = (ub & mask) < n ? (int64_t)((ua & mask) >> (ub & 63)) : 0;
        return 1;
    default:
        return 0;
    }
}

static int
eval_logic(uint32_t code, uint32_t t, const pq_expr_scalar *v, int64_t *out)
{
    int64_t a = v[0].whole, b = v[1].whole;
    switch (code) {
    case PQ_EXPR_NOT:
        *out = t == PTQC_BOOL ? !a : ~a;
        return 1;
    case PQ_EXPR_AND:
        *out = a & b;
        return 1;
    case PQ_EXPR_OR:
        *out = a | b;
        return 1;
    case PQ_EXPR_XOR:
        *out = a ^ b;
        return 1;
    default:
        return 0;
    }
}

static int
eval_compare(uint32_t code, uint32_t t, const pq_expr_scalar *v)
{
    int less, equal;
    if (t == PTQC_F32 || t == PTQC_F64) {
        double a = t == PTQC_F32 ? (double)v[0].f32 : v[0].f64;
        double b = t == PTQC_F32 ? (double)v[1].f32 : v[1].f64;
        if (isnan(a) || isnan(b)) {
            return code == PQ_EXPR_NE;
        }
        less = a < b;
        equal = a == b;
    } else {
        less = is_less(t, v[0].whole, v[1].whole);
        equal = v[0].whole == v[1].whole;
    }
    switch (code) {
    case PQ_EXPR_EQ:
        return equal;
    case PQ_EXPR_NE:
        return !equal;
    case PQ_EXPR_LT:
        return less;
    case PQ_EXPR_LE:
        return less || equal;
    case PQ_EXPR_GT:
        return !less && !equal;
    default:
        return !less;
    }
}

// Also the ops of f32 that are exact, or rounded once by it: a double has more
// than twice the bits, so that rounding its result is rounding the true one
// (S. A. Figueroa, When is double rounding innocuous?, SIGNUM Newsletter 30(3),
// 1995).
static double
eval_f64(uint32_t code, double a, double b, double c)
{
    switch (code) {
    case PQ_EXPR_NEG:
        return -a;
    case PQ_EXPR_ABS:
        return fabs(a);
    case PQ_EXPR_SQRT:
        return sqrt(a);
    case PQ_EXPR_FLOOR:
        return floor(a);
    case PQ_EXPR_CEIL:
        return ceil(a);
    case PQ_EXPR_ROUND:
        return nearbyint(a);
    case PQ_EXPR_SIGN:
        return a > 0.0 ? 1.0 : a < 0.0 ? -1.0 : a;
    case PQ_EXPR_RECIPROCAL:
        return 1.0 / a;
    case PQ_EXPR_RELU:
        return a < 0.0 ? 0.0 : a;
    case PQ_EXPR_CLIP:
        a = a < b ? b : a;
        return a > c ? c : a;
    case PQ_EXPR_ADD:
        return a + b;
    case PQ_EXPR_SUB:
        return a - b;
    case PQ_EXPR_MUL:
        return a * b;
    case PQ_EXPR_DIV:
        return a / b;
    case PQ_EXPR_MIN:
        return a != a ? a : a < b ? a : b;
    case PQ_EXPR_MAX:
        return a != a ? a : a > b ? a : b;
    case PQ_EXPR_FMA:
        return fma(a, b, c);
    default:
        return (double)NAN; // pq_expr_check lets no other pass
    }
}

static float
eval_f32(uint32_t code, float a, float b, float c)
{
    switch (code) {
    case PQ_EXPR_FMA:
        return fmaf(a, b, c);
#define UNARY(NAME, fn)                                                        \
    case PQ_EXPR_##NAME:                                                       \
        return fn(a);
#define BINARY(NAME, fn)                                                       \
    case PQ_EXPR_##NAME:                                                       \
        return fn(a, b);
#define TERNARY(NAME, fn)                                                      \
    case PQ_EXPR_##NAME:                                                       \
        return fn(a, b, c);
        UNARY(EXP, pq_expf)
        UNARY(LOG, pq_logf)
        UNARY(RSQRT, pq_rsqrtf)
        UNARY(SIN, pq_sinf)
        UNARY(COS, pq_cosf)
        UNARY(TAN, pq_tanf)
        UNARY(ASIN, pq_asinf)
        UNARY(ACOS, pq_acosf)
        UNARY(ATAN, pq_atanf)
        UNARY(SINH, pq_sinhf)
        UNARY(COSH, pq_coshf)
        UNARY(ASINH, pq_asinhf)
        UNARY(ACOSH, pq_acoshf)
        UNARY(ATANH, pq_atanhf)
        UNARY(TANH, pq_tanhf)
        UNARY(SIGMOID, pq_sigmoidf)
        UNARY(ERF, pq_erff)
        UNARY(SOFTPLUS, pq_softplusf)
        UNARY(SOFTSIGN, pq_softsignf)
        UNARY(GELU, pq_gelu_erff)
        UNARY(GELU_TANH, pq_gelu_tanhf)
        UNARY(SILU, pq_siluf)
        UNARY(MISH, pq_mishf)
        UNARY(HARDSWISH, pq_hardswishf)
        BINARY(LEAKY_RELU, pq_leaky_reluf)
        BINARY(THRESHOLDED_RELU, pq_thresholded_reluf)
        BINARY(ELU, pq_eluf)
        BINARY(CELU, pq_celuf)
        BINARY(POW, pq_powf)
        BINARY(FMOD, pq_fmodf)
        BINARY(MOD, pq_floor_modf)
        TERNARY(SELU, pq_seluf)
        TERNARY(HARDSIGMOID, pq_hardsigmoidf)
        TERNARY(SHRINK, pq_shrinkf)
    default:
        return (float)eval_f64(code, (double)a, (double)b, (double)c);
#undef UNARY
#undef BINARY
#undef TERNARY
    }
}

static pq_expr_scalar
quantize(uint32_t code, uint32_t dtype, const pq_expr_scalar *v)
{
    // Absurd zero points wrap.
    uint32_t zero = (uint32_t)v[2].whole;
    int32_t lo =
        pq_expr_dtype_is_signed(dtype) ? -(1 << (bits_of(dtype) - 1)) : 0;
    int32_t hi = lo + (1 << bits_of(dtype)) - 1;
    float t =
        code == PQ_EXPR_QUANTIZE ? v[0].f32 / v[1].f32 : v[0].f32 * v[1].f32;
    pq_expr_scalar r = {0};
    r.whole = pq_round_code(t, (float)(int32_t)((uint32_t)lo - zero),
                            (float)(int32_t)((uint32_t)hi - zero));
    r.whole = (int32_t)((uint32_t)r.whole + zero);
    return r;
}

static pq_expr_scalar
eval_op(const pq_expr_op *ops, const pq_expr_op *op, const pq_expr_scalar *v)
{
    pq_expr_scalar r = {0};
    uint32_t t = op->dtype;
    uint32_t from = ops[op->a].dtype;
    switch (op->code) {
    case PQ_EXPR_CAST:
        return cast(from, t, v[0]);
    case PQ_EXPR_QUANTIZE:
    case PQ_EXPR_QUANTIZE_MUL:
        return quantize(op->code, t, v);
    case PQ_EXPR_DEQUANTIZE:
        r.f32 = (float)(int32_t)((uint32_t)v[0].whole - (uint32_t)v[2].whole) *
                v[1].f32;
        return r;
    case PQ_EXPR_WHERE:
        return v[0].whole != 0 ? v[1] : v[2];
    case PQ_EXPR_IS_NAN:
        r.whole = from == PTQC_F32 ? isnan(v[0].f32) : isnan(v[0].f64);
        return r;
    case PQ_EXPR_IS_INF:
        r.whole =
            from == PTQC_F32 ? isinf(v[0].f32) != 0 : isinf(v[0].f64) != 0;
        return r;
    default:
        break;
    }
    if (op->code >= PQ_EXPR_EQ && op->code <= PQ_EXPR_GE) {
        r.whole = eval_compare(op->code, from, v);
    } else if (eval_logic(op->code, t, v, &r.whole)) {
        return r;
    } else if (t == PTQC_F32) {
        r.f32 = eval_f32(op->code, v[0].f32, v[1].f32, v[2].f32);
    } else if (t == PTQC_F64) {
        r.f64 = eval_f64(op->code, v[0].f64, v[1].f64, v[2].f64);
    } else if (eval_int(op->code, t, v, &r.whole)) {
        r.whole = wrap_to(t, (uint64_t)r.whole);
    }
    return r;
}

static pq_expr_scalar
param_of(uint32_t dtype, pq_expr_param p)
{
    pq_expr_scalar v = {.f32 = p.f32, .f64 = p.f64};
    v.whole = dtype == PTQC_BOOL ? p.integer & 1
                                 : wrap_to(dtype, (uint64_t)p.integer);
    return v;
}

void
pq_expr_eval(const pq_expr_desc *d, const uint8_t *const *inputs,
             uint8_t *const *outputs)
{
    pq_expr_scalar reg[PQ_EXPR_MAX_OPS];
    for (uint32_t i = 0; i < d->op_count; i++) {
        const pq_expr_op *op = &d->ops[i];
        pq_expr_scalar v[3] = {reg[op->a], reg[op->b], reg[op->c]};
        if (op->code == PQ_EXPR_LOAD) {
            reg[i] = pq_expr_load(op->dtype, inputs[op->index]);
        } else if (op->code == PQ_EXPR_PARAM) {
            reg[i] = param_of(op->dtype, d->params[op->index]);
        } else {
            reg[i] = eval_op(d->ops, op, v);
        }
    }
    for (uint32_t i = 0; i < d->output_count; i++) {
        pq_expr_store(d->ops[d->results[i]].dtype, reg[d->results[i]],
                      outputs[i]);
    }
}
