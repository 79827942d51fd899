// SPDX-License-Identifier: Apache-2.0
//
// Facts about channels, see channel_facts.h.

#include "passes/channel_facts.h"

#include <math.h>

#define SQRT_2   1.4142135623730951
#define SQRT_2PI 2.5066282746310002

bool
pq_channel_facts_get(const pq_op *op, pq_channel_facts *out)
{
    const pq_attr *mean = pq_op_attr(op, PQ_ATTR_CHANNEL_MEAN);
    const pq_attr *deviation = pq_op_attr(op, PQ_ATTR_CHANNEL_DEVIATION);
    if (mean == NULL || deviation == NULL ||
        mean->floats.n != deviation->floats.n) {
        return false;
    }
    *out = (pq_channel_facts){.count = mean->floats.n,
                              .mean = mean->floats.p,
                              .deviation = deviation->floats.p};
    return true;
}

static ptqc_status
set_numbers(pq_graph *g, pq_op_id op, pq_attr_name name, const float *p,
            int64_t n)
{
    pq_attr a = {.name = name};
    float *copy = pq_arena_memdup(pq_graph_arena(g), p, (size_t)n * sizeof *p);
    PQ_TRY_ALLOC(copy);
    a.floats.p = copy;
    a.floats.n = (uint32_t)n;
    return pq_set_attr(g, op, &a);
}

ptqc_status
pq_channel_facts_set(pq_graph *g, pq_op_id op, const pq_channel_facts *facts)
{
    PQ_TRY(set_numbers(g, op, PQ_ATTR_CHANNEL_MEAN, facts->mean, facts->count));
    return set_numbers(g, op, PQ_ATTR_CHANNEL_DEVIATION, facts->deviation,
                       facts->count);
}

ptqc_status
pq_channel_facts_rescale(pq_graph *g, pq_op_id op, const double *factor,
                         const double *shift)
{
    pq_channel_facts f;
    if (!pq_channel_facts_get(pq_graph_op(g, op), &f)) {
        return PTQC_OK;
    }
    size_t n = (size_t)f.count;
    float *mean = pq_arena_array(pq_graph_arena(g), n, sizeof *mean);
    float *deviation = pq_arena_array(pq_graph_arena(g), n, sizeof *deviation);
    PQ_TRY_ALLOC(mean);
    PQ_TRY_ALLOC(deviation);
    for (size_t c = 0; c < n; c++) {
        double k = factor != NULL ? factor[c] : 1;
        double b = shift != NULL ? shift[c] : 0;
        mean[c] = (float)((double)f.mean[c] * k + b);
        deviation[c] = (float)((double)f.deviation[c] * fabs(k));
    }
    f.mean = mean;
    f.deviation = deviation;
    return pq_channel_facts_set(g, op, &f);
}

// ---- behind the activation ------------------------------------------------

static double
density(double z)
{
    return exp(-z * z / 2) / SQRT_2PI;
}

static double
below(double z)
{
    return 0.5 * (1 + erf(z / SQRT_2));
}

// Of min(max(x, 0), limit), x normal with mean m and deviation s > 0.
static double
clipped_mean(double m, double s, double limit)
{
    double a = -m / s;
    if (isinf(limit)) {
        return m * (1 - below(a)) + s * density(a);
    }
    double b = (limit - m) / s;
    return s * (density(a) - density(b)) + m * (below(b) - below(a)) +
           limit * (1 - below(b));
}

// false: the activation is another one.
static bool
upper_end(const pq_op *op, double *out, bool *out_is_linear)
{
    const pq_attr *act = pq_op_attr(op, PQ_ATTR_ACT);
    float min = pq_op_f32(op, PQ_ATTR_ACT_ALPHA, -INFINITY);
    *out_is_linear = act == NULL;
    *out = (double)INFINITY;
    if (act == NULL || act->i == PQ_OP_RELU) {
        return true;
    }
    *out = (double)pq_op_f32(op, PQ_ATTR_ACT_BETA, INFINITY);
    return act->i == PQ_OP_CLIP && !(min < 0) && !(min > 0) && *out > 0;
}

double *
pq_expected_outputs(const pq_op *op, pq_arena *arena, ptqc_status *out_st)
{
    pq_channel_facts f;
    double limit;
    bool is_linear;
    *out_st = PTQC_OK;
    if (op == NULL || !pq_is_product(op->code) ||
        !pq_value_is_none(pq_op_input(op, 3)) ||
        !pq_channel_facts_get(op, &f) || !upper_end(op, &limit, &is_linear)) {
        return NULL;
    }
    double *out = pq_arena_array(arena, (size_t)f.count, sizeof *out);
    *out_st = out != NULL ? PTQC_OK : PTQC_E_RESOURCE;
    for (int64_t c = 0; out != NULL && c < f.count; c++) {
        double m = (double)f.mean[c];
        double s = (double)f.deviation[c];
        double still = fmin(fmax(m, 0), limit);
        out[c] = is_linear ? m : s > 0 ? clipped_mean(m, s, limit) : still;
    }
    return out;
}
