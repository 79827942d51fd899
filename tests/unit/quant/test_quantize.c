// SPDX-License-Identifier: Apache-2.0
//
// Scales, zero points and codes: properties over many random ranges, extremes
// included, and small known cases.
#include <float.h>
#include <math.h>
#include <string.h>

#include "base/dtype.h"
#include "base/float16.h"
#include "base/narrow.h"
#include "quant/quantize.h"
#include "tests/support/cmocka_test.h"
#include "tests/support/random.h"

static const float extremes[] = {
    0.0f,     -0.0f,  1.0f,    -1.0f,     FLT_MAX,    -FLT_MAX,  FLT_MIN,
    -FLT_MIN, 1e-45f, -1e-45f, 1e-40f,    INFINITY,   -INFINITY, NAN,
    255.0f,   127.5f, 3e38f,   0x1p-130f, -0x1p-130f, 65504.0f,
};
#define EXTREMES (sizeof extremes / sizeof *extremes)

static const ptqc_dtype formats[] = {PTQC_I8, PTQC_U8,  PTQC_I4,
                                     PTQC_U4, PTQC_I16, PTQC_U16};

// What every choice of parameters must keep.
static void
check_params(float min, float max, ptqc_dtype format, bool symmetric)
{
    const pq_format *f = pq_format_of(format);
    pq_params p = pq_params_of_range(min, max, format, symmetric);
    assert_true(isfinite(p.scale) && p.scale >= FLT_MIN);
    assert_in_range((intmax_t)p.zero_point - f->min, 0,
                    (uintmax_t)((intmax_t)f->max - f->min));
    assert_int_equal(pq_code_of(0.0f, p, format), p.zero_point);
    if (symmetric) {
        assert_int_equal(p.zero_point, f->middle);
    }
    int32_t lo = pq_code_of(-FLT_MAX, p, format);
    int32_t hi = pq_code_of(FLT_MAX, p, format);
    assert_true(lo >= f->min && hi <= f->max && lo <= hi);
}

// Inside the range the error is half a step (and a few roundings).
static void
check_error(float min, float max, ptqc_dtype format, pq_test_random *r)
{
    pq_params p = pq_params_of_range(min, max, format, false);
    double low = fmin((double)min, 0);
    double high = fmax((double)max, 0);
    for (int i = 0; i < 4; i++) {
        float x =
            (float)(low + (high - low) * (double)pq_test_random_f32(r, 0, 1));
        double back =
            (double)p.scale * (pq_code_of(x, p, format) - p.zero_point);
        // The zero point is rounded, too: one more half step at the ends.
        assert_true(fabs(back - (double)x) <= 1.001 * (double)p.scale);
    }
}

static void
random_ranges(void **state)
{
    (void)state;
    pq_test_random r = pq_test_random_seed(1);
    for (int i = 0; i < 100000; i++) {
        float size = ldexpf(1, (int)pq_test_random_int(&r, -149, 126));
        float a = pq_test_random_f32(&r, -1, 1) * size;
        float b = pq_test_random_f32(&r, -1, 1) * size;
        ptqc_dtype format = formats[i % 6];
        check_params(fminf(a, b), fmaxf(a, b), format, i % 4 == 0);
        if (size > 1e-30f) {
            check_error(fminf(a, b), fmaxf(a, b), format, &r);
        }
    }
}

static void
extreme_ranges(void **state)
{
    (void)state;
    for (size_t i = 0; i < EXTREMES; i++) {
        for (size_t j = 0; j < EXTREMES; j++) {
            for (size_t k = 0; k < 12; k++) {
                check_params(extremes[i], extremes[j], formats[k / 2],
                             k % 2 == 0);
            }
        }
    }
}

static void
known_ranges(void **state)
{
    (void)state;
    pq_params p = pq_params_of_range(-1.0f, 2.0f, PTQC_U8, false);
    assert_true(fabsf(p.scale - 3.0f / 255.0f) < 1e-9f);
    assert_int_equal(p.zero_point, 85);
    p = pq_params_of_range(1.0f, 2.55f, PTQC_U8, false); // 0 is included
    assert_true(fabsf(p.scale - 0.01f) < 1e-9f);
    assert_int_equal(p.zero_point, 0);
    p = pq_params_of_range(-2.55f, -1.0f, PTQC_U8, false);
    assert_int_equal(p.zero_point, 255);
    p = pq_params_of_range(-127.0f, 100.0f, PTQC_I8, true);
    assert_true(fabsf(p.scale - 1.0f) < 1e-9f);
    p = pq_params_of_range(0.0f, 0.0f, PTQC_U8, false);
    assert_true(fabsf(p.scale - 1.0f) < 1e-9f);
    p = (pq_params){2.0f, 10};
    assert_int_equal(pq_code_of(5.0f, p, PTQC_U8), 12); // 2.5 to even
    assert_int_equal(pq_code_of(7.0f, p, PTQC_U8), 14); // 3.5 to even
    assert_int_equal(pq_code_of(-1000.0f, p, PTQC_U8), 0);
    assert_int_equal(pq_code_of(1000.0f, p, PTQC_U8), 255);
    assert_int_equal(pq_code_of(NAN, p, PTQC_U8), 0);
}

// ---- weights --------------------------------------------------------------

static void
channels_along_axis_1(void **state)
{
    (void)state;
    // [2, 3, 2]: channel c has magnitude 10^c.
    const float w[12] = {1, -1, 10, -20, 100, 50, -1, 0.5f, 5, 5, 127, -254};
    const pq_weights ws = {.w = w,
                           .outer = 2,
                           .channels = 3,
                           .inner = 2,
                           .scheme = {.format = PTQC_I8,
                                      .granularity = PQ_GRAN_CHANNEL,
                                      .symmetric = true}};
    float scales[3];
    int32_t zeros[3];
    int8_t codes[12];
    assert_int_equal(pq_weights_scale_count(&ws), 3);
    pq_choose_weight_params(&ws, scales, zeros);
    pq_encode_weights(&ws, scales, zeros, (uint8_t *)codes);
    const float largest[3] = {1, 20, 254};
    for (int c = 0; c < 3; c++) {
        assert_true(fabsf(scales[c] - largest[c] / 127) < 1e-6f);
        assert_int_equal(zeros[c], 0);
    }
    assert_int_equal(codes[0], 127);
    assert_int_equal(codes[1], -127);
    assert_int_equal(codes[3], -127);
    assert_int_equal(codes[11], -127);
    assert_int_equal(codes[10], 64); // 63.5 to even
}

static void
groups_with_tail(void **state)
{
    (void)state;
    float w[2][7];
    pq_test_random r = pq_test_random_seed(3);
    pq_test_fill_normal(&r, w[0], 14, 1);
    const pq_weights ws = {.w = w[0],
                           .outer = 1,
                           .channels = 2,
                           .inner = 7,
                           .scheme = {.format = PTQC_U4,
                                      .granularity = PQ_GRAN_GROUP,
                                      .group = 3,
                                      .axis = 1}};
    float scales[6];
    int32_t zeros[6];
    uint8_t codes[2][7];
    assert_int_equal(pq_weights_scale_count(&ws), 6);
    pq_choose_weight_params(&ws, scales, zeros);
    pq_encode_weights(&ws, scales, zeros, codes[0]);
    for (int n = 0; n < 2; n++) {
        for (int k = 0; k < 7; k++) {
            int p = n * 3 + k / 3;
            assert_in_range(codes[n][k], 0, 15);
            float back = scales[p] * (float)(codes[n][k] - zeros[p]);
            assert_true(fabsf(back - w[n][k]) <= 1.001f * scales[p]);
        }
    }
}

// The search of symmetric 4-bit scales is never worse than absmax / 7.
static void
symmetric_search(void **state)
{
    (void)state;
    pq_test_random r = pq_test_random_seed(5);
    double searched = 0;
    double plain = 0;
    for (int i = 0; i < 500; i++) {
        float w[64];
        float scale;
        int32_t zero;
        uint8_t codes[64];
        float largest = 0;
        pq_test_fill_normal(&r, w, 64, 1);
        const pq_weights ws = {.w = w,
                               .outer = 1,
                               .channels = 1,
                               .inner = 64,
                               .scheme = {.format = PTQC_U4,
                                          .granularity = PQ_GRAN_CHANNEL,
                                          .symmetric = true}};
        pq_choose_weight_params(&ws, &scale, &zero);
        pq_encode_weights(&ws, &scale, &zero, codes);
        assert_int_equal(zero, 8);
        for (int k = 0; k < 64; k++) {
            largest = fmaxf(largest, fabsf(w[k]));
        }
        double a = 0;
        double b = 0;
        for (int k = 0; k < 64; k++) {
            double e = (double)(scale * (float)(codes[k] - 8) - w[k]);
            double s = (double)largest / 7;
            double f = s * rint((double)w[k] / s) - (double)w[k];
            a += e * e;
            b += f * f;
        }
        assert_true(a <= b * 1.0001);
        searched += a;
        plain += b;
    }
    assert_true(searched < 0.9 * plain);
}

static double
error_of(const pq_weights *ws, double power)
{
    float scale;
    int32_t zero;
    uint8_t codes[64];
    double sum = 0;
    pq_choose_weight_params(ws, &scale, &zero);
    pq_encode_weights(ws, &scale, &zero, codes);
    for (int i = 0; i < ws->inner; i++) {
        int32_t code =
            pq_dtype_is_signed(ws->scheme.format) ? (int8_t)codes[i] : codes[i];
        float number = (float)(code - zero);
        if (ws->scheme.format == PTQC_F8E4M3) {
            number = pq_e4m3_to_f32(codes[i]);
        }
        sum +=
            pow(fabs((double)scale * (double)number - (double)ws->w[i]), power);
    }
    return sum;
}

// A search never has the larger squared error, and the smaller one where an
// outlier stretches the range.
static void
searches_clip(void **state)
{
    (void)state;
    static const pq_scheme schemes[] = {
        {.format = PTQC_U4, .symmetric = true},
        {.format = PTQC_U4},
        {.format = PTQC_I4, .bits = 3, .symmetric = true},
        {.format = PTQC_U4, .bits = 3},
        {.format = PTQC_I8, .symmetric = true},
        {.format = PTQC_U8},
        {.format = PTQC_F8E4M3, .symmetric = true},
    };
    pq_test_random r = pq_test_random_seed(9);
    for (size_t s = 0; s < sizeof schemes / sizeof *schemes; s++) {
        double plain = 0, searched = 0;
        for (int i = 0; i < 50; i++) {
            float w[64];
            pq_test_fill_normal(&r, w, 64, 1);
            w[i] = i % 2 == 0 ? 5.0f : w[i];
            pq_weights ws = {.w = w,
                             .outer = 1,
                             .channels = 1,
                             .inner = 64,
                             .scheme = schemes[s]};
            ws.scheme.granularity = PQ_GRAN_CHANNEL;
            double a = error_of(&ws, 2);
            ws.search = PQ_SCALE_MSE;
            double b = error_of(&ws, 2);
            assert_true(b <= a * 1.000001);
            plain += a;
            searched += b;
        }
        bool is_narrow = pq_dtype_bits(schemes[s].format) == 4;
        assert_true(!is_narrow || searched < 0.95 * plain);
    }
    assert_string_equal(pq_scale_search_name(PQ_SCALE_MSE), "mse");
    assert_string_equal(pq_scale_search_name(PQ_SCALE_MINMAX), "minmax");
}

// Codes of three bits stay within them, whatever stores them.
static void
three_bits(void **state)
{
    (void)state;
    const float w[6] = {4, -3, 1.4f, 0, 0.5f, -0.6f};
    float scale;
    int32_t zero;
    uint8_t codes[6];
    pq_weights ws = {.w = w,
                     .outer = 1,
                     .channels = 1,
                     .inner = 6,
                     .scheme = {.format = PTQC_I4,
                                .bits = 3,
                                .granularity = PQ_GRAN_CHANNEL,
                                .symmetric = true}};
    pq_choose_weight_params(&ws, &scale, &zero);
    pq_encode_weights(&ws, &scale, &zero, codes);
    assert_true(scale == -1.0f && zero == 0); // 4 is -4 times it
    const int8_t symmetric[6] = {-4, 3, -1, 0, 0, 1};
    assert_memory_equal(codes, symmetric, 6);
    ws.scheme.format = PTQC_U4;
    ws.scheme.symmetric = false;
    pq_choose_weight_params(&ws, &scale, &zero);
    pq_encode_weights(&ws, &scale, &zero, codes);
    assert_true(scale == 1.0f && zero == 3);
    const uint8_t asymmetric[6] = {7, 0, 4, 3, 3, 2};
    assert_memory_equal(codes, asymmetric, 6);
}

// The largest weight is the largest number of the format; NaN stays.
static void
float8(void **state)
{
    (void)state;
    const float w[5] = {-3.5f, 1.75f, 0.0f, -0.001f, NAN};
    static const ptqc_dtype dtypes[2] = {PTQC_F8E4M3, PTQC_F8E5M2};
    static const uint8_t want[2][3] = {{0xfe, 0x76, 0}, {0xfb, 0x77, 0}};
    for (size_t i = 0; i < 2; i++) {
        float scale;
        int32_t zero;
        uint8_t codes[5];
        const pq_weights ws = {.w = w,
                               .outer = 1,
                               .channels = 1,
                               .inner = 5,
                               .scheme = {.format = dtypes[i],
                                          .granularity = PQ_GRAN_TENSOR,
                                          .symmetric = true}};
        pq_choose_weight_params(&ws, &scale, &zero);
        pq_encode_weights(&ws, &scale, &zero, codes);
        assert_true(zero == 0 && scale == 3.5f / (i == 0 ? 448 : 57344));
        assert_memory_equal(codes, want[i], 3);
        float (*widen)(uint8_t) = i == 0 ? pq_e4m3_to_f32 : pq_e5m2_to_f32;
        assert_true(fabsf(widen(codes[3]) * scale - w[3]) <= 0.0002f);
        assert_true(isnan(widen(codes[4])));
    }
}

// Golden block of ggml's MXFP4: x[i] = ((29 i) % 64 - 31.5) / 16, exponent
// byte 0x7d, then code i in the low and code i + 16 in the high half of byte i.
static void
mxfp4_golden(void **state)
{
    (void)state;
    static const uint8_t golden[16] = {0xef, 0x59, 0xf7, 0x4c, 0xf7, 0x1e,
                                       0x76, 0xaf, 0x74, 0xdf, 0x61, 0xe7,
                                       0x5a, 0xf7, 0x3c, 0xf6};
    float w[32], scale = 0.25f;
    int32_t zero = 0;
    uint8_t codes[32];
    for (int i = 0; i < 32; i++) {
        w[i] = ((float)(29 * i % 64) - 31.5f) / 16;
    }
    pq_weights ws = {.w = w,
                     .outer = 1,
                     .channels = 1,
                     .inner = 32,
                     .scheme = {.format = PTQC_F4E2M1,
                                .granularity = PQ_GRAN_GROUP,
                                .group = 32,
                                .symmetric = true,
                                .scale_format = PTQC_F8E8M0}};
    pq_encode_weights(&ws, &scale, &zero, codes);
    for (int i = 0; i < 16; i++) {
        assert_int_equal(codes[i] | codes[i + 16] << 4, golden[i]);
    }
    // The exponents' rule gives that scale or, when it is better, its double.
    pq_choose_weight_params(&ws, &scale, &zero);
    assert_true(zero == 0 && (scale == 0.25f || scale == 0.5f));
    w[0] = 6.0f * 0.25f;
    for (int i = 1; i < 32; i++) {
        w[i] = i % 2 != 0 ? 0.25f : -0.125f;
    }
    pq_choose_weight_params(&ws, &scale, &zero);
    assert_true(scale == 0.25f);
}

// Scales are numbers of the type that the scheme names.
static void
scale_formats(void **state)
{
    (void)state;
    const float w[4] = {0.1f, -0.7f, 0.333f, 0.9f};
    static const ptqc_dtype types[4] = {PTQC_F32, PTQC_F16, PTQC_BF16,
                                        PTQC_F8E8M0};
    for (size_t i = 0; i < 4; i++) {
        for (int is_symmetric = 0; is_symmetric < 2; is_symmetric++) {
            float scale, back;
            int32_t zero;
            const pq_weights ws = {.w = w,
                                   .outer = 1,
                                   .channels = 1,
                                   .inner = 4,
                                   .scheme = {.format = PTQC_U4,
                                              .granularity = PQ_GRAN_GROUP,
                                              .group = 4,
                                              .symmetric = is_symmetric != 0,
                                              .scale_format = types[i]}};
            pq_choose_weight_params(&ws, &scale, &zero);
            back = types[i] == PTQC_F32   ? scale
                   : types[i] == PTQC_F16 ? pq_f16_to_f32(pq_f32_to_f16(scale))
                   : types[i] == PTQC_BF16
                       ? pq_bf16_to_f32(pq_f32_to_bf16(scale))
                       : copysignf(pq_e8m0_to_f32(pq_f32_to_e8m0(fabsf(scale))),
                                   scale);
            assert_true(back == scale);
            assert_true(fabsf(scale) >= 1.6f / 16 && fabsf(scale) <= 0.25f);
        }
    }
}

static void
least_scales(void **state)
{
    (void)state;
    const float w[4] = {1e-6f, -2e-6f, 1, 2};
    const float least[2] = {0.5f, 0};
    const pq_weights ws = {.w = w,
                           .outer = 1,
                           .channels = 2,
                           .inner = 2,
                           .scheme = {.format = PTQC_I8,
                                      .granularity = PQ_GRAN_CHANNEL,
                                      .symmetric = true},
                           .least_scale = least};
    float scales[2];
    int32_t zeros[2];
    uint8_t codes[4];
    pq_choose_weight_params(&ws, scales, zeros);
    pq_encode_weights(&ws, scales, zeros, codes);
    assert_true(fabsf(scales[0] - 0.5f) < 1e-9f);
    assert_true(fabsf(scales[1] - 2.0f / 127) < 1e-7f);
    assert_int_equal(codes[0], 0);
    assert_int_equal(codes[3], 127);
}

static void
hostile_weights(void **state)
{
    (void)state;
    const float w[6] = {NAN, INFINITY, -INFINITY, FLT_MAX, 0, 1e-45f};
    for (size_t i = 0; i < 4; i++) {
        for (int symmetric = 0; symmetric < 2; symmetric++) {
            const pq_weights ws = {.w = w,
                                   .outer = 1,
                                   .channels = 1,
                                   .inner = 6,
                                   .scheme = {.format = formats[i],
                                              .granularity = PQ_GRAN_TENSOR,
                                              .symmetric = symmetric != 0}};
            float scale;
            int32_t zero;
            uint8_t codes[6];
            pq_choose_weight_params(&ws, &scale, &zero);
            pq_encode_weights(&ws, &scale, &zero, codes);
            assert_true(isfinite(scale) && scale >= FLT_MIN);
        }
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_ranges),
        cmocka_unit_test(extreme_ranges),
        cmocka_unit_test(known_ranges),
        cmocka_unit_test(channels_along_axis_1),
        cmocka_unit_test(groups_with_tail),
        cmocka_unit_test(symmetric_search),
        cmocka_unit_test(searches_clip),
        cmocka_unit_test(three_bits),
        cmocka_unit_test(float8),
        cmocka_unit_test(mxfp4_golden),
        cmocka_unit_test(scale_formats),
        cmocka_unit_test(least_scales),
        cmocka_unit_test(hostile_weights),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
