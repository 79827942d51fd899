// SPDX-License-Identifier: Apache-2.0
//
// The inside of a tokenizer. A reader fills the description (all but the last
// part of the struct) in the tokenizer's arena, pq_tok_finish() checks it and
// builds the indexes, after which nothing changes. The saved form is the
// description.
#ifndef PTQC_TOKENIZER_INSIDE_H
#define PTQC_TOKENIZER_INSIDE_H

#include "base/arena.h"
#include "tokenizer/prefixes.h"
#include "tokenizer/regex.h"
#include "tokenizer/tokenizer.h"

enum {
    PQ_TOK_COUNT_MAX = 1 << 22,      // tokens
    PQ_TOK_MERGE_MAX = 1 << 24,      // merges, those made from scores included
    PQ_TOK_TEXT_MAX = 1 << 12,       // bytes of a token
    PQ_TOK_SCORED_TEXT_MAX = 1 << 9, // where merges come from scores
    PQ_TOK_CONTENT_MAX = 64,         // bytes that replace a match
    PQ_TOK_STEP_MAX = 64,            // steps of one kind
    PQ_TOK_AROUND_MAX = 64,          // ids put before or after a text
    PQ_TOK_WORD_CHARS_MAX = 1 << 16, // WordPiece: longest word looked up
};

// X(NAME, "name in tokenizer.json")
#define PQ_TOK_MODELS(X)                                                       \
    X(BPE, "BPE")                                                              \
    X(WORDPIECE, "WordPiece")                                                  \
    X(UNIGRAM, "Unigram")

typedef enum pq_tok_model {
#define PQ_TOK_MODEL_ENUM(NAME, text) PQ_TOK_##NAME,
    PQ_TOK_MODELS(PQ_TOK_MODEL_ENUM)
#undef PQ_TOK_MODEL_ENUM
        PQ_TOK_MODEL_COUNT
} pq_tok_model;

// pq_tokenizer.flags
enum {
    PQ_TOK_BYTE_FALLBACK = 1u << 0, // unknown characters as <0xNN> tokens
    PQ_TOK_FUSE_UNK = 1u << 1,      // neighbouring unknowns are one token
    PQ_TOK_WHOLE_WORDS = 1u << 2,   // a word that is a token needs no merges
    PQ_TOK_SCORED_MERGES = 1u << 3, // BPE: merges follow from the scores
    PQ_TOK_FLAGS_END = 1u << 4,
};

// pq_tok_token.flags
enum {
    PQ_TOK_IN_MODEL = 1u << 0,    // found by the model
    PQ_TOK_ADDED = 1u << 1,       // found in the text before the model
    PQ_TOK_SPECIAL = 1u << 2,     // only with PARSE_SPECIAL; SKIP_SPECIAL
    PQ_TOK_NORMALIZED = 1u << 3,  // found in the normalized text
    PQ_TOK_LSTRIP = 1u << 4,      // takes the white space before it along
    PQ_TOK_RSTRIP = 1u << 5,      // and after it
    PQ_TOK_SINGLE_WORD = 1u << 6, // not inside of a word
    PQ_TOK_UNMERGED = 1u << 7,    // never made from scores
    PQ_TOK_PRESENT = 1u << 8,     // the id has a token
    PQ_TOK_TOKEN_FLAGS_END = 1u << 9,
};

typedef struct pq_tok_token {
    pq_str text; // in the arena
    double score;
    uint32_t flags;
} pq_tok_token;

// One step of normalizing, splitting or decoding; a and b belong to the kind.
typedef struct pq_tok_step {
    uint32_t kind;  // pq_tok_norm, pq_tok_split or pq_tok_dec
    uint32_t flags; // PQ_TOK_STEP_*
    uint32_t number;
    pq_str a, b;
    // Made by pq_tok_finish from a:
    pq_tok_regex *regex; // owned, or NULL
    uint32_t scan;       // pq_tok_scan_kind; not NONE: instead of the regex
} pq_tok_step;

enum {
    PQ_TOK_STEP_REGEX = 1u << 0,   // a is a regular expression
    PQ_TOK_STEP_INVERT = 1u << 1,  // matches are what lies between
    PQ_TOK_STEP_LEFT = 1u << 2,    // Strip
    PQ_TOK_STEP_RIGHT = 1u << 3,   // Strip
    PQ_TOK_STEP_PREFIX = 1u << 4,  // ByteLevel: add_prefix_space
    PQ_TOK_STEP_WORDS = 1u << 5,   // ByteLevel, Metaspace: also split
    PQ_TOK_STEP_CLEAN = 1u << 6,   // Bert: clean_text; WordPiece: cleanup
    PQ_TOK_STEP_CHINESE = 1u << 7, // Bert: handle_chinese_chars
    PQ_TOK_STEP_ACCENTS = 1u << 8, // Bert: strip_accents
    PQ_TOK_STEP_LOWER = 1u << 9,   // Bert: lowercase
    PQ_TOK_STEP_SINGLY = 1u << 10, // Digits: individual_digits
    PQ_TOK_STEP_FLAGS_END = 1u << 11,
};

typedef struct pq_tok_steps {
    pq_tok_step *at; // in the arena
    uint32_t count;
} pq_tok_steps;

// One merge: the pair and what it becomes. Lower ranks go first.
typedef struct pq_tok_merge {
    uint64_t pair; // left << 32 | right
    uint32_t rank;
    pq_token id;
} pq_tok_merge;

struct pq_tokenizer {
    ptqc_ctx *ctx;
    pq_arena arena;
    // ---- the description
    pq_tok_model model;
    uint32_t flags;
    pq_tok_token *tokens; // [token_count]
    uint32_t token_count;
    pq_token (*merges)[2]; // [merge_count], best first
    uint32_t merge_count;
    uint32_t word_chars_max; // WordPiece: longer words are unknown
    pq_str word_prefix;      // WordPiece: of what goes on a word, "##"
    pq_tok_steps normalizers, splitters, decoders;
    pq_token *before, *after; // [before_count], [after_count]
    uint32_t before_count, after_count;
    pq_token bos, eos, eot, unk, pad;
    // ---- the indexes
    bool is_byte_level;  // the last splitter is ByteLevel
    bool is_text_stable; // words lie in the caller's text
    uint32_t *slots;     // [slot_mask + 1] id + 1, by hash of text
    uint32_t slot_mask;
    pq_tok_merge *merge_slots; // [merge_mask + 1], id NONE = free
    uint32_t merge_mask;
    pq_token bytes[256];  // token of a byte, or NONE
    pq_token ascii[128];  // token of a character, or NONE
    bool is_cut_at_marks; // BPE: no merge joins U+2581 to its left
    pq_tok_prefixes added_raw, added_normalized;
    pq_tok_prefixes words;      // unigram; WordPiece: what begins a word
    pq_tok_prefixes word_rests; // WordPiece, without the prefix
    double score_min;           // unigram
};

// An empty tokenizer to fill.
PTQC_MUST_USE ptqc_status pq_tok_new(ptqc_ctx *ctx, pq_tokenizer **out);
// Room for `count` tokens and their index.
PTQC_MUST_USE ptqc_status pq_tok_make_tokens(pq_tokenizer *t, size_t count);
// Token id (< token_count) with its text (in the arena) and flags, into the
// index too. Of two with one spelling the later is found, one of the model
// before others.
void pq_tok_put(pq_tokenizer *t, pq_token id, pq_str text, uint32_t flags);
// Checks and indexes. `what` names the source, `bad` is the status of what
// does not fit.
PTQC_MUST_USE ptqc_status pq_tok_finish(pq_tokenizer *t, const char *what,
                                        ptqc_status bad);
// Token of the model by its text, or NONE.
pq_token pq_tok_find(const pq_tokenizer *t, pq_str text);
// The table of BPE merges.
PTQC_MUST_USE ptqc_status pq_tok_index_merges(pq_tokenizer *t, const char *what,
                                              ptqc_status bad);
const pq_tok_merge *pq_tok_merge_find(const pq_tokenizer *t, pq_token left,
                                      pq_token right);
// A copy in the arena; false when out of memory (said).
bool pq_tok_keep(pq_tokenizer *t, pq_str s, pq_str *out);

#endif
