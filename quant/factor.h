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

#endif
