// SPDX-License-Identifier: Apache-2.0
//
// Ranges that clip, by the error of the outputs (AWQ's clip search), see
// awq.h. The part of the outputs that a group makes is e_g x_g, its squared
// error e_g h_gg e_g'; group by group, all rows at once.

#include <math.h>

#include "base/threads.h"
#include "quant/awq.h"
#include "quant/linalg/gemm.h"
#include "quant/rows.h"
#include "quant/share.h"

#define CANDIDATES  10 // ranges times 1, .95, ... .55, as AWQ has them
#define SHRINK_STEP .05f

typedef struct pq_clip {
    const pq_weights *weights;
    int64_t first, n;  // columns of the group
    int64_t group;     // its number
    float shrink;      // being tried
    float *own;        // owned: [n][n] h of the group, both triangles
    float *e;          // owned: [rows][n]
    float *products;   // owned: [rows][n] e h
    uint8_t *codes;    // owned: [rows][n]
    pq_params *params; // owned: [rows] being tried
    double *least;     // owned: [rows] smallest error so far
    float *scales;     // results
    int32_t *zero_points;
} pq_clip;

static void
try_rows(void *user, uint64_t begin, uint64_t end, uint32_t worker)
{
    const pq_clip *c = user;
    const pq_weights *ws = c->weights;
    (void)worker;
    for (int64_t r = (int64_t)begin; r < (int64_t)end; r++) {
        pq_share share = {.w = ws->w + r * ws->inner + c->first,
                          .runs = 1,
                          .length = c->n,
                          .importance = ws->importance != NULL
                                            ? ws->importance + c->first
                                            : NULL};
        pq_params p = pq_share_params_shrunk(&share, &ws->scheme, c->shrink);
        uint8_t *codes = c->codes + r * c->n;
        float *e = c->e + r * c->n;
        pq_share_encode(&share, &ws->scheme, p, codes);
        pq_share_decode(&ws->scheme, p, codes, c->n, e);
        for (int64_t j = 0; j < c->n; j++) {
            e[j] = share.w[j] - e[j];
            c->products[r * c->n + j] = 0;
        }
        c->params[r] = p;
    }
}

static void
take_better(void *user, uint64_t begin, uint64_t end, uint32_t worker)
{
    const pq_clip *c = user;
    int64_t groups = pq_rows_group_count(c->weights);
    (void)worker;
    for (int64_t r = (int64_t)begin; r < (int64_t)end; r++) {
        double loss = pq_dot(c->e + r * c->n, c->products + r * c->n, c->n);
        if (c->shrink == 1.0f || loss < c->least[r]) { // the first, exactly
            c->least[r] = loss;
            c->scales[r * groups + c->group] = c->params[r].scale;
            c->zero_points[r * groups + c->group] = c->params[r].zero_point;
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
search_group(pq_clip *c, ptqc_ctx *ctx, const float *h)
{
    uint64_t rows = (uint64_t)c->weights->channels;
    pq_gemm_space space;
    pq_gemm product = {.m = c->weights->channels,
                       .n = c->n,
                       .k = c->n,
                       .a = {c->e, c->n, 1},
                       .b = {c->own, c->n, 1},
                       .c = c->products,
                       .c_ld = c->n};
    ptqc_status st =
        pq_gemm_space_init(&space, ctx, NULL, product.m, product.n);
    copy_own(c, h);
    for (int i = 0; st == PTQC_OK && i < CANDIDATES; i++) {
        c->shrink = 1.0f - SHRINK_STEP * (float)i;
        pq_pool_for(space.pool, rows, 4, try_rows, c);
        pq_gemm_compute(&space, &product);
        pq_pool_for(space.pool, rows, 16, take_better, c);
        st = pq_check_cancelled(ctx);
    }
    pq_gemm_space_deinit(&space);
    return st;
}

static ptqc_status
search_groups(pq_clip *c, ptqc_ctx *ctx, const float *h)
{
    int64_t d = c->weights->inner;
    int64_t step = pq_rows_group(c->weights);
    for (c->first = 0; c->first < d; c->first += step) {
        c->n = d - c->first < step ? d - c->first : step;
        PQ_TRY(search_group(c, ctx, h));
        c->group++;
    }
    return PTQC_OK;
}

ptqc_status
pq_clip_search(ptqc_ctx *ctx, const pq_weights *ws, const float *h,
               float *out_scales, int32_t *out_zero_points)
{
    pq_clip c = {
        .weights = ws, .scales = out_scales, .zero_points = out_zero_points};
    size_t rows = (size_t)ws->channels;
    size_t n = (size_t)pq_rows_group(ws);
    ptqc_status st = PTQC_E_RESOURCE;
    PQ_TRY(pq_rows_check(ctx, "clip search", &ws->scheme));
    if (ws->scheme.granularity == PQ_GRAN_TENSOR) {
        return PQ_FAIL(ctx, PTQC_E_UNSUPPORTED,
                       "clip search needs a scale per channel or group");
    }
    c.own = pq_alloc_array(ctx, n, n * sizeof *c.own);
    c.e = pq_alloc_array(ctx, rows, n * sizeof *c.e);
    c.products = pq_alloc_array(ctx, rows, n * sizeof *c.products);
    c.codes = pq_alloc_array(ctx, rows, n);
    c.params = pq_alloc_array(ctx, rows, sizeof *c.params);
    c.least = pq_alloc_array(ctx, rows, sizeof *c.least);
    if (c.own != NULL && c.e != NULL && c.products != NULL && c.codes != NULL &&
        c.params != NULL && c.least != NULL) {
        st = search_groups(&c, ctx, h);
    }
    pq_free(ctx, c.own);
    pq_free(ctx, c.e);
    pq_free(ctx, c.products);
    pq_free(ctx, c.codes);
    pq_free(ctx, c.params);
    pq_free(ctx, c.least);
    return st;
}
