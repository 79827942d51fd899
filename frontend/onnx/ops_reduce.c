// SPDX-License-Identifier: Apache-2.0
//
// Operators along axes: reductions, arg max, cumulative sum, top k, softmax.
#include "frontend/onnx/ops.h"

// From which opset on the axes are an input; before they are an attribute.
static int64_t
axes_input_since(pq_opcode code)
{
    return code == PQ_OP_REDUCE_SUM ? 13 : 18;
}

static ptqc_status
read_axes(pq_onnx_call *c, pq_opcode code, pq_onnx_i64s *out)
{
    *out = (pq_onnx_i64s){0};
    if (c->opset < axes_input_since(code)) {
        PQ_TRY(pq_onnx_attr_i64s(c, "axes", out));
    } else if (!pq_value_is_none(pq_onnx_input(c, 1))) {
        PQ_TRY(pq_onnx_known_i64s(c, pq_onnx_input(c, 1), "axes", out));
    }
    return pq_onnx_own_i64s(c, out);
}

// Without axes and with noop_with_empty_axes, sums of one element each.
static ptqc_status
reduce_nothing(pq_onnx_call *c, pq_opcode code)
{
    switch ((int)code) {
    case PQ_OP_REDUCE_SUM:
    case PQ_OP_REDUCE_MEAN:
    case PQ_OP_REDUCE_MAX:
    case PQ_OP_REDUCE_MIN:
    case PQ_OP_REDUCE_PROD:
        return pq_onnx_import_identity(c);
    default:
        return PQ_ONNX_FAIL(c, PTQC_E_UNSUPPORTED,
                            "noop_with_empty_axes is not supported");
    }
}

ptqc_status
pq_onnx_import_reduce(pq_onnx_call *c)
{
    pq_opcode code = (pq_opcode)c->op->param;
    int64_t keepdims = 1, is_noop = 0;
    pq_onnx_i64s axes;
    pq_value_id x = pq_onnx_input(c, 0);
    PQ_TRY(pq_onnx_attr_range(c, "keepdims", 0, 1, &keepdims));
    PQ_TRY(pq_onnx_attr_range(c, "noop_with_empty_axes", 0, 1, &is_noop));
    PQ_TRY(read_axes(c, code, &axes));
    PQ_TRY(pq_onnx_axes(c, axes, pq_onnx_type_of(c, x)->rank));
    if (axes.n == 0 && is_noop == 1) {
        return reduce_nothing(c, code);
    }
    pq_builder b;
    pq_onnx_begin(c, &b, code);
    pq_build_input(&b, x);
    if (axes.n != 0) {
        pq_build_i64s(&b, PQ_ATTR_AXES, axes.p, (uint32_t)axes.n);
    }
    pq_build_i64(&b, PQ_ATTR_KEEPDIMS, keepdims);
    return pq_onnx_end(c, &b, &c->outputs[0]);
}

ptqc_status
pq_onnx_import_arg_reduce(pq_onnx_call *c)
{
    int64_t axis = 0, keepdims = 1, last = 0;
    pq_value_id x = pq_onnx_input(c, 0);
    PQ_TRY(pq_onnx_attr_i64(c, "axis", &axis));
    PQ_TRY(pq_onnx_attr_range(c, "keepdims", 0, 1, &keepdims));
    PQ_TRY(pq_onnx_attr_range(c, "select_last_index", 0, 1, &last));
    PQ_TRY(pq_onnx_axis(c, axis, pq_onnx_type_of(c, x)->rank, &axis));
    pq_builder b;
    pq_onnx_begin(c, &b, (pq_opcode)c->op->param);
    pq_build_input(&b, x);
    pq_build_i64(&b, PQ_ATTR_AXIS, axis);
    pq_build_i64(&b, PQ_ATTR_KEEPDIMS, keepdims);
    pq_build_i64(&b, PQ_ATTR_LAST, last);
    return pq_onnx_end(c, &b, &c->outputs[0]);
}

static ptqc_status
known_scalar(pq_onnx_call *c, uint32_t i, const char *what, int64_t *out)
{
    pq_onnx_i64s all;
    PQ_TRY(pq_onnx_known_i64s(c, pq_onnx_input(c, i), what, &all));
    if (all.n != 1) {
        return PQ_ONNX_FAIL(c, PTQC_E_INPUT,
                            "expected one number as %s, found %zu", what,
                            all.n);
    }
    *out = all.p[0];
    return PTQC_OK;
}

ptqc_status
pq_onnx_import_cumsum(pq_onnx_call *c)
{
    int64_t axis = 0, exclusive = 0, reverse = 0;
    pq_value_id x = pq_onnx_input(c, 0);
    PQ_TRY(pq_onnx_attr_range(c, "exclusive", 0, 1, &exclusive));
    PQ_TRY(pq_onnx_attr_range(c, "reverse", 0, 1, &reverse));
    PQ_TRY(known_scalar(c, 1, "axes", &axis));
    PQ_TRY(pq_onnx_axis(c, axis, pq_onnx_type_of(c, x)->rank, &axis));
    pq_builder b;
    pq_onnx_begin(c, &b, PQ_OP_CUMSUM);
    pq_build_input(&b, x);
    pq_build_i64(&b, PQ_ATTR_AXIS, axis);
    pq_build_i64(&b, PQ_ATTR_EXCLUSIVE, exclusive);
    pq_build_i64(&b, PQ_ATTR_REVERSE, reverse);
    return pq_onnx_end(c, &b, &c->outputs[0]);
}

ptqc_status
pq_onnx_import_topk(pq_onnx_call *c)
{
    int64_t axis = -1, k = 0, largest = 1, sorted = 1;
    pq_value_id x = pq_onnx_input(c, 0);
    PQ_TRY(pq_onnx_attr_i64(c, "axis", &axis));
    PQ_TRY(pq_onnx_attr_range(c, "largest", 0, 1, &largest));
    PQ_TRY(pq_onnx_attr_range(c, "sorted", 0, 1, &sorted));
    if (c->opset < 10) {
        PQ_TRY(pq_onnx_attr_i64(c, "k", &k));
    } else {
        PQ_TRY(known_scalar(c, 1, "counts k", &k));
    }
    PQ_TRY(pq_onnx_axis(c, axis, pq_onnx_type_of(c, x)->rank, &axis));
    pq_builder b;
    pq_onnx_begin(c, &b, PQ_OP_TOPK);
    pq_build_input(&b, x);
    pq_build_i64(&b, PQ_ATTR_AXIS, axis);
    pq_build_i64(&b, PQ_ATTR_K, k);
    pq_build_i64(&b, PQ_ATTR_LARGEST, largest);
    pq_build_i64(&b, PQ_ATTR_SORTED, sorted);
    return pq_onnx_finish(c, &b);
}

static ptqc_status
along_axis(pq_onnx_call *c, pq_opcode code, pq_value_id x, int64_t axis,
           pq_value_id *out)
{
    pq_builder b;
    pq_onnx_begin(c, &b, code);
    pq_build_input(&b, x);
    pq_build_i64(&b, PQ_ATTR_AXIS, axis);
    return pq_onnx_end(c, &b, out);
}

// Before opset 13 all axes from `axis` on are one row.
static ptqc_status
softmax_flattened(pq_onnx_call *c, pq_opcode code, int64_t axis)
{
    pq_value_id x = pq_onnx_input(c, 0), flat, y;
    const pq_type type = *pq_onnx_type_of(c, x);
    if (axis == (int64_t)type.rank - 1) {
        return along_axis(c, code, x, axis, &c->outputs[0]);
    }
    pq_dim dims[2];
    PQ_TRY(pq_onnx_product(c, type.dims, (uint32_t)axis, &dims[0]));
    PQ_TRY(pq_onnx_product(c, type.dims + axis, type.rank - (uint32_t)axis,
                           &dims[1]));
    PQ_TRY(pq_onnx_reshape(c, x, dims, 2, &flat));
    PQ_TRY(along_axis(c, code, flat, 1, &y));
    return pq_onnx_reshape(c, y, type.dims, type.rank, &c->outputs[0]);
}

ptqc_status
pq_onnx_import_softmax(pq_onnx_call *c)
{
    pq_opcode code = (pq_opcode)c->op->param;
    int64_t axis = c->opset < 13 ? 1 : -1;
    pq_value_id x = pq_onnx_input(c, 0);
    PQ_TRY(pq_onnx_attr_i64(c, "axis", &axis));
    PQ_TRY(pq_onnx_axis(c, axis, pq_onnx_type_of(c, x)->rank, &axis));
    if (c->opset < 13) {
        return softmax_flattened(c, code, axis);
    }
    return along_axis(c, code, x, axis, &c->outputs[0]);
}

// 1 at the first largest element of each row: one_hot(arg_max(x)).
ptqc_status
pq_onnx_import_hardmax(pq_onnx_call *c)
{
    int64_t axis = c->opset < 13 ? 1 : -1, k;
    pq_value_id x = pq_onnx_input(c, 0), index, levels;
    const pq_type *type = pq_onnx_type_of(c, x);
    PQ_TRY(pq_onnx_attr_i64(c, "axis", &axis));
    PQ_TRY(pq_onnx_axis(c, axis, type->rank, &axis));
    bool is_plain = type->dtype == PTQC_F32 &&
                    (c->opset >= 13 || axis == (int64_t)type->rank - 1) &&
                    pq_dim_is_const(c->g, type->dims[axis], &k);
    if (!is_plain) {
        return PQ_ONNX_FAIL(c, PTQC_E_UNSUPPORTED,
                            "types other than f32, flattened axes and "
                            "symbolic sizes are not supported");
    }
    pq_builder b;
    pq_onnx_begin(c, &b, PQ_OP_ARG_MAX);
    pq_build_input(&b, x);
    pq_build_i64(&b, PQ_ATTR_AXIS, axis);
    pq_build_i64(&b, PQ_ATTR_KEEPDIMS, 0);
    PQ_TRY(pq_onnx_end(c, &b, &index));
    const float off_on[2] = {0.0f, 1.0f};
    const int64_t two = 2;
    PQ_TRY(pq_build_constant(c->g, (pq_str){0}, PTQC_F32, &two, 1, off_on,
                             &levels));
    pq_onnx_begin(c, &b, PQ_OP_ONE_HOT);
    pq_build_input(&b, index);
    pq_build_input(&b, levels);
    pq_build_i64(&b, PQ_ATTR_AXIS, axis);
    pq_build_i64(&b, PQ_ATTR_K, k);
    return pq_onnx_end(c, &b, &c->outputs[0]);
}
