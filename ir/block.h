// SPDX-License-Identifier: Apache-2.0
//
// Graph <-> graph block (ptqc/graph_block.h).
#ifndef PTQC_IR_BLOCK_H
#define PTQC_IR_BLOCK_H

#include "ptqc/graph_block.h"

#include "ir/graph.h"

// In the block DTYPE attributes are I64 (the number of ptqc_dtype) and OP
// attributes are TEXT (the op's name).
//
// Writes the ops of `ops` (in topological order; NULL: all live ops) as one
// block. Inputs are the values they read and do not make, which are neither
// constants nor states; the boundary order is `inputs` / `outputs` when given
// (inputs may then hold values the ops do not read), else, for all ops, the
// graph's own. For a list of ops without them: inputs in the order in which
// they are first read, outputs those made values that another op or the
// graph's boundary uses.
// States are `states` when given, else those that the listed ops read, in the
// order in which they are first read, or for all ops (and for values only) the
// graph's own.
// Constant ids in the block are pq_const_id indices. desc NULL: all zero.
// Bytes are 8-aligned, allocated with ctx.
typedef struct pq_block_desc {
    const pq_op_id *ops;
    uint32_t op_count;
    const pq_value_id *inputs, *states, *outputs;
    uint32_t input_count, state_count, output_count;
    // No nodes: the boundary values and `values` alone, with every symbol of
    // the graph (the artifact's interface).
    bool values_only;
    const pq_value_id *values; // [value_count] more values to include
    uint32_t value_count;
    // [output_count] names to write for the outputs instead of the values'
    // own; NULL: the values' own.
    const pq_str *output_names;
    // With a list of ops: symbols that nothing written needs are left out;
    // else all are written and keep their index.
    bool only_used_symbols;
} pq_block_desc;

PTQC_MUST_USE ptqc_status pq_block_write(pq_graph *g, const pq_block_desc *desc,
                                         void **out_bytes, size_t *out_count);
// A graph of stage LEGAL, verified; PTQC_E_INPUT for hostile blocks. Scale
// and zero point constants get the shape that their granularity says. Blocks
// of values only are not graphs: refused when they have outputs.
// `map` gives the bytes of a constant id (valid as long as the graph), NULL
// when it knows none.
typedef const void *(*pq_constant_map_fn)(void *user, uint64_t id,
                                          uint64_t *out_bytes);
// The map of a written block's constants: user is the pq_graph it was written
// from. For plugins too (ptqc_call).
const void *pq_block_constant(void *user, uint64_t id, uint64_t *out_bytes);
// Nobody reads the bytes any more, until the next pq_block_constant.
void pq_block_release(void *user, uint64_t id);
PTQC_MUST_USE ptqc_status pq_block_read(ptqc_ctx *ctx, const void *bytes,
                                        size_t count, pq_constant_map_fn map,
                                        void *user, pq_graph **out);

#endif
