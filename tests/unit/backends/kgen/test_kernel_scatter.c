// SPDX-License-Identifier: Apache-2.0
//
// Kernels that read and write elements by tuples of indices, and by indices
// along an axis, on a device, against plain loops. Indices repeat, count from
// the end, and lie outside: those read zeros and write nothing.
#include "backends/kgen/move.h"
#include "kernel_host.h"

#define ROOM 16384

static uint8_t X[ROOM], UPDATES[ROOM], GOT[ROOM], WANT[ROOM];
static int64_t IDS[256];
static const uint32_t TYPES[] = {PTQC_U8, PTQC_F16, PTQC_F32, PTQC_I64};
static const uint32_t NUMBERS[] = {PTQC_F32, PTQC_I32, PTQC_I64};

// before: what the result holds before the kernel; NULL: anything.
static void
check(kernel_step *s, const void *before)
{
    size_t bytes = kernel_bytes(&s->tensors[s->input_count]);
    assert_true(bytes <= ROOM);
    for (int careful = 0; careful < 2; careful++) {
        memset(GOT, 0x5a, ROOM);
        if (before != NULL) {
            memcpy(GOT, before, bytes);
        }
        kernel_run_on(s, careful != 0);
        assert_memory_equal(GOT, WANT, bytes);
    }
}

// Bytes for types that are only moved, numbers for those computed with.
static void
fill(uint32_t dtype, bool is_computed, uint64_t seed)
{
    pq_test_random r = pq_test_random_seed(seed);
    pq_test_fill_bytes(&r, X, ROOM);
    pq_test_fill_bytes(&r, UPDATES, ROOM);
    if (dtype == PTQC_F32 && is_computed) {
        pq_test_fill_f32(&r, (float *)(void *)X, ROOM / 4, -2, 2);
        pq_test_fill_f32(&r, (float *)(void *)UPDATES, ROOM / 4, -2, 2);
    }
    for (size_t i = 0; i < sizeof IDS / sizeof IDS[0]; i++) {
        IDS[i] = pq_test_random_int(&r, -6, 5);
    }
}

// -1: outside of n.
static int64_t
wrapped(int64_t id, int64_t n)
{
    id = id < 0 ? id + n : id;
    return id >= 0 && id < n ? id : -1;
}

static void
join(uint32_t dtype, int64_t reduction, int64_t to, int64_t from)
{
    size_t bytes = pq_kg_element_bytes(dtype);
    uint8_t *p = WANT + (size_t)to * bytes;
    const uint8_t *u = UPDATES + (size_t)from * bytes;
    if (reduction == 0) {
        memcpy(p, u, bytes);
    } else if (dtype == PTQC_F32) {
        float a, b;
        memcpy(&a, p, 4);
        memcpy(&b, u, 4);
        a = reduction == 1   ? a + b
            : reduction == 2 ? a * b
            : reduction == 3 ? fmaxf(a, b)
                             : fminf(a, b);
        memcpy(p, &a, 4);
    } else {
        int64_t a = 0, b = 0;
        memcpy(&a, p, bytes);
        memcpy(&b, u, bytes);
        a = dtype == PTQC_I32 ? (int32_t)a : a;
        b = dtype == PTQC_I32 ? (int32_t)b : b;
        a = reduction == 1   ? (int64_t)((uint64_t)a + (uint64_t)b)
            : reduction == 2 ? (int64_t)((uint64_t)a * (uint64_t)b)
            : reduction == 3 ? (a > b ? a : b)
                             : (a < b ? a : b);
        memcpy(p, &a, bytes);
    }
}

// x [2][4][5][3], ids [2][3][depth] behind `batch` batch axes
static void
check_gather_nd(uint32_t dtype, int64_t batch, int64_t depth)
{
    static const int64_t dims[] = {2, 4, 5, 3};
    size_t bytes = pq_kg_element_bytes(dtype);
    int64_t inner = 1, y_dims[6] = {2, 3};
    uint32_t y_rank = 2;
    for (int64_t i = batch + depth; i < 4; i++) {
        inner *= dims[i];
        y_dims[y_rank++] = dims[i];
    }
    fill(dtype, false, (uint64_t)(3 * batch + depth));
    kernel_step s = {.kind = PQ_STEP_GATHER_ND};
    kernel_in(&s, dtype, dims, 4, X);
    kernel_in(&s, PTQC_I64, KERNEL_DIMS(2, 3, depth), IDS);
    kernel_out(&s, dtype, y_dims, y_rank, GOT);
    kernel_param(&s, batch);
    for (int64_t t = 0; t < 6; t++) {
        int64_t at = batch > 0 ? t / 3 : 0;
        bool is_in = true;
        for (int64_t k = 0; k < depth; k++) {
            int64_t id = wrapped(IDS[t * depth + k], dims[batch + k]);
            is_in = is_in && id >= 0;
            at = at * dims[batch + k] + id;
        }
        uint8_t *to = WANT + (size_t)(t * inner) * bytes;
        memset(to, 0, (size_t)inner * bytes);
        if (is_in) {
            memcpy(to, X + (size_t)(at * inner) * bytes, (size_t)inner * bytes);
        }
    }
    check(&s, NULL);
}

static void
test_gather_nd(void **state)
{
    (void)state;
    for (uint32_t t = 0; t < 4; t++) {
        for (int64_t depth = 0; depth <= 4; depth++) {
            check_gather_nd(TYPES[t], 0, depth);
        }
        check_gather_nd(TYPES[t], 1, 1);
        check_gather_nd(TYPES[t], 1, 3);
    }
}

// x [4][5][6], updates [3][7][2] along axis 1
static void
check_elements(uint32_t dtype, int64_t reduction)
{
    fill(dtype, reduction != 0, 7 + (uint64_t)reduction);
    kernel_step s = {.kind = PQ_STEP_SCATTER_ELEMENTS};
    kernel_in(&s, dtype, KERNEL_DIMS(4, 5, 6), X);
    kernel_in(&s, PTQC_I64, KERNEL_DIMS(3, 7, 2), IDS);
    kernel_in(&s, dtype, KERNEL_DIMS(3, 7, 2), UPDATES);
    kernel_out(&s, dtype, KERNEL_DIMS(4, 5, 6), GOT);
    kernel_param(&s, 1);
    kernel_param(&s, reduction);
    memcpy(WANT, X, ROOM);
    for (int64_t i = 0; i < 42; i++) {
        int64_t id = wrapped(IDS[i], 5);
        if (id >= 0) {
            join(dtype, reduction, (i / 14 * 5 + id) * 6 + i % 2, i);
        }
    }
    check(&s, NULL);
}

// x [4][5][3], updates [9][3] by tuples of two, or [9][5][3] by one
static void
check_nd(uint32_t dtype, int64_t reduction, int64_t depth)
{
    int64_t inner = depth == 2 ? 3 : 15;
    fill(dtype, reduction != 0, 70 + (uint64_t)reduction);
    kernel_step s = {.kind = PQ_STEP_SCATTER_ND};
    kernel_absent(&s);
    kernel_in(&s, PTQC_I64, KERNEL_DIMS(9, depth), IDS);
    kernel_in(&s, dtype, KERNEL_DIMS(9, inner), UPDATES);
    kernel_out(&s, dtype, KERNEL_DIMS(4, 5, 3), GOT);
    kernel_param(&s, reduction);
    memcpy(WANT, X, ROOM);
    for (int64_t t = 0; t < 9; t++) {
        int64_t row = wrapped(IDS[t * depth], 4);
        int64_t column = depth == 2 ? wrapped(IDS[t * depth + 1], 5) : 0;
        if (row < 0 || column < 0) {
            continue;
        }
        for (int64_t i = 0; i < inner; i++) {
            join(dtype, reduction, row * 15 + column * 3 + i, t * inner + i);
        }
    }
    check(&s, X);
}

static void
test_scatter(void **state)
{
    (void)state;
    for (uint32_t t = 0; t < 4; t++) {
        check_elements(TYPES[t], 0);
        check_nd(TYPES[t], 0, 1);
        check_nd(TYPES[t], 0, 2);
    }
    for (uint32_t t = 0; t < 3; t++) {
        for (int64_t reduction = 1; reduction <= 4; reduction++) {
            check_elements(NUMBERS[t], reduction);
            check_nd(NUMBERS[t], reduction, 2);
        }
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_gather_nd),
        cmocka_unit_test(test_scatter),
    };
    return cmocka_run_group_tests(tests, NULL, kernel_teardown);
}
