// SPDX-License-Identifier: Apache-2.0
//
// Mean squares of columns: what calibration keeps of the inputs of matmuls,
// and that scales chosen by it lose less where it matters.
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "ir/text.h"
#include "passes/calib/stats.h"
#include "passes/match.h"
#include "tests/support/context.h"
#include "tests/unit/passes/pass_test.h"

static const char network[] =
    "ptir 1\ngraph \"net\" stage float\n"
    "const c1: f32[2, 8] = [0.9, -0.31, 0.27, 0.55, -0.12, 0.4, 0.83, -0.7,"
    " 0.2, 1.3, -0.45, 0.66, 0.05, -0.9, 0.35, 0.1]\n"
    "input %x: f32[2, 8]\n%w: f32[2, 8] = c1\n"
    "%y: f32[2, 2] = matmul \"m\"(%x, %w) {trans_b = 1}\n"
    "output %y\n";

typedef struct source {
    float x[16];
} source;

// Two samples of two rows: row r of sample i is (r + 1 + 2 i) everywhere but
// in column 3, where it is 100 times that.
static ptqc_status
get_sample(void *user, uint64_t index, pq_tensor *tensors, uint32_t count)
{
    source *s = user;
    if (index >= 2 || count != 1) {
        return PTQC_NO;
    }
    for (int i = 0; i < 16; i++) {
        s->x[i] = (float)(i / 8 + 1 + 2 * (int)index) * (i % 8 == 3 ? 100 : 1);
    }
    tensors[0] = (pq_tensor){.dtype = PTQC_F32,
                             .rank = 2,
                             .dims = {2, 8},
                             .p = s->x,
                             .bytes = sizeof s->x};
    return PTQC_OK;
}

static ptqc_status
compile(pq_graph *g, const char *recipe, const pq_stats *stats, pq_stats *out)
{
    ptqc_ctx *ctx = pq_graph_ctx(g);
    source own;
    const pq_samples samples = {.get = get_sample, .user = &own};
    pq_arena arena, scratch;
    pq_recipe r;
    pq_arena_init(&arena, ctx);
    pq_arena_init(&scratch, ctx);
    pq_recipe_init(&r);
    ptqc_status st = pq_recipe_read(ctx, "r", pq_str_of(recipe), &arena, &r);
    pq_pass_env env = {.scratch = &scratch,
                       .recipe = &r,
                       .samples = out != NULL ? &samples : NULL,
                       .make_runner = pq_interp_make,
                       .runner_user = ctx,
                       .stats = stats,
                       .stats_out = out};
    if (st == PTQC_OK) {
        st = pq_pipeline_compile(&g, &env, NULL);
    }
    pq_recipe_deinit(&r);
    pq_arena_deinit(&scratch);
    pq_arena_deinit(&arena);
    return st;
}

static pq_graph *
parse(ptqc_ctx *ctx)
{
    pq_graph *g;
    assert_int_equal(pq_graph_parse(ctx, "net", pq_str_of(network), &g),
                     PTQC_OK);
    return g;
}

static void
kept(void **state)
{
    (void)state;
    ptqc_ctx *ctx = pq_test_ctx_create(NULL, NULL, 1);
    pq_graph *g = parse(ctx);
    pq_stats *s;
    assert_int_equal(pq_stats_create(ctx, &s), PTQC_OK);
    assert_int_equal(compile(g, "ptqc: 1\nscheme: w4a16:g8", NULL, s), PTQC_OK);
    const pq_stat *m = pq_stats_find(s, PQ_STR("m"));
    assert_non_null(m);
    assert_int_equal(s->sample_count, 2);
    assert_int_equal(m->column_count, 8);
    assert_true(m->row_count == 4);
    for (int i = 0; i < 8; i++) { // (1 + 4 + 9 + 16) / 4
        assert_true(m->squares[i] == (i == 3 ? 75000 : 7.5f));
    }
    pq_stats_destroy(s);
    pq_graph_destroy(g);
    assert_int_equal(pq_live_bytes(ctx), 0);
    ptqc_ctx_destroy(ctx);
}

// Error of column 3 of both rows in what the matmul's codes stand for.
static double
error_of(ptqc_ctx *ctx, const pq_stats *stats)
{
    pq_graph *real = parse(ctx), *g = parse(ctx);
    pq_pass_test_outputs a, b;
    assert_int_equal(
        compile(g, "ptqc: 1\nscheme: w4a16:g8\nscale_search: mse", stats, NULL),
        PTQC_OK);
    double error = 0;
    for (uint64_t seed = 1; seed < 4; seed++) {
        pq_pass_test_execute(real, seed, &a);
        pq_pass_test_execute(g, seed, &b);
        const float *x = a.t[0].p;
        const float *y = b.t[0].p;
        for (int i = 0; i < 4; i++) {
            error +=
                ((double)x[i] - (double)y[i]) * ((double)x[i] - (double)y[i]);
        }
        pq_pass_test_release(&a);
        pq_pass_test_release(&b);
    }
    pq_graph_destroy(real);
    pq_graph_destroy(g);
    return error;
}

// Statistics that say all columns are alike change nothing; others do.
static void
used(void **state)
{
    (void)state;
    ptqc_ctx *ctx = pq_test_ctx_create(NULL, NULL, 1);
    static float alike[8] = {1, 1, 1, 1, 1, 1, 1, 1};
    static float one[8] = {0, 0, 0, 1, 0, 0, 0, 0};
    pq_stats *s;
    pq_stat *m;
    assert_int_equal(pq_stats_create(ctx, &s), PTQC_OK);
    double plain = error_of(ctx, NULL);
    assert_int_equal(pq_stats_get(s, PQ_STR("m"), &m), PTQC_OK);
    m->squares = alike;
    m->column_count = 8;
    assert_true(error_of(ctx, s) == plain);
    m->squares = one;
    assert_true(error_of(ctx, s) != plain);
    pq_stats_destroy(s);
    ptqc_ctx_destroy(ctx);
}

static void
of_another_model(void **state)
{
    (void)state;
    pq_test_sink sink = {0};
    ptqc_ctx *ctx = pq_test_ctx_create(&sink, NULL, 1);
    static float few[3] = {1, 2, 3};
    pq_graph *g = parse(ctx);
    pq_stats *s;
    pq_stat *m;
    assert_int_equal(pq_stats_create(ctx, &s), PTQC_OK);
    assert_int_equal(pq_stats_get(s, PQ_STR("m"), &m), PTQC_OK);
    m->squares = few;
    m->column_count = 3;
    assert_int_equal(compile(g, "ptqc: 1\nscheme: w4a16:g8", s, NULL),
                     PTQC_E_USAGE);
    assert_non_null(strstr(sink.text, "'m' has 3 columns, the weight has 8"));
    pq_stats_destroy(s);
    pq_graph_destroy(g);
    ptqc_ctx_destroy(ctx);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(kept),
        cmocka_unit_test(used),
        cmocka_unit_test(of_another_model),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
