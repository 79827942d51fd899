// SPDX-License-Identifier: Apache-2.0
//
// The sums of the tile kernel for rows of fixed point numbers (fixed.h) and
// codes with scales per group: within a group an integer sum per output and
// digit, then one fma with the group's scale.
#include <assert.h>
#include <stddef.h>
#include <string.h>

#include "emit_real.h"
#include "gemm.h"
#include "tile_emit.h"

typedef LLVMValueRef val;

// Lines in the body of a loop, at most: long bodies read memory slower.
#define LINES_AT_ONCE 4u
// Sums per digit: two when there are too few outputs to hide the latency of
// the products.
#define CHAINS_MAX 2u
#define SUMS_MAX   60u

typedef struct sums {
    pq_tile *t;
    uint32_t chains;
    val v_low_row[PQ_TILE_ROWS_MAX]; // low digits
    val v_sum_row[PQ_TILE_ROWS_MAX]; // sums of the groups
    val v_zeros;                     // of the first group
    val v_scales;                    // the scale line of the current groups
    // [digit][row][strip][chain], while in a group
    val v_sum[SUMS_MAX + 1];
} sums;

static int
is_4_bit(const pq_tile *t)
{
    return t->d->weight == PQ_WEIGHT_FIXED4;
}

static uint32_t
per_digit(const sums *s)
{
    return s->t->d->rows * s->t->d->strips * s->chains;
}

static uint32_t
all_sums(const sums *s)
{
    return s->t->d->digits * per_digit(s);
}

static val
weights_at(pq_tile *t, uint32_t strip, int64_t bytes)
{
    val v_ptr = pq_emit_at(t->e, t->v_w, t->v_strip[strip]);
    return pq_emit_at_const(t->e, v_ptr, bytes);
}

// ---- one line --------------------------------------------------------------

// The codes of a line as bytes: half 0 is elements 0..3, half 1 is 4..7.
static void
load_codes(pq_tile *t, uint32_t strip, int64_t bytes, val v_out[2])
{
    pq_emitter *e = t->e;
    LLVMBuilderRef b = e->builder;
    val v_at = weights_at(t, strip, bytes);
    if (!is_4_bit(t)) {
        v_out[0] = pq_emit_load(e, e->t_vi8x64, v_at, PQ_LINE_BYTES);
        return;
    }
    val v_line = pq_emit_load(e, e->t_vi32, v_at, PQ_LINE_BYTES);
    val v_mask = pq_emit_splat_i32(e, 0x0f0f0f0f);
    val v_first = LLVMBuildAnd(b, v_line, v_mask, "");
    val v_second = LLVMBuildAnd(
        b, LLVMBuildLShr(b, v_line, pq_emit_splat_i32(e, 4), ""), v_mask, "");
    v_out[0] = LLVMBuildBitCast(b, v_first, e->t_vi8x64, "");
    v_out[1] = LLVMBuildBitCast(b, v_second, e->t_vi8x64, "");
}

// 4 digits of a row in all lanes.
static val
load_digits(pq_emitter *e, val v_row, val v_x, int64_t offset)
{
    val v_at = pq_emit_at_const(e, pq_emit_at(e, v_row, v_x), offset);
    val v_word = pq_emit_splat(e, pq_emit_load(e, e->t_i32, v_at, 4));
    return LLVMBuildBitCast(e->builder, v_word, e->t_vi8x64, "");
}

// Asks for the line that is `ahead` bytes after the one at `bytes`.
static void
ask_ahead(pq_tile *t, int64_t bytes)
{
    for (uint32_t i = 0; i < t->d->strips && t->d->ahead > 0; i++) {
        pq_emit_prefetch(t->e, weights_at(t, i, bytes + t->d->ahead), 3);
    }
}

// The line `line` lines after the moving pointer; its x are at v_x + offset.
static void
add_line(sums *s, val v_x, uint32_t line)
{
    pq_tile *t = s->t;
    pq_emitter *e = t->e;
    uint32_t halves = is_4_bit(t) ? 2 : 1, strips = t->d->strips;
    val v_codes[PQ_TILE_STRIPS_MAX][2];
    ask_ahead(t, PQ_LINE_BYTES * (int64_t)line);
    for (uint32_t i = 0; i < strips; i++) {
        load_codes(t, i, PQ_LINE_BYTES * (int64_t)line, v_codes[i]);
    }
    for (uint32_t digit = 0; digit < t->d->digits; digit++) {
        for (uint32_t half = 0; half < halves; half++) {
            for (uint32_t r = 0; r < t->d->rows; r++) {
                val v_digits =
                    load_digits(e, digit == 0 ? t->v_row[r] : s->v_low_row[r],
                                v_x, 4 * (int64_t)(halves * line + half));
                for (uint32_t i = 0; i < strips; i++) {
                    uint32_t chain = (halves * line + half) % s->chains;
                    uint32_t at = (r * strips + i) * s->chains + chain;
                    val *v_sum = &s->v_sum[digit * per_digit(s) + at];
                    *v_sum =
                        pq_emit_dot4(e, *v_sum, v_codes[i][half], v_digits);
                }
            }
        }
    }
}

static void
advance(pq_tile *t, int64_t bytes)
{
    t->v_w = pq_emit_at_const(t->e, t->v_w, bytes);
}

// v_lines lines in steps of `step`; x from byte v_x on.
static void
add_lines(sums *s, val v_lines, val v_x, uint32_t step)
{
    pq_tile *t = s->t;
    pq_emitter *e = t->e;
    uint32_t n = all_sums(s);
    int64_t x_bytes = is_4_bit(t) ? 8 : 4;
    val v_end = LLVMBuildAdd(
        e->builder, v_x,
        LLVMBuildMul(e->builder, v_lines, pq_emit_i64(e, x_bytes), ""), "");
    pq_loop loop;
    s->v_sum[n] = t->v_w;
    pq_emit_loop_begin(e, &loop, v_x, v_end, x_bytes * step, s->v_sum, n + 1);
    memcpy(s->v_sum, loop.v_carried, (n + 1) * sizeof *s->v_sum);
    t->v_w = s->v_sum[n];
    for (uint32_t line = 0; line < step; line++) {
        add_line(s, loop.v_index, line);
    }
    advance(t, PQ_LINE_BYTES * (int64_t)step);
    s->v_sum[n] = t->v_w;
    pq_emit_loop_end(e, &loop, s->v_sum);
    memcpy(s->v_sum, loop.v_carried, (n + 1) * sizeof *s->v_sum);
    t->v_w = s->v_sum[n];
}

// ---- groups ----------------------------------------------------------------

// The sums of the last digit start at -zero * sum of x; v_group is the group's
// number.
static void
begin_group(sums *s, val v_group)
{
    pq_tile *t = s->t;
    pq_emitter *e = t->e;
    LLVMBuilderRef b = e->builder;
    uint32_t n = per_digit(s);
    val v_four = LLVMBuildMul(b, v_group, pq_emit_i64(e, 4), "");
    val v_sixteen = LLVMBuildMul(b, v_group, pq_emit_i64(e, 16), "");
    uint32_t last = all_sums(s) - n;
    for (uint32_t i = 0; i < all_sums(s); i++) {
        s->v_sum[i] = LLVMConstNull(e->t_vi32);
    }
    for (uint32_t r = 0; r < t->d->rows; r++) {
        val v_total = pq_emit_splat(
            e, pq_emit_load(e, e->t_i32, pq_emit_at(e, s->v_sum_row[r], v_four),
                            4));
        for (uint32_t i = 0; i < t->d->strips; i++) {
            val v_zero = pq_emit_splat_i32(e, is_4_bit(t) ? 8 : 128);
            if (t->d->asymmetric) {
                val v_at = pq_emit_at(e, pq_emit_at(e, s->v_zeros, v_sixteen),
                                      t->v_strip[i]);
                v_zero = LLVMBuildZExt(b, pq_emit_load(e, e->t_vi8, v_at, 16),
                                       e->t_vi32, "");
            }
            val v_product = LLVMBuildMul(b, v_zero, v_total, "");
            s->v_sum[last + (r * t->d->strips + i) * s->chains] =
                LLVMBuildNeg(b, v_product, "");
        }
    }
}

static val
chain_total(sums *s, uint32_t digit, uint32_t output)
{
    const val *v = &s->v_sum[digit * per_digit(s) + output * s->chains];
    return s->chains == 1 ? v[0]
                          : LLVMBuildAdd(s->t->e->builder, v[0], v[1], "");
}

// The sum of an output over its digits: 128 * high + low.
static val
group_total(sums *s, uint32_t output)
{
    pq_emitter *e = s->t->e;
    val v_first = chain_total(s, 0, output);
    if (s->t->d->digits == 1) {
        return v_first;
    }
    val v_high = LLVMBuildShl(e->builder, v_first, pq_emit_splat_i32(e, 7), "");
    return LLVMBuildAdd(e->builder, v_high, chain_total(s, 1, output), "");
}

// Scales of the strip, of group `at` of the scale line.
static val
load_scales(sums *s, uint32_t strip, uint32_t at)
{
    pq_tile *t = s->t;
    val v_at = pq_emit_at(t->e, s->v_scales, t->v_strip[strip]);
    if (!t->d->half_scales) {
        return pq_emit_load(t->e, t->e->t_vf32, v_at, PQ_LINE_BYTES);
    }
    int64_t bytes = PQ_LINE_BYTES / 2 * (int64_t)at;
    return pq_emit_load_real(t->e, PTQC_F16,
                             pq_emit_at_const(t->e, v_at, bytes), NULL);
}

// acc = fma(sum, scale, acc)
static void
end_group(sums *s, uint32_t at)
{
    pq_tile *t = s->t;
    pq_emitter *e = t->e;
    for (uint32_t i = 0; i < t->d->strips; i++) {
        val v_scale = load_scales(s, i, at);
        for (uint32_t r = 0; r < t->d->rows; r++) {
            uint32_t output = r * t->d->strips + i;
            val v_real = LLVMBuildSIToFP(e->builder, group_total(s, output),
                                         e->t_vf32, "");
            t->v_acc[output] =
                pq_emit_fma(e, v_real, v_scale, t->v_acc[output]);
        }
    }
}

// The moving pointer goes past a scale line.
static void
begin_scales(sums *s)
{
    s->v_scales = s->t->v_w;
    ask_ahead(s->t, 0);
    advance(s->t, PQ_LINE_BYTES);
}

// Offset of the group's first x in a row.
static val
group_x(sums *s, val v_group)
{
    pq_emitter *e = s->t->e;
    int64_t bytes = (int64_t)s->t->d->lines * (is_4_bit(s->t) ? 8 : 4);
    return LLVMBuildMul(e->builder, v_group, pq_emit_i64(e, bytes), "");
}

// Full group number v_group, group `at` of its scale line.
static void
add_full_group(sums *s, val v_group, uint32_t at)
{
    pq_tile *t = s->t;
    uint32_t lines = t->d->lines;
    uint32_t step = lines % LINES_AT_ONCE == 0 ? LINES_AT_ONCE
                    : lines % 2 == 0           ? 2
                                               : 1;
    begin_group(s, v_group);
    val v_x = group_x(s, v_group);
    if (lines == step) {
        // the whole group at once
        for (uint32_t line = 0; line < lines; line++) {
            add_line(s, v_x, line);
        }
        advance(t, PQ_LINE_BYTES * (int64_t)lines);
    } else {
        add_lines(s, pq_emit_i64(t->e, lines), v_x, step);
    }
    end_group(s, at);
}

// All scale lines that have all of their groups.
static void
add_full_lines(sums *s, val v_groups)
{
    pq_tile *t = s->t;
    pq_emitter *e = t->e;
    uint32_t n = t->d->rows * t->d->strips, share = t->d->half_scales ? 2 : 1;
    val v_state[PQ_TILE_ACC_MAX + 1];
    memcpy(v_state, t->v_acc, n * sizeof *v_state);
    v_state[n] = t->v_w;
    pq_loop loop;
    pq_emit_loop_begin(e, &loop, pq_emit_i64(e, 0), v_groups, share, v_state,
                       n + 1);
    memcpy(t->v_acc, loop.v_carried, n * sizeof *v_state);
    t->v_w = loop.v_carried[n];
    begin_scales(s);
    for (uint32_t i = 0; i < share; i++) {
        val v_group =
            LLVMBuildAdd(e->builder, loop.v_index, pq_emit_i64(e, i), "");
        add_full_group(s, v_group, i);
    }
    memcpy(v_state, t->v_acc, n * sizeof *v_state);
    v_state[n] = t->v_w;
    pq_emit_loop_end(e, &loop, v_state);
    memcpy(t->v_acc, loop.v_carried, n * sizeof *v_state);
    t->v_w = loop.v_carried[n];
}

// What follows the full lines: a full group, a shorter one, or both.
static void
add_last_line(sums *s, val v_groups, val v_last_lines)
{
    pq_tile *t = s->t;
    pq_emitter *e = t->e;
    if (t->d->is_odd == 0 && t->d->rest == 0) {
        return;
    }
    begin_scales(s);
    if (t->d->is_odd != 0) {
        val v_group = LLVMBuildSub(e->builder, v_groups, pq_emit_i64(e, 1), "");
        add_full_group(s, v_group, 0);
    }
    if (t->d->rest != 0) {
        begin_group(s, v_groups);
        add_lines(s, v_last_lines, group_x(s, v_groups), 1);
        end_group(s, t->d->is_odd);
    }
}

static void
load_rows(sums *s)
{
    pq_tile *t = s->t;
    pq_emitter *e = t->e;
    val v_rows =
        pq_emit_field(e, t->v_args, e->t_ptr, offsetof(pq_tile_args, rows));
    val v_low = pq_emit_field(e, t->v_args, e->t_i64,
                              offsetof(pq_tile_args, low_offset));
    val v_sums = pq_emit_field(e, t->v_args, e->t_i64,
                               offsetof(pq_tile_args, sums_offset));
    for (uint32_t r = 0; r < t->d->rows; r++) {
        val v_ptr = pq_emit_at_const(e, v_rows, 8 * (int64_t)r);
        t->v_row[r] = pq_emit_load(e, e->t_ptr, v_ptr, 8);
        s->v_low_row[r] = pq_emit_at(e, t->v_row[r], v_low);
        s->v_sum_row[r] = pq_emit_at(e, t->v_row[r], v_sums);
    }
}

// y = acc * scale of the row
static void
scale_rows(sums *s)
{
    pq_tile *t = s->t;
    pq_emitter *e = t->e;
    val v_offset = pq_emit_field(e, t->v_args, e->t_i64,
                                 offsetof(pq_tile_args, scale_offset));
    for (uint32_t r = 0; r < t->d->rows; r++) {
        val v_at = pq_emit_at(e, t->v_row[r], v_offset);
        val v_scale = pq_emit_splat(e, pq_emit_load(e, e->t_f32, v_at, 4));
        for (uint32_t i = 0; i < t->d->strips; i++) {
            val *acc = &t->v_acc[r * t->d->strips + i];
            *acc = LLVMBuildFMul(e->builder, *acc, v_scale, "");
        }
    }
}

void
pq_tile_emit_fixed(pq_tile *t)
{
    pq_emitter *e = t->e;
    sums s = {.t = t};
    uint32_t outputs = t->d->rows * t->d->strips;
    s.chains = outputs <= 3 ? CHAINS_MAX : 1;
    assert(all_sums(&s) <= SUMS_MAX);
#define FIELD(field)                                                           \
    pq_emit_field(e, t->v_args, e->t_i64, offsetof(pq_tile_args, field))
    val v_groups = FIELD(groups), v_last_lines = FIELD(steps);
    s.v_zeros =
        t->d->asymmetric ? pq_emit_at(e, t->v_w, FIELD(zeros_offset)) : t->v_w;
#undef FIELD
    load_rows(&s);
    if (!t->d->resumes) {
        val v_in_lines = LLVMBuildSub(e->builder, v_groups,
                                      pq_emit_i64(e, t->d->is_odd), "");
        add_full_lines(&s, v_in_lines);
        add_last_line(&s, v_groups, v_last_lines);
    }
    scale_rows(&s);
}
