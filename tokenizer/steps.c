// SPDX-License-Identifier: Apache-2.0
//
// Checks of the steps: descriptions come from files.
#include "tokenizer/steps.h"

#include "tokenizer/unicode.h"

static ptqc_status
check_common(const pq_tokenizer *t, const pq_tok_steps *steps,
             uint32_t kind_count, const char *what, ptqc_status bad)
{
    if (steps->count > PQ_TOK_STEP_MAX) {
        return PQ_FAIL(t->ctx, bad, "%s: %u steps of one kind, at most %d",
                       what, steps->count, PQ_TOK_STEP_MAX);
    }
    for (uint32_t i = 0; i < steps->count; i++) {
        const pq_tok_step *s = &steps->at[i];
        if (s->kind >= kind_count || s->flags >= PQ_TOK_STEP_FLAGS_END) {
            return PQ_FAIL(t->ctx, bad, "%s: unknown step %u, flags %x", what,
                           s->kind, s->flags);
        }
        if (!pq_text_is_well_formed(s->a) || !pq_text_is_well_formed(s->b)) {
            return PQ_FAIL(t->ctx, bad, "%s: a step's text is not UTF-8", what);
        }
    }
    return PTQC_OK;
}

static ptqc_status
compile(pq_tokenizer *t, pq_tok_step *s, const char *what, ptqc_status bad)
{
    if ((s->flags & PQ_TOK_STEP_REGEX) != 0) {
        return pq_tok_regex_create(t->ctx, what, bad, s->a, &s->regex);
    }
    if (s->a.n == 0) {
        return PQ_FAIL(t->ctx, bad, "%s: a pattern of no characters", what);
    }
    return PTQC_OK;
}

static ptqc_status
check_normalizers(pq_tokenizer *t, const char *what, ptqc_status bad)
{
    for (uint32_t i = 0; i < t->normalizers.count; i++) {
        pq_tok_step *s = &t->normalizers.at[i];
        bool is_prepend = s->kind == PQ_TOK_NORM_PREPEND;
        if (s->kind == PQ_TOK_NORM_REPLACE) {
            PQ_TRY(compile(t, s, what, bad));
        }
        if (s->b.n > PQ_TOK_CONTENT_MAX ||
            (is_prepend && s->a.n > PQ_TOK_CONTENT_MAX)) {
            return PQ_FAIL(t->ctx, bad,
                           "%s: a normalizer puts in more than %d bytes", what,
                           PQ_TOK_CONTENT_MAX);
        }
    }
    return PTQC_OK;
}

static ptqc_status
check_pattern(pq_tokenizer *t, pq_tok_step *s, const char *what,
              ptqc_status bad)
{
    if (s->number >= PQ_TOK_BEHAVIOR_COUNT) {
        return PQ_FAIL(t->ctx, bad, "%s: unknown split behavior %u", what,
                       s->number);
    }
    if (s->kind != PQ_TOK_SPLIT_PATTERN) {
        return PTQC_OK;
    }
    // The scanners find a match everywhere: nothing lies between matches.
    bool inverts = (s->flags & PQ_TOK_STEP_INVERT) != 0;
    bool is_usual = s->number == PQ_TOK_BEHAVIOR_ISOLATED ||
                    (s->number == PQ_TOK_BEHAVIOR_REMOVED && inverts);
    if ((s->flags & PQ_TOK_STEP_REGEX) != 0 && is_usual) {
        s->scan = pq_tok_scan_find(s->a);
    }
    return s->scan != PQ_TOK_SCAN_NONE ? PTQC_OK : compile(t, s, what, bad);
}

static ptqc_status
check_splitters(pq_tokenizer *t, const char *what, ptqc_status bad)
{
    for (uint32_t i = 0; i < t->splitters.count; i++) {
        pq_tok_step *s = &t->splitters.at[i];
        bool is_byte_level = s->kind == PQ_TOK_SPLIT_BYTE_LEVEL;
        bool is_metaspace = s->kind == PQ_TOK_SPLIT_METASPACE;
        if (is_byte_level &&
            (i + 1 != t->splitters.count || t->model != PQ_TOK_BPE)) {
            return PQ_FAIL(t->ctx, PTQC_E_UNSUPPORTED,
                           "%s: ByteLevel is supported as the last "
                           "pre-tokenizer of BPE only",
                           what);
        }
        if (is_metaspace && (s->number >= PQ_TOK_SCHEME_COUNT || s->a.n == 0 ||
                             pq_str_utf8(s->a) != s->a.n)) {
            return PQ_FAIL(t->ctx, bad, "%s: malformed Metaspace", what);
        }
        if (s->kind == PQ_TOK_SPLIT_PATTERN ||
            s->kind == PQ_TOK_SPLIT_PUNCTUATION) {
            PQ_TRY(check_pattern(t, s, what, bad));
        }
        t->is_byte_level = is_byte_level;
        bool changes_text =
            is_metaspace ||
            (is_byte_level && (s->flags & PQ_TOK_STEP_PREFIX) != 0);
        t->is_text_stable = t->is_text_stable && !changes_text;
    }
    return PTQC_OK;
}

static ptqc_status
check_decoders(const pq_tokenizer *t, const char *what, ptqc_status bad)
{
    bool is_fused = false, is_text = true;
    for (uint32_t i = 0; i < t->decoders.count; i++) {
        const pq_tok_step *s = &t->decoders.at[i];
        is_fused = is_fused || s->kind == PQ_TOK_DEC_FUSE;
        bool is_whole = s->kind == PQ_TOK_DEC_BYTE_LEVEL ||
                        s->kind == PQ_TOK_DEC_WORDPIECE ||
                        s->kind == PQ_TOK_DEC_METASPACE;
        bool is_strip = s->kind == PQ_TOK_DEC_STRIP;
        bool is_fallback = s->kind == PQ_TOK_DEC_BYTE_FALLBACK;
        bool is_early = is_fallback || s->kind == PQ_TOK_DEC_REPLACE;
        bool is_last = i + 1 == t->decoders.count;
        if ((is_whole && t->decoders.count != 1) ||
            (is_strip && (!is_fused || !is_last)) ||
            (is_early && (is_fused || !is_text))) {
            return PQ_FAIL(t->ctx, PTQC_E_UNSUPPORTED,
                           "%s: this sequence of decoders is not supported",
                           what);
        }
        is_text = is_text && !is_fallback;
        bool is_char = s->a.n == 0 ? false : pq_str_utf8(s->a) == s->a.n;
        if ((is_strip && (s->a.n != 1 || s->number > PQ_TOK_CONTENT_MAX)) ||
            (s->kind == PQ_TOK_DEC_METASPACE && !is_char) ||
            (s->kind == PQ_TOK_DEC_REPLACE &&
             (s->a.n == 0 || s->b.n > PQ_TOK_CONTENT_MAX))) {
            return PQ_FAIL(t->ctx, bad, "%s: malformed decoder", what);
        }
    }
    return PTQC_OK;
}

ptqc_status
pq_tok_check_steps(pq_tokenizer *t, const char *what, ptqc_status bad)
{
    PQ_TRY(check_common(t, &t->normalizers, PQ_TOK_NORM_COUNT, what, bad));
    PQ_TRY(check_common(t, &t->splitters, PQ_TOK_SPLIT_COUNT, what, bad));
    PQ_TRY(check_common(t, &t->decoders, PQ_TOK_DEC_COUNT, what, bad));
    t->is_text_stable = t->normalizers.count == 0;
    PQ_TRY(check_normalizers(t, what, bad));
    PQ_TRY(check_splitters(t, what, bad));
    return check_decoders(t, what, bad);
}
