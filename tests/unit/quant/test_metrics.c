// SPDX-License-Identifier: Apache-2.0
//
// Error metrics on numbers worked out by hand.
#include <math.h>

#include "quant/metrics.h"
#include "tests/support/cmocka_test.h"

static void
distances(void **state)
{
    (void)state;
    const float x[4] = {1, 2, -2, 0};
    const float y[4] = {1, 1, -2, 1};
    assert_true(fabs(pq_mse(x, y, 4) - 0.5) < 1e-12);
    assert_true(fabs(pq_sqnr_db(x, y, 4) - 10 * log10(9.0 / 2)) < 1e-12);
    assert_true(isinf(pq_sqnr_db(x, x, 4)));
    assert_true(fabs(pq_cosine(x, x, 4) - 1) < 1e-12);
    assert_true(fabs(pq_cosine(x, y, 4) - 7 / sqrt(9.0 * 7)) < 1e-12);
    const float zero[4] = {0};
    assert_true(fabs(pq_cosine(zero, zero, 4) - 1) < 1e-12);
    assert_true(fabs(pq_cosine(x, zero, 4)) < 1e-12);
    assert_true(fabs(pq_mse(x, y, 0)) < 1e-12);
}

static void
divergence(void **state)
{
    (void)state;
    const double p[3] = {1, 1, 2};
    const double q[3] = {2, 2, 4};
    const double r[3] = {1, 2, 1};
    const double hole[3] = {0, 1, 1};
    assert_true(fabs(pq_kl(p, q, 3)) < 1e-12);
    double expected = 0.25 * log(1) + 0.25 * log(0.5) + 0.5 * log(2);
    assert_true(fabs(pq_kl(p, r, 3) - expected) < 1e-12);
    assert_true(isinf(pq_kl(p, hole, 3)));
    assert_true(fabs(pq_kl(hole, p, 3) - (0.5 * log(2) + 0.5 * log(1))) <
                1e-12);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(distances),
        cmocka_unit_test(divergence),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
