// SPDX-License-Identifier: Apache-2.0
//
// Inference of attention and of what stands around it in language models:
// rotary positions and the update of key and value states.
#include "base/dtype.h"
#include "ir/infer.h"

// Input i, when present, must be i32 [batch, tokens].
static ptqc_status
check_positions(const pq_infer *c, uint32_t i, pq_dim batch, pq_dim tokens)
{
    const pq_value *v = pq_infer_in(c, i);
    if (v == NULL) {
        return PTQC_OK;
    }
    if (v->type.dtype != PTQC_I32) {
        return pq_infer_refuse(c, (int)i, "positions are i32, found %s",
                               pq_dtype_name(v->type.dtype));
    }
    PQ_TRY(pq_infer_rank(c, i, 2, 2));
    PQ_TRY(pq_infer_dim(c, i, 0, batch));
    return pq_infer_dim(c, i, 1, tokens);
}

static ptqc_status
check_mask(const pq_infer *c, const pq_dim scores[4])
{
    const pq_value *mask = pq_infer_in(c, 3);
    if (mask == NULL) {
        return PTQC_OK;
    }
    PQ_TRY(pq_infer_rank(c, 3, 0, 4));
    int64_t size;
    for (uint32_t i = 0; i < mask->type.rank; i++) {
        uint32_t axis = 4 - mask->type.rank + i;
        pq_dim ignored;
        if (!pq_dim_is_const(c->g, mask->type.dims[i], &size) || size != 1) {
            PQ_TRY(pq_infer_dim(c, 3, i, scores[axis]));
        }
        PQ_TRY(pq_infer_broadcast_dim(c, 3, scores[axis], mask->type.dims[i],
                                      &ignored));
    }
    return PTQC_OK;
}

// Codes i8 need scales f32 [b, kv_heads, tk] as input 5 + i, others have none.
static ptqc_status
check_scales(const pq_infer *c, uint32_t i)
{
    const pq_type *t = &pq_infer_in(c, 1 + i)->type;
    const pq_value *scales = pq_infer_in(c, 5 + i);
    if ((scales != NULL) != (t->dtype == PTQC_I8)) {
        return pq_infer_refuse(c, (int)(1 + i),
                               "i8 codes and scales come together");
    }
    if (scales == NULL) {
        return PTQC_OK;
    }
    if (scales->type.dtype != PTQC_F32) {
        return pq_infer_refuse(c, (int)(5 + i), "scales are f32, found %s",
                               pq_dtype_name(scales->type.dtype));
    }
    PQ_TRY(pq_infer_rank(c, 5 + i, 3, 3));
    for (uint32_t axis = 0; axis < 3; axis++) {
        PQ_TRY(pq_infer_dim(c, 5 + i, axis, t->dims[axis]));
    }
    return PTQC_OK;
}

ptqc_status
pq_infer_attention(pq_infer *c)
{
    pq_infer_out *out = &c->out[0];
    int64_t heads;
    int64_t kv_heads;
    for (uint32_t i = 0; i < 3; i++) {
        PQ_TRY(pq_infer_rank(c, i, 4, 4));
    }
    const pq_type *q = &pq_infer_in(c, 0)->type;
    const pq_type *k = &pq_infer_in(c, 1)->type;
    const pq_type *v = &pq_infer_in(c, 2)->type;
    PQ_TRY(pq_infer_dim(c, 1, 0, q->dims[0]));
    PQ_TRY(pq_infer_dim(c, 1, 3, q->dims[3]));
    PQ_TRY(pq_infer_dim(c, 2, 0, q->dims[0]));
    PQ_TRY(pq_infer_dim(c, 2, 1, k->dims[1]));
    PQ_TRY(pq_infer_dim(c, 2, 2, k->dims[2]));
    if (pq_dim_is_const(c->g, q->dims[1], &heads) &&
        pq_dim_is_const(c->g, k->dims[1], &kv_heads) &&
        (kv_heads < 1 || heads % kv_heads != 0)) {
        return pq_infer_refuse(c, 1, "%lld heads do not divide %lld",
                               (long long)kv_heads, (long long)heads);
    }
    pq_infer_copy(c, 0, 0);
    out->dims[3] = v->dims[3];
    PQ_TRY(check_scales(c, 0));
    PQ_TRY(check_scales(c, 1));
    PQ_TRY(check_positions(c, 4, q->dims[0], q->dims[2]));
    if (pq_infer_in(c, 4) != NULL && pq_op_i64(c->op, PQ_ATTR_CAUSAL, 0) != 0) {
        return pq_infer_refuse(c, 4, "positions and causal exclude each other");
    }
    const pq_dim scores[4] = {q->dims[0], q->dims[1], q->dims[2], k->dims[2]};
    return check_mask(c, scores);
}

// The first 2 r elements of each row of x turn.
ptqc_status
pq_infer_rope(pq_infer *c)
{
    int64_t mode;
    for (uint32_t i = 0; i < 3; i++) {
        const uint32_t rank[] = {4, 2, 1};
        PQ_TRY(pq_infer_rank(c, i, rank[i], rank[i]));
    }
    const pq_type *x = &pq_infer_in(c, 0)->type;
    const pq_type *frequencies = &pq_infer_in(c, 2)->type;
    PQ_TRY(check_positions(c, 1, x->dims[0], x->dims[2]));
    PQ_TRY(pq_infer_int(c, PQ_ATTR_MODE, PQ_ROPE_HALVES, PQ_ROPE_INTERLEAVED,
                        PQ_ROPE_HALVES, &mode));
    pq_dim turned = pq_dim_with(c->g, PQ_DIM_MUL, frequencies->dims[0], 2);
    if (pq_dim_is_none(turned)) {
        return pq_graph_failure(c->g);
    }
    if (frequencies->dtype != PTQC_F32 ||
        !pq_dim_is_le(c->g, turned, x->dims[3])) {
        return pq_infer_refuse(c, 2,
                               "expected f32 and at most half as many "
                               "frequencies as elements in a row of x");
    }
    pq_infer_copy(c, 0, 0);
    return PTQC_OK;
}

// Rows of input x for the state, input 0, and their positions behind them.
static ptqc_status
check_update(const pq_infer *c, uint32_t x)
{
    PQ_TRY(pq_infer_rank(c, 0, 4, 4));
    PQ_TRY(pq_infer_rank(c, x, 4, 4));
    const pq_type *state = &pq_infer_in(c, 0)->type;
    for (uint32_t axis = 0; axis < 4; axis++) {
        if (axis != 2) {
            PQ_TRY(pq_infer_dim(c, x, axis, state->dims[axis]));
        }
    }
    return check_positions(c, x + 1, state->dims[0],
                           pq_infer_in(c, x)->type.dims[2]);
}

ptqc_status
pq_infer_kv_update(pq_infer *c)
{
    PQ_TRY(check_update(c, 1));
    pq_infer_copy(c, 0, 0);
    return PTQC_OK;
}

ptqc_status
pq_infer_kv_update_codes(pq_infer *c)
{
    PQ_TRY(check_update(c, 2));
    PQ_TRY(pq_infer_rank(c, 1, 3, 3));
    const pq_type *state = &pq_infer_in(c, 0)->type;
    for (uint32_t axis = 0; axis < 3; axis++) {
        PQ_TRY(pq_infer_dim(c, 1, axis, state->dims[axis]));
    }
    if (state->dtype != PTQC_I8 || pq_infer_in(c, 1)->type.dtype != PTQC_F32) {
        return pq_infer_refuse(c, 0, "the states are i8 codes, f32 scales");
    }
    pq_infer_copy(c, 0, 0);
    pq_infer_copy(c, 1, 1);
    return PTQC_OK;
}
