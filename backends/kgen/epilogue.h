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
#ifndef PTQC_BACKENDS_KGEN_EPILOGUE_H
#define PTQC_BACKENDS_KGEN_EPILOGUE_H

#include <stdint.h>

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

#endif
