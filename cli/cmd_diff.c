// SPDX-License-Identifier: Apache-2.0
//
// ptqc diff: a float model beside its quantized form, layer by layer. The
// form comes from the options, or from the recipe in an artifact, whose
// outputs are compared then.

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cli/desc.h"
#include "cli/feed.h"
#include "cli/subject.h"

typedef struct difference {
    json_t *layers, *outputs;
    double least_db; // of the outputs
} difference;

// JSON has neither infinities nor NaN: null, where there is no such number,
// and 999 dB, where nothing differs.
static json_t *
number_json(double x)
{
    return isnan(x) ? json_null() : json_real(isinf(x) ? 999 : x);
}

static json_t *
text_json(const char *text)
{
    char escaped[1024];
    return json_string_nocheck(cli_escape(text, escaped, sizeof escaped));
}

static void
keep_layer(void *user, const ptqc_diff_layer *l)
{
    difference *d = user;
    json_array_append_new(
        d->layers,
        json_pack(
            "{s:o, s:s, s:s, s:o, s:o, s:o, s:o, s:o, s:I, s:I, s:s}", "name",
            text_json(l->name), "op", l->op, "scheme", l->scheme, "weight_db",
            number_json(l->weight_db), "local_db", number_json(l->local_db),
            "cumulative_db", number_json(l->cumulative_db), "cosine",
            number_json(l->cosine), "range_ratio", number_json(l->range_ratio),
            "weights", (json_int_t)l->weight_count, "values",
            (json_int_t)l->value_count, "advice", l->advice));
}

static void
keep_output(void *user, const ptqc_diff_output *o)
{
    difference *d = user;
    if (o->value_count > 0) {
        d->least_db = fmin(d->least_db, o->sqnr_db);
    }
    json_array_append_new(
        d->outputs,
        json_pack("{s:o, s:o, s:o, s:o, s:o, s:o, s:I}", "name",
                  text_json(o->name), "sqnr_db", number_json(o->sqnr_db),
                  "cosine", number_json(o->cosine), "largest_error",
                  number_json(o->largest_error), "kl", number_json(o->kl),
                  "top1_agree", number_json(o->top1_agree), "values",
                  (json_int_t)o->value_count));
}

// ---- order ----------------------------------------------------------------

// NaN (float layers) last.
static double
rank_of(const json_t *layer)
{
    const json_t *local = json_object_get(layer, "local_db");
    return json_is_number(local) ? json_number_value(local) : 1e9;
}

static int
by_local(const void *a, const void *b)
{
    double x = rank_of(*(json_t *const *)a);
    double y = rank_of(*(json_t *const *)b);
    return (x > y) - (x < y);
}

// The layers worst first; equal ones stay in the order of the graph.
static ptqc_status
worst_first(cli *c, const json_t *layers, json_t **out)
{
    size_t n = json_array_size(layers);
    json_t **all = calloc(n + 1, sizeof *all);
    *out = json_array();
    if (all == NULL || *out == NULL) {
        free(all);
        return cli_fail(c, PTQC_E_RESOURCE, "out of memory");
    }
    for (size_t i = 0; i < n; i++) {
        all[i] = json_array_get(layers, i);
    }
    qsort(all, n, sizeof *all, by_local); // rows of one number are one row
    for (size_t i = 0; i < n; i++) {
        json_array_append(*out, all[i]);
    }
    free(all);
    return PTQC_OK;
}

// ---- printing -------------------------------------------------------------

static const char *
db_text(const json_t *layer, const char *key, char out[16])
{
    const json_t *x = json_object_get(layer, key);
    if (!json_is_number(x)) {
        return "-";
    }
    snprintf(out, 16, json_number_value(x) >= 999 ? "equal" : "%.1f",
             json_number_value(x));
    return out;
}

static void
print_layers(const json_t *layers, size_t count)
{
    size_t i;
    json_t *l;
    char a[16], b[16], e[16];
    cli_print("%-36s %-18s %7s %7s %7s %8s\n", "layer", "scheme", "weight",
              "local", "cumul.", "cosine");
    json_array_foreach((json_t *)(uintptr_t)layers, i, l)
    {
        if (i == count) {
            break;
        }
        cli_print("%-36s %-18s %7s %7s %7s %8.5f  %s\n",
                  json_string_value(json_object_get(l, "name")),
                  json_string_value(json_object_get(l, "scheme")),
                  db_text(l, "weight_db", a), db_text(l, "local_db", b),
                  db_text(l, "cumulative_db", e),
                  json_number_value(json_object_get(l, "cosine")),
                  json_string_value(json_object_get(l, "advice")));
    }
}

static void
print_outputs(const json_t *outputs)
{
    size_t i;
    json_t *o;
    char a[16];
    json_array_foreach((json_t *)(uintptr_t)outputs, i, o)
    {
        cli_print("output %s: %s dB, cosine %.5f, largest error %.4g",
                  json_string_value(json_object_get(o, "name")),
                  db_text(o, "sqnr_db", a),
                  json_number_value(json_object_get(o, "cosine")),
                  json_number_value(json_object_get(o, "largest_error")));
        if (json_is_number(json_object_get(o, "kl"))) {
            cli_print(", KL %.5f, top-1 agreement %.4f",
                      json_number_value(json_object_get(o, "kl")),
                      json_number_value(json_object_get(o, "top1_agree")));
        }
        cli_print("\n");
    }
}

static ptqc_status
print(cli *c, const difference *d, uint64_t samples)
{
    json_t *sorted;
    bool has_top = cli_given(c, CLI_TOP);
    size_t top = has_top ? (size_t)cli_get(c, CLI_TOP)->integer : 10;
    ptqc_status st = worst_first(c, d->layers, &sorted);
    if (st != PTQC_OK) {
        return st;
    }
    if (cli_given(c, CLI_JSON)) {
        return cli_print_json(
            c, json_pack("{s:s, s:I, s:O, s:O, s:o}", "schema", "ptqc.diff/1",
                         "samples", (json_int_t)samples, "outputs", d->outputs,
                         "layers", d->layers, "worst", sorted));
    }
    if (json_array_size(d->layers) > 0) {
        print_layers(top == 0 ? d->layers : sorted, top == 0 ? SIZE_MAX : top);
    }
    json_decref(sorted);
    print_outputs(d->outputs);
    return cli_finish_output(c);
}

// ---- what is compared ------------------------------------------------------

typedef struct subjects {
    ptqc_model *model;
    ptqc_artifact *artifact;
    char *recipe; // owned: of the artifact
    cli_samples calib, inputs;
    bool has_calib, has_inputs;
} subjects;

static ptqc_status
take_recipe(cli *c, subjects *s, ptqc_compile_desc *desc)
{
    json_t *meta = json_loads(ptqc_artifact_metadata(s->artifact), 0, NULL);
    s->recipe = json_dumps(json_object_get(meta, "recipe"), 0);
    json_decref(meta);
    if (desc->scheme != NULL || desc->recipe != NULL || desc->rule_count > 0 ||
        desc->keep_count > 0) {
        return cli_fail(c, PTQC_E_USAGE,
                        "the artifact has its recipe: no scheme, recipe, rule "
                        "or keep beside it");
    }
    if (s->recipe == NULL) {
        return cli_fail(c, PTQC_E_INTEGRITY, "%s: holds no recipe",
                        c->args.operands[1]);
    }
    desc->recipe_text = s->recipe;
    return PTQC_OK;
}

static ptqc_status
open_samples(cli *c, subjects *s)
{
    ptqc_status st = PTQC_OK;
    if (!cli_given(c, CLI_CALIB) && !cli_given(c, CLI_INPUTS)) {
        return cli_fail(c, PTQC_E_USAGE,
                        "expected --inputs or --calib: samples to compare on");
    }
    if (cli_given(c, CLI_CALIB)) {
        st = cli_samples_open(c, s->model, &s->calib);
        s->has_calib = st == PTQC_OK;
    }
    if (st == PTQC_OK && cli_given(c, CLI_INPUTS)) {
        st = cli_samples_open_of(c, s->model, CLI_INPUTS, &s->inputs);
        s->has_inputs = st == PTQC_OK;
    }
    return st;
}

static ptqc_status
open_subjects(cli *c, subjects *s, ptqc_compile_desc *desc)
{
    ptqc_status st = ptqc_model_open(c->ctx, c->args.operands[0], &s->model);
    if (st == PTQC_OK && c->args.operand_count > 1) {
        st = ptqc_artifact_open(c->ctx, c->args.operands[1], &s->artifact);
        st = st == PTQC_OK ? take_recipe(c, s, desc) : st;
    }
    return st == PTQC_OK ? open_samples(c, s) : st;
}

static void
close_subjects(subjects *s)
{
    if (s->has_calib) {
        cli_samples_close(&s->calib);
    }
    if (s->has_inputs) {
        cli_samples_close(&s->inputs);
    }
    free(s->recipe);
    ptqc_artifact_close(s->artifact);
    ptqc_model_close(s->model);
}

// Whether the layers of an artifact cannot be shown: its activations are
// static and there are no calibration samples to make it again.
static bool
lacks_calibration(const cli *c, const subjects *s)
{
    json_t *meta = json_loads(ptqc_artifact_metadata(s->artifact), 0, NULL);
    const char *note = json_string_value(json_object_get(meta, "calibration"));
    bool has_some = s->has_calib || cli_given(c, CLI_STATS);
    bool lacks = !has_some && note != NULL && note[0] != '\0';
    json_decref(meta);
    return lacks;
}

static ptqc_status
compare(cli *c, subjects *s, ptqc_compile_desc *compile, difference *out)
{
    const ptqc_compile_desc plain = {.work_dir = compile->work_dir,
                                     .target = compile->target,
                                     .backends = compile->backends};
    cli_samples *compared = s->has_inputs ? &s->inputs : &s->calib;
    uint64_t limit = (uint64_t)cli_get(c, CLI_SAMPLES)->integer;
    if (limit == 0 || limit > compared->sample_count) {
        limit = compared->sample_count;
    }
    ptqc_diff_desc desc = {.compile = compile,
                           .artifact = s->artifact,
                           .samples = cli_samples_get,
                           .samples_user = compared,
                           .sample_limit = limit};
    if (s->has_calib) {
        compile->samples = cli_samples_get;
        compile->samples_user = &s->calib;
        compile->sample_count = s->calib.sample_count;
    }
    if (s->artifact != NULL && lacks_calibration(c, s)) {
        desc.only_outputs = 1;
        desc.compile = &plain;
        if (!c->is_quiet) {
            fprintf(stderr, "ptqc: note: outputs alone: layers need the "
                            "calibration samples of the artifact (--calib)\n");
        }
    }
    ptqc_status st =
        ptqc_diff(c->ctx, s->model, &desc, keep_layer, keep_output, out);
    return st == PTQC_OK ? print(c, out, limit) : st;
}

// Where values wait: nothing with a name is left there.
static const char *
scratch_folder(const cli *c)
{
    const char *given = cli_get(c, CLI_WORK_DIR)->text;
    const char *tmp = getenv("TMPDIR");
    return given != NULL                   ? given
           : tmp != NULL && tmp[0] != '\0' ? tmp
                                           : "/var/tmp";
}

ptqc_status
cli_diff(cli *c)
{
    ptqc_compile_desc desc;
    subjects s = {0};
    difference d = {json_array(), json_array(), (double)INFINITY};
    ptqc_status st = cli_desc_read(c, &desc);
    desc.work_dir = scratch_folder(c);
    if (st == PTQC_OK) {
        st = open_subjects(c, &s, &desc);
    }
    if (st == PTQC_OK) {
        st = compare(c, &s, &desc, &d);
    }
    const cli_value *least = cli_get(c, CLI_THRESHOLD);
    if (st == PTQC_OK && least->count > 0 && !(d.least_db >= least->number)) {
        st = PTQC_NO;
    }
    json_decref(d.layers);
    json_decref(d.outputs);
    close_subjects(&s);
    return st;
}
