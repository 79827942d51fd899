// SPDX-License-Identifier: Apache-2.0
//
// Matrix products over packed panels of 32 columns: one accumulator per
// output element, terms in ascending k (docs/numerics.md section 4).
#include <string.h>

#include "ir/interp/eval.h"

// Element (i, j) of b is at b[i * stride_k + j * stride_n].
static void
pack(const uint8_t *b, int64_t k, int64_t n, bool is_transposed, size_t size,
     uint8_t *out)
{
    int64_t stride_k = is_transposed ? 1 : n;
    int64_t stride_n = is_transposed ? k : 1;
    size_t row = PQ_PANEL * size;
    for (int64_t j = 0; j < n; j += PQ_PANEL) {
        int64_t width = n - j < PQ_PANEL ? n - j : PQ_PANEL;
        for (int64_t i = 0; i < k; i++, out += row) {
            const uint8_t *from =
                b + (size_t)(i * stride_k + j * stride_n) * size;
            pq_copy_strided(out, from, width, stride_n, size);
            memset(out + (size_t)width * size, 0, row - (size_t)width * size);
        }
    }
}

void
pq_pack_f32(const float *b, int64_t k, int64_t n, bool is_transposed,
            float *out)
{
    pack((const uint8_t *)b, k, n, is_transposed, sizeof *b, (uint8_t *)out);
}

void
pq_pack_i16(const int16_t *b, int64_t k, int64_t n, bool is_transposed,
            int16_t *out)
{
    pack((const uint8_t *)b, k, n, is_transposed, sizeof *b, (uint8_t *)out);
}

void
pq_product_f32(const float *a, const float *packed, int64_t m, int64_t k,
               int64_t n, float *c)
{
    const pq_rows *rows = pq_rows_get();
    for (int64_t j = 0; j < n; j += PQ_PANEL, packed += k * PQ_PANEL) {
        size_t width = (size_t)(n - j < PQ_PANEL ? n - j : PQ_PANEL);
        for (int64_t i = 0; i < m; i++) {
            float acc[PQ_PANEL] = {0};
            rows->dot_f32(acc, a + i * k, packed, k);
            memcpy(c + i * n + j, acc, width * sizeof *acc);
        }
    }
}

void
pq_product_i16(const int16_t *a, const int16_t *packed, int64_t m, int64_t k,
               int64_t n, int32_t *c)
{
    const pq_rows *rows = pq_rows_get();
    for (int64_t j = 0; j < n; j += PQ_PANEL, packed += k * PQ_PANEL) {
        size_t width = (size_t)(n - j < PQ_PANEL ? n - j : PQ_PANEL);
        for (int64_t i = 0; i < m; i++) {
            uint32_t acc[PQ_PANEL] = {0};
            rows->dot_i16(acc, a + i * k, packed, k);
            memcpy(c + i * n + j, acc, width * sizeof *acc);
        }
    }
}
