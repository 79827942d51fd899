// SPDX-License-Identifier: Apache-2.0
//
// Reductions over any set of axes: the reduced elements of one output are
// gathered in row-major order into a row (docs/numerics.md section 7).
#include <math.h>
#include <string.h>

#include "base/dtype.h"
#include "base/mathfn.h"
#include "ir/interp/eval.h"
#include "ir/interp/families.h"

// ---- rows -----------------------------------------------------------------

static float
log_sum_exp(float *x, int64_t n)
{
    float m = pq_lane_max(x, n);
    if (m != m) {
        return m;
    }
    m = fabsf(m) < INFINITY ? m : 0.0f;
    for (int64_t i = 0; i < n; i++) {
        x[i] = pq_expf(x[i] - m);
    }
    return pq_logf(pq_lane_sum(x, n)) + m;
}

// x may be overwritten.
static float
row_f32(pq_opcode code, float *x, int64_t n)
{
    switch ((int)code) {
    case PQ_OP_REDUCE_SUM:
        return pq_lane_sum(x, n);
    case PQ_OP_REDUCE_MEAN:
        return pq_lane_sum(x, n) / (float)n;
    case PQ_OP_REDUCE_MAX:
        return pq_lane_max(x, n);
    case PQ_OP_REDUCE_MIN:
        return pq_lane_min(x, n);
    case PQ_OP_REDUCE_PROD:
        return pq_lane_product(x, n);
    case PQ_OP_REDUCE_L1:
        return pq_lane_sum_abs(x, n);
    case PQ_OP_REDUCE_L2:
        return sqrtf(pq_lane_sum_squares(x, n));
    case PQ_OP_REDUCE_SUM_SQUARE:
        return pq_lane_sum_squares(x, n);
    case PQ_OP_REDUCE_LOG_SUM:
        return pq_logf(pq_lane_sum(x, n));
    default:
        return log_sum_exp(x, n);
    }
}

static double
lanes_f64(const double *x, int64_t n, bool is_product)
{
    double lane[PQ_LANES];
    for (int l = 0; l < PQ_LANES; l++) {
        lane[l] = is_product ? 1.0 : 0.0;
    }
    for (int64_t i = 0; i < n; i++) {
        double *at = &lane[i % PQ_LANES];
        *at = is_product ? *at * x[i] : *at + x[i];
    }
    for (int width = PQ_LANES / 2; width > 0; width /= 2) {
        for (int l = 0; l < width; l++) {
            double b = lane[l + width];
            lane[l] = is_product ? lane[l] * b : lane[l] + b;
        }
    }
    return lane[0];
}

static double
extreme_f64(const double *x, int64_t n, double sign)
{
    double m = -(double)INFINITY;
    for (int64_t i = 0; i < n; i++) {
        double v = x[i] * sign;
        m = m != m || v != v ? nan("") : v > m ? v : m;
    }
    return m * sign;
}

static double
row_f64(pq_opcode code, double *x, int64_t n)
{
    double m;
    switch ((int)code) {
    case PQ_OP_REDUCE_SUM:
        return lanes_f64(x, n, false);
    case PQ_OP_REDUCE_MEAN:
        return lanes_f64(x, n, false) / (double)n;
    case PQ_OP_REDUCE_MAX:
        return extreme_f64(x, n, 1.0);
    case PQ_OP_REDUCE_MIN:
        return extreme_f64(x, n, -1.0);
    case PQ_OP_REDUCE_PROD:
        return lanes_f64(x, n, true);
    case PQ_OP_REDUCE_LOG_SUM:
        return log(lanes_f64(x, n, false));
    case PQ_OP_REDUCE_LOG_SUM_EXP:
        m = extreme_f64(x, n, 1.0);
        m = isfinite(m) ? m : 0.0;
        for (int64_t i = 0; i < n; i++) {
            x[i] = exp(x[i] - m);
        }
        return log(lanes_f64(x, n, false)) + m;
    default:
        for (int64_t i = 0; i < n; i++) {
            x[i] = code == PQ_OP_REDUCE_L1 ? fabs(x[i]) : x[i] * x[i];
        }
        m = lanes_f64(x, n, false);
        return code == PQ_OP_REDUCE_L2 ? sqrt(m) : m;
    }
}

// Smallest and largest number of an integer type, as stored in 64 bits.
static int64_t
type_limit(ptqc_dtype t, bool is_max)
{
    unsigned bits = pq_dtype_bits(t);
    if (t == PTQC_BOOL) {
        return is_max;
    }
    if (!pq_dtype_is_signed(t)) {
        return is_max ? (int64_t)(UINT64_MAX >> (64 - bits)) : 0;
    }
    int64_t max = (int64_t)(UINT64_MAX >> (65 - bits));
    return is_max ? max : -max - 1;
}

static int64_t
extreme_i64(const int64_t *x, int64_t n, ptqc_dtype t, bool is_max)
{
    int64_t m = type_limit(t, !is_max);
    for (int64_t i = 0; i < n; i++) {
        bool is_less = t == PTQC_U64 ? (uint64_t)x[i] < (uint64_t)m : x[i] < m;
        m = is_less != is_max ? x[i] : m;
    }
    return m;
}

static int64_t
row_i64(pq_opcode code, const int64_t *x, int64_t n, ptqc_dtype t)
{
    uint64_t sum = 0, sum_abs = 0, squares = 0, product = 1;
    for (int64_t i = 0; i < n; i++) {
        uint64_t u = (uint64_t)x[i];
        sum += u;
        sum_abs += x[i] < 0 && t != PTQC_U64 ? 0 - u : u;
        squares += u * u;
        product *= u;
    }
    switch ((int)code) {
    case PQ_OP_REDUCE_SUM:
        return (int64_t)sum;
    case PQ_OP_REDUCE_MEAN:
        if (n == 0) {
            return 0;
        }
        return t == PTQC_U64 ? (int64_t)(sum / (uint64_t)n) : (int64_t)sum / n;
    case PQ_OP_REDUCE_MAX:
        return extreme_i64(x, n, t, true);
    case PQ_OP_REDUCE_MIN:
        return extreme_i64(x, n, t, false);
    case PQ_OP_REDUCE_PROD:
        return (int64_t)product;
    case PQ_OP_REDUCE_L1:
        return (int64_t)sum_abs;
    default:
        return (int64_t)squares;
    }
}

const char *
pq_rule_reduce(pq_graph *g, const pq_op *op)
{
    uint32_t kind = pq_value_kind(g, op->inputs[0]);
    bool is_extreme =
        op->code == PQ_OP_REDUCE_MAX || op->code == PQ_OP_REDUCE_MIN;
    if (kind == PQ_KIND_BOOL && !is_extreme) {
        return "not defined for bool";
    }
    if (kind == PQ_KIND_INT &&
        (op->code == PQ_OP_REDUCE_L2 || op->code == PQ_OP_REDUCE_LOG_SUM ||
         op->code == PQ_OP_REDUCE_LOG_SUM_EXP)) {
        return "not defined for integers";
    }
    return NULL;
}

// ---- gathering ------------------------------------------------------------

// outer walks the outputs, inner the elements of one output.
typedef struct rows {
    pq_walk outer, inner;
    int64_t n; // elements of a row
} rows;

static ptqc_status
init_rows(pq_eval *e, rows *r)
{
    const pq_tensor *x = &e->in[0];
    int64_t dense[PTQC_MAX_RANK], kept[PTQC_MAX_RANK], gone[PTQC_MAX_RANK];
    int64_t kept_stride[PTQC_MAX_RANK], gone_stride[PTQC_MAX_RANK];
    bool is_reduced[PTQC_MAX_RANK] = {false};
    const pq_attr *axes = pq_op_attr(e->op, PQ_ATTR_AXES);
    for (uint32_t i = 0; axes != NULL && i < axes->ints.n; i++) {
        int64_t a = axes->ints.p[i];
        a += a < 0 ? (int64_t)x->rank : 0;
        if (a < 0 || a >= (int64_t)x->rank) {
            return pq_eval_fail(e, PTQC_E_INPUT, "axis %lld of rank %u",
                                (long long)axes->ints.p[i], x->rank);
        }
        is_reduced[a] = true;
    }
    pq_dense_strides(x->dims, x->rank, dense);
    uint32_t kept_count = 0, gone_count = 0;
    r->n = 1;
    for (uint32_t a = 0; a < x->rank; a++) {
        if (axes == NULL || is_reduced[a]) {
            gone[gone_count] = x->dims[a];
            gone_stride[gone_count++] = dense[a];
            r->n *= x->dims[a];
        } else {
            kept[kept_count] = x->dims[a];
            kept_stride[kept_count++] = dense[a];
        }
    }
    pq_walk_init(&r->outer, kept, kept_count, kept_stride, 1);
    pq_walk_init(&r->inner, gone, gone_count, gone_stride, 1);
    return PTQC_OK;
}

// The row of the output at element `at` of x, elements of 4 or 8 bytes.
static void
gather(const rows *r, const uint8_t *x, int64_t at, size_t size, uint8_t *to)
{
    pq_walk w = r->inner;
    for (bool more = w.rows > 0; more; more = pq_walk_next(&w)) {
        pq_copy_strided(to, x + (size_t)(at + w.at[0]) * size, w.n, w.step[0],
                        size);
        to += (size_t)w.n * size;
    }
}

typedef struct target {
    pq_opcode code;
    pq_work work;
    ptqc_dtype dtype;
    void *y;
} target;

static void
reduce_row(const target *t, void *row, int64_t n, int64_t i)
{
    switch (t->work) {
    case PQ_WORK_F32:
        ((float *)t->y)[i] = row_f32(t->code, row, n);
        break;
    case PQ_WORK_F64:
        ((double *)t->y)[i] = row_f64(t->code, row, n);
        break;
    case PQ_WORK_I64:
    case PQ_WORK_U64:
        ((int64_t *)t->y)[i] = row_i64(t->code, row, n, t->dtype);
        break;
    }
}

static ptqc_status
run(pq_eval *e, rows *r, const void *x, size_t size, const target *t)
{
    uint8_t *row = pq_scratch(e, r->n, size);
    PQ_TRY_ALLOC(row);
    int64_t at = 0;
    pq_walk *w = &r->outer;
    for (bool more = w->rows > 0; more; more = pq_walk_next(w)) {
        for (int64_t i = 0; i < w->n; i++) {
            gather(r, x, w->at[0] + i * w->step[0], size, row);
            reduce_row(t, row, r->n, at++);
        }
    }
    return PTQC_OK;
}

// Mean of codes with one scale: exact sum, then one multiplication.
static ptqc_status
mean_of_codes(pq_eval *e, rows *r)
{
    const int16_t *x;
    pq_code_mean mean;
    PQ_TRY(pq_centered_i16(e, 0, &x));
    PQ_TRY(pq_code_mean_init(e, &mean));
    int16_t *row = pq_scratch(e, r->n, sizeof *row);
    PQ_TRY_ALLOC(row);
    int64_t at = 0;
    pq_walk *w = &r->outer;
    for (bool more = w->rows > 0; more; more = pq_walk_next(w)) {
        for (int64_t i = 0; i < w->n; i++) {
            gather(r, (const uint8_t *)x, w->at[0] + i * w->step[0],
                   sizeof *row, (uint8_t *)row);
            int64_t sum = 0;
            for (int64_t k = 0; k < r->n; k++) {
                sum += row[k];
            }
            pq_code_mean_store(&mean, at++, (int32_t)sum, r->n);
        }
    }
    return pq_code_mean_end(&mean);
}

ptqc_status
pq_eval_reduce(pq_eval *e)
{
    rows r;
    PQ_TRY(init_rows(e, &r));
    target t = {e->op->code, pq_in_work(e, 0), e->in[0].dtype, NULL};
    if (e->op->code == PQ_OP_REDUCE_MEAN && pq_is_code_mean(e)) {
        return mean_of_codes(e, &r);
    }
    if (t.work == PQ_WORK_F32) {
        const float *x;
        float *y;
        PQ_TRY(pq_in_f32(e, 0, &x));
        PQ_TRY(pq_out_f32(e, 0, &y));
        t.y = y;
        PQ_TRY(run(e, &r, x, sizeof *x, &t));
        return pq_end_f32(e, 0, y);
    }
    if (t.work == PQ_WORK_F64) {
        t.y = e->out[0].p;
        return run(e, &r, e->in[0].p, sizeof(double), &t);
    }
    const int64_t *x;
    int64_t *y;
    PQ_TRY(pq_in_i64(e, 0, &x));
    PQ_TRY(pq_out_i64(e, 0, &y));
    t.y = y;
    PQ_TRY(run(e, &r, x, sizeof *x, &t));
    return pq_end_i64(e, 0, y);
}
