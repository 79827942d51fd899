// SPDX-License-Identifier: Apache-2.0
//
// One step of Adam on the variables of AdaRound. Internal to quant/.
#ifndef PTQC_QUANT_ADAROUND_STEP_H
#define PTQC_QUANT_ADAROUND_STEP_H

#include <stdint.h>

// A variable per weight; arrays of equal length.
typedef struct pq_soft {
    float *v;              // variable: v >= 0 goes up
    float *mean;           // of the gradient
    float *square;         // of its square
    const float *rest;     // w - the number of the code below
    const float *step;     // to the number of the code above; 0: there is none
    const float *gradient; // e h, of the errors as they are
    float *e;              // out: errors of the soft weights
} pq_soft;

typedef struct pq_adam {
    float rate;       // learning rate over the bias correction of the mean
    float correction; // 1 / bias correction of the squares
    float factor;     // of the gradient of the loss
    float lambda;     // of the regularizer; 0: none
    float beta;       // its exponent
} pq_adam;

// v such that the soft weights are w, e = 0 (where the codes reach).
void pq_soft_init(const pq_soft *soft, int64_t n);
// v and its moments by `gradient`, then e.
void pq_soft_step(const pq_soft *soft, int64_t n, const pq_adam *adam);

#endif
