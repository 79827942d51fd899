// SPDX-License-Identifier: Apache-2.0
//
// ptqc tokenize, ptqc detokenize: a model's tokenizer alone.

#include <stdlib.h>
#include <string.h>

#include "cli/array.h"
#include "cli/lm.h"

// The tokenizer and what owns it.
typedef struct source {
    ptqc_model *model;
    ptqc_artifact *artifact;
    const ptqc_tokenizer *tokenizer;
} source;

static void
close_source(source *s)
{
    ptqc_model_close(s->model);
    ptqc_artifact_close(s->artifact);
}

static ptqc_status
open_source(cli *c, const char *path, source *out)
{
    *out = (source){0};
    ptqc_status st;
    if (cli_is_artifact(path)) {
        st = ptqc_artifact_open(c->ctx, path, &out->artifact);
        out->tokenizer =
            st == PTQC_OK ? ptqc_artifact_tokenizer(out->artifact) : NULL;
    } else {
        st = ptqc_model_inspect(c->ctx, path, &out->model);
        out->tokenizer =
            st == PTQC_OK ? ptqc_model_tokenizer(out->model) : NULL;
    }
    if (st == PTQC_OK && out->tokenizer == NULL) {
        st = cli_fail(c, PTQC_E_UNSUPPORTED, "%s: has no tokenizer", path);
    }
    if (st != PTQC_OK) {
        close_source(out);
    }
    return st;
}

ptqc_status
cli_read_text(cli *c, const char *path, char **out, size_t *out_bytes)
{
    void *map;
    ptqc_status st = cli_map_file(c, path, &map, out_bytes);
    if (st != PTQC_OK) {
        return st;
    }
    *out = malloc(*out_bytes + 1);
    if (*out == NULL) {
        st = cli_fail(c, PTQC_E_RESOURCE, "out of memory");
    } else {
        memcpy(*out, map, *out_bytes);
        (*out)[*out_bytes] = '\0';
    }
    cli_unmap_file(map, *out_bytes);
    return st;
}

static ptqc_status
print_ids(cli *c, const int32_t *ids, size_t count)
{
    if (!cli_given(c, CLI_JSON)) {
        for (size_t i = 0; i < count; i++) {
            cli_print("%s%d", i > 0 ? "," : "", ids[i]);
        }
        cli_print("\n");
        return cli_finish_output(c);
    }
    json_t *list = json_array();
    for (size_t i = 0; i < count; i++) {
        json_array_append_new(list, json_integer(ids[i]));
    }
    return cli_print_json(c, json_pack("{s:s, s:o}", "schema",
                                       "ptqc.tokenize/1", "tokens", list));
}

static ptqc_status
encode(cli *c, const source *s, const char *text, size_t bytes)
{
    int32_t *ids;
    size_t count;
    ptqc_status st = ptqc_encode(
        c->ctx, s->tokenizer, text, bytes,
        PTQC_ENCODE_ADD_SPECIAL | PTQC_ENCODE_PARSE_SPECIAL, &ids, &count);
    if (st == PTQC_OK) {
        st = print_ids(c, ids, count);
        ptqc_buffer_free(c->ctx, ids);
    }
    return st;
}

ptqc_status
cli_tokenize(cli *c)
{
    const char *text = cli_get(c, CLI_TEXT)->text;
    const char *file = cli_get(c, CLI_FILE)->text;
    char *owned = NULL;
    size_t bytes = 0;
    source s;
    if ((text != NULL) == (file != NULL)) {
        return cli_fail(c, PTQC_E_USAGE, "expected either --text or --file");
    }
    ptqc_status st = open_source(c, c->args.operands[0], &s);
    if (st != PTQC_OK) {
        return st;
    }
    if (file != NULL) {
        st = cli_read_text(c, file, &owned, &bytes);
    }
    if (st == PTQC_OK) {
        st = encode(c, &s, file != NULL ? owned : text,
                    file != NULL ? bytes : strlen(text));
    }
    free(owned);
    close_source(&s);
    return st;
}

ptqc_status
cli_detokenize(cli *c)
{
    const cli_value *v = cli_get(c, CLI_TOKENS);
    source s;
    if (v->count == 0) {
        return cli_fail(c, PTQC_E_USAGE, "expected --tokens 1,2,3");
    }
    ptqc_status st = open_source(c, c->args.operands[0], &s);
    if (st != PTQC_OK) {
        return st;
    }
    int32_t *ids = calloc(v->number_count, sizeof *ids);
    char *text = NULL;
    size_t bytes = 0;
    for (uint32_t i = 0; ids != NULL && i < v->number_count; i++) {
        ids[i] =
            v->numbers[i] <= INT32_MAX ? (int32_t)v->numbers[i] : INT32_MAX;
    }
    st = ids != NULL ? ptqc_decode(c->ctx, s.tokenizer, ids, v->number_count,
                                   &text, &bytes)
                     : cli_fail(c, PTQC_E_RESOURCE, "out of memory");
    if (st == PTQC_OK) {
        fwrite(text, 1, bytes, stdout);
        fputc('\n', stdout);
        st = cli_finish_output(c);
    }
    ptqc_buffer_free(c->ctx, text);
    free(ids);
    close_source(&s);
    return st;
}
