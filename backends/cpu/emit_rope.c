// SPDX-License-Identifier: Apache-2.0
//
// Emission of the kernels of emit_attention.h that write keys: rope
// (docs/numerics.md section 8) and rounding to the type of a state.
#include <assert.h>
#include <stdbool.h>
#include <stddef.h>

#include "emit.h"
#include "emit_attention.h"
#include "emit_math.h"
#include "emit_real.h"

typedef LLVMValueRef val;

// ---- rope ------------------------------------------------------------------

typedef struct rope {
    pq_emitter *e;
    const pq_rope_key *key;
    val v_x, v_y, v_x_stride, v_y_stride, v_heads;
    val v_frequency, v_position; // position in all lanes
    val v_second;                // bytes from first to second element
} rope;

// Where the 16 pairs from one index on lie in a row.
typedef struct pairs {
    val v_first;  // bytes of the first elements
    val v_second; // bytes of the second ones; interleaved: of the 16 after
    val v_mask, v_mask_second;
    val v_cosine, v_sine;
} pairs;

static val
pick(pq_emitter *e, val v_a, val v_b, int odd)
{
    int index[PQ_LANES];
    for (int i = 0; i < (int)PQ_LANES; i++) {
        index[i] = 2 * i + odd;
    }
    return pq_emit_shuffle(e, v_a, v_b, index, PQ_LANES);
}

// Lanes 8 * half .. of a and b, alternating.
static val
weave(pq_emitter *e, val v_a, val v_b, int half)
{
    int index[PQ_LANES];
    for (int i = 0; i < (int)PQ_LANES; i++) {
        index[i] = 8 * half + i / 2 + (i % 2) * (int)PQ_LANES;
    }
    return pq_emit_shuffle(e, v_a, v_b, index, PQ_LANES);
}

static void
store(pq_emitter *e, val v_value, val v_at, val v_mask)
{
    if (v_mask == NULL) {
        pq_emit_store(e, v_value, v_at, 4);
    } else {
        pq_emit_masked_store(e, v_value, v_at, v_mask, 4);
    }
}

// The 16 pairs of one head.
static void
turn(const rope *r, const pairs *p, val v_x, val v_y)
{
    pq_emitter *e = r->e;
    LLVMBuilderRef b = e->builder;
    val v_1 = pq_emit_load_real(e, PTQC_F32, pq_emit_at(e, v_x, p->v_first),
                                p->v_mask);
    val v_2 = pq_emit_load_real(e, PTQC_F32, pq_emit_at(e, v_x, p->v_second),
                                p->v_mask_second);
    val v_a = r->key->interleaved ? pick(e, v_1, v_2, 0) : v_1;
    val v_b = r->key->interleaved ? pick(e, v_1, v_2, 1) : v_2;
    val v_b_sine = LLVMBuildFMul(b, v_b, p->v_sine, "");
    val v_b_cosine = LLVMBuildFMul(b, v_b, p->v_cosine, "");
    val v_p = pq_emit_fma(e, v_a, p->v_cosine, LLVMBuildFNeg(b, v_b_sine, ""));
    val v_q = pq_emit_fma(e, v_a, p->v_sine, v_b_cosine);
    if (r->key->interleaved) {
        val v_low = weave(e, v_p, v_q, 0);
        v_q = weave(e, v_p, v_q, 1);
        v_p = v_low;
    }
    store(e, v_p, pq_emit_at(e, v_y, p->v_first), p->v_mask);
    store(e, v_q, pq_emit_at(e, v_y, p->v_second), p->v_mask_second);
}

static val
mask_of_rest(pq_emitter *e, int64_t count)
{
    return pq_emit_mask(e, pq_emit_i64(e, count > 0 ? count : 0));
}

// The pairs from v_pair on (`rest` of them, 0 = 16) of all heads.
static void
turn_heads(const rope *r, val v_pair, uint32_t rest)
{
    pq_emitter *e = r->e;
    LLVMBuilderRef b = e->builder;
    bool two = r->key->interleaved != 0;
    pairs p = {0};
    val v_frequency_at = LLVMBuildMul(b, v_pair, pq_emit_i64(e, 4), "");
    val v_mask = rest > 0 ? mask_of_rest(e, rest) : NULL;
    val v_frequency = pq_emit_load_real(
        e, PTQC_F32, pq_emit_at(e, r->v_frequency, v_frequency_at), v_mask);
    val v_angle = LLVMBuildFMul(b, r->v_position, v_frequency, "");
    p.v_cosine = pq_emit_cosf(e, v_angle);
    p.v_sine = pq_emit_sinf(e, v_angle);
    p.v_first = LLVMBuildMul(b, v_pair, pq_emit_i64(e, two ? 8 : 4), "");
    p.v_second =
        LLVMBuildAdd(b, p.v_first, two ? pq_emit_i64(e, 64) : r->v_second, "");
    if (rest > 0) {
        p.v_mask = two ? mask_of_rest(e, 2 * (int64_t)rest) : v_mask;
        p.v_mask_second =
            two ? mask_of_rest(e, 2 * (int64_t)rest - 16) : v_mask;
    }
    val v_rows[2] = {r->v_x, r->v_y};
    pq_loop loop;
    pq_emit_loop_begin(e, &loop, pq_emit_i64(e, 0), r->v_heads, 1, v_rows, 2);
    turn(r, &p, loop.v_carried[0], loop.v_carried[1]);
    v_rows[0] = pq_emit_at(e, loop.v_carried[0], r->v_x_stride);
    v_rows[1] = pq_emit_at(e, loop.v_carried[1], r->v_y_stride);
    pq_emit_loop_end(e, &loop, v_rows);
}

static ptqc_be_status
emit_rope(pq_emitter *e, const void *desc)
{
    rope r = {.e = e, .key = desc};
    assert(r.key->rest < PQ_LANES);
    pq_emit_function(e, &e->t_ptr, 1);
    val v_args = pq_emit_param(e, 0);
#define FIELD(type, field)                                                     \
    pq_emit_field(e, v_args, e->type, offsetof(pq_rope_args, field))
    r.v_x = FIELD(t_ptr, x);
    r.v_y = FIELD(t_ptr, y);
    r.v_x_stride = FIELD(t_i64, x_stride);
    r.v_y_stride = FIELD(t_i64, y_stride);
    r.v_heads = FIELD(t_i64, heads);
    r.v_frequency = FIELD(t_ptr, frequency);
    r.v_position = pq_emit_splat(e, FIELD(t_f32, position));
    val v_pairs = FIELD(t_i64, pairs);
#undef FIELD
    r.v_second = LLVMBuildMul(e->builder, v_pairs, pq_emit_i64(e, 4), "");
    val v_full =
        LLVMBuildSub(e->builder, v_pairs, pq_emit_i64(e, r.key->rest), "");
    pq_loop loop;
    pq_emit_loop_begin(e, &loop, pq_emit_i64(e, 0), v_full, PQ_LANES, NULL, 0);
    turn_heads(&r, loop.v_index, 0);
    pq_emit_loop_end(e, &loop, NULL);
    if (r.key->rest > 0) {
        turn_heads(&r, v_full, r.key->rest);
    }
    pq_emit_return(e);
    return PTQC_BE_OK;
}

const pq_kernel_class pq_rope_class = {
    .name = "rope",
    .version = 1,
    .desc_bytes = sizeof(pq_rope_key),
    .emit = emit_rope,
};

// ---- rows of a state -------------------------------------------------------

static void
narrow_block(pq_emitter *e, uint32_t dtype, const val v_xy[2], val v_at,
             val v_mask)
{
    val v_four = LLVMBuildMul(e->builder, v_at, pq_emit_i64(e, 4), "");
    val v_two = LLVMBuildMul(e->builder, v_at, pq_emit_i64(e, 2), "");
    val v =
        pq_emit_load_real(e, PTQC_F32, pq_emit_at(e, v_xy[0], v_four), v_mask);
    pq_emit_store_short(e, dtype, v, pq_emit_at(e, v_xy[1], v_two), v_mask);
}

static ptqc_be_status
emit_narrow(pq_emitter *e, const void *desc)
{
    const pq_narrow_desc *d = desc;
    assert(pq_emit_real_bytes(d->dtype) == 2 && d->rest < PQ_LANES);
    pq_emit_function(e, &e->t_ptr, 1);
    val v_args = pq_emit_param(e, 0);
    const val v_xy[2] = {
        pq_emit_field(e, v_args, e->t_ptr, offsetof(pq_narrow_args, x)),
        pq_emit_field(e, v_args, e->t_ptr, offsetof(pq_narrow_args, y)),
    };
    val v_count =
        pq_emit_field(e, v_args, e->t_i64, offsetof(pq_narrow_args, count));
    val v_full = LLVMBuildSub(e->builder, v_count, pq_emit_i64(e, d->rest), "");
    pq_loop loop;
    pq_emit_loop_begin(e, &loop, pq_emit_i64(e, 0), v_full, PQ_LANES, NULL, 0);
    narrow_block(e, d->dtype, v_xy, loop.v_index, NULL);
    pq_emit_loop_end(e, &loop, NULL);
    if (d->rest > 0) {
        narrow_block(e, d->dtype, v_xy, v_full, mask_of_rest(e, d->rest));
    }
    pq_emit_return(e);
    return PTQC_BE_OK;
}

const pq_kernel_class pq_narrow_class = {
    .name = "rows of a state",
    .version = 1,
    .desc_bytes = sizeof(pq_narrow_desc),
    .emit = emit_narrow,
};
