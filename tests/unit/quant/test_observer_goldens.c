// SPDX-License-Identifier: Apache-2.0
//
// Known optima of clipping: OCTAV's fixed points, and what symmetric 8-bit
// codes make of unit normal, Laplace and Student numbers (4 degrees of
// freedom) under each rule, within 2 %.
#include <math.h>

#include "quant/observer.h"
#include "tests/support/cmocka_test.h"
#include "tests/support/context.h"
#include "tests/unit/quant/laws.h"

#define COUNT 4000000
#define CHUNK 100000

static float *
numbers(ptqc_ctx *ctx, pq_law law)
{
    float *x = pq_alloc_array(ctx, COUNT, sizeof *x);
    pq_test_random r = pq_test_random_seed(2017 + (uint64_t)law);
    assert_non_null(x);
    for (size_t i = 0; i < COUNT; i++) {
        x[i] = draw_of_law(&r, law);
    }
    return x;
}

static pq_observer
observed(ptqc_ctx *ctx, pq_observer_kind kind, const float *x, double percent)
{
    const pq_observer_desc desc = {.kind = kind,
                                   .percentile = percent,
                                   .format = PTQC_I8,
                                   .symmetric = true};
    pq_observer o;
    pq_observer_init(&o, ctx, &desc);
    for (size_t i = 0; i < COUNT; i += CHUNK) {
        assert_int_equal(pq_observer_take(&o, x + i, CHUNK), PTQC_OK);
    }
    return o;
}

static double
sqnr_of(const float *x, float end)
{
    pq_params p = pq_params_of_range(-end, end, PTQC_I8, true);
    double signal = 0;
    double noise = 0;
    for (size_t i = 0; i < COUNT; i++) {
        double q =
            (double)p.scale * (pq_code_of(x[i], p, PTQC_I8) - p.zero_point);
        signal += (double)x[i] * (double)x[i];
        noise += (q - (double)x[i]) * (q - (double)x[i]);
    }
    return 10 * log10(signal / noise);
}

static void
check(double found, double golden, const char *what)
{
    if (fabs(found - golden) > 0.02 * golden) {
        fail_msg("%s: expected %g within 2 %%, found %g", what, golden, found);
    }
}

typedef struct pq_golden {
    pq_law law;
    pq_observer_kind kind;
    double sqnr_db;
    double end; // 0: hangs on the largest of all numbers
} pq_golden;

// Threshold and signal to noise. Entropy's threshold hangs on the largest
// number of the sample.
static void
eight_bits(void **state)
{
    (void)state;
    static const pq_golden goldens[] = {
        {NORMAL, PQ_OBSERVER_ENTROPY, 39.5, 0},
        {NORMAL, PQ_OBSERVER_PERCENTILE, 40.6, 3.89},
        {NORMAL, PQ_OBSERVER_MSE, 40.6, 3.92},
        {NORMAL, PQ_OBSERVER_OCTAV, 40.6, 3.919},
        {LAPLACE, PQ_OBSERVER_ENTROPY, 35.0, 0},
        {LAPLACE, PQ_OBSERVER_PERCENTILE, 34.7, 6.46},
        {LAPLACE, PQ_OBSERVER_MSE, 35.0, 7.06},
        {LAPLACE, PQ_OBSERVER_OCTAV, 35.0, 7.002},
    };
    ptqc_ctx *ctx = pq_test_ctx_create(NULL, NULL, 2);
    float *x = NULL;
    for (size_t i = 0; i < sizeof goldens / sizeof *goldens; i++) {
        const pq_golden *t = &goldens[i];
        float min, max;
        if (i == 0 || t->law != goldens[i - 1].law) {
            pq_free(ctx, x);
            x = numbers(ctx, t->law);
        }
        pq_observer o = observed(ctx, t->kind, x, 99.99);
        assert_int_equal(pq_observer_range(&o, &min, &max), PTQC_OK);
        max = fmaxf(max, -min); // what symmetric codes take of a range
        print_message("law %d, %s: threshold %g, %g dB\n", (int)t->law,
                      pq_observer_name(t->kind), (double)max, sqnr_of(x, max));
        check(sqnr_of(x, max), t->sqnr_db, pq_observer_name(t->kind));
        if (t->end > 0) {
            check((double)max, t->end, pq_observer_name(t->kind));
        }
        pq_observer_deinit(&o);
    }
    pq_free(ctx, x);
    assert_int_equal(pq_live_bytes(ctx), 0);
    ptqc_ctx_destroy(ctx);
}

// Student's fourth moment is infinite: signal to noise and the best threshold
// are those of a sample, its few largest numbers decide. So known thresholds
// are tried on the same numbers; the percentile is the law's own.
static void
eight_bits_of_heavy_tails(void **state)
{
    (void)state;
    static const pq_golden goldens[] = {
        {STUDENT, PQ_OBSERVER_ENTROPY, 0, 10.7},
        {STUDENT, PQ_OBSERVER_PERCENTILE, 0, 10.8},
        {STUDENT, PQ_OBSERVER_MSE, 0, 19.2},
        {STUDENT, PQ_OBSERVER_OCTAV, 0, 19.2},
    };
    ptqc_ctx *ctx = pq_test_ctx_create(NULL, NULL, 2);
    float *x = numbers(ctx, STUDENT);
    for (size_t i = 0; i < sizeof goldens / sizeof *goldens; i++) {
        float min, max;
        pq_observer o = observed(ctx, goldens[i].kind, x, 99.99);
        assert_int_equal(pq_observer_range(&o, &min, &max), PTQC_OK);
        max = fmaxf(max, -min);
        double found = sqnr_of(x, max);
        double known = sqnr_of(x, (float)goldens[i].end);
        print_message("%s: threshold %g, %g dB; known %g, %g dB\n",
                      pq_observer_name(goldens[i].kind), (double)max, found,
                      goldens[i].end, known);
        assert_true(found > known);
        if (goldens[i].kind == PQ_OBSERVER_PERCENTILE) {
            check((double)max, 15.5438 / sqrt(2), "percentile");
        }
        pq_observer_deinit(&o);
    }
    pq_free(ctx, x);
    ptqc_ctx_destroy(ctx);
}

static void
octav_fixed_points(void **state)
{
    (void)state;
    static const unsigned bits[] = {2, 3, 4, 5, 6, 8};
    static const double goldens[2][6] = {
        [NORMAL] = {1.740, 2.163, 2.564, 2.937, 3.286, 3.919},
        [LAPLACE] = {2.032, 2.766, 3.558, 4.383, 5.228, 7.002}};
    ptqc_ctx *ctx = pq_test_ctx_create(NULL, NULL, 2);
    for (int law = NORMAL; law <= LAPLACE; law++) {
        float *x = numbers(ctx, (pq_law)law);
        pq_observer o = observed(ctx, PQ_OBSERVER_OCTAV, x, 0);
        for (size_t i = 0; i < 6; i++) {
            check(pq_octav_symmetric(&o.histogram, bits[i]), goldens[law][i],
                  "octav");
        }
        pq_observer_deinit(&o);
        pq_free(ctx, x);
    }
    ptqc_ctx_destroy(ctx);
}

// Numbers of one sign have the steps of both: the unsigned formula.
static void
octav_of_one_side(void **state)
{
    (void)state;
    ptqc_ctx *ctx = pq_test_ctx_create(NULL, NULL, 2);
    float *x = numbers(ctx, NORMAL);
    for (size_t i = 0; i < COUNT; i++) {
        x[i] = fmaxf(x[i], 0);
    }
    pq_observer o = observed(ctx, PQ_OBSERVER_OCTAV, x, 0);
    double lo, hi;
    pq_octav_range(&o.histogram, 255, &lo, &hi);
    assert_true(!(lo < 0) && !(lo > 0));
    // 255 steps on one side are those of 9 bits on two.
    check(hi, pq_octav_symmetric(&o.histogram, 9), "one side");
    pq_observer_deinit(&o);
    pq_free(ctx, x);
    ptqc_ctx_destroy(ctx);
}

// The searches are at least as good as all that was seen, in their own norm.
static void
never_worse_than_minmax(void **state)
{
    (void)state;
    ptqc_ctx *ctx = pq_test_ctx_create(NULL, NULL, 2);
    for (int law = NORMAL; law <= STUDENT; law++) {
        float *x = numbers(ctx, (pq_law)law);
        pq_observer o = observed(ctx, PQ_OBSERVER_MSE, x, 0);
        float min, max;
        assert_int_equal(pq_observer_range(&o, &min, &max), PTQC_OK);
        assert_true(pq_observer_error(&o, min, max) <=
                    pq_observer_error(&o, o.min, o.max));
        pq_observer_deinit(&o);
        pq_free(ctx, x);
    }
    ptqc_ctx_destroy(ctx);
}

// Samples with ranges [-k, 2 k]: the mean of the first 100, whatever their
// order; then the past fades.
static void
moving_average(void **state)
{
    (void)state;
    ptqc_ctx *ctx = pq_test_ctx_create(NULL, NULL, 1);
    const pq_observer_desc desc = {.kind = PQ_OBSERVER_AVERAGE,
                                   .format = PTQC_U8};
    pq_observer o;
    float min, max;
    pq_observer_init(&o, ctx, &desc);
    for (int i = 0; i < 50; i++) {
        const float x[2] = {(float)-(i % 5 + 1), (float)(2 * (i % 5 + 1))};
        assert_int_equal(pq_observer_take(&o, x, 2), PTQC_OK);
    }
    assert_int_equal(pq_observer_range(&o, &min, &max), PTQC_OK);
    assert_true(fabsf(min + 3) < 1e-5f && fabsf(max - 6) < 1e-5f);
    for (int i = 0; i < 1000; i++) {
        const float x[2] = {0, 10};
        assert_int_equal(pq_observer_take(&o, x, 2), PTQC_OK);
    }
    assert_int_equal(pq_observer_range(&o, &min, &max), PTQC_OK);
    assert_true(fabsf(min) < 1e-3f && fabsf(max - 10) < 1e-2f);
    pq_observer_deinit(&o);
    ptqc_ctx_destroy(ctx);
}

// A spike at 0, an empty middle and a far outlier: no candidate may divide by
// an empty share.
static void
entropy_of_gaps(void **state)
{
    (void)state;
    ptqc_ctx *ctx = pq_test_ctx_create(NULL, NULL, 1);
    const pq_observer_desc desc = {.kind = PQ_OBSERVER_ENTROPY,
                                   .format = PTQC_U8};
    pq_observer o;
    float min, max;
    float x[1000] = {0};
    pq_observer_init(&o, ctx, &desc);
    for (int i = 0; i < 300; i++) {
        x[i] = 0.001f * (float)(i + 1);
    }
    x[999] = 7;
    assert_int_equal(pq_observer_take(&o, x, 1000), PTQC_OK);
    assert_int_equal(pq_observer_range(&o, &min, &max), PTQC_OK);
    assert_true(!(min < 0) && max > 0.25f && max <= 7);
    pq_observer_deinit(&o);
    assert_int_equal(pq_live_bytes(ctx), 0);
    ptqc_ctx_destroy(ctx);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(eight_bits),
        cmocka_unit_test(eight_bits_of_heavy_tails),
        cmocka_unit_test(octav_fixed_points),
        cmocka_unit_test(octav_of_one_side),
        cmocka_unit_test(never_worse_than_minmax),
        cmocka_unit_test(moving_average),
        cmocka_unit_test(entropy_of_gaps),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
