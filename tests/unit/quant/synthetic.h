// SPDX-License-Identifier: Apache-2.0
//
// Synthetic layers for the solvers' bars: Gaussian inputs of known covariance,
// Gaussian weights (algorithms 18).
#ifndef PTQC_TESTS_QUANT_SYNTHETIC_H
#define PTQC_TESTS_QUANT_SYNTHETIC_H

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "quant/linalg.h"
#include "tests/support/cmocka_test.h"
#include "tests/support/random.h"

typedef enum covariance {
    COV_IID,      // the identity
    COV_AR,       // x_j = .9 x_(j - 1) + noise
    COV_SPECTRUM, // eigenvalues k^-exponent in a random basis
} covariance;

typedef struct layer_inputs {
    covariance kind;
    double exponent;
    int64_t d;
    float *basis; // owned: [d][d] root of the covariance; SPECTRUM
} layer_inputs;

static inline float *
new_floats(int64_t n)
{
    float *p = calloc((size_t)n + 1, sizeof *p);
    assert_non_null(p);
    return p;
}

static inline float *
normal_floats(uint64_t seed, int64_t n)
{
    float *p = new_floats(n);
    pq_test_random r = pq_test_random_seed(seed);
    pq_test_fill_normal(&r, p, (size_t)n, 1);
    return p;
}

// Rows of q become orthonormal (modified Gram-Schmidt).
static inline void
orthonormalize(double *q, int64_t d)
{
    for (int64_t i = 0; i < d; i++) {
        double *row = q + i * d;
        for (int64_t j = 0; j < i; j++) {
            double dot = 0;
            for (int64_t k = 0; k < d; k++) {
                dot += row[k] * q[j * d + k];
            }
            for (int64_t k = 0; k < d; k++) {
                row[k] -= dot * q[j * d + k];
            }
        }
        double norm = 0;
        for (int64_t k = 0; k < d; k++) {
            norm += row[k] * row[k];
        }
        for (int64_t k = 0; k < d; k++) {
            row[k] /= sqrt(norm);
        }
    }
}

static inline layer_inputs
make_inputs(covariance kind, double exponent, int64_t d)
{
    layer_inputs in = {kind, exponent, d, NULL};
    if (kind != COV_SPECTRUM) {
        return in;
    }
    double *q = calloc((size_t)(d * d), sizeof *q);
    assert_non_null(q);
    pq_test_random r = pq_test_random_seed(77);
    for (int64_t i = 0; i < d * d; i++) {
        q[i] = (double)pq_test_random_normal(&r);
    }
    orthonormalize(q, d);
    in.basis = new_floats(d * d);
    for (int64_t i = 0; i < d * d; i++) {
        in.basis[i] = (float)(q[i] * pow((double)(i / d + 1), -exponent / 2));
    }
    free(q);
    return in;
}

// [n][d] inputs.
static inline float *
draw_inputs(ptqc_ctx *ctx, const layer_inputs *in, uint64_t seed, int64_t n)
{
    int64_t d = in->d;
    float *x = normal_floats(seed, n * d);
    if (in->kind == COV_AR) {
        for (int64_t i = 0; i < n * d; i++) {
            x[i] = i % d == 0 ? x[i] : .9f * x[i - 1] + sqrtf(.19f) * x[i];
        }
    }
    if (in->kind != COV_SPECTRUM) {
        return x;
    }
    float *y = new_floats(n * d);
    pq_gemm g = {.m = n,
                 .n = d,
                 .k = d,
                 .a = {x, d, 1},
                 .b = {in->basis, d, 1},
                 .c = y,
                 .c_ld = d};
    assert_int_equal(pq_gemm_run(ctx, &g), PTQC_OK);
    free(x);
    return y;
}

// The whole Gram matrix of x [n][d].
static inline float *
gram_of(ptqc_ctx *ctx, const float *x, int64_t n, int64_t d)
{
    float *h = new_floats(d * d);
    assert_int_equal(pq_gram_add(ctx, x, n, d, NULL, h), PTQC_OK);
    pq_gram_mirror(h, d);
    return h;
}

#endif
