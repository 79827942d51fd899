// SPDX-License-Identifier: Apache-2.0
//
// Greedy and random choice of the next token. Everything in f32 with our own
// exp and a fixed order, so that a seed gives the same tokens everywhere.

#include "runtime/sample.h"

#include <math.h>
#include <stdlib.h>

#include "base/mathfn.h"

// Tokens less likely than e^-30 times the best are never drawn: 2^-43, below
// what 2^24 steps of a f32 draw can hit.
#define PQ_NEVER (-30.0f)

// ---- random numbers -------------------------------------------------------

static uint64_t
splitmix(uint64_t *state)
{
    uint64_t z = (*state += UINT64_C(0x9e3779b97f4a7c15));
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

static uint64_t
rotate(uint64_t x, int k)
{
    return (x << k) | (x >> (64 - k));
}

static uint64_t
next_random(uint64_t s[4])
{
    uint64_t result = rotate(s[1] * 5, 7) * 9, t = s[1] << 17;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = rotate(s[3], 45);
    return result;
}

ptqc_status
pq_sampler_init(ptqc_ctx *ctx, pq_sampler *s, const ptqc_sampling *how,
                uint32_t vocabulary, uint64_t stream)
{
    *s = (pq_sampler){.how = *how, .vocabulary = vocabulary};
    uint64_t seed = how->seed ^ (stream * UINT64_C(0xd1342543de82ef95));
    for (int i = 0; i < 4; i++) {
        s->state[i] = splitmix(&seed);
    }
    s->candidates = pq_alloc_array(ctx, vocabulary, sizeof *s->candidates);
    return s->candidates != NULL ? PTQC_OK : PTQC_E_RESOURCE;
}

void
pq_sampler_deinit(ptqc_ctx *ctx, pq_sampler *s)
{
    pq_free(ctx, s->candidates);
    s->candidates = NULL;
}

// ---- candidates -----------------------------------------------------------

// Descending by score, ascending by id among equals.
static int
compare(const void *a, const void *b)
{
    const pq_candidate *x = a, *y = b;
    if (x->p != y->p) {
        return x->p < y->p ? 1 : -1;
    }
    return (x->id > y->id) - (x->id < y->id);
}

// Candidates that could be drawn at all, sorted; -> count.
static uint32_t
collect(pq_sampler *s, const float *logits, float best)
{
    float least = best + PQ_NEVER * s->how.temperature;
    uint32_t n = 0;
    for (uint32_t i = 0; i < s->vocabulary; i++) {
        if (logits[i] >= least) { // false for NaN
            s->candidates[n++] =
                (pq_candidate){.id = (int32_t)i, .p = logits[i]};
        }
    }
    qsort(s->candidates, n, sizeof *s->candidates, compare);
    return s->how.top_k > 0 && s->how.top_k < n ? s->how.top_k : n;
}

// Cuts the tail: top_p of the sum, min_p of the best.
static uint32_t
cut(const pq_sampler *s, uint32_t n, float sum)
{
    float kept = 0;
    for (uint32_t i = 0; i < n; i++) {
        if (s->how.min_p > 0 && s->candidates[i].p < s->how.min_p) {
            return i; // the best has weight 1
        }
        if (s->how.top_p > 0 && kept >= s->how.top_p * sum) {
            return i;
        }
        kept += s->candidates[i].p;
    }
    return n;
}

static float
weigh(pq_sampler *s, uint32_t n, float best)
{
    float sum = 0;
    for (uint32_t i = 0; i < n; i++) {
        pq_candidate *c = &s->candidates[i];
        c->p = pq_expf((c->p - best) / s->how.temperature);
        sum += c->p;
    }
    return sum;
}

static int32_t
draw(pq_sampler *s, const float *logits, float best)
{
    uint32_t n = collect(s, logits, best);
    n = cut(s, n, weigh(s, n, best));
    n = n > 0 ? n : 1;
    float sum = 0;
    for (uint32_t i = 0; i < n; i++) {
        sum += s->candidates[i].p;
    }
    float at = (float)(next_random(s->state) >> 40) * 0x1p-24f * sum;
    for (uint32_t i = 0; i + 1 < n; i++) {
        if (at < s->candidates[i].p) {
            return s->candidates[i].id;
        }
        at -= s->candidates[i].p;
    }
    return s->candidates[n - 1].id;
}

ptqc_status
pq_sampler_next(ptqc_ctx *ctx, pq_sampler *s, const float *logits, int32_t *out)
{
    int32_t best = -1;
    for (uint32_t i = 0; i < s->vocabulary; i++) {
        if (isfinite(logits[i]) && (best < 0 || logits[i] > logits[best])) {
            best = (int32_t)i;
        }
    }
    if (best < 0) {
        return PQ_FAIL(ctx, PTQC_E_NUMERIC, "the model gave no finite score");
    }
    *out = s->how.temperature > 0 ? draw(s, logits, logits[best]) : best;
    return PTQC_OK;
}
