// SPDX-License-Identifier: Apache-2.0
//
// Gram matrices, see linalg.h.

#include "quant/linalg.h"

ptqc_status
pq_gram_add(ptqc_ctx *ctx, const float *x, int64_t n, int64_t d,
            const float *weights, float *h)
{
    pq_gemm gram = {.m = d,
                    .n = d,
                    .k = n,
                    .a = {x, 1, d},
                    .b = {x, d, 1},
                    .c = h,
                    .c_ld = d,
                    .part = PQ_PART_LOWER,
                    .weights = weights};
    return pq_gemm_run(ctx, &gram);
}

ptqc_status
pq_gram_cross_add(ptqc_ctx *ctx, const float *x, const float *y, int64_t n,
                  int64_t d, const float *weights, float *g)
{
    pq_gemm gram = {.m = d,
                    .n = d,
                    .k = n,
                    .a = {x, 1, d},
                    .b = {y, d, 1},
                    .c = g,
                    .c_ld = d,
                    .weights = weights};
    return pq_gemm_run(ctx, &gram);
}

// By blocks that both fit in the first cache level.
#define MIRROR_BLOCK 32

static void
mirror_block(float *h, int64_t d, int64_t row, int64_t col)
{
    for (int64_t i = row; i < row + MIRROR_BLOCK && i < d; i++) {
        for (int64_t j = col; j < col + MIRROR_BLOCK && j < i; j++) {
            h[j * d + i] = h[i * d + j];
        }
    }
}

void
pq_gram_mirror(float *h, int64_t d)
{
    for (int64_t i = 0; i < d; i += MIRROR_BLOCK) {
        for (int64_t j = 0; j <= i; j += MIRROR_BLOCK) {
            mirror_block(h, d, i, j);
        }
    }
}
