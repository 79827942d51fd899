// SPDX-License-Identifier: Apache-2.0
//
// What calibration samples are worth: whether ranges still grow, how many
// numbers lie outside the chosen ranges, which channels are never active.
#ifndef PTQC_PASSES_CALIB_SANITY_H
#define PTQC_PASSES_CALIB_SANITY_H

#include "passes/calib/state.h"
#include "passes/pass.h"

// Of one observed value.
typedef struct pq_sanity {
    uint32_t axis; // of its channels
    int64_t channel_count;
    bool *is_active; // [channel_count] some number was not 0
    uint64_t sample_count;
    uint64_t grown_at; // sample (from 1) that last widened the range by much
    float min, max;    // range then
} pq_sanity;

// Channels of v: what the products that read it contract. All memory is the
// arena's.
PTQC_MUST_USE ptqc_status pq_sanity_init(pq_sanity *s, const pq_graph *g,
                                         pq_value_id v, pq_arena *arena);
// The f32 tensor t is v in the next sample.
void pq_sanity_take(pq_sanity *s, const pq_tensor *t);
// For checkpoints: all that was seen.
void pq_sanity_state(pq_sanity *s, pq_state *state);
// Adds what is known of v, whose codes will cover [min, max], to the facts,
// and notes what stands out.
void pq_sanity_report(const pq_sanity *s, const pq_pass_env *env, pq_str name,
                      const pq_observer *o, float min, float max);
// One warning about all values when the samples seem too few.
void pq_sanity_warn(ptqc_ctx *ctx, const pq_calib_facts *facts);

#endif
