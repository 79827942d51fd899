// SPDX-License-Identifier: Apache-2.0
//
// Bias correction in sequence, see correct_bias.c: the simulated graph runs
// piece by piece (stream.h). A piece ends where targets read a value; its mean
// over the samples corrects them, in the graph and in its simulation, and the
// next pieces run with that. So each product runs once, one piece is in memory
// at a time, and with a checkpoint an interrupted compile goes on behind the
// last value that was done: its unit (checkpoint.h) holds no codes, its note
// the f64 shifts of the group's targets.

#include <string.h>

#include "passes/calib/bias.h"
#include "passes/calib/simulate.h"
#include "passes/calib/stream.h"
#include "passes/links.h"
#include "passes/match.h"

typedef struct pq_sequence {
    pq_bias_pass *pass;
    const pq_pass_env *env;
    pq_graph *sim;       // owned
    uint32_t *target_of; // [values of g] index + 1 of the target that makes it
    uint32_t value_count;
    pq_checkpoint checkpoint;
    // Of the group at hand:
    const pq_stream_group *group;
    pq_arena arena;
    pq_channel_stats_set *sets; // [ops] of its value, along the axis of each
    bool is_open;               // its samples are seen
} pq_sequence;

// Of a product of the simulated graph, whose results keep their ids; NULL:
// none.
static pq_bias_target *
target_of(const pq_sequence *s, const pq_op *op)
{
    uint32_t v = op->outputs[0].index;
    uint32_t slot = v < s->value_count ? s->target_of[v] : 0;
    return slot > 0 ? &s->pass->targets[slot - 1] : NULL;
}

static pq_bias_target *
target_at(const pq_sequence *s, const pq_stream_group *group, uint32_t i)
{
    return target_of(s, pq_graph_op(s->sim, group->ops[i]));
}

static bool
wants(void *user, const pq_op *op)
{
    return target_of(user, op) != NULL;
}

// ---- corrections ----------------------------------------------------------

// The simulation gets the bias that the graph has.
static ptqc_status
copy_bias(const pq_sequence *s, pq_op_id id, int64_t count)
{
    pq_value_id v;
    const pq_op *op = pq_graph_op(s->pass->g, id);
    pq_arena local;
    pq_arena_init(&local, pq_graph_ctx(s->sim));
    ptqc_status st = PTQC_E_RESOURCE;
    const float *bias = pq_copy_floats(s->pass->g, pq_op_input(op, 2), &local);
    if (bias != NULL) {
        st = pq_make_vector(s->sim, bias, count, &v);
    }
    if (st == PTQC_OK) {
        st = pq_set_input(s->sim, id, 2, v);
    }
    pq_arena_deinit(&local);
    return st;
}

// shifts: of all targets of the group, one after the other.
static ptqc_status
apply(pq_sequence *s, const pq_stream_group *group, const double *shifts)
{
    for (uint32_t i = 0; i < group->op_count; i++) {
        pq_bias_target *t = target_at(s, group, i);
        PQ_TRY(pq_bias_apply(s->pass, t, shifts, &s->arena));
        PQ_TRY(copy_bias(s, t->op, t->outs));
        shifts += t->outs;
    }
    return PTQC_OK;
}

static size_t
count_shifts(const pq_sequence *s, const pq_stream_group *group)
{
    size_t n = 0;
    for (uint32_t i = 0; i < group->op_count; i++) {
        n += (size_t)target_at(s, group, i)->outs;
    }
    return n;
}

// ---- checkpoints ----------------------------------------------------------

// PTQC_NO: there is no unit of the group.
static ptqc_status
restore(pq_sequence *s, const pq_stream_group *group)
{
    pq_unit_weight unit = {.scale_count = 0};
    pq_map map;
    size_t count = count_shifts(s, group);
    double *shifts = pq_arena_array(&s->arena, count, sizeof *shifts);
    PQ_TRY_ALLOC(shifts);
    if (s->checkpoint.dir == NULL) {
        return PTQC_NO;
    }
    PQ_TRY(pq_unit_read(&s->checkpoint, group->index, &unit, 1, &map));
    bool fits = unit.note.n == count * sizeof *shifts;
    if (fits) {
        memcpy(shifts, unit.note.p, unit.note.n);
    }
    pq_map_close(&map);
    return fits ? apply(s, group, shifts)
                : PQ_FAIL(pq_graph_ctx(s->sim), PTQC_E_USAGE,
                          "checkpoint %u of '%s' in '%s' has %zu bytes, "
                          "expected %zu: remove the folder",
                          (unsigned)group->index, s->checkpoint.pass,
                          s->checkpoint.dir, unit.note.n,
                          count * sizeof *shifts);
}

static ptqc_status
keep(const pq_sequence *s, const pq_stream_group *group, const double *shifts)
{
    const pq_unit_weight unit = {
        .note = {(const char *)shifts,
                 count_shifts(s, group) * sizeof *shifts}};
    return s->checkpoint.dir != NULL
               ? pq_unit_write(&s->checkpoint, group->index, &unit, 1)
               : PTQC_OK;
}

// ---- the stream's client --------------------------------------------------

static ptqc_status
begin(void *user, const pq_stream_group *group, bool *out_shows)
{
    pq_sequence *s = user;
    pq_arena_deinit(&s->arena);
    pq_arena_init(&s->arena, pq_graph_ctx(s->sim));
    s->group = group;
    ptqc_status st = restore(s, group);
    *out_shows = s->is_open = st == PTQC_NO;
    if (st != PTQC_NO) {
        return st;
    }
    s->sets = pq_arena_array(&s->arena, group->op_count, sizeof *s->sets);
    PQ_TRY_ALLOC(s->sets);
    for (uint32_t i = 0; i < group->op_count; i++) {
        PQ_TRY(pq_channel_stats_set_init(&s->sets[i], s->sim, &s->arena));
        PQ_TRY(pq_channel_stats_set_add(&s->sets[i], s->sim, group->x,
                                        target_at(s, group, i)->axis,
                                        &s->arena));
    }
    return PTQC_OK;
}

static ptqc_status
take(void *user, uint64_t sample, const pq_tensor *x, const pq_tensor *real)
{
    pq_sequence *s = user;
    (void)sample;
    (void)real;
    for (uint32_t i = 0; i < s->group->op_count; i++) {
        pq_channel_stats_take(&s->sets[i], s->group->x, x);
    }
    return PTQC_OK;
}

// Of one target of the group. PTQC_NO: nothing was seen.
static ptqc_status
measure(pq_sequence *s, uint32_t i, double *out)
{
    const pq_bias_target *t = target_at(s, s->group, i);
    const pq_channel_stats *seen =
        pq_channel_stats_find(&s->sets[i], s->group->x, t->axis);
    if (seen == NULL) {
        return PTQC_NO;
    }
    const double *mean = pq_bias_means(seen, &s->arena);
    PQ_TRY_ALLOC(mean);
    pq_arena local; // weights in float
    pq_arena_init(&local, pq_graph_ctx(s->sim));
    ptqc_status st = pq_bias_measure(s->pass, t, mean, &local, out);
    pq_arena_deinit(&local);
    return st;
}

static ptqc_status
end(void *user, const pq_stream_group *group)
{
    pq_sequence *s = user;
    if (!s->is_open) {
        return PTQC_OK;
    }
    double *shifts =
        pq_arena_array(&s->arena, count_shifts(s, group), sizeof *shifts);
    double *next = shifts;
    PQ_TRY_ALLOC(shifts);
    for (uint32_t i = 0; i < group->op_count; i++) {
        ptqc_status st = measure(s, i, next);
        if (st != PTQC_OK) { // empty samples say nothing
            return st == PTQC_NO ? PTQC_OK : st;
        }
        next += target_at(s, group, i)->outs;
    }
    PQ_TRY(apply(s, group, shifts));
    return keep(s, group, shifts);
}

// ---- all ------------------------------------------------------------------

static ptqc_status
find_targets(pq_sequence *s)
{
    const pq_graph *g = s->pass->g;
    s->value_count = pq_graph_value_count(g);
    s->target_of =
        pq_arena_array(s->env->scratch, s->value_count, sizeof *s->target_of);
    PQ_TRY_ALLOC(s->target_of);
    for (uint32_t i = 0; i < s->pass->count; i++) {
        const pq_op *op = pq_graph_op(g, s->pass->targets[i].op);
        s->target_of[op->outputs[0].index] = i + 1;
    }
    return PTQC_OK;
}

ptqc_status
pq_bias_sequence(pq_bias_pass *p, const pq_pass_env *env)
{
    static const char name[] = "bias-sequence";
    ptqc_ctx *ctx = pq_graph_ctx(p->g);
    pq_sequence s = {
        .pass = p, .env = env, .checkpoint = pq_checkpoint_of(ctx, env, name)};
    const pq_stream_client client = {.user = &s,
                                     .runs_as_is = true,
                                     .wants = wants,
                                     .begin = begin,
                                     .checkpoint = &s.checkpoint,
                                     .take = take,
                                     .end = end};
    PQ_TRY(find_targets(&s));
    PQ_TRY(pq_simulate(p->g, env, &s.sim));
    pq_arena_init(&s.arena, ctx);
    ptqc_status st = pq_stream_run(s.sim, env, name, &client);
    pq_arena_deinit(&s.arena);
    pq_graph_destroy(s.sim);
    return st;
}
