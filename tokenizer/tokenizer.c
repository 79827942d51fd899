// SPDX-License-Identifier: Apache-2.0
//
// Creation, checks, the index of texts, and what can be asked of a tokenizer.
#include <string.h>

#include "base/hash.h"
#include "tokenizer/inside.h"
#include "tokenizer/steps.h"
#include "tokenizer/unicode.h"

// Spellings of tokens that end a turn or a text in models whose eos is
// another one.
static const char *const end_marks[] = {
    "<|eot_id|>",    "<|im_end|>",      "<|end|>",       "<end_of_turn>",
    "<|endoftext|>", "<|end_of_text|>", "<EOT>",         "<|eom_id|>",
    "<|return|>",    "<|end_of_turn|>", "<|endofturn|>",
};

ptqc_status
pq_tok_new(ptqc_ctx *ctx, pq_tokenizer **out)
{
    *out = NULL;
    pq_tokenizer *t = pq_alloc(ctx, sizeof *t);
    PQ_TRY_ALLOC(t);
    t->ctx = ctx;
    pq_arena_init(&t->arena, ctx);
    t->bos = t->eos = t->eot = t->unk = t->pad = PQ_TOKEN_NONE;
    *out = t;
    return PTQC_OK;
}

static void
drop_regexes(const pq_tok_steps *steps)
{
    for (uint32_t i = 0; i < steps->count; i++) {
        pq_tok_regex_destroy(steps->at[i].regex);
    }
}

void
pq_tokenizer_destroy(pq_tokenizer *t)
{
    if (t == NULL) {
        return;
    }
    drop_regexes(&t->normalizers);
    drop_regexes(&t->splitters);
    pq_arena_deinit(&t->arena);
    pq_free(t->ctx, t);
}

bool
pq_tok_keep(pq_tokenizer *t, pq_str s, pq_str *out)
{
    const char *copy = pq_arena_strndup(&t->arena, s.n != 0 ? s.p : "", s.n);
    *out = (pq_str){copy, s.n};
    return copy != NULL;
}

// ---- index of texts -----------------------------------------------------

static uint32_t
slot_of(const pq_tokenizer *t, pq_str text)
{
    uint32_t i = (uint32_t)pq_hash64(text.p, text.n) & t->slot_mask;
    while (t->slots[i] != 0 &&
           !pq_str_equal(t->tokens[t->slots[i] - 1].text, text)) {
        i = (i + 1) & t->slot_mask;
    }
    return i;
}

ptqc_status
pq_tok_make_tokens(pq_tokenizer *t, size_t count)
{
    if (count == 0 || count > PQ_TOK_COUNT_MAX) {
        return PQ_FAIL(t->ctx, PTQC_E_INPUT, "%zu tokens, expected 1 to %d",
                       count, PQ_TOK_COUNT_MAX);
    }
    t->token_count = (uint32_t)count;
    uint32_t slot_count = 16;
    while (slot_count < 2 * t->token_count) {
        slot_count *= 2;
    }
    t->tokens = pq_arena_array(&t->arena, count, sizeof *t->tokens);
    PQ_TRY_ALLOC(t->tokens);
    t->slots = pq_arena_array(&t->arena, slot_count, sizeof *t->slots);
    PQ_TRY_ALLOC(t->slots);
    t->slot_mask = slot_count - 1;
    return PTQC_OK;
}

void
pq_tok_put(pq_tokenizer *t, pq_token id, pq_str text, uint32_t flags)
{
    t->tokens[id].text = text;
    t->tokens[id].flags = flags | PQ_TOK_PRESENT;
    uint32_t *slot = &t->slots[slot_of(t, text)];
    bool keeps = *slot != 0 && (flags & PQ_TOK_IN_MODEL) == 0;
    *slot = keeps ? *slot : (uint32_t)id + 1;
}

pq_token
pq_tokenizer_find(const pq_tokenizer *t, pq_str text)
{
    return (pq_token)t->slots[slot_of(t, text)] - 1;
}

pq_token
pq_tok_find(const pq_tokenizer *t, pq_str text)
{
    pq_token id = pq_tokenizer_find(t, text);
    bool is_found = id >= 0 && (t->tokens[id].flags & PQ_TOK_IN_MODEL) != 0;
    return is_found ? id : PQ_TOKEN_NONE;
}

// Byte-level: the stand-in characters; else <0x00> .. <0xFF>.
static void
index_bytes(pq_tokenizer *t)
{
    static const char digits[] = "0123456789ABCDEF";
    for (unsigned b = 0; b < 256; b++) {
        char text[8] = "<0x..>";
        size_t n = 6;
        if (t->is_byte_level) {
            n = pq_char_put(pq_byte_to_char((uint8_t)b), text);
        } else {
            text[3] = digits[b >> 4];
            text[4] = digits[b & 15];
        }
        t->bytes[b] = pq_tok_find(t, (pq_str){text, n});
        if (b < 0x80) {
            text[0] = (char)b;
            t->ascii[b] = pq_tok_find(t, (pq_str){text, 1});
        }
    }
}

// ---- sets of texts --------------------------------------------------------

// Tokens with all flags of `has` and none of `lacks`.
static ptqc_status
collect(pq_tokenizer *t, uint32_t has, uint32_t lacks, pq_tok_prefixes *out)
{
    uint32_t n = 0;
    for (int pass = 0; pass < 2; pass++) {
        pq_tok_prefix *at = NULL;
        if (pass == 1) {
            at = pq_arena_array(&t->arena, n, sizeof *at);
            PQ_TRY_ALLOC(at);
        }
        n = 0;
        for (uint32_t i = 0; i < t->token_count; i++) {
            const pq_tok_token *token = &t->tokens[i];
            // A malformed spelling occurs in no text.
            if ((token->flags & (has | lacks)) == has && token->text.n != 0 &&
                pq_text_is_well_formed(token->text)) {
                if (at != NULL) {
                    at[n] = (pq_tok_prefix){token->text, (int32_t)i};
                }
                n++;
            }
        }
        if (pass == 1) {
            pq_tok_prefixes_init(out, at, n);
        }
    }
    return PTQC_OK;
}

// Added tokens that are looked for in the normalized text are normalized too.
static ptqc_status
index_normalized(pq_tokenizer *t)
{
    pq_tok_prefixes all;
    PQ_TRY(
        collect(t, PQ_TOK_PRESENT | PQ_TOK_ADDED | PQ_TOK_NORMALIZED, 0, &all));
    uint32_t n = 0;
    for (uint32_t i = 0; i < all.count; i++) {
        pq_strbuf buffer;
        pq_str text;
        pq_strbuf_init(&buffer, t->ctx);
        ptqc_status st = pq_tok_normalize(t->ctx, t, all.at[i].text, &buffer);
        if (st == PTQC_OK &&
            !pq_tok_keep(t, (pq_str){buffer.p, buffer.n}, &text)) {
            st = PTQC_E_RESOURCE;
        }
        pq_strbuf_deinit(&buffer);
        PQ_TRY(st);
        if (text.n != 0) {
            all.at[n++] = (pq_tok_prefix){text, all.at[i].id};
        }
    }
    pq_tok_prefixes_init(&t->added_normalized, all.at, n);
    return PTQC_OK;
}

// WordPiece: tokens that begin with the prefix, without it.
static ptqc_status
index_word_rests(pq_tokenizer *t)
{
    pq_tok_prefixes all;
    PQ_TRY(collect(t, PQ_TOK_PRESENT | PQ_TOK_IN_MODEL, 0, &all));
    uint32_t n = 0;
    pq_str prefix = t->word_prefix;
    for (uint32_t i = 0; i < all.count; i++) {
        pq_str text = all.at[i].text;
        if (text.n > prefix.n &&
            (prefix.n == 0 || memcmp(text.p, prefix.p, prefix.n) == 0)) {
            text = (pq_str){text.p + prefix.n, text.n - prefix.n};
            all.at[n++] = (pq_tok_prefix){text, all.at[i].id};
        }
    }
    pq_tok_prefixes_init(&t->word_rests, all.at, n);
    return PTQC_OK;
}

static ptqc_status
index_model(pq_tokenizer *t, const char *what, ptqc_status bad)
{
    switch (t->model) {
    case PQ_TOK_BPE:
        return pq_tok_index_merges(t, what, bad);
    case PQ_TOK_WORDPIECE:
        PQ_TRY(index_word_rests(t));
        return collect(t, PQ_TOK_PRESENT | PQ_TOK_IN_MODEL, 0, &t->words);
    case PQ_TOK_UNIGRAM:
        t->score_min = 0;
        for (uint32_t i = 0; i < t->token_count; i++) {
            bool is_lower = (t->tokens[i].flags & PQ_TOK_IN_MODEL) != 0 &&
                            t->tokens[i].score < t->score_min;
            t->score_min = is_lower ? t->tokens[i].score : t->score_min;
        }
        return collect(t, PQ_TOK_PRESENT | PQ_TOK_IN_MODEL, 0, &t->words);
    case PQ_TOK_MODEL_COUNT:
        break;
    }
    return PQ_FAIL(t->ctx, bad, "%s: unknown kind of model", what);
}

// ---- checks -----------------------------------------------------------------

static bool
is_token(const pq_tokenizer *t, pq_token id)
{
    return id >= 0 && (uint32_t)id < t->token_count &&
           (t->tokens[id].flags & PQ_TOK_PRESENT) != 0;
}

static ptqc_status
check_ids(const pq_tokenizer *t, const char *what, ptqc_status bad)
{
    const struct {
        const char *name;
        pq_token id;
    } named[] = {{"bos", t->bos},
                 {"eos", t->eos},
                 {"eot", t->eot},
                 {"unknown", t->unk},
                 {"padding", t->pad}};
    for (size_t i = 0; i < sizeof named / sizeof *named; i++) {
        if (named[i].id != PQ_TOKEN_NONE && !is_token(t, named[i].id)) {
            return PQ_FAIL(t->ctx, bad, "%s: the %s token %d is not one of %u",
                           what, named[i].name, named[i].id, t->token_count);
        }
    }
    for (uint32_t i = 0; i < t->before_count + t->after_count; i++) {
        pq_token id =
            i < t->before_count ? t->before[i] : t->after[i - t->before_count];
        if (!is_token(t, id)) {
            return PQ_FAIL(t->ctx, bad,
                           "%s: token %d, put around every text, is not one "
                           "of %u",
                           what, id, t->token_count);
        }
    }
    bool needs_unk = t->model == PQ_TOK_WORDPIECE;
    if (needs_unk && t->unk == PQ_TOKEN_NONE) {
        return PQ_FAIL(t->ctx, bad, "%s: WordPiece without unknown token",
                       what);
    }
    return PTQC_OK;
}

static ptqc_status
check_tokens(const pq_tokenizer *t, const char *what, ptqc_status bad)
{
    for (uint32_t i = 0; i < t->token_count; i++) {
        const pq_tok_token *token = &t->tokens[i];
        if (token->text.n > PQ_TOK_TEXT_MAX) {
            return PQ_FAIL(t->ctx, bad,
                           "%s: token %u has %zu bytes, at most %d", what, i,
                           token->text.n, PQ_TOK_TEXT_MAX);
        }
        if (!(token->score >= -1e30 && token->score <= 1e30)) {
            return PQ_FAIL(t->ctx, bad, "%s: the score of token %u is %g", what,
                           i, token->score);
        }
    }
    return PTQC_OK;
}

ptqc_status
pq_tok_finish(pq_tokenizer *t, const char *what, ptqc_status bad)
{
    PQ_TRY(check_tokens(t, what, bad));
    PQ_TRY(pq_tok_check_steps(t, what, bad));
    PQ_TRY(check_ids(t, what, bad));
    index_bytes(t);
    PQ_TRY(index_model(t, what, bad));
    PQ_TRY(collect(t, PQ_TOK_PRESENT | PQ_TOK_ADDED, PQ_TOK_NORMALIZED,
                   &t->added_raw));
    PQ_TRY(index_normalized(t));
    t->eot = t->eot != PQ_TOKEN_NONE ? t->eot : t->eos;
    return PTQC_OK;
}

// ---- questions ----------------------------------------------------------

size_t
pq_tokenizer_count(const pq_tokenizer *t)
{
    return t->token_count;
}

pq_str
pq_tokenizer_text(const pq_tokenizer *t, pq_token id)
{
    return is_token(t, id) ? t->tokens[id].text : (pq_str){"", 0};
}

bool
pq_tokenizer_is_special(const pq_tokenizer *t, pq_token id)
{
    return is_token(t, id) && (t->tokens[id].flags & PQ_TOK_SPECIAL) != 0;
}

bool
pq_tokenizer_is_end(const pq_tokenizer *t, pq_token id)
{
    if (!is_token(t, id) || id == t->eos || id == t->eot) {
        return is_token(t, id);
    }
    for (size_t i = 0; i < sizeof end_marks / sizeof *end_marks; i++) {
        if (pq_str_equal_z(t->tokens[id].text, end_marks[i])) {
            return (t->tokens[id].flags & PQ_TOK_ADDED) != 0;
        }
    }
    return false;
}

pq_token
pq_tokenizer_bos(const pq_tokenizer *t)
{
    return t->bos;
}

pq_token
pq_tokenizer_eos(const pq_tokenizer *t)
{
    return t->eos;
}

pq_token
pq_tokenizer_eot(const pq_tokenizer *t)
{
    return t->eot;
}

pq_token
pq_tokenizer_unk(const pq_tokenizer *t)
{
    return t->unk;
}

pq_token
pq_tokenizer_pad(const pq_tokenizer *t)
{
    return t->pad;
}
