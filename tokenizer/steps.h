// SPDX-License-Identifier: Apache-2.0
//
// The steps before a model sees words and after its tokens have texts: their
// kinds, normalizing, splitting. Names and order of fields are those of
// tokenizer.json.
#ifndef PTQC_TOKENIZER_STEPS_H
#define PTQC_TOKENIZER_STEPS_H

#include "tokenizer/inside.h"

// X(NAME, "type in tokenizer.json")
#define PQ_TOK_NORMALIZERS(X)                                                  \
    X(NFC, "NFC")                                                              \
    X(NFD, "NFD")                                                              \
    X(NFKC, "NFKC")                                                            \
    X(NFKD, "NFKD")                                                            \
    X(LOWERCASE, "Lowercase")                                                  \
    X(STRIP, "Strip") /* flags LEFT, RIGHT */                                  \
    X(STRIP_ACCENTS, "StripAccents")                                           \
    X(REPLACE, "Replace")     /* a pattern (flag REGEX), b content */          \
    X(PREPEND, "Prepend")     /* a */                                          \
    X(BERT, "BertNormalizer") /* flags CLEAN CHINESE ACCENTS LOWER */

#define PQ_TOK_SPLITTERS(X)                                                    \
    X(BYTE_LEVEL, "ByteLevel") /* flags PREFIX, WORDS */                       \
    X(PATTERN, "Split")        /* a (REGEX, INVERT), number behavior */        \
    X(DIGITS, "Digits")        /* flag SINGLY */                               \
    X(WHITESPACE, "Whitespace")                                                \
    X(WHITESPACE_SPLIT, "WhitespaceSplit")                                     \
    X(BERT, "BertPreTokenizer")                                                \
    X(PUNCTUATION, "Punctuation") /* number behavior */                        \
    X(METASPACE, "Metaspace")     /* a replacement, number scheme, WORDS */

#define PQ_TOK_DECODERS(X)                                                     \
    X(BYTE_LEVEL, "ByteLevel")                                                 \
    X(WORDPIECE, "WordPiece") /* a prefix, flag CLEAN */                       \
    X(METASPACE, "Metaspace") /* a replacement, number scheme */               \
    X(REPLACE, "Replace")     /* a, b */                                       \
    X(BYTE_FALLBACK, "ByteFallback")                                           \
    X(FUSE, "Fuse")                                                            \
    X(STRIP, "Strip") /* a character, number at the start */

#define PQ_TOK_BEHAVIORS(X)                                                    \
    X(REMOVED, "Removed")                                                      \
    X(ISOLATED, "Isolated")                                                    \
    X(MERGED_WITH_PREVIOUS, "MergedWithPrevious")                              \
    X(MERGED_WITH_NEXT, "MergedWithNext")                                      \
    X(CONTIGUOUS, "Contiguous")

#define PQ_TOK_SCHEMES(X)                                                      \
    X(NEVER, "never")                                                          \
    X(FIRST, "first")                                                          \
    X(ALWAYS, "always")

typedef enum pq_tok_norm {
#define PQ_TOK_X(NAME, text) PQ_TOK_NORM_##NAME,
    PQ_TOK_NORMALIZERS(PQ_TOK_X)
#undef PQ_TOK_X
        PQ_TOK_NORM_COUNT
} pq_tok_norm;

typedef enum pq_tok_split_kind {
#define PQ_TOK_X(NAME, text) PQ_TOK_SPLIT_##NAME,
    PQ_TOK_SPLITTERS(PQ_TOK_X)
#undef PQ_TOK_X
        PQ_TOK_SPLIT_COUNT
} pq_tok_split_kind;

typedef enum pq_tok_dec {
#define PQ_TOK_X(NAME, text) PQ_TOK_DEC_##NAME,
    PQ_TOK_DECODERS(PQ_TOK_X)
#undef PQ_TOK_X
        PQ_TOK_DEC_COUNT
} pq_tok_dec;

typedef enum pq_tok_behavior {
#define PQ_TOK_X(NAME, text) PQ_TOK_BEHAVIOR_##NAME,
    PQ_TOK_BEHAVIORS(PQ_TOK_X)
#undef PQ_TOK_X
        PQ_TOK_BEHAVIOR_COUNT
} pq_tok_behavior;

typedef enum pq_tok_scheme {
#define PQ_TOK_X(NAME, text) PQ_TOK_SCHEME_##NAME,
    PQ_TOK_SCHEMES(PQ_TOK_X)
#undef PQ_TOK_X
        PQ_TOK_SCHEME_COUNT
} pq_tok_scheme;

// Kinds in range, fields that make sense, orders that are supported; compiles
// the regular expressions.
PTQC_MUST_USE ptqc_status pq_tok_check_steps(pq_tokenizer *t, const char *what,
                                             ptqc_status bad);

// Appends the normalized text.
PTQC_MUST_USE ptqc_status pq_tok_normalize(ptqc_ctx *ctx, const pq_tokenizer *t,
                                           pq_str text, pq_strbuf *out);

typedef struct pq_tok_span {
    uint32_t at, n; // bytes of pq_tok_pieces.text
} pq_tok_span;

// A text cut into words. One object serves many texts; its memory is kept.
typedef struct pq_tok_pieces {
    ptqc_ctx *ctx;    // borrowed
    pq_str text;      // borrowed, or one of the buffers
    bool is_at_start; // of the whole text
    pq_tok_span *at;  // [count] owned
    uint32_t count, capacity;
    pq_tok_span *next; // what the present step makes
    uint32_t next_count, next_capacity;
    struct pq_tok_cut {
        pq_tok_span span;
        bool is_match;
    } *cuts; // matches of a pattern in one piece and what lies between
    uint32_t cut_count, cut_capacity;
    pq_strbuf buffers[2];
    unsigned buffer_index; // of the one to write next
} pq_tok_pieces;

void pq_tok_pieces_init(pq_tok_pieces *p, ptqc_ctx *ctx);
void pq_tok_pieces_deinit(pq_tok_pieces *p);
// text (well-formed, at most 4 GiB) must stay until the next call.
PTQC_MUST_USE ptqc_status pq_tok_split(pq_tok_pieces *p, const pq_tokenizer *t,
                                       pq_str text, bool is_at_start);

// Splitting expressions that are scanned by hand, in linear time and without
// PCRE2: one alternative of \p{L}, \p{N}, others and white space per word.
typedef enum pq_tok_scan_kind {
    PQ_TOK_SCAN_NONE,
    PQ_TOK_SCAN_GPT2,
    PQ_TOK_SCAN_CL100K,   // llama 3: up to three digits at once
    PQ_TOK_SCAN_CL100K_1, // qwen 2: one digit
} pq_tok_scan_kind;

pq_tok_scan_kind pq_tok_scan_find(pq_str pattern);
const char *pq_tok_scan_pattern(pq_tok_scan_kind kind);
// Bytes of the first word of s (not empty).
size_t pq_tok_scan(pq_tok_scan_kind kind, pq_str s);

#endif
