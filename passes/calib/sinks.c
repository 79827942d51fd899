// SPDX-License-Identifier: Apache-2.0
//
// Attention sinks, see sinks.h.

#include "passes/calib/sinks.h"

#include <math.h>
#include <string.h>

#include "base/bits.h"
#include "base/vec.h"
#include "passes/calib/attended.h"
#include "passes/calib/median.h"

// Norms of tokens lie within a factor of two or three of each other; those of
// sinks are some ten to some thousand times the median.
#define PQ_SINK_NORM 6.0f

// Share of later tokens' attention, mean over heads (calib/attended.h; Gu et
// al., When Attention Sink Emerges in Language Models, 2024, section 3, take .3
// for one head). In SmolLM2-135M sinks have .1 to .7, other tokens at most .07.
#define PQ_SINK_SHARE 0.15f

enum { NORM_LANES = 8 };

// Flags of tokens.
enum { BY_NORM = 1, BY_ATTENTION = 2 };

void
pq_sinks_init(pq_sinks *s, ptqc_ctx *ctx, double factor)
{
    *s = (pq_sinks){.ctx = ctx, .factor = factor};
}

void
pq_sinks_deinit(pq_sinks *s)
{
    if (s->ctx == NULL) {
        return;
    }
    for (uint32_t i = 0; i < s->flag_capacity; i++) {
        pq_free(s->ctx, s->flags[i]);
    }
    pq_free(s->ctx, s->flags);
    pq_free(s->ctx, s->lengths);
    pq_free(s->ctx, s->weights);
    pq_free(s->ctx, s->norms);
    pq_free(s->ctx, s->sorted);
    pq_free(s->ctx, s->outliers);
    *s = (pq_sinks){0};
}

void
pq_sinks_reset(pq_sinks *s)
{
    ptqc_ctx *ctx = s->ctx;
    double factor = s->factor;
    pq_sinks_deinit(s);
    pq_sinks_init(s, ctx, factor);
}

// Of the arrays for n tokens.
static ptqc_status
make_room(pq_sinks *s, int64_t n)
{
    size_t room = (size_t)n;
    if (n <= s->room) {
        return PTQC_OK;
    }
    s->room = 0;
    pq_free(s->ctx, s->weights);
    pq_free(s->ctx, s->norms);
    pq_free(s->ctx, s->sorted);
    pq_free(s->ctx, s->outliers);
    s->weights = pq_alloc_array(s->ctx, room, sizeof *s->weights);
    s->norms = pq_alloc_array(s->ctx, room, sizeof *s->norms);
    s->sorted = pq_alloc_array(s->ctx, room, sizeof *s->sorted);
    s->outliers = pq_alloc(s->ctx, room);
    PQ_TRY_ALLOC(s->weights);
    PQ_TRY_ALLOC(s->norms);
    PQ_TRY_ALLOC(s->sorted);
    PQ_TRY_ALLOC(s->outliers);
    s->room = n;
    return PTQC_OK;
}

// Flags of a sample of n tokens, made when it is new.
static ptqc_status
make_flags(pq_sinks *s, uint64_t sample, int64_t n)
{
    void *flags = s->flags;
    void *lengths = s->lengths;
    PQ_TRY(pq_vec_reserve(s->ctx, &flags, &s->flag_capacity, (size_t)sample + 1,
                          sizeof *s->flags));
    s->flags = flags;
    PQ_TRY(pq_vec_reserve(s->ctx, &lengths, &s->length_capacity,
                          (size_t)sample + 1, sizeof *s->lengths));
    s->lengths = lengths;
    if (s->flags[sample] == NULL) {
        s->flags[sample] = pq_alloc(s->ctx, (size_t)n);
        PQ_TRY_ALLOC(s->flags[sample]);
        s->lengths[sample] = n;
    }
    return PTQC_OK;
}

static float
norm_of(const float *x, int64_t d)
{
    double sums[NORM_LANES] = {0}; // a fixed order that vectors can follow
    double sum = 0;
    int64_t i = 0;
    for (; i + NORM_LANES <= d; i += NORM_LANES) {
        for (int64_t k = 0; k < NORM_LANES; k++) {
            sums[k] += (double)x[i + k] * (double)x[i + k];
        }
    }
    for (; i < d; i++) {
        sum += (double)x[i] * (double)x[i];
    }
    for (int64_t k = 0; k < NORM_LANES; k++) {
        sum += sums[k];
    }
    return (float)sqrt(sum);
}

// s->norms of the rows; -> the norm above which one stands out.
static float
find_norms(pq_sinks *s, const float *x, int64_t n, int64_t d)
{
    for (int64_t i = 0; i < n; i++) {
        s->norms[i] = norm_of(x + i * d, d);
        s->sorted[i] = isnan(s->norms[i]) ? 0 : s->norms[i];
    }
    return n > 0 ? PQ_SINK_NORM * pq_sort_median(s->sorted, n) : 0;
}

ptqc_status
pq_sinks_see(pq_sinks *s, uint64_t sample, const pq_tensor *t)
{
    int64_t d = t->rank > 0 ? t->dims[t->rank - 1] : 0;
    if (t->dtype != PTQC_F32 || t->rank < 2 || d < 1 || t->bytes == 0) {
        return PTQC_OK;
    }
    int64_t n = (int64_t)(t->bytes / sizeof(float)) / d;
    PQ_TRY(make_room(s, n));
    PQ_TRY(make_flags(s, sample, n));
    if (s->lengths[sample] != n) {
        return PTQC_OK; // no tokens, or not these
    }
    float limit = find_norms(s, t->p, n, d);
    for (int64_t i = 0; i < n; i++) {
        if (s->norms[i] > limit && s->flags[sample][i] == 0) {
            s->flags[sample][i] = BY_NORM;
            s->count++;
        }
    }
    return PTQC_OK;
}

// Samples come in order, from 0 on; some may have no tokens.
static uint32_t
known_samples(const pq_sinks *s)
{
    uint32_t n = s->flag_capacity;
    while (n > 0 && s->flags[n - 1] == NULL) {
        n--;
    }
    return n;
}

void
pq_sinks_write(const pq_sinks *s, pq_strbuf *out)
{
    uint32_t samples = known_samples(s);
    pq_strbuf_add_le64(out, s->count);
    pq_strbuf_add_le32(out, samples);
    pq_strbuf_add_le32(out, 0);
    for (uint32_t i = 0; i < samples; i++) {
        int64_t n = s->flags[i] != NULL ? s->lengths[i] : 0;
        pq_strbuf_add_le64(out, (uint64_t)n);
        pq_strbuf_add(out, (pq_str){(const char *)s->flags[i], (size_t)n});
    }
}

ptqc_status
pq_sinks_read(pq_sinks *s, const uint8_t *p, size_t n)
{
    if (n < 16) {
        return PTQC_NO;
    }
    uint32_t samples = pq_load_le32(p + 8);
    s->count = pq_load_le64(p);
    size_t at = 16;
    for (uint32_t i = 0; i < samples; i++) {
        uint64_t tokens = n - at >= 8 ? pq_load_le64(p + at) : UINT64_MAX;
        at += 8;
        if (tokens == UINT64_MAX || tokens > n - at) {
            return PTQC_NO;
        }
        if (tokens > 0) {
            PQ_TRY(make_flags(s, i, (int64_t)tokens));
            memcpy(s->flags[i], p + at, (size_t)tokens);
            for (uint64_t k = 0; k < tokens; k++) {
                s->attended_count += p[at + k] == BY_ATTENTION;
            }
            at += (size_t)tokens;
        }
    }
    return at == n ? PTQC_OK : PTQC_NO;
}

static bool
are_queries_and_keys(const pq_tensor *q, const pq_tensor *k)
{
    return q->dtype == PTQC_F32 && k->dtype == PTQC_F32 && q->rank == 4 &&
           k->rank == 4 && q->dims[0] == k->dims[0] && k->dims[1] > 0 &&
           q->dims[1] % k->dims[1] == 0 && q->dims[2] == k->dims[2] &&
           q->dims[3] == k->dims[3] && q->bytes > 0;
}

ptqc_status
pq_sinks_see_attention(pq_sinks *s, uint64_t sample, const pq_tensor *q,
                       const pq_tensor *k, float scale)
{
    if (!are_queries_and_keys(q, k)) {
        return PTQC_OK;
    }
    const pq_attended_desc desc = {.q = q->p,
                                   .k = k->p,
                                   .batch = q->dims[0],
                                   .heads = q->dims[1],
                                   .kv_heads = k->dims[1],
                                   .tokens = q->dims[2],
                                   .d = q->dims[3],
                                   .scale = scale};
    int64_t n = desc.batch * desc.tokens;
    PQ_TRY(make_room(s, n));
    PQ_TRY(make_flags(s, sample, n));
    if (s->lengths[sample] != n) {
        return PTQC_OK;
    }
    PQ_TRY(pq_attended_share(s->ctx, &desc, s->norms));
    for (int64_t i = 0; i < n; i++) {
        if (s->norms[i] > PQ_SINK_SHARE && s->flags[sample][i] == 0) {
            s->flags[sample][i] = BY_ATTENTION;
            s->count++;
            s->attended_count++;
        }
    }
    return PTQC_OK;
}

ptqc_status
pq_sinks_weigh(pq_sinks *s, uint64_t sample, const float *x, int64_t n,
               int64_t d, pq_token_weights *out)
{
    PQ_TRY(make_room(s, n));
    bool has_flags = s->factor > 0 && sample < s->flag_capacity &&
                     s->flags[sample] != NULL && s->lengths[sample] == n;
    float limit = find_norms(s, x, n, d);
    for (int64_t i = 0; i < n; i++) {
        bool is_sink = has_flags && s->flags[sample][i] != 0;
        s->outliers[i] = s->norms[i] > limit;
        s->weights[i] = is_sink && s->outliers[i] == 0 ? (float)s->factor : 1;
    }
    *out = (pq_token_weights){s->weights, s->outliers};
    return PTQC_OK;
}
