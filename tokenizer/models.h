// SPDX-License-Identifier: Apache-2.0
//
// From words to ids: the state of one encoding and the models.
#ifndef PTQC_TOKENIZER_MODELS_H
#define PTQC_TOKENIZER_MODELS_H

#include "tokenizer/steps.h"

typedef struct pq_tok_symbol {
    pq_token id;            // NONE: merged into the one before
    int32_t previous, next; // -1: none
} pq_tok_symbol;

// A merge that was possible when it was found.
typedef struct pq_tok_candidate {
    uint64_t key; // rank << 32 | index of the left symbol
    pq_token id;  // what it makes
} pq_tok_candidate;

// A word that was seen, and where its ids are. Words are compared by what
// they point to: an entry is of no use once its text has gone.
typedef struct pq_tok_cached {
    const char *word;
    uint32_t n, epoch;
    uint32_t id_index, id_count;
} pq_tok_cached;

// Unigram: the best path to a position.
typedef struct pq_tok_node {
    double score;
    uint32_t start; // UINT32_MAX: not reached
    pq_token id;    // NONE: unknown
} pq_tok_node;

typedef struct pq_tok_encoder {
    ptqc_ctx *ctx;         // borrowed
    const pq_tokenizer *t; // borrowed
    bool parses_special;
    pq_token *ids; // [count] owned: the result
    uint32_t count, capacity;
    pq_tok_symbol *symbols; // owned
    uint32_t symbol_count, symbol_capacity;
    pq_tok_candidate *heap; // owned
    uint32_t heap_count, heap_capacity;
    pq_tok_node *nodes; // owned
    uint32_t node_capacity;
    pq_tok_cached *cache; // [cache_mask + 1] owned
    uint32_t cache_mask, epoch;
    pq_tok_pieces pieces;
} pq_tok_encoder;

PTQC_MUST_USE ptqc_status pq_tok_add_id(pq_tok_encoder *e, pq_token id);
// Appends the ids of one word (not empty, well-formed).
PTQC_MUST_USE ptqc_status pq_tok_bpe(pq_tok_encoder *e, pq_str word);
PTQC_MUST_USE ptqc_status pq_tok_wordpiece(pq_tok_encoder *e, pq_str word);
PTQC_MUST_USE ptqc_status pq_tok_unigram(pq_tok_encoder *e, pq_str word);

#endif
