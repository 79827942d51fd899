// SPDX-License-Identifier: Apache-2.0
//
// Least-squares scales for codes that are chosen, see polish.h. Groups in
// order, all rows at once: with e as it is then, the products e h of the
// group's columns and q h_gg of its own codes give the best change of the
// group's scale.

#include <math.h>
#include <stdatomic.h>
#include <string.h>

#include "base/threads.h"
#include "quant/linalg/gemm.h"
#include "quant/polish.h"
#include "quant/rows.h"
#include "quant/share.h"

typedef struct pq_fit {
    const pq_polish_desc *desc;
    const uint8_t *codes;
    float *scales;       // [rows][groups] changed
    pq_gemm_space space; // owned
    int64_t group;       // columns of a group at most
    int64_t groups;      // of a row
    int64_t first, n;    // columns of the group at hand
    int64_t index;       // its number
    float *e;            // owned: [rows][d]
    float *sums;         // owned: [rows][group] (e h) of the group
    float *q;            // owned: [rows][group] its codes' numbers at scale 1
    float *own;          // owned: [group][group] h + damping of the group
    float *products;     // owned: [rows][group] q h_gg
    atomic_llong moved;
} pq_fit;

static void
read_codes(void *user, uint64_t begin, uint64_t end, uint32_t worker)
{
    const pq_fit *f = user;
    (void)worker;
    for (int64_t r = (int64_t)begin; r < (int64_t)end; r++) {
        int32_t zero = f->desc->zero_points[r * f->groups + f->index];
        pq_share_decode(&f->desc->scheme, (pq_params){1.0f, zero},
                        f->codes + r * f->desc->d + f->first, f->n,
                        f->q + r * f->n);
    }
    int64_t count = (int64_t)(end - begin) * f->n;
    memset(f->sums + (int64_t)begin * f->n, 0, (size_t)count * sizeof *f->sums);
    memset(f->products + (int64_t)begin * f->n, 0,
           (size_t)count * sizeof *f->products);
}

static void
copy_own(const pq_fit *f)
{
    int64_t d = f->desc->d;
    const float *h = f->desc->h + f->first * d + f->first;
    for (int64_t i = 0; i < f->n; i++) {
        for (int64_t j = 0; j <= i; j++) {
            f->own[i * f->n + j] = h[i * d + j];
            f->own[j * f->n + i] = h[i * d + j];
        }
        f->own[i * f->n + i] += (float)f->desc->damping;
    }
}

static void
multiply(const pq_fit *f)
{
    int64_t d = f->desc->d;
    int64_t end = f->first + f->n;
    const float *h = f->desc->h;
    pq_gemm left = {.m = f->desc->rows,
                    .n = f->n,
                    .k = f->first,
                    .a = {f->e, d, 1},
                    .b = {h + f->first * d, 1, d},
                    .c = f->sums,
                    .c_ld = f->n};
    pq_gemm own = left;
    own.k = f->n;
    own.a.p = f->e + f->first;
    own.b = (pq_matrix){f->own, f->n, 1};
    pq_gemm right = left;
    right.k = d - end;
    right.a.p = f->e + end;
    right.b = (pq_matrix){h + (end < d ? end * d + f->first : 0), d, 1};
    pq_gemm codes = own;
    codes.a = (pq_matrix){f->q, f->n, 1};
    codes.c = f->products;
    pq_gemm_compute(&f->space, &left);
    pq_gemm_compute(&f->space, &own);
    pq_gemm_compute(&f->space, &right);
    pq_gemm_compute(&f->space, &codes);
}

// The change of the loss by a change x of the scale is x^2 q h q' - 2 x q h e'.
static bool
fit_row(const pq_fit *f, int64_t r)
{
    const float *q = f->q + r * f->n;
    float *scale = f->scales + r * f->groups + f->index;
    double slope = pq_dot(q, f->sums + r * f->n, f->n);
    double curve = pq_dot(q, f->products + r * f->n, f->n);
    float wanted = (float)((double)*scale + slope / curve);
    if (!(curve > 0) || !isfinite(wanted) || wanted == 0) { // exactly 0
        return false;
    }
    float stored = pq_share_stored_scale(&f->desc->scheme, wanted);
    double x = (double)stored - (double)*scale;
    // The sums are f32: less than that of a change is none.
    if (!(x * (x * curve - 2 * slope) < -1e-5 * x * x * curve)) {
        return false;
    }
    float *e = f->e + r * f->desc->d + f->first;
    const float *w = f->desc->w + r * f->desc->d + f->first;
    for (int64_t j = 0; j < f->n; j++) {
        e[j] = w[j] - q[j] * stored;
    }
    *scale = stored;
    return true;
}

static void
fit_rows(void *user, uint64_t begin, uint64_t end, uint32_t worker)
{
    pq_fit *f = user;
    int64_t moved = 0;
    (void)worker;
    for (int64_t r = (int64_t)begin; r < (int64_t)end; r++) {
        moved += fit_row(f, r);
    }
    atomic_fetch_add(&f->moved, moved);
}

static ptqc_status
fit_groups(pq_fit *f)
{
    uint64_t rows = (uint64_t)f->desc->rows;
    for (f->index = 0; f->index < f->groups; f->index++) {
        PQ_TRY(pq_check_cancelled(f->space.ctx));
        f->first = f->index * f->group;
        f->n =
            f->desc->d - f->first < f->group ? f->desc->d - f->first : f->group;
        pq_pool_for(f->space.pool, rows, 16, read_codes, f);
        copy_own(f);
        multiply(f);
        pq_pool_for(f->space.pool, rows, 16, fit_rows, f);
    }
    return PTQC_OK;
}

static ptqc_status
prepare(pq_fit *f, ptqc_ctx *ctx, const pq_weights *ws)
{
    size_t rows = (size_t)f->desc->rows;
    size_t group = (size_t)f->group;
    PQ_TRY(pq_gemm_space_init(&f->space, ctx, NULL, f->desc->rows, f->group));
    f->e = pq_alloc_array(ctx, rows, (size_t)f->desc->d * sizeof *f->e);
    PQ_TRY_ALLOC(f->e);
    f->sums = pq_alloc_array(ctx, rows, group * sizeof *f->sums);
    PQ_TRY_ALLOC(f->sums);
    f->q = pq_alloc_array(ctx, rows, group * sizeof *f->q);
    PQ_TRY_ALLOC(f->q);
    f->own = pq_alloc_array(ctx, group, group * sizeof *f->own);
    PQ_TRY_ALLOC(f->own);
    f->products = pq_alloc_array(ctx, rows, group * sizeof *f->products);
    PQ_TRY_ALLOC(f->products);
    return pq_rows_error(ctx, ws, f->scales, f->desc->zero_points, f->codes,
                         f->e);
}

ptqc_status
pq_polish_scales(ptqc_ctx *ctx, const pq_polish_desc *desc,
                 const uint8_t *codes, float *scales, int64_t *out_moved)
{
    pq_weights ws = pq_rows_view(desc->w, desc->rows, desc->d, &desc->scheme);
    pq_fit f = {.desc = desc,
                .codes = codes,
                .scales = scales,
                .space = {.ctx = ctx},
                .group = pq_rows_group(&ws),
                .groups = pq_rows_group_count(&ws)};
    PQ_TRY(pq_rows_check(ctx, "polish", &desc->scheme));
    if (desc->scheme.granularity == PQ_GRAN_TENSOR) {
        return PQ_FAIL(ctx, PTQC_E_UNSUPPORTED,
                       "one scale per tensor cannot be polished");
    }
    if (scales != desc->scales) {
        memcpy(scales, desc->scales,
               (size_t)pq_weights_scale_count(&ws) * sizeof *scales);
    }
    ptqc_status st = prepare(&f, ctx, &ws);
    if (st == PTQC_OK) {
        st = fit_groups(&f);
    }
    if (out_moved != NULL) {
        *out_moved = atomic_load(&f.moved);
    }
    pq_gemm_space_deinit(&f.space);
    pq_free(ctx, f.e);
    pq_free(ctx, f.sums);
    pq_free(ctx, f.q);
    pq_free(ctx, f.own);
    pq_free(ctx, f.products);
    return st;
}
