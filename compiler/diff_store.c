// SPDX-License-Identifier: Apache-2.0
//
// See diff_store.h.

#include "compiler/diff_store.h"

pq_shown
pq_shown_of(const pq_tensor *t)
{
    bool is_f32 = t->dtype == PTQC_F32;
    return (pq_shown){.p = t->p,
                      .count = is_f32 ? t->bytes / sizeof(float) : 0,
                      .last_dim = t->rank > 1 ? t->dims[t->rank - 1] : 0};
}

ptqc_status
pq_diff_store_open(ptqc_ctx *ctx, const char *dir, uint32_t slots,
                   uint64_t samples, pq_diff_store *out)
{
    *out = (pq_diff_store){.ctx = ctx, .slots = slots, .samples = samples};
    out->all = pq_alloc_array(ctx, slots, samples * sizeof *out->all);
    out->counts = pq_alloc_array(ctx, slots, sizeof *out->counts);
    if (slots > 0) {
        PQ_TRY_ALLOC(out->all);
        PQ_TRY_ALLOC(out->counts);
    }
    return pq_scratch_open(ctx, dir, &out->scratch);
}

void
pq_diff_store_close(pq_diff_store *s)
{
    pq_scratch_close(s->scratch);
    pq_free(s->ctx, s->all);
    pq_free(s->ctx, s->counts);
    pq_free(s->ctx, s->buffers[0].p);
    pq_free(s->ctx, s->buffers[1].p);
    *s = (pq_diff_store){.ctx = s->ctx};
}

ptqc_status
pq_diff_store_put(pq_diff_store *s, uint32_t slot, const pq_tensor *t)
{
    pq_shown x = pq_shown_of(t);
    uint64_t sample = s->counts[slot]++;
    if (sample >= s->samples) {
        return PQ_FAIL(s->ctx, PTQC_E_INTERNAL, "diff: a value too many");
    }
    pq_stored *to = &s->all[slot * s->samples + sample];
    *to = (pq_stored){.count = x.count, .last_dim = x.last_dim};
    return x.count > 0 ? pq_scratch_append(s->scratch, x.p,
                                           x.count * sizeof *x.p, &to->offset)
                       : PTQC_OK;
}

ptqc_status
pq_diff_store_get(pq_diff_store *s, unsigned buffer, uint32_t slot,
                  uint64_t sample, pq_shown *out)
{
    struct pq_read_buffer *to = &s->buffers[buffer];
    *out = (pq_shown){0};
    if (sample >= s->counts[slot]) {
        return PTQC_OK;
    }
    const pq_stored *from = &s->all[slot * s->samples + sample];
    if (from->count > to->count) {
        pq_free(s->ctx, to->p);
        to->count = 0;
        to->p = pq_alloc_array(s->ctx, from->count, sizeof *to->p);
        PQ_TRY_ALLOC(to->p);
        to->count = from->count;
    }
    if (from->count > 0) {
        PQ_TRY(pq_scratch_read(s->scratch, from->offset, to->p,
                               from->count * sizeof *to->p));
    }
    *out = (pq_shown){to->p, from->count, from->last_dim};
    return PTQC_OK;
}
