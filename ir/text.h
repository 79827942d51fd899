// SPDX-License-Identifier: Apache-2.0
//
// The .ptir text form: lossless, printed and parsed; print(parse(t)) = t.
// Grammar and an example: docs/ptir.md.
#ifndef PTQC_IR_TEXT_H
#define PTQC_IR_TEXT_H

#include "ir/graph.h"

#define PQ_PRINT_NO_DATA                                                       \
    1u // constants as dtype, shape and hash only
       // (cannot be parsed back)

PTQC_MUST_USE ptqc_status pq_graph_print(const pq_graph *g, unsigned flags,
                                         pq_strbuf *out);
// PTQC_E_INPUT names line and column. `what` names the source in errors.
PTQC_MUST_USE ptqc_status pq_graph_parse(ptqc_ctx *ctx, const char *what,
                                         pq_str text, pq_graph **out);

#endif
