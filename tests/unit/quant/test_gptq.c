// SPDX-License-Identifier: Apache-2.0
//
// GPTQ: its identities (algorithms 18 A1 to A3, A8), bars on synthetic layers
// (B1 to B3, B5, B12), the ladder, shapes and schemes.
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/ctx.h"
#include "base/dtype.h"
#include "quant/gptq.h"
#include "quant/rows.h"
#include "tests/support/cmocka_test.h"
#include "tests/support/compare.h"
#include "tests/support/context.h"
#include "tests/support/random.h"
#include "tests/unit/quant/synthetic.h"

static const pq_scheme w4_g128 = {
    .format = PTQC_U4, .granularity = PQ_GRAN_GROUP, .axis = 1, .group = 128};

// A solved weight and what belongs to it.
typedef struct solved {
    pq_factor *factor;
    float *scales;
    int32_t *zeros;
    uint8_t *codes;
    pq_gptq_report report;
} solved;

static solved
solve(ptqc_ctx *ctx, const pq_factor_desc *fd, const pq_gptq_desc *gd)
{
    solved s;
    pq_weights ws = pq_rows_view(gd->w, gd->rows, fd->d, &gd->scheme);
    size_t count = (size_t)pq_weights_scale_count(&ws);
    s.scales = calloc(count, sizeof *s.scales);
    s.zeros = calloc(count, sizeof *s.zeros);
    s.codes = calloc((size_t)(gd->rows * fd->d), 1);
    assert_int_equal(pq_factor_create(ctx, fd, &s.factor), PTQC_OK);
    assert_int_equal(
        pq_gptq_solve(ctx, s.factor, gd, s.scales, s.zeros, s.codes, &s.report),
        PTQC_OK);
    return s;
}

static void
solved_free(ptqc_ctx *ctx, solved *s)
{
    pq_factor_destroy(ctx, s->factor);
    free(s->scales);
    free(s->zeros);
    free(s->codes);
}

// ---- the reference recurrence in f64 --------------------------------------

// a [d][d] -> its lower Cholesky factor.
static void
cholesky64(double *a, int64_t d)
{
    for (int64_t i = 0; i < d; i++) {
        for (int64_t j = 0; j <= i; j++) {
            double sum = a[i * d + j];
            for (int64_t k = 0; k < j; k++) {
                sum -= a[i * d + k] * a[j * d + k];
            }
            a[i * d + j] = i == j ? sqrt(sum) : sum / a[j * d + j];
        }
    }
    for (int64_t i = 0; i < d; i++) {
        memset(a + i * d + i + 1, 0, (size_t)(d - i - 1) * sizeof *a);
    }
}

// l -> (l l')^-1
static double *
inverse64(const double *l, int64_t d)
{
    double *m = calloc((size_t)(d * d), sizeof *m); // l^-1
    double *out = calloc((size_t)(d * d), sizeof *out);
    for (int64_t c = 0; c < d; c++) {
        for (int64_t i = c; i < d; i++) {
            double sum = i == c ? 1 : 0;
            for (int64_t k = c; k < i; k++) {
                sum -= l[i * d + k] * m[k * d + c];
            }
            m[i * d + c] = sum / l[i * d + i];
        }
    }
    for (int64_t i = 0; i < d; i++) {
        for (int64_t j = 0; j < d; j++) {
            for (int64_t k = i > j ? i : j; k < d; k++) {
                out[i * d + j] += m[k * d + i] * m[k * d + j];
            }
        }
    }
    free(m);
    return out;
}

// The paper's algorithm 1 without lazy batches: chol, inverse, chol; column by
// column, the error goes to all columns to the right.
static void
reference_codes(const float *h, double damping, const float *w, int64_t rows,
                int64_t d, const pq_scheme *scheme, const float *scales,
                const int32_t *zeros, uint8_t *out)
{
    double *a = calloc((size_t)(d * d), sizeof *a);
    for (int64_t i = 0; i < d * d; i++) {
        a[i] = (double)h[i] + (i / d == i % d ? damping : 0);
    }
    cholesky64(a, d);
    double *inverse = inverse64(a, d);
    cholesky64(inverse, d); // lower; the paper's U is its transpose
    int64_t group = (int64_t)scheme->group;
    int64_t groups = (d + group - 1) / group;
    double *row = calloc((size_t)d, sizeof *row);
    for (int64_t r = 0; r < rows; r++) {
        for (int64_t i = 0; i < d; i++) {
            row[i] = (double)w[r * d + i];
        }
        for (int64_t i = 0; i < d; i++) {
            double scale = (double)scales[r * groups + i / group];
            int32_t zero = zeros[r * groups + i / group];
            double q = rint(row[i] / scale);
            q = fmin(fmax(q, -(double)zero), 15 - (double)zero);
            out[r * d + i] = (uint8_t)(q + zero);
            double error = (row[i] - q * scale) / inverse[i * d + i];
            for (int64_t j = i; j < d; j++) {
                row[j] -= error * inverse[j * d + i];
            }
        }
    }
    free(a);
    free(inverse);
    free(row);
}

static void
equals_the_reference(void **state)
{
    (void)state;
    enum { D = 320, M = 128, N = 4096 };
    ptqc_ctx *ctx = pq_test_ctx_create(NULL, NULL, 2);
    static const covariance kinds[] = {COV_IID, COV_AR, COV_SPECTRUM};
    for (int k = 0; k < 3; k++) {
        layer_inputs in = make_inputs(kinds[k], 1, D);
        float *x = draw_inputs(ctx, &in, 1, N);
        float *h = gram_of(ctx, x, N, D);
        float *w = normal_floats(2, M * D);
        pq_factor_desc fd = {.h = h,
                             .d = D,
                             .tokens = N,
                             .damping = .01f,
                             .order = PQ_ORDER_GIVEN};
        pq_gptq_desc gd = {.w = w, .rows = M, .h = h, .scheme = w4_g128};
        solved s = solve(ctx, &fd, &gd);
        uint8_t *want = calloc(M * D, 1);
        reference_codes(h, pq_factor_damping(s.factor), w, M, D, &w4_g128,
                        s.scales, s.zeros, want);
        int64_t wrong = 0;
        for (int64_t i = 0; i < M * D; i++) {
            wrong += s.codes[i] != want[i];
        }
        printf("reference %d: %lld of %d codes differ, identity %.1e\n", k,
               (long long)wrong, M * D, s.report.identity_error);
        assert_true(wrong * 10000 <= M * D);         // A2
        assert_true(s.report.identity_error < 1e-3); // A1
        solved_free(ctx, &s);
        free(in.basis);
        free(x);
        free(h);
        free(w);
        free(want);
    }
    ptqc_ctx_destroy(ctx);
}

// ---- A3 -------------------------------------------------------------------

static void
identity_gives_rounding(void **state)
{
    (void)state;
    enum { D = 300, M = 70 };
    ptqc_ctx *ctx = pq_test_ctx_create(NULL, NULL, 2);
    float *h = new_floats(D * D);
    float *w = normal_floats(3, M * D);
    for (int i = 0; i < D; i++) {
        h[i * D + i] = 3.7f;
    }
    static const pq_column_order orders[] = {PQ_ORDER_GROUP, PQ_ORDER_GIVEN,
                                             PQ_ORDER_DIAGONAL};
    for (int k = 0; k < 3; k++) {
        pq_factor_desc fd = {.h = h, .d = D, .order = orders[k], .group = 128};
        pq_gptq_desc gd = {
            .w = w, .rows = M, .h = h, .scheme = w4_g128, .polish_sweeps = 2};
        solved s = solve(ctx, &fd, &gd);
        uint8_t *want = calloc(M * D, 1);
        pq_weights ws = pq_rows_view(w, M, D, &w4_g128);
        assert_int_equal(pq_rows_encode(ctx, &ws, s.scales, s.zeros, want),
                         PTQC_OK);
        assert_true(pq_test_same_u8("codes", s.codes, want, M * D, 0));
        assert_true(s.report.loss == s.report.rounding_loss);
        assert_int_equal(s.report.moved_count, 0);
        solved_free(ctx, &s);
        free(want);
    }
    free(h);
    free(w);
    ptqc_ctx_destroy(ctx);
}

// ---- bars -----------------------------------------------------------------

typedef struct bar {
    covariance kind;
    double exponent;
    double calibrated; // B2: loss over that of rounding
} bar;

static const bar bars[] = {
    {COV_IID, 0, 1.08},           {COV_AR, 0, .25},
    {COV_SPECTRUM, .5, HUGE_VAL}, {COV_SPECTRUM, 1, .55},
    {COV_SPECTRUM, 1.5, .18},
};
#define BARS (sizeof bars / sizeof *bars)

static void
check_bar(ptqc_ctx *ctx, const bar *b, uint32_t bits)
{
    enum { D = 256, M = 128, N = 8 * D };
    layer_inputs in = make_inputs(b->kind, b->exponent, D);
    float *x = draw_inputs(ctx, &in, 11, N);
    float *y = draw_inputs(ctx, &in, 12, 4096);
    float *h = gram_of(ctx, x, N, D);
    float *held = gram_of(ctx, y, 4096, D);
    float *w = normal_floats(13, M * D);
    pq_scheme scheme = w4_g128;
    scheme.bits = bits;
    pq_factor_desc fd = {
        .h = h, .d = D, .tokens = N, .damping = .01f, .order = PQ_ORDER_GIVEN};
    pq_gptq_desc gd = {.w = w, .rows = M, .h = h, .scheme = scheme};
    solved s = solve(ctx, &fd, &gd);
    double gain = pq_factor_get_report(s.factor)->gain;
    double ratio = s.report.loss / s.report.rounding_loss;
    pq_weights ws = pq_rows_view(w, M, D, &scheme);
    double held_loss;
    double held_rounding;
    assert_int_equal(
        pq_rows_loss(ctx, &ws, s.scales, s.zeros, s.codes, held, &held_loss),
        PTQC_OK);
    assert_int_equal(pq_rows_encode(ctx, &ws, s.scales, s.zeros, s.codes),
                     PTQC_OK);
    assert_int_equal(pq_rows_loss(ctx, &ws, s.scales, s.zeros, s.codes, held,
                                  &held_rounding),
                     PTQC_OK);
    double held_ratio = held_loss / held_rounding;
    printf("w%u cov %d k^-%.1f: %.3f of rounding, predicted %.3f, held out "
           "%.3f\n",
           bits, (int)b->kind, b->exponent, ratio, gain, held_ratio);
    assert_true(ratio <= 1.10 * gain);             // B1
    assert_true(held_ratio <= 1.15 * 1.10 * gain); // B1
    assert_true(held_ratio <= b->calibrated);      // B2
    assert_true(gain > .5 || ratio <= .6);         // B3
    solved_free(ctx, &s);
    free(in.basis);
    free(x);
    free(y);
    free(h);
    free(held);
    free(w);
}

static void
layer_bars(void **state)
{
    (void)state;
    ptqc_ctx *ctx = pq_test_ctx_create(NULL, NULL, 2);
    for (size_t i = 0; i < BARS; i++) {
        check_bar(ctx, &bars[i], 4);
        check_bar(ctx, &bars[i], 3);
    }
    ptqc_ctx_destroy(ctx);
}

// B12: N = d / 2 tokens of uncorrelated inputs. The guard warns and raises the
// damping; without it the layer is much worse than rounding on other inputs.
static void
overfit_guard(void **state)
{
    (void)state;
    enum { D = 256, M = 128 };
    pq_test_sink sink = {0};
    ptqc_ctx *ctx = pq_test_ctx_create(&sink, NULL, 2);
    for (int few = 0; few < 2; few++) {
        double ratio[2];
        int64_t n = few == 0 ? D / 2 : 2 * D;
        layer_inputs in = make_inputs(COV_IID, 0, D);
        float *x = draw_inputs(ctx, &in, 11, n);
        float *y = draw_inputs(ctx, &in, 12, 4096);
        float *h = gram_of(ctx, x, n, D);
        float *held = gram_of(ctx, y, 4096, D);
        float *w = normal_floats(13, M * D);
        pq_weights ws = pq_rows_view(w, M, D, &w4_g128);
        for (int guarded = 0; guarded < 2; guarded++) {
            pq_test_sink_clear(&sink);
            pq_factor_desc fd = {.h = h,
                                 .d = D,
                                 .tokens = guarded ? (double)n : 0,
                                 .damping = .01f};
            pq_gptq_desc gd = {.w = w, .rows = M, .h = h, .scheme = w4_g128};
            solved s = solve(ctx, &fd, &gd);
            double loss;
            double rounding;
            assert_int_equal(
                pq_rows_loss(ctx, &ws, s.scales, s.zeros, s.codes, held, &loss),
                PTQC_OK);
            assert_int_equal(
                pq_rows_encode(ctx, &ws, s.scales, s.zeros, s.codes), PTQC_OK);
            assert_int_equal(pq_rows_loss(ctx, &ws, s.scales, s.zeros, s.codes,
                                          held, &rounding),
                             PTQC_OK);
            ratio[guarded] = loss / rounding;
            assert_int_equal(sink.warning_count, guarded);
            const pq_factor_report *report = pq_factor_get_report(s.factor);
            assert_true(report->tokens_needed == (guarded ? 8 * D : 0));
            assert_true(!guarded || strstr(sink.text, "2048") != NULL);
            solved_free(ctx, &s);
        }
        printf("%lld tokens: held out %.2f of rounding, guarded %.2f\n",
               (long long)n, ratio[0], ratio[1]);
        assert_true(few != 0 || ratio[0] > 2);
        assert_true(ratio[1] < 1.1);
        free(x);
        free(y);
        free(h);
        free(held);
        free(w);
    }
    ptqc_ctx_destroy(ctx);
}

// ---- the asymmetric target ------------------------------------------------

// relu(x w')
static float *
layer_outputs(ptqc_ctx *ctx, const float *x, int64_t n, int64_t d,
              const float *w, int64_t m, bool is_rectified)
{
    float *y = new_floats(n * m);
    pq_gemm g = {.m = n,
                 .n = m,
                 .k = d,
                 .a = {x, d, 1},
                 .b = {w, 1, d},
                 .c = y,
                 .c_ld = m};
    assert_int_equal(pq_gemm_run(ctx, &g), PTQC_OK);
    for (int64_t i = 0; is_rectified && i < n * m; i++) {
        y[i] = fmaxf(y[i], 0);
    }
    return y;
}

// The numbers of a solved weight.
static float *
decoded(const solved *s, const float *w, int64_t rows, int64_t d,
        const pq_scheme *scheme)
{
    float *out = new_floats(rows * d);
    pq_weights ws = pq_rows_view(w, rows, d, scheme);
    pq_decode_weights(&ws, s->scales, s->zeros, s->codes, out);
    return out;
}

static double
squared_distance(const float *a, const float *b, int64_t n)
{
    double sum = 0;
    for (int64_t i = 0; i < n; i++) {
        sum += ((double)a[i] - (double)b[i]) * ((double)a[i] - (double)b[i]);
    }
    return sum;
}

enum { CHAIN_D = 256, CHAIN_N = 4096, CHAIN_M = 128 };

// Output error of the second layer on the first one's quantized outputs.
static double
second_layer_error(ptqc_ctx *ctx, const float *x, const float *x_q,
                   const float *w, const float *cross, const pq_scheme *scheme)
{
    float *h = gram_of(ctx, x_q, CHAIN_N, CHAIN_D);
    pq_factor_desc fd = {
        .h = h, .d = CHAIN_D, .damping = .01f, .order = PQ_ORDER_GIVEN};
    pq_gptq_desc gd = {
        .w = w, .rows = CHAIN_M, .h = h, .cross = cross, .scheme = *scheme};
    solved s = solve(ctx, &fd, &gd);
    float *w_q = decoded(&s, w, CHAIN_M, CHAIN_D, scheme);
    float *y = layer_outputs(ctx, x, CHAIN_N, CHAIN_D, w, CHAIN_M, false);
    float *y_q = layer_outputs(ctx, x_q, CHAIN_N, CHAIN_D, w_q, CHAIN_M, false);
    double error = squared_distance(y, y_q, CHAIN_N * CHAIN_M);
    solved_free(ctx, &s);
    free(h);
    free(w_q);
    free(y);
    free(y_q);
    return error;
}

// B5
static void
asymmetric_target(void **state)
{
    (void)state;
    ptqc_ctx *ctx = pq_test_ctx_create(NULL, NULL, 2);
    for (uint32_t bits = 3; bits <= 4; bits++) {
        pq_scheme scheme = w4_g128;
        scheme.bits = bits;
        layer_inputs in = make_inputs(COV_SPECTRUM, 1, CHAIN_D);
        float *x0 = draw_inputs(ctx, &in, 21, CHAIN_N);
        float *h0 = gram_of(ctx, x0, CHAIN_N, CHAIN_D);
        float *w1 = normal_floats(22, CHAIN_D * CHAIN_D);
        float *w2 = normal_floats(23, CHAIN_M * CHAIN_D);
        pq_factor_desc fd = {.h = h0, .d = CHAIN_D};
        pq_gptq_desc gd = {.w = w1, .rows = CHAIN_D, .h = h0, .scheme = scheme};
        solved s = solve(ctx, &fd, &gd);
        float *w1_q = decoded(&s, w1, CHAIN_D, CHAIN_D, &scheme);
        float *x = layer_outputs(ctx, x0, CHAIN_N, CHAIN_D, w1, CHAIN_D, true);
        float *x_q =
            layer_outputs(ctx, x0, CHAIN_N, CHAIN_D, w1_q, CHAIN_D, true);
        float *cross = new_floats(CHAIN_D * CHAIN_D);
        assert_int_equal(
            pq_gram_cross_add(ctx, x, x_q, CHAIN_N, CHAIN_D, NULL, cross),
            PTQC_OK);
        double plain = second_layer_error(ctx, x, x_q, w2, NULL, &scheme);
        double asymmetric = second_layer_error(ctx, x, x_q, w2, cross, &scheme);
        printf("w%u: asymmetric target %.3f of GPTQ\n", bits,
               asymmetric / plain);
        assert_true(asymmetric <= .92 * plain);
        solved_free(ctx, &s);
        free(in.basis);
        free(x0);
        free(h0);
        free(w1);
        free(w2);
        free(w1_q);
        free(x);
        free(x_q);
        free(cross);
    }
    ptqc_ctx_destroy(ctx);
}

// ---- schemes, shapes, threads ---------------------------------------------

typedef struct variety {
    ptqc_dtype format;
    uint32_t bits;
    pq_granularity granularity;
    uint32_t group;
    bool symmetric;
    pq_scale_search search;
} variety;

static const variety varieties[] = {
    {PTQC_U4, 0, PQ_GRAN_GROUP, 64, false, PQ_SCALE_MSE},
    {PTQC_I4, 0, PQ_GRAN_GROUP, 100, true, PQ_SCALE_MINMAX},
    {PTQC_U4, 3, PQ_GRAN_GROUP, 32, true, PQ_SCALE_MSE},
    {PTQC_I4, 2, PQ_GRAN_GROUP, 7, true, PQ_SCALE_MINMAX},
    {PTQC_U4, 2, PQ_GRAN_CHANNEL, 0, false, PQ_SCALE_MSE},
    {PTQC_I8, 0, PQ_GRAN_CHANNEL, 0, true, PQ_SCALE_MINMAX},
    {PTQC_U8, 6, PQ_GRAN_TENSOR, 0, false, PQ_SCALE_MINMAX},
    {PTQC_I8, 5, PQ_GRAN_GROUP, 5000, true, PQ_SCALE_MINMAX},
    {PTQC_NF4, 0, PQ_GRAN_GROUP, 64, true, PQ_SCALE_MINMAX},
    {PTQC_F4E2M1, 0, PQ_GRAN_GROUP, 32, true, PQ_SCALE_MSE},
    {PTQC_F8E4M3, 0, PQ_GRAN_CHANNEL, 0, true, PQ_SCALE_MINMAX},
};
#define VARIETIES (sizeof varieties / sizeof *varieties)

// What must be true of any result: codes in range, an identity that holds, a
// loss that is not above that of rounding, and bytes that do not depend on
// threads.
static void
check_variety(const variety *v, pq_column_order order)
{
    enum { D = 333, M = 75, N = 2000 };
    pq_scheme scheme = {.format = v->format,
                        .bits = v->bits,
                        .granularity = v->granularity,
                        .axis = v->granularity == PQ_GRAN_GROUP,
                        .group = v->group,
                        .symmetric = v->symmetric};
    const pq_format *f = pq_format_find(v->format, v->bits);
    solved all[2];
    float *w = normal_floats(31, M * D);
    for (int k = 0; k < 2; k++) {
        ptqc_ctx *ctx = pq_test_ctx_create(NULL, NULL, k == 0 ? 1 : 3);
        layer_inputs in = make_inputs(COV_AR, 0, D);
        float *x = draw_inputs(ctx, &in, 32, N);
        float *h = gram_of(ctx, x, N, D);
        pq_factor_desc fd = {.h = h, .d = D, .order = order, .group = v->group};
        pq_gptq_desc gd = {.w = w,
                           .rows = M,
                           .h = h,
                           .scheme = scheme,
                           .search = v->search,
                           .polish_sweeps = 1};
        all[k] = solve(ctx, &fd, &gd);
        pq_gptq_report *r = &all[k].report;
        assert_true(r->identity_error < 1e-3);
        assert_true(r->loss <= r->gptq_loss && r->loss < r->rounding_loss);
        for (int i = 0; i < M * D && !pq_dtype_is_float(v->format); i++) {
            int32_t code =
                f->min < 0 ? (int8_t)all[k].codes[i] : (int32_t)all[k].codes[i];
            assert_in_range(code - f->min, 0, (uintmax_t)(f->max - f->min));
        }
        pq_factor_destroy(ctx, all[k].factor);
        free(x);
        free(h);
        ptqc_ctx_destroy(ctx);
    }
    assert_true(pq_test_same_u8("codes", all[1].codes, all[0].codes, M * D, 0));
    assert_memory_equal(&all[1].report, &all[0].report, sizeof all[0].report);
    for (int k = 0; k < 2; k++) {
        free(all[k].scales);
        free(all[k].zeros);
        free(all[k].codes);
    }
    free(w);
}

static void
all_varieties(void **state)
{
    (void)state;
    for (size_t i = 0; i < VARIETIES; i++) {
        check_variety(&varieties[i], PQ_ORDER_GROUP);
        check_variety(&varieties[i], PQ_ORDER_DIAGONAL);
    }
}

// A8: a group of one sign keeps 0 among its codes and all of its range.
static void
groups_of_one_sign(void **state)
{
    (void)state;
    enum { D = 64 };
    float w[D];
    float scales[2];
    int32_t zeros[2];
    for (int sign = -1; sign <= 1; sign += 2) {
        for (int symmetric = 0; symmetric < 2; symmetric++) {
            for (int i = 0; i < D; i++) {
                w[i] = (float)(sign * (i % 32 + 40)) * .01f;
            }
            pq_scheme scheme = w4_g128;
            scheme.group = 32;
            scheme.symmetric = symmetric;
            pq_weights ws = pq_rows_view(w, 1, D, &scheme);
            uint8_t codes[D];
            float back[D];
            pq_choose_weight_params(&ws, scales, zeros);
            pq_encode_weights(&ws, scales, zeros, codes);
            pq_decode_weights(&ws, scales, zeros, codes, back);
            for (int i = 0; i < D; i++) {
                float step = fabsf(scales[i / 32]);
                assert_in_range(zeros[i / 32], 0, 15); // the code of 0
                assert_true(fabsf(back[i] - w[i]) <= .5001f * step);
                assert_true(step <= .711f / 7);
            }
        }
    }
}

// ---- what goes wrong ------------------------------------------------------

static void
dead_and_bad_inputs(void **state)
{
    (void)state;
    enum { D = 96, M = 40, N = 1000 };
    pq_test_sink sink = {0};
    ptqc_ctx *ctx = pq_test_ctx_create(&sink, NULL, 2);
    layer_inputs in = make_inputs(COV_AR, 0, D);
    float *x = draw_inputs(ctx, &in, 41, N);
    float *w = normal_floats(42, M * D);
    for (int i = 0; i < N; i++) { // 3 dead, 5 and 6 twins
        x[i * D + 3] = 0;
        x[i * D + 6] = x[i * D + 5];
    }
    w[7] = NAN;
    w[8] = -INFINITY;
    float *h = gram_of(ctx, x, N, D);
    for (int zeroes = 0; zeroes < 2; zeroes++) {
        pq_test_sink_clear(&sink);
        pq_factor_desc fd = {.name = "ffn", .h = h, .d = D};
        pq_gptq_desc gd = {.name = "up",
                           .w = w,
                           .rows = M,
                           .h = h,
                           .scheme = w4_g128,
                           .zeroes_dead = zeroes};
        solved s = solve(ctx, &fd, &gd);
        assert_int_equal(pq_factor_get_report(s.factor)->dead_count, 1);
        assert_int_equal(s.report.bad_count, 2);
        assert_non_null(strstr(sink.text, "up: 2 of its numbers"));
        w[7] = w[8] = 0;
        float *got = decoded(&s, w, M, D, &w4_g128);
        assert_true(fabsf(got[7]) < 5 && fabsf(got[8]) < 5);
        for (int r = 0; r < M; r++) {
            float want = zeroes ? 0 : w[r * D + 3];
            assert_true(fabsf(got[r * D + 3] - want) <=
                        .51f * s.scales[r] + 1e-6f);
        }
        w[7] = NAN;
        w[8] = -INFINITY;
        free(got);
        solved_free(ctx, &s);
    }
    free(x);
    free(h);
    free(w);
    ptqc_ctx_destroy(ctx);
}

// A matrix without a factor: the ladder's steps, and its end.
static void
damping_ladder(void **state)
{
    (void)state;
    enum { D = 80, M = 9 };
    pq_test_sink sink = {0};
    ptqc_ctx *ctx = pq_test_ctx_create(&sink, NULL, 2);
    float *w = normal_floats(52, M * D);
    const float beside[] = {.5f, 1.3f, 9.0f, NAN, INFINITY};
    for (int k = 0; k < 5; k++) {
        float *h = new_floats(D * D);
        for (int i = 0; i < D * D; i++) {
            h[i] = i / D == i % D ? 1 : 0;
        }
        h[20 * D + 10] = beside[k]; // above 1: not positive
        pq_test_sink_clear(&sink);
        pq_factor_desc fd = {.name = "q", .h = h, .d = D};
        pq_gptq_desc gd = {.w = w, .rows = M, .h = h, .scheme = w4_g128};
        solved s = solve(ctx, &fd, &gd);
        const pq_factor_report *r = pq_factor_get_report(s.factor);
        assert_int_equal(r->is_plain, k >= 2);
        assert_true(k != 0 || r->ladder_steps == 0);
        assert_true(k != 1 || (r->ladder_steps == 2 && r->damping > .7f));
        assert_int_equal(sink.warning_count, k > 0);
        pq_weights ws = pq_rows_view(w, M, D, &w4_g128);
        uint8_t want[M * D];
        assert_int_equal(pq_rows_encode(ctx, &ws, s.scales, s.zeros, want),
                         PTQC_OK);
        assert_int_equal(memcmp(want, s.codes, sizeof want) == 0, r->is_plain);
        solved_free(ctx, &s);
        free(h);
    }
    free(w);
    ptqc_ctx_destroy(ctx);
}

static ptqc_status
solve_in(ptqc_ctx *ctx, void *user)
{
    enum { D = 40, M = 10 };
    const float *h = user;
    float scales[M];
    int32_t zeros[M];
    uint8_t codes[M * D];
    pq_factor *factor = NULL;
    pq_gptq_report report;
    pq_factor_desc fd = {.h = h, .d = D};
    pq_gptq_desc gd = {.w = h,
                       .rows = M,
                       .h = h,
                       .cross = h,
                       .scheme = w4_g128,
                       .polish_sweeps = 1};
    PQ_TRY(pq_factor_create(ctx, &fd, &factor));
    ptqc_status st =
        pq_gptq_solve(ctx, factor, &gd, scales, zeros, codes, &report);
    pq_factor_destroy(ctx, factor);
    return st;
}

static void
memory_runs_out(void **state)
{
    (void)state;
    ptqc_ctx *ctx = pq_test_ctx_create(NULL, NULL, 1);
    layer_inputs in = make_inputs(COV_AR, 0, 40);
    float *x = draw_inputs(ctx, &in, 61, 200);
    float *h = gram_of(ctx, x, 200, 40);
    assert_true(pq_test_alloc_sweep(solve_in, h) > 20);
    free(x);
    free(h);
    ptqc_ctx_destroy(ctx);
}

static void
refused_schemes(void **state)
{
    (void)state;
    pq_test_sink sink = {0};
    ptqc_ctx *ctx = pq_test_ctx_create(&sink, NULL, 1);
    float h[4] = {1, 0, 0, 1};
    float scales[2];
    int32_t zeros[2];
    uint8_t codes[4];
    pq_factor *factor;
    pq_factor_desc fd = {.h = h, .d = 2};
    assert_int_equal(pq_factor_create(ctx, &fd, &factor), PTQC_OK);
    pq_gptq_desc gd = {
        .name = "head",
        .w = h,
        .rows = 2,
        .h = h,
        .scheme = {.format = PTQC_I16, .granularity = PQ_GRAN_CHANNEL}};
    assert_int_equal(
        pq_gptq_solve(ctx, factor, &gd, scales, zeros, codes, NULL),
        PTQC_E_UNSUPPORTED);
    assert_non_null(strstr(sink.text, "head: "));
    pq_factor_destroy(ctx, factor);
    ptqc_ctx_destroy(ctx);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(equals_the_reference),
        cmocka_unit_test(identity_gives_rounding),
        cmocka_unit_test(layer_bars),
        cmocka_unit_test(overfit_guard),
        cmocka_unit_test(asymmetric_target),
        cmocka_unit_test(all_varieties),
        cmocka_unit_test(groups_of_one_sign),
        cmocka_unit_test(dead_and_bad_inputs),
        cmocka_unit_test(damping_ladder),
        cmocka_unit_test(memory_runs_out),
        cmocka_unit_test(refused_schemes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
