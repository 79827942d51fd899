// SPDX-License-Identifier: Apache-2.0
//
// Small groups, see adaround_group.h; compiled with and without avx2
// instructions, with the same bits: LANES sums of a product of vectors, then
// lanes l and l + 8, l + 4, l + 2, l + 1 are combined.

#include "quant/adaround_group.h"

#include <string.h>

#define INLINE static inline __attribute__((always_inline))
#define LANES  16

INLINE void
add_scaled(const float *restrict x, int64_t n, float factor, float *restrict y)
{
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        for (int l = 0; l < LANES; l++) {
            y[i + l] += factor * x[i + l];
        }
    }
    for (; i < n; i++) {
        y[i] += factor * x[i];
    }
}

INLINE float
product(const float *restrict a, const float *restrict b, int64_t n)
{
    float lanes[LANES] = {0};
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        for (int l = 0; l < LANES; l++) {
            lanes[l] += a[i + l] * b[i + l];
        }
    }
    for (; i < n; i++) {
        lanes[i % LANES] += a[i] * b[i];
    }
    for (int width = LANES / 2; width > 0; width /= 2) {
        for (int l = 0; l < width; l++) {
            lanes[l] += lanes[l + width];
        }
    }
    return lanes[0];
}

INLINE void
outputs_body(const pq_group_places *p, const float *w, float *y, int64_t y_ld)
{
    for (int64_t r = 0; r < p->rows; r++) {
        memset(y + r * y_ld, 0, (size_t)p->n * sizeof *y);
        for (int64_t k = 0; k < p->d; k++) {
            add_scaled(p->x + k * p->x_ld, p->n, w[r * p->d + k], y + r * y_ld);
        }
    }
}

INLINE void
gradient_body(const pq_group_places *p, const float *y, int64_t y_ld,
              float *gradient)
{
    for (int64_t r = 0; r < p->rows; r++) {
        for (int64_t k = 0; k < p->d; k++) {
            gradient[r * p->d + k] =
                -product(y + r * y_ld, p->x + k * p->x_ld, p->n);
        }
    }
}

#if defined(__x86_64__)
#define AVX2 __attribute__((target("avx2"), flatten))

AVX2 static void
outputs_avx2(const pq_group_places *p, const float *w, float *y, int64_t y_ld)
{
    outputs_body(p, w, y, y_ld);
}

AVX2 static void
gradient_avx2(const pq_group_places *p, const float *y, int64_t y_ld,
              float *gradient)
{
    gradient_body(p, y, y_ld, gradient);
}
#endif

void
pq_group_outputs(const pq_group_places *p, const float *w, float *y,
                 int64_t y_ld)
{
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx2")) {
        outputs_avx2(p, w, y, y_ld);
        return;
    }
#endif
    outputs_body(p, w, y, y_ld);
}

void
pq_group_gradient(const pq_group_places *p, const float *y, int64_t y_ld,
                  float *gradient)
{
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx2")) {
        gradient_avx2(p, y, y_ld, gradient);
        return;
    }
#endif
    gradient_body(p, y, y_ld, gradient);
}
