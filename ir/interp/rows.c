// SPDX-License-Identifier: Apache-2.0
//
// The inner loops of products and activations, each one text compiled twice:
// for the build's own machine level, where fmaf may be a library call, and
// for avx2 with fma. Both give the same bits, since fmaf rounds once and the
// order of terms is the text's.
#include <math.h>

#include "ir/interp/act_body.h"
#include "ir/interp/eval.h"

#define BODY static inline __attribute__((always_inline)) void

// Four k per pass: the accumulators stay in cache, the additions in order.
BODY
dot_f32_body(float *restrict acc, const float *restrict a,
             const float *restrict b, int64_t k)
{
    int64_t i = 0;
    for (; i + 4 <= k; i += 4, b += 4 * PQ_PANEL) {
        for (int j = 0; j < PQ_PANEL; j++) {
            float s = fmaf(a[i], b[j], acc[j]);
            s = fmaf(a[i + 1], b[PQ_PANEL + j], s);
            s = fmaf(a[i + 2], b[2 * PQ_PANEL + j], s);
            acc[j] = fmaf(a[i + 3], b[3 * PQ_PANEL + j], s);
        }
    }
    for (; i < k; i++, b += PQ_PANEL) {
        for (int j = 0; j < PQ_PANEL; j++) {
            acc[j] = fmaf(a[i], b[j], acc[j]);
        }
    }
}

// |a|, |b| <= 2^15: products fit int32, sums wrap.
BODY
dot_i16_body(uint32_t *restrict acc, const int16_t *restrict a,
             const int16_t *restrict b, int64_t k)
{
    for (int64_t i = 0; i < k; i++, b += PQ_PANEL) {
        int32_t x = a[i];
        for (int j = 0; j < PQ_PANEL; j++) {
            acc[j] += (uint32_t)(x * b[j]);
        }
    }
}

BODY
mac_f32_body(float *restrict acc, const float *restrict a,
             const float *restrict b)
{
    for (int j = 0; j < PQ_PANEL; j++) {
        acc[j] = fmaf(a[j], b[j], acc[j]);
    }
}

BODY
mac_i16_body(uint32_t *restrict acc, const int16_t *restrict a,
             const int16_t *restrict b)
{
    for (int j = 0; j < PQ_PANEL; j++) {
        acc[j] += (uint32_t)((int32_t)a[j] * b[j]);
    }
}

#define VARIANT(suffix, attributes)                                            \
    attributes static void dot_f32_##suffix(float *acc, const float *a,        \
                                            const float *b, int64_t k)         \
    {                                                                          \
        dot_f32_body(acc, a, b, k);                                            \
    }                                                                          \
    attributes static void dot_i16_##suffix(uint32_t *acc, const int16_t *a,   \
                                            const int16_t *b, int64_t k)       \
    {                                                                          \
        dot_i16_body(acc, a, b, k);                                            \
    }                                                                          \
    attributes static void mac_f32_##suffix(float *acc, const float *a,        \
                                            const float *b)                    \
    {                                                                          \
        mac_f32_body(acc, a, b);                                               \
    }                                                                          \
    attributes static void mac_i16_##suffix(uint32_t *acc, const int16_t *a,   \
                                            const int16_t *b)                  \
    {                                                                          \
        mac_i16_body(acc, a, b);                                               \
    }                                                                          \
    attributes static void act_##suffix(const pq_act *act, const float *x,     \
                                        float *y, int64_t n)                   \
    {                                                                          \
        act_body(act, x, y, n);                                                \
    }                                                                          \
    static const pq_rows rows_##suffix = {dot_f32_##suffix, dot_i16_##suffix,  \
                                          mac_f32_##suffix, mac_i16_##suffix,  \
                                          act_##suffix};

VARIANT(plain, )
#if defined(__x86_64__)
// flatten: the functions of mathfn.h must get the target's fma, too.
VARIANT(fma, __attribute__((target("avx2,fma"), flatten)))
#endif

const pq_rows *
pq_rows_variant(unsigned index)
{
    if (index == 0) {
        return &rows_plain;
    }
#if defined(__x86_64__)
    if (index == 1 && __builtin_cpu_supports("avx2") &&
        __builtin_cpu_supports("fma")) {
        return &rows_fma;
    }
#endif
    return NULL;
}

const pq_rows *
pq_rows_get(void)
{
    const pq_rows *best = pq_rows_variant(1);
    return best != NULL ? best : pq_rows_variant(0);
}
