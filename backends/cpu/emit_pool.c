// SPDX-License-Identifier: Apache-2.0
//
// Pooling over channels last: for a pixel and a block of channels, a loop
// over the window's taps with one vector accumulator. Blocks are 64 channels
// (maxima of codes), then 16, then a masked rest.
#include "emit_pool.h"

#include <llvm-c/Core.h>
#include <math.h>
#include <stddef.h>

#include "emit.h"
#include "emit_math.h"

typedef LLVMValueRef val;

typedef struct pool_emit {
    pq_emitter *e;
    const pq_pooling_key *key;
    val v_taps[PQ_POOL_DIMS], v_tap_step[PQ_POOL_DIMS];
    val v_channels;
    val v_divisor, v_mult, v_lo, v_hi, v_subtract, v_y_zero; // in all lanes
} pool_emit;

static int
is_f32(const pool_emit *p)
{
    return p->key->dtype == PTQC_F32;
}

static int
is_signed(const pool_emit *p)
{
    return p->key->dtype == PTQC_I8;
}

static int
is_max(const pool_emit *p)
{
    return p->key->kind == PQ_POOL_MAX;
}

static uint32_t
element_bytes(const pool_emit *p)
{
    return is_f32(p) ? 4 : 1;
}

// Of an element of the output.
static uint32_t
out_bytes(const pool_emit *p)
{
    return p->key->real_out ? 4 : element_bytes(p);
}

static LLVMTypeRef
vector_of(const pool_emit *p, uint32_t lanes)
{
    return LLVMVectorType(is_f32(p) ? p->e->t_f32 : p->e->t_i8, lanes);
}

static val
start_value(const pool_emit *p, uint32_t lanes)
{
    if (is_f32(p)) {
        return pq_emit_real(vector_of(p, lanes),
                            is_max(p) ? -(double)INFINITY : 0.0);
    }
    if (is_max(p)) {
        return pq_emit_whole(vector_of(p, lanes), is_signed(p) ? INT8_MIN : 0);
    }
    return pq_emit_splat_i32(p->e, 0);
}

// The accumulator after one more tap.
static val
take_tap(const pool_emit *p, val v_acc, val v_tap)
{
    pq_emitter *e = p->e;
    LLVMBuilderRef b = e->builder;
    if (is_f32(p)) {
        return is_max(p) ? pq_emit_maxf(e, v_acc, v_tap)
                         : LLVMBuildFAdd(b, v_acc, v_tap, "");
    }
    if (is_max(p)) {
        LLVMTypeRef type = LLVMTypeOf(v_acc);
        val args[2] = {v_acc, v_tap};
        return pq_emit_intrinsic(e, is_signed(p) ? "llvm.smax" : "llvm.umax",
                                 &type, 1, args, 2);
    }
    val v_wide = is_signed(p) ? LLVMBuildSExt(b, v_tap, e->t_vi32, "")
                              : LLVMBuildZExt(b, v_tap, e->t_vi32, "");
    return LLVMBuildAdd(b, v_acc, v_wide, "");
}

static val
finish(const pool_emit *p, val v_acc)
{
    pq_emitter *e = p->e;
    LLVMBuilderRef b = e->builder;
    if (is_max(p)) {
        return v_acc;
    }
    if (is_f32(p)) {
        return LLVMBuildFDiv(b, v_acc, p->v_divisor, "");
    }
    // t = f32(sum - subtract) * mult; code = rne(clamp(t)) + y_zero
    val v_sum = LLVMBuildSub(b, v_acc, p->v_subtract, "");
    val v_real = LLVMBuildSIToFP(b, v_sum, e->t_vf32, "");
    val v_t = LLVMBuildFMul(b, v_real, p->v_mult, "");
    if (p->key->real_out) {
        return v_t;
    }
    val v_code = pq_emit_round_code(e, v_t, p->v_lo, p->v_hi);
    v_code = LLVMBuildAdd(b, v_code, p->v_y_zero, "");
    return LLVMBuildTrunc(b, v_code, e->t_vi8, "");
}

static val
load_tap(const pool_emit *p, val v_at, uint32_t lanes, val v_mask)
{
    LLVMTypeRef type = vector_of(p, lanes);
    return v_mask == NULL ? pq_emit_load(p->e, type, v_at, element_bytes(p))
                          : pq_emit_masked_load(p->e, type, v_at, v_mask,
                                                element_bytes(p));
}

// Loops over the taps of dims `dim`.. from address v_at on.
static val
emit_taps(const pool_emit *p, uint32_t dim, val v_at, val v_acc, uint32_t lanes,
          val v_mask)
{
    pq_emitter *e = p->e;
    if (dim == PQ_POOL_DIMS) {
        return take_tap(p, v_acc, load_tap(p, v_at, lanes, v_mask));
    }
    pq_loop loop;
    pq_emit_loop_begin(e, &loop, pq_emit_i64(e, 0), p->v_taps[dim], 1, &v_acc,
                       1);
    val v_bytes =
        LLVMBuildMul(e->builder, loop.v_index, p->v_tap_step[dim], "");
    val v_next = emit_taps(p, dim + 1, pq_emit_at(e, v_at, v_bytes),
                           loop.v_carried[0], lanes, v_mask);
    pq_emit_loop_end(e, &loop, &v_next);
    return loop.v_carried[0];
}

// Channels v_c .. v_c + lanes - 1 of one pixel.
static void
emit_block(const pool_emit *p, val v_in, val v_out, val v_c, uint32_t lanes,
           val v_mask)
{
    pq_emitter *e = p->e;
    val v_bytes =
        LLVMBuildMul(e->builder, v_c, pq_emit_i64(e, element_bytes(p)), "");
    val v_acc = emit_taps(p, 0, pq_emit_at(e, v_in, v_bytes),
                          start_value(p, lanes), lanes, v_mask);
    val v_y = finish(p, v_acc);
    val v_at = pq_emit_at(
        e, v_out,
        LLVMBuildMul(e->builder, v_c, pq_emit_i64(e, out_bytes(p)), ""));
    if (v_mask == NULL) {
        pq_emit_store(e, v_y, v_at, out_bytes(p));
    } else {
        pq_emit_masked_store(e, v_y, v_at, v_mask, out_bytes(p));
    }
}

// for (c = begin; c < channels / lanes * lanes; c += lanes) block
// -> where the whole blocks end
static val
emit_blocks(const pool_emit *p, val v_in, val v_out, val v_begin,
            uint32_t lanes)
{
    pq_emitter *e = p->e;
    val v_end = LLVMBuildAnd(e->builder, p->v_channels,
                             pq_emit_i64(e, -(int64_t)lanes), "");
    pq_loop loop;
    pq_emit_loop_begin(e, &loop, v_begin, v_end, lanes, NULL, 0);
    emit_block(p, v_in, v_out, loop.v_index, lanes, NULL);
    pq_emit_loop_end(e, &loop, NULL);
    return v_end;
}

static void
emit_pixel(const pool_emit *p, val v_in, val v_out)
{
    pq_emitter *e = p->e;
    LLVMBuilderRef b = e->builder;
    val v_c = pq_emit_i64(e, 0);
    if (is_max(p) && !is_f32(p)) {
        v_c = emit_blocks(p, v_in, v_out, v_c, 4 * PQ_LANES);
    }
    v_c = emit_blocks(p, v_in, v_out, v_c, PQ_LANES);
    pq_branch branch;
    pq_emit_if_begin(e, &branch,
                     LLVMBuildICmp(b, LLVMIntSLT, v_c, p->v_channels, ""));
    val v_left = LLVMBuildSub(b, p->v_channels, v_c, "");
    emit_block(p, v_in, v_out, v_c, PQ_LANES, pq_emit_mask(e, v_left));
    pq_emit_if_end(e, &branch, NULL, NULL, 0, NULL);
}

static val
splat_field(const pool_emit *p, LLVMTypeRef type, size_t offset)
{
    val v_args = pq_emit_param(p->e, 0);
    return pq_emit_splat(p->e, pq_emit_field(p->e, v_args, type, offset));
}

static void
load_values(pool_emit *p)
{
    pq_emitter *e = p->e;
    val v_args = pq_emit_param(e, 0);
    for (uint32_t d = 0; d < PQ_POOL_DIMS; d++) {
        p->v_taps[d] = pq_emit_field(e, v_args, e->t_i64,
                                     offsetof(pq_pooling_args, taps) + d * 8);
        p->v_tap_step[d] = pq_emit_field(
            e, v_args, e->t_i64, offsetof(pq_pooling_args, tap_step) + d * 8);
    }
    p->v_channels =
        pq_emit_field(e, v_args, e->t_i64, offsetof(pq_pooling_args, channels));
    if (is_max(p)) {
        return;
    }
    if (is_f32(p)) {
        p->v_divisor =
            splat_field(p, e->t_f32, offsetof(pq_pooling_args, divisor));
        return;
    }
    p->v_mult = splat_field(p, e->t_f32, offsetof(pq_pooling_args, mult));
    p->v_lo = splat_field(p, e->t_f32, offsetof(pq_pooling_args, lo));
    p->v_hi = splat_field(p, e->t_f32, offsetof(pq_pooling_args, hi));
    p->v_subtract =
        splat_field(p, e->t_i32, offsetof(pq_pooling_args, subtract));
    p->v_y_zero = splat_field(p, e->t_i32, offsetof(pq_pooling_args, y_zero));
}

static ptqc_be_status
emit_kernel(pq_emitter *e, const void *desc)
{
    pool_emit p = {.e = e, .key = desc};
    LLVMTypeRef params[1] = {e->t_ptr};
    pq_emit_function(e, params, 1);
    load_values(&p);
    val v_args = pq_emit_param(e, 0);
    val v_pixels =
        pq_emit_field(e, v_args, e->t_i64, offsetof(pq_pooling_args, pixels));
    val v_in =
        pq_emit_field(e, v_args, e->t_ptr, offsetof(pq_pooling_args, in));
    val v_out =
        pq_emit_field(e, v_args, e->t_ptr, offsetof(pq_pooling_args, out));
    val v_in_step =
        pq_emit_field(e, v_args, e->t_i64, offsetof(pq_pooling_args, in_step));
    val v_out_step =
        pq_emit_field(e, v_args, e->t_i64, offsetof(pq_pooling_args, out_step));
    pq_loop loop;
    pq_emit_loop_begin(e, &loop, pq_emit_i64(e, 0), v_pixels, 1, NULL, 0);
    val v_in_at = LLVMBuildMul(e->builder, loop.v_index, v_in_step, "");
    val v_out_at = LLVMBuildMul(e->builder, loop.v_index, v_out_step, "");
    emit_pixel(&p, pq_emit_at(e, v_in, v_in_at),
               pq_emit_at(e, v_out, v_out_at));
    pq_emit_loop_end(e, &loop, NULL);
    pq_emit_return(e);
    return PTQC_BE_OK;
}

const pq_kernel_class pq_pooling_class = {
    .name = "pool",
    .version = 2,
    .desc_bytes = sizeof(pq_pooling_key),
    .emit = emit_kernel,
};
