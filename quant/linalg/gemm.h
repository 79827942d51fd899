// SPDX-License-Identifier: Apache-2.0
//
// Products inside linear algebra: with memory that is made once for many
// calls, and an instruction set of choice. Internal to quant/.
#ifndef PTQC_QUANT_LINALG_GEMM_H
#define PTQC_QUANT_LINALG_GEMM_H

#include "quant/linalg.h"
#include "quant/linalg/micro.h"

struct pq_pool;

// Panels for the largest product that it serves.
typedef struct pq_gemm_space {
    ptqc_ctx *ctx;         // borrowed
    struct pq_pool *pool;  // borrowed from ctx
    const pq_micro *micro; // borrowed, static
    float *a;              // owned: [workers][rows_max][PQ_GEMM_BLOCK]
    float *b;              // owned: [cols_max][PQ_GEMM_BLOCK]
    int64_t rows_max;      // of a block of a, a multiple of mr
    int64_t cols_max;      // of a block of b, a multiple of nr
} pq_gemm_space;

// For products of at most m x n. micro NULL: the best. deinit may follow a
// failed init.
PTQC_MUST_USE ptqc_status pq_gemm_space_init(pq_gemm_space *space,
                                             ptqc_ctx *ctx,
                                             const pq_micro *micro, int64_t m,
                                             int64_t n);
void pq_gemm_space_deinit(pq_gemm_space *space);
// desc->m, n at most those of init. Cannot fail.
void pq_gemm_compute(const pq_gemm_space *space, const pq_gemm *desc);

#endif
