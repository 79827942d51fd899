// SPDX-License-Identifier: Apache-2.0
//
// Reading of axis maps (kernel_axes.h).
#include "kernel_axes.h"

#include <string.h>

void
pq_kg_launch_axes(pq_kg_launcher *l, const pq_kg_tensor *t, uint32_t param,
                  pq_kg_axes *out)
{
    int64_t dense[PTQC_MAX_RANK];
    memset(out, 0, sizeof *out);
    if (!PQ_KG_NEED(l, t != NULL && t->rank == 4)) {
        return;
    }
    pq_kg_strides(t, dense);
    uint64_t map = (uint64_t)pq_kg_i64(l->job, param);
    uint32_t seen = 0;
    for (uint32_t i = 0; i < 4 && l->st == PTQC_BE_OK; i++) {
        uint32_t axis = (uint32_t)(map >> (4 * i)) & 15u;
        if (PQ_KG_NEED(l, axis < 4 && (seen >> axis & 1) == 0)) {
            seen |= 1u << axis;
            out->dims[i] = t->dims[axis];
            out->strides[i] = dense[axis];
        }
    }
    PQ_KG_NEED(l, (map >> 12 & 15u) == 3);
}

void
pq_kg_need_positions(pq_kg_launcher *l, const pq_kg_tensor *t, int64_t batch,
                     int64_t tokens)
{
    PQ_KG_NEED(l, t != NULL && t->dtype == PTQC_I32 && t->rank == 2 &&
                      t->dims[0] == batch && t->dims[1] == tokens);
}
