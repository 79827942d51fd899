// SPDX-License-Identifier: Apache-2.0
//
// Kernels behind kv_attention.h, over the layouts of kv.h.
#ifndef PTQC_BACKENDS_CPU_EMIT_KV_H
#define PTQC_BACKENDS_CPU_EMIT_KV_H

#include <stdint.h>

#include "jit.h"

// Accumulators of 16 lanes that a kernel keeps in registers.
#define PQ_KV_ACC_MAX 24u

// ---- widening: n elements -> f32 -------------------------------------------

typedef struct pq_kv_widen_desc {
    uint32_t dtype; // F16, BF16, I8
} pq_kv_widen_desc;

typedef struct pq_kv_widen_args {
    const void *x;
    float *y;
    int64_t count; // a multiple of 16
} pq_kv_widen_args;

extern const pq_kernel_class pq_kv_widen_class;

// ---- scores: out[r][key] = (sum over d of q[d][r] * k[d][key]) * ks * scale

typedef struct pq_kv_score_desc {
    uint32_t dtype;  // of k: F32, F16, BF16, I8
    uint32_t rows;   // rows * strips <= PQ_KV_ACC_MAX
    uint32_t strips; // of 16 keys, side by side in a line
    uint32_t scaled; // there are key scales
    uint32_t ahead;  // bytes: lines so far ahead are asked for; 0: none
} pq_kv_score_desc;

typedef struct pq_kv_score_args {
    const float *q; // [d][rows]
    const void *k;  // first block
    int64_t line;   // bytes from element d to d + 1
    int64_t d;
    int64_t blocks;
    int64_t block_stride;   // bytes of k
    const float *key_scale; // of the first key
    float *out;
    int64_t out_stride; // bytes from row to row
    int64_t out_step;   // bytes from block to block, also of key_scale
    float scale;
    uint32_t reserved;
} pq_kv_score_args;

extern const pq_kernel_class pq_kv_score_class;

// ---- softmax, row by row ---------------------------------------------------

typedef struct pq_kv_softmax_desc {
    uint32_t scaled; // there are value scales
} pq_kv_softmax_desc;

// Scores become exp(score - max), and *sum their sum; meanwhile the row before
// is divided by its own. Keys are counted in whole vectors of 16: scores of
// -infinity behind the last one add nothing.
typedef struct pq_kv_softmax_args {
    float *row;
    int64_t keys; // 0: there is only a row before
    float *before;
    int64_t keys_before;      // 0: there is none
    const float *value_scale; // factors of the row before
    const void *ahead;        // what is read next: asked for meanwhile
    float sum_before, sum;    // in, out
} pq_kv_softmax_args;

// Bytes of `ahead` that a row of so many keys asks for.
#define PQ_KV_AHEAD_BYTES(keys) (((keys) + 15) / 16 * 128)

extern const pq_kernel_class pq_kv_softmax_class;

// ---- sums: out[r][:] += sum over keys of p[r][key] * v[key][:] -------------

typedef struct pq_kv_sum_desc {
    uint32_t dtype;  // of v: F32, F16, BF16, I8
    uint32_t rows;   // rows * strips <= PQ_KV_ACC_MAX
    uint32_t strips; // of 16 columns
    uint32_t ahead;  // as in pq_kv_score_desc
} pq_kv_sum_desc;

typedef struct pq_kv_sum_args {
    const float *p;
    int64_t p_stride; // bytes from row to row
    const void *v;
    int64_t v_stride; // bytes from key to key
    int64_t keys;
    float *out;
    int64_t out_stride; // bytes from row to row
} pq_kv_sum_args;

extern const pq_kernel_class pq_kv_sum_class;

#endif
