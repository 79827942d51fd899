// SPDX-License-Identifier: Apache-2.0
//
// PCRE2 behind a narrow interface. tokenizer.json is written for Oniguruma;
// the parts of the syntax that occur there mean the same in PCRE2 with UTF
// and UCP (docs/tokenizers.md tells the differences). Every match may take
// STEPS_FREE steps; what needs more is repeated with a larger limit that the
// budget of the whole text pays for: backtracking is linear in the text.
#define PCRE2_CODE_UNIT_WIDTH 8
#include "tokenizer/regex.h"

#include <pcre2.h>

enum {
    PATTERN_BYTES_MAX = 1 << 14,
    STEPS_FREE = 1 << 10,
    STEPS_PER_BYTE = 64,
    STEPS_BASE = 1 << 16,
    HEAP_KIB_MAX = 1 << 15,
};

struct pq_tok_regex {
    ptqc_ctx *ctx;
    pcre2_code *code;              // owned
    pcre2_general_context *memory; // owned
};

static void *
take(size_t bytes, void *ctx)
{
    return pq_alloc(ctx, bytes);
}

static void
give(void *p, void *ctx)
{
    pq_free(ctx, p);
}

void
pq_tok_regex_destroy(pq_tok_regex *re)
{
    if (re != NULL) {
        pcre2_code_free(re->code);
        pcre2_general_context_free(re->memory);
        pq_free(re->ctx, re);
    }
}

static ptqc_status
compile(pq_tok_regex *re, const char *what, ptqc_status bad, pq_str pattern)
{
    int code;
    PCRE2_SIZE at;
    re->memory = pcre2_general_context_create(take, give, re->ctx);
    PQ_TRY_ALLOC(re->memory);
    pcre2_compile_context *limits = pcre2_compile_context_create(re->memory);
    PQ_TRY_ALLOC(limits);
    pcre2_set_max_pattern_length(limits, PATTERN_BYTES_MAX);
    uint64_t fails = pq_fail_count(re->ctx);
    re->code = pcre2_compile(
        (PCRE2_SPTR)(pattern.n != 0 ? pattern.p : ""), pattern.n,
        PCRE2_UTF | PCRE2_UCP | PCRE2_NEVER_BACKSLASH_C, &code, &at, limits);
    pcre2_compile_context_free(limits);
    if (re->code != NULL) {
        return PTQC_OK;
    }
    if (pq_fail_count(re->ctx) != fails) {
        return PTQC_E_RESOURCE; // said by pq_alloc
    }
    PCRE2_UCHAR text[128];
    if (pcre2_get_error_message(code, text, sizeof text) < 0) {
        text[0] = 0;
    }
    return PQ_FAIL(re->ctx, bad, "%s: regular expression '%.*s': %s (byte %zu)",
                   what, PQ_STR_ARG(pattern), (const char *)text, (size_t)at);
}

ptqc_status
pq_tok_regex_create(ptqc_ctx *ctx, const char *what, ptqc_status bad,
                    pq_str pattern, pq_tok_regex **out)
{
    *out = NULL;
    pq_tok_regex *re = pq_alloc(ctx, sizeof *re);
    PQ_TRY_ALLOC(re);
    re->ctx = ctx;
    ptqc_status st = compile(re, what, bad, pattern);
    if (st != PTQC_OK) {
        pq_tok_regex_destroy(re);
        return st;
    }
    *out = re;
    return PTQC_OK;
}

void
pq_tok_matcher_reset(pq_tok_matcher *m, pq_str text)
{
    m->text = text;
    m->at = 0;
    m->budget += (uint64_t)text.n * STEPS_PER_BYTE;
}

ptqc_status
pq_tok_matcher_init(pq_tok_matcher *m, ptqc_ctx *ctx, const pq_tok_regex *re,
                    pq_str text)
{
    *m = (pq_tok_matcher){.ctx = ctx, .re = re, .budget = STEPS_BASE};
    pq_tok_matcher_reset(m, text);
    m->memory = pcre2_general_context_create(take, give, ctx);
    PQ_TRY_ALLOC(m->memory);
    m->match = pcre2_match_context_create(m->memory);
    PQ_TRY_ALLOC(m->match);
    m->data = pcre2_match_data_create_from_pattern(re->code, m->memory);
    PQ_TRY_ALLOC(m->data);
    pcre2_set_heap_limit(m->match, HEAP_KIB_MAX);
    return PTQC_OK;
}

void
pq_tok_matcher_deinit(pq_tok_matcher *m)
{
    pcre2_match_data_free(m->data);
    pcre2_match_context_free(m->match);
    pcre2_general_context_free(m->memory);
    *m = (pq_tok_matcher){0};
}

// One search from m->at; PCRE2's code, negative for "no".
static int
search(pq_tok_matcher *m)
{
    uint32_t limit = STEPS_FREE;
    for (;;) {
        pcre2_set_match_limit(m->match, limit);
        int code = pcre2_match(m->re->code, (PCRE2_SPTR)m->text.p, m->text.n,
                               m->at, PCRE2_NO_UTF_CHECK, m->data, m->match);
        if (code != PCRE2_ERROR_MATCHLIMIT || m->budget < limit ||
            limit > UINT32_MAX / 8) {
            return code;
        }
        m->budget -= limit;
        limit *= 8;
    }
}

static ptqc_status
fail(pq_tok_matcher *m, int code, uint64_t fails)
{
    if (pq_fail_count(m->ctx) != fails) {
        return PTQC_E_RESOURCE; // said by pq_alloc
    }
    return PQ_FAIL(m->ctx, PTQC_E_INPUT,
                   "a regular expression of %s takes too long or "
                   "fails on this text at byte %zu (PCRE2 error %d)",
                   m->what != NULL ? m->what : "the tokenizer", m->at, code);
}

ptqc_status
pq_tok_matcher_next(pq_tok_matcher *m, bool *out_found, size_t *out_start,
                    size_t *out_end)
{
    *out_found = false;
    uint64_t fails = pq_fail_count(m->ctx);
    while (m->at < m->text.n) {
        PQ_TRY(pq_check_cancelled(m->ctx)); // one search may take O(text)
        int code = search(m);
        if (code == PCRE2_ERROR_NOMATCH) {
            m->at = m->text.n;
            break;
        }
        if (code < 0) {
            return fail(m, code, fails);
        }
        const PCRE2_SIZE *where = pcre2_get_ovector_pointer(m->data);
        if (where[0] >= where[1] || where[1] <= m->at) { // empty
            size_t from = where[1] > m->at ? where[1] : m->at;
            pq_str rest = {m->text.p + from, m->text.n - from};
            size_t step = rest.n != 0 ? pq_str_utf8(rest) : 1;
            m->at = from + (step != 0 ? step : 1);
            continue;
        }
        *out_found = true;
        *out_start = where[0] < m->at ? m->at : where[0];
        *out_end = where[1];
        m->at = where[1];
        return PTQC_OK;
    }
    return PTQC_OK;
}
