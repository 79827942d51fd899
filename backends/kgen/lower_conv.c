// SPDX-License-Identifier: Apache-2.0
//
// Windows of convolutions (lower_conv.h).
#include "lower_conv.h"

// Attribute over the spatial axes, into the last of the three.
static void
read_spatial(pq_lower *l, const char *name, uint32_t spatial, int64_t low,
             int64_t *out)
{
    int64_t list[2 * PTQC_MAX_RANK];
    uint32_t count;
    if (!pq_attr_i64s(l, name, list, 2 * PTQC_MAX_RANK, &count) || count == 0) {
        return;
    }
    if (count < spatial) {
        pq_decline(l, "%s of %u elements", name, count);
        return;
    }
    for (uint32_t i = 0; i < spatial; i++) {
        if (list[i] < low || list[i] > INT32_MAX) {
            pq_decline(l, "%s %lld", name, (long long)list[i]);
        }
        out[3 - spatial + i] = list[i];
    }
}

bool
pq_lower_conv_window(pq_lower *l, pq_lower_window *d)
{
    const ptqc_gb_value *x = pq_in(l, 0), *w = pq_in(l, 1);
    const ptqc_gb_value *y = pq_out(l, 0);
    if (x == NULL || w == NULL || x->rank < 3 || x->rank > 5 ||
        w->rank != x->rank || y->rank != x->rank) {
        pq_decline(l, "rank");
        return false;
    }
    uint32_t spatial = x->rank - 2;
    *d = (pq_lower_window){
        .spatial = spatial,
        .kernel = {1, 1, 1},
        .stride = {1, 1, 1},
        .dilation = {1, 1, 1},
        .is_transposed =
            ptqc_gb_text_is(l->g, pq_lower_node(l)->op, "conv_transpose"),
    };
    d->groups = pq_attr_i64(l, "group", 1);
    int64_t w0, w1;
    if (!pq_gv_dim_const(l, x, 1, &d->in_channels) ||
        !pq_gv_dim_const(l, w, 0, &w0) || !pq_gv_dim_const(l, w, 1, &w1) ||
        d->groups < 1 || d->groups > d->in_channels || w0 < 1 || w1 < 1 ||
        w1 > INT32_MAX / d->groups) {
        pq_decline(l, "channels have to be known");
        return false;
    }
    d->out_channels = d->is_transposed ? w1 * d->groups : w0;
    bool fits = d->is_transposed ? w0 == d->in_channels
                                 : w1 * d->groups == d->in_channels;
    for (uint32_t i = 0; i < spatial; i++) {
        fits =
            fits && pq_gv_dim_const(l, w, 2 + i, &d->kernel[3 - spatial + i]);
    }
    if (!fits) {
        pq_decline(l, "shape of the weights");
        return false;
    }
    read_spatial(l, "strides", spatial, 1, d->stride);
    read_spatial(l, "dilations", spatial, 1, d->dilation);
    read_spatial(l, "pads", spatial, INT32_MIN, d->pad_begin);
    return pq_lower_ok(l);
}
