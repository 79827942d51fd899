// SPDX-License-Identifier: Apache-2.0
//
// Seeded random numbers.
#include "tests/support/random.h"

#include <math.h>

static uint64_t
rotate_left(uint64_t x, unsigned k)
{
    return x << k | x >> (64 - k);
}

pq_test_random
pq_test_random_seed(uint64_t seed)
{
    pq_test_random r;
    for (int i = 0; i < 4; i++) { // splitmix64
        seed += 0x9e3779b97f4a7c15u;
        uint64_t z = seed;
        z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
        z = (z ^ z >> 27) * 0x94d049bb133111ebu;
        r.state[i] = z ^ z >> 31;
    }
    return r;
}

uint64_t
pq_test_random_u64(pq_test_random *r)
{
    uint64_t *s = r->state;
    uint64_t result = rotate_left(s[1] * 5, 7) * 9;
    uint64_t t = s[1] << 17;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = rotate_left(s[3], 45);
    return result;
}

int64_t
pq_test_random_int(pq_test_random *r, int64_t low, int64_t high)
{
    uint64_t span = (uint64_t)high - (uint64_t)low + 1; // 0 = all 2^64
    uint64_t x = pq_test_random_u64(r);
    return (int64_t)((uint64_t)low + (span != 0 ? x % span : x));
}

// 24 random bits in [0, 1).
static float
unit_f32(pq_test_random *r)
{
    return (float)(pq_test_random_u64(r) >> 40) * 0x1p-24f;
}

float
pq_test_random_f32(pq_test_random *r, float low, float high)
{
    return low + (high - low) * unit_f32(r);
}

float
pq_test_random_normal(pq_test_random *r)
{
    float u = 1.0f - unit_f32(r); // (0, 1]
    float v = unit_f32(r);
    return sqrtf(-2.0f * logf(u)) * cosf(6.2831853f * v); // 2 pi
}

void
pq_test_fill_f32(pq_test_random *r, float *x, size_t n, float low, float high)
{
    for (size_t i = 0; i < n; i++) {
        x[i] = pq_test_random_f32(r, low, high);
    }
}

void
pq_test_fill_normal(pq_test_random *r, float *x, size_t n, float deviation)
{
    for (size_t i = 0; i < n; i++) {
        x[i] = deviation * pq_test_random_normal(r);
    }
}

void
pq_test_fill_bytes(pq_test_random *r, void *p, size_t n)
{
    uint8_t *bytes = p;
    for (size_t i = 0; i < n; i++) {
        bytes[i] = (uint8_t)(pq_test_random_u64(r) >> 56);
    }
}
