// SPDX-License-Identifier: Apache-2.0
//
// ptqc_diff: three runs per sample. The local graph gives the float model's
// results and those of each layer's codes on float inputs; the graph of codes
// (quantize and dequantize around float arithmetic) the cumulative ones; the
// compiled graph, or the artifact, the outputs.

#include "ptqc/diff.h"

#include <math.h>
#include <string.h>

#include "base/dtype.h"
#include "compiler/adapter.h"
#include "compiler/diff_graph.h"
#include "compiler/model.h"
#include "compiler/recipe.h"
#include "compiler/runner.h"
#include "compiler/statistics.h"
#include "compiler/targets.h"
#include "passes/match.h"
#include "passes/pipeline.h"

// Sums over pairs of an exact and an approximate number.
typedef struct pq_error_sums {
    double xx, yy, xy, ee, largest;
    uint64_t count;
} pq_error_sums;

// What was shown of one sample, copied.
typedef struct pq_shown {
    float *p; // owned; NULL: nothing yet, or no f32
    size_t count, room;
    int64_t last_dim;
} pq_shown;

typedef struct pq_diff {
    ptqc_ctx *ctx;
    const ptqc_diff_desc *desc;
    pq_recipe recipe;
    pq_stats *stats; // NULL: none
    pq_arena arena, scratch;
    pq_targets targets;
    pq_graph *real, *coded, *local, *compiled; // NULL: not wanted
    pq_runner *real_runner, *coded_runner, *compiled_runner;
    ptqc_session *session; // of the artifact
    pq_layer *layers;
    uint32_t layer_count;
    pq_error_sums *cumulative, *by_layer; // [layer_count]
    pq_shown *exact, *own;                // [layer_count] of one sample
    uint32_t output_count;
    pq_error_sums *outputs;                // [output_count]
    pq_shown *output_exact, *output_coded; // [output_count]
    double *kl;                            // [output_count] sums
    uint64_t *rows, *agreeing;             // [output_count]
    uint64_t sample_count;
    uint32_t *real_slot, *coded_slot; // [values of the graph] layer + 1
    uint32_t *local_slot;             // [values] layer + 1 of `local` values
} pq_diff;

// ---- sums -----------------------------------------------------------------

static void
add_errors(pq_error_sums *s, const pq_shown *exact, const pq_shown *other)
{
    if (exact->count != other->count) {
        return;
    }
    for (size_t i = 0; i < exact->count; i++) {
        double x = (double)exact->p[i];
        double y = (double)other->p[i];
        s->xx += x * x;
        s->yy += y * y;
        s->xy += x * y;
        s->ee += (x - y) * (x - y);
        s->largest = fmax(s->largest, fabs(x - y));
    }
    s->count += exact->count;
}

static double
sqnr_db(double signal, double error, uint64_t count)
{
    if (count == 0) {
        return (double)NAN;
    }
    return error == 0 ? (double)INFINITY : 10 * log10(signal / error);
}

static double
cosine_of(const pq_error_sums *s)
{
    if (s->count == 0) {
        return (double)NAN;
    }
    return s->xx == 0 && s->yy == 0   ? 1
           : s->xx == 0 || s->yy == 0 ? 0
                                      : s->xy / (sqrt(s->xx) * sqrt(s->yy));
}

// ---- distributions --------------------------------------------------------

static bool
is_distribution(const float *x, int64_t n)
{
    double sum = 0;
    for (int64_t i = 0; i < n; i++) {
        if (!(x[i] >= 0)) {
            return false;
        }
        sum += (double)x[i];
    }
    return fabs(sum - 1) < 1e-3; // rounding of f32 and of codes
}

// log(sum exp(x)), stable.
static double
log_sum(const float *x, int64_t n)
{
    double largest = -(double)INFINITY;
    double sum = 0;
    for (int64_t i = 0; i < n; i++) {
        largest = fmax(largest, (double)x[i]);
    }
    for (int64_t i = 0; i < n; i++) {
        sum += exp((double)x[i] - largest);
    }
    return largest + log(sum);
}

// Of codes a probability may be 0 where the float model's is not: as if it
// were the least f32 above 0, lest one number decide about the mean.
static double
kl_of_row(const float *x, const float *y, int64_t n)
{
    bool is_known = is_distribution(x, n);
    double log_x = is_known ? 0 : log_sum(x, n);
    double log_y = is_known ? 0 : log_sum(y, n);
    double kl = 0;
    for (int64_t i = 0; i < n; i++) {
        double p = is_known ? (double)x[i] : exp((double)x[i] - log_x);
        double lp = is_known ? log(p) : (double)x[i] - log_x;
        double lq =
            is_known ? log(fmax((double)y[i], 0x1p-126)) : (double)y[i] - log_y;
        kl += p > 0 ? p * (lp - lq) : 0;
    }
    return kl;
}

static int64_t
argmax(const float *x, int64_t n)
{
    int64_t best = 0;
    for (int64_t i = 1; i < n; i++) {
        best = x[i] > x[best] ? i : best;
    }
    return best;
}

static void
add_rows(pq_diff *d, uint32_t output)
{
    const pq_shown *x = &d->output_exact[output];
    const pq_shown *y = &d->output_coded[output];
    int64_t n = x->last_dim;
    if (n < 2 || x->count != y->count) {
        return;
    }
    for (size_t at = 0; at + (size_t)n <= x->count; at += (size_t)n) {
        d->kl[output] += kl_of_row(x->p + at, y->p + at, n);
        d->agreeing[output] += argmax(x->p + at, n) == argmax(y->p + at, n);
        d->rows[output]++;
    }
}

// ---- what runs show -------------------------------------------------------

static ptqc_status
keep_shown(ptqc_ctx *ctx, const pq_tensor *t, pq_shown *out)
{
    size_t n = t->bytes / sizeof(float);
    out->count = 0;
    if (t->dtype != PTQC_F32) {
        return PTQC_OK;
    }
    if (n > out->room) {
        pq_free(ctx, out->p);
        out->room = 0;
        out->p = pq_alloc_array(ctx, n, sizeof *out->p);
        PQ_TRY_ALLOC(out->p);
        out->room = n;
    }
    if (n > 0) {
        memcpy(out->p, t->p, n * sizeof *out->p);
    }
    out->count = n;
    out->last_dim = t->rank > 1 ? t->dims[t->rank - 1] : 0;
    return PTQC_OK;
}

static ptqc_status
keep_outputs(const pq_diff *d, const pq_graph *g, pq_value_id v,
             const pq_tensor *t, pq_shown *to)
{
    for (uint32_t i = 0; i < d->output_count; i++) {
        if (pq_value_equal(pq_graph_output(g, i), v)) {
            PQ_TRY(keep_shown(d->ctx, t, &to[i]));
        }
    }
    return PTQC_OK;
}

static ptqc_status
see_real(void *user, pq_value_id v, const pq_tensor *t)
{
    pq_diff *d = user;
    const pq_graph *g = d->local != NULL ? d->local : d->real;
    if (d->local != NULL && d->real_slot[v.index] != 0) {
        PQ_TRY(keep_shown(d->ctx, t, &d->exact[d->real_slot[v.index] - 1]));
    }
    if (d->local != NULL && d->local_slot[v.index] != 0) {
        PQ_TRY(keep_shown(d->ctx, t, &d->own[d->local_slot[v.index] - 1]));
    }
    return keep_outputs(d, g, v, t, d->output_exact);
}

static ptqc_status
see_coded(void *user, pq_value_id v, const pq_tensor *t)
{
    pq_diff *d = user;
    uint32_t slot = d->coded_slot[v.index];
    if (slot == 0) {
        return PTQC_OK;
    }
    // The local result was taken: its room serves for this one.
    PQ_TRY(keep_shown(d->ctx, t, &d->own[slot - 1]));
    add_errors(&d->cumulative[slot - 1], &d->exact[slot - 1],
               &d->own[slot - 1]);
    return PTQC_OK;
}

static ptqc_status
see_compiled(void *user, pq_value_id v, const pq_tensor *t)
{
    pq_diff *d = user;
    return keep_outputs(d, d->compiled, v, t, d->output_coded);
}

// ---- one sample -----------------------------------------------------------

static ptqc_status
run_artifact(pq_diff *d, const pq_tensor *inputs, uint32_t input_count)
{
    ptqc_tensor *all = pq_arena_array(
        &d->scratch, (size_t)input_count + d->output_count, sizeof *all);
    PQ_TRY_ALLOC(all);
    ptqc_tensor *outputs = all + input_count;
    for (uint32_t i = 0; i < input_count; i++) {
        all[i] = pq_tensor_to_public(&inputs[i]);
    }
    PQ_TRY(ptqc_session_run(d->session, all, input_count, outputs,
                            d->output_count));
    for (uint32_t i = 0; i < d->output_count; i++) {
        pq_tensor t = pq_tensor_from_public(&outputs[i]);
        PQ_TRY(keep_shown(d->ctx, &t, &d->output_coded[i]));
    }
    return PTQC_OK;
}

static ptqc_status
run_sample(pq_diff *d, const pq_tensor *inputs, uint32_t input_count)
{
    PQ_TRY(d->real_runner->run(d->real_runner, inputs, see_real, d));
    for (uint32_t i = 0; i < d->layer_count; i++) {
        if (d->layers[i].mode != PQ_MODE_FLOAT) {
            add_errors(&d->by_layer[i], &d->exact[i], &d->own[i]);
        }
    }
    if (d->coded_runner != NULL) {
        PQ_TRY(d->coded_runner->run(d->coded_runner, inputs, see_coded, d));
    }
    PQ_TRY(d->session != NULL
               ? run_artifact(d, inputs, input_count)
               : d->compiled_runner->run(d->compiled_runner, inputs,
                                         see_compiled, d));
    for (uint32_t i = 0; i < d->output_count; i++) {
        add_errors(&d->outputs[i], &d->output_exact[i], &d->output_coded[i]);
        add_rows(d, i);
    }
    return PTQC_OK;
}

static ptqc_status
run_samples(pq_diff *d)
{
    pq_sample_adapter adapter;
    uint32_t inputs = pq_graph_input_count(d->real);
    uint64_t limit = d->desc->sample_limit;
    PQ_TRY(pq_sample_adapter_init(&adapter, &d->arena, d->desc->samples,
                                  d->desc->samples_user, inputs));
    pq_tensor *tensors =
        pq_arena_array(&d->arena, (size_t)inputs + 1, sizeof *tensors);
    PQ_TRY_ALLOC(tensors);
    for (uint64_t i = 0; limit == 0 || i < limit; i++) {
        PQ_TRY(pq_check_cancelled(d->ctx));
        ptqc_status st = pq_sample_adapter_get(&adapter, i, tensors, inputs);
        if (st == PTQC_NO) {
            break;
        }
        PQ_TRY(st);
        PQ_TRY(run_sample(d, tensors, inputs));
        pq_arena_deinit(&d->scratch);
        pq_arena_init(&d->scratch, d->ctx);
        pq_progress(d->ctx, "diff", ++d->sample_count, limit);
    }
    return d->sample_count > 0
               ? PTQC_OK
               : PQ_FAIL(d->ctx, PTQC_E_USAGE,
                         "diff: there is no sample to compare on");
}

// ---- graphs ---------------------------------------------------------------

static ptqc_status
make_graphs(pq_diff *d, const ptqc_model *model)
{
    const ptqc_compile_desc *c = d->desc->compile;
    pq_graph *source;
    pq_sample_adapter adapter;
    PQ_TRY(pq_model_graph(d->ctx, model->import, &source));
    PQ_TRY(pq_graph_clone(source, false, &d->compiled));
    PQ_TRY(pq_sample_adapter_init(&adapter, &d->arena, c->samples,
                                  c->samples_user,
                                  pq_graph_input_count(source)));
    uint64_t limit = d->recipe.sample_limit;
    const pq_samples samples = {
        .get = pq_sample_adapter_get, .user = &adapter, .limit = limit};
    pq_session_runner_env runner = {
        .ctx = d->ctx, .target = c->target, .backends = c->backends};
    pq_pass_env env = {.scratch = &d->scratch,
                       .recipe = &d->recipe,
                       .caps = &d->targets.caps,
                       .samples = c->samples != NULL ? &samples : NULL,
                       .make_runner = pq_session_runner_make,
                       .runner_user = &runner,
                       .stats = d->stats};
    bool owns = pq_torture_flags(d->ctx) != 0; // graphs get replaced then
    PQ_TRY(pq_pipeline_assign(&d->compiled, &env, NULL));
    if (d->desc->only_outputs == 0) {
        PQ_TRY(pq_pipeline_prepare(&d->compiled, &env, NULL));
    }
    PQ_TRY(pq_graph_clone(d->compiled, owns, &d->real));
    pq_drop_annotations(d->real);
    pq_graph_set_stage(d->real, PQ_STAGE_FLOAT);
    if (d->desc->only_outputs != 0) {
        return PTQC_OK;
    }
    PQ_TRY(pq_pipeline_encode(&d->compiled, &env, NULL));
    PQ_TRY(pq_graph_clone(d->compiled, owns, &d->coded));
    return pq_pipeline_integrate(&d->compiled, &env, NULL);
}

static ptqc_status
find_layers(pq_diff *d)
{
    if (d->coded == NULL) {
        return PTQC_OK;
    }
    PQ_TRY(pq_layers_find(d->real, d->coded, &d->arena, &d->layers,
                          &d->layer_count));
    PQ_TRY(pq_local_graph(d->real, d->coded, d->layers, d->layer_count,
                          &d->local));
    uint32_t n = pq_graph_value_count(d->local);
    d->real_slot = pq_arena_array(&d->arena, n, sizeof *d->real_slot);
    d->local_slot = pq_arena_array(&d->arena, n, sizeof *d->local_slot);
    d->coded_slot = pq_arena_array(&d->arena, pq_graph_value_count(d->coded),
                                   sizeof *d->coded_slot);
    PQ_TRY_ALLOC(d->real_slot);
    PQ_TRY_ALLOC(d->local_slot);
    PQ_TRY_ALLOC(d->coded_slot);
    for (uint32_t i = 0; i < d->layer_count; i++) {
        d->real_slot[d->layers[i].exact.index] = i + 1;
        d->local_slot[d->layers[i].local.index] = i + 1;
        d->coded_slot[d->layers[i].coded.index] = i + 1;
    }
    d->local_slot[0] = 0; // layers in float have no local value
    return PTQC_OK;
}

static ptqc_status
make_runners(pq_diff *d)
{
    const ptqc_compile_desc *c = d->desc->compile;
    pq_session_runner_env env = {
        .ctx = d->ctx, .target = c->target, .backends = c->backends};
    pq_value_id *watched = pq_arena_array(
        &d->arena, 2 * (size_t)d->layer_count + 1, sizeof *watched);
    uint32_t n = 0;
    PQ_TRY_ALLOC(watched);
    for (uint32_t i = 0; i < d->layer_count; i++) {
        watched[n++] = d->layers[i].exact;
        if (d->layers[i].mode != PQ_MODE_FLOAT) {
            watched[n++] = d->layers[i].local;
        }
    }
    PQ_TRY(pq_session_runner_make(&env, d->local != NULL ? d->local : d->real,
                                  watched, n, &d->real_runner));
    for (uint32_t i = 0; i < d->layer_count; i++) {
        watched[i] = d->layers[i].coded;
    }
    if (d->coded != NULL) {
        PQ_TRY(pq_session_runner_make(&env, d->coded, watched, d->layer_count,
                                      &d->coded_runner));
    }
    if (d->desc->artifact == NULL) {
        return pq_session_runner_make(&env, d->compiled, NULL, 0,
                                      &d->compiled_runner);
    }
    const ptqc_session_desc session = {.backends = c->backends,
                                       .target = c->target};
    return ptqc_session_create(d->ctx, d->desc->artifact, &session,
                               &d->session);
}

// An artifact must be of such a model: as many inputs and outputs, of the
// same types.
static ptqc_status
check_artifact(const pq_diff *d, const ptqc_model *model)
{
    const ptqc_artifact *a = d->desc->artifact;
    ptqc_tensor_info x, y;
    if (a == NULL) {
        return PTQC_OK;
    }
    bool fits = ptqc_artifact_input_count(a) == ptqc_model_input_count(model) &&
                ptqc_artifact_output_count(a) == ptqc_model_output_count(model);
    for (uint32_t i = 0; fits && i < ptqc_model_input_count(model); i++) {
        ptqc_model_input(model, i, &x);
        ptqc_artifact_input(a, i, &y);
        fits = x.dtype == y.dtype && x.rank == y.rank &&
               strcmp(x.name, y.name) == 0;
    }
    return fits ? PTQC_OK
                : PQ_FAIL(d->ctx, PTQC_E_USAGE,
                          "diff: the artifact is of another model: its inputs "
                          "or outputs differ");
}

static ptqc_status
make_sums(pq_diff *d)
{
    size_t n = d->layer_count;
    size_t m = d->output_count = pq_graph_output_count(d->real);
    d->cumulative = pq_arena_array(&d->arena, n, sizeof *d->cumulative);
    d->by_layer = pq_arena_array(&d->arena, n, sizeof *d->by_layer);
    d->exact = pq_arena_array(&d->arena, n, sizeof *d->exact);
    d->own = pq_arena_array(&d->arena, n, sizeof *d->own);
    d->outputs = pq_arena_array(&d->arena, m, sizeof *d->outputs);
    d->output_exact = pq_arena_array(&d->arena, m, sizeof *d->output_exact);
    d->output_coded = pq_arena_array(&d->arena, m, sizeof *d->output_coded);
    d->kl = pq_arena_array(&d->arena, m, sizeof *d->kl);
    d->rows = pq_arena_array(&d->arena, m, sizeof *d->rows);
    d->agreeing = pq_arena_array(&d->arena, m, sizeof *d->agreeing);
    bool has_all = d->cumulative != NULL && d->by_layer != NULL &&
                   d->exact != NULL && d->own != NULL && d->outputs != NULL &&
                   d->output_exact != NULL && d->output_coded != NULL &&
                   d->kl != NULL && d->rows != NULL && d->agreeing != NULL;
    return has_all ? PTQC_OK : PTQC_E_RESOURCE;
}

static ptqc_status
prepare(pq_diff *d, const ptqc_model *model)
{
    const ptqc_compile_desc *c = d->desc->compile;
    PQ_TRY(pq_recipe_of_desc(d->ctx, c, &d->arena, &d->recipe));
    PQ_TRY(check_artifact(d, model));
    if (c->stats != NULL) {
        PQ_TRY(pq_stats_read(d->ctx, c->stats, &d->stats));
    }
    if (d->desc->only_outputs == 0 && !pq_recipe_quantizes(&d->recipe)) {
        return PQ_FAIL(d->ctx, PTQC_E_USAGE,
                       "diff: nothing becomes codes: name a scheme, a recipe "
                       "or a quantized artifact");
    }
    PQ_TRY(pq_targets_open(d->ctx, c->target, &c->backends, &d->targets));
    PQ_TRY(make_graphs(d, model));
    PQ_TRY(find_layers(d));
    PQ_TRY(make_sums(d));
    PQ_TRY(make_runners(d));
    return d->coded != NULL
               ? pq_layers_weigh(d->real, d->coded, d->layers, d->layer_count)
               : PTQC_OK;
}

// ---- telling --------------------------------------------------------------

// Below this a layer's own error is worth a word; the field's rule of thumb
// for 8-bit layers is 30 dB and more.
#define PQ_LOCAL_GOOD_DB 30.0
// One part of an error outweighs another by this.
#define PQ_OUTWEIGHS_DB 6.0
#define PQ_RANGE_RATIO  50.0

static const char *
advice(const pq_layer *layer, bool is_solved, double weight_db, double local_db,
       double cumulative_db)
{
    const pq_scheme *s = &layer->scheme;
    if (layer->mode == PQ_MODE_FLOAT || !(local_db < PQ_LOCAL_GOOD_DB)) {
        return cumulative_db < PQ_LOCAL_GOOD_DB &&
                       !(local_db < cumulative_db + PQ_OUTWEIGHS_DB)
                   ? "its own codes are good: look at layers before it"
                   : "";
    }
    if (local_db < weight_db - PQ_OUTWEIGHS_DB &&
        layer->mode == PQ_MODE_STATIC) {
        return "its input loses most: another observer, :dyn, or float "
               "activations (w8a16)";
    }
    if (local_db < weight_db - PQ_OUTWEIGHS_DB) {
        return layer->mode == PQ_MODE_DYNAMIC
                   ? "its input loses most: float activations (w8a16)"
                   : "its inputs meet large errors of few weights: "
                     "more bits, or smaller groups";
    }
    if (s->granularity == PQ_GRAN_TENSOR &&
        (double)layer->range_ratio > PQ_RANGE_RATIO) {
        return "channels of very different ranges: one scale per channel (:ch)";
    }
    if (pq_dtype_bits(s->format) < 8) {
        return !is_solved ? "its weights lose most: --method gptq, smaller "
                            "groups, or 8 bits"
               : s->granularity == PQ_GRAN_GROUP
                   ? "its weights lose most: smaller groups, or 8 bits"
               : s->granularity == PQ_GRAN_TENSOR
                   ? "its weights lose most: one scale per channel, or 8 bits"
                   : "its weights lose most: 8 bits, or groups (of matmul)";
    }
    return "its weights lose most: keep it float";
}

static ptqc_status
tell_layer(pq_diff *d, uint32_t i, ptqc_diff_layer_fn fn, void *user)
{
    const pq_layer *l = &d->layers[i];
    const pq_op *op = pq_graph_op(d->real, l->op);
    pq_str label = pq_op_label(d->real, op);
    pq_strbuf scheme;
    bool is_coded = l->mode != PQ_MODE_FLOAT;
    pq_strbuf_init(&scheme, d->ctx);
    if (is_coded) {
        pq_product_scheme_print(&l->scheme, l->mode, &scheme);
    }
    ptqc_diff_layer out = {
        .name = pq_arena_strndup(&d->arena, label.p, label.n),
        .op = pq_op_info_of(op->code)->name,
        .scheme = is_coded && scheme.p != NULL ? scheme.p : "float",
        .weight_db =
            sqnr_db(l->weight_signal, l->weight_error, l->weight_count),
        .local_db =
            sqnr_db(d->by_layer[i].xx, d->by_layer[i].ee, d->by_layer[i].count),
        .cumulative_db = sqnr_db(d->cumulative[i].xx, d->cumulative[i].ee,
                                 d->cumulative[i].count),
        .cosine = cosine_of(&d->cumulative[i]),
        .range_ratio = is_coded ? (double)l->range_ratio : (double)NAN,
        .weight_count = l->weight_count,
        .value_count = d->cumulative[i].count,
    };
    const pq_settings s = pq_recipe_settings(&d->recipe, d->real, op);
    bool is_solved =
        op->code != PQ_OP_MATMUL || !pq_str_equal_z(s.method, "rtn");
    out.advice =
        advice(l, is_solved, out.weight_db, out.local_db, out.cumulative_db);
    ptqc_status st =
        out.name == NULL || scheme.failed ? PTQC_E_RESOURCE : PTQC_OK;
    if (st == PTQC_OK) {
        fn(user, &out);
    }
    pq_strbuf_deinit(&scheme);
    return st;
}

static void
tell_output(const pq_diff *d, const ptqc_model *model, uint32_t i,
            ptqc_diff_output_fn fn, void *user)
{
    const pq_error_sums *s = &d->outputs[i];
    ptqc_tensor_info info;
    double rows = (double)d->rows[i];
    ptqc_model_output(model, i, &info);
    const ptqc_diff_output out = {
        .name = info.name,
        .sqnr_db = sqnr_db(s->xx, s->ee, s->count),
        .cosine = cosine_of(s),
        .largest_error = s->count > 0 ? s->largest : (double)NAN,
        .kl = rows > 0 ? d->kl[i] / rows : (double)NAN,
        .top1_agree = rows > 0 ? (double)d->agreeing[i] / rows : (double)NAN,
        .value_count = s->count,
    };
    fn(user, &out);
}

static void
free_shown(pq_diff *d, pq_shown *all, uint32_t count)
{
    for (uint32_t i = 0; all != NULL && i < count; i++) {
        pq_free(d->ctx, all[i].p);
    }
}

static void
destroy_runner(pq_runner *runner)
{
    if (runner != NULL) {
        runner->destroy(runner);
    }
}

static void
diff_deinit(pq_diff *d)
{
    free_shown(d, d->exact, d->layer_count);
    free_shown(d, d->own, d->layer_count);
    free_shown(d, d->output_exact, d->output_count);
    free_shown(d, d->output_coded, d->output_count);
    destroy_runner(d->real_runner);
    destroy_runner(d->coded_runner);
    destroy_runner(d->compiled_runner);
    ptqc_session_destroy(d->session);
    pq_graph_destroy(d->local);
    pq_graph_destroy(d->coded);
    pq_graph_destroy(d->real);
    pq_graph_destroy(d->compiled);
    pq_targets_close(&d->targets);
    pq_recipe_deinit(&d->recipe);
    pq_stats_destroy(d->stats);
    pq_arena_deinit(&d->scratch);
    pq_arena_deinit(&d->arena);
}

ptqc_status
ptqc_diff(ptqc_ctx *ctx, ptqc_model *model, const ptqc_diff_desc *desc,
          ptqc_diff_layer_fn layer_fn, ptqc_diff_output_fn output_fn,
          void *user)
{
    pq_diff d = {.ctx = ctx, .desc = desc};
    pq_arena_init(&d.arena, ctx);
    pq_arena_init(&d.scratch, ctx);
    ptqc_status st = prepare(&d, model);
    if (st == PTQC_OK) {
        st = run_samples(&d);
    }
    for (uint32_t i = 0; st == PTQC_OK && layer_fn != NULL && i < d.layer_count;
         i++) {
        st = tell_layer(&d, i, layer_fn, user);
    }
    for (uint32_t i = 0;
         st == PTQC_OK && output_fn != NULL && i < d.output_count; i++) {
        tell_output(&d, model, i, output_fn, user);
    }
    diff_deinit(&d);
    return st;
}
