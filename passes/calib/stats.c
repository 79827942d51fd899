// SPDX-License-Identifier: Apache-2.0
//
// Statistics by name, see stats.h.

#include "passes/calib/stats.h"

#include <math.h>
#include <string.h>

#include "base/vec.h"

// ---- the table ------------------------------------------------------------

ptqc_status
pq_stats_create(ptqc_ctx *ctx, pq_stats **out)
{
    pq_stats *s = pq_alloc(ctx, sizeof *s);
    PQ_TRY_ALLOC(s);
    s->ctx = ctx;
    pq_arena_init(&s->arena, ctx);
    pq_strmap_init(&s->by_name, ctx);
    *out = s;
    return PTQC_OK;
}

void
pq_stats_destroy(pq_stats *s)
{
    if (s == NULL) {
        return;
    }
    for (uint32_t i = 0; i < s->count; i++) {
        pq_histogram_deinit(&s->all[i].histogram);
    }
    pq_strmap_deinit(&s->by_name);
    pq_arena_deinit(&s->arena);
    pq_free(s->ctx, s->all);
    pq_free(s->ctx, s);
}

const pq_stat *
pq_stats_find(const pq_stats *s, pq_str name)
{
    uint64_t i;
    return pq_strmap_find(&s->by_name, name, &i) ? &s->all[i] : NULL;
}

ptqc_status
pq_stats_get(pq_stats *s, pq_str name, pq_stat **out)
{
    uint64_t i;
    void *all = s->all;
    if (pq_strmap_find(&s->by_name, name, &i)) {
        *out = &s->all[i];
        return PTQC_OK;
    }
    PQ_TRY(pq_vec_reserve(s->ctx, &all, &s->capacity, (size_t)s->count + 1,
                          sizeof *s->all));
    s->all = all;
    const char *p = pq_arena_strndup(&s->arena, name.p, name.n);
    PQ_TRY_ALLOC(p);
    pq_str copy = {p, name.n};
    PQ_TRY(pq_strmap_set(&s->by_name, copy, s->count, NULL));
    *out = &s->all[s->count++];
    **out = (pq_stat){.name = copy};
    pq_histogram_init(&(*out)->histogram, s->ctx);
    return PTQC_OK;
}

// ---- merging --------------------------------------------------------------

// The same in either order; a mean of nothing changes nothing.
static double
merge_means(double a, uint64_t a_count, double b, uint64_t b_count)
{
    if (a_count == 0 || b_count == 0) {
        return a_count == 0 ? b : a;
    }
    double sum = a * (double)a_count + b * (double)b_count;
    return sum / ((double)a_count + (double)b_count);
}

static ptqc_status
merge_numbers(pq_stat *to, const pq_stat *from, const char *what)
{
    ptqc_ctx *ctx = to->histogram.ctx;
    bool has_bins = from->histogram.count > 0;
    if (!from->has_numbers) {
        return PTQC_OK;
    }
    if (to->has_numbers && to->count > 0 && from->count > 0 &&
        has_bins != (to->histogram.count > 0) &&
        (from->min < from->max && to->min < to->max)) {
        return PQ_FAIL(ctx, PTQC_E_INPUT,
                       "%s: '%.*s' has a histogram on one side only", what,
                       PQ_STR_ARG(to->name));
    }
    to->min = from->min < to->min ? from->min : to->min;
    to->max = from->max > to->max ? from->max : to->max;
    to->mean_min =
        merge_means(to->mean_min, to->tensors, from->mean_min, from->tensors);
    to->mean_max =
        merge_means(to->mean_max, to->tensors, from->mean_max, from->tensors);
    to->tensors += from->tensors;
    to->count += from->count;
    to->refused += from->refused;
    to->has_numbers = true;
    return pq_histogram_add(&to->histogram, &from->histogram);
}

static ptqc_status
merge_range(ptqc_ctx *ctx, pq_stat *to, const pq_stat *from, const char *what)
{
    if (!from->has_range) {
        return PTQC_OK;
    }
    // Both were read from text: the same text gives the same numbers.
    if (to->has_range && (from->range_min != to->range_min ||
                          from->range_max != to->range_max)) {
        return PQ_FAIL(ctx, PTQC_E_INPUT, "%s: '%.*s' has another range", what,
                       PQ_STR_ARG(to->name));
    }
    to->has_range = true;
    to->range_min = from->range_min;
    to->range_max = from->range_max;
    return PTQC_OK;
}

static ptqc_status
merge_squares(pq_stats *s, pq_stat *to, const pq_stat *from, const char *what)
{
    double rows = to->row_count + from->row_count;
    if (from->squares == NULL) {
        return PTQC_OK;
    }
    if (to->squares == NULL) {
        to->squares =
            pq_arena_memdup(&s->arena, from->squares,
                            (size_t)from->column_count * sizeof *to->squares);
        PQ_TRY_ALLOC(to->squares);
        to->column_count = from->column_count;
        to->row_count = from->row_count;
        return PTQC_OK;
    }
    if (to->column_count != from->column_count) {
        return PQ_FAIL(s->ctx, PTQC_E_INPUT,
                       "%s: '%.*s' has %lld columns, expected %lld", what,
                       PQ_STR_ARG(to->name), (long long)from->column_count,
                       (long long)to->column_count);
    }
    for (int64_t i = 0; rows > 0 && i < to->column_count; i++) {
        to->squares[i] = (float)(((double)to->squares[i] * to->row_count +
                                  (double)from->squares[i] * from->row_count) /
                                 rows);
    }
    to->row_count = rows;
    return PTQC_OK;
}

static ptqc_status
copy_channels(pq_stats *s, pq_stat *to, const float *min, const float *max,
              int64_t count)
{
    size_t bytes = (size_t)count * sizeof *min;
    float *copies[2] = {pq_arena_memdup(&s->arena, min, bytes),
                        pq_arena_memdup(&s->arena, max, bytes)};
    PQ_TRY_ALLOC(copies[0]);
    PQ_TRY_ALLOC(copies[1]);
    to->channel_min = copies[0];
    to->channel_max = copies[1];
    to->channel_count = count;
    return PTQC_OK;
}

static ptqc_status
merge_channels(pq_stats *s, pq_stat *to, const pq_stat *from, const char *what)
{
    if (from->channel_count == 0) {
        return PTQC_OK;
    }
    if (to->channel_count == 0) {
        PQ_TRY(copy_channels(s, to, from->channel_min, from->channel_max,
                             from->channel_count));
    }
    if (to->channel_count != from->channel_count) {
        return PQ_FAIL(s->ctx, PTQC_E_INPUT,
                       "%s: '%.*s' has %lld channels, expected %lld", what,
                       PQ_STR_ARG(to->name), (long long)from->channel_count,
                       (long long)to->channel_count);
    }
    for (int64_t i = 0; i < to->channel_count; i++) {
        float min = from->channel_min[i], max = from->channel_max[i];
        to->channel_min[i] =
            min < to->channel_min[i] ? min : to->channel_min[i];
        to->channel_max[i] =
            max > to->channel_max[i] ? max : to->channel_max[i];
    }
    return PTQC_OK;
}

double
pq_stat_channel_spread(const pq_stat *s)
{
    double most = 0, sum = 0;
    for (int64_t i = 0; i < s->channel_count; i++) {
        double x = (double)fmaxf(s->channel_max[i], -s->channel_min[i]);
        most = x > most ? x : most;
        sum += x;
    }
    return sum > 0 ? most / sum * (double)s->channel_count : 0;
}

ptqc_status
pq_stats_keep_channels(pq_stats *s, pq_str name, const pq_channel_ranges *r)
{
    pq_stat *stat;
    PQ_TRY(pq_stats_get(s, name, &stat));
    stat->tokens = r->tokens;
    stat->token_mean = r->token_mean;
    return copy_channels(s, stat, r->min, r->max, r->count);
}

ptqc_status
pq_stats_merge(pq_stats *s, const pq_stats *from, const char *what)
{
    for (uint32_t i = 0; i < from->count; i++) {
        pq_stat *to;
        PQ_TRY(pq_stats_get(s, from->all[i].name, &to));
        PQ_TRY(merge_numbers(to, &from->all[i], what));
        PQ_TRY(merge_range(s->ctx, to, &from->all[i], what));
        PQ_TRY(merge_squares(s, to, &from->all[i], what));
        PQ_TRY(merge_channels(s, to, &from->all[i], what));
        to->token_mean =
            merge_means(to->token_mean, to->tokens, from->all[i].token_mean,
                        from->all[i].tokens);
        to->tokens += from->all[i].tokens;
    }
    s->sample_count += from->sample_count;
    return PTQC_OK;
}

// ---- observers ------------------------------------------------------------

ptqc_status
pq_stats_keep(pq_stats *s, pq_str name, const pq_observer *o)
{
    pq_stat *stat;
    PQ_TRY(pq_stats_get(s, name, &stat));
    stat->has_numbers = true;
    stat->min = o->min;
    stat->max = o->max;
    stat->count = o->count;
    stat->refused = o->refused;
    stat->tensors = o->samples;
    stat->mean_min = o->mean_min;
    stat->mean_max = o->mean_max;
    return pq_histogram_add(&stat->histogram, &o->histogram);
}

ptqc_status
pq_stats_restore(const pq_stats *s, pq_str name, pq_observer *o)
{
    const pq_stat *stat = pq_stats_find(s, name);
    if (stat == NULL || !(stat->has_numbers || stat->has_range)) {
        return PQ_FAIL(s->ctx, PTQC_E_USAGE,
                       "statistics: nothing is known of '%.*s'",
                       PQ_STR_ARG(name));
    }
    bool is_flat = stat->min == stat->max; // no number but 0
    if (!stat->has_range && !is_flat && stat->histogram.count == 0 &&
        pq_observer_needs_histogram(o->desc.kind)) {
        return PQ_FAIL(s->ctx, PTQC_E_USAGE,
                       "statistics: of '%.*s' no histogram was kept, the "
                       "observer %s needs one",
                       PQ_STR_ARG(name), pq_observer_name(o->desc.kind));
    }
    if (!stat->has_range && !is_flat && stat->tensors == 0 &&
        o->desc.kind == PQ_OBSERVER_AVERAGE) {
        return PQ_FAIL(s->ctx, PTQC_E_USAGE,
                       "statistics: of '%.*s' no mean_min and mean_max were "
                       "kept, the observer %s needs them",
                       PQ_STR_ARG(name), pq_observer_name(o->desc.kind));
    }
    o->min = stat->min;
    o->max = stat->max;
    o->count = stat->count;
    o->refused = stat->refused;
    o->samples = stat->tensors;
    o->mean_min = stat->mean_min;
    o->mean_max = stat->mean_max;
    return pq_histogram_add(&o->histogram, &stat->histogram);
}
