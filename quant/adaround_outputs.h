// SPDX-License-Identifier: Apache-2.0
//
// AdaRound with activations (Nagel et al., 2020, section 3.3, eq. 25;
// algorithms 4.4): which of its two neighbours each weight becomes, and the
// bias, are learned from places of the samples, so that behind the activation
// the layer makes of what the quantized layers before it leave (x) what the
// float layer makes of its own input (y). Adam on the mean of (clip(v x + bias)
// - y)^2 over batches of places, with adaround.h's regularizer.
#ifndef PTQC_QUANT_ADAROUND_OUTPUTS_H
#define PTQC_QUANT_ADAROUND_OUTPUTS_H

#include "quant/adaround.h"

typedef struct pq_adaround_outputs_desc {
    const char *name;        // of the weight, for diagnostics; NULL: "weight"
    const float *w;          // [groups][rows][d] target, finite
    int64_t groups, rows, d; // groups of channels (convolutions), else 1
    const float *x;          // [groups][d][places]
    const float *y;          // [groups][rows][places]
    int64_t places;          // 1 to 2^20, in random order
    float lo, hi;            // what the activation clips to; infinite: nothing
    bool learns_bias;        // else it stays
    uint32_t iterations;     // 0: 1000
    float lambda;            // of the mean loss of a rounded weight; 0: 3
    float learning_rate;     // 0: .02
    pq_scheme scheme;        // integer formats, as in gptq.h
    const float *scales;     // [pq_weights_scale_count]
    const int32_t *zero_points;
} pq_adaround_outputs_desc;

// bias [groups * rows]: in, the float model's; out, the learned one. Losses of
// the report are mean squared errors of y; rounding's is that with the best
// bias, which is the result when nothing better is learned.
PTQC_MUST_USE ptqc_status pq_adaround_outputs(
    ptqc_ctx *ctx, const pq_adaround_outputs_desc *desc, float *bias,
    uint8_t *out_codes, pq_adaround_report *out_report);

#endif
