// SPDX-License-Identifier: Apache-2.0
//
// States through the plugin table: bindings are inputs, states, outputs; a
// state is updated in place and read by the next run; the interpreter's own
// runner gives the same bits.
#include <string.h>

#include "ir/block.h"
#include "ir/interp/interp.h"
#include "ir/text.h"
#include "tests/support/cmocka_test.h"
#include "tests/support/compare.h"
#include "tests/support/context.h"
#include "tests/support/plugin_host.h"
#include "tests/support/random.h"

ptqc_be_status ptqc_plugin_query_v0(const ptqc_host *offer,
                                    const ptqc_plugin **out);

static const char text[] =
    "ptir 1\ngraph \"s\" stage legal\n"
    "symbol B = [1, inf]\nsymbol T = [1, inf]\nsymbol C = [1, 9]\n"
    "const c1: f32[2] = [1, 0.1]\n"
    "input %x: f32[B, 4, T, 4]\ninput %n: f32[B, 2, T, 4]\n"
    "input %p: i32[B, T]\n"
    "state %k: f16[B, 2, C, 4]\nstate %v: f32[B, 2, C, 4]\n"
    "%f: f32[2] = c1\n"
    "%q: f32[B, 4, T, 4] = rope(%x, %p, %f)\n"
    "%r: f32[B, 2, T, 4] = rope(%n, %p, %f)\n"
    "%K: f16[B, 2, C, 4] = kv_update(%k, %r, %p)\n"
    "%V: f32[B, 2, C, 4] = kv_update(%v, %n, %p)\n"
    "%y: f32[B, 4, T, 4] = attention(%q, %K, %V, _, %p)\n"
    "output %y\noutput %V\n";

enum { BATCH = 2, TOKENS = 3, CAPACITY = 9, STEPS = 3 };
enum { X = BATCH * 4 * TOKENS * 4, N = X / 2, S = BATCH * 2 * CAPACITY * 4 };

typedef struct arrays {
    float x[X], n[N], y[X], v_out[S];
    int32_t p[BATCH * TOKENS];
    uint16_t k[S];
    float v[S];
    float want_y[X], want_v[S];
} arrays;

static ptqc_status
keep(void *user, pq_value_id v, const pq_tensor *t)
{
    arrays *a = user;
    (void)v;
    bool is_y = t->bytes == sizeof a->want_y;
    assert_true(is_y || t->bytes == sizeof a->want_v);
    memcpy(is_y ? a->want_y : a->want_v, t->p, t->bytes);
    return PTQC_OK;
}

static void
run_interpreter(pq_runner *r, arrays *a)
{
    const pq_tensor in[3] = {
        {PTQC_F32, 4, {BATCH, 4, TOKENS, 4}, a->x, sizeof a->x},
        {PTQC_F32, 4, {BATCH, 2, TOKENS, 4}, a->n, sizeof a->n},
        {PTQC_I32, 2, {BATCH, TOKENS}, a->p, sizeof a->p},
    };
    assert_int_equal(r->run(r, in, keep, a), PTQC_OK);
}

static const void *
map_constant(void *user, uint64_t id, uint64_t *out_bytes)
{
    const pq_graph *g = user;
    const pq_constant *c = pq_graph_constant(g, (pq_const_id){(uint32_t)id});
    *out_bytes = c != NULL ? c->bytes : 0;
    return c != NULL ? c->p : NULL;
}

static void
run_steps(pq_test_plugin *plugin, pq_runner *r, arrays *a)
{
    const ptqc_binding bindings[] = {
        {.host = a->x, .bytes = sizeof a->x},
        {.host = a->n, .bytes = sizeof a->n},
        {.host = a->p, .bytes = sizeof a->p},
        {.host = a->k, .bytes = sizeof a->k},
        {.host = a->v, .bytes = sizeof a->v},
        {.host = a->y, .bytes = sizeof a->y},
        {.host = a->v_out, .bytes = sizeof a->v_out},
    };
    enum { COUNT = sizeof bindings / sizeof bindings[0] };
    for (uint32_t i = 0; i < COUNT; i++) {
        assert_int_equal(pq_test_plugin_need(plugin, i), bindings[i].bytes);
    }
    pq_test_random random = pq_test_random_seed(4);
    for (int32_t step = 0; step < STEPS; step++) {
        pq_test_fill_normal(&random, a->x, X, 1);
        pq_test_fill_normal(&random, a->n, N, 1);
        for (int32_t i = 0; i < TOKENS; i++) { // the second: one token a step
            a->p[i] = step * TOKENS + i;
            a->p[TOKENS + i] = i == 1 ? step : -1;
        }
        run_interpreter(r, a);
        assert_int_equal(
            pq_test_plugin_run(plugin, bindings, COUNT, NULL, NULL),
            PTQC_BE_OK);
        assert_true(pq_test_same_bytes("y", a->y, a->want_y, sizeof a->y));
        assert_true(pq_test_same_bytes("v", a->v, a->want_v, sizeof a->v));
        assert_true(
            pq_test_same_bytes("v out", a->v_out, a->want_v, sizeof a->v));
    }
    assert_int_equal(
        pq_test_plugin_run(plugin, bindings, COUNT - 1, NULL, NULL),
        PTQC_BE_INVALID);
}

static void
kept_and_in_place(void **state)
{
    (void)state;
    static _Alignas(64) arrays a;
    ptqc_ctx *ctx = pq_test_ctx_create(NULL, NULL, 1);
    pq_pool *pool = NULL;
    pq_graph *g;
    pq_runner *r;
    void *bytes;
    size_t n;
    memset(&a, 0, sizeof a);
    assert_int_equal(pq_pool_create(ctx, 1, &pool), PTQC_OK);
    assert_int_equal(pq_graph_parse(ctx, "s", PQ_STR(text), &g), PTQC_OK);
    assert_int_equal(pq_interp_make(ctx, g, NULL, 0, &r), PTQC_OK);
    assert_int_equal(pq_block_write(g, NULL, &bytes, &n), PTQC_OK);
    const ptqc_bytes block = {bytes, n};
    pq_test_plugin *plugin = pq_test_plugin_open(ptqc_plugin_query_v0, pool);
    assert_int_equal(
        pq_test_plugin_check(plugin, "ref", block, map_constant, g), 0);
    assert_int_equal(
        pq_test_plugin_compile(plugin, "ref", block, map_constant, g),
        PTQC_BE_OK);
    pq_test_plugin_let_allocate(plugin);
    const int64_t dims[3] = {BATCH, TOKENS, CAPACITY};
    assert_int_equal(pq_test_plugin_load(plugin, (ptqc_bytes){0}, dims, 3),
                     PTQC_BE_OK);
    run_steps(plugin, r, &a);
    pq_test_plugin_close(plugin);
    pq_free(ctx, bytes);
    r->destroy(r);
    pq_graph_destroy(g);
    pq_pool_destroy(pool);
    ptqc_ctx_destroy(ctx);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(kept_and_in_place),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
