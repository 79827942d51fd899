// SPDX-License-Identifier: Apache-2.0
//
// Bytes that outgrow memory for a while: a file without a name, gone when it
// is closed or the process ends. Written and read in pieces, so that they lie
// in the page cache and not in the process.
//
// Every error names the file, or the folder of one without a name.
//
// Threads: one at a time; pq_scratch_try_read beside others
// of its kind.
#ifndef PTQC_BASE_SCRATCH_H
#define PTQC_BASE_SCRATCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/file.h"

typedef struct pq_scratch pq_scratch;

// In `dir`; NULL: in memory of the context, which counts towards its limit.
PTQC_MUST_USE ptqc_status pq_scratch_open(ptqc_ctx *ctx, const char *dir,
                                          pq_scratch **out);
// With a name, under which it stays when it is closed. What was there is
// replaced.
PTQC_MUST_USE ptqc_status pq_scratch_create(ptqc_ctx *ctx, const char *path,
                                            pq_scratch **out);
// One of those again, all its bytes as they were appended. PTQC_NO: there is
// no such file.
PTQC_MUST_USE ptqc_status pq_scratch_reopen(ptqc_ctx *ctx, const char *path,
                                            pq_scratch **out);
uint64_t pq_scratch_bytes(const pq_scratch *s);
void pq_scratch_close(pq_scratch *s); // NULL allowed
// Appends n bytes; *out_offset is where they begin.
PTQC_MUST_USE ptqc_status pq_scratch_append(pq_scratch *s, const void *p,
                                            size_t n, uint64_t *out_offset);
// n bytes that were appended by one call, to p.
PTQC_MUST_USE ptqc_status pq_scratch_read(pq_scratch *s, uint64_t offset,
                                          void *p, size_t n);
// The same by any thread, saying nothing; false: it failed.
bool pq_scratch_try_read(const pq_scratch *s, uint64_t offset, void *p,
                         size_t n);
// All bytes as a map, which outlives the scratch; PTQC_NO: they lie in memory.
PTQC_MUST_USE ptqc_status pq_scratch_map(pq_scratch *s, pq_map *out);

#endif
