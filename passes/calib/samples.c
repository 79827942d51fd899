// SPDX-License-Identifier: Apache-2.0
//
// Running calibration samples, see samples.h: the whole graph at once, or, with
// a folder for what waits in between, piece by piece (stream.h), cut at the
// inputs of matrices, and of convolutions where a piece would become large, so
// that no more than one piece's weights and watched values are in memory. Both
// show the same bytes: float kernels do not depend on what stands around them
// (docs/numerics.md).

#include "passes/calib/samples.h"

#include "passes/calib/pieces.h"
#include "passes/match.h"
#include "passes/plan.h"

// Of weights and watched values of a sample, as f32: more begin a new piece.
// Values that wait are written and read for every sample, so that small
// networks better stay whole.
#define PIECE_BYTES (16.0 * (1 << 20))

typedef struct pq_sampling {
    pq_graph *g;
    const pq_pass_env *env;
    const char *phase;
    const pq_watcher *watcher;
    uint64_t *waits; // [values] number (from 1) of the sample that is shown
                     // next; 0: not watched
    uint64_t number; // of the sample at hand
} pq_sampling;

static bool
is_input(const pq_graph *g, pq_value_id v)
{
    return pq_op_is_none(pq_producer_id(g, v)) && !pq_is_constant(g, v);
}

// Runners show outputs of the graph, too (once more, when they are watched),
// and inputs were seen as they came.
static ptqc_status
pass_on(void *user, pq_value_id v, const pq_tensor *t)
{
    const pq_sampling *s = user;
    if (s->waits[v.index] != s->number || is_input(s->g, v)) {
        return PTQC_OK;
    }
    s->waits[v.index]++;
    return s->watcher->observe(s->watcher->user, v, t);
}

static ptqc_status
show_inputs(const pq_sampling *s, const pq_tensor *inputs, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        pq_value_id v = pq_graph_input(s->g, i);
        if (s->waits[v.index] > 0) {
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
        s->number = i + 1;
        PQ_TRY(show_inputs(s, tensors, inputs));
        PQ_TRY(runner->run(runner, tensors, pass_on, s));
        pq_progress(ctx, s->phase, i + 1, samples->limit);
    }
    return i > 0
               ? PTQC_OK
               : PQ_FAIL(ctx, PTQC_E_USAGE, "calibration data holds no sample");
}

ptqc_status
pq_sample_symbols(pq_graph *g, const pq_pass_env *env, int64_t **out)
{
    uint32_t inputs = pq_graph_input_count(g);
    uint32_t n = pq_graph_symbol_count(g);
    pq_tensor *tensors =
        pq_arena_array(env->scratch, (size_t)inputs + 1, sizeof *tensors);
    int64_t *symbols =
        pq_arena_array(env->scratch, (size_t)n + 1, sizeof *symbols);
    PQ_TRY_ALLOC(tensors);
    PQ_TRY_ALLOC(symbols);
    for (uint32_t i = 0; i < n; i++) {
        symbols[i] = pq_graph_symbol(g, i)->min;
    }
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
    *out = symbols;
    return PTQC_OK;
}

ptqc_status
pq_clone_float(pq_graph *g, pq_graph **out)
{
    PQ_TRY(pq_graph_clone(g, false, out));
    pq_drop_annotations(*out);
    pq_graph_set_stage(*out, PQ_STAGE_FLOAT);
    return PTQC_OK;
}

static ptqc_status
run_whole(pq_graph *g, const pq_pass_env *env, const char *phase,
          const pq_value_id *watched, uint32_t count, const pq_watcher *w)
{
    pq_sampling s = {.g = g, .env = env, .phase = phase, .watcher = w};
    pq_runner *runner = NULL;
    if (env->samples == NULL || env->make_runner == NULL) {
        return PQ_FAIL(pq_graph_ctx(g), PTQC_E_USAGE,
                       "static activations need calibration samples");
    }
    s.waits =
        pq_arena_array(env->scratch, pq_graph_value_count(g), sizeof *s.waits);
    PQ_TRY_ALLOC(s.waits);
    for (uint32_t i = 0; i < count; i++) {
        s.waits[watched[i].index] = 1;
    }
    PQ_TRY(env->make_runner(env->runner_user, g, watched, count, &runner));
    ptqc_status st = run_all(&s, runner);
    runner->destroy(runner);
    return st;
}

// ---- piece by piece -------------------------------------------------------

typedef struct pq_streaming {
    const pq_watcher *watcher;
    bool *cuts; // [values] the product that makes it begins a piece
} pq_streaming;

// Symbolic dims count as 1.
static double
bytes_of(const pq_graph *g, pq_value_id v)
{
    const pq_value *value = pq_graph_value(g, v);
    double n = sizeof(float);
    for (uint32_t i = 0; value != NULL && i < value->type.rank; i++) {
        int64_t size = pq_static_dim(g, v, i);
        n *= size > 0 ? (double)size : 1;
    }
    return value != NULL ? n : 0;
}

static ptqc_status
find_cuts(const pq_graph *g, const pq_value_id *watched, uint32_t count,
          pq_arena *arena, bool **out)
{
    double bytes = 0;
    uint32_t n = pq_graph_value_count(g);
    bool *cuts = pq_arena_array(arena, n, sizeof *cuts);
    bool *is_watched = pq_arena_array(arena, n, sizeof *is_watched);
    PQ_TRY_ALLOC(cuts);
    PQ_TRY_ALLOC(is_watched);
    for (uint32_t i = 0; i < count; i++) {
        is_watched[watched[i].index] = true;
    }
    PQ_FOR_EACH_OP(g, id)
    {
        const pq_op *op = pq_graph_op(g, id);
        bool is_product = pq_is_product(op->code);
        if (is_product && (op->code == PQ_OP_MATMUL || bytes > PIECE_BYTES)) {
            cuts[op->outputs[0].index] = true;
            bytes = 0;
        }
        bytes += is_product ? bytes_of(g, op->inputs[1]) : 0;
        for (uint32_t i = 0; i < op->output_count; i++) {
            uint32_t v = op->outputs[i].index;
            bytes += is_watched[v] ? bytes_of(g, op->outputs[i]) : 0;
        }
    }
    *out = cuts;
    return PTQC_OK;
}

static bool
cuts(void *user, const pq_op *op)
{
    const pq_streaming *s = user;
    return s->cuts[op->outputs[0].index];
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
watch(void *user, pq_value_id v, const pq_tensor *t)
{
    const pq_streaming *s = user;
    return s->watcher->observe(s->watcher->user, v, t);
}

static ptqc_status
put_state(void *user, pq_value_id v, pq_state *state)
{
    const pq_streaming *s = user;
    return s->watcher->state(s->watcher->user, v, state);
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

static ptqc_status
run_float(pq_graph *g, const pq_pass_env *env, const char *phase,
          const pq_value_id *watched, uint32_t count, const pq_watcher *w)
{
    pq_graph *clone = NULL;
    ptqc_status st = pq_clone_float(g, &clone);
    if (st == PTQC_OK) {
        st = run_whole(clone, env, phase, watched, count, w);
    }
    pq_graph_destroy(clone);
    return st;
}

typedef ptqc_status (*pq_run_fn)(pq_graph *g, const pq_pass_env *env,
                                 const char *phase, const pq_value_id *watched,
                                 uint32_t count, const pq_watcher *w);

static ptqc_status
run(pq_graph *g, const pq_pass_env *env, const char *phase,
    const pq_value_id *watched, uint32_t count, const pq_watcher *w,
    pq_run_fn at_once)
{
    bool streams;
    const pq_checkpoint kept = pq_checkpoint_of(pq_graph_ctx(g), env, phase);
    bool keeps = w->state != NULL && kept.dir != NULL;
    pq_streaming s = {.watcher = w};
    const pq_stream_client client = {.user = &s,
                                     .runs_as_is = at_once == run_whole,
                                     .wants = cuts,
                                     .begin = begin,
                                     .end = end,
                                     .checkpoint = keeps ? &kept : NULL,
                                     .watched = watched,
                                     .watched_count = count,
                                     .watch = watch,
                                     .state = put_state};
    PQ_TRY(find_cuts(g, watched, count, env->scratch, &s.cuts));
    PQ_TRY(can_stream(g, env, &client, &streams));
    return streams ? pq_stream_run(g, env, phase, &client)
                   : at_once(g, env, phase, watched, count, w);
}

ptqc_status
pq_run_samples(pq_graph *g, const pq_pass_env *env, const char *phase,
               const pq_value_id *watched, uint32_t count, const pq_watcher *w)
{
    return run(g, env, phase, watched, count, w, run_float);
}

ptqc_status
pq_run_graph(pq_graph *g, const pq_pass_env *env, const char *phase,
             const pq_value_id *watched, uint32_t count, const pq_watcher *w)
{
    return run(g, env, phase, watched, count, w, run_whole);
}
