// SPDX-License-Identifier: Apache-2.0
//
// Lowering of matmul to PLANAR_MATMUL (constant weights) and BATCH_MATMUL
// (kernels.def).
#include <string.h>

#include "lower_product.h"
#include "planar_lower.h"
#include "planar_pack.h"
#include "planar_tail.h"

#define BATCH_RANK_MAX 6u

// ---- constant weights ------------------------------------------------------

// Start of integer sums: the bias, less what the zero point of x adds.
// w: [n] codes as s8, zero points less the middle code are in e->bias_acc.
static uint32_t
emit_init(pq_lower *l, const pq_lower_epilogue *e, bool trans, int64_t k,
          int64_t n)
{
    const int8_t *w = pq_lower_weight_s8(l, pq_in(l, 1));
    if (w == NULL || (e->x_zero == 0 && e->bias_acc == NULL)) {
        return PQ_KG_NONE;
    }
    int32_t *init = pq_mem_array(&l->scratch, (size_t)n, sizeof *init);
    if (init == NULL) {
        pq_lower_no_memory(l);
        return PQ_KG_NONE;
    }
    for (int64_t c = 0; c < n && !l->dry; c++) {
        uint32_t sum = 0;
        for (int64_t i = 0; i < k; i++) {
            int32_t code = w[trans ? c * k + i : i * n + c];
            sum += (uint32_t)code;
        }
        uint32_t bias = e->bias_acc != NULL ? (uint32_t)e->bias_acc[c] : 0;
        init[c] = (int32_t)(bias - (uint32_t)e->x_zero * sum);
    }
    return pq_planar_array(l, PTQC_I32, init, n);
}

static const char *
format_name(pq_kg_weight format)
{
    static const char *const NAMES[PQ_KG_WEIGHT_COUNT] = {
        "f32", "f16", "bf16", "e4m3", "e5m2", "i8", "i4", "e2m1", "nf4"};
    return NAMES[format];
}

static void
write_part(pq_lower *l, const pq_planar_weights *w, const pq_planar_part *part,
           uint32_t x, const pq_tail *t, uint32_t y)
{
    pq_step_begin(l, PQ_STEP_PLANAR_MATMUL, "matmul k%lld n%lld %s",
                  (long long)w->k, (long long)part->n, format_name(w->format));
    pq_step_in(l, x);
    pq_step_in(l, part->value);
    pq_step_in(l, part->scales);
    pq_tail_inputs(t);
    pq_step_out(l, y);
    pq_step_i64(l, part->n);
    pq_step_i64(l, w->k);
    pq_step_i64(l, w->format);
    pq_step_i64(l, w->segment);
    pq_step_i64(l, w->form);
    pq_step_i64(l, part->first);
    pq_step_i64(l, w->n);
    pq_tail_params(t);
}

static void
write_matmul(pq_lower *l, const pq_planar_weights *w, uint32_t x,
             const pq_tail *t, uint32_t y)
{
    for (uint32_t i = 0; i < w->part_count; i++) {
        write_part(l, w, &w->parts[i], x, t, y);
    }
}

// Order of the result for rows of x in order `perm`.
static void
order_of_result(const uint8_t *perm, uint32_t rank, uint32_t k_axis,
                uint8_t *out)
{
    for (uint32_t i = 0; i < rank; i++) {
        out[i] = perm[i] == k_axis      ? (uint8_t)(rank - 1)
                 : perm[i] + 2u >= rank ? (uint8_t)(rank - 2)
                                        : perm[i];
    }
}

static uint32_t
use_row_scales(pq_lower *l, const uint8_t *perm)
{
    const ptqc_gb_value *s = pq_in(l, 4);
    if (s == NULL || s->rank != pq_in(l, 0)->rank || s->dtype != PTQC_F32) {
        pq_decline(l, "scales of the rows");
        return PQ_KG_NONE;
    }
    return pq_use(l, pq_in_index(l, 4), perm).value;
}

static void
lower_constant(pq_lower *l)
{
    const ptqc_gb_value *a = pq_in(l, 0), *b = pq_in(l, 1);
    bool trans = pq_attr_i64(l, "trans_b", 0) != 0;
    int64_t n;
    uint32_t n_axis = trans ? b->rank - 2 : b->rank - 1;
    if (a->rank < 2 || pq_out(l, 0)->rank != a->rank ||
        !pq_gv_dim_const(l, b, n_axis, &n) || n < 1) {
        pq_decline(l, "rank");
        return;
    }
    pq_lower_epilogue e;
    pq_lower_epilogue_read(l, n, n_axis, &e);
    pq_planar_weights w;
    pq_planar_weights_use(l, pq_in_index(l, 1), trans, e.is_integer,
                          e.weight_zero, &w);
    pq_lower_epilogue_gate(l, &e);
    if (!pq_lower_ok(l)) {
        return;
    }
    bool trans_a = pq_attr_i64(l, "trans_a", 0) != 0;
    uint32_t k_axis = trans_a ? a->rank - 2 : a->rank - 1;
    uint8_t perm[PTQC_MAX_RANK], y_perm[PTQC_MAX_RANK];
    pq_lower_order_of_a(l, pq_in_index(l, 0), k_axis, perm);
    order_of_result(perm, a->rank, k_axis, y_perm);
    bool codes = e.is_integer || e.is_grouped;
    uint32_t x = codes ? pq_use(l, pq_in_index(l, 0), perm).value
                       : pq_planar_use_float(l, pq_in_index(l, 0), perm).value;
    pq_tail_operands o = {
        .init = e.is_integer ? emit_init(l, &e, trans, w.k, n) : PQ_KG_NONE,
        .mult = pq_planar_array(l, PTQC_F32, e.mult, n),
        .bias = pq_planar_array(l, PTQC_F32, e.bias, n),
        .row_scale = e.is_dynamic ? use_row_scales(l, perm) : PQ_KG_NONE,
        .residual = pq_use(l, e.residual, y_perm).value,
        .residual_map = pq_tail_identity(a->rank),
    };
    pq_tail t;
    pq_tail_make(&t, l, e.is_integer ? PTQC_I32 : PTQC_F32, &e, &o);
    pq_ref y = pq_define(l, e.out, y_perm);
    if (pq_lower_ok(l)) {
        write_matmul(l, &w, x, &t, y.value);
    }
}

// ---- both operands at run time ---------------------------------------------

static bool
check_both(pq_lower *l)
{
    const ptqc_gb_value *a = pq_in(l, 0), *b = pq_in(l, 1);
    const ptqc_gb_value *y = pq_out(l, 0);
    if (a->rank < 2 || b->rank < 2 || y->rank < 2 ||
        y->rank - 2 > BATCH_RANK_MAX) {
        pq_decline(l, "rank");
    } else if (pq_gv_is_quantized(l, a) && pq_gv_is_quantized(l, b)) {
        pq_decline(l, "codes on both sides, neither constant");
    } else if (pq_in(l, 2) != NULL) {
        pq_decline(l, "bias without constant weights");
    }
    return pq_lower_ok(l);
}

static void
lower_both(pq_lower *l)
{
    if (!check_both(l)) {
        return;
    }
    const ptqc_gb_value *a = pq_in(l, 0);
    uint32_t rank = pq_out(l, 0)->rank;
    pq_lower_epilogue e;
    pq_lower_epilogue_read(l, 1, 0, &e);
    bool trans_a = pq_attr_i64(l, "trans_a", 0) != 0;
    bool trans_b = pq_attr_i64(l, "trans_b", 0) != 0;
    uint8_t perm_a[PTQC_MAX_RANK], perm_b[PTQC_MAX_RANK], perm_y[PTQC_MAX_RANK];
    pq_lower_order_of_a(l, pq_in_index(l, 0),
                        trans_a ? a->rank - 2 : a->rank - 1, perm_a);
    pq_lower_order_of_b(l, pq_in_index(l, 1), perm_b);
    pq_lower_result_order(l, perm_y);
    pq_ref ra = pq_planar_use_float(l, pq_in_index(l, 0), perm_a);
    pq_ref rb = pq_planar_use_float(l, pq_in_index(l, 1), perm_b);
    pq_tail_operands o = {
        .init = PQ_KG_NONE,
        .mult = PQ_KG_NONE,
        .bias = PQ_KG_NONE,
        .row_scale = PQ_KG_NONE,
        .residual = pq_use(l, e.residual, perm_y).value,
        .residual_map = pq_tail_identity(rank),
    };
    pq_tail t;
    pq_tail_make(&t, l, PTQC_F32, &e, &o);
    pq_ref y = pq_define(l, e.out, perm_y);
    if (!pq_lower_ok(l)) {
        return;
    }
    pq_step_begin(l, PQ_STEP_BATCH_MATMUL, "matmul of two results");
    pq_step_in(l, ra.value);
    pq_step_in(l, rb.value);
    pq_tail_inputs(&t);
    pq_step_out(l, y.value);
    pq_step_i64(l, rank - 2);
    pq_step_i64(l, pq_lower_batch_map(&ra, rank - 2, trans_a));
    pq_step_i64(l, pq_lower_batch_map(&rb, rank - 2, trans_b));
    pq_step_i64(l, pq_lower_batch_map(&y, rank - 2, false));
    pq_step_i64(l, 0);
    pq_step_i64(l, 0);
    pq_tail_params(&t);
}

void
pq_planar_matmul(pq_lower *l)
{
    if (pq_lower_is_constant_product(l)) {
        lower_constant(l);
    } else if (pq_lower_ok(l)) {
        lower_both(l);
    }
}
