// SPDX-License-Identifier: Apache-2.0
//
// ptqc-opt: reads a graph (.ptir or a model file), runs passes on it and
// prints it as .ptir. For developers: pass tests, torture, bug reports.
// Exit codes are the numbers of ptqc_status, as those of ptqc.
#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "frontend/import.h"
#include "ir/interp/interp.h"
#include "ir/text.h"
#include "ir/verify.h"
#include "passes/pipeline.h"

static const char usage[] =
    "usage: ptqc-opt FILE.ptir|FILE.onnx [options]\n"
    "  --pass NAME          run a pass (again for more, in order)\n"
    "  --compile            run all passes that a compile runs\n"
    "  --scheme SCHEME      what --compile and quantizing passes aim at\n"
    "  --verify-each        verify after every pass\n"
    "  --torture MODES      clone, text or clone,text\n"
    "  --no-data            print constants as hashes\n"
    "  --list               list the passes and stop\n"
    "  -o PATH              write there (default -: standard output)\n";

enum { MAX_PASSES = 64 };

typedef struct options {
    const char *input, *output;
    const char *passes[MAX_PASSES];
    uint32_t pass_count;
    const char *scheme; // NULL: none
    unsigned pipeline_flags, print_flags;
    uint64_t torture_flags;
    bool is_compile, is_list, is_help;
} options;

static void
say(void *user, ptqc_severity severity, ptqc_status status, const char *text)
{
    static const char *const words[] = {
        [PTQC_SEVERITY_ERROR] = "error: ",
        [PTQC_SEVERITY_WARNING] = "warning: ",
        [PTQC_SEVERITY_NOTE] = "note: ",
        [PTQC_SEVERITY_INFO] = "",
        [PTQC_SEVERITY_DEBUG] = "",
    };
    (void)user;
    (void)status;
    (void)fprintf(stderr, "ptqc-opt: %s%s\n", words[severity], text);
}

static ptqc_status
misused(const char *what, const char *argument)
{
    (void)fprintf(stderr, "ptqc-opt: %s '%s'\n%s", what, argument, usage);
    return PTQC_E_USAGE;
}

// ---- arguments --------------------------------------------------------------

static ptqc_status
parse_torture(const char *modes, uint64_t *out)
{
    pq_str rest = pq_str_of(modes);
    while (rest.n != 0) {
        pq_str mode;
        (void)pq_str_split(rest, ',', &mode, &rest);
        if (pq_str_equal_z(mode, "clone")) {
            *out |= PTQC_TORTURE_CLONE;
        } else if (pq_str_equal_z(mode, "text")) {
            *out |= PTQC_TORTURE_TEXT;
        } else {
            return misused("unknown torture mode in", modes);
        }
    }
    return PTQC_OK;
}

// Options without a value; false: not one of them.
static bool
parse_flag(const char *argument, options *o)
{
    if (strcmp(argument, "--verify-each") == 0) {
        o->pipeline_flags |= PQ_PIPELINE_VERIFY;
    } else if (strcmp(argument, "--compile") == 0) {
        o->is_compile = true;
    } else if (strcmp(argument, "--no-data") == 0) {
        o->print_flags |= PQ_PRINT_NO_DATA;
    } else if (strcmp(argument, "--list") == 0) {
        o->is_list = true;
    } else if (strcmp(argument, "--help") == 0) {
        o->is_help = true;
    } else {
        return false;
    }
    return true;
}

static ptqc_status
parse_valued(const char *argument, const char *value, options *o)
{
    if (strcmp(argument, "--pass") == 0) {
        if (o->pass_count == MAX_PASSES) {
            return misused("too many passes at", value);
        }
        if (pq_pass_find(pq_str_of(value)) == NULL) {
            return misused("unknown pass", value);
        }
        o->passes[o->pass_count++] = value;
        return PTQC_OK;
    }
    if (strcmp(argument, "--torture") == 0) {
        return parse_torture(value, &o->torture_flags);
    }
    if (strcmp(argument, "--scheme") == 0) {
        o->scheme = value;
        return PTQC_OK;
    }
    if (strcmp(argument, "-o") == 0) {
        o->output = value;
        return PTQC_OK;
    }
    return misused("unknown option", argument);
}

static ptqc_status
parse_arguments(int argc, char **argv, options *o)
{
    for (int i = 1; i < argc; i++) {
        if (argv[i][0] != '-') {
            if (o->input != NULL) {
                return misused("a second file", argv[i]);
            }
            o->input = argv[i];
        } else if (!parse_flag(argv[i], o)) {
            if (i + 1 == argc) {
                return misused("no value after, or unknown,", argv[i]);
            }
            PQ_TRY(parse_valued(argv[i], argv[i + 1], o));
            i++;
        }
    }
    if (o->input == NULL && !o->is_list && !o->is_help) {
        return misused("no file given", "");
    }
    return PTQC_OK;
}

// ---- reading and writing
// --------------------------------------------------------

static ptqc_status
read_text(ptqc_ctx *ctx, const char *path, pq_graph **out)
{
    pq_map map;
    PQ_TRY(pq_map_open(ctx, path, &map));
    ptqc_status st =
        pq_graph_parse(ctx, path, (pq_str){(const char *)map.p, map.n}, out);
    pq_map_close(&map);
    return st;
}

static ptqc_status
read_model(ptqc_ctx *ctx, const char *path, pq_graph **out)
{
    pq_model *model;
    PQ_TRY(pq_import_model(ctx, path, NULL, &model));
    *out = pq_model_take_graph(model);
    pq_model_destroy(model);
    return PTQC_OK;
}

static ptqc_status
read_graph(ptqc_ctx *ctx, const char *path, pq_graph **out)
{
    return pq_str_ends(pq_str_of(path), ".ptir") ? read_text(ctx, path, out)
                                                 : read_model(ctx, path, out);
}

static ptqc_status
write_file(ptqc_ctx *ctx, const char *path, const pq_strbuf *text)
{
    pq_writer *w;
    PQ_TRY(pq_writer_open(ctx, path, PQ_WRITE_REPLACE, &w));
    ptqc_status st = pq_writer_write(w, text->p, text->n);
    if (st != PTQC_OK) {
        pq_writer_abort(w);
        return st;
    }
    return pq_writer_commit(w);
}

static ptqc_status
write_graph(ptqc_ctx *ctx, const pq_graph *g, const options *o)
{
    pq_strbuf text;
    ptqc_status st;
    pq_strbuf_init(&text, ctx);
    PQ_TRY_OR(done, pq_graph_print(g, o->print_flags, &text));
    if (o->output != NULL && strcmp(o->output, "-") != 0) {
        st = write_file(ctx, o->output, &text);
    } else if (fwrite(text.p, 1, text.n, stdout) != text.n ||
               fflush(stdout) != 0) {
        st = PQ_FAIL(ctx, PTQC_E_IO, "cannot write to standard output");
    }
done:
    pq_strbuf_deinit(&text);
    return st;
}

// ---- running ----------------------------------------------------------------

static ptqc_status
fill_recipe(ptqc_ctx *ctx, const options *o, pq_recipe *recipe)
{
    *recipe = (pq_recipe){.method = PQ_STR("rtn")};
    if (o->scheme != NULL) {
        PQ_TRY(pq_scheme_parse(ctx, pq_str_of(o->scheme), &recipe->scheme));
        recipe->has_scheme = true;
    }
    return PTQC_OK;
}

static ptqc_status
run_passes(ptqc_ctx *ctx, pq_graph **g, const options *o)
{
    pq_recipe recipe;
    pq_arena scratch;
    PQ_TRY(fill_recipe(ctx, o, &recipe));
    pq_arena_init(&scratch, ctx);
    pq_pass_env env = {.scratch = &scratch,
                       .recipe = &recipe,
                       .make_runner = pq_interp_make,
                       .runner_user = ctx};
    const pq_pipeline_desc desc = {.flags = o->pipeline_flags};
    ptqc_status st = pq_pipeline_run(g, &env, o->passes, o->pass_count, &desc);
    if (st == PTQC_OK && o->is_compile) {
        st = pq_pipeline_compile(g, &env, &desc);
    }
    pq_arena_deinit(&scratch);
    return st;
}

static ptqc_status
run(ptqc_ctx *ctx, const options *o)
{
    pq_graph *g = NULL;
    ptqc_status st;
    PQ_TRY(read_graph(ctx, o->input, &g));
    PQ_TRY_OR(done, run_passes(ctx, &g, o));
    PQ_TRY_OR(done, pq_graph_verify(g));
    st = write_graph(ctx, g, o);
done:
    pq_graph_destroy(g);
    return st;
}

static void
list_passes(void)
{
    static const char *const stages[] = {
        [PQ_STAGE_FLOAT] = "float",
        [PQ_STAGE_ANNOTATED] = "annotated",
        [PQ_STAGE_QUANTIZED] = "quantized",
        [PQ_STAGE_LEGAL] = "legal",
    };
    for (uint32_t i = 0; pq_pass_at(i) != NULL; i++) {
        const pq_pass_info *p = pq_pass_at(i);
        (void)printf("%-24s %-9s -> %-9s %-7s %s\n", p->name, stages[p->before],
                     stages[p->after], p->is_exact ? "exact" : "numeric",
                     p->summary);
    }
}

int
main(int argc, char **argv)
{
    options o = {0};
    ptqc_ctx *ctx;
    ptqc_status st = parse_arguments(argc, argv, &o);
    if (st != PTQC_OK) {
        return (int)st;
    }
    if (o.is_help || o.is_list) {
        if (o.is_help) {
            (void)fputs(usage, stdout);
        } else {
            list_passes();
        }
        return 0;
    }
    const ptqc_ctx_desc desc = {.diag = say, .torture_flags = o.torture_flags};
    st = ptqc_ctx_create(&desc, &ctx);
    if (st != PTQC_OK) {
        (void)fputs("ptqc-opt: out of memory\n", stderr);
        return (int)st;
    }
    st = run(ctx, &o);
    ptqc_ctx_destroy(ctx);
    return (int)st;
}
