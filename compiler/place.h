// SPDX-License-Identifier: Apache-2.0
//
// Placement: which target runs which op, and which ops form one program.
#ifndef PTQC_COMPILER_PLACE_H
#define PTQC_COMPILER_PLACE_H

#include "compiler/targets.h"
#include "ir/graph.h"

// A set of ops that one target runs together. Parts run in order; a part
// reads only what earlier parts, inputs and constants give.
typedef struct pq_part {
    uint32_t target; // index into pq_targets
    pq_op_id *ops;   // [op_count], topological order
    uint32_t op_count;
    pq_value_id *inputs, *states, *outputs;
    uint32_t input_count, state_count, output_count;
} pq_part;

// Why an op did not go to the first target.
typedef struct pq_decline {
    pq_op_id op;
    uint32_t target; // that declined
    const char *reason;
} pq_decline;

typedef struct pq_placement {
    pq_arena arena;
    uint32_t *target_of; // [op ids] index into pq_targets
    pq_part *parts;
    uint32_t part_count;
    pq_decline *declines; // by asked targets
    uint32_t decline_count;
} pq_placement;

// PTQC_E_UNSUPPORTED names the first op nobody takes, with the reason.
PTQC_MUST_USE ptqc_status pq_place(pq_graph *g, pq_targets *targets,
                                   pq_placement *out);
void pq_placement_deinit(pq_placement *p);
// Whether two declines say the same: the kind of op, target and reason.
bool pq_decline_is_like(const pq_graph *g, const pq_decline *a,
                        const pq_decline *b);
// Declines like number i from i on; 0 when an earlier one is like it.
uint32_t pq_decline_count_like(const pq_graph *g, const pq_placement *p,
                               uint32_t i);

#endif
