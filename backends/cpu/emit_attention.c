// SPDX-License-Identifier: Apache-2.0
//
// Emission of the kernels of emit_attention.h that read keys and values.
#include "emit_attention.h"

#include <assert.h>
#include <stddef.h>
#include <string.h>

#include "emit.h"
#include "emit_real.h"

typedef LLVMValueRef val;

// ---- panels ----------------------------------------------------------------

// One step of the transposition: 16 rows in, 16 rows out; result 2i and
// 2i + 1 are shuffles of two inputs.
static val
shuffle_two(pq_emitter *e, val v_a, val v_b, const int *index)
{
    return pq_emit_shuffle(e, v_a, v_b, index, PQ_LANES);
}

// Elements of two rows side by side within every 4 lanes: `high` = 0 takes
// the first half of the four. `unit` elements stay together.
static val
unpack(pq_emitter *e, val v_a, val v_b, int unit, int high)
{
    int index[PQ_LANES];
    for (int i = 0; i < (int)PQ_LANES; i++) {
        int quad = i / 4 * 4, at = i % 4;
        int from_b = at / unit % 2;
        int element = unit == 1 ? at / 2 + 2 * high : at % 2 + 2 * high;
        index[i] = quad + element + (from_b ? (int)PQ_LANES : 0);
    }
    return shuffle_two(e, v_a, v_b, index);
}

// Quads q and q + 2 of a, then of b.
static val
pick_quads(pq_emitter *e, val v_a, val v_b, int q)
{
    int index[PQ_LANES];
    for (int i = 0; i < (int)PQ_LANES; i++) {
        int quad = i / 4;
        index[i] = 4 * (q + 2 * (quad % 2)) + i % 4 +
                   (quad / 2 > 0 ? (int)PQ_LANES : 0);
    }
    return shuffle_two(e, v_a, v_b, index);
}

// v[row] lane column -> v[column] lane row.
static void
transpose(pq_emitter *e, val *v)
{
    val v_quad[16]; // [4 rows][column % 4]: quad L holds column 4 L + c
    for (int g = 0; g < 4; g++) {
        const val *r = v + 4 * g;
        for (int high = 0; high < 2; high++) {
            val v_ab = unpack(e, r[0], r[1], 1, high);
            val v_cd = unpack(e, r[2], r[3], 1, high);
            v_quad[4 * g + 2 * high] = unpack(e, v_ab, v_cd, 2, 0);
            v_quad[4 * g + 2 * high + 1] = unpack(e, v_ab, v_cd, 2, 1);
        }
    }
    for (int c = 0; c < 4; c++) {
        for (int odd = 0; odd < 2; odd++) {
            val v_low = pick_quads(e, v_quad[c], v_quad[4 + c], odd);
            val v_high = pick_quads(e, v_quad[8 + c], v_quad[12 + c], odd);
            v[4 * odd + c] = pick_quads(e, v_low, v_high, 0);
            v[4 * (odd + 2) + c] = pick_quads(e, v_low, v_high, 1);
        }
    }
}

typedef struct panel {
    pq_emitter *e;
    const pq_panel_desc *d;
    val v_row[PQ_LANES];
    val v_out;
    val v_ahead; // bytes to the rows after these
} panel;

// Elements [v_d, v_d + count) of all rows. Narrow columns of rows are no
// stream that a processor foresees: the next 16 rows are asked for.
static void
panel_block(panel *p, val v_d, uint32_t count, val v_mask)
{
    pq_emitter *e = p->e;
    LLVMBuilderRef b = e->builder;
    val v[PQ_LANES];
    val v_from = LLVMBuildMul(
        b, v_d, pq_emit_i64(e, pq_emit_real_bytes(p->d->dtype)), "");
    for (uint32_t i = 0; i < PQ_LANES; i++) {
        val v_at = pq_emit_at(e, p->v_row[i], v_from);
        v[i] = pq_emit_load_real(e, p->d->dtype, v_at, v_mask);
        pq_emit_prefetch(e, pq_emit_at(e, v_at, p->v_ahead), 3);
    }
    transpose(e, v);
    val v_to = LLVMBuildMul(b, v_d, pq_emit_i64(e, 64), "");
    val v_out = pq_emit_at(e, p->v_out, v_to);
    for (uint32_t i = 0; i < count; i++) {
        pq_emit_store(e, v[i], pq_emit_at_const(e, v_out, 64 * (int64_t)i), 64);
    }
}

static void
panel_rows(panel *p, val v_args)
{
    pq_emitter *e = p->e;
    LLVMBuilderRef b = e->builder;
    val v_rows =
        pq_emit_field(e, v_args, e->t_ptr, offsetof(pq_panel_args, rows));
    val v_stride =
        pq_emit_field(e, v_args, e->t_i64, offsetof(pq_panel_args, stride));
    val v_last =
        pq_emit_field(e, v_args, e->t_i64, offsetof(pq_panel_args, last));
    p->v_ahead = LLVMBuildMul(b, v_stride, pq_emit_i64(e, PQ_LANES), "");
    for (uint32_t i = 0; i < PQ_LANES; i++) {
        val v_i = pq_emit_i64(e, i);
        val v_is = LLVMBuildICmp(b, LLVMIntSLT, v_i, v_last, "");
        v_i = LLVMBuildSelect(b, v_is, v_i, v_last, "");
        p->v_row[i] = pq_emit_at(e, v_rows, LLVMBuildMul(b, v_i, v_stride, ""));
    }
}

static ptqc_be_status
emit_panel(pq_emitter *e, const void *desc)
{
    panel p = {.e = e, .d = desc};
    pq_emit_function(e, &e->t_ptr, 1);
    val v_args = pq_emit_param(e, 0);
    panel_rows(&p, v_args);
    p.v_out = pq_emit_field(e, v_args, e->t_ptr, offsetof(pq_panel_args, out));
    val v_d = pq_emit_field(e, v_args, e->t_i64, offsetof(pq_panel_args, d));
    val v_full = LLVMBuildSub(e->builder, v_d, pq_emit_i64(e, p.d->rest), "");
    pq_loop loop;
    pq_emit_loop_begin(e, &loop, pq_emit_i64(e, 0), v_full, PQ_LANES, NULL, 0);
    panel_block(&p, loop.v_index, PQ_LANES, NULL);
    pq_emit_loop_end(e, &loop, NULL);
    if (p.d->rest > 0) {
        panel_block(&p, v_full, p.d->rest,
                    pq_emit_mask(e, pq_emit_i64(e, p.d->rest)));
    }
    pq_emit_return(e);
    return PTQC_BE_OK;
}

const pq_kernel_class pq_panel_class = {
    .name = "attention panel",
    .version = 2,
    .desc_bytes = sizeof(pq_panel_desc),
    .emit = emit_panel,
};

// ---- weighted sums ---------------------------------------------------------

typedef struct weigh {
    pq_emitter *e;
    const pq_weigh_desc *d;
    val v_p[PQ_WEIGH_ACC_MAX];   // rows of probabilities
    val v_out[PQ_WEIGH_ACC_MAX]; // rows of the output
    val v_mask;                  // of the last strip, or NULL
} weigh;

static val
mask_of(const weigh *w, uint32_t strip)
{
    return strip + 1 == w->d->strips ? w->v_mask : NULL;
}

static void
load_sums(const weigh *w, val *v_acc)
{
    for (uint32_t r = 0; r < w->d->rows; r++) {
        for (uint32_t s = 0; s < w->d->strips; s++) {
            val v_at = pq_emit_at_const(w->e, w->v_out[r], 64 * (int64_t)s);
            v_acc[r * w->d->strips + s] =
                pq_emit_load_real(w->e, PTQC_F32, v_at, mask_of(w, s));
        }
    }
}

static void
store_sums(const weigh *w, const val *v_acc)
{
    for (uint32_t r = 0; r < w->d->rows; r++) {
        for (uint32_t s = 0; s < w->d->strips; s++) {
            val v_at = pq_emit_at_const(w->e, w->v_out[r], 64 * (int64_t)s);
            val v_mask = mask_of(w, s);
            val v_value = v_acc[r * w->d->strips + s];
            if (v_mask == NULL) {
                pq_emit_store(w->e, v_value, v_at, 4);
            } else {
                pq_emit_masked_store(w->e, v_value, v_at, v_mask, 4);
            }
        }
    }
}

static void
weigh_key(const weigh *w, val v_key, val v_row, val *v_acc)
{
    pq_emitter *e = w->e;
    val v_v[PQ_WEIGH_ACC_MAX];
    int64_t bytes = PQ_LANES * (int64_t)pq_emit_real_bytes(w->d->dtype);
    for (uint32_t s = 0; s < w->d->strips; s++) {
        v_v[s] = pq_emit_load_real(e, w->d->dtype,
                                   pq_emit_at_const(e, v_row, bytes * s),
                                   mask_of(w, s));
    }
    val v_at = LLVMBuildMul(e->builder, v_key, pq_emit_i64(e, 4), "");
    for (uint32_t r = 0; r < w->d->rows; r++) {
        val v_p = pq_emit_splat(
            e, pq_emit_load(e, e->t_f32, pq_emit_at(e, w->v_p[r], v_at), 4));
        for (uint32_t s = 0; s < w->d->strips; s++) {
            val *acc = &v_acc[r * w->d->strips + s];
            *acc = pq_emit_fma(e, v_p, v_v[s], *acc);
        }
    }
}

static void
weigh_rows(weigh *w, val v_args)
{
    pq_emitter *e = w->e;
#define FIELD(type, field)                                                     \
    pq_emit_field(e, v_args, e->type, offsetof(pq_weigh_args, field))
    val v_p = FIELD(t_ptr, p), v_p_stride = FIELD(t_i64, p_stride);
    val v_out = FIELD(t_ptr, out), v_out_stride = FIELD(t_i64, out_stride);
    for (uint32_t r = 0; r < w->d->rows; r++) {
        w->v_p[r] = v_p;
        w->v_out[r] = v_out;
        v_p = pq_emit_at(e, v_p, v_p_stride);
        v_out = pq_emit_at(e, v_out, v_out_stride);
    }
    if (w->d->masked) {
        int64_t before = PQ_LANES * (int64_t)(w->d->strips - 1);
        w->v_mask =
            pq_emit_mask(e, LLVMBuildSub(e->builder, FIELD(t_i64, columns),
                                         pq_emit_i64(e, before), ""));
    }
#undef FIELD
}

static ptqc_be_status
emit_weigh(pq_emitter *e, const void *desc)
{
    weigh w = {.e = e, .d = desc};
    uint32_t n = w.d->rows * w.d->strips;
    assert(n >= 1 && n <= PQ_WEIGH_ACC_MAX);
    pq_emit_function(e, &e->t_ptr, 1);
    val v_args = pq_emit_param(e, 0);
    val v_acc[PQ_WEIGH_ACC_MAX + 1];
    weigh_rows(&w, v_args);
    load_sums(&w, v_acc);
    v_acc[n] = pq_emit_field(e, v_args, e->t_ptr, offsetof(pq_weigh_args, v));
    val v_stride =
        pq_emit_field(e, v_args, e->t_i64, offsetof(pq_weigh_args, v_stride));
    val v_keys =
        pq_emit_field(e, v_args, e->t_i64, offsetof(pq_weigh_args, keys));
    pq_loop loop;
    pq_emit_loop_begin(e, &loop, pq_emit_i64(e, 0), v_keys, 1, v_acc, n + 1);
    memcpy(v_acc, loop.v_carried, (n + 1) * sizeof *v_acc);
    weigh_key(&w, loop.v_index, v_acc[n], v_acc);
    v_acc[n] = pq_emit_at(e, v_acc[n], v_stride);
    pq_emit_loop_end(e, &loop, v_acc);
    store_sums(&w, loop.v_carried);
    pq_emit_return(e);
    return PTQC_BE_OK;
}

const pq_kernel_class pq_weigh_class = {
    .name = "attention sum",
    .version = 1,
    .desc_bytes = sizeof(pq_weigh_desc),
    .emit = emit_weigh,
};
