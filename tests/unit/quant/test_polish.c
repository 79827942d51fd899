// SPDX-License-Identifier: Apache-2.0
//
// Coordinate descent: a sweep never makes the loss larger (algorithms 18 A4),
// and what it wins over GPTQ (B4).
#include <stdio.h>

#include "quant/gptq.h"
#include "quant/polish.h"
#include "quant/rows.h"
#include "tests/support/cmocka_test.h"
#include "tests/support/context.h"
#include "tests/support/random.h"
#include "tests/unit/quant/synthetic.h"

enum { D = 256, M = 128, N = 4096 };

static const pq_scheme w4_g64 = {
    .format = PTQC_U4, .granularity = PQ_GRAN_GROUP, .axis = 1, .group = 64};

// tr(e h e') in f64.
static double
exact_loss(const float *w, const float *numbers, const float *h)
{
    double sum = 0;
    for (int64_t r = 0; r < M; r++) {
        double e[D];
        for (int64_t j = 0; j < D; j++) {
            e[j] = (double)w[r * D + j] - (double)numbers[r * D + j];
        }
        for (int64_t i = 0; i < D; i++) {
            double product = 0;
            for (int64_t j = 0; j < D; j++) {
                product += (double)h[i * D + j] * e[j];
            }
            sum += e[i] * product;
        }
    }
    return sum;
}

// From rounded codes, sweep by sweep.
static void
never_grows(void **state)
{
    (void)state;
    ptqc_ctx *ctx = pq_test_ctx_create(NULL, NULL, 2);
    static const covariance kinds[] = {COV_IID, COV_AR, COV_SPECTRUM};
    for (int k = 0; k < 3; k++) {
        layer_inputs in = make_inputs(kinds[k], 1.5, D);
        float *x = draw_inputs(ctx, &in, 1, N);
        float *h = gram_of(ctx, x, N, D);
        float *w = normal_floats(2, M * D);
        float *numbers = new_floats(M * D);
        float scales[M * D / 64];
        int32_t zeros[M * D / 64];
        static uint8_t codes[M * D];
        pq_weights ws = pq_rows_view(w, M, D, &w4_g64);
        pq_choose_weight_params(&ws, scales, zeros);
        pq_encode_weights(&ws, scales, zeros, codes);
        pq_polish_desc desc = {.w = w,
                               .rows = M,
                               .d = D,
                               .h = h,
                               .sweeps = 1,
                               .scheme = w4_g64,
                               .scales = scales,
                               .zero_points = zeros};
        pq_decode_weights(&ws, scales, zeros, codes, numbers);
        double first = exact_loss(w, numbers, h);
        double last = first;
        int64_t moved = 1;
        int sweeps = 0;
        for (; moved > 0 && sweeps < 60; sweeps++) {
            assert_int_equal(pq_polish_codes(ctx, &desc, codes, &moved),
                             PTQC_OK);
            pq_decode_weights(&ws, scales, zeros, codes, numbers);
            double loss = exact_loss(w, numbers, h);
            assert_true(moved > 0 ? loss < last : loss == last);
            last = loss;
        }
        printf("covariance %d: %.3f of rounding after %d sweeps\n", k,
               last / first, sweeps);
        assert_true(k != 0 || last / first > .9);
        assert_true(k == 0 || last / first < .5);
        free(in.basis);
        free(x);
        free(h);
        free(w);
        free(numbers);
    }
    ptqc_ctx_destroy(ctx);
}

// B4: five sweeps after GPTQ.
static void
wins_over_gptq(void **state)
{
    (void)state;
    ptqc_ctx *ctx = pq_test_ctx_create(NULL, NULL, 2);
    for (double exponent = .5; exponent <= 1; exponent += .5) {
        layer_inputs in = make_inputs(COV_SPECTRUM, exponent, D);
        float *x = draw_inputs(ctx, &in, 1, N);
        float *h = gram_of(ctx, x, N, D);
        float *w = normal_floats(2, M * D);
        float scales[M * D / 64];
        int32_t zeros[M * D / 64];
        static uint8_t codes[M * D];
        pq_factor *factor;
        pq_gptq_report report;
        pq_factor_desc fd = {.h = h, .d = D, .damping = .01f};
        pq_gptq_desc gd = {
            .w = w, .rows = M, .h = h, .scheme = w4_g64, .polish_sweeps = 5};
        assert_int_equal(pq_factor_create(ctx, &fd, &factor), PTQC_OK);
        assert_int_equal(
            pq_gptq_solve(ctx, factor, &gd, scales, zeros, codes, &report),
            PTQC_OK);
        printf("k^-%.1f: %.3f of GPTQ, %lld codes moved\n", exponent,
               report.loss / report.gptq_loss, (long long)report.moved_count);
        assert_true(report.loss <= .98 * report.gptq_loss);
        pq_factor_destroy(ctx, factor);
        free(in.basis);
        free(x);
        free(h);
        free(w);
    }
    ptqc_ctx_destroy(ctx);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(never_grows),
        cmocka_unit_test(wins_over_gptq),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
