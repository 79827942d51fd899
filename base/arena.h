// SPDX-License-Identifier: Apache-2.0
//
// Bump arena: many small zeroed allocations, freed together.
#ifndef PTQC_BASE_ARENA_H
#define PTQC_BASE_ARENA_H

#include <stddef.h>

#include "base/ctx.h"

typedef struct pq_arena_block pq_arena_block;

typedef struct pq_arena {
    ptqc_ctx *ctx;          // borrowed
    pq_arena_block *blocks; // owned, newest first
} pq_arena;

void pq_arena_init(pq_arena *arena, ptqc_ctx *ctx);
void pq_arena_deinit(pq_arena *arena);
// Zeroed, 16-byte aligned; NULL when out of memory (said).
void *pq_arena_alloc(pq_arena *arena, size_t bytes);
void *pq_arena_array(pq_arena *arena, size_t count, size_t size);
// Copies n bytes and appends a NUL.
char *pq_arena_strndup(pq_arena *arena, const char *s, size_t n);
void *pq_arena_memdup(pq_arena *arena, const void *p, size_t bytes);

#endif
