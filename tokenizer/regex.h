// SPDX-License-Identifier: Apache-2.0
//
// Regular expressions of tokenizer files, by PCRE2, with limits: patterns and
// texts are hostile.
#ifndef PTQC_TOKENIZER_REGEX_H
#define PTQC_TOKENIZER_REGEX_H

#include "base/str.h"

typedef struct pq_tok_regex pq_tok_regex;

// The pattern's memory belongs to ctx. An expression is immutable.
PTQC_MUST_USE ptqc_status pq_tok_regex_create(ptqc_ctx *ctx, const char *what,
                                              ptqc_status bad, pq_str pattern,
                                              pq_tok_regex **out);
void pq_tok_regex_destroy(pq_tok_regex *re); // NULL allowed

// Matches of one expression in one text, left to right; empty ones are left
// out. The text is well-formed UTF-8.
typedef struct pq_tok_matcher {
    ptqc_ctx *ctx;
    const pq_tok_regex *re;
    pq_str text;
    size_t at;
    uint64_t budget;             // steps that long matches may still take
    const char *what;            // for messages; NULL: of the tokenizer
    void *data, *match, *memory; // of PCRE2, owned
} pq_tok_matcher;

PTQC_MUST_USE ptqc_status pq_tok_matcher_init(pq_tok_matcher *m, ptqc_ctx *ctx,
                                              const pq_tok_regex *re,
                                              pq_str text);
// Goes over to another text of the same source: what it may cost is added up.
void pq_tok_matcher_reset(pq_tok_matcher *m, pq_str text);
void pq_tok_matcher_deinit(pq_tok_matcher *m);
// *out_found false: no more.
PTQC_MUST_USE ptqc_status pq_tok_matcher_next(pq_tok_matcher *m,
                                              bool *out_found,
                                              size_t *out_start,
                                              size_t *out_end);

#endif
