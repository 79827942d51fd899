// SPDX-License-Identifier: Apache-2.0
//
// Means of codes: avg_pool and reduce_mean of a tensor with one scale
// (docs/numerics.md section 6).
#include "base/dtype.h"
#include "base/mathfn.h"
#include "ir/interp/eval.h"

bool
pq_is_code_mean(const pq_eval *e)
{
    const pq_value *x = pq_graph_value(e->g, e->op->inputs[0]);
    const pq_value *y = pq_graph_value(e->g, e->op->outputs[0]);
    const pq_quant *qx = pq_graph_quant(e->g, x->quant);
    const pq_quant *qy = pq_graph_quant(e->g, y->quant);
    bool is_byte = x->type.dtype == PTQC_I8 || x->type.dtype == PTQC_U8;
    uint32_t out = pq_value_kind(e->g, e->op->outputs[0]);
    return is_byte && pq_value_kind(e->g, e->op->inputs[0]) == PQ_KIND_QUANT &&
           qx->scheme.granularity == PQ_GRAN_TENSOR &&
           (out == PQ_KIND_FLOAT ||
            (out == PQ_KIND_QUANT && qy->scheme.granularity == PQ_GRAN_TENSOR &&
             pq_dtype_bits(y->type.dtype) <= 16 &&
             !pq_dtype_is_float(y->type.dtype)));
}

ptqc_status
pq_code_mean_init(pq_eval *e, pq_code_mean *out)
{
    pq_qview qx, qy;
    *out = (pq_code_mean){.e = e};
    PQ_TRY(pq_qview_of(e, e->op->inputs[0], &qx));
    PQ_TRY(pq_qview_of(e, e->op->outputs[0], &qy));
    if (!qy.is_on) {
        out->mult = qx.scale[0];
        return pq_out_f32(e, 0, &out->y);
    }
    int32_t lo, hi;
    pq_code_limits(e->out[0].dtype, &lo, &hi);
    out->mult = qx.scale[0] / qy.scale[0];
    out->zero = qy.zero[0];
    out->lo = (float)(lo - out->zero);
    out->hi = (float)(hi - out->zero);
    return PTQC_OK;
}

void
pq_code_mean_store(pq_code_mean *m, int64_t i, int32_t sum, int64_t n)
{
    float t = n == 0 ? 0.0f : (float)sum * (m->mult * (1.0f / (float)n));
    if (m->y != NULL) {
        m->y[i] = t;
        return;
    }
    int32_t code = pq_round_code(t, m->lo, m->hi) + m->zero;
    pq_store_codes(&m->e->out[0], i, &code, 1);
}

ptqc_status
pq_code_mean_end(pq_code_mean *m)
{
    return m->y != NULL ? pq_end_f32(m->e, 0, m->y) : PTQC_OK;
}
