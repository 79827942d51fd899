// SPDX-License-Identifier: Apache-2.0
//
// Order and position: arg_max, arg_min, topk, cumsum, range, shape.
// Comparisons are made on 64-bit keys, in which every type's order is that
// of signed integers and NaN is the best of all.
#include <stdlib.h>
#include <string.h>

#include "base/dtype.h"
#include "base/mathfn.h"
#include "ir/interp/eval.h"
#include "ir/interp/families.h"

// Larger key = better. `sign` -1 looks for the smallest.
static int64_t
key_f32(float x, bool is_smallest)
{
    if (x != x) {
        return INT64_MAX;
    }
    x = x == 0.0f ? 0.0f : x; // -0 equals +0
    int64_t u = (int64_t)pq_f32_bits(is_smallest ? -x : x);
    u = x == 0.0f ? 0 : u;
    return u < INT64_C(0x80000000) ? u : INT64_C(0x80000000) - u;
}

static int64_t
key_f64(double x, bool is_smallest)
{
    if (x != x) {
        return INT64_MAX;
    }
    x = is_smallest ? -x : x;
    uint64_t u = x == 0.0 ? 0 : pq_f64_bits(x);
    return u >> 63 == 0 ? (int64_t)u : -(int64_t)(u & (UINT64_MAX >> 1));
}

static ptqc_status
make_keys(pq_eval *e, bool is_smallest, int64_t **out)
{
    int64_t n = pq_tensor_count(&e->in[0]);
    int64_t *key = pq_scratch(e, n, sizeof *key);
    PQ_TRY_ALLOC(key);
    pq_work work = pq_in_work(e, 0);
    if (work == PQ_WORK_F32) {
        const float *x;
        PQ_TRY(pq_in_f32(e, 0, &x));
        for (int64_t i = 0; i < n; i++) {
            key[i] = key_f32(x[i], is_smallest);
        }
    } else if (work == PQ_WORK_F64) {
        const double *x = e->in[0].p;
        for (int64_t i = 0; i < n; i++) {
            key[i] = key_f64(x[i], is_smallest);
        }
    } else {
        const int64_t *x;
        PQ_TRY(pq_in_i64(e, 0, &x));
        for (int64_t i = 0; i < n; i++) {
            int64_t k = work == PQ_WORK_U64
                            ? (int64_t)((uint64_t)x[i] ^ (UINT64_C(1) << 63))
                            : x[i];
            key[i] = is_smallest ? ~k : k; // ~ reverses the order
        }
    }
    *out = key;
    return PTQC_OK;
}

ptqc_status
pq_eval_arg_reduce(pq_eval *e)
{
    const pq_tensor *x = &e->in[0];
    uint32_t axis;
    int64_t *key, *y;
    PQ_TRY(pq_eval_axis(e, 0, x->rank, &axis));
    PQ_TRY(make_keys(e, e->op->code == PQ_OP_ARG_MIN, &key));
    PQ_TRY(pq_out_i64(e, 0, &y));
    bool is_last = pq_op_i64(e->op, PQ_ATTR_LAST, 0) != 0;
    int64_t n = x->dims[axis];
    int64_t inner = pq_size_product(x->dims, axis + 1, x->rank);
    int64_t lines = pq_size_product(x->dims, 0, axis) * inner;
    if (n == 0 && lines > 0) {
        return pq_eval_fail(e, PTQC_E_INPUT, "the axis is empty");
    }
    for (int64_t i = 0; i < lines; i++) {
        const int64_t *line = key + i / inner * n * inner + i % inner;
        int64_t best = 0;
        for (int64_t k = 1; k < n; k++) {
            int64_t a = line[k * inner], b = line[best * inner];
            best = a > b || (is_last && a == b) ? k : best;
        }
        y[i] = best;
    }
    return pq_end_i64(e, 0, y);
}

// ---- topk -----------------------------------------------------------------

typedef struct ranked {
    int64_t key, index;
} ranked;

static int
by_rank(const void *pa, const void *pb)
{
    const ranked *a = pa, *b = pb;
    if (a->key != b->key) {
        return a->key > b->key ? -1 : 1;
    }
    return a->index < b->index ? -1 : a->index > b->index;
}

// Always sorted, whatever SORTED says.
ptqc_status
pq_eval_topk(pq_eval *e)
{
    const pq_tensor *x = &e->in[0], *y = &e->out[0];
    uint32_t axis;
    int64_t *key, *index;
    pq_move m;
    PQ_TRY(pq_eval_axis(e, -1, x->rank, &axis));
    PQ_TRY(make_keys(e, pq_op_i64(e->op, PQ_ATTR_LARGEST, 1) == 0, &key));
    PQ_TRY(pq_out_i64(e, 1, &index));
    PQ_TRY(pq_move_begin(e, &m));
    int64_t n = x->dims[axis], k = y->dims[axis];
    if (k > n) {
        return pq_eval_fail(e, PTQC_E_INPUT, "k is %lld, the axis %lld",
                            (long long)k, (long long)n);
    }
    ranked *line = pq_scratch(e, n, sizeof *line);
    PQ_TRY_ALLOC(line);
    int64_t inner = pq_size_product(x->dims, axis + 1, x->rank);
    int64_t lines = pq_size_product(x->dims, 0, axis) * inner;
    for (int64_t i = 0; i < lines; i++) {
        int64_t from = i / inner * n * inner + i % inner;
        int64_t to = i / inner * k * inner + i % inner;
        for (int64_t j = 0; j < n; j++) {
            line[j] = (ranked){key[from + j * inner], j};
        }
        qsort(line, (size_t)n, sizeof *line, by_rank);
        for (int64_t j = 0; j < k; j++) {
            int64_t src = from + line[j].index * inner;
            int64_t dst = to + j * inner;
            index[dst] = line[j].index;
            memcpy(m.dst + (size_t)dst * m.size, m.src + (size_t)src * m.size,
                   m.size);
        }
    }
    PQ_TRY(pq_end_i64(e, 1, index));
    return pq_move_end(e, &m);
}

// ---- cumsum ---------------------------------------------------------------

// One line, element k at p[k * step]; y as x.
typedef struct line {
    int64_t n, step;
    bool is_exclusive, is_reverse;
} line;

static int64_t
line_at(const line *l, int64_t k)
{
    return (l->is_reverse ? l->n - 1 - k : k) * l->step;
}

static void
cumsum_f32(const line *l, const float *x, float *y)
{
    float sum = 0.0f;
    for (int64_t k = 0; k < l->n; k++) {
        int64_t at = line_at(l, k);
        float next = sum + x[at];
        y[at] = l->is_exclusive ? sum : next;
        sum = next;
    }
}

static void
cumsum_f64(const line *l, const double *x, double *y)
{
    double sum = 0.0;
    for (int64_t k = 0; k < l->n; k++) {
        int64_t at = line_at(l, k);
        double next = sum + x[at];
        y[at] = l->is_exclusive ? sum : next;
        sum = next;
    }
}

static void
cumsum_i64(const line *l, const int64_t *x, int64_t *y)
{
    uint64_t sum = 0;
    for (int64_t k = 0; k < l->n; k++) {
        int64_t at = line_at(l, k);
        uint64_t next = sum + (uint64_t)x[at];
        y[at] = (int64_t)(l->is_exclusive ? sum : next);
        sum = next;
    }
}

ptqc_status
pq_eval_cumsum(pq_eval *e)
{
    const pq_tensor *x = &e->in[0];
    uint32_t axis;
    PQ_TRY(pq_eval_axis(e, 0, x->rank, &axis));
    int64_t inner = pq_size_product(x->dims, axis + 1, x->rank);
    int64_t lines = pq_size_product(x->dims, 0, axis) * inner;
    line l = {x->dims[axis], inner, pq_op_i64(e->op, PQ_ATTR_EXCLUSIVE, 0) != 0,
              pq_op_i64(e->op, PQ_ATTR_REVERSE, 0) != 0};
    pq_work work = pq_in_work(e, 0);
    const float *xf = NULL;
    float *yf = NULL;
    const int64_t *xi = NULL;
    int64_t *yi = NULL;
    if (work == PQ_WORK_F32) {
        PQ_TRY(pq_in_f32(e, 0, &xf));
        PQ_TRY(pq_out_f32(e, 0, &yf));
    } else if (work != PQ_WORK_F64) {
        PQ_TRY(pq_in_i64(e, 0, &xi));
        PQ_TRY(pq_out_i64(e, 0, &yi));
    }
    for (int64_t i = 0; i < lines; i++) {
        int64_t at = i / inner * l.n * inner + i % inner;
        if (work == PQ_WORK_F32) {
            cumsum_f32(&l, xf + at, yf + at);
        } else if (work == PQ_WORK_F64) {
            cumsum_f64(&l, (const double *)x->p + at,
                       (double *)e->out[0].p + at);
        } else {
            cumsum_i64(&l, xi + at, yi + at);
        }
    }
    if (work == PQ_WORK_F32) {
        return pq_end_f32(e, 0, yf);
    }
    return work == PQ_WORK_F64 ? PTQC_OK : pq_end_i64(e, 0, yi);
}

// ---- range, shape ---------------------------------------------------------

ptqc_status
pq_eval_range(pq_eval *e)
{
    const pq_attr *a = pq_op_attr(e->op, PQ_ATTR_START);
    int64_t start = 0;
    int64_t delta = pq_op_i64(e->op, PQ_ATTR_DELTA, 1);
    if (a != NULL && a->dims.n > 0) {
        PQ_TRY(pq_dim_eval(e->g, a->dims.p[0], e->symbols, &start));
    }
    int64_t n = pq_tensor_count(&e->out[0]);
    int64_t *v = pq_scratch(e, n, sizeof *v);
    PQ_TRY_ALLOC(v);
    for (int64_t i = 0; i < n; i++) {
        v[i] = (int64_t)((uint64_t)start + (uint64_t)i * (uint64_t)delta);
    }
    return pq_store_i64_as(e, 0, v);
}

ptqc_status
pq_eval_shape(pq_eval *e)
{
    const pq_tensor *x = &e->in[0];
    if (pq_tensor_count(&e->out[0]) != (int64_t)x->rank) {
        return pq_eval_fail(e, PTQC_E_INPUT, "the input has rank %u", x->rank);
    }
    int64_t *y;
    PQ_TRY(pq_out_i64(e, 0, &y));
    memcpy(y, x->dims, x->rank * sizeof *y);
    return pq_end_i64(e, 0, y);
}
