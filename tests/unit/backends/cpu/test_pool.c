// SPDX-License-Identifier: Apache-2.0
//
// Pooling and resizing against scalar references, bit for bit, at every
// level: borders, dilation, ceil mode sizes, odd channel counts, workers.
#include <math.h>

#include "backends/cpu/pool.h"
#include "base/mathfn.h"
#include "cpu_host.h"

#define MAX_BYTES 400000

static uint8_t X[MAX_BYTES], Y[MAX_BYTES], W[MAX_BYTES];

static void
fill_f32(void *p, int64_t n, uint32_t seed)
{
    for (int64_t i = 0; i < n; i++) {
        seed = seed * 1664525u + 1013904223u;
        float x = (float)(int32_t)(seed >> 8 & 0xffff) * 0.0004f - 12.0f;
        x = (seed & 0x3ff00000u) == 0 ? NAN : x;
        memcpy((uint8_t *)p + i * 4, &x, 4);
    }
}

static void
fill_bytes(uint8_t *p, int64_t n, uint32_t seed)
{
    for (int64_t i = 0; i < n; i++) {
        seed = seed * 1664525u + 1013904223u;
        p[i] = (uint8_t)(seed >> 20);
    }
}

static void
assert_bytes(const char *what, uint32_t dtype, int64_t n)
{
    int64_t bytes = dtype == PTQC_F32 ? 4 : 1;
    for (int64_t i = 0; i < n * bytes + 64; i += bytes) {
        float got = 0.0f, want = 0.0f;
        memcpy(&got, Y + i, (size_t)bytes);
        memcpy(&want, W + i, (size_t)bytes);
        if (memcmp(Y + i, W + i, (size_t)bytes) != 0 &&
            !(bytes == 4 && isnan(got) && isnan(want))) {
            fail_msg("%s: element %ld of %ld differs", what, (long)(i / bytes),
                     (long)n);
        }
    }
}

// ---- pooling -------------------------------------------------------------

typedef struct tap_sum {
    float max_f32, sum_f32;
    int32_t max_code, sum_code;
    int64_t inside, padded;
} tap_sum;

static void
ref_tap(const pq_pooling_desc *d, const int64_t *at, int64_t batch, int64_t c,
        tap_sum *s)
{
    int is_padded = 1, is_inside = 1;
    for (int i = 0; i < PQ_POOL_DIMS; i++) {
        is_padded &= at[i] < d->in[i] + d->pads_end[i];
        is_inside &= at[i] >= 0 && at[i] < d->in[i];
    }
    s->padded += is_padded;
    if (!is_inside) {
        return;
    }
    int64_t index = batch;
    for (int i = 0; i < PQ_POOL_DIMS; i++) {
        index = index * d->in[i] + at[i];
    }
    index = index * d->channels + c;
    float x = 0.0f;
    if (d->dtype == PTQC_F32) {
        memcpy(&x, X + index * 4, 4);
    }
    int32_t code = d->dtype == PTQC_I8 ? (int8_t)X[index] : X[index];
    s->max_f32 = pq_maxf(s->max_f32, x);
    s->sum_f32 += x;
    s->max_code = code > s->max_code ? code : s->max_code;
    s->sum_code += code - d->x_zero;
    s->inside++;
}

static void
ref_store(const pq_pooling_desc *d, const tap_sum *s, int64_t index)
{
    int64_t n = d->include_pad ? s->padded : s->inside;
    if (d->dtype == PTQC_F32) {
        float y = d->kind == PQ_POOL_MAX ? s->max_f32 : s->sum_f32 / (float)n;
        memcpy(W + index * 4, &y, 4);
        return;
    }
    int32_t code = s->max_code;
    if (d->kind == PQ_POOL_AVG) {
        float scale = d->real_out ? d->x_scale : d->x_scale / d->y_scale;
        float m = scale * (1.0f / (float)n);
        float t = n == 0 ? 0.0f : (float)s->sum_code * m;
        if (d->real_out) {
            memcpy(W + index * 4, &t, 4);
            return;
        }
        code = pq_round_code(t, (float)(d->code_low - d->y_zero),
                             (float)(d->code_high - d->y_zero)) +
               d->y_zero;
    }
    W[index] = (uint8_t)code;
}

static void
ref_pool(const pq_pooling_desc *d)
{
    int64_t pixels = d->out[0] * d->out[1] * d->out[2];
    for (int64_t i = 0; i < d->batch * pixels * d->channels; i++) {
        int64_t p = i / d->channels;
        int64_t o[3] = {p / d->out[2] / d->out[1] % d->out[0],
                        p / d->out[2] % d->out[1], p % d->out[2]};
        tap_sum s = {.max_f32 = -INFINITY,
                     .max_code = d->dtype == PTQC_I8 ? INT8_MIN : 0};
        int64_t taps = d->kernel[0] * d->kernel[1] * d->kernel[2];
        for (int64_t k = 0; k < taps; k++) {
            int64_t t[3] = {k / d->kernel[2] / d->kernel[1],
                            k / d->kernel[2] % d->kernel[1], k % d->kernel[2]};
            for (int a = 0; a < 3; a++) {
                t[a] =
                    o[a] * d->strides[a] - d->pads[a] + t[a] * d->dilations[a];
            }
            ref_tap(d, t, p / pixels, i % d->channels, &s);
        }
        ref_store(d, &s, i);
    }
}

static void
check_pool(pq_jit *jit, const pq_pooling_desc *d, uint32_t workers)
{
    pq_pooling *pool = NULL;
    assert_int_equal(pq_pooling_prepare(jit, NULL, d, &pool), PTQC_BE_OK);
    memset(Y, 0xee, sizeof Y);
    memset(W, 0xee, sizeof W);
    ref_pool(d);
    for (uint32_t w = 0; w < workers; w++) {
        pq_worker worker = {.index = w, .count = workers};
        pq_pooling_run(pool, X, Y, &worker);
    }
    pq_pooling_destroy(pool);
    assert_bytes(d->kind == PQ_POOL_MAX ? "max pool" : "avg pool",
                 d->real_out ? PTQC_F32 : d->dtype,
                 d->batch * d->out[0] * d->out[1] * d->out[2] * d->channels);
}

static const pq_pooling_desc pool_shapes[] = {
    // 3x3 stride 2 pad 1
    {.batch = 2,
     .in = {1, 9, 11},
     .out = {1, 5, 6},
     .kernel = {1, 3, 3},
     .strides = {1, 2, 2},
     .dilations = {1, 1, 1},
     .pads = {0, 1, 1},
     .pads_end = {0, 1, 1}},
    // 2x2 stride 2, ceil mode beyond the end
    {.batch = 1,
     .in = {1, 5, 5},
     .out = {1, 3, 3},
     .kernel = {1, 2, 2},
     .strides = {1, 2, 2},
     .dilations = {1, 1, 1}},
    // dilated, uneven pads
    {.batch = 1,
     .in = {1, 8, 7},
     .out = {1, 6, 4},
     .kernel = {1, 2, 3},
     .strides = {1, 1, 1},
     .dilations = {1, 3, 2},
     .pads = {0, 1, 0},
     .pads_end = {0, 0, 1}},
    // 3-d
    {.batch = 1,
     .in = {4, 3, 3},
     .out = {3, 2, 2},
     .kernel = {2, 2, 2},
     .strides = {1, 1, 1},
     .dilations = {1, 1, 1}},
    // global
    {.batch = 1,
     .in = {1, 7, 7},
     .out = {1, 1, 1},
     .kernel = {1, 7, 7},
     .strides = {1, 1, 1},
     .dilations = {1, 1, 1}},
    // a window without taps (pads as wide as the kernel)
    {.batch = 1,
     .in = {1, 1, 4},
     .out = {1, 1, 4},
     .kernel = {1, 1, 2},
     .strides = {1, 1, 2},
     .dilations = {1, 1, 1},
     .pads = {0, 0, 2},
     .pads_end = {0, 0, 2}},
};

static void
pools(pq_jit *jit)
{
    static const int64_t channels[] = {1, 3, 15, 16, 17, 64, 83, 200};
    static const uint32_t dtypes[] = {PTQC_F32, PTQC_U8, PTQC_I8};
    for (uint32_t i = 0; i < sizeof pool_shapes / sizeof pool_shapes[0]; i++) {
        for (uint32_t c = 0; c < 8; c++) {
            for (uint32_t form = 0; form < 9; form++) {
                pq_pooling_desc d = pool_shapes[i];
                d.channels = channels[c];
                d.dtype = dtypes[form % 3];
                d.kind = form / 3 == 0 ? PQ_POOL_MAX : PQ_POOL_AVG;
                d.include_pad = form / 3 == 2;
                d.x_scale = 0.013f;
                d.y_scale = 0.017f;
                d.x_zero = d.dtype == PTQC_I8 ? -5 : 121;
                d.y_zero = d.dtype == PTQC_I8 ? 3 : 130;
                d.code_low = d.dtype == PTQC_I8 ? -128 : 0;
                d.code_high = d.code_low + 255;
                if (d.dtype == PTQC_F32) {
                    fill_f32(X, MAX_BYTES / 4, i + c);
                } else {
                    fill_bytes(X, MAX_BYTES, i + c);
                }
                check_pool(jit, &d, 1);
                check_pool(jit, &d, 4);
                d.real_out = d.kind == PQ_POOL_AVG && d.dtype != PTQC_F32;
                check_pool(jit, &d, 2);
            }
        }
    }
}

static void
test_pool(void **state)
{
    (void)state;
    cpu_host_each_level(pools);
}

static void
pool_refusals(pq_jit *jit)
{
    pq_pooling *pool = NULL;
    pq_pooling_desc d = pool_shapes[0];
    d.channels = 4;
    d.dtype = PTQC_F16;
    assert_int_equal(pq_pooling_prepare(jit, NULL, &d, &pool),
                     PTQC_BE_UNSUPPORTED);
    d.dtype = PTQC_F32;
    d.strides[1] = 0;
    assert_int_equal(pq_pooling_prepare(jit, NULL, &d, &pool),
                     PTQC_BE_UNSUPPORTED);
    assert_null(pool);
}

static void
test_pool_refusals(void **state)
{
    (void)state;
    cpu_host_each_level(pool_refusals);
}

// ---- resize --------------------------------------------------------------

static float
ref_coordinate(const pq_resize_desc *d, int axis, int64_t o)
{
    float in = (float)d->in[axis], out = (float)d->out[axis];
    float scale = d->scales[axis] != 0.0f ? d->scales[axis] : out / in;
    switch (d->coordinates) {
    case PQ_COORDINATES_ASYMMETRIC:
        return (float)o / scale;
    case PQ_COORDINATES_ALIGN_CORNERS:
        return out > 1.0f ? (float)o * ((in - 1.0f) / (out - 1.0f)) : 0.0f;
    case PQ_COORDINATES_PYTORCH_HALF_PIXEL:
        return out > 1.0f ? ((float)o + 0.5f) / scale - 0.5f : 0.0f;
    default:
        return ((float)o + 0.5f) / scale - 0.5f;
    }
}

static int64_t
ref_clamp(float at, int64_t size)
{
    return at<0.0f ? 0 : at>(float)(size - 1) ? size - 1 : (int64_t)at;
}

static int64_t
ref_nearest(const pq_resize_desc *d, float at, int64_t size)
{
    float r = d->rounding == PQ_ROUNDING_PREFER_FLOOR  ? ceilf(at - 0.5f)
              : d->rounding == PQ_ROUNDING_PREFER_CEIL ? floorf(at + 0.5f)
              : d->rounding == PQ_ROUNDING_FLOOR       ? floorf(at)
                                                       : ceilf(at);
    return ref_clamp(r, size);
}

// Value at output index o[3], interpolating axes axis.. 2 from input index i.
static float
ref_value(const pq_resize_desc *d, const int64_t *o, int axis, int64_t *i,
          int64_t batch, int64_t c)
{
    if (axis == PQ_POOL_DIMS) {
        int64_t at =
            ((batch * d->in[0] + i[0]) * d->in[1] + i[1]) * d->in[2] + i[2];
        float x;
        memcpy(&x, X + (at * d->channels + c) * 4, 4);
        return x;
    }
    if (d->in[axis] == d->out[axis]) {
        i[axis] = o[axis];
        return ref_value(d, o, axis + 1, i, batch, c);
    }
    float at = ref_coordinate(d, axis, o[axis]);
    int64_t size = d->in[axis];
    if (d->kind == PQ_RESIZE_NEAREST) {
        i[axis] = ref_nearest(d, at, size);
        return ref_value(d, o, axis + 1, i, batch, c);
    }
    if (d->kind == PQ_RESIZE_LINEAR) {
        float p = fminf(fmaxf(at, 0.0f), (float)(size - 1));
        float w = p - floorf(p);
        i[axis] = (int64_t)floorf(p);
        int64_t next = i[axis] + 1 < size ? i[axis] + 1 : size - 1;
        float a = ref_value(d, o, axis + 1, i, batch, c);
        i[axis] = next;
        float b = ref_value(d, o, axis + 1, i, batch, c);
        return fmaf(w, b - a, a);
    }
    float base = floorf(at), f = at - base, k = d->cubic_a;
    float w[4], y = 0.0f;
    for (int t = 0; t < 4; t++) {
        float x = t == 0 ? f + 1.0f : t == 1 ? f : t == 2 ? 1.0f - f : 2.0f - f;
        w[t] = t == 1 || t == 2
                   ? ((k + 2.0f) * x - (k + 3.0f)) * x * x + 1.0f
                   : ((k * x - 5.0f * k) * x + 8.0f * k) * x - 4.0f * k;
        i[axis] = ref_clamp(base + (float)(t - 1), size);
        float v = ref_value(d, o, axis + 1, i, batch, c);
        y = t == 0 ? w[0] * v : fmaf(w[t], v, y);
    }
    return y;
}

static void
check_resize(pq_jit *jit, const pq_resize_desc *d, uint32_t workers)
{
    memset(Y, 0xee, sizeof Y);
    memset(W, 0xee, sizeof W);
    int64_t pixels = d->out[0] * d->out[1] * d->out[2];
    int64_t n = d->batch * pixels * d->channels;
    for (int64_t e = 0; e < n; e++) {
        int64_t p = e / d->channels;
        int64_t o[3] = {p / d->out[2] / d->out[1] % d->out[0],
                        p / d->out[2] % d->out[1], p % d->out[2]};
        int64_t i[3];
        float y = ref_value(d, o, 0, i, p / pixels, e % d->channels);
        memcpy(W + e * 4, &y, 4);
    }
    pq_resize *resize = NULL;
    assert_int_equal(pq_resize_prepare(jit, NULL, d, &resize), PTQC_BE_OK);
    for (uint32_t w = 0; w < workers; w++) {
        pq_worker worker = {.index = w, .count = workers};
        pq_resize_run(resize, X, Y, &worker);
    }
    pq_resize_destroy(resize);
    assert_bytes("resize", PTQC_F32, n);
}

static void
resizes(pq_jit *jit)
{
    static const int64_t sizes[][6] = {
        // in, out
        {1, 4, 5, 1, 8, 10}, {1, 7, 5, 1, 3, 9}, {1, 1, 6, 1, 1, 11},
        {3, 4, 2, 5, 4, 3},  {1, 6, 6, 1, 1, 1}, {1, 1, 1, 1, 4, 3},
    };
    fill_f32(X, MAX_BYTES / 4, 12);
    for (uint32_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        for (uint32_t form = 0; form < 3 * 4 * 4; form++) {
            pq_resize_desc d = {.kind = form % 3,
                                .dtype = PTQC_F32,
                                .coordinates = form / 3 % 4,
                                .rounding = form / 12,
                                .batch = 2,
                                .channels = 1 + (int64_t)(form * 7 % 40),
                                .cubic_a = -0.75f};
            memcpy(d.in, sizes[i], sizeof d.in);
            memcpy(d.out, sizes[i] + 3, sizeof d.out);
            if (i == 1) {
                d.scales[1] = 0.5f; // a scale that is not out / in
            }
            check_resize(jit, &d, 1);
            check_resize(jit, &d, 3);
        }
    }
}

static void
test_resize(void **state)
{
    (void)state;
    cpu_host_each_level(resizes);
}

static void
nearest_codes(pq_jit *jit)
{
    // u8, 2x upsampling of [2][2][3]
    pq_resize_desc d = {.kind = PQ_RESIZE_NEAREST,
                        .dtype = PTQC_U8,
                        .coordinates = PQ_COORDINATES_ASYMMETRIC,
                        .rounding = PQ_ROUNDING_FLOOR,
                        .batch = 1,
                        .channels = 3,
                        .in = {1, 2, 2},
                        .out = {1, 4, 4}};
    fill_bytes(X, 12, 1);
    pq_resize *resize = NULL;
    assert_int_equal(pq_resize_prepare(jit, NULL, &d, &resize), PTQC_BE_OK);
    pq_worker worker = {.count = 1};
    pq_resize_run(resize, X, Y, &worker);
    pq_resize_destroy(resize);
    for (int64_t e = 0; e < 48; e++) {
        int64_t h = e / 12 / 2, w = e / 3 % 4 / 2;
        assert_int_equal(Y[e], X[(h * 2 + w) * 3 + e % 3]);
    }
    d.kind = PQ_RESIZE_LINEAR;
    assert_int_equal(pq_resize_prepare(jit, NULL, &d, &resize),
                     PTQC_BE_UNSUPPORTED);
}

static void
test_nearest_codes(void **state)
{
    (void)state;
    cpu_host_each_level(nearest_codes);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pool),
        cmocka_unit_test(test_pool_refusals),
        cmocka_unit_test(test_resize),
        cmocka_unit_test(test_nearest_codes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
