// SPDX-License-Identifier: Apache-2.0
//
// SmoothQuant: invariant to channels that were scaled up (algorithms 6), the
// bar of B7, the search of alpha, ties.
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "quant/smooth.h"
#include "tests/support/cmocka_test.h"
#include "tests/support/context.h"
#include "tests/support/random.h"
#include "tests/unit/quant/synthetic.h"

enum { D = 512, M = 64, N = 256 };

static const pq_scheme w8 = {
    .format = PTQC_I8, .granularity = PQ_GRAN_CHANNEL, .symmetric = true};

typedef struct layer {
    float *x, *w; // [N][D], [M][D]
    float absmax[D];
} layer;

static layer
make_layer(ptqc_ctx *ctx, float c)
{
    layer_inputs in = make_inputs(COV_IID, 0, D);
    layer l = {.x = draw_inputs(ctx, &in, 1, N), .w = normal_floats(2, M * D)};
    for (int64_t i = 0; i < N * D; i++) {
        l.x[i] *= i % D % 85 == 17 ? c : 1;
        l.absmax[i % D] = fmaxf(l.absmax[i % D], fabsf(l.x[i]));
    }
    for (int64_t i = 0; i < M * D; i++) {
        l.w[i] /= i % D % 85 == 17 ? c : 1;
    }
    return l;
}

static void
layer_free(layer *l)
{
    free(l->x);
    free(l->w);
}

// c a power of two: s is c times larger, exactly for alpha .5, else within
// the roundings of powers.
static void
invariance(void **state)
{
    (void)state;
    ptqc_ctx *ctx = pq_test_ctx_create(NULL, NULL, 1);
    layer a = make_layer(ctx, 1);
    layer b = make_layer(ctx, 16);
    for (int k = 1; k <= 9; k++) {
        float s[2][D];
        pq_consumer consumers[] = {{a.w, M}, {b.w, M}};
        pq_smooth_desc desc = {.consumers = &consumers[0],
                               .consumer_count = 1,
                               .d = D,
                               .x_absmax = a.absmax,
                               .alpha = (float)k * .1f};
        assert_int_equal(pq_smooth_scales(ctx, &desc, s[0]), PTQC_OK);
        desc.consumers = &consumers[1];
        desc.x_absmax = b.absmax;
        assert_int_equal(pq_smooth_scales(ctx, &desc, s[1]), PTQC_OK);
        for (int64_t j = 0; j < D; j++) {
            float c = j % 85 == 17 ? 16 : 1;
            assert_true(fabsf(s[1][j] - c * s[0][j]) <= 1e-6f * s[1][j]);
        }
    }
    layer_free(&a);
    layer_free(&b);
    ptqc_ctx_destroy(ctx);
}

static pq_smooth_report
search(ptqc_ctx *ctx, const layer *l, bool is_per_token, float *out_s)
{
    pq_consumer consumer = {l->w, M};
    pq_smooth_search_desc desc = {.smooth = {.consumers = &consumer,
                                             .consumer_count = 1,
                                             .d = D,
                                             .x_absmax = l->absmax},
                                  .x = l->x,
                                  .n = N,
                                  .weights = w8,
                                  .is_per_token = is_per_token};
    pq_smooth_report report;
    assert_int_equal(pq_smooth_search(ctx, &desc, out_s, &report), PTQC_OK);
    return report;
}

// B7
static void
outliers(void **state)
{
    (void)state;
    ptqc_ctx *ctx = pq_test_ctx_create(NULL, NULL, 2);
    float s[D];
    for (int per_token = 0; per_token < 2; per_token++) {
        layer plain = make_layer(ctx, 1);
        pq_smooth_report before = search(ctx, &plain, per_token, s);
        for (int c = 10; c <= 100; c += 45) {
            layer l = make_layer(ctx, (float)c);
            pq_smooth_report after = search(ctx, &l, per_token, s);
            printf("%s, c = %d: %.3f of the error without outliers, %.4f of "
                   "rounding, alpha %.1f\n",
                   per_token ? "per token" : "static", c,
                   after.loss / before.loss, after.loss / after.identity_loss,
                   (double)after.alpha);
            assert_true(after.loss <= 1.01 * before.loss);
            assert_true(after.loss <= .1 * after.identity_loss);
            layer_free(&l);
        }
        layer_free(&plain);
    }
    ptqc_ctx_destroy(ctx);
}

static void
ties_and_zeros(void **state)
{
    (void)state;
    ptqc_ctx *ctx = pq_test_ctx_create(NULL, NULL, 1);
    layer l = make_layer(ctx, 30);
    float s[D];
    l.absmax[5] = 0;
    for (int64_t r = 0; r < M; r++) {
        l.w[r * D + 6] = 0;
    }
    l.w[7] = INFINITY;
    pq_consumer consumers[] = {{l.w, M / 2}, {l.w + M / 2 * D, M / 2}};
    pq_smooth_desc desc = {.consumers = consumers,
                           .consumer_count = 2,
                           .d = D,
                           .x_absmax = l.absmax,
                           .alpha = .5f};
    assert_int_equal(pq_smooth_scales(ctx, &desc, s), PTQC_OK);
    assert_true(s[5] == 1 && s[6] == 1);
    desc.tie = (pq_tie){2, 64};
    assert_int_equal(pq_smooth_scales(ctx, &desc, s), PTQC_OK);
    for (int64_t j = 0; j < D; j++) {
        assert_true(s[j] > 0 && isfinite(s[j]));
        assert_true(s[j] == s[j / 128 * 128 + j % 64]);
    }
    layer_free(&l);
    ptqc_ctx_destroy(ctx);
}

static ptqc_status
search_in(ptqc_ctx *ctx, void *user)
{
    const float absmax[4] = {1, 2, 3, 4};
    float s[4];
    pq_consumer consumer = {user, 4};
    pq_smooth_search_desc desc = {.smooth = {.consumers = &consumer,
                                             .consumer_count = 1,
                                             .d = 4,
                                             .x_absmax = absmax},
                                  .x = user,
                                  .n = 4,
                                  .weights = w8};
    return pq_smooth_search(ctx, &desc, s, NULL);
}

static void
memory_runs_out(void **state)
{
    (void)state;
    float *w = normal_floats(7, 16);
    assert_true(pq_test_alloc_sweep(search_in, w) > 10);
    free(w);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(invariance),
        cmocka_unit_test(outliers),
        cmocka_unit_test(ties_and_zeros),
        cmocka_unit_test(memory_runs_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
