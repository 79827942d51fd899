// SPDX-License-Identifier: Apache-2.0
//
// The arena: alignment, zeros, separate blocks, copies, failures.
#include <string.h>

#include "base/arena.h"
#include "tests/support/cmocka_test.h"
#include "tests/support/context.h"

static void
test_blocks(void **state)
{
    (void)state;
    pq_test_heap heap = {0};
    ptqc_ctx *ctx = pq_test_ctx_create(NULL, &heap, 1);
    pq_arena arena;
    pq_arena_init(&arena, ctx);
    enum { COUNT = 2000 };
    static uint8_t *blocks[COUNT];
    for (size_t i = 0; i < COUNT; i++) {
        size_t n = i % 700;
        blocks[i] = pq_arena_alloc(&arena, n);
        assert_non_null(blocks[i]);
        assert_int_equal((uintptr_t)blocks[i] % 16, 0);
        for (size_t k = 0; k < n; k++) {
            assert_int_equal(blocks[i][k], 0);
        }
        memset(blocks[i], (int)(i % 251), n);
    }
    for (size_t i = 0; i < COUNT; i++) { // nothing overlaps
        for (size_t k = 0; k < i % 700; k++) {
            assert_int_equal(blocks[i][k], i % 251);
        }
    }
    assert_true(heap.count < 20); // 700 KB in few blocks
    assert_ptr_not_equal(pq_arena_alloc(&arena, 0), pq_arena_alloc(&arena, 0));
    uint8_t *big = pq_arena_alloc(&arena, 3000000);
    assert_non_null(big);
    big[2999999] = 1;
    pq_arena_deinit(&arena);
    assert_true(pq_live_bytes(ctx) == 0);
    assert_non_null(pq_arena_alloc(&arena, 8)); // usable again
    pq_arena_deinit(&arena);
    ptqc_ctx_destroy(ctx);
    assert_int_equal(heap.live, 0);
}

static void
test_copies(void **state)
{
    (void)state;
    ptqc_ctx *ctx = pq_test_ctx_create(NULL, NULL, 1);
    pq_arena arena;
    pq_arena_init(&arena, ctx);
    assert_string_equal(pq_arena_strndup(&arena, "abcdef", 3), "abc");
    assert_string_equal(pq_arena_strndup(&arena, NULL, 0), "");
    const uint32_t numbers[3] = {7, 8, 9};
    assert_memory_equal(pq_arena_memdup(&arena, numbers, sizeof numbers),
                        numbers, sizeof numbers);
    assert_non_null(pq_arena_memdup(&arena, NULL, 0));
    pq_arena_deinit(&arena);
    ptqc_ctx_destroy(ctx);
}

static void
test_impossible_sizes(void **state)
{
    (void)state;
    pq_test_sink sink = {0};
    ptqc_ctx *ctx = pq_test_ctx_create(&sink, NULL, 1);
    pq_arena arena;
    pq_arena_init(&arena, ctx);
    assert_null(pq_arena_alloc(&arena, SIZE_MAX));
    assert_null(pq_arena_alloc(&arena, SIZE_MAX - 20));
    assert_null(pq_arena_array(&arena, SIZE_MAX / 2, 3));
    assert_null(pq_arena_strndup(&arena, "", SIZE_MAX));
    assert_int_equal(sink.error_count, 4);
    pq_arena_deinit(&arena);
    ptqc_ctx_destroy(ctx);
}

static ptqc_status
fill_arena(ptqc_ctx *ctx, void *user)
{
    (void)user;
    pq_arena arena;
    pq_arena_init(&arena, ctx);
    ptqc_status st = PTQC_OK;
    for (int i = 0; i < 100 && st == PTQC_OK; i++) {
        if (pq_arena_array(&arena, 100, 8) == NULL) {
            st = PTQC_E_RESOURCE;
        }
    }
    pq_arena_deinit(&arena);
    return st;
}

static void
test_allocation_failures(void **state)
{
    (void)state;
    assert_true(pq_test_alloc_sweep(fill_arena, NULL) > 4);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_blocks),
        cmocka_unit_test(test_copies),
        cmocka_unit_test(test_impossible_sizes),
        cmocka_unit_test(test_allocation_failures),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
