// SPDX-License-Identifier: Apache-2.0
//
// Rows of numbers as fixed point numbers, for products with codes whose scales
// are per group (docs/numerics.md sections 4 and 5): of 15 bits from reals
// (two digits), or of 8 bits, which are the codes of dynamic quantization (one
// digit).
//
// Two digits: q = 128 * high + low, high in -127..127, low in 0..127. A row in
// memory, 64-byte aligned, P = K rounded up to 64 (a plane):
//     high s8[P], low s8[P] (two digits), sums of q i32[groups], scale f32
// Elements from K up to K rounded up to 16 are 0, those after them anything.
#ifndef PTQC_BACKENDS_CPU_FIXED_H
#define PTQC_BACKENDS_CPU_FIXED_H

#include <stdint.h>

#include "backends/kgen/worker.h"
#include "jit.h"

typedef struct pq_fixed_shape {
    int64_t k;
    int64_t group;   // of the codes' scales, a multiple of 16
    uint32_t digits; // 1 or 2
    uint32_t reserved;
} pq_fixed_shape;

// From one digit's plane to the next.
static inline int64_t
pq_fixed_plane(const pq_fixed_shape *s)
{
    return (s->k + 63) / 64 * 64;
}

static inline int64_t
pq_fixed_groups(const pq_fixed_shape *s)
{
    return s->k / s->group + (s->k % s->group > 0);
}

static inline int64_t
pq_fixed_sums_offset(const pq_fixed_shape *s)
{
    return (int64_t)s->digits * pq_fixed_plane(s);
}

static inline int64_t
pq_fixed_scale_offset(const pq_fixed_shape *s)
{
    return pq_fixed_sums_offset(s) + 4 * pq_fixed_groups(s);
}

// Bytes from row to row.
static inline int64_t
pq_fixed_row_bytes(const pq_fixed_shape *s)
{
    return (pq_fixed_scale_offset(s) + 4 + 63) / 64 * 64;
}

// Whether the arithmetic above is defined.
static inline int
pq_fixed_is_valid(const pq_fixed_shape *s)
{
    return s->k > 0 && s->k < INT64_MAX / 16 && s->group > 0 &&
           s->group % 16 == 0 && s->group < INT32_MAX &&
           (s->digits == 1 || s->digits == 2);
}

// Key of the kernel.
typedef struct pq_fixed_key {
    uint32_t rest;       // k % 16
    uint32_t is_partial; // k % group > 0
    uint32_t digits;     // 1: from codes
    uint32_t reserved;
} pq_fixed_key;

extern const pq_kernel_class pq_fixed_class;

typedef struct pq_fixed {
    void (*kernel)(const void *args);
    int64_t rows;
    pq_fixed_shape shape;
} pq_fixed;

ptqc_be_status pq_fixed_prepare(pq_jit *jit, ptqc_call *call, pq_fixed *fixed);
// x: [rows][k] f32; with one digit [rows][k] u8, codes + 128, and scales
// [rows].
void pq_fixed_run(const pq_fixed *fixed, const void *x, const float *scales,
                  void *out, const pq_worker *worker);

#endif
