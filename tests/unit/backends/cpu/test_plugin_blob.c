// SPDX-License-Identifier: Apache-2.0
//
// The blob as hostile input, and the plugin's contract around it: the same
// bytes for the same graph, wrong dims and bindings refused, nothing
// allocated while running (the test host checks that on every run).
#include "backends/cpu/program.h"
#include "base/bits.h"
#include "tests/unit/backends/cpu/plugin_check.h"

// clang-format off
static const plugin_case mixed_case = {
    "mixed", "graph \"g\" stage float\nsymbol N = [1, 8]\n"
    "input %x: f32[N, 3, 6, 6]\ninput %i: i64[2]\n"
    "const c1: $f32[8, 3, 3, 3]\nconst c2: $f32[32, 5]\n"
    "%w: f32[8, 3, 3, 3] = c1\n%v: f32[32, 5] = c2\n"
    "%a: f32[N, 8, 4, 4] = conv(%x, %w) {act = relu}\n"
    "%b: f32[N, 8, 2, 2] = max_pool(%a) {kernel = [2, 2], strides = [2, 2]}\n"
    "%c: f32[N, 32] = reshape(%b) {shape = [N, 32]}\n"
    "%d: f32[N, 5] = matmul(%c, %v)\n"
    "%e: f32[N, 5] = softmax(%d) {axis = 1}\n"
    "%f: f32[N, 2] = gather(%e, %i) {axis = 1}\n"
    "%h: f32[N, 7] = concat(%e, %f) {axis = 1}\n"
    "%k: f32[N, 9] = pad(%h) {pads = [0, 1, 0, 1]}\n"
    "%l: f32[N, 4] = slice(%k) {axes = [1], starts = [2], ends = [6]}\n"
    "%y: f32[N, 1] = reduce_sum(%l) {axes = [1]}\noutput %y\noutput %e\n",
    {2}, 1, 2};
// clang-format on

typedef struct fixture {
    ptqc_ctx *ctx;
    pq_test_sink sink;
    pq_pool *pool;
    plugin_run run;
    pq_test_plugin *plugin;
} fixture;

static int
setup(void **state)
{
    if (pq_isa_detect() < 0) {
        return 0;
    }
    fixture *f = calloc(1, sizeof *f);
    assert_non_null(f);
    f->ctx = pq_test_ctx_create(&f->sink, NULL, 1);
    assert_int_equal(pq_pool_create(f->ctx, 2, &f->pool), PTQC_OK);
    plugin_make_run(f->ctx, &f->sink, &mixed_case, &f->run);
    f->plugin = pq_test_plugin_open(ptqc_plugin_query_v0, f->pool);
    assert_int_equal(pq_test_plugin_compile(f->plugin, "cpu", f->run.block,
                                            plugin_constant, f->run.g),
                     PTQC_BE_OK);
    *state = f;
    return 0;
}

static int
teardown(void **state)
{
    fixture *f = *state;
    if (f != NULL) {
        pq_test_plugin_close(f->plugin);
        plugin_end_run(f->ctx, &f->run);
        pq_pool_destroy(f->pool);
        ptqc_ctx_destroy(f->ctx);
        free(f);
    }
    return 0;
}

static fixture *
need_fixture(void **state)
{
    if (*state == NULL) {
        print_message("skipped: this machine has no AVX2 and FMA\n");
        skip();
    }
    return *state;
}

// Buffers of the size the program asks for, indices in the data included.
static ptqc_be_status
run_with_own_buffers(fixture *f)
{
    ptqc_binding bindings[4] = {{0}};
    for (uint32_t i = 0; i < 4; i++) {
        bindings[i].bytes = pq_test_plugin_need(f->plugin, i);
        if (bindings[i].bytes > (64u << 20)) {
            bindings[i].bytes = 0; // refused below: too small
        }
        bindings[i].host = calloc(1, bindings[i].bytes + 128);
        assert_non_null(bindings[i].host);
    }
    ptqc_be_status st = pq_test_plugin_run(f->plugin, bindings, 4, NULL, NULL);
    for (uint32_t i = 0; i < 4; i++) {
        free(bindings[i].host);
    }
    return st;
}

static void
test_truncated(void **state)
{
    fixture *f = need_fixture(state);
    ptqc_bytes blob = pq_test_plugin_blob(f->plugin);
    for (uint64_t n = 0; n < blob.n; n += n < 200 ? 1 : 29) {
        void *copy = malloc(n > 0 ? n : 1);
        assert_non_null(copy);
        memcpy(copy, blob.p, n);
        ptqc_bytes cut = {copy, n};
        assert_int_not_equal(
            pq_test_plugin_load(f->plugin, cut, mixed_case.symbols, 1),
            PTQC_BE_OK);
        free(copy);
    }
}

static void
test_flipped(void **state)
{
    fixture *f = need_fixture(state);
    ptqc_bytes blob = pq_test_plugin_blob(f->plugin);
    pq_test_random r = pq_test_random_seed(3);
    uint8_t *copy = malloc(blob.n);
    assert_non_null(copy);
    uint32_t refused = 0, rounds = 300;
    for (uint32_t i = 0; i < rounds; i++) {
        memcpy(copy, blob.p, blob.n);
        size_t at = (size_t)pq_test_random_int(&r, 0, (int64_t)blob.n - 1);
        copy[at] ^= (uint8_t)(1u << pq_test_random_int(&r, 0, 7));
        ptqc_bytes bad = {copy, blob.n};
        assert_int_not_equal(
            pq_test_plugin_load(f->plugin, bad, mixed_case.symbols, 1),
            PTQC_BE_OK);
        // The same with a checksum that fits: what is behind it must hold.
        pq_store_le64(copy + 8, pq_cpu_program_sum(copy + 16, blob.n - 16));
        ptqc_be_status st =
            pq_test_plugin_load(f->plugin, bad, mixed_case.symbols, 1);
        if (st == PTQC_BE_OK) {
            st = run_with_own_buffers(f);
        }
        refused += st != PTQC_BE_OK;
    }
    free(copy);
    print_message("%u of %u damaged programs refused, the others ran\n",
                  refused, rounds);
    assert_true(refused > rounds / 4);
}

static void
test_same_bytes(void **state)
{
    fixture *f = need_fixture(state);
    ptqc_bytes blob = pq_test_plugin_blob(f->plugin);
    uint64_t n = blob.n;
    void *first = malloc(n);
    assert_non_null(first);
    memcpy(first, blob.p, n);
    uint32_t constants = pq_test_plugin_constant_count(f->plugin);
    assert_int_equal(pq_test_plugin_compile(f->plugin, "cpu", f->run.block,
                                            plugin_constant, f->run.g),
                     PTQC_BE_OK);
    blob = pq_test_plugin_blob(f->plugin);
    assert_int_equal(blob.n, n);
    assert_memory_equal(blob.p, first, n);
    assert_int_equal(pq_test_plugin_constant_count(f->plugin), constants);
    free(first);
}

static void
test_wrong_dims(void **state)
{
    fixture *f = need_fixture(state);
    const ptqc_bytes own = {NULL, 0};
    int64_t dims[2] = {9, 1};
    assert_int_equal(pq_test_plugin_load(f->plugin, own, dims, 1),
                     PTQC_BE_INVALID);
    assert_non_null(strstr(pq_test_plugin_message(f->plugin), "range"));
    assert_int_equal(pq_test_plugin_load(f->plugin, own, dims, 2),
                     PTQC_BE_INVALID);
    dims[0] = 8;
    assert_int_equal(pq_test_plugin_load(f->plugin, own, dims, 1), PTQC_BE_OK);
}

static void
test_wrong_bindings(void **state)
{
    fixture *f = need_fixture(state);
    const ptqc_bytes own = {NULL, 0};
    assert_int_equal(pq_test_plugin_load(f->plugin, own, mixed_case.symbols, 1),
                     PTQC_BE_OK);
    uint8_t memory[4096] = {0};
    ptqc_binding b[4];
    for (uint32_t i = 0; i < 4; i++) {
        b[i] = (ptqc_binding){.host = memory,
                              .bytes = pq_test_plugin_need(f->plugin, i) - 1};
    }
    assert_int_equal(pq_test_plugin_run(f->plugin, b, 3, NULL, NULL),
                     PTQC_BE_INVALID);
    assert_int_equal(pq_test_plugin_run(f->plugin, b, 4, NULL, NULL),
                     PTQC_BE_INVALID);
}

static void
test_bad_index(void **state)
{
    fixture *f = need_fixture(state);
    const ptqc_bytes own = {NULL, 0};
    assert_int_equal(pq_test_plugin_load(f->plugin, own, mixed_case.symbols, 1),
                     PTQC_BE_OK);
    int64_t index[2] = {0, 5};
    ptqc_binding b[4];
    for (uint32_t i = 0; i < 4; i++) {
        b[i].bytes = pq_test_plugin_need(f->plugin, i);
        b[i].host = i == 1 ? (void *)index : calloc(1, b[i].bytes);
    }
    assert_int_equal(pq_test_plugin_run(f->plugin, b, 4, NULL, NULL),
                     PTQC_BE_INVALID);
    assert_non_null(strstr(pq_test_plugin_message(f->plugin), "index"));
    for (uint32_t i = 0; i < 4; i++) {
        if (i != 1) {
            free(b[i].host);
        }
    }
}

static void
test_unknown_target(void **state)
{
    fixture *f = need_fixture(state);
    assert_int_equal(pq_test_plugin_compile(f->plugin, "cpu;x", f->run.block,
                                            plugin_constant, f->run.g),
                     PTQC_BE_UNSUPPORTED);
    assert_non_null(strstr(pq_test_plugin_message(f->plugin), "cpu;avx2"));
}

int
main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_truncated),      TEST(test_flipped),
        TEST(test_same_bytes),     TEST(test_wrong_dims),
        TEST(test_wrong_bindings), TEST(test_bad_index),
        TEST(test_unknown_target),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
