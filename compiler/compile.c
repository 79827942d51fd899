// SPDX-License-Identifier: Apache-2.0
//
// The page that calls everything: model -> passes -> placement -> plugins ->
// artifact.

#include "ptqc/compile.h"

#include <string.h>

#include "compiler/adapter.h"
#include "compiler/build.h"
#include "compiler/fingerprint.h"
#include "compiler/model.h"
#include "compiler/place.h"
#include "compiler/recipe.h"
#include "compiler/report.h"
#include "compiler/runner.h"
#include "compiler/statistics.h"
#include "passes/calib/checkpoint.h"
#include "passes/method.h"
#include "passes/pipeline.h"

// Everything a compile owns, so that there is one place that frees it.
typedef struct pq_compile {
    ptqc_ctx *ctx;
    const ptqc_compile_desc *desc;
    pq_recipe recipe;
    pq_arena arena, scratch;
    pq_graph *graph;
    pq_targets targets;
    pq_placement placement;
    pq_container *container;
    pq_report report;
    pq_stats *stats, *stats_out; // NULL: not asked for
    char *metadata;              // in the arena
    pq_sha256 fingerprint;
    bool has_fingerprint; // pieces are kept
    int work_lock;        // owned descriptor, -1: none
} pq_compile;

// ---- samples --------------------------------------------------------------

// 0: all, however many there are.
static uint64_t
samples_used(const ptqc_compile_desc *desc, const pq_recipe *recipe)
{
    uint64_t limit = recipe->sample_limit;
    uint64_t count = desc->sample_count;
    return count > 0 && (limit == 0 || limit > count) ? count : limit;
}

// Whether finished pieces are worth keeping: with methods that take long, and
// of language models (what has states). Others are calibrated within seconds,
// and interrupting them leaves nothing behind.
static bool
keeps_pieces(const pq_compile *c)
{
    return pq_recipe_streams(&c->recipe, NULL) || c->recipe.kv == PQ_KV_INT8 ||
           (pq_recipe_is_static(&c->recipe) &&
            pq_graph_state_count(c->graph) > 0);
}

// Whether something of this compile looks at samples, which a folder for
// scratch files is for.
static bool
uses_samples(const pq_compile *c)
{
    return keeps_pieces(c) || c->stats_out != NULL ||
           pq_recipe_is_static(&c->recipe);
}

// ---- the phases -----------------------------------------------------------

// The folder for checkpoints and scratch files, when a pass of this compile
// can use it.
static ptqc_status
prepare_work(pq_compile *c, const ptqc_model *model, pq_pass_env *env)
{
    if (c->desc->work_dir == NULL || env->samples == NULL || !uses_samples(c)) {
        return PTQC_OK;
    }
    const pq_fingerprint_desc desc = {.model = model->import,
                                      .recipe = &c->recipe,
                                      .samples = env->samples,
                                      .input_count =
                                          pq_graph_input_count(c->graph),
                                      .target = c->desc->target};
    PQ_TRY(pq_make_dir(c->ctx, c->desc->work_dir));
    PQ_TRY(pq_dir_lock(c->ctx, c->desc->work_dir, &c->work_lock));
    env->work_dir = c->desc->work_dir;
    if (!keeps_pieces(c)) {
        return PTQC_OK;
    }
    PQ_TRY(pq_fingerprint(c->ctx, &desc, &c->fingerprint));
    env->fingerprint = &c->fingerprint;
    c->has_fingerprint = true;
    return pq_units_check(c->ctx, env->work_dir, env->fingerprint);
}

static ptqc_status
run_passes(pq_compile *c, const ptqc_model *model)
{
    pq_sample_adapter adapter;
    PQ_TRY(pq_sample_adapter_init(&adapter, &c->arena, c->desc->samples,
                                  c->desc->samples_user,
                                  pq_graph_input_count(c->graph)));
    pq_samples samples = {.get = pq_sample_adapter_get,
                          .user = &adapter,
                          .limit = samples_used(c->desc, &c->recipe)};
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
        .calib_facts = &c->report.calib,
        .stats = c->stats,
        .stats_out = c->stats_out,
    };
    PQ_TRY(prepare_work(c, model, &env));
    if (env.samples != NULL && !uses_samples(c)) {
        pq_say(c->ctx, PTQC_SEVERITY_WARNING,
               "calibration samples are not used: no activations are static");
    }
    PQ_TRY(pq_pipeline_compile(&c->graph, &env, NULL));
    PQ_TRY(c->report.st);
    return c->stats_out != NULL
               ? pq_stats_write(c->ctx, c->stats_out, c->desc->stats_out,
                                PQ_WRITE_REPLACE)
               : PTQC_OK;
}

static ptqc_status
open_stats(pq_compile *c)
{
    if (c->desc->stats != NULL) {
        PQ_TRY(pq_stats_read(c->ctx, c->desc->stats, &c->stats));
    }
    return c->desc->stats_out != NULL ? pq_stats_create(c->ctx, &c->stats_out)
                                      : PTQC_OK;
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

static ptqc_status
compile(pq_compile *c, const ptqc_model *model)
{
    pq_graph *graph;
    PQ_TRY(pq_recipe_of_desc(c->ctx, c->desc, &c->arena, &c->recipe));
    PQ_TRY(pq_recipe_check_use(c->ctx, c->desc, &c->recipe));
    PQ_TRY(pq_recipe_check_samples(c->ctx, c->desc, &c->recipe));
    PQ_TRY(open_stats(c));
    PQ_TRY(pq_targets_open(c->ctx, c->desc->target, &c->desc->backends,
                           &c->targets));
    c->targets.text = c->desc->text;
    c->targets.text_user = c->desc->text_user;
    PQ_TRY(pq_model_graph(c->ctx, model->import, &graph));
    PQ_TRY(pq_graph_clone(graph, false, &c->graph));
    PQ_TRY(run_passes(c, model));
    return finish(c, model);
}

static void
compile_init(pq_compile *c, ptqc_ctx *ctx, const ptqc_compile_desc *desc)
{
    static const ptqc_compile_desc defaults;
    *c = (pq_compile){
        .ctx = ctx, .desc = desc != NULL ? desc : &defaults, .work_lock = -1};
    pq_arena_init(&c->arena, ctx);
    pq_arena_init(&c->scratch, ctx);
    pq_report_init(&c->report, ctx);
}

// What a compile that failed leaves: its finished pieces, nothing else.
static void
leave_work(pq_compile *c, ptqc_status st)
{
    const char *dir = c->desc->work_dir;
    if (c->work_lock < 0 || st == PTQC_OK) {
        return;
    }
    if (pq_units_leave(dir) && st == PTQC_E_CANCELLED) {
        pq_say(c->ctx, PTQC_SEVERITY_NOTE,
               "finished pieces are kept in '%s': the same command goes on "
               "from there",
               dir);
    }
}

static void
compile_deinit(pq_compile *c)
{
    pq_container_destroy(c->container);
    pq_placement_deinit(&c->placement);
    pq_targets_close(&c->targets);
    pq_graph_destroy(c->graph);
    pq_report_deinit(&c->report);
    pq_dir_unlock(c->work_lock);
    pq_recipe_deinit(&c->recipe);
    pq_stats_destroy(c->stats);
    pq_stats_destroy(c->stats_out);
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
    leave_work(&c, st);
    bool has_folder = c.work_lock >= 0;
    bool has_pieces = c.has_fingerprint;
    compile_deinit(&c);
    PQ_TRY(st);
    PQ_TRY(pq_writer_commit(writer));
    if (has_pieces) {
        pq_units_remove(desc->work_dir);
    } else if (has_folder) {
        (void)pq_units_leave(desc->work_dir); // pieces in it are another's
    }
    return PTQC_OK;
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
