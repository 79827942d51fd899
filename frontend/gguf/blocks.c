// SPDX-License-Identifier: Apache-2.0
//
// Block types (ggml: src/ggml-quants.c, dequantize_row_*). d, m: f16.
//   Q4_0  d | qs[16]           w = d * (u - 8)
//   Q4_1  d | m | qs[16]       w = d * u + m
//   Q8_0  d | i8 qs[32]        w = d * q
//   Q4_K  d | m | scales[12] | qs[128]: 8 groups g of 32 with 6-bit s, t
//                              w = d * s[g] * u - m * t[g]
//   Q6_K  ql[128] | qh[64] | i8 s[16] | d: 16 groups of 16
//                              w = d * s[g] * (u - 32)
// 4-bit codes of a block of 32: element i < 16 is the low nibble of qs[i],
// element i + 16 its high nibble. In Q4_K the same with 32 for 16.
#include "base/bits.h"
#include "base/float16.h"
#include "frontend/gguf/gguf.h"

static float
load_half(const uint8_t *p)
{
    return pq_f16_to_f32(pq_load_le16(p));
}

// ---- Q4_0, Q4_1, Q8_0 -----------------------------------------------------

// To nibble 2 j = element 2 j, low nibble first.
static void
split_nibbles(const uint8_t *qs, uint8_t *codes)
{
    for (int j = 0; j < 8; j++) {
        uint8_t a = qs[2 * j], b = qs[2 * j + 1];
        codes[j] = (uint8_t)((a & 15u) | (uint32_t)b << 4);
        codes[j + 8] = (uint8_t)(a >> 4 | (b & 0xf0u));
    }
}

static void
expand_q4_0(const uint8_t *block, float *out)
{
    float d = load_half(block);
    for (int i = 0; i < 16; i++) {
        out[i] = d * (float)((block[2 + i] & 15) - 8);
        out[i + 16] = d * (float)((block[2 + i] >> 4) - 8);
    }
}

static void
split_q4_0(const uint8_t *block, uint8_t *codes, float *scale)
{
    *scale = load_half(block);
    split_nibbles(block + 2, codes);
}

static void
split_q4_1(const uint8_t *block, uint8_t *codes, float *scale)
{
    *scale = load_half(block);
    split_nibbles(block + 4, codes);
}

static void
expand_q4_1(const uint8_t *block, float *out)
{
    float d = load_half(block), m = load_half(block + 2);
    for (int i = 0; i < 16; i++) {
        out[i] = d * (float)(block[4 + i] & 15) + m;
        out[i + 16] = d * (float)(block[4 + i] >> 4) + m;
    }
}

static void
split_q8_0(const uint8_t *block, uint8_t *codes, float *scale)
{
    *scale = load_half(block);
    memcpy(codes, block + 2, 32);
}

static void
expand_q8_0(const uint8_t *block, float *out)
{
    float d = load_half(block);
    for (int i = 0; i < 32; i++) {
        out[i] = d * (float)(int8_t)block[2 + i];
    }
}

// ---- K-quants -------------------------------------------------------------

// Scale and minimum of group g from the twelve bytes s.
static void
unpack_6_bits(const uint8_t *s, int g, float *out_scale, float *out_min)
{
    if (g < 4) {
        *out_scale = (float)(s[g] & 63);
        *out_min = (float)(s[g + 4] & 63);
        return;
    }
    *out_scale = (float)((s[g + 4] & 15) | (s[g - 4] >> 6) << 4);
    *out_min = (float)(s[g + 4] >> 4 | (s[g] >> 6) << 4);
}

static void
expand_q4_k(const uint8_t *block, float *out)
{
    float d = load_half(block), m = load_half(block + 2);
    for (int g = 0; g < 8; g++) {
        const uint8_t *qs = block + 16 + g / 2 * 32;
        float scale, min;
        unpack_6_bits(block + 4, g, &scale, &min);
        for (int i = 0; i < 32; i++) {
            int u = g % 2 == 0 ? qs[i] & 15 : qs[i] >> 4;
            out[32 * g + i] = d * scale * (float)u - m * min;
        }
    }
}

static void
expand_q6_k(const uint8_t *block, float *out)
{
    const uint8_t *ql = block, *qh = block + 128, *scales = block + 192;
    float d = load_half(block + 208);
    for (int i = 0; i < 256; i++) {
        int half = i / 128, row = i % 128 / 32, column = i % 32;
        uint8_t low = ql[64 * half + 32 * (row & 1) + column];
        int high = qh[32 * half + column] >> 2 * row & 3;
        int u = (row >= 2 ? low >> 4 : low & 15) | high << 4;
        out[i] = d * (float)(int8_t)scales[i / 16] * (float)(u - 32);
    }
}

// ---- the table ------------------------------------------------------------

typedef struct numbered_type {
    uint32_t number;
    pq_gguf_type type;
} numbered_type;

static const numbered_type types[] = {
#define PLAIN(number, text, plain, size)                                       \
    {number, {{.name = text, .elements = 1, .bytes = size}, PTQC_##plain}},
#define CODES(number, text, n, size, format, zero, minimum, decoder)           \
    {number,                                                                   \
     {{.name = text,                                                           \
       .elements = n,                                                          \
       .bytes = size,                                                          \
       .codes = PTQC_##format,                                                 \
       .zero_point = zero,                                                     \
       .minimum_at = minimum,                                                  \
       .split = split_##decoder,                                               \
       .expand = expand_##decoder},                                            \
      PTQC_DTYPE_NONE}},
#define REALS(number, text, n, size, decoder)                                  \
    {number,                                                                   \
     {{.name = text,                                                           \
       .elements = n,                                                          \
       .bytes = size,                                                          \
       .expand = expand_##decoder},                                            \
      PTQC_DTYPE_NONE}},
#define KNOWN(number, text, n, size)                                           \
    {number, {{.name = text, .elements = n, .bytes = size}, PTQC_DTYPE_NONE}},
#include "frontend/gguf/types.def"
#undef PLAIN
#undef CODES
#undef REALS
#undef KNOWN
};

const pq_gguf_type *
pq_gguf_type_of(uint32_t number)
{
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
        if (types[i].number == number) {
            return &types[i].type;
        }
    }
    return NULL;
}
