// SPDX-License-Identifier: Apache-2.0
//
// tr(e h e'), see linalg.h. With h = l + l' (l: the lower triangle, half of the
// diagonal in it) it is 2 sum e_i (e l')_i: half of the products.

#include <string.h>

#include "base/threads.h"
#include "quant/linalg.h"
#include "quant/linalg/micro.h"

#define PANEL PQ_GEMM_BLOCK // columns of e l' at a time

typedef struct pq_loss {
    ptqc_ctx *ctx;
    const float *e, *h;
    int64_t rows, d;
    float *products;  // owned: [rows][PANEL] of e l'
    float *diagonal;  // owned: [PANEL][PANEL] l' of the panel
    double *sums;     // owned: [rows]
    int64_t first, n; // of the panel
} pq_loss;

double
pq_dot(const float *a, const float *b, int64_t n)
{
    return pq_micro_best()->dot(a, b, n);
}

static void
copy_diagonal(pq_loss *s)
{
    const float *h = s->h + s->first * s->d + s->first;
    for (int64_t i = 0; i < s->n; i++) {
        for (int64_t j = 0; j < s->n; j++) {
            s->diagonal[j * PANEL + i] = j > i ? 0 : h[i * s->d + j];
        }
        s->diagonal[i * PANEL + i] *= 0.5f;
    }
}

static void
add_rows(void *user, uint64_t begin, uint64_t end, uint32_t worker)
{
    pq_loss *s = user;
    (void)worker;
    for (uint64_t r = begin; r < end; r++) {
        float *product = s->products + r * PANEL;
        const float *e = s->e + (int64_t)r * s->d + s->first;
        s->sums[r] += pq_dot(product, e, s->n);
        memset(product, 0, (size_t)s->n * sizeof *product);
    }
}

static ptqc_status
add_panel(pq_loss *s)
{
    pq_gemm left = {.m = s->rows,
                    .n = s->n,
                    .k = s->first,
                    .a = {s->e, s->d, 1},
                    .b = {s->h + s->first * s->d, 1, s->d},
                    .c = s->products,
                    .c_ld = PANEL};
    pq_gemm own = left;
    own.k = s->n;
    own.a.p = s->e + s->first;
    own.b = (pq_matrix){s->diagonal, PANEL, 1};
    copy_diagonal(s);
    PQ_TRY(pq_gemm_run(s->ctx, &left));
    PQ_TRY(pq_gemm_run(s->ctx, &own));
    struct pq_pool *pool = pq_ctx_pool(s->ctx);
    PQ_TRY_ALLOC(pool);
    pq_pool_for(pool, (uint64_t)s->rows, 16, add_rows, s);
    return PTQC_OK;
}

static ptqc_status
sum_panels(pq_loss *s, double *out_loss)
{
    for (s->first = 0; s->first < s->d; s->first += PANEL) {
        s->n = s->d - s->first < PANEL ? s->d - s->first : PANEL;
        PQ_TRY(add_panel(s));
    }
    double sum = 0;
    for (int64_t r = 0; r < s->rows; r++) {
        sum += s->sums[r];
    }
    *out_loss = 2 * sum;
    return PTQC_OK;
}

ptqc_status
pq_quadratic_loss(ptqc_ctx *ctx, const float *e, int64_t rows, const float *h,
                  int64_t d, double *out_loss)
{
    pq_loss s = {.ctx = ctx, .e = e, .h = h, .rows = rows, .d = d};
    ptqc_status st = PTQC_E_RESOURCE;
    s.products = pq_alloc_array(ctx, (size_t)rows, PANEL * sizeof *s.products);
    s.diagonal = pq_alloc_array(ctx, (size_t)PANEL * PANEL, sizeof *s.diagonal);
    s.sums = pq_alloc_array(ctx, (size_t)rows, sizeof *s.sums);
    if (s.products != NULL && s.diagonal != NULL && s.sums != NULL) {
        st = sum_panels(&s, out_loss);
    }
    pq_free(ctx, s.products);
    pq_free(ctx, s.diagonal);
    pq_free(ctx, s.sums);
    return st;
}
