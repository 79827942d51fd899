// SPDX-License-Identifier: Apache-2.0
//
// Changing a graph: uses, operands, erasing.
#ifndef PTQC_IR_REWRITE_H
#define PTQC_IR_REWRITE_H

#include "ir/graph.h"

// One operand of an op that is a certain value.
typedef struct pq_use pq_use;
struct pq_use {
    pq_op_id op;
    pq_use *next;
};
// The uses of v by ops, in unspecified order; an op that has v twice occurs
// twice. Valid until the next change.
const pq_use *pq_value_uses(const pq_graph *g, pq_value_id v);
bool pq_value_is_output(const pq_graph *g, pq_value_id v);

// All operands and graph outputs that are `from` become `to`, except the
// operands of the op that makes `to`. Types are the caller's business.
PTQC_MUST_USE ptqc_status pq_replace_uses(pq_graph *g, pq_value_id from,
                                          pq_value_id to);
PTQC_MUST_USE ptqc_status pq_set_input(pq_graph *g, pq_op_id op, uint32_t i,
                                       pq_value_id v); // grows the list
PTQC_MUST_USE ptqc_status pq_set_attr(pq_graph *g, pq_op_id op,
                                      const pq_attr *attr); // adds or replaces
void pq_drop_attr(pq_graph *g, pq_op_id op, pq_attr_name name);
// The op must have no used outputs.
void pq_erase_op(pq_graph *g, pq_op_id op);
// Erases all ops whose outputs nothing uses and that change no state, in one
// backward walk; -> count.
uint32_t pq_erase_dead(pq_graph *g);
// The only op that uses v, when v has one use and is no graph output.
pq_op_id pq_single_user(const pq_graph *g, pq_value_id v);
// Re-infers the op's output types after its inputs changed.
PTQC_MUST_USE ptqc_status pq_reinfer(pq_graph *g, pq_op_id op);
// Moves `op` directly before `before`.
void pq_move_op(pq_graph *g, pq_op_id op, pq_op_id before);

#endif
