// SPDX-License-Identifier: Apache-2.0
//
// attention: softmax(q k^T * SCALE + mask) v, written as the unfused ops are
// computed, so that fusing them changes no bit (docs/numerics.md section 8).
#include <math.h>
#include <string.h>

#include "base/dtype.h"
#include "ir/interp/eval.h"
#include "ir/interp/families.h"

typedef struct attention {
    int64_t batch, heads, kv_heads, tq, tk, d, dv;
    float scale;
    bool is_causal;
    const float *q, *mask;
    const int64_t *positions; // [batch][tq]
    float *y;
    const pq_tensor *k, *v;         // f32, narrower floats, or i8 codes
    const float *k_scale, *v_scale; // [batch][kv_heads][tk] of codes, or NULL
    float *wide;                    // k or v of one head when they are narrower
    float *packed_k, *packed_v;     // panels of one head
    float *score;                   // [tq][keys]
    int64_t keys;           // of the current sequence that some query sees
    int64_t mask_stride[4]; // 0 along broadcast axes
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
init_positions(pq_eval *e, attention *a)
{
    if (!pq_has_in(e, 4)) {
        return PTQC_OK;
    }
    const pq_tensor *t = &e->in[4];
    if (t->rank != 2 || t->dims[0] != a->batch || t->dims[1] != a->tq ||
        a->is_causal) {
        return pq_eval_fail(e, PTQC_E_INPUT,
                            "positions do not match, or come with causal");
    }
    return pq_in_i64(e, 4, &a->positions);
}

// Quantized values become f32 at once; narrow floats and codes with scales
// head by head, as far as they are seen: states have room for many more keys.
static ptqc_status
init_source(pq_eval *e, uint32_t i, const pq_tensor **out,
            const float **out_scale)
{
    uint32_t kind = pq_value_kind(e->g, e->op->inputs[i]);
    *out = &e->in[i];
    if (kind == PQ_KIND_FLOAT) {
        return PTQC_OK;
    }
    if (kind == PQ_KIND_INT) {
        const pq_tensor *s = &e->in[4 + i];
        if (s->rank != 3 || s->dims[0] != (*out)->dims[0] ||
            s->dims[1] != (*out)->dims[1] || s->dims[2] != (*out)->dims[2]) {
            return pq_eval_fail(e, PTQC_E_INPUT, "scales do not match");
        }
        return pq_in_f32(e, 4 + i, out_scale);
    }
    const float *p;
    PQ_TRY(pq_in_f32(e, i, &p));
    pq_tensor *copy = pq_scratch(e, 1, sizeof *copy);
    PQ_TRY_ALLOC(copy);
    *copy = e->in[i];
    copy->dtype = PTQC_F32;
    copy->p = (void *)(uintptr_t)p; // only read
    *out = copy;
    return PTQC_OK;
}

static ptqc_status
init_operands(pq_eval *e, attention *a)
{
    PQ_TRY(pq_in_f32(e, 0, &a->q));
    PQ_TRY(init_source(e, 1, &a->k, &a->k_scale));
    PQ_TRY(init_source(e, 2, &a->v, &a->v_scale));
    PQ_TRY(pq_out_f32(e, 0, &a->y));
    int64_t widest = a->d > a->dv ? a->d : a->dv;
    a->wide = pq_scratch(e, a->tk * widest, sizeof *a->wide);
    PQ_TRY_ALLOC(a->wide);
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

// How many keys, the first ones, query i of sequence b sees.
static int64_t
visible_keys(const attention *a, int64_t b, int64_t i)
{
    int64_t n = a->tk;
    if (a->positions != NULL) {
        n = a->positions[b * a->tq + i] + 1;
    } else if (a->is_causal) {
        n = i + a->tk - a->tq + 1;
    }
    return n < 0 ? 0 : n > a->tk ? a->tk : n;
}

// Of the keys of query head h of sequence b; NULL: they have none.
static const float *
scales_of(const attention *a, const float *all, int64_t b, int64_t h)
{
    int64_t kv = b * a->kv_heads + h / (a->heads / a->kv_heads);
    return all == NULL ? NULL : all + kv * a->tk;
}

static void
scale_row(float *s, const float *scale, int64_t n)
{
    for (int64_t j = 0; scale != NULL && j < n; j++) {
        s[j] *= scale[j];
    }
}

// Scores of row i become weights of values; -> how many keys take part.
static int64_t
row_softmax(const attention *a, int64_t b, int64_t h, int64_t i)
{
    float *s = a->score + i * a->keys;
    int64_t n = visible_keys(a, b, i);
    scale_row(s, scales_of(a, a->k_scale, b, h), n);
    for (int64_t j = 0; j < n; j++) {
        s[j] *= a->scale;
        if (a->mask != NULL) {
            s[j] += a->mask[b * a->mask_stride[0] + h * a->mask_stride[1] +
                            i * a->mask_stride[2] + j * a->mask_stride[3]];
        }
    }
    pq_softmax_row(s, s, n);
    scale_row(s, scales_of(a, a->v_scale, b, h), n);
    return n;
}

// The keys that are seen, of one head of k or v, as f32 [keys][row].
static const float *
head_rows(const attention *a, const pq_tensor *t, int64_t head, int64_t row)
{
    size_t size = pq_dtype_bits(t->dtype) / 8;
    uint8_t *p = (uint8_t *)t->p + (size_t)(head * a->tk * row) * size;
    if (t->dtype == PTQC_F32) {
        return (const float *)(const void *)p;
    }
    if (t->dtype == PTQC_I8) {
        for (int64_t i = 0; i < a->keys * row; i++) {
            a->wide[i] = (float)(int8_t)p[i];
        }
        return a->wide;
    }
    pq_tensor part = {
        .dtype = t->dtype, .rank = 2, .dims = {a->keys, row}, .p = p};
    pq_load_f32s(&part, a->wide);
    return a->wide;
}

static void
run_head(const attention *a, int64_t b, int64_t h)
{
    int64_t head = b * a->heads + h;
    const pq_rows *rows = pq_rows_get();
    pq_product_f32(a->q + head * a->tq * a->d, a->packed_k, a->tq, a->d,
                   a->keys, a->score);
    for (int64_t i = 0; i < a->tq; i++) {
        int64_t n = row_softmax(a, b, h, i);
        float *y = a->y + (head * a->tq + i) * a->dv;
        for (int64_t j = 0; j < a->dv; j += PQ_PANEL) {
            float acc[PQ_PANEL] = {0};
            size_t width =
                (size_t)(a->dv - j < PQ_PANEL ? a->dv - j : PQ_PANEL);
            rows->dot_f32(acc, a->score + i * a->keys,
                          a->packed_v + j * a->keys, n);
            memcpy(y + j, acc, width * sizeof *acc);
        }
    }
}

// The heads of sequence b that share head kv of k and v.
static void
run_group(attention *a, int64_t b, int64_t kv)
{
    int64_t group = a->heads / a->kv_heads;
    int64_t head = b * a->kv_heads + kv;
    a->keys = 0;
    for (int64_t i = 0; i < a->tq; i++) {
        int64_t n = visible_keys(a, b, i);
        a->keys = n > a->keys ? n : a->keys;
    }
    pq_pack_f32(head_rows(a, a->k, head, a->d), a->d, a->keys, true,
                a->packed_k);
    pq_pack_f32(head_rows(a, a->v, head, a->dv), a->keys, a->dv, false,
                a->packed_v);
    for (int64_t h = kv * group; h < (kv + 1) * group; h++) {
        run_head(a, b, h);
    }
}

// Whether k (i = 1) or v (i = 2) is as its scales, or their absence, ask.
static bool
is_source(pq_graph *g, const pq_op *op, uint32_t i)
{
    bool has_scales =
        op->input_count > 4 + i && !pq_value_is_none(op->inputs[4 + i]);
    bool is_int = pq_value_kind(g, op->inputs[i]) == PQ_KIND_INT;
    return is_int == has_scales &&
           (!is_int || pq_graph_value(g, op->inputs[i])->type.dtype == PTQC_I8);
}

const char *
pq_rule_attention(pq_graph *g, const pq_op *op)
{
    for (uint32_t i = 3; i < op->input_count; i++) {
        uint32_t kind = pq_value_kind(g, op->inputs[i]);
        bool is_positions = kind == PQ_KIND_INT;
        if (kind != PQ_KIND_NONE && is_positions != (i == 4)) {
            return "only positions are integers, and they are";
        }
    }
    return is_source(g, op, 1) && is_source(g, op, 2)
               ? NULL
               : "k and v are real, or i8 with scales";
}

ptqc_status
pq_eval_attention(pq_eval *e)
{
    attention a = {0};
    PQ_TRY(init_shape(e, &a));
    PQ_TRY(init_mask(e, &a));
    PQ_TRY(init_positions(e, &a));
    PQ_TRY(init_operands(e, &a));
    for (int64_t i = 0; i < a.batch * a.kv_heads; i++) {
        run_group(&a, i / a.kv_heads, i % a.kv_heads);
    }
    return pq_end_f32(e, 0, a.y);
}
