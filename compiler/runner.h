// SPDX-License-Identifier: Apache-2.0
//
// The runner that executes through a session: the graph with the watched
// values as further outputs is compiled into memory for the given targets
// and run there.
#ifndef PTQC_COMPILER_RUNNER_H
#define PTQC_COMPILER_RUNNER_H

#include "compiler/targets.h"
#include "ir/runner.h"

typedef struct pq_session_runner_env {
    ptqc_ctx *ctx;
    const char *target; // as ptqc_compile_desc.target
    ptqc_backend_dirs backends;
} pq_session_runner_env;

// A pq_runner_make_fn; user is a pq_session_runner_env that outlives it.
ptqc_status pq_session_runner_make(void *user, pq_graph *g,
                                   const pq_value_id *watched,
                                   uint32_t watched_count, pq_runner **out);

#endif
