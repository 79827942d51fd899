// SPDX-License-Identifier: Apache-2.0
//
// Running all calibration samples through a graph and looking at values.
#ifndef PTQC_PASSES_CALIB_SAMPLES_H
#define PTQC_PASSES_CALIB_SAMPLES_H

#include "passes/calib/state.h"
#include "passes/pass.h"

// Who looks at values.
typedef struct pq_watcher {
    void *user;
    pq_observe_fn observe;
    // All that was learned of a value (state.h), so that an interrupted compile
    // need not look again; NULL: not kept.
    ptqc_status (*state)(void *user, pq_value_id v, pq_state *s);
} pq_watcher;

// Shows the watched values (graph inputs among them, too; each once) of every
// sample: each value's samples in order, different values in unspecified order.
// What runs is a clone without annotations, so that nobody takes them for
// codes; its value ids are those of g. With env->work_dir one piece of the
// graph is in memory at a time. `phase`: of progress, messages and the files of
// checkpoints; a compile has no two of one name. PTQC_E_USAGE when there is no
// sample; PTQC_E_CANCELLED as pq_stream_run.
PTQC_MUST_USE ptqc_status pq_run_samples(pq_graph *g, const pq_pass_env *env,
                                         const char *phase,
                                         const pq_value_id *watched,
                                         uint32_t count, const pq_watcher *w);
// What the graph's symbols are by the shapes of the first sample (their least
// where these do not tell), in the arena env->scratch. PTQC_NO: no sample.
PTQC_MUST_USE ptqc_status pq_sample_symbols(pq_graph *g, const pq_pass_env *env,
                                            int64_t **out);
// A clone of stage FLOAT without annotations; it shares g's bytes. Destroy
// also after a failure.
PTQC_MUST_USE ptqc_status pq_clone_float(pq_graph *g, pq_graph **out);

// The same with a graph that runs as it is; ids are its own.
PTQC_MUST_USE ptqc_status pq_run_graph(pq_graph *g, const pq_pass_env *env,
                                       const char *phase,
                                       const pq_value_id *watched,
                                       uint32_t count, const pq_watcher *w);

#endif
