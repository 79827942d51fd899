// SPDX-License-Identifier: Apache-2.0
//
// The kernel behind expr.h: rows x n elements, the innermost dim contiguous
// or broadcast per operand.
#ifndef PTQC_BACKENDS_CPU_EMIT_EXPR_H
#define PTQC_BACKENDS_CPU_EMIT_EXPR_H

#include <stdint.h>

#include "expr.h"
#include "jit.h"

// The kernel's key: bytes only, unused ones zero.
typedef struct pq_expr_key {
    uint8_t op_count, input_count, output_count, param_count;
    uint8_t is_contiguous[PQ_EXPR_MAX_INPUTS]; // in the innermost dim
    uint8_t results[PQ_EXPR_MAX_OUTPUTS];
    uint8_t zero[2];
    pq_expr_op ops[PQ_EXPR_MAX_OPS];
} pq_expr_key;

// Operands of row r begin at in[i] + r * in_step[i] (bytes).
typedef struct pq_expr_args {
    const uint8_t *in[PQ_EXPR_MAX_INPUTS];
    int64_t in_step[PQ_EXPR_MAX_INPUTS];
    uint8_t *out[PQ_EXPR_MAX_OUTPUTS];
    int64_t out_step[PQ_EXPR_MAX_OUTPUTS];
    int64_t rows, n;
    const pq_expr_param *params;
} pq_expr_args;

typedef void (*pq_expr_kernel)(const pq_expr_args *args);

extern const pq_kernel_class pq_expr_class;

#endif
