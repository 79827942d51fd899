// SPDX-License-Identifier: Apache-2.0
//
// Shapes: chains of Shape, Gather and Concat that fold away, sizes that stay
// symbolic, and operators that move elements.
#include "tests/unit/frontend/onnx/onnx_test.h"

static onnx_model m;

static void
start(int opset, const char *dims)
{
    model_begin(&m, opset);
    model_input(&m, "x", T_F32, dims);
    model_output(&m, "z");
}

static void
reshape(void **state)
{
    (void)state;
    start(13, "N,3,8");
    model_ints(&m, "s", "0,-1");
    model_node(&m, "Reshape", "x,s", "z", "");
    expect_graph(&m, "reshape f32[N,24]");
    start(13, "N,S,12");
    model_ints(&m, "s", "-1,6,2");
    model_node(&m, "Reshape", "x,s", "z", "");
    expect_graph(&m, "reshape f32[?,6,2]");
    start(13, "N,6");
    model_ints(&m, "s", "-1,2,3");
    model_node(&m, "Reshape", "x,s", "z", "");
    expect_graph(&m, "reshape f32[N,2,3]");
    start(13, "2,3");
    model_ints(&m, "s", "");
    model_node(&m, "Reshape", "x,s", "z", "");
    expect_refused(&m, "6 elements do not fit");
}

static void
reshape_refused(void **state)
{
    (void)state;
    static const struct {
        const char *shape, *text;
    } cases[] = {{"-1,-1", "at most one -1"},
                 {"-2,3", "found -2"},
                 {"4,-1", "sizes divide the elements"},
                 {"1,1,0", "only where the input has an axis"},
                 {"5", "6 elements do not fit a shape of 5"}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        start(13, "2,3");
        model_ints(&m, "s", cases[i].shape);
        model_node(&m, "Reshape", "x,s", "z", "");
        expect_refused(&m, cases[i].text);
    }
    start(13, "2,3");
    model_input(&m, "s", T_I64, "2");
    model_node(&m, "Reshape", "x,s", "z", "");
    expect_problem(&m, "Reshape", "only known while running");
    start(13, "2,3");
    model_ints(&m, "s", "1,1,1,1,1,1,1,2,3");
    model_node(&m, "Reshape", "x,s", "z", "");
    expect_problem(&m, "Reshape", "rank 9");
}

// reshape(x, [shape(x)[0], 12, -1]), as exporters write it.
static void
shape_chain_folds(void **state)
{
    (void)state;
    const int64_t zero = 0;
    start(13, "N,S,24");
    model_weight(&m, "i", T_I64, "", &zero, sizeof zero);
    model_ints(&m, "axes", "0");
    model_ints(&m, "tail", "12,-1");
    model_node(&m, "Shape", "x", "shape", "");
    model_node(&m, "Gather", "shape,i", "n", "");
    model_node(&m, "Unsqueeze", "n,axes", "n1", "");
    model_node(&m, "Concat", "n1,tail", "s", "axis:i=0");
    model_node(&m, "Reshape", "x,s", "z", "");
    expect_graph(&m, "reshape f32[N,12,?]");
}

static void
size_and_constant_of_shape(void **state)
{
    (void)state;
    start(13, "2,3");
    model_node(&m, "Size", "x", "z", "");
    expect_graph(&m, "identity i64[]");
    start(13, "N,3");
    model_node(&m, "Shape", "x", "s", "");
    model_node(&m, "ConstantOfShape", "s", "z", "");
    expect_graph(&m, "expand f32[N,3]");
    start(15, "N,3,7");
    model_node(&m, "Shape", "x", "z", "start:i=-2");
    expect_graph(&m, "identity i64[2]");
}

static void
range(void **state)
{
    (void)state;
    const int64_t zero = 0, one = 1;
    start(13, "N,S");
    model_weight(&m, "zero", T_I64, "", &zero, sizeof zero);
    model_weight(&m, "one", T_I64, "", &one, sizeof one);
    model_node(&m, "Shape", "x", "s", "");
    model_node(&m, "Gather", "s,one", "n", "");
    model_node(&m, "Range", "zero,n,one", "z", "");
    expect_graph(&m, "range i64[S]");
    start(13, "N,S");
    model_scalar(&m, "a", 0.0f);
    model_scalar(&m, "b", 1.0f);
    model_scalar(&m, "c", 0.25f);
    model_node(&m, "Range", "a,b,c", "z", "");
    expect_graph(&m, "identity f32[4]");
    start(13, "N,S");
    model_weight(&m, "zero", T_I64, "", &zero, sizeof zero);
    model_node(&m, "Range", "zero,zero,zero", "z", "");
    expect_refused(&m, "step other than 0");
}

static void
squeeze_and_unsqueeze(void **state)
{
    (void)state;
    start(11, "1,N,1");
    model_node(&m, "Squeeze", "x", "z", "axes:I=0,-1");
    expect_graph(&m, "reshape f32[N]");
    start(13, "2,1,3");
    model_node(&m, "Squeeze", "x", "z", "");
    expect_graph(&m, "reshape f32[2,3]");
    start(13, "2,3");
    model_ints(&m, "a", "1");
    model_node(&m, "Squeeze", "x,a", "z", "");
    expect_refused(&m, "expected size 1 at axis 1, found 3");
    start(13, "2,N");
    model_ints(&m, "a", "0,3");
    model_node(&m, "Unsqueeze", "x,a", "z", "");
    expect_graph(&m, "reshape f32[1,2,N,1]");
    start(11, "2,N");
    model_node(&m, "Unsqueeze", "x", "z", "axes:I=4");
    expect_refused(&m, "expected an axis from -3 to 2, found 4");
    start(13, "2,3,4");
    model_node(&m, "Flatten", "x", "z", "axis:i=3");
    expect_graph(&m, "reshape f32[24,1]");
}

static void
expand_and_tile(void **state)
{
    (void)state;
    start(13, "N,1");
    model_ints(&m, "s", "2,1,5");
    model_node(&m, "Expand", "x,s", "z", "");
    expect_graph(&m, "expand f32[2,N,5]");
    start(13, "N,3");
    model_ints(&m, "s", "1,3");
    model_node(&m, "Expand", "x,s", "z", "");
    expect_graph(&m, "identity f32[N,3]");
    start(13, "N,3");
    model_ints(&m, "r", "1,2");
    model_node(&m, "Tile", "x,r", "z", "");
    expect_graph(&m, "tile f32[N,6]");
    start(13, "N,3");
    model_ints(&m, "r", "2");
    model_node(&m, "Tile", "x,r", "z", "");
    expect_refused(&m, "expected 2 numbers");
}

static void
slice(void **state)
{
    (void)state;
    static const struct {
        const char *starts, *ends, *steps, *expected;
    } cases[] = {
        {"1", "9", "1", "slice f32[N,4]"},
        {"-2", "9223372036854775807", "1", "slice f32[N,2]"},
        {"0", "5", "2", "slice f32[N,3]"},
        {"-1", "-9223372036854775808", "-1", "slice f32[N,5]"},
        {"0", "5", "1", "identity f32[N,5]"},
        {"4", "2", "1", "slice f32[N,0]"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        start(13, "N,5");
        model_ints(&m, "a", "1");
        model_ints(&m, "b", cases[i].starts);
        model_ints(&m, "e", cases[i].ends);
        model_ints(&m, "t", cases[i].steps);
        model_node(&m, "Slice", "x,b,e,a,t", "z", "");
        expect_graph(&m, cases[i].expected);
    }
    start(9, "N,5");
    model_node(&m, "Slice", "x", "z", "starts:I=0 ends:I=-1 axes:I=1");
    expect_graph(&m, "slice f32[N,4]");
    start(9, "N,5");
    model_node(&m, "Slice", "x", "z", "starts:I=0,1 ends:I=-1");
    expect_refused(&m, "as many ends");
}

// The last position of a sequence: [S - 1, S).
static void
slice_symbolic(void **state)
{
    (void)state;
    start(9, "N,S,4");
    model_node(&m, "Slice", "x", "z", "starts:I=-1 ends:I=2147483647 axes:I=1");
    expect_graph(&m, "slice f32[N,1,4]");
}

static void
concat_and_split(void **state)
{
    (void)state;
    start(13, "N,6");
    model_node(&m, "Split", "x", "a,b,c", "axis:i=1");
    model_node(&m, "Concat", "c,a", "z", "axis:i=-1");
    expect_graph(&m, "slice f32[N,2]; slice f32[N,2]; concat f32[N,4]");
    start(18, "N,7");
    model_node(&m, "Split", "x", "a,b", "axis:i=1 num_outputs:i=2");
    model_node(&m, "Concat", "b,a", "z", "axis:i=1");
    expect_graph(&m, "slice f32[N,4]; slice f32[N,3]; concat f32[N,7]");
    start(13, "N,6");
    model_ints(&m, "p", "1,6");
    model_node(&m, "Split", "x,p", "a,z", "axis:i=1");
    expect_refused(&m, "outside the axis");
    start(13, "N,6");
    model_node(&m, "Concat", "x,x", "z", "");
    expect_refused(&m, "attribute 'axis'");
}

// More operands than one op takes are nested.
static void
concat_of_many(void **state)
{
    (void)state;
    char inputs[1024] = "x";
    for (int i = 1; i < 300; i++) {
        strcat(inputs, ",x");
    }
    start(13, "N,1");
    model_node(&m, "Concat", inputs, "z", "axis:i=1");
    expect_graph(&m, "concat f32[N,128]; concat f32[N,255]; concat f32[N,300]");
}

static void
pad(void **state)
{
    (void)state;
    start(13, "N,5");
    model_ints(&m, "p", "0,1,0,2");
    model_node(&m, "Pad", "x,p", "z", "mode:s=reflect");
    expect_graph(&m, "pad f32[N,8]");
    start(18, "N,5");
    model_ints(&m, "p", "1,2");
    model_ints(&m, "a", "-1");
    model_node(&m, "Pad", "x,p,_,a", "z", "");
    expect_graph(&m, "pad f32[N,8]");
    start(10, "N,5");
    model_node(&m, "Pad", "x", "z", "pads:I=0,0,0,0");
    expect_graph(&m, "identity f32[N,5]");
    start(13, "N,5");
    model_ints(&m, "p", "0,1,0");
    model_node(&m, "Pad", "x,p", "z", "");
    expect_refused(&m, "expected 4 pads, found 3");
    start(13, "N,5");
    model_ints(&m, "p", "0,1,0,1");
    model_node(&m, "Pad", "x,p", "z", "mode:s=mirror");
    expect_problem(&m, "Pad", "'mirror' is not supported");
}

static void
gather_and_scatter(void **state)
{
    (void)state;
    start(13, "N,5");
    model_input(&m, "i", T_I64, "2,2");
    model_node(&m, "Gather", "x,i", "z", "axis:i=1");
    expect_graph(&m, "gather f32[N,2,2]");
    start(13, "N,5");
    model_input(&m, "i", T_F32, "2");
    model_node(&m, "Gather", "x,i", "z", "");
    expect_refused(&m, "expected i32 or i64");
    start(18, "4,5");
    model_input(&m, "i", T_I64, "2,5");
    model_input(&m, "u", T_F32, "2,5");
    model_node(&m, "ScatterElements", "x,i,u", "z", "reduction:s=add");
    expect_graph(&m, "scatter_elements f32[4,5]");
}

static void
moved(void **state)
{
    (void)state;
    start(13, "2,3,4");
    model_node(&m, "Transpose", "x", "z", "");
    expect_graph(&m, "transpose f32[4,3,2]");
    start(13, "2,3,4");
    model_node(&m, "Transpose", "x", "z", "perm:I=0,1");
    expect_refused(&m, "expected 3 axes, found 2");
    start(13, "N,8,2,2");
    model_node(&m, "DepthToSpace", "x", "z", "blocksize:i=2 mode:s=CRD");
    expect_graph(&m, "depth_to_space f32[N,2,4,4]");
    start(14, "3,4");
    model_node(&m, "Trilu", "x", "z", "upper:i=0");
    expect_graph(&m, "trilu f32[3,4]");
}

static void
resize(void **state)
{
    (void)state;
    const float scales[4] = {1, 1, 2, 2};
    start(11, "N,3,4,4");
    model_weight(&m, "s", T_F32, "4", scales, sizeof scales);
    model_node(&m, "Resize", "x,_,s", "z",
               "mode:s=nearest coordinate_transformation_mode:s=asymmetric");
    expect_graph(&m, "resize f32[N,3,8,8]");
    start(13, "N,3,H,W");
    model_weight(&m, "s", T_F32, "4", scales, sizeof scales);
    model_node(&m, "Resize", "x,_,s", "z", "mode:s=linear");
    expect_graph(&m, "resize f32[N,3,?,?]");
    start(13, "1,3,4,4");
    model_ints(&m, "s", "1,3,5,6");
    model_node(&m, "Resize", "x,_,_,s", "z", "mode:s=cubic");
    expect_graph(&m, "resize f32[1,3,5,6]");
    start(9, "1,3,4,4");
    model_weight(&m, "s", T_F32, "4", scales, sizeof scales);
    model_node(&m, "Upsample", "x,s", "z", "");
    expect_graph(&m, "resize f32[1,3,8,8]");
    start(13, "1,3,4,4");
    model_node(&m, "Resize", "x", "z", "");
    expect_refused(&m, "scales or sizes");
    start(18, "1,3,4,4");
    model_ints(&m, "s", "1,3,5,6");
    model_node(&m, "Resize", "x,_,_,s", "z", "antialias:i=1");
    expect_problem(&m, "Resize", "antialias");
}

// Scales that are computed from constants: [1, 1, 4 * 0.5, 2].
static void
computed_constants_fold(void **state)
{
    (void)state;
    start(13, "1,3,4,4");
    model_floats(&m, "ones", "2", 0.0f);
    model_scalar(&m, "four", 4.0f);
    model_scalar(&m, "half", 0.5f);
    model_ints(&m, "axes", "0");
    model_node(&m, "Exp", "ones", "one", "");
    model_node(&m, "Mul", "four,half", "two", "");
    model_node(&m, "Unsqueeze", "two,axes", "two1", "");
    model_node(&m, "Concat", "one,two1,two1", "s", "axis:i=0");
    model_node(&m, "Resize", "x,_,s", "z", "mode:s=linear");
    expect_graph(&m, "resize f32[1,3,8,8]");
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reshape),
        cmocka_unit_test(reshape_refused),
        cmocka_unit_test(shape_chain_folds),
        cmocka_unit_test(size_and_constant_of_shape),
        cmocka_unit_test(range),
        cmocka_unit_test(squeeze_and_unsqueeze),
        cmocka_unit_test(expand_and_tile),
        cmocka_unit_test(slice),
        cmocka_unit_test(slice_symbolic),
        cmocka_unit_test(concat_and_split),
        cmocka_unit_test(concat_of_many),
        cmocka_unit_test(pad),
        cmocka_unit_test(gather_and_scatter),
        cmocka_unit_test(moved),
        cmocka_unit_test(resize),
        cmocka_unit_test(computed_constants_fold),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
