// SPDX-License-Identifier: Apache-2.0
//
// The inside of ptqc_ctx: allocation with accounting and limit, diagnostics,
// progress, cancellation, the thread pool.
#ifndef PTQC_BASE_CTX_H
#define PTQC_BASE_CTX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ptqc/context.h"

// Zeroed memory, 64-byte aligned; NULL (with a diagnostic said) when out of
// memory or over the limit. bytes = 0 gives a valid pointer.
void *pq_alloc(ptqc_ctx *ctx, size_t bytes);
// As pq_alloc for count * size, overflow included in "out of memory".
void *pq_alloc_array(ptqc_ctx *ctx, size_t count, size_t size);
// Grows (or shrinks) an array, new part zeroed; p may be NULL. On failure
// NULL, p stays valid. count_old must be the count p was made with.
void *pq_realloc_array(ptqc_ctx *ctx, void *p, size_t count_old,
                       size_t count_new, size_t size);
void pq_free(ptqc_ctx *ctx, void *p);         // NULL allowed
uint64_t pq_live_bytes(const ptqc_ctx *ctx);  // of all blocks not yet freed
uint64_t pq_memory_left(const ptqc_ctx *ctx); // UINT64_MAX without a limit

// Says one diagnostic; returns `status`, so that a function can end with
// `return pq_fail(...)`. Strings from files may be passed as they are: the
// text is escaped (control, bidirectional and malformed bytes as \xNN) and
// cut at 2 KiB. Other severities than ERROR go through pq_say.
__attribute__((format(printf, 3, 4))) ptqc_status pq_fail(ptqc_ctx *ctx,
                                                          ptqc_status status,
                                                          const char *format,
                                                          ...);
__attribute__((format(printf, 3, 4))) void
pq_say(ptqc_ctx *ctx, ptqc_severity severity, const char *format, ...);
// Calls of pq_fail so far: tells whether a foreign callee has said its error.
uint64_t pq_fail_count(const ptqc_ctx *ctx);
// Exchanges the diagnostics callback with *fn and *user (both ways), so that a
// caller can hold messages back and say them with more context. Swap again to
// restore.
void pq_ctx_swap_diag(ptqc_ctx *ctx, ptqc_diag_fn *fn, void **user);

#define PQ_FAIL(ctx, status, ...) pq_fail(ctx, status, __VA_ARGS__)
// Returns from the function when expr is not OK.
#define PQ_TRY(expr)                                                           \
    do {                                                                       \
        ptqc_status pq_try_status = (expr);                                    \
        if (pq_try_status != PTQC_OK) {                                        \
            return pq_try_status;                                              \
        }                                                                      \
    } while (0)
// Sets `st` (a variable of the function) and jumps to label when not OK.
#define PQ_TRY_OR(label, expr)                                                 \
    do {                                                                       \
        st = (expr);                                                           \
        if (st != PTQC_OK) {                                                   \
            goto label;                                                        \
        }                                                                      \
    } while (0)
// Out-of-memory check of a pointer from pq_alloc (which has said it).
#define PQ_TRY_ALLOC(pointer)                                                  \
    do {                                                                       \
        if ((pointer) == NULL) {                                               \
            return PTQC_E_RESOURCE;                                            \
        }                                                                      \
    } while (0)

bool pq_is_cancelled(const ptqc_ctx *ctx);
// Between these ptqc_ctx_stop waits: a unit of work is done whose result will
// be kept. Pairs do not nest.
void pq_unit_begin(ptqc_ctx *ctx);
void pq_unit_end(ptqc_ctx *ctx);
// PTQC_E_CANCELLED (said once) or PTQC_OK.
ptqc_status pq_check_cancelled(ptqc_ctx *ctx);
void pq_progress(ptqc_ctx *ctx, const char *phase, uint64_t done,
                 uint64_t total);
uint64_t pq_torture_flags(const ptqc_ctx *ctx);
uint64_t pq_memory_limit(const ptqc_ctx *ctx); // 0 = none
const char *pq_cache_dir(const ptqc_ctx *ctx); // NULL = no cache

struct pq_pool;
// The context's thread pool, made at first use; NULL on failure (said).
struct pq_pool *pq_ctx_pool(ptqc_ctx *ctx);

#endif
