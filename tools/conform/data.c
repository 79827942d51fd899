// SPDX-License-Identifier: Apache-2.0
//
// Random inputs and the comparison of outputs. The generator is splitmix64
// (Steele, Lea, Flood 2014): the same seed gives the same trial everywhere.
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/dtype.h"
#include "base/float16.h"
#include "base/narrow.h"
#include "tools/conform/conform.h"

uint64_t
pq_random_next(pq_random *r)
{
    uint64_t z = r->state += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

uint32_t
pq_random_below(pq_random *r, uint32_t n)
{
    return (uint32_t)((pq_random_next(r) >> 32) * n >> 32);
}

float
pq_random_unit(pq_random *r)
{
    return (float)(pq_random_next(r) >> 40) * 0x1p-24f;
}

// ---- filling --------------------------------------------------------------

static float
random_real(pq_random *r, const pq_fill *how)
{
    static const float odd[] = {0.0f,   -0.0f,    1.0f,      -1.0f,
                                100.0f, -100.0f,  1e-30f,    -1e-30f,
                                1e30f,  INFINITY, -INFINITY, NAN};
    if (how->bound > 0) {
        return (float)pq_random_below(r, (uint32_t)how->bound);
    }
    if (how->is_scale && pq_random_below(r, 8) == 0) {
        return 0.0f;
    }
    if (how->is_positive || how->is_scale) {
        return 0.01f + pq_random_unit(r);
    }
    if (how->is_extreme && pq_random_below(r, 4) == 0) {
        return odd[pq_random_below(r, sizeof odd / sizeof *odd)];
    }
    return 8.0f * pq_random_unit(r) - 4.0f;
}

static void
put_real(ptqc_dtype dtype, float x, uint8_t *p)
{
    uint16_t half = dtype == PTQC_F16 ? pq_f32_to_f16(x) : pq_f32_to_bf16(x);
    double wide = (double)x;
    switch ((int)dtype) {
    case PTQC_F32:
        memcpy(p, &x, 4);
        break;
    case PTQC_F64:
        memcpy(p, &wide, 8);
        break;
    case PTQC_F16:
    case PTQC_BF16:
        memcpy(p, &half, 2);
        break;
    default:
        *p = pq_narrow_of(dtype)->from_f32(x);
        break;
    }
}

static int64_t
random_int(pq_random *r, const pq_fill *how)
{
    unsigned bits = pq_dtype_bits(how->dtype);
    if (how->bound > 0) {
        return pq_random_below(r, (uint32_t)how->bound);
    }
    if (how->dtype == PTQC_BOOL) {
        return pq_random_below(r, 2);
    }
    if (how->is_bias) {
        return (int64_t)pq_random_below(r, 4001) - 2000;
    }
    if (how->is_extreme && bits <= 16) {
        int64_t least =
            pq_dtype_is_signed(how->dtype) ? -(INT64_C(1) << (bits - 1)) : 0;
        return pq_random_below(r, 2) != 0 ? least
                                          : least + (INT64_C(1) << bits) - 1;
    }
    // Wide integers stay small, so that sums and products mean something.
    return bits <= 16 ? (int64_t)(pq_random_next(r) >> (64 - bits))
                      : (int64_t)pq_random_below(r, 201) -
                            (pq_dtype_is_signed(how->dtype) ? 100 : 0);
}

// 4-bit rows start on a byte.
static void
fill_nibbles(pq_random *r, const pq_fill *how, uint8_t *p, size_t bytes,
             int64_t last_dim)
{
    size_t row = ((size_t)last_dim + 1) / 2;
    for (size_t i = 0; i < bytes; i++) {
        bool is_half = last_dim % 2 != 0 && (i + 1) % row == 0;
        uint64_t low = (uint64_t)random_int(r, how) & 15;
        uint64_t high = is_half ? 0 : (uint64_t)random_int(r, how) & 15;
        p[i] = (uint8_t)(low | high << 4);
    }
}

void
pq_kit_fill(pq_random *r, const pq_fill *how, void *to, size_t bytes,
            int64_t last_dim)
{
    unsigned bits = pq_dtype_bits(how->dtype);
    size_t size = bits / 8;
    uint8_t *p = to;
    if (bits < 8) {
        fill_nibbles(r, how, p, bytes, last_dim);
        return;
    }
    for (size_t at = 0; at + size <= bytes; at += size) {
        if (pq_dtype_is_float(how->dtype)) {
            put_real(how->dtype, random_real(r, how), p + at);
        } else {
            int64_t i = random_int(r, how);
            memcpy(p + at, &i, size); // little-endian: the low bytes
        }
    }
}

// ---- comparing ------------------------------------------------------------

static double
real_at(const pq_tensor *t, size_t i)
{
    const uint8_t *p = (const uint8_t *)t->p + i * pq_dtype_bits(t->dtype) / 8;
    float x;
    double wide;
    uint16_t half;
    switch ((int)t->dtype) {
    case PTQC_F32:
        memcpy(&x, p, 4);
        return (double)x;
    case PTQC_F64:
        memcpy(&wide, p, 8);
        return wide;
    case PTQC_F16:
        memcpy(&half, p, 2);
        return (double)pq_f16_to_f32(half);
    case PTQC_BF16:
        memcpy(&half, p, 2);
        return (double)pq_bf16_to_f32(half);
    default: // integers are compared as bytes
        return pq_narrow_of(t->dtype) != NULL
                   ? (double)pq_narrow_of(t->dtype)->to_f32(*p)
                   : 0.0;
    }
}

static size_t
element_count(const pq_tensor *t)
{
    size_t n = 1;
    for (uint32_t i = 0; i < t->rank; i++) {
        n *= (size_t)t->dims[i];
    }
    return n;
}

static bool
equal_ints(const pq_tensor *got, const pq_tensor *want, char *text,
           size_t text_bytes)
{
    const uint8_t *a = got->p, *b = want->p;
    size_t size = pq_dtype_bits(got->dtype) / 8;
    size = size == 0 ? 1 : size;
    for (size_t i = 0; i < want->bytes; i++) {
        if (a[i] != b[i]) {
            int64_t x = 0, y = 0;
            size_t at = i / size * size;
            memcpy(&x, a + at, size);
            memcpy(&y, b + at, size);
            snprintf(text, text_bytes,
                     "element %zu is 0x%llx, the interpreter has 0x%llx",
                     at / size, (unsigned long long)x, (unsigned long long)y);
            return false;
        }
    }
    return true;
}

static bool
equal_exactly(const pq_tensor *got, const pq_tensor *want, char *text,
              size_t text_bytes)
{
    size_t n = element_count(want), size = pq_dtype_bits(want->dtype) / 8;
    for (size_t i = 0; i < n; i++) {
        double x = real_at(got, i), y = real_at(want, i);
        if (memcmp((const uint8_t *)got->p + i * size,
                   (const uint8_t *)want->p + i * size, size) != 0 &&
            !(isnan(x) && isnan(y))) {
            snprintf(text, text_bytes,
                     "element %zu is %.9g, the interpreter has %.9g", i, x, y);
            return false;
        }
    }
    return true;
}

static bool
equal_nearly(const pq_tensor *got, const pq_tensor *want, float tolerance,
             char *text, size_t text_bytes)
{
    size_t n = element_count(want);
    double difference = 0.0, norm = 0.0;
    for (size_t i = 0; i < n; i++) {
        double x = real_at(got, i), y = real_at(want, i);
        if (!isfinite(x) || !isfinite(y)) {
            if (x != y && !(isnan(x) && isnan(y))) { // infinities are exact
                snprintf(text, text_bytes,
                         "element %zu is %g, the interpreter has %g", i, x, y);
                return false;
            }
            continue;
        }
        difference += (x - y) * (x - y);
        norm += y * y;
    }
    if (sqrt(difference) > (double)tolerance * sqrt(norm)) {
        snprintf(text, text_bytes, "relative error %.3g, its rule says %.3g",
                 sqrt(difference / (norm > 0.0 ? norm : 1.0)),
                 (double)tolerance);
        return false;
    }
    return true;
}

bool
pq_kit_equal(const pq_tensor *got, const pq_tensor *want, float tolerance,
             char *out_text, size_t text_bytes)
{
    if (!pq_dtype_is_float(want->dtype)) {
        return equal_ints(got, want, out_text, text_bytes);
    }
    return tolerance > 0.0f
               ? equal_nearly(got, want, tolerance, out_text, text_bytes)
               : equal_exactly(got, want, out_text, text_bytes);
}
