// SPDX-License-Identifier: Apache-2.0
//
// matmul in every arithmetic: order of the float sum, integer modes of the
// epilogue, weight-only codes, broadcasting, f64 and plain integers.
#include "base/float16.h"
#include "base/mathfn.h"
#include "tests/unit/ir/interp/op_case.h"

#define M 3
#define K 37 // odd, beyond one pass of the inner loop
#define N 45 // more than one panel, with a tail

static void
fill_codes(pq_test_random *r, int8_t *x, int64_t n)
{
    pq_test_fill_bytes(r, x, (size_t)n);
    x[0] = -128; // extremes are always there
    x[n - 1] = 127;
}

static void
float_order(void **state)
{
    (void)state;
    pq_test_random r = pq_test_random_seed(1);
    float a[M * K], b[K * N], bias[N], residual[M * N], want[M * N];
    pq_test_fill_normal(&r, a, M * K, 1);
    pq_test_fill_normal(&r, b, K * N, 1);
    pq_test_fill_normal(&r, bias, N, 1);
    pq_test_fill_normal(&r, residual, M * N, 1);
    for (int i = 0; i < M * N; i++) {
        float acc = 0;
        for (int k = 0; k < K; k++) {
            acc = fmaf(a[i / N * K + k], b[k * N + i % N], acc);
        }
        acc = acc + bias[i % N];
        acc = acc + residual[i];
        want[i] = acc < 0 ? 0 : acc;
    }
    op_case c;
    op_case_begin(&c, PQ_OP_MATMUL);
    op_case_in(&c, PTQC_F32, DIMS(M, K), a);
    op_case_in(&c, PTQC_F32, DIMS(K, N), b);
    op_case_in(&c, PTQC_F32, DIMS(N), bias);
    op_case_in(&c, PTQC_F32, DIMS(M, N), residual);
    pq_build_i64(&c.b, PQ_ATTR_ACT, PQ_OP_RELU);
    op_case_run(&c);
    op_case_expect_f32(&c, 0, want, M * N, op_case_exact);
    op_case_end(&c);
}

static void
transposed(void **state)
{
    (void)state;
    const float at[6] = {1, 4, 2, 5, 3, 6};     // [3][2] = transpose of 2x3
    const float bt[6] = {1, 0, -1, 10, 20, 30}; // [2][3] = transpose of 3x2
    op_case c;
    op_case_begin(&c, PQ_OP_MATMUL);
    op_case_in(&c, PTQC_F32, DIMS(3, 2), at);
    op_case_in(&c, PTQC_F32, DIMS(2, 3), bt);
    pq_build_i64(&c.b, PQ_ATTR_TRANS_A, 1);
    pq_build_i64(&c.b, PQ_ATTR_TRANS_B, 1);
    op_case_run(&c);
    EXPECT_F32(&c, -2, 140, -2, 320);
    op_case_end(&c);
}

static void
broadcast_and_vectors(void **state)
{
    (void)state;
    op_case c;
    // [2,1,1,2] x [3,2,1] -> [2,3,1,1]
    op_case_begin(&c, PQ_OP_MATMUL);
    op_case_in(&c, PTQC_F32, DIMS(2, 1, 1, 2), (float[]){1, 2, 3, 4});
    op_case_in(&c, PTQC_F32, DIMS(3, 2, 1), (float[]){1, 0, 0, 1, 10, 100});
    op_case_run(&c);
    EXPECT_F32(&c, 1, 2, 210, 3, 4, 430);
    op_case_end(&c);

    op_case_begin(&c, PQ_OP_MATMUL); // vector x matrix
    op_case_in(&c, PTQC_F32, DIMS(2), (float[]){1, 2});
    op_case_in(&c, PTQC_F32, DIMS(2, 3), (float[]){1, 2, 3, 4, 5, 6});
    op_case_run(&c);
    assert_int_equal(c.out[0].rank, 1);
    EXPECT_F32(&c, 9, 12, 15);
    op_case_end(&c);

    op_case_begin(&c, PQ_OP_MATMUL); // stack of matrices x vector
    op_case_in(&c, PTQC_F32, DIMS(2, 1, 2), (float[]){1, 2, 3, 4});
    op_case_in(&c, PTQC_F32, DIMS(2), (float[]){5, 6});
    op_case_run(&c);
    EXPECT_F32(&c, 17, 39);
    op_case_end(&c);

    op_case_begin(&c, PQ_OP_MATMUL); // dot product
    op_case_in(&c, PTQC_F32, DIMS(3), (float[]){1, 2, 3});
    op_case_in(&c, PTQC_F32, DIMS(3), (float[]){4, 5, 6});
    op_case_run(&c);
    EXPECT_F32(&c, 32);
    op_case_end(&c);
}

static void
empty_dimensions(void **state)
{
    (void)state;
    op_case c;
    op_case_begin(&c, PQ_OP_MATMUL); // k = 0 gives zeros
    op_case_in(&c, PTQC_F32, DIMS(2, 0), "");
    op_case_in(&c, PTQC_F32, DIMS(0, 3), "");
    op_case_run(&c);
    EXPECT_F32(&c, 0, 0, 0, 0, 0, 0);
    op_case_end(&c);
    op_case_begin(&c, PQ_OP_MATMUL); // m = 0
    op_case_in(&c, PTQC_F32, DIMS(0, 2), "");
    op_case_in(&c, PTQC_F32, DIMS(2, 1), (float[]){1, 2});
    op_case_run(&c);
    assert_int_equal(c.out[0].bytes, 0);
    op_case_end(&c);
}

// ---- integer --------------------------------------------------------------

typedef struct integer_case {
    uint8_t a[M * K];
    int8_t b[K * N];
    int32_t acc[M * N]; // with bias
    int32_t bias[N];
    float scale_b[N];
    int32_t zero_b[N];
} integer_case;

#define ZERO_A  131
#define SCALE_A 0.0173f

static void
fill_integer(integer_case *t, uint64_t seed)
{
    pq_test_random r = pq_test_random_seed(seed);
    pq_test_fill_bytes(&r, t->a, sizeof t->a);
    t->a[0] = 0;
    t->a[1] = 255;
    fill_codes(&r, t->b, K * N);
    for (int j = 0; j < N; j++) {
        t->scale_b[j] = pq_test_random_f32(&r, 0.001f, 0.02f);
        t->zero_b[j] = 0;
        t->bias[j] = (int32_t)pq_test_random_int(&r, -5000, 5000);
    }
    for (int i = 0; i < M * N; i++) {
        int64_t acc = t->bias[i % N];
        for (int k = 0; k < K; k++) {
            acc += (t->a[i / N * K + k] - ZERO_A) * t->b[k * N + i % N];
        }
        t->acc[i] = (int32_t)acc;
    }
}

static void
begin_integer(op_case *c, const integer_case *t)
{
    op_case_begin(c, PQ_OP_MATMUL);
    op_case_codes(c, PTQC_U8, DIMS(M, K), t->a,
                  op_case_scale(c, PTQC_U8, SCALE_A, ZERO_A));
    op_case_codes(c, PTQC_I8, DIMS(K, N), t->b,
                  op_case_scales(c, PTQC_I8, t->scale_b, t->zero_b, N, 1, 0));
    op_case_in(c, PTQC_I32, DIMS(N), t->bias);
}

// Requantization as docs/numerics.md section 5 writes it, in plain floats.
static uint8_t
requantize_u8(float t, int lo, int hi, int zero)
{
    t = t > (float)(lo - zero) ? t : (float)(lo - zero);
    t = t < (float)(hi - zero) ? t : (float)(hi - zero);
    return (uint8_t)((int)rintf(t) + zero);
}

static void
plain_mode(void **state)
{
    (void)state;
    static integer_case t;
    uint8_t want[M * N], relu[M * N], clip[M * N];
    const float sy = 0.05f;
    fill_integer(&t, 3);
    for (int i = 0; i < M * N; i++) {
        float m = SCALE_A * t.scale_b[i % N];
        m = m / sy;
        float v = (float)t.acc[i] * m;
        want[i] = requantize_u8(v, 0, 255, 100);
        relu[i] = requantize_u8(v, 100, 255, 100);
        // clip(-1, 2.03): codes 80 and rne(40.6) + 100
        clip[i] = requantize_u8(v, 80, 141, 100);
    }
    const struct {
        int64_t act;
        const uint8_t *want;
    } runs[] = {{PQ_OP_NONE, want}, {PQ_OP_RELU, relu}, {PQ_OP_CLIP, clip}};
    for (size_t i = 0; i < 3; i++) {
        op_case c;
        begin_integer(&c, &t);
        if (runs[i].act != PQ_OP_NONE) {
            pq_build_i64(&c.b, PQ_ATTR_ACT, runs[i].act);
            pq_build_f32(&c.b, PQ_ATTR_ACT_ALPHA, -1.0f);
            pq_build_f32(&c.b, PQ_ATTR_ACT_BETA, 2.03f);
        }
        op_case_out_quant(&c, 0, PTQC_U8, op_case_scale(&c, PTQC_U8, sy, 100));
        op_case_run(&c);
        op_case_expect_bytes(&c, 0, runs[i].want, M * N);
        op_case_end(&c);
    }
}

static void
plain_mode_residual(void **state)
{
    (void)state;
    static integer_case t;
    int8_t residual[M * N];
    uint8_t want[M * N];
    const float sy = 0.05f, sr = 0.021f;
    pq_test_random r = pq_test_random_seed(8);
    fill_integer(&t, 4);
    fill_codes(&r, residual, M * N);
    for (int i = 0; i < M * N; i++) {
        float m = SCALE_A * t.scale_b[i % N];
        m = m / sy;
        float v = (float)t.acc[i] * m;
        v = fmaf((float)(residual[i] + 7), sr / sy, v);
        want[i] = requantize_u8(v, 100, 255, 100);
    }
    op_case c;
    begin_integer(&c, &t);
    op_case_codes(&c, PTQC_I8, DIMS(M, N), residual,
                  op_case_scale(&c, PTQC_I8, sr, -7));
    pq_build_i64(&c.b, PQ_ATTR_ACT, PQ_OP_RELU);
    op_case_out_quant(&c, 0, PTQC_U8, op_case_scale(&c, PTQC_U8, sy, 100));
    op_case_run(&c);
    op_case_expect_bytes(&c, 0, want, M * N);
    op_case_end(&c);
}

static void
real_mode(void **state)
{
    (void)state;
    static integer_case t;
    float want[M * N];
    uint8_t codes[M * N];
    fill_integer(&t, 5);
    for (int i = 0; i < M * N; i++) {
        float s = SCALE_A * t.scale_b[i % N];
        want[i] = pq_tanhf((float)t.acc[i] * s);
        float inverse = 1.0f / 0.01f;
        codes[i] = requantize_u8(want[i] * inverse, 0, 255, 120);
    }
    op_case c;
    begin_integer(&c, &t);
    pq_build_i64(&c.b, PQ_ATTR_ACT, PQ_OP_TANH);
    op_case_run(&c);
    op_case_expect_f32(&c, 0, want, M * N, op_case_exact);
    op_case_end(&c);

    begin_integer(&c, &t);
    pq_build_i64(&c.b, PQ_ATTR_ACT, PQ_OP_TANH);
    op_case_out_quant(&c, 0, PTQC_U8, op_case_scale(&c, PTQC_U8, 0.01f, 120));
    op_case_run(&c);
    op_case_expect_bytes(&c, 0, codes, M * N);
    op_case_end(&c);
}

static void
raw_mode(void **state)
{
    (void)state;
    op_case c;
    op_case_begin(&c, PQ_OP_MATMUL); // no scales anywhere: plain sums
    op_case_in(&c, PTQC_I8, DIMS(1, 3), (int8_t[]){-128, 127, 1});
    op_case_in(&c, PTQC_U8, DIMS(3, 2), (uint8_t[]){255, 0, 0, 255, 1, 2});
    op_case_run(&c);
    EXPECT(&c, int32_t, -128 * 255 + 1, 127 * 255 + 2);
    op_case_end(&c);
}

// Per-token dynamic activations: scales are an operand, bias f32.
static void
dynamic_mode(void **state)
{
    (void)state;
    static integer_case t;
    int8_t a[M * K];
    float scale[M] = {0.01f, 0, 0.25f}, bias[N], want[M * N];
    pq_test_random r = pq_test_random_seed(6);
    fill_integer(&t, 7);
    fill_codes(&r, a, M * K);
    pq_test_fill_normal(&r, bias, N, 1);
    for (int i = 0; i < M * N; i++) {
        int32_t acc = 0;
        for (int k = 0; k < K; k++) {
            acc += a[i / N * K + k] * t.b[k * N + i % N];
        }
        float v = (float)acc * t.scale_b[i % N];
        v = v * scale[i / N];
        want[i] = v + bias[i % N];
    }
    op_case c;
    op_case_begin(&c, PQ_OP_MATMUL);
    pq_quant token = {.scheme = {.format = PTQC_I8,
                                 .granularity = PQ_GRAN_TOKEN,
                                 .axis = 1,
                                 .symmetric = true,
                                 .dynamic = true}};
    op_case_codes(&c, PTQC_I8, DIMS(M, K), a, pq_graph_add_quant(c.g, &token));
    op_case_codes(&c, PTQC_I8, DIMS(K, N), t.b,
                  op_case_scales(&c, PTQC_I8, t.scale_b, t.zero_b, N, 1, 0));
    op_case_in(&c, PTQC_F32, DIMS(N), bias);
    op_case_absent(&c);
    op_case_in(&c, PTQC_F32, DIMS(M, 1), scale);
    op_case_run(&c);
    op_case_expect_f32(&c, 0, want, M * N, op_case_exact);
    op_case_end(&c);
}

// i4 weights [n][k], two groups of k, rows of an odd number of codes.
static void
weight_only_groups(void **state)
{
    (void)state;
    enum { OUT = 2, IN = 5 };
    // row 0: 1 -2 7 -8 3; row 1: 0 5 -1 2 -3
    const uint8_t packed[6] = {0xe1, 0x87, 0x03, 0x50, 0x2f, 0x0d};
    const int8_t w[OUT * IN] = {1, -2, 7, -8, 3, 0, 5, -1, 2, -3};
    const float scale[OUT * 2] = {0.5f, 0.3f, 0.25f, 0.7f};
    const int32_t zero[OUT * 2] = {0, 1, -2, 0};
    const float x[IN] = {1.5f, -0.25f, 2, 0.125f, 3};
    float want[OUT];
    float x_scale = 3.0f / 16256;
    for (int j = 0; j < OUT; j++) {
        float acc = 0;
        for (int g = 0; g < 2; g++) {
            int32_t sum = 0;
            for (int k = 3 * g; k < IN && k < 3 * g + 3; k++) {
                sum += (int32_t)rintf(x[k] * (1.0f / x_scale)) *
                       (w[j * IN + k] - zero[j * 2 + g]);
            }
            acc = fmaf((float)sum, scale[j * 2 + g], acc);
        }
        want[j] = acc * x_scale;
    }
    op_case c;
    op_case_begin(&c, PQ_OP_MATMUL);
    op_case_in(&c, PTQC_F32, DIMS(1, IN), x);
    op_case_codes(&c, PTQC_I4, DIMS(OUT, IN), packed,
                  op_case_scales(&c, PTQC_I4, scale, zero, OUT * 2, 1, 3));
    pq_build_i64(&c.b, PQ_ATTR_TRANS_B, 1);
    op_case_run(&c);
    op_case_expect_f32(&c, 0, want, OUT, op_case_exact);
    op_case_end(&c);
}

// Codes per token times u4 weights [n][k] in two groups of k, the last one
// shorter; a row without scale, extreme codes, bias and residual.
static void
dynamic_groups(void **state)
{
    (void)state;
    enum { ROWS = 3, OUT = 2, IN = 5, GROUP = 3, GROUPS = 2 };
    // row 0: 0 15 7 8 3; row 1: 15 15 1 0 9
    const uint8_t packed[6] = {0xf0, 0x87, 0x03, 0xff, 0x01, 0x09};
    const uint8_t w[OUT * IN] = {0, 15, 7, 8, 3, 15, 15, 1, 0, 9};
    const float scale[OUT * GROUPS] = {0.5f, 0.3f, -0.25f, 0.7f};
    const int32_t zero[OUT * GROUPS] = {8, 0, 15, 3};
    const int8_t x[ROWS * IN] = {127, -127, 5, 0,    1,   0,  0, 0,
                                 0,   0,    3, -128, -99, 77, 64};
    const float x_scale[ROWS] = {0.013f, 0, 1e-3f};
    const float bias[OUT] = {0.1f, -7};
    const float residual[ROWS * OUT] = {1, 2, 3, -4, 0.3f, 6};
    float want[ROWS * OUT];
    for (int i = 0; i < ROWS * OUT; i++) {
        int m = i / OUT, n = i % OUT;
        float acc = 0;
        for (int g = 0; g < GROUPS; g++) {
            int32_t sum = 0;
            for (int k = GROUP * g; k < IN && k < GROUP * (g + 1); k++) {
                sum += x[m * IN + k] * (w[n * IN + k] - zero[n * GROUPS + g]);
            }
            acc = fmaf((float)sum, scale[n * GROUPS + g], acc);
        }
        float v = acc * x_scale[m];
        v = v + bias[n];
        want[i] = v + residual[i];
    }
    op_case c;
    op_case_begin(&c, PQ_OP_MATMUL);
    pq_quant token = {.scheme = {.format = PTQC_I8,
                                 .granularity = PQ_GRAN_TOKEN,
                                 .symmetric = true,
                                 .dynamic = true}};
    op_case_codes(&c, PTQC_I8, DIMS(ROWS, IN), x,
                  pq_graph_add_quant(c.g, &token));
    op_case_codes(
        &c, PTQC_U4, DIMS(OUT, IN), packed,
        op_case_scales(&c, PTQC_U4, scale, zero, OUT * GROUPS, 1, GROUP));
    op_case_in(&c, PTQC_F32, DIMS(OUT), bias);
    op_case_in(&c, PTQC_F32, DIMS(ROWS, OUT), residual);
    op_case_in(&c, PTQC_F32, DIMS(ROWS, 1), x_scale);
    pq_build_i64(&c.b, PQ_ATTR_TRANS_B, 1);
    op_case_run(&c);
    op_case_expect_f32(&c, 0, want, ROWS * OUT, op_case_exact);
    op_case_end(&c);
}

// Floats of 8 bits: the number times its scale, then the float product.
static void
weight_only_float8(void **state)
{
    (void)state;
    enum { OUT = 2, IN = 5, GROUP = 3, GROUPS = 2 };
    static const ptqc_dtype dtypes[2] = {PTQC_F8E4M3, PTQC_F8E5M2};
    // subnormal and large numbers, both zeros, negative ones
    const uint8_t codes[OUT * IN] = {0x01, 0x7b, 0x00, 0xb8, 0x39,
                                     0x80, 0x83, 0x77, 0xf4, 0x08};
    const float scale[OUT * GROUPS] = {0.3f, 1e-3f, -0.7f, 3};
    const float x[IN] = {1.5f, -0.25f, 2, 0.125f, 3};
    for (size_t f = 0; f < 2; f++) {
        float want[OUT];
        for (int j = 0; j < OUT; j++) {
            want[j] = 0;
            for (int k = 0; k < IN; k++) {
                uint8_t code = codes[j * IN + k];
                float w = f == 0 ? pq_e4m3_to_f32(code) : pq_e5m2_to_f32(code);
                w = w * scale[j * GROUPS + k / GROUP];
                want[j] = fmaf(x[k], w, want[j]);
            }
        }
        op_case c;
        op_case_begin(&c, PQ_OP_MATMUL);
        op_case_in(&c, PTQC_F32, DIMS(1, IN), x);
        op_case_codes(&c, dtypes[f], DIMS(OUT, IN), codes,
                      op_case_scales(&c, dtypes[f], scale, (int32_t[4]){0},
                                     OUT * GROUPS, 1, GROUP));
        pq_build_i64(&c.b, PQ_ATTR_TRANS_B, 1);
        op_case_run(&c);
        op_case_expect_f32(&c, 0, want, OUT, op_case_exact);
        op_case_end(&c);
    }
}

static void
weight_only_channels_half(void **state)
{
    (void)state;
    uint16_t x[2], want[2];
    const int8_t w[4] = {-128, 3, 100, 127}; // [2][2]
    const float scale[2] = {0.01f, 0.3f};
    x[0] = pq_f32_to_f16(0.7f);
    x[1] = pq_f32_to_f16(-1.3f);
    for (int j = 0; j < 2; j++) {
        float acc = fmaf(pq_f16_to_f32(x[0]), (float)w[j] * scale[j], 0.0f);
        acc = fmaf(pq_f16_to_f32(x[1]), (float)w[2 + j] * scale[j], acc);
        want[j] = pq_f32_to_f16(acc);
    }
    op_case c;
    op_case_begin(&c, PQ_OP_MATMUL);
    op_case_in(&c, PTQC_F16, DIMS(1, 2), x);
    op_case_codes(
        &c, PTQC_I8, DIMS(2, 2), w,
        op_case_scales(&c, PTQC_I8, scale, (int32_t[]){0, 0}, 2, 1, 0));
    op_case_run(&c);
    op_case_expect_bytes(&c, 0, want, sizeof want);
    op_case_end(&c);
}

static void
doubles_and_integers(void **state)
{
    (void)state;
    op_case c;
    op_case_begin(&c, PQ_OP_MATMUL);
    op_case_in(&c, PTQC_F64, DIMS(1, 2), (double[]){1e-9, 1});
    op_case_in(&c, PTQC_F64, DIMS(2, 1), (double[]){1, 1});
    op_case_run(&c);
    EXPECT(&c, double, 1 + 1e-9);
    op_case_end(&c);

    op_case_begin(&c, PQ_OP_MATMUL);
    op_case_in(&c, PTQC_I32, DIMS(2, 2), (int32_t[]){1 << 30, 4, 5, 6});
    op_case_in(&c, PTQC_I32, DIMS(2, 2), (int32_t[]){4, 1, 1, 0});
    op_case_run(&c);
    EXPECT(&c, int32_t, 4, 1 << 30, 26, 5); // 2^32 + 4 wraps
    op_case_end(&c);
}

static void
declines(void **state)
{
    (void)state;
    const int8_t x[2] = {1, 2};
    op_case c;
    // Group scales with integer activations.
    op_case_begin(&c, PQ_OP_MATMUL);
    op_case_codes(&c, PTQC_I8, DIMS(1, 2), x, op_case_scale(&c, PTQC_I8, 1, 0));
    op_case_codes(&c, PTQC_I8, DIMS(1, 2), x,
                  op_case_scales(&c, PTQC_I8, (float[]){1, 1},
                                 (int32_t[]){0, 0}, 2, 1, 1));
    pq_build_i64(&c.b, PQ_ATTR_TRANS_B, 1);
    op_case_try(&c);
    assert_int_equal(c.st, PTQC_E_UNSUPPORTED);
    assert_non_null(strstr(c.sink.text, "per tensor or channel"));
    op_case_end(&c);
    // Scales along k instead of the output channels.
    op_case_begin(&c, PQ_OP_MATMUL);
    op_case_codes(&c, PTQC_I8, DIMS(1, 2), x, op_case_scale(&c, PTQC_I8, 1, 0));
    op_case_codes(&c, PTQC_I8, DIMS(2, 1), x,
                  op_case_scales(&c, PTQC_I8, (float[]){1, 1},
                                 (int32_t[]){0, 0}, 2, 0, 0));
    op_case_try(&c);
    assert_int_equal(c.st, PTQC_E_UNSUPPORTED);
    assert_non_null(strstr(c.sink.text, "output channels"));
    op_case_end(&c);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(float_order),
        cmocka_unit_test(transposed),
        cmocka_unit_test(broadcast_and_vectors),
        cmocka_unit_test(empty_dimensions),
        cmocka_unit_test(plain_mode),
        cmocka_unit_test(plain_mode_residual),
        cmocka_unit_test(real_mode),
        cmocka_unit_test(raw_mode),
        cmocka_unit_test(dynamic_mode),
        cmocka_unit_test(weight_only_groups),
        cmocka_unit_test(dynamic_groups),
        cmocka_unit_test(weight_only_float8),
        cmocka_unit_test(weight_only_channels_half),
        cmocka_unit_test(doubles_and_integers),
        cmocka_unit_test(declines),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
