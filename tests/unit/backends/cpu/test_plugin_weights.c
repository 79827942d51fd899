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

static const plugin_case embedding_cases[] = {
    {"bytes", "graph \"g\" stage float\n"
     "input %t: i32[2, 3]\nconst c1: $u8[9, 10]\nconst c2: $i8[9, 6]\n"
     "%e: u8[9, 10] = c1\n%f: i8[9, 6] = c2\n"
     "%g: u8[2, 3, 10] = gather(%e, %t)\n%h: i8[2, 3, 6] = gather(%f, %t)\n"
     "%x: f32[2, 3, 10] = cast(%g) {to = f32}\n"
     "%y: f32[2, 3, 6] = cast(%h) {to = f32}\noutput %x\noutput %y\n",
     {0}, 0, 9},
};
// clang-format on

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
        cmocka_unit_test(short_weights),
        cmocka_unit_test(embeddings),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
