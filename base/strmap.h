// SPDX-License-Identifier: Apache-2.0
//
// Hash map from text to a u64 (an index or id). Keys are borrowed and must
// outlive the map. Iteration order is insertion order.
#ifndef PTQC_BASE_STRMAP_H
#define PTQC_BASE_STRMAP_H

#include "base/str.h"

typedef struct pq_strmap {
    ptqc_ctx *ctx; // borrowed
    struct pq_strmap_entry {
        pq_str key;
        uint64_t value;
    } *entries;      // owned, in order of insertion
    uint32_t *slots; // owned, open addressing, entry index + 1
    size_t entry_count, entry_capacity, slot_count;
} pq_strmap;

void pq_strmap_init(pq_strmap *m, ptqc_ctx *ctx);
void pq_strmap_deinit(pq_strmap *m);
// Inserts or replaces. *out_existed (may be NULL) tells which.
PTQC_MUST_USE ptqc_status pq_strmap_set(pq_strmap *m, pq_str key,
                                        uint64_t value, bool *out_existed);
bool pq_strmap_find(const pq_strmap *m, pq_str key, uint64_t *out_value);

#endif
