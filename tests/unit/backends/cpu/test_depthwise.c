// SPDX-License-Identifier: Apache-2.0
//
// Depthwise convolutions against scalar C: channel counts around the blocks
// of 16 and 64, kernels, strides, dilations, edges and tiny images.
#include "conv_check.h"

static pq_conv_desc
depthwise_2d(int64_t channels, int64_t height, int64_t width, int64_t kernel_h,
             int64_t kernel_w)
{
    pq_conv_desc d = {
        .batch = 1,
        .groups = channels,
        .in_channels = channels,
        .out_channels = channels,
        .in = {1, height, width},
        .kernel = {1, kernel_h, kernel_w},
        .stride = {1, 1, 1},
        .dilation = {1, 1, 1},
        .pad_begin = {0, kernel_h / 2, kernel_w / 2},
    };
    return d;
}

static void
channels_level(pq_jit *jit)
{
    static const int64_t counts[] = {2,   15, 16, 80, 32,  64,
                                     147, 17, 96, 70, 144, 200};
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
        pq_conv_desc d = depthwise_2d(counts[i], 6, 13, 3, 3);
        d.batch = 2;
        set_output(&d, 1);
        if (i % 3 == 0) {
            check_all(jit, d, "depthwise");
        } else {
            check_two(jit, d, "depthwise");
        }
    }
}

static void
kernels_level(pq_jit *jit)
{
    static const int64_t kernels[][2] = {{1, 1}, {1, 3}, {3, 1}, {5, 5},
                                         {7, 7}, {2, 4}, {1, 9}, {6, 3}};
    for (size_t i = 0; i < sizeof kernels / sizeof *kernels; i++) {
        for (int64_t stride = 1; stride <= 3; stride++) {
            pq_conv_desc d =
                depthwise_2d(80, 9, 21, kernels[i][0], kernels[i][1]);
            d.stride[1] = d.stride[2] = stride;
            set_output(&d, kernels[i][0] / 2);
            check_two(jit, d, "depthwise");
        }
    }
}

static void
odd_level(pq_jit *jit)
{
    // dilation with and without a whole stride / dilation
    for (int64_t stride = 1; stride <= 4; stride++) {
        pq_conv_desc d = depthwise_2d(67, 9, 17, 3, 3);
        d.dilation[1] = d.dilation[2] = 2;
        d.stride[1] = d.stride[2] = stride;
        d.pad_begin[2] = 3;
        set_output(&d, 1);
        check_two(jit, d, "depthwise");
    }
    // window larger than the image; one pixel; a long row
    pq_conv_desc d = depthwise_2d(20, 2, 2, 7, 7);
    set_output(&d, 3);
    check_two(jit, d, "depthwise");
    d = depthwise_2d(64, 1, 1, 3, 3);
    set_output(&d, 1);
    check_two(jit, d, "depthwise");
    d = depthwise_2d(33, 1, 300, 1, 5);
    set_output(&d, 2);
    check_two(jit, d, "depthwise");
    // depth as a batch with strides and padding
    d = depthwise_2d(17, 4, 5, 3, 3);
    d.in[0] = 4;
    d.stride[0] = 2;
    d.pad_begin[0] = 1;
    set_output(&d, 1);
    check_two(jit, d, "depthwise");
}

static void
large_level(pq_jit *jit)
{
    // more taps than the depthwise kernel unrolls
    pq_conv_desc d = depthwise_2d(5, 12, 12, 9, 9);
    set_output(&d, 4);
    check_all(jit, d, "indirect");
}

#define EACH_LEVEL(name)                                                       \
    static void test_##name(void **state)                                      \
    {                                                                          \
        (void)state;                                                           \
        cpu_host_each_level(name##_level);                                     \
    }
EACH_LEVEL(channels)
EACH_LEVEL(kernels)
EACH_LEVEL(odd)
EACH_LEVEL(large)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_channels),
        cmocka_unit_test(test_kernels),
        cmocka_unit_test(test_odd),
        cmocka_unit_test(test_large),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
