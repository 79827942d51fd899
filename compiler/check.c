// SPDX-License-Identifier: Apache-2.0
//
// ptqc_model_check: everything unsupported at once, then what the asked
// targets would leave to others.

#include <string.h>

#include "compiler/build.h"
#include "compiler/model.h"
#include "compiler/place.h"
#include "passes/pipeline.h"

#define PQ_WHERE_LIMIT 16u // ptqc_problem.where: names of nodes shown

typedef struct pq_checker {
    ptqc_ctx *ctx;
    pq_arena arena;
    ptqc_problem_fn fn;
    void *user;
    bool is_fatal; // some problem was
} pq_checker;

static const char *
dup_str(pq_checker *c, pq_str s)
{
    const char *p = pq_arena_strndup(&c->arena, s.p, s.n);
    return p != NULL ? p : "";
}

static void
tell_import_problem(pq_checker *c, const pq_import_problem *p)
{
    const char *where[PQ_WHERE_LIMIT];
    uint32_t n =
        p->node_count < PQ_WHERE_LIMIT ? p->node_count : PQ_WHERE_LIMIT;
    for (uint32_t i = 0; i < n; i++) {
        where[i] = dup_str(c, p->nodes[i]);
    }
    ptqc_problem problem = {.code =
                                p->op.n > 0 ? "unsupported-op" : "unsupported",
                            .what = dup_str(c, p->op.n > 0 ? p->op : p->reason),
                            .reason = dup_str(c, p->reason),
                            .count = p->node_count > 0 ? p->node_count : 1,
                            .where = where,
                            .where_count = n,
                            .is_fatal = 1};
    c->is_fatal = true;
    c->fn(c->user, &problem);
}

// ---- targets --------------------------------------------------------------

// One problem for decline i and all like it; earlier ones were told before.
static void
tell_decline(pq_checker *c, const pq_graph *g, const pq_targets *targets,
             const pq_placement *p, uint32_t i)
{
    const pq_decline *d = &p->declines[i];
    const char *where[PQ_WHERE_LIMIT];
    ptqc_problem problem = {.code = "placed-elsewhere",
                            .count = pq_decline_count_like(g, p, i),
                            .where = where};
    if (problem.count == 0) {
        return;
    }
    for (uint32_t k = i;
         k < p->decline_count && problem.where_count < PQ_WHERE_LIMIT; k++) {
        if (pq_decline_is_like(g, d, &p->declines[k])) {
            where[problem.where_count++] =
                dup_str(c, pq_graph_op(g, p->declines[k].op)->name);
        }
    }
    pq_strbuf reason;
    pq_strbuf_init(&reason, c->ctx);
    pq_strbuf_addf(&reason, "%s: %s; runs on %s",
                   targets->all[d->target].plugin->name, d->reason,
                   targets->all[p->target_of[d->op.index]].plugin->name);
    problem.what = pq_op_info_of(pq_graph_op(g, d->op)->code)->name;
    problem.reason = reason.failed ? d->reason : reason.p;
    c->fn(c->user, &problem);
    pq_strbuf_deinit(&reason);
}

static ptqc_status
check_targets(pq_checker *c, pq_graph *source, const char *target,
              const ptqc_backend_dirs *dirs)
{
    ptqc_status st = PTQC_OK;
    pq_graph *g = NULL;
    pq_arena scratch;
    pq_targets targets = {0};
    pq_placement placement = {0};
    pq_recipe recipe = {.method = PQ_STR("rtn")};
    pq_arena_init(&scratch, c->ctx);
    pq_pass_env env = {.scratch = &scratch, .recipe = &recipe};
    PQ_TRY_OR(done, pq_targets_open(c->ctx, target, dirs, &targets));
    env.caps = &targets.caps;
    PQ_TRY_OR(done, pq_graph_clone(source, false, &g));
    PQ_TRY_OR(done, pq_pipeline_compile(&g, &env, NULL));
    PQ_TRY_OR(done, pq_separate_outputs(g));
    PQ_TRY_OR(done, pq_place(g, &targets, &placement));
    for (uint32_t i = 0; i < placement.decline_count; i++) {
        if (targets.all[placement.declines[i].target].is_asked) {
            tell_decline(c, g, &targets, &placement, i);
        }
    }
done:
    pq_placement_deinit(&placement);
    pq_targets_close(&targets);
    pq_graph_destroy(g);
    pq_arena_deinit(&scratch);
    return st;
}

static void
tell_non_finite(pq_checker *c, uint64_t count)
{
    c->fn(c->user, &(ptqc_problem){.code = "non-finite",
                                   .what = "weights",
                                   .reason = "non-finite values (NaN or Inf)",
                                   .count = count});
}

static ptqc_status
check_model(pq_checker *c, const char *path, const char *target,
            const ptqc_backend_dirs *dirs)
{
    pq_model *model = NULL;
    PQ_TRY(pq_import_check(c->ctx, path, NULL, &model));
    for (uint32_t i = 0; i < model->problem_count; i++) {
        tell_import_problem(c, &model->problems[i]);
    }
    if (model->non_finite_count > 0) {
        tell_non_finite(c, model->non_finite_count);
    }
    ptqc_status st = PTQC_OK;
    if (model->graph != NULL) {
        st = check_targets(c, model->graph, target, dirs);
    }
    pq_model_destroy(model);
    return st;
}

ptqc_status
ptqc_model_check(ptqc_ctx *ctx, const char *path, const char *target,
                 const char *const *backend_dirs, uint32_t backend_dir_count,
                 ptqc_problem_fn fn, void *user)
{
    pq_checker c = {.ctx = ctx, .fn = fn, .user = user};
    ptqc_backend_dirs dirs = {.dirs = backend_dirs,
                              .dir_count = backend_dir_count};
    pq_arena_init(&c.arena, ctx);
    ptqc_status st = check_model(&c, path, target, &dirs);
    pq_arena_deinit(&c.arena);
    return st == PTQC_OK && c.is_fatal ? PTQC_E_UNSUPPORTED : st;
}
