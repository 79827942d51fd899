// SPDX-License-Identifier: Apache-2.0
//
// Text to token ids and back: byte-level BPE, SentencePiece BPE and unigram,
// WordPiece. A tokenizer comes from a tokenizer.json, from the arrays of GGUF
// metadata or from its own saved form; what each accepts: docs/tokenizers.md.
//
// A tokenizer does not change after creation: any number of threads may use it
// at once, each with its own ctx. The ctx that it was created with owns its
// memory and must outlive it. All sizes are bytes; texts are UTF-8, malformed
// parts are read as U+FFFD.
#ifndef PTQC_TOKENIZER_TOKENIZER_H
#define PTQC_TOKENIZER_TOKENIZER_H

#include "base/str.h"

typedef int32_t pq_token; // 0 .. pq_tokenizer_count() - 1

#define PQ_TOKEN_NONE (-1)

typedef struct pq_tokenizer pq_tokenizer;

// What a source may leave open.
typedef enum pq_tok_choice {
    PQ_TOK_DEFAULT, // as usual for the kind of tokenizer
    PQ_TOK_NO,
    PQ_TOK_YES,
} pq_tok_choice;

// The tokenizer.ggml.* metadata of a GGUF file. Everything is borrowed until
// the tokenizer is created.
typedef struct pq_tokenizer_desc {
    const char *what;     // names the source in errors
    pq_str model;         // "llama", "gpt2" or "bert"
    pq_str pre;           // of gpt2: "llama-bpe", "smollm", ...
    const pq_str *tokens; // [token_count], the id is the index
    const float *scores;  // [score_count]; llama needs them
    const int32_t *types; // [type_count] of 1 normal .. 6 byte; may be absent
    const pq_str *merges; // [merge_count] "left right"; gpt2 needs them
    size_t token_count;
    size_t score_count, type_count; // 0 or token_count
    size_t merge_count;
    // Ids as the file has them, PQ_TOKEN_NONE = absent. bert: bos is [CLS],
    // eos is [SEP].
    int64_t bos, eos, eot, unk, pad;
    pq_tok_choice add_bos, add_eos, add_space_prefix;
} pq_tokenizer_desc;

// Zeroes all but the ids, which become PQ_TOKEN_NONE.
void pq_tokenizer_desc_init(pq_tokenizer_desc *desc);

// PTQC_E_INPUT for what is malformed, PTQC_E_UNSUPPORTED (naming it) for kinds
// and options that are not known.
PTQC_MUST_USE ptqc_status pq_tokenizer_from_desc(ptqc_ctx *ctx,
                                                 const pq_tokenizer_desc *desc,
                                                 pq_tokenizer **out);
// From the texts of tokenizer.json and of tokenizer_config.json (empty =
// absent: bos, eos and pad are then unknown). `what` names the first file.
PTQC_MUST_USE ptqc_status pq_tokenizer_from_json(ptqc_ctx *ctx,
                                                 const char *what, pq_str json,
                                                 pq_str config,
                                                 pq_tokenizer **out);
// The saved form: version 1, little-endian, any alignment. read checks
// everything (PTQC_E_INTEGRITY); the bytes are not needed afterwards. The
// bytes written are for pq_free(ctx, *out).
PTQC_MUST_USE ptqc_status pq_tokenizer_write(ptqc_ctx *ctx,
                                             const pq_tokenizer *t, void **out,
                                             size_t *out_bytes);
PTQC_MUST_USE ptqc_status pq_tokenizer_read(ptqc_ctx *ctx, const void *bytes,
                                            size_t n, pq_tokenizer **out);
void pq_tokenizer_destroy(pq_tokenizer *t); // NULL allowed

size_t pq_tokenizer_count(const pq_tokenizer *t); // highest id + 1
// The token as the vocabulary spells it (byte-level: "Ġthe"); empty for ids
// that no token has. Borrowed from the tokenizer.
pq_str pq_tokenizer_text(const pq_tokenizer *t, pq_token id);
// -> the id of a token spelled so, or PQ_TOKEN_NONE.
pq_token pq_tokenizer_find(const pq_tokenizer *t, pq_str text);
bool pq_tokenizer_is_special(const pq_tokenizer *t, pq_token id);
// Ends a generated text: eos, eot, or a token that is spelled like one of the
// known end-of-turn marks.
bool pq_tokenizer_is_end(const pq_tokenizer *t, pq_token id);
// PQ_TOKEN_NONE when there is none. eot is never none when eos is not.
pq_token pq_tokenizer_bos(const pq_tokenizer *t);
pq_token pq_tokenizer_eos(const pq_tokenizer *t);
pq_token pq_tokenizer_eot(const pq_tokenizer *t);
pq_token pq_tokenizer_unk(const pq_tokenizer *t);
pq_token pq_tokenizer_pad(const pq_tokenizer *t);

enum {
    // Put the tokens around the text that the tokenizer wants there (BOS,
    // [CLS] .. [SEP]).
    PQ_ENCODE_ADD_SPECIAL = 1u << 0,
    // Special tokens spelled in the text become their ids.
    PQ_ENCODE_PARSE_SPECIAL = 1u << 1,
};

typedef struct pq_token_ids {
    pq_token *ids; // owned: pq_free; NULL when there are none
    size_t count;
} pq_token_ids;

// Texts of up to 1 GiB. A character without token becomes the unknown token;
// where there is none it is left out, as the reference does. Errors:
// PTQC_E_RESOURCE, PTQC_E_INPUT where a regular expression of the tokenizer
// takes too long on this text.
PTQC_MUST_USE ptqc_status pq_tokenizer_encode(ptqc_ctx *ctx,
                                              const pq_tokenizer *t,
                                              pq_str text, uint32_t flags,
                                              pq_token_ids *out);

enum {
    PQ_DECODE_SKIP_SPECIAL = 1u << 0,
    // The ids go on a text that was there before: the space that the
    // tokenizer puts before a text is not taken away.
    PQ_DECODE_CONTINUE = 1u << 1,
};

// Appends the text, well-formed UTF-8. PTQC_E_INPUT when an id is out of
// range.
PTQC_MUST_USE ptqc_status pq_tokenizer_decode(ptqc_ctx *ctx,
                                              const pq_tokenizer *t,
                                              const pq_token *ids, size_t count,
                                              uint32_t flags, pq_strbuf *out);

// The same token by token. A character whose bytes are spread over tokens
// comes with the last of them. The texts together equal pq_tokenizer_decode,
// except for malformed runs of SentencePiece byte tokens.
typedef struct pq_detokenizer {
    const pq_tokenizer *t; // borrowed
    uint32_t flags;
    uint64_t piece_count; // tokens that were not skipped
    uint32_t strip_left;  // characters still to take away at the start
    uint32_t held_count;
    char held[4]; // the beginning of a character
} pq_detokenizer;

void pq_detokenizer_init(pq_detokenizer *d, const pq_tokenizer *t,
                         uint32_t flags);
// Appends what is complete.
PTQC_MUST_USE ptqc_status pq_detokenizer_add(pq_detokenizer *d, pq_token id,
                                             pq_strbuf *out);
// The end: an incomplete character becomes U+FFFD. d is as after init.
PTQC_MUST_USE ptqc_status pq_detokenizer_finish(pq_detokenizer *d,
                                                pq_strbuf *out);

#endif
