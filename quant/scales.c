// SPDX-License-Identifier: Apache-2.0
//
// Scales of input channels, see scales.h.

#include "quant/scales.h"

#include <math.h>

#include "base/mathfn.h"

ptqc_status
pq_tie_check(ptqc_ctx *ctx, const pq_tie *tie, int64_t d)
{
    if (tie->repeat <= 1) {
        return PTQC_OK;
    }
    if (tie->inner <= 0 || tie->inner > d || tie->repeat > d / tie->inner ||
        d % (tie->repeat * tie->inner) != 0) {
        return PQ_FAIL(
            ctx, PTQC_E_USAGE, "%lld inputs cannot be tied as %lld times %lld",
            (long long)d, (long long)tie->repeat, (long long)tie->inner);
    }
    return PTQC_OK;
}

void
pq_tie_magnitudes(const pq_tie *tie, int64_t d, float *magnitudes)
{
    if (tie->repeat <= 1) {
        return;
    }
    int64_t step = tie->repeat * tie->inner;
    for (int64_t first = 0; first < d; first += step) {
        for (int64_t i = 0; i < tie->inner; i++) {
            float *at = magnitudes + first + i;
            float largest = 0;
            for (int64_t k = 0; k < tie->repeat; k++) {
                largest = fmaxf(largest, at[k * tie->inner]);
            }
            for (int64_t k = 0; k < tie->repeat; k++) {
                at[k * tie->inner] = largest;
            }
        }
    }
}

void
pq_scales_of_magnitudes(const float *magnitudes, int64_t d, float exponent,
                        float *out_s)
{
    // Logarithms: neither powers nor their product leave the range of floats.
    float least = HUGE_VALF;
    float largest = -HUGE_VALF;
    for (int64_t j = 0; j < d; j++) {
        if (magnitudes[j] > 0) {
            float s = exponent * pq_logf(magnitudes[j]);
            least = fminf(least, s);
            largest = fmaxf(largest, s);
        }
    }
    float limit = pq_logf(PQ_CHANNEL_SCALE_MAX);
    for (int64_t j = 0; j < d; j++) {
        float s = 0;
        if (magnitudes[j] > 0) {
            s = exponent * pq_logf(magnitudes[j]) - (least + largest) / 2;
            s = fminf(fmaxf(s, -limit), limit);
        }
        out_s[j] = pq_expf(s);
    }
}
