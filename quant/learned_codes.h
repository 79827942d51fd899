// SPDX-License-Identifier: Apache-2.0
//
// Codes that are learned: each weight's is the one below or above it. What both
// forms of AdaRound share; the loss, and so the gradient, is theirs. Internal
// to quant/.
#ifndef PTQC_QUANT_LEARNED_CODES_H
#define PTQC_QUANT_LEARNED_CODES_H

#include "quant/adaround.h"
#include "quant/adaround_step.h"
#include "quant/quantize.h"

struct pq_pool;

typedef struct pq_learned_codes {
    pq_weights view;     // of rows (pq_rows_view), borrowed
    const float *scales; // borrowed
    const int32_t *zero_points;
    struct pq_pool *pool; // borrowed from the context
    // owned: [rows][d]. gradient: half of the loss's by e, times adam.factor
    float *v, *mean, *square, *rest, *step, *gradient, *e;
    uint8_t *below;   // owned: [rows][d] codes below
    uint8_t *rounded; // owned: [rows][d] codes of rounding to nearest
    float mean_power, square_power;
    pq_adam adam;
} pq_learned_codes;

// PTQC_E_UNSUPPORTED (said, with `name`; NULL: "weight"): no codes that can be
// learned.
PTQC_MUST_USE ptqc_status pq_learned_codes_check(ptqc_ctx *ctx,
                                                 const char *name,
                                                 const pq_scheme *scheme);
// Says when rounding is the result; out may be NULL.
void pq_learned_codes_tell(ptqc_ctx *ctx, const char *name,
                           const pq_adaround_report *report,
                           pq_adaround_report *out);

// Soft weights are w, e = 0, the adam.factor is the caller's to set. deinit may
// follow a failed init.
PTQC_MUST_USE ptqc_status pq_learned_codes_init(pq_learned_codes *c,
                                                ptqc_ctx *ctx,
                                                const pq_weights *view,
                                                const float *scales,
                                                const int32_t *zero_points);
void pq_learned_codes_deinit(pq_learned_codes *c, ptqc_ctx *ctx);

typedef struct pq_learning {
    uint32_t iterations;
    float rate;   // of Adam
    float lambda; // of the mean loss of a rounded weight
} pq_learning;

// Rates of iteration i, for all that is learned beside the codes, too.
void pq_learned_codes_schedule(pq_learned_codes *c, const pq_learning *l,
                               uint32_t i);
// One step by the gradient: v, e.
void pq_learned_codes_step(pq_learned_codes *c);
void pq_learned_codes_decide(const pq_learned_codes *c, uint8_t *out_codes);

#endif
