// SPDX-License-Identifier: Apache-2.0
//
// Key and value states through the plugin against the interpreter: bit for
// bit, at every level and number of workers; whole prompts, pieces, single
// tokens, padding, positions beyond the capacity; every type of state.
#include <stdio.h>
#include <stdlib.h>

#include "tests/support/compare.h"
#include "tests/unit/backends/cpu/plugin_check.h"

typedef struct kv_case {
    const char *name;
    int64_t batch, heads, kv_heads, d, dv, capacity;
    const char *k_type, *v_type;
    int32_t tokens[6]; // of the runs, 0 ends them
    int shows_values;  // the state of values is an output, too
} kv_case;

static const kv_case cases[] = {
    {"f16, f32", 2, 6, 2, 24, 20, 41, "f16", "f32", {19, 1, 1, 7, 18}, 0},
    {"output", 2, 6, 2, 24, 20, 41, "f16", "f32", {19, 1, 1, 7, 18}, 1},
    {"three queries", 1, 9, 3, 64, 64, 600, "f16", "f16", {70, 1, 480, 1}, 0},
    {"one query", 2, 2, 2, 16, 64, 64, "f32", "bf16", {1, 33, 1, 5}, 0},
    {"eight queries", 1, 8, 1, 80, 33, 700, "bf16", "f16", {50, 1, 600}, 0},
    {"twelve queries", 1, 24, 2, 32, 5, 130, "f16", "f16", {1, 66, 9, 1}, 0},
    {"small rest", 1, 4, 2, 8, 40, 500, "f16", "f16", {130, 49, 97, 1}, 0},
    {"codes, odd", 2, 6, 3, 5, 7, 37, "i8", "i8", {19, 1, 1, 7, 18}, 0},
    {"codes", 1, 4, 1, 128, 128, 1030, "i8", "i8", {130, 1, 700, 1, 1}, 0},
    {"codes, eight", 1, 16, 2, 64, 64, 550, "i8", "i8", {99, 1, 400}, 0},
    {"codes shown", 2, 4, 2, 12, 12, 33, "i8", "i8", {9, 1, 21, 3}, 1},
    {"codes of keys", 1, 3, 1, 40, 48, 90, "i8", "f16", {65, 1, 1, 20}, 0},
    {"codes of values", 1, 3, 3, 33, 16, 90, "f32", "i8", {65, 1, 1, 20}, 0},
};

// ---- the graph -------------------------------------------------------------

static int
is_codes(const char *type)
{
    return strcmp(type, "i8") == 0;
}

static size_t
add_update(const kv_case *c, char which, const char *type, int64_t d,
           char *text, size_t room)
{
    char scales[64] = "";
    int64_t h = c->kv_heads;
    if (!is_codes(type)) {
        return (size_t)snprintf(text, room,
                                "%%%c: %s[B, %d, C, %d] = "
                                "kv_update(%%s%c, %%x%c, %%p)\n",
                                which, type, (int)h, (int)d, which, which);
    }
    snprintf(scales, sizeof scales, ", %%%cs: f32[B, %d, C]", which, (int)h);
    return (size_t)snprintf(text, room,
                            "%%%c: i8[B, %d, C, %d]%s = "
                            "kv_update_codes(%%s%c, %%s%cs, %%x%c, %%p)\n",
                            which, (int)h, (int)d, scales, which, which, which);
}

static size_t
add_states(const kv_case *c, char *text, size_t room)
{
    size_t n = 0;
    const char *types[2] = {c->k_type, c->v_type};
    const int64_t d[2] = {c->d, c->dv};
    for (int i = 0; i < 2; i++) {
        n += (size_t)snprintf(text + n, room - n,
                              "state %%s%c: %s[B, %d, C, %d]\n", "kv"[i],
                              types[i], (int)c -> kv_heads, (int)d[i]);
    }
    for (int i = 0; i < 2; i++) {
        if (is_codes(types[i])) {
            n += (size_t)snprintf(text + n, room - n,
                                  "state %%s%cs: f32[B, %d, C]\n", "kv"[i],
                                  (int)c -> kv_heads);
        }
    }
    return n;
}

static void
write_text(const kv_case *c, char *text, size_t room)
{
    const char *k = is_codes(c->k_type)   ? ", %ks"
                    : is_codes(c->v_type) ? ", _"
                                          : "";
    size_t n = (size_t)snprintf(
        text, room,
        "ptir 1\ngraph \"s\" stage legal\nsymbol B = [1, inf]\n"
        "symbol T = [1, inf]\nsymbol C = [1, inf]\n"
        "input %%q: f32[B, T, %d, %d]\ninput %%xk: f32[B, %d, T, %d]\n"
        "input %%xv: f32[B, %d, T, %d]\ninput %%p: i32[B, T]\n",
        (int)c->heads, (int)c->d, (int)c->kv_heads, (int)c->d, (int)c->kv_heads,
        (int)c->dv);
    n += add_states(c, text + n, room - n);
    n += add_update(c, 'k', c->k_type, c->d, text + n, room - n);
    n += add_update(c, 'v', c->v_type, c->dv, text + n, room - n);
    snprintf(text + n, room - n,
             "%%t: f32[B, %d, T, %d] = transpose(%%q) {perm = [0, 2, 1, 3]}\n"
             "%%y: f32[B, %d, T, %d] = attention(%%t, %%k, %%v, _, %%p%s%s)\n"
             "output %%y\n%s",
             (int)c->heads, (int)c->d, (int)c->heads, (int)c->dv, k,
             is_codes(c->v_type) ? ", %vs" : "",
             c->shows_values ? "output %v\n" : "");
}

// ---- runs ------------------------------------------------------------------

enum { INPUTS = 4, BINDINGS_MAX = 16 };

typedef struct fixture {
    const kv_case *c;
    pq_graph *g;
    pq_runner *r;
    pq_test_plugin *p;
    pq_test_random random;
    ptqc_binding bindings[BINDINGS_MAX];
    uint32_t states, outputs;
    int64_t tokens;
} fixture;

static size_t
input_bytes(const fixture *f, uint32_t i)
{
    const kv_case *c = f->c;
    int64_t sizes[INPUTS] = {c->heads * c->d, c->kv_heads * c->d,
                             c->kv_heads * c->dv, 1};
    return (size_t)(c->batch * f->tokens * sizes[i]) * 4;
}

static void
make_inputs(fixture *f, int32_t at)
{
    for (uint32_t i = 0; i < INPUTS; i++) {
        size_t bytes = input_bytes(f, i);
        f->bindings[i] = (ptqc_binding){
            .host = aligned_alloc(64, (bytes + 63) / 64 * 64), .bytes = bytes};
        if (i < 3) {
            pq_test_fill_normal(&f->random, f->bindings[i].host, bytes / 4, 1);
        }
    }
    int32_t *p = f->bindings[3].host;
    for (int32_t i = 0; i < f->tokens; i++) {
        p[i] = at + i;
        if (f->c->batch > 1) { // behind, with padding
            p[f->tokens + i] = i % 3 == 2 ? -1 : (at + i) / 2;
        }
    }
}

static ptqc_status
compare(void *user, pq_value_id v, const pq_tensor *t)
{
    const fixture *f = user;
    for (uint32_t i = 0; i < f->outputs; i++) {
        if (pq_value_equal(pq_graph_output(f->g, i), v)) {
            const ptqc_binding *b = &f->bindings[INPUTS + f->states + i];
            assert_int_equal(b->bytes, t->bytes);
            assert_true(
                pq_test_same_bytes(f->c->name, b->host, t->p, t->bytes));
        }
    }
    return PTQC_OK;
}

static void
run_interpreter(fixture *f)
{
    const kv_case *c = f->c;
    int64_t t = f->tokens;
    const pq_tensor in[INPUTS] = {
        {PTQC_F32,
         4,
         {c->batch, t, c->heads, c->d},
         f->bindings[0].host,
         input_bytes(f, 0)},
        {PTQC_F32,
         4,
         {c->batch, c->kv_heads, t, c->d},
         f->bindings[1].host,
         input_bytes(f, 1)},
        {PTQC_F32,
         4,
         {c->batch, c->kv_heads, t, c->dv},
         f->bindings[2].host,
         input_bytes(f, 2)},
        {PTQC_I32, 2, {c->batch, t}, f->bindings[3].host, input_bytes(f, 3)},
    };
    assert_int_equal(f->r->run(f->r, in, compare, f), PTQC_OK);
}

// The states keep their memory and their size from run to run.
static void
bind(fixture *f, uint32_t i, int is_new)
{
    ptqc_binding *b = &f->bindings[i];
    size_t bytes = pq_test_plugin_need(f->p, i);
    if (i < INPUTS + f->states && !is_new) {
        assert_int_equal(b->bytes, bytes);
        return;
    }
    *b = (ptqc_binding){.host = aligned_alloc(64, (bytes + 63) / 64 * 64),
                        .bytes = bytes};
    assert_non_null(b->host);
    memset(b->host, i < INPUTS + f->states ? 0 : 0xaa, bytes);
}

static void
run_step(fixture *f, int32_t at, int is_first)
{
    const int64_t dims[3] = {f->c->batch, f->tokens, f->c->capacity};
    uint32_t count = INPUTS + f->states + f->outputs;
    make_inputs(f, at);
    assert_int_equal(pq_test_plugin_load(f->p, (ptqc_bytes){NULL, 0}, dims, 3),
                     PTQC_BE_OK);
    for (uint32_t i = INPUTS; i < count; i++) {
        bind(f, i, is_first);
    }
    assert_int_equal(pq_test_plugin_run(f->p, f->bindings, count, NULL, NULL),
                     PTQC_BE_OK);
    run_interpreter(f);
    for (uint32_t i = 0; i < count; i++) {
        if (i < INPUTS || i >= INPUTS + f->states) {
            free(f->bindings[i].host);
        }
    }
}

static void
run_steps(fixture *f)
{
    int32_t at = 0;
    f->random = pq_test_random_seed(4);
    f->states = pq_graph_state_count(f->g);
    f->outputs = pq_graph_output_count(f->g);
    for (size_t i = 0; i < 6 && f->c->tokens[i] > 0; i++) {
        f->tokens = f->c->tokens[i];
        run_step(f, at, i == 0);
        at += f->c->tokens[i];
    }
    for (uint32_t i = 0; i < f->states; i++) {
        free(f->bindings[INPUTS + i].host);
    }
}

static void
check_case(const kv_case *c, const char *target, uint32_t width)
{
    static pq_test_sink sink;
    pq_test_sink_clear(&sink);
    ptqc_ctx *ctx = pq_test_ctx_create(&sink, NULL, 1);
    fixture f = {.c = c};
    char text[4096];
    pq_pool *pool;
    void *bytes;
    size_t n;
    write_text(c, text, sizeof text);
    assert_int_equal(pq_pool_create(ctx, width, &pool), PTQC_OK);
    assert_int_equal(pq_graph_parse(ctx, c->name, pq_str_of(text), &f.g),
                     PTQC_OK);
    assert_int_equal(pq_interp_make(ctx, f.g, NULL, 0, &f.r), PTQC_OK);
    assert_int_equal(pq_interp_set_symbol(f.r, PQ_STR("C"), c->capacity),
                     PTQC_OK);
    assert_int_equal(pq_block_write(f.g, NULL, &bytes, &n), PTQC_OK);
    const ptqc_bytes block = {bytes, n};
    f.p = pq_test_plugin_open(ptqc_plugin_query_v0, pool);
    assert_int_equal(
        pq_test_plugin_check(f.p, target, block, plugin_constant, f.g), 0);
    assert_int_equal(
        pq_test_plugin_compile(f.p, target, block, plugin_constant, f.g),
        PTQC_BE_OK);
    run_steps(&f);
    pq_test_plugin_close(f.p);
    pq_free(ctx, bytes);
    f.r->destroy(f.r);
    pq_graph_destroy(f.g);
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
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        for (size_t t = 0; t < 4; t++) {
            check_case(&cases[i], plugin_targets[t], 1);
        }
        check_case(&cases[i], "cpu", 3);
    }
}

// The kernels over layouts need rows of a known size: where one of the operands
// has none, the state of the other one lies as the graph says. Whatever check
// accepts, compile can do.
static void
open_size(void **state)
{
    static const char *const texts[] = {
        "state %s: f16[1, 2, 40, 16]\ninput %o: f32[1, 2, 40, D]\n"
        "%k: f16[1, 2, 40, 16] = kv_update(%s, %x, %p)\n"
        "%y: f32[1, 4, 5, D] = attention(%q, %k, %o, _, %p)\noutput %y\n",
        "state %s: f16[1, 2, 40, 16]\ninput %o: f16[1, 2, 40, 16]\n"
        "input %m: f32[5, 40]\n"
        "%v: f16[1, 2, 40, 16] = kv_update(%s, %x, %p)\n"
        "%y: f32[1, 4, 5, 16] = attention(%q, %o, %v, %m)\noutput %y\n",
    };
    (void)state;
    static pq_test_sink sink;
    ptqc_ctx *ctx = pq_test_ctx_create(&sink, NULL, 1);
    pq_pool *pool;
    assert_int_equal(pq_pool_create(ctx, 1, &pool), PTQC_OK);
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        char text[1024];
        pq_graph *g;
        void *bytes;
        size_t n;
        snprintf(text, sizeof text,
                 "ptir 1\ngraph \"s\" stage legal\nsymbol D = [1, inf]\n"
                 "input %%q: f32[1, 4, 5, 16]\ninput %%x: f32[1, 2, 5, 16]\n"
                 "input %%p: i32[1, 5]\n%s",
                 texts[i]);
        assert_int_equal(pq_graph_parse(ctx, "open", pq_str_of(text), &g),
                         PTQC_OK);
        assert_int_equal(pq_block_write(g, NULL, &bytes, &n), PTQC_OK);
        const ptqc_bytes block = {bytes, n};
        pq_test_plugin *p = pq_test_plugin_open(ptqc_plugin_query_v0, pool);
        assert_int_equal(
            pq_test_plugin_check(p, "cpu", block, plugin_constant, g), 0);
        assert_int_equal(
            pq_test_plugin_compile(p, "cpu", block, plugin_constant, g),
            PTQC_BE_OK);
        pq_test_plugin_close(p);
        pq_free(ctx, bytes);
        pq_graph_destroy(g);
    }
    pq_pool_destroy(pool);
    ptqc_ctx_destroy(ctx);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(states),
        cmocka_unit_test(open_size),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
