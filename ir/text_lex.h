// SPDX-License-Identifier: Apache-2.0
//
// The lexical side of reading .ptir: position, words, numbers, quoted text,
// and errors that name line and column.
#ifndef PTQC_IR_TEXT_LEX_H
#define PTQC_IR_TEXT_LEX_H

#include "ir/graph.h"

typedef struct pq_lexer {
    ptqc_ctx *ctx;    // borrowed
    const char *what; // names the source in messages
    pq_str text;
    size_t at;    // next byte
    size_t token; // start of the last token: where errors point
} pq_lexer;

// Says "what:line:column: ..." and returns PTQC_E_INPUT.
__attribute__((format(printf, 2, 3))) ptqc_status
pq_lex_fail(pq_lexer *x, const char *format, ...);
// After somebody else said the error: a note with the position.
void pq_lex_note(pq_lexer *x);
// Next byte that is no space and in no comment ("#" to the end of the line);
// 0 at the end. The token starts there.
char pq_lex_peek(pq_lexer *x);
// Skips that byte when it is c.
bool pq_lex_accept(pq_lexer *x, char c);
PTQC_MUST_USE ptqc_status pq_lex_expect(pq_lexer *x, char c);
// Letters, digits, '_' and '.'; empty when there is none.
pq_str pq_lex_word(pq_lexer *x);
PTQC_MUST_USE ptqc_status pq_lex_keyword(pq_lexer *x, const char *word);
// A word with signs: "-1.5e-07", "inf".
pq_str pq_lex_number(pq_lexer *x);
PTQC_MUST_USE ptqc_status pq_lex_i64(pq_lexer *x, int64_t *out);
PTQC_MUST_USE ptqc_status pq_lex_f32(pq_lexer *x, float *out);
// The bytes between quotes as they are written.
PTQC_MUST_USE ptqc_status pq_lex_raw_string(pq_lexer *x, pq_str *out);
// Quoted text with its escapes undone, in the arena.
PTQC_MUST_USE ptqc_status pq_lex_string(pq_lexer *x, pq_arena *arena,
                                        pq_str *out);
// A letter and a number from 1: "c12".
PTQC_MUST_USE ptqc_status pq_lex_index(pq_lexer *x, char letter, uint32_t *out);
bool pq_is_word_char(char c);

#endif
