// SPDX-License-Identifier: Apache-2.0
//
// Graph blocks: graph -> block -> graph gives the same text; parts of a
// graph; damaged blocks are refused or still a graph; evaluation of dims.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ir/block.h"
#include "ir/text.h"
#include "ir/verify.h"
#include "tests/support/cmocka_test.h"
#include "tests/support/context.h"
#include "tests/support/random.h"

static const char whole[] =
    "ptir 1\n"
    "graph \"\" stage legal\n"
    "symbol N = [1, inf]\n"
    "symbol H = [0, 4096] multiple 32\n"
    "const c1: f32[1] = [0.0078125]\n"
    "const c2: i32[1] = [3]\n"
    "const c3: i8[2, 3, 1, 1] = [-128, -1, 0, 1, 2, 127]\n"
    "const c4: f32[2] = [1, 2]\n"
    "const c5: i32[2] = [0, 0]\n"
    "const c6: f32[0] = []\n"
    "quant q1 = {format = u8, granularity = tensor, axis = 0, group = 0, "
    "symmetric = 0, dynamic = 0, scale = c1, zero_point = c2}\n"
    "quant q2 = {format = i8, granularity = channel, axis = 0, group = 0, "
    "symmetric = 1, dynamic = 0, scale = c4, zero_point = c5}\n"
    "quant q3 = {format = i8, granularity = token, axis = 0, group = 0, "
    "symmetric = 1, dynamic = 1}\n"
    "input %x: f32[N, 3, H, H/2]\n"
    "input %p: i32[N, H]\n"
    "state %k: f16[N, 2, 100, H/2]\n"
    "%w: i8[2, 3, 1, 1] q2 = c3\n"
    "%nothing: f32[0] = c6\n"
    "%xq: u8[N, 3, H, H/2] q1 = quantize \"x/Quantize\"(%x)\n"
    "%y: u8[N, 2, H, H/2] q1 = conv \"conv 1\"(%xq, %w) {act = relu, "
    "strides = [1, 1], pads = [0, 0, 0, 0]}\n"
    "%z: f32[N, 2, H, H/2] = dequantize(%y)\n"
    "%codes: i8[N, 2, H, H/2] q3, %scales: f32[N, 2, H, 1] = "
    "dynamic_quantize(%z)\n"
    "%c: f32[N, 2, H, H/2] = clip(%z) {alpha = -0.1, beta = inf}\n"
    "%u: f16[N, 2, 100, H/2] = kv_update(%k, %c, %p)\n"
    "%s: f32[N, 2, H*2, H/4] = resize(%c) {scales = [1, 1, 2, 0.5]}\n"
    "%r: f32[N*2, H*H/2] = reshape(%s) {shape = [N*2, H*H/2]}\n"
    "%i: i32[N, 2, H, H/2] = cast(%c) {to = i32}\n"
    "%e: f32[0] = identity(%nothing)\n"
    "output %r\n"
    "output %z\n"
    "output %i\n"
    "output %u\n";

typedef struct source {
    pq_graph *g;
} source;

static const void *
map_constant(void *user, uint64_t id, uint64_t *out_bytes)
{
    const source *s = user;
    const pq_constant *c =
        id < pq_graph_constant_count(s->g)
            ? pq_graph_constant(s->g, (pq_const_id){(uint32_t)id})
            : NULL;
    *out_bytes = c != NULL ? c->bytes : 0;
    return c != NULL ? c->p : NULL;
}

static pq_graph *
parse(ptqc_ctx *ctx, const char *text)
{
    pq_graph *g = NULL;
    assert_int_equal(pq_graph_parse(ctx, "text", pq_str_of(text), &g), PTQC_OK);
    return g;
}

static void
assert_prints(const pq_graph *g, const char *text)
{
    pq_strbuf out;
    pq_strbuf_init(&out, pq_graph_ctx(g));
    assert_int_equal(pq_graph_print(g, 0, &out), PTQC_OK);
    assert_string_equal(out.p, text);
    pq_strbuf_deinit(&out);
}

static void
test_round_trip(void **state)
{
    (void)state;
    ptqc_ctx *ctx = pq_test_ctx_create(NULL, NULL, 1);
    source s = {parse(ctx, whole)};
    pq_graph *back;
    void *bytes;
    size_t n;
    assert_int_equal(pq_block_write(s.g, NULL, &bytes, &n), PTQC_OK);
    assert_int_equal(n % 8, 0);
    assert_int_equal(pq_block_read(ctx, bytes, n, map_constant, &s, &back),
                     PTQC_OK);
    assert_int_equal(pq_graph_stage(back), PQ_STAGE_LEGAL);
    // Constants come in the order of their first use: compare blocks, whose
    // ids are renumbered the same way after one more trip.
    void *again;
    size_t again_n;
    assert_int_equal(pq_block_write(back, NULL, &again, &again_n), PTQC_OK);
    pq_graph *third;
    source t = {back};
    assert_int_equal(
        pq_block_read(ctx, again, again_n, map_constant, &t, &third), PTQC_OK);
    pq_strbuf one;
    pq_strbuf_init(&one, ctx);
    assert_int_equal(pq_graph_print(back, 0, &one), PTQC_OK);
    assert_prints(third, one.p);
    assert_int_equal(one.n, strlen(whole)); // the numbers of constants differ
    pq_strbuf_deinit(&one);
    pq_graph_destroy(third);
    pq_graph_destroy(back);
    pq_free(ctx, again);
    pq_free(ctx, bytes);
    pq_graph_destroy(s.g);
    assert_true(pq_live_bytes(ctx) == 0);
    ptqc_ctx_destroy(ctx);
}

// Floats only: no renumbering, so the text is the same at once.
static void
test_same_text(void **state)
{
    (void)state;
    static const char text[] =
        "ptir 1\ngraph \"\" stage legal\nsymbol N = [1, inf]\n"
        "const c1: f32[3, 3] = [1, 2, 3, 4, 5, 6, 7, 8, 9]\n"
        "const c2: f32[3] = [1, 2, 3]\n"
        "input %x: f32[N, 3]\ninput %unused: i64[]\n"
        "%w: f32[3, 3] = c1\n%b: f32[3] = c2\n"
        "%y: f32[N, 3] = matmul \"m\"(%x, %w, %b) {act = leaky_relu, "
        "act_alpha = 0.1}\n"
        "%m: f32[N, 1] = reduce_mean(%y) {axes = [1]}\n"
        "output %m\noutput %y\n";
    ptqc_ctx *ctx = pq_test_ctx_create(NULL, NULL, 1);
    source s = {parse(ctx, text)};
    pq_graph *back;
    void *bytes;
    size_t n;
    assert_int_equal(pq_block_write(s.g, NULL, &bytes, &n), PTQC_OK);
    assert_int_equal(pq_block_read(ctx, bytes, n, map_constant, &s, &back),
                     PTQC_OK);
    assert_prints(back, text);
    pq_graph_destroy(back);
    pq_free(ctx, bytes);
    pq_graph_destroy(s.g);
    ptqc_ctx_destroy(ctx);
}

static pq_op_id
producer(const pq_graph *g, const char *name)
{
    return pq_graph_value(g, pq_graph_find_value(g, pq_str_of(name)))->producer;
}

static void
test_parts(void **state)
{
    (void)state;
    ptqc_ctx *ctx = pq_test_ctx_create(NULL, NULL, 1);
    source s = {parse(ctx, whole)};
    pq_graph *part;
    void *bytes;
    size_t n;
    const pq_op_id ops[2] = {producer(s.g, "y"), producer(s.g, "z")};
    pq_block_desc desc = {.ops = ops, .op_count = 2};
    assert_int_equal(pq_block_write(s.g, &desc, &bytes, &n), PTQC_OK);
    assert_int_equal(pq_block_read(ctx, bytes, n, map_constant, &s, &part),
                     PTQC_OK);
    pq_free(ctx, bytes);
    assert_int_equal(pq_graph_live_op_count(part), 2);
    assert_int_equal(pq_graph_input_count(part), 1);
    assert_true(pq_str_equal_z(
        pq_graph_value(part, pq_graph_input(part, 0))->name, "xq"));
    assert_int_equal(pq_graph_output_count(part), 1); // y is used inside only
    assert_true(pq_str_equal_z(
        pq_graph_value(part, pq_graph_output(part, 0))->name, "z"));
    pq_graph_destroy(part);
    // A given boundary: more inputs than are read, y shown, too.
    const pq_value_id inputs[2] = {
        pq_graph_find_value(s.g, PQ_STR("x")),
        pq_graph_find_value(s.g, PQ_STR("xq")),
    };
    const pq_value_id outputs[1] = {pq_graph_find_value(s.g, PQ_STR("y"))};
    desc.inputs = inputs;
    desc.input_count = 2;
    desc.outputs = outputs;
    desc.output_count = 1;
    assert_int_equal(pq_block_write(s.g, &desc, &bytes, &n), PTQC_OK);
    assert_int_equal(pq_block_read(ctx, bytes, n, map_constant, &s, &part),
                     PTQC_OK);
    pq_free(ctx, bytes);
    assert_int_equal(pq_graph_input_count(part), 2);
    assert_true(pq_str_equal_z(
        pq_graph_value(part, pq_graph_output(part, 0))->name, "y"));
    pq_graph_destroy(part);
    desc.input_count = 1; // xq is read but no input
    assert_int_equal(pq_block_write(s.g, &desc, &bytes, &n), PTQC_E_INTERNAL);
    assert_null(bytes);
    pq_graph_destroy(s.g);
    assert_true(pq_live_bytes(ctx) == 0);
    ptqc_ctx_destroy(ctx);
}

static void
test_interface(void **state)
{
    (void)state;
    ptqc_ctx *ctx = pq_test_ctx_create(NULL, NULL, 1);
    source s = {parse(ctx, whole)};
    void *bytes;
    size_t n;
    pq_value_id x = pq_graph_find_value(s.g, PQ_STR("x"));
    pq_value_id z = pq_graph_find_value(s.g, PQ_STR("z"));
    pq_value_id y = pq_graph_find_value(s.g, PQ_STR("y"));
    const pq_value_id outputs[3] = {z, x, z};
    const pq_str names[3] = {PQ_STR("result"), PQ_STR("same"), PQ_STR("twin")};
    const pq_block_desc desc = {.inputs = &x,
                                .input_count = 1,
                                .outputs = outputs,
                                .output_count = 3,
                                .output_names = names,
                                .values = &y,
                                .value_count = 1,
                                .values_only = true};
    assert_int_equal(pq_block_write(s.g, &desc, &bytes, &n), PTQC_OK);
    ptqc_gb gb;
    const char *reason;
    assert_true(ptqc_gb_open(bytes, n, &gb, &reason));
    assert_int_equal(ptqc_gb_count(&gb, PTQC_GB_NODES), 0);
    assert_int_equal(ptqc_gb_count(&gb, PTQC_GB_SYMBOLS), 2);
    assert_int_equal(ptqc_gb_count(&gb, PTQC_GB_OUTPUTS), 3);
    for (uint32_t i = 0; i < 3; i++) {
        const ptqc_gb_value *v =
            ptqc_gb_value_at(&gb, ptqc_gb_u32_at(&gb, PTQC_GB_OUTPUTS, i));
        assert_true(ptqc_gb_text_is(&gb, v->name, names[i].p));
        assert_int_equal(v->rank, 4);
    }
    const ptqc_gb_value *in =
        ptqc_gb_value_at(&gb, ptqc_gb_u32_at(&gb, PTQC_GB_INPUTS, 0));
    assert_true(ptqc_gb_text_is(&gb, in->name, "x"));
    pq_free(ctx, bytes);
    pq_graph_destroy(s.g);
    ptqc_ctx_destroy(ctx);
}

static void
test_evaluation(void **state)
{
    (void)state;
    ptqc_ctx *ctx = pq_test_ctx_create(NULL, NULL, 1);
    source s = {parse(ctx, whole)};
    void *bytes;
    size_t n;
    ptqc_gb gb;
    const char *reason;
    assert_int_equal(pq_block_write(s.g, NULL, &bytes, &n), PTQC_OK);
    assert_true(ptqc_gb_open(bytes, n, &gb, &reason));
    uint32_t count = ptqc_gb_count(&gb, PTQC_GB_DIMS);
    int64_t *dims = calloc(count, sizeof *dims);
    int64_t symbols[2] = {3, 64};
    uint32_t bad = 0;
    assert_true(ptqc_gb_eval_dims(&gb, symbols, dims, &bad));
    const ptqc_gb_value *out =
        ptqc_gb_value_at(&gb, ptqc_gb_u32_at(&gb, PTQC_GB_OUTPUTS, 0));
    assert_true(dims[ptqc_gb_value_dim(&gb, out, 0)] == 6);
    assert_true(dims[ptqc_gb_value_dim(&gb, out, 1)] == 64 * 64 / 2);
    symbols[1] = 65;
    assert_false(ptqc_gb_eval_dims(&gb, symbols, dims, &bad));
    assert_int_equal(ptqc_gb_dim_at(&gb, bad)->op, PTQC_GB_DIM_SYMBOL);
    symbols[0] = 0;
    assert_false(ptqc_gb_eval_dims(&gb, symbols, dims, NULL));
    symbols[0] = INT64_MAX;
    symbols[1] = 64;
    assert_false(ptqc_gb_eval_dims(&gb, symbols, dims, &bad)); // N*2
    free(dims);
    pq_free(ctx, bytes);
    pq_graph_destroy(s.g);
    ptqc_ctx_destroy(ctx);
}

static void
read_damaged(ptqc_ctx *ctx, source *s, const void *bytes, size_t n)
{
    pq_graph *g;
    ptqc_status st = pq_block_read(ctx, bytes, n, map_constant, s, &g);
    if (st == PTQC_OK) {
        assert_int_equal(pq_graph_verify(g), PTQC_OK);
    } else {
        assert_true(st == PTQC_E_INPUT || st == PTQC_E_UNSUPPORTED);
        assert_null(g);
    }
    pq_graph_destroy(g);
}

static void
test_damage(void **state)
{
    (void)state;
    ptqc_ctx *ctx = pq_test_ctx_create(NULL, NULL, 1);
    source s = {parse(ctx, whole)};
    void *bytes;
    size_t n;
    ptqc_gb gb;
    const char *reason;
    assert_int_equal(pq_block_write(s.g, NULL, &bytes, &n), PTQC_OK);
    uint64_t *copy = pq_alloc(ctx, n + 8);
    for (size_t cut = 0; cut < n; cut++) { // exact size: readers see the end
        uint8_t *p = aligned_alloc(8, (cut + 7) / 8 * 8 + 8);
        memcpy(p, bytes, cut);
        assert_false(ptqc_gb_open(p, cut, &gb, &reason));
        assert_non_null(reason);
        free(p);
    }
    memcpy(copy, bytes, n);
    assert_false(ptqc_gb_open((char *)copy + 1, n - 1, &gb, &reason));
    // Every bit of the header and the tables, one at a time.
    for (size_t i = 0; i < n; i++) {
        for (int bit = 0; bit < 8; bit += i < sizeof(ptqc_gb_header) ? 1 : 3) {
            memcpy(copy, bytes, n);
            ((uint8_t *)copy)[i] ^= (uint8_t)(1u << bit);
            read_damaged(ctx, &s, copy, n);
        }
    }
    for (uint64_t seed = 1; seed <= 3000; seed++) {
        pq_test_random r = pq_test_random_seed(seed);
        memcpy(copy, bytes, n);
        for (int flips = 0; flips < 3; flips++) {
            size_t at = (size_t)pq_test_random_int(&r, 0, (int64_t)n / 4 - 1);
            uint32_t word = (uint32_t)pq_test_random_int(&r, 0, 20);
            if (pq_test_random_int(&r, 0, 9) == 0) {
                word = (uint32_t)pq_test_random_u64(&r);
            }
            memcpy((uint8_t *)copy + 4 * at, &word, 4);
        }
        read_damaged(ctx, &s, copy, n);
    }
    pq_free(ctx, copy);
    pq_free(ctx, bytes);
    pq_graph_destroy(s.g);
    assert_true(pq_live_bytes(ctx) == 0);
    ptqc_ctx_destroy(ctx);
}

static ptqc_status
write_and_read(ptqc_ctx *ctx, void *user)
{
    source s = {NULL};
    pq_graph *back = NULL;
    void *bytes = NULL;
    size_t n;
    ptqc_status st;
    (void)user;
    PQ_TRY(pq_graph_parse(ctx, "sweep", PQ_STR(whole), &s.g));
    st = pq_block_write(s.g, NULL, &bytes, &n);
    if (st == PTQC_OK) {
        st = pq_block_read(ctx, bytes, n, map_constant, &s, &back);
    }
    pq_graph_destroy(back);
    pq_free(ctx, bytes);
    pq_graph_destroy(s.g);
    return st;
}

static void
test_allocation_failures(void **state)
{
    (void)state;
    assert_true(pq_test_alloc_sweep(write_and_read, NULL) > 20);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_same_text),
        cmocka_unit_test(test_parts),
        cmocka_unit_test(test_interface),
        cmocka_unit_test(test_evaluation),
        cmocka_unit_test(test_damage),
        cmocka_unit_test(test_allocation_failures),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
