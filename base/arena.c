// SPDX-License-Identifier: Apache-2.0
//
// Bump arena. Blocks come zeroed from pq_alloc and memory is never given out
// twice, so nothing is cleared here. Blocks double from 4 KiB to 256 KiB;
// what is larger gets a block of its own size.
#include "base/arena.h"

#include <string.h>

#include "base/checked.h"

enum {
    ARENA_ALIGN = 16,
    BLOCK_MIN_BYTES = 4096,
    BLOCK_MAX_BYTES = 256 * 1024,
};

struct pq_arena_block {
    pq_arena_block *next;  // owned
    size_t used, capacity; // bytes of this block, this header included
};

#define HEADER_BYTES                                                           \
    ((sizeof(pq_arena_block) + ARENA_ALIGN - 1) / ARENA_ALIGN * ARENA_ALIGN)

void
pq_arena_init(pq_arena *arena, ptqc_ctx *ctx)
{
    *arena = (pq_arena){.ctx = ctx};
}

void
pq_arena_deinit(pq_arena *arena)
{
    pq_arena_block *block = arena->blocks;
    while (block != NULL) {
        pq_arena_block *next = block->next;
        pq_free(arena->ctx, block);
        block = next;
    }
    arena->blocks = NULL;
}

// Puts a block with room for need bytes (header included) in front.
static pq_arena_block *
add_block(pq_arena *arena, size_t need)
{
    size_t capacity = BLOCK_MIN_BYTES;
    if (arena->blocks != NULL) {
        capacity = 2 * arena->blocks->capacity;
    }
    if (capacity > BLOCK_MAX_BYTES) {
        capacity = BLOCK_MAX_BYTES;
    }
    if (capacity < need) {
        capacity = need;
    }
    pq_arena_block *block = pq_alloc(arena->ctx, capacity);
    if (block == NULL) {
        return NULL;
    }
    *block = (pq_arena_block){
        .next = arena->blocks, .used = HEADER_BYTES, .capacity = capacity};
    arena->blocks = block;
    return block;
}

void *
pq_arena_alloc(pq_arena *arena, size_t bytes)
{
    size_t padded;
    size_t need;
    if (!pq_align_size(bytes != 0 ? bytes : 1, ARENA_ALIGN, &padded) ||
        !pq_add_size(padded, HEADER_BYTES, &need)) {
        return pq_alloc(arena->ctx, SIZE_MAX); // says it and fails
    }
    pq_arena_block *block = arena->blocks;
    if (block == NULL || block->capacity - block->used < padded) {
        block = add_block(arena, need);
        if (block == NULL) {
            return NULL;
        }
    }
    void *p = (char *)block + block->used;
    block->used += padded;
    return p;
}

void *
pq_arena_array(pq_arena *arena, size_t count, size_t size)
{
    size_t bytes;
    if (!pq_mul_size(count, size, &bytes)) {
        bytes = SIZE_MAX; // said below
    }
    return pq_arena_alloc(arena, bytes);
}

char *
pq_arena_strndup(pq_arena *arena, const char *s, size_t n)
{
    size_t bytes;
    if (!pq_add_size(n, 1, &bytes)) {
        bytes = SIZE_MAX;
    }
    char *copy = pq_arena_alloc(arena, bytes);
    if (copy != NULL && n != 0) {
        memcpy(copy, s, n);
    }
    return copy;
}

void *
pq_arena_memdup(pq_arena *arena, const void *p, size_t bytes)
{
    void *copy = pq_arena_alloc(arena, bytes);
    if (copy != NULL && bytes != 0) {
        memcpy(copy, p, bytes);
    }
    return copy;
}
