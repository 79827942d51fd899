// SPDX-License-Identifier: Apache-2.0
//
// Graphs that show what codes of single layers do.
#ifndef PTQC_COMPILER_DIFF_GRAPH_H
#define PTQC_COMPILER_DIFF_GRAPH_H

#include "passes/plan.h"

// One product with constant weights of the float graph.
typedef struct pq_layer {
    pq_op_id op;          // in the float graph
    pq_mode mode;         // FLOAT: no codes
    pq_scheme scheme;     // of its codes
    pq_value_id coded;    // its result in the graph of codes
    pq_value_id exact;    // in the local graph: the float model's result
    pq_value_id local;    // in the local graph: by codes, of float inputs
    double weight_error;  // sum (w - w')^2
    double weight_signal; // sum w^2
    float range_ratio;    // largest to smallest max |w| of a channel
    uint64_t weight_count;
} pq_layer;

// The layers of `real` (simplified, stage FLOAT) in order, with what became
// of them in `coded`: the same graph after insert-qdq. In the arena.
PTQC_MUST_USE ptqc_status pq_layers_find(const pq_graph *real,
                                         const pq_graph *coded, pq_arena *arena,
                                         pq_layer **out, uint32_t *out_count);
// Errors of weights; one weight at a time in memory.
PTQC_MUST_USE ptqc_status pq_layers_weigh(pq_graph *real, pq_graph *coded,
                                          pq_layer *layers, uint32_t count);
// The float graph with, beside each layer, the one of codes that reads the
// float stream: sets `exact` and `local`. *out borrows constants of both.
PTQC_MUST_USE ptqc_status pq_local_graph(const pq_graph *real, pq_graph *coded,
                                         pq_layer *layers, uint32_t count,
                                         pq_graph **out);

#endif
