// SPDX-License-Identifier: Apache-2.0
//
// The comparisons of tests/support: they must see what they are there to see.
#include <float.h>
#include <math.h>

#include "tests/support/cmocka_test.h"
#include "tests/support/compare.h"
#include "tests/support/random.h"

static void
test_ulp(void **state)
{
    (void)state;
    assert_true(pq_test_ulp_f32(1.0f, 1.0f) == 0);
    assert_true(pq_test_ulp_f32(0.0f, -0.0f) == 0);
    assert_true(pq_test_ulp_f32(1.0f, nextafterf(1.0f, 2.0f)) == 1);
    assert_true(pq_test_ulp_f32(0x1p-149f, -0x1p-149f) == 2);
    assert_true(pq_test_ulp_f32(FLT_MAX, INFINITY) == 1);
    assert_true(pq_test_ulp_f32(-INFINITY, INFINITY) == 2u * 0x7f800000u);
    assert_true(pq_test_ulp_f32(NAN, NAN) == 0);
    assert_true(pq_test_ulp_f32(NAN, 1.0f) == UINT64_MAX);
    assert_true(pq_test_ulp_f64(1.0, 1.0 + DBL_EPSILON) == 1);
    assert_true(pq_test_ulp_f64(-5e-324, 5e-324) == 2);
    assert_true(pq_test_ulp_f64((double)-INFINITY, (double)INFINITY) ==
                2u * 0x7ff0000000000000u);
}

static void
test_relative_error(void **state)
{
    (void)state;
    const float want[3] = {3.0f, 4.0f, 0.0f};
    const float got[3] = {3.0f, 4.5f, 0.0f};
    assert_true(pq_test_relative_error_f32(got, want, 3) == 0.1);
    assert_true(pq_test_relative_error_f32(want, want, 3) == 0.0);
    assert_true(pq_test_relative_error_f32(got, want, 0) == 0.0);
    const float bad[3] = {3.0f, NAN, 0.0f};
    assert_true(isinf(pq_test_relative_error_f32(bad, want, 3)));
    assert_true(pq_test_relative_error_f32(bad, bad, 3) == 0.0);
}

// Prints what it finds: that is what the helper is for.
static void
test_same(void **state)
{
    (void)state;
    const float want[4] = {1.0f, -2.0f, 0.0f, INFINITY};
    float got[4] = {1.0f, -2.0f, -0.0f, INFINITY};
    const pq_test_tolerance exact = {0};
    assert_true(pq_test_same_f32("equal", got, want, 4, exact));
    assert_false(pq_test_same_bytes("signed zero", got, want, sizeof want));
    got[1] = nextafterf(-2.0f, 0.0f);
    assert_false(pq_test_same_f32("one ulp", got, want, 4, exact));
    assert_true(pq_test_same_f32("one ulp", got, want, 4,
                                 (pq_test_tolerance){.ulp = 1}));
    assert_true(pq_test_same_f32("near", got, want, 4,
                                 (pq_test_tolerance){.relative = 1e-6}));
    got[3] = FLT_MAX; // one ulp from infinity, and infinitely wrong
    assert_false(pq_test_same_f32("infinity", got, want, 4,
                                  (pq_test_tolerance){.relative = 1e9}));
    got[3] = NAN;
    assert_false(pq_test_same_f32("nan", got, want, 4,
                                  (pq_test_tolerance){.absolute = 1e30}));
    const int8_t a[3] = {-128, 0, 127};
    const int8_t b[3] = {127, 1, 127};
    assert_false(pq_test_same_i8("far", a, b, 3, 254));
    assert_true(pq_test_same_i8("near", a, b, 3, 255));
    const int32_t c[1] = {INT32_MIN};
    const int32_t d[1] = {INT32_MAX};
    assert_false(pq_test_same_i32("far", c, d, 1, INT32_MAX));
    assert_true(pq_test_same_i32("empty", c, d, 0, 0));
}

static void
test_random(void **state)
{
    (void)state;
    // First outputs of xoshiro256** seeded by splitmix64(0), from the
    // authors' C code.
    pq_test_random r = pq_test_random_seed(0);
    assert_true(r.state[0] == 0xe220a8397b1dcdafu);
    assert_true(pq_test_random_u64(&r) == 0x99ec5f36cb75f2b4u);
    double sum = 0.0;
    double squares = 0.0;
    for (int i = 0; i < 100000; i++) {
        float x = pq_test_random_f32(&r, -1.0f, 3.0f);
        assert_true(x >= -1.0f && x < 3.0f);
        int64_t k = pq_test_random_int(&r, -3, 3);
        assert_true(k >= -3 && k <= 3);
        double z = (double)pq_test_random_normal(&r);
        sum += z;
        squares += z * z;
    }
    // Five deviations of the mean and of the variance of 1e5 samples.
    assert_true(fabs(sum / 1e5) < 5.0 / sqrt(1e5));
    assert_true(fabs(squares / 1e5 - 1.0) < 5.0 * sqrt(2.0 / 1e5));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ulp),
        cmocka_unit_test(test_relative_error),
        cmocka_unit_test(test_same),
        cmocka_unit_test(test_random),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
