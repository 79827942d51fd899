// SPDX-License-Identifier: Apache-2.0
//
// Lowering of what language models need: attention and rope; states are
// lower_kv.c's.
//
// Parameters; a map is 4 bits per logical axis: its physical axis. The last
// logical axis is innermost everywhere.
//     ROPE       x, positions, inv_freq -> y
//                [0] map of x and y [1] interleaved
//     ATTENTION  q, k, v, mask, positions -> y; two more inputs, scales of k
//                and v [batch][heads][tokens], when they are i8 codes
//                [0..3] maps of q, k, v, y [4] scale [5] causal
#include <math.h>
#include <string.h>

#include "lower_kv.h"
#include "lower_product.h"

void
pq_lower_row_order(const pq_lower *l, uint32_t gv, uint8_t *perm)
{
    const pq_lower_value *s = &l->values[gv];
    uint32_t rank = ptqc_gb_value_at(l->g, gv)->rank;
    pq_perm_identity(perm, rank);
    for (uint32_t i = 0; i < s->form_count; i++) {
        if (s->forms[i].perm[rank - 1] == rank - 1) {
            memcpy(perm, s->forms[i].perm, rank);
            return;
        }
    }
}

int64_t
pq_lower_axis_map(const pq_ref *ref)
{
    uint64_t map = 0;
    for (uint32_t i = 0; i < ref->rank; i++) {
        map |= (uint64_t)pq_ref_axis(ref, i) << (4 * i);
    }
    return (int64_t)map;
}

static bool
has_rank(pq_lower *l, const ptqc_gb_value *v, uint32_t rank)
{
    if (v == NULL || v->rank != rank) {
        pq_decline(l, "rank");
        return false;
    }
    return true;
}

static uint32_t
use_positions(pq_lower *l, uint32_t i)
{
    const ptqc_gb_value *v = pq_in(l, i);
    if (v == NULL || v->dtype != PTQC_I32 || v->rank != 2) {
        pq_decline(l, "positions have to be i32 of rank 2");
        return PQ_KG_NONE;
    }
    return pq_use_identity(l, pq_in_index(l, i)).value;
}

void
pq_lower_rope(pq_lower *l)
{
    const ptqc_gb_value *f = pq_in(l, 2);
    int64_t mode = pq_attr_i64(l, "mode", 0);
    if (!has_rank(l, pq_in(l, 0), 4) || !has_rank(l, f, 1)) {
        return;
    }
    if (f->dtype != PTQC_F32 || mode < 0 || mode > 1) {
        pq_decline(l, "frequencies or mode");
        return;
    }
    uint8_t perm[PTQC_MAX_RANK];
    pq_lower_row_order(l, pq_in_index(l, 0), perm);
    pq_ref x = pq_use_real(l, pq_in_index(l, 0), perm);
    uint32_t positions = use_positions(l, 1);
    uint32_t frequencies = pq_use_identity(l, pq_in_index(l, 2)).value;
    pq_ref y = pq_define_real(l, pq_out_index(l, 0), perm);
    pq_step_begin(l, PQ_STEP_ROPE, "rope");
    pq_step_in(l, x.value);
    pq_step_in(l, positions);
    pq_step_in(l, frequencies);
    pq_step_out(l, y.value);
    pq_step_i64(l, pq_lower_axis_map(&y));
    pq_step_i64(l, mode);
    pq_end_real(l, pq_out_index(l, 0), &y);
}

// k or v: floats and codes with scales as they lie, codes with one scale as
// f32.
static pq_ref
use_source(pq_lower *l, uint32_t i)
{
    const ptqc_gb_value *v = pq_in(l, i), *scales = pq_in(l, 4 + i);
    uint8_t perm[PTQC_MAX_RANK];
    if (!has_rank(l, v, 4)) {
        return (pq_ref){.value = PQ_KG_NONE};
    }
    pq_lower_row_order(l, pq_in_index(l, i), perm);
    if (scales != NULL && (v->dtype != PTQC_I8 || scales->rank != 3 ||
                           scales->dtype != PTQC_F32)) {
        pq_decline(l, "scales of keys or values");
    }
    bool as_is = v->dtype == PTQC_F32 || v->dtype == PTQC_F16 ||
                 v->dtype == PTQC_BF16 || scales != NULL;
    pq_ref ref = as_is && !pq_gv_is_quantized(l, v)
                     ? pq_use(l, pq_in_index(l, i), perm)
                     : pq_use_real(l, pq_in_index(l, i), perm);
    ref.rank = v->rank;
    memcpy(ref.perm, perm, v->rank);
    return ref;
}

// The mask in f32, its last axis as long as there are keys.
static uint32_t
use_mask(pq_lower *l)
{
    const ptqc_gb_value *v = pq_in(l, 3), *k = pq_in(l, 1);
    if (v == NULL) {
        return PQ_KG_NONE;
    }
    int64_t a, b;
    bool whole = v->rank >= 1 && v->rank <= 4;
    if (whole) {
        uint32_t da = pq_gv_dim(l, v, v->rank - 1), db = pq_gv_dim(l, k, 2);
        whole = da == db ||
                (pq_dim_known(l, da, &a) && pq_dim_known(l, db, &b) && a == b);
    }
    if (!whole) {
        pq_decline(l, "mask that is broadcast over the keys");
        return PQ_KG_NONE;
    }
    uint8_t perm[PTQC_MAX_RANK];
    pq_perm_identity(perm, PTQC_MAX_RANK);
    return pq_use_real(l, pq_in_index(l, 3), perm).value;
}

static float
read_scale(pq_lower *l)
{
    int64_t d;
    if (ptqc_gb_find_attr(l->g, pq_lower_node(l), "scale") != NULL) {
        return pq_attr_f32(l, "scale", 1.0f);
    }
    if (!pq_gv_dim_const(l, pq_in(l, 0), 3, &d)) {
        pq_decline(l, "scale of an unknown size");
        return 1.0f;
    }
    return 1.0f / sqrtf((float)d);
}

void
pq_lower_attention(pq_lower *l)
{
    bool causal = pq_attr_i64(l, "causal", 0) != 0;
    bool has_positions = pq_in(l, 4) != NULL;
    if (!has_rank(l, pq_in(l, 0), 4) || !has_rank(l, pq_out(l, 0), 4)) {
        return;
    }
    if (causal && has_positions) {
        pq_decline(l, "causal and positions");
        return;
    }
    uint8_t perm[PTQC_MAX_RANK], y_perm[PTQC_MAX_RANK];
    pq_lower_row_order(l, pq_in_index(l, 0), perm);
    pq_ref q = pq_use_real(l, pq_in_index(l, 0), perm);
    q.rank = 4;
    memcpy(q.perm, perm, 4);
    uint32_t positions = has_positions ? use_positions(l, 4) : PQ_KG_NONE;
    float scale = read_scale(l);
    pq_lower_result_order(l, y_perm);
    pq_ref y = pq_define_real(l, pq_out_index(l, 0), y_perm);
    if (pq_lower_ok(l) && pq_lower_is_kv_attention(l)) {
        const pq_kv_attention_plan plan = {q, y, positions, scale, causal};
        pq_lower_kv_attention(l, &plan);
        pq_end_real(l, pq_out_index(l, 0), &y);
        return;
    }
    pq_ref k = use_source(l, 1), v = use_source(l, 2);
    uint32_t mask = pq_lower_ok(l) ? use_mask(l) : PQ_KG_NONE;
    bool has_scales = pq_in(l, 5) != NULL || pq_in(l, 6) != NULL;
    uint32_t k_scale = pq_use_identity(l, pq_in_index(l, 5)).value;
    uint32_t v_scale = pq_use_identity(l, pq_in_index(l, 6)).value;
    if (!pq_lower_ok(l)) {
        return;
    }
    pq_step_begin(l, PQ_STEP_ATTENTION, "attention");
    pq_step_in(l, q.value);
    pq_step_in(l, k.value);
    pq_step_in(l, v.value);
    pq_step_in(l, mask);
    pq_step_in(l, positions);
    if (has_scales) {
        pq_step_in(l, k_scale);
        pq_step_in(l, v_scale);
    }
    pq_step_out(l, y.value);
    pq_step_i64(l, pq_lower_axis_map(&q));
    pq_step_i64(l, pq_lower_axis_map(&k));
    pq_step_i64(l, pq_lower_axis_map(&v));
    pq_step_i64(l, pq_lower_axis_map(&y));
    pq_step_f32(l, scale);
    pq_step_i64(l, causal);
    pq_end_real(l, pq_out_index(l, 0), &y);
}
