// SPDX-License-Identifier: Apache-2.0
//
// Number formats of at most 8 bits.
#include <math.h>
#include <stdlib.h>

#include "base/dtype.h"
#include "base/narrow.h"
#include "tests/support/cmocka_test.h"

static uint32_t
code_count(const pq_narrow *n)
{
    return 1u << pq_dtype_bits(n->dtype);
}

// Every number is the nearest to itself, and to itself nudged a little.
static void
every_code_comes_back(void **state)
{
    (void)state;
    for (int t = 1; t <= PQ_DTYPE_LAST; t++) {
        const pq_narrow *n = pq_narrow_of((ptqc_dtype)t);
        for (uint32_t c = 0; n != NULL && c < code_count(n); c++) {
            float x = n->to_f32((uint8_t)c);
            if (isnan(x) || isinf(x)) {
                continue;
            }
            assert_true(n->to_f32(n->from_f32(x)) == x);
            assert_true(n->to_f32(n->from_f32(nextafterf(x, 0))) == x);
        }
    }
}

static int
compare(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

// Between two neighbours the nearer one, below the first and above the last
// those.
static void
the_nearest_is_taken(void **state)
{
    (void)state;
    static const ptqc_dtype dtypes[3] = {PTQC_F4E2M1, PTQC_NF4, PTQC_F8E8M0};
    for (size_t d = 0; d < 3; d++) {
        const pq_narrow *n = pq_narrow_of(dtypes[d]);
        float numbers[256];
        uint32_t count = code_count(n) - (dtypes[d] == PTQC_F8E8M0);
        for (uint32_t c = 0; c < count; c++) {
            numbers[c] = n->to_f32((uint8_t)c);
        }
        qsort(numbers, count, sizeof *numbers, compare);
        for (uint32_t i = 0; i + 1 < count; i++) {
            float low = numbers[i], high = numbers[i + 1];
            float middle = low + (high - low) / 2;
            float below = nextafterf(middle, low);
            float above = nextafterf(middle, high);
            assert_true(n->to_f32(n->from_f32(below)) == low ||
                        below == middle);
            assert_true(n->to_f32(n->from_f32(above)) == high ||
                        above == middle || low == high);
        }
        float last = numbers[count - 1];
        assert_true(n->to_f32(n->from_f32(INFINITY)) == last);
        assert_true(n->to_f32(n->from_f32(-INFINITY)) == numbers[0]);
    }
}

// OCP MX 1.0, table 5: ties go to the even code.
static void
ties_of_e2m1(void **state)
{
    (void)state;
    static const float ties[7][2] = {{0.25f, 0}, {0.75f, 1}, {1.25f, 1},
                                     {1.75f, 2}, {2.5f, 2},  {3.5f, 4},
                                     {5, 4}};
    for (size_t i = 0; i < 7; i++) {
        assert_true(pq_e2m1_to_f32(pq_f32_to_e2m1(ties[i][0])) == ties[i][1]);
        assert_true(pq_e2m1_to_f32(pq_f32_to_e2m1(-ties[i][0])) == -ties[i][1]);
    }
    assert_int_equal(pq_f32_to_e2m1(NAN), 0);
    assert_int_equal(pq_f32_to_e2m1(-0.0f), 8);
}

// OCP MX 1.0, 5.3.3, and the table of bitsandbytes (QLoRA, appendix E).
static void
all_codes_of_4_bits(void **state)
{
    (void)state;
    static const float e2m1[8] = {0, .5f, 1, 1.5f, 2, 3, 4, 6};
    static const float nf4[16] = {
        -1,          -.6961928f,  -.52507305f, -.39491749f,
        -.28444138f, -.18477343f, -.09105004f, 0,
        .0795803f,   .1609302f,   .2461123f,   .33791524f,
        .44070983f,  .562617f,    .72295684f,  1};
    for (uint8_t c = 0; c < 16; c++) {
        float magnitude = e2m1[c & 7];
        assert_true(pq_e2m1_to_f32(c) == (c < 8 ? magnitude : -magnitude));
        assert_int_equal(pq_f32_to_e2m1(pq_e2m1_to_f32(c)), c);
        assert_true(fabsf(pq_nf4_to_f32(c) - nf4[c]) <= 1e-7f); // 7 digits
        assert_int_equal(pq_f32_to_nf4(nf4[c]), c);
    }
}

static void
powers_of_two(void **state)
{
    (void)state;
    assert_int_equal(pq_f32_to_e8m0(1.0f), 127);
    assert_int_equal(pq_f32_to_e8m0(1.5f), 128); // tie: even
    assert_int_equal(pq_f32_to_e8m0(3.0f), 128); // tie: even
    assert_int_equal(pq_f32_to_e8m0(2.99f), 128);
    assert_int_equal(pq_f32_to_e8m0(3.01f), 129);
    assert_int_equal(pq_f32_to_e8m0(0.0f), 0);
    assert_int_equal(pq_f32_to_e8m0(-1.0f), 0);
    assert_int_equal(pq_f32_to_e8m0(0x1p-149f), 0);
    assert_int_equal(pq_f32_to_e8m0(INFINITY), 254);
    assert_int_equal(pq_f32_to_e8m0(NAN), 255);
    assert_true(isnan(pq_e8m0_to_f32(255)));
    assert_true(pq_e8m0_to_f32(0) == 0x1p-127f);
}

static void
others_are_none(void **state)
{
    (void)state;
    assert_null(pq_narrow_of(PTQC_I8));
    assert_null(pq_narrow_of(PTQC_F16));
    assert_null(pq_narrow_of(PTQC_DTYPE_NONE));
    assert_null(pq_narrow_of((ptqc_dtype)99));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_code_comes_back),
        cmocka_unit_test(the_nearest_is_taken),
        cmocka_unit_test(ties_of_e2m1),
        cmocka_unit_test(all_codes_of_4_bits),
        cmocka_unit_test(powers_of_two),
        cmocka_unit_test(others_are_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
