// SPDX-License-Identifier: Apache-2.0
//
// Convolution, products, pooling, normalization, recurrent cells.
#include "tests/unit/frontend/onnx/onnx_test.h"

static onnx_model m;

static void
start(const char *dims)
{
    model_begin(&m, 17);
    model_input(&m, "x", T_F32, dims);
    model_output(&m, "z");
}

static void
conv(void **state)
{
    (void)state;
    static const struct {
        const char *attrs, *expected;
    } cases[] = {
        {"", "conv f32[N,4,6,6]"},
        {"pads:I=1,1,1,1", "conv f32[N,4,8,8]"},
        {"strides:I=2,2 pads:I=1,1,0,0", "conv f32[N,4,4,4]"},
        {"dilations:I=2,2", "conv f32[N,4,4,4]"},
        {"auto_pad:s=SAME_UPPER", "conv f32[N,4,8,8]"},
        {"auto_pad:s=SAME_LOWER strides:I=3,3", "conv f32[N,4,3,3]"},
        {"auto_pad:s=VALID pads:I=9,9,9,9", "conv f32[N,4,6,6]"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        start("N,2,8,8");
        model_floats(&m, "w", "4,2,3,3", 0.1f);
        model_floats(&m, "b", "4", 1.0f);
        model_node(&m, "Conv", "x,w,b", "z", cases[i].attrs);
        expect_graph(&m, cases[i].expected);
    }
}

static void
conv_refused(void **state)
{
    (void)state;
    static const struct {
        const char *attrs, *text;
    } cases[] = {
        {"strides:I=0,1", "attribute 'strides': expected 1 to 2^31-1"},
        {"strides:I=1", "expected 2 numbers, found 1"},
        {"kernel_shape:I=3,5", "expected 3 as in the weight, found 5"},
        {"group:i=3", "expected 6 elements on axis 1, found 2"},
        {"auto_pad:s=SAME", "expected NOTSET"},
        {"dilations:I=9,9", "smaller than the window"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        start("N,2,8,8");
        model_floats(&m, "w", "4,2,3,3", 0.1f);
        model_node(&m, "Conv", "x,w", "z", cases[i].attrs);
        expect_refused(&m, cases[i].text);
    }
    start("N,2,H,W");
    model_floats(&m, "w", "4,2,3,3", 0.1f);
    model_node(&m, "Conv", "x,w", "z", "auto_pad:s=SAME_UPPER strides:I=2,2");
    expect_problem(&m, "Conv", "auto_pad with strides");
    start("N,2");
    model_floats(&m, "w", "4,2,3,3", 0.1f);
    model_node(&m, "Conv", "x,w", "z", "");
    expect_refused(&m, "expected rank 3");
}

static void
conv_transpose(void **state)
{
    (void)state;
    start("N,2,4,4");
    model_floats(&m, "w", "2,3,2,2", 0.1f);
    model_node(&m, "ConvTranspose", "x,w", "z", "strides:I=2,2");
    expect_graph(&m, "conv_transpose f32[N,3,8,8]");
    start("1,2,4,4");
    model_floats(&m, "w", "2,3,3,3", 0.1f);
    model_node(&m, "ConvTranspose", "x,w", "z",
               "strides:I=2,2 output_shape:I=8,8 output_padding:I=1,1");
    expect_graph(&m, "conv_transpose f32[1,3,8,8]");
}

static void
gemm(void **state)
{
    (void)state;
    start("N,3");
    model_floats(&m, "w", "4,3", 0.1f);
    model_floats(&m, "b", "4", 1.0f);
    model_node(&m, "Gemm", "x,w,b", "z", "transB:i=1");
    expect_graph(&m, "matmul f32[N,4]");
    start("N,3");
    model_floats(&m, "w", "3,4", 0.1f);
    model_floats(&m, "b", "1,4", 1.0f);
    model_node(&m, "Gemm", "x,w,b", "z", "alpha:f=2 beta:f=0.5");
    expect_graph(&m, "mul f32[N,3]; mul f32[1,4]; reshape f32[4]; matmul "
                     "f32[N,4]");
    start("2,3");
    model_floats(&m, "w", "3,4", 0.1f);
    model_floats(&m, "b", "2,1", 1.0f);
    model_node(&m, "Gemm", "x,w,b", "z", "");
    expect_graph(&m, "matmul f32[2,4]; add f32[2,4]");
    start("N,3");
    model_floats(&m, "w", "4,4", 0.1f);
    model_node(&m, "Gemm", "x,w", "z", "");
    expect_refused(&m, "expected 3 elements");
    start("N,3,4");
    model_floats(&m, "w", "4,4", 0.1f);
    model_node(&m, "Gemm", "x,w", "z", "");
    expect_refused(&m, "expected rank 2, found 3");
}

// Factors that the type does not hold (found by fuzzing).
static void
gemm_of_integers(void **state)
{
    (void)state;
    static const char *const factors[] = {"alpha:f=6.7e22", "alpha:f=0.5",
                                          "alpha:f=nan", "alpha:f=-2e9"};
    for (size_t i = 0; i < sizeof factors / sizeof factors[0]; i++) {
        model_begin(&m, 17);
        model_input(&m, "x", T_I32, "2,3");
        model_input(&m, "w", T_I32, "3,4");
        model_output(&m, "z");
        model_node(&m, "Gemm", "x,w", "z", factors[i]);
        if (i == 3) {
            expect_graph(&m, "mul i32[2,3]; matmul i32[2,4]");
        } else {
            expect_problem(&m, "Gemm", "in type i32 is not supported");
        }
    }
}

static void
einsum(void **state)
{
    (void)state;
    static const struct {
        const char *equation, *dims, *expected;
    } cases[] = {
        {"equation:s=bij,bjk->bik", "4,3,5", "matmul f32[4,2,5]"},
        {"equation:s=bij,bkj->bik", "4,5,3",
         "transpose f32[4,3,5]; matmul f32[4,2,5]"},
        {"equation:s=bij,jk", "3,5",
         "reshape f32[1,8,3]; reshape f32[1,3,5]; "
         "matmul f32[1,8,5]; reshape f32[4,2,5]"},
        {"equation:s=bij,k->kb", "5",
         "reduce_sum f32[4]; reshape f32[1,4,1]; reshape f32[1,1,5]; matmul "
         "f32[1,4,5]; reshape f32[4,5]; transpose f32[5,4]"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        start("4,2,3");
        model_input(&m, "y", T_F32, cases[i].dims);
        model_node(&m, "Einsum", "x,y", "z", cases[i].equation);
        expect_graph(&m, cases[i].expected);
    }
    start("4,4");
    model_node(&m, "Einsum", "x", "z", "equation:s=ii->i");
    expect_problem(&m, "Einsum", "'ii->i' is not supported");
    start("4,4");
    model_node(&m, "Einsum", "x", "z", "equation:s=ij->ik");
    expect_refused(&m, "expected labels of the operands");
}

static void
matmul_of_vectors(void **state)
{
    (void)state;
    start("N,2,3");
    model_floats(&m, "w", "3", 0.1f);
    model_node(&m, "MatMul", "x,w", "z", "");
    expect_graph(&m, "matmul f32[N,2]");
}

static void
pooling(void **state)
{
    (void)state;
    start("N,3,7,7");
    model_node(&m, "MaxPool", "x", "z", "kernel_shape:I=2,2 strides:I=2,2");
    expect_graph(&m, "max_pool f32[N,3,3,3]");
    start("N,3,7,7");
    model_node(&m, "AveragePool", "x", "z",
               "kernel_shape:I=2,2 strides:I=2,2 ceil_mode:i=1");
    expect_graph(&m, "avg_pool f32[N,3,4,4]");
    start("N,3,7,7");
    model_node(&m, "GlobalAveragePool", "x", "z", "");
    expect_graph(&m, "reduce_mean f32[N,3,1,1]");
    start("N,3,7,7");
    model_node(&m, "GlobalMaxPool", "x", "z", "");
    expect_graph(&m, "reduce_max f32[N,3,1,1]");
    start("N,3,7,7");
    model_node(&m, "MaxPool", "x", "z", "");
    expect_refused(&m, "attribute 'kernel_shape'");
    start("N,3,7,7");
    model_output(&m, "i");
    model_node(&m, "MaxPool", "x", "z,i", "kernel_shape:I=2,2");
    expect_problem(&m, "MaxPool", "indices");
}

static void
normalization(void **state)
{
    (void)state;
    start("N,3,4");
    model_floats(&m, "p", "3", 1.0f);
    model_node(&m, "BatchNormalization", "x,p,p,p,p", "z", "epsilon:f=0.1");
    expect_graph(&m, "batch_norm f32[N,3,4]");
    start("N,3,4");
    model_floats(&m, "p", "3", 1.0f);
    model_node(&m, "BatchNormalization", "x,p,p,p,p", "z", "training_mode:i=1");
    expect_problem(&m, "BatchNormalization", "training mode");
    start("N,3,4");
    model_floats(&m, "p", "4", 1.0f);
    model_node(&m, "LayerNormalization", "x,p,p", "z", "axis:i=-1");
    expect_graph(&m, "layer_norm f32[N,3,4]");
    start("N,3,4");
    model_floats(&m, "p", "3", 1.0f);
    model_node(&m, "InstanceNormalization", "x,p,p", "z", "");
    expect_graph(&m, "instance_norm f32[N,3,4]");
    start("N,3,4,4");
    model_node(&m, "LRN", "x", "z", "size:i=3");
    expect_graph(&m, "lrn f32[N,3,4,4]");
}

static void
lstm(void **state)
{
    (void)state;
    start("T,N,3");
    model_floats(&m, "w", "1,8,3", 0.1f);
    model_floats(&m, "r", "1,8,2", 0.1f);
    model_node(&m, "LSTM", "x,w,r", "z", "hidden_size:i=2");
    expect_graph(&m, "lstm f32[T,1,N,2]");
    start("T,N,3");
    model_floats(&m, "w", "1,8,3", 0.1f);
    model_floats(&m, "r", "1,8,2", 0.1f);
    model_node(&m, "LSTM", "x,w,r", "z", "clip:f=1");
    expect_problem(&m, "LSTM", "clip");
    start("T,N,3");
    model_floats(&m, "w", "1,7,3", 0.1f);
    model_floats(&m, "r", "1,8,2", 0.1f);
    model_node(&m, "LSTM", "x,w,r", "z", "");
    expect_refused(&m, "expected 8 elements");
}

static void
start_attention(const char *q, const char *kv)
{
    model_begin(&m, 23);
    model_input(&m, "q", T_F32, q);
    model_input(&m, "k", T_F32, kv);
    model_input(&m, "v", T_F32, kv);
    model_output(&m, "z");
}

static void
attention(void **state)
{
    (void)state;
    start_attention("N,4,T,8", "N,2,T,8");
    model_node(&m, "Attention", "q,k,v", "z", "");
    expect_graph(&m, "attention f32[N,4,T,8]");
    start_attention("N,5,32", "N,5,16");
    model_node(&m, "Attention", "q,k,v", "z",
               "q_num_heads:i=4 kv_num_heads:i=2");
    expect_graph(&m, "reshape f32[N,5,4,8]; transpose f32[N,4,5,8]; reshape "
                     "f32[N,5,2,8]; transpose f32[N,2,5,8]; reshape "
                     "f32[N,5,2,8]; transpose f32[N,2,5,8]; attention "
                     "f32[N,4,5,8]; transpose f32[N,5,4,8]; reshape "
                     "f32[N,5,32]");
    start_attention("N,4,T,8", "N,4,T,8");
    model_node(&m, "Attention", "q,k,v", "z", "is_causal:i=1");
    expect_graph(&m, "range i64[T]; reshape i64[T,1]; range i64[T]; reshape "
                     "i64[1,T]; less_equal bool[T,T]; where f32[T,T]; "
                     "attention f32[N,4,T,8]");
    start_attention("N,4,T,8", "N,4,T,8");
    model_input(&m, "pk", T_F32, "N,4,P,8");
    model_output(&m, "nk");
    model_node(&m, "Attention", "q,k,v,_,pk,pk", "z,nk", "");
    expect_graph(&m, "concat f32[N,4,?,8]; concat f32[N,4,?,8]; attention "
                     "f32[N,4,T,8]");
    start_attention("N,5,30", "N,5,16");
    model_node(&m, "Attention", "q,k,v", "z",
               "q_num_heads:i=4 kv_num_heads:i=2");
    expect_refused(&m, "a multiple of the heads, 4");
    start_attention("N,4,T,8", "N,4,T,8");
    model_node(&m, "Attention", "q,k,v", "z", "softcap:f=2");
    expect_problem(&m, "Attention", "softcap");
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(conv),
        cmocka_unit_test(conv_refused),
        cmocka_unit_test(conv_transpose),
        cmocka_unit_test(gemm),
        cmocka_unit_test(gemm_of_integers),
        cmocka_unit_test(einsum),
        cmocka_unit_test(matmul_of_vectors),
        cmocka_unit_test(pooling),
        cmocka_unit_test(normalization),
        cmocka_unit_test(lstm),
        cmocka_unit_test(attention),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
