// SPDX-License-Identifier: Apache-2.0
//
// Attention and rope through the plugin against the interpreter: bit for bit,
// at every level.
#include "tests/unit/backends/cpu/plugin_check.h"

// clang-format off
static const plugin_case attention_cases[] = {
    {"plain", "graph \"g\" stage float\n"
     "input %q: f32[2, 3, 17, 20]\ninput %k: f32[2, 3, 37, 20]\n"
     "input %v: f32[2, 3, 37, 24]\n"
     "%y: f32[2, 3, 17, 24] = attention(%q, %k, %v)\noutput %y\n", {0}, 0, 0},
    {"causal, groups", "graph \"g\" stage float\nsymbol T = [1, 99]\n"
     "input %q: f32[1, 6, T, 32]\ninput %k: f32[1, 2, T, 32]\n"
     "input %v: f32[1, 2, T, 7]\n"
     "%y: f32[1, 6, T, 7] = attention(%q, %k, %v) {causal = 1, scale = 0.3}\n"
     "output %y\n", {67}, 1, 0},
    {"one query", "graph \"g\" stage float\n"
     "input %q: f32[1, 4, 1, 64]\ninput %k: f32[1, 1, 33, 64]\n"
     "input %v: f32[1, 1, 33, 64]\n"
     "%y: f32[1, 4, 1, 64] = attention(%q, %k, %v) {causal = 1}\n"
     "output %y\n", {0}, 0, 0},
    {"mask", "graph \"g\" stage float\n"
     "input %q: f32[2, 2, 5, 9]\ninput %k: f32[2, 2, 18, 9]\n"
     "input %v: f32[2, 2, 18, 130]\ninput %m: f32[2, 1, 1, 18]\n"
     "input %n: f32[5, 18]\n"
     "%a: f32[2, 2, 5, 130] = attention(%q, %k, %v, %m)\n"
     "%y: f32[2, 2, 5, 130] = attention(%q, %k, %v, %n)\n"
     "output %y\noutput %a\n", {0}, 0, 0},
    {"positions, short keys", "graph \"g\" stage float\n"
     "input %q: f32[2, 8, 11, 48]\ninput %a: f32[2, 2, 40, 48]\n"
     "input %b: f32[2, 2, 40, 80]\ninput %p: i32[2, 11]\n"
     "%k: f16[2, 2, 40, 48] = cast(%a) {to = f16}\n"
     "%v: bf16[2, 2, 40, 80] = cast(%b) {to = bf16}\n"
     "%y: f32[2, 8, 11, 80] = attention(%q, %k, %v, _, %p)\noutput %y\n",
     {0}, 0, 50},
    {"many queries", "graph \"g\" stage float\n"
     "input %q: f32[1, 4, 31, 16]\ninput %k: f32[1, 2, 70, 16]\n"
     "input %v: f32[1, 2, 70, 16]\ninput %p: i32[1, 31]\n"
     "%y: f32[1, 4, 31, 16] = attention(%q, %k, %v, _, %p)\noutput %y\n",
     {0}, 0, 80},
    {"transposed around", "graph \"g\" stage float\n"
     "input %x: f32[2, 13, 96]\n"
     "%r: f32[2, 13, 4, 24] = reshape(%x) {shape = [2, 13, 4, 24]}\n"
     "%q: f32[2, 4, 13, 24] = transpose(%r) {perm = [0, 2, 1, 3]}\n"
     "%a: f32[2, 4, 13, 24] = attention(%q, %q, %q)\n"
     "%t: f32[2, 13, 4, 24] = transpose(%a) {perm = [0, 2, 1, 3]}\n"
     "%y: f32[2, 13, 96] = reshape(%t) {shape = [2, 13, 96]}\n"
     "output %y\n", {0}, 0, 0},
};

static const plugin_case rope_cases[] = {
    {"halves", "graph \"g\" stage float\n"
     "input %x: f32[2, 3, 5, 40]\ninput %p: i32[2, 5]\n"
     "const c1: $f32[20]\n%f: f32[20] = c1\n"
     "%y: f32[2, 3, 5, 40] = rope(%x, %p, %f)\noutput %y\n", {0}, 0, 500},
    {"interleaved", "graph \"g\" stage float\n"
     "input %x: f32[2, 3, 5, 42]\ninput %p: i32[2, 5]\n"
     "const c1: $f32[21]\n%f: f32[21] = c1\n"
     "%y: f32[2, 3, 5, 42] = rope(%x, %p, %f) {mode = 1}\noutput %y\n",
     {0}, 0, 500},
    {"part of a row", "graph \"g\" stage float\nsymbol T = [1, 99]\n"
     "input %x: f32[1, T, 2, 19]\ninput %p: i32[1, T]\n"
     "const c1: $f32[3]\n%f: f32[3] = c1\n"
     "%t: f32[1, 2, T, 19] = transpose(%x) {perm = [0, 2, 1, 3]}\n"
     "%a: f32[1, 2, T, 19] = rope(%t, %p, %f)\n"
     "%b: f32[1, 2, T, 19] = rope(%a, %p, %f) {mode = 1}\n"
     "%y: f32[1, 2, T, 19] = add(%b, %a)\noutput %y\n", {9}, 1, 100000},
    {"large", "graph \"g\" stage float\n"
     "input %x: f32[1, 9, 31, 64]\ninput %p: i32[1, 31]\n"
     "const c1: $f32[32]\n%f: f32[32] = c1\n"
     "%y: f32[1, 9, 31, 64] = rope(%x, %p, %f)\noutput %y\n", {0}, 0, 2000},
};
// clang-format on

static void
attention(void **state)
{
    (void)state;
    PLUGIN_CHECK(attention_cases);
}

static void
rope(void **state)
{
    (void)state;
    PLUGIN_CHECK(rope_cases);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(attention),
        cmocka_unit_test(rope),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
