// SPDX-License-Identifier: Apache-2.0
//
// One op of an elementwise chain on scalars or vectors of 16.
//
// Register types in LLVM: bool i1; f32, f64 themselves; f16 and bf16 their
// bits in i16; integers iN. In memory bool is one byte.
#ifndef PTQC_BACKENDS_CPU_EMIT_EXPR_OP_H
#define PTQC_BACKENDS_CPU_EMIT_EXPR_OP_H

#include <llvm-c/Types.h>
#include <stdint.h>

#include "emit.h"
#include "expr.h"

// f32 bounds of a code minus its zero point.
typedef struct pq_code_bounds {
    LLVMValueRef v_lo, v_hi;
} pq_code_bounds;

// Type of stored elements; lanes 0 = scalar.
LLVMTypeRef pq_expr_memory_type(pq_emitter *e, uint32_t dtype, uint32_t lanes);
// Stored element <-> register.
LLVMValueRef pq_expr_from_memory(pq_emitter *e, uint32_t dtype,
                                 LLVMValueRef v_memory);
LLVMValueRef pq_expr_to_memory(pq_emitter *e, uint32_t dtype,
                               LLVMValueRef v_reg);
pq_code_bounds pq_expr_code_bounds(pq_emitter *e, uint32_t dtype,
                                   LLVMValueRef v_zero);
// Result of `op` (not LOAD, PARAM) of the program `ops` on its operands
// v[0..2]. bounds may be NULL or have NULL members.
LLVMValueRef pq_expr_emit_op(pq_emitter *e, const pq_expr_op *ops,
                             const pq_expr_op *op, const LLVMValueRef *v,
                             const pq_code_bounds *bounds);

#endif
