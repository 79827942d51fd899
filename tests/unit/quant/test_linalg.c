// SPDX-License-Identifier: Apache-2.0
//
// Linear algebra against naive f64, on sizes beside the tiles' multiples; the
// same bits from every instruction set and number of threads.
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "quant/linalg.h"
#include "quant/linalg/gemm.h"
#include "quant/quantize.h"
#include "tests/support/cmocka_test.h"
#include "tests/support/compare.h"
#include "tests/support/context.h"
#include "tests/support/random.h"

static float *
random_matrix(uint64_t seed, size_t n)
{
    float *x = malloc((n + 1) * sizeof *x);
    pq_test_random r = pq_test_random_seed(seed);
    pq_test_fill_normal(&r, x, n, 1);
    return x;
}

static float *
zeros(size_t n)
{
    return calloc(n + 1, sizeof(float));
}

// ---- products -------------------------------------------------------------

typedef struct shape {
    int64_t m, n, k;
} shape;

static const shape shapes[] = {
    {1, 1, 1},      {1, 33, 7},    {13, 31, 256},  {12, 32, 257},
    {64, 64, 64},   {65, 70, 513}, {200, 300, 40}, {193, 2081, 300},
    {577, 129, 30}, {3, 5, 0},
};
#define SHAPES (sizeof shapes / sizeof *shapes)

static bool
is_part(pq_part part, int64_t i, int64_t j)
{
    return part == PQ_PART_ALL || (part == PQ_PART_LOWER ? i >= j : i <= j);
}

// Element by element in f64; what is not wanted must be untouched (7).
static void
check_product(const pq_gemm *g)
{
    for (int64_t i = 0; i < g->m; i++) {
        for (int64_t j = 0; j < g->n; j++) {
            double sum = 0;
            double size = 7;
            for (int64_t t = 0; t < g->k; t++) {
                double a = (double)g->a.p[i * g->a.row + t * g->a.col];
                double b = (double)g->b.p[t * g->b.row + j * g->b.col];
                double w = g->weights != NULL ? (double)g->weights[t] : 1;
                sum += a * b * w;
                size += fabs(a * b * w);
            }
            double want =
                7 +
                (is_part(g->part, i, j) ? (g->is_subtracted ? -sum : sum) : 0);
            double got = (double)g->c[i * g->c_ld + j];
            assert_true(fabs(got - want) <= 1e-6 * size);
        }
    }
}

// Views that go along or across the memory; part and sign by the case.
static void
run_product(const shape *s, unsigned kind)
{
    float *a = random_matrix(1, (size_t)(s->m * s->k));
    float *b = random_matrix(2, (size_t)(s->k * s->n));
    float *w = random_matrix(3, (size_t)s->k);
    float *c[3][3];
    pq_gemm g = {.m = s->m, .n = s->n, .k = s->k, .c_ld = s->n};
    g.a = kind & 1 ? (pq_matrix){a, 1, s->m} : (pq_matrix){a, s->k, 1};
    g.b = kind & 2 ? (pq_matrix){b, 1, s->k} : (pq_matrix){b, s->n, 1};
    g.is_subtracted = (kind & 4) != 0;
    g.weights = kind & 8 ? w : NULL;
    g.part = (pq_part)(kind / 16 % 3);
    size_t n = (size_t)(s->m * s->n);
    for (uint32_t threads = 1; threads <= 3; threads++) {
        ptqc_ctx *ctx = pq_test_ctx_create(NULL, NULL, threads);
        const pq_micro *micro;
        for (unsigned v = 0; (micro = pq_micro_variant(v)) != NULL; v++) {
            c[threads - 1][v] = g.c = zeros(n);
            for (size_t i = 0; i < n; i++) {
                g.c[i] = 7;
            }
            pq_gemm_space space;
            assert_int_equal(pq_gemm_space_init(&space, ctx, micro, g.m, g.n),
                             PTQC_OK);
            pq_gemm_compute(&space, &g);
            pq_gemm_space_deinit(&space);
            assert_true(pq_test_same_bytes("product", g.c, c[0][0], n * 4));
            if (threads > 1) {
                free(c[threads - 1][v]);
            }
        }
        ptqc_ctx_destroy(ctx);
    }
    g.c = c[0][0];
    check_product(&g);
    for (unsigned v = 0; pq_micro_variant(v) != NULL; v++) {
        free(c[0][v]);
    }
    free(a);
    free(b);
    free(w);
}

static void
products(void **state)
{
    (void)state;
    for (size_t i = 0; i < SHAPES; i++) {
        for (unsigned kind = 0; kind < 48; kind += i < 6 ? 1 : 7) {
            run_product(&shapes[i], kind);
        }
    }
}

// Kept for comparison below: the strips of every set have the same bits.
static void
strips_of_all_sets(void **state)
{
    (void)state;
    float *x = random_matrix(4, 70 * PQ_LANES);
    float *f = random_matrix(5, 70 * 3);
    const pq_micro *micro;
    float want[70 * PQ_LANES];
    for (unsigned v = 0; (micro = pq_micro_variant(v)) != NULL; v++) {
        float got[70 * PQ_LANES];
        memcpy(got, x, sizeof got);
        micro->combine(x, f, 3, 70, v % 2 == 3, got);
        micro->combine(x, f, 1, 5, true, got);
        micro->scale(1 / 3.0f, got);
        float rows[50 * 40];
        micro->store(got, 50, 37, rows, 40);
        micro->load(rows, 40, 50, 37, got + 10 * PQ_LANES);
        if (v == 0) {
            memcpy(want, got, sizeof want);
        }
        assert_true(pq_test_same_bytes("strip", got, want, sizeof got));
        assert_true(got[11 * PQ_LANES + 49] == got[PQ_LANES + 49]);
        assert_true(got[11 * PQ_LANES + 50] == 0);
    }
    free(x);
    free(f);
}

// What rounding leaves, and sums of products, at all tails.
static void
sums_of_all_sets(void **state)
{
    (void)state;
    enum { N = 3 * 16 + 5 };
    float *a = random_matrix(15, N);
    float *b = random_matrix(16, N);
    const pq_micro *micro;
    for (unsigned v = 1; (micro = pq_micro_variant(v)) != NULL; v++) {
        const pq_micro *plain = pq_micro_variant(0);
        for (int64_t n = 0; n <= N; n++) {
            float want[N];
            float got[N];
            plain->residues(a, n, -.3f, -8, 7, want);
            micro->residues(a, n, -.3f, -8, 7, got);
            assert_memory_equal(got, want, (size_t)n * sizeof *got);
            double dot = plain->dot(a, b, n);
            assert_true(dot == micro->dot(a, b, n));
            for (int64_t i = 0; i < n; i++) {
                dot -= (double)a[i] * (double)b[i];
                assert_true(fabsf(want[i]) <= .15f || fabsf(a[i]) > 2);
            }
            assert_true(fabs(dot) < 1e-12);
        }
    }
    free(a);
    free(b);
}

// Codes, errors and their squares of every set; codes are those of quantize.h.
static void
rounding_of_all_sets(void **state)
{
    (void)state;
    enum { N = 5 * 16 + 3 };
    float *t = random_matrix(13, N);
    float *factors = random_matrix(14, N);
    float scales[PQ_LANES];
    float zeros[PQ_LANES];
    t[3] = NAN;
    t[4] = INFINITY;
    for (int l = 0; l < PQ_LANES; l++) {
        scales[l] = (l % 2 == 0 ? .1f : -.03f) * (float)(l + 1);
        zeros[l] = (float)(l % 16);
    }
    pq_rounding rounding = {scales, zeros, 0, 15, 1.5f, NULL};
    const pq_micro *micro;
    float want[2][PQ_LANES];
    float want_sums[2];
    for (unsigned v = 0; (micro = pq_micro_variant(v)) != NULL; v++) {
        float e[PQ_LANES];
        float squares[PQ_LANES] = {1};
        uint8_t codes[PQ_LANES];
        micro->round(&rounding, t, t, codes, e, squares);
        t[3] = 0;
        t[4] = 0;
        float sums[2] = {
            micro->rounding_error(t, NULL, N, .3f, -8, 7),
            micro->rounding_error(t, factors, N, .3f, -8, 7),
        };
        t[3] = NAN;
        t[4] = INFINITY;
        for (int l = 0; l < PQ_LANES; l++) {
            pq_params p = {scales[l], (int32_t)zeros[l]};
            assert_int_equal(codes[l], pq_code_of(t[l], p, PTQC_U4));
        }
        e[3] = squares[3] = 0; // a NaN's bits are not defined
        if (v == 0) {
            memcpy(want[0], e, sizeof e);
            memcpy(want[1], squares, sizeof e);
            memcpy(want_sums, sums, sizeof sums);
        }
        assert_memory_equal(e, want[0], sizeof e);
        assert_memory_equal(squares, want[1], sizeof e);
        assert_memory_equal(sums, want_sums, sizeof sums);
    }
    double exact = 0;
    for (int i = 0; i < N; i++) {
        double x = i == 3 || i == 4 ? 0 : (double)t[i];
        double q = fmin(fmax(rint(x / (double).3f), -8), 7);
        exact += (x / (double).3f - q) * (x / (double).3f - q);
    }
    assert_true(fabs((double)want_sums[0] - exact) < 1e-4 * exact);
    free(t);
    free(factors);
}

// ---- Gram matrices --------------------------------------------------------

static void
gram(void **state)
{
    (void)state;
    enum { N = 333, D = 75 };
    ptqc_ctx *ctx = pq_test_ctx_create(NULL, NULL, 2);
    float *x = random_matrix(6, N * D);
    float *y = random_matrix(7, N * D);
    float *w = random_matrix(8, N);
    float *h = zeros(D * D);
    float *g = zeros(D * D);
    assert_int_equal(pq_gram_add(ctx, x, 100, D, w, h), PTQC_OK);
    assert_int_equal(pq_gram_add(ctx, x + 100 * D, N - 100, D, w + 100, h),
                     PTQC_OK);
    assert_int_equal(pq_gram_cross_add(ctx, x, y, N, D, NULL, g), PTQC_OK);
    assert_true(h[1] == 0 && h[D] != 0);
    pq_gram_mirror(h, D);
    for (int i = 0; i < D; i++) {
        for (int j = 0; j < D; j++) {
            double sum = 0;
            double cross = 0;
            for (int t = 0; t < N; t++) {
                double xi = (double)x[t * D + i];
                sum += xi * (double)x[t * D + j] * (double)w[t];
                cross += xi * (double)y[t * D + j];
            }
            assert_true(fabs((double)h[i * D + j] - sum) < 1e-3);
            assert_true(fabs((double)g[i * D + j] - cross) < 1e-3);
        }
    }
    free(x);
    free(y);
    free(w);
    free(h);
    free(g);
    ptqc_ctx_destroy(ctx);
}

// ---- factor, solves, losses -----------------------------------------------

// A positive definite matrix, both triangles.
static float *
positive_matrix(ptqc_ctx *ctx, int64_t d)
{
    float *x = random_matrix(9, (size_t)(2 * d * d));
    float *h = zeros((size_t)(d * d));
    assert_int_equal(pq_gram_add(ctx, x, 2 * d, d, NULL, h), PTQC_OK);
    pq_gram_mirror(h, d);
    free(x);
    return h;
}

// max |r r' - h| over the largest diagonal.
static double
factor_error(const float *r, const float *h, int64_t d)
{
    double worst = 0;
    double largest = 0;
    for (int64_t i = 0; i < d; i++) {
        largest = fmax(largest, (double)h[i * d + i]);
        for (int64_t j = i; j < d; j++) {
            double sum = 0;
            for (int64_t t = j; t < d; t++) {
                sum += (double)r[i * d + t] * (double)r[j * d + t];
            }
            worst = fmax(worst, fabs(sum - (double)h[i * d + j]));
        }
    }
    return worst / largest;
}

static void
check_factor(int64_t d)
{
    ptqc_ctx *one = pq_test_ctx_create(NULL, NULL, 1);
    ptqc_ctx *three = pq_test_ctx_create(NULL, NULL, 3);
    size_t bytes = (size_t)(d * d) * sizeof(float);
    float *h = positive_matrix(one, d);
    float *r = zeros((size_t)(d * d));
    float *again = zeros((size_t)(d * d));
    memcpy(r, h, bytes);
    memcpy(again, h, bytes);
    int64_t bad;
    assert_int_equal(pq_cholesky(one, r, d, &bad), PTQC_OK);
    assert_int_equal(bad, -1);
    assert_int_equal(pq_cholesky(three, again, d, &bad), PTQC_OK);
    assert_true(pq_test_same_bytes("factor", again, r, bytes));
    assert_true(factor_error(r, h, d) < 2e-6);
    for (int64_t i = 0; i < d; i++) { // the lower triangle is as it was
        assert_memory_equal(r + i * d, h + i * d, (size_t)i * sizeof *r);
    }
    // b h^-1 h = b
    int64_t rows = 70;
    float *b = random_matrix(10, (size_t)(rows * d));
    float *x = zeros((size_t)(rows * d));
    memcpy(x, b, (size_t)(rows * d) * sizeof *b);
    assert_int_equal(pq_solve_rows(three, r, d, PQ_SOLVE_R_TRANSPOSED, x, rows),
                     PTQC_OK);
    assert_int_equal(pq_solve_rows(three, r, d, PQ_SOLVE_R, x, rows), PTQC_OK);
    for (int64_t i = 0; i < rows * d; i++) {
        double sum = 0;
        for (int64_t t = 0; t < d; t++) {
            sum += (double)x[i / d * d + t] * (double)h[t * d + i % d];
        }
        assert_true(fabs(sum - (double)b[i]) < 1e-3);
    }
    free(h);
    free(r);
    free(again);
    free(b);
    free(x);
    ptqc_ctx_destroy(one);
    ptqc_ctx_destroy(three);
}

static void
factors(void **state)
{
    (void)state;
    static const int64_t sizes[] = {1, 2, 17, 64, 65, 255, 256, 257, 331, 600};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        check_factor(sizes[i]);
    }
}

static void
bad_factors(void **state)
{
    (void)state;
    ptqc_ctx *ctx = pq_test_ctx_create(NULL, NULL, 2);
    const float bad_numbers[] = {-1, 0, NAN, INFINITY};
    for (int i = 0; i < 4; i++) {
        int64_t d = 300;
        int64_t bad;
        float *h = positive_matrix(ctx, d);
        h[101 * d + 101] = bad_numbers[i];
        assert_int_equal(pq_cholesky(ctx, h, d, &bad), PTQC_OK);
        assert_true(bad >= 0 && bad <= 101);
        free(h);
    }
    ptqc_ctx_destroy(ctx);
}

static void
losses(void **state)
{
    (void)state;
    ptqc_ctx *ctx = pq_test_ctx_create(NULL, NULL, 2);
    static const int64_t sizes[] = {1, 40, 256, 300};
    for (size_t i = 0; i < 4; i++) {
        int64_t d = sizes[i];
        int64_t rows = 23;
        float *h = positive_matrix(ctx, d);
        float *e = random_matrix(11, (size_t)(rows * d));
        double want = 0;
        for (int64_t r = 0; r < rows; r++) {
            for (int64_t j = 0; j < d * d; j++) {
                want += (double)e[r * d + j / d] * (double)h[j] *
                        (double)e[r * d + j % d];
            }
        }
        for (int64_t j = 0; j < d * d; j++) { // the upper one is not read
            h[j] = j % d > j / d ? NAN : h[j];
        }
        double got;
        assert_int_equal(pq_quadratic_loss(ctx, e, rows, h, d, &got), PTQC_OK);
        assert_true(fabs(got - want) <= 1e-5 * want);
        free(h);
        free(e);
    }
    ptqc_ctx_destroy(ctx);
}

static ptqc_status
all_of_it(ptqc_ctx *ctx, void *user)
{
    enum { D = 40 };
    const float *x = user;
    float h[D * D] = {0};
    float b[D * D] = {0};
    int64_t bad;
    double loss;
    PQ_TRY(pq_gram_add(ctx, x, 2 * D, D, NULL, h));
    pq_gram_mirror(h, D);
    PQ_TRY(pq_quadratic_loss(ctx, x, D, h, D, &loss));
    PQ_TRY(pq_cholesky(ctx, h, D, &bad));
    return pq_solve_rows(ctx, h, D, PQ_SOLVE_R, b, D);
}

static void
memory_runs_out(void **state)
{
    (void)state;
    float *x = random_matrix(12, 80 * 40);
    assert_true(pq_test_alloc_sweep(all_of_it, x) > 5);
    free(x);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(products),
        cmocka_unit_test(strips_of_all_sets),
        cmocka_unit_test(sums_of_all_sets),
        cmocka_unit_test(rounding_of_all_sets),
        cmocka_unit_test(gram),
        cmocka_unit_test(factors),
        cmocka_unit_test(bad_factors),
        cmocka_unit_test(losses),
        cmocka_unit_test(memory_runs_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
