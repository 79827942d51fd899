// SPDX-License-Identifier: Apache-2.0
//
// Contexts for tests.
#include "tests/support/context.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support/cmocka_test.h"

enum {
    SWEEP_MAX = 1000000, // runs; more means that the body never ends
};

static const char *const severity_names[] = {
    [PTQC_SEVERITY_ERROR] = "error", [PTQC_SEVERITY_WARNING] = "warning",
    [PTQC_SEVERITY_NOTE] = "note",   [PTQC_SEVERITY_INFO] = "info",
    [PTQC_SEVERITY_DEBUG] = "debug",
};

void
pq_test_sink_add(void *user, ptqc_severity severity, ptqc_status status,
                 const char *text)
{
    pq_test_sink *sink = user;
    if (severity == PTQC_SEVERITY_ERROR) {
        sink->error_count++;
        sink->last_status = status;
    }
    sink->warning_count += severity == PTQC_SEVERITY_WARNING;
    size_t left = sizeof sink->text - sink->n;
    int n = snprintf(sink->text + sink->n, left, "%s: %s\n",
                     severity_names[severity], text);
    assert_true(n > 0);
    sink->n += (size_t)n < left ? (size_t)n : left - 1;
}

void
pq_test_sink_clear(pq_test_sink *sink)
{
    *sink = (pq_test_sink){0};
}

void *
pq_test_heap_alloc(void *user, size_t bytes)
{
    pq_test_heap *heap = user;
    heap->count++;
    if (heap->count == heap->fail_at) {
        heap->failed++;
        return NULL;
    }
    void *p = malloc(bytes);
    if (p != NULL) {
        memset(p, 0xa5, bytes); // whoever relies on zeros must make them
    }
    heap->live += p != NULL;
    return p;
}

void
pq_test_heap_free(void *user, void *p)
{
    pq_test_heap *heap = user;
    heap->live -= p != NULL;
    free(p);
}

ptqc_ctx *
pq_test_ctx_create(pq_test_sink *sink, pq_test_heap *heap, uint32_t threads)
{
    ptqc_ctx_desc desc = {.threads = threads};
    if (sink != NULL) {
        desc.diag = pq_test_sink_add;
        desc.diag_user = sink;
    }
    if (heap != NULL) {
        desc.alloc = pq_test_heap_alloc;
        desc.free = pq_test_heap_free;
        desc.alloc_user = heap;
    }
    ptqc_ctx *ctx;
    assert_int_equal(ptqc_ctx_create(&desc, &ctx), PTQC_OK);
    return ctx;
}

uint64_t
pq_test_alloc_sweep(pq_test_body_fn body, void *user)
{
    for (uint64_t k = 1; k < SWEEP_MAX; k++) {
        pq_test_sink sink = {0};
        pq_test_heap heap = {0};
        ptqc_ctx *ctx = pq_test_ctx_create(&sink, &heap, 1);
        heap.count = 0;
        heap.fail_at = k;
        ptqc_status st = body(ctx, user);
        ptqc_ctx_destroy(ctx);
        if (heap.failed == 0) {
            assert_int_equal(st, PTQC_OK);
        } else if (st != PTQC_OK) {
            if (st != PTQC_E_RESOURCE) {
                print_error("allocation %llu: %s\n", (unsigned long long)k,
                            sink.text);
            }
            assert_int_equal(st, PTQC_E_RESOURCE);
            assert_true(sink.error_count >= 1);
        }
        if (heap.live != 0) {
            print_error("allocation %llu: %llu blocks left behind\n",
                        (unsigned long long)k, (unsigned long long)heap.live);
        }
        assert_int_equal(heap.live, 0);
        if (heap.failed == 0) {
            return k;
        }
    }
    fail_msg("the allocation sweep never ends");
    return 0;
}
