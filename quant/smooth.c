// SPDX-License-Identifier: Apache-2.0
//
// SmoothQuant, see smooth.h. Both maxima and s are at least 1e-5, as in the
// reference; inputs or weights that are always 0 keep s = 1.

#include "quant/smooth.h"

#include <math.h>
#include <string.h>

#include "base/mathfn.h"
#include "base/threads.h"
#include "quant/rows.h"
#include "quant/scales.h"

#define LEAST 1e-5f
#define STEPS 10 // alphas .1, .2, ... 1

// ---- scales ---------------------------------------------------------------

// out [d]: largest |w| of each column over all consumers.
static void
column_absmax(const pq_smooth_desc *desc, float *out)
{
    memset(out, 0, (size_t)desc->d * sizeof *out);
    for (size_t i = 0; i < desc->consumer_count; i++) {
        const pq_consumer *c = &desc->consumers[i];
        for (int64_t r = 0; r < c->rows; r++) {
            const float *w = c->w + r * desc->d;
            for (int64_t j = 0; j < desc->d; j++) {
                float a = fabsf(w[j]);
                out[j] = a > out[j] && isfinite(a) ? a : out[j];
            }
        }
    }
}

// Largest |x| and |w| of each input, tied ones equal.
typedef struct pq_smooth_maxima {
    float *x, *w; // owned: [d]
} pq_smooth_maxima;

static void
maxima_deinit(pq_smooth_maxima *m, ptqc_ctx *ctx)
{
    pq_free(ctx, m->x);
    pq_free(ctx, m->w);
}

static ptqc_status
maxima_init(pq_smooth_maxima *m, ptqc_ctx *ctx, const pq_smooth_desc *desc)
{
    size_t d = (size_t)desc->d;
    PQ_TRY(pq_tie_check(ctx, &desc->tie, desc->d));
    m->x = pq_alloc_array(ctx, d, sizeof *m->x);
    PQ_TRY_ALLOC(m->x);
    m->w = pq_alloc_array(ctx, d, sizeof *m->w);
    PQ_TRY_ALLOC(m->w);
    for (size_t j = 0; j < d; j++) {
        float x = fabsf(desc->x_absmax[j]);
        m->x[j] = isfinite(x) ? x : 0;
    }
    column_absmax(desc, m->w);
    pq_tie_magnitudes(&desc->tie, desc->d, m->x);
    pq_tie_magnitudes(&desc->tie, desc->d, m->w);
    return PTQC_OK;
}

static void
scales_of(const pq_smooth_maxima *m, int64_t d, float alpha, float *out_s)
{
    for (int64_t j = 0; j < d; j++) {
        float x = fmaxf(m->x[j], LEAST);
        float w = fmaxf(m->w[j], LEAST);
        float s = pq_powf(x, alpha) / pq_powf(w, 1 - alpha);
        bool is_live = m->x[j] > 0 && m->w[j] > 0;
        out_s[j] = is_live ? fmaxf(s, LEAST) : 1;
    }
}

ptqc_status
pq_smooth_scales(ptqc_ctx *ctx, const pq_smooth_desc *desc, float *out_s)
{
    pq_smooth_maxima m = {0};
    ptqc_status st = maxima_init(&m, ctx, desc);
    if (st == PTQC_OK) {
        scales_of(&m, desc->d, desc->alpha, out_s);
    }
    maxima_deinit(&m, ctx);
    return st;
}

// ---- search ---------------------------------------------------------------

typedef struct pq_smooth_search_job {
    ptqc_ctx *ctx;
    const pq_smooth_search_desc *desc;
    const pq_smooth_maxima *maxima;
    float *s;       // owned: [d] being tried
    float *x;       // owned: [n][d] what the codes of x / s stand for, times s
    float *w;       // owned: [rows][d] the same of w s, over s
    float *y;       // owned: [n][rows] outputs minus those of x and w
    uint8_t *codes; // owned: [rows][d]
    float *scales;  // owned
    int32_t *zero_points;
    int64_t rows;      // of the largest consumer
    const float *from; // rows that are scaled
} pq_smooth_search_job;

// One scale for all inputs after smoothing; 0: per token.
static float
tensor_scale(const pq_smooth_search_job *job)
{
    float largest = 0;
    int64_t d = job->desc->smooth.d;
    for (int64_t j = 0; j < d && !job->desc->is_per_token; j++) {
        largest = fmaxf(largest, job->maxima->x[j] / job->s[j]);
    }
    return largest / 127;
}

// As dynamic_quantize does (docs/numerics.md section 6), or with one scale.
static void
round_tokens(const pq_smooth_search_job *job)
{
    int64_t d = job->desc->smooth.d;
    float all = tensor_scale(job);
    for (int64_t t = 0; t < job->desc->n; t++) {
        const float *from = job->desc->x + t * d;
        float *x = job->x + t * d;
        float largest = 0;
        for (int64_t j = 0; j < d; j++) {
            x[j] = from[j] / job->s[j];
            largest = fmaxf(largest, fabsf(x[j]));
        }
        float scale = job->desc->is_per_token ? largest / 127 : all;
        float inverse = scale > 0 ? 1 / scale : 0;
        for (int64_t j = 0; j < d; j++) {
            float q = (float)pq_round_code(x[j] * inverse, -127, 127);
            x[j] = q * scale * job->s[j];
        }
    }
}

static void
scale_rows(void *user, uint64_t begin, uint64_t end, uint32_t worker)
{
    const pq_smooth_search_job *job = user;
    int64_t d = job->desc->smooth.d;
    (void)worker;
    for (int64_t i = (int64_t)begin * d; i < (int64_t)end * d; i++) {
        job->w[i] = job->from[i] * job->s[i % d];
    }
}

static void
unscale_rows(void *user, uint64_t begin, uint64_t end, uint32_t worker)
{
    const pq_smooth_search_job *job = user;
    int64_t d = job->desc->smooth.d;
    (void)worker;
    for (int64_t i = (int64_t)begin * d; i < (int64_t)end * d; i++) {
        // w holds w s - numbers.
        job->w[i] = job->from[i] - job->w[i] / job->s[i % d];
    }
}

static ptqc_status
round_weights(pq_smooth_search_job *job, const pq_consumer *c)
{
    const pq_scheme *scheme = &job->desc->weights;
    struct pq_pool *pool = pq_ctx_pool(job->ctx);
    PQ_TRY_ALLOC(pool);
    pq_weights ws = pq_rows_view(job->w, c->rows, job->desc->smooth.d, scheme);
    job->from = c->w;
    pq_pool_for(pool, (uint64_t)c->rows, 4, scale_rows, job);
    PQ_TRY(pq_rows_choose(job->ctx, &ws, job->scales, job->zero_points));
    PQ_TRY(pq_rows_encode(job->ctx, &ws, job->scales, job->zero_points,
                          job->codes));
    PQ_TRY(pq_rows_error(job->ctx, &ws, job->scales, job->zero_points,
                         job->codes, job->w));
    pq_pool_for(pool, (uint64_t)c->rows, 4, unscale_rows, job);
    return PTQC_OK;
}

static ptqc_status
loss_of(pq_smooth_search_job *job, const pq_consumer *c, double *out_loss)
{
    int64_t d = job->desc->smooth.d;
    int64_t n = job->desc->n;
    PQ_TRY(round_weights(job, c));
    memset(job->y, 0, (size_t)(n * c->rows) * sizeof *job->y);
    pq_gemm exact = {.m = n,
                     .n = c->rows,
                     .k = d,
                     .a = {job->desc->x, d, 1},
                     .b = {c->w, 1, d},
                     .c = job->y,
                     .c_ld = c->rows};
    pq_gemm rounded = exact;
    rounded.a.p = job->x;
    rounded.b.p = job->w;
    rounded.is_subtracted = true;
    PQ_TRY(pq_gemm_run(job->ctx, &exact));
    PQ_TRY(pq_gemm_run(job->ctx, &rounded));
    *out_loss = pq_dot(job->y, job->y, n * c->rows);
    return PTQC_OK;
}

static ptqc_status
loss_of_all(pq_smooth_search_job *job, double *out_loss)
{
    const pq_smooth_desc *desc = &job->desc->smooth;
    *out_loss = 0;
    round_tokens(job);
    for (size_t i = 0; i < desc->consumer_count; i++) {
        double loss;
        PQ_TRY(loss_of(job, &desc->consumers[i], &loss));
        *out_loss += loss;
    }
    return PTQC_OK;
}

static ptqc_status
search(pq_smooth_search_job *job, float *out_s, pq_smooth_report *report)
{
    int64_t d = job->desc->smooth.d;
    for (int i = 0; i <= STEPS; i++) { // 0: no smoothing
        float alpha = (float)i / STEPS;
        double loss;
        scales_of(job->maxima, d, alpha, job->s);
        for (int64_t j = 0; j < d && i == 0; j++) {
            job->s[j] = 1;
        }
        PQ_TRY(loss_of_all(job, &loss));
        if (i == 0) {
            report->identity_loss = loss;
        }
        if (i == 0 || loss < report->loss) {
            report->loss = loss;
            report->alpha = i == 0 ? -1 : alpha;
            memcpy(out_s, job->s, (size_t)d * sizeof *out_s);
        }
    }
    return PTQC_OK;
}

static ptqc_status
allocate(pq_smooth_search_job *job)
{
    ptqc_ctx *ctx = job->ctx;
    const pq_smooth_desc *desc = &job->desc->smooth;
    size_t d = (size_t)desc->d;
    for (size_t i = 0; i < desc->consumer_count; i++) {
        int64_t rows = desc->consumers[i].rows;
        job->rows = rows > job->rows ? rows : job->rows;
    }
    pq_weights ws = pq_rows_view(NULL, job->rows, desc->d, &job->desc->weights);
    size_t scales = (size_t)pq_weights_scale_count(&ws);
    size_t rows = (size_t)job->rows;
    size_t n = (size_t)job->desc->n;
    job->s = pq_alloc_array(ctx, d, sizeof *job->s);
    PQ_TRY_ALLOC(job->s);
    job->x = pq_alloc_array(ctx, n, d * sizeof *job->x);
    PQ_TRY_ALLOC(job->x);
    job->w = pq_alloc_array(ctx, rows, d * sizeof *job->w);
    PQ_TRY_ALLOC(job->w);
    job->y = pq_alloc_array(ctx, n, rows * sizeof *job->y);
    PQ_TRY_ALLOC(job->y);
    job->codes = pq_alloc_array(ctx, rows, d);
    PQ_TRY_ALLOC(job->codes);
    job->scales = pq_alloc_array(ctx, scales, sizeof *job->scales);
    PQ_TRY_ALLOC(job->scales);
    job->zero_points = pq_alloc_array(ctx, scales, sizeof *job->zero_points);
    PQ_TRY_ALLOC(job->zero_points);
    return PTQC_OK;
}

ptqc_status
pq_smooth_search(ptqc_ctx *ctx, const pq_smooth_search_desc *desc, float *out_s,
                 pq_smooth_report *out_report)
{
    pq_smooth_maxima maxima = {0};
    pq_smooth_search_job job = {.ctx = ctx, .desc = desc, .maxima = &maxima};
    pq_smooth_report report = {0};
    PQ_TRY(pq_rows_check(ctx, "smoothquant", &desc->weights));
    ptqc_status st = maxima_init(&maxima, ctx, &desc->smooth);
    if (st == PTQC_OK) {
        st = allocate(&job);
    }
    if (st == PTQC_OK) {
        st = search(&job, out_s, &report);
    }
    if (st == PTQC_OK && out_report != NULL) {
        *out_report = report;
    }
    maxima_deinit(&maxima, ctx);
    pq_free(ctx, job.s);
    pq_free(ctx, job.x);
    pq_free(ctx, job.w);
    pq_free(ctx, job.y);
    pq_free(ctx, job.codes);
    pq_free(ctx, job.scales);
    pq_free(ctx, job.zero_points);
    return st;
}
