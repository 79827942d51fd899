// SPDX-License-Identifier: Apache-2.0
//
// What quantize.h does, shared by the threads of a context, on weights seen as
// [rows][d] (outer = 1, channels = rows, inner = d). Internal to quant/.
#ifndef PTQC_QUANT_ROWS_H
#define PTQC_QUANT_ROWS_H

#include "quant/linalg/micro.h"
#include "quant/quantize.h"

// A weight of rows: axis and numbers of the view filled in.
pq_weights pq_rows_view(const float *w, int64_t rows, int64_t d,
                        const pq_scheme *scheme);
// Columns per scale, and scales per row (TENSOR: 1, which all rows share).
int64_t pq_rows_group(const pq_weights *weights);
int64_t pq_rows_group_count(const pq_weights *weights);
// PTQC_E_UNSUPPORTED (said, with `name`) unless codes have 2 to 8 bits, one
// scale per tensor, row or group of a row.
PTQC_MUST_USE ptqc_status pq_rows_check(ptqc_ctx *ctx, const char *name,
                                        const pq_scheme *scheme);

PTQC_MUST_USE ptqc_status pq_rows_choose(ptqc_ctx *ctx,
                                         const pq_weights *weights,
                                         float *out_scales,
                                         int32_t *out_zero_points);
PTQC_MUST_USE ptqc_status pq_rows_encode(ptqc_ctx *ctx,
                                         const pq_weights *weights,
                                         const float *scales,
                                         const int32_t *zero_points,
                                         uint8_t *out_codes);
// out_e [rows][d] = w - what the codes stand for. out_e may be weights->w.
PTQC_MUST_USE ptqc_status pq_rows_error(ptqc_ctx *ctx,
                                        const pq_weights *weights,
                                        const float *scales,
                                        const int32_t *zero_points,
                                        const uint8_t *codes, float *out_e);
// out_loss = tr(e h e') of these codes; h [d][d], the lower triangle is read.
PTQC_MUST_USE ptqc_status pq_rows_loss(ptqc_ctx *ctx, const pq_weights *weights,
                                       const float *scales,
                                       const int32_t *zero_points,
                                       const uint8_t *codes, const float *h,
                                       double *out_loss);

// Scales and zero points of strips, row after row contiguous: [groups][padded]
// floats, rows padded to whole strips of PQ_LANES with scale 1.
typedef struct pq_strip_scales {
    float *scales, *zeros; // owned
    int64_t padded;
    int64_t group;                  // columns per scale
    float min, max;                 // codes of integers
    const struct pq_narrow *narrow; // NULL: integers
} pq_strip_scales;

PTQC_MUST_USE ptqc_status pq_strip_scales_init(pq_strip_scales *out,
                                               ptqc_ctx *ctx,
                                               const pq_weights *weights,
                                               const float *scales,
                                               const int32_t *zero_points);
// How column `column` of the strip that begins at row `row` becomes codes.
pq_rounding pq_strip_rounding(const pq_strip_scales *scales, int64_t row,
                              int64_t column);
void pq_strip_scales_deinit(pq_strip_scales *scales, ptqc_ctx *ctx);

#endif
