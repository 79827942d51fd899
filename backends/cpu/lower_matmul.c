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

#include "fixed.h"
#include "gemm.h"
#include "lower_epilogue.h"
#include "lower_weights.h"

#define AXIS_NONE 15u

// ---- constant weights ------------------------------------------------------

// [n] 4-byte elements, padded to whole strips.
static uint32_t
emit_columns(pq_lower *l, int64_t n, const void *values, uint32_t dtype)
{
    if (values == NULL || !pq_lower_ok(l)) {
        return PQ_CPU_NONE;
    }
    int64_t count = pq_strip_columns(n);
    void *padded = pq_mem_array(l->mem, (size_t)count, 4);
    if (padded == NULL) {
        pq_lower_no_memory(l);
        return PQ_CPU_NONE;
    }
    memcpy(padded, values, (size_t)n * 4);
    return pq_emit_array(l, dtype, padded, (uint32_t)count);
}

static uint32_t
emit_init(pq_lower *l, const pq_lower_weights *w, const pq_lower_epilogue *e)
{
    int64_t count = pq_strip_columns(w->shape.n);
    int32_t *init = pq_mem_array(l->mem, (size_t)count, sizeof *init);
    if (init == NULL || !pq_lower_ok(l)) {
        pq_lower_no_memory(l);
        return PQ_CPU_NONE;
    }
    if (!l->dry) {
        pq_weight_init(&w->shape, &w->source, e->bias_acc, e->x_zero, init);
    }
    return pq_emit_array(l, PTQC_I32, init, (uint32_t)count);
}

// Order of a whose last axis is K (logical axis k_axis).
static void
order_of_a(const pq_lower *l, uint32_t gv, uint32_t k_axis, uint8_t *perm)
{
    const pq_lower_value *s = &l->values[gv];
    uint32_t rank = ptqc_gb_value_at(l->g, gv)->rank;
    for (uint32_t i = 0; i < s->form_count; i++) {
        if (s->forms[i].perm[rank - 1] == k_axis) {
            memcpy(perm, s->forms[i].perm, rank);
            return;
        }
    }
    pq_perm_identity(perm, rank);
    perm[rank - 1] = (uint8_t)k_axis;
    perm[rank - 2] = (uint8_t)(k_axis == rank - 1 ? rank - 2 : rank - 1);
}

// Rows of fixed point numbers of x, made once for the products that follow.
// scales: PQ_CPU_NONE, or of the rows when x are codes.
static uint32_t
use_fixed(pq_lower *l, uint32_t x, uint32_t scales, const pq_lower_weights *w)
{
    pq_fixed_shape shape = {
        .k = w->shape.k, .group = w->shape.group, .digits = w->digits};
    if (!pq_lower_ok(l) || (l->fixed_group == shape.group &&
                            l->fixed_from == x && l->fixed_scales == scales)) {
        return l->fixed_rows;
    }
    const pq_cpu_value *v = &l->entry->values[x];
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
write_matmul(pq_lower *l, const pq_lower_weights *w, const pq_lower_epilogue *e,
             const uint32_t *args, uint32_t out)
{
    static const char *const FORMATS[] = {
        "f32",  "u8s8",     "f32w8",    "f32w4", "f16",
        "bf16", "fixed w8", "fixed w4", "e4m3",  "e5m2"};
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
    pq_lower_weights w;
    if (a->rank < 2 || pq_out(l, 0)->rank != a->rank ||
        !pq_lower_weights_open(l, pq_in_index(l, 1), trans, &w)) {
        pq_decline(l, "rank");
        return;
    }
    pq_lower_epilogue e;
    pq_lower_epilogue_read(l, w.shape.n,
                           trans ? w.value->rank - 2 : w.value->rank - 1, &e);
    if (pq_lower_ok(l)) {
        pq_lower_weights_read(l, e.is_integer, e.is_grouped, &w);
    }
    pq_lower_epilogue_gate(l, &e);
    if (!pq_lower_ok(l)) {
        return;
    }
    bool trans_a = pq_attr_i64(l, "trans_a", 0) != 0;
    uint32_t k_axis = trans_a ? a->rank - 2 : a->rank - 1;
    uint8_t perm[PTQC_MAX_RANK], out_perm[PTQC_MAX_RANK];
    order_of_a(l, pq_in_index(l, 0), k_axis, perm);
    for (uint32_t i = 0; i < a->rank; i++) {
        out_perm[i] = perm[i] == k_axis         ? (uint8_t)(a->rank - 1)
                      : perm[i] + 2u >= a->rank ? (uint8_t)(a->rank - 2)
                                                : perm[i];
    }
    bool codes = e.is_integer;
    uint32_t args[8] = {
        codes || e.is_grouped ? pq_use(l, pq_in_index(l, 0), perm).value
                              : pq_use_real(l, pq_in_index(l, 0), perm).value,
        pq_lower_weights_emit(l, &w),
        codes ? emit_init(l, &w, &e) : PQ_CPU_NONE,
        emit_columns(l, w.shape.n, e.mult, PTQC_F32),
        emit_columns(l, w.shape.n, e.bias, PTQC_F32),
        pq_use(l, e.residual, out_perm).value,
        PQ_CPU_NONE,
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
        args[6] = PQ_CPU_NONE; // the rows have them
    }
    pq_ref out = pq_lower_epilogue_define(l, &e, out_perm);
    write_matmul(l, &w, &e, args, out.value);
    pq_lower_epilogue_end(l, &e, &out);
}

// ---- both operands at run time ---------------------------------------------

// 4 bits per logical axis (batch axes, row, column) of the physical axis.
static int64_t
axis_map(const pq_ref *ref, uint32_t batch_rank, bool swapped)
{
    uint64_t map = 0;
    uint32_t skip = batch_rank + 2 - ref->rank; // leading axes it has not
    for (uint32_t i = 0; i < batch_rank + 2; i++) {
        uint32_t logical = i;
        if (swapped && i >= batch_rank) {
            logical = i == batch_rank ? batch_rank + 1 : batch_rank;
        }
        uint32_t axis = AXIS_NONE;
        if (logical >= skip) {
            axis = pq_ref_axis(ref, logical - skip);
        }
        map |= (uint64_t)axis << (4 * i);
    }
    return (int64_t)map;
}

// b may be used as it is when K or N is innermost.
static void
order_of_b(const pq_lower *l, uint32_t gv, uint8_t *perm)
{
    const pq_lower_value *s = &l->values[gv];
    uint32_t rank = ptqc_gb_value_at(l->g, gv)->rank;
    pq_perm_identity(perm, rank);
    for (uint32_t i = 0; i < s->form_count; i++) {
        if (s->forms[i].perm[rank - 1] + 2u >= rank) {
            memcpy(perm, s->forms[i].perm, rank);
            return;
        }
    }
}

void
pq_lower_result_order(const pq_lower *l, uint8_t *perm)
{
    uint32_t gv = pq_out_index(l, 0);
    const ptqc_gb_value *v = ptqc_gb_value_at(l->g, gv);
    const pq_lower_value *s = &l->values[gv];
    pq_perm_identity(perm, v->rank);
    if (s->use_count != 1 || s->consumer == PQ_CPU_NONE || s->is_output) {
        return;
    }
    const ptqc_gb_node *n = ptqc_gb_node_at(l->g, s->consumer);
    const ptqc_gb_attr *a = ptqc_gb_find_attr(l->g, n, "perm");
    if (!ptqc_gb_text_is(l->g, n->op, "transpose") || a == NULL ||
        a->kind != PTQC_GB_ATTR_I64S || a->count != v->rank) {
        return;
    }
    uint8_t order[PTQC_MAX_RANK];
    uint32_t seen = 0;
    for (uint32_t i = 0; i < v->rank; i++) {
        int64_t x =
            *(const int64_t *)ptqc_gb_at(l->g, PTQC_GB_I64S, a->first + i);
        if (x < 0 || x >= (int64_t)v->rank) {
            return;
        }
        order[i] = (uint8_t)x;
        seen |= 1u << x;
    }
    if (seen == (1u << v->rank) - 1 && order[v->rank - 1] == v->rank - 1) {
        memcpy(perm, order, v->rank);
    }
}

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
    order_of_a(l, pq_in_index(l, 0), trans_a ? a->rank - 2 : a->rank - 1,
               perm_a);
    order_of_b(l, pq_in_index(l, 1), perm_b);
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
    pq_step_in(l, PQ_CPU_NONE);
    pq_step_in(l, rr.value);
    pq_step_out(l, out.value);
    pq_step_i64(l, batch_rank);
    pq_step_i64(l, axis_map(&ra, batch_rank, trans_a));
    pq_step_i64(l, axis_map(&rb, batch_rank, trans_b));
    pq_step_i64(l, axis_map(&out, batch_rank, false));
    pq_step_i64(l,
                rr.value != PQ_CPU_NONE ? axis_map(&rr, batch_rank, false) : 0);
    pq_step_epilogue(l, &e);
    pq_lower_epilogue_end(l, &e, &out);
}

void
pq_lower_matmul(pq_lower *l)
{
    const ptqc_gb_value *a = pq_in(l, 0), *b = pq_in(l, 1);
    if (a == NULL || b == NULL || b->rank < 2) {
        pq_decline(l, "operands of rank 1");
        return;
    }
    bool constant =
        pq_lower_weights_of(l, pq_in_index(l, 1))->constant != PTQC_GB_NONE;
    for (uint32_t i = 0; i + 2 < b->rank; i++) {
        int64_t d;
        constant = constant && pq_gv_dim_const(l, b, i, &d) && d == 1;
    }
    if (constant && b->rank <= a->rank) {
        lower_constant(l);
    } else {
        lower_both(l);
    }
}
