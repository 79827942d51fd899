// SPDX-License-Identifier: Apache-2.0
//
// Attention over keys and values that lie as [..][row] in memory (states, or
// results), f32, f16 or bf16, converted in registers; a query sees the first
// keys only, and the work is in proportion to them.
//
// One item of work: a block of queries that share a head of k and v. Its
// scores are the tile kernel's, over panels of 16 keys that were transposed
// into the worker's scratch: one fma per d in ascending order. Softmax is the
// row kernel's over the keys a query sees. The output is one fma per key in
// ascending order. Nothing depends on the block, on the number of workers or
// on the room for keys (docs/numerics.md section 8).
#ifndef PTQC_BACKENDS_CPU_ATTENTION_H
#define PTQC_BACKENDS_CPU_ATTENTION_H

#include <stdint.h>

#include "backends/kgen/worker.h"
#include "jit.h"

// Where the rows of an operand lie, in bytes.
typedef struct pq_attention_strides {
    int64_t batch, head, row;
} pq_attention_strides;

typedef struct pq_attention_desc {
    int64_t batch, heads, kv_heads, tq, tk, d, dv; // heads % kv_heads == 0
    uint32_t k_dtype, v_dtype;                     // F32, F16, BF16
    float scale;
    uint32_t causal;    // query i sees keys <= i + tk - tq
    uint32_t positions; // query i of b sees keys <= positions[b][i]
    uint32_t mask;
    pq_attention_strides q, k, v, y;
    int64_t mask_strides[3]; // batch, head, query; in elements; keys dense
} pq_attention_desc;

typedef struct pq_attention_io {
    const void *q; // f32
    const void *k, *v;
    const float *mask;
    const int32_t *positions; // [batch][tq]
    void *y;                  // f32
} pq_attention_io;

typedef struct pq_attention pq_attention; // immutable after prepare

ptqc_be_status pq_attention_prepare(pq_jit *jit, ptqc_call *call,
                                    const pq_attention_desc *desc,
                                    pq_attention **out);
void pq_attention_destroy(pq_attention *op); // NULL allowed
uint64_t pq_attention_scratch_bytes(const pq_attention *op);
void pq_attention_run(const pq_attention *op, const pq_attention_io *io,
                      const pq_worker *worker);

#endif
