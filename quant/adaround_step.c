// SPDX-License-Identifier: Apache-2.0
//
// Rectified sigmoids (Louizos et al., 2018; AdaRound eq. 23) and Adam (Kingma
// and Ba, 2015), element by element; compiled with and without fma
// instructions, with the same bits.

#include "quant/adaround_step.h"

#include <math.h>

#include "base/mathfn.h"

#define INLINE static inline __attribute__((always_inline))

#define ZETA    1.1f // the sigmoid is stretched to [GAMMA, ZETA] and cut
#define GAMMA   (-.1f)
#define MEAN    .9f // decay of the moments
#define SQUARE  .999f
#define EPSILON 1e-8f
#define BLOCK   64

// How far up: 0 to 1.
INLINE float
soft_of(float sigmoid)
{
    float h = sigmoid * (ZETA - GAMMA) + GAMMA;
    return pq_clipf(h, 0, 1);
}

// x^y for 0 <= x <= 1 and y >= 1, within a few ulp: only pulls.
INLINE float
power_of(float x, float y)
{
    return pq_expf(y * pq_logf(pq_maxf(x, 1e-30f)));
}

// Constant counts and no aliases make vectors of this loop.
INLINE void
step_some(const pq_soft *s, int64_t first, int n, const pq_adam *a)
{
    float *restrict v = s->v + first;
    float *restrict mean = s->mean + first;
    float *restrict square = s->square + first;
    const float *restrict rest = s->rest + first;
    const float *restrict step = s->step + first;
    const float *restrict slopes = s->gradient + first; // of the loss, by e
    float *restrict e = s->e + first;
    float weight = 2 * a->factor;
    float strength = 2 * a->lambda * a->beta;
    float power = a->beta - 1;
    float rate = a->rate;
    float correction = a->correction;
    float roots[BLOCK];
    for (int i = 0; i < n; i++) {
        float sigmoid = pq_sigmoidf(v[i]);
        float h = soft_of(sigmoid);
        // No gradient where h is cut, or where there is no code above (exactly
        // 0). A factor, not a branch.
        float live = (float)(h > 0) * (float)(h < 1) * (float)(step[i] != 0);
        float slope = sigmoid * (1 - sigmoid) * (ZETA - GAMMA) * live;
        // lambda (1 - |2 h - 1|^beta) by h
        float middle = 2 * h - 1;
        float pull = strength * power_of(fabsf(middle), power);
        float g =
            (-copysignf(pull, middle) - weight * slopes[i] * step[i]) * slope;
        mean[i] = MEAN * mean[i] + (1 - MEAN) * g;
        square[i] = SQUARE * square[i] + (1 - SQUARE) * g * g;
    }
    for (int i = 0; i < n; i++) { // alone: sqrtf may set errno
        roots[i] = sqrtf(square[i] * correction);
    }
    for (int i = 0; i < n; i++) {
        v[i] -= rate * mean[i] / (roots[i] + EPSILON);
        e[i] = rest[i] - step[i] * soft_of(pq_sigmoidf(v[i]));
    }
}

INLINE void
step_body(const pq_soft *s, int64_t n, const pq_adam *a)
{
    int64_t i = 0;
    for (; i + BLOCK <= n; i += BLOCK) {
        step_some(s, i, BLOCK, a);
    }
    step_some(s, i, (int)(n - i), a);
}

static void
step_plain(const pq_soft *s, int64_t n, const pq_adam *a)
{
    step_body(s, n, a);
}

#if defined(__x86_64__)
// flatten: the functions of mathfn.h must get the target's fma, too.
__attribute__((target("avx2,fma"), flatten)) static void
step_fma(const pq_soft *s, int64_t n, const pq_adam *a)
{
    step_body(s, n, a);
}
#endif

void
pq_soft_step(const pq_soft *s, int64_t n, const pq_adam *a)
{
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) {
        step_fma(s, n, a);
        return;
    }
#endif
    step_plain(s, n, a);
}

void
pq_soft_init(const pq_soft *s, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        float h = s->step[i] != 0 ? s->rest[i] / s->step[i] : 0; // exact 0
        h = pq_clipf(h, .01f, .99f);
        float sigmoid = (h - GAMMA) / (ZETA - GAMMA);
        s->v[i] = -pq_logf(1 / sigmoid - 1);
        s->mean[i] = 0;
        s->square[i] = 0;
        s->e[i] = s->rest[i] - s->step[i] * soft_of(pq_sigmoidf(s->v[i]));
    }
}
