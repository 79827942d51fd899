// SPDX-License-Identifier: Apache-2.0
//
// The inner kernels of this machine's variant against plain loops, bit for
// bit; packing; broadcast walks; sums in lanes.
#include "ir/interp/eval.h"
#include "tests/unit/ir/interp/op_case.h"

enum { K = 23 };

static void
dot_products(void **state)
{
    (void)state;
    const pq_rows *rows = pq_rows_get();
    float a[K], b[K * PQ_PANEL], acc[PQ_PANEL], want[PQ_PANEL];
    int16_t ai[K], bi[K * PQ_PANEL];
    uint32_t acc_i[PQ_PANEL], want_i[PQ_PANEL];
    pq_test_random r = pq_test_random_seed(1);
    for (int64_t k = 0; k <= K; k++) { // every tail
        pq_test_fill_normal(&r, a, K, 1);
        pq_test_fill_normal(&r, b, K * PQ_PANEL, 1);
        pq_test_fill_normal(&r, acc, PQ_PANEL, 1);
        for (int i = 0; i < K; i++) {
            ai[i] = (int16_t)pq_test_random_int(&r, -255, 255);
        }
        for (int i = 0; i < K * PQ_PANEL; i++) {
            bi[i] = (int16_t)pq_test_random_int(&r, -255, 255);
        }
        for (int j = 0; j < PQ_PANEL; j++) {
            acc_i[j] = want_i[j] = (uint32_t)pq_test_random_u64(&r);
            want[j] = acc[j];
            for (int64_t i = 0; i < k; i++) {
                want[j] = fmaf(a[i], b[i * PQ_PANEL + j], want[j]);
                want_i[j] += (uint32_t)(ai[i] * bi[i * PQ_PANEL + j]);
            }
        }
        rows->dot_f32(acc, a, b, k);
        rows->dot_i16(acc_i, ai, bi, k);
        assert_true(pq_test_same_bytes("dot_f32", acc, want, sizeof acc));
        assert_true(pq_test_same_bytes("dot_i16", acc_i, want_i, sizeof acc_i));
    }
}

static void
elementwise_products(void **state)
{
    (void)state;
    const pq_rows *rows = pq_rows_get();
    float a[PQ_PANEL], b[PQ_PANEL], acc[PQ_PANEL], want[PQ_PANEL];
    int16_t ai[PQ_PANEL], bi[PQ_PANEL];
    uint32_t acc_i[PQ_PANEL], want_i[PQ_PANEL];
    pq_test_random r = pq_test_random_seed(2);
    pq_test_fill_normal(&r, a, PQ_PANEL, 1);
    pq_test_fill_normal(&r, b, PQ_PANEL, 1);
    pq_test_fill_normal(&r, acc, PQ_PANEL, 1);
    for (int j = 0; j < PQ_PANEL; j++) {
        ai[j] = (int16_t)pq_test_random_int(&r, -255, 255);
        bi[j] = (int16_t)pq_test_random_int(&r, -255, 255);
        acc_i[j] = UINT32_MAX;
        want_i[j] = UINT32_MAX + (uint32_t)(ai[j] * bi[j]);
        want[j] = fmaf(a[j], b[j], acc[j]);
    }
    rows->mac_f32(acc, a, b);
    rows->mac_i16(acc_i, ai, bi);
    assert_true(pq_test_same_bytes("mac_f32", acc, want, sizeof acc));
    assert_true(pq_test_same_bytes("mac_i16", acc_i, want_i, sizeof acc_i));
}

static void
packing(void **state)
{
    (void)state;
    enum { N = 35, KK = 2 };
    float b[KK * N], t[N * KK], p[2 * KK * PQ_PANEL], q[2 * KK * PQ_PANEL];
    for (int i = 0; i < KK * N; i++) {
        b[i] = (float)(i + 1);
        t[i % N * KK + i / N] = b[i];
    }
    memset(p, 0xff, sizeof p);
    memset(q, 0xff, sizeof q);
    pq_pack_f32(b, KK, N, false, p);
    pq_pack_f32(t, KK, N, true, q);
    assert_memory_equal(p, q, sizeof p);
    assert_true(p[PQ_PANEL] == (float)(N + 1));    // k = 1, n = 0
    assert_true(p[KK * PQ_PANEL + 2] == (float)N); // n = 34
    assert_true(p[KK * PQ_PANEL + 3] == 0);        // beyond n
}

static void
walks_merge_axes(void **state)
{
    (void)state;
    pq_tensor out = {.rank = 3, .dims = {2, 3, 4}};
    pq_tensor a = {.rank = 3, .dims = {2, 3, 4}};
    pq_tensor b = {.rank = 2, .dims = {3, 1}};
    const pq_tensor *same[2] = {&a, &a};
    const pq_tensor *other[2] = {&a, &b};
    pq_walk w;
    pq_walk_broadcast(&w, &out, same, 2);
    assert_int_equal(w.n, 24);
    assert_int_equal(w.rows, 1);
    assert_false(pq_walk_next(&w));
    pq_walk_broadcast(&w, &out, other, 2);
    assert_int_equal(w.n, 4);
    assert_int_equal(w.rows, 6);
    for (int i = 0; i < 6; i++) {
        assert_int_equal(w.at[0], 4 * i);
        assert_int_equal(w.at[1], i % 3);
        assert_int_equal(w.step[1], 0);
        assert_true(pq_walk_next(&w) == (i < 5));
    }
    out.dims[1] = 0;
    a.dims[1] = 0;
    pq_walk_broadcast(&w, &out, same, 2);
    assert_int_equal(w.rows, 0);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(dot_products),
        cmocka_unit_test(elementwise_products),
        cmocka_unit_test(packing),
        cmocka_unit_test(walks_merge_axes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
