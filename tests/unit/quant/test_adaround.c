// SPDX-License-Identifier: Apache-2.0
//
// AdaRound on Gram matrices beside GPTQ and rounding (algorithms 18 B6), what
// cannot be learned, bytes of any number of threads.
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "quant/adaround.h"
#include "quant/gptq.h"
#include "quant/rows.h"
#include "tests/support/cmocka_test.h"
#include "tests/support/context.h"
#include "tests/support/random.h"
#include "tests/unit/quant/synthetic.h"

enum { D = 256, M = 128, N = 4096 };

static const pq_scheme w4_g128 = {
    .format = PTQC_U4, .granularity = PQ_GRAN_GROUP, .axis = 1, .group = 128};

// Loss over that of rounding on inputs that were not learned from.
static double
held_ratio(ptqc_ctx *ctx, const layer_inputs *in, const pq_adaround_desc *desc,
           const uint8_t *codes)
{
    float *x = draw_inputs(ctx, in, 3, N);
    float *h = gram_of(ctx, x, N, D);
    uint8_t *rounded = calloc(M * D, 1);
    pq_weights w = pq_rows_view(desc->w, M, D, &desc->scheme);
    double learned, plain;
    assert_int_equal(
        pq_rows_encode(ctx, &w, desc->scales, desc->zero_points, rounded),
        PTQC_OK);
    assert_int_equal(pq_rows_loss(ctx, &w, desc->scales, desc->zero_points,
                                  codes, h, &learned),
                     PTQC_OK);
    assert_int_equal(pq_rows_loss(ctx, &w, desc->scales, desc->zero_points,
                                  rounded, h, &plain),
                     PTQC_OK);
    free(x);
    free(h);
    free(rounded);
    return learned / plain;
}

// B6. Independent inputs have nothing to learn, and it is not learned.
static void
beside_gptq(void **state)
{
    (void)state;
    ptqc_ctx *ctx = pq_test_ctx_create(NULL, NULL, 2);
    static const struct {
        covariance kind;
        double exponent;
        double bar; // loss over GPTQ's; iid: over that of rounding
    } cases[] = {{COV_SPECTRUM, 1, .92},
                 {COV_SPECTRUM, 1.5, .92},
                 {COV_AR, 0, 1.05},
                 {COV_IID, 0, 1.02}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        layer_inputs in = make_inputs(cases[i].kind, cases[i].exponent, D);
        float *x = draw_inputs(ctx, &in, 1, N);
        float *h = gram_of(ctx, x, N, D);
        float *w = normal_floats(2, M * D);
        float scales[M * 2];
        int32_t zeros[M * 2];
        uint8_t *codes = calloc(M * D, 1);
        pq_factor *factor;
        pq_gptq_report gptq;
        pq_adaround_report report;
        pq_factor_desc fd = {
            .h = h, .d = D, .damping = .01f, .order = PQ_ORDER_GIVEN};
        pq_gptq_desc gd = {.w = w,
                           .rows = M,
                           .h = h,
                           .scheme = w4_g128,
                           .search = PQ_SCALE_MSE};
        assert_int_equal(pq_factor_create(ctx, &fd, &factor), PTQC_OK);
        assert_int_equal(
            pq_gptq_solve(ctx, factor, &gd, scales, zeros, codes, &gptq),
            PTQC_OK);
        pq_adaround_desc desc = {.w = w,
                                 .rows = M,
                                 .d = D,
                                 .h = h,
                                 .tokens = N,
                                 .scheme = w4_g128,
                                 .scales = scales,
                                 .zero_points = zeros};
        assert_int_equal(pq_adaround(ctx, &desc, codes, &report), PTQC_OK);
        double base =
            cases[i].kind == COV_IID ? report.rounding_loss : gptq.loss;
        double held = held_ratio(ctx, &in, &desc, codes);
        printf("covariance %d k^-%.1f: %.3f of GPTQ, %.3f of rounding, others "
               "%.3f\n",
               (int)cases[i].kind, cases[i].exponent, report.loss / gptq.loss,
               report.loss / report.rounding_loss, held);
        assert_true(report.loss <= cases[i].bar * base);
        if (cases[i].kind == COV_IID) {
            assert_true(report.loss >= .98 * base);
            assert_true(fabs(held - 1) <= .02);
        }
        assert_true(fabs(report.rounding_loss - gptq.rounding_loss) <=
                    1e-6 * gptq.rounding_loss);
        pq_factor_destroy(ctx, factor);
        free(in.basis);
        free(x);
        free(h);
        free(w);
        free(codes);
    }
    ptqc_ctx_destroy(ctx);
}

// A matrix that tells nothing gives rounding; few iterations are enough to
// compare bytes.
static void
threads_and_nothing_to_learn(void **state)
{
    (void)state;
    uint8_t *codes[4];
    for (int k = 0; k < 4; k++) {
        ptqc_ctx *ctx = pq_test_ctx_create(NULL, NULL, k % 2 == 0 ? 1 : 3);
        layer_inputs in = make_inputs(COV_AR, 0, D);
        float *x = draw_inputs(ctx, &in, 1, N);
        float *h = k < 2 ? gram_of(ctx, x, N, D) : new_floats(D * D);
        float *w = normal_floats(2, M * D);
        pq_scheme scheme = w4_g128;
        scheme.bits = k < 2 ? 3 : 2;
        scheme.group = 100;
        float scales[M * 3];
        int32_t zeros[M * 3];
        pq_weights ws = pq_rows_view(w, M, D, &scheme);
        pq_adaround_desc desc = {.w = w,
                                 .rows = M,
                                 .d = D,
                                 .h = h,
                                 .iterations = 30,
                                 .scheme = scheme,
                                 .scales = scales,
                                 .zero_points = zeros};
        pq_adaround_report report;
        h[5] = k < 2 ? h[5] : NAN;
        codes[k] = calloc(M * D, 1);
        pq_choose_weight_params(&ws, scales, zeros);
        assert_int_equal(pq_adaround(ctx, &desc, codes[k], &report), PTQC_OK);
        if (k >= 2) {
            uint8_t *want = calloc(M * D, 1);
            pq_encode_weights(&ws, scales, zeros, want);
            assert_true(report.is_rounding);
            assert_memory_equal(codes[k], want, M * D);
            free(want);
        }
        free(x);
        free(h);
        free(w);
        ptqc_ctx_destroy(ctx);
    }
    assert_memory_equal(codes[0], codes[1], M * D);
    for (int k = 0; k < 4; k++) {
        free(codes[k]);
    }
}

static ptqc_status
learn_in(ptqc_ctx *ctx, void *user)
{
    const float *w = user;
    float h[16] = {4, 0, 0, 0, 1, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1};
    float scales[4] = {.1f, .2f, .3f, .4f};
    int32_t zeros[4] = {8, 8, 8, 8};
    uint8_t codes[16];
    pq_adaround_desc desc = {.w = w,
                             .rows = 4,
                             .d = 4,
                             .h = h,
                             .iterations = 3,
                             .scheme = w4_g128,
                             .scales = scales,
                             .zero_points = zeros};
    return pq_adaround(ctx, &desc, codes, NULL);
}

static void
memory_runs_out(void **state)
{
    (void)state;
    float *w = normal_floats(7, 16);
    assert_true(pq_test_alloc_sweep(learn_in, w) > 10);
    free(w);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(beside_gptq),
        cmocka_unit_test(threads_and_nothing_to_learn),
        cmocka_unit_test(memory_runs_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
