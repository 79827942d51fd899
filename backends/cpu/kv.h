// SPDX-License-Identifier: Apache-2.0
//
// How keys and values lie in states that this plugin alone reads, in lines of
// 64 bytes, so that attention reads each as one forward stream or a few:
//
//   keys    [batch][heads][blocks][d][N]       lines of N tokens
//   values  [batch][heads][panels][tokens][N]  lines of N columns
//   scales  [batch][heads][blocks][64]
//
// N elements fill a line. Tokens beyond the capacity and columns beyond the
// row are padding.
#ifndef PTQC_BACKENDS_CPU_KV_H
#define PTQC_BACKENDS_CPU_KV_H

#include <stdbool.h>
#include <stdint.h>

typedef enum pq_kv_layout {
    PQ_KV_ROWS, // [batch][heads][tokens][d]: as the graph says
    PQ_KV_KEYS,
    PQ_KV_VALUES,
    PQ_KV_SCALES,
    PQ_KV_LAYOUT_COUNT
} pq_kv_layout;

#define PQ_KV_SCALE_TOKENS 64

// N of elements of so many bytes.
static inline int64_t
pq_kv_line(int64_t bytes)
{
    return 64 / bytes;
}

// Lines, or blocks, for n elements of so many bytes.
static inline int64_t
pq_kv_lines(int64_t n, int64_t bytes)
{
    return (n + pq_kv_line(bytes) - 1) / pq_kv_line(bytes);
}

// The state of one head, for writing rows.
typedef struct pq_kv_head {
    pq_kv_layout layout;
    int64_t bytes; // of an element
    int64_t capacity, d;
} pq_kv_head;

// Whether keys or values may have this type: I8 goes with scales.
bool pq_kv_is_dtype(uint32_t dtype);
// Bytes of a head's part; false when they are not a number, or a size is not
// in [0, INT32_MAX).
bool pq_kv_head_bytes(const pq_kv_head *h, int64_t *out);
// Writes row `token` (d elements) into the head's part at `to`.
void pq_kv_put(const pq_kv_head *h, void *to, int64_t token, const void *row);

#endif
