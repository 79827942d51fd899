// SPDX-License-Identifier: Apache-2.0
//
// Tokens that stand out: by the norm of their hidden state, by the attention
// that they receive; what they then count.
#include <math.h>
#include <string.h>

#include "passes/calib/attended.h"
#include "passes/calib/sinks.h"
#include "tests/support/cmocka_test.h"
#include "tests/support/context.h"
#include "tests/support/random.h"

enum { BATCH = 2, HEADS = 4, KV_HEADS = 2, TOKENS = 96, D = 8, SINK = 5 };

typedef struct heads {
    float q[BATCH * HEADS * TOKENS * D];
    float k[BATCH * KV_HEADS * TOKENS * D];
} heads;

// Queries have a common part that the sink's keys of one batch answer to.
static void
fill(heads *h, float strength)
{
    pq_test_random r = pq_test_random_seed(11);
    pq_test_fill_normal(&r, h->q, BATCH * HEADS * TOKENS * D, 1);
    pq_test_fill_normal(&r, h->k, BATCH * KV_HEADS * TOKENS * D, 1);
    for (int i = 0; i < BATCH * HEADS * TOKENS; i++) {
        h->q[i * D] += 3;
    }
    for (int i = 0; i < KV_HEADS; i++) { // batch 0
        h->k[(i * TOKENS + SINK) * D] = strength;
    }
}

// Plain loops over every query that the spread holds, in f64.
static double
share_of(const heads *h, int batch, int token)
{
    double sum = 0;
    int count = 0;
    const int step = (TOKENS + PQ_ATTENDED_QUERIES - 1) / PQ_ATTENDED_QUERIES;
    for (int i = step - 1; i < TOKENS; i += step) {
        for (int head = 0; head < HEADS && i > token; head++, count++) {
            double total = 0, own = 0;
            for (int j = 0; j <= i; j++) {
                double dot = 0;
                for (int x = 0; x < D; x++) {
                    int kv = batch * KV_HEADS + head / (HEADS / KV_HEADS);
                    dot +=
                        (double)h
                            ->q[((batch * HEADS + head) * TOKENS + i) * D + x] *
                        (double)h->k[(kv * TOKENS + j) * D + x];
                }
                total += exp(.5 * dot);
                own = j == token ? exp(.5 * dot) : own;
            }
            sum += own / total;
        }
    }
    return count / HEADS >= PQ_ATTENDED_LATER ? sum / count : 0;
}

static void
shares(void **state)
{
    (void)state;
    static heads h;
    static float share[BATCH * TOKENS];
    ptqc_ctx *ctx = pq_test_ctx_create(NULL, NULL, 1);
    fill(&h, 6);
    const pq_attended_desc desc = {.q = h.q,
                                   .k = h.k,
                                   .batch = BATCH,
                                   .heads = HEADS,
                                   .kv_heads = KV_HEADS,
                                   .tokens = TOKENS,
                                   .d = D,
                                   .scale = .5f};
    assert_int_equal(pq_attended_share(ctx, &desc, share), PTQC_OK);
    for (int i = 0; i < BATCH * TOKENS; i++) {
        assert_float_equal(share[i], share_of(&h, i / TOKENS, i % TOKENS),
                           1e-5);
    }
    assert_true(share[SINK] > .5f);
    assert_true(share[TOKENS - 1] == 0);
    ptqc_ctx_destroy(ctx);
}

static pq_tensor
tensor_of(float *p, int64_t number_of_heads)
{
    return (pq_tensor){.dtype = PTQC_F32,
                       .rank = 4,
                       .dims = {BATCH, number_of_heads, TOKENS, D},
                       .p = p,
                       .bytes = (size_t)(BATCH * number_of_heads * TOKENS * D) *
                                sizeof *p};
}

static void
by_attention(void **state)
{
    (void)state;
    static heads h;
    static float x[BATCH * TOKENS];
    ptqc_ctx *ctx = pq_test_ctx_create(NULL, NULL, 1);
    pq_sinks sinks;
    pq_token_weights w;
    pq_sinks_init(&sinks, ctx, 128);
    for (int i = 0; i < BATCH * TOKENS; i++) {
        x[i] = 1;
    }
    for (int round = 0; round < 2; round++) {
        fill(&h, round == 0 ? 0 : 6);
        const pq_tensor q = tensor_of(h.q, HEADS);
        const pq_tensor k = tensor_of(h.k, KV_HEADS);
        assert_int_equal(pq_sinks_see_attention(&sinks, 3, &q, &k, .5f),
                         PTQC_OK);
        assert_int_equal(sinks.count, round);
        assert_int_equal(sinks.attended_count, round);
        assert_int_equal(pq_sinks_weigh(&sinks, 3, x, BATCH * TOKENS, 1, &w),
                         PTQC_OK);
        for (int i = 0; i < BATCH * TOKENS; i++) {
            bool is_sink = round == 1 && i == SINK;
            float weight = is_sink ? 128.0f : 1.0f;
            assert_memory_equal(&w.weights[i], &weight, sizeof weight);
        }
    }
    pq_sinks_deinit(&sinks);
    ptqc_ctx_destroy(ctx);
}

// A norm above six medians; whose own input stands out, too, counts once.
static void
by_norm(void **state)
{
    (void)state;
    static float x[TOKENS * D];
    ptqc_ctx *ctx = pq_test_ctx_create(NULL, NULL, 1);
    pq_sinks sinks;
    pq_token_weights w;
    pq_test_random r = pq_test_random_seed(12);
    pq_sinks_init(&sinks, ctx, 128);
    pq_test_fill_normal(&r, x, TOKENS * D, 1);
    for (int i = 0; i < D; i++) {
        x[SINK * D + i] *= 100;
    }
    const pq_tensor t = {.dtype = PTQC_F32,
                         .rank = 2,
                         .dims = {TOKENS, D},
                         .p = x,
                         .bytes = sizeof x};
    assert_int_equal(pq_sinks_see(&sinks, 0, &t), PTQC_OK);
    assert_int_equal(sinks.count, 1);
    assert_int_equal(sinks.attended_count, 0);
    assert_int_equal(pq_sinks_weigh(&sinks, 0, x, TOKENS, D, &w), PTQC_OK);
    assert_int_equal(w.outliers[SINK], 1);
    assert_float_equal(w.weights[SINK], 1, 0);
    for (int i = 0; i < D; i++) {
        x[SINK * D + i] /= 100;
    }
    assert_int_equal(pq_sinks_weigh(&sinks, 0, x, TOKENS, D, &w), PTQC_OK);
    assert_float_equal(w.weights[SINK], 128, 0);
    pq_sinks_deinit(&sinks);
    ptqc_ctx_destroy(ctx);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shares),
        cmocka_unit_test(by_attention),
        cmocka_unit_test(by_norm),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
