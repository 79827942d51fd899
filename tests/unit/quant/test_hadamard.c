// SPDX-License-Identifier: Apache-2.0
//
// Hadamard rotations: orthonormal for every width, layers stay, and what they
// win where inputs are concentrated in few channels (algorithms 18 B9).
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "quant/hadamard.h"
#include "tests/support/cmocka_test.h"
#include "tests/support/context.h"
#include "tests/unit/quant/synthetic.h"

enum { D = 256, M = 128, N = 2048 };

// The whole matrix: rows of the identity, turned.
static void
is_orthonormal(void **state)
{
    (void)state;
    static const struct {
        int64_t n, block, m;
    } cases[] = {{1, 1, 1},      {2, 2, 1},       {64, 64, 1},     {12, 12, 12},
                 {24, 24, 12},   {28, 28, 28},    {36, 36, 36},    {72, 72, 36},
                 {96, 96, 12},   {44, 44, 44},    {140, 140, 140}, {7, 1, 1},
                 {6, 2, 1},      {104, 104, 104}, {148, 148, 148}, {92, 4, 1},
                 {576, 576, 36}, {172, 4, 1}};
    ptqc_ctx *ctx = pq_test_ctx_create(NULL, NULL, 2);
    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
        int64_t n = cases[k].n;
        pq_hadamard h;
        assert_int_equal(pq_hadamard_init(ctx, n, &h), PTQC_OK);
        assert_int_equal(h.block, cases[k].block);
        assert_int_equal(h.m, cases[k].m);
        float *x = new_floats(n * n);
        for (int64_t i = 0; i < n; i++) {
            x[i * n + i] = 1;
        }
        assert_int_equal(pq_hadamard_rows(ctx, &h, PQ_TURN_FORTH, x, n),
                         PTQC_OK);
        for (int64_t i = 0; i < n; i++) {
            for (int64_t j = 0; j <= i; j++) {
                double dot = pq_dot(x + i * n, x + j * n, n);
                assert_true(fabs(dot - (i == j)) < 1e-5);
            }
            // All numbers of a block have one magnitude.
            int64_t at = i / h.block * h.block;
            float size = 1 / sqrtf((float)h.block);
            for (int64_t j = at; j < at + h.block; j++) {
                assert_true(fabsf(fabsf(x[i * n + j]) - size) < 1e-6f);
            }
        }
        assert_int_equal(pq_hadamard_rows(ctx, &h, PQ_TURN_BACK, x, n),
                         PTQC_OK);
        for (int64_t i = 0; i < n * n; i++) {
            assert_true(fabsf(x[i] - (float)(i % (n + 1) == 0)) < 1e-5f);
        }
        free(x);
        pq_hadamard_deinit(ctx, &h);
    }
    ptqc_ctx_destroy(ctx);
}

static void
same_bytes_for_any_threads(void **state)
{
    (void)state;
    float *x[2];
    for (int k = 0; k < 2; k++) {
        ptqc_ctx *ctx = pq_test_ctx_create(NULL, NULL, k == 0 ? 1 : 3);
        pq_hadamard h;
        x[k] = normal_floats(5, 7 * 576);
        assert_int_equal(pq_hadamard_init(ctx, 576, &h), PTQC_OK);
        assert_int_equal(pq_hadamard_rows(ctx, &h, PQ_TURN_FORTH, x[k], 7),
                         PTQC_OK);
        pq_hadamard_deinit(ctx, &h);
        ptqc_ctx_destroy(ctx);
    }
    assert_memory_equal(x[0], x[1], 7 * 576 * sizeof **x);
    free(x[0]);
    free(x[1]);
}

// ---- B9 -------------------------------------------------------------------

// Rows of x [rows][D] to symmetric codes of their own scale and back.
static void
round_rows(float *x, int64_t rows, int bits)
{
    float top = (float)((1 << (bits - 1)) - 1);
    for (int64_t r = 0; r < rows; r++) {
        float *row = x + r * D;
        float most = 1e-30f;
        for (int64_t i = 0; i < D; i++) {
            most = fmaxf(most, fabsf(row[i]));
        }
        float scale = most / top;
        for (int64_t i = 0; i < D; i++) {
            row[i] = rintf(row[i] / scale) * scale;
        }
    }
}

// y [N][M] = x w'.
static float *
outputs(ptqc_ctx *ctx, const float *x, const float *w)
{
    float *y = new_floats(N * M);
    pq_gemm g = {.m = N,
                 .n = M,
                 .k = D,
                 .a = {x, D, 1},
                 .b = {w, 1, D},
                 .c = y,
                 .c_ld = M};
    assert_int_equal(pq_gemm_run(ctx, &g), PTQC_OK);
    return y;
}

// Relative squared error of the outputs of rounded inputs and weights.
static double
error_of(ptqc_ctx *ctx, const float *x, const float *w, int bits)
{
    float *qx = new_floats(N * D);
    float *qw = new_floats(M * D);
    memcpy(qx, x, (size_t)N * D * sizeof *x);
    memcpy(qw, w, (size_t)M * D * sizeof *w);
    round_rows(qx, N, bits);
    round_rows(qw, M, bits);
    float *y = outputs(ctx, x, w);
    float *q = outputs(ctx, qx, qw);
    double error = 0;
    double signal = 0;
    for (int64_t i = 0; i < N * M; i++) {
        double e = (double)y[i] - (double)q[i];
        error += e * e;
        signal += (double)y[i] * (double)y[i];
    }
    free(qx);
    free(qw);
    free(y);
    free(q);
    return error / signal;
}

// Inputs and weights turned by the rows of the basis of unit length.
static float *
in_basis(ptqc_ctx *ctx, const float *x, int64_t rows, const float *basis)
{
    float *y = new_floats(rows * D);
    pq_gemm g = {.m = rows,
                 .n = D,
                 .k = D,
                 .a = {x, D, 1},
                 .b = {basis, D, 1},
                 .c = y,
                 .c_ld = D};
    assert_int_equal(pq_gemm_run(ctx, &g), PTQC_OK);
    return y;
}

// Variances 1/k: in the basis of principal components few channels hold most;
// "original" is a random one.
static void
undoes_concentration(void **state)
{
    (void)state;
    ptqc_ctx *ctx = pq_test_ctx_create(NULL, NULL, 2);
    layer_inputs basis = make_inputs(COV_SPECTRUM, 0, D); // orthonormal
    float *x = normal_floats(1, N * D);
    float *w = normal_floats(2, M * D);
    pq_hadamard h;
    assert_int_equal(pq_hadamard_init(ctx, D, &h), PTQC_OK);
    for (int64_t i = 0; i < N * D; i++) {
        x[i] /= sqrtf((float)(i % D + 1));
    }
    float *original_x = in_basis(ctx, x, N, basis.basis);
    float *original_w = in_basis(ctx, w, M, basis.basis);
    float *turned_x = new_floats(N * D);
    float *turned_w = new_floats(M * D);
    memcpy(turned_x, x, (size_t)N * D * sizeof *x);
    memcpy(turned_w, w, (size_t)M * D * sizeof *w);
    assert_int_equal(pq_hadamard_rows(ctx, &h, PQ_TURN_FORTH, turned_x, N),
                     PTQC_OK);
    assert_int_equal(pq_hadamard_rows(ctx, &h, PQ_TURN_FORTH, turned_w, M),
                     PTQC_OK);
    static const struct {
        int bits;
        double gain;
    } bars[] = {{4, 3}, {8, 4}};
    for (int k = 0; k < 2; k++) {
        int bits = bars[k].bits;
        double original = error_of(ctx, original_x, original_w, bits);
        double plain = error_of(ctx, x, w, bits);
        double turned = error_of(ctx, turned_x, turned_w, bits);
        print_message("w%da%d: original basis %.3g, components %.3g, turned "
                      "%.3g: %.2f of the original, gain %.1f\n",
                      bits, bits, original, plain, turned, turned / original,
                      plain / turned);
        assert_true(turned <= 1.1 * original);
        assert_true(plain >= bars[k].gain * turned);
    }
    free(basis.basis);
    free(x);
    free(w);
    free(original_x);
    free(original_w);
    free(turned_x);
    free(turned_w);
    pq_hadamard_deinit(ctx, &h);
    ptqc_ctx_destroy(ctx);
}

static ptqc_status
turn_in(ptqc_ctx *ctx, void *user)
{
    pq_hadamard h;
    ptqc_status st = pq_hadamard_init(ctx, 12, &h);
    if (st == PTQC_OK) {
        st = pq_hadamard_rows(ctx, &h, PQ_TURN_FORTH, user, 1);
    }
    pq_hadamard_deinit(ctx, &h);
    return st;
}

static void
memory_runs_out(void **state)
{
    (void)state;
    float *x = normal_floats(7, 12);
    assert_true(pq_test_alloc_sweep(turn_in, x) > 0);
    free(x);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(is_orthonormal),
        cmocka_unit_test(same_bytes_for_any_threads),
        cmocka_unit_test(undoes_concentration),
        cmocka_unit_test(memory_runs_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
