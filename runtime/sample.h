// SPDX-License-Identifier: Apache-2.0
//
// Choosing the next token.
#ifndef PTQC_RUNTIME_SAMPLE_H
#define PTQC_RUNTIME_SAMPLE_H

#include "ptqc/lm.h"

#include "base/ctx.h"

typedef struct pq_candidate {
    int32_t id;
    float p; // logit, then probability times a constant
} pq_candidate;

typedef struct pq_sampler {
    ptqc_sampling how;
    uint64_t state[4];        // xoshiro256** (Blackman, Vigna 2018)
    pq_candidate *candidates; // owned: [vocabulary]
    uint32_t vocabulary;
} pq_sampler;

// `stream` tells sequences of one seed apart.
PTQC_MUST_USE ptqc_status pq_sampler_init(ptqc_ctx *ctx, pq_sampler *s,
                                          const ptqc_sampling *how,
                                          uint32_t vocabulary, uint64_t stream);
void pq_sampler_deinit(ptqc_ctx *ctx, pq_sampler *s);
// PTQC_E_NUMERIC: the scores hold no finite number.
PTQC_MUST_USE ptqc_status pq_sampler_next(ptqc_ctx *ctx, pq_sampler *s,
                                          const float *logits, int32_t *out);

#endif
