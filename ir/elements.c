// SPDX-License-Identifier: Apache-2.0
//
// Known elements: the integers of small tensors, as dimension expressions,
// carried through the ops that models compute shapes with. All elements of a
// value are known or none. Float values count when their elements are
// integers that the type holds exactly; a symbolic size is supposed to be
// one (below 2^24 for f32).
#include <math.h>
#include <string.h>

#include "base/bits.h"
#include "base/dtype.h"
#include "base/narrow.h"
#include "ir/dim_bounds.h"
#include "ir/graph_internal.h"
#include "ir/infer.h"

// ---- constants --------------------------------------------------------------

// An integer that survives; -0 does not.
static bool
load_whole(ptqc_dtype t, const uint8_t *p, int64_t *out)
{
    double x;
    if (t == PTQC_F32) {
        x = (double)pq_load_f32(p);
    } else if (t == PTQC_F64) {
        x = pq_load_f64(p);
    } else {
        return pq_dtype_load_integer(t, p, out);
    }
    if (!(fabs(x) <= 0x1p24) || x != floor(x) || (x == 0 && signbit(x))) {
        return false;
    }
    *out = (int64_t)x;
    return true;
}

void
pq_constant_elements(pq_graph *g, pq_value *v)
{
    const pq_constant *c = pq_graph_constant(g, v->constant);
    pq_dim elements[PQ_MAX_ELEMENTS];
    size_t size = pq_dtype_bits(c->dtype) / 8;
    if (size == 0 || c->bytes / size > PQ_MAX_ELEMENTS ||
        (c->p == NULL && c->bytes > 0)) { // codes are no sizes of shapes
        return;
    }
    uint32_t count = (uint32_t)(c->bytes / size);
    for (uint32_t i = 0; i < count; i++) {
        int64_t x;
        const uint8_t *p = (const uint8_t *)c->p + i * size;
        if (!load_whole(c->dtype, p, &x)) {
            return;
        }
        elements[i] = pq_dim_const(g, x);
        if (pq_dim_is_none(elements[i])) {
            return; // the value is complete without
        }
    }
    v->elements =
        pq_arena_memdup(&g->arena, elements, count * sizeof elements[0]);
    v->element_count = v->elements != NULL ? count : 0;
}

// ---- scalar rules ----------------------------------------------------------

// Each gives the null dim when the result is not known.
static const pq_dim unknown = {0};

static bool
fits(ptqc_dtype t, pq_range r)
{
    if (t == PTQC_BOOL) {
        return r.min >= 0 && r.max <= 1;
    }
    unsigned bits = pq_dtype_bits(t);
    if (bits >= 32 || pq_dtype_is_float(t)) {
        return true; // symbolic sizes are supposed to fit
    }
    int64_t limit = INT64_C(1) << (pq_dtype_is_signed(t) ? bits - 1 : bits);
    return r.max < limit && r.min >= (pq_dtype_is_signed(t) ? -limit : 0);
}

// A constant that the type does not hold is not known.
static pq_dim
checked(const pq_graph *g, ptqc_dtype t, pq_dim d)
{
    int64_t x;
    if (pq_dim_is_none(d) || !pq_dim_is_const(g, d, &x)) {
        return d;
    }
    bool is_exact = true;
    switch (t) {
    case PTQC_F32:
        is_exact = x >= -(1 << 24) && x <= 1 << 24;
        break;
    case PTQC_F16:
        is_exact = x >= -2048 && x <= 2048;
        break;
    case PTQC_BF16:
        is_exact = x >= -256 && x <= 256;
        break;
    case PTQC_I32:
        is_exact = x >= INT32_MIN && x <= INT32_MAX;
        break;
    case PTQC_U32:
        is_exact = x >= 0 && x <= UINT32_MAX;
        break;
    case PTQC_U64:
        is_exact = x >= 0;
        break;
    default: // f64 and i64 hold it; small integers are checked by fits
        is_exact = pq_narrow_of(t) == NULL;
        break;
    }
    return is_exact && fits(t, (pq_range){x, x}) ? d : unknown;
}

// As pq_dim_make, but what overflows is not known rather than refused.
static pq_dim
combine(pq_graph *g, pq_dim_op op, pq_dim x, pq_dim y)
{
    int64_t a;
    int64_t b;
    int64_t ignored;
    if (pq_dim_is_const(g, x, &a) && pq_dim_is_const(g, y, &b) &&
        !pq_dim_compute(op, a, b, &ignored)) {
        return unknown;
    }
    return pq_dim_make(g, op, x, y);
}

static pq_dim
truth(pq_graph *g, bool x)
{
    return pq_dim_const(g, x ? 1 : 0);
}

static pq_dim
cast_element(pq_graph *g, ptqc_dtype to, pq_dim x)
{
    pq_range r = pq_dim_range(g, x);
    if (to == PTQC_BOOL) {
        bool is_zero = r.min == 0 && r.max == 0;
        return is_zero || r.min > 0 || r.max < 0 ? truth(g, !is_zero) : unknown;
    }
    return fits(to, r) ? x : unknown;
}

static pq_dim
unary_element(pq_graph *g, const pq_op *op, ptqc_dtype to, pq_dim x)
{
    pq_range r = pq_dim_range(g, x);
    switch (op->code) {
    case PQ_OP_IDENTITY:
    case PQ_OP_FLOOR:
    case PQ_OP_CEIL:
    case PQ_OP_ROUND:
        return x;
    case PQ_OP_CAST:
        return cast_element(g, to, x);
    case PQ_OP_NEG: // a float 0 would become -0
        return pq_dtype_is_float(to) && r.min <= 0 && r.max >= 0
                   ? unknown
                   : combine(g, PQ_DIM_SUB, pq_dim_const(g, 0), x);
    case PQ_OP_ABS:
        return r.min >= 0   ? x
               : r.max <= 0 ? combine(g, PQ_DIM_SUB, pq_dim_const(g, 0), x)
                            : unknown;
    case PQ_OP_RELU:
        return combine(g, PQ_DIM_MAX, x, pq_dim_const(g, 0));
    case PQ_OP_SIGN:
        if (r.min > 0 || r.max < 0 || (r.min == 0 && r.max == 0)) {
            return pq_dim_const(g, (r.min > 0) - (r.max < 0));
        }
        return unknown;
    case PQ_OP_NOT:
        return combine(g, PQ_DIM_SUB, pq_dim_const(g, 1), x);
    default: // not needed for shapes
        return unknown;
    }
}

// Truncates for integers; exact or unknown for floats.
static pq_dim
divide_elements(pq_graph *g, ptqc_dtype t, pq_dim x, pq_dim y)
{
    pq_range r = pq_dim_range(g, x);
    pq_range s = pq_dim_range(g, y);
    if (s.min <= 0 || (r.min < 0 && !pq_dtype_is_float(t))) {
        return unknown;
    }
    pq_dim q = combine(g, PQ_DIM_DIV, x, y);
    if (pq_dtype_is_float(t) && !pq_dim_is_none(q) &&
        !pq_dim_equal(combine(g, PQ_DIM_MUL, q, y), x)) {
        return unknown;
    }
    return q;
}

static pq_dim
compare_elements(pq_graph *g, pq_opcode code, pq_dim x, pq_dim y)
{
    pq_dim one = pq_dim_const(g, 1);
    pq_dim x_over = combine(g, PQ_DIM_ADD, x, one);
    pq_dim y_over = combine(g, PQ_DIM_ADD, y, one);
    if (pq_dim_is_none(x_over) || pq_dim_is_none(y_over)) {
        return unknown;
    }
    bool is_less = pq_dim_is_le(g, x_over, y);
    bool is_greater = pq_dim_is_le(g, y_over, x);
    bool is_le = pq_dim_is_le(g, x, y);
    bool is_ge = pq_dim_is_le(g, y, x);
    switch (code) {
    case PQ_OP_EQUAL:
        return pq_dim_equal(x, y)        ? truth(g, true)
               : pq_dim_differs(g, x, y) ? truth(g, false)
                                         : unknown;
    case PQ_OP_LESS:
        return is_less ? truth(g, true) : is_ge ? truth(g, false) : unknown;
    case PQ_OP_LESS_EQUAL:
        return is_le ? truth(g, true) : is_greater ? truth(g, false) : unknown;
    case PQ_OP_GREATER:
        return is_greater ? truth(g, true) : is_le ? truth(g, false) : unknown;
    case PQ_OP_GREATER_EQUAL:
        return is_ge ? truth(g, true) : is_less ? truth(g, false) : unknown;
    default: // no comparison
        return unknown;
    }
}

static pq_dim
binary_element(pq_graph *g, const pq_op *op, ptqc_dtype t, pq_dim x, pq_dim y)
{
    switch (op->code) {
    case PQ_OP_ADD:
        return combine(g, PQ_DIM_ADD, x, y);
    case PQ_OP_SUB:
        return combine(g, PQ_DIM_SUB, x, y);
    case PQ_OP_MUL:
        return combine(g, PQ_DIM_MUL, x, y);
    case PQ_OP_DIV:
        return divide_elements(g, t, x, y);
    case PQ_OP_MOD:
        return pq_dim_range(g, y).min > 0 ? combine(g, PQ_DIM_MOD, x, y)
                                          : unknown;
    case PQ_OP_FMOD:
        return pq_dim_range(g, y).min > 0 && pq_dim_range(g, x).min >= 0
                   ? combine(g, PQ_DIM_MOD, x, y)
                   : unknown;
    case PQ_OP_MIN:
    case PQ_OP_AND:
        return combine(g, PQ_DIM_MIN, x, y);
    case PQ_OP_MAX:
    case PQ_OP_OR:
        return combine(g, PQ_DIM_MAX, x, y);
    default: // comparisons, or not needed for shapes
        return compare_elements(g, op->code, x, y);
    }
}

static pq_dim
reduce_two(pq_graph *g, pq_opcode code, pq_dim x, pq_dim y)
{
    switch (code) {
    case PQ_OP_REDUCE_SUM:
        return combine(g, PQ_DIM_ADD, x, y);
    case PQ_OP_REDUCE_PROD:
        return combine(g, PQ_DIM_MUL, x, y);
    case PQ_OP_REDUCE_MIN:
        return combine(g, PQ_DIM_MIN, x, y);
    case PQ_OP_REDUCE_MAX:
        return combine(g, PQ_DIM_MAX, x, y);
    default: // not needed for shapes
        return unknown;
    }
}

// ---- shapes ----------------------------------------------------------------

typedef struct shape {
    uint32_t rank, count; // count: elements, at most PQ_MAX_ELEMENTS
    int64_t dims[PTQC_MAX_RANK];
} shape;

static bool
read_shape(const pq_graph *g, const pq_dim *dims, uint32_t rank, shape *out)
{
    int64_t count = 1;
    out->rank = rank;
    for (uint32_t i = 0; i < rank; i++) {
        if (!pq_dim_is_const(g, dims[i], &out->dims[i]) || out->dims[i] < 0) {
            return false;
        }
        if (out->dims[i] != 0 && count > PQ_MAX_ELEMENTS / out->dims[i]) {
            return false;
        }
        count *= out->dims[i];
    }
    out->count = (uint32_t)count;
    return true;
}

static void
coordinates(const shape *s, uint32_t flat, int64_t *out)
{
    for (uint32_t i = s->rank; i-- > 0;) {
        out[i] = flat % s->dims[i];
        flat = (uint32_t)(flat / s->dims[i]);
    }
}

static uint32_t
flatten(const shape *s, const int64_t *at)
{
    int64_t flat = 0;
    for (uint32_t i = 0; i < s->rank; i++) {
        flat = flat * s->dims[i] + at[i];
    }
    return (uint32_t)flat;
}

// Element of an operand that is broadcast to the place `at` of `out`.
static pq_dim
broadcast_element(const pq_value *v, const shape *s, const shape *out,
                  const int64_t *at)
{
    int64_t place[PTQC_MAX_RANK];
    for (uint32_t i = 0; i < s->rank; i++) {
        place[i] = s->dims[i] == 1 ? 0 : at[i + out->rank - s->rank];
    }
    return v->elements[flatten(s, place)];
}

typedef struct finder {
    pq_infer *c;
    shape out;
    shape in[3]; // of the first inputs, whose elements are known
} finder;

static const pq_value *
input(const finder *f, uint32_t i)
{
    return pq_infer_in(f->c, i);
}

static pq_dim
slice_element(const finder *f, int64_t *at)
{
    const pq_op *op = f->c->op;
    const pq_attr *axes = pq_op_attr(op, PQ_ATTR_AXES);
    const pq_attr *starts = pq_op_attr(op, PQ_ATTR_STARTS);
    for (uint32_t i = 0; i < axes->ints.n; i++) {
        int64_t start;
        int64_t axis = axes->ints.p[i];
        if (!pq_dim_is_const(f->c->g, starts->dims.p[i], &start)) {
            return unknown;
        }
        at[axis] = start + at[axis] * pq_op_int_at(op, PQ_ATTR_STEPS, i, 1);
        if (at[axis] < 0 || at[axis] >= f->in[0].dims[axis]) {
            return unknown;
        }
    }
    return input(f, 0)->elements[flatten(&f->in[0], at)];
}

static pq_dim
gather_element(const finder *f, const int64_t *at)
{
    const shape *x = &f->in[0];
    const shape *s = &f->in[1];
    int64_t place[PTQC_MAX_RANK];
    int64_t index;
    int64_t axis = pq_op_i64(f->c->op, PQ_ATTR_AXIS, 0);
    if (pq_op_i64(f->c->op, PQ_ATTR_BATCH_DIMS, 0) != 0 ||
        !pq_dim_is_const(f->c->g, input(f, 1)->elements[flatten(s, at + axis)],
                         &index)) {
        return unknown;
    }
    index += index < 0 ? x->dims[axis] : 0;
    if (index < 0 || index >= x->dims[axis]) {
        return unknown;
    }
    for (uint32_t i = 0; i < x->rank; i++) {
        place[i] = i < axis ? at[i] : i == axis ? index : at[i + s->rank - 1];
    }
    return input(f, 0)->elements[flatten(x, place)];
}

static pq_dim
concat_element(const finder *f, int64_t *at)
{
    int64_t axis = pq_op_i64(f->c->op, PQ_ATTR_AXIS, 0);
    for (uint32_t i = 0; i < f->c->op->input_count; i++) {
        const pq_value *v = input(f, i);
        shape s;
        if (!read_shape(f->c->g, v->type.dims, v->type.rank, &s)) {
            return unknown;
        }
        if (at[axis] < s.dims[axis]) {
            return v->elements[flatten(&s, at)];
        }
        at[axis] -= s.dims[axis];
    }
    return unknown;
}

static pq_dim
moved_element(const finder *f, uint32_t flat, int64_t *at)
{
    const pq_op *op = f->c->op;
    const pq_value *x = input(f, 0);
    int64_t place[PTQC_MAX_RANK];
    switch (op->code) {
    case PQ_OP_RESHAPE:
        return x->elements[flat];
    case PQ_OP_TRANSPOSE:
        for (uint32_t i = 0; i < f->out.rank; i++) {
            place[pq_op_int_at(op, PQ_ATTR_PERM, i, 0)] = at[i];
        }
        return x->elements[flatten(&f->in[0], place)];
    case PQ_OP_EXPAND:
        return broadcast_element(x, &f->in[0], &f->out, at);
    case PQ_OP_TILE:
        for (uint32_t i = 0; i < f->out.rank; i++) {
            place[i] = at[i] % f->in[0].dims[i];
        }
        return x->elements[flatten(&f->in[0], place)];
    case PQ_OP_SLICE:
        return slice_element(f, at);
    case PQ_OP_GATHER:
        return gather_element(f, at);
    case PQ_OP_CONCAT:
        return concat_element(f, at);
    default: // not needed for shapes
        return unknown;
    }
}

static pq_dim
where_element(const finder *f, const int64_t *at)
{
    int64_t is_first;
    pq_dim condition = broadcast_element(input(f, 0), &f->in[0], &f->out, at);
    if (!pq_dim_is_const(f->c->g, condition, &is_first)) {
        return unknown;
    }
    uint32_t i = is_first != 0 ? 1 : 2;
    return broadcast_element(input(f, i), &f->in[i], &f->out, at);
}

// START + i * DELTA; SHAPE's i-th dim of x.
static pq_dim
made_element(const finder *f, uint32_t flat)
{
    pq_graph *g = f->c->g;
    const pq_op *op = f->c->op;
    if (op->code == PQ_OP_SHAPE) {
        return input(f, 0)->type.dims[flat];
    }
    int64_t offset;
    if (__builtin_mul_overflow(pq_op_i64(op, PQ_ATTR_DELTA, 1), flat,
                               &offset)) {
        return unknown;
    }
    return pq_dim_with(g, PQ_DIM_ADD, pq_op_attr(op, PQ_ATTR_START)->dims.p[0],
                       offset);
}

static pq_dim
find_element(const finder *f, uint32_t flat)
{
    pq_graph *g = f->c->g;
    const pq_op *op = f->c->op;
    ptqc_dtype dtype = f->c->out[0].dtype;
    int64_t at[PTQC_MAX_RANK];
    coordinates(&f->out, flat, at);
    switch (pq_op_info_of(op->code)->cls) {
    case PQ_CLASS_UNARY:
        return unary_element(g, op, dtype, input(f, 0)->elements[flat]);
    case PQ_CLASS_BINARY:
    case PQ_CLASS_COMPARE:
        return binary_element(
            g, op, dtype,
            broadcast_element(input(f, 0), &f->in[0], &f->out, at),
            broadcast_element(input(f, 1), &f->in[1], &f->out, at));
    case PQ_CLASS_SAME:
        return moved_element(f, flat, at);
    case PQ_CLASS_REDUCE: // done by reduce_elements
        return unknown;
    case PQ_CLASS_OTHER:
        break;
    }
    if (op->code == PQ_OP_RANGE || op->code == PQ_OP_SHAPE) {
        return made_element(f, flat);
    }
    return op->code == PQ_OP_WHERE ? where_element(f, at)
                                   : moved_element(f, flat, at);
}

static bool
is_reduced(const pq_op *op, uint32_t axis)
{
    const pq_attr *axes = pq_op_attr(op, PQ_ATTR_AXES);
    for (uint32_t i = 0; axes != NULL && i < axes->ints.n; i++) {
        if (axes->ints.p[i] == axis) {
            return true;
        }
    }
    return axes == NULL;
}

// Each input element goes to its place in the result; out is all zero.
static bool
reduce_elements(const finder *f, pq_dim *out)
{
    const shape *x = &f->in[0];
    shape kept = {.rank = x->rank};
    for (uint32_t i = 0; i < x->rank; i++) {
        kept.dims[i] = is_reduced(f->c->op, i) ? 1 : x->dims[i];
    }
    for (uint32_t i = 0; i < x->count; i++) {
        int64_t at[PTQC_MAX_RANK];
        coordinates(x, i, at);
        for (uint32_t j = 0; j < x->rank; j++) {
            at[j] = kept.dims[j] == 1 ? 0 : at[j];
        }
        pq_dim *sum = &out[flatten(&kept, at)];
        pq_dim e = input(f, 0)->elements[i];
        // Partial sums of floats that grow are exact in any order when the
        // last is; with signs they might not be.
        if (pq_dtype_is_float(f->c->out[0].dtype) &&
            pq_dim_range(f->c->g, e).min < 0) {
            return false;
        }
        *sum = pq_dim_is_none(*sum)
                   ? e
                   : reduce_two(f->c->g, f->c->op->code, *sum, e);
        if (pq_dim_is_none(*sum)) {
            return false;
        }
    }
    return x->count != 0;
}

// Only ops whose result can be known at all, to save the work for others.
static bool
can_know(pq_opcode code)
{
    switch (code) {
    case PQ_OP_REDUCE_SUM:
    case PQ_OP_REDUCE_PROD:
    case PQ_OP_REDUCE_MIN:
    case PQ_OP_REDUCE_MAX:
    case PQ_OP_WHERE:
    case PQ_OP_CONCAT:
    case PQ_OP_RANGE:
    case PQ_OP_SHAPE:
        return true;
    default: // by class
        break;
    }
    pq_op_class cls = pq_op_info_of(code)->cls;
    return cls == PQ_CLASS_UNARY || cls == PQ_CLASS_BINARY ||
           cls == PQ_CLASS_COMPARE || cls == PQ_CLASS_SAME;
}

static bool
read_inputs(finder *f)
{
    const pq_op *op = f->c->op;
    if (op->code == PQ_OP_SHAPE) {
        return true;
    }
    for (uint32_t i = 0; i < op->input_count; i++) {
        const pq_value *v = input(f, i);
        if (v == NULL || v->elements == NULL || pq_value_has_codes(v)) {
            return false;
        }
        if (i < 3 &&
            (!read_shape(f->c->g, v->type.dims, v->type.rank, &f->in[i]) ||
             f->in[i].count != v->element_count)) {
            return false;
        }
    }
    return true;
}

ptqc_status
pq_infer_elements(pq_infer *c)
{
    finder f = {.c = c};
    pq_infer_out *out = &c->out[0];
    pq_dim found[PQ_MAX_ELEMENTS] = {{0}};
    if (!can_know(c->op->code) || pq_op_attr(c->op, PQ_ATTR_ACT) != NULL ||
        !read_shape(c->g, out->dims, out->rank, &f.out) || !read_inputs(&f)) {
        return PTQC_OK;
    }
    bool is_reduce = pq_op_info_of(c->op->code)->cls == PQ_CLASS_REDUCE;
    pq_graph_note(c->g, PTQC_OK);
    if (is_reduce && !reduce_elements(&f, found)) {
        return c->g->failure == PTQC_E_RESOURCE ? PTQC_E_RESOURCE : PTQC_OK;
    }
    for (uint32_t i = 0; i < f.out.count; i++) {
        if (!is_reduce) {
            found[i] = find_element(&f, i);
        }
        found[i] = checked(c->g, out->dtype, found[i]);
        if (pq_dim_is_none(found[i])) {
            return c->g->failure == PTQC_E_RESOURCE ? PTQC_E_RESOURCE : PTQC_OK;
        }
    }
    out->elements =
        pq_arena_memdup(&c->g->arena, found, f.out.count * sizeof found[0]);
    PQ_TRY_ALLOC(out->elements);
    out->element_count = f.out.count;
    return PTQC_OK;
}
