// SPDX-License-Identifier: Apache-2.0
//
// An annotated graph as it will compute, in float: what calibration runs to
// see the inputs that a quantized model gives its layers.
#ifndef PTQC_PASSES_CALIB_SIMULATE_H
#define PTQC_PASSES_CALIB_SIMULATE_H

#include "passes/pass.h"

// A clone of the annotated graph g (all scales known), of stage QUANTIZED, in
// which products read what the codes of their weights mean and annotated
// activations go through quantize and dequantize. Ops keep their ids, values of
// g theirs. The clone must not outlive g.
PTQC_MUST_USE ptqc_status pq_simulate(pq_graph *g, const pq_pass_env *env,
                                      pq_graph **out);
// The numbers that the codes of the annotated weight w will mean, in w's order,
// in the arena; *out_w, *out_count: w itself.
PTQC_MUST_USE ptqc_status pq_rounded_weights(const pq_graph *g, pq_value_id w,
                                             pq_arena *arena, float **out,
                                             const float **out_w,
                                             int64_t *out_count);

#endif
