// SPDX-License-Identifier: Apache-2.0
//
// KV_UPDATE, KV_PACK and KV_ATTENTION steps; operands and parameters as
// lower_kv.c writes them.
#include <string.h>

#include "base/checked.h"
#include "emit_attention.h"
#include "emit_row.h"
#include "kv.h"
#include "kv_attention.h"
#include "step_axes.h"

// Steps of fewer elements are not worth a barrier.
#define SERIAL_MAX 8192

// Whether s is [batch][heads][..] of `capacity` tokens of d in the layout, a
// head in *out_bytes.
static bool
is_layout(const pq_shape *s, const pq_kv_head *h, int64_t heads,
          int64_t *out_bytes)
{
    int64_t all;
    return s != NULL && h->layout < PQ_KV_LAYOUT_COUNT && s->rank >= 3 &&
           s->element_bytes == h->bytes && h->bytes > 0 &&
           s->dims[0] * s->dims[1] == heads && pq_kv_head_bytes(h, out_bytes) &&
           pq_mul_i64(heads, *out_bytes, &all) && s->bytes == all;
}

// ---- updates of states -----------------------------------------------------

typedef struct update_state {
    void (*narrow)(const pq_narrow_args *args); // F16, BF16
    pq_row_kernel quantize;                     // I8
    pq_axes x;
    pq_kv_head head, scale_head;
    int64_t head_bytes, scale_bytes; // of a head
} update_state;

// Row x as elements of the state; `row` is room for them.
static const void *
convert_row(const update_state *s, const float *x, void *row, float *scale)
{
    if (s->narrow != NULL) {
        pq_narrow_args args = {x, row, s->head.d};
        s->narrow(&args);
        return row;
    }
    if (s->quantize != NULL) {
        pq_row_args args = {.in = {x},
                            .out = row,
                            .out2 = scale,
                            .rows = 1,
                            .length = s->head.d};
        s->quantize(&args);
        return row;
    }
    return x;
}

// Heads are shared out: the tokens of one are written in order.
static void
run_kv_update(const void *state, const pq_run *run)
{
    const update_state *s = state;
    int64_t heads = s->x.dims[1], tokens = s->x.dims[2];
    pq_range mine = pq_worker_range(run->worker, s->x.dims[0] * heads, 1);
    for (int64_t i = mine.begin; i < mine.end; i++) {
        const uint8_t *x = (const uint8_t *)run->args[2] +
                           i / heads * s->x.strides[0] +
                           i % heads * s->x.strides[1];
        const int32_t *at = (const int32_t *)run->args[3] + i / heads * tokens;
        uint8_t *to = (uint8_t *)run->args[4] + i * s->head_bytes;
        uint8_t *scales = run->args[5] == NULL
                              ? NULL
                              : (uint8_t *)run->args[5] + i * s->scale_bytes;
        for (int64_t t = 0; t < tokens; t++, x += s->x.strides[2]) {
            if (at[t] < 0 || at[t] >= s->head.capacity) {
                continue;
            }
            float scale = 0;
            const void *row = convert_row(s, (const float *)(const void *)x,
                                          run->worker->scratch, &scale);
            pq_kv_put(&s->head, to, at[t], row);
            if (s->quantize != NULL) {
                pq_kv_put(&s->scale_head, scales, at[t], &scale);
            }
        }
    }
}

static ptqc_be_status
get_converter(const pq_prep *prep, uint32_t dtype, update_state *s)
{
    pq_narrow_desc narrow = {dtype, (uint32_t)(s->head.d % 16)};
    pq_row_key quantize = {.what = PQ_ROW_QUANTIZE};
    void (*code)(void);
    ptqc_be_status st = PTQC_BE_OK;
    if (dtype == PTQC_I8) {
        st = pq_jit_get(prep->jit, prep->call, &pq_row_class, &quantize, &code);
        s->quantize = st == PTQC_BE_OK ? (pq_row_kernel)code : NULL;
    } else if (dtype != PTQC_F32) {
        st =
            pq_jit_get(prep->jit, prep->call, &pq_narrow_class, &narrow, &code);
        s->narrow =
            st == PTQC_BE_OK ? (void (*)(const pq_narrow_args *))code : NULL;
    }
    return st;
}

// The states of codes: their scales lie alike, or as the graph says.
static ptqc_be_status
read_scales(const pq_prep *prep, int64_t heads, update_state *s)
{
    const pq_shape *scales = prep->outs[1];
    PQ_NEED(prep, scales != NULL && scales->dtype == PTQC_F32);
    s->scale_head = (pq_kv_head){
        .layout = s->head.layout == PQ_KV_ROWS ? PQ_KV_ROWS : PQ_KV_SCALES,
        .bytes = 4,
        .capacity = s->head.capacity,
        .d = 1};
    PQ_NEED(prep, is_layout(scales, &s->scale_head, heads, &s->scale_bytes));
    return PTQC_BE_OK;
}

ptqc_be_status
pq_prepare_kv_update(const pq_prep *prep, pq_op *op)
{
    const pq_shape *x = prep->ins[2], *y = prep->outs[0];
    update_state *s = pq_mem_alloc(prep->mem, sizeof *s);
    int64_t layout = pq_prep_i64(prep, 1);
    if (s == NULL) {
        return pq_prep_no_memory(prep);
    }
    PQ_NEED(prep, x != NULL && y != NULL && x->dtype == PTQC_F32);
    PQ_NEED(prep, pq_kv_is_dtype(y->dtype) && x->rank == 4);
    PQ_NEED(prep, layout == PQ_KV_ROWS || layout == PQ_KV_KEYS ||
                      layout == PQ_KV_VALUES);
    ptqc_be_status st = pq_read_axes(prep, x, 0, &s->x);
    if (st != PTQC_BE_OK) {
        return st;
    }
    int64_t heads = s->x.dims[0] * s->x.dims[1];
    s->head = (pq_kv_head){.layout = (pq_kv_layout)layout,
                           .bytes = y->element_bytes,
                           .d = s->x.dims[3]};
    PQ_NEED(prep, pq_prep_dim(prep, 2, &s->head.capacity));
    PQ_NEED(prep, is_layout(y, &s->head, heads, &s->head_bytes));
    PQ_NEED(prep, pq_is_positions(prep->ins[3], s->x.dims[0], s->x.dims[2]));
    if (y->dtype == PTQC_I8) {
        st = read_scales(prep, heads, s);
    }
    st = st == PTQC_BE_OK ? get_converter(prep, y->dtype, s) : st;
    op->state = s;
    op->run = run_kv_update;
    op->scratch_bytes = (uint64_t)(s->head.d * s->head.bytes + 64);
    op->work_ops = (uint64_t)x->count;
    op->serial = x->count < SERIAL_MAX;
    return st;
}

// ---- copies in a layout ----------------------------------------------------

typedef struct pack_state {
    pq_axes x;
    pq_kv_head head;
    int64_t head_bytes;
} pack_state;

static void
run_kv_pack(const void *state, const pq_run *run)
{
    const pack_state *s = state;
    int64_t heads = s->x.dims[1];
    pq_range mine = pq_worker_range(run->worker, s->x.dims[0] * heads, 1);
    for (int64_t i = mine.begin; i < mine.end; i++) {
        const uint8_t *x = (const uint8_t *)run->args[0] +
                           i / heads * s->x.strides[0] +
                           i % heads * s->x.strides[1];
        uint8_t *to = (uint8_t *)run->args[1] + i * s->head_bytes;
        memset(to, 0, (size_t)s->head_bytes); // padding is read, too
        for (int64_t t = 0; t < s->x.dims[2]; t++) {
            pq_kv_put(&s->head, to, t, x + t * s->x.strides[2]);
        }
    }
}

ptqc_be_status
pq_prepare_kv_pack(const pq_prep *prep, pq_op *op)
{
    const pq_shape *x = prep->ins[0], *y = prep->outs[0];
    pack_state *s = pq_mem_alloc(prep->mem, sizeof *s);
    int64_t layout = pq_prep_i64(prep, 1);
    if (s == NULL) {
        return pq_prep_no_memory(prep);
    }
    PQ_NEED(prep, x != NULL && y != NULL && x->dtype == y->dtype);
    PQ_NEED(prep, layout > PQ_KV_ROWS && layout < PQ_KV_LAYOUT_COUNT);
    PQ_NEED(prep, pq_kv_is_dtype(x->dtype));
    ptqc_be_status st = pq_read_axes(prep, x, 0, &s->x);
    if (st != PTQC_BE_OK) {
        return st;
    }
    s->head = (pq_kv_head){.layout = (pq_kv_layout)layout,
                           .bytes = x->element_bytes,
                           .capacity = s->x.dims[2],
                           .d = s->x.dims[3]};
    PQ_NEED(prep, layout != PQ_KV_SCALES || s->head.d == 1);
    PQ_NEED(prep, is_layout(y, &s->head, s->x.dims[0] * s->x.dims[1],
                            &s->head_bytes));
    op->state = s;
    op->run = run_kv_pack;
    op->work_ops = (uint64_t)x->count;
    return PTQC_BE_OK;
}

// ---- attention -------------------------------------------------------------

static void
run_kv_attention(const void *state, const pq_run *run)
{
    pq_kv_attention_io io = {
        .q = run->args[0],
        .k = run->args[1],
        .v = run->args[2],
        .positions = run->args[3],
        .k_scale = run->args[4],
        .v_scale = run->args[5],
        .y = run->args[6],
        .shared = run->shared,
        .barrier = run->barrier,
        .region = run->region,
    };
    pq_kv_attention_run(state, &io, run->worker);
}

static void
destroy_kv_attention(void *state)
{
    pq_kv_attention_destroy(state);
}

// Whether input i (k: 1, v: 2) and its scales are what the desc says.
static bool
is_source(const pq_prep *prep, const pq_kv_attention_desc *d, uint32_t i)
{
    const pq_shape *s = prep->ins[i], *scales = prep->ins[3 + i];
    int64_t heads, bytes;
    if (s == NULL || !pq_kv_is_dtype(s->dtype) ||
        (s->dtype == PTQC_I8) != (scales != NULL) ||
        !pq_mul_i64(d->batch, d->kv_heads, &heads)) {
        return false;
    }
    pq_kv_head head = {.layout = i == 1 ? PQ_KV_KEYS : PQ_KV_VALUES,
                       .bytes = s->element_bytes,
                       .capacity = d->tk,
                       .d = i == 1 ? d->d : d->dv};
    pq_kv_head scale_head = {
        .layout = PQ_KV_SCALES, .bytes = 4, .capacity = d->tk, .d = 1};
    return is_layout(s, &head, heads, &bytes) &&
           (scales == NULL || (scales->dtype == PTQC_F32 &&
                               is_layout(scales, &scale_head, heads, &bytes)));
}

static ptqc_be_status
read_kv_attention(const pq_prep *prep, pq_kv_attention_desc *d)
{
    const pq_shape *q = prep->ins[0], *k = prep->ins[1], *y = prep->outs[0];
    pq_axes qa, ya;
    PQ_NEED(prep, q != NULL && q->dtype == PTQC_F32 && q->rank == 4);
    PQ_NEED(prep, y != NULL && y->dtype == PTQC_F32 && y->rank == 4);
    PQ_NEED(prep, k != NULL && k->rank >= 2 && prep->ins[2] != NULL);
    ptqc_be_status st = pq_read_axes(prep, q, 0, &qa);
    st = st == PTQC_BE_OK ? pq_read_axes(prep, y, 1, &ya) : st;
    if (st != PTQC_BE_OK) {
        return st;
    }
    *d = (pq_kv_attention_desc){
        .batch = qa.dims[0],
        .heads = qa.dims[1],
        .kv_heads = k->dims[1],
        .tq = qa.dims[2],
        .d = qa.dims[3],
        .dv = pq_prep_i64(prep, 5),
        .k_dtype = k->dtype,
        .v_dtype = prep->ins[2]->dtype,
        .scale = pq_prep_f32(prep, 2),
        .causal = pq_prep_i64(prep, 3) != 0,
        .positions = prep->ins[3] != NULL,
        .q = pq_strides_of(&qa),
        .y = pq_strides_of(&ya),
    };
    PQ_NEED(prep, pq_prep_dim(prep, 4, &d->tk));
    PQ_NEED(prep, d->d > 0 && d->dv > 0);
    PQ_NEED(prep, d->kv_heads > 0 && d->heads % d->kv_heads == 0);
    PQ_NEED(prep, is_source(prep, d, 1) && is_source(prep, d, 2));
    PQ_NEED(prep, ya.dims[0] == d->batch && ya.dims[1] == d->heads &&
                      ya.dims[2] == d->tq && ya.dims[3] == d->dv);
    PQ_NEED(prep,
            !d->positions || pq_is_positions(prep->ins[3], d->batch, d->tq));
    return PTQC_BE_OK;
}

ptqc_be_status
pq_prepare_kv_attention(const pq_prep *prep, pq_op *op)
{
    pq_kv_attention_desc d;
    ptqc_be_status st = read_kv_attention(prep, &d);
    pq_kv_attention *a = NULL;
    st = st == PTQC_BE_OK
             ? pq_kv_attention_prepare(prep->jit, prep->call, &d, &a)
             : st;
    if (st != PTQC_BE_OK) {
        return st;
    }
    op->state = a;
    op->run = run_kv_attention;
    op->destroy = destroy_kv_attention;
    op->scratch_bytes = pq_kv_attention_scratch_bytes(a);
    op->shared_bytes = pq_kv_attention_shared_bytes(a);
    op->meets = op->shared_bytes > 0;
    op->work_ops = 2 * (uint64_t)(d.batch * d.heads * d.tq) * (uint64_t)d.tk *
                   (uint64_t)(d.d + d.dv);
    return PTQC_BE_OK;
}
