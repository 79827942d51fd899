// SPDX-License-Identifier: Apache-2.0
//
// Moving elements of 1, 2, 4 or 8 bytes: one strided copy serves transpose,
// slice, concatenation, expand and tile.
#ifndef PTQC_BACKENDS_KGEN_MOVE_H
#define PTQC_BACKENDS_KGEN_MOVE_H

#include <stdbool.h>
#include <stdint.h>

#include "ptqc/types.h"

#include "worker.h"

#define PQ_MOVE_RANK 16u

// for all index in dims: out[sum index * out_stride] = in[sum index *
// in_stride]; strides in bytes, in_strides may be 0 or negative.
typedef struct pq_move {
    uint32_t rank;
    uint32_t element; // bytes: 1, 2, 4 or 8
    int64_t dims[PQ_MOVE_RANK];
    int64_t in[PQ_MOVE_RANK], out[PQ_MOVE_RANK];
    int64_t in_offset, out_offset;
    int64_t items; // of work to share; 0 = nothing to do
    bool tiled;    // the last two dims are a transposition
    int64_t tile;  // rows of the last but one dim in an item
} pq_move;

// Bytes of an element; 0 for types of less than 8 bits and unknown ones.
uint32_t pq_kg_element_bytes(uint32_t dtype);
// Byte strides of a dense row-major array.
void pq_move_strides(const int64_t *dims, uint32_t rank, int64_t element,
                     int64_t *out);

// Drops and merges axes and picks the loop order. Call it once dims, strides
// and offsets are set.
void pq_move_finish(pq_move *move);
// Output axis i is input axis perm[i] of a dense array of shape `dims`.
void pq_move_permute(pq_move *move, uint32_t element, const int64_t *dims,
                     const uint8_t *perm, uint32_t rank);
// in and out do not overlap.
void pq_move_run(const pq_move *move, const void *in, void *out,
                 const pq_worker *worker);

#endif
