// SPDX-License-Identifier: Apache-2.0
//
// Everything along one axis: reductions, softmax, normalizations, dynamic
// quantization, arg max and min, cumulative sums.
//
// Geometry: a tensor seen as [outer][length][inner]; a row is the `length`
// elements of one (outer, inner) pair. inner == 1: rows are contiguous.
//
// Order of float sums, at every level and for every inner: element k of a row
// goes to lane accumulator k mod 16 (from the operation's neutral value, in
// ascending k), then lanes l and l+8, l and l+4, l and l+2, l and l+1 are
// combined. max and min give NaN when an element is NaN. `sum(v)` below
// means this.
//
// Every family: prepare makes the kernels, run is called on each worker and
// does its part; no scratch, no allocation in run. Pointers need element
// alignment only. In and out may be the same memory where dtypes are equal
// and the shape is unchanged.
#ifndef PTQC_BACKENDS_CPU_ROW_H
#define PTQC_BACKENDS_CPU_ROW_H

#include <stddef.h>
#include <stdint.h>

#include "ptqc/types.h"

#include "backends/kgen/params.h"
#include "backends/kgen/worker.h"
#include "jit.h"

typedef struct pq_row_shape {
    int64_t outer, length, inner; // >= 0
} pq_row_shape;

// ---- reductions: [outer][length][inner] -> [outer][inner] ----------------

// f32: all ops. i32, i64, i8, u8: SUM to SUM_SQUARE but L2, computed in i64
// and wrapped to the type (MAX and MIN of codes with one scale are those of
// the values).
typedef struct pq_reduce_desc {
    pq_row_shape shape;
    uint32_t op;    // pq_reduce_op
    uint32_t dtype; // of in and out
} pq_reduce_desc;

typedef struct pq_reduce pq_reduce;

ptqc_be_status pq_reduce_prepare(pq_jit *jit, ptqc_call *call,
                                 const pq_reduce_desc *desc, pq_reduce **out);
void pq_reduce_destroy(pq_reduce *reduce); // NULL allowed
void pq_reduce_run(const pq_reduce *reduce, const void *in, void *out,
                   const pq_worker *worker);

// ---- softmax -------------------------------------------------------------

// t = x * scale (left out when scale is 0), t = t + mask (with mask);
// m = max(t); e = exp(t - m); y = e / sum(e).
// log: y = (t - m) - log(sum(e)).
// A row that is all -infinity gives NaN. f32.
typedef struct pq_softmax_desc {
    pq_row_shape shape;
    uint32_t log;  // 1 = log_softmax
    float scale;   // 0 = none
    uint32_t mask; // 1 = there is a mask; then inner must be 1
    uint32_t reserved;
    // Rows as a grid, slowest first: row = index into row_dims (their product
    // is outer, rank 1..4 with leading 1s). The mask row of row (i,j,k,l)
    // begins at sum of index * mask_strides, in elements; it is contiguous.
    int64_t row_dims[4];
    int64_t mask_strides[4];
} pq_softmax_desc;

typedef struct pq_softmax pq_softmax;

ptqc_be_status pq_softmax_prepare(pq_jit *jit, ptqc_call *call,
                                  const pq_softmax_desc *desc,
                                  pq_softmax **out);
void pq_softmax_destroy(pq_softmax *softmax); // NULL allowed
void pq_softmax_run(const pq_softmax *softmax, const float *in,
                    const float *mask, float *out, const pq_worker *worker);

// ---- normalizations ------------------------------------------------------

// LAYER: mean = sum(x) / n; d = x - mean; var = sum(d^2) / n with lane =
// fma(d, d, lane); inv = 1 / sqrt(var + eps); t = d * inv.
// RMS: inv = 1 / sqrt(sum(x^2) / n + eps); t = x * inv.
// y = fma(t, scale, bias), t * scale, t + bias or t.
// segments 0: scale and bias have `length` elements, one per element of a row
// (layer norm). segments S > 0: a row is S equal runs, one scale and bias per
// run; the run's channel is (row mod groups) * S + run, the arrays have
// groups * S elements. Instance norm of [N][C][HW]: outer N*C, length HW,
// groups C, segments 1. Group norm: outer N*G, length C/G*HW, groups G,
// segments C/G.
// inner > 1 needs segments 1 and groups == 1: the channel is the inner index
// (instance norm of NHWC: outer N, length HW, inner C).
typedef struct pq_norm_desc {
    pq_row_shape shape;
    uint32_t kind; // pq_norm_kind
    float epsilon;
    uint32_t scale, bias; // 1 = there is one
    int64_t segments, groups;
} pq_norm_desc;

typedef struct pq_norm_io {
    const float *in;
    const float *scale, *bias;
    float *out;
} pq_norm_io;

typedef struct pq_norm pq_norm;

ptqc_be_status pq_norm_prepare(pq_jit *jit, ptqc_call *call,
                               const pq_norm_desc *desc, pq_norm **out);
void pq_norm_destroy(pq_norm *norm); // NULL allowed
void pq_norm_run(const pq_norm *norm, const pq_norm_io *io,
                 const pq_worker *worker);

// y = x / norm, 0 where norm is 0. p 1: norm = sum(|x|); p 2: sqrt(sum of
// squares). f32.
typedef struct pq_lp_norm_desc {
    pq_row_shape shape;
    uint32_t p; // 1 or 2
    uint32_t reserved;
} pq_lp_norm_desc;

typedef struct pq_lp_norm pq_lp_norm;

ptqc_be_status pq_lp_norm_prepare(pq_jit *jit, ptqc_call *call,
                                  const pq_lp_norm_desc *desc,
                                  pq_lp_norm **out);
void pq_lp_norm_destroy(pq_lp_norm *norm); // NULL allowed
void pq_lp_norm_run(const pq_lp_norm *norm, const float *in, float *out,
                    const pq_worker *worker);

// ---- dynamic quantization per token --------------------------------------

// Per row of `length` contiguous f32: a = max(|x|) (NaN when one is);
// scale = a / 127, 0 when that is below 2^-126; r = scale == 0 ? 0 : 1 / scale;
// code = rne(clamp(x * r, -127, 127)), NaN -> -127. NaN and infinity surface
// through the scale. Codes are stored as s8, or as u8 code + 128 when biased.
typedef struct pq_row_quantize_desc {
    int64_t rows, length;
    int64_t code_stride; // bytes between rows of codes, >= length; the rest
                         // of a row is written as code 0
    uint32_t biased;
    uint32_t reserved;
} pq_row_quantize_desc;

typedef struct pq_row_quantize pq_row_quantize;

ptqc_be_status pq_row_quantize_prepare(pq_jit *jit, ptqc_call *call,
                                       const pq_row_quantize_desc *desc,
                                       pq_row_quantize **out);
void pq_row_quantize_destroy(pq_row_quantize *q); // NULL allowed
// scales: one f32 per row.
void pq_row_quantize_run(const pq_row_quantize *q, const float *in, void *codes,
                         float *scales, const pq_worker *worker);

// ---- plain loops (no kernel, no object) ----------------------------------

// Index of the largest (or smallest) element of each row as i64: the first,
// or the last with PQ_ARG_LAST; a NaN wins either way. f32, i32, i64, u8, i8;
// rows must not be empty.
void pq_arg_reduce_run(const pq_row_shape *shape, uint32_t dtype,
                       uint32_t flags, const void *in, int64_t *out,
                       const pq_worker *worker);

// Running sums along rows in ascending k (descending when REVERSE), each one
// f32 add from 0; EXCLUSIVE leaves out the element itself. f32, i32, i64
// (wrapping).
void pq_cumsum_run(const pq_row_shape *shape, uint32_t dtype, uint32_t flags,
                   const void *in, void *out, const pq_worker *worker);

// Local response normalization over the `length` axis (channels; [N][C][HW]
// or, with inner 1, NHWC): s = sum in ascending order, one fma per element,
// of x^2 over [c - (size-1)/2, c + size/2] within the row;
// y = x / pow(bias + alpha / size * s, beta), each one f32 operation. f32; out
// is not in.
typedef struct pq_lrn_desc {
    pq_row_shape shape;
    int64_t size;
    float alpha, beta, bias;
    uint32_t reserved;
} pq_lrn_desc;

// Needs a machine that pq_isa_detect accepts.
void pq_lrn_run(const pq_lrn_desc *desc, const float *in, float *out,
                const pq_worker *worker);

#endif
