// SPDX-License-Identifier: Apache-2.0
//
// Blocks of 64 KiB in a list; large requests get a block of their own.
#include "mem.h"

#include <string.h>

#include "base/checked.h"

#define BLOCK_BYTES ((size_t)64 << 10)
#define ALIGN_BYTES ((size_t)16)

typedef struct pq_mem_block {
    struct pq_mem_block *next;
    size_t used, bytes; // of the space behind this header
} pq_mem_block;

static uint8_t *
block_space(pq_mem_block *block)
{
    return (uint8_t *)block + ALIGN_BYTES * 2;
}

static pq_mem_block *
add_block(pq_mem *mem, size_t bytes)
{
    size_t space = bytes > BLOCK_BYTES ? bytes : BLOCK_BYTES;
    size_t total;
    _Static_assert(sizeof(pq_mem_block) <= ALIGN_BYTES * 2, "header fits");
    if (!pq_add_size(space, ALIGN_BYTES * 2, &total)) {
        return NULL;
    }
    pq_mem_block *block = mem->host->vt->alloc(mem->host->self, total, 16);
    if (block == NULL) {
        return NULL;
    }
    block->used = 0;
    block->bytes = space;
    block->next = mem->blocks;
    mem->blocks = block;
    return block;
}

void *
pq_mem_alloc(pq_mem *mem, size_t bytes)
{
    size_t need;
    if (!pq_align_size(bytes > 0 ? bytes : 1, ALIGN_BYTES, &need)) {
        return NULL;
    }
    pq_mem_block *block = mem->blocks;
    if (block == NULL || block->bytes - block->used < need) {
        block = add_block(mem, need);
    }
    if (block == NULL) {
        return NULL;
    }
    void *p = block_space(block) + block->used;
    block->used += need;
    memset(p, 0, need);
    return p;
}

void *
pq_mem_array(pq_mem *mem, size_t count, size_t bytes)
{
    size_t total;
    return pq_mul_size(count, bytes, &total) ? pq_mem_alloc(mem, total) : NULL;
}

void
pq_mem_release(pq_mem *mem)
{
    pq_mem_block *block = mem->blocks;
    while (block != NULL) {
        pq_mem_block *next = block->next;
        mem->host->vt->free(mem->host->self, block);
        block = next;
    }
    mem->blocks = NULL;
}

bool
pq_mem_grow(pq_mem *mem, void **array, uint32_t *capacity, uint32_t count,
            size_t bytes)
{
    if (count < *capacity) {
        return true;
    }
    if (count >= UINT32_MAX / 2) {
        return false;
    }
    uint32_t larger = count < 16 ? 32 : count * 2;
    void *copy = pq_mem_array(mem, larger, bytes);
    if (copy == NULL) {
        return false;
    }
    if (*capacity > 0) {
        memcpy(copy, *array, (size_t)*capacity * bytes);
    }
    *array = copy;
    *capacity = larger;
    return true;
}
