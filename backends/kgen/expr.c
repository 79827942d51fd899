// SPDX-License-Identifier: Apache-2.0
//
// Checking an expression (expr.h).
#include "expr.h"

#include <string.h>

// What EXPR's CHECK column says; see expr_ops.def.
typedef enum check_class {
    CHECK_LEAF,
    CHECK_F32,
    CHECK_FLOAT,
    CHECK_NUM,
    CHECK_INT,
    CHECK_LOGIC,
    CHECK_TEST,
    CHECK_CMP,
    CHECK_WHERE,
    CHECK_CAST,
    CHECK_CODE,
    CHECK_REAL,
} check_class;

typedef struct code_info {
    const char *name;
    uint32_t args;
    check_class check;
} code_info;

static const code_info code_infos[PQ_EXPR_CODE_COUNT] = {
#define EXPR(NAME, text, args, check)                                          \
    [PQ_EXPR_##NAME] = {text, args, CHECK_##check},
#include "expr_ops.def"
#undef EXPR
};

const char *
pq_expr_name(pq_expr_code code)
{
    return code_infos[code].name;
}

// ---- dtypes --------------------------------------------------------------

int
pq_expr_dtype_is_signed(uint32_t dtype)
{
    return dtype == PTQC_I8 || dtype == PTQC_I16 || dtype == PTQC_I32 ||
           dtype == PTQC_I64;
}

int
pq_expr_dtype_is_int(uint32_t dtype)
{
    return pq_expr_dtype_is_signed(dtype) || dtype == PTQC_U8 ||
           dtype == PTQC_U16 || dtype == PTQC_U32 || dtype == PTQC_U64;
}

// ---- checking a program --------------------------------------------------

static int
is_real(uint32_t dtype)
{
    return dtype == PTQC_F32 || dtype == PTQC_F64;
}

static int
has_register(uint32_t dtype)
{
    return pq_expr_dtype_is_int(dtype) || is_real(dtype) || dtype == PTQC_F16 ||
           dtype == PTQC_BF16 || dtype == PTQC_BOOL;
}

static int
is_code(uint32_t dtype)
{
    return dtype == PTQC_U8 || dtype == PTQC_I8 || dtype == PTQC_U16 ||
           dtype == PTQC_I16;
}

// Types of the op's operands, PTQC_DTYPE_NONE where it has none.
typedef struct op_types {
    uint32_t result, a, b, c;
} op_types;

// All operands have the type of the result.
static int
is_uniform(const op_types *t, uint32_t args)
{
    return (args < 1 || t->a == t->result) && (args < 2 || t->b == t->result) &&
           (args < 3 || t->c == t->result);
}

static int
check_types(const code_info *info, uint32_t code, const op_types *t)
{
    switch (info->check) {
    case CHECK_LEAF:
    case CHECK_CAST:
        return 1;
    case CHECK_F32:
        return t->result == PTQC_F32 && is_uniform(t, info->args);
    case CHECK_FLOAT:
        return is_real(t->result) && is_uniform(t, info->args);
    case CHECK_NUM:
        return (pq_expr_dtype_is_int(t->result) || t->result == PTQC_F32 ||
                (t->result == PTQC_F64 && code != PQ_EXPR_FMOD &&
                 code != PQ_EXPR_MOD)) &&
               is_uniform(t, info->args);
    case CHECK_INT:
        return pq_expr_dtype_is_int(t->result) && is_uniform(t, info->args);
    case CHECK_LOGIC:
        return (pq_expr_dtype_is_int(t->result) || t->result == PTQC_BOOL) &&
               is_uniform(t, info->args);
    case CHECK_TEST:
        return t->result == PTQC_BOOL && is_real(t->a);
    case CHECK_CMP:
        return t->result == PTQC_BOOL && t->a == t->b &&
               (is_real(t->a) || pq_expr_dtype_is_int(t->a) ||
                (t->a == PTQC_BOOL &&
                 (code == PQ_EXPR_EQ || code == PQ_EXPR_NE)));
    case CHECK_WHERE:
        return t->a == PTQC_BOOL && t->b == t->result && t->c == t->result;
    case CHECK_CODE:
        return is_code(t->result) && t->a == PTQC_F32 && t->b == PTQC_F32 &&
               t->c == PTQC_I32;
    case CHECK_REAL:
        return t->result == PTQC_F32 && (is_code(t->a) || t->a == PTQC_I32) &&
               t->b == PTQC_F32 && t->c == PTQC_I32;
    }
    return 0;
}

static const char *
check_op(const pq_expr_desc *desc, uint32_t i)
{
    const pq_expr_op *op = &desc->ops[i];
    if (op->code >= PQ_EXPR_CODE_COUNT) {
        return "elementwise: unknown op";
    }
    const code_info *info = &code_infos[op->code];
    if (!has_register(op->dtype)) {
        return "elementwise: element type has no kernel";
    }
    if ((info->args > 0 && op->a >= i) || (info->args > 1 && op->b >= i) ||
        (info->args > 2 && op->c >= i)) {
        return "elementwise: register is used before it is defined";
    }
    if ((op->code == PQ_EXPR_LOAD && op->index >= desc->input_count) ||
        (op->code == PQ_EXPR_PARAM && op->index >= desc->param_count)) {
        return "elementwise: operand index out of range";
    }
    op_types t = {.result = op->dtype};
    t.a = info->args > 0 ? desc->ops[op->a].dtype : PTQC_DTYPE_NONE;
    t.b = info->args > 1 ? desc->ops[op->b].dtype : PTQC_DTYPE_NONE;
    t.c = info->args > 2 ? desc->ops[op->c].dtype : PTQC_DTYPE_NONE;
    return check_types(info, op->code, &t)
               ? NULL
               : "elementwise: element types not supported by this op";
}

const char *
pq_expr_check(const pq_expr_desc *desc)
{
    if (desc->op_count == 0 || desc->op_count > PQ_EXPR_MAX_OPS ||
        desc->input_count > PQ_EXPR_MAX_INPUTS || desc->output_count == 0 ||
        desc->output_count > PQ_EXPR_MAX_OUTPUTS ||
        desc->param_count > PQ_EXPR_MAX_PARAMS) {
        return "elementwise: chain is too long";
    }
    for (uint32_t i = 0; i < desc->op_count; i++) {
        const char *why = check_op(desc, i);
        if (why != NULL) {
            return why;
        }
    }
    // One input is loaded with one type.
    uint8_t loaded[PQ_EXPR_MAX_INPUTS] = {0};
    for (uint32_t i = 0; i < desc->op_count; i++) {
        const pq_expr_op *op = &desc->ops[i];
        if (op->code == PQ_EXPR_LOAD) {
            if (loaded[op->index] != 0 && loaded[op->index] != op->dtype) {
                return "elementwise: input loaded with two types";
            }
            loaded[op->index] = op->dtype;
        }
    }
    for (uint32_t i = 0; i < desc->output_count; i++) {
        if (desc->results[i] >= desc->op_count) {
            return "elementwise: output register out of range";
        }
    }
    return NULL;
}

// ---- views -----------------------------------------------------------------

void
pq_expr_view_broadcast(pq_expr_view *view, uint32_t desc_rank,
                       const int64_t *shape, uint32_t shape_rank)
{
    memset(view, 0, sizeof *view);
    int64_t stride = 1;
    for (uint32_t i = 0; i < shape_rank; i++) {
        int64_t dim = shape[shape_rank - 1 - i];
        view->strides[desc_rank - 1 - i] = dim == 1 ? 0 : stride;
        stride *= dim;
    }
}
