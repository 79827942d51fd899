// SPDX-License-Identifier: Apache-2.0
//
// Arithmetic on numbers that come from files: true and a result, or false.
#ifndef PTQC_BASE_CHECKED_H
#define PTQC_BASE_CHECKED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

static inline bool
pq_add_size(size_t a, size_t b, size_t *out)
{
    return !__builtin_add_overflow(a, b, out);
}

static inline bool
pq_mul_size(size_t a, size_t b, size_t *out)
{
    return !__builtin_mul_overflow(a, b, out);
}

static inline bool
pq_add_i64(int64_t a, int64_t b, int64_t *out)
{
    return !__builtin_add_overflow(a, b, out);
}

static inline bool
pq_sub_i64(int64_t a, int64_t b, int64_t *out)
{
    return !__builtin_sub_overflow(a, b, out);
}

static inline bool
pq_mul_i64(int64_t a, int64_t b, int64_t *out)
{
    return !__builtin_mul_overflow(a, b, out);
}

// align is a power of two.
static inline bool
pq_align_size(size_t n, size_t align, size_t *out)
{
    size_t up;
    if (!pq_add_size(n, align - 1, &up)) {
        return false;
    }
    *out = up & ~(align - 1);
    return true;
}

static inline bool
pq_cast_u32(uint64_t x, uint32_t *out)
{
    *out = (uint32_t)x;
    return x <= UINT32_MAX;
}

// a / b rounded to minus and plus infinity; b > 0.
static inline int64_t
pq_floor_div(int64_t a, int64_t b)
{
    return a / b - (a % b < 0);
}

static inline int64_t
pq_ceil_div(int64_t a, int64_t b)
{
    return a / b + (a % b > 0);
}

#endif
