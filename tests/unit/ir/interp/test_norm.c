// SPDX-License-Identifier: Apache-2.0
//
// Softmax and normalizations against double-precision recomputation.
#include "tests/unit/ir/interp/op_case.h"

#define CLOSE ((pq_test_tolerance){.ulp = 8, .absolute = 3e-6})

// Reference softmax along the middle axis of [a][n][b].
static void
softmax64(const float *x, int a, int n, int b, bool is_log, float *y)
{
    for (int i = 0; i < a * b; i++) {
        const float *p = x + i / b * n * b + i % b;
        float *q = y + i / b * n * b + i % b;
        double m = -1e300, s = 0;
        for (int k = 0; k < n; k++) {
            m = (double)p[k * b] > m ? (double)p[k * b] : m;
        }
        for (int k = 0; k < n; k++) {
            s += exp((double)p[k * b] - m);
        }
        for (int k = 0; k < n; k++) {
            double t = (double)p[k * b] - m;
            q[k * b] = (float)(is_log ? t - log(s) : exp(t) / s);
        }
    }
}

static void
softmax_axes(void **state)
{
    (void)state;
    float x[3 * 7 * 5], want[3 * 7 * 5];
    pq_test_random r = pq_test_random_seed(1);
    pq_test_fill_normal(&r, x, 105, 4);
    for (int is_log = 0; is_log < 2; is_log++) {
        op_case c;
        softmax64(x, 3, 7, 5, is_log != 0, want);
        op_case_begin(&c, is_log ? PQ_OP_LOG_SOFTMAX : PQ_OP_SOFTMAX);
        op_case_in(&c, PTQC_F32, DIMS(3, 7, 5), x);
        pq_build_i64(&c.b, PQ_ATTR_AXIS, 1);
        op_case_run(&c);
        op_case_expect_f32(&c, 0, want, 105, CLOSE);
        op_case_end(&c);
        softmax64(x, 21, 5, 1, is_log != 0, want); // default: last axis
        op_case_begin(&c, is_log ? PQ_OP_LOG_SOFTMAX : PQ_OP_SOFTMAX);
        op_case_in(&c, PTQC_F32, DIMS(3, 7, 5), x);
        op_case_run(&c);
        op_case_expect_f32(&c, 0, want, 105, CLOSE);
        op_case_end(&c);
    }
}

static void
softmax_edges(void **state)
{
    (void)state;
    op_case c;
    op_case_begin(&c, PQ_OP_SOFTMAX);
    op_case_in(
        &c, PTQC_F32, DIMS(4, 2),
        (float[]){-INFINITY, 0, -INFINITY, -INFINITY, NAN, 1, 3e38f, -3e38f});
    op_case_run(&c);
    EXPECT_F32(&c, 0, 1, NAN, NAN, NAN, NAN, 1, 0);
    op_case_end(&c);
    op_case_begin(&c, PQ_OP_SOFTMAX); // one element
    op_case_in(&c, PTQC_F32, DIMS(1), (float[]){-7});
    op_case_run(&c);
    EXPECT_F32(&c, 1);
    op_case_end(&c);
    op_case_begin(&c, PQ_OP_SOFTMAX);
    op_case_in(&c, PTQC_F32, DIMS(2, 0), "");
    op_case_run(&c);
    op_case_end(&c);
}

#define ROWS   3
#define LENGTH 35

static void
rows_normalized(void **state)
{
    (void)state;
    float x[ROWS * LENGTH], scale[LENGTH], bias[LENGTH];
    float layer[ROWS * LENGTH], bare[ROWS * LENGTH], rms[ROWS * LENGTH];
    pq_test_random r = pq_test_random_seed(2);
    pq_test_fill_normal(&r, x, ROWS * LENGTH, 3);
    pq_test_fill_normal(&r, scale, LENGTH, 1);
    pq_test_fill_normal(&r, bias, LENGTH, 1);
    for (int i = 0; i < ROWS; i++) {
        double mean = 0, var = 0, square = 0;
        for (int k = 0; k < LENGTH; k++) {
            double v = (double)x[i * LENGTH + k];
            mean += v / LENGTH;
            square += v * v / LENGTH;
        }
        var = square - mean * mean;
        for (int k = 0; k < LENGTH; k++) {
            double v = (double)x[i * LENGTH + k];
            double t = (v - mean) / sqrt(var + 1e-3);
            layer[i * LENGTH + k] =
                (float)(t * (double)scale[k] + (double)bias[k]);
            bare[i * LENGTH + k] = (float)(t * (double)scale[k]);
            rms[i * LENGTH + k] =
                (float)(v / sqrt(square + 1e-3) * (double)scale[k]);
        }
    }
    const struct {
        pq_opcode code;
        bool has_bias;
        const float *want;
    } cases[] = {{PQ_OP_LAYER_NORM, true, layer},
                 {PQ_OP_LAYER_NORM, false, bare},
                 {PQ_OP_RMS_NORM, false, rms}};
    for (size_t i = 0; i < 3; i++) {
        op_case c; // [3][5][7], normalized over the last two axes
        op_case_begin(&c, cases[i].code);
        op_case_in(&c, PTQC_F32, DIMS(ROWS, 5, 7), x);
        op_case_in(&c, PTQC_F32, DIMS(5, 7), scale);
        if (cases[i].has_bias) {
            op_case_in(&c, PTQC_F32, DIMS(5, 7), bias);
        }
        pq_build_i64(&c.b, PQ_ATTR_AXIS, -2);
        pq_build_f32(&c.b, PQ_ATTR_EPSILON, 1e-3f);
        op_case_run(&c);
        op_case_expect_f32(&c, 0, cases[i].want, ROWS * LENGTH,
                           (pq_test_tolerance){.ulp = 16, .absolute = 4e-6});
        op_case_end(&c);
    }
}

static void
groups_normalized(void **state)
{
    (void)state;
    enum { N = 2, C = 6, S = 5 };
    float x[N * C * S], scale[C], bias[C], want[N * C * S];
    pq_test_random r = pq_test_random_seed(3);
    pq_test_fill_normal(&r, x, N * C * S, 2);
    pq_test_fill_normal(&r, scale, C, 1);
    pq_test_fill_normal(&r, bias, C, 1);
    for (int groups = 2; groups <= C; groups += 4) { // 2, then 6: instance
        int n = C / groups * S;
        for (int i = 0; i < N * groups; i++) {
            double mean = 0, var = 0;
            for (int k = 0; k < n; k++) {
                mean += (double)x[i * n + k] / n;
            }
            for (int k = 0; k < n; k++) {
                var += pow((double)x[i * n + k] - mean, 2) / n;
            }
            for (int k = 0; k < n; k++) {
                int c = (i * n + k) / S % C;
                double t = ((double)x[i * n + k] - mean) / sqrt(var + 1e-5);
                want[i * n + k] =
                    (float)(t * (double)scale[c] + (double)bias[c]);
            }
        }
        op_case c;
        op_case_begin(&c, groups == C ? PQ_OP_INSTANCE_NORM : PQ_OP_GROUP_NORM);
        op_case_in(&c, PTQC_F32, DIMS(N, C, S), x);
        op_case_in(&c, PTQC_F32, DIMS(C), scale);
        op_case_in(&c, PTQC_F32, DIMS(C), bias);
        pq_build_i64(&c.b, PQ_ATTR_GROUP, groups);
        op_case_run(&c);
        op_case_expect_f32(&c, 0, want, N * C * S,
                           (pq_test_tolerance){.ulp = 16, .absolute = 4e-6});
        op_case_end(&c);
    }
}

static void
batch_norm(void **state)
{
    (void)state;
    op_case c;
    op_case_begin(&c, PQ_OP_BATCH_NORM);
    op_case_in(&c, PTQC_F32, DIMS(1, 2, 2), (float[]){1, 2, 3, 4});
    op_case_in(&c, PTQC_F32, DIMS(2), (float[]){2, -1});    // scale
    op_case_in(&c, PTQC_F32, DIMS(2), (float[]){0.5f, 1});  // bias
    op_case_in(&c, PTQC_F32, DIMS(2), (float[]){1, 3});     // mean
    op_case_in(&c, PTQC_F32, DIMS(2), (float[]){4, 0.25f}); // var
    pq_build_f32(&c.b, PQ_ATTR_EPSILON, 0);
    op_case_run(&c);
    EXPECT_F32(&c, 0.5f, 1.5f, 1, -1);
    op_case_end(&c);
}

static void
lp_norm(void **state)
{
    (void)state;
    op_case c;
    for (int p = 1; p <= 2; p++) {
        op_case_begin(&c, PQ_OP_LP_NORM); // columns of [2][3]
        op_case_in(&c, PTQC_F32, DIMS(2, 3), (float[]){3, 0, -1, 4, 0, 1});
        pq_build_i64(&c.b, PQ_ATTR_AXIS, 0);
        pq_build_i64(&c.b, PQ_ATTR_P, p);
        op_case_run(&c);
        float a = p == 1 ? 3.0f / 7.0f : 0.6f, b = p == 1 ? 4.0f / 7.0f : 0.8f;
        float d = p == 1 ? 0.5f : 1.0f / sqrtf(2);
        EXPECT_F32(&c, a, 0, -d, b, 0, d);
        op_case_end(&c);
    }
}

static void
lrn(void **state)
{
    (void)state;
    enum { C = 7, S = 3, SIZE = 4 };
    float x[C * S], want[C * S];
    pq_test_random r = pq_test_random_seed(4);
    pq_test_fill_normal(&r, x, C * S, 2);
    for (int i = 0; i < C * S; i++) {
        double s = 0;
        for (int k = i / S - 1; k <= i / S + 2; k++) { // floor, ceil of 3 / 2
            s += k < 0 || k >= C ? 0 : pow((double)x[k * S + i % S], 2);
        }
        want[i] = (float)((double)x[i] / pow(2 + 0.5 / (double)SIZE * s, 0.75));
    }
    op_case c;
    op_case_begin(&c, PQ_OP_LRN);
    op_case_in(&c, PTQC_F32, DIMS(1, C, S), x);
    pq_build_i64(&c.b, PQ_ATTR_SIZE, SIZE);
    pq_build_f32(&c.b, PQ_ATTR_ALPHA, 0.5f);
    pq_build_f32(&c.b, PQ_ATTR_BETA, 0.75f);
    pq_build_f32(&c.b, PQ_ATTR_BIAS, 2);
    op_case_run(&c);
    op_case_expect_f32(&c, 0, want, C * S, CLOSE);
    op_case_end(&c);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(softmax_axes),
        cmocka_unit_test(softmax_edges),
        cmocka_unit_test(rows_normalized),
        cmocka_unit_test(groups_normalized),
        cmocka_unit_test(batch_norm),
        cmocka_unit_test(lp_norm),
        cmocka_unit_test(lrn),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
