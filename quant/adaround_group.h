// SPDX-License-Identifier: Apache-2.0
//
// Products of one group of channels with some places, for groups too small for
// matrix products (depthwise convolutions). Internal to quant/.
#ifndef PTQC_QUANT_ADAROUND_GROUP_H
#define PTQC_QUANT_ADAROUND_GROUP_H

#include <stdint.h>

typedef struct pq_group_places {
    const float *x; // [d][..] rows x_ld apart, `n` places of each
    int64_t x_ld;
    int64_t rows, d, n;
} pq_group_places;

// y [rows][n] = w x, rows y_ld apart; w [rows][d].
void pq_group_outputs(const pq_group_places *p, const float *w, float *y,
                      int64_t y_ld);
// gradient [rows][d] = - y x'.
void pq_group_gradient(const pq_group_places *p, const float *y, int64_t y_ld,
                       float *gradient);

#endif
