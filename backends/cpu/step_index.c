// SPDX-License-Identifier: Apache-2.0
//
// Steps that gather and scatter by index; parameters as lower_index.c writes
// them. Indices count from the end when negative; one that is out of range
// sets pq_run.failed and moves nothing.
#include "step_index.h"

#include <string.h>

#include "base/checked.h"
#include "base/mathfn.h"

// ---- gather ----------------------------------------------------------------

typedef struct gather {
    int64_t outer, count, dim, row_bytes, rows, block; // block: index rows
    uint32_t dtype;
} gather;

static void
run_gather(const void *state, const pq_run *run)
{
    const gather *s = state;
    const uint8_t *x = run->args[0];
    uint8_t *y = run->args[2];
    pq_range part = pq_worker_range(run->worker, s->rows, 1);
    for (int64_t i = part.begin; i < part.end; i++) {
        int64_t batch = i / s->block;
        int64_t id = pq_index_at(run->args[1], s->dtype,
                                 batch * s->count + i % s->count);
        int64_t at = pq_index_checked(run, id, s->dim);
        if (at >= 0) {
            int64_t from = (i / s->count * s->dim + at) * s->row_bytes;
            memcpy(y + i * s->row_bytes, x + from, (size_t)s->row_bytes);
        }
    }
}

ptqc_be_status
pq_prepare_gather(const pq_prep *prep, pq_op *op)
{
    const pq_shape *x = prep->ins[0], *ids = prep->ins[1];
    const pq_shape *y = prep->outs[0];
    int64_t axis = pq_prep_i64(prep, 0), batch_dims = pq_prep_i64(prep, 1);
    gather *s = pq_mem_alloc(prep->mem, sizeof *s);
    if (s == NULL) {
        return pq_prep_no_memory(prep);
    }
    PQ_NEED(prep, x != NULL && y != NULL && pq_is_index(ids));
    PQ_NEED(prep, axis >= 0 && axis < x->rank && batch_dims >= 0 &&
                      batch_dims <= axis && batch_dims <= ids->rank);
    PQ_NEED(prep, x->dtype == y->dtype);
    int64_t batch = pq_shape_product(x, 0, (uint32_t)batch_dims);
    int64_t outer = pq_shape_product(x, (uint32_t)batch_dims, (uint32_t)axis);
    int64_t inner = pq_shape_product(x, (uint32_t)axis + 1, x->rank);
    s->count = pq_shape_product(ids, (uint32_t)batch_dims, ids->rank);
    s->dim = x->dims[axis];
    int64_t all;
    PQ_NEED(prep, pq_mul_i64(batch * outer, s->count, &s->rows) &&
                      pq_mul_i64(s->rows, inner, &all));
    s->row_bytes = inner * x->element_bytes;
    s->dtype = ids->dtype;
    PQ_NEED(prep, all > 0 && all == y->count); // and so is every factor
    PQ_NEED(prep, batch * s->count == ids->count);
    s->block = outer * s->count;
    op->state = s;
    op->run = run_gather;
    op->work_bytes = 2 * (uint64_t)y->bytes + (uint64_t)ids->bytes;
    op->serial = y->bytes < 16384;
    return PTQC_BE_OK;
}

// ---- by element ------------------------------------------------------------

// Index tensor [dims]; data has `strides` (elements) along the same axes.
typedef struct elements {
    uint32_t rank, axis, dtype; // of the indices
    int64_t dims[PTQC_MAX_RANK], strides[PTQC_MAX_RANK];
    int64_t dim, count;
} elements;

static ptqc_be_status
set_elements(const pq_prep *prep, int64_t axis, elements *s)
{
    const pq_shape *x = prep->ins[0], *ids = prep->ins[1];
    PQ_NEED(prep, x != NULL && pq_is_index(ids) && ids->rank == x->rank);
    PQ_NEED(prep, axis >= 0 && axis < x->rank);
    s->rank = x->rank;
    s->axis = (uint32_t)axis;
    s->dtype = ids->dtype;
    s->dim = x->dims[axis];
    s->count = ids->count;
    int64_t stride = 1;
    for (uint32_t i = x->rank; i-- > 0;) {
        PQ_NEED(prep,
                i == s->axis || ids->dims[i] <= x->dims[i] || ids->count == 0);
        s->dims[i] = ids->dims[i];
        s->strides[i] = stride;
        stride *= x->dims[i];
    }
    return PTQC_BE_OK;
}

// Element of the data that position i names; -1 when it is out of range.
static int64_t
element_of(const elements *s, const pq_run *run, const void *ids, int64_t i)
{
    int64_t at = 0, rest = i;
    for (uint32_t a = s->rank; a-- > 0;) {
        int64_t c = rest % s->dims[a];
        rest /= s->dims[a];
        if (a == s->axis) {
            c = pq_index_checked(run, pq_index_at(ids, s->dtype, i), s->dim);
            if (c < 0) {
                return -1;
            }
        }
        at += c * s->strides[a];
    }
    return at;
}

typedef struct gather_elements {
    elements e;
    int64_t bytes;
} gather_elements;

static void
run_gather_elements(const void *state, const pq_run *run)
{
    const gather_elements *s = state;
    pq_range part = pq_worker_range(run->worker, s->e.count, 64);
    for (int64_t i = part.begin; i < part.end; i++) {
        int64_t at = element_of(&s->e, run, run->args[1], i);
        if (at >= 0) {
            memcpy((uint8_t *)run->args[2] + i * s->bytes,
                   (const uint8_t *)run->args[0] + at * s->bytes,
                   (size_t)s->bytes);
        }
    }
}

ptqc_be_status
pq_prepare_gather_elements(const pq_prep *prep, pq_op *op)
{
    gather_elements *s = pq_mem_alloc(prep->mem, sizeof *s);
    if (s == NULL) {
        return pq_prep_no_memory(prep);
    }
    ptqc_be_status st = set_elements(prep, pq_prep_i64(prep, 0), &s->e);
    if (st != PTQC_BE_OK) {
        return st;
    }
    PQ_NEED(prep, prep->outs[0] != NULL && prep->outs[0]->count == s->e.count &&
                      prep->outs[0]->dtype == prep->ins[0]->dtype);
    s->bytes = prep->ins[0]->element_bytes;
    op->state = s;
    op->run = run_gather_elements;
    op->serial = s->e.count < 4096;
    return PTQC_BE_OK;
}

// ---- by tuple --------------------------------------------------------------

typedef struct tuples {
    int64_t count, depth, inner, per_batch;
    int64_t dims[PTQC_MAX_RANK]; // of the indexed axes
    uint32_t dtype;
    int64_t bytes;
} tuples;

static ptqc_be_status
set_tuples(const pq_prep *prep, int64_t batch_dims, tuples *t)
{
    const pq_shape *x = prep->ins[0], *ids = prep->ins[1];
    PQ_NEED(prep, x != NULL && pq_is_index(ids) && ids->rank >= 1);
    PQ_NEED(prep, batch_dims >= 0 && batch_dims < ids->rank);
    t->depth = ids->dims[ids->rank - 1];
    PQ_NEED(prep, t->depth + batch_dims <= x->rank);
    t->count = pq_shape_product(ids, 0, ids->rank - 1);
    int64_t batch = pq_shape_product(ids, 0, (uint32_t)batch_dims);
    PQ_NEED(prep, batch == pq_shape_product(x, 0, (uint32_t)batch_dims));
    t->per_batch = batch > 0 ? t->count / batch : 0;
    t->inner = pq_shape_product(x, (uint32_t)(batch_dims + t->depth), x->rank);
    for (int64_t k = 0; k < t->depth; k++) {
        t->dims[k] = x->dims[batch_dims + k];
    }
    t->dtype = ids->dtype;
    t->bytes = x->element_bytes;
    return PTQC_BE_OK;
}

static int64_t
tuple_of(const tuples *t, const pq_run *run, const void *ids, int64_t i)
{
    int64_t at = t->per_batch > 0 ? i / t->per_batch : 0;
    for (int64_t k = 0; k < t->depth; k++) {
        int64_t c = pq_index_checked(
            run, pq_index_at(ids, t->dtype, i * t->depth + k), t->dims[k]);
        if (c < 0) {
            return -1;
        }
        at = at * t->dims[k] + c;
    }
    return at * t->inner;
}

static void
run_gather_nd(const void *state, const pq_run *run)
{
    const tuples *t = state;
    pq_range part = pq_worker_range(run->worker, t->count, 1);
    int64_t row = t->inner * t->bytes;
    for (int64_t i = part.begin; i < part.end; i++) {
        int64_t at = tuple_of(t, run, run->args[1], i);
        if (at >= 0) {
            memcpy((uint8_t *)run->args[2] + i * row,
                   (const uint8_t *)run->args[0] + at * t->bytes, (size_t)row);
        }
    }
}

ptqc_be_status
pq_prepare_gather_nd(const pq_prep *prep, pq_op *op)
{
    tuples *t = pq_mem_alloc(prep->mem, sizeof *t);
    if (t == NULL) {
        return pq_prep_no_memory(prep);
    }
    ptqc_be_status st = set_tuples(prep, pq_prep_i64(prep, 0), t);
    if (st != PTQC_BE_OK) {
        return st;
    }
    PQ_NEED(prep, prep->outs[0] != NULL &&
                      prep->outs[0]->count == t->count * t->inner &&
                      prep->outs[0]->dtype == prep->ins[0]->dtype);
    op->state = t;
    op->run = run_gather_nd;
    op->serial = prep->outs[0]->bytes < 16384;
    return PTQC_BE_OK;
}

// ---- scatter ---------------------------------------------------------------

#define SCATTER_NONE 0
#define SCATTER_ADD  1
#define SCATTER_MUL  2
#define SCATTER_MAX  3
#define SCATTER_MIN  4

static float
reduce_f32(int64_t reduction, float a, float b)
{
    switch (reduction) {
    case SCATTER_ADD:
        return a + b;
    case SCATTER_MUL:
        return a * b;
    case SCATTER_MAX:
        return pq_maxf(a, b);
    case SCATTER_MIN:
        return pq_minf(a, b);
    default:
        return b;
    }
}

static int64_t
reduce_i64(int64_t reduction, int64_t a, int64_t b)
{
    switch (reduction) {
    case SCATTER_ADD:
        return (int64_t)((uint64_t)a + (uint64_t)b);
    case SCATTER_MUL:
        return (int64_t)((uint64_t)a * (uint64_t)b);
    case SCATTER_MAX:
        return a > b ? a : b;
    case SCATTER_MIN:
        return a < b ? a : b;
    default:
        return b;
    }
}

static void
scatter_one(uint32_t dtype, int64_t reduction, int64_t bytes, uint8_t *to,
            const uint8_t *from)
{
    if (reduction == SCATTER_NONE) {
        memcpy(to, from, (size_t)bytes);
    } else if (dtype == PTQC_F32) {
        float *y = (float *)(void *)to;
        *y = reduce_f32(reduction, *y, *(const float *)(const void *)from);
    } else if (dtype == PTQC_I32) {
        int32_t *y = (int32_t *)(void *)to;
        *y = (int32_t)reduce_i64(reduction, *y,
                                 *(const int32_t *)(const void *)from);
    } else {
        int64_t *y = (int64_t *)(void *)to;
        *y = reduce_i64(reduction, *y, *(const int64_t *)(const void *)from);
    }
}

typedef struct scatter {
    elements e;
    tuples t;
    bool by_tuple;
    uint32_t dtype;
    int64_t reduction, bytes, total_bytes;
} scatter;

static void
run_scatter(const void *state, const pq_run *run)
{
    const scatter *s = state;
    uint8_t *y = run->args[3];
    const uint8_t *u = run->args[2];
    memcpy(y, run->args[0], (size_t)s->total_bytes);
    int64_t count = s->by_tuple ? s->t.count : s->e.count;
    int64_t inner = s->by_tuple ? s->t.inner : 1;
    for (int64_t i = 0; i < count; i++) {
        int64_t at = s->by_tuple ? tuple_of(&s->t, run, run->args[1], i)
                                 : element_of(&s->e, run, run->args[1], i);
        for (int64_t k = 0; at >= 0 && k < inner; k++) {
            scatter_one(s->dtype, s->reduction, s->bytes,
                        y + (at + k) * s->bytes,
                        u + (i * inner + k) * s->bytes);
        }
    }
}

// Updates may name one element twice: they run in order on one worker.
static ptqc_be_status
prepare_scatter(const pq_prep *prep, int64_t reduction, scatter *s, pq_op *op)
{
    const pq_shape *x = prep->ins[0], *u = prep->ins[2], *y = prep->outs[0];
    int64_t updates = s->by_tuple ? s->t.count * s->t.inner : s->e.count;
    PQ_NEED(prep, u != NULL && y != NULL && u->count == updates);
    PQ_NEED(prep, u->dtype == x->dtype && y->dtype == x->dtype &&
                      y->bytes == x->bytes);
    bool all =
        x->dtype == PTQC_F32 || x->dtype == PTQC_I32 || x->dtype == PTQC_I64;
    PQ_NEED(prep, reduction >= SCATTER_NONE && reduction <= SCATTER_MIN &&
                      (reduction == SCATTER_NONE || all));
    s->dtype = x->dtype;
    s->reduction = reduction;
    s->bytes = x->element_bytes;
    s->total_bytes = x->bytes;
    op->state = s;
    op->run = run_scatter;
    op->serial = true;
    return PTQC_BE_OK;
}

ptqc_be_status
pq_prepare_scatter_elements(const pq_prep *prep, pq_op *op)
{
    scatter *s = pq_mem_alloc(prep->mem, sizeof *s);
    if (s == NULL) {
        return pq_prep_no_memory(prep);
    }
    ptqc_be_status st = set_elements(prep, pq_prep_i64(prep, 0), &s->e);
    return st == PTQC_BE_OK ? prepare_scatter(prep, pq_prep_i64(prep, 1), s, op)
                            : st;
}

ptqc_be_status
pq_prepare_scatter_nd(const pq_prep *prep, pq_op *op)
{
    scatter *s = pq_mem_alloc(prep->mem, sizeof *s);
    if (s == NULL) {
        return pq_prep_no_memory(prep);
    }
    s->by_tuple = true;
    ptqc_be_status st = set_tuples(prep, 0, &s->t);
    return st == PTQC_BE_OK ? prepare_scatter(prep, pq_prep_i64(prep, 0), s, op)
                            : st;
}

// ---- reverse_sequence ------------------------------------------------------

typedef struct reverse {
    int64_t time_stride, time, batch_stride, batch, count, bytes;
    uint32_t dtype;
} reverse;

static void
run_reverse(const void *state, const pq_run *run)
{
    const reverse *s = state;
    pq_range part = pq_worker_range(run->worker, s->count, 64);
    for (int64_t i = part.begin; i < part.end; i++) {
        int64_t t = i / s->time_stride % s->time;
        int64_t b = i / s->batch_stride % s->batch;
        int64_t length = pq_index_at(run->args[1], s->dtype, b);
        if (length < 0 || length > s->time) {
            atomic_store(run->failed, 1);
            continue;
        }
        int64_t from =
            t < length ? i + (length - 1 - 2 * t) * s->time_stride : i;
        memcpy((uint8_t *)run->args[2] + i * s->bytes,
               (const uint8_t *)run->args[0] + from * s->bytes,
               (size_t)s->bytes);
    }
}

ptqc_be_status
pq_prepare_reverse_sequence(const pq_prep *prep, pq_op *op)
{
    const pq_shape *x = prep->ins[0], *y = prep->outs[0];
    int64_t time = pq_prep_i64(prep, 0), batch = pq_prep_i64(prep, 1);
    reverse *s = pq_mem_alloc(prep->mem, sizeof *s);
    if (s == NULL) {
        return pq_prep_no_memory(prep);
    }
    PQ_NEED(prep, x != NULL && y != NULL && pq_is_index(prep->ins[1]));
    PQ_NEED(prep, time >= 0 && time < x->rank && batch >= 0 &&
                      batch < x->rank && time != batch);
    PQ_NEED(prep, x->bytes == y->bytes && x->dtype == y->dtype);
    s->time = x->dims[time];
    s->batch = x->dims[batch];
    PQ_NEED(prep, prep->ins[1]->count == s->batch);
    s->time_stride = pq_shape_product(x, (uint32_t)time + 1, x->rank);
    s->batch_stride = pq_shape_product(x, (uint32_t)batch + 1, x->rank);
    s->count = x->count;
    s->bytes = x->element_bytes;
    s->dtype = prep->ins[1]->dtype;
    op->state = s;
    op->run = run_reverse;
    op->serial = s->count < 4096;
    return PTQC_BE_OK;
}
