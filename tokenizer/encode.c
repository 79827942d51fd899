// SPDX-License-Identifier: Apache-2.0
//
// Encoding: added tokens are taken out of the text, what lies between is
// normalized, searched once more for added tokens, split into words and given
// to the model.
#include <string.h>

#include "base/vec.h"
#include "tokenizer/models.h"
#include "tokenizer/unicode.h"

enum {
    CACHE_MIN = 64,
    CACHE_MAX = 1 << 13,
    BYTES_PER_CACHED = 16, // of text, for one entry of the cache
};

#define TEXT_BYTES_MAX ((size_t)1 << 30)

// A part of the text without added tokens. is_at_start: of the whole text.
typedef ptqc_status plain_fn(pq_tok_encoder *e, pq_str text, bool is_at_start);

ptqc_status
pq_tok_add_id(pq_tok_encoder *e, pq_token id)
{
    if (e->count == e->capacity) {
        void *list = e->ids;
        PQ_TRY(pq_vec_reserve(e->ctx, &list, &e->capacity, (size_t)e->count + 1,
                              sizeof *e->ids));
        e->ids = list;
    }
    e->ids[e->count++] = id;
    return PTQC_OK;
}

static ptqc_status
encode_words(pq_tok_encoder *e, pq_str text, bool is_at_start)
{
    const pq_tokenizer *t = e->t;
    e->epoch += !t->is_text_stable; // what was cached lies in old buffers
    PQ_TRY(pq_tok_split(&e->pieces, t, text, is_at_start));
    for (uint32_t i = 0; i < e->pieces.count; i++) {
        pq_tok_span span = e->pieces.at[i];
        pq_str word = {e->pieces.text.p + span.at, span.n};
        switch (t->model) {
        case PQ_TOK_BPE:
            PQ_TRY(pq_tok_bpe(e, word));
            break;
        case PQ_TOK_WORDPIECE:
            PQ_TRY(pq_tok_wordpiece(e, word));
            break;
        case PQ_TOK_UNIGRAM:
            PQ_TRY(pq_tok_unigram(e, word));
            break;
        case PQ_TOK_MODEL_COUNT:
            break;
        }
    }
    return pq_check_cancelled(e->ctx);
}

// ---- added tokens
// -------------------------------------------------------------

static bool
ends_with_word(pq_str s)
{
    size_t at = s.n, n;
    while (at > 0 && ((uint8_t)s.p[at - 1] & 0xc0) == 0x80) {
        at--;
    }
    if (at == 0) {
        return false;
    }
    return pq_char_is_word(pq_char_get((pq_str){s.p + at - 1, s.n}, &n));
}

static bool
starts_with_word(pq_str s)
{
    size_t n;
    return s.n != 0 && pq_char_is_word(pq_char_get(s, &n));
}

// Start of the white space that ends at `end`, not before `from`.
static size_t
space_before(pq_str s, size_t from, size_t end)
{
    while (end > from) {
        size_t at = end - 1, n;
        while (at > from && ((uint8_t)s.p[at] & 0xc0) == 0x80) {
            at--;
        }
        if (!pq_char_is_space(pq_char_get((pq_str){s.p + at, s.n - at}, &n))) {
            break;
        }
        end = at;
    }
    return end;
}

static size_t
space_after(pq_str s, size_t at)
{
    size_t n;
    while (at < s.n &&
           pq_char_is_space(pq_char_get((pq_str){s.p + at, s.n - at}, &n))) {
        at += n;
    }
    return at;
}

typedef struct added_search {
    pq_tok_encoder *e;
    pq_str text;
    size_t done;        // bytes of text that are encoded
    size_t space_start; // white space that rstrip has measured
    size_t space_end;
    bool parses_special, is_at_start;
    plain_fn *plain;
} added_search;

static ptqc_status
encode_plain(added_search *s, size_t end)
{
    if (s->done >= end) {
        return PTQC_OK;
    }
    pq_str text = {s->text.p + s->done, end - s->done};
    return s->plain(s->e, text, s->is_at_start && s->done == 0);
}

// A token was found at start..end.
static ptqc_status
take_added(added_search *s, pq_token id, size_t start, size_t end)
{
    unsigned flags = s->e->t->tokens[id].flags;
    if ((flags & PQ_TOK_SPECIAL) != 0 && !s->parses_special) {
        return PTQC_OK;
    }
    if ((flags & PQ_TOK_SINGLE_WORD) != 0) {
        pq_str rest = {s->text.p + end, s->text.n - end};
        if (ends_with_word((pq_str){s->text.p, start}) ||
            starts_with_word(rest)) {
            return PTQC_OK;
        }
    }
    if ((flags & PQ_TOK_LSTRIP) != 0 && start > s->done) {
        start = space_before(s->text, s->done, start);
    }
    if ((flags & PQ_TOK_RSTRIP) != 0) {
        if (end < s->space_start || end > s->space_end) {
            s->space_start = end;
            s->space_end = space_after(s->text, end);
        }
        end = s->space_end;
    }
    PQ_TRY(encode_plain(s, start));
    s->done = end;
    return pq_tok_add_id(s->e, id);
}

// Leftmost longest matches of the set; what lies between goes to `plain`.
static ptqc_status
split_added(added_search *s, const pq_tok_prefixes *set)
{
    size_t n = set->count != 0 ? s->text.n : 0;
    for (size_t at = 0; at < n;) {
        uint8_t first = (uint8_t)s->text.p[at];
        const pq_tok_prefix *found = NULL;
        if (set->first[first] != set->first[first + 1]) {
            found = pq_tok_prefix_longest(
                set, (pq_str){s->text.p + at, s->text.n - at});
        }
        if (found == NULL) {
            at++;
            continue;
        }
        PQ_TRY(take_added(s, found->id, at, at + found->text.n));
        at += found->text.n;
    }
    return encode_plain(s, s->text.n);
}

static ptqc_status
encode_segment(pq_tok_encoder *e, pq_str text, bool is_at_start)
{
    pq_strbuf buffer;
    ptqc_status st = PTQC_OK;
    added_search s = {.e = e,
                      .text = text,
                      .parses_special = e->parses_special,
                      .is_at_start = is_at_start,
                      .plain = encode_words};
    pq_strbuf_init(&buffer, e->ctx);
    if (e->t->normalizers.count != 0) {
        PQ_TRY_OR(done, pq_tok_normalize(e->ctx, e->t, text, &buffer));
        s.text = (pq_str){buffer.p, buffer.n};
    }
    st = split_added(&s, &e->t->added_normalized);
done:
    pq_strbuf_deinit(&buffer);
    return st;
}

// ---- the whole text
// -------------------------------------------------------------

static ptqc_status
make_cache(pq_tok_encoder *e, size_t text_bytes)
{
    uint32_t count = CACHE_MIN;
    while (count < CACHE_MAX && count < text_bytes / BYTES_PER_CACHED) {
        count *= 2;
    }
    e->cache = pq_alloc_array(e->ctx, count, sizeof *e->cache);
    PQ_TRY_ALLOC(e->cache);
    e->cache_mask = count - 1;
    e->epoch = 1;
    return PTQC_OK;
}

static ptqc_status
add_ids(pq_tok_encoder *e, const pq_token *ids, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        PQ_TRY(pq_tok_add_id(e, ids[i]));
    }
    return PTQC_OK;
}

static ptqc_status
encode_all(pq_tok_encoder *e, pq_str text, uint32_t flags)
{
    const pq_tokenizer *t = e->t;
    bool adds = (flags & PQ_ENCODE_ADD_SPECIAL) != 0;
    added_search s = {.e = e,
                      .text = text,
                      .parses_special = e->parses_special,
                      .is_at_start = true,
                      .plain = encode_segment};
    PQ_TRY(make_cache(e, text.n));
    PQ_TRY(add_ids(e, t->before, adds ? t->before_count : 0));
    PQ_TRY(split_added(&s, &t->added_raw));
    return add_ids(e, t->after, adds ? t->after_count : 0);
}

static void
encoder_deinit(pq_tok_encoder *e)
{
    pq_free(e->ctx, e->ids);
    pq_free(e->ctx, e->symbols);
    pq_free(e->ctx, e->heap);
    pq_free(e->ctx, e->nodes);
    pq_free(e->ctx, e->cache);
    pq_tok_pieces_deinit(&e->pieces);
}

ptqc_status
pq_tokenizer_encode(ptqc_ctx *ctx, const pq_tokenizer *t, pq_str text,
                    uint32_t flags, pq_token_ids *out)
{
    *out = (pq_token_ids){0};
    if (text.n > TEXT_BYTES_MAX) {
        return PQ_FAIL(ctx, PTQC_E_INPUT, "a text of %zu bytes, at most %zu",
                       text.n, TEXT_BYTES_MAX);
    }
    pq_tok_encoder e = {.ctx = ctx, .t = t};
    e.parses_special = (flags & PQ_ENCODE_PARSE_SPECIAL) != 0;
    pq_strbuf lossy;
    ptqc_status st = PTQC_OK;
    pq_strbuf_init(&lossy, ctx);
    pq_tok_pieces_init(&e.pieces, ctx);
    if (!pq_text_is_well_formed(text)) {
        (void)pq_text_add_lossy(&lossy, text, true);
        st = lossy.failed ? PTQC_E_RESOURCE : PTQC_OK;
        PQ_TRY_OR(done, st);
        text = (pq_str){lossy.p, lossy.n};
    }
    PQ_TRY_OR(done, encode_all(&e, text, flags));
    *out = (pq_token_ids){e.ids, e.count};
    e.ids = NULL;
done:
    encoder_deinit(&e);
    pq_strbuf_deinit(&lossy);
    return st;
}
