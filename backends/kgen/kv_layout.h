// SPDX-License-Identifier: Apache-2.0
//
// How keys and values lie in states that one plugin alone reads, in lines of
// 64 bytes, so that attention reads each as one forward stream or a few:
//
//   keys    [batch][heads][blocks][d][N]       lines of N tokens
//   values  [batch][heads][panels][tokens][N]  lines of N columns
//   scales  [batch][heads][blocks][64]
//
// N elements fill a line. Tokens beyond the capacity and columns beyond the
// row are padding.
#ifndef PTQC_BACKENDS_KGEN_KV_LAYOUT_H
#define PTQC_BACKENDS_KGEN_KV_LAYOUT_H

#include <stdbool.h>
#include <stdint.h>

#include "ptqc/types.h"

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

// Whether keys or values may have this type: I8 goes with scales.
static inline bool
pq_kv_is_dtype(uint32_t dtype)
{
    return dtype == PTQC_F32 || dtype == PTQC_F16 || dtype == PTQC_BF16 ||
           dtype == PTQC_I8;
}

#endif
