// SPDX-License-Identifier: Apache-2.0
//
// AWQ over a whole model (quant/awq.h has the mathematics): for each value
// that annotated products read and whose producer can take scales
// (calib/migrate.h), the scales of its channels with the least output error
// of rounded weights, by the Gram matrix of the value in the float model.
// Real numbers stay what they were; weights round better. Sinks weigh more
// (calib/sinks.h).

#include <stdio.h>

#include "base/dtype.h"
#include "passes/calib/matrix.h"
#include "passes/calib/migrate.h"
#include "passes/calib/moments.h"
#include "passes/calib/sinks.h"
#include "passes/match.h"
#include "passes/method.h"
#include "passes/plan.h"
#include "passes/registry.h"

// Exponents 0, .1, ... 1: finer ones change the result less than its noise.
enum { EXPONENT_STEPS = 10 };

typedef struct pq_awq_pass {
    pq_graph *g;
    pq_pass_env *env;
    pq_migration migration;
    pq_checkpoint checkpoint;
    pq_sinks sinks;
    // of the group at hand
    pq_moments moments;
    pq_tie tie;
    bool is_searched;
} pq_awq_pass;

static bool
wants(void *user, const pq_op *op)
{
    const pq_awq_pass *p = user;
    return pq_is_matrix_product(p->g, op) &&
           !pq_dtype_is_float(
               pq_annotation(p->g, op->inputs[1])->scheme.format);
}

static void
tell(const pq_awq_pass *p, const pq_stream_group *group, const char *text)
{
    if (p->env->note != NULL) {
        p->env->note(p->env->note_user,
                     pq_op_label(p->g, pq_graph_op(p->g, group->ops[0])), "awq",
                     text);
    }
}

static ptqc_status
begin(void *user, const pq_stream_group *group, bool *out_shows)
{
    pq_awq_pass *p = user;
    pq_matrix_size size;
    const char *note;
    *out_shows = p->is_searched = false;
    if (!pq_migration_find(&p->migration, group, &p->tie)) {
        tell(p, group, "nothing before it takes scales");
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
    return pq_moments_init(pq_graph_ctx(p->g), size.cols, &p->moments);
}

static ptqc_status
see(void *user, uint64_t sample, pq_value_id v, const pq_tensor *t)
{
    pq_awq_pass *p = user;
    (void)v;
    return pq_sinks_see(&p->sinks, sample, t);
}

static ptqc_status
take(void *user, uint64_t sample, const pq_tensor *x)
{
    pq_awq_pass *p = user;
    pq_moments *m = &p->moments;
    pq_token_weights w;
    int64_t n = (int64_t)(x->bytes / sizeof(float)) / m->d;
    PQ_TRY(pq_sinks_weigh(&p->sinks, sample, x->p, n, m->d, &w));
    return pq_moments_add(pq_graph_ctx(p->g), m, x->p, n, w.weights,
                          w.outliers);
}

static ptqc_status
search(pq_awq_pass *p, const pq_stream_group *group, pq_arena *local)
{
    pq_matrix_size size;
    pq_awq_report report;
    float *s = pq_arena_array(local, (size_t)p->moments.d, sizeof *s);
    pq_consumer *consumers =
        pq_arena_array(local, group->op_count, sizeof *consumers);
    PQ_TRY_ALLOC(s);
    PQ_TRY_ALLOC(consumers);
    for (uint32_t i = 0; i < group->op_count; i++) {
        const pq_op *op = pq_graph_op(p->g, group->ops[i]);
        PQ_TRY(pq_matrix_measure(p->g, op, &size));
        consumers[i].rows = size.rows;
        PQ_TRY(pq_matrix_read(p->g, op, local, &consumers[i].w));
    }
    const pq_awq_desc desc = {
        .consumers = consumers,
        .consumer_count = group->op_count,
        .d = p->moments.d,
        .h = p->moments.h,
        .scheme = pq_matrix_scheme(p->g, pq_graph_op(p->g, group->ops[0])),
        .search = p->env->recipe->scale_search,
        .steps = EXPONENT_STEPS,
        .tie = p->tie};
    PQ_TRY(pq_awq_search(pq_graph_ctx(p->g), &desc, s, &report));
    char text[96];
    (void)snprintf(text, sizeof text,
                   "inputs scaled by rms^%.2f: output error %.3f of rounding's",
                   (double)report.exponent,
                   report.identity_loss > 0 ? report.loss / report.identity_loss
                                            : 1);
    tell(p, group, text);
    return pq_migration_keep(&p->migration, &p->checkpoint, group, s, text);
}

static ptqc_status
end(void *user, const pq_stream_group *group)
{
    pq_awq_pass *p = user;
    pq_arena local;
    if (!p->is_searched) {
        return PTQC_OK;
    }
    pq_arena_init(&local, pq_graph_ctx(p->g));
    ptqc_status st = search(p, group, &local);
    pq_arena_deinit(&local);
    pq_moments_deinit(pq_graph_ctx(p->g), &p->moments);
    return st;
}

ptqc_status
pq_pass_awq(pq_graph *g, pq_pass_env *env)
{
    pq_method method;
    pq_awq_pass p = {.g = g, .env = env};
    const pq_stream_client client = {.user = &p,
                                     .wants = wants,
                                     .begin = begin,
                                     .see = see,
                                     .take = take,
                                     .end = end};
    PQ_TRY(pq_method_of(g, env, &method));
    PQ_TRY(pq_migration_init(&p.migration, g, env->scratch));
    p.checkpoint = pq_checkpoint_of(pq_graph_ctx(g), env, "awq");
    pq_sinks_init(&p.sinks, pq_graph_ctx(g), method.sink);
    ptqc_status st = pq_stream_run(g, env, "awq", &client);
    pq_moments_deinit(pq_graph_ctx(g), &p.moments);
    pq_sinks_deinit(&p.sinks);
    return st == PTQC_OK ? pq_migration_apply(&p.migration, env->work_dir) : st;
}
