// SPDX-License-Identifier: Apache-2.0
//
// Folding y -> y * factor[c] + shift[c] into the weights and the bias of the
// product that makes y.
#ifndef PTQC_PASSES_RESCALE_H
#define PTQC_PASSES_RESCALE_H

#include "passes/match.h"

// Whether the product's result can be changed through its constants: they
// are f32, the result has one use, and nothing comes after bias.
bool pq_can_rescale(const pq_graph *g, const pq_op *op);
// factor, shift: [channels], in double; either may be NULL (1, 0). Computes
// in double and rounds once.
PTQC_MUST_USE ptqc_status pq_rescale(pq_graph *g, pq_op_id op,
                                     const double *factor, const double *shift,
                                     pq_arena *scratch);
// New weights of the same shape and annotation, f32 in the graph's arena.
PTQC_MUST_USE ptqc_status pq_replace_weights(pq_graph *g, pq_op_id op,
                                             const float *w);
// Weights times factor[i] along the axis of the product's inputs: [inputs]
// with `repeat` = 1, else input i takes factor[i / repeat].
PTQC_MUST_USE ptqc_status pq_rescale_inputs(pq_graph *g, pq_op_id op,
                                            const double *factor,
                                            int64_t repeat);

#endif
