// SPDX-License-Identifier: Apache-2.0
//
// Hostile tokenizers and hostile texts. The first byte chooses: a
// tokenizer.json, the saved form, a description like GGUF's, or one of the
// tokenizers below; what follows the last byte 0xff is the text (the saved
// form has such bytes itself). Ids must be of the vocabulary, decoded text
// well-formed, the saved form equal to what it was made from, and memory must
// come back.
#include <stdlib.h>
#include <string.h>

#include "tokenizer/tokenizer.h"
#include "tokenizer/unicode.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

enum { DESC_TOKENS_MAX = 64, IDS_MAX = 256 };

static const char *const builtin[] = {
    "{\"model\":{\"type\":\"BPE\",\"unk_token\":\"?\",\"fuse_unk\":true,"
    "\"byte_fallback\":true,\"vocab\":{\"?\":0,\"a\":1,\"b\":2,\"\u2581\":3,"
    "\"ab\":4,\"\u2581a\":5,\"aa\":6,\"aab\":7,\"<0xC3>\":8,\"<0xA9>\":9,"
    "\"<s>\":10},\"merges\":[\"a b\",\"\u2581 a\",\"a a\",\"aa b\"]},"
    "\"added_tokens\":[{\"id\":10,\"content\":\"<s>\",\"special\":true,"
    "\"lstrip\":true,\"rstrip\":true},{\"id\":11,\"content\":\"ba\","
    "\"normalized\":true,\"single_word\":true}],"
    "\"normalizer\":{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"NFKC\"}"
    ",{\"type\":\"Prepend\",\"prepend\":\"\u2581\"},{\"type\":\"Replace\","
    "\"pattern\":{\"String\":\" \"},\"content\":\"\u2581\"}]},"
    "\"decoder\":{\"type\":\"Sequence\",\"decoders\":[{\"type\":\"Replace\","
    "\"pattern\":{\"String\":\"\u2581\"},\"content\":\" \"},"
    "{\"type\":\"ByteFallback\"},{\"type\":\"Fuse\"},{\"type\":\"Strip\","
    "\"content\":\" \",\"start\":1,\"stop\":0}]}}",
    "{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0,\"b\":1,\"\u0120\":2,"
    "\"ab\":3,\"\u0120a\":4,\"\u00c3\":5,\"1\":6,\"\u010a\":7},\"merges\":"
    "[[\"a\",\"b\"],[\"\u0120\",\"a\"]]},\"pre_tokenizer\":{\"type\":"
    "\"Sequence\",\"pretokenizers\":[{\"type\":\"Digits\","
    "\"individual_digits\":true},{\"type\":\"Split\",\"behavior\":\"Isolated\","
    "\"pattern\":{\"Regex\":\"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\\\r\\\\n"
    "\\\\p{L}\\\\p{N}]?\\\\p{L}+|\\\\p{N}{1,3}| ?[^\\\\s\\\\p{L}\\\\p{N}]+"
    "[\\\\r\\\\n]*|\\\\s*[\\\\r\\\\n]+|\\\\s+(?!\\\\S)|\\\\s+\"}},"
    "{\"type\":\"Split\",\"behavior\":\"MergedWithNext\",\"pattern\":"
    "{\"Regex\":\"b+?|(a*)*x\"}},{\"type\":\"ByteLevel\"}]},"
    "\"decoder\":{\"type\":\"ByteLevel\"}}",
    "{\"model\":{\"type\":\"WordPiece\",\"unk_token\":\"[U]\",\"vocab\":{"
    "\"[U]\":0,\"a\":1,\"##a\":2,\"ab\":3,\"##b\":4,\".\":5,\"e\":6}},"
    "\"normalizer\":{\"type\":\"BertNormalizer\"},\"pre_tokenizer\":{\"type\":"
    "\"BertPreTokenizer\"},\"decoder\":{\"type\":\"WordPiece\",\"prefix\":"
    "\"##\",\"cleanup\":true}}",
    "{\"model\":{\"type\":\"Unigram\",\"unk_id\":0,\"vocab\":[[\"?\",0],"
    "[\"a\",-1],[\"ab\",-1.5],[\"\u2581\",-2],[\"\u2581a\",-2.5],[\"b\",-3],"
    "[\"aab\",-2]]},\"pre_tokenizer\":{\"type\":\"Metaspace\",\"replacement\":"
    "\"\u2581\",\"prepend_scheme\":\"first\"},\"decoder\":{\"type\":"
    "\"Metaspace\",\"replacement\":\"\u2581\",\"prepend_scheme\":\"first\"}}",
};

static void
need(bool is_good)
{
    if (!is_good) {
        abort();
    }
}

// The next line of *rest.
static pq_str
take_line(pq_str *rest)
{
    pq_str line;
    (void)pq_str_split(*rest, '\n', &line, rest);
    return line;
}

// Lines: model, pre, then tokens (first byte type, second score) and merges.
static ptqc_status
from_lines(ptqc_ctx *ctx, pq_str s, pq_tokenizer **out)
{
    pq_tokenizer_desc d;
    pq_str tokens[DESC_TOKENS_MAX], merges[DESC_TOKENS_MAX];
    float scores[DESC_TOKENS_MAX];
    int32_t types[DESC_TOKENS_MAX];
    pq_tokenizer_desc_init(&d);
    d.model = take_line(&s);
    d.pre = take_line(&s);
    d.tokens = tokens;
    d.scores = scores;
    d.types = types;
    d.merges = merges;
    while (s.n != 0 && d.token_count < DESC_TOKENS_MAX &&
           d.merge_count < DESC_TOKENS_MAX) {
        pq_str line = take_line(&s);
        if (line.n >= 2 && line.p[0] != 'm') {
            types[d.token_count] = line.p[0] - '0';
            scores[d.token_count] = (float)line.p[1];
            tokens[d.token_count++] = (pq_str){line.p + 2, line.n - 2};
        } else if (line.n != 0) {
            merges[d.merge_count++] = (pq_str){line.p + 1, line.n - 1};
        }
    }
    d.score_count = d.type_count = d.token_count;
    d.bos = d.token_count > 5 ? 1 : PQ_TOKEN_NONE;
    return pq_tokenizer_from_desc(ctx, &d, out);
}

static ptqc_status
create(ptqc_ctx *ctx, unsigned choice, pq_str s, pq_tokenizer **out)
{
    pq_str none = {"", 0};
    switch (choice % 8) {
    case 0:
        return pq_tokenizer_from_json(ctx, "fuzz", s, none, out);
    case 1:
        return pq_tokenizer_read(ctx, s.p, s.n, out);
    case 2:
        return from_lines(ctx, s, out);
    default:
        s = pq_str_of(builtin[choice % 4]);
        return pq_tokenizer_from_json(ctx, "fuzz", s, none, out);
    }
}

static void
check_decode(ptqc_ctx *ctx, const pq_tokenizer *t, const pq_token *ids,
             size_t count, uint32_t flags)
{
    pq_strbuf whole, pieces;
    pq_detokenizer d;
    pq_strbuf_init(&whole, ctx);
    pq_strbuf_init(&pieces, ctx);
    need(pq_tokenizer_decode(ctx, t, ids, count, flags, &whole) == PTQC_OK);
    need(pq_text_is_well_formed((pq_str){whole.p, whole.n}));
    pq_detokenizer_init(&d, t, flags);
    for (size_t i = 0; i < count; i++) {
        need(pq_detokenizer_add(&d, ids[i], &pieces) == PTQC_OK);
        need(pq_text_is_well_formed((pq_str){pieces.p, pieces.n}));
    }
    need(pq_detokenizer_finish(&d, &pieces) == PTQC_OK);
    need(pq_text_is_well_formed((pq_str){pieces.p, pieces.n}));
    pq_strbuf_deinit(&whole);
    pq_strbuf_deinit(&pieces);
}

// Encodes with both; -> the ids must be equal.
static void
check_encode(ptqc_ctx *ctx, const pq_tokenizer *t, const pq_tokenizer *again,
             pq_str text, uint32_t flags)
{
    pq_token_ids a, b;
    ptqc_status st = pq_tokenizer_encode(ctx, t, text, flags, &a);
    need(st == pq_tokenizer_encode(ctx, again, text, flags, &b));
    need(st == PTQC_OK || st == PTQC_E_INPUT);
    need(a.count == b.count);
    for (size_t i = 0; i < a.count; i++) {
        need(a.ids[i] == b.ids[i] && a.ids[i] >= 0);
        need((size_t)a.ids[i] < pq_tokenizer_count(t));
    }
    check_decode(ctx, t, a.ids, a.count, flags & 3u);
    pq_free(ctx, a.ids);
    pq_free(ctx, b.ids);
}

static void
check_tokenizer(ptqc_ctx *ctx, const pq_tokenizer *t, pq_str text)
{
    pq_tokenizer *again;
    void *bytes;
    size_t n;
    need(pq_tokenizer_write(ctx, t, &bytes, &n) == PTQC_OK);
    need(pq_tokenizer_read(ctx, bytes, n, &again) == PTQC_OK);
    pq_free(ctx, bytes);
    for (uint32_t flags = 0; flags < 4; flags++) {
        check_encode(ctx, t, again, text, flags);
    }
    pq_token ids[IDS_MAX];
    size_t count = text.n < IDS_MAX ? text.n : IDS_MAX;
    for (size_t i = 0; i < count; i++) {
        ids[i] = (pq_token)((uint8_t)text.p[i] * 7u % pq_tokenizer_count(t));
    }
    check_decode(ctx, t, ids, count, (uint32_t)text.n & 3u);
    pq_tokenizer_destroy(again);
}

int
LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    ptqc_ctx *ctx;
    pq_tokenizer *t;
    ptqc_ctx_desc desc = {.threads = 1};
    if (n == 0 || ptqc_ctx_create(&desc, &ctx) != PTQC_OK) {
        return 0;
    }
    pq_str source = {(const char *)p + 1, n - 1}, text = source;
    for (size_t i = source.n; i > 0; i--) {
        if ((uint8_t)source.p[i - 1] == 0xff) {
            text = (pq_str){source.p + i, source.n - i};
            source.n = i - 1;
            break;
        }
    }
    if (create(ctx, p[0], source, &t) == PTQC_OK) {
        check_tokenizer(ctx, t, text);
        pq_tokenizer_destroy(t);
    }
    need(pq_live_bytes(ctx) == 0);
    ptqc_ctx_destroy(ctx);
    return 0;
}
