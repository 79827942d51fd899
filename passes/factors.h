// SPDX-License-Identifier: Apache-2.0
//
// A product taken apart: v = constant * x^power * other, whatever the order
// in which the model multiplies. Muls, divisions by scalars and small whole
// powers are looked through, as long as the parts have no other use.
#ifndef PTQC_PASSES_FACTORS_H
#define PTQC_PASSES_FACTORS_H

#include "passes/match.h"

typedef struct pq_factors {
    double constant;   // product of scalar constants
    uint32_t power;    // how often x occurs
    pq_value_id other; // the one remaining factor; null: none
    bool is_other;     // false when more than one factor remains
} pq_factors;

// x may be the null value: then power stays 0 and everything is `other`.
pq_factors pq_factors_of(const pq_graph *g, pq_value_id v, pq_value_id x);
// v = x * slope + offset with scalar constants; false when it is not.
bool pq_is_affine_of(const pq_graph *g, pq_value_id v, pq_value_id x,
                     double *out_slope, double *out_offset);
static inline bool
pq_is_close(double a, double b)
{
    double d = a - b;
    double size = b < 0 ? -b : b;
    return (d < 0 ? -d : d) <= 1e-5 * (size > 1e-6 ? size : 1e-6);
}

#endif
