// SPDX-License-Identifier: Apache-2.0
//
// SmoothQuant (Xiao et al., 2022): moves the difficulty of activations into
// weights, s_j = max|x_j|^alpha / max|w_j|^(1 - alpha), the second maximum over
// all consumers. Inputs / s, consumers' columns * s (the caller folds).
#ifndef PTQC_QUANT_SMOOTH_H
#define PTQC_QUANT_SMOOTH_H

#include "quant/awq.h"

typedef struct pq_smooth_desc {
    const pq_consumer *consumers;
    size_t consumer_count;
    int64_t d;
    const float *x_absmax; // [d] largest |x| of each input
    float alpha;           // 0 to 1
    pq_tie tie;
} pq_smooth_desc;

// out_s [d], finite, positive; 1 where an input or its weights are always 0.
PTQC_MUST_USE ptqc_status pq_smooth_scales(ptqc_ctx *ctx,
                                           const pq_smooth_desc *desc,
                                           float *out_s);

typedef struct pq_smooth_search_desc {
    pq_smooth_desc smooth; // its alpha is not read
    const float *x;        // [n][d] sample of inputs
    int64_t n;
    pq_scheme weights;
    // One scale per token (dynamic), or one for all from x_absmax.
    bool is_per_token;
} pq_smooth_search_desc;

typedef struct pq_smooth_report {
    double identity_loss; // squared output error without smoothing
    double loss;          // with the alpha taken
    float alpha;          // -1: no smoothing is best
} pq_smooth_report;

// alpha of .1, .2, ... 1 (and no smoothing) with the least squared error of the
// outputs of all consumers, x in 8 bits and weights in theirs.
PTQC_MUST_USE ptqc_status pq_smooth_search(ptqc_ctx *ctx,
                                           const pq_smooth_search_desc *desc,
                                           float *out_s,
                                           pq_smooth_report *out_report);

#endif
