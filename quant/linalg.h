// SPDX-License-Identifier: Apache-2.0
//
// Dense linear algebra in f32 for the solvers: products, Gram matrices, the
// Cholesky factor that GPTQ needs, triangular solves. Matrices are row-major;
// "ld" is the distance of two rows in elements.
//
// Order of sums: an element of a product has one accumulator per block of
// PQ_GEMM_BLOCK terms, which starts at +0 and takes one fma per term in
// ascending order; then the block's sum is added to (or subtracted from) the
// element, blocks in ascending order. So the bytes depend neither on the
// number of threads nor on the instruction set.
//
// Threads: those of the context; a call from inside a job of its pool runs on
// the calling thread alone. Errors: PTQC_E_RESOURCE (said), PTQC_E_CANCELLED.
#ifndef PTQC_QUANT_LINALG_H
#define PTQC_QUANT_LINALG_H

#include <stddef.h>
#include <stdint.h>

#include "base/ctx.h"

#define PQ_GEMM_BLOCK 256

// Elements of a result that are wanted; the others are not touched.
typedef enum pq_part {
    PQ_PART_ALL,
    PQ_PART_LOWER, // row >= column
    PQ_PART_UPPER, // row <= column
} pq_part;

// A matrix that is read: element (i, j) is p[i * row + j * col].
typedef struct pq_matrix {
    const float *p;
    ptrdiff_t row, col; // in elements
} pq_matrix;

// c [m][n] += a [m][k] b [k][n], or -=. c overlaps neither a nor b.
typedef struct pq_gemm {
    int64_t m, n, k;
    pq_matrix a, b;
    float *c;
    ptrdiff_t c_ld;
    pq_part part;         // of c
    bool is_subtracted;   // c -= a b
    const float *weights; // [k] factors of a's columns, rounded once; or NULL
} pq_gemm;

PTQC_MUST_USE ptqc_status pq_gemm_run(ptqc_ctx *ctx, const pq_gemm *desc);

// h [d][d] += X' diag(weights) X, its lower triangle only. x [n][d];
// weights [n] (one per token), NULL: all 1. The sum of several calls depends
// on how the rows are divided among them, so divide by a rule.
PTQC_MUST_USE ptqc_status pq_gram_add(ptqc_ctx *ctx, const float *x, int64_t n,
                                      int64_t d, const float *weights,
                                      float *h);
// g [d][d] += X' diag(weights) Y, all of it. x, y [n][d].
PTQC_MUST_USE ptqc_status pq_gram_cross_add(ptqc_ctx *ctx, const float *x,
                                            const float *y, int64_t n,
                                            int64_t d, const float *weights,
                                            float *g);
// Copies the lower triangle to the upper one.
void pq_gram_mirror(float *h, int64_t d);

// The Cholesky factor from the last column on (algorithms 1.1: with J the
// reversal of indices, J a J = L L' and r = J L J): a = r r', r upper
// triangular with a positive diagonal. Reads and overwrites the upper triangle
// of a [d][d]; the lower one is not touched. *out_bad is -1, or the column
// whose pivot is not a positive number: then the upper triangle is lost.
PTQC_MUST_USE ptqc_status pq_cholesky(ptqc_ctx *ctx, float *a, int64_t d,
                                      int64_t *out_bad);

typedef enum pq_side {
    PQ_SOLVE_R,            // b <- b r^-1
    PQ_SOLVE_R_TRANSPOSED, // b <- b r'^-1
} pq_side;

// Triangular solves of many rows: b [rows][d] in place, r [d][d] as
// pq_cholesky leaves it. Both, first the transposed one, give b a^-1.
PTQC_MUST_USE ptqc_status pq_solve_rows(ptqc_ctx *ctx, const float *r,
                                        int64_t d, pq_side side, float *b,
                                        int64_t rows);

// sum of a[i] b[i] in f64: element i goes to lane i mod 16, then lanes l and
// l + 8, l + 4, l + 2, l + 1 are combined.
double pq_dot(const float *a, const float *b, int64_t n);

// sum over the rows e of e h e', in f64 from f32 products: the squared error
// of the outputs of a linear layer whose weights differ by e [rows][d].
// h [d][d]: the lower triangle is read.
PTQC_MUST_USE ptqc_status pq_quadratic_loss(ptqc_ctx *ctx, const float *e,
                                            int64_t rows, const float *h,
                                            int64_t d, double *out_loss);

#endif
