// SPDX-License-Identifier: Apache-2.0
//
// What frontend/import.c knows of the ONNX importer.
#ifndef PTQC_FRONTEND_ONNX_ONNX_H
#define PTQC_FRONTEND_ONNX_ONNX_H

#include "frontend/import.h"

// Fills `model`, whose path, files[0] and arena are there. On success either
// the graph or problems are set. The bytes outlive the model's graph.
PTQC_MUST_USE ptqc_status pq_onnx_import(pq_model *model, const char *path,
                                         const void *bytes, size_t n,
                                         const pq_import_options *options);
// A TensorProto alone in a file ("input_0.pb"). Name, dims and bytes are the
// arena's. PTQC_E_INPUT: malformed; PTQC_E_UNSUPPORTED: a type or a form
// (external data) that is not read.
PTQC_MUST_USE ptqc_status pq_onnx_read_tensor(ptqc_ctx *ctx, const char *path,
                                              pq_arena *arena, pq_str *out_name,
                                              pq_constant *out);

#endif
