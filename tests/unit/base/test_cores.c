// SPDX-License-Identifier: Apache-2.0
//
// The core count follows the affinity mask.
#include <sched.h>

#include "base/threads.h"
#include "tests/support/cmocka_test.h"
#include "tests/support/process.h"

// In a child: the mask of the test program stays.
static int
count_with_one_core(void *user)
{
    (void)user;
    cpu_set_t all;
    cpu_set_t one;
    if (sched_getaffinity(0, sizeof all, &all) != 0) {
        return PQ_TEST_CHILD_SKIP;
    }
    CPU_ZERO(&one);
    for (size_t i = 0; i < CPU_SETSIZE; i++) {
        if (CPU_ISSET(i, &all)) {
            CPU_SET(i, &one);
            break;
        }
    }
    if (sched_setaffinity(0, sizeof one, &one) != 0) {
        return PQ_TEST_CHILD_SKIP;
    }
    return pq_core_count() == 1 ? 0 : 1;
}

static void
test_affinity(void **state)
{
    (void)state;
    int code = pq_test_child_run(count_with_one_core, NULL);
    if (code == PQ_TEST_CHILD_SKIP) {
        print_message("skipped: the affinity mask cannot be set\n");
        skip();
    }
    assert_int_equal(code, 0);
    cpu_set_t all;
    assert_int_equal(sched_getaffinity(0, sizeof all, &all), 0);
    assert_true(pq_core_count() <= (uint32_t)CPU_COUNT(&all));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_affinity),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
