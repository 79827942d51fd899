// SPDX-License-Identifier: Apache-2.0
//
// Rows into the layouts of kgen/kv_layout.h.
#include "kv.h"

#include <string.h>

#include "base/checked.h"

bool
pq_kv_head_bytes(const pq_kv_head *h, int64_t *out)
{
    int64_t tokens = 1, columns = h->d, bytes = 0;
    if (h->capacity < 0 || h->capacity >= INT32_MAX || h->d < 0 ||
        h->d >= INT32_MAX) {
        return false;
    }
    switch (h->layout) {
    case PQ_KV_KEYS:
        tokens = pq_kv_line(h->bytes);
        break;
    case PQ_KV_VALUES:
        columns = pq_kv_lines(h->d, h->bytes) * pq_kv_line(h->bytes);
        break;
    case PQ_KV_SCALES:
        tokens = PQ_KV_SCALE_TOKENS;
        break;
    case PQ_KV_ROWS:
    case PQ_KV_LAYOUT_COUNT:
        break;
    }
    tokens *= (h->capacity + tokens - 1) / tokens;
    return pq_mul_i64(tokens, columns, &bytes) &&
           pq_mul_i64(bytes, h->bytes, out);
}

#define SCATTER(type)                                                          \
    for (int64_t i = 0; i < d; i++) {                                          \
        ((type *)to)[i * tokens] = ((const type *)row)[i];                     \
    }

// One lane of the lines of a block.
static void
put_key(void *to, int64_t bytes, int64_t d, const void *row)
{
    int64_t tokens = pq_kv_line(bytes);
    if (bytes == 1) {
        SCATTER(uint8_t)
    } else if (bytes == 2) {
        SCATTER(uint16_t)
    } else {
        SCATTER(uint32_t)
    }
}

static void
put_value(const pq_kv_head *h, uint8_t *to, int64_t token, const uint8_t *row)
{
    int64_t columns = pq_kv_line(h->bytes);
    for (int64_t at = 0; at < h->d; at += columns) {
        int64_t n = h->d - at < columns ? h->d - at : columns;
        memcpy(to + token * columns * h->bytes, row + at * h->bytes,
               (size_t)(n * h->bytes));
        to += h->capacity * columns * h->bytes;
    }
}

void
pq_kv_put(const pq_kv_head *h, void *to, int64_t token, const void *row)
{
    uint8_t *p = to;
    if (h->layout == PQ_KV_KEYS) {
        int64_t tokens = pq_kv_line(h->bytes);
        int64_t block = token / tokens, lane = token % tokens;
        put_key(p + (block * h->d * tokens + lane) * h->bytes, h->bytes, h->d,
                row);
    } else if (h->layout == PQ_KV_VALUES) {
        put_value(h, p, token, row);
    } else { // scales are rows of one element
        memcpy(p + token * h->d * h->bytes, row, (size_t)(h->d * h->bytes));
    }
}
