// SPDX-License-Identifier: Apache-2.0
//
// Operators that move elements: transpose, concat, split, slice, pad, gather,
// scatter, space and depth, one-hot.
#include <string.h>

#include "base/dtype.h"
#include "frontend/onnx/ops.h"

enum {
    CONCAT_LIMIT = 128, // operands of one concat; more are nested
};

ptqc_status
pq_onnx_import_transpose(pq_onnx_call *c)
{
    pq_onnx_i64s perm = {0};
    pq_value_id x = pq_onnx_input(c, 0);
    uint32_t rank = pq_onnx_type_of(c, x)->rank;
    int64_t reversed[PTQC_MAX_RANK];
    PQ_TRY(pq_onnx_attr_i64s(c, "perm", &perm));
    for (uint32_t i = 0; i < rank; i++) {
        reversed[i] = (int64_t)(rank - 1 - i);
    }
    if (perm.n == 0) {
        return pq_onnx_transpose(c, x, reversed, rank, &c->outputs[0]);
    }
    if (perm.n != rank) {
        return PQ_ONNX_FAIL(c, PTQC_E_INPUT,
                            "attribute 'perm': expected %u axes, found %zu",
                            rank, perm.n);
    }
    return pq_onnx_transpose(c, x, perm.p, rank, &c->outputs[0]);
}

// ---- concat and split -------------------------------------------------------

// Codes may be put together when they mean the same.
static ptqc_status
common_quant(pq_onnx_call *c, const pq_value_id *inputs, uint32_t count,
             pq_quant_id *out)
{
    *out = pq_graph_value(c->g, inputs[0])->quant;
    for (uint32_t i = 1; i < count; i++) {
        if (!pq_quant_equal(*out, pq_graph_value(c->g, inputs[i])->quant)) {
            return PQ_ONNX_FAIL(c, PTQC_E_UNSUPPORTED,
                                "operands of different quantization are not "
                                "supported");
        }
    }
    return PTQC_OK;
}

static ptqc_status
concat_some(pq_onnx_call *c, const pq_value_id *inputs, uint32_t count,
            int64_t axis, pq_value_id *out)
{
    pq_quant_id quant;
    PQ_TRY(common_quant(c, inputs, count, &quant));
    pq_builder b;
    pq_onnx_begin(c, &b, PQ_OP_CONCAT);
    for (uint32_t i = 0; i < count; i++) {
        pq_build_input(&b, inputs[i]);
    }
    pq_build_i64(&b, PQ_ATTR_AXIS, axis);
    PQ_TRY(pq_onnx_end(c, &b, out));
    if (!pq_quant_is_none(quant)) {
        pq_value_set_quant(c->g, *out, pq_onnx_type_of(c, *out)->dtype, quant);
    }
    return PTQC_OK;
}

ptqc_status
pq_onnx_import_concat(pq_onnx_call *c)
{
    const pq_onnx_attr *a;
    PQ_TRY(pq_onnx_attr_find(c, "axis", PQ_ONNX_ATTR_INT, &a));
    if (a == NULL) {
        return PQ_ONNX_FAIL(c, PTQC_E_INPUT,
                            "expected the attribute 'axis', found none");
    }
    int64_t axis = 0;
    uint32_t left = c->input_count;
    pq_value_id *todo = pq_arena_array(c->arena, left, sizeof *todo);
    PQ_TRY_ALLOC(todo);
    for (uint32_t i = 0; i < left; i++) {
        todo[i] = pq_onnx_input(c, i);
        if (pq_value_is_none(todo[i])) {
            return PQ_ONNX_FAIL(c, PTQC_E_INPUT,
                                "expected input %u, found none", i);
        }
    }
    PQ_TRY(pq_onnx_axis(c, a->i, pq_onnx_type_of(c, todo[0])->rank, &axis));
    if (left == 1) {
        c->outputs[0] = todo[0];
        return PTQC_OK;
    }
    // From the front: what was put together is the next operand.
    uint32_t at = 0;
    while (left - at > CONCAT_LIMIT) {
        pq_value_id sum;
        PQ_TRY(concat_some(c, todo + at, CONCAT_LIMIT, axis, &sum));
        at += CONCAT_LIMIT - 1;
        todo[at] = sum;
    }
    return concat_some(c, todo + at, left - at, axis, &c->outputs[0]);
}

// [start, end) of one axis.
static ptqc_status
slice_axis(pq_onnx_call *c, pq_value_id x, int64_t axis, pq_dim start,
           pq_dim end, pq_value_id *out)
{
    const int64_t one = 1;
    pq_builder b;
    pq_onnx_begin(c, &b, PQ_OP_SLICE);
    pq_build_input(&b, x);
    pq_build_i64s(&b, PQ_ATTR_AXES, &axis, 1);
    pq_build_dims(&b, PQ_ATTR_STARTS, &start, 1);
    pq_build_dims(&b, PQ_ATTR_ENDS, &end, 1);
    pq_build_i64s(&b, PQ_ATTR_STEPS, &one, 1);
    return pq_onnx_end(c, &b, out);
}

ptqc_status
pq_onnx_slice_constant(pq_onnx_call *c, pq_value_id x, int64_t axis,
                       int64_t start, int64_t end, pq_value_id *out)
{
    pq_dim first = pq_dim_const(c->g, start), last = pq_dim_const(c->g, end);
    PQ_TRY(pq_onnx_dim_check(c, first));
    PQ_TRY(pq_onnx_dim_check(c, last));
    return slice_axis(c, x, axis, first, last, out);
}

// Sizes of the parts: given, or as equal as possible with a smaller last.
static ptqc_status
split_sizes(pq_onnx_call *c, pq_dim size, const pq_dim **out)
{
    pq_onnx_i64s given = {0};
    int64_t parts = 0;
    uint32_t count = 0;
    PQ_TRY(pq_onnx_attr_i64(c, "num_outputs", &parts));
    if (c->opset < 13) {
        PQ_TRY(pq_onnx_attr_i64s(c, "split", &given));
    } else if (!pq_value_is_none(pq_onnx_input(c, 1))) {
        PQ_TRY(pq_onnx_known_dims(c, pq_onnx_input(c, 1), "split sizes", out,
                                  &count));
        if (count < c->output_count) {
            return PQ_ONNX_FAIL(c, PTQC_E_INPUT,
                                "expected %u split sizes, found %u",
                                c->output_count, count);
        }
        return PTQC_OK;
    }
    count = (uint32_t)c->node->outputs.n;
    if ((parts != 0 && parts != count) || (given.n != 0 && given.n != count)) {
        return PQ_ONNX_FAIL(
            c, PTQC_E_INPUT,
            "expected as many parts as outputs, %u, found "
            "%lld",
            count, given.n != 0 ? (long long)given.n : (long long)parts);
    }
    pq_dim *dims = pq_arena_array(c->arena, count, sizeof *dims);
    PQ_TRY_ALLOC(dims);
    pq_dim n = pq_dim_const(c->g, count);
    pq_dim part = pq_dim_make(c->g, PQ_DIM_CDIV, size, n);
    pq_dim before = pq_dim_make(c->g, PQ_DIM_MUL, part,
                                pq_dim_const(c->g, (int64_t)count - 1));
    for (uint32_t i = 0; i < count; i++) {
        dims[i] = given.n != 0    ? pq_dim_const(c->g, given.p[i])
                  : i + 1 < count ? part
                                  : pq_dim_make(c->g, PQ_DIM_SUB, size, before);
        PQ_TRY(pq_onnx_dim_check(c, dims[i]));
    }
    *out = dims;
    return PTQC_OK;
}

ptqc_status
pq_onnx_import_split(pq_onnx_call *c)
{
    int64_t axis = 0;
    const pq_dim *sizes = NULL;
    pq_value_id x = pq_onnx_input(c, 0);
    const pq_type *type = pq_onnx_type_of(c, x);
    PQ_TRY(pq_onnx_attr_i64(c, "axis", &axis));
    PQ_TRY(pq_onnx_axis(c, axis, type->rank, &axis));
    PQ_TRY(split_sizes(c, type->dims[axis], &sizes));
    pq_dim start = pq_dim_const(c->g, 0);
    for (uint32_t i = 0; i < c->output_count; i++) {
        int64_t min, max;
        pq_dim_bounds(c->g, sizes[i], &min, &max);
        pq_dim end = pq_dim_make(c->g, PQ_DIM_ADD, start, sizes[i]);
        PQ_TRY(pq_onnx_dim_check(c, start));
        PQ_TRY(pq_onnx_dim_check(c, end));
        if (max < 0) {
            return PQ_ONNX_FAIL(c, PTQC_E_INPUT,
                                "expected no negative part, found %lld",
                                (long long)max);
        }
        PQ_TRY(slice_axis(c, x, axis, start, end, &c->outputs[i]));
        start = end;
    }
    return PTQC_OK;
}

// ---- slice ------------------------------------------------------------------

// index, counted from behind when negative, as a place from `least` to
// `size + most`.
static ptqc_status
clamp_index(pq_onnx_call *c, pq_dim index, pq_dim size, int64_t least,
            int64_t most, pq_dim *out)
{
    pq_graph *g = c->g;
    int64_t min, max;
    pq_dim low = pq_dim_const(g, least);
    pq_dim high = pq_dim_make(g, PQ_DIM_ADD, size, pq_dim_const(g, most));
    pq_dim_bounds(g, index, &min, &max);
    if (min >= INT32_MAX) { // "to the end"
        *out = high;
    } else if (max <= INT32_MIN) { // "from the start"
        *out = low;
    } else if (min >= 0) {
        *out = pq_dim_make(g, PQ_DIM_MIN, index, high);
        *out = pq_dim_make(g, PQ_DIM_MAX, *out, low);
    } else if (max < 0) {
        *out = pq_dim_make(g, PQ_DIM_ADD, size, index);
        *out = pq_dim_make(g, PQ_DIM_MIN, *out, high);
        *out = pq_dim_make(g, PQ_DIM_MAX, *out, low);
    } else {
        return PQ_ONNX_FAIL(c, PTQC_E_UNSUPPORTED,
                            "a symbolic index that may be negative is not "
                            "supported");
    }
    return pq_onnx_dim_check(c, *out);
}

typedef struct slice_args {
    const pq_dim *starts, *ends;
    uint32_t count;
    pq_onnx_i64s axes, steps;
} slice_args;

static ptqc_status
constants_as_dims(pq_onnx_call *c, const char *name, const pq_dim **out,
                  uint32_t *out_count)
{
    pq_onnx_i64s ints = {0};
    PQ_TRY(pq_onnx_attr_i64s(c, name, &ints));
    if (ints.n > PTQC_MAX_RANK) {
        return PQ_ONNX_FAIL(c, PTQC_E_INPUT,
                            "attribute '%s': expected at most %d numbers, "
                            "found %zu",
                            name, PTQC_MAX_RANK, ints.n);
    }
    pq_dim *dims = pq_arena_array(c->arena, ints.n, sizeof *dims);
    PQ_TRY_ALLOC(dims);
    for (size_t i = 0; i < ints.n; i++) {
        dims[i] = pq_dim_const(c->g, ints.p[i]);
        PQ_TRY(pq_onnx_dim_check(c, dims[i]));
    }
    *out = dims;
    *out_count = (uint32_t)ints.n;
    return PTQC_OK;
}

static ptqc_status
read_slice(pq_onnx_call *c, slice_args *a)
{
    uint32_t end_count = 0;
    if (c->opset < 10) {
        PQ_TRY(constants_as_dims(c, "starts", &a->starts, &a->count));
        PQ_TRY(constants_as_dims(c, "ends", &a->ends, &end_count));
        PQ_TRY(pq_onnx_attr_i64s(c, "axes", &a->axes));
    } else {
        PQ_TRY(pq_onnx_known_dims(c, pq_onnx_input(c, 1), "starts", &a->starts,
                                  &a->count));
        PQ_TRY(pq_onnx_known_dims(c, pq_onnx_input(c, 2), "ends", &a->ends,
                                  &end_count));
        if (!pq_value_is_none(pq_onnx_input(c, 3))) {
            PQ_TRY(
                pq_onnx_known_i64s(c, pq_onnx_input(c, 3), "axes", &a->axes));
        }
        if (!pq_value_is_none(pq_onnx_input(c, 4))) {
            PQ_TRY(
                pq_onnx_known_i64s(c, pq_onnx_input(c, 4), "steps", &a->steps));
        }
    }
    bool fits = end_count == a->count &&
                (a->axes.n == 0 || a->axes.n == a->count) &&
                (a->steps.n == 0 || a->steps.n == a->count);
    if (!fits) {
        return PQ_ONNX_FAIL(c, PTQC_E_INPUT,
                            "expected as many ends, axes and steps as "
                            "starts, %u, found %u, %zu and %zu",
                            a->count, end_count, a->axes.n, a->steps.n);
    }
    return pq_onnx_own_i64s(c, &a->axes);
}

ptqc_status
pq_onnx_import_slice(pq_onnx_call *c)
{
    slice_args a = {0};
    pq_value_id x = pq_onnx_input(c, 0);
    const pq_type *type = pq_onnx_type_of(c, x);
    int64_t axes[PTQC_MAX_RANK], steps[PTQC_MAX_RANK];
    pq_dim starts[PTQC_MAX_RANK], ends[PTQC_MAX_RANK];
    uint32_t n = 0;
    PQ_TRY(read_slice(c, &a));
    PQ_TRY(pq_onnx_axes(c, a.axes, type->rank));
    if (a.count > type->rank) {
        return PQ_ONNX_FAIL(c, PTQC_E_INPUT,
                            "expected at most %u axes, found %u", type->rank,
                            a.count);
    }
    for (uint32_t i = 0; i < a.count; i++) {
        axes[n] = a.axes.n != 0 ? a.axes.p[i] : i;
        steps[n] = a.steps.n != 0 ? a.steps.p[i] : 1;
        pq_dim size = type->dims[axes[n]];
        if (steps[n] == 0) {
            return PQ_ONNX_FAIL(c, PTQC_E_INPUT,
                                "expected steps other than 0, found 0");
        }
        int64_t least = steps[n] > 0 ? 0 : -1, most = steps[n] > 0 ? 0 : -1;
        PQ_TRY(clamp_index(c, a.starts[i], size, 0, most, &starts[n]));
        PQ_TRY(clamp_index(c, a.ends[i], size, least, most, &ends[n]));
        int64_t first = 1;
        bool is_all = steps[n] == 1 && pq_dim_equal(ends[n], size) &&
                      pq_dim_is_const(c->g, starts[n], &first) && first == 0;
        n += !is_all;
    }
    if (n == 0) {
        return pq_onnx_import_identity(c);
    }
    pq_builder b;
    pq_onnx_begin(c, &b, PQ_OP_SLICE);
    pq_build_input(&b, x);
    pq_build_i64s(&b, PQ_ATTR_AXES, axes, n);
    pq_build_dims(&b, PQ_ATTR_STARTS, starts, n);
    pq_build_dims(&b, PQ_ATTR_ENDS, ends, n);
    pq_build_i64s(&b, PQ_ATTR_STEPS, steps, n);
    return pq_onnx_end(c, &b, &c->outputs[0]);
}

// ---- pad --------------------------------------------------------------------

typedef struct name_number {
    const char *name;
    int number;
} name_number;

static ptqc_status
look_up(pq_onnx_call *c, const char *attr, const name_number *names,
        size_t count, pq_str text, int64_t *out)
{
    for (size_t i = 0; i < count; i++) {
        if (pq_str_equal_z(text, names[i].name)) {
            *out = names[i].number;
            return PTQC_OK;
        }
    }
    return PQ_ONNX_FAIL(c, PTQC_E_UNSUPPORTED,
                        "attribute '%s': '%.*s' is not supported", attr,
                        PQ_STR_ARG(text));
}

// Begins, then ends, of the axes that are named; 0 for the others.
static ptqc_status
read_pads(pq_onnx_call *c, uint32_t rank, int64_t *out)
{
    pq_onnx_i64s pads = {0}, axes = {0};
    memset(out, 0, 2 * rank * sizeof *out);
    if (c->opset < 11) {
        PQ_TRY(pq_onnx_attr_i64s(c, "pads", &pads));
    } else {
        PQ_TRY(pq_onnx_known_i64s(c, pq_onnx_input(c, 1), "pads", &pads));
        if (!pq_value_is_none(pq_onnx_input(c, 3))) {
            PQ_TRY(pq_onnx_known_i64s(c, pq_onnx_input(c, 3), "axes", &axes));
            PQ_TRY(pq_onnx_axes(c, axes, rank));
        }
    }
    size_t named = axes.n != 0 ? axes.n : rank;
    if (pads.n != 2 * named) {
        return PQ_ONNX_FAIL(c, PTQC_E_INPUT, "expected %zu pads, found %zu",
                            2 * named, pads.n);
    }
    for (size_t i = 0; i < named; i++) {
        size_t axis = axes.n != 0 ? (size_t)axes.p[i] : i;
        out[axis] = pads.p[i];
        out[rank + axis] = pads.p[named + i];
    }
    return PTQC_OK;
}

// f32 carries the fill value: integers beyond 2^24 would change.
static ptqc_status
read_fill(pq_onnx_call *c, float *out)
{
    if (c->opset < 11) {
        return pq_onnx_attr_f32(c, "value", out);
    }
    pq_value_id v = pq_onnx_input(c, 2);
    if (pq_value_is_none(v)) {
        return PTQC_OK;
    }
    PQ_TRY(pq_onnx_known_f32(c, v, "fill values", out));
    if (!pq_dtype_is_float(pq_onnx_type_of(c, v)->dtype) &&
        (*out > 0x1p24f || *out < -0x1p24f)) {
        return PQ_ONNX_FAIL(c, PTQC_E_UNSUPPORTED,
                            "fill values beyond 2^24 are not supported");
    }
    return PTQC_OK;
}

ptqc_status
pq_onnx_import_pad(pq_onnx_call *c)
{
    static const name_number modes[] = {{"constant", PQ_PAD_CONSTANT},
                                        {"reflect", PQ_PAD_REFLECT},
                                        {"edge", PQ_PAD_EDGE},
                                        {"wrap", PQ_PAD_WRAP}};
    pq_str text = PQ_STR("constant");
    int64_t mode = 0, pads[2 * PTQC_MAX_RANK];
    float value = 0.0f;
    pq_value_id x = pq_onnx_input(c, 0);
    uint32_t rank = pq_onnx_type_of(c, x)->rank;
    PQ_TRY(pq_onnx_attr_str(c, "mode", &text));
    PQ_TRY(
        look_up(c, "mode", modes, sizeof modes / sizeof modes[0], text, &mode));
    PQ_TRY(read_pads(c, rank, pads));
    PQ_TRY(read_fill(c, &value));
    bool is_empty = true;
    for (uint32_t i = 0; i < 2 * rank; i++) {
        is_empty = is_empty && pads[i] == 0;
    }
    if (is_empty) {
        return pq_onnx_import_identity(c);
    }
    pq_builder b;
    pq_onnx_begin(c, &b, PQ_OP_PAD);
    pq_build_input(&b, x);
    pq_build_i64(&b, PQ_ATTR_MODE, mode);
    pq_build_i64s(&b, PQ_ATTR_PADS, pads, 2 * rank);
    pq_build_f32(&b, PQ_ATTR_VALUE, value);
    return pq_onnx_end(c, &b, &c->outputs[0]);
}

// ---- gather and scatter -----------------------------------------------------

// Gather, GatherElements: two operands and an axis.
ptqc_status
pq_onnx_import_gather(pq_onnx_call *c)
{
    int64_t axis = 0;
    pq_value_id x = pq_onnx_input(c, 0);
    PQ_TRY(pq_onnx_attr_i64(c, "axis", &axis));
    PQ_TRY(pq_onnx_axis(c, axis, pq_onnx_type_of(c, x)->rank, &axis));
    pq_builder b;
    pq_onnx_begin(c, &b, (pq_opcode)c->op->param);
    pq_build_input(&b, x);
    pq_build_input(&b, pq_onnx_input(c, 1));
    pq_build_i64(&b, PQ_ATTR_AXIS, axis);
    return pq_onnx_end(c, &b, &c->outputs[0]);
}

ptqc_status
pq_onnx_import_gather_nd(pq_onnx_call *c)
{
    int64_t batch = 0;
    PQ_TRY(pq_onnx_attr_i64(c, "batch_dims", &batch));
    pq_builder b;
    pq_onnx_begin(c, &b, PQ_OP_GATHER_ND);
    pq_build_input(&b, pq_onnx_input(c, 0));
    pq_build_input(&b, pq_onnx_input(c, 1));
    pq_build_i64(&b, PQ_ATTR_BATCH_DIMS, batch);
    return pq_onnx_end(c, &b, &c->outputs[0]);
}

ptqc_status
pq_onnx_import_scatter(pq_onnx_call *c)
{
    static const name_number reductions[] = {{"none", PQ_SCATTER_NONE},
                                             {"add", PQ_SCATTER_ADD},
                                             {"mul", PQ_SCATTER_MUL},
                                             {"max", PQ_SCATTER_MAX},
                                             {"min", PQ_SCATTER_MIN}};
    pq_opcode code = (pq_opcode)c->op->param;
    pq_str text = PQ_STR("none");
    int64_t axis = 0, reduction = 0;
    PQ_TRY(pq_onnx_attr_str(c, "reduction", &text));
    PQ_TRY(look_up(c, "reduction", reductions,
                   sizeof reductions / sizeof reductions[0], text, &reduction));
    pq_builder b;
    pq_onnx_begin(c, &b, code);
    for (uint32_t i = 0; i < 3; i++) {
        pq_build_input(&b, pq_onnx_input(c, i));
    }
    if (code == PQ_OP_SCATTER_ELEMENTS) {
        PQ_TRY(pq_onnx_attr_i64(c, "axis", &axis));
        PQ_TRY(pq_onnx_axis(
            c, axis, pq_onnx_type_of(c, pq_onnx_input(c, 0))->rank, &axis));
        pq_build_i64(&b, PQ_ATTR_AXIS, axis);
    }
    pq_build_i64(&b, PQ_ATTR_REDUCTION, reduction);
    return pq_onnx_end(c, &b, &c->outputs[0]);
}

// ---- the rest ---------------------------------------------------------------

// MODE of depth_to_space: 0 DCR, 1 CRD (ONNX DepthToSpace-11).
ptqc_status
pq_onnx_import_space_depth(pq_onnx_call *c)
{
    static const name_number modes[] = {{"DCR", 0}, {"CRD", 1}};
    pq_str text = PQ_STR("DCR");
    int64_t block = 0, mode = 0;
    PQ_TRY(pq_onnx_attr_range(c, "blocksize", 1, INT32_MAX, &block));
    PQ_TRY(pq_onnx_attr_str(c, "mode", &text));
    PQ_TRY(look_up(c, "mode", modes, 2, text, &mode));
    pq_builder b;
    pq_onnx_begin(c, &b, (pq_opcode)c->op->param);
    pq_build_input(&b, pq_onnx_input(c, 0));
    pq_build_i64(&b, PQ_ATTR_BLOCK, block);
    if (c->op->param == PQ_OP_DEPTH_TO_SPACE) {
        pq_build_i64(&b, PQ_ATTR_MODE, mode);
    }
    return pq_onnx_end(c, &b, &c->outputs[0]);
}

ptqc_status
pq_onnx_import_trilu(pq_onnx_call *c)
{
    int64_t upper = 1, k = 0;
    PQ_TRY(pq_onnx_attr_range(c, "upper", 0, 1, &upper));
    if (!pq_value_is_none(pq_onnx_input(c, 1))) {
        pq_onnx_i64s all;
        PQ_TRY(pq_onnx_known_i64s(c, pq_onnx_input(c, 1), "diagonals", &all));
        if (all.n != 1) {
            return PQ_ONNX_FAIL(c, PTQC_E_INPUT,
                                "expected one diagonal, found %zu", all.n);
        }
        k = all.p[0];
    }
    pq_builder b;
    pq_onnx_begin(c, &b, PQ_OP_TRILU);
    pq_build_input(&b, pq_onnx_input(c, 0));
    pq_build_i64(&b, PQ_ATTR_K, k);
    pq_build_i64(&b, PQ_ATTR_UPPER, upper);
    return pq_onnx_end(c, &b, &c->outputs[0]);
}

ptqc_status
pq_onnx_import_one_hot(pq_onnx_call *c)
{
    int64_t axis = -1;
    float depth = 0.0f;
    pq_value_id x = pq_onnx_input(c, 0);
    const pq_type *type = pq_onnx_type_of(c, x);
    PQ_TRY(pq_onnx_attr_i64(c, "axis", &axis));
    PQ_TRY(pq_onnx_axis(c, axis, type->rank + 1, &axis));
    PQ_TRY(pq_onnx_known_f32(c, pq_onnx_input(c, 1), "depths", &depth));
    if (!(depth >= 1.0f && depth < 0x1p24f)) {
        return PQ_ONNX_FAIL(c, PTQC_E_INPUT,
                            "expected a depth from 1 to 2^24, found %g",
                            (double)depth);
    }
    if (type->dtype != PTQC_I64 && type->dtype != PTQC_I32) {
        PQ_TRY(pq_onnx_cast(c, x, PTQC_I64, &x));
    }
    pq_builder b;
    pq_onnx_begin(c, &b, PQ_OP_ONE_HOT);
    pq_build_input(&b, x);
    pq_build_input(&b, pq_onnx_input(c, 2));
    pq_build_i64(&b, PQ_ATTR_AXIS, axis);
    pq_build_i64(&b, PQ_ATTR_K, (int64_t)depth);
    return pq_onnx_end(c, &b, &c->outputs[0]);
}

ptqc_status
pq_onnx_import_reverse_sequence(pq_onnx_call *c)
{
    int64_t time = 0, batch = 1;
    uint32_t rank = pq_onnx_type_of(c, pq_onnx_input(c, 0))->rank;
    PQ_TRY(pq_onnx_attr_i64(c, "time_axis", &time));
    PQ_TRY(pq_onnx_attr_i64(c, "batch_axis", &batch));
    PQ_TRY(pq_onnx_axis(c, time, rank, &time));
    PQ_TRY(pq_onnx_axis(c, batch, rank, &batch));
    pq_builder b;
    pq_onnx_begin(c, &b, PQ_OP_REVERSE_SEQUENCE);
    pq_build_input(&b, pq_onnx_input(c, 0));
    pq_build_input(&b, pq_onnx_input(c, 1));
    pq_build_i64(&b, PQ_ATTR_AXIS, time);
    pq_build_i64(&b, PQ_ATTR_BATCH_DIMS, batch);
    return pq_onnx_end(c, &b, &c->outputs[0]);
}
