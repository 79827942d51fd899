// SPDX-License-Identifier: Apache-2.0
//
// Weights as kernels read them: the planar layout, one for every device.
//
// A matrix of N rows (output channels) over K. K is cut into segments (groups
// of scales of a matmul; kernel taps of a convolution, each with the C / groups
// channels of a group of channels), each segment into blocks of 16 bytes, the
// last one filled up with zero bytes. The blocks of all rows lie side by side,
// so that neighbouring rows are neighbouring words:
//
//     block b of segment s of row n: words 4 * ((s * blocks + b) * N + n) ..+3
//
//     format    in a block    word j of a block, low bits first
//     F32       4             element j
//     F16 BF16  8             elements 2j, 2j + 1
//     I8 F8     16            elements 4j .. 4j + 3
//     I4 F4 NF4 32            byte i: element 4j + i in bits 0..3,
//                             element 16 + 4j + i in bits 4..7
//
// Codes are two's complement: those of u8 are stored less 128, those of u4
// less 8, and their zero points are less as much. F8, F4, NF4: the bits of the
// type (base/narrow.h).
//
// Scales, one per (segment s, row n), at s * N + n, in the form:
//
//     NONE   none: factors come in the expression behind the sum
//     F32    1 word: f32; zero points are 0
//     F16    1 word: f16 scale in bits 0..15, f16 zero point in bits 16..31
//            (only when every scale is exact in f16)
//     WIDE   2 words: f32 scale, i32 zero point
//     ZERO   1 word: i32 zero point, no scale; s = 0 for all segments
#ifndef PTQC_BACKENDS_KGEN_PLANAR_H
#define PTQC_BACKENDS_KGEN_PLANAR_H

#include <stdint.h>

typedef enum pq_kg_weight {
    PQ_KG_WEIGHT_F32,
    PQ_KG_WEIGHT_F16,
    PQ_KG_WEIGHT_BF16,
    PQ_KG_WEIGHT_F8E4M3,
    PQ_KG_WEIGHT_F8E5M2,
    PQ_KG_WEIGHT_I8,
    PQ_KG_WEIGHT_I4,
    PQ_KG_WEIGHT_F4E2M1,
    PQ_KG_WEIGHT_NF4,
    PQ_KG_WEIGHT_COUNT
} pq_kg_weight;

typedef enum pq_kg_scales {
    PQ_KG_SCALES_NONE,
    PQ_KG_SCALES_F32,
    PQ_KG_SCALES_F16,
    PQ_KG_SCALES_WIDE,
    PQ_KG_SCALES_ZERO,
    PQ_KG_SCALES_COUNT
} pq_kg_scales;

// Elements in a block.
static inline int64_t
pq_kg_planar_block(pq_kg_weight format)
{
    return format == PQ_KG_WEIGHT_F32    ? 4
           : format <= PQ_KG_WEIGHT_BF16 ? 8
           : format <= PQ_KG_WEIGHT_I8   ? 16
                                         : 32;
}

// Blocks in a segment of `segment` elements.
static inline int64_t
pq_kg_planar_blocks(pq_kg_weight format, int64_t segment)
{
    int64_t block = pq_kg_planar_block(format);
    return segment / block + (segment % block != 0);
}

#endif
