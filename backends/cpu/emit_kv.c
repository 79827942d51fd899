// SPDX-License-Identifier: Apache-2.0
//
// Emission of the kernels of emit_kv.h. Lanes are keys in scores and columns
// in sums, so that every accumulator takes its terms in ascending order: the
// bits of docs/numerics.md section 8 whatever is computed side by side.
#include "emit_kv.h"

#include <assert.h>
#include <math.h>
#include <stddef.h>
#include <string.h>

#include "ptqc/types.h"

#include "emit.h"
#include "emit_math.h"
#include "emit_real.h"

typedef LLVMValueRef val;

static uint32_t
bytes_of(uint32_t dtype)
{
    return dtype == PTQC_I8 ? 1 : pq_emit_real_bytes(dtype);
}

// 16 elements as f32, exact.
static val
load_wide(pq_emitter *e, uint32_t dtype, val v_at)
{
    if (dtype != PTQC_I8) {
        return pq_emit_load_real(e, dtype, v_at, NULL);
    }
    val v = pq_emit_load(e, e->t_vi8, v_at, 1);
    v = LLVMBuildSExt(e->builder, v, e->t_vi32, "");
    return LLVMBuildSIToFP(e->builder, v, e->t_vf32, "");
}

static val
scaled_index(pq_emitter *e, val v_index, int64_t bytes)
{
    return LLVMBuildMul(e->builder, v_index, pq_emit_i64(e, bytes), "");
}

// A loop over [0, n) in steps of `unit`, and one over what is left.
typedef struct unrolled {
    val v_n;
    int64_t unit;
    void (*body)(void *user, val v_index, val *v_carried);
    void *user;
} unrolled;

static void
loop_unrolled(pq_emitter *e, const unrolled *u, val *v_carried, uint32_t count)
{
    LLVMBuilderRef b = e->builder;
    val v_whole = u->unit > 1
                      ? LLVMBuildAnd(b, u->v_n, pq_emit_i64(e, -u->unit), "")
                      : pq_emit_i64(e, 0);
    for (int part = u->unit > 1 ? 0 : 1; part < 2; part++) {
        int64_t step = part == 0 ? u->unit : 1;
        pq_loop loop;
        pq_emit_loop_begin(e, &loop, part == 0 ? pq_emit_i64(e, 0) : v_whole,
                           part == 0 ? v_whole : u->v_n, step, v_carried,
                           count);
        memcpy(v_carried, loop.v_carried, count * sizeof *v_carried);
        for (int64_t i = 0; i < step; i++) {
            u->body(u->user,
                    LLVMBuildAdd(b, loop.v_index, pq_emit_i64(e, i), ""),
                    v_carried);
        }
        pq_emit_loop_end(e, &loop, v_carried);
        memcpy(v_carried, loop.v_carried, count * sizeof *v_carried);
    }
}

// ---- widening --------------------------------------------------------------

static ptqc_be_status
emit_widen(pq_emitter *e, const void *desc)
{
    const pq_kv_widen_desc *d = desc;
    pq_emit_function(e, &e->t_ptr, 1);
    val v_args = pq_emit_param(e, 0);
    val v_x = pq_emit_field(e, v_args, e->t_ptr, offsetof(pq_kv_widen_args, x));
    val v_y = pq_emit_field(e, v_args, e->t_ptr, offsetof(pq_kv_widen_args, y));
    val v_n =
        pq_emit_field(e, v_args, e->t_i64, offsetof(pq_kv_widen_args, count));
    pq_loop loop;
    pq_emit_loop_begin(e, &loop, pq_emit_i64(e, 0), v_n, PQ_LANES, NULL, 0);
    val v_from = scaled_index(e, loop.v_index, bytes_of(d->dtype));
    val v = load_wide(e, d->dtype, pq_emit_at(e, v_x, v_from));
    val v_to = scaled_index(e, loop.v_index, 4);
    pq_emit_store(e, v, pq_emit_at(e, v_y, v_to), 64);
    pq_emit_loop_end(e, &loop, NULL);
    pq_emit_return(e);
    return PTQC_BE_OK;
}

const pq_kernel_class pq_kv_widen_class = {
    .name = "widen keys or values",
    .version = 3,
    .desc_bytes = sizeof(pq_kv_widen_desc),
    .emit = emit_widen,
};

// ---- products --------------------------------------------------------------

// One line of keys or values times a factor per row.
typedef struct products {
    pq_emitter *e;
    uint32_t dtype, rows, strips;
    int64_t ahead; // bytes; 0: no line is asked for ahead
} products;

// v_acc[r][s] += factor[r] * line[s], each one fma; v_acc[rows * strips] is the
// address of the line and goes on by v_step.
static void
add_products(const products *p, const val *v_factor, val v_step, val *v_acc)
{
    pq_emitter *e = p->e;
    val v_wide[PQ_KV_ACC_MAX], v_line = v_acc[p->rows * p->strips];
    if (p->ahead > 0) {
        pq_emit_prefetch(e, pq_emit_at_const(e, v_line, p->ahead), 3);
    }
    for (uint32_t i = 0; i < p->strips; i++) {
        int64_t at = (int64_t)PQ_LANES * bytes_of(p->dtype) * i;
        v_wide[i] = load_wide(e, p->dtype, pq_emit_at_const(e, v_line, at));
    }
    for (uint32_t r = 0; r < p->rows; r++) {
        val v_x = pq_emit_splat(e, pq_emit_load(e, e->t_f32, v_factor[r], 4));
        for (uint32_t i = 0; i < p->strips; i++) {
            val *acc = &v_acc[r * p->strips + i];
            *acc = pq_emit_fma(e, v_x, v_wide[i], *acc);
        }
    }
    v_acc[p->rows * p->strips] = pq_emit_at(e, v_line, v_step);
}

// ---- scores ----------------------------------------------------------------

typedef struct score {
    pq_emitter *e;
    const pq_kv_score_desc *d;
    val v_q, v_line, v_n, v_scale, v_out_stride;
    val v_k; // of the block at hand
} score;

// acc[r][s] = fma(q[d][r], k[d][s], acc[r][s]); the line is carried.
static void
score_element(void *user, val v_d, val *v_acc)
{
    const score *s = user;
    pq_emitter *e = s->e;
    const products p = {e, s->d->dtype, s->d->rows, s->d->strips, s->d->ahead};
    val v_q = pq_emit_at(e, s->v_q, scaled_index(e, v_d, 4 * (int64_t)p.rows));
    val v_factor[PQ_KV_ACC_MAX];
    for (uint32_t r = 0; r < p.rows; r++) {
        v_factor[r] = pq_emit_at_const(e, v_q, 4 * (int64_t)r);
    }
    add_products(&p, v_factor, s->v_line, v_acc);
}

static void
store_scores(const score *s, const val *v_acc, val v_out, val v_key_scale)
{
    pq_emitter *e = s->e;
    uint32_t strips = s->d->strips;
    for (uint32_t i = 0; i < strips; i++) {
        val v_row = pq_emit_at_const(e, v_out, 64 * (int64_t)i);
        val v_ks =
            s->d->scaled
                ? pq_emit_load(e, e->t_vf32,
                               pq_emit_at_const(e, v_key_scale, 64 * i), 4)
                : NULL;
        for (uint32_t r = 0; r < s->d->rows; r++) {
            val v = v_acc[r * strips + i];
            v = v_ks != NULL ? LLVMBuildFMul(e->builder, v, v_ks, "") : v;
            v = LLVMBuildFMul(e->builder, v, s->v_scale, "");
            pq_emit_store(e, v, v_row, 4);
            v_row = pq_emit_at(e, v_row, s->v_out_stride);
        }
    }
}

static ptqc_be_status
emit_score(pq_emitter *e, const void *desc)
{
    score s = {.e = e, .d = desc};
    uint32_t n = s.d->rows * s.d->strips;
    assert(n >= 1 && n <= PQ_KV_ACC_MAX);
    pq_emit_function(e, &e->t_ptr, 1);
    val v_args = pq_emit_param(e, 0);
#define FIELD(type, field)                                                     \
    pq_emit_field(e, v_args, e->type, offsetof(pq_kv_score_args, field))
    s.v_q = FIELD(t_ptr, q);
    s.v_line = FIELD(t_i64, line);
    s.v_n = FIELD(t_i64, d);
    s.v_scale = pq_emit_splat(e, FIELD(t_f32, scale));
    s.v_out_stride = FIELD(t_i64, out_stride);
    val v_step = FIELD(t_i64, out_step), v_stride = FIELD(t_i64, block_stride);
    val v_at[3] = {FIELD(t_ptr, k), FIELD(t_ptr, out), FIELD(t_ptr, key_scale)};
    val v_blocks = FIELD(t_i64, blocks);
#undef FIELD
    pq_loop loop;
    pq_emit_loop_begin(e, &loop, pq_emit_i64(e, 0), v_blocks, 1, v_at, 3);
    val v_acc[PQ_KV_ACC_MAX + 1];
    for (uint32_t i = 0; i < n; i++) {
        v_acc[i] = LLVMConstNull(e->t_vf32);
    }
    v_acc[n] = loop.v_carried[0];
    loop_unrolled(e, &(unrolled){s.v_n, 4, score_element, &s}, v_acc, n + 1);
    store_scores(&s, v_acc, loop.v_carried[1], loop.v_carried[2]);
    v_at[0] = pq_emit_at(e, loop.v_carried[0], v_stride);
    v_at[1] = pq_emit_at(e, loop.v_carried[1], v_step);
    v_at[2] = pq_emit_at(e, loop.v_carried[2], v_step);
    pq_emit_loop_end(e, &loop, v_at);
    pq_emit_return(e);
    return PTQC_BE_OK;
}

const pq_kernel_class pq_kv_score_class = {
    .name = "scores of keys",
    .version = 4,
    .desc_bytes = sizeof(pq_kv_score_desc),
    .emit = emit_score,
};

// ---- softmax ---------------------------------------------------------------

typedef struct softmax {
    pq_emitter *e;
    uint32_t scaled;
    val v_row, v_keys, v_center;  // of the row
    val v_before, v_sum, v_scale; // of the row before
    val v_ahead;
} softmax;

static val
element_at(const softmax *s, val v_row, val v_index)
{
    return pq_emit_at(s->e, v_row, scaled_index(s->e, v_index, 4));
}

// A NaN is left out: it makes the sum, and so every weight, NaN.
static void
max_vector(void *user, val v_index, val *v_acc)
{
    const softmax *s = user;
    pq_emitter *e = s->e;
    val v = pq_emit_load(
        e, e->t_vf32, pq_emit_at(e, s->v_row, scaled_index(e, v_index, 64)), 4);
    val v_new = pq_emit_max(e, v, v_acc[0]);
    memmove(v_acc, v_acc + 1, 3 * sizeof *v_acc); // the next one's turn
    v_acc[3] = v_new;
}

// The largest score in all lanes; several at a time.
static val
largest(softmax *s)
{
    pq_emitter *e = s->e;
    val v_acc[4];
    for (int i = 0; i < 4; i++) {
        v_acc[i] = pq_emit_real(e->t_vf32, -(double)INFINITY);
    }
    val v_n = LLVMBuildLShr(e->builder, s->v_keys, pq_emit_i64(e, 4), "");
    loop_unrolled(e, &(unrolled){v_n, 4, max_vector, s}, v_acc, 4);
    v_acc[0] = pq_emit_max(e, pq_emit_max(e, v_acc[0], v_acc[1]),
                           pq_emit_max(e, v_acc[2], v_acc[3]));
    return pq_emit_splat(e, pq_emit_reduce(e, v_acc[0], PQ_LANES_MAX));
}

// Asks for two lines per vector: nothing else is read from memory meanwhile.
static void
look_ahead(const softmax *s, val v_index, int64_t vectors)
{
    pq_emitter *e = s->e;
    val v_at = pq_emit_at(e, s->v_ahead, scaled_index(e, v_index, 8));
    for (int64_t i = 0; i < 2 * vectors; i++) {
        pq_emit_prefetch(e, pq_emit_at_const(e, v_at, 64 * i), 2);
    }
}

// The first lane in `lanes` lanes; vector `i` of several.
static val
spread(pq_emitter *e, val v, uint32_t lanes)
{
    int index[4 * PQ_LANES] = {0};
    return pq_emit_shuffle(e, v, v, index, lanes);
}

static val
part_of(pq_emitter *e, val v, uint32_t i)
{
    int index[PQ_LANES];
    for (uint32_t k = 0; k < PQ_LANES; k++) {
        index[k] = (int)(PQ_LANES * i + k);
    }
    return pq_emit_shuffle(e, v, v, index, PQ_LANES);
}

// Several vectors as one: their chains of operations are interleaved.
static LLVMTypeRef
vectors_of(const softmax *s, int64_t count)
{
    return pq_emit_vector_type(s->e->t_f32, (uint32_t)(count * PQ_LANES));
}

static val
exp_vectors(const softmax *s, val v_index, int64_t count, val v_acc)
{
    pq_emitter *e = s->e;
    val v_at = element_at(s, s->v_row, v_index);
    val v = pq_emit_load(e, vectors_of(s, count), v_at, 4);
    val v_center = spread(e, s->v_center, (uint32_t)(count * PQ_LANES));
    look_ahead(s, v_index, count);
    v = pq_emit_expf(e, LLVMBuildFSub(e->builder, v, v_center, ""));
    pq_emit_store(e, v, v_at, 4);
    for (int64_t i = 0; i < count; i++) {
        v_acc =
            LLVMBuildFAdd(e->builder, v_acc, part_of(e, v, (uint32_t)i), "");
    }
    return v_acc;
}

static void
divide_vectors(const softmax *s, val v_index, int64_t count)
{
    pq_emitter *e = s->e;
    val v_at = element_at(s, s->v_before, v_index);
    LLVMTypeRef type = vectors_of(s, count);
    val v_sum = spread(e, s->v_sum, (uint32_t)(count * PQ_LANES));
    val v =
        LLVMBuildFDiv(e->builder, pq_emit_load(e, type, v_at, 4), v_sum, "");
    if (s->scaled) {
        v = LLVMBuildFMul(
            e->builder, v,
            pq_emit_load(e, type, element_at(s, s->v_scale, v_index), 4), "");
    }
    pq_emit_store(e, v, v_at, 4);
}

enum { WITH_EXP = 1, WITH_DIVIDE = 2 };

// [begin, end) of the row, of the one before, or of both: division and exp
// keep different units busy. -> the lanes of the sum.
static val
walk_by(const softmax *s, val v_begin, val v_end, int what, int64_t count,
        val v_acc)
{
    pq_loop loop;
    pq_emit_loop_begin(s->e, &loop, v_begin, v_end, count * (int64_t)PQ_LANES,
                       &v_acc, 1);
    val v_next = loop.v_carried[0];
    if ((what & WITH_DIVIDE) != 0) {
        divide_vectors(s, loop.v_index, count);
    }
    if ((what & WITH_EXP) != 0) {
        v_next = exp_vectors(s, loop.v_index, count, v_next);
    }
    pq_emit_loop_end(s->e, &loop, &v_next);
    return loop.v_carried[0];
}

static val
walk(const softmax *s, val v_begin, val v_end, int what, val v_acc)
{
    LLVMBuilderRef b = s->e->builder;
    val v_n = LLVMBuildSub(b, v_end, v_begin, "");
    v_n = LLVMBuildAnd(b, v_n, pq_emit_i64(s->e, -4 * (int64_t)PQ_LANES), "");
    val v_middle = LLVMBuildAdd(b, v_begin, v_n, "");
    v_acc = walk_by(s, v_begin, v_middle, what, 4, v_acc);
    return walk_by(s, v_middle, v_end, what, 1, v_acc);
}

static ptqc_be_status
emit_softmax(pq_emitter *e, const void *desc)
{
    const pq_kv_softmax_desc *d = desc;
    softmax s = {.e = e, .scaled = d->scaled};
    pq_emit_function(e, &e->t_ptr, 1);
    val v_args = pq_emit_param(e, 0);
#define FIELD(type, field)                                                     \
    pq_emit_field(e, v_args, e->type, offsetof(pq_kv_softmax_args, field))
    s.v_row = FIELD(t_ptr, row);
    s.v_keys = FIELD(t_i64, keys);
    s.v_before = FIELD(t_ptr, before);
    s.v_sum = pq_emit_splat(e, FIELD(t_f32, sum_before));
    s.v_scale = FIELD(t_ptr, value_scale);
    s.v_ahead = FIELD(t_ptr, ahead);
    val v_keys_before = FIELD(t_i64, keys_before);
#undef FIELD
    s.v_center = largest(&s);
    // what both have, then what one of them has more
    val v_less =
        LLVMBuildICmp(e->builder, LLVMIntSLT, s.v_keys, v_keys_before, "");
    val v_both =
        LLVMBuildSelect(e->builder, v_less, s.v_keys, v_keys_before, "");
    val v_acc = LLVMConstNull(e->t_vf32);
    v_acc = walk(&s, pq_emit_i64(e, 0), v_both, WITH_EXP | WITH_DIVIDE, v_acc);
    v_acc = walk(&s, v_both, s.v_keys, WITH_EXP, v_acc);
    (void)walk(&s, v_both, v_keys_before, WITH_DIVIDE, v_acc);
    pq_emit_store(
        e, pq_emit_reduce(e, v_acc, PQ_LANES_ADD),
        pq_emit_at_const(e, v_args, (int64_t)offsetof(pq_kv_softmax_args, sum)),
        4);
    pq_emit_return(e);
    return PTQC_BE_OK;
}

const pq_kernel_class pq_kv_softmax_class = {
    .name = "softmax of scores",
    .version = 3,
    .desc_bytes = sizeof(pq_kv_softmax_desc),
    .emit = emit_softmax,
};

// ---- sums ------------------------------------------------------------------

typedef struct sum {
    pq_emitter *e;
    const pq_kv_sum_desc *d;
    val v_p[PQ_KV_ACC_MAX];   // rows of weights
    val v_out[PQ_KV_ACC_MAX]; // rows of sums
    val v_stride;             // of v
} sum;

// acc[r][s] = fma(p[r][key], v[key][s], acc[r][s]); the row is carried.
static void
sum_key(void *user, val v_key, val *v_acc)
{
    const sum *s = user;
    pq_emitter *e = s->e;
    const products p = {e, s->d->dtype, s->d->rows, s->d->strips, s->d->ahead};
    val v_at = scaled_index(e, v_key, 4);
    val v_factor[PQ_KV_ACC_MAX];
    for (uint32_t r = 0; r < p.rows; r++) {
        v_factor[r] = pq_emit_at(e, s->v_p[r], v_at);
    }
    add_products(&p, v_factor, s->v_stride, v_acc);
}

static ptqc_be_status
emit_sum(pq_emitter *e, const void *desc)
{
    sum s = {.e = e, .d = desc};
    uint32_t n = s.d->rows * s.d->strips;
    assert(n >= 1 && n <= PQ_KV_ACC_MAX);
    pq_emit_function(e, &e->t_ptr, 1);
    val v_args = pq_emit_param(e, 0), v_acc[PQ_KV_ACC_MAX + 1];
#define FIELD(type, field)                                                     \
    pq_emit_field(e, v_args, e->type, offsetof(pq_kv_sum_args, field))
    s.v_p[0] = FIELD(t_ptr, p);
    s.v_out[0] = FIELD(t_ptr, out);
    s.v_stride = FIELD(t_i64, v_stride);
    v_acc[n] = FIELD(t_ptr, v);
    val v_p_stride = FIELD(t_i64, p_stride);
    val v_out_stride = FIELD(t_i64, out_stride);
    val v_keys = FIELD(t_i64, keys);
#undef FIELD
    for (uint32_t r = 1; r < s.d->rows; r++) {
        s.v_p[r] = pq_emit_at(e, s.v_p[r - 1], v_p_stride);
        s.v_out[r] = pq_emit_at(e, s.v_out[r - 1], v_out_stride);
    }
    for (uint32_t i = 0; i < n; i++) {
        int64_t at = 64 * (int64_t)(i % s.d->strips);
        v_acc[i] = pq_emit_load(
            e, e->t_vf32, pq_emit_at_const(e, s.v_out[i / s.d->strips], at), 4);
    }
    // weights of several keys of many rows would not stay in registers
    const unrolled keys = {v_keys, n <= 8 ? 4 : 1, sum_key, &s};
    loop_unrolled(e, &keys, v_acc, n + 1);
    for (uint32_t i = 0; i < n; i++) {
        int64_t at = 64 * (int64_t)(i % s.d->strips);
        pq_emit_store(e, v_acc[i],
                      pq_emit_at_const(e, s.v_out[i / s.d->strips], at), 4);
    }
    pq_emit_return(e);
    return PTQC_BE_OK;
}

const pq_kernel_class pq_kv_sum_class = {
    .name = "sums of values",
    .version = 4,
    .desc_bytes = sizeof(pq_kv_sum_desc),
    .emit = emit_sum,
};
