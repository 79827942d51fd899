// SPDX-License-Identifier: Apache-2.0
//
// cast between types; quantize, dequantize, dynamic_quantize.
#include "base/float16.h"
#include "tests/unit/ir/interp/op_case.h"

static void
cast(op_case *c, ptqc_dtype from, const void *x, int64_t n, ptqc_dtype to)
{
    op_case_begin(c, PQ_OP_CAST);
    op_case_in(c, from, DIMS(n), x);
    pq_build_i64(&c->b, PQ_ATTR_TO, to);
    op_case_run(c);
}

static void
float_to_integer(void **state)
{
    (void)state;
    const float x[6] = {2.9f, -2.9f, NAN, INFINITY, -INFINITY, 300};
    op_case c;
    cast(&c, PTQC_F32, x, 6, PTQC_I8);
    EXPECT(&c, int8_t, 2, -2, 0, 127, -128, 127);
    op_case_end(&c);
    cast(&c, PTQC_F32, x, 6, PTQC_U8);
    EXPECT(&c, uint8_t, 2, 0, 0, 255, 0, 255);
    op_case_end(&c);
    cast(&c, PTQC_F32, x, 6, PTQC_I64);
    EXPECT(&c, int64_t, 2, -2, 0, INT64_MAX, INT64_MIN, 300);
    op_case_end(&c);
    cast(&c, PTQC_F64, (double[]){1e30, -1.0, 1e19}, 3, PTQC_U64);
    EXPECT(&c, uint64_t, UINT64_MAX, 0, 10000000000000000000u);
    op_case_end(&c);
    cast(&c, PTQC_F32, (float[]){0, -0.0f, 0.25f, NAN}, 4, PTQC_BOOL);
    EXPECT(&c, uint8_t, 0, 0, 1, 1);
    op_case_end(&c);
}

static void
integer_to_all(void **state)
{
    (void)state;
    op_case c;
    cast(&c, PTQC_I32, (int32_t[]){-1, 300, 70000}, 3, PTQC_U8);
    EXPECT(&c, uint8_t, 255, 44, 112);
    op_case_end(&c);
    cast(&c, PTQC_I64, (int64_t[]){16777217, -1}, 2, PTQC_F32);
    EXPECT_F32(&c, 16777216, -1);
    op_case_end(&c);
    cast(&c, PTQC_U64, (uint64_t[]){UINT64_MAX}, 1, PTQC_F32);
    EXPECT_F32(&c, 18446744073709551616.0f);
    op_case_end(&c);
    cast(&c, PTQC_BOOL, (uint8_t[]){0, 7}, 2, PTQC_I64);
    EXPECT(&c, int64_t, 0, 1);
    op_case_end(&c);
    cast(&c, PTQC_I32, (int32_t[]){65519, 65520}, 2, PTQC_F16);
    EXPECT(&c, uint16_t, 0x7bff, 0x7c00); // largest finite, infinity
    op_case_end(&c);
}

static void
between_floats(void **state)
{
    (void)state;
    op_case c;
    cast(&c, PTQC_F32, (float[]){448, 1000, NAN, -0.001953125f}, 4,
         PTQC_F8E4M3);
    EXPECT(&c, uint8_t, 0x7e, 0x7e, 0x7f, 0x81);
    op_case_end(&c);
    cast(&c, PTQC_F8E5M2, (uint8_t[]){0x3c, 0x7b}, 2, PTQC_F32);
    EXPECT_F32(&c, 1, 57344);
    op_case_end(&c);
    cast(&c, PTQC_F32, (float[]){1.0f / 3.0f}, 1, PTQC_F64);
    EXPECT(&c, double, (double)(1.0f / 3.0f));
    op_case_end(&c);
    cast(&c, PTQC_BF16, (uint16_t[]){0x3f80}, 1, PTQC_F16);
    EXPECT(&c, uint16_t, 0x3c00);
    op_case_end(&c);
}

static void
quantize_ties_and_limits(void **state)
{
    (void)state;
    const float x[8] = {0.5f, 1.5f, 2.5f, -0.5f, 1e9f, -1e9f, NAN, 126.4f};
    op_case c;
    op_case_begin(&c, PQ_OP_QUANTIZE);
    op_case_in(&c, PTQC_F32, DIMS(8), x);
    pq_build_i64(&c.b, PQ_ATTR_TO, PTQC_I8);
    op_case_out_quant(&c, 0, PTQC_I8, op_case_scale(&c, PTQC_I8, 1, 1));
    op_case_run(&c);
    EXPECT(&c, int8_t, 1, 3, 3, 1, 127, -128, -128, 127);
    op_case_end(&c);

    // A true division: 0.35 / 0.1 is not 0.35 * 10 in f32 for all values.
    float v[256], s = 0.1f;
    uint8_t want[256];
    for (int i = 0; i < 256; i++) {
        v[i] = ((float)i - 100.5f) * s;
        float t = rintf(v[i] / s) + 100;
        want[i] = (uint8_t)(t < 0 ? 0 : t > 255 ? 255 : t);
    }
    op_case_begin(&c, PQ_OP_QUANTIZE);
    op_case_in(&c, PTQC_F32, DIMS(256), v);
    op_case_out_quant(&c, 0, PTQC_U8, op_case_scale(&c, PTQC_U8, s, 100));
    op_case_run(&c);
    op_case_expect_bytes(&c, 0, want, 256);
    op_case_end(&c);
}

static void
quantize_channels(void **state)
{
    (void)state;
    op_case c;
    op_case_begin(&c, PQ_OP_QUANTIZE); // [2][2][2], axis 1
    op_case_in(&c, PTQC_F32, DIMS(2, 2, 2), (float[]){1, 2, 3, 4, 5, 6, 7, 8});
    pq_build_i64(&c.b, PQ_ATTR_TO, PTQC_I16);
    op_case_out_quant(&c, 0, PTQC_I16,
                      op_case_scales(&c, PTQC_I16, (float[]){0.5f, 2},
                                     (int32_t[]){10, -10}, 2, 1, 0));
    op_case_run(&c);
    EXPECT(&c, int16_t, 12, 14, -8, -8, 20, 22, -6, -6);
    op_case_end(&c);
}

static void
quantize_i32(void **state)
{
    (void)state;
    op_case c;
    op_case_begin(&c, PQ_OP_QUANTIZE);
    op_case_in(&c, PTQC_F32, DIMS(4), (float[]){1e9f, 1e12f, -1e12f, NAN});
    pq_build_i64(&c.b, PQ_ATTR_TO, PTQC_I32);
    op_case_out_quant(&c, 0, PTQC_I32, op_case_scale(&c, PTQC_I32, 1, 0));
    op_case_run(&c);
    EXPECT(&c, int32_t, 1000000000, INT32_MAX, INT32_MIN, INT32_MIN);
    op_case_end(&c);
}

static void
dequantize(void **state)
{
    (void)state;
    op_case c;
    op_case_begin(&c, PQ_OP_DEQUANTIZE);
    op_case_codes(&c, PTQC_U8, DIMS(3), (uint8_t[]){0, 128, 255},
                  op_case_scale(&c, PTQC_U8, 0.1f, 128));
    op_case_run(&c);
    EXPECT_F32(&c, -128 * 0.1f, 0, 127 * 0.1f);
    op_case_end(&c);

    op_case_begin(&c, PQ_OP_DEQUANTIZE); // u4, rows start on a byte
    op_case_codes(&c, PTQC_U4, DIMS(2, 3), (uint8_t[]){0x21, 0x0f, 0x80, 0x07},
                  op_case_scales(&c, PTQC_U4, (float[]){1, 0.5f},
                                 (int32_t[]){8, 0}, 2, 0, 0));
    op_case_run(&c);
    EXPECT_F32(&c, -7, -6, 7, 0, 4, 3.5f);
    op_case_end(&c);

    op_case_begin(&c, PQ_OP_DEQUANTIZE); // groups of 2 along axis 0
    op_case_codes(&c, PTQC_I8, DIMS(3, 2), (int8_t[]){1, 2, 3, 4, 5, 6},
                  op_case_scales(&c, PTQC_I8, (float[]){1, 10},
                                 (int32_t[]){0, 0}, 2, 0, 2));
    op_case_run(&c);
    EXPECT_F32(&c, 1, 2, 3, 4, 50, 60);
    op_case_end(&c);
}

static void
dynamic_rows(void **state)
{
    (void)state;
    const float x[5][3] = {{1, -2, 0.5f},
                           {0, 0, 0},
                           {1e-44f, 0, 0}, // its scale would be denormal
                           {NAN, 1, 2},
                           {127, -63.5f, 1.5f}};
    op_case c;
    op_case_begin(&c, PQ_OP_DYNAMIC_QUANTIZE);
    op_case_in(&c, PTQC_F32, DIMS(5, 3), x);
    pq_build_i64(&c.b, PQ_ATTR_TO, PTQC_I8);
    pq_quant token = {.scheme = {.format = PTQC_I8,
                                 .granularity = PQ_GRAN_TOKEN,
                                 .axis = 1,
                                 .symmetric = true,
                                 .dynamic = true}};
    op_case_out_quant(&c, 0, PTQC_I8, pq_graph_add_quant(c.g, &token));
    op_case_run(&c);
    EXPECT(&c, int8_t, 64, -127, 32, 0, 0, 0, 0, 0, 0, -127, -127, -127, 127,
           -64, 2);
    op_case_expect_f32(&c, 1, (float[]){2.0f / 127.0f, 0, 0, NAN, 1}, 5,
                       op_case_exact);
    op_case_end(&c);
}

static void
hostile_parameters(void **state)
{
    (void)state;
    op_case c;
    op_case_begin(&c, PQ_OP_DEQUANTIZE); // zero point outside the codes
    op_case_codes(&c, PTQC_U8, DIMS(1), (uint8_t[]){1},
                  op_case_scale(&c, PTQC_U8, 1, INT32_MIN));
    op_case_try(&c);
    assert_int_equal(c.st, PTQC_E_INPUT);
    assert_non_null(strstr(c.sink.text, "zero point"));
    op_case_end(&c);
    op_case_begin(&c, PQ_OP_DEQUANTIZE); // 3 scales for 2 channels
    op_case_codes(&c, PTQC_U8, DIMS(2), (uint8_t[]){1, 2},
                  op_case_scales(&c, PTQC_U8, (float[]){1, 1, 1},
                                 (int32_t[]){0, 0, 0}, 3, 0, 0));
    op_case_try(&c);
    assert_int_equal(c.st, PTQC_E_INPUT);
    op_case_end(&c);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(float_to_integer),
        cmocka_unit_test(integer_to_all),
        cmocka_unit_test(between_floats),
        cmocka_unit_test(quantize_ties_and_limits),
        cmocka_unit_test(quantize_channels),
        cmocka_unit_test(quantize_i32),
        cmocka_unit_test(dequantize),
        cmocka_unit_test(dynamic_rows),
        cmocka_unit_test(hostile_parameters),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
