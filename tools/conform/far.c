// SPDX-License-Identifier: Apache-2.0
//
// Buffers of devices with memory of their own: mirrors of the kit's buffers,
// guards included, copied up before a run and down behind it. Their bytes
// begin inside of a buffer, so that offsets are tried, too.
#include <stdio.h>
#include <string.h>

#include "conform.h"

ptqc_be_status
pq_far_make(const pq_subject *s, uint64_t bytes, uint64_t align, uint64_t guard,
            pq_far *out)
{
    uint64_t step = align < guard ? guard : align; // powers of two
    *out = (pq_far){.lead = step, .bytes = step + bytes + guard};
    ptqc_call call;
    pq_call_init(&call, s->ctx, s->plugin);
    ptqc_be_status st = s->vt->buf_alloc(
        &call, s->plugin->instance, (ptqc_str){s->device, strlen(s->device)},
        out->bytes, step, &out->buf);
    if (st != PTQC_BE_OK) {
        out->buf = NULL;
    }
    return st;
}

ptqc_be_status
pq_far_write(const pq_subject *s, const pq_far *f, const uint8_t *p)
{
    ptqc_call call;
    pq_call_init(&call, s->ctx, s->plugin);
    return s->vt->buf_write(&call, f->buf, 0,
                            (ptqc_bytes){p - f->lead, f->bytes});
}

ptqc_be_status
pq_far_read(const pq_subject *s, const pq_far *f, uint8_t *p)
{
    ptqc_call call;
    pq_call_init(&call, s->ctx, s->plugin);
    return s->vt->buf_read(&call, f->buf, 0, p - f->lead, f->bytes);
}

void
pq_far_free(const pq_subject *s, pq_far *f)
{
    if (f->buf != NULL) {
        s->vt->buf_free(f->buf);
    }
    *f = (pq_far){0};
}
