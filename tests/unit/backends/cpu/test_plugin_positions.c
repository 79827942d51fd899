// SPDX-License-Identifier: Apache-2.0
//
// Attention, rope and updates of states through the plugin against the
// interpreter: bit for bit, at every level, whole prompts and token by token.
#include "tests/unit/backends/cpu/plugin_check.h"

// clang-format off
static const plugin_case attention_cases[] = {
    {"plain", "graph \"g\" stage float\n"
     "input %q: f32[2, 3, 17, 20]\ninput %k: f32[2, 3, 37, 20]\n"
     "input %v: f32[2, 3, 37, 24]\n"
     "%y: f32[2, 3, 17, 24] = attention(%q, %k, %v)\noutput %y\n", {0}, 0, 0},
    {"causal, groups", "graph \"g\" stage float\nsymbol T = [1, 99]\n"
     "input %q: f32[1, 6, T, 32]\ninput %k: f32[1, 2, T, 32]\n"
     "input %v: f32[1, 2, T, 7]\n"
     "%y: f32[1, 6, T, 7] = attention(%q, %k, %v) {causal = 1, scale = 0.3}\n"
     "output %y\n", {67}, 1, 0},
    {"one query", "graph \"g\" stage float\n"
     "input %q: f32[1, 4, 1, 64]\ninput %k: f32[1, 1, 33, 64]\n"
     "input %v: f32[1, 1, 33, 64]\n"
     "%y: f32[1, 4, 1, 64] = attention(%q, %k, %v) {causal = 1}\n"
     "output %y\n", {0}, 0, 0},
    {"mask", "graph \"g\" stage float\n"
     "input %q: f32[2, 2, 5, 9]\ninput %k: f32[2, 2, 18, 9]\n"
     "input %v: f32[2, 2, 18, 130]\ninput %m: f32[2, 1, 1, 18]\n"
     "input %n: f32[5, 18]\n"
     "%a: f32[2, 2, 5, 130] = attention(%q, %k, %v, %m)\n"
     "%y: f32[2, 2, 5, 130] = attention(%q, %k, %v, %n)\n"
     "output %y\noutput %a\n", {0}, 0, 0},
    {"positions, short keys", "graph \"g\" stage float\n"
     "input %q: f32[2, 8, 11, 48]\ninput %a: f32[2, 2, 40, 48]\n"
     "input %b: f32[2, 2, 40, 80]\ninput %p: i32[2, 11]\n"
     "%k: f16[2, 2, 40, 48] = cast(%a) {to = f16}\n"
     "%v: bf16[2, 2, 40, 80] = cast(%b) {to = bf16}\n"
     "%y: f32[2, 8, 11, 80] = attention(%q, %k, %v, _, %p)\noutput %y\n",
     {0}, 0, 50},
    {"many queries", "graph \"g\" stage float\n"
     "input %q: f32[1, 4, 31, 16]\ninput %k: f32[1, 2, 70, 16]\n"
     "input %v: f32[1, 2, 70, 16]\ninput %p: i32[1, 31]\n"
     "%y: f32[1, 4, 31, 16] = attention(%q, %k, %v, _, %p)\noutput %y\n",
     {0}, 0, 80},
    {"transposed around", "graph \"g\" stage float\n"
     "input %x: f32[2, 13, 96]\n"
     "%r: f32[2, 13, 4, 24] = reshape(%x) {shape = [2, 13, 4, 24]}\n"
     "%q: f32[2, 4, 13, 24] = transpose(%r) {perm = [0, 2, 1, 3]}\n"
     "%a: f32[2, 4, 13, 24] = attention(%q, %q, %q)\n"
     "%t: f32[2, 13, 4, 24] = transpose(%a) {perm = [0, 2, 1, 3]}\n"
     "%y: f32[2, 13, 96] = reshape(%t) {shape = [2, 13, 96]}\n"
     "output %y\n", {0}, 0, 0},
};

static const plugin_case rope_cases[] = {
    {"halves", "graph \"g\" stage float\n"
     "input %x: f32[2, 3, 5, 40]\ninput %p: i32[2, 5]\n"
     "const c1: $f32[20]\n%f: f32[20] = c1\n"
     "%y: f32[2, 3, 5, 40] = rope(%x, %p, %f)\noutput %y\n", {0}, 0, 500},
    {"interleaved", "graph \"g\" stage float\n"
     "input %x: f32[2, 3, 5, 42]\ninput %p: i32[2, 5]\n"
     "const c1: $f32[21]\n%f: f32[21] = c1\n"
     "%y: f32[2, 3, 5, 42] = rope(%x, %p, %f) {mode = 1}\noutput %y\n",
     {0}, 0, 500},
    {"part of a row", "graph \"g\" stage float\nsymbol T = [1, 99]\n"
     "input %x: f32[1, T, 2, 19]\ninput %p: i32[1, T]\n"
     "const c1: $f32[3]\n%f: f32[3] = c1\n"
     "%t: f32[1, 2, T, 19] = transpose(%x) {perm = [0, 2, 1, 3]}\n"
     "%a: f32[1, 2, T, 19] = rope(%t, %p, %f)\n"
     "%b: f32[1, 2, T, 19] = rope(%a, %p, %f) {mode = 1}\n"
     "%y: f32[1, 2, T, 19] = add(%b, %a)\noutput %y\n", {9}, 1, 100000},
    {"large", "graph \"g\" stage float\n"
     "input %x: f32[1, 9, 31, 64]\ninput %p: i32[1, 31]\n"
     "const c1: $f32[32]\n%f: f32[32] = c1\n"
     "%y: f32[1, 9, 31, 64] = rope(%x, %p, %f)\noutput %y\n", {0}, 0, 2000},
};
// clang-format on

static void
attention(void **state)
{
    (void)state;
    PLUGIN_CHECK(attention_cases);
}

static void
rope(void **state)
{
    (void)state;
    PLUGIN_CHECK(rope_cases);
}

// ---- states ----------------------------------------------------------------

enum { BATCH = 2, HEADS = 6, KV = 2, D = 24, DV = 20, CAPACITY = 41 };
enum { TOKENS_MAX = 19, STEPS = 5 };

static const char block_text[] =
    "ptir 1\ngraph \"s\" stage legal\n"
    "symbol B = [1, inf]\nsymbol T = [1, inf]\nsymbol C = [1, inf]\n"
    "const c1: f32[5] = [1, 0.3, 0.1, 0.03, 0.01]\n"
    "input %x: f32[B, T, 144]\ninput %n: f32[B, 2, T, 24]\n"
    "input %m: f32[B, 2, T, 20]\ninput %p: i32[B, T]\n"
    "state %k: f16[B, 2, C, 24]\nstate %v: f32[B, 2, C, 20]\n"
    "%f: f32[5] = c1\n"
    "%a: f32[B, T, 6, 24] = reshape(%x) {shape = [B, T, 6, 24]}\n"
    "%b: f32[B, 6, T, 24] = transpose(%a) {perm = [0, 2, 1, 3]}\n"
    "%q: f32[B, 6, T, 24] = rope(%b, %p, %f)\n"
    "%r: f32[B, 2, T, 24] = rope(%n, %p, %f)\n"
    "%K: f16[B, 2, C, 24] = kv_update(%k, %r, %p)\n"
    "%V: f32[B, 2, C, 20] = kv_update(%v, %m, %p)\n"
    "%c: f32[B, 6, T, 20] = attention(%q, %K, %V, _, %p)\n"
    "%e: f32[B, T, 6, 20] = transpose(%c) {perm = [0, 2, 1, 3]}\n"
    "%y: f32[B, T, 120] = reshape(%e) {shape = [B, T, 120]}\n"
    "output %y\noutput %V\n";

typedef struct arrays {
    _Alignas(64) float x[BATCH * TOKENS_MAX * HEADS * D];
    _Alignas(64) float n[BATCH * KV * TOKENS_MAX * D];
    _Alignas(64) float m[BATCH * KV * TOKENS_MAX * DV];
    _Alignas(64) int32_t p[BATCH * TOKENS_MAX];
    _Alignas(64) uint16_t k[BATCH * KV * CAPACITY * D];
    _Alignas(64) float v[BATCH * KV * CAPACITY * DV];
    _Alignas(64) float y[BATCH * TOKENS_MAX * HEADS * DV];
    _Alignas(64) float v_out[BATCH * KV * CAPACITY * DV];
    float want_y[BATCH * TOKENS_MAX * HEADS * DV];
    float want_v[BATCH * KV * CAPACITY * DV];
    int64_t tokens;
} arrays;

static ptqc_status
keep(void *user, pq_value_id v, const pq_tensor *t)
{
    arrays *a = user;
    (void)v;
    memcpy(t->rank == 3 ? a->want_y : a->want_v, t->p, t->bytes);
    return PTQC_OK;
}

static void
run_interpreter(pq_runner *r, arrays *a)
{
    int64_t t = a->tokens;
    size_t rows = (size_t)(BATCH * t) * sizeof(float);
    const pq_tensor in[4] = {
        {PTQC_F32, 3, {BATCH, t, HEADS * D}, a->x, rows * HEADS * D},
        {PTQC_F32, 4, {BATCH, KV, t, D}, a->n, rows * KV * D},
        {PTQC_F32, 4, {BATCH, KV, t, DV}, a->m, rows * KV * DV},
        {PTQC_I32, 2, {BATCH, t}, a->p, rows},
    };
    assert_int_equal(r->run(r, in, keep, a), PTQC_OK);
}

static void
run_plugin(pq_test_plugin *p, arrays *a)
{
    const int64_t dims[3] = {BATCH, a->tokens, CAPACITY};
    size_t rows = (size_t)(BATCH * a->tokens) * sizeof(float);
    const ptqc_binding bindings[] = {
        {.host = a->x, .bytes = rows * HEADS * D},
        {.host = a->n, .bytes = rows * KV * D},
        {.host = a->m, .bytes = rows * KV * DV},
        {.host = a->p, .bytes = rows},
        {.host = a->k, .bytes = sizeof a->k},
        {.host = a->v, .bytes = sizeof a->v},
        {.host = a->y, .bytes = rows * HEADS * DV},
        {.host = a->v_out, .bytes = sizeof a->v_out},
    };
    enum { COUNT = sizeof bindings / sizeof bindings[0] };
    assert_int_equal(pq_test_plugin_load(p, (ptqc_bytes){NULL, 0}, dims, 3),
                     PTQC_BE_OK);
    for (uint32_t i = 0; i < COUNT; i++) {
        assert_int_equal(pq_test_plugin_need(p, i), bindings[i].bytes);
    }
    assert_int_equal(pq_test_plugin_run(p, bindings, COUNT, NULL, NULL),
                     PTQC_BE_OK);
    assert_memory_equal(a->y, a->want_y, rows * HEADS * DV);
    assert_memory_equal(a->v, a->want_v, sizeof a->v);
    assert_memory_equal(a->v_out, a->want_v, sizeof a->v);
}

// Prompts of several lengths, single tokens, padding, and positions beyond
// the capacity; the second sequence is behind the first.
static void
run_steps(pq_test_plugin *p, pq_runner *r, arrays *a)
{
    static const int64_t tokens[STEPS] = {19, 1, 1, 7, 18};
    pq_test_random random = pq_test_random_seed(4);
    memset(a->k, 0, sizeof a->k);
    memset(a->v, 0, sizeof a->v);
    int32_t at = 0;
    for (size_t step = 0; step < STEPS; step++) {
        a->tokens = tokens[step];
        pq_test_fill_normal(&random, a->x, sizeof a->x / 4, 1);
        pq_test_fill_normal(&random, a->n, sizeof a->n / 4, 1);
        pq_test_fill_normal(&random, a->m, sizeof a->m / 4, 1);
        for (int32_t i = 0; i < a->tokens; i++) {
            a->p[i] = at + i;
            a->p[a->tokens + i] = i % 3 == 2 ? -1 : (at + i) / 2;
        }
        at += (int32_t)a->tokens;
        run_interpreter(r, a);
        run_plugin(p, a);
    }
}

static void
states_at(const char *target, uint32_t width)
{
    static arrays a;
    static pq_test_sink sink;
    pq_test_sink_clear(&sink);
    ptqc_ctx *ctx = pq_test_ctx_create(&sink, NULL, 1);
    pq_pool *pool;
    pq_graph *g;
    pq_runner *r;
    void *bytes;
    size_t n;
    assert_int_equal(pq_pool_create(ctx, width, &pool), PTQC_OK);
    assert_int_equal(pq_graph_parse(ctx, "s", PQ_STR(block_text), &g), PTQC_OK);
    assert_int_equal(pq_interp_make(ctx, g, NULL, 0, &r), PTQC_OK);
    assert_int_equal(pq_interp_set_symbol(r, PQ_STR("C"), CAPACITY), PTQC_OK);
    assert_int_equal(pq_block_write(g, NULL, &bytes, &n), PTQC_OK);
    const ptqc_bytes block = {bytes, n};
    pq_test_plugin *p = pq_test_plugin_open(ptqc_plugin_query_v0, pool);
    assert_int_equal(pq_test_plugin_check(p, target, block, plugin_constant, g),
                     0);
    assert_int_equal(
        pq_test_plugin_compile(p, target, block, plugin_constant, g),
        PTQC_BE_OK);
    run_steps(p, r, &a);
    pq_test_plugin_close(p);
    pq_free(ctx, bytes);
    r->destroy(r);
    pq_graph_destroy(g);
    pq_pool_destroy(pool);
    ptqc_ctx_destroy(ctx);
}

static void
states(void **state)
{
    (void)state;
    if (pq_isa_detect() < 0) {
        print_message("skipped: this machine has no AVX2 and FMA\n");
        skip();
    }
    for (size_t i = 0; i < 4; i++) {
        states_at(plugin_targets[i], 1);
    }
    states_at("cpu", 3);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(attention),
        cmocka_unit_test(rope),
        cmocka_unit_test(states),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
