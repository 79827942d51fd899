// SPDX-License-Identifier: Apache-2.0
//
// Packing of f32 and s8 weights into strips of 16 columns, shared by matmul
// and convolution: [column strip][tap][element of the run][16], s8 with 4
// consecutive elements of a run beside each other in a column:
// [strip][tap][ceil(run/4)][16][4]. When run % 4 is r > 0 and run > 4, the last
// line holds the elements run - 4 .. run - 1 with zeros for the 4 - r that the
// line before has: kernels then read whole dwords and never past a run.
// Codes of 8 and 4 bits for f32 inputs: [strip][tap][ceil(run / 4 or 8)][16][4]
// bytes; with 4 bits byte b of a column holds code + 8 of element b in its low
// half, of element 4 + b in its high half.
// Everything outside is zero.
#ifndef PTQC_BACKENDS_CPU_STRIP_H
#define PTQC_BACKENDS_CPU_STRIP_H

#include <stdint.h>

typedef struct pq_strip_shape {
    int64_t taps, run, columns;
} pq_strip_shape;

// Where (tap, element of the run, column) lies in the source, in elements.
typedef int64_t (*pq_strip_index)(const void *layout, int64_t tap,
                                  int64_t element, int64_t column);

typedef struct pq_strip_source {
    const void *data; // f32 or s8
    pq_strip_index index;
    const void *layout; // for index
} pq_strip_source;

// Bytes of one strip, a multiple of 64; 0 on overflow or empty shapes.
int64_t pq_strip_bytes_f32(const pq_strip_shape *shape);
int64_t pq_strip_bytes_s8(const pq_strip_shape *shape);
// bits: 8 or 4.
int64_t pq_strip_bytes_codes(const pq_strip_shape *shape, int bits);
// All strips: strip bytes * ceil(columns / 16); 0 on overflow.
int64_t pq_strip_total(const pq_strip_shape *shape, int64_t strip_bytes);

void pq_strip_pack_f32(const pq_strip_shape *shape,
                       const pq_strip_source *source, float *out);
void pq_strip_pack_s8(const pq_strip_shape *shape,
                      const pq_strip_source *source, int8_t *out);
// From s8, whatever the bits.
void pq_strip_pack_codes(const pq_strip_shape *shape,
                         const pq_strip_source *source, int bits, uint8_t *out);
// bias[column] - zero * sum of the column, modulo 2^32; bias may be NULL.
int32_t pq_strip_start(const pq_strip_shape *shape,
                       const pq_strip_source *source, const int32_t *bias,
                       int64_t column, int32_t zero);
// The same for all columns: out[column] = bias[column] - zero * sum of the
// column, modulo 2^32, padded with zeros to a multiple of 16; bias may be NULL.
void pq_strip_init(const pq_strip_shape *shape, const pq_strip_source *source,
                   const int32_t *bias, int32_t zero, int32_t *out);

#endif
