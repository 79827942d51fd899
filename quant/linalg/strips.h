// SPDX-License-Identifier: Apache-2.0
//
// Triangular solves of panels of columns, for cholesky.c and solve.c. Internal
// to quant/linalg/.
#ifndef PTQC_QUANT_LINALG_STRIPS_H
#define PTQC_QUANT_LINALG_STRIPS_H

#include "quant/linalg/gemm.h"

#define PQ_PANEL PQ_GEMM_BLOCK // columns whose products are one block of terms
#define PQ_STEP  64            // columns that are solved without products

// Columns of b [rows][b_ld] against a diagonal block of r.
typedef struct pq_strips {
    const pq_gemm_space *space;
    const float *r; // the diagonal block, rows r_ld apart
    ptrdiff_t r_ld;
    int64_t n; // its size, at most PQ_STEP
    pq_side side;
    float *b;
    ptrdiff_t b_ld;
    int64_t rows;
} pq_strips;

// b <- b r^-1 or b r'^-1, n columns. Parallel over strips of PQ_LANES rows.
void pq_strips_solve(const pq_strips *strips);

#endif
