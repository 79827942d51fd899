// SPDX-License-Identifier: Apache-2.0
//
// Moments of inputs, see moments.h.

#include "passes/calib/moments.h"

#include <math.h>
#include <string.h>

#include "quant/linalg.h"

void
pq_absmax_add(const float *x, int64_t d, float *absmax)
{
    for (int64_t i = 0; i < d; i++) {
        float a = fabsf(x[i]);
        absmax[i] = a > absmax[i] ? a : absmax[i];
    }
}

ptqc_status
pq_moments_init(ptqc_ctx *ctx, int64_t d, pq_moments *out)
{
    size_t n = (size_t)d;
    *out = (pq_moments){.d = d};
    out->h =
        n <= SIZE_MAX / n ? pq_alloc_array(ctx, n * n, sizeof *out->h) : NULL;
    out->absmax = pq_alloc_array(ctx, n, sizeof *out->absmax);
    if (out->h == NULL || out->absmax == NULL) {
        pq_moments_deinit(ctx, out);
        return PTQC_E_RESOURCE;
    }
    return PTQC_OK;
}

void
pq_moments_deinit(ptqc_ctx *ctx, pq_moments *m)
{
    pq_free(ctx, m->h);
    pq_free(ctx, m->absmax);
    *m = (pq_moments){0};
}

static bool
is_finite_row(const float *x, int64_t d)
{
    uint32_t found = 0; // all exponent bits set: infinity or NaN
    for (int64_t i = 0; i < d; i++) {
        uint32_t bits;
        memcpy(&bits, &x[i], sizeof bits);
        found |= (bits & 0x7f800000u) == 0x7f800000u;
    }
    return found == 0;
}

ptqc_status
pq_moments_add(ptqc_ctx *ctx, pq_moments *m, float *x, int64_t n,
               const float *weights, const uint8_t *outliers)
{
    for (int64_t i = 0; i < n; i++) {
        float *row = x + i * m->d;
        if (is_finite_row(row, m->d)) {
            m->token_count++;
            if (outliers == NULL || outliers[i] == 0) {
                pq_absmax_add(row, m->d, m->absmax);
            }
            continue;
        }
        memset(row, 0, (size_t)m->d * sizeof *row);
        m->bad_count++;
    }
    return pq_gram_add(ctx, x, n, m->d, weights, m->h);
}
