// SPDX-License-Identifier: Apache-2.0
//
// Dense bit streams of codes, see pack.h.

#include "quant/pack.h"

#include <string.h>

size_t
pq_packed_bytes(size_t count, unsigned bits)
{
    return count / 8 * bits + (count % 8 * bits + 7) / 8;
}

void
pq_pack_row(const uint8_t *codes, size_t count, unsigned bits, uint8_t *out)
{
    const uint32_t mask = (1u << bits) - 1;
    uint32_t pending = 0; // bits not yet written, lowest first
    unsigned have = 0;
    for (size_t k = 0; k < count; k++) {
        pending |= (codes[k] & mask) << have;
        have += bits;
        if (have >= 8) {
            *out++ = (uint8_t)pending;
            pending >>= 8;
            have -= 8;
        }
    }
    if (have > 0) {
        *out = (uint8_t)pending;
    }
}

void
pq_unpack_row(const uint8_t *packed, size_t count, unsigned bits,
              bool is_signed, uint8_t *out)
{
    const uint32_t mask = (1u << bits) - 1;
    const uint32_t sign = is_signed ? 1u << (bits - 1) : 0;
    uint32_t pending = 0;
    unsigned have = 0;
    for (size_t k = 0; k < count; k++) {
        if (have < bits) {
            pending |= (uint32_t)*packed++ << have;
            have += 8;
        }
        // (u ^ sign) - sign extends the sign bit.
        out[k] = (uint8_t)(((pending & mask) ^ sign) - sign);
        pending >>= bits;
        have -= bits;
    }
}
