// SPDX-License-Identifier: Apache-2.0
//
// Writing rows into states with a layout of their own (kgen/kv_layout.h).
#ifndef PTQC_BACKENDS_CPU_KV_H
#define PTQC_BACKENDS_CPU_KV_H

#include <stdbool.h>
#include <stdint.h>

#include "backends/kgen/kv_layout.h"

// The state of one head, for writing rows.
typedef struct pq_kv_head {
    pq_kv_layout layout;
    int64_t bytes; // of an element
    int64_t capacity, d;
} pq_kv_head;

// Bytes of a head's part; false when they are not a number, or a size is not
// in [0, INT32_MAX).
bool pq_kv_head_bytes(const pq_kv_head *h, int64_t *out);
// Writes row `token` (d elements) into the head's part at `to`.
void pq_kv_put(const pq_kv_head *h, void *to, int64_t token, const void *row);

#endif
