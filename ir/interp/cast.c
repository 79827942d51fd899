// SPDX-License-Identifier: Apache-2.0
//
// cast between any two types of 8 bits and more, and the ops whose work is
// the conversion itself: quantize, dequantize, dynamic_quantize.
#include <math.h>

#include "base/dtype.h"
#include "base/mathfn.h"
#include "ir/interp/eval.h"
#include "ir/interp/families.h"

int64_t
pq_integer_of(double x, ptqc_dtype t)
{
    unsigned bits = pq_dtype_bits(t);
    if (t == PTQC_BOOL) {
        return x != 0.0;
    }
    if (x != x) {
        return 0;
    }
    x = trunc(x);
    bool is_signed = pq_dtype_is_signed(t);
    double end = ldexp(1.0, (int)bits - (is_signed ? 1 : 0)); // first too large
    if (is_signed) {
        int64_t max = (int64_t)(UINT64_MAX >> (65 - bits));
        return x >= end ? max : x < -end ? -max - 1 : (int64_t)x;
    }
    uint64_t max = UINT64_MAX >> (64 - bits);
    return (int64_t)(x >= end ? max : x < 0.0 ? 0 : (uint64_t)x);
}

ptqc_status
pq_store_f64_as(pq_eval *e, uint32_t i, const double *p)
{
    int64_t n = pq_tensor_count(&e->out[i]);
    pq_work work = pq_out_work(e, i);
    if (work == PQ_WORK_F64) {
        return pq_end_f64(e, i, p);
    }
    if (work == PQ_WORK_F32) {
        float *y;
        PQ_TRY(pq_out_f32(e, i, &y));
        for (int64_t k = 0; k < n; k++) {
            y[k] = (float)p[k];
        }
        return pq_end_f32(e, i, y);
    }
    int64_t *y;
    PQ_TRY(pq_out_i64(e, i, &y));
    for (int64_t k = 0; k < n; k++) {
        y[k] = pq_integer_of(p[k], e->out[i].dtype);
    }
    return pq_end_i64(e, i, y);
}

static ptqc_status
store_integers(pq_eval *e, uint32_t i, const int64_t *p, bool is_u64)
{
    int64_t n = pq_tensor_count(&e->out[i]);
    pq_work work = pq_out_work(e, i);
    if (work == PQ_WORK_F64) {
        double *y = e->out[i].p;
        for (int64_t k = 0; k < n; k++) {
            y[k] = is_u64 ? (double)(uint64_t)p[k] : (double)p[k];
        }
        return PTQC_OK;
    }
    if (work == PQ_WORK_F32) {
        float *y;
        PQ_TRY(pq_out_f32(e, i, &y));
        for (int64_t k = 0; k < n; k++) {
            y[k] = is_u64 ? (float)(uint64_t)p[k] : (float)p[k];
        }
        return pq_end_f32(e, i, y);
    }
    return pq_end_i64(e, i, p);
}

ptqc_status
pq_store_i64_as(pq_eval *e, uint32_t i, const int64_t *p)
{
    return store_integers(e, i, p, false);
}

ptqc_status
pq_in_as_f64(pq_eval *e, uint32_t i, const double **out)
{
    int64_t n = pq_tensor_count(&e->in[i]);
    pq_work work = pq_in_work(e, i);
    if (work == PQ_WORK_F64) {
        *out = e->in[i].p;
        return PTQC_OK;
    }
    double *wide = pq_scratch(e, n, sizeof *wide);
    PQ_TRY_ALLOC(wide);
    if (work == PQ_WORK_F32) {
        const float *x;
        PQ_TRY(pq_in_f32(e, i, &x));
        for (int64_t k = 0; k < n; k++) {
            wide[k] = (double)x[k];
        }
    } else {
        const int64_t *x;
        PQ_TRY(pq_in_i64(e, i, &x));
        for (int64_t k = 0; k < n; k++) {
            wide[k] =
                work == PQ_WORK_U64 ? (double)(uint64_t)x[k] : (double)x[k];
        }
    }
    *out = wide;
    return PTQC_OK;
}

ptqc_status
pq_eval_cast(pq_eval *e)
{
    pq_work work = pq_in_work(e, 0);
    if (work == PQ_WORK_F64) {
        return pq_store_f64_as(e, 0, e->in[0].p);
    }
    if (work != PQ_WORK_F32) {
        const int64_t *x;
        PQ_TRY(pq_in_i64(e, 0, &x));
        return store_integers(e, 0, x, work == PQ_WORK_U64);
    }
    const float *x;
    PQ_TRY(pq_in_f32(e, 0, &x));
    if (pq_out_work(e, 0) == PQ_WORK_F32) {
        return pq_end_f32(e, 0, x);
    }
    const double *wide;
    PQ_TRY(pq_in_as_f64(e, 0, &wide));
    return pq_store_f64_as(e, 0, wide);
}

// The types of both sides say everything.
ptqc_status
pq_eval_requantize(pq_eval *e)
{
    const float *x;
    PQ_TRY(pq_in_f32(e, 0, &x));
    return pq_end_f32(e, 0, x);
}

float
pq_quantize_row(const float *x, int64_t n, int8_t *out_codes)
{
    float a = 0.0f;
    for (int64_t i = 0; i < n; i++) {
        a = pq_maxf(a, fabsf(x[i]));
    }
    float s = a / 127.0f;
    s = s < 0x1p-126f ? 0.0f : s; // 1 / s must be finite
    float inverse = s == 0.0f ? 0.0f : 1.0f / s;
    for (int64_t i = 0; i < n; i++) {
        out_codes[i] = (int8_t)pq_round_code(x[i] * inverse, -127.0f, 127.0f);
    }
    return s;
}

const char *
pq_rule_dynamic_quantize(pq_graph *g, const pq_op *op)
{
    const pq_value *codes = pq_graph_value(g, op->outputs[0]);
    const pq_value *scales = pq_graph_value(g, op->outputs[1]);
    if (codes->type.dtype != PTQC_I8 || codes->type.rank == 0) {
        return "per-token codes are i8 with an axis";
    }
    return scales->type.dtype == PTQC_F32 ? NULL : "scales are f32";
}

ptqc_status
pq_eval_dynamic_quantize(pq_eval *e)
{
    const pq_tensor *t = &e->in[0];
    const float *x;
    PQ_TRY(pq_in_f32(e, 0, &x));
    int64_t n = t->dims[t->rank - 1];
    int64_t rows = pq_size_product(t->dims, 0, t->rank - 1);
    int8_t *codes = e->out[0].p;
    float *scales = e->out[1].p;
    for (int64_t r = 0; r < rows; r++) {
        scales[r] = pq_quantize_row(x + r * n, n, codes + r * n);
    }
    return PTQC_OK;
}
