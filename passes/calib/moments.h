// SPDX-License-Identifier: Apache-2.0
//
// What solvers want to know of the inputs of a group of products: the Gram
// matrix and the largest number of each channel, gathered sample by sample.
#ifndef PTQC_PASSES_CALIB_MOMENTS_H
#define PTQC_PASSES_CALIB_MOMENTS_H

#include "ir/runner.h"

typedef struct pq_moments {
    int64_t d;
    float *h;      // owned: [d][d] sum of weight * x x', lower triangle
    float *absmax; // owned: [d]
    uint64_t token_count; // that h is made of
    uint64_t bad_count;   // tokens with infinities or NaN, left out
} pq_moments;

PTQC_MUST_USE ptqc_status pq_moments_init(ptqc_ctx *ctx, int64_t d,
                                          pq_moments *out);
void pq_moments_deinit(ptqc_ctx *ctx, pq_moments *m); // zeroed allowed
// x [n][d] f32 of one sample, tokens that are left out become 0 in it;
// weights [n] or NULL (all 1). How samples are divided decides the bits.
PTQC_MUST_USE ptqc_status pq_moments_add(ptqc_ctx *ctx, pq_moments *m, float *x,
                                         int64_t n, const float *weights);

#endif
