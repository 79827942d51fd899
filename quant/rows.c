// SPDX-License-Identifier: Apache-2.0
//
// Quantization of weights by blocks of rows, see rows.h. Rows do not know of
// each other, so bytes do not depend on how they are shared out.

#include "quant/rows.h"

#include "base/narrow.h"
#include "base/threads.h"
#include "quant/format.h"
#include "quant/linalg.h"
#include "quant/share.h"

#define GRAIN 4 // rows at a time, at least

typedef struct pq_rows_job {
    const pq_weights *weights;
    float *scales;
    int32_t *zero_points;
    uint8_t *codes;
    float *e;
} pq_rows_job;

pq_weights
pq_rows_view(const float *w, int64_t rows, int64_t d, const pq_scheme *scheme)
{
    return (pq_weights){
        .w = w, .outer = 1, .channels = rows, .inner = d, .scheme = *scheme};
}

int64_t
pq_rows_group(const pq_weights *ws)
{
    int64_t group = (int64_t)ws->scheme.group;
    bool is_grouped = ws->scheme.granularity == PQ_GRAN_GROUP && group > 0;
    return is_grouped && group < ws->inner ? group : ws->inner;
}

int64_t
pq_rows_group_count(const pq_weights *ws)
{
    int64_t group = pq_rows_group(ws);
    return group > 0 ? (ws->inner + group - 1) / group : 1;
}

ptqc_status
pq_rows_check(ptqc_ctx *ctx, const char *name, const pq_scheme *scheme)
{
    const pq_format *f = pq_format_find(scheme->format, scheme->bits);
    bool is_shaped = scheme->granularity == PQ_GRAN_TENSOR ||
                     scheme->granularity == PQ_GRAN_CHANNEL ||
                     scheme->granularity == PQ_GRAN_GROUP;
    if (f == NULL || f->bits > 8 || !is_shaped) {
        return PQ_FAIL(ctx, PTQC_E_UNSUPPORTED,
                       "%s: codes can be chosen by their outputs' error when "
                       "they have 2 to 8 bits, with a scale per tensor, "
                       "channel or group",
                       name);
    }
    return PTQC_OK;
}

// Rows [begin, end) and where their scales begin.
static pq_weights
rows_of(const pq_weights *all, uint64_t begin, uint64_t end,
        int64_t *out_first_scale)
{
    pq_weights part = *all;
    part.w += (int64_t)begin * all->inner;
    part.channels = (int64_t)(end - begin);
    part.least_scale =
        all->least_scale != NULL ? all->least_scale + begin : NULL;
    *out_first_scale = all->scheme.granularity == PQ_GRAN_TENSOR
                           ? 0
                           : (int64_t)begin * pq_rows_group_count(all);
    return part;
}

static ptqc_status
for_rows(ptqc_ctx *ctx, pq_rows_job *job, pq_task_fn fn)
{
    struct pq_pool *pool = pq_ctx_pool(ctx);
    PQ_TRY_ALLOC(pool);
    PQ_TRY(pq_check_cancelled(ctx));
    pq_pool_for(pool, (uint64_t)job->weights->channels, GRAIN, fn, job);
    return PTQC_OK;
}

// ---- scales, codes, errors ------------------------------------------------

static void
choose_rows(void *user, uint64_t begin, uint64_t end, uint32_t worker)
{
    const pq_rows_job *job = user;
    int64_t first;
    pq_weights part = rows_of(job->weights, begin, end, &first);
    (void)worker;
    pq_choose_weight_params(&part, job->scales + first,
                            job->zero_points + first);
}

ptqc_status
pq_rows_choose(ptqc_ctx *ctx, const pq_weights *ws, float *out_scales,
               int32_t *out_zero_points)
{
    pq_rows_job job = {
        .weights = ws, .scales = out_scales, .zero_points = out_zero_points};
    if (ws->scheme.granularity == PQ_GRAN_TENSOR) {
        pq_choose_weight_params(ws, out_scales, out_zero_points);
        return PTQC_OK;
    }
    return for_rows(ctx, &job, choose_rows);
}

static void
encode_rows(void *user, uint64_t begin, uint64_t end, uint32_t worker)
{
    const pq_rows_job *job = user;
    int64_t first;
    pq_weights part = rows_of(job->weights, begin, end, &first);
    (void)worker;
    pq_encode_weights(&part, job->scales + first, job->zero_points + first,
                      job->codes + (int64_t)begin * part.inner);
}

// The arrays of a job that are only read, not const in it.
static pq_rows_job
reading_job(const pq_weights *ws, const float *scales,
            const int32_t *zero_points)
{
    return (pq_rows_job){.weights = ws,
                         .scales = (float *)(uintptr_t)scales,
                         .zero_points = (int32_t *)(uintptr_t)zero_points};
}

ptqc_status
pq_rows_encode(ptqc_ctx *ctx, const pq_weights *ws, const float *scales,
               const int32_t *zero_points, uint8_t *out_codes)
{
    pq_rows_job job = reading_job(ws, scales, zero_points);
    job.codes = out_codes;
    return for_rows(ctx, &job, encode_rows);
}

static void
error_of_share(const pq_weights *ws, const float *scale, const int32_t *zero,
               int64_t first, int64_t n, const uint8_t *codes, float *e)
{
    float numbers[256];
    for (int64_t i = 0; i < n; i += 256) {
        int64_t part = n - i < 256 ? n - i : 256;
        pq_share_decode(&ws->scheme, (pq_params){*scale, *zero},
                        codes + first + i, part, numbers);
        for (int64_t j = 0; j < part; j++) {
            e[first + i + j] = ws->w[first + i + j] - numbers[j];
        }
    }
}

static void
error_rows(void *user, uint64_t begin, uint64_t end, uint32_t worker)
{
    const pq_rows_job *job = user;
    const pq_weights *ws = job->weights;
    int64_t groups = pq_rows_group_count(ws);
    int64_t group = pq_rows_group(ws);
    bool is_one = ws->scheme.granularity == PQ_GRAN_TENSOR;
    (void)worker;
    for (int64_t r = (int64_t)begin; r < (int64_t)end; r++) {
        for (int64_t g = 0; g < groups; g++) {
            int64_t scale = is_one ? 0 : r * groups + g;
            int64_t left = ws->inner - g * group;
            error_of_share(ws, job->scales + scale, job->zero_points + scale,
                           r * ws->inner + g * group,
                           left < group ? left : group, job->codes, job->e);
        }
    }
}

ptqc_status
pq_rows_error(ptqc_ctx *ctx, const pq_weights *ws, const float *scales,
              const int32_t *zero_points, const uint8_t *codes, float *out_e)
{
    pq_rows_job job = reading_job(ws, scales, zero_points);
    job.codes = (uint8_t *)(uintptr_t)codes;
    job.e = out_e;
    return for_rows(ctx, &job, error_rows);
}

ptqc_status
pq_rows_loss(ptqc_ctx *ctx, const pq_weights *ws, const float *scales,
             const int32_t *zero_points, const uint8_t *codes, const float *h,
             double *out_loss)
{
    float *e = pq_alloc_array(ctx, (size_t)ws->channels,
                              (size_t)ws->inner * sizeof *e);
    PQ_TRY_ALLOC(e);
    ptqc_status st = pq_rows_error(ctx, ws, scales, zero_points, codes, e);
    if (st == PTQC_OK) {
        st = pq_quadratic_loss(ctx, e, ws->channels, h, ws->inner, out_loss);
    }
    pq_free(ctx, e);
    return st;
}

// ---- strips ---------------------------------------------------------------

ptqc_status
pq_strip_scales_init(pq_strip_scales *out, ptqc_ctx *ctx, const pq_weights *ws,
                     const float *scales, const int32_t *zero_points)
{
    int64_t groups = pq_rows_group_count(ws);
    bool is_one = ws->scheme.granularity == PQ_GRAN_TENSOR;
    int32_t min;
    int32_t max;
    pq_weight_code_range(&ws->scheme, &min, &max);
    *out = (pq_strip_scales){.padded = (ws->channels + PQ_LANES - 1) /
                                       PQ_LANES * PQ_LANES,
                             .group = pq_rows_group(ws),
                             .min = (float)min,
                             .max = (float)max,
                             .narrow = pq_narrow_of(ws->scheme.format)};
    size_t row_bytes = (size_t)out->padded * sizeof(float);
    out->scales = pq_alloc_array(ctx, (size_t)groups, row_bytes);
    PQ_TRY_ALLOC(out->scales);
    out->zeros = pq_alloc_array(ctx, (size_t)groups, row_bytes);
    PQ_TRY_ALLOC(out->zeros);
    for (int64_t r = 0; r < out->padded; r++) {
        for (int64_t g = 0; g < groups; g++) {
            bool is_there = r < ws->channels;
            int64_t from = is_one ? 0 : r * groups + g;
            int64_t to = g * out->padded + r;
            out->scales[to] = is_there ? scales[from] : 1;
            out->zeros[to] = is_there ? (float)zero_points[from] : 0;
        }
    }
    return PTQC_OK;
}

pq_rounding
pq_strip_rounding(const pq_strip_scales *s, int64_t row, int64_t column)
{
    int64_t at = column / s->group * s->padded + row;
    return (pq_rounding){.scales = s->scales + at,
                         .zeros = s->zeros + at,
                         .min = s->min,
                         .max = s->max,
                         .root = 1.0f,
                         .narrow = s->narrow};
}

void
pq_strip_scales_deinit(pq_strip_scales *s, ptqc_ctx *ctx)
{
    pq_free(ctx, s->scales);
    pq_free(ctx, s->zeros);
}
