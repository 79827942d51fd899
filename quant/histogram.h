// SPDX-License-Identifier: Apache-2.0
//
// Histogram of a stream of numbers: bin i counts x with floor(x / width) = i,
// width a power of two chosen by the first numbers. A wider range appends
// bins; only when more than PQ_HISTOGRAM_BINS would be needed does the width
// double, which joins pairs of bins exactly. Counts do not depend on how the
// stream is cut, once the width is chosen. Zeros are counted apart, because
// they are codes; infinities and NaN are left out.
#ifndef PTQC_QUANT_HISTOGRAM_H
#define PTQC_QUANT_HISTOGRAM_H

#include <stddef.h>
#include <stdint.h>

#include "base/ctx.h"

#define PQ_HISTOGRAM_BINS 16384

typedef struct pq_histogram {
    ptqc_ctx *ctx;  // borrowed
    float width;    // 0: no number but 0 came yet
    int64_t first;  // index of bins[0]
    uint64_t *bins; // owned: [count]
    int64_t count;
    uint64_t zeros, others; // numbers equal and not equal to 0
} pq_histogram;

void pq_histogram_init(pq_histogram *h, ptqc_ctx *ctx);
void pq_histogram_deinit(pq_histogram *h);
// min and max: pq_finite_range of x. Long arrays are counted by the threads of
// the context.
PTQC_MUST_USE ptqc_status pq_histogram_take(pq_histogram *h, const float *x,
                                            size_t n, float min, float max);
// Adds all counts of `from`, as if its numbers had come here: the coarser of
// both widths stays, or becomes coarser where the range needs it.
PTQC_MUST_USE ptqc_status pq_histogram_add(pq_histogram *h,
                                           const pq_histogram *from);
// Range of the finite numbers, 0 included; -> how many are not finite.
uint64_t pq_finite_range(const float *x, size_t n, float *out_min,
                         float *out_max);
// Middle of bin i of bins.
double pq_histogram_middle(const pq_histogram *h, int64_t i);

#endif
