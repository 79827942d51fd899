// SPDX-License-Identifier: Apache-2.0
//
// Float graphs through the plugin against the interpreter: every family of
// ops on odd sizes, tails, symbolic dims, and the layouts lowering chooses.
#include "tests/unit/backends/cpu/plugin_check.h"

// clang-format off
static const plugin_case elementwise_cases[] = {
    {"unary chain", "graph \"g\" stage float\nsymbol N = [1, 99]\n"
     "input %x: f32[N, 37]\n"
     "%a: f32[N, 37] = tanh(%x)\n%b: f32[N, 37] = gelu(%a)\n"
     "%c: f32[N, 37] = mul(%b, %x)\n%y: f32[N, 37] = sigmoid(%c)\n"
     "output %y\n", {3}, 1, 0},
    {"broadcast", "graph \"g\" stage float\n"
     "input %x: f32[2, 5, 17]\ninput %r: f32[5, 1]\n"
     "const c1: $f32[17]\n%w: f32[17] = c1\n"
     "%a: f32[2, 5, 17] = add(%x, %w) {act = relu}\n"
     "%y: f32[2, 5, 17] = mul(%a, %r)\noutput %y\noutput %a\n", {0}, 0, 0},
    {"scalars", "graph \"g\" stage float\n"
     "input %x: f32[3]\nconst c1: f32[] = [2.5]\n%w: f32[] = c1\n"
     "%a: f32[3] = div(%x, %w)\n%b: f32[3] = pow(%a, %w)\n"
     "%y: f32[3] = clip(%b) {alpha = -1, beta = 0.5}\noutput %y\n", {0}, 0, 0},
    {"compare and where", "graph \"g\" stage float\n"
     "input %x: f32[4, 9]\ninput %z: f32[4, 9]\n"
     "%m: bool[4, 9] = less(%x, %z)\n%n: bool[4, 9] = not(%m)\n"
     "%y: f32[4, 9] = where(%n, %x, %z)\n%k: i64[4, 9] = cast(%n) {to = i64}\n"
     "%s: i64[4, 9] = add(%k, %k)\noutput %y\noutput %s\n", {0}, 0, 0},
    {"integers", "graph \"g\" stage float\n"
     "input %x: i64[33]\ninput %z: i64[33]\n"
     "%a: i64[33] = mul(%x, %z)\n%b: i64[33] = div(%a, %z)\n"
     "%c: i64[33] = mod(%b, %z)\n%d: bool[33] = equal(%c, %x)\n"
     "%e: f32[33] = cast(%c) {to = f32}\noutput %b\noutput %d\noutput %e\n",
     {0}, 0, 40},
    {"batch norm", "graph \"g\" stage float\n"
     "input %x: f32[2, 5, 3, 4]\n"
     "const c1: $f32[5]\nconst c2: $f32[5]\nconst c3: $f32[5]\n"
     "const c4: f32[5] = [0.5, 1, 2, 0.25, 3]\n"
     "%s: f32[5] = c1\n%b: f32[5] = c2\n%m: f32[5] = c3\n%v: f32[5] = c4\n"
     "%y: f32[2, 5, 3, 4] = batch_norm(%x, %s, %b, %m, %v)\n"
     "%z: f32[2, 5, 3, 4] = relu(%y)\noutput %z\n", {0}, 0, 0},
    {"input is output", "graph \"g\" stage float\n"
     "input %x: f32[3, 4]\n%y: f32[3, 4] = identity(%x)\n"
     "%t: f32[4, 3] = transpose(%x) {perm = [1, 0]}\n"
     "output %x\noutput %y\noutput %t\noutput %t\n", {0}, 0, 0},
};

static const plugin_case matrix_cases[] = {
    {"conv relu residual", "graph \"g\" stage float\nsymbol N = [1, 8]\n"
     "input %x: f32[N, 3, 9, 7]\n"
     "const c1: $f32[20, 3, 3, 3]\nconst c2: $f32[20]\n"
     "const c3: $f32[20, 20, 1, 1]\n"
     "%w: f32[20, 3, 3, 3] = c1\n%b: f32[20] = c2\n"
     "%v: f32[20, 20, 1, 1] = c3\n"
     "%a: f32[N, 20, 9, 7] = conv(%x, %w, %b) {act = relu, pads = [1, 1, 1, 1]}\n"
     "%y: f32[N, 20, 9, 7] = conv(%a, %v, _, %a) {act = relu}\n"
     "output %y\n", {2}, 1, 0},
    {"conv strides, groups, dilation", "graph \"g\" stage float\n"
     "input %x: f32[1, 8, 11, 13]\n"
     "const c1: $f32[12, 4, 3, 2]\nconst c2: $f32[12, 1, 3, 3]\n"
     "%w: f32[12, 4, 3, 2] = c1\n%v: f32[12, 1, 3, 3] = c2\n"
     "%a: f32[1, 12, 5, 6] = conv(%x, %w) {group = 2, strides = [2, 2]}\n"
     "%y: f32[1, 12, 5, 6] = conv(%a, %v) {group = 12, pads = [2, 2, 2, 2], "
     "dilations = [2, 2], act = clip, act_alpha = 0, act_beta = 6}\n"
     "output %y\n", {0}, 0, 0},
    {"conv 1d", "graph \"g\" stage float\n"
     "input %x: f32[2, 6, 19]\nconst c1: $f32[10, 6, 5]\n"
     "%w: f32[10, 6, 5] = c1\n"
     "%y: f32[2, 10, 10] = conv(%x, %w) {strides = [2], pads = [2, 2]}\n"
     "output %y\n", {0}, 0, 0},
    {"conv transpose", "graph \"g\" stage float\n"
     "input %x: f32[1, 5, 4, 3]\nconst c1: $f32[5, 7, 3, 3]\n"
     "%w: f32[5, 7, 3, 3] = c1\n"
     "%y: f32[1, 7, 8, 6] = conv_transpose(%x, %w) {strides = [2, 2], "
     "pads = [1, 1, 1, 1], output_padding = [1, 1]}\noutput %y\n", {0}, 0, 0},
    {"matmul", "graph \"g\" stage float\nsymbol T = [1, 99]\n"
     "input %x: f32[2, T, 19]\nconst c1: $f32[19, 35]\nconst c2: $f32[35]\n"
     "const c3: $f32[35, 35]\n"
     "%w: f32[19, 35] = c1\n%b: f32[35] = c2\n%v: f32[35, 35] = c3\n"
     "%a: f32[2, T, 35] = matmul(%x, %w, %b) {act = gelu}\n"
     "%y: f32[2, T, 35] = matmul(%a, %v, _, %a) {trans_b = 1}\noutput %y\n",
     {7}, 1, 0},
    {"matmul transposed a", "graph \"g\" stage float\n"
     "input %x: f32[3, 19, 6]\nconst c1: $f32[19, 4]\n%w: f32[19, 4] = c1\n"
     "%y: f32[3, 6, 4] = matmul(%x, %w) {trans_a = 1}\noutput %y\n", {0}, 0, 0},
    {"attention", "graph \"g\" stage float\nsymbol T = [1, 99]\n"
     "input %x: f32[2, T, 48]\ninput %mask: f32[2, 1, 1, T]\n"
     "const c1: $f32[48, 48]\nconst c2: f32[] = [0.25]\n"
     "%w: f32[48, 48] = c1\n%scale: f32[] = c2\n"
     "%q: f32[2, T, 48] = matmul(%x, %w)\n"
     "%qr: f32[2, T, 3, 16] = reshape(%q) {shape = [2, T, 3, 16]}\n"
     "%qt: f32[2, 3, T, 16] = transpose(%qr) {perm = [0, 2, 1, 3]}\n"
     "%kr: f32[2, T, 3, 16] = reshape(%x) {shape = [2, T, 3, 16]}\n"
     "%kt: f32[2, 3, 16, T] = transpose(%kr) {perm = [0, 2, 3, 1]}\n"
     "%s: f32[2, 3, T, T] = matmul(%qt, %kt)\n"
     "%ss: f32[2, 3, T, T] = mul(%s, %scale)\n"
     "%sm: f32[2, 3, T, T] = add(%ss, %mask)\n"
     "%p: f32[2, 3, T, T] = softmax(%sm) {axis = -1}\n"
     "%vt: f32[2, 3, T, 16] = transpose(%kr) {perm = [0, 2, 1, 3]}\n"
     "%o: f32[2, 3, T, 16] = matmul(%p, %vt)\n"
     "%ot: f32[2, T, 3, 16] = transpose(%o) {perm = [0, 2, 1, 3]}\n"
     "%y: f32[2, T, 48] = reshape(%ot) {shape = [2, T, 48]}\n"
     "output %y\n", {13}, 1, 0},
    {"batched matmul broadcasts", "graph \"g\" stage float\n"
     "input %a: f32[4, 1, 5, 6]\ninput %b: f32[3, 6, 7]\n"
     "input %c: f32[5, 6]\n"
     "%x: f32[4, 3, 5, 7] = matmul(%a, %b)\n"
     "%y: f32[4, 3, 7, 6] = matmul(%x, %c) {trans_a = 1}\n"
     "%z: f32[4, 3, 5, 5] = matmul(%x, %x) {trans_b = 1}\n"
     "output %y\noutput %z\n", {0}, 0, 0},
};

static const plugin_case row_cases[] = {
    {"reductions", "graph \"g\" stage float\n"
     "input %x: f32[3, 5, 4, 9]\n"
     "%a: f32[3, 5, 1, 1] = reduce_mean(%x) {axes = [2, 3]}\n"
     "%b: f32[3, 9] = reduce_sum(%x) {axes = [1, 2], keepdims = 0}\n"
     "%c: f32[5, 9] = reduce_max(%x) {axes = [0, 2], keepdims = 0}\n"
     "%d: f32[] = reduce_l2(%x) {keepdims = 0}\n"
     "%e: f32[3, 5, 4, 1] = reduce_log_sum_exp(%x) {axes = [-1]}\n"
     "output %a\noutput %b\noutput %c\noutput %d\noutput %e\n", {0}, 0, 0},
    {"reductions of channels last", "graph \"g\" stage float\n"
     "input %x: f32[2, 3, 8, 7]\nconst c1: $f32[21, 3, 1, 1]\n"
     "%w: f32[21, 3, 1, 1] = c1\n%a: f32[2, 21, 8, 7] = conv(%x, %w)\n"
     "%b: f32[2, 21, 1, 1] = reduce_mean(%a) {axes = [2, 3]}\n"
     "%c: f32[2, 21] = reshape(%b) {shape = [2, 21]}\n"
     "%d: f32[2, 8, 7] = reduce_sum(%a) {axes = [1], keepdims = 0}\n"
     "%e: i64[2, 8, 7] = arg_max(%a) {axis = 1, keepdims = 0}\n"
     "%f: f32[2, 21, 8, 7] = softmax(%a) {axis = 1}\n"
     "%h: f32[2, 7] = reduce_min(%a) {axes = [1, 2], keepdims = 0}\n"
     "output %c\noutput %d\noutput %e\noutput %f\noutput %h\n", {0}, 0, 0},
    {"softmax axes", "graph \"g\" stage float\n"
     "input %x: f32[3, 7, 5]\n"
     "%a: f32[3, 7, 5] = softmax(%x) {axis = 1}\n"
     "%b: f32[3, 7, 5] = log_softmax(%x) {axis = 2}\n"
     "%c: f32[3, 7, 5] = lp_norm(%x) {axis = 1, p = 2}\n"
     "%d: f32[3, 7, 5] = cumsum(%x) {axis = 1, reverse = 1}\n"
     "output %a\noutput %b\noutput %c\noutput %d\n", {0}, 0, 0},
    {"norms", "graph \"g\" stage float\n"
     "input %x: f32[2, 6, 5, 7]\n"
     "const c1: $f32[7]\nconst c2: $f32[7]\nconst c3: $f32[6]\n"
     "const c4: $f32[6]\n"
     "%s: f32[7] = c1\n%b: f32[7] = c2\n%u: f32[6] = c3\n%v: f32[6] = c4\n"
     "%a: f32[2, 6, 5, 7] = layer_norm(%x, %s, %b)\n"
     "%c: f32[2, 6, 5, 7] = rms_norm(%x, %s)\n"
     "%d: f32[2, 6, 5, 7] = instance_norm(%x, %u, %v)\n"
     "%e: f32[2, 6, 5, 7] = group_norm(%x, %u, %v) {group = 3}\n"
     "%f: f32[2, 6, 5, 7] = lrn(%x) {size = 3}\n"
     "output %a\noutput %c\noutput %d\noutput %e\noutput %f\n", {0}, 0, 0},
    {"arg, topk", "graph \"g\" stage float\n"
     "input %x: f32[3, 11, 2]\n"
     "%a: i64[3, 1, 2] = arg_max(%x) {axis = 1}\n"
     "%b: i64[3, 11] = arg_min(%x) {axis = -1, keepdims = 0}\n"
     "%c: f32[3, 4, 2], %d: i64[3, 4, 2] = topk(%x) {axis = 1, k = 4}\n"
     "output %a\noutput %b\noutput %c\noutput %d\n", {0}, 0, 0},
};

static const plugin_case window_cases[] = {
    {"pools", "graph \"g\" stage float\nsymbol N = [1, 4]\n"
     "input %x: f32[N, 5, 9, 8]\n"
     "%a: f32[N, 5, 4, 4] = max_pool(%x) {kernel = [3, 2], strides = [2, 2]}\n"
     "%b: f32[N, 5, 9, 8] = avg_pool(%x) {kernel = [3, 3], pads = [1, 1, 1, 1]}\n"
     "%c: f32[N, 5, 5, 4] = avg_pool(%x) {kernel = [3, 3], strides = [2, 2], "
     "pads = [1, 1, 1, 1], include_pad = 1}\n"
     "output %a\noutput %b\noutput %c\n", {2}, 1, 0},
    {"resize", "graph \"g\" stage float\n"
     "input %x: f32[1, 5, 4, 6]\n"
     "%a: f32[1, 5, 8, 12] = resize(%x) {shape = [1, 5, 8, 12], mode = 0, "
     "coordinates = 2, nearest = 2}\n"
     "%b: f32[1, 5, 7, 9] = resize(%x) {shape = [1, 5, 7, 9], mode = 1}\n"
     "%c: f32[1, 5, 9, 6] = resize(%x) {shape = [1, 5, 9, 6], mode = 2}\n"
     "output %a\noutput %b\noutput %c\n", {0}, 0, 0},
    {"lstm", "graph \"g\" stage float\n"
     "input %x: f32[4, 2, 5]\nconst c1: $f32[1, 12, 5]\n"
     "const c2: $f32[1, 12, 3]\nconst c3: $f32[1, 24]\n"
     "%w: f32[1, 12, 5] = c1\n%r: f32[1, 12, 3] = c2\n%b: f32[1, 24] = c3\n"
     "%y: f32[4, 1, 2, 3], %h: f32[1, 2, 3], %c: f32[1, 2, 3] = "
     "lstm(%x, %w, %r, %b) {hidden = 3}\n"
     "output %y\noutput %h\noutput %c\n", {0}, 0, 0},
};

static const plugin_case move_cases[] = {
    {"transpose", "graph \"g\" stage float\n"
     "input %x: f32[3, 18, 20, 5]\n"
     "%a: f32[3, 20, 18, 5] = transpose(%x) {perm = [0, 2, 1, 3]}\n"
     "%b: f32[5, 20, 18, 3] = transpose(%x) {perm = [3, 2, 1, 0]}\n"
     "output %a\noutput %b\n", {0}, 0, 0},
    {"planes",
     "graph \"g\" stage float\n"
     "input %x: f32[2, 3, 7, 5]\ninput %z: bool[1, 3, 1031]\n"
     "%a: f32[2, 7, 5, 3] = transpose(%x) {perm = [0, 2, 3, 1]}\n"
     "%b: bool[1, 1031, 3] = transpose(%z) {perm = [0, 2, 1]}\n"
     "output %a\noutput %b\n",
     {0},
     0,
     0},
    {"slice and concat", "graph \"g\" stage float\nsymbol N = [2, 9]\n"
     "input %x: f32[N, 10, 7]\n"
     "%a: f32[N, 4, 7] = slice(%x) {axes = [1], starts = [2], ends = [9], "
     "steps = [2]}\n"
     "%b: f32[N, 10, 7] = slice(%x) {axes = [2], starts = [6], ends = [-1], "
     "steps = [-1]}\n"
     "%c: f32[N, 14, 7] = concat(%a, %b) {axis = 1}\n"
     "%d: f32[1, 14, 7] = slice(%c) {axes = [0], starts = [N - 1], ends = [N]}\n"
     "output %c\noutput %d\n", {3}, 1, 0},
    {"pad", "graph \"g\" stage float\n"
     "input %x: f32[2, 4, 5]\n"
     "%a: f32[3, 4, 10] = pad(%x) {pads = [0, 0, 2, 1, 0, 3], value = 1.5}\n"
     "%b: f32[2, 8, 8] = pad(%x) {pads = [0, 2, 1, 0, 2, 2], mode = 1}\n"
     "%c: f32[2, 8, 8] = pad(%x) {pads = [0, 2, 1, 0, 2, 2], mode = 2}\n"
     "%d: f32[2, 4, 3] = pad(%x) {pads = [0, 0, -1, 0, 0, -1]}\n"
     "output %a\noutput %b\noutput %c\noutput %d\n", {0}, 0, 0},
    {"expand, tile", "graph \"g\" stage float\nsymbol N = [1, 9]\n"
     "input %x: f32[3, 1, 4]\ninput %n: f32[N]\n"
     "%a: f32[N, 3, 5, 4] = expand(%x) {shape = [N, 3, 5, 4]}\n"
     "%b: f32[6, 3, 4] = tile(%x) {repeats = [2, 3, 1]}\n"
     "output %a\noutput %b\n", {2}, 1, 0},
    {"depth and space", "graph \"g\" stage float\n"
     "input %x: f32[2, 12, 4, 6]\n"
     "%a: f32[2, 3, 8, 12] = depth_to_space(%x) {block = 2}\n"
     "%b: f32[2, 3, 8, 12] = depth_to_space(%x) {block = 2, mode = 1}\n"
     "%c: f32[2, 48, 2, 3] = space_to_depth(%x) {block = 2}\n"
     "output %a\noutput %b\noutput %c\n", {0}, 0, 0},
    {"gather", "graph \"g\" stage float\n"
     "input %x: f32[4, 6, 3]\ninput %i: i64[5]\ninput %e: i64[4, 2, 3]\n"
     "input %n: i64[3, 2]\ninput %u: f32[3, 3]\ninput %v: f32[4, 2, 3]\n"
     "%a: f32[4, 5, 3] = gather(%x, %i) {axis = 1}\n"
     "%b: f32[4, 2, 3] = gather_elements(%x, %e) {axis = 1}\n"
     "%c: f32[3, 3] = gather_nd(%x, %n)\n"
     "%d: f32[4, 6, 3] = scatter_nd(%x, %n, %u)\n"
     "%f: f32[4, 6, 3] = scatter_elements(%x, %e, %v) {axis = 1, reduction = 1}\n"
     "output %a\noutput %b\noutput %c\noutput %d\noutput %f\n", {0}, 0, 4},
    {"index makers", "graph \"g\" stage float\nsymbol N = [1, 9]\n"
     "input %x: f32[N, 5]\ninput %i: i64[4]\n"
     "const c1: f32[2] = [0.5, 2]\n%v: f32[2] = c1\n"
     "%a: i64[2] = shape(%x)\n"
     "%b: f32[N, 5] = trilu(%x) {k = 1}\n"
     "%c: f32[4, 7] = one_hot(%i, %v) {k = 7}\n"
     "%d: i64[N] = range() {start = [3], delta = 2, shape = [N], to = i64}\n"
     "output %a\noutput %b\noutput %c\noutput %d\n", {4}, 1, 3},
    {"empty", "graph \"g\" stage float\nsymbol N = [0, 9]\n"
     "input %x: f32[N, 5]\ninput %z: f32[2, 5]\n"
     "%a: f32[N, 5] = relu(%x)\n%b: f32[N + 2, 5] = concat(%a, %z) {axis = 0}\n"
     "%c: f32[N, 5] = softmax(%x) {axis = 1}\n"
     "output %b\noutput %c\n", {0}, 1, 0},
};
// clang-format on

static void
test_elementwise(void **state)
{
    (void)state;
    PLUGIN_CHECK(elementwise_cases);
}

static void
test_matrix(void **state)
{
    (void)state;
    PLUGIN_CHECK(matrix_cases);
}

static void
test_rows(void **state)
{
    (void)state;
    PLUGIN_CHECK(row_cases);
}

static void
test_windows(void **state)
{
    (void)state;
    PLUGIN_CHECK(window_cases);
}

static void
test_moves(void **state)
{
    (void)state;
    PLUGIN_CHECK(move_cases);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_elementwise), cmocka_unit_test(test_matrix),
        cmocka_unit_test(test_rows),        cmocka_unit_test(test_windows),
        cmocka_unit_test(test_moves),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
