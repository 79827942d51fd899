// SPDX-License-Identifier: Apache-2.0
//
// Inside of pq_factor (gptq.h), for the solvers of quant/.
#ifndef PTQC_QUANT_FACTOR_H
#define PTQC_QUANT_FACTOR_H

#include "quant/gptq.h"

struct pq_factor {
    int64_t d;
    int64_t *order; // owned: [d] column of the weight that is quantized i-th
    // owned: [d][d], upper triangle: r r' = scaling * (h + damping I), rows and
    // columns in order; NULL when plain
    float *r;
    double scaling;   // a power of two: h scaled to a mean diagonal near 1
    double damping;   // in units of h
    uint8_t *is_dead; // owned: [d] 1: the input was always 0
    pq_factor_report report;
};

// The damping, in units of the mean diagonal, that makes (1 - p) h + p mean I
// of a Gram matrix of n tokens and d inputs, where p is the oracle
// approximating shrinkage of a covariance (Chen et al., 2010, eq. 23); trace,
// squares: sums of its diagonal and of all its squared elements. On synthetic
// layers it is near the best one for other inputs: all of it for uncorrelated
// inputs, .2 for AR(.9) of d / 2 tokens, .01 of 8 d.
double pq_shrinking_damping(double n, double d, double trace, double squares);

#endif
