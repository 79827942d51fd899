// SPDX-License-Identifier: Apache-2.0
//
// One member of a .npz: a ZIP archive (APPNOTE 6.3) of .npy files, stored or
// deflated. The central directory is believed only as far as the bytes reach.

#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "cli/array.h"

#define END_BYTES   22u
#define ENTRY_BYTES 46u
#define LOCAL_BYTES 30u
// Deflate cannot do better than about 1:1032.
#define RATIO_LIMIT 1100u

static uint32_t
u16(const uint8_t *p)
{
    return p[0] | (uint32_t)p[1] << 8;
}

static uint32_t
u32(const uint8_t *p)
{
    return u16(p) | u16(p + 2) << 16;
}

typedef struct member {
    uint32_t method, packed, size, offset;
    bool found;
    uint32_t count; // members seen
} member;

static const uint8_t *
find_end(const uint8_t *p, size_t n)
{
    size_t stop = n > END_BYTES + 65535 ? n - END_BYTES - 65535 : 0;
    for (size_t i = n >= END_BYTES ? n - END_BYTES + 1 : 0; i > stop; i--) {
        if (u32(p + i - 1) == 0x06054b50u) {
            return p + i - 1;
        }
    }
    return NULL;
}

// key matches "key" and "key.npy".
static bool
is_named(const uint8_t *name, size_t n, const char *key)
{
    size_t k = strlen(key);
    return (n == k && memcmp(name, key, k) == 0) ||
           (n == k + 4 && memcmp(name, key, k) == 0 &&
            memcmp(name + k, ".npy", 4) == 0);
}

static bool
find_member(const uint8_t *p, size_t n, const char *key, member *out)
{
    const uint8_t *end = find_end(p, n);
    if (end == NULL) {
        return false;
    }
    uint32_t entries = u16(end + 10);
    size_t at = u32(end + 16);
    for (uint32_t i = 0; i < entries; i++) {
        if (at > n || n - at < ENTRY_BYTES || u32(p + at) != 0x02014b50u) {
            return false;
        }
        const uint8_t *e = p + at;
        size_t name = u16(e + 28), extra = u16(e + 30), comment = u16(e + 32);
        if (n - at - ENTRY_BYTES < name + extra + comment) {
            return false;
        }
        out->count++;
        if (!out->found &&
            (key == NULL || is_named(e + ENTRY_BYTES, name, key))) {
            *out = (member){.method = u16(e + 10),
                            .packed = u32(e + 20),
                            .size = u32(e + 24),
                            .offset = u32(e + 42),
                            .found = true,
                            .count = out->count};
        }
        at += ENTRY_BYTES + name + extra + comment;
    }
    return true;
}

static bool
inflate_into(const uint8_t *from, uint32_t packed, uint8_t *to, uint32_t size)
{
    z_stream z = {.next_in = (uint8_t *)(uintptr_t)from,
                  .avail_in = packed,
                  .next_out = to,
                  .avail_out = size};
    if (inflateInit2(&z, -MAX_WBITS) != Z_OK) {
        return false;
    }
    int result = inflate(&z, Z_FINISH);
    bool good = result == Z_STREAM_END && z.avail_out == 0;
    inflateEnd(&z);
    return good;
}

static ptqc_status
bad_npz(cli *c, const char *what, const char *why)
{
    return cli_fail(c, PTQC_E_INPUT, "%s: %s", what, why);
}

static ptqc_status
extract(cli *c, const char *what, const uint8_t *p, size_t n, const member *m,
        void **out, size_t *out_count)
{
    if (m->offset > n || n - m->offset < LOCAL_BYTES ||
        u32(p + m->offset) != 0x04034b50u) {
        return bad_npz(c, what, "a .npz member points outside the file");
    }
    const uint8_t *local = p + m->offset;
    size_t start = m->offset + LOCAL_BYTES + u16(local + 26) + u16(local + 28);
    if (start > n || n - start < m->packed) {
        return bad_npz(c, what, "a .npz member is cut off");
    }
    if (m->method != 0 && m->method != 8) {
        return bad_npz(c, what, "a .npz member is neither stored nor deflated");
    }
    if ((m->method == 0 && m->packed != m->size) ||
        m->size / RATIO_LIMIT > m->packed) {
        return bad_npz(c, what, "the sizes of a .npz member contradict");
    }
    uint8_t *to = malloc(m->size > 0 ? m->size : 1);
    if (to == NULL) {
        return cli_fail(c, PTQC_E_RESOURCE, "out of memory");
    }
    if (m->method == 0) {
        memcpy(to, p + start, m->size);
    } else if (!inflate_into(p + start, m->packed, to, m->size)) {
        free(to);
        return bad_npz(c, what, "a .npz member does not inflate");
    }
    *out = to;
    *out_count = m->size;
    return PTQC_OK;
}

ptqc_status
cli_npz_member(cli *c, const char *what, const void *bytes, size_t count,
               const char *key, void **out, size_t *out_count)
{
    member m = {0};
    if (!find_member(bytes, count, key, &m)) {
        return bad_npz(c, what, "no .npz file (no ZIP directory)");
    }
    if (!m.found) {
        return bad_npz(c, what, "no such array in the .npz file");
    }
    if (key == NULL && m.count != 1) {
        return cli_fail(c, PTQC_E_USAGE,
                        "%s: holds %u arrays; name one as FILE.npz:KEY", what,
                        m.count);
    }
    return extract(c, what, bytes, count, &m, out, out_count);
}
