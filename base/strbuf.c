// SPDX-License-Identifier: Apache-2.0
//
// The text builder. Numbers are written in the C locale whatever the
// process's locale is: newlocale("C") is a constant object in the C library
// and costs nothing.
#include <locale.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bits.h"
#include "base/checked.h"
#include "base/str.h"

enum {
    CAPACITY_MIN = 64,
    FLOAT_BYTES = 32, // of any %.17g, with its NUL
};

// What p of a buffer points at before the first allocation; never written.
static const char empty_text[1] = "";

void
pq_strbuf_init(pq_strbuf *b, ptqc_ctx *ctx)
{
    *b = (pq_strbuf){.ctx = ctx, .p = (char *)empty_text};
}

void
pq_strbuf_deinit(pq_strbuf *b)
{
    if (b->capacity != 0) {
        pq_free(b->ctx, b->p);
    }
    pq_strbuf_init(b, b->ctx);
}

// Room for n more bytes and the NUL; false when the buffer has failed.
static bool
reserve(pq_strbuf *b, size_t n)
{
    size_t need;
    if (b->failed) {
        return false;
    }
    if (!pq_add_size(b->n, n, &need) || !pq_add_size(need, 1, &need)) {
        need = SIZE_MAX; // said by the allocation
    }
    if (need <= b->capacity) {
        return true;
    }
    size_t capacity = b->capacity < CAPACITY_MIN ? CAPACITY_MIN : b->capacity;
    while (capacity < need) {
        capacity = capacity > SIZE_MAX / 2 ? SIZE_MAX : 2 * capacity;
    }
    char *old = b->capacity != 0 ? b->p : NULL;
    char *grown = pq_realloc_array(b->ctx, old, b->capacity, capacity, 1);
    if (grown == NULL) {
        b->failed = true;
        return false;
    }
    b->p = grown;
    b->capacity = capacity;
    return true;
}

void
pq_strbuf_add(pq_strbuf *b, pq_str s)
{
    if (s.n != 0 && reserve(b, s.n)) {
        memcpy(b->p + b->n, s.p, s.n);
        b->n += s.n;
        b->p[b->n] = '\0';
    }
}

void
pq_strbuf_add_le32(pq_strbuf *b, uint32_t x)
{
    uint8_t bytes[4];
    pq_store_le32(bytes, x);
    pq_strbuf_add(b, (pq_str){(const char *)bytes, sizeof bytes});
}

void
pq_strbuf_add_le64(pq_strbuf *b, uint64_t x)
{
    uint8_t bytes[8];
    pq_store_le64(bytes, x);
    pq_strbuf_add(b, (pq_str){(const char *)bytes, sizeof bytes});
}

void
pq_strbuf_add_z(pq_strbuf *b, const char *z)
{
    pq_strbuf_add(b, pq_str_of(z));
}

void
pq_strbuf_addf(pq_strbuf *b, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    va_list again;
    va_copy(again, args);
    int length = vsnprintf(NULL, 0, format, args);
    va_end(args);
    if (length < 0) {
        b->failed = true; // longer than INT_MAX
    } else if (length > 0 && reserve(b, (size_t)length)) {
        (void)vsnprintf(b->p + b->n, (size_t)length + 1, format, again);
        b->n += (size_t)length;
    }
    va_end(again);
}

// -> the letter after the backslash, 0 when c has none.
static char
escape_letter(char c)
{
    switch (c) {
    case '\n':
        return 'n';
    case '\t':
        return 't';
    case '"':
        return '"';
    case '\\':
        return '\\';
    default: // any byte
        return 0;
    }
}

void
pq_strbuf_add_escaped(pq_strbuf *b, pq_str s)
{
    for (size_t i = 0; i < s.n;) {
        char letter = escape_letter(s.p[i]);
        size_t step = pq_str_printable((pq_str){s.p + i, s.n - i});
        if (letter != 0) {
            pq_strbuf_add(b, (pq_str){(char[]){'\\', letter}, 2});
            i++;
        } else if (step == 0) {
            pq_strbuf_addf(b, "\\x%02x", (unsigned char)s.p[i]);
            i++;
        } else {
            pq_strbuf_add(b, (pq_str){s.p + i, step});
            i += step;
        }
    }
}

static bool
is_same_f32(const char *text, double x, locale_t c)
{
    return strtof_l(text, NULL, c) == (float)x; // exact: reads back
}

static bool
is_same_f64(const char *text, double x, locale_t c)
{
    return strtod_l(text, NULL, c) == x; // exact: reads back
}

// Digits from `digits` up, until the text reads back as x. With FLT_DIG or
// DBL_DIG digits %g gives the shortest text when one so short exists, since
// it drops trailing zeros; only subnormals may need to start at 1.
static void
format_shortest(char out[FLOAT_BYTES], double x, int digits,
                bool (*is_same)(const char *, double, locale_t))
{
    locale_t c = newlocale(LC_ALL_MASK, "C", (locale_t)0);
    locale_t before = uselocale(c); // of this thread only
    do {
        (void)snprintf(out, FLOAT_BYTES, "%.*g", digits, x);
        digits++;
    } while (!is_same(out, x, c) && digits <= 17);
    uselocale(before);
    freelocale(c);
}

// Text of infinities and NaN, NULL for numbers.
static const char *
special_text(double x)
{
    if (isnan(x)) {
        return "nan";
    }
    if (isinf(x)) {
        return x < 0.0 ? "-inf" : "inf";
    }
    return NULL;
}

void
pq_strbuf_add_f32(pq_strbuf *b, float x)
{
    char text[FLOAT_BYTES];
    const char *special = special_text((double)x);
    if (special == NULL) {
        bool is_normal = isnormal(x) || x == 0.0f;
        format_shortest(text, (double)x, is_normal ? 6 : 1, is_same_f32);
    }
    pq_strbuf_add_z(b, special != NULL ? special : text);
}

void
pq_strbuf_add_f64(pq_strbuf *b, double x)
{
    char text[FLOAT_BYTES];
    const char *special = special_text(x);
    if (special == NULL) {
        bool is_normal = isnormal(x) || x == 0.0;
        format_shortest(text, x, is_normal ? 15 : 1, is_same_f64);
    }
    pq_strbuf_add_z(b, special != NULL ? special : text);
}
