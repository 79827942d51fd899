// SPDX-License-Identifier: Apache-2.0
//
// The expression: a small program over virtual registers. Elementwise chains,
// and what kernels do to a sum before they store it, are expressions; every
// device makes one kernel of one that reads each input once and writes each
// output once. Covers every unary, binary, compare, select, cast and
// quantize/dequantize op and any chain of them; batch norm, bias and scale by
// channel are such chains.
//
//     y = relu(dequantize(x) + b)  ->  u8
//     ops: 0 load x (u8)      1 param sx (f32)   2 param zx (i32)
//          3 dequantize 0 1 2 4 load b (f32)     5 add 3 4
//          6 relu 5           7 param sy         8 param zy
//          9 quantize 6 7 8 (u8)                 output 0 = register 9
//
// Op i defines register i. Operands are strided views of the iteration space
// `dims`; stride 0 broadcasts. The program (types, ops, which operands are
// contiguous in the innermost collapsed dim) is the kernel's key; sizes,
// strides and parameters are run-time values, so one kernel serves many
// shapes.
#ifndef PTQC_BACKENDS_KGEN_EXPR_H
#define PTQC_BACKENDS_KGEN_EXPR_H

#include <stddef.h>
#include <stdint.h>

#include "ptqc/types.h"

typedef enum pq_expr_code {
#define EXPR(NAME, text, args, check) PQ_EXPR_##NAME,
#include "expr_ops.def"
#undef EXPR
    PQ_EXPR_CODE_COUNT
} pq_expr_code;

#define PQ_EXPR_MAX_OPS     48u
#define PQ_EXPR_MAX_INPUTS  8u
#define PQ_EXPR_MAX_OUTPUTS 2u
#define PQ_EXPR_MAX_PARAMS  24u

// One op. Registers hold any type of ptqc_dtype down to 8 bits (bool = one
// bit; not i4, u4, fp8). f16 and bf16 are only loaded, stored and cast. f64
// has the FLOAT and NUM ops, compares and casts.
typedef struct pq_expr_op {
    uint8_t code;    // pq_expr_code
    uint8_t dtype;   // ptqc_dtype of the result
    uint8_t a, b, c; // registers < this op's own index; unused ones 0
    uint8_t index;   // of LOAD: input; of PARAM: parameter; else 0
} pq_expr_op;

// Where an operand's elements are: byte address = pointer + sum over d of
// index[d] * strides[d] * size of the element. In the innermost dim a stride
// must be 0 or 1 once dims are collapsed (any stride when that dim is 1).
typedef struct pq_expr_view {
    int64_t strides[PTQC_MAX_RANK]; // in elements
} pq_expr_view;

// A run-time constant: the member of the register's dtype (f32, f64, or the
// integer, sign-extended; bool 0 or 1).
typedef union pq_expr_param {
    float f32;
    double f64;
    int64_t integer;
} pq_expr_param;

typedef struct pq_expr_desc {
    uint32_t rank; // <= PTQC_MAX_RANK; 0 = one element
    uint32_t op_count;
    uint32_t input_count, output_count, param_count;
    int64_t dims[PTQC_MAX_RANK]; // >= 0
    pq_expr_op ops[PQ_EXPR_MAX_OPS];
    pq_expr_view inputs[PQ_EXPR_MAX_INPUTS];
    pq_expr_view outputs[PQ_EXPR_MAX_OUTPUTS]; // no stride 0 but for dim 1
    uint8_t results[PQ_EXPR_MAX_OUTPUTS];      // register stored to output i
    pq_expr_param params[PQ_EXPR_MAX_PARAMS];
} pq_expr_desc;

// Strides of a dense row-major operand of shape `shape` (rank `rank`, the
// last dims aligned) broadcast to `desc->rank` dims, numpy rules.
void pq_expr_view_broadcast(pq_expr_view *view, uint32_t desc_rank,
                            const int64_t *shape, uint32_t shape_rank);

// Whether the program can run; NULL or a reason (static text). Needs ops,
// counts and results only, no shapes.
const char *pq_expr_check(const pq_expr_desc *desc);

int pq_expr_dtype_is_signed(uint32_t dtype); // of integers
int pq_expr_dtype_is_int(uint32_t dtype);    // not bool

// Name of a code: "add".
const char *pq_expr_name(pq_expr_code code);

#endif
