// SPDX-License-Identifier: Apache-2.0
//
// Indices that are data: i32 or i64, counted from the end when negative.
#ifndef PTQC_BACKENDS_CPU_STEP_INDEX_H
#define PTQC_BACKENDS_CPU_STEP_INDEX_H

#include "spec.h"

static inline bool
pq_is_index(const pq_shape *s)
{
    return s != NULL && (s->dtype == PTQC_I64 || s->dtype == PTQC_I32);
}

static inline int64_t
pq_index_at(const void *p, uint32_t dtype, int64_t i)
{
    return dtype == PTQC_I64 ? ((const int64_t *)p)[i]
                             : ((const int32_t *)p)[i];
}

// Index within [0, dim), or -1 after a note of the failure.
static inline int64_t
pq_index_checked(const pq_run *run, int64_t index, int64_t dim)
{
    int64_t at = index < 0 ? index + dim : index;
    if (at < 0 || at >= dim) {
        atomic_store(run->failed, 1);
        return -1;
    }
    return at;
}

#endif
