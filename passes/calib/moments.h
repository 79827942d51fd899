// SPDX-License-Identifier: Apache-2.0
//
// What solvers want to know of the inputs of a group of products: the Gram
// matrix and the largest number of each channel, gathered sample by sample.
#ifndef PTQC_PASSES_CALIB_MOMENTS_H
#define PTQC_PASSES_CALIB_MOMENTS_H

#include "ir/runner.h"

typedef struct pq_moments {
    int64_t d;
    float *h;             // owned: [d][d] sum of weight * x x', lower triangle
    float *absmax;        // owned: [d] largest |x|, without outliers
    uint64_t token_count; // that h is made of
    uint64_t bad_count;   // tokens with infinities or NaN, left out
} pq_moments;

// absmax[i] = the larger of it and |x[i]|; infinities count, NaN do not.
void pq_absmax_add(const float *x, int64_t d, float *absmax);
PTQC_MUST_USE ptqc_status pq_moments_init(ptqc_ctx *ctx, int64_t d,
                                          pq_moments *out);
void pq_moments_deinit(ptqc_ctx *ctx, pq_moments *m); // zeroed allowed
// x [n][d] f32 of one sample, tokens that are left out become 0 in it;
// weights [n] or NULL (all 1); outliers [n] 1 = no part of absmax, or NULL.
// How samples are divided decides the bits.
PTQC_MUST_USE ptqc_status pq_moments_add(ptqc_ctx *ctx, pq_moments *m, float *x,
                                         int64_t n, const float *weights,
                                         const uint8_t *outliers);

#endif
