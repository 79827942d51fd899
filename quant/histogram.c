// SPDX-License-Identifier: Apache-2.0
//
// Growing histogram, see histogram.h.

#include "quant/histogram.h"

#include <math.h>
#include <string.h>

// Bins that the first numbers are spread over.
#define FIRST_BINS 2048

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

static int64_t
bin_of(const pq_histogram *h, float x)
{
    return (int64_t)floor((double)x / (double)h->width);
}

// Range of the finite numbers; false when all are 0.
static bool
finite_range(const float *x, size_t n, float *out_min, float *out_max)
{
    float min = 0;
    float max = 0;
    for (size_t i = 0; i < n; i++) {
        if (isfinite(x[i])) {
            min = x[i] < min ? x[i] : min;
            max = x[i] > max ? x[i] : max;
        }
    }
    *out_min = min;
    *out_max = max;
    return min < 0 || max > 0;
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

ptqc_status
pq_histogram_take(pq_histogram *h, const float *x, size_t n)
{
    float min, max;
    uint64_t others = 0;
    uint64_t zeros = 0;
    if (finite_range(x, n, &min, &max)) {
        PQ_TRY(grow(h, min, max));
    }
    for (size_t i = 0; i < n; i++) {
        if (x[i] == 0) {
            zeros++;
        } else if (isfinite(x[i])) {
            h->bins[bin_of(h, x[i]) - h->first]++;
            others++;
        }
    }
    h->zeros += zeros;
    h->others += others;
    return PTQC_OK;
}
