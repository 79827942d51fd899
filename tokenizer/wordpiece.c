// SPDX-License-Identifier: Apache-2.0
//
// WordPiece: the longest token that the word begins with, then the longest of
// those for the inside of words, and so on; a word where that fails is unknown
// as a whole.
#include "tokenizer/models.h"

static size_t
char_count(pq_str s)
{
    size_t n = 0;
    for (size_t i = 0; i < s.n; i++) {
        n += ((uint8_t)s.p[i] & 0xc0) != 0x80;
    }
    return n;
}

ptqc_status
pq_tok_wordpiece(pq_tok_encoder *e, pq_str word)
{
    const pq_tokenizer *t = e->t;
    uint32_t start = e->count;
    if (char_count(word) > t->word_chars_max) {
        return pq_tok_add_id(e, t->unk);
    }
    for (size_t at = 0; at < word.n;) {
        pq_str rest = {word.p + at, word.n - at};
        bool is_head = at == 0;
        const pq_tok_prefix *found =
            pq_tok_prefix_longest(is_head ? &t->words : &t->word_rests, rest);
        if (found == NULL) {
            e->count = start;
            return pq_tok_add_id(e, t->unk);
        }
        PQ_TRY(pq_tok_add_id(e, found->id));
        at += found->text.n;
    }
    return PTQC_OK;
}
