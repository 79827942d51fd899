// SPDX-License-Identifier: Apache-2.0
//
// The importer functions that ops.def names, and the few pieces that several
// files of operators share.
#ifndef PTQC_FRONTEND_ONNX_OPS_H
#define PTQC_FRONTEND_ONNX_OPS_H

#include "frontend/onnx/importer.h"

// Redundant declarations are one and the same: rows may share a function.
#define ONNX(domain, name, since, until, min, max, outputs, codes, import,     \
             param)                                                            \
    ptqc_status import(pq_onnx_call *c);
#include "frontend/onnx/ops.def"
#undef ONNX

// Convolution and average pooling of the node's attributes (ops_nn.c).
PTQC_MUST_USE ptqc_status pq_onnx_build_conv(pq_onnx_call *c, pq_value_id x,
                                             pq_value_id weight,
                                             pq_value_id bias,
                                             pq_value_id *out);
PTQC_MUST_USE ptqc_status pq_onnx_build_pool(pq_onnx_call *c, pq_opcode code,
                                             pq_value_id x, pq_value_id *out);
PTQC_MUST_USE ptqc_status pq_onnx_build_global_pool(pq_onnx_call *c,
                                                    pq_opcode code,
                                                    pq_value_id x,
                                                    pq_value_id *out);
// Elements [start, end) along an axis (ops_move.c).
PTQC_MUST_USE ptqc_status pq_onnx_slice_constant(pq_onnx_call *c, pq_value_id x,
                                                 int64_t axis, int64_t start,
                                                 int64_t end, pq_value_id *out);

// ---- quantization (quantize.c) ----------------------------------------------

// What a scale and a zero point operand say about codes.
typedef struct pq_onnx_quant_desc {
    pq_value_id scale, zero_point; // zero_point none: 0
    int64_t axis;                  // for scales of rank 1 with more than one
    int64_t block;                 // elements a scale covers along axis; 0
} pq_onnx_quant_desc;

// Whether scale and zero point are constants.
bool pq_onnx_quant_is_known(const pq_onnx_call *c, const pq_onnx_quant_desc *d);
// The graph's id for those parameters (the same for the same), for codes of
// dtype `format` in a tensor of type `type`.
PTQC_MUST_USE ptqc_status pq_onnx_quant_make(pq_onnx_call *c,
                                             const pq_onnx_quant_desc *d,
                                             const pq_type *type,
                                             ptqc_dtype format,
                                             pq_quant_id *out);
// The value with its codes given that meaning: itself, or a second value of
// the same constant. E_UNSUPPORTED when it means something else already.
PTQC_MUST_USE ptqc_status pq_onnx_quant_attach(pq_onnx_call *c, pq_value_id v,
                                               pq_quant_id quant,
                                               pq_value_id *out);
// Whether attach would succeed.
bool pq_onnx_quant_can_attach(const pq_onnx_call *c, pq_value_id v,
                              pq_quant_id quant);
// Integer operand i with scale i + 1 and zero point i + 2.
PTQC_MUST_USE ptqc_status pq_onnx_quant_operand(pq_onnx_call *c, uint32_t i,
                                                int64_t axis, pq_value_id *out);
// Makes v, real so far, the codes of scale i and zero point i + 1.
PTQC_MUST_USE ptqc_status pq_onnx_quant_result(pq_onnx_call *c, uint32_t i,
                                               pq_value_id v);

// The same arithmetic in plain ops, for parameters that are computed.
PTQC_MUST_USE ptqc_status pq_onnx_quantize_by_ops(pq_onnx_call *c,
                                                  pq_value_id x,
                                                  const pq_onnx_quant_desc *d,
                                                  ptqc_dtype to,
                                                  pq_value_id *out);
PTQC_MUST_USE ptqc_status pq_onnx_dequantize_by_ops(pq_onnx_call *c,
                                                    pq_value_id x,
                                                    const pq_onnx_quant_desc *d,
                                                    ptqc_dtype to,
                                                    pq_value_id *out);
// Codes minus zero point as i32; a vector of zero points belongs to `axis`.
PTQC_MUST_USE ptqc_status pq_onnx_shifted_codes(pq_onnx_call *c, pq_value_id x,
                                                pq_value_id zero_point,
                                                int64_t axis, pq_value_id *out);

#endif
