// SPDX-License-Identifier: Apache-2.0
//
// Constants in huge pages (resident.h).

#include "runtime/resident.h"

#include <string.h>
#include <sys/mman.h>

#include "base/checked.h"
#include "base/threads.h"
#include "runtime/host.h"

#define HUGE_PAGE  (UINT64_C(1) << 21)
#define ALIGNMENT  UINT64_C(64)        // of a constant
#define COPY_BYTES (UINT64_C(1) << 21) // what a task copies at least

typedef struct copying {
    const ptqc_artifact *artifact;
    pq_resident *to;
    uint64_t bytes; // of the whole copy
} copying;

// Bytes [begin, end) of the copy, in units of COPY_BYTES: the parts of the
// constants that lie there.
static void
copy_part(void *user, uint64_t begin, uint64_t end, uint32_t worker)
{
    const copying *c = user;
    uint64_t from = begin * COPY_BYTES, to = end * COPY_BYTES;
    (void)worker;
    for (uint32_t i = 0; i < c->artifact->constant_count; i++) {
        ptqc_bytes bytes = pq_artifact_constant(c->artifact, i);
        uint64_t first = c->to->offset[i], last = first + bytes.n;
        uint64_t low = first > from ? first : from;
        uint64_t high = last < to ? last : to;
        if (low < high) {
            memcpy(c->to->p + low, (const uint8_t *)bytes.p + (low - first),
                   high - low);
        }
    }
}

// Where each constant goes -> bytes of all; false: too many.
static bool
place(const ptqc_artifact *a, uint64_t *offset, uint64_t *out_bytes)
{
    uint64_t at = 0;
    for (uint32_t i = 0; i < a->constant_count; i++) {
        uint64_t n = pq_artifact_constant(a, i).n;
        offset[i] = at;
        if (n > UINT64_MAX / 2 - at) {
            return false;
        }
        at = (at + n + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    }
    *out_bytes = at;
    return true;
}

ptqc_status
pq_resident_init(ptqc_ctx *ctx, const ptqc_artifact *artifact, pq_resident *out)
{
    copying c = {.artifact = artifact, .to = out};
    *out = (pq_resident){0};
    out->offset =
        pq_alloc_array(ctx, artifact->constant_count, sizeof *out->offset);
    PQ_TRY_ALLOC(out->offset);
    if (!place(artifact, out->offset, &c.bytes)) {
        return PQ_FAIL(ctx, PTQC_E_RESOURCE, "constants are too large");
    }
    pq_pool *pool = pq_ctx_pool(ctx);
    PQ_TRY_ALLOC(pool);
    out->p = pq_host_alloc(ctx, c.bytes, HUGE_PAGE);
    PQ_TRY_ALLOC(out->p);
    // advice: where it is not taken, the pages are small
    (void)madvise(out->p, c.bytes, MADV_HUGEPAGE);
    pq_pool_for(pool, (c.bytes + COPY_BYTES - 1) / COPY_BYTES, 1, copy_part,
                &c);
    return PTQC_OK;
}

void
pq_resident_deinit(ptqc_ctx *ctx, pq_resident *r)
{
    pq_host_free(ctx, r->p);
    pq_free(ctx, r->offset);
    *r = (pq_resident){0};
}

ptqc_bytes
pq_resident_constant(const pq_resident *r, const ptqc_artifact *artifact,
                     uint32_t index)
{
    ptqc_bytes own = pq_artifact_constant(artifact, index);
    return r->p == NULL ? own : (ptqc_bytes){r->p + r->offset[index], own.n};
}
