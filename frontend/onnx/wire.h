// SPDX-License-Identifier: Apache-2.0
//
// Bounded reader of the protobuf wire format (protobuf.dev, "Encoding"): a
// cursor over bytes that never reads past its end, never copies and never
// allocates. The first fault sticks; every later read gives zero.
//
//   field = varint (number << 3 | type), then
//     type 0 varint | type 1 eight bytes | type 2 varint length, bytes |
//     type 5 four bytes.            (3, 4: groups, refused; 6, 7: invalid)
#ifndef PTQC_FRONTEND_ONNX_WIRE_H
#define PTQC_FRONTEND_ONNX_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum pq_wire_type {
    PQ_WIRE_VARINT = 0,
    PQ_WIRE_FIXED64 = 1,
    PQ_WIRE_BYTES = 2,
    PQ_WIRE_FIXED32 = 5,
} pq_wire_type;

typedef struct pq_span {
    const uint8_t *p;
    size_t n;
} pq_span;

// What stopped a cursor, for the message of its owner.
typedef struct pq_wire_error {
    const char *expected; // NULL: no error
    const char *found;    // words before the number
    uint64_t number;
    size_t offset; // in the file
} pq_wire_error;

typedef struct pq_wire {
    const uint8_t *base; // start of the file, for offsets in messages
    const uint8_t *p, *end;
    pq_wire_error *error; // shared by nested cursors, sticky
} pq_wire;

typedef struct pq_wire_field {
    uint32_t number;
    pq_wire_type type;
    uint64_t value; // VARINT, FIXED64, FIXED32
    pq_span bytes;  // BYTES
    size_t offset;  // of the field's key in the file
} pq_wire_field;

void pq_wire_init(pq_wire *w, const void *p, size_t n, pq_wire_error *error);
// A cursor over bytes of the same file.
pq_wire pq_wire_nested(const pq_wire *w, pq_span bytes);
// false at the end or after an error.
bool pq_wire_next(pq_wire *w, pq_wire_field *out);
// Sets the error when there is none yet; texts are static.
void pq_wire_fail(pq_wire *w, size_t offset, const char *expected,
                  const char *found, uint64_t number);
bool pq_wire_failed(const pq_wire *w);
// Whether the field has the type; sets the error when not.
bool pq_wire_expect(pq_wire *w, const pq_wire_field *f, pq_wire_type type);

// Raw numbers of a packed field: true and a number until the end.
bool pq_wire_packed_next(pq_wire *w, pq_wire_type type, uint64_t *out);
// How many numbers a packed field holds; 0 with the error set when it ends
// inside one.
size_t pq_wire_packed_count(const pq_wire *w, pq_span bytes, pq_wire_type type);

#endif
