// SPDX-License-Identifier: Apache-2.0
//
// Simulating a quantized graph, see simulate.h.

#include "passes/calib/simulate.h"

#include "base/dtype.h"
#include "passes/match.h"
#include "passes/params.h"
#include "passes/plan.h"
#include "passes/registry.h"
#include "passes/rescale.h"
#include "passes/weights.h"
#include "quant/pack.h"

// Codes of the weight, one byte each: those that a solver chose, else rounded.
static ptqc_status
make_codes(const pq_graph *g, const pq_quant *q, const pq_weights *ws,
           const float *scales, const int32_t *zeros, uint8_t *out)
{
    const pq_constant *c = pq_graph_constant(g, q->codes);
    if (c == NULL) {
        pq_encode_weights(ws, scales, zeros, out);
        return PTQC_OK;
    }
    size_t row = (size_t)c->dims[c->rank - 1];
    size_t count = (size_t)(ws->outer * ws->channels * ws->inner);
    unsigned bits = pq_dtype_bits(c->dtype);
    const uint8_t *packed = pq_graph_constant_bytes(g, q->codes);
    PQ_TRY_ALLOC(packed);
    for (size_t i = 0; i < count; i += row) {
        pq_unpack_row(packed, row, bits, pq_dtype_is_signed(c->dtype), out + i);
        packed += pq_packed_bytes(row, bits);
    }
    return PTQC_OK;
}

ptqc_status
pq_rounded_weights(const pq_graph *g, pq_value_id w, pq_arena *arena,
                   float **out, const float **out_w, int64_t *out_count)
{
    const pq_quant *q = pq_annotation(g, w);
    pq_weights ws;
    PQ_TRY(pq_weights_of(g, w, arena, &ws));
    int64_t n = pq_weights_scale_count(&ws);
    int64_t count = ws.outer * ws.channels * ws.inner;
    float *scales = pq_arena_array(arena, (size_t)n, sizeof *scales);
    int32_t *zeros = pq_arena_array(arena, (size_t)n, sizeof *zeros);
    uint8_t *codes = pq_arena_alloc(arena, (size_t)count);
    float *rounded = pq_arena_array(arena, (size_t)count, sizeof *rounded);
    PQ_TRY_ALLOC(scales);
    PQ_TRY_ALLOC(zeros);
    PQ_TRY_ALLOC(codes);
    PQ_TRY_ALLOC(rounded);
    for (int64_t i = 0; i < n; i++) {
        pq_params p = pq_params_at(g, q, i);
        scales[i] = p.scale;
        zeros[i] = p.zero_point;
    }
    PQ_TRY(make_codes(g, q, &ws, scales, zeros, codes));
    pq_decode_weights(&ws, scales, zeros, codes, rounded);
    *out = rounded;
    *out_w = ws.w;
    *out_count = count;
    return PTQC_OK;
}

static ptqc_status
simulate(const pq_pass_env *env, pq_graph *sim)
{
    pq_pass_env inner = *env;
    inner.note = NULL;
    PQ_TRY(pq_pass_insert_qdq(sim, &inner));
    pq_graph_set_stage(sim, PQ_STAGE_QUANTIZED);
    (void)pq_erase_dead(sim);
    return PTQC_OK;
}

ptqc_status
pq_simulate(pq_graph *g, const pq_pass_env *env, pq_graph **out)
{
    pq_graph *sim = NULL;
    PQ_TRY(pq_graph_clone(g, false, &sim));
    ptqc_status st = simulate(env, sim);
    if (st != PTQC_OK) {
        pq_graph_destroy(sim);
        return st;
    }
    *out = sim;
    return PTQC_OK;
}
