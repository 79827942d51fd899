// SPDX-License-Identifier: Apache-2.0
//
// The page that calls everything: model -> passes -> placement -> plugins ->
// artifact.

#include "ptqc/compile.h"

#include <assert.h>
#include <string.h>

#include "compiler/build.h"
#include "compiler/model.h"
#include "compiler/place.h"
#include "compiler/report.h"
#include "compiler/runner.h"
#include "passes/pipeline.h"

// Everything a compile owns, so that there is one place that frees it.
typedef struct pq_compile {
    ptqc_ctx *ctx;
    const ptqc_compile_desc *desc;
    pq_recipe recipe;
    pq_str *keep;
    pq_arena arena, scratch;
    pq_graph *graph;
    pq_targets targets;
    pq_placement placement;
    pq_container *container;
    pq_report report;
    char *metadata; // in the arena
} pq_compile;

static const ptqc_compile_desc pq_default_desc;

// ---- recipe ---------------------------------------------------------------

// ptqc_observer_kind -> ours; the default is what kept most accuracy on
// convolutional models.
static const pq_observer_kind pq_observers[] = {
    [PTQC_OBSERVER_DEFAULT] = PQ_OBSERVER_MSE,
    [PTQC_OBSERVER_MINMAX] = PQ_OBSERVER_MINMAX,
    [PTQC_OBSERVER_PERCENTILE] = PQ_OBSERVER_PERCENTILE,
    [PTQC_OBSERVER_MSE] = PQ_OBSERVER_MSE,
};

static ptqc_status
make_recipe(ptqc_ctx *ctx, const ptqc_compile_desc *desc, pq_arena *arena,
            pq_recipe *out)
{
    pq_str method = pq_str_of(desc->method == NULL ? "rtn" : desc->method);
    double percentile = desc->percentile == 0 ? 99.99 : desc->percentile;
    if (!pq_method_is_known(method)) {
        return PQ_FAIL(ctx, PTQC_E_USAGE,
                       "method '%.*s': expected one that exists: rtn",
                       PQ_STR_ARG(method));
    }
    if (!(percentile > 50 && percentile <= 100)) {
        return PQ_FAIL(ctx, PTQC_E_USAGE,
                       "percentile: expected above 50, at most 100, found %g",
                       percentile);
    }
    if ((size_t)desc->observer >= sizeof pq_observers / sizeof *pq_observers) {
        return PQ_FAIL(ctx, PTQC_E_USAGE,
                       "observer: expected 0 to %zu, found %u",
                       sizeof pq_observers / sizeof *pq_observers - 1,
                       (unsigned)desc->observer);
    }
    if ((unsigned)desc->scale_search > PTQC_SCALE_MSE) {
        return PQ_FAIL(ctx, PTQC_E_USAGE,
                       "scale search: expected 0 to %d, found %u",
                       PTQC_SCALE_MSE, (unsigned)desc->scale_search);
    }
    if (desc->scale_search == PTQC_SCALE_MSE && desc->scheme == NULL) {
        return PQ_FAIL(ctx, PTQC_E_USAGE,
                       "scale search: without a scheme there are no scales to "
                       "search");
    }
    pq_kv_type kv = PQ_KV_AS_IS;
    if (desc->kv != NULL && !pq_kv_type_parse(pq_str_of(desc->kv), &kv)) {
        return PQ_FAIL(ctx, PTQC_E_USAGE, "kv '%s': expected f16, f32 or int8",
                       desc->kv);
    }
    pq_str *keep = pq_arena_array(arena, desc->keep_count, sizeof *keep);
    PQ_TRY_ALLOC(keep);
    for (uint32_t i = 0; i < desc->keep_count; i++) {
        keep[i] = pq_str_of(desc->keep[i]);
    }
    *out = (pq_recipe){.has_scheme = desc->scheme != NULL,
                       .method = method,
                       .observer = pq_observers[desc->observer],
                       .percentile = percentile,
                       .scale_search = desc->scale_search == PTQC_SCALE_MSE
                                           ? PQ_SCALE_MSE
                                           : PQ_SCALE_MINMAX,
                       .keep = keep,
                       .keep_count = desc->keep_count,
                       .kv = kv,
                       .seed = desc->seed};
    return desc->scheme == NULL
               ? PTQC_OK
               : pq_scheme_parse(ctx, pq_str_of(desc->scheme), &out->scheme);
}

ptqc_status
ptqc_compile_check_desc(ptqc_ctx *ctx, const ptqc_compile_desc *desc)
{
    pq_recipe recipe;
    pq_arena arena;
    pq_arena_init(&arena, ctx);
    ptqc_status st = make_recipe(ctx, desc != NULL ? desc : &pq_default_desc,
                                 &arena, &recipe);
    pq_arena_deinit(&arena);
    return st;
}

// ---- samples --------------------------------------------------------------

// Samples of the public API as passes read them.
typedef struct pq_sample_adapter {
    const ptqc_compile_desc *desc;
    ptqc_tensor *tensors; // [count]
    uint32_t count;       // of the graph's inputs
} pq_sample_adapter;

static ptqc_status
get_sample(void *user, uint64_t index, pq_tensor *tensors, uint32_t count)
{
    pq_sample_adapter *a = user;
    assert(count == a->count);
    memset(a->tensors, 0, count * sizeof *a->tensors);
    PQ_TRY(a->desc->samples(a->desc->samples_user, index, a->tensors, count));
    for (uint32_t i = 0; i < count; i++) {
        const ptqc_tensor *t = &a->tensors[i];
        tensors[i] = (pq_tensor){.dtype = t->dtype,
                                 .rank = t->rank,
                                 .p = t->data,
                                 .bytes = t->bytes};
        memcpy(tensors[i].dims, t->dims, sizeof t->dims);
    }
    return PTQC_OK;
}

// ---- the phases -----------------------------------------------------------

static ptqc_status
run_passes(pq_compile *c)
{
    pq_sample_adapter adapter = {.desc = c->desc,
                                 .count = pq_graph_input_count(c->graph)};
    adapter.tensors =
        pq_arena_array(&c->arena, adapter.count, sizeof *adapter.tensors);
    PQ_TRY_ALLOC(adapter.tensors);
    pq_samples samples = {
        .get = get_sample, .user = &adapter, .limit = c->desc->sample_limit};
    pq_session_runner_env runner = {.ctx = c->ctx,
                                    .target = c->targets.runner,
                                    .backends = c->desc->backends};
    pq_pass_env env = {
        .scratch = &c->scratch,
        .recipe = &c->recipe,
        .caps = &c->targets.caps,
        .samples = c->desc->samples != NULL ? &samples : NULL,
        .make_runner = pq_session_runner_make,
        .runner_user = &runner,
        .note = pq_report_note,
        .note_user = &c->report,
    };
    PQ_TRY(pq_pipeline_compile(&c->graph, &env, NULL));
    return c->report.st;
}

static ptqc_status
keep_tokenizer(pq_compile *c, const pq_tokenizer *tokenizer)
{
    void *saved = NULL;
    size_t bytes = 0;
    if (tokenizer == NULL) {
        return PTQC_OK;
    }
    PQ_TRY(pq_tokenizer_write(c->ctx, tokenizer, &saved, &bytes));
    ptqc_status st = pq_container_set_tokenizer(c->container, saved, bytes);
    pq_free(c->ctx, saved);
    return st;
}

static ptqc_status
finish(pq_compile *c, const ptqc_model *model)
{
    PQ_TRY(pq_separate_outputs(c->graph));
    PQ_TRY(pq_place(c->graph, &c->targets, &c->placement));
    pq_graph_set_stage(c->graph, PQ_STAGE_LEGAL);
    pq_report_say_placement(&c->report, c->graph, &c->targets, &c->placement);
    PQ_TRY(
        pq_build_container(c->graph, &c->targets, &c->placement, c->container));
    PQ_TRY(keep_tokenizer(c, model->import->tokenizer));
    pq_metadata_desc meta = {.model = model->import,
                             .graph = c->graph,
                             .recipe = &c->recipe,
                             .targets = &c->targets,
                             .placement = &c->placement,
                             .desc = c->desc};
    pq_strbuf json;
    pq_strbuf_init(&json, c->ctx);
    pq_report_metadata(&c->report, &meta, &json);
    c->metadata =
        json.failed ? NULL : pq_arena_strndup(&c->arena, json.p, json.n);
    ptqc_status st =
        c->metadata == NULL
            ? PTQC_E_RESOURCE
            : pq_container_set_meta(c->container, (pq_str){json.p, json.n});
    pq_strbuf_deinit(&json);
    return st;
}

// Of a model that was opened for looking only.
static ptqc_status
no_graph(ptqc_ctx *ctx, const pq_model *m)
{
    static const pq_import_problem nothing = {0};
    const pq_import_problem *p =
        m->problem_count > 0 ? &m->problems[0] : &nothing;
    return PQ_FAIL(ctx, PTQC_E_UNSUPPORTED,
                   "the model has %u kinds of unsupported parts, the first: "
                   "%.*s: %.*s",
                   m->problem_count, PQ_STR_ARG(p->op), PQ_STR_ARG(p->reason));
}

static ptqc_status
compile(pq_compile *c, const ptqc_model *model)
{
    PQ_TRY(make_recipe(c->ctx, c->desc, &c->arena, &c->recipe));
    PQ_TRY(pq_targets_open(c->ctx, c->desc->target, &c->desc->backends,
                           &c->targets));
    c->targets.text = c->desc->text;
    c->targets.text_user = c->desc->text_user;
    if (model->import->graph == NULL) {
        return no_graph(c->ctx, model->import);
    }
    PQ_TRY(pq_graph_clone(model->import->graph, false, &c->graph));
    PQ_TRY(run_passes(c));
    return finish(c, model);
}

static void
compile_init(pq_compile *c, ptqc_ctx *ctx, const ptqc_compile_desc *desc)
{
    *c = (pq_compile){.ctx = ctx,
                      .desc = desc != NULL ? desc : &pq_default_desc};
    pq_arena_init(&c->arena, ctx);
    pq_arena_init(&c->scratch, ctx);
    pq_report_init(&c->report, ctx);
}

static void
compile_deinit(pq_compile *c)
{
    pq_container_destroy(c->container);
    pq_placement_deinit(&c->placement);
    pq_targets_close(&c->targets);
    pq_graph_destroy(c->graph);
    pq_report_deinit(&c->report);
    pq_arena_deinit(&c->scratch);
    pq_arena_deinit(&c->arena);
}

// The constants of a large model go to the file while it is compiled; the file
// appears as the very last act: whoever sees it sees all of it, and nothing is
// left to do that could fail or be interrupted.
ptqc_status
ptqc_compile_file(ptqc_ctx *ctx, ptqc_model *model,
                  const ptqc_compile_desc *desc, const char *path,
                  uint32_t flags)
{
    pq_compile c;
    pq_writer *writer = NULL;
    compile_init(&c, ctx, desc);
    ptqc_status st = pq_container_create_file(
        ctx, path, (flags & PTQC_COMPILE_REPLACE) != 0 ? PQ_WRITE_REPLACE : 0,
        &c.container);
    if (st == PTQC_OK) {
        st = compile(&c, model);
    }
    if (st == PTQC_OK) {
        st = pq_container_finish_file(c.container, &writer);
    }
    if (st == PTQC_OK && c.desc->report != NULL) {
        c.desc->report(c.desc->report_user, c.metadata,
                       pq_writer_offset(writer));
    }
    compile_deinit(&c);
    return st == PTQC_OK ? pq_writer_commit(writer) : st;
}

ptqc_status
ptqc_compile_memory(ptqc_ctx *ctx, ptqc_model *model,
                    const ptqc_compile_desc *desc, void **out_bytes,
                    size_t *out_count)
{
    pq_compile c;
    *out_bytes = NULL;
    compile_init(&c, ctx, desc);
    ptqc_status st = pq_container_create(ctx, &c.container);
    if (st == PTQC_OK) {
        st = compile(&c, model);
    }
    if (st == PTQC_OK) {
        st = pq_container_finish_memory(c.container, out_bytes, out_count);
    }
    if (st == PTQC_OK && c.desc->report != NULL) {
        c.desc->report(c.desc->report_user, c.metadata, *out_count);
    }
    compile_deinit(&c);
    return st;
}
