// SPDX-License-Identifier: Apache-2.0
//
// Values that wait, see live.h.

#include "passes/calib/live.h"

#include "base/hash.h"
#include "base/vec.h"

ptqc_status
pq_live_open(ptqc_ctx *ctx, const char *dir, pq_live *out)
{
    *out = (pq_live){0};
    return pq_scratch_open(ctx, dir, &out->scratch);
}

ptqc_status
pq_live_create(ptqc_ctx *ctx, const char *path, pq_live *out)
{
    *out = (pq_live){0};
    return pq_scratch_create(ctx, path, &out->scratch);
}

void
pq_live_close(ptqc_ctx *ctx, pq_live *live)
{
    pq_scratch_close(live->scratch);
    pq_free(ctx, live->samples);
    pq_free(ctx, live->buffer);
    *live = (pq_live){0};
}

static ptqc_status
add(ptqc_ctx *ctx, pq_live *live, const pq_live_sample *sample)
{
    void *samples = live->samples;
    PQ_TRY(pq_vec_reserve(ctx, &samples, &live->capacity,
                          (size_t)live->count + 1, sizeof *live->samples));
    live->samples = samples;
    live->samples[live->count] = *sample;
    live->samples[live->count++].tensor.p = NULL;
    return PTQC_OK;
}

ptqc_status
pq_live_append(ptqc_ctx *ctx, pq_live *live, const pq_tensor *t)
{
    pq_live_sample sample = {.tensor = *t, .hash = pq_hash64(t->p, t->bytes)};
    PQ_TRY(pq_scratch_append(live->scratch, t->p, t->bytes, &sample.offset));
    return add(ctx, live, &sample);
}

// The bytes of a sample, in the buffer.
static ptqc_status
read_bytes(ptqc_ctx *ctx, pq_live *live, const pq_live_sample *sample)
{
    size_t bytes = sample->tensor.bytes;
    if (bytes > live->buffer_bytes || live->buffer == NULL) {
        pq_free(ctx, live->buffer);
        live->buffer_bytes = 0;
        live->buffer = pq_alloc(ctx, bytes);
        PQ_TRY_ALLOC(live->buffer);
        live->buffer_bytes = bytes;
    }
    return pq_scratch_read(live->scratch, sample->offset, live->buffer, bytes);
}

ptqc_status
pq_live_get(ptqc_ctx *ctx, pq_live *live, uint64_t sample, pq_tensor *out)
{
    const pq_live_sample *s = &live->samples[sample];
    PQ_TRY(read_bytes(ctx, live, s));
    *out = s->tensor;
    out->p = live->buffer;
    return PTQC_OK;
}

ptqc_status
pq_live_add(ptqc_ctx *ctx, pq_live *live, const pq_live_sample *sample)
{
    uint64_t bytes = pq_scratch_bytes(live->scratch);
    size_t n = sample->tensor.bytes;
    if (sample->offset > bytes || n > bytes - sample->offset) {
        return PTQC_NO;
    }
    PQ_TRY(read_bytes(ctx, live, sample));
    return pq_hash64(live->buffer, n) == sample->hash ? add(ctx, live, sample)
                                                      : PTQC_NO;
}
