// SPDX-License-Identifier: Apache-2.0
//
// max_pool and avg_pool: pads, ceil, dilation, divisors, codes.
#include "tests/unit/ir/interp/op_case.h"

static void
begin(op_case *c, pq_opcode code, const int64_t *kernel, const int64_t *strides,
      const int64_t *pads, uint32_t spatial)
{
    op_case_begin(c, code);
    pq_build_i64s(&c->b, PQ_ATTR_KERNEL, kernel, spatial);
    pq_build_i64s(&c->b, PQ_ATTR_STRIDES, strides, spatial);
    pq_build_i64s(&c->b, PQ_ATTR_PADS, pads, 2 * spatial);
}

static const float ramp[12] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12};

static void
max_2d(void **state)
{
    (void)state;
    op_case c;
    begin(&c, PQ_OP_MAX_POOL, (int64_t[]){2, 2}, (int64_t[]){1, 2},
          (int64_t[]){1, 0, 0, 1}, 2);
    op_case_in(&c, PTQC_F32, DIMS(1, 1, 3, 4), ramp);
    op_case_run(&c);
    EXPECT_F32(&c, 2, 4, 6, 8, 10, 12);
    op_case_end(&c);

    begin(&c, PQ_OP_MAX_POOL, (int64_t[]){2}, (int64_t[]){1}, (int64_t[]){0, 0},
          1);
    op_case_in(&c, PTQC_F32, DIMS(1, 2, 4),
               (float[]){1, -5, NAN, 3, -9, -8, -7, -6});
    pq_build_i64s(&c.b, PQ_ATTR_DILATIONS, (int64_t[]){2}, 1);
    op_case_run(&c);
    EXPECT_F32(&c, NAN, 3, -7, -6);
    op_case_end(&c);
}

static void
max_of_integers(void **state)
{
    (void)state;
    op_case c;
    begin(&c, PQ_OP_MAX_POOL, (int64_t[]){3}, (int64_t[]){2}, (int64_t[]){1, 1},
          1);
    op_case_in(&c, PTQC_I8, DIMS(1, 1, 4), (int8_t[]){-128, -3, -7, -128});
    op_case_run(&c);
    EXPECT(&c, int8_t, -3, -3);
    op_case_end(&c);
}

static void
max_of_codes(void **state)
{
    (void)state;
    op_case c;
    begin(&c, PQ_OP_MAX_POOL, (int64_t[]){2, 2}, (int64_t[]){2, 2},
          (int64_t[]){1, 1, 1, 1}, 2);
    op_case_codes(&c, PTQC_U8, DIMS(1, 1, 2, 2), (uint8_t[]){0, 3, 255, 131},
                  op_case_scale(&c, PTQC_U8, 0.013f, 200));
    op_case_out_quant(&c, 0, PTQC_U8, op_case_scale(&c, PTQC_U8, 0.013f, 200));
    op_case_run(&c);
    EXPECT(&c, uint8_t, 0, 3, 255, 131);
    op_case_end(&c);
}

static void
average_divisors(void **state)
{
    (void)state;
    op_case c;
    for (int include = 0; include < 2; include++) {
        begin(&c, PQ_OP_AVG_POOL, (int64_t[]){2}, (int64_t[]){2},
              (int64_t[]){1, 0}, 1);
        op_case_in(&c, PTQC_F32, DIMS(1, 1, 4), ramp);
        pq_build_i64(&c.b, PQ_ATTR_INCLUDE_PAD, include);
        pq_build_i64(&c.b, PQ_ATTR_CEIL, 1);
        op_case_run(&c);
        // Windows: pad 1 | 2 3 | 4 and what ceil adds, never counted.
        if (include) {
            EXPECT_F32(&c, 0.5f, 2.5f, 4);
        } else {
            EXPECT_F32(&c, 1, 2.5f, 4);
        }
        op_case_end(&c);
    }
}

static void
average_3d(void **state)
{
    (void)state;
    op_case c;
    begin(&c, PQ_OP_AVG_POOL, (int64_t[]){2, 1, 2}, (int64_t[]){1, 1, 1},
          (int64_t[]){0, 0, 0, 0, 0, 0}, 3);
    op_case_in(&c, PTQC_F32, DIMS(1, 1, 2, 2, 3), ramp);
    op_case_run(&c);
    EXPECT_F32(&c, 4.5f, 5.5f, 7.5f, 8.5f);
    op_case_end(&c);
}

static void
average_of_codes(void **state)
{
    (void)state;
    const uint8_t x[5] = {0, 255, 7, 8, 9};
    const int sums[3] = {0 + 255 - 2 * 40, 255 + 7 + 8 - 3 * 40,
                         8 + 9 - 2 * 40};
    const int taps[3] = {2, 3, 2};
    int8_t want[3];
    for (int i = 0; i < 3; i++) {
        float m = (0.03f / 0.05f) * (1.0f / (float)taps[i]);
        float t = rintf((float)sums[i] * m) - 20;
        want[i] = (int8_t)(t < -128 ? -128 : t > 127 ? 127 : t);
    }
    op_case c;
    begin(&c, PQ_OP_AVG_POOL, (int64_t[]){3}, (int64_t[]){2}, (int64_t[]){1, 1},
          1);
    op_case_codes(&c, PTQC_U8, DIMS(1, 1, 5), x,
                  op_case_scale(&c, PTQC_U8, 0.03f, 40));
    op_case_out_quant(&c, 0, PTQC_I8, op_case_scale(&c, PTQC_I8, 0.05f, -20));
    op_case_run(&c);
    op_case_expect_bytes(&c, 0, want, 3);
    op_case_end(&c);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(max_2d),       cmocka_unit_test(max_of_integers),
        cmocka_unit_test(max_of_codes), cmocka_unit_test(average_divisors),
        cmocka_unit_test(average_3d),   cmocka_unit_test(average_of_codes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
