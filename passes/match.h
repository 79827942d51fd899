// SPDX-License-Identifier: Apache-2.0
//
// Looking at graphs: what passes ask about operands, again and again; and the
// changes that many of them make.
#ifndef PTQC_PASSES_MATCH_H
#define PTQC_PASSES_MATCH_H

#include "ir/graph.h"
#include "ir/rewrite.h"

// The op that makes v, when it is of this code; else NULL.
const pq_op *pq_producer(const pq_graph *g, pq_value_id v, pq_opcode code);
pq_op_id pq_producer_id(const pq_graph *g, pq_value_id v);
bool pq_is_constant(const pq_graph *g, pq_value_id v);
// A f32 constant (not codes).
bool pq_is_float_constant(const pq_graph *g, pq_value_id v);
// A value of real numbers: f32, or f16 and bf16 as weights are stored.
bool pq_is_real(const pq_graph *g, pq_value_id v);
bool pq_is_real_constant(const pq_graph *g, pq_value_id v);
bool pq_is_float(const pq_graph *g, pq_value_id v); // f32, not codes
// Codes with parameters.
bool pq_is_codes(const pq_graph *g, pq_value_id v);
// A f32 constant of one element (any rank).
bool pq_scalar_of(const pq_graph *g, pq_value_id v, float *out);
// A one-element f32 constant equal to x, exactly.
bool pq_is_scalar(const pq_graph *g, pq_value_id v, float x);
// Elements of a real constant as aligned f32 in the arena; NULL: out of
// memory. Mapped constants need not be aligned.
float *pq_copy_floats(const pq_graph *g, pq_value_id v, pq_arena *arena);
int64_t pq_element_count(const pq_constant *c);
// Operand of a BINARY op that is not `one`; the null value when it is not
// an operand.
pq_value_id pq_other_operand(const pq_op *op, pq_value_id one);
bool pq_same_type(const pq_graph *g, pq_value_id a, pq_value_id b);
bool pq_same_dims(const pq_graph *g, pq_value_id a, pq_value_id b);
// A REDUCE op over the last axis alone, keeping it.
bool pq_reduces_last(const pq_graph *g, const pq_op *op);
// Elements between neighbours along axis `axis` of dense elements.
int64_t pq_axis_stride(const pq_constant *c, uint32_t axis);
// Size of axis `axis` when constant, else -1.
int64_t pq_static_dim(const pq_graph *g, pq_value_id v, uint32_t axis);
// conv, conv_transpose, matmul.
bool pq_is_product(pq_opcode code);
// Axis of w and of the output (from the front) that is the output channel;
// false for products without one (vectors, batched or constant left side).
bool pq_channel_axes(const pq_graph *g, const pq_op *op, uint32_t *out_w,
                     uint32_t *out_y);
// Number of output channels of a product, or -1.
int64_t pq_channel_count(const pq_graph *g, const pq_op *op);
// A f32 constant that adds or multiplies one number per output channel of
// `op`'s output (or one for all): its elements as [channels] in the arena,
// else NULL (also when out of memory: *out_st).
float *pq_per_channel(const pq_graph *g, const pq_op *op, pq_value_id v,
                      pq_arena *arena, ptqc_status *out_st);
// `op`'s name or else its output's; for messages.
pq_str pq_op_label(const pq_graph *g, const pq_op *op);
// Replaces all uses of the op's only output by v and erases the op.
PTQC_MUST_USE ptqc_status pq_replace_op(pq_graph *g, pq_op_id op,
                                        pq_value_id v);
// The same with the result of a new op without attributes, which takes the
// erased one's name.
PTQC_MUST_USE ptqc_status pq_replace_by(pq_graph *g, pq_op_id op,
                                        pq_opcode code,
                                        const pq_value_id *inputs,
                                        uint32_t input_count);
// Constant f32 [n].
PTQC_MUST_USE ptqc_status pq_make_vector(pq_graph *g, const float *p, int64_t n,
                                         pq_value_id *out);

#endif
