// SPDX-License-Identifier: Apache-2.0
//
// Decoding, token by token. Every kind of decoder turns a token into bytes;
// the bytes pass one gate that holds back incomplete characters and replaces
// malformed ones.
#include <string.h>

#include "tokenizer/steps.h"
#include "tokenizer/unicode.h"

// What the WordPiece decoder's cleanup replaces, in this order.
static const char *const cleanups[][2] = {
    {" .", "."},   {" ?", "?"},     {" !", "!"},     {" ,", ","},
    {" ' ", "'"},  {" n't", "n't"}, {" 'm", "'m"},   {" do not", " don't"},
    {" 's", "'s"}, {" 've", "'ve"}, {" 're", "'re"},
};

static const pq_tok_step *
find_step(const pq_tokenizer *t, pq_tok_dec kind)
{
    for (uint32_t i = 0; i < t->decoders.count; i++) {
        if (t->decoders.at[i].kind == (uint32_t)kind) {
            return &t->decoders.at[i];
        }
    }
    return NULL;
}

void
pq_detokenizer_init(pq_detokenizer *d, const pq_tokenizer *t, uint32_t flags)
{
    *d = (pq_detokenizer){.t = t, .flags = flags};
    const pq_tok_step *strip = find_step(t, PQ_TOK_DEC_STRIP);
    if ((flags & PQ_DECODE_CONTINUE) != 0) {
        d->piece_count = 1; // as if something was there
    } else if (strip != NULL) {
        d->strip_left = strip->number;
    }
}

// ---- the gate
// -----------------------------------------------------------------

static void
add_bytes(pq_detokenizer *d, pq_str s, pq_strbuf *out)
{
    while (d->held_count != 0 && s.n != 0) {
        d->held[d->held_count++] = s.p[0];
        s = (pq_str){s.p + 1, s.n - 1};
        size_t used =
            pq_text_add_lossy(out, (pq_str){d->held, d->held_count}, false);
        d->held_count -= (uint32_t)used;
        memmove(d->held, d->held + used, d->held_count);
    }
    size_t used = pq_text_add_lossy(out, s, false);
    for (size_t i = used; i < s.n; i++) { // at most 3
        d->held[d->held_count++] = s.p[i];
    }
}

static void
add_stripped(pq_detokenizer *d, pq_str s, pq_strbuf *out)
{
    if (d->strip_left != 0) {
        char c = find_step(d->t, PQ_TOK_DEC_STRIP)->a.p[0];
        while (d->strip_left != 0 && s.n != 0) {
            bool is_stripped = s.p[0] == c;
            d->strip_left = is_stripped ? d->strip_left - 1 : 0;
            s = (pq_str){s.p + is_stripped, s.n - is_stripped};
        }
    }
    add_bytes(d, s, out);
}

// ---- tokens to bytes
// ------------------------------------------------------------

// false: a character stands for no byte.
static bool
to_bytes(pq_str s, char out[PQ_TOK_TEXT_MAX], size_t *out_n)
{
    *out_n = 0;
    for (size_t at = 0; at < s.n;) {
        pq_str rest = {s.p + at, s.n - at};
        size_t n = pq_str_utf8(rest);
        int byte = n != 0 ? pq_char_to_byte(pq_char_get(rest, &n)) : -1;
        if (byte < 0) {
            return false;
        }
        out[(*out_n)++] = (char)byte;
        at += n;
    }
    return true;
}

static void
add_byte_level(pq_detokenizer *d, pq_str s, pq_strbuf *out)
{
    char bytes[PQ_TOK_TEXT_MAX];
    size_t n;
    add_bytes(d, to_bytes(s, bytes, &n) ? (pq_str){bytes, n} : s, out);
}

// Appends s with `from` (not empty) replaced by `to`.
static void
add_replaced(pq_strbuf *out, pq_str s, pq_str from, pq_str to)
{
    for (const char *hit; (hit = memmem(s.p, s.n, from.p, from.n)) != NULL;) {
        size_t n = (size_t)(hit - s.p);
        pq_strbuf_add(out, (pq_str){s.p, n});
        pq_strbuf_add(out, to);
        s = (pq_str){hit + from.n, s.n - n - from.n};
    }
    pq_strbuf_add(out, s);
}

typedef struct two_texts {
    pq_strbuf now, next;
} two_texts;

static void
two_texts_init(two_texts *w, ptqc_ctx *ctx)
{
    pq_strbuf_init(&w->now, ctx);
    pq_strbuf_init(&w->next, ctx);
}

static void
replace_in(two_texts *w, pq_str from, pq_str to)
{
    w->next.n = 0;
    add_replaced(&w->next, (pq_str){w->now.p, w->now.n}, from, to);
    pq_strbuf swapped = w->now;
    w->now = w->next;
    w->next = swapped;
}

static ptqc_status
two_texts_finish(two_texts *w, pq_detokenizer *d, pq_strbuf *out)
{
    bool failed = w->now.failed || w->next.failed;
    add_stripped(d, (pq_str){w->now.p, w->now.n}, out);
    pq_strbuf_deinit(&w->now);
    pq_strbuf_deinit(&w->next);
    return failed ? PTQC_E_RESOURCE : PTQC_OK;
}

static ptqc_status
add_wordpiece(pq_detokenizer *d, const pq_tok_step *step, pq_str s,
              pq_strbuf *out)
{
    two_texts w;
    two_texts_init(&w, out->ctx);
    if (d->piece_count != 0) {
        bool is_rest =
            s.n >= step->a.n && memcmp(s.p, step->a.p, step->a.n) == 0;
        pq_strbuf_add(&w.now, is_rest ? PQ_STR("") : PQ_STR(" "));
        s = is_rest ? (pq_str){s.p + step->a.n, s.n - step->a.n} : s;
    }
    pq_strbuf_add(&w.now, s);
    size_t count = sizeof cleanups / sizeof *cleanups;
    bool cleans = (step->flags & PQ_TOK_STEP_CLEAN) != 0;
    for (size_t i = 0; cleans && i < count; i++) {
        replace_in(&w, pq_str_of(cleanups[i][0]), pq_str_of(cleanups[i][1]));
    }
    return two_texts_finish(&w, d, out);
}

// The first token loses its marks, the others get spaces.
static ptqc_status
add_metaspace(pq_detokenizer *d, const pq_tok_step *step, pq_str s,
              pq_strbuf *out)
{
    bool drops = d->piece_count == 0 && step->number != PQ_TOK_SCHEME_NEVER;
    two_texts w;
    two_texts_init(&w, out->ctx);
    add_replaced(&w.now, s, step->a, drops ? PQ_STR("") : PQ_STR(" "));
    return two_texts_finish(&w, d, out);
}

static ptqc_status
add_chained(pq_detokenizer *d, pq_str s, pq_strbuf *out)
{
    two_texts w;
    two_texts_init(&w, out->ctx);
    pq_strbuf_add(&w.now, s);
    for (uint32_t i = 0; i < d->t->decoders.count; i++) {
        const pq_tok_step *step = &d->t->decoders.at[i];
        if (step->kind == PQ_TOK_DEC_REPLACE) {
            replace_in(&w, step->a, step->b);
        }
    }
    return two_texts_finish(&w, d, out);
}

static int
hex_digit(char c)
{
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
                                  : -1;
}

// The byte of a token <0xNN> when the decoder knows such tokens, or -1.
static int
byte_of(const pq_tokenizer *t, pq_str s)
{
    if (s.n != 6 || memcmp(s.p, "<0x", 3) != 0 || s.p[5] != '>' ||
        find_step(t, PQ_TOK_DEC_BYTE_FALLBACK) == NULL) {
        return -1;
    }
    int high = hex_digit(s.p[3]), low = hex_digit(s.p[4]);
    return high < 0 || low < 0 ? -1 : high * 16 + low;
}

static ptqc_status
add_token(pq_detokenizer *d, pq_str s, pq_strbuf *out)
{
    const pq_tok_step *step =
        d->t->decoders.count != 0 ? &d->t->decoders.at[0] : NULL;
    if (step == NULL) { // the reference puts spaces between
        add_bytes(d, d->piece_count != 0 ? PQ_STR(" ") : PQ_STR(""), out);
        add_bytes(d, s, out);
        return PTQC_OK;
    }
    if (step->kind == PQ_TOK_DEC_BYTE_LEVEL) {
        add_byte_level(d, s, out);
        return PTQC_OK;
    }
    if (step->kind == PQ_TOK_DEC_WORDPIECE) {
        return add_wordpiece(d, step, s, out);
    }
    if (step->kind == PQ_TOK_DEC_METASPACE) {
        return add_metaspace(d, step, s, out);
    }
    int byte = byte_of(d->t, s);
    if (byte >= 0) {
        char c = (char)byte;
        add_stripped(d, (pq_str){&c, 1}, out);
        return PTQC_OK;
    }
    return add_chained(d, s, out);
}

// ---- public -----------------------------------------------------------------

// The token's text; *out_is_skipped when nothing comes of it.
static ptqc_status
text_of(const pq_detokenizer *d, ptqc_ctx *ctx, pq_token id, pq_str *out,
        bool *out_is_skipped)
{
    const pq_tokenizer *t = d->t;
    if (id < 0 || (uint32_t)id >= t->token_count) {
        return PQ_FAIL(ctx, PTQC_E_INPUT,
                       "token %d is not in the vocabulary of %u", id,
                       t->token_count);
    }
    const pq_tok_token *token = &t->tokens[id];
    bool skips_special = (d->flags & PQ_DECODE_SKIP_SPECIAL) != 0;
    *out = token->text;
    *out_is_skipped = (token->flags & PQ_TOK_PRESENT) == 0 ||
                      (skips_special && (token->flags & PQ_TOK_SPECIAL) != 0);
    return PTQC_OK;
}

ptqc_status
pq_detokenizer_add(pq_detokenizer *d, pq_token id, pq_strbuf *out)
{
    pq_str text = {0};
    bool is_skipped = true;
    PQ_TRY(text_of(d, out->ctx, id, &text, &is_skipped));
    if (!is_skipped) {
        PQ_TRY(add_token(d, text, out));
        d->piece_count++;
    }
    return out->failed ? PTQC_E_RESOURCE : PTQC_OK;
}

ptqc_status
pq_detokenizer_finish(pq_detokenizer *d, pq_strbuf *out)
{
    (void)pq_text_add_lossy(out, (pq_str){d->held, d->held_count}, true);
    pq_detokenizer_init(d, d->t, d->flags);
    return out->failed ? PTQC_E_RESOURCE : PTQC_OK;
}

// A run of byte tokens: all of it is text, or each byte is U+FFFD.
static void
add_run(pq_detokenizer *d, pq_strbuf *run, pq_strbuf *out)
{
    pq_str bytes = {run->p, run->n};
    if (pq_text_is_well_formed(bytes)) {
        add_stripped(d, bytes, out);
    } else {
        for (size_t i = 0; i < bytes.n; i++) {
            add_stripped(d, PQ_STR("\xef\xbf\xbd"), out);
        }
    }
    d->piece_count += bytes.n;
    run->n = 0;
}

ptqc_status
pq_tokenizer_decode(ptqc_ctx *ctx, const pq_tokenizer *t, const pq_token *ids,
                    size_t count, uint32_t flags, pq_strbuf *out)
{
    pq_detokenizer d;
    pq_strbuf run;
    ptqc_status st = PTQC_OK;
    pq_detokenizer_init(&d, t, flags);
    pq_strbuf_init(&run, ctx);
    for (size_t i = 0; i < count; i++) {
        pq_str text = {0};
        bool is_skipped = true;
        PQ_TRY_OR(done, text_of(&d, ctx, ids[i], &text, &is_skipped));
        int byte = is_skipped ? -1 : byte_of(t, text);
        if (byte >= 0) {
            char c = (char)byte;
            pq_strbuf_add(&run, (pq_str){&c, 1});
        } else if (!is_skipped) {
            add_run(&d, &run, out);
            PQ_TRY_OR(done, add_token(&d, text, out));
            d.piece_count++;
        }
    }
    add_run(&d, &run, out);
    PQ_TRY_OR(done, pq_detokenizer_finish(&d, out));
    st = run.failed ? PTQC_E_RESOURCE : PTQC_OK;
done:
    pq_strbuf_deinit(&run);
    return st;
}
