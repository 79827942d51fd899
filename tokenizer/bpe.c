// SPDX-License-Identifier: Apache-2.0
//
// Byte pair encoding (Sennrich et al., arXiv:1508.07909) of one word: as long
// as a pair of neighbours may merge, the pair of the lowest rank does, the
// leftmost of equals. Short words search all pairs, long ones keep candidates
// in a heap: O(n log n).
#include <string.h>

#include "base/hash.h"
#include "base/vec.h"
#include "tokenizer/models.h"
#include "tokenizer/unicode.h"

enum {
    SHORT_MAX = 24,  // symbols of a word without heap
    CACHED_MAX = 64, // bytes of a word in the cache
};

#define RANK_NONE UINT32_MAX

// ---- symbols ----------------------------------------------------------------

static ptqc_status
add_symbol(pq_tok_encoder *e, pq_token id)
{
    if (e->symbol_count == e->symbol_capacity) {
        void *list = e->symbols;
        PQ_TRY(pq_vec_reserve(e->ctx, &list, &e->symbol_capacity,
                              (size_t)e->symbol_count + 1, sizeof *e->symbols));
        e->symbols = list;
    }
    e->symbols[e->symbol_count++].id = id;
    return PTQC_OK;
}

// A character without token. *held tells whether an unknown token was not yet
// added: unknowns are held back so that a row of them can become one.
static ptqc_status
add_unknown(pq_tok_encoder *e, bool *held)
{
    const pq_tokenizer *t = e->t;
    if (t->unk == PQ_TOKEN_NONE) {
        return PTQC_OK;
    }
    if (*held && (t->flags & PQ_TOK_FUSE_UNK) == 0) {
        PQ_TRY(add_symbol(e, t->unk));
    }
    *held = true;
    return PTQC_OK;
}

// The bytes of a character as tokens; *out_done false when one has none.
static ptqc_status
add_bytes(pq_tok_encoder *e, pq_str c, bool *out_done)
{
    *out_done = false;
    for (size_t i = 0; i < c.n; i++) {
        if (e->t->bytes[(uint8_t)c.p[i]] == PQ_TOKEN_NONE) {
            return PTQC_OK;
        }
    }
    for (size_t i = 0; i < c.n; i++) {
        PQ_TRY(add_symbol(e, e->t->bytes[(uint8_t)c.p[i]]));
    }
    *out_done = true;
    return PTQC_OK;
}

static pq_token
find_char(const pq_tokenizer *t, pq_str c)
{
    uint8_t first = (uint8_t)c.p[0];
    return first < 0x80 ? t->ascii[first] : pq_tok_find(t, c);
}

static ptqc_status
add_known(pq_tok_encoder *e, pq_token id, bool *held)
{
    if (*held) {
        PQ_TRY(add_symbol(e, e->t->unk));
        *held = false;
    }
    return add_symbol(e, id);
}

static ptqc_status
symbols_of_bytes(pq_tok_encoder *e, pq_str word)
{
    bool held = false;
    for (size_t i = 0; i < word.n; i++) {
        pq_token id = e->t->bytes[(uint8_t)word.p[i]];
        if (id != PQ_TOKEN_NONE) {
            PQ_TRY(add_known(e, id, &held));
        } else {
            PQ_TRY(add_unknown(e, &held));
        }
    }
    return held ? add_symbol(e, e->t->unk) : PTQC_OK;
}

static ptqc_status
symbols_of_chars(pq_tok_encoder *e, pq_str word)
{
    bool held = false;
    for (size_t at = 0; at < word.n;) {
        size_t n;
        (void)pq_char_get((pq_str){word.p + at, word.n - at}, &n);
        pq_str c = {word.p + at, n};
        pq_token id = find_char(e->t, c);
        at += n;
        bool is_done = false;
        if (id != PQ_TOKEN_NONE) {
            PQ_TRY(add_known(e, id, &held));
            continue;
        }
        if ((e->t->flags & PQ_TOK_BYTE_FALLBACK) != 0) {
            PQ_TRY(add_bytes(e, c, &is_done));
        }
        if (!is_done) {
            PQ_TRY(add_unknown(e, &held));
        }
    }
    return held ? add_symbol(e, e->t->unk) : PTQC_OK;
}

// ---- merging a short word
// ------------------------------------------------------

static uint32_t
rank_of(const pq_tokenizer *t, pq_token left, pq_token right, pq_token *out_id)
{
    const pq_tok_merge *m = pq_tok_merge_find(t, left, right);
    *out_id = m != NULL ? m->id : PQ_TOKEN_NONE;
    return m != NULL ? m->rank : RANK_NONE;
}

static ptqc_status
merge_short(pq_tok_encoder *e)
{
    pq_token ids[SHORT_MAX], made[SHORT_MAX];
    uint32_t ranks[SHORT_MAX]; // of the pair (i, i + 1)
    uint32_t n = e->symbol_count;
    for (uint32_t i = 0; i < n; i++) {
        ids[i] = e->symbols[i].id;
    }
    for (uint32_t i = 0; i + 1 < n; i++) {
        ranks[i] = rank_of(e->t, ids[i], ids[i + 1], &made[i]);
    }
    while (n > 1) {
        uint32_t best = 0;
        for (uint32_t i = 1; i + 1 < n; i++) {
            best = ranks[i] < ranks[best] ? i : best;
        }
        if (ranks[best] == RANK_NONE) {
            break;
        }
        ids[best] = made[best];
        for (uint32_t i = best + 1; i + 1 < n; i++) {
            ids[i] = ids[i + 1];
            ranks[i] = i + 2 < n ? ranks[i + 1] : RANK_NONE;
            made[i] = i + 2 < n ? made[i + 1] : PQ_TOKEN_NONE;
        }
        n--;
        if (best > 0) {
            ranks[best - 1] =
                rank_of(e->t, ids[best - 1], ids[best], &made[best - 1]);
        }
        if (best + 1 < n) {
            ranks[best] = rank_of(e->t, ids[best], ids[best + 1], &made[best]);
        }
    }
    for (uint32_t i = 0; i < n; i++) {
        PQ_TRY(pq_tok_add_id(e, ids[i]));
    }
    return PTQC_OK;
}

// ---- merging a long word
// -------------------------------------------------------

static ptqc_status
heap_push(pq_tok_encoder *e, pq_tok_candidate c)
{
    if (e->heap_count == e->heap_capacity) {
        void *list = e->heap;
        PQ_TRY(pq_vec_reserve(e->ctx, &list, &e->heap_capacity,
                              (size_t)e->heap_count + 1, sizeof *e->heap));
        e->heap = list;
    }
    uint32_t i = e->heap_count++;
    while (i > 0 && e->heap[(i - 1) / 2].key > c.key) {
        e->heap[i] = e->heap[(i - 1) / 2];
        i = (i - 1) / 2;
    }
    e->heap[i] = c;
    return PTQC_OK;
}

static pq_tok_candidate
heap_pop(pq_tok_encoder *e)
{
    pq_tok_candidate top = e->heap[0];
    pq_tok_candidate last = e->heap[--e->heap_count];
    uint32_t i = 0;
    for (uint32_t child; (child = 2 * i + 1) < e->heap_count; i = child) {
        bool is_right = child + 1 < e->heap_count &&
                        e->heap[child + 1].key < e->heap[child].key;
        child += is_right;
        if (e->heap[child].key >= last.key) {
            break;
        }
        e->heap[i] = e->heap[child];
    }
    e->heap[i] = last;
    return top;
}

static ptqc_status
consider(pq_tok_encoder *e, int32_t left)
{
    int32_t right = left >= 0 ? e->symbols[left].next : -1;
    if (right < 0) {
        return PTQC_OK;
    }
    pq_token id;
    uint32_t rank =
        rank_of(e->t, e->symbols[left].id, e->symbols[right].id, &id);
    if (rank == RANK_NONE) {
        return PTQC_OK;
    }
    uint64_t key = (uint64_t)rank << 32 | (uint32_t)left;
    return heap_push(e, (pq_tok_candidate){key, id});
}

// Whether the pair is still the one that the candidate was made of.
static bool
is_current(const pq_tok_encoder *e, pq_tok_candidate c)
{
    const pq_tok_symbol *left = &e->symbols[(uint32_t)c.key];
    if (left->id == PQ_TOKEN_NONE || left->next < 0) {
        return false;
    }
    const pq_tok_merge *m =
        pq_tok_merge_find(e->t, left->id, e->symbols[left->next].id);
    return m != NULL && m->id == c.id && m->rank == (uint32_t)(c.key >> 32);
}

static ptqc_status
merge_long(pq_tok_encoder *e)
{
    int32_t n = (int32_t)e->symbol_count;
    e->heap_count = 0;
    for (int32_t i = 0; i < n; i++) {
        e->symbols[i].previous = i - 1;
        e->symbols[i].next = i + 1 < n ? i + 1 : -1;
    }
    for (int32_t i = 0; i + 1 < n; i++) {
        PQ_TRY(consider(e, i));
    }
    while (e->heap_count != 0) {
        pq_tok_candidate c = heap_pop(e);
        if (!is_current(e, c)) {
            continue;
        }
        int32_t at = (int32_t)(uint32_t)c.key;
        pq_tok_symbol *left = &e->symbols[at];
        pq_tok_symbol *right = &e->symbols[left->next];
        left->id = c.id;
        right->id = PQ_TOKEN_NONE;
        left->next = right->next;
        if (left->next >= 0) {
            e->symbols[left->next].previous = at;
        }
        PQ_TRY(consider(e, left->previous));
        PQ_TRY(consider(e, at));
    }
    for (int32_t i = 0; i >= 0 && i < n; i = e->symbols[i].next) {
        PQ_TRY(pq_tok_add_id(e, e->symbols[i].id));
    }
    return PTQC_OK;
}

// ---- words
// --------------------------------------------------------------------

// The token that spells the whole word, or NONE.
static pq_token
whole_word(const pq_tokenizer *t, pq_str word)
{
    char text[PQ_TOK_TEXT_MAX + 4];
    if (!t->is_byte_level) {
        return pq_tok_find(t, word);
    }
    size_t n = 0;
    for (size_t i = 0; i < word.n; i++) {
        if (n > PQ_TOK_TEXT_MAX) {
            return PQ_TOKEN_NONE;
        }
        n += pq_char_put(pq_byte_to_char((uint8_t)word.p[i]), text + n);
    }
    return pq_tok_find(t, (pq_str){text, n});
}

static ptqc_status
encode_word(pq_tok_encoder *e, pq_str word)
{
    if ((e->t->flags & PQ_TOK_WHOLE_WORDS) != 0) {
        pq_token id = whole_word(e->t, word);
        if (id != PQ_TOKEN_NONE) {
            return pq_tok_add_id(e, id);
        }
    }
    e->symbol_count = 0;
    PQ_TRY(e->t->is_byte_level ? symbols_of_bytes(e, word)
                               : symbols_of_chars(e, word));
    return e->symbol_count <= SHORT_MAX ? merge_short(e) : merge_long(e);
}

static ptqc_status
encode_cached(pq_tok_encoder *e, pq_str word)
{
    if (word.n > CACHED_MAX) {
        return encode_word(e, word);
    }
    uint64_t hash = pq_hash64(word.p, word.n);
    pq_tok_cached *c = &e->cache[(uint32_t)hash & e->cache_mask];
    if (c->epoch == e->epoch && c->n == word.n &&
        memcmp(c->word, word.p, word.n) == 0) {
        for (uint32_t i = 0; i < c->id_count; i++) {
            PQ_TRY(pq_tok_add_id(e, e->ids[c->id_index + i]));
        }
        return PTQC_OK;
    }
    uint32_t index = e->count;
    PQ_TRY(encode_word(e, word));
    *c = (pq_tok_cached){word.p, (uint32_t)word.n, e->epoch, index,
                         e->count - index};
    return PTQC_OK;
}

// Bytes before the next U+2581 that follows another character.
static size_t
marked_word(pq_str s)
{
    bool was_mark = true;
    for (size_t at = 0; at < s.n;) {
        bool is_mark =
            s.n - at >= 3 && memcmp(s.p + at, "\xe2\x96\x81", 3) == 0;
        if (is_mark && !was_mark) {
            return at;
        }
        at += is_mark ? 3 : 1;
        was_mark = is_mark;
    }
    return s.n;
}

ptqc_status
pq_tok_bpe(pq_tok_encoder *e, pq_str word)
{
    if (!e->t->is_cut_at_marks) {
        return encode_cached(e, word);
    }
    while (word.n != 0) {
        size_t n = marked_word(word);
        PQ_TRY(encode_cached(e, (pq_str){word.p, n}));
        word = (pq_str){word.p + n, word.n - n};
    }
    return PTQC_OK;
}
