// SPDX-License-Identifier: Apache-2.0
//
// Between the files of bias correction: correct_bias.c finds the products and
// corrects them by means of the float model, bias_sequence.c by what the
// quantized products before each of them leave.
#ifndef PTQC_PASSES_CALIB_BIAS_H
#define PTQC_PASSES_CALIB_BIAS_H

#include "passes/calib/channel_stats.h"

// A product whose bias is corrected.
typedef struct pq_bias_target {
    pq_op_id op;
    uint32_t axis;          // of x: its input channels
    int64_t outs, inputs;   // inputs per output channel
    double *before;         // [outs] sum of w E[x], bias as it came
    double *shift;          // [outs] taken back so far
    const double *expected; // analytic E[x] per channel; NULL: measured
} pq_bias_target;

typedef struct pq_bias_pass {
    pq_graph *g;
    pq_pass_env *env;
    pq_bias_target *targets; // [count] in the order of the graph
    uint32_t count;
} pq_bias_pass;

// out[outs]: what is to be taken back in all when the rounded weights see
// `mean` of every channel of x. Memory is the arena's.
PTQC_MUST_USE ptqc_status pq_bias_measure(const pq_bias_pass *p,
                                          const pq_bias_target *t,
                                          const double *mean, pq_arena *arena,
                                          double *out);
// Takes back what of shift[outs] is not taken back yet.
PTQC_MUST_USE ptqc_status pq_bias_apply(const pq_bias_pass *p,
                                        pq_bias_target *t, const double *shift,
                                        pq_arena *arena);
// Mean per channel, in the arena. NULL: nothing was seen (or out of memory).
const double *pq_bias_means(const pq_channel_stats *s, pq_arena *arena);

// Target by target, each by the means that those before it leave. `before` of
// all is known.
PTQC_MUST_USE ptqc_status pq_bias_sequence(pq_bias_pass *p,
                                           const pq_pass_env *env);

#endif
