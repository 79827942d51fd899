// SPDX-License-Identifier: Apache-2.0
//
// Emission of epilogues (epilogue.h): mirrors the arithmetic that the header
// states, operation by operation.
#include "epilogue.h"

#include <stddef.h>

#include "emit_math.h"

// One of the three is set; NONE has none. alpha and beta follow x.
typedef struct act_emitter {
    LLVMValueRef (*unary)(pq_emitter *e, LLVMValueRef v_x);
    LLVMValueRef (*binary)(pq_emitter *e, LLVMValueRef v_x, LLVMValueRef v_a);
    LLVMValueRef (*ternary)(pq_emitter *e, LLVMValueRef v_x, LLVMValueRef v_a,
                            LLVMValueRef v_b);
} act_emitter;

static const act_emitter act_emitters[PQ_ACT_COUNT] = {
    [PQ_ACT_RELU] = {.unary = pq_emit_reluf},
    [PQ_ACT_CLIP] = {.ternary = pq_emit_clipf},
    [PQ_ACT_LEAKY_RELU] = {.binary = pq_emit_leaky_reluf},
    [PQ_ACT_HARDSIGMOID] = {.ternary = pq_emit_hardsigmoidf},
    [PQ_ACT_HARDSWISH] = {.unary = pq_emit_hardswishf},
    [PQ_ACT_SIGMOID] = {.unary = pq_emit_sigmoidf},
    [PQ_ACT_TANH] = {.unary = pq_emit_tanhf},
    [PQ_ACT_GELU] = {.unary = pq_emit_gelu_erff},
    [PQ_ACT_GELU_TANH] = {.unary = pq_emit_gelu_tanhf},
    [PQ_ACT_SILU] = {.unary = pq_emit_siluf},
    [PQ_ACT_ELU] = {.binary = pq_emit_eluf},
    [PQ_ACT_MISH] = {.unary = pq_emit_mishf},
    [PQ_ACT_SOFTPLUS] = {.unary = pq_emit_softplusf},
};

static LLVMValueRef
emit_act(pq_emitter *e, uint32_t act, LLVMValueRef v_x,
         const pq_epilogue_values *values)
{
    const act_emitter *emitter = &act_emitters[act];
    if (emitter->unary != NULL) {
        return emitter->unary(e, v_x);
    }
    if (emitter->binary != NULL) {
        return emitter->binary(e, v_x, values->v_alpha);
    }
    if (emitter->ternary != NULL) {
        return emitter->ternary(e, v_x, values->v_alpha, values->v_beta);
    }
    return v_x;
}

// ---- emission -------------------------------------------------------------

static LLVMValueRef
splat_field(pq_emitter *e, LLVMValueRef v_args, LLVMTypeRef type, size_t offset)
{
    return pq_emit_splat(e, pq_emit_field(e, v_args, type, offset));
}

void
pq_emit_epilogue_values(pq_emitter *e, const pq_epilogue *ep,
                        LLVMValueRef v_args, pq_epilogue_values *out)
{
    *out = (pq_epilogue_values){0};
#define SPLAT(field, type)                                                     \
    out->v_##field =                                                           \
        splat_field(e, v_args, e->type, offsetof(pq_epilogue_args, field))
    if (ep->out == PQ_ELEM_U8) {
        SPLAT(lo, t_f32);
        SPLAT(hi, t_f32);
        SPLAT(out_zero, t_i32);
        if (ep->kind != PQ_EPI_INTEGER) {
            SPLAT(inv_scale, t_f32);
        }
    }
    if (pq_epilogue_is_packed(e, ep)) {
        LLVMValueRef v_words = LLVMBuildTrunc(
            e->builder, out->v_out_zero, pq_emit_vector_type(e->t_i16, 16), "");
        static const int same[32] = {0};
        out->v_out_zero16 = pq_emit_shuffle(e, v_words, v_words, same, 32);
    }
    if (ep->residual == PQ_ELEM_U8) {
        SPLAT(residual_scale, t_f32);
        SPLAT(residual_zero, t_i32);
    }
    if (ep->flags & PQ_EPI_SCALE) {
        SPLAT(scale, t_f32);
    }
    if (ep->act != PQ_ACT_NONE) {
        SPLAT(alpha, t_f32);
        SPLAT(beta, t_f32);
    }
#undef SPLAT
}

static LLVMValueRef
load_lanes(pq_emitter *e, LLVMTypeRef type, LLVMValueRef v_ptr,
           LLVMValueRef v_mask, uint32_t align)
{
    return v_mask == NULL ? pq_emit_load(e, type, v_ptr, align)
                          : pq_emit_masked_load(e, type, v_ptr, v_mask, align);
}

static void
store_lanes(pq_emitter *e, LLVMValueRef v_value, LLVMValueRef v_ptr,
            LLVMValueRef v_mask, uint32_t align)
{
    if (v_mask == NULL) {
        pq_emit_store(e, v_value, v_ptr, align);
    } else {
        pq_emit_masked_store(e, v_value, v_ptr, v_mask, align);
    }
}

// f32(residual code - residual_zero)
static LLVMValueRef
residual_steps(pq_emitter *e, const pq_epilogue_values *values,
               const pq_epilogue_lane *lane)
{
    LLVMBuilderRef b = e->builder;
    LLVMValueRef v_codes =
        load_lanes(e, e->t_vi8, lane->v_residual, lane->v_mask, 1);
    LLVMValueRef v_wide = LLVMBuildZExt(b, v_codes, e->t_vi32, "");
    return LLVMBuildSIToFP(
        b, LLVMBuildSub(b, v_wide, values->v_residual_zero, ""), e->t_vf32, "");
}

static LLVMValueRef
real_residual(pq_emitter *e, const pq_epilogue_lane *lane)
{
    return load_lanes(e, e->t_vf32, lane->v_residual, lane->v_mask, 4);
}

// Clamp, round, add the zero point, store bytes. Rounding as in
// pq_emit_round_i32, but the magic number's own bits need not be taken off:
// the low 8 are zero.
static void
store_codes(pq_emitter *e, const pq_epilogue_values *values,
            const pq_epilogue_lane *lane, LLVMValueRef v_t)
{
    LLVMBuilderRef b = e->builder;
    v_t = pq_emit_max(e, v_t, values->v_lo);
    v_t = pq_emit_min(e, v_t, values->v_hi);
    v_t = LLVMBuildFAdd(b, v_t, pq_emit_splat_f32(e, 12582912.0f), "");
    LLVMValueRef v_q = LLVMBuildAdd(b, LLVMBuildBitCast(b, v_t, e->t_vi32, ""),
                                    values->v_out_zero, "");
    store_lanes(e, LLVMBuildTrunc(b, v_q, e->t_vi8, ""), lane->v_out,
                lane->v_mask, 1);
}

// t of INTEGER.
static LLVMValueRef
integer_steps(pq_emitter *e, const pq_epilogue *ep,
              const pq_epilogue_values *values, const pq_epilogue_lane *lane)
{
    LLVMBuilderRef b = e->builder;
    LLVMValueRef v_t = LLVMBuildFMul(
        b, LLVMBuildSIToFP(b, lane->v_acc, e->t_vf32, ""), lane->v_mult, "");
    if (ep->residual == PQ_ELEM_U8) {
        v_t = pq_emit_fma(e, residual_steps(e, values, lane),
                          values->v_residual_scale, v_t);
    }
    return v_t;
}

// The accumulator as a real number, before the activation.
static LLVMValueRef
real_value(pq_emitter *e, const pq_epilogue *ep,
           const pq_epilogue_values *values, const pq_epilogue_lane *lane)
{
    LLVMBuilderRef b = e->builder;
    LLVMValueRef v_v = lane->v_acc;
    if (ep->kind == PQ_EPI_REAL) {
        v_v = LLVMBuildFMul(b, LLVMBuildSIToFP(b, v_v, e->t_vf32, ""),
                            lane->v_mult, "");
        if (ep->flags & PQ_EPI_ROW_SCALE) {
            v_v = LLVMBuildFMul(b, v_v, lane->v_row_scale, "");
        }
    }
    if (ep->flags & PQ_EPI_SCALE) {
        v_v = LLVMBuildFMul(b, v_v, values->v_scale, "");
    }
    if (ep->flags & PQ_EPI_BIAS) {
        v_v = LLVMBuildFAdd(b, v_v, lane->v_bias, "");
    }
    if (ep->residual == PQ_ELEM_F32 && !(ep->flags & PQ_EPI_GATE)) {
        v_v = LLVMBuildFAdd(b, v_v, real_residual(e, lane), "");
    } else if (ep->residual == PQ_ELEM_U8) {
        LLVMValueRef v_res = LLVMBuildFMul(b, residual_steps(e, values, lane),
                                           values->v_residual_scale, "");
        v_v = LLVMBuildFAdd(b, v_v, v_res, "");
    }
    return v_v;
}

// The output before it is stored: f32, or in steps of the codes.
static LLVMValueRef
output_value(pq_emitter *e, const pq_epilogue *ep,
             const pq_epilogue_values *values, const pq_epilogue_lane *lane)
{
    if (ep->kind == PQ_EPI_INTEGER) {
        return integer_steps(e, ep, values, lane);
    }
    LLVMValueRef v_v = real_value(e, ep, values, lane);
    v_v = emit_act(e, ep->act, v_v, values);
    if (ep->flags & PQ_EPI_GATE) {
        v_v = LLVMBuildFMul(e->builder, v_v, real_residual(e, lane), "");
    }
    return ep->out == PQ_ELEM_F32
               ? v_v
               : LLVMBuildFMul(e->builder, v_v, values->v_inv_scale, "");
}

void
pq_emit_epilogue(pq_emitter *e, const pq_epilogue *ep,
                 const pq_epilogue_values *values, const pq_epilogue_lane *lane)
{
    LLVMValueRef v_v = output_value(e, ep, values, lane);
    if (ep->out == PQ_ELEM_F32) {
        store_lanes(e, v_v, lane->v_out, lane->v_mask, 4);
    } else {
        store_codes(e, values, lane, v_v);
    }
}

// ---- groups of four --------------------------------------------------------

int
pq_epilogue_is_packed(const pq_emitter *e, const pq_epilogue *ep)
{
    return (ep->flags & PQ_EPI_SATURATE) && pq_isa_vector_bytes(e->isa) == 64;
}

LLVMValueRef
pq_emit_epilogue_codes(pq_emitter *e, const pq_epilogue *ep,
                       const pq_epilogue_values *values,
                       const pq_epilogue_lane *lane)
{
    // hi < t ? hi : t keeps a NaN, which converts to the least integer, as
    // does all that is below the range: both saturate to code 0
    LLVMValueRef v_t =
        pq_emit_min(e, values->v_hi, output_value(e, ep, values, lane));
    LLVMValueRef args[4] = {
        v_t, LLVMConstNull(e->t_vi32), LLVMConstAllOnes(e->t_i16),
        pq_emit_i32(e, 4)}; // 4 = the current rounding mode: nearest even
    return pq_emit_intrinsic(e, "llvm.x86.avx512.mask.cvtps2dq.512", NULL, 0,
                             args, 4);
}

LLVMValueRef
pq_emit_epilogue_pack(pq_emitter *e, const pq_epilogue_values *values,
                      const LLVMValueRef v_codes[4])
{
    LLVMTypeRef words = pq_emit_vector_type(e->t_i16, 32);
    LLVMValueRef v_half[2];
    for (int i = 0; i < 2; i++) {
        LLVMValueRef pair[2] = {v_codes[2 * i], v_codes[2 * i + 1]};
        LLVMValueRef sum[2] = {pq_emit_intrinsic(e,
                                                 "llvm.x86.avx512.packssdw.512",
                                                 NULL, 0, pair, 2),
                               values->v_out_zero16};
        v_half[i] = pq_emit_intrinsic(e, "llvm.sadd.sat", &words, 1, sum, 2);
    }
    return pq_emit_intrinsic(e, "llvm.x86.avx512.packuswb.512", NULL, 0, v_half,
                             2);
}

// Bytes [16 * first, 16 * (first + count)) of the packed group.
static void
store_run(pq_emitter *e, LLVMValueRef v_bytes, uint32_t first, uint32_t count,
          const pq_epilogue_lane *lane)
{
    int index[64];
    // 48 bytes are no register
    uint32_t part = count == 3 ? 2 : count;
    for (uint32_t i = 0; i < 16 * part; i++) {
        index[i] = (int)(16 * first + i);
    }
    LLVMValueRef v_part =
        pq_emit_shuffle(e, v_bytes, v_bytes, index, 16 * part);
    store_lanes(e, v_part, lane->v_out, lane->v_mask, 1);
    if (part < count) {
        pq_epilogue_lane rest = *lane;
        rest.v_out = pq_emit_at_const(e, lane->v_out, 16 * (int64_t)part);
        store_run(e, v_bytes, first + part, count - part, &rest);
    }
}

static void
store_packed(pq_emitter *e, LLVMValueRef v_bytes, const pq_epilogue_lane *lanes,
             uint32_t count)
{
    // dword v of lane L -> dword L of vector v
    int index[16];
    for (int i = 0; i < 16; i++) {
        index[i] = i % 4 * 4 + i / 4;
    }
    LLVMValueRef v_dwords =
        LLVMBuildBitCast(e->builder, v_bytes, e->t_vi32, "");
    v_bytes = LLVMBuildBitCast(
        e->builder, pq_emit_shuffle(e, v_dwords, v_dwords, index, 16),
        e->t_vi8x64, "");
    for (uint32_t first = 0; first < count;) {
        uint32_t end = first + 1;
        while (end < count && lanes[first].v_mask == NULL &&
               lanes[end].v_mask == NULL && lanes[end].follows) {
            end++;
        }
        store_run(e, v_bytes, first, end - first, &lanes[first]);
        first = end;
    }
}

void
pq_emit_epilogue_group(pq_emitter *e, const pq_epilogue *ep,
                       const pq_epilogue_values *values,
                       const pq_epilogue_lane *lanes, uint32_t count)
{
    if (!pq_epilogue_is_packed(e, ep)) {
        for (uint32_t i = 0; i < count; i++) {
            pq_emit_epilogue(e, ep, values, &lanes[i]);
        }
        return;
    }
    LLVMValueRef v_codes[PQ_EPILOGUE_GROUP];
    for (uint32_t i = 0; i < PQ_EPILOGUE_GROUP; i++) {
        v_codes[i] = i < count
                         ? pq_emit_epilogue_codes(e, ep, values, &lanes[i])
                         : v_codes[count - 1];
    }
    store_packed(e, pq_emit_epilogue_pack(e, values, v_codes), lanes, count);
}
