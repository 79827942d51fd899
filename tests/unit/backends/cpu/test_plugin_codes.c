// SPDX-License-Identifier: Apache-2.0
//
// Quantized graphs through the plugin against the interpreter, bit for bit:
// static and dynamic products, weight-only, ops on codes, codes at the
// boundary.
#include "tests/unit/backends/cpu/plugin_check.h"

// clang-format off
// q1: u8, q2: i8, q3: i8 of another scale
#define TENSOR_QUANTS                                                          \
    "quant q1 = {format = u8, granularity = tensor, axis = 0, group = 0, "     \
    "symmetric = 0, dynamic = 0, scale = c1, zero_point = c2}\n"               \
    "quant q2 = {format = i8, granularity = tensor, axis = 0, group = 0, "     \
    "symmetric = 0, dynamic = 0, scale = c3, zero_point = c4}\n"               \
    "quant q3 = {format = i8, granularity = tensor, axis = 0, group = 0, "     \
    "symmetric = 1, dynamic = 0, scale = c5, zero_point = c6}\n"
#define TENSOR_CONSTS                                                          \
    "const c1: f32[1] = [0.03125]\nconst c2: i32[1] = [121]\n"                 \
    "const c3: f32[1] = [0.043]\nconst c4: i32[1] = [-7]\n"                    \
    "const c5: f32[1] = [0.051]\nconst c6: i32[1] = [0]\n"
#define CHANNEL_QUANT(axis)                                                    \
    "quant q4 = {format = i8, granularity = channel, axis = " axis             \
    ", group = 0, symmetric = 1, dynamic = 0, scale = c7, zero_point = c8}\n"
#define SCALES_20                                                              \
    "const c7: f32[20] = [0.001, 0.002, 0.003, 0.004, 0.005, 0.006, 0.007, "   \
    "0.008, 0.009, 0.01, 0.0011, 0.0012, 0.0013, 0.0014, 0.0015, 0.0016, "     \
    "0.0017, 0.0018, 0.0019, 0.0021]\n"                                        \
    "const c8: i32[20] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, " \
    "0, 0, 0]\n"

#define SCALES_20_ALONE                                                        \
    "const c1: f32[20] = [0.001, 0.002, 0.003, 0.004, 0.005, 0.006, 0.007, "   \
    "0.008, 0.009, 0.01, 0.0011, 0.0012, 0.0013, 0.0014, 0.0015, 0.0016, "     \
    "0.0017, 0.0018, 0.0019, 0.0021]\n"                                        \
    "const c2: i32[20] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, " \
    "0, 0, 0]\n"

static const plugin_case product_cases[] = {
    {"conv, relu, residual", "graph \"g\" stage quantized\nsymbol N = [1, 8]\n"
     TENSOR_CONSTS SCALES_20
     "const c9: $i8[20, 5, 3, 3]\nconst c10: $i32[20]\n"
     "const c11: $i8[20, 20, 1, 1]\n"
     TENSOR_QUANTS CHANNEL_QUANT("0")
     "input %x: f32[N, 5, 9, 7]\n"
     "%w: i8[20, 5, 3, 3] q4 = c9\n%b: i32[20] = c10\n"
     "%v: i8[20, 20, 1, 1] q4 = c11\n"
     "%q: u8[N, 5, 9, 7] q1 = quantize(%x)\n"
     "%a: i8[N, 20, 9, 7] q2 = conv(%q, %w, %b) {act = relu, "
     "pads = [1, 1, 1, 1]}\n"
     "%y: u8[N, 20, 9, 7] q1 = conv(%a, %v, %b, %a) {act = clip, "
     "act_alpha = -1, act_beta = 2}\n"
     "%z: f32[N, 20, 9, 7] = dequantize(%y)\noutput %z\noutput %a\n",
     {2}, 1, 0},
    {"conv in real arithmetic", "graph \"g\" stage quantized\n"
     TENSOR_CONSTS SCALES_20
     "const c9: $i8[20, 5, 3, 3]\nconst c10: $f32[20]\n"
     TENSOR_QUANTS CHANNEL_QUANT("0")
     "input %x: i8[1, 5, 9, 7] q2\n"
     "%w: i8[20, 5, 3, 3] q4 = c9\n%b: f32[20] = c10\n"
     "%a: i8[1, 20, 5, 4] q3 = conv(%x, %w, %b) {act = hardswish, "
     "pads = [1, 1, 1, 1], strides = [2, 2]}\n"
     "%y: f32[1, 20, 3, 3] = conv(%x, %w, %b) {dilations = [2, 2], "
     "pads = [0, 0, 0, 0], strides = [2, 1]}\n"
     "output %a\noutput %y\n", {0}, 0, 0},
    {"depthwise and grouped", "graph \"g\" stage quantized\n"
     TENSOR_CONSTS SCALES_20
     "const c9: $i8[20, 1, 3, 3]\nconst c10: $i8[20, 4, 3, 3]\n"
     TENSOR_QUANTS CHANNEL_QUANT("0")
     "input %x: u8[2, 20, 6, 7] q1\n"
     "%w: i8[20, 1, 3, 3] q4 = c9\n%v: i8[20, 4, 3, 3] q4 = c10\n"
     "%a: u8[2, 20, 6, 7] q1 = conv(%x, %w) {group = 20, pads = [1, 1, 1, 1]}\n"
     "%y: i8[2, 20, 4, 5] q2 = conv(%a, %v) {group = 5}\n"
     "output %y\n", {0}, 0, 0},
    {"matmul static", "graph \"g\" stage quantized\nsymbol T = [1, 50]\n"
     TENSOR_CONSTS SCALES_20
     "const c9: $i8[20, 33]\nconst c10: $i32[20]\n"
     TENSOR_QUANTS CHANNEL_QUANT("0")
     "input %x: f32[T, 33]\n"
     "%w: i8[20, 33] q4 = c9\n%b: i32[20] = c10\n"
     "%q: i8[T, 33] q2 = quantize(%x)\n"
     "%a: i8[T, 20] q3 = matmul(%q, %w, %b) {trans_b = 1}\n"
     "%y: f32[T, 20] = matmul(%q, %w, %b) {trans_b = 1, act = gelu}\n"
     "output %a\noutput %y\n", {11}, 1, 0},
    {"matmul dynamic", "graph \"g\" stage quantized\nsymbol T = [1, 50]\n"
     SCALES_20_ALONE
     "const c3: $i8[20, 33]\nconst c4: $f32[20]\n"
     "quant q1 = {format = i8, granularity = channel, axis = 0, group = 0, "
     "symmetric = 1, dynamic = 0, scale = c1, zero_point = c2}\n"
     "quant q2 = {format = i8, granularity = token, axis = 0, group = 0, "
     "symmetric = 1, dynamic = 1}\n"
     "input %x: f32[2, T, 33]\n"
     "%w: i8[20, 33] q1 = c3\n%b: f32[20] = c4\n"
     "%rows: i8[2, T, 33] q2, %scales: f32[2, T, 1] = dynamic_quantize(%x)\n"
     "%y: f32[2, T, 20] = matmul(%rows, %w, %b, _, %scales) {trans_b = 1, "
     "act = relu}\noutput %y\noutput %scales\n", {9}, 1, 0},
};

#define ASYM_20                                                                \
    "const c7: f32[20] = [0.001, 0.002, 0.003, 0.004, 0.005, 0.006, 0.007, "   \
    "0.008, 0.009, 0.01, 0.0011, 0.0012, 0.0013, 0.0014, 0.0015, 0.0016, "     \
    "0.0017, 0.0018, 0.0019, 0.0021]\n"                                        \
    "const c8: i32[20] = [0, 255, 128, 127, 129, 1, 254, 77, 200, 10, 99, "    \
    "0, 255, 3, 44, 180, 31, 222, 101, 64]\n"                                  \
    "const c9: f32[1] = [0.0031]\nconst c10: i32[1] = [-128]\n"
#define ASYM_QUANTS(axis)                                                      \
    "quant q4 = {format = u8, granularity = channel, axis = " axis             \
    ", group = 0, symmetric = 0, dynamic = 0, scale = c7, zero_point = c8}\n"  \
    "quant q5 = {format = i8, granularity = tensor, axis = 0, group = 0, "     \
    "symmetric = 0, dynamic = 0, scale = c9, zero_point = c10}\n"

// Weights with zero points, per channel and per tensor.
static const plugin_case asymmetric_cases[] = {
    {"conv with padding", "graph \"g\" stage quantized\nsymbol N = [1, 8]\n"
     TENSOR_CONSTS ASYM_20
     "const c11: $u8[20, 5, 3, 3]\nconst c12: $i32[20]\n"
     "const c13: $i8[20, 20, 1, 1]\n"
     TENSOR_QUANTS ASYM_QUANTS("0")
     "input %x: f32[N, 5, 9, 7]\n"
     "%w: u8[20, 5, 3, 3] q4 = c11\n%b: i32[20] = c12\n"
     "%v: i8[20, 20, 1, 1] q5 = c13\n"
     "%q: u8[N, 5, 9, 7] q1 = quantize(%x)\n"
     "%a: i8[N, 20, 9, 7] q2 = conv(%q, %w, %b) {act = relu, "
     "pads = [1, 1, 1, 1]}\n"
     "%y: u8[N, 20, 9, 7] q1 = conv(%a, %v, %b, %a) {act = clip, "
     "act_alpha = -1, act_beta = 2}\n"
     "%z: f32[N, 20, 9, 7] = dequantize(%y)\noutput %z\noutput %a\n",
     {2}, 1, 0},
    {"conv in real arithmetic", "graph \"g\" stage quantized\n"
     TENSOR_CONSTS ASYM_20
     "const c11: $u8[20, 5, 3, 3]\nconst c12: $f32[20]\n"
     TENSOR_QUANTS ASYM_QUANTS("0")
     "input %x: i8[1, 5, 9, 7] q2\n"
     "%w: u8[20, 5, 3, 3] q4 = c11\n%b: f32[20] = c12\n"
     "%a: i8[1, 20, 5, 4] q3 = conv(%x, %w, %b) {act = silu, "
     "pads = [1, 1, 1, 1], strides = [2, 2]}\n"
     "%y: f32[1, 20, 3, 3] = conv(%x, %w, %b) {dilations = [2, 2], "
     "pads = [0, 0, 0, 0], strides = [2, 1]}\n"
     "output %a\noutput %y\n", {0}, 0, 0},
    {"depthwise, grouped, transposed", "graph \"g\" stage quantized\n"
     TENSOR_CONSTS ASYM_20
     "const c11: $u8[20, 1, 3, 3]\nconst c12: $u8[20, 4, 3, 3]\n"
     "const c13: $i8[20, 7, 3, 3]\n"
     TENSOR_QUANTS ASYM_QUANTS("0")
     "input %x: u8[2, 20, 6, 7] q1\n"
     "%w: u8[20, 1, 3, 3] q4 = c11\n%v: u8[20, 4, 3, 3] q4 = c12\n"
     "%t: i8[20, 7, 3, 3] q5 = c13\n"
     "%a: u8[2, 20, 6, 7] q1 = conv(%x, %w) {group = 20, pads = [1, 1, 1, 1]}\n"
     "%y: i8[2, 20, 4, 5] q2 = conv(%a, %v) {group = 5}\n"
     "%z: u8[2, 7, 13, 15] q1 = conv_transpose(%x, %t) {strides = [2, 2]}\n"
     "output %y\noutput %z\n", {0}, 0, 0},
    {"matmul static", "graph \"g\" stage quantized\nsymbol T = [1, 50]\n"
     TENSOR_CONSTS ASYM_20
     "const c11: $u8[20, 33]\nconst c12: $i32[20]\nconst c13: $i8[20, 33]\n"
     TENSOR_QUANTS ASYM_QUANTS("0")
     "input %x: f32[T, 33]\n"
     "%w: u8[20, 33] q4 = c11\n%b: i32[20] = c12\n%v: i8[20, 33] q5 = c13\n"
     "%q: i8[T, 33] q2 = quantize(%x)\n"
     "%a: i8[T, 20] q3 = matmul(%q, %w, %b) {trans_b = 1}\n"
     "%y: f32[T, 20] = matmul(%q, %v, %b) {trans_b = 1, act = gelu}\n"
     "output %a\noutput %y\n", {11}, 1, 0},
    {"matmul dynamic", "graph \"g\" stage quantized\nsymbol T = [1, 50]\n"
     TENSOR_CONSTS ASYM_20
     "const c11: $u8[20, 33]\nconst c12: $f32[20]\n"
     TENSOR_QUANTS ASYM_QUANTS("0")
     "quant q6 = {format = i8, granularity = token, axis = 0, group = 0, "
     "symmetric = 1, dynamic = 1}\n"
     "input %x: f32[2, T, 33]\n"
     "%w: u8[20, 33] q4 = c11\n%b: f32[20] = c12\n"
     "%rows: i8[2, T, 33] q6, %scales: f32[2, T, 1] = dynamic_quantize(%x)\n"
     "%y: f32[2, T, 20] = matmul(%rows, %w, %b, _, %scales) {trans_b = 1, "
     "act = relu}\noutput %y\noutput %scales\n", {9}, 1, 0},
};

#define LIST_8(x) x ", " x ", " x ", " x ", " x ", " x ", " x ", " x
// Per 32 of the 72 inner elements of 8 rows: three groups, the last shorter.
static const plugin_case weight_only_cases[] = {
    {"w8 groups",
     "graph \"g\" stage quantized\nsymbol T = [1, 50]\n"
     "const c1: f32[8, 3] = [" LIST_8("0.01, 0.02, 0.03") "]\n"
     "const c2: i32[8, 3] = [" LIST_8("128, 3, 211") "]\n"
     "const c3: $u8[8, 72]\nconst c4: $f32[8]\n"
     "quant q1 = {format = u8, granularity = group, axis = 1, group = 32, "
     "symmetric = 0, dynamic = 0, scale = c1, zero_point = c2}\n"
     "input %x: f32[T, 72]\n%w: u8[8, 72] q1 = c3\n%b: f32[8] = c4\n"
     "%y: f32[T, 8] = matmul(%x, %w, %b) {trans_b = 1, act = silu}\n"
     "output %y\n",
     {5},
     1,
     0},
    {"w8 channels",
     "graph \"g\" stage quantized\n"
     "const c1: f32[8] = [" LIST_8("0.017") "]\n"
     "const c2: i32[8] = [" LIST_8("0") "]\n"
     "const c3: $i8[8, 37]\n"
     "quant q1 = {format = i8, granularity = channel, axis = 0, group = 0, "
     "symmetric = 1, dynamic = 0, scale = c1, zero_point = c2}\n"
     "input %x: f32[3, 37]\n%w: i8[8, 37] q1 = c3\n"
     "%y: f32[3, 8] = matmul(%x, %w) {trans_b = 1}\noutput %y\n",
     {0},
     0,
     0},
};

// Convolutions of f32 by codes of 8 and 4 bits.
static const plugin_case weight_only_convs[] = {
    {"w8 per channel and tensor", "graph \"g\" stage quantized\n"
     TENSOR_CONSTS ASYM_20
     "const c11: $u8[20, 5, 3, 3]\nconst c12: $f32[20]\n"
     "const c13: $i8[20, 1, 3, 3]\nconst c14: $i8[20, 4, 1, 3]\n"
     "const c15: $i8[20, 7, 3, 3]\n"
     TENSOR_QUANTS ASYM_QUANTS("0")
     "input %x: f32[2, 5, 9, 7]\n"
     "%w: u8[20, 5, 3, 3] q4 = c11\n%b: f32[20] = c12\n"
     "%v: i8[20, 1, 3, 3] q5 = c13\n%u: i8[20, 4, 1, 3] q3 = c14\n"
     "%t: i8[20, 7, 3, 3] q5 = c15\n"
     "%a: f32[2, 20, 9, 7] = conv(%x, %w, %b) {act = relu, "
     "pads = [1, 1, 1, 1]}\n"
     "%d: f32[2, 20, 9, 7] = conv(%a, %v, %b, %a) {group = 20, "
     "pads = [1, 1, 1, 1]}\n"
     "%e: f32[2, 20, 9, 5] = conv(%d, %u) {group = 5, act = silu}\n"
     "%f: f32[2, 7, 19, 11] = conv_transpose(%e, %t) {strides = [2, 2]}\n"
     "output %d\noutput %e\noutput %f\n", {0}, 0, 0},
    {"w4", "graph \"g\" stage quantized\n"
     SCALES_20_ALONE
     "const c3: i32[20] = [0, 15, 8, 7, 9, 1, 14, 3, 4, 5, 0, 15, 8, 7, 9, 1, "
     "14, 3, 4, 5]\n"
     "const c4: $i4[20, 5, 3, 3]\nconst c5: $u4[20, 20, 1, 1]\n"
     "const c6: $u4[20, 1, 3, 3]\nconst c7: $f32[20]\n"
     "quant q1 = {format = i4, granularity = channel, axis = 0, group = 0, "
     "symmetric = 1, dynamic = 0, scale = c1, zero_point = c2}\n"
     "quant q2 = {format = u4, granularity = channel, axis = 0, group = 0, "
     "symmetric = 0, dynamic = 0, scale = c1, zero_point = c3}\n"
     "input %x: f32[2, 5, 9, 7]\n"
     "%w: i4[20, 5, 3, 3] q1 = c4\n%v: u4[20, 20, 1, 1] q2 = c5\n"
     "%u: u4[20, 1, 3, 3] q2 = c6\n%b: f32[20] = c7\n"
     "%a: f32[2, 20, 7, 5] = conv(%x, %w, %b)\n"
     "%d: f32[2, 20, 7, 5] = conv(%a, %v)\n"
     "%e: f32[2, 20, 4, 3] = conv(%d, %u, %b) {group = 20, strides = [2, 2], "
     "pads = [1, 1, 1, 1], act = relu}\n"
     "output %a\noutput %d\noutput %e\n", {0}, 0, 0},
};

static const plugin_case code_cases[] = {
    {"elementwise", "graph \"g\" stage quantized\n"
     TENSOR_CONSTS TENSOR_QUANTS
     "input %x: u8[3, 37] q1\ninput %z: i8[3, 37] q2\n"
     "%a: i8[3, 37] q3 = add(%x, %z)\n%b: u8[3, 37] q1 = mul(%a, %x)\n"
     "%c: i8[3, 37] q2 = sigmoid(%b)\n%d: f32[3, 37] = dequantize(%c)\n"
     "%e: u8[3, 37] q1 = relu(%x)\n"
     "output %a\noutput %d\noutput %e\n", {0}, 0, 0},
    {"codes with real numbers", "graph \"g\" stage quantized\n"
     TENSOR_CONSTS "const c7: $f32[37]\nconst c8: $f32[3, 1]\n"
     "const c9: f32[1] = [0.7]\n" TENSOR_QUANTS
     "input %x: u8[2, 3, 37] q1\ninput %z: i8[2, 3, 37] q2\n"
     "%c: f32[37] = c7\n%d: f32[3, 1] = c8\n%e: f32[1] = c9\n"
     "%a: i8[2, 3, 37] q3 = add(%x, %c)\n"
     "%b: u8[2, 3, 37] q1 = mul(%d, %z)\n"
     "%f: i8[2, 3, 37] q2 = sub(%e, %b)\n"
     "%h: i8[2, 3, 37] q2 = div(%f, %e)\n"
     "%k: i8[2, 3, 37] q3 = prelu(%z, %e)\n"
     "output %a\noutput %f\noutput %h\noutput %k\n", {0}, 0, 0},
    {"pools and means", "graph \"g\" stage quantized\n"
     TENSOR_CONSTS TENSOR_QUANTS
     "input %x: i8[2, 5, 6, 7] q2\n"
     "%a: i8[2, 5, 3, 3] q2 = max_pool(%x) {kernel = [2, 2], strides = [2, 2]}\n"
     "%b: u8[2, 5, 6, 7] q1 = avg_pool(%x) {kernel = [3, 3], "
     "pads = [1, 1, 1, 1]}\n"
     "%c: i8[2, 5, 1, 1] q3 = reduce_mean(%x) {axes = [2, 3]}\n"
     "%d: u8[2, 5, 1, 1] q1 = avg_pool(%x) {kernel = [6, 7]}\n"
     "%e: i8[2, 6] q2 = reduce_mean(%x) {axes = [1, 3], keepdims = 0}\n"
     "%f: i8[2, 5, 6, 7] q3 = max_pool(%x) {kernel = [3, 3], "
     "pads = [1, 1, 1, 1]}\n"
     "output %a\noutput %b\noutput %c\noutput %d\noutput %e\noutput %f\n",
     {0}, 0, 0},
    {"moving codes", "graph \"g\" stage quantized\n"
     TENSOR_CONSTS TENSOR_QUANTS
     "input %x: i8[2, 6, 4] q2\ninput %z: i8[2, 6, 4] q3\n"
     "%a: i8[2, 4, 6] q2 = transpose(%x) {perm = [0, 2, 1]}\n"
     "%b: i8[8, 6] q2 = reshape(%a) {shape = [8, 6]}\n"
     "%c: i8[2, 8, 6] q2 = pad(%x) {pads = [0, 1, 0, 0, 1, 2], value = 0.2}\n"
     "%d: i8[4, 6, 4] q2 = concat(%x, %x) {axis = 0}\n"
     "%e: i8[4, 6, 4] q3 = concat(%x, %z) {axis = 0}\n"
     "%f: i8[12, 4] q3 = reshape(%x) {shape = [12, 4]}\n"
     "%h: i8[2, 3, 4] q2 = slice(%x) {axes = [1], starts = [1], ends = [4]}\n"
     "output %b\noutput %c\noutput %d\noutput %e\noutput %f\noutput %h\n",
     {0}, 0, 0},
    {"float ops on codes", "graph \"g\" stage quantized\n"
     TENSOR_CONSTS TENSOR_QUANTS
     "input %x: i8[3, 21] q2\n"
     "%a: u8[3, 21] q1 = softmax(%x) {axis = 1}\n"
     "%b: i8[3, 1] q3 = reduce_sum(%x) {axes = [1]}\n"
     "%c: i8[3, 1] q2 = reduce_max(%x) {axes = [1]}\n"
     "%d: i64[3, 1] = arg_max(%x) {axis = 1}\n"
     "output %a\noutput %b\noutput %c\noutput %d\n", {0}, 0, 0},
};
// clang-format on

static void
test_products(void **state)
{
    (void)state;
    PLUGIN_CHECK(product_cases);
}

static void
test_asymmetric(void **state)
{
    (void)state;
    PLUGIN_CHECK(asymmetric_cases);
}

static void
test_weight_only(void **state)
{
    (void)state;
    PLUGIN_CHECK(weight_only_convs);
    PLUGIN_CHECK(weight_only_cases);
}

static void
test_codes(void **state)
{
    (void)state;
    PLUGIN_CHECK(code_cases);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_products),
        cmocka_unit_test(test_asymmetric),
        cmocka_unit_test(test_weight_only),
        cmocka_unit_test(test_codes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
