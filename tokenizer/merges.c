// SPDX-License-Identifier: Apache-2.0
//
// The table of BPE merges: (left, right) -> rank and result. The list of a
// file is in order of rank. SentencePiece has none: there any two tokens that
// spell a third may merge, the third with the highest score first; equal
// scores are equal ranks, of which the leftmost goes first.
#include <stdlib.h>
#include <string.h>

#include "tokenizer/inside.h"

typedef struct scored {
    double score;
    pq_token id;
} scored;

static uint64_t
pair_of(pq_token left, pq_token right)
{
    return (uint64_t)(uint32_t)left << 32 | (uint32_t)right;
}

static uint32_t
slot_of(const pq_tokenizer *t, uint64_t pair)
{
    uint64_t mixed = pair * 0x9e3779b97f4a7c15u; // 2^64 / golden ratio
    uint32_t i = (uint32_t)(mixed >> 32) & t->merge_mask;
    while (t->merge_slots[i].id != PQ_TOKEN_NONE &&
           t->merge_slots[i].pair != pair) {
        i = (i + 1) & t->merge_mask;
    }
    return i;
}

const pq_tok_merge *
pq_tok_merge_find(const pq_tokenizer *t, pq_token left, pq_token right)
{
    const pq_tok_merge *m = &t->merge_slots[slot_of(t, pair_of(left, right))];
    return m->id != PQ_TOKEN_NONE ? m : NULL;
}

static ptqc_status
make_slots(pq_tokenizer *t, size_t merge_count)
{
    uint32_t count = 16;
    while (count < 2 * merge_count) {
        count *= 2;
    }
    t->merge_slots = pq_arena_array(&t->arena, count, sizeof *t->merge_slots);
    PQ_TRY_ALLOC(t->merge_slots);
    t->merge_mask = count - 1;
    for (uint32_t i = 0; i < count; i++) {
        t->merge_slots[i].id = PQ_TOKEN_NONE;
    }
    return PTQC_OK;
}

static void
put(pq_tokenizer *t, pq_tok_merge merge)
{
    t->merge_slots[slot_of(t, merge.pair)] = merge;
}

static bool
is_present(const pq_tokenizer *t, pq_token id)
{
    return id >= 0 && (uint32_t)id < t->token_count &&
           (t->tokens[id].flags & PQ_TOK_PRESENT) != 0;
}

static ptqc_status
index_list(pq_tokenizer *t, const char *what, ptqc_status bad)
{
    char text[2 * PQ_TOK_TEXT_MAX];
    PQ_TRY(make_slots(t, t->merge_count));
    for (uint32_t i = 0; i < t->merge_count; i++) {
        pq_token left = t->merges[i][0], right = t->merges[i][1];
        if (!is_present(t, left) || !is_present(t, right)) {
            return PQ_FAIL(t->ctx, bad,
                           "%s: merge %u of %d and %d, which are not tokens",
                           what, i, left, right);
        }
        pq_str a = t->tokens[left].text, b = t->tokens[right].text;
        memcpy(text, a.p, a.n);
        memcpy(text + a.n, b.p, b.n);
        pq_token id = pq_tok_find(t, (pq_str){text, a.n + b.n});
        if (id == PQ_TOKEN_NONE) {
            return PQ_FAIL(t->ctx, bad,
                           "%s: merge %u gives '%.*s', which is not a token",
                           what, i, PQ_STR_ARG(((pq_str){text, a.n + b.n})));
        }
        put(t, (pq_tok_merge){pair_of(left, right), i, id});
    }
    return PTQC_OK;
}

// ---- merges from scores
// ------------------------------------------------------

static int
by_score(const void *a, const void *b)
{
    const scored *x = a, *y = b;
    int order = (x->score < y->score) - (x->score > y->score);
    return order != 0 ? order : (x->id > y->id) - (x->id < y->id);
}

static bool
can_merge(const pq_tokenizer *t, pq_token id)
{
    uint32_t flags = id >= 0 ? t->tokens[id].flags : 0;
    return (flags & (PQ_TOK_IN_MODEL | PQ_TOK_UNMERGED)) == PQ_TOK_IN_MODEL;
}

// Counts the ways to spell token `id` by two others, and puts them into the
// table when it is there.
static size_t
split_token(pq_tokenizer *t, pq_token id, uint32_t rank)
{
    pq_str text = t->tokens[id].text;
    size_t count = 0;
    for (size_t at = 1; at < text.n; at++) {
        if (((uint8_t)text.p[at] & 0xc0) == 0x80) {
            continue; // inside of a character
        }
        pq_token left = pq_tok_find(t, (pq_str){text.p, at});
        pq_token right = pq_tok_find(t, (pq_str){text.p + at, text.n - at});
        if (can_merge(t, left) && can_merge(t, right)) {
            count++;
            if (t->merge_slots != NULL) {
                put(t, (pq_tok_merge){pair_of(left, right), rank, id});
            }
        }
    }
    return count;
}

static ptqc_status
index_scores(pq_tokenizer *t, const char *what, ptqc_status bad)
{
    scored *order = pq_arena_array(&t->arena, t->token_count, sizeof *order);
    PQ_TRY_ALLOC(order);
    uint32_t n = 0;
    size_t merge_count = 0;
    for (pq_token id = 0; (uint32_t)id < t->token_count; id++) {
        pq_str text = t->tokens[id].text;
        if (!can_merge(t, id) || pq_tok_find(t, text) != id) {
            continue;
        }
        if (text.n > PQ_TOK_SCORED_TEXT_MAX) {
            return PQ_FAIL(t->ctx, bad,
                           "%s: token %d has %zu bytes, at most %d", what, id,
                           text.n, PQ_TOK_SCORED_TEXT_MAX);
        }
        order[n++] = (scored){t->tokens[id].score, id};
        merge_count += split_token(t, id, 0);
    }
    if (merge_count > PQ_TOK_MERGE_MAX) {
        return PQ_FAIL(t->ctx, bad, "%s: %zu merges, at most %d", what,
                       merge_count, PQ_TOK_MERGE_MAX);
    }
    PQ_TRY(make_slots(t, merge_count));
    qsort(order, n, sizeof *order, by_score);
    uint32_t rank = 0;
    for (uint32_t i = 0; i < n; i++) {
        rank += i != 0 && order[i].score < order[i - 1].score;
        (void)split_token(t, order[i].id, rank);
    }
    return PTQC_OK;
}

// ---- words that are cut at U+2581
// ---------------------------------------------

static bool
has_inner_mark(pq_str text)
{
    static const char mark[] = "\xe2\x96\x81";
    for (size_t at = 1; at + 3 <= text.n; at++) {
        bool is_mark = memcmp(text.p + at, mark, 3) == 0;
        if (is_mark && (at < 3 || memcmp(text.p + at - 3, mark, 3) != 0)) {
            return true;
        }
    }
    return false;
}

static bool
can_cut_at_marks(const pq_tokenizer *t)
{
    if (t->is_byte_level || (t->flags & PQ_TOK_WHOLE_WORDS) != 0 ||
        pq_tok_find(t, PQ_STR("\xe2\x96\x81")) == PQ_TOKEN_NONE) {
        return false;
    }
    for (uint32_t i = 0; i <= t->merge_mask; i++) {
        pq_token id = t->merge_slots[i].id;
        if (id != PQ_TOKEN_NONE && has_inner_mark(t->tokens[id].text)) {
            return false;
        }
    }
    return true;
}

ptqc_status
pq_tok_index_merges(pq_tokenizer *t, const char *what, ptqc_status bad)
{
    if (t->merge_count > PQ_TOK_MERGE_MAX) {
        return PQ_FAIL(t->ctx, bad, "%s: %u merges, at most %d", what,
                       t->merge_count, PQ_TOK_MERGE_MAX);
    }
    if ((t->flags & PQ_TOK_SCORED_MERGES) != 0) {
        PQ_TRY(index_scores(t, what, bad));
    } else {
        PQ_TRY(index_list(t, what, bad));
    }
    t->is_cut_at_marks = can_cut_at_marks(t);
    return PTQC_OK;
}
