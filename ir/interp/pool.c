// SPDX-License-Identifier: Apache-2.0
//
// max_pool and avg_pool, 1 to 3 spatial axes.
#include <math.h>

#include "base/dtype.h"
#include "base/mathfn.h"
#include "ir/interp/eval.h"
#include "ir/interp/families.h"

// Taps of output o along spatial axis a that lie in x or its own padding.
static int64_t
padded_taps(const pq_eval *e, uint32_t a, int64_t o, int64_t kernel)
{
    uint32_t spatial = e->in[0].rank - 2;
    int64_t stride = pq_op_int_at(e->op, PQ_ATTR_STRIDES, a, 1);
    int64_t dilation = pq_op_int_at(e->op, PQ_ATTR_DILATIONS, a, 1);
    int64_t begin = pq_op_int_at(e->op, PQ_ATTR_PADS, a, 0);
    int64_t end = pq_op_int_at(e->op, PQ_ATTR_PADS, a + spatial, 0);
    int64_t count = 0;
    for (int64_t k = 0; k < kernel; k++) {
        int64_t at = o * stride - begin + k * dilation;
        count += at < e->in[0].dims[2 + a] + end;
    }
    return count;
}

// What the average of each output pixel is divided by.
static ptqc_status
divisors(pq_eval *e, const pq_taps *t, const int64_t **out)
{
    int64_t *n = pq_scratch(e, t->out_pixels, sizeof *n);
    PQ_TRY_ALLOC(n);
    bool include_pad = pq_op_i64(e->op, PQ_ATTR_INCLUDE_PAD, 0) != 0;
    uint32_t skip = PQ_TAP_AXES - (e->in[0].rank - 2);
    for (int64_t p = 0; p < t->out_pixels; p++) {
        if (!include_pad) {
            for (int64_t k = 0; k < t->taps; k++) {
                n[p] += t->pixel[p * t->taps + k] >= 0;
            }
            continue;
        }
        int64_t at[PQ_TAP_AXES] = {p / (t->out[1] * t->out[2]),
                                   p / t->out[2] % t->out[1], p % t->out[2]};
        n[p] = 1;
        for (uint32_t a = skip; a < PQ_TAP_AXES; a++) {
            n[p] *= padded_taps(e, a - skip, at[a], t->kernel[a]);
        }
    }
    *out = n;
    return PTQC_OK;
}

static float
max_f32(const float *x, const int64_t *tap, int64_t taps)
{
    float m = -INFINITY;
    for (int64_t k = 0; k < taps; k++) {
        m = tap[k] >= 0 ? pq_maxf(m, x[tap[k]]) : m;
    }
    return m;
}

static float
sum_f32(const float *x, const int64_t *tap, int64_t taps)
{
    float s = 0.0f;
    for (int64_t k = 0; k < taps; k++) {
        s = tap[k] >= 0 ? s + x[tap[k]] : s;
    }
    return s;
}

static ptqc_status
pool_f32(pq_eval *e, const pq_taps *t, const int64_t *n)
{
    const float *x;
    float *y;
    PQ_TRY(pq_in_f32(e, 0, &x));
    PQ_TRY(pq_out_f32(e, 0, &y));
    int64_t planes = e->in[0].dims[0] * e->in[0].dims[1];
    for (int64_t i = 0; i < planes; i++, x += t->pixels) {
        for (int64_t p = 0; p < t->out_pixels; p++) {
            const int64_t *tap = t->pixel + p * t->taps;
            y[i * t->out_pixels + p] =
                n == NULL ? max_f32(x, tap, t->taps)
                          : sum_f32(x, tap, t->taps) / (float)n[p];
        }
    }
    return pq_end_f32(e, 0, y);
}

static ptqc_status
max_i64(pq_eval *e, const pq_taps *t)
{
    const int64_t *x;
    int64_t *y;
    PQ_TRY(pq_in_i64(e, 0, &x));
    PQ_TRY(pq_out_i64(e, 0, &y));
    int64_t low = pq_dtype_is_signed(e->in[0].dtype)
                      ? -(INT64_C(1) << (pq_dtype_bits(e->in[0].dtype) - 1))
                      : 0;
    int64_t planes = e->in[0].dims[0] * e->in[0].dims[1];
    for (int64_t i = 0; i < planes; i++, x += t->pixels) {
        for (int64_t p = 0; p < t->out_pixels; p++) {
            const int64_t *tap = t->pixel + p * t->taps;
            int64_t m = low;
            for (int64_t k = 0; k < t->taps; k++) {
                m = tap[k] >= 0 && x[tap[k]] > m ? x[tap[k]] : m;
            }
            y[i * t->out_pixels + p] = m;
        }
    }
    return pq_end_i64(e, 0, y);
}

static ptqc_status
mean_of_codes(pq_eval *e, const pq_taps *t, const int64_t *n)
{
    const int16_t *x;
    pq_code_mean mean;
    PQ_TRY(pq_centered_i16(e, 0, &x));
    PQ_TRY(pq_code_mean_init(e, &mean));
    int64_t planes = e->in[0].dims[0] * e->in[0].dims[1];
    for (int64_t i = 0; i < planes; i++, x += t->pixels) {
        for (int64_t p = 0; p < t->out_pixels; p++) {
            const int64_t *tap = t->pixel + p * t->taps;
            int64_t sum = 0;
            for (int64_t k = 0; k < t->taps; k++) {
                sum += tap[k] >= 0 ? x[tap[k]] : 0;
            }
            pq_code_mean_store(&mean, i * t->out_pixels + p, (int32_t)sum,
                               n[p]);
        }
    }
    return pq_code_mean_end(&mean);
}

const char *
pq_rule_pool(pq_graph *g, const pq_op *op)
{
    const pq_value *x = pq_graph_value(g, op->inputs[0]);
    if (x->type.rank < 3 || x->type.rank > 2 + PQ_TAP_AXES) {
        return "x has no 1 to 3 spatial axes";
    }
    if (x->type.dtype == PTQC_U64) {
        return "not defined for u64";
    }
    return op->code == PQ_OP_AVG_POOL &&
                   pq_value_kind(g, op->inputs[0]) == PQ_KIND_INT
               ? "not defined for integers"
               : NULL;
}

ptqc_status
pq_eval_pool(pq_eval *e)
{
    uint32_t spatial = e->in[0].rank - 2;
    int64_t kernel[PQ_TAP_AXES];
    for (uint32_t a = 0; a < PQ_TAP_AXES; a++) {
        kernel[a] = pq_op_int_at(e->op, PQ_ATTR_KERNEL, a, 0);
        if (a < spatial && kernel[a] < 1) {
            return pq_eval_fail(e, PTQC_E_INPUT, "kernel size %lld",
                                (long long)kernel[a]);
        }
    }
    pq_taps t;
    const int64_t *n = NULL;
    PQ_TRY(pq_taps_init(e, kernel, false, &t));
    if (e->op->code == PQ_OP_AVG_POOL) {
        PQ_TRY(divisors(e, &t, &n));
    }
    if (pq_in_work(e, 0) == PQ_WORK_I64) {
        return max_i64(e, &t);
    }
    return n != NULL && pq_is_code_mean(e) ? mean_of_codes(e, &t, n)
                                           : pool_f32(e, &t, n);
}
