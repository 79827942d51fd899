// SPDX-License-Identifier: Apache-2.0
//
// Tokenizers from the arrays of GGUF metadata. What the file only names (the
// splitting of its words) stands in a table here; the names are those that
// llama.cpp's converter writes.
#include <string.h>

#include "tokenizer/steps.h"
#include "tokenizer/unicode.h"

// tokenizer.ggml.token_type
enum {
    TYPE_NORMAL = 1,
    TYPE_UNKNOWN = 2,
    TYPE_CONTROL = 3,
    TYPE_USER_DEFINED = 4,
    TYPE_UNUSED = 5,
    TYPE_BYTE = 6,
};

static const char MARK[] = "\xe2\x96\x81"; // U+2581, a space before a word

// X(name, digits one by one first, scanner, words that are tokens stay whole)
#define PRES(X)                                                                \
    X("gpt-2", false, GPT2, false)                                             \
    X("mpt", false, GPT2, false)                                               \
    X("olmo", false, GPT2, false)                                              \
    X("jais", false, GPT2, false)                                              \
    X("phi-2", false, GPT2, false)                                             \
    X("trillion", false, GPT2, false)                                          \
    X("roberta-bpe", false, GPT2, false)                                       \
    X("smollm", true, GPT2, false)                                             \
    X("starcoder", true, GPT2, false)                                          \
    X("refact", true, GPT2, false)                                             \
    X("command-r", true, GPT2, false)                                          \
    X("codeshell", true, GPT2, false)                                          \
    X("exaone", true, GPT2, false)                                             \
    X("llama-bpe", false, CL100K, true)                                        \
    X("llama3", false, CL100K, true)                                           \
    X("llama-v3", false, CL100K, true)                                         \
    X("falcon3", false, CL100K, true)                                          \
    X("dbrx", false, CL100K, false)                                            \
    X("smaug-bpe", false, CL100K, false)                                       \
    X("glm4", false, CL100K, false)                                            \
    X("chatglm-bpe", false, CL100K, false)                                     \
    X("qwen2", false, CL100K_1, false)                                         \
    X("stablelm2", false, CL100K_1, false)                                     \
    X("deepseek-r1-qwen", false, CL100K_1, false)                              \
    X("megrez", false, CL100K_1, false)

typedef struct pre {
    const char *name;
    bool splits_digits;
    pq_tok_scan_kind scan;
    bool keeps_words;
} pre;

static const pre pres[] = {
#define PRE(name, splits_digits, scan, keeps_words)                            \
    {name, splits_digits, PQ_TOK_SCAN_##scan, keeps_words},
    PRES(PRE)
#undef PRE
};

typedef struct reader {
    const pq_tokenizer_desc *desc;
    pq_tokenizer *t;
} reader;

void
pq_tokenizer_desc_init(pq_tokenizer_desc *desc)
{
    *desc = (pq_tokenizer_desc){.what = "tokenizer"};
    desc->bos = desc->eos = desc->eot = desc->unk = desc->pad = PQ_TOKEN_NONE;
}

// ---- steps ------------------------------------------------------------------

// Makes room for three steps; -> the next one.
static ptqc_status
add_step(reader *r, pq_tok_steps *steps, pq_tok_step step)
{
    enum { ROOM = 4 };
    if (steps->at == NULL) {
        steps->at = pq_arena_array(&r->t->arena, ROOM, sizeof *steps->at);
        PQ_TRY_ALLOC(steps->at);
    }
    steps->at[steps->count++] = step;
    return PTQC_OK;
}

static bool
choose(pq_tok_choice choice, bool usual)
{
    return choice == PQ_TOK_DEFAULT ? usual : choice == PQ_TOK_YES;
}

static ptqc_status
steps_llama(reader *r)
{
    pq_tokenizer *t = r->t;
    pq_str mark = PQ_STR(MARK), space = PQ_STR(" ");
    bool adds_space = choose(r->desc->add_space_prefix, true);
    if (adds_space) {
        PQ_TRY(add_step(r, &t->normalizers,
                        (pq_tok_step){.kind = PQ_TOK_NORM_PREPEND, .a = mark}));
    }
    PQ_TRY(add_step(
        r, &t->normalizers,
        (pq_tok_step){.kind = PQ_TOK_NORM_REPLACE, .a = space, .b = mark}));
    PQ_TRY(add_step(
        r, &t->decoders,
        (pq_tok_step){.kind = PQ_TOK_DEC_REPLACE, .a = mark, .b = space}));
    PQ_TRY(add_step(r, &t->decoders,
                    (pq_tok_step){.kind = PQ_TOK_DEC_BYTE_FALLBACK}));
    PQ_TRY(add_step(r, &t->decoders, (pq_tok_step){.kind = PQ_TOK_DEC_FUSE}));
    if (!adds_space) {
        return PTQC_OK;
    }
    return add_step(
        r, &t->decoders,
        (pq_tok_step){.kind = PQ_TOK_DEC_STRIP, .number = 1, .a = space});
}

static ptqc_status
steps_gpt2(reader *r)
{
    pq_tokenizer *t = r->t;
    const pre *found = NULL;
    for (size_t i = 0; i < sizeof pres / sizeof *pres; i++) {
        if (pq_str_equal_z(r->desc->pre, pres[i].name)) {
            found = &pres[i];
        }
    }
    if (found == NULL) {
        return PQ_FAIL(t->ctx, PTQC_E_UNSUPPORTED,
                       "%s: the pre-tokenizer '%.*s' is not known",
                       r->desc->what, PQ_STR_ARG(r->desc->pre));
    }
    t->flags |= found->keeps_words ? PQ_TOK_WHOLE_WORDS : 0;
    if (found->splits_digits) {
        PQ_TRY(add_step(r, &t->splitters,
                        (pq_tok_step){.kind = PQ_TOK_SPLIT_DIGITS,
                                      .flags = PQ_TOK_STEP_SINGLY}));
    }
    pq_str pattern = pq_str_of(pq_tok_scan_pattern(found->scan));
    PQ_TRY(add_step(r, &t->splitters,
                    (pq_tok_step){.kind = PQ_TOK_SPLIT_PATTERN,
                                  .flags = PQ_TOK_STEP_REGEX,
                                  .number = PQ_TOK_BEHAVIOR_ISOLATED,
                                  .a = pattern}));
    bool adds_space = choose(r->desc->add_space_prefix, false);
    if (adds_space) {
        PQ_TRY(add_step(
            r, &t->normalizers,
            (pq_tok_step){.kind = PQ_TOK_NORM_PREPEND, .a = PQ_STR(" ")}));
    }
    PQ_TRY(add_step(r, &t->splitters,
                    (pq_tok_step){.kind = PQ_TOK_SPLIT_BYTE_LEVEL}));
    return add_step(r, &t->decoders,
                    (pq_tok_step){.kind = PQ_TOK_DEC_BYTE_LEVEL});
}

static ptqc_status
steps_bert(reader *r)
{
    pq_tokenizer *t = r->t;
    t->word_prefix = PQ_STR("##");
    t->word_chars_max = 100; // max_input_chars_per_word of BERT
    uint32_t flags = PQ_TOK_STEP_CLEAN | PQ_TOK_STEP_CHINESE |
                     PQ_TOK_STEP_ACCENTS | PQ_TOK_STEP_LOWER;
    PQ_TRY(add_step(r, &t->normalizers,
                    (pq_tok_step){.kind = PQ_TOK_NORM_BERT, .flags = flags}));
    PQ_TRY(
        add_step(r, &t->splitters, (pq_tok_step){.kind = PQ_TOK_SPLIT_BERT}));
    return add_step(r, &t->decoders,
                    (pq_tok_step){.kind = PQ_TOK_DEC_WORDPIECE,
                                  .flags = PQ_TOK_STEP_CLEAN,
                                  .a = t->word_prefix});
}

// ---- tokens -----------------------------------------------------------------

static ptqc_status
flags_of(const reader *r, size_t id, uint32_t *out)
{
    const pq_tokenizer_desc *d = r->desc;
    int32_t type = d->type_count != 0 ? d->types[id] : TYPE_NORMAL;
    bool is_named = (int64_t)id == d->bos || (int64_t)id == d->eos ||
                    (int64_t)id == d->eot || (int64_t)id == d->unk ||
                    (int64_t)id == d->pad;
    if (d->type_count == 0 && is_named) {
        type = TYPE_CONTROL;
    }
    switch (type) {
    case TYPE_NORMAL:
    case TYPE_UNUSED:
        *out = PQ_TOK_IN_MODEL;
        return PTQC_OK;
    case TYPE_UNKNOWN:
    case TYPE_CONTROL:
        *out = PQ_TOK_ADDED | PQ_TOK_SPECIAL | PQ_TOK_UNMERGED;
        return PTQC_OK;
    case TYPE_USER_DEFINED:
        *out = PQ_TOK_IN_MODEL | PQ_TOK_ADDED;
        return PTQC_OK;
    case TYPE_BYTE:
        *out = PQ_TOK_IN_MODEL | PQ_TOK_UNMERGED;
        return PTQC_OK;
    default: // from the file
        return PQ_FAIL(r->t->ctx, PTQC_E_INPUT,
                       "%s: token %zu has the type %d, expected 1 to 6",
                       d->what, id, type);
    }
}

// GGUF spells WordPiece with a mark before what begins a word and nothing
// before the rest; the other way round here.
static ptqc_status
bert_text(reader *r, pq_str text, uint32_t flags, pq_str *out)
{
    if ((flags & PQ_TOK_SPECIAL) != 0) {
        return pq_tok_keep(r->t, text, out) ? PTQC_OK : PTQC_E_RESOURCE;
    }
    if (pq_str_starts(text, MARK)) {
        size_t n = sizeof MARK - 1;
        text = (pq_str){text.p + n, text.n - n};
        return pq_tok_keep(r->t, text, out) ? PTQC_OK : PTQC_E_RESOURCE;
    }
    pq_str prefix = r->t->word_prefix;
    char *joined = pq_arena_alloc(&r->t->arena, prefix.n + text.n);
    PQ_TRY_ALLOC(joined);
    memcpy(joined, prefix.p, prefix.n);
    memcpy(joined + prefix.n, text.p, text.n);
    *out = (pq_str){joined, prefix.n + text.n};
    return PTQC_OK;
}

static ptqc_status
read_tokens(reader *r)
{
    const pq_tokenizer_desc *d = r->desc;
    pq_tokenizer *t = r->t;
    PQ_TRY(pq_tok_make_tokens(t, d->token_count));
    for (size_t i = 0; i < d->token_count; i++) {
        uint32_t flags;
        pq_str text;
        PQ_TRY(flags_of(r, i, &flags));
        if (t->model == PQ_TOK_WORDPIECE) {
            PQ_TRY(bert_text(r, d->tokens[i], flags, &text));
        } else if (!pq_tok_keep(t, d->tokens[i], &text)) {
            return PTQC_E_RESOURCE;
        }
        pq_tok_put(t, (pq_token)i, text, flags);
        if ((t->flags & PQ_TOK_SCORED_MERGES) != 0) {
            t->tokens[i].score = (double)d->scores[i];
        }
    }
    return PTQC_OK;
}

static ptqc_status
read_merges(reader *r)
{
    const pq_tokenizer_desc *d = r->desc;
    pq_tokenizer *t = r->t;
    if (d->merge_count > PQ_TOK_MERGE_MAX) {
        return PQ_FAIL(t->ctx, PTQC_E_INPUT, "%s: %zu merges, at most %d",
                       d->what, d->merge_count, PQ_TOK_MERGE_MAX);
    }
    t->merges = pq_arena_array(&t->arena, d->merge_count, sizeof *t->merges);
    PQ_TRY_ALLOC(t->merges);
    for (size_t i = 0; i < d->merge_count; i++) {
        pq_str s = d->merges[i];
        // The left token may itself be a space.
        const char *gap = s.n > 2 ? memchr(s.p + 1, ' ', s.n - 1) : NULL;
        size_t n = gap != NULL ? (size_t)(gap - s.p) : 0;
        pq_token left = PQ_TOKEN_NONE, right = PQ_TOKEN_NONE;
        if (gap != NULL) {
            left = pq_tok_find(t, (pq_str){s.p, n});
            right = pq_tok_find(t, (pq_str){gap + 1, s.n - n - 1});
        }
        if (left == PQ_TOKEN_NONE || right == PQ_TOKEN_NONE) {
            return PQ_FAIL(t->ctx, PTQC_E_INPUT,
                           "%s: merge %zu '%.*s' is not of two tokens", d->what,
                           i, PQ_STR_ARG(s));
        }
        t->merges[i][0] = left;
        t->merges[i][1] = right;
        t->merge_count = (uint32_t)i + 1;
    }
    return PTQC_OK;
}

// ---- ids --------------------------------------------------------------------

static ptqc_status
read_id(const reader *r, const char *name, int64_t id, pq_token *out)
{
    if (id != PQ_TOKEN_NONE &&
        (id < 0 || (uint64_t)id >= r->desc->token_count)) {
        return PQ_FAIL(r->t->ctx, PTQC_E_INPUT,
                       "%s: the %s token %lld is not one of %zu", r->desc->what,
                       name, (long long)id, r->desc->token_count);
    }
    *out = (pq_token)id;
    return PTQC_OK;
}

static pq_token
find_unknown(const reader *r)
{
    const pq_tokenizer_desc *d = r->desc;
    for (size_t i = 0; i < d->type_count; i++) {
        if (d->types[i] == TYPE_UNKNOWN) {
            return (pq_token)i;
        }
    }
    return r->t->model == PQ_TOK_WORDPIECE
               ? pq_tokenizer_find(r->t, PQ_STR("[UNK]"))
               : PQ_TOKEN_NONE;
}

static ptqc_status
put_around(reader *r, bool wants, pq_token id, pq_token **out,
           uint32_t *out_count)
{
    if (!wants || id == PQ_TOKEN_NONE) {
        return PTQC_OK;
    }
    *out = pq_arena_memdup(&r->t->arena, &id, sizeof id);
    PQ_TRY_ALLOC(*out);
    *out_count = 1;
    return PTQC_OK;
}

static ptqc_status
read_ids(reader *r)
{
    const pq_tokenizer_desc *d = r->desc;
    pq_tokenizer *t = r->t;
    PQ_TRY(read_id(r, "bos", d->bos, &t->bos));
    PQ_TRY(read_id(r, "eos", d->eos, &t->eos));
    PQ_TRY(read_id(r, "eot", d->eot, &t->eot));
    PQ_TRY(read_id(r, "unknown", d->unk, &t->unk));
    PQ_TRY(read_id(r, "padding", d->pad, &t->pad));
    // Byte-level text has no unknown characters; an id given for one is the
    // converter's habit.
    bool is_byte_level = pq_str_equal_z(d->model, "gpt2");
    if (t->unk == PQ_TOKEN_NONE) {
        t->unk = find_unknown(r);
    }
    t->unk = is_byte_level ? PQ_TOKEN_NONE : t->unk;
    bool is_bert = t->model == PQ_TOK_WORDPIECE;
    bool keeps_words = (t->flags & PQ_TOK_WHOLE_WORDS) != 0;
    bool bos = choose(d->add_bos, !is_byte_level || keeps_words);
    bool eos = choose(d->add_eos, is_bert);
    PQ_TRY(put_around(r, bos, t->bos, &t->before, &t->before_count));
    return put_around(r, eos, t->eos, &t->after, &t->after_count);
}

// ---- all --------------------------------------------------------------------

static ptqc_status
check_counts(const reader *r, bool needs_scores)
{
    const pq_tokenizer_desc *d = r->desc;
    if (needs_scores
            ? d->score_count != d->token_count
            : d->score_count != 0 && d->score_count != d->token_count) {
        return PQ_FAIL(r->t->ctx, PTQC_E_INPUT, "%s: %zu scores for %zu tokens",
                       d->what, d->score_count, d->token_count);
    }
    if (d->type_count != 0 && d->type_count != d->token_count) {
        return PQ_FAIL(r->t->ctx, PTQC_E_INPUT,
                       "%s: %zu token types for %zu tokens", d->what,
                       d->type_count, d->token_count);
    }
    return PTQC_OK;
}

static ptqc_status
read_llama(reader *r)
{
    r->t->model = PQ_TOK_BPE;
    r->t->flags = PQ_TOK_SCORED_MERGES | PQ_TOK_BYTE_FALLBACK | PQ_TOK_FUSE_UNK;
    PQ_TRY(check_counts(r, true));
    PQ_TRY(steps_llama(r));
    return read_tokens(r);
}

static ptqc_status
read_gpt2(reader *r)
{
    r->t->model = PQ_TOK_BPE;
    PQ_TRY(check_counts(r, false));
    PQ_TRY(steps_gpt2(r));
    PQ_TRY(read_tokens(r));
    return read_merges(r);
}

static ptqc_status
read_bert(reader *r)
{
    r->t->model = PQ_TOK_WORDPIECE;
    PQ_TRY(check_counts(r, false));
    PQ_TRY(steps_bert(r));
    return read_tokens(r);
}

static ptqc_status
read_all(reader *r)
{
    const struct {
        const char *name;
        ptqc_status (*read)(reader *r);
    } kinds[] = {
        {"llama", read_llama}, {"gpt2", read_gpt2}, {"bert", read_bert}};
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        if (pq_str_equal_z(r->desc->model, kinds[i].name)) {
            PQ_TRY(kinds[i].read(r));
            PQ_TRY(read_ids(r));
            return pq_tok_finish(r->t, r->desc->what, PTQC_E_INPUT);
        }
    }
    return PQ_FAIL(r->t->ctx, PTQC_E_UNSUPPORTED,
                   "%s: the tokenizer '%.*s' is not known", r->desc->what,
                   PQ_STR_ARG(r->desc->model));
}

ptqc_status
pq_tokenizer_from_desc(ptqc_ctx *ctx, const pq_tokenizer_desc *desc,
                       pq_tokenizer **out)
{
    *out = NULL;
    reader r = {.desc = desc};
    PQ_TRY(pq_tok_new(ctx, &r.t));
    ptqc_status st = read_all(&r);
    if (st != PTQC_OK) {
        pq_tokenizer_destroy(r.t);
        return st;
    }
    *out = r.t;
    return PTQC_OK;
}
