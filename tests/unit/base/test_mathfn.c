// SPDX-License-Identifier: Apache-2.0
//
// The bounds that base/mathfn.h promises, against f64 libm over all of f32
// (every 977th bit pattern, both signs), and the exact cases.
#include <math.h>
#include <stdint.h>
#include <stdio.h>

#include "base/mathfn.h"
#include "tests/support/cmocka_test.h"

#define STRIDE 977u

typedef struct bound_case {
    const char *name;
    float (*fn)(float x);
    double (*exact)(double x);
    double ulps;     // largest error allowed, in ulp of the exact result
    double absolute; // instead of ulps where larger, times max(1, |x|)
    float lo, hi;    // tested range
} bound_case;

static double
exact_sigmoid(double x)
{
    return 1.0 / (1.0 + exp(-x));
}

static double
exact_silu(double x)
{
    return x / (1.0 + exp(-x));
}

static double
exact_softplus(double x)
{
    return (x > 0.0 ? x : 0.0) + log1p(exp(-fabs(x)));
}

static double
exact_mish(double x)
{
    return x * tanh(exact_softplus(x));
}

static double
exact_gelu(double x)
{
    return 0.5 * x * erfc(-x * M_SQRT1_2);
}

static double
exact_gelu_tanh(double x)
{
    double u = sqrt(2.0 / M_PI) * (x + 0.044715 * x * x * x);
    return 0.5 * x * (1.0 + tanh(u));
}

static double
exact_rsqrt(double x)
{
    return 1.0 / sqrt(x);
}

static double
exact_softsign(double x)
{
    return x / (1.0 + fabs(x));
}

static double
exact_elu(double x)
{
    return x < 0.0 ? 1.25 * expm1(x) : x;
}

static float
elu_125(float x)
{
    return pq_eluf(x, 1.25f);
}

static double
exact_celu(double x)
{
    return x < 0.0 ? 2.0 * expm1(x / 2.0) : x;
}

static float
celu_2(float x)
{
    return pq_celuf(x, 2.0f);
}

#define ANY -INFINITY, INFINITY

static const bound_case bound_cases[] = {
    {"exp", pq_expf, exp, 1.1, 0, ANY},
    {"log", pq_logf, log, 1.1, 0, 0.0f, INFINITY},
    {"tanh", pq_tanhf, tanh, 2, 0, ANY},
    {"erf", pq_erff, erf, 2, 0, ANY},
    {"sigmoid", pq_sigmoidf, exact_sigmoid, 3, 0, ANY},
    {"silu", pq_siluf, exact_silu, 4, 0x1p-120, -3e38f, INFINITY},
    {"softplus", pq_softplusf, exact_softplus, 3, 0, ANY},
    {"mish", pq_mishf, exact_mish, 5, 0x1p-120, -3e38f, INFINITY},
    {"gelu", pq_gelu_erff, exact_gelu, 4, 0x1p-23, -3e38f, INFINITY},
    {"gelu_tanh", pq_gelu_tanhf, exact_gelu_tanh, 4, 0x1p-23, -1e10f, 1e10f},
    {"rsqrt", pq_rsqrtf, exact_rsqrt, 1.5, 0, 0.0f, INFINITY},
    {"softsign", pq_softsignf, exact_softsign, 1.6, 0, -3e38f, 3e38f},
    {"elu", elu_125, exact_elu, 3, 0, ANY},
    {"celu", celu_2, exact_celu, 3, 0, ANY},
    {"sin", pq_sinf, sin, 2, 0, -2.8e14f, 2.8e14f},
    {"cos", pq_cosf, cos, 2, 0, -2.8e14f, 2.8e14f},
    {"tan", pq_tanf, tan, 4, 0, -2.8e14f, 2.8e14f},
    {"asin", pq_asinf, asin, 3, 0, ANY},
    {"acos", pq_acosf, acos, 3, 0, ANY},
    {"atan", pq_atanf, atan, 2, 0, ANY},
    {"sinh", pq_sinhf, sinh, 5, 0, ANY},
    {"cosh", pq_coshf, cosh, 4, 0, ANY},
    {"asinh", pq_asinhf, asinh, 3, 0, ANY},
    {"acosh", pq_acoshf, acosh, 3, 0, ANY},
    {"atanh", pq_atanhf, atanh, 3, 0, ANY},
};

// Error of y in units of the last f32 place of `exact`.
static double
error_ulps(float y, double exact)
{
    if (isnan(exact)) {
        return isnan(y) ? 0.0 : (double)INFINITY;
    }
    if (fabs(exact) >= 0x1.ffffffp+127) {
        return (double)y == copysign((double)INFINITY, exact)
                   ? 0.0
                   : (double)INFINITY;
    }
    if (isinf(y)) { // the exact value is within an ulp of overflow
        return fabs(exact) > 0x1.fffffcp+127 ? 1.0 : (double)INFINITY;
    }
    int e = 0;
    (void)frexp(exact, &e);
    e = e - 24 < -149 ? -149 : e - 24;
    return fabs((double)y - exact) / ldexp(1.0, e);
}

static void
check_bound(const bound_case *c)
{
    double worst = 0.0;
    float worst_x = 0.0f;
    for (uint64_t u = 0; u <= UINT32_MAX; u += STRIDE) {
        float x = pq_bits_f32((uint32_t)u);
        if (!(x >= c->lo && x <= c->hi)) {
            continue;
        }
        double exact = c->exact((double)x);
        float y = c->fn(x);
        double scale = fabs((double)x) > 1.0 ? fabs((double)x) : 1.0;
        if (fabs((double)y - exact) <= c->absolute * scale) {
            continue;
        }
        double e = error_ulps(y, exact);
        if (!(e <= worst)) {
            worst = e;
            worst_x = x;
        }
    }
    print_message("%-10s worst %.3f ulp at %a\n", c->name, worst,
                  (double)worst_x);
    assert_true(worst <= c->ulps);
}

static void
test_bounds(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof bound_cases / sizeof bound_cases[0]; i++) {
        check_bound(&bound_cases[i]);
    }
}

static void
test_nan_stays(void **state)
{
    (void)state;
    uint32_t nan = 0xffc12345u;
    for (size_t i = 0; i < sizeof bound_cases / sizeof bound_cases[0]; i++) {
        float y = bound_cases[i].fn(pq_bits_f32(nan));
        assert_true(isnan(y));
    }
    assert_int_equal(pq_f32_bits(pq_expf(pq_bits_f32(nan))), nan);
    assert_int_equal(pq_f32_bits(pq_logf(pq_bits_f32(nan))), nan);
    assert_int_equal(pq_f32_bits(pq_tanhf(pq_bits_f32(nan))), nan);
    assert_int_equal(pq_f32_bits(pq_logf(-1.0f)), PQ_NAN_BITS);
    assert_int_equal(pq_f32_bits(pq_sinf(1e20f)), PQ_NAN_BITS);
    assert_int_equal(pq_f32_bits(pq_cosf(-INFINITY)), PQ_NAN_BITS);
    assert_true(isnan(pq_maxf(NAN, 1.0f)) && isnan(pq_maxf(1.0f, NAN)));
    assert_true(isnan(pq_minf(NAN, 1.0f)) && isnan(pq_minf(1.0f, NAN)));
    assert_true(isnan(pq_reluf(NAN)) && isnan(pq_clipf(NAN, 0.0f, 6.0f)));
}

static void
assert_same(float got, float want)
{
    assert_int_equal(pq_f32_bits(got), pq_f32_bits(want));
}

static void
test_exact_cases(void **state)
{
    (void)state;
    assert_same(pq_expf(0.0f), 1.0f);
    assert_same(pq_expf(-INFINITY), 0.0f);
    assert_same(pq_expf(INFINITY), INFINITY);
    assert_same(pq_expf(88.8f), INFINITY);
    assert_same(pq_expf(-104.0f), 0.0f);
    assert_same(pq_logf(1.0f), 0.0f);
    assert_same(pq_logf(-0.0f), -INFINITY);
    assert_same(pq_tanhf(-0.0f), -0.0f);
    assert_same(pq_tanhf(-INFINITY), -1.0f);
    assert_same(pq_erff(INFINITY), 1.0f);
    assert_same(pq_sigmoidf(-INFINITY), 0.0f);
    assert_same(pq_sigmoidf(0.0f), 0.5f);
    assert_same(pq_softplusf(-INFINITY), 0.0f);
    assert_same(pq_softplusf(INFINITY), INFINITY);
    assert_same(pq_sinf(-0.0f), -0.0f);
    assert_same(pq_cosf(0.0f), 1.0f);
    assert_same(pq_signf(-0.0f), -0.0f);
    assert_same(pq_signf(-3.0f), -1.0f);
    assert_same(pq_hardswishf(4.0f), 4.0f);
    assert_same(pq_hardswishf(-4.0f), -0.0f);
    assert_same(pq_leaky_reluf(-2.0f, 0.5f), -1.0f);
    assert_same(pq_mishf(1e30f), 1e30f);
    assert_same(pq_floor_modf(-7.0f, 3.0f), 2.0f);
    assert_same(pq_floor_modf(7.0f, -3.0f), -2.0f);
    assert_same(pq_floor_modf(6.0f, -3.0f), 0.0f);
    assert_same(pq_thresholded_reluf(1.0f, 1.0f), 0.0f);
    assert_same(pq_thresholded_reluf(1.5f, 1.0f), 1.5f);
    assert_same(pq_shrinkf(-3.0f, 1.0f, 0.5f), -2.5f);
    assert_same(pq_shrinkf(3.0f, 1.0f, 0.5f), 2.5f);
    assert_same(pq_shrinkf(0.5f, 1.0f, 0.5f), 0.0f);
    assert_same(pq_asinf(-1.0f), -0x1.921fb6p+0f);
    assert_same(pq_acosf(1.0f), 0.0f);
    assert_same(pq_acoshf(1.0f), 0.0f);
    assert_same(pq_atanhf(-1.0f), -INFINITY);
    assert_same(pq_atanf(-INFINITY), -0x1.921fb6p+0f);
    assert_same(pq_sinhf(-0.0f), -0.0f);
}

static void
test_round_is_rint(void **state)
{
    (void)state;
    for (uint64_t u = 0; u <= UINT32_MAX; u += STRIDE) {
        float x = pq_bits_f32((uint32_t)u);
        if (!isnan(x)) { // whether a signaling NaN turns quiet is open
            assert_same(pq_roundf(x), rintf(x));
        }
    }
    assert_same(pq_roundf(2.5f), 2.0f);
    assert_same(pq_roundf(-0.25f), -0.0f);
    assert_same(pq_roundf(8388607.5f), 8388608.0f);
    assert_int_equal(pq_round_code(2.5f, -128.0f, 127.0f), 2);
    assert_int_equal(pq_round_code(-1e30f, -128.0f, 127.0f), -128);
    assert_int_equal(pq_round_code(INFINITY, 0.0f, 255.0f), 255);
    assert_int_equal(pq_round_code(NAN, 0.0f, 255.0f), 0);
}

static uint32_t
next_random(uint32_t *seed)
{
    *seed = *seed * 1664525u + 1013904223u;
    return *seed ^ (*seed >> 13);
}

static void
test_pow(void **state)
{
    (void)state;
    uint32_t seed = 7;
    double worst = 0.0;
    for (int i = 0; i < 1000000; i++) {
        float x = pq_bits_f32(next_random(&seed));
        uint32_t bits = next_random(&seed);
        // y within 2^-8..2^8 half the time, so that results are finite
        if ((i & 1) != 0) {
            bits = (bits & 0x80ffffffu) | ((119u + (bits >> 24) % 16u) << 23);
            x = fabsf(x);
        }
        float y = pq_bits_f32(bits);
        if (isnan(x) || isnan(y)) {
            continue;
        }
        double e = error_ulps(pq_powf(x, y), pow((double)x, (double)y));
        worst = e > worst ? e : worst;
    }
    print_message("pow worst %.3f ulp\n", worst);
    assert_true(worst <= 2.0);
}

static void
test_pow_special(void **state)
{
    (void)state;
    static const float special[] = {
        0.0f,   -0.0f,   1.0f,     -1.0f,     2.0f,  -2.0f,  3.0f,       -3.0f,
        0.5f,   -0.5f,   2.5f,     -2.5f,     4.0f,  -4.0f,  1e30f,      -1e30f,
        1e-40f, -1e-40f, INFINITY, -INFINITY, 0.99f, -1.01f, 8388609.0f, 3e8f,
    };
    size_t n = sizeof special / sizeof special[0];
    for (size_t i = 0; i < n; i++) {
        for (size_t j = 0; j < n; j++) {
            float x = special[i];
            float y = special[j];
            double exact = pow((double)x, (double)y);
            float got = pq_powf(x, y);
            assert_true(error_ulps(got, exact) <= 2.0);
            if (!isnan(exact)) {
                assert_int_equal(signbit(got) != 0, signbit(exact) != 0);
            }
        }
    }
    assert_same(pq_powf(NAN, 0.0f), 1.0f);
    assert_same(pq_powf(1.0f, NAN), 1.0f);
    assert_true(isnan(pq_powf(NAN, 2.0f)) && isnan(pq_powf(2.0f, NAN)));
}

static void
test_fmod(void **state)
{
    (void)state;
    uint32_t seed = 3;
    for (int i = 0; i < 500000; i++) {
        float x = pq_bits_f32(next_random(&seed));
        float y = pq_bits_f32(next_random(&seed));
        if (isnan(x) || isnan(y) ||
            !(fabs((double)x / (double)y) < 268435456.0)) {
            continue;
        }
        assert_same(pq_fmodf(x, y), fmodf(x, y));
    }
    assert_same(pq_fmodf(-7.5f, 2.0f), -1.5f);
    assert_same(pq_fmodf(-6.0f, 2.0f), -0.0f);
    assert_same(pq_fmodf(5.0f, -INFINITY), 5.0f);
    assert_true(isnan(pq_fmodf(5.0f, 0.0f)));
    assert_true(isnan(pq_fmodf(INFINITY, 2.0f)));
    assert_true(isnan(pq_fmodf(1e30f, 1e-30f)));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bounds),
        cmocka_unit_test(test_nan_stays),
        cmocka_unit_test(test_exact_cases),
        cmocka_unit_test(test_round_is_rint),
        cmocka_unit_test(test_pow),
        cmocka_unit_test(test_pow_special),
        cmocka_unit_test(test_fmod),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
