// SPDX-License-Identifier: Apache-2.0
//
// Reductions, norms, other ops along axes, quantization.
#include "tests/unit/ir/ir_test.h"

#define X  "%x: f32[N, 4, 6]"
#define BN "; %s: f32[4]; %b: f32[4]; %m: f32[4]; %v: f32[4]"

static const ir_case reduce_cases[] = {
    {X, "%y: f32[1, 1, 1] = reduce_sum(%x)", NULL},
    {X, "%y: f32[] = reduce_sum(%x) {keepdims = 0}", NULL},
    {X, "%y: f32[N, 1, 6] = reduce_mean(%x) {axes = [1]}", NULL},
    {X, "%y: f32[N] = reduce_max(%x) {axes = [-1, 1], keepdims = 0}", NULL},
    {X, "%y: f32[N] = reduce_max(%x) {axes = [3]}", "axis 3 is outside rank 3"},
    {X, "%y: f32[N] = reduce_max(%x) {axes = [-4]}", "axis -4"},
    {X, "%y: f32[N] = reduce_max(%x) {axes = [2, -1]}", "twice"},
    {X, "%y: i64[N, 4, 1] = arg_max(%x) {axis = 2}", NULL},
    {X, "%y: i64[N, 6] = arg_min(%x) {axis = -2, keepdims = 0}", NULL},
    {X, "%y: i64[N, 6] = arg_min(%x) {axis = 5}", "axis 5"},
    {X, "%y: f32[N, 4, 2], %i: i64[N, 4, 2] = topk(%x) {axis = 2, k = 2}",
     NULL},
    {X, "%y: f32[N, 4, 7], %i: i64[N, 4, 7] = topk(%x) {axis = 2, k = 7}",
     "k 7 of 6 elements"},
    {X, "%y: f32[N, 4, 7], %i: i64[N, 4, 7] = topk(%x)", "k:"},
};

static const ir_case norm_cases[] = {
    {X, "%y: f32[N, 4, 6] = softmax(%x) {axis = -1}", NULL},
    {X, "%y: f32[N, 4, 6] = softmax(%x) {axis = 3}", "axis 3"},
    {X, "%y: f32[N, 4, 6] = cumsum(%x) {axis = 0, reverse = 1}", NULL},
    {X, "%y: f32[N, 4, 6] = lp_norm(%x) {axis = 0, p = 3}", "p:"},
    {X BN, "%y: f32[N, 4, 6] = batch_norm(%x, %s, %b, %m, %v)", NULL},
    {X "; %s: f32[6]; %b: f32[6]; %m: f32[6]; %v: f32[6]",
     "%y: f32[N, 4, 6] = batch_norm(%x, %s, %b, %m, %v)",
     "input 1: expected 4 elements"},
    {X BN, "%y: f32[N, 4, 6] = group_norm(%x, %s, %b) {group = 2}", NULL},
    {X BN, "%y: f32[N, 4, 6] = group_norm(%x, %s, %b) {group = 3}",
     "does not divide"},
    {X BN, "%y: f32[N, 4, 6] = group_norm(%x, %s, %b)", "group"},
    {X "; %s: f32[6]; %b: f32[6]", "%y: f32[N, 4, 6] = layer_norm(%x, %s, %b)",
     NULL},
    {X "; %s: f32[4, 6]", "%y: f32[N, 4, 6] = layer_norm(%x, %s) {axis = 1}",
     NULL},
    {X "; %s: f32[4]", "%y: f32[N, 4, 6] = rms_norm(%x, %s)", "input 1"},
    {X, "%y: f32[N, 4, 6] = lrn(%x)", "size"},
    {"%x: f32[4]", "%y: f32[4] = trilu(%x)", "rank"},
    {"%x: f32[5, N, 2]; %s: i64[N]",
     "%y: f32[5, N, 2] = reverse_sequence(%x, %s) {axis = 0}", NULL},
    {"%x: f32[5, N, 2]; %s: i64[N]",
     "%y: f32[5, N, 2] = reverse_sequence(%x, %s) {axis = 1}", "both"},
};

static const char quantized[] =
    "ptir 1\ngraph \"q\" stage quantized\n"
    "const c1: f32[1] = [0.5]\nconst c2: i32[1] = [3]\n"
    "const c3: f32[4] = [1, 2, 3, 4]\nconst c4: i32[4] = [0, 0, 0, 0]\n"
    "quant q1 = {format = u8, granularity = tensor, axis = 0, group = 0, "
    "symmetric = 0, dynamic = 0, scale = c1, zero_point = c2}\n"
    "quant q2 = {format = i8, granularity = token, axis = 0, group = 0, "
    "symmetric = 1, dynamic = 1}\n"
    "quant q3 = {format = i8, granularity = channel, axis = 1, group = 0, "
    "symmetric = 1, dynamic = 0, scale = c3, zero_point = c4}\n"
    "quant q4 = {format = i8, granularity = channel, axis = 0, group = 0, "
    "symmetric = 1, dynamic = 0, scale = c3, zero_point = c4}\n"
    "input %x: f32[2, 4]\n";

static const struct {
    const char *lines;
    const char *error;
} quant_cases[] = {
    {"%a: u8[2, 4] q1 = quantize(%x)\n%y: f32[2, 4] = dequantize(%a)\n", NULL},
    {"%a: i8[2, 4] q2, %s: f32[2, 1] = dynamic_quantize(%x)\n"
     "input %w: i8[3, 4] q4\n",
     "scales or zero points do not fit"},
    {"%a: u8[2, 4] q1 = quantize(%x)\n%b: u8[4, 2] q1 = transpose(%a) "
     "{perm = [1, 0]}\n",
     NULL},
    {"input %w: i8[3, 4] q3\n%b: i8[4, 3] q4 = transpose(%w) "
     "{perm = [1, 0]}\n",
     NULL},
    {"input %w: i8[3, 4] q3\n%b: i8[12] q3 = reshape(%w) {shape = [12]}\n",
     "moves the axis"},
    {"input %w: i8[3, 4] q3\n%y: f32[2, 3] = matmul(%x, %w) {trans_b = 1}\n",
     NULL},
    {"%a: u8[2, 4] = quantize(%x)\n", "no quantization"},
    {"%y: f32[2, 4] = dequantize(%x)\n", "no quantization"},
    {"%a: i8[2, 4] q1 = quantize(%x)\n", "another type"},
    {"input %w: f32[3, 4] q3\n", "another type"},
    {"%a: f32[2, 4] = quantize(%x) {to = f32}\n", "no integer type"},
};

static void
test_reduce(void **state)
{
    (void)state;
    IR_CHECK(reduce_cases);
}

static void
test_norm(void **state)
{
    (void)state;
    IR_CHECK(norm_cases);
}

static void
test_quantization(void **state)
{
    (void)state;
    static pq_test_sink sink;
    for (size_t i = 0; i < sizeof quant_cases / sizeof quant_cases[0]; i++) {
        char text[4096];
        int n = snprintf(text, sizeof text, "%s%soutput %%x\n", quantized,
                         quant_cases[i].lines);
        pq_test_sink_clear(&sink);
        ptqc_ctx *ctx = pq_test_ctx_create(&sink, NULL, 1);
        pq_graph *g;
        ptqc_status st =
            pq_graph_parse(ctx, "case", (pq_str){text, (size_t)n}, &g);
        bool is_good =
            quant_cases[i].error == NULL
                ? st == PTQC_OK
                : st != PTQC_OK && strstr(sink.text, quant_cases[i].error);
        if (!is_good) {
            print_error("case %zu: status %d\n%s%s\n", i, (int)st, text,
                        sink.text);
        }
        assert_true(is_good);
        pq_graph_destroy(g);
        ptqc_ctx_destroy(ctx);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reduce),
        cmocka_unit_test(test_norm),
        cmocka_unit_test(test_quantization),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
