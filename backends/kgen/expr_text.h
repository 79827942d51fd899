// SPDX-License-Identifier: Apache-2.0
//
// Expressions (expr.h) as text of a kernel: the part of every kernel that is
// data. One expression is at the end of a step's parameters (kernels.def).
#ifndef PTQC_BACKENDS_KGEN_EXPR_TEXT_H
#define PTQC_BACKENDS_KGEN_EXPR_TEXT_H

#include "expr.h"
#include "module.h"

// An expression among the parameters of a step.
typedef struct pq_kg_expression {
    pq_expr_desc d;       // ops, counts, results; no shapes, no parameters
    uint32_t first_param; // its parameters
    uint32_t first_map;   // the map of its first operand
    uint32_t first_input; // input of the step that is its first operand
    uint32_t sums;        // 1: LOAD 0 is a sum and no operand; else 0
    uint32_t rank;        // of its iteration space
    uint32_t param_words; // of each parameter: 2 when one has 64 bits
} pq_kg_expression;

// Reads it from parameter `at` on. With `sum` = a dtype, LOAD 0 is a sum of
// that type and operands are inputs from `first_input` on; PTQC_DTYPE_NONE:
// no sum. NULL, or why kernels cannot have it (static text).
const char *pq_kg_expression_read(const pq_kg_job *job, uint32_t at,
                                  uint32_t sum, uint32_t first_input,
                                  pq_kg_expression *out);

// Declares the expression's operands as buffers e0, e1.. and the words of its
// parameters.
void pq_kg_expression_declare(pq_kg_module *m, const pq_kg_expression *e);
// The words of its parameters, at the same place.
void pq_kg_expression_put(pq_kg_launcher *l, const pq_kg_expression *e);
// Strides of operand i along the axes of y; fails the launch when it does not
// broadcast.
void pq_kg_expression_view(pq_kg_launcher *l, const pq_kg_expression *e,
                           uint32_t i, const pq_kg_tensor *y, int64_t *out);

// For kernels whose results are [columns..][rows]: puts of each operand its
// strides along rows and along columns; fails the launch when those of columns
// are not one.
void pq_kg_put_columns(pq_kg_launcher *l, const pq_kg_expression *e);

// Statements that compute the result from `sum` (an expression of the text)
// and operands e<i> at index at<i>; *out_result: its register. Whether the
// sum and places are those of several elements is the skeleton's business.
const char *pq_kg_expression_text(pq_kg_module *m, const pq_kg_expression *e,
                                  const char *sum, char out_result[16]);
// Operands of the expression, without the sum.
uint32_t pq_kg_expression_operands(const pq_kg_expression *e);
// "_add_relu": codes of the ops, for names of kernels.
void pq_kg_expression_name(pq_kg_module *m, const pq_kg_expression *e);

#endif
