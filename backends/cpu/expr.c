// SPDX-License-Identifier: Apache-2.0
//
// Elementwise chains (expr.h): checking a program, collapsing its iteration
// space, and walking over it with the kernel of emit_expr.c.
#include "expr.h"

#include <string.h>

#include "emit_expr.h"

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

uint32_t
pq_expr_dtype_bytes(uint32_t dtype)
{
    switch (dtype) {
    case PTQC_I8:
    case PTQC_U8:
    case PTQC_BOOL:
        return 1;
    case PTQC_I16:
    case PTQC_U16:
    case PTQC_F16:
    case PTQC_BF16:
        return 2;
    case PTQC_F32:
    case PTQC_I32:
    case PTQC_U32:
        return 4;
    case PTQC_F64:
    case PTQC_I64:
    case PTQC_U64:
        return 8;
    default:
        return 0;
    }
}

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
    if (pq_expr_dtype_bytes(op->dtype) == 0) {
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

// ---- the iteration space -------------------------------------------------

#define OPERANDS (PQ_EXPR_MAX_INPUTS + PQ_EXPR_MAX_OUTPUTS)

// One more dim than tensors have: see fit_inner.
#define SPACE_RANK (PTQC_MAX_RANK + 1)

typedef struct space {
    uint32_t rank; // >= 1
    int64_t dims[SPACE_RANK];
    int64_t strides[OPERANDS][SPACE_RANK]; // bytes; inputs, then outputs
    int64_t bytes[OPERANDS];               // of an element
} space;

struct pq_expr {
    const ptqc_host *host; // borrowed
    pq_expr_kernel kernel;
    space space;
    int64_t rows, n; // elements = rows * n; n = innermost dim
    uint32_t input_count, output_count;
    pq_expr_param params[PQ_EXPR_MAX_PARAMS];
};

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

static uint32_t
load_dtype(const pq_expr_desc *desc, uint32_t input)
{
    for (uint32_t i = 0; i < desc->op_count; i++) {
        if (desc->ops[i].code == PQ_EXPR_LOAD && desc->ops[i].index == input) {
            return desc->ops[i].dtype;
        }
    }
    return PTQC_U8; // never loaded
}

static const pq_expr_view *
operand_view(const pq_expr_desc *desc, uint32_t operand)
{
    return operand < PQ_EXPR_MAX_INPUTS
               ? &desc->inputs[operand]
               : &desc->outputs[operand - PQ_EXPR_MAX_INPUTS];
}

static int
has_operand(const pq_expr_desc *desc, uint32_t operand)
{
    return operand < PQ_EXPR_MAX_INPUTS
               ? operand < desc->input_count
               : operand - PQ_EXPR_MAX_INPUTS < desc->output_count;
}

static void
operand_sizes(const pq_expr_desc *desc, space *s)
{
    for (uint32_t i = 0; i < desc->input_count; i++) {
        s->bytes[i] = pq_expr_dtype_bytes(load_dtype(desc, i));
    }
    for (uint32_t i = 0; i < desc->output_count; i++) {
        s->bytes[PQ_EXPR_MAX_INPUTS + i] =
            pq_expr_dtype_bytes(desc->ops[desc->results[i]].dtype);
    }
}

// Whether dim `d` of the description continues the space's last dim.
static int
can_merge(const pq_expr_desc *desc, const space *s, uint32_t d)
{
    if (s->rank == 0) {
        return 0;
    }
    for (uint32_t o = 0; o < OPERANDS; o++) {
        if (has_operand(desc, o) &&
            s->strides[o][s->rank - 1] != operand_view(desc, o)->strides[d] *
                                              s->bytes[o] * desc->dims[d]) {
            return 0;
        }
    }
    return 1;
}

static void
append_dim(const pq_expr_desc *desc, space *s, uint32_t d)
{
    int merged = can_merge(desc, s, d);
    uint32_t at = merged ? s->rank - 1 : s->rank;
    s->dims[at] = merged ? s->dims[at] * desc->dims[d] : desc->dims[d];
    s->rank = at + 1;
    for (uint32_t o = 0; o < OPERANDS; o++) {
        if (has_operand(desc, o)) {
            s->strides[o][at] = operand_view(desc, o)->strides[d] * s->bytes[o];
        }
    }
}

// The kernel wants inner strides of 0 or one element (outputs: one). Where
// that fails, a dim of size 1 is added: every element is a row of its own.
static void
fit_inner(const pq_expr_desc *desc, space *s)
{
    int fits = s->rank > 0;
    for (uint32_t o = 0; fits && o < OPERANDS; o++) {
        int64_t stride = s->strides[o][s->rank - 1];
        fits = !has_operand(desc, o) || stride == s->bytes[o] ||
               (stride == 0 && o < PQ_EXPR_MAX_INPUTS);
    }
    if (!fits) {
        s->dims[s->rank] = 1;
        for (uint32_t o = 0; o < OPERANDS; o++) {
            s->strides[o][s->rank] = 0;
        }
        s->rank++;
    }
}

static void
make_space(const pq_expr_desc *desc, space *s)
{
    memset(s, 0, sizeof *s);
    operand_sizes(desc, s);
    for (uint32_t d = 0; d < desc->rank; d++) {
        if (desc->dims[d] != 1) {
            append_dim(desc, s, d);
        }
    }
    fit_inner(desc, s);
}

static void
make_key(const pq_expr_desc *desc, const space *s, pq_expr_key *key)
{
    memset(key, 0, sizeof *key);
    key->op_count = (uint8_t)desc->op_count;
    key->input_count = (uint8_t)desc->input_count;
    key->output_count = (uint8_t)desc->output_count;
    key->param_count = (uint8_t)desc->param_count;
    for (uint32_t i = 0; i < desc->input_count; i++) {
        key->is_contiguous[i] = s->strides[i][s->rank - 1] != 0;
    }
    for (uint32_t i = 0; i < desc->output_count; i++) {
        key->results[i] = desc->results[i];
    }
    memcpy(key->ops, desc->ops, desc->op_count * sizeof *desc->ops);
}

ptqc_be_status
pq_expr_prepare(pq_jit *jit, ptqc_call *call, const pq_expr_desc *desc,
                pq_expr **out)
{
    const ptqc_host *host = pq_jit_host(jit);
    const char *why = pq_expr_check(desc);
    if (why != NULL) {
        return pq_cpu_fail(host, call, PTQC_BE_UNSUPPORTED, "cpu: %s", why);
    }
    pq_expr *expr = host->vt->alloc(host->self, sizeof *expr, 64);
    if (expr == NULL) {
        return pq_cpu_fail(host, call, PTQC_BE_RESOURCE, "cpu: out of memory");
    }
    *expr = (pq_expr){.host = host,
                      .input_count = desc->input_count,
                      .output_count = desc->output_count};
    memcpy(expr->params, desc->params, sizeof expr->params);
    make_space(desc, &expr->space);
    expr->n = expr->space.dims[expr->space.rank - 1];
    expr->rows = 1;
    for (uint32_t d = 0; d + 1 < expr->space.rank; d++) {
        expr->rows *= expr->space.dims[d];
    }
    pq_expr_key key;
    make_key(desc, &expr->space, &key);
    void (*code)(void) = NULL;
    ptqc_be_status st = pq_jit_get(jit, call, &pq_expr_class, &key, &code);
    if (st != PTQC_BE_OK) {
        pq_expr_destroy(expr);
        return st;
    }
    expr->kernel = (pq_expr_kernel)code;
    *out = expr;
    return PTQC_BE_OK;
}

void
pq_expr_destroy(pq_expr *expr)
{
    if (expr != NULL) {
        expr->host->vt->free(expr->host->self, expr);
    }
}

// ---- running -------------------------------------------------------------

// Byte offset of an operand at (row, column).
static int64_t
operand_offset(const space *s, uint32_t operand, int64_t row, int64_t column)
{
    int64_t offset = column * s->strides[operand][s->rank - 1];
    for (uint32_t d = s->rank - 1; d-- > 0;) {
        offset += row % s->dims[d] * s->strides[operand][d];
        row /= s->dims[d];
    }
    return offset;
}

// Rows [row, row + rows), all within one run of the last outer dim.
static void
run_rows(const pq_expr *expr, const pq_expr_io *io, pq_range columns,
         int64_t row, int64_t rows)
{
    const space *s = &expr->space;
    uint32_t last = s->rank >= 2 ? s->rank - 2 : 0;
    pq_expr_args args = {
        .rows = rows, .n = columns.end - columns.begin, .params = expr->params};
    for (uint32_t i = 0; i < expr->input_count; i++) {
        args.in[i] = (const uint8_t *)io->inputs[i] +
                     operand_offset(s, i, row, columns.begin);
        args.in_step[i] = s->strides[i][last];
    }
    for (uint32_t i = 0; i < expr->output_count; i++) {
        uint32_t o = PQ_EXPR_MAX_INPUTS + i;
        args.out[i] = (uint8_t *)io->outputs[i] +
                      operand_offset(s, o, row, columns.begin);
        args.out_step[i] = s->strides[o][last];
    }
    expr->kernel(&args);
}

// Below this many rows per worker wide rows are split instead.
#define ROWS_PER_WORKER 4
#define WIDE_ROW        1024

void
pq_expr_run(const pq_expr *expr, const pq_expr_io *io, const pq_worker *worker)
{
    pq_range rows = {0, expr->rows};
    pq_range columns = {0, expr->n};
    if (expr->n >= WIDE_ROW &&
        expr->rows < (int64_t)worker->count * ROWS_PER_WORKER) {
        columns = pq_worker_range(worker, expr->n, 64);
    } else {
        rows = pq_worker_range(worker, expr->rows, 1);
    }
    if (columns.begin >= columns.end) {
        return;
    }
    const space *s = &expr->space;
    int64_t run = s->rank >= 2 ? s->dims[s->rank - 2] : 1;
    for (int64_t row = rows.begin; row < rows.end;) {
        int64_t left = run - row % run;
        int64_t count = left < rows.end - row ? left : rows.end - row;
        run_rows(expr, io, columns, row, count);
        row += count;
    }
}
