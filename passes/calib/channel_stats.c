// SPDX-License-Identifier: Apache-2.0
//
// Numbers per channel, see channel_stats.h. Sums are taken in f64, in an
// order that the tensor's shape alone decides.

#include "passes/calib/channel_stats.h"

#include <float.h>
#include <math.h>
#include <string.h>

#include "passes/calib/stats.h"
#include "passes/match.h"

#define LANES 8 // sums at once; added up in order

uint32_t
pq_input_axis(const pq_graph *g, const pq_op *product)
{
    uint32_t rank = pq_graph_value(g, product->inputs[0])->type.rank;
    return product->code == PQ_OP_MATMUL ? rank - 1 : 1;
}

ptqc_status
pq_channel_stats_set_init(pq_channel_stats_set *set, const pq_graph *g,
                          pq_arena *arena)
{
    uint32_t values = pq_graph_value_count(g);
    *set = (pq_channel_stats_set){0};
    set->slot_of = pq_arena_array(arena, values, sizeof *set->slot_of);
    set->items = pq_arena_array(arena, values, sizeof *set->items);
    PQ_TRY_ALLOC(set->slot_of);
    PQ_TRY_ALLOC(set->items);
    return PTQC_OK;
}

ptqc_status
pq_channel_stats_set_add(pq_channel_stats_set *set, const pq_graph *g,
                         pq_value_id v, uint32_t axis, pq_arena *arena)
{
    int64_t n = pq_static_dim(g, v, axis);
    if (n < 1 || set->slot_of[v.index] != 0) {
        return PTQC_OK;
    }
    pq_channel_stats s = {.value = v, .axis = axis, .channels = n};
    s.sum = pq_arena_array(arena, (size_t)n, sizeof *s.sum);
    s.squares = pq_arena_array(arena, (size_t)n, sizeof *s.squares);
    s.min = pq_arena_array(arena, (size_t)n, sizeof *s.min);
    s.max = pq_arena_array(arena, (size_t)n, sizeof *s.max);
    PQ_TRY_ALLOC(s.sum);
    PQ_TRY_ALLOC(s.squares);
    PQ_TRY_ALLOC(s.min);
    PQ_TRY_ALLOC(s.max);
    set->items[set->count++] = s;
    set->slot_of[v.index] = set->count;
    return PTQC_OK;
}

const pq_channel_stats *
pq_channel_stats_find(const pq_channel_stats_set *set, pq_value_id v,
                      uint32_t axis)
{
    uint32_t slot = set->slot_of[v.index];
    const pq_channel_stats *s = slot > 0 ? &set->items[slot - 1] : NULL;
    return s != NULL && s->axis == axis && s->count > 0 ? s : NULL;
}

// ---- counting -------------------------------------------------------------

typedef struct pq_lanes {
    double sum[LANES], squares[LANES];
    float min[LANES], max[LANES];
} pq_lanes;

static void
take_lane(pq_lanes *l, size_t i, float number)
{
    float x = fabsf(number) <= FLT_MAX ? number : 0;
    l->sum[i] += (double)x;
    l->squares[i] += (double)x * (double)x;
    l->min[i] = x < l->min[i] ? x : l->min[i];
    l->max[i] = x > l->max[i] ? x : l->max[i];
}

static void
take_row(pq_channel_stats *s, int64_t channel, const float *x, int64_t n)
{
    pq_lanes l = {0};
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        for (size_t k = 0; k < LANES; k++) {
            take_lane(&l, k, x[i + (int64_t)k]);
        }
    }
    for (; i < n; i++) {
        take_lane(&l, 0, x[i]);
    }
    for (size_t k = 0; k < LANES; k++) {
        s->sum[channel] += l.sum[k];
        s->squares[channel] += l.squares[k];
        s->min[channel] = fminf(s->min[channel], l.min[k]);
        s->max[channel] = fmaxf(s->max[channel], l.max[k]);
    }
}

// One number of each channel; what take_row would add.
static void
take_token(pq_channel_stats *s, const float *x)
{
    for (int64_t c = 0; c < s->channels; c++) {
        float number = fabsf(x[c]) <= FLT_MAX ? x[c] : 0;
        s->sum[c] += (double)number;
        s->squares[c] += (double)number * (double)number;
        s->min[c] = number < s->min[c] ? number : s->min[c];
        s->max[c] = number > s->max[c] ? number : s->max[c];
    }
}

static void
take_tokens(pq_channel_stats *s, const float *x, int64_t rows)
{
    for (int64_t r = 0; r < rows; r++) {
        float most = 0;
        for (int64_t i = 0; i < s->channels; i++) {
            float a = fabsf(x[r * s->channels + i]);
            most = a <= FLT_MAX && a > most ? a : most;
        }
        s->token_sum += (double)most;
    }
    s->tokens += (uint64_t)rows;
}

void
pq_channel_stats_take(pq_channel_stats_set *set, pq_value_id v,
                      const pq_tensor *t)
{
    uint32_t slot = set->slot_of[v.index];
    pq_channel_stats *s = slot > 0 ? &set->items[slot - 1] : NULL;
    const float *x = t->p;
    int64_t inner = 1;
    if (s == NULL || t->dtype != PTQC_F32 || s->axis >= t->rank ||
        t->dims[s->axis] != s->channels) {
        return;
    }
    for (uint32_t i = s->axis + 1; i < t->rank; i++) {
        inner *= t->dims[i];
    }
    if (inner < 1) {
        return;
    }
    int64_t rows = (int64_t)(t->bytes / sizeof *x) / inner;
    for (int64_t r = 0; inner > 1 && r < rows; r++) {
        take_row(s, r % s->channels, x + r * inner, inner);
    }
    for (int64_t r = 0; inner == 1 && r < rows; r += s->channels) {
        take_token(s, x + r);
    }
    s->count += (double)(rows / s->channels * inner);
    if (s->axis + 1 == t->rank) {
        take_tokens(s, x, rows / s->channels);
    }
}

void
pq_channel_stats_state(pq_channel_stats_set *set, pq_value_id v,
                       pq_state *state)
{
    uint32_t slot = set->slot_of[v.index];
    if (slot == 0) {
        return;
    }
    pq_channel_stats *s = &set->items[slot - 1];
    size_t n = (size_t)s->channels;
    pq_state_bytes(state, s->sum, n * sizeof *s->sum);
    pq_state_bytes(state, s->squares, n * sizeof *s->squares);
    pq_state_bytes(state, s->min, n * sizeof *s->min);
    pq_state_bytes(state, s->max, n * sizeof *s->max);
    PQ_STATE(state, s->count);
    PQ_STATE(state, s->tokens);
    PQ_STATE(state, s->token_sum);
}

static ptqc_status
put_state(void *user, pq_value_id v, pq_state *state)
{
    pq_channel_stats_state(user, v, state);
    return PTQC_OK;
}

static ptqc_status
observe(void *user, pq_value_id v, const pq_tensor *t)
{
    pq_channel_stats_take(user, v, t);
    return PTQC_OK;
}

static void
clear(pq_channel_stats *s)
{
    size_t n = (size_t)s->channels;
    memset(s->sum, 0, n * sizeof *s->sum);
    memset(s->squares, 0, n * sizeof *s->squares);
    memset(s->min, 0, n * sizeof *s->min);
    memset(s->max, 0, n * sizeof *s->max);
    s->count = 0;
    s->tokens = 0;
    s->token_sum = 0;
}

ptqc_status
pq_channel_stats_keep(const pq_channel_stats *s, pq_str name, pq_stats *out)
{
    const pq_channel_ranges ranges = {
        .min = s->min,
        .max = s->max,
        .count = s->channels,
        .tokens = s->tokens,
        .token_mean = s->tokens > 0 ? s->token_sum / (double)s->tokens : 0};
    return s->count > 0 ? pq_stats_keep_channels(out, name, &ranges) : PTQC_OK;
}

ptqc_status
pq_channel_stats_measure(pq_channel_stats_set *set, pq_graph *g,
                         const pq_pass_env *env, const char *phase)
{
    const pq_watcher watcher = {
        .user = set, .observe = observe, .state = put_state};
    pq_value_id *watched =
        pq_arena_array(env->scratch, (size_t)set->count + 1, sizeof *watched);
    PQ_TRY_ALLOC(watched);
    for (uint32_t i = 0; i < set->count; i++) {
        clear(&set->items[i]);
        watched[i] = set->items[i].value;
    }
    return set->count == 0
               ? PTQC_OK
               : pq_run_samples(g, env, phase, watched, set->count, &watcher);
}
