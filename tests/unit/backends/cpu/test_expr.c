// SPDX-License-Identifier: Apache-2.0
//
// Elementwise chains against a scalar reference, bit for bit: every op with
// every element type it takes, odd lengths, broadcasts, strides, workers.
#include <math.h>

#include "backends/cpu/expr.h"
#include "base/float16.h"
#include "base/mathfn.h"
#include "cpu_host.h"

// ---- the reference
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

// ---- running and comparing
// -------------------------------------------------------

#define BUFFER 65536

typedef struct buffers {
    uint8_t in[PQ_EXPR_MAX_INPUTS][BUFFER];
    uint8_t out[PQ_EXPR_MAX_OUTPUTS][BUFFER];
    uint8_t want[PQ_EXPR_MAX_OUTPUTS][BUFFER];
} buffers;

static buffers B;

static uint64_t
next_random(uint64_t *seed)
{
    *seed = *seed * UINT64_C(6364136223846793005) + 1442695040888963407u;
    return *seed ^ (*seed >> 29);
}

// Elements of a type: special values, small values, any bits.
static void
fill(uint32_t dtype, uint8_t *p, int64_t n, uint64_t seed)
{
    static const float special[] = {
        0.0f,   -0.0f, 1.0f,   -1.0f,    2.5f,      -3.5f, 1e20f,  -1e9f,
        300.0f, 0.5f,  1e-41f, INFINITY, -INFINITY, NAN,   127.5f, 65520.0f};
    for (int64_t i = 0; i < n; i++) {
        uint64_t r = next_random(&seed);
        ref_value v = {.whole = (int64_t)(r >> 8)};
        float x = (r & 3) == 0 ? special[(r >> 4) % 16]
                               : (float)((int32_t)(r >> 20) % 4000) * 0.013f;
        memcpy(&v.f32, &r, sizeof v.f32);
        memcpy(&v.f64, &r, sizeof v.f64);
        v.f32 = (r & 7) == 7 ? v.f32 : x;
        v.f64 = (r & 7) == 7 ? v.f64 : (double)x;
        if (dtype == PTQC_F16 && (r & 1) != 0) {
            v.whole = pq_f32_to_f16(x);
        } else if (dtype == PTQC_BF16 && (r & 1) != 0) {
            v.whole = pq_f32_to_bf16(x);
        } else if (dtype == PTQC_BOOL) {
            v.whole = (int64_t)(r >> 33 & 1);
        } else if (is_int(dtype) && (r & 1) != 0) {
            v.whole = (int64_t)(r >> 40) % 9 - (is_signed(dtype) ? 4 : 0);
        }
        ref_store(dtype, v, p + i * (int64_t)dtype_bits(dtype) / 8);
    }
}

static int
same_value(uint32_t dtype, const uint8_t *a, const uint8_t *b)
{
    ref_value x = ref_load(dtype, a), y = ref_load(dtype, b);
    if (dtype == PTQC_F32) { // which NaN is left open
        return memcmp(a, b, 4) == 0 || (isnan(x.f32) && isnan(y.f32));
    }
    if (dtype == PTQC_F64) {
        return memcmp(a, b, 8) == 0 || (isnan(x.f64) && isnan(y.f64));
    }
    if (dtype == PTQC_F16 || dtype == PTQC_BF16) {
        float f = dtype == PTQC_F16 ? pq_f16_to_f32((uint16_t)x.whole)
                                    : pq_bf16_to_f32((uint16_t)x.whole);
        float g = dtype == PTQC_F16 ? pq_f16_to_f32((uint16_t)y.whole)
                                    : pq_bf16_to_f32((uint16_t)y.whole);
        return x.whole == y.whole || (isnan(f) && isnan(g));
    }
    return x.whole == y.whole;
}

static uint32_t
input_dtype(const pq_expr_desc *d, uint32_t input)
{
    for (uint32_t i = 0; i < d->op_count; i++) {
        if (d->ops[i].code == PQ_EXPR_LOAD && d->ops[i].index == input) {
            return d->ops[i].dtype;
        }
    }
    return PTQC_U8;
}

static int64_t
element_offset(const pq_expr_desc *d, const pq_expr_view *view, int64_t index)
{
    int64_t offset = 0;
    for (uint32_t k = d->rank; k-- > 0;) {
        offset += index % d->dims[k] * view->strides[k];
        index /= d->dims[k];
    }
    return offset;
}

static int64_t
element_count(const pq_expr_desc *d)
{
    int64_t count = 1;
    for (uint32_t k = 0; k < d->rank; k++) {
        count *= d->dims[k];
    }
    return count;
}

static void
run_reference(const pq_expr_desc *d)
{
    int64_t count = element_count(d);
    for (int64_t i = 0; i < count; i++) {
        const uint8_t *in[PQ_EXPR_MAX_INPUTS];
        uint8_t *out[PQ_EXPR_MAX_OUTPUTS];
        for (uint32_t k = 0; k < d->input_count; k++) {
            in[k] = B.in[k] + element_offset(d, &d->inputs[k], i) *
                                  dtype_bits(input_dtype(d, k)) / 8;
        }
        for (uint32_t k = 0; k < d->output_count; k++) {
            out[k] = B.want[k] + element_offset(d, &d->outputs[k], i) *
                                     dtype_bits(d->ops[d->results[k]].dtype) /
                                     8;
        }
        ref_element(d, in, out);
    }
}

// Runs the chain on `workers` workers and compares all output bytes.
static void
check_desc(pq_jit *jit, const pq_expr_desc *d, uint32_t workers)
{
    for (uint32_t k = 0; k < d->input_count; k++) {
        uint32_t t = input_dtype(d, k);
        fill(t, B.in[k], BUFFER * 8 / dtype_bits(t), 77 + k);
    }
    memset(B.out, 0xee, sizeof B.out);
    memset(B.want, 0xee, sizeof B.want);
    run_reference(d);
    pq_expr *expr = NULL;
    assert_int_equal(pq_expr_prepare(jit, NULL, d, &expr), PTQC_BE_OK);
    pq_expr_io io;
    for (uint32_t k = 0; k < PQ_EXPR_MAX_INPUTS; k++) {
        io.inputs[k] = B.in[k];
    }
    for (uint32_t k = 0; k < PQ_EXPR_MAX_OUTPUTS; k++) {
        io.outputs[k] = B.out[k];
    }
    for (uint32_t w = 0; w < workers; w++) {
        pq_worker worker = {.index = w, .count = workers};
        pq_expr_run(expr, &io, &worker);
    }
    pq_expr_destroy(expr);
    for (uint32_t k = 0; k < d->output_count; k++) {
        uint32_t t = d->ops[d->results[k]].dtype;
        int64_t bytes = dtype_bits(t) / 8;
        for (int64_t i = 0; i < BUFFER; i += bytes) {
            if (!same_value(t, B.out[k] + i, B.want[k] + i)) {
                uint32_t code = d->ops[d->results[k]].code;
                fail_msg("%s (%s) dtype %u, element %ld of %ld",
                         pq_expr_name((pq_expr_code)code),
                         pq_isa_name(pq_jit_isa(jit)), t, (long)(i / bytes),
                         (long)element_count(d));
            }
        }
    }
}

static const uint8_t arg_counts[PQ_EXPR_CODE_COUNT] = {
#define EXPR(NAME, text, args, check) args,
#include "backends/cpu/expr_ops.def"
#undef EXPR
};

// n elements: LOAD of each operand's type, then the op.
static pq_expr_desc
one_op(uint32_t code, uint32_t result, const uint32_t *from, int64_t n)
{
    pq_expr_desc d = {.rank = 1, .dims = {n}, .output_count = 1};
    uint32_t args = arg_counts[code];
    for (uint32_t i = 0; i < args; i++) {
        d.ops[i] = (pq_expr_op){.code = PQ_EXPR_LOAD,
                                .dtype = (uint8_t)from[i],
                                .index = (uint8_t)i};
        d.inputs[i].strides[0] = 1;
    }
    d.ops[args] = (pq_expr_op){.code = (uint8_t)code,
                               .dtype = (uint8_t)result,
                               .a = 0,
                               .b = args > 1,
                               .c = args > 2 ? 2 : 0};
    d.outputs[0].strides[0] = 1;
    d.op_count = args + 1;
    d.input_count = args;
    d.results[0] = (uint8_t)args;
    return d;
}

// Every op with every combination of types that the check admits (operands
// of equal type, or the op's own mix).
static void
for_each_combination(pq_jit *jit, void (*visit)(pq_jit *, pq_expr_desc *),
                     uint32_t *seen)
{
    for (uint32_t code = 0; code < PQ_EXPR_CODE_COUNT; code++) {
        if (arg_counts[code] == 0) {
            continue;
        }
        for (uint32_t i = 0; i < DTYPE_COUNT * DTYPE_COUNT; i++) {
            uint32_t a = all_dtypes[i / DTYPE_COUNT];
            uint32_t r = all_dtypes[i % DTYPE_COUNT];
            uint32_t mixes[3][3] = {
                {a, a, a}, {PTQC_BOOL, r, r}, {a, PTQC_F32, PTQC_I32}};
            uint32_t mix = code == PQ_EXPR_WHERE ? 1
                           : code == PQ_EXPR_QUANTIZE ||
                                   code == PQ_EXPR_QUANTIZE_MUL ||
                                   code == PQ_EXPR_DEQUANTIZE
                               ? 2
                               : 0;
            if (mix == 1 && a != PTQC_BOOL) {
                continue;
            }
            pq_expr_desc d = one_op(code, r, mixes[mix], 131);
            if (pq_expr_check(&d) == NULL) {
                visit(jit, &d);
                *seen += 1;
            }
        }
    }
}

static void
visit_combination(pq_jit *jit, pq_expr_desc *d)
{
    check_desc(jit, d, 1);
    d->dims[0] = 1000;
    check_desc(jit, d, 3);
}

static void
all_combinations(pq_jit *jit)
{
    uint32_t seen = 0;
    for_each_combination(jit, visit_combination, &seen);
    print_message("%s: %u combinations of op and types\n",
                  pq_isa_name(pq_jit_isa(jit)), seen);
    assert_true(seen > 380);
}

static void
test_all_combinations(void **state)
{
    (void)state;
    cpu_host_each_level(all_combinations);
}

// quantized add with relu, two outputs: codes and the real value
static pq_expr_desc
chain(void)
{
    pq_expr_desc d = {
        .op_count = 14,
        .input_count = 3,
        .output_count = 2,
        .param_count = 6,
        .ops = {{PQ_EXPR_LOAD, PTQC_U8, 0, 0, 0, 0},
                {PQ_EXPR_PARAM, PTQC_F32, 0, 0, 0, 0},
                {PQ_EXPR_PARAM, PTQC_I32, 0, 0, 0, 1},
                {PQ_EXPR_DEQUANTIZE, PTQC_F32, 0, 1, 2, 0},
                {PQ_EXPR_LOAD, PTQC_I8, 0, 0, 0, 1},
                {PQ_EXPR_PARAM, PTQC_F32, 0, 0, 0, 2},
                {PQ_EXPR_PARAM, PTQC_I32, 0, 0, 0, 3},
                {PQ_EXPR_DEQUANTIZE, PTQC_F32, 4, 5, 6, 0},
                {PQ_EXPR_ADD, PTQC_F32, 3, 7, 0, 0},
                {PQ_EXPR_LOAD, PTQC_F32, 0, 0, 0, 2},
                {PQ_EXPR_FMA, PTQC_F32, 8, 9, 7, 0},
                {PQ_EXPR_PARAM, PTQC_F32, 0, 0, 0, 4},
                {PQ_EXPR_PARAM, PTQC_I32, 0, 0, 0, 5},
                {PQ_EXPR_QUANTIZE, PTQC_U8, 10, 11, 12, 0}},
        .results = {13, 10},
        .params = {{.f32 = 0.031f},
                   {.integer = 121},
                   {.f32 = 0.017f},
                   {.integer = -3},
                   {.f32 = 0.4f},
                   {.integer = 30}},
    };
    return d;
}

static void
dense(pq_expr_view *view, const pq_expr_desc *d)
{
    pq_expr_view_broadcast(view, d->rank, d->dims, d->rank);
}

static void
chains(pq_jit *jit)
{
    static const int64_t sizes[] = {0, 1, 15, 16, 17, 33, 1000, 5000};
    for (uint32_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        for (uint32_t workers = 1; workers <= 5; workers += 2) {
            // flat, with the third operand a scalar
            pq_expr_desc d = chain();
            d.rank = 1;
            d.dims[0] = sizes[i];
            dense(&d.inputs[0], &d);
            dense(&d.inputs[1], &d);
            dense(&d.outputs[0], &d);
            dense(&d.outputs[1], &d);
            check_desc(jit, &d, workers);
        }
    }
    for (int64_t c = 1; c < 40; c += 3) {
        // [5][3][c]: second operand by channel, third [5][1][1]
        pq_expr_desc d = chain();
        d.rank = 3;
        d.dims[0] = 5;
        d.dims[1] = 3;
        d.dims[2] = c;
        dense(&d.inputs[0], &d);
        pq_expr_view_broadcast(&d.inputs[1], 3, &d.dims[2], 1);
        int64_t shape[3] = {5, 1, 1};
        pq_expr_view_broadcast(&d.inputs[2], 3, shape, 3);
        dense(&d.outputs[0], &d);
        dense(&d.outputs[1], &d);
        check_desc(jit, &d, 1);
        check_desc(jit, &d, 4);
    }
}

static void
test_chains(void **state)
{
    (void)state;
    cpu_host_each_level(chains);
}

static void
strided(pq_jit *jit)
{
    // [7][9] transposed input, output rows 20 apart, rank-0 and all-scalar
    uint32_t from[2] = {PTQC_I16, PTQC_I16};
    pq_expr_desc d = one_op(PQ_EXPR_ADD, PTQC_I16, from, 0);
    d.rank = 2;
    d.dims[0] = 7;
    d.dims[1] = 9;
    d.inputs[0] = (pq_expr_view){{1, 7}};
    d.inputs[1] = (pq_expr_view){{0, 1}};
    d.outputs[0] = (pq_expr_view){{20, 1}};
    check_desc(jit, &d, 1);
    check_desc(jit, &d, 2);
    d.inputs[0] = (pq_expr_view){{0, 0}};
    d.inputs[1] = (pq_expr_view){{0, 0}};
    check_desc(jit, &d, 2);
    d.rank = 0;
    check_desc(jit, &d, 2);
}

static void
test_strided(void **state)
{
    (void)state;
    cpu_host_each_level(strided);
}

static void
test_lookup(void **state)
{
    (void)state;
    uint8_t table[256];
    for (uint32_t i = 0; i < 256; i++) {
        table[i] = (uint8_t)(i * 7 + 3);
    }
    fill(PTQC_U8, B.in[0], 1001, 3);
    memset(B.out[0], 0xee, 1100);
    for (uint32_t w = 0; w < 3; w++) {
        pq_worker worker = {.index = w, .count = 3};
        pq_lookup8_run(table, B.in[0], B.out[0], 1001, &worker);
    }
    for (uint32_t i = 0; i < 1001; i++) {
        assert_int_equal(B.out[0][i], table[B.in[0][i]]);
    }
    assert_int_equal(B.out[0][1001], 0xee);
}

static void
test_refusals(void **state)
{
    (void)state;
    uint32_t f64[3] = {PTQC_F64, PTQC_F64, PTQC_F64};
    pq_expr_desc d = one_op(PQ_EXPR_EXP, PTQC_F64, f64, 4);
    assert_non_null(pq_expr_check(&d));
    d = one_op(PQ_EXPR_FMOD, PTQC_F64, f64, 4);
    assert_non_null(pq_expr_check(&d));
    uint32_t f16[2] = {PTQC_F16, PTQC_F16};
    d = one_op(PQ_EXPR_ADD, PTQC_F16, f16, 4);
    assert_non_null(pq_expr_check(&d));
    uint32_t i4[2] = {PTQC_I4, PTQC_I4};
    d = one_op(PQ_EXPR_ADD, PTQC_I4, i4, 4);
    assert_non_null(pq_expr_check(&d));
    uint32_t f32[2] = {PTQC_F32, PTQC_F32};
    d = one_op(PQ_EXPR_ADD, PTQC_F32, f32, 4);
    assert_null(pq_expr_check(&d));
    d.ops[2].b = 2; // itself
    assert_non_null(pq_expr_check(&d));
    d.ops[2].b = 1;
    d.results[0] = 9;
    assert_non_null(pq_expr_check(&d));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_chains),
        cmocka_unit_test(test_strided),
        cmocka_unit_test(test_lookup),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_all_combinations),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
