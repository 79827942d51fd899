// SPDX-License-Identifier: Apache-2.0
//
// Elementwise ops of two inputs, comparisons, where, pow with mixed types.
#include "base/float16.h"
#include "base/mathfn.h"
#include "tests/unit/ir/interp/op_case.h"

static void
run2(op_case *c, pq_opcode code, ptqc_dtype t, const void *a, const void *b,
     int64_t n)
{
    op_case_begin(c, code);
    op_case_in(c, t, DIMS(n), a);
    op_case_in(c, t, DIMS(n), b);
    op_case_run(c);
}

static void
arithmetic_f32(void **state)
{
    (void)state;
    const float a[5] = {1, -2, 0, 7.5f, -7.5f};
    const float b[5] = {3, 0.5f, 0, -2, 2};
    op_case c;
    run2(&c, PQ_OP_ADD, PTQC_F32, a, b, 5);
    EXPECT_F32(&c, 4, -1.5f, 0, 5.5f, -5.5f);
    op_case_end(&c);
    run2(&c, PQ_OP_SUB, PTQC_F32, a, b, 5);
    EXPECT_F32(&c, -2, -2.5f, 0, 9.5f, -9.5f);
    op_case_end(&c);
    run2(&c, PQ_OP_MUL, PTQC_F32, a, b, 5);
    EXPECT_F32(&c, 3, -1, 0, -15, -15);
    op_case_end(&c);
    run2(&c, PQ_OP_DIV, PTQC_F32, a, b, 5);
    EXPECT_F32(&c, 1.0f / 3.0f, -4, NAN, -3.75f, -3.75f);
    op_case_end(&c);
    run2(&c, PQ_OP_MOD, PTQC_F32, a, b, 5); // sign of the divisor
    EXPECT_F32(&c, 1, 0, NAN, -0.5f, 0.5f);
    op_case_end(&c);
    run2(&c, PQ_OP_FMOD, PTQC_F32, a, b, 5); // sign of the dividend
    EXPECT_F32(&c, 1, -0.0f, NAN, 1.5f, -1.5f);
    op_case_end(&c);
    run2(&c, PQ_OP_PRELU, PTQC_F32, a, b, 5);
    EXPECT_F32(&c, 1, -1, 0, 7.5f, -15);
    op_case_end(&c);
    run2(&c, PQ_OP_POW, PTQC_F32, (float[]){2, 9, -2, 0, 4},
         (float[]){10, 0.5f, 3, 0, -1}, 5);
    EXPECT_F32(&c, 1024, 3, -8, 1, 0.25f);
    op_case_end(&c);
}

static void
nan_wins_min_and_max(void **state)
{
    (void)state;
    const float a[4] = {1, NAN, 2, NAN};
    const float b[4] = {2, 1, NAN, NAN};
    op_case c;
    run2(&c, PQ_OP_MAX, PTQC_F32, a, b, 4);
    EXPECT_F32(&c, 2, NAN, NAN, NAN);
    op_case_end(&c);
    run2(&c, PQ_OP_MIN, PTQC_F32, a, b, 4);
    EXPECT_F32(&c, 1, NAN, NAN, NAN);
    op_case_end(&c);
    run2(&c, PQ_OP_MIN, PTQC_F64, (double[]){1, (double)NAN}, (double[]){-3, 0},
         2);
    assert_true(((double *)c.out[0].p)[0] == -3.0);
    assert_true(isnan(((double *)c.out[0].p)[1]));
    op_case_end(&c);
}

static void
broadcasting(void **state)
{
    (void)state;
    op_case c;
    op_case_begin(&c, PQ_OP_SUB); // [2,1,3] - [4,1] -> [2,4,3]
    op_case_in(&c, PTQC_F32, DIMS(2, 1, 3), (float[]){1, 2, 3, 4, 5, 6});
    op_case_in(&c, PTQC_F32, DIMS(4, 1), (float[]){0, 10, 20, 30});
    op_case_run(&c);
    float want[24];
    for (int i = 0; i < 24; i++) {
        want[i] = (float)(i / 12 * 3 + i % 3 + 1 - i / 3 % 4 * 10);
    }
    op_case_expect_f32(&c, 0, want, 24, op_case_exact);
    op_case_end(&c);

    op_case_begin(&c, PQ_OP_ADD); // scalar with a tensor
    op_case_in(&c, PTQC_I64, NO_DIMS, (int64_t[]){5});
    op_case_in(&c, PTQC_I64, DIMS(3), (int64_t[]){1, 2, 3});
    op_case_run(&c);
    EXPECT(&c, int64_t, 6, 7, 8);
    op_case_end(&c);

    op_case_begin(&c, PQ_OP_ADD); // empty
    op_case_in(&c, PTQC_F32, DIMS(2, 0), "");
    op_case_in(&c, PTQC_F32, DIMS(2, 1), (float[]){1, 2});
    op_case_run(&c);
    assert_int_equal(c.out[0].bytes, 0);
    op_case_end(&c);
}

static void
fused_activation(void **state)
{
    (void)state;
    op_case c;
    op_case_begin(&c, PQ_OP_ADD);
    op_case_in(&c, PTQC_F32, DIMS(3), (float[]){1, -4, 9});
    op_case_in(&c, PTQC_F32, DIMS(3), (float[]){1, 1, 1});
    pq_build_i64(&c.b, PQ_ATTR_ACT, PQ_OP_CLIP);
    pq_build_f32(&c.b, PQ_ATTR_ACT_ALPHA, 0);
    pq_build_f32(&c.b, PQ_ATTR_ACT_BETA, 6);
    op_case_run(&c);
    EXPECT_F32(&c, 2, 0, 6);
    op_case_end(&c);

    op_case_begin(&c, PQ_OP_ADD); // declined before it runs
    op_case_in(&c, PTQC_F64, DIMS(1), (double[]){1});
    op_case_in(&c, PTQC_F64, DIMS(1), (double[]){1});
    pq_build_i64(&c.b, PQ_ATTR_ACT, PQ_OP_RELU);
    op_case_build(&c);
    assert_non_null(pq_interp_declines(c.g, pq_graph_op(c.g, c.op)));
    op_case_end(&c);
}

static void
integers(void **state)
{
    (void)state;
    const int32_t a[6] = {7, -7, INT32_MIN, 5, INT32_MAX, -7};
    const int32_t b[6] = {2, 2, -1, 0, 1, -2};
    op_case c;
    run2(&c, PQ_OP_ADD, PTQC_I32, a, b, 6);
    EXPECT(&c, int32_t, 9, -5, INT32_MAX, 5, INT32_MIN, -9);
    op_case_end(&c);
    run2(&c, PQ_OP_DIV, PTQC_I32, a, b, 6); // truncates; x / 0 = 0
    EXPECT(&c, int32_t, 3, -3, INT32_MIN, 0, INT32_MAX, 3);
    op_case_end(&c);
    run2(&c, PQ_OP_MOD, PTQC_I32, a, b, 6);
    EXPECT(&c, int32_t, 1, 1, 0, 0, 0, -1);
    op_case_end(&c);
    run2(&c, PQ_OP_FMOD, PTQC_I32, a, b, 6);
    EXPECT(&c, int32_t, 1, -1, 0, 0, 0, -1);
    op_case_end(&c);
    run2(&c, PQ_OP_MUL, PTQC_I8, (int8_t[]){-128, 100}, (int8_t[]){-1, 3}, 2);
    EXPECT(&c, int8_t, -128, 44);
    op_case_end(&c);
    run2(&c, PQ_OP_DIV, PTQC_U64, (uint64_t[]){UINT64_MAX, 5},
         (uint64_t[]){2, 0}, 2);
    EXPECT(&c, uint64_t, UINT64_MAX / 2, 0);
    op_case_end(&c);
    run2(&c, PQ_OP_MAX, PTQC_U64, (uint64_t[]){UINT64_MAX}, (uint64_t[]){1}, 1);
    EXPECT(&c, uint64_t, UINT64_MAX);
    op_case_end(&c);
    run2(&c, PQ_OP_POW, PTQC_I32, (int32_t[]){3, -2, 2, -1},
         (int32_t[]){4, 3, -1, -3}, 4);
    EXPECT(&c, int32_t, 81, -8, 0, -1);
    op_case_end(&c);
}

static void
bits_and_logic(void **state)
{
    (void)state;
    op_case c;
    run2(&c, PQ_OP_SHIFT_LEFT, PTQC_U8, (uint8_t[]){129, 1, 1},
         (uint8_t[]){1, 7, 8}, 3);
    EXPECT(&c, uint8_t, 2, 128, 0);
    op_case_end(&c);
    run2(&c, PQ_OP_SHIFT_RIGHT, PTQC_I8, (int8_t[]){-1, 64, -128},
         (int8_t[]){4, 6, 8}, 3);
    EXPECT(&c, int8_t, 15, 1, 0); // logical
    op_case_end(&c);
    run2(&c, PQ_OP_BITWISE_XOR, PTQC_I32, (int32_t[]){-1, 12},
         (int32_t[]){5, 10}, 2);
    EXPECT(&c, int32_t, -6, 6);
    op_case_end(&c);
    const uint8_t p[4] = {0, 0, 1, 1}, q[4] = {0, 1, 0, 1};
    run2(&c, PQ_OP_AND, PTQC_BOOL, p, q, 4);
    EXPECT(&c, uint8_t, 0, 0, 0, 1);
    op_case_end(&c);
    run2(&c, PQ_OP_OR, PTQC_BOOL, p, q, 4);
    EXPECT(&c, uint8_t, 0, 1, 1, 1);
    op_case_end(&c);
    run2(&c, PQ_OP_XOR, PTQC_BOOL, p, q, 4);
    EXPECT(&c, uint8_t, 0, 1, 1, 0);
    op_case_end(&c);
}

static void
comparisons(void **state)
{
    (void)state;
    const float a[4] = {1, 2, NAN, 3}, b[4] = {2, 2, 1, 1};
    op_case c;
    run2(&c, PQ_OP_LESS, PTQC_F32, a, b, 4);
    EXPECT(&c, uint8_t, 1, 0, 0, 0);
    op_case_end(&c);
    run2(&c, PQ_OP_GREATER_EQUAL, PTQC_F32, a, b, 4);
    EXPECT(&c, uint8_t, 0, 1, 0, 1);
    op_case_end(&c);
    run2(&c, PQ_OP_EQUAL, PTQC_F32, a, a, 4);
    EXPECT(&c, uint8_t, 1, 1, 0, 1);
    op_case_end(&c);
    run2(&c, PQ_OP_GREATER, PTQC_U64, (uint64_t[]){UINT64_MAX}, (uint64_t[]){1},
         1);
    EXPECT(&c, uint8_t, 1);
    op_case_end(&c);
    run2(&c, PQ_OP_LESS_EQUAL, PTQC_I64, (int64_t[]){-1, 4}, (int64_t[]){1, 3},
         2);
    EXPECT(&c, uint8_t, 1, 0);
    op_case_end(&c);
}

static void
choice(void **state)
{
    (void)state;
    op_case c;
    op_case_begin(&c, PQ_OP_WHERE);
    op_case_in(&c, PTQC_BOOL, DIMS(2, 1), (uint8_t[]){1, 0});
    op_case_in(&c, PTQC_I16, DIMS(3), (int16_t[]){1, 2, 3});
    op_case_in(&c, PTQC_I16, NO_DIMS, (int16_t[]){-9});
    op_case_run(&c);
    EXPECT(&c, int16_t, 1, 2, 3, -9, -9, -9);
    op_case_end(&c);
}

static void
codes(void **state)
{
    (void)state;
    const uint8_t a[3] = {0, 130, 255}, b[3] = {10, 20, 255};
    uint8_t want[3];
    for (int i = 0; i < 3; i++) {
        float v = (float)(a[i] - 128) * 0.1f + (float)(b[i] - 3) * 0.07f;
        float t = rintf(v / 0.2f) + 90;
        want[i] = (uint8_t)(t < 0 ? 0 : t > 255 ? 255 : t);
    }
    op_case c;
    op_case_begin(&c, PQ_OP_ADD);
    op_case_codes(&c, PTQC_U8, DIMS(3), a,
                  op_case_scale(&c, PTQC_U8, 0.1f, 128));
    op_case_codes(&c, PTQC_U8, DIMS(3), b,
                  op_case_scale(&c, PTQC_U8, 0.07f, 3));
    op_case_out_quant(&c, 0, PTQC_U8, op_case_scale(&c, PTQC_U8, 0.2f, 90));
    op_case_run(&c);
    op_case_expect_bytes(&c, 0, want, 3);
    op_case_end(&c);
}

static void
bf16_rounds_once(void **state)
{
    (void)state;
    uint16_t a = pq_f32_to_bf16(1.0f), b = pq_f32_to_bf16(0.001953125f);
    op_case c;
    op_case_begin(&c, PQ_OP_ADD); // 1 + 2^-9 rounds to even: 1
    op_case_in(&c, PTQC_BF16, DIMS(1), &a);
    op_case_in(&c, PTQC_BF16, DIMS(1), &b);
    op_case_run(&c);
    EXPECT(&c, uint16_t, 0x3f80);
    op_case_end(&c);
}

static void
pow_of_mixed_types(void **state)
{
    (void)state;
    op_case c;
    op_case_begin(&c, PQ_OP_POW);
    op_case_in(&c, PTQC_F32, DIMS(2), (float[]){3, -2});
    op_case_in(&c, PTQC_I64, DIMS(1), (int64_t[]){3});
    op_case_run(&c);
    EXPECT_F32(&c, 27, -8);
    op_case_end(&c);
    op_case_begin(&c, PQ_OP_POW);
    op_case_in(&c, PTQC_I32, DIMS(2), (int32_t[]){9, 2});
    op_case_in(&c, PTQC_F32, DIMS(1), (float[]){0.5f});
    op_case_run(&c);
    EXPECT(&c, int32_t, 3, 1);
    op_case_end(&c);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(arithmetic_f32),
        cmocka_unit_test(nan_wins_min_and_max),
        cmocka_unit_test(broadcasting),
        cmocka_unit_test(fused_activation),
        cmocka_unit_test(integers),
        cmocka_unit_test(bits_and_logic),
        cmocka_unit_test(comparisons),
        cmocka_unit_test(choice),
        cmocka_unit_test(codes),
        cmocka_unit_test(bf16_rounds_once),
        cmocka_unit_test(pow_of_mixed_types),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
