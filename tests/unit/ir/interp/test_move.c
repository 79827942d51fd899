// SPDX-License-Identifier: Apache-2.0
//
// Ops that move elements.
#include "tests/unit/ir/interp/op_case.h"

static void
dims_attr(op_case *c, pq_attr_name name, const int64_t *p, uint32_t n)
{
    pq_dim d[PTQC_MAX_RANK];
    for (uint32_t i = 0; i < n; i++) {
        d[i] = pq_dim_const(c->g, p[i]);
    }
    pq_build_dims(&c->b, name, d, n);
}

static const int32_t ramp[24] = {0,  1,  2,  3,  4,  5,  6,  7,
                                 8,  9,  10, 11, 12, 13, 14, 15,
                                 16, 17, 18, 19, 20, 21, 22, 23};

static void
reshape(void **state)
{
    (void)state;
    op_case c;
    op_case_begin(&c, PQ_OP_RESHAPE);
    op_case_in(&c, PTQC_I32, DIMS(2, 3), ramp);
    dims_attr(&c, PQ_ATTR_SHAPE, DIMS(3, 2));
    op_case_run(&c);
    assert_int_equal(c.out[0].dims[0], 3);
    EXPECT(&c, int32_t, 0, 1, 2, 3, 4, 5);
    op_case_end(&c);
}

static void
transpose(void **state)
{
    (void)state;
    const int64_t perms[3][3] = {{2, 0, 1}, {0, 2, 1}, {2, 1, 0}};
    const int64_t in[3] = {2, 3, 4};
    for (int t = 0; t < 3; t++) {
        int32_t want[24];
        const int64_t *p = perms[t];
        int64_t n1 = in[p[1]], n2 = in[p[2]];
        for (int64_t i = 0; i < 24; i++) {
            int64_t at[3];
            at[p[0]] = i / (n1 * n2);
            at[p[1]] = i / n2 % n1;
            at[p[2]] = i % n2;
            want[i] = (int32_t)((at[0] * 3 + at[1]) * 4 + at[2]);
        }
        op_case c;
        op_case_begin(&c, PQ_OP_TRANSPOSE);
        op_case_in(&c, PTQC_I32, in, 3, ramp);
        pq_build_i64s(&c.b, PQ_ATTR_PERM, p, 3);
        op_case_run(&c);
        op_case_expect_bytes(&c, 0, want, sizeof want);
        op_case_end(&c);
    }
}

static void
slice(void **state)
{
    (void)state;
    op_case c;
    op_case_begin(&c, PQ_OP_SLICE); // [4][6]: rows 1..2, columns 5, 3, 1
    op_case_in(&c, PTQC_I32, DIMS(4, 6), ramp);
    pq_build_i64s(&c.b, PQ_ATTR_AXES, (int64_t[]){1, 0}, 2);
    dims_attr(&c, PQ_ATTR_STARTS, DIMS(5, 1));
    dims_attr(&c, PQ_ATTR_ENDS, DIMS(-1, 3));
    pq_build_i64s(&c.b, PQ_ATTR_STEPS, (int64_t[]){-2, 1}, 2);
    op_case_run(&c);
    EXPECT(&c, int32_t, 11, 9, 7, 17, 15, 13);
    op_case_end(&c);
    op_case_begin(&c, PQ_OP_SLICE); // nothing left
    op_case_in(&c, PTQC_I32, DIMS(4), ramp);
    pq_build_i64s(&c.b, PQ_ATTR_AXES, (int64_t[]){0}, 1);
    dims_attr(&c, PQ_ATTR_STARTS, DIMS(4));
    dims_attr(&c, PQ_ATTR_ENDS, DIMS(4));
    op_case_run(&c);
    assert_int_equal(c.out[0].bytes, 0);
    op_case_end(&c);
}

static void
expand_and_tile(void **state)
{
    (void)state;
    op_case c;
    op_case_begin(&c, PQ_OP_EXPAND);
    op_case_in(&c, PTQC_I32, DIMS(2, 1), ramp);
    dims_attr(&c, PQ_ATTR_SHAPE, DIMS(2, 1, 3));
    op_case_run(&c);
    EXPECT(&c, int32_t, 0, 0, 0, 1, 1, 1, 0, 0, 0, 1, 1, 1);
    op_case_end(&c);
    op_case_begin(&c, PQ_OP_TILE);
    op_case_in(&c, PTQC_I32, DIMS(2, 2), ramp);
    dims_attr(&c, PQ_ATTR_REPEATS, DIMS(2, 3));
    op_case_run(&c);
    EXPECT(&c, int32_t, 0, 1, 0, 1, 0, 1, 2, 3, 2, 3, 2, 3, 0, 1, 0, 1, 0, 1, 2,
           3, 2, 3, 2, 3);
    op_case_end(&c);
    op_case_begin(&c, PQ_OP_TILE);
    op_case_in(&c, PTQC_I32, DIMS(2), ramp);
    dims_attr(&c, PQ_ATTR_REPEATS, DIMS(0));
    op_case_run(&c);
    assert_int_equal(c.out[0].bytes, 0);
    op_case_end(&c);
}

static void
concat(void **state)
{
    (void)state;
    op_case c;
    op_case_begin(&c, PQ_OP_CONCAT);
    op_case_in(&c, PTQC_I32, DIMS(2, 1), ramp);
    op_case_in(&c, PTQC_I32, DIMS(2, 0), "");
    op_case_in(&c, PTQC_I32, DIMS(2, 2), ramp + 10);
    pq_build_i64(&c.b, PQ_ATTR_AXIS, -1);
    op_case_run(&c);
    EXPECT(&c, int32_t, 0, 10, 11, 1, 12, 13);
    op_case_end(&c);

    op_case_begin(&c, PQ_OP_CONCAT); // codes of other scales are requantized
    op_case_codes(&c, PTQC_U8, DIMS(2), (uint8_t[]){0, 255},
                  op_case_scale(&c, PTQC_U8, 0.1f, 100));
    op_case_codes(&c, PTQC_U8, DIMS(2), (uint8_t[]){10, 20},
                  op_case_scale(&c, PTQC_U8, 0.2f, 15));
    op_case_out_quant(&c, 0, PTQC_U8, op_case_scale(&c, PTQC_U8, 0.1f, 100));
    op_case_run(&c);
    EXPECT(&c, uint8_t, 0, 255, 90, 110);
    op_case_end(&c);
}

static void
pad_modes(void **state)
{
    (void)state;
    const struct {
        int64_t mode;
        float want[8];
    } cases[] = {{PQ_PAD_CONSTANT, {9, 9, 1, 2, 3, 9, 9, 9}},
                 {PQ_PAD_EDGE, {1, 1, 1, 2, 3, 3, 3, 3}},
                 {PQ_PAD_WRAP, {2, 3, 1, 2, 3, 1, 2, 3}}};
    op_case c;
    for (size_t i = 0; i < 3; i++) {
        op_case_begin(&c, PQ_OP_PAD);
        op_case_in(&c, PTQC_F32, DIMS(3), (float[]){1, 2, 3});
        pq_build_i64s(&c.b, PQ_ATTR_PADS, (int64_t[]){2, 3}, 2);
        pq_build_i64(&c.b, PQ_ATTR_MODE, cases[i].mode);
        pq_build_f32(&c.b, PQ_ATTR_VALUE, 9);
        op_case_run(&c);
        op_case_expect_f32(&c, 0, cases[i].want, 8, op_case_exact);
        op_case_end(&c);
    }
    op_case_begin(&c, PQ_OP_PAD);
    op_case_in(&c, PTQC_F32, DIMS(3), (float[]){1, 2, 3});
    pq_build_i64s(&c.b, PQ_ATTR_PADS, (int64_t[]){2, 2}, 2);
    pq_build_i64(&c.b, PQ_ATTR_MODE, PQ_PAD_REFLECT);
    op_case_run(&c);
    EXPECT_F32(&c, 3, 2, 1, 2, 3, 2, 1);
    op_case_end(&c);
}

static void
pad_crop_and_codes(void **state)
{
    (void)state;
    op_case c;
    op_case_begin(&c, PQ_OP_PAD); // [2][3]: a row before, a column cut
    op_case_in(&c, PTQC_I64, DIMS(2, 3), (int64_t[]){1, 2, 3, 4, 5, 6});
    pq_build_i64s(&c.b, PQ_ATTR_PADS, (int64_t[]){1, -1, 0, 0}, 4);
    pq_build_f32(&c.b, PQ_ATTR_VALUE, -7);
    op_case_run(&c);
    EXPECT(&c, int64_t, -7, -7, 2, 3, 5, 6);
    op_case_end(&c);

    op_case_begin(&c, PQ_OP_PAD); // the code of 0 is the zero point
    op_case_codes(&c, PTQC_I8, DIMS(1), (int8_t[]){-128},
                  op_case_scale(&c, PTQC_I8, 0.1f, 33));
    pq_build_i64s(&c.b, PQ_ATTR_PADS, (int64_t[]){1, 1}, 2);
    op_case_out_quant(&c, 0, PTQC_I8, op_case_scale(&c, PTQC_I8, 0.1f, 33));
    op_case_run(&c);
    EXPECT(&c, int8_t, 33, -128, 33);
    op_case_end(&c);
}

static void
depth_and_space(void **state)
{
    (void)state;
    op_case c;
    const float x[8] = {0, 1, 2, 3, 4, 5, 6, 7};
    op_case_begin(&c, PQ_OP_DEPTH_TO_SPACE); // C = 4 -> 1, 1x2 -> 2x4
    op_case_in(&c, PTQC_F32, DIMS(1, 4, 1, 2), x);
    pq_build_i64(&c.b, PQ_ATTR_BLOCK, 2);
    op_case_run(&c);
    EXPECT_F32(&c, 0, 2, 1, 3, 4, 6, 5, 7);
    op_case_end(&c);
    for (int mode = 0; mode < 2; mode++) { // two output channels
        op_case_begin(&c, PQ_OP_DEPTH_TO_SPACE);
        op_case_in(&c, PTQC_F32, DIMS(1, 8, 1, 1), x);
        pq_build_i64(&c.b, PQ_ATTR_BLOCK, 2);
        pq_build_i64(&c.b, PQ_ATTR_MODE, mode);
        op_case_run(&c);
        if (mode == 0) {
            EXPECT_F32(&c, 0, 2, 4, 6, 1, 3, 5, 7);
        } else {
            EXPECT_F32(&c, 0, 1, 2, 3, 4, 5, 6, 7);
        }
        op_case_end(&c);
    }
    op_case_begin(&c, PQ_OP_SPACE_TO_DEPTH);
    op_case_in(&c, PTQC_F32, DIMS(1, 1, 2, 4), x);
    pq_build_i64(&c.b, PQ_ATTR_BLOCK, 2);
    op_case_run(&c);
    EXPECT_F32(&c, 0, 2, 1, 3, 4, 6, 5, 7);
    op_case_end(&c);
}

static void
triangles(void **state)
{
    (void)state;
    op_case c;
    op_case_begin(&c, PQ_OP_TRILU);
    op_case_in(&c, PTQC_I32, DIMS(3, 3), ramp + 1);
    pq_build_i64(&c.b, PQ_ATTR_K, 1);
    op_case_run(&c);
    EXPECT(&c, int32_t, 0, 2, 3, 0, 0, 6, 0, 0, 0);
    op_case_end(&c);
    op_case_begin(&c, PQ_OP_TRILU);
    op_case_in(&c, PTQC_I32, DIMS(2, 3), ramp + 1);
    pq_build_i64(&c.b, PQ_ATTR_UPPER, 0);
    op_case_run(&c);
    EXPECT(&c, int32_t, 1, 0, 0, 4, 5, 0);
    op_case_end(&c);
}

static void
reverse_sequence(void **state)
{
    (void)state;
    op_case c;
    op_case_begin(&c, PQ_OP_REVERSE_SEQUENCE); // time 0, batch 1
    op_case_in(&c, PTQC_I32, DIMS(3, 2), ramp);
    op_case_in(&c, PTQC_I64, DIMS(2), (int64_t[]){3, 2});
    op_case_run(&c);
    EXPECT(&c, int32_t, 4, 3, 2, 1, 0, 5);
    op_case_end(&c);
    op_case_begin(&c, PQ_OP_REVERSE_SEQUENCE);
    op_case_in(&c, PTQC_I32, DIMS(3, 2), ramp);
    op_case_in(&c, PTQC_I64, DIMS(2), (int64_t[]){3, 4});
    op_case_try(&c);
    assert_int_equal(c.st, PTQC_E_INPUT);
    op_case_end(&c);
}

// Codes move as they are when the scales stay.
static void
codes_stay(void **state)
{
    (void)state;
    op_case c;
    op_case_begin(&c, PQ_OP_TRANSPOSE);
    pq_quant_id q = op_case_scale(&c, PTQC_U8, 1e-30f, 77);
    op_case_codes(&c, PTQC_U8, DIMS(2, 2), (uint8_t[]){0, 1, 254, 255}, q);
    pq_build_i64s(&c.b, PQ_ATTR_PERM, (int64_t[]){1, 0}, 2);
    op_case_run(&c);
    EXPECT(&c, uint8_t, 0, 254, 1, 255);
    op_case_end(&c);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reshape),
        cmocka_unit_test(transpose),
        cmocka_unit_test(slice),
        cmocka_unit_test(expand_and_tile),
        cmocka_unit_test(concat),
        cmocka_unit_test(pad_modes),
        cmocka_unit_test(pad_crop_and_codes),
        cmocka_unit_test(depth_and_space),
        cmocka_unit_test(triangles),
        cmocka_unit_test(reverse_sequence),
        cmocka_unit_test(codes_stay),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
