// SPDX-License-Identifier: Apache-2.0
//
// Sums in the fixed order of docs/numerics.md section 7: element i to lane
// i mod 16, then lanes l and l + 8, l + 4, l + 2, l + 1. And softmax, which
// stands on them.
#include <math.h>

#include "base/mathfn.h"
#include "ir/interp/eval.h"

static float
tree_sum(float *lane)
{
    for (int width = PQ_LANES / 2; width > 0; width /= 2) {
        for (int l = 0; l < width; l++) {
            lane[l] += lane[l + width];
        }
    }
    return lane[0];
}

float
pq_lane_sum(const float *x, int64_t n)
{
    float lane[PQ_LANES] = {0};
    for (int64_t i = 0; i < n; i++) {
        lane[i % PQ_LANES] += x[i];
    }
    return tree_sum(lane);
}

float
pq_lane_sum_squares(const float *x, int64_t n)
{
    float lane[PQ_LANES] = {0};
    for (int64_t i = 0; i < n; i++) {
        lane[i % PQ_LANES] = fmaf(x[i], x[i], lane[i % PQ_LANES]);
    }
    return tree_sum(lane);
}

float
pq_lane_sum_abs(const float *x, int64_t n)
{
    float lane[PQ_LANES] = {0};
    for (int64_t i = 0; i < n; i++) {
        lane[i % PQ_LANES] += fabsf(x[i]);
    }
    return tree_sum(lane);
}

float
pq_lane_product(const float *x, int64_t n)
{
    float lane[PQ_LANES];
    for (int l = 0; l < PQ_LANES; l++) {
        lane[l] = 1.0f;
    }
    for (int64_t i = 0; i < n; i++) {
        lane[i % PQ_LANES] *= x[i];
    }
    for (int width = PQ_LANES / 2; width > 0; width /= 2) {
        for (int l = 0; l < width; l++) {
            lane[l] *= lane[l + width];
        }
    }
    return lane[0];
}

float
pq_lane_max(const float *x, int64_t n)
{
    float m = -INFINITY;
    for (int64_t i = 0; i < n; i++) {
        m = pq_maxf(m, x[i]);
    }
    return m;
}

float
pq_lane_min(const float *x, int64_t n)
{
    float m = INFINITY;
    for (int64_t i = 0; i < n; i++) {
        m = pq_minf(m, x[i]);
    }
    return m;
}

void
pq_softmax_row(const float *x, float *y, int64_t n)
{
    float m = pq_lane_max(x, n);
    for (int64_t i = 0; i < n; i++) {
        y[i] = x[i] - m;
    }
    pq_act exp_act = {.code = PQ_OP_EXP};
    pq_act_row(&exp_act, y, y, n);
    float s = pq_lane_sum(y, n);
    for (int64_t i = 0; i < n; i++) {
        y[i] = y[i] / s;
    }
}

void
pq_log_softmax_row(const float *x, float *y, int64_t n)
{
    float m = pq_lane_max(x, n);
    float lane[PQ_LANES] = {0};
    for (int64_t i = 0; i < n; i++) {
        lane[i % PQ_LANES] += pq_expf(x[i] - m);
    }
    float log_sum = pq_logf(tree_sum(lane));
    for (int64_t i = 0; i < n; i++) {
        y[i] = (x[i] - m) - log_sum;
    }
}
