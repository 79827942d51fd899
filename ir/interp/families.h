// SPDX-License-Identifier: Apache-2.0
//
// The functions that evals.def names, by file.
#ifndef PTQC_IR_INTERP_FAMILIES_H
#define PTQC_IR_INTERP_FAMILIES_H

#include "ir/interp/eval.h"

// unary.c
ptqc_status pq_eval_unary(pq_eval *e);
ptqc_status pq_eval_test_float(pq_eval *e);
const char *pq_rule_unary(pq_graph *g, const pq_op *op);
// binary.c
ptqc_status pq_eval_binary(pq_eval *e);
ptqc_status pq_eval_pow(pq_eval *e);
const char *pq_rule_pow(pq_graph *g, const pq_op *op);
ptqc_status pq_eval_compare(pq_eval *e);
ptqc_status pq_eval_where(pq_eval *e);
const char *pq_rule_binary(pq_graph *g, const pq_op *op);
const char *pq_rule_compare(pq_graph *g, const pq_op *op);
const char *pq_rule_scatter(pq_graph *g, const pq_op *op);
const char *pq_rule_where(pq_graph *g, const pq_op *op);
// conv.c, matmul.c
ptqc_status pq_eval_conv(pq_eval *e);
ptqc_status pq_eval_matmul(pq_eval *e);
// reduce.c, norm.c, pool.c, resize.c
ptqc_status pq_eval_reduce(pq_eval *e);
const char *pq_rule_reduce(pq_graph *g, const pq_op *op);
ptqc_status pq_eval_softmax(pq_eval *e);
ptqc_status pq_eval_lp_norm(pq_eval *e);
ptqc_status pq_eval_lrn(pq_eval *e);
ptqc_status pq_eval_row_norm(pq_eval *e);
ptqc_status pq_eval_group_norm(pq_eval *e);
ptqc_status pq_eval_batch_norm(pq_eval *e);
ptqc_status pq_eval_pool(pq_eval *e);
const char *pq_rule_pool(pq_graph *g, const pq_op *op);
ptqc_status pq_eval_resize(pq_eval *e);
const char *pq_rule_resize(pq_graph *g, const pq_op *op);
// move.c
ptqc_status pq_eval_copy(pq_eval *e);
const char *pq_rule_identity(pq_graph *g, const pq_op *op);
ptqc_status pq_eval_transpose(pq_eval *e);
ptqc_status pq_eval_slice(pq_eval *e);
ptqc_status pq_eval_expand(pq_eval *e);
ptqc_status pq_eval_tile(pq_eval *e);
ptqc_status pq_eval_depth_space(pq_eval *e);
ptqc_status pq_eval_concat(pq_eval *e);
const char *pq_rule_concat(pq_graph *g, const pq_op *op);
ptqc_status pq_eval_pad(pq_eval *e);
const char *pq_rule_fill(pq_graph *g, const pq_op *op);
ptqc_status pq_eval_trilu(pq_eval *e);
ptqc_status pq_eval_reverse_sequence(pq_eval *e);
// gather.c
ptqc_status pq_eval_gather(pq_eval *e);
ptqc_status pq_eval_gather_elements(pq_eval *e);
ptqc_status pq_eval_gather_nd(pq_eval *e);
ptqc_status pq_eval_scatter_elements(pq_eval *e);
ptqc_status pq_eval_scatter_nd(pq_eval *e);
ptqc_status pq_eval_one_hot(pq_eval *e);
const char *pq_rule_one_hot(pq_graph *g, const pq_op *op);
// select.c
ptqc_status pq_eval_arg_reduce(pq_eval *e);
ptqc_status pq_eval_topk(pq_eval *e);
ptqc_status pq_eval_cumsum(pq_eval *e);
ptqc_status pq_eval_range(pq_eval *e);
ptqc_status pq_eval_shape(pq_eval *e);
// cast.c
ptqc_status pq_eval_cast(pq_eval *e);
ptqc_status pq_eval_requantize(pq_eval *e);
ptqc_status pq_eval_dynamic_quantize(pq_eval *e);
const char *pq_rule_dynamic_quantize(pq_graph *g, const pq_op *op);
// recurrent.c, attention.c, rope.c, kv_update.c
ptqc_status pq_eval_recurrent(pq_eval *e);
const char *pq_rule_recurrent(pq_graph *g, const pq_op *op);
ptqc_status pq_eval_attention(pq_eval *e);
const char *pq_rule_attention(pq_graph *g, const pq_op *op);
ptqc_status pq_eval_rope(pq_eval *e);
ptqc_status pq_eval_kv_update(pq_eval *e);
ptqc_status pq_eval_kv_update_codes(pq_eval *e);
const char *pq_rule_kv_update_codes(pq_graph *g, const pq_op *op);

#endif
