// SPDX-License-Identifier: Apache-2.0
//
// Weights that share one scale: inside of quantize.h.
#ifndef PTQC_QUANT_SHARE_H
#define PTQC_QUANT_SHARE_H

#include "quant/quantize.h"

// `runs` runs of `length` elements, `stride` apart.
typedef struct pq_share {
    const float *w;
    int64_t runs, length, stride;
    const float *importance; // [length] factors of squared errors; NULL: 1
} pq_share;

// Scale and zero point of these elements; the scale is never below
// `least_scale` (formats of 8 bits; 0: any).
pq_params pq_share_params(const pq_share *share, const pq_scheme *scheme,
                          pq_scale_search search, float least_scale);
// Their smallest and largest element; 0 is within.
void pq_share_range(const pq_share *share, float *out_min, float *out_max);
// The same for a given range: symmetric formats below 8 bits have two scales,
// the one with the smaller squared error of these elements is taken.
pq_params pq_share_params_of_range(const pq_share *share,
                                   const pq_scheme *scheme, float min,
                                   float max);
// The nearest scale to this one that the scheme stores (integers of f8e8m0: not
// smaller); keeps its sign.
float pq_share_stored_scale(const pq_scheme *scheme, float scale);
// Their codes, one byte each, laid out as the elements; out goes with
// share->w.
void pq_share_encode(const pq_share *share, const pq_scheme *scheme,
                     pq_params p, uint8_t *out);

// What rounding leaves of them: e goes with share->w.
void pq_share_residues(const pq_share *share, const pq_scheme *scheme,
                       pq_params p, float *e);
// The numbers of n codes.
void pq_share_decode(const pq_scheme *scheme, pq_params p, const uint8_t *codes,
                     int64_t n, float *out);
// Smallest and largest code of weights, integer formats: symmetric ones of 8
// bits are narrow.
void pq_weight_code_range(const pq_scheme *scheme, int32_t *out_min,
                          int32_t *out_max);

// pq_params_of_range of any format.
pq_params pq_params_of_format(float min, float max, const pq_format *f,
                              bool symmetric);
// The code of 0 when the smallest element is min: asymmetric formats.
int32_t pq_zero_point_of(float min, float scale, const pq_format *f);

#endif
