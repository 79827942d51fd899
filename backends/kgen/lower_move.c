// SPDX-License-Identifier: Apache-2.0
//
// Lowering of ops that move elements as a whole: reshape, transpose, slice,
// concat, pad, expand, tile, depth and space. Codes stay when both sides mean
// the same by them, else numbers are moved.
//
// Parameters of MOVE: move.h. CONCAT: [0] physical axis. PAD: [0] mode,
// [1] fill element, then the begin of every physical axis.
#include <math.h>
#include <string.h>

#include "base/float16.h"
#include "base/mathfn.h"
#include "lower.h"
#include "move.h"
#include "params.h"

// Operand 0 and result in given orders, as codes or as numbers.
typedef struct moving {
    bool as_is;
    pq_ref x, y;
} moving;

static bool
can_keep_codes(pq_lower *l, const ptqc_gb_value *x)
{
    return pq_lower_same_codes(l, x, pq_out(l, 0));
}

static moving
begin_move(pq_lower *l, const uint8_t *in_perm, const uint8_t *out_perm)
{
    moving m = {.as_is = can_keep_codes(l, pq_in(l, 0))};
    uint32_t gx = pq_in_index(l, 0), gy = pq_out_index(l, 0);
    m.x = m.as_is ? pq_use(l, gx, in_perm) : pq_use_real(l, gx, in_perm);
    m.y =
        m.as_is ? pq_define(l, gy, out_perm) : pq_define_real(l, gy, out_perm);
    return m;
}

static void
end_move(pq_lower *l, const moving *m)
{
    if (!m->as_is) {
        pq_end_real(l, pq_out_index(l, 0), &m->y);
    }
}

static bool
has_operand(pq_lower *l)
{
    if (pq_in(l, 0) == NULL) {
        pq_decline(l, "operand is absent");
    }
    return pq_lower_ok(l);
}

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

// ---- views -----------------------------------------------------------------

void
pq_lower_reshape(pq_lower *l)
{
    if (!has_operand(l)) {
        return;
    }
    const ptqc_gb_value *y = pq_out(l, 0);
    uint32_t gy = pq_out_index(l, 0);
    uint8_t perm[PTQC_MAX_RANK];
    pq_perm_identity(perm, PTQC_MAX_RANK);
    if (can_keep_codes(l, pq_in(l, 0))) {
        pq_ref x = pq_use_identity(l, pq_in_index(l, 0));
        pq_define_view(l, gy, x.value, perm);
        return;
    }
    pq_ref x = pq_use_real(l, pq_in_index(l, 0), perm);
    uint32_t dims[PTQC_MAX_RANK];
    for (uint32_t i = 0; i < y->rank; i++) {
        dims[i] = pq_gv_dim(l, y, i);
    }
    pq_ref view = {.rank = y->rank};
    view.value = pq_new_view(l, x.value, PTQC_F32, dims, y->rank);
    memcpy(view.perm, perm, y->rank);
    if (y->dtype == PTQC_F32 && !pq_gv_is_quantized(l, y)) {
        pq_define_view(l, gy, x.value, perm);
    } else {
        pq_end_real(l, gy, &view);
    }
}

void
pq_lower_transpose(pq_lower *l)
{
    if (!has_operand(l)) {
        return;
    }
    const ptqc_gb_value *x = pq_in(l, 0);
    int64_t list[PTQC_MAX_RANK];
    uint32_t count, seen = 0;
    if (!pq_attr_i64s(l, "perm", list, PTQC_MAX_RANK, &count)) {
        count = x->rank; // absent: reversed
        for (uint32_t i = 0; i < count; i++) {
            list[i] = (int64_t)(count - 1 - i);
        }
    }
    for (uint32_t i = 0; i < count; i++) {
        seen |= 1u << pq_axis(l, list[i], x->rank);
    }
    if (count != x->rank || seen != (1u << count) - 1) {
        pq_decline(l, "perm");
        return;
    }
    uint8_t in_perm[PTQC_MAX_RANK], out_perm[PTQC_MAX_RANK];
    order_of(l, pq_in_index(l, 0), in_perm);
    // output axis i is input axis list[i]
    for (uint32_t i = 0; i < count; i++) {
        for (uint32_t j = 0; j < count; j++) {
            if (list[j] == in_perm[i]) {
                out_perm[i] = (uint8_t)j;
            }
        }
    }
    if (!can_keep_codes(l, x)) {
        pq_decline(l, "scales change");
        return;
    }
    pq_ref from = pq_use(l, pq_in_index(l, 0), in_perm);
    pq_define_view(l, pq_out_index(l, 0), from.value, out_perm);
}

// ---- slice, expand, tile ---------------------------------------------------

// Start and step of every logical axis.
static void
read_slice(pq_lower *l, uint32_t rank, uint32_t *starts, int64_t *steps)
{
    int64_t axes[PTQC_MAX_RANK], list[PTQC_MAX_RANK];
    uint32_t axis_count, step_count;
    uint32_t count = pq_attr_count(l, "starts");
    bool has_axes = pq_attr_i64s(l, "axes", axes, PTQC_MAX_RANK, &axis_count);
    bool has_steps = pq_attr_i64s(l, "steps", list, PTQC_MAX_RANK, &step_count);
    uint32_t zero = pq_dim_of(l, 0);
    for (uint32_t i = 0; i < rank; i++) {
        starts[i] = zero;
        steps[i] = 1;
    }
    for (uint32_t i = 0; i < count && pq_lower_ok(l); i++) {
        int64_t named = has_axes && i < axis_count ? axes[i] : (int64_t)i;
        uint32_t axis = pq_axis(l, named, rank);
        if (!pq_attr_dim(l, "starts", i, &starts[axis])) {
            pq_decline(l, "starts");
        }
        steps[axis] = has_steps && i < step_count ? list[i] : 1;
        if (steps[axis] == 0 || steps[axis] > INT32_MAX ||
            steps[axis] < INT32_MIN) {
            pq_decline(l, "step %lld", (long long)steps[axis]);
        }
    }
}

void
pq_lower_slice(pq_lower *l)
{
    if (!has_operand(l)) {
        return;
    }
    const ptqc_gb_value *x = pq_in(l, 0);
    uint32_t starts[PTQC_MAX_RANK];
    int64_t steps[PTQC_MAX_RANK];
    uint8_t perm[PTQC_MAX_RANK];
    read_slice(l, x->rank, starts, steps);
    order_of(l, pq_in_index(l, 0), perm);
    moving m = begin_move(l, perm, perm);
    pq_step_begin(l, PQ_STEP_MOVE, "slice");
    pq_step_in(l, m.x.value);
    pq_step_out(l, m.y.value);
    pq_step_i64(l, PQ_MOVE_SLICE);
    for (uint32_t i = 0; i < x->rank; i++) {
        pq_step_i64(l, starts[perm[i]]);
        pq_step_i64(l, steps[perm[i]]);
    }
    end_move(l, &m);
}

// expand and tile: the step sees how often from the sizes.
void
pq_lower_repeat(pq_lower *l)
{
    if (!has_operand(l)) {
        return;
    }
    uint8_t perm[PTQC_MAX_RANK];
    pq_perm_identity(perm, PTQC_MAX_RANK);
    if (pq_in(l, 0)->rank > pq_out(l, 0)->rank) {
        pq_decline(l, "rank");
    }
    moving m = begin_move(l, perm, perm);
    pq_step_begin(l, PQ_STEP_MOVE, "repeat");
    pq_step_in(l, m.x.value);
    pq_step_out(l, m.y.value);
    pq_step_i64(l, PQ_MOVE_REPEAT);
    end_move(l, &m);
}

// ---- concat ----------------------------------------------------------------

void
pq_lower_concat(pq_lower *l)
{
    const ptqc_gb_node *n = pq_lower_node(l);
    const ptqc_gb_value *y = pq_out(l, 0);
    uint32_t axis = pq_axis(l, pq_attr_i64(l, "axis", 0), y->rank);
    uint8_t perm[PTQC_MAX_RANK];
    pq_perm_identity(perm, y->rank);
    bool as_is = true, found = false;
    for (uint32_t i = 0; i < n->input_count && pq_lower_ok(l); i++) {
        const ptqc_gb_value *x = pq_in(l, i);
        if (x == NULL || x->rank != y->rank) {
            pq_decline(l, "operand of another rank");
            return;
        }
        as_is = as_is && can_keep_codes(l, x);
        if (!found && x->constant == PTQC_GB_NONE) {
            order_of(l, pq_in_index(l, i), perm);
            found = true;
        }
    }
    uint32_t refs[255];
    for (uint32_t i = 0; i < n->input_count && pq_lower_ok(l); i++) {
        uint32_t gv = pq_in_index(l, i);
        refs[i] =
            (as_is ? pq_use(l, gv, perm) : pq_use_real(l, gv, perm)).value;
    }
    uint32_t gy = pq_out_index(l, 0);
    pq_ref to = as_is ? pq_define(l, gy, perm) : pq_define_real(l, gy, perm);
    pq_step_begin(l, PQ_STEP_CONCAT, "concat");
    for (uint32_t i = 0; i < n->input_count; i++) {
        pq_step_in(l, pq_lower_ok(l) ? refs[i] : 0);
    }
    pq_step_out(l, to.value);
    pq_step_i64(l, pq_ref_axis(&to, axis));
    if (!as_is) {
        pq_end_real(l, gy, &to);
    }
}

// ---- pad -------------------------------------------------------------------

// The bytes of number v as an element of the stored type.
int64_t
pq_lower_fill(pq_lower *l, const ptqc_gb_value *v, bool as_codes, float x)
{
    pq_codes q;
    uint32_t bits;
    double d = (double)x;
    int64_t out = 0;
    if (as_codes && pq_gv_codes(l, v, &q)) {
        int32_t code =
            (int32_t)pq_round_code(x / q.scale, (float)(q.low - q.zero),
                                   (float)(q.high - q.zero)) +
            q.zero;
        return (uint8_t)code;
    }
    uint32_t dtype = as_codes ? v->dtype : PTQC_F32;
    switch (dtype) {
    case PTQC_F32:
        memcpy(&bits, &x, sizeof bits);
        return (int64_t)bits;
    case PTQC_F64:
        memcpy(&out, &d, sizeof out);
        return out;
    case PTQC_F16:
        return pq_f32_to_f16(x);
    case PTQC_BF16:
        return pq_f32_to_bf16(x);
    case PTQC_BOOL:
        return x != 0.0f;
    default:
        break;
    }
    if (x != x || d >= 9.2e18 || d <= -9.2e18) {
        pq_decline(l, "pad value");
        return 0;
    }
    return (int64_t)x;
}

void
pq_lower_pad(pq_lower *l)
{
    if (!has_operand(l)) {
        return;
    }
    const ptqc_gb_value *x = pq_in(l, 0);
    int64_t pads[2 * PTQC_MAX_RANK];
    uint32_t count;
    int64_t mode = pq_attr_i64(l, "mode", 0);
    if (!pq_attr_i64s(l, "pads", pads, 2 * PTQC_MAX_RANK, &count) ||
        count != 2 * x->rank || x->rank == 0 || mode < 0 || mode > 3) {
        pq_decline(l, "pads or mode");
        return;
    }
    for (uint32_t i = 0; i < count; i++) {
        if (pads[i] > INT32_MAX || pads[i] < INT32_MIN) {
            pq_decline(l, "pad of %lld", (long long)pads[i]);
        }
    }
    uint8_t perm[PTQC_MAX_RANK];
    order_of(l, pq_in_index(l, 0), perm);
    moving m = begin_move(l, perm, perm);
    int64_t fill =
        pq_lower_fill(l, pq_out(l, 0), m.as_is, pq_attr_f32(l, "value", 0.0f));
    pq_step_begin(l, PQ_STEP_PAD, "pad");
    pq_step_in(l, m.x.value);
    pq_step_out(l, m.y.value);
    pq_step_i64(l, mode);
    pq_step_i64(l, fill);
    for (uint32_t i = 0; i < x->rank; i++) {
        pq_step_i64(l, pads[perm[i]]);
    }
    end_move(l, &m);
}

// ---- depth and space -------------------------------------------------------

// Six axes of x, then their order in y.
static void
depth_axes(pq_lower *l, bool to_space, bool crd, int64_t block, uint32_t *six,
           uint8_t *order)
{
    static const uint8_t DCR[6] = {0, 3, 4, 1, 5, 2};
    static const uint8_t CRD[6] = {0, 1, 4, 2, 5, 3};
    static const uint8_t SPACE[6] = {0, 3, 5, 1, 2, 4};
    const ptqc_gb_value *x = pq_in(l, 0);
    uint32_t n = pq_gv_dim(l, x, 0), c = pq_gv_dim(l, x, 1);
    uint32_t h = pq_gv_dim(l, x, 2), w = pq_gv_dim(l, x, 3);
    uint32_t b = pq_dim_of(l, block);
    uint32_t bb = pq_dim_of(l, block * block);
    if (to_space) {
        uint32_t rest = pq_dim_binary(l, PTQC_GB_DIM_DIV, c, bb);
        uint32_t axes[6] = {n, crd ? rest : b, b, crd ? b : rest, h, w};
        memcpy(six, axes, sizeof axes);
        memcpy(order, crd ? CRD : DCR, 6);
    } else {
        uint32_t hb = pq_dim_binary(l, PTQC_GB_DIM_DIV, h, b);
        uint32_t wb = pq_dim_binary(l, PTQC_GB_DIM_DIV, w, b);
        uint32_t axes[6] = {n, c, hb, b, wb, b};
        memcpy(six, axes, sizeof axes);
        memcpy(order, SPACE, 6);
    }
}

void
pq_lower_depth_space(pq_lower *l)
{
    const ptqc_gb_value *x = pq_in(l, 0);
    int64_t block = pq_attr_i64(l, "block", 1);
    if (x == NULL || x->rank != 4 || pq_out(l, 0)->rank != 4 || block < 1 ||
        block > 4096) {
        pq_decline(l, "rank or block");
        return;
    }
    uint8_t perm[PTQC_MAX_RANK], order[6];
    uint32_t six[6], moved[6];
    pq_perm_identity(perm, PTQC_MAX_RANK);
    bool to_space =
        ptqc_gb_text_is(l->g, pq_lower_node(l)->op, "depth_to_space");
    depth_axes(l, to_space, pq_attr_i64(l, "mode", 0) == 1, block, six, order);
    moving m = begin_move(l, perm, perm);
    if (!pq_lower_ok(l)) {
        return;
    }
    for (uint32_t i = 0; i < 6; i++) {
        moved[i] = six[order[i]];
    }
    uint32_t dtype = l->entry->values[m.x.value].dtype;
    uint32_t from = pq_new_view(l, m.x.value, dtype, six, 6);
    uint32_t to = pq_new_view(l, m.y.value, dtype, moved, 6);
    pq_step_begin(l, PQ_STEP_MOVE,
                  to_space ? "depth_to_space" : "space_to_depth");
    pq_step_in(l, from);
    pq_step_out(l, to);
    pq_step_i64(l, PQ_MOVE_PERMUTE);
    for (uint32_t i = 0; i < 6; i++) {
        pq_step_i64(l, order[i]);
    }
    end_move(l, &m);
}
