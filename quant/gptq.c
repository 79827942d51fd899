// SPDX-License-Identifier: Apache-2.0
//
// GPTQ of one weight, see gptq.h: scales, then by chunks of rows (they do not
// know of each other, so memory is bounded) target, columns, polish, losses.
//
// Deviations from the references (algorithms 20): scales are chosen before any
// column is rounded (theirs are stale within a block), symmetric groups of one
// sign are not cut to half of their range, inputs that calibration never saw
// keep their rounded weights.

#include "quant/gptq.h"

#include <math.h>
#include <string.h>

#include "base/checked.h"
#include "base/threads.h"
#include "quant/columns.h"
#include "quant/polish.h"

#define CHUNK_ELEMENTS (INT64_C(1) << 26) // 256 MiB of f32, three times

typedef struct pq_gptq {
    ptqc_ctx *ctx;
    const pq_factor *factor;
    const pq_gptq_desc *desc;
    const float *w;     // desc->w, or `clean`
    float *clean;       // owned: w with 0 where it is not finite; or NULL
    float *diagonal;    // owned: [d] of h: importance
    int64_t scale_step; // scales per row; 0: one for all rows
    float *scales;      // the results
    int32_t *zero_points;
    uint8_t *codes;
    pq_gptq_report *report; // or NULL
    double squares;         // sum of r_ii^2 (t - q)^2
    double damped_loss;     // what it must be equal to
} pq_gptq;

// Rows that are solved together.
typedef struct pq_chunk {
    int64_t first, rows;
    pq_weights view; // of the targets
    float *target;   // owned: [rows][d]
    float *e;        // owned: [rows][d]
    float *sums;     // owned: [rows][d]
    double *squares; // owned: [rows]
    float *scales;   // borrowed: of these rows
    int32_t *zero_points;
    uint8_t *codes;
} pq_chunk;

static const char *
name_of(const pq_gptq_desc *desc)
{
    return desc->name != NULL ? desc->name : "weight";
}

// ---- preparation ----------------------------------------------------------

static ptqc_status
clean_weights(pq_gptq *g, int64_t *out_bad)
{
    int64_t count = g->desc->rows * g->factor->d;
    const float *w = g->desc->w;
    *out_bad = 0;
    for (int64_t i = 0; i < count; i++) {
        *out_bad += !isfinite(w[i]);
    }
    g->w = w;
    if (*out_bad == 0) {
        return PTQC_OK;
    }
    pq_say(g->ctx, PTQC_SEVERITY_WARNING,
           "%s: %lld of its numbers are not finite, they count as 0",
           name_of(g->desc), (long long)*out_bad);
    g->clean = pq_alloc_array(g->ctx, (size_t)count, sizeof *g->clean);
    PQ_TRY_ALLOC(g->clean);
    for (int64_t i = 0; i < count; i++) {
        g->clean[i] = isfinite(w[i]) ? w[i] : 0;
    }
    g->w = g->clean;
    return PTQC_OK;
}

static ptqc_status
copy_diagonal(pq_gptq *g)
{
    int64_t d = g->factor->d;
    g->diagonal = pq_alloc_array(g->ctx, (size_t)d, sizeof *g->diagonal);
    PQ_TRY_ALLOC(g->diagonal);
    for (int64_t i = 0; i < d; i++) {
        double diagonal = (double)g->desc->h[i * d + i] + g->factor->damping;
        // A factor that is plain knows nothing of the inputs.
        g->diagonal[i] = g->factor->r != NULL ? (float)diagonal : 1;
    }
    return PTQC_OK;
}

static pq_weights
view_of(const pq_gptq *g, const float *w, int64_t rows)
{
    pq_weights ws = pq_rows_view(w, rows, g->factor->d, &g->desc->scheme);
    ws.search = g->desc->search;
    ws.importance = g->diagonal;
    return ws;
}

static ptqc_status
prepare(pq_gptq *g)
{
    const pq_gptq_desc *desc = g->desc;
    int64_t bad;
    PQ_TRY(pq_rows_check(g->ctx, name_of(desc), &desc->scheme));
    PQ_TRY(clean_weights(g, &bad));
    if (g->report != NULL) {
        g->report->bad_count = bad;
    }
    PQ_TRY(copy_diagonal(g));
    pq_weights all = view_of(g, g->w, desc->rows);
    bool is_one = desc->scheme.granularity == PQ_GRAN_TENSOR;
    g->scale_step = is_one ? 0 : pq_rows_group_count(&all);
    if (desc->scales != NULL) {
        size_t count = (size_t)pq_weights_scale_count(&all);
        memcpy(g->scales, desc->scales, count * sizeof *g->scales);
        memcpy(g->zero_points, desc->zero_points,
               count * sizeof *g->zero_points);
        return PTQC_OK;
    }
    return pq_rows_choose(g->ctx, &all, g->scales, g->zero_points);
}

// ---- a chunk --------------------------------------------------------------

static bool
is_finite(const float *x, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        if (!isfinite(x[i])) {
            return false;
        }
    }
    return true;
}

static ptqc_status
make_target(const pq_gptq *g, pq_chunk *c)
{
    int64_t d = g->factor->d;
    const float *w = g->w + c->first * d;
    bool is_good = false;
    if (g->desc->cross != NULL) {
        PQ_TRY(pq_target(g->ctx, g->factor, w, c->rows, g->desc->cross,
                         g->desc->blend, c->target));
        is_good = is_finite(c->target, c->rows * d);
    }
    if (g->desc->cross != NULL && !is_good) {
        pq_say(g->ctx, PTQC_SEVERITY_WARNING,
               "%s: its asymmetric target is not finite, the weight itself is "
               "the target",
               name_of(g->desc));
    }
    if (!is_good) {
        memcpy(c->target, w, (size_t)(c->rows * d) * sizeof *c->target);
    }
    for (int64_t i = 0; i < d && g->desc->zeroes_dead; i++) {
        for (int64_t r = 0; r < c->rows && g->factor->is_dead[i]; r++) {
            c->target[r * d + i] = 0;
        }
    }
    c->view = view_of(g, c->target, c->rows);
    return PTQC_OK;
}

static ptqc_status
solve_columns(pq_gptq *g, pq_chunk *c)
{
    int64_t d = g->factor->d;
    pq_gemm_space space;
    pq_strip_scales scales;
    ptqc_status st = pq_strip_scales_init(&scales, g->ctx, &c->view, c->scales,
                                          c->zero_points);
    if (st == PTQC_OK) {
        st = pq_gemm_space_init(&space, g->ctx, NULL, c->rows, d);
        pq_columns columns = {&space, g->factor, &scales,  c->rows,
                              c->e,   c->sums,   c->codes, c->squares};
        for (int64_t i = 0; i < c->rows; i++) {
            for (int64_t j = 0; j < d; j++) {
                c->e[i * d + j] = c->target[i * d + g->factor->order[j]];
            }
        }
        if (st == PTQC_OK) {
            st = pq_columns_solve(&columns);
        }
        pq_gemm_space_deinit(&space);
    }
    pq_strip_scales_deinit(&scales, g->ctx);
    return st;
}

// tr(e h e') and the sum of e^2 of the chunk's codes; e is overwritten.
static ptqc_status
measure(const pq_gptq *g, pq_chunk *c, double *out_loss, double *out_squares)
{
    PQ_TRY(pq_rows_error(g->ctx, &c->view, c->scales, c->zero_points, c->codes,
                         c->e));
    *out_squares = pq_dot(c->e, c->e, c->rows * g->factor->d);
    return pq_quadratic_loss(g->ctx, c->e, c->rows, g->desc->h, g->factor->d,
                             out_loss);
}

// Before the columns: what rounding gives, and what the target's outputs are.
static ptqc_status
report_rounding(const pq_gptq *g, pq_chunk *c)
{
    double loss;
    double squares;
    double energy;
    if (g->report == NULL || g->factor->r == NULL) {
        return PTQC_OK;
    }
    PQ_TRY(
        pq_rows_encode(g->ctx, &c->view, c->scales, c->zero_points, c->codes));
    PQ_TRY(measure(g, c, &loss, &squares));
    PQ_TRY(pq_quadratic_loss(g->ctx, c->target, c->rows, g->desc->h,
                             g->factor->d, &energy));
    g->report->rounding_loss += loss;
    g->report->energy += energy;
    return PTQC_OK;
}

static ptqc_status
report_columns(pq_gptq *g, pq_chunk *c)
{
    double loss;
    double squares;
    if (g->report == NULL || g->factor->r == NULL) {
        return PTQC_OK;
    }
    PQ_TRY(measure(g, c, &loss, &squares));
    g->report->gptq_loss += loss;
    g->damped_loss += loss + g->factor->damping * squares;
    for (int64_t i = 0; i < c->rows; i++) {
        g->squares += c->squares[i] / g->factor->scaling;
    }
    return PTQC_OK;
}

// Sweeps over scales and codes until no code moves.
static ptqc_status
polish_both(const pq_gptq *g, pq_chunk *c, const pq_polish_desc *desc,
            int64_t *out_moved, int64_t *out_scales)
{
    pq_polish_desc once = *desc;
    once.sweeps = 1;
    for (uint32_t i = 0; i < desc->sweeps; i++) {
        int64_t moved;
        int64_t scales;
        PQ_TRY(pq_polish_scales(g->ctx, &once, c->codes, c->scales, &scales));
        PQ_TRY(pq_polish_codes(g->ctx, &once, c->codes, &moved));
        *out_moved += moved;
        *out_scales += scales;
        if (moved == 0) {
            break;
        }
    }
    return PTQC_OK;
}

static ptqc_status
polish(pq_gptq *g, pq_chunk *c)
{
    double loss;
    double squares;
    int64_t moved = 0;
    int64_t scales = 0;
    if (g->desc->polish_sweeps == 0 || g->factor->r == NULL) {
        return PTQC_OK;
    }
    pq_polish_desc desc = {.w = c->target,
                           .rows = c->rows,
                           .d = g->factor->d,
                           .h = g->desc->h,
                           .damping = g->factor->damping,
                           .sweeps = g->desc->polish_sweeps,
                           .scheme = g->desc->scheme,
                           .scales = c->scales,
                           .zero_points = c->zero_points};
    bool keeps =
        g->desc->keeps_scales || g->desc->scheme.granularity == PQ_GRAN_TENSOR;
    if (!keeps) {
        PQ_TRY(polish_both(g, c, &desc, &moved, &scales));
    } else {
        PQ_TRY(pq_polish_codes(g->ctx, &desc, c->codes, &moved));
    }
    if (g->report == NULL) {
        return PTQC_OK;
    }
    PQ_TRY(measure(g, c, &loss, &squares));
    g->report->loss += loss;
    g->report->moved_count += moved;
    g->report->scale_count += scales;
    return PTQC_OK;
}

static ptqc_status
solve_chunk(pq_gptq *g, pq_chunk *c)
{
    PQ_TRY(make_target(g, c));
    PQ_TRY(report_rounding(g, c));
    PQ_TRY(solve_columns(g, c));
    PQ_TRY(report_columns(g, c));
    return polish(g, c);
}

static ptqc_status
run_chunk(pq_gptq *g, int64_t first, int64_t rows)
{
    int64_t d = g->factor->d;
    size_t row_bytes = (size_t)d * sizeof(float);
    pq_chunk c = {.first = first,
                  .rows = rows,
                  .scales = g->scales + first * g->scale_step,
                  .zero_points = g->zero_points + first * g->scale_step,
                  .codes = g->codes + first * d};
    ptqc_status st = PTQC_E_RESOURCE;
    c.target = pq_alloc_array(g->ctx, (size_t)rows, row_bytes);
    c.e = pq_alloc_array(g->ctx, (size_t)rows, row_bytes);
    c.sums = pq_alloc_array(g->ctx, (size_t)rows, row_bytes);
    c.squares = pq_alloc_array(g->ctx, (size_t)rows, sizeof *c.squares);
    if (c.target != NULL && c.e != NULL && c.sums != NULL &&
        c.squares != NULL) {
        st = solve_chunk(g, &c);
    }
    pq_free(g->ctx, c.target);
    pq_free(g->ctx, c.e);
    pq_free(g->ctx, c.sums);
    pq_free(g->ctx, c.squares);
    return st;
}

// ---- all of it ------------------------------------------------------------

static ptqc_status
run(pq_gptq *g)
{
    int64_t rows = CHUNK_ELEMENTS / g->factor->d / PQ_LANES * PQ_LANES;
    rows = rows > PQ_LANES ? rows : PQ_LANES;
    PQ_TRY(prepare(g));
    for (int64_t first = 0; first < g->desc->rows; first += rows) {
        int64_t left = g->desc->rows - first;
        PQ_TRY(run_chunk(g, first, left < rows ? left : rows));
    }
    if (g->report != NULL) {
        if (g->desc->polish_sweeps == 0) {
            g->report->loss = g->report->gptq_loss;
        }
        g->report->identity_error =
            g->damped_loss > 0 ? fabs(g->squares / g->damped_loss - 1) : 0;
    }
    return PTQC_OK;
}

ptqc_status
pq_gptq_solve(ptqc_ctx *ctx, const pq_factor *factor, const pq_gptq_desc *desc,
              float *out_scales, int32_t *out_zero_points, uint8_t *out_codes,
              pq_gptq_report *out_report)
{
    pq_gptq g = {.ctx = ctx,
                 .factor = factor,
                 .desc = desc,
                 .scales = out_scales,
                 .zero_points = out_zero_points,
                 .codes = out_codes,
                 .report = out_report};
    if (out_report != NULL) {
        *out_report = (pq_gptq_report){0};
    }
    ptqc_status st = run(&g);
    pq_free(ctx, g.clean);
    pq_free(ctx, g.diagonal);
    return st;
}
