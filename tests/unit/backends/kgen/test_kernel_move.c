// SPDX-License-Identifier: Apache-2.0
//
// Kernels that move elements, on a device, against plain loops: every size of
// element, odd sizes, tails of words, empty tensors.
#include "backends/kgen/move.h"
#include "kernel_host.h"

#define ROOM 65536

static uint8_t X[4][ROOM], GOT[ROOM], WANT[ROOM];

static const uint32_t TYPES[] = {PTQC_U8, PTQC_F16, PTQC_F32, PTQC_I64};

static void
fill_inputs(void)
{
    pq_test_random r = pq_test_random_seed(3);
    for (uint32_t i = 0; i < 4; i++) {
        pq_test_fill_bytes(&r, X[i], ROOM);
    }
}

static size_t
put(uint32_t dtype, int64_t to, const uint8_t *x, int64_t from)
{
    size_t bytes = pq_kg_element_bytes(dtype);
    memcpy(WANT + (size_t)to * bytes, x + (size_t)from * bytes, bytes);
    return bytes;
}

static void
check(kernel_step *s, const char *what)
{
    size_t bytes = kernel_bytes(&s->tensors[s->input_count]);
    for (int careful = 0; careful < 2; careful++) {
        memset(GOT, 0x5a, ROOM);
        kernel_run_on(s, careful != 0);
        if (memcmp(GOT, WANT, bytes) != 0) {
            print_error("%s differs\n", what);
            fail();
        }
    }
}

// ---- move ------------------------------------------------------------------

static void
permute(uint32_t dtype, int64_t a, int64_t b, int64_t c)
{
    kernel_step s = {.kind = PQ_STEP_MOVE};
    kernel_in(&s, dtype, KERNEL_DIMS(a, b, c), X[0]);
    kernel_out(&s, dtype, KERNEL_DIMS(c, a, b), GOT);
    const int64_t params[] = {PQ_MOVE_PERMUTE, 2, 0, 1};
    for (uint32_t i = 0; i < 4; i++) {
        kernel_param(&s, params[i]);
    }
    for (int64_t i = 0; i < a * b * c; i++) {
        put(dtype, i % c * a * b + i / c, X[0], i);
    }
    check(&s, "permute");
}

// Rows 1, 3, .. and columns backwards.
static void
slice(uint32_t dtype, int64_t rows, int64_t columns)
{
    kernel_step s = {.kind = PQ_STEP_MOVE};
    int64_t taken = rows / 2;
    const int64_t dims[] = {1, columns - 1};
    s.dims = dims;
    s.dim_count = 2;
    kernel_in(&s, dtype, KERNEL_DIMS(rows, columns), X[0]);
    kernel_out(&s, dtype, KERNEL_DIMS(taken, columns), GOT);
    const int64_t params[] = {PQ_MOVE_SLICE, 0, 2, 1, -1};
    for (uint32_t i = 0; i < 5; i++) {
        kernel_param(&s, params[i]);
    }
    for (int64_t i = 0; i < taken * columns; i++) {
        int64_t row = 1 + 2 * (i / columns);
        put(dtype, i, X[0], row * columns + columns - 1 - i % columns);
    }
    check(&s, "slice");
}

static void
repeat(uint32_t dtype, int64_t rows, int64_t columns, int64_t times)
{
    kernel_step s = {.kind = PQ_STEP_MOVE};
    kernel_in(&s, dtype, KERNEL_DIMS(rows, columns), X[0]);
    kernel_out(&s, dtype, KERNEL_DIMS(2, rows, columns * times), GOT);
    kernel_param(&s, PQ_MOVE_REPEAT);
    int64_t width = columns * times;
    for (int64_t i = 0; i < 2 * rows * width; i++) {
        int64_t row = i / width % rows;
        put(dtype, i, X[0], row * columns + i % width % columns);
    }
    check(&s, "repeat");
}

static void
test_move(void **state)
{
    (void)state;
    fill_inputs();
    for (uint32_t t = 0; t < 4; t++) {
        permute(TYPES[t], 2, 3, 5);
        permute(TYPES[t], 1, 17, 1);
        permute(TYPES[t], 7, 1, 33);
        permute(TYPES[t], 0, 3, 4);
        slice(TYPES[t], 9, 7);
        slice(TYPES[t], 2, 1);
        repeat(TYPES[t], 3, 5, 3);
        repeat(TYPES[t], 1, 1, 19);
    }
}

// ---- concat ----------------------------------------------------------------

static void
concat(uint32_t dtype, const int64_t *widths, uint32_t count, int64_t rows)
{
    kernel_step s = {.kind = PQ_STEP_CONCAT};
    int64_t all = 0, at = 0;
    for (uint32_t i = 0; i < count; i++) {
        kernel_in(&s, dtype, KERNEL_DIMS(rows, widths[i], 3), X[i % 4]);
        all += widths[i];
    }
    kernel_out(&s, dtype, KERNEL_DIMS(rows, all, 3), GOT);
    kernel_param(&s, 1);
    for (uint32_t i = 0; i < count; i++) {
        int64_t n = widths[i] * 3;
        for (int64_t k = 0; k < rows * n; k++) {
            put(dtype, k / n * all * 3 + at + k % n, X[i % 4], k);
        }
        at += n;
    }
    check(&s, "concat");
}

static void
test_concat(void **state)
{
    (void)state;
    fill_inputs();
    for (uint32_t t = 0; t < 4; t++) {
        concat(TYPES[t], (const int64_t[]){4}, 1, 3);
        concat(TYPES[t], (const int64_t[]){1, 5, 2}, 3, 5);
        concat(TYPES[t], (const int64_t[]){3, 0, 2, 0}, 4, 2);
        concat(TYPES[t], (const int64_t[]){1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1}, 11,
               3);
    }
}

// ---- pad, fill -------------------------------------------------------------

static int64_t
padded(int64_t p, int64_t n, int64_t mode)
{
    if ((p >= 0 && p < n) || mode == 0) {
        return p >= 0 && p < n ? p : -1;
    }
    if (mode == 2 || n == 1) {
        return p < 0 ? 0 : n - 1;
    }
    int64_t period = mode == 3 ? n : 2 * (n - 1);
    int64_t r = ((p % period) + period) % period;
    return r < n ? r : period - r;
}

static void
pad(uint32_t dtype, int64_t mode, int64_t rows, int64_t columns,
    const int64_t pads[4])
{
    static const uint8_t element[8] = {1, 2, 3, 4, 5, 6, 7, 8};
    kernel_step s = {.kind = PQ_STEP_PAD};
    int64_t h = rows + pads[0] + pads[1], w = columns + pads[2] + pads[3];
    int64_t fill;
    memcpy(&fill, element, 8);
    kernel_in(&s, dtype, KERNEL_DIMS(rows, columns), X[0]);
    kernel_out(&s, dtype, KERNEL_DIMS(h, w), GOT);
    const int64_t params[] = {mode, fill, pads[0], pads[2]};
    for (uint32_t i = 0; i < 4; i++) {
        kernel_param(&s, params[i]);
    }
    for (int64_t i = 0; i < h * w; i++) {
        int64_t y = padded(i / w - pads[0], rows, mode);
        int64_t x = padded(i % w - pads[2], columns, mode);
        bool inside = x >= 0 && y >= 0;
        put(dtype, i, inside ? X[0] : element, inside ? y * columns + x : 0);
    }
    check(&s, "pad");
}

static void
test_pad(void **state)
{
    (void)state;
    fill_inputs();
    for (uint32_t t = 0; t < 4; t++) {
        for (int64_t mode = 0; mode < 4; mode++) {
            pad(TYPES[t], mode, 3, 5, (const int64_t[]){1, 2, 2, 1});
            pad(TYPES[t], mode, 4, 3, (const int64_t[]){7, 9, 11, 3});
            pad(TYPES[t], mode, 5, 7, (const int64_t[]){-1, -2, 3, -4});
            pad(TYPES[t], mode, 1, 1, (const int64_t[]){0, 3, 2, 0});
        }
        pad(TYPES[t], 0, 0, 3, (const int64_t[]){1, 1, 0, 0});
    }
}

static void
test_fill(void **state)
{
    (void)state;
    for (uint32_t t = 0; t < 4; t++) {
        kernel_step s = {.kind = PQ_STEP_FILL};
        int64_t element = 0x1122334455667788;
        kernel_out(&s, TYPES[t], KERNEL_DIMS(7, 3), GOT);
        kernel_param(&s, element);
        for (int64_t i = 0; i < 21; i++) {
            put(TYPES[t], i, (const uint8_t *)&element, 0);
        }
        check(&s, "fill");
    }
}

// ---- gather ----------------------------------------------------------------

// x [2][3][n][w], ids [2][k] or [k]
static void
gather(uint32_t dtype, uint32_t id_type, int64_t n, int64_t w, int64_t batch)
{
    kernel_step s = {.kind = PQ_STEP_GATHER};
    int32_t narrow[10];
    int64_t wide[10], k = 5;
    pq_test_random r = pq_test_random_seed((uint64_t)(n * w));
    for (uint32_t i = 0; i < 10; i++) {
        wide[i] = pq_test_random_int(&r, -n - (i % 5 == 4), n - 1);
        narrow[i] = (int32_t)wide[i];
    }
    const void *ids = id_type == PTQC_I32 ? (const void *)narrow : wide;
    kernel_in(&s, dtype, KERNEL_DIMS(2, 3, n, w), X[0]);
    if (batch == 1) {
        kernel_in(&s, id_type, KERNEL_DIMS(2, k), ids);
    } else {
        kernel_in(&s, id_type, KERNEL_DIMS(k), ids);
    }
    kernel_out(&s, dtype, KERNEL_DIMS(2, 3, k, w), GOT);
    kernel_param(&s, 2);
    kernel_param(&s, batch);
    memset(WANT, 0, ROOM);
    for (int64_t i = 0; i < 6 * k * w; i++) {
        int64_t line = i / w / k, j = i / w % k;
        int64_t id = wide[batch * line / 3 * k + j];
        id += id < 0 ? n : 0;
        if (id >= 0) {
            put(dtype, i, X[0], (line * n + id) * w + i % w);
        }
    }
    check(&s, "gather");
}

static void
test_gather(void **state)
{
    (void)state;
    fill_inputs();
    for (uint32_t t = 0; t < 4; t++) {
        for (int64_t batch = 0; batch < 2; batch++) {
            gather(TYPES[t], PTQC_I32, 7, 5, batch);
            gather(TYPES[t], PTQC_I64, 9, 1, batch);
            gather(TYPES[t], PTQC_I64, 1, 16, batch);
        }
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_move),   cmocka_unit_test(test_concat),
        cmocka_unit_test(test_pad),    cmocka_unit_test(test_fill),
        cmocka_unit_test(test_gather),
    };
    return cmocka_run_group_tests(tests, NULL, kernel_teardown);
}
