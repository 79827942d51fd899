// SPDX-License-Identifier: Apache-2.0
//
// A set of texts that answers which of them a given text begins with.
#ifndef PTQC_TOKENIZER_PREFIXES_H
#define PTQC_TOKENIZER_PREFIXES_H

#include "base/arena.h"
#include "base/str.h"

typedef struct pq_tok_prefix {
    pq_str text; // not empty; borrowed
    int32_t id;
} pq_tok_prefix;

typedef struct pq_tok_prefixes {
    pq_tok_prefix *at; // [count], sorted by bytes
    uint32_t count;
    uint32_t first[257]; // texts that begin with byte b: first[b]..first[b+1]
} pq_tok_prefixes;

// Takes over `at` (from the same arena), sorts it and drops all but the last
// of equal texts.
void pq_tok_prefixes_init(pq_tok_prefixes *p, pq_tok_prefix *at,
                          uint32_t count);

// Walks through the texts that s begins with, shortest first. Takes
// O(log count) per byte of the longest text.
typedef struct pq_tok_prefix_walk {
    const pq_tok_prefixes *p;
    pq_str s;
    uint32_t low, high; // candidates: equal to s in the first `n` bytes
    size_t n;
} pq_tok_prefix_walk;

void pq_tok_prefix_walk_init(pq_tok_prefix_walk *w, const pq_tok_prefixes *p,
                             pq_str s);
const pq_tok_prefix *pq_tok_prefix_next(pq_tok_prefix_walk *w); // or NULL
const pq_tok_prefix *pq_tok_prefix_longest(const pq_tok_prefixes *p, pq_str s);

#endif
