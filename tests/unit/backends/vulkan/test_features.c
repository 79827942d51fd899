// SPDX-License-Identifier: Apache-2.0
//
// Optional features of the device, each forced off and on: results have the
// same bits with any of them.
#include "tests/unit/backends/vulkan/vk_graph.h"

// clang-format off
static const plugin_case CASES[] = {
    {"integers: dot products", "graph \"g\" stage quantized\n"
     "const c1: f32[1] = [0.02]\nconst c2: i32[1] = [-3]\n"
     "const c3: i32[1] = [0]\nconst c4: $i8[37, 41]\n"
     PLUGIN_QUANT("q1", "i8", "tensor", "0", "0", "c1", "c2")
     PLUGIN_QUANT("q2", "i8", "tensor", "0", "0", "c1", "c3")
     "input %x: i8[3, 41] q1\n%w: i8[37, 41] q2 = c4\n"
     "%y: i8[3, 37] q1 = matmul(%x, %w) {trans_b = 1, act = relu}\n"
     "output %y\n", {0}, 0, 0},
    {"integer convolution", "graph \"g\" stage quantized\n"
     "const c1: f32[1] = [0.02]\nconst c2: i32[1] = [9]\n"
     "const c3: i32[1] = [0]\nconst c4: $i8[6, 5, 3, 3]\n"
     PLUGIN_QUANT("q1", "u8", "tensor", "0", "0", "c1", "c2")
     PLUGIN_QUANT("q2", "i8", "tensor", "0", "0", "c1", "c3")
     "input %x: u8[1, 5, 7, 7] q1\n%w: i8[6, 5, 3, 3] q2 = c4\n"
     "%y: u8[1, 6, 7, 7] q1 = conv(%x, %w) {kernel = [3, 3], pads = [1, 1, "
     "1, 1]}\noutput %y\n", {0}, 0, 0},
    {"rows: subgroups", "graph \"g\" stage float\n"
     "symbol T = [1, 99]\ninput %x: f32[1, T, 131]\nconst c1: $f32[131]\n"
     "%w: f32[131] = c1\n"
     "%n: f32[1, T, 131] = rms_norm(%x, %w) {epsilon = 1e-6}\n"
     "%s: f32[1, T, 131] = softmax(%n) {axis = 2}\n"
     "%y: f32[1, T, 1] = reduce_sum(%s) {axes = [2], keepdims = 1}\n"
     "output %n\noutput %s\noutput %y\n", {2}, 1, 0},
    {"rows of halves: subgroups and float16", "graph \"g\" stage float\n"
     "input %x: f32[3, 131]\nconst c1: $f32[131]\n%w: f32[131] = c1\n"
     "%n: f32[3, 131] = rms_norm(%x, %w) {epsilon = 1e-6}\n"
     "%y: f16[3, 131] = cast(%n) {to = f16}\noutput %y\n", {0}, 0, 0},
    {"float gemv", "graph \"g\" stage float\n"
     "input %x: f32[1, 200]\nconst c1: $f16[64, 200]\n%w: f16[64, 200] = c1\n"
     "%y: f32[1, 64] = matmul(%x, %w) {trans_b = 1}\noutput %y\n",
     {0}, 0, 0},
};
// clang-format on

static const char *
name_of(uint32_t features)
{
    static char text[PQ_VK_FEATURES_TEXT];
    return pq_vk_features_print(features, text);
}

static void
check_case(const vk_graph_bench *b, const plugin_case *c)
{
    static const uint32_t SETS[] = {PQ_KG_DOT, PQ_KG_SUBGROUPS, PQ_KG_HALVES,
                                    PQ_VK_PUSH_DESCRIPTORS, PQ_VK_FEATURES};
    const vk_graph_change none = {.sets_features = true};
    plugin_run run = {0};
    char what[160];
    vk_graph_result plain, other;
    plugin_make_run(b->ctx, b->sink, c, &run);
    vk_graph_run(b, &run, &none, &plain);
    for (size_t i = 0; i < sizeof SETS / sizeof SETS[0]; i++) {
        const vk_graph_change change = {.sets_features = true,
                                        .features = SETS[i]};
        uint32_t missing = SETS[i] & ~vk_graph_state.has;
        if (missing != 0) {
            print_message("not on this device: %s\n", name_of(missing));
        }
        vk_graph_run(b, &run, &change, &other);
        snprintf(what, sizeof what, "%s with %s", c->name, name_of(SETS[i]));
        vk_graph_expect_same(what, &plain, &other);
        vk_graph_free(&other);
    }
    vk_graph_free(&plain);
    plugin_end_run(b->ctx, &run);
}

static void
test_same_bits(void **state)
{
    (void)state;
    vk_graph_bench b = vk_graph_begin();
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        check_case(&b, &CASES[i]);
    }
    vk_graph_end(&b);
}

static void
test_names(void **state)
{
    (void)state;
    char text[PQ_VK_FEATURES_TEXT];
    assert_string_equal(pq_vk_features_print(0, text), "");
    assert_string_equal(
        pq_vk_features_print(PQ_KG_SUBGROUPS | PQ_VK_PUSH_DESCRIPTORS, text),
        "subgroups, push descriptors");
    assert_true(strlen(pq_vk_features_print(PQ_VK_FEATURES, text)) <
                PQ_VK_FEATURES_TEXT - 1);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_same_bits),
        cmocka_unit_test(test_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
