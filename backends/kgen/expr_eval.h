// SPDX-License-Identifier: Apache-2.0
//
// What an expression (expr.h) means: one element at a time, on the host. What
// devices print or build of it has these bits, but for what docs/numerics.md,
// section 10, says of functions on GPUs.
#ifndef PTQC_BACKENDS_KGEN_EXPR_EVAL_H
#define PTQC_BACKENDS_KGEN_EXPR_EVAL_H

#include "expr.h"

// A register: f32 and f64 in their members; all other types in `whole`: the
// stored bits extended by their sign (u64: as they are; f16 and bf16: the bits;
// bool: 0 or 1).
typedef struct pq_expr_scalar {
    float f32;
    double f64;
    int64_t whole;
} pq_expr_scalar;

// A stored element as a register, and back.
pq_expr_scalar pq_expr_load(uint32_t dtype, const uint8_t *p);
void pq_expr_store(uint32_t dtype, pq_expr_scalar v, uint8_t *p);

// The program for one element: inputs[i] and outputs[i] point at it. Views and
// dims of the desc are not read; pq_expr_check has passed it. Pure.
void pq_expr_eval(const pq_expr_desc *desc, const uint8_t *const *inputs,
                  uint8_t *const *outputs);

#endif
