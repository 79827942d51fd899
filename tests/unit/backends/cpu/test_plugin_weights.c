// SPDX-License-Identifier: Apache-2.0
//
// Products with weights that stay as they are stored (f16, bf16, codes), and
// embeddings, through the plugin against the interpreter: bit for bit.
#include "tests/unit/backends/cpu/plugin_check.h"

// clang-format off
static const plugin_case short_cases[] = {
    {"f16, one row", "graph \"g\" stage float\n"
     "input %x: f32[1, 1, 37]\nconst c1: $f16[131, 37]\nconst c2: $f32[131]\n"
     "%w: f16[131, 37] = c1\n%b: f32[131] = c2\n"
     "%y: f32[1, 1, 131] = matmul(%x, %w, %b) {trans_b = 1, act = silu}\n"
     "output %y\n", {0}, 0, 0},
    {"bf16, rows", "graph \"g\" stage float\nsymbol T = [1, 99]\n"
     "input %x: f32[2, T, 18]\nconst c1: $bf16[18, 50]\n"
     "%w: bf16[18, 50] = c1\n"
     "%a: f32[2, T, 50] = matmul(%x, %w)\n"
     "%y: f32[2, T, 50] = matmul(%x, %w, _, %a)\noutput %y\n", {15}, 1, 0},
    {"tied table", "graph \"g\" stage float\nsymbol T = [1, 99]\n"
     "input %t: i32[1, T]\nconst c1: $f16[33, 20]\nconst c2: $f32[20]\n"
     "%e: f16[33, 20] = c1\n%n: f32[20] = c2\n"
     "%g: f16[1, T, 20] = gather(%e, %t)\n"
     "%x: f32[1, T, 20] = cast(%g) {to = f32}\n"
     "%h: f32[1, T, 20] = rms_norm(%x, %n)\n"
     "%y: f32[1, T, 33] = matmul(%h, %e) {trans_b = 1}\noutput %y\n",
     {7}, 1, 33},
    {"cast of a constant", "graph \"g\" stage float\n"
     "input %x: f32[3, 20]\nconst c1: $f16[20, 40]\n%e: f16[20, 40] = c1\n"
     "%w: f32[20, 40] = cast(%e) {to = f32}\n"
     "%y: f32[3, 40] = matmul(%x, %w)\noutput %y\n", {0}, 0, 0},
};

// Equal bytes as weights of two shapes: each is packed for itself.
static const plugin_case twin_cases[] = {
    {"zeros, two shapes", "graph \"g\" stage float\n"
     "input %x: f32[2, 3]\ninput %z: f32[2, 2]\n"
     "const c1: f32[2, 3] = [1, 2, 3, 4, 5, 6]\n"
     "const c2: f32[3, 2] = [1, 2, 3, 4, 5, 6]\n"
     "%v: f32[2, 3] = c1\n%w: f32[3, 2] = c2\n"
     "%a: f32[2, 2] = matmul(%x, %v) {trans_b = 1}\n"
     "%b: f32[2, 3] = matmul(%z, %w) {trans_b = 1}\n"
     "output %a\noutput %b\n", {0}, 0, 0},
    {"convolutions", "graph \"g\" stage float\n"
     "input %x: f32[1, 2, 3, 3]\ninput %z: f32[1, 3, 3, 3]\n"
     "const c1: f32[3, 2, 1, 1] = [1, 2, 3, 4, 5, 6]\n"
     "const c2: f32[2, 3, 1, 1] = [1, 2, 3, 4, 5, 6]\n"
     "%v: f32[3, 2, 1, 1] = c1\n%w: f32[2, 3, 1, 1] = c2\n"
     "%a: f32[1, 3, 3, 3] = conv(%x, %v) {kernel = [1, 1]}\n"
     "%b: f32[1, 2, 3, 3] = conv(%z, %w) {kernel = [1, 1]}\n"
     "output %a\noutput %b\n", {0}, 0, 0},
    {"transposed copies", "graph \"g\" stage float\n"
     "input %x: f32[2, 2]\nconst c1: f32[2, 3] = [1, 2, 3, 4, 5, 6]\n"
     "const c2: f32[3, 2] = [1, 2, 3, 4, 5, 6]\n"
     "%v: f32[2, 3] = c1\n%w: f32[3, 2] = c2\n"
     "%a: f32[2, 3] = matmul(%x, %v)\n"
     "%b: f32[2, 2] = matmul(%a, %w)\noutput %b\n", {0}, 0, 0},
};

// A product times a value that is there: one step, unless something else reads
// the product or the value comes later.
#define GATE_HEAD                                                              \
    "graph \"g\" stage float\nsymbol T = [1, 99]\ninput %x: f32[T, 37]\n"       \
    "const c1: $f32[50, 37]\nconst c2: $f32[50, 37]\n"                         \
    "%v: f32[50, 37] = c1\n%w: f32[50, 37] = c2\n"
static const plugin_case gate_cases[] = {
    {"silu(gate) * up", GATE_HEAD
     "%g: f32[T, 50] = matmul(%x, %v) {trans_b = 1, act = silu}\n"
     "%u: f32[T, 50] = matmul(%x, %w) {trans_b = 1}\n"
     "%y: f32[T, 50] = mul(%g, %u)\noutput %y\n", {3}, 1, 0},
    {"up * silu(gate), gate last", GATE_HEAD
     "%u: f32[T, 50] = matmul(%x, %w) {trans_b = 1}\n"
     "%g: f32[T, 50] = matmul(%x, %v) {trans_b = 1, act = silu}\n"
     "%y: f32[T, 50] = mul(%u, %g)\noutput %y\n", {17}, 1, 0},
    {"the product is an output, too", GATE_HEAD
     "%g: f32[T, 50] = matmul(%x, %v) {trans_b = 1}\n"
     "%u: f32[T, 50] = matmul(%x, %w) {trans_b = 1}\n"
     "%y: f32[T, 50] = mul(%g, %u)\noutput %u\noutput %y\n", {2}, 1, 0},
    {"squared", GATE_HEAD
     "%u: f32[T, 50] = matmul(%x, %w) {trans_b = 1}\n"
     "%y: f32[T, 50] = mul(%u, %u)\noutput %y\n", {2}, 1, 0},
    {"one factor per row", GATE_HEAD
     "input %f: f32[T, 1]\n"
     "%u: f32[T, 50] = matmul(%x, %w) {trans_b = 1}\n"
     "%y: f32[T, 50] = mul(%u, %f)\noutput %y\n", {5}, 1, 0},
    {"an input, then more", GATE_HEAD
     "input %f: f32[T, 50]\n"
     "%u: f32[T, 50] = matmul(%x, %w) {trans_b = 1}\n"
     "%m: f32[T, 50] = mul(%f, %u)\n%y: f32[T, 50] = exp(%m)\n"
     "output %y\n", {5}, 1, 0},
    {"a factor made later", GATE_HEAD
     "%u: f32[T, 50] = matmul(%x, %w) {trans_b = 1}\n"
     "%a: f32[T, 50] = matmul(%x, %v) {trans_b = 1}\n"
     "%s: f32[T, 50] = softmax(%a) {axis = 1}\n"
     "%y: f32[T, 50] = mul(%u, %s)\noutput %y\n", {4}, 1, 0},
};

static const plugin_case embedding_cases[] = {
    {"bytes", "graph \"g\" stage float\n"
     "input %t: i32[2, 3]\nconst c1: $u8[9, 10]\nconst c2: $i8[9, 6]\n"
     "%e: u8[9, 10] = c1\n%f: i8[9, 6] = c2\n"
     "%g: u8[2, 3, 10] = gather(%e, %t)\n%h: i8[2, 3, 6] = gather(%f, %t)\n"
     "%x: f32[2, 3, 10] = cast(%g) {to = f32}\n"
     "%y: f32[2, 3, 6] = cast(%h) {to = f32}\noutput %x\noutput %y\n",
     {0}, 0, 9},
};
#define LIST_16(x)                                                             \
    x ", " x ", " x ", " x ", " x ", " x ", " x ", " x ", " x ", " x ", " x   \
      ", " x ", " x ", " x ", " x ", " x
#define LIST_36(x) LIST_16(x) ", " LIST_16(x) ", " x ", " x ", " x ", " x
#define QUANT(name, format, symmetric, scales, zeros, group)                   \
    "quant " name " = {format = " format ", granularity = group, axis = 1, "   \
    "group = " group ", symmetric = " symmetric ", dynamic = 0, scale = "      \
    scales ", zero_point = " zeros "}\n"
#define LIST_35(x)                                                             \
    LIST_16(x) ", " LIST_16(x) ", " x ", " x ", " x
#define QUANT_CHANNEL(name, format, axis)                                      \
    "quant " name " = {format = " format ", granularity = channel, axis = "    \
    axis ", group = 0, symmetric = 1, dynamic = 0, scale = c1, "               \
    "zero_point = c2}\n"

// Any bytes are weights: also NaN, and in e5m2 infinity.
static const plugin_case number_cases[] = {
    {"e4m3, channels", "graph \"g\" stage quantized\nsymbol T = [1, 99]\n"
     "const c1: $f32[35]\n"
     "const c2: i32[35] = [" LIST_35("0") "]\n"
     "const c3: $f8e4m3[35, 77]\nconst c4: $f32[35]\n"
     QUANT_CHANNEL("q1", "f8e4m3", "0")
     "input %x: f32[2, T, 77]\n%w: f8e4m3[35, 77] q1 = c3\n"
     "%b: f32[35] = c4\n"
     "%a: f32[2, T, 35] = matmul(%x, %w, %b) {trans_b = 1, act = silu}\n"
     "%y: f32[2, T, 35] = matmul(%x, %w, _, %a) {trans_b = 1}\noutput %y\n",
     {1}, 1, 0},
    {"e5m2, channels, [k, n]", "graph \"g\" stage quantized\n"
     "symbol T = [1, 99]\nconst c1: $f32[35]\n"
     "const c2: i32[35] = [" LIST_35("0") "]\n"
     "const c3: $f8e5m2[18, 35]\n" QUANT_CHANNEL("q1", "f8e5m2", "1")
     "input %x: f32[T, 18]\n%w: f8e5m2[18, 35] q1 = c3\n"
     "%y: f32[T, 35] = matmul(%x, %w)\noutput %y\n", {13}, 1, 0},
    {"e4m3, groups", "graph \"g\" stage quantized\nsymbol T = [1, 99]\n"
     "const c1: $f32[36, 5]\n"
     "const c2: i32[36, 5] = [" LIST_36("0, 0, 0, 0, 0") "]\n"
     "const c3: $f8e4m3[36, 75]\n"
     QUANT("q1", "f8e4m3", "1", "c1", "c2", "16")
     "input %x: f32[T, 75]\n%w: f8e4m3[36, 75] q1 = c3\n"
     "%y: f32[T, 36] = matmul(%x, %w) {trans_b = 1}\noutput %y\n",
     {20}, 1, 0},
    {"e2m1, groups", "graph \"g\" stage quantized\nsymbol T = [1, 99]\n"
     "const c1: $f32[36, 5]\n"
     "const c2: i32[36, 5] = [" LIST_36("0, 0, 0, 0, 0") "]\n"
     "const c3: $f4e2m1[36, 75]\n"
     QUANT("q1", "f4e2m1", "1", "c1", "c2", "16")
     "input %x: f32[T, 75]\n%w: f4e2m1[36, 75] q1 = c3\n"
     "%y: f32[T, 36] = matmul(%x, %w) {trans_b = 1}\noutput %y\n",
     {20}, 1, 0},
    {"nf4, groups", "graph \"g\" stage quantized\nsymbol T = [1, 99]\n"
     "const c1: $f32[36, 3]\n"
     "const c2: i32[36, 3] = [" LIST_36("0, 0, 0") "]\n"
     "const c3: $nf4[36, 74]\n"
     QUANT("q1", "nf4", "1", "c1", "c2", "32")
     "input %x: f32[T, 74]\n%w: nf4[36, 74] q1 = c3\n"
     "%y: f32[T, 36] = matmul(%x, %w) {trans_b = 1}\noutput %y\n",
     {1}, 1, 0},
    {"nf4, groups of 96", "graph \"g\" stage quantized\nsymbol T = [1, 99]\n"
     "const c1: $f32[36, 3]\n"
     "const c2: i32[36, 3] = [" LIST_36("0, 0, 0") "]\n"
     "const c3: $nf4[36, 202]\n"
     QUANT("q1", "nf4", "1", "c1", "c2", "96")
     "input %x: f32[T, 202]\n%w: nf4[36, 202] q1 = c3\n"
     "%y: f32[T, 36] = matmul(%x, %w) {trans_b = 1}\noutput %y\n",
     {9}, 1, 0},
    {"e4m3, groups of 192", "graph \"g\" stage quantized\n"
     "symbol T = [1, 99]\nconst c1: $f32[36, 2]\n"
     "const c2: i32[36, 2] = [" LIST_36("0, 0") "]\n"
     "const c3: $f8e4m3[36, 203]\n"
     QUANT("q1", "f8e4m3", "1", "c1", "c2", "192")
     "input %x: f32[T, 203]\n%w: f8e4m3[36, 203] q1 = c3\n"
     "%y: f32[T, 36] = matmul(%x, %w) {trans_b = 1}\noutput %y\n",
     {5}, 1, 0},
    {"nf4, channels, [k, n]", "graph \"g\" stage quantized\n"
     "symbol T = [1, 99]\nconst c1: $f32[36]\n"
     "const c2: i32[36] = [" LIST_36("0") "]\n"
     "const c3: $nf4[18, 36]\n" QUANT_CHANNEL("q1", "nf4", "1")
     "input %x: f32[T, 18]\n%w: nf4[18, 36] q1 = c3\n"
     "%y: f32[T, 36] = matmul(%x, %w)\noutput %y\n", {13}, 1, 0},
    {"large scales", "graph \"g\" stage quantized\n"
     "const c1: f32[1] = [1e36]\nconst c2: i32[1] = [0]\n"
     "const c3: $f8e4m3[7, 9]\n"
     "quant q1 = {format = f8e4m3, granularity = tensor, axis = 0, group = 0, "
     "symmetric = 1, dynamic = 0, scale = c1, zero_point = c2}\n"
     "input %x: f32[3, 9]\n%w: f8e4m3[7, 9] q1 = c3\n"
     "%y: f32[3, 7] = matmul(%x, %w) {trans_b = 1}\noutput %y\n",
     {0}, 0, 0},
};

// 36 rows of weights; scales per 16, 32 and 64 of the inner elements.
static const plugin_case group_cases[] = {
    {"u4, symmetric and not, one input", "graph \"g\" stage quantized\n"
     "symbol T = [1, 99]\n"
     "const c1: $f32[36, 5]\n"
     "const c2: i32[36, 5] = [" LIST_36("8, 8, 8, 8, 8") "]\n"
     "const c3: i32[36, 5] = [" LIST_36("0, 15, 7, 3, 9") "]\n"
     "const c4: $u4[36, 74]\nconst c5: $f32[36]\n"
     QUANT("q1", "u4", "1", "c1", "c2", "16")
     QUANT("q2", "u4", "0", "c1", "c3", "16")
     "input %x: f32[T, 74]\n%v: u4[36, 74] q1 = c4\n"
     "%w: u4[36, 74] q2 = c4\n%b: f32[36] = c5\n"
     "%a: f32[T, 36] = matmul(%x, %v, %b) {trans_b = 1}\n"
     "%y: f32[T, 36] = matmul(%x, %w, _, %a) {trans_b = 1, act = gelu}\n"
     "output %y\n", {1}, 1, 0},
    {"the same, more rows", "graph \"g\" stage quantized\n"
     "symbol T = [1, 99]\n"
     "const c1: $f32[36, 3]\n"
     "const c2: i32[36, 3] = [" LIST_36("8, 8, 8") "]\n"
     "const c3: i32[36, 3] = [" LIST_36("0, 15, 7") "]\n"
     "const c4: $u4[36, 78]\n"
     QUANT("q1", "u4", "1", "c1", "c2", "32")
     QUANT("q2", "u4", "0", "c1", "c3", "32")
     "input %x: f32[T, 78]\n%v: u4[36, 78] q1 = c4\n"
     "%w: u4[36, 78] q2 = c4\n"
     "%a: f32[T, 36] = matmul(%x, %v) {trans_b = 1}\n"
     "%y: f32[T, 36] = matmul(%x, %w, _, %a) {trans_b = 1}\n"
     "output %y\n", {13}, 1, 0},
    {"i4, and i8 in one group", "graph \"g\" stage quantized\n"
     "symbol T = [1, 99]\n"
     "const c1: $f32[36, 2]\nconst c2: $f32[36, 1]\n"
     "const c3: i32[36, 2] = [" LIST_36("0, 0") "]\n"
     "const c4: i32[36, 1] = [" LIST_36("0") "]\n"
     "const c5: $i4[36, 128]\nconst c6: $i8[36, 128]\n"
     QUANT("q1", "i4", "1", "c1", "c3", "64")
     QUANT("q2", "i8", "1", "c2", "c4", "256")
     "input %x: f32[2, T, 128]\n%v: i4[36, 128] q1 = c5\n"
     "%w: i8[36, 128] q2 = c6\n"
     "%a: f32[2, T, 36] = matmul(%x, %v) {trans_b = 1}\n"
     "%y: f32[2, T, 36] = matmul(%x, %w, _, %a) {trans_b = 1}\n"
     "output %y\n", {7}, 1, 0},
    {"one row, many columns", "graph \"g\" stage quantized\n"
     "const c1: $f32[272, 1]\nconst c2: $f32[1040, 1]\n"
     "const c3: i32[272, 1] = [" LIST_16(LIST_16("8")) ", " LIST_16("8") "]\n"
     "const c4: i32[1040, 1] = [" LIST_16(LIST_16("0, 1, -5, 3")) ", "
     LIST_16("7") "]\nconst c5: $u4[272, 48]\nconst c6: $i4[1040, 34]\n"
     QUANT("q1", "u4", "1", "c1", "c3", "48")
     QUANT("q2", "i4", "0", "c2", "c4", "48")
     "input %x: f32[1, 48]\ninput %z: f32[1, 34]\n"
     "%v: u4[272, 48] q1 = c5\n%w: i4[1040, 34] q2 = c6\n"
     "%a: f32[1, 272] = matmul(%x, %v) {trans_b = 1}\n"
     "%y: f32[1, 1040] = matmul(%z, %w) {trans_b = 1, act = silu}\n"
     "output %a\noutput %y\n", {0}, 0, 0},
    {"rows of zeros and of large numbers", "graph \"g\" stage quantized\n"
     "const c1: $f32[36, 2]\n"
     "const c2: i32[36, 2] = [" LIST_36("0, 0") "]\n"
     "const c3: $i8[36, 32]\n"
     "const c4: f32[4, 1] = [0, 1e30, inf, 1e-44]\n"
     QUANT("q1", "i8", "1", "c1", "c2", "16")
     "input %x: f32[4, 32]\n%v: i8[36, 32] q1 = c3\n%f: f32[4, 1] = c4\n"
     "%z: f32[4, 32] = mul(%x, %f)\n"
     "%y: f32[4, 36] = matmul(%z, %v) {trans_b = 1}\noutput %y\n",
     {0}, 0, 0},
};

// Scales that are exactly f16: two groups share a line of scales. K of 5 and
// 4 groups, and a last group that is shorter after an even and an odd number.
#define HALF_CASE(name, k, groups, group, zeros, rows)                         \
    {name, "graph \"g\" stage quantized\nsymbol T = [1, 99]\n"                \
     "const c1: $half[36, " groups "]\n"                                       \
     "const c2: i32[36, " groups "] = [" LIST_36(zeros) "]\n"                  \
     "const c3: $u4[36, " k "]\nconst c4: $i8[36, " k "]\n"                    \
     "const c5: i32[36, " groups "] = [" LIST_36(zeros) "]\n"                  \
     QUANT("q1", "u4", "0", "c1", "c2", group)                                 \
     QUANT("q2", "i8", "0", "c1", "c5", group)                                 \
     "input %x: f32[T, " k "]\n%v: u4[36, " k "] q1 = c3\n"                    \
     "%w: i8[36, " k "] q2 = c4\n"                                             \
     "%a: f32[T, 36] = matmul(%x, %v) {trans_b = 1}\n"                         \
     "%y: f32[T, 36] = matmul(%x, %w, _, %a) {trans_b = 1}\n"                  \
     "output %y\n", {rows}, 1, 0}

// Rows of codes become numbers; the product reads the same packed codes.
static const plugin_case table_cases[] = {
    {"u4 in groups, tied", "graph \"g\" stage quantized\n"
     "symbol T = [1, 99]\nconst c1: $half[36, 3]\n"
     "const c2: i32[36, 3] = [" LIST_36("0, 15, 7") "]\n"
     "const c3: $u4[36, 75]\nconst c4: $f32[75]\n"
     QUANT("q1", "u4", "0", "c1", "c2", "32")
     "input %t: i32[2, T]\n%w: u4[36, 75] q1 = c3\n%n: f32[75] = c4\n"
     "%x: f32[2, T, 75] = gather(%w, %t)\n"
     "%h: f32[2, T, 75] = rms_norm(%x, %n)\n"
     "%y: f32[2, T, 36] = matmul(%h, %w) {trans_b = 1}\noutput %y\noutput %x\n",
     {7}, 1, 36},
    {"i8 in groups, i64 indices", "graph \"g\" stage quantized\n"
     "const c1: $f32[36, 2]\n"
     "const c2: i32[36, 2] = [" LIST_36("0, 0") "]\nconst c3: $i8[36, 48]\n"
     QUANT("q1", "i8", "1", "c1", "c2", "32")
     "input %t: i64[5]\n%w: i8[36, 48] q1 = c3\n"
     "%x: f32[5, 48] = gather(%w, %t)\noutput %x\n", {0}, 0, 36},
    {"i4 per row", "graph \"g\" stage quantized\n"
     "const c1: $f32[36]\nconst c2: i32[36] = [" LIST_36("0") "]\n"
     "const c3: $i4[36, 530]\n"
     "quant q1 = {format = i4, granularity = channel, axis = 0, group = 0, "
     "symmetric = 1, dynamic = 0, scale = c1, zero_point = c2}\n"
     "input %t: i32[1, 3]\n%w: i4[36, 530] q1 = c3\n"
     "%x: f32[1, 3, 530] = gather(%w, %t)\noutput %x\n", {0}, 0, 36},
    {"bf16, tied", "graph \"g\" stage float\n"
     "input %t: i32[4]\nconst c1: $bf16[20, 9]\n%w: bf16[20, 9] = c1\n"
     "%g: bf16[4, 9] = gather(%w, %t)\n%x: f32[4, 9] = cast(%g) {to = f32}\n"
     "%y: f32[4, 20] = matmul(%x, %w) {trans_b = 1}\noutput %y\n", {0}, 0, 20},
};

static const plugin_case half_cases[] = {
    HALF_CASE("5 groups", "160", "5", "32", "0, 15, 7, 3, 9", 1),
    HALF_CASE("4 groups", "128", "4", "32", "0, 15, 7, 3", 13),
    HALF_CASE("5 groups, the last is shorter", "135", "5", "32",
              "0, 15, 7, 3, 9", 9),
    HALF_CASE("4 groups, the last is shorter", "52", "4", "16", "0, 15, 7, 3",
              3),
    HALF_CASE("1 group", "128", "1", "128", "8", 5),
    HALF_CASE("1 group, shorter", "7", "1", "16", "8", 2),
    HALF_CASE("many rows, group 32", "135", "5", "32", "0, 15, 7, 3, 9", 70),
    HALF_CASE("many rows, group 128", "300", "3", "128", "8, 8, 8", 99),
    HALF_CASE("many rows, group 16", "52", "4", "16", "0, 15, 7, 3", 48),
    HALF_CASE("group 96", "192", "2", "96", "0, 15", 1),
    HALF_CASE("group 96, the last is shorter", "205", "3", "96", "0, 15, 7", 7),
    HALF_CASE("many rows, group 96", "292", "4", "96", "0, 15, 7, 3", 70),
    HALF_CASE("group 192, the last is shorter", "201", "2", "192", "0, 15", 1),
    HALF_CASE("many rows, group 192", "384", "2", "192", "0, 15", 51),
};

// Codes per row times codes with scales per group or of 4 bits.
#define TOKEN_CASE(name, format, k, scales, quant, rows)                       \
    {name, "graph \"g\" stage quantized\nsymbol T = [1, 99]\n"                \
     scales "const c3: $" format "[36, " k "]\nconst c4: $f32[36]\n" quant     \
     "quant q2 = {format = i8, granularity = token, axis = 0, group = 0, "     \
     "symmetric = 1, dynamic = 1}\n"                                           \
     "input %x: f32[2, T, " k "]\n%w: " format "[36, " k "] q1 = c3\n"         \
     "%b: f32[36] = c4\n"                                                      \
     "%c: i8[2, T, " k "] q2, %s: f32[2, T, 1] = dynamic_quantize(%x)\n"       \
     "%a: f32[2, T, 36] = matmul(%c, %w, %b, _, %s) {trans_b = 1, "            \
     "act = silu}\n"                                                           \
     "%y: f32[2, T, 36] = matmul(%c, %w, _, %a, %s) {trans_b = 1}\n"           \
     "output %y\n", {rows}, 1, 0}
#define CHANNEL_QUANT(format, symmetric)                                       \
    "quant q1 = {format = " format ", granularity = channel, axis = 0, "       \
    "group = 0, symmetric = " symmetric ", dynamic = 0, scale = c1, "          \
    "zero_point = c2}\n"
#define SCALES(groups, zeros)                                                  \
    "const c1: $f32[36, " groups "]\n"                                         \
    "const c2: i32[36, " groups "] = [" LIST_36(zeros) "]\n"

static const plugin_case token_cases[] = {
    TOKEN_CASE("i4, one row each", "i4", "128", SCALES("4", "0, 0, 0, 0"),
               QUANT("q1", "i4", "1", "c1", "c2", "32"), 1),
    TOKEN_CASE("u4 with zero points", "u4", "141", SCALES("5", "0, 15, 7, 3, 9"),
               QUANT("q1", "u4", "0", "c1", "c2", "32"), 7),
    TOKEN_CASE("i8, a shorter group", "i8", "74", SCALES("5", "0, 0, 0, 0, 0"),
               QUANT("q1", "i8", "1", "c1", "c2", "16"), 13),
    TOKEN_CASE("i4 per channel", "i4", "74",
               "const c1: $f32[36]\nconst c2: i32[36] = [" LIST_36("0") "]\n",
               CHANNEL_QUANT("i4", "1"), 5),
    TOKEN_CASE("u4 per channel", "u4", "32",
               "const c1: $half[36]\nconst c2: i32[36] = [" LIST_36("5") "]\n",
               CHANNEL_QUANT("u4", "0"), 25),
    // a sum of 0 times a negative scale: +0, whatever the bias would hide
    {"zeros without bias", "graph \"g\" stage quantized\n"
     "const c1: $f32[36]\nconst c2: i32[36] = [" LIST_36("0") "]\n"
     "const c3: $i4[36, 74]\n" CHANNEL_QUANT("i4", "1")
     "quant q2 = {format = i8, granularity = token, axis = 0, group = 0, "
     "symmetric = 1, dynamic = 1}\n"
     "input %x: f32[2, 74]\nconst c4: f32[2, 1] = [0, 1]\n"
     "%w: i4[36, 74] q1 = c3\n%f: f32[2, 1] = c4\n"
     "%z: f32[2, 74] = mul(%x, %f)\n"
     "%c: i8[2, 74] q2, %s: f32[2, 1] = dynamic_quantize(%z)\n"
     "%y: f32[2, 36] = matmul(%c, %w, _, _, %s) {trans_b = 1}\noutput %y\n",
     {0}, 0, 0},
    TOKEN_CASE("many rows, u4", "u4", "141", SCALES("5", "0, 15, 7, 3, 9"),
               QUANT("q1", "u4", "0", "c1", "c2", "32"), 50),
    TOKEN_CASE("many rows, i8 by 64", "i8", "260",
               SCALES("5", "0, 0, 0, 0, 0"),
               QUANT("q1", "i8", "1", "c1", "c2", "64"), 41),
    TOKEN_CASE("u4 by 96, a shorter group", "u4", "205",
               SCALES("3", "0, 15, 7"),
               QUANT("q1", "u4", "0", "c1", "c2", "96"), 3),
    TOKEN_CASE("many rows, i8 by 192", "i8", "384", SCALES("2", "0, 0"),
               QUANT("q1", "i8", "1", "c1", "c2", "192"), 41),
    TOKEN_CASE("many rows, i4 per channel", "i4", "74",
               "const c1: $f32[36]\nconst c2: i32[36] = [" LIST_36("0") "]\n",
               CHANNEL_QUANT("i4", "1"), 99),
};
// clang-format on

static void
twins(void **state)
{
    (void)state;
    PLUGIN_CHECK(twin_cases);
}

static void
gates(void **state)
{
    (void)state;
    PLUGIN_CHECK(gate_cases);
}

static void
tables(void **state)
{
    (void)state;
    PLUGIN_CHECK(table_cases);
}

static void
half_scales(void **state)
{
    (void)state;
    PLUGIN_CHECK(half_cases);
}

static void
tokens(void **state)
{
    (void)state;
    PLUGIN_CHECK(token_cases);
}

static void
groups(void **state)
{
    (void)state;
    PLUGIN_CHECK(group_cases);
}

static void
numbers(void **state)
{
    (void)state;
    PLUGIN_CHECK(number_cases);
}

static void
short_weights(void **state)
{
    (void)state;
    PLUGIN_CHECK(short_cases);
}

static void
embeddings(void **state)
{
    (void)state;
    PLUGIN_CHECK(embedding_cases);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(short_weights), cmocka_unit_test(embeddings),
        cmocka_unit_test(groups),        cmocka_unit_test(half_scales),
        cmocka_unit_test(tables),        cmocka_unit_test(twins),
        cmocka_unit_test(tokens),        cmocka_unit_test(numbers),
        cmocka_unit_test(gates),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
