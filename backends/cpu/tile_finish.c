// SPDX-License-Identifier: Apache-2.0
//
// The end of the tile kernel: the epilogue of every accumulator, unrolled, or
// in a loop over accumulators on the stack when its code is long.
#include <stddef.h>

#include "gemm.h"
#include "tile_emit.h"

static LLVMValueRef
epilogue_pointer(pq_tile *t, size_t offset)
{
    return pq_emit_field(t->e, t->v_args, t->e->t_ptr,
                         offsetof(pq_tile_args, epilogue) + offset);
}

// Channel vectors of the strips; NULL where unused.
static void
load_channels(pq_tile *t, int is_used, LLVMTypeRef type, size_t offset,
              LLVMValueRef *v_out)
{
    LLVMValueRef v_base = is_used ? epilogue_pointer(t, offset) : NULL;
    for (uint32_t s = 0; s < t->d->strips; s++) {
        v_out[s] =
            is_used ? pq_emit_load(
                          t->e, type,
                          pq_emit_at_const(t->e, v_base, PQ_LINE_BYTES * s), 4)
                    : NULL;
    }
}

// base + row * stride for the row-wise outputs and residuals.
static LLVMValueRef
row_at(pq_tile *t, LLVMValueRef v_base, LLVMValueRef v_stride, uint32_t row)
{
    LLVMValueRef v_bytes =
        LLVMBuildMul(t->e->builder, v_stride, pq_emit_i64(t->e, row), "");
    return pq_emit_at(t->e, v_base, v_bytes);
}

typedef struct finish {
    pq_epilogue_values values;
    LLVMValueRef v_mult[PQ_TILE_STRIPS_MAX], v_bias[PQ_TILE_STRIPS_MAX];
    LLVMValueRef v_zero[PQ_TILE_STRIPS_MAX]; // zero points of the weights
    LLVMValueRef v_out, v_out_stride, v_residual, v_residual_stride;
    LLVMValueRef v_row_scale, v_row_sum, v_mask;
} finish;

static void
load_finish(pq_tile *t, finish *f)
{
    pq_emitter *e = t->e;
    const pq_epilogue *ep = &t->d->epilogue;
    *f = (finish){0};
    pq_emit_epilogue_values(
        e, ep,
        pq_emit_at_const(e, t->v_args,
                         (int64_t)offsetof(pq_tile_args, epilogue)),
        &f->values);
    load_channels(t, ep->kind != PQ_EPI_FLOAT, e->t_vf32,
                  offsetof(pq_epilogue_args, mult), f->v_mult);
    load_channels(t, (ep->flags & PQ_EPI_BIAS) != 0, e->t_vf32,
                  offsetof(pq_epilogue_args, bias), f->v_bias);
    load_channels(t, (ep->flags & PQ_EPI_WEIGHT_ZERO) != 0, e->t_vi32,
                  offsetof(pq_epilogue_args, weight_zero), f->v_zero);
    f->v_out =
        pq_emit_field(e, t->v_args, e->t_ptr, offsetof(pq_tile_args, out));
    f->v_out_stride = pq_emit_field(e, t->v_args, e->t_i64,
                                    offsetof(pq_tile_args, out_stride));
    if (ep->residual != PQ_ELEM_NONE) {
        f->v_residual =
            epilogue_pointer(t, offsetof(pq_epilogue_args, residual));
        f->v_residual_stride =
            pq_emit_field(e, t->v_args, e->t_i64,
                          offsetof(pq_tile_args, epilogue) +
                              offsetof(pq_epilogue_args, residual_stride));
    }
    if (ep->flags & PQ_EPI_ROW_SCALE) {
        f->v_row_scale =
            epilogue_pointer(t, offsetof(pq_epilogue_args, row_scale));
    }
    if (ep->flags & PQ_EPI_WEIGHT_ZERO) {
        f->v_row_sum = epilogue_pointer(t, offsetof(pq_epilogue_args, row_sum));
    }
    if (t->d->masked) {
        LLVMValueRef v_columns = pq_emit_field(e, t->v_args, e->t_i64,
                                               offsetof(pq_tile_args, columns));
        f->v_mask = pq_emit_mask(
            e, LLVMBuildSub(e->builder, v_columns,
                            pq_emit_i64(e, 16 * (t->d->strips - 1)), ""));
    }
}

// Addresses and splats that the vectors of a row share.
typedef struct row_values {
    LLVMValueRef v_out, v_residual, v_row_scale, v_row_sum;
} row_values;

static row_values
load_row(pq_tile *t, const finish *f, uint32_t row)
{
    pq_emitter *e = t->e;
    row_values v = {.v_out = row_at(t, f->v_out, f->v_out_stride, row)};
    if (f->v_residual != NULL) {
        v.v_residual = row_at(t, f->v_residual, f->v_residual_stride, row);
    }
    if (f->v_row_scale != NULL) {
        LLVMValueRef v_ptr = pq_emit_at_const(e, f->v_row_scale, 4 * row);
        v.v_row_scale = pq_emit_splat(e, pq_emit_load(e, e->t_f32, v_ptr, 4));
    }
    if (f->v_row_sum != NULL) {
        LLVMValueRef v_ptr = pq_emit_at_const(e, f->v_row_sum, 4 * row);
        v.v_row_sum = pq_emit_splat(e, pq_emit_load(e, e->t_i32, v_ptr, 4));
    }
    return v;
}

// acc - zero * sum
static LLVMValueRef
less_zero(pq_emitter *e, LLVMValueRef v_acc, LLVMValueRef v_zero,
          LLVMValueRef v_sum)
{
    LLVMBuilderRef b = e->builder;
    return v_zero == NULL
               ? v_acc
               : LLVMBuildSub(b, v_acc, LLVMBuildMul(b, v_zero, v_sum, ""), "");
}

static pq_epilogue_lane
lane_of(pq_tile *t, const finish *f, const row_values *row, uint32_t index)
{
    const pq_epilogue *ep = &t->d->epilogue;
    uint32_t s = index % t->d->strips;
    int64_t residual_bytes = ep->residual == PQ_ELEM_F32 ? 64 : 16;
    return (pq_epilogue_lane){
        .v_acc = less_zero(t->e, t->v_acc[index], f->v_zero[s], row->v_row_sum),
        .v_mult = f->v_mult[s],
        .v_bias = f->v_bias[s],
        .v_row_scale = row->v_row_scale,
        .v_residual =
            row->v_residual == NULL
                ? NULL
                : pq_emit_at_const(t->e, row->v_residual, residual_bytes * s),
        .v_out = pq_emit_at_const(t->e, row->v_out,
                                  16 * pq_epilogue_out_bytes(ep) * s),
        .v_mask = s + 1 == t->d->strips ? f->v_mask : NULL,
        .follows = s > 0,
    };
}

// All accumulators, four by four, over the ends of rows.
static void
finish_groups(pq_tile *t, const finish *f)
{
    uint32_t count = t->d->rows * t->d->strips;
    pq_epilogue_lane lanes[PQ_EPILOGUE_GROUP];
    row_values row = {0};
    for (uint32_t i = 0; i < count; i++) {
        if (i % t->d->strips == 0) {
            row = load_row(t, f, i / t->d->strips);
        }
        lanes[i % PQ_EPILOGUE_GROUP] = lane_of(t, f, &row, i);
        if (i % PQ_EPILOGUE_GROUP == PQ_EPILOGUE_GROUP - 1 || i + 1 == count) {
            pq_emit_epilogue_group(t->e, &t->d->epilogue, &f->values, lanes,
                                   i % PQ_EPILOGUE_GROUP + 1);
        }
    }
}

// ---- epilogue in a loop ----------------------------------------------------

static LLVMValueRef
times(pq_tile *t, LLVMValueRef v_index, int64_t bytes)
{
    return LLVMBuildMul(t->e->builder, v_index, pq_emit_i64(t->e, bytes), "");
}

// base field + strip * 64 bytes, loaded; NULL when unused.
static LLVMValueRef
channel_at(pq_tile *t, int is_used, LLVMTypeRef type, size_t offset,
           LLVMValueRef v_strip)
{
    return is_used ? pq_emit_load(t->e, type,
                                  pq_emit_at(t->e, epilogue_pointer(t, offset),
                                             times(t, v_strip, 64)),
                                  4)
                   : NULL;
}

static LLVMValueRef
strip_mask(pq_tile *t, LLVMValueRef v_strip)
{
    pq_emitter *e = t->e;
    LLVMValueRef v_columns =
        pq_emit_field(e, t->v_args, e->t_i64, offsetof(pq_tile_args, columns));
    return pq_emit_mask(
        e, LLVMBuildSub(e->builder, v_columns, times(t, v_strip, 16), ""));
}

// Accumulator (row, strip) from the stack.
static void
finish_one(pq_tile *t, const finish *f, LLVMValueRef v_row,
           LLVMValueRef v_strip)
{
    pq_emitter *e = t->e;
    LLVMBuilderRef b = e->builder;
    const pq_epilogue *ep = &t->d->epilogue;
    int64_t residual_bytes = ep->residual == PQ_ELEM_F32 ? 64 : 16;
    LLVMValueRef v_at =
        LLVMBuildAdd(b, times(t, v_row, PQ_LINE_BYTES * (int64_t)t->d->strips),
                     times(t, v_strip, PQ_LINE_BYTES), "");
    LLVMValueRef v_out =
        pq_emit_at(e, f->v_out, LLVMBuildMul(b, v_row, f->v_out_stride, ""));
    pq_epilogue_lane lane = {
        .v_acc = pq_emit_load(
            e, t->d->weight == PQ_WEIGHT_S8 ? e->t_vi32 : e->t_vf32,
            pq_emit_at(e, t->v_stack, v_at), 64),
        .v_mult = channel_at(t, ep->kind != PQ_EPI_FLOAT, e->t_vf32,
                             offsetof(pq_epilogue_args, mult), v_strip),
        .v_bias = channel_at(t, (ep->flags & PQ_EPI_BIAS) != 0, e->t_vf32,
                             offsetof(pq_epilogue_args, bias), v_strip),
        .v_out = pq_emit_at(e, v_out,
                            times(t, v_strip, 16 * pq_epilogue_out_bytes(ep))),
        .v_mask = t->d->masked ? strip_mask(t, v_strip) : NULL,
    };
    if (f->v_residual != NULL) {
        LLVMValueRef v_line = pq_emit_at(
            e, f->v_residual, LLVMBuildMul(b, v_row, f->v_residual_stride, ""));
        lane.v_residual =
            pq_emit_at(e, v_line, times(t, v_strip, residual_bytes));
    }
    if (f->v_row_scale != NULL) {
        lane.v_row_scale = pq_emit_splat(
            e,
            pq_emit_load(e, e->t_f32,
                         pq_emit_at(e, f->v_row_scale, times(t, v_row, 4)), 4));
    }
    if (f->v_row_sum != NULL) {
        LLVMValueRef v_ptr = pq_emit_at(e, f->v_row_sum, times(t, v_row, 4));
        lane.v_acc = less_zero(
            e, lane.v_acc,
            channel_at(t, 1, e->t_vi32, offsetof(pq_epilogue_args, weight_zero),
                       v_strip),
            pq_emit_splat(e, pq_emit_load(e, e->t_i32, v_ptr, 4)));
    }
    pq_emit_epilogue(e, ep, &f->values, &lane);
}

static void
finish_in_loop(pq_tile *t, const finish *f)
{
    pq_emitter *e = t->e;
    for (uint32_t i = 0; i < t->d->rows * t->d->strips; i++) {
        pq_emit_store(e, t->v_acc[i],
                      pq_emit_at_const(e, t->v_stack, PQ_LINE_BYTES * i), 64);
    }
    pq_loop rows, strips;
    LLVMValueRef v_zero = pq_emit_i64(e, 0);
    pq_emit_loop_begin(e, &rows, v_zero, pq_emit_i64(e, t->d->rows), 1, NULL,
                       0);
    pq_emit_loop_begin(e, &strips, v_zero, pq_emit_i64(e, t->d->strips), 1,
                       NULL, 0);
    finish_one(t, f, rows.v_index, strips.v_index);
    pq_emit_loop_end(e, &strips, NULL);
    pq_emit_loop_end(e, &rows, NULL);
}

void
pq_tile_finish(pq_tile *t)
{
    finish f;
    load_finish(t, &f);
    if (t->v_stack != NULL) {
        finish_in_loop(t, &f);
        return;
    }
    finish_groups(t, &f);
}
