// SPDX-License-Identifier: Apache-2.0
//
// Reductions: order of the sum, axes, empty rows, NaN, integers, codes.
#include "base/float16.h"
#include "base/mathfn.h"
#include "tests/unit/ir/interp/op_case.h"

// docs/numerics.md section 7, written out once more.
static float
lane_sum(const float *x, int n)
{
    float lane[16] = {0};
    for (int i = 0; i < n; i++) {
        lane[i % 16] = lane[i % 16] + x[i];
    }
    float a[8], b[4];
    for (int i = 0; i < 8; i++) {
        a[i] = lane[i] + lane[i + 8];
    }
    for (int i = 0; i < 4; i++) {
        b[i] = a[i] + a[i + 4];
    }
    return (b[0] + b[2]) + (b[1] + b[3]);
}

static void
reduce(op_case *c, pq_opcode code, ptqc_dtype t, const int64_t *dims,
       uint32_t rank, const void *x)
{
    op_case_begin(c, code);
    op_case_in(c, t, dims, rank, x);
}

static void
order_of_sums(void **state)
{
    (void)state;
    pq_test_random r = pq_test_random_seed(1);
    static const int lengths[] = {1, 15, 16, 17, 33, 100};
    for (size_t i = 0; i < 6; i++) {
        float x[100];
        int n = lengths[i];
        pq_test_fill_normal(&r, x, 100, 100);
        op_case c;
        reduce(&c, PQ_OP_REDUCE_SUM, PTQC_F32, DIMS(n), x);
        op_case_run(&c);
        EXPECT_F32(&c, lane_sum(x, n));
        op_case_end(&c);
        reduce(&c, PQ_OP_REDUCE_MEAN, PTQC_F32, DIMS(n), x);
        op_case_run(&c);
        EXPECT_F32(&c, lane_sum(x, n) / (float)n);
        op_case_end(&c);
    }
}

static void
axes_flatten_row_major(void **state)
{
    (void)state;
    float x[2 * 3 * 19], row[2 * 19], want[3];
    pq_test_random r = pq_test_random_seed(2);
    pq_test_fill_normal(&r, x, 2 * 3 * 19, 10);
    for (int j = 0; j < 3; j++) { // axes 0 and 2 of [2][3][19]
        for (int i = 0; i < 2 * 19; i++) {
            row[i] = x[(i / 19 * 3 + j) * 19 + i % 19];
        }
        want[j] = lane_sum(row, 2 * 19);
    }
    op_case c;
    reduce(&c, PQ_OP_REDUCE_SUM, PTQC_F32, DIMS(2, 3, 19), x);
    pq_build_i64s(&c.b, PQ_ATTR_AXES, (int64_t[]){0, -1}, 2);
    op_case_run(&c);
    assert_int_equal(c.out[0].rank, 3);
    op_case_expect_f32(&c, 0, want, 3, op_case_exact);
    op_case_end(&c);

    reduce(&c, PQ_OP_REDUCE_MAX, PTQC_F32, DIMS(2, 3),
           (float[]){1, 5, 3, 4, 2, 6});
    pq_build_i64s(&c.b, PQ_ATTR_AXES, (int64_t[]){0}, 1);
    pq_build_i64(&c.b, PQ_ATTR_KEEPDIMS, 0);
    op_case_run(&c);
    assert_int_equal(c.out[0].rank, 1);
    EXPECT_F32(&c, 4, 5, 6);
    op_case_end(&c);
}

static void
one(pq_opcode code, const float *x, int64_t n, float want)
{
    op_case c;
    reduce(&c, code, PTQC_F32, DIMS(n), x);
    op_case_run(&c);
    op_case_expect_f32(&c, 0, &want, 1,
                       (pq_test_tolerance){.ulp = 2, .absolute = 1e-7});
    op_case_end(&c);
}

static void
every_op(void **state)
{
    (void)state;
    const float x[4] = {1, -2, 3, 0.5f};
    one(PQ_OP_REDUCE_L1, x, 4, 6.5f);
    one(PQ_OP_REDUCE_L2, x, 4, sqrtf(14.25f));
    one(PQ_OP_REDUCE_SUM_SQUARE, x, 4, 14.25f);
    one(PQ_OP_REDUCE_PROD, x, 4, -3);
    one(PQ_OP_REDUCE_MIN, x, 4, -2);
    one(PQ_OP_REDUCE_LOG_SUM, x, 4, 0.9162907318741551f);
    one(PQ_OP_REDUCE_LOG_SUM_EXP, x, 4,
        (float)log(exp(1.0) + exp(-2.0) + exp(3.0) + exp(0.5)));
    const float big[2] = {1000, 1000};
    one(PQ_OP_REDUCE_LOG_SUM_EXP, big, 2, 1000.6931471805599f);
    const float none[2] = {-INFINITY, -INFINITY};
    one(PQ_OP_REDUCE_LOG_SUM_EXP, none, 2, -INFINITY);
    const float bad[3] = {1, NAN, 3};
    one(PQ_OP_REDUCE_MAX, bad, 3, NAN);
    one(PQ_OP_REDUCE_MIN, bad, 3, NAN);
    one(PQ_OP_REDUCE_SUM, bad, 3, NAN);
}

static void
empty_rows(void **state)
{
    (void)state;
    const struct {
        pq_opcode code;
        float want;
    } cases[] = {{PQ_OP_REDUCE_SUM, 0},
                 {PQ_OP_REDUCE_PROD, 1},
                 {PQ_OP_REDUCE_MAX, -INFINITY},
                 {PQ_OP_REDUCE_MIN, INFINITY},
                 {PQ_OP_REDUCE_MEAN, NAN}};
    for (size_t i = 0; i < 5; i++) {
        op_case c;
        reduce(&c, cases[i].code, PTQC_F32, DIMS(2, 0), "");
        pq_build_i64s(&c.b, PQ_ATTR_AXES, (int64_t[]){1}, 1);
        op_case_run(&c);
        EXPECT_F32(&c, cases[i].want, cases[i].want);
        op_case_end(&c);
    }
    op_case c; // no outputs either
    reduce(&c, PQ_OP_REDUCE_SUM, PTQC_F32, DIMS(0, 3), "");
    pq_build_i64s(&c.b, PQ_ATTR_AXES, (int64_t[]){1}, 1);
    op_case_run(&c);
    assert_int_equal(c.out[0].bytes, 0);
    op_case_end(&c);
}

static void
integers(void **state)
{
    (void)state;
    op_case c;
    reduce(&c, PQ_OP_REDUCE_SUM, PTQC_I8, DIMS(3), (int8_t[]){100, 100, 1});
    op_case_run(&c);
    EXPECT(&c, int8_t, -55);
    op_case_end(&c);
    reduce(&c, PQ_OP_REDUCE_MEAN, PTQC_I32, DIMS(3), (int32_t[]){-1, -1, -2});
    op_case_run(&c);
    EXPECT(&c, int32_t, -1); // truncated
    op_case_end(&c);
    reduce(&c, PQ_OP_REDUCE_MAX, PTQC_U64, DIMS(2),
           (uint64_t[]){1, UINT64_MAX});
    op_case_run(&c);
    EXPECT(&c, uint64_t, UINT64_MAX);
    op_case_end(&c);
    reduce(&c, PQ_OP_REDUCE_MIN, PTQC_I64, DIMS(0), "");
    op_case_run(&c);
    EXPECT(&c, int64_t, INT64_MAX);
    op_case_end(&c);
    reduce(&c, PQ_OP_REDUCE_MAX, PTQC_BOOL, DIMS(2), (uint8_t[]){0, 1});
    op_case_run(&c);
    EXPECT(&c, uint8_t, 1);
    op_case_end(&c);
    reduce(&c, PQ_OP_REDUCE_L1, PTQC_I32, DIMS(2), (int32_t[]){-3, 4});
    op_case_run(&c);
    EXPECT(&c, int32_t, 7);
    op_case_end(&c);
    reduce(&c, PQ_OP_REDUCE_L2, PTQC_I32, DIMS(2), (int32_t[]){-3, 4});
    op_case_try(&c);
    assert_int_equal(c.st, PTQC_E_UNSUPPORTED);
    op_case_end(&c);
}

static void
doubles(void **state)
{
    (void)state;
    op_case c;
    reduce(&c, PQ_OP_REDUCE_SUM, PTQC_F64, DIMS(3), (double[]){1e16, 1, -1e16});
    op_case_run(&c);
    EXPECT(&c, double, 1.0); // lanes 0 and 2 meet before lane 1
    op_case_end(&c);
    reduce(&c, PQ_OP_REDUCE_MAX, PTQC_F64, DIMS(2), (double[]){-3, -2});
    op_case_run(&c);
    EXPECT(&c, double, -2.0);
    op_case_end(&c);
}

static void
half_rounds_once(void **state)
{
    (void)state;
    uint16_t x[300];
    for (int i = 0; i < 300; i++) {
        x[i] = pq_f32_to_f16(1.0f);
    }
    op_case c;
    reduce(&c, PQ_OP_REDUCE_SUM, PTQC_F16, DIMS(300), x);
    op_case_run(&c);
    EXPECT(&c, uint16_t, pq_f32_to_f16(300));
    op_case_end(&c);
}

static void
mean_of_codes(void **state)
{
    (void)state;
    const int8_t x[2][5] = {{-128, 127, 3, 4, 5}, {-1, -1, -1, -1, 0}};
    int8_t want[2];
    float real[2];
    for (int i = 0; i < 2; i++) {
        int sum = 0;
        for (int k = 0; k < 5; k++) {
            sum += x[i][k] + 4;
        }
        float m = (0.05f / 0.02f) * (1.0f / 5.0f);
        want[i] = (int8_t)((int)rintf((float)sum * m) + 7);
        real[i] = (float)sum * (0.05f * (1.0f / 5.0f));
    }
    op_case c;
    for (int is_float = 0; is_float < 2; is_float++) {
        op_case_begin(&c, PQ_OP_REDUCE_MEAN);
        op_case_codes(&c, PTQC_I8, DIMS(2, 5), x,
                      op_case_scale(&c, PTQC_I8, 0.05f, -4));
        pq_build_i64s(&c.b, PQ_ATTR_AXES, (int64_t[]){1}, 1);
        if (is_float) {
            op_case_out_quant(&c, 0, PTQC_F32, (pq_quant_id){0});
            op_case_run(&c);
            op_case_expect_f32(&c, 0, real, 2, op_case_exact);
        } else {
            op_case_out_quant(&c, 0, PTQC_I8,
                              op_case_scale(&c, PTQC_I8, 0.02f, 7));
            op_case_run(&c);
            op_case_expect_bytes(&c, 0, want, 2);
        }
        op_case_end(&c);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(order_of_sums),
        cmocka_unit_test(axes_flatten_row_major),
        cmocka_unit_test(every_op),
        cmocka_unit_test(empty_rows),
        cmocka_unit_test(integers),
        cmocka_unit_test(doubles),
        cmocka_unit_test(half_rounds_once),
        cmocka_unit_test(mean_of_codes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
