// SPDX-License-Identifier: Apache-2.0
//
// QuantizeLinear, DequantizeLinear, the integer operators of ai.onnx and the
// QLinear* operators (also of com.microsoft). Codes and constant scales stay
// as the file has them: a quantized operand is a value whose type says what
// its codes mean. Parameters that are computed while running become plain
// arithmetic.
#include <math.h>
#include <string.h>

#include "base/dtype.h"
#include "frontend/onnx/ops.h"

// ---- Q and DQ ---------------------------------------------------------------

static ptqc_status
read_desc(pq_onnx_call *c, pq_onnx_quant_desc *d)
{
    *d = (pq_onnx_quant_desc){.scale = pq_onnx_input(c, 1),
                              .zero_point = pq_onnx_input(c, 2),
                              .axis = 1};
    PQ_TRY(pq_onnx_attr_i64(c, "axis", &d->axis));
    return pq_onnx_attr_range(c, "block_size", 0, 1 << 20, &d->block);
}

// From the zero point, else output_dtype, else u8.
static ptqc_status
read_code_type(pq_onnx_call *c, const pq_onnx_quant_desc *d, ptqc_dtype *out)
{
    int64_t given = 0;
    ptqc_dtype named = PTQC_U8;
    PQ_TRY(pq_onnx_attr_i64(c, "output_dtype", &given));
    if (given != 0) {
        PQ_TRY(pq_onnx_dtype(c->ctx, given, &named));
    }
    *out = named;
    if (!pq_value_is_none(d->zero_point)) {
        *out = pq_onnx_type_of(c, d->zero_point)->dtype;
        if (given != 0 && *out != named) {
            return PQ_ONNX_FAIL(c, PTQC_E_INPUT,
                                "expected zero points of the output_dtype "
                                "%s, found %s",
                                pq_dtype_name(named), pq_dtype_name(*out));
        }
    }
    return PTQC_OK;
}

ptqc_status
pq_onnx_import_quantize(pq_onnx_call *c)
{
    pq_onnx_quant_desc d;
    ptqc_dtype to = PTQC_U8;
    int64_t saturate = 1, precision = 0;
    pq_value_id x = pq_onnx_input(c, 0);
    PQ_TRY(read_desc(c, &d));
    PQ_TRY(read_code_type(c, &d, &to));
    PQ_TRY(pq_onnx_attr_range(c, "saturate", 0, 1, &saturate));
    PQ_TRY(pq_onnx_attr_i64(c, "precision", &precision));
    if (saturate == 0 || (precision != 0 && precision != PQ_ONNX_FLOAT)) {
        return PQ_ONNX_FAIL(c, PTQC_E_UNSUPPORTED,
                            "quantizing without saturation or in another "
                            "precision than FLOAT is not supported");
    }
    if (pq_dtype_is_float(to) || !pq_onnx_quant_is_known(c, &d)) {
        return pq_onnx_quantize_by_ops(c, x, &d, to, &c->outputs[0]);
    }
    const pq_type *type = pq_onnx_type_of(c, x);
    pq_quant_id quant;
    PQ_TRY(pq_onnx_quant_make(c, &d, type, to, &quant));
    if (!pq_dtype_is_float(type->dtype)) { // int32 is allowed
        PQ_TRY(pq_onnx_cast(c, x, PTQC_F32, &x));
    }
    pq_builder b;
    pq_onnx_begin(c, &b, PQ_OP_QUANTIZE);
    pq_build_input(&b, x);
    pq_build_i64(&b, PQ_ATTR_TO, to);
    PQ_TRY(pq_onnx_end(c, &b, &c->outputs[0]));
    pq_value_set_quant(c->g, c->outputs[0], to, quant);
    return PTQC_OK;
}

static ptqc_status
build_dequantize(pq_onnx_call *c, pq_value_id x, ptqc_dtype to,
                 pq_value_id *out)
{
    pq_builder b;
    pq_onnx_begin(c, &b, PQ_OP_DEQUANTIZE);
    pq_build_input(&b, x);
    pq_build_i64(&b, PQ_ATTR_TO, to);
    return pq_onnx_end(c, &b, out);
}

// ---- blocks along the first axis of a matrix --------------------------------

static unsigned
get_code(const pq_constant *k, int64_t row, int64_t column)
{
    int64_t width = k->dims[1];
    const uint8_t *p = k->p;
    if (pq_dtype_bits(k->dtype) == 8) {
        return p[row * width + column];
    }
    p += row * (width / 2 + width % 2);
    return p[column / 2] >> (column % 2 * 4) & 15u;
}

static ptqc_status
transpose_constant(pq_onnx_call *c, const pq_constant *from, pq_str name,
                   pq_value_id *out)
{
    int64_t dims[2] = {from->dims[1], from->dims[0]};
    bool is_byte = pq_dtype_bits(from->dtype) == 8;
    size_t width =
        is_byte ? (size_t)dims[1] : (size_t)(dims[1] / 2 + dims[1] % 2);
    uint8_t *p = pq_arena_array(c->arena, (size_t)dims[0], width);
    PQ_TRY_ALLOC(p);
    for (int64_t i = 0; i < dims[0]; i++) {
        for (int64_t k = 0; k < dims[1]; k++) {
            unsigned code = get_code(from, k, i);
            uint8_t *byte = p + (size_t)i * width + (is_byte ? k : k / 2);
            *byte = (uint8_t)(*byte | code << (is_byte ? 0 : k % 2 * 4));
        }
    }
    return pq_build_constant(c->g, name, from->dtype, dims, 2, p, out);
}

static ptqc_status
transpose_floats(pq_onnx_call *c, pq_value_id v, pq_value_id *out)
{
    pq_onnx_f32s all;
    PQ_TRY(pq_onnx_known_f32s(c, v, "scales", &all));
    const pq_constant *k =
        pq_graph_constant(c->g, pq_graph_value(c->g, v)->constant);
    int64_t dims[2] = {k->dims[1], k->dims[0]};
    float *p = pq_arena_array(c->arena, all.n, sizeof *p);
    PQ_TRY_ALLOC(p);
    for (size_t i = 0; i < all.n; i++) {
        size_t row = i / (size_t)dims[0], column = i % (size_t)dims[0];
        p[column * (size_t)dims[1] + row] = all.p[i];
    }
    return pq_build_constant(c->g, (pq_str){0}, PTQC_F32, dims, 2, p, out);
}

static bool
is_known_matrix(const pq_onnx_call *c, pq_value_id v, bool is_code)
{
    const pq_value *value = pq_graph_value(c->g, v);
    return value != NULL && !pq_const_is_none(value->constant) &&
           value->type.rank == 2 &&
           (!is_code || pq_dtype_bits(value->type.dtype) <= 8);
}

// Weights [K, N] with scales [K / block, N], as exporters write matmul
// operands: kept as codes [N, K] in groups along K, and transposed back.
static ptqc_status
dequantize_columns(pq_onnx_call *c, pq_value_id x, pq_onnx_quant_desc d,
                   ptqc_dtype to)
{
    const int64_t perm[2] = {1, 0};
    pq_quant_id quant;
    pq_value_id codes, scale, real;
    const pq_value *value = pq_graph_value(c->g, x);
    bool has_zero = !pq_value_is_none(d.zero_point);
    PQ_TRY(transpose_floats(c, d.scale, &scale));
    PQ_TRY(transpose_constant(c, pq_graph_constant(c->g, value->constant),
                              value->name, &codes));
    if (has_zero) {
        const pq_value *zero = pq_graph_value(c->g, d.zero_point);
        PQ_TRY(transpose_constant(c, pq_graph_constant(c->g, zero->constant),
                                  zero->name, &d.zero_point));
    }
    d.scale = scale;
    d.axis = 1;
    const pq_type *type = pq_onnx_type_of(c, codes);
    PQ_TRY(pq_onnx_quant_make(c, &d, type, type->dtype, &quant));
    PQ_TRY(pq_onnx_quant_attach(c, codes, quant, &codes));
    PQ_TRY(build_dequantize(c, codes, to, &real));
    return pq_onnx_transpose(c, real, perm, 2, &c->outputs[0]);
}

ptqc_status
pq_onnx_import_dequantize(pq_onnx_call *c)
{
    pq_onnx_quant_desc d;
    pq_value_id x = pq_onnx_input(c, 0);
    const pq_type *type = pq_onnx_type_of(c, x);
    PQ_TRY(read_desc(c, &d));
    int64_t given = 0;
    ptqc_dtype to = pq_onnx_type_of(c, d.scale)->dtype;
    PQ_TRY(pq_onnx_attr_i64(c, "output_dtype", &given));
    if (given != 0) {
        PQ_TRY(pq_onnx_dtype(c->ctx, given, &to));
    }
    if (pq_dtype_is_float(type->dtype) || !pq_onnx_quant_is_known(c, &d)) {
        return pq_onnx_dequantize_by_ops(c, x, &d, to, &c->outputs[0]);
    }
    bool is_column_block = d.block > 0 && (d.axis == 0 || d.axis == -2) &&
                           is_known_matrix(c, x, true) &&
                           is_known_matrix(c, d.scale, false) &&
                           (pq_value_is_none(d.zero_point) ||
                            is_known_matrix(c, d.zero_point, true));
    if (is_column_block) {
        return dequantize_columns(c, x, d, to);
    }
    pq_quant_id quant;
    PQ_TRY(pq_onnx_quant_make(c, &d, type, type->dtype, &quant));
    if (!pq_onnx_quant_can_attach(c, x, quant)) {
        return pq_onnx_dequantize_by_ops(c, x, &d, to, &c->outputs[0]);
    }
    PQ_TRY(pq_onnx_quant_attach(c, x, quant, &x));
    return build_dequantize(c, x, to, &c->outputs[0]);
}

// ---- scales computed while running ------------------------------------------

static ptqc_status
reduce_all(pq_onnx_call *c, pq_opcode code, pq_value_id x, pq_value_id *out)
{
    pq_builder b;
    pq_onnx_begin(c, &b, code);
    pq_build_input(&b, x);
    pq_build_i64(&b, PQ_ATTR_KEEPDIMS, 0);
    return pq_onnx_end(c, &b, out);
}

// scale = (max(x, 0) - min(x, 0)) / 255, 1 when x is all zero;
// zero point = round(-min(x, 0) / scale) (ONNX DynamicQuantizeLinear-11).
static ptqc_status
dynamic_parameters(pq_onnx_call *c, pq_value_id x, pq_value_id *scale,
                   pq_value_id *zero_point)
{
    pq_value_id zero, one, levels, high, low, is_zero, t;
    PQ_TRY(pq_onnx_scalar(c, PTQC_F32, 0.0, &zero));
    PQ_TRY(pq_onnx_scalar(c, PTQC_F32, 1.0, &one));
    PQ_TRY(pq_onnx_scalar(c, PTQC_F32, 255.0, &levels));
    PQ_TRY(reduce_all(c, PQ_OP_REDUCE_MAX, x, &high));
    PQ_TRY(reduce_all(c, PQ_OP_REDUCE_MIN, x, &low));
    PQ_TRY(pq_onnx_binary(c, PQ_OP_MAX, high, zero, &high));
    PQ_TRY(pq_onnx_binary(c, PQ_OP_MIN, low, zero, &low));
    PQ_TRY(pq_onnx_binary(c, PQ_OP_SUB, high, low, &t));
    PQ_TRY(pq_onnx_binary(c, PQ_OP_DIV, t, levels, &t));
    PQ_TRY(pq_onnx_binary(c, PQ_OP_EQUAL, t, zero, &is_zero));
    pq_builder b;
    pq_onnx_begin(c, &b, PQ_OP_WHERE);
    pq_build_input(&b, is_zero);
    pq_build_input(&b, one);
    pq_build_input(&b, t);
    PQ_TRY(pq_onnx_end(c, &b, scale));
    PQ_TRY(pq_onnx_binary(c, PQ_OP_SUB, zero, low, &t));
    PQ_TRY(pq_onnx_binary(c, PQ_OP_DIV, t, *scale, &t));
    PQ_TRY(pq_onnx_unary(c, PQ_OP_ROUND, t, &t));
    return pq_onnx_cast(c, t, PTQC_U8, zero_point);
}

ptqc_status
pq_onnx_import_dynamic_quantize(pq_onnx_call *c)
{
    pq_value_id slots[3], *out[3];
    for (uint32_t i = 0; i < 3; i++) {
        out[i] = i < c->output_count ? &c->outputs[i] : &slots[i];
    }
    pq_value_id x = pq_onnx_input(c, 0);
    PQ_TRY(dynamic_parameters(c, x, out[1], out[2]));
    const pq_onnx_quant_desc d = {.scale = *out[1], .zero_point = *out[2]};
    return pq_onnx_quantize_by_ops(c, x, &d, PTQC_U8, out[0]);
}

// ---- integer operators without scales ---------------------------------------

// Whether the zero point is absent or a constant of zeros.
static bool
is_zero_free(pq_onnx_call *c, pq_value_id v)
{
    const pq_value *value = pq_graph_value(c->g, v);
    if (value == NULL) {
        return true;
    }
    if (pq_const_is_none(value->constant)) {
        return false;
    }
    const pq_constant *k = pq_graph_constant(c->g, value->constant);
    const uint8_t *p = k->p;
    for (size_t i = 0; i < k->bytes; i++) {
        if (p[i] != 0) {
            return false;
        }
    }
    return true;
}

// 8-bit operands as they are, when they have no zero points and no scales.
static ptqc_status
integer_operands(pq_onnx_call *c, int64_t left_axis, int64_t right_axis,
                 pq_value_id *a, pq_value_id *b)
{
    pq_value_id x = pq_onnx_input(c, 0), w = pq_onnx_input(c, 1);
    pq_value_id x_zero = pq_onnx_input(c, 2), w_zero = pq_onnx_input(c, 3);
    bool is_plain = is_zero_free(c, x_zero) && is_zero_free(c, w_zero) &&
                    pq_quant_is_none(pq_graph_value(c->g, x)->quant) &&
                    pq_quant_is_none(pq_graph_value(c->g, w)->quant);
    if (is_plain) {
        *a = x;
        *b = w;
        return PTQC_OK;
    }
    PQ_TRY(pq_onnx_shifted_codes(c, x, x_zero, left_axis, a));
    return pq_onnx_shifted_codes(c, w, w_zero, right_axis, b);
}

ptqc_status
pq_onnx_import_conv_integer(pq_onnx_call *c)
{
    pq_value_id x, w;
    PQ_TRY(integer_operands(c, 0, 0, &x, &w));
    return pq_onnx_build_conv(c, x, w, PQ_NO_VALUE, &c->outputs[0]);
}

ptqc_status
pq_onnx_import_matmul_integer(pq_onnx_call *c)
{
    pq_value_id a, b;
    PQ_TRY(integer_operands(c, -2, -1, &a, &b));
    return pq_onnx_binary(c, PQ_OP_MATMUL, a, b, &c->outputs[0]);
}

// f32(acc) * (a_scale * b_scale) + bias
static ptqc_status
scale_product(pq_onnx_call *c, pq_value_id acc, pq_value_id a_scale,
              pq_value_id b_scale, pq_value_id bias)
{
    pq_value_id t, scale;
    pq_value_id *out = pq_value_is_none(bias) ? &c->outputs[0] : &t;
    PQ_TRY(pq_onnx_binary(c, PQ_OP_MUL, a_scale, b_scale, &scale));
    PQ_TRY(pq_onnx_cast(c, acc, PTQC_F32, &t));
    PQ_TRY(pq_onnx_binary(c, PQ_OP_MUL, t, scale, out));
    return pq_value_is_none(bias)
               ? PTQC_OK
               : pq_onnx_binary(c, PQ_OP_ADD, t, bias, &c->outputs[0]);
}

// A, B, a_scale, b_scale, a_zero, b_zero, bias
ptqc_status
pq_onnx_import_matmul_to_float(pq_onnx_call *c)
{
    pq_value_id a, b, acc;
    PQ_TRY(pq_onnx_shifted_codes(c, pq_onnx_input(c, 0), pq_onnx_input(c, 4),
                                 -2, &a));
    PQ_TRY(pq_onnx_shifted_codes(c, pq_onnx_input(c, 1), pq_onnx_input(c, 5),
                                 -1, &b));
    PQ_TRY(pq_onnx_binary(c, PQ_OP_MATMUL, a, b, &acc));
    return scale_product(c, acc, pq_onnx_input(c, 2), pq_onnx_input(c, 3),
                         pq_onnx_input(c, 6));
}

// A (f32), B, b_scale, b_zero, bias
ptqc_status
pq_onnx_import_dynamic_matmul(pq_onnx_call *c)
{
    pq_value_id x = pq_onnx_input(c, 0), scale, zero, codes, a, b, acc;
    PQ_TRY(dynamic_parameters(c, x, &scale, &zero));
    const pq_onnx_quant_desc d = {.scale = scale, .zero_point = zero};
    PQ_TRY(pq_onnx_quantize_by_ops(c, x, &d, PTQC_U8, &codes));
    PQ_TRY(pq_onnx_shifted_codes(c, codes, zero, -2, &a));
    PQ_TRY(pq_onnx_shifted_codes(c, pq_onnx_input(c, 1), pq_onnx_input(c, 3),
                                 -1, &b));
    PQ_TRY(pq_onnx_binary(c, PQ_OP_MATMUL, a, b, &acc));
    return scale_product(c, acc, scale, pq_onnx_input(c, 2),
                         pq_onnx_input(c, 4));
}

// ---- QLinear: operands and result with constant scales ----------------------

// An i32 bias counts in units of x_scale * w_scale[c].
static ptqc_status
quantize_bias(pq_onnx_call *c, pq_value_id bias, pq_value_id x_scale,
              pq_value_id w_scale, pq_value_id *out)
{
    float sx;
    pq_onnx_f32s sw;
    *out = bias;
    if (pq_value_is_none(bias)) {
        return PTQC_OK;
    }
    const pq_type *type = pq_onnx_type_of(c, bias);
    if (type->dtype != PTQC_I32 || type->rank != 1) {
        return PQ_ONNX_FAIL(c, PTQC_E_INPUT,
                            "expected a bias of type i32 and rank 1, found %s "
                            "and %u",
                            pq_dtype_name(type->dtype), type->rank);
    }
    PQ_TRY(pq_onnx_known_f32(c, x_scale, "the scale of the input", &sx));
    PQ_TRY(pq_onnx_known_f32s(c, w_scale, "scales of weights", &sw));
    float *scales = pq_arena_array(c->arena, sw.n, sizeof *scales);
    PQ_TRY_ALLOC(scales);
    for (size_t i = 0; i < sw.n; i++) {
        scales[i] = sx * sw.p[i];
    }
    int64_t count = (int64_t)sw.n;
    pq_onnx_quant_desc d = {.axis = 0};
    PQ_TRY(pq_build_constant(c->g, (pq_str){0}, PTQC_F32, &count, 1, scales,
                             &d.scale));
    pq_quant_id quant;
    PQ_TRY(pq_onnx_quant_make(c, &d, type, PTQC_I32, &quant));
    return pq_onnx_quant_attach(c, bias, quant, out);
}

// x, x_scale, x_zero, w, w_scale, w_zero, y_scale, y_zero, bias
ptqc_status
pq_onnx_import_qlinear_conv(pq_onnx_call *c)
{
    pq_value_id x, w, bias;
    PQ_TRY(pq_onnx_quant_operand(c, 0, 1, &x));
    PQ_TRY(pq_onnx_quant_operand(c, 3, 0, &w));
    PQ_TRY(quantize_bias(c, pq_onnx_input(c, 8), pq_onnx_input(c, 1),
                         pq_onnx_input(c, 4), &bias));
    PQ_TRY(pq_onnx_build_conv(c, x, w, bias, &c->outputs[0]));
    return pq_onnx_quant_result(c, 6, c->outputs[0]);
}

// a, a_scale, a_zero, b, b_scale, b_zero, y_scale, y_zero; scales of a may be
// per row, of b per column.
ptqc_status
pq_onnx_import_qlinear_matmul(pq_onnx_call *c)
{
    pq_value_id a, b;
    PQ_TRY(pq_onnx_quant_operand(c, 0, -2, &a));
    PQ_TRY(pq_onnx_quant_operand(c, 3, -1, &b));
    PQ_TRY(pq_onnx_binary(c, PQ_OP_MATMUL, a, b, &c->outputs[0]));
    return pq_onnx_quant_result(c, 6, c->outputs[0]);
}

// a, a_scale, a_zero, b, b_scale, b_zero, bias, y_scale, y_zero; without the
// last two the result is real.
ptqc_status
pq_onnx_import_qgemm(pq_onnx_call *c)
{
    float alpha = 1.0f;
    int64_t trans_a = 0, trans_b = 0;
    pq_value_id a, b, bias;
    PQ_TRY(pq_onnx_attr_f32(c, "alpha", &alpha));
    PQ_TRY(pq_onnx_attr_range(c, "transA", 0, 1, &trans_a));
    PQ_TRY(pq_onnx_attr_range(c, "transB", 0, 1, &trans_b));
    if (alpha != 1.0f) { // exact: the default
        return PQ_ONNX_FAIL(c, PTQC_E_UNSUPPORTED,
                            "an alpha other than 1 is not supported");
    }
    PQ_TRY(pq_onnx_quant_operand(c, 0, trans_a == 1 ? 1 : 0, &a));
    PQ_TRY(pq_onnx_quant_operand(c, 3, trans_b == 1 ? 0 : 1, &b));
    PQ_TRY(quantize_bias(c, pq_onnx_input(c, 6), pq_onnx_input(c, 1),
                         pq_onnx_input(c, 4), &bias));
    pq_builder build;
    pq_onnx_begin(c, &build, PQ_OP_MATMUL);
    pq_build_input(&build, a);
    pq_build_input(&build, b);
    pq_build_input(&build, bias);
    pq_build_i64(&build, PQ_ATTR_TRANS_A, trans_a);
    pq_build_i64(&build, PQ_ATTR_TRANS_B, trans_b);
    PQ_TRY(pq_onnx_end(c, &build, &c->outputs[0]));
    return pq_value_is_none(pq_onnx_input(c, 7))
               ? PTQC_OK
               : pq_onnx_quant_result(c, 7, c->outputs[0]);
}

// QLinearAdd, QLinearMul: as QLinearMatMul.
ptqc_status
pq_onnx_import_qlinear_binary(pq_onnx_call *c)
{
    pq_value_id a, b;
    PQ_TRY(pq_onnx_quant_operand(c, 0, 0, &a));
    PQ_TRY(pq_onnx_quant_operand(c, 3, 0, &b));
    PQ_TRY(pq_onnx_binary(c, (pq_opcode)c->op->param, a, b, &c->outputs[0]));
    return pq_onnx_quant_result(c, 6, c->outputs[0]);
}

// x, x_scale, x_zero, y_scale, y_zero
static ptqc_status
refuse_channels_last(pq_onnx_call *c)
{
    int64_t channels_last = 0;
    PQ_TRY(pq_onnx_attr_range(c, "channels_last", 0, 1, &channels_last));
    if (channels_last != 0) {
        return PQ_ONNX_FAIL(c, PTQC_E_UNSUPPORTED,
                            "channels_last is not supported");
    }
    return PTQC_OK;
}

ptqc_status
pq_onnx_import_qlinear_pool(pq_onnx_call *c)
{
    pq_value_id x;
    PQ_TRY(refuse_channels_last(c));
    PQ_TRY(pq_onnx_quant_operand(c, 0, 0, &x));
    if (c->op->param == PQ_OP_AVG_POOL) {
        PQ_TRY(pq_onnx_build_pool(c, PQ_OP_AVG_POOL, x, &c->outputs[0]));
    } else {
        PQ_TRY(
            pq_onnx_build_global_pool(c, PQ_OP_REDUCE_MEAN, x, &c->outputs[0]));
    }
    return pq_onnx_quant_result(c, 3, c->outputs[0]);
}

ptqc_status
pq_onnx_import_qlinear_unary(pq_onnx_call *c)
{
    pq_opcode code = (pq_opcode)c->op->param;
    float alpha = 0.01f; // ONNX LeakyRelu-16
    pq_value_id x;
    PQ_TRY(pq_onnx_quant_operand(c, 0, 0, &x));
    pq_builder b;
    pq_onnx_begin(c, &b, code);
    pq_build_input(&b, x);
    if (code == PQ_OP_LEAKY_RELU) {
        PQ_TRY(pq_onnx_attr_f32(c, "alpha", &alpha));
        pq_build_f32(&b, PQ_ATTR_ALPHA, alpha);
    }
    PQ_TRY(pq_onnx_end(c, &b, &c->outputs[0]));
    return pq_onnx_quant_result(c, 3, c->outputs[0]);
}

// 'opset' says whether softmax flattens (below 13) or not.
ptqc_status
pq_onnx_import_qlinear_softmax(pq_onnx_call *c)
{
    int64_t axis = -1, opset = 13;
    pq_value_id x;
    PQ_TRY(pq_onnx_attr_i64(c, "opset", &opset));
    axis = opset < 13 ? 1 : -1;
    PQ_TRY(pq_onnx_attr_i64(c, "axis", &axis));
    uint32_t rank = pq_onnx_type_of(c, pq_onnx_input(c, 0))->rank;
    PQ_TRY(pq_onnx_axis(c, axis, rank, &axis));
    if (opset < 13 && axis != (int64_t)rank - 1) {
        return PQ_ONNX_FAIL(c, PTQC_E_UNSUPPORTED,
                            "a softmax over several axes is not supported");
    }
    PQ_TRY(pq_onnx_quant_operand(c, 0, 0, &x));
    pq_builder b;
    pq_onnx_begin(c, &b, PQ_OP_SOFTMAX);
    pq_build_input(&b, x);
    pq_build_i64(&b, PQ_ATTR_AXIS, axis);
    PQ_TRY(pq_onnx_end(c, &b, &c->outputs[0]));
    return pq_onnx_quant_result(c, 3, c->outputs[0]);
}

// y_scale, y_zero, then x, x_scale, x_zero for each operand.
ptqc_status
pq_onnx_import_qlinear_concat(pq_onnx_call *c)
{
    int64_t axis = 0;
    if (c->input_count < 5 || c->input_count % 3 != 2) {
        return PQ_ONNX_FAIL(c, PTQC_E_INPUT,
                            "expected 2 inputs and 3 for each operand, found "
                            "%u",
                            c->input_count);
    }
    PQ_TRY(pq_onnx_attr_i64(c, "axis", &axis));
    uint32_t rank = pq_onnx_type_of(c, pq_onnx_input(c, 2))->rank;
    PQ_TRY(pq_onnx_axis(c, axis, rank, &axis));
    pq_builder b;
    pq_onnx_begin(c, &b, PQ_OP_CONCAT);
    for (uint32_t i = 2; i < c->input_count; i += 3) {
        pq_value_id x;
        if (pq_value_is_none(pq_onnx_input(c, i))) {
            return PQ_ONNX_FAIL(c, PTQC_E_INPUT,
                                "expected input %u, found none", i);
        }
        PQ_TRY(pq_onnx_quant_operand(c, i, 0, &x));
        pq_build_input(&b, x);
    }
    pq_build_i64(&b, PQ_ATTR_AXIS, axis);
    PQ_TRY(pq_onnx_end(c, &b, &c->outputs[0]));
    return pq_onnx_quant_result(c, 0, c->outputs[0]);
}
