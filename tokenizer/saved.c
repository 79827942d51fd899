// SPDX-License-Identifier: Apache-2.0
//
// The saved form of a tokenizer, little-endian, nothing aligned:
//   "PQTK", u32 version, u32 header[HEADER_COUNT], text word_prefix,
//   steps of normalizers, splitters, decoders,
//   i32 before[], i32 after[],
//   u32 tokens[]: flags << 16 | bytes of the text,
//   f64 scores[] when has_scores, u32 merges[][2], all token texts
// text: u32 bytes, bytes. step: u32 kind, flags, number, text a, text b.
// It ends with its last byte. The indexes are made anew by reading.
#include <string.h>

#include "base/bits.h"
#include "tokenizer/inside.h"

enum {
    VERSION = 1,
    TEXT_BITS = 16,
    STEP_BYTES_MIN = 5 * 4,
};

typedef enum header_field {
    MODEL,
    FLAGS,
    TOKEN_COUNT,
    MERGE_COUNT,
    WORD_CHARS_MAX,
    NORMALIZER_COUNT,
    SPLITTER_COUNT,
    DECODER_COUNT,
    BEFORE_COUNT,
    AFTER_COUNT,
    BOS,
    EOS,
    EOT,
    UNK,
    PAD,
    HAS_SCORES,
    HEADER_COUNT
} header_field;

static const char magic[4] = {'P', 'Q', 'T', 'K'};

// ---- writing
// ------------------------------------------------------------------

static void
put_u32(pq_strbuf *b, uint32_t x)
{
    char bytes[4];
    pq_store_le32(bytes, x);
    pq_strbuf_add(b, (pq_str){bytes, sizeof bytes});
}

static void
put_text(pq_strbuf *b, pq_str s)
{
    put_u32(b, (uint32_t)s.n);
    pq_strbuf_add(b, s);
}

static void
put_steps(pq_strbuf *b, const pq_tok_steps *steps)
{
    for (uint32_t i = 0; i < steps->count; i++) {
        const pq_tok_step *s = &steps->at[i];
        put_u32(b, s->kind);
        put_u32(b, s->flags);
        put_u32(b, s->number);
        put_text(b, s->a);
        put_text(b, s->b);
    }
}

static bool
has_scores(const pq_tokenizer *t)
{
    return t->model == PQ_TOK_UNIGRAM || (t->flags & PQ_TOK_SCORED_MERGES) != 0;
}

static void
put_header(pq_strbuf *b, const pq_tokenizer *t)
{
    const uint32_t header[HEADER_COUNT] = {
        [MODEL] = (uint32_t)t->model,
        [FLAGS] = t->flags,
        [TOKEN_COUNT] = t->token_count,
        [MERGE_COUNT] = t->merge_count,
        [WORD_CHARS_MAX] = t->word_chars_max,
        [NORMALIZER_COUNT] = t->normalizers.count,
        [SPLITTER_COUNT] = t->splitters.count,
        [DECODER_COUNT] = t->decoders.count,
        [BEFORE_COUNT] = t->before_count,
        [AFTER_COUNT] = t->after_count,
        [BOS] = (uint32_t)t->bos,
        [EOS] = (uint32_t)t->eos,
        [EOT] = (uint32_t)t->eot,
        [UNK] = (uint32_t)t->unk,
        [PAD] = (uint32_t)t->pad,
        [HAS_SCORES] = has_scores(t),
    };
    pq_strbuf_add(b, (pq_str){magic, sizeof magic});
    put_u32(b, VERSION);
    for (unsigned i = 0; i < HEADER_COUNT; i++) {
        put_u32(b, header[i]);
    }
}

static void
put_tokens(pq_strbuf *b, const pq_tokenizer *t)
{
    for (uint32_t i = 0; i < t->token_count; i++) {
        const pq_tok_token *token = &t->tokens[i];
        put_u32(b, token->flags << TEXT_BITS | (uint32_t)token->text.n);
    }
    for (uint32_t i = 0; has_scores(t) && i < t->token_count; i++) {
        char bytes[8];
        pq_store_f64(bytes, t->tokens[i].score);
        pq_strbuf_add(b, (pq_str){bytes, sizeof bytes});
    }
    for (uint32_t i = 0; i < t->merge_count; i++) {
        put_u32(b, (uint32_t)t->merges[i][0]);
        put_u32(b, (uint32_t)t->merges[i][1]);
    }
    for (uint32_t i = 0; i < t->token_count; i++) {
        pq_strbuf_add(b, t->tokens[i].text);
    }
}

ptqc_status
pq_tokenizer_write(ptqc_ctx *ctx, const pq_tokenizer *t, void **out,
                   size_t *out_bytes)
{
    pq_strbuf b;
    *out = NULL;
    *out_bytes = 0;
    pq_strbuf_init(&b, ctx);
    put_header(&b, t);
    put_text(&b, t->word_prefix);
    put_steps(&b, &t->normalizers);
    put_steps(&b, &t->splitters);
    put_steps(&b, &t->decoders);
    for (uint32_t i = 0; i < t->before_count; i++) {
        put_u32(&b, (uint32_t)t->before[i]);
    }
    for (uint32_t i = 0; i < t->after_count; i++) {
        put_u32(&b, (uint32_t)t->after[i]);
    }
    put_tokens(&b, t);
    if (b.failed) {
        pq_strbuf_deinit(&b);
        return PTQC_E_RESOURCE;
    }
    *out = b.p; // not empty: from pq_alloc
    *out_bytes = b.n;
    return PTQC_OK;
}

// ---- reading
// ------------------------------------------------------------------

typedef struct cursor {
    pq_tokenizer *t;
    const char *p;
    size_t left;
} cursor;

static ptqc_status
damaged(const cursor *c, const char *where)
{
    return PQ_FAIL(c->t->ctx, PTQC_E_INTEGRITY,
                   "saved tokenizer: %s beyond its end or out of range", where);
}

// n elements of `size` bytes.
static ptqc_status
take(cursor *c, const char *where, size_t n, size_t size, const char **out)
{
    if (n > c->left / size) {
        return damaged(c, where);
    }
    *out = c->p;
    c->p += n * size;
    c->left -= n * size;
    return PTQC_OK;
}

static ptqc_status
take_u32(cursor *c, const char *where, uint32_t *out)
{
    const char *p;
    PQ_TRY(take(c, where, 1, 4, &p));
    *out = pq_load_le32(p);
    return PTQC_OK;
}

static ptqc_status
take_text(cursor *c, const char *where, pq_str *out)
{
    uint32_t n;
    const char *p;
    PQ_TRY(take_u32(c, where, &n));
    PQ_TRY(take(c, where, n, 1, &p));
    return pq_tok_keep(c->t, (pq_str){p, n}, out) ? PTQC_OK : PTQC_E_RESOURCE;
}

static ptqc_status
take_steps(cursor *c, uint32_t count, pq_tok_steps *out)
{
    static const char where[] = "a step";
    if (count > PQ_TOK_STEP_MAX || count > c->left / STEP_BYTES_MIN) {
        return damaged(c, where);
    }
    out->at = pq_arena_array(&c->t->arena, count, sizeof *out->at);
    PQ_TRY_ALLOC(out->at);
    for (uint32_t i = 0; i < count; i++) {
        pq_tok_step *s = &out->at[i];
        PQ_TRY(take_u32(c, where, &s->kind));
        PQ_TRY(take_u32(c, where, &s->flags));
        PQ_TRY(take_u32(c, where, &s->number));
        PQ_TRY(take_text(c, where, &s->a));
        PQ_TRY(take_text(c, where, &s->b));
        out->count = i + 1;
    }
    return PTQC_OK;
}

static ptqc_status
take_ids(cursor *c, uint32_t count, pq_token **out)
{
    const char *p;
    if (count > PQ_TOK_AROUND_MAX) {
        return damaged(c, "ids around a text");
    }
    PQ_TRY(take(c, "ids around a text", count, 4, &p));
    *out = pq_arena_array(&c->t->arena, count, sizeof **out);
    PQ_TRY_ALLOC(*out);
    for (uint32_t i = 0; i < count; i++) {
        (*out)[i] = (pq_token)pq_load_le32(p + 4 * (size_t)i);
    }
    return PTQC_OK;
}

static ptqc_status
take_merges(cursor *c, uint32_t count)
{
    pq_tokenizer *t = c->t;
    const char *p;
    PQ_TRY(take(c, "merges", count, 8, &p));
    t->merges = pq_arena_array(&t->arena, count, sizeof *t->merges);
    PQ_TRY_ALLOC(t->merges);
    t->merge_count = count;
    for (uint32_t i = 0; i < count; i++) {
        t->merges[i][0] = (pq_token)pq_load_le32(p + 8 * (size_t)i);
        t->merges[i][1] = (pq_token)pq_load_le32(p + 8 * (size_t)i + 4);
    }
    return PTQC_OK;
}

static ptqc_status
put_all_tokens(cursor *c, const char *entries, const char *scores)
{
    pq_tokenizer *t = c->t;
    const char *texts = pq_arena_memdup(&t->arena, c->p, c->left);
    PQ_TRY_ALLOC(texts);
    for (uint32_t i = 0; i < t->token_count; i++) {
        uint32_t entry = pq_load_le32(entries + 4 * (size_t)i);
        uint32_t flags = entry >> TEXT_BITS;
        size_t n = entry & ((1u << TEXT_BITS) - 1);
        const char *at;
        if (flags >= PQ_TOK_TOKEN_FLAGS_END) {
            return damaged(c, "flags of a token");
        }
        PQ_TRY(take(c, "a token", n, 1, &at));
        if ((flags & PQ_TOK_PRESENT) != 0) {
            pq_tok_put(t, (pq_token)i, (pq_str){texts, n}, flags);
        }
        texts += n;
        if (scores != NULL) {
            t->tokens[i].score = pq_load_f64(scores + 8 * (size_t)i);
        }
    }
    return c->left == 0 ? PTQC_OK : damaged(c, "bytes");
}

static ptqc_status
take_tokens(cursor *c, const uint32_t *header)
{
    const char *entries, *scores = NULL;
    uint32_t count = header[TOKEN_COUNT];
    if (count == 0 || count > PQ_TOK_COUNT_MAX) {
        return damaged(c, "tokens");
    }
    PQ_TRY(take(c, "tokens", count, 4, &entries));
    if (header[HAS_SCORES] != 0) {
        PQ_TRY(take(c, "scores", count, 8, &scores));
    }
    PQ_TRY(take_merges(c, header[MERGE_COUNT]));
    PQ_TRY(pq_tok_make_tokens(c->t, count));
    return put_all_tokens(c, entries, scores);
}

static ptqc_status
read_header(cursor *c, uint32_t header[HEADER_COUNT])
{
    const char *p;
    uint32_t version;
    PQ_TRY(take(c, "magic", sizeof magic, 1, &p));
    PQ_TRY(take_u32(c, "version", &version));
    if (memcmp(p, magic, sizeof magic) != 0 || version != VERSION) {
        return PQ_FAIL(c->t->ctx, PTQC_E_INTEGRITY,
                       "saved tokenizer: not one of version %d", VERSION);
    }
    for (unsigned i = 0; i < HEADER_COUNT; i++) {
        PQ_TRY(take_u32(c, "header", &header[i]));
    }
    if (header[MODEL] >= PQ_TOK_MODEL_COUNT ||
        header[FLAGS] >= PQ_TOK_FLAGS_END) {
        return damaged(c, "model");
    }
    return PTQC_OK;
}

static ptqc_status
read_all(cursor *c)
{
    pq_tokenizer *t = c->t;
    uint32_t header[HEADER_COUNT];
    PQ_TRY(read_header(c, header));
    t->model = (pq_tok_model)header[MODEL];
    t->flags = header[FLAGS];
    t->word_chars_max = header[WORD_CHARS_MAX];
    t->bos = (pq_token)header[BOS];
    t->eos = (pq_token)header[EOS];
    t->eot = (pq_token)header[EOT];
    t->unk = (pq_token)header[UNK];
    t->pad = (pq_token)header[PAD];
    PQ_TRY(take_text(c, "the prefix of words", &t->word_prefix));
    PQ_TRY(take_steps(c, header[NORMALIZER_COUNT], &t->normalizers));
    PQ_TRY(take_steps(c, header[SPLITTER_COUNT], &t->splitters));
    PQ_TRY(take_steps(c, header[DECODER_COUNT], &t->decoders));
    PQ_TRY(take_ids(c, header[BEFORE_COUNT], &t->before));
    t->before_count = header[BEFORE_COUNT];
    PQ_TRY(take_ids(c, header[AFTER_COUNT], &t->after));
    t->after_count = header[AFTER_COUNT];
    PQ_TRY(take_tokens(c, header));
    return pq_tok_finish(t, "saved tokenizer", PTQC_E_INTEGRITY);
}

ptqc_status
pq_tokenizer_read(ptqc_ctx *ctx, const void *bytes, size_t n,
                  pq_tokenizer **out)
{
    *out = NULL;
    pq_tokenizer *t;
    PQ_TRY(pq_tok_new(ctx, &t));
    cursor c = {t, bytes, n};
    ptqc_status st = read_all(&c);
    if (st != PTQC_OK) {
        pq_tokenizer_destroy(t);
        return st;
    }
    *out = t;
    return PTQC_OK;
}
