// SPDX-License-Identifier: Apache-2.0
//
// Values that wait, see live.h.

#include "passes/calib/live.h"

#include "base/vec.h"

ptqc_status
pq_live_open(ptqc_ctx *ctx, const char *dir, pq_live *out)
{
    *out = (pq_live){0};
    return pq_scratch_open(ctx, dir, &out->scratch);
}

void
pq_live_close(ptqc_ctx *ctx, pq_live *live)
{
    pq_scratch_close(live->scratch);
    pq_free(ctx, live->tensors);
    pq_free(ctx, live->offsets);
    pq_free(ctx, live->buffer);
    *live = (pq_live){0};
}

ptqc_status
pq_live_append(ptqc_ctx *ctx, pq_live *live, const pq_tensor *t)
{
    void *tensors = live->tensors;
    void *offsets = live->offsets;
    size_t need = (size_t)live->count + 1;
    PQ_TRY(pq_vec_reserve(ctx, &tensors, &live->tensor_capacity, need,
                          sizeof *live->tensors));
    live->tensors = tensors;
    PQ_TRY(pq_vec_reserve(ctx, &offsets, &live->offset_capacity, need,
                          sizeof *live->offsets));
    live->offsets = offsets;
    PQ_TRY(pq_scratch_append(live->scratch, t->p, t->bytes,
                             &live->offsets[live->count]));
    live->tensors[live->count] = *t;
    live->tensors[live->count++].p = NULL;
    return PTQC_OK;
}

ptqc_status
pq_live_get(ptqc_ctx *ctx, pq_live *live, uint64_t sample, pq_tensor *out)
{
    pq_tensor t = live->tensors[sample];
    if (t.bytes > live->buffer_bytes || live->buffer == NULL) {
        pq_free(ctx, live->buffer);
        live->buffer_bytes = 0;
        live->buffer = pq_alloc(ctx, t.bytes);
        PQ_TRY_ALLOC(live->buffer);
        live->buffer_bytes = t.bytes;
    }
    PQ_TRY(pq_scratch_read(live->scratch, live->offsets[sample], live->buffer,
                           t.bytes));
    t.p = live->buffer;
    *out = t;
    return PTQC_OK;
}
