// SPDX-License-Identifier: Apache-2.0
//
// Triangular solves of many rows, see linalg.h. Panels of PQ_PANEL columns;
// within a panel, steps of PQ_STEP columns subtract the panel's solved ones;
// then the panel's product is subtracted from all columns not yet solved.

#include "quant/linalg/strips.h"

typedef struct pq_solve {
    const pq_gemm_space *space;
    const float *r;
    int64_t d;
    pq_side side;
    float *b;
    int64_t rows;
} pq_solve;

// b[.][col, col + n) -= b[.][k, k + terms) times that part of r or r'.
static void
subtract_solved(const pq_solve *s, int64_t col, int64_t n, int64_t k,
                int64_t terms)
{
    pq_matrix straight = {s->r + k * s->d + col, s->d, 1};
    pq_matrix transposed = {s->r + col * s->d + k, 1, s->d};
    pq_gemm g = {.m = s->rows,
                 .n = n,
                 .k = terms,
                 .a = {s->b + k, s->d, 1},
                 .b = s->side == PQ_SOLVE_R ? straight : transposed,
                 .c = s->b + col,
                 .c_ld = s->d,
                 .is_subtracted = true};
    pq_gemm_compute(s->space, &g);
}

static void
solve_step(const pq_solve *s, int64_t col, int64_t n)
{
    pq_strips strips = {.space = s->space,
                        .r = s->r + col * s->d + col,
                        .r_ld = s->d,
                        .n = n,
                        .side = s->side,
                        .b = s->b + col,
                        .b_ld = s->d,
                        .rows = s->rows};
    pq_strips_solve(&strips);
}

static void
solve_panel(const pq_solve *s, int64_t first, int64_t end)
{
    int64_t steps = (end - first + PQ_STEP - 1) / PQ_STEP;
    for (int64_t i = 0; i < steps; i++) {
        bool is_forward = s->side == PQ_SOLVE_R;
        int64_t col = first + (is_forward ? i : steps - 1 - i) * PQ_STEP;
        int64_t n = end - col < PQ_STEP ? end - col : PQ_STEP;
        if (is_forward) {
            subtract_solved(s, col, n, first, col - first);
        } else {
            subtract_solved(s, col, n, col + n, end - col - n);
        }
        solve_step(s, col, n);
    }
}

static ptqc_status
solve(const pq_solve *s)
{
    int64_t panels = (s->d + PQ_PANEL - 1) / PQ_PANEL;
    for (int64_t i = 0; i < panels; i++) {
        PQ_TRY(pq_check_cancelled(s->space->ctx));
        bool is_forward = s->side == PQ_SOLVE_R;
        int64_t first = (is_forward ? i : panels - 1 - i) * PQ_PANEL;
        int64_t end = s->d - first < PQ_PANEL ? s->d : first + PQ_PANEL;
        solve_panel(s, first, end);
        if (is_forward) {
            subtract_solved(s, end, s->d - end, first, end - first);
        } else {
            subtract_solved(s, 0, first, first, end - first);
        }
    }
    return PTQC_OK;
}

ptqc_status
pq_solve_rows(ptqc_ctx *ctx, const float *r, int64_t d, pq_side side, float *b,
              int64_t rows)
{
    pq_gemm_space space;
    ptqc_status st = pq_gemm_space_init(&space, ctx, NULL, rows, d);
    if (st == PTQC_OK) {
        pq_solve s = {&space, r, d, side, b, rows};
        st = solve(&s);
    }
    pq_gemm_space_deinit(&space);
    return st;
}
