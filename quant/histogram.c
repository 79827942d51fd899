// SPDX-License-Identifier: Apache-2.0
//
// Growing histogram, see histogram.h.

#include "quant/histogram.h"

#include <float.h>
#include <math.h>
#include <string.h>

#include "base/threads.h"

// Bins that the first numbers are spread over.
#define FIRST_BINS 2048
// Numbers that are worth a thread.
#define PQ_COUNT_GRAIN 65536

void
pq_histogram_init(pq_histogram *h, ptqc_ctx *ctx)
{
    *h = (pq_histogram){.ctx = ctx};
}

void
pq_histogram_deinit(pq_histogram *h)
{
    pq_free(h->ctx, h->bins);
    h->bins = NULL;
}

double
pq_histogram_middle(const pq_histogram *h, int64_t i)
{
    return ((double)(h->first + i) + 0.5) * (double)h->width;
}

// floor(x / width); the width is a power of two, so its inverse is exact.
// Truncation and a correction: floor is a call on machines without SSE4.1.
static inline int64_t
bin_at(double inverse, float x)
{
    double y = (double)x * inverse;
    int64_t i = (int64_t)y;
    return i - (y < (double)i);
}

static int64_t
bin_of(const pq_histogram *h, float x)
{
    return bin_at(1 / (double)h->width, x);
}

static ptqc_status
set_bins(pq_histogram *h, int64_t first, int64_t count)
{
    uint64_t *bins = pq_alloc_array(h->ctx, (size_t)count, sizeof *bins);
    PQ_TRY_ALLOC(bins);
    if (h->count > 0) {
        memcpy(bins + (h->first - first), h->bins,
               (size_t)h->count * sizeof *bins);
    }
    pq_free(h->ctx, h->bins);
    h->bins = bins;
    h->first = first;
    h->count = count;
    return PTQC_OK;
}

static ptqc_status
double_width(pq_histogram *h)
{
    // Arithmetic shifts round to minus infinity, as bin_of does.
    int64_t first = h->first >> 1;
    int64_t last = (h->first + h->count - 1) >> 1;
    int64_t count = h->count > 0 ? last - first + 1 : 0;
    uint64_t *bins = pq_alloc_array(h->ctx, (size_t)count, sizeof *bins);
    PQ_TRY_ALLOC(bins);
    for (int64_t i = 0; i < h->count; i++) {
        bins[((h->first + i) >> 1) - first] += h->bins[i];
    }
    pq_free(h->ctx, h->bins);
    h->bins = bins;
    h->first = first;
    h->count = count;
    h->width *= 2;
    return PTQC_OK;
}

static ptqc_status
grow(pq_histogram *h, float min, float max)
{
    if (h->width == 0) {
        int exponent;
        (void)frexp(((double)max - (double)min) / FIRST_BINS, &exponent);
        // Not below the smallest normal number.
        h->width = (float)ldexp(1, exponent < -125 ? -125 : exponent);
    }
    for (;;) {
        // Bins of wider ranges might not even be numbered in 64 bits.
        double span = ((double)max - (double)min) / (double)h->width;
        if (span > PQ_HISTOGRAM_BINS) {
            PQ_TRY(double_width(h));
            continue;
        }
        int64_t first = bin_of(h, min);
        int64_t end = bin_of(h, max) + 1;
        if (h->count > 0) {
            first = h->first < first ? h->first : first;
            end = h->first + h->count > end ? h->first + h->count : end;
        }
        if (end - first > PQ_HISTOGRAM_BINS) {
            PQ_TRY(double_width(h));
            continue;
        }
        return end - first > h->count ? set_bins(h, first, end - first)
                                      : PTQC_OK;
    }
}

// ---- counting -------------------------------------------------------------

// One worker's counts.
typedef struct pq_tally {
    uint64_t *bins; // [count]
    uint64_t zeros, others;
} pq_tally;

typedef struct pq_counting {
    const pq_histogram *h;
    const float *x;
    pq_tally *tallies; // [workers]
} pq_counting;

static void
count_range(void *user, uint64_t begin, uint64_t end, uint32_t worker)
{
    const pq_counting *c = user;
    pq_tally *t = &c->tallies[worker];
    const double inverse = 1 / (double)c->h->width;
    const int64_t first = c->h->first;
    uint64_t zeros = 0;
    uint64_t others = 0;
    for (uint64_t i = begin; i < end; i++) {
        float x = c->x[i];
        if (x < 0 || x > 0) {
            if (fabsf(x) <= FLT_MAX) {
                t->bins[bin_at(inverse, x) - first]++;
                others++;
            }
        } else {
            zeros += x == x; // exact: not NaN
        }
    }
    t->zeros += zeros;
    t->others += others;
}

static void
add_tally(pq_histogram *h, const pq_tally *t)
{
    h->zeros += t->zeros;
    h->others += t->others;
    for (int64_t i = 0; t->bins != h->bins && i < h->count; i++) {
        h->bins[i] += t->bins[i];
    }
}

static ptqc_status
count_by_pool(pq_histogram *h, const float *x, size_t n)
{
    pq_pool *pool = pq_ctx_pool(h->ctx);
    PQ_TRY_ALLOC(pool);
    size_t width = pq_pool_width(pool);
    size_t count = (size_t)h->count;
    pq_tally *tallies = pq_alloc_array(h->ctx, width, sizeof *tallies);
    uint64_t *bins = pq_alloc_array(h->ctx, width * count, sizeof *bins);
    if (tallies == NULL || bins == NULL) {
        pq_free(h->ctx, tallies);
        pq_free(h->ctx, bins);
        return PTQC_E_RESOURCE;
    }
    for (size_t w = 0; w < width; w++) {
        tallies[w].bins = bins + w * count;
    }
    pq_counting c = {h, x, tallies};
    pq_pool_for(pool, n, PQ_COUNT_GRAIN, count_range, &c);
    for (size_t w = 0; w < width; w++) {
        add_tally(h, &tallies[w]);
    }
    pq_free(h->ctx, tallies);
    pq_free(h->ctx, bins);
    return PTQC_OK;
}

ptqc_status
pq_histogram_take(pq_histogram *h, const float *x, size_t n, float min,
                  float max)
{
    if (min < 0 || max > 0) {
        PQ_TRY(grow(h, min, max));
    }
    if (n >= 2 * PQ_COUNT_GRAIN && h->count > 0) {
        return count_by_pool(h, x, n);
    }
    pq_tally tally = {.bins = h->bins};
    pq_counting c = {h, x, &tally};
    count_range(&c, 0, n, 0);
    add_tally(h, &tally);
    return PTQC_OK;
}

// ---- adding ---------------------------------------------------------------

static ptqc_status
copy(const pq_histogram *from, pq_histogram *out)
{
    size_t bytes = (size_t)from->count * sizeof *out->bins;
    *out = *from;
    out->bins = pq_alloc(from->ctx, bytes);
    PQ_TRY_ALLOC(out->bins);
    memcpy(out->bins, from->bins, bytes);
    return PTQC_OK;
}

// Bins of one width that both fit into.
static ptqc_status
align(pq_histogram *a, pq_histogram *b, int64_t *out_first, int64_t *out_end)
{
    for (;;) {
        while (a->width < b->width) {
            PQ_TRY(double_width(a));
        }
        while (b->width < a->width) {
            PQ_TRY(double_width(b));
        }
        int64_t a_end = a->first + a->count, b_end = b->first + b->count;
        *out_first = a->first < b->first ? a->first : b->first;
        *out_end = a_end > b_end ? a_end : b_end;
        if (*out_end - *out_first <= PQ_HISTOGRAM_BINS) {
            return PTQC_OK;
        }
        PQ_TRY(double_width(a));
    }
}

static ptqc_status
add_bins(pq_histogram *h, pq_histogram *from)
{
    int64_t first, end;
    PQ_TRY(align(h, from, &first, &end));
    PQ_TRY(set_bins(h, first, end - first));
    for (int64_t i = 0; i < from->count; i++) {
        h->bins[from->first - first + i] += from->bins[i];
    }
    return PTQC_OK;
}

ptqc_status
pq_histogram_add(pq_histogram *h, const pq_histogram *from)
{
    pq_histogram own;
    ptqc_status st = PTQC_OK;
    if (from->count > 0) {
        st = copy(from, &own);
        if (st == PTQC_OK && h->count == 0) { // nothing but zeros was there
            h->width = own.width;
            h->first = own.first;
        }
        if (st == PTQC_OK) {
            st = add_bins(h, &own);
        }
        pq_free(own.ctx, own.bins);
    }
    if (st == PTQC_OK) {
        h->zeros += from->zeros;
        h->others += from->others;
    }
    return st;
}

// ---- range ----------------------------------------------------------------

// Comparisons with NaN are false, so NaN never enters; infinities do and are
// then looked for.
uint64_t
pq_finite_range(const float *x, size_t n, float *out_min, float *out_max)
{
    float min = 0;
    float max = 0;
    uint64_t refused = 0;
    for (size_t i = 0; i < n; i++) {
        min = x[i] < min ? x[i] : min;
        max = x[i] > max ? x[i] : max;
        refused += x[i] != x[i]; // exact: NaN
    }
    bool has_infinity = max > FLT_MAX || min < -FLT_MAX;
    *out_min = min;
    *out_max = max;
    if (!has_infinity) {
        return refused;
    }
    min = max = 0;
    for (size_t i = 0; i < n; i++) {
        bool is_finite = fabsf(x[i]) <= FLT_MAX;
        refused += fabsf(x[i]) > FLT_MAX;
        min = is_finite && x[i] < min ? x[i] : min;
        max = is_finite && x[i] > max ? x[i] : max;
    }
    *out_min = min;
    *out_max = max;
    return refused;
}
