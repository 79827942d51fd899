// SPDX-License-Identifier: Apache-2.0
//
// Prefix search by narrowing a range of a sorted array byte by byte.
#include "tokenizer/prefixes.h"

#include <stdlib.h>
#include <string.h>

// By bytes, a prefix before what it begins; then by id.
static int
compare(const void *a, const void *b)
{
    const pq_tok_prefix *x = a, *y = b;
    size_t n = x->text.n < y->text.n ? x->text.n : y->text.n;
    int order = memcmp(x->text.p, y->text.p, n);
    if (order != 0) {
        return order;
    }
    if (x->text.n != y->text.n) {
        return x->text.n < y->text.n ? -1 : 1;
    }
    return (x->id > y->id) - (x->id < y->id);
}

void
pq_tok_prefixes_init(pq_tok_prefixes *p, pq_tok_prefix *at, uint32_t count)
{
    uint32_t kept = 0;
    if (count != 0) {
        qsort(at, count, sizeof *at, compare);
    }
    for (uint32_t i = 0; i < count; i++) {
        bool is_same = kept != 0 && pq_str_equal(at[kept - 1].text, at[i].text);
        kept -= is_same;
        at[kept++] = at[i];
    }
    *p = (pq_tok_prefixes){.at = at, .count = kept};
    uint32_t i = 0;
    for (unsigned b = 0; b < 256; b++) {
        p->first[b] = i;
        while (i < kept && (uint8_t)at[i].text.p[0] == b) {
            i++;
        }
    }
    p->first[256] = kept;
}

void
pq_tok_prefix_walk_init(pq_tok_prefix_walk *w, const pq_tok_prefixes *p,
                        pq_str s)
{
    *w = (pq_tok_prefix_walk){.p = p, .s = s};
    if (s.n != 0) {
        w->low = p->first[(uint8_t)s.p[0]];
        w->high = p->first[(uint8_t)s.p[0] + 1];
        w->n = 1;
    }
}

// First of low..high whose byte n is >= byte. All are longer than n.
static uint32_t
lower_bound(const pq_tok_prefix_walk *w, uint32_t low, uint32_t high,
            unsigned byte)
{
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if ((uint8_t)w->p->at[middle].text.p[w->n] < byte) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

const pq_tok_prefix *
pq_tok_prefix_next(pq_tok_prefix_walk *w)
{
    while (w->low < w->high) {
        // The shortest candidate comes first; it is the only one that can
        // end here.
        const pq_tok_prefix *found = &w->p->at[w->low];
        bool is_end = found->text.n == w->n;
        w->low += is_end;
        if (w->n == w->s.n) {
            w->high = w->low;
        } else if (!is_end) {
            unsigned byte = (uint8_t)w->s.p[w->n];
            w->low = lower_bound(w, w->low, w->high, byte);
            w->high = lower_bound(w, w->low, w->high, byte + 1);
            w->n++;
        }
        if (is_end) {
            return found;
        }
    }
    return NULL;
}

const pq_tok_prefix *
pq_tok_prefix_longest(const pq_tok_prefixes *p, pq_str s)
{
    const pq_tok_prefix *best = NULL;
    pq_tok_prefix_walk w;
    pq_tok_prefix_walk_init(&w, p, s);
    for (const pq_tok_prefix *next; (next = pq_tok_prefix_next(&w)) != NULL;) {
        best = next;
    }
    return best;
}
