// SPDX-License-Identifier: Apache-2.0
//
// Packing of matmul weights (gemm.h says the layouts).
#include <math.h>
#include <string.h>

#include "base/checked.h"
#include "base/float16.h"
#include "gemm.h"
#include "strip.h"

#define LANES 16

// ---- shapes ---------------------------------------------------------------

static pq_strip_shape
strip_shape(const pq_weight_shape *shape)
{
    return (pq_strip_shape){.taps = 1, .run = shape->k, .columns = shape->n};
}

static int
is_codes(const pq_weight_shape *shape)
{
    return pq_weight_is_number(shape->format) ||
           pq_weight_is_fixed(shape->format);
}

static int
is_short(const pq_weight_shape *shape)
{
    return shape->format == PQ_WEIGHT_F16 || shape->format == PQ_WEIGHT_BF16;
}

static int64_t
line_elements(const pq_weight_shape *shape)
{
    return pq_weight_is_4_bit(shape->format) ? 8 : 4;
}

static int64_t
group_size(const pq_weight_shape *shape)
{
    return shape->group == 0 ? shape->k : shape->group;
}

static int64_t
group_count(const pq_weight_shape *shape)
{
    int64_t group = group_size(shape);
    return shape->k / group + (shape->k % group > 0);
}

// Groups whose scales share a line.
static int64_t
groups_per_line(const pq_weight_shape *shape)
{
    return shape->half_scales ? 2 : 1;
}

int64_t
pq_weight_zeros_offset(const pq_weight_shape *shape)
{
    int64_t line = line_elements(shape);
    int64_t group = group_size(shape);
    int64_t lines = 0, bytes = 0;
    // full groups hold whole lines; only the last one may end inside a line
    int64_t full = shape->k / group * ((group + line - 1) / line);
    int64_t last = (shape->k % group + line - 1) / line;
    int64_t share = groups_per_line(shape);
    int64_t scales = (group_count(shape) + share - 1) / share;
    if (!pq_add_i64(full + last, scales, &lines) ||
        !pq_mul_i64(lines, 64, &bytes)) {
        return 0;
    }
    return bytes;
}

static int64_t
codes_strip_bytes(const pq_weight_shape *shape)
{
    if (shape->k <= 0 || shape->n <= 0 || shape->k > INT64_MAX / 128 ||
        shape->group < 0 || shape->group > INT64_MAX / 128 ||
        shape->group % line_elements(shape) != 0 ||
        ((shape->half_scales || shape->asymmetric) &&
         !pq_weight_is_fixed(shape->format)) ||
        (pq_weight_is_fixed(shape->format) &&
         (shape->group == 0 || shape->group % 16 != 0))) {
        return 0;
    }
    int64_t bytes = pq_weight_zeros_offset(shape);
    if (bytes > 0 && shape->asymmetric) {
        bytes += (group_count(shape) * LANES + 63) / 64 * 64;
    }
    return bytes;
}

int64_t
pq_weight_strip_bytes(const pq_weight_shape *shape)
{
    pq_strip_shape strips = strip_shape(shape);
    switch (shape->format) {
    case PQ_WEIGHT_F32:
        return pq_strip_bytes_f32(&strips);
    case PQ_WEIGHT_F16:
    case PQ_WEIGHT_BF16:
        return (pq_strip_bytes_f32(&strips) / 2 + 63) / 64 * 64;
    case PQ_WEIGHT_S8:
        return pq_strip_bytes_s8(&strips);
    case PQ_WEIGHT_E4M3:
    case PQ_WEIGHT_E5M2:
    case PQ_WEIGHT_E2M1:
    case PQ_WEIGHT_NF4:
    case PQ_WEIGHT_FIXED8:
    case PQ_WEIGHT_FIXED4:
        return codes_strip_bytes(shape);
    default:
        return 0;
    }
}

int64_t
pq_weight_bytes(const pq_weight_shape *shape)
{
    pq_strip_shape strips = strip_shape(shape);
    return pq_strip_total(&strips, pq_weight_strip_bytes(shape));
}

// ---- f32 and s8 -----------------------------------------------------------

static int64_t
matrix_index(const void *layout, int64_t tap, int64_t element, int64_t column)
{
    const pq_weight_source *source = layout;
    (void)tap;
    return element * source->k_stride + column * source->n_stride;
}

static pq_strip_source
strip_source(const pq_weight_source *source)
{
    return (pq_strip_source){
        .data = source->data, .index = matrix_index, .layout = source};
}

void
pq_weight_init(const pq_weight_shape *shape, const pq_weight_source *source,
               const int32_t *bias, int32_t zero, int32_t *out)
{
    pq_strip_shape strips = strip_shape(shape);
    pq_strip_source from = strip_source(source);
    pq_strip_init(&strips, &from, bias, zero, out);
}

// ---- codes ----------------------------------------------------------------

// Zero point in the packed codes.
static uint8_t
read_zero(const pq_weight_shape *shape, const pq_weight_source *source,
          int64_t group, int64_t n)
{
    int32_t zero = 0;
    if (source->zeros != NULL) {
        zero = source->zeros[group * source->scale_g_stride +
                             n * source->scale_n_stride];
    }
    int32_t middle = pq_weight_is_4_bit(shape->format) ? 8 : 128;
    return (uint8_t)(source->is_signed ? zero + middle : zero);
}

// What turns stored codes into packed ones, for every byte (4 bits: nibble).
static uint32_t
code_flip(const pq_weight_shape *shape, const pq_weight_source *source)
{
    if (pq_weight_is_number(shape->format)) {
        return 0;
    }
    if (pq_weight_is_4_bit(shape->format)) {
        return source->is_signed ? 0x88888888u : 0;
    }
    return source->is_signed ? 0x80808080u : 0;
}

// 4 nibbles of the low half to the low nibbles of 4 bytes.
static uint32_t
spread_nibbles(uint32_t x)
{
    x &= 0xffffu;
    x = (x | x << 8) & 0x00ff00ffu;
    return (x | x << 4) & 0x0f0f0f0fu;
}

// The 4 or 8 codes of column n from k0 on as they lie in a line; those beyond
// K are 0.
static uint32_t
line_codes(const pq_weight_shape *shape, const pq_weight_source *source,
           int64_t k0, int64_t n)
{
    int64_t rest = shape->k - k0, step = line_elements(shape);
    int64_t count = rest < step ? rest : step;
    const uint8_t *bytes = source->data;
    uint32_t bits = pq_weight_is_4_bit(shape->format) ? 4 : 8;
    uint32_t word = 0;
    int64_t at = k0 * source->k_stride + n * source->n_stride;
    if (source->k_stride == 1 && count == step && at * bits % 8 == 0) {
        memcpy(&word, bytes + at * bits / 8, sizeof word);
    } else {
        for (int64_t i = 0; i < count; i++, at += source->k_stride) {
            uint32_t code = bits == 8
                                ? bytes[at]
                                : (uint32_t)bytes[at / 2] >> (at % 2 * 4) & 15u;
            word |= code << (bits * (uint32_t)i);
        }
    }
    uint32_t used = (uint32_t)count * bits;
    word ^= used < 32 ? code_flip(shape, source) & ((1u << used) - 1)
                      : code_flip(shape, source);
    return bits == 8 ? word
                     : spread_nibbles(word) | spread_nibbles(word >> 16) << 4;
}

// One line of a strip: elements [k0, k0 + 8 or 4).
static void
pack_code_line(const pq_weight_shape *shape, const pq_weight_source *source,
               int64_t first, int64_t k0, uint8_t *out)
{
    int64_t rest = shape->n - first;
    int64_t lanes = rest < LANES ? rest : LANES;
    for (int64_t lane = 0; lane < lanes; lane++) {
        uint32_t word = line_codes(shape, source, k0, first + lane);
        memcpy(out + 4 * lane, &word, sizeof word);
    }
}

// The lines of group g; -> after them.
static uint8_t *
pack_group(const pq_weight_shape *shape, const pq_weight_source *source,
           int64_t first, int64_t g, uint8_t *out)
{
    int64_t group = group_size(shape), begin = g * group;
    int64_t end = shape->k - begin < group ? shape->k : begin + group;
    for (int64_t k = begin; k < end; k += line_elements(shape)) {
        pack_code_line(shape, source, first, k, out);
        out += 64;
    }
    return out;
}

// The scale of column n in group g, as it is packed. A NaN among codes makes
// the column's sum NaN whatever x is, and so does this scale.
static float
packed_scale(const pq_weight_shape *shape, const pq_weight_source *source,
             int64_t g, int64_t n)
{
    float scale =
        source->scales[g * source->scale_g_stride + n * source->scale_n_stride];
    if (shape->format == PQ_WEIGHT_E2M1) {
        return scale * 0x1p14f;
    }
    if (shape->format != PQ_WEIGHT_E4M3) {
        return scale;
    }
    const uint8_t *codes = source->data;
    int64_t k = g * group_size(shape), end = k + group_size(shape);
    for (; k < end && k < shape->k; k++) {
        uint8_t code = codes[k * source->k_stride + n * source->n_stride];
        if ((code & 127u) == 127u) {
            return NAN;
        }
    }
    return scale * 256.0f;
}

// Scales of group g of the strip's columns, f32 or f16.
static void
pack_scales(const pq_weight_shape *shape, const pq_weight_source *source,
            int64_t first, int64_t g, uint8_t *out)
{
    for (int64_t lane = 0; lane < LANES && first + lane < shape->n; lane++) {
        float scale = packed_scale(shape, source, g, first + lane);
        if (shape->half_scales) {
            uint16_t half = pq_f32_to_f16(scale);
            memcpy(out + 2 * lane, &half, sizeof half);
        } else {
            memcpy(out + 4 * lane, &scale, sizeof scale);
        }
    }
}

static void
pack_zeros(const pq_weight_shape *shape, const pq_weight_source *source,
           int64_t first, uint8_t *out)
{
    for (int64_t g = 0; g < group_count(shape); g++, out += LANES) {
        for (int64_t lane = 0; lane < LANES && first + lane < shape->n;
             lane++) {
            out[lane] = read_zero(shape, source, g, first + lane);
        }
    }
}

// FIXED8, FIXED4: the scales stand before the groups that they are of.
static void
pack_fixed_strip(const pq_weight_shape *shape, const pq_weight_source *source,
                 int64_t first, uint8_t *out)
{
    int64_t share = groups_per_line(shape), groups = group_count(shape);
    for (int64_t g = 0; g < groups; g += share) {
        uint8_t *scales = out;
        out += 64;
        for (int64_t i = 0; i < share && g + i < groups; i++) {
            pack_scales(shape, source, first, g + i, scales + 32 * i);
            out = pack_group(shape, source, first, g + i, out);
        }
    }
    if (shape->asymmetric) {
        pack_zeros(shape, source, first, out);
    }
}

static void
pack_code_strip(const pq_weight_shape *shape, const pq_weight_source *source,
                int64_t first, uint8_t *out)
{
    for (int64_t g = 0; g < group_count(shape); g++) {
        out = pack_group(shape, source, first, g, out);
        pack_scales(shape, source, first, g, out);
        out += 64;
    }
}

float
pq_weight_scale(const pq_weight_shape *shape, const uint8_t *line, int64_t g,
                int64_t lane)
{
    float scale;
    uint16_t half;
    if (shape->half_scales) {
        memcpy(&half, line + 32 * (g % 2) + 2 * lane, sizeof half);
        return pq_f16_to_f32(half);
    }
    memcpy(&scale, line + 4 * lane, sizeof scale);
    return scale;
}

int
pq_scales_are_half(const float *scales, int64_t count)
{
    for (int64_t i = 0; i < count; i++) {
        float back = pq_f16_to_f32(pq_f32_to_f16(scales[i]));
        if (memcmp(&back, &scales[i], sizeof back) != 0) {
            return 0;
        }
    }
    return 1;
}

// ---- f16 and bf16 ---------------------------------------------------------

static void
pack_short_strip(const pq_weight_shape *shape, const pq_weight_source *source,
                 int64_t first, uint16_t *out)
{
    const uint16_t *data = source->data;
    for (int64_t lane = 0; lane < LANES && first + lane < shape->n; lane++) {
        const uint16_t *from = data + (first + lane) * source->n_stride;
        for (int64_t k = 0; k < shape->k; k++) {
            out[k * LANES + lane] = from[k * source->k_stride];
        }
    }
}

void
pq_weight_pack(const pq_weight_shape *shape, const pq_weight_source *source,
               void *out)
{
    pq_strip_shape strips = strip_shape(shape);
    pq_strip_source from = strip_source(source);
    if (shape->format == PQ_WEIGHT_F32) {
        pq_strip_pack_f32(&strips, &from, out);
    } else if (shape->format == PQ_WEIGHT_S8) {
        pq_strip_pack_s8(&strips, &from, out);
    } else if (is_codes(shape) || is_short(shape)) {
        uint8_t *bytes = out;
        int64_t strip = pq_weight_strip_bytes(shape);
        memset(bytes, 0, (size_t)pq_weight_bytes(shape));
        for (int64_t n = 0; n < shape->n; n += LANES) {
            uint8_t *to = bytes + n / LANES * strip;
            if (is_short(shape)) {
                pack_short_strip(shape, source, n, (uint16_t *)(void *)to);
            } else if (pq_weight_is_fixed(shape->format)) {
                pack_fixed_strip(shape, source, n, to);
            } else {
                pack_code_strip(shape, source, n, to);
            }
        }
    }
}
