// SPDX-License-Identifier: Apache-2.0
//
// Interpolation, channels last: for every output pixel blend along width,
// then height, then depth, 16 channels at a time. A blend of two taps is
// fma(w, b - a, a), of four w0 * x0 and then one fma per tap.
#include "emit_resize.h"

#include <llvm-c/Core.h>
#include <stddef.h>

#include "emit.h"

typedef LLVMValueRef val;

typedef struct resize_emit {
    pq_emitter *e;
    const pq_resize_key *key;
    val v_args;
    val v_row[PQ_RESIZE_TAPS_MAX * PQ_RESIZE_TAPS_MAX];
    val v_weight[PQ_POOL_DIMS][PQ_RESIZE_TAPS_MAX]; // in all lanes
    val v_offset[PQ_RESIZE_TAPS_MAX];               // of the pixel
} resize_emit;

static val
blend(const resize_emit *r, uint32_t axis, const val *v_x)
{
    pq_emitter *e = r->e;
    const val *v_w = r->v_weight[axis];
    if (r->key->taps[axis] == 1) {
        return v_x[0];
    }
    if (r->key->taps[axis] == 2) {
        val v_d = LLVMBuildFSub(e->builder, v_x[1], v_x[0], "");
        return pq_emit_fma(e, v_w[0], v_d, v_x[0]);
    }
    val v_y = LLVMBuildFMul(e->builder, v_w[0], v_x[0], "");
    for (uint32_t t = 1; t < PQ_RESIZE_TAPS_MAX; t++) {
        v_y = pq_emit_fma(e, v_w[t], v_x[t], v_y);
    }
    return v_y;
}

// Interpolated along width in one input row.
static val
emit_width(const resize_emit *r, val v_row, val v_bytes, val v_mask)
{
    pq_emitter *e = r->e;
    val v_x[PQ_RESIZE_TAPS_MAX];
    for (uint32_t t = 0; t < r->key->taps[2]; t++) {
        val v_at = pq_emit_at(e, pq_emit_at(e, v_row, r->v_offset[t]), v_bytes);
        v_x[t] = v_mask == NULL
                     ? pq_emit_load(e, e->t_vf32, v_at, 4)
                     : pq_emit_masked_load(e, e->t_vf32, v_at, v_mask, 4);
    }
    return blend(r, 2, v_x);
}

static void
emit_block(const resize_emit *r, val v_out, val v_c, val v_mask)
{
    pq_emitter *e = r->e;
    val v_bytes = LLVMBuildMul(e->builder, v_c, pq_emit_i64(e, 4), "");
    val v_depth[PQ_RESIZE_TAPS_MAX];
    for (uint32_t d = 0; d < r->key->taps[0]; d++) {
        val v_height[PQ_RESIZE_TAPS_MAX];
        for (uint32_t h = 0; h < r->key->taps[1]; h++) {
            val v_row = r->v_row[d * r->key->taps[1] + h];
            v_height[h] = emit_width(r, v_row, v_bytes, v_mask);
        }
        v_depth[d] = blend(r, 1, v_height);
    }
    val v_y = blend(r, 0, v_depth);
    val v_at = pq_emit_at(e, v_out, v_bytes);
    if (v_mask == NULL) {
        pq_emit_store(e, v_y, v_at, 4);
    } else {
        pq_emit_masked_store(e, v_y, v_at, v_mask, 4);
    }
}

static val
field(const resize_emit *r, LLVMTypeRef type, size_t offset)
{
    return pq_emit_field(r->e, r->v_args, type, offset);
}

static void
load_row_values(resize_emit *r)
{
    pq_emitter *e = r->e;
    for (uint32_t i = 0; i < r->key->taps[0] * r->key->taps[1]; i++) {
        r->v_row[i] =
            field(r, e->t_ptr, offsetof(pq_resize_args, rows) + i * 8);
    }
    for (uint32_t t = 0; t < PQ_RESIZE_TAPS_MAX; t++) {
        r->v_weight[0][t] = pq_emit_splat(
            e, field(r, e->t_f32, offsetof(pq_resize_args, depth) + t * 4));
        r->v_weight[1][t] = pq_emit_splat(
            e, field(r, e->t_f32, offsetof(pq_resize_args, height) + t * 4));
    }
}

// Offsets and weights of one output pixel along width.
static void
load_pixel_values(resize_emit *r, val v_offsets, val v_weights, val v_pixel)
{
    pq_emitter *e = r->e;
    int64_t taps = r->key->taps[2];
    val v_first = LLVMBuildMul(e->builder, v_pixel, pq_emit_i64(e, taps), "");
    val v_off = LLVMBuildMul(e->builder, v_first, pq_emit_i64(e, 8), "");
    val v_wat = LLVMBuildMul(e->builder, v_first, pq_emit_i64(e, 4), "");
    val v_offset_at = pq_emit_at(e, v_offsets, v_off);
    val v_weight_at = pq_emit_at(e, v_weights, v_wat);
    for (int64_t t = 0; t < taps; t++) {
        r->v_offset[t] = pq_emit_load(
            e, e->t_i64, pq_emit_at_const(e, v_offset_at, t * 8), 8);
        r->v_weight[2][t] = pq_emit_splat(
            e, pq_emit_load(e, e->t_f32,
                            pq_emit_at_const(e, v_weight_at, t * 4), 4));
    }
}

static void
emit_pixel(const resize_emit *r, val v_out, val v_channels)
{
    pq_emitter *e = r->e;
    LLVMBuilderRef b = e->builder;
    val v_whole =
        LLVMBuildAnd(b, v_channels, pq_emit_i64(e, -(int64_t)PQ_LANES), "");
    pq_loop loop;
    pq_emit_loop_begin(e, &loop, pq_emit_i64(e, 0), v_whole, PQ_LANES, NULL, 0);
    emit_block(r, v_out, loop.v_index, NULL);
    pq_emit_loop_end(e, &loop, NULL);
    pq_branch branch;
    pq_emit_if_begin(e, &branch,
                     LLVMBuildICmp(b, LLVMIntSLT, v_whole, v_channels, ""));
    val v_left = LLVMBuildSub(b, v_channels, v_whole, "");
    emit_block(r, v_out, v_whole, pq_emit_mask(e, v_left));
    pq_emit_if_end(e, &branch, NULL, NULL, 0, NULL);
}

static ptqc_be_status
emit_kernel(pq_emitter *e, const void *desc)
{
    resize_emit r = {.e = e, .key = desc};
    LLVMTypeRef params[1] = {e->t_ptr};
    pq_emit_function(e, params, 1);
    r.v_args = pq_emit_param(e, 0);
    load_row_values(&r);
    val v_offsets = field(&r, e->t_ptr, offsetof(pq_resize_args, offsets));
    val v_weights = field(&r, e->t_ptr, offsetof(pq_resize_args, weights));
    val v_out = field(&r, e->t_ptr, offsetof(pq_resize_args, out));
    val v_channels = field(&r, e->t_i64, offsetof(pq_resize_args, channels));
    val v_pixel_bytes =
        LLVMBuildMul(e->builder, v_channels, pq_emit_i64(e, 4), "");
    pq_loop loop;
    pq_emit_loop_begin(e, &loop, pq_emit_i64(e, 0),
                       field(&r, e->t_i64, offsetof(pq_resize_args, pixels)), 1,
                       NULL, 0);
    load_pixel_values(&r, v_offsets, v_weights, loop.v_index);
    val v_at = LLVMBuildMul(e->builder, loop.v_index, v_pixel_bytes, "");
    emit_pixel(&r, pq_emit_at(e, v_out, v_at), v_channels);
    pq_emit_loop_end(e, &loop, NULL);
    pq_emit_return(e);
    return PTQC_BE_OK;
}

const pq_kernel_class pq_resize_class = {
    .name = "resize",
    .version = 1,
    .desc_bytes = sizeof(pq_resize_key),
    .emit = emit_kernel,
};
