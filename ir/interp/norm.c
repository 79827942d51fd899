// SPDX-License-Identifier: Apache-2.0
//
// Softmax and normalizations (docs/numerics.md section 7).
#include <math.h>
#include <string.h>

#include "base/mathfn.h"
#include "ir/interp/eval.h"
#include "ir/interp/families.h"

// A tensor around one axis: [outer][length][inner].
typedef struct lines {
    int64_t outer, length, inner;
} lines;

static ptqc_status
init_lines(pq_eval *e, int64_t default_axis, lines *out)
{
    const pq_tensor *x = &e->in[0];
    uint32_t axis;
    PQ_TRY(pq_eval_axis(e, default_axis, x->rank, &axis));
    out->outer = pq_size_product(x->dims, 0, axis);
    out->length = x->dims[axis];
    out->inner = pq_size_product(x->dims, axis + 1, x->rank);
    return PTQC_OK;
}

typedef void (*line_fn)(const pq_eval *e, const float *x, float *y, int64_t n);

// Runs fn over every line along AXIS.
static ptqc_status
each_line(pq_eval *e, line_fn fn)
{
    lines l;
    const float *x;
    float *y;
    PQ_TRY(init_lines(e, -1, &l));
    PQ_TRY(pq_in_f32(e, 0, &x));
    PQ_TRY(pq_out_f32(e, 0, &y));
    float *from = pq_scratch(e, l.length, sizeof *from);
    PQ_TRY_ALLOC(from);
    float *to = pq_scratch(e, l.length, sizeof *to);
    PQ_TRY_ALLOC(to);
    for (int64_t i = 0; i < l.outer * l.inner; i++) {
        int64_t at = i / l.inner * l.length * l.inner + i % l.inner;
        for (int64_t k = 0; k < l.length; k++) {
            from[k] = x[at + k * l.inner];
        }
        fn(e, from, to, l.length);
        for (int64_t k = 0; k < l.length; k++) {
            y[at + k * l.inner] = to[k];
        }
    }
    return pq_end_f32(e, 0, y);
}

static void
softmax_line(const pq_eval *e, const float *x, float *y, int64_t n)
{
    (void)e;
    pq_softmax_row(x, y, n);
}

static void
log_softmax_line(const pq_eval *e, const float *x, float *y, int64_t n)
{
    (void)e;
    pq_log_softmax_row(x, y, n);
}

static void
lp_line(const pq_eval *e, const float *x, float *y, int64_t n)
{
    float norm = pq_op_i64(e->op, PQ_ATTR_P, 2) == 1
                     ? pq_lane_sum_abs(x, n)
                     : sqrtf(pq_lane_sum_squares(x, n));
    for (int64_t i = 0; i < n; i++) {
        y[i] = norm == 0.0f ? 0.0f : x[i] / norm; // all elements are zeros
    }
}

// s = window of squares, ascending channels; x / pow(bias + a / size * s, b).
static void
lrn_line(const pq_eval *e, const float *x, float *y, int64_t n)
{
    int64_t size = pq_op_i64(e->op, PQ_ATTR_SIZE, 1);
    float alpha = pq_op_f32(e->op, PQ_ATTR_ALPHA, 0.0001f);
    float beta = pq_op_f32(e->op, PQ_ATTR_BETA, 0.75f);
    float bias = pq_op_f32(e->op, PQ_ATTR_BIAS, 1.0f);
    float k = alpha / (float)size;
    for (int64_t c = 0; c < n; c++) {
        int64_t begin = c - (size - 1) / 2;
        int64_t end = c + size / 2;
        float s = 0.0f;
        for (int64_t i = begin < 0 ? 0 : begin; i <= end && i < n; i++) {
            s = fmaf(x[i], x[i], s);
        }
        float scaled = k * s;
        y[c] = x[c] / pq_powf(bias + scaled, beta);
    }
}

ptqc_status
pq_eval_softmax(pq_eval *e)
{
    return each_line(e, e->op->code == PQ_OP_SOFTMAX ? softmax_line
                                                     : log_softmax_line);
}

ptqc_status
pq_eval_lp_norm(pq_eval *e)
{
    int64_t p = pq_op_i64(e->op, PQ_ATTR_P, 2);
    if (p != 1 && p != 2) {
        return pq_eval_fail(e, PTQC_E_UNSUPPORTED, "p = %lld", (long long)p);
    }
    return each_line(e, lp_line);
}

// ---- mean and variance ----------------------------------------------------

// t = (x - mean) / sqrt(var + eps)
static void
standardize(const float *x, int64_t n, float epsilon, float *t)
{
    float mean = pq_lane_sum(x, n) / (float)n;
    for (int64_t i = 0; i < n; i++) {
        t[i] = x[i] - mean;
    }
    float var = pq_lane_sum_squares(t, n) / (float)n;
    float r = 1.0f / sqrtf(var + epsilon);
    for (int64_t i = 0; i < n; i++) {
        t[i] *= r;
    }
}

static void
root_mean_square(const float *x, int64_t n, float epsilon, float *t)
{
    float mean = pq_lane_sum_squares(x, n) / (float)n;
    float r = 1.0f / sqrtf(mean + epsilon);
    for (int64_t i = 0; i < n; i++) {
        t[i] = x[i] * r;
    }
}

// y = t * scale + bias, one pair for `run` elements.
static void
scale_run(float *t, int64_t run, float scale, const float *bias)
{
    for (int64_t i = 0; i < run; i++) {
        t[i] = bias != NULL ? fmaf(t[i], scale, *bias) : t[i] * scale;
    }
}

// Operands of a norm: pairs (scale, bias), each for `run` elements of a row.
typedef struct norm {
    int64_t rows, length; // a row is normalized together
    int64_t run;
    int64_t pairs; // pairs in all; row r begins at pair r * length / run
    const float *x, *scale, *bias;
    float *y;
    float epsilon;
} norm;

static ptqc_status
init_operands(pq_eval *e, norm *m)
{
    m->epsilon = pq_op_f32(e->op, PQ_ATTR_EPSILON, 1e-5f);
    PQ_TRY(pq_in_f32(e, 0, &m->x));
    PQ_TRY(pq_in_f32(e, 1, &m->scale));
    if (pq_has_in(e, 2)) {
        PQ_TRY(pq_in_f32(e, 2, &m->bias));
    }
    bool is_bias_wrong =
        m->bias != NULL && pq_tensor_count(&e->in[2]) != m->pairs;
    if (pq_tensor_count(&e->in[1]) != m->pairs || is_bias_wrong) {
        return pq_eval_fail(e, PTQC_E_INPUT,
                            "scale or bias has not %lld elements",
                            (long long)m->pairs);
    }
    return pq_out_f32(e, 0, &m->y);
}

static ptqc_status
run_norm(pq_eval *e, const norm *m)
{
    int64_t per_row = m->run > 0 ? m->length / m->run : 0;
    for (int64_t r = 0; r < m->rows; r++) {
        const float *x = m->x + r * m->length;
        float *y = m->y + r * m->length;
        if (e->op->code == PQ_OP_RMS_NORM) {
            root_mean_square(x, m->length, m->epsilon, y);
        } else {
            standardize(x, m->length, m->epsilon, y);
        }
        for (int64_t i = 0; i < per_row; i++) {
            int64_t pair = (r * per_row + i) % m->pairs;
            scale_run(y + i * m->run, m->run, m->scale[pair],
                      m->bias != NULL ? m->bias + pair : NULL);
        }
    }
    return pq_end_f32(e, 0, m->y);
}

// layer_norm, rms_norm: rows are axes AXIS.., one pair per element.
ptqc_status
pq_eval_row_norm(pq_eval *e)
{
    const pq_tensor *x = &e->in[0];
    uint32_t axis;
    PQ_TRY(pq_eval_axis(e, -1, x->rank, &axis));
    norm m = {.rows = pq_size_product(x->dims, 0, axis),
              .length = pq_size_product(x->dims, axis, x->rank),
              .run = 1};
    m.pairs = m.length;
    PQ_TRY(init_operands(e, &m));
    return run_norm(e, &m);
}

// instance_norm, group_norm: rows are groups of channels of one image.
ptqc_status
pq_eval_group_norm(pq_eval *e)
{
    const pq_tensor *x = &e->in[0];
    if (x->rank < 2) {
        return pq_eval_fail(e, PTQC_E_INPUT, "x has rank %u", x->rank);
    }
    int64_t channels = x->dims[1];
    int64_t groups = e->op->code == PQ_OP_INSTANCE_NORM
                         ? channels
                         : pq_op_i64(e->op, PQ_ATTR_GROUP, 1);
    if (channels > 0 && (groups < 1 || channels % groups != 0)) {
        return pq_eval_fail(e, PTQC_E_INPUT, "%lld groups of %lld channels",
                            (long long)groups, (long long)channels);
    }
    norm m = {.rows = x->dims[0] * groups,
              .run = pq_size_product(x->dims, 2, x->rank),
              .pairs = channels};
    m.length = groups > 0 ? channels / groups * m.run : 0;
    PQ_TRY(init_operands(e, &m));
    return run_norm(e, &m);
}

// k = scale / sqrt(var + eps); y = fma(x - mean, k, bias)
ptqc_status
pq_eval_batch_norm(pq_eval *e)
{
    const pq_tensor *x = &e->in[0];
    const float *p[5];
    float *y;
    int64_t channels = x->rank > 1 ? x->dims[1] : 0;
    for (uint32_t i = 0; i < 5; i++) {
        PQ_TRY(pq_in_f32(e, i, &p[i]));
        if (i > 0 && pq_tensor_count(&e->in[i]) != channels) {
            return pq_eval_fail(e, PTQC_E_INPUT,
                                "input %u has not %lld elements", i,
                                (long long)channels);
        }
    }
    PQ_TRY(pq_out_f32(e, 0, &y));
    float epsilon = pq_op_f32(e->op, PQ_ATTR_EPSILON, 1e-5f);
    int64_t run = pq_size_product(x->dims, 2, x->rank);
    for (int64_t r = 0; r < x->dims[0] * channels; r++) {
        int64_t c = r % channels;
        float k = p[1][c] * (1.0f / sqrtf(p[4][c] + epsilon));
        for (int64_t i = r * run; i < (r + 1) * run; i++) {
            y[i] = fmaf(p[0][i] - p[3][c], k, p[2][c]);
        }
    }
    return pq_end_f32(e, 0, y);
}

// AXIS is not an attribute of lrn: channels are axis 1.
ptqc_status
pq_eval_lrn(pq_eval *e)
{
    const pq_tensor *x = &e->in[0];
    const float *from;
    float *y;
    if (x->rank < 2 || pq_op_i64(e->op, PQ_ATTR_SIZE, 1) < 1) {
        return pq_eval_fail(e, PTQC_E_INPUT, "rank %u or size", x->rank);
    }
    PQ_TRY(pq_in_f32(e, 0, &from));
    PQ_TRY(pq_out_f32(e, 0, &y));
    int64_t n = x->dims[1];
    int64_t inner = pq_size_product(x->dims, 2, x->rank);
    float *line = pq_scratch(e, 2 * n, sizeof *line);
    PQ_TRY_ALLOC(line);
    for (int64_t i = 0; i < x->dims[0] * inner; i++) {
        int64_t at = i / inner * n * inner + i % inner;
        for (int64_t k = 0; k < n; k++) {
            line[k] = from[at + k * inner];
        }
        lrn_line(e, line, line + n, n);
        for (int64_t k = 0; k < n; k++) {
            y[at + k * inner] = line[n + k];
        }
    }
    return pq_end_f32(e, 0, y);
}
