// SPDX-License-Identifier: Apache-2.0
//
// Kernels in f32 around quantized (or short float) values: operands are
// dequantized into a temporary, results quantized out of one
// (docs/numerics.md section 6, "any other float op").
#include <string.h>

#include "lower_expr.h"

static bool
is_plain_f32(const pq_lower *l, const ptqc_gb_value *v)
{
    return v->dtype == PTQC_F32 && !pq_gv_is_quantized(l, v);
}

static bool
is_short_float(const ptqc_gb_value *v)
{
    return v->dtype == PTQC_F16 || v->dtype == PTQC_BF16;
}

static uint32_t
real_temp(pq_lower *l, const ptqc_gb_value *v, const uint8_t *perm)
{
    uint32_t dims[PTQC_MAX_RANK];
    for (uint32_t i = 0; i < v->rank; i++) {
        dims[i] = pq_gv_dim(l, v, perm[i]);
    }
    return pq_new_temp(l, PTQC_F32, dims, v->rank);
}

static uint32_t
load_value(pq_chain *c, uint32_t dtype)
{
    uint32_t r = pq_chain_op(c, PQ_EXPR_LOAD, dtype, 0, 0, 0);
    c->d.input_count = 1;
    return r;
}

pq_ref
pq_use_real(pq_lower *l, uint32_t gv, const uint8_t *perm)
{
    pq_ref ref = pq_use(l, gv, perm);
    if (!pq_lower_ok(l) || gv == PTQC_GB_NONE) {
        return ref;
    }
    const ptqc_gb_value *v = ptqc_gb_value_at(l->g, gv);
    if (is_plain_f32(l, v)) {
        return ref;
    }
    pq_codes q;
    bool is_codes = pq_gv_codes(l, v, &q);
    if (!is_codes && !is_short_float(v)) {
        pq_decline(l, "operand is no float");
    }
    pq_chain c;
    pq_chain_init(&c, l);
    uint32_t r = load_value(&c, pq_stored_dtype(l, v));
    r = is_codes ? pq_chain_dequantize(&c, r, &q)
                 : pq_chain_op(&c, PQ_EXPR_CAST, PTQC_F32, r, 0, 0);
    uint32_t to = real_temp(l, v, perm);
    pq_chain_end_values(&c, r, ref.value, to);
    ref.value = to;
    return ref;
}

pq_ref
pq_define_real(pq_lower *l, uint32_t gv, const uint8_t *perm)
{
    if (!pq_lower_ok(l) || gv == PTQC_GB_NONE) {
        return (pq_ref){.value = PQ_KG_NONE};
    }
    const ptqc_gb_value *v = ptqc_gb_value_at(l->g, gv);
    if (is_plain_f32(l, v)) {
        return pq_define(l, gv, perm);
    }
    pq_codes q;
    if (!pq_gv_codes(l, v, &q) && !is_short_float(v)) {
        pq_decline(l, "result is no float");
    }
    pq_ref ref = {.value = real_temp(l, v, perm), .rank = v->rank};
    memcpy(ref.perm, perm, v->rank);
    return ref;
}

void
pq_end_real(pq_lower *l, uint32_t gv, const pq_ref *ref)
{
    if (!pq_lower_ok(l) || gv == PTQC_GB_NONE) {
        return;
    }
    const ptqc_gb_value *v = ptqc_gb_value_at(l->g, gv);
    if (is_plain_f32(l, v)) {
        return;
    }
    pq_codes q;
    pq_chain c;
    pq_chain_init(&c, l);
    uint32_t r = load_value(&c, PTQC_F32);
    r = pq_gv_codes(l, v, &q)
            ? pq_chain_quantize(&c, r, &q)
            : pq_chain_op(&c, PQ_EXPR_CAST, v->dtype, r, 0, 0);
    pq_ref to = pq_define(l, gv, ref->perm);
    pq_chain_end_values(&c, r, ref->value, to.value);
}
