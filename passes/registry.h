// SPDX-License-Identifier: Apache-2.0
//
// Declarations of the functions named in registry.def.
#ifndef PTQC_PASSES_REGISTRY_H
#define PTQC_PASSES_REGISTRY_H

#include "passes/pass.h"

// clang-format off
#define PASS(name, function, before, after, is_exact, summary)                 \
    ptqc_status function(pq_graph *g, pq_pass_env *env);
#include "passes/registry.def"
#undef PASS
// clang-format on

#endif
