// SPDX-License-Identifier: Apache-2.0
//
// POOL, RESIZE and RECURRENT steps; parameters as lower_window.c writes them.
#include <string.h>

#include "pool.h"
#include "recurrent.h"
#include "spec.h"

// ---- pool ------------------------------------------------------------------

static void
run_pool(const void *state, const pq_run *run)
{
    pq_pooling_run(state, run->args[0], run->args[1], run->worker);
}

static void
destroy_pool(void *state)
{
    pq_pooling_destroy(state);
}

// Sizes of x and y, both [N][spatial][C], into arrays of three axes.
static ptqc_be_status
read_images(const pq_prep *prep, int64_t spatial, int64_t *in, int64_t *out,
            int64_t *batch, int64_t *channels)
{
    const pq_shape *x = prep->ins[0], *y = prep->outs[0];
    PQ_NEED(prep, x != NULL && y != NULL && spatial >= 1 && spatial <= 3);
    PQ_NEED(prep, x->rank == spatial + 2 && y->rank == x->rank);
    PQ_NEED(prep, x->dims[0] == y->dims[0] && x->dtype == y->dtype);
    PQ_NEED(prep, x->dims[x->rank - 1] == y->dims[x->rank - 1]);
    *batch = x->dims[0];
    *channels = x->dims[x->rank - 1];
    for (uint32_t i = 0; i < 3; i++) {
        in[i] = out[i] = 1;
    }
    for (uint32_t i = 0; i < (uint32_t)spatial; i++) {
        in[3 - (uint32_t)spatial + i] = x->dims[1 + i];
        out[3 - (uint32_t)spatial + i] = y->dims[1 + i];
        PQ_NEED(prep, x->dims[1 + i] > 0);
    }
    return PTQC_BE_OK;
}

static ptqc_be_status
read_pool(const pq_prep *prep, pq_pooling_desc *d)
{
    int64_t kind = pq_prep_i64(prep, 0);
    PQ_NEED(prep, kind == PQ_POOL_MAX || kind == PQ_POOL_AVG);
    d->kind = (uint32_t)kind;
    d->include_pad = pq_prep_i64(prep, 1) != 0;
    int64_t *lists[5] = {d->kernel, d->strides, d->dilations, d->pads,
                         d->pads_end};
    for (uint32_t i = 0; i < 15; i++) {
        int64_t v = pq_prep_i64(prep, 3 + i);
        PQ_NEED(prep, v >= (i < 9 ? 1 : 0) && v <= INT32_MAX);
        lists[i / 3][i % 3] = v;
    }
    d->x_scale = pq_prep_f32(prep, 18);
    d->y_scale = pq_prep_f32(prep, 19);
    for (uint32_t i = 20; i < 24; i++) {
        int64_t v = pq_prep_i64(prep, i);
        PQ_NEED(prep, v >= 0 && v <= 255);
    }
    d->x_zero = (int32_t)pq_prep_i64(prep, 20);
    d->y_zero = (int32_t)pq_prep_i64(prep, 21);
    d->code_low = (int32_t)pq_prep_i64(prep, 22);
    d->code_high = (int32_t)pq_prep_i64(prep, 23);
    return PTQC_BE_OK;
}

ptqc_be_status
pq_prepare_pool(const pq_prep *prep, pq_op *op)
{
    pq_pooling_desc d = {0};
    ptqc_be_status st = read_images(prep, pq_prep_i64(prep, 2), d.in, d.out,
                                    &d.batch, &d.channels);
    st = st == PTQC_BE_OK ? read_pool(prep, &d) : st;
    if (st != PTQC_BE_OK) {
        return st;
    }
    d.dtype = prep->ins[0]->dtype;
    PQ_NEED(prep, d.dtype == PTQC_F32 || d.dtype == PTQC_U8 ||
                      (d.dtype == PTQC_I8 && d.kind == PQ_POOL_MAX));
    if (d.dtype == PTQC_I8) {
        d.code_low = -128;
        d.code_high = 127;
    }
    pq_pooling *p = NULL;
    st = pq_pooling_prepare(prep->jit, prep->call, &d, &p);
    op->state = p;
    op->run = run_pool;
    op->destroy = destroy_pool;
    op->work_ops = (uint64_t)prep->outs[0]->count *
                   (uint64_t)(d.kernel[0] * d.kernel[1] * d.kernel[2]);
    return st;
}

// ---- resize ----------------------------------------------------------------

static void
run_resize(const void *state, const pq_run *run)
{
    pq_resize_run(state, run->args[0], run->args[1], run->worker);
}

static void
destroy_resize(void *state)
{
    pq_resize_destroy(state);
}

ptqc_be_status
pq_prepare_resize(const pq_prep *prep, pq_op *op)
{
    pq_resize_desc d = {0};
    ptqc_be_status st = read_images(prep, pq_prep_i64(prep, 4), d.in, d.out,
                                    &d.batch, &d.channels);
    if (st != PTQC_BE_OK) {
        return st;
    }
    int64_t kind = pq_prep_i64(prep, 0), coordinates = pq_prep_i64(prep, 1);
    int64_t rounding = pq_prep_i64(prep, 2);
    PQ_NEED(prep, kind >= 0 && kind <= PQ_RESIZE_CUBIC);
    PQ_NEED(prep,
            coordinates >= 0 && coordinates <= PQ_COORDINATES_ALIGN_CORNERS);
    PQ_NEED(prep, rounding >= 0 && rounding <= PQ_ROUNDING_CEIL);
    PQ_NEED(prep, kind == PQ_RESIZE_NEAREST || prep->ins[0]->dtype == PTQC_F32);
    PQ_NEED(prep, kind != PQ_RESIZE_CUBIC || pq_prep_i64(prep, 4) < 3);
    d.kind = (uint32_t)kind;
    d.dtype = prep->ins[0]->dtype;
    d.coordinates = (uint32_t)coordinates;
    d.rounding = (uint32_t)rounding;
    d.cubic_a = pq_prep_f32(prep, 3);
    for (uint32_t i = 0; i < 3; i++) {
        d.scales[i] = pq_prep_f32(prep, 5 + i);
    }
    pq_resize *r = NULL;
    st = pq_resize_prepare(prep->jit, prep->call, &d, &r);
    op->state = r;
    op->run = run_resize;
    op->destroy = destroy_resize;
    op->work_ops = 4 * (uint64_t)prep->outs[0]->count;
    return st;
}

// ---- recurrent -------------------------------------------------------------

static void
run_recurrent(const void *state, const pq_run *run)
{
    pq_recurrent_io io = {
        .x = run->args[0],
        .weights = run->args[1],
        .h0 = run->args[2],
        .c0 = run->args[3],
        .y = run->args[4],
        .y_h = run->args[5],
        .y_c = run->args[6],
        .shared = run->shared,
    };
    pq_recurrent_run(state, &io, run->worker, run->barrier, run->region);
}

static void
destroy_recurrent(void *state)
{
    pq_recurrent_destroy(state);
}

// Absent, or f32 of `count` elements.
static bool
is_state(const pq_shape *s, int64_t count)
{
    return s == NULL || (s->dtype == PTQC_F32 && s->count == count);
}

ptqc_be_status
pq_prepare_recurrent(const pq_prep *prep, pq_op *op)
{
    const pq_shape *x = prep->ins[0];
    int64_t kind = pq_prep_i64(prep, 0), direction = pq_prep_i64(prep, 1);
    PQ_NEED(prep, x != NULL && x->rank == 3 && x->dtype == PTQC_F32);
    PQ_NEED(prep, kind >= 0 && kind <= PQ_RECURRENT_RNN);
    PQ_NEED(prep, direction >= 0 && direction <= 2);
    pq_recurrent_desc d = {
        .kind = (uint32_t)kind,
        .direction = (uint32_t)direction,
        .linear_before_reset = pq_prep_i64(prep, 2) != 0,
        .steps = x->dims[0],
        .batch = x->dims[1],
        .input = x->dims[2],
        .hidden = pq_prep_i64(prep, 3),
    };
    PQ_NEED(prep, d.hidden > 0 && d.hidden <= INT32_MAX);
    uint64_t bytes = pq_recurrent_weight_bytes(&d);
    PQ_NEED(prep, bytes > 0 && prep->ins[1] != NULL &&
                      (uint64_t)prep->ins[1]->bytes >= bytes);
    int64_t directions = direction == 2 ? 2 : 1;
    int64_t states = directions * d.batch * d.hidden;
    PQ_NEED(prep,
            is_state(prep->ins[2], states) && is_state(prep->ins[3], states));
    PQ_NEED(prep, is_state(prep->outs[0], d.steps * states) &&
                      is_state(prep->outs[1], states) &&
                      is_state(prep->outs[2], states));
    pq_recurrent *r = NULL;
    ptqc_be_status st = pq_recurrent_prepare(prep->jit, prep->call, &d, &r);
    op->state = r;
    op->run = run_recurrent;
    op->destroy = destroy_recurrent;
    op->meets = true;
    if (st == PTQC_BE_OK) {
        op->shared_bytes = pq_recurrent_shared_bytes(r);
    }
    op->work_ops =
        8 * (uint64_t)(d.steps * states) * (uint64_t)(d.input + d.hidden);
    return st;
}
