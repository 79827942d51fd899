// SPDX-License-Identifier: Apache-2.0
//
// ptqc_diff: three graphs run, one after the other, piece by piece where there
// is a folder for what waits (calib/samples.h). The local graph gives the float
// model's results and those of each layer's codes on float inputs; the graph of
// codes (quantize and dequantize around float arithmetic) the cumulative ones;
// the compiled graph, or the artifact, the outputs. What the first run showed
// waits in a scratch file for the others (diff_store.h): so many samples at a
// time that it does not grow beyond STORE_BYTES.

#include "ptqc/diff.h"

#include <math.h>
#include <string.h>

#include "base/dtype.h"
#include "compiler/adapter.h"
#include "compiler/diff_graph.h"
#include "compiler/diff_store.h"
#include "compiler/model.h"
#include "compiler/recipe.h"
#include "compiler/runner.h"
#include "compiler/statistics.h"
#include "compiler/targets.h"
#include "passes/calib/samples.h"
#include "passes/match.h"
#include "passes/pipeline.h"

// Sums over pairs of an exact and an approximate number.
typedef struct pq_error_sums {
    double xx, yy, xy, ee, largest;
    uint64_t count;
} pq_error_sums;

// In a file: 512 tokens of a model of 135 M parameters take .4 GB. In memory
// when there is no folder.
#define STORE_BYTES_FILE   ((uint64_t)2 << 30)
#define STORE_BYTES_MEMORY ((uint64_t)256 << 20)
#define MOST_AT_ONCE       4096u // samples

typedef struct pq_diff {
    ptqc_ctx *ctx;
    const ptqc_diff_desc *desc;
    pq_recipe recipe;
    pq_stats *stats; // NULL: none
    pq_arena arena, scratch;
    pq_targets targets;
    pq_graph *real, *coded, *local, *compiled; // NULL: not wanted
    ptqc_session *session;                     // of the artifact
    pq_layer *layers;
    uint32_t layer_count;
    pq_error_sums *cumulative, *by_layer; // [layer_count]
    uint32_t output_count;
    pq_error_sums *outputs;    // [output_count]
    double *kl;                // [output_count] sums
    uint64_t *rows, *agreeing; // [output_count]
    uint64_t sample_count;
    // Of the samples at hand:
    pq_sample_adapter *adapter;
    uint64_t first, got;
    pq_diff_store store; // slots: exact layers, local ones, outputs
    uint64_t *seen;      // [layers or outputs] samples of the run at hand
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
add_rows(pq_diff *d, uint32_t output, const pq_shown *x, const pq_shown *y)
{
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

static uint32_t
local_at(const pq_diff *d, uint32_t layer)
{
    return d->layer_count + layer;
}

static uint32_t
output_at(const pq_diff *d, uint32_t output)
{
    return 2 * d->layer_count + output;
}

static ptqc_status
see_real(void *user, pq_value_id v, const pq_tensor *t)
{
    pq_diff *d = user;
    const pq_graph *g = d->local != NULL ? d->local : d->real;
    uint32_t exact = d->local != NULL ? d->real_slot[v.index] : 0;
    uint32_t local = d->local != NULL ? d->local_slot[v.index] : 0;
    if (exact != 0) {
        PQ_TRY(pq_diff_store_put(&d->store, exact - 1, t));
    }
    if (local != 0) {
        PQ_TRY(pq_diff_store_put(&d->store, local_at(d, local - 1), t));
    }
    for (uint32_t i = 0; i < d->output_count; i++) {
        if (pq_value_equal(pq_graph_output(g, i), v)) {
            PQ_TRY(pq_diff_store_put(&d->store, output_at(d, i), t));
        }
    }
    return PTQC_OK;
}

static ptqc_status
see_coded(void *user, pq_value_id v, const pq_tensor *t)
{
    pq_diff *d = user;
    uint32_t slot = d->coded_slot[v.index];
    pq_shown exact;
    if (slot == 0) {
        return PTQC_OK;
    }
    const pq_shown own = pq_shown_of(t);
    PQ_TRY(
        pq_diff_store_get(&d->store, 0, slot - 1, d->seen[slot - 1]++, &exact));
    add_errors(&d->cumulative[slot - 1], &exact, &own);
    return PTQC_OK;
}

// An output of the compiled model in the next sample.
static ptqc_status
take_output(pq_diff *d, uint32_t i, const pq_tensor *t)
{
    pq_shown exact;
    const pq_shown coded = pq_shown_of(t);
    PQ_TRY(
        pq_diff_store_get(&d->store, 0, output_at(d, i), d->seen[i]++, &exact));
    add_errors(&d->outputs[i], &exact, &coded);
    add_rows(d, i, &exact, &coded);
    return PTQC_OK;
}

static ptqc_status
see_compiled(void *user, pq_value_id v, const pq_tensor *t)
{
    pq_diff *d = user;
    for (uint32_t i = 0; i < d->output_count; i++) {
        if (pq_value_equal(pq_graph_output(d->compiled, i), v)) {
            PQ_TRY(take_output(d, i, t));
        }
    }
    return PTQC_OK;
}

// ---- one run of some samples ----------------------------------------------

// pq_samples.get of those from d->first on.
static ptqc_status
get_sample(void *user, uint64_t index, pq_tensor *tensors, uint32_t count)
{
    pq_diff *d = user;
    PQ_TRY(pq_sample_adapter_get(d->adapter, d->first + index, tensors, count));
    d->got = index + 1 > d->got ? index + 1 : d->got;
    return PTQC_OK;
}

// Adds v to the list that it is not in.
static void
watch(pq_value_id *watched, uint32_t *count, pq_value_id v)
{
    for (uint32_t i = 0; i < *count; i++) {
        if (pq_value_equal(watched[i], v)) {
            return;
        }
    }
    watched[(*count)++] = v;
}

static ptqc_status
run_graph(pq_diff *d, const pq_pass_env *env, pq_graph *g, const char *phase,
          const pq_value_id *watched, uint32_t count, pq_observe_fn observe)
{
    const pq_watcher watcher = {.user = d, .observe = observe};
    size_t n =
        d->layer_count > d->output_count ? d->layer_count : d->output_count;
    memset(d->seen, 0, n * sizeof *d->seen);
    ptqc_status st = pq_run_graph(g, env, phase, watched, count, &watcher);
    pq_graph_release_constants(g);
    pq_arena_deinit(&d->scratch);
    pq_arena_init(&d->scratch, d->ctx);
    return st;
}

static ptqc_status
run_real(pq_diff *d, const pq_pass_env *env, pq_value_id *watched)
{
    pq_graph *g = d->local != NULL ? d->local : d->real;
    uint32_t n = 0;
    for (uint32_t i = 0; i < d->layer_count; i++) {
        watched[n++] = d->layers[i].exact;
        if (d->layers[i].mode != PQ_MODE_FLOAT) {
            watched[n++] = d->layers[i].local;
        }
    }
    for (uint32_t i = 0; i < d->output_count; i++) {
        watch(watched, &n, pq_graph_output(g, i));
    }
    PQ_TRY(run_graph(d, env, g, "diff: float", watched, n, see_real));
    for (uint32_t i = 0; i < d->layer_count; i++) {
        for (uint64_t k = 0; k < d->got; k++) {
            pq_shown exact, local;
            if (d->layers[i].mode == PQ_MODE_FLOAT) {
                continue;
            }
            PQ_TRY(pq_diff_store_get(&d->store, 0, i, k, &exact));
            PQ_TRY(pq_diff_store_get(&d->store, 1, local_at(d, i), k, &local));
            add_errors(&d->by_layer[i], &exact, &local);
        }
    }
    return PTQC_OK;
}

static ptqc_status
run_coded(pq_diff *d, const pq_pass_env *env, pq_value_id *watched)
{
    for (uint32_t i = 0; i < d->layer_count; i++) {
        watched[i] = d->layers[i].coded;
    }
    return d->coded != NULL ? run_graph(d, env, d->coded, "diff: codes",
                                        watched, d->layer_count, see_coded)
                            : PTQC_OK;
}

static ptqc_status
run_compiled(pq_diff *d, const pq_pass_env *env, pq_value_id *watched)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < d->output_count; i++) {
        watch(watched, &n, pq_graph_output(d->compiled, i));
    }
    return run_graph(d, env, d->compiled, "diff: outputs", watched, n,
                     see_compiled);
}

static ptqc_status
run_artifact_once(pq_diff *d, const pq_tensor *inputs, uint32_t input_count)
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
        PQ_TRY(take_output(d, i, &t));
    }
    return PTQC_OK;
}

static ptqc_status
run_artifact(pq_diff *d, pq_tensor *inputs)
{
    uint32_t count = pq_graph_input_count(d->real);
    memset(d->seen, 0, d->output_count * sizeof *d->seen);
    for (uint64_t i = 0; i < d->got; i++) {
        PQ_TRY(pq_check_cancelled(d->ctx));
        PQ_TRY(pq_sample_adapter_get(d->adapter, d->first + i, inputs, count));
        PQ_TRY(run_artifact_once(d, inputs, count));
        pq_arena_deinit(&d->scratch);
        pq_arena_init(&d->scratch, d->ctx);
    }
    return PTQC_OK;
}

// ---- all samples ----------------------------------------------------------

// What one sample keeps in the store, 1 at least.
static ptqc_status
measure_sample(const pq_diff *d, const pq_pass_env *env, uint64_t *out)
{
    pq_graph *g = d->local != NULL ? d->local : d->real;
    double bytes = 1;
    int64_t *symbols;
    PQ_TRY(pq_sample_symbols(g, env, &symbols));
    for (uint32_t k = 0; k < 2 * d->layer_count + d->output_count; k++) {
        uint32_t i = k / 2;
        pq_value_id v = k >= 2 * d->layer_count
                            ? pq_graph_output(g, k - 2 * d->layer_count)
                        : k % 2 == 0 ? d->layers[i].exact
                                     : d->layers[i].local;
        const pq_value *value = pq_graph_value(g, v);
        double n = sizeof(float);
        for (uint32_t a = 0; value != NULL && a < value->type.rank; a++) {
            int64_t dim;
            PQ_TRY(pq_dim_eval(g, value->type.dims[a], symbols, &dim));
            n *= (double)dim;
        }
        bytes += value != NULL ? n : 0;
    }
    *out = bytes < 0x1p62 ? (uint64_t)bytes : (uint64_t)1 << 62;
    return PTQC_OK;
}

// Samples from d->first on, `count` at most; PTQC_NO: there is none.
static ptqc_status
run_some(pq_diff *d, pq_pass_env *env, uint64_t count, pq_tensor *inputs)
{
    const pq_samples samples = {.get = get_sample, .user = d, .limit = count};
    uint32_t slots = 2 * d->layer_count + d->output_count;
    pq_value_id *watched =
        pq_arena_array(&d->arena, (size_t)slots + 1, sizeof *watched);
    PQ_TRY_ALLOC(watched);
    d->got = 0;
    PQ_TRY(get_sample(d, 0, inputs, pq_graph_input_count(d->real)));
    env->samples = &samples;
    ptqc_status st =
        pq_diff_store_open(d->ctx, env->work_dir, slots, count, &d->store);
    if (st == PTQC_OK) {
        st = run_real(d, env, watched);
    }
    if (st == PTQC_OK) {
        st = run_coded(d, env, watched);
    }
    if (st == PTQC_OK) {
        st = d->session != NULL ? run_artifact(d, inputs)
                                : run_compiled(d, env, watched);
    }
    pq_diff_store_close(&d->store);
    return st;
}

static uint64_t
samples_at_once(const pq_pass_env *env, uint64_t bytes, uint64_t limit,
                uint64_t done)
{
    uint64_t most =
        env->work_dir != NULL ? STORE_BYTES_FILE : STORE_BYTES_MEMORY;
    uint64_t n = most / bytes > 0 ? most / bytes : 1;
    n = n < MOST_AT_ONCE ? n : MOST_AT_ONCE;
    return limit > 0 && limit - done < n ? limit - done : n;
}

static ptqc_status
run_batches(pq_diff *d, pq_pass_env *env, pq_tensor *inputs)
{
    uint64_t limit = d->desc->sample_limit;
    uint64_t bytes, asked;
    const pq_samples one = {.get = get_sample, .user = d, .limit = 1};
    env->samples = &one;
    ptqc_status st = measure_sample(d, env, &bytes);
    while (st == PTQC_OK && (limit == 0 || d->sample_count < limit)) {
        asked = samples_at_once(env, bytes, limit, d->sample_count);
        d->first = d->sample_count;
        st = run_some(d, env, asked, inputs);
        d->sample_count += st == PTQC_OK ? d->got : 0;
        if (st == PTQC_OK && d->got < asked) {
            break;
        }
    }
    PQ_TRY(st != PTQC_NO ? st : PTQC_OK);
    return d->sample_count > 0
               ? PTQC_OK
               : PQ_FAIL(d->ctx, PTQC_E_USAGE,
                         "diff: there is no sample to compare on");
}

static ptqc_status
run_samples(pq_diff *d)
{
    const ptqc_compile_desc *c = d->desc->compile;
    pq_sample_adapter adapter;
    pq_session_runner_env runner = {
        .ctx = d->ctx, .target = c->target, .backends = c->backends};
    pq_pass_env env = {.scratch = &d->scratch,
                       .recipe = &d->recipe,
                       .make_runner = pq_session_runner_make,
                       .runner_user = &runner,
                       .work_dir = c->work_dir};
    uint32_t inputs = pq_graph_input_count(d->real);
    PQ_TRY(pq_sample_adapter_init(&adapter, &d->arena, d->desc->samples,
                                  d->desc->samples_user, inputs));
    pq_tensor *tensors =
        pq_arena_array(&d->arena, (size_t)inputs + 1, sizeof *tensors);
    PQ_TRY_ALLOC(tensors);
    d->adapter = &adapter;
    return run_batches(d, &env, tensors);
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
                       .work_dir = c->work_dir,
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
open_artifact(pq_diff *d)
{
    const ptqc_compile_desc *c = d->desc->compile;
    const ptqc_session_desc session = {.backends = c->backends,
                                       .target = c->target};
    return d->desc->artifact != NULL
               ? ptqc_session_create(d->ctx, d->desc->artifact, &session,
                                     &d->session)
               : PTQC_OK;
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
    d->seen = pq_arena_array(&d->arena, n > m ? n : m, sizeof *d->seen);
    d->outputs = pq_arena_array(&d->arena, m, sizeof *d->outputs);
    d->kl = pq_arena_array(&d->arena, m, sizeof *d->kl);
    d->rows = pq_arena_array(&d->arena, m, sizeof *d->rows);
    d->agreeing = pq_arena_array(&d->arena, m, sizeof *d->agreeing);
    bool has_all = d->cumulative != NULL && d->by_layer != NULL &&
                   d->seen != NULL && d->outputs != NULL && d->kl != NULL &&
                   d->rows != NULL && d->agreeing != NULL;
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
    PQ_TRY(open_artifact(d));
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
diff_deinit(pq_diff *d)
{
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
