// SPDX-License-Identifier: Apache-2.0
//
// Trigonometric and hyperbolic functions of base/mathfn.h as LLVM IR,
// operation by operation.
#include <llvm-c/Core.h>
#include <math.h>

#include "base/mathfn.h"
#include "emit_math_ops.h"

// ---- trigonometric -------------------------------------------------------

typedef struct trig_parts {
    val r, n; // n: i32
} trig_parts;

static trig_parts
trig_split(pq_emitter *e, val x)
{
    val inside = lt(e, pq_emit_absf(e, x), k(x, (double)PQ_TRIG_LIMIT));
    val d = widen(e, sel(e, inside, x, k(x, 0.0)));
    val v_magic = k(d, PQ_ROUND_F64);
    val t = pq_emit_fma(e, d, k(d, 0x1.45f306dc9c883p-1), v_magic);
    val n = sub(e, t, v_magic);
    val r = pq_emit_fma(e, n, k(d, -0x1.921fb54442d18p+0), d);
    r = pq_emit_fma(e, n, k(d, -0x1.1a62633145c07p-54), r);
    val n32 = LLVMBuildTrunc(e->builder, bits_of(e, t, 64),
                             pq_emit_int_like(e, LLVMTypeOf(x), 32), "");
    trig_parts parts = {narrow(e, r), n32};
    return parts;
}

static val
sin_core(pq_emitter *e, val r)
{
    static const double c[] = {0x1.7c3272p-19, -0x1.a0595cp-13, 0x1.111174p-7,
                               -0x1.555556p-3};
    val u = mul(e, r, r);
    val p = HORNER(e, u, c);
    return pq_emit_fma(e, mul(e, p, u), r, r);
}

static val
cos_core(pq_emitter *e, val r)
{
    static const double c[] = {-0x1.361b2ep-22, 0x1.a071c4p-16, -0x1.6c175ep-10,
                               0x1.555556p-5};
    val u = mul(e, r, r);
    val p = HORNER(e, u, c);
    return pq_emit_fma(e, mul(e, u, u), p,
                       pq_emit_fma(e, u, k(u, -0.5), k(u, 1.0)));
}

// pq_quadrant of n + shift.
static val
quadrant(pq_emitter *e, const trig_parts *s, int64_t shift)
{
    LLVMBuilderRef b = e->builder;
    val n = iadd(e, s->n, shift);
    LLVMTypeRef type = LLVMTypeOf(n);
    val v_odd = LLVMBuildAnd(b, n, pq_emit_whole(type, 1), "");
    val v_is_odd =
        LLVMBuildICmp(b, LLVMIntNE, v_odd, pq_emit_whole(type, 0), "");
    val y = sel(e, v_is_odd, cos_core(e, s->r), sin_core(e, s->r));
    val v_two = LLVMBuildAnd(b, n, pq_emit_whole(type, 2), "");
    val v_sign = LLVMBuildShl(b, v_two, pq_emit_whole(type, 30), "");
    val v_bits = LLVMBuildXor(b, bits_of(e, y, 32), v_sign, "");
    return LLVMBuildBitCast(b, v_bits, LLVMTypeOf(y), "");
}

static val
trig_domain(pq_emitter *e, val x, val y)
{
    val inside = lt(e, pq_emit_absf(e, x), k(x, (double)PQ_TRIG_LIMIT));
    return keep_nan(e, x, sel(e, inside, y, nan_like(e, x)));
}

LLVMValueRef
pq_emit_sinf(pq_emitter *e, LLVMValueRef v_x)
{
    trig_parts s = trig_split(e, v_x);
    val y = quadrant(e, &s, 0);
    y = sel(e, eq(e, v_x, k(v_x, 0.0)), v_x, y);
    return trig_domain(e, v_x, y);
}

LLVMValueRef
pq_emit_cosf(pq_emitter *e, LLVMValueRef v_x)
{
    trig_parts s = trig_split(e, v_x);
    return trig_domain(e, v_x, quadrant(e, &s, 1));
}

LLVMValueRef
pq_emit_tanf(pq_emitter *e, LLVMValueRef v_x)
{
    trig_parts s = trig_split(e, v_x);
    val y = quot(e, quadrant(e, &s, 0), quadrant(e, &s, 1));
    y = sel(e, eq(e, v_x, k(v_x, 0.0)), v_x, y);
    return trig_domain(e, v_x, y);
}

// ---- inverse trigonometric, hyperbolic -----------------------------------

LLVMValueRef
pq_emit_atanf(pq_emitter *e, LLVMValueRef v_x)
{
    static const double c[] = {0x1.29687ep-10, -0x1.e6a0ecp-8, 0x1.753040p-6,
                               -0x1.7080bap-5, 0x1.150a00p-4,  -0x1.6953bcp-4,
                               0x1.c51170p-4,  -0x1.247620p-3, 0x1.99981cp-3,
                               -0x1.555552p-2};
    val a = pq_emit_absf(e, v_x);
    val one = k(a, 1.0);
    val far = gt(e, a, one);
    val t = sel(e, far, quot(e, one, a), a);
    val u = mul(e, t, t);
    val p = HORNER(e, u, c);
    val y = pq_emit_fma(e, mul(e, p, u), t, t);
    y = sel(e, far, sub(e, k(a, 0x1.921fb6p+0), y), y);
    return keep_nan(e, v_x, copysign_of(e, y, v_x));
}

static val
asin_core(pq_emitter *e, val t)
{
    static const double c[] = {0x1.348024p-5, 0x1.d5c5d2p-7, 0x1.04cab0p-5,
                               0x1.6ca7fap-5, 0x1.3338aap-4, 0x1.55554cp-3};
    val u = mul(e, t, t);
    val p = HORNER(e, u, c);
    return pq_emit_fma(e, mul(e, p, u), t, t);
}

// |x| > 1/2 ? sqrt((1 - |x|) / 2) : |x|
static val
asin_argument(pq_emitter *e, val a, val far)
{
    val v_half = k(a, 0.5);
    val v_root = pq_emit_sqrtf(e, mul(e, v_half, sub(e, k(a, 1.0), a)));
    return sel(e, far, v_root, a);
}

LLVMValueRef
pq_emit_asinf(pq_emitter *e, LLVMValueRef v_x)
{
    val a = pq_emit_absf(e, v_x);
    val far = gt(e, a, k(a, 0.5));
    val c = asin_core(e, asin_argument(e, a, far));
    val v_far = pq_emit_fma(e, k(a, -2.0), c, k(a, 0x1.921fb6p+0));
    val y = copysign_of(e, sel(e, far, v_far, c), v_x);
    y = sel(e, gt(e, a, k(a, 1.0)), nan_like(e, a), y);
    return keep_nan(e, v_x, y);
}

LLVMValueRef
pq_emit_acosf(pq_emitter *e, LLVMValueRef v_x)
{
    val a = pq_emit_absf(e, v_x);
    val far = gt(e, a, k(a, 0.5));
    val c = asin_core(e, asin_argument(e, a, far));
    val v_from_pi = pq_emit_fma(e, k(a, -2.0), c, k(a, 0x1.921fb6p+1));
    val v_far = sel(e, lt(e, v_x, k(a, 0.0)), v_from_pi, add(e, c, c));
    val near = sub(e, k(a, 0x1.921fb6p+0), copysign_of(e, c, v_x));
    val y = sel(e, far, v_far, near);
    y = sel(e, gt(e, a, k(a, 1.0)), nan_like(e, a), y);
    return keep_nan(e, v_x, y);
}

// e = e^(a/2): (e/2) e, and (1/2 / e) / e.
static void
exp_halves(pq_emitter *e, val a, val *out_grow, val *out_fall)
{
    val v_half = k(a, 0.5);
    val ex = pq_emit_expf(e, mul(e, v_half, a));
    *out_grow = mul(e, mul(e, v_half, ex), ex);
    *out_fall = quot(e, quot(e, v_half, ex), ex);
}

LLVMValueRef
pq_emit_sinhf(pq_emitter *e, LLVMValueRef v_x)
{
    static const double c[] = {0x1.756c1ep-19, 0x1.a022bcp-13, 0x1.1110e0p-7,
                               0x1.555556p-3};
    val grow, fall;
    val a = pq_emit_absf(e, v_x);
    val u = mul(e, v_x, v_x);
    val p = HORNER(e, u, c);
    val small = pq_emit_fma(e, mul(e, p, u), a, a);
    exp_halves(e, a, &grow, &fall);
    val y = sel(e, lt(e, a, k(a, 1.0)), small, sub(e, grow, fall));
    return keep_nan(e, v_x, copysign_of(e, y, v_x));
}

LLVMValueRef
pq_emit_coshf(pq_emitter *e, LLVMValueRef v_x)
{
    val grow, fall;
    exp_halves(e, pq_emit_absf(e, v_x), &grow, &fall);
    return keep_nan(e, v_x, add(e, grow, fall));
}

static val
log1p_core(pq_emitter *e, val y)
{
    val one = k(y, 1.0);
    val u = add(e, one, y);
    val c = quot(e, sub(e, y, sub(e, u, one)), u);
    pq_log_values s = pq_emit_log_split(e, u);
    val ex = LLVMBuildSIToFP(e->builder, s.ex, LLVMTypeOf(y), "");
    return add(e, pq_emit_log_core(e, sub(e, s.m, one), ex), c);
}

static val
log_twice(pq_emitter *e, val x)
{
    pq_log_values s = pq_emit_log_split(e, x);
    val ex = LLVMBuildSIToFP(e->builder, iadd(e, s.ex, 1), LLVMTypeOf(x), "");
    return pq_emit_log_core(e, sub(e, s.m, k(x, 1.0)), ex);
}

LLVMValueRef
pq_emit_asinhf(pq_emitter *e, LLVMValueRef v_x)
{
    val a = pq_emit_absf(e, v_x);
    val inside = lt(e, a, k(a, 0x1p+60));
    val d = widen(e, sel(e, inside, a, k(a, 0.0)));
    val one = k(d, 1.0);
    val square = mul(e, d, d);
    val den = add(e, one, pq_emit_sqrtf(e, add(e, square, one)));
    val y = add(e, d, quot(e, square, den));
    val r = sel(e, inside, log1p_core(e, narrow(e, y)), log_twice(e, a));
    r = sel(e, lt(e, a, k(a, (double)INFINITY)), copysign_of(e, r, v_x), v_x);
    return keep_nan(e, v_x, r);
}

LLVMValueRef
pq_emit_acoshf(pq_emitter *e, LLVMValueRef v_x)
{
    val inside = lt(e, v_x, k(v_x, 0x1p+60));
    val t = widen(e, sel(e, inside, v_x, k(v_x, 1.0)));
    t = sub(e, t, k(t, 1.0));
    t = pq_emit_max(e, t, k(t, 0.0));
    val y = add(e, t, pq_emit_sqrtf(e, mul(e, t, add(e, t, k(t, 2.0)))));
    val r = sel(e, inside, log1p_core(e, narrow(e, y)), log_twice(e, v_x));
    r = sel(e, lt(e, v_x, k(v_x, (double)INFINITY)), r, v_x);
    return sel(e, lt(e, v_x, k(v_x, 1.0)), nan_like(e, v_x), r);
}

LLVMValueRef
pq_emit_atanhf(pq_emitter *e, LLVMValueRef v_x)
{
    val a = pq_emit_absf(e, v_x);
    val d = widen(e, sel(e, lt(e, a, k(a, 1.0)), a, k(a, 0.0)));
    val y = narrow(e, quot(e, add(e, d, d), sub(e, k(d, 1.0), d)));
    val r = mul(e, k(a, 0.5), log1p_core(e, y));
    r = sel(e, eq(e, a, k(a, 1.0)), k(a, (double)INFINITY), r);
    r = sel(e, gt(e, a, k(a, 1.0)), nan_like(e, a), copysign_of(e, r, v_x));
    return keep_nan(e, v_x, r);
}
