// SPDX-License-Identifier: Apache-2.0
//
// Narrow floats. To f32: every code against its definition. From f32: the
// exact middle between every two neighbouring codes, the floats next to it
// and random floats, against a search for the nearest code.
#include <math.h>
#include <stdbool.h>
#include <string.h>

#include "base/float16.h"
#include "tests/support/cmocka_test.h"
#include "tests/support/random.h"

// A narrow format: how to convert, and its definition.
typedef struct format {
    const char *name;
    int exponent_bits, mantissa_bits;
    unsigned finite_max; // largest finite magnitude code
    bool saturates;      // else overflow gives finite_max + 1, infinity
} format;

static const format f16 = {"f16", 5, 10, 0x7bff, false};
static const format bf16 = {"bf16", 8, 7, 0x7f7f, false};
static const format e4m3 = {"e4m3", 4, 3, 0x7e, true};
static const format e5m2 = {"e5m2", 5, 2, 0x7b, true};

static float
widen(const format *f, unsigned code)
{
    if (f == &f16) {
        return pq_f16_to_f32((uint16_t)code);
    }
    if (f == &bf16) {
        return pq_bf16_to_f32((uint16_t)code);
    }
    return f == &e4m3 ? pq_e4m3_to_f32((uint8_t)code)
                      : pq_e5m2_to_f32((uint8_t)code);
}

static unsigned
narrow(const format *f, float x)
{
    if (f == &f16) {
        return pq_f32_to_f16(x);
    }
    if (f == &bf16) {
        return pq_f32_to_bf16(x);
    }
    return f == &e4m3 ? pq_f32_to_e4m3(x) : pq_f32_to_e5m2(x);
}

static unsigned
sign_code(const format *f)
{
    return 1u << (f->exponent_bits + f->mantissa_bits);
}

// The value of a magnitude code by its definition, in double.
static double
value_of(const format *f, unsigned code)
{
    int bias = (1 << (f->exponent_bits - 1)) - 1;
    int exponent = (int)(code >> f->mantissa_bits);
    double fraction = (double)(code & ((1u << f->mantissa_bits) - 1));
    if (exponent == 0) {
        return ldexp(fraction, 1 - bias - f->mantissa_bits);
    }
    return ldexp(ldexp(1.0, f->mantissa_bits) + fraction,
                 exponent - bias - f->mantissa_bits);
}

// Nearest code to the magnitude x, ties to even, by bisection.
static unsigned
nearest_code(const format *f, double x)
{
    double limit = value_of(f, f->finite_max);
    double step = limit - value_of(f, f->finite_max - 1);
    if (x >= limit + step / 2) {
        return f->saturates ? f->finite_max : f->finite_max + 1;
    }
    unsigned low = 0; // value_of(low) <= x
    unsigned high = f->finite_max + 1;
    while (high - low > 1) {
        unsigned middle = (low + high) / 2;
        if (value_of(f, middle) <= x) {
            low = middle;
        } else {
            high = middle;
        }
    }
    if (low == f->finite_max) {
        return low;
    }
    double below = x - value_of(f, low);
    double above = value_of(f, low + 1) - x;
    if (below == above) { // exact: all three have few bits
        return low + (low & 1u);
    }
    return below < above ? low : low + 1;
}

static void
check_narrow(const format *f, float x)
{
    unsigned want = nearest_code(f, (double)fabsf(x));
    unsigned got = narrow(f, fabsf(x));
    if (got != want) {
        print_error("%s of %a: %#x, want %#x\n", f->name, (double)x, got, want);
    }
    assert_int_equal(got, want);
    assert_int_equal(narrow(f, -fabsf(x)), want | sign_code(f));
}

static void
check_format(const format *f)
{
    for (unsigned code = 0; code <= f->finite_max; code++) {
        float x = widen(f, code);
        assert_true((double)x == value_of(f, code));
        float minus = widen(f, code | sign_code(f));
        assert_true(minus == -x && signbit(minus));
        assert_int_equal(narrow(f, x), code);
        assert_int_equal(narrow(f, minus), code | sign_code(f));
        double next = code < f->finite_max
                          ? value_of(f, code + 1)
                          : 2.0 * (double)x - value_of(f, code - 1);
        float middle = (float)(((double)x + next) / 2);
        check_narrow(f, middle);
        check_narrow(f, nextafterf(middle, 0.0f));
        check_narrow(f, nextafterf(middle, INFINITY));
        check_narrow(f, nextafterf(x, INFINITY));
    }
    pq_test_random r = pq_test_random_seed(7);
    for (int i = 0; i < 200000; i++) {
        uint32_t bits = (uint32_t)pq_test_random_u64(&r) & 0x7fffffffu;
        float x;
        memcpy(&x, &bits, sizeof x);
        if (isfinite(x)) {
            check_narrow(f, x);
        }
    }
}

static void
test_f16(void **state)
{
    (void)state;
    check_format(&f16);
}

static void
test_bf16(void **state)
{
    (void)state;
    check_format(&bf16);
}

static void
test_e4m3(void **state)
{
    (void)state;
    check_format(&e4m3);
    assert_true(pq_e4m3_to_f32(0x7e) == 448.0f);
    assert_true(pq_e4m3_to_f32(0x01) == 0x1p-9f);
    // Nothing is rounded up to NaN: 464 would be the tie with 480.
    static const float above[] = {448, 460, 464, 464.1f, 480, 1e30f};
    for (size_t i = 0; i < sizeof above / sizeof *above; i++) {
        assert_int_equal(pq_f32_to_e4m3(above[i]), 0x7e);
        assert_int_equal(pq_f32_to_e4m3(-above[i]), 0xfe);
    }
}

static void
test_e5m2(void **state)
{
    (void)state;
    check_format(&e5m2);
    assert_true(pq_e5m2_to_f32(0x7b) == 57344.0f);
    assert_true(pq_e5m2_to_f32(0x01) == 0x1p-16f);
}

static void
test_infinities(void **state)
{
    (void)state;
    assert_int_equal(pq_f32_to_f16(INFINITY), 0x7c00);
    assert_int_equal(pq_f32_to_f16(-INFINITY), 0xfc00);
    assert_true(pq_f16_to_f32(0x7c00) == INFINITY);
    assert_true(pq_f16_to_f32(0xfc00) == -INFINITY);
    assert_int_equal(pq_f32_to_bf16(INFINITY), 0x7f80);
    assert_true(pq_bf16_to_f32(0xff80) == -INFINITY);
    assert_int_equal(pq_f32_to_e4m3(INFINITY), 0x7e);
    assert_int_equal(pq_f32_to_e4m3(-INFINITY), 0xfe);
    assert_int_equal(pq_f32_to_e5m2(INFINITY), 0x7b);
    assert_true(pq_e5m2_to_f32(0x7c) == INFINITY);
    assert_true(pq_e5m2_to_f32(0xfc) == -INFINITY);
}

static void
test_nan(void **state)
{
    (void)state;
    for (unsigned code = 0x7c01; code <= 0x7fff; code++) {
        float x = pq_f16_to_f32((uint16_t)code);
        assert_true(isnan(x));
        assert_int_equal(pq_f32_to_f16(x), code | 0x200u); // quiet
    }
    for (unsigned code = 0x7f81; code <= 0x7fff; code++) {
        assert_true(isnan(pq_bf16_to_f32((uint16_t)code)));
    }
    assert_true(isnan(pq_e4m3_to_f32(0x7f)) && isnan(pq_e4m3_to_f32(0xff)));
    for (unsigned code = 0x7d; code <= 0x7f; code++) {
        assert_true(isnan(pq_e5m2_to_f32((uint8_t)code)));
    }
    // Payloads only in the bits that are dropped must not become infinity.
    const uint32_t payloads[] = {0x7f800001u, 0xff800001u, 0x7fc00000u,
                                 0x7fffffffu, 0xffffffffu};
    for (size_t i = 0; i < sizeof payloads / sizeof payloads[0]; i++) {
        float x;
        memcpy(&x, &payloads[i], sizeof x);
        assert_true(isnan(pq_f16_to_f32(pq_f32_to_f16(x))));
        assert_true(isnan(pq_bf16_to_f32(pq_f32_to_bf16(x))));
        assert_true(isnan(pq_e4m3_to_f32(pq_f32_to_e4m3(x))));
        assert_true(isnan(pq_e5m2_to_f32(pq_f32_to_e5m2(x))));
    }
}

// Rows are the same as one by one, NaN included, at any address.
static void
test_rows(void **state)
{
    (void)state;
    static uint8_t codes[2 * 65536 + 1];
    static float rows[65536];
    for (uint32_t i = 0; i < 65536; i++) {
        codes[1 + 2 * i] = (uint8_t)i;
        codes[2 + 2 * i] = (uint8_t)(i >> 8);
    }
    pq_f16_row_to_f32(codes + 1, 65536, rows);
    for (uint32_t i = 0; i < 65536; i++) {
        float x = pq_f16_to_f32((uint16_t)i);
        assert_memory_equal(&x, &rows[i], sizeof x);
    }
    pq_bf16_row_to_f32(codes + 1, 65536, rows);
    for (uint32_t i = 0; i < 65536; i++) {
        float x = pq_bf16_to_f32((uint16_t)i);
        assert_memory_equal(&x, &rows[i], sizeof x);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rows), cmocka_unit_test(test_f16),
        cmocka_unit_test(test_bf16), cmocka_unit_test(test_e4m3),
        cmocka_unit_test(test_e5m2), cmocka_unit_test(test_infinities),
        cmocka_unit_test(test_nan),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
