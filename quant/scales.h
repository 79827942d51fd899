// SPDX-License-Identifier: Apache-2.0
//
// Scales of input channels, for AWQ and SmoothQuant: ties between channels,
// normalization, guards. Internal to quant/.
#ifndef PTQC_QUANT_SCALES_H
#define PTQC_QUANT_SCALES_H

#include "quant/awq.h"

// Scales stay within these of their geometric middle.
#define PQ_CHANNEL_SCALE_MAX 1e4f

// PTQC_E_USAGE (said) when repeat * inner does not divide d.
PTQC_MUST_USE ptqc_status pq_tie_check(ptqc_ctx *ctx, const pq_tie *tie,
                                       int64_t d);
// Tied channels get the largest of their magnitudes.
void pq_tie_magnitudes(const pq_tie *tie, int64_t d, float *magnitudes);
// out_s = magnitudes^exponent over the root of the product of the smallest and
// the largest; 1 where the magnitude is 0. All 1 for exponent 0.
void pq_scales_of_magnitudes(const float *magnitudes, int64_t d, float exponent,
                             float *out_s);

#endif
