// SPDX-License-Identifier: Apache-2.0
//
// Shape and type inference. Each rule named in ops.def fills the outputs of
// one op from its inputs and attributes, and refuses what is malformed with
// PTQC_E_INPUT, naming op, node, input, expected and found. Two symbolic
// dims that are not known to be equal or different are taken to be equal:
// whoever runs the op finds out.
#ifndef PTQC_IR_INFER_H
#define PTQC_IR_INFER_H

#include "ir/graph.h"

// Largest element count of one tensor.
#define PQ_MAX_ELEMENT_COUNT (INT64_C(1) << 40)

enum { PQ_MAX_OUTPUTS = 3 };

typedef struct pq_infer_out {
    ptqc_dtype dtype;
    uint32_t rank;
    pq_dim dims[PTQC_MAX_RANK];
    pq_quant_id quant;      // passed on by ops that move codes
    const pq_dim *elements; // as of pq_value
    uint32_t element_count;
} pq_infer_out;

typedef struct pq_infer {
    pq_graph *g;
    const pq_op *op;
    pq_infer_out out[PQ_MAX_OUTPUTS];
} pq_infer;

// Runs the rule of c->op, checks the results and finds known elements. An
// output that exists already and carries quantization keeps its dtype.
PTQC_MUST_USE ptqc_status pq_infer_run(pq_infer *c);
// The same without known elements.
PTQC_MUST_USE ptqc_status pq_infer_types(pq_infer *c);
// Refuses element counts beyond PQ_MAX_ELEMENT_COUNT and negative dims;
// `what` names the tensor.
PTQC_MUST_USE ptqc_status pq_type_check(pq_graph *g, const pq_type *type,
                                        pq_str what);
// Elements of out[0], when they follow from those of the inputs.
PTQC_MUST_USE ptqc_status pq_infer_elements(pq_infer *c);

// ---- for the rules ----------------------------------------------------------

const pq_value *pq_infer_in(const pq_infer *c, uint32_t i); // NULL: absent
bool pq_value_has_codes(const pq_value *v); // quantized, not only annotated
// input < 0: not about one input.
__attribute__((format(printf, 3, 4))) ptqc_status
pq_infer_refuse(const pq_infer *c, int input, const char *format, ...);
PTQC_MUST_USE ptqc_status pq_infer_rank(const pq_infer *c, uint32_t i,
                                        uint32_t min, uint32_t max);
// dim `axis` of input i must be `expected`, unless absent.
PTQC_MUST_USE ptqc_status pq_infer_dim(const pq_infer *c, uint32_t i,
                                       uint32_t axis, pq_dim expected);
// Input i, when present, must be of rank 1 with n elements.
PTQC_MUST_USE ptqc_status pq_infer_vector(const pq_infer *c, uint32_t i,
                                          pq_dim n);
// Input i, when present, must have the shape of output 0.
PTQC_MUST_USE ptqc_status pq_infer_like_output(const pq_infer *c, uint32_t i);
PTQC_MUST_USE ptqc_status pq_infer_axis(const pq_infer *c, int64_t otherwise,
                                        uint32_t rank, uint32_t *out);
// n integers of an attribute, each in [min, 2^31); all `otherwise` if absent.
PTQC_MUST_USE ptqc_status pq_infer_ints(const pq_infer *c, pq_attr_name name,
                                        uint32_t n, int64_t min,
                                        int64_t otherwise, int64_t *out);
// One integer in [min, max].
PTQC_MUST_USE ptqc_status pq_infer_int(const pq_infer *c, pq_attr_name name,
                                       int64_t min, int64_t max,
                                       int64_t otherwise, int64_t *out);
// The DIMS attribute, which must be there; count < 0: any.
PTQC_MUST_USE ptqc_status pq_infer_dims(const pq_infer *c, pq_attr_name name,
                                        int64_t count, const pq_attr **out);
PTQC_MUST_USE ptqc_status pq_infer_broadcast_dim(const pq_infer *c, int input,
                                                 pq_dim a, pq_dim b,
                                                 pq_dim *out);
pq_dim pq_dim_with(pq_graph *g, pq_dim_op op, pq_dim a, int64_t b);
// Sets output o to the dtype and shape of input i.
void pq_infer_copy(pq_infer *c, uint32_t o, uint32_t i);
// Codes of conv and matmul give reals until someone sets the output's scale;
// plain 8-bit integers give i32 (ONNX ConvInteger, MatMulInteger).
ptqc_dtype pq_infer_product_dtype(const pq_infer *c);
pq_dim pq_dims_product(pq_graph *g, const pq_dim *dims, uint32_t n);

// ---- the rules, one per name of ops.def -----------------------------------

typedef ptqc_status (*pq_infer_fn)(pq_infer *c);

ptqc_status pq_infer_same(pq_infer *c);
ptqc_status pq_infer_to_bool(pq_infer *c);
ptqc_status pq_infer_cast(pq_infer *c);
ptqc_status pq_infer_broadcast(pq_infer *c);
ptqc_status pq_infer_compare(pq_infer *c);
ptqc_status pq_infer_where(pq_infer *c);

ptqc_status pq_infer_conv(pq_infer *c);
ptqc_status pq_infer_conv_transpose(pq_infer *c);
ptqc_status pq_infer_pool(pq_infer *c);
ptqc_status pq_infer_matmul(pq_infer *c);
ptqc_status pq_infer_attention(pq_infer *c);
ptqc_status pq_infer_rope(pq_infer *c);
ptqc_status pq_infer_kv_update(pq_infer *c);
ptqc_status pq_infer_kv_update_codes(pq_infer *c);
ptqc_status pq_infer_recurrent(pq_infer *c);

ptqc_status pq_infer_reduce(pq_infer *c);
ptqc_status pq_infer_arg_reduce(pq_infer *c);
ptqc_status pq_infer_topk(pq_infer *c);
ptqc_status pq_infer_along(pq_infer *c);
ptqc_status pq_infer_channel_norm(pq_infer *c);
ptqc_status pq_infer_trailing_norm(pq_infer *c);
ptqc_status pq_infer_lrn(pq_infer *c);
ptqc_status pq_infer_trilu(pq_infer *c);
ptqc_status pq_infer_reverse_sequence(pq_infer *c);

ptqc_status pq_infer_reshape(pq_infer *c);
ptqc_status pq_infer_transpose(pq_infer *c);
ptqc_status pq_infer_slice(pq_infer *c);
ptqc_status pq_infer_concat(pq_infer *c);
ptqc_status pq_infer_pad(pq_infer *c);
ptqc_status pq_infer_expand(pq_infer *c);
ptqc_status pq_infer_tile(pq_infer *c);
ptqc_status pq_infer_gather(pq_infer *c);
ptqc_status pq_infer_gather_elements(pq_infer *c);
ptqc_status pq_infer_gather_nd(pq_infer *c);
ptqc_status pq_infer_scatter_elements(pq_infer *c);
ptqc_status pq_infer_scatter_nd(pq_infer *c);
ptqc_status pq_infer_depth_to_space(pq_infer *c);
ptqc_status pq_infer_space_to_depth(pq_infer *c);
ptqc_status pq_infer_resize(pq_infer *c);
ptqc_status pq_infer_range(pq_infer *c);
ptqc_status pq_infer_shape(pq_infer *c);
ptqc_status pq_infer_one_hot(pq_infer *c);

ptqc_status pq_infer_quantize(pq_infer *c);
ptqc_status pq_infer_dequantize(pq_infer *c);
ptqc_status pq_infer_dynamic_quantize(pq_infer *c);

#endif
