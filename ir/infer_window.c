// SPDX-License-Identifier: Apache-2.0
//
// Inference of convolutions and pooling. Spatial output size:
//   conv, pool       (in + pads - (dilation * (kernel - 1) + 1)) / stride + 1
//   conv_transpose   (in - 1) * stride - pads + dilation * (kernel - 1) + 1
//                    + output_padding
#include "ir/dim_bounds.h"
#include "ir/infer.h"

enum { MAX_SPATIAL = PTQC_MAX_RANK - 2 };

typedef struct window {
    uint32_t spatial; // axes
    int64_t strides[MAX_SPATIAL], dilations[MAX_SPATIAL];
    int64_t pads[2 * MAX_SPATIAL]; // begins, then ends
    pq_dim kernel[MAX_SPATIAL];
} window;

static ptqc_status
read_window(const pq_infer *c, window *out)
{
    PQ_TRY(pq_infer_rank(c, 0, 3, PTQC_MAX_RANK));
    out->spatial = pq_infer_in(c, 0)->type.rank - 2;
    PQ_TRY(pq_infer_ints(c, PQ_ATTR_STRIDES, out->spatial, 1, 1, out->strides));
    PQ_TRY(pq_infer_ints(c, PQ_ATTR_DILATIONS, out->spatial, 1, 1,
                         out->dilations));
    return pq_infer_ints(c, PQ_ATTR_PADS, 2 * out->spatial, 0, 0, out->pads);
}

// dilation * (kernel - 1) + 1
static pq_dim
extent(pq_graph *g, const window *w, uint32_t i)
{
    pq_dim d = pq_dim_with(g, PQ_DIM_SUB, w->kernel[i], 1);
    d = pq_dim_with(g, PQ_DIM_MUL, d, w->dilations[i]);
    return pq_dim_with(g, PQ_DIM_ADD, d, 1);
}

static int64_t
pads_of(const window *w, uint32_t i)
{
    return w->pads[i] + w->pads[w->spatial + i];
}

static ptqc_status
check_window(const pq_infer *c, uint32_t i, pq_dim in, pq_dim out)
{
    if (pq_dim_is_none(out)) {
        return pq_graph_failure(c->g);
    }
    if (pq_dim_range(c->g, in).min >= 1 && pq_dim_range(c->g, out).max < 1) {
        return pq_infer_refuse(c, 0,
                               "spatial axis %u is smaller than the "
                               "window",
                               i);
    }
    return PTQC_OK;
}

ptqc_dtype
pq_infer_product_dtype(const pq_infer *c)
{
    const pq_value *x = pq_infer_in(c, 0);
    const pq_value *w = pq_infer_in(c, 1);
    if (pq_value_has_codes(x)) {
        return PTQC_F32;
    }
    switch (x->type.dtype) {
    case PTQC_I8:
    case PTQC_U8:
    case PTQC_I4:
    case PTQC_U4:
        return pq_value_has_codes(w) ? PTQC_F32 : PTQC_I32;
    default: // a type of its own
        return x->type.dtype;
    }
}

static ptqc_status
read_kernel(const pq_infer *c, window *w)
{
    const pq_type *t = &pq_infer_in(c, 1)->type;
    PQ_TRY(pq_infer_rank(c, 1, w->spatial + 2, w->spatial + 2));
    for (uint32_t i = 0; i < w->spatial; i++) {
        w->kernel[i] = t->dims[i + 2];
        const pq_attr *a = pq_op_attr(c->op, PQ_ATTR_KERNEL);
        if (a != NULL) {
            PQ_TRY(pq_infer_dim(
                c, 1, i + 2,
                pq_dim_const(c->g,
                             pq_op_int_at(c->op, PQ_ATTR_KERNEL, i, -1))));
        }
        if (pq_dim_range(c->g, w->kernel[i]).max < 1) {
            return pq_infer_refuse(c, 1, "the kernel is empty");
        }
    }
    return PTQC_OK;
}

static ptqc_status
check_divides(const pq_infer *c, pq_dim n, int64_t group)
{
    int64_t value;
    if (pq_dim_is_const(c->g, n, &value) && value % group != 0) {
        return pq_infer_refuse(c, 1, "group %lld does not divide %lld channels",
                               (long long)group, (long long)value);
    }
    return PTQC_OK;
}

ptqc_status
pq_infer_conv(pq_infer *c)
{
    window w;
    int64_t group;
    pq_infer_out *out = &c->out[0];
    PQ_TRY(read_window(c, &w));
    PQ_TRY(read_kernel(c, &w));
    PQ_TRY(pq_infer_int(c, PQ_ATTR_GROUP, 1, INT32_MAX, 1, &group));
    const pq_type *xt = &pq_infer_in(c, 0)->type;
    const pq_type *wt = &pq_infer_in(c, 1)->type;
    PQ_TRY(pq_infer_dim(c, 0, 1,
                        pq_dim_with(c->g, PQ_DIM_MUL, wt->dims[1], group)));
    PQ_TRY(check_divides(c, wt->dims[0], group));
    PQ_TRY(pq_infer_vector(c, 2, wt->dims[0]));
    out->dtype = pq_infer_product_dtype(c);
    out->rank = xt->rank;
    out->dims[0] = xt->dims[0];
    out->dims[1] = wt->dims[0];
    for (uint32_t i = 0; i < w.spatial; i++) {
        pq_dim d =
            pq_dim_with(c->g, PQ_DIM_ADD, xt->dims[i + 2], pads_of(&w, i));
        d = pq_dim_make(c->g, PQ_DIM_SUB, d, extent(c->g, &w, i));
        d = pq_dim_with(c->g, PQ_DIM_DIV, d, w.strides[i]);
        out->dims[i + 2] = pq_dim_with(c->g, PQ_DIM_ADD, d, 1);
        PQ_TRY(check_window(c, i, xt->dims[i + 2], out->dims[i + 2]));
    }
    return pq_infer_like_output(c, 3);
}

ptqc_status
pq_infer_conv_transpose(pq_infer *c)
{
    window w;
    int64_t group;
    int64_t more[MAX_SPATIAL];
    pq_infer_out *out = &c->out[0];
    PQ_TRY(read_window(c, &w));
    PQ_TRY(read_kernel(c, &w));
    PQ_TRY(pq_infer_int(c, PQ_ATTR_GROUP, 1, INT32_MAX, 1, &group));
    PQ_TRY(pq_infer_ints(c, PQ_ATTR_OUTPUT_PADDING, w.spatial, 0, 0, more));
    const pq_type *xt = &pq_infer_in(c, 0)->type;
    const pq_type *wt = &pq_infer_in(c, 1)->type;
    PQ_TRY(pq_infer_dim(c, 0, 1, wt->dims[0]));
    PQ_TRY(check_divides(c, wt->dims[0], group));
    out->dtype = pq_infer_product_dtype(c);
    out->rank = xt->rank;
    out->dims[0] = xt->dims[0];
    out->dims[1] = pq_dim_with(c->g, PQ_DIM_MUL, wt->dims[1], group);
    PQ_TRY(pq_infer_vector(c, 2, out->dims[1]));
    for (uint32_t i = 0; i < w.spatial; i++) {
        pq_dim d = pq_dim_with(c->g, PQ_DIM_SUB, xt->dims[i + 2], 1);
        d = pq_dim_with(c->g, PQ_DIM_MUL, d, w.strides[i]);
        d = pq_dim_make(c->g, PQ_DIM_ADD, d, extent(c->g, &w, i));
        d = pq_dim_with(c->g, PQ_DIM_ADD, d, more[i] - pads_of(&w, i));
        out->dims[i + 2] = d;
        PQ_TRY(check_window(c, i, xt->dims[i + 2], d));
    }
    return pq_infer_like_output(c, 3);
}

// With CEIL windows may end outside, but none starts in the padding at the
// end: at most ceil((in + begin) / stride) windows.
static pq_dim
pooled(pq_infer *c, const window *w, uint32_t i, bool is_ceil)
{
    pq_graph *g = c->g;
    pq_dim in = pq_infer_in(c, 0)->type.dims[i + 2];
    pq_dim d = pq_dim_with(g, PQ_DIM_ADD, in, pads_of(w, i));
    d = pq_dim_make(g, PQ_DIM_SUB, d, extent(g, w, i));
    d = pq_dim_with(g, is_ceil ? PQ_DIM_CDIV : PQ_DIM_DIV, d, w->strides[i]);
    d = pq_dim_with(g, PQ_DIM_ADD, d, 1);
    if (!is_ceil) {
        return d;
    }
    pq_dim most = pq_dim_with(g, PQ_DIM_ADD, in, w->pads[i]);
    most = pq_dim_with(g, PQ_DIM_CDIV, most, w->strides[i]);
    return pq_dim_make(g, PQ_DIM_MIN, d, most);
}

ptqc_status
pq_infer_pool(pq_infer *c)
{
    window w;
    int64_t kernel[MAX_SPATIAL];
    int64_t is_ceil;
    PQ_TRY(read_window(c, &w));
    PQ_TRY(pq_infer_ints(c, PQ_ATTR_KERNEL, w.spatial, 1, -1, kernel));
    PQ_TRY(pq_infer_int(c, PQ_ATTR_CEIL, 0, 1, 0, &is_ceil));
    pq_infer_copy(c, 0, 0);
    for (uint32_t i = 0; i < w.spatial; i++) {
        w.kernel[i] = pq_dim_const(c->g, kernel[i]);
        int64_t reach = w.dilations[i] * (kernel[i] - 1) + 1;
        if (w.pads[i] >= reach || w.pads[w.spatial + i] >= reach) {
            return pq_infer_refuse(c, -1,
                                   "pads: %lld and %lld are not smaller "
                                   "than the window, %lld",
                                   (long long)w.pads[i],
                                   (long long)w.pads[w.spatial + i],
                                   (long long)reach);
        }
        pq_dim d = pooled(c, &w, i, is_ceil != 0);
        PQ_TRY(check_window(c, i, c->out[0].dims[i + 2], d));
        c->out[0].dims[i + 2] = d;
    }
    return PTQC_OK;
}
