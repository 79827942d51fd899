// SPDX-License-Identifier: Apache-2.0
//
// The verifier: structure (ids, uses, order, arity, attributes), types
// (inference gives what is stored), and the rules of the graph's stage.
#ifndef PTQC_IR_VERIFY_H
#define PTQC_IR_VERIFY_H

#include "ir/graph.h"

// PTQC_E_INTERNAL with the op and rule that fails.
PTQC_MUST_USE ptqc_status pq_graph_verify(const pq_graph *g);

#endif
