// SPDX-License-Identifier: Apache-2.0
//
// Packing constant weights in the planar layout (planar.h).
#ifndef PTQC_BACKENDS_KGEN_PLANAR_PACK_H
#define PTQC_BACKENDS_KGEN_PLANAR_PACK_H

#include "lower.h"
#include "planar.h"
#include "weight_source.h"

typedef struct pq_planar_shape {
    pq_kg_weight format;
    int64_t n;        // rows
    int64_t segments; // >= 1
    int64_t segment;  // elements of one
    int64_t last;     // of the last one, 1 .. segment
} pq_planar_shape;

// Element e of segment s of row n is, with r = first + n, element
//     r % inner * n_stride + r / inner * outer_stride + s * s_stride +
//     e * e_stride
// of the data; those of 4 bits count two to a byte, the first in the low bits.
typedef struct pq_planar_source {
    const void *data;
    uint32_t flip; // bits of a code that are turned: 0x80 of u8, 8 of u4
    int64_t first; // row of the data
    int64_t inner, n_stride, outer_stride, s_stride, e_stride;
} pq_planar_source;

// Bytes of the packed matrix; 0 when they overflow or a size is not positive.
int64_t pq_planar_bytes(const pq_planar_shape *shape);
// Rows [begin, end) into `out`, the whole matrix.
void pq_planar_pack(const pq_planar_shape *shape,
                    const pq_planar_source *source, int64_t begin, int64_t end,
                    uint8_t *out);

// The narrowest form that has the scales and zero points (less `middle`) of
// segments and rows as they are. scales and zeros: as in pq_weight_source.
pq_kg_scales pq_planar_scales_form(const pq_weight_source *source,
                                   int64_t segments, int64_t n, int32_t middle);
// Bytes of scales of a form other than NONE; 0: they overflow.
int64_t pq_planar_scales_bytes(pq_kg_scales form, int64_t segments, int64_t n);
void pq_planar_pack_scales(const pq_weight_source *source, pq_kg_scales form,
                           int64_t segments, int64_t n, int32_t middle,
                           uint8_t *out);

// Packs on the host's threads and emits; `layout` and `constant` are the key
// under which the packed matrix is found again. -> the program value; sticky
// failures.
uint32_t pq_planar_emit(pq_lower *l, const ptqc_gb_constant *constant,
                        const char *layout, const pq_planar_shape *shape,
                        const pq_planar_source *source);

#endif
