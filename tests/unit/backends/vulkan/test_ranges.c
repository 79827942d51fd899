// SPDX-License-Identifier: Apache-2.0
//
// Weights larger than a buffer that a kernel can bind: cut into parts, a step
// for each, with the bits of the whole. The range is lowered for it.
#include "tests/unit/backends/vulkan/vk_graph.h"

typedef struct range_case {
    plugin_case c;
    int64_t range_bytes;
    uint32_t whole, cut; // constants
} range_case;

// clang-format off
static const range_case CASES[] = {
    {{"gemv and gemm, f32, odd rows", "graph \"g\" stage float\n"
      "symbol T = [1, 99]\ninput %x: f32[1, T, 37]\nconst c1: $f32[131, 37]\n"
      "const c2: $f32[131]\n%w: f32[131, 37] = c1\n%b: f32[131] = c2\n"
      "%y: f32[1, T, 131] = matmul(%x, %w, %b) {trans_b = 1, act = silu}\n"
      "output %y\n", {1}, 1, 0}, 160 * 50, 2, 4},
    {{"rows of K, gemm", "graph \"g\" stage float\n"
      "symbol T = [1, 99]\ninput %x: f32[1, T, 37]\nconst c1: $f16[37, 131]\n"
      "%w: f16[37, 131] = c1\n"
      "%y: f32[1, T, 131] = matmul(%x, %w)\n"
      "output %y\n", {33}, 1, 0}, 80 * 70, 1, 3},
    {{"groups of 4 bits, zero points, residual",
      "graph \"g\" stage quantized\n"
      "const c1: $f32[22, 3]\nconst c2: i32[22, 3] = ["
      "0,7,14,5,12,3,10,1,8,15,6,13,4,11,2,9,0,7,14,5,12,3,10,1,8,15,6,13"
      ",4,11,2,9,0,7,14,5,12,3,10,1,8,15,6,13,4,11,2,9,0,7,14,5,12,3,10,1"
      ",8,15,6,13,4,11,2,9,0,7"
      "]\nconst c3: $u4[22, 40]\nconst c4: $f32[22]\n"
      PLUGIN_QUANT("q1", "u4", "group", "1", "16", "c1", "c2")
      "input %x: f32[5, 40]\ninput %r: f32[5, 22]\n%w: u4[22, 40] q1 = c3\n"
      "%b: f32[22] = c4\n"
      "%m: f32[5, 22] = matmul(%x, %w, %b) {trans_b = 1}\n"
      "%y: f32[5, 22] = add(%m, %r)\noutput %y\n",
      {0}, 0, 0}, 48 * 20, 3, 5},
    {{"integers, codes of the result", "graph \"g\" stage quantized\n"
      "const c1: f32[1] = [0.02]\nconst c2: i32[1] = [-3]\n"
      "const c3: i32[1] = [0]\nconst c4: $i8[37, 40]\n"
      PLUGIN_QUANT("q1", "i8", "tensor", "0", "0", "c1", "c2")
      PLUGIN_QUANT("q2", "i8", "tensor", "0", "0", "c1", "c3")
      "input %x: i8[3, 40] q1\n%w: i8[37, 40] q2 = c4\n"
      "%y: i8[3, 37] q1 = matmul(%x, %w) {trans_b = 1, act = relu}\n"
      "output %y\n", {0}, 0, 0}, 48 * 5, 3, 10},
    {{"tied table", "graph \"g\" stage float\n"
      "symbol T = [1, 99]\ninput %t: i32[1, T]\nconst c1: $f16[133, 20]\n"
      "%e: f16[133, 20] = c1\n%g: f16[1, T, 20] = gather(%e, %t)\n"
      "%x: f32[1, T, 20] = cast(%g) {to = f32}\n"
      "%y: f32[1, T, 133] = matmul(%x, %e) {trans_b = 1}\n"
      "output %y\noutput %g\n",
      {27}, 1, 133}, 48 * 48, 1, 3},
    {{"table of odd rows", "graph \"g\" stage float\n"
      "symbol T = [1, 99]\ninput %t: i64[1, T]\nconst c1: $f16[133, 21]\n"
      "%e: f16[133, 21] = c1\n%g: f16[1, T, 21] = gather(%e, %t)\n"
      "%x: f32[1, T, 21] = cast(%g) {to = f32}\n"
      "%y: f32[1, T, 133] = matmul(%x, %e) {trans_b = 1}\n"
      "output %y\noutput %g\n",
      {27}, 1, 133}, 48 * 7, 1, 19},
    {{"table that no product reads", "graph \"g\" stage float\n"
      "symbol T = [1, 99]\ninput %t: i64[1, T]\nconst c1: $bf16[133, 20]\n"
      "%e: bf16[133, 20] = c1\n%g: bf16[1, T, 20] = gather(%e, %t)\n"
      "%y: f32[1, T, 20] = cast(%g) {to = f32}\noutput %y\n",
      {27}, 1, 133}, 48 * 48, 1, 3},
    {{"conv, odd channels, bias and residual", "graph \"g\" stage float\n"
      "input %x: f32[2, 5, 9, 7]\ninput %r: f32[2, 37, 9, 7]\n"
      "const c1: $f32[37, 5, 3, 3]\nconst c2: $f32[37]\n"
      "%w: f32[37, 5, 3, 3] = c1\n%b: f32[37] = c2\n"
      "%m: f32[2, 37, 9, 7] = conv(%x, %w, %b) {kernel = [3, 3], "
      "pads = [1, 1, 1, 1]}\n%y: f32[2, 37, 9, 7] = add(%m, %r)\n"
      "output %y\n", {0}, 0, 0}, 288 * 17, 2, 4},
    {{"grouped conv, parts within groups", "graph \"g\" stage float\n"
      "input %x: f32[1, 9, 6, 6]\nconst c1: $f16[27, 3, 3, 3]\n"
      "%w: f16[27, 3, 3, 3] = c1\n"
      "%y: f32[1, 27, 4, 4] = conv(%x, %w) {kernel = [3, 3], group = 3}\n"
      "output %y\n", {0}, 0, 0}, 144 * 10, 1, 3},
    {{"grouped conv, wide groups", "graph \"g\" stage float\n"
      "input %x: f32[1, 4, 6, 6]\nconst c1: $f32[48, 2, 3, 3]\n"
      "%w: f32[48, 2, 3, 3] = c1\n"
      "%y: f32[1, 48, 4, 4] = conv(%x, %w) {kernel = [3, 3], group = 2}\n"
      "output %y\n", {0}, 0, 0}, 144 * 17, 1, 3},
    {{"grouped transposed conv", "graph \"g\" stage float\n"
      "input %x: f32[1, 4, 5, 6]\nconst c1: $f32[4, 17, 3, 2]\n"
      "const c2: $f32[34]\n%w: f32[4, 17, 3, 2] = c1\n%b: f32[34] = c2\n"
      "%y: f32[1, 34, 11, 12] = conv_transpose(%x, %w, %b) {kernel = [3, 2], "
      "strides = [2, 2], group = 2, act = relu}\noutput %y\n",
      {0}, 0, 0}, 96 * 16, 2, 4},
    {{"conv of codes, zero points of channels",
      "graph \"g\" stage quantized\n"
      "const c1: f32[1] = [0.02]\nconst c2: i32[1] = [9]\n"
      "const c3: $f32[22]\nconst c4: i32[22] = ["
      "120,127,134,125,132,123,130,121,128,135,126,133,124,131,122,129"
      ",120,127,134,125,132,123]\n"
      "const c5: $u8[22, 5, 3, 3]\n"
      PLUGIN_QUANT("q1", "u8", "tensor", "0", "0", "c1", "c2")
      PLUGIN_QUANT("q2", "u8", "channel", "0", "0", "c3", "c4")
      "input %x: u8[1, 5, 7, 7] q1\n%w: u8[22, 5, 3, 3] q2 = c5\n"
      "%y: u8[1, 22, 7, 7] q1 = conv(%x, %w) {kernel = [3, 3], pads = [1, 1, "
      "1, 1]}\noutput %y\n", {0}, 0, 0}, 144 * 8, 4, 8},
    {{"depthwise conv, quads", "graph \"g\" stage float\n"
      "input %x: f32[1, 36, 6, 7]\nconst c1: $f32[36, 1, 3, 3]\n"
      "const c2: $f32[36]\n%w: f32[36, 1, 3, 3] = c1\n%b: f32[36] = c2\n"
      "%y: f32[1, 36, 4, 5] = conv(%x, %w, %b) {kernel = [3, 3], group = 36}\n"
      "output %y\n", {0}, 0, 0}, 36 * 16, 2, 4},
    {{"depthwise conv, two of each channel", "graph \"g\" stage float\n"
      "input %x: f32[1, 20, 6, 7]\nconst c1: $f32[40, 1, 3, 3]\n"
      "%w: f32[40, 1, 3, 3] = c1\n"
      "%y: f32[1, 40, 4, 5] = conv(%x, %w) {kernel = [3, 3], group = 20}\n"
      "output %y\n", {0}, 0, 0}, 36 * 17, 1, 3},
    {{"depthwise conv of codes", "graph \"g\" stage quantized\n"
      "const c1: f32[1] = [0.02]\nconst c2: i32[1] = [-3]\n"
      "const c3: i32[1] = [0]\nconst c4: $i8[37, 1, 5, 5]\n"
      PLUGIN_QUANT("q1", "i8", "tensor", "0", "0", "c1", "c2")
      PLUGIN_QUANT("q2", "i8", "tensor", "0", "0", "c1", "c3")
      "input %x: i8[1, 37, 6, 7] q1\n%w: i8[37, 1, 5, 5] q2 = c4\n"
      "%y: i8[1, 37, 6, 7] q1 = conv(%x, %w) {kernel = [5, 5], pads = [2, 2, "
      "2, 2], group = 37}\noutput %y\n", {0}, 0, 0}, 25 * 16, 3, 5},
};
// clang-format on

static void
test_parts(void **state)
{
    (void)state;
    vk_graph_bench b = vk_graph_begin();
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        const range_case *c = &CASES[i];
        const vk_graph_change none = {0},
                              less = {.range_bytes = c->range_bytes};
        plugin_run run = {0};
        vk_graph_result whole, cut;
        plugin_make_run(b.ctx, b.sink, &c->c, &run);
        vk_graph_run(&b, &run, &none, &whole);
        vk_graph_run(&b, &run, &less, &cut);
        if (whole.constants != c->whole || cut.constants != c->cut) {
            fail_msg("%s: %u and %u constants, want %u and %u", c->c.name,
                     whole.constants, cut.constants, c->whole, c->cut);
        }
        vk_graph_expect_same(c->c.name, &whole, &cut);
        vk_graph_free(&whole);
        vk_graph_free(&cut);
        plugin_end_run(b.ctx, &run);
    }
    vk_graph_end(&b);
}

// A row of K that fits no buffer cannot be cut: it is declined.
static void
test_row_too_large(void **state)
{
    (void)state;
    static const plugin_case c = {
        "large rows",
        "graph \"g\" stage float\ninput %x: f32[1, 64]\n"
        "const c1: $f32[3, 64]\n%w: f32[3, 64] = c1\n"
        "%y: f32[1, 3] = matmul(%x, %w) {trans_b = 1}\noutput %y\n",
        {0},
        0,
        0};
    const vk_graph_change less = {.range_bytes = 255};
    vk_graph_bench b = vk_graph_begin();
    plugin_run run = {0};
    plugin_parse_run(b.ctx, b.sink, &c, &run);
    vk_graph_state.change = &less;
    pq_test_plugin *p = pq_test_plugin_open(vk_graph_query, b.pool);
    assert_int_equal(
        pq_test_plugin_check(p, "vulkan", run.block, plugin_constant, run.g),
        1);
    assert_non_null(strstr(pq_test_plugin_message(p), "larger than a buffer"));
    pq_test_plugin_close(p);
    plugin_end_run(b.ctx, &run);
    vk_graph_end(&b);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_parts),
        cmocka_unit_test(test_row_too_large),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
