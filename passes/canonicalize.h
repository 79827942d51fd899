// SPDX-License-Identifier: Apache-2.0
//
// The rules named in canonicalize_rules.def: each looks at one op and, when
// it applies, rewrites it and sets *out_changed (false before the call).
#ifndef PTQC_PASSES_CANONICALIZE_H
#define PTQC_PASSES_CANONICALIZE_H

#include "ir/graph.h"

#define RULE(CODE, function, kind, what)                                       \
    ptqc_status function(pq_graph *g, pq_op_id id, bool *out_changed);
#include "passes/canonicalize_rules.def"
#undef RULE

#endif
