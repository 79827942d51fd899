// SPDX-License-Identifier: Apache-2.0
//
// Quantized models: codes and scales are kept, and mean the same.
#include "tests/unit/frontend/onnx/onnx_test.h"

static onnx_model m;

static void
weight_u8(const char *name, const char *dims, size_t count)
{
    uint8_t codes[64];
    for (size_t i = 0; i < count; i++) {
        codes[i] = (uint8_t)(i * 37);
    }
    model_weight(&m, name, T_U8, dims, codes, count);
}

static void
zero_u8(const char *name, uint8_t zero)
{
    model_weight(&m, name, T_U8, "", &zero, 1);
}

static void
start(int opset)
{
    model_begin(&m, opset);
    model_input(&m, "x", T_F32, "N,4");
    model_scalar(&m, "s", 0.25f);
    zero_u8("q", 128);
    model_output(&m, "z");
}

static void
q_and_dq(void **state)
{
    (void)state;
    start(13);
    model_node(&m, "QuantizeLinear", "x,s,q", "c", "");
    model_node(&m, "DequantizeLinear", "c,s,q", "z", "");
    expect_graph(&m, "quantize u8*[N,4]; dequantize f32[N,4]");
    start(13);
    model_node(&m, "QuantizeLinear", "x,s", "z", "");
    expect_graph(&m, "quantize u8*[N,4]");
}

// The meaning of codes travels with them.
static void
codes_move(void **state)
{
    (void)state;
    start(13);
    model_node(&m, "QuantizeLinear", "x,s,q", "c", "");
    model_node(&m, "Transpose", "c", "t", "");
    model_node(&m, "Concat", "t,t", "u", "axis:i=0");
    model_node(&m, "DequantizeLinear", "u,s,q", "z", "");
    expect_graph(&m, "quantize u8*[N,4]; transpose u8*[4,N]; concat "
                     "u8*[8,N]; dequantize f32[8,N]");
    start(13);
    model_scalar(&m, "s2", 0.5f);
    model_node(&m, "QuantizeLinear", "x,s,q", "c", "");
    model_node(&m, "DequantizeLinear", "c,s2,q", "z", "");
    expect_problem(&m, "DequantizeLinear", "another scale or zero point");
}

// Other operators would take codes for numbers.
static void
codes_are_no_numbers(void **state)
{
    (void)state;
    start(13);
    model_node(&m, "QuantizeLinear", "x,s,q", "c", "");
    model_node(&m, "Cast", "c", "z", "to:i=1");
    expect_problem(&m, "Cast", "quantized codes as plain integers");
    start(13); // a constant may be both
    weight_u8("w", "4", 4);
    model_output(&m, "y");
    model_node(&m, "DequantizeLinear", "w,s,q", "z", "");
    model_node(&m, "Cast", "w", "y", "to:i=1");
    expect_graph(&m, "dequantize f32[4]; identity f32[4]");
}

static void
matmul_nbits(void **state)
{
    (void)state;
    const float scales[6] = {1, 2, 3, 4, 5, 6};
    uint8_t codes[48];
    memset(codes, 0x21, sizeof codes);
    model_begin(&m, 17);
    model_input(&m, "x", T_F32, "N,20");
    model_output(&m, "z");
    model_weight(&m, "w", T_U8, "3,2,8", codes, sizeof codes);
    model_weight(&m, "ws", T_F32, "6", scales, sizeof scales);
    model_node(&m, "com.microsoft:MatMulNBits", "x,w,ws", "z",
               "K:i=20 N:i=3 bits:i=4 block_size:i=16");
    expect_graph(&m, "dequantize f32[3,20]; matmul f32[N,3]");
    model_begin(&m, 17);
    model_input(&m, "x", T_F32, "N,20");
    model_output(&m, "z");
    model_weight(&m, "w", T_U8, "3,2,8", codes, sizeof codes);
    model_weight(&m, "ws", T_F32, "6", scales, sizeof scales);
    model_node(&m, "com.microsoft:MatMulNBits", "x,w,ws", "z",
               "K:i=20 N:i=4 bits:i=4 block_size:i=16");
    expect_refused(&m, "expected weights of 4 x 16 bytes");
}

static void
weights_keep_codes(void **state)
{
    (void)state;
    const float scales[3] = {0.5f, 0.25f, 1.0f};
    start(13);
    weight_u8("w", "4,3", 12);
    model_weight(&m, "ws", T_F32, "3", scales, sizeof scales);
    model_node(&m, "DequantizeLinear", "w,ws", "r", "axis:i=-1");
    model_node(&m, "MatMul", "x,r", "z", "");
    expect_graph(&m, "dequantize f32[4,3]; matmul f32[N,3]");
    start(13);
    weight_u8("w", "4,3", 12);
    model_weight(&m, "ws", T_F32, "3", scales, sizeof scales);
    model_node(&m, "DequantizeLinear", "w,ws", "r", "axis:i=0");
    model_node(&m, "MatMul", "x,r", "z", "");
    expect_refused(&m, "expected 4 scales for axis 0, found 3");
}

// [K, N] with blocks along K, the layout of matmul weights.
static void
blocked_weights(void **state)
{
    (void)state;
    const uint8_t nibbles[6] = {0x10, 0x32, 0x54, 0x76, 0x98, 0xba};
    const float scales[6] = {1, 2, 3, 4, 5, 6};
    start(21);
    model_weight(&m, "w", T_U4, "4,3", nibbles, sizeof nibbles);
    model_weight(&m, "ws", T_F32, "2,3", scales, sizeof scales);
    model_node(&m, "DequantizeLinear", "w,ws", "r", "axis:i=0 block_size:i=2");
    model_node(&m, "MatMul", "x,r", "z", "");
    expect_graph(&m, "dequantize f32[3,4]; transpose f32[4,3]; matmul "
                     "f32[N,3]");
}

static void
refused(void **state)
{
    (void)state;
    static const float bad[] = {0.0f, -1.0f, (float)(0.0 / 0.0)};
    for (size_t i = 0; i < 3; i++) {
        start(13);
        model_scalar(&m, "bad", bad[i]);
        model_node(&m, "QuantizeLinear", "x,bad,q", "z", "");
        expect_refused(&m, "expected finite scales above 0");
    }
    start(13);
    const int8_t zero = 0;
    weight_u8("w", "4", 4);
    model_weight(&m, "i8", T_I8, "", &zero, 1);
    model_node(&m, "DequantizeLinear", "w,s,i8", "z", "");
    expect_refused(&m, "expected zero points of type u8, found i8");
}

// Scales that are computed become arithmetic.
static void
computed_scales(void **state)
{
    (void)state;
    start(13);
    model_input(&m, "d", T_F32, "");
    model_node(&m, "QuantizeLinear", "x,d,q", "z", "");
    expect_graph(&m, "div f32[N,4]; round f32[N,4]; cast f32[]; add f32[N,4]; "
                     "clip f32[N,4]; cast u8[N,4]");
    start(13);
    model_input(&m, "c", T_U8, "N,4");
    model_input(&m, "d", T_F32, "");
    model_node(&m, "DequantizeLinear", "c,d", "z", "");
    expect_graph(&m, "cast f32[N,4]; mul f32[N,4]");
}

static void
qlinear_conv(void **state)
{
    (void)state;
    const int32_t bias[2] = {5, -5};
    const float scales[2] = {0.5f, 0.25f};
    model_begin(&m, 13);
    model_input(&m, "x", T_U8, "N,1,3,3");
    model_scalar(&m, "s", 0.25f);
    zero_u8("q", 128);
    weight_u8("w", "2,1,2,2", 8);
    model_weight(&m, "ws", T_F32, "2", scales, sizeof scales);
    model_weight(&m, "wq", T_U8, "2", "\x80\x80", 2);
    model_weight(&m, "b", T_I32, "2", bias, sizeof bias);
    model_output(&m, "z");
    model_node(&m, "QLinearConv", "x,s,q,w,ws,wq,s,q,b", "z", "");
    expect_graph(&m, "conv u8*[N,2,2,2]");
}

static void
qlinear_matmul_and_add(void **state)
{
    (void)state;
    start(13);
    weight_u8("w", "4,4", 16);
    model_node(&m, "QuantizeLinear", "x,s,q", "c", "");
    model_node(&m, "QLinearMatMul", "c,s,q,w,s,q,s,q", "d", "");
    model_node(&m, "com.microsoft:QLinearAdd", "d,s,q,c,s,q,s,q", "e", "");
    model_node(&m, "DequantizeLinear", "e,s,q", "z", "");
    expect_graph(&m, "quantize u8*[N,4]; matmul u8*[N,4]; add u8*[N,4]; "
                     "dequantize f32[N,4]");
}

static void
integer_matmul(void **state)
{
    (void)state;
    model_begin(&m, 13);
    model_input(&m, "x", T_U8, "N,4");
    model_output(&m, "z");
    weight_u8("w", "4,3", 12);
    model_node(&m, "MatMulInteger", "x,w", "z", "");
    expect_graph(&m, "matmul i32[N,3]");
    model_begin(&m, 13);
    model_input(&m, "x", T_U8, "N,4");
    model_output(&m, "z");
    weight_u8("w", "4,3", 12);
    zero_u8("q", 3);
    model_node(&m, "MatMulInteger", "x,w,q", "z", "");
    expect_graph(&m, "cast i32[N,4]; cast i32[]; sub i32[N,4]; cast i32[4,3]; "
                     "matmul i32[N,3]");
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(q_and_dq),
        cmocka_unit_test(codes_move),
        cmocka_unit_test(codes_are_no_numbers),
        cmocka_unit_test(matmul_nbits),
        cmocka_unit_test(weights_keep_codes),
        cmocka_unit_test(blocked_weights),
        cmocka_unit_test(refused),
        cmocka_unit_test(computed_scales),
        cmocka_unit_test(qlinear_conv),
        cmocka_unit_test(qlinear_matmul_and_add),
        cmocka_unit_test(integer_matmul),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
