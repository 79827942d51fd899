// SPDX-License-Identifier: Apache-2.0
//
// Packing of f32 and s8 weights into strips (strip.h).
#include "strip.h"

#include <stddef.h>
#include <string.h>

#include "base/checked.h"

#define LANES 16

static int64_t
strip_bytes(const pq_strip_shape *shape, int64_t lines)
{
    int64_t total, bytes;
    if (shape->taps <= 0 || shape->run <= 0 || shape->columns <= 0 ||
        !pq_mul_i64(shape->taps, lines, &total) ||
        !pq_mul_i64(total, 64, &bytes)) {
        return 0;
    }
    return bytes;
}

int64_t
pq_strip_bytes_f32(const pq_strip_shape *shape)
{
    return strip_bytes(shape, shape->run);
}

int64_t
pq_strip_bytes_s8(const pq_strip_shape *shape)
{
    return strip_bytes(shape, shape->run / 4 + (shape->run % 4 > 0));
}

static int64_t
line_codes(int bits)
{
    return bits == 4 ? 8 : 4;
}

int64_t
pq_strip_bytes_codes(const pq_strip_shape *shape, int bits)
{
    int64_t line = line_codes(bits);
    return strip_bytes(shape, shape->run / line + (shape->run % line > 0));
}

int64_t
pq_strip_total(const pq_strip_shape *shape, int64_t bytes)
{
    int64_t strips = shape->columns / LANES + (shape->columns % LANES > 0);
    int64_t total;
    return pq_mul_i64(bytes, strips, &total) ? total : 0;
}

void
pq_strip_pack_f32(const pq_strip_shape *shape, const pq_strip_source *source,
                  float *out)
{
    const float *data = source->data;
    for (int64_t first = 0; first < shape->columns; first += LANES) {
        for (int64_t tap = 0; tap < shape->taps; tap++) {
            for (int64_t i = 0; i < shape->run; i++, out += LANES) {
                for (int64_t lane = 0; lane < LANES; lane++) {
                    int64_t column = first + lane;
                    out[lane] = column < shape->columns
                                    ? data[source->index(source->layout, tap, i,
                                                         column)]
                                    : 0.0f;
                }
            }
        }
    }
}

// The line of elements from `element` on: 4 elements of 16 columns.
static void
pack_line(const pq_strip_shape *shape, const pq_strip_source *source,
          int64_t tap, int64_t element, int64_t first, int8_t *out)
{
    const int8_t *data = source->data;
    int64_t from = element; // elements before are those of other lines
    if (element + 4 > shape->run && shape->run > 4) {
        element = shape->run - 4;
    }
    for (int64_t lane = 0; lane < LANES; lane++) {
        int64_t column = first + lane;
        for (int64_t i = 0; i < 4; i++) {
            int is_real = column < shape->columns && element + i >= from &&
                          element + i < shape->run;
            out[4 * lane + i] = is_real
                                    ? data[source->index(source->layout, tap,
                                                         element + i, column)]
                                    : 0;
        }
    }
}

void
pq_strip_pack_s8(const pq_strip_shape *shape, const pq_strip_source *source,
                 int8_t *out)
{
    for (int64_t first = 0; first < shape->columns; first += LANES) {
        for (int64_t tap = 0; tap < shape->taps; tap++) {
            for (int64_t i = 0; i < shape->run; i += 4, out += 64) {
                pack_line(shape, source, tap, i, first, out);
            }
        }
    }
}

// Elements from `element` on of 16 columns.
static void
pack_code_line(const pq_strip_shape *shape, const pq_strip_source *source,
               int64_t tap, int64_t element, int64_t first, int bits,
               uint8_t *out)
{
    const int8_t *data = source->data;
    for (int64_t lane = 0; lane < LANES && first + lane < shape->columns;
         lane++) {
        for (int64_t i = 0; i < line_codes(bits) && element + i < shape->run;
             i++) {
            int code = data[source->index(source->layout, tap, element + i,
                                          first + lane)];
            unsigned byte =
                bits == 4 ? (unsigned)(code + 8) & 15u : (unsigned)code & 255u;
            out[4 * lane + i % 4] |= (uint8_t)(byte << (i / 4 * 4));
        }
    }
}

void
pq_strip_pack_codes(const pq_strip_shape *shape, const pq_strip_source *source,
                    int bits, uint8_t *out)
{
    for (int64_t first = 0; first < shape->columns; first += LANES) {
        for (int64_t tap = 0; tap < shape->taps; tap++) {
            for (int64_t i = 0; i < shape->run;
                 i += line_codes(bits), out += 64) {
                memset(out, 0, 64);
                pack_code_line(shape, source, tap, i, first, bits, out);
            }
        }
    }
}

static int64_t
column_sum(const pq_strip_shape *shape, const pq_strip_source *source,
           int64_t column)
{
    const int8_t *data = source->data;
    int64_t sum = 0;
    for (int64_t tap = 0; tap < shape->taps; tap++) {
        for (int64_t i = 0; i < shape->run; i++) {
            int64_t at = source->index(source->layout, tap, i, column);
            sum += data[at];
        }
    }
    return sum;
}

int32_t
pq_strip_start(const pq_strip_shape *shape, const pq_strip_source *source,
               const int32_t *bias, int64_t column, int32_t zero)
{
    uint32_t start = bias == NULL ? 0 : (uint32_t)bias[column];
    int64_t sum = column_sum(shape, source, column);
    return (int32_t)(start - (uint32_t)zero * (uint32_t)sum);
}

void
pq_strip_init(const pq_strip_shape *shape, const pq_strip_source *source,
              const int32_t *bias, int32_t zero, int32_t *out)
{
    int64_t padded = (shape->columns + LANES - 1) / LANES * LANES;
    for (int64_t column = 0; column < padded; column++) {
        out[column] = column < shape->columns
                          ? pq_strip_start(shape, source, bias, column, zero)
                          : 0;
    }
}
