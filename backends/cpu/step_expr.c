// SPDX-License-Identifier: Apache-2.0
//
// EXPR steps: parameters as lower_expr.c writes them. LOOKUP: inputs codes
// u8 and a table of 256 bytes.
#include <string.h>

#include "backends/kgen/say.h"
#include "expr.h"
#include "spec.h"

#define HEADER 4u // parameters before the ops

typedef struct expr_state {
    pq_expr *expr; // owned
    uint32_t inputs;
} expr_state;

static void
run_expr(const void *state, const pq_run *run)
{
    const expr_state *s = state;
    pq_expr_io io = {{NULL}, {NULL}};
    for (uint32_t i = 0; i < s->inputs; i++) {
        io.inputs[i] = run->args[i];
    }
    io.outputs[0] = run->args[s->inputs];
    pq_expr_run(s->expr, &io, run->worker);
}

static void
destroy_expr(void *state)
{
    expr_state *s = state;
    pq_expr_destroy(s->expr);
}

static bool
read_op(int64_t param, uint32_t index, const pq_expr_desc *d, pq_expr_op *out)
{
    uint64_t x = (uint64_t)param;
    *out = (pq_expr_op){
        .code = (uint8_t)x,
        .dtype = (uint8_t)(x >> 8),
        .a = (uint8_t)(x >> 16),
        .b = (uint8_t)(x >> 24),
        .c = (uint8_t)(x >> 32),
        .index = (uint8_t)(x >> 40),
    };
    bool leaf = out->code == PQ_EXPR_LOAD || out->code == PQ_EXPR_PARAM;
    uint32_t limit = out->code == PQ_EXPR_LOAD    ? d->input_count
                     : out->code == PQ_EXPR_PARAM ? d->param_count
                                                  : 1;
    return x >> 48 == 0 && out->code < PQ_EXPR_CODE_COUNT &&
           out->index < limit &&
           (leaf || (out->a < index && (out->b < index || out->b == 0) &&
                     (out->c < index || out->c == 0)));
}

static ptqc_be_status
read_ops(const pq_prep *prep, pq_expr_desc *d)
{
    int64_t ops = pq_prep_i64(prep, 0);
    int64_t params = pq_prep_i64(prep, 1);
    int64_t result = pq_prep_i64(prep, 2);
    PQ_NEED(prep, ops > 0 && ops <= PQ_EXPR_MAX_OPS);
    PQ_NEED(prep, params >= 0 && params <= PQ_EXPR_MAX_PARAMS);
    PQ_NEED(prep, result >= 0 && result < ops);
    PQ_NEED(prep, prep->in_count <= PQ_EXPR_MAX_INPUTS);
    PQ_NEED(prep, (uint64_t)HEADER + (uint64_t)ops + (uint64_t)params +
                          prep->in_count ==
                      prep->param_count);
    d->op_count = (uint32_t)ops;
    d->param_count = (uint32_t)params;
    d->input_count = prep->in_count;
    d->output_count = 1;
    d->results[0] = (uint8_t)result;
    for (uint32_t i = 0; i < d->op_count; i++) {
        PQ_NEED(prep, read_op(prep->params[HEADER + i], i, d, &d->ops[i]));
        if (d->ops[i].code == PQ_EXPR_LOAD) {
            const pq_shape *in = prep->ins[d->ops[i].index];
            PQ_NEED(prep, in != NULL && in->dtype == d->ops[i].dtype);
        }
    }
    for (uint32_t i = 0; i < d->param_count; i++) {
        d->params[i].integer = prep->params[HEADER + d->op_count + i];
    }
    PQ_NEED(prep, d->ops[result].dtype == prep->outs[0]->dtype);
    return PTQC_BE_OK;
}

// Strides of an input along the output's axes.
static ptqc_be_status
read_view(const pq_prep *prep, uint32_t i, const pq_shape *out,
          pq_expr_view *view)
{
    const pq_shape *in = prep->ins[i];
    PQ_NEED(prep, in != NULL && in->rank <= out->rank);
    uint64_t map =
        (uint64_t)prep->params[prep->param_count - prep->in_count + i];
    uint32_t seen = 0;
    int64_t stride = 1;
    for (uint32_t j = in->rank; j-- > 0;) {
        uint32_t axis = (uint32_t)(map >> (4 * j)) & 15u;
        PQ_NEED(prep, axis < out->rank && (seen >> axis & 1) == 0);
        if (in->dims[j] != out->dims[axis] && in->dims[j] != 1) {
            return pq_kg_fail(prep->host, prep->call, PTQC_BE_INVALID,
                              "cpu: sizes %lld and %lld do not broadcast",
                              (long long)in->dims[j],
                              (long long)out->dims[axis]);
        }
        seen |= 1u << axis;
        view->strides[axis] = in->dims[j] == 1 ? 0 : stride;
        stride *= in->dims[j];
    }
    return PTQC_BE_OK;
}

static bool
is_same_layout(const pq_shape *in, const pq_expr_view *view,
               const pq_expr_view *out_view, const pq_shape *out)
{
    if (in->bytes != out->bytes || in->element_bytes != out->element_bytes) {
        return false;
    }
    for (uint32_t i = 0; i < out->rank; i++) {
        if (out->dims[i] > 1 && view->strides[i] != out_view->strides[i]) {
            return false;
        }
    }
    return true;
}

ptqc_be_status
pq_prepare_expr(const pq_prep *prep, pq_op *op)
{
    pq_expr_desc *d = pq_mem_alloc(prep->mem, sizeof *d);
    expr_state *s = pq_mem_alloc(prep->mem, sizeof *s);
    if (d == NULL || s == NULL) {
        return pq_prep_no_memory(prep);
    }
    const pq_shape *out = prep->outs[0];
    PQ_NEED(prep, out != NULL && pq_prep_i64(prep, 3) == out->rank);
    d->rank = out->rank;
    memcpy(d->dims, out->dims, sizeof d->dims);
    ptqc_be_status st = read_ops(prep, d);
    int64_t stride = 1;
    for (uint32_t j = out->rank; j-- > 0;) {
        d->outputs[0].strides[j] = stride;
        stride *= out->dims[j];
    }
    for (uint32_t i = 0; i < prep->in_count && st == PTQC_BE_OK; i++) {
        st = read_view(prep, i, out, &d->inputs[i]);
        if (st == PTQC_BE_OK &&
            is_same_layout(prep->ins[i], &d->inputs[i], &d->outputs[0], out)) {
            op->inplace |= 1u << i;
        }
    }
    if (st != PTQC_BE_OK) {
        return st;
    }
    s->inputs = prep->in_count;
    op->state = s;
    op->run = run_expr;
    op->destroy = destroy_expr;
    op->work_ops = (uint64_t)out->count * d->op_count;
    op->serial = out->count < 4096;
    return pq_expr_prepare(prep->jit, prep->call, d, &s->expr);
}

// ---- lookup ----------------------------------------------------------------

typedef struct lookup_state {
    int64_t count;
} lookup_state;

static void
run_lookup(const void *state, const pq_run *run)
{
    const lookup_state *s = state;
    pq_lookup8_run(run->args[1], run->args[0], run->args[2], s->count,
                   run->worker);
}

ptqc_be_status
pq_prepare_lookup(const pq_prep *prep, pq_op *op)
{
    const pq_shape *in = prep->ins[0], *out = prep->outs[0];
    PQ_NEED(prep, in != NULL && prep->ins[1] != NULL && out != NULL);
    PQ_NEED(prep, in->element_bytes == 1 && in->bytes == out->bytes);
    PQ_NEED(prep, prep->ins[1]->bytes >= 256);
    lookup_state *s = pq_mem_alloc(prep->mem, sizeof *s);
    if (s == NULL) {
        return pq_prep_no_memory(prep);
    }
    s->count = out->count;
    op->state = s;
    op->run = run_lookup;
    op->inplace = 1;
    op->serial = out->count < 4096;
    op->work_ops = (uint64_t)out->count;
    return PTQC_BE_OK;
}
