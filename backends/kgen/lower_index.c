// SPDX-License-Identifier: Apache-2.0
//
// Lowering of ops that move elements by index, and of those that make
// indices: gather, scatter, one_hot, topk, trilu, range, shape.
//
// Parameters (axes in the graph's order):
//     GATHER [0] axis [1] batch_dims    GATHER_ELEMENTS [0] axis
//     GATHER_ND [0] batch_dims          SCATTER_ELEMENTS [0] axis [1] reduction
//     SCATTER_ND [0] reduction          REVERSE_SEQUENCE [0] time [1] batch
//     ONE_HOT [0] axis                  TOPK [0] axis [1] largest
//     RANGE [0] dim expression of the start [1] delta
//     SHAPE dim expressions             TRILU [0] k [1] upper
#include <string.h>

#include "lower.h"
#include "params.h"

static bool
is_index(pq_lower *l, uint32_t i)
{
    const ptqc_gb_value *v = pq_in(l, i);
    bool ok = v != NULL && (v->dtype == PTQC_I64 || v->dtype == PTQC_I32) &&
              !pq_gv_is_quantized(l, v);
    if (!ok) {
        pq_decline(l, "indices have to be i32 or i64");
    }
    return ok;
}

typedef struct moving {
    bool as_is;
    pq_ref x, y;
} moving;

// Operand 0 and the result, both in the graph's order.
static moving
begin_move(pq_lower *l)
{
    moving m = {false, {.value = PQ_KG_NONE}, {.value = PQ_KG_NONE}};
    const ptqc_gb_value *x = pq_in(l, 0);
    if (x == NULL || !pq_lower_ok(l)) {
        pq_decline(l, "operand is absent");
        return m;
    }
    uint8_t perm[PTQC_MAX_RANK];
    pq_perm_identity(perm, PTQC_MAX_RANK);
    m.as_is = pq_lower_same_codes(l, x, pq_out(l, 0));
    uint32_t gx = pq_in_index(l, 0), gy = pq_out_index(l, 0);
    m.x = m.as_is ? pq_use(l, gx, perm) : pq_use_real(l, gx, perm);
    m.y = m.as_is ? pq_define(l, gy, perm) : pq_define_real(l, gy, perm);
    return m;
}

static void
end_move(pq_lower *l, const moving *m)
{
    if (pq_lower_ok(l) && !m->as_is) {
        pq_end_real(l, pq_out_index(l, 0), &m->y);
    }
}

static moving
begin_indexed(pq_lower *l, pq_step_kind kind, const char *label)
{
    moving m = {false, {.value = PQ_KG_NONE}, {.value = PQ_KG_NONE}};
    if (!is_index(l, 1)) {
        return m;
    }
    pq_ref index = pq_use_identity(l, pq_in_index(l, 1));
    m = begin_move(l);
    pq_step_begin(l, kind, "%s", label);
    pq_step_in(l, m.x.value);
    pq_step_in(l, index.value);
    pq_step_out(l, m.y.value);
    return m;
}

static uint32_t
axis_of_operand(pq_lower *l, int64_t otherwise)
{
    const ptqc_gb_value *x = pq_in(l, 0);
    return pq_axis(l, pq_attr_i64(l, "axis", otherwise),
                   x != NULL ? x->rank : 0);
}

void
pq_lower_gather(pq_lower *l)
{
    if (l->device->embedding != NULL && l->device->embedding(l)) {
        return;
    }
    uint32_t axis = axis_of_operand(l, 0);
    int64_t batch = pq_attr_i64(l, "batch_dims", 0);
    const ptqc_gb_value *ids = pq_in(l, 1);
    if (ids == NULL || batch < 0 || batch > (int64_t)axis ||
        batch > (int64_t)ids->rank) {
        pq_decline(l, "batch_dims %lld", (long long)batch);
        return;
    }
    moving m = begin_indexed(l, PQ_STEP_GATHER, "gather");
    pq_step_i64(l, axis);
    pq_step_i64(l, batch);
    end_move(l, &m);
}

void
pq_lower_gather_elements(pq_lower *l)
{
    uint32_t axis = axis_of_operand(l, 0);
    if (pq_lower_ok(l) &&
        (pq_in(l, 1) == NULL || pq_in(l, 1)->rank != pq_in(l, 0)->rank)) {
        pq_decline(l, "rank of the indices");
    }
    moving m = begin_indexed(l, PQ_STEP_GATHER_ELEMENTS, "gather_elements");
    pq_step_i64(l, axis);
    end_move(l, &m);
}

// Tuples of known length that fit the operand.
static bool
check_tuples(pq_lower *l, int64_t batch)
{
    const ptqc_gb_value *x = pq_in(l, 0), *ids = pq_in(l, 1);
    int64_t depth;
    bool ok = x != NULL && ids != NULL && ids->rank >= 1 && batch >= 0 &&
              batch < (int64_t)ids->rank &&
              pq_gv_dim_const(l, ids, ids->rank - 1, &depth) &&
              depth + batch <= (int64_t)x->rank;
    if (!ok) {
        pq_decline(l, "shape of the indices");
    }
    return ok;
}

void
pq_lower_gather_nd(pq_lower *l)
{
    int64_t batch = pq_attr_i64(l, "batch_dims", 0);
    if (!check_tuples(l, batch)) {
        return;
    }
    moving m = begin_indexed(l, PQ_STEP_GATHER_ND, "gather_nd");
    pq_step_i64(l, batch);
    end_move(l, &m);
}

static void
write_copy(pq_lower *l, pq_ref x, pq_ref y)
{
    pq_step_begin(l, PQ_STEP_MOVE, "copy");
    pq_step_in(l, x.value);
    pq_step_out(l, y.value);
    pq_step_i64(l, PQ_MOVE_PERMUTE);
    for (uint32_t i = 0; i < x.rank; i++) {
        pq_step_i64(l, i);
    }
}

// Updates are in the data's type; f32, i32, i64 have all reductions, other
// types only replace.
static void
lower_scatter(pq_lower *l, pq_step_kind kind, const char *label, bool has_axis)
{
    const ptqc_gb_value *x = pq_in(l, 0), *u = pq_in(l, 2);
    int64_t reduction = pq_attr_i64(l, "reduction", 0);
    if (x == NULL || u == NULL || !is_index(l, 1) || x->dtype != u->dtype ||
        pq_gv_is_quantized(l, x) || pq_gv_is_quantized(l, u) ||
        pq_gv_is_quantized(l, pq_out(l, 0))) {
        pq_decline(l, "operand types");
        return;
    }
    bool all =
        x->dtype == PTQC_F32 || x->dtype == PTQC_I32 || x->dtype == PTQC_I64;
    if (reduction < 0 || reduction > 4 || (reduction != 0 && !all)) {
        pq_decline(l, "reduction");
        return;
    }
    uint32_t axis = has_axis ? axis_of_operand(l, 0) : 0;
    pq_ref refs[3];
    for (uint32_t i = 0; i < 3; i++) {
        refs[i] = pq_use_identity(l, pq_in_index(l, i));
    }
    pq_ref y = pq_define_identity(l, pq_out_index(l, 0));
    if (kind == PQ_STEP_SCATTER_ND && l->device->scatters_in_place) {
        write_copy(l, refs[0], y);
        refs[0].value = PQ_KG_NONE;
    }
    pq_step_begin(l, kind, "%s", label);
    for (uint32_t i = 0; i < 3; i++) {
        pq_step_in(l, refs[i].value);
    }
    pq_step_out(l, y.value);
    if (has_axis) {
        pq_step_i64(l, axis);
    }
    pq_step_i64(l, reduction);
}

void
pq_lower_scatter_elements(pq_lower *l)
{
    const ptqc_gb_value *x = pq_in(l, 0), *ids = pq_in(l, 1);
    if (x == NULL || ids == NULL || x->rank != ids->rank) {
        pq_decline(l, "rank of the indices");
        return;
    }
    lower_scatter(l, PQ_STEP_SCATTER_ELEMENTS, "scatter_elements", true);
}

void
pq_lower_scatter_nd(pq_lower *l)
{
    if (check_tuples(l, 0)) {
        lower_scatter(l, PQ_STEP_SCATTER_ND, "scatter_nd", false);
    }
}

void
pq_lower_reverse_sequence(pq_lower *l)
{
    uint32_t time = axis_of_operand(l, 0);
    int64_t batch = pq_attr_i64(l, "batch_dims", 1);
    if (!pq_lower_ok(l) || batch < 0 || batch >= (int64_t)pq_in(l, 0)->rank ||
        batch == (int64_t)time) {
        pq_decline(l, "batch axis %lld", (long long)batch);
        return;
    }
    moving m = begin_indexed(l, PQ_STEP_REVERSE_SEQUENCE, "reverse_sequence");
    pq_step_i64(l, time);
    pq_step_i64(l, batch);
    end_move(l, &m);
}

void
pq_lower_one_hot(pq_lower *l)
{
    const ptqc_gb_value *ids = pq_in(l, 0), *values = pq_in(l, 1);
    const ptqc_gb_value *y = pq_out(l, 0);
    if (!is_index(l, 0) || values == NULL || values->dtype != y->dtype ||
        pq_gv_is_quantized(l, values) || pq_gv_is_quantized(l, y) ||
        y->rank != ids->rank + 1) {
        pq_decline(l, "operands");
        return;
    }
    uint32_t axis = pq_axis(l, pq_attr_i64(l, "axis", -1), y->rank);
    pq_ref index = pq_use_identity(l, pq_in_index(l, 0));
    pq_ref pair = pq_use_identity(l, pq_in_index(l, 1));
    pq_ref to = pq_define_identity(l, pq_out_index(l, 0));
    pq_step_begin(l, PQ_STEP_ONE_HOT, "one_hot");
    pq_step_in(l, index.value);
    pq_step_in(l, pair.value);
    pq_step_out(l, to.value);
    pq_step_i64(l, axis);
}

void
pq_lower_topk(pq_lower *l)
{
    const ptqc_gb_value *x = pq_in(l, 0), *ids = pq_out(l, 1);
    uint32_t axis = axis_of_operand(l, -1);
    bool typed = pq_lower_ok(l) && ids != NULL && ids->dtype == PTQC_I64 &&
                 (x->dtype == PTQC_F32 || x->dtype == PTQC_I32 ||
                  x->dtype == PTQC_I64) &&
                 !pq_gv_is_quantized(l, x) &&
                 pq_lower_same_codes(l, x, pq_out(l, 0));
    if (!typed) {
        pq_decline(l, "operand type");
        return;
    }
    pq_ref from = pq_use_identity(l, pq_in_index(l, 0));
    pq_ref values = pq_define_identity(l, pq_out_index(l, 0));
    pq_ref indices = pq_define_identity(l, pq_out_index(l, 1));
    pq_step_begin(l, PQ_STEP_TOPK, "topk");
    pq_step_in(l, from.value);
    pq_step_out(l, values.value);
    pq_step_out(l, indices.value);
    pq_step_i64(l, axis);
    pq_step_i64(l, pq_attr_i64(l, "largest", 1) != 0);
}

void
pq_lower_range(pq_lower *l)
{
    const ptqc_gb_value *y = pq_out(l, 0);
    uint32_t start = pq_dim_of(l, 0);
    pq_attr_dim(l, "start", 0, &start);
    bool typed =
        y->dtype == PTQC_I64 || y->dtype == PTQC_I32 || y->dtype == PTQC_F32;
    if (!typed || pq_gv_is_quantized(l, y)) {
        pq_decline(l, "result type");
    }
    pq_ref to = pq_define_identity(l, pq_out_index(l, 0));
    pq_step_begin(l, PQ_STEP_RANGE, "range");
    pq_step_out(l, to.value);
    pq_step_i64(l, start);
    pq_step_i64(l, pq_attr_i64(l, "delta", 1));
}

void
pq_lower_shape(pq_lower *l)
{
    const ptqc_gb_value *x = pq_in(l, 0), *y = pq_out(l, 0);
    int64_t n;
    if (x == NULL || x->rank == 0 || y->dtype != PTQC_I64 || y->rank != 1 ||
        !pq_gv_dim_const(l, y, 0, &n) || n != (int64_t)x->rank) {
        pq_decline(l, "result");
        return;
    }
    pq_ref to = pq_define_identity(l, pq_out_index(l, 0));
    pq_step_begin(l, PQ_STEP_SHAPE, "shape");
    pq_step_out(l, to.value);
    for (uint32_t i = 0; i < x->rank; i++) {
        pq_step_i64(l, pq_gv_dim(l, x, i));
    }
}

void
pq_lower_trilu(pq_lower *l)
{
    const ptqc_gb_value *x = pq_in(l, 0);
    if (x == NULL || x->rank < 2) {
        pq_decline(l, "rank");
        return;
    }
    moving m = begin_move(l);
    int64_t fill = pq_lower_fill(l, pq_out(l, 0), m.as_is, 0.0f);
    pq_step_begin(l, PQ_STEP_TRILU, "trilu");
    pq_step_in(l, m.x.value);
    pq_step_out(l, m.y.value);
    pq_step_i64(l, pq_attr_i64(l, "k", 0));
    pq_step_i64(l, pq_attr_i64(l, "upper", 1) != 0);
    pq_step_i64(l, fill);
    end_move(l, &m);
}
