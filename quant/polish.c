// SPDX-License-Identifier: Apache-2.0
//
// Coordinate descent, see polish.h. Panels of PQ_PANEL columns: the errors of
// all other columns times h once; within a panel, steps of PQ_STEP columns add
// the panel's own errors as they are then; within a step the changes so far.
// A code moves only when that is better by more than rounding errors, so the
// loss never grows.

#include "quant/polish.h"

#include <math.h>
#include <stdatomic.h>
#include <string.h>

#include "base/threads.h"
#include "quant/linalg/gemm.h"
#include "quant/linalg/strips.h"
#include "quant/rows.h"

// A move must be nearer by this share of the scale.
#define MARGIN 0x1p-10f

typedef struct pq_polish {
    const pq_polish_desc *desc;
    pq_gemm_space space;    // owned
    pq_strip_scales scales; // owned
    float *e;               // owned: [rows][d] target - codes' numbers
    float *sums;            // owned: [rows][PQ_PANEL] e h
    float *own; // owned: [PQ_PANEL][PQ_PANEL] h + damping of the panel
    int64_t panel, width; // columns of the panel
    int64_t first, n;     // columns of the step
    uint8_t *codes;
    atomic_llong moved;
} pq_polish;

// A strip of a step, rows as lanes.
typedef struct pq_polish_strip {
    _Alignas(64) float errors[PQ_STEP * PQ_LANES];
    _Alignas(64) float sums[PQ_STEP * PQ_LANES];
    _Alignas(64) float changes[PQ_STEP * PQ_LANES];
} pq_polish_strip;

// ---- one column -----------------------------------------------------------

static int64_t
take_better(const pq_polish *p, const pq_rounding *rounding, const float *t,
            const float *w, int lanes, int64_t row, int64_t column,
            float *errors, float *changes)
{
    _Alignas(64) float moved_errors[PQ_LANES];
    _Alignas(64) float squares[PQ_LANES] = {0};
    uint8_t moved[PQ_LANES];
    p->space.micro->round(rounding, t, w, moved, moved_errors, squares);
    int64_t count = 0;
    for (int l = 0; l < PQ_LANES; l++) {
        float distance = fabsf(t[l] - (w[l] - errors[l]));
        float nearest = fabsf(t[l] - (w[l] - moved_errors[l]));
        float margin = fabsf(rounding->scales[l]) * MARGIN;
        bool is_better = distance > nearest + margin && l < lanes;
        uint8_t *code = p->codes + (row + l) * p->desc->d + column;
        changes[l] = 0;
        if (is_better && *code != moved[l]) {
            changes[l] = moved_errors[l] - errors[l];
            errors[l] = moved_errors[l];
            *code = moved[l];
            count++;
        }
    }
    return count;
}

// Column i of the step: the best number is its own plus (e h)_i / h_ii.
static int64_t
polish_column(const pq_polish *p, int64_t row, int lanes, int64_t i,
              pq_polish_strip *strip)
{
    const pq_micro *micro = p->space.micro;
    int64_t column = p->first + i;
    int64_t within = column - p->panel;
    const float *h = p->own + (p->first - p->panel) * PQ_PANEL + within;
    float diagonal = h[i * PQ_PANEL];
    float inverse = diagonal > 0 ? 1.0f / diagonal : 0.0f;
    float *sums = strip->sums + i * PQ_LANES;
    float *errors = strip->errors + i * PQ_LANES;
    pq_rounding rounding = pq_strip_rounding(&p->scales, row, column);
    _Alignas(64) float w[PQ_LANES] = {0};
    _Alignas(64) float t[PQ_LANES];
    for (int l = 0; l < lanes; l++) {
        w[l] = p->desc->w[(row + l) * p->desc->d + column];
    }
    for (int l = 0; l < PQ_LANES; l++) {
        t[l] = w[l] - errors[l];
    }
    micro->combine(strip->changes, h, PQ_PANEL, i, false, sums);
    micro->combine(sums, &inverse, 0, 1, false, t);
    return take_better(p, &rounding, t, w, lanes, row, column, errors,
                       strip->changes + i * PQ_LANES);
}

static void
polish_strips(void *user, uint64_t begin, uint64_t end, uint32_t worker)
{
    pq_polish *p = user;
    const pq_micro *micro = p->space.micro;
    int64_t d = p->desc->d;
    pq_polish_strip strip;
    (void)worker;
    for (int64_t k = (int64_t)begin; k < (int64_t)end; k++) {
        int64_t row = k * PQ_LANES;
        int64_t left = p->desc->rows - row;
        int lanes = (int)(left < PQ_LANES ? left : PQ_LANES);
        float *e = p->e + row * d + p->first;
        int64_t moved = 0;
        micro->load(e, d, lanes, p->n, strip.errors);
        micro->load(p->sums + row * PQ_PANEL + p->first - p->panel, PQ_PANEL,
                    lanes, p->n, strip.sums);
        for (int64_t i = 0; i < p->n; i++) {
            moved += polish_column(p, row, lanes, i, &strip);
        }
        micro->store(strip.errors, lanes, p->n, e, d);
        atomic_fetch_add(&p->moved, moved);
    }
}

// ---- panels ---------------------------------------------------------------

static void
copy_own(pq_polish *p)
{
    int64_t d = p->desc->d;
    const float *h = p->desc->h + p->panel * d + p->panel;
    for (int64_t i = 0; i < p->width; i++) {
        for (int64_t j = 0; j <= i; j++) {
            p->own[i * PQ_PANEL + j] = h[i * d + j];
            p->own[j * PQ_PANEL + i] = h[i * d + j];
        }
        p->own[i * PQ_PANEL + i] += (float)p->desc->damping;
    }
}

// sums = e h of all columns but the panel's own.
static void
multiply_others(pq_polish *p)
{
    int64_t d = p->desc->d;
    int64_t end = p->panel + p->width;
    const float *h = p->desc->h;
    memset(p->sums, 0, (size_t)(p->desc->rows * PQ_PANEL) * sizeof *p->sums);
    pq_gemm left = {.m = p->desc->rows,
                    .n = p->width,
                    .k = p->panel,
                    .a = {p->e, d, 1},
                    .b = {h + p->panel * d, 1, d},
                    .c = p->sums,
                    .c_ld = PQ_PANEL};
    pq_gemm right = left;
    right.k = d - end;
    right.a.p = p->e + end;
    right.b = (pq_matrix){h + end * d + p->panel, d, 1};
    pq_gemm_compute(&p->space, &left);
    pq_gemm_compute(&p->space, &right);
}

static void
multiply_own(pq_polish *p)
{
    int64_t within = p->first - p->panel;
    pq_gemm own = {.m = p->desc->rows,
                   .n = p->n,
                   .k = p->width,
                   .a = {p->e + p->panel, p->desc->d, 1},
                   .b = {p->own + within, PQ_PANEL, 1},
                   .c = p->sums + within,
                   .c_ld = PQ_PANEL};
    pq_gemm_compute(&p->space, &own);
}

static void
polish_panel(pq_polish *p)
{
    uint64_t strips = (uint64_t)(p->desc->rows + PQ_LANES - 1) / PQ_LANES;
    copy_own(p);
    multiply_others(p);
    int64_t end = p->panel + p->width;
    for (p->first = p->panel; p->first < end; p->first += PQ_STEP) {
        p->n = end - p->first < PQ_STEP ? end - p->first : PQ_STEP;
        multiply_own(p);
        pq_pool_for(p->space.pool, strips, 1, polish_strips, p);
    }
}

static ptqc_status
sweep(pq_polish *p)
{
    int64_t d = p->desc->d;
    for (p->panel = 0; p->panel < d; p->panel += PQ_PANEL) {
        PQ_TRY(pq_check_cancelled(p->space.ctx));
        p->width = d - p->panel < PQ_PANEL ? d - p->panel : PQ_PANEL;
        polish_panel(p);
    }
    return PTQC_OK;
}

// ---- all of it ------------------------------------------------------------

static ptqc_status
prepare(pq_polish *p, ptqc_ctx *ctx)
{
    const pq_polish_desc *desc = p->desc;
    size_t rows = (size_t)desc->rows;
    pq_weights ws = pq_rows_view(desc->w, desc->rows, desc->d, &desc->scheme);
    PQ_TRY(pq_gemm_space_init(&p->space, ctx, NULL, desc->rows, PQ_PANEL));
    PQ_TRY(pq_strip_scales_init(&p->scales, ctx, &ws, desc->scales,
                                desc->zero_points));
    p->e = pq_alloc_array(ctx, rows, (size_t)desc->d * sizeof *p->e);
    PQ_TRY_ALLOC(p->e);
    p->sums = pq_alloc_array(ctx, rows, PQ_PANEL * sizeof *p->sums);
    PQ_TRY_ALLOC(p->sums);
    p->own = pq_alloc_array(ctx, PQ_PANEL, PQ_PANEL * sizeof *p->own);
    PQ_TRY_ALLOC(p->own);
    return pq_rows_error(ctx, &ws, desc->scales, desc->zero_points, p->codes,
                         p->e);
}

static ptqc_status
run_sweeps(pq_polish *p, int64_t *out_moved)
{
    *out_moved = 0;
    for (uint32_t i = 0; i < p->desc->sweeps; i++) {
        atomic_store(&p->moved, 0);
        PQ_TRY(sweep(p));
        int64_t moved = atomic_load(&p->moved);
        *out_moved += moved;
        if (moved == 0) {
            break;
        }
    }
    return PTQC_OK;
}

ptqc_status
pq_polish_codes(ptqc_ctx *ctx, const pq_polish_desc *desc, uint8_t *codes,
                int64_t *out_moved)
{
    int64_t moved = 0;
    pq_polish p = {.desc = desc, .codes = codes, .space = {.ctx = ctx}};
    PQ_TRY(pq_rows_check(ctx, "polish", &desc->scheme));
    ptqc_status st = prepare(&p, ctx);
    if (st == PTQC_OK) {
        st = run_sweeps(&p, &moved);
    }
    if (out_moved != NULL) {
        *out_moved = moved;
    }
    pq_gemm_space_deinit(&p.space);
    pq_strip_scales_deinit(&p.scales, ctx);
    pq_free(ctx, p.e);
    pq_free(ctx, p.sums);
    pq_free(ctx, p.own);
    return st;
}
