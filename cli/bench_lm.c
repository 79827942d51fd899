// SPDX-License-Identifier: Apache-2.0
//
// ptqc bench for language models, in llama-bench's terms: ppN = a prompt of N
// tokens is fed, tgN = N tokens are generated one by one (greedy, from token
// 0, without text). Mean and standard deviation over the repetitions.

#include <math.h>
#include <stdlib.h>

#include "cli/lm.h"

typedef struct lm_row {
    char test[32];
    uint32_t threads;
    double mean, deviation; // tokens per second
} lm_row;

static ptqc_status
ignore(void *user, uint32_t sequence, uint64_t position, const float *logits)
{
    (void)user;
    (void)sequence;
    (void)position;
    (void)logits;
    return PTQC_OK;
}

// Seconds for one prompt of n tokens.
static ptqc_status
time_prompt(cli *c, cli_lm *m, size_t n, double *out)
{
    int32_t *ids = calloc(n, sizeof *ids);
    if (ids == NULL) {
        return cli_fail(c, PTQC_E_RESOURCE, "out of memory");
    }
    for (size_t i = 0; i < n; i++) {
        ids[i] = (int32_t)(i * 7919 % ptqc_lm_vocabulary(m->lm));
    }
    const int32_t *tokens = ids;
    ptqc_lm_reset(m->lm);
    uint64_t start = cli_clock_ns();
    ptqc_status st =
        ptqc_lm_feed(m->lm, &tokens, &n, PTQC_LM_LAST_ONLY, ignore, NULL);
    *out = (double)(cli_clock_ns() - start) * 1e-9;
    free(ids);
    return st;
}

// Seconds for n tokens, one at a time.
static ptqc_status
time_generation(cli_lm *m, size_t n, double *out)
{
    int32_t id = 0;
    const int32_t *tokens = &id;
    size_t one = 1;
    ptqc_status st = PTQC_OK;
    ptqc_lm_reset(m->lm);
    uint64_t start = cli_clock_ns();
    for (size_t i = 0; i < n && st == PTQC_OK; i++) {
        id = (int32_t)(i * 7919 % ptqc_lm_vocabulary(m->lm));
        st =
            ptqc_lm_feed(m->lm, &tokens, &one, PTQC_LM_LAST_ONLY, ignore, NULL);
    }
    *out = (double)(cli_clock_ns() - start) * 1e-9;
    return st;
}

static ptqc_status
measure(cli *c, cli_lm *m, bool is_prompt, size_t n, lm_row *row)
{
    uint64_t repeat = (uint64_t)cli_get(c, CLI_REPEAT)->integer;
    repeat = repeat > 0 ? repeat : 5;
    double sum = 0, squares = 0, seconds;
    for (uint64_t i = 0; i <= repeat; i++) { // the first warms up
        ptqc_status st = is_prompt ? time_prompt(c, m, n, &seconds)
                                   : time_generation(m, n, &seconds);
        if (st != PTQC_OK) {
            return st;
        }
        double speed = (double)n / seconds;
        sum += i > 0 ? speed : 0;
        squares += i > 0 ? speed * speed : 0;
    }
    row->mean = sum / (double)repeat;
    row->deviation =
        sqrt(fmax(squares / (double)repeat - row->mean * row->mean, 0));
    row->threads = ptqc_ctx_threads(c->ctx);
    snprintf(row->test, sizeof row->test, "%s%zu", is_prompt ? "pp" : "tg", n);
    return PTQC_OK;
}

static void
keep_row(cli *c, json_t *rows, const lm_row *row)
{
    if (!cli_given(c, CLI_JSON)) {
        cli_print("| %-8s | %3u | %10.2f ± %-8.2f |\n", row->test, row->threads,
                  row->mean, row->deviation);
        fflush(stdout);
    }
    json_array_append_new(rows,
                          json_pack("{s:s, s:i, s:f, s:f}", "test", row->test,
                                    "threads", (int)row->threads, "tok_s",
                                    row->mean, "deviation", row->deviation));
}

static ptqc_status
bench_threads(cli *c, uint32_t threads, json_t *rows)
{
    cli_lm m;
    ptqc_ctx_destroy(c->ctx);
    c->ctx = NULL;
    ptqc_status st = cli_make_ctx(c, threads);
    if (st == PTQC_OK) {
        st = cli_lm_open(c, c->args.operands[0], &m);
    }
    if (st != PTQC_OK) {
        return st;
    }
    static const cli_option options[] = {CLI_PROMPT_TOKENS, CLI_N};
    for (int i = 0; i < 2 && st == PTQC_OK; i++) {
        lm_row row = {0};
        size_t n = (size_t)cli_get(c, options[i])->integer;
        if (n > 0) {
            st = measure(c, &m, i == 0, n, &row);
            if (st == PTQC_OK) {
                keep_row(c, rows, &row);
            }
        }
    }
    cli_lm_close(c, &m);
    return st;
}

ptqc_status
cli_bench_lm(cli *c)
{
    const cli_value *t = cli_get(c, CLI_BENCH_THREADS);
    uint32_t counts = t->number_count > 0 ? t->number_count : 1;
    json_t *rows = json_array();
    ptqc_status st = PTQC_OK;
    if (!cli_given(c, CLI_JSON)) {
        cli_print("| test     |   t | tok/s                 |\n"
                  "|----------|----:|----------------------:|\n");
    }
    for (uint32_t i = 0; i < counts && st == PTQC_OK; i++) {
        st = bench_threads(c, t->number_count > 0 ? (uint32_t)t->numbers[i] : 0,
                           rows);
    }
    if (st != PTQC_OK || !cli_given(c, CLI_JSON)) {
        json_decref(rows);
        return st != PTQC_OK ? st : cli_finish_output(c);
    }
    return cli_print_json(c, json_pack("{s:s, s:s, s:o}", "schema",
                                       "ptqc.bench/1", "subject",
                                       c->args.operands[0], "rows", rows));
}
