// SPDX-License-Identifier: Apache-2.0
//
// Scalar meaning of every op of elementwise chains, one element at a time.
#ifndef PTQC_TESTS_EXPR_REFERENCE_H
#define PTQC_TESTS_EXPR_REFERENCE_H

#include <math.h>
#include <string.h>

#include "backends/cpu/expr.h"
#include "base/float16.h"
#include "base/mathfn.h"
#include "tests/support/cmocka_test.h"

// -------------------------------------------------------------

// f32 and f64 in `real`, all others in `whole` (u64 as its bits).
typedef struct ref_value {
    float f32;
    double f64;
    int64_t whole;
} ref_value;

static const uint8_t all_dtypes[] = {
    PTQC_F32, PTQC_F16, PTQC_BF16, PTQC_F64, PTQC_I8,  PTQC_U8,  PTQC_I16,
    PTQC_U16, PTQC_I32, PTQC_U32,  PTQC_I64, PTQC_U64, PTQC_BOOL};
#define DTYPE_COUNT (sizeof all_dtypes / sizeof all_dtypes[0])

static uint32_t
dtype_bits(uint32_t dtype)
{
    switch (dtype) {
    case PTQC_I8:
    case PTQC_U8:
    case PTQC_BOOL:
        return 8;
    case PTQC_I16:
    case PTQC_U16:
    case PTQC_F16:
    case PTQC_BF16:
        return 16;
    case PTQC_F32:
    case PTQC_I32:
    case PTQC_U32:
        return 32;
    default:
        return 64;
    }
}

static int
is_signed(uint32_t dtype)
{
    return dtype == PTQC_I8 || dtype == PTQC_I16 || dtype == PTQC_I32 ||
           dtype == PTQC_I64;
}

static int
is_int(uint32_t dtype)
{
    return is_signed(dtype) || dtype == PTQC_U8 || dtype == PTQC_U16 ||
           dtype == PTQC_U32 || dtype == PTQC_U64;
}

// Keeps the low bits of the type, extended by its sign.
static int64_t
wrap(uint32_t dtype, uint64_t bits)
{
    uint32_t n = dtype_bits(dtype);
    if (n == 64) {
        return (int64_t)bits;
    }
    uint64_t low = bits & ((UINT64_C(1) << n) - 1);
    if (is_signed(dtype) && (low >> (n - 1)) != 0) {
        low |= ~UINT64_C(0) << n;
    }
    return (int64_t)low;
}

static ref_value
ref_load(uint32_t dtype, const uint8_t *p)
{
    ref_value v = {0};
    uint64_t bits = 0;
    memcpy(&bits, p, dtype_bits(dtype) / 8);
    memcpy(&v.f32, &bits, sizeof v.f32);
    memcpy(&v.f64, &bits, sizeof v.f64);
    v.whole = wrap(dtype, bits);
    if (dtype == PTQC_BOOL) {
        v.whole = v.whole != 0;
    }
    return v;
}

static void
ref_store(uint32_t dtype, ref_value v, uint8_t *p)
{
    if (dtype == PTQC_F32) {
        memcpy(p, &v.f32, sizeof v.f32);
    } else if (dtype == PTQC_F64) {
        memcpy(p, &v.f64, sizeof v.f64);
    } else {
        memcpy(p, &v.whole, dtype_bits(dtype) / 8);
    }
}

static int64_t
real_to_int(uint32_t to, double x)
{
    uint32_t n = dtype_bits(to);
    if (isnan(x)) {
        return 0;
    }
    double hi = ldexp(1.0, (int)n - (is_signed(to) ? 1 : 0));
    double lo = is_signed(to) ? -hi : 0.0;
    x = trunc(x);
    if (x >= hi) {
        return is_signed(to) ? (int64_t)(~UINT64_C(0) >> (65 - n))
                             : wrap(to, ~UINT64_C(0));
    }
    if (x < lo) {
        return is_signed(to) ? wrap(to, UINT64_C(1) << (n - 1)) : 0;
    }
    return is_signed(to) ? (int64_t)x : (int64_t)(uint64_t)x;
}

static ref_value
ref_cast(uint32_t from, uint32_t to, ref_value v)
{
    ref_value r = {0};
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
        r.whole = is_int(to) ? real_to_int(to, wide) : wide != 0.0;
    } else {
        r.whole = to == PTQC_BOOL ? v.whole != 0 : wrap(to, (uint64_t)v.whole);
        r.f32 = is_signed(from) ? (float)v.whole : (float)(uint64_t)v.whole;
        r.f64 = is_signed(from) ? (double)v.whole : (double)(uint64_t)v.whole;
    }
    if (to == PTQC_F16) {
        r.whole = pq_f32_to_f16(r.f32);
    } else if (to == PTQC_BF16) {
        r.whole = pq_f32_to_bf16(r.f32);
    }
    return r;
}

static int64_t
ref_divide(uint32_t dtype, uint32_t code, int64_t x, int64_t y)
{
    if (y == 0) {
        return 0;
    }
    if (!is_signed(dtype)) {
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
ref_less(uint32_t dtype, int64_t a, int64_t b)
{
    return is_signed(dtype) ? a < b : (uint64_t)a < (uint64_t)b;
}

// Integer results before wrapping; 0 when the op is none of these.
static int
ref_int(uint32_t code, uint32_t t, const ref_value *v, int64_t *out)
{
    int64_t a = v[0].whole, b = v[1].whole, c = v[2].whole;
    uint64_t ua = (uint64_t)a, ub = (uint64_t)b;
    uint32_t n = dtype_bits(t);
    uint64_t mask = ~UINT64_C(0) >> (64 - n);
    int negative = is_signed(t) && a < 0;
    int64_t max_ab = ref_less(t, a, b) ? b : a;
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
        *out = ref_less(t, c, max_ab) ? c : max_ab;
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
        *out = ref_divide(t, code, a, b);
        return 1;
    case PQ_EXPR_MIN:
        *out = ref_less(t, b, a) ? b : a;
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
ref_logic(uint32_t code, uint32_t t, const ref_value *v, int64_t *out)
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
ref_compare(uint32_t code, uint32_t t, const ref_value *v)
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
        less = ref_less(t, v[0].whole, v[1].whole);
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

static float
ref_f32(uint32_t code, float a, float b, float c)
{
    switch (code) {
    case PQ_EXPR_NEG:
        return -a;
    case PQ_EXPR_ABS:
        return fabsf(a);
    case PQ_EXPR_SQRT:
        return sqrtf(a);
    case PQ_EXPR_FLOOR:
        return floorf(a);
    case PQ_EXPR_CEIL:
        return ceilf(a);
    case PQ_EXPR_RECIPROCAL:
        return 1.0f / a;
    case PQ_EXPR_ADD:
        return a + b;
    case PQ_EXPR_SUB:
        return a - b;
    case PQ_EXPR_MUL:
        return a * b;
    case PQ_EXPR_DIV:
        return a / b;
    case PQ_EXPR_FMA:
        return fmaf(a, b, c);
#define REF1(NAME, fn)                                                         \
    case PQ_EXPR_##NAME:                                                       \
        return fn(a);
#define REF2(NAME, fn)                                                         \
    case PQ_EXPR_##NAME:                                                       \
        return fn(a, b);
#define REF3(NAME, fn)                                                         \
    case PQ_EXPR_##NAME:                                                       \
        return fn(a, b, c);
        REF1(ROUND, pq_roundf)
        REF1(SIGN, pq_signf)
        REF1(EXP, pq_expf)
        REF1(LOG, pq_logf)
        REF1(RSQRT, pq_rsqrtf)
        REF1(SIN, pq_sinf)
        REF1(COS, pq_cosf)
        REF1(TAN, pq_tanf)
        REF1(ASIN, pq_asinf)
        REF1(ACOS, pq_acosf)
        REF1(ATAN, pq_atanf)
        REF1(SINH, pq_sinhf)
        REF1(COSH, pq_coshf)
        REF1(ASINH, pq_asinhf)
        REF1(ACOSH, pq_acoshf)
        REF1(ATANH, pq_atanhf)
        REF1(TANH, pq_tanhf)
        REF1(SIGMOID, pq_sigmoidf)
        REF1(ERF, pq_erff)
        REF1(RELU, pq_reluf)
        REF1(SOFTPLUS, pq_softplusf)
        REF1(SOFTSIGN, pq_softsignf)
        REF1(GELU, pq_gelu_erff)
        REF1(GELU_TANH, pq_gelu_tanhf)
        REF1(SILU, pq_siluf)
        REF1(MISH, pq_mishf)
        REF1(HARDSWISH, pq_hardswishf)
        REF2(LEAKY_RELU, pq_leaky_reluf)
        REF2(THRESHOLDED_RELU, pq_thresholded_reluf)
        REF2(ELU, pq_eluf)
        REF2(CELU, pq_celuf)
        REF2(POW, pq_powf)
        REF2(FMOD, pq_fmodf)
        REF2(MOD, pq_floor_modf)
        REF2(MIN, pq_minf)
        REF2(MAX, pq_maxf)
        REF3(CLIP, pq_clipf)
        REF3(SELU, pq_seluf)
        REF3(HARDSIGMOID, pq_hardsigmoidf)
        REF3(SHRINK, pq_shrinkf)
    default:
        fail_msg("no reference for op %u", code);
        return 0.0f;
    }
}

static double
ref_f64(uint32_t code, double a, double b, double c)
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
        fail_msg("no f64 reference for op %u", code);
        return 0.0;
    }
}

static ref_value
ref_quantize(uint32_t code, uint32_t dtype, const ref_value *v)
{
    // Absurd zero points wrap.
    uint32_t zero = (uint32_t)v[2].whole;
    int32_t lo = is_signed(dtype) ? -(1 << (dtype_bits(dtype) - 1)) : 0;
    int32_t hi = lo + (1 << dtype_bits(dtype)) - 1;
    float t =
        code == PQ_EXPR_QUANTIZE ? v[0].f32 / v[1].f32 : v[0].f32 * v[1].f32;
    ref_value r = {0};
    r.whole = pq_round_code(t, (float)(int32_t)((uint32_t)lo - zero),
                            (float)(int32_t)((uint32_t)hi - zero));
    r.whole = (int32_t)((uint32_t)r.whole + zero);
    return r;
}

static ref_value
ref_op(const pq_expr_op *ops, const pq_expr_op *op, const ref_value *v)
{
    ref_value r = {0};
    uint32_t t = op->dtype;
    uint32_t from = ops[op->a].dtype;
    switch (op->code) {
    case PQ_EXPR_CAST:
        return ref_cast(from, t, v[0]);
    case PQ_EXPR_QUANTIZE:
    case PQ_EXPR_QUANTIZE_MUL:
        return ref_quantize(op->code, t, v);
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
        r.whole = ref_compare(op->code, from, v);
    } else if (ref_logic(op->code, t, v, &r.whole)) {
        return r;
    } else if (t == PTQC_F32) {
        r.f32 = ref_f32(op->code, v[0].f32, v[1].f32, v[2].f32);
    } else if (t == PTQC_F64) {
        r.f64 = ref_f64(op->code, v[0].f64, v[1].f64, v[2].f64);
    } else if (ref_int(op->code, t, v, &r.whole)) {
        r.whole = wrap(t, (uint64_t)r.whole);
    }
    return r;
}

static ref_value
ref_param(uint32_t dtype, pq_expr_param p)
{
    ref_value v = {.f32 = p.f32, .f64 = p.f64};
    v.whole =
        dtype == PTQC_BOOL ? p.integer & 1 : wrap(dtype, (uint64_t)p.integer);
    return v;
}

// The whole chain for one element; inputs[i] points at its element.
static void
ref_element(const pq_expr_desc *d, const uint8_t *const *inputs,
            uint8_t *const *outputs)
{
    ref_value reg[PQ_EXPR_MAX_OPS];
    for (uint32_t i = 0; i < d->op_count; i++) {
        const pq_expr_op *op = &d->ops[i];
        ref_value v[3] = {reg[op->a], reg[op->b], reg[op->c]};
        if (op->code == PQ_EXPR_LOAD) {
            reg[i] = ref_load(op->dtype, inputs[op->index]);
        } else if (op->code == PQ_EXPR_PARAM) {
            reg[i] = ref_param(op->dtype, d->params[op->index]);
        } else {
            reg[i] = ref_op(d->ops, op, v);
        }
    }
    for (uint32_t i = 0; i < d->output_count; i++) {
        ref_store(d->ops[d->results[i]].dtype, reg[d->results[i]], outputs[i]);
    }
}

#endif
