// SPDX-License-Identifier: Apache-2.0
//
// Constant weights of products as the plain arrays that quant/ works on.
#ifndef PTQC_PASSES_WEIGHTS_H
#define PTQC_PASSES_WEIGHTS_H

#include "ir/graph.h"
#include "quant/quantize.h"

// View of the constant value w by its annotation's scheme; elements copied
// into the arena.
PTQC_MUST_USE ptqc_status pq_weights_of(const pq_graph *g, pq_value_id w,
                                        pq_arena *arena, pq_weights *out);

#endif
