// SPDX-License-Identifier: Apache-2.0
//
// ptqc_compile_plan: the passes of a compile on a graph that is thrown away.
// What needs samples is given none: a runner that shows no value, so that
// activations get scales that mean nothing, and methods that look at data are
// left out. Neither changes which op takes which form, who runs it, or sizes.

#include "ptqc/plan.h"

#include <string.h>

#include "base/checked.h"
#include "base/dtype.h"
#include "base/vec.h"
#include "compiler/adapter.h"
#include "compiler/build.h"
#include "compiler/model.h"
#include "compiler/place.h"
#include "compiler/plan_time.h"
#include "compiler/recipe.h"
#include "compiler/report.h"
#include "passes/calib/samples.h"
#include "passes/match.h"
#include "passes/pipeline.h"
#include "passes/plan.h"

typedef struct pq_planner {
    ptqc_ctx *ctx;
    const ptqc_compile_desc *desc;
    pq_recipe recipe;
    pq_arena arena, scratch;
    pq_graph *graph;
    pq_targets targets;
    pq_placement placement;
    pq_report report;
    ptqc_plan_row *rows; // owned
    uint32_t row_count, row_capacity;
    pq_strmap row_of; // by name
    ptqc_plan_facts facts;
    int64_t *symbols; // of the first sample; NULL: not known
    pq_method method; // that is left out
    pq_plan_work work;
    ptqc_status st; // of the hook
} pq_planner;

// ---- sizes ----------------------------------------------------------------

static uint64_t
least_elements(const pq_graph *g, const pq_type *t)
{
    size_t n = 1;
    for (uint32_t i = 0; i < t->rank; i++) {
        int64_t min, max;
        pq_dim_bounds(g, t->dims[i], &min, &max);
        if (!pq_mul_size(n, min > 0 ? (size_t)min : 1, &n)) {
            return 0; // verified graphs have no such types
        }
    }
    return n;
}

static uint64_t
least_bytes(const pq_graph *g, pq_value_id v)
{
    const pq_type *t = &pq_graph_value(g, v)->type;
    return (least_elements(g, t) * pq_dtype_bits(t->dtype) + 7) / 8;
}

static uint64_t
macs_of(const pq_graph *g, const pq_op *op)
{
    int64_t channels = pq_channel_count(g, op);
    uint64_t w = least_elements(g, &pq_graph_value(g, op->inputs[1])->type);
    uint64_t y = least_elements(g, &pq_graph_value(g, op->outputs[0])->type);
    return channels > 0 ? y * (w / (uint64_t)channels) : 0;
}

// As plugins pack it: codes without gaps.
static uint64_t
stored_bytes(const pq_constant *c)
{
    return ((uint64_t)pq_element_count(c) * pq_dtype_bits(c->dtype) + 7) / 8;
}

// Codes and scales of a weight.
static uint64_t
coded_bytes(const pq_constant *w, const pq_scheme *s)
{
    uint64_t n = (uint64_t)pq_element_count(w);
    uint64_t bytes = (n * pq_dtype_bits(s->format) + 7) / 8;
    uint64_t scales = 1;
    if (s->granularity == PQ_GRAN_GROUP && s->group > 0) {
        scales = (n + s->group - 1) / s->group;
    } else if (s->granularity == PQ_GRAN_CHANNEL && w->rank > s->axis) {
        scales = (uint64_t)w->dims[s->axis];
    }
    return bytes + scales * pq_dtype_bits(pq_scheme_scale_format(s)) / 8;
}

// ---- rows -----------------------------------------------------------------

static const char *
dup_str(pq_planner *p, pq_str s)
{
    const char *text = pq_arena_strndup(&p->arena, s.p, s.n);
    p->st = text == NULL ? PTQC_E_RESOURCE : p->st;
    return text != NULL ? text : "";
}

static const char *
scheme_text(pq_planner *p, const pq_scheme *w, pq_mode mode)
{
    pq_strbuf text;
    pq_strbuf_init(&text, p->ctx);
    pq_product_scheme_print(w, mode, &text);
    const char *out = dup_str(p, (pq_str){text.p, text.n});
    pq_strbuf_deinit(&text);
    return out;
}

static void
fill_product(pq_planner *p, const pq_graph *g, const pq_op *op, pq_mode mode,
             ptqc_plan_row *row)
{
    const pq_op *real = pq_producer(g, op->inputs[1], PQ_OP_DEQUANTIZE);
    pq_value_id v = real != NULL ? real->inputs[0] : op->inputs[1];
    if (!pq_is_constant(g, v)) {
        return;
    }
    const pq_constant *w = pq_graph_constant(g, pq_graph_value(g, v)->constant);
    row->is_product = 1;
    row->macs = macs_of(g, op);
    row->weight_bytes = row->coded_bytes = w->bytes;
    p->facts.product_count++;
    p->facts.macs += row->macs;
    uint64_t floats = (uint64_t)pq_element_count(w) * sizeof(float);
    if (floats > p->facts.largest_weight_bytes) {
        p->facts.largest_weight_bytes = floats;
    }
    if (pq_is_codes(g, v)) {
        row->scheme = "stored";
    } else if (mode != PQ_MODE_FLOAT) {
        const pq_scheme *s = &pq_annotation(g, v)->scheme;
        row->scheme = scheme_text(p, s, mode);
        row->coded_bytes = coded_bytes(w, s);
    }
    if (row->scheme[0] != 'f') { // "float"
        p->facts.coded_product_count++;
        p->facts.coded_macs += row->macs;
    }
}

static ptqc_status
add_row(pq_planner *p, const pq_graph *g, const pq_op *op, pq_mode mode)
{
    void *rows = p->rows;
    PQ_TRY(pq_vec_reserve(p->ctx, &rows, &p->row_capacity,
                          (size_t)p->row_count + 1, sizeof *p->rows));
    p->rows = rows;
    pq_str label = pq_op_label(g, op);
    ptqc_plan_row row = {.name = dup_str(p, label),
                         .op = pq_op_info_of(op->code)->name,
                         .scheme = "float",
                         .target = "",
                         .rule = "",
                         .why = ""};
    if (pq_is_product(op->code)) {
        fill_product(p, g, op, mode, &row);
    } else if (mode == PQ_MODE_STATIC) {
        row.scheme = "codes";
    }
    const pq_op_rule *rule =
        pq_rules_find(p->recipe.rules, pq_graph_value(g, op->outputs[0])->name);
    row.rule = rule != NULL ? rule->place.p : "";
    PQ_TRY(p->st);
    p->facts.op_count++;
    p->rows[p->row_count] = row;
    return pq_strmap_set(&p->row_of, pq_str_of(row.name), p->row_count++, NULL);
}

static ptqc_status
collect(pq_planner *p, const pq_graph *g)
{
    pq_mode *modes;
    PQ_TRY(pq_plan_modes(g, &p->recipe, &p->arena, &modes));
    PQ_FOR_EACH_OP(g, id)
    {
        const pq_op *op = pq_graph_op(g, id);
        bool is_helper =
            op->code == PQ_OP_DEQUANTIZE && pq_is_constant(g, op->inputs[0]);
        if (op->output_count > 0 && op->code != PQ_OP_IDENTITY && !is_helper) {
            PQ_TRY(add_row(p, g, op, modes[id.index]));
        }
    }
    for (uint32_t i = 1; i < pq_graph_value_count(g); i++) {
        pq_value_id v = {i};
        const pq_quant *q = pq_annotation(g, v);
        if (q != NULL && !q->scheme.dynamic && !pq_is_constant(g, v)) {
            p->facts.calibration_bytes += least_bytes(g, v);
        }
    }
    return pq_plan_count_work(g, modes, p->symbols, &p->arena, &p->work);
}

static void
after_pass(void *user, const pq_pass_info *pass, const pq_graph *g, uint64_t ns)
{
    pq_planner *p = user;
    if (p->st == PTQC_OK && strcmp(pass->name, "assign-schemes") == 0) {
        p->st = collect(p, g);
    }
    if (strcmp(pass->name, "scale-weights") == 0) {
        p->facts.weight_seconds = (double)ns * 1e-9;
    }
}

// ---- why ------------------------------------------------------------------

static ptqc_status
add_why(pq_planner *p, pq_str name, const char *what, pq_str why)
{
    uint64_t i;
    if (!pq_strmap_find(&p->row_of, name, &i)) {
        return PTQC_OK;
    }
    ptqc_plan_row *row = &p->rows[i];
    pq_strbuf text;
    pq_strbuf_init(&text, p->ctx);
    pq_strbuf_addf(&text, "%s%s%s: %.*s", row->why,
                   row->why[0] != '\0' ? "; " : "", what, PQ_STR_ARG(why));
    row->why = dup_str(p, (pq_str){text.p, text.n});
    ptqc_status st = text.failed ? PTQC_E_RESOURCE : p->st;
    pq_strbuf_deinit(&text);
    return st;
}

static ptqc_status
add_notes(pq_planner *p)
{
    PQ_TRY(p->report.st);
    for (uint32_t i = 0; i < p->report.note_count; i++) {
        const pq_note *n = &p->report.notes[i];
        PQ_TRY(add_why(p, n->where, dup_str(p, n->what), n->why));
    }
    return PTQC_OK;
}

static ptqc_status
add_declines(pq_planner *p)
{
    for (uint32_t i = 0; i < p->placement.decline_count; i++) {
        const pq_decline *d = &p->placement.declines[i];
        const pq_target *t = &p->targets.all[d->target];
        const pq_op *op = pq_graph_op(p->graph, d->op);
        if (t->is_asked) {
            PQ_TRY(add_why(p, pq_op_label(p->graph, op), t->plugin->name,
                           pq_str_of(d->reason)));
        }
    }
    return PTQC_OK;
}

static void
add_targets(pq_planner *p)
{
    PQ_FOR_EACH_OP(p->graph, id)
    {
        uint64_t i;
        pq_str label = pq_op_label(p->graph, pq_graph_op(p->graph, id));
        if (pq_strmap_find(&p->row_of, label, &i)) {
            p->rows[i].target =
                p->targets.all[p->placement.target_of[id.index]].plugin->name;
        }
    }
}

// ---- memory ---------------------------------------------------------------

// Constants of the result, each once, with their scales.
static ptqc_status
count_constants(pq_planner *p)
{
    const pq_graph *g = p->graph;
    bool *seen =
        pq_arena_array(&p->arena, pq_graph_constant_count(g), sizeof *seen);
    PQ_TRY_ALLOC(seen);
    for (uint32_t i = 1; i < pq_graph_value_count(g); i++) {
        const pq_value *v = pq_graph_value(g, (pq_value_id){i});
        const pq_quant *q = pq_graph_quant(g, v->quant);
        const pq_const_id all[] = {v->constant,
                                   q != NULL ? q->scale : (pq_const_id){0}};
        for (size_t k = 0; v->use_count > 0 && k < 2; k++) {
            const pq_constant *c = pq_graph_constant(g, all[k]);
            if (!pq_const_is_none(v->constant) && c != NULL &&
                !seen[all[k].index]) {
                seen[all[k].index] = true;
                p->facts.constant_bytes += stored_bytes(c);
            }
        }
    }
    return PTQC_OK;
}

// The most that results of ops take together, each until its last use.
static ptqc_status
count_activations(pq_planner *p)
{
    const pq_graph *g = p->graph;
    uint32_t *uses =
        pq_arena_array(&p->arena, pq_graph_value_count(g), sizeof *uses);
    uint64_t live = 0;
    PQ_TRY_ALLOC(uses);
    PQ_FOR_EACH_OP(g, id)
    {
        const pq_op *op = pq_graph_op(g, id);
        for (uint32_t i = 0; i < op->output_count; i++) {
            live += least_bytes(g, op->outputs[i]);
        }
        if (live > p->facts.activation_bytes) {
            p->facts.activation_bytes = live;
        }
        for (uint32_t i = 0; i < op->input_count; i++) {
            pq_value_id v = op->inputs[i];
            bool is_last = !pq_value_is_none(v) &&
                           ++uses[v.index] == pq_graph_value(g, v)->use_count;
            if (is_last && !pq_op_is_none(pq_producer_id(g, v)) &&
                !pq_value_is_output(g, v)) {
                live -= least_bytes(g, v);
            }
        }
    }
    return PTQC_OK;
}

// ---- a compile that does nothing ------------------------------------------

static ptqc_status
no_sample(void *user, uint64_t index, pq_tensor *tensors, uint32_t count)
{
    (void)user;
    for (uint32_t i = 0; i < count; i++) {
        tensors[i] = (pq_tensor){0};
    }
    return index == 0 ? PTQC_OK : PTQC_NO;
}

static ptqc_status
run_nothing(pq_runner *r, const pq_tensor *inputs, pq_observe_fn observe,
            void *user)
{
    (void)r;
    (void)inputs;
    (void)observe;
    (void)user;
    return PTQC_OK;
}

static void
destroy_nothing(pq_runner *r)
{
    (void)r;
}

static ptqc_status
make_nothing(void *user, pq_graph *g, const pq_value_id *watched,
             uint32_t watched_count, pq_runner **out)
{
    (void)g;
    (void)watched;
    (void)watched_count;
    *out = user;
    return PTQC_OK;
}

static ptqc_status
run_passes(pq_planner *p, uint32_t flags)
{
    const pq_pipeline_desc hook = {.hook = after_pass, .hook_user = p};
    pq_runner nothing = {.run = run_nothing, .destroy = destroy_nothing};
    const pq_samples samples = {.get = no_sample, .limit = 1};
    bool is_static = pq_recipe_is_static(&p->recipe);
    pq_pass_env env = {.scratch = &p->scratch,
                       .recipe = &p->recipe,
                       .caps = &p->targets.caps,
                       .samples = is_static ? &samples : NULL,
                       .make_runner = make_nothing,
                       .runner_user = &nothing,
                       .note = pq_report_note,
                       .note_user = &p->report,
                       .wants_reasons = true};
    bool only_schemes = (flags & PTQC_PLAN_SCHEMES) != 0;
    PQ_TRY(only_schemes ? pq_pipeline_assign(&p->graph, &env, &hook)
                        : pq_pipeline_compile(&p->graph, &env, &hook));
    PQ_TRY(p->st);
    if (p->row_count == 0) { // there was no scheme to assign
        PQ_TRY(collect(p, p->graph));
    }
    return PTQC_OK;
}

static void
guess_time(pq_planner *p)
{
    uint64_t there = p->desc->sample_count;
    uint64_t limit = p->recipe.sample_limit;
    if (!p->facts.has_method && !pq_recipe_is_static(&p->recipe)) {
        return;
    }
    p->facts.sample_count =
        there > 0 && (there < limit || limit == 0) ? there : limit;
    p->facts.calibration_seconds =
        pq_plan_guess(&p->work, &p->recipe, &p->method,
                      (double)p->facts.sample_count) /
        (double)ptqc_ctx_threads(p->ctx);
}

// The shapes of the first sample, when there is one.
static ptqc_status
look_at_sample(pq_planner *p)
{
    pq_sample_adapter adapter;
    if (p->desc->samples == NULL) {
        return PTQC_OK;
    }
    PQ_TRY(pq_sample_adapter_init(&adapter, &p->arena, p->desc->samples,
                                  p->desc->samples_user,
                                  pq_graph_input_count(p->graph)));
    const pq_samples samples = {
        .get = pq_sample_adapter_get, .user = &adapter, .limit = 1};
    const pq_pass_env env = {.scratch = &p->arena, .samples = &samples};
    ptqc_status st = pq_sample_symbols(p->graph, &env, &p->symbols);
    return st == PTQC_NO ? PTQC_OK : st;
}

static ptqc_status
plan(pq_planner *p, const ptqc_model *model, uint32_t flags)
{
    pq_graph *graph;
    PQ_TRY(pq_recipe_of_desc(p->ctx, p->desc, &p->arena, &p->recipe));
    PQ_TRY(pq_recipe_check_use(p->ctx, p->desc, &p->recipe));
    p->facts.has_method = pq_recipe_streams(&p->recipe, NULL);
    pq_recipe_steps(&p->recipe, &p->method);
    p->recipe.method = PQ_STR("rtn");
    for (uint32_t i = 0; p->recipe.rules != NULL && i < p->recipe.rules->count;
         i++) {
        p->recipe.rules->rules[i].sets &= ~(uint32_t)PQ_SETS_METHOD;
    }
    PQ_TRY(pq_targets_open(p->ctx, p->desc->target, &p->desc->backends,
                           &p->targets));
    PQ_TRY(pq_model_graph(p->ctx, model->import, &graph));
    PQ_TRY(pq_graph_clone(graph, false, &p->graph));
    p->facts.weight_bytes = model->import->weight_bytes;
    PQ_TRY(look_at_sample(p));
    PQ_TRY(run_passes(p, flags));
    PQ_TRY(add_notes(p));
    if ((flags & PTQC_PLAN_SCHEMES) != 0) {
        return PTQC_OK;
    }
    PQ_TRY(pq_separate_outputs(p->graph));
    PQ_TRY(pq_place(p->graph, &p->targets, &p->placement));
    PQ_TRY(add_declines(p));
    add_targets(p);
    guess_time(p);
    PQ_TRY(count_constants(p));
    return count_activations(p);
}

// Deviations stand in the rows: only errors are said, too.
typedef struct pq_quiet {
    ptqc_diag_fn fn;
    void *user;
} pq_quiet;

static void
say_errors(void *user, ptqc_severity severity, ptqc_status status,
           const char *text)
{
    const pq_quiet *q = user;
    if (severity == PTQC_SEVERITY_ERROR && q->fn != NULL) {
        q->fn(q->user, severity, status, text);
    }
}

ptqc_status
ptqc_compile_plan(ptqc_ctx *ctx, ptqc_model *model,
                  const ptqc_compile_desc *desc, uint32_t flags,
                  ptqc_plan_fn fn, void *user, ptqc_plan_facts *out)
{
    static const ptqc_compile_desc defaults;
    pq_planner p = {.ctx = ctx, .desc = desc != NULL ? desc : &defaults};
    pq_arena_init(&p.arena, ctx);
    pq_arena_init(&p.scratch, ctx);
    pq_report_init(&p.report, ctx);
    pq_strmap_init(&p.row_of, ctx);
    pq_quiet quiet = {.fn = say_errors, .user = &quiet};
    pq_ctx_swap_diag(ctx, &quiet.fn, &quiet.user);
    ptqc_status st = plan(&p, model, flags);
    pq_ctx_swap_diag(ctx, &quiet.fn, &quiet.user);
    for (uint32_t i = 0; st == PTQC_OK && fn != NULL && i < p.row_count; i++) {
        fn(user, &p.rows[i]);
    }
    if (st == PTQC_OK) {
        *out = p.facts;
    }
    pq_placement_deinit(&p.placement);
    pq_targets_close(&p.targets);
    pq_graph_destroy(p.graph);
    pq_recipe_deinit(&p.recipe);
    pq_strmap_deinit(&p.row_of);
    pq_report_deinit(&p.report);
    pq_free(ctx, p.rows);
    pq_arena_deinit(&p.scratch);
    pq_arena_deinit(&p.arena);
    return st;
}

const char *
ptqc_scheme_word(uint32_t i)
{
    return pq_scheme_word_at(i);
}
