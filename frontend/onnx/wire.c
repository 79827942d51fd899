// SPDX-License-Identifier: Apache-2.0
//
// The protobuf cursor. Lengths are compared with the bytes that are left, so
// nothing a file says can move the cursor out of its span.
#include "frontend/onnx/wire.h"

#include "base/bits.h"

enum {
    VARINT_BYTES = 10, // of 64 bits, 7 a byte
};

void
pq_wire_init(pq_wire *w, const void *p, size_t n, pq_wire_error *error)
{
    const uint8_t *bytes = p;
    *w = (pq_wire){bytes, bytes, bytes == NULL ? NULL : bytes + n, error};
}

pq_wire
pq_wire_nested(const pq_wire *w, pq_span bytes)
{
    return (pq_wire){w->base, bytes.p,
                     bytes.p == NULL ? NULL : bytes.p + bytes.n, w->error};
}

void
pq_wire_fail(pq_wire *w, size_t offset, const char *expected, const char *found,
             uint64_t number)
{
    if (w->error->expected == NULL) {
        *w->error = (pq_wire_error){expected, found, number, offset};
    }
    w->p = w->end;
}

bool
pq_wire_failed(const pq_wire *w)
{
    return w->error->expected != NULL;
}

static size_t
offset_of(const pq_wire *w)
{
    return (size_t)(w->p - w->base);
}

static size_t
left(const pq_wire *w)
{
    return (size_t)(w->end - w->p);
}

// Ten bytes at most; bits above 63 must be zero.
static uint64_t
read_varint(pq_wire *w)
{
    uint64_t value = 0;
    size_t start = offset_of(w);
    for (unsigned i = 0; i < VARINT_BYTES; i++) {
        if (w->p == w->end) {
            pq_wire_fail(w, start, "a whole varint", "the end after byte", i);
            return 0;
        }
        uint8_t byte = *w->p++;
        if (i == VARINT_BYTES - 1 && byte > 1) {
            break;
        }
        value |= (uint64_t)(byte & 0x7f) << (7 * i);
        if (byte < 0x80) {
            return value;
        }
    }
    pq_wire_fail(w, start, "a varint of 64 bits",
                 "more than bytes:", VARINT_BYTES);
    return 0;
}

static uint64_t
read_fixed(pq_wire *w, size_t bytes)
{
    if (left(w) < bytes) {
        pq_wire_fail(w, offset_of(w), "a number of 4 or 8 bytes",
                     "bytes that are left:", left(w));
        return 0;
    }
    uint64_t value = bytes == 8 ? pq_load_le64(w->p) : pq_load_le32(w->p);
    w->p += bytes;
    return value;
}

static pq_span
read_bytes(pq_wire *w)
{
    size_t start = offset_of(w);
    uint64_t n = read_varint(w);
    if (pq_wire_failed(w)) {
        return (pq_span){NULL, 0};
    }
    if (n > left(w)) {
        pq_wire_fail(w, start, "a length within the enclosing message",
                     "length", n);
        return (pq_span){NULL, 0};
    }
    pq_span span = {w->p, (size_t)n};
    w->p += n;
    return span;
}

bool
pq_wire_next(pq_wire *w, pq_wire_field *out)
{
    if (pq_wire_failed(w) || w->p == w->end) {
        return false;
    }
    *out = (pq_wire_field){.offset = offset_of(w)};
    uint64_t key = read_varint(w);
    if (pq_wire_failed(w)) {
        return false;
    }
    uint64_t number = key >> 3;
    if (number == 0 || number > 0x1fffffff) {
        pq_wire_fail(w, out->offset, "a field number from 1 to 2^29-1", "field",
                     number);
        return false;
    }
    out->number = (uint32_t)number;
    out->type = (pq_wire_type)(key & 7);
    switch (key & 7) {
    case PQ_WIRE_VARINT:
        out->value = read_varint(w);
        break;
    case PQ_WIRE_FIXED64:
        out->value = read_fixed(w, 8);
        break;
    case PQ_WIRE_BYTES:
        out->bytes = read_bytes(w);
        break;
    case PQ_WIRE_FIXED32:
        out->value = read_fixed(w, 4);
        break;
    default:
        pq_wire_fail(w, out->offset, "a wire type of 0, 1, 2 or 5", "wire type",
                     key & 7);
        break;
    }
    return !pq_wire_failed(w);
}

bool
pq_wire_expect(pq_wire *w, const pq_wire_field *f, pq_wire_type type)
{
    static const char *const expected[] = {"a number (wire type 0)",
                                           "eight bytes (wire type 1)",
                                           "bytes (wire type 2)",
                                           NULL,
                                           NULL,
                                           "four bytes (wire type 5)"};
    if (f->type != type) {
        pq_wire_fail(w, f->offset, expected[type], "wire type", f->type);
    }
    return f->type == type;
}

bool
pq_wire_packed_next(pq_wire *w, pq_wire_type type, uint64_t *out)
{
    if (pq_wire_failed(w) || w->p == w->end) {
        return false;
    }
    *out = type == PQ_WIRE_VARINT
               ? read_varint(w)
               : read_fixed(w, type == PQ_WIRE_FIXED64 ? 8 : 4);
    return !pq_wire_failed(w);
}

size_t
pq_wire_packed_count(const pq_wire *w, pq_span bytes, pq_wire_type type)
{
    pq_wire packed = pq_wire_nested(w, bytes);
    if (type == PQ_WIRE_VARINT) {
        size_t count = 0;
        for (size_t i = 0; i < bytes.n; i++) {
            count += bytes.p[i] < 0x80;
        }
        if (bytes.n != 0 && bytes.p[bytes.n - 1] >= 0x80) {
            pq_wire_fail(&packed, offset_of(&packed), "whole varints",
                         "an unfinished one, the last after number", count);
            return 0;
        }
        return count;
    }
    size_t size = type == PQ_WIRE_FIXED64 ? 8 : 4;
    if (bytes.n % size != 0) {
        pq_wire_fail(&packed, offset_of(&packed), "whole numbers",
                     "a field whose bytes are", bytes.n);
        return 0;
    }
    return bytes.n / size;
}
