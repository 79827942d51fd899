// SPDX-License-Identifier: Apache-2.0
//
// GPTQ over a whole model (quant/gptq.h has the mathematics): the samples go
// through the graph piece by piece, true-sequential (calib/stream.h); products
// that read one value share its Gram matrix. Attention sinks weigh more in it
// (calib/sinks.h). Annotates weights with scales, zero points and codes;
// arithmetic stays as it is. Other products than matmul, and float formats,
// keep their rounding to nearest.
//
// Codes lie in checkpoint files (calib/checkpoint.h) when the compile has a
// folder for them, else in the graph.

#include "quant/gptq.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/dtype.h"
#include "passes/calib/clips.h"
#include "passes/calib/matrix.h"
#include "passes/calib/solver.h"
#include "passes/match.h"
#include "passes/plan.h"
#include "passes/registry.h"
#include "quant/rows.h"

typedef struct pq_gptq_pass {
    pq_solver solver;
    const pq_mode *modes;
    pq_unit_weight *units; // [op_count] of the group at hand
} pq_gptq_pass;

static bool
wants(void *user, const pq_op *op)
{
    const pq_gptq_pass *p = user;
    const pq_graph *g = p->solver.g;
    pq_method method;
    return pq_is_matrix_product(g, op) &&
           pq_method_of_op(g, p->solver.env->recipe, op, &method) &&
           method.does_gptq &&
           !pq_dtype_is_float(pq_annotation(g, op->inputs[1])->scheme.format);
}

static bool
wants_real(const pq_method *method)
{
    return method->does_gptq && method->is_asymmetric;
}

// ---- solving --------------------------------------------------------------

// What the report tells of one weight.
static ptqc_status
tell(pq_gptq_pass *p, const pq_factor_report *f, const pq_gptq_report *r,
     pq_str *out)
{
    char text[256];
    double share = r->rounding_loss > 0 ? r->loss / r->rounding_loss : 1;
    int n = snprintf(
        text, sizeof text,
        "output error %.3f of rounding's; damping %.3g%s; %lld "
        "inputs never active; %llu sink tokens, %llu of them by attention",
        share, (double)f->damping,
        f->is_plain ? " did not suffice: rounded to nearest" : "",
        (long long)f->dead_count, (unsigned long long)p->solver.sinks.count,
        (unsigned long long)p->solver.sinks.attended_count);
    if (p->solver.moments.bad_count > 0 && n > 0 && (size_t)n < sizeof text) {
        (void)snprintf(text + n, sizeof text - (size_t)n,
                       "; %llu tokens with infinities or NaN left out",
                       (unsigned long long)p->solver.moments.bad_count);
    }
    out->p = pq_arena_strndup(&p->solver.arena, text, strlen(text));
    out->n = strlen(text);
    return out->p != NULL ? PTQC_OK : PTQC_E_RESOURCE;
}

// Ranges that clip by the output error of rounding (pq_clip_search): their
// scales. What they cut off the later columns make up for.
static ptqc_status
clip(pq_gptq_pass *p, const pq_matrix_size *size, pq_gptq_desc *desc)
{
    pq_arena *arena = &p->solver.arena;
    const pq_moments *m = &p->solver.moments;
    pq_weights view = pq_rows_view(desc->w, size->rows, m->d, &desc->scheme);
    float *importance = pq_arena_array(arena, (size_t)m->d, sizeof *importance);
    float *scales = pq_arena_array(arena, size->scale_count, sizeof *scales);
    int32_t *zeros = pq_arena_array(arena, size->scale_count, sizeof *zeros);
    uint8_t *steps = pq_arena_alloc(arena, size->scale_count);
    float most = 0;
    PQ_TRY_ALLOC(importance);
    PQ_TRY_ALLOC(scales);
    PQ_TRY_ALLOC(zeros);
    PQ_TRY_ALLOC(steps);
    for (int64_t i = 0; i < m->d; i++) {
        most = fmaxf(most, m->h[i * m->d + i]);
    }
    for (int64_t i = 0; i < m->d; i++) {
        importance[i] = m->h[i * m->d + i] / most;
    }
    view.search = desc->search;
    view.importance = importance;
    PQ_TRY(pq_clip_search(pq_graph_ctx(p->solver.g), &view, m->h, steps));
    pq_clip_params(&view, steps, scales, zeros);
    desc->scales = scales;
    desc->zero_points = zeros;
    return PTQC_OK;
}

// Whether all numbers that a clip search looks at are numbers; gptq itself
// gets by without.
static bool
is_usable(const pq_moments *m, const float *w, int64_t rows)
{
    float most = 0;
    bool is_finite = true;
    for (int64_t i = 0; i < m->d; i++) {
        most = fmaxf(most, m->h[i * m->d + i]);
        is_finite &= isfinite(m->h[i * m->d + i]) != 0;
    }
    for (int64_t i = 0; i < rows * m->d; i++) {
        is_finite &= isfinite(w[i]) != 0;
    }
    return is_finite && most > 0;
}

// Scales that are not gptq's own choice: with static activations those that
// leave room for the bias, else those that clip.
static ptqc_status
choose_scales(pq_gptq_pass *p, pq_op_id id, const pq_matrix_size *size,
              pq_gptq_desc *desc)
{
    const pq_graph *g = p->solver.g;
    const pq_op *op = pq_graph_op(g, id);
    const pq_quant *q = pq_annotation(g, op->inputs[1]);
    if (p->modes[id.index] == PQ_MODE_STATIC) {
        if (!pq_const_is_none(q->scale)) {
            desc->scales = pq_graph_constant(g, q->scale)->p;
            desc->zero_points = pq_graph_constant(g, q->zero_point)->p;
            desc->keeps_scales = true;
        }
        return PTQC_OK;
    }
    return p->solver.method.gptq_clips && pq_may_clip(g, op) &&
                   is_usable(&p->solver.moments, desc->w, size->rows)
               ? clip(p, size, desc)
               : PTQC_OK;
}

static ptqc_status
solve(pq_gptq_pass *p, pq_op_id id, const pq_factor *factor,
      pq_unit_weight *unit)
{
    ptqc_ctx *ctx = pq_graph_ctx(p->solver.g);
    const pq_op *op = pq_graph_op(p->solver.g, id);
    pq_matrix_size size;
    pq_gptq_report report;
    PQ_TRY(pq_matrix_measure(p->solver.g, op, &size));
    size_t elements = (size_t)(size.rows * size.cols);
    float *scales =
        pq_arena_array(&p->solver.arena, size.scale_count, sizeof *scales);
    int32_t *zeros =
        pq_arena_array(&p->solver.arena, size.scale_count, sizeof *zeros);
    uint8_t *codes = pq_arena_alloc(&p->solver.arena, elements);
    PQ_TRY_ALLOC(scales);
    PQ_TRY_ALLOC(zeros);
    PQ_TRY_ALLOC(codes);
    pq_str label = pq_op_label(p->solver.g, op);
    pq_gptq_desc desc = {
        .name = pq_arena_strndup(&p->solver.arena, label.p, label.n),
        .rows = size.rows,
        .h = p->solver.moments.h,
        .cross = p->solver.cross,
        .blend = (float)p->solver.method.blend,
        .scheme = pq_matrix_scheme(p->solver.g, op),
        .search = pq_recipe_settings(p->solver.env->recipe, p->solver.g, op)
                      .scale_search,
        .polish_sweeps = p->solver.method.polish,
    };
    PQ_TRY_ALLOC(desc.name);
    PQ_TRY(pq_matrix_read(p->solver.g, op, &p->solver.arena, &desc.w));
    PQ_TRY(choose_scales(p, id, &size, &desc));
    PQ_TRY(pq_gptq_solve(ctx, factor, &desc, scales, zeros, codes, &report));
    unit->scales = scales;
    unit->zero_points = zeros;
    PQ_TRY(
        pq_matrix_pack(p->solver.g, op, codes, &p->solver.arena, &unit->codes));
    return tell(p, pq_factor_get_report(factor), &report, &unit->note);
}

// Groups of one group size share their columns' order; other granularities
// take all columns as one.
static int64_t
order_group(const pq_gptq_pass *p, const pq_stream_group *group)
{
    const pq_op *op = pq_graph_op(p->solver.g, group->ops[0]);
    return pq_annotation(p->solver.g, op->inputs[1])->scheme.group;
}

static ptqc_status
solve_group(pq_gptq_pass *p, const pq_stream_group *group)
{
    ptqc_ctx *ctx = pq_graph_ctx(p->solver.g);
    pq_factor *factor = NULL;
    pq_str label =
        pq_op_label(p->solver.g, pq_graph_op(p->solver.g, group->ops[0]));
    const pq_factor_desc desc = {
        .name = pq_arena_strndup(&p->solver.arena, label.p, label.n),
        .h = p->solver.moments.h,
        .d = p->solver.moments.d,
        .tokens = (double)p->solver.moments.token_count,
        .damping = (float)p->solver.method.damping,
        .order = (pq_column_order)p->solver.method.order,
        .group = order_group(p, group),
        .is_warned = p->solver.is_warned,
    };
    PQ_TRY_ALLOC(desc.name);
    ptqc_status st = pq_factor_create(ctx, &desc, &factor);
    p->solver.is_warned |=
        st == PTQC_OK && pq_factor_get_report(factor)->tokens_needed > 0;
    for (uint32_t i = 0; i < group->op_count && st == PTQC_OK; i++) {
        st = solve(p, group->ops[i], factor, &p->units[i]);
    }
    pq_factor_destroy(ctx, factor);
    return st;
}

// ---- the graph's annotations ----------------------------------------------

// The codes as a constant of the graph; `unit` lives as long as it.
static ptqc_status
annotate(pq_gptq_pass *p, pq_op_id id, const pq_unit_weight *unit)
{
    pq_graph *g = p->solver.g;
    const pq_op *op = pq_graph_op(g, id);
    pq_value *value = pq_graph_value(g, op->inputs[1]);
    pq_constant codes = *pq_graph_constant(g, value->constant);
    PQ_TRY(pq_matrix_annotate(g, op, unit->scales, unit->zero_points));
    pq_quant q = *pq_graph_quant(g, value->quant);
    codes.dtype = q.scheme.format;
    codes.p = unit->codes;
    codes.bytes = unit->code_bytes;
    q.codes = pq_graph_add_constant(g, &codes);
    value->quant = pq_graph_add_quant(g, &q);
    if (pq_const_is_none(q.codes) || pq_quant_is_none(value->quant)) {
        return pq_graph_failure(g);
    }
    if (p->solver.env->note != NULL) {
        const char *why =
            pq_arena_strndup(&p->solver.arena, unit->note.p, unit->note.n);
        PQ_TRY_ALLOC(why);
        p->solver.env->note(p->solver.env->note_user, pq_op_label(g, op),
                            "gptq", why);
    }
    return PTQC_OK;
}

static ptqc_status
annotate_all(pq_gptq_pass *p, const pq_stream_group *group)
{
    for (uint32_t i = 0; i < group->op_count; i++) {
        PQ_TRY(annotate(p, group->ops[i], &p->units[i]));
    }
    return PTQC_OK;
}

static ptqc_status
read_checkpoint(pq_gptq_pass *p, const pq_stream_group *group)
{
    pq_map map;
    PQ_TRY(pq_unit_read(&p->solver.checkpoint, group->index, p->units,
                        group->op_count, &map));
    ptqc_status st = pq_graph_adopt_map(p->solver.g, map);
    if (st != PTQC_OK) {
        pq_map_close(&map);
        return st;
    }
    return annotate_all(p, group);
}

// Without a checkpoint the codes move into the graph.
static ptqc_status
own_codes(pq_gptq_pass *p, const pq_stream_group *group)
{
    for (uint32_t i = 0; i < group->op_count; i++) {
        p->units[i].codes =
            pq_arena_memdup(pq_graph_arena(p->solver.g), p->units[i].codes,
                            p->units[i].code_bytes);
        PQ_TRY_ALLOC(p->units[i].codes);
    }
    return annotate_all(p, group);
}

static ptqc_status
keep_units(pq_gptq_pass *p, const pq_stream_group *group)
{
    if (p->solver.checkpoint.dir == NULL) {
        return own_codes(p, group);
    }
    PQ_TRY(pq_unit_write(&p->solver.checkpoint, group->index, p->units,
                         group->op_count));
    ptqc_status st = read_checkpoint(p, group);
    return st != PTQC_NO ? st
                         : PQ_FAIL(pq_graph_ctx(p->solver.g), PTQC_E_IO,
                                   "a checkpoint does not read as written");
}

// ---- the steps ------------------------------------------------------------

static ptqc_status
begin(void *user, const pq_stream_group *group, const char **out_note)
{
    pq_gptq_pass *p = user;
    (void)out_note; // each product has a note of its own
    p->units =
        pq_arena_array(&p->solver.arena, group->op_count, sizeof *p->units);
    PQ_TRY_ALLOC(p->units);
    for (uint32_t i = 0; i < group->op_count; i++) {
        const pq_op *op = pq_graph_op(p->solver.g, group->ops[i]);
        pq_matrix_size size;
        PQ_TRY(pq_matrix_measure(p->solver.g, op, &size));
        p->units[i].scale_count = size.scale_count;
        p->units[i].zero_count = size.scale_count;
        p->units[i].code_bytes = size.code_bytes;
    }
    return p->solver.checkpoint.dir != NULL ? read_checkpoint(p, group)
                                            : PTQC_NO;
}

static ptqc_status
settle(void *user, const pq_stream_group *group, const char **out_note)
{
    pq_gptq_pass *p = user;
    (void)out_note;
    PQ_TRY(solve_group(p, group));
    return keep_units(p, group);
}

ptqc_status
pq_pass_gptq(pq_graph *g, pq_pass_env *env)
{
    static const pq_solver_steps steps = {.name = "gptq",
                                          .wants = wants,
                                          .wants_real = wants_real,
                                          .begin = begin,
                                          .settle = settle};
    pq_gptq_pass p = {0};
    pq_mode *modes;
    PQ_TRY(pq_plan_modes(g, env->recipe, env->scratch, &modes));
    p.modes = modes;
    PQ_TRY(pq_solver_init(&p.solver, g, env, &steps, &p));
    ptqc_status st = pq_solver_run(&p.solver, "gptq");
    pq_solver_deinit(&p.solver);
    return st;
}
