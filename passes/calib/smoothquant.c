// SPDX-License-Identifier: Apache-2.0
//
// SmoothQuant over a whole model (quant/smooth.h has the mathematics): for
// each value that a norm makes and products with 8-bit activations read, the
// channels' scales by the largest numbers of the value in the float model.
// alpha is the method's, or per value the one with the least output error on
// some of the tokens.
//
// Other values than those of norms are left alone, as by the reference: what a
// gated product makes may hold one huge number of one token (a sink), which a
// scale that suits the other tokens would move into a column of weights too
// small to be rounded well. Measured (SmolLM2, w8a8:dyn): 22.2 perplexity with
// those, 20.1 without.

#include <stdio.h>
#include <string.h>

#include "base/dtype.h"
#include "passes/calib/matrix.h"
#include "passes/calib/migrate.h"
#include "passes/calib/moments.h"
#include "passes/calib/sinks.h"
#include "passes/match.h"
#include "passes/method.h"
#include "passes/plan.h"
#include "passes/registry.h"
#include "quant/smooth.h"

enum {
    ROWS_PER_SAMPLE = 16, // tokens kept to search alpha
    ROWS_LIMIT = 512,
};

typedef struct pq_smooth_pass {
    pq_graph *g;
    pq_pass_env *env;
    pq_method method;
    pq_migration migration;
    pq_checkpoint checkpoint;
    pq_sinks sinks;
    // of the group at hand
    pq_arena arena;
    float *absmax; // [d]
    float *rows;   // [ROWS_LIMIT][d]
    int64_t d, row_count;
    pq_tie tie;
    bool is_searched;
} pq_smooth_pass;

static bool
wants(void *user, const pq_op *op)
{
    const pq_smooth_pass *p = user;
    return pq_is_matrix_product(p->g, op) &&
           pq_annotation(p->g, op->inputs[0]) != NULL &&
           !pq_dtype_is_float(
               pq_annotation(p->g, op->inputs[1])->scheme.format);
}

static void
tell(const pq_smooth_pass *p, const pq_stream_group *group, const char *text)
{
    if (p->env->note != NULL) {
        p->env->note(p->env->note_user,
                     pq_op_label(p->g, pq_graph_op(p->g, group->ops[0])),
                     "smoothquant", text);
    }
}

static ptqc_status
begin(void *user, const pq_stream_group *group, bool *out_shows)
{
    pq_smooth_pass *p = user;
    pq_matrix_size size;
    const char *note;
    *out_shows = p->is_searched = false;
    pq_arena_deinit(&p->arena);
    pq_arena_init(&p->arena, pq_graph_ctx(p->g));
    if (!pq_migration_find(&p->migration, group, &p->tie) ||
        !pq_migration_is_norm(&p->migration, group)) {
        tell(p, group, "no norm before it takes scales");
        return PTQC_OK;
    }
    ptqc_status st =
        pq_migration_read(&p->migration, &p->checkpoint, group, &note);
    if (st != PTQC_NO) {
        PQ_TRY(st);
        tell(p, group, note);
        return PTQC_OK;
    }
    *out_shows = p->is_searched = true;
    PQ_TRY(pq_matrix_measure(p->g, pq_graph_op(p->g, group->ops[0]), &size));
    p->d = size.cols;
    p->row_count = 0;
    p->absmax = pq_arena_array(&p->arena, (size_t)p->d, sizeof *p->absmax);
    p->rows =
        pq_arena_array(&p->arena, (size_t)p->d * ROWS_LIMIT, sizeof *p->rows);
    PQ_TRY_ALLOC(p->absmax);
    PQ_TRY_ALLOC(p->rows);
    return PTQC_OK;
}

static ptqc_status
see(void *user, uint64_t sample, pq_value_id v, const pq_tensor *t)
{
    pq_smooth_pass *p = user;
    (void)v;
    return pq_sinks_see(&p->sinks, sample, t);
}

static ptqc_status
take(void *user, uint64_t sample, const pq_tensor *t)
{
    pq_smooth_pass *p = user;
    pq_token_weights w;
    const float *x = t->p;
    int64_t n = (int64_t)(t->bytes / sizeof(float)) / p->d;
    int64_t step = n / ROWS_PER_SAMPLE > 0 ? n / ROWS_PER_SAMPLE : 1;
    PQ_TRY(pq_sinks_weigh(&p->sinks, sample, x, n, p->d, &w));
    for (int64_t i = 0; i < n; i++) {
        const float *row = x + i * p->d;
        pq_absmax_add(row, p->d, p->absmax);
        if (w.outliers[i] == 0 && i % step == step - 1 &&
            p->row_count < ROWS_LIMIT) {
            memcpy(p->rows + p->row_count++ * p->d, row,
                   (size_t)p->d * sizeof *row);
        }
    }
    return PTQC_OK;
}

static void
describe(const pq_smooth_report *r, char text[96])
{
    double share = r->identity_loss > 0 ? r->loss / r->identity_loss : 1;
    if (r->alpha < 0) {
        (void)snprintf(text, 96, "no smoothing is best");
    } else if (r->identity_loss > 0) {
        (void)snprintf(text, 96,
                       "alpha %.2f: output error %.3f of that without",
                       (double)r->alpha, share);
    } else {
        (void)snprintf(text, 96, "alpha %.2f", (double)r->alpha);
    }
}

static ptqc_status
find_scales(pq_smooth_pass *p, const pq_stream_group *group,
            const pq_smooth_desc *smooth, float *out_s, char text[96])
{
    ptqc_ctx *ctx = pq_graph_ctx(p->g);
    const pq_op *op = pq_graph_op(p->g, group->ops[0]);
    pq_smooth_report report = {.alpha = (float)p->method.alpha};
    if (p->method.alpha >= 0) {
        PQ_TRY(pq_smooth_scales(ctx, smooth, out_s));
    } else {
        const pq_smooth_search_desc desc = {
            .smooth = *smooth,
            .x = p->rows,
            .n = p->row_count,
            .weights = pq_matrix_scheme(p->g, op),
            .is_per_token = pq_annotation(p->g, group->x)->scheme.dynamic};
        PQ_TRY(pq_smooth_search(ctx, &desc, out_s, &report));
    }
    describe(&report, text);
    return PTQC_OK;
}

static ptqc_status
end(void *user, const pq_stream_group *group)
{
    pq_smooth_pass *p = user;
    pq_matrix_size size;
    if (!p->is_searched) {
        return PTQC_OK;
    }
    float *s = pq_arena_array(&p->arena, (size_t)p->d, sizeof *s);
    pq_consumer *consumers =
        pq_arena_array(&p->arena, group->op_count, sizeof *consumers);
    PQ_TRY_ALLOC(s);
    PQ_TRY_ALLOC(consumers);
    for (uint32_t i = 0; i < group->op_count; i++) {
        const pq_op *op = pq_graph_op(p->g, group->ops[i]);
        PQ_TRY(pq_matrix_measure(p->g, op, &size));
        consumers[i].rows = size.rows;
        PQ_TRY(pq_matrix_read(p->g, op, &p->arena, &consumers[i].w));
    }
    const pq_smooth_desc desc = {.consumers = consumers,
                                 .consumer_count = group->op_count,
                                 .d = p->d,
                                 .x_absmax = p->absmax,
                                 .alpha = (float)p->method.alpha,
                                 .tie = p->tie};
    char text[96];
    PQ_TRY(find_scales(p, group, &desc, s, text));
    tell(p, group, text);
    return pq_migration_keep(&p->migration, &p->checkpoint, group, s, text);
}

ptqc_status
pq_pass_smoothquant(pq_graph *g, pq_pass_env *env)
{
    pq_smooth_pass p = {.g = g, .env = env};
    const pq_stream_client client = {.user = &p,
                                     .wants = wants,
                                     .begin = begin,
                                     .see = see,
                                     .take = take,
                                     .end = end};
    PQ_TRY(pq_method_of(g, env, &p.method));
    PQ_TRY(pq_migration_init(&p.migration, g, env->scratch));
    p.checkpoint = pq_checkpoint_of(pq_graph_ctx(g), env, "smoothquant");
    pq_sinks_init(&p.sinks, pq_graph_ctx(g), p.method.sink);
    pq_arena_init(&p.arena, pq_graph_ctx(g));
    ptqc_status st = pq_stream_run(g, env, "smoothquant", &client);
    pq_sinks_deinit(&p.sinks);
    pq_arena_deinit(&p.arena);
    return st == PTQC_OK ? pq_migration_apply(&p.migration, env->work_dir) : st;
}
