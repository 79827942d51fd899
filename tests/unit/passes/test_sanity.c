// SPDX-License-Identifier: Apache-2.0
//
// What calibration says of its samples: channels that are never active,
// numbers outside the chosen range, ranges that still grow.
#include <stdio.h>
#include <string.h>

#include "ir/text.h"
#include "passes/calib/sanity.h"
#include "tests/support/cmocka_test.h"
#include "tests/support/context.h"

static const char network[] =
    "ptir 1\ngraph \"net\" stage float\nsymbol N = [1, inf]\n"
    "const c1: f32[2, 3] = [1, 2, 3, 4, 5, 6]\n"
    "input %x: f32[N, 3, 2]\ninput %y: f32[N, 3]\n%w: f32[2, 3] = c1\n"
    "%a: f32[N, 3, 2] = relu(%x)\n"
    "%b: f32[N, 2] = matmul(%y, %w) {trans_b = 1}\n"
    "output %a\noutput %b\n";

typedef struct notes {
    char text[512];
    size_t n;
} notes;

static void
take_note(void *user, pq_str where, const char *what, const char *why)
{
    notes *s = user;
    int n = snprintf(s->text + s->n, sizeof s->text - s->n, "%.*s|%s|%s\n",
                     PQ_STR_ARG(where), what, why);
    assert_true(n > 0);
    s->n += (size_t)n;
}

static void
take(pq_sanity *s, pq_observer *o, const float *x, uint32_t rank)
{
    const pq_tensor t = {.dtype = PTQC_F32,
                         .rank = rank,
                         .dims = {1, 3, 2},
                         .p = (void *)(uintptr_t)x,
                         .bytes = (rank == 3 ? 6 : 3) * sizeof *x};
    pq_sanity_take(s, &t);
    assert_int_equal(pq_observer_take(o, x, t.bytes / sizeof *x), PTQC_OK);
}

// Sixteen samples of x: channel 1 stays 0; the last one is ten times larger.
static void
three_dims(void **state)
{
    (void)state;
    pq_test_sink sink = {0};
    ptqc_ctx *ctx = pq_test_ctx_create(&sink, NULL, 1);
    pq_graph *g;
    pq_arena arena;
    pq_sanity s;
    pq_observer o;
    notes said = {0};
    pq_calib_facts facts = {0};
    const pq_pass_env env = {
        .note = take_note, .note_user = &said, .calib_facts = &facts};
    const pq_observer_desc desc = {.kind = PQ_OBSERVER_MSE, .format = PTQC_U8};
    pq_arena_init(&arena, ctx);
    assert_int_equal(pq_graph_parse(ctx, "net", pq_str_of(network), &g),
                     PTQC_OK);
    pq_observer_init(&o, ctx, &desc);
    assert_int_equal(pq_sanity_init(&s, g, pq_graph_input(g, 0), &arena),
                     PTQC_OK);
    assert_int_equal(s.axis, 1);
    assert_int_equal(s.channel_count, 3);
    for (int i = 0; i < 16; i++) {
        const float last = i == 15 ? 10 : 1;
        const float x[6] = {last, -1, 0, 0, 0.5f, 0};
        take(&s, &o, x, 3);
    }
    pq_sanity_report(&s, &env, PQ_STR("x"), &o, -1, 1);
    assert_int_equal(facts.samples, 16);
    assert_int_equal(facts.values, 1);
    assert_int_equal(facts.late_values, 1);
    assert_int_equal(facts.numbers, 96);
    assert_true(facts.saturated >= 1);
    assert_int_equal(facts.channels, 3);
    assert_int_equal(facts.dead_channels, 1);
    assert_non_null(strstr(said.text, "x|1 of 3 channels never active|in the"));
    pq_sanity_warn(ctx, &facts);
    assert_non_null(strstr(sink.text, "1 of 1 activations still grew"));
    assert_int_equal(sink.warning_count, 1);
    pq_observer_deinit(&o);
    pq_graph_destroy(g);
    pq_arena_deinit(&arena);
    ptqc_ctx_destroy(ctx);
}

// A matmul contracts its last axis: its channels. All is well here.
static void
two_dims(void **state)
{
    (void)state;
    pq_test_sink sink = {0};
    ptqc_ctx *ctx = pq_test_ctx_create(&sink, NULL, 1);
    pq_graph *g;
    pq_arena arena;
    pq_sanity s;
    pq_observer o;
    notes said = {0};
    pq_calib_facts facts = {0};
    const pq_pass_env env = {
        .note = take_note, .note_user = &said, .calib_facts = &facts};
    const pq_observer_desc desc = {.kind = PQ_OBSERVER_MINMAX,
                                   .format = PTQC_U8};
    pq_arena_init(&arena, ctx);
    assert_int_equal(pq_graph_parse(ctx, "net", pq_str_of(network), &g),
                     PTQC_OK);
    pq_observer_init(&o, ctx, &desc);
    assert_int_equal(pq_sanity_init(&s, g, pq_graph_input(g, 1), &arena),
                     PTQC_OK);
    assert_int_equal(s.axis, 1);
    for (int i = 0; i < 16; i++) {
        const float x[3] = {1, -2, 3};
        take(&s, &o, x, 2);
    }
    pq_sanity_report(&s, &env, PQ_STR("y"), &o, -2, 3);
    assert_int_equal(facts.late_values, 0);
    assert_int_equal(facts.dead_channels, 0);
    assert_int_equal(facts.saturated, 0);
    assert_int_equal(said.n, 0);
    pq_sanity_warn(ctx, &facts);
    assert_int_equal(sink.warning_count, 0);
    pq_observer_deinit(&o);
    pq_graph_destroy(g);
    pq_arena_deinit(&arena);
    ptqc_ctx_destroy(ctx);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(three_dims),
        cmocka_unit_test(two_dims),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
