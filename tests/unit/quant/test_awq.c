// SPDX-License-Identifier: Apache-2.0
//
// AWQ's scales and clips: never worse than rounding (algorithms 18 A7), what
// they win when channels stand out (B8), ties, inputs that are dead.
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "quant/awq.h"
#include "quant/rows.h"
#include "tests/support/cmocka_test.h"
#include "tests/support/context.h"
#include "tests/support/random.h"
#include "tests/unit/quant/synthetic.h"

enum { D = 512, M = 128, N = 2048 };

typedef struct layer {
    float *h; // [D][D] of inputs whose channels 17, 102, ... are c times larger
    float *w; // [M][D] with those columns divided by c
} layer;

// 6 of 512 channels stand out; the function of the layer is the same.
static layer
make_layer(ptqc_ctx *ctx, float c)
{
    layer_inputs in = make_inputs(COV_IID, 0, D);
    float *x = draw_inputs(ctx, &in, 1, N);
    layer l = {NULL, normal_floats(2, M * D)};
    for (int64_t j = 17; j < D; j += 85) {
        for (int64_t t = 0; t < N; t++) {
            x[t * D + j] *= c;
        }
        for (int64_t r = 0; r < M; r++) {
            l.w[r * D + j] /= c;
        }
    }
    l.h = gram_of(ctx, x, N, D);
    free(x);
    return l;
}

static void
layer_free(layer *l)
{
    free(l->h);
    free(l->w);
}

static pq_scheme
scheme_of(uint32_t bits, bool symmetric)
{
    return (pq_scheme){.format = PTQC_U4,
                       .bits = bits,
                       .granularity = PQ_GRAN_GROUP,
                       .axis = 1,
                       .group = 128,
                       .symmetric = symmetric};
}

static void
wins_with_outliers(void **state)
{
    (void)state;
    ptqc_ctx *ctx = pq_test_ctx_create(NULL, NULL, 2);
    static const struct {
        float c;
        uint32_t bits;
        double bar;
    } cases[] = {{1, 4, 1}, {10, 4, .7}, {30, 4, .75}, {10, 3, .9}, {30, 3, 1}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        layer l = make_layer(ctx, cases[i].c);
        float s[D];
        pq_awq_report report;
        pq_consumer consumer = {l.w, M};
        pq_awq_desc desc = {.consumers = &consumer,
                            .consumer_count = 1,
                            .d = D,
                            .h = l.h,
                            .scheme = scheme_of(cases[i].bits, false)};
        assert_int_equal(pq_awq_search(ctx, &desc, s, &report), PTQC_OK);
        double ratio = report.loss / report.identity_loss;
        printf("w%u, outliers of %g: %.3f of rounding, exponent %.2f\n",
               cases[i].bits, (double)cases[i].c, ratio,
               (double)report.exponent);
        assert_true(ratio <= cases[i].bar);
        // The loss is that of rounding the scaled weights.
        float *scaled = new_floats(M * D);
        float *h = new_floats(D * D);
        float scales[M * D / 128];
        int32_t zeros[M * D / 128];
        float importance[D];
        uint8_t *codes = calloc(M * D, 1);
        for (int64_t j = 0; j < D * D; j++) {
            scaled[j % (M * D)] = l.w[j % (M * D)] * s[j % D];
            h[j] = l.h[j] / (s[j / D] * s[j % D]);
        }
        for (int64_t j = 0; j < D; j++) {
            importance[j] = h[j * D + j];
        }
        pq_weights ws = pq_rows_view(scaled, M, D, &desc.scheme);
        ws.importance = importance;
        double loss;
        assert_int_equal(pq_rows_choose(ctx, &ws, scales, zeros), PTQC_OK);
        assert_int_equal(pq_rows_encode(ctx, &ws, scales, zeros, codes),
                         PTQC_OK);
        assert_int_equal(pq_rows_loss(ctx, &ws, scales, zeros, codes, h, &loss),
                         PTQC_OK);
        assert_true(fabs(loss - report.loss) < .01 * report.loss);
        free(scaled);
        free(h);
        free(codes);
        layer_free(&l);
    }
    ptqc_ctx_destroy(ctx);
}

static void
ties_and_dead_inputs(void **state)
{
    (void)state;
    ptqc_ctx *ctx = pq_test_ctx_create(NULL, NULL, 2);
    layer l = make_layer(ctx, 10);
    for (int64_t j = 0; j < D; j++) { // input 40 was never seen
        l.h[40 * D + j] = l.h[j * D + 40] = 0;
    }
    float s[D];
    pq_consumer consumers[] = {{l.w, M / 2}, {l.w + M / 2 * D, M / 2}};
    pq_awq_desc desc = {.consumers = consumers,
                        .consumer_count = 2,
                        .d = D,
                        .h = l.h,
                        .scheme = scheme_of(0, true),
                        .search = PQ_SCALE_MSE,
                        .steps = 5,
                        .tie = {.repeat = 4, .inner = 32}};
    pq_awq_report report;
    assert_int_equal(pq_awq_search(ctx, &desc, s, &report), PTQC_OK);
    assert_true(report.loss < report.identity_loss && report.exponent > 0);
    for (int64_t j = 0; j < D; j++) {
        assert_true(s[j] > 0 && isfinite(s[j]));
        assert_true(s[j] == s[j / 128 * 128 + j % 32]);
    }
    desc.tie = (pq_tie){0, 0};
    assert_int_equal(pq_awq_search(ctx, &desc, s, NULL), PTQC_OK);
    assert_true(s[40] == 1);
    desc.tie = (pq_tie){3, 32};
    assert_int_equal(pq_awq_search(ctx, &desc, s, NULL), PTQC_E_USAGE);
    layer_free(&l);
    ptqc_ctx_destroy(ctx);
}

// Output error of codes by group, as the clip search sees it.
static double
group_losses(const float *w, const float *numbers, const float *h, int64_t g)
{
    double sum = 0;
    for (int64_t r = 0; r < M; r++) {
        for (int64_t i = 0; i < D; i++) {
            double e = (double)w[r * D + i] - (double)numbers[r * D + i];
            int64_t first = i / g * g;
            for (int64_t j = first; j < first + g && j < D; j++) {
                sum += e * (double)h[i * D + j] *
                       ((double)w[r * D + j] - (double)numbers[r * D + j]);
            }
        }
    }
    return sum;
}

static void
clips(void **state)
{
    (void)state;
    ptqc_ctx *ctx = pq_test_ctx_create(NULL, NULL, 2);
    layer_inputs in = make_inputs(COV_AR, 0, D);
    float *x = draw_inputs(ctx, &in, 3, N);
    float *h = gram_of(ctx, x, N, D);
    float *w = normal_floats(4, M * D);
    static const int64_t groups[] = {100, D};
    for (int k = 0; k < 4; k++) {
        pq_scheme scheme = scheme_of(3, k % 2);
        int64_t g = groups[k / 2];
        scheme.group = (uint32_t)g;
        pq_weights ws = pq_rows_view(w, M, D, &scheme);
        size_t count = (size_t)pq_weights_scale_count(&ws);
        float *scales = calloc(count, sizeof *scales);
        int32_t *zeros = calloc(count, sizeof *zeros);
        uint8_t *codes = calloc(M * D, 1);
        float *numbers = new_floats(M * D);
        double loss[2];
        for (int clip = 0; clip < 2; clip++) {
            if (clip == 1) {
                pq_clip_report report;
                uint8_t *steps = calloc(count, 1);
                assert_int_equal(pq_clip_search(ctx, &ws, h, steps), PTQC_OK);
                assert_int_equal(pq_clip_judge(ctx, &ws, h, steps, &report),
                                 PTQC_OK);
                pq_clip_params(&ws, steps, scales, zeros);
                free(steps);
                assert_true(report.loss < report.loss_before);
                assert_true(report.clipped_count > 0);
            } else {
                pq_choose_weight_params(&ws, scales, zeros);
            }
            pq_encode_weights(&ws, scales, zeros, codes);
            pq_decode_weights(&ws, scales, zeros, codes, numbers);
            loss[clip] = group_losses(w, numbers, h, g);
        }
        printf("groups of %lld, %s: clipped %.3f of rounding\n", (long long)g,
               k % 2 ? "symmetric" : "asymmetric", loss[1] / loss[0]);
        assert_true(loss[1] < .9 * loss[0]);
        free(scales);
        free(zeros);
        free(codes);
        free(numbers);
    }
    free(x);
    free(h);
    free(w);
    ptqc_ctx_destroy(ctx);
}

// A7: the search of scales in its own norm, with and without importance.
static void
scale_search(void **state)
{
    (void)state;
    float *w = normal_floats(5, M * D);
    float *importance = normal_floats(6, D);
    for (int64_t j = 0; j < D; j++) {
        importance[j] *= importance[j];
    }
    for (int k = 0; k < 4; k++) {
        pq_scheme scheme = scheme_of(3, k % 2);
        double error[2] = {0, 0};
        for (int search = 0; search < 2; search++) {
            float scales[M * D / 128];
            int32_t zeros[M * D / 128];
            uint8_t *codes = calloc(M * D, 1);
            float *numbers = new_floats(M * D);
            pq_weights ws = pq_rows_view(w, M, D, &scheme);
            ws.search = search ? PQ_SCALE_MSE : PQ_SCALE_MINMAX;
            ws.importance = k / 2 ? importance : NULL;
            pq_choose_weight_params(&ws, scales, zeros);
            pq_encode_weights(&ws, scales, zeros, codes);
            pq_decode_weights(&ws, scales, zeros, codes, numbers);
            for (int64_t i = 0; i < M * D; i++) {
                double e = (double)w[i] - (double)numbers[i];
                error[search] +=
                    e * e * (k / 2 ? (double)importance[i % D] : 1);
            }
            free(codes);
            free(numbers);
        }
        assert_true(error[1] < .9 * error[0]);
    }
    free(w);
    free(importance);
}

static ptqc_status
search_in(ptqc_ctx *ctx, void *user)
{
    float h[16] = {4, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1};
    float s[4];
    uint8_t steps[4];
    pq_consumer consumer = {user, 4};
    pq_awq_desc desc = {.consumers = &consumer,
                        .consumer_count = 1,
                        .d = 4,
                        .h = h,
                        .scheme = scheme_of(0, true),
                        .steps = 2};
    PQ_TRY(pq_awq_search(ctx, &desc, s, NULL));
    pq_weights ws = pq_rows_view(user, 4, 4, &desc.scheme);
    pq_clip_report report;
    PQ_TRY(pq_clip_search(ctx, &ws, h, steps));
    return pq_clip_judge(ctx, &ws, h, steps, &report);
}

static void
memory_runs_out(void **state)
{
    (void)state;
    float *w = normal_floats(7, 16);
    assert_true(pq_test_alloc_sweep(search_in, w) > 20);
    free(w);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(wins_with_outliers),
        cmocka_unit_test(ties_and_dead_inputs),
        cmocka_unit_test(clips),
        cmocka_unit_test(scale_search),
        cmocka_unit_test(memory_runs_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
