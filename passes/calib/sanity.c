// SPDX-License-Identifier: Apache-2.0
//
// See sanity.h.

#include "passes/calib/sanity.h"

#include <stdio.h>

#include "ir/rewrite.h"
#include "passes/match.h"

// A range grew by much when it grew by this share of its width.
#define PQ_GROWTH 0.1f
// Fewer samples have no last quarter that would say anything.
#define PQ_FEW_SAMPLES 8u
// Share of values whose ranges still grow that is worth a warning. (The
// largest of equal chances is in the last quarter once in four, but rarely by
// a tenth.)
#define PQ_LATE_SHARE 0.1
// Share of one value's numbers outside its range that is worth a note.
#define PQ_MUCH_SATURATED 0.01

static bool
is_read_by_matmul(const pq_graph *g, pq_value_id v)
{
    for (const pq_use *u = pq_value_uses(g, v); u != NULL; u = u->next) {
        if (pq_graph_op(g, u->op)->code == PQ_OP_MATMUL) {
            return true;
        }
    }
    return false;
}

ptqc_status
pq_sanity_init(pq_sanity *s, const pq_graph *g, pq_value_id v, pq_arena *arena)
{
    uint32_t rank = pq_graph_value(g, v)->type.rank;
    *s = (pq_sanity){0};
    if (rank < 2) {
        return PTQC_OK;
    }
    s->axis = rank == 2 || is_read_by_matmul(g, v) ? rank - 1 : 1;
    int64_t n = pq_static_dim(g, v, s->axis);
    if (n < 1) {
        return PTQC_OK; // symbolic: which channels would they be
    }
    s->is_active = pq_arena_array(arena, (size_t)n, sizeof *s->is_active);
    PQ_TRY_ALLOC(s->is_active);
    s->channel_count = n;
    return PTQC_OK;
}

static void
mark_channels(pq_sanity *s, const pq_tensor *t)
{
    const float *x = t->p;
    int64_t inner = 1;
    if (s->channel_count == 0 || s->axis >= t->rank ||
        t->dims[s->axis] != s->channel_count) {
        return;
    }
    for (uint32_t i = s->axis + 1; i < t->rank; i++) {
        inner *= t->dims[i];
    }
    int64_t rows = inner > 0 ? (int64_t)(t->bytes / sizeof *x) / inner : 0;
    for (int64_t r = 0; r < rows; r++) {
        bool *is_active = &s->is_active[r % s->channel_count];
        for (int64_t i = 0; !*is_active && i < inner; i++) {
            *is_active = x[r * inner + i] != 0; // exact: rectified
        }
    }
}

void
pq_sanity_take(pq_sanity *s, const pq_tensor *t)
{
    float min, max;
    (void)pq_finite_range(t->p, t->bytes / sizeof(float), &min, &max);
    s->sample_count++;
    float much = PQ_GROWTH * (s->max - s->min);
    if (min < s->min - much || max > s->max + much) {
        s->grown_at = s->sample_count;
        s->min = min < s->min ? min : s->min;
        s->max = max > s->max ? max : s->max;
    }
    mark_channels(s, t);
}

void
pq_sanity_state(pq_sanity *s, pq_state *state)
{
    PQ_STATE(state, s->sample_count);
    PQ_STATE(state, s->grown_at);
    PQ_STATE(state, s->min);
    PQ_STATE(state, s->max);
    for (int64_t i = 0; i < s->channel_count; i++) {
        uint8_t is_active = s->is_active[i];
        PQ_STATE(state, is_active);
        s->is_active[i] = is_active != 0;
    }
}

// Numbers whose bins lie outside the range; 0 without a histogram, since only
// those that have one cut ranges.
static uint64_t
saturated(const pq_observer *o, float min, float max)
{
    const pq_histogram *h = &o->histogram;
    uint64_t n = 0;
    for (int64_t i = 0; i < h->count; i++) {
        double x = pq_histogram_middle(h, i);
        n += x < (double)min || x > (double)max ? h->bins[i] : 0;
    }
    return n;
}

static int64_t
dead_channels(const pq_sanity *s)
{
    int64_t n = 0;
    for (int64_t i = 0; i < s->channel_count; i++) {
        n += !s->is_active[i];
    }
    return n;
}

static void
note(const pq_pass_env *env, pq_str name, const char *what)
{
    if (env->note != NULL) {
        env->note(env->note_user, name, what, "in the calibration samples");
    }
}

void
pq_sanity_report(const pq_sanity *s, const pq_pass_env *env, pq_str name,
                 const pq_observer *o, float min, float max)
{
    pq_calib_facts *f = env->calib_facts;
    char text[96];
    uint64_t outside = saturated(o, min, max);
    int64_t dead = dead_channels(s);
    bool is_late = s->sample_count >= PQ_FEW_SAMPLES &&
                   s->grown_at > s->sample_count - s->sample_count / 4;
    if (f != NULL) {
        f->samples =
            s->sample_count > f->samples ? s->sample_count : f->samples;
        f->values++;
        f->late_values += is_late;
        f->numbers += o->count;
        f->saturated += outside;
        f->channels += (uint64_t)s->channel_count;
        f->dead_channels += (uint64_t)dead;
    }
    if (dead > 0) {
        snprintf(text, sizeof text, "%lld of %lld channels never active",
                 (long long)dead, (long long)s->channel_count);
        note(env, name, text);
    }
    if ((double)outside > PQ_MUCH_SATURATED * (double)o->count) {
        snprintf(text, sizeof text, "%.2f %% of its numbers outside its range",
                 100 * (double)outside / (double)o->count);
        note(env, name, text);
    }
}

void
pq_sanity_warn(ptqc_ctx *ctx, const pq_calib_facts *f)
{
    if (f == NULL || f->values == 0) {
        return;
    }
    pq_say(ctx, PTQC_SEVERITY_INFO,
           "calibration: %llu samples, %llu activations, %.4f %% of numbers "
           "outside their ranges, %llu of %llu channels never active",
           (unsigned long long)f->samples, (unsigned long long)f->values,
           f->numbers > 0 ? 100 * (double)f->saturated / (double)f->numbers : 0,
           (unsigned long long)f->dead_channels,
           (unsigned long long)f->channels);
    if ((double)f->late_values > PQ_LATE_SHARE * (double)f->values) {
        pq_say(ctx, PTQC_SEVERITY_WARNING,
               "calibration: the ranges of %llu of %llu activations still "
               "grew in the last quarter of %llu samples: more samples would "
               "tell more",
               (unsigned long long)f->late_values,
               (unsigned long long)f->values, (unsigned long long)f->samples);
    }
}
