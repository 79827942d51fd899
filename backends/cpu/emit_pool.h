// SPDX-License-Identifier: Apache-2.0
//
// The pooling kernel behind pool.h: a run of output pixels whose windows lie
// alike, all channels.
#ifndef PTQC_BACKENDS_CPU_EMIT_POOL_H
#define PTQC_BACKENDS_CPU_EMIT_POOL_H

#include <stdint.h>

#include "jit.h"
#include "pool.h"

typedef struct pq_pooling_key {
    uint32_t kind;     // pq_pooling_kind
    uint32_t dtype;    // f32, u8, i8
    uint32_t real_out; // averages of codes: f32 out
} pq_pooling_key;

typedef struct pq_pooling_args {
    const uint8_t *in;              // first tap of the first pixel
    uint8_t *out;                   // first pixel
    int64_t taps[PQ_POOL_DIMS];     // inside the input; any may be 0
    int64_t tap_step[PQ_POOL_DIMS]; // bytes
    int64_t pixels;
    int64_t in_step, out_step; // bytes from pixel to pixel
    int64_t channels;
    float divisor;      // f32 average
    float mult, lo, hi; // averages of codes
    int32_t subtract;   // taps * x_zero
    int32_t y_zero;
} pq_pooling_args;

typedef void (*pq_pooling_kernel)(const pq_pooling_args *args);

extern const pq_kernel_class pq_pooling_class;

#endif
