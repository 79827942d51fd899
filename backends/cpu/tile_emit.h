// SPDX-License-Identifier: Apache-2.0
//
// What the two halves of the tile kernel's emission share: the sums (tile.c)
// and what is done with them (tile_finish.c).
#ifndef PTQC_BACKENDS_CPU_TILE_EMIT_H
#define PTQC_BACKENDS_CPU_TILE_EMIT_H

#include "emit.h"
#include "tile.h"

#define PQ_TILE_ACC_MAX (PQ_TILE_ROWS_MAX * PQ_TILE_STRIPS_MAX)
#define PQ_LINE_BYTES   64 // 16 columns of f32, or of 4 s8

// acc is [row][strip].
typedef struct pq_tile {
    pq_emitter *e;
    const pq_tile_desc *d;
    LLVMValueRef v_args;
    LLVMValueRef v_strip[PQ_TILE_STRIPS_MAX]; // byte offset of a strip
    LLVMValueRef v_row[PQ_TILE_ROWS_MAX];     // input of the current tap
    LLVMValueRef v_acc[PQ_TILE_ACC_MAX];
    LLVMValueRef v_w;                         // moving weight pointer
    LLVMValueRef v_scale[PQ_TILE_STRIPS_MAX]; // W8, W4: of the group
    LLVMValueRef v_zero[PQ_TILE_STRIPS_MAX];
    LLVMValueRef v_stack; // accumulators, for an epilogue in a loop
} pq_tile;

// Sums of FIXED8 and FIXED4.
void pq_tile_emit_fixed(pq_tile *t);
// Epilogue and stores of all accumulators.
void pq_tile_finish(pq_tile *t);

#endif
