// SPDX-License-Identifier: Apache-2.0
//
// Hashes: XXH3 for tables and cache keys, SHA-256 (libcrypto) for content
// and provenance.
#ifndef PTQC_BASE_HASH_H
#define PTQC_BASE_HASH_H

#include <stddef.h>
#include <stdint.h>

#include "base/ctx.h"

uint64_t pq_hash64(const void *p, size_t n);

typedef struct pq_sha256 {
    uint8_t bytes[32];
} pq_sha256;

// PTQC_E_CANCELLED only of many bytes.
PTQC_MUST_USE ptqc_status pq_sha256_of(ptqc_ctx *ctx, const void *p, size_t n,
                                       pq_sha256 *out);
// 64 hexadecimal digits and a NUL.
void pq_sha256_hex(const pq_sha256 *h, char out[65]);

#endif
