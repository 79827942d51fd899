// SPDX-License-Identifier: Apache-2.0
//
// Reductions, softmax, norms and dynamic quantization as scans over rows or
// columns. Values that belong to a whole row are scalars in the row form and
// vectors of 16 columns in the column form; the arithmetic on them is the
// same text. Formulas: row.h.
#include "emit_row.h"

#include <llvm-c/Core.h>
#include <math.h>
#include <stddef.h>

#include "emit_math.h"
#include "emit_row_scan.h"

typedef LLVMValueRef val;

// Everything about the row (or 16 columns) that is being emitted.
typedef struct row_emit {
    pq_emitter *e;
    const pq_row_key *key;
    val v_args;
    val v_index;   // row or first column
    val v_mask;    // columns in use; NULL in the row form
    val v_in[3];   // of this row, NULL where absent
    val v_out;     // of this row
    val v_n;       // length, i64
    val v_n_f32;   // scalar f32, or the same in all lanes
    val v_scale_x; // softmax: the factor, in all lanes
} row_emit;

// ---- bodies of scans -----------------------------------------------------

// What bodies read: a value of the whole row in every lane, or per column.
typedef struct scan_user {
    val v_center, v_factor, v_scale, v_bias;
    const row_emit *r;
} scan_user;

static void
body_sum(pq_emitter *e, const void *user, const val *v_in, val *v_acc,
         val *v_out)
{
    (void)user;
    (void)v_out;
    *v_acc = LLVMBuildFAdd(e->builder, *v_acc, v_in[0], "");
}

static void
body_product(pq_emitter *e, const void *user, const val *v_in, val *v_acc,
             val *v_out)
{
    (void)user;
    (void)v_out;
    *v_acc = LLVMBuildFMul(e->builder, *v_acc, v_in[0], "");
}

static void
body_sum_abs(pq_emitter *e, const void *user, const val *v_in, val *v_acc,
             val *v_out)
{
    (void)user;
    (void)v_out;
    *v_acc = LLVMBuildFAdd(e->builder, *v_acc, pq_emit_absf(e, v_in[0]), "");
}

static void
body_sum_square(pq_emitter *e, const void *user, const val *v_in, val *v_acc,
                val *v_out)
{
    (void)user;
    (void)v_out;
    *v_acc = pq_emit_fma(e, v_in[0], v_in[0], *v_acc);
}

// The new element first: its NaN wins, and an old NaN stays.
static void
body_max(pq_emitter *e, const void *user, const val *v_in, val *v_acc,
         val *v_out)
{
    (void)user;
    (void)v_out;
    *v_acc = pq_emit_maxf(e, v_in[0], *v_acc);
}

static void
body_min(pq_emitter *e, const void *user, const val *v_in, val *v_acc,
         val *v_out)
{
    (void)user;
    (void)v_out;
    *v_acc = pq_emit_minf(e, v_in[0], *v_acc);
}

static void
body_max_abs(pq_emitter *e, const void *user, const val *v_in, val *v_acc,
             val *v_out)
{
    (void)user;
    (void)v_out;
    *v_acc = pq_emit_maxf(e, pq_emit_absf(e, v_in[0]), *v_acc);
}

static void
body_sum_exp(pq_emitter *e, const void *user, const val *v_in, val *v_acc,
             val *v_out)
{
    const scan_user *u = user;
    (void)v_out;
    val v_d = LLVMBuildFSub(e->builder, v_in[0], u->v_center, "");
    *v_acc = LLVMBuildFAdd(e->builder, *v_acc, pq_emit_expf(e, v_d), "");
}

static void
body_variance(pq_emitter *e, const void *user, const val *v_in, val *v_acc,
              val *v_out)
{
    const scan_user *u = user;
    (void)v_out;
    val v_d = LLVMBuildFSub(e->builder, v_in[0], u->v_center, "");
    *v_acc = pq_emit_fma(e, v_d, v_d, *v_acc);
}

// t = x * scale + mask, as far as the kernel has them
static val
softmax_input(pq_emitter *e, const row_emit *r, const val *v_in)
{
    val v_t = v_in[0];
    if (r->key->flags & PQ_ROW_SCALE) {
        v_t = LLVMBuildFMul(e->builder, v_t, r->v_scale_x, "");
    }
    if (r->key->flags & PQ_ROW_BIAS) {
        v_t = LLVMBuildFAdd(e->builder, v_t, v_in[1], "");
    }
    return v_t;
}

static void
body_softmax_max(pq_emitter *e, const void *user, const val *v_in, val *v_acc,
                 val *v_out)
{
    const scan_user *u = user;
    (void)v_out;
    *v_acc = pq_emit_maxf(e, softmax_input(e, u->r, v_in), *v_acc);
}

static void
body_softmax_exp(pq_emitter *e, const void *user, const val *v_in, val *v_acc,
                 val *v_out)
{
    const scan_user *u = user;
    val v_t = softmax_input(e, u->r, v_in);
    val v_d = LLVMBuildFSub(e->builder, v_t, u->v_center, "");
    *v_out = pq_emit_expf(e, v_d);
    *v_acc = LLVMBuildFAdd(e->builder, *v_acc, *v_out, "");
}

static void
body_divide(pq_emitter *e, const void *user, const val *v_in, val *v_acc,
            val *v_out)
{
    const scan_user *u = user;
    (void)v_acc;
    *v_out = LLVMBuildFDiv(e->builder, v_in[0], u->v_factor, "");
}

// (t - m) - log(s)
static void
body_log_softmax(pq_emitter *e, const void *user, const val *v_in, val *v_acc,
                 val *v_out)
{
    const scan_user *u = user;
    (void)v_acc;
    val v_t = softmax_input(e, u->r, v_in);
    val v_d = LLVMBuildFSub(e->builder, v_t, u->v_center, "");
    *v_out = LLVMBuildFSub(e->builder, v_d, u->v_factor, "");
}

static void
body_normalize(pq_emitter *e, const void *user, const val *v_in, val *v_acc,
               val *v_out)
{
    const scan_user *u = user;
    LLVMBuilderRef b = e->builder;
    (void)v_acc;
    val v_scale = u->v_scale != NULL ? u->v_scale : v_in[1];
    val v_bias = u->v_bias != NULL ? u->v_bias : v_in[2];
    val v_t = v_in[0];
    if (u->v_center != NULL) {
        v_t = LLVMBuildFSub(b, v_t, u->v_center, "");
    }
    v_t = LLVMBuildFMul(b, v_t, u->v_factor, "");
    if (v_scale != NULL && v_bias != NULL) {
        v_t = pq_emit_fma(e, v_t, v_scale, v_bias);
    } else if (v_scale != NULL) {
        v_t = LLVMBuildFMul(b, v_t, v_scale, "");
    } else if (v_bias != NULL) {
        v_t = LLVMBuildFAdd(b, v_t, v_bias, "");
    }
    *v_out = v_t;
}

static void
body_code(pq_emitter *e, const void *user, const val *v_in, val *v_acc,
          val *v_out)
{
    const scan_user *u = user;
    (void)v_acc;
    val v_t = LLVMBuildFMul(e->builder, v_in[0], u->v_factor, "");
    LLVMTypeRef type = LLVMTypeOf(v_t);
    val v_code = pq_emit_round_code(e, v_t, pq_emit_real(type, -127.0),
                                    pq_emit_real(type, 127.0));
    if (u->r->key->flags & PQ_ROW_BIASED) {
        v_code =
            LLVMBuildAdd(e->builder, v_code, pq_emit_splat_i32(e, 128), "");
    }
    *v_out = LLVMBuildTrunc(e->builder, v_code, e->t_vi8, "");
}

// ---- values of a row -----------------------------------------------------

// A value of the whole row in the form that bodies use.
static val
in_lanes(const row_emit *r, val v_value)
{
    return r->key->is_column ? v_value : pq_emit_splat(r->e, v_value);
}

static val
whole_row(const row_emit *r, double value)
{
    return r->key->is_column ? pq_emit_real(r->e->t_vf32, value)
                             : pq_emit_real(r->e->t_f32, value);
}

static pq_scan
scan_of(const row_emit *r, pq_scan_fold fold, pq_scan_body body,
        const scan_user *user)
{
    pq_scan s = {
        .is_column = (int)r->key->is_column,
        .v_source = {r->v_in[0], NULL, NULL},
        .v_length = r->v_n,
        .v_mask = r->v_mask,
        .fold = fold,
        .body = body,
        .user = user,
        .target_bytes = 4,
    };
    if (r->key->is_column) {
        s.v_stride = pq_emit_field(r->e, r->v_args, r->e->t_i64,
                                   offsetof(pq_row_args, stride));
    }
    return s;
}

static val
fold_row(const row_emit *r, pq_scan_fold fold, pq_scan_body body,
         const scan_user *user)
{
    pq_scan s = scan_of(r, fold, body, user);
    return pq_emit_scan(r->e, &s);
}

static val
mean_of(const row_emit *r, val v_sum)
{
    return LLVMBuildFDiv(r->e->builder, v_sum, r->v_n_f32, "");
}

// ---- reductions ----------------------------------------------------------

// m = max(x), 0 when not finite; log(sum(exp(x - m))) + m
static val
log_sum_exp(const row_emit *r)
{
    pq_emitter *e = r->e;
    scan_user user = {.r = r};
    val v_max = fold_row(r, PQ_SCAN_MAX, body_max, &user);
    val v_finite =
        LLVMBuildFCmp(e->builder, LLVMRealOLT, pq_emit_absf(e, v_max),
                      whole_row(r, (double)INFINITY), "");
    v_max = LLVMBuildSelect(e->builder, v_finite, v_max, whole_row(r, 0.0), "");
    user.v_center = in_lanes(r, v_max);
    val v_sum = fold_row(r, PQ_SCAN_ADD, body_sum_exp, &user);
    return LLVMBuildFAdd(e->builder, v_max, pq_emit_logf(e, v_sum), "");
}

static val
reduce_value(const row_emit *r, pq_reduce_op op)
{
    pq_emitter *e = r->e;
    switch (op) {
    case PQ_REDUCE_SUM:
        return fold_row(r, PQ_SCAN_ADD, body_sum, NULL);
    case PQ_REDUCE_MEAN:
        return mean_of(r, fold_row(r, PQ_SCAN_ADD, body_sum, NULL));
    case PQ_REDUCE_MAX:
        return fold_row(r, PQ_SCAN_MAX, body_max, NULL);
    case PQ_REDUCE_MIN:
        return fold_row(r, PQ_SCAN_MIN, body_min, NULL);
    case PQ_REDUCE_PROD:
        return fold_row(r, PQ_SCAN_MUL, body_product, NULL);
    case PQ_REDUCE_L1:
        return fold_row(r, PQ_SCAN_ADD, body_sum_abs, NULL);
    case PQ_REDUCE_L2:
        return pq_emit_sqrtf(e,
                             fold_row(r, PQ_SCAN_ADD, body_sum_square, NULL));
    case PQ_REDUCE_SUM_SQUARE:
        return fold_row(r, PQ_SCAN_ADD, body_sum_square, NULL);
    case PQ_REDUCE_LOG_SUM:
        return pq_emit_logf(e, fold_row(r, PQ_SCAN_ADD, body_sum, NULL));
    case PQ_REDUCE_LOG_SUM_EXP:
        return log_sum_exp(r);
    case PQ_REDUCE_COUNT:
        break;
    }
    return NULL;
}

// Stores one value per row or column.
static void
store_value(const row_emit *r, val v_value, val v_at)
{
    if (r->key->is_column) {
        pq_emit_masked_store(r->e, v_value, v_at, r->v_mask, 4);
    } else {
        pq_emit_store(r->e, v_value, v_at, 4);
    }
}

// ---- softmax -------------------------------------------------------------

static void
emit_softmax(row_emit *r)
{
    pq_emitter *e = r->e;
    int is_log = r->key->what == PQ_ROW_LOG_SOFTMAX;
    scan_user user = {.r = r};
    if (r->key->flags & PQ_ROW_SCALE) {
        r->v_scale_x =
            pq_emit_splat(e, pq_emit_field(e, r->v_args, e->t_f32,
                                           offsetof(pq_row_args, scale)));
    }
    pq_scan s = scan_of(r, PQ_SCAN_MAX, body_softmax_max, &user);
    s.v_source[1] = r->v_in[1];
    user.v_center = in_lanes(r, pq_emit_scan(e, &s));
    s.fold = PQ_SCAN_ADD;
    s.body = body_softmax_exp;
    s.v_target = is_log ? NULL : r->v_out;
    val v_sum = pq_emit_scan(e, &s);
    v_sum = is_log ? pq_emit_logf(e, v_sum) : v_sum;
    user.v_factor = in_lanes(r, v_sum);
    s.fold = PQ_SCAN_NONE;
    s.body = is_log ? body_log_softmax : body_divide;
    s.v_target = r->v_out;
    if (!is_log) { // the exponentials are in the output
        s.v_source[0] = r->v_out;
        s.v_source[1] = NULL;
    }
    pq_emit_scan(e, &s);
}

// ---- norms ---------------------------------------------------------------

// 1 / sqrt(square_sum / n + epsilon)
static val
inverse_deviation(const row_emit *r, val v_square_sum)
{
    pq_emitter *e = r->e;
    val v_eps =
        pq_emit_field(e, r->v_args, e->t_f32, offsetof(pq_row_args, epsilon));
    v_eps = r->key->is_column ? pq_emit_splat(e, v_eps) : v_eps;
    val v_var = LLVMBuildFAdd(e->builder, mean_of(r, v_square_sum), v_eps, "");
    return pq_emit_rsqrtf(e, v_var);
}

static val
field_i64(const row_emit *r, size_t offset)
{
    return pq_emit_field(r->e, r->v_args, r->e->t_i64, offset);
}

static val
offset_elements(const row_emit *r, val v_base, val v_index)
{
    val v_bytes =
        LLVMBuildMul(r->e->builder, v_index, pq_emit_i64(r->e, 4), "");
    return pq_emit_at(r->e, v_base, v_bytes);
}

// for (s = 0; s < segments; s++) map over length / segments elements with
// scale[(row % groups) * segments + s], bias likewise
static void
normalize_segments(const row_emit *r, scan_user *user, pq_scan *scan)
{
    pq_emitter *e = r->e;
    LLVMBuilderRef b = e->builder;
    val v_segments = field_i64(r, offsetof(pq_row_args, segments));
    val v_groups = field_i64(r, offsetof(pq_row_args, groups));
    val v_row = LLVMBuildAdd(
        b, r->v_index, field_i64(r, offsetof(pq_row_args, first_row)), "");
    val v_first =
        LLVMBuildMul(b, LLVMBuildURem(b, v_row, v_groups, ""), v_segments, "");
    val v_length = LLVMBuildUDiv(b, r->v_n, v_segments, "");
    val v_source = scan->v_source[0];
    val v_target = scan->v_target;
    pq_loop loop;
    pq_emit_loop_begin(e, &loop, pq_emit_i64(e, 0), v_segments, 1, NULL, 0);
    val v_channel = LLVMBuildAdd(b, v_first, loop.v_index, "");
    val v_start = LLVMBuildMul(b, loop.v_index, v_length, "");
    if (r->v_in[1] != NULL) {
        user->v_scale = pq_emit_splat(
            e, pq_emit_load(e, e->t_f32,
                            offset_elements(r, r->v_in[1], v_channel), 4));
    }
    if (r->v_in[2] != NULL) {
        user->v_bias = pq_emit_splat(
            e, pq_emit_load(e, e->t_f32,
                            offset_elements(r, r->v_in[2], v_channel), 4));
    }
    scan->v_length = v_length;
    scan->v_source[0] = offset_elements(r, v_source, v_start);
    scan->v_target = offset_elements(r, v_target, v_start);
    pq_emit_scan(e, scan);
    pq_emit_loop_end(e, &loop, NULL);
}

static void
emit_norm(row_emit *r)
{
    pq_emitter *e = r->e;
    scan_user user = {.r = r};
    val v_square_sum;
    if (r->key->what == PQ_ROW_LAYER_NORM) {
        val v_sum = fold_row(r, PQ_SCAN_ADD, body_sum, &user);
        user.v_center = in_lanes(r, mean_of(r, v_sum));
        v_square_sum = fold_row(r, PQ_SCAN_ADD, body_variance, &user);
    } else {
        v_square_sum = fold_row(r, PQ_SCAN_ADD, body_sum_square, &user);
    }
    user.v_factor = in_lanes(r, inverse_deviation(r, v_square_sum));
    pq_scan s = scan_of(r, PQ_SCAN_NONE, body_normalize, &user);
    s.v_target = r->v_out;
    if (r->key->flags & PQ_ROW_SEGMENTS && !r->key->is_column) {
        normalize_segments(r, &user, &s);
        return;
    }
    if (r->key->is_column) { // one scale and bias per column
        user.v_scale =
            r->v_in[1] == NULL
                ? NULL
                : pq_emit_masked_load(e, e->t_vf32, r->v_in[1], r->v_mask, 4);
        user.v_bias =
            r->v_in[2] == NULL
                ? NULL
                : pq_emit_masked_load(e, e->t_vf32, r->v_in[2], r->v_mask, 4);
    } else {
        s.v_source[1] = r->v_in[1];
        s.v_source[2] = r->v_in[2];
    }
    pq_emit_scan(e, &s);
}

static void
body_lp_norm(pq_emitter *e, const void *user, const val *v_in, val *v_acc,
             val *v_out)
{
    const scan_user *u = user;
    (void)v_acc;
    val v_zero = pq_emit_real(e->t_vf32, 0.0);
    val v_is_zero =
        LLVMBuildFCmp(e->builder, LLVMRealOEQ, u->v_factor, v_zero, "");
    val v_y = LLVMBuildFDiv(e->builder, v_in[0], u->v_factor, "");
    *v_out = LLVMBuildSelect(e->builder, v_is_zero, v_zero, v_y, "");
}

// y = norm == 0 ? 0 : x / norm
static void
emit_lp_norm(row_emit *r)
{
    int is_two = (r->key->flags & PQ_ROW_P2) != 0;
    scan_user user = {.r = r};
    val v_norm = fold_row(r, PQ_SCAN_ADD,
                          is_two ? body_sum_square : body_sum_abs, &user);
    v_norm = is_two ? pq_emit_sqrtf(r->e, v_norm) : v_norm;
    user.v_factor = in_lanes(r, v_norm);
    pq_scan s = scan_of(r, PQ_SCAN_NONE, body_lp_norm, &user);
    s.v_target = r->v_out;
    pq_emit_scan(r->e, &s);
}

// ---- dynamic quantization ------------------------------------------------

// s = max|x| / 127, 0 when below 2^-126; factor = s == 0 ? 0 : 1 / s
static void
emit_quantize(row_emit *r)
{
    pq_emitter *e = r->e;
    LLVMBuilderRef b = e->builder;
    scan_user user = {.r = r};
    // The start of MAX is -infinity; an empty row counts as zeros.
    val v_zero = whole_row(r, 0.0);
    val v_max = fold_row(r, PQ_SCAN_MAX, body_max_abs, &user);
    v_max = pq_emit_maxf(e, v_max, v_zero);
    val v_s = LLVMBuildFDiv(b, v_max, whole_row(r, 127.0), "");
    val v_tiny = LLVMBuildFCmp(b, LLVMRealOLT, v_s, whole_row(r, 0x1p-126), "");
    v_s = LLVMBuildSelect(b, v_tiny, v_zero, v_s, "");
    val v_is_zero = LLVMBuildFCmp(b, LLVMRealOEQ, v_s, v_zero, "");
    val v_r = LLVMBuildFDiv(b, whole_row(r, 1.0), v_s, "");
    v_r = LLVMBuildSelect(b, v_is_zero, v_zero, v_r, "");
    val v_scales =
        pq_emit_field(e, r->v_args, e->t_ptr, offsetof(pq_row_args, out2));
    pq_emit_store(e, v_s, offset_elements(r, v_scales, r->v_index), 4);
    user.v_factor = in_lanes(r, v_r);
    pq_scan s = scan_of(r, PQ_SCAN_NONE, body_code, &user);
    s.v_target = r->v_out;
    s.target_bytes = 1;
    pq_emit_scan(e, &s);
}

// ---- kernels -------------------------------------------------------------

static void
emit_one(row_emit *r)
{
    switch (r->key->what) {
    case PQ_ROW_SOFTMAX:
    case PQ_ROW_LOG_SOFTMAX:
        emit_softmax(r);
        break;
    case PQ_ROW_LAYER_NORM:
    case PQ_ROW_RMS_NORM:
        emit_norm(r);
        break;
    case PQ_ROW_LP_NORM:
        emit_lp_norm(r);
        break;
    case PQ_ROW_QUANTIZE:
        emit_quantize(r);
        break;
    default:
        store_value(
            r, reduce_value(r, (pq_reduce_op)(r->key->what - PQ_ROW_REDUCE)),
            r->v_out);
        break;
    }
}

static int
has_source(const pq_row_key *key, uint32_t i)
{
    return i == 0 ||
           (i == 1 && key->what >= PQ_ROW_LAYER_NORM &&
            key->flags & PQ_ROW_SCALE) ||
           (i == 1 && key->what <= PQ_ROW_LOG_SOFTMAX &&
            key->flags & PQ_ROW_BIAS) ||
           (i == 2 && key->flags & PQ_ROW_BIAS);
}

// Addresses of the row (by steps) or of 16 columns (4 bytes each).
static void
set_addresses(row_emit *r)
{
    pq_emitter *e = r->e;
    for (uint32_t i = 0; i < 3; i++) {
        r->v_in[i] = NULL;
        if (has_source(r->key, i)) {
            val v_base = pq_emit_field(e, r->v_args, e->t_ptr,
                                       offsetof(pq_row_args, in) + i * 8);
            val v_step = field_i64(r, offsetof(pq_row_args, in_step) + i * 8);
            val v_bytes = LLVMBuildMul(e->builder, r->v_index, v_step, "");
            r->v_in[i] = r->key->is_column
                             ? offset_elements(r, v_base, r->v_index)
                             : pq_emit_at(e, v_base, v_bytes);
        }
    }
    val v_out =
        pq_emit_field(e, r->v_args, e->t_ptr, offsetof(pq_row_args, out));
    val v_step = field_i64(r, offsetof(pq_row_args, out_step));
    r->v_out =
        r->key->is_column
            ? offset_elements(r, v_out, r->v_index)
            : pq_emit_at(e, v_out,
                         LLVMBuildMul(e->builder, r->v_index, v_step, ""));
}

static ptqc_be_status
emit_kernel(pq_emitter *e, const void *desc)
{
    row_emit r = {.e = e, .key = desc};
    LLVMTypeRef params[1] = {e->t_ptr};
    pq_emit_function(e, params, 1);
    r.v_args = pq_emit_param(e, 0);
    r.v_n = field_i64(&r, offsetof(pq_row_args, length));
    val v_n_f32 = LLVMBuildSIToFP(e->builder, r.v_n, e->t_f32, "");
    r.v_n_f32 = r.key->is_column ? pq_emit_splat(e, v_n_f32) : v_n_f32;
    val v_rows = field_i64(&r, offsetof(pq_row_args, rows));
    pq_loop loop;
    pq_emit_loop_begin(e, &loop, pq_emit_i64(e, 0), v_rows,
                       r.key->is_column ? PQ_LANES : 1, NULL, 0);
    r.v_index = loop.v_index;
    if (r.key->is_column) {
        r.v_mask =
            pq_emit_mask(e, LLVMBuildSub(e->builder, v_rows, loop.v_index, ""));
    }
    set_addresses(&r);
    emit_one(&r);
    pq_emit_loop_end(e, &loop, NULL);
    pq_emit_return(e);
    return PTQC_BE_OK;
}

const pq_kernel_class pq_row_class = {
    .name = "row",
    .version = 3,
    .desc_bytes = sizeof(pq_row_key),
    .emit = emit_kernel,
};
