// SPDX-License-Identifier: Apache-2.0
//
// Emission of the tile kernel (tile.h). Accumulators stay in registers over
// all taps; weights are read forward, one load per strip and step, and each
// broadcast of the input serves all strips.
#include "tile.h"

#include <assert.h>
#include <stddef.h>
#include <string.h>

#include "base/narrow.h"
#include "emit_real.h"
#include "gemm.h"
#include "tile_emit.h"

// ---- carried state --------------------------------------------------------

static uint32_t
acc_count(const pq_tile *t)
{
    return t->d->rows * t->d->strips;
}

// acc and the weight pointer as loop-carried values -> their count.
static uint32_t
save_state(const pq_tile *t, LLVMValueRef *v_out)
{
    uint32_t n = acc_count(t);
    memcpy(v_out, t->v_acc, n * sizeof *v_out);
    v_out[n] = t->v_w;
    return n + 1;
}

static void
restore_state(pq_tile *t, const LLVMValueRef *v_in)
{
    uint32_t n = acc_count(t);
    memcpy(t->v_acc, v_in, n * sizeof *v_in);
    t->v_w = v_in[n];
}

// for (index = 0; index < v_end; index += step)
static void
begin_loop(pq_tile *t, pq_loop *loop, LLVMValueRef v_begin, LLVMValueRef v_end,
           int64_t step)
{
    LLVMValueRef v_state[PQ_TILE_ACC_MAX + 1];
    uint32_t n = save_state(t, v_state);
    pq_emit_loop_begin(t->e, loop, v_begin, v_end, step, v_state, n);
    restore_state(t, loop->v_carried);
}

static void
end_loop(pq_tile *t, pq_loop *loop)
{
    LLVMValueRef v_state[PQ_TILE_ACC_MAX + 1];
    save_state(t, v_state);
    pq_emit_loop_end(t->e, loop, v_state);
    restore_state(t, loop->v_carried);
}

// ---- steps ----------------------------------------------------------------

static LLVMValueRef
weight_at(pq_tile *t, uint32_t strip, int64_t bytes)
{
    LLVMValueRef v_ptr = pq_emit_at(t->e, t->v_w, t->v_strip[strip]);
    return pq_emit_at_const(t->e, v_ptr, bytes);
}

static void
advance_weights(pq_tile *t, int64_t bytes)
{
    t->v_w = pq_emit_at_const(t->e, t->v_w, bytes);
}

// acc[row][strip] = fma(x, w[strip], acc[row][strip])
static void
multiply_f32(pq_tile *t, LLVMValueRef v_x_bytes, int64_t offset,
             const LLVMValueRef *v_w)
{
    pq_emitter *e = t->e;
    for (uint32_t r = 0; r < t->d->rows; r++) {
        LLVMValueRef v_ptr =
            pq_emit_at_const(e, pq_emit_at(e, t->v_row[r], v_x_bytes), offset);
        LLVMValueRef v_x =
            pq_emit_splat(e, pq_emit_load(e, e->t_f32, v_ptr, 4));
        for (uint32_t s = 0; s < t->d->strips; s++) {
            LLVMValueRef *acc = &t->v_acc[r * t->d->strips + s];
            *acc = pq_emit_fma(e, v_x, v_w[s], *acc);
        }
    }
}

static int
is_short(const pq_tile *t)
{
    return t->d->weight == PQ_WEIGHT_F16 || t->d->weight == PQ_WEIGHT_BF16;
}

// 16 weights of one k, `bytes` after the moving pointer, as f32.
static LLVMValueRef
load_weights(pq_tile *t, uint32_t strip, int64_t bytes)
{
    LLVMValueRef v_at = weight_at(t, strip, bytes);
    if (!is_short(t)) {
        return pq_emit_load(t->e, t->e->t_vf32, v_at, PQ_LINE_BYTES);
    }
    return pq_emit_load_real(
        t->e, t->d->weight == PQ_WEIGHT_F16 ? PTQC_F16 : PTQC_BF16, v_at, NULL);
}

// `count` elements of every row from byte v_x_bytes on.
static void
step_f32(pq_tile *t, LLVMValueRef v_x_bytes, uint32_t count)
{
    int64_t bytes = is_short(t) ? PQ_LINE_BYTES / 2 : PQ_LINE_BYTES;
    for (uint32_t k = 0; k < count; k++) {
        LLVMValueRef v_w[PQ_TILE_STRIPS_MAX];
        for (uint32_t s = 0; s < t->d->strips; s++) {
            v_w[s] = load_weights(t, s, bytes * (int64_t)k);
        }
        multiply_f32(t, v_x_bytes, 4 * (int64_t)k, v_w);
    }
    advance_weights(t, bytes * (int64_t)count);
}

// `bytes` bytes (1..4) as a dword, the others zero.
static LLVMValueRef
load_bytes(pq_emitter *e, LLVMValueRef v_ptr, uint32_t bytes)
{
    if (bytes == 4) {
        return pq_emit_load(e, e->t_i32, v_ptr, 1);
    }
    LLVMValueRef v_word = NULL;
    for (uint32_t i = 0; i < bytes; i++) {
        LLVMValueRef v_byte = LLVMBuildZExt(
            e->builder,
            pq_emit_load(e, e->t_i8, pq_emit_at_const(e, v_ptr, i), 1),
            e->t_i32, "");
        LLVMValueRef v_place = LLVMBuildShl(
            e->builder, v_byte, pq_emit_i32(e, (int32_t)(8 * i)), "");
        v_word = v_word == NULL ? v_place
                                : LLVMBuildOr(e->builder, v_word, v_place, "");
    }
    return v_word;
}

// One line: 4 channels (`bytes` of them real) of every row.
static void
step_s8(pq_tile *t, LLVMValueRef v_x_bytes, uint32_t bytes)
{
    pq_emitter *e = t->e;
    LLVMValueRef v_w[PQ_TILE_STRIPS_MAX];
    for (uint32_t s = 0; s < t->d->strips; s++) {
        v_w[s] =
            pq_emit_load(e, e->t_vi8x64, weight_at(t, s, 0), PQ_LINE_BYTES);
    }
    for (uint32_t r = 0; r < t->d->rows; r++) {
        LLVMValueRef v_word =
            load_bytes(e, pq_emit_at(e, t->v_row[r], v_x_bytes), bytes);
        LLVMValueRef v_x = LLVMBuildBitCast(
            e->builder, pq_emit_splat(e, v_word), e->t_vi8x64, "");
        for (uint32_t s = 0; s < t->d->strips; s++) {
            LLVMValueRef *acc = &t->v_acc[r * t->d->strips + s];
            *acc = pq_emit_dot4(e, *acc, v_x, v_w[s]);
        }
    }
    advance_weights(t, PQ_LINE_BYTES);
}

// ---- taps of F32 and S8 ---------------------------------------------------

static int
is_s8(const pq_tile *t)
{
    return t->d->weight == PQ_WEIGHT_S8;
}

// What is left of a tap after its whole steps. S8 reads the last 4 bytes of
// the run again: their weights are zero where a step had them.
static void
emit_rest(pq_tile *t, LLVMValueRef v_bytes)
{
    if (!is_s8(t)) {
        step_f32(t, v_bytes, t->d->rest);
    } else if (t->d->is_short) {
        step_s8(t, v_bytes, t->d->rest);
    } else {
        LLVMValueRef v_back = pq_emit_i64(t->e, (int64_t)t->d->rest - 4);
        step_s8(t, LLVMBuildAdd(t->e->builder, v_bytes, v_back, ""), 4);
    }
}

static void
emit_step(pq_tile *t, LLVMValueRef v_x_bytes)
{
    if (is_s8(t)) {
        step_s8(t, v_x_bytes, 4);
    } else {
        step_f32(t, v_x_bytes, 4);
    }
}

// One tap: whole steps, then the rest. A step is 4 elements.
static void
emit_tap(pq_tile *t, LLVMValueRef v_steps)
{
    pq_emitter *e = t->e;
    int64_t step_bytes = is_s8(t) ? 4 : 16;
    LLVMValueRef v_bytes =
        LLVMBuildMul(e->builder, v_steps, pq_emit_i64(e, step_bytes), "");
    if (t->d->steps > 0) {
        for (uint32_t i = 0; i < t->d->steps; i++) {
            emit_step(t, pq_emit_i64(e, i * step_bytes));
        }
        v_bytes = pq_emit_i64(e, t->d->steps * step_bytes);
    } else {
        pq_loop loop;
        begin_loop(t, &loop, pq_emit_i64(e, 0), v_bytes, step_bytes);
        emit_step(t, loop.v_index);
        end_loop(t, &loop);
    }
    if (t->d->rest > 0) {
        emit_rest(t, v_bytes);
    }
}

static void
load_rows(pq_tile *t, LLVMValueRef v_rows, LLVMValueRef v_first)
{
    for (uint32_t r = 0; r < t->d->rows; r++) {
        LLVMValueRef v_ptr = pq_emit_at_const(
            t->e, pq_emit_at(t->e, v_rows, v_first), 8 * (int64_t)r);
        t->v_row[r] = pq_emit_load(t->e, t->e->t_ptr, v_ptr, 8);
    }
}

static void
emit_taps(pq_tile *t)
{
    pq_emitter *e = t->e;
    int64_t tap_bytes = 8 * (int64_t)t->d->rows;
    LLVMValueRef v_rows =
        pq_emit_field(e, t->v_args, e->t_ptr, offsetof(pq_tile_args, rows));
    LLVMValueRef v_taps =
        pq_emit_field(e, t->v_args, e->t_i64, offsetof(pq_tile_args, taps));
    LLVMValueRef v_steps =
        pq_emit_field(e, t->v_args, e->t_i64, offsetof(pq_tile_args, steps));
    LLVMValueRef v_end =
        LLVMBuildMul(e->builder, v_taps, pq_emit_i64(e, tap_bytes), "");
    pq_loop loop;
    begin_loop(t, &loop, pq_emit_i64(e, 0), v_end, tap_bytes);
    load_rows(t, v_rows, loop.v_index);
    emit_tap(t, v_steps);
    end_loop(t, &loop);
}

// ---- groups of codes ------------------------------------------------------

static int
is_4_bit(const pq_tile *t)
{
    return pq_weight_is_4_bit(t->d->weight);
}

static uint32_t
line_elements(const pq_tile *t)
{
    return is_4_bit(t) ? 8 : 4;
}

// Byte k of the line as f32 times the scale, through f16, whose subnormal
// numbers cost nothing: e5m2 is the upper half of an f16; e4m3 moved to the
// same places is 2^-8 of itself, and its packed scale 2^8 of itself.
static LLVMValueRef
dequantize_float8(pq_tile *t, LLVMValueRef v_line, uint32_t strip, uint32_t k)
{
    pq_emitter *e = t->e;
    LLVMBuilderRef b = e->builder;
    int is_e4m3 = t->d->weight == PQ_WEIGHT_E4M3;
    LLVMTypeRef shorts = pq_emit_vector_type(e->t_i16, 16);
    LLVMTypeRef halves = pq_emit_vector_type(e->t_f16, 16);
    LLVMValueRef v_code = LLVMBuildShl(
        b, v_line, pq_emit_splat_i32(e, (int32_t)(24 - 8 * k)), "");
    // e4m3: s eeee mmm -> s 0 eeee mmm 0000000
    v_code =
        LLVMBuildAShr(b, v_code, pq_emit_splat_i32(e, is_e4m3 ? 17 : 16), "");
    v_code = LLVMBuildAnd(b, v_code,
                          pq_emit_splat_i32(e, is_e4m3 ? 0xbf80 : 0xff00), "");
    v_code = LLVMBuildTrunc(b, v_code, shorts, "");
    LLVMValueRef v_half = LLVMBuildBitCast(b, v_code, halves, "");
    return LLVMBuildFMul(b, LLVMBuildFPExt(b, v_half, e->t_vf32, ""),
                         t->v_scale[strip], "");
}

// Nibble k of an R16 line.
static LLVMValueRef
nibble(pq_emitter *e, LLVMValueRef v_line, uint32_t k)
{
    uint32_t shift = 8 * (k & 3) + (k & 4);
    LLVMValueRef v_code = LLVMBuildLShr(
        e->builder, v_line, pq_emit_splat_i32(e, (int32_t)shift), "");
    return LLVMBuildAnd(e->builder, v_code, pq_emit_splat_i32(e, 15), "");
}

// s eem -> s 000ee m000000000, which is 2^-14 of the number as f16; its packed
// scale is 2^14 of itself.
static LLVMValueRef
e2m1_number(pq_emitter *e, LLVMValueRef v_code)
{
    LLVMBuilderRef b = e->builder;
    LLVMValueRef v_sign =
        LLVMBuildShl(b, LLVMBuildAnd(b, v_code, pq_emit_splat_i32(e, 8), ""),
                     pq_emit_splat_i32(e, 12), "");
    LLVMValueRef v_size =
        LLVMBuildShl(b, LLVMBuildAnd(b, v_code, pq_emit_splat_i32(e, 7), ""),
                     pq_emit_splat_i32(e, 9), "");
    LLVMValueRef v_half =
        LLVMBuildBitCast(b,
                         LLVMBuildTrunc(b, LLVMBuildOr(b, v_sign, v_size, ""),
                                        pq_emit_vector_type(e->t_i16, 16), ""),
                         pq_emit_vector_type(e->t_f16, 16), "");
    return LLVMBuildFPExt(b, v_half, e->t_vf32, "");
}

static LLVMValueRef
nf4_number(pq_emitter *e, LLVMValueRef v_code)
{
    float numbers[16];
    for (uint8_t i = 0; i < 16; i++) {
        numbers[i] = pq_nf4_to_f32(i);
    }
    return pq_emit_lookup16(e, numbers, v_code);
}

static LLVMValueRef
dequantize_float4(pq_tile *t, LLVMValueRef v_line, uint32_t strip, uint32_t k)
{
    pq_emitter *e = t->e;
    LLVMValueRef v_code = nibble(e, v_line, k);
    LLVMValueRef v_number = t->d->weight == PQ_WEIGHT_E2M1
                                ? e2m1_number(e, v_code)
                                : nf4_number(e, v_code);
    return LLVMBuildFMul(e->builder, v_number, t->v_scale[strip], "");
}

// Element `k` of the line `v_line` of a strip, minus the zero point, as f32
// times the scale: f32(code - zero) is exact, the product rounds once.
static LLVMValueRef
dequantize(pq_tile *t, LLVMValueRef v_line, uint32_t strip, uint32_t k)
{
    pq_emitter *e = t->e;
    LLVMBuilderRef b = e->builder;
    LLVMValueRef v_code;
    if (pq_weight_is_number(t->d->weight)) {
        return is_4_bit(t) ? dequantize_float4(t, v_line, strip, k)
                           : dequantize_float8(t, v_line, strip, k);
    }
    if (!is_4_bit(t)) {
        // sign-extended byte k
        v_code = LLVMBuildShl(b, v_line,
                              pq_emit_splat_i32(e, (int32_t)(24 - 8 * k)), "");
        v_code = LLVMBuildAShr(b, v_code, pq_emit_splat_i32(e, 24), "");
        if (t->d->asymmetric) {
            v_code = LLVMBuildSub(b, v_code, t->v_zero[strip], "");
        }
    } else {
        v_code = LLVMBuildSub(
            b, nibble(e, v_line, k),
            t->d->asymmetric ? t->v_zero[strip] : pq_emit_splat_i32(e, 8), "");
    }
    return LLVMBuildFMul(b, LLVMBuildSIToFP(b, v_code, e->t_vf32, ""),
                         t->v_scale[strip], "");
}

// One line: `count` elements (all 8 or 4, or the rest) of every row.
static void
step_codes(pq_tile *t, LLVMValueRef v_x_bytes, uint32_t count)
{
    pq_emitter *e = t->e;
    LLVMValueRef v_line[PQ_TILE_STRIPS_MAX], v_w[PQ_TILE_STRIPS_MAX];
    for (uint32_t s = 0; s < t->d->strips; s++) {
        v_line[s] =
            pq_emit_load(e, e->t_vi32, weight_at(t, s, 0), PQ_LINE_BYTES);
    }
    for (uint32_t k = 0; k < count; k++) {
        for (uint32_t s = 0; s < t->d->strips; s++) {
            v_w[s] = dequantize(t, v_line[s], s, k);
        }
        multiply_f32(t, v_x_bytes, 4 * (int64_t)k, v_w);
    }
    advance_weights(t, PQ_LINE_BYTES);
}

// Scales of the group whose codes take v_line_bytes.
static void
load_group(pq_tile *t, LLVMValueRef v_line_bytes)
{
    pq_emitter *e = t->e;
    for (uint32_t s = 0; s < t->d->strips; s++) {
        LLVMValueRef v_ptr = pq_emit_at(e, weight_at(t, s, 0), v_line_bytes);
        t->v_scale[s] = pq_emit_load(e, e->t_vf32, v_ptr, PQ_LINE_BYTES);
    }
}

// A group of v_lines lines and `rest` elements; x from byte v_x_bytes on.
// -> bytes of x consumed by the whole lines are added by the caller.
static void
emit_group(pq_tile *t, LLVMValueRef v_lines, uint32_t rest,
           LLVMValueRef v_x_bytes)
{
    pq_emitter *e = t->e;
    LLVMBuilderRef b = e->builder;
    int64_t x_step = 4 * (int64_t)line_elements(t);
    LLVMValueRef v_line_bytes =
        LLVMBuildMul(b, v_lines, pq_emit_i64(e, PQ_LINE_BYTES), "");
    if (rest > 0) {
        v_line_bytes =
            LLVMBuildAdd(b, v_line_bytes, pq_emit_i64(e, PQ_LINE_BYTES), "");
    }
    load_group(t, v_line_bytes);
    LLVMValueRef v_x_end = LLVMBuildAdd(
        b, v_x_bytes, LLVMBuildMul(b, v_lines, pq_emit_i64(e, x_step), ""), "");
    pq_loop loop;
    begin_loop(t, &loop, v_x_bytes, v_x_end, x_step);
    step_codes(t, loop.v_index, line_elements(t));
    end_loop(t, &loop);
    if (rest > 0) {
        step_codes(t, v_x_end, rest);
    }
    advance_weights(t, PQ_LINE_BYTES); // the scale line
}

// The group after the full ones, when it has anything.
static void
emit_last_group(pq_tile *t, LLVMValueRef v_lines, LLVMValueRef v_x_bytes)
{
    pq_emitter *e = t->e;
    if (t->d->rest > 0) {
        emit_group(t, v_lines, t->d->rest, v_x_bytes);
        return;
    }
    LLVMValueRef v_before[PQ_TILE_ACC_MAX + 1], v_now[PQ_TILE_ACC_MAX + 1];
    uint32_t n = save_state(t, v_before);
    pq_branch branch;
    pq_emit_if_begin(
        e, &branch,
        LLVMBuildICmp(e->builder, LLVMIntSGT, v_lines, pq_emit_i64(e, 0), ""));
    emit_group(t, v_lines, 0, v_x_bytes);
    save_state(t, v_now);
    pq_emit_if_end(e, &branch, v_before, v_now, n, v_now);
    restore_state(t, v_now);
}

static void
emit_groups(pq_tile *t)
{
    pq_emitter *e = t->e;
    LLVMBuilderRef b = e->builder;
#define FIELD(field)                                                           \
    pq_emit_field(e, t->v_args, e->t_i64, offsetof(pq_tile_args, field))
    LLVMValueRef v_groups = FIELD(groups);
    LLVMValueRef v_lines = FIELD(group_lines);
    LLVMValueRef v_last_lines = FIELD(steps);
#undef FIELD
    load_rows(
        t, pq_emit_field(e, t->v_args, e->t_ptr, offsetof(pq_tile_args, rows)),
        pq_emit_i64(e, 0));
    LLVMValueRef v_x_group = LLVMBuildMul(
        b, v_lines, pq_emit_i64(e, 4 * (int64_t)line_elements(t)), "");
    pq_loop loop;
    begin_loop(t, &loop, pq_emit_i64(e, 0), v_groups, 1);
    emit_group(t, v_lines, 0, LLVMBuildMul(b, loop.v_index, v_x_group, ""));
    end_loop(t, &loop);
    emit_last_group(t, v_last_lines, LLVMBuildMul(b, v_groups, v_x_group, ""));
}

// Scales and zero points of the columns.
static void
load_columns(pq_tile *t)
{
    pq_emitter *e = t->e;
#define FIELD(field)                                                           \
    pq_emit_field(e, t->v_args, e->t_ptr,                                      \
                  offsetof(pq_tile_args, epilogue) +                           \
                      offsetof(pq_epilogue_args, field))
    LLVMValueRef v_scales = FIELD(mult);
    LLVMValueRef v_zeros = t->d->asymmetric ? FIELD(weight_zero) : NULL;
#undef FIELD
    for (uint32_t s = 0; s < t->d->strips; s++) {
        int64_t at = PQ_LINE_BYTES * (int64_t)s;
        t->v_scale[s] =
            pq_emit_load(e, e->t_vf32, pq_emit_at_const(e, v_scales, at), 4);
        if (v_zeros == NULL) {
            continue;
        }
        t->v_zero[s] =
            pq_emit_load(e, e->t_vi32, pq_emit_at_const(e, v_zeros, at), 4);
        if (is_4_bit(t)) {
            t->v_zero[s] = LLVMBuildAdd(e->builder, t->v_zero[s],
                                        pq_emit_splat_i32(e, 8), "");
        }
    }
}

// The taps of a convolution with codes.
static void
emit_code_taps(pq_tile *t)
{
    pq_emitter *e = t->e;
    LLVMBuilderRef b = e->builder;
    int64_t tap_bytes = 8 * (int64_t)t->d->rows;
    int64_t x_step = 4 * (int64_t)line_elements(t);
    LLVMValueRef v_rows =
        pq_emit_field(e, t->v_args, e->t_ptr, offsetof(pq_tile_args, rows));
    LLVMValueRef v_taps =
        pq_emit_field(e, t->v_args, e->t_i64, offsetof(pq_tile_args, taps));
    LLVMValueRef v_steps =
        pq_emit_field(e, t->v_args, e->t_i64, offsetof(pq_tile_args, steps));
    LLVMValueRef v_end = LLVMBuildMul(b, v_taps, pq_emit_i64(e, tap_bytes), "");
    LLVMValueRef v_x_end = LLVMBuildMul(b, v_steps, pq_emit_i64(e, x_step), "");
    load_columns(t);
    pq_loop taps, lines;
    begin_loop(t, &taps, pq_emit_i64(e, 0), v_end, tap_bytes);
    load_rows(t, v_rows, taps.v_index);
    begin_loop(t, &lines, pq_emit_i64(e, 0), v_x_end, x_step);
    step_codes(t, lines.v_index, line_elements(t));
    end_loop(t, &lines);
    if (t->d->rest > 0) {
        step_codes(t, v_x_end, t->d->rest);
    }
    end_loop(t, &taps);
}

// ---- begin and end --------------------------------------------------------

// The first value of the sums of a strip: S8 starts at init.
static LLVMValueRef
first_sum(pq_tile *t, uint32_t strip)
{
    pq_emitter *e = t->e;
    if (!is_s8(t)) {
        return LLVMConstNull(e->t_vf32);
    }
    LLVMValueRef v_init =
        pq_emit_field(e, t->v_args, e->t_ptr, offsetof(pq_tile_args, init));
    return pq_emit_load(e, e->t_vi32,
                        pq_emit_at_const(e, v_init, PQ_LINE_BYTES * strip), 4);
}

// What was summed before.
static LLVMValueRef
earlier_sum(pq_tile *t, uint32_t row, uint32_t strip, LLVMValueRef v_first)
{
    pq_emitter *e = t->e;
    LLVMValueRef v_start =
        pq_emit_field(e, t->v_args, e->t_ptr, offsetof(pq_tile_args, start));
    int64_t at = PQ_LINE_BYTES * ((int64_t)row * t->d->strips + strip);
    LLVMValueRef v_sum =
        pq_emit_load(e, is_s8(t) ? e->t_vi32 : e->t_vf32,
                     pq_emit_at_const(e, v_start, at), PQ_LINE_BYTES);
    return is_s8(t) ? LLVMBuildAdd(e->builder, v_sum, v_first, "") : v_sum;
}

static void
init_acc(pq_tile *t)
{
    for (uint32_t s = 0; s < t->d->strips; s++) {
        LLVMValueRef v_first = first_sum(t, s);
        for (uint32_t r = 0; r < t->d->rows; r++) {
            t->v_acc[r * t->d->strips + s] =
                t->d->resumes ? earlier_sum(t, r, s, v_first) : v_first;
        }
    }
}

static ptqc_be_status
emit_tile(pq_emitter *e, const void *desc)
{
    pq_tile t = {.e = e, .d = desc};
    assert(t.d->rows >= 1 && t.d->rows <= PQ_TILE_ROWS_MAX);
    assert(t.d->strips >= 1 && t.d->strips <= PQ_TILE_STRIPS_MAX);
    pq_emit_function(e, &e->t_ptr, 1);
    t.v_args = pq_emit_param(e, 0);
    if (pq_epilogue_is_long(&t.d->epilogue)) {
        t.v_stack = pq_emit_stack(e, PQ_LINE_BYTES * acc_count(&t));
    }
    t.v_w =
        pq_emit_field(e, t.v_args, e->t_ptr, offsetof(pq_tile_args, weights));
    LLVMValueRef v_stride = pq_emit_field(
        e, t.v_args, e->t_i64, offsetof(pq_tile_args, weight_stride));
    for (uint32_t s = 0; s < t.d->strips; s++) {
        t.v_strip[s] =
            LLVMBuildMul(e->builder, v_stride, pq_emit_i64(e, s), "");
    }
    init_acc(&t);
    if (pq_weight_is_fixed(t.d->weight)) {
        pq_tile_emit_fixed(&t);
    } else if (t.d->is_tapped) {
        emit_code_taps(&t);
    } else if (pq_weight_is_number(t.d->weight)) {
        emit_groups(&t);
    } else {
        emit_taps(&t);
    }
    pq_tile_finish(&t);
    pq_emit_return(e);
    return PTQC_BE_OK;
}

const pq_kernel_class pq_tile_class = {
    .name = "tile",
    .version = 11,
    .desc_bytes = sizeof(pq_tile_desc),
    .emit = emit_tile,
};

// Registers decide: accumulators + weights + broadcasts. AVX2 and NEON hold
// a strip in 2 and 4 registers; without VNNI the widened halves of weights
// and input take registers, too.
pq_tile_size
pq_tile_best(pq_isa isa, uint32_t weight, uint32_t digits, int64_t columns)
{
    int is_codes = pq_weight_is_codes(weight);
    if (pq_weight_is_fixed(weight)) {
        // per output an integer sum of each digit and one of floats; one
        // stream
        int few = isa == PQ_ISA_AVX2 || isa == PQ_ISA_AARCH64;
        return (pq_tile_size){few ? 2 : digits == 2 ? 8 : 12, 1};
    }
    if (isa == PQ_ISA_AVX2) {
        return (pq_tile_size){weight == PQ_WEIGHT_S8 || is_codes ? 4 : 6, 1};
    }
    if (isa == PQ_ISA_AARCH64) {
        return (pq_tile_size){is_codes ? 4 : 6, 1};
    }
    // rows of a tile of 1..4 strips of zmm accumulators
    static const uint32_t rows[2][PQ_TILE_STRIPS_MAX] = {{12, 12, 8, 6},
                                                         {12, 12, 8, 8}};
    int64_t strips = (columns + 15) / 16;
    int64_t most = is_codes ? 2 : PQ_TILE_STRIPS_MAX;
    int64_t blocks = (strips + most - 1) / most;
    uint32_t width = (uint32_t)((strips + blocks - 1) / blocks);
    return (pq_tile_size){rows[is_codes][width - 1], width};
}
