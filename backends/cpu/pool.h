// SPDX-License-Identifier: Apache-2.0
//
// Pooling and resizing, channels last: [N][D][H][W][C], 1-d and 2-d with
// leading dims of 1. Vectorized over channels; any channel count.
//
// prepare makes the kernels and tables, run is called on each worker and does
// its part without allocating. Pointers need element alignment only; in and
// out do not overlap.
#ifndef PTQC_BACKENDS_CPU_POOL_H
#define PTQC_BACKENDS_CPU_POOL_H

#include <stddef.h>
#include <stdint.h>

#include "ptqc/types.h"

#include "backends/kgen/params.h"
#include "backends/kgen/worker.h"
#include "jit.h"

#define PQ_POOL_DIMS 3 // depth, height, width

// ---- pooling -------------------------------------------------------------

// f32 average: sum over the window's taps inside the input in row-major
// order (d, h, w), one add each from 0, then sum / f32(n). n counts the taps
// inside the input, or with include_pad all taps that lie inside the input
// or its given padding (pads_end counts; what ceil mode adds beyond does
// not).
// u8 and i8 average: s = sum of codes - taps inside * x_zero, in i32;
// m = (x_scale / y_scale) * (1 / f32(n)), three f32 operations;
// t = f32(s) * m, clamped to [code_low - y_zero, code_high - y_zero], NaN to
// the lower; code = rne(t) + y_zero. A window without taps gives t = 0.
// With real_out instead: y = f32(s) * (x_scale * (1 / f32(n))), f32.
// max: codes compare as codes; the scales of in and out are the same.
typedef struct pq_pooling_desc {
    uint32_t kind;  // pq_pooling_kind
    uint32_t dtype; // of in and out: f32, u8, i8
    uint32_t include_pad;
    uint32_t real_out; // averages of codes: 1 = out is f32
    int64_t batch, channels;
    int64_t in[PQ_POOL_DIMS], out[PQ_POOL_DIMS]; // sizes; out is given
    int64_t kernel[PQ_POOL_DIMS], strides[PQ_POOL_DIMS];
    int64_t dilations[PQ_POOL_DIMS];
    int64_t pads[PQ_POOL_DIMS];     // before the first element
    int64_t pads_end[PQ_POOL_DIMS]; // after the last
    float x_scale, y_scale;         // averages of codes only
    int32_t x_zero, y_zero;
    int32_t code_low, code_high; // [0, 255] or [-128, 127] or narrower
} pq_pooling_desc;

typedef struct pq_pooling pq_pooling;

ptqc_be_status pq_pooling_prepare(pq_jit *jit, ptqc_call *call,
                                  const pq_pooling_desc *desc,
                                  pq_pooling **out);
void pq_pooling_destroy(pq_pooling *pool); // NULL allowed
void pq_pooling_run(const pq_pooling *pool, const void *in, void *out,
                    const pq_worker *worker);

// A global pool is kernel = in, out = 1. When its f32 sum must follow the
// order of reductions (16 lanes), use pq_reduce over [N][DHW][C] instead.

// ---- resize --------------------------------------------------------------

// nearest: any dtype of 1, 2, 4 or 8 bytes. linear: f32; x clamped to
// [0, in - 1], x0 = floor(x), w = x - x0; lerp(a, b) = fma(w, b - a, a) along
// width, then height, then depth; axes whose size does not change are left
// out. cubic: f32, width and height; four taps at floor(x) - 1 .. + 2, each
// index clamped, weights from cubic_a; along width first, taps in ascending
// order, t = w0 * x0, then one fma each.
typedef struct pq_resize_desc {
    uint32_t kind;  // pq_resize_kind
    uint32_t dtype; // of in and out
    uint32_t coordinates, rounding;
    int64_t batch, channels;
    int64_t in[PQ_POOL_DIMS], out[PQ_POOL_DIMS];
    float scales[PQ_POOL_DIMS]; // out / in as the model gives them; 0 = from
                                // the sizes
    float cubic_a;              // -0.75
} pq_resize_desc;

typedef struct pq_resize pq_resize;

ptqc_be_status pq_resize_prepare(pq_jit *jit, ptqc_call *call,
                                 const pq_resize_desc *desc, pq_resize **out);
void pq_resize_destroy(pq_resize *resize); // NULL allowed
void pq_resize_run(const pq_resize *resize, const void *in, void *out,
                   const pq_worker *worker);

#endif
