// SPDX-License-Identifier: Apache-2.0
//
// arg_max, arg_min, topk, cumsum, range, shape.
#include "tests/unit/ir/interp/op_case.h"

static void
arg_ties(void **state)
{
    (void)state;
    op_case c;
    for (int last = 0; last < 2; last++) {
        op_case_begin(&c, PQ_OP_ARG_MAX);
        op_case_in(&c, PTQC_F32, DIMS(2, 4),
                   (float[]){1, 3, 3, 2, -0.0f, 0, -1, 0});
        pq_build_i64(&c.b, PQ_ATTR_AXIS, 1);
        pq_build_i64(&c.b, PQ_ATTR_KEEPDIMS, 0);
        pq_build_i64(&c.b, PQ_ATTR_LAST, last);
        op_case_run(&c);
        if (last) {
            EXPECT(&c, int64_t, 2, 3);
        } else {
            EXPECT(&c, int64_t, 1, 0);
        }
        op_case_end(&c);
    }
}

static void
arg_nan_and_types(void **state)
{
    (void)state;
    op_case c;
    const float x[4] = {INFINITY, 1, NAN, -INFINITY};
    op_case_begin(&c, PQ_OP_ARG_MAX);
    op_case_in(&c, PTQC_F32, DIMS(4), x);
    op_case_run(&c);
    EXPECT(&c, int64_t, 2);
    op_case_end(&c);
    op_case_begin(&c, PQ_OP_ARG_MIN);
    op_case_in(&c, PTQC_F32, DIMS(4), x);
    op_case_run(&c);
    EXPECT(&c, int64_t, 2);
    op_case_end(&c);
    op_case_begin(&c, PQ_OP_ARG_MIN); // along axis 0
    op_case_in(&c, PTQC_F64, DIMS(2, 2), (double[]){1, -2, -3, 4});
    op_case_run(&c);
    EXPECT(&c, int64_t, 1, 0);
    op_case_end(&c);
    op_case_begin(&c, PQ_OP_ARG_MIN);
    op_case_in(&c, PTQC_I64, DIMS(3), (int64_t[]){5, INT64_MIN, INT64_MAX});
    op_case_run(&c);
    EXPECT(&c, int64_t, 1);
    op_case_end(&c);
    op_case_begin(&c, PQ_OP_ARG_MAX);
    op_case_in(&c, PTQC_U64, DIMS(2), (uint64_t[]){1, UINT64_MAX});
    op_case_run(&c);
    EXPECT(&c, int64_t, 1);
    op_case_end(&c);
}

static void
top(void **state)
{
    (void)state;
    op_case c;
    for (int largest = 0; largest < 2; largest++) {
        op_case_begin(&c, PQ_OP_TOPK);
        op_case_in(&c, PTQC_F32, DIMS(1, 5), (float[]){2, -7, 9, 2, -7.5f});
        pq_build_i64(&c.b, PQ_ATTR_K, 3);
        pq_build_i64(&c.b, PQ_ATTR_LARGEST, largest);
        op_case_run(&c);
        if (largest) {
            EXPECT_F32(&c, 9, 2, 2);
            op_case_expect_bytes(&c, 1, (int64_t[]){2, 0, 3}, 24);
        } else {
            EXPECT_F32(&c, -7.5f, -7, 2);
            op_case_expect_bytes(&c, 1, (int64_t[]){4, 1, 0}, 24);
        }
        op_case_end(&c);
    }
    op_case_begin(&c, PQ_OP_TOPK); // axis 0, k = 1
    op_case_in(&c, PTQC_I32, DIMS(2, 2), (int32_t[]){1, 8, 5, -8});
    pq_build_i64(&c.b, PQ_ATTR_K, 1);
    pq_build_i64(&c.b, PQ_ATTR_AXIS, 0);
    op_case_run(&c);
    EXPECT(&c, int32_t, 5, 8);
    op_case_expect_bytes(&c, 1, (int64_t[]){1, 0}, 16);
    op_case_end(&c);
}

static void
cumsum(void **state)
{
    (void)state;
    static const float want[4][4] = {
        {1, 3, 6, 10}, {10, 9, 7, 4}, {0, 1, 3, 6}, {9, 7, 4, 0}};
    for (int i = 0; i < 4; i++) {
        op_case c;
        op_case_begin(&c, PQ_OP_CUMSUM);
        op_case_in(&c, PTQC_F32, DIMS(4, 1), (float[]){1, 2, 3, 4});
        pq_build_i64(&c.b, PQ_ATTR_REVERSE, i & 1);
        pq_build_i64(&c.b, PQ_ATTR_EXCLUSIVE, i >> 1);
        op_case_run(&c);
        op_case_expect_f32(&c, 0, want[i], 4, op_case_exact);
        op_case_end(&c);
    }
    op_case c;
    op_case_begin(&c, PQ_OP_CUMSUM);
    op_case_in(&c, PTQC_I32, DIMS(3), (int32_t[]){INT32_MAX, 1, 5});
    op_case_run(&c);
    EXPECT(&c, int32_t, INT32_MAX, INT32_MIN, INT32_MIN + 5);
    op_case_end(&c);
}

static void
range_and_shape(void **state)
{
    (void)state;
    op_case c;
    op_case_begin(&c, PQ_OP_RANGE);
    pq_dim start = pq_dim_const(c.g, 5), n = pq_dim_const(c.g, 4);
    pq_build_dims(&c.b, PQ_ATTR_START, &start, 1);
    pq_build_dims(&c.b, PQ_ATTR_SHAPE, &n, 1);
    pq_build_i64(&c.b, PQ_ATTR_DELTA, -2);
    pq_build_i64(&c.b, PQ_ATTR_TO, PTQC_F32);
    op_case_run(&c);
    EXPECT_F32(&c, 5, 3, 1, -1);
    op_case_end(&c);
    op_case_begin(&c, PQ_OP_SHAPE);
    op_case_in(&c, PTQC_F32, DIMS(3, 0, 7), "");
    op_case_run(&c);
    EXPECT(&c, int64_t, 3, 0, 7);
    op_case_end(&c);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(arg_ties),
        cmocka_unit_test(arg_nan_and_types),
        cmocka_unit_test(top),
        cmocka_unit_test(cumsum),
        cmocka_unit_test(range_and_shape),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
