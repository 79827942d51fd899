// SPDX-License-Identifier: Apache-2.0
//
// Static scales that a few tokens ruin. The input of a product may hold a
// token hundreds of times larger than all others (an attention sink,
// calib/sinks.h): one scale for all tokens then leaves the others a few codes,
// or cuts off the one. For every statically quantized input of matmuls the
// output error is measured both ways, with one scale and with one per token;
// where one scale is much worse, for the tokens that stand out or for the
// others, the product falls back to scales per token, which are computed while
// it runs. Each fallback is reported.
//
// The error of x in the output is taken as sum over channels k of
// (x_k - x'_k)^2 |w_k|^2, w_k the weights that read channel k.

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "passes/admit.h"
#include "passes/calib/matrix.h"
#include "passes/calib/sinks.h"
#include "passes/calib/stream.h"
#include "passes/match.h"
#include "passes/plan.h"
#include "passes/registry.h"
#include "quant/quantize.h"

enum {
    ROWS_PER_SAMPLE = 16, // tokens kept to measure errors
    ROWS_LIMIT = 512,     // of each kind
};

// One scale is refused when its relative error is so many times that of
// scales per token, and above the second number (docs/accuracy.md).
#define REFUSED_RATIO 4.0
#define REFUSED_ERROR 2e-3

typedef struct pq_rows {
    float *x; // [ROWS_LIMIT][d]
    int64_t count;
} pq_rows;

typedef struct pq_spare {
    pq_graph *g;
    pq_pass_env *env;
    pq_sinks sinks;
    // of the group at hand
    pq_arena arena;
    pq_observer observer;
    int64_t d;
    double *power; // [d] |w_k|^2
    pq_rows usual, outlying;
    uint32_t fallback_count;
} pq_spare;

static const pq_scheme token_codes = {.format = PTQC_I8,
                                      .granularity = PQ_GRAN_TOKEN,
                                      .symmetric = true,
                                      .dynamic = true};

// Whether the targets run the product with scales per token.
static bool
has_dynamic_form(const pq_spare *p, const pq_op *op)
{
    const pq_scheme real = {.format = PTQC_F32};
    const pq_scheme none = {0};
    pq_product_schemes s = {.x = token_codes,
                            .x_scale = real,
                            .w = pq_annotation(p->g, op->inputs[1])->scheme,
                            .y = real};
    s.bias = pq_value_is_none(pq_op_input(op, 2)) ? none : real;
    s.residual = pq_value_is_none(pq_op_input(op, 3)) ? none : real;
    return pq_admits_product(p->g, p->env->caps, op, &s);
}

static bool
wants(void *user, const pq_op *op)
{
    const pq_spare *p = user;
    const pq_quant *x = pq_annotation(p->g, op->inputs[0]);
    return x != NULL && !x->scheme.dynamic &&
           pq_graph_value(p->g, op->inputs[0])->type.rank >= 3 && // [.., T, K]
           pq_is_matrix_product(p->g, op) && has_dynamic_form(p, op);
}

// ---- gathering ------------------------------------------------------------

static ptqc_status
add_power(pq_spare *p, const pq_op *op)
{
    pq_matrix_size size;
    pq_arena local;
    const float *w;
    PQ_TRY(pq_matrix_measure(p->g, op, &size));
    pq_arena_init(&local, pq_graph_ctx(p->g));
    ptqc_status st = pq_matrix_read(p->g, op, &local, &w);
    for (int64_t i = 0; i < size.rows && st == PTQC_OK; i++) {
        for (int64_t k = 0; k < size.cols; k++) {
            double x = (double)w[i * size.cols + k];
            p->power[k] += x * x;
        }
    }
    pq_arena_deinit(&local);
    return st;
}

static ptqc_status
begin(void *user, const pq_stream_group *group, bool *out_shows)
{
    pq_spare *p = user;
    pq_matrix_size size;
    const pq_scheme *s = &pq_annotation(p->g, group->x)->scheme;
    const pq_observer_desc desc = {.kind = p->env->recipe->observer,
                                   .percentile = p->env->recipe->percentile,
                                   .format = s->format,
                                   .symmetric = s->symmetric};
    *out_shows = true;
    pq_arena_deinit(&p->arena);
    pq_arena_init(&p->arena, pq_graph_ctx(p->g));
    PQ_TRY(pq_matrix_measure(p->g, pq_graph_op(p->g, group->ops[0]), &size));
    p->d = size.cols;
    size_t room = (size_t)p->d * ROWS_LIMIT;
    p->power = pq_arena_array(&p->arena, (size_t)p->d, sizeof *p->power);
    p->usual =
        (pq_rows){.x = pq_arena_array(&p->arena, room, sizeof *p->usual.x)};
    p->outlying =
        (pq_rows){.x = pq_arena_array(&p->arena, room, sizeof *p->outlying.x)};
    PQ_TRY_ALLOC(p->power);
    PQ_TRY_ALLOC(p->usual.x);
    PQ_TRY_ALLOC(p->outlying.x);
    pq_observer_deinit(&p->observer);
    pq_observer_init(&p->observer, pq_graph_ctx(p->g), &desc);
    for (uint32_t i = 0; i < group->op_count; i++) {
        PQ_TRY(add_power(p, pq_graph_op(p->g, group->ops[i])));
    }
    return PTQC_OK;
}

static void
keep_row(const pq_spare *p, pq_rows *rows, const float *row)
{
    if (rows->count < ROWS_LIMIT) {
        memcpy(rows->x + rows->count++ * p->d, row, (size_t)p->d * sizeof *row);
    }
}

static ptqc_status
take(void *user, uint64_t sample, const pq_tensor *t)
{
    pq_spare *p = user;
    pq_token_weights w;
    const float *x = t->p;
    int64_t n = (int64_t)(t->bytes / sizeof(float)) / p->d;
    int64_t step = n / ROWS_PER_SAMPLE > 0 ? n / ROWS_PER_SAMPLE : 1;
    PQ_TRY(pq_sinks_weigh(&p->sinks, sample, x, n, p->d, &w));
    for (int64_t i = 0; i < n; i++) {
        if (w.outliers[i] != 0) {
            keep_row(p, &p->outlying, x + i * p->d);
        } else if (i % step == step - 1) {
            keep_row(p, &p->usual, x + i * p->d);
        }
    }
    return pq_observer_take(&p->observer, x, t->bytes / sizeof *x);
}

// ---- measuring ------------------------------------------------------------

// Mean over rows of error / energy; params NULL: a scale for each row.
static double
relative_error(const pq_spare *p, const pq_rows *rows, const pq_params *params,
               const pq_scheme *scheme)
{
    double sum = 0;
    for (int64_t i = 0; i < rows->count; i++) {
        const float *x = rows->x + i * p->d;
        double error = 0, energy = 0;
        float most = 0;
        for (int64_t k = 0; k < p->d; k++) {
            most = fmaxf(most, fabsf(x[k]));
        }
        pq_params q = params != NULL
                          ? *params
                          : pq_params_of_range(-most, most, PTQC_I8, true);
        ptqc_dtype format = params != NULL ? scheme->format : PTQC_I8;
        for (int64_t k = 0; k < p->d; k++) {
            int32_t code = pq_code_of(x[k], q, format) - q.zero_point;
            double e = (double)x[k] - (double)q.scale * code;
            error += e * e * p->power[k];
            energy += (double)x[k] * (double)x[k] * p->power[k];
        }
        sum += energy > 0 ? error / energy : 0;
    }
    return rows->count > 0 ? sum / (double)rows->count : 0;
}

static bool
is_refused(double one, double each)
{
    return one > REFUSED_ERROR && one > REFUSED_RATIO * each;
}

static void
tell(const pq_spare *p, const pq_stream_group *group, bool falls_back,
     const double errors[4])
{
    char text[160];
    if (p->env->note == NULL) {
        return;
    }
    (void)snprintf(text, sizeof text,
                   "one scale would give a relative error of %.2g (%.2g on "
                   "%lld tokens that stand out), scales per token %.2g",
                   errors[0], errors[2], (long long)p->outlying.count,
                   errors[1]);
    p->env->note(p->env->note_user,
                 pq_op_label(p->g, pq_graph_op(p->g, group->ops[0])),
                 falls_back ? "scales per token" : "one scale", text);
}

static ptqc_status
end(void *user, const pq_stream_group *group)
{
    pq_spare *p = user;
    pq_value *value = pq_graph_value(p->g, group->x);
    const pq_scheme scheme = pq_annotation(p->g, group->x)->scheme;
    float min, max;
    PQ_TRY(pq_observer_range(&p->observer, &min, &max));
    const pq_params params =
        pq_params_of_range(min, max, scheme.format, scheme.symmetric);
    const double errors[4] = {relative_error(p, &p->usual, &params, &scheme),
                              relative_error(p, &p->usual, NULL, &scheme),
                              relative_error(p, &p->outlying, &params, &scheme),
                              relative_error(p, &p->outlying, NULL, &scheme)};
    bool falls_back =
        is_refused(errors[0], errors[1]) || is_refused(errors[2], errors[3]);
    tell(p, group, falls_back, errors);
    if (!falls_back) {
        return PTQC_OK;
    }
    const pq_quant q = {.scheme = token_codes};
    p->fallback_count++;
    value->quant = pq_graph_add_quant(p->g, &q);
    return pq_quant_is_none(value->quant) ? pq_graph_failure(p->g) : PTQC_OK;
}

static ptqc_status
see(void *user, uint64_t sample, pq_value_id v, const pq_tensor *t)
{
    pq_spare *p = user;
    (void)v;
    return pq_sinks_see(&p->sinks, sample, t);
}

// ---- annotations that nobody wants any more -------------------------------

static bool
is_read_as_codes(const pq_graph *g, const pq_mode *modes, pq_value_id v)
{
    for (const pq_use *u = pq_value_uses(g, v); u != NULL; u = u->next) {
        const pq_op *op = pq_graph_op(g, u->op);
        for (uint32_t i = 0; i < op->input_count; i++) {
            if (pq_value_equal(op->inputs[i], v) &&
                modes[u->op.index] == PQ_MODE_STATIC &&
                pq_is_data_operand(g, op, i)) {
                return true;
            }
        }
    }
    return false;
}

// Values were annotated for ops on codes behind them; without those they stay
// real. Ops come before their users, so walking back needs one pass per length
// of a chain of such ops.
static ptqc_status
drop_unread(pq_spare *p)
{
    bool has_changed = true;
    while (has_changed) {
        pq_mode *modes;
        has_changed = false;
        PQ_TRY(pq_plan_modes(p->g, p->env->recipe, p->env->scratch, &modes));
        for (uint32_t i = 1; i < pq_graph_value_count(p->g); i++) {
            pq_value_id v = {i};
            const pq_quant *q = pq_annotation(p->g, v);
            if (q != NULL && !q->scheme.dynamic && !pq_is_constant(p->g, v) &&
                !is_read_as_codes(p->g, modes, v)) {
                pq_graph_value(p->g, v)->quant = (pq_quant_id){0};
                has_changed = true;
            }
        }
    }
    return PTQC_OK;
}

static bool
has_static_matmul(const pq_spare *p)
{
    PQ_FOR_EACH_OP(p->g, id)
    {
        const pq_op *op = pq_graph_op(p->g, id);
        if (pq_is_product(op->code) && pq_is_constant(p->g, op->inputs[1]) &&
            wants((void *)p, op)) {
            return true;
        }
    }
    return false;
}

ptqc_status
pq_pass_spare_outliers(pq_graph *g, pq_pass_env *env)
{
    pq_spare p = {.g = g, .env = env};
    const pq_stream_client client = {.user = &p,
                                     .wants = wants,
                                     .begin = begin,
                                     .see = see,
                                     .take = take,
                                     .end = end};
    if (env->samples == NULL || !has_static_matmul(&p)) {
        return PTQC_OK;
    }
    pq_sinks_init(&p.sinks, pq_graph_ctx(g), 1);
    pq_arena_init(&p.arena, pq_graph_ctx(g));
    ptqc_status st = pq_stream_run(g, env, "outliers", &client);
    pq_observer_deinit(&p.observer);
    pq_sinks_deinit(&p.sinks);
    pq_arena_deinit(&p.arena);
    PQ_TRY(st);
    if (p.fallback_count == 0) {
        return PTQC_OK;
    }
    pq_say(pq_graph_ctx(g), PTQC_SEVERITY_WARNING,
           "%u inputs of matmul get scales per token instead of one: a few "
           "tokens would ruin it (see the report)",
           p.fallback_count);
    return drop_unread(&p);
}
