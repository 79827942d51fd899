// SPDX-License-Identifier: Apache-2.0
//
// Links: pairs of products between which channel c may be divided by t > 0 in
// the first one's rows and multiplied by t in the second one's columns without
// changing the function, because all that lies between is positively
// homogeneous and keeps channels apart (Nagel et al., Data-Free Quantization,
// 2019, section 4.1).
#ifndef PTQC_PASSES_LINKS_H
#define PTQC_PASSES_LINKS_H

#include "passes/match.h"

typedef struct pq_link {
    pq_op_id from, to;
    pq_value_id value; // from's result, behind its activation
    int64_t channels;
    int64_t repeat;    // of `to`'s inputs per channel (> 1: flattened)
    bool is_depthwise; // `to` has one filter per channel
    // Upper end of a clip to [0, limit] between them; infinite: none. It is
    // homogeneous only for channels that never reach it.
    float limit;
} pq_link;

// All links of g, in the order of `from`, in the arena. An op is `from` of at
// most one link and `to` of at most one.
PTQC_MUST_USE ptqc_status pq_find_links(const pq_graph *g, pq_arena *arena,
                                        pq_link **out_links,
                                        uint32_t *out_count);
// Axis of the weight that the product's input channels lie along.
uint32_t pq_weight_input_axis(const pq_graph *g, const pq_op *op);
// A convolution with one filter per input channel.
bool pq_is_depthwise(const pq_graph *g, const pq_op *op);

#endif
