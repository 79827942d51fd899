// SPDX-License-Identifier: Apache-2.0
//
// Lowering of pooling and resize.
//
// POOL step: x [N][spatial][C]; parameters
//     [0] kind  [1] include_pad  [2] spatial axes  [3..5] kernel
//     [6..8] strides  [9..11] dilations  [12..14] pads  [15..17] pads end
//     [18] x scale  [19] y scale  [20] x zero  [21] y zero
//     [22] lowest, [23] highest code
// RESIZE: [0] kind  [1] coordinates  [2] rounding  [3] cubic a
//     [4] spatial axes  [5..7] scales (0 = from the sizes)
#include <string.h>

#include "lower.h"
#include "params.h"

// ---- pooling ---------------------------------------------------------------

// One value per spatial axis into the last of three; absent: as it was.
static void
read_spatial(pq_lower *l, const char *name, uint32_t spatial, uint32_t skip,
             int64_t low, int64_t *out)
{
    int64_t list[2 * PTQC_MAX_RANK];
    uint32_t count;
    if (!pq_attr_i64s(l, name, list, 2 * PTQC_MAX_RANK, &count) || count == 0) {
        return;
    }
    if (count < skip + spatial) {
        pq_decline(l, "%s of %u elements", name, count);
        return;
    }
    for (uint32_t i = 0; i < spatial; i++) {
        int64_t x = list[skip + i];
        if (x < low || x > INT32_MAX) {
            pq_decline(l, "%s %lld", name, (long long)x);
        }
        out[3 - spatial + i] = x;
    }
}

typedef struct window {
    uint32_t spatial;
    int64_t kernel[3], strides[3], dilations[3], pads[3], pads_end[3];
} window;

static void
read_window(pq_lower *l, window *w)
{
    const ptqc_gb_value *x = pq_in(l, 0);
    *w = (window){
        .kernel = {1, 1, 1}, .strides = {1, 1, 1}, .dilations = {1, 1, 1}};
    if (x == NULL || x->rank < 3 || x->rank > 5 ||
        pq_out(l, 0)->rank != x->rank) {
        pq_decline(l, "rank");
        return;
    }
    w->spatial = x->rank - 2;
    read_spatial(l, "kernel", w->spatial, 0, 1, w->kernel);
    read_spatial(l, "strides", w->spatial, 0, 1, w->strides);
    read_spatial(l, "dilations", w->spatial, 0, 1, w->dilations);
    read_spatial(l, "pads", w->spatial, 0, 0, w->pads);
    read_spatial(l, "pads", w->spatial, w->spatial, 0, w->pads_end);
}

static void
write_pool(pq_lower *l, uint32_t kind, const window *w, const pq_codes *qx,
           const pq_codes *qy)
{
    pq_step_i64(l, kind);
    pq_step_i64(l, pq_attr_i64(l, "include_pad", 0) != 0);
    pq_step_i64(l, w->spatial);
    const int64_t *lists[5] = {w->kernel, w->strides, w->dilations, w->pads,
                               w->pads_end};
    for (uint32_t i = 0; i < 15; i++) {
        pq_step_i64(l, lists[i / 3][i % 3]);
    }
    pq_step_f32(l, qx->scale);
    pq_step_f32(l, qy->scale);
    pq_step_i64(l, qx->zero);
    pq_step_i64(l, qy->zero);
    pq_step_i64(l, qy->low);
    pq_step_i64(l, qy->high);
}

// Average of codes into numbers: codes of a very fine scale would not do, so
// only the window that is the whole image (a mean) has a kernel.
static bool
is_whole_image(const pq_lower *l, const window *w)
{
    const ptqc_gb_value *x = pq_in(l, 0);
    for (uint32_t i = 0; i < w->spatial; i++) {
        int64_t d;
        uint32_t a = 3 - w->spatial + i;
        if (!pq_gv_dim_const(l, x, 2 + i, &d) || d != w->kernel[a] ||
            w->pads[a] != 0 || w->pads_end[a] != 0 || w->dilations[a] != 1) {
            return false;
        }
    }
    return true;
}

static void
lower_whole_mean(pq_lower *l, const pq_codes *qx)
{
    pq_codes qy = {0.0f, 0, 0, 0};
    bool codes = pq_gv_codes(l, pq_out(l, 0), &qy);
    pq_ref x = pq_use_channels_last(l, pq_in_index(l, 0));
    pq_ref y = pq_define_channels_last(l, pq_out_index(l, 0));
    pq_step_begin(l, PQ_STEP_CODE_MEAN, "global avg_pool of codes");
    pq_step_in(l, x.value);
    pq_step_out(l, y.value);
    pq_step_i64(l, 1);
    pq_step_i64(l, pq_in(l, 0)->rank - 2);
    pq_step_i64(l, qx->zero);
    pq_step_f32(l, qx->scale);
    pq_step_i64(l, qy.zero);
    pq_step_f32(l, codes ? qy.scale : 0.0f);
}

void
pq_lower_pool(pq_lower *l)
{
    window w;
    read_window(l, &w);
    if (!pq_lower_ok(l)) {
        return;
    }
    const ptqc_gb_value *x = pq_in(l, 0), *y = pq_out(l, 0);
    bool max = ptqc_gb_text_is(l->g, pq_lower_node(l)->op, "max_pool");
    pq_codes qx, qy;
    bool codes_in = pq_gv_codes(l, x, &qx), codes_out = pq_gv_codes(l, y, &qy);
    if (codes_in && !max && is_whole_image(l, &w) &&
        (codes_out || y->dtype == PTQC_F32)) {
        lower_whole_mean(l, &qx);
        return;
    }
    bool mean_to_real = codes_in && !max && !codes_out;
    if (mean_to_real) {
        pq_decline(l, "average of codes into f32");
    }
    bool bytes = x->dtype == PTQC_U8 || x->dtype == PTQC_I8;
    bool as_is =
        max ? bytes && pq_lower_same_codes(l, x, y) : codes_in && codes_out;
    uint32_t gx = pq_in_index(l, 0), gy = pq_out_index(l, 0);
    uint8_t perm[PTQC_MAX_RANK];
    pq_perm_channels_last(perm, x->rank);
    pq_ref from = as_is ? pq_use(l, gx, perm) : pq_use_real(l, gx, perm);
    pq_ref to = as_is ? pq_define(l, gy, perm) : pq_define_real(l, gy, perm);
    pq_step_begin(l, PQ_STEP_POOL, "%s %lldx%lld",
                  max ? "max_pool" : "avg_pool", (long long)w.kernel[1],
                  (long long)w.kernel[2]);
    pq_step_in(l, from.value);
    pq_step_out(l, to.value);
    write_pool(l, max ? PQ_POOL_MAX : PQ_POOL_AVG, &w, &qx, &qy);
    if (!as_is) {
        pq_end_real(l, gy, &to);
    }
}

// ---- resize ----------------------------------------------------------------

static bool
read_scales(pq_lower *l, uint32_t rank, float *out)
{
    const ptqc_gb_attr *a = ptqc_gb_find_attr(l->g, pq_lower_node(l), "scales");
    for (uint32_t i = 0; i < rank; i++) {
        out[i] = 0.0f;
    }
    if (a == NULL || a->kind != PTQC_GB_ATTR_F32S || a->count == 0) {
        return true;
    }
    for (uint32_t i = 0; i < rank && i < a->count; i++) {
        out[i] = *(const float *)ptqc_gb_at(l->g, PTQC_GB_F32S, a->first + i);
    }
    return a->count == rank;
}

static bool
same_axis(const pq_lower *l, uint32_t axis)
{
    uint32_t a = pq_gv_dim(l, pq_in(l, 0), axis);
    uint32_t b = pq_gv_dim(l, pq_out(l, 0), axis);
    int64_t x, y;
    return a == b ||
           (pq_dim_known(l, a, &x) && pq_dim_known(l, b, &y) && x == y);
}

void
pq_lower_resize(pq_lower *l)
{
    const ptqc_gb_value *x = pq_in(l, 0), *y = pq_out(l, 0);
    float scales[PTQC_MAX_RANK];
    if (x == NULL || x->rank < 3 || x->rank > 5 || y->rank != x->rank ||
        !same_axis(l, 0) || !same_axis(l, 1)) {
        pq_decline(l, "only the axes behind batch and channels");
        return;
    }
    int64_t mode = pq_attr_i64(l, "mode", 0);
    int64_t coordinates = pq_attr_i64(l, "coordinates", 0);
    int64_t rounding = pq_attr_i64(l, "nearest", 0);
    if (mode < 0 || mode > 2 || coordinates < 0 || coordinates > 3 ||
        rounding < 0 || rounding > 3 || !read_scales(l, x->rank, scales)) {
        pq_decline(l, "mode");
        return;
    }
    if (mode == 2 && x->rank == 5) {
        pq_decline(l, "cubic mode of volumes");
    }
    bool as_is = mode == 0 && pq_lower_same_codes(l, x, y);
    uint32_t gx = pq_in_index(l, 0), gy = pq_out_index(l, 0);
    uint8_t perm[PTQC_MAX_RANK];
    pq_perm_channels_last(perm, x->rank);
    pq_ref from = as_is ? pq_use(l, gx, perm) : pq_use_real(l, gx, perm);
    pq_ref to = as_is ? pq_define(l, gy, perm) : pq_define_real(l, gy, perm);
    pq_step_begin(l, PQ_STEP_RESIZE, "resize");
    pq_step_in(l, from.value);
    pq_step_out(l, to.value);
    pq_step_i64(l, mode);
    pq_step_i64(l, coordinates);
    pq_step_i64(l, rounding);
    pq_step_f32(l, pq_attr_f32(l, "cubic_a", -0.75f));
    pq_step_i64(l, x->rank - 2);
    for (uint32_t i = 0; i < 3; i++) {
        uint32_t axis = i + x->rank - 3;
        pq_step_f32(l, axis >= 2 ? scales[axis] : 0.0f);
    }
    if (!as_is) {
        pq_end_real(l, gy, &to);
    }
}
