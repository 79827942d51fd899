// SPDX-License-Identifier: Apache-2.0
//
// See enough.h. Tokens are counted without running anything: dims of the
// groups' values for the shapes of the first sample.

#include "passes/calib/enough.h"

#include "base/checked.h"
#include "passes/calib/pieces.h"

#define LEAST_TOKENS 4 // per input: fewer need more damping
#define FULL_TOKENS  8

// symbols [count of the graph] as the sample's shapes say.
static ptqc_status
bind_symbols(const pq_graph *g, const pq_pass_env *env, int64_t *symbols)
{
    uint32_t inputs = pq_graph_input_count(g);
    pq_tensor *tensors =
        pq_arena_array(env->scratch, (size_t)inputs + 1, sizeof *tensors);
    PQ_TRY_ALLOC(tensors);
    PQ_TRY(env->samples->get(env->samples->user, 0, tensors, inputs));
    for (uint32_t i = 0; i < inputs; i++) {
        const pq_type *type = &pq_graph_value(g, pq_graph_input(g, i))->type;
        for (uint32_t k = 0; k < type->rank && k < tensors[i].rank; k++) {
            const pq_dim_expr *d = pq_dim_get(g, type->dims[k]);
            if (d->op == PQ_DIM_SYMBOL) {
                symbols[d->value] = tensors[i].dims[k];
            }
        }
    }
    return PTQC_OK;
}

// Rows of x in one sample, and how wide they are.
static ptqc_status
measure(const pq_graph *g, pq_value_id x, const int64_t *symbols,
        int64_t *out_rows, int64_t *out_width)
{
    const pq_type *type = &pq_graph_value(g, x)->type;
    int64_t rows = 1, width = 1;
    for (uint32_t k = 0; k < type->rank; k++) {
        if (!pq_mul_i64(rows, width, &rows)) {
            return PTQC_NO;
        }
        PQ_TRY(pq_dim_eval(g, type->dims[k], symbols, &width));
    }
    *out_rows = rows;
    *out_width = width;
    return PTQC_OK;
}

static void
warn(const pq_graph *g, const char *phase, const pq_pieces *pieces,
     uint32_t few, int64_t tokens, int64_t width)
{
    pq_say(pq_graph_ctx(g), PTQC_SEVERITY_WARNING,
           "%s: %lld calibration tokens are few for %u of %u groups of "
           "products, with up to %lld inputs: below %lld tokens more damping "
           "is needed, %lld are enough",
           phase, (long long)tokens, few, pieces->group_count, (long long)width,
           (long long)(LEAST_TOKENS * width), (long long)(FULL_TOKENS * width));
}

static ptqc_status
count(const pq_graph *g, const pq_pass_env *env, const char *phase,
      const pq_pieces *pieces, const int64_t *symbols, bool *out_warned)
{
    int64_t least = 0, widest = 0;
    uint32_t few = 0;
    for (uint32_t i = 0; i < pieces->group_count; i++) {
        int64_t rows, width, tokens;
        PQ_TRY(measure(g, pieces->groups[i].x, symbols, &rows, &width));
        if (!pq_mul_i64(rows, (int64_t)env->samples->limit, &tokens) ||
            width > INT64_MAX / FULL_TOKENS || tokens >= LEAST_TOKENS * width) {
            continue;
        }
        least = few == 0 || tokens < least ? tokens : least;
        widest = width > widest ? width : widest;
        few++;
    }
    if (few > 0) {
        warn(g, phase, pieces, few, least, widest);
        *out_warned = true;
    }
    return PTQC_OK;
}

ptqc_status
pq_warn_few_tokens(pq_graph *g, const pq_pass_env *env, const char *phase,
                   const pq_stream_client *client, bool *out_warned)
{
    pq_pieces pieces;
    uint32_t n = pq_graph_symbol_count(g);
    *out_warned = false;
    if (env->samples == NULL || env->samples->limit == 0 ||
        env->samples->limit > INT64_MAX) {
        return PTQC_OK;
    }
    int64_t *symbols =
        pq_arena_array(env->scratch, (size_t)n + 1, sizeof *symbols);
    PQ_TRY_ALLOC(symbols);
    for (uint32_t i = 0; i < n; i++) {
        symbols[i] = pq_graph_symbol(g, i)->min; // of those without a shape
    }
    PQ_TRY(pq_pieces_find(g, env->scratch, client, &pieces));
    ptqc_status st = bind_symbols(g, env, symbols);
    if (st == PTQC_OK) {
        st = count(g, env, phase, &pieces, symbols, out_warned);
    }
    return st == PTQC_NO ? PTQC_OK : st; // no sample: said by who needs one
}
