// SPDX-License-Identifier: Apache-2.0
//
// Bytes of what was learned, see state.h.

#include "passes/calib/state.h"

#include <math.h>
#include <string.h>

// Bins are numbered by at most so much, so that no sum of numbers overflows.
#define MOST_FIRST ((int64_t)1 << 62)

void
pq_state_bytes(pq_state *s, void *p, size_t n)
{
    if (n == 0) { // no bins: p may be NULL
        return;
    }
    if (s->out != NULL) {
        pq_strbuf_add(s->out, (pq_str){p, n});
        return;
    }
    s->is_bad = s->is_bad || n > s->n;
    if (!s->is_bad) {
        memcpy(p, s->p, n);
        s->p += n;
        s->n -= n;
    }
}

static bool
is_histogram(const pq_histogram *h)
{
    return h->width >= 0 && isfinite(h->width) && h->count >= 0 &&
           h->count <= PQ_HISTOGRAM_BINS && h->first > -MOST_FIRST &&
           h->first < MOST_FIRST && (h->count == 0 || h->width > 0);
}

static ptqc_status
make_bins(pq_state *s, pq_histogram *h)
{
    if (s->out != NULL) {
        return PTQC_OK;
    }
    s->is_bad = s->is_bad || !is_histogram(h);
    if (s->is_bad || h->count == 0) {
        h->count = 0;
        return PTQC_OK;
    }
    h->bins = pq_alloc_array(h->ctx, (size_t)h->count, sizeof *h->bins);
    if (h->bins == NULL) {
        h->count = 0;
    }
    PQ_TRY_ALLOC(h->bins);
    return PTQC_OK;
}

static ptqc_status
put_histogram(pq_state *s, pq_histogram *h)
{
    PQ_STATE(s, h->width);
    PQ_STATE(s, h->first);
    PQ_STATE(s, h->count);
    PQ_STATE(s, h->zeros);
    PQ_STATE(s, h->others);
    PQ_TRY(make_bins(s, h));
    pq_state_bytes(s, h->bins, (size_t)h->count * sizeof *h->bins);
    return PTQC_OK;
}

static bool
is_range(double min, double max)
{
    return isfinite(min) && isfinite(max) && min <= 0 && max >= 0;
}

ptqc_status
pq_state_observer(pq_state *s, pq_observer *o)
{
    PQ_STATE(s, o->min);
    PQ_STATE(s, o->max);
    PQ_STATE(s, o->count);
    PQ_STATE(s, o->refused);
    PQ_STATE(s, o->samples);
    PQ_STATE(s, o->mean_min);
    PQ_STATE(s, o->mean_max);
    s->is_bad = s->is_bad || !is_range((double)o->min, (double)o->max) ||
                !is_range(o->mean_min, o->mean_max);
    return put_histogram(s, &o->histogram);
}
