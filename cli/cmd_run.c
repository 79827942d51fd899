// SPDX-License-Identifier: Apache-2.0
//
// ptqc run: inputs from files, outputs to files or shortly to stdout.

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "cli/feed.h"
#include "cli/lm.h"
#include "cli/subject.h"

// The contract's file name of an output: others than [A-Za-z0-9._-] are '_'.
static void
file_name(const char *name, char out[256])
{
    size_t n = 0;
    for (; name[n] != '\0' && n < 255; n++) {
        char x = name[n];
        bool keep = (x >= 'A' && x <= 'Z') || (x >= 'a' && x <= 'z') ||
                    (x >= '0' && x <= '9') || strchr("._-", x) != NULL;
        out[n] = keep ? x : '_';
    }
    out[n] = '\0';
}

// Two outputs must not become one file: nothing is written then.
static ptqc_status
check_file_names(cli *c, const ptqc_artifact *artifact)
{
    uint32_t n = ptqc_artifact_output_count(artifact);
    for (uint32_t i = 0; i < n; i++) {
        for (uint32_t k = 0; k < i; k++) {
            char a[256], b[256];
            ptqc_tensor_info x, y;
            ptqc_artifact_output(artifact, i, &x);
            ptqc_artifact_output(artifact, k, &y);
            file_name(x.name, a);
            file_name(y.name, b);
            if (strcmp(a, b) == 0) {
                return cli_fail(c, PTQC_E_UNSUPPORTED,
                                "--output-dir: outputs '%s' and '%s' would "
                                "both be %s.npy",
                                y.name, x.name, a);
            }
        }
    }
    return PTQC_OK;
}

static ptqc_status
write_outputs(cli *c, const ptqc_artifact *artifact, const char *dir,
              const ptqc_tensor *outputs)
{
    ptqc_status st = check_file_names(c, artifact);
    if (st != PTQC_OK) {
        return st;
    }
    if (mkdir(dir, 0777) != 0 && errno != EEXIST) {
        return cli_fail(c, PTQC_E_IO, "%s: %s", dir, strerror(errno));
    }
    for (uint32_t i = 0; i < ptqc_artifact_output_count(artifact); i++) {
        char path[4096], name[256];
        ptqc_tensor_info info;
        ptqc_artifact_output(artifact, i, &info);
        file_name(info.name, name);
        if (snprintf(path, sizeof path, "%s/%s.npy", dir, name) >=
            (int)sizeof path) {
            return cli_fail(c, PTQC_E_IO, "%s: path too long", dir);
        }
        st = cli_npy_write(c, path, &outputs[i]);
        if (st != PTQC_OK) {
            return st;
        }
    }
    return PTQC_OK;
}

// ---- showing --------------------------------------------------------------

#define SHOWN 8u

static void
print_shape(const ptqc_tensor *t)
{
    cli_print("%s[", cli_dtype_name(t->dtype));
    for (uint32_t d = 0; d < t->rank; d++) {
        cli_print("%s%lld", d > 0 ? ", " : "", (long long)t->dims[d]);
    }
    cli_print("]");
}

static size_t
largest(const ptqc_tensor *t, size_t n)
{
    cli_array array = {.tensor = *t};
    size_t best = 0;
    for (size_t i = 1; i < n; i++) {
        if (cli_array_number(&array, i) > cli_array_number(&array, best)) {
            best = i;
        }
    }
    return best;
}

static ptqc_status
show_outputs(cli *c, const ptqc_artifact *artifact, const ptqc_tensor *outputs)
{
    for (uint32_t i = 0; i < ptqc_artifact_output_count(artifact); i++) {
        char name[256];
        ptqc_tensor_info info;
        cli_array array = {.tensor = outputs[i]};
        size_t n = cli_array_elements(&outputs[i]);
        ptqc_artifact_output(artifact, i, &info);
        cli_print("%s: ", cli_escape(info.name, name, sizeof name));
        print_shape(&outputs[i]);
        cli_print(" =");
        for (size_t k = 0; k < n && k < SHOWN; k++) {
            cli_print(" %.6g", cli_array_number(&array, k));
        }
        cli_print("%s", n > SHOWN ? " ..." : "");
        if (n > 1) {
            cli_print(" (largest at %zu)", largest(&outputs[i], n));
        }
        cli_print("\n");
    }
    return cli_finish_output(c);
}

static json_t *
shape_json(const ptqc_tensor *t)
{
    json_t *shape = json_array();
    for (uint32_t d = 0; d < t->rank; d++) {
        json_array_append_new(shape, json_integer(t->dims[d]));
    }
    return shape;
}

static ptqc_status
show_json(cli *c, const ptqc_artifact *artifact, const ptqc_tensor *outputs)
{
    json_t *list = json_array();
    for (uint32_t i = 0; i < ptqc_artifact_output_count(artifact); i++) {
        ptqc_tensor_info info;
        ptqc_artifact_output(artifact, i, &info);
        json_array_append_new(
            list, json_pack("{s:s, s:s, s:o}", "name", info.name, "dtype",
                            cli_dtype_name(outputs[i].dtype), "shape",
                            shape_json(&outputs[i])));
    }
    return cli_print_json(
        c, json_pack("{s:s, s:o}", "schema", "ptqc.run/1", "outputs", list));
}

static ptqc_status
run(cli *c, cli_subject *s, const cli_inputs *in)
{
    uint32_t n = ptqc_artifact_output_count(s->artifact);
    ptqc_tensor *outputs = calloc(n + 1, sizeof *outputs);
    if (outputs == NULL) {
        return cli_fail(c, PTQC_E_RESOURCE, "out of memory");
    }
    ptqc_status st =
        ptqc_session_run(s->session, in->tensors, in->count, outputs, n);
    const char *dir = cli_get(c, CLI_OUTPUT_DIR)->text;
    if (st == PTQC_OK && dir != NULL) {
        st = write_outputs(c, s->artifact, dir, outputs);
    }
    if (st == PTQC_OK && cli_given(c, CLI_JSON)) {
        st = show_json(c, s->artifact, outputs);
    } else if (st == PTQC_OK && dir == NULL) {
        st = show_outputs(c, s->artifact, outputs);
    }
    free(outputs);
    return st;
}

ptqc_status
cli_run(cli *c)
{
    cli_subject subject;
    cli_inputs inputs;
    if (cli_given(c, CLI_PROMPT) || cli_given(c, CLI_TOKENS) ||
        cli_given(c, CLI_LOGITS)) {
        return cli_run_lm(c);
    }
    ptqc_status st = cli_subject_open(c, c->args.operands[0], &subject);
    if (st != PTQC_OK) {
        return st;
    }
    st = cli_inputs_read(c, subject.artifact, &inputs);
    if (st == PTQC_OK) {
        st = run(c, &subject, &inputs);
        cli_inputs_deinit(&inputs);
    }
    cli_subject_close(c, &subject);
    return st;
}
