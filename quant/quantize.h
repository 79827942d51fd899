// SPDX-License-Identifier: Apache-2.0
//
// Scales, zero points and codes of plain arrays (algorithms: affine
// round-to-nearest). real = scale * (code - zero_point). Rounding is to
// nearest even; codes are computed as the `quantize` op computes them
// (docs/numerics.md section 6).
#ifndef PTQC_QUANT_QUANTIZE_H
#define PTQC_QUANT_QUANTIZE_H

#include "quant/format.h"
#include "quant/scheme.h"

typedef struct pq_params {
    float scale; // finite and normal: never 0, never denormal
    int32_t zero_point;
} pq_params;

// Parameters that represent [min, max], which is first extended to hold 0 (0
// is always a code). An empty range gives scale 1. Infinite ends count as the
// largest finite number, NaN as 0. symmetric: the zero point is the format's
// middle code and the larger side decides; for 8 bits and more the range is
// the narrow one. Float formats (8 bits) are always symmetric.
pq_params pq_params_of_range(float min, float max, ptqc_dtype format,
                             bool symmetric);
// One code; NaN gives the smallest. Integer formats of at most 16 bits.
int32_t pq_code_of(float x, pq_params p, ptqc_dtype format);

// How scales of weights are chosen.
typedef enum pq_scale_search {
    PQ_SCALE_MINMAX, // the largest element stays, within the scale's rounding
    PQ_SCALE_MSE,    // least squared error over ranges that shrink to a fifth
} pq_scale_search;

const char *pq_scale_search_name(pq_scale_search search); // "mse"

// A weight tensor seen as [outer][channels][inner], row-major. With one scale
// per channel, or (group > 0, outer = 1) per `group` consecutive elements of
// inner, the last group may be shorter; or one scale for all.
typedef struct pq_weights {
    const float *w;
    int64_t outer, channels, inner;
    pq_scheme scheme; // format I8, U8, I4, U4, F8E4M3, F8E5M2; bits;
                      // granularity; group; symmetric
    pq_scale_search search;
    // [channels] least scales, or NULL: a scale is never below these.
    const float *least_scale;
    // [inner] or NULL: factors of the squared errors that choose scales, one
    // per position of inner (the diagonal of a Gram matrix, an imatrix), below
    // 1e30.
    const float *importance;
} pq_weights;

// Number of scales.
int64_t pq_weights_scale_count(const pq_weights *weights);
// Parameters by `search`: [pq_weights_scale_count] each. Scales of groups are
// rounded to f16 where that is normal.
void pq_choose_weight_params(const pq_weights *weights, float *out_scales,
                             int32_t *out_zero_points);
// The numbers that codes stand for, laid out as weights->w (which is not
// read): scale * (code - zero point), one f32 multiplication.
void pq_decode_weights(const pq_weights *weights, const float *scales,
                       const int32_t *zero_points, const uint8_t *codes,
                       float *out);
// Codes by given parameters: one byte per element (not packed), in the order
// of w.
void pq_encode_weights(const pq_weights *weights, const float *scales,
                       const int32_t *zero_points, uint8_t *out_codes);

#endif
