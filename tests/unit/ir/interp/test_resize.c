// SPDX-License-Identifier: Apache-2.0
//
// resize: expectations are those of the ONNX backend tests (resize_*), or
// computed by hand.
#include "tests/unit/ir/interp/op_case.h"

typedef struct resize {
    int64_t mode, coordinates, nearest;
    int64_t height, width; // output
    float scale;           // 0: from the sizes
} resize;

static void
run(op_case *c, const resize *r, int64_t height, int64_t width, const float *x)
{
    op_case_begin(c, PQ_OP_RESIZE);
    op_case_in(c, PTQC_F32, DIMS(1, 1, height, width), x);
    const int64_t sizes[4] = {1, 1, r->height, r->width};
    pq_dim dims[4];
    for (int i = 0; i < 4; i++) {
        dims[i] = pq_dim_const(c->g, sizes[i]);
    }
    pq_build_dims(&c->b, PQ_ATTR_SHAPE, dims, 4);
    if (r->scale > 0) {
        const float scales[4] = {1, 1, r->scale, r->scale};
        pq_build_f32s(&c->b, PQ_ATTR_SCALES, scales, 4);
    }
    pq_build_i64(&c->b, PQ_ATTR_MODE, r->mode);
    pq_build_i64(&c->b, PQ_ATTR_COORDINATES, r->coordinates);
    pq_build_i64(&c->b, PQ_ATTR_NEAREST, r->nearest);
    op_case_run(c);
}

static const float four[4] = {1, 2, 3, 4};
static const float sixteen[16] = {1, 2,  3,  4,  5,  6,  7,  8,
                                  9, 10, 11, 12, 13, 14, 15, 16};
#define CLOSE ((pq_test_tolerance){.ulp = 4, .absolute = 2e-6})

static void
nearest_up(void **state)
{
    (void)state;
    op_case c;
    resize r = {PQ_RESIZE_NEAREST, PQ_COORD_HALF_PIXEL, 0, 4, 6, 0};
    run(&c, &r, 2, 2, four);
    EXPECT_F32(&c, 1, 1, 1, 2, 2, 2, 1, 1, 1, 2, 2, 2, 3, 3, 3, 4, 4, 4, 3, 3,
               3, 4, 4, 4);
    op_case_end(&c);
}

static void
nearest_rounding(void **state)
{
    (void)state;
    // asymmetric by 2: positions 0, 0.5, 1, 1.5
    const struct {
        int64_t nearest;
        float want[4];
    } cases[] = {{PQ_NEAREST_ROUND_PREFER_FLOOR, {1, 1, 2, 2}},
                 {PQ_NEAREST_ROUND_PREFER_CEIL, {1, 2, 2, 2}},
                 {PQ_NEAREST_FLOOR, {1, 1, 2, 2}},
                 {PQ_NEAREST_CEIL, {1, 2, 2, 2}}};
    for (size_t i = 0; i < 4; i++) {
        op_case c;
        resize r = {
            PQ_RESIZE_NEAREST, PQ_COORD_ASYMMETRIC, cases[i].nearest, 1, 4, 0};
        run(&c, &r, 1, 2, four);
        op_case_expect_f32(&c, 0, cases[i].want, 4, op_case_exact);
        op_case_end(&c);
    }
}

static void
linear_up(void **state)
{
    (void)state;
    op_case c;
    resize r = {PQ_RESIZE_LINEAR, PQ_COORD_HALF_PIXEL, 0, 4, 4, 2};
    run(&c, &r, 2, 2, four);
    EXPECT_F32(&c, 1, 1.25f, 1.75f, 2, 1.5f, 1.75f, 2.25f, 2.5f, 2.5f, 2.75f,
               3.25f, 3.5f, 3, 3.25f, 3.75f, 4);
    op_case_end(&c);
    r.coordinates = PQ_COORD_ALIGN_CORNERS;
    const float want[16] = {1,        4.0f / 3,  5.0f / 3,  2,
                            5.0f / 3, 2,         7.0f / 3,  8.0f / 3,
                            7.0f / 3, 8.0f / 3,  3,         10.0f / 3,
                            3,        10.0f / 3, 11.0f / 3, 4};
    run(&c, &r, 2, 2, four);
    op_case_expect_f32(&c, 0, want, 16, CLOSE);
    op_case_end(&c);
}

static void
linear_down(void **state)
{
    (void)state;
    op_case c;
    resize r = {PQ_RESIZE_LINEAR, PQ_COORD_HALF_PIXEL, 0, 1, 2, 0.6f};
    run(&c, &r, 2, 4, sixteen);
    const float want[2] = {2.6666665f, 4.3333331f};
    op_case_expect_f32(&c, 0, want, 2, CLOSE);
    op_case_end(&c);
    // pytorch_half_pixel: an axis of size 1 takes position 0.
    r = (resize){PQ_RESIZE_LINEAR, PQ_COORD_PYTORCH_HALF_PIXEL, 0, 3, 1, 0};
    run(&c, &r, 4, 4, sixteen);
    const float rows[3] = {1.6666666f, 7, 12.3333333f};
    op_case_expect_f32(&c, 0, rows, 3, CLOSE);
    op_case_end(&c);
}

// One axis, a = -0.75, position 0.25 between 1 and 2 (and so on): the kernel
// by its own definition.
static double
keys(double d)
{
    double a = -0.75;
    d = fabs(d);
    return d <= 1  ? (a + 2) * d * d * d - (a + 3) * d * d + 1
           : d < 2 ? a * d * d * d - 5 * a * d * d + 8 * a * d - 4 * a
                   : 0;
}

static void
cubic(void **state)
{
    (void)state;
    const float x[5] = {1, -2, 4, 7, 3};
    float want[10];
    for (int o = 0; o < 10; o++) {
        double at = (o + 0.5) / 2 - 0.5;
        double sum = 0;
        for (int k = (int)floor(at) - 1; k <= (int)floor(at) + 2; k++) {
            int i = k < 0 ? 0 : k > 4 ? 4 : k;
            sum += keys(at - k) * (double)x[i];
        }
        want[o] = (float)sum;
    }
    op_case c;
    resize r = {PQ_RESIZE_CUBIC, PQ_COORD_HALF_PIXEL, 0, 1, 10, 0};
    run(&c, &r, 1, 5, x);
    op_case_expect_f32(&c, 0, want, 10, CLOSE);
    op_case_end(&c);
}

static void
codes_and_integers(void **state)
{
    (void)state;
    op_case c;
    op_case_begin(&c, PQ_OP_RESIZE);
    op_case_codes(&c, PTQC_I8, DIMS(1, 2), (int8_t[]){-128, 127},
                  op_case_scale(&c, PTQC_I8, 0.3f, 5));
    pq_build_f32s(&c.b, PQ_ATTR_SCALES, (float[]){2, 1.5f}, 2);
    op_case_out_quant(&c, 0, PTQC_I8, op_case_scale(&c, PTQC_I8, 0.3f, 5));
    op_case_run(&c);
    EXPECT(&c, int8_t, -128, -128, 127, -128, -128, 127);
    op_case_end(&c);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nearest_up), cmocka_unit_test(nearest_rounding),
        cmocka_unit_test(linear_up),  cmocka_unit_test(linear_down),
        cmocka_unit_test(cubic),      cmocka_unit_test(codes_and_integers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
