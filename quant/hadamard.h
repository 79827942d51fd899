// SPDX-License-Identifier: Apache-2.0
//
// Rotations by orthonormal Hadamard matrices: they spread what stands out in
// few channels over all of them (QuaRot, Ashkboos et al., 2024; algorithms 10
// and 11). The matrix of n = 2^k m channels is H(2^k) x H(m), Sylvester's
// times one of Paley's (1933), which exist for most m = 4, 8, 12, 20, 28, 36
// ...; where none is found, or n is odd, blocks of the largest power of two
// that divides n are rotated alone.
#ifndef PTQC_QUANT_HADAMARD_H
#define PTQC_QUANT_HADAMARD_H

#include "base/ctx.h"

typedef struct pq_hadamard {
    int64_t n;     // channels
    int64_t block; // that are rotated together; divides n
    int64_t m;     // size of the factor, divides block; 1: none
    float *factor; // owned: [m][m], 1 and -1
} pq_hadamard;

// n > 0.
PTQC_MUST_USE ptqc_status pq_hadamard_init(ptqc_ctx *ctx, int64_t n,
                                           pq_hadamard *out);
void pq_hadamard_deinit(ptqc_ctx *ctx, pq_hadamard *hadamard);

typedef enum pq_turn {
    PQ_TURN_FORTH, // x <- x H
    PQ_TURN_BACK,  // x <- x H', the inverse
} pq_turn;

// Each row of x [rows][n] in place, in the context's threads. A weight whose
// rows are turned forth as its inputs are gives the same outputs.
PTQC_MUST_USE ptqc_status pq_hadamard_rows(ptqc_ctx *ctx,
                                           const pq_hadamard *hadamard,
                                           pq_turn turn, float *x,
                                           int64_t rows);

#endif
