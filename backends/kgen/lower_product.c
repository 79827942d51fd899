// SPDX-License-Identifier: Apache-2.0
//
// Orders of the operands of matrix products (lower_product.h).
#include "lower_product.h"

#include <string.h>

#include "lower_weights.h"

bool
pq_lower_is_constant_product(pq_lower *l)
{
    const ptqc_gb_value *a = pq_in(l, 0), *b = pq_in(l, 1);
    if (a == NULL || b == NULL || b->rank < 2) {
        pq_decline(l, "operands of rank 1");
        return false;
    }
    bool constant =
        pq_lower_weights_of(l, pq_in_index(l, 1))->constant != PTQC_GB_NONE;
    for (uint32_t i = 0; i + 2 < b->rank; i++) {
        int64_t d;
        constant = constant && pq_gv_dim_const(l, b, i, &d) && d == 1;
    }
    return constant && b->rank <= a->rank;
}

void
pq_lower_order_of_a(const pq_lower *l, uint32_t gv, uint32_t k_axis,
                    uint8_t *perm)
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

void
pq_lower_order_of_b(const pq_lower *l, uint32_t gv, uint8_t *perm)
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
    if (s->use_count != 1 || s->consumer == PQ_KG_NONE || s->is_output) {
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

int64_t
pq_lower_batch_map(const pq_ref *ref, uint32_t batch_rank, bool swapped)
{
    uint64_t map = 0;
    uint32_t skip = batch_rank + 2 - ref->rank; // leading axes it has not
    for (uint32_t i = 0; i < batch_rank + 2; i++) {
        uint32_t logical = i;
        if (swapped && i >= batch_rank) {
            logical = i == batch_rank ? batch_rank + 1 : batch_rank;
        }
        uint32_t axis = PQ_AXIS_NONE;
        if (logical >= skip) {
            axis = pq_ref_axis(ref, logical - skip);
        }
        map |= (uint64_t)axis << (4 * i);
    }
    return (int64_t)map;
}
