// SPDX-License-Identifier: Apache-2.0
//
// Text that grows in an arena.
#ifndef PTQC_BACKENDS_KGEN_TEXT_H
#define PTQC_BACKENDS_KGEN_TEXT_H

#include <stdbool.h>
#include <stdint.h>

#include "mem.h"

// Zero but for mem: empty. After a failure (no memory) everything is ignored.
typedef struct pq_kg_text {
    pq_mem *mem; // borrowed
    char *p;     // ends with a NUL, NULL while empty
    uint32_t count, room;
    bool has_failed;
} pq_kg_text;

// printf-like.
__attribute__((format(printf, 2, 3))) void
pq_kg_text_add(pq_kg_text *t, const char *format, ...);
// The bytes [from, from + n).
void pq_kg_text_bytes(pq_kg_text *t, const char *from, uint32_t n);
// The text with every line that is not empty `spaces` further in.
void pq_kg_text_indented(pq_kg_text *t, const char *text, uint32_t spaces);
// The text with every $ a number.
void pq_kg_text_numbered(pq_kg_text *t, const char *text, uint32_t number);
// The text, "" when empty; NULL after a failure.
const char *pq_kg_text_get(const pq_kg_text *t);

#endif
