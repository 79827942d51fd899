// SPDX-License-Identifier: Apache-2.0
//
// Running calibration samples, see samples.h: the whole graph at once, or, with
// a folder for what waits in between, piece by piece (stream.h), cut at the
// inputs of matrices, so that no more than one piece's weights are in memory.
// Both show the same bytes: float kernels do not depend on what stands around
// them (docs/numerics.md).

#include "passes/calib/samples.h"

#include "passes/calib/pieces.h"
#include "passes/match.h"
#include "passes/plan.h"

typedef struct pq_sampling {
    pq_graph *g;
    const pq_pass_env *env;
    const char *phase;
    const pq_watcher *watcher;
    bool *is_watched; // [values]
} pq_sampling;

static bool
is_input(const pq_graph *g, pq_value_id v)
{
    return pq_op_is_none(pq_producer_id(g, v)) && !pq_is_constant(g, v);
}

// Outputs of the graph are shown, too, and inputs were seen as they came.
static ptqc_status
pass_on(void *user, pq_value_id v, const pq_tensor *t)
{
    const pq_sampling *s = user;
    return s->is_watched[v.index] && !is_input(s->g, v)
               ? s->watcher->observe(s->watcher->user, v, t)
               : PTQC_OK;
}

static ptqc_status
show_inputs(const pq_sampling *s, const pq_tensor *inputs, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        pq_value_id v = pq_graph_input(s->g, i);
        if (s->is_watched[v.index]) {
            PQ_TRY(s->watcher->observe(s->watcher->user, v, &inputs[i]));
        }
    }
    return PTQC_OK;
}

static ptqc_status
run_all(pq_sampling *s, pq_runner *runner)
{
    ptqc_ctx *ctx = pq_graph_ctx(s->g);
    const pq_samples *samples = s->env->samples;
    uint32_t inputs = pq_graph_input_count(s->g);
    uint64_t i = 0;
    pq_tensor *tensors =
        pq_arena_array(s->env->scratch, (size_t)inputs + 1, sizeof *tensors);
    PQ_TRY_ALLOC(tensors);
    for (; samples->limit == 0 || i < samples->limit; i++) {
        PQ_TRY(pq_check_cancelled(ctx));
        ptqc_status st = samples->get(samples->user, i, tensors, inputs);
        if (st == PTQC_NO) {
            break;
        }
        PQ_TRY(st);
        PQ_TRY(show_inputs(s, tensors, inputs));
        PQ_TRY(runner->run(runner, tensors, pass_on, s));
        pq_progress(ctx, s->phase, i + 1, samples->limit);
    }
    return i > 0
               ? PTQC_OK
               : PQ_FAIL(ctx, PTQC_E_USAGE, "calibration data holds no sample");
}

ptqc_status
pq_clone_float(pq_graph *g, pq_graph **out)
{
    PQ_TRY(pq_graph_clone(g, false, out));
    pq_drop_annotations(*out);
    pq_graph_set_stage(*out, PQ_STAGE_FLOAT);
    return PTQC_OK;
}

ptqc_status
pq_run_graph(pq_graph *g, const pq_pass_env *env, const char *phase,
             const pq_value_id *watched, uint32_t count, const pq_watcher *w)
{
    pq_sampling s = {.g = g, .env = env, .phase = phase, .watcher = w};
    pq_runner *runner = NULL;
    if (env->samples == NULL || env->make_runner == NULL) {
        return PQ_FAIL(pq_graph_ctx(g), PTQC_E_USAGE,
                       "static activations need calibration samples");
    }
    s.is_watched = pq_arena_array(env->scratch, pq_graph_value_count(g),
                                  sizeof *s.is_watched);
    PQ_TRY_ALLOC(s.is_watched);
    for (uint32_t i = 0; i < count; i++) {
        s.is_watched[watched[i].index] = true;
    }
    PQ_TRY(env->make_runner(env->runner_user, g, watched, count, &runner));
    ptqc_status st = run_all(&s, runner);
    runner->destroy(runner);
    return st;
}

// ---- piece by piece -------------------------------------------------------

static bool
cuts(void *user, const pq_op *op)
{
    (void)user;
    return op->code == PQ_OP_MATMUL;
}

static ptqc_status
begin(void *user, const pq_stream_group *group, bool *out_shows)
{
    (void)user;
    (void)group;
    *out_shows = false;
    return PTQC_OK;
}

static ptqc_status
end(void *user, const pq_stream_group *group)
{
    (void)user;
    (void)group;
    return PTQC_OK;
}

// Whether the graph can be cut, and there is a folder for what waits; one piece
// for what is to be kept.
static ptqc_status
can_stream(const pq_graph *g, const pq_pass_env *env,
           const pq_stream_client *client, bool *out)
{
    pq_pieces pieces;
    *out = false;
    if (env->work_dir == NULL || env->samples == NULL) {
        return PTQC_OK;
    }
    PQ_TRY(pq_pieces_find(g, env->scratch, client, &pieces));
    uint32_t least = client->checkpoint != NULL ? 1 : 2;
    *out = pieces.count >= least &&
           pq_value_is_none(pq_pieces_find_cut_state(g, &pieces));
    return PTQC_OK;
}

ptqc_status
pq_run_samples(pq_graph *g, const pq_pass_env *env, const char *phase,
               const pq_value_id *watched, uint32_t count, const pq_watcher *w)
{
    pq_graph *clone = NULL;
    bool streams;
    const pq_checkpoint kept = pq_checkpoint_of(pq_graph_ctx(g), env, phase);
    bool keeps = w->state != NULL && kept.dir != NULL;
    const pq_stream_client client = {.user = w->user,
                                     .wants = cuts,
                                     .begin = begin,
                                     .end = end,
                                     .checkpoint = keeps ? &kept : NULL,
                                     .watched = watched,
                                     .watched_count = count,
                                     .watch = w->observe,
                                     .state = w->state};
    PQ_TRY(can_stream(g, env, &client, &streams));
    if (streams) {
        return pq_stream_run(g, env, phase, &client);
    }
    ptqc_status st = pq_clone_float(g, &clone);
    if (st == PTQC_OK) {
        st = pq_run_graph(clone, env, phase, watched, count, w);
    }
    pq_graph_destroy(clone);
    return st;
}
