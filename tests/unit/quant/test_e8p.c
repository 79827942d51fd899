// SPDX-License-Identifier: Apache-2.0
//
// E8P: the published points, all different, with even sums; the nearest one is
// taken; the error on normal numbers (algorithms 10 and 18 A9).
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "quant/e8p.h"
#include "tests/support/cmocka_test.h"
#include "tests/support/context.h"
#include "tests/unit/quant/synthetic.h"

enum { POINTS = 65536, W = PQ_E8P_WIDTH };

// All points in quarters, exact: [POINTS][W].
static int8_t *
all_points(const pq_e8p *book)
{
    int8_t *points = malloc((size_t)POINTS * W);
    assert_non_null(points);
    for (uint32_t c = 0; c < POINTS; c++) {
        float x[W];
        pq_e8p_decode(book, (uint16_t)c, x);
        for (int i = 0; i < W; i++) {
            points[c * W + (uint32_t)i] = (int8_t)(4 * x[i]);
            assert_true((float)points[c * W + (uint32_t)i] == 4 * x[i]);
        }
    }
    return points;
}

// [code][coordinate] in quarters, and SHA-256 of all, from quip-sharp 1d8f873
// (get_full_grid).
static void
points_are_the_published_ones(void **state)
{
    (void)state;
    static const struct {
        uint16_t code;
        int8_t point[W];
    } some[] = {
        {0x0000, {3, 3, 3, 3, 3, 3, 3, 3}},
        {0x0001, {1, 1, 1, 1, 1, 1, 1, 1}},
        {0x1234, {-3, -3, 1, -3, -7, 1, 1, 5}},
        {0x8001, {1, 5, 5, 1, 1, 5, 1, -3}},
        {0xe3ff, {-5, -1, -1, -1, -5, -5, -5, 7}},
        {0xffff, {-5, -5, -1, -1, -5, -5, -5, 3}},
    };
    static pq_e8p book;
    pq_e8p_init(&book);
    int8_t *points = all_points(&book);
    for (size_t k = 0; k < sizeof some / sizeof *some; k++) {
        assert_memory_equal(points + some[k].code * W, some[k].point, W);
    }
    ptqc_ctx *ctx = pq_test_ctx_create(NULL, NULL, 1);
    pq_sha256 hash;
    char text[65];
    assert_int_equal(pq_sha256_of(ctx, points, (size_t)POINTS * W, &hash),
                     PTQC_OK);
    pq_sha256_hex(&hash, text);
    assert_string_equal(
        text,
        "ea3883a85a627590ca74626320a2a691943386a8c89ac72cdb6388bfe7da5cc0");
    ptqc_ctx_destroy(ctx);
    free(points);
}

static int
compare_points(const void *a, const void *b)
{
    return memcmp(a, b, W);
}

static void
points_are_distinct(void **state)
{
    (void)state;
    static pq_e8p book;
    pq_e8p_init(&book);
    int8_t *points = all_points(&book);
    qsort(points, POINTS, W, compare_points);
    for (uint32_t c = 1; c < POINTS; c++) {
        assert_true(memcmp(points + (c - 1) * W, points + c * W, W) != 0);
    }
    free(points);
}

// Without its shift a point is in D8 + 1/2: halves of odd numbers with an even
// sum; its squared norm is at most 10, or 12.
static void
sums_are_even(void **state)
{
    (void)state;
    static pq_e8p book;
    pq_e8p_init(&book);
    int8_t *points = all_points(&book);
    int of_12 = 0;
    for (uint32_t c = 0; c < POINTS; c++) {
        int shift = __builtin_parity(c & 255) != 0 ? -1 : 1;
        int sum = 0;
        int norm = 0;
        for (uint32_t i = 0; i < W; i++) {
            int twice = (points[c * W + i] - shift) / 2;
            assert_true(abs(twice) % 2 == 1);
            sum += twice;
            norm += twice * twice;
        }
        assert_true(sum % 4 == 0);
        assert_true(norm <= 40 || norm == 48);
        of_12 += norm == 48;
    }
    assert_int_equal(of_12, 29 * 256);
    free(points);
}

static void
every_code_comes_back(void **state)
{
    (void)state;
    static pq_e8p book;
    pq_e8p_init(&book);
    for (uint32_t c = 0; c < POINTS; c++) {
        float x[W];
        pq_e8p_decode(&book, (uint16_t)c, x);
        assert_int_equal(pq_e8p_encode(&book, x), c);
        for (int i = 0; i < W; i++) {
            x[i] += (i % 2 == 0 ? .1f : -.1f); // within a sphere of the lattice
        }
        assert_int_equal(pq_e8p_encode(&book, x), c);
    }
}

static double
squared_distance(const float *x, const float *y)
{
    double sum = 0;
    for (int i = 0; i < W; i++) {
        sum += ((double)x[i] - (double)y[i]) * ((double)x[i] - (double)y[i]);
    }
    return sum;
}

// Beside all points, for numbers of several sizes, also far outside.
static void
the_nearest_is_taken(void **state)
{
    (void)state;
    static pq_e8p book;
    pq_e8p_init(&book);
    float *points = new_floats(POINTS * W);
    for (uint32_t c = 0; c < POINTS; c++) {
        pq_e8p_decode(&book, (uint16_t)c, points + c * W);
    }
    float *x = normal_floats(31, 200 * W);
    for (int k = 0; k < 200; k++) {
        float y[W];
        for (int i = 0; i < W; i++) {
            y[i] = x[k * W + i] * (float[]){.3f, 1.03f, 3, 20}[k % 4];
        }
        double least = (double)INFINITY;
        for (int c = 0; c < POINTS; c++) {
            least = fmin(least, squared_distance(y, points + c * W));
        }
        float got[W];
        pq_e8p_decode(&book, pq_e8p_encode(&book, y), got);
        assert_true(squared_distance(y, got) <= least * (1 + 1e-5));
    }
    free(x);
    free(points);
}

static void
error_on_normal_numbers(void **state)
{
    (void)state;
    static pq_e8p book;
    pq_e8p_init(&book);
    enum { COUNT = 20000 };
    float *x = normal_floats(37, COUNT * W);
    double sum = 0;
    for (int k = 0; k < COUNT; k++) {
        float y[W];
        float got[W];
        for (int i = 0; i < W; i++) {
            y[i] = x[k * W + i] * PQ_E8P_SCALE;
        }
        pq_e8p_decode(&book, pq_e8p_encode(&book, y), got);
        sum += squared_distance(y, got);
    }
    double scale = (double)PQ_E8P_SCALE;
    double error = sum / (COUNT * W) / (scale * scale);
    print_message("squared error of a normal number: %.5f\n", error);
    assert_true(fabs(error / .0925 - 1) < .02);
    free(x);
}

// Numbers that no code is near to have one all the same.
static void
any_number_has_a_code(void **state)
{
    (void)state;
    static pq_e8p book;
    pq_e8p_init(&book);
    const float odd[W] = {NAN, INFINITY, -INFINITY, 0, -0.0f, 1, -1, .5f};
    const float same[W] = {0, 0, 0, 0, 0, 1, -1, .5f};
    assert_int_equal(pq_e8p_encode(&book, odd), pq_e8p_encode(&book, same));
    const float large[W] = {3e38f, -3e38f, 1, 0, 0, 0, 0, 0};
    float got[W];
    pq_e8p_decode(&book, pq_e8p_encode(&book, large), got);
    assert_true(got[0] > 1 && got[1] < -1);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(points_are_the_published_ones),
        cmocka_unit_test(points_are_distinct),
        cmocka_unit_test(sums_are_even),
        cmocka_unit_test(every_code_comes_back),
        cmocka_unit_test(the_nearest_is_taken),
        cmocka_unit_test(error_on_normal_numbers),
        cmocka_unit_test(any_number_has_a_code),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
