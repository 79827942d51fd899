// SPDX-License-Identifier: Apache-2.0
//
// String views: comparing, splitting, numbers, UTF-8 (Unicode 15, table 3-7),
// edit distance.
#include "base/str.h"

#include <locale.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum {
    NUMBER_BYTES = 1024,  // longest text of a float, with its NUL
    DISTANCE_BYTES = 255, // longer texts are "far" from everything
};

pq_str
pq_str_of(const char *z)
{
    return (pq_str){z, z != NULL ? strlen(z) : 0};
}

bool
pq_str_equal(pq_str a, pq_str b)
{
    return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0);
}

bool
pq_str_equal_z(pq_str a, const char *z)
{
    return pq_str_equal(a, pq_str_of(z));
}

bool
pq_str_starts(pq_str s, const char *prefix)
{
    size_t n = strlen(prefix);
    return s.n >= n && (n == 0 || memcmp(s.p, prefix, n) == 0);
}

bool
pq_str_ends(pq_str s, const char *suffix)
{
    size_t n = strlen(suffix);
    return s.n >= n && (n == 0 || memcmp(s.p + (s.n - n), suffix, n) == 0);
}

bool
pq_str_split(pq_str s, char c, pq_str *out_head, pq_str *out_rest)
{
    const char *at = s.n != 0 ? memchr(s.p, c, s.n) : NULL;
    if (at == NULL) {
        *out_head = s;
        *out_rest = (pq_str){NULL, 0};
        return false;
    }
    size_t n = (size_t)(at - s.p);
    *out_head = (pq_str){s.p, n};
    *out_rest = (pq_str){at + 1, s.n - n - 1};
    return true;
}

bool
pq_str_to_u64(pq_str s, uint64_t *out)
{
    uint64_t x = 0;
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] < '0' || s.p[i] > '9') {
            return false;
        }
        if (__builtin_mul_overflow(x, 10u, &x) ||
            __builtin_add_overflow(x, (uint64_t)(s.p[i] - '0'), &x)) {
            return false;
        }
    }
    *out = x;
    return s.n != 0;
}

bool
pq_str_to_i64(pq_str s, int64_t *out)
{
    bool is_negative = s.n != 0 && s.p[0] == '-';
    bool has_sign = is_negative || (s.n != 0 && s.p[0] == '+');
    uint64_t x;
    if (!pq_str_to_u64((pq_str){s.p + has_sign, s.n - has_sign}, &x)) {
        return false;
    }
    if (x > (uint64_t)INT64_MAX + is_negative) {
        return false;
    }
    *out = is_negative ? (int64_t)(0 - x) : (int64_t)x;
    return true;
}

static size_t
skip_digits(const char *p)
{
    return strspn(p, "0123456789");
}

// [+-] digits [. digits] [e [+-] digits], at least one digit before the e.
static bool
is_decimal(const char *p)
{
    p += *p == '+' || *p == '-';
    size_t whole = skip_digits(p);
    p += whole;
    size_t fraction = 0;
    if (*p == '.') {
        fraction = skip_digits(p + 1);
        p += 1 + fraction;
    }
    if (whole + fraction == 0) {
        return false;
    }
    if (*p == 'e' || *p == 'E') {
        p++;
        p += *p == '+' || *p == '-';
        size_t exponent = skip_digits(p);
        if (exponent == 0) {
            return false;
        }
        p += exponent;
    }
    return *p == '\0';
}

static bool
special_float(pq_str s, double *out)
{
    if (pq_str_equal_z(s, "inf")) {
        *out = (double)INFINITY;
    } else if (pq_str_equal_z(s, "-inf")) {
        *out = -(double)INFINITY;
    } else if (pq_str_equal_z(s, "nan")) {
        *out = (double)NAN;
    } else {
        return false;
    }
    return true;
}

bool
pq_str_to_f64(pq_str s, double *out)
{
    if (special_float(s, out)) {
        return true;
    }
    char text[NUMBER_BYTES];
    if (s.n == 0 || s.n >= sizeof text) {
        return false;
    }
    memcpy(text, s.p, s.n);
    text[s.n] = '\0';
    if (strlen(text) != s.n || !is_decimal(text)) {
        return false;
    }
    locale_t c = newlocale(LC_ALL_MASK, "C", (locale_t)0);
    if (c == (locale_t)0) {
        return false;
    }
    double x = strtod_l(text, NULL, c);
    freelocale(c);
    if (isinf(x)) {
        return false; // out of range
    }
    *out = x;
    return true;
}

// First byte -> length and the range of the second byte (Unicode table 3-7);
// the other continuation bytes are 80..bf.
typedef struct utf8_class {
    uint8_t first_low, first_high, length, second_low, second_high;
} utf8_class;

static const utf8_class utf8_classes[] = {
    {0xc2, 0xdf, 2, 0x80, 0xbf}, {0xe0, 0xe0, 3, 0xa0, 0xbf},
    {0xe1, 0xec, 3, 0x80, 0xbf}, {0xed, 0xed, 3, 0x80, 0x9f},
    {0xee, 0xef, 3, 0x80, 0xbf}, {0xf0, 0xf0, 4, 0x90, 0xbf},
    {0xf1, 0xf3, 4, 0x80, 0xbf}, {0xf4, 0xf4, 4, 0x80, 0x8f},
};

size_t
pq_str_utf8(pq_str s)
{
    const uint8_t *p = (const uint8_t *)s.p;
    if (s.n == 0 || p[0] < 0x80) {
        return s.n != 0;
    }
    for (size_t i = 0; i < sizeof utf8_classes / sizeof utf8_classes[0]; i++) {
        const utf8_class *u = &utf8_classes[i];
        if (p[0] < u->first_low || p[0] > u->first_high) {
            continue;
        }
        if (s.n < u->length || p[1] < u->second_low || p[1] > u->second_high) {
            return 0;
        }
        for (size_t k = 2; k < u->length; k++) {
            if ((p[k] & 0xc0u) != 0x80u) {
                return 0;
            }
        }
        return u->length;
    }
    return 0;
}

// U+200E, U+200F, U+2028 - U+202E, U+2066 - U+2069: direction marks, line
// separators, embeddings, overrides, isolates.
static bool
is_hidden_format(const uint8_t p[3])
{
    if (p[0] != 0xe2) {
        return false;
    }
    if (p[1] == 0x80) {
        return p[2] == 0x8e || p[2] == 0x8f || (p[2] >= 0xa8 && p[2] <= 0xae);
    }
    return p[1] == 0x81 && p[2] >= 0xa6 && p[2] <= 0xa9;
}

size_t
pq_str_printable(pq_str s)
{
    const uint8_t *p = (const uint8_t *)s.p;
    size_t length = pq_str_utf8(s);
    if (length == 1 && (p[0] < 0x20 || p[0] == 0x7f)) {
        return 0;
    }
    if (length == 2 && p[0] == 0xc2 && p[1] < 0xa0) {
        return 0; // C1
    }
    return length == 3 && is_hidden_format(p) ? 0 : length;
}

static unsigned
min3(unsigned a, unsigned b, unsigned c)
{
    unsigned ab = a < b ? a : b;
    return ab < c ? ab : c;
}

unsigned
pq_str_distance(pq_str a, pq_str b)
{
    if (a.n > DISTANCE_BYTES || b.n > DISTANCE_BYTES) {
        return DISTANCE_BYTES;
    }
    unsigned row[DISTANCE_BYTES + 1]; // distances of a[0..i) to b[0..j)
    for (size_t j = 0; j <= b.n; j++) {
        row[j] = (unsigned)j;
    }
    for (size_t i = 1; i <= a.n; i++) {
        unsigned diagonal = row[0];
        row[0] = (unsigned)i;
        for (size_t j = 1; j <= b.n; j++) {
            unsigned changed = diagonal + (a.p[i - 1] != b.p[j - 1]);
            diagonal = row[j];
            row[j] = min3(changed, row[j] + 1, row[j - 1] + 1);
        }
    }
    return row[b.n];
}
