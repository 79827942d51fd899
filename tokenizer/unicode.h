// SPDX-License-Identifier: Apache-2.0
//
// What the tokenizers ask about characters, with the answers of the programs
// that made the vocabularies (docs/tokenizers.md); categories come from
// utf8proc.
#ifndef PTQC_TOKENIZER_UNICODE_H
#define PTQC_TOKENIZER_UNICODE_H

#include "base/str.h"

enum {
    PQ_CHAR_REPLACEMENT = 0xfffd,
    PQ_CHAR_DECOMPOSED_MAX = 18, // characters out of one by NFKD
};

// Kinds of a character, for the splitters.
enum {
    PQ_CHAR_LETTER = 1u << 0,  // \p{L}
    PQ_CHAR_NUMBER = 1u << 1,  // \p{N}
    PQ_CHAR_SPACE = 1u << 2,   // White_Space
    PQ_CHAR_NEWLINE = 1u << 3, // \r \n; spaces too
};

// The character that s (not empty, well-formed) begins with and its length.
uint32_t pq_char_get(pq_str s, size_t *out_n);
size_t pq_char_put(uint32_t c, char out[4]); // -> bytes
void pq_char_add(pq_strbuf *out, uint32_t c);
unsigned pq_char_kinds(uint32_t c);
bool pq_char_is_space(uint32_t c);
bool pq_char_is_number(uint32_t c);
bool pq_char_is_punctuation(uint32_t c); // ASCII symbols or P*
bool pq_char_is_word(uint32_t c);        // \w
bool pq_char_is_control(uint32_t c);     // Cc Cf Co
bool pq_char_is_mark(uint32_t c);        // Mn
bool pq_char_is_any_mark(uint32_t c);    // M*
bool pq_char_is_chinese(uint32_t c);     // BERT's ideographs

bool pq_text_is_ascii(pq_str s);
bool pq_text_is_well_formed(pq_str s);
// Appends s with each malformed part (maximal subpart, Unicode 3.9) as
// U+FFFD. What could be the beginning of a character at the end of s is left
// out unless is_end; -> bytes used.
size_t pq_text_add_lossy(pq_strbuf *out, pq_str s, bool is_end);

typedef enum pq_text_form {
    PQ_TEXT_NFC,
    PQ_TEXT_NFD,
    PQ_TEXT_NFKC,
    PQ_TEXT_NFKD,
} pq_text_form;

// Appends s (well-formed) in a normalization form; linear time.
PTQC_MUST_USE ptqc_status pq_text_normalize(ptqc_ctx *ctx, pq_str s,
                                            pq_text_form form, pq_strbuf *out);
void pq_text_lower(pq_str s, pq_strbuf *out); // character by character

// GPT-2's printable stand-ins for bytes.
uint32_t pq_byte_to_char(uint8_t byte);
int pq_char_to_byte(uint32_t c); // -1 when it stands for none

#endif
