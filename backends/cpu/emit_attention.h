// SPDX-License-Identifier: Apache-2.0
//
// Kernels behind attention.h and position.h: panels of keys, weighted sums of
// values, rope, rows of states.
#ifndef PTQC_BACKENDS_CPU_EMIT_ATTENTION_H
#define PTQC_BACKENDS_CPU_EMIT_ATTENTION_H

#include <stdint.h>

#include "jit.h"

// ---- panel: 16 rows of d elements -> [d][16] f32 ---------------------------

typedef struct pq_panel_desc {
    uint32_t dtype; // of the rows: F32, F16, BF16
    uint32_t rest;  // d % 16
} pq_panel_desc;

// Rows beyond `last` (>= 0) are read as row `last`.
typedef struct pq_panel_args {
    const void *rows;
    int64_t stride; // bytes from row to row
    int64_t last;
    int64_t d;
    float *out; // 64-byte aligned
} pq_panel_args;

extern const pq_kernel_class pq_panel_class;

// ---- weighted sum: out[r][:] += sum over keys of p[r][key] * v[key][:] -----

typedef struct pq_weigh_desc {
    uint32_t dtype;  // of v
    uint32_t rows;   // 1..PQ_WEIGH_ACC_MAX / strips
    uint32_t strips; // of 16 columns
    uint32_t masked; // the last strip has `columns` % 16 columns
} pq_weigh_desc;

#define PQ_WEIGH_ACC_MAX 24u

typedef struct pq_weigh_args {
    const float *p;
    int64_t p_stride; // bytes from row to row
    const void *v;
    int64_t v_stride; // bytes from key to key
    int64_t keys;
    float *out;
    int64_t out_stride;
    int64_t columns; // masked: all columns of the call
} pq_weigh_args;

extern const pq_kernel_class pq_weigh_class;

// ---- rope: one token, some heads -------------------------------------------

typedef struct pq_rope_key {
    uint32_t interleaved;
    uint32_t rest; // pairs % 16
} pq_rope_key;

typedef struct pq_rope_args {
    const float *x;
    float *y;                   // may be x
    int64_t x_stride, y_stride; // bytes from head to head
    int64_t heads;
    const float *frequency; // [pairs]
    int64_t pairs;
    float position;
    uint32_t reserved;
} pq_rope_args;

extern const pq_kernel_class pq_rope_class;

// ---- rows of a state: f32 -> dtype -----------------------------------------

typedef struct pq_narrow_desc {
    uint32_t dtype; // F16, BF16
    uint32_t rest;  // count % 16
} pq_narrow_desc;

typedef struct pq_narrow_args {
    const float *x;
    void *y;
    int64_t count;
} pq_narrow_args;

extern const pq_kernel_class pq_narrow_class;

#endif
