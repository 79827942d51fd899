// SPDX-License-Identifier: Apache-2.0
//
// Rows of fixed point numbers (fixed.h): one kernel, two passes over a row.
#include "fixed.h"

#include <stddef.h>

#include "emit.h"
#include "emit_math.h"
#include "emit_real.h"

#define CODE_MAX 16256.0f // 127 * 128

typedef LLVMValueRef val;

typedef struct fixed_args {
    const void *x;
    const float *scales; // one digit
    uint8_t *out;
    int64_t rows, k, group;
    int64_t low_offset, sums_offset, row_bytes, full_groups;
} fixed_args;

typedef struct fix {
    pq_emitter *e;
    const pq_fixed_key *d;
    val v_k, v_full, v_group, v_full_groups, v_low_offset, v_sums_offset;
    val v_rest_mask;           // NULL when rest is 0
    val v_x, v_out, v_inverse; // of the row
    val v_scales;              // one digit: of the row on
} fix;

static uint32_t
x_bytes(const fix *f)
{
    return f->d->digits == 1 ? 1 : 4;
}

static val
load_x(const fix *f, val v_index, val v_mask)
{
    val v_at = LLVMBuildMul(f->e->builder, v_index, pq_emit_i64(f->e, 4), "");
    return pq_emit_load_real(f->e, PTQC_F32, pq_emit_at(f->e, f->v_x, v_at),
                             v_mask);
}

// ---- scale -----------------------------------------------------------------

// The largest |x| of the row; NaN when one is.
static val
largest(const fix *f)
{
    pq_emitter *e = f->e;
    val v_most = LLVMConstNull(e->t_vf32);
    pq_loop loop;
    pq_emit_loop_begin(e, &loop, pq_emit_i64(e, 0), f->v_full, PQ_LANES,
                       &v_most, 1);
    val v_x = load_x(f, loop.v_index, NULL);
    v_most = pq_emit_maxf(e, pq_emit_absf(e, v_x), loop.v_carried[0]);
    pq_emit_loop_end(e, &loop, &v_most);
    v_most = loop.v_carried[0];
    if (f->v_rest_mask != NULL) {
        v_x = load_x(f, f->v_full, f->v_rest_mask);
        v_most = pq_emit_maxf(e, pq_emit_absf(e, v_x), v_most);
    }
    for (uint32_t lanes = PQ_LANES / 2; lanes > 0; lanes /= 2) {
        int low[PQ_LANES], high[PQ_LANES];
        for (uint32_t i = 0; i < lanes; i++) {
            low[i] = (int)i;
            high[i] = (int)(i + lanes);
        }
        val v_none = LLVMGetPoison(LLVMTypeOf(v_most));
        v_most = pq_emit_maxf(e, pq_emit_shuffle(e, v_most, v_none, low, lanes),
                              pq_emit_shuffle(e, v_most, v_none, high, lanes));
    }
    return LLVMBuildExtractElement(e->builder, v_most, pq_emit_i32(e, 0), "");
}

// Sets v_inverse; -> the scale.
static val
row_scale(fix *f)
{
    pq_emitter *e = f->e;
    LLVMBuilderRef b = e->builder;
    val v_zero = pq_emit_f32(e, 0.0f);
    val v_scale = LLVMBuildFDiv(b, largest(f), pq_emit_f32(e, CODE_MAX), "");
    val v_tiny =
        LLVMBuildFCmp(b, LLVMRealOLT, v_scale, pq_emit_f32(e, 0x1p-126f), "");
    v_scale = LLVMBuildSelect(b, v_tiny, v_zero, v_scale, "");
    val v_is_zero = LLVMBuildFCmp(b, LLVMRealOEQ, v_scale, v_zero, "");
    val v_inverse = LLVMBuildFDiv(b, pq_emit_f32(e, 1.0f), v_scale, "");
    v_inverse = LLVMBuildSelect(b, v_is_zero, v_zero, v_inverse, "");
    f->v_inverse = pq_emit_splat(e, v_inverse);
    return v_scale;
}

// ---- digits ----------------------------------------------------------------

static void
store_digits(const fix *f, val v_q, val v_index)
{
    pq_emitter *e = f->e;
    LLVMBuilderRef b = e->builder;
    val v_at = pq_emit_at(e, f->v_out, v_index);
    val v_high = LLVMBuildAShr(b, v_q, pq_emit_splat_i32(e, 7), "");
    val v_low = LLVMBuildAnd(b, v_q, pq_emit_splat_i32(e, 127), "");
    pq_emit_store(e, LLVMBuildTrunc(b, v_high, e->t_vi8, ""), v_at, 16);
    pq_emit_store(e, LLVMBuildTrunc(b, v_low, e->t_vi8, ""),
                  pq_emit_at(e, v_at, f->v_low_offset), 16);
}

// 16 codes, less 128; outside of the mask 0.
static val
load_codes(const fix *f, val v_index, val v_mask)
{
    pq_emitter *e = f->e;
    LLVMBuilderRef b = e->builder;
    val v_at = pq_emit_at(e, f->v_x, v_index);
    val v_bytes = v_mask == NULL
                      ? pq_emit_load(e, e->t_vi8, v_at, 1)
                      : pq_emit_masked_load(e, e->t_vi8, v_at, v_mask, 1);
    val v_code = LLVMBuildSub(b, LLVMBuildZExt(b, v_bytes, e->t_vi32, ""),
                              pq_emit_splat_i32(e, 128), "");
    return v_mask == NULL ? v_code
                          : LLVMBuildSelect(b, v_mask, v_code,
                                            LLVMConstNull(e->t_vi32), "");
}

// 16 elements; -> v_sum plus them.
static val
fix_block(const fix *f, val v_index, val v_mask, val v_sum)
{
    pq_emitter *e = f->e;
    if (f->d->digits == 1) {
        val v_code = load_codes(f, v_index, v_mask);
        pq_emit_store(e, LLVMBuildTrunc(e->builder, v_code, e->t_vi8, ""),
                      pq_emit_at(e, f->v_out, v_index), 16);
        return LLVMBuildAdd(e->builder, v_sum, v_code, "");
    }
    val v_t =
        LLVMBuildFMul(e->builder, load_x(f, v_index, v_mask), f->v_inverse, "");
    val v_q = pq_emit_round_code(e, v_t, pq_emit_splat_f32(e, -CODE_MAX),
                                 pq_emit_splat_f32(e, CODE_MAX));
    store_digits(f, v_q, v_index);
    return LLVMBuildAdd(e->builder, v_sum, v_q, "");
}

// Whole blocks of [v_begin, v_end); -> their sums by lane.
static val
fix_blocks(const fix *f, val v_begin, val v_end)
{
    val v_sum = LLVMConstNull(f->e->t_vi32);
    pq_loop loop;
    pq_emit_loop_begin(f->e, &loop, v_begin, v_end, PQ_LANES, &v_sum, 1);
    v_sum = fix_block(f, loop.v_index, NULL, loop.v_carried[0]);
    pq_emit_loop_end(f->e, &loop, &v_sum);
    return loop.v_carried[0];
}

static void
store_sum(const fix *f, val v_sum, val v_index)
{
    pq_emitter *e = f->e;
    LLVMTypeRef type = e->t_vi32;
    val v_total =
        pq_emit_intrinsic(e, "llvm.vector.reduce.add", &type, 1, &v_sum, 1);
    val v_at = LLVMBuildMul(e->builder, v_index, pq_emit_i64(e, 4), "");
    v_at = LLVMBuildAdd(e->builder, v_at, f->v_sums_offset, "");
    pq_emit_store(e, v_total, pq_emit_at(e, f->v_out, v_at), 4);
}

static void
fix_groups(const fix *f)
{
    pq_emitter *e = f->e;
    LLVMBuilderRef b = e->builder;
    pq_loop loop;
    pq_emit_loop_begin(e, &loop, pq_emit_i64(e, 0), f->v_full_groups, 1, NULL,
                       0);
    val v_begin = LLVMBuildMul(b, loop.v_index, f->v_group, "");
    val v_sum =
        fix_blocks(f, v_begin, LLVMBuildAdd(b, v_begin, f->v_group, ""));
    store_sum(f, v_sum, loop.v_index);
    pq_emit_loop_end(e, &loop, NULL);
    if (!f->d->is_partial) {
        return;
    }
    v_begin = LLVMBuildMul(b, f->v_full_groups, f->v_group, "");
    v_sum = fix_blocks(f, v_begin, f->v_full);
    if (f->v_rest_mask != NULL) {
        v_sum = fix_block(f, f->v_full, f->v_rest_mask, v_sum);
    }
    store_sum(f, v_sum, f->v_full_groups);
}

static void
fix_row(fix *f)
{
    pq_emitter *e = f->e;
    LLVMBuilderRef b = e->builder;
    val v_scale = f->d->digits == 1 ? pq_emit_load(e, e->t_f32, f->v_scales, 4)
                                    : row_scale(f);
    fix_groups(f);
    val v_groups = f->v_full_groups;
    if (f->d->is_partial) {
        v_groups = LLVMBuildAdd(b, v_groups, pq_emit_i64(e, 1), "");
    }
    val v_at = LLVMBuildMul(b, v_groups, pq_emit_i64(e, 4), "");
    v_at = LLVMBuildAdd(b, v_at, f->v_sums_offset, "");
    pq_emit_store(e, v_scale, pq_emit_at(e, f->v_out, v_at), 4);
}

static ptqc_be_status
emit_fixed(pq_emitter *e, const void *desc)
{
    fix f = {.e = e, .d = desc};
    pq_emit_function(e, &e->t_ptr, 1);
    val v_args = pq_emit_param(e, 0);
#define FIELD(type, field)                                                     \
    pq_emit_field(e, v_args, e->type, offsetof(fixed_args, field))
    f.v_k = FIELD(t_i64, k);
    f.v_group = FIELD(t_i64, group);
    f.v_full_groups = FIELD(t_i64, full_groups);
    f.v_low_offset = FIELD(t_i64, low_offset);
    f.v_sums_offset = FIELD(t_i64, sums_offset);
    val v_row_bytes = FIELD(t_i64, row_bytes), v_rows = FIELD(t_i64, rows);
    val v_start[3] = {FIELD(t_ptr, x), FIELD(t_ptr, out), FIELD(t_ptr, scales)};
#undef FIELD
    f.v_full = LLVMBuildSub(e->builder, f.v_k, pq_emit_i64(e, f.d->rest), "");
    if (f.d->rest > 0) {
        f.v_rest_mask = pq_emit_mask(e, pq_emit_i64(e, f.d->rest));
    }
    val v_x_bytes =
        LLVMBuildMul(e->builder, f.v_k, pq_emit_i64(e, x_bytes(&f)), "");
    pq_loop loop;
    pq_emit_loop_begin(e, &loop, pq_emit_i64(e, 0), v_rows, 1, v_start, 3);
    f.v_x = loop.v_carried[0];
    f.v_out = loop.v_carried[1];
    f.v_scales = loop.v_carried[2];
    fix_row(&f);
    v_start[0] = pq_emit_at(e, f.v_x, v_x_bytes);
    v_start[1] = pq_emit_at(e, f.v_out, v_row_bytes);
    v_start[2] = pq_emit_at_const(e, f.v_scales, 4);
    pq_emit_loop_end(e, &loop, v_start);
    pq_emit_return(e);
    return PTQC_BE_OK;
}

const pq_kernel_class pq_fixed_class = {
    .name = "fixed point rows",
    .version = 2,
    .desc_bytes = sizeof(pq_fixed_key),
    .emit = emit_fixed,
};

ptqc_be_status
pq_fixed_prepare(pq_jit *jit, ptqc_call *call, pq_fixed *fixed)
{
    const pq_fixed_shape *s = &fixed->shape;
    pq_fixed_key desc = {.rest = (uint32_t)(s->k % PQ_LANES),
                         .is_partial = s->k % s->group > 0,
                         .digits = s->digits};
    void (*code)(void);
    ptqc_be_status st = pq_jit_get(jit, call, &pq_fixed_class, &desc, &code);
    if (st == PTQC_BE_OK) {
        fixed->kernel = (void (*)(const void *))code;
    }
    return st;
}

void
pq_fixed_run(const pq_fixed *fixed, const void *x, const float *scales,
             void *out, const pq_worker *worker)
{
    const pq_fixed_shape *s = &fixed->shape;
    pq_range mine = pq_worker_range(worker, fixed->rows, 1);
    int64_t row_bytes = pq_fixed_row_bytes(s);
    int64_t bytes = s->digits == 1 ? 1 : 4;
    fixed_args args = {
        .x = (const uint8_t *)x + mine.begin * s->k * bytes,
        .scales = scales == NULL ? NULL : scales + mine.begin,
        .out = (uint8_t *)out + mine.begin * row_bytes,
        .rows = mine.end - mine.begin,
        .k = s->k,
        .group = s->group,
        .low_offset = pq_fixed_plane(s),
        .sums_offset = pq_fixed_sums_offset(s),
        .row_bytes = row_bytes,
        .full_groups = s->k / s->group,
    };
    fixed->kernel(&args);
}
