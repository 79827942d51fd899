// SPDX-License-Identifier: Apache-2.0
//
// Growing arrays: one function that makes room; the owner keeps pointer,
// count and capacity.
#ifndef PTQC_BASE_VEC_H
#define PTQC_BASE_VEC_H

#include "base/ctx.h"

// Makes room for `need` elements of `size` bytes in *p (from pq_alloc, or
// NULL with capacity 0), doubling. New room is zeroed. On failure nothing
// changes.
static inline PTQC_MUST_USE ptqc_status
pq_vec_reserve(ptqc_ctx *ctx, void **p, uint32_t *capacity, size_t need,
               size_t size)
{
    if (need <= *capacity) {
        return PTQC_OK;
    }
    size_t want = *capacity < 8 ? 8 : (size_t)*capacity * 2;
    want = want < need ? need : want;
    if (want > UINT32_MAX) {
        return pq_fail(ctx, PTQC_E_RESOURCE, "array of %zu elements", want);
    }
    void *grown = pq_realloc_array(ctx, *p, *capacity, want, size);
    if (grown == NULL) {
        return PTQC_E_RESOURCE;
    }
    *p = grown;
    *capacity = (uint32_t)want;
    return PTQC_OK;
}

#endif
