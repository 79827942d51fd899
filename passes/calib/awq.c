// SPDX-License-Identifier: Apache-2.0
//
// AWQ over a whole model (quant/awq.h has the mathematics): for each value
// that annotated products read and whose producer can take scales
// (calib/migrate.h), the scales of its channels with the least output error
// of rounded weights, by the Gram matrix of the value in the float model.
// Real numbers stay what they were; weights round better. Sinks weigh more
// (calib/sinks.h).

#include <stdio.h>
#include <string.h>

#include "base/dtype.h"
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
    pq_tie tie; // of the group at hand
} pq_awq_pass;

static bool
wants(void *user, const pq_op *op)
{
    const pq_awq_pass *p = user;
    const pq_graph *g = p->solver.g;
    return pq_is_matrix_product(g, op) &&
           !pq_dtype_is_float(pq_annotation(g, op->inputs[1])->scheme.format);
}

static ptqc_status
begin(void *user, const pq_stream_group *group, const char **out_note)
{
    pq_awq_pass *p = user;
    if (!pq_migration_find(&p->migration, group, &p->tie)) {
        *out_note = "nothing before it takes scales";
        return PTQC_OK;
    }
    return pq_migration_read(&p->migration, &p->solver.checkpoint, group,
                             out_note);
}

static ptqc_status
describe(pq_awq_pass *p, const pq_awq_report *r, const char **out)
{
    char text[96];
    (void)snprintf(text, sizeof text,
                   "inputs scaled by rms^%.2f: output error %.3f of rounding's",
                   (double)r->exponent,
                   r->identity_loss > 0 ? r->loss / r->identity_loss : 1);
    *out = pq_arena_strndup(&p->solver.arena, text, strlen(text));
    return *out != NULL ? PTQC_OK : PTQC_E_RESOURCE;
}

static ptqc_status
settle(void *user, const pq_stream_group *group, const char **out_note)
{
    pq_awq_pass *p = user;
    pq_solver *solver = &p->solver;
    pq_graph *g = solver->g;
    const pq_op *first = pq_graph_op(g, group->ops[0]);
    pq_awq_report report;
    pq_consumer *consumers;
    float *s = pq_arena_array(&solver->arena, (size_t)solver->d, sizeof *s);
    PQ_TRY_ALLOC(s);
    PQ_TRY(pq_solver_read_weights(solver, group, &consumers));
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
    PQ_TRY(pq_awq_search(pq_graph_ctx(g), &desc, s, &report));
    PQ_TRY(describe(p, &report, out_note));
    return pq_migration_keep(&p->migration, &solver->checkpoint, group, s,
                             *out_note);
}

ptqc_status
pq_pass_awq(pq_graph *g, pq_pass_env *env)
{
    static const pq_solver_steps steps = {
        .name = "awq", .wants = wants, .begin = begin, .settle = settle};
    pq_awq_pass p = {0};
    PQ_TRY(pq_migration_init(&p.migration, g, env->scratch));
    PQ_TRY(pq_solver_init(&p.solver, g, env, &steps, &p));
    ptqc_status st = pq_solver_run(&p.solver, "awq");
    pq_solver_deinit(&p.solver);
    return st == PTQC_OK ? pq_migration_apply(&p.migration, env->work_dir) : st;
}
