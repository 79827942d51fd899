// SPDX-License-Identifier: Apache-2.0
//
// The verifier: structure (ids, uses, order, arity, attributes), types
// (inference gives what is stored), and the rules of the graph's stage.
#ifndef PTQC_IR_VERIFY_H
#define PTQC_IR_VERIFY_H

#include "ir/graph.h"

// PTQC_E_INTERNAL with the op and rule that fails. A dim that inference gives
// in another form than the stored one passes unless the two are known to
// differ (ranges of symbols may have become narrower). Rules of the stages:
//   all         a value with quantization parameters has scale and zero point
//               constants that fit its shape, or dynamic ones; quantize and
//               dynamic_quantize give codes, dequantize takes codes; kv_update
//               changes states, and states are read as graph.h says
//   FLOAT       codes have the dtype their parameters say (imported Q/DQ)
//   ANNOTATED   or the value is still float; scales may be absent
//   QUANTIZED, LEGAL   as FLOAT
PTQC_MUST_USE ptqc_status pq_graph_verify(const pq_graph *g);

#endif
