// SPDX-License-Identifier: Apache-2.0
//
// Elementwise operators. Broadcasting is numpy's in all supported opsets.
#include <math.h>

#include "base/dtype.h"
#include "frontend/onnx/ops.h"

// ---- one input --------------------------------------------------------------

ptqc_status
pq_onnx_import_unary(pq_onnx_call *c)
{
    return pq_onnx_unary(c, (pq_opcode)c->op->param, pq_onnx_input(c, 0),
                         &c->outputs[0]);
}

// Names and defaults of the float attributes, in the order of ALPHA, BETA.
typedef struct unary_params {
    pq_opcode code;
    const char *names[2];
    float defaults[2];
} unary_params;

static const unary_params parameterized[] = {
    {PQ_OP_LEAKY_RELU, {"alpha"}, {0.01f}},
    {PQ_OP_ELU, {"alpha"}, {1.0f}},
    {PQ_OP_CELU, {"alpha"}, {1.0f}},
    {PQ_OP_THRESHOLDED_RELU, {"alpha"}, {1.0f}},
    // ONNX operator specification, Selu-6 and HardSigmoid-6.
    {PQ_OP_SELU,
     {"alpha", "gamma"},
     {1.67326319217681884765625f, 1.05070102214813232421875f}},
    {PQ_OP_HARDSIGMOID, {"alpha", "beta"}, {0.2f, 0.5f}},
    {PQ_OP_SHRINK, {"lambd", "bias"}, {0.5f, 0.0f}},
};

ptqc_status
pq_onnx_import_parameterized(pq_onnx_call *c)
{
    const unary_params *p = parameterized;
    while (p->code != (pq_opcode)c->op->param) {
        p++;
    }
    pq_builder b;
    pq_onnx_begin(c, &b, p->code);
    pq_build_input(&b, pq_onnx_input(c, 0));
    for (int i = 0; i < 2 && p->names[i] != NULL; i++) {
        float x = p->defaults[i];
        PQ_TRY(pq_onnx_attr_f32(c, p->names[i], &x));
        pq_build_f32(&b, i == 0 ? PQ_ATTR_ALPHA : PQ_ATTR_BETA, x);
    }
    return pq_onnx_end(c, &b, &c->outputs[0]);
}

ptqc_status
pq_onnx_import_identity(pq_onnx_call *c)
{
    c->outputs[0] = pq_onnx_input(c, 0);
    return PTQC_OK;
}

// Inference leaves the data as it is; the mask would be all true.
ptqc_status
pq_onnx_import_dropout(pq_onnx_call *c)
{
    pq_onnx_attr_ignore(c, "ratio");
    pq_onnx_attr_ignore(c, "seed");
    if (pq_onnx_wants(c, 1)) {
        return PQ_ONNX_FAIL(c, PTQC_E_UNSUPPORTED,
                            "the mask output is not supported");
    }
    pq_value_id training = pq_onnx_input(c, 2);
    if (!pq_value_is_none(training)) {
        pq_onnx_i64s is_training;
        PQ_TRY(pq_onnx_known_i64s(c, training, "training mode", &is_training));
        if (is_training.n != 1 || is_training.p[0] != 0) {
            return PQ_ONNX_FAIL(c, PTQC_E_UNSUPPORTED,
                                "training mode is not supported");
        }
    }
    return pq_onnx_import_identity(c);
}

ptqc_status
pq_onnx_import_gelu(pq_onnx_call *c)
{
    pq_str how = PQ_STR("none");
    PQ_TRY(pq_onnx_attr_str(c, "approximate", &how));
    bool is_tanh = pq_str_equal_z(how, "tanh");
    if (!is_tanh && !pq_str_equal_z(how, "none")) {
        return PQ_ONNX_FAIL(c, PTQC_E_INPUT,
                            "attribute 'approximate': expected none or tanh, "
                            "found '%.*s'",
                            PQ_STR_ARG(how));
    }
    return pq_onnx_unary(c, is_tanh ? PQ_OP_GELU_TANH : PQ_OP_GELU,
                         pq_onnx_input(c, 0), &c->outputs[0]);
}

// x * sigmoid(alpha * x)
ptqc_status
pq_onnx_import_swish(pq_onnx_call *c)
{
    float alpha = 1.0f;
    pq_value_id x = pq_onnx_input(c, 0), scale, scaled, gate;
    PQ_TRY(pq_onnx_attr_f32(c, "alpha", &alpha));
    if (alpha == 1.0f) { // exact: the default
        return pq_onnx_unary(c, PQ_OP_SILU, x, &c->outputs[0]);
    }
    PQ_TRY(
        pq_onnx_scalar(c, pq_onnx_type_of(c, x)->dtype, (double)alpha, &scale));
    PQ_TRY(pq_onnx_binary(c, PQ_OP_MUL, x, scale, &scaled));
    PQ_TRY(pq_onnx_unary(c, PQ_OP_SIGMOID, scaled, &gate));
    return pq_onnx_binary(c, PQ_OP_MUL, x, gate, &c->outputs[0]);
}

ptqc_status
pq_onnx_import_is_inf(pq_onnx_call *c)
{
    int64_t positive = 1, negative = 1;
    pq_value_id x = pq_onnx_input(c, 0), is_inf, zero, sign;
    PQ_TRY(pq_onnx_attr_range(c, "detect_positive", 0, 1, &positive));
    PQ_TRY(pq_onnx_attr_range(c, "detect_negative", 0, 1, &negative));
    if (positive == 1 && negative == 1) {
        return pq_onnx_unary(c, PQ_OP_IS_INF, x, &c->outputs[0]);
    }
    if (positive == 0 && negative == 0) {
        return PQ_ONNX_FAIL(c, PTQC_E_UNSUPPORTED,
                            "detecting no infinity is not supported");
    }
    PQ_TRY(pq_onnx_unary(c, PQ_OP_IS_INF, x, &is_inf));
    PQ_TRY(pq_onnx_scalar(c, pq_onnx_type_of(c, x)->dtype, 0.0, &zero));
    PQ_TRY(pq_onnx_binary(c, positive == 1 ? PQ_OP_GREATER : PQ_OP_LESS, x,
                          zero, &sign));
    return pq_onnx_binary(c, PQ_OP_AND, is_inf, sign, &c->outputs[0]);
}

// Bounds that are one number each become attributes, others min and max ops.
static ptqc_status
clip_by_ops(pq_onnx_call *c, pq_value_id low, pq_value_id high)
{
    pq_value_id x = pq_onnx_input(c, 0);
    if (!pq_value_is_none(low)) {
        pq_value_id *out = pq_value_is_none(high) ? &c->outputs[0] : &low;
        PQ_TRY(pq_onnx_binary(c, PQ_OP_MAX, x, low, out));
        x = *out;
    }
    if (!pq_value_is_none(high)) {
        PQ_TRY(pq_onnx_binary(c, PQ_OP_MIN, x, high, &c->outputs[0]));
    }
    return PTQC_OK;
}

static ptqc_status
clip_by_attrs(pq_onnx_call *c, float low, float high)
{
    if (isinf(low) && isinf(high) && low < 0.0f && high > 0.0f) {
        return pq_onnx_import_identity(c);
    }
    pq_builder b;
    pq_onnx_begin(c, &b, PQ_OP_CLIP);
    pq_build_input(&b, pq_onnx_input(c, 0));
    pq_build_f32(&b, PQ_ATTR_ALPHA, low);
    pq_build_f32(&b, PQ_ATTR_BETA, high);
    return pq_onnx_end(c, &b, &c->outputs[0]);
}

ptqc_status
pq_onnx_import_clip(pq_onnx_call *c)
{
    float low = -INFINITY, high = INFINITY;
    if (c->opset < 11) {
        PQ_TRY(pq_onnx_attr_f32(c, "min", &low));
        PQ_TRY(pq_onnx_attr_f32(c, "max", &high));
        return clip_by_attrs(c, low, high);
    }
    pq_value_id min = pq_onnx_input(c, 1), max = pq_onnx_input(c, 2);
    bool has_min = !pq_value_is_none(min), has_max = !pq_value_is_none(max);
    if (!has_min && !has_max) {
        return pq_onnx_import_identity(c);
    }
    bool is_f32 = pq_onnx_type_of(c, pq_onnx_input(c, 0))->dtype == PTQC_F32;
    bool is_known = (!has_min || pq_onnx_is_known(c, min)) &&
                    (!has_max || pq_onnx_is_known(c, max));
    if (!is_f32 || !is_known) {
        return clip_by_ops(c, min, max);
    }
    if (has_min) {
        PQ_TRY(pq_onnx_known_f32(c, min, "the lower bound", &low));
    }
    if (has_max) {
        PQ_TRY(pq_onnx_known_f32(c, max, "the upper bound", &high));
    }
    return clip_by_attrs(c, low, high);
}

// saturate: the attribute of Cast and CastLike.
static ptqc_status
cast_to(pq_onnx_call *c, ptqc_dtype dtype, int64_t saturate)
{
    bool is_f8 = dtype == PTQC_F8E4M3 || dtype == PTQC_F8E5M2;
    if (is_f8 && saturate == 0) {
        return PQ_ONNX_FAIL(c, PTQC_E_UNSUPPORTED,
                            "casting to 8-bit floats without saturation is "
                            "not supported");
    }
    if (dtype == pq_onnx_type_of(c, pq_onnx_input(c, 0))->dtype) {
        return pq_onnx_import_identity(c);
    }
    return pq_onnx_cast(c, pq_onnx_input(c, 0), dtype, &c->outputs[0]);
}

ptqc_status
pq_onnx_import_cast(pq_onnx_call *c)
{
    int64_t to = 0, saturate = 1;
    ptqc_dtype dtype = PTQC_DTYPE_NONE;
    pq_str round_mode = PQ_STR("up");
    PQ_TRY(pq_onnx_attr_i64(c, "to", &to));
    PQ_TRY(pq_onnx_attr_range(c, "saturate", 0, 1, &saturate));
    PQ_TRY(pq_onnx_attr_str(c, "round_mode", &round_mode)); // of e8m0 only
    PQ_TRY(pq_onnx_dtype(c->ctx, to, &dtype));
    return cast_to(c, dtype, saturate);
}

ptqc_status
pq_onnx_import_cast_like(pq_onnx_call *c)
{
    int64_t saturate = 1;
    pq_str round_mode = PQ_STR("up");
    PQ_TRY(pq_onnx_attr_range(c, "saturate", 0, 1, &saturate));
    PQ_TRY(pq_onnx_attr_str(c, "round_mode", &round_mode));
    ptqc_dtype dtype = pq_onnx_type_of(c, pq_onnx_input(c, 1))->dtype;
    return cast_to(c, dtype, saturate);
}

// ---- two inputs and more ----------------------------------------------------

ptqc_status
pq_onnx_import_binary(pq_onnx_call *c)
{
    return pq_onnx_binary(c, (pq_opcode)c->op->param, pq_onnx_input(c, 0),
                          pq_onnx_input(c, 1), &c->outputs[0]);
}

// The result has the type of the base.
ptqc_status
pq_onnx_import_pow(pq_onnx_call *c)
{
    pq_value_id x = pq_onnx_input(c, 0), y = pq_onnx_input(c, 1);
    ptqc_dtype base = pq_onnx_type_of(c, x)->dtype;
    ptqc_dtype exponent = pq_onnx_type_of(c, y)->dtype;
    if (!pq_dtype_is_float(base) && pq_dtype_is_float(exponent)) {
        return PQ_ONNX_FAIL(c, PTQC_E_UNSUPPORTED,
                            "a base of type %s with an exponent of type %s is "
                            "not supported",
                            pq_dtype_name(base), pq_dtype_name(exponent));
    }
    if (base != exponent) {
        PQ_TRY(pq_onnx_cast(c, y, base, &y));
    }
    return pq_onnx_binary(c, PQ_OP_POW, x, y, &c->outputs[0]);
}

ptqc_status
pq_onnx_import_mod(pq_onnx_call *c)
{
    int64_t is_fmod = 0;
    PQ_TRY(pq_onnx_attr_range(c, "fmod", 0, 1, &is_fmod));
    if (is_fmod == 0 &&
        pq_dtype_is_float(pq_onnx_type_of(c, pq_onnx_input(c, 0))->dtype)) {
        return PQ_ONNX_FAIL(c, PTQC_E_INPUT,
                            "attribute 'fmod': expected 1 for floats, found "
                            "0");
    }
    return pq_onnx_binary(c, is_fmod == 1 ? PQ_OP_FMOD : PQ_OP_MOD,
                          pq_onnx_input(c, 0), pq_onnx_input(c, 1),
                          &c->outputs[0]);
}

ptqc_status
pq_onnx_import_bit_shift(pq_onnx_call *c)
{
    pq_str direction = {0};
    PQ_TRY(pq_onnx_attr_str(c, "direction", &direction));
    bool is_left = pq_str_equal_z(direction, "LEFT");
    if (!is_left && !pq_str_equal_z(direction, "RIGHT")) {
        return PQ_ONNX_FAIL(c, PTQC_E_INPUT,
                            "attribute 'direction': expected LEFT or RIGHT, "
                            "found '%.*s'",
                            PQ_STR_ARG(direction));
    }
    return pq_onnx_binary(c, is_left ? PQ_OP_SHIFT_LEFT : PQ_OP_SHIFT_RIGHT,
                          pq_onnx_input(c, 0), pq_onnx_input(c, 1),
                          &c->outputs[0]);
}

// Min, Max, Sum: from the left.
static ptqc_status
fold_left(pq_onnx_call *c, pq_opcode code, pq_value_id *out)
{
    pq_value_id x = pq_onnx_input(c, 0);
    for (uint32_t i = 1; i < c->input_count; i++) {
        pq_value_id y = pq_onnx_input(c, i);
        if (pq_value_is_none(y)) {
            return PQ_ONNX_FAIL(c, PTQC_E_INPUT,
                                "expected input %u, found none", i);
        }
        pq_value_id *to = i + 1 == c->input_count ? out : &x;
        PQ_TRY(pq_onnx_binary(c, code, x, y, to));
        x = *to;
    }
    *out = x;
    return PTQC_OK;
}

ptqc_status
pq_onnx_import_variadic(pq_onnx_call *c)
{
    return fold_left(c, (pq_opcode)c->op->param, &c->outputs[0]);
}

ptqc_status
pq_onnx_import_mean(pq_onnx_call *c)
{
    pq_value_id sum, count;
    PQ_TRY(fold_left(c, PQ_OP_ADD, &sum));
    PQ_TRY(pq_onnx_scalar(c, pq_onnx_type_of(c, sum)->dtype,
                          (double)c->input_count, &count));
    return pq_onnx_binary(c, PQ_OP_DIV, sum, count, &c->outputs[0]);
}

ptqc_status
pq_onnx_import_where(pq_onnx_call *c)
{
    pq_builder b;
    pq_onnx_begin(c, &b, PQ_OP_WHERE);
    for (uint32_t i = 0; i < 3; i++) {
        pq_build_input(&b, pq_onnx_input(c, i));
    }
    return pq_onnx_end(c, &b, &c->outputs[0]);
}
