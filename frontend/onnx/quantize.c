// SPDX-License-Identifier: Apache-2.0
//
// Scales and zero points: real = scale * (code - zero_point). Constant ones
// become the meaning (pq_quant) of a value's codes; computed ones stay
// operands of plain arithmetic.
#include <math.h>
#include <string.h>

#include "base/dtype.h"
#include "frontend/onnx/ops.h"

bool
pq_onnx_quant_is_known(const pq_onnx_call *c, const pq_onnx_quant_desc *d)
{
    const pq_value *scale = pq_graph_value(c->g, d->scale);
    const pq_value *zero = pq_graph_value(c->g, d->zero_point);
    return !pq_const_is_none(scale->constant) &&
           (zero == NULL || !pq_const_is_none(zero->constant));
}

// ---- reading the parameters -------------------------------------------------

static ptqc_status
check_scales(pq_onnx_call *c, pq_onnx_f32s scales)
{
    for (size_t i = 0; i < scales.n; i++) {
        if (!(scales.p[i] > 0.0f) || isinf(scales.p[i])) {
            return PQ_ONNX_FAIL(c, PTQC_E_INPUT,
                                "expected finite scales above 0, found %g",
                                (double)scales.p[i]);
        }
    }
    return PTQC_OK;
}

// Zero points have the type of the codes and the shape of the scales.
static ptqc_status
read_zero_points(pq_onnx_call *c, const pq_onnx_quant_desc *d, size_t count,
                 ptqc_dtype format, int32_t *out)
{
    if (pq_value_is_none(d->zero_point)) {
        return PTQC_OK;
    }
    const pq_type *type = pq_onnx_type_of(c, d->zero_point);
    const pq_type *scale = pq_onnx_type_of(c, d->scale);
    if (type->dtype != format) {
        return PQ_ONNX_FAIL(c, PTQC_E_INPUT,
                            "expected zero points of type %s, found %s",
                            pq_dtype_name(format), pq_dtype_name(type->dtype));
    }
    if (type->rank > scale->rank && type->rank > 1) {
        return PQ_ONNX_FAIL(c, PTQC_E_INPUT,
                            "expected zero points of rank %u like the "
                            "scales, found rank %u",
                            scale->rank, type->rank);
    }
    pq_onnx_i64s zeros;
    PQ_TRY(pq_onnx_known_codes(c, d->zero_point, "zero points", &zeros));
    if (zeros.n != count) {
        return PQ_ONNX_FAIL(c, PTQC_E_INPUT,
                            "expected as many zero points as scales, %zu, "
                            "found %zu",
                            count, zeros.n);
    }
    for (size_t i = 0; i < count; i++) {
        out[i] = (int32_t)zeros.p[i];
        if (format == PTQC_I32 && out[i] != 0) {
            return PQ_ONNX_FAIL(c, PTQC_E_INPUT,
                                "expected zero point 0 for i32, found %d",
                                out[i]);
        }
    }
    return PTQC_OK;
}

static ptqc_status
channel_scheme(pq_onnx_call *c, const pq_onnx_quant_desc *d,
               const pq_type *type, size_t count, pq_scheme *s)
{
    int64_t axis, size;
    PQ_TRY(pq_onnx_axis(c, d->axis, type->rank, &axis));
    if (pq_dim_is_const(c->g, type->dims[axis], &size) &&
        (uint64_t)size != count) {
        return PQ_ONNX_FAIL(c, PTQC_E_INPUT,
                            "expected %lld scales for axis %lld, found %zu",
                            (long long)size, (long long)axis, count);
    }
    s->granularity = PQ_GRAN_CHANNEL;
    s->axis = (uint32_t)axis;
    return PTQC_OK;
}

// Scales [N, ceil(K / block)] of codes [N, K].
static ptqc_status
group_scheme(pq_onnx_call *c, const pq_onnx_quant_desc *d, const pq_type *type,
             pq_scheme *s)
{
    int64_t axis, rows, size, scale_rows = 0, groups = 0;
    const pq_type *scale = pq_onnx_type_of(c, d->scale);
    PQ_TRY(pq_onnx_axis(c, d->axis, type->rank, &axis));
    bool is_plain = type->rank == 2 && axis == 1 && scale->rank == 2 &&
                    pq_dim_is_const(c->g, type->dims[0], &rows) &&
                    pq_dim_is_const(c->g, type->dims[1], &size) &&
                    pq_dim_is_const(c->g, scale->dims[0], &scale_rows) &&
                    pq_dim_is_const(c->g, scale->dims[1], &groups);
    if (!is_plain) {
        return PQ_ONNX_FAIL(c, PTQC_E_UNSUPPORTED,
                            "blocked scales other than along the last axis "
                            "of a matrix are not supported");
    }
    if (scale_rows != rows ||
        groups != size / d->block + (size % d->block != 0)) {
        return PQ_ONNX_FAIL(
            c, PTQC_E_INPUT,
            "expected scales [%lld, %lld] for blocks of %lld, "
            "found [%lld, %lld]",
            (long long)rows,
            (long long)(size / d->block + (size % d->block != 0)),
            (long long)d->block, (long long)scale_rows, (long long)groups);
    }
    s->granularity = PQ_GRAN_GROUP;
    s->axis = 1;
    s->group = (uint32_t)d->block;
    return PTQC_OK;
}

static ptqc_status
read_granularity(pq_onnx_call *c, const pq_onnx_quant_desc *d,
                 const pq_type *type, size_t count, pq_scheme *s)
{
    uint32_t rank = pq_onnx_type_of(c, d->scale)->rank;
    if (d->block > 0) {
        return group_scheme(c, d, type, s);
    }
    if (rank > 1) {
        return PQ_ONNX_FAIL(c, PTQC_E_INPUT,
                            "expected scales of rank 0 or 1, found rank %u",
                            rank);
    }
    if (count == 1) {
        s->granularity = PQ_GRAN_TENSOR;
        return PTQC_OK;
    }
    return channel_scheme(c, d, type, count, s);
}

static bool
is_symmetric(ptqc_dtype format, const int32_t *zeros, size_t count)
{
    unsigned bits = pq_dtype_bits(format);
    int32_t middle = pq_dtype_is_signed(format) ? 0 : 1 << (bits - 1);
    for (size_t i = 0; i < count; i++) {
        if (zeros[i] != middle) {
            return false;
        }
    }
    return true;
}

// ---- one id for equal parameters --------------------------------------------

static bool
same_constant(const pq_graph *g, pq_const_id a, pq_const_id b)
{
    const pq_constant *x = pq_graph_constant(g, a);
    const pq_constant *y = pq_graph_constant(g, b);
    return x->rank == y->rank && x->bytes == y->bytes &&
           memcmp(x->dims, y->dims, x->rank * sizeof *x->dims) == 0 &&
           memcmp(x->p, y->p, x->bytes) == 0;
}

static bool
same_scheme(const pq_scheme *a, const pq_scheme *b)
{
    return a->format == b->format && a->granularity == b->granularity &&
           a->axis == b->axis && a->group == b->group &&
           a->symmetric == b->symmetric && a->dynamic == b->dynamic;
}

static ptqc_status
intern_quant(pq_onnx_call *c, const pq_quant *q, pq_quant_id *out)
{
    for (uint32_t i = 1; i < pq_graph_quant_count(c->g); i++) {
        const pq_quant *known = pq_graph_quant(c->g, (pq_quant_id){i});
        if (same_scheme(&known->scheme, &q->scheme) &&
            same_constant(c->g, known->scale, q->scale) &&
            same_constant(c->g, known->zero_point, q->zero_point)) {
            *out = (pq_quant_id){i};
            return PTQC_OK;
        }
    }
    *out = pq_graph_add_quant(c->g, q);
    return pq_quant_is_none(*out) ? PTQC_E_RESOURCE : PTQC_OK;
}

// A flat array of four-byte numbers; its order is that of the scheme.
static ptqc_status
add_parameters(pq_onnx_call *c, ptqc_dtype dtype, const void *p, size_t count,
               pq_const_id *out)
{
    pq_arena *arena = pq_graph_arena(c->g);
    int64_t dims[1] = {(int64_t)count};
    pq_constant k = {.dtype = dtype, .rank = 1, .bytes = count * 4};
    k.dims = pq_arena_memdup(arena, dims, sizeof dims);
    k.p = pq_arena_memdup(arena, p, k.bytes);
    if (k.dims == NULL || k.p == NULL) {
        return PTQC_E_RESOURCE;
    }
    *out = pq_graph_add_constant(c->g, &k);
    return pq_const_is_none(*out) ? PTQC_E_RESOURCE : PTQC_OK;
}

static ptqc_status
add_quant(pq_onnx_call *c, const pq_scheme *scheme, const float *scales,
          const int32_t *zeros, size_t count, pq_quant_id *out)
{
    pq_quant q = {.scheme = *scheme};
    PQ_TRY(add_parameters(c, PTQC_F32, scales, count, &q.scale));
    PQ_TRY(add_parameters(c, PTQC_I32, zeros, count, &q.zero_point));
    c->im->is_quantized = true;
    return intern_quant(c, &q, out);
}

static bool
is_code_type(ptqc_dtype t)
{
    return pq_dtype_bits(t) != 0 && pq_dtype_bits(t) <= 32 &&
           !pq_dtype_is_float(t) && t != PTQC_BOOL && t != PTQC_U32;
}

ptqc_status
pq_onnx_quant_make(pq_onnx_call *c, const pq_onnx_quant_desc *d,
                   const pq_type *type, ptqc_dtype format, pq_quant_id *out)
{
    pq_onnx_f32s scales;
    pq_scheme scheme = {.format = format};
    if (!is_code_type(format)) {
        return PQ_ONNX_FAIL(c, PTQC_E_UNSUPPORTED,
                            "codes of type %s are not supported",
                            pq_dtype_name(format));
    }
    PQ_TRY(pq_onnx_known_f32s(c, d->scale, "scales", &scales));
    PQ_TRY(check_scales(c, scales));
    if (scales.n == 0) {
        return PQ_ONNX_FAIL(c, PTQC_E_INPUT, "expected a scale, found none");
    }
    int32_t *zeros = pq_arena_array(c->arena, scales.n, sizeof *zeros);
    PQ_TRY_ALLOC(zeros);
    PQ_TRY(read_zero_points(c, d, scales.n, format, zeros));
    PQ_TRY(read_granularity(c, d, type, scales.n, &scheme));
    scheme.symmetric = is_symmetric(format, zeros, scales.n);
    return add_quant(c, &scheme, scales.p, zeros, scales.n, out);
}

// ---- giving codes a meaning -------------------------------------------------

bool
pq_onnx_quant_can_attach(const pq_onnx_call *c, pq_value_id v,
                         pq_quant_id quant)
{
    const pq_value *value = pq_graph_value(c->g, v);
    if (!pq_const_is_none(value->constant) ||
        pq_quant_equal(value->quant, quant)) {
        return true;
    }
    return pq_quant_is_none(value->quant) && pq_op_is_none(value->producer) &&
           value->use_count == 0;
}

ptqc_status
pq_onnx_quant_attach(pq_onnx_call *c, pq_value_id v, pq_quant_id quant,
                     pq_value_id *out)
{
    const pq_value *value = pq_graph_value(c->g, v);
    ptqc_dtype dtype = value->type.dtype;
    *out = v;
    if (pq_quant_equal(value->quant, quant)) {
        return PTQC_OK;
    }
    if (!pq_onnx_quant_can_attach(c, v, quant)) {
        return PQ_ONNX_FAIL(c, PTQC_E_UNSUPPORTED,
                            "codes that were made with another scale or zero "
                            "point are not supported");
    }
    bool is_free = pq_quant_is_none(value->quant) && value->use_count == 0;
    if (!is_free) { // a constant that is used elsewhere, too
        *out = pq_graph_add_constant_value(c->g, value->name, value->constant);
        if (pq_value_is_none(*out)) {
            return PTQC_E_RESOURCE;
        }
    }
    pq_value_set_quant(c->g, *out, dtype, quant);
    return PTQC_OK;
}

static pq_onnx_quant_desc
desc_at(const pq_onnx_call *c, uint32_t i, int64_t axis)
{
    return (pq_onnx_quant_desc){.scale = pq_onnx_input(c, i),
                                .zero_point = pq_onnx_input(c, i + 1),
                                .axis = axis};
}

static ptqc_status
known_desc(pq_onnx_call *c, uint32_t i, int64_t axis, pq_onnx_quant_desc *out)
{
    *out = desc_at(c, i, axis);
    if (pq_value_is_none(out->scale)) {
        return PQ_ONNX_FAIL(c, PTQC_E_INPUT,
                            "input %u: expected a scale, found none", i);
    }
    if (!pq_onnx_quant_is_known(c, out)) {
        return PQ_ONNX_FAIL(c, PTQC_E_UNSUPPORTED,
                            "scales and zero points that are computed are "
                            "not supported here");
    }
    return PTQC_OK;
}

ptqc_status
pq_onnx_quant_operand(pq_onnx_call *c, uint32_t i, int64_t axis,
                      pq_value_id *out)
{
    pq_onnx_quant_desc d;
    pq_quant_id quant;
    pq_value_id x = pq_onnx_input(c, i);
    PQ_TRY(known_desc(c, i + 1, axis, &d));
    const pq_type *type = pq_onnx_type_of(c, x);
    PQ_TRY(pq_onnx_quant_make(c, &d, type, type->dtype, &quant));
    return pq_onnx_quant_attach(c, x, quant, out);
}

// The zero point tells the type of the codes; without one they are u8.
ptqc_status
pq_onnx_quant_result(pq_onnx_call *c, uint32_t i, pq_value_id v)
{
    pq_onnx_quant_desc d;
    pq_quant_id quant;
    PQ_TRY(known_desc(c, i, 1, &d));
    ptqc_dtype dtype = pq_value_is_none(d.zero_point)
                           ? PTQC_U8
                           : pq_onnx_type_of(c, d.zero_point)->dtype;
    PQ_TRY(pq_onnx_quant_make(c, &d, pq_onnx_type_of(c, v), dtype, &quant));
    pq_value_set_quant(c->g, v, dtype, quant);
    return PTQC_OK;
}

// ---- the same in plain ops --------------------------------------------------

// A vector of parameters with ones behind it, so that it meets `axis`.
static ptqc_status
align_to_axis(pq_onnx_call *c, pq_value_id v, uint32_t rank, int64_t axis,
              pq_value_id *out)
{
    const pq_type *type = pq_onnx_type_of(c, v);
    pq_dim dims[PTQC_MAX_RANK];
    *out = v;
    if (type->rank == 0) {
        return PTQC_OK;
    }
    int64_t size = 0;
    if (type->rank != 1) {
        return PQ_ONNX_FAIL(c, PTQC_E_UNSUPPORTED,
                            "blocked scales that are computed are not "
                            "supported");
    }
    if (pq_dim_is_const(c->g, type->dims[0], &size) && size == 1) {
        return pq_onnx_reshape(c, v, NULL, 0, out);
    }
    PQ_TRY(pq_onnx_axis(c, axis, rank, &axis));
    uint32_t n = rank - (uint32_t)axis;
    for (uint32_t i = 0; i < n; i++) {
        dims[i] = i == 0 ? type->dims[0] : pq_dim_const(c->g, 1);
        PQ_TRY(pq_onnx_dim_check(c, dims[i]));
    }
    return n == 1 ? PTQC_OK : pq_onnx_reshape(c, v, dims, n, out);
}

static ptqc_status
clip_to_codes(pq_onnx_call *c, pq_value_id x, ptqc_dtype to, pq_value_id *out)
{
    unsigned bits = pq_dtype_bits(to);
    bool is_signed = pq_dtype_is_signed(to);
    pq_builder b;
    pq_onnx_begin(c, &b, PQ_OP_CLIP);
    pq_build_input(&b, x);
    float span = ldexpf(1.0f, (int)bits - (is_signed ? 1 : 0));
    pq_build_f32(&b, PQ_ATTR_ALPHA, is_signed ? -span : 0.0f);
    pq_build_f32(&b, PQ_ATTR_BETA, span - 1.0f);
    return pq_onnx_end(c, &b, out);
}

// cast(clip(round(x / scale) + zero point)); 8-bit floats: cast(x / scale).
ptqc_status
pq_onnx_quantize_by_ops(pq_onnx_call *c, pq_value_id x,
                        const pq_onnx_quant_desc *d, ptqc_dtype to,
                        pq_value_id *out)
{
    uint32_t rank = pq_onnx_type_of(c, x)->rank;
    pq_value_id scale, zero = d->zero_point, t;
    if (pq_dtype_bits(to) > 16) {
        return PQ_ONNX_FAIL(c, PTQC_E_UNSUPPORTED,
                            "codes of type %s are not supported",
                            pq_dtype_name(to));
    }
    PQ_TRY(align_to_axis(c, d->scale, rank, d->axis, &scale));
    if (pq_onnx_type_of(c, x)->dtype != PTQC_F32) {
        PQ_TRY(pq_onnx_cast(c, x, PTQC_F32, &x));
    }
    if (pq_onnx_type_of(c, scale)->dtype != PTQC_F32) {
        PQ_TRY(pq_onnx_cast(c, scale, PTQC_F32, &scale));
    }
    PQ_TRY(pq_onnx_binary(c, PQ_OP_DIV, x, scale, &t));
    if (pq_dtype_is_float(to)) {
        return pq_onnx_cast(c, t, to, out);
    }
    PQ_TRY(pq_onnx_unary(c, PQ_OP_ROUND, t, &t));
    if (!pq_value_is_none(zero)) {
        PQ_TRY(align_to_axis(c, zero, rank, d->axis, &zero));
        PQ_TRY(pq_onnx_cast(c, zero, PTQC_F32, &zero));
        PQ_TRY(pq_onnx_binary(c, PQ_OP_ADD, t, zero, &t));
    }
    PQ_TRY(clip_to_codes(c, t, to, &t));
    return pq_onnx_cast(c, t, to, out);
}

// (x - zero point) * scale, the difference exact in i32.
ptqc_status
pq_onnx_dequantize_by_ops(pq_onnx_call *c, pq_value_id x,
                          const pq_onnx_quant_desc *d, ptqc_dtype to,
                          pq_value_id *out)
{
    const pq_value *value = pq_graph_value(c->g, x);
    uint32_t rank = value->type.rank;
    pq_value_id scale, zero = d->zero_point, t = x;
    if (!pq_quant_is_none(value->quant)) {
        return PQ_ONNX_FAIL(c, PTQC_E_UNSUPPORTED,
                            "codes that were made with another scale or zero "
                            "point are not supported");
    }
    PQ_TRY(align_to_axis(c, d->scale, rank, d->axis, &scale));
    bool is_float = pq_dtype_is_float(value->type.dtype);
    if (!is_float && !pq_value_is_none(zero)) {
        PQ_TRY(align_to_axis(c, zero, rank, d->axis, &zero));
        PQ_TRY(pq_onnx_cast(c, x, PTQC_I32, &t));
        PQ_TRY(pq_onnx_cast(c, zero, PTQC_I32, &zero));
        PQ_TRY(pq_onnx_binary(c, PQ_OP_SUB, t, zero, &t));
    }
    if (pq_onnx_type_of(c, scale)->dtype != PTQC_F32) {
        PQ_TRY(pq_onnx_cast(c, scale, PTQC_F32, &scale));
    }
    PQ_TRY(pq_onnx_cast(c, t, PTQC_F32, &t));
    if (to == PTQC_F32) {
        return pq_onnx_binary(c, PQ_OP_MUL, t, scale, out);
    }
    PQ_TRY(pq_onnx_binary(c, PQ_OP_MUL, t, scale, &t));
    return pq_onnx_cast(c, t, to, out);
}

// Rows of the left operand, columns of the right: [M] meets axis -2.
ptqc_status
pq_onnx_shifted_codes(pq_onnx_call *c, pq_value_id x, pq_value_id zero_point,
                      int64_t axis, pq_value_id *out)
{
    const pq_value *value = pq_graph_value(c->g, x);
    if (!pq_quant_is_none(value->quant)) {
        return PQ_ONNX_FAIL(c, PTQC_E_UNSUPPORTED,
                            "codes that carry a scale are not supported as "
                            "plain integers");
    }
    uint32_t rank = value->type.rank;
    pq_value_id zero;
    PQ_TRY(pq_onnx_cast(c, x, PTQC_I32, out));
    if (pq_value_is_none(zero_point)) {
        return PTQC_OK;
    }
    PQ_TRY(align_to_axis(c, zero_point, rank, axis, &zero));
    PQ_TRY(pq_onnx_cast(c, zero, PTQC_I32, &zero));
    return pq_onnx_binary(c, PQ_OP_SUB, *out, zero, out);
}
