// SPDX-License-Identifier: Apache-2.0
//
// The targets of a compile, in order of preference: what the user named, then
// cpu, finally ref. Their kernel rules become the capabilities passes see.
#ifndef PTQC_COMPILER_TARGETS_H
#define PTQC_COMPILER_TARGETS_H

#include "ptqc/compile.h"

#include "passes/caps.h"
#include "runtime/plugins.h"

#define PQ_TARGET_LIMIT 16u

typedef struct pq_target {
    pq_target_text text;
    pq_str given;      // as the user named it
    pq_plugin *plugin; // loaded
    bool is_asked;     // named by the user: else a fallback
    bool is_exact;     // all its rules promise the bits of the interpreter
} pq_target;

typedef struct pq_targets {
    ptqc_ctx *ctx;
    pq_arena arena;      // texts, rules
    pq_plugins *plugins; // owned
    pq_target all[PQ_TARGET_LIMIT];
    uint32_t count;
    pq_caps caps; // rules of the asked targets and of all fallbacks
    // Where a graph is run while compiling (calibration): the asked targets
    // that are exact, or cpu. So what is compiled depends on no device, and
    // needs none.
    const char *runner;
    ptqc_text_fn text; // is shown kernel texts; NULL: nobody is
    void *text_user;
} pq_targets;

// PTQC_E_USAGE: no such plugin or target; PTQC_E_BACKEND: it cannot be used.
// text NULL or empty: "cpu".
PTQC_MUST_USE ptqc_status pq_targets_open(ptqc_ctx *ctx, const char *text,
                                          const ptqc_backend_dirs *dirs,
                                          pq_targets *out);
void pq_targets_close(pq_targets *t);

#endif
