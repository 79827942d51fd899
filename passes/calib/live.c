// SPDX-License-Identifier: Apache-2.0
//
// Values that wait, see live.h.

#include "passes/calib/live.h"

#include "base/hash.h"
#include "base/threads.h"
#include "base/vec.h"

#define PART_BYTES ((size_t)256 << 10) // of a sample, copied by one thread

// Between two large products no thread should wait for another's copies.
typedef struct pq_live_copy {
    pq_live *live;
    const pq_tensor *tensor; // to be written
    pq_live_sample *sample;
    uint64_t offset; // of what is read
    size_t bytes;
    ptqc_status st;          // of writing
    _Atomic bool has_failed; // a part could not be read
} pq_live_copy;

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

// Part 0, which is the calling thread's, writes and says when it cannot; part 1
// hashes.
static void
write_parts(void *user, uint64_t begin, uint64_t end, uint32_t worker)
{
    pq_live_copy *c = user;
    const pq_tensor *t = c->tensor;
    (void)worker;
    for (uint64_t i = begin; i < end; i++) {
        if (i == 0) {
            c->st = pq_scratch_append(c->live->scratch, t->p, t->bytes,
                                      &c->sample->offset);
        } else {
            c->sample->hash = pq_hash64(t->p, t->bytes);
        }
    }
}

// By all threads when there is enough to do.
static ptqc_status
copy_parts(ptqc_ctx *ctx, size_t bytes, uint64_t parts, pq_task_fn fn,
           pq_live_copy *c)
{
    if (bytes <= PART_BYTES) {
        fn(c, 0, parts, 0);
        return PTQC_OK;
    }
    struct pq_pool *pool = pq_ctx_pool(ctx);
    PQ_TRY_ALLOC(pool);
    pq_pool_for(pool, parts, 1, fn, c);
    return PTQC_OK;
}

ptqc_status
pq_live_append(ptqc_ctx *ctx, pq_live *live, const pq_tensor *t)
{
    pq_live_sample sample = {.tensor = *t};
    pq_live_copy c = {.live = live, .tensor = t, .sample = &sample};
    PQ_TRY(copy_parts(ctx, t->bytes, 2, write_parts, &c));
    PQ_TRY(c.st);
    return add(ctx, live, &sample);
}

static void
read_parts(void *user, uint64_t begin, uint64_t end, uint32_t worker)
{
    pq_live_copy *c = user;
    size_t first = (size_t)begin * PART_BYTES;
    size_t last = (size_t)end * PART_BYTES;
    last = last < c->bytes ? last : c->bytes;
    (void)worker;
    if (!pq_scratch_try_read(c->live->scratch, c->offset + first,
                             (uint8_t *)c->live->buffer + first,
                             last - first)) {
        c->has_failed = true;
    }
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
    pq_live_copy c = {.live = live, .offset = sample->offset, .bytes = bytes};
    PQ_TRY(copy_parts(ctx, bytes, (bytes + PART_BYTES - 1) / PART_BYTES,
                      read_parts, &c));
    return c.has_failed // says why, or the second try succeeds
               ? pq_scratch_read(live->scratch, c.offset, live->buffer, bytes)
               : PTQC_OK;
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
