// SPDX-License-Identifier: Apache-2.0
//
// The reference executor: oracle of every backend, constant folding, test
// runner. Slow, exact, and written to be read; numerics in docs/numerics.md.
#ifndef PTQC_IR_INTERP_H
#define PTQC_IR_INTERP_H

#include "ir/runner.h"

// A pq_runner_make_fn; `user` is the ptqc_ctx.
ptqc_status pq_interp_make(void *user, pq_graph *g, const pq_value_id *watched,
                           uint32_t watched_count, pq_runner **out);

// States belong to the runner: zero at first, kept from run to run, also
// after a run that failed (which may have changed them); when a symbol of
// their shape changes they start again, all zero. A symbol that no input's
// shape gives (the capacity of a state) is what this function sets for the
// runs that follow, else the symbol's largest value.
PTQC_MUST_USE ptqc_status pq_interp_set_symbol(pq_runner *r, pq_str name,
                                               int64_t value);
// All states zero again.
void pq_interp_clear_states(pq_runner *r);

// Runs one op: inputs[i].p == NULL for absent ones; outputs have dtype, dims
// and memory set. PTQC_E_UNSUPPORTED names op and types.
PTQC_MUST_USE ptqc_status pq_interp_op(pq_graph *g, const pq_op *op,
                                       const int64_t *symbols,
                                       const pq_tensor *inputs,
                                       pq_tensor *outputs);
// Whether the interpreter can run the op with its types: NULL = yes, else the
// reason (static or in the graph's arena).
const char *pq_interp_declines(pq_graph *g, const pq_op *op);

#endif
