// SPDX-License-Identifier: Apache-2.0
//
// What happens to an accumulator before it is stored: shared by the matmul,
// convolution and depthwise kernels. pq_epilogue is baked into a kernel,
// pq_epilogue_args are read at run time, so that layers share kernels.
//
// In order, for output row r (token, pixel) and column c (channel):
//
//   FLOAT    v = acc (f32)
//   REAL     v = f32(acc) * mult[c]; ROW_SCALE: v = v * row_scale[r]
//            both: SCALE: v = v * scale; BIAS: v = v + bias[c];
//            residual f32: v = v + res; residual u8:
//            v = v + f32(res - residual_zero) * residual_scale;  v = act(v)
//            out f32: v.   out u8: t = v * inv_scale, then as below.
//            GATE: the residual is a factor: v = act(v); v = v * res
//   INTEGER  t = f32(acc) * mult[c]; residual u8:
//            t = fmaf(f32(res - residual_zero), residual_scale, t)
//            (out is u8; relu and clip are folded into lo and hi)
//
//   out u8:  t = t > lo ? t : lo; t = t < hi ? t : hi;
//            byte = low 8 bits of (rne(t) + out_zero)
//
// lo = qlo - zero point, hi = qhi - zero point. Tensors of s8 codes are kept
// as u8 biased by 128 inside the plugin; because only the low byte is stored,
// out_zero, lo and hi of an s8 tensor with its true zero point make true s8
// bytes of the output, too. A residual is always u8 (biased).
#ifndef PTQC_BACKENDS_CPU_EPILOGUE_H
#define PTQC_BACKENDS_CPU_EPILOGUE_H

#include <llvm-c/Types.h>
#include <stdint.h>

#include "emit.h"

#define PQ_EPI_FLOAT   0u // f32 accumulators
#define PQ_EPI_REAL    1u // int32 accumulators, real arithmetic
#define PQ_EPI_INTEGER 2u // int32 accumulators, one multiply, u8 out

// Activations that epilogues know, functions of base/mathfn.h. alpha, beta as
// the op's own attributes; CLIP: alpha = low, beta = high. From SIGMOID on they
// are long (pq_epilogue_is_long).
#define PQ_ACTS(X)                                                             \
    X(NONE)                                                                    \
    X(RELU)                                                                    \
    X(CLIP)                                                                    \
    X(LEAKY_RELU)                                                              \
    X(HARDSIGMOID)                                                             \
    X(HARDSWISH)                                                               \
    X(SIGMOID)                                                                 \
    X(TANH)                                                                    \
    X(GELU)                                                                    \
    X(GELU_TANH)                                                               \
    X(SILU)                                                                    \
    X(ELU)                                                                     \
    X(MISH)                                                                    \
    X(SOFTPLUS)

typedef enum pq_act {
#define PQ_ACT_ENUM(NAME) PQ_ACT_##NAME,
    PQ_ACTS(PQ_ACT_ENUM)
#undef PQ_ACT_ENUM
        PQ_ACT_COUNT
} pq_act;

// Element kinds in kernel descriptors.
#define PQ_ELEM_NONE 0u
#define PQ_ELEM_F32  1u
#define PQ_ELEM_U8   2u

#define PQ_EPI_BIAS      1u
#define PQ_EPI_ROW_SCALE 2u
#define PQ_EPI_SCALE     4u
// A promise about the arguments: out is u8 and lo + out_zero == 0, so that the
// lower clamp may be left to saturation. Results are the same.
#define PQ_EPI_SATURATE 8u
// The weights have zero points: acc is less weight_zero[c] times the sum of x
// before all else (integer accumulators). Start values stand for the rest of
// sum (x - zx) * (w - zw).
#define PQ_EPI_WEIGHT_ZERO 16u
// The residual (f32) multiplies what the activation gives, as the other half
// of a gated unit does: silu(gate(x)) * up(x).
#define PQ_EPI_GATE 32u

// Part of descriptors: no padding, compared as bytes.
typedef struct pq_epilogue {
    uint32_t kind;     // PQ_EPI_FLOAT, _REAL, _INTEGER
    uint32_t act;      // pq_act; INTEGER: PQ_ACT_NONE
    uint32_t residual; // PQ_ELEM_*; INTEGER: not F32
    uint32_t out;      // PQ_ELEM_F32 or PQ_ELEM_U8; INTEGER: U8
    uint32_t flags;    // PQ_EPI_BIAS | ...
} pq_epilogue;

// Only what the pq_epilogue asks for is read. Channel arrays have their
// length rounded up to a multiple of 16 entries.
typedef struct pq_epilogue_args {
    const float *mult;       // [channels]
    const float *bias;       // [channels]
    const float *row_scale;  // [rows]
    const void *residual;    // rows as the output's; must not overlap out
                             // unless it is the very same place
    int64_t residual_stride; // bytes from row to row
    float lo, hi;
    float inv_scale; // 1 / scale of the output
    float scale;
    float residual_scale;
    float alpha, beta;
    int32_t out_zero;
    int32_t residual_zero;
    int32_t reserved;
    const int32_t *weight_zero; // [channels], of the weights as stored
    const int32_t *row_sum;     // [rows]: sum of x; not of depthwise kernels
} pq_epilogue_args;

// 1 when the combination is one that the kernels know.
int pq_epilogue_is_valid(const pq_epilogue *epilogue);
// Bytes of an element of the output.
int64_t pq_epilogue_out_bytes(const pq_epilogue *epilogue);

// 1 when the code of the activation is so long that kernels emit it once, in a
// loop, rather than for every accumulator.
int pq_epilogue_is_long(const pq_epilogue *epilogue);

// ---- for emitters ---------------------------------------------------------

// The run-time scalars, splat once per kernel call.
typedef struct pq_epilogue_values {
    LLVMValueRef v_lo, v_hi, v_inv_scale, v_scale, v_residual_scale, v_alpha,
        v_beta, v_out_zero, v_residual_zero;
    LLVMValueRef v_out_zero16; // <32 x i16>, when codes are packed in fours
} pq_epilogue_values;

// Loads the scalars that `ep` needs from the pq_epilogue_args at v_args.
void pq_emit_epilogue_values(pq_emitter *e, const pq_epilogue *ep,
                             LLVMValueRef v_args, pq_epilogue_values *out);

// One 16-lane vector of the output.
typedef struct pq_epilogue_lane {
    LLVMValueRef v_acc;       // <16 x f32> (FLOAT) or <16 x i32>
    LLVMValueRef v_mult;      // <16 x f32>, NULL when unused
    LLVMValueRef v_bias;      // <16 x f32>, NULL when unused
    LLVMValueRef v_row_scale; // <16 x f32>, NULL when unused
    LLVMValueRef v_residual;  // address of the 16 residuals
    LLVMValueRef v_out;       // address of the 16 outputs
    LLVMValueRef v_mask;      // <16 x i1>, NULL = all
    int follows;              // v_out is just after the lane before
} pq_epilogue_lane;

#define PQ_EPILOGUE_GROUP 4u

// Computes and stores up to PQ_EPILOGUE_GROUP vectors.
void pq_emit_epilogue_group(pq_emitter *e, const pq_epilogue *ep,
                            const pq_epilogue_values *values,
                            const pq_epilogue_lane *lanes, uint32_t count);
// 1 when a group's codes are packed by saturating instructions.
int pq_epilogue_is_packed(const pq_emitter *e, const pq_epilogue *ep);
// The two halves of a packed group: the codes of one vector as i32, not yet
// with the zero point nor clamped from below; and four of them as <64 x i8>
// whose 128-bit lane L holds the 4 codes 4L.. of each of the four vectors.
LLVMValueRef pq_emit_epilogue_codes(pq_emitter *e, const pq_epilogue *ep,
                                    const pq_epilogue_values *values,
                                    const pq_epilogue_lane *lane);
LLVMValueRef pq_emit_epilogue_pack(pq_emitter *e,
                                   const pq_epilogue_values *values,
                                   const LLVMValueRef v_codes[4]);
// Computes and stores one vector.
void pq_emit_epilogue(pq_emitter *e, const pq_epilogue *ep,
                      const pq_epilogue_values *values,
                      const pq_epilogue_lane *lane);

#endif
