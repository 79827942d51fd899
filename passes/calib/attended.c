// SPDX-License-Identifier: Apache-2.0
//
// Attention received, see attended.h. Sums are in f32, heads and queries in
// order.

#include "passes/calib/attended.h"

#include <math.h>

#include "base/ctx.h"
#include "base/mathfn.h"
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

static void
add_head(const pq_attended_desc *a, int64_t batch, int64_t head, float *p,
         float *share, int64_t step)
{
    int64_t kv = head / (a->heads / a->kv_heads);
    const float *q = a->q + (batch * a->heads + head) * a->tokens * a->d;
    const float *k = a->k + (batch * a->kv_heads + kv) * a->tokens * a->d;
    for (int64_t i = step - 1; i < a->tokens; i += step) {
        score_query(a, q + i * a->d, k, i + 1, p);
        for (int64_t j = 0; j < i; j++) {
            share[j] += p[j];
        }
    }
}

ptqc_status
pq_attended_share(ptqc_ctx *ctx, const pq_attended_desc *a, float *out_share)
{
    int64_t n = a->tokens;
    int64_t step = (n + PQ_ATTENDED_QUERIES - 1) / PQ_ATTENDED_QUERIES;
    float *p = pq_alloc_array(ctx, (size_t)n, sizeof *p);
    PQ_TRY_ALLOC(p);
    for (int64_t b = 0; b < a->batch; b++) {
        float *share = out_share + b * n;
        for (int64_t j = 0; j < n; j++) {
            share[j] = 0;
        }
        for (int64_t h = 0; h < a->heads; h++) {
            add_head(a, b, h, p, share, step);
        }
        for (int64_t j = 0; j < n; j++) {
            int64_t later = n / step - (j + 1) / step; // queries behind j
            bool tells = later >= PQ_ATTENDED_LATER;
            share[j] = tells ? share[j] / (float)(later * a->heads) : 0;
        }
    }
    pq_free(ctx, p);
    return PTQC_OK;
}
