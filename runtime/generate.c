// SPDX-License-Identifier: Apache-2.0
//
// Generation: prompts in, tokens out, several sequences side by side. Text is
// delivered as soon as it is complete and cannot be the start of a stop text.

#include <string.h>

#include "runtime/lm.h"
#include "runtime/sample.h"

typedef struct pq_sequence {
    pq_sampler sampler;
    pq_detokenizer detokenizer;
    pq_strbuf text;   // decoded
    size_t delivered; // bytes of it
    int32_t next;     // the token chosen last
    uint64_t count;   // tokens generated
    bool has_ended;
} pq_sequence;

typedef struct pq_generation {
    ptqc_lm *lm;
    const ptqc_generate_desc *desc;
    const pq_tokenizer *tokenizer; // NULL: ids only
    ptqc_token_fn fn;
    void *user;
    pq_sequence *sequences; // owned
    bool is_stopped;        // by the caller
} pq_generation;

// ---- text -----------------------------------------------------------------

// Where a stop text begins at or after `from`; text.n when none does.
static size_t
find_stop(const pq_generation *g, const pq_strbuf *text, size_t from)
{
    size_t found = text->n;
    for (uint32_t i = 0; i < g->desc->stop_count; i++) {
        size_t n = strlen(g->desc->stop[i]);
        for (size_t at = from; n > 0 && at + n <= text->n; at++) {
            if (memcmp(text->p + at, g->desc->stop[i], n) == 0) {
                found = at < found ? at : found;
                break;
            }
        }
    }
    return found;
}

// Bytes at the end that could be the start of a stop text.
static size_t
held_back(const pq_generation *g, const pq_strbuf *text, size_t from)
{
    size_t held = 0;
    for (uint32_t i = 0; i < g->desc->stop_count; i++) {
        size_t n = strlen(g->desc->stop[i]);
        for (size_t k = 1; k < n && k <= text->n - from; k++) {
            if (k > held &&
                memcmp(text->p + text->n - k, g->desc->stop[i], k) == 0) {
                held = k;
            }
        }
    }
    return held;
}

// Tells the caller about the token with the text that may go out.
static void
deliver(pq_generation *g, uint32_t s, int32_t token, size_t end)
{
    pq_sequence *q = &g->sequences[s];
    const char *text = q->text.n > 0 ? q->text.p + q->delivered : "";
    size_t n = end > q->delivered ? end - q->delivered : 0;
    q->delivered += n;
    if (g->fn(g->user, s, token, text, n) != 0) {
        g->is_stopped = true;
    }
}

static ptqc_status
take_token(pq_generation *g, uint32_t s)
{
    pq_sequence *q = &g->sequences[s];
    if (g->tokenizer == NULL) {
        deliver(g, s, q->next, 0);
        return PTQC_OK;
    }
    PQ_TRY(pq_detokenizer_add(&q->detokenizer, q->next, &q->text));
    if (q->text.failed) {
        return PTQC_E_RESOURCE;
    }
    size_t stop = find_stop(g, &q->text, q->delivered);
    bool is_stop = stop < q->text.n;
    size_t end =
        is_stop ? stop : q->text.n - held_back(g, &q->text, q->delivered);
    deliver(g, s, q->next, end);
    q->has_ended |= is_stop;
    return PTQC_OK;
}

// What was held back goes out when the sequence ends otherwise.
static ptqc_status
end_sequence(pq_generation *g, uint32_t s)
{
    pq_sequence *q = &g->sequences[s];
    if (g->tokenizer != NULL && !q->has_ended) {
        PQ_TRY(pq_detokenizer_finish(&q->detokenizer, &q->text));
        if (q->delivered < q->text.n) {
            deliver(g, s, PQ_TOKEN_NONE, q->text.n);
        }
    }
    q->has_ended = true;
    return PTQC_OK;
}

// ---- tokens ---------------------------------------------------------------

static ptqc_status
choose(void *user, uint32_t s, uint64_t position, const float *logits)
{
    pq_generation *g = user;
    pq_sequence *q = &g->sequences[s];
    (void)position;
    PQ_TRY(pq_sampler_next(g->lm->ctx, &q->sampler, logits, &q->next));
    bool is_end = g->tokenizer != NULL && !g->desc->ignores_end &&
                  pq_tokenizer_is_end(g->tokenizer, q->next);
    if (is_end) {
        return end_sequence(g, s);
    }
    PQ_TRY(take_token(g, s));
    q->count++;
    bool is_full = g->lm->lengths[s] + 1 >= g->lm->context;
    if (!q->has_ended &&
        ((g->desc->token_limit > 0 && q->count >= g->desc->token_limit) ||
         is_full)) {
        return end_sequence(g, s);
    }
    return PTQC_OK;
}

static bool
is_done(const pq_generation *g)
{
    if (g->is_stopped) {
        return true;
    }
    for (uint32_t s = 0; s < g->lm->sequences; s++) {
        if (!g->sequences[s].has_ended) {
            return false;
        }
    }
    return true;
}

static ptqc_status
step(pq_generation *g, const int32_t **tokens, size_t *counts)
{
    for (uint32_t s = 0; s < g->lm->sequences; s++) {
        tokens[s] = &g->sequences[s].next;
        counts[s] = g->sequences[s].has_ended ? 0 : 1;
    }
    return ptqc_lm_feed(g->lm, tokens, counts, PTQC_LM_LAST_ONLY, choose, g);
}

static ptqc_status
generate(pq_generation *g, const int32_t *const *prompts, const size_t *counts)
{
    ptqc_lm *lm = g->lm;
    const int32_t **tokens =
        pq_alloc_array(lm->ctx, lm->sequences, sizeof *tokens);
    size_t *ones = pq_alloc_array(lm->ctx, lm->sequences, sizeof *ones);
    ptqc_status st = tokens != NULL && ones != NULL ? PTQC_OK : PTQC_E_RESOURCE;
    if (st == PTQC_OK) {
        st = ptqc_lm_feed(lm, prompts, counts, PTQC_LM_LAST_ONLY, choose, g);
    }
    while (st == PTQC_OK && !is_done(g)) {
        st = step(g, tokens, ones);
    }
    pq_free(lm->ctx, tokens);
    pq_free(lm->ctx, ones);
    return st;
}

// ---- all ------------------------------------------------------------------

static ptqc_status
init_sequences(pq_generation *g)
{
    ptqc_lm *lm = g->lm;
    g->sequences = pq_alloc_array(lm->ctx, lm->sequences, sizeof *g->sequences);
    PQ_TRY_ALLOC(g->sequences);
    for (uint32_t s = 0; s < lm->sequences; s++) {
        pq_sequence *q = &g->sequences[s];
        pq_strbuf_init(&q->text, lm->ctx);
        if (g->tokenizer != NULL) {
            pq_detokenizer_init(&q->detokenizer, g->tokenizer,
                                PQ_DECODE_SKIP_SPECIAL | PQ_DECODE_CONTINUE);
        }
        PQ_TRY(pq_sampler_init(lm->ctx, &q->sampler, &g->desc->sampling,
                               lm->vocabulary, s));
    }
    return PTQC_OK;
}

static void
deinit_sequences(pq_generation *g)
{
    for (uint32_t s = 0; g->sequences != NULL && s < g->lm->sequences; s++) {
        pq_strbuf_deinit(&g->sequences[s].text);
        pq_sampler_deinit(g->lm->ctx, &g->sequences[s].sampler);
    }
    pq_free(g->lm->ctx, g->sequences);
}

static ptqc_status
check_desc(const ptqc_lm *lm, const size_t *counts,
           const ptqc_generate_desc *desc)
{
    const ptqc_sampling *h = &desc->sampling;
    if (!(h->temperature >= 0) || !(h->top_p >= 0 && h->top_p <= 1) ||
        !(h->min_p >= 0 && h->min_p <= 1)) {
        return PQ_FAIL(lm->ctx, PTQC_E_USAGE,
                       "sampling: expected temperature >= 0, top-p and min-p "
                       "in 0..1");
    }
    for (uint32_t s = 0; s < lm->sequences; s++) {
        if (counts[s] == 0) {
            return PQ_FAIL(lm->ctx, PTQC_E_USAGE, "a prompt has no token");
        }
    }
    return PTQC_OK;
}

ptqc_status
ptqc_lm_generate(ptqc_lm *lm, const int32_t *const *prompts,
                 const size_t *counts, const ptqc_generate_desc *desc,
                 ptqc_token_fn fn, void *user)
{
    pq_generation g = {.lm = lm,
                       .desc = desc,
                       .tokenizer = lm->artifact->tokenizer,
                       .fn = fn,
                       .user = user};
    PQ_TRY(check_desc(lm, counts, desc));
    ptqc_status st = init_sequences(&g);
    if (st == PTQC_OK) {
        st = generate(&g, prompts, counts);
    }
    deinit_sequences(&g);
    return st;
}
