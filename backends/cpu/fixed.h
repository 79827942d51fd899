// SPDX-License-Identifier: Apache-2.0
//
// Rows of real numbers as fixed point numbers of 15 bits, for products with
// codes whose scales are per group (docs/numerics.md section 4).
//
// q = 128 * high + low, high in -127..127, low in 0..127. A row in memory,
// 64-byte aligned, P = K rounded up to 16, zeros beyond K:
//     high s8[P], low s8[P], sums of q i32[groups], scale f32
#ifndef PTQC_BACKENDS_CPU_FIXED_H
#define PTQC_BACKENDS_CPU_FIXED_H

#include <stdint.h>

#include "jit.h"
#include "step.h"

// From the high to the low digits.
static inline int64_t
pq_fixed_low_offset(int64_t k)
{
    return (k + 15) / 16 * 16;
}

static inline int64_t
pq_fixed_groups(int64_t k, int64_t group)
{
    return k / group + (k % group > 0);
}

static inline int64_t
pq_fixed_sums_offset(int64_t k)
{
    return 2 * pq_fixed_low_offset(k);
}

static inline int64_t
pq_fixed_scale_offset(int64_t k, int64_t group)
{
    return pq_fixed_sums_offset(k) + 4 * pq_fixed_groups(k, group);
}

// Bytes from row to row.
static inline int64_t
pq_fixed_row_bytes(int64_t k, int64_t group)
{
    return (pq_fixed_scale_offset(k, group) + 4 + 63) / 64 * 64;
}

// Key of the kernel.
typedef struct pq_fixed_key {
    uint32_t rest;       // k % 16
    uint32_t is_partial; // k % group > 0
} pq_fixed_key;

extern const pq_kernel_class pq_fixed_class;

typedef struct pq_fixed {
    void (*kernel)(const void *args);
    int64_t rows, k, group;
} pq_fixed;

// group: a multiple of 16, of the codes' scales.
ptqc_be_status pq_fixed_prepare(pq_jit *jit, ptqc_call *call, pq_fixed *fixed);
void pq_fixed_run(const pq_fixed *fixed, const float *x, void *out,
                  const pq_worker *worker);

#endif
