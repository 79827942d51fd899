// SPDX-License-Identifier: Apache-2.0
//
// The .npy format (NEP 1): magic, version, header length, a Python dict
// literal with 'descr', 'fortran_order' and 'shape', data.

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/array.h"

// numpy's type codes; float16 etc. keep their width.
typedef struct descr_row {
    const char *descr;
    ptqc_dtype dtype;
} descr_row;

static const descr_row descrs[] = {
    {"<f4", PTQC_F32}, {"<f2", PTQC_F16}, {"<f8", PTQC_F64}, {"|i1", PTQC_I8},
    {"|u1", PTQC_U8},  {"<i2", PTQC_I16}, {"<u2", PTQC_U16}, {"<i4", PTQC_I32},
    {"<u4", PTQC_U32}, {"<i8", PTQC_I64}, {"<u8", PTQC_U64}, {"|b1", PTQC_BOOL},
};

// A cursor over the header's text.
typedef struct text_cursor {
    const char *p, *end;
} text_cursor;

static void
skip_spaces(text_cursor *t)
{
    while (t->p < t->end && (*t->p == ' ' || *t->p == '\n' || *t->p == '\t')) {
        t->p++;
    }
}

static bool
take_char(text_cursor *t, char c)
{
    skip_spaces(t);
    if (t->p < t->end && *t->p == c) {
        t->p++;
        return true;
    }
    return false;
}

static bool
take_word(text_cursor *t, const char *word)
{
    size_t n = strlen(word);
    skip_spaces(t);
    if ((size_t)(t->end - t->p) < n || memcmp(t->p, word, n) != 0) {
        return false;
    }
    t->p += n;
    return true;
}

// A quoted string without escapes.
static bool
take_string(text_cursor *t, const char **out, size_t *out_n)
{
    skip_spaces(t);
    if (t->p >= t->end || (*t->p != '\'' && *t->p != '"')) {
        return false;
    }
    char quote = *t->p++;
    const char *start = t->p;
    while (t->p < t->end && *t->p != quote) {
        t->p++;
    }
    if (t->p >= t->end) {
        return false;
    }
    *out = start;
    *out_n = (size_t)(t->p++ - start);
    return true;
}

static bool
take_number(text_cursor *t, int64_t *out)
{
    skip_spaces(t);
    int64_t x = 0;
    const char *start = t->p;
    for (; t->p < t->end && *t->p >= '0' && *t->p <= '9'; t->p++) {
        if (x > (INT64_MAX - 9) / 10) {
            return false;
        }
        x = x * 10 + (*t->p - '0');
    }
    *out = x;
    return t->p > start;
}

static bool
take_shape(text_cursor *t, ptqc_tensor *out)
{
    if (!take_char(t, '(')) {
        return false;
    }
    out->rank = 0;
    while (!take_char(t, ')')) {
        if (out->rank == PTQC_MAX_RANK ||
            !take_number(t, &out->dims[out->rank])) {
            return false;
        }
        out->rank++;
        if (!take_char(t, ',')) {
            return take_char(t, ')');
        }
    }
    return true;
}

static bool
take_descr(text_cursor *t, ptqc_tensor *out)
{
    const char *s;
    size_t n;
    if (!take_string(t, &s, &n)) {
        return false;
    }
    for (size_t i = 0; i < sizeof descrs / sizeof *descrs; i++) {
        if (n == 3 && memcmp(s, descrs[i].descr, 3) == 0) {
            out->dtype = descrs[i].dtype;
            return true;
        }
    }
    out->dtype = PTQC_DTYPE_NONE;
    return true;
}

// {'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), }
static bool
read_header(text_cursor *t, ptqc_tensor *out, bool *out_fortran)
{
    bool has_descr = false, has_order = false, has_shape = false;
    if (!take_char(t, '{')) {
        return false;
    }
    while (!take_char(t, '}')) {
        const char *key;
        size_t n;
        if (!take_string(t, &key, &n) || !take_char(t, ':')) {
            return false;
        }
        bool good = false;
        if (n == 5 && memcmp(key, "descr", 5) == 0) {
            good = has_descr = take_descr(t, out);
        } else if (n == 13 && memcmp(key, "fortran_order", 13) == 0) {
            *out_fortran = take_word(t, "True");
            good = has_order = *out_fortran || take_word(t, "False");
        } else if (n == 5 && memcmp(key, "shape", 5) == 0) {
            good = has_shape = take_shape(t, out);
        }
        if (!good) {
            return false;
        }
        if (!take_char(t, ',')) {
            if (!take_char(t, '}')) {
                return false;
            }
            break;
        }
    }
    return has_descr && has_order && has_shape;
}

// Bytes of the data; false when they overflow.
static bool
data_bytes(const ptqc_tensor *t, size_t *out)
{
    size_t n = cli_dtype_bytes(t->dtype);
    for (uint32_t i = 0; i < t->rank; i++) {
        if (__builtin_mul_overflow(n, (size_t)t->dims[i], &n)) {
            return false;
        }
    }
    *out = n;
    return true;
}

static ptqc_status
bad_npy(cli *c, const char *what, const char *why)
{
    return cli_fail(c, PTQC_E_INPUT, "%s: %s", what, why);
}

ptqc_status
cli_npy_parse(cli *c, const char *what, const void *bytes, size_t count,
              cli_array *out)
{
    const uint8_t *p = bytes;
    *out = (cli_array){0};
    if (count < 10 || memcmp(p, "\x93NUMPY", 6) != 0) {
        return bad_npy(c, what, "no .npy file (wrong magic)");
    }
    size_t start = p[6] == 1 ? 10 : 12;
    if (p[6] < 1 || p[6] > 3 || count < start) {
        return bad_npy(c, what, ".npy version is none of 1, 2, 3");
    }
    size_t n = p[8] | (size_t)p[9] << 8;
    if (p[6] > 1) {
        n |= (size_t)p[10] << 16 | (size_t)p[11] << 24;
    }
    if (n > count - start) {
        return bad_npy(c, what, "the .npy header is cut off");
    }
    text_cursor t = {(const char *)p + start, (const char *)p + start + n};
    ptqc_tensor *tensor = &out->tensor;
    bool fortran = false;
    if (!read_header(&t, tensor, &fortran)) {
        return bad_npy(c, what, "the .npy header cannot be read");
    }
    if (tensor->dtype == PTQC_DTYPE_NONE) {
        return cli_fail(c, PTQC_E_UNSUPPORTED,
                        "%s: expected a little-endian number type in .npy",
                        what);
    }
    if (fortran && tensor->rank > 1) {
        return cli_fail(c, PTQC_E_UNSUPPORTED,
                        "%s: expected C order, found Fortran order", what);
    }
    size_t have = count - start - n;
    if (!data_bytes(tensor, &tensor->bytes) || tensor->bytes > have) {
        return cli_fail(c, PTQC_E_INPUT,
                        "%s: the shape needs more data than the %zu bytes "
                        "that are there",
                        what, have);
    }
    tensor->data = (uint8_t *)(uintptr_t)(p + start + n);
    uint32_t align = cli_dtype_bytes(tensor->dtype);
    if ((uintptr_t)tensor->data % align != 0) {
        out->own = malloc(tensor->bytes > 0 ? tensor->bytes : 1);
        if (out->own == NULL) {
            return cli_fail(c, PTQC_E_RESOURCE, "out of memory");
        }
        memcpy(out->own, tensor->data, tensor->bytes);
        tensor->data = out->own;
    }
    return PTQC_OK;
}

// ---- writing --------------------------------------------------------------

static const char *
descr_of(ptqc_dtype dtype)
{
    for (size_t i = 0; i < sizeof descrs / sizeof *descrs; i++) {
        if (descrs[i].dtype == dtype) {
            return descrs[i].descr;
        }
    }
    return NULL;
}

// Magic, header and padding to a multiple of 64.
static size_t
make_header(const ptqc_tensor *t, const char *descr, char out[512])
{
    int n = snprintf(out + 10, 400,
                     "{'descr': '%s', 'fortran_order': False, "
                     "'shape': (",
                     descr);
    for (uint32_t i = 0; i < t->rank; i++) {
        n += snprintf(out + 10 + n, (size_t)(400 - n), "%lld,%s",
                      (long long)t->dims[i], i + 1 < t->rank ? " " : "");
    }
    n += snprintf(out + 10 + n, (size_t)(400 - n), "), }");
    size_t total = ((size_t)n + 10 + 1 + 63) / 64 * 64;
    memset(out + 10 + n, ' ', total - 10 - (size_t)n);
    out[total - 1] = '\n';
    memcpy(out, "\x93NUMPY\x01\x00", 8);
    out[8] = (char)((total - 10) & 255);
    out[9] = (char)((total - 10) >> 8);
    return total;
}

ptqc_status
cli_npy_write(cli *c, const char *path, const ptqc_tensor *t)
{
    char header[512], temporary[4200];
    const char *descr = descr_of(t->dtype);
    if (descr == NULL) {
        return cli_fail(c, PTQC_E_UNSUPPORTED, "%s: .npy has no type for %s",
                        path, cli_dtype_name(t->dtype));
    }
    int n = snprintf(temporary, sizeof temporary, "%s.%ld.tmp", path,
                     (long)getpid());
    if (n < 0 || (size_t)n >= sizeof temporary) {
        return cli_fail(c, PTQC_E_IO, "path too long");
    }
    FILE *f = fopen(temporary, "wb");
    if (f == NULL) {
        return cli_fail(c, PTQC_E_IO, "%s: %s", path, strerror(errno));
    }
    size_t header_bytes = make_header(t, descr, header);
    bool good = fwrite(header, 1, header_bytes, f) == header_bytes &&
                fwrite(t->data, 1, t->bytes, f) == t->bytes;
    good = fclose(f) == 0 && good;
    if (!good || rename(temporary, path) != 0) {
        int error = errno;
        (void)unlink(temporary);
        return cli_fail(c, PTQC_E_IO, "%s: %s", path, strerror(error));
    }
    return PTQC_OK;
}
