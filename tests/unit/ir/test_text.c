// SPDX-License-Identifier: Apache-2.0
//
// The text form: print(parse(t)) = t, exact numbers, odd names, hostile text,
// allocation failures.
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "ir/builder.h"
#include "ir/rewrite.h"
#include "ir/text.h"
#include "ir/text_data.h"
#include "ir/verify.h"
#include "tests/support/cmocka_test.h"
#include "tests/support/context.h"
#include "tests/support/random.h"

// Everything the form has, as the printer writes it.
static const char whole[] =
    "ptir 1\n"
    "graph \"a \\\"graph\\\"\\n\" stage quantized\n"
    "symbol N = [1, inf]\n"
    "symbol \"past + seq\" = [0, 4096] multiple 32\n"
    "symbol H = [1, 1024]\n"
    "const c1: f32[2, 3, 1, 1] = [0.1, -0, inf, nan, 1e-45, 3.4028235e+38]\n"
    "const c2: f32[1] = [0.0078125]\n"
    "const c3: i32[1] = [-2147483648]\n"
    "const c4: i8[2, 3, 1, 1] = [-128, -1, 0, 1, 2, 127]\n"
    "const c5: f32[2] = [1, 2]\n"
    "const c6: i32[2] = [0, 0]\n"
    "const c7: i64[3] = [-9223372036854775808, 0, 9223372036854775807]\n"
    "const c8: u64[1] = [18446744073709551615]\n"
    "const c9: f16[2] = base64 \"ADwAwA==\"\n"
    "const c10: i4[3] = base64 \"IQM=\"\n"
    "const c11: f32[1] = base64 \"AQDAfw==\"\n"
    "quant q1 = {format = u8, granularity = tensor, axis = 0, group = 0, "
    "symmetric = 0, dynamic = 0, scale = c2, zero_point = c3}\n"
    "quant q2 = {format = i8, granularity = channel, axis = 0, group = 0, "
    "symmetric = 1, dynamic = 0, scale = c5, zero_point = c6}\n"
    "quant q3 = {format = i8, granularity = token, axis = 0, group = 0, "
    "symmetric = 1, dynamic = 1}\n"
    "input %x: f32[N, 3, H, \"past + seq\"]\n"
    "input %\"odd name:0\": f32[N*2, max(N, H), cdiv(H, N), (N + 1)/2, "
    "(H - N)%7, H*min(N, 8) - 1]\n"
    "%w: f32[2, 3, 1, 1] = c1\n"
    "%wq: i8[2, 3, 1, 1] q2 = c4\n"
    "%big: i64[3] = c7\n"
    "%huge: u64[1] = c8\n"
    "%half: f16[2] = c9\n"
    "%nibbles: i4[3] = c10\n"
    "%payload: f32[1] = c11\n"
    "%xq: u8[N, 3, H, \"past + seq\"] q1 = quantize \"x/Quantize\"(%x)\n"
    "%y: u8[N, 2, H, \"past + seq\"] q1 = conv \"conv 1\"(%xq, %wq) "
    "{act = relu, strides = [1, 1], pads = [0, 0, 0, 0]}\n"
    "%z: f32[N, 2, H, \"past + seq\"] = dequantize(%y)\n"
    "%codes: i8[N, 2, H, \"past + seq\"] q3, %scales: f32[N, 2, H, 1] = "
    "dynamic_quantize(%z)\n"
    "%c: f32[N, 2, H, \"past + seq\"] = clip(%z) {alpha = -0.1, beta = inf}\n"
    "%s: f32[N, 2, H*2, \"past + seq\"/2] = resize(%c) {scales = [1, 1, 2, "
    "0.5]}\n"
    "%i: i32[N, 2, H, \"past + seq\"] = cast(%c) {to = i32}\n"
    "%big2: i64[3] = identity(%big)\n"
    "%huge2: u64[1] = identity(%huge)\n"
    "%half2: f16[2] = identity(%half)\n"
    "%nibbles2: i4[3] = identity(%nibbles)\n"
    "%payload2: f32[1] = identity(%payload)\n"
    "%w2: f32[2, 3, 1, 1] = identity(%w)\n"
    "output %s as \"the result\"\n"
    "output %z\n"
    "output %x\n";

static void
assert_round_trip(ptqc_ctx *ctx, pq_str text)
{
    pq_graph *g;
    pq_strbuf out;
    assert_int_equal(pq_graph_parse(ctx, "text", text, &g), PTQC_OK);
    assert_int_equal(pq_graph_verify(g), PTQC_OK);
    pq_strbuf_init(&out, ctx);
    assert_int_equal(pq_graph_print(g, 0, &out), PTQC_OK);
    assert_int_equal(out.n, text.n);
    assert_memory_equal(out.p, text.p, text.n);
    pq_strbuf_deinit(&out);
    pq_graph_destroy(g);
}

static void
test_round_trip(void **state)
{
    (void)state;
    static pq_test_sink sink;
    ptqc_ctx *ctx = pq_test_ctx_create(&sink, NULL, 1);
    pq_graph *g;
    pq_strbuf out;
    ptqc_status st = pq_graph_parse(ctx, "whole", PQ_STR(whole), &g);
    if (st != PTQC_OK) {
        print_error("%s", sink.text);
    }
    assert_int_equal(st, PTQC_OK);
    pq_strbuf_init(&out, ctx);
    assert_int_equal(pq_graph_print(g, 0, &out), PTQC_OK);
    assert_string_equal(out.p, whole);
    pq_strbuf_deinit(&out);
    pq_graph_destroy(g);
    assert_round_trip(ctx, PQ_STR("ptir 1\ngraph \"\" stage float\n"));
    assert_true(pq_live_bytes(ctx) == 0);
    ptqc_ctx_destroy(ctx);
}

// The files that stand as examples print as they are.
static void
test_files(void **state)
{
    (void)state;
    static const char *const paths[] = {"tests/ptir/example.ptir",
                                        "tests/ptir/quantized.ptir",
                                        "tests/ptir/schemes.ptir"};
    ptqc_ctx *ctx = pq_test_ctx_create(NULL, NULL, 1);
    for (size_t i = 0; i < sizeof paths / sizeof paths[0]; i++) {
        pq_map map;
        assert_int_equal(pq_map_open(ctx, paths[i], &map), PTQC_OK);
        assert_round_trip(ctx, (pq_str){(const char *)map.p, map.n});
        pq_map_close(&map);
    }
    ptqc_ctx_destroy(ctx);
}

static void
test_no_data(void **state)
{
    (void)state;
    ptqc_ctx *ctx = pq_test_ctx_create(NULL, NULL, 1);
    pq_graph *g;
    pq_strbuf out;
    assert_int_equal(pq_graph_parse(ctx, "whole", PQ_STR(whole), &g), PTQC_OK);
    pq_strbuf_init(&out, ctx);
    assert_int_equal(pq_graph_print(g, PQ_PRINT_NO_DATA, &out), PTQC_OK);
    assert_non_null(strstr(out.p, "const c4: i8[2, 3, 1, 1] = hash "));
    assert_null(strstr(out.p, "base64"));
    pq_graph *again;
    assert_int_equal(
        pq_graph_parse(ctx, "hashes", (pq_str){out.p, out.n}, &again),
        PTQC_E_INPUT);
    assert_null(again);
    pq_strbuf_deinit(&out);
    pq_graph_destroy(g);
    ptqc_ctx_destroy(ctx);
}

static void
test_spaces_and_comments(void **state)
{
    (void)state;
    ptqc_ctx *ctx = pq_test_ctx_create(NULL, NULL, 1);
    pq_graph *g;
    static const char text[] = "# a comment\nptir 1 graph\"g\"stage float#x\n"
                               "input%x:f32[ 2,\n3 ]\t%y : f32[2,3]=relu (%x"
                               ")output %y # end";
    assert_int_equal(pq_graph_parse(ctx, "text", PQ_STR(text), &g), PTQC_OK);
    assert_int_equal(pq_graph_live_op_count(g), 1);
    assert_int_equal(pq_graph_output_count(g), 1);
    pq_graph_destroy(g);
    ptqc_ctx_destroy(ctx);
}

// Values that nothing uses, erased ops and their constants leave no trace.
static void
test_dead_things(void **state)
{
    (void)state;
    ptqc_ctx *ctx = pq_test_ctx_create(NULL, NULL, 1);
    pq_graph *g;
    pq_value_id ignored;
    pq_strbuf out;
    static const char text[] =
        "ptir 1\ngraph \"g\" stage float\nconst c1: f32[1] = [2]\n"
        "input %x: f32[3]\n%k: f32[1] = c1\n%y: f32[3] = mul(%x, %k)\n"
        "output %y\n";
    assert_int_equal(pq_graph_parse(ctx, "text", PQ_STR(text), &g), PTQC_OK);
    float one = 1;
    int64_t dim = 1;
    assert_int_equal(
        pq_build_constant(g, PQ_STR("dead"), PTQC_F32, &dim, 1, &one, &ignored),
        PTQC_OK);
    assert_int_equal(pq_build_unary(g, pq_graph_first_op(g), PQ_OP_NEG,
                                    pq_graph_input(g, 0), &ignored),
                     PTQC_OK);
    assert_int_equal(pq_erase_dead(g), 1);
    pq_strbuf_init(&out, ctx);
    assert_int_equal(pq_graph_print(g, 0, &out), PTQC_OK);
    assert_string_equal(out.p, text);
    pq_strbuf_deinit(&out);
    pq_graph_destroy(g);
    ptqc_ctx_destroy(ctx);
}

#define HEAD "ptir 1\ngraph \"g\" stage float\n"

static const struct {
    const char *text;
    const char *error;
} hostile[] = {
    {"", "h:1:1: expected 'ptir'"},
    {"ptir 2", "version 2"},
    {"ptir 1\ngraph g", "h:2:7: expected '\"', found 'g'"},
    {"ptir 1\ngraph \"g", "does not end"},
    {"ptir 1\ngraph \"g\\", "does not end"},
    {"ptir 1\ngraph \"\\q\" stage float", "unknown escape"},
    {"ptir 1\ngraph \"\\x4\" stage float", "unknown escape"},
    {"ptir 1\ngraph \"g\" stage solid", "expected a stage"},
    {HEAD "nonsense", "h:3:1: expected symbol"},
    {HEAD "input %x: f33[2]", "h:3:11: expected an element type"},
    {HEAD "input %x: none[2]", "expected an element type"},
    {HEAD "input %x: f32[2", "expected ']', found the end"},
    {HEAD "input %x: f32[Q]", "no symbol 'Q'"},
    {HEAD "input %x: f32[2]\ninput %x: f32[2]", "h:4:8: this name is"},
    {HEAD "input %x: f32[9223372036854775808]", "expected an integer"},
    {HEAD "input %x: f32[9223372036854775807 + 1]", "overflows"},
    {HEAD "input %x: f32[5/0]", "divides by zero"},
    {HEAD "input %x: f32[1,1,1,1,1,1,1,1,1]", "rank 9"},
    {HEAD "input %x: f32[2] q1", "no quantization q1"},
    {HEAD "input %: f32[2]", "expected a name"},
    {HEAD "input %\"\": f32[2]", "expected a name"},
    {HEAD "symbol N = [2, 1]", "range"},
    {HEAD "symbol N = [-1, 1]", "range"},
    {HEAD "symbol N = [1, 2] multiple 0", "range"},
    {HEAD "symbol N = [1, 2]\nsymbol N = [1, 2]", "defined already"},
    {HEAD "const c2: f32[1] = [1]", "expected c1"},
    {HEAD "const c1: f32[2] = [1]", "expected ','"},
    {HEAD "const c1: f32[1] = [1, 2]", "expected ']'"},
    {HEAD "const c1: f32[1] = [one]", "expected a number of type f32"},
    {HEAD "const c1: i8[1] = [128]", "expected a number of type i8"},
    {HEAD "const c1: u8[1] = [-1]", "expected a number of type u8"},
    {HEAD "const c1: f32[-1] = []", "negative"},
    {HEAD "const c1: f32[4611686018427387904] = []", "overflows"},
    {HEAD "const c1: f32[1000000000] = [1]", "too short"},
    {HEAD "const c1: i8[3] = base64 \"AAA\"", "expected base64 of 3 bytes"},
    {HEAD "const c1: i8[1] = base64 \"AB==\"", "expected base64"},
    {HEAD "const c1: i8[1] = base64 \"A===\"", "expected base64"},
    {HEAD "const c1: i8[1] = base64 \"AA=A\"", "expected base64"},
    {HEAD "const c1: f16[1] = [1]", "expected a number of type f16"},
    {HEAD "quant q1 = {colour = red}", "no such field"},
    {HEAD "quant q1 = {scale = c1}", "no constant c1"},
    {HEAD "quant q1 = {axis = -1}", "expected 0 to"},
    {HEAD "quant q1 = {symmetric = 2}", "expected 0 to 1"},
    {HEAD "quant q1 = {granularity = grain}", "expected a granularity"},
    {HEAD "%k: f32[1] = c1", "no such constant"},
    {HEAD "const c1: f32[1] = [1]\n%k: f32[2] = c1", "another type"},
    {HEAD "const c1: f32[1] = [1]\n%k: i32[1] = c1", "another type"},
    {HEAD "%y: f32[1] = relu(%x)", "h:3:20: this value is not defined"},
    {HEAD "input %x: f32[1]\n%y: f32[1] = fly(%x)", "h:4:14: no such op"},
    {HEAD "input %x: f32[1]\n%y: f32[2] = relu(%x)", "another type"},
    {HEAD "input %x: f32[1]\n%y: f16[1] = relu(%x)", "another type"},
    {HEAD "input %x: f32[1]\n%y: f32[1], %z: f32[1] = relu(%x)",
     "relu has 1 outputs"},
    {HEAD "input %x: f32[1]\n%y: f32[1] = relu(%x, %x)", "h:4:14: here"},
    {HEAD "input %x: f32[1]\n%y: f32[1] = relu(%x) {size = 1, size = 2}",
     "given twice"},
    {HEAD "input %x: f32[1]\n%y: f32[1] = relu(%x) {colour = 1}",
     "no such attribute"},
    {HEAD "input %x: f32[1]\n%y: f32[1] = relu(%x) {alpha = 1e40}",
     "expected an f32"},
    {HEAD "input %x: f32[1]\n%y: f32[1] = relu(%x) {act = fly}", "no such op"},
    {HEAD "input %x: f32[1]\n%y: f32[1] = relu(%x) {to = f}", "element type"},
    {HEAD "input %x: f32[1]\n%y: f32[1] = relu(%x) {axes = [1.5]}",
     "expected an integer"},
    {HEAD "output %x", "not defined"},
    {HEAD "output _", "expected a value"},
    {HEAD "input %x: f32[1]\noutput %x as y", "expected '\"'"},
};

static void
test_hostile_text(void **state)
{
    (void)state;
    static pq_test_sink sink;
    for (size_t i = 0; i < sizeof hostile / sizeof hostile[0]; i++) {
        pq_test_sink_clear(&sink);
        ptqc_ctx *ctx = pq_test_ctx_create(&sink, NULL, 1);
        pq_graph *g;
        ptqc_status st =
            pq_graph_parse(ctx, "h", pq_str_of(hostile[i].text), &g);
        bool is_good = st != PTQC_OK && g == NULL && sink.error_count == 1 &&
                       strstr(sink.text, hostile[i].error) != NULL;
        if (!is_good) {
            print_error("case %zu: status %d\n%s\n%s", i, (int)st,
                        hostile[i].text, sink.text);
        }
        assert_true(is_good);
        assert_true(pq_live_bytes(ctx) == 0);
        ptqc_ctx_destroy(ctx);
    }
}

static void
test_truncations_and_flips(void **state)
{
    (void)state;
    ptqc_ctx *ctx = pq_test_ctx_create(NULL, NULL, 1);
    pq_graph *g;
    for (size_t n = 0; n + 1 < sizeof whole; n++) {
        if (pq_graph_parse(ctx, "cut", (pq_str){whole, n}, &g) == PTQC_OK) {
            assert_int_equal(pq_graph_verify(g), PTQC_OK);
            pq_graph_destroy(g);
        }
    }
    char text[sizeof whole];
    for (uint64_t seed = 1; seed <= 3000; seed++) {
        pq_test_random r = pq_test_random_seed(seed);
        memcpy(text, whole, sizeof whole);
        for (int flips = 0; flips < 2; flips++) {
            int64_t at = pq_test_random_int(&r, 0, sizeof whole - 2);
            text[at] = (char)pq_test_random_int(&r, 0, 127);
        }
        if (pq_graph_parse(ctx, "flip", (pq_str){text, sizeof whole - 1}, &g) ==
            PTQC_OK) {
            assert_int_equal(pq_graph_verify(g), PTQC_OK);
            pq_graph_destroy(g);
        }
    }
    assert_true(pq_live_bytes(ctx) == 0);
    ptqc_ctx_destroy(ctx);
}

static void
test_deep_text(void **state)
{
    (void)state;
    static char text[200000];
    static pq_test_sink sink;
    ptqc_ctx *ctx = pq_test_ctx_create(&sink, NULL, 1);
    pq_graph *g;
    int n = snprintf(text, sizeof text, HEAD "input %%x: f32[");
    memset(text + n, '(', sizeof text - (size_t)n);
    assert_int_equal(
        pq_graph_parse(ctx, "deep", (pq_str){text, sizeof text}, &g),
        PTQC_E_INPUT);
    assert_non_null(strstr(sink.text, "too deeply"));
    ptqc_ctx_destroy(ctx);
}

static void
test_base64(void **state)
{
    (void)state;
    ptqc_ctx *ctx = pq_test_ctx_create(NULL, NULL, 1);
    pq_test_random r = pq_test_random_seed(7);
    static uint8_t bytes[10000];
    static uint8_t back[10000];
    pq_test_fill_bytes(&r, bytes, sizeof bytes);
    const size_t sizes[] = {0, 1, 2, 3, 4, 5, 3071, 3072, 3073, 10000};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        pq_strbuf out;
        pq_strbuf_init(&out, ctx);
        pq_base64_print(&out, bytes, sizes[i]);
        assert_int_equal(out.n, (sizes[i] + 2) / 3 * 4);
        assert_true(pq_base64_parse((pq_str){out.p, out.n}, back, sizes[i]));
        assert_memory_equal(back, bytes, sizes[i]);
        assert_false(
            pq_base64_parse((pq_str){out.p, out.n}, back, sizes[i] + 3));
        pq_strbuf_deinit(&out);
    }
    ptqc_ctx_destroy(ctx);
}

// Every f32 that is printed as a number reads back as the same bits.
static void
test_exact_floats(void **state)
{
    (void)state;
    ptqc_ctx *ctx = pq_test_ctx_create(NULL, NULL, 1);
    for (uint64_t seed = 1; seed <= 20000; seed++) {
        pq_test_random r = pq_test_random_seed(seed);
        uint32_t bits = (uint32_t)pq_test_random_u64(&r);
        int64_t dim = 1;
        pq_constant c = {PTQC_F32, 1, &dim, &bits, 4};
        uint32_t back = 0;
        pq_strbuf out;
        if (!pq_constant_is_list(&c)) {
            continue; // a NaN
        }
        pq_strbuf_init(&out, ctx);
        pq_element_print(&out, &c, 0);
        assert_true(
            pq_element_parse((pq_str){out.p, out.n}, PTQC_F32, &back, 0));
        assert_int_equal(back, bits);
        pq_strbuf_deinit(&out);
    }
    ptqc_ctx_destroy(ctx);
}

static ptqc_status
parse_and_print(ptqc_ctx *ctx, void *user)
{
    pq_graph *g;
    pq_strbuf out;
    (void)user;
    PQ_TRY(pq_graph_parse(ctx, "sweep", PQ_STR(whole), &g));
    pq_strbuf_init(&out, ctx);
    ptqc_status st = pq_graph_print(g, 0, &out);
    pq_strbuf_deinit(&out);
    pq_graph_destroy(g);
    return st;
}

static void
test_allocation_failures(void **state)
{
    (void)state;
    assert_true(pq_test_alloc_sweep(parse_and_print, NULL) > 20);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_files),
        cmocka_unit_test(test_no_data),
        cmocka_unit_test(test_spaces_and_comments),
        cmocka_unit_test(test_dead_things),
        cmocka_unit_test(test_hostile_text),
        cmocka_unit_test(test_truncations_and_flips),
        cmocka_unit_test(test_deep_text),
        cmocka_unit_test(test_base64),
        cmocka_unit_test(test_exact_floats),
        cmocka_unit_test(test_allocation_failures),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
