// SPDX-License-Identifier: Apache-2.0
//
// Convolutions of every kind but depthwise against scalar C.
#include "conv_check.h"

static pq_conv_desc
conv_2d(int64_t in_channels, int64_t out_channels, int64_t height,
        int64_t width, int64_t kernel)
{
    pq_conv_desc d = {
        .batch = 1,
        .groups = 1,
        .in_channels = in_channels,
        .out_channels = out_channels,
        .in = {1, height, width},
        .kernel = {1, kernel, kernel},
        .stride = {1, 1, 1},
        .dilation = {1, 1, 1},
    };
    return d;
}

static void
pointwise_level(pq_jit *jit)
{
    static const int64_t channels[][2] = {{1, 1}, {3, 17}, {16, 64}, {20, 70}};
    for (size_t i = 0; i < 4; i++) {
        pq_conv_desc d = conv_2d(channels[i][0], channels[i][1], 5, 7, 1);
        d.batch = 2;
        set_output(&d, 0);
        check_all(jit, d, "matmul");
        d.stride[1] = d.stride[2] = 2;
        set_output(&d, 0);
        check_all(jit, d, "indirect");
    }
}

static void
square_level(pq_jit *jit)
{
    static const int64_t shapes[][5] = {
        // in, out channels, height, width, kernel
        {3, 16, 9, 11, 3},  {3, 20, 8, 8, 7},   {16, 64, 6, 5, 3},
        {5, 33, 7, 13, 3},  {8, 16, 3, 2, 5},   {1, 1, 1, 1, 3},
        {12, 130, 4, 4, 3}, {4, 70, 31, 37, 3},
    };
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        const int64_t *s = shapes[i];
        for (int64_t stride = 1; stride <= 2; stride++) {
            pq_conv_desc d = conv_2d(s[0], s[1], s[2], s[3], s[4]);
            d.batch = 1 + (i & 1);
            d.stride[1] = d.stride[2] = stride;
            d.pad_begin[1] = d.pad_begin[2] = s[4] / 2;
            set_output(&d, s[4] / 2);
            check_all(jit, d, "indirect");
        }
    }
}

static void
odd_level(pq_jit *jit)
{
    // asymmetric pads, dilation, unequal strides
    pq_conv_desc d = conv_2d(6, 18, 11, 9, 3);
    d.pad_begin[1] = 1;
    d.stride[1] = 3;
    set_output(&d, 2);
    check_all(jit, d, "indirect");
    d = conv_2d(6, 18, 11, 9, 3);
    d.dilation[1] = d.dilation[2] = 2;
    d.pad_begin[1] = d.pad_begin[2] = 2;
    set_output(&d, 1);
    check_all(jit, d, "indirect");
    // no padding at all, window as large as the image
    d = conv_2d(7, 10, 5, 5, 5);
    set_output(&d, 0);
    check_all(jit, d, "indirect");
    // padding wider than the image
    d = conv_2d(4, 5, 1, 2, 7);
    d.pad_begin[1] = d.pad_begin[2] = 5;
    set_output(&d, 6);
    check_all(jit, d, "indirect");
}

static void
groups_level(pq_jit *jit)
{
    static const int64_t shapes[][3] = {
        {8, 8, 2}, {12, 6, 3}, {32, 64, 2}, {4, 8, 4}, {15, 10, 5}};
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        pq_conv_desc d = conv_2d(shapes[i][0], shapes[i][1], 6, 7, 3);
        d.groups = shapes[i][2];
        d.pad_begin[1] = d.pad_begin[2] = 1;
        set_output(&d, 1);
        check_all(jit, d, "indirect");
        d.kernel[1] = d.kernel[2] = 1;
        d.pad_begin[1] = d.pad_begin[2] = 0;
        set_output(&d, 0);
        check_all(jit, d, "indirect");
    }
}

static void
ranks_level(pq_jit *jit)
{
    // 1-d
    pq_conv_desc d = conv_2d(10, 24, 1, 50, 1);
    d.kernel[2] = 5;
    d.pad_begin[2] = 2;
    set_output(&d, 2);
    check_all(jit, d, "indirect");
    // 3-d
    d = conv_2d(3, 9, 5, 6, 3);
    d.in[0] = 4;
    d.kernel[0] = 2;
    d.stride[0] = 2;
    d.pad_begin[0] = d.pad_begin[1] = d.pad_begin[2] = 1;
    set_output(&d, 1);
    check_all(jit, d, "indirect");
}

static void
transposed_level(pq_jit *jit)
{
    for (int64_t stride = 1; stride <= 3; stride++) {
        for (int64_t groups = 1; groups <= 2; groups++) {
            pq_conv_desc d = conv_2d(6, 20, 4, 5, 3);
            d.transposed = 1;
            d.groups = groups;
            d.stride[1] = d.stride[2] = stride;
            d.pad_begin[1] = d.pad_begin[2] = 1;
            set_output(&d, 0);
            check_all(jit, d, "indirect");
        }
    }
}

#define RANDOM_CASES 10

// A convolution with everything drawn at random; 0 when it has no output.
static int
draw(pq_test_random *r, pq_conv_desc *d)
{
    int64_t groups = pq_test_random_int(r, 1, 3);
    *d = (pq_conv_desc){.batch = pq_test_random_int(r, 1, 2),
                        .groups = groups,
                        .transposed = pq_test_random_int(r, 0, 3) == 0};
    d->in_channels = groups * pq_test_random_int(r, 1, 20);
    d->out_channels = groups * pq_test_random_int(r, 1, 40);
    for (int a = 0; a < 3; a++) {
        int64_t most = a == 0 ? 2 : 4;
        d->in[a] = pq_test_random_int(r, 1, a == 0 ? 3 : 12);
        d->kernel[a] = pq_test_random_int(r, 1, most);
        d->stride[a] = pq_test_random_int(r, 1, 3);
        d->dilation[a] = pq_test_random_int(r, 1, 2);
        d->pad_begin[a] = d->kernel[a] > 1 ? pq_test_random_int(r, 0, most) : 0;
    }
    set_output(d, pq_test_random_int(r, 0, 2));
    return d->out[0] > 0 && d->out[1] > 0 && d->out[2] > 0;
}

static void
random_level(pq_jit *jit)
{
    pq_test_random r = pq_test_random_seed(20261126);
    for (int i = 0; i < RANDOM_CASES;) {
        pq_conv_desc d;
        if (draw(&r, &d)) {
            check_two(jit, d, NULL);
            i++;
        }
    }
}

static void
refuses_level(pq_jit *jit)
{
    pq_conv *op = NULL;
    pq_conv_desc d = conv_2d(3, 4, 5, 5, 3);
    const char *why = NULL;
    d.epilogue =
        (pq_epilogue){PQ_EPI_FLOAT, PQ_ACT_NONE, PQ_ELEM_NONE, PQ_ELEM_F32, 0};
    set_output(&d, 0);
    assert_true(pq_conv_is_supported(&d, &why));
    d.out[1] = 0;
    assert_int_equal(pq_conv_prepare(jit, NULL, &d, &op), PTQC_BE_UNSUPPORTED);
    assert_true(strstr(cpu_host_message, "image size") != NULL);
    d.groups = 2;
    assert_int_equal(pq_conv_weight_bytes(&d), 0);
    d.groups = 1;
    d.in_channels = INT64_MAX / 2;
    assert_int_equal(pq_conv_weight_bytes(&d), 0);
    assert_null(op);
}

#define EACH_LEVEL(name)                                                       \
    static void test_##name(void **state)                                      \
    {                                                                          \
        (void)state;                                                           \
        cpu_host_each_level(name##_level);                                     \
    }
EACH_LEVEL(pointwise)
EACH_LEVEL(square)
EACH_LEVEL(odd)
EACH_LEVEL(groups)
EACH_LEVEL(ranks)
EACH_LEVEL(transposed)
EACH_LEVEL(random)
EACH_LEVEL(refuses)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pointwise), cmocka_unit_test(test_square),
        cmocka_unit_test(test_odd),       cmocka_unit_test(test_groups),
        cmocka_unit_test(test_ranks),     cmocka_unit_test(test_transposed),
        cmocka_unit_test(test_random),    cmocka_unit_test(test_refuses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
