// SPDX-License-Identifier: Apache-2.0
//
// Convolution over channels-last tensors [batch][D][H][W][C], f32 or u8
// activations; lower ranks have leading axes of 1. One front for the four
// ways it is computed: matmul (1x1), depthwise (depthwise.h), indirect (rows
// of pointers to input pixels, a row of padding for taps outside), and
// gathered transposed convolution.
//
// Order of a float sum: kd, kh, kw, then input channel; taps in the padding
// contribute nothing. For a transposed convolution the taps of an output
// pixel in the same order.
#ifndef PTQC_BACKENDS_CPU_CONV_H
#define PTQC_BACKENDS_CPU_CONV_H

#include <stdint.h>

#include "backends/kgen/worker.h"
#include "epilogue.h"
#include "gemm.h"
#include "jit.h"

typedef struct pq_conv_desc {
    int64_t batch, groups;
    int64_t in_channels, out_channels; // of all groups
    // axes D, H, W; unused ones are 1 (pads 0)
    int64_t in[3], out[3], kernel[3], stride[3], dilation[3], pad_begin[3];
    uint32_t weight;      // PQ_WEIGHT_*; W8, W4: activations f32, scales and
                          // zero points of channels
    uint32_t transposed;  // 1: out[] is the larger one; pad_begin is what the
                          // op removes at the front
    uint32_t pad_value;   // u8 activations: zero point of x in its storage
    uint32_t asymmetric;  // W8, W4: codes have zero points
    pq_epilogue epilogue; // S8: REAL or INTEGER; else FLOAT; no ROW_SCALE
} pq_conv_desc;

// Sizes of a convolution must be positive and every pixel of out[] computed
// from positions that start at -pad_begin; right padding is implied by out[].
// Returns 1 when the kernels can do it; else 0 and a static text.
int pq_conv_is_supported(const pq_conv_desc *desc, const char **out_why);

// ---- packing (target side; reads only channels, groups, kernel, dilation,
// ---- weight and transposed of the descriptor, so that it holds for every
// ---- image size) -----------------------------------------------------------

int64_t pq_conv_weight_bytes(const pq_conv_desc *desc);
// w: [OC][C/groups][KD][KH][KW] (transposed: [C][OC/groups][KD][KH][KW]), f32
// or s8 (codes of 4 bits: -8..7), dense. out is 64-byte aligned.
void pq_conv_weight_pack(const pq_conv_desc *desc, const void *w, void *out);
// Entries of a packed channel array (mult, bias, init): every group is padded
// to a multiple of 16.
int64_t pq_conv_channel_count(const pq_conv_desc *desc);
// values: [OC] 4-byte elements -> out [pq_conv_channel_count], padding zero.
void pq_conv_channel_pack(const pq_conv_desc *desc, const void *values,
                          void *out);
// Accumulator start for u8 activations, packed: bias[c] - pad_value *
// sum(w of c), modulo 2^32; bias may be NULL. Reads pad_value, too.
void pq_conv_init_pack(const pq_conv_desc *desc, const int8_t *w,
                       const int32_t *bias, int32_t *out);

// ---- running --------------------------------------------------------------

typedef struct pq_conv_io {
    const void *x;       // [batch][D][H][W][C], dense, 4-byte aligned if f32
    const void *weights; // packed
    const int32_t *init; // u8: packed
    void *out;           // [batch][D][H][W][OC], dense
    // mult, bias, weight_zero packed; W8, W4: w = f32(code - weight_zero[c]) *
    // mult[c]. residual_stride is ignored: the residual is dense like out
    pq_epilogue_args epilogue;
} pq_conv_io;

typedef struct pq_conv pq_conv; // immutable after prepare

ptqc_be_status pq_conv_prepare(pq_jit *jit, ptqc_call *call,
                               const pq_conv_desc *desc, pq_conv **out);
void pq_conv_destroy(pq_conv *op);                 // NULL allowed
uint64_t pq_conv_scratch_bytes(const pq_conv *op); // per worker
void pq_conv_run(const pq_conv *op, const pq_conv_io *io,
                 const pq_worker *worker);
// Which way was chosen: "matmul", "depthwise", "indirect" (for profiles).
const char *pq_conv_method(const pq_conv *op);

#endif
