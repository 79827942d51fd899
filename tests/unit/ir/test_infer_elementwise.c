// SPDX-License-Identifier: Apache-2.0
//
// Elementwise ops: types and broadcasting.
#include "tests/unit/ir/ir_test.h"

static const ir_case cases[] = {
    {"%x: f32[N, 3]", "%y: f32[N, 3] = relu(%x)", NULL},
    {"%x: f16[]", "%y: f16[] = exp(%x)", NULL},
    {"%x: bool[2]", "%y: bool[2] = not(%x)", NULL},
    {"%x: f32[2]", "%y: f32[2] = not(%x)", "expected bool, found f32"},
    {"%x: f32[2]", "%y: bool[2] = is_nan(%x)", NULL},
    {"%x: f32[2]", "%y: i64[2] = cast(%x) {to = i64}", NULL},
    {"%x: f32[2]", "%y: i64[2] = cast(%x)", "to is missing"},
    {"%x: f32[2, 3]; %w: f32[3]", "%y: f32[2, 3] = add(%x, %w)", NULL},
    {"%x: f32[3]; %w: f32[2, 1]", "%y: f32[2, 3] = mul(%x, %w)", NULL},
    {"%x: f32[N, 1]; %w: f32[1, M]", "%y: f32[N, M] = mul(%x, %w)", NULL},
    {"%x: f32[N]; %w: f32[M]", "%y: f32[N] = mul(%x, %w)", NULL},
    {"%x: f32[N]; %w: f32[7]", "%y: f32[7] = mul(%x, %w)", NULL},
    {"%x: f32[1]; %w: f32[0]", "%y: f32[0] = mul(%x, %w)", NULL},
    {"%x: f32[2]; %w: f32[3]", "%y: f32[3] = add(%x, %w)",
     "input 1: 3 does not broadcast with 2"},
    {"%x: f32[N + 2]; %w: f32[N + 3]", "%y: f32[N + 2] = add(%x, %w)",
     "does not broadcast"},
    {"%x: f32[0]; %w: f32[3]", "%y: f32[0] = add(%x, %w)",
     "does not broadcast"},
    {"%x: f32[2]; %w: f16[2]", "%y: f32[2] = add(%x, %w)",
     "input 1: expected f32, found f16"},
    {"%x: f32[2]; %w: i64[2]", "%y: f32[2] = pow(%x, %w)", NULL},
    {"%x: i64[2]; %w: i64[1]", "%y: bool[2] = equal(%x, %w)", NULL},
    {"%x: i64[2]; %w: i32[1]", "%y: bool[2] = equal(%x, %w)", "input 1"},
    {"%x: bool[2]; %w: bool[1]", "%y: bool[2] = xor(%x, %w)", NULL},
    {"%x: i8[2]; %w: i8[1]", "%y: i8[2] = xor(%x, %w)", "expected bool"},
    {"%c: bool[2, 1]; %x: f32[3]; %w: f32[]",
     "%y: f32[2, 3] = where(%c, %x, %w)", NULL},
    {"%c: f32[2, 1]; %x: f32[3]; %w: f32[]",
     "%y: f32[2, 3] = where(%c, %x, %w)", "input 0: expected bool"},
    {"%c: bool[2]; %x: f32[2]; %w: f64[]", "%y: f32[2] = where(%c, %x, %w)",
     "input 2"},
};

static void
test_elementwise(void **state)
{
    (void)state;
    IR_CHECK(cases);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_elementwise),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
