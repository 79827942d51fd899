// SPDX-License-Identifier: Apache-2.0
//
// Number formats of at most 8 bits, see narrow.h.
#include "base/narrow.h"

#include <math.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/float16.h"

// ---- f8e8m0 ---------------------------------------------------------------

float
pq_e8m0_to_f32(uint8_t b)
{
    return b == 255 ? NAN : ldexpf(1.0f, b - 127);
}

uint8_t
pq_f32_to_e8m0(float x)
{
    int exponent;
    if (isnan(x)) {
        return 255;
    }
    if (!(x > 0)) {
        return 0;
    }
    if (isinf(x)) {
        return 254;
    }
    float fraction = frexpf(x, &exponent); // x = fraction * 2^exponent, >= 0.5
    int code = exponent - 1 + 127;
    bool is_tie = fraction == 0.75f;
    code += fraction > 0.75f || (is_tie && code % 2 != 0);
    return (uint8_t)(code < 0 ? 0 : code > 254 ? 254 : code);
}

// ---- codes of 4 bits -------------------------------------------------------

// [code], magnitudes of f4e2m1.
static const float e2m1_numbers[8] = {0.0f, 0.5f, 1.0f, 1.5f,
                                      2.0f, 3.0f, 4.0f, 6.0f};

static const float nf4_numbers[16] = {
    -1.0f,
    -0.6961928009986877f,
    -0.5250730514526367f,
    -0.39491748809814453f,
    -0.28444138169288635f,
    -0.18477343022823334f,
    -0.09105003625154495f,
    0.0f,
    0.07958029955625534f,
    0.16093020141124725f,
    0.24611230194568634f,
    0.33791524171829224f,
    0.44070982933044434f,
    0.5626170039176941f,
    0.7229568362236023f,
    1.0f,
};

float
pq_e2m1_to_f32(uint8_t b)
{
    float magnitude = e2m1_numbers[b & 7u];
    return (b & 8u) != 0 ? -magnitude : magnitude;
}

// How many of the midpoints between ascending numbers x is above: the nearest
// of them. Exact: a midpoint of two f32 is a double.
static uint32_t
nearest(const float *numbers, uint32_t count, double x, bool ties_to_even)
{
    uint32_t code = 0;
    for (uint32_t i = 0; i + 1 < count; i++) {
        double middle = ((double)numbers[i] + (double)numbers[i + 1]) / 2;
        bool is_tie_up = ties_to_even && x == middle && i % 2 != 0;
        code += x > middle || is_tie_up;
    }
    return code;
}

uint8_t
pq_f32_to_e2m1(float x)
{
    if (isnan(x)) {
        return 0;
    }
    uint32_t code = nearest(e2m1_numbers, 8, fabs((double)x), true);
    return (uint8_t)(code | (signbit(x) ? 8u : 0));
}

float
pq_nf4_to_f32(uint8_t b)
{
    return nf4_numbers[b & 15u];
}

uint8_t
pq_f32_to_nf4(float x)
{
    return (uint8_t)nearest(nf4_numbers, 16, isnan(x) ? 0 : (double)x, false);
}

// ---- the table -------------------------------------------------------------

static const pq_narrow narrows[] = {
#define NARROW(DTYPE, name)                                                    \
    {PTQC_##DTYPE, pq_##name##_to_f32, pq_f32_to_##name},
#include "base/narrow.def"
#undef NARROW
};

const pq_narrow *
pq_narrow_of(ptqc_dtype t)
{
    for (size_t i = 0; i < sizeof narrows / sizeof *narrows; i++) {
        if (narrows[i].dtype == t) {
            return &narrows[i];
        }
    }
    return NULL;
}
