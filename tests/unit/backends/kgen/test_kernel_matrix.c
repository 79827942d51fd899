// SPDX-License-Identifier: Apache-2.0
//
// Products of two matrices of a run, and rows of packed weights by index.
#include "backends/kgen/expr.h"
#include "base/float16.h"
#include "base/narrow.h"
#include "kernel_host.h"
#include "planar_pack.h"

// ---- batch matmul ----------------------------------------------------------

// Rounds x to the type and gives the stored elements, to be freed.
static void *
stored(uint32_t type, float *x, size_t n)
{
    uint16_t *halves = calloc(n + 1, 4);
    if (type == PTQC_F32) {
        memcpy(halves, x, 4 * n);
    }
    for (size_t i = 0; i < n && type != PTQC_F32; i++) {
        bool is_f16 = type == PTQC_F16;
        halves[i] = is_f16 ? pq_f32_to_f16(x[i]) : pq_f32_to_bf16(x[i]);
        x[i] = is_f16 ? pq_f16_to_f32(halves[i]) : pq_bf16_to_f32(halves[i]);
    }
    return halves;
}

// a [b][h][m][k], b [h][k or n][n or k] broadcast over b; y [b][m][h][n], as
// attention of encoders has it, plus a mask [b][1][1][n].
static void
check_floats(uint32_t type, int64_t b, int64_t h, int64_t m, int64_t n,
             int64_t k, bool is_transposed)
{
    size_t as = (size_t)(b * h * m * k), bs = (size_t)(h * k * n);
    size_t ys = (size_t)(b * h * m * n);
    float *a = calloc(as, 4), *w = calloc(bs, 4), *y = calloc(ys, 4);
    float *mask = calloc((size_t)(b * n), 4);
    pq_test_random r = pq_test_random_seed((uint64_t)(m * n));
    pq_test_fill_f32(&r, a, as, -1, 1);
    pq_test_fill_f32(&r, w, bs, -1, 1);
    pq_test_fill_f32(&r, mask, (size_t)(b * n), -1, 1);
    void *a_stored = stored(type, a, as), *w_stored = stored(type, w, bs);
    kernel_step s = {.kind = PQ_STEP_BATCH_MATMUL};
    kernel_in(&s, type, KERNEL_DIMS(b, h, m, k), a_stored);
    kernel_in(&s, type,
              KERNEL_DIMS(h, is_transposed ? n : k, is_transposed ? k : n),
              w_stored);
    kernel_in(&s, PTQC_F32, KERNEL_DIMS(b, 1, 1, n), mask);
    kernel_out(&s, PTQC_F32, KERNEL_DIMS(b, m, h, n), y);
    const int64_t own[] = {2,
                           0x3210, // a: b, h, m, k as they are
                           is_transposed ? 0x120f
                                         : 0x210f, // b: no batch axis 0
                           0x3120,                 // y: axes b, m, h, n
                           0,
                           0,
                           3,
                           0,
                           2,
                           4,
                           kernel_op(PQ_EXPR_LOAD, PTQC_F32, 0, 0, 0, 0),
                           kernel_op(PQ_EXPR_LOAD, PTQC_F32, 0, 0, 0, 1),
                           kernel_op(PQ_EXPR_ADD, PTQC_F32, 0, 1, 0, 0),
                           kernel_map(4, 4)};
    for (size_t i = 0; i < sizeof own / sizeof own[0]; i++) {
        kernel_param(&s, own[i]);
    }
    for (int careful = 0; careful < 2; careful++) {
        kernel_run_on(&s, careful != 0);
        for (int64_t i = 0; i < (int64_t)ys; i++) {
            int64_t col = i % n, head = i / n % h, row = i / n / h % m;
            int64_t batch = i / n / h / m;
            double sum = 0, size = 0;
            for (int64_t j = 0; j < k; j++) {
                double u = (double)a[((batch * h + head) * m + row) * k + j];
                double v =
                    (double)(is_transposed ? w[(head * n + col) * k + j]
                                           : w[(head * k + j) * n + col]);
                sum += u * v;
                size += fabs(u * v);
            }
            sum += (double)mask[batch * n + col];
            double bound = 2.0 * (double)k * 0x1p-24 * size + 4e-7;
            if (!(fabs((double)y[i] - sum) <= bound)) {
                fail_msg("[%lld]: %.9g, want %.9g", (long long)i, (double)y[i],
                         sum);
            }
        }
    }
    void *all[] = {a, w, y, mask, a_stored, w_stored};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        free(all[i]);
    }
}

// y = sums, or their low bytes, to see narrow stores; b [k][n] or [n][k].
static void
check_codes(int64_t m, int64_t n, int64_t k, bool is_narrow, bool is_transposed)
{
    uint8_t a[4096], b[4096];
    int32_t y[1024];
    pq_test_random r = pq_test_random_seed((uint64_t)(m * n));
    pq_test_fill_bytes(&r, a, (size_t)(m * k));
    pq_test_fill_bytes(&r, b, (size_t)(k * n));
    kernel_step s = {.kind = PQ_STEP_BATCH_MATMUL};
    kernel_in(&s, PTQC_U8, KERNEL_DIMS(m, k), a);
    kernel_in(&s, PTQC_U8,
              KERNEL_DIMS(is_transposed ? n : k, is_transposed ? k : n), b);
    kernel_out(&s, is_narrow ? PTQC_U8 : PTQC_I32, KERNEL_DIMS(m, n), y);
    const int64_t own[] = {0,
                           0x10,
                           is_transposed ? 0x01 : 0x10,
                           0x10,
                           12,
                           200,
                           is_narrow ? 2 : 1,
                           0,
                           is_narrow ? 1 : 0,
                           2,
                           kernel_op(PQ_EXPR_LOAD, PTQC_I32, 0, 0, 0, 0),
                           kernel_op(PQ_EXPR_CAST, PTQC_U8, 0, 0, 0, 0)};
    for (size_t i = 0; i < (is_narrow ? 12 : 11); i++) {
        kernel_param(&s, own[i]);
    }
    kernel_run(&s);
    for (int64_t i = 0; i < m * n; i++) {
        int32_t sum = 0;
        for (int64_t j = 0; j < k; j++) {
            int64_t at = is_transposed ? i % n * k + j : j * n + i % n;
            sum += (a[i / n * k + j] - 12) * (b[at] - 200);
        }
        if (is_narrow) {
            assert_int_equal(((uint8_t *)y)[i], (uint8_t)sum);
        } else {
            assert_int_equal(y[i], sum);
        }
    }
}

static void
test_batch_matmul(void **state)
{
    (void)state;
    for (int i = 0; i < 2; i++) {
        check_floats(PTQC_F32, 2, 3, 5, 7, 16, i != 0);
        check_floats(PTQC_F32, 1, 2, 16, 12, 33, i != 0);
        check_floats(PTQC_F32, 1, 1, 1, 1, 1, i != 0);
        check_floats(PTQC_F32, 3, 1, 1, 40, 8, i != 0);
        check_floats(PTQC_F32, 2, 1, 19, 24, 36, i != 0);
        check_floats(PTQC_F16, 1, 2, 5, 8, 12, i != 0);
        check_floats(PTQC_BF16, 2, 1, 9, 7, 21, i != 0);
    }
    for (int i = 0; i < 4; i++) {
        check_codes(9, 11, 33, i % 2 != 0, i / 2 != 0);
        check_codes(1, 1, 1, i % 2 != 0, i / 2 != 0);
        check_codes(13, 20, 40, i % 2 != 0, i / 2 != 0);
        check_codes(6, 10, 12, i % 2 != 0, i / 2 != 0);
    }
}

// ---- embedding -------------------------------------------------------------

static void
check_embed(pq_kg_weight format, pq_kg_scales scales, uint32_t y_dtype,
            int64_t n, int64_t k, int64_t segment)
{
    int64_t segments = (k + segment - 1) / segment, tokens = 5;
    size_t w_bytes = planar_bytes(format, n, segments, segment);
    uint8_t *w = calloc(w_bytes, 1), *lines = calloc((size_t)(segments * n), 8);
    uint8_t *y = calloc((size_t)(tokens * k), 4);
    float *want = calloc((size_t)(n * k), 4);
    pq_test_random r = pq_test_random_seed((uint64_t)(n + k));
    int32_t indices[5] = {0, (int32_t)n - 1, (int32_t)n / 2, 0, (int32_t)n / 3};
    for (int64_t row = 0; row < n; row++) {
        float s = 1.0f;
        int32_t z = 0;
        for (int64_t e = 0; e < k; e++) {
            int64_t seg = e / segment, at = seg * n + row;
            if (e % segment == 0 && scales != PQ_KG_SCALES_NONE) {
                s = pq_f16_to_f32(
                    pq_f32_to_f16(pq_test_random_f32(&r, 0.01f, 1.0f)));
                z = scales == PQ_KG_SCALES_F32
                        ? 0
                        : (int32_t)pq_test_random_int(&r, -8, 7);
                uint32_t word =
                    pq_f32_to_f16(s) | (uint32_t)pq_f32_to_f16((float)z) << 16;
                if (scales == PQ_KG_SCALES_WIDE) {
                    memcpy(lines + 8 * at, &s, 4);
                    memcpy(lines + 8 * at + 4, &z, 4);
                } else {
                    memcpy(lines + 4 * at,
                           scales == PQ_KG_SCALES_F32 ? (void *)&s : &word, 4);
                }
            }
            int32_t code = (int32_t)pq_test_random_int(&r, -8, 7);
            float f = pq_test_random_f32(&r, -1, 1);
            uint32_t bits = (uint32_t)code & 255u;
            float v = (float)(code - z) * s;
            if (format == PQ_KG_WEIGHT_F16) {
                bits = pq_f32_to_f16(f);
                v = pq_f16_to_f32((uint16_t)bits);
            } else if (format == PQ_KG_WEIGHT_BF16) {
                bits = pq_f32_to_bf16(f);
                v = pq_bf16_to_f32((uint16_t)bits);
            } else if (format == PQ_KG_WEIGHT_F8E4M3) {
                bits = pq_f32_to_e4m3(f);
                v = pq_e4m3_to_f32((uint8_t)bits);
            } else if (format == PQ_KG_WEIGHT_F8E5M2) {
                bits = pq_f32_to_e5m2(f);
                v = pq_e5m2_to_f32((uint8_t)bits);
            } else if (format == PQ_KG_WEIGHT_F4E2M1 ||
                       format == PQ_KG_WEIGHT_NF4) {
                const pq_narrow *narrow = pq_narrow_of(
                    format == PQ_KG_WEIGHT_NF4 ? PTQC_NF4 : PTQC_F4E2M1);
                bits &= 15u;
                v = (narrow->to_f32((uint8_t)bits) - (float)z) * s;
            } else if (format == PQ_KG_WEIGHT_F32) {
                memcpy(&bits, &f, 4);
                v = f;
            }
            planar_put(w, format, n, segment, row, seg, e % segment, bits);
            want[row * k + e] = v;
        }
    }
    kernel_step s = {.kind = PQ_STEP_PLANAR_EMBED};
    kernel_in(&s, PTQC_U8, KERNEL_DIMS((int64_t)w_bytes), w);
    if (scales == PQ_KG_SCALES_NONE) {
        kernel_absent(&s);
    } else {
        kernel_in(&s, PTQC_U8, KERNEL_DIMS(segments * n * 8), lines);
    }
    kernel_in(&s, PTQC_I32, KERNEL_DIMS(tokens), indices);
    kernel_out(&s, y_dtype, KERNEL_DIMS(tokens, k), y);
    const int64_t own[] = {n, k, format, segment, scales, 0, n};
    for (size_t i = 0; i < 7; i++) {
        kernel_param(&s, own[i]);
    }
    kernel_run(&s);
    for (int64_t i = 0; i < tokens * k; i++) {
        float v = want[indices[i / k] * k + i % k];
        uint16_t half = pq_f32_to_f16(v);
        assert_memory_equal(y + (y_dtype == PTQC_F16 ? 2 : 4) * i,
                            y_dtype == PTQC_F16 ? (void *)&half : &v,
                            y_dtype == PTQC_F16 ? 2 : 4);
    }
    void *all[] = {w, lines, y, want};
    for (size_t i = 0; i < 4; i++) {
        free(all[i]);
    }
}

static void
test_embed(void **state)
{
    (void)state;
    for (uint32_t f = 0; f < PQ_KG_WEIGHT_COUNT; f++) {
        bool is_code = f >= PQ_KG_WEIGHT_I8;
        check_embed((pq_kg_weight)f,
                    is_code ? PQ_KG_SCALES_F16 : PQ_KG_SCALES_NONE, PTQC_F32,
                    11, 45, is_code ? 16 : 45);
        check_embed((pq_kg_weight)f,
                    is_code ? PQ_KG_SCALES_WIDE : PQ_KG_SCALES_NONE, PTQC_F16,
                    7, 64, is_code ? 40 : 64);
    }
    check_embed(PQ_KG_WEIGHT_I4, PQ_KG_SCALES_F32, PTQC_F32, 40, 96, 32);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_batch_matmul),
        cmocka_unit_test(test_embed),
    };
    return cmocka_run_group_tests(tests, NULL, kernel_teardown);
}
