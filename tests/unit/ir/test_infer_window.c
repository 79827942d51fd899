// SPDX-License-Identifier: Apache-2.0
//
// Convolutions and pooling: output sizes, symbolic sizes, what is refused.
#include "tests/unit/ir/ir_test.h"

#define XW "%x: f32[1, 3, 8, 9]; %w: f32[4, 3, 3, 3]"
#define DW "%x: f32[N, 4, M, M]; %w: f32[4, 1, 3, 3]"

static const ir_case conv_cases[] = {
    {XW, "%y: f32[1, 4, 6, 7] = conv(%x, %w)", NULL},
    {XW, "%y: f32[1, 4, 6, 8] = conv(%x, %w)", "another type"},
    {XW,
     "%y: f32[1, 4, 4, 5] = conv(%x, %w) {strides = [2, 2], "
     "pads = [1, 1, 1, 1]}",
     NULL},
    {XW, "%y: f32[1, 4, 4, 5] = conv(%x, %w) {dilations = [2, 2]}", NULL},
    {XW "; %b: f32[4]; %r: f32[1, 4, 6, 7]",
     "%y: f32[1, 4, 6, 7] = conv(%x, %w, %b, %r) {act = relu}", NULL},
    {XW "; %r: f32[1, 4, 6, 7]", "%y: f32[1, 4, 6, 7] = conv(%x, %w, _, %r)",
     NULL},
    {DW,
     "%y: f32[N, 4, (M + 1)/2, (M + 1)/2] = conv(%x, %w) {group = 4, "
     "strides = [2, 2], pads = [1, 1, 1, 1]}",
     NULL},
    {"%x: f32[2, 6, 10]; %w: f32[4, 3, 1]",
     "%y: f32[2, 4, 10] = conv(%x, %w) {group = 2}", NULL},
    {"%x: u8[1, 3, 8, 8]; %w: i8[4, 3, 1, 1]",
     "%y: i32[1, 4, 8, 8] = conv(%x, %w)", NULL},
    {"%x: f32[N, 3, E, E]; %w: f32[4, 3, 2, 2]",
     "%y: f32[N, 4, E/2, E/2] = conv(%x, %w) {strides = [2, 2]}", NULL},
    {XW "; %b: f32[5]", "%y: f32[1, 4, 6, 7] = conv(%x, %w, %b)",
     "input 2: expected 4 elements on axis 0, found 5"},
    {XW "; %r: f32[1, 4, 6, 6]", "%y: f32[1, 4, 6, 7] = conv(%x, %w, _, %r)",
     "input 3: expected 7 elements on axis 3"},
    {"%x: f32[1, 4, 8, 8]; %w: f32[4, 3, 3, 3]",
     "%y: f32[1, 4, 6, 6] = conv(%x, %w)",
     "input 0: expected 3 elements on axis 1, found 4"},
    {"%x: f32[1, 3, 8]; %w: f32[4, 3, 3, 3]", "%y: f32[1, 4, 6] = conv(%x, %w)",
     "input 1: expected rank 3, found 4"},
    {"%x: f32[1, 3]; %w: f32[4, 3]", "%y: f32[1, 4] = conv(%x, %w)",
     "input 0: expected rank 3 to 8, found 2"},
    {XW, "%y: f32[1, 4, 6, 7] = conv(%x, %w) {group = 0}", "group"},
    {"%x: f32[1, 6, 8, 8]; %w: f32[4, 2, 3, 3]",
     "%y: f32[1, 4, 6, 6] = conv(%x, %w) {group = 3}", "does not divide"},
    {XW, "%y: f32[1, 4, 6, 7] = conv(%x, %w) {strides = [0, 1]}", "strides"},
    {XW, "%y: f32[1, 4, 6, 7] = conv(%x, %w) {strides = [-1, 1]}", "strides"},
    {XW, "%y: f32[1, 4, 6, 7] = conv(%x, %w) {strides = [1]}",
     "strides: expected 2 numbers, found 1"},
    {XW, "%y: f32[1, 4, 6, 7] = conv(%x, %w) {dilations = [1, 0]}",
     "dilations"},
    {XW, "%y: f32[1, 4, 6, 7] = conv(%x, %w) {pads = [1, 1]}",
     "pads: expected 4 numbers"},
    {XW, "%y: f32[1, 4, 6, 7] = conv(%x, %w) {pads = [0, 0, -1, 0]}", "pads"},
    {XW, "%y: f32[1, 4, 6, 7] = conv(%x, %w) {strides = [4294967296, 1]}",
     "strides"},
    {XW, "%y: f32[1, 4, 6, 7] = conv(%x, %w) {kernel = [5, 3]}", "input 1"},
    {"%x: f32[1, 3, 2, 2]; %w: f32[4, 3, 3, 3]",
     "%y: f32[1, 4, 0, 0] = conv(%x, %w)", "smaller than the window"},
    {"%x: f32[1, 3, 2, 2]; %w: f32[4, 3, 0, 3]",
     "%y: f32[1, 4, 0, 0] = conv(%x, %w)", "kernel is empty"},
    {XW, "%y: f32[1, 4, 6, 7] = conv(%x, %w) {act = add}", "elementwise"},
    {XW, "%y: f32[1, 4, 6, 7] = conv(%x)", "expected 2 to 4 inputs, found 1"},
    {XW, "%y: f32[1, 4, 6, 7] = conv(_, %w)", "input 0 is absent"},
};

static const ir_case transpose_cases[] = {
    {"%x: f32[1, 4, 5, 5]; %w: f32[4, 3, 3, 3]",
     "%y: f32[1, 3, 7, 7] = conv_transpose(%x, %w)", NULL},
    {"%x: f32[1, 4, 5, 5]; %w: f32[4, 3, 3, 3]",
     "%y: f32[1, 3, 10, 10] = conv_transpose(%x, %w) {strides = [2, 2], "
     "pads = [1, 1, 1, 1], output_padding = [1, 1]}",
     NULL},
    {"%x: f32[N, 4, M, 5]; %w: f32[4, 3, 2, 2]; %b: f32[6]",
     "%y: f32[N, 6, M*2, 10] = conv_transpose(%x, %w, %b) {strides = [2, 2], "
     "group = 2}",
     NULL},
    {"%x: f32[1, 3, 5, 5]; %w: f32[4, 3, 3, 3]",
     "%y: f32[1, 3, 7, 7] = conv_transpose(%x, %w)",
     "input 0: expected 4 elements on axis 1, found 3"},
    {"%x: f32[1, 4, 1, 1]; %w: f32[4, 3, 1, 1]",
     "%y: f32[1, 3, 0, 0] = conv_transpose(%x, %w) {pads = [1, 1, 1, 1]}",
     "smaller than the window"},
};

#define X "%x: f32[1, 4, 7, 8]"

static const ir_case pool_cases[] = {
    {X,
     "%y: f32[1, 4, 3, 4] = max_pool(%x) {strides = [2, 2], "
     "kernel = [2, 2]}",
     NULL},
    {X,
     "%y: f32[1, 4, 4, 4] = avg_pool(%x) {strides = [2, 2], "
     "kernel = [2, 2], ceil = 1}",
     NULL},
    // The last window would start in the padding: one fewer.
    {"%x: f32[1, 1, 3, 3]",
     "%y: f32[1, 1, 2, 2] = max_pool(%x) {strides = [2, 2], "
     "pads = [1, 1, 1, 1], kernel = [2, 2], ceil = 1}",
     NULL},
    {"%x: f32[N, 4, M, M]",
     "%y: f32[N, 4, (M + 1)/2, (M + 1)/2] = max_pool(%x) {strides = [2, 2], "
     "pads = [1, 1, 1, 1], kernel = [3, 3]}",
     NULL},
    {X, "%y: f32[1, 4, 7, 8] = max_pool(%x)", "kernel"},
    {X, "%y: f32[1, 4, 7, 8] = max_pool(%x) {kernel = [0, 1]}", "kernel"},
    {X, "%y: f32[1, 4, 7, 8] = max_pool(%x) {kernel = [9, 1]}",
     "smaller than the window"},
    {X,
     "%y: f32[1, 4, 7, 8] = max_pool(%x) {pads = [2, 0, 2, 0], "
     "kernel = [2, 1]}",
     "not smaller"},
    {X, "%y: f32[1, 4, 7, 8] = max_pool(%x) {kernel = [1, 1], ceil = 7}",
     "ceil"},
};

static void
test_conv(void **state)
{
    (void)state;
    IR_CHECK(conv_cases);
}

static void
test_conv_transpose(void **state)
{
    (void)state;
    IR_CHECK(transpose_cases);
}

static void
test_pool(void **state)
{
    (void)state;
    IR_CHECK(pool_cases);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_conv),
        cmocka_unit_test(test_conv_transpose),
        cmocka_unit_test(test_pool),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
