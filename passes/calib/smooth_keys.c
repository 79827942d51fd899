// SPDX-License-Identifier: Apache-2.0
//
// Keys that are kept as int8 get a scale per channel besides the one per token
// that the state has (passes/kv_type.c): channels of keys differ by their
// size, values do not (Liu et al., KIVI, 2024, section 3). The scale of a
// channel is a constant from the samples. It is divided out of the rows of the
// product that makes the keys and multiplied into those of the queries, whose
// dot product stays (Lin et al., QServe, 2024, section 4.2, with exponent 1):
// no backend computes anything more.
//
// Channels that a rotary embedding turns together share a scale, as do all
// query heads of a key head. Scales are powers of two: float results keep
// their bits, and so do the codes of weights with scales per row.

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "passes/calib/channel_stats.h"
#include "passes/calib/migrate.h"
#include "passes/match.h"
#include "passes/registry.h"

// Beyond that a channel is as good as alone in its head, or empty.
#define MOST_EXPONENT 12

// Keys of one attention.
typedef struct pq_keys {
    pq_op_id attention;
    pq_op_id k, q;           // products whose rows take the scales
    pq_value_id y;           // what k makes: [B, T, kv_heads * size]
    int64_t heads, kv_heads; // of q, of k
    int64_t size;            // channels of a head
    int64_t turned;          // pairs that rope turns; 0: no rope
    pq_rope_mode turns;      // which channels are a pair
    float *scale;            // [kv_heads][size]
} pq_keys;

typedef struct pq_key_pass {
    pq_graph *g;
    pq_pass_env *env;
    pq_checkpoint checkpoint;
    pq_keys *all; // [count]
    uint32_t count;
} pq_key_pass;

// ---- finding --------------------------------------------------------------

// v [B, heads, T, D], behind an optional rope -> the product's result.
static bool
find_product(const pq_graph *g, pq_value_id v, int64_t channels,
             pq_op_id *out_product, const pq_op **out_rope)
{
    const pq_op *rope = pq_producer(g, v, PQ_OP_ROPE);
    *out_rope = rope;
    if (rope != NULL && pq_graph_value(g, v)->use_count != 1) {
        return false;
    }
    pq_value_id y = pq_heads_source(g, rope != NULL ? rope->inputs[0] : v);
    *out_product = pq_producer_id(g, y);
    return !pq_value_is_none(y) && pq_has_linear_rows(g, y, channels);
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
// come from products that take scales.
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
    *out = (pq_keys){.attention = id,
                     .heads = pq_static_dim(g, attention->inputs[0], 1),
                     .kv_heads = pq_static_dim(g, update->inputs[2], 1),
                     .size = pq_static_dim(g, update->inputs[2], 3)};
    if (out->heads < 1 || out->kv_heads < 1 || out->size < 1 ||
        out->heads % out->kv_heads != 0 ||
        !find_product(g, attention->inputs[0], out->heads * out->size, &out->q,
                      &q_rope) ||
        !find_product(g, update->inputs[2], out->kv_heads * out->size, &out->k,
                      &k_rope) ||
        !turns_alike(g, q_rope, k_rope, out)) {
        return false;
    }
    out->y = pq_graph_op(g, out->k)->outputs[0];
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
        keys.scale =
            pq_arena_array(p->env->scratch, (size_t)(keys.kv_heads * keys.size),
                           sizeof *keys.scale);
        PQ_TRY_ALLOC(keys.scale);
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

static int
compare_floats(const void *a, const void *b)
{
    const float *x = a;
    const float *y = b;
    return (*x > *y) - (*x < *y);
}

// size[i]: how large channel i becomes when pairs are turned, whatever the
// angle; scale[i] relative to the head's median.
static void
scale_head(const pq_keys *keys, const float *size, float *sorted, float *scale)
{
    int64_t used = 0;
    for (int64_t i = 0; i < keys->size; i++) {
        if (size[i] > 0) {
            sorted[used++] = size[i];
        }
    }
    qsort(sorted, (size_t)used, sizeof *sorted, compare_floats);
    for (int64_t i = 0; i < keys->size; i++) {
        float exponent =
            size[i] > 0 ? rintf(log2f(size[i] / sorted[used / 2])) : 0;
        exponent = fminf(fmaxf(exponent, -MOST_EXPONENT), MOST_EXPONENT);
        scale[i] = ldexpf(1, (int)exponent);
    }
}

static ptqc_status
choose_scales(const pq_key_pass *p, pq_keys *keys, const pq_channel_stats *s)
{
    pq_arena local;
    pq_arena_init(&local, pq_graph_ctx(p->g));
    size_t n = (size_t)keys->size;
    float *size = pq_arena_array(&local, n, sizeof *size);
    float *sorted = pq_arena_array(&local, n, sizeof *sorted);
    ptqc_status st = size != NULL && sorted != NULL ? PTQC_OK : PTQC_E_RESOURCE;
    for (int64_t h = 0; h < keys->kv_heads && st == PTQC_OK; h++) {
        const float *min = s->min + h * keys->size;
        const float *max = s->max + h * keys->size;
        for (int64_t i = 0; i < keys->size; i++) {
            int64_t other = partner(keys, i);
            float a = fmaxf(max[i], -min[i]);
            float b = other != i ? fmaxf(max[other], -min[other]) : 0;
            size[i] = hypotf(a, b);
        }
        scale_head(keys, size, sorted, keys->scale + h * keys->size);
    }
    pq_arena_deinit(&local);
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

// Of the keys in statistics.
static pq_str
name_of(const pq_key_pass *p, const pq_keys *keys)
{
    return pq_graph_value(p->g, keys->y)->name;
}

static ptqc_status
restore_all(const pq_key_pass *p, pq_channel_stats_set *set)
{
    uint32_t unknown = 0;
    for (uint32_t i = 0; i < p->count; i++) {
        ptqc_status st = pq_channel_stats_restore(
            &set->items[i], name_of(p, &p->all[i]), p->env->stats);
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

static ptqc_status
measure_all(const pq_key_pass *p)
{
    pq_channel_stats_set set;
    pq_arena *scratch = p->env->scratch;
    PQ_TRY(pq_channel_stats_set_init(&set, p->g, scratch));
    for (uint32_t i = 0; i < p->count; i++) {
        PQ_TRY(pq_channel_stats_set_add(&set, p->g, p->all[i].y, 2, scratch));
    }
    PQ_TRY(p->env->stats != NULL
               ? restore_all(p, &set)
               : pq_channel_stats_measure(&set, p->g, p->env, "keys"));
    for (uint32_t i = 0; i < p->count; i++) {
        const pq_channel_stats *s = pq_channel_stats_find(&set, p->all[i].y, 2);
        for (int64_t k = 0;
             s == NULL && k < p->all[i].kv_heads * p->all[i].size; k++) {
            p->all[i].scale[k] = 1;
        }
        PQ_TRY(s != NULL ? choose_scales(p, &p->all[i], s) : PTQC_OK);
        if (s != NULL && p->env->stats_out != NULL) {
            PQ_TRY(pq_channel_stats_keep(s, name_of(p, &p->all[i]),
                                         p->env->stats_out));
        }
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
    PQ_TRY(st == PTQC_NO ? measure_all(&p) : st);
    PQ_TRY(pq_migration_init(&m, g, env->scratch));
    PQ_TRY(add_all(&p, &m));
    return pq_migration_apply(&m, env->work_dir);
}
