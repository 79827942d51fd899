// SPDX-License-Identifier: Apache-2.0
//
// Operators that change or read shapes: reshape and its kin, expand, tile,
// shape, size, constant of shape, range. Sizes may be symbolic expressions.
#include <math.h>

#include "base/checked.h"
#include "base/dtype.h"
#include "frontend/onnx/ops.h"

enum {
    FACTOR_LIMIT = 64,     // of a size
    RANGE_LIMIT = 1 << 20, // elements of a float range made here
    EYE_LIMIT = 1 << 22,   // elements of an identity matrix made here
};

// ---- reshape ----------------------------------------------------------------

// A product as number times symbolic factors.
typedef struct product {
    int64_t number;
    pq_dim factors[FACTOR_LIMIT];
    uint32_t count;
    bool is_valid; // false: overflow or too many factors
} product;

static void
multiply(const pq_graph *g, product *p, pq_dim d)
{
    pq_dim todo[FACTOR_LIMIT];
    uint32_t count = 0;
    todo[count++] = d;
    while (count != 0 && p->is_valid) {
        pq_dim x = todo[--count];
        const pq_dim_expr *e = pq_dim_get(g, x);
        int64_t number;
        if (pq_dim_is_const(g, x, &number)) {
            p->is_valid = pq_mul_i64(p->number, number, &p->number);
        } else if (e->op == PQ_DIM_MUL && count + 2 <= FACTOR_LIMIT) {
            todo[count++] = e->a;
            todo[count++] = e->b;
        } else if (p->count < FACTOR_LIMIT) {
            p->factors[p->count++] = x;
        } else {
            p->is_valid = false;
        }
    }
}

// Takes factors that both have out of both.
static void
cancel(product *a, product *b)
{
    for (uint32_t i = 0; i < a->count; i++) {
        for (uint32_t k = 0; k < b->count; k++) {
            if (pq_dim_equal(a->factors[i], b->factors[k])) {
                a->factors[i--] = a->factors[--a->count];
                b->factors[k] = b->factors[--b->count];
                break;
            }
        }
    }
}

static pq_dim
product_dim(pq_graph *g, const product *p)
{
    pq_dim d = pq_dim_const(g, p->number);
    for (uint32_t i = 0; i < p->count && !pq_dim_is_none(d); i++) {
        d = pq_dim_make(g, PQ_DIM_MUL, d, p->factors[i]);
    }
    return d;
}

// The size that -1 stands for: elements of x over the other sizes.
static ptqc_status
missing_size(pq_onnx_call *c, const pq_type *x, const pq_dim *shape,
             uint32_t rank, uint32_t at, pq_dim *out)
{
    product have = {.number = 1, .is_valid = true};
    product need = {.number = 1, .is_valid = true};
    for (uint32_t i = 0; i < x->rank; i++) {
        multiply(c->g, &have, x->dims[i]);
    }
    for (uint32_t i = 0; i < rank; i++) {
        if (i != at) {
            multiply(c->g, &need, shape[i]);
        }
    }
    cancel(&have, &need);
    bool fits =
        have.is_valid && need.is_valid && need.number != 0 &&
        (have.count != 0 || need.count != 0 || have.number % need.number == 0);
    if (!fits) {
        return PQ_ONNX_FAIL(c, PTQC_E_INPUT,
                            "expected a shape whose sizes divide the elements "
                            "of the input, found %lld for %lld elements",
                            (long long)need.number, (long long)have.number);
    }
    if (have.number % need.number == 0) {
        have.number /= need.number;
        need.number = 1;
    }
    *out = product_dim(c->g, &have);
    if (need.number != 1 || need.count != 0) {
        *out = pq_dim_make(c->g, PQ_DIM_DIV, *out, product_dim(c->g, &need));
    }
    return pq_onnx_dim_check(c, *out);
}

// 0 copies the size of the input, -1 is what remains.
static ptqc_status
resolve_shape(pq_onnx_call *c, const pq_type *x, pq_dim *shape, uint32_t rank,
              bool zero_copies)
{
    uint32_t missing = rank;
    for (uint32_t i = 0; i < rank; i++) {
        int64_t number = 1;
        pq_dim_is_const(c->g, shape[i], &number);
        if (number == 0 && zero_copies) {
            if (i >= x->rank) {
                return PQ_ONNX_FAIL(c, PTQC_E_INPUT,
                                    "expected size 0 only where the input "
                                    "has an axis, found it at axis %u",
                                    i);
            }
            shape[i] = x->dims[i];
        }
        if (number < -1 || (number == -1 && missing != rank)) {
            return PQ_ONNX_FAIL(c, PTQC_E_INPUT,
                                "expected sizes and at most one -1, found "
                                "%lld at axis %u",
                                (long long)number, i);
        }
        missing = number == -1 ? i : missing;
    }
    return missing == rank
               ? PTQC_OK
               : missing_size(c, x, shape, rank, missing, &shape[missing]);
}

static ptqc_status
check_rank(pq_onnx_call *c, uint32_t rank)
{
    if (rank > PTQC_MAX_RANK) {
        return PQ_ONNX_FAIL(c, PTQC_E_UNSUPPORTED,
                            "rank %u is not supported, at most %d", rank,
                            PTQC_MAX_RANK);
    }
    return PTQC_OK;
}

ptqc_status
pq_onnx_import_reshape(pq_onnx_call *c)
{
    int64_t allowzero = 0;
    const pq_dim *wanted = NULL;
    uint32_t rank = 0;
    pq_dim shape[PTQC_MAX_RANK];
    pq_value_id x = pq_onnx_input(c, 0);
    PQ_TRY(pq_onnx_attr_range(c, "allowzero", 0, 1, &allowzero));
    PQ_TRY(
        pq_onnx_known_dims(c, pq_onnx_input(c, 1), "shapes", &wanted, &rank));
    PQ_TRY(check_rank(c, rank));
    for (uint32_t i = 0; i < rank; i++) {
        shape[i] = wanted[i];
    }
    PQ_TRY(
        resolve_shape(c, pq_onnx_type_of(c, x), shape, rank, allowzero == 0));
    return pq_onnx_reshape(c, x, shape, rank, &c->outputs[0]);
}

ptqc_status
pq_onnx_import_flatten(pq_onnx_call *c)
{
    int64_t axis = 1;
    pq_value_id x = pq_onnx_input(c, 0);
    const pq_type *type = pq_onnx_type_of(c, x);
    PQ_TRY(pq_onnx_attr_i64(c, "axis", &axis));
    if (axis != (int64_t)type->rank) { // the rank itself is allowed
        PQ_TRY(pq_onnx_axis(c, axis, type->rank, &axis));
    }
    pq_dim dims[2];
    uint32_t first = (uint32_t)axis;
    PQ_TRY(pq_onnx_product(c, type->dims, first, &dims[0]));
    PQ_TRY(
        pq_onnx_product(c, type->dims + first, type->rank - first, &dims[1]));
    return pq_onnx_reshape(c, x, dims, 2, &c->outputs[0]);
}

// Axes of Squeeze and Unsqueeze: an input from opset 13 on.
static ptqc_status
read_axes(pq_onnx_call *c, bool *out_given, pq_onnx_i64s *out)
{
    *out = (pq_onnx_i64s){0};
    if (c->opset < 13) {
        PQ_TRY(pq_onnx_attr_i64s(c, "axes", out));
        *out_given = out->n != 0;
    } else {
        pq_value_id v = pq_onnx_input(c, 1);
        *out_given = !pq_value_is_none(v);
        if (*out_given) {
            PQ_TRY(pq_onnx_known_i64s(c, v, "axes", out));
        }
    }
    return pq_onnx_own_i64s(c, out);
}

static bool
has_axis(pq_onnx_i64s axes, uint32_t axis)
{
    for (size_t i = 0; i < axes.n; i++) {
        if (axes.p[i] == axis) {
            return true;
        }
    }
    return false;
}

// Whether axis i goes: named, or of size 1 when none is named.
static ptqc_status
is_squeezed(pq_onnx_call *c, const pq_type *type, uint32_t i, bool has_axes,
            pq_onnx_i64s axes, bool *out)
{
    int64_t size = 0;
    bool is_const = pq_dim_is_const(c->g, type->dims[i], &size);
    if (!has_axes) {
        if (!is_const) {
            return PQ_ONNX_FAIL(c, PTQC_E_UNSUPPORTED,
                                "squeezing all axes of a symbolic shape is "
                                "not supported");
        }
        *out = size == 1;
        return PTQC_OK;
    }
    *out = has_axis(axes, i);
    if (*out && is_const && size != 1) {
        return PQ_ONNX_FAIL(c, PTQC_E_INPUT,
                            "expected size 1 at axis %u, found %lld", i,
                            (long long)size);
    }
    return PTQC_OK;
}

ptqc_status
pq_onnx_import_squeeze(pq_onnx_call *c)
{
    bool has_axes;
    pq_onnx_i64s axes;
    pq_value_id x = pq_onnx_input(c, 0);
    const pq_type *type = pq_onnx_type_of(c, x);
    pq_dim dims[PTQC_MAX_RANK];
    uint32_t rank = 0;
    PQ_TRY(read_axes(c, &has_axes, &axes));
    PQ_TRY(pq_onnx_axes(c, axes, type->rank));
    for (uint32_t i = 0; i < type->rank; i++) {
        bool goes = false;
        PQ_TRY(is_squeezed(c, type, i, has_axes, axes, &goes));
        if (!goes) {
            dims[rank++] = type->dims[i];
        }
    }
    return pq_onnx_reshape(c, x, dims, rank, &c->outputs[0]);
}

ptqc_status
pq_onnx_import_unsqueeze(pq_onnx_call *c)
{
    bool has_axes;
    pq_onnx_i64s axes;
    pq_value_id x = pq_onnx_input(c, 0);
    const pq_type *type = pq_onnx_type_of(c, x);
    PQ_TRY(read_axes(c, &has_axes, &axes));
    if (!has_axes) {
        return PQ_ONNX_FAIL(c, PTQC_E_INPUT, "expected axes, found none");
    }
    if (axes.n > PTQC_MAX_RANK) {
        return check_rank(c, PTQC_MAX_RANK + 1);
    }
    uint32_t rank = type->rank + (uint32_t)axes.n;
    PQ_TRY(check_rank(c, rank));
    PQ_TRY(pq_onnx_axes(c, axes, rank));
    pq_dim dims[PTQC_MAX_RANK];
    for (uint32_t i = 0, from = 0; i < rank; i++) {
        dims[i] =
            has_axis(axes, i) ? pq_dim_const(c->g, 1) : type->dims[from++];
        PQ_TRY(pq_onnx_dim_check(c, dims[i]));
    }
    return pq_onnx_reshape(c, x, dims, rank, &c->outputs[0]);
}

// ---- repetition -------------------------------------------------------------

static bool
is_one(const pq_graph *g, pq_dim d)
{
    int64_t number;
    return pq_dim_is_const(g, d, &number) && number == 1;
}

ptqc_status
pq_onnx_import_expand(pq_onnx_call *c)
{
    const pq_dim *shape = NULL;
    uint32_t rank = 0;
    pq_value_id x = pq_onnx_input(c, 0);
    const pq_type *type = pq_onnx_type_of(c, x);
    PQ_TRY(pq_onnx_known_dims(c, pq_onnx_input(c, 1), "shapes", &shape, &rank));
    bool is_same = rank <= type->rank;
    for (uint32_t i = 0; i < rank && is_same; i++) {
        is_same = is_one(c->g, shape[i]) ||
                  pq_dim_equal(shape[i], type->dims[i + type->rank - rank]);
    }
    if (is_same) {
        return pq_onnx_import_identity(c);
    }
    pq_builder b;
    pq_onnx_begin(c, &b, PQ_OP_EXPAND);
    pq_build_input(&b, x);
    pq_build_dims(&b, PQ_ATTR_SHAPE, shape, rank);
    return pq_onnx_end(c, &b, &c->outputs[0]);
}

ptqc_status
pq_onnx_import_tile(pq_onnx_call *c)
{
    const pq_dim *repeats = NULL;
    uint32_t count = 0;
    pq_value_id x = pq_onnx_input(c, 0);
    PQ_TRY(pq_onnx_known_dims(c, pq_onnx_input(c, 1), "repeats", &repeats,
                              &count));
    bool is_same = count == pq_onnx_type_of(c, x)->rank;
    for (uint32_t i = 0; i < count && is_same; i++) {
        is_same = is_one(c->g, repeats[i]);
    }
    if (is_same) {
        return pq_onnx_import_identity(c);
    }
    pq_builder b;
    pq_onnx_begin(c, &b, PQ_OP_TILE);
    pq_build_input(&b, x);
    pq_build_dims(&b, PQ_ATTR_REPEATS, repeats, count);
    return pq_onnx_end(c, &b, &c->outputs[0]);
}

// ---- shapes as values -------------------------------------------------------

// [start, end) of the axes, counted from behind when negative, clamped.
ptqc_status
pq_onnx_import_shape(pq_onnx_call *c)
{
    pq_value_id x = pq_onnx_input(c, 0), all;
    int64_t rank = pq_onnx_type_of(c, x)->rank, start = 0, end = rank;
    PQ_TRY(pq_onnx_attr_i64(c, "start", &start));
    PQ_TRY(pq_onnx_attr_i64(c, "end", &end));
    start = start < -rank ? 0 : start < 0 ? start + rank : start;
    end = end < -rank ? 0 : end < 0 ? end + rank : end;
    start = start > rank ? rank : start;
    end = end > rank ? rank : end;
    end = end < start ? start : end;
    bool is_all = start == 0 && end == rank;
    pq_value_id *out = is_all ? &c->outputs[0] : &all;
    PQ_TRY(pq_onnx_unary(c, PQ_OP_SHAPE, x, out));
    return is_all
               ? PTQC_OK
               : pq_onnx_slice_constant(c, all, 0, start, end, &c->outputs[0]);
}

ptqc_status
pq_onnx_import_size(pq_onnx_call *c)
{
    pq_value_id shape;
    PQ_TRY(pq_onnx_unary(c, PQ_OP_SHAPE, pq_onnx_input(c, 0), &shape));
    pq_builder b;
    pq_onnx_begin(c, &b, PQ_OP_REDUCE_PROD);
    pq_build_input(&b, shape);
    pq_build_i64(&b, PQ_ATTR_KEEPDIMS, 0);
    return pq_onnx_end(c, &b, &c->outputs[0]);
}

// A scalar of the attribute 'value' (default f32 0).
static ptqc_status
fill_value(pq_onnx_call *c, pq_value_id *out)
{
    const pq_onnx_attr *a;
    PQ_TRY(pq_onnx_attr_find(c, "value", PQ_ONNX_ATTR_TENSOR, &a));
    if (a == NULL) {
        return pq_onnx_scalar(c, PTQC_F32, 0.0, out);
    }
    pq_const_id id;
    PQ_TRY(pq_onnx_tensor_constant(c->im, a->t, PQ_STR("value"), &id));
    pq_constant k = *pq_graph_constant(c->g, id);
    bool is_one_element = k.rank == 0 || (k.rank == 1 && k.dims[0] == 1);
    if (!is_one_element) {
        return PQ_ONNX_FAIL(c, PTQC_E_INPUT,
                            "attribute 'value': expected one element, found "
                            "another shape");
    }
    k.rank = 0;
    return pq_build_constant(c->g, (pq_str){0}, k.dtype, NULL, 0, k.p, out);
}

ptqc_status
pq_onnx_import_constant_of_shape(pq_onnx_call *c)
{
    const pq_dim *shape = NULL;
    uint32_t rank = 0;
    pq_value_id scalar;
    PQ_TRY(pq_onnx_known_dims(c, pq_onnx_input(c, 0), "shapes", &shape, &rank));
    PQ_TRY(check_rank(c, rank));
    for (uint32_t i = 0; i < rank; i++) {
        int64_t min, max;
        pq_dim_bounds(c->g, shape[i], &min, &max);
        if (max < 0) {
            return PQ_ONNX_FAIL(c, PTQC_E_INPUT,
                                "expected no negative size, found %lld at "
                                "axis %u",
                                (long long)max, i);
        }
    }
    PQ_TRY(fill_value(c, &scalar));
    if (rank == 0) {
        c->outputs[0] = scalar;
        return PTQC_OK;
    }
    pq_builder b;
    pq_onnx_begin(c, &b, PQ_OP_EXPAND);
    pq_build_input(&b, scalar);
    pq_build_dims(&b, PQ_ATTR_SHAPE, shape, rank);
    return pq_onnx_end(c, &b, &c->outputs[0]);
}

// ---- range ------------------------------------------------------------------

static ptqc_status
float_range(pq_onnx_call *c)
{
    float x[3];
    for (uint32_t i = 0; i < 3; i++) {
        PQ_TRY(
            pq_onnx_known_f32(c, pq_onnx_input(c, i), "range bounds", &x[i]));
    }
    double count = ceil(((double)x[1] - (double)x[0]) / (double)x[2]);
    if (!(count <= (double)RANGE_LIMIT)) { // NaN too
        return PQ_ONNX_FAIL(c, PTQC_E_UNSUPPORTED,
                            "ranges of more than %d elements are not "
                            "supported",
                            RANGE_LIMIT);
    }
    int64_t n = count > 0.0 ? (int64_t)count : 0;
    float *p = pq_arena_array(c->arena, (size_t)n, sizeof *p);
    PQ_TRY_ALLOC(p);
    for (int64_t i = 0; i < n; i++) {
        p[i] = x[0] + (float)i * x[2];
    }
    return pq_build_constant(c->g, c->node->outputs.p[0], PTQC_F32, &n, 1, p,
                             &c->outputs[0]);
}

// One integer that is known, maybe as an expression.
static ptqc_status
known_one(pq_onnx_call *c, uint32_t i, const char *what, pq_dim *out)
{
    const pq_dim *dims = NULL;
    uint32_t count = 0;
    PQ_TRY(pq_onnx_known_dims(c, pq_onnx_input(c, i), what, &dims, &count));
    if (count != 1) {
        return PQ_ONNX_FAIL(c, PTQC_E_INPUT,
                            "expected one number as %s, found %u", what, count);
    }
    *out = dims[0];
    return PTQC_OK;
}

// max(0, ceil((limit - start) / delta)) elements
ptqc_status
pq_onnx_import_range(pq_onnx_call *c)
{
    ptqc_dtype dtype = pq_onnx_type_of(c, pq_onnx_input(c, 0))->dtype;
    bool is_known = true;
    for (uint32_t i = 0; i < 3; i++) {
        is_known = is_known &&
                   pq_graph_value(c->g, pq_onnx_input(c, i))->elements != NULL;
    }
    if (dtype == PTQC_F32 && !is_known) {
        return float_range(c);
    }
    pq_dim start, limit, delta;
    int64_t step = 0;
    PQ_TRY(known_one(c, 0, "range bounds", &start));
    PQ_TRY(known_one(c, 1, "range bounds", &limit));
    PQ_TRY(known_one(c, 2, "range steps", &delta));
    if (!pq_dim_is_const(c->g, delta, &step) || step == 0 ||
        step == INT64_MIN) {
        return PQ_ONNX_FAIL(c, step == 0 ? PTQC_E_INPUT : PTQC_E_UNSUPPORTED,
                            "expected a constant step other than 0");
    }
    pq_dim length = step > 0 ? pq_dim_make(c->g, PQ_DIM_SUB, limit, start)
                             : pq_dim_make(c->g, PQ_DIM_SUB, start, limit);
    length = pq_dim_make(c->g, PQ_DIM_CDIV, length,
                         pq_dim_const(c->g, step > 0 ? step : -step));
    length = pq_dim_make(c->g, PQ_DIM_MAX, length, pq_dim_const(c->g, 0));
    PQ_TRY(pq_onnx_dim_check(c, length));
    pq_builder b;
    pq_onnx_begin(c, &b, PQ_OP_RANGE);
    pq_build_dims(&b, PQ_ATTR_START, &start, 1);
    pq_build_i64(&b, PQ_ATTR_DELTA, step);
    pq_build_dims(&b, PQ_ATTR_SHAPE, &length, 1);
    pq_build_i64(&b, PQ_ATTR_TO, dtype);
    return pq_onnx_end(c, &b, &c->outputs[0]);
}

ptqc_status
pq_onnx_import_eye_like(pq_onnx_call *c)
{
    int64_t to = 0, k = 0, dims[2] = {0};
    const pq_type *type = pq_onnx_type_of(c, pq_onnx_input(c, 0));
    ptqc_dtype dtype = type->dtype;
    PQ_TRY(pq_onnx_attr_i64(c, "dtype", &to));
    PQ_TRY(pq_onnx_attr_i64(c, "k", &k));
    if (to != 0) {
        PQ_TRY(pq_onnx_dtype(c->ctx, to, &dtype));
    }
    bool is_known = type->rank == 2 &&
                    pq_dim_is_const(c->g, type->dims[0], &dims[0]) &&
                    pq_dim_is_const(c->g, type->dims[1], &dims[1]);
    int64_t count;
    if (!is_known || !pq_mul_i64(dims[0], dims[1], &count) ||
        count > EYE_LIMIT || k < -EYE_LIMIT || k > EYE_LIMIT ||
        dtype == PTQC_I4 || dtype == PTQC_U4) {
        return PQ_ONNX_FAIL(c, PTQC_E_UNSUPPORTED,
                            "only matrices of known, moderate size are "
                            "supported");
    }
    float *p = pq_arena_array(c->arena, (size_t)count, sizeof *p);
    PQ_TRY_ALLOC(p);
    for (int64_t i = 0; i < dims[0]; i++) {
        if (i + k >= 0 && i + k < dims[1]) {
            p[i * dims[1] + i + k] = 1.0f;
        }
    }
    pq_value_id eye;
    pq_value_id *out = dtype == PTQC_F32 ? &c->outputs[0] : &eye;
    PQ_TRY(pq_build_constant(c->g, c->node->outputs.p[0], PTQC_F32, dims, 2, p,
                             out));
    return dtype == PTQC_F32 ? PTQC_OK
                             : pq_onnx_cast(c, eye, dtype, &c->outputs[0]);
}
