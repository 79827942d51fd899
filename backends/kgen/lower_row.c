// SPDX-License-Identifier: Apache-2.0
//
// Lowering of ops along axes: reductions, softmax, normalizations, arg max,
// cumulative sums, dynamic quantization. Rows need not be in the graph's
// order: a step names physical axes.
#include <string.h>

#include "lower.h"
#include "params.h"

// Order of the value as it is, or the graph's when it is not there yet.
static void
order_of(const pq_lower *l, uint32_t gv, uint8_t *perm)
{
    const pq_lower_value *s = &l->values[gv];
    uint32_t rank = ptqc_gb_value_at(l->g, gv)->rank;
    if (s->form_count > 0) {
        memcpy(perm, s->forms[0].perm, rank);
    } else {
        pq_perm_identity(perm, rank);
    }
}

static bool
has_operand(pq_lower *l, uint32_t rank_min)
{
    const ptqc_gb_value *x = pq_in(l, 0);
    if (x == NULL || x->rank < rank_min) {
        pq_decline(l, "rank");
        return false;
    }
    return true;
}

static uint32_t
physical_axis(const uint8_t *perm, uint32_t rank, uint32_t axis)
{
    pq_ref ref = {.rank = rank};
    memcpy(ref.perm, perm, rank);
    return pq_ref_axis(&ref, axis);
}

// ---- reductions ------------------------------------------------------------

// Logical axes as a mask; no attribute: all.
static uint32_t
read_axes(pq_lower *l, uint32_t rank)
{
    int64_t list[PTQC_MAX_RANK];
    uint32_t count;
    uint32_t mask = 0;
    if (!pq_attr_i64s(l, "axes", list, PTQC_MAX_RANK, &count)) {
        return (1u << rank) - 1;
    }
    for (uint32_t i = 0; i < count; i++) {
        mask |= 1u << pq_axis(l, list[i], rank);
    }
    return mask;
}

// Whether the axes of the mask are neighbours in ascending order.
static bool
is_run(const uint8_t *perm, uint32_t rank, uint32_t mask)
{
    uint32_t i = 0;
    int last = -1;
    while (i < rank && (mask >> perm[i] & 1) == 0) {
        i++;
    }
    while (i < rank && (mask >> perm[i] & 1) != 0) {
        if ((int)perm[i] < last) {
            return false;
        }
        last = perm[i++];
    }
    while (i < rank && (mask >> perm[i] & 1) == 0) {
        i++;
    }
    return i == rank;
}

// The other axes first, those of the mask last in ascending order.
static void
order_with_run(uint8_t *perm, uint32_t rank, uint32_t mask)
{
    uint8_t out[PTQC_MAX_RANK];
    uint32_t n = 0;
    for (uint32_t i = 0; i < rank; i++) {
        if ((mask >> perm[i] & 1) == 0) {
            out[n++] = perm[i];
        }
    }
    for (uint32_t a = 0; a < rank; a++) {
        if (mask >> a & 1) {
            out[n++] = (uint8_t)a;
        }
    }
    memcpy(perm, out, rank);
}

// Order of the result of a reduction.
static void
reduced_order(const uint8_t *perm, uint32_t rank, uint32_t mask, bool keep,
              uint8_t *out)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < rank; i++) {
        if (keep) {
            out[n++] = perm[i];
        } else if ((mask >> perm[i] & 1) == 0) {
            uint32_t below = mask & ((1u << perm[i]) - 1);
            out[n++] = (uint8_t)(perm[i] - __builtin_popcount(below));
        }
    }
}

static const char *const REDUCE_OPS[PQ_REDUCE_COUNT] = {
    [PQ_REDUCE_SUM] = "reduce_sum",
    [PQ_REDUCE_MEAN] = "reduce_mean",
    [PQ_REDUCE_MAX] = "reduce_max",
    [PQ_REDUCE_MIN] = "reduce_min",
    [PQ_REDUCE_PROD] = "reduce_prod",
    [PQ_REDUCE_L1] = "reduce_l1",
    [PQ_REDUCE_L2] = "reduce_l2",
    [PQ_REDUCE_SUM_SQUARE] = "reduce_sum_square",
    [PQ_REDUCE_LOG_SUM] = "reduce_log_sum",
    [PQ_REDUCE_LOG_SUM_EXP] = "reduce_log_sum_exp",
};

static uint32_t
reduce_op(const pq_lower *l)
{
    uint32_t op = 0;
    while (op + 1 < PQ_REDUCE_COUNT &&
           !ptqc_gb_text_is(l->g, pq_lower_node(l)->op, REDUCE_OPS[op])) {
        op++;
    }
    return op;
}

// What a reduction runs over, after the operand was brought in order.
typedef struct reduction {
    uint32_t mask;
    uint8_t perm[PTQC_MAX_RANK], out_perm[PTQC_MAX_RANK];
    uint32_t first, count; // physical axes
} reduction;

static void
plan_reduction(pq_lower *l, uint32_t mask, reduction *r)
{
    uint32_t gv = pq_in_index(l, 0);
    uint32_t rank = ptqc_gb_value_at(l->g, gv)->rank;
    bool keep = pq_attr_i64(l, "keepdims", 1) != 0;
    r->mask = mask;
    order_of(l, gv, r->perm);
    if (!is_run(r->perm, rank, mask)) {
        order_with_run(r->perm, rank, mask);
    }
    reduced_order(r->perm, rank, mask, keep, r->out_perm);
    r->count = (uint32_t)__builtin_popcount(mask);
    r->first = 0;
    while (r->first < rank && (mask >> r->perm[r->first] & 1) == 0) {
        r->first++;
    }
}

// Mean of codes, exact (docs/numerics.md section 6).
static void
lower_code_mean(pq_lower *l, const reduction *r, const pq_codes *qx)
{
    pq_codes qy = {0.0f, 0, 0, 0};
    bool codes = pq_gv_codes(l, pq_out(l, 0), &qy);
    if (!codes && pq_out(l, 0)->dtype != PTQC_F32) {
        pq_decline(l, "result type");
    }
    pq_ref x = pq_use(l, pq_in_index(l, 0), r->perm);
    pq_ref y = pq_define(l, pq_out_index(l, 0), r->out_perm);
    pq_step_begin(l, PQ_STEP_CODE_MEAN, "mean of codes");
    pq_step_in(l, x.value);
    pq_step_out(l, y.value);
    pq_step_i64(l, r->first);
    pq_step_i64(l, r->count);
    pq_step_i64(l, qx->zero);
    pq_step_f32(l, qx->scale);
    pq_step_i64(l, qy.zero);
    pq_step_f32(l, codes ? qy.scale : 0.0f);
}

static bool
is_reduce_dtype(uint32_t op, uint32_t dtype)
{
    if (dtype == PTQC_I32 || dtype == PTQC_I64) {
        return op <= PQ_REDUCE_SUM_SQUARE && op != PQ_REDUCE_L2;
    }
    bool bytes = dtype == PTQC_U8 || dtype == PTQC_I8;
    return bytes && (op == PQ_REDUCE_MAX || op == PQ_REDUCE_MIN);
}

void
pq_lower_reduce(pq_lower *l)
{
    if (!has_operand(l, 0)) {
        return;
    }
    const ptqc_gb_value *x = pq_in(l, 0), *y = pq_out(l, 0);
    uint32_t op = reduce_op(l);
    reduction r;
    plan_reduction(l, read_axes(l, x->rank), &r);
    pq_codes qx;
    bool codes = pq_gv_codes(l, x, &qx);
    if (codes && op == PQ_REDUCE_MEAN) {
        lower_code_mean(l, &r, &qx);
        return;
    }
    bool as_is = is_reduce_dtype(op, pq_stored_dtype(l, x)) &&
                 pq_lower_same_codes(l, x, y);
    uint32_t gx = pq_in_index(l, 0), gy = pq_out_index(l, 0);
    pq_ref from = as_is ? pq_use(l, gx, r.perm) : pq_use_real(l, gx, r.perm);
    pq_ref to = as_is ? pq_define(l, gy, r.out_perm)
                      : pq_define_real(l, gy, r.out_perm);
    pq_step_begin(l, PQ_STEP_REDUCE, "%s", REDUCE_OPS[op]);
    pq_step_in(l, from.value);
    pq_step_out(l, to.value);
    pq_step_i64(l, op);
    pq_step_i64(l, r.first);
    pq_step_i64(l, r.count);
    if (!as_is) {
        pq_end_real(l, gy, &to);
    }
}

void
pq_lower_arg_reduce(pq_lower *l)
{
    if (!has_operand(l, 1)) {
        return;
    }
    const ptqc_gb_value *x = pq_in(l, 0);
    reduction r;
    uint32_t axis = pq_axis(l, pq_attr_i64(l, "axis", 0), x->rank);
    plan_reduction(l, 1u << axis, &r);
    pq_codes qx;
    pq_gv_codes(l, x, &qx);
    if (!pq_arg_reduce_has_dtype(pq_stored_dtype(l, x)) ||
        pq_out(l, 0)->dtype != PTQC_I64) {
        pq_decline(l, "operand type");
    }
    uint32_t flags =
        ptqc_gb_text_is(l->g, pq_lower_node(l)->op, "arg_min") ? PQ_ARG_MIN : 0;
    flags |= pq_attr_i64(l, "last", 0) != 0 ? PQ_ARG_LAST : 0;
    pq_ref from = pq_use(l, pq_in_index(l, 0), r.perm);
    pq_ref to = pq_define(l, pq_out_index(l, 0), r.out_perm);
    pq_step_begin(l, PQ_STEP_ARG_REDUCE, "arg reduce");
    pq_step_in(l, from.value);
    pq_step_out(l, to.value);
    pq_step_i64(l, r.first);
    pq_step_i64(l, flags);
}

// ---- along one axis, shape kept --------------------------------------------

typedef struct along {
    pq_ref x, y;
    uint32_t axis; // physical
} along;

// f32 operand and result in the same order.
static along
begin_along(pq_lower *l, int64_t axis)
{
    along a = {{.value = PQ_KG_NONE}, {.value = PQ_KG_NONE}, 0};
    if (!has_operand(l, 1)) {
        return a;
    }
    uint32_t gx = pq_in_index(l, 0);
    uint32_t rank = pq_in(l, 0)->rank;
    uint8_t perm[PTQC_MAX_RANK];
    order_of(l, gx, perm);
    a.axis = physical_axis(perm, rank, pq_axis(l, axis, rank));
    a.x = pq_use_real(l, gx, perm);
    a.y = pq_define_real(l, pq_out_index(l, 0), perm);
    return a;
}

static void
begin_step(pq_lower *l, pq_step_kind kind, const along *a, const char *label)
{
    pq_step_begin(l, kind, "%s", label);
    pq_step_in(l, a->x.value);
    pq_step_out(l, a->y.value);
    pq_step_i64(l, a->axis);
}

void
pq_lower_softmax(pq_lower *l)
{
    along a = begin_along(l, pq_attr_i64(l, "axis", -1));
    bool log = ptqc_gb_text_is(l->g, pq_lower_node(l)->op, "log_softmax");
    begin_step(l, PQ_STEP_SOFTMAX, &a, log ? "log_softmax" : "softmax");
    pq_step_i64(l, log);
    pq_end_real(l, pq_out_index(l, 0), &a.y);
}

void
pq_lower_lp_norm(pq_lower *l)
{
    int64_t p = pq_attr_i64(l, "p", 2);
    if (p != 1 && p != 2) {
        pq_decline(l, "p = %lld", (long long)p);
    }
    along a = begin_along(l, pq_attr_i64(l, "axis", -1));
    begin_step(l, PQ_STEP_LP_NORM, &a, "lp_norm");
    pq_step_i64(l, p);
    pq_end_real(l, pq_out_index(l, 0), &a.y);
}

void
pq_lower_lrn(pq_lower *l)
{
    int64_t size = pq_attr_i64(l, "size", 1);
    if (!has_operand(l, 2) || size < 1 || size > INT32_MAX) {
        pq_decline(l, "size %lld", (long long)size);
        return;
    }
    along a = begin_along(l, 1);
    begin_step(l, PQ_STEP_LRN, &a, "lrn");
    pq_step_i64(l, size);
    pq_step_f32(l, pq_attr_f32(l, "alpha", 1e-4f));
    pq_step_f32(l, pq_attr_f32(l, "beta", 0.75f));
    pq_step_f32(l, pq_attr_f32(l, "bias", 1.0f));
    pq_end_real(l, pq_out_index(l, 0), &a.y);
}

void
pq_lower_cumsum(pq_lower *l)
{
    if (!has_operand(l, 1)) {
        return;
    }
    const ptqc_gb_value *x = pq_in(l, 0);
    if (pq_gv_is_quantized(l, x) || !pq_cumsum_has_dtype(x->dtype)) {
        pq_decline(l, "operand type");
    }
    uint8_t perm[PTQC_MAX_RANK];
    order_of(l, pq_in_index(l, 0), perm);
    uint32_t axis = pq_axis(l, pq_attr_i64(l, "axis", 0), x->rank);
    uint32_t flags =
        (pq_attr_i64(l, "exclusive", 0) != 0 ? PQ_CUMSUM_EXCLUSIVE : 0) |
        (pq_attr_i64(l, "reverse", 0) != 0 ? PQ_CUMSUM_REVERSE : 0);
    pq_ref from = pq_use(l, pq_in_index(l, 0), perm);
    pq_ref to = pq_define(l, pq_out_index(l, 0), perm);
    pq_step_begin(l, PQ_STEP_CUMSUM, "cumsum");
    pq_step_in(l, from.value);
    pq_step_out(l, to.value);
    pq_step_i64(l, physical_axis(perm, x->rank, axis));
    pq_step_i64(l, flags);
}

// ---- normalizations --------------------------------------------------------

// An f32 scale or bias operand; absent is allowed.
static uint32_t
use_parameter(pq_lower *l, uint32_t i)
{
    const ptqc_gb_value *v = pq_in(l, i);
    if (v == NULL) {
        return PQ_KG_NONE;
    }
    if (v->dtype != PTQC_F32 || pq_gv_is_quantized(l, v)) {
        pq_decline(l, "scale and bias have to be f32");
        return PQ_KG_NONE;
    }
    return pq_use_identity(l, pq_in_index(l, i)).value;
}

static void
write_norm(pq_lower *l, uint32_t kind, const pq_ref *x, const pq_ref *y,
           int64_t mode, int64_t detail)
{
    uint32_t scale = use_parameter(l, 1), bias = use_parameter(l, 2);
    ptqc_str name = ptqc_gb_str(l->g, pq_lower_node(l)->op);
    pq_step_begin(l, PQ_STEP_NORM, "%.*s", (int)name.n, name.p);
    pq_step_in(l, x->value);
    pq_step_in(l, scale);
    pq_step_in(l, bias);
    pq_step_out(l, y->value);
    pq_step_i64(l, kind);
    pq_step_f32(l, pq_attr_f32(l, "epsilon", 1e-5f));
    pq_step_i64(l, mode);
    pq_step_i64(l, detail);
    pq_end_real(l, pq_out_index(l, 0), y);
}

// Parameters of the shape of the normalized axes.
static bool
has_row_shape(const pq_lower *l, const ptqc_gb_value *p, const ptqc_gb_value *x,
              uint32_t axis)
{
    if (p == NULL) {
        return true;
    }
    bool same = p->rank == x->rank - axis;
    for (uint32_t i = 0; same && i < p->rank; i++) {
        int64_t a, b;
        uint32_t da = pq_gv_dim(l, p, i), db = pq_gv_dim(l, x, axis + i);
        same = da == db ||
               (pq_dim_known(l, da, &a) && pq_dim_known(l, db, &b) && a == b);
    }
    return same;
}

void
pq_lower_row_norm(pq_lower *l)
{
    if (!has_operand(l, 1)) {
        return;
    }
    const ptqc_gb_value *x = pq_in(l, 0);
    uint32_t axis = pq_axis(l, pq_attr_i64(l, "axis", -1), x->rank);
    if (!has_row_shape(l, pq_in(l, 1), x, axis) ||
        !has_row_shape(l, pq_in(l, 2), x, axis)) {
        pq_decline(l, "shape of scale or bias");
        return;
    }
    uint8_t perm[PTQC_MAX_RANK];
    order_of(l, pq_in_index(l, 0), perm);
    for (uint32_t i = axis; i < x->rank; i++) {
        if (perm[i] != i) {
            pq_perm_identity(perm, x->rank);
        }
    }
    bool rms = ptqc_gb_text_is(l->g, pq_lower_node(l)->op, "rms_norm");
    pq_ref from = pq_use_real(l, pq_in_index(l, 0), perm);
    pq_ref to = pq_define_real(l, pq_out_index(l, 0), perm);
    write_norm(l, rms ? PQ_NORM_RMS : PQ_NORM_LAYER, &from, &to, 0, axis);
}

// Modes of a NORM step: 0 rows = axes from [3] on; 1 instance norm of
// [N][C][..]; 2 of [N][..][C]; 3 group norm of [N][C][..], [3] groups.
void
pq_lower_channel_norm(pq_lower *l)
{
    if (!has_operand(l, 3)) {
        return;
    }
    const ptqc_gb_value *x = pq_in(l, 0);
    bool group = ptqc_gb_text_is(l->g, pq_lower_node(l)->op, "group_norm");
    int64_t groups = pq_attr_i64(l, "group", 1);
    int64_t channels;
    if (!pq_gv_dim_const(l, x, 1, &channels) ||
        (group && (groups < 1 || channels % groups != 0))) {
        pq_decline(l, "%lld groups", (long long)groups);
        return;
    }
    for (uint32_t i = 1; i < 3; i++) {
        const ptqc_gb_value *p = pq_in(l, i);
        int64_t n;
        if (p == NULL || p->rank != 1 || !pq_gv_dim_const(l, p, 0, &n) ||
            n != channels) {
            pq_decline(l, "shape of scale or bias");
            return;
        }
    }
    uint8_t perm[PTQC_MAX_RANK], last[PTQC_MAX_RANK];
    order_of(l, pq_in_index(l, 0), perm);
    pq_perm_channels_last(last, x->rank);
    bool is_last = !group && memcmp(perm, last, x->rank) == 0;
    if (!is_last) {
        pq_perm_identity(perm, x->rank);
    }
    pq_ref from = pq_use_real(l, pq_in_index(l, 0), perm);
    pq_ref to = pq_define_real(l, pq_out_index(l, 0), perm);
    write_norm(l, PQ_NORM_LAYER, &from, &to,
               group     ? 3
               : is_last ? 2
                         : 1,
               groups);
}

// ---- dynamic quantization --------------------------------------------------

void
pq_lower_dynamic_quantize(pq_lower *l)
{
    if (!has_operand(l, 1)) {
        return;
    }
    const ptqc_gb_value *x = pq_in(l, 0), *y = pq_out(l, 0);
    if (y->dtype != PTQC_I8 || !pq_gv_is_quantized(l, y) ||
        pq_out(l, 1) == NULL) {
        pq_decline(l, "codes have to be i8 with scales");
        return;
    }
    uint8_t perm[PTQC_MAX_RANK];
    order_of(l, pq_in_index(l, 0), perm);
    if (perm[x->rank - 1] != x->rank - 1) {
        pq_perm_identity(perm, x->rank);
    }
    pq_ref from = pq_use_real(l, pq_in_index(l, 0), perm);
    pq_ref codes = pq_define(l, pq_out_index(l, 0), perm);
    pq_ref scales = pq_define(l, pq_out_index(l, 1), perm);
    pq_step_begin(l, PQ_STEP_ROW_QUANTIZE, "dynamic_quantize");
    pq_step_in(l, from.value);
    pq_step_out(l, codes.value);
    pq_step_out(l, scales.value);
}
