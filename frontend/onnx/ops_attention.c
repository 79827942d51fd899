// SPDX-License-Identifier: Apache-2.0
//
// Attention (ONNX Attention-23): heads are parted from packed operands, past
// keys and values put in front, masks made additive, then one attention op.
//   q [b, heads, tq, d], k, v [b, kv_heads, tk, d] or [b, t, heads * d]
// A causal query i sees the keys up to i + past.
#include <math.h>

#include "base/dtype.h"
#include "frontend/onnx/ops.h"

typedef struct attention {
    int64_t heads, kv_heads; // of packed operands
    int64_t is_causal;
    float scale;
    bool has_scale;
    bool is_packed; // [b, t, heads * d]
    ptqc_dtype dtype;
    pq_value_id q, k, v, mask;
    pq_dim past; // keys before the block
} attention;

static ptqc_status
refuse_variants(pq_onnx_call *c)
{
    float softcap = 0.0f;
    int64_t mode = 0, precision = 0, left = -1, right = -1;
    PQ_TRY(pq_onnx_attr_f32(c, "softcap", &softcap));
    PQ_TRY(pq_onnx_attr_i64(c, "qk_matmul_output_mode", &mode));
    PQ_TRY(pq_onnx_attr_i64(c, "softmax_precision", &precision));
    PQ_TRY(pq_onnx_attr_i64(c, "left_window_size", &left));
    PQ_TRY(pq_onnx_attr_i64(c, "right_window_size", &right));
    if (softcap != 0.0f || left != -1 || right != -1 || // exact: defaults
        (precision != 0 && precision != PQ_ONNX_FLOAT) || pq_onnx_wants(c, 3) ||
        !pq_value_is_none(pq_onnx_input(c, 6))) {
        return PQ_ONNX_FAIL(c, PTQC_E_UNSUPPORTED,
                            "softcap, windows, padded caches, the output of "
                            "scores and a softmax in another type than f32 "
                            "are not supported");
    }
    return PTQC_OK;
}

static ptqc_status
read_attributes(pq_onnx_call *c, attention *a)
{
    const pq_onnx_attr *scale;
    PQ_TRY(refuse_variants(c));
    PQ_TRY(pq_onnx_attr_range(c, "q_num_heads", 0, INT32_MAX, &a->heads));
    PQ_TRY(pq_onnx_attr_range(c, "kv_num_heads", 0, INT32_MAX, &a->kv_heads));
    PQ_TRY(pq_onnx_attr_range(c, "is_causal", 0, 1, &a->is_causal));
    PQ_TRY(pq_onnx_attr_find(c, "scale", PQ_ONNX_ATTR_FLOAT, &scale));
    a->has_scale = scale != NULL;
    a->scale = a->has_scale ? scale->f : 0.0f;
    return PTQC_OK;
}

// [b, t, heads * d] -> [b, heads, t, d]
static ptqc_status
part_heads(pq_onnx_call *c, int64_t heads, pq_value_id *x)
{
    static const int64_t perm[4] = {0, 2, 1, 3};
    const pq_type *type = pq_onnx_type_of(c, *x);
    int64_t width;
    if (type->rank != 3 || heads == 0 ||
        !pq_dim_is_const(c->g, type->dims[2], &width) || width % heads != 0) {
        return PQ_ONNX_FAIL(c, PTQC_E_INPUT,
                            "expected packed operands of rank 3 whose last "
                            "axis is a multiple of the heads, %lld",
                            (long long)heads);
    }
    pq_dim dims[4] = {type->dims[0], type->dims[1], pq_dim_const(c->g, heads),
                      pq_dim_const(c->g, width / heads)};
    PQ_TRY(pq_onnx_dim_check(c, dims[2]));
    PQ_TRY(pq_onnx_dim_check(c, dims[3]));
    PQ_TRY(pq_onnx_reshape(c, *x, dims, 4, x));
    return pq_onnx_transpose(c, *x, perm, 4, x);
}

static ptqc_status
put_in_front(pq_onnx_call *c, pq_value_id past, pq_value_id x, pq_value_id *out)
{
    pq_builder b;
    pq_onnx_begin(c, &b, PQ_OP_CONCAT);
    pq_build_input(&b, past);
    pq_build_input(&b, x);
    pq_build_i64(&b, PQ_ATTR_AXIS, 2);
    return pq_onnx_end(c, &b, out);
}

// Keys and values with their past; they are outputs 1 and 2 too.
static ptqc_status
join_past(pq_onnx_call *c, attention *a)
{
    pq_value_id past_k = pq_onnx_input(c, 4), past_v = pq_onnx_input(c, 5);
    if (pq_value_is_none(past_k) != pq_value_is_none(past_v)) {
        return PQ_ONNX_FAIL(c, PTQC_E_INPUT,
                            "expected past keys and values together, found "
                            "one of them");
    }
    a->past = pq_dim_const(c->g, 0);
    if (!pq_value_is_none(past_k)) {
        const pq_type *type = pq_onnx_type_of(c, past_k);
        if (type->rank != 4) {
            return PQ_ONNX_FAIL(c, PTQC_E_INPUT,
                                "past keys: expected rank 4, found %u",
                                type->rank);
        }
        a->past = type->dims[2];
        PQ_TRY(put_in_front(c, past_k, a->k,
                            pq_onnx_wants(c, 1) ? &c->outputs[1] : &a->k));
        PQ_TRY(put_in_front(c, past_v, a->v,
                            pq_onnx_wants(c, 2) ? &c->outputs[2] : &a->v));
    }
    for (uint32_t i = 1; i < 3 && i < c->output_count; i++) {
        pq_value_id *x = i == 1 ? &a->k : &a->v;
        if (pq_onnx_wants(c, i) && !pq_value_is_none(past_k)) {
            *x = c->outputs[i];
        }
        c->outputs[i] = *x;
    }
    return pq_onnx_dim_check(c, a->past);
}

// 0 where the condition holds, minus infinity elsewhere.
static ptqc_status
additive(pq_onnx_call *c, const attention *a, pq_value_id condition,
         pq_value_id *out)
{
    pq_value_id zero, minus;
    PQ_TRY(pq_onnx_scalar(c, a->dtype, 0.0, &zero));
    PQ_TRY(pq_onnx_scalar(c, a->dtype, -(double)INFINITY, &minus));
    pq_builder b;
    pq_onnx_begin(c, &b, PQ_OP_WHERE);
    pq_build_input(&b, condition);
    pq_build_input(&b, zero);
    pq_build_input(&b, minus);
    return pq_onnx_end(c, &b, out);
}

// start, start + 1, ... as [n, 1] or [1, n].
static ptqc_status
count_along(pq_onnx_call *c, pq_dim start, pq_dim n, bool is_column,
            pq_value_id *out)
{
    pq_dim one = pq_dim_const(c->g, 1);
    PQ_TRY(pq_onnx_dim_check(c, one));
    const pq_dim dims[2] = {is_column ? n : one, is_column ? one : n};
    pq_builder b;
    pq_onnx_begin(c, &b, PQ_OP_RANGE);
    pq_build_dims(&b, PQ_ATTR_START, &start, 1);
    pq_build_i64(&b, PQ_ATTR_DELTA, 1);
    pq_build_dims(&b, PQ_ATTR_SHAPE, &n, 1);
    pq_build_i64(&b, PQ_ATTR_TO, PTQC_I64);
    PQ_TRY(pq_onnx_end(c, &b, out));
    return pq_onnx_reshape(c, *out, dims, 2, out);
}

static ptqc_status
causal_mask(pq_onnx_call *c, const attention *a, pq_value_id *out)
{
    pq_value_id query, key, sees;
    pq_dim zero = pq_dim_const(c->g, 0);
    PQ_TRY(pq_onnx_dim_check(c, zero));
    PQ_TRY(count_along(c, a->past, pq_onnx_type_of(c, a->q)->dims[2], true,
                       &query));
    PQ_TRY(
        count_along(c, zero, pq_onnx_type_of(c, a->k)->dims[2], false, &key));
    PQ_TRY(pq_onnx_binary(c, PQ_OP_LESS_EQUAL, key, query, &sees));
    return additive(c, a, sees, out);
}

// A mask that ends before the keys hides the rest.
static ptqc_status
extend_mask(pq_onnx_call *c, const attention *a, pq_value_id *mask)
{
    const pq_type *type = pq_onnx_type_of(c, *mask);
    pq_dim have = type->rank == 0 ? (pq_dim){0} : type->dims[type->rank - 1];
    pq_dim need = pq_onnx_type_of(c, a->k)->dims[2];
    int64_t n = 0, m = 0, pads[2 * PTQC_MAX_RANK] = {0};
    if (type->rank == 0 || pq_dim_equal(have, need)) {
        return PTQC_OK;
    }
    bool is_known = pq_dim_is_const(c->g, have, &n) &&
                    pq_dim_is_const(c->g, need, &m) && n <= m;
    if (!is_known) {
        return PQ_ONNX_FAIL(c, PTQC_E_UNSUPPORTED,
                            "a mask of another length than the keys is not "
                            "supported");
    }
    pads[2 * type->rank - 1] = m - n;
    pq_builder b;
    pq_onnx_begin(c, &b, PQ_OP_PAD);
    pq_build_input(&b, *mask);
    pq_build_i64(&b, PQ_ATTR_MODE, PQ_PAD_CONSTANT);
    pq_build_i64s(&b, PQ_ATTR_PADS, pads, 2 * type->rank);
    pq_build_f32(&b, PQ_ATTR_VALUE, -INFINITY);
    return pq_onnx_end(c, &b, mask);
}

static ptqc_status
make_mask(pq_onnx_call *c, attention *a)
{
    pq_value_id causal;
    a->mask = pq_onnx_input(c, 3);
    bool has_mask = !pq_value_is_none(a->mask);
    if (has_mask) {
        if (pq_onnx_type_of(c, a->mask)->dtype == PTQC_BOOL) {
            PQ_TRY(additive(c, a, a->mask, &a->mask));
        }
        PQ_TRY(extend_mask(c, a, &a->mask));
    }
    if (a->is_causal == 0) {
        return PTQC_OK;
    }
    PQ_TRY(causal_mask(c, a, &causal));
    if (has_mask) {
        return pq_onnx_binary(c, PQ_OP_ADD, a->mask, causal, &a->mask);
    }
    a->mask = causal;
    return PTQC_OK;
}

// [b, heads, t, d] -> [b, t, heads * d]
static ptqc_status
join_heads(pq_onnx_call *c, pq_value_id x)
{
    static const int64_t perm[4] = {0, 2, 1, 3};
    PQ_TRY(pq_onnx_transpose(c, x, perm, 4, &x));
    const pq_type *type = pq_onnx_type_of(c, x);
    pq_dim dims[3] = {type->dims[0], type->dims[1]};
    PQ_TRY(pq_onnx_product(c, type->dims + 2, 2, &dims[2]));
    return pq_onnx_reshape(c, x, dims, 3, &c->outputs[0]);
}

static ptqc_status
default_scale(pq_onnx_call *c, attention *a)
{
    int64_t width;
    if (!pq_dim_is_const(c->g, pq_onnx_type_of(c, a->q)->dims[3], &width) ||
        width < 1) {
        return PQ_ONNX_FAIL(c, PTQC_E_UNSUPPORTED,
                            "heads of symbolic size are not supported");
    }
    a->scale = 1.0f / sqrtf((float)width);
    return PTQC_OK;
}

ptqc_status
pq_onnx_import_attention(pq_onnx_call *c)
{
    attention a = {0};
    PQ_TRY(read_attributes(c, &a));
    a.q = pq_onnx_input(c, 0);
    a.k = pq_onnx_input(c, 1);
    a.v = pq_onnx_input(c, 2);
    a.dtype = pq_onnx_type_of(c, a.q)->dtype;
    a.is_packed = pq_onnx_type_of(c, a.q)->rank == 3;
    if (a.is_packed) {
        PQ_TRY(part_heads(c, a.heads, &a.q));
        PQ_TRY(part_heads(c, a.kv_heads, &a.k));
        PQ_TRY(part_heads(c, a.kv_heads, &a.v));
    }
    for (uint32_t i = 0; i < 3; i++) {
        pq_value_id x = i == 0 ? a.q : i == 1 ? a.k : a.v;
        if (pq_onnx_type_of(c, x)->rank != 4) {
            return PQ_ONNX_FAIL(c, PTQC_E_INPUT,
                                "input %u: expected rank 3 or 4 for all "
                                "operands, found %u",
                                i, pq_onnx_type_of(c, x)->rank);
        }
    }
    if (!a.has_scale) {
        PQ_TRY(default_scale(c, &a));
    }
    PQ_TRY(join_past(c, &a));
    PQ_TRY(make_mask(c, &a));
    pq_value_id out;
    pq_builder b;
    pq_onnx_begin(c, &b, PQ_OP_ATTENTION);
    pq_build_input(&b, a.q);
    pq_build_input(&b, a.k);
    pq_build_input(&b, a.v);
    pq_build_input(&b, a.mask);
    pq_build_f32(&b, PQ_ATTR_SCALE, a.scale);
    PQ_TRY(pq_onnx_end(c, &b, a.is_packed ? &out : &c->outputs[0]));
    return a.is_packed ? join_heads(c, out) : PTQC_OK;
}
