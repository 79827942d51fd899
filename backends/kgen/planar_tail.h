// SPDX-License-Identifier: Apache-2.0
//
// What follows the sums of a product, as the expression at the end of a
// step's parameters (kernels.def): the epilogue that lower_epilogue.h read.
#ifndef PTQC_BACKENDS_KGEN_PLANAR_TAIL_H
#define PTQC_BACKENDS_KGEN_PLANAR_TAIL_H

#include "lower_epilogue.h"
#include "lower_expr.h"

// Operands of a tail, program values; PQ_KG_NONE: absent. Channels run along
// the last axis of y.
typedef struct pq_tail_operands {
    uint32_t init;         // i32 [channels], added to the sum
    uint32_t mult;         // f32 [channels]
    uint32_t bias;         // f32 [channels]
    uint32_t row_scale;    // f32, the axes of y but the last one of 1
    uint32_t residual;     // as y
    uint64_t residual_map; // 4 bits per axis of the residual: axis of y
} pq_tail_operands;

typedef struct pq_tail {
    pq_chain c;
    uint32_t rank; // of y
    uint32_t operand_count;
    uint32_t values[PQ_EXPR_MAX_INPUTS];
    uint64_t maps[PQ_EXPR_MAX_INPUTS];
} pq_tail;

// 4 bits per axis, each its own.
uint64_t pq_tail_identity(uint32_t rank);
// Builds the tail of sums of type `sum` (f32 or i32) for the node's result.
void pq_tail_make(pq_tail *t, pq_lower *l, uint32_t sum,
                  const pq_lower_epilogue *e, const pq_tail_operands *operands);
// The tail's operands, after the step's own; then, at the end of the step's
// parameters, the expression.
void pq_tail_inputs(const pq_tail *t);
void pq_tail_params(const pq_tail *t);

#endif
