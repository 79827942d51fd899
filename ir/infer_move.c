// SPDX-License-Identifier: Apache-2.0
//
// Inference of ops that move elements.
#include <math.h>

#include "base/dtype.h"
#include "ir/dim_bounds.h"
#include "ir/infer.h"

static ptqc_status
shape_from(pq_infer *c, pq_attr_name name, pq_infer_out *out)
{
    const pq_attr *a;
    PQ_TRY(pq_infer_dims(c, name, -1, &a));
    if (a->dims.n > PTQC_MAX_RANK) {
        return PQ_FAIL(pq_graph_ctx(c->g), PTQC_E_UNSUPPORTED,
                       "%s: rank %u, at most %d is supported",
                       pq_op_info_of(c->op->code)->name, a->dims.n,
                       PTQC_MAX_RANK);
    }
    out->rank = a->dims.n;
    for (uint32_t i = 0; i < out->rank; i++) {
        out->dims[i] = a->dims.p[i];
    }
    return PTQC_OK;
}

ptqc_status
pq_infer_reshape(pq_infer *c)
{
    const pq_type *t = &pq_infer_in(c, 0)->type;
    pq_infer_out *out = &c->out[0];
    PQ_TRY(shape_from(c, PQ_ATTR_SHAPE, out));
    out->dtype = t->dtype;
    pq_type type = {out->dtype, out->rank, out->dims};
    PQ_TRY(pq_type_check(c->g, &type, PQ_STR("reshape")));
    pq_dim before = pq_dims_product(c->g, t->dims, t->rank);
    pq_dim after = pq_dims_product(c->g, out->dims, out->rank);
    if (pq_dim_is_none(before) || pq_dim_is_none(after)) {
        return pq_graph_failure(c->g);
    }
    if (pq_dim_differs(c->g, before, after)) {
        int64_t n = 0;
        int64_t m = 0;
        if (pq_dim_is_const(c->g, before, &n) &&
            pq_dim_is_const(c->g, after, &m)) {
            return pq_infer_refuse(c, 0,
                                   "%lld elements do not fit a shape of "
                                   "%lld",
                                   (long long)n, (long long)m);
        }
        return pq_infer_refuse(c, 0, "the shape has another element count");
    }
    return PTQC_OK;
}

// Per-channel scales follow their axis.
static ptqc_status
move_quant_axis(pq_infer *c, const int64_t *perm)
{
    const pq_value *x = pq_infer_in(c, 0);
    const pq_quant *q = pq_graph_quant(c->g, x->quant);
    if (q == NULL || q->scheme.granularity != PQ_GRAN_CHANNEL) {
        return PTQC_OK;
    }
    pq_quant moved = *q;
    for (uint32_t i = 0; i < x->type.rank; i++) {
        if (perm[i] == q->scheme.axis) {
            moved.scheme.axis = i;
        }
    }
    if (moved.scheme.axis == q->scheme.axis) {
        return PTQC_OK;
    }
    for (uint32_t i = 1; i < pq_graph_quant_count(c->g); i++) {
        const pq_quant *o = pq_graph_quant(c->g, (pq_quant_id){i});
        if (o->scheme.axis == moved.scheme.axis &&
            o->scheme.format == moved.scheme.format &&
            o->scheme.bits == moved.scheme.bits &&
            o->scheme.granularity == moved.scheme.granularity &&
            o->scheme.symmetric == moved.scheme.symmetric &&
            o->scheme.dynamic == moved.scheme.dynamic &&
            pq_const_equal(o->scale, moved.scale) &&
            pq_const_equal(o->zero_point, moved.zero_point)) {
            c->out[0].quant = (pq_quant_id){i};
            return PTQC_OK;
        }
    }
    c->out[0].quant = pq_graph_add_quant(c->g, &moved);
    return pq_quant_is_none(c->out[0].quant) ? pq_graph_failure(c->g) : PTQC_OK;
}

ptqc_status
pq_infer_transpose(pq_infer *c)
{
    const pq_type *t = &pq_infer_in(c, 0)->type;
    int64_t perm[PTQC_MAX_RANK];
    bool is_seen[PTQC_MAX_RANK] = {false};
    if (pq_op_attr(c->op, PQ_ATTR_PERM) == NULL) {
        return pq_infer_refuse(c, -1, "attribute perm is missing");
    }
    PQ_TRY(pq_infer_ints(c, PQ_ATTR_PERM, t->rank, 0, 0, perm));
    pq_infer_copy(c, 0, 0);
    for (uint32_t i = 0; i < t->rank; i++) {
        if (perm[i] >= t->rank || is_seen[perm[i]]) {
            return pq_infer_refuse(c, -1,
                                   "perm: %lld is out of range or "
                                   "occurs twice",
                                   (long long)perm[i]);
        }
        is_seen[perm[i]] = true;
        c->out[0].dims[i] = t->dims[perm[i]];
    }
    return move_quant_axis(c, perm);
}

// max(0, ceil((end - start) / step)), and the mirror image of it backwards.
static pq_dim
sliced(pq_graph *g, pq_dim start, pq_dim end, int64_t step)
{
    pq_dim length = step > 0 ? pq_dim_make(g, PQ_DIM_SUB, end, start)
                             : pq_dim_make(g, PQ_DIM_SUB, start, end);
    pq_dim n = pq_dim_with(g, PQ_DIM_CDIV, length, step > 0 ? step : -step);
    return pq_dim_make(g, PQ_DIM_MAX, n, pq_dim_const(g, 0));
}

// Forward 0 <= start, end <= size; backward start <= size - 1, end >= -1.
static ptqc_status
check_slice(const pq_infer *c, pq_dim start, pq_dim end, int64_t step,
            pq_dim size)
{
    pq_graph *g = c->g;
    if (step == 0 || step == INT64_MIN) {
        return pq_infer_refuse(c, -1, "steps: %lld is out of range",
                               (long long)step);
    }
    if (pq_dim_is_none(start) || pq_dim_is_none(end)) {
        return pq_graph_failure(g);
    }
    pq_dim least = pq_dim_const(g, step > 0 ? 0 : -1);
    if (pq_dim_is_none(least)) {
        return pq_graph_failure(g);
    }
    pq_dim over = pq_dim_with(g, PQ_DIM_ADD, size, 1);
    if (pq_dim_is_none(over)) {
        return pq_graph_failure(g);
    }
    if (pq_dim_range(g, start).max < (step > 0 ? 0 : -1) ||
        pq_dim_range(g, end).max < (step > 0 ? 0 : -1) ||
        pq_dim_is_le(g, over, start) || pq_dim_is_le(g, over, end)) {
        return pq_infer_refuse(c, 0, "starts or ends lie outside the axis");
    }
    return PTQC_OK;
}

ptqc_status
pq_infer_slice(pq_infer *c)
{
    const pq_type *t = &pq_infer_in(c, 0)->type;
    const pq_attr *axes = pq_op_attr(c->op, PQ_ATTR_AXES);
    const pq_attr *steps = pq_op_attr(c->op, PQ_ATTR_STEPS);
    const pq_attr *starts;
    const pq_attr *ends;
    bool is_seen[PTQC_MAX_RANK] = {false};
    if (axes == NULL || axes->ints.n > t->rank ||
        (steps != NULL && steps->ints.n != axes->ints.n)) {
        return pq_infer_refuse(c, -1,
                               "axes are missing or do not fit steps "
                               "or rank");
    }
    PQ_TRY(pq_infer_dims(c, PQ_ATTR_STARTS, axes->ints.n, &starts));
    PQ_TRY(pq_infer_dims(c, PQ_ATTR_ENDS, axes->ints.n, &ends));
    pq_infer_copy(c, 0, 0);
    for (uint32_t i = 0; i < axes->ints.n; i++) {
        int64_t axis = axes->ints.p[i];
        int64_t step = pq_op_int_at(c->op, PQ_ATTR_STEPS, i, 1);
        if (axis < 0 || axis >= t->rank || is_seen[axis]) {
            return pq_infer_refuse(c, -1,
                                   "axis %lld is outside rank %u or "
                                   "occurs twice",
                                   (long long)axis, t->rank);
        }
        is_seen[axis] = true;
        PQ_TRY(check_slice(c, starts->dims.p[i], ends->dims.p[i], step,
                           t->dims[axis]));
        c->out[0].dims[axis] =
            sliced(c->g, starts->dims.p[i], ends->dims.p[i], step);
    }
    return PTQC_OK;
}

ptqc_status
pq_infer_concat(pq_infer *c)
{
    const pq_value *first = pq_infer_in(c, 0);
    pq_infer_out *out = &c->out[0];
    uint32_t axis;
    PQ_TRY(pq_infer_axis(c, 0, first->type.rank, &axis));
    pq_infer_copy(c, 0, 0);
    for (uint32_t i = 1; i < c->op->input_count; i++) {
        const pq_value *v = pq_infer_in(c, i);
        if (v == NULL) {
            return pq_infer_refuse(c, (int)i, "is absent");
        }
        if (v->type.dtype != out->dtype) {
            return pq_infer_refuse(c, (int)i, "expected %s, found %s",
                                   pq_dtype_name(out->dtype),
                                   pq_dtype_name(v->type.dtype));
        }
        PQ_TRY(pq_infer_rank(c, i, out->rank, out->rank));
        for (uint32_t j = 0; j < out->rank; j++) {
            if (j != axis) {
                PQ_TRY(pq_infer_dim(c, i, j, out->dims[j]));
            }
        }
        out->dims[axis] =
            pq_dim_make(c->g, PQ_DIM_ADD, out->dims[axis], v->type.dims[axis]);
        if (pq_dim_is_none(out->dims[axis])) {
            return pq_graph_failure(c->g);
        }
    }
    return PTQC_OK;
}

ptqc_status
pq_infer_pad(pq_infer *c)
{
    const pq_type *t = &pq_infer_in(c, 0)->type;
    int64_t pads[2 * PTQC_MAX_RANK];
    int64_t mode;
    int64_t size;
    PQ_TRY(pq_infer_int(c, PQ_ATTR_MODE, PQ_PAD_CONSTANT, PQ_PAD_WRAP,
                        PQ_PAD_CONSTANT, &mode));
    PQ_TRY(pq_infer_ints(c, PQ_ATTR_PADS, 2 * t->rank, INT32_MIN, 0, pads));
    pq_infer_copy(c, 0, 0);
    for (uint32_t i = 0; i < t->rank; i++) {
        int64_t begin = pads[i];
        int64_t end = pads[t->rank + i];
        c->out[0].dims[i] =
            pq_dim_with(c->g, PQ_DIM_ADD, t->dims[i], begin + end);
        if (!pq_dim_is_const(c->g, t->dims[i], &size)) {
            continue;
        }
        int64_t most = mode == PQ_PAD_REFLECT ? size - 1
                       : mode == PQ_PAD_WRAP  ? size
                       : size == 0            ? 0
                                              : INT64_MAX;
        if (mode != PQ_PAD_CONSTANT && (begin > most || end > most)) {
            return pq_infer_refuse(c, -1,
                                   "pads: %lld and %lld are too large "
                                   "for axis %u of size %lld",
                                   (long long)begin, (long long)end, i,
                                   (long long)size);
        }
    }
    return PTQC_OK;
}

ptqc_status
pq_infer_expand(pq_infer *c)
{
    const pq_type *t = &pq_infer_in(c, 0)->type;
    pq_infer_out shape = {0};
    pq_infer_out *out = &c->out[0];
    PQ_TRY(shape_from(c, PQ_ATTR_SHAPE, &shape));
    out->dtype = t->dtype;
    out->rank = shape.rank > t->rank ? shape.rank : t->rank;
    for (uint32_t i = 0; i < out->rank; i++) {
        bool in_x = i + t->rank >= out->rank;
        bool in_shape = i + shape.rank >= out->rank;
        pq_dim a = in_x ? t->dims[i + t->rank - out->rank] : (pq_dim){0};
        pq_dim b =
            in_shape ? shape.dims[i + shape.rank - out->rank] : (pq_dim){0};
        if (in_x && in_shape) {
            PQ_TRY(pq_infer_broadcast_dim(c, 0, b, a, &out->dims[i]));
        } else {
            out->dims[i] = in_x ? a : b;
        }
    }
    return PTQC_OK;
}

ptqc_status
pq_infer_tile(pq_infer *c)
{
    const pq_type *t = &pq_infer_in(c, 0)->type;
    const pq_attr *repeats;
    PQ_TRY(pq_infer_dims(c, PQ_ATTR_REPEATS, t->rank, &repeats));
    pq_infer_copy(c, 0, 0);
    for (uint32_t i = 0; i < t->rank; i++) {
        c->out[0].dims[i] =
            pq_dim_make(c->g, PQ_DIM_MUL, t->dims[i], repeats->dims.p[i]);
    }
    return PTQC_OK;
}

static ptqc_status
expect_index(const pq_infer *c, uint32_t i)
{
    ptqc_dtype t = pq_infer_in(c, i)->type.dtype;
    if (t != PTQC_I32 && t != PTQC_I64) {
        return pq_infer_refuse(c, (int)i, "expected i32 or i64, found %s",
                               pq_dtype_name(t));
    }
    return PTQC_OK;
}

static ptqc_status
push_dims(const pq_infer *c, pq_infer_out *out, const pq_dim *dims, uint32_t n)
{
    if (n > PTQC_MAX_RANK - out->rank) {
        return PQ_FAIL(pq_graph_ctx(c->g), PTQC_E_UNSUPPORTED,
                       "%s '%.*s': a rank above %d is not supported",
                       pq_op_info_of(c->op->code)->name,
                       PQ_STR_ARG(c->op->name), PTQC_MAX_RANK);
    }
    for (uint32_t i = 0; i < n; i++) {
        out->dims[out->rank++] = dims[i];
    }
    return PTQC_OK;
}

// Leading BATCH_DIMS axes that x and the indices share.
static ptqc_status
read_batch(pq_infer *c, int64_t most, int64_t *out)
{
    const pq_type *t = &pq_infer_in(c, 0)->type;
    PQ_TRY(pq_infer_int(c, PQ_ATTR_BATCH_DIMS, 0, most, 0, out));
    PQ_TRY(pq_infer_rank(c, 1, (uint32_t)*out, PTQC_MAX_RANK));
    for (uint32_t i = 0; i < *out; i++) {
        PQ_TRY(pq_infer_dim(c, 1, i, t->dims[i]));
    }
    return PTQC_OK;
}

ptqc_status
pq_infer_gather(pq_infer *c)
{
    const pq_type *t = &pq_infer_in(c, 0)->type;
    const pq_type *s = &pq_infer_in(c, 1)->type;
    pq_infer_out *out = &c->out[0];
    uint32_t axis;
    int64_t batch;
    PQ_TRY(expect_index(c, 1));
    PQ_TRY(pq_infer_axis(c, 0, t->rank, &axis));
    PQ_TRY(read_batch(c, axis, &batch));
    out->dtype = t->dtype;
    PQ_TRY(push_dims(c, out, t->dims, axis));
    PQ_TRY(push_dims(c, out, s->dims + batch, s->rank - (uint32_t)batch));
    return push_dims(c, out, t->dims + axis + 1, t->rank - axis - 1);
}

static ptqc_status
infer_along_indices(pq_infer *c)
{
    const pq_type *t = &pq_infer_in(c, 0)->type;
    uint32_t axis;
    PQ_TRY(expect_index(c, 1));
    PQ_TRY(pq_infer_axis(c, 0, t->rank, &axis));
    PQ_TRY(pq_infer_rank(c, 1, t->rank, t->rank));
    for (uint32_t i = 0; i < t->rank; i++) { // may be smaller than x
        pq_dim over = pq_dim_with(c->g, PQ_DIM_ADD, t->dims[i], 1);
        if (pq_dim_is_none(over)) {
            return pq_graph_failure(c->g);
        }
        if (i != axis &&
            pq_dim_is_le(c->g, over, pq_infer_in(c, 1)->type.dims[i])) {
            return pq_infer_refuse(c, 1,
                                   "axis %u is longer than that of "
                                   "input 0",
                                   i);
        }
    }
    return PTQC_OK;
}

ptqc_status
pq_infer_gather_elements(pq_infer *c)
{
    PQ_TRY(infer_along_indices(c));
    pq_infer_copy(c, 0, 1);
    c->out[0].dtype = pq_infer_in(c, 0)->type.dtype;
    return PTQC_OK;
}

// The last axis of the indices counts the axes of x they address.
static ptqc_status
read_depth(const pq_infer *c, int64_t batch, int64_t *out)
{
    const pq_type *t = &pq_infer_in(c, 0)->type;
    const pq_type *s = &pq_infer_in(c, 1)->type;
    if (!pq_dim_is_const(c->g, s->dims[s->rank - 1], out) || *out < 1 ||
        *out > t->rank - batch) {
        return pq_infer_refuse(c, 1,
                               "the last axis must be a constant from 1 "
                               "to %lld",
                               (long long)(t->rank - batch));
    }
    return PTQC_OK;
}

ptqc_status
pq_infer_gather_nd(pq_infer *c)
{
    const pq_type *t = &pq_infer_in(c, 0)->type;
    const pq_type *s = &pq_infer_in(c, 1)->type;
    pq_infer_out *out = &c->out[0];
    int64_t batch;
    int64_t depth;
    PQ_TRY(expect_index(c, 1));
    PQ_TRY(pq_infer_rank(c, 0, 1, PTQC_MAX_RANK));
    PQ_TRY(pq_infer_rank(c, 1, 1, PTQC_MAX_RANK));
    PQ_TRY(read_batch(c, (t->rank < s->rank ? t->rank : s->rank) - 1, &batch));
    PQ_TRY(read_depth(c, batch, &depth));
    out->dtype = t->dtype;
    PQ_TRY(push_dims(c, out, s->dims, s->rank - 1));
    uint32_t first = (uint32_t)(batch + depth);
    return push_dims(c, out, t->dims + first, t->rank - first);
}

static ptqc_status
read_scatter(pq_infer *c)
{
    const pq_value *x = pq_infer_in(c, 0);
    const pq_value *updates = pq_infer_in(c, 2);
    int64_t reduction;
    if (x->type.dtype != updates->type.dtype) {
        return pq_infer_refuse(c, 2, "expected %s, found %s",
                               pq_dtype_name(x->type.dtype),
                               pq_dtype_name(updates->type.dtype));
    }
    return pq_infer_int(c, PQ_ATTR_REDUCTION, PQ_SCATTER_NONE, PQ_SCATTER_MIN,
                        PQ_SCATTER_NONE, &reduction);
}

ptqc_status
pq_infer_scatter_elements(pq_infer *c)
{
    const pq_type *s = &pq_infer_in(c, 1)->type;
    PQ_TRY(read_scatter(c));
    PQ_TRY(infer_along_indices(c));
    PQ_TRY(pq_infer_rank(c, 2, s->rank, s->rank));
    for (uint32_t i = 0; i < s->rank; i++) {
        PQ_TRY(pq_infer_dim(c, 2, i, s->dims[i]));
    }
    pq_infer_copy(c, 0, 0);
    return PTQC_OK;
}

ptqc_status
pq_infer_scatter_nd(pq_infer *c)
{
    const pq_type *t = &pq_infer_in(c, 0)->type;
    const pq_type *s = &pq_infer_in(c, 1)->type;
    pq_infer_out updates = {0};
    int64_t depth;
    PQ_TRY(read_scatter(c));
    PQ_TRY(expect_index(c, 1));
    PQ_TRY(pq_infer_rank(c, 0, 1, PTQC_MAX_RANK));
    PQ_TRY(pq_infer_rank(c, 1, 1, PTQC_MAX_RANK));
    PQ_TRY(read_depth(c, 0, &depth));
    PQ_TRY(push_dims(c, &updates, s->dims, s->rank - 1));
    PQ_TRY(push_dims(c, &updates, t->dims + depth, t->rank - (uint32_t)depth));
    PQ_TRY(pq_infer_rank(c, 2, updates.rank, updates.rank));
    for (uint32_t i = 0; i < updates.rank; i++) {
        PQ_TRY(pq_infer_dim(c, 2, i, updates.dims[i]));
    }
    pq_infer_copy(c, 0, 0);
    return PTQC_OK;
}

// size / block, which must be exact.
static ptqc_status
divide_dim(const pq_infer *c, pq_dim *size, int64_t block)
{
    int64_t value;
    if (pq_dim_is_const(c->g, *size, &value) && value % block != 0) {
        return pq_infer_refuse(c, 0, "%lld is no multiple of %lld",
                               (long long)value, (long long)block);
    }
    *size = pq_dim_with(c->g, PQ_DIM_DIV, *size, block);
    return PTQC_OK;
}

static ptqc_status
read_block(pq_infer *c, int64_t *out)
{
    int64_t mode;
    PQ_TRY(pq_infer_rank(c, 0, 4, 4));
    PQ_TRY(pq_infer_int(c, PQ_ATTR_MODE, 0, 1, 0, &mode));
    return pq_infer_int(c, PQ_ATTR_BLOCK, 1, 1 << 15, 0, out);
}

ptqc_status
pq_infer_depth_to_space(pq_infer *c)
{
    int64_t block;
    pq_dim *dims = c->out[0].dims;
    PQ_TRY(read_block(c, &block));
    pq_infer_copy(c, 0, 0);
    PQ_TRY(divide_dim(c, &dims[1], block * block));
    dims[2] = pq_dim_with(c->g, PQ_DIM_MUL, dims[2], block);
    dims[3] = pq_dim_with(c->g, PQ_DIM_MUL, dims[3], block);
    return PTQC_OK;
}

ptqc_status
pq_infer_space_to_depth(pq_infer *c)
{
    int64_t block;
    pq_dim *dims = c->out[0].dims;
    PQ_TRY(read_block(c, &block));
    pq_infer_copy(c, 0, 0);
    dims[1] = pq_dim_with(c->g, PQ_DIM_MUL, dims[1], block * block);
    PQ_TRY(divide_dim(c, &dims[2], block));
    return divide_dim(c, &dims[3], block);
}

// floor(size * scale) in f32, as ONNX runtimes do; of a symbolic size only
// when the scale is a fraction p / 2^n with small p and n.
static ptqc_status
scale_dim(const pq_infer *c, pq_dim size, float scale, pq_dim *out)
{
    int64_t value;
    if (!(scale > 0.0f) || !(scale < 65536.0f)) {
        return pq_infer_refuse(c, -1, "scales: %g is out of range",
                               (double)scale);
    }
    if (pq_dim_is_const(c->g, size, &value)) {
        float scaled = floorf((float)value * scale);
        if (!(scaled < 0x1p40f)) {
            return pq_infer_refuse(c, -1, "scales: %g is out of range",
                                   (double)scale);
        }
        *out = pq_dim_const(c->g, (int64_t)scaled);
        return PTQC_OK;
    }
    for (int n = 0; n <= 16; n++) {
        float p = ldexpf(scale, n);
        if (p == floorf(p)) { // exact: a power of two was multiplied
            *out = pq_dim_with(c->g, PQ_DIM_MUL, size, (int64_t)p);
            *out = pq_dim_with(c->g, PQ_DIM_DIV, *out, INT64_C(1) << n);
            return PTQC_OK;
        }
    }
    return PQ_FAIL(pq_graph_ctx(c->g), PTQC_E_UNSUPPORTED,
                   "%s '%.*s': scale %g of a symbolic size",
                   pq_op_info_of(c->op->code)->name, PQ_STR_ARG(c->op->name),
                   (double)scale);
}

ptqc_status
pq_infer_resize(pq_infer *c)
{
    const pq_type *t = &pq_infer_in(c, 0)->type;
    const pq_attr *scales = pq_op_attr(c->op, PQ_ATTR_SCALES);
    int64_t ignored;
    PQ_TRY(pq_infer_int(c, PQ_ATTR_MODE, PQ_RESIZE_NEAREST, PQ_RESIZE_CUBIC,
                        PQ_RESIZE_NEAREST, &ignored));
    PQ_TRY(pq_infer_int(c, PQ_ATTR_COORDINATES, PQ_COORD_HALF_PIXEL,
                        PQ_COORD_ALIGN_CORNERS, PQ_COORD_HALF_PIXEL, &ignored));
    PQ_TRY(pq_infer_int(c, PQ_ATTR_NEAREST, PQ_NEAREST_ROUND_PREFER_FLOOR,
                        PQ_NEAREST_CEIL, PQ_NEAREST_ROUND_PREFER_FLOOR,
                        &ignored));
    pq_infer_copy(c, 0, 0);
    if (scales != NULL && scales->floats.n != t->rank) {
        return pq_infer_refuse(c, -1, "scales: expected %u numbers, found %u",
                               t->rank, scales->floats.n);
    }
    if (pq_op_attr(c->op, PQ_ATTR_SHAPE) != NULL) {
        const pq_attr *shape;
        PQ_TRY(pq_infer_dims(c, PQ_ATTR_SHAPE, t->rank, &shape));
        for (uint32_t i = 0; i < t->rank; i++) {
            c->out[0].dims[i] = shape->dims.p[i];
        }
        return PTQC_OK;
    }
    if (scales == NULL) {
        return pq_infer_refuse(c, -1, "neither shape nor scales are given");
    }
    for (uint32_t i = 0; i < t->rank; i++) {
        PQ_TRY(
            scale_dim(c, t->dims[i], scales->floats.p[i], &c->out[0].dims[i]));
    }
    return PTQC_OK;
}

ptqc_status
pq_infer_range(pq_infer *c)
{
    const pq_attr *start;
    const pq_attr *shape;
    ptqc_dtype to = (ptqc_dtype)pq_op_i64(c->op, PQ_ATTR_TO, PTQC_I64);
    PQ_TRY(pq_infer_dims(c, PQ_ATTR_START, 1, &start));
    PQ_TRY(pq_infer_dims(c, PQ_ATTR_SHAPE, 1, &shape));
    if (pq_dtype_bits(to) == 0) {
        return pq_infer_refuse(c, -1, "to is no type");
    }
    c->out[0].dtype = to;
    c->out[0].rank = 1;
    c->out[0].dims[0] = shape->dims.p[0];
    return PTQC_OK;
}

ptqc_status
pq_infer_shape(pq_infer *c)
{
    c->out[0].dtype = PTQC_I64;
    c->out[0].rank = 1;
    c->out[0].dims[0] = pq_dim_const(c->g, pq_infer_in(c, 0)->type.rank);
    return PTQC_OK;
}

ptqc_status
pq_infer_one_hot(pq_infer *c)
{
    const pq_type *t = &pq_infer_in(c, 0)->type;
    pq_infer_out *out = &c->out[0];
    uint32_t axis;
    int64_t k;
    PQ_TRY(pq_infer_rank(c, 0, 0, PTQC_MAX_RANK - 1));
    PQ_TRY(pq_infer_axis(c, -1, t->rank + 1, &axis));
    PQ_TRY(pq_infer_int(c, PQ_ATTR_K, 1, INT32_MAX, 0, &k));
    PQ_TRY(pq_infer_vector(c, 1, pq_dim_const(c->g, 2)));
    out->dtype = pq_infer_in(c, 1)->type.dtype;
    PQ_TRY(push_dims(c, out, t->dims, axis));
    pq_dim depth = pq_dim_const(c->g, k);
    PQ_TRY(push_dims(c, out, &depth, 1));
    return push_dims(c, out, t->dims + axis, t->rank - axis);
}
