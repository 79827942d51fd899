// SPDX-License-Identifier: Apache-2.0
//
// The splitting expressions of GPT-2, of Llama 3 (cl100k) and of Qwen 2 as
// scanners. Each function is one alternative of the expression; 0 = no match.
#include "tokenizer/steps.h"
#include "tokenizer/unicode.h"

static const char *const patterns[] = {
    [PQ_TOK_SCAN_NONE] = "",
    [PQ_TOK_SCAN_GPT2] = "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+"
                         "| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+",
    [PQ_TOK_SCAN_CL100K] =
        "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+"
        "|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+"
        "|\\s+(?!\\S)|\\s+",
    [PQ_TOK_SCAN_CL100K_1] =
        "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+"
        "|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+"
        "|\\s+(?!\\S)|\\s+",
};

enum {
    KIND_COUNT = sizeof patterns / sizeof *patterns,
    WORD = PQ_CHAR_LETTER | PQ_CHAR_NUMBER | PQ_CHAR_SPACE,
};

pq_tok_scan_kind
pq_tok_scan_find(pq_str pattern)
{
    for (unsigned k = PQ_TOK_SCAN_NONE + 1; k < KIND_COUNT; k++) {
        if (pq_str_equal_z(pattern, patterns[k])) {
            return (pq_tok_scan_kind)k;
        }
    }
    return PQ_TOK_SCAN_NONE;
}

const char *
pq_tok_scan_pattern(pq_tok_scan_kind kind)
{
    return patterns[kind];
}

// Kinds of the character at `at` and its length; 0 bytes at the end.
static unsigned
kinds_at(pq_str s, size_t at, size_t *out_n)
{
    if (at >= s.n) {
        *out_n = 0;
        return 0;
    }
    return pq_char_kinds(pq_char_get((pq_str){s.p + at, s.n - at}, out_n));
}

// End of the run of characters that are (has != 0) of one of the kinds `has`,
// or (has == 0) of none in WORD; at most `most` characters.
static size_t
run(pq_str s, size_t at, unsigned has, size_t most)
{
    size_t n;
    for (; most > 0; most--) {
        unsigned kinds = kinds_at(s, at, &n);
        bool is_in = has != 0 ? (kinds & has) != 0 : (kinds & WORD) == 0;
        if (n == 0 || !is_in) {
            break;
        }
        at += n;
    }
    return at;
}

static bool
is_ascii(pq_str s, size_t at, char lower, bool any_case)
{
    if (at >= s.n) {
        return false;
    }
    return s.p[at] == lower || (any_case && s.p[at] == (lower ^ 0x20));
}

// 's 't 're 've 'm 'll 'd
static size_t
contraction(pq_str s, bool any_case)
{
    if (s.n < 2 || s.p[0] != '\'') {
        return 0;
    }
    static const char one[] = "stmd";
    static const char two[][2] = {{'r', 'e'}, {'v', 'e'}, {'l', 'l'}};
    for (size_t i = 0; i < sizeof one - 1; i++) {
        if (is_ascii(s, 1, one[i], any_case)) {
            return 2;
        }
    }
    for (size_t i = 0; i < sizeof two / sizeof *two; i++) {
        if (is_ascii(s, 1, two[i][0], any_case) &&
            is_ascii(s, 2, two[i][1], any_case)) {
            return 3;
        }
    }
    // U+017F is an s to case folding.
    bool is_long_s = any_case && s.n >= 3 && (uint8_t)s.p[1] == 0xc5 &&
                     (uint8_t)s.p[2] == 0xbf;
    return is_long_s ? 3 : 0;
}

// \s+(?!\S)|\s+
static size_t
spaces(pq_str s)
{
    size_t at = 0, last = 0, n;
    while ((kinds_at(s, at, &n) & PQ_CHAR_SPACE) != 0) {
        last = at;
        at += n;
    }
    bool leaves_one = at < s.n && last != 0;
    return leaves_one ? last : at;
}

// " ?X+" with X as in run()
static size_t
spaced_run(pq_str s, unsigned has)
{
    size_t start = s.p[0] == ' ';
    size_t end = run(s, start, has, SIZE_MAX);
    return end != start ? end : 0;
}

static size_t
scan_gpt2(pq_str s)
{
    size_t n = contraction(s, false);
    n = n != 0 ? n : spaced_run(s, PQ_CHAR_LETTER);
    n = n != 0 ? n : spaced_run(s, PQ_CHAR_NUMBER);
    n = n != 0 ? n : spaced_run(s, 0);
    return n != 0 ? n : spaces(s);
}

// [^\r\n\p{L}\p{N}]?\p{L}+
static size_t
letters(pq_str s)
{
    size_t n;
    unsigned kinds = kinds_at(s, 0, &n);
    unsigned never = PQ_CHAR_NEWLINE | PQ_CHAR_LETTER | PQ_CHAR_NUMBER;
    size_t start = (kinds & never) == 0 ? n : 0;
    size_t end = run(s, start, PQ_CHAR_LETTER, SIZE_MAX);
    return end != start ? end : 0;
}

// \s*[\r\n]+: up to the last newline of the white space.
static size_t
newlines(pq_str s)
{
    size_t at = 0, end = 0, n;
    for (unsigned kinds; ((kinds = kinds_at(s, at, &n)) & PQ_CHAR_SPACE) != 0;
         at += n) {
        end = (kinds & PQ_CHAR_NEWLINE) != 0 ? at + n : end;
    }
    return end;
}

static size_t
scan_cl100k(pq_str s, size_t digits)
{
    size_t n = contraction(s, true);
    n = n != 0 ? n : letters(s);
    n = n != 0 ? n : run(s, 0, PQ_CHAR_NUMBER, digits);
    if (n == 0 && (n = spaced_run(s, 0)) != 0) {
        n = run(s, n, PQ_CHAR_NEWLINE, SIZE_MAX);
    }
    n = n != 0 ? n : newlines(s);
    return n != 0 ? n : spaces(s);
}

size_t
pq_tok_scan(pq_tok_scan_kind kind, pq_str s)
{
    switch (kind) {
    case PQ_TOK_SCAN_NONE:
        break;
    case PQ_TOK_SCAN_GPT2:
        return scan_gpt2(s);
    case PQ_TOK_SCAN_CL100K:
        return scan_cl100k(s, 3);
    case PQ_TOK_SCAN_CL100K_1:
        return scan_cl100k(s, 1);
    }
    return s.n;
}
