// SPDX-License-Identifier: Apache-2.0
//
// An arena over the host's allocator: everything made while compiling, in an
// executable or in a specialization lives in one and ends with it.
#ifndef PTQC_BACKENDS_KGEN_MEM_H
#define PTQC_BACKENDS_KGEN_MEM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ptqc/backend.h"

typedef struct pq_mem {
    const ptqc_host *host; // borrowed
    struct pq_mem_block *blocks;
} pq_mem;

// Zeroed, 16-byte aligned; NULL when out of memory. bytes may be 0.
void *pq_mem_alloc(pq_mem *mem, size_t bytes);
// count * bytes without overflow.
void *pq_mem_array(pq_mem *mem, size_t count, size_t bytes);
void pq_mem_release(pq_mem *mem); // frees all

// Makes room for element `count` (0-based) of an array whose capacity is
// *capacity elements; the old array stays in the arena. false: no memory.
bool pq_mem_grow(pq_mem *mem, void **array, uint32_t *capacity, uint32_t count,
                 size_t bytes);

#endif
