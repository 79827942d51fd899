// SPDX-License-Identifier: Apache-2.0
//
// The elementwise kernel: row loop, vector loop of 16 elements, masked tail.
// Registers that depend on parameters and row scalars only ("uniform") are
// computed as scalars once per row and splat. What one op means is in
// emit_expr_op.c.
#include "emit_expr.h"

#include <llvm-c/Core.h>
#include <stddef.h>
#include <string.h>

#include "backends/kgen/move.h"
#include "emit_expr_op.h"

typedef LLVMValueRef val;

typedef struct expr_emit {
    pq_emitter *e;
    const pq_expr_key *key;
    uint8_t is_uniform[PQ_EXPR_MAX_OPS];
    val v_scalar[PQ_EXPR_MAX_OPS]; // of uniform registers
    val v_splat[PQ_EXPR_MAX_OPS];  // the same in all lanes
    pq_code_bounds bounds[PQ_EXPR_MAX_OPS];
    val v_in[PQ_EXPR_MAX_INPUTS], v_out[PQ_EXPR_MAX_OUTPUTS]; // of the row
    val v_params;
} expr_emit;

static void
find_uniform(expr_emit *x)
{
    static const uint8_t arg_counts[] = {
#define EXPR(NAME, text, args, check) args,
#include "backends/kgen/expr_ops.def"
#undef EXPR
    };
    for (uint32_t i = 0; i < x->key->op_count; i++) {
        const pq_expr_op *op = &x->key->ops[i];
        uint32_t args = arg_counts[op->code];
        x->is_uniform[i] =
            (op->code != PQ_EXPR_LOAD || !x->key->is_contiguous[op->index]) &&
            (args < 1 || x->is_uniform[op->a]) &&
            (args < 2 || x->is_uniform[op->b]) &&
            (args < 3 || x->is_uniform[op->c]);
    }
}

static val
emit_param(expr_emit *x, const pq_expr_op *op)
{
    pq_emitter *e = x->e;
    val v_at = pq_emit_at_const(e, x->v_params,
                                (int64_t)(op->index * sizeof(pq_expr_param)));
    return pq_expr_from_memory(
        e, op->dtype,
        pq_emit_load(e, pq_expr_memory_type(e, op->dtype, 0), v_at, 8));
}

static val
emit_uniform(expr_emit *x, uint32_t i)
{
    pq_emitter *e = x->e;
    const pq_expr_op *op = &x->key->ops[i];
    if (op->code == PQ_EXPR_PARAM) {
        return emit_param(x, op);
    }
    if (op->code == PQ_EXPR_LOAD) {
        LLVMTypeRef type = pq_expr_memory_type(e, op->dtype, 0);
        return pq_expr_from_memory(
            e, op->dtype,
            pq_emit_load(e, type, x->v_in[op->index],
                         pq_kg_element_bytes(op->dtype)));
    }
    val v[3] = {x->v_scalar[op->a], x->v_scalar[op->b], x->v_scalar[op->c]};
    return pq_expr_emit_op(e, x->key->ops, op, v, NULL);
}

// Uniform registers of a row, and the clamp bounds that they give.
static void
emit_row_start(expr_emit *x)
{
    pq_emitter *e = x->e;
    for (uint32_t i = 0; i < x->key->op_count; i++) {
        const pq_expr_op *op = &x->key->ops[i];
        x->bounds[i] = (pq_code_bounds){NULL, NULL};
        if (x->is_uniform[i]) {
            x->v_scalar[i] = emit_uniform(x, i);
            x->v_splat[i] = pq_emit_splat(e, x->v_scalar[i]);
        } else if ((op->code == PQ_EXPR_QUANTIZE ||
                    op->code == PQ_EXPR_QUANTIZE_MUL) &&
                   x->is_uniform[op->c]) {
            pq_code_bounds b =
                pq_expr_code_bounds(e, op->dtype, x->v_scalar[op->c]);
            x->bounds[i].v_lo = pq_emit_splat(e, b.v_lo);
            x->bounds[i].v_hi = pq_emit_splat(e, b.v_hi);
        }
    }
}

static val
element_address(expr_emit *x, val v_base, val v_index, uint32_t dtype)
{
    val v_bytes =
        LLVMBuildMul(x->e->builder, v_index,
                     pq_emit_i64(x->e, pq_kg_element_bytes(dtype)), "");
    return pq_emit_at(x->e, v_base, v_bytes);
}

static val
emit_vector_load(expr_emit *x, const pq_expr_op *op, val v_index, val v_mask)
{
    pq_emitter *e = x->e;
    LLVMTypeRef type = pq_expr_memory_type(e, op->dtype, PQ_LANES);
    uint32_t align = pq_kg_element_bytes(op->dtype);
    val v_at = element_address(x, x->v_in[op->index], v_index, op->dtype);
    val v_memory = v_mask == NULL
                       ? pq_emit_load(e, type, v_at, align)
                       : pq_emit_masked_load(e, type, v_at, v_mask, align);
    return pq_expr_from_memory(e, op->dtype, v_memory);
}

// 16 elements from v_index on; v_mask NULL = all.
static void
emit_vector(expr_emit *x, val v_index, val v_mask)
{
    pq_emitter *e = x->e;
    val v_reg[PQ_EXPR_MAX_OPS];
    for (uint32_t i = 0; i < x->key->op_count; i++) {
        const pq_expr_op *op = &x->key->ops[i];
        if (x->is_uniform[i]) {
            v_reg[i] = x->v_splat[i];
        } else if (op->code == PQ_EXPR_LOAD) {
            v_reg[i] = emit_vector_load(x, op, v_index, v_mask);
        } else {
            val v[3] = {v_reg[op->a], v_reg[op->b], v_reg[op->c]};
            v_reg[i] = pq_expr_emit_op(e, x->key->ops, op, v, &x->bounds[i]);
        }
    }
    for (uint32_t i = 0; i < x->key->output_count; i++) {
        uint32_t reg = x->key->results[i];
        uint32_t dtype = x->key->ops[reg].dtype;
        uint32_t align = pq_kg_element_bytes(dtype);
        val v_memory = pq_expr_to_memory(e, dtype, v_reg[reg]);
        val v_at = element_address(x, x->v_out[i], v_index, dtype);
        if (v_mask == NULL) {
            pq_emit_store(e, v_memory, v_at, align);
        } else {
            pq_emit_masked_store(e, v_memory, v_at, v_mask, align);
        }
    }
}

static void
emit_row(expr_emit *x, val v_n)
{
    pq_emitter *e = x->e;
    LLVMBuilderRef b = e->builder;
    emit_row_start(x);
    // for (i = 0; i < n / 16 * 16; i += 16) vector; if (i < n) masked vector
    val v_whole = LLVMBuildAnd(b, v_n, pq_emit_i64(e, -(int64_t)PQ_LANES), "");
    pq_loop loop;
    pq_emit_loop_begin(e, &loop, pq_emit_i64(e, 0), v_whole, PQ_LANES, NULL, 0);
    emit_vector(x, loop.v_index, NULL);
    pq_emit_loop_end(e, &loop, NULL);
    pq_branch branch;
    pq_emit_if_begin(e, &branch,
                     LLVMBuildICmp(b, LLVMIntSLT, v_whole, v_n, ""));
    emit_vector(x, v_whole, pq_emit_mask(e, LLVMBuildSub(b, v_n, v_whole, "")));
    pq_emit_if_end(e, &branch, NULL, NULL, 0, NULL);
}

static val
row_address(expr_emit *x, val v_args, size_t pointers, size_t steps, uint32_t i,
            val v_row)
{
    pq_emitter *e = x->e;
    val v_base = pq_emit_field(e, v_args, e->t_ptr, pointers + i * 8);
    val v_step = pq_emit_field(e, v_args, e->t_i64, steps + i * 8);
    return pq_emit_at(e, v_base, LLVMBuildMul(e->builder, v_row, v_step, ""));
}

static ptqc_be_status
emit_kernel(pq_emitter *e, const void *desc)
{
    expr_emit x = {.e = e, .key = desc};
    find_uniform(&x);
    LLVMTypeRef params[1] = {e->t_ptr};
    pq_emit_function(e, params, 1);
    val v_args = pq_emit_param(e, 0);
    x.v_params =
        pq_emit_field(e, v_args, e->t_ptr, offsetof(pq_expr_args, params));
    val v_n = pq_emit_field(e, v_args, e->t_i64, offsetof(pq_expr_args, n));
    val v_rows =
        pq_emit_field(e, v_args, e->t_i64, offsetof(pq_expr_args, rows));
    pq_loop loop;
    pq_emit_loop_begin(e, &loop, pq_emit_i64(e, 0), v_rows, 1, NULL, 0);
    for (uint32_t i = 0; i < x.key->input_count; i++) {
        x.v_in[i] =
            row_address(&x, v_args, offsetof(pq_expr_args, in),
                        offsetof(pq_expr_args, in_step), i, loop.v_index);
    }
    for (uint32_t i = 0; i < x.key->output_count; i++) {
        x.v_out[i] =
            row_address(&x, v_args, offsetof(pq_expr_args, out),
                        offsetof(pq_expr_args, out_step), i, loop.v_index);
    }
    emit_row(&x, v_n);
    pq_emit_loop_end(e, &loop, NULL);
    pq_emit_return(e);
    return PTQC_BE_OK;
}

const pq_kernel_class pq_expr_class = {
    .name = "expr",
    .version = 1,
    .desc_bytes = sizeof(pq_expr_key),
    .emit = emit_kernel,
};
