// SPDX-License-Identifier: Apache-2.0
//
// Kernels that pick elements by index or make indices, on a device, against
// plain loops.
#include "backends/kgen/move.h"
#include "kernel_host.h"

#define ROOM 16384

static uint8_t X[ROOM], GOT[ROOM], WANT[ROOM];
static const uint32_t TYPES[] = {PTQC_U8, PTQC_F16, PTQC_F32, PTQC_I64};

static void
put(uint32_t dtype, int64_t to, const uint8_t *x, int64_t from)
{
    size_t bytes = pq_kg_element_bytes(dtype);
    memcpy(WANT + (size_t)to * bytes, x + (size_t)from * bytes, bytes);
}

static void
check(kernel_step *s)
{
    size_t bytes = kernel_bytes(&s->tensors[s->input_count]);
    assert_true(bytes <= ROOM);
    memset(GOT, 0x5a, ROOM);
    kernel_run(s);
    assert_memory_equal(GOT, WANT, bytes);
}

static int
setup(void **state)
{
    (void)state;
    pq_test_random r = pq_test_random_seed(12);
    pq_test_fill_bytes(&r, X, ROOM);
    return 0;
}

// x [4][5][6], ids [3][5][2] along axis 1 of x: y [3][5][2]
static void
test_gather_elements(void **state)
{
    (void)state;
    int64_t ids[30];
    pq_test_random r = pq_test_random_seed(5);
    for (uint32_t i = 0; i < 30; i++) {
        ids[i] = pq_test_random_int(&r, -5, 4);
    }
    for (uint32_t t = 0; t < 4; t++) {
        kernel_step s = {.kind = PQ_STEP_GATHER_ELEMENTS};
        kernel_in(&s, TYPES[t], KERNEL_DIMS(4, 5, 6), X);
        kernel_in(&s, PTQC_I64, KERNEL_DIMS(3, 5, 2), ids);
        kernel_out(&s, TYPES[t], KERNEL_DIMS(3, 5, 2), GOT);
        kernel_param(&s, 1);
        for (int64_t i = 0; i < 30; i++) {
            int64_t id = ids[i] < 0 ? ids[i] + 5 : ids[i];
            put(TYPES[t], i, X, (i / 10 * 5 + id) * 6 + i % 2);
        }
        check(&s);
    }
}

static void
test_one_hot(void **state)
{
    (void)state;
    static const int32_t ids[6] = {0, 2, -1, 4, 7, -8};
    for (uint32_t t = 0; t < 4; t++) {
        kernel_step s = {.kind = PQ_STEP_ONE_HOT};
        kernel_in(&s, PTQC_I32, KERNEL_DIMS(2, 3), ids);
        kernel_in(&s, TYPES[t], KERNEL_DIMS(2), X);
        kernel_out(&s, TYPES[t], KERNEL_DIMS(2, 5, 3), GOT);
        kernel_param(&s, 1);
        for (int64_t i = 0; i < 30; i++) {
            int64_t id = ids[i / 15 * 3 + i % 3];
            put(TYPES[t], i, X, i / 3 % 5 == (id < 0 ? id + 5 : id));
        }
        check(&s);
    }
}

static void
test_trilu(void **state)
{
    (void)state;
    static const uint8_t fill[8] = {9, 8, 7, 6, 5, 4, 3, 2};
    int64_t element;
    memcpy(&element, fill, 8);
    for (uint32_t i = 0; i < 24; i++) {
        uint32_t dtype = TYPES[i % 4];
        int64_t k = (int64_t)(i / 8) * 2 - 2, upper = i / 4 % 2;
        kernel_step s = {.kind = PQ_STEP_TRILU};
        kernel_in(&s, dtype, KERNEL_DIMS(2, 5, 7), X);
        kernel_out(&s, dtype, KERNEL_DIMS(2, 5, 7), GOT);
        kernel_param(&s, k);
        kernel_param(&s, upper);
        kernel_param(&s, element);
        for (int64_t e = 0; e < 70; e++) {
            int64_t d = e % 7 - e / 7 % 5;
            bool stays = upper ? d >= k : d <= k;
            put(dtype, e, stays ? X : fill, stays ? e : 0);
        }
        check(&s);
    }
}

static void
test_numbers(void **state)
{
    (void)state;
    static const uint32_t types[] = {PTQC_I32, PTQC_I64, PTQC_F32};
    const int64_t dims[] = {5, 7, 11};
    for (uint32_t t = 0; t < 3; t++) {
        kernel_step s = {.kind = PQ_STEP_RANGE, .dims = dims, .dim_count = 3};
        kernel_out(&s, types[t], KERNEL_DIMS(9), GOT);
        kernel_param(&s, 0);
        kernel_param(&s, -3);
        for (int64_t i = 0; i < 9; i++) {
            int64_t v = 5 - 3 * i;
            int32_t narrow = (int32_t)v;
            float real = (float)v;
            put(types[t], i,
                types[t] == PTQC_I32   ? (const uint8_t *)&narrow
                : types[t] == PTQC_I64 ? (const uint8_t *)&v
                                       : (const uint8_t *)&real,
                0);
        }
        check(&s);
    }
    kernel_step s = {.kind = PQ_STEP_SHAPE, .dims = dims, .dim_count = 3};
    kernel_out(&s, PTQC_I64, KERNEL_DIMS(3), GOT);
    for (int64_t i = 0; i < 3; i++) {
        kernel_param(&s, 2 - i);
        put(PTQC_I64, i, (const uint8_t *)dims, 2 - i);
    }
    check(&s);
}

static void
test_reverse_sequence(void **state)
{
    (void)state;
    static const int64_t lengths[3] = {5, 1, 3};
    for (uint32_t t = 0; t < 4; t++) {
        kernel_step s = {.kind = PQ_STEP_REVERSE_SEQUENCE};
        kernel_in(&s, TYPES[t], KERNEL_DIMS(5, 3, 2), X);
        kernel_in(&s, PTQC_I64, KERNEL_DIMS(3), lengths);
        kernel_out(&s, TYPES[t], KERNEL_DIMS(5, 3, 2), GOT);
        kernel_param(&s, 0);
        kernel_param(&s, 1);
        for (int64_t i = 0; i < 30; i++) {
            int64_t time = i / 6, n = lengths[i / 2 % 3];
            int64_t from = time < n ? n - 1 - time : time;
            put(TYPES[t], i, X, from * 6 + i % 6);
        }
        check(&s);
    }
}

// Whether element a of x comes before element b: NaN first, then the larger
// (or smaller), of equal ones the earlier.
static bool
is_before(uint32_t dtype, bool is_largest, int64_t a, int64_t b)
{
    size_t bytes = pq_kg_element_bytes(dtype);
    if (dtype == PTQC_F32) {
        float u, v;
        memcpy(&u, X + 4 * a, 4);
        memcpy(&v, X + 4 * b, 4);
        if (isnan(u) || isnan(v)) {
            return isnan(u) && (!isnan(v) || a < b);
        }
        return u == v ? a < b : (u > v) == is_largest;
    }
    int64_t u = 0, v = 0;
    memcpy(&u, X + (size_t)a * bytes, bytes);
    memcpy(&v, X + (size_t)b * bytes, bytes);
    u = dtype == PTQC_I32 ? (int32_t)u : u;
    v = dtype == PTQC_I32 ? (int32_t)v : v;
    return u == v ? a < b : (u > v) == is_largest;
}

// x [outer][n][inner] -> [outer][kept][inner]
static void
check_topk(uint32_t dtype, bool is_largest, const int64_t dims[3], int64_t kept)
{
    static int64_t indices[512];
    int64_t outer = dims[0], n = dims[1], inner = dims[2];
    int64_t count = outer * kept * inner;
    assert_true(count <= 512 && outer * n * inner * 8 <= ROOM);
    kernel_step s = {.kind = PQ_STEP_TOPK};
    kernel_in(&s, dtype, dims, 3, X);
    kernel_out(&s, dtype, KERNEL_DIMS(outer, kept, inner), GOT);
    kernel_out(&s, PTQC_I64, KERNEL_DIMS(outer, kept, inner), indices);
    kernel_param(&s, 1);
    kernel_param(&s, is_largest);
    int64_t want[512];
    for (int64_t row = 0; row < outer * inner; row++) {
        int64_t from = row / inner * n * inner + row % inner;
        for (int64_t i = 0; i < n; i++) {
            int64_t place = 0;
            for (int64_t j = 0; j < n; j++) {
                place +=
                    j != i && is_before(dtype, is_largest, from + j * inner,
                                        from + i * inner);
            }
            int64_t to = (row / inner * kept + place) * inner + row % inner;
            if (place < kept) {
                want[to] = i;
                put(dtype, to, X, from + i * inner);
            }
        }
    }
    for (int careful = 0; careful < 2; careful++) {
        memset(GOT, 0x5a, ROOM);
        kernel_run_on(&s, careful != 0);
        assert_memory_equal(GOT, WANT,
                            (size_t)count * pq_kg_element_bytes(dtype));
        assert_memory_equal(indices, want, (size_t)count * sizeof *indices);
    }
}

static void
test_topk(void **state)
{
    (void)state;
    static const uint32_t types[] = {PTQC_F32, PTQC_I32, PTQC_I64};
    static const float odd[] = {NAN, 0.0f, -0.0f, INFINITY, -INFINITY};
    pq_test_random r = pq_test_random_seed(3);
    for (uint32_t t = 0; t < 6; t++) {
        uint32_t dtype = types[t / 2];
        bool is_largest = t % 2 == 0;
        size_t bytes = pq_kg_element_bytes(dtype);
        pq_test_fill_bytes(&r, X, ROOM);
        for (size_t i = 0; i < ROOM / bytes; i += 3) { // some are equal
            size_t from = (size_t)pq_test_random_int(&r, 0, 40);
            memcpy(X + i * bytes, X + from * bytes, bytes);
            if (dtype == PTQC_F32 && i % 5 == 0) {
                memcpy(X + i * bytes, &odd[i / 5 % 5], bytes);
            }
        }
        check_topk(dtype, is_largest, (const int64_t[]){3, 7, 5}, 4);
        check_topk(dtype, is_largest, (const int64_t[]){2, 300, 1}, 9);
        check_topk(dtype, is_largest, (const int64_t[]){1, 70, 2}, 70);
        check_topk(dtype, is_largest, (const int64_t[]){9, 1, 1}, 1);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_gather_elements, setup),
        cmocka_unit_test_setup(test_one_hot, setup),
        cmocka_unit_test_setup(test_trilu, setup),
        cmocka_unit_test_setup(test_numbers, setup),
        cmocka_unit_test_setup(test_reverse_sequence, setup),
        cmocka_unit_test_setup(test_topk, setup),
    };
    return cmocka_run_group_tests(tests, NULL, kernel_teardown);
}
