// SPDX-License-Identifier: Apache-2.0
//
// conv and conv_transpose against direct sums over the definition: 1-d to
// 3-d, groups, depthwise with multiplier, dilation, pads, float and integer.
#include "tests/unit/ir/interp/op_case.h"

typedef struct shape {
    int spatial;
    int64_t batch, channels, out_channels, group;
    int64_t in[3], kernel[3], stride[3], dilation[3];
    int64_t pad[6]; // begins, ends, as the op's (2 * spatial)
} shape;

static const shape shapes[] = {
    {1, 2, 3, 5, 1, {9}, {3}, {2}, {1}, {1, 0}},
    {2, 1, 3, 33, 1, {7, 6}, {3, 2}, {2, 1}, {1, 2}, {1, 0, 2, 1}},
    {2, 2, 4, 6, 2, {5, 5}, {3, 3}, {1, 1}, {1, 1}, {1, 1, 1, 1}},
    {2, 1, 35, 35, 35, {6, 5}, {3, 3}, {2, 2}, {1, 1}, {0, 1, 1, 0}},
    {2, 1, 3, 6, 3, {4, 4}, {2, 2}, {1, 1}, {2, 2}, {1, 1, 1, 1}},
    {2, 1, 8, 70, 1, {1, 1}, {1, 1}, {1, 1}, {1, 1}, {0, 0, 0, 0}},
    {3,
     1,
     2,
     3,
     1,
     {4, 3, 5},
     {2, 3, 2},
     {1, 1, 2},
     {1, 1, 1},
     {1, 1, 0, 0, 1, 1}},
};
#define SHAPES (sizeof shapes / sizeof shapes[0])

static int64_t
out_size(const shape *s, int a, bool is_transposed)
{
    int64_t extent = (s->kernel[a] - 1) * s->dilation[a] + 1;
    int64_t pads = s->pad[a] + s->pad[s->spatial + a];
    return is_transposed ? (s->in[a] - 1) * s->stride[a] + extent - pads
                         : (s->in[a] + pads - extent) / s->stride[a] + 1;
}

// Sizes with leading ones, so that all shapes have three axes.
typedef struct full {
    int64_t in[3], out[3], kernel[3], stride[3], dilation[3], pad[3];
} full;

static full
full_of(const shape *s, bool is_transposed)
{
    full f;
    for (int i = 0; i < 3; i++) {
        int a = i - (3 - s->spatial);
        bool used = a >= 0;
        f.in[i] = used ? s->in[a] : 1;
        f.out[i] = used ? out_size(s, a, is_transposed) : 1;
        f.kernel[i] = used ? s->kernel[a] : 1;
        f.stride[i] = used ? s->stride[a] : 1;
        f.dilation[i] = used ? s->dilation[a] : 1;
        f.pad[i] = used ? s->pad[a] : 0;
    }
    return f;
}

// The input coordinate of kernel tap k for output o, or -1.
static int64_t
tap(const full *f, int a, int64_t o, int64_t k, bool is_transposed)
{
    if (!is_transposed) {
        int64_t i = o * f->stride[a] - f->pad[a] + k * f->dilation[a];
        return i < 0 || i >= f->in[a] ? -1 : i;
    }
    for (int64_t i = 0; i < f->in[a]; i++) { // i scatters to i * stride + ...
        if (i * f->stride[a] + k * f->dilation[a] - f->pad[a] == o) {
            return i;
        }
    }
    return -1;
}

// The term order of one output element, passed to `add`.
typedef void (*term_fn)(void *user, int64_t x_index, int64_t w_index);

static void
each_term(const shape *s, const full *f, bool is_transposed, int64_t n,
          int64_t oc, const int64_t o[3], term_fn add, void *user)
{
    int64_t cg = s->channels / s->group, og = s->out_channels / s->group;
    int64_t g = oc / og;
    for (int64_t d = 0; d < f->kernel[0]; d++) {
        for (int64_t h = 0; h < f->kernel[1]; h++) {
            for (int64_t w = 0; w < f->kernel[2]; w++) {
                int64_t i0 = tap(f, 0, o[0], d, is_transposed);
                int64_t i1 = tap(f, 1, o[1], h, is_transposed);
                int64_t i2 = tap(f, 2, o[2], w, is_transposed);
                if (i0 < 0 || i1 < 0 || i2 < 0) {
                    continue;
                }
                int64_t k = (d * f->kernel[1] + h) * f->kernel[2] + w;
                int64_t taps = f->kernel[0] * f->kernel[1] * f->kernel[2];
                for (int64_t c = 0; c < cg; c++) {
                    int64_t x =
                        (((n * s->channels + g * cg + c) * f->in[0] + i0) *
                             f->in[1] +
                         i1) *
                            f->in[2] +
                        i2;
                    int64_t row = is_transposed ? (g * cg + c) * og + oc % og
                                                : oc * cg + c;
                    add(user, x, row * taps + k);
                }
            }
        }
    }
}

static void
begin(op_case *c, const shape *s, bool is_transposed)
{
    op_case_begin(c, is_transposed ? PQ_OP_CONV_TRANSPOSE : PQ_OP_CONV);
    uint32_t n = (uint32_t)s->spatial;
    pq_build_i64s(&c->b, PQ_ATTR_STRIDES, s->stride, n);
    pq_build_i64s(&c->b, PQ_ATTR_DILATIONS, s->dilation, n);
    pq_build_i64s(&c->b, PQ_ATTR_PADS, s->pad, 2 * n);
    pq_build_i64(&c->b, PQ_ATTR_GROUP, s->group);
}

static void
dims_of(const shape *s, bool is_transposed, int64_t *x, int64_t *w)
{
    x[0] = s->batch;
    x[1] = s->channels;
    w[0] = is_transposed ? s->channels : s->out_channels;
    w[1] = (is_transposed ? s->out_channels : s->channels) / s->group;
    for (int a = 0; a < s->spatial; a++) {
        x[2 + a] = s->in[a];
        w[2 + a] = s->kernel[a];
    }
}

static size_t
count(const int64_t *dims, int rank)
{
    int64_t n = 1;
    for (int i = 0; i < rank; i++) {
        n *= dims[i];
    }
    return (size_t)n;
}

typedef struct float_sum {
    const float *x, *w;
    float acc;
} float_sum;

static void
add_f32(void *user, int64_t x, int64_t w)
{
    float_sum *s = user;
    s->acc = fmaf(s->x[x], s->w[w], s->acc);
}

static void
float_case(const shape *s, bool is_transposed)
{
    static float x[4096], w[16384], bias[128], want[16384];
    int64_t dx[5], dw[5];
    int rank = s->spatial + 2;
    full f = full_of(s, is_transposed);
    pq_test_random r = pq_test_random_seed(77);
    dims_of(s, is_transposed, dx, dw);
    assert_true(count(dx, rank) <= 4096 && count(dw, rank) <= 16384);
    pq_test_fill_normal(&r, x, count(dx, rank), 1);
    pq_test_fill_normal(&r, w, count(dw, rank), 1);
    pq_test_fill_normal(&r, bias, 128, 1);
    int64_t pixels = f.out[0] * f.out[1] * f.out[2];
    int64_t total = s->batch * s->out_channels * pixels;
    for (int64_t i = 0; i < total; i++) {
        float_sum sum = {x, w, 0};
        int64_t p = i % pixels;
        int64_t o[3] = {p / (f.out[1] * f.out[2]), p / f.out[2] % f.out[1],
                        p % f.out[2]};
        int64_t oc = i / pixels % s->out_channels;
        each_term(s, &f, is_transposed, i / pixels / s->out_channels, oc, o,
                  add_f32, &sum);
        want[i] = sum.acc + bias[oc];
    }
    op_case c;
    begin(&c, s, is_transposed);
    op_case_in(&c, PTQC_F32, dx, (uint32_t)rank, x);
    op_case_in(&c, PTQC_F32, dw, (uint32_t)rank, w);
    op_case_in(&c, PTQC_F32, DIMS(s->out_channels), bias);
    op_case_run(&c);
    op_case_expect_f32(&c, 0, want, (size_t)total, op_case_exact);
    op_case_end(&c);
}

static void
float_convolutions(void **state)
{
    (void)state;
    for (size_t i = 0; i < SHAPES; i++) {
        float_case(&shapes[i], false);
    }
}

static void
float_transposed(void **state)
{
    (void)state;
    for (size_t i = 0; i < SHAPES; i++) {
        float_case(&shapes[i], true);
    }
}

typedef struct int_sum {
    const uint8_t *x;
    const int8_t *w;
    int64_t acc;
} int_sum;

#define ZERO_X 77

static void
add_int(void *user, int64_t x, int64_t w)
{
    int_sum *s = user;
    s->acc += (s->x[x] - ZERO_X) * s->w[w];
}

static void
integer_case(const shape *s, bool is_transposed)
{
    static uint8_t x[4096];
    static int8_t w[16384], want[16384];
    float scale[128];
    int32_t zero[128] = {0}, bias[128];
    int64_t dx[5], dw[5];
    int rank = s->spatial + 2;
    full f = full_of(s, is_transposed);
    pq_test_random r = pq_test_random_seed(78);
    dims_of(s, is_transposed, dx, dw);
    pq_test_fill_bytes(&r, x, count(dx, rank));
    pq_test_fill_bytes(&r, w, count(dw, rank));
    int64_t channels =
        is_transposed ? s->out_channels / s->group : s->out_channels;
    pq_test_fill_f32(&r, scale, 128, 0.001f, 0.01f);
    for (int i = 0; i < 128; i++) {
        bias[i] = (int32_t)pq_test_random_int(&r, -3000, 3000);
    }
    int64_t pixels = f.out[0] * f.out[1] * f.out[2];
    int64_t total = s->batch * s->out_channels * pixels;
    for (int64_t i = 0; i < total; i++) {
        int_sum sum = {x, w, 0};
        int64_t p = i % pixels;
        int64_t o[3] = {p / (f.out[1] * f.out[2]), p / f.out[2] % f.out[1],
                        p % f.out[2]};
        int64_t oc = i / pixels % s->out_channels;
        each_term(s, &f, is_transposed, i / pixels / s->out_channels, oc, o,
                  add_int, &sum);
        float m = 0.02f * scale[oc % channels];
        m = m / 0.11f;
        float t = (float)(int32_t)(sum.acc + bias[oc]) * m;
        t = t > -128 - 5 ? t : -128 - 5;
        t = t < 127 - 5 ? t : 127 - 5;
        want[i] = (int8_t)((int)rintf(t) + 5);
    }
    op_case c;
    begin(&c, s, is_transposed);
    op_case_codes(&c, PTQC_U8, dx, (uint32_t)rank, x,
                  op_case_scale(&c, PTQC_U8, 0.02f, ZERO_X));
    op_case_codes(&c, PTQC_I8, dw, (uint32_t)rank, w,
                  op_case_scales(&c, PTQC_I8, scale, zero, channels,
                                 is_transposed ? 1 : 0, 0));
    op_case_in(&c, PTQC_I32, DIMS(s->out_channels), bias);
    op_case_out_quant(&c, 0, PTQC_I8, op_case_scale(&c, PTQC_I8, 0.11f, 5));
    op_case_run(&c);
    op_case_expect_bytes(&c, 0, want, (size_t)total);
    op_case_end(&c);
}

static void
integer_convolutions(void **state)
{
    (void)state;
    for (size_t i = 0; i < SHAPES; i++) {
        integer_case(&shapes[i], false);
    }
}

static void
integer_transposed(void **state)
{
    (void)state;
    for (size_t i = 0; i < SHAPES; i++) {
        integer_case(&shapes[i], true);
    }
}

// Padding is left out, not multiplied: an infinite weight does not show.
static void
padding_is_no_term(void **state)
{
    (void)state;
    op_case c;
    op_case_begin(&c, PQ_OP_CONV);
    op_case_in(&c, PTQC_F32, DIMS(1, 1, 2), (float[]){1, 2});
    op_case_in(&c, PTQC_F32, DIMS(1, 1, 3), (float[]){INFINITY, 1, 10});
    pq_build_i64s(&c.b, PQ_ATTR_PADS, (int64_t[]){1, 1}, 2);
    op_case_run(&c);
    EXPECT_F32(&c, 21, INFINITY);
    op_case_end(&c);
}

// Weight scales per channel and float activations: dequantized first.
static void
weight_only(void **state)
{
    (void)state;
    op_case c;
    op_case_begin(&c, PQ_OP_CONV);
    op_case_in(&c, PTQC_F32, DIMS(1, 1, 3), (float[]){0.1f, 0.2f, 0.3f});
    op_case_codes(&c, PTQC_U8, DIMS(2, 1, 1), (uint8_t[]){200, 3},
                  op_case_scales(&c, PTQC_U8, (float[]){0.3f, 0.7f},
                                 (int32_t[]){128, 4}, 2, 0, 0));
    op_case_run(&c);
    float a = 72.0f * 0.3f, b = -1.0f * 0.7f;
    EXPECT_F32(&c, 0.1f * a, 0.2f * a, 0.3f * a, 0.1f * b, 0.2f * b, 0.3f * b);
    op_case_end(&c);
}

static void
no_images(void **state)
{
    (void)state;
    op_case c;
    op_case_begin(&c, PQ_OP_CONV);
    op_case_in(&c, PTQC_F32, DIMS(0, 1, 3), "");
    op_case_in(&c, PTQC_F32, DIMS(2, 1, 1), (float[]){1, 2});
    op_case_run(&c);
    assert_int_equal(c.out[0].bytes, 0);
    op_case_end(&c);
}

// A small quantized convolution, run while allocations fail.
static ptqc_status
sweep_body(ptqc_ctx *ctx, void *user)
{
    (void)user;
    static const int64_t dx[3] = {1, 2, 4}, dw[3] = {2, 2, 3};
    static const int64_t one[1] = {1};
    static const float scale[1] = {0.1f};
    static uint8_t x[8] = {1, 2, 3, 4, 5, 6, 7, 8}, w[12] = {9};
    pq_graph *g = NULL;
    pq_runner *r = NULL;
    pq_value_id v[2], y;
    ptqc_status st = pq_graph_create(ctx, &g);
    for (int i = 0; i < 2 && st == PTQC_OK; i++) {
        st = pq_build_constant(g, (pq_str){0}, PTQC_U8, i == 0 ? dx : dw, 3,
                               i == 0 ? x : w, &v[i]);
        if (st != PTQC_OK) {
            break;
        }
        pq_constant c = {PTQC_F32, 1, one, scale, 4};
        pq_quant q = {
            .scheme = {.format = PTQC_U8, .granularity = PQ_GRAN_TENSOR},
            .scale = pq_graph_add_constant(g, &c)};
        pq_quant_id id = pq_const_is_none(q.scale) ? (pq_quant_id){0}
                                                   : pq_graph_add_quant(g, &q);
        st = pq_quant_is_none(id) ? PTQC_E_RESOURCE : PTQC_OK;
        pq_value_set_quant(g, v[i], PTQC_U8, id);
    }
    if (st == PTQC_OK) {
        st = pq_build_binary(g, (pq_op_id){0}, PQ_OP_CONV, v[0], v[1], &y);
    }
    if (st == PTQC_OK) {
        st = pq_graph_add_output(g, y);
    }
    if (st == PTQC_OK) {
        st = pq_interp_make(ctx, g, NULL, 0, &r);
    }
    if (st == PTQC_OK) {
        op_case nothing = {.out_count = 0};
        st = r->run(r, NULL, op_case_observe, &nothing);
    }
    if (r != NULL) {
        r->destroy(r);
    }
    pq_graph_destroy(g);
    return st;
}

static void
allocation_failures(void **state)
{
    (void)state;
    assert_true(pq_test_alloc_sweep(sweep_body, NULL) > 10);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(float_convolutions),
        cmocka_unit_test(float_transposed),
        cmocka_unit_test(integer_convolutions),
        cmocka_unit_test(integer_transposed),
        cmocka_unit_test(padding_is_no_term),
        cmocka_unit_test(weight_only),
        cmocka_unit_test(no_images),
        cmocka_unit_test(allocation_failures),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
