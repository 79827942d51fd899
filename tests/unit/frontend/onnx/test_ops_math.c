// SPDX-License-Identifier: Apache-2.0
//
// What elementwise operators and reductions are imported as.
#include "tests/unit/frontend/onnx/onnx_test.h"

static onnx_model m;

// x f32 [N, 3] and y f32 [3]; one node.
static void
one_node(int opset, const char *op, const char *inputs, const char *attrs)
{
    model_begin(&m, opset);
    model_input(&m, "x", T_F32, "N,3");
    model_input(&m, "y", T_F32, "3");
    model_output(&m, "z");
    model_node(&m, op, inputs, "z", attrs);
}

static void
unary(void **state)
{
    (void)state;
    one_node(13, "Relu", "x", "");
    expect_graph(&m, "relu f32[N,3]");
    one_node(16, "LeakyRelu", "x", "alpha:f=0.2");
    expect_graph(&m, "leaky_relu f32[N,3]");
    one_node(20, "Gelu", "x", "approximate:s=tanh");
    expect_graph(&m, "gelu_tanh f32[N,3]");
    one_node(20, "Gelu", "x", "approximate:s=maybe");
    expect_refused(&m, "expected none or tanh");
    one_node(20, "IsInf", "x", "detect_negative:i=0");
    expect_graph(&m, "is_inf bool[N,3]; greater bool[N,3]; and bool[N,3]");
    one_node(13, "Relu", "x", "speed:i=3");
    expect_problem(&m, "Relu", "attribute 'speed' is not known");
}

// Nothing is left of them but the output's own op.
static void
nothing_to_do(void **state)
{
    (void)state;
    one_node(13, "Identity", "x", "");
    expect_graph(&m, "identity f32[N,3]");
    one_node(13, "Dropout", "x", "");
    expect_graph(&m, "identity f32[N,3]");
    one_node(13, "Cast", "x", "to:i=1");
    expect_graph(&m, "identity f32[N,3]");
    model_begin(&m, 13);
    model_input(&m, "x", T_F32, "N,3");
    model_output(&m, "z");
    model_node(&m, "Dropout", "x", "z,mask", "");
    expect_problem(&m, "Dropout", "mask output");
}

static void
clip(void **state)
{
    (void)state;
    one_node(6 + 1, "Clip", "x", "min:f=0 max:f=6");
    expect_graph(&m, "clip f32[N,3]");
    one_node(13, "Clip", "x,lo,hi", "");
    model_scalar(&m, "lo", 0.0f);
    model_scalar(&m, "hi", 6.0f);
    expect_graph(&m, "clip f32[N,3]");
    one_node(13, "Clip", "x,y", "");
    expect_graph(&m, "max f32[N,3]");
    one_node(13, "Clip", "x,_,y", "");
    expect_graph(&m, "min f32[N,3]");
    one_node(13, "Clip", "x", "");
    expect_graph(&m, "identity f32[N,3]");
}

static void
binary(void **state)
{
    (void)state;
    one_node(13, "Add", "x,y", "");
    expect_graph(&m, "add f32[N,3]");
    one_node(13, "Less", "x,y", "");
    expect_graph(&m, "less bool[N,3]");
    one_node(13, "Sum", "x,y,x", "");
    expect_graph(&m, "add f32[N,3]; add f32[N,3]");
    one_node(13, "Mean", "x,y", "");
    expect_graph(&m, "add f32[N,3]; div f32[N,3]");
    one_node(13, "Max", "x", "");
    expect_graph(&m, "identity f32[N,3]");
    one_node(13, "Mod", "x,y", "fmod:i=1");
    expect_graph(&m, "fmod f32[N,3]");
    one_node(13, "Mod", "x,y", "");
    expect_refused(&m, "expected 1 for floats");
    one_node(13, "Add", "x", "");
    expect_refused(&m, "expected 2 to 2 inputs, found 1");
    one_node(13, "Add", "x,b", "");
    model_floats(&m, "b", "2,4", 1.0f);
    expect_refused(&m, "does not broadcast");
}

static void
pow_takes_the_base_type(void **state)
{
    (void)state;
    const int64_t two = 2;
    one_node(13, "Pow", "x,e", "");
    model_weight(&m, "e", T_I64, "", &two, sizeof two);
    expect_graph(&m, "cast f32[]; pow f32[N,3]");
}

static void
reductions(void **state)
{
    (void)state;
    one_node(11, "ReduceMean", "x", "axes:I=-1 keepdims:i=0");
    expect_graph(&m, "reduce_mean f32[N]");
    one_node(18, "ReduceMean", "x,a", "");
    model_ints(&m, "a", "1");
    expect_graph(&m, "reduce_mean f32[N,1]");
    one_node(13, "ReduceSum", "x", "");
    expect_graph(&m, "reduce_sum f32[1,1]");
    one_node(13, "ReduceSum", "x", "noop_with_empty_axes:i=1");
    expect_graph(&m, "identity f32[N,3]");
    one_node(18, "ReduceMax", "x,a", "");
    model_ints(&m, "a", "0,0");
    expect_refused(&m, "each axis once");
    one_node(18, "ReduceMax", "x,a", "");
    model_input(&m, "a", T_I64, "1");
    expect_problem(&m, "ReduceMax", "only known while running");
    one_node(13, "ArgMax", "x", "axis:i=1 keepdims:i=0");
    expect_graph(&m, "arg_max i64[N]");
}

static void
softmax_flattens_before_13(void **state)
{
    (void)state;
    model_begin(&m, 11);
    model_input(&m, "x", T_F32, "2,3,4");
    model_output(&m, "z");
    model_node(&m, "Softmax", "x", "z", "axis:i=1");
    expect_graph(&m, "reshape f32[2,12]; softmax f32[2,12]; reshape "
                     "f32[2,3,4]");
    m.opset = 13;
    expect_graph(&m, "softmax f32[2,3,4]");
    model_begin(&m, 11);
    model_input(&m, "x", T_F32, "2,3,4");
    model_output(&m, "z");
    model_node(&m, "Softmax", "x", "z", "axis:i=2");
    expect_graph(&m, "softmax f32[2,3,4]");
}

static void
top_k(void **state)
{
    (void)state;
    model_begin(&m, 11);
    model_input(&m, "x", T_F32, "2,5");
    model_ints(&m, "k", "3");
    model_output(&m, "v");
    model_output(&m, "i");
    model_node(&m, "TopK", "x,k", "v,i", "");
    expect_graph(&m, "topk f32[2,3]");
    model_begin(&m, 11);
    model_input(&m, "x", T_F32, "2,5");
    model_ints(&m, "k", "6");
    model_output(&m, "v");
    model_node(&m, "TopK", "x,k", "v,i", "");
    expect_refused(&m, "TopK");
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(unary),
        cmocka_unit_test(nothing_to_do),
        cmocka_unit_test(clip),
        cmocka_unit_test(binary),
        cmocka_unit_test(pow_takes_the_base_type),
        cmocka_unit_test(reductions),
        cmocka_unit_test(softmax_flattens_before_13),
        cmocka_unit_test(top_k),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
