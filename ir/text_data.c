// SPDX-License-Identifier: Apache-2.0
//
// Elements and bytes of constants as text. Integers, bool and f32 are
// numbers; f32 is printed with the fewest digits that read back the same, so
// only NaNs with a payload force the bytes. Other types are base64.
#include "ir/text_data.h"

#include <math.h>

#include "base/bits.h"
#include "base/dtype.h"

static const char digits[] =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

void
pq_base64_print(pq_strbuf *out, const void *p, size_t n)
{
    const uint8_t *bytes = p;
    char text[4096];
    size_t at = 0;
    for (size_t i = 0; i < n; i += 3) {
        size_t left = n - i < 3 ? n - i : 3;
        uint32_t bits = (uint32_t)bytes[i] << 16;
        bits |= left > 1 ? (uint32_t)bytes[i + 1] << 8 : 0;
        bits |= left > 2 ? bytes[i + 2] : 0;
        text[at++] = digits[bits >> 18];
        text[at++] = digits[bits >> 12 & 63];
        text[at++] = left > 1 ? digits[bits >> 6 & 63] : '=';
        text[at++] = left > 2 ? digits[bits & 63] : '=';
        if (at == sizeof text) {
            pq_strbuf_add(out, (pq_str){text, at});
            at = 0;
        }
    }
    pq_strbuf_add(out, (pq_str){text, at});
}

// 0 .. 63, or 64 for other characters.
static uint32_t
digit_of(char c)
{
    if (c >= 'A' && c <= 'Z') {
        return (uint32_t)(c - 'A');
    }
    if (c >= 'a' && c <= 'z') {
        return (uint32_t)(c - 'a') + 26;
    }
    if (c >= '0' && c <= '9') {
        return (uint32_t)(c - '0') + 52;
    }
    return c == '+' ? 62 : c == '/' ? 63 : 64;
}

bool
pq_base64_parse(pq_str text, void *out, size_t n)
{
    uint8_t *bytes = out;
    if (n > SIZE_MAX / 2 || text.n != (n + 2) / 3 * 4) {
        return false;
    }
    for (size_t i = 0; i < n; i += 3) {
        const char *p = text.p + i / 3 * 4;
        size_t left = n - i < 3 ? n - i : 3;
        uint32_t bits = 0;
        for (size_t j = 0; j < 4; j++) {
            uint32_t digit = j <= left ? digit_of(p[j]) : 0;
            if (digit == 64 || (j > left && p[j] != '=')) {
                return false;
            }
            bits = bits << 6 | digit;
        }
        // Unused bits are 0, so that every content has one text.
        if ((bits & (left == 1 ? 0xffffu : left == 2 ? 0xffu : 0)) != 0) {
            return false;
        }
        for (size_t j = 0; j < left; j++) {
            bytes[i + j] = (uint8_t)(bits >> (16 - 8 * j));
        }
    }
    return true;
}

static size_t
element_bytes(ptqc_dtype t)
{
    switch (t) {
    case PTQC_I8:
    case PTQC_U8:
    case PTQC_BOOL:
    case PTQC_I16:
    case PTQC_U16:
    case PTQC_I32:
    case PTQC_U32:
    case PTQC_I64:
    case PTQC_U64:
    case PTQC_F32:
        return pq_dtype_bits(t) / 8;
    default: // other floats and packed types are bytes
        return 0;
    }
}

static bool
is_plain_f32(const pq_constant *c, size_t i)
{
    uint32_t bits = pq_load_le32((const uint8_t *)c->p + 4 * i);
    return (bits & 0x7fffffff) <= 0x7f800000 || bits == 0x7fc00000;
}

bool
pq_constant_is_list(const pq_constant *c)
{
    size_t size = element_bytes(c->dtype);
    if (size == 0 || c->bytes / size > PQ_TEXT_MAX_LIST) {
        return false;
    }
    for (size_t i = 0; c->dtype == PTQC_F32 && i < c->bytes / 4; i++) {
        if (!is_plain_f32(c, i)) {
            return false;
        }
    }
    return true;
}

static int64_t
load_signed(const uint8_t *p, size_t size)
{
    switch (size) {
    case 1:
        return (int8_t)*p;
    case 2:
        return (int16_t)pq_load_le16(p);
    case 4:
        return (int32_t)pq_load_le32(p);
    default: // 8
        return (int64_t)pq_load_le64(p);
    }
}

void
pq_element_print(pq_strbuf *out, const pq_constant *c, size_t i)
{
    size_t size = element_bytes(c->dtype);
    const uint8_t *p = (const uint8_t *)c->p + i * size;
    if (c->dtype == PTQC_F32) {
        pq_strbuf_add_f32(out, pq_load_f32(p));
        return;
    }
    int64_t x = load_signed(p, size);
    if (pq_dtype_is_signed(c->dtype)) {
        pq_strbuf_addf(out, "%lld", (long long)x);
    } else {
        uint64_t mask = size == 8 ? UINT64_MAX : (UINT64_C(1) << 8 * size) - 1;
        pq_strbuf_addf(out, "%llu", (unsigned long long)((uint64_t)x & mask));
    }
}

bool
pq_element_parse(pq_str text, ptqc_dtype dtype, void *array, size_t i)
{
    size_t size = element_bytes(dtype);
    unsigned bits = (unsigned)(8 * size);
    uint64_t word;
    if (dtype == PTQC_F32) {
        double x;
        if (!pq_str_to_f64(text, &x)) {
            return false;
        }
        if (isnan(x)) { // the one NaN that is printed as a number
            pq_store_le32((uint8_t *)array + 4 * i, 0x7fc00000);
        } else {
            pq_store_f32((uint8_t *)array + 4 * i, (float)x);
        }
        return true;
    }
    if (size == 0) {
        return false;
    }
    if (pq_dtype_is_signed(dtype)) {
        int64_t x;
        if (!pq_str_to_i64(text, &x) ||
            (bits < 64 && (x < -(INT64_C(1) << (bits - 1)) ||
                           x >= INT64_C(1) << (bits - 1)))) {
            return false;
        }
        word = (uint64_t)x;
    } else if (!pq_str_to_u64(text, &word) ||
               (bits < 64 && word >> bits != 0)) {
        return false;
    }
    memcpy((uint8_t *)array + size * i, &word, size); // little-endian
    return true;
}
