// SPDX-License-Identifier: Apache-2.0
//
// Contexts for tests: diagnostics are caught, allocations counted and made to
// fail on demand.
#ifndef PTQC_TESTS_CONTEXT_H
#define PTQC_TESTS_CONTEXT_H

#include <stddef.h>
#include <stdint.h>

#include "base/ctx.h"

// What a context said: one line each, "error: text\n", cut when full.
typedef struct pq_test_sink {
    unsigned error_count, warning_count;
    ptqc_status last_status; // of the last error
    size_t n;
    char text[8192];
} pq_test_sink;

// Matches ptqc_ctx_desc.diag; user is a pq_test_sink.
void pq_test_sink_add(void *user, ptqc_severity severity, ptqc_status status,
                      const char *text);
void pq_test_sink_clear(pq_test_sink *sink);

// An allocator that counts. The fail_at-th allocation from now (1 = the next)
// fails; 0 = none.
typedef struct pq_test_heap {
    uint64_t fail_at, count; // count: allocations since fail_at was set
    uint64_t live;           // blocks not yet freed
    uint64_t failed;         // allocations refused
} pq_test_heap;

void *pq_test_heap_alloc(void *heap, size_t bytes);
void pq_test_heap_free(void *heap, void *p);

// Both may be NULL. threads as in ptqc_ctx_desc. Fails the running test when
// it cannot. Destroy with ptqc_ctx_destroy.
ptqc_ctx *pq_test_ctx_create(pq_test_sink *sink, pq_test_heap *heap,
                             uint32_t threads);

// Runs body once per allocation that it makes, the k-th one failing in run k,
// then once undisturbed. Fails the running test when a disturbed run gives
// anything but PTQC_E_RESOURCE with a message (or PTQC_OK, where it can do
// without), when a run leaves blocks behind, or when the last run is not OK.
// -> number of runs.
typedef ptqc_status (*pq_test_body_fn)(ptqc_ctx *ctx, void *user);
uint64_t pq_test_alloc_sweep(pq_test_body_fn body, void *user);

#endif
