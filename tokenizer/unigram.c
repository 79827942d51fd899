// SPDX-License-Identifier: Apache-2.0
//
// Unigram language model (Kudo, arXiv:1804.10959): the segmentation with the
// highest sum of scores, found by Viterbi's algorithm; of equals the one
// found first. Characters without token cost UNKNOWN_PENALTY more than the
// worst token.
#include "base/vec.h"
#include "tokenizer/models.h"
#include "tokenizer/unicode.h"

static const double UNKNOWN_PENALTY = 10.0; // kUnkPenalty of SentencePiece

static void
reach(pq_tok_node *nodes, size_t start, size_t end, double score, pq_token id)
{
    double sum = nodes[start].score + score;
    if (nodes[end].start == UINT32_MAX || sum > nodes[end].score) {
        nodes[end] = (pq_tok_node){sum, (uint32_t)start, id};
    }
}

static void
search(const pq_tokenizer *t, pq_tok_node *nodes, pq_str word)
{
    for (size_t i = 1; i <= word.n; i++) {
        nodes[i] = (pq_tok_node){.start = UINT32_MAX};
    }
    nodes[0] = (pq_tok_node){0};
    for (size_t at = 0; at < word.n;) {
        size_t n;
        pq_str rest = {word.p + at, word.n - at};
        (void)pq_char_get(rest, &n);
        bool has_single = false;
        pq_tok_prefix_walk w;
        pq_tok_prefix_walk_init(&w, &t->words, rest);
        for (const pq_tok_prefix *p; (p = pq_tok_prefix_next(&w)) != NULL;) {
            reach(nodes, at, at + p->text.n, t->tokens[p->id].score, p->id);
            has_single = has_single || p->text.n == n;
        }
        if (!has_single) {
            reach(nodes, at, at + n, t->score_min - UNKNOWN_PENALTY,
                  PQ_TOKEN_NONE);
        }
        at += n;
    }
}

// Unknown text: its bytes where all have tokens, else the unknown token.
static ptqc_status
add_unknown(pq_tok_encoder *e, pq_str text)
{
    const pq_tokenizer *t = e->t;
    bool has_bytes = (t->flags & PQ_TOK_BYTE_FALLBACK) != 0;
    for (size_t i = 0; i < text.n; i++) {
        has_bytes = has_bytes && t->bytes[(uint8_t)text.p[i]] != PQ_TOKEN_NONE;
    }
    if (!has_bytes) {
        return t->unk != PQ_TOKEN_NONE ? pq_tok_add_id(e, t->unk) : PTQC_OK;
    }
    for (size_t i = 0; i < text.n; i++) {
        PQ_TRY(pq_tok_add_id(e, t->bytes[(uint8_t)text.p[i]]));
    }
    return PTQC_OK;
}

// Turns the chain of starts round: nodes[start].start becomes the end.
static void
reverse_path(pq_tok_node *nodes, size_t end)
{
    uint32_t next = (uint32_t)end;
    pq_token id = nodes[end].id;
    uint32_t at = nodes[end].start;
    for (;;) {
        pq_tok_node *node = &nodes[at];
        uint32_t before = node->start;
        pq_token id_before = node->id;
        *node = (pq_tok_node){.start = next, .id = id};
        if (at == 0) {
            break;
        }
        next = at;
        at = before;
        id = id_before;
    }
}

ptqc_status
pq_tok_unigram(pq_tok_encoder *e, pq_str word)
{
    void *list = e->nodes;
    PQ_TRY(pq_vec_reserve(e->ctx, &list, &e->node_capacity, word.n + 1,
                          sizeof *e->nodes));
    e->nodes = list;
    search(e->t, e->nodes, word);
    reverse_path(e->nodes, word.n);
    for (size_t at = 0; at < word.n;) {
        size_t end = e->nodes[at].start;
        pq_token id = e->nodes[at].id;
        if (id != PQ_TOKEN_NONE && id != e->t->unk) {
            PQ_TRY(pq_tok_add_id(e, id));
        } else {
            // Neighbouring unknowns are one (fuse_unk of the reference).
            while (end < word.n && e->nodes[end].id == PQ_TOKEN_NONE) {
                end = e->nodes[end].start;
            }
            PQ_TRY(add_unknown(e, (pq_str){word.p + at, end - at}));
        }
        at = end;
    }
    return PTQC_OK;
}
