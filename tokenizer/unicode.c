// SPDX-License-Identifier: Apache-2.0
//
// Characters and normalization forms over utf8proc's tables. Reordering of
// combining marks is done here: utf8proc's takes quadratic time on long runs.
#include "tokenizer/unicode.h"

#include <string.h>
#include <utf8proc.h>

enum {
    RUN_SHORT = 16, // marks sorted by insertion
    CLASS_COUNT = 256,
};

uint32_t
pq_char_get(pq_str s, size_t *out_n)
{
    const uint8_t *p = (const uint8_t *)s.p;
    if (p[0] < 0x80) {
        *out_n = 1;
        return p[0];
    }
    if (p[0] < 0xe0) {
        *out_n = 2;
        return (p[0] & 0x1fu) << 6 | (p[1] & 0x3fu);
    }
    if (p[0] < 0xf0) {
        *out_n = 3;
        return (p[0] & 0xfu) << 12 | (p[1] & 0x3fu) << 6 | (p[2] & 0x3fu);
    }
    *out_n = 4;
    return (p[0] & 7u) << 18 | (p[1] & 0x3fu) << 12 | (p[2] & 0x3fu) << 6 |
           (p[3] & 0x3fu);
}

size_t
pq_char_put(uint32_t c, char out[4])
{
    if (c < 0x80) {
        out[0] = (char)c;
        return 1;
    }
    if (c < 0x800) {
        out[0] = (char)(0xc0 | c >> 6);
        out[1] = (char)(0x80 | (c & 0x3f));
        return 2;
    }
    if (c < 0x10000) {
        out[0] = (char)(0xe0 | c >> 12);
        out[1] = (char)(0x80 | (c >> 6 & 0x3f));
        out[2] = (char)(0x80 | (c & 0x3f));
        return 3;
    }
    out[0] = (char)(0xf0 | c >> 18);
    out[1] = (char)(0x80 | (c >> 12 & 0x3f));
    out[2] = (char)(0x80 | (c >> 6 & 0x3f));
    out[3] = (char)(0x80 | (c & 0x3f));
    return 4;
}

void
pq_char_add(pq_strbuf *out, uint32_t c)
{
    char bytes[4];
    size_t n = pq_char_put(c, bytes);
    pq_strbuf_add(out, (pq_str){bytes, n});
}

static utf8proc_category_t
category(uint32_t c)
{
    return utf8proc_category((utf8proc_int32_t)c);
}

bool
pq_char_is_space(uint32_t c)
{
    return c == ' ' || (c >= 9 && c <= 13) || c == 0x85 || c == 0xa0 ||
           c == 0x1680 || (c >= 0x2000 && c <= 0x200a) || c == 0x2028 ||
           c == 0x2029 || c == 0x202f || c == 0x205f || c == 0x3000;
}

unsigned
pq_char_kinds(uint32_t c)
{
    if (c < 0x80) {
        uint32_t lower = c | 0x20;
        if (lower >= 'a' && lower <= 'z') {
            return PQ_CHAR_LETTER;
        }
        if (c >= '0' && c <= '9') {
            return PQ_CHAR_NUMBER;
        }
        if (c == '\r' || c == '\n') {
            return PQ_CHAR_SPACE | PQ_CHAR_NEWLINE;
        }
        return pq_char_is_space(c) ? PQ_CHAR_SPACE : 0;
    }
    utf8proc_category_t k = category(c);
    if (k >= UTF8PROC_CATEGORY_LU && k <= UTF8PROC_CATEGORY_LO) {
        return PQ_CHAR_LETTER;
    }
    if (k >= UTF8PROC_CATEGORY_ND && k <= UTF8PROC_CATEGORY_NO) {
        return PQ_CHAR_NUMBER;
    }
    return pq_char_is_space(c) ? PQ_CHAR_SPACE : 0;
}

bool
pq_char_is_number(uint32_t c)
{
    return (pq_char_kinds(c) & PQ_CHAR_NUMBER) != 0;
}

bool
pq_char_is_punctuation(uint32_t c)
{
    if (c < 0x80) {
        return c > ' ' && c < 0x7f && pq_char_kinds(c) == 0;
    }
    utf8proc_category_t k = category(c);
    return k >= UTF8PROC_CATEGORY_PC && k <= UTF8PROC_CATEGORY_PO;
}

bool
pq_char_is_word(uint32_t c)
{
    utf8proc_category_t k = category(c);
    // Alphabetic symbols (Other_Alphabetic) and Join_Control besides L, M,
    // Nd, Nl and Pc: Unicode technical standard 18, annex C.
    bool is_circled =
        (c >= 0x24b6 && c <= 0x24e9) || (c >= 0x1f130 && c <= 0x1f149) ||
        (c >= 0x1f150 && c <= 0x1f169) || (c >= 0x1f170 && c <= 0x1f189);
    return (k >= UTF8PROC_CATEGORY_LU && k <= UTF8PROC_CATEGORY_NL) ||
           k == UTF8PROC_CATEGORY_PC || c == 0x200c || c == 0x200d ||
           is_circled;
}

bool
pq_char_is_control(uint32_t c)
{
    utf8proc_category_t k = category(c);
    return k == UTF8PROC_CATEGORY_CC || k == UTF8PROC_CATEGORY_CF ||
           k == UTF8PROC_CATEGORY_CO;
}

bool
pq_char_is_mark(uint32_t c)
{
    return category(c) == UTF8PROC_CATEGORY_MN;
}

bool
pq_char_is_any_mark(uint32_t c)
{
    utf8proc_category_t k = category(c);
    return k >= UTF8PROC_CATEGORY_MN && k <= UTF8PROC_CATEGORY_ME;
}

bool
pq_char_is_chinese(uint32_t c)
{
    return (c >= 0x4e00 && c <= 0x9fff) || (c >= 0x3400 && c <= 0x4dbf) ||
           (c >= 0x20000 && c <= 0x2a6df) || (c >= 0x2a700 && c <= 0x2b73f) ||
           (c >= 0x2b740 && c <= 0x2b81f) || (c >= 0x2b920 && c <= 0x2ceaf) ||
           (c >= 0xf900 && c <= 0xfaff) || (c >= 0x2f800 && c <= 0x2fa1f);
}

bool
pq_text_is_ascii(pq_str s)
{
    unsigned char all = 0;
    for (size_t i = 0; i < s.n; i++) {
        all |= (unsigned char)s.p[i];
    }
    return all < 0x80;
}

// Bytes of the well-formed text that s begins with.
static size_t
well_formed_prefix(pq_str s)
{
    size_t i = 0;
    while (i < s.n) {
        if ((uint8_t)s.p[i] < 0x80) {
            i++;
            continue;
        }
        size_t n = pq_str_utf8((pq_str){s.p + i, s.n - i});
        if (n == 0) {
            break;
        }
        i += n;
    }
    return i;
}

bool
pq_text_is_well_formed(pq_str s)
{
    return well_formed_prefix(s) == s.n;
}

// s begins with something malformed: bytes of its maximal subpart, the longest
// beginning of a character, at least 1.
static size_t
malformed_bytes(pq_str s)
{
    uint8_t lead = (uint8_t)s.p[0];
    size_t want = lead >= 0xf0 && lead <= 0xf4   ? 4
                  : lead >= 0xe0 && lead <= 0xef ? 3
                  : lead >= 0xc2 && lead <= 0xdf ? 2
                                                 : 1;
    size_t n = 1;
    while (n < want && n < s.n) {
        // Second bytes are restricted after some leads (table 3-7).
        uint8_t low = n != 1         ? 0x80
                      : lead == 0xe0 ? 0xa0
                      : lead == 0xf0 ? 0x90
                                     : 0x80;
        uint8_t high = n != 1         ? 0xbf
                       : lead == 0xed ? 0x9f
                       : lead == 0xf4 ? 0x8f
                                      : 0xbf;
        uint8_t byte = (uint8_t)s.p[n];
        if (byte < low || byte > high) {
            return n;
        }
        n++;
    }
    return n;
}

// Whether the n malformed bytes at the end of a text lack only what follows.
static bool
is_beginning(pq_str s, size_t n)
{
    uint8_t lead = (uint8_t)s.p[0];
    return n == s.n && lead >= 0xc2 && lead <= 0xf4;
}

size_t
pq_text_add_lossy(pq_strbuf *out, pq_str s, bool is_end)
{
    size_t i = 0;
    while (i < s.n) {
        pq_str rest = {s.p + i, s.n - i};
        size_t good = well_formed_prefix(rest);
        pq_strbuf_add(out, (pq_str){rest.p, good});
        i += good;
        if (i == s.n) {
            break;
        }
        rest = (pq_str){s.p + i, s.n - i};
        size_t bad = malformed_bytes(rest);
        if (!is_end && is_beginning(rest, bad)) {
            break;
        }
        pq_char_add(out, PQ_CHAR_REPLACEMENT);
        i += bad;
    }
    return i;
}

static unsigned
class_of(int32_t c)
{
    return (unsigned)utf8proc_get_property(c)->combining_class;
}

static void
sort_short(int32_t *c, size_t n)
{
    for (size_t i = 1; i < n; i++) {
        int32_t x = c[i];
        size_t j = i;
        for (; j > 0 && class_of(c[j - 1]) > class_of(x); j--) {
            c[j] = c[j - 1];
        }
        c[j] = x;
    }
}

// Stable counting sort by combining class; scratch has n elements.
static void
sort_long(int32_t *c, size_t n, int32_t *scratch)
{
    size_t start[CLASS_COUNT + 1] = {0};
    for (size_t i = 0; i < n; i++) {
        start[(class_of(c[i]) & 0xff) + 1]++;
    }
    for (unsigned k = 0; k < CLASS_COUNT; k++) {
        start[k + 1] += start[k];
    }
    for (size_t i = 0; i < n; i++) {
        scratch[start[class_of(c[i]) & 0xff]++] = c[i];
    }
    memcpy(c, scratch, n * sizeof *c);
}

// Canonical ordering (Unicode 3.11, D109). scratch has n elements.
static void
reorder(int32_t *c, size_t n, int32_t *scratch)
{
    for (size_t i = 0; i < n;) {
        size_t end = i;
        while (end < n && class_of(c[end]) != 0) {
            end++;
        }
        if (end - i > RUN_SHORT) {
            sort_long(c + i, end - i, scratch);
        } else if (end - i > 1) {
            sort_short(c + i, end - i);
        }
        i = end == i ? i + 1 : end;
    }
}

typedef struct decomposed {
    ptqc_ctx *ctx;
    int32_t *c; // owned
    size_t n, capacity;
} decomposed;

static ptqc_status
decompose(decomposed *d, pq_str s, utf8proc_option_t options)
{
    for (size_t i = 0; i < s.n;) {
        size_t n;
        uint32_t c = pq_char_get((pq_str){s.p + i, s.n - i}, &n);
        i += n;
        if (d->capacity - d->n < PQ_CHAR_DECOMPOSED_MAX) {
            size_t want = d->capacity * 2 + s.n - i + PQ_CHAR_DECOMPOSED_MAX;
            int32_t *grown = pq_realloc_array(d->ctx, d->c, d->capacity, want,
                                              sizeof *grown);
            PQ_TRY_ALLOC(grown);
            d->c = grown;
            d->capacity = want;
        }
        int boundary = 0;
        utf8proc_ssize_t made =
            utf8proc_decompose_char((utf8proc_int32_t)c, d->c + d->n,
                                    PQ_CHAR_DECOMPOSED_MAX, options, &boundary);
        if (made < 0 || made > PQ_CHAR_DECOMPOSED_MAX) {
            return PQ_FAIL(d->ctx, PTQC_E_INTERNAL,
                           "utf8proc cannot decompose U+%04X", c);
        }
        d->n += (size_t)made;
    }
    return PTQC_OK;
}

ptqc_status
pq_text_normalize(ptqc_ctx *ctx, pq_str s, pq_text_form form, pq_strbuf *out)
{
    if (pq_text_is_ascii(s)) {
        pq_strbuf_add(out, s);
        return PTQC_OK;
    }
    bool is_compat = form == PQ_TEXT_NFKC || form == PQ_TEXT_NFKD;
    bool is_composed = form == PQ_TEXT_NFC || form == PQ_TEXT_NFKC;
    decomposed d = {.ctx = ctx};
    utf8proc_option_t options = UTF8PROC_STABLE | UTF8PROC_DECOMPOSE;
    options |= is_compat ? UTF8PROC_COMPAT : 0;
    int32_t *scratch = NULL;
    ptqc_status st;
    PQ_TRY_OR(done, decompose(&d, s, options));
    scratch = pq_alloc_array(ctx, d.n, sizeof *scratch);
    st = scratch != NULL ? PTQC_OK : PTQC_E_RESOURCE;
    PQ_TRY_OR(done, st);
    reorder(d.c, d.n, scratch);
    utf8proc_ssize_t n = (utf8proc_ssize_t)d.n;
    if (is_composed) {
        n = utf8proc_normalize_utf32(d.c, n,
                                     UTF8PROC_STABLE | UTF8PROC_COMPOSE);
    }
    for (utf8proc_ssize_t i = 0; i < n; i++) {
        pq_char_add(out, (uint32_t)d.c[i]);
    }
done:
    pq_free(ctx, scratch);
    pq_free(ctx, d.c);
    return st;
}

void
pq_text_lower(pq_str s, pq_strbuf *out)
{
    for (size_t i = 0; i < s.n;) {
        size_t n;
        uint32_t c = pq_char_get((pq_str){s.p + i, s.n - i}, &n);
        i += n;
        if (c == 0x130) { // the only one that becomes two (SpecialCasing)
            pq_strbuf_add(out, PQ_STR("i\xcc\x87"));
        } else {
            pq_char_add(out, (uint32_t)utf8proc_tolower((utf8proc_int32_t)c));
        }
    }
}

// Bytes that stand for themselves; the others follow from U+0100 on, in
// order: 0..32, 127..160, 173.
static bool
is_plain_byte(unsigned byte)
{
    return (byte >= 33 && byte <= 126) || (byte >= 161 && byte != 173);
}

uint32_t
pq_byte_to_char(uint8_t byte)
{
    if (is_plain_byte(byte)) {
        return byte;
    }
    return 256u + (byte <= 32 ? byte : byte <= 160 ? byte - 127u + 33u : 67u);
}

int
pq_char_to_byte(uint32_t c)
{
    if (c < 256) {
        return is_plain_byte(c) ? (int)c : -1;
    }
    unsigned k = c - 256;
    return k <= 32 ? (int)k : k <= 66 ? (int)k + 127 - 33 : k == 67 ? 173 : -1;
}
