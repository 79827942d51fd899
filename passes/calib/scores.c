// SPDX-License-Identifier: Apache-2.0
//
// Operands of attention scores, see scores.h.

#include "passes/calib/scores.h"

#include <math.h>
#include <string.h>

#include "passes/match.h"

// The rows that an attention's keys are made of.
static pq_value_id
find_keys(const pq_graph *g, pq_value_id k)
{
    const pq_op *update = pq_producer(g, k, PQ_OP_KV_UPDATE);
    const pq_op *codes = pq_producer(g, k, PQ_OP_KV_UPDATE_CODES);
    return update != NULL  ? update->inputs[1]
           : codes != NULL ? codes->inputs[2]
                           : k;
}

static bool
find_pair(const pq_graph *g, const pq_op *op, pq_score_pair *out)
{
    bool is_causal =
        op->code == PQ_OP_ATTENTION && (pq_op_i64(op, PQ_ATTR_CAUSAL, 0) != 0 ||
                                        !pq_value_is_none(pq_op_input(op, 4)));
    if (!is_causal) {
        return false;
    }
    pq_value_id k = find_keys(g, op->inputs[1]);
    int64_t d = pq_static_dim(g, op->inputs[0], 3);
    *out = (pq_score_pair){.q.v = op->inputs[0], .k.v = k};
    out->scale =
        pq_op_f32(op, PQ_ATTR_SCALE, 1 / sqrtf((float)(d > 0 ? d : 1)));
    return d > 0 && !pq_is_constant(g, out->q.v) && !pq_is_constant(g, k) &&
           pq_is_float(g, out->q.v) && pq_is_float(g, k);
}

ptqc_status
pq_scores_init(pq_scores *s, const pq_graph *g, pq_arena *arena)
{
    *s = (pq_scores){.ctx = pq_graph_ctx(g)};
    s->pairs = pq_arena_array(arena, pq_graph_op_count(g), sizeof *s->pairs);
    s->is_operand =
        pq_arena_array(arena, pq_graph_value_count(g), sizeof *s->is_operand);
    PQ_TRY_ALLOC(s->pairs);
    PQ_TRY_ALLOC(s->is_operand);
    PQ_FOR_EACH_OP(g, id)
    {
        pq_score_pair *pair = &s->pairs[s->count];
        if (find_pair(g, pq_graph_op(g, id), pair)) {
            s->is_operand[pair->q.v.index] = true;
            s->is_operand[pair->k.v.index] = true;
            s->count++;
        }
    }
    return PTQC_OK;
}

void
pq_scores_deinit(pq_scores *s)
{
    for (uint32_t i = 0; i < s->count; i++) {
        pq_free(s->ctx, s->pairs[i].q.bytes);
        pq_free(s->ctx, s->pairs[i].k.bytes);
    }
    *s = (pq_scores){0};
}

static ptqc_status
keep(pq_scores *s, pq_score_operand *o, const pq_tensor *t)
{
    pq_free(s->ctx, o->bytes);
    o->bytes = pq_alloc(s->ctx, t->bytes > 0 ? t->bytes : 1);
    PQ_TRY_ALLOC(o->bytes);
    memcpy(o->bytes, t->p, t->bytes);
    o->t = *t;
    o->t.p = o->bytes;
    return PTQC_OK;
}

ptqc_status
pq_scores_keep(pq_scores *s, pq_value_id v, const pq_tensor *t)
{
    for (uint32_t i = 0; i < s->count; i++) {
        pq_score_pair *pair = &s->pairs[i];
        if (pq_value_equal(pair->q.v, v)) {
            PQ_TRY(keep(s, &pair->q, t));
        }
        if (pq_value_equal(pair->k.v, v)) {
            PQ_TRY(keep(s, &pair->k, t));
        }
    }
    return PTQC_OK;
}

static void
forget(pq_scores *s, pq_score_operand *o)
{
    pq_free(s->ctx, o->bytes);
    *o = (pq_score_operand){.v = o->v};
}

ptqc_status
pq_scores_show(pq_scores *s, uint64_t sample, pq_sinks *sinks)
{
    for (uint32_t i = 0; i < s->count; i++) {
        pq_score_pair *pair = &s->pairs[i];
        if (pair->q.bytes != NULL && pair->k.bytes != NULL) {
            PQ_TRY(pq_sinks_see_attention(sinks, sample, &pair->q.t, &pair->k.t,
                                          pair->scale));
        }
        forget(s, &pair->q);
        forget(s, &pair->k);
    }
    return PTQC_OK;
}
