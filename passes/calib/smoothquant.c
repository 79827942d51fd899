// SPDX-License-Identifier: Apache-2.0
//
// SmoothQuant over a whole model (quant/smooth.h has the mathematics): for
// each value that a norm makes and products with 8-bit activations read, the
// channels' scales by the largest numbers of the value in the float model.
// alpha is the method's, or per value the one with the least output error on
// some of the tokens.
//
// Other values than those of norms are left alone, as by the reference, unless
// the method's inputs are all that something can divide (migrate.h): what a
// gated product makes may hold one huge number of one token (a sink), which a
// scale that suits the other tokens would move into a column of weights too
// small to be rounded well. Measured (SmolLM2, w8a8:dyn): 22.2 perplexity with
// those, 20.5 with tokens that stand out kept out of the maxima, 20.1 without.

#include <stdio.h>
#include <string.h>

#include "base/dtype.h"
#include "passes/calib/matrix.h"
#include "passes/calib/migrate.h"
#include "passes/calib/solver.h"
#include "passes/match.h"
#include "passes/plan.h"
#include "passes/registry.h"
#include "quant/smooth.h"

enum {
    ROWS_PER_SAMPLE = 16, // tokens kept to search alpha
    ROWS_LIMIT = 512,
};

typedef struct pq_smooth_pass {
    pq_solver solver;
    pq_migration migration;
    // of the group at hand
    float *absmax; // [d]
    float *rows;   // [ROWS_LIMIT][d]
    int64_t row_count;
    pq_tie tie;
} pq_smooth_pass;

static bool
wants(void *user, const pq_op *op)
{
    const pq_smooth_pass *p = user;
    const pq_graph *g = p->solver.g;
    pq_method method;
    return pq_is_matrix_product(g, op) &&
           pq_annotation(g, op->inputs[0]) != NULL &&
           pq_method_of_op(g, p->solver.env->recipe, op, &method) &&
           method.does_smooth &&
           !pq_dtype_is_float(pq_annotation(g, op->inputs[1])->scheme.format);
}

static ptqc_status
begin(void *user, const pq_stream_group *group, const char **out_note)
{
    pq_smooth_pass *p = user;
    pq_arena *arena = &p->solver.arena;
    size_t d = (size_t)p->solver.d;
    if (!pq_migration_find(&p->migration, group, &p->tie)) {
        *out_note = pq_migration_refusal(&p->migration, group);
        return PTQC_OK;
    }
    if (!p->solver.method.smooths_all &&
        !pq_migration_is_norm(&p->migration, group)) {
        *out_note = "no norm before it takes scales";
        return PTQC_OK;
    }
    p->row_count = 0;
    p->absmax = pq_arena_array(arena, d, sizeof *p->absmax);
    p->rows = pq_arena_array(arena, d * ROWS_LIMIT, sizeof *p->rows);
    PQ_TRY_ALLOC(p->absmax);
    PQ_TRY_ALLOC(p->rows);
    return pq_migration_read(&p->migration, &p->solver.checkpoint, group,
                             out_note);
}

static ptqc_status
take(void *user, float *x, int64_t n, const pq_token_weights *w)
{
    pq_smooth_pass *p = user;
    int64_t d = p->solver.d;
    int64_t step = n / ROWS_PER_SAMPLE > 0 ? n / ROWS_PER_SAMPLE : 1;
    for (int64_t i = 0; i < n; i++) {
        const float *row = x + i * d;
        pq_absmax_add(row, d, p->absmax);
        if (w->outliers[i] == 0 && i % step == step - 1 &&
            p->row_count < ROWS_LIMIT) {
            memcpy(p->rows + p->row_count++ * d, row, (size_t)d * sizeof *row);
        }
    }
    return PTQC_OK;
}

static ptqc_status
describe(pq_smooth_pass *p, const pq_smooth_report *r, const char **out)
{
    char text[96];
    double share = r->identity_loss > 0 ? r->loss / r->identity_loss : 1;
    if (r->alpha < 0) {
        (void)snprintf(text, sizeof text, "no smoothing is best");
    } else if (r->identity_loss > 0) {
        (void)snprintf(text, sizeof text,
                       "alpha %.2f: output error %.3f of that without",
                       (double)r->alpha, share);
    } else {
        (void)snprintf(text, sizeof text, "alpha %.2f", (double)r->alpha);
    }
    *out = pq_arena_strndup(&p->solver.arena, text, strlen(text));
    return *out != NULL ? PTQC_OK : PTQC_E_RESOURCE;
}

static ptqc_status
find_scales(pq_smooth_pass *p, const pq_stream_group *group,
            const pq_smooth_desc *smooth, float *out_s, pq_smooth_report *out)
{
    const pq_graph *g = p->solver.g;
    ptqc_ctx *ctx = pq_graph_ctx(g);
    *out = (pq_smooth_report){.alpha = smooth->alpha};
    if (p->solver.method.alpha >= 0) {
        return pq_smooth_scales(ctx, smooth, out_s);
    }
    const pq_smooth_search_desc desc = {
        .smooth = *smooth,
        .x = p->rows,
        .n = p->row_count,
        .weights = pq_matrix_scheme(g, pq_graph_op(g, group->ops[0])),
        .is_per_token = pq_annotation(g, group->x)->scheme.dynamic};
    return pq_smooth_search(ctx, &desc, out_s, out);
}

static ptqc_status
settle(void *user, const pq_stream_group *group, const char **out_note)
{
    pq_smooth_pass *p = user;
    pq_solver *solver = &p->solver;
    pq_consumer *consumers;
    pq_smooth_report report;
    float *s = pq_arena_array(&solver->arena, (size_t)solver->d, sizeof *s);
    PQ_TRY_ALLOC(s);
    PQ_TRY(pq_solver_read_weights(solver, group, &consumers));
    const pq_smooth_desc desc = {.consumers = consumers,
                                 .consumer_count = group->op_count,
                                 .d = solver->d,
                                 .x_absmax = p->absmax,
                                 .alpha = (float)solver->method.alpha,
                                 .tie = p->tie};
    PQ_TRY(find_scales(p, group, &desc, s, &report));
    PQ_TRY(describe(p, &report, out_note));
    return pq_migration_keep(&p->migration, &solver->checkpoint, group, s,
                             *out_note);
}

ptqc_status
pq_pass_smoothquant(pq_graph *g, pq_pass_env *env)
{
    static const pq_solver_steps steps = {.name = "smoothquant",
                                          .wants = wants,
                                          .begin = begin,
                                          .take = take,
                                          .settle = settle};
    pq_smooth_pass p = {0};
    PQ_TRY(pq_migration_init(&p.migration, g, env->scratch));
    PQ_TRY(pq_solver_init(&p.solver, g, env, &steps, &p));
    ptqc_status st = pq_solver_run(&p.solver, "smoothquant");
    pq_solver_deinit(&p.solver);
    return st == PTQC_OK ? pq_migration_apply(&p.migration, env->work_dir) : st;
}
