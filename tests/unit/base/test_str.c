// SPDX-License-Identifier: Apache-2.0
//
// String views: splitting, numbers at their limits, UTF-8, edit distance.
#include <float.h>
#include <locale.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/str.h"
#include "tests/support/cmocka_test.h"

static void
test_compare(void **state)
{
    (void)state;
    pq_str empty = pq_str_of(NULL);
    assert_int_equal(empty.n, 0);
    assert_true(pq_str_equal(empty, PQ_STR("")));
    assert_true(pq_str_equal_z(PQ_STR("abc"), "abc"));
    assert_false(pq_str_equal_z(PQ_STR("abc"), "abd"));
    assert_false(pq_str_equal_z(PQ_STR("a\0c"), "a"));
    assert_true(pq_str_starts(PQ_STR("model.onnx"), "model"));
    assert_true(pq_str_starts(empty, ""));
    assert_false(pq_str_starts(PQ_STR("mo"), "model"));
    assert_true(pq_str_ends(PQ_STR("model.onnx"), ".onnx"));
    assert_true(pq_str_ends(empty, ""));
    assert_false(pq_str_ends(PQ_STR("nnx"), ".onnx"));
}

static void
test_printing_views(void **state)
{
    (void)state;
    char text[32];
    pq_str s = {"abcdef", 3};
    assert_int_equal(snprintf(text, sizeof text, "<%.*s>", PQ_STR_ARG(s)), 5);
    assert_string_equal(text, "<abc>");
    s = pq_str_of(NULL);
    assert_int_equal(snprintf(text, sizeof text, "<%.*s>", PQ_STR_ARG(s)), 2);
    // A length that as an int would be negative must not mean "all".
    s = (pq_str){"abc", (size_t)UINT32_MAX};
    const struct {
        int precision;
        const char *p;
    } arguments = {PQ_STR_ARG(s)};
    assert_int_equal(arguments.precision, INT_MAX);
}

static void
test_split(void **state)
{
    (void)state;
    pq_str head;
    pq_str rest;
    assert_true(pq_str_split(PQ_STR("a=b=c"), '=', &head, &rest));
    assert_true(pq_str_equal_z(head, "a"));
    assert_true(pq_str_equal_z(rest, "b=c"));
    assert_true(pq_str_split(PQ_STR("a="), '=', &head, &rest));
    assert_int_equal(rest.n, 0);
    assert_true(pq_str_split(PQ_STR("=b"), '=', &head, &rest));
    assert_int_equal(head.n, 0);
    assert_false(pq_str_split(PQ_STR("abc"), '=', &head, &rest));
    assert_true(pq_str_equal_z(head, "abc"));
    assert_int_equal(rest.n, 0);
    assert_false(pq_str_split(pq_str_of(NULL), '=', &head, &rest));
}

static void
test_integers(void **state)
{
    (void)state;
    int64_t i = 0;
    uint64_t u = 0;
    assert_true(pq_str_to_i64(PQ_STR("-9223372036854775808"), &i));
    assert_true(i == INT64_MIN);
    assert_true(pq_str_to_i64(PQ_STR("9223372036854775807"), &i));
    assert_true(i == INT64_MAX);
    assert_true(pq_str_to_i64(PQ_STR("+7"), &i) && i == 7);
    assert_true(pq_str_to_i64(PQ_STR("-0"), &i) && i == 0);
    assert_true(pq_str_to_u64(PQ_STR("18446744073709551615"), &u));
    assert_true(u == UINT64_MAX);
    static const char *const refused[] = {
        "",   "-",    "+",   "--1", " 1",  "1 ",
        "1a", "0x10", "1.0", "1e3", "+-1", "9223372036854775808000"};
    for (size_t k = 0; k < sizeof refused / sizeof refused[0]; k++) {
        assert_false(pq_str_to_i64(pq_str_of(refused[k]), &i));
        assert_false(pq_str_to_u64(pq_str_of(refused[k]), &u));
    }
    assert_false(pq_str_to_i64(PQ_STR("9223372036854775808"), &i));
    assert_false(pq_str_to_i64(PQ_STR("-9223372036854775809"), &i));
    assert_false(pq_str_to_u64(PQ_STR("18446744073709551616"), &u));
    assert_false(pq_str_to_u64(PQ_STR("-1"), &u));
}

typedef struct float_case {
    const char *text;
    double value;
} float_case;

static const float_case float_cases[] = {
    {"0", 0.0},
    {"1", 1.0},
    {"-1.5", -1.5},
    {"+.5", 0.5},
    {"5.", 5.0},
    {"1e3", 1000.0},
    {"1E-3", 0.001},
    {"0.1", 0.1},
    {"1.7976931348623157e308", DBL_MAX},
    {"4.9406564584124654e-324", 4.9406564584124654e-324},
    {"1e-400", 0.0},
};

static void
test_floats(void **state)
{
    (void)state;
    double x;
    for (size_t i = 0; i < sizeof float_cases / sizeof float_cases[0]; i++) {
        assert_true(pq_str_to_f64(pq_str_of(float_cases[i].text), &x));
        assert_memory_equal(&x, &float_cases[i].value, sizeof x);
    }
    assert_true(pq_str_to_f64(PQ_STR("inf"), &x) && isinf(x) && x > 0);
    assert_true(pq_str_to_f64(PQ_STR("-inf"), &x) && isinf(x) && x < 0);
    assert_true(pq_str_to_f64(PQ_STR("nan"), &x) && isnan(x));
    static const char *const refused[] = {
        "",      ".",   "-",     "e5",       "1e",  "1e+",    "1 ",    " 1",
        "0x1p3", "1,5", "1.2.3", "infinity", "NAN", "nan(1)", "1e999", "1f"};
    for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++) {
        assert_false(pq_str_to_f64(pq_str_of(refused[i]), &x));
    }
    assert_false(pq_str_to_f64(PQ_STR("1\0002"), &x));
    char longest[2000];
    memset(longest, '1', sizeof longest);
    longest[1] = '.';
    assert_true(pq_str_to_f64((pq_str){longest, 1000}, &x));
    assert_false(pq_str_to_f64((pq_str){longest, 2000}, &x));
}

static void
test_utf8(void **state)
{
    (void)state;
    // Every sequence of two bytes, by the definition of UTF-8.
    for (unsigned a = 0; a < 256; a++) {
        for (unsigned b = 0; b < 256; b++) {
            char text[2] = {(char)a, (char)b};
            size_t want = 0;
            if (a < 0x80) {
                want = 1;
            } else if (a >= 0xc2 && a <= 0xdf && b >= 0x80 && b <= 0xbf) {
                want = 2;
            }
            assert_int_equal(pq_str_utf8((pq_str){text, 2}), want);
        }
    }
    assert_int_equal(pq_str_utf8(pq_str_of(NULL)), 0);
    assert_int_equal(pq_str_utf8(PQ_STR("\xe0\xa0\x80")), 3);
    assert_int_equal(pq_str_utf8(PQ_STR("\xe0\x9f\xbf")), 0);
    assert_int_equal(pq_str_utf8(PQ_STR("\xed\x9f\xbf")), 3);
    assert_int_equal(pq_str_utf8(PQ_STR("\xed\xa0\x80")), 0);
    assert_int_equal(pq_str_utf8(PQ_STR("\xf0\x90\x80\x80")), 4);
    assert_int_equal(pq_str_utf8(PQ_STR("\xf0\x8f\xbf\xbf")), 0);
    assert_int_equal(pq_str_utf8(PQ_STR("\xf4\x8f\xbf\xbf")), 4);
    assert_int_equal(pq_str_utf8(PQ_STR("\xf4\x90\x80\x80")), 0);
    assert_int_equal(pq_str_utf8(PQ_STR("\xe2\x82")), 0);
    assert_int_equal(pq_str_printable(PQ_STR("\x1f")), 0);
    assert_int_equal(pq_str_printable(PQ_STR(" ")), 1);
    assert_int_equal(pq_str_printable(PQ_STR("\x7f")), 0);
    assert_int_equal(pq_str_printable(PQ_STR("\xc2\x9f")), 0);
    assert_int_equal(pq_str_printable(PQ_STR("\xc2\xa0")), 2);
    assert_int_equal(pq_str_printable(PQ_STR("\xe2\x80\x8e")), 0);
    assert_int_equal(pq_str_printable(PQ_STR("\xe2\x80\x90")), 3);
    assert_int_equal(pq_str_printable(PQ_STR("\xe2\x81\xa9")), 0);
}

static void
test_distance(void **state)
{
    (void)state;
    assert_int_equal(pq_str_distance(PQ_STR("kitten"), PQ_STR("sitting")), 3);
    assert_int_equal(pq_str_distance(PQ_STR(""), PQ_STR("abc")), 3);
    assert_int_equal(pq_str_distance(PQ_STR("abc"), PQ_STR("")), 3);
    assert_int_equal(pq_str_distance(PQ_STR("w4a16"), PQ_STR("w4a16")), 0);
    assert_int_equal(pq_str_distance(PQ_STR("gptq"), PQ_STR("qptg")), 2);
    char longest[300];
    memset(longest, 'a', sizeof longest);
    pq_str a = {longest, 255};
    assert_int_equal(pq_str_distance(a, PQ_STR("")), 255);
    assert_int_equal(pq_str_distance(a, a), 0);
    a.n = 256;
    assert_int_equal(pq_str_distance(a, a), 255); // capped
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_compare),        cmocka_unit_test(test_split),
        cmocka_unit_test(test_printing_views), cmocka_unit_test(test_integers),
        cmocka_unit_test(test_floats),         cmocka_unit_test(test_utf8),
        cmocka_unit_test(test_distance),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
