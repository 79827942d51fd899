// SPDX-License-Identifier: Apache-2.0
//
// Reading of axis maps (step_axes.h).
#include "step_axes.h"

ptqc_be_status
pq_read_axes(const pq_prep *prep, const pq_shape *s, uint32_t param,
             pq_axes *out)
{
    PQ_NEED(prep, s != NULL && (s->rank == 3 || s->rank == 4));
    int64_t dense[4];
    int64_t stride = s->element_bytes;
    for (uint32_t i = s->rank; i-- > 0;) {
        dense[i] = stride;
        stride *= s->dims[i];
    }
    out->dims[3] = 1;
    out->strides[3] = s->element_bytes;
    uint64_t map = (uint64_t)pq_prep_i64(prep, param);
    uint32_t seen = 0;
    for (uint32_t i = 0; i < s->rank; i++) {
        uint32_t axis = (uint32_t)(map >> (4 * i)) & 15u;
        PQ_NEED(prep, axis < s->rank && (seen >> axis & 1) == 0);
        seen |= 1u << axis;
        out->dims[i] = s->dims[axis];
        out->strides[i] = dense[axis];
    }
    PQ_NEED(prep, out->strides[s->rank - 1] == s->element_bytes);
    return PTQC_BE_OK;
}

bool
pq_is_positions(const pq_shape *s, int64_t batch, int64_t tokens)
{
    return s != NULL && s->dtype == PTQC_I32 && s->rank == 2 &&
           s->dims[0] == batch && s->dims[1] == tokens;
}

pq_attention_strides
pq_strides_of(const pq_axes *a)
{
    return (pq_attention_strides){a->strides[0], a->strides[1], a->strides[2]};
}
