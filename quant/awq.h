// SPDX-License-Identifier: Apache-2.0
//
// AWQ (Lin et al., 2023): scales of input channels that protect those with
// large activations, s = rms(x)^a, and ranges that clip. Everything from the
// Gram matrix h of the inputs: the output error of a linear layer is
// tr(e h e'), so no activation is kept and nothing runs. The identity (a = 0)
// is in the grid: the result is never worse than rounding.
//
// The caller folds s: consumers' columns *= s (out of here they are not
// changed), the producer of the inputs /= s, h becomes h / (s s').
#ifndef PTQC_QUANT_AWQ_H
#define PTQC_QUANT_AWQ_H

#include "quant/linalg.h"
#include "quant/quantize.h"

// A weight that reads the inputs. [rows][d]
typedef struct pq_consumer {
    const float *w;
    int64_t rows;
} pq_consumer;

// Channels that must have one scale: inputs [outer][repeat][inner] where the
// `repeat` ones come from one producer channel (heads that share keys and
// values: outer = kv heads, repeat = heads / kv heads, inner = head size).
// repeat 0 or 1: none.
typedef struct pq_tie {
    int64_t repeat, inner;
} pq_tie;

typedef struct pq_awq_desc {
    const pq_consumer *consumers; // all that read the inputs
    size_t consumer_count;
    int64_t d;
    const float *h;   // [d][d], the lower triangle is read
    pq_scheme scheme; // of the weights
    pq_scale_search search;
    uint32_t steps; // of a in [0, 1]; 0: 20
    pq_tie tie;
} pq_awq_desc;

typedef struct pq_awq_report {
    double identity_loss; // sum over consumers of tr(e h e'), a = 0
    double loss;          // of the exponent taken; <= identity_loss
    float exponent;       // a
} pq_awq_report;

// out_s [d]: finite, positive; all 1 when no exponent is better. Inputs that
// were always 0 have 1.
PTQC_MUST_USE ptqc_status pq_awq_search(ptqc_ctx *ctx, const pq_awq_desc *desc,
                                        float *out_s,
                                        pq_awq_report *out_report);

// Output error of one weight, tr(e h e'), and how many of its scales clip.
typedef struct pq_clip_report {
    double loss_before, loss; // without and with clipping; loss <= loss_before
    int64_t clipped_count;
} pq_clip_report;

// Ranges by output error: for every scale (group or channel) how far the range
// shrinks, in steps of a twentieth (0: what weights->search chooses), so that
// its part of the output, e_g h_gg e_g', is least. h [d][d], the lower triangle
// is read. weights: outer = 1, inner = d; formats as pq_gptq_solve. out_steps
// [pq_weights_scale_count].
PTQC_MUST_USE ptqc_status pq_clip_search(ptqc_ctx *ctx,
                                         const pq_weights *weights,
                                         const float *h, uint8_t *out_steps);
// Steps of rows whose whole error, of rounding, does not fall by them become 0.
// What comes after rounding (gptq) is not seen: measured there, w4 g64 and w3
// g64 of SmolLM2 are better without this (21.20 against 21.33, 26.5 against
// 27.4 perplexity).
PTQC_MUST_USE ptqc_status pq_clip_judge(ptqc_ctx *ctx,
                                        const pq_weights *weights,
                                        const float *h, uint8_t *steps,
                                        pq_clip_report *out_report);
// Scales and zero points of ranges shrunk by such steps. Steps suit a row
// whatever factor it is multiplied by afterwards.
void pq_clip_params(const pq_weights *weights, const uint8_t *steps,
                    float *out_scales, int32_t *out_zero_points);

#endif
