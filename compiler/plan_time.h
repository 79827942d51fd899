// SPDX-License-Identifier: Apache-2.0
//
// How long the samples of a compile take, guessed from what is to be computed.
#ifndef PTQC_COMPILER_PLAN_TIME_H
#define PTQC_COMPILER_PLAN_TIME_H

#include "passes/method.h"
#include "passes/plan.h"

// Of one sample, but for weights.
typedef struct pq_plan_work {
    double macs;           // of the float model
    double numbers;        // results of ops, scores of attentions among them
    double observed;       // numbers of activations with static scales
    double gram_macs;      // of the Gram matrices of all coded products' inputs
    double weights;        // of coded products
    double weight_columns; // sum of these times the inputs of their product
    uint32_t static_count; // products with static activations
    bool has_states;       // a language model
} pq_plan_work;

// g: annotated; symbols: what dims are, NULL: their least.
PTQC_MUST_USE ptqc_status pq_plan_count_work(const pq_graph *g,
                                             const pq_mode *modes,
                                             const int64_t *symbols,
                                             pq_arena *arena,
                                             pq_plan_work *out);
// Seconds of one thread.
double pq_plan_guess(const pq_plan_work *w, const pq_recipe *recipe,
                     const pq_method *method, double samples);

#endif
