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
#include "passes/calib/solver.h"
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
    pq_solver solver;
    // of the group at hand
    pq_observer observer;
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
    pq_product_schemes s = {
        .x = token_codes,
        .x_scale = real,
        .w = pq_annotation(p->solver.g, op->inputs[1])->scheme,
        .y = real};
    s.bias = pq_value_is_none(pq_op_input(op, 2)) ? none : real;
    s.residual = pq_value_is_none(pq_op_input(op, 3)) ? none : real;
    return pq_admits_product(p->solver.g, p->solver.env->caps, op, &s);
}

static bool
wants(void *user, const pq_op *op)
{
    const pq_spare *p = user;
    const pq_quant *x = pq_annotation(p->solver.g, op->inputs[0]);
    return x != NULL && !x->scheme.dynamic &&
           pq_graph_value(p->solver.g, op->inputs[0])->type.rank >=
               3 && // [.., T, K]
           pq_is_matrix_product(p->solver.g, op) &&
           has_dynamic_form(p, op);
}

// ---- verdicts -------------------------------------------------------------

typedef struct pq_verdict {
    int32_t falls_back; // 1: scales per token
    const char *why;    // for the report
} pq_verdict;

static ptqc_status
apply(pq_spare *p, const pq_stream_group *group, const pq_verdict *verdict)
{
    const pq_solver *s = &p->solver;
    const pq_quant q = {.scheme = token_codes};
    if (s->env->note != NULL) {
        s->env->note(s->env->note_user,
                     pq_op_label(s->g, pq_graph_op(s->g, group->ops[0])),
                     verdict->falls_back != 0 ? "scales per token"
                                              : "one scale",
                     verdict->why);
    }
    if (verdict->falls_back == 0) {
        return PTQC_OK;
    }
    pq_value *value = pq_graph_value(s->g, group->x);
    p->fallback_count++;
    value->quant = pq_graph_add_quant(s->g, &q);
    return pq_quant_is_none(value->quant) ? pq_graph_failure(s->g) : PTQC_OK;
}

// In a checkpoint: as a zero point, and the note.
static ptqc_status
write_verdict(const pq_spare *p, const pq_stream_group *group,
              const pq_verdict *verdict)
{
    const pq_checkpoint *c = &p->solver.checkpoint;
    const pq_unit_weight unit = {.zero_count = 1,
                                 .zero_points = &verdict->falls_back,
                                 .note = pq_str_of(verdict->why)};
    return c->dir != NULL ? pq_unit_write(c, group->index, &unit, 1) : PTQC_OK;
}

// PTQC_NO: there is none.
static ptqc_status
apply_kept(pq_spare *p, const pq_stream_group *group)
{
    const pq_checkpoint *c = &p->solver.checkpoint;
    pq_unit_weight unit = {.zero_count = 1};
    pq_map map;
    if (c->dir == NULL) {
        return PTQC_NO;
    }
    PQ_TRY(pq_unit_read(c, group->index, &unit, 1, &map));
    const pq_verdict verdict = {
        unit.zero_points[0],
        pq_arena_strndup(&p->solver.arena, unit.note.p, unit.note.n)};
    pq_map_close(&map);
    PQ_TRY_ALLOC(verdict.why);
    return apply(p, group, &verdict);
}

// ---- gathering ------------------------------------------------------------

static ptqc_status
add_power(pq_spare *p, const pq_op *op)
{
    pq_matrix_size size;
    pq_arena local;
    const float *w;
    PQ_TRY(pq_matrix_measure(p->solver.g, op, &size));
    pq_arena_init(&local, pq_graph_ctx(p->solver.g));
    ptqc_status st = pq_matrix_read(p->solver.g, op, &local, &w);
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
begin(void *user, const pq_stream_group *group, const char **out_note)
{
    pq_spare *p = user;
    const pq_graph *g = p->solver.g;
    pq_arena *arena = &p->solver.arena;
    size_t d = (size_t)p->solver.d;
    size_t room = d * ROWS_LIMIT;
    const pq_scheme *s = &pq_annotation(g, group->x)->scheme;
    const pq_settings settings =
        pq_recipe_settings_of_value(p->solver.env->recipe, g, group->x);
    const pq_observer_desc desc = {.kind = settings.observer,
                                   .percentile = settings.percentile,
                                   .format = s->format,
                                   .symmetric = s->symmetric};
    (void)out_note;
    ptqc_status st = apply_kept(p, group);
    if (st != PTQC_NO) {
        return st;
    }
    p->power = pq_arena_array(arena, d, sizeof *p->power);
    p->usual = (pq_rows){.x = pq_arena_array(arena, room, sizeof(float))};
    p->outlying = (pq_rows){.x = pq_arena_array(arena, room, sizeof(float))};
    PQ_TRY_ALLOC(p->power);
    PQ_TRY_ALLOC(p->usual.x);
    PQ_TRY_ALLOC(p->outlying.x);
    pq_observer_deinit(&p->observer);
    pq_observer_init(&p->observer, pq_graph_ctx(g), &desc);
    for (uint32_t i = 0; i < group->op_count; i++) {
        PQ_TRY(add_power(p, pq_graph_op(g, group->ops[i])));
    }
    return PTQC_NO;
}

static void
keep_row(const pq_spare *p, pq_rows *rows, const float *row)
{
    if (rows->count < ROWS_LIMIT) {
        memcpy(rows->x + rows->count++ * p->solver.d, row,
               (size_t)p->solver.d * sizeof *row);
    }
}

static ptqc_status
take(void *user, float *x, int64_t n, const pq_token_weights *w)
{
    pq_spare *p = user;
    int64_t d = p->solver.d;
    int64_t step = n / ROWS_PER_SAMPLE > 0 ? n / ROWS_PER_SAMPLE : 1;
    for (int64_t i = 0; i < n; i++) {
        if (w->outliers[i] != 0) {
            keep_row(p, &p->outlying, x + i * d);
        } else if (i % step == step - 1) {
            keep_row(p, &p->usual, x + i * d);
        }
    }
    return pq_observer_take(&p->observer, x, (uint64_t)(n * d));
}

// ---- measuring ------------------------------------------------------------

// Mean over rows of error / energy; params NULL: a scale for each row.
static double
relative_error(const pq_spare *p, const pq_rows *rows, const pq_params *params,
               const pq_scheme *scheme)
{
    double sum = 0;
    for (int64_t i = 0; i < rows->count; i++) {
        const float *x = rows->x + i * p->solver.d;
        double error = 0, energy = 0;
        float most = 0;
        for (int64_t k = 0; k < p->solver.d; k++) {
            most = fmaxf(most, fabsf(x[k]));
        }
        pq_params q = params != NULL
                          ? *params
                          : pq_params_of_range(-most, most, PTQC_I8, true);
        ptqc_dtype format = params != NULL ? scheme->format : PTQC_I8;
        for (int64_t k = 0; k < p->solver.d; k++) {
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

static bool
falls_back(const double errors[4])
{
    return is_refused(errors[0], errors[1]) || is_refused(errors[2], errors[3]);
}

static ptqc_status
settle(void *user, const pq_stream_group *group, const char **out_note)
{
    pq_spare *p = user;
    const pq_scheme scheme = pq_annotation(p->solver.g, group->x)->scheme;
    float min, max;
    char text[160];
    (void)out_note; // told with its verdict
    if (p->usual.count + p->outlying.count == 0) {
        return PTQC_OK; // nothing was run: a plan
    }
    PQ_TRY(pq_observer_range(&p->observer, &min, &max));
    const pq_params params =
        pq_params_of_range(min, max, scheme.format, scheme.symmetric);
    const double errors[4] = {relative_error(p, &p->usual, &params, &scheme),
                              relative_error(p, &p->usual, NULL, &scheme),
                              relative_error(p, &p->outlying, &params, &scheme),
                              relative_error(p, &p->outlying, NULL, &scheme)};
    const pq_verdict verdict = {falls_back(errors), text};
    (void)snprintf(text, sizeof text,
                   "one scale would give a relative error of %.2g (%.2g on "
                   "%lld tokens that stand out), scales per token %.2g",
                   errors[0], errors[2], (long long)p->outlying.count,
                   errors[1]);
    PQ_TRY(write_verdict(p, group, &verdict));
    return apply(p, group, &verdict);
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
        PQ_TRY(pq_plan_modes(p->solver.g, p->solver.env->recipe,
                             p->solver.env->scratch, &modes));
        for (uint32_t i = 1; i < pq_graph_value_count(p->solver.g); i++) {
            pq_value_id v = {i};
            const pq_quant *q = pq_annotation(p->solver.g, v);
            if (q != NULL && !q->scheme.dynamic &&
                !pq_is_constant(p->solver.g, v) &&
                !is_read_as_codes(p->solver.g, modes, v)) {
                pq_graph_value(p->solver.g, v)->quant = (pq_quant_id){0};
                has_changed = true;
            }
        }
    }
    return PTQC_OK;
}

static bool
has_static_matmul(const pq_spare *p)
{
    PQ_FOR_EACH_OP(p->solver.g, id)
    {
        const pq_op *op = pq_graph_op(p->solver.g, id);
        if (pq_is_product(op->code) &&
            pq_is_constant(p->solver.g, op->inputs[1]) &&
            wants((void *)p, op)) {
            return true;
        }
    }
    return false;
}

ptqc_status
pq_pass_spare_outliers(pq_graph *g, pq_pass_env *env)
{
    static const pq_solver_steps steps = {.name = "outliers",
                                          .wants = wants,
                                          .begin = begin,
                                          .take = take,
                                          .settle = settle};
    pq_spare p = {0};
    if (env->samples == NULL) {
        return PTQC_OK;
    }
    PQ_TRY(pq_solver_init(&p.solver, g, env, &steps, &p));
    ptqc_status st =
        has_static_matmul(&p) ? pq_solver_run(&p.solver, "outliers") : PTQC_OK;
    if (st == PTQC_OK && p.fallback_count > 0) {
        pq_say(pq_graph_ctx(g), PTQC_SEVERITY_WARNING,
               "%u inputs of matmul get scales per token instead of one: a few "
               "tokens would ruin it (see the report)",
               p.fallback_count);
        st = drop_unread(&p);
    }
    pq_observer_deinit(&p.observer);
    pq_solver_deinit(&p.solver);
    return st;
}
