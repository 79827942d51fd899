// SPDX-License-Identifier: Apache-2.0
//
// Status names and advice: complete, and safe for any number.
#include "ptqc/status.h"

#include "tests/support/cmocka_test.h"

static void
test_names(void **state)
{
    (void)state;
#define CHECK(NAME, number, text, advice)                                      \
    assert_int_equal(PTQC_##NAME, number);                                     \
    assert_string_equal(ptqc_status_name(PTQC_##NAME), text);                  \
    assert_string_equal(ptqc_status_advice(PTQC_##NAME), advice);
    PTQC_STATUSES(CHECK)
#undef CHECK
}

static void
test_numbers_from_outside(void **state)
{
    (void)state;
    assert_string_equal(ptqc_status_name((ptqc_status)71), "unknown");
    assert_string_equal(ptqc_status_advice((ptqc_status)127), "unknown");
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_numbers_from_outside),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
