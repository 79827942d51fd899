// SPDX-License-Identifier: Apache-2.0
//
// attention: softmax(q k^T * SCALE + mask) v, written as the unfused ops are
// computed, so that fusing them changes no bit (docs/numerics.md section 8).
#include <math.h>
#include <string.h>

#include "ir/interp/eval.h"
#include "ir/interp/families.h"

typedef struct attention {
    int64_t batch, heads, kv_heads, tq, tk, d, dv;
    float scale;
    bool is_causal;
    const float *q, *k, *v, *mask;
    float *y;
    float *packed_k, *packed_v; // panels of one head
    float *score;               // [tq][tk]
    int64_t mask_stride[4];     // 0 along broadcast axes
} attention;

static ptqc_status
init_shape(pq_eval *e, attention *a)
{
    const pq_tensor *q = &e->in[0], *k = &e->in[1], *v = &e->in[2];
    if (q->rank != 4 || k->rank != 4 || v->rank != 4) {
        return pq_eval_fail(e, PTQC_E_INPUT, "q, k and v need rank 4");
    }
    a->batch = q->dims[0];
    a->heads = q->dims[1];
    a->tq = q->dims[2];
    a->d = q->dims[3];
    a->kv_heads = k->dims[1];
    a->tk = k->dims[2];
    a->dv = v->dims[3];
    bool fits =
        k->dims[0] == a->batch && v->dims[0] == a->batch &&
        k->dims[3] == a->d && v->dims[1] == a->kv_heads &&
        v->dims[2] == a->tk && a->kv_heads > 0 && a->heads % a->kv_heads == 0 &&
        pq_tensor_count(&e->out[0]) == a->batch * a->heads * a->tq * a->dv;
    if (!fits) {
        return pq_eval_fail(e, PTQC_E_INPUT,
                            "shapes of q, k and v do not "
                            "match");
    }
    a->scale = pq_op_f32(e->op, PQ_ATTR_SCALE, 1.0f / sqrtf((float)a->d));
    a->is_causal = pq_op_i64(e->op, PQ_ATTR_CAUSAL, 0) != 0;
    return PTQC_OK;
}

static ptqc_status
init_mask(pq_eval *e, attention *a)
{
    if (!pq_has_in(e, 3)) {
        return PTQC_OK;
    }
    const pq_tensor *t = &e->in[3];
    const int64_t want[4] = {a->batch, a->heads, a->tq, a->tk};
    int64_t stride = 1;
    if (t->rank > 4) {
        return pq_eval_fail(e, PTQC_E_INPUT, "the mask has rank %u", t->rank);
    }
    for (uint32_t i = 0; i < t->rank; i++) {
        uint32_t axis = 3 - i;
        int64_t dim = t->dims[t->rank - 1 - i];
        if (dim != 1 && dim != want[axis]) {
            return pq_eval_fail(e, PTQC_E_INPUT,
                                "mask dimension %lld, expected %lld",
                                (long long)dim, (long long)want[axis]);
        }
        a->mask_stride[axis] = dim == 1 ? 0 : stride;
        stride *= dim;
    }
    return pq_in_f32(e, 3, &a->mask);
}

static ptqc_status
init_operands(pq_eval *e, attention *a)
{
    PQ_TRY(pq_in_f32(e, 0, &a->q));
    PQ_TRY(pq_in_f32(e, 1, &a->k));
    PQ_TRY(pq_in_f32(e, 2, &a->v));
    PQ_TRY(pq_out_f32(e, 0, &a->y));
    a->packed_k =
        pq_scratch(e, pq_panels(a->tk) * PQ_PANEL * a->d, sizeof(float));
    PQ_TRY_ALLOC(a->packed_k);
    a->packed_v =
        pq_scratch(e, pq_panels(a->dv) * PQ_PANEL * a->tk, sizeof(float));
    PQ_TRY_ALLOC(a->packed_v);
    a->score = pq_scratch(e, a->tq * a->tk, sizeof *a->score);
    PQ_TRY_ALLOC(a->score);
    return PTQC_OK;
}

// Scores of row i become probabilities; -> how many keys take part.
static int64_t
row_softmax(const attention *a, int64_t b, int64_t h, int64_t i)
{
    float *s = a->score + i * a->tk;
    int64_t n = a->tk;
    if (a->is_causal) {
        n = i + a->tk - a->tq + 1;
        n = n < 0 ? 0 : n > a->tk ? a->tk : n;
    }
    for (int64_t j = 0; j < n; j++) {
        s[j] *= a->scale;
        if (a->mask != NULL) {
            s[j] += a->mask[b * a->mask_stride[0] + h * a->mask_stride[1] +
                            i * a->mask_stride[2] + j * a->mask_stride[3]];
        }
    }
    pq_softmax_row(s, s, n);
    return n;
}

static void
run_head(const attention *a, int64_t b, int64_t h)
{
    int64_t kv = b * a->kv_heads + h / (a->heads / a->kv_heads);
    int64_t head = b * a->heads + h;
    const pq_rows *rows = pq_rows_get();
    pq_pack_f32(a->k + kv * a->tk * a->d, a->d, a->tk, true, a->packed_k);
    pq_pack_f32(a->v + kv * a->tk * a->dv, a->tk, a->dv, false, a->packed_v);
    pq_product_f32(a->q + head * a->tq * a->d, a->packed_k, a->tq, a->d, a->tk,
                   a->score);
    for (int64_t i = 0; i < a->tq; i++) {
        int64_t n = row_softmax(a, b, h, i);
        float *y = a->y + (head * a->tq + i) * a->dv;
        for (int64_t j = 0; j < a->dv; j += PQ_PANEL) {
            float acc[PQ_PANEL] = {0};
            size_t width =
                (size_t)(a->dv - j < PQ_PANEL ? a->dv - j : PQ_PANEL);
            rows->dot_f32(acc, a->score + i * a->tk, a->packed_v + j * a->tk,
                          n);
            memcpy(y + j, acc, width * sizeof *acc);
        }
    }
}

ptqc_status
pq_eval_attention(pq_eval *e)
{
    attention a = {0};
    PQ_TRY(init_shape(e, &a));
    PQ_TRY(init_mask(e, &a));
    PQ_TRY(init_operands(e, &a));
    for (int64_t i = 0; i < a.batch * a.heads; i++) {
        run_head(&a, i / a.heads, i % a.heads);
    }
    return pq_end_f32(e, 0, a.y);
}
