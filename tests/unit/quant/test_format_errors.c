// SPDX-License-Identifier: Apache-2.0
//
// Relative squared errors of 4-bit formats on normal, Laplace and Student
// numbers (4 degrees of freedom): bar A10, the numbers of algorithms 13.
#include <math.h>
#include <stdlib.h>

#include "quant/quantize.h"
#include "quant/rows.h"
#include "quant/scheme.h"
#include "tests/support/cmocka_test.h"
#include "tests/support/context.h"
#include "tests/unit/quant/laws.h"

enum { ROWS = 4096, COLS = 1024, LAWS = STUDENT + 1 };

static float *
numbers(pq_law law)
{
    float *w = calloc((size_t)ROWS * COLS, sizeof *w);
    pq_test_random r = pq_test_random_seed(13 + (uint64_t)law);
    assert_non_null(w);
    for (size_t i = 0; i < (size_t)ROWS * COLS; i++) {
        w[i] = draw_of_law(&r, law);
    }
    return w;
}

// sum (w - q)^2 / sum w^2 with the scheme's own choice of scales.
static double
relative_error(ptqc_ctx *ctx, const float *w, const char *name)
{
    pq_scheme_request request;
    assert_int_equal(pq_scheme_parse(ctx, pq_str_of(name), &request), PTQC_OK);
    pq_weights view = pq_rows_view(w, ROWS, COLS, &request.weights);
    size_t n = (size_t)ROWS * COLS;
    size_t scale_count = (size_t)pq_weights_scale_count(&view);
    float *scales = calloc(scale_count, sizeof *scales);
    int32_t *zeros = calloc(scale_count, sizeof *zeros);
    uint8_t *codes = calloc(n, 1);
    float *q = calloc(n, sizeof *q);
    double error = 0;
    double signal = 0;
    pq_choose_weight_params(&view, scales, zeros);
    pq_encode_weights(&view, scales, zeros, codes);
    pq_decode_weights(&view, scales, zeros, codes, q);
    for (size_t i = 0; i < n; i++) {
        double e = (double)w[i] - (double)q[i];
        error += e * e;
        signal += (double)w[i] * (double)w[i];
    }
    free(scales);
    free(zeros);
    free(codes);
    free(q);
    return error / signal;
}

typedef struct pq_golden {
    const char *scheme;
    double errors[LAWS]; // 0: not known
} pq_golden;

// mxfp4: the best of three exponents.
static const pq_golden goldens[] = {
    {"w4a16:g32:asym", {.00652, .0089, .00932}},
    {"w4a16:g64:asym", {.00829, 0, .0142}},
    {"w4a16:g128:asym", {.01012, .01698, .02109}},
    {"nf4:g64", {.00845, 0, .0124}},
    {"mxfp4", {.01245, .01498, .01631}},
};

static void
errors_of_formats(void **state)
{
    (void)state;
    ptqc_ctx *ctx = pq_test_ctx_create(NULL, NULL, 2);
    for (int law = NORMAL; law <= STUDENT; law++) {
        float *w = numbers((pq_law)law);
        for (size_t i = 0; i < sizeof goldens / sizeof *goldens; i++) {
            const pq_golden *t = &goldens[i];
            double error = relative_error(ctx, w, t->scheme);
            print_message("law %d, %s: %.5f (%.5f)\n", law, t->scheme, error,
                          t->errors[law]);
            if (t->errors[law] > 0) {
                assert_true(fabs(error / t->errors[law] - 1) <= .02);
            }
        }
        free(w);
    }
    ptqc_ctx_destroy(ctx);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(errors_of_formats),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
