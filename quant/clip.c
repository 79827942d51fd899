// SPDX-License-Identifier: Apache-2.0
//
// Ranges that clip, by the error of the outputs (AWQ's clip search), see
// awq.h. The part of the outputs that a group makes is e_g x_g, its squared
// error e_g h_gg e_g'; group by group, all rows at once. What groups make
// together may still be worse: the judge gives rows whose whole error e h e'
// did not fall their ranges back.

#include <string.h>

#include "base/threads.h"
#include "quant/awq.h"
#include "quant/linalg/gemm.h"
#include "quant/linalg/micro.h"
#include "quant/rows.h"
#include "quant/share.h"

#define CANDIDATES  10 // ranges times 1, .95, ... .55, as AWQ has them
#define SHRINK_STEP .05f

#define CHUNK_ELEMENTS (INT64_C(1) << 20) // of errors of rows at a time

// A chunk of rows is rounded by all candidates at once: few and large products.
typedef struct pq_clip {
    const pq_weights *weights;
    int64_t first, n;    // columns of the group
    int64_t group;       // its number
    int64_t begin, rows; // the chunk
    int64_t rows_max;    // of a chunk
    float *own;          // owned: [n][n] h of the group, both triangles
    float *e;            // owned: [rows][CANDIDATES][n]
    float *products;     // owned: the same, e h
    uint8_t *steps;      // result: [all rows][groups]
} pq_clip;

// The columns from `first` on of row r.
static pq_share
share_of(const pq_weights *ws, int64_t r, int64_t first, int64_t n)
{
    return (pq_share){
        .w = ws->w + r * ws->inner + first,
        .runs = 1,
        .length = n,
        .importance = ws->importance != NULL ? ws->importance + first : NULL};
}

static pq_params
shrunk_params(const pq_share *share, const pq_weights *ws, float min, float max,
              uint8_t step)
{
    float shrink = 1.0f - SHRINK_STEP * (float)step;
    return step == 0 ? pq_share_params(share, &ws->scheme, ws->search, 0)
                     : pq_share_params_of_range(share, &ws->scheme,
                                                min * shrink, max * shrink);
}

static pq_params
params_of(const pq_share *share, const pq_weights *ws, uint8_t step)
{
    float min, max;
    pq_share_range(share, &min, &max);
    return shrunk_params(share, ws, min, max, step);
}

// e [CANDIDATES][n]: what all candidates leave of the group in row r.
static void
try_row(const pq_clip *c, int64_t r, float *e)
{
    const pq_weights *ws = c->weights;
    const pq_share share = share_of(ws, r, c->first, c->n);
    float min, max;
    pq_share_range(&share, &min, &max);
    for (uint8_t i = 0; i < CANDIDATES; i++) {
        pq_params p = shrunk_params(&share, ws, min, max, i);
        pq_share_residues(&share, &ws->scheme, p, e + i * c->n);
    }
}

static void
try_rows(void *user, uint64_t begin, uint64_t end, uint32_t worker)
{
    const pq_clip *c = user;
    (void)worker;
    for (int64_t r = (int64_t)begin; r < (int64_t)end; r++) {
        int64_t at = r * CANDIDATES * c->n;
        try_row(c, c->begin + r, c->e + at);
        memset(c->products + at, 0,
               (size_t)(CANDIDATES * c->n) * sizeof *c->products);
    }
}

static void
take_best(void *user, uint64_t begin, uint64_t end, uint32_t worker)
{
    const pq_clip *c = user;
    int64_t groups = pq_rows_group_count(c->weights);
    const pq_micro *micro = pq_micro_best();
    (void)worker;
    for (int64_t r = (int64_t)begin; r < (int64_t)end; r++) {
        double least = 0;
        for (uint8_t i = 0; i < CANDIDATES; i++) {
            int64_t at = (r * CANDIDATES + i) * c->n;
            double loss = micro->dot(c->e + at, c->products + at, c->n);
            if (i == 0 || loss < least) {
                least = loss;
                c->steps[(c->begin + r) * groups + c->group] = i;
            }
        }
    }
}

static void
copy_own(const pq_clip *c, const float *h)
{
    int64_t d = c->weights->inner;
    for (int64_t i = 0; i < c->n; i++) {
        for (int64_t j = 0; j <= i; j++) {
            float x = h[(c->first + i) * d + c->first + j];
            c->own[i * c->n + j] = x;
            c->own[j * c->n + i] = x;
        }
    }
}

static ptqc_status
search_group(pq_clip *c, const pq_gemm_space *space)
{
    int64_t all = c->weights->channels;
    pq_gemm product = {.n = c->n,
                       .k = c->n,
                       .a = {c->e, c->n, 1},
                       .b = {c->own, c->n, 1},
                       .c = c->products,
                       .c_ld = c->n};
    for (c->begin = 0; c->begin < all; c->begin += c->rows) {
        int64_t left = all - c->begin;
        c->rows = left < c->rows_max ? left : c->rows_max;
        product.m = c->rows * CANDIDATES;
        pq_pool_for(space->pool, (uint64_t)c->rows, 4, try_rows, c);
        pq_gemm_compute(space, &product);
        pq_pool_for(space->pool, (uint64_t)c->rows, 16, take_best, c);
        PQ_TRY(pq_check_cancelled(space->ctx));
    }
    return PTQC_OK;
}

static ptqc_status
search_groups(pq_clip *c, ptqc_ctx *ctx, const float *h)
{
    int64_t d = c->weights->inner;
    int64_t step = pq_rows_group(c->weights);
    pq_gemm_space space;
    ptqc_status st =
        pq_gemm_space_init(&space, ctx, NULL, c->rows_max * CANDIDATES, step);
    for (c->first = 0; st == PTQC_OK && c->first < d; c->first += step) {
        c->n = d - c->first < step ? d - c->first : step;
        copy_own(c, h);
        st = search_group(c, &space);
        c->group++;
    }
    pq_gemm_space_deinit(&space);
    return st;
}

static ptqc_status
find_steps(pq_clip *c, ptqc_ctx *ctx, const float *h)
{
    size_t n = (size_t)pq_rows_group(c->weights);
    int64_t most = CHUNK_ELEMENTS / (CANDIDATES * (int64_t)n) + 1;
    ptqc_status st = PTQC_E_RESOURCE;
    c->rows_max = most < c->weights->channels ? most : c->weights->channels;
    size_t count = (size_t)c->rows_max * CANDIDATES;
    c->own = pq_alloc_array(ctx, n, n * sizeof *c->own);
    c->e = pq_alloc_array(ctx, count, n * sizeof *c->e);
    c->products = pq_alloc_array(ctx, count, n * sizeof *c->products);
    if (c->own != NULL && c->e != NULL && c->products != NULL) {
        st = search_groups(c, ctx, h);
    }
    pq_free(ctx, c->own);
    pq_free(ctx, c->e);
    pq_free(ctx, c->products);
    return st;
}

ptqc_status
pq_clip_search(ptqc_ctx *ctx, const pq_weights *ws, const float *h,
               uint8_t *out_steps)
{
    pq_clip c = {.weights = ws, .steps = out_steps};
    PQ_TRY(pq_rows_check(ctx, "clip search", &ws->scheme));
    return ws->scheme.granularity == PQ_GRAN_TENSOR
               ? PQ_FAIL(ctx, PTQC_E_UNSUPPORTED,
                         "clip search needs a scale per channel or group")
               : find_steps(&c, ctx, h);
}

// ---- whole rows -----------------------------------------------------------

typedef struct pq_clip_rows {
    const pq_weights *weights;
    const uint8_t *steps; // [rows][groups]
    bool is_clipped;
    int64_t first;   // row of the chunk
    float *h;        // owned: [d][d] both triangles
    float *e;        // owned: [rows of a chunk][d]
    float *products; // owned: the same
    double *losses;  // owned: [2][rows of a chunk] without and with clipping
} pq_clip_rows;

static void
round_rows(void *user, uint64_t begin, uint64_t end, uint32_t worker)
{
    const pq_clip_rows *c = user;
    const pq_weights *ws = c->weights;
    int64_t d = ws->inner;
    int64_t groups = pq_rows_group_count(ws);
    int64_t size = pq_rows_group(ws);
    (void)worker;
    for (int64_t r = (int64_t)begin; r < (int64_t)end; r++) {
        const uint8_t *steps = c->steps + (c->first + r) * groups;
        for (int64_t i = 0; i < groups; i++) {
            int64_t at = i * size;
            const pq_share share =
                share_of(ws, c->first + r, at, d - at < size ? d - at : size);
            pq_params p = params_of(&share, ws, c->is_clipped ? steps[i] : 0);
            pq_share_residues(&share, &ws->scheme, p, c->e + r * d + at);
        }
        memset(c->products + r * d, 0, (size_t)d * sizeof *c->products);
    }
}

static ptqc_status
row_losses(pq_clip_rows *c, ptqc_ctx *ctx, int64_t rows, double *out)
{
    int64_t d = c->weights->inner;
    struct pq_pool *pool = pq_ctx_pool(ctx);
    PQ_TRY_ALLOC(pool);
    const pq_gemm product = {.m = rows,
                             .n = d,
                             .k = d,
                             .a = {c->e, d, 1},
                             .b = {c->h, d, 1},
                             .c = c->products,
                             .c_ld = d};
    pq_pool_for(pool, (uint64_t)rows, 4, round_rows, c);
    PQ_TRY(pq_gemm_run(ctx, &product));
    for (int64_t r = 0; r < rows; r++) {
        out[r] = pq_dot(c->e + r * d, c->products + r * d, d);
    }
    return PTQC_OK;
}

static ptqc_status
judge_rows(pq_clip_rows *c, ptqc_ctx *ctx, int64_t step, uint8_t *steps,
           pq_clip_report *report)
{
    int64_t rows = c->weights->channels;
    int64_t groups = pq_rows_group_count(c->weights);
    for (c->first = 0; c->first < rows; c->first += step) {
        int64_t n = rows - c->first < step ? rows - c->first : step;
        for (int i = 0; i < 2; i++) {
            c->is_clipped = i == 1;
            PQ_TRY(row_losses(c, ctx, n, c->losses + i * step));
        }
        for (int64_t r = 0; r < n; r++) {
            double without = c->losses[r];
            double with = c->losses[step + r];
            bool is_better = with < without; // NaN is no improvement
            if (!is_better) {
                memset(steps + (c->first + r) * groups, 0, (size_t)groups);
            }
            report->loss_before += without;
            report->loss += is_better ? with : without;
        }
    }
    return PTQC_OK;
}

ptqc_status
pq_clip_judge(ptqc_ctx *ctx, const pq_weights *ws, const float *h,
              uint8_t *steps, pq_clip_report *out)
{
    pq_clip_rows c = {.weights = ws, .steps = steps};
    int64_t step = CHUNK_ELEMENTS / ws->inner + 1;
    size_t d = (size_t)ws->inner;
    size_t count;
    int64_t scales = pq_weights_scale_count(ws);
    *out = (pq_clip_report){0};
    ptqc_status st = PTQC_E_RESOURCE;
    step = step < ws->channels ? step : ws->channels;
    count = (size_t)step * d;
    c.h = pq_alloc_array(ctx, d, d * sizeof *c.h);
    c.e = pq_alloc_array(ctx, count, sizeof *c.e);
    c.products = pq_alloc_array(ctx, count, sizeof *c.products);
    c.losses = pq_alloc_array(ctx, (size_t)step, 2 * sizeof *c.losses);
    if (c.h != NULL && c.e != NULL && c.products != NULL && c.losses != NULL) {
        memcpy(c.h, h, d * d * sizeof *c.h);
        pq_gram_mirror(c.h, ws->inner);
        st = judge_rows(&c, ctx, step, steps, out);
    }
    pq_free(ctx, c.h);
    pq_free(ctx, c.e);
    pq_free(ctx, c.products);
    pq_free(ctx, c.losses);
    for (int64_t i = 0; i < scales; i++) {
        out->clipped_count += steps[i] != 0;
    }
    return st;
}

// ---- scales ---------------------------------------------------------------

void
pq_clip_params(const pq_weights *ws, const uint8_t *steps, float *out_scales,
               int32_t *out_zero_points)
{
    int64_t groups = pq_rows_group_count(ws);
    int64_t size = pq_rows_group(ws);
    for (int64_t i = 0; i < ws->channels * groups; i++) {
        int64_t first = i % groups * size;
        int64_t left = ws->inner - first;
        const pq_share share =
            share_of(ws, i / groups, first, left < size ? left : size);
        pq_params p = params_of(&share, ws, steps[i]);
        out_scales[i] = p.scale;
        out_zero_points[i] = p.zero_point;
    }
}
