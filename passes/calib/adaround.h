// SPDX-License-Identifier: Apache-2.0
//
// The two forms of adaround over a graph. Internal to passes/calib.
#ifndef PTQC_PASSES_CALIB_ADAROUND_H
#define PTQC_PASSES_CALIB_ADAROUND_H

#include "passes/calib/layer.h"

// layers [count] in the order of the graph; samples are there.
PTQC_MUST_USE ptqc_status pq_adaround_by_gram(pq_graph *g, pq_pass_env *env,
                                              const pq_layer *layers,
                                              uint32_t count);
PTQC_MUST_USE ptqc_status pq_adaround_by_outputs(pq_graph *g, pq_pass_env *env,
                                                 const pq_layer *layers,
                                                 uint32_t count);

#endif
