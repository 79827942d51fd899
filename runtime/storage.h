// SPDX-License-Identifier: Apache-2.0
//
// Memory that values lie in: the host's, or that of a device which the host
// reaches only through its plugin (buf_*). Sessions give every value a storage
// in each memory whose programs use it and copy between them at points that
// are planned per shape (transfer.c).
#ifndef PTQC_RUNTIME_STORAGE_H
#define PTQC_RUNTIME_STORAGE_H

#include "runtime/plugins.h"

#define PQ_HOST_MEMORY 0u // index of the host's memory in a session

typedef struct pq_memory {
    const pq_plugin *plugin; // borrowed; NULL: the host's memory
    char device[128];        // "vulkan:0"
} pq_memory;

// Bytes in one memory; all NULL = none. What `is_borrowed` says belongs to
// somebody else (a state to its session, a bound input to the caller).
typedef struct pq_storage {
    void *host;
    ptqc_buffer *buf;
    bool is_borrowed;
} pq_storage;

// Zeroed. `align` is a power of two.
PTQC_MUST_USE ptqc_status pq_storage_alloc(ptqc_ctx *ctx,
                                           const pq_memory *memory,
                                           uint64_t bytes, uint64_t align,
                                           pq_storage *out);
// Frees what is owned and makes it empty.
void pq_storage_free(ptqc_ctx *ctx, const pq_memory *memory, pq_storage *s);
bool pq_storage_is_empty(const pq_storage *s);
PTQC_MUST_USE ptqc_status pq_storage_zero(ptqc_ctx *ctx,
                                          const pq_memory *memory,
                                          const pq_storage *s, uint64_t bytes);
// One of the two is the host's memory: an upload or a download.
PTQC_MUST_USE ptqc_status pq_storage_copy(ptqc_ctx *ctx,
                                          const pq_memory *from_memory,
                                          const pq_storage *from,
                                          const pq_memory *to_memory,
                                          const pq_storage *to, uint64_t bytes);

#endif
