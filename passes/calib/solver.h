// SPDX-License-Identifier: Apache-2.0
//
// The frame of a method that looks at a model's samples group by group
// (calib/stream.h) and settles something about each group: scales of inputs,
// codes of weights, forms of activations. The frame knows tokens that stand
// out, sums up moments, keeps the group's memory and reports; a method says
// which products it is for and what it settles:
//
//   begin    is there anything to do? read what a checkpoint has
//   take     a sample's tokens (without it: their moments are summed up)
//   settle   all samples were seen
#ifndef PTQC_PASSES_CALIB_SOLVER_H
#define PTQC_PASSES_CALIB_SOLVER_H

#include "passes/calib/checkpoint.h"
#include "passes/calib/moments.h"
#include "passes/calib/sinks.h"
#include "passes/calib/stream.h"
#include "passes/method.h"
#include "quant/awq.h"

// *out_note (NULL before the call): for the report, if any; lives as long as
// the group.
typedef struct pq_solver_steps {
    const char *name; // "awq": in reports, of the checkpoints' files
    // As pq_stream_client.
    bool (*wants)(void *user, const pq_op *op);
    // Whether the moments of some group take the float model's values, too
    // (`cross`, below); NULL: never.
    bool (*wants_real)(const pq_method *method);
    // PTQC_NO: the samples must be seen. PTQC_OK: nothing is left to do.
    ptqc_status (*begin)(void *user, const pq_stream_group *group,
                         const char **out_note);
    // x [n][d] of one sample, which may be changed; NULL: into the moments.
    ptqc_status (*take)(void *user, float *x, int64_t n,
                        const pq_token_weights *w);
    ptqc_status (*settle)(void *user, const pq_stream_group *group,
                          const char **out_note);
} pq_solver_steps;

typedef struct pq_solver {
    pq_graph *g;      // borrowed
    pq_pass_env *env; // borrowed
    const pq_solver_steps *steps;
    void *user;               // of the steps
    pq_checkpoint checkpoint; // dir NULL: none
    pq_sinks sinks;
    bool is_warned; // that there are few tokens
    // Of the group at hand:
    pq_arena arena;
    pq_method method;   // its products'
    int64_t d;          // width of its value
    pq_moments moments; // when steps->take is NULL
    float *cross;       // owned: [d][d] sum of weight * real' x, of the float
                        // model's values; NULL: not wanted
    bool is_open;       // its samples are seen
} pq_solver;

PTQC_MUST_USE ptqc_status pq_solver_init(pq_solver *s, pq_graph *g,
                                         pq_pass_env *env,
                                         const pq_solver_steps *steps,
                                         void *user);
void pq_solver_deinit(pq_solver *s); // zeroed allowed
// `phase`: of progress and messages. PTQC_E_USAGE: products that read one value
// have methods of other settings (said).
PTQC_MUST_USE ptqc_status pq_solver_run(pq_solver *s, const char *phase);
// The weights that read the group's value, in the group's arena.
PTQC_MUST_USE ptqc_status pq_solver_read_weights(pq_solver *s,
                                                 const pq_stream_group *group,
                                                 pq_consumer **out);

#endif
