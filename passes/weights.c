// SPDX-License-Identifier: Apache-2.0
//
// Weights as plain arrays, see weights.h.

#include "passes/weights.h"

#include "passes/match.h"
#include "passes/plan.h"

ptqc_status
pq_weights_of(const pq_graph *g, pq_value_id w, pq_arena *arena,
              pq_weights *out)
{
    const pq_constant *c = pq_graph_constant(g, pq_graph_value(g, w)->constant);
    const pq_scheme *s = &pq_annotation(g, w)->scheme;
    // Groups lie along axis 1 of [N, K].
    uint32_t axis = s->granularity == PQ_GRAN_GROUP ? 0 : s->axis;
    *out = (pq_weights){.outer = 1, .channels = 1, .inner = 1, .scheme = *s};
    for (uint32_t i = 0; i < c->rank; i++) {
        int64_t *part = i < axis    ? &out->outer
                        : i == axis ? &out->channels
                                    : &out->inner;
        *part *= c->dims[i];
    }
    out->w = pq_copy_floats(g, w, arena);
    PQ_TRY_ALLOC(out->w);
    return PTQC_OK;
}
