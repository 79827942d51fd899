// SPDX-License-Identifier: Apache-2.0
//
// What a plugin maps of a graph's constants: copies on pages of their own,
// that nobody can read once they are released, so that a plugin that still
// does ends with a signal. The addresses stay taken until the call returns.
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/vec.h"
#include "ir/block.h"
#include "tools/conform/conform.h"

static pq_loan *
find(const pq_loans *loans, uint64_t id)
{
    for (uint32_t i = 0; i < loans->count; i++) {
        if (loans->items[i].id == id && !loans->items[i].is_released) {
            return &loans->items[i];
        }
    }
    return NULL;
}

static pq_loan *
lend(pq_loans *loans, uint64_t id, const void *from, size_t bytes)
{
    void *items = loans->items;
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    if (pq_vec_reserve(loans->ctx, &items, &loans->capacity,
                       (size_t)loans->count + 1,
                       sizeof *loans->items) != PTQC_OK) {
        return NULL;
    }
    loans->items = items;
    size_t whole = (bytes / page + 1) * page;
    void *pages = mmap(NULL, whole, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (pages == MAP_FAILED) {
        return NULL;
    }
    if (bytes > 0) {
        memcpy(pages, from, bytes);
    }
    pq_loan *l = &loans->items[loans->count++];
    *l = (pq_loan){
        .id = id, .pages = pages, .bytes = bytes, .page_bytes = whole};
    return l;
}

const void *
pq_loans_map(void *user, uint64_t id, uint64_t *out_bytes)
{
    pq_loans *loans = user;
    const pq_loan *l = find(loans, id);
    if (l == NULL) {
        uint64_t bytes = 0;
        const void *from = pq_block_constant(loans->g, id, &bytes);
        l = from != NULL ? lend(loans, id, from, (size_t)bytes) : NULL;
    }
    if (l == NULL) {
        return NULL;
    }
    *out_bytes = l->bytes;
    return l->pages;
}

void
pq_loans_release(void *user, uint64_t id)
{
    pq_loan *l = find(user, id);
    if (l != NULL) {
        l->is_released = true;
        (void)mprotect(l->pages, l->page_bytes, PROT_NONE);
    }
}

void
pq_loans_deinit(pq_loans *loans)
{
    for (uint32_t i = 0; i < loans->count; i++) {
        (void)munmap(loans->items[i].pages, loans->items[i].page_bytes);
    }
    pq_free(loans->ctx, loans->items);
    loans->items = NULL;
    loans->count = 0;
}
