// SPDX-License-Identifier: Apache-2.0
//
// Short names for one operation each, for the files that repeat
// base/mathfn.h (emit_math.c, emit_math_trig.c) and for nobody else.
#ifndef PTQC_BACKENDS_CPU_EMIT_MATH_OPS_H
#define PTQC_BACKENDS_CPU_EMIT_MATH_OPS_H

#include <llvm-c/Core.h>

#include "base/mathfn.h"
#include "emit.h"
#include "emit_math.h"

typedef LLVMValueRef val;

static inline LLVMTypeRef
real_like(LLVMTypeRef like, LLVMTypeRef scalar)
{
    return LLVMGetTypeKind(like) == LLVMVectorTypeKind
               ? LLVMVectorType(scalar, LLVMGetVectorSize(like))
               : scalar;
}

// A constant like v_x.
static inline val
k(val v_x, double value)
{
    return pq_emit_real(LLVMTypeOf(v_x), value);
}

static inline val
nan_like(pq_emitter *e, val v_x)
{
    val v_bits = pq_emit_whole(pq_emit_int_like(e, LLVMTypeOf(v_x), 32),
                               (int64_t)PQ_NAN_BITS);
    return LLVMConstBitCast(v_bits, LLVMTypeOf(v_x));
}

static inline val
add(pq_emitter *e, val a, val b)
{
    return LLVMBuildFAdd(e->builder, a, b, "");
}

static inline val
sub(pq_emitter *e, val a, val b)
{
    return LLVMBuildFSub(e->builder, a, b, "");
}

static inline val
mul(pq_emitter *e, val a, val b)
{
    return LLVMBuildFMul(e->builder, a, b, "");
}

static inline val
quot(pq_emitter *e, val a, val b)
{
    return LLVMBuildFDiv(e->builder, a, b, "");
}

static inline val
neg(pq_emitter *e, val a)
{
    return LLVMBuildFNeg(e->builder, a, "");
}

static inline val
lt(pq_emitter *e, val a, val b)
{
    return LLVMBuildFCmp(e->builder, LLVMRealOLT, a, b, "");
}

static inline val
gt(pq_emitter *e, val a, val b)
{
    return LLVMBuildFCmp(e->builder, LLVMRealOGT, a, b, "");
}

static inline val
eq(pq_emitter *e, val a, val b)
{
    return LLVMBuildFCmp(e->builder, LLVMRealOEQ, a, b, "");
}

static inline val
sel(pq_emitter *e, val c, val a, val b)
{
    return LLVMBuildSelect(e->builder, c, a, b, "");
}

// x != x ? x : y
static inline val
keep_nan(pq_emitter *e, val x, val y)
{
    return sel(e, LLVMBuildFCmp(e->builder, LLVMRealUNO, x, x, ""), x, y);
}

static inline val
call1(pq_emitter *e, const char *name, val x)
{
    LLVMTypeRef type = LLVMTypeOf(x);
    return pq_emit_intrinsic(e, name, &type, 1, &x, 1);
}

static inline val
copysign_of(pq_emitter *e, val x, val sign)
{
    LLVMTypeRef type = LLVMTypeOf(x);
    val args[2] = {x, sign};
    return pq_emit_intrinsic(e, "llvm.copysign", &type, 1, args, 2);
}

static inline val
bits_of(pq_emitter *e, val x, uint32_t bits)
{
    LLVMTypeRef type = pq_emit_int_like(e, LLVMTypeOf(x), bits);
    return LLVMBuildBitCast(e->builder, x, type, "");
}

static inline val
iadd(pq_emitter *e, val a, int64_t b)
{
    return LLVMBuildAdd(e->builder, a, pq_emit_whole(LLVMTypeOf(a), b), "");
}

static inline val
widen(pq_emitter *e, val x)
{
    LLVMTypeRef f64 = LLVMDoubleTypeInContext(e->context);
    return LLVMBuildFPExt(e->builder, x, real_like(LLVMTypeOf(x), f64), "");
}

static inline val
narrow(pq_emitter *e, val x)
{
    return LLVMBuildFPTrunc(e->builder, x, real_like(LLVMTypeOf(x), e->t_f32),
                            "");
}

// c[0] first: ((c0 * x + c1) * x + ...) + c[n-1], one fma per step.
static inline val
horner(pq_emitter *e, val x, const double *c, uint32_t n)
{
    val p = k(x, c[0]);
    for (uint32_t i = 1; i < n; i++) {
        p = pq_emit_fma(e, p, x, k(x, c[i]));
    }
    return p;
}

#define HORNER(e, x, c) horner(e, x, c, (uint32_t)(sizeof(c) / sizeof((c)[0])))

// pq_pow2i: bits((n + 127) << 23)
static inline val
pow2i(pq_emitter *e, val n)
{
    val v_shift = pq_emit_whole(LLVMTypeOf(n), 23);
    val v_bits = LLVMBuildShl(e->builder, iadd(e, n, 127), v_shift, "");
    return LLVMBuildBitCast(e->builder, v_bits,
                            real_like(LLVMTypeOf(n), e->t_f32), "");
}

static inline val
scale2(pq_emitter *e, val p, val n)
{
    val v_one = pq_emit_whole(LLVMTypeOf(n), 1);
    val half = LLVMBuildAShr(e->builder, n, v_one, "");
    val rest = LLVMBuildSub(e->builder, n, half, "");
    return mul(e, mul(e, p, pow2i(e, half)), pow2i(e, rest));
}

// pq_log_core(f, ex) and pq_log_split (ex: i32).
typedef struct pq_log_values {
    val m, ex;
} pq_log_values;

val pq_emit_log_core(pq_emitter *e, val f, val ex);
pq_log_values pq_emit_log_split(pq_emitter *e, val x);

#endif
