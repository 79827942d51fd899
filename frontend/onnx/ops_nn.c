// SPDX-License-Identifier: Apache-2.0
//
// Convolution, matrix products, pooling and normalization.
#include <string.h>

#include "base/dtype.h"
#include "frontend/onnx/ops.h"

enum {
    SPATIAL_LIMIT = PTQC_MAX_RANK - 2,
};

// ---- windows ----------------------------------------------------------------

// Kernel, strides, dilations and pads of n spatial axes.
typedef struct window {
    uint32_t n;
    int64_t kernel[SPATIAL_LIMIT], strides[SPATIAL_LIMIT];
    int64_t dilations[SPATIAL_LIMIT];
    int64_t pads[2 * SPATIAL_LIMIT]; // begins, then ends
    pq_str auto_pad;
} window;

static ptqc_status
read_ints(pq_onnx_call *c, const char *name, uint32_t n, int64_t min,
          int64_t otherwise, int64_t *out)
{
    pq_onnx_i64s list = {0};
    PQ_TRY(pq_onnx_attr_i64s(c, name, &list));
    if (list.n != 0 && list.n != n) {
        return PQ_ONNX_FAIL(c, PTQC_E_INPUT,
                            "attribute '%s': expected %u numbers, found %zu",
                            name, n, list.n);
    }
    for (uint32_t i = 0; i < n; i++) {
        out[i] = list.n != 0 ? list.p[i] : otherwise;
        if (out[i] < min || out[i] > INT32_MAX) {
            return PQ_ONNX_FAIL(c, PTQC_E_INPUT,
                                "attribute '%s': expected %lld to 2^31-1, "
                                "found %lld",
                                name, (long long)min, (long long)out[i]);
        }
    }
    return PTQC_OK;
}

// The spatial rank follows from x; the kernel must have come from weights or
// the attribute.
static ptqc_status
read_window(pq_onnx_call *c, pq_value_id x, window *w)
{
    uint32_t rank = pq_onnx_type_of(c, x)->rank;
    if (rank < 3) {
        return PQ_ONNX_FAIL(c, PTQC_E_INPUT,
                            "input 0: expected rank 3 to %d, found %u",
                            PTQC_MAX_RANK, rank);
    }
    w->n = rank - 2;
    w->auto_pad = PQ_STR("NOTSET");
    PQ_TRY(pq_onnx_attr_str(c, "auto_pad", &w->auto_pad));
    PQ_TRY(read_ints(c, "strides", w->n, 1, 1, w->strides));
    PQ_TRY(read_ints(c, "dilations", w->n, 1, 1, w->dilations));
    return read_ints(c, "pads", 2 * w->n, 0, 0, w->pads);
}

// Sizes of a weight's kernel; the attribute, when there, must agree.
static ptqc_status
read_weight_kernel(pq_onnx_call *c, pq_value_id v, window *w)
{
    const pq_type *type = pq_onnx_type_of(c, v);
    if (type->rank != w->n + 2) {
        return PQ_ONNX_FAIL(c, PTQC_E_INPUT,
                            "weight: expected rank %u, found %u", w->n + 2,
                            type->rank);
    }
    int64_t given[SPATIAL_LIMIT];
    PQ_TRY(read_ints(c, "kernel_shape", w->n, 1, 0x7fffffff, given));
    for (uint32_t i = 0; i < w->n; i++) {
        if (!pq_dim_is_const(c->g, type->dims[i + 2], &w->kernel[i])) {
            return PQ_ONNX_FAIL(c, PTQC_E_UNSUPPORTED,
                                "weights of symbolic size are not supported");
        }
        if (given[i] != 0x7fffffff && given[i] != w->kernel[i]) {
            return PQ_ONNX_FAIL(c, PTQC_E_INPUT,
                                "attribute 'kernel_shape': expected %lld as "
                                "in the weight, found %lld",
                                (long long)w->kernel[i], (long long)given[i]);
        }
    }
    return PTQC_OK;
}

// SAME: ceil(in / stride) outputs. The total depends on the size unless the
// stride is 1; the odd one goes to the end (UPPER) or the beginning (LOWER).
static ptqc_status
pad_same(pq_onnx_call *c, pq_value_id x, bool is_upper, window *w)
{
    for (uint32_t i = 0; i < w->n; i++) {
        int64_t extent = w->dilations[i] * (w->kernel[i] - 1) + 1;
        int64_t total = extent - 1, size;
        if (w->strides[i] != 1) {
            pq_dim d = pq_onnx_type_of(c, x)->dims[i + 2];
            if (!pq_dim_is_const(c->g, d, &size)) {
                return PQ_ONNX_FAIL(c, PTQC_E_UNSUPPORTED,
                                    "auto_pad with strides on a symbolic "
                                    "size is not supported");
            }
            int64_t count = (size + w->strides[i] - 1) / w->strides[i];
            total = (count - 1) * w->strides[i] + extent - size;
        }
        total = total < 0 ? 0 : total;
        int64_t less = total / 2;
        w->pads[i] = is_upper ? less : total - less;
        w->pads[w->n + i] = total - w->pads[i];
    }
    return PTQC_OK;
}

static ptqc_status
resolve_auto_pad(pq_onnx_call *c, pq_value_id x, window *w)
{
    if (w->auto_pad.n == 0 || pq_str_equal_z(w->auto_pad, "NOTSET")) {
        return PTQC_OK;
    }
    if (pq_str_equal_z(w->auto_pad, "VALID")) {
        memset(w->pads, 0, sizeof w->pads);
        return PTQC_OK;
    }
    bool is_upper = pq_str_equal_z(w->auto_pad, "SAME_UPPER");
    if (is_upper || pq_str_equal_z(w->auto_pad, "SAME_LOWER")) {
        return pad_same(c, x, is_upper, w);
    }
    return PQ_ONNX_FAIL(c, PTQC_E_INPUT,
                        "attribute 'auto_pad': expected NOTSET, SAME_UPPER, "
                        "SAME_LOWER or VALID, found '%.*s'",
                        PQ_STR_ARG(w->auto_pad));
}

static void
build_window(pq_builder *b, const window *w)
{
    pq_build_i64s(b, PQ_ATTR_STRIDES, w->strides, w->n);
    pq_build_i64s(b, PQ_ATTR_DILATIONS, w->dilations, w->n);
    pq_build_i64s(b, PQ_ATTR_PADS, w->pads, 2 * w->n);
}

// ---- convolution ------------------------------------------------------------

ptqc_status
pq_onnx_build_conv(pq_onnx_call *c, pq_value_id x, pq_value_id weight,
                   pq_value_id bias, pq_value_id *out)
{
    window w = {0};
    int64_t group = 1;
    PQ_TRY(read_window(c, x, &w));
    PQ_TRY(read_weight_kernel(c, weight, &w));
    PQ_TRY(resolve_auto_pad(c, x, &w));
    PQ_TRY(pq_onnx_attr_range(c, "group", 1, INT32_MAX, &group));
    pq_builder b;
    pq_onnx_begin(c, &b, PQ_OP_CONV);
    pq_build_input(&b, x);
    pq_build_input(&b, weight);
    pq_build_input(&b, bias);
    build_window(&b, &w);
    pq_build_i64(&b, PQ_ATTR_GROUP, group);
    return pq_onnx_end(c, &b, out);
}

ptqc_status
pq_onnx_import_conv(pq_onnx_call *c)
{
    return pq_onnx_build_conv(c, pq_onnx_input(c, 0), pq_onnx_input(c, 1),
                              pq_onnx_input(c, 2), &c->outputs[0]);
}

// With output_shape the pads follow; auto_pad SAME means size * stride
// (ONNX ConvTranspose-11).
static ptqc_status
transpose_pads(pq_onnx_call *c, pq_value_id x, const int64_t *more, window *w)
{
    int64_t shape[SPATIAL_LIMIT];
    bool is_upper = pq_str_equal_z(w->auto_pad, "SAME_UPPER");
    bool is_same = is_upper || pq_str_equal_z(w->auto_pad, "SAME_LOWER");
    PQ_TRY(read_ints(c, "output_shape", w->n, 1, 0x7fffffff, shape));
    bool has_shape = shape[0] != 0x7fffffff;
    if (!has_shape && !is_same) {
        return resolve_auto_pad(c, x, w);
    }
    for (uint32_t i = 0; i < w->n; i++) {
        int64_t extent = w->dilations[i] * (w->kernel[i] - 1) + 1, size = 0;
        int64_t total = extent - w->strides[i] + more[i];
        if (has_shape) {
            pq_dim d = pq_onnx_type_of(c, x)->dims[i + 2];
            if (!pq_dim_is_const(c->g, d, &size)) {
                return PQ_ONNX_FAIL(c, PTQC_E_UNSUPPORTED,
                                    "output_shape for a symbolic size is not "
                                    "supported");
            }
            total = (size - 1) * w->strides[i] + more[i] + extent - shape[i];
        }
        if (total < 0) {
            return PQ_ONNX_FAIL(c, PTQC_E_UNSUPPORTED,
                                "an output larger than all windows is not "
                                "supported");
        }
        w->pads[i] = is_upper ? total / 2 : total - total / 2;
        w->pads[w->n + i] = total - w->pads[i];
    }
    return PTQC_OK;
}

ptqc_status
pq_onnx_import_conv_transpose(pq_onnx_call *c)
{
    window w = {0};
    int64_t group = 1, more[SPATIAL_LIMIT] = {0};
    pq_value_id x = pq_onnx_input(c, 0);
    PQ_TRY(read_window(c, x, &w));
    PQ_TRY(read_weight_kernel(c, pq_onnx_input(c, 1), &w));
    PQ_TRY(pq_onnx_attr_range(c, "group", 1, INT32_MAX, &group));
    PQ_TRY(read_ints(c, "output_padding", w.n, 0, 0, more));
    PQ_TRY(transpose_pads(c, x, more, &w));
    pq_builder b;
    pq_onnx_begin(c, &b, PQ_OP_CONV_TRANSPOSE);
    for (uint32_t i = 0; i < 3; i++) {
        pq_build_input(&b, pq_onnx_input(c, i));
    }
    build_window(&b, &w);
    pq_build_i64(&b, PQ_ATTR_GROUP, group);
    pq_build_i64s(&b, PQ_ATTR_OUTPUT_PADDING, more, w.n);
    return pq_onnx_end(c, &b, &c->outputs[0]);
}

// ---- matrix products --------------------------------------------------------

ptqc_status
pq_onnx_import_matmul(pq_onnx_call *c)
{
    return pq_onnx_binary(c, PQ_OP_MATMUL, pq_onnx_input(c, 0),
                          pq_onnx_input(c, 1), &c->outputs[0]);
}

static ptqc_status
scale_by(pq_onnx_call *c, pq_value_id x, float factor, pq_value_id *out)
{
    *out = x;
    if (factor == 1.0f) { // exact: written as 1
        return PTQC_OK;
    }
    pq_value_id scalar;
    PQ_TRY(pq_onnx_scalar(c, pq_onnx_type_of(c, x)->dtype, (double)factor,
                          &scalar));
    return pq_onnx_binary(c, PQ_OP_MUL, x, scalar, out);
}

// A bias that is one value per column goes into the product, any other is
// added to it.
static bool
is_column_bias(pq_onnx_call *c, pq_value_id bias, pq_dim columns)
{
    const pq_type *type = pq_onnx_type_of(c, bias);
    int64_t first = 1;
    bool is_row = type->rank == 1 ||
                  (type->rank == 2 &&
                   pq_dim_is_const(c->g, type->dims[0], &first) && first == 1);
    return is_row && pq_dim_equal(type->dims[type->rank - 1], columns);
}

static ptqc_status
gemm_operands(pq_onnx_call *c, int64_t trans_b, float alpha, float beta,
              pq_value_id *a, pq_value_id *bias, bool *out_fused)
{
    const pq_type *b_type = pq_onnx_type_of(c, pq_onnx_input(c, 1));
    for (uint32_t i = 0; i < 2; i++) {
        const pq_type *t = pq_onnx_type_of(c, pq_onnx_input(c, i));
        if (t->rank != 2) {
            return PQ_ONNX_FAIL(c, PTQC_E_INPUT,
                                "input %u: expected rank 2, found %u", i,
                                t->rank);
        }
    }
    PQ_TRY(scale_by(c, pq_onnx_input(c, 0), alpha, a));
    *bias = pq_onnx_input(c, 2);
    *out_fused = false;
    if (pq_value_is_none(*bias)) {
        return PTQC_OK;
    }
    PQ_TRY(scale_by(c, *bias, beta, bias));
    pq_dim columns = b_type->dims[trans_b == 1 ? 0 : 1];
    *out_fused = is_column_bias(c, *bias, columns);
    if (*out_fused && pq_onnx_type_of(c, *bias)->rank == 2) {
        return pq_onnx_reshape(c, *bias, &columns, 1, bias);
    }
    return PTQC_OK;
}

// alpha * A' * B' + beta * C
ptqc_status
pq_onnx_import_gemm(pq_onnx_call *c)
{
    float alpha = 1.0f, beta = 1.0f;
    int64_t trans_a = 0, trans_b = 0;
    pq_value_id a, bias, product;
    bool is_fused;
    PQ_TRY(pq_onnx_attr_f32(c, "alpha", &alpha));
    PQ_TRY(pq_onnx_attr_f32(c, "beta", &beta));
    PQ_TRY(pq_onnx_attr_range(c, "transA", 0, 1, &trans_a));
    PQ_TRY(pq_onnx_attr_range(c, "transB", 0, 1, &trans_b));
    PQ_TRY(gemm_operands(c, trans_b, alpha, beta, &a, &bias, &is_fused));
    pq_builder b;
    pq_onnx_begin(c, &b, PQ_OP_MATMUL);
    pq_build_input(&b, a);
    pq_build_input(&b, pq_onnx_input(c, 1));
    if (is_fused) {
        pq_build_input(&b, bias);
    }
    pq_build_i64(&b, PQ_ATTR_TRANS_A, trans_a);
    pq_build_i64(&b, PQ_ATTR_TRANS_B, trans_b);
    if (is_fused || pq_value_is_none(bias)) {
        return pq_onnx_end(c, &b, &c->outputs[0]);
    }
    PQ_TRY(pq_onnx_end(c, &b, &product));
    return pq_onnx_binary(c, PQ_OP_ADD, product, bias, &c->outputs[0]);
}

// ---- pooling ----------------------------------------------------------------

ptqc_status
pq_onnx_build_pool(pq_onnx_call *c, pq_opcode code, pq_value_id x,
                   pq_value_id *out)
{
    window w = {0};
    int64_t is_ceil = 0, include_pad = 0, storage_order = 0;
    PQ_TRY(read_window(c, x, &w));
    PQ_TRY(read_ints(c, "kernel_shape", w.n, 1, 0x7fffffff, w.kernel));
    if (w.kernel[0] == 0x7fffffff) {
        return PQ_ONNX_FAIL(c, PTQC_E_INPUT,
                            "expected the attribute 'kernel_shape', found "
                            "none");
    }
    PQ_TRY(pq_onnx_attr_range(c, "ceil_mode", 0, 1, &is_ceil));
    PQ_TRY(pq_onnx_attr_range(c, "count_include_pad", 0, 1, &include_pad));
    PQ_TRY(pq_onnx_attr_range(c, "storage_order", 0, 1, &storage_order));
    PQ_TRY(resolve_auto_pad(c, x, &w));
    pq_builder b;
    pq_onnx_begin(c, &b, code);
    pq_build_input(&b, x);
    pq_build_i64s(&b, PQ_ATTR_KERNEL, w.kernel, w.n);
    build_window(&b, &w);
    pq_build_i64(&b, PQ_ATTR_CEIL, is_ceil);
    if (code == PQ_OP_AVG_POOL) {
        pq_build_i64(&b, PQ_ATTR_INCLUDE_PAD, include_pad);
    }
    return pq_onnx_end(c, &b, out);
}

ptqc_status
pq_onnx_import_pool(pq_onnx_call *c)
{
    pq_opcode code = (pq_opcode)c->op->param;
    pq_value_id x = pq_onnx_input(c, 0);
    pq_quant_id quant = pq_graph_value(c->g, x)->quant;
    if (pq_onnx_wants(c, 1)) {
        return PQ_ONNX_FAIL(c, PTQC_E_UNSUPPORTED,
                            "the output of indices is not supported");
    }
    PQ_TRY(pq_onnx_build_pool(c, code, x, &c->outputs[0]));
    // The largest code is the largest number: the meaning stays.
    if (code == PQ_OP_MAX_POOL && !pq_quant_is_none(quant)) {
        pq_value_set_quant(c->g, c->outputs[0], pq_onnx_type_of(c, x)->dtype,
                           quant);
    }
    return PTQC_OK;
}

// All spatial axes, which stay as size 1.
ptqc_status
pq_onnx_build_global_pool(pq_onnx_call *c, pq_opcode code, pq_value_id x,
                          pq_value_id *out)
{
    uint32_t rank = pq_onnx_type_of(c, x)->rank;
    int64_t axes[PTQC_MAX_RANK];
    if (rank < 3) {
        return PQ_ONNX_FAIL(c, PTQC_E_INPUT,
                            "input 0: expected rank 3 to %d, found %u",
                            PTQC_MAX_RANK, rank);
    }
    for (uint32_t i = 2; i < rank; i++) {
        axes[i - 2] = i;
    }
    pq_builder b;
    pq_onnx_begin(c, &b, code);
    pq_build_input(&b, x);
    pq_build_i64s(&b, PQ_ATTR_AXES, axes, rank - 2);
    pq_build_i64(&b, PQ_ATTR_KEEPDIMS, 1);
    return pq_onnx_end(c, &b, out);
}

ptqc_status
pq_onnx_import_global_pool(pq_onnx_call *c)
{
    return pq_onnx_build_global_pool(c, (pq_opcode)c->op->param,
                                     pq_onnx_input(c, 0), &c->outputs[0]);
}

// ---- normalization ----------------------------------------------------------

static ptqc_status
refuse_outputs_after(pq_onnx_call *c, uint32_t first)
{
    for (uint32_t i = first; i < c->output_count; i++) {
        if (pq_onnx_wants(c, i)) {
            return PQ_ONNX_FAIL(c, PTQC_E_UNSUPPORTED,
                                "output %u is not supported", i);
        }
    }
    return PTQC_OK;
}

ptqc_status
pq_onnx_import_batch_norm(pq_onnx_call *c)
{
    float epsilon = 1e-5f; // ONNX BatchNormalization-15
    int64_t training = 0, spatial = 1;
    pq_onnx_attr_ignore(c, "momentum"); // of training
    PQ_TRY(pq_onnx_attr_f32(c, "epsilon", &epsilon));
    PQ_TRY(pq_onnx_attr_range(c, "training_mode", 0, 1, &training));
    PQ_TRY(pq_onnx_attr_range(c, "spatial", 0, 1, &spatial)); // opset 7, 8
    PQ_TRY(refuse_outputs_after(c, 1));
    if (training == 1 || spatial == 0) {
        return PQ_ONNX_FAIL(c, PTQC_E_UNSUPPORTED,
                            "training mode and statistics per element are "
                            "not supported");
    }
    pq_builder b;
    pq_onnx_begin(c, &b, PQ_OP_BATCH_NORM);
    for (uint32_t i = 0; i < 5; i++) {
        pq_build_input(&b, pq_onnx_input(c, i));
    }
    pq_build_f32(&b, PQ_ATTR_EPSILON, epsilon);
    return pq_onnx_end(c, &b, &c->outputs[0]);
}

static ptqc_status
mean_from(pq_onnx_call *c, pq_value_id x, int64_t axis, pq_value_id *out)
{
    int64_t axes[PTQC_MAX_RANK];
    uint32_t rank = pq_onnx_type_of(c, x)->rank, first = (uint32_t)axis;
    for (uint32_t i = first; i < rank; i++) {
        axes[i - first] = i;
    }
    pq_builder b;
    pq_onnx_begin(c, &b, PQ_OP_REDUCE_MEAN);
    pq_build_input(&b, x);
    pq_build_i64s(&b, PQ_ATTR_AXES, axes, rank - first);
    pq_build_i64(&b, PQ_ATTR_KEEPDIMS, 1);
    return pq_onnx_end(c, &b, out);
}

// The optional outputs of LayerNormalization: the mean, and
// 1 / sqrt(variance + epsilon).
static ptqc_status
layer_statistics(pq_onnx_call *c, pq_value_id x, int64_t axis, float epsilon)
{
    pq_value_id mean, t, e;
    if (!pq_onnx_wants(c, 1) && !pq_onnx_wants(c, 2)) {
        return PTQC_OK;
    }
    PQ_TRY(mean_from(c, x, axis, pq_onnx_wants(c, 1) ? &c->outputs[1] : &mean));
    mean = pq_onnx_wants(c, 1) ? c->outputs[1] : mean;
    if (!pq_onnx_wants(c, 2)) {
        return PTQC_OK;
    }
    PQ_TRY(pq_onnx_binary(c, PQ_OP_SUB, x, mean, &t));
    PQ_TRY(pq_onnx_binary(c, PQ_OP_MUL, t, t, &t));
    PQ_TRY(mean_from(c, t, axis, &t));
    PQ_TRY(
        pq_onnx_scalar(c, pq_onnx_type_of(c, x)->dtype, (double)epsilon, &e));
    PQ_TRY(pq_onnx_binary(c, PQ_OP_ADD, t, e, &t));
    return pq_onnx_unary(c, PQ_OP_RSQRT, t, &c->outputs[2]);
}

// LayerNormalization, RMSNormalization: axes from `axis` on.
ptqc_status
pq_onnx_import_layer_norm(pq_onnx_call *c)
{
    float epsilon = 1e-5f; // ONNX LayerNormalization-17
    int64_t axis = -1, stash_type = PQ_ONNX_FLOAT;
    pq_value_id x = pq_onnx_input(c, 0);
    PQ_TRY(pq_onnx_attr_f32(c, "epsilon", &epsilon));
    PQ_TRY(pq_onnx_attr_i64(c, "axis", &axis));
    PQ_TRY(pq_onnx_attr_i64(c, "stash_type", &stash_type));
    PQ_TRY(pq_onnx_axis(c, axis, pq_onnx_type_of(c, x)->rank, &axis));
    if (stash_type != PQ_ONNX_FLOAT) {
        return PQ_ONNX_FAIL(c, PTQC_E_UNSUPPORTED,
                            "a stash_type other than FLOAT is not supported");
    }
    pq_builder b;
    pq_onnx_begin(c, &b, (pq_opcode)c->op->param);
    for (uint32_t i = 0; i < c->op->max_inputs; i++) {
        pq_build_input(&b, pq_onnx_input(c, i));
    }
    pq_build_i64(&b, PQ_ATTR_AXIS, axis);
    pq_build_f32(&b, PQ_ATTR_EPSILON, epsilon);
    PQ_TRY(pq_onnx_end(c, &b, &c->outputs[0]));
    return layer_statistics(c, x, axis, epsilon);
}

ptqc_status
pq_onnx_import_instance_norm(pq_onnx_call *c)
{
    float epsilon = 1e-5f; // ONNX InstanceNormalization-6
    PQ_TRY(pq_onnx_attr_f32(c, "epsilon", &epsilon));
    pq_builder b;
    pq_onnx_begin(c, &b, PQ_OP_INSTANCE_NORM);
    for (uint32_t i = 0; i < 3; i++) {
        pq_build_input(&b, pq_onnx_input(c, i));
    }
    pq_build_f32(&b, PQ_ATTR_EPSILON, epsilon);
    return pq_onnx_end(c, &b, &c->outputs[0]);
}

ptqc_status
pq_onnx_import_group_norm(pq_onnx_call *c)
{
    float epsilon = 1e-5f; // ONNX GroupNormalization-21
    int64_t group = 0, stash_type = PQ_ONNX_FLOAT;
    PQ_TRY(pq_onnx_attr_f32(c, "epsilon", &epsilon));
    PQ_TRY(pq_onnx_attr_range(c, "num_groups", 1, INT32_MAX, &group));
    PQ_TRY(pq_onnx_attr_i64(c, "stash_type", &stash_type));
    if (stash_type != PQ_ONNX_FLOAT) {
        return PQ_ONNX_FAIL(c, PTQC_E_UNSUPPORTED,
                            "a stash_type other than FLOAT is not supported");
    }
    pq_builder b;
    pq_onnx_begin(c, &b, PQ_OP_GROUP_NORM);
    for (uint32_t i = 0; i < 3; i++) {
        pq_build_input(&b, pq_onnx_input(c, i));
    }
    pq_build_i64(&b, PQ_ATTR_GROUP, group);
    pq_build_f32(&b, PQ_ATTR_EPSILON, epsilon);
    return pq_onnx_end(c, &b, &c->outputs[0]);
}

ptqc_status
pq_onnx_import_lp_norm(pq_onnx_call *c)
{
    int64_t axis = -1, p = 2;
    pq_value_id x = pq_onnx_input(c, 0);
    PQ_TRY(pq_onnx_attr_i64(c, "axis", &axis));
    PQ_TRY(pq_onnx_attr_range(c, "p", 1, 2, &p));
    PQ_TRY(pq_onnx_axis(c, axis, pq_onnx_type_of(c, x)->rank, &axis));
    pq_builder b;
    pq_onnx_begin(c, &b, PQ_OP_LP_NORM);
    pq_build_input(&b, x);
    pq_build_i64(&b, PQ_ATTR_AXIS, axis);
    pq_build_i64(&b, PQ_ATTR_P, p);
    return pq_onnx_end(c, &b, &c->outputs[0]);
}

ptqc_status
pq_onnx_import_lrn(pq_onnx_call *c)
{
    float alpha = 1e-4f, beta = 0.75f, bias = 1.0f; // ONNX LRN-13
    int64_t size = 0;
    PQ_TRY(pq_onnx_attr_range(c, "size", 1, INT32_MAX, &size));
    PQ_TRY(pq_onnx_attr_f32(c, "alpha", &alpha));
    PQ_TRY(pq_onnx_attr_f32(c, "beta", &beta));
    PQ_TRY(pq_onnx_attr_f32(c, "bias", &bias));
    pq_builder b;
    pq_onnx_begin(c, &b, PQ_OP_LRN);
    pq_build_input(&b, pq_onnx_input(c, 0));
    pq_build_i64(&b, PQ_ATTR_SIZE, size);
    pq_build_f32(&b, PQ_ATTR_ALPHA, alpha);
    pq_build_f32(&b, PQ_ATTR_BETA, beta);
    pq_build_f32(&b, PQ_ATTR_BIAS, bias);
    return pq_onnx_end(c, &b, &c->outputs[0]);
}
