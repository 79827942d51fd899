// SPDX-License-Identifier: Apache-2.0
//
// Splitters (pre-tokenizers): each cuts the words that the one before it made.
// Those that change the text write a new one.
#include <string.h>

#include "base/vec.h"
#include "tokenizer/steps.h"
#include "tokenizer/unicode.h"

void
pq_tok_pieces_init(pq_tok_pieces *p, ptqc_ctx *ctx)
{
    *p = (pq_tok_pieces){.ctx = ctx};
    pq_strbuf_init(&p->buffers[0], ctx);
    pq_strbuf_init(&p->buffers[1], ctx);
}

void
pq_tok_pieces_deinit(pq_tok_pieces *p)
{
    pq_free(p->ctx, p->at);
    pq_free(p->ctx, p->next);
    pq_free(p->ctx, p->cuts);
    pq_strbuf_deinit(&p->buffers[0]);
    pq_strbuf_deinit(&p->buffers[1]);
    *p = (pq_tok_pieces){.ctx = p->ctx};
}

// ---- what a step makes ------------------------------------------------------

// Adds a word to the next list; empty ones are dropped.
static ptqc_status
emit(pq_tok_pieces *p, size_t at, size_t n)
{
    if (n == 0) {
        return PTQC_OK;
    }
    if (p->next_count == p->next_capacity) {
        void *list = p->next;
        PQ_TRY(pq_vec_reserve(p->ctx, &list, &p->next_capacity,
                              (size_t)p->next_count + 1, sizeof *p->next));
        p->next = list;
    }
    p->next[p->next_count++] = (pq_tok_span){(uint32_t)at, (uint32_t)n};
    return PTQC_OK;
}

static void
swap_lists(pq_tok_pieces *p)
{
    pq_tok_span *list = p->at;
    uint32_t capacity = p->capacity;
    p->at = p->next;
    p->capacity = p->next_capacity;
    p->count = p->next_count;
    p->next = list;
    p->next_capacity = capacity;
    p->next_count = 0;
}

static pq_str
text_of(const pq_tok_pieces *p, pq_tok_span span)
{
    return (pq_str){p->text.p + span.at, span.n};
}

static ptqc_status
add_cut(pq_tok_pieces *p, size_t at, size_t end, bool is_match)
{
    if (at == end) {
        return PTQC_OK;
    }
    void *list = p->cuts;
    PQ_TRY(pq_vec_reserve(p->ctx, &list, &p->cut_capacity,
                          (size_t)p->cut_count + 1, sizeof *p->cuts));
    p->cuts = list;
    p->cuts[p->cut_count++] =
        (struct pq_tok_cut){{(uint32_t)at, (uint32_t)(end - at)}, is_match};
    return PTQC_OK;
}

// A match that touches the cut before it on the wanted side joins it, unless
// that is a match as well.
static ptqc_status
emit_merged_back(pq_tok_pieces *p)
{
    bool was_match = false;
    for (uint32_t i = 0; i < p->cut_count; i++) {
        const struct pq_tok_cut *cut = &p->cuts[i];
        if (cut->is_match && !was_match && i != 0) {
            p->next[p->next_count - 1].n += cut->span.n;
        } else {
            PQ_TRY(emit(p, cut->span.at, cut->span.n));
        }
        was_match = cut->is_match;
    }
    return PTQC_OK;
}

// The same from the right.
static ptqc_status
emit_merged_ahead(pq_tok_pieces *p)
{
    for (uint32_t i = 0; i < p->cut_count; i++) {
        pq_tok_span span = p->cuts[i].span;
        bool is_last_match = p->cuts[i].is_match && i + 1 < p->cut_count &&
                             !p->cuts[i + 1].is_match;
        if (is_last_match) {
            i++;
            span.n += p->cuts[i].span.n;
        }
        PQ_TRY(emit(p, span.at, span.n));
    }
    return PTQC_OK;
}

static ptqc_status
emit_contiguous(pq_tok_pieces *p)
{
    for (uint32_t i = 0; i < p->cut_count;) {
        pq_tok_span span = p->cuts[i].span;
        bool is_match = p->cuts[i].is_match;
        for (i++; i < p->cut_count && p->cuts[i].is_match == is_match; i++) {
            span.n += p->cuts[i].span.n;
        }
        PQ_TRY(emit(p, span.at, span.n));
    }
    return PTQC_OK;
}

static ptqc_status
emit_cuts(pq_tok_pieces *p, pq_tok_behavior behavior)
{
    switch (behavior) {
    case PQ_TOK_BEHAVIOR_MERGED_WITH_PREVIOUS:
        return emit_merged_back(p);
    case PQ_TOK_BEHAVIOR_MERGED_WITH_NEXT:
        return emit_merged_ahead(p);
    case PQ_TOK_BEHAVIOR_CONTIGUOUS:
        return emit_contiguous(p);
    case PQ_TOK_BEHAVIOR_REMOVED:
    case PQ_TOK_BEHAVIOR_ISOLATED:
    case PQ_TOK_BEHAVIOR_COUNT:
        break;
    }
    for (uint32_t i = 0; i < p->cut_count; i++) {
        const struct pq_tok_cut *cut = &p->cuts[i];
        if (!cut->is_match || behavior == PQ_TOK_BEHAVIOR_ISOLATED) {
            PQ_TRY(emit(p, cut->span.at, cut->span.n));
        }
    }
    return PTQC_OK;
}

// ---- patterns
// -----------------------------------------------------------------

// Every character of which `is` is true is a match.
static ptqc_status
cut_by_class(pq_tok_pieces *p, bool (*is)(uint32_t c), pq_tok_behavior behavior)
{
    for (uint32_t i = 0; i < p->count; i++) {
        pq_str s = text_of(p, p->at[i]);
        size_t start = 0, n;
        p->cut_count = 0;
        for (size_t at = 0; at < s.n; at += n) {
            if (is(pq_char_get((pq_str){s.p + at, s.n - at}, &n))) {
                PQ_TRY(add_cut(p, start, at, false));
                PQ_TRY(add_cut(p, at, at + n, true));
                start = at + n;
            }
        }
        PQ_TRY(add_cut(p, start, s.n, false));
        for (uint32_t k = 0; k < p->cut_count; k++) {
            p->cuts[k].span.at += p->at[i].at;
        }
        PQ_TRY(emit_cuts(p, behavior));
    }
    return PTQC_OK;
}

static ptqc_status
cut_text(pq_tok_pieces *p, pq_tok_span span, pq_str wanted)
{
    pq_str s = text_of(p, span);
    size_t at = 0;
    for (const char *hit;
         (hit = memmem(s.p + at, s.n - at, wanted.p, wanted.n)) != NULL;) {
        size_t start = (size_t)(hit - s.p);
        PQ_TRY(add_cut(p, span.at + at, span.at + start, false));
        at = start + wanted.n;
        PQ_TRY(add_cut(p, span.at + start, span.at + at, true));
    }
    return add_cut(p, span.at + at, span.at + s.n, false);
}

static ptqc_status
cut_matches(pq_tok_pieces *p, pq_tok_span span, pq_tok_matcher *m)
{
    bool found = true;
    size_t at = 0, start, end;
    pq_tok_matcher_reset(m, text_of(p, span));
    for (;;) {
        PQ_TRY(pq_tok_matcher_next(m, &found, &start, &end));
        if (!found) {
            break;
        }
        PQ_TRY(add_cut(p, span.at + at, span.at + start, false));
        PQ_TRY(add_cut(p, span.at + start, span.at + end, true));
        at = end;
    }
    return add_cut(p, span.at + at, span.at + span.n, false);
}

static ptqc_status
scan_words(pq_tok_pieces *p, pq_tok_scan_kind kind)
{
    for (uint32_t i = 0; i < p->count; i++) {
        pq_str s = text_of(p, p->at[i]);
        for (size_t at = 0; at < s.n;) {
            size_t n = pq_tok_scan(kind, (pq_str){s.p + at, s.n - at});
            PQ_TRY(emit(p, p->at[i].at + at, n));
            at += n;
        }
    }
    return PTQC_OK;
}

typedef ptqc_status split_fn(pq_tok_pieces *p, const pq_tok_step *step);

static ptqc_status
emit_pattern(pq_tok_pieces *p, const pq_tok_step *step)
{
    if ((step->flags & PQ_TOK_STEP_INVERT) != 0) {
        for (uint32_t k = 0; k < p->cut_count; k++) {
            p->cuts[k].is_match = !p->cuts[k].is_match;
        }
    }
    return emit_cuts(p, (pq_tok_behavior)step->number);
}

static ptqc_status
split_regex(pq_tok_pieces *p, const pq_tok_step *step)
{
    pq_tok_matcher m;
    ptqc_status st;
    pq_str none = {"", 0};
    PQ_TRY_OR(done, pq_tok_matcher_init(&m, p->ctx, step->regex, none));
    for (uint32_t i = 0; i < p->count; i++) {
        p->cut_count = 0;
        PQ_TRY_OR(done, cut_matches(p, p->at[i], &m));
        PQ_TRY_OR(done, emit_pattern(p, step));
    }
done:
    pq_tok_matcher_deinit(&m);
    return st;
}

static ptqc_status
split_pattern(pq_tok_pieces *p, const pq_tok_step *step)
{
    if (step->scan != PQ_TOK_SCAN_NONE) {
        return scan_words(p, (pq_tok_scan_kind)step->scan);
    }
    if (step->regex != NULL) {
        return split_regex(p, step);
    }
    for (uint32_t i = 0; i < p->count; i++) {
        p->cut_count = 0;
        PQ_TRY(cut_text(p, p->at[i], step->a));
        PQ_TRY(emit_pattern(p, step));
    }
    return PTQC_OK;
}

// ---- classes
// ------------------------------------------------------------------

static ptqc_status
split_digits(pq_tok_pieces *p, const pq_tok_step *step)
{
    bool is_single = (step->flags & PQ_TOK_STEP_SINGLY) != 0;
    return cut_by_class(p, pq_char_is_number,
                        is_single ? PQ_TOK_BEHAVIOR_ISOLATED
                                  : PQ_TOK_BEHAVIOR_CONTIGUOUS);
}

static ptqc_status
split_at_space(pq_tok_pieces *p, const pq_tok_step *step)
{
    (void)step;
    return cut_by_class(p, pq_char_is_space, PQ_TOK_BEHAVIOR_REMOVED);
}

// Runs of word characters and runs of others.
static ptqc_status
split_words(pq_tok_pieces *p, const pq_tok_step *step)
{
    PQ_TRY(split_at_space(p, step));
    swap_lists(p);
    return cut_by_class(p, pq_char_is_word, PQ_TOK_BEHAVIOR_CONTIGUOUS);
}

static ptqc_status
split_punctuation(pq_tok_pieces *p, const pq_tok_step *step)
{
    return cut_by_class(p, pq_char_is_punctuation,
                        (pq_tok_behavior)step->number);
}

static ptqc_status
split_bert(pq_tok_pieces *p, const pq_tok_step *step)
{
    PQ_TRY(split_at_space(p, step));
    swap_lists(p);
    return cut_by_class(p, pq_char_is_punctuation, PQ_TOK_BEHAVIOR_ISOLATED);
}

// ---- steps that change the text
// ----------------------------------------------

static bool
starts_with(pq_str s, pq_str prefix)
{
    return s.n >= prefix.n && memcmp(s.p, prefix.p, prefix.n) == 0;
}

// The buffer that p->text is not in, emptied.
static pq_strbuf *
begin_text(pq_tok_pieces *p)
{
    pq_strbuf *b = &p->buffers[p->buffer_index];
    p->buffer_index ^= 1;
    b->n = 0;
    return b;
}

static ptqc_status
end_text(pq_tok_pieces *p, const pq_strbuf *b)
{
    if (b->failed) {
        return PTQC_E_RESOURCE;
    }
    if (b->n > UINT32_MAX) {
        return PQ_FAIL(p->ctx, PTQC_E_RESOURCE, "the text grows to %zu bytes",
                       b->n);
    }
    swap_lists(p);
    p->text = (pq_str){b->p, b->n};
    return PTQC_OK;
}

// A space before every word that has none.
static ptqc_status
add_spaces(pq_tok_pieces *p)
{
    pq_strbuf *b = begin_text(p);
    for (uint32_t i = 0; i < p->count; i++) {
        pq_str s = text_of(p, p->at[i]);
        size_t at = b->n;
        pq_strbuf_add(b, s.p[0] != ' ' ? PQ_STR(" ") : PQ_STR(""));
        pq_strbuf_add(b, s);
        PQ_TRY(emit(p, at, b->n - at));
    }
    return end_text(p, b);
}

static ptqc_status
split_byte_level(pq_tok_pieces *p, const pq_tok_step *step)
{
    if ((step->flags & PQ_TOK_STEP_PREFIX) != 0) {
        PQ_TRY(add_spaces(p));
    }
    if ((step->flags & PQ_TOK_STEP_WORDS) != 0) {
        return scan_words(p, PQ_TOK_SCAN_GPT2);
    }
    for (uint32_t i = 0; i < p->count; i++) {
        PQ_TRY(emit(p, p->at[i].at, p->at[i].n));
    }
    return PTQC_OK;
}

// Spaces become the replacement; words begin with it.
static ptqc_status
split_metaspace(pq_tok_pieces *p, const pq_tok_step *step)
{
    pq_strbuf *b = begin_text(p);
    for (uint32_t i = 0; i < p->count; i++) {
        pq_str s = text_of(p, p->at[i]);
        bool is_first = p->is_at_start && p->at[i].at == 0;
        bool wants = step->number == PQ_TOK_SCHEME_ALWAYS ||
                     (step->number == PQ_TOK_SCHEME_FIRST && is_first);
        bool has = s.p[0] == ' ' || starts_with(s, step->a);
        size_t at = b->n;
        pq_strbuf_add(b, wants && !has ? step->a : PQ_STR(""));
        while (s.n != 0) {
            const char *hit = memchr(s.p, ' ', s.n);
            size_t n = hit != NULL ? (size_t)(hit - s.p) : s.n;
            pq_strbuf_add(b, (pq_str){s.p, n});
            pq_strbuf_add(b, hit != NULL ? step->a : PQ_STR(""));
            n += hit != NULL;
            s = (pq_str){s.p + n, s.n - n};
        }
        PQ_TRY(emit(p, at, b->n - at));
    }
    PQ_TRY(end_text(p, b));
    for (uint32_t i = 0; i < p->count; i++) {
        p->cut_count = 0;
        if ((step->flags & PQ_TOK_STEP_WORDS) != 0) {
            PQ_TRY(cut_text(p, p->at[i], step->a));
            PQ_TRY(emit_cuts(p, PQ_TOK_BEHAVIOR_MERGED_WITH_NEXT));
        } else {
            PQ_TRY(emit(p, p->at[i].at, p->at[i].n));
        }
    }
    return PTQC_OK;
}

static split_fn *const functions[PQ_TOK_SPLIT_COUNT] = {
    [PQ_TOK_SPLIT_BYTE_LEVEL] = split_byte_level,
    [PQ_TOK_SPLIT_PATTERN] = split_pattern,
    [PQ_TOK_SPLIT_DIGITS] = split_digits,
    [PQ_TOK_SPLIT_WHITESPACE] = split_words,
    [PQ_TOK_SPLIT_WHITESPACE_SPLIT] = split_at_space,
    [PQ_TOK_SPLIT_BERT] = split_bert,
    [PQ_TOK_SPLIT_PUNCTUATION] = split_punctuation,
    [PQ_TOK_SPLIT_METASPACE] = split_metaspace,
};

ptqc_status
pq_tok_split(pq_tok_pieces *p, const pq_tokenizer *t, pq_str text,
             bool is_at_start)
{
    p->text = text;
    p->is_at_start = is_at_start;
    p->next_count = 0;
    PQ_TRY(emit(p, 0, text.n));
    swap_lists(p);
    for (uint32_t i = 0; i < t->splitters.count; i++) {
        const pq_tok_step *step = &t->splitters.at[i];
        PQ_TRY(functions[step->kind](p, step));
        swap_lists(p);
    }
    return PTQC_OK;
}
