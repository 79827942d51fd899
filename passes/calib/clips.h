// SPDX-License-Identifier: Apache-2.0
//
// Ranges of weights that clip where the outputs become better (AWQ's clip
// search, pq_clip_search of quant/awq.h), for the products of a model: found
// group by group, applied when the weights are what they will be. Products
// whose results become attention scores keep their ranges, as in the
// reference: the softmax makes much of an error that the square of a score
// does not show. So do those with static activations, whose scales must leave
// room for the bias, those with one scale per tensor, and all of them where
// statistics choose the scales.
#ifndef PTQC_PASSES_CALIB_CLIPS_H
#define PTQC_PASSES_CALIB_CLIPS_H

#include "passes/calib/solver.h"

typedef struct pq_clips {
    pq_solver *solver;        // borrowed
    pq_arena *arena;          // borrowed, of the pass
    pq_checkpoint checkpoint; // dir NULL: none
    const bool *is_static;    // [ops]
    uint8_t **steps;          // [ops] NULL: the range stays
} pq_clips;

// Whether the ranges of a product may clip, by its kind; its activations are
// not static.
bool pq_may_clip(const pq_graph *g, const pq_op *op);
// The solver is initialized.
PTQC_MUST_USE ptqc_status pq_clips_init(pq_clips *c, pq_solver *solver);
// Whether a product of the group is for clipping, by its method and kind.
bool pq_clips_want(const pq_clips *c, const pq_stream_group *group);
// What a checkpoint has, with the note for the report (in the arena); PTQC_NO:
// nothing.
PTQC_MUST_USE ptqc_status pq_clips_read(pq_clips *c,
                                        const pq_stream_group *group,
                                        const char **out_note);
// weights: those of the group, whose columns will be multiplied by s [d]; the
// solver's moments are those of its inputs, and become those of inputs / s.
// Adds up what it wins.
PTQC_MUST_USE ptqc_status pq_clips_find(pq_clips *c,
                                        const pq_stream_group *group,
                                        const pq_consumer *weights,
                                        const float *s, pq_clip_report *report);
// Into the checkpoint, if there is one.
PTQC_MUST_USE ptqc_status pq_clips_keep(const pq_clips *c,
                                        const pq_stream_group *group,
                                        const char *note);
// Scales and zero points of the weights that clip, of the graph's numbers.
PTQC_MUST_USE ptqc_status pq_clips_apply(const pq_clips *c);

#endif
