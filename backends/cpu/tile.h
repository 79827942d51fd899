// SPDX-License-Identifier: Apache-2.0
//
// The tile kernel under matmul, bmm and convolution: `rows` x `strips` * 16
// outputs, sums over `taps` runs of `run` contiguous input elements. Row r of
// tap t starts at args->rows[t * rows + r], so a convolution gives pointers
// to pixels (indirect convolution) and a matmul has one tap.
#ifndef PTQC_BACKENDS_CPU_TILE_H
#define PTQC_BACKENDS_CPU_TILE_H

#include <stdint.h>

#include "epilogue.h"
#include "jit.h"

#define PQ_TILE_ROWS_MAX   14u
#define PQ_TILE_STRIPS_MAX 4u

typedef struct pq_tile_desc {
    uint32_t weight;     // PQ_WEIGHT_* of gemm.h
    uint32_t asymmetric; // W8, W4, FIXED
    // W8 (s8), W4: weights as strip.h packs codes, scales and zero points of
    // columns in epilogue.mult and .weight_zero (W4: of codes less 8)
    uint32_t is_tapped;
    uint32_t rows;        // 1..PQ_TILE_ROWS_MAX
    uint32_t strips;      // 1..PQ_TILE_STRIPS_MAX
    uint32_t masked;      // the last strip has `columns` % 16 valid columns
    uint32_t rest;        // run % 4 (F32 and S8: of each tap), run % 8 (W4)
                          // FIXED: 1 = there is a last, shorter group
    uint32_t lines;       // FIXED: of a full group
    uint32_t digits;      // FIXED: of the rows, 1 or 2
    uint32_t half_scales; // FIXED: see gemm.h
    uint32_t is_odd;      // half_scales: an odd number of full groups
    // S8, FIXED: the sums so far are in args->start (amx.h); of FIXED they are
    // all
    uint32_t resumes;
    uint32_t is_short; // S8: run < 4
    uint32_t steps;    // F32, S8: args->steps when known, else 0: unrolled
    uint32_t ahead; // FIXED: bytes; lines so far ahead are asked for; 0: none
    pq_epilogue epilogue;
} pq_tile_desc;

typedef struct pq_tile_args {
    const void *const *rows; // [taps][rows]
    int64_t taps;            // codes: 1 unless is_tapped
    int64_t steps;           // run / 4; codes: lines after the full groups;
                             // is_tapped: whole lines of a tap
    const void *weights;     // first strip
    int64_t weight_stride;   // bytes from strip to strip
    int64_t groups;          // codes: full groups
    int64_t group_lines;     // codes: lines of a full group
    int64_t zeros_offset;    // asymmetric: from weights to its zero points
    int64_t low_offset;      // FIXED, two digits: see fixed.h
    int64_t sums_offset;     // FIXED
    int64_t scale_offset;    // FIXED
    const int32_t *init;     // S8: [strips * 16]
    const void *start;       // resumes: i32 or f32 [rows][strips * 16]
    void *out;
    int64_t out_stride; // bytes from row to row
    int64_t columns;    // masked: valid columns of the tile
    pq_epilogue_args epilogue;
} pq_tile_args;

typedef void (*pq_tile_fn)(const pq_tile_args *args);

extern const pq_kernel_class pq_tile_class;

// Rows and strips of the full tile for `columns` columns.
typedef struct pq_tile_size {
    uint32_t rows, strips;
} pq_tile_size;

// digits: of FIXED rows
pq_tile_size pq_tile_best(pq_isa isa, uint32_t weight, uint32_t digits,
                          int64_t columns);

#endif
