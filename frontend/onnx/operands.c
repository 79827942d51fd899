// SPDX-License-Identifier: Apache-2.0
//
// What importer functions share: operands that must be known before running,
// axes, and short forms for building ops.
#include <math.h>
#include <string.h>

#include "base/bits.h"
#include "base/checked.h"
#include "base/dtype.h"
#include "base/float16.h"
#include "frontend/onnx/importer.h"

enum {
    KNOWN_LIMIT = 1 << 16, // elements of an operand that is read here
};

pq_value_id
pq_onnx_input(const pq_onnx_call *c, uint32_t i)
{
    return i < c->input_count ? c->inputs[i] : PQ_NO_VALUE;
}

const pq_type *
pq_onnx_type_of(const pq_onnx_call *c, pq_value_id v)
{
    return &pq_graph_value(c->g, v)->type;
}

bool
pq_onnx_wants(const pq_onnx_call *c, uint32_t i)
{
    return i < c->output_count && c->node->outputs.p[i].n != 0;
}

// ---- numbers known before running ------------------------------------------

// Element i of an array; false: no integer, or beyond 63 bits.
static bool
load_integer(ptqc_dtype dtype, const uint8_t *p, size_t i, int64_t *out)
{
    return pq_dtype_load_integer(dtype, p + pq_dtype_bits(dtype) / 8 * i, out);
}

static bool
load_float(ptqc_dtype dtype, const uint8_t *p, size_t i, float *out)
{
    int64_t x;
    switch ((int)dtype) {
    case PTQC_F32:
        *out = pq_load_f32(p + 4 * i);
        return true;
    case PTQC_F64:
        *out = (float)pq_load_f64(p + 8 * i);
        return true;
    case PTQC_F16:
        *out = pq_f16_to_f32(pq_load_le16(p + 2 * i));
        return true;
    case PTQC_BF16:
        *out = pq_bf16_to_f32(pq_load_le16(p + 2 * i));
        return true;
    default:
        if (load_integer(dtype, p, i, &x)) {
            *out = (float)x;
            return true;
        }
        return false;
    }
}

static size_t
constant_count(const pq_constant *k)
{
    size_t count = 1;
    for (uint32_t i = 0; i < k->rank; i++) {
        count *= (size_t)k->dims[i]; // checked when it was made
    }
    return count;
}

static ptqc_status
not_known(pq_onnx_call *c, const char *what)
{
    return PQ_ONNX_FAIL(c, PTQC_E_UNSUPPORTED,
                        "%s that are only known while running are not "
                        "supported",
                        what);
}

static ptqc_status
dims_of_constant(pq_onnx_call *c, const pq_constant *k, const char *what,
                 const pq_dim **out, uint32_t *out_count)
{
    size_t count = constant_count(k);
    if (count > KNOWN_LIMIT) {
        return PQ_ONNX_FAIL(c, PTQC_E_UNSUPPORTED,
                            "%s of %zu elements are not supported, at most %d",
                            what, count, KNOWN_LIMIT);
    }
    pq_dim *dims = pq_arena_array(c->arena, count, sizeof *dims);
    PQ_TRY_ALLOC(dims);
    for (size_t i = 0; i < count; i++) {
        int64_t x;
        if (!load_integer(k->dtype, k->p, i, &x)) {
            return PQ_ONNX_FAIL(c, PTQC_E_INPUT,
                                "expected integers as %s, found type %s", what,
                                pq_dtype_name(k->dtype));
        }
        dims[i] = pq_dim_const(c->g, x);
        PQ_TRY(pq_onnx_dim_check(c, dims[i]));
    }
    *out = dims;
    *out_count = (uint32_t)count;
    return PTQC_OK;
}

ptqc_status
pq_onnx_known_dims(pq_onnx_call *c, pq_value_id v, const char *what,
                   const pq_dim **out, uint32_t *out_count)
{
    const pq_value *value = pq_graph_value(c->g, v);
    if (value == NULL) {
        return PQ_ONNX_FAIL(c, PTQC_E_INPUT, "expected %s, found none", what);
    }
    if (value->type.rank > 1) {
        return PQ_ONNX_FAIL(c, PTQC_E_INPUT,
                            "expected %s of rank 0 or 1, found rank %u", what,
                            value->type.rank);
    }
    if (!pq_const_is_none(value->constant)) {
        return dims_of_constant(c, pq_graph_constant(c->g, value->constant),
                                what, out, out_count);
    }
    int64_t size = 1;
    bool is_empty = value->type.rank == 1 &&
                    pq_dim_is_const(c->g, value->type.dims[0], &size) &&
                    size == 0;
    if (value->elements == NULL && !is_empty) {
        return not_known(c, what);
    }
    *out = value->elements;
    *out_count = is_empty ? 0 : value->element_count;
    return PTQC_OK;
}

ptqc_status
pq_onnx_known_i64s(pq_onnx_call *c, pq_value_id v, const char *what,
                   pq_onnx_i64s *out)
{
    const pq_dim *dims = NULL;
    uint32_t count = 0;
    PQ_TRY(pq_onnx_known_dims(c, v, what, &dims, &count));
    out->p = pq_arena_array(c->arena, count, sizeof *out->p);
    PQ_TRY_ALLOC(out->p);
    out->n = count;
    for (uint32_t i = 0; i < count; i++) {
        if (!pq_dim_is_const(c->g, dims[i], &out->p[i])) {
            return not_known(c, what);
        }
    }
    return PTQC_OK;
}

ptqc_status
pq_onnx_known_f32s(pq_onnx_call *c, pq_value_id v, const char *what,
                   pq_onnx_f32s *out)
{
    const pq_value *value = pq_graph_value(c->g, v);
    if (value == NULL) {
        return PQ_ONNX_FAIL(c, PTQC_E_INPUT, "expected %s, found none", what);
    }
    if (pq_const_is_none(value->constant)) {
        return not_known(c, what);
    }
    const pq_constant *k = pq_graph_constant(c->g, value->constant);
    size_t count = constant_count(k);
    out->p = pq_arena_array(c->arena, count, sizeof *out->p);
    PQ_TRY_ALLOC(out->p);
    out->n = count;
    for (size_t i = 0; i < count; i++) {
        if (!load_float(k->dtype, k->p, i, &out->p[i])) {
            return PQ_ONNX_FAIL(c, PTQC_E_UNSUPPORTED,
                                "%s of type %s are not supported", what,
                                pq_dtype_name(k->dtype));
        }
    }
    return PTQC_OK;
}

// Rows of 4-bit types start on a byte.
static int64_t
load_nibble(const pq_constant *k, size_t i)
{
    size_t row = k->rank == 0 ? 1 : (size_t)k->dims[k->rank - 1];
    const uint8_t *bytes = k->p;
    size_t at = i / row * (row / 2 + row % 2) + i % row / 2;
    int64_t code = bytes[at] >> (i % row % 2 * 4) & 15;
    return k->dtype == PTQC_I4 && code > 7 ? code - 16 : code;
}

ptqc_status
pq_onnx_known_codes(pq_onnx_call *c, pq_value_id v, const char *what,
                    pq_onnx_i64s *out)
{
    const pq_value *value = pq_graph_value(c->g, v);
    if (value == NULL || pq_const_is_none(value->constant)) {
        return not_known(c, what);
    }
    const pq_constant *k = pq_graph_constant(c->g, value->constant);
    size_t count = constant_count(k);
    out->p = pq_arena_array(c->arena, count, sizeof *out->p);
    PQ_TRY_ALLOC(out->p);
    out->n = count;
    for (size_t i = 0; i < count; i++) {
        if (pq_dtype_bits(k->dtype) < 8) {
            out->p[i] = load_nibble(k, i);
        } else if (!load_integer(k->dtype, k->p, i, &out->p[i])) {
            return PQ_ONNX_FAIL(c, PTQC_E_INPUT,
                                "expected integers as %s, found type %s", what,
                                pq_dtype_name(k->dtype));
        }
    }
    return PTQC_OK;
}

ptqc_status
pq_onnx_known_f32(pq_onnx_call *c, pq_value_id v, const char *what, float *out)
{
    pq_onnx_f32s all;
    PQ_TRY(pq_onnx_known_f32s(c, v, what, &all));
    if (all.n != 1) {
        return PQ_ONNX_FAIL(c, PTQC_E_INPUT,
                            "expected one number as %s, found %zu", what,
                            all.n);
    }
    *out = all.p[0];
    return PTQC_OK;
}

bool
pq_onnx_is_known(const pq_onnx_call *c, pq_value_id v)
{
    const pq_value *value = pq_graph_value(c->g, v);
    if (value == NULL) {
        return false;
    }
    if (!pq_const_is_none(value->constant)) {
        return true;
    }
    for (uint32_t i = 0; i < value->element_count; i++) {
        if (!pq_dim_is_const(c->g, value->elements[i], NULL)) {
            return false;
        }
    }
    return value->elements != NULL;
}

// ---- axes -------------------------------------------------------------------

ptqc_status
pq_onnx_axis(pq_onnx_call *c, int64_t axis, uint32_t rank, int64_t *out)
{
    int64_t n = rank;
    if (axis < -n || axis >= n) {
        return PQ_ONNX_FAIL(c, PTQC_E_INPUT,
                            "expected an axis from %lld to %lld, found %lld",
                            (long long)-n, (long long)n - 1, (long long)axis);
    }
    *out = axis < 0 ? axis + n : axis;
    return PTQC_OK;
}

ptqc_status
pq_onnx_axes(pq_onnx_call *c, pq_onnx_i64s axes, uint32_t rank)
{
    if (axes.n > rank) {
        return PQ_ONNX_FAIL(c, PTQC_E_INPUT,
                            "expected at most %u axes, found %zu", rank,
                            axes.n);
    }
    uint32_t used = 0;
    for (size_t i = 0; i < axes.n; i++) {
        PQ_TRY(pq_onnx_axis(c, axes.p[i], rank, &axes.p[i]));
        if ((used >> axes.p[i] & 1) != 0) {
            return PQ_ONNX_FAIL(c, PTQC_E_INPUT,
                                "expected each axis once, found %lld twice",
                                (long long)axes.p[i]);
        }
        used |= 1u << axes.p[i];
    }
    return PTQC_OK;
}

ptqc_status
pq_onnx_own_i64s(pq_onnx_call *c, pq_onnx_i64s *list)
{
    int64_t *copy = pq_arena_array(c->arena, list->n, sizeof *copy);
    PQ_TRY_ALLOC(copy);
    if (list->n != 0) {
        memcpy(copy, list->p, list->n * sizeof *copy);
    }
    list->p = copy;
    return PTQC_OK;
}

ptqc_status
pq_onnx_dim_check(pq_onnx_call *c, pq_dim d)
{
    return pq_dim_is_none(d) ? c->im->said_status : PTQC_OK;
}

ptqc_status
pq_onnx_product(pq_onnx_call *c, const pq_dim *dims, uint32_t n, pq_dim *out)
{
    *out = pq_dim_const(c->g, 1);
    for (uint32_t i = 0; i < n && !pq_dim_is_none(*out); i++) {
        *out = pq_dim_make(c->g, PQ_DIM_MUL, *out, dims[i]);
    }
    return pq_onnx_dim_check(c, *out);
}

// ---- building --------------------------------------------------------------

void
pq_onnx_begin(pq_onnx_call *c, pq_builder *b, pq_opcode code)
{
    pq_op_id at_end = {0};
    pq_build_begin(b, c->g, at_end, code, pq_onnx_node_label(c->node));
}

// A slot of c->outputs gets the node's name for it.
ptqc_status
pq_onnx_end(pq_onnx_call *c, pq_builder *b, pq_value_id *out)
{
    pq_str name = {0};
    for (uint32_t i = 0; i < c->output_count; i++) {
        if (out == &c->outputs[i]) {
            name = c->node->outputs.p[i];
        }
    }
    return pq_build_end(b, &name, out, NULL);
}

ptqc_status
pq_onnx_finish(pq_onnx_call *c, pq_builder *b)
{
    pq_str names[4] = {{0}};
    pq_value_id outputs[4] = {{0}};
    for (uint32_t i = 0; i < c->output_count && i < 4; i++) {
        names[i] = c->node->outputs.p[i];
    }
    PQ_TRY(pq_build_end(b, names, outputs, NULL));
    for (uint32_t i = 0; i < c->output_count && i < 4; i++) {
        c->outputs[i] = outputs[i];
    }
    return PTQC_OK;
}

ptqc_status
pq_onnx_unary(pq_onnx_call *c, pq_opcode code, pq_value_id x, pq_value_id *out)
{
    pq_builder b;
    pq_onnx_begin(c, &b, code);
    pq_build_input(&b, x);
    return pq_onnx_end(c, &b, out);
}

ptqc_status
pq_onnx_binary(pq_onnx_call *c, pq_opcode code, pq_value_id a, pq_value_id b,
               pq_value_id *out)
{
    pq_builder build;
    pq_onnx_begin(c, &build, code);
    pq_build_input(&build, a);
    pq_build_input(&build, b);
    return pq_onnx_end(c, &build, out);
}

ptqc_status
pq_onnx_reshape(pq_onnx_call *c, pq_value_id x, const pq_dim *shape,
                uint32_t rank, pq_value_id *out)
{
    pq_builder b;
    pq_onnx_begin(c, &b, PQ_OP_RESHAPE);
    pq_build_input(&b, x);
    pq_build_dims(&b, PQ_ATTR_SHAPE, shape, rank);
    return pq_onnx_end(c, &b, out);
}

ptqc_status
pq_onnx_transpose(pq_onnx_call *c, pq_value_id x, const int64_t *perm,
                  uint32_t rank, pq_value_id *out)
{
    pq_builder b;
    pq_onnx_begin(c, &b, PQ_OP_TRANSPOSE);
    pq_build_input(&b, x);
    pq_build_i64s(&b, PQ_ATTR_PERM, perm, rank);
    return pq_onnx_end(c, &b, out);
}

ptqc_status
pq_onnx_cast(pq_onnx_call *c, pq_value_id x, ptqc_dtype to, pq_value_id *out)
{
    pq_builder b;
    pq_onnx_begin(c, &b, PQ_OP_CAST);
    pq_build_input(&b, x);
    pq_build_i64(&b, PQ_ATTR_TO, to);
    return pq_onnx_end(c, &b, out);
}

// Whether an integer type holds the number.
static bool
holds_number(ptqc_dtype dtype, double value)
{
    int bits = (int)pq_dtype_bits(dtype);
    bool is_signed = pq_dtype_is_signed(dtype);
    double high =
        dtype == PTQC_BOOL ? 2.0 : ldexp(1.0, is_signed ? bits - 1 : bits);
    double low = is_signed ? -high : 0.0;
    return bits >= 8 && !pq_dtype_is_float(dtype) && value == floor(value) &&
           value >= low && value < high && value < 0x1p63;
}

ptqc_status
pq_onnx_scalar(pq_onnx_call *c, ptqc_dtype dtype, double value,
               pq_value_id *out)
{
    uint8_t bytes[8] = {0};
    uint16_t half = 0;
    switch ((int)dtype) {
    case PTQC_F32:
        pq_store_f32(bytes, (float)value);
        break;
    case PTQC_F64:
        pq_store_f64(bytes, value);
        break;
    case PTQC_F16:
    case PTQC_BF16:
        half = dtype == PTQC_F16 ? pq_f32_to_f16((float)value)
                                 : pq_f32_to_bf16((float)value);
        pq_store_le16(bytes, half);
        break;
    default:
        if (!holds_number(dtype, value)) {
            return PQ_ONNX_FAIL(c, PTQC_E_UNSUPPORTED,
                                "the number %g in type %s is not supported",
                                value, pq_dtype_name(dtype));
        }
        pq_store_le64(bytes, (uint64_t)(int64_t)value); // two's complement
        break;
    }
    return pq_build_constant(c->g, (pq_str){0}, dtype, NULL, 0, bytes, out);
}
