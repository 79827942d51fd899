// SPDX-License-Identifier: Apache-2.0
//
// AdaRound (Nagel et al., 2020) on the Gram matrix alone: each weight goes to
// the code below or above; which, is learned by Adam on tr(e h e') +
// lambda sum(1 - |2 v - 1|^beta) with rectified sigmoids v, beta from 20 to 2
// (algorithms 4.4). For linear layers and convolutions whose loss has no
// activation in it.
#ifndef PTQC_QUANT_ADAROUND_H
#define PTQC_QUANT_ADAROUND_H

#include "quant/linalg.h"
#include "quant/quantize.h"

typedef struct pq_adaround_desc {
    const char *name; // of the weight, for diagnostics; NULL: "weight"
    const float *w;   // [rows][d] target, finite
    int64_t rows, d;
    const float *h; // [d][d], the lower triangle is read; any positive factor
    double tokens;  // that h was made of: what they are too few to tell is not
                    // learned (pq_shrinking_damping); 0: not known
    uint32_t iterations; // 0: 1000
    float lambda;        // of the mean loss of a rounded weight; 0: 3
    float learning_rate; // 0: .03
    pq_scheme scheme;    // integer formats, as in gptq.h
    const float *scales; // [pq_weights_scale_count]
    const int32_t *zero_points;
} pq_adaround_desc;

typedef struct pq_adaround_report {
    double rounding_loss; // tr(e h e') of plain rounding
    double loss;          // of the result; <= rounding_loss: else the rounded
                          // codes are the result
    bool is_rounding;     // they are
} pq_adaround_report;

PTQC_MUST_USE ptqc_status pq_adaround(ptqc_ctx *ctx,
                                      const pq_adaround_desc *desc,
                                      uint8_t *out_codes,
                                      pq_adaround_report *out_report);

#endif
