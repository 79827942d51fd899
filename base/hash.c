// SPDX-License-Identifier: Apache-2.0
//
// Hashes, by libxxhash and libcrypto.
#include "base/hash.h"

#include <openssl/evp.h>
#include <xxhash.h>

// Between two pieces a hash can be cancelled: each takes about 20 ms.
#define PIECE_BYTES ((size_t)32 << 20)

uint64_t
pq_hash64(const void *p, size_t n)
{
    return XXH3_64bits(p, n);
}

static ptqc_status
fail(ptqc_ctx *ctx)
{
    return PQ_FAIL(ctx, PTQC_E_RESOURCE, "libcrypto: SHA-256 failed");
}

static ptqc_status
digest(ptqc_ctx *ctx, EVP_MD_CTX *md, const uint8_t *p, size_t n,
       pq_sha256 *out)
{
    unsigned length = 0;
    if (EVP_DigestInit_ex(md, EVP_sha256(), NULL) != 1) {
        return fail(ctx);
    }
    for (size_t at = 0; at < n;) {
        size_t piece = n - at < PIECE_BYTES ? n - at : PIECE_BYTES;
        if (at != 0) {
            PQ_TRY(pq_check_cancelled(ctx));
        }
        if (EVP_DigestUpdate(md, p + at, piece) != 1) {
            return fail(ctx);
        }
        at += piece;
    }
    return EVP_DigestFinal_ex(md, out->bytes, &length) == 1 &&
                   length == sizeof out->bytes
               ? PTQC_OK
               : fail(ctx);
}

ptqc_status
pq_sha256_of(ptqc_ctx *ctx, const void *p, size_t n, pq_sha256 *out)
{
    EVP_MD_CTX *md = EVP_MD_CTX_new();
    ptqc_status st = md != NULL ? digest(ctx, md, p, n, out) : fail(ctx);
    EVP_MD_CTX_free(md); // NULL allowed
    return st;
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
