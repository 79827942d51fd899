// SPDX-License-Identifier: Apache-2.0
//
// Planar weights (planar.h) written element by element, for tests.
#ifndef PTQC_TESTS_PLANAR_PACK_H
#define PTQC_TESTS_PLANAR_PACK_H

#include <stdlib.h>
#include <string.h>

#include "backends/kgen/planar.h"
#include "base/float16.h"

// Bytes of `segments` segments of `segment` elements for n rows.
static inline size_t
planar_bytes(pq_kg_weight format, int64_t n, int64_t segments, int64_t segment)
{
    return (size_t)(segments * pq_kg_planar_blocks(format, segment) * n * 16);
}

// Element e of segment s of row r: bits of its type (codes: two's complement).
static inline void
planar_put(uint8_t *to, pq_kg_weight format, int64_t n, int64_t segment,
           int64_t r, int64_t s, int64_t e, uint32_t bits)
{
    int64_t block = pq_kg_planar_block(format);
    int64_t b = e / block, i = e % block;
    uint8_t *p =
        to + 16 * ((s * pq_kg_planar_blocks(format, segment) + b) * n + r);
    if (block == 32) {
        uint32_t shift = i < 16 ? 0 : 4;
        p[i % 16] = (uint8_t)(p[i % 16] | (bits & 15u) << shift);
    } else {
        memcpy(p + i * (16 / block), &bits, (size_t)(16 / block));
    }
}

#endif
