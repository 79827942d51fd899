// SPDX-License-Identifier: Apache-2.0
//
// The inner kernels of this machine's variant against plain loops, bit for
// bit; packing; broadcast walks; sums in lanes.
#include "ir/interp/eval.h"
#include "tests/unit/ir/interp/op_case.h"

enum { K = 23 };

static void
dot_products(const pq_rows *rows)
{
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
elementwise_products(const pq_rows *rows)
{
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
every_variant(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 2; i++) {
        const pq_rows *rows = pq_rows_variant(i);
        if (rows == NULL) {
            print_message("variant %u cannot run here\n", i);
            continue;
        }
        dot_products(rows);
        elementwise_products(rows);
    }
}

// All activations, ordinary and special arguments: the same bits.
static void
activations_agree(void **state)
{
    (void)state;
    enum { COUNT = 1003 };
    static float x[COUNT], a[COUNT], b[COUNT];
    const float special[8] = {0,      -0.0f,   INFINITY, -INFINITY,
                              1e-42f, 3.4e38f, -1e-38f,  0.5f};
    const pq_rows *fma_rows = pq_rows_variant(1);
    if (fma_rows == NULL) {
        print_message("no second variant on this machine\n");
        skip();
    }
    pq_test_random r = pq_test_random_seed(3);
    pq_test_fill_normal(&r, x, COUNT, 10);
    memcpy(x, special, sizeof special);
    for (int code = PQ_OP_NONE + 1; code < PQ_OP_COUNT; code++) {
        pq_act act = {(pq_opcode)code, 0.3f, 0.7f};
        if (!pq_act_is_f32(act.code)) {
            continue;
        }
        pq_rows_variant(0)->act(&act, x, a, COUNT);
        fma_rows->act(&act, x, b, COUNT);
        for (int i = 0; i < COUNT; i++) { // the sign of a NaN is free
            a[i] = a[i] != a[i] ? 0.0f : a[i];
            b[i] = b[i] != b[i] ? 0.0f : b[i];
        }
        assert_true(
            pq_test_same_bytes(pq_op_info_of(act.code)->name, a, b, sizeof a));
    }
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
        cmocka_unit_test(every_variant),
        cmocka_unit_test(activations_agree),
        cmocka_unit_test(packing),
        cmocka_unit_test(walks_merge_axes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
