// SPDX-License-Identifier: Apache-2.0
//
// ptqc eval --task ppl: perplexity of a language model on a text, in windows
// of --ctx tokens that begin --stride tokens apart. Each window is fed alone;
// every token is scored once, with the longest context its windows give. With
// a baseline also the mean KL divergence from it and how often the likeliest
// token is the same. The JSON form keeps the windows apart, so that two models
// can be compared window by window (docs/eval.md).

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cli/array.h"
#include "cli/lm.h"

// What the first scoring of a window's tokens gave.
typedef struct ppl_chunk {
    uint64_t scored;
    double nll; // sum, nats
} ppl_chunk;

typedef struct ppl_task {
    cli *c;
    int32_t *ids; // [count]
    size_t count;
    size_t context, stride, chunks;
    cli_lm model, base;
    bool has_base;
    float *log_p; // [context][vocabulary] of the baseline's window
    uint32_t vocabulary;
    ppl_chunk *done; // owned: [done_count], of at most count / stride + 1
    size_t done_count;
    // sums
    uint64_t agreed;
    double kl;
    // of the window at hand
    const int32_t *window;
    size_t window_count, first_scored; // targets from this index on
} ppl_task;

// ---- the text -------------------------------------------------------------

static ptqc_status
read_data(ppl_task *t)
{
    const char *path = cli_get(t->c, CLI_DATA)->text;
    if (path == NULL) {
        return cli_fail(t->c, PTQC_E_USAGE, "--task ppl needs --data");
    }
    ptqc_status st =
        cli_read_tokens(t->c, path, t->model.tokenizer, PTQC_ENCODE_ADD_SPECIAL,
                        &t->ids, &t->count);
    if (st == PTQC_OK && t->count < 2) {
        st = cli_fail(t->c, PTQC_E_INPUT,
                      "%s: expected at least 2 tokens, found %zu", path,
                      t->count);
    }
    return st;
}

// ---- scoring --------------------------------------------------------------

// log(sum(exp(x))) in double.
static double
log_sum(const float *x, uint32_t n)
{
    double max = (double)x[0], sum = 0;
    for (uint32_t i = 1; i < n; i++) {
        max = (double)x[i] > max ? (double)x[i] : max;
    }
    for (uint32_t i = 0; i < n; i++) {
        sum += exp((double)x[i] - max);
    }
    return max + log(sum);
}

static uint32_t
likeliest(const float *x, uint32_t n)
{
    uint32_t best = 0;
    for (uint32_t i = 1; i < n; i++) {
        best = x[i] > x[best] ? i : best;
    }
    return best;
}

// KL(base || model) of one token, and whether both would choose the same.
static void
compare(ppl_task *t, const float *base, const float *logits, double norm)
{
    double kl = 0;
    for (uint32_t i = 0; i < t->vocabulary; i++) {
        double p = (double)base[i];
        kl += exp(p) * (p - ((double)logits[i] - norm));
    }
    t->kl += kl;
    t->agreed +=
        likeliest(base, t->vocabulary) == likeliest(logits, t->vocabulary);
}

static ptqc_status
score(void *user, uint32_t sequence, uint64_t position, const float *logits)
{
    ppl_task *t = user;
    size_t target = position + 1;
    (void)sequence;
    if (target >= t->window_count || target < t->first_scored) {
        return PTQC_OK;
    }
    double norm = log_sum(logits, t->vocabulary);
    ppl_chunk *chunk = &t->done[t->done_count];
    chunk->nll += norm - (double)logits[t->window[target]];
    chunk->scored++;
    if (t->has_base) {
        compare(t, t->log_p + position * t->vocabulary, logits, norm);
    }
    return PTQC_OK;
}

static ptqc_status
keep_base(void *user, uint32_t sequence, uint64_t position, const float *logits)
{
    ppl_task *t = user;
    float *out = t->log_p + position * t->vocabulary;
    double norm = log_sum(logits, t->vocabulary);
    (void)sequence;
    for (uint32_t i = 0; i < t->vocabulary; i++) {
        out[i] = (float)((double)logits[i] - norm);
    }
    return PTQC_OK;
}

static ptqc_status
run_window(ppl_task *t, size_t begin, size_t end)
{
    t->window = t->ids + begin;
    t->window_count = end - begin;
    ptqc_status st = PTQC_OK;
    if (t->has_base) {
        ptqc_lm_reset(t->base.lm);
        st = ptqc_lm_feed(t->base.lm, &t->window, &t->window_count, 0,
                          keep_base, t);
    }
    if (st == PTQC_OK) {
        ptqc_lm_reset(t->model.lm);
        st = ptqc_lm_feed(t->model.lm, &t->window, &t->window_count, 0, score,
                          t);
    }
    return st;
}

static ptqc_status
run_windows(ppl_task *t)
{
    size_t scored_to = 1;
    t->done = calloc(t->count / t->stride + 1, sizeof *t->done);
    if (t->done == NULL) {
        return cli_fail(t->c, PTQC_E_RESOURCE, "out of memory");
    }
    for (size_t begin = 0; begin + 1 < t->count; begin += t->stride) {
        size_t end = begin + t->context;
        end = end < t->count ? end : t->count;
        if (t->chunks > 0 && t->done_count == t->chunks) {
            break;
        }
        if (end <= scored_to && t->done_count > 0) {
            break; // nothing new in it
        }
        t->first_scored = scored_to > begin + 1 ? scored_to - begin : 1;
        ptqc_status st = run_window(t, begin, end);
        if (st != PTQC_OK) {
            return st;
        }
        scored_to = end;
        t->done_count++;
    }
    return PTQC_OK;
}

// ---- all ------------------------------------------------------------------

static ptqc_status
open_base(ppl_task *t)
{
    if (!cli_given(t->c, CLI_BASELINE)) {
        return PTQC_OK;
    }
    ptqc_status st =
        cli_lm_open(t->c, cli_get(t->c, CLI_BASELINE)->text, &t->base);
    if (st != PTQC_OK) {
        return st;
    }
    t->has_base = true;
    if (ptqc_lm_vocabulary(t->base.lm) != t->vocabulary) {
        return cli_fail(t->c, PTQC_E_INPUT,
                        "--baseline: expected a vocabulary of %u, found %u",
                        t->vocabulary, ptqc_lm_vocabulary(t->base.lm));
    }
    t->log_p = malloc(t->context * t->vocabulary * sizeof *t->log_p);
    return t->log_p != NULL ? PTQC_OK
                            : cli_fail(t->c, PTQC_E_RESOURCE, "out of memory");
}

static ppl_chunk
sum_chunks(const ppl_task *t)
{
    ppl_chunk sum = {0};
    for (size_t i = 0; i < t->done_count; i++) {
        sum.scored += t->done[i].scored;
        sum.nll += t->done[i].nll;
    }
    return sum;
}

static json_t *
chunks_as_json(const ppl_task *t)
{
    json_t *list = json_array();
    for (size_t i = 0; i < t->done_count; i++) {
        const ppl_chunk *chunk = &t->done[i];
        json_array_append_new(
            list, json_pack("{s:I, s:f}", "tokens", (json_int_t)chunk->scored,
                            "nll", chunk->nll / (double)chunk->scored));
    }
    return list;
}

static ptqc_status
print_result(const ppl_task *t)
{
    ppl_chunk sum = sum_chunks(t);
    double n = (double)sum.scored, nll = sum.nll / n;
    if (!cli_given(t->c, CLI_JSON)) {
        cli_print("tokens %llu  nll %.5f  ppl %.4f",
                  (unsigned long long)sum.scored, nll, exp(nll));
        if (t->has_base) {
            cli_print("  kl %.6f  top-1 agreement %.4f", t->kl / n,
                      (double)t->agreed / n);
        }
        cli_print("\n");
        return cli_finish_output(t->c);
    }
    json_t *doc =
        json_pack("{s:s, s:I, s:f, s:f}", "schema", "ptqc.eval/1", "tokens",
                  (json_int_t)sum.scored, "nll", nll, "ppl", exp(nll));
    if (t->has_base) {
        json_object_set_new(doc, "kl", json_real(t->kl / n));
        json_object_set_new(doc, "top1_agree",
                            json_real((double)t->agreed / n));
    }
    json_object_set_new(doc, "chunks", chunks_as_json(t));
    return cli_print_json(t->c, doc);
}

static ptqc_status
read_windows(ppl_task *t)
{
    t->context = (size_t)cli_get(t->c, CLI_CTX)->integer;
    t->context = t->context > 0 ? t->context : 512;
    t->stride = (size_t)cli_get(t->c, CLI_STRIDE)->integer;
    t->stride = t->stride > 0 ? t->stride : t->context;
    t->chunks = (size_t)cli_get(t->c, CLI_CHUNKS)->integer;
    if (t->context < 2 || t->stride > t->context) {
        return cli_fail(t->c, PTQC_E_USAGE,
                        "expected --ctx of at least 2 and --stride of at "
                        "most --ctx");
    }
    if (t->context > ptqc_lm_context(t->model.lm)) {
        return cli_fail(
            t->c, PTQC_E_USAGE, "--ctx: expected at most %llu, found %zu",
            (unsigned long long)ptqc_lm_context(t->model.lm), t->context);
    }
    return PTQC_OK;
}

ptqc_status
cli_eval_ppl(cli *c)
{
    ppl_task t = {.c = c};
    ptqc_status st = cli_lm_open(c, c->args.operands[0], &t.model);
    if (st != PTQC_OK) {
        return st;
    }
    t.vocabulary = ptqc_lm_vocabulary(t.model.lm);
    st = read_windows(&t);
    if (st == PTQC_OK) {
        st = read_data(&t);
    }
    if (st == PTQC_OK) {
        st = open_base(&t);
    }
    if (st == PTQC_OK) {
        st = run_windows(&t);
    }
    if (st == PTQC_OK) {
        st = print_result(&t);
    }
    free(t.ids);
    free(t.log_p);
    free(t.done);
    cli_lm_close(c, &t.base);
    cli_lm_close(c, &t.model);
    return st;
}
