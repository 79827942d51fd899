// SPDX-License-Identifier: Apache-2.0
//
// Observers: collect the numbers of one activation over all calibration
// samples, then give the range its codes should cover.
#ifndef PTQC_QUANT_OBSERVER_H
#define PTQC_QUANT_OBSERVER_H

#include "quant/histogram.h"
#include "quant/quantize.h"

typedef enum pq_observer_kind {
#define OBSERVER(NAME, text, needs_histogram, function) PQ_OBSERVER_##NAME,
#include "quant/observers.def"
#undef OBSERVER
    PQ_OBSERVER_COUNT
} pq_observer_kind;

typedef struct pq_observer_desc {
    pq_observer_kind kind;
    double percentile; // PERCENTILE: share of the numbers inside, in %
    ptqc_dtype format;
    bool symmetric;
    bool keeps_histogram; // also where the rule needs none
} pq_observer_desc;

typedef struct pq_observer {
    pq_observer_desc desc;
    float min, max;   // of the finite numbers; 0, 0 before any
    uint64_t count;   // numbers seen
    uint64_t refused; // infinities and NaN among them
    pq_histogram histogram;
} pq_observer;

void pq_observer_init(pq_observer *o, ptqc_ctx *ctx,
                      const pq_observer_desc *desc);
void pq_observer_deinit(pq_observer *o);
PTQC_MUST_USE ptqc_status pq_observer_take(pq_observer *o, const float *x,
                                           size_t n);
// The range, within [min, max] of what was seen, 0 included.
void pq_observer_range(const pq_observer *o, float *out_min, float *out_max);
const char *pq_observer_name(pq_observer_kind kind);
bool pq_observer_needs_histogram(pq_observer_kind kind);

// ---- the rules ------------------------------------------------------------

typedef void (*pq_observe_fn_range)(const pq_observer *o, float *out_min,
                                    float *out_max);
#define OBSERVER(NAME, text, needs_histogram, function)                        \
    void function(const pq_observer *o, float *out_min, float *out_max);
#include "quant/observers.def"
#undef OBSERVER

#endif
