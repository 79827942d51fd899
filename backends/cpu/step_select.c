// SPDX-License-Identifier: Apache-2.0
//
// ONE_HOT, TOPK, RANGE, SHAPE and TRILU steps; parameters as lower_index.c
// writes them.
#include <string.h>

#include "base/mathfn.h"
#include "spec.h"

// ---- one_hot ---------------------------------------------------------------

typedef struct one_hot {
    int64_t depth, inner, count, bytes;
    uint32_t dtype; // of the indices
} one_hot;

static void
run_one_hot(const void *state, const pq_run *run)
{
    const one_hot *s = state;
    const uint8_t *values = run->args[1];
    pq_range part = pq_worker_range(run->worker, s->count, 64);
    for (int64_t i = part.begin; i < part.end; i++) {
        int64_t at = i / (s->inner * s->depth) * s->inner + i % s->inner;
        int64_t id = s->dtype == PTQC_I64 ? ((const int64_t *)run->args[0])[at]
                                          : ((const int32_t *)run->args[0])[at];
        bool on = i / s->inner % s->depth == (id < 0 ? id + s->depth : id);
        memcpy((uint8_t *)run->args[2] + i * s->bytes,
               values + (on ? s->bytes : 0), (size_t)s->bytes);
    }
}

ptqc_be_status
pq_prepare_one_hot(const pq_prep *prep, pq_op *op)
{
    const pq_shape *ids = prep->ins[0], *v = prep->ins[1];
    const pq_shape *y = prep->outs[0];
    int64_t axis = pq_prep_i64(prep, 0);
    one_hot *s = pq_mem_alloc(prep->mem, sizeof *s);
    if (s == NULL) {
        return pq_prep_no_memory(prep);
    }
    PQ_NEED(prep, ids != NULL && v != NULL && y != NULL);
    PQ_NEED(prep, ids->dtype == PTQC_I64 || ids->dtype == PTQC_I32);
    PQ_NEED(prep, axis >= 0 && axis < y->rank && v->dtype == y->dtype);
    s->depth = y->dims[axis];
    s->inner = pq_shape_product(y, (uint32_t)axis + 1, y->rank);
    s->count = y->count;
    s->bytes = y->element_bytes;
    s->dtype = ids->dtype;
    PQ_NEED(prep, ids->count * s->depth == y->count && v->count == 2);
    op->state = s;
    op->run = run_one_hot;
    op->serial = s->count < 4096;
    return PTQC_BE_OK;
}

// ---- topk ------------------------------------------------------------------

typedef struct topk {
    int64_t rows, n, k, inner, bytes;
    uint32_t dtype;
    bool largest;
} topk;

// Key whose order as a signed number is "better"; NaN is the best.
static int64_t
key_f32(float x, bool largest)
{
    if (x != x) {
        return INT64_MAX;
    }
    int64_t u = x == 0.0f ? 0 : (int64_t)pq_f32_bits(largest ? x : -x);
    return u < INT64_C(0x80000000) ? u : INT64_C(0x80000000) - u;
}

static int64_t
key_at(const topk *s, const void *x, int64_t i)
{
    if (s->dtype == PTQC_F32) {
        return key_f32(((const float *)x)[i], s->largest);
    }
    int64_t v = s->dtype == PTQC_I64 ? ((const int64_t *)x)[i]
                                     : ((const int32_t *)x)[i];
    return s->largest ? v : ~v;
}

// Keeps the k best of the row in order, in the index output itself.
static void
topk_row(const topk *s, const void *x, int64_t from, int64_t *index, int64_t to)
{
    int64_t kept = 0;
    for (int64_t j = 0; j < s->n && s->k > 0; j++) {
        int64_t key = key_at(s, x, from + j * s->inner);
        int64_t at = kept;
        // equal keys: the smaller index stays in front
        while (at > 0 &&
               key_at(s, x, from + index[to + (at - 1) * s->inner] * s->inner) <
                   key) {
            at--;
        }
        if (at == s->k) {
            continue;
        }
        kept += kept < s->k;
        for (int64_t m = kept - 1; m > at; m--) {
            index[to + m * s->inner] = index[to + (m - 1) * s->inner];
        }
        index[to + at * s->inner] = j;
    }
}

static void
run_topk(const void *state, const pq_run *run)
{
    const topk *s = state;
    const uint8_t *x = run->args[0];
    uint8_t *values = run->args[1];
    int64_t *index = run->args[2];
    pq_range part = pq_worker_range(run->worker, s->rows, 1);
    for (int64_t r = part.begin; r < part.end; r++) {
        int64_t from = r / s->inner * s->n * s->inner + r % s->inner;
        int64_t to = r / s->inner * s->k * s->inner + r % s->inner;
        topk_row(s, x, from, index, to);
        for (int64_t j = 0; j < s->k; j++) {
            int64_t dst = to + j * s->inner;
            int64_t src = from + index[dst] * s->inner;
            memcpy(values + dst * s->bytes, x + src * s->bytes,
                   (size_t)s->bytes);
        }
    }
}

ptqc_be_status
pq_prepare_topk(const pq_prep *prep, pq_op *op)
{
    const pq_shape *x = prep->ins[0], *y = prep->outs[0];
    const pq_shape *ids = prep->outs[1];
    int64_t axis = pq_prep_i64(prep, 0);
    topk *s = pq_mem_alloc(prep->mem, sizeof *s);
    if (s == NULL) {
        return pq_prep_no_memory(prep);
    }
    PQ_NEED(prep, x != NULL && y != NULL && ids != NULL);
    PQ_NEED(prep, axis >= 0 && axis < x->rank && y->rank == x->rank);
    PQ_NEED(prep, x->dtype == y->dtype && ids->dtype == PTQC_I64 &&
                      ids->count == y->count);
    PQ_NEED(prep, x->dtype == PTQC_F32 || x->dtype == PTQC_I32 ||
                      x->dtype == PTQC_I64);
    s->n = x->dims[axis];
    s->k = y->dims[axis];
    s->inner = pq_shape_product(x, (uint32_t)axis + 1, x->rank);
    s->rows = pq_shape_product(x, 0, (uint32_t)axis) * s->inner;
    PQ_NEED(prep, s->k <= s->n && s->rows * s->k == y->count);
    s->bytes = x->element_bytes;
    s->dtype = x->dtype;
    s->largest = pq_prep_i64(prep, 1) != 0;
    op->state = s;
    op->run = run_topk;
    op->serial = x->count < 4096;
    return PTQC_BE_OK;
}

// ---- range, shape ----------------------------------------------------------

typedef struct numbers {
    int64_t start, delta, count;
    int64_t list[PTQC_MAX_RANK]; // SHAPE
    uint32_t dtype;
} numbers;

static void
run_range(const void *state, const pq_run *run)
{
    const numbers *s = state;
    pq_range part = pq_worker_range(run->worker, s->count, 64);
    for (int64_t i = part.begin; i < part.end; i++) {
        int64_t v =
            (int64_t)((uint64_t)s->start + (uint64_t)i * (uint64_t)s->delta);
        if (s->dtype == PTQC_F32) {
            ((float *)run->args[0])[i] = (float)v;
        } else if (s->dtype == PTQC_I32) {
            ((int32_t *)run->args[0])[i] = (int32_t)v;
        } else {
            ((int64_t *)run->args[0])[i] = v;
        }
    }
}

ptqc_be_status
pq_prepare_range(const pq_prep *prep, pq_op *op)
{
    const pq_shape *y = prep->outs[0];
    numbers *s = pq_mem_alloc(prep->mem, sizeof *s);
    if (s == NULL) {
        return pq_prep_no_memory(prep);
    }
    PQ_NEED(prep, y != NULL && pq_prep_dim(prep, 0, &s->start));
    PQ_NEED(prep, y->dtype == PTQC_F32 || y->dtype == PTQC_I32 ||
                      y->dtype == PTQC_I64);
    s->delta = pq_prep_i64(prep, 1);
    s->count = y->count;
    s->dtype = y->dtype;
    op->state = s;
    op->run = run_range;
    op->serial = s->count < 4096;
    return PTQC_BE_OK;
}

static void
run_shape(const void *state, const pq_run *run)
{
    const numbers *s = state;
    memcpy(run->args[0], s->list, (size_t)s->count * sizeof *s->list);
}

ptqc_be_status
pq_prepare_shape(const pq_prep *prep, pq_op *op)
{
    const pq_shape *y = prep->outs[0];
    numbers *s = pq_mem_alloc(prep->mem, sizeof *s);
    if (s == NULL) {
        return pq_prep_no_memory(prep);
    }
    PQ_NEED(prep, y != NULL && y->dtype == PTQC_I64);
    PQ_NEED(prep, y->count == prep->param_count && y->count <= PTQC_MAX_RANK);
    for (uint32_t i = 0; i < prep->param_count; i++) {
        PQ_NEED(prep, pq_prep_dim(prep, i, &s->list[i]));
    }
    s->count = y->count;
    op->state = s;
    op->run = run_shape;
    op->serial = true;
    return PTQC_BE_OK;
}

// ---- trilu -----------------------------------------------------------------

typedef struct trilu {
    int64_t rows, columns, count, bytes, k;
    bool upper;
    uint8_t fill[8];
} trilu;

static void
run_trilu(const void *state, const pq_run *run)
{
    const trilu *s = state;
    pq_range part = pq_worker_range(run->worker, s->count, 64);
    for (int64_t i = part.begin; i < part.end; i++) {
        int64_t r = i / s->columns % s->rows, c = i % s->columns;
        bool stays = s->upper ? c - r >= s->k : c - r <= s->k;
        memcpy((uint8_t *)run->args[1] + i * s->bytes,
               stays ? (const uint8_t *)run->args[0] + i * s->bytes : s->fill,
               (size_t)s->bytes);
    }
}

ptqc_be_status
pq_prepare_trilu(const pq_prep *prep, pq_op *op)
{
    const pq_shape *x = prep->ins[0], *y = prep->outs[0];
    int64_t fill = pq_prep_i64(prep, 2);
    trilu *s = pq_mem_alloc(prep->mem, sizeof *s);
    if (s == NULL) {
        return pq_prep_no_memory(prep);
    }
    PQ_NEED(prep, x != NULL && y != NULL && x->rank >= 2);
    PQ_NEED(prep, x->dtype == y->dtype && x->bytes == y->bytes);
    s->rows = x->dims[x->rank - 2];
    s->columns = x->dims[x->rank - 1];
    s->count = x->count;
    s->bytes = x->element_bytes;
    s->k = pq_prep_i64(prep, 0);
    s->upper = pq_prep_i64(prep, 1) != 0;
    memcpy(s->fill, &fill, sizeof s->fill);
    op->state = s;
    op->run = run_trilu;
    op->inplace = 1;
    op->serial = s->count < 4096;
    return PTQC_BE_OK;
}
