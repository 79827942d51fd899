// SPDX-License-Identifier: Apache-2.0
//
// base/mathfn.h as LLVM IR, operation by operation. Each function below has
// the name and the order of its C text; where a C variable has a name, the
// value here has it too.
#include "emit_math.h"

#include <llvm-c/Core.h>
#include <math.h>

#include "base/mathfn.h"
#include "emit_math_ops.h"

LLVMTypeRef
pq_emit_int_like(pq_emitter *e, LLVMTypeRef like, uint32_t bits)
{
    LLVMTypeRef scalar = LLVMIntTypeInContext(e->context, bits);
    return LLVMGetTypeKind(like) == LLVMVectorTypeKind
               ? LLVMVectorType(scalar, LLVMGetVectorSize(like))
               : scalar;
}

static LLVMValueRef
splat_constant(LLVMTypeRef like, LLVMValueRef v_scalar)
{
    LLVMValueRef lanes[64];
    if (LLVMGetTypeKind(like) != LLVMVectorTypeKind) {
        return v_scalar;
    }
    uint32_t n = LLVMGetVectorSize(like);
    for (uint32_t i = 0; i < n && i < 64; i++) {
        lanes[i] = v_scalar;
    }
    return LLVMConstVector(lanes, n);
}

static LLVMTypeRef
element_of(LLVMTypeRef like)
{
    return LLVMGetTypeKind(like) == LLVMVectorTypeKind
               ? LLVMGetElementType(like)
               : like;
}

LLVMValueRef
pq_emit_real(LLVMTypeRef like, double value)
{
    return splat_constant(like, LLVMConstReal(element_of(like), value));
}

LLVMValueRef
pq_emit_whole(LLVMTypeRef like, int64_t value)
{
    return splat_constant(
        like, LLVMConstInt(element_of(like), (unsigned long long)value, 1));
}

// ---- elementary ----------------------------------------------------------

LLVMValueRef
pq_emit_absf(pq_emitter *e, LLVMValueRef v_x)
{
    return call1(e, "llvm.fabs", v_x);
}

LLVMValueRef
pq_emit_sqrtf(pq_emitter *e, LLVMValueRef v_x)
{
    return call1(e, "llvm.sqrt", v_x);
}

LLVMValueRef
pq_emit_floorf(pq_emitter *e, LLVMValueRef v_x)
{
    return call1(e, "llvm.floor", v_x);
}

LLVMValueRef
pq_emit_ceilf(pq_emitter *e, LLVMValueRef v_x)
{
    return call1(e, "llvm.ceil", v_x);
}

LLVMValueRef
pq_emit_roundf(pq_emitter *e, LLVMValueRef v_x)
{
    return call1(e, "llvm.roundeven", v_x);
}

LLVMValueRef
pq_emit_maxf(pq_emitter *e, LLVMValueRef v_x, LLVMValueRef v_y)
{
    return keep_nan(e, v_x, sel(e, gt(e, v_x, v_y), v_x, v_y));
}

LLVMValueRef
pq_emit_minf(pq_emitter *e, LLVMValueRef v_x, LLVMValueRef v_y)
{
    return keep_nan(e, v_x, sel(e, lt(e, v_x, v_y), v_x, v_y));
}

LLVMValueRef
pq_emit_signf(pq_emitter *e, LLVMValueRef v_x)
{
    val zero = k(v_x, 0.0);
    val r = sel(e, lt(e, v_x, zero), k(v_x, -1.0), v_x);
    return sel(e, gt(e, v_x, zero), k(v_x, 1.0), r);
}

LLVMValueRef
pq_emit_reluf(pq_emitter *e, LLVMValueRef v_x)
{
    val zero = k(v_x, 0.0);
    return sel(e, lt(e, v_x, zero), zero, v_x);
}

LLVMValueRef
pq_emit_clipf(pq_emitter *e, LLVMValueRef v_x, LLVMValueRef v_a,
              LLVMValueRef v_b)
{
    val t = sel(e, lt(e, v_x, v_a), v_a, v_x);
    return sel(e, gt(e, t, v_b), v_b, t);
}

LLVMValueRef
pq_emit_leaky_reluf(pq_emitter *e, LLVMValueRef v_x, LLVMValueRef v_y)
{
    return sel(e, lt(e, v_x, k(v_x, 0.0)), mul(e, v_x, v_y), v_x);
}

LLVMValueRef
pq_emit_thresholded_reluf(pq_emitter *e, LLVMValueRef v_x, LLVMValueRef v_y)
{
    val v_low = LLVMBuildFCmp(e->builder, LLVMRealOLE, v_x, v_y, "");
    return sel(e, v_low, k(v_x, 0.0), v_x);
}

LLVMValueRef
pq_emit_shrinkf(pq_emitter *e, LLVMValueRef v_x, LLVMValueRef v_a,
                LLVMValueRef v_b)
{
    val r = sel(e, lt(e, v_x, neg(e, v_a)), add(e, v_x, v_b), k(v_x, 0.0));
    r = sel(e, gt(e, v_x, v_a), sub(e, v_x, v_b), r);
    return keep_nan(e, v_x, r);
}

LLVMValueRef
pq_emit_rsqrtf(pq_emitter *e, LLVMValueRef v_x)
{
    return quot(e, k(v_x, 1.0), pq_emit_sqrtf(e, v_x));
}

LLVMValueRef
pq_emit_softsignf(pq_emitter *e, LLVMValueRef v_x)
{
    return quot(e, v_x, add(e, k(v_x, 1.0), pq_emit_absf(e, v_x)));
}

LLVMValueRef
pq_emit_hardsigmoidf(pq_emitter *e, LLVMValueRef v_x, LLVMValueRef v_a,
                     LLVMValueRef v_b)
{
    return pq_emit_clipf(e, pq_emit_fma(e, v_x, v_a, v_b), k(v_x, 0.0),
                         k(v_x, 1.0));
}

LLVMValueRef
pq_emit_hardswishf(pq_emitter *e, LLVMValueRef v_x)
{
    val gate = pq_emit_hardsigmoidf(e, v_x, k(v_x, 0x1.555556p-3), k(v_x, 0.5));
    return mul(e, v_x, gate);
}

LLVMValueRef
pq_emit_round_code(pq_emitter *e, LLVMValueRef v_t, LLVMValueRef v_lo,
                   LLVMValueRef v_hi)
{
    val t = pq_emit_min(e, pq_emit_max(e, v_t, v_lo), v_hi);
    val v_bits = bits_of(e, add(e, t, k(t, (double)PQ_ROUND_F32)), 32);
    return iadd(e, v_bits, -0x4b400000);
}

LLVMValueRef
pq_emit_fmodf(pq_emitter *e, LLVMValueRef v_x, LLVMValueRef v_y)
{
    val a = widen(e, pq_emit_absf(e, v_x));
    val b = widen(e, pq_emit_absf(e, v_y));
    val q = call1(e, "llvm.floor", quot(e, a, b));
    val r = pq_emit_fma(e, neg(e, q), b, a);
    r = sel(e, lt(e, r, k(r, 0.0)), add(e, r, b), r);
    r = sel(e, lt(e, q, k(q, 268435456.0)), r, widen(e, nan_like(e, v_x)));
    val f = copysign_of(e, narrow(e, r), v_x);
    val v_keeps = LLVMBuildAnd(
        e->builder, eq(e, pq_emit_absf(e, v_y), k(v_y, (double)INFINITY)),
        lt(e, a, k(a, (double)INFINITY)), "");
    return sel(e, v_keeps, v_x, f);
}

LLVMValueRef
pq_emit_floor_modf(pq_emitter *e, LLVMValueRef v_x, LLVMValueRef v_y)
{
    val r = pq_emit_fmodf(e, v_x, v_y);
    val zero = k(v_x, 0.0);
    val v_other =
        LLVMBuildXor(e->builder, lt(e, r, zero), lt(e, v_y, zero), "");
    val v_some = LLVMBuildFCmp(e->builder, LLVMRealUNE, r, zero, "");
    val is_other = LLVMBuildAnd(e->builder, v_some, v_other, "");
    return sel(e, is_other, add(e, r, v_y), r);
}

// ---- exp family ----------------------------------------------------------

static val
exp_core(pq_emitter *e, val r)
{
    static const double c[] = {0x1.6a4b44p-10, 0x1.123994p-7, 0x1.5558b2p-5,
                               0x1.555492p-3, 0x1.fffffcp-2};
    return HORNER(e, r, c);
}

typedef struct exp_parts {
    val r, n;
} exp_parts;

static exp_parts
exp_split(pq_emitter *e, val x)
{
    val v_magic = k(x, (double)PQ_ROUND_F32);
    val t = pq_emit_fma(e, x, k(x, 0x1.715476p+0), v_magic);
    val n = sub(e, t, v_magic);
    val r = pq_emit_fma(e, n, k(x, -0x1.62e430p-1), x);
    r = pq_emit_fma(e, n, k(x, 0x1.05c610p-29), r);
    exp_parts parts = {r, iadd(e, bits_of(e, t, 32), -0x4b400000)};
    return parts;
}

LLVMValueRef
pq_emit_expf(pq_emitter *e, LLVMValueRef v_x)
{
    val c = pq_emit_max(e, v_x, k(v_x, -104.0));
    c = pq_emit_min(e, c, k(v_x, 89.0));
    exp_parts s = exp_split(e, c);
    val p = pq_emit_fma(e, mul(e, s.r, s.r), exp_core(e, s.r), s.r);
    p = add(e, p, k(v_x, 1.0));
    return keep_nan(e, v_x, scale2(e, p, s.n));
}

static val
exp_bounded(pq_emitter *e, val x)
{
    exp_parts s = exp_split(e, x);
    val p = pq_emit_fma(e, mul(e, s.r, s.r), exp_core(e, s.r), s.r);
    return mul(e, add(e, p, k(x, 1.0)), pow2i(e, s.n));
}

LLVMValueRef
pq_emit_expm1_negf(pq_emitter *e, LLVMValueRef v_x)
{
    val c = pq_emit_max(e, v_x, k(v_x, -30.0));
    c = pq_emit_min(e, c, k(v_x, 0.0));
    exp_parts s = exp_split(e, c);
    val p = pq_emit_fma(e, mul(e, s.r, s.r), exp_core(e, s.r), s.r);
    val scale = pow2i(e, s.n);
    return pq_emit_fma(e, scale, p, sub(e, scale, k(v_x, 1.0)));
}

LLVMValueRef
pq_emit_eluf(pq_emitter *e, LLVMValueRef v_x, LLVMValueRef v_y)
{
    val t = mul(e, v_y, pq_emit_expm1_negf(e, v_x));
    return sel(e, lt(e, v_x, k(v_x, 0.0)), t, v_x);
}

LLVMValueRef
pq_emit_seluf(pq_emitter *e, LLVMValueRef v_x, LLVMValueRef v_a,
              LLVMValueRef v_b)
{
    return mul(e, v_b, pq_emit_eluf(e, v_x, v_a));
}

LLVMValueRef
pq_emit_celuf(pq_emitter *e, LLVMValueRef v_x, LLVMValueRef v_y)
{
    val t = mul(e, v_y, pq_emit_expm1_negf(e, quot(e, v_x, v_y)));
    return sel(e, lt(e, v_x, k(v_x, 0.0)), t, v_x);
}

LLVMValueRef
pq_emit_sigmoidf(pq_emitter *e, LLVMValueRef v_x)
{
    val z = pq_emit_expf(e, neg(e, pq_emit_absf(e, v_x)));
    val one = k(v_x, 1.0);
    val num = sel(e, lt(e, v_x, k(v_x, 0.0)), z, one);
    return keep_nan(e, v_x, quot(e, num, add(e, one, z)));
}

LLVMValueRef
pq_emit_siluf(pq_emitter *e, LLVMValueRef v_x)
{
    return mul(e, v_x, pq_emit_sigmoidf(e, v_x));
}

LLVMValueRef
pq_emit_tanhf(pq_emitter *e, LLVMValueRef v_x)
{
    static const double c[] = {-0x1.75619ap-8, 0x1.5207b8p-6, -0x1.b83738p-5,
                               0x1.1106fcp-3, -0x1.555532p-2};
    val a = pq_emit_absf(e, v_x);
    val u = mul(e, v_x, v_x);
    val p = HORNER(e, u, c);
    val small = pq_emit_fma(e, mul(e, p, u), v_x, v_x);
    val one = k(v_x, 1.0);
    val c2 = pq_emit_min(e, a, k(a, 10.0));
    val den = add(e, exp_bounded(e, add(e, c2, c2)), one);
    val big = sub(e, one, quot(e, k(v_x, 2.0), den));
    val y = sel(e, lt(e, a, k(a, 0.625)), small, big);
    return keep_nan(e, v_x, copysign_of(e, y, v_x));
}

LLVMValueRef
pq_emit_erff(pq_emitter *e, LLVMValueRef v_x)
{
    static const double cp[] = {0x1.4f3b9cp-14, -0x1.a601e4p-11, 0x1.5449a0p-8,
                                -0x1.b80116p-6, 0x1.ce2d64p-4,   -0x1.812740p-2,
                                0x1.06eba8p-3};
    static const double cq[] = {0x1.5d5c5ap-16, -0x1.c44c2cp-12, 0x1.105f30p-8,
                                -0x1.9aea1ep-6, 0x1.bb44dap-4,   0x1.444d26p-1,
                                0x1.212626p+0,  -0x1.62d95cp-13};
    val a = pq_emit_absf(e, v_x);
    val p = HORNER(e, mul(e, v_x, v_x), cp);
    val small = pq_emit_fma(e, p, v_x, v_x);
    val q = HORNER(e, pq_emit_min(e, a, k(a, 4.0)), cq);
    val big = sub(e, k(a, 1.0), exp_bounded(e, neg(e, q)));
    val y = sel(e, lt(e, a, k(a, (double)0.92f)), small, big);
    return keep_nan(e, v_x, copysign_of(e, y, v_x));
}

LLVMValueRef
pq_emit_gelu_erff(pq_emitter *e, LLVMValueRef v_x)
{
    val h = mul(e, k(v_x, 0.5), v_x);
    val y = pq_emit_erff(e, mul(e, v_x, k(v_x, 0x1.6a09e6p-1)));
    return pq_emit_fma(e, h, y, h);
}

LLVMValueRef
pq_emit_gelu_tanhf(pq_emitter *e, LLVMValueRef v_x)
{
    val h = mul(e, k(v_x, 0.5), v_x);
    val inner = pq_emit_fma(e, mul(e, v_x, v_x), k(v_x, 0x1.2444f2p-5),
                            k(v_x, 0x1.988454p-1));
    return pq_emit_fma(e, h, pq_emit_tanhf(e, mul(e, v_x, inner)), h);
}

LLVMValueRef
pq_emit_mishf(pq_emitter *e, LLVMValueRef v_x)
{
    val two = k(v_x, 2.0);
    val w = pq_emit_expf(e, pq_emit_min(e, v_x, k(v_x, 20.0)));
    val n = mul(e, w, add(e, w, two));
    val y = mul(e, v_x, quot(e, n, add(e, n, two)));
    return keep_nan(e, v_x, y);
}

// ---- log family ----------------------------------------------------------

LLVMValueRef
pq_emit_log_core(pq_emitter *e, val f, val ex)
{
    static const double c[] = {0x1.1481cap-4,  -0x1.de10fcp-4, 0x1.e6c1fep-4,
                               -0x1.fc26d8p-4, 0x1.233b6ap-3,  -0x1.555c4cp-3,
                               0x1.99a478p-3,  -0x1.000006p-2, 0x1.555548p-2};
    val p = HORNER(e, f, c);
    val u = mul(e, f, f);
    val y = mul(e, mul(e, u, f), p);
    y = pq_emit_fma(e, ex, k(f, -0x1.05c610p-29), y);
    y = pq_emit_fma(e, u, k(f, -0.5), y);
    y = add(e, f, y);
    return pq_emit_fma(e, ex, k(f, 0x1.62e430p-1), y);
}

pq_log_values
pq_emit_log_split(pq_emitter *e, val x)
{
    LLVMBuilderRef b = e->builder;
    val tiny = lt(e, x, k(x, 0x1p-126));
    val scaled = sel(e, tiny, mul(e, x, k(x, 0x1p+23)), x);
    val i = bits_of(e, scaled, 32);
    LLVMTypeRef type = LLVMTypeOf(i);
    val bias = sel(e, tiny, pq_emit_whole(type, -23), pq_emit_whole(type, 0));
    val v_shift = pq_emit_whole(type, 23);
    val ex = LLVMBuildAShr(b, iadd(e, i, -0x3f3504f3), v_shift, "");
    val m = LLVMBuildSub(b, i, LLVMBuildShl(b, ex, v_shift, ""), "");
    pq_log_values parts = {LLVMBuildBitCast(b, m, LLVMTypeOf(x), ""),
                           LLVMBuildAdd(b, ex, bias, "")};
    return parts;
}

LLVMValueRef
pq_emit_logf(pq_emitter *e, LLVMValueRef v_x)
{
    pq_log_values s = pq_emit_log_split(e, v_x);
    val ex = LLVMBuildSIToFP(e->builder, s.ex, LLVMTypeOf(v_x), "");
    val y = pq_emit_log_core(e, sub(e, s.m, k(v_x, 1.0)), ex);
    val zero = k(v_x, 0.0);
    y = sel(e, lt(e, v_x, k(v_x, (double)INFINITY)), y, v_x);
    y = sel(e, lt(e, v_x, zero), nan_like(e, v_x), y);
    return sel(e, eq(e, v_x, zero), k(v_x, -(double)INFINITY), y);
}

LLVMValueRef
pq_emit_softplusf(pq_emitter *e, LLVMValueRef v_x)
{
    val zero = k(v_x, 0.0);
    val one = k(v_x, 1.0);
    val z = pq_emit_expf(e, neg(e, pq_emit_absf(e, v_x)));
    val upper = gt(e, z, k(z, 0x1.a8279ap-2));
    val f = sel(e, upper, mul(e, k(z, 0.5), sub(e, z, one)), z);
    val ex = sel(e, upper, one, zero);
    val pos = pq_emit_max(e, v_x, zero);
    return keep_nan(e, v_x, add(e, pos, pq_emit_log_core(e, f, ex)));
}

static val
log2_wide(pq_emitter *e, val x)
{
    static const double c[] = {0x1.21b8cde39de43p-2, 0x1.4794cfc3c18d2p-2,
                               0x1.a61a31e59f902p-2, 0x1.2776c28f7f646p-1,
                               0x1.ec709dc53fa1bp-1, 0x1.71547652b824fp+1};
    pq_log_values s = pq_emit_log_split(e, x);
    val m = widen(e, s.m);
    val one = k(m, 1.0);
    val t = quot(e, sub(e, m, one), add(e, m, one));
    val p = HORNER(e, mul(e, t, t), c);
    val ex = LLVMBuildSIToFP(e->builder, s.ex, LLVMTypeOf(m), "");
    return pq_emit_fma(e, p, t, ex);
}

static val
exp2_wide(pq_emitter *e, val t)
{
    static const double c[] = {0x1.416f22p-13,
                               0x1.5f09a4p-10,
                               0x1.3b2ddep-7,
                               0x1.c6af7ap-5,
                               0x1.ebfbdcp-3,
                               0x1.62e430p-1,
                               1.0};
    t = pq_emit_max(e, t, k(t, -160.0));
    t = pq_emit_min(e, t, k(t, 136.0));
    val v_magic = k(t, PQ_ROUND_F64);
    val kk = add(e, t, v_magic);
    val r = narrow(e, sub(e, t, sub(e, kk, v_magic)));
    val n = LLVMBuildTrunc(e->builder, bits_of(e, kk, 64),
                           pq_emit_int_like(e, LLVMTypeOf(t), 32), "");
    return scale2(e, HORNER(e, r, c), n);
}

// The sign and domain part of pq_powf: magnitude r, |x| = a.
static val
pow_sign(pq_emitter *e, val x, val y, val a, val r)
{
    LLVMBuilderRef b = e->builder;
    val half = mul(e, k(y, 0.5), y);
    val is_whole = eq(e, pq_emit_roundf(e, y), y);
    val half_odd =
        LLVMBuildFCmp(b, LLVMRealUNE, pq_emit_roundf(e, half), half, "");
    val is_odd = LLVMBuildAnd(b, is_whole, half_odd, "");
    val negative = sel(e, is_odd, neg(e, r), r);
    val v_domain = LLVMBuildAnd(b, lt(e, x, k(x, 0.0)),
                                lt(e, a, k(a, (double)INFINITY)), "");
    val has_no_value =
        LLVMBuildAnd(b, LLVMBuildNot(b, is_whole, ""), v_domain, "");
    negative = sel(e, has_no_value, nan_like(e, x), negative);
    val v_bits = bits_of(e, x, 32);
    val v_signed = LLVMBuildICmp(b, LLVMIntSLT, v_bits,
                                 pq_emit_whole(LLVMTypeOf(v_bits), 0), "");
    r = sel(e, v_signed, negative, r);
    return keep_nan(e, x, keep_nan(e, y, r));
}

LLVMValueRef
pq_emit_powf(pq_emitter *e, LLVMValueRef v_x, LLVMValueRef v_y)
{
    val one = k(v_x, 1.0);
    val a = pq_emit_absf(e, v_x);
    val l = log2_wide(e, a);
    l = sel(e, lt(e, a, k(a, (double)INFINITY)), l, widen(e, a));
    l = sel(e, eq(e, a, k(a, 0.0)), k(l, -(double)INFINITY), l);
    val r = exp2_wide(e, mul(e, widen(e, v_y), l));
    r = sel(e, eq(e, a, one), one, r);
    r = pow_sign(e, v_x, v_y, a, r);
    val square = mul(e, v_x, v_x);
    r = sel(e, eq(e, v_y, k(v_y, 2.0)), square, r);
    r = sel(e, eq(e, v_y, k(v_y, 3.0)), mul(e, square, v_x), r);
    r = sel(e, eq(e, v_y, k(v_y, -1.0)), quot(e, one, v_x), r);
    val root = pq_emit_sqrtf(e, add(e, v_x, k(v_x, 0.0)));
    root = sel(e, eq(e, v_x, k(v_x, -(double)INFINITY)),
               k(v_x, (double)INFINITY), root);
    r = sel(e, eq(e, v_y, k(v_y, 0.5)), root, r);
    r = sel(e, eq(e, v_y, one), v_x, r);
    r = sel(e, eq(e, v_y, k(v_y, 0.0)), one, r);
    return sel(e, eq(e, v_x, one), one, r);
}
