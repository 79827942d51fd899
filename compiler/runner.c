// SPDX-License-Identifier: Apache-2.0
//
// Running a graph through a session, for calibration.

#include "compiler/runner.h"

#include <string.h>

#include "compiler/adapter.h"
#include "compiler/build.h"
#include "compiler/place.h"

typedef struct pq_session_runner {
    pq_runner base;
    ptqc_ctx *ctx;
    void *bytes; // owned artifact
    ptqc_artifact *artifact;
    ptqc_session *session;
    uint32_t input_count, output_count;
    pq_value_id *shown; // owned: [output_count] value each output stands for
    ptqc_tensor *inputs, *outputs; // owned
} pq_session_runner;

static void
destroy(pq_runner *base)
{
    pq_session_runner *r = (pq_session_runner *)base;
    if (r == NULL) {
        return;
    }
    ptqc_session_destroy(r->session);
    ptqc_artifact_close(r->artifact);
    pq_free(r->ctx, r->bytes);
    pq_free(r->ctx, r->shown);
    pq_free(r->ctx, r->inputs);
    pq_free(r->ctx, r->outputs);
    pq_free(r->ctx, r);
}

static ptqc_status
run(pq_runner *base, const pq_tensor *inputs, pq_observe_fn observe, void *user)
{
    pq_session_runner *r = (pq_session_runner *)base;
    for (uint32_t i = 0; i < r->input_count; i++) {
        r->inputs[i] = pq_tensor_to_public(&inputs[i]);
    }
    memset(r->outputs, 0, r->output_count * sizeof *r->outputs);
    PQ_TRY(ptqc_session_run(r->session, r->inputs, r->input_count, r->outputs,
                            r->output_count));
    for (uint32_t i = 0; i < r->output_count; i++) {
        pq_tensor t = pq_tensor_from_public(&r->outputs[i]);
        PQ_TRY(observe(user, r->shown[i], &t));
    }
    return PTQC_OK;
}

// Clone with the watched values as outputs behind the graph's own; ids of
// values are the same in a clone.
static ptqc_status
clone_watching(pq_graph *g, const pq_value_id *watched, uint32_t count,
               pq_graph **out)
{
    PQ_TRY(pq_graph_clone(g, false, out));
    pq_graph_set_stage(*out, pq_graph_stage(g));
    for (uint32_t i = 0; i < count; i++) {
        PQ_TRY(pq_graph_add_output(*out, watched[i]));
    }
    return pq_separate_outputs(*out);
}

static ptqc_status
compile_into_memory(const pq_session_runner_env *env, pq_graph *g,
                    pq_session_runner *r)
{
    pq_targets targets = {0};
    pq_placement placement = {0};
    pq_container *container = NULL;
    size_t count = 0;
    ptqc_status st = PTQC_OK;
    PQ_TRY_OR(done,
              pq_targets_open(env->ctx, env->target, &env->backends, &targets));
    PQ_TRY_OR(done, pq_place(g, &targets, &placement));
    PQ_TRY_OR(done, pq_container_create(env->ctx, &container));
    PQ_TRY_OR(done, pq_build_container(g, &targets, &placement, container));
    PQ_TRY_OR(done, pq_container_finish_memory(container, &r->bytes, &count));
    st = ptqc_artifact_open_memory(env->ctx, r->bytes, count, &r->artifact);
done:
    pq_container_destroy(container);
    pq_placement_deinit(&placement);
    pq_targets_close(&targets);
    return st;
}

static ptqc_status
prepare(pq_session_runner *r, const pq_session_runner_env *env, pq_graph *g,
        const pq_value_id *watched, uint32_t watched_count)
{
    uint32_t own = pq_graph_output_count(g);
    r->input_count = pq_graph_input_count(g);
    r->output_count = own + watched_count;
    r->inputs = pq_alloc_array(r->ctx, r->input_count, sizeof *r->inputs);
    r->outputs = pq_alloc_array(r->ctx, r->output_count, sizeof *r->outputs);
    r->shown = pq_alloc_array(r->ctx, r->output_count, sizeof *r->shown);
    if (r->inputs == NULL || r->outputs == NULL || r->shown == NULL) {
        return PTQC_E_RESOURCE;
    }
    for (uint32_t i = 0; i < r->output_count; i++) {
        r->shown[i] = i < own ? pq_graph_output(g, i) : watched[i - own];
    }
    pq_graph *watching = NULL;
    ptqc_status st = clone_watching(g, watched, watched_count, &watching);
    if (st == PTQC_OK) {
        st = compile_into_memory(env, watching, r);
    }
    pq_graph_destroy(watching);
    PQ_TRY(st);
    ptqc_session_desc desc = {.backends = env->backends, .target = env->target};
    return ptqc_session_create(r->ctx, r->artifact, &desc, &r->session);
}

ptqc_status
pq_session_runner_make(void *user, pq_graph *g, const pq_value_id *watched,
                       uint32_t watched_count, pq_runner **out)
{
    const pq_session_runner_env *env = user;
    *out = NULL;
    pq_session_runner *r = pq_alloc(env->ctx, sizeof *r);
    PQ_TRY_ALLOC(r);
    r->base = (pq_runner){.run = run, .destroy = destroy};
    r->ctx = env->ctx;
    ptqc_status st = prepare(r, env, g, watched, watched_count);
    if (st != PTQC_OK) {
        destroy(&r->base);
        return st;
    }
    *out = &r->base;
    return PTQC_OK;
}
