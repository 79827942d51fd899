// SPDX-License-Identifier: Apache-2.0
//
// What batch norm said about a product's result before it was folded: mean
// (beta) and deviation (|gamma|: of either sign the distribution is as wide) of
// every output channel, before residual and activation. Kept on the product
// as attributes that no plugin sees; changed along with weights and bias.
#ifndef PTQC_PASSES_CHANNEL_FACTS_H
#define PTQC_PASSES_CHANNEL_FACTS_H

#include "passes/match.h"

typedef struct pq_channel_facts {
    int64_t count;
    const float *mean, *deviation; // [count]
} pq_channel_facts;

// false: nothing is known.
bool pq_channel_facts_get(const pq_op *op, pq_channel_facts *out);
// Copies.
PTQC_MUST_USE ptqc_status pq_channel_facts_set(pq_graph *g, pq_op_id op,
                                               const pq_channel_facts *facts);
// y -> y * factor[c] + shift[c]; either may be NULL.
PTQC_MUST_USE ptqc_status pq_channel_facts_rescale(pq_graph *g, pq_op_id op,
                                                   const double *factor,
                                                   const double *shift);
// Expected value of every channel behind the op's activation, for normal
// distributions (Nagel et al., Data-Free Quantization, 2019, appendix C): none,
// ReLU, and clips that begin at 0; [count] in the arena. NULL: not known (or
// out of memory: *out_st).
double *pq_expected_outputs(const pq_op *op, pq_arena *arena,
                            ptqc_status *out_st);

#endif
