// SPDX-License-Identifier: Apache-2.0
//
// String views and the text builder used by printers.
#ifndef PTQC_BASE_STR_H
#define PTQC_BASE_STR_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/ctx.h"

// Borrowed bytes, not NUL-terminated.
typedef struct pq_str {
    const char *p;
    size_t n;
} pq_str;

#define PQ_STR(literal) ((pq_str){literal, sizeof(literal) - 1})
// For "%.*s". A negative precision would mean "up to the NUL".
#define PQ_STR_ARG(s)                                                          \
    (int)((s).n < INT_MAX ? (s).n : INT_MAX), ((s).n != 0 ? (s).p : "")

pq_str pq_str_of(const char *z); // NULL gives the empty view
bool pq_str_equal(pq_str a, pq_str b);
bool pq_str_equal_z(pq_str a, const char *z);
bool pq_str_starts(pq_str s, const char *prefix);
bool pq_str_ends(pq_str s, const char *suffix);
// Splits at the first `c`: head before it, *rest after it. Without c: head =
// all, *rest empty and false returned.
bool pq_str_split(pq_str s, char c, pq_str *out_head, pq_str *out_rest);
// Whole text must be a number in range; no locale.
bool pq_str_to_i64(pq_str s, int64_t *out);
bool pq_str_to_u64(pq_str s, uint64_t *out);
bool pq_str_to_f64(pq_str s, double *out); // also "inf", "-inf", "nan"
// Bytes (1..4) of the well-formed UTF-8 character that s begins with; 0 when
// it is malformed or s is empty.
size_t pq_str_utf8(pq_str s);
// As pq_str_utf8, and 0 also for what must not reach a terminal: control
// characters (C0, DEL, C1) and the bidirectional overrides.
size_t pq_str_printable(pq_str s);
// Levenshtein distance, capped at 255; for suggestions.
unsigned pq_str_distance(pq_str a, pq_str b);

// Growing NUL-terminated text. After a failed allocation it stays valid and
// `failed` is set; look at it once at the end.
typedef struct pq_strbuf {
    ptqc_ctx *ctx; // borrowed
    char *p;       // owned
    size_t n, capacity;
    bool failed;
} pq_strbuf;

void pq_strbuf_init(pq_strbuf *b, ptqc_ctx *ctx);
void pq_strbuf_deinit(pq_strbuf *b);
void pq_strbuf_add(pq_strbuf *b, pq_str s);
// Bytes of a binary file, little-endian.
void pq_strbuf_add_le32(pq_strbuf *b, uint32_t x);
void pq_strbuf_add_le64(pq_strbuf *b, uint64_t x);
void pq_strbuf_add_z(pq_strbuf *b, const char *z);
__attribute__((format(printf, 2, 3))) void
pq_strbuf_addf(pq_strbuf *b, const char *format, ...);
// Adds s with control bytes, quotes and backslashes as \n \t \" \\ \xNN.
void pq_strbuf_add_escaped(pq_strbuf *b, pq_str s);
// Shortest text that reads back as the same f32 ("1", "0.1", "inf", "nan").
void pq_strbuf_add_f32(pq_strbuf *b, float x);
void pq_strbuf_add_f64(pq_strbuf *b, double x);

#endif
