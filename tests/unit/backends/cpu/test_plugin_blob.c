// SPDX-License-Identifier: Apache-2.0
//
// The blob as hostile input, and the plugin's contract around it: the same
// bytes for the same graph, wrong dims and bindings refused, nothing
// allocated while running (the test host checks that on every run).
#include "ptqc/graph_block.h"

#include "backends/cpu/lowering.h"
#include "base/bits.h"
#include "tests/unit/backends/cpu/cpu_host.h"
#include "tests/unit/backends/cpu/plugin_check.h"

#define LIST_6(x) x ", " x ", " x ", " x ", " x ", " x
#define LIST_36(x)                                                             \
    LIST_6(x)                                                                  \
    ", " LIST_6(x) ", " LIST_6(x) ", " LIST_6(x) ", " LIST_6(x) ", " LIST_6(x)

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

// Rows and products of packed codes, with activations of 15 and of 8 bits;
// states in a layout of the plugin's own and as the graph says, attention over
// both.
static const plugin_case state_case = {
    "states", "graph \"g\" stage quantized\nsymbol T = [1, 8]\n"
    "const c1: $half[36, 2]\nconst c2: i32[36, 2] = [" LIST_36("8, 3") "]\n"
    "const c3: $u4[36, 64]\nconst c4: $i8[36, 64]\n"
    "const c5: i32[36, 2] = [" LIST_36("0, 0") "]\n"
    "quant q1 = {format = u4, granularity = group, axis = 1, group = 32, "
    "symmetric = 0, dynamic = 0, scale = c1, zero_point = c2}\n"
    "quant q2 = {format = i8, granularity = group, axis = 1, group = 32, "
    "symmetric = 1, dynamic = 0, scale = c1, zero_point = c5}\n"
    "quant q3 = {format = i8, granularity = token, axis = 0, group = 0, "
    "symmetric = 1, dynamic = 1}\n"
    "input %t: i32[1, T]\ninput %p: i32[1, T]\n"
    "state %sk: i8[1, 2, 40, 16]\nstate %sv: f32[1, 2, 40, 16]\n"
    "state %ss: f32[1, 2, 40]\n"
    "%w: u4[36, 64] q1 = c3\n%u: i8[36, 64] q2 = c4\n"
    "%x: f32[1, T, 64] = gather(%w, %t)\n"
    "%a: f32[1, T, 36] = matmul(%x, %w) {trans_b = 1}\n"
    "%d: i8[1, T, 64] q3, %e: f32[1, T, 1] = dynamic_quantize(%x)\n"
    "%b: f32[1, T, 36] = matmul(%d, %u, _, _, %e) {trans_b = 1}\n"
    "%f: f32[1, T, 32] = slice(%b) {axes = [2], starts = [0], ends = [32]}\n"
    "%g: f32[1, T, 2, 16] = reshape(%f) {shape = [1, T, 2, 16]}\n"
    "%n: f32[1, 2, T, 16] = transpose(%g) {perm = [0, 2, 1, 3]}\n"
    "%r: f32[1, T, 4, 16] = reshape(%x) {shape = [1, T, 4, 16]}\n"
    "%q: f32[1, 4, T, 16] = transpose(%r) {perm = [0, 2, 1, 3]}\n"
    "%k: i8[1, 2, 40, 16], %ks: f32[1, 2, 40] = "
    "kv_update_codes(%sk, %ss, %n, %p)\n"
    "%v: f32[1, 2, 40, 16] = kv_update(%sv, %n, %p)\n"
    "%y: f32[1, 4, T, 16] = attention(%q, %k, %v, _, %p, %ks)\n"
    "output %y\noutput %a\noutput %v\n",
    {3}, 1, 36};
// clang-format on

// Numbers that sizes go wrong with.
static const int64_t extremes[] = {0,
                                   -1,
                                   1,
                                   INT32_MAX,
                                   INT64_C(1) << 32,
                                   INT64_MIN,
                                   INT64_MAX,
                                   1 << 24,
                                   INT64_C(1) << 46,
                                   INT64_C(1) << 62,
                                   17,
                                   -16,
                                   INT32_MIN,
                                   (INT64_C(1) << 58) + 32};
#define EXTREMES (sizeof extremes / sizeof extremes[0])

typedef struct fixture {
    ptqc_ctx *ctx;
    pq_test_sink sink;
    pq_pool *pool;
    plugin_run run;
    pq_test_plugin *plugin;
    uint32_t binding_count;
} fixture;

static int
setup_case(void **state, const plugin_case *c)
{
    if (pq_isa_detect() < 0) {
        return 0;
    }
    fixture *f = calloc(1, sizeof *f);
    assert_non_null(f);
    f->ctx = pq_test_ctx_create(&f->sink, NULL, 1);
    assert_int_equal(pq_pool_create(f->ctx, 2, &f->pool), PTQC_OK);
    plugin_make_run(f->ctx, &f->sink, c, &f->run);
    f->binding_count = f->run.input_count + pq_graph_state_count(f->run.g) +
                       f->run.output_count;
    f->plugin = pq_test_plugin_open(ptqc_plugin_query_v0, f->pool);
    assert_int_equal(pq_test_plugin_compile(f->plugin, "cpu", f->run.block,
                                            plugin_constant, f->run.g),
                     PTQC_BE_OK);
    *state = f;
    return 0;
}

static int
setup(void **state)
{
    return setup_case(state, &mixed_case);
}

static int
setup_states(void **state)
{
    return setup_case(state, &state_case);
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

#define GUARD_BYTES 4096u
#define GUARD       0x5c

// Small numbers, as indices and positions are; with `seed` 0 zeros.
static void
fill_words(void *p, uint64_t bytes, uint64_t seed)
{
    pq_test_random r = pq_test_random_seed(seed);
    int32_t *words = p;
    for (uint64_t i = 0; i < bytes / 4; i++) {
        words[i] = seed == 0 ? 0 : (int32_t)pq_test_random_int(&r, -9, 60);
    }
}

// Buffers of the size the program asks for, indices in the data included.
static ptqc_be_status
run_with_own_buffers(fixture *f, uint64_t seed)
{
    ptqc_binding bindings[2 * PLUGIN_VALUES] = {{0}};
    for (uint32_t i = 0; i < f->binding_count; i++) {
        uint64_t bytes = pq_test_plugin_need(f->plugin, i);
        bytes = bytes > (64u << 20) ? 0 : bytes; // refused below: too small
        bindings[i].bytes = bytes;
        bindings[i].host = aligned_alloc(64, bytes / 64 * 64 + GUARD_BYTES);
        assert_non_null(bindings[i].host);
        memset(bindings[i].host, GUARD, bytes / 64 * 64 + GUARD_BYTES);
        fill_words(bindings[i].host, bytes, seed);
    }
    ptqc_be_status st =
        pq_test_plugin_run(f->plugin, bindings, f->binding_count, NULL, NULL);
    for (uint32_t i = 0; i < f->binding_count; i++) {
        const uint8_t *p = bindings[i].host;
        uint64_t bytes = bindings[i].bytes, end = bytes / 64 * 64 + GUARD_BYTES;
        while (bytes < end && p[bytes] == GUARD) {
            bytes++;
        }
        assert_int_equal(bytes, end);
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
            pq_test_plugin_load(f->plugin, cut, f->run.c->symbols, 1),
            PTQC_BE_OK);
        free(copy);
    }
}

// Loads the damaged program, which has a checksum that fits when `is_summed`,
// and runs it when that is let through.
static ptqc_be_status
try_program(fixture *f, uint8_t *bytes, uint64_t n, int is_summed,
            uint64_t seed)
{
    if (is_summed) { // what is behind the sum must hold
        pq_store_le64(bytes + 8, pq_kg_program_sum(bytes + 16, n - 16));
    }
    ptqc_be_status st = pq_test_plugin_load(f->plugin, (ptqc_bytes){bytes, n},
                                            f->run.c->symbols, 1);
    return st == PTQC_BE_OK ? run_with_own_buffers(f, seed) : st;
}

static void
test_flipped(void **state)
{
    fixture *f = need_fixture(state);
    ptqc_bytes blob = pq_test_plugin_blob(f->plugin);
    pq_test_random r = pq_test_random_seed(3);
    uint8_t *copy = malloc(blob.n);
    assert_non_null(copy);
    uint32_t refused = 0, rounds = 150;
    for (uint32_t i = 0; i < rounds; i++) {
        memcpy(copy, blob.p, blob.n);
        size_t at = (size_t)pq_test_random_int(&r, 0, (int64_t)blob.n - 1);
        copy[at] ^= (uint8_t)(1u << pq_test_random_int(&r, 0, 7));
        assert_int_not_equal(try_program(f, copy, blob.n, 0, 0), PTQC_BE_OK);
        refused += try_program(f, copy, blob.n, 1, i % 4) != PTQC_BE_OK;
    }
    free(copy);
    print_message("%u of %u damaged programs refused, the others ran\n",
                  refused, rounds);
    assert_true(refused > rounds / 4);
}

// Whole numbers replaced: parameters, sizes, dims. Two at a time, since many
// of them say the same thing twice.
static void
test_extremes(void **state)
{
    fixture *f = need_fixture(state);
    ptqc_bytes blob = pq_test_plugin_blob(f->plugin);
    pq_test_random r = pq_test_random_seed(4);
    uint8_t *copy = malloc(blob.n);
    assert_non_null(copy);
    uint32_t refused = 0, rounds = 200;
    for (uint32_t i = 0; i < rounds; i++) {
        memcpy(copy, blob.p, blob.n);
        for (uint32_t k = 0; k <= i % 2; k++) {
            int64_t words = ((int64_t)blob.n - 16) / 4;
            int64_t word = pq_test_random_int(&r, 0, words - 2);
            int64_t x = extremes[pq_test_random_int(&r, 0, EXTREMES - 1)];
            pq_store_le64(copy + 16 + 4 * word, (uint64_t)x);
        }
        refused += try_program(f, copy, blob.n, 1, i % 4) != PTQC_BE_OK;
    }
    free(copy);
    print_message("%u of %u damaged programs refused, the others ran\n",
                  refused, rounds);
    assert_true(refused > rounds / 4);
}

// The compiled program, its dims with room for one that nothing else uses.
// -> the dims, to be freed
static pq_kg_dim *
open_program(fixture *f, pq_mem *mem, pq_kg_program *out)
{
    const char *why;
    ptqc_bytes blob = pq_test_plugin_blob(f->plugin);
    assert_int_equal(pq_kg_program_read(mem, &pq_cpu_format, blob, out, &why),
                     PTQC_BE_OK);
    pq_kg_entry *e = &out->entries[0];
    pq_kg_dim *dims = calloc(e->dim_count + 1, sizeof *dims);
    assert_non_null(dims);
    memcpy(dims, e->dims, e->dim_count * sizeof *dims);
    dims[e->dim_count] = (pq_kg_dim){.op = PTQC_GB_DIM_CONST};
    e->dims = dims;
    return dims;
}

static ptqc_be_status
try_changed(fixture *f, pq_mem *mem, const pq_kg_program *program,
            uint64_t seed)
{
    ptqc_bytes bytes = pq_kg_program_write(mem, &pq_cpu_format, program);
    uint8_t *copy = malloc(bytes.n);
    assert_non_null(copy);
    memcpy(copy, bytes.p, bytes.n);
    ptqc_be_status st = try_program(f, copy, bytes.n, 1, seed);
    free(copy);
    return st;
}

// Every parameter of every step, itself and as the dim that it may name, with
// the rest of the program as it was.
static void
test_parameters(void **state)
{
    fixture *f = need_fixture(state);
    pq_mem mem = {&cpu_host, NULL};
    pq_kg_program program;
    pq_kg_dim *dims = open_program(f, &mem, &program);
    pq_kg_entry *e = &program.entries[0];
    uint32_t own = e->dim_count++, refused = 0, rounds = 2 * e->param_count;
    pq_test_random r = pq_test_random_seed(6);
    for (uint32_t i = 0; i < rounds; i++) {
        int64_t x = extremes[pq_test_random_int(&r, 0, EXTREMES - 1)];
        int64_t *param = &e->params[i / 2], kept = *param;
        dims[own].value = x;
        *param = i % 2 == 0 ? x : own;
        refused += try_changed(f, &mem, &program, i % 4) != PTQC_BE_OK;
        *param = kept;
    }
    free(dims);
    pq_mem_release(&mem);
    print_message("%u of %u damaged programs refused, the others ran\n",
                  refused, rounds);
    assert_true(refused > rounds / 4);
}

// The capacity of a state: as large as the product of sizes would wrap around
// to that of the state, less than nothing, more than positions count.
static void
test_capacity(void **state)
{
    static const int64_t wrong[] = {(INT64_C(1) << 58) + 40,
                                    -1,
                                    INT32_MAX,
                                    INT64_MAX,
                                    INT64_MIN,
                                    65,
                                    1 << 20};
    fixture *f = need_fixture(state);
    pq_mem mem = {&cpu_host, NULL};
    pq_kg_program program;
    pq_kg_dim *dims = open_program(f, &mem, &program);
    pq_kg_entry *e = &program.entries[0];
    uint32_t own = e->dim_count++, tried = 0;
    for (uint32_t i = 0; i < e->step_count; i++) {
        const pq_kg_step *s = &e->steps[i];
        if (s->kind != PQ_STEP_KV_UPDATE && s->kind != PQ_STEP_KV_ATTENTION) {
            continue;
        }
        uint32_t at = s->kind == PQ_STEP_KV_UPDATE ? 2 : 4;
        int64_t *param = &e->params[s->first_param + at], kept = *param;
        *param = own;
        for (size_t k = 0; k < sizeof wrong / sizeof wrong[0]; k++) {
            dims[own].value = wrong[k];
            assert_int_equal(try_changed(f, &mem, &program, 0),
                             PTQC_BE_CORRUPT);
            tried++;
        }
        *param = kept;
    }
    assert_int_equal(tried, 3 * sizeof wrong / sizeof wrong[0]);
    free(dims);
    pq_mem_release(&mem);
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
#define STATES(name)                                                           \
    cmocka_unit_test_setup_teardown(name, setup_states, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_truncated),      TEST(test_flipped),
        TEST(test_extremes),       TEST(test_parameters),
        STATES(test_truncated),    STATES(test_flipped),
        STATES(test_extremes),     STATES(test_parameters),
        STATES(test_same_bytes),   STATES(test_capacity),
        TEST(test_same_bytes),     TEST(test_wrong_dims),
        TEST(test_wrong_bindings), TEST(test_bad_index),
        TEST(test_unknown_target),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
