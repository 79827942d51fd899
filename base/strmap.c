// SPDX-License-Identifier: Apache-2.0
//
// Hash map with linear probing. slots[] holds entry index + 1, zero is free;
// its size is a power of two and at most half of it is used.
#include "base/strmap.h"

#include "base/hash.h"

enum {
    SLOTS_MIN = 16,
};

void
pq_strmap_init(pq_strmap *m, ptqc_ctx *ctx)
{
    *m = (pq_strmap){.ctx = ctx};
}

void
pq_strmap_deinit(pq_strmap *m)
{
    pq_free(m->ctx, m->entries);
    pq_free(m->ctx, m->slots);
    pq_strmap_init(m, m->ctx);
}

// -> the slot that holds key, or the free one where it belongs.
static uint32_t *
slot_of(const pq_strmap *m, pq_str key)
{
    size_t mask = m->slot_count - 1;
    size_t i = (size_t)pq_hash64(key.p, key.n) & mask;
    while (m->slots[i] != 0 &&
           !pq_str_equal(m->entries[m->slots[i] - 1].key, key)) {
        i = (i + 1) & mask;
    }
    return &m->slots[i];
}

static ptqc_status
grow_slots(pq_strmap *m)
{
    size_t count = m->slot_count == 0 ? SLOTS_MIN : 2 * m->slot_count;
    uint32_t *slots = pq_alloc_array(m->ctx, count, sizeof *slots);
    PQ_TRY_ALLOC(slots);
    pq_free(m->ctx, m->slots);
    m->slots = slots;
    m->slot_count = count;
    for (size_t i = 0; i < m->entry_count; i++) {
        *slot_of(m, m->entries[i].key) = (uint32_t)(i + 1);
    }
    return PTQC_OK;
}

static ptqc_status
grow_entries(pq_strmap *m)
{
    size_t count = m->entry_capacity == 0 ? 8 : 2 * m->entry_capacity;
    void *grown = pq_realloc_array(m->ctx, m->entries, m->entry_capacity, count,
                                   sizeof *m->entries);
    PQ_TRY_ALLOC(grown);
    m->entries = grown;
    m->entry_capacity = count;
    return PTQC_OK;
}

ptqc_status
pq_strmap_set(pq_strmap *m, pq_str key, uint64_t value, bool *out_existed)
{
    if (m->entry_count >= UINT32_MAX / 2) {
        return PQ_FAIL(m->ctx, PTQC_E_RESOURCE, "more than %zu names",
                       m->entry_count);
    }
    if (2 * (m->entry_count + 1) > m->slot_count) {
        PQ_TRY(grow_slots(m));
    }
    uint32_t *slot = slot_of(m, key);
    bool existed = *slot != 0;
    if (!existed) {
        if (m->entry_count == m->entry_capacity) {
            PQ_TRY(grow_entries(m));
        }
        m->entries[m->entry_count++].key = key;
        *slot = (uint32_t)m->entry_count;
    }
    m->entries[*slot - 1].value = value;
    if (out_existed != NULL) {
        *out_existed = existed;
    }
    return PTQC_OK;
}

bool
pq_strmap_find(const pq_strmap *m, pq_str key, uint64_t *out_value)
{
    if (m->entry_count == 0) {
        return false;
    }
    uint32_t index = *slot_of(m, key);
    if (index == 0) {
        return false;
    }
    *out_value = m->entries[index - 1].value;
    return true;
}
