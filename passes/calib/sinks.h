// SPDX-License-Identifier: Apache-2.0
//
// Attention sinks: the few tokens that nearly every other one attends to (Xiao
// et al., Efficient Streaming Language Models with Attention Sinks, 2023),
// mostly the first of a text. Their hidden states stand out by norm, and what
// attention they receive is the other sign, which some models show alone. A
// Gram matrix counts them as one token among hundreds, though what they give to
// keys and values reaches all others: so solvers weigh them more.
#ifndef PTQC_PASSES_CALIB_SINKS_H
#define PTQC_PASSES_CALIB_SINKS_H

#include "base/str.h"
#include "ir/runner.h"

typedef struct pq_sinks {
    ptqc_ctx *ctx;
    double factor;    // weight of a sink; others have 1; 0: all have 1
    uint8_t **flags;  // owned: [flag_capacity] per sample [lengths] 0: no sink
    int64_t *lengths; // owned: [length_capacity] tokens of the sample
    uint32_t flag_capacity, length_capacity;
    uint64_t count;          // sinks in all samples
    uint64_t attended_count; // of these, found by attention first
    // Of the sample at hand, owned: [room]
    float *weights, *norms, *sorted;
    uint8_t *outliers;
    int64_t room;
} pq_sinks;

void pq_sinks_init(pq_sinks *s, ptqc_ctx *ctx, double factor);
void pq_sinks_deinit(pq_sinks *s);
void pq_sinks_reset(pq_sinks *s); // nothing was seen
// A hidden state [..., width] of a sample: tokens whose norm stands out are
// sinks from now on.
PTQC_MUST_USE ptqc_status pq_sinks_see(pq_sinks *s, uint64_t sample,
                                       const pq_tensor *t);
// Queries and keys of an attention in a sample, f32 [batch, heads, tokens, d],
// rotated: tokens that receive much of later tokens' attention are sinks from
// now on. Other shapes tell nothing.
PTQC_MUST_USE ptqc_status pq_sinks_see_attention(pq_sinks *s, uint64_t sample,
                                                 const pq_tensor *q,
                                                 const pq_tensor *k,
                                                 float scale);

// What was seen, to be kept in a file; little-endian: u64 count, u32 samples,
// u32 0, per sample i64 tokens and a flag each.
void pq_sinks_write(const pq_sinks *s, pq_strbuf *out);
// Into a new one. PTQC_NO: not as written.
PTQC_MUST_USE ptqc_status pq_sinks_read(pq_sinks *s, const uint8_t *p,
                                        size_t n);

// What a sample's tokens count for products whose inputs are x [n][d]; valid
// until the next call.
typedef struct pq_token_weights {
    const float *weights;    // [n]
    const uint8_t *outliers; // [n] 1 = its x stands out by its own norm
} pq_token_weights;

PTQC_MUST_USE ptqc_status pq_sinks_weigh(pq_sinks *s, uint64_t sample,
                                         const float *x, int64_t n, int64_t d,
                                         pq_token_weights *out);

#endif
