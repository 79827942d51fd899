// SPDX-License-Identifier: Apache-2.0
//
// Emission of the AMX kernels (amx.h). Tiles are numbered by hand: the
// intrinsics with constant tile numbers need no help of the register
// allocator, and one configuration serves the whole call.
#include <stddef.h>

#include "amx.h"
#include "emit.h"

typedef LLVMValueRef val;

#define LINE_BYTES 64
#define TILE_BYTES 1024

typedef struct amx {
    pq_emitter *e;
    const pq_amx_key *k;
    val v_args;
    val v_x[2];                // input [a]
    val v_x_stride, v_stride;  // of the input, of weight lines
    val v_rows, v_sums_offset; // fixed
    val v_tiles, v_out;
} amx;

static val
field(const amx *x, LLVMTypeRef type, size_t offset)
{
    return pq_emit_field(x->e, x->v_args, type, offset);
}

// ---- instructions -----------------------------------------------------------

static val
tile_number(const amx *x, uint32_t tile)
{
    return LLVMConstInt(x->e->t_i8, tile, 0);
}

static void
zero_tile(const amx *x, uint32_t tile)
{
    val args[1] = {tile_number(x, tile)};
    pq_emit_intrinsic(x->e, "llvm.x86.tilezero", NULL, 0, args, 1);
}

static void
load_tile(const amx *x, uint32_t tile, val v_at, val v_stride)
{
    val args[3] = {tile_number(x, tile), v_at, v_stride};
    pq_emit_intrinsic(x->e, "llvm.x86.tileloadd64", NULL, 0, args, 3);
}

static void
store_tile(const amx *x, uint32_t tile, val v_at, val v_stride)
{
    val args[3] = {tile_number(x, tile), v_at, v_stride};
    pq_emit_intrinsic(x->e, "llvm.x86.tilestored64", NULL, 0, args, 3);
}

// Tile `sum` += input * weights: u8 x s8, or s8 digits x u8 codes.
static void
multiply(const amx *x, uint32_t sum, uint32_t in, uint32_t weights)
{
    val args[3] = {tile_number(x, sum), tile_number(x, in),
                   tile_number(x, weights)};
    pq_emit_intrinsic(x->e,
                      x->k->is_fixed ? "llvm.x86.tdpbsud" : "llvm.x86.tdpbusd",
                      NULL, 0, args, 3);
}

static void
call_plain(const amx *x, const char *name, val *args, uint32_t count)
{
    pq_emit_intrinsic(x->e, name, NULL, 0, args, count);
}

// ---- the tiles --------------------------------------------------------------

// Input tiles in use.
static uint32_t
inputs(const amx *x)
{
    return x->k->digits == 2 ? 2 : x->k->row_tiles;
}

static void
zero_sums(const amx *x)
{
    for (uint32_t a = 0; a < inputs(x); a++) {
        for (uint32_t s = 0; s < x->k->strips; s++) {
            zero_tile(x, 2 * a + s);
        }
    }
}

// Chunks [0, v_chunks): input from byte v_x of the rows on, weights from
// v_w[strip] on.
static void
add_chunks(const amx *x, val v_chunks, val v_x, const val *v_w)
{
    pq_emitter *e = x->e;
    pq_loop loop;
    pq_emit_loop_begin(e, &loop, pq_emit_i64(e, 0), v_chunks, 1, NULL, 0);
    val v_step =
        LLVMBuildMul(e->builder, loop.v_index, pq_emit_i64(e, x->k->chunk), "");
    val v_at = LLVMBuildAdd(e->builder, v_x, v_step, "");
    val v_lines = LLVMBuildMul(e->builder, loop.v_index,
                               pq_emit_i64(e, 16 * (int64_t)x->k->chunk), "");
    for (uint32_t s = 0; s < x->k->strips; s++) {
        load_tile(x, 6 + s, pq_emit_at(e, v_w[s], v_lines), x->v_stride);
    }
    for (uint32_t a = 0; a < inputs(x); a++) {
        load_tile(x, 4 + a, pq_emit_at(e, x->v_x[a], v_at), x->v_x_stride);
        for (uint32_t s = 0; s < x->k->strips; s++) {
            multiply(x, 2 * a + s, 4 + a, 6 + s);
        }
    }
    pq_emit_loop_end(e, &loop, NULL);
}

// ---- u8 x s8 ----------------------------------------------------------------

static void
emit_bytes(amx *x)
{
    pq_emitter *e = x->e;
    val v_w[2] = {field(x, e->t_ptr, offsetof(pq_amx_args, weights))};
    v_w[1] = pq_emit_at(
        e, v_w[0], field(x, e->t_i64, offsetof(pq_amx_args, weight_stride)));
    zero_sums(x);
    add_chunks(x, field(x, e->t_i64, offsetof(pq_amx_args, chunks)),
               pq_emit_i64(e, 0), v_w);
    int64_t row = LINE_BYTES * (int64_t)x->k->strips;
    for (uint32_t a = 0; a < inputs(x); a++) {
        for (uint32_t s = 0; s < x->k->strips; s++) {
            val v_at =
                pq_emit_at_const(e, x->v_out, 16 * row * a + LINE_BYTES * s);
            store_tile(x, 2 * a + s, v_at, pq_emit_i64(e, row));
        }
    }
}

// ---- groups -----------------------------------------------------------------

// Tile (a, strip) lies at strip * 2 KiB + a * 1 KiB, so that row r of both
// halves is at r * 64.
static void
spill_sums(const amx *x)
{
    for (uint32_t a = 0; a < inputs(x); a++) {
        for (uint32_t s = 0; s < x->k->strips; s++) {
            val v_at = pq_emit_at_const(x->e, x->v_tiles,
                                        TILE_BYTES * (2 * (int64_t)s + a));
            store_tile(x, 2 * a + s, v_at, x->v_stride);
        }
    }
}

// The group's integer sum of one row and strip, less zero * sum of x.
static val
group_sum(const amx *x, val v_tile_row, uint32_t strip, val v_total,
          val v_panel)
{
    pq_emitter *e = x->e;
    LLVMBuilderRef b = e->builder;
    val v_at = pq_emit_at_const(e, v_tile_row, 2 * TILE_BYTES * (int64_t)strip);
    val v_sum = pq_emit_load(e, e->t_vi32, v_at, LINE_BYTES);
    if (x->k->digits == 2) {
        val v_low = pq_emit_load(
            e, e->t_vi32, pq_emit_at_const(e, v_at, TILE_BYTES), LINE_BYTES);
        v_sum = LLVMBuildShl(b, v_sum, pq_emit_splat_i32(e, 7), "");
        v_sum = LLVMBuildAdd(b, v_sum, v_low, "");
    }
    val v_less;
    if (x->k->asymmetric) {
        val v_zero = pq_emit_load(
            e, e->t_vi32, pq_emit_at_const(e, v_panel, LINE_BYTES), LINE_BYTES);
        v_less = LLVMBuildMul(b, v_zero, pq_emit_splat(e, v_total), "");
    } else {
        val v_zero = pq_emit_i32(e, (int32_t)x->k->zero);
        v_less = pq_emit_splat(e, LLVMBuildMul(b, v_total, v_zero, ""));
    }
    return LLVMBuildSub(b, v_sum, v_less, "");
}

// out = fma(sum, scale, out) for all rows; v_panel[strip] are at the scales.
static void
add_group(const amx *x, val v_group, const val *v_panel)
{
    pq_emitter *e = x->e;
    LLVMBuilderRef b = e->builder;
    val v_state[3] = {x->v_tiles, x->v_out,
                      pq_emit_at(e, x->v_x[0], x->v_sums_offset)};
    v_state[2] = pq_emit_at(e, v_state[2],
                            LLVMBuildMul(b, v_group, pq_emit_i64(e, 4), ""));
    pq_loop loop;
    pq_emit_loop_begin(e, &loop, pq_emit_i64(e, 0), x->v_rows, 1, v_state, 3);
    val v_total = pq_emit_load(e, e->t_i32, loop.v_carried[2], 4);
    for (uint32_t s = 0; s < x->k->strips; s++) {
        val v_sum = group_sum(x, loop.v_carried[0], s, v_total, v_panel[s]);
        val v_at = pq_emit_at_const(e, loop.v_carried[1], LINE_BYTES * s);
        val v_acc =
            pq_emit_fma(e, LLVMBuildSIToFP(b, v_sum, e->t_vf32, ""),
                        pq_emit_load(e, e->t_vf32, v_panel[s], LINE_BYTES),
                        pq_emit_load(e, e->t_vf32, v_at, LINE_BYTES));
        pq_emit_store(e, v_acc, v_at, LINE_BYTES);
    }
    v_state[0] = pq_emit_at_const(e, loop.v_carried[0], LINE_BYTES);
    v_state[1] = pq_emit_at_const(e, loop.v_carried[1],
                                  LINE_BYTES * (int64_t)x->k->strips);
    v_state[2] = pq_emit_at(e, loop.v_carried[2], x->v_x_stride);
    pq_emit_loop_end(e, &loop, v_state);
}

static void
emit_group(const amx *x, val v_group, val v_chunks, val v_x, const val *v_panel)
{
    val v_w[2] = {NULL, NULL};
    for (uint32_t s = 0; s < x->k->strips; s++) {
        v_w[s] = pq_emit_at_const(x->e, v_panel[s], 2 * LINE_BYTES);
    }
    zero_sums(x);
    add_chunks(x, v_chunks, v_x, v_w);
    spill_sums(x);
    add_group(x, v_group, v_panel);
}

static void
emit_groups(amx *x)
{
    pq_emitter *e = x->e;
    LLVMBuilderRef b = e->builder;
    val v_chunks = field(x, e->t_i64, offsetof(pq_amx_args, chunks));
    val v_groups = field(x, e->t_i64, offsetof(pq_amx_args, groups));
    val v_last = field(x, e->t_i64, offsetof(pq_amx_args, last_chunks));
    val v_chunk = pq_emit_i64(e, x->k->chunk);
    val v_group_x = LLVMBuildMul(b, v_chunks, v_chunk, "");
    val v_group_bytes =
        LLVMBuildAdd(b, LLVMBuildMul(b, v_group_x, pq_emit_i64(e, 16), ""),
                     pq_emit_i64(e, 2 * LINE_BYTES), "");
    val v_panel[2] = {field(x, e->t_ptr, offsetof(pq_amx_args, weights))};
    v_panel[1] =
        pq_emit_at(e, v_panel[0],
                   field(x, e->t_i64, offsetof(pq_amx_args, weight_stride)));
    pq_loop loop;
    pq_emit_loop_begin(e, &loop, pq_emit_i64(e, 0), v_groups, 1, v_panel, 2);
    val v_now[2] = {loop.v_carried[0], loop.v_carried[1]};
    emit_group(x, loop.v_index, v_chunks,
               LLVMBuildMul(b, loop.v_index, v_group_x, ""), v_now);
    v_panel[0] = pq_emit_at(e, v_now[0], v_group_bytes);
    v_panel[1] = pq_emit_at(e, v_now[1], v_group_bytes);
    pq_emit_loop_end(e, &loop, v_panel);
    pq_branch branch;
    pq_emit_if_begin(
        e, &branch,
        LLVMBuildICmp(b, LLVMIntSGT, v_last, pq_emit_i64(e, 0), ""));
    emit_group(x, v_groups, v_last, LLVMBuildMul(b, v_groups, v_group_x, ""),
               loop.v_carried);
    pq_emit_if_end(e, &branch, NULL, NULL, 0, NULL);
}

// ---- the kernel -------------------------------------------------------------

static ptqc_be_status
emit_amx(pq_emitter *e, const void *desc)
{
    amx x = {.e = e, .k = desc};
    pq_emit_function(e, &e->t_ptr, 1);
    x.v_args = pq_emit_param(e, 0);
    val v_config = field(&x, e->t_ptr, offsetof(pq_amx_args, config));
    call_plain(&x, "llvm.x86.ldtilecfg", &v_config, 1);
    x.v_x_stride = field(&x, e->t_i64, offsetof(pq_amx_args, x_stride));
    x.v_stride = pq_emit_i64(e, LINE_BYTES);
    x.v_x[0] = field(&x, e->t_ptr, offsetof(pq_amx_args, x));
    val v_apart =
        x.k->digits == 2
            ? field(&x, e->t_i64, offsetof(pq_amx_args, plane))
            : LLVMBuildMul(e->builder, x.v_x_stride, pq_emit_i64(e, 16), "");
    x.v_x[1] = pq_emit_at(e, x.v_x[0], v_apart);
    x.v_out = field(&x, e->t_ptr, offsetof(pq_amx_args, out));
    if (x.k->is_fixed) {
        x.v_rows = field(&x, e->t_i64, offsetof(pq_amx_args, rows));
        x.v_sums_offset =
            field(&x, e->t_i64, offsetof(pq_amx_args, sums_offset));
        x.v_tiles = field(&x, e->t_ptr, offsetof(pq_amx_args, tiles));
        emit_groups(&x);
    } else {
        emit_bytes(&x);
    }
    call_plain(&x, "llvm.x86.tilerelease", NULL, 0);
    pq_emit_return(e);
    return PTQC_BE_OK;
}

const pq_kernel_class pq_amx_class = {
    .name = "amx sums",
    .version = 1,
    .desc_bytes = sizeof(pq_amx_key),
    .emit = emit_amx,
};
