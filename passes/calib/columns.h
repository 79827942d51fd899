// SPDX-License-Identifier: Apache-2.0
//
// Mean squares of the columns that products contract: the diagonal of E[x x'],
// the importance that scale searches weigh errors by.
#ifndef PTQC_PASSES_CALIB_COLUMNS_H
#define PTQC_PASSES_CALIB_COLUMNS_H

#include "passes/calib/state.h"
#include "passes/calib/stats.h"
#include "passes/pass.h"

// Inputs of all matmuls with annotated weights.
typedef struct pq_columns {
    pq_value_id *watched; // [count]
    double **sums;        // [count][column_counts[i]] of x^2
    int64_t *column_counts;
    double *row_counts;
    uint32_t count;
    uint64_t sample_count; // times that the first was seen
    uint32_t *slot_of;     // [values] index + 1; 0: not watched
} pq_columns;

// Memory is the arena's.
PTQC_MUST_USE ptqc_status pq_columns_init(pq_columns *c, const pq_graph *g,
                                          pq_arena *arena);
// Whether v is watched, its tensor was added, then.
bool pq_columns_take(pq_columns *c, pq_value_id v, const pq_tensor *t);
// For checkpoints: all that was seen of v, if it is watched.
void pq_columns_state(pq_columns *c, pq_value_id v, pq_state *s);
// Into statistics, by the names of the ops.
PTQC_MUST_USE ptqc_status pq_columns_keep(const pq_columns *c,
                                          const pq_graph *g, pq_stats *out);

#endif
