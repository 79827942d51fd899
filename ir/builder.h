// SPDX-License-Identifier: Apache-2.0
//
// Making ops. A builder collects one op (code, inputs, attributes) and
// pq_build_end checks it, infers the output types, propagates known shape
// elements and inserts it. AXIS and AXES may count from the end (-1 = last);
// stored they are within 0 .. rank - 1. Trailing absent inputs are dropped.
#ifndef PTQC_IR_BUILDER_H
#define PTQC_IR_BUILDER_H

#include "ir/graph.h"

typedef struct pq_builder {
    pq_graph *g;     // borrowed
    pq_op_id before; // insertion point; none = at the end
    pq_opcode code;
    pq_str name;
    pq_value_id inputs[PQ_MAX_INPUTS];
    uint32_t input_count;
    pq_attr attrs[24];
    uint32_t attr_count;
    ptqc_status st; // first failure; the calls after it do nothing
} pq_builder;

// before = none: at the end of the graph.
void pq_build_begin(pq_builder *b, pq_graph *g, pq_op_id before, pq_opcode code,
                    pq_str name);
void pq_build_input(pq_builder *b, pq_value_id v); // PQ_NO_VALUE = absent
void pq_build_i64(pq_builder *b, pq_attr_name name,
                  int64_t i); // also OP, DTYPE
void pq_build_f32(pq_builder *b, pq_attr_name name, float f);
void pq_build_i64s(pq_builder *b, pq_attr_name name, const int64_t *p,
                   uint32_t n);
void pq_build_f32s(pq_builder *b, pq_attr_name name, const float *p,
                   uint32_t n);
void pq_build_dims(pq_builder *b, pq_attr_name name, const pq_dim *p,
                   uint32_t n);
void pq_build_attr(pq_builder *b, const pq_attr *attr); // copies
// output_names may be NULL or hold empty names. Fills outputs[0..outputs of
// the op) (may be NULL for ops with one output when out is given).
PTQC_MUST_USE ptqc_status pq_build_end(pq_builder *b,
                                       const pq_str *output_names,
                                       pq_value_id *outputs, pq_op_id *out_op);

// Shorthands for passes: insert before `before`, unnamed output.
PTQC_MUST_USE ptqc_status pq_build_unary(pq_graph *g, pq_op_id before,
                                         pq_opcode code, pq_value_id x,
                                         pq_value_id *out);
PTQC_MUST_USE ptqc_status pq_build_binary(pq_graph *g, pq_op_id before,
                                          pq_opcode code, pq_value_id a,
                                          pq_value_id b, pq_value_id *out);
// Constant whose elements (dense, row-major) are copied into the arena.
// dims may be NULL for rank 0.
PTQC_MUST_USE ptqc_status pq_build_constant(pq_graph *g, pq_str name,
                                            ptqc_dtype dtype,
                                            const int64_t *dims, uint32_t rank,
                                            const void *elements,
                                            pq_value_id *out);
// Quantized output: sets dtype and quant of a value just built.
void pq_value_set_quant(pq_graph *g, pq_value_id v, ptqc_dtype dtype,
                        pq_quant_id quant);

#endif
