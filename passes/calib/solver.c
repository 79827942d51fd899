// SPDX-License-Identifier: Apache-2.0
//
// The frame of streaming methods, see solver.h.

#include "passes/calib/solver.h"

#include <math.h>
#include <string.h>

#include "passes/calib/enough.h"
#include "passes/calib/matrix.h"
#include "passes/match.h"
#include "quant/linalg.h"

static void
tell(const pq_solver *s, const pq_stream_group *group, const char *note)
{
    if (s->env->note != NULL && note != NULL) {
        s->env->note(s->env->note_user,
                     pq_op_label(s->g, pq_graph_op(s->g, group->ops[0])),
                     s->steps->name, note);
    }
}

// ---- the stream's client --------------------------------------------------

static bool
wants(void *user, const pq_op *op)
{
    const pq_solver *s = user;
    return s->steps->wants(s->user, op);
}

// What rules say of products that share a Gram matrix must be the same.
static ptqc_status
find_method(pq_solver *s, const pq_stream_group *group)
{
    const pq_recipe *recipe = s->env->recipe;
    const pq_op *first = pq_graph_op(s->g, group->ops[0]);
    (void)pq_method_of_op(s->g, recipe, first, &s->method);
    for (uint32_t i = 1; i < group->op_count; i++) {
        const pq_op *op = pq_graph_op(s->g, group->ops[i]);
        pq_method own;
        (void)pq_method_of_op(s->g, recipe, op, &own);
        if (!pq_method_has_same_settings(&s->method, &own)) {
            return PQ_FAIL(
                pq_graph_ctx(s->g), PTQC_E_USAGE,
                "%s: '%.*s' and '%.*s' read one value: expected "
                "methods with the same settings, found '%.*s' and "
                "'%.*s'",
                s->steps->name, PQ_STR_ARG(pq_op_label(s->g, first)),
                PQ_STR_ARG(pq_op_label(s->g, op)),
                PQ_STR_ARG(pq_recipe_settings(recipe, s->g, first).method),
                PQ_STR_ARG(pq_recipe_settings(recipe, s->g, op).method));
        }
    }
    s->sinks.factor = s->method.sink;
    return PTQC_OK;
}

static bool
wants_real(const pq_solver *s, const pq_method *m)
{
    return s->steps->wants_real != NULL && s->steps->wants_real(m);
}

static ptqc_status
open_moments(pq_solver *s)
{
    ptqc_ctx *ctx = pq_graph_ctx(s->g);
    size_t d = (size_t)s->d;
    if (wants_real(s, &s->method)) {
        s->cross = pq_alloc_array(ctx, d, d * sizeof *s->cross);
        PQ_TRY_ALLOC(s->cross);
    }
    return pq_moments_init(ctx, s->d, &s->moments);
}

static void
close_moments(pq_solver *s)
{
    ptqc_ctx *ctx = pq_graph_ctx(s->g);
    pq_free(ctx, s->cross);
    s->cross = NULL;
    pq_moments_deinit(ctx, &s->moments);
}

static ptqc_status
begin(void *user, const pq_stream_group *group, bool *out_shows)
{
    pq_solver *s = user;
    ptqc_ctx *ctx = pq_graph_ctx(s->g);
    pq_matrix_size size;
    const char *note = NULL;
    pq_arena_deinit(&s->arena);
    pq_arena_init(&s->arena, ctx);
    PQ_TRY(find_method(s, group));
    PQ_TRY(pq_matrix_measure(s->g, pq_graph_op(s->g, group->ops[0]), &size));
    s->d = size.cols;
    ptqc_status st = s->steps->begin(s->user, group, &note);
    *out_shows = s->is_open = st == PTQC_NO;
    if (st == PTQC_NO) {
        return s->steps->take == NULL ? open_moments(s) : PTQC_OK;
    }
    PQ_TRY(st);
    tell(s, group, note);
    return PTQC_OK;
}

static bool
is_finite_row(const float *x, int64_t d)
{
    bool is = true;
    for (int64_t i = 0; i < d; i++) {
        is &= isfinite(x[i]) != 0;
    }
    return is;
}

// Tokens that are no numbers in one of the models count in neither.
static void
drop_bad_tokens(const pq_solver *s, float *x, float *real, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        if (!is_finite_row(real + i * s->d, s->d)) {
            x[i * s->d] = (float)NAN; // the moments count it and leave it out
        }
        if (!is_finite_row(x + i * s->d, s->d)) {
            memset(real + i * s->d, 0, (size_t)s->d * sizeof *real);
        }
    }
}

static ptqc_status
add_moments(pq_solver *s, const pq_tensor *t, const pq_tensor *real, int64_t n,
            const pq_token_weights *w)
{
    ptqc_ctx *ctx = pq_graph_ctx(s->g);
    if (s->cross != NULL) {
        drop_bad_tokens(s, t->p, real->p, n);
    }
    PQ_TRY(pq_moments_add(ctx, &s->moments, t->p, n, w->weights, w->outliers));
    return s->cross != NULL ? pq_gram_cross_add(ctx, real->p, t->p, n, s->d,
                                                w->weights, s->cross)
                            : PTQC_OK;
}

static ptqc_status
take(void *user, uint64_t sample, const pq_tensor *t, const pq_tensor *real)
{
    pq_solver *s = user;
    pq_token_weights w;
    int64_t n = (int64_t)(t->bytes / sizeof(float)) / s->d;
    PQ_TRY(pq_sinks_weigh(&s->sinks, sample, t->p, n, s->d, &w));
    if (s->steps->take != NULL) {
        return s->steps->take(s->user, t->p, n, &w);
    }
    return add_moments(s, t, real, n, &w);
}

static ptqc_status
end(void *user, const pq_stream_group *group)
{
    pq_solver *s = user;
    const char *note = NULL;
    if (!s->is_open) {
        return PTQC_OK;
    }
    s->is_open = false;
    ptqc_status st = s->steps->settle(s->user, group, &note);
    close_moments(s);
    PQ_TRY(st);
    tell(s, group, note);
    return PTQC_OK;
}

// Of the recipe's methods.
static bool
any_wants_real(const pq_solver *s)
{
    bool does = false;
    PQ_FOR_EACH_OP(s->g, id)
    {
        const pq_op *op = pq_graph_op(s->g, id);
        pq_method m;
        does |= pq_is_product(op->code) && s->steps->wants_real != NULL &&
                s->steps->wants(s->user, op) &&
                pq_method_of_op(s->g, s->env->recipe, op, &m) &&
                s->steps->wants_real(&m);
    }
    return does;
}

// ---- public ---------------------------------------------------------------

ptqc_status
pq_solver_init(pq_solver *s, pq_graph *g, pq_pass_env *env,
               const pq_solver_steps *steps, void *user)
{
    ptqc_ctx *ctx = pq_graph_ctx(g);
    *s = (pq_solver){.g = g, .env = env, .steps = steps, .user = user};
    s->checkpoint = pq_checkpoint_of(ctx, env, steps->name);
    pq_sinks_init(&s->sinks, ctx, 0); // the factor is each group's
    pq_arena_init(&s->arena, ctx);
    return PTQC_OK;
}

void
pq_solver_deinit(pq_solver *s)
{
    if (s->g == NULL) {
        return;
    }
    close_moments(s);
    pq_sinks_deinit(&s->sinks);
    pq_arena_deinit(&s->arena);
}

ptqc_status
pq_solver_run(pq_solver *s, const char *phase)
{
    const pq_stream_client client = {.user = s,
                                     .wants_real = any_wants_real(s),
                                     .wants = wants,
                                     .begin = begin,
                                     .checkpoint = &s->checkpoint,
                                     .sinks = &s->sinks,
                                     .take = take,
                                     .end = end};
    if (s->steps->take == NULL) { // Gram matrices
        PQ_TRY(pq_warn_few_tokens(s->g, s->env, phase, &client, &s->is_warned));
    }
    return pq_stream_run(s->g, s->env, phase, &client);
}

ptqc_status
pq_solver_read_weights(pq_solver *s, const pq_stream_group *group,
                       pq_consumer **out)
{
    pq_consumer *all = pq_arena_array(&s->arena, group->op_count, sizeof *all);
    PQ_TRY_ALLOC(all);
    for (uint32_t i = 0; i < group->op_count; i++) {
        const pq_op *op = pq_graph_op(s->g, group->ops[i]);
        pq_matrix_size size;
        PQ_TRY(pq_matrix_measure(s->g, op, &size));
        all[i].rows = size.rows;
        PQ_TRY(pq_matrix_read(s->g, op, &s->arena, &all[i].w));
    }
    *out = all;
    return PTQC_OK;
}
