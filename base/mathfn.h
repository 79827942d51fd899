// SPDX-License-Identifier: Apache-2.0
//
// The one text of every non-elementary f32 function. The reference
// interpreter and the tests run these C functions; kernel emitters repeat
// them operation by operation, so both give the same bits on every lane.
//
// Rules of the text: f32 (f64 where said) add, sub, mul, div, sqrt and fma,
// each rounded to nearest even; comparisons, selects, bit operations; no
// branch, no table, no libm beyond fma/sqrt/floor. Compile with
// -ffp-contract=off and never with -ffast-math. A select `c ? a : b` takes b
// when an operand of the comparison is NaN.
//
// NaN in gives that NaN out unless said otherwise; an invalid operation gives
// PQ_NAN or the NaN of the hardware's add/mul/div.
//
// Bounds are largest errors against the exact value, in units of the last
// place of the f32 result (denormal results: of the smallest denormal),
// measured by tests/unit/base/test_mathfn.c. The coefficients are weighted
// minimax fits made for this file (Lawson iteration on Chebyshev nodes).
#ifndef PTQC_BASE_MATHFN_H
#define PTQC_BASE_MATHFN_H

#include <math.h>
#include <stdint.h>
#include <string.h>

// Quiet NaN without sign or payload, for results that have no value.
#define PQ_NAN_BITS 0x7fc00000u
// x + PQ_ROUND_F32 - PQ_ROUND_F32 = nearest integer, for |x| <= 2^22; the low
// bits of the sum are that integer.
#define PQ_ROUND_F32 12582912.0f        // 1.5 * 2^23
#define PQ_ROUND_F64 6755399441055744.0 // 1.5 * 2^52
// Beyond this sin, cos and tan give NaN: neighbours of x are many periods
// apart.
#define PQ_TRIG_LIMIT 281474976710656.0f // 2^48

static inline uint32_t
pq_f32_bits(float x)
{
    uint32_t u;
    memcpy(&u, &x, sizeof u);
    return u;
}

static inline float
pq_bits_f32(uint32_t u)
{
    float x;
    memcpy(&x, &u, sizeof x);
    return x;
}

static inline uint64_t
pq_f64_bits(double x)
{
    uint64_t u;
    memcpy(&u, &x, sizeof u);
    return u;
}

// 2^n for -126 <= n <= 127.
static inline float
pq_pow2i(int32_t n)
{
    return pq_bits_f32((uint32_t)(n + 127) << 23);
}

// p * 2^n for -252 <= n <= 254, one rounding (overflow and denormals too).
static inline float
pq_scale2(float p, int32_t n)
{
    int32_t half = n >> 1;
    return p * pq_pow2i(half) * pq_pow2i(n - half);
}

// ---- elementary, exact ---------------------------------------------------

// Nearest integer, ties to even; keeps -0, infinities and NaN.
static inline float
pq_roundf(float x)
{
    float a = fabsf(x);
    float r = (a + 8388608.0f) - 8388608.0f;
    r = a < 8388608.0f ? r : a;
    return copysignf(r, x);
}

// Larger of two; NaN when one is NaN (a's first).
static inline float
pq_maxf(float a, float b)
{
    float m = a > b ? a : b;
    return a != a ? a : m;
}

static inline float
pq_minf(float a, float b)
{
    float m = a < b ? a : b;
    return a != a ? a : m;
}

// -1, 1, or x itself when it is a zero or NaN.
static inline float
pq_signf(float x)
{
    float r = x < 0.0f ? -1.0f : x;
    return x > 0.0f ? 1.0f : r;
}

static inline float
pq_reluf(float x)
{
    return x < 0.0f ? 0.0f : x;
}

static inline float
pq_clipf(float x, float lo, float hi)
{
    float t = x < lo ? lo : x;
    return t > hi ? hi : t;
}

static inline float
pq_leaky_reluf(float x, float alpha)
{
    float t = x * alpha;
    return x < 0.0f ? t : x;
}

// x <= alpha ? 0 : x
static inline float
pq_thresholded_reluf(float x, float alpha)
{
    return x <= alpha ? 0.0f : x;
}

// x < -lambd: x + bias; x > lambd: x - bias; else 0.
static inline float
pq_shrinkf(float x, float lambd, float bias)
{
    float r = x < -lambd ? x + bias : 0.0f;
    r = x > lambd ? x - bias : r;
    return x != x ? x : r;
}

// 1.5 ulp.
static inline float
pq_rsqrtf(float x)
{
    return 1.0f / sqrtf(x);
}

static inline float
pq_softsignf(float x)
{
    return x / (1.0f + fabsf(x));
}

// clamp(alpha * x + beta, 0, 1); ONNX: alpha 0.2, beta 0.5.
static inline float
pq_hardsigmoidf(float x, float alpha, float beta)
{
    return pq_clipf(fmaf(x, alpha, beta), 0.0f, 1.0f);
}

// x * clamp(x / 6 + 1/2, 0, 1)
static inline float
pq_hardswishf(float x)
{
    return x * pq_hardsigmoidf(x, 0x1.555556p-3f, 0.5f);
}

// Integer code of t, in units of the step: clamped to [lo, hi], NaN to lo,
// nearest even. |lo|, |hi| <= 2^22 and whole.
static inline int32_t
pq_round_code(float t, float lo, float hi)
{
    t = t > lo ? t : lo;
    t = t < hi ? t : hi;
    return (int32_t)(pq_f32_bits(t + PQ_ROUND_F32) - 0x4b400000u);
}

// x - trunc(x / y) * y, exact while |x / y| < 2^28; NaN beyond, for y = 0 and
// for infinite x. x itself when y is infinite. Sign of x.
static inline float
pq_fmodf(float x, float y)
{
    double a = fabs((double)x);
    double b = fabs((double)y);
    double q = floor(a / b);
    double r = fma(-q, b, a); // floor of a rounded-up quotient: one b too far
    r = r < 0.0 ? r + b : r;
    r = q < 268435456.0 ? r : (double)pq_bits_f32(PQ_NAN_BITS);
    float f = copysignf((float)r, x);
    return fabsf(y) == INFINITY && a < (double)INFINITY ? x : f;
}

// Remainder with the sign of y: pq_fmodf, plus y where the signs differ.
static inline float
pq_floor_modf(float x, float y)
{
    float r = pq_fmodf(x, y);
    int is_other = r != 0.0f && (r < 0.0f) != (y < 0.0f);
    return is_other ? r + y : r;
}

// ---- exp family ----------------------------------------------------------

// (e^r - 1 - r) / r^2 for |r| <= ln2 / 2, relative error of e^r 3.2e-9.
static inline float
pq_exp_core(float r)
{
    float p = 0x1.6a4b44p-10f;
    p = fmaf(p, r, 0x1.123994p-7f);
    p = fmaf(p, r, 0x1.5558b2p-5f);
    p = fmaf(p, r, 0x1.555492p-3f);
    return fmaf(p, r, 0x1.fffffcp-2f);
}

// x = n * ln2 + r, |r| <= ln2 / 2; -150 <= n <= 128.
typedef struct pq_exp_parts {
    float r;
    int32_t n;
} pq_exp_parts;

static inline pq_exp_parts
pq_exp_split(float x)
{
    float t = fmaf(x, 0x1.715476p+0f, PQ_ROUND_F32);
    float n = t - PQ_ROUND_F32;
    float r = fmaf(n, -0x1.62e430p-1f, x);
    r = fmaf(n, 0x1.05c610p-29f, r); // ln2 = 0x1.62e430p-1 - 0x1.05c610p-29
    pq_exp_parts parts = {r, (int32_t)(pq_f32_bits(t) - 0x4b400000u)};
    return parts;
}

// 1 ulp. Overflow gives infinity above 88.7228, zero below -103.972.
static inline float
pq_expf(float x)
{
    float c = x > -104.0f ? x : -104.0f;
    c = c < 89.0f ? c : 89.0f;
    pq_exp_parts s = pq_exp_split(c);
    float p = fmaf(s.r * s.r, pq_exp_core(s.r), s.r) + 1.0f;
    float y = pq_scale2(p, s.n);
    return x != x ? x : y;
}

// e^x for -87 <= x <= 88, where 2^n is one normal number. 1 ulp.
static inline float
pq_exp_bounded(float x)
{
    pq_exp_parts s = pq_exp_split(x);
    float p = fmaf(s.r * s.r, pq_exp_core(s.r), s.r) + 1.0f;
    return p * pq_pow2i(s.n);
}

// e^x - 1 for x <= 0 (other x count as 0, NaN as -30). 2 ulp.
static inline float
pq_expm1_negf(float x)
{
    float c = x > -30.0f ? x : -30.0f;
    c = c < 0.0f ? c : 0.0f;
    pq_exp_parts s = pq_exp_split(c);
    float p = fmaf(s.r * s.r, pq_exp_core(s.r), s.r);
    float scale = pq_pow2i(s.n);
    return fmaf(scale, p, scale - 1.0f);
}

// x < 0 ? alpha * (e^x - 1) : x. 3 ulp.
static inline float
pq_eluf(float x, float alpha)
{
    float t = alpha * pq_expm1_negf(x);
    return x < 0.0f ? t : x;
}

static inline float
pq_seluf(float x, float alpha, float gamma)
{
    return gamma * pq_eluf(x, alpha);
}

static inline float
pq_celuf(float x, float alpha)
{
    float t = alpha * pq_expm1_negf(x / alpha);
    return x < 0.0f ? t : x;
}

// 1 / (1 + e^-x), computed from e^-|x| so that both tails are exact. 3 ulp.
static inline float
pq_sigmoidf(float x)
{
    float z = pq_expf(-fabsf(x));
    float num = x < 0.0f ? z : 1.0f;
    float y = num / (1.0f + z);
    return x != x ? x : y;
}

// x * sigmoid(x). 4 ulp; NaN for -infinity.
static inline float
pq_siluf(float x)
{
    return x * pq_sigmoidf(x);
}

// |x| < 0.625: odd polynomial; else 1 - 2 / (e^2|x| + 1). 2 ulp.
static inline float
pq_tanhf(float x)
{
    float a = fabsf(x);
    float u = x * x;
    float p = -0x1.75619ap-8f;
    p = fmaf(p, u, 0x1.5207b8p-6f);
    p = fmaf(p, u, -0x1.b83738p-5f);
    p = fmaf(p, u, 0x1.1106fcp-3f);
    p = fmaf(p, u, -0x1.555532p-2f);
    float small = fmaf(p * u, x, x);
    float c = a < 10.0f ? a : 10.0f; // 1 from 9.02 on
    float big = 1.0f - 2.0f / (pq_exp_bounded(c + c) + 1.0f);
    float y = copysignf(a < 0.625f ? small : big, x);
    return x != x ? x : y;
}

// |x| < 0.92: odd polynomial; else 1 - exp(-q(|x|)), q = -ln(erfc). 2 ulp.
static inline float
pq_erff(float x)
{
    float a = fabsf(x);
    float u = x * x;
    float p = 0x1.4f3b9cp-14f;
    p = fmaf(p, u, -0x1.a601e4p-11f);
    p = fmaf(p, u, 0x1.5449a0p-8f);
    p = fmaf(p, u, -0x1.b80116p-6f);
    p = fmaf(p, u, 0x1.ce2d64p-4f);
    p = fmaf(p, u, -0x1.812740p-2f);
    p = fmaf(p, u, 0x1.06eba8p-3f);
    float small = fmaf(p, x, x);
    float t = a < 4.0f ? a : 4.0f;
    float q = 0x1.5d5c5ap-16f;
    q = fmaf(q, t, -0x1.c44c2cp-12f);
    q = fmaf(q, t, 0x1.105f30p-8f);
    q = fmaf(q, t, -0x1.9aea1ep-6f);
    q = fmaf(q, t, 0x1.bb44dap-4f);
    q = fmaf(q, t, 0x1.444d26p-1f);
    q = fmaf(q, t, 0x1.212626p+0f);
    q = fmaf(q, t, -0x1.62d95cp-13f);
    float big = 1.0f - pq_exp_bounded(-q);
    float y = copysignf(a < 0.92f ? small : big, x);
    return x != x ? x : y;
}

// x/2 * (1 + erf(x / sqrt2)). Absolute error 2^-23 * max(1, |x|); NaN for
// -infinity.
static inline float
pq_gelu_erff(float x)
{
    float h = 0.5f * x;
    return fmaf(h, pq_erff(x * 0x1.6a09e6p-1f), h);
}

// x/2 * (1 + tanh(sqrt(2/pi) * (x + 0.044715 x^3))). Bound as gelu_erf.
static inline float
pq_gelu_tanhf(float x)
{
    float h = 0.5f * x;
    float inner = x * fmaf(x * x, 0x1.2444f2p-5f, 0x1.988454p-1f);
    return fmaf(h, pq_tanhf(inner), h);
}

// x * tanh(softplus(x)), with w = e^x: x * n / (n + 2), n = w * (w + 2).
// 5 ulp; NaN for -infinity.
static inline float
pq_mishf(float x)
{
    float w = pq_expf(x < 20.0f ? x : 20.0f);
    float n = w * (w + 2.0f);
    float y = x * (n / (n + 2.0f));
    return x != x ? x : y;
}

// ---- log family ----------------------------------------------------------

// ln(1 + f) + e * ln2 for sqrt(1/2) <= 1 + f < sqrt(2).
static inline float
pq_log_core(float f, float e)
{
    float p = 0x1.1481cap-4f;
    p = fmaf(p, f, -0x1.de10fcp-4f);
    p = fmaf(p, f, 0x1.e6c1fep-4f);
    p = fmaf(p, f, -0x1.fc26d8p-4f);
    p = fmaf(p, f, 0x1.233b6ap-3f);
    p = fmaf(p, f, -0x1.555c4cp-3f);
    p = fmaf(p, f, 0x1.99a478p-3f);
    p = fmaf(p, f, -0x1.000006p-2f);
    p = fmaf(p, f, 0x1.555548p-2f);
    float u = f * f;
    float y = u * f * p;
    y = fmaf(e, -0x1.05c610p-29f, y);
    y = fmaf(u, -0.5f, y);
    y = f + y;
    return fmaf(e, 0x1.62e430p-1f, y);
}

// x = m * 2^e, sqrt(1/2) <= m < sqrt(2), for positive finite x.
typedef struct pq_log_parts {
    float m;
    int32_t e;
} pq_log_parts;

static inline pq_log_parts
pq_log_split(float x)
{
    float scaled = x < 0x1p-126f ? x * 0x1p+23f : x;
    int32_t bias = x < 0x1p-126f ? -23 : 0;
    uint32_t i = pq_f32_bits(scaled);
    int32_t e = (int32_t)(i - 0x3f3504f3u) >> 23; // arithmetic
    float m = pq_bits_f32(i - ((uint32_t)e << 23));
    pq_log_parts parts = {m, e + bias};
    return parts;
}

// 1 ulp. log(+-0) = -infinity, log(x < 0) = NaN.
static inline float
pq_logf(float x)
{
    pq_log_parts s = pq_log_split(x);
    float y = pq_log_core(s.m - 1.0f, (float)s.e);
    y = x < INFINITY ? y : x; // infinity and NaN
    y = x < 0.0f ? pq_bits_f32(PQ_NAN_BITS) : y;
    return x == 0.0f ? -INFINITY : y;
}

// ln(1 + e^x) = max(x, 0) + ln(1 + e^-|x|). 3 ulp.
static inline float
pq_softplusf(float x)
{
    float z = pq_expf(-fabsf(x)); // 0..1
    float f = z > 0x1.a8279ap-2f ? 0.5f * (z - 1.0f) : z;
    float e = z > 0x1.a8279ap-2f ? 1.0f : 0.0f;
    float pos = x > 0.0f ? x : 0.0f;
    float y = pos + pq_log_core(f, e);
    return x != x ? x : y;
}

// log2(x) in f64 for positive finite x, relative error 2e-13:
// s = (m - 1) / (m + 1), log2(m) = s * C(s^2).
static inline double
pq_log2_wide(float x)
{
    pq_log_parts s = pq_log_split(x);
    double m = (double)s.m;
    double t = (m - 1.0) / (m + 1.0);
    double u = t * t;
    double p = 0x1.21b8cde39de43p-2;
    p = fma(p, u, 0x1.4794cfc3c18d2p-2);
    p = fma(p, u, 0x1.a61a31e59f902p-2);
    p = fma(p, u, 0x1.2776c28f7f646p-1);
    p = fma(p, u, 0x1.ec709dc53fa1bp-1);
    p = fma(p, u, 0x1.71547652b824fp+1);
    return fma(p, t, (double)s.e);
}

// 2^t, t in f64; NaN counts as underflow.
static inline float
pq_exp2_wide(double t)
{
    t = t > -160.0 ? t : -160.0;
    t = t < 136.0 ? t : 136.0;
    double k = t + PQ_ROUND_F64;
    float r = (float)(t - (k - PQ_ROUND_F64)); // |r| <= 1/2
    int32_t n = (int32_t)(uint32_t)pq_f64_bits(k);
    float p = 0x1.416f22p-13f;
    p = fmaf(p, r, 0x1.5f09a4p-10f);
    p = fmaf(p, r, 0x1.3b2ddep-7f);
    p = fmaf(p, r, 0x1.c6af7ap-5f);
    p = fmaf(p, r, 0x1.ebfbdcp-3f);
    p = fmaf(p, r, 0x1.62e430p-1f);
    return pq_scale2(fmaf(p, r, 1.0f), n);
}

// x^y after C17 annex F.10.4.4 (infinities, zeros, negative bases with whole
// y). 2 ulp; y = 0, 1, 2, -1, 3 and 0.5 are done as 1, x, x*x, 1/x, x*x*x and
// sqrt(x) (sqrt of -0 is +0, of -infinity +infinity).
static inline float
pq_powf(float x, float y)
{
    float a = fabsf(x);
    double l = pq_log2_wide(a);
    l = a < INFINITY ? l : (double)a;
    l = a == 0.0f ? (double)-INFINITY : l;
    float r = pq_exp2_wide((double)y * l);
    r = a == 1.0f ? 1.0f : r;
    float half = 0.5f * y;
    int is_whole = pq_roundf(y) == y;
    int is_odd = is_whole && pq_roundf(half) != half;
    float negative = is_odd ? -r : r;
    int has_no_value = !is_whole && x < 0.0f && a < INFINITY;
    negative = has_no_value ? pq_bits_f32(PQ_NAN_BITS) : negative;
    r = (pq_f32_bits(x) >> 31) != 0u ? negative : r;
    r = y != y ? y : r;
    r = x != x ? x : r;
    r = y == 2.0f ? x * x : r;
    r = y == 3.0f ? x * x * x : r;
    r = y == -1.0f ? 1.0f / x : r;
    float root = sqrtf(x + 0.0f);
    root = x == -INFINITY ? INFINITY : root;
    r = y == 0.5f ? root : r;
    r = y == 1.0f ? x : r;
    r = y == 0.0f ? 1.0f : r;
    return x == 1.0f ? 1.0f : r;
}

// ---- trigonometric -------------------------------------------------------

// x = n * pi/2 + r, |r| <= pi/4; n modulo 4. Reduced in f64 with pi/2 in two
// parts (106 bits); |x| < PQ_TRIG_LIMIT.
typedef struct pq_trig_parts {
    float r;
    uint32_t n;
} pq_trig_parts;

static inline pq_trig_parts
pq_trig_split(float x)
{
    double d = (double)(fabsf(x) < PQ_TRIG_LIMIT ? x : 0.0f);
    double t = fma(d, 0x1.45f306dc9c883p-1, PQ_ROUND_F64);
    double n = t - PQ_ROUND_F64;
    double r = fma(n, -0x1.921fb54442d18p+0, d);
    r = fma(n, -0x1.1a62633145c07p-54, r);
    pq_trig_parts parts = {(float)r, (uint32_t)pq_f64_bits(t)};
    return parts;
}

// sin and cos of the reduced argument. 1 ulp.
static inline float
pq_sin_core(float r)
{
    float u = r * r;
    float p = 0x1.7c3272p-19f;
    p = fmaf(p, u, -0x1.a0595cp-13f);
    p = fmaf(p, u, 0x1.111174p-7f);
    p = fmaf(p, u, -0x1.555556p-3f);
    return fmaf(p * u, r, r);
}

static inline float
pq_cos_core(float r)
{
    float u = r * r;
    float p = -0x1.361b2ep-22f;
    p = fmaf(p, u, 0x1.a071c4p-16f);
    p = fmaf(p, u, -0x1.6c175ep-10f);
    p = fmaf(p, u, 0x1.555556p-5f);
    return fmaf(u * u, p, fmaf(u, -0.5f, 1.0f));
}

// The quadrant's sine: n 0 sin, 1 cos, 2 -sin, 3 -cos.
static inline float
pq_quadrant(float r, uint32_t n)
{
    float y = (n & 1u) != 0u ? pq_cos_core(r) : pq_sin_core(r);
    return pq_bits_f32(pq_f32_bits(y) ^ ((n & 2u) << 30));
}

// NaN where |x| >= PQ_TRIG_LIMIT; NaN stays.
static inline float
pq_trig_domain(float x, float y)
{
    y = fabsf(x) < PQ_TRIG_LIMIT ? y : pq_bits_f32(PQ_NAN_BITS);
    return x != x ? x : y;
}

// 2 ulp.
static inline float
pq_sinf(float x)
{
    pq_trig_parts s = pq_trig_split(x);
    float y = pq_quadrant(s.r, s.n);
    y = x == 0.0f ? x : y; // keeps -0
    return pq_trig_domain(x, y);
}

// 2 ulp.
static inline float
pq_cosf(float x)
{
    pq_trig_parts s = pq_trig_split(x);
    return pq_trig_domain(x, pq_quadrant(s.r, s.n + 1u));
}

// sin / cos. 4 ulp.
static inline float
pq_tanf(float x)
{
    pq_trig_parts s = pq_trig_split(x);
    float y = pq_quadrant(s.r, s.n) / pq_quadrant(s.r, s.n + 1u);
    y = x == 0.0f ? x : y;
    return pq_trig_domain(x, y);
}

// ---- inverse trigonometric, hyperbolic -----------------------------------

// |x| <= 1: odd polynomial; else pi/2 - that of 1/|x|. 2 ulp.
static inline float
pq_atanf(float x)
{
    float a = fabsf(x);
    float t = a > 1.0f ? 1.0f / a : a;
    float u = t * t;
    float p = 0x1.29687ep-10f;
    p = fmaf(p, u, -0x1.e6a0ecp-8f);
    p = fmaf(p, u, 0x1.753040p-6f);
    p = fmaf(p, u, -0x1.7080bap-5f);
    p = fmaf(p, u, 0x1.150a00p-4f);
    p = fmaf(p, u, -0x1.6953bcp-4f);
    p = fmaf(p, u, 0x1.c51170p-4f);
    p = fmaf(p, u, -0x1.247620p-3f);
    p = fmaf(p, u, 0x1.99981cp-3f);
    p = fmaf(p, u, -0x1.555552p-2f);
    float y = fmaf(p * u, t, t);
    y = a > 1.0f ? 0x1.921fb6p+0f - y : y;
    return x != x ? x : copysignf(y, x);
}

// asin(t) for 0 <= t <= 1/2.
static inline float
pq_asin_core(float t)
{
    float u = t * t;
    float p = 0x1.348024p-5f;
    p = fmaf(p, u, 0x1.d5c5d2p-7f);
    p = fmaf(p, u, 0x1.04cab0p-5f);
    p = fmaf(p, u, 0x1.6ca7fap-5f);
    p = fmaf(p, u, 0x1.3338aap-4f);
    p = fmaf(p, u, 0x1.55554cp-3f);
    return fmaf(p * u, t, t);
}

// |x| > 1/2: pi/2 - 2 asin(sqrt((1 - |x|) / 2)). 3 ulp; NaN for |x| > 1.
static inline float
pq_asinf(float x)
{
    float a = fabsf(x);
    float t = a > 0.5f ? sqrtf(0.5f * (1.0f - a)) : a;
    float c = pq_asin_core(t);
    float y = a > 0.5f ? fmaf(-2.0f, c, 0x1.921fb6p+0f) : c;
    y = a > 1.0f ? pq_bits_f32(PQ_NAN_BITS) : copysignf(y, x);
    return x != x ? x : y;
}

// |x| <= 1/2: pi/2 - asin(x); else 2 asin(sqrt((1 - |x|) / 2)), from pi for
// negative x. 3 ulp; NaN for |x| > 1.
static inline float
pq_acosf(float x)
{
    float a = fabsf(x);
    float t = a > 0.5f ? sqrtf(0.5f * (1.0f - a)) : a;
    float c = pq_asin_core(t);
    float far = x < 0.0f ? fmaf(-2.0f, c, 0x1.921fb6p+1f) : c + c;
    float near = 0x1.921fb6p+0f - copysignf(c, x);
    float y = a > 0.5f ? far : near;
    y = a > 1.0f ? pq_bits_f32(PQ_NAN_BITS) : y;
    return x != x ? x : y;
}

// |x| < 1: odd polynomial; else (e/2) e - (1/2 / e) / e with e = e^(|x|/2).
// 5 ulp.
static inline float
pq_sinhf(float x)
{
    float a = fabsf(x);
    float u = x * x;
    float p = 0x1.756c1ep-19f;
    p = fmaf(p, u, 0x1.a022bcp-13f);
    p = fmaf(p, u, 0x1.1110e0p-7f);
    p = fmaf(p, u, 0x1.555556p-3f);
    float small = fmaf(p * u, a, a);
    float e = pq_expf(0.5f * a);
    float big = (0.5f * e) * e - (0.5f / e) / e;
    float y = a < 1.0f ? small : big;
    return x != x ? x : copysignf(y, x);
}

// 4 ulp.
static inline float
pq_coshf(float x)
{
    float e = pq_expf(0.5f * fabsf(x));
    float y = (0.5f * e) * e + (0.5f / e) / e;
    return x != x ? x : y;
}

// ln(1 + y) for finite y >= 0: the error of 1 + y goes back in as c.
static inline float
pq_log1p_core(float y)
{
    float u = 1.0f + y;
    float c = (y - (u - 1.0f)) / u;
    pq_log_parts s = pq_log_split(u);
    return pq_log_core(s.m - 1.0f, (float)s.e) + c;
}

// ln(2 x) for positive finite x.
static inline float
pq_log_twice(float x)
{
    pq_log_parts s = pq_log_split(x);
    return pq_log_core(s.m - 1.0f, (float)(s.e + 1));
}

// ln(1 + y), y = a + a^2 / (1 + sqrt(a^2 + 1)) in f64, a = |x|; ln(2 a) from
// 2^60 on. 3 ulp.
static inline float
pq_asinhf(float x)
{
    float a = fabsf(x);
    double d = (double)(a < 0x1p+60f ? a : 0.0f);
    double y = d + d * d / (1.0 + sqrt(d * d + 1.0));
    float r = a < 0x1p+60f ? pq_log1p_core((float)y) : pq_log_twice(a);
    r = a < INFINITY ? copysignf(r, x) : x;
    return x != x ? x : r;
}

// ln(1 + y), y = t + sqrt(t (t + 2)) in f64, t = x - 1; ln(2 x) from 2^60 on.
// 3 ulp; NaN for x < 1.
static inline float
pq_acoshf(float x)
{
    double t = (double)(x < 0x1p+60f ? x : 1.0f) - 1.0;
    t = t > 0.0 ? t : 0.0;
    double y = t + sqrt(t * (t + 2.0));
    float r = x < 0x1p+60f ? pq_log1p_core((float)y) : pq_log_twice(x);
    r = x < INFINITY ? r : x;
    return x < 1.0f ? pq_bits_f32(PQ_NAN_BITS) : r;
}

// ln(1 + 2 a / (1 - a)) / 2 with the quotient in f64. 3 ulp; NaN for |x| > 1.
static inline float
pq_atanhf(float x)
{
    float a = fabsf(x);
    double d = (double)(a < 1.0f ? a : 0.0f);
    float r = 0.5f * pq_log1p_core((float)((d + d) / (1.0 - d)));
    r = a == 1.0f ? INFINITY : r;
    r = a > 1.0f ? pq_bits_f32(PQ_NAN_BITS) : copysignf(r, x);
    return x != x ? x : r;
}

#endif
