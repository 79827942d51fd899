// SPDX-License-Identifier: Apache-2.0
//
// Hashes, by libxxhash and libcrypto.
#include "base/hash.h"

#include <openssl/evp.h>
#include <xxhash.h>

uint64_t
pq_hash64(const void *p, size_t n)
{
    return XXH3_64bits(p, n);
}

ptqc_status
pq_sha256_of(ptqc_ctx *ctx, const void *p, size_t n, pq_sha256 *out)
{
    unsigned length = 0;
    if (EVP_Digest(n != 0 ? p : "", n, out->bytes, &length, EVP_sha256(),
                   NULL) != 1 ||
        length != sizeof out->bytes) {
        return PQ_FAIL(ctx, PTQC_E_RESOURCE, "libcrypto: SHA-256 failed");
    }
    return PTQC_OK;
}

void
pq_sha256_hex(const pq_sha256 *h, char out[65])
{
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < sizeof h->bytes; i++) {
        out[2 * i] = digits[h->bytes[i] >> 4];
        out[2 * i + 1] = digits[h->bytes[i] & 15];
    }
    out[64] = '\0';
}
