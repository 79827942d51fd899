// SPDX-License-Identifier: Apache-2.0
//
// Mean, mean square and range of every channel of chosen values over all
// calibration samples: what equalization and bias correction look at.
#ifndef PTQC_PASSES_CALIB_CHANNEL_STATS_H
#define PTQC_PASSES_CALIB_CHANNEL_STATS_H

#include "passes/calib/samples.h"

// Of one value, channels along `axis`. Infinities and NaN count as 0.
typedef struct pq_channel_stats {
    pq_value_id value;
    uint32_t axis;
    int64_t channels;
    double *sum, *squares; // [channels]
    float *min, *max;      // [channels] of the numbers and 0
    double count;          // numbers seen per channel
    uint64_t tokens;       // rows of all channels; 0 unless axis is the last
    double token_sum;      // of the largest |x| of each
} pq_channel_stats;

// A list of them, in the arena of its maker.
typedef struct pq_channel_stats_set {
    pq_channel_stats *items; // [count], room for one per value
    uint32_t count;
    uint32_t *slot_of; // [values of the graph] index + 1
} pq_channel_stats_set;

PTQC_MUST_USE ptqc_status pq_channel_stats_set_init(pq_channel_stats_set *set,
                                                    const pq_graph *g,
                                                    pq_arena *arena);
// Has v watched along `axis`; without effect when its channels are not known
// or it is watched along another axis already.
PTQC_MUST_USE ptqc_status pq_channel_stats_set_add(pq_channel_stats_set *set,
                                                   const pq_graph *g,
                                                   pq_value_id v, uint32_t axis,
                                                   pq_arena *arena);
// NULL: not watched along that axis, or nothing was seen.
const pq_channel_stats *pq_channel_stats_find(const pq_channel_stats_set *set,
                                              pq_value_id v, uint32_t axis);
// Runs the samples through g in float. Counts from 0 each time. `phase` as
// pq_run_samples has it; what was measured is kept with the checkpoints.
PTQC_MUST_USE ptqc_status pq_channel_stats_measure(pq_channel_stats_set *set,
                                                   pq_graph *g,
                                                   const pq_pass_env *env,
                                                   const char *phase);

// Looks at v, one of the set's values.
void pq_channel_stats_take(pq_channel_stats_set *set, pq_value_id v,
                           const pq_tensor *t);
// For checkpoints: all that was seen of v, if it is watched.
void pq_channel_stats_state(pq_channel_stats_set *set, pq_value_id v,
                            pq_state *state);
// Into statistics.
PTQC_MUST_USE ptqc_status pq_channel_stats_keep(const pq_channel_stats *s,
                                                pq_str name,
                                                struct pq_stats *out);

// Axis of x that the product contracts, per input channel.
uint32_t pq_input_axis(const pq_graph *g, const pq_op *product);

#endif
