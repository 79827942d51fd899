// SPDX-License-Identifier: Apache-2.0
//
// Constant weights as the plain arrays of real numbers that quant/ works on:
// block by block, on the threads of the context. What a block holds depends
// on the weight alone, so results do not depend on the number of threads.
#ifndef PTQC_IR_WEIGHTS_H
#define PTQC_IR_WEIGHTS_H

#include "ir/graph.h"
#include "quant/quantize.h"

// A weight (f32, f16 or bf16) seen as [outer][channels][inner] by its scheme;
// `w` stays NULL: the elements are in c.
pq_weights pq_weights_view(const pq_constant *c, const pq_scheme *scheme);

typedef enum pq_weight_cut {
    PQ_CUT_CHANNELS, // some channels with all of outer: whole shares of scales
    PQ_CUT_ROWS,     // consecutive elements, whole rows of the last axis
} pq_weight_cut;

typedef struct pq_weight_block {
    pq_weights weights;    // w: a dense copy in f32
    int64_t first_channel; // of the weight
    int64_t first_element; // PQ_CUT_ROWS: of the weight
    uint8_t *bytes;        // room for one byte per element
} pq_weight_block;

typedef void (*pq_weight_block_fn)(void *user, const pq_weight_block *block);

// fn for every block, from several threads at once.
PTQC_MUST_USE ptqc_status pq_weights_for_blocks(
    ptqc_ctx *ctx, const pq_constant *c, const pq_scheme *scheme,
    pq_weight_cut cut, pq_weight_block_fn fn, void *user);

#endif
