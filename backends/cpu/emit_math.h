// SPDX-License-Identifier: Apache-2.0
//
// base/mathfn.h as LLVM IR: pq_emit_<name>f repeats pq_<name>f operation by
// operation, so every lane has the bits of the C function. Operands are f32
// or vectors of f32 of any length; all operands of a call have one type.
#ifndef PTQC_BACKENDS_CPU_EMIT_MATH_H
#define PTQC_BACKENDS_CPU_EMIT_MATH_H

#include <llvm-c/Types.h>
#include <stdint.h>

#include "emit.h"

// `value` in every lane of a value like `like` (a float type, f32 or f64, or
// a vector of one).
LLVMValueRef pq_emit_real(LLVMTypeRef like, double value);
// The same for integer types.
LLVMValueRef pq_emit_whole(LLVMTypeRef like, int64_t value);
// <lanes of like> x iN, or iN for scalars.
LLVMTypeRef pq_emit_int_like(pq_emitter *e, LLVMTypeRef like, uint32_t bits);

#define PQ_EMIT_UNARY(name)                                                    \
    LLVMValueRef pq_emit_##name##f(pq_emitter *e, LLVMValueRef v_x);
#define PQ_EMIT_BINARY(name)                                                   \
    LLVMValueRef pq_emit_##name##f(pq_emitter *e, LLVMValueRef v_x,            \
                                   LLVMValueRef v_y);
#define PQ_EMIT_TERNARY(name)                                                  \
    LLVMValueRef pq_emit_##name##f(pq_emitter *e, LLVMValueRef v_x,            \
                                   LLVMValueRef v_a, LLVMValueRef v_b);

// X(name): the functions of one, two and three operands, in the order of the
// C functions' parameters.
#define PQ_MATH_UNARY(X)                                                       \
    X(abs)                                                                     \
    X(sqrt)                                                                    \
    X(floor)                                                                   \
    X(ceil)                                                                    \
    X(round)                                                                   \
    X(sign)                                                                    \
    X(relu)                                                                    \
    X(rsqrt)                                                                   \
    X(softsign)                                                                \
    X(hardswish)                                                               \
    X(exp)                                                                     \
    X(expm1_neg)                                                               \
    X(sigmoid)                                                                 \
    X(silu)                                                                    \
    X(tanh)                                                                    \
    X(erf)                                                                     \
    X(gelu_erf)                                                                \
    X(gelu_tanh)                                                               \
    X(mish)                                                                    \
    X(log)                                                                     \
    X(softplus)                                                                \
    X(sin)                                                                     \
    X(cos)                                                                     \
    X(tan)                                                                     \
    X(asin)                                                                    \
    X(acos)                                                                    \
    X(atan)                                                                    \
    X(sinh)                                                                    \
    X(cosh)                                                                    \
    X(asinh)                                                                   \
    X(acosh)                                                                   \
    X(atanh)
#define PQ_MATH_BINARY(X)                                                      \
    X(max)                                                                     \
    X(min)                                                                     \
    X(leaky_relu)                                                              \
    X(thresholded_relu)                                                        \
    X(elu)                                                                     \
    X(celu)                                                                    \
    X(pow)                                                                     \
    X(fmod)                                                                    \
    X(floor_mod)
#define PQ_MATH_TERNARY(X)                                                     \
    X(clip)                                                                    \
    X(selu)                                                                    \
    X(hardsigmoid)                                                             \
    X(shrink)

PQ_MATH_UNARY(PQ_EMIT_UNARY)
PQ_MATH_BINARY(PQ_EMIT_BINARY)
PQ_MATH_TERNARY(PQ_EMIT_TERNARY)

#undef PQ_EMIT_UNARY
#undef PQ_EMIT_BINARY
#undef PQ_EMIT_TERNARY

// rne(clamp(t, lo, hi)) as i32 lanes (pq_round_code).
LLVMValueRef pq_emit_round_code(pq_emitter *e, LLVMValueRef v_t,
                                LLVMValueRef v_lo, LLVMValueRef v_hi);

#endif
