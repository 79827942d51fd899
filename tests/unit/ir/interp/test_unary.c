// SPDX-License-Identifier: Apache-2.0
//
// Elementwise ops of one input.
#include "base/float16.h"
#include "base/mathfn.h"
#include "tests/unit/ir/interp/op_case.h"

static float
unary_f32(pq_opcode code, float x)
{
    op_case c;
    op_case_begin(&c, code);
    op_case_in(&c, PTQC_F32, DIMS(1), &x);
    op_case_run(&c);
    float y = *(float *)c.out[0].p;
    op_case_end(&c);
    return y;
}

typedef struct function {
    pq_opcode code;
    double (*fn)(double x);
    float low, high;
    double absolute; // error allowed beside 4 ulp
} function;

static double
ref_relu(double x)
{
    return x > 0 ? x : 0;
}

static double
ref_sigmoid(double x)
{
    return 1 / (1 + exp(-x));
}

static double
ref_gelu(double x)
{
    return x / 2 * erfc(-x / sqrt(2.0));
}

static double
ref_gelu_tanh(double x)
{
    return x / 2 *
           (1 + tanh(sqrt(2 / acos(-1.0)) * (x + 0.044715 * x * x * x)));
}

static double
ref_silu(double x)
{
    return x / (1 + exp(-x));
}

static double
ref_hardswish(double x)
{
    double t = x / 6 + 0.5;
    return x * (t < 0 ? 0 : t > 1 ? 1 : t);
}

static double
ref_hardsigmoid(double x)
{
    double t = 0.2 * x + 0.5;
    return t < 0 ? 0 : t > 1 ? 1 : t;
}

static double
ref_softplus(double x)
{
    return log1p(exp(x));
}

static double
ref_softsign(double x)
{
    return x / (1 + fabs(x));
}

static double
ref_mish(double x)
{
    return x * tanh(log1p(exp(x)));
}

static double
ref_elu(double x)
{
    return x < 0 ? expm1(x) : x;
}

static double
ref_selu(double x)
{
    return 1.05070102214813232421875 *
           (x < 0 ? 1.67326319217681884765625 * expm1(x) : x);
}

static double
ref_leaky(double x)
{
    return x < 0 ? (double)0.01f * x : x;
}

static double
ref_rsqrt(double x)
{
    return 1 / sqrt(x);
}

static double
ref_reciprocal(double x)
{
    return 1 / x;
}

static const function functions[] = {
    {PQ_OP_EXP, exp, -20, 20, 0},
    {PQ_OP_LOG, log, 0.01f, 100, 0},
    {PQ_OP_SQRT, sqrt, 0, 100, 0},
    {PQ_OP_RSQRT, ref_rsqrt, 0.01f, 100, 0},
    {PQ_OP_RECIPROCAL, ref_reciprocal, 0.01f, 100, 0},
    {PQ_OP_SIN, sin, -10, 10, 0},
    {PQ_OP_COS, cos, -10, 10, 0},
    {PQ_OP_TAN, tan, -1.5f, 1.5f, 0},
    {PQ_OP_ASIN, asin, -1, 1, 0},
    {PQ_OP_ACOS, acos, -1, 1, 0},
    {PQ_OP_ATAN, atan, -9, 9, 0},
    {PQ_OP_SINH, sinh, -5, 5, 0},
    {PQ_OP_COSH, cosh, -5, 5, 0},
    {PQ_OP_ASINH, asinh, -9, 9, 0},
    {PQ_OP_ACOSH, acosh, 1, 9, 0},
    {PQ_OP_ATANH, atanh, -0.9f, 0.9f, 0},
    {PQ_OP_TANH, tanh, -9, 9, 0},
    {PQ_OP_SIGMOID, ref_sigmoid, -20, 20, 0},
    {PQ_OP_ERF, erf, -4, 4, 0},
    {PQ_OP_RELU, ref_relu, -2, 2, 0},
    {PQ_OP_LEAKY_RELU, ref_leaky, -2, 2, 0},
    {PQ_OP_ELU, ref_elu, -5, 5, 0},
    {PQ_OP_SELU, ref_selu, -5, 5, 0},
    {PQ_OP_CELU, ref_elu, -5, 5, 0},
    {PQ_OP_SOFTPLUS, ref_softplus, -9, 9, 0},
    {PQ_OP_SOFTSIGN, ref_softsign, -9, 9, 0},
    {PQ_OP_GELU, ref_gelu, -5, 5, 1e-6},
    {PQ_OP_GELU_TANH, ref_gelu_tanh, -5, 5, 1e-6},
    {PQ_OP_SILU, ref_silu, -9, 9, 0},
    {PQ_OP_HARDSWISH, ref_hardswish, -5, 5, 3e-7},
    {PQ_OP_HARDSIGMOID, ref_hardsigmoid, -5, 5, 1e-7},
    {PQ_OP_MISH, ref_mish, -9, 9, 0},
    {PQ_OP_FLOOR, floor, -9, 9, 0},
    {PQ_OP_CEIL, ceil, -9, 9, 0},
    {PQ_OP_ROUND, rint, -9, 9, 0},
    {PQ_OP_ABS, fabs, -9, 9, 0},
};

#define POINTS 37 // not a multiple of any vector width

static void
functions_match_double(void **state)
{
    (void)state;
    pq_test_random r = pq_test_random_seed(1);
    for (size_t f = 0; f < sizeof functions / sizeof functions[0]; f++) {
        float x[POINTS], want[POINTS];
        op_case c;
        pq_test_fill_f32(&r, x, POINTS, functions[f].low, functions[f].high);
        for (int i = 0; i < POINTS; i++) {
            want[i] = (float)functions[f].fn((double)x[i]);
        }
        op_case_begin(&c, functions[f].code);
        op_case_in(&c, PTQC_F32, DIMS(POINTS), x);
        op_case_run(&c);
        op_case_expect_f32(
            &c, 0, want, POINTS,
            (pq_test_tolerance){.ulp = 5, .absolute = functions[f].absolute});
        op_case_end(&c);
    }
}

// The f64 path is the C library's function itself.
static void
functions_in_f64(void **state)
{
    (void)state;
    pq_test_random r = pq_test_random_seed(2);
    for (size_t f = 0; f < sizeof functions / sizeof functions[0]; f++) {
        double x[POINTS];
        op_case c;
        for (int i = 0; i < POINTS; i++) {
            x[i] = (double)pq_test_random_f32(&r, functions[f].low,
                                              functions[f].high);
        }
        op_case_begin(&c, functions[f].code);
        op_case_in(&c, PTQC_F64, DIMS(POINTS), x);
        op_case_run(&c);
        const double *y = c.out[0].p;
        for (int i = 0; i < POINTS; i++) {
            double want = functions[f].fn(x[i]);
            // The references' constants 0.2 and others are f32 in the op.
            assert_true(fabs(y[i] - want) <= 4e-8 + 1e-13 * fabs(want));
        }
        op_case_end(&c);
    }
}

static void
nan_and_infinity(void **state)
{
    (void)state;
    static const pq_opcode keeps_nan[] = {
        PQ_OP_NEG,
        PQ_OP_EXP,
        PQ_OP_LOG,
        PQ_OP_TANH,
        PQ_OP_SIGMOID,
        PQ_OP_ERF,
        PQ_OP_RELU,
        PQ_OP_CLIP,
        PQ_OP_GELU,
        PQ_OP_SILU,
        PQ_OP_SIGN,
        PQ_OP_ROUND,
        PQ_OP_FLOOR,
        PQ_OP_ELU,
        PQ_OP_SOFTPLUS,
        PQ_OP_SHRINK,
        PQ_OP_THRESHOLDED_RELU,
    };
    for (size_t i = 0; i < sizeof keeps_nan / sizeof keeps_nan[0]; i++) {
        assert_true(isnan(unary_f32(keeps_nan[i], nanf(""))));
    }
    assert_true(unary_f32(PQ_OP_EXP, INFINITY) == INFINITY);
    assert_true(unary_f32(PQ_OP_EXP, -INFINITY) == 0.0f);
    assert_true(isnan(unary_f32(PQ_OP_LOG, -1.0f)));
    assert_true(unary_f32(PQ_OP_LOG, 0.0f) == -INFINITY);
    assert_true(unary_f32(PQ_OP_TANH, INFINITY) == 1.0f);
    assert_true(unary_f32(PQ_OP_SIGMOID, -INFINITY) == 0.0f);
    assert_true(isnan(unary_f32(PQ_OP_SQRT, -1.0f)));
}

static void
parameters(void **state)
{
    (void)state;
    const float x[6] = {-3, -0.5f, 0, 0.5f, 3, 7};
    op_case c;
    op_case_begin(&c, PQ_OP_CLIP);
    op_case_in(&c, PTQC_F32, DIMS(6), x);
    pq_build_f32(&c.b, PQ_ATTR_ALPHA, -1);
    pq_build_f32(&c.b, PQ_ATTR_BETA, 3.5f);
    op_case_run(&c);
    EXPECT_F32(&c, -1, -0.5f, 0, 0.5f, 3, 3.5f);
    op_case_end(&c);

    op_case_begin(&c, PQ_OP_SHRINK);
    op_case_in(&c, PTQC_F32, DIMS(6), x);
    pq_build_f32(&c.b, PQ_ATTR_ALPHA, 1);   // lambd
    pq_build_f32(&c.b, PQ_ATTR_BETA, 0.5f); // bias
    op_case_run(&c);
    EXPECT_F32(&c, -2.5f, 0, 0, 0, 2.5f, 6.5f);
    op_case_end(&c);

    op_case_begin(&c, PQ_OP_THRESHOLDED_RELU);
    op_case_in(&c, PTQC_F32, DIMS(6), x);
    pq_build_f32(&c.b, PQ_ATTR_ALPHA, 3);
    op_case_run(&c);
    EXPECT_F32(&c, 0, 0, 0, 0, 0, 7);
    op_case_end(&c);

    op_case_begin(&c, PQ_OP_LEAKY_RELU);
    op_case_in(&c, PTQC_F32, DIMS(6), x);
    pq_build_f32(&c.b, PQ_ATTR_ALPHA, 0.25f);
    op_case_run(&c);
    EXPECT_F32(&c, -0.75f, -0.125f, 0, 0.5f, 3, 7);
    op_case_end(&c);
}

static void
integers_wrap(void **state)
{
    (void)state;
    op_case c;
    op_case_begin(&c, PQ_OP_NEG);
    op_case_in(&c, PTQC_I8, DIMS(4), (int8_t[]){-128, -1, 0, 127});
    op_case_run(&c);
    EXPECT(&c, int8_t, -128, 1, 0, -127);
    op_case_end(&c);

    op_case_begin(&c, PQ_OP_ABS);
    op_case_in(&c, PTQC_I64, DIMS(3), (int64_t[]){INT64_MIN, -5, 7});
    op_case_run(&c);
    EXPECT(&c, int64_t, INT64_MIN, 5, 7);
    op_case_end(&c);

    op_case_begin(&c, PQ_OP_SIGN);
    op_case_in(&c, PTQC_U64, DIMS(2), (uint64_t[]){UINT64_MAX, 0});
    op_case_run(&c);
    EXPECT(&c, uint64_t, 1, 0);
    op_case_end(&c);

    op_case_begin(&c, PQ_OP_BITWISE_NOT);
    op_case_in(&c, PTQC_U16, DIMS(2), (uint16_t[]){0, 0xff00});
    op_case_run(&c);
    EXPECT(&c, uint16_t, 0xffff, 0x00ff);
    op_case_end(&c);

    op_case_begin(&c, PQ_OP_NOT);
    op_case_in(&c, PTQC_BOOL, DIMS(3), (uint8_t[]){0, 1, 2});
    op_case_run(&c);
    EXPECT(&c, uint8_t, 1, 0, 0);
    op_case_end(&c);

    op_case_begin(&c, PQ_OP_CLIP);
    op_case_in(&c, PTQC_I32, DIMS(3), (int32_t[]){-9, 4, 100});
    pq_build_f32(&c.b, PQ_ATTR_ALPHA, -2);
    pq_build_f32(&c.b, PQ_ATTR_BETA, 50);
    op_case_run(&c);
    EXPECT(&c, int32_t, -2, 4, 50);
    op_case_end(&c);

    op_case_begin(&c, PQ_OP_CLIP); // bounds beyond the type
    op_case_in(&c, PTQC_I8, DIMS(2), (int8_t[]){-128, 5});
    pq_build_f32(&c.b, PQ_ATTR_ALPHA, 1e30f);
    op_case_run(&c);
    EXPECT(&c, int8_t, 127, 127);
    op_case_end(&c);
}

// f16 and bf16: widened, computed in f32, rounded once.
static void
halves_round_once(void **state)
{
    (void)state;
    uint16_t x[5], want[5];
    const float v[5] = {-2.5f, -0.1f, 0.3f, 1.7f, 9.0f};
    op_case c;
    for (int i = 0; i < 5; i++) {
        x[i] = pq_f32_to_f16(v[i]);
        want[i] = pq_f32_to_f16(pq_tanhf(pq_f16_to_f32(x[i])));
    }
    op_case_begin(&c, PQ_OP_TANH);
    op_case_in(&c, PTQC_F16, DIMS(5), x);
    op_case_run(&c);
    op_case_expect_bytes(&c, 0, want, sizeof want);
    op_case_end(&c);
    for (int i = 0; i < 5; i++) {
        x[i] = pq_f32_to_bf16(v[i]);
        want[i] = pq_f32_to_bf16(pq_expf(pq_bf16_to_f32(x[i])));
    }
    op_case_begin(&c, PQ_OP_EXP);
    op_case_in(&c, PTQC_BF16, DIMS(5), x);
    op_case_run(&c);
    op_case_expect_bytes(&c, 0, want, sizeof want);
    op_case_end(&c);
}

static void
codes_through_f32(void **state)
{
    (void)state;
    op_case c;
    op_case_begin(&c, PQ_OP_RELU);
    op_case_codes(&c, PTQC_I8, DIMS(5), (int8_t[]){-128, -11, -10, -9, 127},
                  op_case_scale(&c, PTQC_I8, 0.37f, -10));
    op_case_out_quant(&c, 0, PTQC_I8, op_case_scale(&c, PTQC_I8, 0.37f, -10));
    op_case_run(&c);
    EXPECT(&c, int8_t, -10, -10, -10, -9, 127);
    op_case_end(&c);

    op_case_begin(&c, PQ_OP_SIGMOID);
    op_case_codes(&c, PTQC_U8, DIMS(3), (uint8_t[]){0, 128, 255},
                  op_case_scale(&c, PTQC_U8, 0.1f, 128));
    op_case_out_quant(&c, 0, PTQC_U8,
                      op_case_scale(&c, PTQC_U8, 1.0f / 256.0f, 0));
    op_case_run(&c);
    EXPECT(&c, uint8_t, 0, 128, 255);
    op_case_end(&c);
}

static void
tests_of_floats(void **state)
{
    (void)state;
    op_case c;
    const float x[5] = {1, nanf(""), INFINITY, -INFINITY, 0};
    op_case_begin(&c, PQ_OP_IS_NAN);
    op_case_in(&c, PTQC_F32, DIMS(5), x);
    op_case_run(&c);
    EXPECT(&c, uint8_t, 0, 1, 0, 0, 0);
    op_case_end(&c);
    op_case_begin(&c, PQ_OP_IS_INF);
    op_case_in(&c, PTQC_F32, DIMS(5), x);
    op_case_run(&c);
    EXPECT(&c, uint8_t, 0, 0, 1, 1, 0);
    op_case_end(&c);
}

static void
empty_and_scalar(void **state)
{
    (void)state;
    op_case c;
    op_case_begin(&c, PQ_OP_EXP);
    op_case_in(&c, PTQC_F32, DIMS(3, 0, 2), "");
    op_case_run(&c);
    assert_int_equal(c.out[0].bytes, 0);
    op_case_end(&c);
    op_case_begin(&c, PQ_OP_NEG);
    op_case_in(&c, PTQC_F32, NO_DIMS, (float[]){2});
    op_case_run(&c);
    EXPECT_F32(&c, -2);
    op_case_end(&c);
}

static void
declines(void **state)
{
    (void)state;
    op_case c;
    op_case_begin(&c, PQ_OP_EXP);
    op_case_in(&c, PTQC_I32, DIMS(1), (int32_t[]){1});
    op_case_try(&c);
    assert_int_equal(c.st, PTQC_E_UNSUPPORTED);
    assert_non_null(strstr(c.sink.text, "exp 'op'"));
    op_case_end(&c);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(functions_match_double),
        cmocka_unit_test(functions_in_f64),
        cmocka_unit_test(nan_and_infinity),
        cmocka_unit_test(parameters),
        cmocka_unit_test(integers_wrap),
        cmocka_unit_test(halves_round_once),
        cmocka_unit_test(codes_through_f32),
        cmocka_unit_test(tests_of_floats),
        cmocka_unit_test(empty_and_scalar),
        cmocka_unit_test(declines),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
