// SPDX-License-Identifier: Apache-2.0
//
// Depthwise convolution on a device against scalar sums.
#include "backends/kgen/expr.h"
#include "base/float16.h"
#include "kernel_host.h"

typedef enum types { FLOATS, CODES, HALVES } types; // of x and weights

typedef struct depthwise_case {
    types types;
    int64_t batch, c, multiplier, in[2], kernel[2], stride[2], dilation[2],
        pad[2];
} depthwise_case;

#define PAD_CODE 7

static double
reference(const depthwise_case *c, const double *x, const double *w,
          int64_t pixel, const int64_t out[2], int64_t oc, double *out_size)
{
    int64_t o[2] = {pixel / out[1] % out[0], pixel % out[1]};
    int64_t n = pixel / out[1] / out[0], rows = c->c * c->multiplier;
    double sum = 0, size = 0;
    for (int64_t t = 0; t < c->kernel[0] * c->kernel[1]; t++) {
        int64_t h =
            o[0] * c->stride[0] - c->pad[0] + t / c->kernel[1] * c->dilation[0];
        int64_t v =
            o[1] * c->stride[1] - c->pad[1] + t % c->kernel[1] * c->dilation[1];
        double value = c->types == CODES ? PAD_CODE : 0.0;
        if (h >= 0 && h < c->in[0] && v >= 0 && v < c->in[1]) {
            value = x[((n * c->in[0] + h) * c->in[1] + v) * c->c +
                      oc / c->multiplier];
        }
        sum += value * w[t * rows + oc];
        size += fabs(value * w[t * rows + oc]);
    }
    *out_size = size;
    return sum;
}

// Writes element i of x or of the weights; gives its value.
static double
put_element(const depthwise_case *c, pq_test_random *r, bool is_weight,
            uint8_t *to)
{
    float f = pq_test_random_f32(r, -1, 1);
    int32_t code = (int32_t)pq_test_random_int(r, 0, 255);
    uint16_t half = pq_f32_to_f16(f);
    switch (c->types) {
    case CODES:
        *to = (uint8_t)code;
        return is_weight ? (double)(int8_t)code : (double)code;
    case HALVES:
        memcpy(to, &half, 2);
        return (double)pq_f16_to_f32(half);
    case FLOATS:
        break;
    }
    memcpy(to, &f, 4);
    return (double)f;
}

static void
compare(const depthwise_case *c, bool is_narrow, const double *x_real,
        const double *w_real, const uint8_t *y, const int64_t out[2])
{
    int64_t rows = c->c * c->multiplier, ys = c->batch * out[0] * out[1] * rows;
    int64_t taps = c->kernel[0] * c->kernel[1];
    for (int64_t i = 0; i < ys; i++) {
        double size;
        double want =
            reference(c, x_real, w_real, i / rows, out, i % rows, &size);
        double got, bound = c->types == CODES
                                ? 0.0
                                : 2.0 * (double)taps * 0x1p-24 * size;
        if (is_narrow) {
            got = (double)y[i];
            want = (double)(uint8_t)(int64_t)want;
        } else if (c->types == CODES) {
            int32_t whole;
            memcpy(&whole, y + 4 * i, 4);
            got = (double)whole;
        } else {
            float real;
            memcpy(&real, y + 4 * i, 4);
            got = (double)real;
        }
        if (!(fabs(got - want) <= bound)) {
            fail_msg("[%lld]: %.9g, want %.9g", (long long)i, got, want);
        }
    }
}

// y = sum (f32, i32), or its low byte, to see narrow stores.
static void
check(const depthwise_case *c, bool is_narrow)
{
    pq_test_random r = pq_test_random_seed((uint64_t)c->c);
    int64_t out[2], rows = c->c * c->multiplier;
    for (int i = 0; i < 2; i++) {
        out[i] = (c->in[i] + 2 * c->pad[i] -
                  ((c->kernel[i] - 1) * c->dilation[i] + 1)) /
                     c->stride[i] +
                 1;
    }
    int64_t taps = c->kernel[0] * c->kernel[1];
    int64_t xs = c->batch * c->in[0] * c->in[1] * c->c;
    int64_t ys = c->batch * out[0] * out[1] * rows;
    int64_t element = c->types == CODES ? 1 : c->types == HALVES ? 2 : 4;
    int64_t row_bytes = (rows * element + 3) / 4 * 4;
    uint8_t *x = calloc((size_t)xs, 4), *y = calloc((size_t)ys, 4);
    uint8_t *w = calloc((size_t)(taps * row_bytes), 1);
    double *x_real = calloc((size_t)xs, sizeof *x_real);
    double *w_real = calloc((size_t)(taps * rows), sizeof *w_real);
    for (int64_t i = 0; i < xs; i++) {
        x_real[i] = put_element(c, &r, false, x + element * i);
    }
    for (int64_t i = 0; i < taps * rows; i++) {
        w_real[i] = put_element(c, &r, true,
                                w + i / rows * row_bytes + i % rows * element);
    }
    static const uint32_t x_types[] = {PTQC_F32, PTQC_U8, PTQC_F16};
    static const pq_kg_weight formats[] = {PQ_KG_WEIGHT_F32, PQ_KG_WEIGHT_I8,
                                           PQ_KG_WEIGHT_F16};
    uint32_t sum = c->types == CODES ? PTQC_I32 : PTQC_F32;
    kernel_step s = {.kind = PQ_STEP_PLANAR_DEPTHWISE};
    kernel_in(&s, x_types[c->types],
              KERNEL_DIMS(c->batch, c->in[0], c->in[1], c->c), x);
    kernel_in(&s, PTQC_U8, KERNEL_DIMS(taps * row_bytes), w);
    kernel_absent(&s);
    kernel_out(&s, is_narrow ? PTQC_U8 : sum,
               KERNEL_DIMS(c->batch, out[0], out[1], rows), y);
    const int64_t own[] = {2,
                           c->c,
                           c->c,
                           rows,
                           1,
                           c->kernel[0],
                           c->kernel[1],
                           1,
                           c->stride[0],
                           c->stride[1],
                           1,
                           c->dilation[0],
                           c->dilation[1],
                           0,
                           c->pad[0],
                           c->pad[1],
                           formats[c->types],
                           0,
                           PAD_CODE,
                           PQ_KG_SCALES_NONE,
                           0,
                           rows,
                           is_narrow ? 2 : 1,
                           0,
                           is_narrow ? 1 : 0,
                           4,
                           kernel_op(PQ_EXPR_LOAD, sum, 0, 0, 0, 0)};
    for (size_t i = 0; i < sizeof own / sizeof own[0]; i++) {
        kernel_param(&s, own[i]);
    }
    if (is_narrow) {
        kernel_param(&s, kernel_op(PQ_EXPR_CAST, PTQC_U8, 0, 0, 0, 0));
    }
    kernel_run(&s);
    compare(c, is_narrow, x_real, w_real, y, out);
    void *all[] = {x, y, w, x_real, w_real};
    for (size_t i = 0; i < 5; i++) {
        free(all[i]);
    }
}

static void
test_depthwise(void **state)
{
    (void)state;
    static const depthwise_case cases[] = {
        {FLOATS, 1, 8, 1, {5, 6}, {3, 3}, {1, 1}, {1, 1}, {1, 1}},
        {FLOATS, 2, 5, 2, {7, 4}, {3, 2}, {2, 1}, {2, 1}, {1, 0}},
        {CODES, 1, 8, 1, {5, 6}, {3, 3}, {1, 2}, {1, 1}, {1, 1}},
        {CODES, 2, 5, 1, {7, 4}, {3, 2}, {2, 1}, {1, 1}, {0, 1}},
        {HALVES, 2, 8, 1, {4, 9}, {3, 3}, {1, 1}, {1, 1}, {1, 1}},
        {HALVES, 1, 3, 2, {4, 9}, {3, 3}, {1, 2}, {1, 1}, {1, 1}},
        {CODES, 1, 3, 4, {6, 9}, {2, 5}, {1, 1}, {1, 1}, {0, 2}},
        // long kernels, strides and dilations: fewer taps and pixels at once
        {FLOATS, 1, 4, 1, {1, 40}, {1, 9}, {1, 1}, {1, 1}, {0, 3}},
        {FLOATS, 1, 4, 1, {3, 40}, {2, 3}, {1, 9}, {1, 2}, {0, 1}},
        {CODES, 1, 4, 1, {3, 70}, {1, 4}, {1, 2}, {1, 8}, {1, 5}},
        {FLOATS, 2, 12, 1, {2, 60}, {1, 7}, {1, 30}, {1, 1}, {0, 0}},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        check(&cases[i], false);
        if (cases[i].types == CODES) {
            check(&cases[i], true);
        }
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_depthwise)};
    return cmocka_run_group_tests(tests, NULL, kernel_teardown);
}
