// SPDX-License-Identifier: Apache-2.0
//
// Steps along axes. Parameters name physical axes: see lower_row.c.
#include <string.h>

#include "base/mathfn.h"
#include "row.h"
#include "spec.h"

// [outer][length][inner] of `count` axes from `first` on.
static bool
row_shape(const pq_shape *s, int64_t first, int64_t count, pq_row_shape *out)
{
    if (s == NULL || first < 0 || count < 0 || first + count > s->rank) {
        return false;
    }
    *out = (pq_row_shape){1, 1, 1};
    for (int64_t i = 0; i < (int64_t)s->rank; i++) {
        int64_t *d = i < first           ? &out->outer
                     : i < first + count ? &out->length
                                         : &out->inner;
        *d *= s->dims[i];
    }
    return true;
}

static bool
is_f32_pair(const pq_prep *prep)
{
    const pq_shape *x = prep->ins[0], *y = prep->outs[0];
    return x != NULL && y != NULL && x->dtype == PTQC_F32 &&
           y->dtype == PTQC_F32 && x->count == y->count;
}

// ---- reduce ----------------------------------------------------------------

static void
run_reduce(const void *state, const pq_run *run)
{
    pq_reduce_run(state, run->args[0], run->args[1], run->worker);
}

static void
destroy_reduce(void *state)
{
    pq_reduce_destroy(state);
}

ptqc_be_status
pq_prepare_reduce(const pq_prep *prep, pq_op *op)
{
    pq_reduce_desc d = {.op = (uint32_t)pq_prep_i64(prep, 0)};
    const pq_shape *x = prep->ins[0], *y = prep->outs[0];
    PQ_NEED(prep, pq_prep_i64(prep, 0) >= 0 && d.op < PQ_REDUCE_COUNT);
    PQ_NEED(prep,
            row_shape(x, pq_prep_i64(prep, 1), pq_prep_i64(prep, 2), &d.shape));
    PQ_NEED(prep, y != NULL && y->count == d.shape.outer * d.shape.inner &&
                      y->dtype == x->dtype);
    d.dtype = x->dtype;
    pq_reduce *r = NULL;
    ptqc_be_status st = pq_reduce_prepare(prep->jit, prep->call, &d, &r);
    op->state = r;
    op->run = run_reduce;
    op->destroy = destroy_reduce;
    op->work_ops = (uint64_t)x->count;
    op->serial = x->count < 4096;
    return st;
}

// ---- mean of codes ---------------------------------------------------------

typedef struct code_mean {
    pq_row_shape shape;
    int32_t x_zero, y_zero;
    float mult, lo, hi;
    bool is_float;
} code_mean;

static void
store_mean(const code_mean *s, int32_t acc, void *out, int64_t at)
{
    float v = (float)acc * s->mult;
    if (s->is_float) {
        ((float *)out)[at] = v;
    } else {
        ((uint8_t *)out)[at] =
            (uint8_t)(pq_round_code(v, s->lo, s->hi) + s->y_zero);
    }
}

#define MEAN_COLUMNS 64

// Columns [from, to) of one outer index: sums of up to 64 at a time.
static void
mean_columns(const code_mean *s, const uint8_t *x, int64_t outer, int64_t from,
             int64_t to, void *out)
{
    int64_t inner = s->shape.inner, length = s->shape.length;
    for (int64_t c = from; c < to; c += MEAN_COLUMNS) {
        int64_t n = to - c < MEAN_COLUMNS ? to - c : MEAN_COLUMNS;
        uint32_t acc[MEAN_COLUMNS] = {0};
        const uint8_t *row = x + outer * length * inner + c;
        for (int64_t k = 0; k < length; k++, row += inner) {
            for (int64_t i = 0; i < n; i++) {
                acc[i] += row[i];
            }
        }
        uint32_t zeros = (uint32_t)length * (uint32_t)s->x_zero;
        for (int64_t i = 0; i < n; i++) {
            store_mean(s, (int32_t)(acc[i] - zeros), out,
                       outer * inner + c + i);
        }
    }
}

static void
run_code_mean(const void *state, const pq_run *run)
{
    const code_mean *s = state;
    int64_t inner = s->shape.inner;
    pq_range part = pq_worker_range(run->worker, s->shape.outer * inner, 16);
    int64_t at = part.begin;
    while (at < part.end) {
        int64_t outer = at / inner, from = at % inner;
        int64_t to =
            from + (part.end - at) < inner ? from + (part.end - at) : inner;
        mean_columns(s, run->args[0], outer, from, to, run->args[1]);
        at += to - from;
    }
}

ptqc_be_status
pq_prepare_code_mean(const pq_prep *prep, pq_op *op)
{
    const pq_shape *x = prep->ins[0], *y = prep->outs[0];
    code_mean *s = pq_mem_alloc(prep->mem, sizeof *s);
    if (s == NULL) {
        return pq_prep_no_memory(prep);
    }
    PQ_NEED(prep, row_shape(x, pq_prep_i64(prep, 0), pq_prep_i64(prep, 1),
                            &s->shape));
    PQ_NEED(prep, x->dtype == PTQC_U8 && y != NULL &&
                      y->count == s->shape.outer * s->shape.inner);
    PQ_NEED(prep, s->shape.length <= INT32_MAX / 256);
    s->is_float = y->dtype == PTQC_F32;
    PQ_NEED(prep, s->is_float || y->dtype == PTQC_U8);
    s->x_zero = (int32_t)pq_prep_i64(prep, 2);
    s->y_zero = (int32_t)pq_prep_i64(prep, 4);
    PQ_NEED(prep, s->y_zero >= 0 && s->y_zero <= 255);
    float sx = pq_prep_f32(prep, 3), sy = pq_prep_f32(prep, 5);
    float n = (float)s->shape.length;
    s->mult = (s->is_float ? sx : sx / sy) * (1.0f / n);
    s->lo = (float)-s->y_zero;
    s->hi = (float)(255 - s->y_zero);
    op->state = s;
    op->run = run_code_mean;
    op->work_ops = (uint64_t)x->count;
    op->serial = x->count < 16384;
    return PTQC_BE_OK;
}

// ---- softmax ---------------------------------------------------------------

static void
run_softmax(const void *state, const pq_run *run)
{
    pq_softmax_run(state, run->args[0], NULL, run->args[1], run->worker);
}

static void
destroy_softmax(void *state)
{
    pq_softmax_destroy(state);
}

ptqc_be_status
pq_prepare_softmax(const pq_prep *prep, pq_op *op)
{
    pq_softmax_desc d = {.log = pq_prep_i64(prep, 1) != 0};
    PQ_NEED(prep, is_f32_pair(prep));
    PQ_NEED(prep, row_shape(prep->ins[0], pq_prep_i64(prep, 0), 1, &d.shape));
    pq_softmax *s = NULL;
    ptqc_be_status st = pq_softmax_prepare(prep->jit, prep->call, &d, &s);
    op->state = s;
    op->run = run_softmax;
    op->destroy = destroy_softmax;
    op->work_ops = 8 * (uint64_t)prep->ins[0]->count;
    op->serial = prep->ins[0]->count < 512;
    op->inplace = 1;
    return st;
}

// ---- norms -----------------------------------------------------------------

typedef struct norm_state {
    pq_norm *norm; // owned
} norm_state;

static void
run_norm(const void *state, const pq_run *run)
{
    const norm_state *s = state;
    pq_norm_io io = {.in = run->args[0],
                     .scale = run->args[1],
                     .bias = run->args[2],
                     .out = run->args[3]};
    pq_norm_run(s->norm, &io, run->worker);
}

static void
destroy_norm(void *state)
{
    norm_state *s = state;
    pq_norm_destroy(s->norm);
}

// Geometry by mode (lower_row.c); *out_params = elements of scale and bias.
static ptqc_be_status
norm_shape(const pq_prep *prep, pq_norm_desc *d, int64_t *out_params)
{
    const pq_shape *x = prep->ins[0];
    int64_t mode = pq_prep_i64(prep, 2), detail = pq_prep_i64(prep, 3);
    PQ_NEED(prep, mode >= 0 && mode <= 3);
    if (mode == 0) {
        PQ_NEED(prep, detail >= 0 && detail < x->rank);
        PQ_NEED(prep, row_shape(x, detail, x->rank - detail, &d->shape));
        d->groups = 1;
        *out_params = d->shape.length;
        return PTQC_BE_OK;
    }
    PQ_NEED(prep, x->rank >= 3);
    d->segments = 1;
    d->groups = 1;
    if (mode == 2) {
        PQ_NEED(prep, row_shape(x, 1, x->rank - 2, &d->shape));
        *out_params = d->shape.inner;
        return PTQC_BE_OK;
    }
    int64_t channels = x->dims[1];
    int64_t groups = mode == 3 ? detail : channels;
    PQ_NEED(prep, groups > 0 && channels % groups == 0);
    int64_t rows = x->dims[0] * groups;
    d->shape = (pq_row_shape){rows, rows > 0 ? x->count / rows : 0, 1};
    d->groups = groups;
    d->segments = channels / groups;
    *out_params = channels;
    return PTQC_BE_OK;
}

ptqc_be_status
pq_prepare_norm(const pq_prep *prep, pq_op *op)
{
    int64_t kind = pq_prep_i64(prep, 0), params = 0;
    pq_norm_desc d = {.epsilon = pq_prep_f32(prep, 1)};
    norm_state *s = pq_mem_alloc(prep->mem, sizeof *s);
    if (s == NULL) {
        return pq_prep_no_memory(prep);
    }
    PQ_NEED(prep, is_f32_pair(prep));
    PQ_NEED(prep, kind == PQ_NORM_LAYER || kind == PQ_NORM_RMS);
    d.kind = (uint32_t)kind;
    ptqc_be_status st = norm_shape(prep, &d, &params);
    if (st != PTQC_BE_OK) {
        return st;
    }
    for (uint32_t i = 1; i < 3; i++) {
        PQ_NEED(prep,
                prep->ins[i] == NULL || (prep->ins[i]->dtype == PTQC_F32 &&
                                         prep->ins[i]->count == params));
    }
    d.scale = prep->ins[1] != NULL;
    d.bias = prep->ins[2] != NULL;
    op->state = s;
    op->run = run_norm;
    op->destroy = destroy_norm;
    op->work_ops = 8 * (uint64_t)prep->ins[0]->count;
    op->serial = prep->ins[0]->count < 1024;
    op->inplace = 1;
    return pq_norm_prepare(prep->jit, prep->call, &d, &s->norm);
}

static void
run_lp_norm(const void *state, const pq_run *run)
{
    pq_lp_norm_run(state, run->args[0], run->args[1], run->worker);
}

static void
destroy_lp_norm(void *state)
{
    pq_lp_norm_destroy(state);
}

ptqc_be_status
pq_prepare_lp_norm(const pq_prep *prep, pq_op *op)
{
    int64_t p = pq_prep_i64(prep, 1);
    pq_lp_norm_desc d = {.p = (uint32_t)p};
    PQ_NEED(prep, is_f32_pair(prep) && (p == 1 || p == 2));
    PQ_NEED(prep, row_shape(prep->ins[0], pq_prep_i64(prep, 0), 1, &d.shape));
    pq_lp_norm *n = NULL;
    ptqc_be_status st = pq_lp_norm_prepare(prep->jit, prep->call, &d, &n);
    op->state = n;
    op->run = run_lp_norm;
    op->destroy = destroy_lp_norm;
    op->work_ops = 3 * (uint64_t)prep->ins[0]->count;
    return st;
}

static void
run_lrn(const void *state, const pq_run *run)
{
    pq_lrn_run(state, run->args[0], run->args[1], run->worker);
}

ptqc_be_status
pq_prepare_lrn(const pq_prep *prep, pq_op *op)
{
    pq_lrn_desc *d = pq_mem_alloc(prep->mem, sizeof *d);
    if (d == NULL) {
        return pq_prep_no_memory(prep);
    }
    PQ_NEED(prep, is_f32_pair(prep));
    PQ_NEED(prep, row_shape(prep->ins[0], pq_prep_i64(prep, 0), 1, &d->shape));
    d->size = pq_prep_i64(prep, 1);
    PQ_NEED(prep, d->size >= 1 && d->size <= INT32_MAX);
    d->alpha = pq_prep_f32(prep, 2);
    d->beta = pq_prep_f32(prep, 3);
    d->bias = pq_prep_f32(prep, 4);
    op->state = d;
    op->run = run_lrn;
    op->work_ops = (uint64_t)prep->ins[0]->count * (uint64_t)d->size;
    return PTQC_BE_OK;
}

// ---- dynamic quantization --------------------------------------------------

static void
run_row_quantize(const void *state, const pq_run *run)
{
    pq_row_quantize_run(state, run->args[0], run->args[1], run->args[2],
                        run->worker);
}

static void
destroy_row_quantize(void *state)
{
    pq_row_quantize_destroy(state);
}

ptqc_be_status
pq_prepare_row_quantize(const pq_prep *prep, pq_op *op)
{
    const pq_shape *x = prep->ins[0], *codes = prep->outs[0];
    const pq_shape *scales = prep->outs[1];
    PQ_NEED(prep, x != NULL && codes != NULL && scales != NULL);
    PQ_NEED(prep, x->dtype == PTQC_F32 && codes->dtype == PTQC_U8 &&
                      scales->dtype == PTQC_F32);
    PQ_NEED(prep, x->rank > 0 && x->dims[x->rank - 1] > 0 &&
                      codes->count == x->count);
    pq_row_quantize_desc d = {
        .rows = x->count / x->dims[x->rank - 1],
        .length = x->dims[x->rank - 1],
        .code_stride = x->dims[x->rank - 1],
        .biased = 1,
    };
    PQ_NEED(prep, scales->count == d.rows);
    pq_row_quantize *q = NULL;
    ptqc_be_status st = pq_row_quantize_prepare(prep->jit, prep->call, &d, &q);
    op->state = q;
    op->run = run_row_quantize;
    op->destroy = destroy_row_quantize;
    op->work_ops = 4 * (uint64_t)x->count;
    return st;
}

// ---- plain loops -----------------------------------------------------------

typedef struct plain_state {
    pq_row_shape shape;
    uint32_t dtype, flags;
} plain_state;

static void
run_arg_reduce(const void *state, const pq_run *run)
{
    const plain_state *s = state;
    pq_arg_reduce_run(&s->shape, s->dtype, s->flags, run->args[0], run->args[1],
                      run->worker);
}

static void
run_cumsum(const void *state, const pq_run *run)
{
    const plain_state *s = state;
    pq_cumsum_run(&s->shape, s->dtype, s->flags, run->args[0], run->args[1],
                  run->worker);
}

static ptqc_be_status
prepare_plain(const pq_prep *prep, uint32_t flag_mask, pq_op *op)
{
    plain_state *s = pq_mem_alloc(prep->mem, sizeof *s);
    if (s == NULL) {
        return pq_prep_no_memory(prep);
    }
    PQ_NEED(prep,
            prep->outs[0] != NULL &&
                row_shape(prep->ins[0], pq_prep_i64(prep, 0), 1, &s->shape));
    PQ_NEED(prep, (pq_prep_i64(prep, 1) & ~(int64_t)flag_mask) == 0);
    s->flags = (uint32_t)pq_prep_i64(prep, 1);
    s->dtype = prep->ins[0]->dtype;
    op->state = s;
    op->work_ops = (uint64_t)prep->ins[0]->count;
    op->serial = prep->ins[0]->count < 4096;
    return PTQC_BE_OK;
}

ptqc_be_status
pq_prepare_arg_reduce(const pq_prep *prep, pq_op *op)
{
    ptqc_be_status st = prepare_plain(prep, PQ_ARG_MIN | PQ_ARG_LAST, op);
    if (st != PTQC_BE_OK) {
        return st;
    }
    const plain_state *s = op->state;
    PQ_NEED(prep, pq_arg_reduce_has_dtype(s->dtype) && s->shape.length > 0);
    PQ_NEED(prep, prep->outs[0]->dtype == PTQC_I64 &&
                      prep->outs[0]->count == s->shape.outer * s->shape.inner);
    op->run = run_arg_reduce;
    return PTQC_BE_OK;
}

ptqc_be_status
pq_prepare_cumsum(const pq_prep *prep, pq_op *op)
{
    ptqc_be_status st =
        prepare_plain(prep, PQ_CUMSUM_EXCLUSIVE | PQ_CUMSUM_REVERSE, op);
    if (st != PTQC_BE_OK) {
        return st;
    }
    const plain_state *s = op->state;
    PQ_NEED(prep, pq_cumsum_has_dtype(s->dtype));
    PQ_NEED(prep, prep->outs[0]->dtype == s->dtype &&
                      prep->outs[0]->count == prep->ins[0]->count);
    op->run = run_cumsum;
    return PTQC_BE_OK;
}
