// SPDX-License-Identifier: Apache-2.0
//
// rope: pairs of elements turned by position * frequency (Su et al., RoFormer,
// equation 34), rounded as docs/numerics.md section 8 says.
#include <math.h>
#include <string.h>

#include "base/mathfn.h"
#include "ir/interp/eval.h"
#include "ir/interp/families.h"

typedef struct rope {
    int64_t batch, heads, tokens, row; // x [batch][heads][tokens][row]
    int64_t pairs;
    int64_t first_step; // from the first element of a pair to that of the next
    int64_t second;     // from the first element of a pair to its second
    const int64_t *positions; // [batch][tokens]
    const float *frequency;   // [pairs]
    const float *x;
    float *y;
    float *cosine, *sine; // [pairs], of the current token
} rope;

static ptqc_status
init_rope(pq_eval *e, rope *r)
{
    const pq_tensor *x = &e->in[0];
    const pq_tensor *positions = &e->in[1];
    bool is_interleaved =
        pq_op_i64(e->op, PQ_ATTR_MODE, PQ_ROPE_HALVES) == PQ_ROPE_INTERLEAVED;
    r->pairs = pq_tensor_count(&e->in[2]);
    if (x->rank != 4 || positions->rank != 2 ||
        positions->dims[0] != x->dims[0] || positions->dims[1] != x->dims[2] ||
        r->pairs > x->dims[3] / 2) {
        return pq_eval_fail(e, PTQC_E_INPUT, "shapes do not match");
    }
    r->batch = x->dims[0];
    r->heads = x->dims[1];
    r->tokens = x->dims[2];
    r->row = x->dims[3];
    r->first_step = is_interleaved ? 2 : 1;
    r->second = is_interleaved ? 1 : r->pairs;
    PQ_TRY(pq_in_f32(e, 0, &r->x));
    PQ_TRY(pq_in_i64(e, 1, &r->positions));
    PQ_TRY(pq_in_f32(e, 2, &r->frequency));
    PQ_TRY(pq_out_f32(e, 0, &r->y));
    r->cosine = pq_scratch(e, r->pairs, sizeof *r->cosine);
    PQ_TRY_ALLOC(r->cosine);
    r->sine = pq_scratch(e, r->pairs, sizeof *r->sine);
    PQ_TRY_ALLOC(r->sine);
    return PTQC_OK;
}

static void
turn_row(const rope *r, const float *x, float *y)
{
    memcpy(y, x, (size_t)r->row * sizeof *y);
    for (int64_t i = 0; i < r->pairs; i++) {
        int64_t first = i * r->first_step;
        float a = x[first];
        float b = x[first + r->second];
        float b_sine = b * r->sine[i];
        float b_cosine = b * r->cosine[i];
        y[first] = fmaf(a, r->cosine[i], -b_sine);
        y[first + r->second] = fmaf(a, r->sine[i], b_cosine);
    }
}

static void
turn_token(const rope *r, int64_t b, int64_t t)
{
    float position = (float)r->positions[b * r->tokens + t];
    for (int64_t i = 0; i < r->pairs; i++) {
        float angle = position * r->frequency[i];
        r->cosine[i] = pq_cosf(angle);
        r->sine[i] = pq_sinf(angle);
    }
    for (int64_t h = 0; h < r->heads; h++) {
        int64_t at = ((b * r->heads + h) * r->tokens + t) * r->row;
        turn_row(r, r->x + at, r->y + at);
    }
}

ptqc_status
pq_eval_rope(pq_eval *e)
{
    rope r = {0};
    PQ_TRY(init_rope(e, &r));
    for (int64_t i = 0; i < r.batch * r.tokens; i++) {
        turn_token(&r, i / r.tokens, i % r.tokens);
    }
    return pq_end_f32(e, 0, r.y);
}
