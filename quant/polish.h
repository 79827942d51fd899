// SPDX-License-Identifier: Apache-2.0
//
// Coordinate descent on codes (QuIP's greedy passes, CDQuant): column by
// column, q_i <- the code of q_i - ((q - w) h)_i / h_ii. Each step takes the
// best code of one weight with all others fixed, so tr(e h e') never grows.
#ifndef PTQC_QUANT_POLISH_H
#define PTQC_QUANT_POLISH_H

#include "quant/linalg.h"
#include "quant/quantize.h"

typedef struct pq_polish_desc {
    const float *w; // [rows][d] target
    int64_t rows, d;
    const float *h;      // [d][d], the lower triangle is read
    double damping;      // added to the diagonal of h, in units of h
    uint32_t sweeps;     // at most; ends when nothing moves
    pq_scheme scheme;    // as in gptq.h
    const float *scales; // [pq_weights_scale_count]
    const int32_t *zero_points;
} pq_polish_desc;

// codes [rows][d], changed in place; *out_moved: changes of codes, counted
// over all sweeps (NULL allowed).
PTQC_MUST_USE ptqc_status pq_polish_codes(ptqc_ctx *ctx,
                                          const pq_polish_desc *desc,
                                          uint8_t *codes, int64_t *out_moved);

#endif
