// SPDX-License-Identifier: Apache-2.0
//
// The public model handle: what a frontend gave.
#ifndef PTQC_COMPILER_MODEL_H
#define PTQC_COMPILER_MODEL_H

#include "ptqc/model.h"

#include "frontend/import.h"

struct ptqc_model {
    ptqc_ctx *ctx;           // borrowed
    pq_model *import;        // owned
    pq_arena arena;          // NUL-terminated texts
    ptqc_tensor_info *infos; // inputs, then outputs; in the arena
};

// Histogram of how quantized constants of a graph are stored.
void pq_graph_schemes(const pq_graph *g, ptqc_count_fn fn, void *user);
// The graph of a model; PTQC_E_UNSUPPORTED of one that was opened for looking
// and has none.
PTQC_MUST_USE ptqc_status pq_model_graph(ptqc_ctx *ctx, const pq_model *m,
                                         pq_graph **out);

#endif
