// SPDX-License-Identifier: Apache-2.0
//
// tokenizer.json of Hugging Face's tokenizers: model, vocabulary, added
// tokens. The steps around the model are read by json_steps.c. Truncation and
// padding are left to the caller.
#include <string.h>

#include "base/json.h"
#include "tokenizer/json_steps.h"

enum {
    // Ids may leave gaps, not more than this many times as many as tokens.
    GAPS_MAX = 8,
    GAPS_BASE = 1 << 16,
};

static ptqc_status
malformed(const pq_tok_reader *r, const char *where)
{
    return PQ_FAIL(r->t->ctx, PTQC_E_INPUT, "%s: %s is missing or malformed",
                   r->what, where);
}

// ---- vocabulary
// ---------------------------------------------------------------

static ptqc_status
check_id(const pq_tok_reader *r, const pq_json *v, size_t entries, int64_t *out)
{
    size_t limit = entries * GAPS_MAX + GAPS_BASE;
    if (!pq_json_i64(v, out) || *out < 0 || (uint64_t)*out >= limit) {
        return PQ_FAIL(r->t->ctx, PTQC_E_INPUT,
                       "%s: the id of a token is not a number from 0 to %zu",
                       r->what, limit - 1);
    }
    return PTQC_OK;
}

// Highest id of vocabulary and added tokens, plus one.
static ptqc_status
count_tokens(const pq_tok_reader *r, const pq_json *vocab, const pq_json *added,
             size_t *out)
{
    size_t added_count = pq_json_array_count(added);
    size_t entries =
        pq_json_member_count(vocab) + pq_json_array_count(vocab) + added_count;
    size_t count = pq_json_array_count(vocab);
    pq_json_iter it = {0};
    pq_str text;
    const pq_json *v;
    int64_t id;
    while (pq_json_is_object(vocab) && pq_json_next(vocab, &it, &text, &v)) {
        PQ_TRY(check_id(r, v, entries, &id));
        count = (size_t)id >= count ? (size_t)id + 1 : count;
    }
    for (size_t i = 0; i < added_count; i++) {
        v = pq_json_get(pq_json_at(added, i), "id");
        PQ_TRY(check_id(r, v, entries, &id));
        count = (size_t)id >= count ? (size_t)id + 1 : count;
    }
    *out = count;
    return PTQC_OK;
}

static ptqc_status
put_token(pq_tok_reader *r, int64_t id, pq_str text, uint32_t flags)
{
    pq_str kept;
    pq_tokenizer *t = r->t;
    if ((t->tokens[id].flags & PQ_TOK_PRESENT) != 0) {
        return PQ_FAIL(t->ctx, PTQC_E_INPUT,
                       "%s: token %lld is both '%.*s' and '%.*s'", r->what,
                       (long long)id, PQ_STR_ARG(t->tokens[id].text),
                       PQ_STR_ARG(text));
    }
    if (!pq_tok_keep(t, text, &kept)) {
        return PTQC_E_RESOURCE;
    }
    pq_tok_put(t, (pq_token)id, kept, flags);
    return PTQC_OK;
}

static ptqc_status
read_vocab(pq_tok_reader *r, const pq_json *vocab)
{
    pq_json_iter it = {0};
    pq_str text;
    const pq_json *v;
    while (pq_json_next(vocab, &it, &text, &v)) {
        int64_t id = 0; // checked by count_tokens
        (void)pq_json_i64(v, &id);
        PQ_TRY(put_token(r, id, text, PQ_TOK_IN_MODEL));
    }
    return PTQC_OK;
}

// [[text, score], ..]
static ptqc_status
read_scored_vocab(pq_tok_reader *r, const pq_json *vocab)
{
    for (size_t i = 0; i < pq_json_array_count(vocab); i++) {
        const pq_json *entry = pq_json_at(vocab, i);
        pq_str text;
        if (!pq_json_str(pq_json_at(entry, 0), &text) ||
            !pq_json_f64(pq_json_at(entry, 1), &r->t->tokens[i].score)) {
            return malformed(r, "an entry of the vocabulary");
        }
        PQ_TRY(put_token(r, (int64_t)i, text, PQ_TOK_IN_MODEL));
    }
    return PTQC_OK;
}

static ptqc_status
read_added_token(pq_tok_reader *r, const pq_json *v)
{
    static const struct {
        const char *name;
        uint32_t flag;
    } options[] = {{"special", PQ_TOK_SPECIAL},
                   {"normalized", PQ_TOK_NORMALIZED},
                   {"lstrip", PQ_TOK_LSTRIP},
                   {"rstrip", PQ_TOK_RSTRIP},
                   {"single_word", PQ_TOK_SINGLE_WORD}};
    pq_str text;
    uint32_t flags = PQ_TOK_ADDED;
    int64_t id;
    if (!pq_json_str(pq_json_get(v, "content"), &text) ||
        !pq_json_i64(pq_json_get(v, "id"), &id)) {
        return malformed(r, "an added token");
    }
    for (size_t i = 0; i < sizeof options / sizeof *options; i++) {
        bool is_set = false;
        (void)pq_json_bool(pq_json_get(v, options[i].name), &is_set);
        flags |= is_set ? options[i].flag : 0;
    }
    pq_token known = pq_tokenizer_find(r->t, text);
    if (known == PQ_TOKEN_NONE) {
        return put_token(r, id, text, flags);
    }
    // A token of the model keeps the id that it has there.
    r->t->tokens[known].flags |= flags;
    return PTQC_OK;
}

static ptqc_status
read_tokens(pq_tok_reader *r, const pq_json *model, const pq_json *root)
{
    const pq_json *vocab = pq_json_get(model, "vocab");
    const pq_json *added = pq_json_get(root, "added_tokens");
    bool is_scored = r->t->model == PQ_TOK_UNIGRAM;
    size_t count;
    if (is_scored ? !pq_json_is_array(vocab) : !pq_json_is_object(vocab)) {
        return malformed(r, "the vocabulary");
    }
    PQ_TRY(count_tokens(r, vocab, added, &count));
    PQ_TRY(pq_tok_make_tokens(r->t, count));
    PQ_TRY(is_scored ? read_scored_vocab(r, vocab) : read_vocab(r, vocab));
    for (size_t i = 0; i < pq_json_array_count(added); i++) {
        PQ_TRY(read_added_token(r, pq_json_at(added, i)));
    }
    return PTQC_OK;
}

// ---- models
// -------------------------------------------------------------------

// "left right" or ["left", "right"]
static bool
read_merge(const pq_tokenizer *t, const pq_json *v, pq_token out[2])
{
    pq_str left, right, all;
    if (pq_json_str(v, &all)) {
        if (!pq_str_split(all, ' ', &left, &right) ||
            memchr(right.p, ' ', right.n) != NULL) {
            return false;
        }
    } else if (pq_json_array_count(v) != 2 ||
               !pq_json_str(pq_json_at(v, 0), &left) ||
               !pq_json_str(pq_json_at(v, 1), &right)) {
        return false;
    }
    out[0] = pq_tok_find(t, left);
    out[1] = pq_tok_find(t, right);
    return out[0] != PQ_TOKEN_NONE && out[1] != PQ_TOKEN_NONE;
}

static ptqc_status
read_merges(pq_tok_reader *r, const pq_json *model)
{
    pq_tokenizer *t = r->t;
    const pq_json *list = pq_json_get(model, "merges");
    size_t count = pq_json_array_count(list);
    if (!pq_json_is_array(list) || count > PQ_TOK_MERGE_MAX) {
        return malformed(r, "the list of merges");
    }
    t->merges = pq_arena_array(&t->arena, count, sizeof *t->merges);
    PQ_TRY_ALLOC(t->merges);
    for (size_t i = 0; i < count; i++) {
        if (!read_merge(t, pq_json_at(list, i), t->merges[i])) {
            return PQ_FAIL(t->ctx, PTQC_E_INPUT,
                           "%s: merge %zu is not of two tokens", r->what, i);
        }
        t->merge_count = (uint32_t)i + 1;
    }
    return PTQC_OK;
}

static ptqc_status
read_unknown(pq_tok_reader *r, const pq_json *model)
{
    const pq_json *v = pq_json_get(model, "unk_token");
    pq_str text;
    if (v == NULL || pq_json_is_null(v)) {
        return PTQC_OK;
    }
    if (!pq_json_str(v, &text)) {
        return malformed(r, "unk_token");
    }
    r->t->unk = pq_tok_find(r->t, text);
    if (r->t->unk == PQ_TOKEN_NONE) {
        return PQ_FAIL(r->t->ctx, PTQC_E_INPUT,
                       "%s: unk_token '%.*s' is not in the vocabulary", r->what,
                       PQ_STR_ARG(text));
    }
    return PTQC_OK;
}

static ptqc_status
read_bpe(pq_tok_reader *r, const pq_json *model, const pq_json *root)
{
    static const char *const refused[] = {"continuing_subword_prefix",
                                          "end_of_word_suffix"};
    pq_str text;
    double dropout = 0;
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        if (pq_json_str(pq_json_get(model, refused[i]), &text) && text.n != 0) {
            return PQ_FAIL(r->t->ctx, PTQC_E_UNSUPPORTED,
                           "%s: BPE with %s is not supported", r->what,
                           refused[i]);
        }
    }
    (void)pq_json_f64(pq_json_get(model, "dropout"), &dropout);
    if (dropout > 0) {
        return PQ_FAIL(r->t->ctx, PTQC_E_UNSUPPORTED,
                       "%s: BPE with dropout is not supported", r->what);
    }
    static const struct {
        const char *name;
        uint32_t flag;
    } options[] = {{"byte_fallback", PQ_TOK_BYTE_FALLBACK},
                   {"fuse_unk", PQ_TOK_FUSE_UNK},
                   {"ignore_merges", PQ_TOK_WHOLE_WORDS}};
    for (size_t i = 0; i < sizeof options / sizeof *options; i++) {
        bool is_set = false;
        (void)pq_json_bool(pq_json_get(model, options[i].name), &is_set);
        r->t->flags |= is_set ? options[i].flag : 0;
    }
    PQ_TRY(read_tokens(r, model, root));
    PQ_TRY(read_unknown(r, model));
    return read_merges(r, model);
}

static ptqc_status
read_wordpiece(pq_tok_reader *r, const pq_json *model, const pq_json *root)
{
    int64_t chars = 100;
    pq_str prefix = PQ_STR("##");
    (void)pq_json_str(pq_json_get(model, "continuing_subword_prefix"), &prefix);
    (void)pq_json_i64(pq_json_get(model, "max_input_chars_per_word"), &chars);
    if (chars < 0 || chars > PQ_TOK_WORD_CHARS_MAX) {
        return malformed(r, "max_input_chars_per_word");
    }
    r->t->word_chars_max = (uint32_t)chars;
    if (!pq_tok_keep(r->t, prefix, &r->t->word_prefix)) {
        return PTQC_E_RESOURCE;
    }
    PQ_TRY(read_tokens(r, model, root));
    return read_unknown(r, model);
}

static ptqc_status
read_unigram(pq_tok_reader *r, const pq_json *model, const pq_json *root)
{
    bool has_bytes = false;
    int64_t unk = PQ_TOKEN_NONE;
    (void)pq_json_bool(pq_json_get(model, "byte_fallback"), &has_bytes);
    r->t->flags = has_bytes ? PQ_TOK_BYTE_FALLBACK : 0;
    PQ_TRY(read_tokens(r, model, root));
    if (pq_json_i64(pq_json_get(model, "unk_id"), &unk) &&
        (unk < 0 || unk >= (int64_t)r->t->token_count)) {
        return malformed(r, "unk_id");
    }
    r->t->unk = (pq_token)unk;
    return PTQC_OK;
}

// Old files don't name their model.
static pq_str
model_name(const pq_json *model)
{
    pq_str name;
    if (pq_json_str(pq_json_get(model, "type"), &name)) {
        return name;
    }
    bool is_bpe = pq_json_get(model, "merges") != NULL;
    bool is_scored = pq_json_is_array(pq_json_get(model, "vocab"));
    return is_bpe      ? PQ_STR("BPE")
           : is_scored ? PQ_STR("Unigram")
                       : PQ_STR("WordPiece");
}

static ptqc_status
read_model(pq_tok_reader *r, const pq_json *root)
{
    const struct {
        const char *name;
        ptqc_status (*read)(pq_tok_reader *r, const pq_json *model,
                            const pq_json *root);
    } models[PQ_TOK_MODEL_COUNT] = {
        [PQ_TOK_BPE] = {"BPE", read_bpe},
        [PQ_TOK_WORDPIECE] = {"WordPiece", read_wordpiece},
        [PQ_TOK_UNIGRAM] = {"Unigram", read_unigram}};
    const pq_json *model = pq_json_get(root, "model");
    if (!pq_json_is_object(model)) {
        return malformed(r, "the model");
    }
    pq_str name = model_name(model);
    for (unsigned i = 0; i < PQ_TOK_MODEL_COUNT; i++) {
        if (pq_str_equal_z(name, models[i].name)) {
            r->t->model = (pq_tok_model)i;
            return models[i].read(r, model, root);
        }
    }
    return PQ_FAIL(r->t->ctx, PTQC_E_UNSUPPORTED,
                   "%s: the model '%.*s' is not known", r->what,
                   PQ_STR_ARG(name));
}

// ---- tokenizer_config.json
// ------------------------------------------------------

// A token that the configuration names: text, or an object with content.
static pq_token
named_token(const pq_tokenizer *t, const pq_json *config, const char *key)
{
    const pq_json *v = pq_json_get(config, key);
    pq_str text;
    if (!pq_json_str(v, &text) &&
        !pq_json_str(pq_json_get(v, "content"), &text)) {
        return PQ_TOKEN_NONE;
    }
    return pq_tokenizer_find(t, text);
}

static ptqc_status
read_config(pq_tok_reader *r, pq_str text)
{
    pq_json *config;
    pq_tokenizer *t = r->t;
    if (text.n == 0) {
        return PTQC_OK;
    }
    PQ_TRY(pq_json_parse(t->ctx, "tokenizer_config.json", text, &config));
    t->bos = named_token(t, config, "bos_token");
    t->eos = named_token(t, config, "eos_token");
    t->pad = named_token(t, config, "pad_token");
    pq_json_free(config);
    return PTQC_OK;
}

// ---- all --------------------------------------------------------------------

static ptqc_status
read_all(pq_tok_reader *r, pq_str json, pq_str config)
{
    pq_json *root;
    ptqc_status st;
    PQ_TRY(pq_json_parse(r->t->ctx, r->what, json, &root));
    PQ_TRY_OR(done, read_model(r, root));
    PQ_TRY_OR(done, pq_tok_read_steps(r, root));
    PQ_TRY_OR(done, read_config(r, config));
    st = pq_tok_finish(r->t, r->what, PTQC_E_INPUT);
done:
    pq_json_free(root);
    return st;
}

ptqc_status
pq_tokenizer_from_json(ptqc_ctx *ctx, const char *what, pq_str json,
                       pq_str config, pq_tokenizer **out)
{
    *out = NULL;
    pq_tok_reader r = {.what = what};
    PQ_TRY(pq_tok_new(ctx, &r.t));
    ptqc_status st = read_all(&r, json, config);
    if (st != PTQC_OK) {
        pq_tokenizer_destroy(r.t);
        return st;
    }
    *out = r.t;
    return PTQC_OK;
}
