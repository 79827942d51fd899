// SPDX-License-Identifier: Apache-2.0
//
// ROPE and ATTENTION steps; operands and parameters as lower_position.c
// writes them.
#include <string.h>

#include "attention.h"
#include "emit_attention.h"
#include "step_axes.h"

static bool
is_source(const pq_shape *s)
{
    return s != NULL && (s->dtype == PTQC_F32 || s->dtype == PTQC_F16 ||
                         s->dtype == PTQC_BF16);
}

// Steps of fewer elements are not worth a barrier.
#define SERIAL_MAX 8192

// ---- rope ------------------------------------------------------------------

typedef struct rope_state {
    void (*kernel)(const pq_rope_args *args);
    pq_axes x;
    int64_t pairs;
} rope_state;

// Heads [first, first + count) of token t of sequence b.
static void
rope_heads(const rope_state *s, const pq_run *run, int64_t b, int64_t t,
           int64_t first, int64_t count)
{
    int64_t at =
        b * s->x.strides[0] + first * s->x.strides[1] + t * s->x.strides[2];
    const uint8_t *x = (const uint8_t *)run->args[0] + at;
    uint8_t *y = (uint8_t *)run->args[3] + at;
    const int32_t *positions = run->args[1];
    pq_rope_args args = {
        .x = (const float *)(const void *)x,
        .y = (float *)(void *)y,
        .x_stride = s->x.strides[1],
        .y_stride = s->x.strides[1],
        .heads = count,
        .frequency = run->args[2],
        .pairs = s->pairs,
        .position = (float)positions[b * s->x.dims[2] + t],
    };
    s->kernel(&args);
    size_t turned = 8 * (size_t)s->pairs, row = 4 * (size_t)s->x.dims[3];
    for (int64_t h = 0; h < count && turned < row && x != y; h++) {
        memcpy(y + h * s->x.strides[1] + turned,
               x + h * s->x.strides[1] + turned, row - turned);
    }
}

static void
run_rope(const void *state, const pq_run *run)
{
    const rope_state *s = state;
    int64_t heads = s->x.dims[1], tokens = s->x.dims[2];
    pq_range mine =
        pq_worker_range(run->worker, s->x.dims[0] * tokens * heads, 1);
    while (mine.begin < mine.end) {
        int64_t token = mine.begin / heads, first = mine.begin % heads;
        int64_t count = heads - first < mine.end - mine.begin
                            ? heads - first
                            : mine.end - mine.begin;
        rope_heads(s, run, token / tokens, token % tokens, first, count);
        mine.begin += count;
    }
}

ptqc_be_status
pq_prepare_rope(const pq_prep *prep, pq_op *op)
{
    const pq_shape *x = prep->ins[0], *f = prep->ins[2], *y = prep->outs[0];
    rope_state *s = pq_mem_alloc(prep->mem, sizeof *s);
    if (s == NULL) {
        return pq_prep_no_memory(prep);
    }
    PQ_NEED(prep, x != NULL && f != NULL && y != NULL);
    PQ_NEED(prep, x->dtype == PTQC_F32 && y->dtype == PTQC_F32 &&
                      f->dtype == PTQC_F32 && x->rank == 4 && y->rank == 4);
    PQ_NEED(prep, memcmp(x->dims, y->dims, 4 * sizeof x->dims[0]) == 0);
    ptqc_be_status st = pq_read_axes(prep, x, 0, &s->x);
    if (st != PTQC_BE_OK) {
        return st;
    }
    s->pairs = f->count;
    PQ_NEED(prep, s->pairs <= s->x.dims[3] / 2);
    PQ_NEED(prep, pq_is_positions(prep->ins[1], s->x.dims[0], s->x.dims[2]));
    pq_rope_key key = {pq_prep_i64(prep, 1) != 0 ? 1u : 0u,
                       (uint32_t)(s->pairs % 16)};
    void (*code)(void);
    st = pq_jit_get(prep->jit, prep->call, &pq_rope_class, &key, &code);
    s->kernel = st == PTQC_BE_OK ? (void (*)(const pq_rope_args *))code : NULL;
    op->state = s;
    op->run = run_rope;
    op->work_ops = 3 * (uint64_t)x->count;
    op->serial = x->count < SERIAL_MAX;
    op->inplace = 1;
    return st;
}

// ---- attention -------------------------------------------------------------

static void
run_attention(const void *state, const pq_run *run)
{
    pq_attention_io io = {
        .q = run->args[0],
        .k = run->args[1],
        .v = run->args[2],
        .mask = run->args[3],
        .positions = run->args[4],
        .y = run->args[5],
    };
    pq_attention_run(state, &io, run->worker);
}

static void
destroy_attention(void *state)
{
    pq_attention_destroy(state);
}

static ptqc_be_status
read_mask(const pq_prep *prep, pq_attention_desc *d)
{
    const pq_shape *m = prep->ins[3];
    if (m == NULL) {
        return PTQC_BE_OK;
    }
    PQ_NEED(prep, m->dtype == PTQC_F32 && m->rank >= 1 && m->rank <= 4);
    PQ_NEED(prep, m->dims[m->rank - 1] == d->tk);
    const int64_t want[3] = {d->batch, d->heads, d->tq};
    int64_t stride = d->tk;
    for (uint32_t i = m->rank - 1; i-- > 0;) {
        uint32_t axis = i + 4 - m->rank;
        PQ_NEED(prep, m->dims[i] == 1 || m->dims[i] == want[axis]);
        d->mask_strides[axis] = m->dims[i] == 1 ? 0 : stride;
        stride *= m->dims[i];
    }
    d->mask = 1;
    return PTQC_BE_OK;
}

static ptqc_be_status
read_attention(const pq_prep *prep, pq_attention_desc *d)
{
    pq_axes q, k, v, y;
    PQ_NEED(prep, prep->in_count == 5);
    PQ_NEED(prep, is_source(prep->ins[1]) && is_source(prep->ins[2]));
    PQ_NEED(prep, prep->ins[0] != NULL && prep->ins[0]->dtype == PTQC_F32);
    PQ_NEED(prep, prep->outs[0] != NULL && prep->outs[0]->dtype == PTQC_F32);
    ptqc_be_status st = pq_read_axes(prep, prep->ins[0], 0, &q);
    st = st == PTQC_BE_OK ? pq_read_axes(prep, prep->ins[1], 1, &k) : st;
    st = st == PTQC_BE_OK ? pq_read_axes(prep, prep->ins[2], 2, &v) : st;
    st = st == PTQC_BE_OK ? pq_read_axes(prep, prep->outs[0], 3, &y) : st;
    if (st != PTQC_BE_OK) {
        return st;
    }
    *d = (pq_attention_desc){
        .batch = q.dims[0],
        .heads = q.dims[1],
        .kv_heads = k.dims[1],
        .tq = q.dims[2],
        .tk = k.dims[2],
        .d = q.dims[3],
        .dv = v.dims[3],
        .k_dtype = prep->ins[1]->dtype,
        .v_dtype = prep->ins[2]->dtype,
        .scale = pq_prep_f32(prep, 4),
        .causal = pq_prep_i64(prep, 5) != 0,
        .positions = prep->ins[4] != NULL,
        .q = pq_strides_of(&q),
        .k = pq_strides_of(&k),
        .v = pq_strides_of(&v),
        .y = pq_strides_of(&y),
    };
    PQ_NEED(prep, k.dims[0] == d->batch && v.dims[0] == d->batch &&
                      v.dims[1] == d->kv_heads && v.dims[2] == d->tk &&
                      k.dims[3] == d->d);
    PQ_NEED(prep, d->kv_heads > 0 && d->heads % d->kv_heads == 0);
    PQ_NEED(prep, y.dims[0] == d->batch && y.dims[1] == d->heads &&
                      y.dims[2] == d->tq && y.dims[3] == d->dv);
    PQ_NEED(prep,
            !d->positions || pq_is_positions(prep->ins[4], d->batch, d->tq));
    PQ_NEED(prep, d->tk < INT32_MAX && d->d < INT32_MAX && d->dv < INT32_MAX);
    return read_mask(prep, d);
}

ptqc_be_status
pq_prepare_attention(const pq_prep *prep, pq_op *op)
{
    pq_attention_desc d;
    ptqc_be_status st = read_attention(prep, &d);
    pq_attention *a = NULL;
    st = st == PTQC_BE_OK ? pq_attention_prepare(prep->jit, prep->call, &d, &a)
                          : st;
    if (st != PTQC_BE_OK) {
        return st;
    }
    op->state = a;
    op->run = run_attention;
    op->destroy = destroy_attention;
    op->scratch_bytes = pq_attention_scratch_bytes(a);
    op->work_ops = 2 * (uint64_t)(d.batch * d.heads * d.tq) * (uint64_t)d.tk *
                   (uint64_t)(d.d + d.dv);
    return PTQC_BE_OK;
}
