// SPDX-License-Identifier: Apache-2.0
//
// The search of AWQ's scales, see awq.h. The error of a consumer whose columns
// were scaled by s before rounding is that of its own inputs with e_j = w_j -
// q_j / s_j, so one Gram matrix serves all exponents.
//
// Deviations (algorithms 1.5, 1.7, 20): the magnitude of an input is its root
// mean square, which is on h's diagonal; a = 0 is the identity; 0 is always a
// code; inputs that are always 0 keep s = 1 and do not touch the others' mean.

#include "quant/awq.h"

#include <math.h>
#include <string.h>

#include "base/threads.h"
#include "quant/rows.h"
#include "quant/scales.h"

#define STEPS          20
#define CHUNK_ELEMENTS (INT64_C(1) << 26)

typedef struct pq_awq {
    ptqc_ctx *ctx;
    const pq_awq_desc *desc;
    float *magnitudes; // owned: [d] of the inputs, tied ones equal; 0: dead
    float *s;          // owned: [d] being tried
    float *roots;      // owned: [d] of h's diagonal, over the largest
    float *importance; // owned: [d] (roots / s)^2
} pq_awq;

// Rows of a consumer, scaled and rounded.
typedef struct pq_awq_rows {
    const pq_awq *awq;
    const float *w; // [rows][d]
    int64_t rows;
    float *scaled;  // owned: [rows][d] w s; then w - q / s
    uint8_t *codes; // owned: [rows][d]
    float *scales;  // owned
    int32_t *zero_points;
} pq_awq_rows;

static void
scale_rows(void *user, uint64_t begin, uint64_t end, uint32_t worker)
{
    const pq_awq_rows *job = user;
    int64_t d = job->awq->desc->d;
    (void)worker;
    for (int64_t r = (int64_t)begin; r < (int64_t)end; r++) {
        for (int64_t j = 0; j < d; j++) {
            job->scaled[r * d + j] = job->w[r * d + j] * job->awq->s[j];
        }
    }
}

// e = (w s - q) / s
static void
unscale_rows(void *user, uint64_t begin, uint64_t end, uint32_t worker)
{
    const pq_awq_rows *job = user;
    int64_t d = job->awq->desc->d;
    (void)worker;
    for (int64_t r = (int64_t)begin; r < (int64_t)end; r++) {
        for (int64_t j = 0; j < d; j++) {
            job->scaled[r * d + j] /= job->awq->s[j];
        }
    }
}

static ptqc_status
round_rows(const pq_awq_rows *job, double *out_loss)
{
    const pq_awq *a = job->awq;
    ptqc_ctx *ctx = a->ctx;
    pq_awq_rows copy = *job;
    struct pq_pool *pool = pq_ctx_pool(ctx);
    PQ_TRY_ALLOC(pool);
    pq_weights ws =
        pq_rows_view(job->scaled, job->rows, a->desc->d, &a->desc->scheme);
    ws.search = a->desc->search;
    ws.importance = a->importance;
    pq_pool_for(pool, (uint64_t)job->rows, 4, scale_rows, &copy);
    PQ_TRY(pq_rows_choose(ctx, &ws, job->scales, job->zero_points));
    PQ_TRY(pq_rows_encode(ctx, &ws, job->scales, job->zero_points, job->codes));
    PQ_TRY(pq_rows_error(ctx, &ws, job->scales, job->zero_points, job->codes,
                         job->scaled));
    pq_pool_for(pool, (uint64_t)job->rows, 4, unscale_rows, &copy);
    return pq_quadratic_loss(ctx, job->scaled, job->rows, a->desc->h,
                             a->desc->d, out_loss);
}

static ptqc_status
loss_of_rows(const pq_awq *a, const float *w, int64_t rows, double *out_loss)
{
    pq_awq_rows job = {.awq = a, .w = w, .rows = rows};
    pq_weights ws = pq_rows_view(w, rows, a->desc->d, &a->desc->scheme);
    size_t scales = (size_t)pq_weights_scale_count(&ws);
    size_t count = (size_t)(rows * a->desc->d);
    ptqc_status st = PTQC_E_RESOURCE;
    job.scaled = pq_alloc_array(a->ctx, count, sizeof *job.scaled);
    job.codes = pq_alloc_array(a->ctx, count, sizeof *job.codes);
    job.scales = pq_alloc_array(a->ctx, scales, sizeof *job.scales);
    job.zero_points = pq_alloc_array(a->ctx, scales, sizeof *job.zero_points);
    if (job.scaled != NULL && job.codes != NULL && job.scales != NULL &&
        job.zero_points != NULL) {
        st = round_rows(&job, out_loss);
    }
    pq_free(a->ctx, job.scaled);
    pq_free(a->ctx, job.codes);
    pq_free(a->ctx, job.scales);
    pq_free(a->ctx, job.zero_points);
    return st;
}

// Sum over all consumers, with the scales in a->s.
static ptqc_status
loss_of_all(const pq_awq *a, double *out_loss)
{
    const pq_awq_desc *desc = a->desc;
    int64_t chunk = CHUNK_ELEMENTS / desc->d + 1;
    *out_loss = 0;
    for (int64_t j = 0; j < desc->d; j++) {
        float root = a->roots[j] / a->s[j];
        a->importance[j] = root * root;
    }
    for (size_t i = 0; i < desc->consumer_count; i++) {
        const pq_consumer *c = &desc->consumers[i];
        // One scale for all needs all rows.
        int64_t step =
            desc->scheme.granularity == PQ_GRAN_TENSOR ? c->rows : chunk;
        for (int64_t r = 0; r < c->rows; r += step) {
            int64_t rows = c->rows - r < step ? c->rows - r : step;
            double loss;
            PQ_TRY(loss_of_rows(a, c->w + r * desc->d, rows, &loss));
            *out_loss += loss;
        }
    }
    return PTQC_OK;
}

static ptqc_status
search(pq_awq *a, float *out_s, pq_awq_report *report)
{
    int64_t d = a->desc->d;
    uint32_t steps = a->desc->steps > 0 ? a->desc->steps : STEPS;
    float largest = 0;
    for (int64_t j = 0; j < d; j++) {
        // Rows of h that are not finite tell nothing.
        float diagonal = a->desc->h[j * d + j];
        bool is_live = diagonal > 0 && isfinite(diagonal);
        a->magnitudes[j] = is_live ? sqrtf(diagonal) : 0;
        largest = fmaxf(largest, a->magnitudes[j]);
    }
    for (int64_t j = 0; j < d; j++) { // squares of these are moderate
        a->roots[j] = largest > 0 ? a->magnitudes[j] / largest : 0;
    }
    pq_tie_magnitudes(&a->desc->tie, d, a->magnitudes);
    for (uint32_t i = 0; i <= steps; i++) {
        float exponent = (float)i / (float)steps;
        double loss;
        pq_scales_of_magnitudes(a->magnitudes, d, exponent, a->s);
        PQ_TRY(loss_of_all(a, &loss));
        if (i == 0) {
            report->identity_loss = loss;
        }
        if (i == 0 || loss < report->loss) { // NaN is no improvement
            report->loss = loss;
            report->exponent = exponent;
            memcpy(out_s, a->s, (size_t)d * sizeof *out_s);
        }
    }
    return PTQC_OK;
}

ptqc_status
pq_awq_search(ptqc_ctx *ctx, const pq_awq_desc *desc, float *out_s,
              pq_awq_report *out_report)
{
    pq_awq a = {.ctx = ctx, .desc = desc};
    pq_awq_report report = {0};
    size_t d = (size_t)desc->d;
    ptqc_status st = PTQC_E_RESOURCE;
    PQ_TRY(pq_rows_check(ctx, "awq", &desc->scheme));
    PQ_TRY(pq_tie_check(ctx, &desc->tie, desc->d));
    a.magnitudes = pq_alloc_array(ctx, d, sizeof *a.magnitudes);
    a.s = pq_alloc_array(ctx, d, sizeof *a.s);
    a.roots = pq_alloc_array(ctx, d, sizeof *a.roots);
    a.importance = pq_alloc_array(ctx, d, sizeof *a.importance);
    if (a.magnitudes != NULL && a.s != NULL && a.roots != NULL &&
        a.importance != NULL) {
        st = search(&a, out_s, &report);
    }
    if (st == PTQC_OK && out_report != NULL) {
        *out_report = report;
    }
    pq_free(ctx, a.magnitudes);
    pq_free(ctx, a.s);
    pq_free(ctx, a.roots);
    pq_free(ctx, a.importance);
    return st;
}
