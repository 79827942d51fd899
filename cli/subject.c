// SPDX-License-Identifier: Apache-2.0
//
// Opening what is to be run.

#include "cli/subject.h"

#include <string.h>

bool
cli_is_artifact(const char *path)
{
    char magic[8] = {0};
    FILE *f = fopen(path, "rb");
    if (f == NULL) {
        return false;
    }
    size_t n = fread(magic, 1, sizeof magic, f);
    fclose(f);
    return n == sizeof magic && memcmp(magic, "PTQC\r\n\x1a\n", 8) == 0;
}

// Whether a target list ("vulkan:1,cpu;avx2") names the plugin.
static bool
names_plugin(const char *target, const char *plugin)
{
    size_t n = strlen(plugin);
    for (const char *p = target; p != NULL; p = strchr(p, ',')) {
        p += *p == ',';
        if (strncmp(p, plugin, n) == 0 && strchr(",:;", p[n]) != NULL) {
            return true; // strchr also finds the end
        }
    }
    return false;
}

// An artifact runs where it was compiled for; another --target says so.
static void
warn_of_target(const cli *c, const char *path, const ptqc_artifact *artifact)
{
    const char *target = cli_get(c, CLI_TARGET)->text;
    json_t *meta = json_loads(ptqc_artifact_metadata(artifact), 0, NULL);
    json_t *programs = json_object_get(meta, "programs"), *program;
    const char *plugin = NULL;
    bool is_named = target == NULL || json_array_size(programs) == 0;
    size_t i;
    json_array_foreach(programs, i, program)
    {
        plugin = json_string_value(json_object_get(program, "plugin"));
        is_named |= plugin != NULL && names_plugin(target, plugin);
    }
    if (!is_named && !c->is_quiet) {
        fprintf(stderr,
                "ptqc: warning: %s: was not compiled for --target %s; it "
                "runs on %s\n",
                path, target, plugin != NULL ? plugin : "what it holds");
    }
    json_decref(meta);
}

// --kv is for what the verb is about, not for its baseline.
static bool
is_subject(const cli *c, const char *path)
{
    return path == c->args.operands[0];
}

static ptqc_status
compile_model(cli *c, const char *path, cli_subject *s)
{
    ptqc_model *model = NULL;
    size_t count = 0;
    ptqc_compile_desc desc = {.target = cli_get(c, CLI_TARGET)->text,
                              .backends = cli_backend_dirs(c)};
    if (is_subject(c, path)) {
        desc.kv = cli_get(c, CLI_KV)->text;
    }
    ptqc_status st = ptqc_model_open(c->ctx, path, &model);
    if (st == PTQC_OK) {
        st = ptqc_compile_memory(c->ctx, model, &desc, &s->bytes, &count);
    }
    ptqc_model_close(model);
    return st == PTQC_OK ? ptqc_artifact_open_memory(c->ctx, s->bytes, count,
                                                     &s->artifact)
                         : st;
}

ptqc_status
cli_subject_open_artifact(cli *c, const char *path, cli_subject *out)
{
    *out = (cli_subject){.is_model = !cli_is_artifact(path)};
    if (!out->is_model && is_subject(c, path) && cli_given(c, CLI_KV)) {
        return cli_fail(c, PTQC_E_USAGE,
                        "--kv: %s is compiled already, with its own type",
                        path);
    }
    ptqc_status st = out->is_model
                         ? compile_model(c, path, out)
                         : ptqc_artifact_open(c->ctx, path, &out->artifact);
    if (st != PTQC_OK) {
        cli_subject_close(c, out);
    } else if (!out->is_model) {
        warn_of_target(c, path, out->artifact);
    }
    return st;
}

ptqc_status
cli_subject_open(cli *c, const char *path, cli_subject *out)
{
    ptqc_session_desc desc = {.backends = cli_backend_dirs(c),
                              .target = cli_get(c, CLI_TARGET)->text,
                              .huge_pages = cli_given(c, CLI_HUGE_PAGES)};
    ptqc_status st = cli_subject_open_artifact(c, path, out);
    if (st == PTQC_OK) {
        st = ptqc_session_create(c->ctx, out->artifact, &desc, &out->session);
    }
    if (st != PTQC_OK) {
        cli_subject_close(c, out);
    }
    return st;
}

void
cli_subject_close(cli *c, cli_subject *s)
{
    ptqc_session_destroy(s->session);
    ptqc_artifact_close(s->artifact);
    ptqc_buffer_free(c->ctx, s->bytes);
    *s = (cli_subject){0};
}
