// SPDX-License-Identifier: Apache-2.0
//
// Ranges that clip, see clips.h.

#include "passes/calib/clips.h"

#include "passes/calib/matrix.h"
#include "passes/match.h"
#include "passes/plan.h"
#include "quant/rows.h"

// ---- which products -------------------------------------------------------

// Ops between a product and the scores that it has a part in; a residual
// stream has two users each, so few steps bound the walk.
enum { SCORE_DEPTH = 8 };

static bool becomes_scores(const pq_graph *g, pq_value_id v, int depth);

static bool
is_scored_by(const pq_graph *g, const pq_op *op, pq_value_id v, int depth)
{
    switch ((int)op->code) {
    case PQ_OP_ATTENTION:
        return pq_value_equal(op->inputs[0], v) ||
               pq_value_equal(op->inputs[1], v);
    case PQ_OP_SOFTMAX:
        return true;
    case PQ_OP_MATMUL:
        return !pq_is_constant(g, op->inputs[1]) &&
               becomes_scores(g, op->outputs[0], depth - 1);
    case PQ_OP_RESHAPE:
    case PQ_OP_TRANSPOSE:
    case PQ_OP_ROPE:
    case PQ_OP_RMS_NORM:
    case PQ_OP_LAYER_NORM:
    case PQ_OP_KV_UPDATE:
    case PQ_OP_KV_UPDATE_CODES:
    case PQ_OP_ADD:
    case PQ_OP_MUL:
        return becomes_scores(g, op->outputs[0], depth - 1);
    default:
        return false;
    }
}

static bool
becomes_scores(const pq_graph *g, pq_value_id v, int depth)
{
    for (const pq_use *u = pq_value_uses(g, v); u != NULL && depth > 0;
         u = u->next) {
        if (is_scored_by(g, pq_graph_op(g, u->op), v, depth)) {
            return true;
        }
    }
    return false;
}

bool
pq_may_clip(const pq_graph *g, const pq_op *op)
{
    return pq_annotation(g, op->inputs[1])->scheme.granularity !=
               PQ_GRAN_TENSOR &&
           !becomes_scores(g, op->outputs[0], SCORE_DEPTH);
}

static bool
wants(const pq_clips *c, pq_op_id id)
{
    const pq_graph *g = c->solver->g;
    const pq_op *op = pq_graph_op(g, id);
    const pq_method *method = &c->solver->method;
    return method->clips && !(method->does_gptq && method->gptq_clips) &&
           c->solver->env->stats == NULL && !c->is_static[id.index] &&
           pq_may_clip(g, op);
}

bool
pq_clips_want(const pq_clips *c, const pq_stream_group *group)
{
    bool does = false;
    for (uint32_t i = 0; i < group->op_count; i++) {
        does |= wants(c, group->ops[i]);
    }
    return does;
}

// ---- finding --------------------------------------------------------------

ptqc_status
pq_clips_init(pq_clips *c, pq_solver *solver)
{
    pq_graph *g = solver->g;
    const pq_pass_env *env = solver->env;
    pq_mode *modes;
    uint32_t count = pq_graph_op_count(g);
    *c = (pq_clips){.solver = solver, .arena = env->scratch};
    c->checkpoint = pq_checkpoint_of(pq_graph_ctx(g), env, "clip");
    bool *is_static = pq_arena_array(c->arena, count, sizeof *is_static);
    c->steps = pq_arena_array(c->arena, count, sizeof *c->steps);
    PQ_TRY_ALLOC(is_static);
    PQ_TRY_ALLOC(c->steps);
    PQ_TRY(pq_plan_modes(g, env->recipe, c->arena, &modes));
    for (uint32_t i = 0; i < count; i++) {
        is_static[i] = modes[i] == PQ_MODE_STATIC;
    }
    c->is_static = is_static;
    return PTQC_OK;
}

// A unit for each product; without bytes where the range stays.
static ptqc_status
make_units(const pq_clips *c, const pq_stream_group *group,
           pq_unit_weight **out)
{
    pq_unit_weight *units =
        pq_arena_array(&c->solver->arena, group->op_count, sizeof *units);
    PQ_TRY_ALLOC(units);
    for (uint32_t i = 0; i < group->op_count; i++) {
        const pq_op *op = pq_graph_op(c->solver->g, group->ops[i]);
        pq_matrix_size size;
        PQ_TRY(pq_matrix_measure(c->solver->g, op, &size));
        units[i].code_bytes = wants(c, group->ops[i]) ? size.scale_count : 0;
    }
    *out = units;
    return PTQC_OK;
}

static ptqc_status
take_units(pq_clips *c, const pq_stream_group *group,
           const pq_unit_weight *units)
{
    for (uint32_t i = 0; i < group->op_count; i++) {
        const pq_unit_weight *u = &units[i];
        if (u->code_bytes > 0) {
            uint8_t *steps = pq_arena_memdup(c->arena, u->codes, u->code_bytes);
            PQ_TRY_ALLOC(steps);
            c->steps[group->ops[i].index] = steps;
        }
    }
    return PTQC_OK;
}

ptqc_status
pq_clips_read(pq_clips *c, const pq_stream_group *group, const char **out_note)
{
    pq_unit_weight *units;
    pq_map map;
    if (c->checkpoint.dir == NULL) {
        return PTQC_NO;
    }
    PQ_TRY(make_units(c, group, &units));
    PQ_TRY(pq_unit_read(&c->checkpoint, group->index, units, group->op_count,
                        &map));
    *out_note = pq_arena_strndup(c->arena, units[0].note.p, units[0].note.n);
    ptqc_status st =
        *out_note != NULL ? take_units(c, group, units) : PTQC_E_RESOURCE;
    pq_map_close(&map);
    return st;
}

// h of inputs / s.
static void
divide_moments(pq_moments *m, const float *s)
{
    for (int64_t i = 0; i < m->d; i++) {
        for (int64_t j = 0; j <= i; j++) {
            m->h[i * m->d + j] /= s[i] * s[j];
        }
    }
}

static ptqc_status
find(pq_clips *c, pq_op_id id, const pq_consumer *weight, const float *s,
     pq_clip_report *report)
{
    const pq_solver *solver = c->solver;
    const pq_op *op = pq_graph_op(solver->g, id);
    const pq_scheme scheme = pq_matrix_scheme(solver->g, op);
    int64_t d = solver->d;
    pq_clip_report own;
    pq_arena local;
    pq_arena_init(&local, pq_graph_ctx(solver->g));
    ptqc_status st = PTQC_E_RESOURCE;
    float *w = pq_arena_array(&local, (size_t)(weight->rows * d), sizeof *w);
    pq_weights view = pq_rows_view(w, weight->rows, d, &scheme);
    uint8_t *steps =
        pq_arena_alloc(c->arena, (size_t)pq_weights_scale_count(&view));
    if (w != NULL && steps != NULL) {
        for (int64_t i = 0; i < weight->rows * d; i++) {
            w[i] = weight->w[i] * s[i % d];
        }
        view.search =
            pq_recipe_settings(solver->env->recipe, solver->g, op).scale_search;
        st = pq_clip_search(pq_graph_ctx(solver->g), &view, solver->moments.h,
                            steps);
    }
    if (st == PTQC_OK) {
        st = pq_clip_judge(pq_graph_ctx(solver->g), &view, solver->moments.h,
                           steps, &own);
    }
    pq_arena_deinit(&local);
    PQ_TRY(st);
    c->steps[id.index] = steps;
    report->loss_before += own.loss_before;
    report->loss += own.loss;
    report->clipped_count += own.clipped_count;
    return PTQC_OK;
}

ptqc_status
pq_clips_find(pq_clips *c, const pq_stream_group *group,
              const pq_consumer *weights, const float *s,
              pq_clip_report *report)
{
    divide_moments(&c->solver->moments, s);
    for (uint32_t i = 0; i < group->op_count; i++) {
        if (wants(c, group->ops[i])) {
            PQ_TRY(find(c, group->ops[i], &weights[i], s, report));
        }
    }
    return PTQC_OK;
}

ptqc_status
pq_clips_keep(const pq_clips *c, const pq_stream_group *group, const char *note)
{
    pq_unit_weight *units;
    if (c->checkpoint.dir == NULL) {
        return PTQC_OK;
    }
    PQ_TRY(make_units(c, group, &units));
    for (uint32_t i = 0; i < group->op_count; i++) {
        units[i].codes = c->steps[group->ops[i].index];
    }
    units[0].note = pq_str_of(note);
    return pq_unit_write(&c->checkpoint, group->index, units, group->op_count);
}

// ---- applying -------------------------------------------------------------

static ptqc_status
apply(const pq_clips *c, pq_op_id id, pq_arena *local)
{
    pq_graph *g = c->solver->g;
    const pq_op *op = pq_graph_op(g, id);
    const pq_scheme scheme = pq_matrix_scheme(g, op);
    pq_matrix_size size;
    const float *w;
    PQ_TRY(pq_matrix_measure(g, op, &size));
    PQ_TRY(pq_matrix_read(g, op, local, &w));
    float *scales = pq_arena_array(local, size.scale_count, sizeof *scales);
    int32_t *zeros = pq_arena_array(local, size.scale_count, sizeof *zeros);
    PQ_TRY_ALLOC(scales);
    PQ_TRY_ALLOC(zeros);
    pq_weights view = pq_rows_view(w, size.rows, size.cols, &scheme);
    view.search =
        pq_recipe_settings(c->solver->env->recipe, g, op).scale_search;
    pq_clip_params(&view, c->steps[id.index], scales, zeros);
    return pq_matrix_annotate(g, op, scales, zeros);
}

ptqc_status
pq_clips_apply(const pq_clips *c)
{
    PQ_FOR_EACH_OP(c->solver->g, id)
    {
        pq_arena local;
        if (c->steps[id.index] == NULL) {
            continue;
        }
        pq_arena_init(&local, pq_graph_ctx(c->solver->g));
        ptqc_status st = apply(c, id, &local);
        pq_arena_deinit(&local);
        PQ_TRY(st);
    }
    return PTQC_OK;
}
