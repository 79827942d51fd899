// SPDX-License-Identifier: Apache-2.0
//
// Products with codes whose scales are per group of k: sums within a group
// are exact integers (docs/numerics.md section 5, per token); a row of real
// numbers becomes fixed point numbers of 15 bits first (section 4).
#include <math.h>
#include <string.h>

#include "base/mathfn.h"
#include "ir/interp/eval.h"

#define CODE_MAX 16256.0f // 127 * 128: two signed digits of 8 and 7 bits

// -> the scale of the row.
static float
fix_row(const float *a, int64_t k, int16_t *out)
{
    float most = 0.0f;
    for (int64_t i = 0; i < k; i++) {
        most = pq_maxf(fabsf(a[i]), most);
    }
    float scale = most / CODE_MAX;
    scale = scale < 0x1p-126f ? 0.0f : scale; // NaN stays
    float inverse = scale == 0.0f ? 0.0f : 1.0f / scale;
    for (int64_t i = 0; i < k; i++) {
        out[i] = (int16_t)pq_round_code(a[i] * inverse, -CODE_MAX, CODE_MAX);
    }
    return scale;
}

// The sums of PQ_PANEL columns, without the row's scale.
static void
sum_groups(const pq_group_product *p, const int16_t *row, const int16_t *panel,
           int64_t column, float *acc)
{
    const pq_rows *rows = pq_rows_get();
    int64_t groups = (p->k + p->group - 1) / p->group;
    for (int64_t g = 0; g < groups; g++) {
        int64_t first = g * p->group;
        int64_t length = p->k - first < p->group ? p->k - first : p->group;
        uint32_t sum[PQ_PANEL] = {0};
        rows->dot_i16(sum, row + first, panel + first * PQ_PANEL, length);
        for (int64_t j = 0; j < PQ_PANEL && column + j < p->n; j++) {
            float scale =
                p->scale[(column + j) * p->column_stride + g * p->group_stride];
            acc[j] = fmaf((float)(int32_t)sum[j], scale, acc[j]);
        }
    }
}

static void
product_row(const pq_group_product *p, const int16_t *row,
            const int16_t *packed, float *c)
{
    for (int64_t j = 0; j < p->n; j += PQ_PANEL) {
        float acc[PQ_PANEL] = {0};
        int64_t width = p->n - j < PQ_PANEL ? p->n - j : PQ_PANEL;
        sum_groups(p, row, packed + j * p->k, j, acc);
        memcpy(c + j, acc, (size_t)width * sizeof *acc);
    }
}

void
pq_product_groups(const pq_group_product *p, const int16_t *a,
                  const int16_t *packed, float *c)
{
    for (int64_t i = 0; i < p->m; i++) {
        product_row(p, a + i * p->k, packed, c + i * p->n);
    }
}

void
pq_product_fixed(const pq_group_product *p, const float *a,
                 const int16_t *packed, int16_t *row, float *c)
{
    for (int64_t i = 0; i < p->m; i++, a += p->k, c += p->n) {
        float scale = fix_row(a, p->k, row);
        product_row(p, row, packed, c);
        for (int64_t j = 0; j < p->n; j++) {
            c[j] = c[j] * scale;
        }
    }
}
