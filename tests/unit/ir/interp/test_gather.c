// SPDX-License-Identifier: Apache-2.0
//
// gather, scatter and one_hot families.
#include "tests/unit/ir/interp/op_case.h"

static const float ramp[12] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11};

static void
gather_axes(void **state)
{
    (void)state;
    op_case c;
    op_case_begin(&c, PQ_OP_GATHER); // rows of [3][4]
    op_case_in(&c, PTQC_F32, DIMS(3, 4), ramp);
    op_case_in(&c, PTQC_I64, DIMS(2), (int64_t[]){2, -3});
    op_case_run(&c);
    EXPECT_F32(&c, 8, 9, 10, 11, 0, 1, 2, 3);
    op_case_end(&c);
    op_case_begin(&c, PQ_OP_GATHER); // columns, 2-d indices
    op_case_in(&c, PTQC_F32, DIMS(2, 3), ramp);
    op_case_in(&c, PTQC_I32, DIMS(2, 1), (int32_t[]){1, 2});
    pq_build_i64(&c.b, PQ_ATTR_AXIS, 1);
    op_case_run(&c);
    assert_int_equal(c.out[0].rank, 3);
    EXPECT_F32(&c, 1, 2, 4, 5);
    op_case_end(&c);
    op_case_begin(&c, PQ_OP_GATHER); // per batch row
    op_case_in(&c, PTQC_F32, DIMS(2, 3), ramp);
    op_case_in(&c, PTQC_I32, DIMS(2, 2), (int32_t[]){0, 2, 1, 1});
    pq_build_i64(&c.b, PQ_ATTR_AXIS, 1);
    pq_build_i64(&c.b, PQ_ATTR_BATCH_DIMS, 1);
    op_case_run(&c);
    EXPECT_F32(&c, 0, 2, 4, 4);
    op_case_end(&c);
}

static void
gather_outside(void **state)
{
    (void)state;
    static const int64_t bad[2] = {3, -4};
    for (int i = 0; i < 2; i++) {
        op_case c;
        op_case_begin(&c, PQ_OP_GATHER);
        op_case_in(&c, PTQC_F32, DIMS(3, 4), ramp);
        op_case_in(&c, PTQC_I64, DIMS(1), &bad[i]);
        op_case_try(&c);
        assert_int_equal(c.st, PTQC_E_INPUT);
        assert_non_null(strstr(c.sink.text, "outside an axis of size 3"));
        op_case_end(&c);
    }
}

// An embedding of 4-bit codes with float output: dequantized rows.
static void
gather_of_codes(void **state)
{
    (void)state;
    op_case c;
    op_case_begin(&c, PQ_OP_GATHER);
    op_case_codes(&c, PTQC_U4, DIMS(2, 3), (uint8_t[]){0x21, 0x0f, 0x80, 0x07},
                  op_case_scales(&c, PTQC_U4, (float[]){1, 0.5f},
                                 (int32_t[]){8, 0}, 2, 1, 0));
    pq_graph_value(c.g, c.b.inputs[0])->quant =
        op_case_scale(&c, PTQC_U4, 0.5f, 8);
    op_case_in(&c, PTQC_I64, DIMS(1), (int64_t[]){1});
    op_case_out_quant(&c, 0, PTQC_F32, (pq_quant_id){0});
    op_case_run(&c);
    EXPECT_F32(&c, -4, 0, -0.5f);
    op_case_end(&c);
}

static void
gather_others(void **state)
{
    (void)state;
    op_case c;
    op_case_begin(&c, PQ_OP_GATHER_ELEMENTS);
    op_case_in(&c, PTQC_F32, DIMS(3, 3), ramp);
    op_case_in(&c, PTQC_I64, DIMS(2, 3), (int64_t[]){1, 2, 0, -1, 0, 0});
    op_case_run(&c);
    EXPECT_F32(&c, 3, 7, 2, 6, 1, 2);
    op_case_end(&c);
    op_case_begin(&c, PQ_OP_GATHER_ND);
    op_case_in(&c, PTQC_F32, DIMS(2, 2, 3), ramp);
    op_case_in(&c, PTQC_I64, DIMS(2, 2), (int64_t[]){0, 1, 1, -2});
    op_case_run(&c);
    EXPECT_F32(&c, 3, 4, 5, 6, 7, 8);
    op_case_end(&c);
    op_case_begin(&c, PQ_OP_GATHER_ND);
    op_case_in(&c, PTQC_F32, DIMS(2, 2, 3), ramp);
    op_case_in(&c, PTQC_I64, DIMS(2, 1), (int64_t[]){1, 0});
    pq_build_i64(&c.b, PQ_ATTR_BATCH_DIMS, 1);
    op_case_run(&c);
    EXPECT_F32(&c, 3, 4, 5, 6, 7, 8);
    op_case_end(&c);
}

static void
scatter_elements(void **state)
{
    (void)state;
    const struct {
        int64_t reduction;
        float want[4];
    } cases[] = {{PQ_SCATTER_NONE, {1, 20, 3, 7}},
                 {PQ_SCATTER_ADD, {1, 32, 3, 11}},
                 {PQ_SCATTER_MUL, {1, 400, 3, 28}},
                 {PQ_SCATTER_MAX, {1, 20, 3, 7}},
                 {PQ_SCATTER_MIN, {1, 2, 3, 4}}};
    for (size_t i = 0; i < 5; i++) {
        op_case c;
        op_case_begin(&c, PQ_OP_SCATTER_ELEMENTS);
        op_case_in(&c, PTQC_F32, DIMS(1, 4), (float[]){1, 2, 3, 4});
        op_case_in(&c, PTQC_I64, DIMS(1, 3), (int64_t[]){1, 3, 1});
        op_case_in(&c, PTQC_F32, DIMS(1, 3), (float[]){10, 7, 20});
        pq_build_i64(&c.b, PQ_ATTR_AXIS, 1);
        pq_build_i64(&c.b, PQ_ATTR_REDUCTION, cases[i].reduction);
        op_case_run(&c);
        op_case_expect_f32(&c, 0, cases[i].want, 4, op_case_exact);
        op_case_end(&c);
    }
}

static void
scatter_nd(void **state)
{
    (void)state;
    op_case c;
    op_case_begin(&c, PQ_OP_SCATTER_ND);
    op_case_in(&c, PTQC_I8, DIMS(3, 2), (int8_t[]){1, 2, 3, 4, 5, 127});
    op_case_in(&c, PTQC_I64, DIMS(2, 1), (int64_t[]){2, 0});
    op_case_in(&c, PTQC_I8, DIMS(2, 2), (int8_t[]){10, 1, 30, 40});
    pq_build_i64(&c.b, PQ_ATTR_REDUCTION, PQ_SCATTER_ADD);
    op_case_run(&c);
    EXPECT(&c, int8_t, 31, 42, 3, 4, 15, -128);
    op_case_end(&c);
}

static void
one_hot(void **state)
{
    (void)state;
    op_case c;
    op_case_begin(&c, PQ_OP_ONE_HOT);
    op_case_in(&c, PTQC_I64, DIMS(4), (int64_t[]){1, -1, 3, 0});
    op_case_in(&c, PTQC_F32, DIMS(2), (float[]){-1, 5});
    pq_build_i64(&c.b, PQ_ATTR_K, 3);
    op_case_run(&c);
    EXPECT_F32(&c, -1, 5, -1, -1, -1, 5, -1, -1, -1, 5, -1, -1);
    op_case_end(&c);
    op_case_begin(&c, PQ_OP_ONE_HOT);
    op_case_in(&c, PTQC_I32, DIMS(2), (int32_t[]){1, 0});
    op_case_in(&c, PTQC_BOOL, DIMS(2), (uint8_t[]){0, 1});
    pq_build_i64(&c.b, PQ_ATTR_K, 2);
    pq_build_i64(&c.b, PQ_ATTR_AXIS, 0);
    op_case_run(&c);
    EXPECT(&c, uint8_t, 0, 1, 1, 0);
    op_case_end(&c);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gather_axes),      cmocka_unit_test(gather_outside),
        cmocka_unit_test(gather_of_codes),  cmocka_unit_test(gather_others),
        cmocka_unit_test(scatter_elements), cmocka_unit_test(scatter_nd),
        cmocka_unit_test(one_hot),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
