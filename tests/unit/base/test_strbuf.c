// SPDX-License-Identifier: Apache-2.0
//
// The text builder: growth, escapes, shortest floats that read back.
#include <float.h>
#include <locale.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "tests/support/cmocka_test.h"
#include "tests/support/context.h"
#include "tests/support/random.h"

typedef struct fixture {
    ptqc_ctx *ctx;
    pq_strbuf buffer;
} fixture;

static int
set_up(void **state)
{
    static fixture f;
    f.ctx = pq_test_ctx_create(NULL, NULL, 1);
    pq_strbuf_init(&f.buffer, f.ctx);
    *state = &f;
    return 0;
}

static int
tear_down(void **state)
{
    fixture *f = *state;
    pq_strbuf_deinit(&f->buffer);
    int leaked = pq_live_bytes(f->ctx) != 0;
    ptqc_ctx_destroy(f->ctx);
    return leaked;
}

static void
test_adding(void **state)
{
    pq_strbuf *b = &((fixture *)*state)->buffer;
    assert_string_equal(b->p, "");
    pq_strbuf_add_z(b, "");
    pq_strbuf_add(b, (pq_str){NULL, 0});
    assert_string_equal(b->p, "");
    pq_strbuf_add_z(b, "ab");
    pq_strbuf_addf(b, "%d-%s", 42, "x");
    pq_strbuf_addf(b, "%s", "");
    pq_strbuf_add(b, PQ_STR("!"));
    assert_string_equal(b->p, "ab42-x!");
    assert_int_equal(b->n, 7);
    for (size_t n = 7; n < 5000; n++) {
        assert_int_equal(b->p[n], '\0');
        pq_strbuf_add_z(b, "y");
        assert_int_equal(b->n, n + 1);
    }
    pq_strbuf_addf(b, "%5000d", 1);
    assert_int_equal(b->n, 10000);
    assert_int_equal(strlen(b->p), 10000);
    assert_false(b->failed);
}

static void
test_escapes(void **state)
{
    pq_strbuf *b = &((fixture *)*state)->buffer;
    pq_strbuf_add_escaped(b, PQ_STR("a\n\t\"\\\r\0\x1b\xff\xc3\xa9"));
    assert_string_equal(b->p, "a\\n\\t\\\"\\\\\\x0d\\x00\\x1b\\xff\xc3\xa9");
}

static void
expect_f32(pq_strbuf *b, float x, const char *text)
{
    size_t start = b->n;
    pq_strbuf_add_f32(b, x);
    assert_string_equal(b->p + start, text);
}

static void
test_float_texts(void **state)
{
    pq_strbuf *b = &((fixture *)*state)->buffer;
    expect_f32(b, 0.0f, "0");
    expect_f32(b, -0.0f, "-0");
    expect_f32(b, 1.0f, "1");
    expect_f32(b, 0.1f, "0.1");
    expect_f32(b, -2.5f, "-2.5");
    expect_f32(b, 16777216.0f, "16777216");
    expect_f32(b, 1e10f, "1e+10");
    expect_f32(b, 0.3333333433f, "0.33333334");
    expect_f32(b, 1e-45f, "1e-45"); // the smallest subnormal
    expect_f32(b, FLT_MAX, "3.4028235e+38");
    expect_f32(b, FLT_MIN, "1.1754944e-38");
    expect_f32(b, INFINITY, "inf");
    expect_f32(b, -INFINITY, "-inf");
    expect_f32(b, NAN, "nan");
    size_t start = b->n;
    pq_strbuf_add_f64(b, 0.1);
    assert_string_equal(b->p + start, "0.1");
    start = b->n;
    pq_strbuf_add_f64(b, 5e-324);
    assert_string_equal(b->p + start, "5e-324");
    start = b->n;
    pq_strbuf_add_f64(b, DBL_MAX);
    assert_string_equal(b->p + start, "1.7976931348623157e+308");
}

// Significant digits of a decimal text: zeros at both ends do not count.
static int
significant_digits(const char *text)
{
    int count = 0;
    int zeros = 0;
    for (const char *p = text; *p != '\0' && *p != 'e'; p++) {
        if (*p >= '1' && *p <= '9') {
            count += zeros + 1;
            zeros = 0;
        } else if (*p == '0' && count > 0) {
            zeros++;
        }
    }
    return count;
}

// Reads back, and no text of fewer digits does.
static void
check_f32(pq_strbuf *b, uint32_t bits)
{
    float x;
    memcpy(&x, &bits, sizeof x);
    if (!isfinite(x)) {
        return;
    }
    b->n = 0;
    pq_strbuf_add_f32(b, x);
    double back;
    assert_true(pq_str_to_f64((pq_str){b->p, b->n}, &back));
    float narrow = strtof(b->p, NULL);
    assert_memory_equal(&narrow, &x, sizeof x);
    int digits = significant_digits(b->p);
    if (digits > 1) {
        char shorter[32];
        (void)snprintf(shorter, sizeof shorter, "%.*e", digits - 2, (double)x);
        assert_true(strtof(shorter, NULL) != x);
    }
}

static void
test_f32_round_trip(void **state)
{
    pq_strbuf *b = &((fixture *)*state)->buffer;
    pq_test_random r = pq_test_random_seed(1);
    for (int i = 0; i < 100000; i++) {
        check_f32(b, (uint32_t)pq_test_random_u64(&r));
    }
    for (uint32_t exponent = 0; exponent < 255; exponent++) {
        for (uint32_t low = 0; low < 4; low++) {
            check_f32(b, exponent << 23 | low);
            check_f32(b, exponent << 23 | (0x7fffffu - low));
        }
    }
}

static void
test_f64_round_trip(void **state)
{
    pq_strbuf *b = &((fixture *)*state)->buffer;
    pq_test_random r = pq_test_random_seed(2);
    for (int i = 0; i < 50000; i++) {
        uint64_t bits = pq_test_random_u64(&r);
        double x;
        memcpy(&x, &bits, sizeof x);
        if (!isfinite(x)) {
            continue;
        }
        b->n = 0;
        pq_strbuf_add_f64(b, x);
        double back;
        assert_true(pq_str_to_f64((pq_str){b->p, b->n}, &back));
        assert_memory_equal(&back, &x, sizeof x);
    }
}

static void
test_locale_is_ignored(void **state)
{
    pq_strbuf *b = &((fixture *)*state)->buffer;
    if (setlocale(LC_NUMERIC, "de_DE.UTF-8") == NULL) {
        print_message("skipped: no locale with a decimal comma\n");
        skip();
    }
    pq_strbuf_add_f64(b, 1.5);
    double x = 0.0;
    bool is_read = pq_str_to_f64(PQ_STR("2.5"), &x);
    setlocale(LC_NUMERIC, "C");
    assert_string_equal(b->p, "1.5");
    assert_true(is_read && x == 2.5);
}

static ptqc_status
build_text(ptqc_ctx *ctx, void *user)
{
    (void)user;
    pq_strbuf b;
    pq_strbuf_init(&b, ctx);
    for (int i = 0; i < 200; i++) {
        pq_strbuf_addf(&b, "%d,", i);
        pq_strbuf_add_escaped(&b, PQ_STR("\x01"));
        pq_strbuf_add_f32(&b, 0.5f);
    }
    ptqc_status st = b.failed ? PTQC_E_RESOURCE : PTQC_OK;
    if (b.failed && strlen(b.p) != b.n) {
        st = PTQC_E_INTERNAL; // it must stay valid text
    }
    pq_strbuf_deinit(&b);
    return st;
}

static void
test_allocation_failures(void **state)
{
    (void)state;
    assert_true(pq_test_alloc_sweep(build_text, NULL) > 4);
}

int
main(void)
{
#define WITH_BUFFER(test)                                                      \
    cmocka_unit_test_setup_teardown(test, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        WITH_BUFFER(test_adding),
        WITH_BUFFER(test_escapes),
        WITH_BUFFER(test_float_texts),
        WITH_BUFFER(test_f32_round_trip),
        WITH_BUFFER(test_f64_round_trip),
        WITH_BUFFER(test_locale_is_ignored),
        cmocka_unit_test(test_allocation_failures),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
