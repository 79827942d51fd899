// SPDX-License-Identifier: Apache-2.0
//
// Elementwise chains (expr.h): collapsing the iteration space, and walking over
// it with the kernel of emit_expr.c.
#include "expr.h"

#include <string.h>

#include "backends/kgen/move.h"
#include "backends/kgen/say.h"
#include "emit_expr.h"

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
        s->bytes[i] = pq_kg_element_bytes(load_dtype(desc, i));
    }
    for (uint32_t i = 0; i < desc->output_count; i++) {
        s->bytes[PQ_EXPR_MAX_INPUTS + i] =
            pq_kg_element_bytes(desc->ops[desc->results[i]].dtype);
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
        return pq_kg_fail(host, call, PTQC_BE_UNSUPPORTED, "cpu: %s", why);
    }
    pq_expr *expr = host->vt->alloc(host->self, sizeof *expr, 64);
    if (expr == NULL) {
        return pq_kg_fail(host, call, PTQC_BE_RESOURCE, "cpu: out of memory");
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
