// SPDX-License-Identifier: Apache-2.0
//
// The ref plugin's program, little-endian:
//
//   header | ids: u64 [constant_count] | entries: {u64 offset, u64 bytes}
//   [entry_count] | graph blocks, each at a multiple of 8
//
// ids are the graph constants that were emitted, ascending, in the order of
// their emission; the graph blocks refer to them by id. `hash` is the XXH3-64
// of everything behind it.
#ifndef PTQC_BACKENDS_REF_BLOB_H
#define PTQC_BACKENDS_REF_BLOB_H

#include <stdint.h>

#define REF_BLOB_MAGIC   0x42524651u // "QFRB"
#define REF_BLOB_VERSION 1u

typedef struct pq_ref_blob {
    uint32_t magic;
    uint32_t version;
    uint64_t hash; // of the bytes from total_bytes on
    uint64_t total_bytes;
    uint32_t constant_count;
    uint32_t entry_count;
} pq_ref_blob;

typedef struct pq_ref_entry {
    uint64_t offset; // from the start of the blob
    uint64_t bytes;
} pq_ref_entry;

#define REF_BLOB_HASHED_FROM 16u // offset of total_bytes

#endif
