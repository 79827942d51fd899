// SPDX-License-Identifier: Apache-2.0
//
// Queries and keys of a graph's causal attentions, as a stream makes them:
// what sinks are found by (calib/sinks.h). Both operands of one attention come
// from one piece; they wait here until all of a sample's are there.
#ifndef PTQC_PASSES_CALIB_SCORES_H
#define PTQC_PASSES_CALIB_SCORES_H

#include "passes/calib/sinks.h"
#include "passes/pass.h"

// A value of the sample at hand.
typedef struct pq_score_operand {
    pq_value_id v;
    pq_tensor t;
    void *bytes; // owned: of t; NULL: not made in this sample
} pq_score_operand;

typedef struct pq_score_pair {
    pq_score_operand q, k; // [batch, heads, tokens, d], rotated
    float scale;
} pq_score_pair;

typedef struct pq_scores {
    ptqc_ctx *ctx;
    pq_score_pair *pairs; // [count], the arena's
    uint32_t count;
    bool *is_operand; // [values], the arena's
} pq_scores;

// Attentions whose queries see the tokens before them: causal ones, and those
// with positions. Keys are taken before they go to a state.
PTQC_MUST_USE ptqc_status pq_scores_init(pq_scores *s, const pq_graph *g,
                                         pq_arena *arena);
void pq_scores_deinit(pq_scores *s); // zeroed allowed
// An operand in the sample at hand, copied.
PTQC_MUST_USE ptqc_status pq_scores_keep(pq_scores *s, pq_value_id v,
                                         const pq_tensor *t);
// Pairs that are complete, to the sinks; the next sample begins.
PTQC_MUST_USE ptqc_status pq_scores_show(pq_scores *s, uint64_t sample,
                                         pq_sinks *sinks);

#endif
