// SPDX-License-Identifier: Apache-2.0
//
// Running one op on constants while compiling.
#ifndef PTQC_PASSES_FOLD_H
#define PTQC_PASSES_FOLD_H

#include "ir/graph.h"

// Replaces an op whose present inputs are all constants by its results and
// erases it; leaves it when the interpreter declines it or the results would
// be symbolic or much larger than the inputs.
PTQC_MUST_USE ptqc_status pq_fold_op(pq_graph *g, pq_op_id op,
                                     pq_arena *scratch);

#endif
