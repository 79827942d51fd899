// SPDX-License-Identifier: Apache-2.0
//
// ptqc compile: model in, artifact out, and a summary of what happened.

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "cli/desc.h"
#include "cli/feed.h"
#include "cli/subject.h"

// ---- options --------------------------------------------------------------

// --work-dir, else a folder beside the output; freed with free.
static ptqc_status
read_work_dir(cli *c, const char *output, char **out)
{
    const char *given = cli_get(c, CLI_WORK_DIR)->text;
    const char *base = given != NULL ? given : output;
    const char *end = given != NULL ? "" : ".work";
    size_t n = strlen(base) + strlen(end) + 1;
    *out = malloc(n);
    if (*out == NULL) {
        return cli_fail(c, PTQC_E_RESOURCE, "out of memory");
    }
    (void)snprintf(*out, n, "%s%s", base, end);
    return PTQC_OK;
}

// ---- kernel texts ---------------------------------------------------------

// --emit kernels=DIR -> DIR, made when it is not there; NULL: not asked for.
static ptqc_status
read_emit(cli *c, const char **out_dir)
{
    static const char prefix[] = "kernels=";
    const char *text = cli_get(c, CLI_EMIT)->text;
    *out_dir = NULL;
    if (text == NULL) {
        return PTQC_OK;
    }
    if (strncmp(text, prefix, sizeof prefix - 1) != 0 ||
        text[sizeof prefix - 1] == '\0') {
        return cli_fail(c, PTQC_E_USAGE, "--emit: expected kernels=DIR");
    }
    *out_dir = text + sizeof prefix - 1;
    return mkdir(*out_dir, 0777) == 0 || errno == EEXIST
               ? PTQC_OK
               : cli_fail(c, PTQC_E_IO, "%s: %s", *out_dir, strerror(errno));
}

// One file per text, DIR/PLUGIN_NAME; the first failure is kept.
typedef struct emitter {
    const char *dir;
    int error; // errno
} emitter;

static void
write_text(void *user, const char *plugin, const char *name, const char *text,
           size_t bytes)
{
    emitter *e = user;
    char path[4096];
    int n = snprintf(path, sizeof path, "%s/%s_%s", e->dir, plugin, name);
    FILE *f = n < (int)sizeof path ? fopen(path, "wb") : NULL;
    bool is_written = f != NULL && fwrite(text, 1, bytes, f) == bytes;
    is_written = (f == NULL || fclose(f) == 0) && is_written;
    if (!is_written && e->error == 0) {
        e->error = errno != 0 ? errno : EIO;
    }
}

// ---- the output file ------------------------------------------------------

// Before any work: an output that is the input or exists already is refused.
static ptqc_status
check_output(cli *c, const char *model, const char *output)
{
    struct stat in, out;
    if (output == NULL) {
        return cli_fail(c, PTQC_E_USAGE, "expected -o OUT.ptqc");
    }
    if (stat(output, &out) != 0) {
        return PTQC_OK;
    }
    if (stat(model, &in) == 0 && in.st_dev == out.st_dev &&
        in.st_ino == out.st_ino) {
        return cli_fail(c, PTQC_E_USAGE, "%s: output and input are one file",
                        output);
    }
    if (!cli_given(c, CLI_FORCE)) {
        return cli_fail(c, PTQC_E_USAGE, "%s: exists already; -f replaces it",
                        output);
    }
    return PTQC_OK;
}

// ---- the summary ----------------------------------------------------------

// What the library told before the file appeared.
typedef struct summary {
    json_t *metadata;
    uint64_t bytes;
} summary;

static void
keep_report(void *user, const char *metadata, uint64_t bytes)
{
    summary *s = user;
    s->metadata = json_loads(metadata, 0, NULL);
    s->bytes = bytes;
}

static json_t *
member(const summary *s, const char *key)
{
    json_t *value = json_object_get(s->metadata, key);
    return value != NULL ? json_incref(value) : json_object();
}

static ptqc_status
print_json_summary(cli *c, const ptqc_model_facts *facts, const char *path,
                   const summary *s, double ms)
{
    return cli_print_json(
        c, json_pack("{s:s, s:s, s:I, s:I, s:f, s:o, s:o, s:o, s:o}", "schema",
                     "ptqc.compile/1", "output", path, "bytes",
                     (json_int_t)s->bytes, "model_weight_bytes",
                     (json_int_t)facts->weight_bytes, "ms", ms, "schemes",
                     member(s, "schemes"), "programs", member(s, "programs"),
                     "notes", member(s, "notes"), "calibration",
                     member(s, "calibration_facts")));
}

static json_t *
ops_by_plugin(const summary *s)
{
    json_t *totals = json_object(), *program;
    size_t i;
    json_array_foreach(json_object_get(s->metadata, "programs"), i, program)
    {
        const char *plugin =
            json_string_value(json_object_get(program, "plugin"));
        json_int_t sum = json_integer_value(json_object_get(totals, plugin)) +
                         json_integer_value(json_object_get(program, "ops"));
        json_object_set_new(totals, plugin, json_integer(sum));
    }
    return totals;
}

static json_int_t
fact(const json_t *facts, const char *key)
{
    return json_integer_value(json_object_get(facts, key));
}

static void
print_calibration(const summary *s)
{
    const json_t *f = json_object_get(s->metadata, "calibration_facts");
    double numbers = (double)fact(f, "numbers");
    if (f == NULL) {
        return;
    }
    cli_print(
        "  calibrated on %lld samples: %lld activations, %.4f %% of "
        "numbers outside their ranges, %lld of %lld channels never "
        "active\n",
        (long long)fact(f, "samples"), (long long)fact(f, "activations"),
        numbers > 0 ? 100 * (double)fact(f, "outside_range") / numbers : 0,
        (long long)fact(f, "never_active"), (long long)fact(f, "channels"));
}

static ptqc_status
print_summary(cli *c, const ptqc_model_facts *facts, const char *path,
              const summary *s, double ms)
{
    char a[32], b[32];
    json_t *ops = ops_by_plugin(s), *count;
    const char *plugin;
    cli_print("%s: %s (weights in the model: %s), %.0f ms\n", path,
              cli_size_text(s->bytes, a), cli_size_text(facts->weight_bytes, b),
              ms);
    json_object_foreach(ops, plugin, count)
    {
        cli_print("  %lld ops on %s\n", (long long)json_integer_value(count),
                  plugin);
    }
    json_decref(ops);
    print_calibration(s);
    return cli_finish_output(c);
}

static ptqc_status
compile(cli *c, ptqc_model *model, ptqc_compile_desc *desc, const char *output)
{
    char note[1024];
    cli_samples samples = {0};
    summary told = {0};
    emitter texts = {0};
    ptqc_model_facts facts;
    uint64_t start = cli_clock_ns();
    ptqc_status st = read_emit(c, &texts.dir);
    ptqc_model_get_facts(model, &facts);
    desc->text = texts.dir != NULL ? write_text : NULL;
    desc->text_user = &texts;
    desc->report = keep_report;
    desc->report_user = &told;
    if (st == PTQC_OK && cli_given(c, CLI_CALIB)) {
        st = cli_samples_open(c, model, &samples);
        desc->samples_user = &samples;
        desc->calibration_note = samples.note;
    }
    if (st == PTQC_OK && desc->stats != NULL) {
        const char *name = strrchr(desc->stats, '/');
        (void)snprintf(note, sizeof note, "statistics of %s%s%s",
                       name != NULL ? name + 1 : desc->stats,
                       samples.note != NULL ? ", samples of " : "",
                       samples.note != NULL ? samples.note : "");
        desc->calibration_note = note;
    }
    if (samples.sample_count > 0) {
        desc->sample_count = samples.sample_count;
    }
    if (st == PTQC_OK) {
        st = ptqc_compile_file(c->ctx, model, desc, output,
                               cli_given(c, CLI_FORCE) ? PTQC_COMPILE_REPLACE
                                                       : 0);
    }
    if (st == PTQC_OK && texts.error != 0) {
        st = cli_fail(c, PTQC_E_IO, "%s: %s", texts.dir, strerror(texts.error));
    }
    double ms = (double)(cli_clock_ns() - start) * 1e-6;
    if (st == PTQC_OK && cli_given(c, CLI_JSON)) {
        st = print_json_summary(c, &facts, output, &told, ms);
    } else if (st == PTQC_OK && !c->is_quiet) {
        st = print_summary(c, &facts, output, &told, ms);
    }
    json_decref(told.metadata);
    cli_samples_close(&samples);
    return st;
}

ptqc_status
cli_compile(cli *c)
{
    const char *path = c->args.operands[0];
    const char *output = cli_get(c, CLI_OUTPUT)->text;
    ptqc_compile_desc desc;
    ptqc_model *model = NULL;
    char *work_dir = NULL;
    ptqc_status st = cli_desc_read(c, &desc);
    if (st == PTQC_OK) {
        st = ptqc_compile_check_desc(c->ctx, &desc);
    }
    if (st == PTQC_OK) {
        st = check_output(c, path, output);
    }
    if (st == PTQC_OK) {
        st = read_work_dir(c, output, &work_dir);
        desc.work_dir = work_dir;
        __atomic_store_n(&c->work_dir, work_dir, __ATOMIC_RELEASE);
    }
    if (st == PTQC_OK) {
        st = ptqc_model_open(c->ctx, path, &model);
    }
    if (st == PTQC_OK) {
        st = compile(c, model, &desc, output);
    }
    ptqc_model_close(model);
    return st;
}
