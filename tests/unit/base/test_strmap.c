// SPDX-License-Identifier: Apache-2.0
//
// The map: many keys, replacing, odd keys, order, failures.
#include <stdio.h>

#include "base/strmap.h"
#include "tests/support/cmocka_test.h"
#include "tests/support/context.h"

enum {
    COUNT = 20000,
};

static void
test_many_keys(void **state)
{
    (void)state;
    static char names[COUNT][16];
    ptqc_ctx *ctx = pq_test_ctx_create(NULL, NULL, 1);
    pq_strmap m;
    pq_strmap_init(&m, ctx);
    uint64_t value;
    assert_false(pq_strmap_find(&m, PQ_STR("x"), &value)); // empty map
    for (uint64_t i = 0; i < COUNT; i++) {
        (void)snprintf(names[i], sizeof names[i], "n%llu",
                       (unsigned long long)i);
        bool existed = true;
        assert_int_equal(
            pq_strmap_set(&m, pq_str_of(names[i]), i * 3, &existed), PTQC_OK);
        assert_false(existed);
    }
    assert_int_equal(m.entry_count, COUNT);
    for (uint64_t i = 0; i < COUNT; i++) {
        assert_true(pq_strmap_find(&m, pq_str_of(names[i]), &value));
        assert_true(value == i * 3);
        assert_true(pq_str_equal_z(m.entries[i].key, names[i])); // order
    }
    assert_false(pq_strmap_find(&m, PQ_STR("n"), &value));
    assert_false(pq_strmap_find(&m, PQ_STR("n20000"), &value));
    pq_strmap_deinit(&m);
    assert_true(pq_live_bytes(ctx) == 0);
    ptqc_ctx_destroy(ctx);
}

static void
test_replacing_and_odd_keys(void **state)
{
    (void)state;
    ptqc_ctx *ctx = pq_test_ctx_create(NULL, NULL, 1);
    pq_strmap m;
    pq_strmap_init(&m, ctx);
    bool existed;
    uint64_t value;
    assert_int_equal(pq_strmap_set(&m, PQ_STR(""), 1, NULL), PTQC_OK);
    assert_int_equal(pq_strmap_set(&m, PQ_STR("a\0b"), 2, NULL), PTQC_OK);
    assert_int_equal(pq_strmap_set(&m, PQ_STR("a"), 3, NULL), PTQC_OK);
    assert_int_equal(pq_strmap_set(&m, PQ_STR("a\0b"), UINT64_MAX, &existed),
                     PTQC_OK);
    assert_true(existed);
    assert_int_equal(m.entry_count, 3);
    assert_true(pq_strmap_find(&m, PQ_STR("a\0b"), &value));
    assert_true(value == UINT64_MAX);
    assert_true(pq_strmap_find(&m, pq_str_of(NULL), &value) && value == 1);
    pq_strmap_deinit(&m);
    ptqc_ctx_destroy(ctx);
}

static ptqc_status
fill_map(ptqc_ctx *ctx, void *user)
{
    (void)user;
    static const char letters[] = "abcdefghijklmnopqrstuvwxyz0123456789";
    pq_strmap m;
    pq_strmap_init(&m, ctx);
    ptqc_status st = PTQC_OK;
    uint64_t value;
    for (size_t i = 0; i + 1 < sizeof letters && st == PTQC_OK; i++) {
        st = pq_strmap_set(&m, (pq_str){letters + i, 1}, i, NULL);
        if (st != PTQC_OK && i > 0 &&
            !pq_strmap_find(&m, PQ_STR("a"), &value)) {
            st = PTQC_E_INTERNAL; // a failed insertion must keep the rest
        }
    }
    pq_strmap_deinit(&m);
    return st;
}

static void
test_allocation_failures(void **state)
{
    (void)state;
    assert_true(pq_test_alloc_sweep(fill_map, NULL) > 4);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_many_keys),
        cmocka_unit_test(test_replacing_and_odd_keys),
        cmocka_unit_test(test_allocation_failures),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
