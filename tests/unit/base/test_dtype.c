// SPDX-License-Identifier: Apache-2.0
//
// Facts about element types; sizes of tensors, overflow included.
#include <string.h>

#include "base/dtype.h"
#include "tests/support/cmocka_test.h"

static void
test_names_and_bits(void **state)
{
    (void)state;
#define CHECK(NAME, number, text, bits)                                        \
    {                                                                          \
        ptqc_dtype t = PTQC_DTYPE_NONE;                                        \
        assert_string_equal(pq_dtype_name(PTQC_##NAME), text);                 \
        assert_int_equal(pq_dtype_bits(PTQC_##NAME), bits);                    \
        assert_true(pq_dtype_parse(text, strlen(text), &t));                   \
        assert_int_equal(t, PTQC_##NAME);                                      \
    }
    PTQC_DTYPES(CHECK)
#undef CHECK
    ptqc_dtype t;
    assert_false(pq_dtype_parse("none", 4, &t));
    assert_false(pq_dtype_parse("f3", 2, &t));
    assert_false(pq_dtype_parse("f321", 4, &t));
    assert_false(pq_dtype_parse("", 0, &t));
    assert_string_equal(pq_dtype_name((ptqc_dtype)99), "none");
    assert_int_equal(pq_dtype_bits((ptqc_dtype)99), 0);
    assert_int_equal(pq_dtype_bits(PTQC_DTYPE_NONE), 0);
}

static void
test_families(void **state)
{
    (void)state;
    const ptqc_dtype floats[] = {PTQC_F32, PTQC_F16,    PTQC_BF16,
                                 PTQC_F64, PTQC_F8E4M3, PTQC_F8E5M2};
    for (size_t i = 0; i < sizeof floats / sizeof floats[0]; i++) {
        assert_true(pq_dtype_is_float(floats[i]));
        assert_false(pq_dtype_is_signed(floats[i]));
    }
    const ptqc_dtype signed_types[] = {PTQC_I4, PTQC_I8, PTQC_I16, PTQC_I32,
                                       PTQC_I64};
    for (size_t i = 0; i < sizeof signed_types / sizeof signed_types[0]; i++) {
        assert_true(pq_dtype_is_signed(signed_types[i]));
        assert_false(pq_dtype_is_float(signed_types[i]));
    }
    const ptqc_dtype others[] = {PTQC_U4,  PTQC_U8,   PTQC_U16,       PTQC_U32,
                                 PTQC_U64, PTQC_BOOL, PTQC_DTYPE_NONE};
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
        assert_false(pq_dtype_is_signed(others[i]));
        assert_false(pq_dtype_is_float(others[i]));
    }
}

static void
test_bytes(void **state)
{
    (void)state;
    size_t n;
    assert_true(pq_dtype_bytes(PTQC_F32, (int64_t[]){2, 3}, 2, &n));
    assert_int_equal(n, 24);
    assert_true(pq_dtype_bytes(PTQC_F64, NULL, 0, &n)); // a scalar
    assert_int_equal(n, 8);
    assert_true(pq_dtype_bytes(PTQC_I4, NULL, 0, &n));
    assert_int_equal(n, 1);
    assert_true(pq_dtype_bytes(PTQC_I4, (int64_t[]){3, 5}, 2, &n));
    assert_int_equal(n, 9); // 3 rows of 3 bytes
    assert_true(pq_dtype_bytes(PTQC_U4, (int64_t[]){7, 0}, 2, &n));
    assert_int_equal(n, 0);
    assert_true(pq_dtype_bytes(PTQC_U8, (int64_t[]){0, 7}, 2, &n));
    assert_int_equal(n, 0);
}

static void
test_bytes_refuses(void **state)
{
    (void)state;
    size_t n;
    const int64_t big = INT64_MAX;
    assert_false(pq_dtype_bytes(PTQC_F32, (int64_t[]){-1}, 1, &n));
    assert_false(pq_dtype_bytes(PTQC_F32, (int64_t[]){-1, 4}, 2, &n));
    assert_false(pq_dtype_bytes(PTQC_F32, (int64_t[]){4, -1}, 2, &n));
    assert_false(pq_dtype_bytes(PTQC_F32, &big, 1, &n));
    assert_false(pq_dtype_bytes(PTQC_U8, (int64_t[]){big, 3}, 2, &n));
    assert_false(pq_dtype_bytes(PTQC_U8, (int64_t[]){big, big, 1}, 3, &n));
}

static void
check_integer(ptqc_dtype t, uint64_t bits, int64_t expected)
{
    uint8_t bytes[16];
    int64_t x = 0;
    memcpy(bytes + 1, &bits, sizeof bits); // misaligned
    assert_true(pq_dtype_load_integer(t, bytes + 1, &x));
    assert_int_equal(x, expected);
}

static void
test_integers(void **state)
{
    (void)state;
    const uint64_t ones = UINT64_MAX;
    int64_t x;
    check_integer(PTQC_I8, ones, -1);
    check_integer(PTQC_U8, ones, 255);
    check_integer(PTQC_BOOL, 1, 1);
    check_integer(PTQC_I16, ones, -1);
    check_integer(PTQC_U16, ones, 65535);
    check_integer(PTQC_I32, 0x80000000u, INT32_MIN);
    check_integer(PTQC_U32, ones, UINT32_MAX);
    check_integer(PTQC_I64, ones, -1);
    check_integer(PTQC_U64, ones >> 1, INT64_MAX);
    assert_false(pq_dtype_load_integer(PTQC_U64, &ones, &x));
    assert_false(pq_dtype_load_integer(PTQC_F32, &ones, &x));
    assert_false(pq_dtype_load_integer(PTQC_I4, &ones, &x));
    assert_false(pq_dtype_load_integer(PTQC_F8E4M3, &ones, &x));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names_and_bits), cmocka_unit_test(test_families),
        cmocka_unit_test(test_integers),       cmocka_unit_test(test_bytes),
        cmocka_unit_test(test_bytes_refuses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
