// SPDX-License-Identifier: Apache-2.0
//
// Lowering of matmul.
//
// MATMUL step (constant weights): inputs a [.., K], packed weights, init,
// mult, bias, residual, row scales, zero points of the weights (codes);
// output [.., N]. Parameters:
//     [0] k  [1] n  [2] weight format  [3] asymmetric  [4] group
//     [5] half scales  [6] digits of the rows  [7..] epilogue
// FIX_ROWS step: inputs x and, with one digit, its scales; output rows of
// fixed.h. Parameters: [0] k  [1] group  [2] digits
// BMM step (both at run time): inputs a, b, bias, residual; output.
//     [0] batch axes  [1] a  [2] b  [3] output  [4] residual  [5..] epilogue
// where each of [1..4] is 4 bits per logical axis (batch axes, row, column):
// the physical axis of that operand, 15 = none (broadcast).
#include <string.h>

#include "backends/kgen/lower_epilogue.h"
#include "backends/kgen/lower_product.h"
#include "fixed.h"
#include "gemm.h"
#include "lower_weights.h"
#include "lowering.h"

// ---- constant weights ------------------------------------------------------

// [n] 4-byte elements, padded to whole strips.
static uint32_t
emit_columns(pq_lower *l, int64_t n, const void *values, uint32_t dtype)
{
    if (values == NULL || !pq_lower_ok(l)) {
        return PQ_KG_NONE;
    }
    int64_t count = pq_strip_columns(n);
    void *padded = pq_mem_array(l->mem, (size_t)count, 4);
    if (padded == NULL) {
        pq_lower_no_memory(l);
        return PQ_KG_NONE;
    }
    memcpy(padded, values, (size_t)n * 4);
    return pq_emit_array(l, dtype, padded, (uint32_t)count);
}

static uint32_t
emit_init(pq_lower *l, const pq_cpu_weights *w, const pq_lower_epilogue *e)
{
    int64_t count = pq_strip_columns(w->shape.n);
    int32_t *init = pq_mem_array(l->mem, (size_t)count, sizeof *init);
    if (init == NULL || !pq_lower_ok(l)) {
        pq_lower_no_memory(l);
        return PQ_KG_NONE;
    }
    if (!l->dry) {
        pq_weight_init(&w->shape, &w->read.source, e->bias_acc, e->x_zero,
                       init);
    }
    return pq_emit_array(l, PTQC_I32, init, (uint32_t)count);
}

// Rows of fixed point numbers of x, made once for the products that follow.
// scales: PQ_KG_NONE, or of the rows when x are codes.
static uint32_t
use_fixed(pq_lower *l, uint32_t x, uint32_t scales, const pq_cpu_weights *w)
{
    pq_fixed_shape shape = {
        .k = w->shape.k, .group = w->shape.group, .digits = w->digits};
    if (!pq_lower_ok(l) || (l->fixed_group == shape.group &&
                            l->fixed_from == x && l->fixed_scales == scales)) {
        return l->fixed_rows;
    }
    const pq_kg_value *v = &l->entry->values[x];
    uint32_t dims[PTQC_MAX_RANK], rank = v->rank;
    memcpy(dims, v->dims, rank * sizeof *dims);
    dims[rank - 1] = pq_dim_of(l, pq_fixed_row_bytes(&shape));
    uint32_t rows = pq_new_temp(l, PTQC_U8, dims, rank);
    pq_step_begin(l, PQ_STEP_FIX_ROWS, "fixed point rows");
    pq_step_in(l, x);
    pq_step_in(l, scales);
    pq_step_out(l, rows);
    pq_step_i64(l, shape.k);
    pq_step_i64(l, shape.group);
    pq_step_i64(l, shape.digits);
    l->fixed_from = x;
    l->fixed_scales = scales;
    l->fixed_group = shape.group;
    l->fixed_rows = rows;
    return rows;
}

static void
write_matmul(pq_lower *l, const pq_cpu_weights *w, const pq_lower_epilogue *e,
             const uint32_t *args, uint32_t out)
{
    static const char *const FORMATS[] = {
        "f32",      "u8s8",     "f32w8", "f32w4", "f16",  "bf16",
        "fixed w8", "fixed w4", "e4m3",  "e5m2",  "e2m1", "nf4"};
    pq_step_begin(l, PQ_STEP_MATMUL, "matmul k%lld n%lld %s",
                  (long long)w->shape.k, (long long)w->shape.n,
                  FORMATS[w->shape.format]);
    for (uint32_t i = 0; i < 8; i++) {
        pq_step_in(l, args[i]);
    }
    pq_step_out(l, out);
    pq_step_i64(l, w->shape.k);
    pq_step_i64(l, w->shape.n);
    pq_step_i64(l, w->shape.format);
    pq_step_i64(l, w->shape.asymmetric);
    pq_step_i64(l, w->shape.group);
    pq_step_i64(l, w->shape.half_scales);
    pq_step_i64(l, w->digits);
    pq_step_epilogue(l, e);
}

static void
lower_constant(pq_lower *l)
{
    const ptqc_gb_value *a = pq_in(l, 0);
    bool trans = pq_attr_i64(l, "trans_b", 0) != 0;
    pq_cpu_weights w;
    if (a->rank < 2 || pq_out(l, 0)->rank != a->rank ||
        !pq_cpu_weights_open(l, pq_in_index(l, 1), trans, &w)) {
        pq_decline(l, "rank");
        return;
    }
    pq_lower_epilogue e;
    pq_lower_epilogue_read(
        l, w.shape.n, trans ? w.read.value->rank - 2 : w.read.value->rank - 1,
        &e);
    if (pq_lower_ok(l)) {
        pq_cpu_weights_read(l, e.is_integer, e.is_grouped, &w);
    }
    pq_lower_epilogue_gate(l, &e);
    if (!pq_lower_ok(l)) {
        return;
    }
    bool trans_a = pq_attr_i64(l, "trans_a", 0) != 0;
    uint32_t k_axis = trans_a ? a->rank - 2 : a->rank - 1;
    uint8_t perm[PTQC_MAX_RANK], out_perm[PTQC_MAX_RANK];
    pq_lower_order_of_a(l, pq_in_index(l, 0), k_axis, perm);
    for (uint32_t i = 0; i < a->rank; i++) {
        out_perm[i] = perm[i] == k_axis         ? (uint8_t)(a->rank - 1)
                      : perm[i] + 2u >= a->rank ? (uint8_t)(a->rank - 2)
                                                : perm[i];
    }
    bool codes = e.is_integer;
    uint32_t args[8] = {
        codes || e.is_grouped ? pq_use(l, pq_in_index(l, 0), perm).value
                              : pq_use_real(l, pq_in_index(l, 0), perm).value,
        pq_cpu_weights_emit(l, &w),
        codes ? emit_init(l, &w, &e) : PQ_KG_NONE,
        emit_columns(l, w.shape.n, e.mult, PTQC_F32),
        emit_columns(l, w.shape.n, e.bias, PTQC_F32),
        pq_use(l, e.residual, out_perm).value,
        PQ_KG_NONE,
        emit_columns(l, w.shape.n, e.weight_zero, PTQC_I32),
    };
    if (e.is_dynamic) {
        const ptqc_gb_value *s = pq_in(l, 4);
        if (s == NULL || s->rank != a->rank || s->dtype != PTQC_F32) {
            pq_decline(l, "scales of the rows");
            return;
        }
        args[6] = pq_use(l, pq_in_index(l, 4), perm).value;
    }
    if (pq_weight_is_fixed(w.shape.format)) {
        args[0] = use_fixed(l, args[0], args[6], &w);
        args[6] = PQ_KG_NONE; // the rows have them
    }
    pq_ref out = pq_lower_epilogue_define(l, &e, out_perm);
    write_matmul(l, &w, &e, args, out.value);
    pq_lower_epilogue_end(l, &e, &out);
}

// ---- both operands at run time ---------------------------------------------

static void
lower_both(pq_lower *l)
{
    const ptqc_gb_value *a = pq_in(l, 0), *b = pq_in(l, 1);
    const ptqc_gb_value *y = pq_out(l, 0);
    uint32_t batch_rank = y->rank >= 2 ? y->rank - 2 : 0;
    if (a->rank < 2 || b->rank < 2 || y->rank < 2 ||
        batch_rank > PQ_BMM_RANK_MAX) {
        pq_decline(l, "rank");
        return;
    }
    if (pq_gv_is_quantized(l, a) && pq_gv_is_quantized(l, b)) {
        pq_decline(l, "codes on both sides, neither constant");
        return;
    }
    if (pq_in(l, 2) != NULL) {
        pq_decline(l, "bias without constant weights");
        return;
    }
    pq_lower_epilogue e;
    pq_lower_epilogue_read(l, 1, 0, &e);
    bool trans_a = pq_attr_i64(l, "trans_a", 0) != 0;
    bool trans_b = pq_attr_i64(l, "trans_b", 0) != 0;
    uint8_t perm_a[PTQC_MAX_RANK], perm_b[PTQC_MAX_RANK], perm_y[PTQC_MAX_RANK];
    pq_lower_order_of_a(l, pq_in_index(l, 0),
                        trans_a ? a->rank - 2 : a->rank - 1, perm_a);
    pq_lower_order_of_b(l, pq_in_index(l, 1), perm_b);
    pq_lower_result_order(l, perm_y);
    pq_ref ra = pq_use_real(l, pq_in_index(l, 0), perm_a);
    pq_ref rb = pq_use_real(l, pq_in_index(l, 1), perm_b);
    pq_ref rr = pq_use(l, pq_in_index(l, 3), perm_y);
    pq_ref out = pq_lower_epilogue_define(l, &e, perm_y);
    if (!pq_lower_ok(l)) {
        return;
    }
    pq_step_begin(l, PQ_STEP_BMM, "matmul of two results f32");
    pq_step_in(l, ra.value);
    pq_step_in(l, rb.value);
    pq_step_in(l, PQ_KG_NONE);
    pq_step_in(l, rr.value);
    pq_step_out(l, out.value);
    pq_step_i64(l, batch_rank);
    pq_step_i64(l, pq_lower_batch_map(&ra, batch_rank, trans_a));
    pq_step_i64(l, pq_lower_batch_map(&rb, batch_rank, trans_b));
    pq_step_i64(l, pq_lower_batch_map(&out, batch_rank, false));
    pq_step_i64(l, rr.value != PQ_KG_NONE
                       ? pq_lower_batch_map(&rr, batch_rank, false)
                       : 0);
    pq_step_epilogue(l, &e);
    pq_lower_epilogue_end(l, &e, &out);
}

void
pq_cpu_lower_matmul(pq_lower *l)
{
    if (pq_lower_is_constant_product(l)) {
        lower_constant(l);
    } else if (pq_lower_ok(l)) {
        lower_both(l);
    }
}
