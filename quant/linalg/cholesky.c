// SPDX-License-Identifier: Apache-2.0
//
// The Cholesky factor from the last column on, see linalg.h. Panels of
// PQ_PANEL columns from the right: within a panel, steps of PQ_STEP columns
// subtract the panel's columns to their right, the diagonal block is factored
// and the rows above are solved; then the panel's product is subtracted from
// all that lies left of it.

#include <math.h>

#include "quant/linalg/strips.h"

typedef struct pq_chol {
    const pq_gemm_space *space;
    float *a;
    int64_t d;
} pq_chol;

// a[rows 0 .. rows)[col .. col + n) -= P(rows) P(col .. col + n)' with P the
// columns [k, k + terms).
static void
subtract_columns(const pq_chol *c, int64_t rows, int64_t col, int64_t n,
                 int64_t k, int64_t terms, pq_part part)
{
    int64_t row = part == PQ_PART_UPPER ? col : 0;
    pq_gemm g = {.m = rows,
                 .n = n,
                 .k = terms,
                 .a = {c->a + row * c->d + k, c->d, 1},
                 .b = {c->a + col * c->d + k, 1, c->d},
                 .c = c->a + row * c->d + col,
                 .c_ld = c->d,
                 .part = part,
                 .is_subtracted = true};
    pq_gemm_compute(c->space, &g);
}

// Factors the diagonal block at col; -1 or the bad column. Rows are lanes.
static int64_t
factor_diagonal(const pq_chol *c, int64_t col, int64_t n)
{
    const pq_micro *micro = c->space->micro;
    _Alignas(64) float strip[PQ_STEP * PQ_LANES] = {0};
    float *block = c->a + col * c->d + col;
    for (int64_t i = 0; i < n; i++) {
        for (int64_t j = i; j < n; j++) {
            strip[j * PQ_LANES + i] = block[i * c->d + j];
        }
    }
    for (int64_t i = n - 1; i >= 0; i--) {
        float *column = strip + i * PQ_LANES;
        // Factors: the element of row i in every column to the right.
        micro->combine(column + PQ_LANES, column + PQ_LANES + i, PQ_LANES,
                       n - 1 - i, true, column);
        float pivot = column[i];
        if (!(pivot > 0) || isinf(pivot)) {
            return col + i;
        }
        float root = sqrtf(pivot);
        micro->scale(1.0f / root, column);
        column[i] = root;
    }
    for (int64_t i = 0; i < n; i++) {
        for (int64_t j = i; j < n; j++) {
            block[i * c->d + j] = strip[j * PQ_LANES + i];
        }
    }
    return -1;
}

// Columns [first, end) of the factor, whatever lies right of them is
// subtracted already.
static int64_t
factor_panel(const pq_chol *c, int64_t first, int64_t end)
{
    int64_t col = first + (end - first - 1) / PQ_STEP * PQ_STEP;
    for (; col >= first; col -= PQ_STEP) {
        int64_t n = end - col < PQ_STEP ? end - col : PQ_STEP;
        int64_t right = col + n;
        subtract_columns(c, n, col, n, right, end - right, PQ_PART_UPPER);
        subtract_columns(c, col, col, n, right, end - right, PQ_PART_ALL);
        int64_t bad = factor_diagonal(c, col, n);
        if (bad >= 0) {
            return bad;
        }
        pq_strips above = {.space = c->space,
                           .r = c->a + col * c->d + col,
                           .r_ld = c->d,
                           .n = n,
                           .side = PQ_SOLVE_R_TRANSPOSED,
                           .b = c->a + col,
                           .b_ld = c->d,
                           .rows = col};
        pq_strips_solve(&above);
    }
    return -1;
}

static ptqc_status
factor(const pq_chol *c, int64_t *out_bad)
{
    *out_bad = -1;
    int64_t first = (c->d - 1) / PQ_PANEL * PQ_PANEL;
    for (; first >= 0; first -= PQ_PANEL) {
        PQ_TRY(pq_check_cancelled(c->space->ctx));
        int64_t end = c->d - first < PQ_PANEL ? c->d : first + PQ_PANEL;
        *out_bad = factor_panel(c, first, end);
        if (*out_bad >= 0) {
            return PTQC_OK;
        }
        pq_gemm rest = {.m = first,
                        .n = first,
                        .k = end - first,
                        .a = {c->a + first, c->d, 1},
                        .b = {c->a + first, 1, c->d},
                        .c = c->a,
                        .c_ld = c->d,
                        .part = PQ_PART_UPPER,
                        .is_subtracted = true};
        pq_gemm_compute(c->space, &rest);
    }
    return PTQC_OK;
}

ptqc_status
pq_cholesky(ptqc_ctx *ctx, float *a, int64_t d, int64_t *out_bad)
{
    pq_gemm_space space;
    ptqc_status st = pq_gemm_space_init(&space, ctx, NULL, d, d);
    *out_bad = -1;
    if (st == PTQC_OK && d > 0) {
        pq_chol c = {&space, a, d};
        st = factor(&c, out_bad);
    }
    pq_gemm_space_deinit(&space);
    return st;
}
