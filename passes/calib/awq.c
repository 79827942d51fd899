// SPDX-License-Identifier: Apache-2.0
//
// AWQ over a whole model (quant/awq.h has the mathematics): for each value
// that annotated products read and whose producer can take scales
// (calib/migrate.h), the scales of its channels with the least output error
// of rounded weights, by the Gram matrix of the value in the float model.
// Real numbers stay what they were; weights round better. Then the ranges that
// clip (calib/clips.h). Sinks weigh more (calib/sinks.h).

#include <stdio.h>
#include <string.h>

#include "base/dtype.h"
#include "passes/calib/clips.h"
#include "passes/calib/matrix.h"
#include "passes/calib/migrate.h"
#include "passes/calib/solver.h"
#include "passes/match.h"
#include "passes/plan.h"
#include "passes/registry.h"

// Exponents 0, .1, ... 1: finer ones change the result less than its noise.
enum { EXPONENT_STEPS = 10 };

typedef struct pq_awq_pass {
    pq_solver solver;
    pq_migration migration;
    pq_clips clips;
    // of the group at hand
    pq_tie tie;
    bool scales, clips_ranges; // what is done to it
} pq_awq_pass;

static bool
wants(void *user, const pq_op *op)
{
    const pq_awq_pass *p = user;
    const pq_graph *g = p->solver.g;
    pq_method method;
    return pq_is_matrix_product(g, op) &&
           pq_method_of_op(g, p->solver.env->recipe, op, &method) &&
           method.does_awq &&
           !pq_dtype_is_float(pq_annotation(g, op->inputs[1])->scheme.format);
}

static ptqc_status
begin(void *user, const pq_stream_group *group, const char **out_note)
{
    pq_awq_pass *p = user;
    p->scales = pq_migration_find(&p->migration, group, &p->tie);
    p->clips_ranges = pq_clips_want(&p->clips, group);
    if (p->scales) {
        PQ_TRY(pq_migration_read(&p->migration, &p->solver.checkpoint, group,
                                 out_note));
    } else {
        *out_note = pq_migration_refusal(&p->migration, group);
    }
    return p->clips_ranges ? pq_clips_read(&p->clips, group, out_note)
                           : PTQC_OK;
}

static ptqc_status
describe(pq_awq_pass *p, const pq_stream_group *group, const pq_awq_report *r,
         const pq_clip_report *clip, const char **out)
{
    char text[160];
    int n =
        p->scales
            ? snprintf(text, sizeof text,
                       "inputs scaled by rms^%.2f: output error %.3f of "
                       "rounding's",
                       (double)r->exponent,
                       r->identity_loss > 0 ? r->loss / r->identity_loss : 1)
            : snprintf(text, sizeof text, "%s",
                       pq_migration_refusal(&p->migration, group));
    if (p->clips_ranges && n > 0) {
        (void)snprintf(text + n, sizeof text - (size_t)n,
                       "; %lld scales clip: error %.3f of that without",
                       (long long)clip->clipped_count,
                       clip->loss_before > 0 ? clip->loss / clip->loss_before
                                             : 1);
    }
    *out = pq_arena_strndup(&p->solver.arena, text, strlen(text));
    return *out != NULL ? PTQC_OK : PTQC_E_RESOURCE;
}

static ptqc_status
find_scales(const pq_awq_pass *p, const pq_stream_group *group,
            const pq_consumer *consumers, float *out_s, pq_awq_report *out)
{
    const pq_solver *solver = &p->solver;
    const pq_graph *g = solver->g;
    const pq_op *first = pq_graph_op(g, group->ops[0]);
    const pq_awq_desc desc = {
        .consumers = consumers,
        .consumer_count = group->op_count,
        .d = solver->d,
        .h = solver->moments.h,
        .scheme = pq_matrix_scheme(g, first),
        .search =
            pq_recipe_settings(solver->env->recipe, g, first).scale_search,
        .steps = EXPONENT_STEPS,
        .tie = p->tie};
    return pq_awq_search(pq_graph_ctx(g), &desc, out_s, out);
}

static ptqc_status
settle(void *user, const pq_stream_group *group, const char **out_note)
{
    pq_awq_pass *p = user;
    pq_solver *solver = &p->solver;
    pq_awq_report report = {0};
    pq_clip_report clip = {0};
    pq_consumer *consumers;
    float *s = pq_arena_array(&solver->arena, (size_t)solver->d, sizeof *s);
    PQ_TRY_ALLOC(s);
    PQ_TRY(pq_solver_read_weights(solver, group, &consumers));
    for (int64_t i = 0; i < solver->d; i++) {
        s[i] = 1;
    }
    if (p->scales) {
        PQ_TRY(find_scales(p, group, consumers, s, &report));
    }
    if (p->clips_ranges) {
        PQ_TRY(pq_clips_find(&p->clips, group, consumers, s, &clip));
    }
    PQ_TRY(describe(p, group, &report, &clip, out_note));
    if (p->clips_ranges) {
        PQ_TRY(pq_clips_keep(&p->clips, group, *out_note));
    }
    return p->scales ? pq_migration_keep(&p->migration, &solver->checkpoint,
                                         group, s, *out_note)
                     : PTQC_OK;
}

static ptqc_status
run(pq_awq_pass *p)
{
    PQ_TRY(pq_clips_init(&p->clips, &p->solver));
    PQ_TRY(pq_solver_run(&p->solver, "awq"));
    PQ_TRY(pq_migration_apply(&p->migration, p->solver.env->work_dir));
    return pq_clips_apply(&p->clips);
}

ptqc_status
pq_pass_awq(pq_graph *g, pq_pass_env *env)
{
    static const pq_solver_steps steps = {
        .name = "awq", .wants = wants, .begin = begin, .settle = settle};
    pq_awq_pass p = {0};
    PQ_TRY(pq_migration_init(&p.migration, g, env->scratch));
    PQ_TRY(pq_solver_init(&p.solver, g, env, &steps, &p));
    ptqc_status st = run(&p);
    pq_solver_deinit(&p.solver);
    return st;
}
