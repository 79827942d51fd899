// SPDX-License-Identifier: Apache-2.0
//
// Lookup of bytes in a table of 256. With AVX2 the table is 16 rows of 16
// bytes; for row i, x - 16 i is an index of 0..15 where x belongs to the row.
// Adding 112 with saturation leaves the low four bits of such an index and
// sets the highest bit of all others, for which the byte shuffle gives 0; the
// 16 results are or-ed. 32 bytes take about 20 cycles against 50 of loads.
#include <string.h>

#include "expr.h"

#if defined(__x86_64__)
#include <immintrin.h>

// Maps whole groups of 32 bytes -> bytes done.
__attribute__((target("avx2"))) static int64_t
lookup_groups(const uint8_t table[256], const uint8_t *in, uint8_t *out,
              int64_t n)
{
    __m256i rows[16];
    for (int i = 0; i < 16; i++) {
        rows[i] = _mm256_broadcastsi128_si256(
            _mm_loadu_si128((const __m128i *)(const void *)(table + 16 * i)));
    }
    const __m256i step = _mm256_set1_epi8(16);
    const __m256i bias = _mm256_set1_epi8(112);
    int64_t done = 0;
    for (; done + 32 <= n; done += 32) {
        __m256i x =
            _mm256_loadu_si256((const __m256i *)(const void *)(in + done));
        __m256i y = _mm256_setzero_si256();
        for (int i = 0; i < 16; i++) {
            __m256i index = _mm256_adds_epu8(x, bias);
            y = _mm256_or_si256(y, _mm256_shuffle_epi8(rows[i], index));
            x = _mm256_sub_epi8(x, step);
        }
        _mm256_storeu_si256((__m256i *)(void *)(out + done), y);
    }
    return done;
}
#else
static int64_t
lookup_groups(const uint8_t table[256], const uint8_t *in, uint8_t *out,
              int64_t n)
{
    (void)table;
    (void)in;
    (void)out;
    (void)n;
    return 0;
}
#endif

void
pq_lookup8_run(const uint8_t table[256], const uint8_t *in, uint8_t *out,
               int64_t n, const pq_worker *worker)
{
    pq_range range = pq_worker_range(worker, n, 64);
    int64_t i = range.begin;
    i += lookup_groups(table, in + i, out + i, range.end - i);
    for (; i < range.end; i++) {
        out[i] = table[in[i]];
    }
}
