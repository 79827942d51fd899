// SPDX-License-Identifier: Apache-2.0
//
// The interpolating kernel behind pq_resize: a row of output pixels, linear
// or cubic along each axis whose size changes.
#ifndef PTQC_BACKENDS_CPU_EMIT_RESIZE_H
#define PTQC_BACKENDS_CPU_EMIT_RESIZE_H

#include <stdint.h>

#include "jit.h"
#include "pool.h"

#define PQ_RESIZE_TAPS_MAX 4

// Taps per axis: 1 (size unchanged), 2 (linear) or 4 (cubic).
typedef struct pq_resize_key {
    uint32_t taps[PQ_POOL_DIMS];
} pq_resize_key;

typedef struct pq_resize_args {
    // Input rows of the depth and height taps, depth outermost:
    // rows[d * taps[1] + h].
    const uint8_t *rows[PQ_RESIZE_TAPS_MAX * PQ_RESIZE_TAPS_MAX];
    float depth[PQ_RESIZE_TAPS_MAX], height[PQ_RESIZE_TAPS_MAX]; // weights
    const int64_t *offsets; // [pixels][taps[2]] bytes into a row
    const float *weights;   // [pixels][taps[2]]
    uint8_t *out;
    int64_t pixels, channels;
} pq_resize_args;

typedef void (*pq_resize_kernel)(const pq_resize_args *args);

extern const pq_kernel_class pq_resize_class;

#endif
