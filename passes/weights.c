// SPDX-License-Identifier: Apache-2.0
//
// Weights as plain arrays, see weights.h.

#include "passes/weights.h"

#include "ir/weights.h"
#include "passes/match.h"
#include "passes/plan.h"

ptqc_status
pq_weights_of(const pq_graph *g, pq_value_id w, pq_arena *arena,
              pq_weights *out)
{
    const pq_constant *c = pq_graph_constant(g, pq_graph_value(g, w)->constant);
    *out = pq_weights_view(c, &pq_annotation(g, w)->scheme);
    out->w = pq_copy_floats(g, w, arena);
    PQ_TRY_ALLOC(out->w);
    return PTQC_OK;
}
