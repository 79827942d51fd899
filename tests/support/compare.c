// SPDX-License-Identifier: Apache-2.0
//
// Comparing numbers.
#include "tests/support/compare.h"

#include <math.h>
#include <string.h>

#include "tests/support/cmocka_test.h"

// The order of the floats as integers: negative ones run backwards.
static int64_t
order_of_f32(float x)
{
    int32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits < 0 ? (int64_t)INT32_MIN - bits : bits;
}

uint64_t
pq_test_ulp_f32(float a, float b)
{
    if (isnan(a) || isnan(b)) {
        return isnan(a) && isnan(b) ? 0 : UINT64_MAX;
    }
    int64_t x = order_of_f32(a);
    int64_t y = order_of_f32(b);
    return (uint64_t)(x > y ? x - y : y - x);
}

static int64_t
order_of_f64(double x)
{
    int64_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits < 0 ? INT64_MIN - bits : bits;
}

uint64_t
pq_test_ulp_f64(double a, double b)
{
    if (isnan(a) || isnan(b)) {
        return isnan(a) && isnan(b) ? 0 : UINT64_MAX;
    }
    uint64_t x = (uint64_t)order_of_f64(a);
    uint64_t y = (uint64_t)order_of_f64(b);
    return order_of_f64(a) > order_of_f64(b) ? x - y : y - x;
}

double
pq_test_relative_error_f32(const float *got, const float *want, size_t n)
{
    double error = 0.0;
    double norm = 0.0;
    for (size_t i = 0; i < n; i++) {
        if (pq_test_ulp_f32(got[i], want[i]) == 0) {
            norm += isfinite(want[i]) ? (double)want[i] * (double)want[i] : 0.0;
            continue;
        }
        if (!isfinite(got[i]) || !isfinite(want[i])) {
            return (double)INFINITY;
        }
        double d = (double)got[i] - (double)want[i];
        error += d * d;
        norm += (double)want[i] * (double)want[i];
    }
    return norm > 0.0 ? sqrt(error / norm) : sqrt(error);
}

static bool
is_near(float got, float want, pq_test_tolerance t)
{
    uint64_t ulp = pq_test_ulp_f32(got, want);
    if (ulp <= t.ulp) {
        return true;
    }
    if (!isfinite(got) || !isfinite(want)) {
        return false;
    }
    double d = fabs((double)got - (double)want);
    return d <= t.absolute || d <= t.relative * fabs((double)want);
}

bool
pq_test_same_f32(const char *what, const float *got, const float *want,
                 size_t n, pq_test_tolerance tolerance)
{
    size_t bad = 0;
    size_t first = 0;
    size_t worst = 0;
    for (size_t i = 0; i < n; i++) {
        if (is_near(got[i], want[i], tolerance)) {
            continue;
        }
        first = bad == 0 ? i : first;
        worst = bad == 0 || pq_test_ulp_f32(got[i], want[i]) >
                                pq_test_ulp_f32(got[worst], want[worst])
                    ? i
                    : worst;
        bad++;
    }
    if (bad != 0) {
        print_error("%s: %zu of %zu differ; first [%zu] %.9g, want %.9g; "
                    "worst [%zu] %.9g, want %.9g; relative error %.3g\n",
                    what, bad, n, first, (double)got[first],
                    (double)want[first], worst, (double)got[worst],
                    (double)want[worst],
                    pq_test_relative_error_f32(got, want, n));
    }
    return bad == 0;
}

typedef struct difference {
    size_t count, first;
    int64_t first_got, first_want, largest;
} difference;

static void
difference_add(difference *d, size_t i, int64_t got, int64_t want, int64_t step)
{
    int64_t distance = got > want ? got - want : want - got;
    if (distance <= step) {
        return;
    }
    if (d->count == 0) {
        d->first = i;
        d->first_got = got;
        d->first_want = want;
    }
    d->largest = distance > d->largest ? distance : d->largest;
    d->count++;
}

static bool
difference_is_none(const difference *d, const char *what, size_t n)
{
    if (d->count != 0) {
        print_error("%s: %zu of %zu differ; first [%zu] %lld, want %lld; "
                    "largest difference %lld\n",
                    what, d->count, n, d->first, (long long)d->first_got,
                    (long long)d->first_want, (long long)d->largest);
    }
    return d->count == 0;
}

bool
pq_test_same_i32(const char *what, const int32_t *got, const int32_t *want,
                 size_t n, int64_t step)
{
    difference d = {0};
    for (size_t i = 0; i < n; i++) {
        difference_add(&d, i, got[i], want[i], step);
    }
    return difference_is_none(&d, what, n);
}

bool
pq_test_same_i8(const char *what, const int8_t *got, const int8_t *want,
                size_t n, int64_t step)
{
    difference d = {0};
    for (size_t i = 0; i < n; i++) {
        difference_add(&d, i, got[i], want[i], step);
    }
    return difference_is_none(&d, what, n);
}

bool
pq_test_same_u8(const char *what, const uint8_t *got, const uint8_t *want,
                size_t n, int64_t step)
{
    difference d = {0};
    for (size_t i = 0; i < n; i++) {
        difference_add(&d, i, got[i], want[i], step);
    }
    return difference_is_none(&d, what, n);
}

bool
pq_test_same_bytes(const char *what, const void *got, const void *want,
                   size_t n)
{
    return pq_test_same_u8(what, got, want, n, 0);
}
