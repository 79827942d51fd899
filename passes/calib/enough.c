// SPDX-License-Identifier: Apache-2.0
//
// See enough.h. Tokens are counted without running anything: dims of the
// groups' values for the shapes of the first sample.

#include "passes/calib/enough.h"

#include "base/checked.h"
#include "passes/calib/pieces.h"
#include "passes/calib/samples.h"

#define LEAST_TOKENS 4 // per input: fewer need more damping
#define FULL_TOKENS  8

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
    int64_t *symbols;
    *out_warned = false;
    if (env->samples == NULL || env->samples->limit == 0 ||
        env->samples->limit > INT64_MAX) {
        return PTQC_OK;
    }
    PQ_TRY(pq_pieces_find(g, env->scratch, client, &pieces));
    ptqc_status st = pq_sample_symbols(g, env, &symbols);
    if (st == PTQC_OK) {
        st = count(g, env, phase, &pieces, symbols, out_warned);
    }
    return st == PTQC_NO ? PTQC_OK : st; // no sample: said by who needs one
}
