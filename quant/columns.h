// SPDX-License-Identifier: Apache-2.0
//
// The columns of GPTQ: codes of rows, in the order of a factor. Internal to
// quant/.
#ifndef PTQC_QUANT_COLUMNS_H
#define PTQC_QUANT_COLUMNS_H

#include "quant/factor.h"
#include "quant/linalg/gemm.h"
#include "quant/rows.h"

typedef struct pq_columns {
    const pq_gemm_space *space; // for rows x d
    const pq_factor *factor;
    const pq_strip_scales *scales;
    int64_t rows;
    float *e;        // [rows][d] targets, columns in order; becomes target -
                     // what the codes stand for
    float *sums;     // [rows][d] zero; becomes e r, strictly above the diagonal
    uint8_t *codes;  // [rows][d] out, columns in the weight's order
    double *squares; // [rows] out: sum of r_ii^2 (t_i - q_i)^2, scaled
} pq_columns;

PTQC_MUST_USE ptqc_status pq_columns_solve(const pq_columns *columns);

#endif
