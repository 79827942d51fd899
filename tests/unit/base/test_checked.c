// SPDX-License-Identifier: Apache-2.0
//
// Checked arithmetic at its limits, and unaligned loads and stores.
#include "base/bits.h"
#include "base/checked.h"
#include "tests/support/cmocka_test.h"

static void
test_sizes(void **state)
{
    (void)state;
    size_t x;
    assert_true(pq_add_size(SIZE_MAX - 1, 1, &x));
    assert_true(x == SIZE_MAX);
    assert_false(pq_add_size(SIZE_MAX, 1, &x));
    assert_true(pq_mul_size(SIZE_MAX, 1, &x));
    assert_true(pq_mul_size(SIZE_MAX, 0, &x));
    assert_int_equal(x, 0);
    assert_false(pq_mul_size(SIZE_MAX / 2 + 1, 2, &x));
    assert_true(pq_align_size(0, 64, &x));
    assert_int_equal(x, 0);
    assert_true(pq_align_size(65, 64, &x));
    assert_int_equal(x, 128);
    assert_true(pq_align_size(7, 1, &x));
    assert_int_equal(x, 7);
    assert_false(pq_align_size(SIZE_MAX - 62, 64, &x));
}

static void
test_i64(void **state)
{
    (void)state;
    int64_t x;
    assert_false(pq_add_i64(INT64_MAX, 1, &x));
    assert_true(pq_add_i64(INT64_MIN, INT64_MAX, &x));
    assert_int_equal(x, -1);
    assert_false(pq_sub_i64(INT64_MIN, 1, &x));
    assert_false(pq_mul_i64(INT64_MIN, -1, &x));
    assert_true(pq_mul_i64(INT64_MIN, 1, &x));
    uint32_t u;
    assert_true(pq_cast_u32(UINT32_MAX, &u));
    assert_false(pq_cast_u32((uint64_t)UINT32_MAX + 1, &u));
}

static void
test_division(void **state)
{
    (void)state;
    for (int64_t a = -20; a <= 20; a++) {
        for (int64_t b = 1; b <= 7; b++) {
            int64_t low = pq_floor_div(a, b);
            int64_t high = pq_ceil_div(a, b);
            assert_true(low * b <= a && a < (low + 1) * b);
            assert_true((high - 1) * b < a && a <= high * b);
        }
    }
    assert_true(pq_floor_div(INT64_MIN, 1) == INT64_MIN);
    assert_true(pq_ceil_div(INT64_MAX, 1) == INT64_MAX);
}

static void
test_unaligned(void **state)
{
    (void)state;
    uint8_t bytes[16] = {0};
    pq_store_le32(bytes + 1, 0x04030201u);
    assert_int_equal(bytes[1], 1);
    assert_int_equal(bytes[4], 4);
    assert_int_equal(pq_load_le16(bytes + 2), 0x0302);
    pq_store_le64(bytes + 3, 0x8877665544332211u);
    assert_true(pq_load_le64(bytes + 3) == 0x8877665544332211u);
    assert_int_equal(bytes[10], 0x88);
    pq_store_f32(bytes + 5, -1.5f);
    assert_true(pq_load_f32(bytes + 5) == -1.5f);
    assert_int_equal(bytes[8], 0xbf);
    pq_store_f64(bytes + 7, 0.1);
    assert_true(pq_load_f64(bytes + 7) == 0.1);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sizes),
        cmocka_unit_test(test_i64),
        cmocka_unit_test(test_division),
        cmocka_unit_test(test_unaligned),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
