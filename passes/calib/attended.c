// SPDX-License-Identifier: Apache-2.0
//
// Attention received, see attended.h. Sums are in f32: of each head over its
// queries, then over heads, both in order.

#include "passes/calib/attended.h"

#include <math.h>
#include <string.h>

#include "base/ctx.h"
#include "base/mathfn.h"
#include "base/threads.h"
#include "quant/linalg.h"

// p [count] = softmax of the scores of one query with the keys before it and
// its own.
static void
score_query(const pq_attended_desc *a, const float *q, const float *keys,
            int64_t count, float *p)
{
    float most = -INFINITY;
    float sum = 0;
    for (int64_t j = 0; j < count; j++) {
        p[j] = a->scale * (float)pq_dot(q, keys + j * a->d, a->d);
        most = fmaxf(most, p[j]);
    }
    for (int64_t j = 0; j < count; j++) {
        p[j] = pq_expf(p[j] - most);
        sum += p[j];
    }
    for (int64_t j = 0; j < count; j++) {
        p[j] /= sum;
    }
}

typedef struct pq_attended {
    const pq_attended_desc *desc;
    int64_t batch, step;
    float *p;     // owned: [workers][tokens]
    float *share; // owned: [heads][tokens]
} pq_attended;

static void
sum_heads(void *user, uint64_t begin, uint64_t end, uint32_t worker)
{
    const pq_attended *s = user;
    const pq_attended_desc *a = s->desc;
    float *p = s->p + worker * a->tokens;
    for (int64_t h = (int64_t)begin; h < (int64_t)end; h++) {
        int64_t kv = h / (a->heads / a->kv_heads);
        const float *q = a->q + (s->batch * a->heads + h) * a->tokens * a->d;
        const float *k =
            a->k + (s->batch * a->kv_heads + kv) * a->tokens * a->d;
        float *share = s->share + h * a->tokens;
        memset(share, 0, (size_t)a->tokens * sizeof *share);
        for (int64_t i = s->step - 1; i < a->tokens; i += s->step) {
            score_query(a, q + i * a->d, k, i + 1, p);
            for (int64_t j = 0; j < i; j++) {
                share[j] += p[j];
            }
        }
    }
}

static void
mean_of_heads(const pq_attended *s, float *out_share)
{
    const pq_attended_desc *a = s->desc;
    int64_t n = a->tokens;
    for (int64_t j = 0; j < n; j++) {
        int64_t later = n / s->step - (j + 1) / s->step; // queries behind j
        float sum = 0;
        for (int64_t h = 0; h < a->heads; h++) {
            sum += s->share[h * n + j];
        }
        out_share[j] =
            later >= PQ_ATTENDED_LATER ? sum / (float)(later * a->heads) : 0;
    }
}

ptqc_status
pq_attended_share(ptqc_ctx *ctx, const pq_attended_desc *a, float *out_share)
{
    size_t n = (size_t)a->tokens;
    struct pq_pool *pool = pq_ctx_pool(ctx);
    PQ_TRY_ALLOC(pool);
    pq_attended s = {.desc = a,
                     .step = (a->tokens + PQ_ATTENDED_QUERIES - 1) /
                             PQ_ATTENDED_QUERIES};
    ptqc_status st = PTQC_E_RESOURCE;
    s.p = pq_alloc_array(ctx, pq_pool_width(pool), n * sizeof *s.p);
    s.share = pq_alloc_array(ctx, (size_t)a->heads, n * sizeof *s.share);
    if (s.p != NULL && s.share != NULL) {
        for (s.batch = 0; s.batch < a->batch; s.batch++) {
            pq_pool_for(pool, (uint64_t)a->heads, 1, sum_heads, &s);
            mean_of_heads(&s, out_share + s.batch * a->tokens);
        }
        st = PTQC_OK;
    }
    pq_free(ctx, s.p);
    pq_free(ctx, s.share);
    return st;
}
