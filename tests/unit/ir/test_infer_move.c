// SPDX-License-Identifier: Apache-2.0
//
// Ops that move elements.
#include "tests/unit/ir/ir_test.h"

#define X "%x: f32[2, 3, 4]"

static const ir_case shape_cases[] = {
    {X, "%y: f32[6, 4] = reshape(%x) {shape = [6, 4]}", NULL},
    {X, "%y: f32[] = reshape(%x) {shape = []}", "24 elements do not fit"},
    {"%x: f32[1, 1]", "%y: f32[] = reshape(%x) {shape = []}", NULL},
    {"%x: f32[N, 4, M]", "%y: f32[N*4, M] = reshape(%x) {shape = [N*4, M]}",
     NULL},
    {"%x: f32[N, 4]", "%y: f32[N, 5] = reshape(%x) {shape = [N, 5]}",
     "another element count"},
    {X, "%y: f32[5, 5] = reshape(%x) {shape = [5, 5]}", "do not fit"},
    {X, "%y: f32[-6, -4] = reshape(%x) {shape = [-6, -4]}", "negative"},
    {X, "%y: f32[24] = reshape(%x)", "shape is missing"},
    {X,
     "%y: f32[24, 1, 1, 1, 1, 1, 1, 1] = reshape(%x) {shape = [24, 1, 1, "
     "1, 1, 1, 1, 1, 1]}",
     "at most 8"},
    {X, "%y: f32[4, 2, 3] = transpose(%x) {perm = [2, 0, 1]}", NULL},
    {X, "%y: f32[4, 2, 3] = transpose(%x) {perm = [2, 0, 0]}", "twice"},
    {X, "%y: f32[4, 2, 3] = transpose(%x) {perm = [2, 0]}", "perm"},
    {X, "%y: f32[4, 2, 3] = transpose(%x) {perm = [2, 0, 3]}", "perm"},
    {X, "%y: f32[4, 2, 3] = transpose(%x)", "perm is missing"},
    {"%x: f32[3, 1]", "%y: f32[2, 3, 4] = expand(%x) {shape = [2, 1, 4]}",
     NULL},
    {"%x: f32[3, 1]", "%y: f32[3, 1] = expand(%x) {shape = [2, 1]}",
     "does not broadcast"},
    {X, "%y: f32[2, 6, 4] = tile(%x) {repeats = [1, 2, 1]}", NULL},
    {X, "%y: f32[2, 6, 4] = tile(%x) {repeats = [1, 2]}", "repeats"},
    {X, "%y: f32[-2, 3, 4] = tile(%x) {repeats = [-1, 1, 1]}", "negative"},
    {"%x: f32[N]", "%y: i64[1] = shape(%x)", NULL},
    {"", "%y: i64[5] = range() {shape = [5], start = [2], delta = 3}", NULL},
    {"", "%y: f32[N] = range() {shape = [N], start = [0], to = f32}", NULL},
    {"", "%y: i64[5] = range() {shape = [5]}", "start is missing"},
};

static const ir_case slice_cases[] = {
    {X, "%y: f32[2, 2, 4] = slice(%x) {axes = [1], starts = [1], ends = [3]}",
     NULL},
    {X,
     "%y: f32[2, 3, 2] = slice(%x) {axes = [-1], starts = [0], ends = [4], "
     "steps = [2]}",
     NULL},
    {X,
     "%y: f32[2, 3, 4] = slice(%x) {axes = [2], starts = [3], ends = [-1], "
     "steps = [-1]}",
     NULL},
    {X, "%y: f32[2, 3, 0] = slice(%x) {axes = [2], starts = [3], ends = [1]}",
     NULL},
    {"%x: f32[N, M]",
     "%y: f32[N, M - 1] = slice(%x) {axes = [1], starts = [1], ends = [M]}",
     NULL},
    {"%x: f32[N, M]",
     "%y: f32[N, (M + 1)/2] = slice(%x) {axes = [1], starts = [0], "
     "ends = [M], steps = [2]}",
     NULL},
    {X, "%y: f32[2, 3, 4] = slice(%x) {axes = [2], starts = [0], ends = [5]}",
     "outside the axis"},
    {X, "%y: f32[2, 3, 4] = slice(%x) {axes = [2], starts = [-1], ends = [4]}",
     "outside the axis"},
    {X,
     "%y: f32[2, 3, 4] = slice(%x) {axes = [2], starts = [0], ends = [4], "
     "steps = [0]}",
     "steps"},
    {X,
     "%y: f32[2, 3, 4] = slice(%x) {axes = [2, 2], starts = [0, 0], "
     "ends = [4, 4]}",
     "twice"},
    {X,
     "%y: f32[2, 3, 4] = slice(%x) {axes = [2, 1], starts = [0], "
     "ends = [4, 4]}",
     "starts: expected 2"},
    {X, "%y: f32[2, 3, 4] = slice(%x) {starts = [0], ends = [4]}", "axes"},
};

static const ir_case join_cases[] = {
    {X "; %w: f32[2, N, 4]", "%y: f32[2, N + 3, 4] = concat(%x, %w) {axis = 1}",
     NULL},
    {X "; %w: f32[2, 5]", "%y: f32[2, 5] = concat(%x, %w) {axis = 1}",
     "expected rank 3, found 2"},
    {X "; %w: f32[3, 3, 4]", "%y: f32[2, 6, 4] = concat(%x, %w) {axis = 1}",
     "input 1: expected 2 elements on axis 0, found 3"},
    {X "; %w: i8[2, 3, 4]", "%y: f32[2, 6, 4] = concat(%x, %w) {axis = 1}",
     "input 1: expected f32, found i8"},
    {X, "%y: f32[2, 3, 4] = concat(%x, _, %x) {axis = 1}", "input 1"},
    {X, "%y: f32[2, 3, 4] = concat(%x) {axis = 3}", "axis 3"},
    {X, "%y: f32[2, 3, 7] = pad(%x) {pads = [0, 0, 1, 0, 0, 2]}", NULL},
    {X, "%y: f32[2, 3, 3] = pad(%x) {pads = [0, 0, -1, 0, 0, 0]}", NULL},
    {X, "%y: f32[2, 3, -1] = pad(%x) {pads = [0, 0, -5, 0, 0, 0]}", "negative"},
    {X, "%y: f32[2, 3, 8] = pad(%x) {pads = [0, 0, 4, 0, 0, 0], mode = 1}",
     "too large"},
    {X, "%y: f32[2, 3, 8] = pad(%x) {pads = [0, 0, 4, 0, 0, 0], mode = 9}",
     "mode"},
    {X, "%y: f32[2, 3, 8] = pad(%x) {pads = [0, 4]}", "pads"},
    {"%x: f32[1, 8, 2, 3]",
     "%y: f32[1, 2, 4, 6] = depth_to_space(%x) {block = 2}", NULL},
    {"%x: f32[1, 6, 2, 3]",
     "%y: f32[1, 2, 4, 6] = depth_to_space(%x) {block = 2}", "no multiple"},
    {"%x: f32[1, 2, 4, 6]",
     "%y: f32[1, 8, 2, 3] = space_to_depth(%x) {block = 2}", NULL},
    {"%x: f32[1, 2, 4, 6]", "%y: f32[1, 8, 2, 3] = space_to_depth(%x)",
     "block"},
};

static const ir_case gather_cases[] = {
    {X "; %i: i64[5, 6]", "%y: f32[2, 5, 6, 4] = gather(%x, %i) {axis = 1}",
     NULL},
    {X "; %i: i64[]", "%y: f32[2, 4] = gather(%x, %i) {axis = 1}", NULL},
    {X "; %i: i64[2, 6]",
     "%y: f32[2, 6, 4] = gather(%x, %i) {axis = 1, batch_dims = 1}", NULL},
    {X "; %i: f32[5]", "%y: f32[5, 3, 4] = gather(%x, %i)", "i32 or i64"},
    {"%x: f32[1, 1, 1, 1, 1, 1, 1, 1]; %i: i64[1, 1]",
     "%y: f32[1] = gather(%x, %i)", "rank"},
    {X "; %i: i64[2, 1, 4]",
     "%y: f32[2, 1, 4] = gather_elements(%x, %i) {axis = 1}", NULL},
    {X "; %i: i64[3, 1, 4]",
     "%y: f32[3, 1, 4] = gather_elements(%x, %i) {axis = 1}", "longer"},
    {X "; %i: i64[7, 2]", "%y: f32[7, 4] = gather_nd(%x, %i)", NULL},
    {X "; %i: i64[2, 7, 1]",
     "%y: f32[2, 7, 4] = gather_nd(%x, %i) {batch_dims = 1}", NULL},
    {X "; %i: i64[7, 4]", "%y: f32[7] = gather_nd(%x, %i)", "last axis"},
    {X "; %i: i64[7, N]", "%y: f32[7] = gather_nd(%x, %i)", "last axis"},
    {X "; %i: i64[2, 1, 4]; %u: f32[2, 1, 4]",
     "%y: f32[2, 3, 4] = scatter_elements(%x, %i, %u) {axis = 1}", NULL},
    {X "; %i: i64[2, 1, 4]; %u: f32[2, 2, 4]",
     "%y: f32[2, 3, 4] = scatter_elements(%x, %i, %u) {axis = 1}", "input 2"},
    {X "; %i: i64[7, 1]; %u: f32[7, 3, 4]",
     "%y: f32[2, 3, 4] = scatter_nd(%x, %i, %u) {reduction = 1}", NULL},
    {X "; %i: i64[7, 1]; %u: f32[7, 3]",
     "%y: f32[2, 3, 4] = scatter_nd(%x, %i, %u)", "input 2"},
    {X "; %i: i64[7, 1]; %u: f32[7, 3, 4]",
     "%y: f32[2, 3, 4] = scatter_nd(%x, %i, %u) {reduction = 5}", "reduction"},
    {"%x: i64[N, 3]; %w: f32[2]",
     "%y: f32[N, 3, 10] = one_hot(%x, %w) {axis = -1, k = 10}", NULL},
    {"%x: i64[N, 3]; %w: f32[3]",
     "%y: f32[N, 3, 10] = one_hot(%x, %w) {axis = -1, k = 10}", "input 1"},
};

#define IMAGE "%x: f32[N, 3, M, 10]"

static const ir_case resize_cases[] = {
    {IMAGE, "%y: f32[N, 3, M*2, 5] = resize(%x) {scales = [1, 1, 2, 0.5]}",
     NULL},
    {IMAGE, "%y: f32[N, 3, M*3/2, 10] = resize(%x) {scales = [1, 1, 1.5, 1]}",
     NULL},
    {IMAGE,
     "%y: f32[N, 3, 7, 7] = resize(%x) {shape = [N, 3, 7, 7], "
     "mode = 1, coordinates = 3}",
     NULL},
    {IMAGE, "%y: f32[N, 3, 7, 7] = resize(%x) {scales = [1, 1, 0.3, 1]}",
     "symbolic size"},
    {IMAGE, "%y: f32[N, 3, 7, 7] = resize(%x) {scales = [1, 1, nan, 1]}",
     "out of range"},
    {IMAGE, "%y: f32[N, 3, 7, 7] = resize(%x) {scales = [1, 1, -1, 1]}",
     "out of range"},
    {IMAGE, "%y: f32[N, 3, 7, 7] = resize(%x) {scales = [1, 1]}", "scales"},
    {IMAGE, "%y: f32[N, 3, 7, 7] = resize(%x)", "neither"},
    {IMAGE,
     "%y: f32[N, 3, 7, 7] = resize(%x) {shape = [N, 3, 7, 7], "
     "mode = 4}",
     "mode"},
};

static const ir_case size_cases[] = {
    {"%x: f32[1048576, 1048576]", "%y: f32[1048576, 1048576] = relu(%x)", NULL},
    {"%x: f32[1048576, 1048577]", "%y: f32[1] = relu(%x)",
     "more than 2^40 elements"},
    {"%x: f32[0, 1048576, 1048577]", "%y: f32[1] = relu(%x)",
     "more than 2^40 elements"},
    {"%x: f32[1048576]",
     "%y: f32[1] = tile(%x) {repeats = [9223372036854775807]}", "overflow"},
    {"%x: f32[-1]", "%y: f32[1] = relu(%x)", "negative"},
    {"%x: f32[N*9223372036854775807]", "%y: f32[1] = relu(%x)",
     "more than 2^40 elements"},
};

static void
test_shapes(void **state)
{
    (void)state;
    IR_CHECK(shape_cases);
}

static void
test_slices(void **state)
{
    (void)state;
    IR_CHECK(slice_cases);
}

static void
test_joins(void **state)
{
    (void)state;
    IR_CHECK(join_cases);
}

static void
test_gathers(void **state)
{
    (void)state;
    IR_CHECK(gather_cases);
}

static void
test_resize(void **state)
{
    (void)state;
    IR_CHECK(resize_cases);
}

static void
test_sizes(void **state)
{
    (void)state;
    IR_CHECK(size_cases);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_shapes), cmocka_unit_test(test_slices),
        cmocka_unit_test(test_joins),  cmocka_unit_test(test_gathers),
        cmocka_unit_test(test_resize), cmocka_unit_test(test_sizes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
