// SPDX-License-Identifier: Apache-2.0
//
// Seeded random numbers: xoshiro256** (Blackman and Vigna, 2018), seeded by
// splitmix64. The same seed gives the same numbers everywhere.
#ifndef PTQC_TESTS_RANDOM_H
#define PTQC_TESTS_RANDOM_H

#include <stddef.h>
#include <stdint.h>

typedef struct pq_test_random {
    uint64_t state[4];
} pq_test_random;

pq_test_random pq_test_random_seed(uint64_t seed);
uint64_t pq_test_random_u64(pq_test_random *r);
// low <= result <= high.
int64_t pq_test_random_int(pq_test_random *r, int64_t low, int64_t high);
// low <= result < high.
float pq_test_random_f32(pq_test_random *r, float low, float high);
// Mean 0, deviation 1 (Box and Muller).
float pq_test_random_normal(pq_test_random *r);

void pq_test_fill_f32(pq_test_random *r, float *x, size_t n, float low,
                      float high);
void pq_test_fill_normal(pq_test_random *r, float *x, size_t n,
                         float deviation);
// Every byte value, for s8 and u8 codes.
void pq_test_fill_bytes(pq_test_random *r, void *p, size_t n);

#endif
