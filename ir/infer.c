// SPDX-License-Identifier: Apache-2.0
//
// The driver of inference and what the rules share: messages, checks of
// ranks, dims and attributes, broadcasting.
#include "ir/infer.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/dtype.h"
#include "ir/dim_bounds.h"
#include "ir/graph_internal.h"

static const pq_infer_fn rules[PQ_OP_COUNT] = {
#define OP(NAME, text, cls, min, max, outputs, infer)                          \
    [PQ_OP_##NAME] = pq_infer_##infer,
#include "ir/ops.def"
#undef OP
};

const pq_value *
pq_infer_in(const pq_infer *c, uint32_t i)
{
    return pq_graph_value(c->g, pq_op_input(c->op, i));
}

bool
pq_value_has_codes(const pq_value *v)
{
    return v != NULL && !pq_quant_is_none(v->quant) &&
           !pq_dtype_is_float(v->type.dtype);
}

static ptqc_status
refuse_with(const pq_infer *c, ptqc_status st, int input, const char *text)
{
    const char *op = pq_op_info_of(c->op->code)->name;
    int n = c->op->name.n > 200 ? 200 : (int)c->op->name.n;
    if (input < 0) {
        return PQ_FAIL(c->g->ctx, st, "%s '%.*s': %s", op, n, c->op->name.p,
                       text);
    }
    return PQ_FAIL(c->g->ctx, st, "%s '%.*s': input %d: %s", op, n,
                   c->op->name.p, input, text);
}

ptqc_status
pq_infer_refuse(const pq_infer *c, int input, const char *format, ...)
{
    char text[512];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    return refuse_with(c, PTQC_E_INPUT, input, text);
}

ptqc_status
pq_infer_rank(const pq_infer *c, uint32_t i, uint32_t min, uint32_t max)
{
    const pq_value *v = pq_infer_in(c, i);
    if (v == NULL || (v->type.rank >= min && v->type.rank <= max)) {
        return PTQC_OK;
    }
    if (min == max) {
        return pq_infer_refuse(c, (int)i, "expected rank %u, found %u", min,
                               v->type.rank);
    }
    return pq_infer_refuse(c, (int)i, "expected rank %u to %u, found %u", min,
                           max, v->type.rank);
}

// A dim as a message shows it.
static void
show_dim(const pq_graph *g, pq_dim d, char out[32])
{
    int64_t value;
    const pq_dim_expr *e = pq_dim_get(g, d);
    if (pq_dim_is_const(g, d, &value)) {
        snprintf(out, 32, "%lld", (long long)value);
    } else if (e->op == PQ_DIM_SYMBOL) {
        const pq_symbol *s = g->symbols.items[e->value];
        snprintf(out, 32, "%.*s", (int)(s->name.n < 31 ? s->name.n : 31),
                 s->name.p);
    } else {
        snprintf(out, 32, "a symbolic size");
    }
}

ptqc_status
pq_infer_dim(const pq_infer *c, uint32_t i, uint32_t axis, pq_dim expected)
{
    const pq_value *v = pq_infer_in(c, i);
    char want[32];
    char have[32];
    if (v == NULL) {
        return PTQC_OK;
    }
    if (pq_dim_is_none(expected)) {
        return pq_graph_failure(c->g);
    }
    if (!pq_dim_differs(c->g, v->type.dims[axis], expected)) {
        return PTQC_OK;
    }
    show_dim(c->g, expected, want);
    show_dim(c->g, v->type.dims[axis], have);
    return pq_infer_refuse(c, (int)i,
                           "expected %s elements on axis %u, "
                           "found %s",
                           want, axis, have);
}

ptqc_status
pq_infer_vector(const pq_infer *c, uint32_t i, pq_dim n)
{
    PQ_TRY(pq_infer_rank(c, i, 1, 1));
    return pq_infer_dim(c, i, 0, n);
}

ptqc_status
pq_infer_like_output(const pq_infer *c, uint32_t i)
{
    const pq_infer_out *out = &c->out[0];
    PQ_TRY(pq_infer_rank(c, i, out->rank, out->rank));
    for (uint32_t axis = 0; axis < out->rank; axis++) {
        PQ_TRY(pq_infer_dim(c, i, axis, out->dims[axis]));
    }
    return PTQC_OK;
}

ptqc_status
pq_infer_axis(const pq_infer *c, int64_t otherwise, uint32_t rank,
              uint32_t *out)
{
    int64_t axis = pq_op_i64(c->op, PQ_ATTR_AXIS, otherwise);
    if (axis < 0 && axis >= -(int64_t)rank) {
        axis += rank;
    }
    if (axis < 0 || axis >= rank) {
        return pq_infer_refuse(c, -1, "axis %lld is outside rank %u",
                               (long long)axis, rank);
    }
    *out = (uint32_t)axis;
    return PTQC_OK;
}

ptqc_status
pq_infer_ints(const pq_infer *c, pq_attr_name name, uint32_t n, int64_t min,
              int64_t otherwise, int64_t *out)
{
    const pq_attr *a = pq_op_attr(c->op, name);
    if (a != NULL && a->ints.n != n) {
        return pq_infer_refuse(c, -1, "%s: expected %u numbers, found %u",
                               pq_attr_text(name), n, a->ints.n);
    }
    for (uint32_t i = 0; i < n; i++) {
        out[i] = a != NULL ? a->ints.p[i] : otherwise;
        if (out[i] < min || out[i] > INT32_MAX) {
            return pq_infer_refuse(c, -1, "%s: %lld is out of range",
                                   pq_attr_text(name), (long long)out[i]);
        }
    }
    return PTQC_OK;
}

ptqc_status
pq_infer_int(const pq_infer *c, pq_attr_name name, int64_t min, int64_t max,
             int64_t otherwise, int64_t *out)
{
    int64_t i = pq_op_i64(c->op, name, otherwise);
    if (i < min || i > max) {
        return pq_infer_refuse(c, -1, "%s: expected %lld to %lld, found %lld",
                               pq_attr_text(name), (long long)min,
                               (long long)max, (long long)i);
    }
    *out = i;
    return PTQC_OK;
}

ptqc_status
pq_infer_dims(const pq_infer *c, pq_attr_name name, int64_t count,
              const pq_attr **out)
{
    const pq_attr *a = pq_op_attr(c->op, name);
    if (a == NULL) {
        return pq_infer_refuse(c, -1, "attribute %s is missing",
                               pq_attr_text(name));
    }
    if (count >= 0 && a->dims.n != count) {
        return pq_infer_refuse(c, -1, "%s: expected %lld numbers, found %u",
                               pq_attr_text(name), (long long)count, a->dims.n);
    }
    *out = a;
    return PTQC_OK;
}

pq_dim
pq_dim_with(pq_graph *g, pq_dim_op op, pq_dim a, int64_t b)
{
    return pq_dim_make(g, op, a, pq_dim_const(g, b));
}

pq_dim
pq_dims_product(pq_graph *g, const pq_dim *dims, uint32_t n)
{
    pq_dim product = pq_dim_const(g, 1);
    for (uint32_t i = 0; i < n; i++) {
        product = pq_dim_make(g, PQ_DIM_MUL, product, dims[i]);
    }
    return product;
}

void
pq_infer_copy(pq_infer *c, uint32_t o, uint32_t i)
{
    const pq_value *v = pq_infer_in(c, i);
    pq_infer_out *out = &c->out[o];
    out->dtype = v->type.dtype;
    out->rank = v->type.rank;
    memcpy(out->dims, v->type.dims, v->type.rank * sizeof out->dims[0]);
}

// Of N and M that may be equal or not, the first stands for the result; a
// constant other than 1 is what a symbolic partner must be.
ptqc_status
pq_infer_broadcast_dim(const pq_infer *c, int input, pq_dim a, pq_dim b,
                       pq_dim *out)
{
    int64_t x = -1;
    int64_t y = -1;
    bool a_is_const = pq_dim_is_const(c->g, a, &x);
    bool b_is_const = pq_dim_is_const(c->g, b, &y);
    if (pq_dim_equal(a, b) || (b_is_const && y == 1)) {
        *out = a;
        return PTQC_OK;
    }
    if (a_is_const && x == 1) {
        *out = b;
        return PTQC_OK;
    }
    pq_range s = pq_dim_range(c->g, a);
    pq_range t = pq_dim_range(c->g, b);
    if (pq_dim_differs(c->g, a, b) && (s.min > 1 || s.max < 1) &&
        (t.min > 1 || t.max < 1)) {
        char first[32];
        char second[32];
        show_dim(c->g, a, first);
        show_dim(c->g, b, second);
        return pq_infer_refuse(c, input, "%s does not broadcast with %s",
                               second, first);
    }
    *out = b_is_const && !a_is_const ? b : a;
    return PTQC_OK;
}

// ---- the driver -----------------------------------------------------------

ptqc_status
pq_type_check(pq_graph *g, const pq_type *type, pq_str what)
{
    int64_t least = 1;
    if (type->rank > PTQC_MAX_RANK) {
        return PQ_FAIL(g->ctx, PTQC_E_UNSUPPORTED,
                       "'%.*s': rank %u, at most %d is supported",
                       PQ_STR_ARG(what), type->rank, PTQC_MAX_RANK);
    }
    for (uint32_t i = 0; i < type->rank; i++) {
        if (pq_dim_is_none(type->dims[i])) {
            return pq_graph_failure(g);
        }
        pq_range r = pq_dim_range(g, type->dims[i]);
        if (r.max < 0) {
            return PQ_FAIL(g->ctx, PTQC_E_INPUT,
                           "'%.*s': axis %u has negative size %lld",
                           PQ_STR_ARG(what), i, (long long)r.max);
        }
        int64_t size = r.min > 1 ? r.min : 1;
        if (size > PQ_MAX_ELEMENT_COUNT / least) {
            return PQ_FAIL(g->ctx, PTQC_E_INPUT,
                           "'%.*s': more than 2^40 elements", PQ_STR_ARG(what));
        }
        least *= size;
    }
    return PTQC_OK;
}

static ptqc_status
check_outputs(pq_infer *c)
{
    for (uint32_t o = 0; o < c->op->output_count; o++) {
        const pq_infer_out *out = &c->out[o];
        pq_type type = {out->dtype, out->rank, out->dims};
        pq_str name = c->op->name.n != 0
                          ? c->op->name
                          : pq_str_of(pq_op_info_of(c->op->code)->name);
        PQ_TRY(pq_type_check(c->g, &type, name));
    }
    return PTQC_OK;
}

static ptqc_status
check_act(const pq_infer *c)
{
    const pq_attr *act = pq_op_attr(c->op, PQ_ATTR_ACT);
    if (act != NULL &&
        pq_op_info_of((pq_opcode)act->i)->cls != PQ_CLASS_UNARY) {
        return pq_infer_refuse(c, -1, "act is not an elementwise op");
    }
    return PTQC_OK;
}

// Whether the scales of x still belong to axis `axis` of the result.
static bool
keeps_axis(pq_infer *c, const pq_type *x, uint32_t axis)
{
    const pq_infer_out *out = &c->out[0];
    const pq_attr *axes = pq_op_attr(c->op, PQ_ATTR_AXES);
    if (axis >= out->rank || !pq_dim_equal(out->dims[axis], x->dims[axis])) {
        return false;
    }
    switch (c->op->code) {
    case PQ_OP_TRANSPOSE: // has mapped it if it moved
        return true;
    case PQ_OP_RESHAPE:
        return pq_dim_equal(pq_dims_product(c->g, x->dims, axis),
                            pq_dims_product(c->g, out->dims, axis));
    case PQ_OP_SLICE:
        for (uint32_t i = 0; axes != NULL && i < axes->ints.n; i++) {
            if (axes->ints.p[i] == axis) {
                return false;
            }
        }
        return true;
    case PQ_OP_TILE:
    case PQ_OP_EXPAND:
        return out->rank == x->rank;
    default: // gathers may reorder the axis
        return false;
    }
}

// Codes keep their type and meaning where elements only move. Dynamic scales
// are an operand of their own, one per row.
static ptqc_status
pass_quant(pq_infer *c)
{
    const pq_value *x = pq_infer_in(c, 0);
    pq_infer_out *out = &c->out[0];
    if (!pq_value_has_codes(x) ||
        pq_op_info_of(c->op->code)->cls != PQ_CLASS_SAME ||
        !pq_quant_is_none(out->quant) || out->dtype != x->type.dtype) {
        return PTQC_OK;
    }
    const pq_scheme *s = &pq_graph_quant(c->g, x->quant)->scheme;
    bool is_plain =
        s->granularity == PQ_GRAN_TENSOR || s->granularity == PQ_GRAN_TOKEN;
    if (!is_plain && !keeps_axis(c, &x->type, s->axis)) {
        return refuse_with(c, PTQC_E_UNSUPPORTED, 0,
                           "moves the axis that carries the scales");
    }
    out->quant = x->quant;
    return PTQC_OK;
}

static void
keep_quantized_dtype(pq_infer *c)
{
    for (uint32_t o = 0; c->op->outputs != NULL && o < c->op->output_count;
         o++) {
        const pq_value *v = pq_graph_value(c->g, c->op->outputs[o]);
        if (v != NULL && !pq_quant_is_none(v->quant)) {
            c->out[o].dtype = v->type.dtype;
        }
    }
}

ptqc_status
pq_infer_types(pq_infer *c)
{
    memset(c->out, 0, sizeof c->out);
    PQ_TRY(check_act(c));
    PQ_TRY(rules[c->op->code](c));
    PQ_TRY(check_outputs(c));
    PQ_TRY(pass_quant(c));
    if (pq_op_info_of(c->op->code)->cls != PQ_CLASS_SAME) {
        keep_quantized_dtype(c);
    }
    return PTQC_OK;
}

ptqc_status
pq_infer_run(pq_infer *c)
{
    PQ_TRY(pq_infer_types(c));
    return pq_infer_elements(c);
}
