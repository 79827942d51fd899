// SPDX-License-Identifier: Apache-2.0
//
// Attention sinks, see sinks.h.

#include "passes/calib/sinks.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/vec.h"

// Norms of tokens lie within a factor of two or three of each other; those of
// sinks are some ten to some thousand times the median.
#define PQ_SINK_NORM 6.0f

void
pq_sinks_init(pq_sinks *s, ptqc_ctx *ctx, double factor)
{
    *s = (pq_sinks){.ctx = ctx, .factor = factor};
}

void
pq_sinks_deinit(pq_sinks *s)
{
    for (uint32_t i = 0; i < s->flag_capacity && s->ctx != NULL; i++) {
        pq_free(s->ctx, s->flags[i]);
    }
    if (s->ctx != NULL) {
        pq_free(s->ctx, s->flags);
        pq_free(s->ctx, s->lengths);
        pq_free(s->ctx, s->weights);
        pq_free(s->ctx, s->norms);
    }
    *s = (pq_sinks){0};
}

static ptqc_status
make_room(pq_sinks *s, uint64_t sample, int64_t n)
{
    void *flags = s->flags;
    void *lengths = s->lengths;
    PQ_TRY(pq_vec_reserve(s->ctx, &flags, &s->flag_capacity,
                          (size_t)sample + 1, sizeof *s->flags));
    s->flags = flags;
    PQ_TRY(pq_vec_reserve(s->ctx, &lengths, &s->length_capacity,
                          (size_t)sample + 1, sizeof *s->lengths));
    s->lengths = lengths;
    if (n > s->room) {
        s->room = 0;
        pq_free(s->ctx, s->weights);
        pq_free(s->ctx, s->norms);
        s->weights = pq_alloc_array(s->ctx, (size_t)n, sizeof *s->weights);
        s->norms = pq_alloc_array(s->ctx, (size_t)n * 2, sizeof *s->norms);
        PQ_TRY_ALLOC(s->weights);
        PQ_TRY_ALLOC(s->norms);
        s->room = n;
    }
    if (s->flags[sample] != NULL && s->lengths[sample] != n) {
        pq_free(s->ctx, s->flags[sample]);
        s->flags[sample] = NULL;
    }
    if (s->flags[sample] == NULL) {
        s->flags[sample] = pq_alloc(s->ctx, (size_t)n);
        PQ_TRY_ALLOC(s->flags[sample]);
        s->lengths[sample] = n;
    }
    return PTQC_OK;
}

static int
compare_floats(const void *a, const void *b)
{
    const float *x = a;
    const float *y = b;
    return (*x > *y) - (*x < *y);
}

static float
norm_of(const float *x, int64_t d)
{
    double sum = 0;
    for (int64_t i = 0; i < d; i++) {
        sum += (double)x[i] * (double)x[i];
    }
    return (float)sqrt(sum);
}

// norms [n] of the rows; -> the norm above which one stands out.
static float
find_norms(const float *x, int64_t n, int64_t d, float *norms, float *sorted)
{
    for (int64_t i = 0; i < n; i++) {
        norms[i] = norm_of(x + i * d, d);
        sorted[i] = isnan(norms[i]) ? 0 : norms[i];
    }
    qsort(sorted, (size_t)n, sizeof *sorted, compare_floats);
    return PQ_SINK_NORM * sorted[n / 2];
}

ptqc_status
pq_sinks_see(pq_sinks *s, uint64_t sample, const pq_tensor *t)
{
    int64_t d = t->rank > 0 ? t->dims[t->rank - 1] : 0;
    if (t->dtype != PTQC_F32 || t->rank < 2 || d < 1 || !(s->factor > 0)) {
        return PTQC_OK;
    }
    int64_t n = (int64_t)(t->bytes / sizeof(float)) / d;
    if (n < 1) {
        return PTQC_OK;
    }
    PQ_TRY(make_room(s, sample, n));
    float limit = find_norms(t->p, n, d, s->norms, s->norms + n);
    for (int64_t i = 0; i < n; i++) {
        if (s->norms[i] > limit && s->flags[sample][i] == 0) {
            s->flags[sample][i] = 1;
            s->count++;
        }
    }
    return PTQC_OK;
}

ptqc_status
pq_sinks_weights(pq_sinks *s, uint64_t sample, const float *x, int64_t n,
                 int64_t d, const float **out)
{
    *out = NULL;
    if (s->first_only) {
        pq_tensor t = {.rank=2,.dims={n,0}};
        (void)t;
        PQ_TRY(make_room(s, sample, n));
        s->flags[sample][0] = 1;
        s->count = s->count > 0 ? s->count : 1;
    }
    if (!(s->factor > 0) || s->count == 0 || sample >= s->flag_capacity ||
        s->flags[sample] == NULL || s->lengths[sample] != n) {
        return PTQC_OK;
    }
    float limit = find_norms(x, n, d, s->norms, s->norms + n);
    for (int64_t i = 0; i < n; i++) {
        bool is_sink = s->flags[sample][i] != 0;
        bool is_outlier = s->norms[i] > limit;
        s->weights[i] = is_sink ? (float)s->factor : 1;
        if (is_outlier && s->mode == 1) { s->weights[i] = 1; }
        if (is_outlier && s->mode == 2) { s->weights[i] = limit / s->norms[i] * (limit / s->norms[i]); }
        if (is_outlier && s->mode == 3) { s->weights[i] = s->weights[i] * limit / s->norms[i] * (limit / s->norms[i]); }
    }
    *out = s->weights;
    return PTQC_OK;
}
