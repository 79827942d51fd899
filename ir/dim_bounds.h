// SPDX-License-Identifier: Apache-2.0
//
// Intervals of 64-bit integers whose ends INT64_MIN and INT64_MAX mean
// "unbounded".
#ifndef PTQC_IR_DIM_BOUNDS_H
#define PTQC_IR_DIM_BOUNDS_H

#include "ir/graph.h"

typedef struct pq_range {
    int64_t min, max;
} pq_range;

pq_range pq_range_add(pq_range a, pq_range b);
pq_range pq_range_sub(pq_range a, pq_range b);
pq_range pq_range_mul(pq_range a, pq_range b);
pq_range pq_dim_range(const pq_graph *g, pq_dim d);

#endif
