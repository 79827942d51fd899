// SPDX-License-Identifier: Apache-2.0
//
// ptqc run for language models: text or ids in, text, ids or scores out.

#include <stdlib.h>
#include <string.h>

#include "cli/array.h"
#include "cli/lm.h"

ptqc_status
cli_lm_open(cli *c, const char *path, cli_lm *out)
{
    *out = (cli_lm){0};
    ptqc_status st = cli_subject_open_artifact(c, path, &out->subject);
    if (st != PTQC_OK) {
        return st;
    }
    ptqc_lm_desc desc = {
        .session = {.backends = cli_backend_dirs(c),
                    .target = cli_get(c, CLI_TARGET)->text,
                    .context = (uint64_t)cli_get(c, CLI_CTX)->integer,
                    .huge_pages = cli_given(c, CLI_HUGE_PAGES)}};
    out->tokenizer = ptqc_artifact_tokenizer(out->subject.artifact);
    st = ptqc_lm_create(c->ctx, out->subject.artifact, &desc, &out->lm);
    if (st != PTQC_OK) {
        cli_lm_close(c, out);
    }
    return st;
}

void
cli_lm_close(cli *c, cli_lm *m)
{
    ptqc_lm_destroy(m->lm);
    cli_subject_close(c, &m->subject);
    *m = (cli_lm){0};
}

// ---- the prompt -----------------------------------------------------------

typedef struct prompt {
    int32_t *ids; // from ptqc_encode, or owned
    size_t count;
    bool is_encoded;
} prompt;

static void
free_prompt(cli *c, prompt *p)
{
    if (p->is_encoded) {
        ptqc_buffer_free(c->ctx, p->ids);
    } else {
        free(p->ids);
    }
}

static ptqc_status
read_prompt(cli *c, const cli_lm *m, prompt *out)
{
    const cli_value *tokens = cli_get(c, CLI_TOKENS);
    const char *text = cli_get(c, CLI_PROMPT)->text;
    *out = (prompt){0};
    if (tokens->count > 0) {
        out->count = tokens->number_count;
        out->ids = calloc(out->count, sizeof *out->ids);
        if (out->ids == NULL) {
            return cli_fail(c, PTQC_E_RESOURCE, "out of memory");
        }
        for (size_t i = 0; i < out->count; i++) {
            out->ids[i] = tokens->numbers[i] <= INT32_MAX
                              ? (int32_t)tokens->numbers[i]
                              : INT32_MAX;
        }
        return PTQC_OK;
    }
    if (m->tokenizer == NULL) {
        return cli_fail(c, PTQC_E_UNSUPPORTED,
                        "the model has no tokenizer; give --tokens");
    }
    out->is_encoded = true;
    ptqc_status st =
        ptqc_encode(c->ctx, m->tokenizer, text, strlen(text),
                    PTQC_ENCODE_ADD_SPECIAL, &out->ids, &out->count);
    if (st == PTQC_OK && out->count == 0) {
        st = cli_fail(c, PTQC_E_USAGE, "--prompt: gives no token");
    }
    return st;
}

// ---- scores ---------------------------------------------------------------

typedef struct score_table {
    float *p; // [tokens][vocabulary]
    uint32_t vocabulary;
} score_table;

static ptqc_status
keep_scores(void *user, uint32_t sequence, uint64_t position,
            const float *logits)
{
    const score_table *t = user;
    (void)sequence;
    memcpy(t->p + position * t->vocabulary, logits,
           t->vocabulary * sizeof *logits);
    return PTQC_OK;
}

static ptqc_status
write_scores(cli *c, const cli_lm *m, const prompt *p)
{
    const char *path = cli_get(c, CLI_LOGITS)->text;
    const int32_t *tokens = p->ids;
    uint32_t vocabulary = ptqc_lm_vocabulary(m->lm);
    ptqc_tensor t = {.dtype = PTQC_F32,
                     .rank = 2,
                     .dims = {(int64_t)p->count, vocabulary},
                     .bytes = p->count * vocabulary * sizeof(float)};
    if (path[0] != '@' || path[1] == '\0') {
        return cli_fail(c, PTQC_E_USAGE, "--logits: expected @FILE");
    }
    score_table table = {.p = malloc(t.bytes), .vocabulary = vocabulary};
    if (table.p == NULL) {
        return cli_fail(c, PTQC_E_RESOURCE, "out of memory");
    }
    t.data = table.p;
    ptqc_status st =
        ptqc_lm_feed(m->lm, &tokens, &p->count, 0, keep_scores, &table);
    if (st == PTQC_OK) {
        st = cli_npy_write(c, path + 1, &t);
    }
    free(table.p);
    return st;
}

// ---- generation -----------------------------------------------------------

typedef struct generated {
    cli *c;
    json_t *ids;
    bool is_json, is_broken;
    size_t bytes;
    char last;
    uint64_t first_ns, last_ns, count;
} generated;

static int
take_token(void *user, uint32_t sequence, int32_t token, const char *text,
           size_t bytes)
{
    generated *g = user;
    (void)sequence;
    g->last_ns = cli_clock_ns();
    if (g->count++ == 0) {
        g->first_ns = g->last_ns;
    }
    if (g->is_json && token >= 0) {
        json_array_append_new(g->ids, json_integer(token));
    } else if (!g->is_json && bytes > 0) {
        g->is_broken =
            fwrite(text, 1, bytes, stdout) != bytes || fflush(stdout) != 0;
        g->last = text[bytes - 1];
    }
    return g->is_broken;
}

static double
number_or(const cli *c, cli_option option, double otherwise)
{
    const cli_value *v = cli_get(c, option);
    return v->count > 0 ? v->number : otherwise;
}

static ptqc_generate_desc
read_desc(const cli *c)
{
    const cli_value *top_k = cli_get(c, CLI_TOP_K);
    return (ptqc_generate_desc){
        .sampling = {.temperature = (float)number_or(c, CLI_TEMP, 0.8),
                     .top_k = top_k->count > 0 ? (uint32_t)top_k->integer : 40,
                     .top_p = (float)number_or(c, CLI_TOP_P, 0.95),
                     .min_p = (float)number_or(c, CLI_MIN_P, 0.05),
                     .seed = (uint64_t)cli_get(c, CLI_SEED)->integer},
        .token_limit = (uint64_t)cli_get(c, CLI_N)->integer,
        .stop = cli_get(c, CLI_STOP)->list,
        .stop_count = cli_get(c, CLI_STOP)->count};
}

static void
print_speed(const cli *c, const prompt *p, const generated *g,
            uint64_t start_ns)
{
    if (!cli_given(c, CLI_VERBOSE) || g->count < 2) {
        return;
    }
    double first = (double)(g->first_ns - start_ns) * 1e-9;
    double rest = (double)(g->last_ns - g->first_ns) * 1e-9;
    fprintf(stderr, "prompt %zu tokens %.1f tok/s, generated %.1f tok/s\n",
            p->count, (double)p->count / first, (double)(g->count - 1) / rest);
}

static ptqc_status
generate(cli *c, const cli_lm *m, const prompt *p)
{
    generated g = {
        .c = c, .ids = json_array(), .is_json = cli_given(c, CLI_JSON)};
    ptqc_generate_desc desc = read_desc(c);
    const int32_t *tokens = p->ids;
    uint64_t start = cli_clock_ns();
    ptqc_status st =
        ptqc_lm_generate(m->lm, &tokens, &p->count, &desc, take_token, &g);
    print_speed(c, p, &g, start);
    if (st != PTQC_OK || !g.is_json) {
        json_decref(g.ids);
        if (g.last != '\0' && g.last != '\n') {
            cli_print("\n");
        }
        ptqc_status flushed = cli_finish_output(c);
        return st != PTQC_OK ? st : flushed;
    }
    return cli_print_json(
        c, json_pack("{s:s, s:o}", "schema", "ptqc.run/1", "tokens", g.ids));
}

ptqc_status
cli_run_lm(cli *c)
{
    cli_lm m;
    prompt p;
    if (cli_given(c, CLI_PROMPT) && cli_given(c, CLI_TOKENS)) {
        return cli_fail(c, PTQC_E_USAGE, "give either --prompt or --tokens");
    }
    if (!cli_given(c, CLI_PROMPT) && !cli_given(c, CLI_TOKENS)) {
        return cli_fail(c, PTQC_E_USAGE, "--logits needs --prompt or --tokens");
    }
    ptqc_status st = cli_lm_open(c, c->args.operands[0], &m);
    if (st != PTQC_OK) {
        return st;
    }
    st = read_prompt(c, &m, &p);
    if (st == PTQC_OK) {
        st = cli_given(c, CLI_LOGITS) ? write_scores(c, &m, &p)
                                      : generate(c, &m, &p);
    }
    free_prompt(c, &p);
    cli_lm_close(c, &m);
    return st;
}
