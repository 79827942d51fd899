// SPDX-License-Identifier: Apache-2.0
//
// Kernels of pooling and resizing on a device against plain loops: bit for bit
// but for interpolated numbers.
#include "base/mathfn.h"
#include "kernel_host.h"

#define ROOM 8192

typedef struct pool {
    uint32_t dtype, spatial;
    int64_t average, include_pad;
    int64_t batch, channels;
    int64_t in[3], out[3], kernel[3], stride[3], dilation[3], pad[3], end[3];
} pool;

static float X_F32[ROOM], GOT_F32[ROOM], WANT_F32[ROOM];
static uint8_t X_U8[ROOM], GOT_U8[ROOM], WANT_U8[ROOM];

static const float X_SCALE = 0.03f, Y_SCALE = 0.021f;
static const int32_t X_ZERO = 101, Y_ZERO = 77;

static float
load(const pool *p, int64_t at)
{
    return p->dtype == PTQC_F32  ? X_F32[at]
           : p->dtype == PTQC_U8 ? (float)X_U8[at]
                                 : (float)(int8_t)X_U8[at];
}

typedef struct sums {
    float acc;
    int64_t inside, taps;
} sums;

// All taps of an element whose windows begin at `begin`.
static sums
gather_taps(const pool *p, int64_t n, int64_t c, const int64_t begin[3])
{
    bool codes = p->dtype != PTQC_F32;
    float lowest = p->dtype == PTQC_I8 ? -128.0f : 0.0f;
    sums s = {p->average ? 0.0f : codes ? lowest : -INFINITY, 0, 0};
    int64_t all = p->kernel[0] * p->kernel[1] * p->kernel[2];
    for (int64_t t = 0; t < all; t++) {
        int64_t k[3] = {t / p->kernel[2] / p->kernel[1],
                        t / p->kernel[2] % p->kernel[1], t % p->kernel[2]};
        bool is_inside = true, is_padding = true;
        int64_t at = n;
        for (uint32_t a = 0; a < 3; a++) {
            int64_t q = begin[a] + k[a] * p->dilation[a];
            is_inside = is_inside && q >= 0 && q < p->in[a];
            is_padding =
                is_padding && q >= -p->pad[a] && q < p->in[a] + p->end[a];
            at = at * p->in[a] + q;
        }
        s.taps += is_padding;
        if (!is_inside) {
            continue;
        }
        s.inside++;
        float x = load(p, at * p->channels + c);
        bool more = isnan(x) || x > s.acc;
        s.acc = p->average     ? s.acc + x
                : isnan(s.acc) ? s.acc
                : more         ? x
                               : s.acc;
    }
    return s;
}

static void
store(const pool *p, int64_t at, const sums *s)
{
    int64_t n = p->include_pad ? s->taps : s->inside;
    if (p->dtype == PTQC_F32) {
        WANT_F32[at] = p->average ? s->acc / (float)n : s->acc;
        return;
    }
    int32_t code = (int32_t)s->acc;
    if (p->average) {
        float m = X_SCALE / Y_SCALE;
        m = m * (1.0f / (float)n);
        float t = (float)(code - (int32_t)s->inside * X_ZERO) * m;
        t = n > 0 ? t : 0.0f;
        code = pq_round_code(t, (float)(0 - Y_ZERO), (float)(255 - Y_ZERO)) +
               Y_ZERO;
    }
    WANT_U8[at] = (uint8_t)code;
}

static void
reference(const pool *p)
{
    int64_t pixels = p->out[0] * p->out[1] * p->out[2];
    for (int64_t i = 0; i < p->batch * pixels * p->channels; i++) {
        int64_t c = i % p->channels, o = i / p->channels;
        int64_t at[3] = {o / p->out[2] / p->out[1] % p->out[0],
                         o / p->out[2] % p->out[1], o % p->out[2]};
        for (uint32_t a = 0; a < 3; a++) {
            at[a] = at[a] * p->stride[a] - p->pad[a];
        }
        sums s = gather_taps(p, o / pixels, c, at);
        store(p, i, &s);
    }
}

static void
add_params(kernel_step *s, const pool *p)
{
    kernel_param(s, p->average ? PQ_POOL_AVG : PQ_POOL_MAX);
    kernel_param(s, p->include_pad);
    kernel_param(s, p->spatial);
    const int64_t *lists[5] = {p->kernel, p->stride, p->dilation, p->pad,
                               p->end};
    for (uint32_t i = 0; i < 15; i++) {
        kernel_param(s, lists[i / 3][i % 3]);
    }
    kernel_param_f32(s, X_SCALE);
    kernel_param_f32(s, Y_SCALE);
    kernel_param(s, X_ZERO);
    kernel_param(s, Y_ZERO);
    kernel_param(s, 0);
    kernel_param(s, 255);
}

static void
run(pool *p)
{
    bool codes = p->dtype != PTQC_F32;
    int64_t x[5] = {p->batch}, y[5] = {p->batch};
    kernel_step s = {.kind = PQ_STEP_POOL};
    for (uint32_t a = 0; a < 3; a++) {
        int64_t reach = p->dilation[a] * (p->kernel[a] - 1) + 1;
        p->out[a] =
            (p->in[a] + p->pad[a] + p->end[a] - reach) / p->stride[a] + 1;
    }
    for (uint32_t i = 0; i < p->spatial; i++) {
        x[1 + i] = p->in[3 - p->spatial + i];
        y[1 + i] = p->out[3 - p->spatial + i];
    }
    x[1 + p->spatial] = y[1 + p->spatial] = p->channels;
    kernel_in(&s, p->dtype, x, p->spatial + 2,
              codes ? (const void *)X_U8 : X_F32);
    kernel_out(&s, p->dtype, y, p->spatial + 2,
               codes ? (void *)GOT_U8 : GOT_F32);
    add_params(&s, p);
    reference(p);
    size_t bytes = kernel_bytes(&s.tensors[1]);
    assert_true(bytes <= ROOM);
    for (int careful = 0; careful < 2; careful++) {
        kernel_run_on(&s, careful != 0);
        if (codes) {
            assert_memory_equal(GOT_U8, WANT_U8, bytes);
            continue;
        }
        for (size_t i = 0; i < bytes / 4; i++) {
            if (!(isnan(GOT_F32[i]) && isnan(WANT_F32[i]))) {
                assert_memory_equal(&GOT_F32[i], &WANT_F32[i], 4);
            }
        }
    }
}

static void
run_all(pool p)
{
    static const uint32_t types[] = {PTQC_F32, PTQC_U8, PTQC_I8};
    for (uint32_t t = 0; t < 3; t++) {
        for (int64_t kind = 0; kind < 3; kind++) {
            p.dtype = types[t];
            p.average = kind > 0;
            p.include_pad = kind == 2;
            if (p.dtype != PTQC_I8 || kind == 0) {
                run(&p);
            }
        }
    }
}

static void
test_pool(void **state)
{
    (void)state;
    pq_test_random r = pq_test_random_seed(8);
    pq_test_fill_f32(&r, X_F32, ROOM, -2.0f, 2.0f);
    pq_test_fill_bytes(&r, X_U8, ROOM);
    X_F32[40] = NAN;
    X_F32[41] = INFINITY;
    run_all((pool){.spatial = 2,
                   .batch = 2,
                   .channels = 3,
                   .in = {1, 7, 5},
                   .kernel = {1, 3, 2},
                   .stride = {1, 2, 1},
                   .dilation = {1, 1, 2},
                   .pad = {0, 1, 1},
                   .end = {0, 0, 1}});
    run_all((pool){.spatial = 1,
                   .batch = 1,
                   .channels = 1,
                   .in = {1, 1, 19},
                   .kernel = {1, 1, 4},
                   .stride = {1, 1, 3},
                   .dilation = {1, 1, 1},
                   .pad = {0, 0, 3},
                   .end = {0, 0, 2}});
    run_all((pool){.spatial = 3,
                   .batch = 1,
                   .channels = 5,
                   .in = {3, 4, 5},
                   .kernel = {2, 2, 3},
                   .stride = {1, 2, 2},
                   .dilation = {1, 1, 1},
                   .pad = {1, 0, 1},
                   .end = {1, 0, 1}});
    run_all((pool){.spatial = 2,
                   .batch = 1,
                   .channels = 33,
                   .in = {1, 3, 3},
                   .kernel = {1, 3, 3},
                   .stride = {1, 1, 1},
                   .dilation = {1, 1, 1}});
}

// ---- resize ----------------------------------------------------------------

typedef struct resize {
    int64_t kind, coordinates, rounding;
    int64_t in[2], out[2], channels; // height, width
    float scales[2];                 // 0: from the sizes
} resize;

static float
position(const resize *z, uint32_t a, int64_t o)
{
    float n = (float)z->out[a], scale = z->scales[a];
    scale = scale > 0.0f ? scale : n / (float)z->in[a];
    if ((z->coordinates == PQ_COORDINATES_PYTORCH_HALF_PIXEL ||
         z->coordinates == PQ_COORDINATES_ALIGN_CORNERS) &&
        z->out[a] == 1) {
        return 0.0f;
    }
    float step = (float)(z->in[a] - 1) / (n - 1.0f);
    return z->coordinates == PQ_COORDINATES_ASYMMETRIC ? (float)o / scale
           : z->coordinates == PQ_COORDINATES_ALIGN_CORNERS
               ? (float)o * step
               : ((float)o + 0.5f) / scale - 0.5f;
}

// Taps of output o and their weights; -> how many.
static uint32_t
taps_of(const resize *z, uint32_t a, int64_t o, int64_t *index, double *weight)
{
    float at = position(z, a, o);
    uint32_t count = 1;
    weight[0] = 1.0;
    if (z->in[a] == z->out[a]) {
        index[0] = o;
        return 1;
    }
    if (z->kind == PQ_RESIZE_NEAREST) {
        index[0] = (int64_t)(z->rounding == PQ_ROUNDING_FLOOR  ? floorf(at)
                             : z->rounding == PQ_ROUNDING_CEIL ? ceilf(at)
                             : z->rounding == PQ_ROUNDING_PREFER_CEIL
                                 ? floorf(at + 0.5f)
                                 : ceilf(at - 0.5f));
    } else if (z->kind == PQ_RESIZE_LINEAR) {
        float last = (float)(z->in[a] - 1);
        at = at < 0.0f ? 0.0f : at > last ? last : at;
        weight[1] = (double)(at - floorf(at));
        weight[0] = 1.0 - weight[1];
        count = 2;
    } else {
        const double c = -0.75;
        for (uint32_t t = 0; t < 4; t++) {
            double d = fabs((double)(at - floorf(at)) + 1.0 - t);
            weight[t] = d > 1.0 ? ((c * d - 5 * c) * d + 8 * c) * d - 4 * c
                                : ((c + 2) * d - (c + 3)) * d * d + 1;
        }
        count = 4;
    }
    for (uint32_t t = 0; t < count; t++) {
        int64_t i = z->kind == PQ_RESIZE_NEAREST
                        ? index[0]
                        : (int64_t)floorf(at) + t - (count == 4);
        index[t] = i < 0 ? 0 : i >= z->in[a] ? z->in[a] - 1 : i;
    }
    return count;
}

static double
resized(const resize *z, int64_t i)
{
    int64_t c = i % z->channels, w = i / z->channels % z->out[1];
    int64_t h = i / z->channels / z->out[1] % z->out[0];
    int64_t b = i / z->channels / z->out[1] / z->out[0];
    int64_t ih[4], iw[4];
    double wh[4], ww[4], sum = 0;
    uint32_t nh = taps_of(z, 0, h, ih, wh), nw = taps_of(z, 1, w, iw, ww);
    for (uint32_t y = 0; y < nh; y++) {
        for (uint32_t x = 0; x < nw; x++) {
            int64_t at =
                ((b * z->in[0] + ih[y]) * z->in[1] + iw[x]) * z->channels + c;
            sum += wh[y] * ww[x] * (double)X_F32[at];
        }
    }
    return sum;
}

static void
run_resize(const resize *z)
{
    kernel_step s = {.kind = PQ_STEP_RESIZE};
    kernel_in(&s, PTQC_F32, KERNEL_DIMS(2, z->in[0], z->in[1], z->channels),
              X_F32);
    kernel_out(&s, PTQC_F32, KERNEL_DIMS(2, z->out[0], z->out[1], z->channels),
               GOT_F32);
    const int64_t params[] = {z->kind, z->coordinates, z->rounding};
    for (uint32_t i = 0; i < 3; i++) {
        kernel_param(&s, params[i]);
    }
    kernel_param_f32(&s, -0.75f);
    kernel_param(&s, 2);
    kernel_param_f32(&s, 0.0f);
    kernel_param_f32(&s, z->scales[0]);
    kernel_param_f32(&s, z->scales[1]);
    for (int careful = 0; careful < 2; careful++) {
        kernel_run_on(&s, careful != 0);
        for (int64_t i = 0; i < 2 * z->out[0] * z->out[1] * z->channels; i++) {
            double bound = z->kind == PQ_RESIZE_NEAREST ? 0.0 : 4e-6;
            assert_true(fabs((double)GOT_F32[i] - resized(z, i)) <= bound);
        }
    }
}

static void
test_resize(void **state)
{
    (void)state;
    pq_test_random r = pq_test_random_seed(9);
    pq_test_fill_f32(&r, X_F32, ROOM, -2.0f, 2.0f);
    for (int64_t kind = 0; kind < 3; kind++) {
        for (int64_t coordinates = 0; coordinates < 4; coordinates++) {
            for (int64_t round = 0; round < (kind == 0 ? 4 : 1); round++) {
                resize z = {kind,     coordinates, round, {5, 7},
                            {10, 14}, 3,           {0, 0}};
                run_resize(&z);
                z = (resize){kind,   coordinates, round,        {9, 4},
                             {3, 4}, 1,           {0.37f, 1.0f}};
                run_resize(&z);
                z = (resize){kind,    coordinates, round,    {3, 6},
                             {1, 17}, 5,           {0, 2.9f}};
                run_resize(&z);
            }
        }
    }
}

// Codes and long elements move as they are.
static void
test_resize_nearest_types(void **state)
{
    (void)state;
    static const uint32_t types[] = {PTQC_U8, PTQC_F16, PTQC_I64};
    pq_test_random r = pq_test_random_seed(9);
    pq_test_fill_bytes(&r, X_U8, ROOM);
    for (uint32_t t = 0; t < 3; t++) {
        size_t bytes = t == 0 ? 1 : t == 1 ? 2 : 8;
        kernel_step s = {.kind = PQ_STEP_RESIZE};
        kernel_in(&s, types[t], KERNEL_DIMS(1, 3, 5, 3), X_U8);
        kernel_out(&s, types[t], KERNEL_DIMS(1, 6, 10, 3), GOT_U8);
        const int64_t params[] = {PQ_RESIZE_NEAREST,
                                  PQ_COORDINATES_ASYMMETRIC,
                                  PQ_ROUNDING_FLOOR,
                                  0,
                                  2,
                                  0,
                                  0,
                                  0};
        for (uint32_t i = 0; i < 8; i++) {
            kernel_param(&s, params[i]);
        }
        kernel_run(&s);
        for (int64_t i = 0; i < 180; i++) {
            int64_t from = (i / 30 / 2 * 5 + i / 3 % 10 / 2) * 3 + i % 3;
            assert_memory_equal(GOT_U8 + (size_t)i * bytes,
                                X_U8 + (size_t)from * bytes, bytes);
        }
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pool),
        cmocka_unit_test(test_resize),
        cmocka_unit_test(test_resize_nearest_types),
    };
    return cmocka_run_group_tests(tests, NULL, kernel_teardown);
}
