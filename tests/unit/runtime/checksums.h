// SPDX-License-Identifier: Apache-2.0
//
// Makes the checksums of a damaged artifact right again, as far as its
// section table allows, so that what lies behind them is tested, too. Shared
// by the runtime's tests and the fuzz target.
#ifndef PTQC_TESTS_RUNTIME_CHECKSUMS_H
#define PTQC_TESTS_RUNTIME_CHECKSUMS_H

#include <string.h>

#include "base/ctx.h"
#include "runtime/container.h"

static inline void
pq_fix_constants(uint8_t *p, const pq_file_header *h)
{
    const pq_file_section *table = &h->sections[PQ_SECTION_CONSTANTS];
    const pq_file_section *data = &h->sections[PQ_SECTION_DATA];
    for (uint64_t at = 0; at + sizeof(pq_file_constant) <= table->bytes;
         at += sizeof(pq_file_constant)) {
        pq_file_constant c;
        memcpy(&c, p + table->offset + at, sizeof c);
        if (c.offset <= data->bytes && c.bytes <= data->bytes - c.offset) {
            c.xxh3 = pq_hash64(p + data->offset + c.offset, c.bytes);
            memcpy(p + table->offset + at, &c, sizeof c);
        }
    }
}

static inline void
pq_fix_checksums(ptqc_ctx *ctx, uint8_t *p, size_t count)
{
    pq_file_header h;
    pq_sha256 hash;
    if (count < sizeof h) {
        return;
    }
    memcpy(&h, p, sizeof h);
    for (unsigned i = 0; i < PQ_SECTION_COUNT; i++) {
        if (h.sections[i].offset > count ||
            h.sections[i].bytes > count - h.sections[i].offset) {
            return;
        }
    }
    pq_fix_constants(p, &h);
    size_t at = offsetof(pq_file_header, sha256);
    size_t tables = h.sections[PQ_SECTION_META].offset;
    size_t n = PQ_DATA_OFFSET + (count - tables);
    uint8_t *front = pq_alloc(ctx, n);
    if (count < PQ_DATA_OFFSET || front == NULL) {
        pq_free(ctx, front);
        return;
    }
    memset(p + at, 0, sizeof h.sha256);
    memcpy(front, p, PQ_DATA_OFFSET);
    memcpy(front + PQ_DATA_OFFSET, p + tables, count - tables);
    if (pq_sha256_of(ctx, front, n, &hash) == PTQC_OK) {
        memcpy(p + at, hash.bytes, sizeof hash.bytes);
    }
    pq_free(ctx, front);
}

#endif
