// SPDX-License-Identifier: Apache-2.0
//
// Words, numbers and quoted text of .ptir (docs/ptir.md).
#include "ir/text_lex.h"

#include <float.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>

typedef struct place {
    size_t line, column; // from 1; columns count bytes
} place;

static place
place_of(const pq_lexer *x)
{
    place p = {1, 1};
    for (size_t i = 0; i < x->token && i < x->text.n; i++) {
        p.column++;
        if (x->text.p[i] == '\n') {
            p = (place){p.line + 1, 1};
        }
    }
    return p;
}

ptqc_status
pq_lex_fail(pq_lexer *x, const char *format, ...)
{
    char text[512];
    va_list args;
    place p = place_of(x);
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    return PQ_FAIL(x->ctx, PTQC_E_INPUT, "%s:%zu:%zu: %s", x->what, p.line,
                   p.column, text);
}

void
pq_lex_note(pq_lexer *x)
{
    place p = place_of(x);
    pq_say(x->ctx, PTQC_SEVERITY_NOTE, "%s:%zu:%zu: here", x->what, p.line,
           p.column);
}

static bool
is_space(char c)
{
    return c == ' ' || c == '\n' || c == '\t' || c == '\r';
}

bool
pq_is_word_char(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
           (c >= '0' && c <= '9') || c == '_' || c == '.';
}

char
pq_lex_peek(pq_lexer *x)
{
    const char *p = x->text.p;
    size_t n = x->text.n;
    bool is_comment = false;
    while (x->at < n && (is_comment || is_space(p[x->at]) || p[x->at] == '#')) {
        is_comment = p[x->at] == '#' || (is_comment && p[x->at] != '\n');
        x->at++;
    }
    x->token = x->at;
    return x->at < n ? p[x->at] : '\0';
}

bool
pq_lex_accept(pq_lexer *x, char c)
{
    if (pq_lex_peek(x) != c || x->at == x->text.n) {
        return false;
    }
    x->at++;
    return true;
}

ptqc_status
pq_lex_expect(pq_lexer *x, char c)
{
    if (pq_lex_accept(x, c)) {
        return PTQC_OK;
    }
    if (x->at == x->text.n) {
        return pq_lex_fail(x, "expected '%c', found the end", c);
    }
    return pq_lex_fail(x, "expected '%c', found '%c'", c, x->text.p[x->at]);
}

static pq_str
read_while(pq_lexer *x, bool has_signs)
{
    pq_lex_peek(x);
    const char *p = x->text.p + x->at;
    size_t n = 0;
    while (x->at + n < x->text.n &&
           (pq_is_word_char(p[n]) ||
            (has_signs && (p[n] == '-' || p[n] == '+')))) {
        n++;
    }
    x->at += n;
    return (pq_str){p, n};
}

pq_str
pq_lex_word(pq_lexer *x)
{
    return read_while(x, false);
}

pq_str
pq_lex_number(pq_lexer *x)
{
    return read_while(x, true);
}

ptqc_status
pq_lex_keyword(pq_lexer *x, const char *word)
{
    if (pq_str_equal_z(pq_lex_word(x), word)) {
        return PTQC_OK;
    }
    return pq_lex_fail(x, "expected '%s'", word);
}

ptqc_status
pq_lex_i64(pq_lexer *x, int64_t *out)
{
    if (pq_str_to_i64(pq_lex_number(x), out)) {
        return PTQC_OK;
    }
    return pq_lex_fail(x, "expected an integer");
}

ptqc_status
pq_lex_f32(pq_lexer *x, float *out)
{
    double value;
    if (!pq_str_to_f64(pq_lex_number(x), &value) ||
        (isfinite(value) && fabs(value) > (double)FLT_MAX)) {
        return pq_lex_fail(x, "expected an f32 number");
    }
    *out = (float)value;
    return PTQC_OK;
}

ptqc_status
pq_lex_raw_string(pq_lexer *x, pq_str *out)
{
    PQ_TRY(pq_lex_expect(x, '"'));
    const char *p = x->text.p + x->at;
    size_t left = x->text.n - x->at;
    size_t n = 0;
    while (n < left && p[n] != '"' && p[n] != '\n') {
        n += p[n] == '\\' ? 2 : 1;
    }
    if (n >= left || p[n] != '"') {
        return pq_lex_fail(x, "the quoted text does not end");
    }
    *out = (pq_str){p, n};
    x->at += n + 1;
    return PTQC_OK;
}

static int
hex_digit(char c)
{
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
}

// One escape at p (after the backslash) -> bytes it takes; 0 = unknown.
static size_t
unescape(const char *p, size_t left, char *out)
{
    if (left == 0) {
        return 0;
    }
    switch (*p) {
    case 'n':
        *out = '\n';
        return 1;
    case 't':
        *out = '\t';
        return 1;
    case 'r':
        *out = '\r';
        return 1;
    case '"':
    case '\\':
        *out = *p;
        return 1;
    case 'x':
        if (left >= 3 && hex_digit(p[1]) >= 0 && hex_digit(p[2]) >= 0) {
            *out = (char)(hex_digit(p[1]) * 16 + hex_digit(p[2]));
            return 3;
        }
        return 0;
    default: // no escape of ours
        return 0;
    }
}

ptqc_status
pq_lex_string(pq_lexer *x, pq_arena *arena, pq_str *out)
{
    pq_str raw;
    PQ_TRY(pq_lex_raw_string(x, &raw));
    char *copy = pq_arena_alloc(arena, raw.n + 1);
    size_t n = 0;
    PQ_TRY_ALLOC(copy);
    for (size_t i = 0; i < raw.n; i++) {
        copy[n] = raw.p[i];
        if (raw.p[i] == '\\') {
            size_t used = unescape(raw.p + i + 1, raw.n - i - 1, &copy[n]);
            if (used == 0) {
                return pq_lex_fail(x, "unknown escape in quoted text");
            }
            i += used;
        }
        n++;
    }
    *out = (pq_str){copy, n};
    return PTQC_OK;
}

ptqc_status
pq_lex_index(pq_lexer *x, char letter, uint32_t *out)
{
    pq_str word = pq_lex_word(x);
    uint64_t value;
    if (word.n < 2 || word.p[0] != letter ||
        !pq_str_to_u64((pq_str){word.p + 1, word.n - 1}, &value) ||
        value == 0 || value > UINT32_MAX) {
        return pq_lex_fail(x, "expected %c and a number from 1", letter);
    }
    *out = (uint32_t)value;
    return PTQC_OK;
}
