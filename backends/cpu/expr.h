// SPDX-License-Identifier: Apache-2.0
//
// Elementwise chains (kgen/expr.h) as kernels: compiled to one that reads each
// input once and writes each output once.
//
// Results do not depend on the level or the number of threads.
#ifndef PTQC_BACKENDS_CPU_EXPR_H
#define PTQC_BACKENDS_CPU_EXPR_H

#include "backends/kgen/expr.h"
#include "backends/kgen/worker.h"
#include "jit.h"

// An output may be the same memory as an input with the same strides and
// element size; any other overlap is not allowed. Pointers need the alignment
// of their element only.
typedef struct pq_expr_io {
    const void *inputs[PQ_EXPR_MAX_INPUTS];
    void *outputs[PQ_EXPR_MAX_OUTPUTS];
} pq_expr_io;

typedef struct pq_expr pq_expr;

// UNSUPPORTED: pq_expr_check's reason, or an innermost stride other than 0
// and 1. `jit` outlives the object.
ptqc_be_status pq_expr_prepare(pq_jit *jit, ptqc_call *call,
                               const pq_expr_desc *desc, pq_expr **out);
void pq_expr_destroy(pq_expr *expr); // NULL allowed
// Needs no scratch. Called on every worker; each does its part.
void pq_expr_run(const pq_expr *expr, const pq_expr_io *io,
                 const pq_worker *worker);

// out[i] = table[in[i]] for n bytes: any unary function between 8-bit codes.
// in == out is allowed. Needs a machine that pq_isa_detect accepts.
void pq_lookup8_run(const uint8_t table[256], const uint8_t *in, uint8_t *out,
                    int64_t n, const pq_worker *worker);

#endif
