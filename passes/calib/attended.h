// SPDX-License-Identifier: Apache-2.0
//
// How much attention each token of a sample receives from later ones: the
// second sign of a sink (calib/sinks.h), the norm of its hidden state being the
// first.
#ifndef PTQC_PASSES_CALIB_ATTENDED_H
#define PTQC_PASSES_CALIB_ATTENDED_H

#include "ir/runner.h"

// Queries and keys of one attention in one sample, f32, rotated: q [batch]
// [heads][tokens][d], k [batch][kv_heads][tokens][d]; scores are scale * q k'.
typedef struct pq_attended_desc {
    const float *q, *k;
    int64_t batch, heads, kv_heads, tokens, d;
    float scale;
} pq_attended_desc;

// out_share [batch][tokens]: the mean over heads, and over queries of later
// tokens (a spread of them, PQ_ATTENDED_QUERIES at most), of what the softmax
// over the token of the query and all before it gives to the token. 0 for
// tokens with fewer than PQ_ATTENDED_LATER such queries: what they receive
// tells nothing.
PTQC_MUST_USE ptqc_status pq_attended_share(ptqc_ctx *ctx,
                                            const pq_attended_desc *desc,
                                            float *out_share);

enum {
    PQ_ATTENDED_QUERIES = 32,
    PQ_ATTENDED_LATER = 8,
};

#endif
