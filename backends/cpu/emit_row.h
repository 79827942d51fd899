// SPDX-License-Identifier: Apache-2.0
//
// Kernels behind row.h: one per (what, form, flags), lengths at run time.
#ifndef PTQC_BACKENDS_CPU_EMIT_ROW_H
#define PTQC_BACKENDS_CPU_EMIT_ROW_H

#include <stdint.h>

#include "jit.h"
#include "row.h"

// Kernels; a reduction is PQ_ROW_REDUCE + pq_reduce_op.
#define PQ_ROW_SOFTMAX     0u
#define PQ_ROW_LOG_SOFTMAX 1u
#define PQ_ROW_LAYER_NORM  2u
#define PQ_ROW_RMS_NORM    3u
#define PQ_ROW_LP_NORM     4u // flags: PQ_ROW_P2
#define PQ_ROW_QUANTIZE    5u // row form only
#define PQ_ROW_REDUCE      16u

#define PQ_ROW_SCALE    1u  // norm: scale; softmax: x * scale
#define PQ_ROW_BIAS     2u  // norm: bias; softmax: mask
#define PQ_ROW_SEGMENTS 4u  // norm: scale and bias by segment
#define PQ_ROW_P2       8u  // lp norm: p = 2
#define PQ_ROW_BIASED   16u // quantize: u8 code + 128

typedef struct pq_row_key {
    uint32_t what;
    uint32_t is_column;
    uint32_t flags;
    uint32_t reserved;
} pq_row_key;

// Row form: `rows` rows, row r of source i begins at in[i] + r * in_step[i].
// Column form: `rows` columns side by side, `stride` bytes from element to
// element; one result per column (reductions) or one element per element.
typedef struct pq_row_args {
    const void *in[3]; // x; scale or mask; bias
    void *out;
    void *out2; // quantize: scales
    int64_t in_step[3];
    int64_t out_step; // row form, bytes; out2: 4
    int64_t rows, length, stride;
    int64_t segments, groups, first_row; // see pq_norm_desc
    float scale;                         // softmax
    float epsilon;
} pq_row_args;

typedef void (*pq_row_kernel)(const pq_row_args *args);

extern const pq_kernel_class pq_row_class;

#endif
