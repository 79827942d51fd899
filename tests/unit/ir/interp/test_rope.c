// SPDX-License-Identifier: Apache-2.0
//
// rope: against double precision, the documented order of operations, both
// pairings, partial rotation, padding positions, narrow types.
#include "base/float16.h"
#include "base/mathfn.h"
#include "tests/unit/ir/interp/op_case.h"

enum { BATCH = 2, HEADS = 3, TOKENS = 4, ROW = 9, PAIRS = 3 };
enum { COUNT = BATCH * HEADS * TOKENS * ROW };

static const int32_t positions[BATCH * TOKENS] = {0,  1,    2,      -1,
                                                  -1, 4095, 131071, 7};
static const float frequencies[PAIRS] = {1.0f, 0.21544347f, 0.0001f};

// Places of pair i in a row.
static void
pair(int mode, int i, int *out_a, int *out_b)
{
    *out_a = mode == PQ_ROPE_HALVES ? i : 2 * i;
    *out_b = mode == PQ_ROPE_HALVES ? i + PAIRS : 2 * i + 1;
}

static void
run(op_case *c, ptqc_dtype dtype, const void *x, int mode)
{
    op_case_begin(c, PQ_OP_ROPE);
    op_case_in(c, dtype, DIMS(BATCH, HEADS, TOKENS, ROW), x);
    op_case_in(c, PTQC_I32, DIMS(BATCH, TOKENS), positions);
    op_case_in(c, PTQC_F32, DIMS(PAIRS), frequencies);
    if (mode != PQ_ROPE_HALVES) {
        pq_build_i64(&c->b, PQ_ATTR_MODE, mode);
    }
    op_case_run(c);
}

static int
position_of(int row) // row of [BATCH][HEADS][TOKENS]
{
    return positions[row / (HEADS * TOKENS) * TOKENS + row % TOKENS];
}

static void
near_double(void **state)
{
    (void)state;
    static float x[COUNT];
    pq_test_random r = pq_test_random_seed(1);
    pq_test_fill_normal(&r, x, COUNT, 1);
    for (int mode = 0; mode < 2; mode++) {
        op_case c;
        run(&c, PTQC_F32, x, mode);
        const float *y = c.out[0].p;
        for (int row = 0; row < BATCH * HEADS * TOKENS; row++) {
            for (int i = 0; i < PAIRS; i++) {
                int a, b;
                pair(mode, i, &a, &b);
                // The angle is an f32 product by definition.
                double angle =
                    (double)((float)position_of(row) * frequencies[i]);
                double u = (double)x[row * ROW + a];
                double v = (double)x[row * ROW + b];
                // cos and sin: 2 ulp; two roundings of at most |u| + |v|.
                double bound = 4 * 0x1p-24 * (fabs(u) + fabs(v)) * 1.01;
                double want_a = u * cos(angle) - v * sin(angle);
                double want_b = u * sin(angle) + v * cos(angle);
                assert_true(fabs((double)y[row * ROW + a] - want_a) <= bound);
                assert_true(fabs((double)y[row * ROW + b] - want_b) <= bound);
            }
            for (int i = 2 * PAIRS; i < ROW; i++) { // not turned
                assert_true(y[row * ROW + i] == x[row * ROW + i]);
            }
        }
        op_case_end(&c);
    }
}

static void
documented_order(void **state)
{
    (void)state;
    static float x[COUNT], want[COUNT];
    pq_test_random r = pq_test_random_seed(2);
    pq_test_fill_normal(&r, x, COUNT, 3);
    for (int mode = 0; mode < 2; mode++) {
        memcpy(want, x, sizeof x);
        for (int row = 0; row < BATCH * HEADS * TOKENS; row++) {
            for (int i = 0; i < PAIRS; i++) {
                int at, bt;
                pair(mode, i, &at, &bt);
                float angle = (float)position_of(row) * frequencies[i];
                float a = x[row * ROW + at], b = x[row * ROW + bt];
                float bs = b * pq_sinf(angle), bc = b * pq_cosf(angle);
                want[row * ROW + at] = fmaf(a, pq_cosf(angle), -bs);
                want[row * ROW + bt] = fmaf(a, pq_sinf(angle), bc);
            }
        }
        op_case c;
        run(&c, PTQC_F32, x, mode);
        op_case_expect_bytes(&c, 0, want, sizeof want);
        op_case_end(&c);
    }
}

// f16: the f32 result, rounded once.
static void
narrow(void **state)
{
    (void)state;
    static uint16_t half[COUNT], want[COUNT];
    static float x[COUNT];
    pq_test_random r = pq_test_random_seed(3);
    pq_test_fill_normal(&r, x, COUNT, 1);
    for (int i = 0; i < COUNT; i++) {
        half[i] = pq_f32_to_f16(x[i]);
        x[i] = pq_f16_to_f32(half[i]);
    }
    op_case c;
    run(&c, PTQC_F32, x, PQ_ROPE_HALVES);
    for (int i = 0; i < COUNT; i++) {
        want[i] = pq_f32_to_f16(((const float *)c.out[0].p)[i]);
    }
    op_case_end(&c);
    run(&c, PTQC_F16, half, PQ_ROPE_HALVES);
    op_case_expect_bytes(&c, 0, want, sizeof want);
    op_case_end(&c);
}

// Full rotation, no tokens, no frequencies.
static void
edges(void **state)
{
    (void)state;
    op_case c;
    op_case_begin(&c, PQ_OP_ROPE);
    op_case_in(&c, PTQC_F32, DIMS(1, 1, 1, 2), (float[]){3, 4});
    op_case_in(&c, PTQC_I32, DIMS(1, 1), (int32_t[]){0});
    op_case_in(&c, PTQC_F32, DIMS(1), (float[]){1});
    op_case_run(&c);
    EXPECT_F32(&c, 3, 4);
    op_case_end(&c);
    op_case_begin(&c, PQ_OP_ROPE);
    op_case_in(&c, PTQC_F32, DIMS(1, 1, 1, 3), (float[]){3, 4, 5});
    op_case_in(&c, PTQC_I32, DIMS(1, 1), (int32_t[]){9});
    op_case_in(&c, PTQC_F32, DIMS(0), (float[]){0});
    op_case_run(&c);
    EXPECT_F32(&c, 3, 4, 5);
    op_case_end(&c);
    op_case_begin(&c, PQ_OP_ROPE);
    op_case_in(&c, PTQC_F32, DIMS(1, 2, 0, 4), (float[]){0});
    op_case_in(&c, PTQC_I32, DIMS(1, 0), (int32_t[]){0});
    op_case_in(&c, PTQC_F32, DIMS(2), (float[]){1, 1});
    op_case_run(&c);
    assert_int_equal(c.out[0].bytes, 0);
    op_case_end(&c);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(near_double),
        cmocka_unit_test(documented_order),
        cmocka_unit_test(narrow),
        cmocka_unit_test(edges),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
