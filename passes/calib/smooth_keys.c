// SPDX-License-Identifier: Apache-2.0
//
// Keys that are kept as int8 get a scale per channel besides the one per token
// that the state has (passes/kv_type.c): channels of keys differ by their
// size, those of values do not (Liu et al., KIVI, 2024, section 3). The scale
// of a channel is a constant, size^alpha. It is divided out of the rows of the
// product that makes the keys and multiplied into those of the queries, whose
// dot product stays (Lin et al., QServe, 2024, section 4.2): no backend
// computes anything more. alpha is searched per head: 0, 1/4, ... 1, by the
// squared error of scores that rounding some of the keys makes,
//
//   sum over channels c of E[q_c^2] (k_c - k'_c)^2,    k' of scaled keys
//
// since a scale that suits the keys makes the queries that meet their errors
// larger. With statistics instead of samples it is 1/2.
//
// Channels that a rotary embedding turns together share a scale, as do all
// query heads of a key head. Where each head goes through a norm before that
// (QK-norm: one scale per channel for all heads), the norm takes the factors,
// and all key heads share them. Scales are powers of two: float results keep
// their bits, and so do the codes of weights with scales per row.

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "passes/calib/median.h"
#include "passes/calib/migrate.h"
#include "passes/calib/samples.h"
#include "passes/calib/stats.h"
#include "passes/match.h"
#include "passes/registry.h"

// Beyond that a channel is as good as alone in its head, or empty.
#define MOST_EXPONENT 12
#define BLIND_ALPHA   0.5f // with statistics alone

enum {
    ALPHAS = 5,          // 0 to 1
    ROWS_PER_SAMPLE = 8, // tokens kept to search alpha, the first among them
    ROWS_LIMIT = 128,
};

// Keys of one attention.
typedef struct pq_keys {
    pq_op_id k, q;           // products whose rows take the scales, or norms
    bool is_shared;          // a norm: all heads have the same scales
    pq_value_id x, y;        // keys and queries [B, heads, T, size]
    int64_t heads, kv_heads; // of queries, of keys
    int64_t size;            // channels of a head
    int64_t turned;          // pairs that rope turns; 0: no rope
    pq_rope_mode turns;      // which channels are a pair
    float *min, *max;        // [kv_heads][size] of keys, 0 included
    double *squares;         // [kv_heads][size] sum of q^2
    float *rows;             // [ROWS_LIMIT][kv_heads][size] some keys
    int64_t row_count;
    float *scale; // [kv_heads][size]
} pq_keys;

typedef struct pq_key_pass {
    pq_graph *g;
    pq_pass_env *env;
    pq_checkpoint checkpoint;
    pq_keys *all; // [count]
    uint32_t count;
    uint32_t *slot_of; // [values] index of its keys + 1; 0: not watched
} pq_key_pass;

// ---- finding --------------------------------------------------------------

// v [B, heads, T, size], behind an optional rope -> the norm of its heads, else
// the product that makes it.
static bool
find_home(const pq_graph *g, pq_value_id v, int64_t heads, int64_t size,
          pq_op_id *out_home, const pq_op **out_rope)
{
    const pq_op *rope = pq_producer(g, v, PQ_OP_ROPE);
    *out_rope = rope;
    if (rope != NULL && pq_graph_value(g, v)->use_count != 1) {
        return false;
    }
    v = rope != NULL ? rope->inputs[0] : v;
    *out_home = pq_find_head_norm(g, v, size);
    if (!pq_op_is_none(*out_home)) {
        return true;
    }
    pq_value_id y = pq_heads_source(g, v);
    *out_home = pq_producer_id(g, y);
    return !pq_value_is_none(y) && pq_has_linear_rows(g, y, heads * size);
}

static bool
turns_alike(const pq_graph *g, const pq_op *a, const pq_op *b, pq_keys *keys)
{
    if (a == NULL || b == NULL) {
        return a == b;
    }
    keys->turned = pq_static_dim(g, a->inputs[2], 0);
    keys->turns = (pq_rope_mode)pq_op_i64(a, PQ_ATTR_MODE, PQ_ROPE_HALVES);
    return keys->turned > 0 && 2 * keys->turned <= keys->size &&
           keys->turned == pq_static_dim(g, b->inputs[2], 0) &&
           keys->turns ==
               (pq_rope_mode)pq_op_i64(b, PQ_ATTR_MODE, PQ_ROPE_HALVES);
}

// Whether the attention's int8 keys, which nobody else reads, and its queries
// come from products or norms that take scales.
static bool
find_keys(const pq_graph *g, pq_op_id id, pq_keys *out)
{
    const pq_op *attention = pq_graph_op(g, id);
    const pq_op *update =
        pq_producer(g, attention->inputs[1], PQ_OP_KV_UPDATE_CODES);
    const pq_op *q_rope, *k_rope;
    if (update == NULL ||
        pq_graph_value(g, attention->inputs[1])->use_count != 1 ||
        pq_graph_value(g, update->inputs[2])->use_count != 1 ||
        pq_graph_value(g, attention->inputs[0])->use_count != 1) {
        return false;
    }
    *out = (pq_keys){.x = update->inputs[2],
                     .y = attention->inputs[0],
                     .heads = pq_static_dim(g, attention->inputs[0], 1),
                     .kv_heads = pq_static_dim(g, update->inputs[2], 1),
                     .size = pq_static_dim(g, update->inputs[2], 3)};
    if (out->heads < 1 || out->kv_heads < 1 || out->size < 1 ||
        out->heads % out->kv_heads != 0 ||
        !find_home(g, attention->inputs[0], out->heads, out->size, &out->q,
                   &q_rope) ||
        !find_home(g, update->inputs[2], out->kv_heads, out->size, &out->k,
                   &k_rope) ||
        !turns_alike(g, q_rope, k_rope, out)) {
        return false;
    }
    out->is_shared = !pq_is_product(pq_graph_op(g, out->k)->code) ||
                     !pq_is_product(pq_graph_op(g, out->q)->code);
    return true;
}

static void
tell(const pq_key_pass *p, const pq_keys *keys, const char *text)
{
    if (p->env->note != NULL) {
        p->env->note(p->env->note_user,
                     pq_op_label(p->g, pq_graph_op(p->g, keys->k)), "keys",
                     text);
    }
}

static ptqc_status
make_room(pq_keys *keys, pq_arena *arena)
{
    size_t n = (size_t)(keys->kv_heads * keys->size);
    keys->min = pq_arena_array(arena, n, sizeof *keys->min);
    keys->max = pq_arena_array(arena, n, sizeof *keys->max);
    keys->squares = pq_arena_array(arena, n, sizeof *keys->squares);
    keys->rows = pq_arena_array(arena, n * ROWS_LIMIT, sizeof *keys->rows);
    keys->scale = pq_arena_array(arena, n, sizeof *keys->scale);
    PQ_TRY_ALLOC(keys->min);
    PQ_TRY_ALLOC(keys->max);
    PQ_TRY_ALLOC(keys->squares);
    PQ_TRY_ALLOC(keys->rows);
    PQ_TRY_ALLOC(keys->scale);
    return PTQC_OK;
}

static ptqc_status
find_all(pq_key_pass *p)
{
    uint32_t left_out = 0;
    p->all = pq_arena_array(p->env->scratch, pq_graph_op_count(p->g),
                            sizeof *p->all);
    PQ_TRY_ALLOC(p->all);
    PQ_FOR_EACH_OP(p->g, id)
    {
        const pq_op *op = pq_graph_op(p->g, id);
        pq_keys keys;
        if (op->code != PQ_OP_ATTENTION ||
            pq_producer(p->g, op->inputs[1], PQ_OP_KV_UPDATE_CODES) == NULL) {
            continue;
        }
        if (!find_keys(p->g, id, &keys)) {
            left_out++;
            continue;
        }
        PQ_TRY(make_room(&keys, p->env->scratch));
        p->all[p->count++] = keys;
    }
    if (left_out > 0) {
        pq_say(pq_graph_ctx(p->g), PTQC_SEVERITY_WARNING,
               "int8 keys of %u attentions have scales per token alone: what "
               "makes them takes no scales per channel",
               left_out);
    }
    return PTQC_OK;
}

// ---- gathering ------------------------------------------------------------

// A token of x [kv_heads][tokens][size], which points at it.
static void
keep_row(pq_keys *keys, const float *x, int64_t tokens)
{
    float *row = keys->rows + keys->row_count++ * keys->kv_heads * keys->size;
    for (int64_t h = 0; h < keys->kv_heads; h++) {
        memcpy(row + h * keys->size, x + h * tokens * keys->size,
               (size_t)keys->size * sizeof *row);
    }
}

// x [kv_heads][tokens][size] of one text.
static void
take_keys(pq_keys *keys, const float *x, int64_t tokens)
{
    int64_t n = keys->size;
    int64_t step = tokens / ROWS_PER_SAMPLE > 0 ? tokens / ROWS_PER_SAMPLE : 1;
    for (int64_t i = 0; i < keys->kv_heads * tokens * n; i++) {
        int64_t c = i / (tokens * n) * n + i % n;
        float k = fabsf(x[i]) <= FLT_MAX ? x[i] : 0;
        keys->min[c] = fminf(keys->min[c], k);
        keys->max[c] = fmaxf(keys->max[c], k);
    }
    for (int64_t t = 0; t < tokens && keys->row_count < ROWS_LIMIT; t += step) {
        keep_row(keys, x + t * n, tokens);
    }
}

// x [heads][tokens][size] of one text.
static void
take_queries(pq_keys *keys, const float *x, int64_t tokens)
{
    int64_t share = keys->heads / keys->kv_heads, n = keys->size;
    for (int64_t i = 0; i < keys->heads * tokens * n; i++) {
        int64_t c = i / (tokens * n) / share * n + i % n;
        double q = fabsf(x[i]) <= FLT_MAX ? (double)x[i] : 0;
        keys->squares[c] += q * q;
    }
}

static ptqc_status
observe(void *user, pq_value_id v, const pq_tensor *t)
{
    const pq_key_pass *p = user;
    pq_keys *keys = &p->all[p->slot_of[v.index] - 1];
    bool is_key = pq_value_equal(v, keys->x);
    const float *x = t->p;
    if (t->dtype != PTQC_F32 || t->rank != 4) {
        return PTQC_OK;
    }
    int64_t one = t->dims[1] * t->dims[2] * t->dims[3]; // of one text
    for (int64_t b = 0; b < t->dims[0]; b++) {
        (is_key ? take_keys : take_queries)(keys, x + b * one, t->dims[2]);
    }
    return PTQC_OK;
}

// For checkpoints: all that observe() adds to for v.
static ptqc_status
put_state(void *user, pq_value_id v, pq_state *s)
{
    const pq_key_pass *p = user;
    pq_keys *keys = &p->all[p->slot_of[v.index] - 1];
    size_t n = (size_t)(keys->kv_heads * keys->size);
    if (!pq_value_equal(v, keys->x)) {
        pq_state_bytes(s, keys->squares, n * sizeof *keys->squares);
        return PTQC_OK;
    }
    pq_state_bytes(s, keys->min, n * sizeof *keys->min);
    pq_state_bytes(s, keys->max, n * sizeof *keys->max);
    PQ_STATE(s, keys->row_count);
    s->is_bad =
        s->is_bad || keys->row_count < 0 || keys->row_count > ROWS_LIMIT;
    if (!s->is_bad) {
        pq_state_bytes(s, keys->rows,
                       (size_t)keys->row_count * n * sizeof *keys->rows);
    }
    return PTQC_OK;
}

static ptqc_status
measure(pq_key_pass *p)
{
    pq_arena *scratch = p->env->scratch;
    pq_value_id *watched =
        pq_arena_array(scratch, 2 * (size_t)p->count, sizeof *watched);
    p->slot_of =
        pq_arena_array(scratch, pq_graph_value_count(p->g), sizeof *p->slot_of);
    PQ_TRY_ALLOC(watched);
    PQ_TRY_ALLOC(p->slot_of);
    for (uint32_t i = 0; i < p->count; i++) {
        watched[2 * (size_t)i] = p->all[i].x;
        watched[2 * (size_t)i + 1] = p->all[i].y;
        p->slot_of[p->all[i].x.index] = i + 1;
        p->slot_of[p->all[i].y.index] = i + 1;
    }
    const pq_watcher watcher = {
        .user = p, .observe = observe, .state = put_state};
    return pq_run_samples(p->g, p->env, "key-ranges", watched, 2 * p->count,
                          &watcher);
}

// ---- statistics -----------------------------------------------------------

// Of the keys: their product's.
static pq_str
name_of(const pq_key_pass *p, const pq_keys *keys)
{
    return pq_op_label(p->g, pq_graph_op(p->g, keys->k));
}

static ptqc_status
keep_all(const pq_key_pass *p)
{
    for (uint32_t i = 0; i < p->count; i++) {
        const pq_keys *keys = &p->all[i];
        const pq_channel_ranges ranges = {.min = keys->min,
                                          .max = keys->max,
                                          .count = keys->kv_heads * keys->size};
        PQ_TRY(pq_stats_keep_channels(p->env->stats_out, name_of(p, keys),
                                      &ranges));
    }
    return PTQC_OK;
}

// PTQC_NO: nothing is known of them.
static ptqc_status
restore(const pq_key_pass *p, pq_keys *keys)
{
    pq_str name = name_of(p, keys);
    const pq_stat *stat = pq_stats_find(p->env->stats, name);
    int64_t n = keys->kv_heads * keys->size;
    if (stat == NULL || stat->channel_count == 0) {
        return PTQC_NO;
    }
    if (stat->channel_count != n) {
        return PQ_FAIL(pq_graph_ctx(p->g), PTQC_E_USAGE,
                       "statistics: '%.*s' has %lld channels, expected %lld",
                       PQ_STR_ARG(name), (long long)stat->channel_count,
                       (long long)n);
    }
    memcpy(keys->min, stat->channel_min, (size_t)n * sizeof *keys->min);
    memcpy(keys->max, stat->channel_max, (size_t)n * sizeof *keys->max);
    return PTQC_OK;
}

static ptqc_status
restore_all(const pq_key_pass *p)
{
    uint32_t unknown = 0;
    for (uint32_t i = 0; i < p->count; i++) {
        ptqc_status st = restore(p, &p->all[i]);
        unknown += st == PTQC_NO;
        PQ_TRY(st == PTQC_NO ? PTQC_OK : st);
    }
    if (unknown > 0) {
        pq_say(pq_graph_ctx(p->g), PTQC_SEVERITY_WARNING,
               "int8 keys of %u attentions have scales per token alone: the "
               "statistics know nothing of their channels",
               unknown);
    }
    return PTQC_OK;
}

// ---- scales ---------------------------------------------------------------

// The channel that `i` of a head turns with; i itself: none.
static int64_t
partner(const pq_keys *keys, int64_t i)
{
    int64_t r = keys->turned;
    if (i >= 2 * r) {
        return i;
    }
    if (keys->turns == PQ_ROPE_INTERLEAVED) {
        return i ^ 1;
    }
    return i < r ? i + r : i - r;
}

// size[i]: how large channel i becomes when pairs are turned, whatever the
// angle, relative to the head's median; 0: never active.
static void
size_head(const pq_keys *keys, int64_t head, float *sorted, float *size)
{
    const float *min = keys->min + head * keys->size;
    const float *max = keys->max + head * keys->size;
    int64_t used = 0;
    for (int64_t i = 0; i < keys->size; i++) {
        int64_t other = partner(keys, i);
        float a = fmaxf(max[i], -min[i]);
        float b = other != i ? fmaxf(max[other], -min[other]) : 0;
        size[i] = hypotf(a, b);
        if (size[i] > 0) {
            sorted[used++] = size[i];
        }
    }
    float median = used > 0 ? pq_sort_median(sorted, used) : 1;
    for (int64_t i = 0; i < keys->size; i++) {
        size[i] /= median;
    }
}

static void
scale_head(const pq_keys *keys, const float *size, float alpha, float *scale)
{
    for (int64_t i = 0; i < keys->size; i++) {
        float exponent = size[i] > 0 ? rintf(alpha * log2f(size[i])) : 0;
        exponent = fminf(fmaxf(exponent, -MOST_EXPONENT), MOST_EXPONENT);
        scale[i] = ldexpf(1, (int)exponent);
    }
}

// Squared error of scores, over the kept keys of a head.
static double
score_error(const pq_keys *keys, int64_t head, const float *scale)
{
    const double *squares = keys->squares + head * keys->size;
    double sum = 0;
    for (int64_t r = 0; r < keys->row_count; r++) {
        const float *x = keys->rows + (r * keys->kv_heads + head) * keys->size;
        float most = 0;
        for (int64_t i = 0; i < keys->size; i++) {
            most = fmaxf(most, fabsf(x[i] / scale[i]));
        }
        float step = most / 127;
        for (int64_t i = 0; i < keys->size && step > 0; i++) {
            float code = rintf(x[i] / scale[i] / step);
            double e = (double)x[i] - (double)(code * step * scale[i]);
            sum += squares[i] * e * e;
        }
    }
    return sum;
}

// Of `count` heads from `head` on that share their scales, by the best alpha;
// local: for what is forgotten.
static ptqc_status
choose_for_heads(const pq_keys *keys, int64_t head, int64_t count,
                 pq_arena *local)
{
    size_t n = (size_t)keys->size;
    float *best = keys->scale + head * keys->size;
    float *sorted = pq_arena_array(local, n, sizeof *sorted);
    float *size = pq_arena_array(local, n, sizeof *size);
    float *scale = pq_arena_array(local, n, sizeof *scale);
    double least = (double)INFINITY;
    PQ_TRY_ALLOC(sorted);
    PQ_TRY_ALLOC(size);
    PQ_TRY_ALLOC(scale);
    size_head(keys, head, sorted, size);
    scale_head(keys, size, BLIND_ALPHA, best);
    for (int i = 0; i < ALPHAS && keys->row_count > 0; i++) {
        double error = 0;
        scale_head(keys, size, (float)i / (ALPHAS - 1), scale);
        for (int64_t k = 0; k < count; k++) {
            error += score_error(keys, head + k, scale);
        }
        if (error < least) {
            least = error;
            memcpy(best, scale, n * sizeof *best);
        }
    }
    for (int64_t k = 1; k < count; k++) {
        memcpy(best + (size_t)k * n, best, n * sizeof *best);
    }
    return PTQC_OK;
}

// Heads that share scales: what the first one shows is the range of all.
static void
join_ranges(const pq_keys *keys)
{
    for (int64_t i = keys->size; i < keys->kv_heads * keys->size; i++) {
        int64_t c = i % keys->size;
        keys->min[c] = fminf(keys->min[c], keys->min[i]);
        keys->max[c] = fmaxf(keys->max[c], keys->max[i]);
    }
}

static ptqc_status
choose_scales(const pq_key_pass *p, const pq_keys *keys)
{
    ptqc_status st = PTQC_OK;
    int64_t count = keys->is_shared ? keys->kv_heads : 1;
    if (keys->is_shared) {
        join_ranges(keys);
    }
    for (int64_t h = 0; h < keys->kv_heads && st == PTQC_OK; h += count) {
        pq_arena local;
        pq_arena_init(&local, pq_graph_ctx(p->g));
        st = choose_for_heads(keys, h, count, &local);
        pq_arena_deinit(&local);
    }
    return st;
}

// What an interrupted compile found.
static ptqc_status
read_scales(const pq_key_pass *p, uint32_t index)
{
    pq_keys *keys = &p->all[index];
    pq_unit_weight unit = {.scale_count =
                               (size_t)(keys->kv_heads * keys->size)};
    pq_map map;
    if (p->checkpoint.dir == NULL) {
        return PTQC_NO;
    }
    PQ_TRY(pq_unit_read(&p->checkpoint, index, &unit, 1, &map));
    for (size_t i = 0; i < unit.scale_count; i++) {
        keys->scale[i] = unit.scales[i];
    }
    pq_map_close(&map);
    return PTQC_OK;
}

static ptqc_status
write_scales(const pq_key_pass *p, uint32_t index)
{
    const pq_keys *keys = &p->all[index];
    const pq_unit_weight unit = {.scale_count =
                                     (size_t)(keys->kv_heads * keys->size),
                                 .scales = keys->scale};
    return p->checkpoint.dir != NULL
               ? pq_unit_write(&p->checkpoint, index, &unit, 1)
               : PTQC_OK;
}

// PTQC_NO: some are not there.
static ptqc_status
read_all(const pq_key_pass *p)
{
    for (uint32_t i = 0; i < p->count; i++) {
        PQ_TRY(read_scales(p, i));
    }
    return PTQC_OK;
}

static ptqc_status
find_scales(pq_key_pass *p)
{
    PQ_TRY(p->env->stats != NULL ? restore_all(p) : measure(p));
    if (p->env->stats_out != NULL) {
        PQ_TRY(keep_all(p));
    }
    for (uint32_t i = 0; i < p->count; i++) {
        if (p->env->stats == NULL && p->all[i].row_count == 0) {
            continue;
        }
        PQ_TRY(choose_scales(p, &p->all[i]));
        PQ_TRY(write_scales(p, i));
    }
    return PTQC_OK;
}

// ---- applying -------------------------------------------------------------

static ptqc_status
add_rows(const pq_key_pass *p, pq_migration *m, const pq_keys *keys)
{
    int64_t share = keys->heads / keys->kv_heads, n = keys->size;
    double *k = pq_arena_array(p->env->scratch, (size_t)(keys->kv_heads * n),
                               sizeof *k);
    double *q =
        pq_arena_array(p->env->scratch, (size_t)(keys->heads * n), sizeof *q);
    PQ_TRY_ALLOC(k);
    PQ_TRY_ALLOC(q);
    for (int64_t i = 0; i < keys->kv_heads * n; i++) {
        k[i] = 1 / (double)keys->scale[i];
    }
    for (int64_t i = 0; i < keys->heads * n; i++) {
        q[i] = (double)keys->scale[i / n / share * n + i % n];
    }
    m->rows[keys->k.index] = k;
    m->rows[keys->q.index] = q;
    return PTQC_OK;
}

static ptqc_status
add_all(const pq_key_pass *p, pq_migration *m)
{
    for (uint32_t i = 0; i < p->count; i++) {
        const pq_keys *keys = &p->all[i];
        float least = keys->scale[0], most = keys->scale[0];
        char text[96];
        if (most == 0) {
            continue; // nothing was run: a plan
        }
        for (int64_t k = 0; k < keys->kv_heads * keys->size; k++) {
            least = fminf(least, keys->scale[k]);
            most = fmaxf(most, keys->scale[k]);
        }
        (void)snprintf(text, sizeof text,
                       "scales per channel from %g to %g of the median's",
                       (double)least, (double)most);
        tell(p, keys, text);
        PQ_TRY(add_rows(p, m, keys));
    }
    return PTQC_OK;
}

ptqc_status
pq_pass_smooth_keys(pq_graph *g, pq_pass_env *env)
{
    pq_key_pass p = {.g = g, .env = env};
    pq_migration m;
    p.checkpoint = pq_checkpoint_of(pq_graph_ctx(g), env, "keys");
    PQ_TRY(find_all(&p));
    if (p.count == 0) {
        return PTQC_OK;
    }
    // Statistics are written of what is measured.
    ptqc_status st = env->stats_out == NULL ? read_all(&p) : PTQC_NO;
    PQ_TRY(st == PTQC_NO ? find_scales(&p) : st);
    PQ_TRY(pq_migration_init(&m, g, env->scratch));
    PQ_TRY(add_all(&p, &m));
    return pq_migration_apply(&m, env->work_dir);
}
