// SPDX-License-Identifier: Apache-2.0
//
// gather, gather_elements, gather_nd, scatter_elements, scatter_nd, one_hot.
// Indices count from the end when negative; others outside the axis are an
// error.
#include <string.h>

#include "base/dtype.h"
#include "base/mathfn.h"
#include "ir/interp/eval.h"
#include "ir/interp/families.h"

static ptqc_status
check_index(pq_eval *e, int64_t index, int64_t dim, int64_t *out)
{
    int64_t at = index < 0 ? index + dim : index;
    if (at < 0 || at >= dim) {
        return pq_eval_fail(e, PTQC_E_INPUT,
                            "index %lld is outside an axis of size %lld",
                            (long long)index, (long long)dim);
    }
    *out = at;
    return PTQC_OK;
}

ptqc_status
pq_eval_gather(pq_eval *e)
{
    const pq_tensor *x = &e->in[0], *ids = &e->in[1];
    uint32_t axis;
    PQ_TRY(pq_eval_axis(e, 0, x->rank, &axis));
    int64_t batch_dims = pq_op_i64(e->op, PQ_ATTR_BATCH_DIMS, 0);
    if (batch_dims < 0 || batch_dims > (int64_t)axis ||
        batch_dims > (int64_t)ids->rank) {
        return pq_eval_fail(e, PTQC_E_INPUT, "batch_dims %lld",
                            (long long)batch_dims);
    }
    const int64_t *index;
    PQ_TRY(pq_in_i64(e, 1, &index));
    int64_t batch = pq_size_product(x->dims, 0, (uint32_t)batch_dims);
    int64_t outer = pq_size_product(x->dims, (uint32_t)batch_dims, axis);
    int64_t inner = pq_size_product(x->dims, axis + 1, x->rank);
    int64_t count = pq_size_product(ids->dims, (uint32_t)batch_dims, ids->rank);
    if (batch * outer * count * inner != pq_tensor_count(&e->out[0]) ||
        batch * count != pq_tensor_count(ids)) {
        return pq_eval_fail(e, PTQC_E_INPUT, "shapes do not match");
    }
    pq_move m;
    PQ_TRY(pq_move_begin(e, &m));
    size_t row = (size_t)inner * m.size;
    uint8_t *to = m.dst;
    for (int64_t i = 0; i < batch * outer * count; i++, to += row) {
        int64_t at = 0;
        int64_t b = i / (outer * count);
        PQ_TRY(
            check_index(e, index[b * count + i % count], x->dims[axis], &at));
        int64_t from = (i / count * x->dims[axis] + at) * inner;
        memcpy(to, m.src + (size_t)from * m.size, row);
    }
    return pq_move_end(e, &m);
}

// Element offset in `dims` of the i-th position of the index tensor, with
// the coordinate along `axis` replaced.
static ptqc_status
element_offset(pq_eval *e, const pq_tensor *ids, const int64_t *dims,
               uint32_t axis, int64_t i, const int64_t *index, int64_t *out)
{
    int64_t at = 0, stride = 1, rest = i;
    for (uint32_t a = ids->rank; a-- > 0;) {
        int64_t c = rest % ids->dims[a];
        rest /= ids->dims[a];
        if (a == axis) {
            PQ_TRY(check_index(e, index[i], dims[a], &c));
        } else if (c >= dims[a]) {
            return pq_eval_fail(e, PTQC_E_INPUT,
                                "indices are larger than the data");
        }
        at += c * stride;
        stride *= dims[a];
    }
    *out = at;
    return PTQC_OK;
}

// Axis and indices of gather_elements and scatter_elements; `values` has one
// element for each index.
static ptqc_status
init_elements(pq_eval *e, const pq_tensor *values, uint32_t *out_axis,
              const int64_t **out_index)
{
    const pq_tensor *x = &e->in[0], *ids = &e->in[1];
    PQ_TRY(pq_eval_axis(e, 0, x->rank, out_axis));
    PQ_TRY(pq_in_i64(e, 1, out_index));
    return ids->rank == x->rank &&
                   pq_tensor_count(ids) == pq_tensor_count(values)
               ? PTQC_OK
               : pq_eval_fail(e, PTQC_E_INPUT, "shapes do not match");
}

ptqc_status
pq_eval_gather_elements(pq_eval *e)
{
    const pq_tensor *x = &e->in[0], *ids = &e->in[1];
    uint32_t axis;
    const int64_t *index;
    pq_move m;
    PQ_TRY(init_elements(e, &e->out[0], &axis, &index));
    PQ_TRY(pq_move_begin(e, &m));
    int64_t n = pq_tensor_count(ids);
    for (int64_t i = 0; i < n; i++) {
        int64_t at;
        PQ_TRY(element_offset(e, ids, x->dims, axis, i, index, &at));
        memcpy(m.dst + (size_t)i * m.size, m.src + (size_t)at * m.size, m.size);
    }
    return pq_move_end(e, &m);
}

// Index tuples of gather_nd and scatter_nd: `count` tuples of `depth`
// coordinates into axes from `batch_dims` on; each names `inner` elements.
typedef struct tuples {
    const int64_t *index;
    int64_t count, depth, inner, batch, per_batch;
    uint32_t batch_dims;
} tuples;

static ptqc_status
init_tuples(pq_eval *e, tuples *t)
{
    const pq_tensor *x = &e->in[0], *ids = &e->in[1];
    int64_t batch_dims = pq_op_i64(e->op, PQ_ATTR_BATCH_DIMS, 0);
    if (ids->rank < 1 || batch_dims < 0 || batch_dims >= (int64_t)ids->rank) {
        return pq_eval_fail(e, PTQC_E_INPUT, "indices have rank %u", ids->rank);
    }
    t->batch_dims = (uint32_t)batch_dims;
    t->depth = ids->dims[ids->rank - 1];
    if (t->depth + batch_dims > (int64_t)x->rank) {
        return pq_eval_fail(e, PTQC_E_INPUT,
                            "index tuples of %lld into rank "
                            "%u",
                            (long long)t->depth, x->rank);
    }
    PQ_TRY(pq_in_i64(e, 1, &t->index));
    t->count = pq_size_product(ids->dims, 0, ids->rank - 1);
    t->batch = pq_size_product(ids->dims, 0, t->batch_dims);
    t->per_batch = t->batch > 0 ? t->count / t->batch : 0;
    t->inner =
        pq_size_product(x->dims, t->batch_dims + (uint32_t)t->depth, x->rank);
    return PTQC_OK;
}

static ptqc_status
tuple_offset(pq_eval *e, const tuples *t, int64_t i, int64_t *out)
{
    const pq_tensor *x = &e->in[0];
    int64_t at = t->per_batch > 0 ? i / t->per_batch : 0;
    for (int64_t k = 0; k < t->depth; k++) {
        int64_t dim = x->dims[t->batch_dims + (uint32_t)k];
        int64_t c = 0;
        PQ_TRY(check_index(e, t->index[i * t->depth + k], dim, &c));
        at = at * dim + c;
    }
    *out = at * t->inner;
    return PTQC_OK;
}

ptqc_status
pq_eval_gather_nd(pq_eval *e)
{
    tuples t;
    pq_move m;
    PQ_TRY(init_tuples(e, &t));
    PQ_TRY(pq_move_begin(e, &m));
    if (t.count * t.inner != pq_tensor_count(&e->out[0]) ||
        t.batch != pq_size_product(e->in[0].dims, 0, t.batch_dims)) {
        return pq_eval_fail(e, PTQC_E_INPUT, "shapes do not match");
    }
    size_t row = (size_t)t.inner * m.size;
    for (int64_t i = 0; i < t.count; i++) {
        int64_t at;
        PQ_TRY(tuple_offset(e, &t, i, &at));
        memcpy(m.dst + (size_t)i * row, m.src + (size_t)at * m.size, row);
    }
    return pq_move_end(e, &m);
}

// ---- scatter --------------------------------------------------------------

// Data and updates in one work type; y starts as a copy of the data.
typedef struct scatter {
    pq_work work;
    int64_t reduction; // pq_scatter_reduction
    const void *updates;
    void *y;
} scatter;

static ptqc_status
begin_scatter(pq_eval *e, scatter *s)
{
    s->work = pq_in_work(e, 0);
    s->reduction = pq_op_i64(e->op, PQ_ATTR_REDUCTION, PQ_SCATTER_NONE);
    size_t n = (size_t)pq_tensor_count(&e->in[0]);
    if (s->work == PQ_WORK_F32) {
        const float *x, *u;
        float *y;
        PQ_TRY(pq_in_f32(e, 0, &x));
        PQ_TRY(pq_in_f32(e, 2, &u));
        PQ_TRY(pq_out_f32(e, 0, &y));
        memcpy(y, x, n * sizeof *y);
        s->updates = u;
        s->y = y;
    } else if (s->work == PQ_WORK_F64) {
        s->updates = e->in[2].p;
        s->y = e->out[0].p;
        memcpy(s->y, e->in[0].p, n * sizeof(double));
    } else {
        const int64_t *x, *u;
        int64_t *y;
        PQ_TRY(pq_in_i64(e, 0, &x));
        PQ_TRY(pq_in_i64(e, 2, &u));
        PQ_TRY(pq_out_i64(e, 0, &y));
        memcpy(y, x, n * sizeof *y);
        s->updates = u;
        s->y = y;
    }
    return PTQC_OK;
}

static ptqc_status
end_scatter(pq_eval *e, const scatter *s)
{
    if (s->work == PQ_WORK_F32) {
        return pq_end_f32(e, 0, s->y);
    }
    return s->work == PQ_WORK_F64 ? PTQC_OK : pq_end_i64(e, 0, s->y);
}

static double
reduce_f64(int64_t reduction, double a, double b)
{
    switch (reduction) {
    case PQ_SCATTER_ADD:
        return a + b;
    case PQ_SCATTER_MUL:
        return a * b;
    case PQ_SCATTER_MAX:
        return a != a || a > b ? a : b;
    case PQ_SCATTER_MIN:
        return a != a || a < b ? a : b;
    default:
        return b;
    }
}

static float
reduce_f32(int64_t reduction, float a, float b)
{
    switch (reduction) {
    case PQ_SCATTER_ADD:
        return a + b;
    case PQ_SCATTER_MUL:
        return a * b;
    case PQ_SCATTER_MAX:
        return pq_maxf(a, b);
    case PQ_SCATTER_MIN:
        return pq_minf(a, b);
    default:
        return b;
    }
}

static int64_t
reduce_i64(int64_t reduction, int64_t a, int64_t b, bool is_u64)
{
    bool is_less = is_u64 ? (uint64_t)a < (uint64_t)b : a < b;
    switch (reduction) {
    case PQ_SCATTER_ADD:
        return (int64_t)((uint64_t)a + (uint64_t)b);
    case PQ_SCATTER_MUL:
        return (int64_t)((uint64_t)a * (uint64_t)b);
    case PQ_SCATTER_MAX:
        return is_less ? b : a;
    case PQ_SCATTER_MIN:
        return is_less ? a : b;
    default:
        return b;
    }
}

static void
scatter_one(const scatter *s, int64_t at, int64_t from)
{
    if (s->work == PQ_WORK_F32) {
        float *y = (float *)s->y + at;
        *y = reduce_f32(s->reduction, *y, ((const float *)s->updates)[from]);
    } else if (s->work == PQ_WORK_F64) {
        double *y = (double *)s->y + at;
        *y = reduce_f64(s->reduction, *y, ((const double *)s->updates)[from]);
    } else {
        int64_t *y = (int64_t *)s->y + at;
        *y = reduce_i64(s->reduction, *y, ((const int64_t *)s->updates)[from],
                        s->work == PQ_WORK_U64);
    }
}

ptqc_status
pq_eval_scatter_elements(pq_eval *e)
{
    const pq_tensor *x = &e->in[0], *ids = &e->in[1];
    uint32_t axis;
    const int64_t *index;
    scatter s;
    PQ_TRY(init_elements(e, &e->in[2], &axis, &index));
    PQ_TRY(begin_scatter(e, &s));
    int64_t n = pq_tensor_count(ids);
    for (int64_t i = 0; i < n; i++) {
        int64_t at;
        PQ_TRY(element_offset(e, ids, x->dims, axis, i, index, &at));
        scatter_one(&s, at, i);
    }
    return end_scatter(e, &s);
}

ptqc_status
pq_eval_scatter_nd(pq_eval *e)
{
    tuples t;
    scatter s;
    PQ_TRY(init_tuples(e, &t));
    if (t.count * t.inner != pq_tensor_count(&e->in[2]) || t.batch_dims != 0) {
        return pq_eval_fail(e, PTQC_E_INPUT, "shapes do not match");
    }
    PQ_TRY(begin_scatter(e, &s));
    for (int64_t i = 0; i < t.count; i++) {
        int64_t at;
        PQ_TRY(tuple_offset(e, &t, i, &at));
        for (int64_t k = 0; k < t.inner; k++) {
            scatter_one(&s, at + k, i * t.inner + k);
        }
    }
    return end_scatter(e, &s);
}

// ---- one_hot --------------------------------------------------------------

const char *
pq_rule_one_hot(pq_graph *g, const pq_op *op)
{
    const pq_value *values = pq_graph_value(g, op->inputs[1]);
    const pq_value *y = pq_graph_value(g, op->outputs[0]);
    return values->type.dtype == y->type.dtype ? NULL
                                               : "values and output differ in "
                                                 "type";
}

// y [outer][depth][inner] = values[1] where depth == index, else values[0].
ptqc_status
pq_eval_one_hot(pq_eval *e)
{
    const pq_tensor *ids = &e->in[0], *y = &e->out[0];
    uint32_t axis;
    const int64_t *index;
    PQ_TRY(pq_eval_axis(e, -1, y->rank, &axis));
    PQ_TRY(pq_in_i64(e, 0, &index));
    int64_t depth = y->dims[axis];
    int64_t inner = pq_size_product(y->dims, axis + 1, y->rank);
    size_t size = pq_dtype_bits(y->dtype) / 8;
    if (pq_tensor_count(ids) * depth != pq_tensor_count(y) ||
        pq_tensor_count(&e->in[1]) != 2) {
        return pq_eval_fail(e, PTQC_E_INPUT, "shapes do not match");
    }
    const uint8_t *values = e->in[1].p;
    int64_t n = pq_tensor_count(y);
    for (int64_t i = 0; i < n; i++) {
        int64_t d = i / inner % depth;
        int64_t id = index[i / (inner * depth) * inner + i % inner];
        bool is_on = d == (id < 0 ? id + depth : id);
        memcpy((uint8_t *)y->p + (size_t)i * size, values + (is_on ? size : 0),
               size);
    }
    return PTQC_OK;
}
