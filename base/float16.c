// SPDX-License-Identifier: Apache-2.0
//
// Narrow floats by bit arithmetic, one routine for every format that is cut
// from IEEE 754: sign, `exponent_bits`, `mantissa_bits`. Rounding is to
// nearest, ties to even. f16: IEEE 754-2008 binary16; e4m3 ("fn") and e5m2:
// OCP 8-bit Floating Point 1.0, table 1; their saturation of infinities as
// ONNX Cast with saturate = 1.
#include "base/float16.h"

#include <string.h>

#include "base/bits.h"

static uint32_t
bits_of(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

static float
float_of(uint32_t bits)
{
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

// x >> shift, rounded to nearest even; 1 <= shift <= 31.
static uint32_t
shift_round(uint32_t x, unsigned shift)
{
    uint32_t half = (1u << (shift - 1)) - 1;
    return (x + half + ((x >> shift) & 1u)) >> shift;
}

// magnitude: f32 bits of a finite |x| or infinity. -> the narrow magnitude
// with an unbounded exponent field: the caller deals with overflow.
static uint32_t
narrow(uint32_t magnitude, unsigned exponent_bits, unsigned mantissa_bits)
{
    unsigned drop = 23 - mantissa_bits;
    unsigned bias = (1u << (exponent_bits - 1)) - 1;
    uint32_t exponent = magnitude >> 23;
    if (exponent > 127 - bias) { // normal: rebias, the carry may raise it
        return shift_round(magnitude - ((127 - bias) << 23), drop);
    }
    // Subnormal result: the significand is shifted below the last place.
    uint32_t significand = magnitude & 0x7fffffu;
    if (exponent != 0) {
        significand |= 0x800000u;
    } else {
        exponent = 1;
    }
    unsigned shift = drop + 1 + (127 - bias) - exponent;
    return shift > 25 ? 0 : shift_round(significand, shift);
}

// bits: narrow magnitude, not infinity or NaN.
static float
widen(uint32_t bits, unsigned exponent_bits, unsigned mantissa_bits)
{
    unsigned bias = (1u << (exponent_bits - 1)) - 1;
    uint32_t exponent = bits >> mantissa_bits;
    if (exponent == 0) { // bits * 2^(1 - bias - mantissa_bits), exact
        return (float)bits * float_of((127 + 1 - bias - mantissa_bits) << 23);
    }
    return float_of((bits << (23 - mantissa_bits)) + ((127 - bias) << 23));
}

float
pq_f16_to_f32(uint16_t h)
{
    uint32_t sign = (uint32_t)(h & 0x8000u) << 16;
    uint32_t magnitude = h & 0x7fffu;
    if (magnitude >= 0x7c00u) { // infinity and NaN keep their payload
        return float_of(sign | 0x7f800000u | (magnitude & 0x3ffu) << 13);
    }
    return float_of(sign | bits_of(widen(magnitude, 5, 10)));
}

uint16_t
pq_f32_to_f16(float x)
{
    uint32_t bits = bits_of(x);
    uint32_t sign = bits >> 16 & 0x8000u;
    uint32_t magnitude = bits & 0x7fffffffu;
    if (magnitude > 0x7f800000u) { // NaN: quiet, top of the payload kept
        return (uint16_t)(sign | 0x7e00u | (magnitude >> 13 & 0x3ffu));
    }
    uint32_t h = narrow(magnitude, 5, 10);
    return (uint16_t)(sign | (h > 0x7c00u ? 0x7c00u : h));
}

// As pq_f16_to_f32, without branches, so that the loop runs on vectors. The
// significand of a subnormal, put behind 0.5, is its value less 0.5.
void
pq_f16_row_to_f32(const uint8_t *p, size_t n, float *out)
{
    for (size_t i = 0; i < n; i++) {
        uint32_t h = pq_load_le16(p + 2 * i);
        uint32_t magnitude = h & 0x7fffu;
        uint32_t normal = (magnitude << 13) + ((127u - 15u) << 23);
        normal |= magnitude >= 0x7c00u ? 0x7f800000u : 0;
        uint32_t small = bits_of(float_of(0x3f000000u + magnitude) - 0.5f);
        uint32_t bits = magnitude < 0x0400u ? small : normal;
        out[i] = float_of((h & 0x8000u) << 16 | bits);
    }
}

float
pq_bf16_to_f32(uint16_t h)
{
    return float_of((uint32_t)h << 16);
}

void
pq_bf16_row_to_f32(const uint8_t *p, size_t n, float *out)
{
    for (size_t i = 0; i < n; i++) {
        out[i] = float_of((uint32_t)pq_load_le16(p + 2 * i) << 16);
    }
}

uint16_t
pq_f32_to_bf16(float x)
{
    uint32_t bits = bits_of(x);
    if ((bits & 0x7fffffffu) > 0x7f800000u) {
        return (uint16_t)(bits >> 16 | 0x40u);
    }
    return (uint16_t)((bits + 0x7fffu + (bits >> 16 & 1u)) >> 16);
}

float
pq_e4m3_to_f32(uint8_t b)
{
    uint32_t sign = (uint32_t)(b & 0x80u) << 24;
    uint32_t magnitude = b & 0x7fu;
    if (magnitude == 0x7fu) {
        return float_of(sign | 0x7fc00000u);
    }
    return float_of(sign | bits_of(widen(magnitude, 4, 3)));
}

uint8_t
pq_f32_to_e4m3(float x)
{
    uint32_t bits = bits_of(x);
    uint32_t sign = bits >> 24 & 0x80u;
    uint32_t magnitude = bits & 0x7fffffffu;
    if (magnitude > 0x7f800000u) {
        return (uint8_t)(sign | 0x7fu);
    }
    uint32_t b = narrow(magnitude, 4, 3);
    return (uint8_t)(sign | (b > 0x7eu ? 0x7eu : b));
}

float
pq_e5m2_to_f32(uint8_t b)
{
    return pq_f16_to_f32((uint16_t)((unsigned)b << 8));
}

uint8_t
pq_f32_to_e5m2(float x)
{
    uint32_t bits = bits_of(x);
    uint32_t sign = bits >> 24 & 0x80u;
    uint32_t magnitude = bits & 0x7fffffffu;
    if (magnitude > 0x7f800000u) {
        return (uint8_t)(sign | 0x7eu | (magnitude >> 21 & 3u));
    }
    uint32_t b = narrow(magnitude, 5, 2);
    return (uint8_t)(sign | (b > 0x7bu ? 0x7bu : b));
}
