// SPDX-License-Identifier: Apache-2.0
//
// Random numbers of variance 1 of the laws that golden errors are told for
// (algorithms 3 and 13).
#ifndef PTQC_TESTS_QUANT_LAWS_H
#define PTQC_TESTS_QUANT_LAWS_H

#include <math.h>

#include "tests/support/random.h"

typedef enum pq_law { NORMAL, LAPLACE, STUDENT } pq_law;

static inline float
draw_of_law(pq_test_random *r, pq_law law)
{
    float a = pq_test_random_normal(r);
    if (law == NORMAL) {
        return a;
    }
    if (law == LAPLACE) { // variance 1: a difference of exponentials
        float u = pq_test_random_f32(r, 0x1p-24f, 1);
        float v = pq_test_random_f32(r, 0x1p-24f, 1);
        return (logf(u) - logf(v)) * 0.70710678f;
    }
    float chi = 0; // 4 degrees of freedom: variance 2, scaled to 1
    for (int i = 0; i < 4; i++) {
        float b = pq_test_random_normal(r);
        chi += b * b;
    }
    return a / sqrtf(chi / 4) * 0.70710678f;
}

#endif
