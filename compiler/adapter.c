// SPDX-License-Identifier: Apache-2.0
//
// Tensors of the public API and ours.

#include "compiler/adapter.h"

#include <assert.h>
#include <string.h>

ptqc_tensor
pq_tensor_to_public(const pq_tensor *t)
{
    ptqc_tensor out = {
        .dtype = t->dtype, .rank = t->rank, .data = t->p, .bytes = t->bytes};
    memcpy(out.dims, t->dims, sizeof out.dims);
    return out;
}

pq_tensor
pq_tensor_from_public(const ptqc_tensor *t)
{
    pq_tensor out = {
        .dtype = t->dtype, .rank = t->rank, .p = t->data, .bytes = t->bytes};
    memcpy(out.dims, t->dims, sizeof out.dims);
    return out;
}

ptqc_status
pq_sample_adapter_init(pq_sample_adapter *a, pq_arena *arena, ptqc_sample_fn fn,
                       void *user, uint32_t input_count)
{
    *a = (pq_sample_adapter){.fn = fn, .user = user, .count = input_count};
    a->tensors =
        pq_arena_array(arena, (size_t)input_count + 1, sizeof *a->tensors);
    PQ_TRY_ALLOC(a->tensors);
    return PTQC_OK;
}

ptqc_status
pq_sample_adapter_get(void *user, uint64_t index, pq_tensor *tensors,
                      uint32_t count)
{
    pq_sample_adapter *a = user;
    assert(count == a->count);
    memset(a->tensors, 0, count * sizeof *a->tensors);
    PQ_TRY(a->fn(a->user, index, a->tensors, count));
    for (uint32_t i = 0; i < count; i++) {
        tensors[i] = pq_tensor_from_public(&a->tensors[i]);
    }
    return PTQC_OK;
}
