// SPDX-License-Identifier: Apache-2.0
//
// AdaRound by outputs: beside rounding with its best bias, in dense and grouped
// layers behind a clip, on places that it learned from and on others; beside
// every possible rounding of a tiny layer; bytes of any number of threads; odd
// sizes, one place, numbers that are none, memory that runs out.
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "quant/adaround_outputs.h"
#include "quant/rows.h"
#include "tests/support/cmocka_test.h"
#include "tests/support/context.h"
#include "tests/support/random.h"
#include "tests/unit/quant/synthetic.h"

static const pq_scheme w4_rows = {.format = PTQC_I4,
                                  .granularity = PQ_GRAN_CHANNEL,
                                  .axis = 0,
                                  .symmetric = true};

// A layer of random weights on inputs that are correlated and have a mean; x is
// what a model of codes gives it, the float model's input and some noise.
typedef struct outputs_layer {
    int64_t groups, rows, d, places;
    float lo, hi;
    float *w, *bias, *x, *y, *scales;
    int32_t *zeros;
    uint8_t *codes;
} outputs_layer;

static double
product_at(const outputs_layer *l, const float *w, const float *x, int64_t row,
           int64_t place)
{
    int64_t group = row / l->rows;
    double sum = 0;
    for (int64_t k = 0; k < l->d; k++) {
        sum += (double)w[row * l->d + k] *
               (double)x[(group * l->d + k) * l->places + place];
    }
    return sum;
}

static double
cut(const outputs_layer *l, double x)
{
    return fmin(fmax(x, (double)l->lo), (double)l->hi);
}

// New places of the same weights, inputs and bias.
static void
draw_places(outputs_layer *l, uint64_t seed)
{
    pq_test_random r = pq_test_random_seed(seed);
    int64_t rows = l->groups * l->rows;
    float *real = new_floats(l->groups * l->d * l->places);
    for (int64_t i = 0; i < l->places; i++) {
        for (int64_t g = 0; g < l->groups; g++) {
            float common = pq_test_random_normal(&r);
            for (int64_t k = 0; k < l->d; k++) {
                int64_t at = (g * l->d + k) * l->places + i;
                real[at] =
                    fmaxf(.5f + common + .5f * pq_test_random_normal(&r), 0);
                l->x[at] = real[at] + .1f * pq_test_random_normal(&r);
            }
        }
    }
    for (int64_t row = 0; row < rows; row++) {
        for (int64_t i = 0; i < l->places; i++) {
            double y = product_at(l, l->w, real, row, i);
            l->y[row * l->places + i] = (float)cut(l, y + (double)l->bias[row]);
        }
    }
    free(real);
}

static outputs_layer
make_layer(int64_t groups, int64_t rows, int64_t d, int64_t places)
{
    int64_t all = groups * rows;
    outputs_layer l = {
        groups, rows, d, places, 0, 3, .w = normal_floats(21, all * d)};
    l.bias = normal_floats(22, all);
    l.x = new_floats(groups * d * places);
    l.y = new_floats(all * places);
    l.scales = new_floats(all);
    l.zeros = calloc((size_t)all, sizeof *l.zeros);
    l.codes = calloc((size_t)(all * d), 1);
    pq_weights ws = pq_rows_view(l.w, groups * rows, d, &w4_rows);
    ws.search = PQ_SCALE_MSE;
    pq_choose_weight_params(&ws, l.scales, l.zeros);
    draw_places(&l, 23);
    return l;
}

static void
free_layer(outputs_layer *l)
{
    free(l->w);
    free(l->bias);
    free(l->x);
    free(l->y);
    free(l->scales);
    free(l->zeros);
    free(l->codes);
}

static pq_adaround_outputs_desc
desc_of(const outputs_layer *l)
{
    return (pq_adaround_outputs_desc){.w = l->w,
                                      .groups = l->groups,
                                      .rows = l->rows,
                                      .d = l->d,
                                      .x = l->x,
                                      .y = l->y,
                                      .places = l->places,
                                      .lo = l->lo,
                                      .hi = l->hi,
                                      .learns_bias = true,
                                      .scheme = w4_rows,
                                      .scales = l->scales,
                                      .zero_points = l->zeros};
}

static int
number_of(uint8_t code) // i4 as a byte holds it
{
    return (int8_t)code;
}

// Mean squared error of the outputs of these codes.
static double
loss_of(const outputs_layer *l, const uint8_t *codes, const float *bias)
{
    int64_t rows = l->groups * l->rows;
    float *w = new_floats(rows * l->d);
    double sum = 0;
    for (int64_t i = 0; i < rows * l->d; i++) {
        w[i] = (float)number_of(codes[i]) * l->scales[i / l->d];
    }
    for (int64_t row = 0; row < rows; row++) {
        for (int64_t i = 0; i < l->places; i++) {
            double y = product_at(l, w, l->x, row, i) + (double)bias[row];
            double e = cut(l, y) - (double)l->y[row * l->places + i];
            sum += e * e;
        }
    }
    free(w);
    return sum / (double)(rows * l->places);
}

static void
learns(void **state)
{
    (void)state;
    static const struct {
        int64_t groups, rows, d, places;
        double bar; // share of rounding's error, on other places
    } cases[] = {
        {1, 24, 40, 3000, .85}, {16, 1, 9, 2000, .9}, {3, 4, 18, 1500, .95}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        ptqc_ctx *ctx = pq_test_ctx_create(NULL, NULL, 2);
        outputs_layer l = make_layer(cases[i].groups, cases[i].rows, cases[i].d,
                                     cases[i].places);
        pq_adaround_outputs_desc desc = desc_of(&l);
        pq_adaround_report report;
        size_t rows = (size_t)(l.groups * l.rows);
        float *rounding = new_floats((int64_t)rows); // its best bias
        float *learned = new_floats((int64_t)rows);
        memcpy(learned, l.bias, rows * sizeof *learned);
        memcpy(rounding, l.bias, rows * sizeof *rounding);
        assert_int_equal(
            pq_adaround_outputs(ctx, &desc, learned, l.codes, &report),
            PTQC_OK);
        double own = loss_of(&l, l.codes, learned);
        assert_true(fabs(own - report.loss) <= 1e-4 * own);

        // Rounding's own fit, by not learning at all.
        uint8_t *rounded = calloc(rows * (size_t)l.d, 1);
        pq_adaround_report plain;
        desc.iterations = 1;
        desc.learning_rate = 1e-20f;
        assert_int_equal(
            pq_adaround_outputs(ctx, &desc, rounding, rounded, &plain),
            PTQC_OK);
        assert_true(plain.rounding_loss == report.rounding_loss);
        draw_places(&l, 24);
        double share =
            loss_of(&l, l.codes, learned) / loss_of(&l, rounded, rounding);
        printf("%d groups of %d x %d: %.3f of rounding's error, others %.3f\n",
               (int)l.groups, (int)l.rows, (int)l.d,
               report.loss / report.rounding_loss, share);
        assert_true(share <= cases[i].bar);
        free(rounded);
        free(rounding);
        free(learned);
        free_layer(&l);
        ptqc_ctx_destroy(ctx);
    }
}

// Every choice of codes of one small row, each with the bias as it is.
static void
beside_all_roundings(void **state)
{
    (void)state;
    enum { SMALL = 8 };
    ptqc_ctx *ctx = pq_test_ctx_create(NULL, NULL, 1);
    outputs_layer l = make_layer(1, 1, SMALL, 400);
    pq_adaround_outputs_desc desc = desc_of(&l);
    pq_adaround_report report;
    double least = HUGE_VAL;
    desc.learns_bias = false;
    assert_int_equal(pq_adaround_outputs(ctx, &desc, l.bias, l.codes, &report),
                     PTQC_OK);
    for (unsigned k = 0; k < 1u << SMALL; k++) {
        uint8_t codes[SMALL];
        for (int i = 0; i < SMALL; i++) {
            int low = (int)floorf(l.w[i] / l.scales[0]) + (int)(k >> i & 1);
            codes[i] = (uint8_t)(low < -8 ? -8 : low > 7 ? 7 : low);
        }
        double loss = loss_of(&l, codes, l.bias);
        least = loss < least ? loss : least;
    }
    printf("best of all %.5f, learned %.5f, rounded %.5f\n", least, report.loss,
           report.rounding_loss);
    assert_true(report.loss <= 1.1 * least);
    free_layer(&l);
    ptqc_ctx_destroy(ctx);
}

// Sizes that nothing divides; any number of threads gives the same bytes.
static void
sizes_and_threads(void **state)
{
    (void)state;
    static const int64_t sizes[][4] = {{1, 1, 1, 1},     {1, 5, 3, 2},
                                       {7, 1, 9, 255},   {5, 3, 1, 257},
                                       {1, 17, 65, 513}, {2, 3, 33, 600}};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        const int64_t *s = sizes[i];
        outputs_layer l = make_layer(s[0], s[1], s[2], s[3]);
        size_t rows = (size_t)(s[0] * s[1]);
        uint8_t *first = calloc(rows * (size_t)l.d, 1);
        float *first_bias = new_floats((int64_t)rows);
        for (uint32_t threads = 1; threads <= 3; threads++) {
            ptqc_ctx *ctx = pq_test_ctx_create(NULL, NULL, threads);
            pq_adaround_outputs_desc desc = desc_of(&l);
            float *bias = new_floats((int64_t)rows);
            desc.iterations = 40;
            memcpy(bias, l.bias, rows * sizeof *bias);
            assert_int_equal(
                pq_adaround_outputs(ctx, &desc, bias, l.codes, NULL), PTQC_OK);
            if (threads == 1) {
                memcpy(first, l.codes, rows * (size_t)l.d);
                memcpy(first_bias, bias, rows * sizeof *bias);
            }
            assert_memory_equal(first, l.codes, rows * (size_t)l.d);
            assert_memory_equal(first_bias, bias, rows * sizeof *bias);
            free(bias);
            ptqc_ctx_destroy(ctx);
        }
        free(first);
        free(first_bias);
        free_layer(&l);
    }
}

// Nothing can be learned from NaN: rounding, and the bias as it was.
static void
not_numbers(void **state)
{
    (void)state;
    ptqc_ctx *ctx = pq_test_ctx_create(NULL, NULL, 1);
    outputs_layer l = make_layer(1, 4, 8, 300);
    pq_adaround_outputs_desc desc = desc_of(&l);
    pq_adaround_report report;
    uint8_t want[4 * 8];
    float bias[4];
    pq_weights ws = pq_rows_view(l.w, 4, 8, &w4_rows);
    memcpy(bias, l.bias, sizeof bias);
    pq_encode_weights(&ws, l.scales, l.zeros, want);
    l.x[17] = NAN;
    assert_int_equal(pq_adaround_outputs(ctx, &desc, bias, l.codes, &report),
                     PTQC_OK);
    assert_true(report.is_rounding);
    assert_memory_equal(l.codes, want, sizeof want);
    assert_memory_equal(bias, l.bias, sizeof bias);
    free_layer(&l);
    ptqc_ctx_destroy(ctx);
}

static ptqc_status
learn_in(ptqc_ctx *ctx, void *user)
{
    const outputs_layer *l = user;
    pq_adaround_outputs_desc desc = desc_of(l);
    float bias[6] = {0};
    desc.iterations = 3;
    return pq_adaround_outputs(ctx, &desc, bias, l->codes, NULL);
}

static void
memory_runs_out(void **state)
{
    (void)state;
    outputs_layer l = make_layer(2, 3, 5, 20);
    assert_true(pq_test_alloc_sweep(learn_in, &l) > 10);
    free_layer(&l);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(learns),
        cmocka_unit_test(beside_all_roundings),
        cmocka_unit_test(sizes_and_threads),
        cmocka_unit_test(not_numbers),
        cmocka_unit_test(memory_runs_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
