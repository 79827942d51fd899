// SPDX-License-Identifier: Apache-2.0
//
// Meaning of every op of expr_ops.def as LLVM IR. f32 functions come from
// emit_math.h; integers wrap, never trap; casts are defined for every value.
#include "emit_expr_op.h"

#include <llvm-c/Core.h>
#include <stddef.h>

#include "backends/kgen/move.h"
#include "emit_expr.h"
#include "emit_math.h"

typedef LLVMValueRef val;

static int
is_real(uint32_t dtype)
{
    return dtype == PTQC_F32 || dtype == PTQC_F64;
}

static val
whole_like(val v, int64_t value)
{
    return pq_emit_whole(LLVMTypeOf(v), value);
}

static val
binary_call(pq_emitter *e, const char *name, val v_a, val v_b)
{
    LLVMTypeRef type = LLVMTypeOf(v_a);
    val args[2] = {v_a, v_b};
    return pq_emit_intrinsic(e, name, &type, 1, args, 2);
}

// ---- types ---------------------------------------------------------------

static LLVMTypeRef
lanes_of(LLVMTypeRef scalar, uint32_t lanes)
{
    return lanes == 0 ? scalar : LLVMVectorType(scalar, lanes);
}

LLVMTypeRef
pq_expr_memory_type(pq_emitter *e, uint32_t dtype, uint32_t lanes)
{
    LLVMTypeRef scalar =
        LLVMIntTypeInContext(e->context, 8 * pq_kg_element_bytes(dtype));
    if (dtype == PTQC_F32) {
        scalar = e->t_f32;
    } else if (dtype == PTQC_F64) {
        scalar = LLVMDoubleTypeInContext(e->context);
    }
    return lanes_of(scalar, lanes);
}

LLVMValueRef
pq_expr_from_memory(pq_emitter *e, uint32_t dtype, LLVMValueRef v_memory)
{
    return dtype == PTQC_BOOL ? LLVMBuildICmp(e->builder, LLVMIntNE, v_memory,
                                              whole_like(v_memory, 0), "")
                              : v_memory;
}

LLVMValueRef
pq_expr_to_memory(pq_emitter *e, uint32_t dtype, LLVMValueRef v_reg)
{
    return dtype == PTQC_BOOL
               ? LLVMBuildZExt(e->builder, v_reg,
                               pq_emit_int_like(e, LLVMTypeOf(v_reg), 8), "")
               : v_reg;
}

// The type of a register of `dtype` with the lanes of `like`.
static LLVMTypeRef
register_type(pq_emitter *e, uint32_t dtype, val v_like)
{
    LLVMTypeRef like = LLVMTypeOf(v_like);
    uint32_t lanes = LLVMGetTypeKind(like) == LLVMVectorTypeKind
                         ? LLVMGetVectorSize(like)
                         : 0;
    if (dtype == PTQC_BOOL) {
        return lanes_of(e->t_i1, lanes);
    }
    return pq_expr_memory_type(e, dtype, lanes);
}

// ---- casts ---------------------------------------------------------------

static val
f16_to_f32(pq_emitter *e, val v)
{
    LLVMTypeRef half = register_type(e, PTQC_F16, v);
    half = LLVMGetTypeKind(half) == LLVMVectorTypeKind
               ? LLVMVectorType(e->t_f16, LLVMGetVectorSize(half))
               : e->t_f16;
    return LLVMBuildFPExt(e->builder, LLVMBuildBitCast(e->builder, v, half, ""),
                          register_type(e, PTQC_F32, v), "");
}

static val
f32_to_f16(pq_emitter *e, val v)
{
    LLVMTypeRef bits = register_type(e, PTQC_F16, v);
    LLVMTypeRef half = LLVMGetTypeKind(bits) == LLVMVectorTypeKind
                           ? LLVMVectorType(e->t_f16, LLVMGetVectorSize(bits))
                           : e->t_f16;
    return LLVMBuildBitCast(
        e->builder, LLVMBuildFPTrunc(e->builder, v, half, ""), bits, "");
}

static val
bf16_to_f32(pq_emitter *e, val v)
{
    val v_wide = LLVMBuildZExt(e->builder, v,
                               pq_emit_int_like(e, LLVMTypeOf(v), 32), "");
    val v_bits = LLVMBuildShl(e->builder, v_wide, whole_like(v_wide, 16), "");
    return LLVMBuildBitCast(e->builder, v_bits, register_type(e, PTQC_F32, v),
                            "");
}

// bits + 0x7fff + lowest kept bit, high half; NaN: high half, made quiet
static val
f32_to_bf16(pq_emitter *e, val v)
{
    LLVMBuilderRef b = e->builder;
    LLVMTypeRef word = pq_emit_int_like(e, LLVMTypeOf(v), 32);
    val v_bits = LLVMBuildBitCast(b, v, word, "");
    val v_16 = pq_emit_whole(word, 16);
    val v_high = LLVMBuildLShr(b, v_bits, v_16, "");
    val v_odd = LLVMBuildAnd(b, v_high, pq_emit_whole(word, 1), "");
    val v_up = LLVMBuildAdd(b, v_odd, pq_emit_whole(word, 0x7fff), "");
    val v_rounded =
        LLVMBuildLShr(b, LLVMBuildAdd(b, v_bits, v_up, ""), v_16, "");
    val v_quiet = LLVMBuildOr(b, v_high, pq_emit_whole(word, 0x40), "");
    val v_is_nan = LLVMBuildFCmp(b, LLVMRealUNO, v, v, "");
    val v_word = LLVMBuildSelect(b, v_is_nan, v_quiet, v_rounded, "");
    return LLVMBuildTrunc(b, v_word, pq_emit_int_like(e, LLVMTypeOf(v), 16),
                          "");
}

static val
real_to_int(pq_emitter *e, uint32_t to, val v)
{
    LLVMTypeRef types[2] = {register_type(e, to, v), LLVMTypeOf(v)};
    const char *name =
        pq_expr_dtype_is_signed(to) ? "llvm.fptosi.sat" : "llvm.fptoui.sat";
    return pq_emit_intrinsic(e, name, types, 2, &v, 1);
}

static val
int_to_int(pq_emitter *e, uint32_t from, uint32_t to, val v)
{
    LLVMTypeRef type = register_type(e, to, v);
    uint32_t old_bytes = pq_kg_element_bytes(from);
    uint32_t new_bytes = pq_kg_element_bytes(to);
    if (old_bytes == new_bytes) {
        return v;
    }
    if (old_bytes > new_bytes) {
        return LLVMBuildTrunc(e->builder, v, type, "");
    }
    return pq_expr_dtype_is_signed(from)
               ? LLVMBuildSExt(e->builder, v, type, "")
               : LLVMBuildZExt(e->builder, v, type, "");
}

// From f32 or f64 to anything but bool.
static val
cast_real(pq_emitter *e, uint32_t from, uint32_t to, val v)
{
    if (from == to) {
        return v;
    }
    if (pq_expr_dtype_is_int(to)) {
        return real_to_int(e, to, v);
    }
    if (to == PTQC_F64) {
        return LLVMBuildFPExt(e->builder, v, register_type(e, to, v), "");
    }
    if (from == PTQC_F64) {
        v = LLVMBuildFPTrunc(e->builder, v, register_type(e, PTQC_F32, v), "");
    }
    return to == PTQC_F16    ? f32_to_f16(e, v)
           : to == PTQC_BF16 ? f32_to_bf16(e, v)
                             : v;
}

// From bool or an integer to f32 or f64.
static val
int_to_real(pq_emitter *e, uint32_t from, uint32_t to, val v)
{
    LLVMTypeRef type = register_type(e, to, v);
    return pq_expr_dtype_is_signed(from)
               ? LLVMBuildSIToFP(e->builder, v, type, "")
               : LLVMBuildUIToFP(e->builder, v, type, "");
}

static val
to_bool(pq_emitter *e, uint32_t from, val v)
{
    if (from == PTQC_BOOL) {
        return v;
    }
    return is_real(from)
               ? LLVMBuildFCmp(e->builder, LLVMRealUNE, v,
                               pq_emit_real(LLVMTypeOf(v), 0.0), "")
               : LLVMBuildICmp(e->builder, LLVMIntNE, v, whole_like(v, 0), "");
}

static val
emit_cast(pq_emitter *e, uint32_t from, uint32_t to, val v)
{
    if (from == to) {
        return v;
    }
    if (from == PTQC_F16 || from == PTQC_BF16) {
        v = from == PTQC_F16 ? f16_to_f32(e, v) : bf16_to_f32(e, v);
        from = PTQC_F32;
    }
    if (to == PTQC_BOOL) {
        return to_bool(e, from, v);
    }
    if (is_real(from)) {
        return cast_real(e, from, to, v);
    }
    if (pq_expr_dtype_is_int(to)) {
        return from == PTQC_BOOL
                   ? LLVMBuildZExt(e->builder, v, register_type(e, to, v), "")
                   : int_to_int(e, from, to, v);
    }
    uint32_t via = is_real(to) ? to : PTQC_F32;
    return cast_real(e, via, to, int_to_real(e, from, via, v));
}

// ---- integers ------------------------------------------------------------

// Quotient or remainder without traps: x / 0 = 0, MIN / -1 = MIN.
static val
int_divide(pq_emitter *e, int is_signed, int is_rem, val v_x, val v_y)
{
    LLVMBuilderRef b = e->builder;
    val v_zero = whole_like(v_y, 0);
    val v_one = whole_like(v_y, 1);
    val v_by_zero = LLVMBuildICmp(b, LLVMIntEQ, v_y, v_zero, "");
    val v_safe = LLVMBuildSelect(b, v_by_zero, v_one, v_y, "");
    if (!is_signed) {
        val v_r = is_rem ? LLVMBuildURem(b, v_x, v_safe, "")
                         : LLVMBuildUDiv(b, v_x, v_safe, "");
        return LLVMBuildSelect(b, v_by_zero, v_zero, v_r, "");
    }
    // y = -1: the quotient is -x with wrap-around, the remainder 0
    val v_minus = LLVMBuildICmp(b, LLVMIntEQ, v_y, whole_like(v_y, -1), "");
    v_safe = LLVMBuildSelect(b, v_minus, v_one, v_safe, "");
    val v_r = is_rem ? LLVMBuildSRem(b, v_x, v_safe, "")
                     : LLVMBuildSDiv(b, v_x, v_safe, "");
    val v_special = is_rem ? v_zero : LLVMBuildNeg(b, v_x, "");
    v_r = LLVMBuildSelect(b, v_minus, v_special, v_r, "");
    return LLVMBuildSelect(b, v_by_zero, v_zero, v_r, "");
}

// Remainder with the sign of the divisor.
static val
int_mod(pq_emitter *e, int is_signed, val v_x, val v_y)
{
    LLVMBuilderRef b = e->builder;
    val v_r = int_divide(e, is_signed, 1, v_x, v_y);
    if (!is_signed) {
        return v_r;
    }
    val v_zero = whole_like(v_r, 0);
    val v_some = LLVMBuildICmp(b, LLVMIntNE, v_r, v_zero, "");
    val v_other =
        LLVMBuildICmp(b, LLVMIntSLT, LLVMBuildXor(b, v_r, v_y, ""), v_zero, "");
    val v_fix = LLVMBuildAnd(b, v_some, v_other, "");
    return LLVMBuildSelect(b, v_fix, LLVMBuildAdd(b, v_r, v_y, ""), v_r, "");
}

static val
int_shift(pq_emitter *e, int is_left, uint32_t dtype, val v_x, val v_y)
{
    LLVMBuilderRef b = e->builder;
    int64_t bits = 8 * (int64_t)pq_kg_element_bytes(dtype);
    val v_amount = LLVMBuildAnd(b, v_y, whole_like(v_y, bits - 1), "");
    val v_r = is_left ? LLVMBuildShl(b, v_x, v_amount, "")
                      : LLVMBuildLShr(b, v_x, v_amount, "");
    val v_inside = LLVMBuildICmp(b, LLVMIntULT, v_y, whole_like(v_y, bits), "");
    return LLVMBuildSelect(b, v_inside, v_r, whole_like(v_x, 0), "");
}

static val
int_abs(pq_emitter *e, int is_signed, val v_x)
{
    val v_less =
        LLVMBuildICmp(e->builder, LLVMIntSLT, v_x, whole_like(v_x, 0), "");
    return is_signed
               ? LLVMBuildSelect(e->builder, v_less,
                                 LLVMBuildNeg(e->builder, v_x, ""), v_x, "")
               : v_x;
}

static val
int_sign(pq_emitter *e, int is_signed, val v_x)
{
    LLVMBuilderRef b = e->builder;
    val v_zero = whole_like(v_x, 0);
    val v_some = LLVMBuildICmp(b, LLVMIntNE, v_x, v_zero, "");
    val v_less = LLVMBuildICmp(b, LLVMIntSLT, v_x, v_zero, "");
    val v_r = LLVMBuildSelect(b, v_some, whole_like(v_x, 1), v_zero, "");
    return is_signed ? LLVMBuildSelect(b, v_less, whole_like(v_x, -1), v_r, "")
                     : v_r;
}

static val
int_max(pq_emitter *e, int is_signed, val v_a, val v_b)
{
    return binary_call(e, is_signed ? "llvm.smax" : "llvm.umax", v_a, v_b);
}

static val
int_min(pq_emitter *e, int is_signed, val v_a, val v_b)
{
    return binary_call(e, is_signed ? "llvm.smin" : "llvm.umin", v_a, v_b);
}

// NUM and INT ops on integers.
static val
emit_int_op(pq_emitter *e, const pq_expr_op *op, const val *v)
{
    LLVMBuilderRef b = e->builder;
    int is_signed = pq_expr_dtype_is_signed(op->dtype);
    switch (op->code) {
    case PQ_EXPR_NEG:
        return LLVMBuildNeg(b, v[0], "");
    case PQ_EXPR_ABS:
        return int_abs(e, is_signed, v[0]);
    case PQ_EXPR_SIGN:
        return int_sign(e, is_signed, v[0]);
    case PQ_EXPR_RELU:
        return int_max(e, is_signed, v[0], whole_like(v[0], 0));
    case PQ_EXPR_CLIP:
        return int_min(e, is_signed, int_max(e, is_signed, v[0], v[1]), v[2]);
    case PQ_EXPR_ADD:
        return LLVMBuildAdd(b, v[0], v[1], "");
    case PQ_EXPR_SUB:
        return LLVMBuildSub(b, v[0], v[1], "");
    case PQ_EXPR_MUL:
        return LLVMBuildMul(b, v[0], v[1], "");
    case PQ_EXPR_DIV:
        return int_divide(e, is_signed, 0, v[0], v[1]);
    case PQ_EXPR_MIN:
        return int_min(e, is_signed, v[0], v[1]);
    case PQ_EXPR_MAX:
        return int_max(e, is_signed, v[0], v[1]);
    case PQ_EXPR_MOD:
        return int_mod(e, is_signed, v[0], v[1]);
    case PQ_EXPR_FMOD:
        return int_divide(e, is_signed, 1, v[0], v[1]);
    case PQ_EXPR_SHL:
    case PQ_EXPR_SHR:
        return int_shift(e, op->code == PQ_EXPR_SHL, op->dtype, v[0], v[1]);
    default:
        return NULL;
    }
}

// ---- reals ---------------------------------------------------------------

// FLOAT and NUM ops on f32 and f64.
static val
emit_real_op(pq_emitter *e, const pq_expr_op *op, const val *v)
{
    LLVMBuilderRef b = e->builder;
    switch (op->code) {
    case PQ_EXPR_NEG:
        return LLVMBuildFNeg(b, v[0], "");
    case PQ_EXPR_RECIPROCAL:
        return LLVMBuildFDiv(b, pq_emit_real(LLVMTypeOf(v[0]), 1.0), v[0], "");
    case PQ_EXPR_CLIP:
        return pq_emit_clipf(e, v[0], v[1], v[2]);
    case PQ_EXPR_ADD:
        return LLVMBuildFAdd(b, v[0], v[1], "");
    case PQ_EXPR_SUB:
        return LLVMBuildFSub(b, v[0], v[1], "");
    case PQ_EXPR_MUL:
        return LLVMBuildFMul(b, v[0], v[1], "");
    case PQ_EXPR_DIV:
        return LLVMBuildFDiv(b, v[0], v[1], "");
    case PQ_EXPR_MIN:
        return pq_emit_minf(e, v[0], v[1]);
    case PQ_EXPR_MAX:
        return pq_emit_maxf(e, v[0], v[1]);
    case PQ_EXPR_FMA:
        return pq_emit_fma(e, v[0], v[1], v[2]);
    default:
        return NULL;
    }
}

typedef val (*unary_fn)(pq_emitter *e, val v_x);

static const unary_fn unary_functions[PQ_EXPR_CODE_COUNT] = {
    [PQ_EXPR_ABS] = pq_emit_absf,
    [PQ_EXPR_SQRT] = pq_emit_sqrtf,
    [PQ_EXPR_FLOOR] = pq_emit_floorf,
    [PQ_EXPR_CEIL] = pq_emit_ceilf,
    [PQ_EXPR_ROUND] = pq_emit_roundf,
    [PQ_EXPR_SIGN] = pq_emit_signf,
    [PQ_EXPR_RELU] = pq_emit_reluf,
    [PQ_EXPR_EXP] = pq_emit_expf,
    [PQ_EXPR_LOG] = pq_emit_logf,
    [PQ_EXPR_RSQRT] = pq_emit_rsqrtf,
    [PQ_EXPR_SIN] = pq_emit_sinf,
    [PQ_EXPR_COS] = pq_emit_cosf,
    [PQ_EXPR_TAN] = pq_emit_tanf,
    [PQ_EXPR_ASIN] = pq_emit_asinf,
    [PQ_EXPR_ACOS] = pq_emit_acosf,
    [PQ_EXPR_ATAN] = pq_emit_atanf,
    [PQ_EXPR_SINH] = pq_emit_sinhf,
    [PQ_EXPR_COSH] = pq_emit_coshf,
    [PQ_EXPR_ASINH] = pq_emit_asinhf,
    [PQ_EXPR_ACOSH] = pq_emit_acoshf,
    [PQ_EXPR_ATANH] = pq_emit_atanhf,
    [PQ_EXPR_TANH] = pq_emit_tanhf,
    [PQ_EXPR_SIGMOID] = pq_emit_sigmoidf,
    [PQ_EXPR_ERF] = pq_emit_erff,
    [PQ_EXPR_SOFTPLUS] = pq_emit_softplusf,
    [PQ_EXPR_SOFTSIGN] = pq_emit_softsignf,
    [PQ_EXPR_GELU] = pq_emit_gelu_erff,
    [PQ_EXPR_GELU_TANH] = pq_emit_gelu_tanhf,
    [PQ_EXPR_SILU] = pq_emit_siluf,
    [PQ_EXPR_MISH] = pq_emit_mishf,
    [PQ_EXPR_HARDSWISH] = pq_emit_hardswishf,
};

typedef val (*binary_fn)(pq_emitter *e, val v_x, val v_y);

static const binary_fn binary_functions[PQ_EXPR_CODE_COUNT] = {
    [PQ_EXPR_LEAKY_RELU] = pq_emit_leaky_reluf,
    [PQ_EXPR_THRESHOLDED_RELU] = pq_emit_thresholded_reluf,
    [PQ_EXPR_ELU] = pq_emit_eluf,
    [PQ_EXPR_CELU] = pq_emit_celuf,
    [PQ_EXPR_POW] = pq_emit_powf,
    [PQ_EXPR_FMOD] = pq_emit_fmodf,
    [PQ_EXPR_MOD] = pq_emit_floor_modf,
};

typedef val (*ternary_fn)(pq_emitter *e, val v_x, val v_a, val v_b);

static const ternary_fn ternary_functions[PQ_EXPR_CODE_COUNT] = {
    [PQ_EXPR_SELU] = pq_emit_seluf,
    [PQ_EXPR_HARDSIGMOID] = pq_emit_hardsigmoidf,
    [PQ_EXPR_SHRINK] = pq_emit_shrinkf,
};

// ---- logic, comparisons --------------------------------------------------

// EQ NE LT LE GT GE for reals, signed and unsigned integers.
static const struct predicates {
    LLVMRealPredicate real;
    LLVMIntPredicate whole, natural;
} predicates[PQ_EXPR_CODE_COUNT] = {
    [PQ_EXPR_EQ] = {LLVMRealOEQ, LLVMIntEQ, LLVMIntEQ},
    [PQ_EXPR_NE] = {LLVMRealUNE, LLVMIntNE, LLVMIntNE},
    [PQ_EXPR_LT] = {LLVMRealOLT, LLVMIntSLT, LLVMIntULT},
    [PQ_EXPR_LE] = {LLVMRealOLE, LLVMIntSLE, LLVMIntULE},
    [PQ_EXPR_GT] = {LLVMRealOGT, LLVMIntSGT, LLVMIntUGT},
    [PQ_EXPR_GE] = {LLVMRealOGE, LLVMIntSGE, LLVMIntUGE},
};

static val
emit_compare(pq_emitter *e, uint32_t code, uint32_t dtype, const val *v)
{
    if (is_real(dtype)) {
        return LLVMBuildFCmp(e->builder, predicates[code].real, v[0], v[1], "");
    }
    LLVMIntPredicate p = pq_expr_dtype_is_signed(dtype)
                             ? predicates[code].whole
                             : predicates[code].natural;
    return LLVMBuildICmp(e->builder, p, v[0], v[1], "");
}

static val
emit_is_inf(pq_emitter *e, val v_x)
{
    val v_inf = pq_emit_real(LLVMTypeOf(v_x), __builtin_inf());
    return LLVMBuildFCmp(e->builder, LLVMRealOEQ, pq_emit_absf(e, v_x), v_inf,
                         "");
}

// ---- codes ---------------------------------------------------------------

// Lowest and highest code of u8, i8, u16, i16.
static int64_t
code_low(uint32_t dtype)
{
    int64_t bits = 8 * (int64_t)pq_kg_element_bytes(dtype);
    return pq_expr_dtype_is_signed(dtype) ? -((int64_t)1 << (bits - 1)) : 0;
}

static int64_t
code_high(uint32_t dtype)
{
    int64_t bits = 8 * (int64_t)pq_kg_element_bytes(dtype);
    return code_low(dtype) + ((int64_t)1 << bits) - 1;
}

pq_code_bounds
pq_expr_code_bounds(pq_emitter *e, uint32_t dtype, LLVMValueRef v_zero)
{
    LLVMBuilderRef b = e->builder;
    LLVMTypeRef real = register_type(e, PTQC_F32, v_zero);
    val v_lo = LLVMBuildSub(b, whole_like(v_zero, code_low(dtype)), v_zero, "");
    val v_hi =
        LLVMBuildSub(b, whole_like(v_zero, code_high(dtype)), v_zero, "");
    pq_code_bounds bounds = {LLVMBuildSIToFP(b, v_lo, real, ""),
                             LLVMBuildSIToFP(b, v_hi, real, "")};
    return bounds;
}

static val
emit_quantize(pq_emitter *e, const pq_expr_op *op, const val *v,
              const pq_code_bounds *known)
{
    LLVMBuilderRef b = e->builder;
    pq_code_bounds bounds = known != NULL && known->v_lo != NULL
                                ? *known
                                : pq_expr_code_bounds(e, op->dtype, v[2]);
    val v_t = op->code == PQ_EXPR_QUANTIZE ? LLVMBuildFDiv(b, v[0], v[1], "")
                                           : LLVMBuildFMul(b, v[0], v[1], "");
    val v_code = pq_emit_round_code(e, v_t, bounds.v_lo, bounds.v_hi);
    v_code = LLVMBuildAdd(b, v_code, v[2], "");
    return LLVMBuildTrunc(b, v_code, register_type(e, op->dtype, v[0]), "");
}

static val
emit_dequantize(pq_emitter *e, uint32_t from, const val *v)
{
    val v_code = int_to_int(e, from, PTQC_I32, v[0]);
    val v_diff = LLVMBuildSub(e->builder, v_code, v[2], "");
    return LLVMBuildFMul(e->builder, int_to_real(e, PTQC_I32, PTQC_F32, v_diff),
                         v[1], "");
}

// ---- all -----------------------------------------------------------------

LLVMValueRef
pq_expr_emit_op(pq_emitter *e, const pq_expr_op *ops, const pq_expr_op *op,
                const LLVMValueRef *v, const pq_code_bounds *bounds)
{
    LLVMBuilderRef b = e->builder;
    uint32_t from = ops[op->a].dtype;
    switch (op->code) {
    case PQ_EXPR_CAST:
        return emit_cast(e, from, op->dtype, v[0]);
    case PQ_EXPR_QUANTIZE:
    case PQ_EXPR_QUANTIZE_MUL:
        return emit_quantize(e, op, v, bounds);
    case PQ_EXPR_DEQUANTIZE:
        return emit_dequantize(e, from, v);
    case PQ_EXPR_WHERE:
        return LLVMBuildSelect(b, v[0], v[1], v[2], "");
    case PQ_EXPR_IS_NAN:
        return LLVMBuildFCmp(b, LLVMRealUNO, v[0], v[0], "");
    case PQ_EXPR_IS_INF:
        return emit_is_inf(e, v[0]);
    case PQ_EXPR_NOT:
        return LLVMBuildNot(b, v[0], "");
    case PQ_EXPR_AND:
        return LLVMBuildAnd(b, v[0], v[1], "");
    case PQ_EXPR_OR:
        return LLVMBuildOr(b, v[0], v[1], "");
    case PQ_EXPR_XOR:
        return LLVMBuildXor(b, v[0], v[1], "");
    case PQ_EXPR_EQ:
    case PQ_EXPR_NE:
    case PQ_EXPR_LT:
    case PQ_EXPR_LE:
    case PQ_EXPR_GT:
    case PQ_EXPR_GE:
        return emit_compare(e, op->code, from, v);
    default:
        break;
    }
    if (!is_real(op->dtype)) {
        return emit_int_op(e, op, v);
    }
    if (unary_functions[op->code] != NULL) {
        return unary_functions[op->code](e, v[0]);
    }
    if (binary_functions[op->code] != NULL) {
        return binary_functions[op->code](e, v[0], v[1]);
    }
    if (ternary_functions[op->code] != NULL) {
        return ternary_functions[op->code](e, v[0], v[1], v[2]);
    }
    return emit_real_op(e, op, v);
}
