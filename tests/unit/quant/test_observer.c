// SPDX-License-Identifier: Apache-2.0
//
// Observers and the histogram under them.
#include <math.h>
#include <string.h>

#include "quant/observer.h"
#include "tests/support/cmocka_test.h"
#include "tests/support/context.h"
#include "tests/support/random.h"

#define COUNT 200000

static pq_observer
make(ptqc_ctx *ctx, pq_observer_kind kind, double percentile, bool symmetric)
{
    const pq_observer_desc desc = {.kind = kind,
                                   .percentile = percentile,
                                   .format = symmetric ? PTQC_I8 : PTQC_U8,
                                   .symmetric = symmetric};
    pq_observer o;
    pq_observer_init(&o, ctx, &desc);
    return o;
}

// Mean squared error of a range on numbers.
static double
error_of(const float *x, size_t n, float min, float max, bool symmetric)
{
    ptqc_dtype format = symmetric ? PTQC_I8 : PTQC_U8;
    pq_params p = pq_params_of_range(min, max, format, symmetric);
    double sum = 0;
    for (size_t i = 0; i < n; i++) {
        double q =
            (double)p.scale * (pq_code_of(x[i], p, format) - p.zero_point);
        sum += (q - (double)x[i]) * (q - (double)x[i]);
    }
    return sum / (double)n;
}

static float *
normals(ptqc_ctx *ctx, uint64_t seed)
{
    float *x = pq_alloc_array(ctx, COUNT, sizeof *x);
    pq_test_random r = pq_test_random_seed(seed);
    assert_non_null(x);
    pq_test_fill_normal(&r, x, COUNT, 1);
    return x;
}

static void
minmax(void **state)
{
    (void)state;
    ptqc_ctx *ctx = pq_test_ctx_create(NULL, NULL, 1);
    const float x[6] = {1, 2, 5, NAN, INFINITY, 3};
    float min, max;
    pq_observer o = make(ctx, PQ_OBSERVER_MINMAX, 0, false);
    assert_int_equal(pq_observer_range(&o, &min, &max),
                     PTQC_OK); // nothing seen
    assert_true(fabsf(min) + fabsf(max) <= 0);
    assert_int_equal(pq_observer_take(&o, x, 6), PTQC_OK);
    assert_int_equal(pq_observer_range(&o, &min, &max), PTQC_OK);
    assert_true(fabsf(min) <= 0 && fabsf(max - 5) <= 0);
    assert_int_equal(o.refused, 2);
    pq_observer_deinit(&o);
    ptqc_ctx_destroy(ctx);
}

// P(|x| > 2.5758) = 1 % of the normal distribution.
static void
percentile(void **state)
{
    (void)state;
    ptqc_ctx *ctx = pq_test_ctx_create(NULL, NULL, 1);
    float *x = normals(ctx, 7);
    float min, max;
    for (int symmetric = 0; symmetric < 2; symmetric++) {
        pq_observer o = make(ctx, PQ_OBSERVER_PERCENTILE, 99, symmetric != 0);
        assert_int_equal(pq_observer_take(&o, x, COUNT), PTQC_OK);
        assert_int_equal(pq_observer_range(&o, &min, &max), PTQC_OK);
        assert_true(fabsf(max - 2.5758f) < 0.05f);
        assert_true(fabsf(min + 2.5758f) < 0.05f);
        pq_observer_deinit(&o);
    }
    for (size_t i = 0; i < COUNT; i++) {
        x[i] = fmaxf(x[i], 0);
    }
    pq_observer o = make(ctx, PQ_OBSERVER_PERCENTILE, 99, false);
    assert_int_equal(pq_observer_take(&o, x, COUNT), PTQC_OK);
    assert_int_equal(pq_observer_range(&o, &min, &max), PTQC_OK);
    assert_true(fabsf(min) <= 0 && fabsf(max - 2.5758f) < 0.05f);
    pq_observer_deinit(&o);
    pq_free(ctx, x);
    ptqc_ctx_destroy(ctx);
}

// Known optimum of a symmetric 8-bit quantizer on unit normals: 3.92.
static void
mse_on_normals(void **state)
{
    (void)state;
    ptqc_ctx *ctx = pq_test_ctx_create(NULL, NULL, 1);
    float *x = normals(ctx, 9);
    float min, max;
    pq_observer o = make(ctx, PQ_OBSERVER_MSE, 0, true);
    assert_int_equal(pq_observer_take(&o, x, COUNT), PTQC_OK);
    assert_int_equal(pq_observer_range(&o, &min, &max), PTQC_OK);
    assert_true(fabsf(fmaxf(-min, max) - 3.92f) < 0.12f);
    pq_observer_deinit(&o);
    pq_free(ctx, x);
    ptqc_ctx_destroy(ctx);
}

// With heavy tails the searched range is better than all that was seen,
// and no worse than its neighbours.
static void
mse_on_tails(void **state)
{
    (void)state;
    ptqc_ctx *ctx = pq_test_ctx_create(NULL, NULL, 1);
    float *x = normals(ctx, 13);
    for (size_t i = 0; i < COUNT; i++) {
        x[i] = x[i] * x[i] * x[i] * (x[i] > 0 ? 1 : 0.2f);
    }
    pq_observer o = make(ctx, PQ_OBSERVER_MSE, 0, false);
    float min, max;
    for (size_t i = 0; i < COUNT; i += 1000) {
        assert_int_equal(pq_observer_take(&o, x + i, 1000), PTQC_OK);
    }
    assert_int_equal(pq_observer_range(&o, &min, &max), PTQC_OK);
    double found = error_of(x, COUNT, min, max, false);
    assert_true(found < 0.9 * error_of(x, COUNT, o.min, o.max, false));
    assert_true(found < 1.02 * error_of(x, COUNT, min, max * 0.9f, false));
    assert_true(found < 1.02 * error_of(x, COUNT, min, max * 1.1f, false));
    assert_true(found < 1.02 * error_of(x, COUNT, min * 0.8f, max, false));
    pq_observer_deinit(&o);
    pq_free(ctx, x);
    ptqc_ctx_destroy(ctx);
}

static uint64_t
total(const pq_histogram *h)
{
    uint64_t n = 0;
    for (int64_t i = 0; i < h->count; i++) {
        n += h->bins[i];
    }
    return n;
}

// Growing keeps every count, and the bins are those of direct counting.
static void
histogram_growth(void **state)
{
    (void)state;
    ptqc_ctx *ctx = pq_test_ctx_create(NULL, NULL, 1);
    pq_histogram h;
    pq_test_random r = pq_test_random_seed(17);
    static float x[40][500];
    pq_histogram_init(&h, ctx);
    for (int i = 0; i < 40; i++) {
        float size = ldexpf(1, i - 20);
        pq_test_fill_f32(&r, x[i], 500, -size, size / 3);
        x[i][0] = 0;
        float min, max;
        assert_int_equal(pq_finite_range(x[i], 500, &min, &max), 0);
        assert_int_equal(pq_histogram_take(&h, x[i], 500, min, max), PTQC_OK);
        assert_true(h.count <= PQ_HISTOGRAM_BINS);
    }
    assert_int_equal(total(&h) + h.zeros, 40 * 500);
    uint64_t *direct = pq_alloc_array(ctx, (size_t)h.count, sizeof *direct);
    assert_non_null(direct);
    for (int i = 0; i < 40 * 500; i++) {
        float v = x[i / 500][i % 500];
        if (v < 0 || v > 0) {
            direct[(int64_t)floor((double)v / (double)h.width) - h.first]++;
        }
    }
    assert_memory_equal(direct, h.bins, (size_t)h.count * sizeof *direct);
    pq_free(ctx, direct);
    pq_histogram_deinit(&h);
    ptqc_ctx_destroy(ctx);
}

// Any number of threads counts the same.
static void
threads(void **state)
{
    (void)state;
    float ranges[3][2];
    for (uint32_t n = 1; n <= 3; n++) {
        ptqc_ctx *ctx = pq_test_ctx_create(NULL, NULL, n);
        float *x = normals(ctx, 21);
        x[5] = NAN;
        x[77] = INFINITY;
        x[COUNT - 1] = 0;
        pq_observer o = make(ctx, PQ_OBSERVER_MSE, 0, false);
        assert_int_equal(pq_observer_take(&o, x, COUNT), PTQC_OK);
        assert_int_equal(o.refused, 2);
        assert_int_equal(total(&o.histogram) + o.histogram.zeros, COUNT - 2);
        assert_int_equal(
            pq_observer_range(&o, &ranges[n - 1][0], &ranges[n - 1][1]),
            PTQC_OK);
        assert_memory_equal(ranges[0], ranges[n - 1], sizeof ranges[0]);
        pq_observer_deinit(&o);
        pq_free(ctx, x);
        ptqc_ctx_destroy(ctx);
    }
}

static void
hostile_numbers(void **state)
{
    (void)state;
    ptqc_ctx *ctx = pq_test_ctx_create(NULL, NULL, 1);
    const float x[9] = {0,      -0.0f, 1e-45f,   -1e-45f,  3e38f,
                        -3e38f, NAN,   INFINITY, -INFINITY};
    for (int kind = 0; kind < PQ_OBSERVER_COUNT; kind++) {
        for (size_t first = 0; first < 9; first++) {
            pq_observer o = make(ctx, (pq_observer_kind)kind, 99.99, false);
            float min, max;
            assert_int_equal(pq_observer_take(&o, x, 0), PTQC_OK);
            assert_int_equal(pq_observer_take(&o, x + first, 1), PTQC_OK);
            assert_int_equal(pq_observer_take(&o, x, 9), PTQC_OK);
            assert_int_equal(pq_observer_range(&o, &min, &max), PTQC_OK);
            assert_true(isfinite(min) && isfinite(max));
            assert_true(min <= 0 && max >= 0);
            pq_observer_deinit(&o);
        }
    }
    assert_int_equal(pq_live_bytes(ctx), 0);
    ptqc_ctx_destroy(ctx);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(minmax),           cmocka_unit_test(percentile),
        cmocka_unit_test(mse_on_normals),   cmocka_unit_test(mse_on_tails),
        cmocka_unit_test(histogram_growth), cmocka_unit_test(threads),
        cmocka_unit_test(hostile_numbers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
