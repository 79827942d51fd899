// SPDX-License-Identifier: Apache-2.0
//
// Attention over keys and values that lie as kv.h says. Each is read once for
// all the query heads that share it, and only as far as some query sees.
//
// Many queries: one item of work is a block of queries of one head of k and
// v. Few queries, as in decoding: scores are shared out by keys, sums by
// columns, so that one head keeps every worker busy. Either way an output
// takes its terms in the same order (docs/numerics.md section 8).
#ifndef PTQC_BACKENDS_CPU_KV_ATTENTION_H
#define PTQC_BACKENDS_CPU_KV_ATTENTION_H

#include <stdint.h>

#include "attention.h"
#include "backends/kgen/worker.h"
#include "jit.h"

typedef struct pq_kv_attention_desc {
    int64_t batch, heads, kv_heads, tq, tk, d, dv; // heads % kv_heads == 0
    uint32_t k_dtype, v_dtype;                     // F32, F16, BF16, I8
    float scale;
    uint32_t causal;        // query i sees keys <= i + tk - tq
    uint32_t positions;     // query i of b sees keys <= positions[b][i]
    pq_attention_strides q; // rows of f32
    pq_attention_strides y;
} pq_kv_attention_desc;

typedef struct pq_kv_attention_io {
    const void *q;
    const void *k, *v;
    const int32_t *positions;       // [batch][tq]
    const float *k_scale, *v_scale; // of I8
    void *y;
    void *shared; // pq_kv_attention_shared_bytes
    void (*barrier)(void *region);
    void *region;
} pq_kv_attention_io;

typedef struct pq_kv_attention pq_kv_attention; // immutable after prepare

ptqc_be_status pq_kv_attention_prepare(pq_jit *jit, ptqc_call *call,
                                       const pq_kv_attention_desc *desc,
                                       pq_kv_attention **out);
void pq_kv_attention_destroy(pq_kv_attention *op); // NULL allowed
uint64_t pq_kv_attention_scratch_bytes(const pq_kv_attention *op);
// Not 0: the workers meet at barriers of the run.
uint64_t pq_kv_attention_shared_bytes(const pq_kv_attention *op);
void pq_kv_attention_run(const pq_kv_attention *op,
                         const pq_kv_attention_io *io, const pq_worker *worker);

#endif
