// SPDX-License-Identifier: Apache-2.0
//
// resize after ONNX Resize: nearest, linear and cubic, any axes
// (docs/numerics.md section 9).
#include <math.h>
#include <string.h>

#include "ir/interp/eval.h"
#include "ir/interp/families.h"

// Position in x of output element `o` of one axis.
static float
coordinate(const pq_eval *e, uint32_t axis, int64_t o)
{
    const pq_attr *scales = pq_op_attr(e->op, PQ_ATTR_SCALES);
    int64_t in = e->in[0].dims[axis];
    int64_t out = e->out[0].dims[axis];
    float scale = scales != NULL && axis < scales->floats.n
                      ? scales->floats.p[axis]
                      : (float)out / (float)in;
    float at = (float)o;
    switch (pq_op_i64(e->op, PQ_ATTR_COORDINATES, PQ_COORD_HALF_PIXEL)) {
    case PQ_COORD_PYTORCH_HALF_PIXEL:
        return out > 1 ? (at + 0.5f) / scale - 0.5f : 0.0f;
    case PQ_COORD_ASYMMETRIC:
        return at / scale;
    case PQ_COORD_ALIGN_CORNERS:
        return out > 1 ? at * ((float)(in - 1) / (float)(out - 1)) : 0.0f;
    default:
        return (at + 0.5f) / scale - 0.5f;
    }
}

static int64_t
clamp_index(float at, int64_t size)
{
    float t = at > 0.0f ? at : 0.0f; // NaN to 0
    return t < (float)(size - 1) ? (int64_t)t : size - 1;
}

static int64_t
nearest(const pq_eval *e, float at, int64_t size)
{
    switch (pq_op_i64(e->op, PQ_ATTR_NEAREST, PQ_NEAREST_ROUND_PREFER_FLOOR)) {
    case PQ_NEAREST_ROUND_PREFER_CEIL:
        return clamp_index(floorf(at + 0.5f), size);
    case PQ_NEAREST_FLOOR:
        return clamp_index(floorf(at), size);
    case PQ_NEAREST_CEIL:
        return clamp_index(ceilf(at), size);
    default:
        return clamp_index(ceilf(at - 0.5f), size);
    }
}

// ---- nearest: moves elements ----------------------------------------------

static ptqc_status
resize_nearest(pq_eval *e)
{
    const pq_tensor *x = &e->in[0], *y = &e->out[0];
    int64_t strides[PTQC_MAX_RANK];
    int64_t *table[PTQC_MAX_RANK]; // element offset per index of an axis
    pq_move m;
    PQ_TRY(pq_move_begin(e, &m));
    pq_dense_strides(x->dims, x->rank, strides);
    for (uint32_t a = 0; a < y->rank; a++) {
        table[a] = pq_scratch(e, y->dims[a], sizeof *table[a]);
        PQ_TRY_ALLOC(table[a]);
        for (int64_t o = 0; o < y->dims[a]; o++) {
            int64_t at = x->dims[a] == y->dims[a]
                             ? o
                             : nearest(e, coordinate(e, a, o), x->dims[a]);
            table[a][o] = at * strides[a];
        }
    }
    pq_move_tables(&m, y->dims, y->rank, table, NULL);
    return pq_move_end(e, &m);
}

// ---- linear, cubic: one axis after the other ------------------------------

// Taps of one output index: y = sum of weight * x[index], as the mode says.
typedef struct taps {
    int64_t index[4];
    float weight[4]; // linear: weight[0] only, of index[1]
} taps;

static void
linear_taps(float at, int64_t size, taps *t)
{
    float c = at > 0.0f ? at : 0.0f;
    c = c < (float)(size - 1) ? c : (float)(size - 1);
    t->index[0] = (int64_t)floorf(c);
    t->index[1] = t->index[0] + 1 < size ? t->index[0] + 1 : size - 1;
    t->weight[0] = c - floorf(c);
}

// Keys' cubic convolution with parameter a; d = distance to the tap.
static float
cubic_near(float a, float d)
{
    return ((a + 2.0f) * d - (a + 3.0f)) * d * d + 1.0f;
}

static float
cubic_far(float a, float d)
{
    return ((a * d - 5.0f * a) * d + 8.0f * a) * d - 4.0f * a;
}

static void
cubic_taps(float at, int64_t size, float a, taps *t)
{
    float base = floorf(at);
    float d = at - base;
    for (int i = 0; i < 4; i++) {
        t->index[i] = clamp_index(base + (float)(i - 1), size);
    }
    t->weight[0] = cubic_far(a, d + 1.0f);
    t->weight[1] = cubic_near(a, d);
    t->weight[2] = cubic_near(a, 1.0f - d);
    t->weight[3] = cubic_far(a, 2.0f - d);
}

static void
blend(const float *x, int64_t inner, const taps *t, bool is_cubic, float *y)
{
    const float *p[4];
    for (int k = 0; k < (is_cubic ? 4 : 2); k++) {
        p[k] = x + t->index[k] * inner;
    }
    for (int64_t i = 0; i < inner; i++) {
        if (!is_cubic) {
            y[i] = fmaf(t->weight[0], p[1][i] - p[0][i], p[0][i]);
            continue;
        }
        float v = t->weight[0] * p[0][i];
        v = fmaf(t->weight[1], p[1][i], v);
        v = fmaf(t->weight[2], p[2][i], v);
        y[i] = fmaf(t->weight[3], p[3][i], v);
    }
}

// Resamples `axis` of x (dims as given) to the output's size.
static ptqc_status
resize_axis(pq_eval *e, uint32_t axis, int64_t *dims, const float **x)
{
    uint32_t rank = e->in[0].rank;
    int64_t in = dims[axis], out = e->out[0].dims[axis];
    int64_t outer = pq_size_product(dims, 0, axis);
    int64_t inner = pq_size_product(dims, axis + 1, rank);
    bool is_cubic = pq_op_i64(e->op, PQ_ATTR_MODE, 0) == PQ_RESIZE_CUBIC;
    float a = pq_op_f32(e->op, PQ_ATTR_CUBIC_A, -0.75f);
    float *y = pq_scratch(e, outer * out * inner, sizeof *y);
    PQ_TRY_ALLOC(y);
    for (int64_t o = 0; o < out; o++) {
        taps t = {0};
        float at = coordinate(e, axis, o);
        if (is_cubic) {
            cubic_taps(at, in, a, &t);
        } else {
            linear_taps(at, in, &t);
        }
        for (int64_t i = 0; i < outer; i++) {
            blend(*x + i * in * inner, inner, &t, is_cubic,
                  y + (i * out + o) * inner);
        }
    }
    dims[axis] = out;
    *x = y;
    return PTQC_OK;
}

const char *
pq_rule_resize(pq_graph *g, const pq_op *op)
{
    uint32_t kind = pq_value_kind(g, op->inputs[0]);
    bool is_nearest = pq_op_i64(op, PQ_ATTR_MODE, 0) == PQ_RESIZE_NEAREST;
    if (!is_nearest && (kind & (PQ_KIND_FLOAT | PQ_KIND_QUANT)) == 0) {
        return "interpolation is for f32, f16, bf16 and codes";
    }
    return pq_rule_move(g, op);
}

ptqc_status
pq_eval_resize(pq_eval *e)
{
    const pq_tensor *x = &e->in[0], *y = &e->out[0];
    if (x->rank != y->rank ||
        (pq_tensor_count(x) == 0 && pq_tensor_count(y) != 0)) {
        return pq_eval_fail(e, PTQC_E_INPUT, "nothing to resize");
    }
    if (pq_tensor_count(y) == 0) {
        return PTQC_OK;
    }
    if (pq_op_i64(e->op, PQ_ATTR_MODE, 0) == PQ_RESIZE_NEAREST) {
        return resize_nearest(e);
    }
    const float *from;
    float *to;
    int64_t dims[PTQC_MAX_RANK];
    memcpy(dims, x->dims, sizeof dims);
    PQ_TRY(pq_in_f32(e, 0, &from));
    PQ_TRY(pq_out_f32(e, 0, &to));
    for (uint32_t a = x->rank; a-- > 0;) {
        if (dims[a] != y->dims[a]) {
            PQ_TRY(resize_axis(e, a, dims, &from));
        }
    }
    memmove(to, from, (size_t)pq_tensor_count(y) * sizeof *to);
    return pq_end_f32(e, 0, to);
}
