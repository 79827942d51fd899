// SPDX-License-Identifier: Apache-2.0
//
// Statistics: text that reads back the same, merging that is as good as
// having seen all, what is refused and where, failing allocations.
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "passes/calib/stats.h"
#include "tests/support/cmocka_test.h"
#include "tests/support/context.h"
#include "tests/support/random.h"

#define NUMBERS 4096

static void
observe(ptqc_ctx *ctx, pq_observer *o, uint64_t seed, float scale)
{
    const pq_observer_desc desc = {.kind = PQ_OBSERVER_MSE, .format = PTQC_U8};
    pq_test_random r = pq_test_random_seed(seed);
    float x[NUMBERS];
    pq_test_fill_normal(&r, x, NUMBERS, 1);
    for (int i = 0; i < NUMBERS; i++) {
        x[i] = i % 7 == 0 ? 0 : x[i] * scale;
    }
    pq_observer_init(o, ctx, &desc);
    assert_int_equal(pq_observer_take(o, x, NUMBERS), PTQC_OK);
}

static pq_stats *
stats_of(ptqc_ctx *ctx, uint64_t seed, float scale)
{
    pq_stats *s;
    pq_observer o;
    assert_int_equal(pq_stats_create(ctx, &s), PTQC_OK);
    observe(ctx, &o, seed, scale);
    assert_int_equal(
        pq_stats_keep(s, PQ_STR("relu \"a\"\n\xc2\x89\xe2\x80\xae\xc3\xa9"),
                      &o),
        PTQC_OK);
    pq_observer_deinit(&o);
    s->sample_count = 4;
    return s;
}

static void
round_trip(void **state)
{
    (void)state;
    ptqc_ctx *ctx = pq_test_ctx_create(NULL, NULL, 1);
    pq_stats *s = stats_of(ctx, 1, 3), *again;
    pq_strbuf a, b;
    pq_stat *stat;
    static float squares[3] = {0, 0.1f, 1e-30f};
    static float least[2] = {-0.3f, 0}, most[2] = {0, 7e20f};
    assert_int_equal(pq_stats_get(s, PQ_STR("blk.0.w"), &stat), PTQC_OK);
    stat->squares = squares;
    stat->column_count = 3;
    stat->row_count = 0.5;
    stat->channel_min = least;
    stat->channel_max = most;
    stat->channel_count = 2;
    stat->tokens = 3;
    stat->token_mean = 0.1;
    stat->has_range = true;
    stat->range_min = -1;
    stat->range_max = 0.25f;
    pq_strbuf_init(&a, ctx);
    pq_strbuf_init(&b, ctx);
    pq_stats_print(s, &a);
    assert_int_equal(pq_stats_parse(ctx, "s", (pq_str){a.p, a.n}, &again),
                     PTQC_OK);
    pq_stats_print(again, &b);
    assert_string_equal(a.p, b.p);
    const pq_stat *x =
        pq_stats_find(s, PQ_STR("relu \"a\"\n\xc2\x89\xe2\x80\xae\xc3\xa9"));
    const pq_stat *y = pq_stats_find(
        again, PQ_STR("relu \"a\"\n\xc2\x89\xe2\x80\xae\xc3\xa9"));
    assert_int_equal(x->histogram.count, y->histogram.count);
    assert_int_equal(x->histogram.others, y->histogram.others);
    assert_int_equal(x->histogram.zeros, y->histogram.zeros);
    assert_memory_equal(x->histogram.bins, y->histogram.bins,
                        (size_t)x->histogram.count * sizeof(uint64_t));
    pq_strbuf_deinit(&a);
    pq_strbuf_deinit(&b);
    pq_stats_destroy(again);
    pq_stats_destroy(s);
    assert_int_equal(pq_live_bytes(ctx), 0);
    ptqc_ctx_destroy(ctx);
}

// An observer that is restored gives the range that the first one gave.
static void
restored(void **state)
{
    (void)state;
    ptqc_ctx *ctx = pq_test_ctx_create(NULL, NULL, 1);
    pq_stats *s = stats_of(ctx, 1, 3);
    pq_observer first, second;
    float a[2], b[2];
    observe(ctx, &first, 1, 3);
    const pq_observer_desc desc = first.desc;
    pq_observer_init(&second, ctx, &desc);
    assert_int_equal(
        pq_stats_restore(s, PQ_STR("relu \"a\"\n\xc2\x89\xe2\x80\xae\xc3\xa9"),
                         &second),
        PTQC_OK);
    assert_int_equal(pq_observer_range(&first, &a[0], &a[1]), PTQC_OK);
    assert_int_equal(pq_observer_range(&second, &b[0], &b[1]), PTQC_OK);
    assert_memory_equal(a, b, sizeof a);
    pq_observer_deinit(&first);
    pq_observer_deinit(&second);
    pq_stats_destroy(s);
    ptqc_ctx_destroy(ctx);
}

// The mean of the ends of ranges is kept, too; without it an error.
static void
average(void **state)
{
    (void)state;
    pq_test_sink sink = {0};
    ptqc_ctx *ctx = pq_test_ctx_create(&sink, NULL, 1);
    const pq_observer_desc desc = {.kind = PQ_OBSERVER_AVERAGE,
                                   .format = PTQC_U8};
    static const float x[2][2] = {{-1, 2}, {-3, 8}};
    pq_observer first, second;
    pq_stats *s;
    pq_stat *stat;
    float a[2], b[2];
    pq_observer_init(&first, ctx, &desc);
    pq_observer_init(&second, ctx, &desc);
    assert_int_equal(pq_observer_take(&first, x[0], 2), PTQC_OK);
    assert_int_equal(pq_observer_take(&first, x[1], 2), PTQC_OK);
    assert_int_equal(pq_stats_create(ctx, &s), PTQC_OK);
    assert_int_equal(pq_stats_keep(s, PQ_STR("a"), &first), PTQC_OK);
    assert_int_equal(pq_stats_restore(s, PQ_STR("a"), &second), PTQC_OK);
    assert_int_equal(pq_observer_range(&first, &a[0], &a[1]), PTQC_OK);
    assert_int_equal(pq_observer_range(&second, &b[0], &b[1]), PTQC_OK);
    assert_memory_equal(a, b, sizeof a);
    assert_true(a[1] > 2 && a[1] < 8);
    assert_int_equal(pq_stats_get(s, PQ_STR("a"), &stat), PTQC_OK);
    stat->tensors = 0;
    assert_int_equal(pq_stats_restore(s, PQ_STR("a"), &second), PTQC_E_USAGE);
    assert_non_null(strstr(sink.text, "no mean_min and mean_max"));
    pq_observer_deinit(&first);
    pq_observer_deinit(&second);
    pq_stats_destroy(s);
    ptqc_ctx_destroy(ctx);
}

// Merged in either order, and as one observer that saw both: the same counts
// at the coarser width.
static void
merged(void **state)
{
    (void)state;
    ptqc_ctx *ctx = pq_test_ctx_create(NULL, NULL, 1);
    static const float scales[][2] = {{3, 3}, {3, 0.01f}, {1e-3f, 1e6f}};
    for (size_t i = 0; i < sizeof scales / sizeof *scales; i++) {
        pq_stats *a = stats_of(ctx, 1, scales[i][0]);
        pq_stats *b = stats_of(ctx, 2, scales[i][1]);
        pq_stats *ab, *ba;
        assert_int_equal(pq_stats_create(ctx, &ab), PTQC_OK);
        assert_int_equal(pq_stats_create(ctx, &ba), PTQC_OK);
        assert_int_equal(pq_stats_merge(ab, a, "a"), PTQC_OK);
        assert_int_equal(pq_stats_merge(ab, b, "b"), PTQC_OK);
        assert_int_equal(pq_stats_merge(ba, b, "b"), PTQC_OK);
        assert_int_equal(pq_stats_merge(ba, a, "a"), PTQC_OK);
        pq_strbuf x, y;
        pq_strbuf_init(&x, ctx);
        pq_strbuf_init(&y, ctx);
        pq_stats_print(ab, &x);
        pq_stats_print(ba, &y);
        assert_string_equal(x.p, y.p);
        const pq_stat *s = &ab->all[0];
        assert_int_equal(ab->sample_count, 8);
        assert_int_equal(s->count, 2 * NUMBERS);
        assert_int_equal(s->histogram.others + s->histogram.zeros, 2 * NUMBERS);
        assert_true(s->histogram.count <= PQ_HISTOGRAM_BINS);
        uint64_t sum = 0;
        for (int64_t k = 0; k < s->histogram.count; k++) {
            sum += s->histogram.bins[k];
        }
        assert_int_equal(sum, s->histogram.others);
        pq_strbuf_deinit(&x);
        pq_strbuf_deinit(&y);
        pq_stats_destroy(a);
        pq_stats_destroy(b);
        pq_stats_destroy(ab);
        pq_stats_destroy(ba);
    }
    assert_int_equal(pq_live_bytes(ctx), 0);
    ptqc_ctx_destroy(ctx);
}

// Ranges of channels widen, means over tokens are weighed; different numbers
// of channels do not go together.
static void
merged_channels(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "ptqc_stats: 1\nsamples: 1\nvalues: [{name: a, tokens: 1, token_mean: "
        "2, channel_min: '-1 0', channel_max: '1 4'}]",
        "ptqc_stats: 1\nsamples: 1\nvalues: [{name: a, tokens: 3, token_mean: "
        "6, channel_min: '0 -2', channel_max: '3 2'}]",
        "ptqc_stats: 1\nsamples: 1\nvalues: "
        "[{name: a, channel_min: '0', channel_max: '3'}]"};
    pq_test_sink sink = {0};
    ptqc_ctx *ctx = pq_test_ctx_create(&sink, NULL, 1);
    pq_stats *all, *one[3];
    assert_int_equal(pq_stats_create(ctx, &all), PTQC_OK);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(pq_stats_parse(ctx, "s", pq_str_of(texts[i]), &one[i]),
                         PTQC_OK);
        assert_int_equal(pq_stats_merge(all, one[i], "s"),
                         i < 2 ? PTQC_OK : PTQC_E_INPUT);
    }
    assert_non_null(strstr(sink.text, "'a' has 1 channels, expected 2"));
    const pq_stat *s = pq_stats_find(all, PQ_STR("a"));
    static const float min[] = {-1, -2}, max[] = {3, 4};
    assert_memory_equal(s->channel_min, min, sizeof min);
    assert_memory_equal(s->channel_max, max, sizeof max);
    assert_int_equal(s->tokens, 4);
    assert_true(s->token_mean == 5);
    assert_true(fabs(pq_stat_channel_spread(s) - 8.0 / 7) < 1e-12);
    for (int i = 0; i < 3; i++) {
        pq_stats_destroy(one[i]);
    }
    pq_stats_destroy(all);
    assert_int_equal(pq_live_bytes(ctx), 0);
    ptqc_ctx_destroy(ctx);
}

static const char *const refusals[][2] = {
    {"", "s:1:1: an empty text"},
    {"a: 1", "s:1:1: expected statistics"},
    {"ptqc_stats: 2\nsamples: 1\nvalues: []", "s:1:1: expected statistics"},
    {"ptqc_stats: 1\nvalues: []", "s:1:1: expected ptqc_stats, samples"},
    {"ptqc_stats: 1\nsamples: -1\nvalues: []", "s:2:10: samples: expected a"},
    {"ptqc_stats: 1\nsamples: 1\nvalues: [a]", "s:3:10: expected a value"},
    {"ptqc_stats: 1\nsamples: 1\nvalues: [{name: a}, {name: a}]",
     "s:3:28: name: expected each name once"},
    {"ptqc_stats: 1\nsamples: 1\nvalues: [{name: a, mim: 1}]",
     "s:3:25: mim: expected a key"},
    {"ptqc_stats: 1\nsamples: 1\nvalues: [{name: a, min: 1}]",
     "s:3:25: min: expected 0 or less"},
    {"ptqc_stats: 1\nsamples: 1\nvalues: [{name: a, max: nan}]",
     "s:3:25: max: expected a finite"},
    {"ptqc_stats: 1\nsamples: 1\nvalues: [{name: a, range: [1, 2]}]",
     "s:3:27: range: expected a range that holds 0"},
    {"ptqc_stats: 1\nsamples: 1\nvalues: [{name: a, range: [1]}]",
     "s:3:27: range: expected [least, largest]"},
    {"ptqc_stats: 1\nsamples: 1\nvalues: [{name: a, bins: '1 x'}]",
     "s:3:26: bins: expected whole numbers"},
    {"ptqc_stats: 1\nsamples: 1\nvalues: [{name: a, bins: ''}]",
     "s:3:26: bins: expected 1 to"},
    {"ptqc_stats: 1\nsamples: 1\nvalues: [{name: a, bins: '1', width: 3}]",
     "s:3:10: expected a width"},
    {"ptqc_stats: 1\nsamples: 1\nvalues: [{name: a, width: 2}]",
     "s:3:10: expected bins"},
    {"ptqc_stats: 1\nsamples: 1\nvalues: "
     "[{name: a, bins: '1', width: 2, first: 4611686018427387904}]",
     "s:3:48: first: expected a whole"},
    {"ptqc_stats: 1\nsamples: 1\nvalues: "
     "[{name: a, bins: '1', width: 1267650600228229401496703205376, first: "
     "4611686018427387903}]",
     "s:3:10: expected a width"},
    {"ptqc_stats: 1\nsamples: 1\nvalues: [{name: a, squares: '-1'}]",
     "s:3:29: squares: expected finite"},
    {"ptqc_stats: 1\nsamples: 1\nvalues: [{name: a, channel_min: '1'}]",
     "s:3:33: channel_min: expected finite numbers, 0 or less"},
    {"ptqc_stats: 1\nsamples: 1\nvalues: [{name: a, channel_max: '1 inf'}]",
     "s:3:33: channel_max: expected finite numbers, 0 or more"},
    {"ptqc_stats: 1\nsamples: 1\nvalues: [{name: a, channel_max: '1'}]",
     "s:3:10: expected channel_min and channel_max together"},
    {"ptqc_stats: 1\nsamples: 1\nvalues: "
     "[{name: a, channel_max: '1', channel_min: '0 0'}]",
     "s:3:51: channel_min: expected as many"},
    {"ptqc_stats: 1\nsamples: 1\nvalues: [{name: a, token_mean: -1}]",
     "s:3:32: token_mean: expected 0 or more"},
};

static void
refused(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof refusals / sizeof *refusals; i++) {
        pq_test_sink sink = {0};
        ptqc_ctx *ctx = pq_test_ctx_create(&sink, NULL, 1);
        char said[128];
        pq_stats *s;
        snprintf(said, sizeof said, "error: %s", refusals[i][1]);
        assert_int_equal(
            pq_stats_parse(ctx, "s", pq_str_of(refusals[i][0]), &s),
            PTQC_E_INPUT);
        if (strncmp(sink.text, said, strlen(said)) != 0) {
            print_error("%s\nsaid %s, expected %s\n", refusals[i][0], sink.text,
                        said);
        }
        assert_int_equal(strncmp(sink.text, said, strlen(said)), 0);
        assert_int_equal(sink.error_count, 1);
        assert_null(s);
        assert_int_equal(pq_live_bytes(ctx), 0);
        ptqc_ctx_destroy(ctx);
    }
}

static void
unfit(void **state)
{
    (void)state;
    pq_test_sink sink = {0};
    ptqc_ctx *ctx = pq_test_ctx_create(&sink, NULL, 1);
    static const char *const texts[2] = {
        "ptqc_stats: 1\nsamples: 0\nvalues: [{name: w, squares: '1 2'}]",
        "ptqc_stats: 1\nsamples: 0\nvalues: [{name: w, squares: '1 2 3'}]"};
    pq_stats *s[2];
    pq_observer o;
    const pq_observer_desc desc = {.kind = PQ_OBSERVER_MSE, .format = PTQC_U8};
    for (int i = 0; i < 2; i++) {
        assert_int_equal(pq_stats_parse(ctx, "s", pq_str_of(texts[i]), &s[i]),
                         PTQC_OK);
    }
    assert_int_equal(pq_stats_merge(s[0], s[1], "b"), PTQC_E_INPUT);
    assert_non_null(strstr(sink.text, "b: 'w' has 3 columns, expected 2"));
    pq_observer_init(&o, ctx, &desc);
    assert_int_equal(pq_stats_restore(s[0], PQ_STR("w"), &o), PTQC_E_USAGE);
    assert_int_equal(pq_stats_restore(s[0], PQ_STR("x"), &o), PTQC_E_USAGE);
    pq_observer_deinit(&o);
    pq_stats_destroy(s[0]);
    pq_stats_destroy(s[1]);
    ptqc_ctx_destroy(ctx);
}

static ptqc_status
sweep_body(ptqc_ctx *ctx, void *user)
{
    static const char text[] =
        "ptqc_stats: 1\nsamples: 1\nvalues:\n  - {name: a, min: -1, max: 2, "
        "count: 3, width: 0.5, first: -2, bins: '1 0 0 0 2'}\n"
        "  - {name: b, squares: '1 2'}\n";
    pq_stats *s = NULL, *all = NULL;
    (void)user;
    ptqc_status st = pq_stats_parse(ctx, "s", pq_str_of(text), &s);
    if (st == PTQC_OK) {
        st = pq_stats_create(ctx, &all);
    }
    for (int i = 0; i < 2 && st == PTQC_OK; i++) {
        st = pq_stats_merge(all, s, "s");
    }
    pq_stats_destroy(s);
    pq_stats_destroy(all);
    return st;
}

static void
failing_allocations(void **state)
{
    (void)state;
    assert_true(pq_test_alloc_sweep(sweep_body, NULL) > 10);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(round_trip),
        cmocka_unit_test(restored),
        cmocka_unit_test(average),
        cmocka_unit_test(merged),
        cmocka_unit_test(merged_channels),
        cmocka_unit_test(refused),
        cmocka_unit_test(unfit),
        cmocka_unit_test(failing_allocations),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
