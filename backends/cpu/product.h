// SPDX-License-Identifier: Apache-2.0
//
// The common driver of tile kernels: out[m][n] over a constant tiling of rows
// into tiles and of columns into blocks of strips, both nearly equal in size,
// so that two kernels per axis are enough. matmul, bmm and convolution differ
// only in where the rows of their input lie.
#ifndef PTQC_BACKENDS_CPU_PRODUCT_H
#define PTQC_BACKENDS_CPU_PRODUCT_H

#include <stdint.h>

#include "amx.h"
#include "backends/kgen/worker.h"
#include "jit.h"
#include "tile.h"

typedef struct pq_product_desc {
    int64_t m, n;
    int64_t taps, run;    // codes: one tap unless is_tapped
    int64_t group;        // codes: 0 = run
    uint32_t weight;      // PQ_WEIGHT_*
    uint32_t asymmetric;  // W8, W4, FIXED
    uint32_t is_tapped;   // as pq_tile_desc
    uint32_t half_scales; // FIXED: of the weights' shape
    uint32_t digits;      // FIXED: of the rows
    uint32_t is_even;     // one tap, rows are equally far apart
    pq_epilogue epilogue;
} pq_product_desc;

// An axis cut into `count` parts of base or base + 1; the first `extra` parts
// are the larger ones.
typedef struct pq_cut {
    int64_t count, base, extra;
} pq_cut;

static inline int64_t
pq_cut_begin(const pq_cut *cut, int64_t index)
{
    return index * cut->base + (index < cut->extra ? index : cut->extra);
}

static inline int64_t
pq_cut_length(const pq_cut *cut, int64_t index)
{
    return cut->base + (index < cut->extra);
}

typedef struct pq_product {
    pq_product_desc desc;
    pq_cut tiles;          // of m, in rows
    pq_cut blocks;         // of the strips, in strips
    int64_t strip_bytes;   // of packed weights
    int64_t chunk_tiles;   // tiles whose row pointers are made at once
    pq_tile_args constant; // fields that never change
    pq_amx amx;
    int on_amx; // tiles only finish what amx sums
    // [tile larger, smaller][block larger, smaller, last]
    pq_tile_fn kernel[2][3];
} pq_product;

// What one run reads and writes; offsets of columns and rows are added by
// the driver.
typedef struct pq_product_io {
    const void *weights;
    const int32_t *init;
    void *out;
    int64_t out_stride;
    pq_epilogue_args epilogue;
} pq_product_io;

ptqc_be_status pq_product_prepare(pq_jit *jit, ptqc_call *call,
                                  const pq_product_desc *desc, pq_product *out);

// Pointers of one chunk, and its sums of rows for PQ_EPI_WEIGHT_ZERO.
uint64_t pq_product_scratch_bytes(const pq_product *p);

// Writes the row pointers [taps][rows] of the tile to `out`; `index` is the
// number of the tile within its chunk (its share of the scratch).
typedef void (*pq_rows_fn)(const void *user, int64_t tile, int64_t index,
                           const void **out);

// The worker's part of all (tile, block) pairs.
void pq_product_run(const pq_product *p, const pq_product_io *io,
                    const pq_worker *worker, pq_rows_fn rows, const void *user);

// ---- single steps, for drivers with loops of their own ---------------------

void pq_product_begin(const pq_product *p, const pq_product_io *io,
                      pq_tile_args *args);
// weights: those of the block's first strip.
void pq_product_block(const pq_product *p, const pq_product_io *io,
                      int64_t block, const void *weights, pq_tile_args *args);
void pq_product_tile(const pq_product *p, const pq_product_io *io,
                     int64_t block, int64_t tile, const void *const *rows,
                     pq_tile_args *args);

#endif
