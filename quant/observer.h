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
    float min, max;            // of the finite numbers; 0, 0 before any
    uint64_t count;            // numbers seen
    uint64_t refused;          // infinities and NaN among them
    uint64_t samples;          // calls of pq_observer_take that had numbers
    double mean_min, mean_max; // AVERAGE
    pq_histogram histogram;
} pq_observer;

void pq_observer_init(pq_observer *o, ptqc_ctx *ctx,
                      const pq_observer_desc *desc);
void pq_observer_deinit(pq_observer *o);
PTQC_MUST_USE ptqc_status pq_observer_take(pq_observer *o, const float *x,
                                           size_t n);
// The range, within [min, max] of what was seen, 0 included.
PTQC_MUST_USE ptqc_status pq_observer_range(const pq_observer *o,
                                            float *out_min, float *out_max);
// Squared error, rounding and clipping, that the codes of a range make of all
// numbers seen; of observers with a histogram, every number at its bin's
// middle.
double pq_observer_error(const pq_observer *o, float min, float max);
const char *pq_observer_name(pq_observer_kind kind);
bool pq_observer_needs_histogram(pq_observer_kind kind);

// ---- the rules ------------------------------------------------------------

// PTQC_E_RESOURCE: out of memory.
typedef ptqc_status (*pq_observe_fn_range)(const pq_observer *o, float *out_min,
                                           float *out_max);
#define OBSERVER(NAME, text, needs_histogram, function)                        \
    ptqc_status function(const pq_observer *o, float *out_min, float *out_max);
#include "quant/observers.def"
#undef OBSERVER

// The fixed points of OCTAV on a histogram: the end of symmetric codes of
// `bits` bits; both ends of codes of `steps` steps.
double pq_octav_symmetric(const pq_histogram *h, unsigned bits);
void pq_octav_range(const pq_histogram *h, double steps, double *out_lo,
                    double *out_hi);

#endif
