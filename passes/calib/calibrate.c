// SPDX-License-Identifier: Apache-2.0
//
// Calibration: runs the samples through a runner, shows every activation that
// is to become codes to an observer, and annotates it with the scale and zero
// point of the range that the observer gives. Runs a clone without
// annotations, whose value ids are the same. What observers count does not
// depend on the number of threads.

#include "passes/calib/channel_stats.h"
#include "passes/calib/columns.h"
#include "passes/calib/samples.h"
#include "passes/calib/sanity.h"
#include "passes/calib/stats.h"
#include "passes/match.h"
#include "passes/params.h"
#include "passes/plan.h"
#include "passes/registry.h"

typedef struct pq_calibration {
    pq_graph *g;
    pq_pass_env *env;
    pq_value_id *watched;   // [count]
    pq_observer *observers; // [count], owned
    pq_sanity *sanity;      // [count]
    uint32_t count;
    uint32_t *slot_of; // [values] index into watched + 1; 0 = not watched
    // When statistics are kept.
    pq_columns columns;
    pq_channel_stats_set channels; // of those watched
} pq_calibration;

static ptqc_status
find_watched(pq_calibration *c)
{
    pq_arena *scratch = c->env->scratch;
    uint32_t values = pq_graph_value_count(c->g);
    c->slot_of = pq_arena_array(scratch, values, sizeof *c->slot_of);
    c->watched = pq_arena_array(scratch, values, sizeof *c->watched);
    PQ_TRY_ALLOC(c->slot_of);
    PQ_TRY_ALLOC(c->watched);
    for (uint32_t i = 1; i < values; i++) {
        pq_value_id v = {i};
        const pq_quant *q = pq_annotation(c->g, v);
        if (q != NULL && !q->scheme.dynamic && !pq_is_constant(c->g, v)) {
            c->watched[c->count++] = v;
            c->slot_of[i] = c->count;
        }
    }
    return PTQC_OK;
}

static ptqc_status
make_observers(pq_calibration *c)
{
    ptqc_ctx *ctx = pq_graph_ctx(c->g);
    const pq_recipe *recipe = c->env->recipe;
    c->observers = pq_arena_array(c->env->scratch, (size_t)c->count + 1,
                                  sizeof *c->observers);
    c->sanity = pq_arena_array(c->env->scratch, (size_t)c->count + 1,
                               sizeof *c->sanity);
    PQ_TRY_ALLOC(c->observers);
    PQ_TRY_ALLOC(c->sanity);
    for (uint32_t i = 0; i < c->count; i++) {
        PQ_TRY(pq_sanity_init(&c->sanity[i], c->g, c->watched[i],
                              c->env->scratch));
    }
    PQ_TRY(pq_channel_stats_set_init(&c->channels, c->g, c->env->scratch));
    for (uint32_t i = 0; i < c->count && c->env->stats_out != NULL; i++) {
        if (c->sanity[i].channel_count > 0) {
            PQ_TRY(pq_channel_stats_set_add(&c->channels, c->g, c->watched[i],
                                            c->sanity[i].axis,
                                            c->env->scratch));
        }
    }
    for (uint32_t i = 0; i < c->count; i++) {
        const pq_scheme *s = &pq_annotation(c->g, c->watched[i])->scheme;
        const pq_settings settings =
            pq_recipe_settings_of_value(recipe, c->g, c->watched[i]);
        const pq_observer_desc desc = {.kind = settings.observer,
                                       .percentile = settings.percentile,
                                       .format = s->format,
                                       .symmetric = s->symmetric,
                                       .keeps_histogram =
                                           c->env->stats_out != NULL};
        pq_observer_init(&c->observers[i], ctx, &desc);
    }
    return PTQC_OK;
}

static ptqc_status
observe(void *user, pq_value_id v, const pq_tensor *t)
{
    pq_calibration *c = user;
    uint32_t slot = c->slot_of[v.index];
    if (c->env->stats_out != NULL) {
        (void)pq_columns_take(&c->columns, v, t);
    }
    if (slot == 0 || t->dtype != PTQC_F32) {
        return PTQC_OK;
    }
    pq_channel_stats_take(&c->channels, v, t);
    pq_sanity_take(&c->sanity[slot - 1], t);
    return pq_observer_take(&c->observers[slot - 1], t->p,
                            t->bytes / sizeof(float));
}

// For checkpoints: all that observe() adds to for v.
static ptqc_status
put_state(void *user, pq_value_id v, pq_state *s)
{
    pq_calibration *c = user;
    uint32_t slot = c->slot_of[v.index];
    if (c->env->stats_out != NULL) {
        pq_columns_state(&c->columns, v, s);
    }
    if (slot == 0) {
        return PTQC_OK;
    }
    pq_channel_stats_state(&c->channels, v, s);
    pq_sanity_state(&c->sanity[slot - 1], s);
    return pq_state_observer(s, &c->observers[slot - 1]);
}

static ptqc_status
range_of(const pq_calibration *c, uint32_t i, float *out_min, float *out_max)
{
    pq_str name = pq_graph_value(c->g, c->watched[i])->name;
    const pq_stat *stat =
        c->env->stats != NULL ? pq_stats_find(c->env->stats, name) : NULL;
    if (stat != NULL && stat->has_range) { // said by hand
        *out_min = stat->range_min;
        *out_max = stat->range_max;
        return PTQC_OK;
    }
    return pq_observer_range(&c->observers[i], out_min, out_max);
}

static ptqc_status
annotate(pq_calibration *c, uint32_t i)
{
    const pq_observer *o = &c->observers[i];
    const pq_value *v = pq_graph_value(c->g, c->watched[i]);
    float min, max;
    if (o->refused > 0) {
        pq_say(pq_graph_ctx(c->g), PTQC_SEVERITY_WARNING,
               "calibration: '%.*s' had %llu infinities or NaN, left out of "
               "its range",
               PQ_STR_ARG(v->name), (unsigned long long)o->refused);
    }
    PQ_TRY(range_of(c, i, &min, &max));
    if (c->env->stats == NULL) {
        pq_sanity_report(&c->sanity[i], c->env, v->name, o, min, max);
    }
    if (c->env->stats_out != NULL) {
        const pq_channel_stats *channels = pq_channel_stats_find(
            &c->channels, c->watched[i], c->sanity[i].axis);
        PQ_TRY(pq_stats_keep(c->env->stats_out, v->name, o));
        PQ_TRY(channels != NULL
                   ? pq_channel_stats_keep(channels, v->name, c->env->stats_out)
                   : PTQC_OK);
    }
    pq_params p =
        pq_params_of_range(min, max, o->desc.format, o->desc.symmetric);
    return pq_annotate_params(c->g, c->watched[i], p);
}

// Everything that is looked at: values to be codes, then columns.
static ptqc_status
run_samples(pq_calibration *c)
{
    const pq_watcher watcher = {
        .user = c, .observe = observe, .state = put_state};
    bool has_more = c->env->stats_out != NULL; // other checkpoints
    uint32_t n = c->count;
    pq_value_id *all = pq_arena_array(
        c->env->scratch, (size_t)n + c->columns.count + 1, sizeof *all);
    PQ_TRY_ALLOC(all);
    for (uint32_t i = 0; i < n; i++) {
        all[i] = c->watched[i];
    }
    for (uint32_t i = 0; i < c->columns.count; i++) {
        if (c->slot_of[c->columns.watched[i].index] == 0) {
            all[n++] = c->columns.watched[i];
        }
    }
    return pq_run_samples(c->g, c->env,
                          has_more ? "calibrate-stats" : "calibrate", all, n,
                          &watcher);
}

static ptqc_status
collect(pq_calibration *c)
{
    const pq_pass_env *env = c->env;
    for (uint32_t i = 0; env->stats != NULL && i < c->count; i++) {
        pq_str name = pq_graph_value(c->g, c->watched[i])->name;
        PQ_TRY(pq_stats_restore(env->stats, name, &c->observers[i]));
    }
    if (env->stats != NULL) {
        return PTQC_OK;
    }
    PQ_TRY(run_samples(c));
    if (env->stats_out == NULL) {
        return PTQC_OK;
    }
    env->stats_out->sample_count +=
        c->count > 0 ? c->sanity[0].sample_count : c->columns.sample_count;
    return pq_columns_keep(&c->columns, c->g, env->stats_out);
}

ptqc_status
pq_pass_calibrate(pq_graph *g, pq_pass_env *env)
{
    pq_calibration c = {.g = g, .env = env};
    ptqc_status st = PTQC_OK;
    PQ_TRY(find_watched(&c));
    if (env->stats_out != NULL) {
        PQ_TRY(pq_columns_init(&c.columns, g, env->scratch));
    }
    if (c.count + c.columns.count == 0) {
        return PTQC_OK;
    }
    PQ_TRY(make_observers(&c));
    st = collect(&c);
    for (uint32_t i = 0; i < c.count && st == PTQC_OK; i++) {
        st = annotate(&c, i);
    }
    if (st == PTQC_OK) {
        pq_sanity_warn(pq_graph_ctx(g), env->calib_facts);
    }
    for (uint32_t i = 0; i < c.count; i++) {
        pq_observer_deinit(&c.observers[i]);
    }
    return st;
}
