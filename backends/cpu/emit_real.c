// SPDX-License-Identifier: Apache-2.0
//
// Loads and stores of short floats (emit_real.h).
#include "emit_real.h"

static LLVMValueRef
load_lanes(pq_emitter *e, LLVMTypeRef type, LLVMValueRef v_ptr,
           LLVMValueRef v_mask, uint32_t align)
{
    return v_mask == NULL ? pq_emit_load(e, type, v_ptr, align)
                          : pq_emit_masked_load(e, type, v_ptr, v_mask, align);
}

LLVMValueRef
pq_emit_load_real(pq_emitter *e, uint32_t dtype, LLVMValueRef v_ptr,
                  LLVMValueRef v_mask)
{
    LLVMBuilderRef b = e->builder;
    if (dtype == PTQC_F32) {
        return load_lanes(e, e->t_vf32, v_ptr, v_mask, 4);
    }
    LLVMTypeRef words = pq_emit_vector_type(e->t_i16, PQ_LANES);
    LLVMValueRef v = load_lanes(e, words, v_ptr, v_mask, 2);
    if (dtype == PTQC_F16) {
        LLVMTypeRef halves = pq_emit_vector_type(e->t_f16, PQ_LANES);
        return LLVMBuildFPExt(b, LLVMBuildBitCast(b, v, halves, ""), e->t_vf32,
                              "");
    }
    v = LLVMBuildZExt(b, v, e->t_vi32, "");
    v = LLVMBuildShl(b, v, pq_emit_splat_i32(e, 16), "");
    return LLVMBuildBitCast(b, v, e->t_vf32, "");
}

// The high half after rounding to nearest even; a NaN is made quiet.
static LLVMValueRef
round_bf16(pq_emitter *e, LLVMValueRef v_x)
{
    LLVMBuilderRef b = e->builder;
    LLVMTypeRef words = pq_emit_vector_type(e->t_i16, PQ_LANES);
    LLVMValueRef v_bits = LLVMBuildBitCast(b, v_x, e->t_vi32, "");
    LLVMValueRef v_16 = pq_emit_splat_i32(e, 16);
    LLVMValueRef v_high = LLVMBuildLShr(b, v_bits, v_16, "");
    LLVMValueRef v_up =
        LLVMBuildAdd(b, LLVMBuildAnd(b, v_high, pq_emit_splat_i32(e, 1), ""),
                     pq_emit_splat_i32(e, 0x7fff), "");
    LLVMValueRef v_rounded =
        LLVMBuildLShr(b, LLVMBuildAdd(b, v_bits, v_up, ""), v_16, "");
    LLVMValueRef v_quiet =
        LLVMBuildOr(b, v_high, pq_emit_splat_i32(e, 0x40), "");
    LLVMValueRef v_is_nan = LLVMBuildFCmp(b, LLVMRealUNO, v_x, v_x, "");
    return LLVMBuildTrunc(
        b, LLVMBuildSelect(b, v_is_nan, v_quiet, v_rounded, ""), words, "");
}

void
pq_emit_store_short(pq_emitter *e, uint32_t dtype, LLVMValueRef v_x,
                    LLVMValueRef v_ptr, LLVMValueRef v_mask)
{
    LLVMBuilderRef b = e->builder;
    LLVMTypeRef words = pq_emit_vector_type(e->t_i16, PQ_LANES);
    LLVMTypeRef halves = pq_emit_vector_type(e->t_f16, PQ_LANES);
    LLVMValueRef v =
        dtype == PTQC_BF16
            ? round_bf16(e, v_x)
            : LLVMBuildBitCast(b, LLVMBuildFPTrunc(b, v_x, halves, ""), words,
                               "");
    if (v_mask == NULL) {
        pq_emit_store(e, v, v_ptr, 2);
    } else {
        pq_emit_masked_store(e, v, v_ptr, v_mask, 2);
    }
}
