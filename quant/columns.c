// SPDX-License-Identifier: Apache-2.0
//
// LDLQ by columns, see gptq.h. Panels of PQ_PANEL columns: within a panel,
// steps of PQ_STEP columns get the products of the panel's errors and are
// rounded strip by strip, one column after the other with rows as lanes; then
// the panel's errors are multiplied into all columns to the right.

#include "quant/columns.h"

#include <string.h>

#include "base/threads.h"
#include "quant/linalg/strips.h"

typedef struct pq_column_step {
    const pq_columns *c;
    int64_t first, n; // columns
} pq_column_step;

// A strip of a step, rows as lanes.
typedef struct pq_column_strip {
    _Alignas(64) float targets[PQ_STEP * PQ_LANES];
    _Alignas(64) float sums[PQ_STEP * PQ_LANES];
    _Alignas(64) float errors[PQ_STEP * PQ_LANES];
    _Alignas(64) float squares[PQ_LANES];
    uint8_t codes[PQ_STEP * PQ_LANES];
} pq_column_strip;

// Column i of the step, rows from row on: t = w + (sums + e r) / r_ii, then
// its codes.
static void
round_column(const pq_column_step *s, int64_t row, int64_t i,
             pq_column_strip *strip)
{
    const pq_columns *c = s->c;
    const pq_factor *f = c->factor;
    const pq_micro *micro = c->space->micro;
    int64_t column = s->first + i;
    pq_rounding rounding = pq_strip_rounding(c->scales, row, f->order[column]);
    _Alignas(64) float t[PQ_LANES];
    memcpy(t, strip->targets + i * PQ_LANES, sizeof t);
    if (f->r != NULL) {
        const float *r = f->r + s->first * f->d + column;
        float root = r[i * f->d];
        float inverse = 1.0f / root;
        float *sums = strip->sums + i * PQ_LANES;
        micro->combine(strip->errors, r, f->d, i, false, sums);
        micro->combine(sums, &inverse, 0, 1, false, t);
        rounding.root = root;
    }
    micro->round(&rounding, t, strip->targets + i * PQ_LANES,
                 strip->codes + i * PQ_LANES, strip->errors + i * PQ_LANES,
                 strip->squares);
}

static void
write_codes(const pq_column_step *s, int64_t row, int lanes,
            const pq_column_strip *strip)
{
    const pq_columns *c = s->c;
    for (int l = 0; l < lanes; l++) {
        uint8_t *out = c->codes + (row + l) * c->factor->d;
        for (int64_t i = 0; i < s->n; i++) {
            out[c->factor->order[s->first + i]] =
                strip->codes[i * PQ_LANES + l];
        }
    }
}

static void
round_strips(void *user, uint64_t begin, uint64_t end, uint32_t worker)
{
    const pq_column_step *s = user;
    const pq_columns *c = s->c;
    const pq_micro *micro = c->space->micro;
    int64_t d = c->factor->d;
    pq_column_strip strip;
    (void)worker;
    for (int64_t k = (int64_t)begin; k < (int64_t)end; k++) {
        int64_t row = k * PQ_LANES;
        int64_t left = c->rows - row;
        int lanes = (int)(left < PQ_LANES ? left : PQ_LANES);
        float *e = c->e + row * d + s->first;
        micro->load(e, d, lanes, s->n, strip.targets);
        micro->load(c->sums + row * d + s->first, d, lanes, s->n, strip.sums);
        memset(strip.squares, 0, sizeof strip.squares);
        for (int64_t i = 0; i < s->n; i++) {
            round_column(s, row, i, &strip);
        }
        micro->store(strip.errors, lanes, s->n, e, d);
        write_codes(s, row, lanes, &strip);
        for (int l = 0; l < lanes; l++) {
            c->squares[row + l] += (double)strip.squares[l];
        }
    }
}

// sums[.][col, col + n) += e[.][k, k + terms) r
static void
multiply_errors(const pq_columns *c, int64_t col, int64_t n, int64_t k,
                int64_t terms)
{
    int64_t d = c->factor->d;
    if (c->factor->r == NULL || n == 0) {
        return;
    }
    pq_gemm g = {.m = c->rows,
                 .n = n,
                 .k = terms,
                 .a = {c->e + k, d, 1},
                 .b = {c->factor->r + k * d + col, d, 1},
                 .c = c->sums + col,
                 .c_ld = d};
    pq_gemm_compute(c->space, &g);
}

static void
solve_panel(const pq_columns *c, int64_t first, int64_t end)
{
    uint64_t strips = (uint64_t)(c->rows + PQ_LANES - 1) / PQ_LANES;
    for (int64_t col = first; col < end; col += PQ_STEP) {
        int64_t n = end - col < PQ_STEP ? end - col : PQ_STEP;
        pq_column_step step = {c, col, n};
        if (col > first) {
            multiply_errors(c, col, n, first, col - first);
        }
        pq_pool_for(c->space->pool, strips, 1, round_strips, &step);
    }
    multiply_errors(c, end, c->factor->d - end, first, end - first);
}

ptqc_status
pq_columns_solve(const pq_columns *c)
{
    int64_t d = c->factor->d;
    for (int64_t first = 0; first < d; first += PQ_PANEL) {
        PQ_TRY(pq_check_cancelled(c->space->ctx));
        solve_panel(c, first, d - first < PQ_PANEL ? d : first + PQ_PANEL);
    }
    return PTQC_OK;
}
