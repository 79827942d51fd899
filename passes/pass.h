// SPDX-License-Identifier: Apache-2.0
//
// What a pass is: one function that changes a graph, one file, one line in
// registry.def. A pass either annotates or rewrites arithmetic, never both;
// it does not depend on other passes having run unless its stage says so.
#ifndef PTQC_PASSES_PASS_H
#define PTQC_PASSES_PASS_H

#include "ir/graph.h"
#include "ir/runner.h"
#include "passes/caps.h"
#include "passes/recipe.h"

// Calibration samples: fills tensors[i] for graph input i (borrowed until the
// next call); PTQC_NO ends the samples. Restarts at index 0.
typedef struct pq_samples {
    ptqc_status (*get)(void *user, uint64_t index, pq_tensor *tensors,
                       uint32_t count);
    void *user;
    uint64_t limit; // 0 = all
} pq_samples;

// What calibration saw, over all observed activations.
typedef struct pq_calib_facts {
    uint64_t samples, values;
    uint64_t numbers, saturated; // saturated: outside the chosen ranges
    uint64_t late_values;        // ranges that grew in the last quarter
    uint64_t channels, dead_channels;
} pq_calib_facts;

// What passes get besides the graph.
typedef struct pq_pass_env {
    pq_arena *scratch;         // emptied by the pipeline after each pass
    const pq_recipe *recipe;   // borrowed; never NULL
    const pq_caps *caps;       // what the targets run; NULL = everything
    const pq_samples *samples; // NULL = none
    pq_runner_make_fn make_runner;
    void *runner_user;
    // Folder for scratch files and for checkpoints of long passes; NULL: all
    // stays in memory, and nothing can be resumed.
    const char *work_dir;
    // Of model, recipe, calibration and version: what a checkpoint must have
    // been made of. NULL: no checkpoints.
    const pq_sha256 *fingerprint;
    // Facts for the report, one per line: ("matmul_3", "w8a8", "why").
    void (*note)(void *user, pq_str where, const char *what, const char *why);
    void *note_user;
    pq_calib_facts *calib_facts; // added to; NULL: not wanted
    // Statistics instead of samples, for ranges; NULL: none.
    const struct pq_stats *stats;
    struct pq_stats *stats_out; // filled; NULL: not wanted
} pq_pass_env;

typedef ptqc_status (*pq_pass_fn)(pq_graph *g, pq_pass_env *env);

typedef struct pq_pass_info {
    const char *name;    // "fold-batchnorm"
    const char *summary; // one line
    pq_stage before, after;
    pq_pass_fn run;
    bool is_exact; // outputs keep their bits (else: numeric)
} pq_pass_info;

// NULL when unknown.
const pq_pass_info *pq_pass_find(pq_str name);
const pq_pass_info *pq_pass_at(uint32_t index); // NULL past the end

#endif
