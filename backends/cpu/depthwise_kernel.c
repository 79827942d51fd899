// SPDX-License-Identifier: Apache-2.0
//
// Emission of the depthwise kernel (depthwise_kernel.h).
//
// u8, 64 channels: the bytes of 4 taps p0..p3 are interleaved within 128-bit
// lanes, first bytes, then words, so that every channel has its 4 taps in
// one dword: quarter q then holds in lane L the channels 16L + 4q + 0..3, and
// one 4-way dot product per quarter does 4 taps of 16 channels. Interleaved
// columns are shared by neighbouring output pixels. At the end a transposition
// of 128-bit lanes brings the accumulators into channel order; when the codes
// of four vectors are packed, packing does that, and the start values and
// multipliers are brought into the order of the quarters instead, once per
// block.
#include "depthwise_kernel.h"

#include <assert.h>
#include <stddef.h>

#define PIXELS_MAX  6
#define VECTORS_MAX 4

pq_depthwise_groups
pq_depthwise_group_taps(int64_t kernel_h, int64_t kernel_w)
{
    pq_depthwise_groups groups = {.is_vertical = kernel_h > 1};
    groups.per_column = (kernel_h + 3) / 4;
    groups.count =
        groups.is_vertical ? kernel_w * groups.per_column : (kernel_w + 3) / 4;
    return groups;
}

typedef struct walk {
    pq_emitter *e;
    const pq_depthwise_kernel_desc *d;
    uint32_t vectors; // at once: of the block, or 1 when it is split
    pq_depthwise_groups groups;
    LLVMValueRef v_args, v_mask;
    // Of the current block: a pointer per kernel row, or (is_indirect) tap.
    LLVMValueRef v_row[PQ_DEPTHWISE_TAPS_MAX];
    LLVMValueRef v_first; // byte offset of the first output's first tap
    LLVMValueRef v_column, v_pixel;                 // byte steps
    LLVMValueRef v_weights, v_init, v_mult, v_bias; // of the block
    LLVMValueRef v_out, v_out_stride, v_residual, v_residual_stride;
    pq_epilogue_values values;
    LLVMValueRef v_acc[PIXELS_MAX][VECTORS_MAX];
    // PQ_EPI_WEIGHT_ZERO: sums of x as v_acc, the block's zero points of the
    // weights, the same in the order of v_acc
    LLVMValueRef v_sum[PIXELS_MAX][VECTORS_MAX];
    LLVMValueRef v_weight_zero, v_acc_zero[VECTORS_MAX];
    LLVMValueRef v_scales; // codes: of the block's channels
    LLVMValueRef v_scale[VECTORS_MAX], v_zero[VECTORS_MAX];
    LLVMValueRef v_stack; // accumulators, for an epilogue in a loop
    // is_quartered: channel values in the order of the quarters.
    LLVMValueRef v_quarter_init[4], v_quarter_mult[4], v_quarter_bias[4];
} walk;

static int
is_u8(const walk *w)
{
    return w->d->element == PQ_ELEM_U8;
}

// Are the sums of a wide block finished in the order of the quarters?
static int
is_quartered(const walk *w)
{
    const pq_epilogue *ep = &w->d->epilogue;
    return is_u8(w) && w->vectors == 4 && ep->residual == PQ_ELEM_NONE &&
           pq_epilogue_is_packed(w->e, ep) && !pq_epilogue_is_long(ep);
}

static int
has_sums(const walk *w)
{
    return (w->d->epilogue.flags & PQ_EPI_WEIGHT_ZERO) != 0;
}

static LLVMValueRef
times(walk *w, LLVMValueRef v_value, int64_t factor)
{
    return LLVMBuildMul(w->e->builder, v_value, pq_emit_i64(w->e, factor), "");
}

// ---- input ----------------------------------------------------------------

// Address of the tap (kh, kw) of output `pixel`; kw may lie beyond the kernel
// row: then it is a tap of a later output.
static LLVMValueRef
tap_pointer(walk *w, uint32_t kh, uint32_t pixel, int64_t kw)
{
    LLVMBuilderRef b = w->e->builder;
    if (w->d->is_indirect) {
        return w->v_row[kh * w->d->kernel_w + kw];
    }
    LLVMValueRef v_at = w->v_first;
    if (w->d->ratio > 0) {
        kw += (int64_t)pixel * w->d->ratio;
    } else if (pixel > 0) {
        v_at = LLVMBuildAdd(b, v_at, times(w, w->v_pixel, pixel), "");
    }
    if (kw > 0) {
        v_at = LLVMBuildAdd(b, v_at, times(w, w->v_column, kw), "");
    }
    return pq_emit_at(w->e, w->v_row[kh], v_at);
}

// `bytes` past the address of the tap.
static LLVMValueRef
load_input(walk *w, LLVMValueRef v_tap, int64_t bytes)
{
    pq_emitter *e = w->e;
    LLVMTypeRef type = !is_u8(w)         ? e->t_vf32
                       : w->vectors == 4 ? e->t_vi8x64
                                         : e->t_vi8;
    uint32_t align = is_u8(w) ? 1 : 4;
    LLVMValueRef v_ptr = pq_emit_at_const(e, v_tap, bytes);
    return w->v_mask == NULL
               ? pq_emit_load(e, type, v_ptr, align)
               : pq_emit_masked_load(e, type, v_ptr, w->v_mask, align);
}

// Interleaves the low or high halves of every 128-bit lane.
static LLVMValueRef
interleave(pq_emitter *e, LLVMValueRef v_a, LLVMValueRef v_b, int high)
{
    int index[64];
    int count = (int)LLVMGetVectorSize(LLVMTypeOf(v_a));
    int bits = (int)LLVMGetIntTypeWidth(LLVMGetElementType(LLVMTypeOf(v_a)));
    int lane = 128 / bits;
    for (int i = 0; i < count; i++) {
        int at = i / lane * lane + high * lane / 2 + i % lane / 2;
        index[i] = i % 2 == 0 ? at : count + at;
    }
    return pq_emit_shuffle(e, v_a, v_b, index, (uint32_t)count);
}

static LLVMValueRef
concat(pq_emitter *e, LLVMValueRef v_low, LLVMValueRef v_high)
{
    int index[64];
    uint32_t count = 2 * LLVMGetVectorSize(LLVMTypeOf(v_low));
    for (uint32_t i = 0; i < count; i++) {
        index[i] = (int)i;
    }
    return pq_emit_shuffle(e, v_low, v_high, index, count);
}

// Vectors of 4 taps (NULL = none, zero) -> one or four <64 x i8> operands of
// a dot product.
static void
interleave_taps(walk *w, LLVMValueRef v_tap[4], LLVMValueRef *v_out)
{
    pq_emitter *e = w->e;
    LLVMTypeRef bytes = LLVMTypeOf(v_tap[0]);
    uint32_t count = LLVMGetVectorSize(bytes);
    LLVMTypeRef words = pq_emit_vector_type(e->t_i16, count / 2);
    LLVMValueRef v_quarter[4];
    for (int t = 1; t < 4; t++) {
        if (v_tap[t] == NULL) {
            v_tap[t] = LLVMConstNull(bytes);
        }
    }
    for (int q = 0; q < 4; q++) {
        LLVMValueRef v_01 = LLVMBuildBitCast(
            e->builder, interleave(e, v_tap[0], v_tap[1], q / 2), words, "");
        LLVMValueRef v_23 = LLVMBuildBitCast(
            e->builder, interleave(e, v_tap[2], v_tap[3], q / 2), words, "");
        v_quarter[q] = LLVMBuildBitCast(
            e->builder, interleave(e, v_01, v_23, q % 2), bytes, "");
    }
    if (w->vectors == 4) {
        for (int q = 0; q < 4; q++) {
            v_out[q] = v_quarter[q];
        }
    } else {
        v_out[0] = concat(e, concat(e, v_quarter[0], v_quarter[1]),
                          concat(e, v_quarter[2], v_quarter[3]));
    }
}

// ---- u8 -------------------------------------------------------------------

// Line q of a group's weights. Of a split block the 16 channels of one vector
// lie in the 4 lines of the group, 16 bytes in each.
static LLVMValueRef
load_weights(walk *w, int64_t group, uint32_t q)
{
    pq_emitter *e = w->e;
    if (!w->d->is_split) {
        return pq_emit_load(
            e, e->t_vi8x64,
            pq_emit_at_const(e, w->v_weights, 64 * (group * w->vectors + q)),
            64);
    }
    LLVMValueRef v_part[4];
    for (int64_t i = 0; i < 4; i++) {
        v_part[i] = pq_emit_load(
            e, e->t_vi8,
            pq_emit_at_const(e, w->v_weights, 64 * (4 * group + i)), 16);
    }
    return concat(e, concat(e, v_part[0], v_part[1]),
                  concat(e, v_part[2], v_part[3]));
}

static LLVMValueRef
ones(pq_emitter *e)
{
    LLVMValueRef v_one[64];
    for (int i = 0; i < 64; i++) {
        v_one[i] = LLVMConstInt(e->t_i8, 1, 0);
    }
    return LLVMConstVector(v_one, 64);
}

static void
dot_group(walk *w, uint32_t pixel, int64_t group, const LLVMValueRef *v_x)
{
    for (uint32_t q = 0; q < w->vectors; q++) {
        w->v_acc[pixel][q] = pq_emit_dot4(w->e, w->v_acc[pixel][q], v_x[q],
                                          load_weights(w, group, q));
        if (has_sums(w)) {
            w->v_sum[pixel][q] =
                pq_emit_dot4(w->e, w->v_sum[pixel][q], v_x[q], ones(w->e));
        }
    }
}

// Group `part` of kernel column kw of output `pixel`.
static void
vertical_operand(walk *w, int64_t part, uint32_t pixel, int64_t kw,
                 LLVMValueRef *v_out)
{
    LLVMValueRef v_tap[4] = {NULL, NULL, NULL, NULL};
    for (uint32_t t = 0; t < 4 && 4 * part + t < w->d->kernel_h; t++) {
        uint32_t kh = (uint32_t)(4 * part + t);
        v_tap[t] = load_input(w, tap_pointer(w, kh, pixel, kw), 0);
    }
    interleave_taps(w, v_tap, v_out);
}

// Taps 4 * group.. of the only kernel row.
static void
horizontal_operand(walk *w, int64_t group, uint32_t pixel, LLVMValueRef *v_out)
{
    LLVMValueRef v_tap[4] = {NULL, NULL, NULL, NULL};
    for (int64_t t = 0; t < 4 && 4 * group + t < w->d->kernel_w; t++) {
        v_tap[t] = load_input(w, tap_pointer(w, 0, pixel, 4 * group + t), 0);
    }
    interleave_taps(w, v_tap, v_out);
}

static int64_t
column_count(const walk *w, uint32_t pixels)
{
    return (int64_t)(pixels - 1) * w->d->ratio + w->d->kernel_w;
}

// Do outputs share input columns?
static int
is_shared(const walk *w)
{
    return w->d->ratio > 0 && !w->d->is_indirect;
}

// All uses of input column `column` (counted in taps from the first pixel's
// first one) by the `pixels` outputs.
static void
shared_column(walk *w, uint32_t pixels, int64_t column)
{
    for (int64_t part = 0; part < w->groups.per_column; part++) {
        LLVMValueRef v_x[VECTORS_MAX];
        int is_loaded = 0;
        for (uint32_t p = 0; p < pixels; p++) {
            int64_t kw = column - (int64_t)p * w->d->ratio;
            if (kw < 0 || kw >= w->d->kernel_w) {
                continue;
            }
            if (!is_loaded) {
                vertical_operand(w, part, 0, column, v_x);
                is_loaded = 1;
            }
            dot_group(w, p, kw * w->groups.per_column + part, v_x);
        }
    }
}

static void
single_column(walk *w, uint32_t pixel, int64_t kw)
{
    for (int64_t part = 0; part < w->groups.per_column; part++) {
        LLVMValueRef v_x[VECTORS_MAX];
        vertical_operand(w, part, pixel, kw, v_x);
        dot_group(w, pixel, kw * w->groups.per_column + part, v_x);
    }
}

static void
sum_u8(walk *w, uint32_t pixels)
{
    if (w->groups.is_vertical && is_shared(w)) {
        for (int64_t c = 0; c < column_count(w, pixels); c++) {
            shared_column(w, pixels, c);
        }
        return;
    }
    for (uint32_t p = 0; p < pixels; p++) {
        if (w->groups.is_vertical) {
            for (int64_t kw = 0; kw < w->d->kernel_w; kw++) {
                single_column(w, p, kw);
            }
            continue;
        }
        for (int64_t g = 0; g < w->groups.count; g++) {
            LLVMValueRef v_x[VECTORS_MAX];
            horizontal_operand(w, g, p, v_x);
            dot_group(w, p, g, v_x);
        }
    }
}

// 128-bit lane L of v_acc[q] -> lane q of v_acc[L].
static void
transpose_lanes(pq_emitter *e, LLVMValueRef *v_acc)
{
    static const int low[16] = {0,  1,  2,  3,  4,  5,  6,  7,
                                16, 17, 18, 19, 20, 21, 22, 23};
    static const int high[16] = {8,  9,  10, 11, 12, 13, 14, 15,
                                 24, 25, 26, 27, 28, 29, 30, 31};
    static const int even[16] = {0,  1,  2,  3,  8,  9,  10, 11,
                                 16, 17, 18, 19, 24, 25, 26, 27};
    static const int odd[16] = {4,  5,  6,  7,  12, 13, 14, 15,
                                20, 21, 22, 23, 28, 29, 30, 31};
    LLVMValueRef v_low01 = pq_emit_shuffle(e, v_acc[0], v_acc[1], low, 16);
    LLVMValueRef v_low23 = pq_emit_shuffle(e, v_acc[2], v_acc[3], low, 16);
    LLVMValueRef v_high01 = pq_emit_shuffle(e, v_acc[0], v_acc[1], high, 16);
    LLVMValueRef v_high23 = pq_emit_shuffle(e, v_acc[2], v_acc[3], high, 16);
    v_acc[0] = pq_emit_shuffle(e, v_low01, v_low23, even, 16);
    v_acc[1] = pq_emit_shuffle(e, v_low01, v_low23, odd, 16);
    v_acc[2] = pq_emit_shuffle(e, v_high01, v_high23, even, 16);
    v_acc[3] = pq_emit_shuffle(e, v_high01, v_high23, odd, 16);
}

// ---- f32 ------------------------------------------------------------------

// Vector v of a tap's weights: blocks of 16 channels follow each other.
static LLVMValueRef
weights_f32(walk *w, int64_t tap, uint32_t v)
{
    pq_emitter *e = w->e;
    LLVMBuilderRef b = e->builder;
    int64_t taps = (int64_t)w->d->kernel_h * w->d->kernel_w;
    int64_t at = v * taps + tap;
    if (w->d->codes == 0) {
        return pq_emit_load(e, e->t_vf32,
                            pq_emit_at_const(e, w->v_weights, 64 * at), 64);
    }
    LLVMValueRef v_code = pq_emit_load(
        e, e->t_vi8, pq_emit_at_const(e, w->v_weights, 16 * at), 16);
    v_code = LLVMBuildSExt(b, v_code, e->t_vi32, "");
    if (w->d->codes == 2) {
        v_code = LLVMBuildSub(b, v_code, w->v_zero[v], "");
    }
    return LLVMBuildFMul(b, LLVMBuildSIToFP(b, v_code, e->t_vf32, ""),
                         w->v_scale[v], "");
}

static void
tap_f32(walk *w, uint32_t pixel, int64_t tap, const LLVMValueRef *v_x)
{
    for (uint32_t v = 0; v < w->vectors; v++) {
        w->v_acc[pixel][v] = pq_emit_fma(w->e, v_x[v], weights_f32(w, tap, v),
                                         w->v_acc[pixel][v]);
    }
}

static void
load_f32(walk *w, LLVMValueRef v_tap, LLVMValueRef *v_out)
{
    for (uint32_t v = 0; v < w->vectors; v++) {
        v_out[v] = load_input(w, v_tap, 64 * v);
    }
}

// The taps of kernel row kh whose input column is shared by the outputs.
static void
shared_row_f32(walk *w, uint32_t pixels, uint32_t kh)
{
    for (int64_t c = 0; c < column_count(w, pixels); c++) {
        LLVMValueRef v_x[VECTORS_MAX];
        int is_loaded = 0;
        for (uint32_t p = 0; p < pixels; p++) {
            int64_t kw = c - (int64_t)p * w->d->ratio;
            if (kw < 0 || kw >= w->d->kernel_w) {
                continue;
            }
            if (!is_loaded) {
                load_f32(w, tap_pointer(w, kh, 0, c), v_x);
                is_loaded = 1;
            }
            tap_f32(w, p, (int64_t)kh * w->d->kernel_w + kw, v_x);
        }
    }
}

// Per output: kernel rows, then columns, ascending.
static void
sum_f32(walk *w, uint32_t pixels)
{
    for (uint32_t kh = 0; kh < w->d->kernel_h; kh++) {
        if (is_shared(w)) {
            shared_row_f32(w, pixels, kh);
            continue;
        }
        for (uint32_t p = 0; p < pixels; p++) {
            for (int64_t kw = 0; kw < w->d->kernel_w; kw++) {
                LLVMValueRef v_x[VECTORS_MAX];
                load_f32(w, tap_pointer(w, kh, p, kw), v_x);
                tap_f32(w, p, (int64_t)kh * w->d->kernel_w + kw, v_x);
            }
        }
    }
}

// ---- blocks and pixels ----------------------------------------------------

static LLVMValueRef
channel_vector(walk *w, LLVMTypeRef type, LLVMValueRef v_base,
               LLVMValueRef v_vector)
{
    return v_base == NULL
               ? NULL
               : pq_emit_load(w->e, type,
                              pq_emit_at(w->e, v_base, times(w, v_vector, 64)),
                              4);
}

static void
start_pixel(walk *w, uint32_t pixel)
{
    // unless is_quartered, the quarters hold other channels than the vectors:
    // start from zero and add the start values after the transposition
    for (uint32_t q = 0; q < w->vectors; q++) {
        w->v_acc[pixel][q] =
            is_quartered(w)
                ? w->v_quarter_init[q]
                : LLVMConstNull(is_u8(w) ? w->e->t_vi32 : w->e->t_vf32);
        w->v_sum[pixel][q] = LLVMConstNull(w->e->t_vi32);
    }
}

// The sums of x times the weights' zero points are taken off.
static void
subtract_sums(walk *w, uint32_t pixels)
{
    LLVMBuilderRef b = w->e->builder;
    for (uint32_t i = 0; i < pixels * w->vectors; i++) {
        uint32_t p = i / w->vectors, q = i % w->vectors;
        LLVMValueRef v_part =
            LLVMBuildMul(b, w->v_sum[p][q], w->v_acc_zero[q], "");
        w->v_acc[p][q] = LLVMBuildSub(b, w->v_acc[p][q], v_part, "");
    }
}

// The block's 64 channel values at v_base in the order of the quarters.
static void
load_quarters(walk *w, LLVMTypeRef type, LLVMValueRef v_base,
              LLVMValueRef v_out[4])
{
    for (int64_t v = 0; v < 4; v++) {
        v_out[v] = channel_vector(w, type, v_base, pq_emit_i64(w->e, v));
    }
    if (v_base != NULL) {
        transpose_lanes(w->e, v_out); // its own inverse
    }
}

// base + pixel * stride + vector * bytes
static LLVMValueRef
output_at(walk *w, LLVMValueRef v_base, LLVMValueRef v_stride,
          LLVMValueRef v_pixel, LLVMValueRef v_vector_bytes)
{
    LLVMValueRef v_line = pq_emit_at(
        w->e, v_base, LLVMBuildMul(w->e->builder, v_pixel, v_stride, ""));
    return pq_emit_at(w->e, v_line, v_vector_bytes);
}

// Vector v_vector of output v_pixel.
static pq_epilogue_lane
lane_of(walk *w, LLVMValueRef v_acc, LLVMValueRef v_pixel,
        LLVMValueRef v_vector)
{
    pq_emitter *e = w->e;
    const pq_epilogue *ep = &w->d->epilogue;
    if (is_u8(w)) {
        v_acc =
            LLVMBuildAdd(e->builder, v_acc,
                         channel_vector(w, e->t_vi32, w->v_init, v_vector), "");
    }
    pq_epilogue_lane lane = {
        .v_acc = v_acc,
        .v_mult = channel_vector(w, e->t_vf32, w->v_mult, v_vector),
        .v_bias = channel_vector(w, e->t_vf32, w->v_bias, v_vector),
        .v_out = output_at(w, w->v_out, w->v_out_stride, v_pixel,
                           times(w, v_vector, 16 * pq_epilogue_out_bytes(ep))),
        .v_mask = w->v_mask,
    };
    if (w->v_residual != NULL) {
        lane.v_residual = output_at(
            w, w->v_residual, w->v_residual_stride, v_pixel,
            times(w, v_vector, ep->residual == PQ_ELEM_F32 ? 64 : 16));
    }
    return lane;
}

// The wide output `pixel` in the order of its quarters.
static void
finish_quarters(walk *w, LLVMValueRef v_pixel, uint32_t pixel)
{
    pq_emitter *e = w->e;
    LLVMValueRef v_codes[4];
    for (uint32_t q = 0; q < 4; q++) {
        pq_epilogue_lane lane = {.v_acc = w->v_acc[pixel][q],
                                 .v_mult = w->v_quarter_mult[q],
                                 .v_bias = w->v_quarter_bias[q]};
        v_codes[q] =
            pq_emit_epilogue_codes(e, &w->d->epilogue, &w->values, &lane);
    }
    pq_emit_store(
        e, pq_emit_epilogue_pack(e, &w->values, v_codes),
        output_at(w, w->v_out, w->v_out_stride, v_pixel, pq_emit_i64(e, 0)), 1);
}

// Outputs index .. index + pixels - 1, whose accumulators are on the stack.
static void
finish_in_loop(walk *w, LLVMValueRef v_index, uint32_t pixels)
{
    pq_emitter *e = w->e;
    pq_loop outputs, vectors;
    LLVMValueRef v_zero = pq_emit_i64(e, 0);
    pq_emit_loop_begin(e, &outputs, v_zero, pq_emit_i64(e, pixels), 1, NULL, 0);
    pq_emit_loop_begin(e, &vectors, v_zero, pq_emit_i64(e, w->vectors), 1, NULL,
                       0);
    LLVMValueRef v_at = LLVMBuildAdd(
        e->builder, times(w, outputs.v_index, 64 * (int64_t)w->vectors),
        times(w, vectors.v_index, 64), "");
    LLVMValueRef v_acc = pq_emit_load(e, is_u8(w) ? e->t_vi32 : e->t_vf32,
                                      pq_emit_at(e, w->v_stack, v_at), 64);
    pq_epilogue_lane lane = lane_of(
        w, v_acc, LLVMBuildAdd(e->builder, v_index, outputs.v_index, ""),
        vectors.v_index);
    pq_emit_epilogue(e, &w->d->epilogue, &w->values, &lane);
    pq_emit_loop_end(e, &vectors, NULL);
    pq_emit_loop_end(e, &outputs, NULL);
}

static void
store_sums(walk *w, uint32_t pixels)
{
    for (uint32_t i = 0; i < pixels * w->vectors; i++) {
        pq_emit_store(w->e, w->v_acc[i / w->vectors][i % w->vectors],
                      pq_emit_at_const(w->e, w->v_stack, 64 * i), 64);
    }
}

// Unrolled, four by four.
static void
finish_groups(walk *w, LLVMValueRef v_index, uint32_t pixels)
{
    pq_emitter *e = w->e;
    uint32_t count = pixels * w->vectors;
    pq_epilogue_lane lanes[PQ_EPILOGUE_GROUP];
    for (uint32_t i = 0; i < count; i++) {
        uint32_t p = i / w->vectors, v = i % w->vectors;
        LLVMValueRef v_pixel =
            LLVMBuildAdd(e->builder, v_index, pq_emit_i64(e, p), "");
        lanes[i % PQ_EPILOGUE_GROUP] =
            lane_of(w, w->v_acc[p][v], v_pixel, pq_emit_i64(e, v));
        lanes[i % PQ_EPILOGUE_GROUP].follows = v > 0;
        if (i % PQ_EPILOGUE_GROUP == PQ_EPILOGUE_GROUP - 1 || i + 1 == count) {
            pq_emit_epilogue_group(e, &w->d->epilogue, &w->values, lanes,
                                   i % PQ_EPILOGUE_GROUP + 1);
        }
    }
}

static void
finish_outputs(walk *w, LLVMValueRef v_index, uint32_t pixels)
{
    pq_emitter *e = w->e;
    for (uint32_t p = 0; p < pixels; p++) {
        if (is_quartered(w)) {
            finish_quarters(
                w, LLVMBuildAdd(e->builder, v_index, pq_emit_i64(e, p), ""), p);
        } else if (is_u8(w) && w->vectors == 4) {
            transpose_lanes(e, w->v_acc[p]);
        }
    }
    if (w->v_stack != NULL) {
        store_sums(w, pixels);
        finish_in_loop(w, v_index, pixels);
    } else if (!is_quartered(w)) {
        finish_groups(w, v_index, pixels);
    }
}

// Outputs index .. index + pixels - 1.
static void
emit_round(walk *w, LLVMValueRef v_index, uint32_t pixels)
{
    w->v_first = LLVMBuildMul(w->e->builder, v_index, w->v_pixel, "");
    for (uint32_t p = 0; p < pixels; p++) {
        start_pixel(w, p);
    }
    if (is_u8(w)) {
        sum_u8(w, pixels);
    } else {
        sum_f32(w, pixels);
    }
    if (has_sums(w)) {
        subtract_sums(w, pixels);
    }
    finish_outputs(w, v_index, pixels);
}

static LLVMValueRef
move_pointer(walk *w, LLVMValueRef v_base, LLVMValueRef v_vector, int64_t bytes)
{
    return v_base == NULL ? NULL
                          : pq_emit_at(w->e, v_base, times(w, v_vector, bytes));
}

static uint32_t
pointer_count(const walk *w)
{
    return w->d->kernel_h * (w->d->is_indirect ? w->d->kernel_w : 1);
}

// Zero points of the weights in the order of the accumulators.
static void
load_zeros(walk *w)
{
    pq_emitter *e = w->e;
    if (!has_sums(w)) {
        return;
    }
    if (w->vectors == 4) {
        load_quarters(w, e->t_vi32, w->v_weight_zero, w->v_acc_zero);
    } else {
        w->v_acc_zero[0] =
            channel_vector(w, e->t_vi32, w->v_weight_zero, pq_emit_i64(e, 0));
    }
}

// Scales and zero points of codes.
static void
load_scales(walk *w)
{
    pq_emitter *e = w->e;
    for (uint32_t v = 0; w->d->codes > 0 && v < w->vectors; v++) {
        LLVMValueRef v_at = pq_emit_i64(e, v);
        w->v_scale[v] = channel_vector(w, e->t_vf32, w->v_scales, v_at);
        w->v_zero[v] = channel_vector(w, e->t_vi32, w->v_weight_zero, v_at);
    }
}

// Bytes of the weights of a tap of 16 channels.
static int64_t
tap_bytes(const walk *w)
{
    return w->d->codes > 0 ? 16 : 64;
}

// The block's pointers moved on to its vector v_vector.
static walk
vector_of_block(const walk *block, LLVMValueRef v_vector)
{
    walk w = *block;
    const pq_epilogue *ep = &w.d->epilogue;
    int64_t taps = (int64_t)w.d->kernel_h * w.d->kernel_w;
    for (uint32_t i = 0; i < pointer_count(&w); i++) {
        w.v_row[i] =
            move_pointer(&w, w.v_row[i], v_vector, is_u8(&w) ? 16 : 64);
    }
    w.v_weights = move_pointer(&w, w.v_weights, v_vector,
                               is_u8(&w) ? 16 : tap_bytes(&w) * taps);
    w.v_init = move_pointer(&w, w.v_init, v_vector, 64);
    w.v_mult = move_pointer(&w, w.v_mult, v_vector, 64);
    w.v_bias = move_pointer(&w, w.v_bias, v_vector, 64);
    w.v_weight_zero = move_pointer(&w, w.v_weight_zero, v_vector, 64);
    w.v_scales = move_pointer(&w, w.v_scales, v_vector, 64);
    load_zeros(&w);
    load_scales(&w);
    w.v_out =
        move_pointer(&w, w.v_out, v_vector, 16 * pq_epilogue_out_bytes(ep));
    w.v_residual = move_pointer(&w, w.v_residual, v_vector,
                                ep->residual == PQ_ELEM_F32 ? 64 : 16);
    return w;
}

// Outputs index .. index + pixels - 1 of the whole block.
static void
emit_outputs(walk *w, LLVMValueRef v_index, uint32_t pixels)
{
    if (!w->d->is_split) {
        emit_round(w, v_index, pixels);
        return;
    }
    pq_loop loop;
    pq_emit_loop_begin(w->e, &loop, pq_emit_i64(w->e, 0),
                       pq_emit_i64(w->e, w->d->vectors), 1, NULL, 0);
    walk vector = vector_of_block(w, loop.v_index);
    emit_round(&vector, v_index, pixels);
    pq_emit_loop_end(w->e, &loop, NULL);
}

// for (index = begin; index < end; index += pixels)
static void
emit_pixels(walk *w, LLVMValueRef v_begin, LLVMValueRef v_end, uint32_t pixels)
{
    pq_loop loop;
    pq_emit_loop_begin(w->e, &loop, v_begin, v_end, pixels, NULL, 0);
    emit_outputs(w, loop.v_index, pixels);
    pq_emit_loop_end(w->e, &loop, NULL);
}

static LLVMValueRef
field(walk *w, LLVMTypeRef type, size_t offset)
{
    return pq_emit_field(w->e, w->v_args, type, offset);
}

// base field + block * bytes; NULL when unused.
static LLVMValueRef
block_pointer(walk *w, int is_used, size_t offset, LLVMValueRef v_block,
              int64_t bytes)
{
    return is_used ? pq_emit_at(w->e, field(w, w->e->t_ptr, offset),
                                times(w, v_block, bytes))
                   : NULL;
}

#define EPI(name)                                                              \
    (offsetof(pq_depthwise_args, epilogue) + offsetof(pq_epilogue_args, name))

static void
set_block(walk *w, LLVMValueRef v_block)
{
    pq_emitter *e = w->e;
    const pq_depthwise_kernel_desc *d = w->d;
    const pq_epilogue *ep = &d->epilogue;
    int64_t channels = 16 * (int64_t)d->vectors;
    int64_t lines =
        d->vectors *
        (is_u8(w) ? w->groups.count : (int64_t)d->kernel_h * d->kernel_w);
    LLVMValueRef v_rows = field(w, e->t_ptr, offsetof(pq_depthwise_args, rows));
    LLVMValueRef v_x = times(w, v_block, channels * (is_u8(w) ? 1 : 4));
    for (uint32_t i = 0; i < pointer_count(w); i++) {
        LLVMValueRef v_row = pq_emit_load(
            e, e->t_ptr, pq_emit_at_const(e, v_rows, 8 * (int64_t)i), 8);
        w->v_row[i] = pq_emit_at(e, v_row, v_x);
    }
    w->v_weights = block_pointer(w, 1, offsetof(pq_depthwise_args, weights),
                                 v_block, tap_bytes(w) * lines);
    w->v_init = block_pointer(w, is_u8(w), offsetof(pq_depthwise_args, init),
                              v_block, 4 * channels);
    w->v_mult = block_pointer(w, ep->kind != PQ_EPI_FLOAT, EPI(mult), v_block,
                              4 * channels);
    w->v_bias = block_pointer(w, (ep->flags & PQ_EPI_BIAS) != 0, EPI(bias),
                              v_block, 4 * channels);
    w->v_out = block_pointer(w, 1, offsetof(pq_depthwise_args, out), v_block,
                             channels * pq_epilogue_out_bytes(ep));
    w->v_residual =
        block_pointer(w, ep->residual != PQ_ELEM_NONE, EPI(residual), v_block,
                      channels * (ep->residual == PQ_ELEM_F32 ? 4 : 1));
    w->v_weight_zero = block_pointer(w, has_sums(w) || d->codes == 2,
                                     EPI(weight_zero), v_block, 4 * channels);
    w->v_scales =
        block_pointer(w, d->codes > 0, EPI(mult), v_block, 4 * channels);
    if (!d->is_split) {
        load_zeros(w);
        load_scales(w);
    }
    if (is_quartered(w)) {
        load_quarters(w, e->t_vi32, w->v_init, w->v_quarter_init);
        load_quarters(w, e->t_vf32, w->v_mult, w->v_quarter_mult);
        load_quarters(w, e->t_vf32, w->v_bias, w->v_quarter_bias);
    }
}

// The outputs of one block: rounds of d->pixels, then single ones.
static void
emit_block(walk *w)
{
    pq_emitter *e = w->e;
    LLVMValueRef v_zero = pq_emit_i64(e, 0);
    if (w->d->is_indirect) {
        emit_outputs(w, v_zero, 1);
        return;
    }
    LLVMValueRef v_pixels =
        field(w, e->t_i64, offsetof(pq_depthwise_args, pixels));
    LLVMValueRef v_rest =
        LLVMBuildURem(e->builder, v_pixels, pq_emit_i64(e, w->d->pixels), "");
    LLVMValueRef v_main = LLVMBuildSub(e->builder, v_pixels, v_rest, "");
    emit_pixels(w, v_zero, v_main, w->d->pixels);
    if (w->d->pixels > 1) {
        emit_pixels(w, v_main, v_pixels, 1);
    }
}

static ptqc_be_status
emit_depthwise(pq_emitter *e, const void *desc)
{
    walk w = {.e = e, .d = desc};
    assert(w.d->pixels >= 1 && w.d->pixels <= PIXELS_MAX);
    assert(w.d->kernel_h * w.d->kernel_w <= PQ_DEPTHWISE_TAPS_MAX);
    w.vectors = w.d->is_split ? 1 : w.d->vectors;
    w.groups = pq_depthwise_group_taps(w.d->kernel_h, w.d->kernel_w);
    pq_emit_function(e, &e->t_ptr, 1);
    w.v_args = pq_emit_param(e, 0);
    if (pq_epilogue_is_long(&w.d->epilogue)) {
        w.v_stack = pq_emit_stack(e, 64 * PIXELS_MAX * VECTORS_MAX);
    }
    w.v_column = field(&w, e->t_i64, offsetof(pq_depthwise_args, column_bytes));
    w.v_pixel = field(&w, e->t_i64, offsetof(pq_depthwise_args, pixel_bytes));
    w.v_out_stride =
        field(&w, e->t_i64, offsetof(pq_depthwise_args, out_stride));
    w.v_residual_stride = field(&w, e->t_i64, EPI(residual_stride));
    if (w.d->masked) {
        // lane < channels and not lane < skip
        LLVMValueRef v_below = pq_emit_mask(
            e, field(&w, e->t_i64, offsetof(pq_depthwise_args, skip)));
        LLVMValueRef v_real = pq_emit_mask(
            e, field(&w, e->t_i64, offsetof(pq_depthwise_args, channels)));
        w.v_mask = LLVMBuildXor(e->builder, v_real, v_below, "");
    }
    pq_emit_epilogue_values(
        e, &w.d->epilogue,
        pq_emit_at_const(e, w.v_args,
                         (int64_t)offsetof(pq_depthwise_args, epilogue)),
        &w.values);
    pq_loop blocks;
    pq_emit_loop_begin(e, &blocks, pq_emit_i64(e, 0),
                       field(&w, e->t_i64, offsetof(pq_depthwise_args, blocks)),
                       1, NULL, 0);
    set_block(&w, blocks.v_index);
    emit_block(&w);
    pq_emit_loop_end(e, &blocks, NULL);
    pq_emit_return(e);
    return PTQC_BE_OK;
}

const pq_kernel_class pq_depthwise_class = {
    .name = "depthwise",
    .version = 7,
    .desc_bytes = sizeof(pq_depthwise_kernel_desc),
    .emit = emit_depthwise,
};
