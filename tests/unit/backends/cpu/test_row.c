// SPDX-License-Identifier: Apache-2.0
//
// Row kernels against scalar references with the documented order, bit for
// bit, in row and column form, at every level, for odd lengths and several
// workers.
#include <math.h>

#include "backends/cpu/row.h"
#include "base/mathfn.h"
#include "cpu_host.h"

#define MAX_ELEMENTS 70000

static float X[MAX_ELEMENTS], Y[MAX_ELEMENTS], W[MAX_ELEMENTS];
static float S[4096], M[MAX_ELEMENTS], R[MAX_ELEMENTS];

// ---- the documented order ------------------------------------------------

typedef float (*fold_fn)(float acc, float x);

static float
fold_row(const float *x, int64_t n, float start, fold_fn step, fold_fn tree)
{
    float lane[16];
    for (int l = 0; l < 16; l++) {
        lane[l] = start;
    }
    for (int64_t i = 0; i < n; i++) {
        lane[i % 16] = step(lane[i % 16], x[i]);
    }
    for (int width = 8; width > 0; width /= 2) {
        for (int l = 0; l < width; l++) {
            lane[l] = tree(lane[l], lane[l + width]);
        }
    }
    return lane[0];
}

static float
add(float a, float x)
{
    return a + x;
}

static float
add_abs(float a, float x)
{
    return a + fabsf(x);
}

static float
add_square(float a, float x)
{
    return fmaf(x, x, a);
}

static float
multiply(float a, float x)
{
    return a * x;
}

static float
sum(const float *x, int64_t n)
{
    return fold_row(x, n, 0.0f, add, add);
}

static float
sum_square(const float *x, int64_t n)
{
    return fold_row(x, n, 0.0f, add_square, add);
}

static float
max(const float *x, int64_t n)
{
    return fold_row(x, n, -INFINITY, pq_maxf, pq_maxf);
}

static float
ref_reduce(uint32_t op, const float *x, int64_t n)
{
    static float e[MAX_ELEMENTS];
    switch (op) {
    case PQ_REDUCE_SUM:
        return sum(x, n);
    case PQ_REDUCE_MEAN:
        return sum(x, n) / (float)n;
    case PQ_REDUCE_MAX:
        return max(x, n);
    case PQ_REDUCE_MIN:
        return fold_row(x, n, INFINITY, pq_minf, pq_minf);
    case PQ_REDUCE_PROD:
        return fold_row(x, n, 1.0f, multiply, multiply);
    case PQ_REDUCE_L1:
        return fold_row(x, n, 0.0f, add_abs, add);
    case PQ_REDUCE_L2:
        return sqrtf(sum_square(x, n));
    case PQ_REDUCE_SUM_SQUARE:
        return sum_square(x, n);
    case PQ_REDUCE_LOG_SUM:
        return pq_logf(sum(x, n));
    default:
        break;
    }
    float m = max(x, n);
    m = fabsf(m) < INFINITY ? m : 0.0f;
    for (int64_t i = 0; i < n; i++) {
        e[i] = pq_expf(x[i] - m);
    }
    return m + pq_logf(sum(e, n));
}

// ---- shapes --------------------------------------------------------------

static const pq_row_shape shapes[] = {
    {1, 1, 1},   {3, 15, 1},   {5, 16, 1},  {4, 17, 1},  {7, 33, 1},
    {3, 197, 1}, {2, 1000, 1}, {33, 4, 1},  {2, 5, 3},   {3, 16, 16},
    {2, 17, 19}, {1, 49, 40},  {2, 33, 64}, {1, 200, 2}, {2, 0, 3},
    {2, 0, 1},   {0, 5, 1},
};
#define SHAPE_COUNT (sizeof shapes / sizeof shapes[0])

static int64_t
element_count(const pq_row_shape *s)
{
    return s->outer * s->length * s->inner;
}

static void
fill(float *p, int64_t n, uint32_t seed, int has_specials)
{
    static const float special[] = {INFINITY, -INFINITY, NAN,    0.0f,
                                    -0.0f,    3e38f,     1e-40f, -5.0f};
    for (int64_t i = 0; i < n; i++) {
        seed = seed * 1664525u + 1013904223u;
        p[i] = (float)(int32_t)(seed >> 8 & 0xffff) * 0.0004f - 12.0f;
        if (has_specials && (seed >> 24) < 2) {
            p[i] = special[(seed >> 5) % 8];
        }
    }
}

// Row (o, i) of x as a contiguous copy.
static void
get_row(const pq_row_shape *s, const float *x, int64_t o, int64_t i, float *row)
{
    for (int64_t k = 0; k < s->length; k++) {
        row[k] = x[(o * s->length + k) * s->inner + i];
    }
}

static void
put_row(const pq_row_shape *s, float *y, int64_t o, int64_t i, const float *row)
{
    for (int64_t k = 0; k < s->length; k++) {
        y[(o * s->length + k) * s->inner + i] = row[k];
    }
}

static void
assert_same(const char *what, const float *got, const float *want, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        if (pq_f32_bits(got[i]) != pq_f32_bits(want[i]) &&
            !(isnan(got[i]) && isnan(want[i]))) {
            fail_msg("%s: element %ld of %ld is %a, want %a", what, (long)i,
                     (long)n, (double)got[i], (double)want[i]);
        }
    }
}

// ---- reductions ----------------------------------------------------------

static void
check_reduce(pq_jit *jit, const pq_row_shape *s, uint32_t op, uint32_t workers)
{
    pq_reduce_desc desc = {.shape = *s, .op = op, .dtype = PTQC_F32};
    pq_reduce *reduce = NULL;
    assert_int_equal(pq_reduce_prepare(jit, NULL, &desc, &reduce), PTQC_BE_OK);
    int64_t n = s->outer * s->inner;
    memset(Y, 0xee, sizeof Y);
    memset(W, 0xee, sizeof W);
    for (int64_t r = 0; r < n; r++) {
        get_row(s, X, r / s->inner, r % s->inner, R);
        W[r] = ref_reduce(op, R, s->length);
    }
    for (uint32_t w = 0; w < workers; w++) {
        pq_worker worker = {.index = w, .count = workers};
        pq_reduce_run(reduce, X, Y, &worker);
    }
    pq_reduce_destroy(reduce);
    char what[64];
    snprintf(what, sizeof what, "reduce %u [%ld][%ld][%ld]", op, (long)s->outer,
             (long)s->length, (long)s->inner);
    assert_same(what, Y, W, n + 20);
}

static void
reduces(pq_jit *jit)
{
    for (uint32_t i = 0; i < SHAPE_COUNT; i++) {
        fill(X, element_count(&shapes[i]), i, 0);
        for (uint32_t op = 0; op < PQ_REDUCE_COUNT; op++) {
            check_reduce(jit, &shapes[i], op, 1);
            check_reduce(jit, &shapes[i], op, 3);
        }
        fill(X, element_count(&shapes[i]), i, 1);
        for (uint32_t op = 0; op < PQ_REDUCE_COUNT; op++) {
            check_reduce(jit, &shapes[i], op, 2);
        }
    }
}

static void
test_reduce(void **state)
{
    (void)state;
    cpu_host_each_level(reduces);
}

static void
integer_reduces(pq_jit *jit)
{
    static const int32_t x[2 * 3 * 2] = {5, -7, INT32_MAX, 2, 1, 9,
                                         4, 4,  -8,        1, 3, 0};
    // [2][3][2] over axis 1
    static const int32_t want[][4] = {
        [PQ_REDUCE_SUM] = {INT32_MIN + 5, 4, -1, 5},
        [PQ_REDUCE_MEAN] = {715827884, 1, 0, 1},
        [PQ_REDUCE_MAX] = {INT32_MAX, 9, 4, 4},
        [PQ_REDUCE_MIN] = {1, -7, -8, 0},
        [PQ_REDUCE_PROD] = {2147483643, -126, -96, 0},
        [PQ_REDUCE_L1] = {INT32_MIN + 5, 18, 15, 5},
        [PQ_REDUCE_SUM_SQUARE] = {27, 134, 89, 17},
    };
    for (uint32_t op = 0; op < sizeof want / sizeof want[0]; op++) {
        pq_reduce_desc desc = {.shape = {2, 3, 2}, .op = op, .dtype = PTQC_I32};
        pq_reduce *reduce = NULL;
        ptqc_be_status st = pq_reduce_prepare(jit, NULL, &desc, &reduce);
        if (op == PQ_REDUCE_L2) {
            assert_int_equal(st, PTQC_BE_UNSUPPORTED);
            continue;
        }
        assert_int_equal(st, PTQC_BE_OK);
        int32_t y[4] = {0};
        pq_worker worker = {.count = 1};
        pq_reduce_run(reduce, x, y, &worker);
        pq_reduce_destroy(reduce);
        assert_memory_equal(y, want[op], sizeof y);
    }
    uint8_t codes[4] = {200, 3, 255, 17}, top = 0;
    pq_reduce_desc desc = {
        .shape = {1, 4, 1}, .op = PQ_REDUCE_MAX, .dtype = PTQC_U8};
    pq_reduce *reduce = NULL;
    assert_int_equal(pq_reduce_prepare(jit, NULL, &desc, &reduce), PTQC_BE_OK);
    pq_worker worker = {.count = 1};
    pq_reduce_run(reduce, codes, &top, &worker);
    pq_reduce_destroy(reduce);
    assert_int_equal(top, 255);
}

static void
test_integer_reduce(void **state)
{
    (void)state;
    cpu_host_each_level(integer_reduces);
}

// ---- softmax -------------------------------------------------------------

static void
ref_softmax(const pq_softmax_desc *d, float *row, const float *mask, int64_t n)
{
    static float e[MAX_ELEMENTS];
    for (int64_t i = 0; i < n; i++) {
        row[i] = d->scale != 0.0f ? row[i] * d->scale : row[i];
        row[i] = mask != NULL ? row[i] + mask[i] : row[i];
    }
    float m = max(row, n);
    for (int64_t i = 0; i < n; i++) {
        e[i] = pq_expf(row[i] - m);
    }
    float s = sum(e, n);
    for (int64_t i = 0; i < n; i++) {
        row[i] = d->log ? (row[i] - m) - pq_logf(s) : e[i] / s;
    }
}

static void
check_softmax(pq_jit *jit, const pq_softmax_desc *d, uint32_t workers)
{
    const pq_row_shape *s = &d->shape;
    for (int64_t r = 0; r < s->outer * s->inner; r++) {
        int64_t o = r / s->inner, row = o, offset = 0;
        for (int k = 3; d->mask && k >= 0; k--) {
            offset += row % d->row_dims[k] * d->mask_strides[k];
            row /= d->row_dims[k];
        }
        get_row(s, X, o, r % s->inner, R);
        ref_softmax(d, R, d->mask ? M + offset : NULL, s->length);
        put_row(s, W, o, r % s->inner, R);
    }
    pq_softmax *softmax = NULL;
    assert_int_equal(pq_softmax_prepare(jit, NULL, d, &softmax), PTQC_BE_OK);
    memset(Y, 0xee, sizeof Y);
    for (uint32_t w = 0; w < workers; w++) {
        pq_worker worker = {.index = w, .count = workers};
        pq_softmax_run(softmax, X, M, Y, &worker);
    }
    assert_same("softmax", Y, W, element_count(s));
    memcpy(Y, X, sizeof Y); // in place
    for (uint32_t w = 0; w < workers; w++) {
        pq_worker worker = {.index = w, .count = workers};
        pq_softmax_run(softmax, Y, M, Y, &worker);
    }
    assert_same("softmax in place", Y, W, element_count(s));
    pq_softmax_destroy(softmax);
}

static void
softmaxes(pq_jit *jit)
{
    for (uint32_t i = 0; i < SHAPE_COUNT; i++) {
        for (uint32_t form = 0; form < 4; form++) {
            pq_softmax_desc d = {.shape = shapes[i],
                                 .log = form & 1,
                                 .scale = form & 2 ? 0.125f : 0.0f};
            fill(X, element_count(&shapes[i]), i + 50, 0);
            check_softmax(jit, &d, 1);
            fill(X, element_count(&shapes[i]), i + 50, 1);
            check_softmax(jit, &d, 3);
        }
    }
    // scores [2][3][5][21], mask [2][1][1][21], then [1][1][5][21]
    pq_softmax_desc d = {.shape = {30, 21, 1},
                         .scale = 0.3f,
                         .mask = 1,
                         .row_dims = {1, 2, 3, 5},
                         .mask_strides = {0, 21, 0, 0}};
    fill(X, 630, 9, 0);
    fill(M, 200, 10, 0);
    M[3] = -INFINITY;
    check_softmax(jit, &d, 1);
    check_softmax(jit, &d, 4);
    d.mask_strides[1] = 0;
    d.mask_strides[3] = 21;
    check_softmax(jit, &d, 2);
    d.scale = 0.0f;
    d.log = 1;
    check_softmax(jit, &d, 7);
}

static void
test_softmax(void **state)
{
    (void)state;
    cpu_host_each_level(softmaxes);
}

// ---- norms ---------------------------------------------------------------

static void
ref_norm(const pq_norm_desc *d, float *row, int64_t n, int64_t first_channel,
         int64_t run)
{
    static float t[MAX_ELEMENTS];
    float mean = d->kind == PQ_NORM_LAYER ? sum(row, n) / (float)n : 0.0f;
    for (int64_t i = 0; i < n; i++) {
        t[i] = d->kind == PQ_NORM_LAYER ? row[i] - mean : row[i];
    }
    float inv = 1.0f / sqrtf(sum_square(t, n) / (float)n + d->epsilon);
    for (int64_t i = 0; i < n; i++) {
        int64_t c = first_channel + (run > 0 ? i / run : 0);
        float y = t[i] * inv;
        float scale = S[c], bias = S[2048 + c];
        row[i] = d->scale && d->bias ? fmaf(y, scale, bias)
                 : d->scale          ? y * scale
                 : d->bias           ? y + bias
                                     : y;
    }
}

static void
check_norm(pq_jit *jit, const pq_norm_desc *d, uint32_t workers)
{
    const pq_row_shape *s = &d->shape;
    for (int64_t r = 0; r < s->outer * s->inner; r++) {
        int64_t i = r % s->inner;
        int64_t channel = s->inner > 1 ? i : 0, run = s->inner > 1 ? 0 : 1;
        if (s->inner == 1 && d->segments > 0) {
            channel = r % d->groups * d->segments;
            run = s->length / d->segments;
        }
        get_row(s, X, r / s->inner, i, R);
        ref_norm(d, R, s->length, channel, run);
        put_row(s, W, r / s->inner, i, R);
    }
    pq_norm *norm = NULL;
    assert_int_equal(pq_norm_prepare(jit, NULL, d, &norm), PTQC_BE_OK);
    memset(Y, 0xee, sizeof Y);
    pq_norm_io io = {.in = X, .scale = S, .bias = S + 2048, .out = Y};
    for (uint32_t w = 0; w < workers; w++) {
        pq_worker worker = {.index = w, .count = workers};
        pq_norm_run(norm, &io, &worker);
    }
    pq_norm_destroy(norm);
    assert_same("norm", Y, W, element_count(s));
}

static void
norms(pq_jit *jit)
{
    fill(S, 4096, 1, 0);
    for (uint32_t i = 0; i < SHAPE_COUNT; i++) {
        fill(X, element_count(&shapes[i]), i, 0);
        for (uint32_t form = 0; form < 8; form++) {
            pq_norm_desc d = {.shape = shapes[i],
                              .kind = form & 1 ? PQ_NORM_RMS : PQ_NORM_LAYER,
                              .epsilon = 1e-5f,
                              .scale = form >> 1 & 1,
                              .bias = form >> 2};
            if (shapes[i].inner > 1) {
                d.segments = 1;
                d.groups = 1;
            }
            check_norm(jit, &d, 1);
            check_norm(jit, &d, 3);
        }
    }
    // group norm [2][12][35], 4 groups; instance norm [3][5][17]
    pq_norm_desc d = {.shape = {8, 105, 1},
                      .epsilon = 1e-3f,
                      .scale = 1,
                      .bias = 1,
                      .segments = 3,
                      .groups = 4};
    fill(X, 840, 4, 0);
    check_norm(jit, &d, 3);
    d.shape = (pq_row_shape){15, 17, 1};
    d.segments = 1;
    d.groups = 5;
    check_norm(jit, &d, 2);
    pq_norm *norm = NULL;
    d.segments = 2;
    assert_int_equal(pq_norm_prepare(jit, NULL, &d, &norm),
                     PTQC_BE_UNSUPPORTED);
}

static void
test_norm(void **state)
{
    (void)state;
    cpu_host_each_level(norms);
}

static void
lp_norms(pq_jit *jit)
{
    for (uint32_t i = 0; i < SHAPE_COUNT * 2; i++) {
        const pq_row_shape *s = &shapes[i / 2];
        pq_lp_norm_desc d = {.shape = *s, .p = 1 + i % 2};
        fill(X, element_count(s), i, 0);
        for (int64_t r = 0; r < s->outer * s->inner; r++) {
            get_row(s, X, r / s->inner, r % s->inner, R);
            if (r == 0) {
                memset(R, 0, sizeof R);
                put_row(s, X, 0, 0, R);
            }
            float norm = d.p == 1 ? fold_row(R, s->length, 0.0f, add_abs, add)
                                  : sqrtf(sum_square(R, s->length));
            for (int64_t k = 0; k < s->length; k++) {
                R[k] = norm == 0.0f ? 0.0f : R[k] / norm;
            }
            put_row(s, W, r / s->inner, r % s->inner, R);
        }
        pq_lp_norm *norm = NULL;
        assert_int_equal(pq_lp_norm_prepare(jit, NULL, &d, &norm), PTQC_BE_OK);
        pq_worker worker = {.count = 1};
        pq_lp_norm_run(norm, X, Y, &worker);
        pq_lp_norm_destroy(norm);
        assert_same("lp norm", Y, W, element_count(s));
    }
}

static void
test_lp_norm(void **state)
{
    (void)state;
    cpu_host_each_level(lp_norms);
}

// ---- dynamic quantization ------------------------------------------------

static void
check_quantize(pq_jit *jit, int64_t rows, int64_t length, uint32_t biased)
{
    static uint8_t got[MAX_ELEMENTS], want[MAX_ELEMENTS];
    static float scales[64], want_scales[64];
    int64_t stride = (length + 3) / 4 * 4 + 4;
    for (int64_t r = 0; r < rows; r++) {
        float a = 0.0f;
        for (int64_t k = 0; k < length; k++) {
            a = pq_maxf(fabsf(X[r * length + k]), a);
        }
        float s = a / 127.0f;
        s = s < 0x1p-126f ? 0.0f : s;
        float inv = s == 0.0f ? 0.0f : 1.0f / s;
        want_scales[r] = s;
        for (int64_t k = 0; k < stride; k++) {
            int32_t code = k < length ? pq_round_code(X[r * length + k] * inv,
                                                      -127.0f, 127.0f)
                                      : 0;
            want[r * stride + k] = (uint8_t)(code + (biased ? 128 : 0));
        }
    }
    pq_row_quantize_desc d = {.rows = rows,
                              .length = length,
                              .code_stride = stride,
                              .biased = biased};
    pq_row_quantize *q = NULL;
    assert_int_equal(pq_row_quantize_prepare(jit, NULL, &d, &q), PTQC_BE_OK);
    for (uint32_t w = 0; w < 3; w++) {
        pq_worker worker = {.index = w, .count = 3};
        pq_row_quantize_run(q, X, got, scales, &worker);
    }
    pq_row_quantize_destroy(q);
    assert_memory_equal(got, want, (size_t)(rows * stride));
    assert_same("scales", scales, want_scales, rows);
}

static void
quantizes(pq_jit *jit)
{
    static const int64_t lengths[] = {0, 1, 15, 16, 17, 33, 768, 1000};
    for (uint32_t i = 0; i < 8; i++) {
        fill(X, 7 * lengths[i], i, 0);
        check_quantize(jit, 7, lengths[i], i & 1);
        fill(X, 7 * lengths[i], i, 1);
        check_quantize(jit, 7, lengths[i], 1);
        check_quantize(jit, 7, lengths[i], 0);
    }
    for (int64_t k = 0; k < 100; k++) {
        X[k] = k < 50 ? 0.0f : 1e-42f; // a zero row and one of denormals
    }
    check_quantize(jit, 2, 50, 0);
}

static void
test_row_quantize(void **state)
{
    (void)state;
    cpu_host_each_level(quantizes);
}

// ---- plain loops ---------------------------------------------------------

static void
test_arg_reduce(void **state)
{
    (void)state;
    float x[] = {1.0f, 5.0f, 5.0f, NAN, 2.0f, NAN, 3.0f, 3.0f};
    int64_t y[2];
    pq_worker one = {.count = 1};
    pq_row_shape s = {1, 8, 1};
    pq_arg_reduce_run(&s, PTQC_F32, 0, x, y, &one);
    assert_int_equal(y[0], 3);
    pq_arg_reduce_run(&s, PTQC_F32, PQ_ARG_LAST | PQ_ARG_MIN, x, y, &one);
    assert_int_equal(y[0], 5);
    s.length = 3;
    pq_arg_reduce_run(&s, PTQC_F32, 0, x, y, &one);
    assert_int_equal(y[0], 1);
    pq_arg_reduce_run(&s, PTQC_F32, PQ_ARG_LAST, x, y, &one);
    assert_int_equal(y[0], 2);
    uint8_t codes[] = {7, 200, 7, 1, 9, 1}; // [1][3][2]
    s.inner = 2;
    pq_arg_reduce_run(&s, PTQC_U8, PQ_ARG_MIN, codes, y, &one);
    assert_int_equal(y[0], 0);
    assert_int_equal(y[1], 1);
    assert_false(pq_arg_reduce_has_dtype(PTQC_F16));
}

static void
test_cumsum(void **state)
{
    (void)state;
    float x[] = {1.0f, 2.0f, 4.0f}, y[6];
    int32_t a[] = {1, 10, 2, 20, 4, 40}, b[6];
    pq_worker one = {.count = 1};
    pq_row_shape s = {1, 3, 1};
    pq_cumsum_run(&s, PTQC_F32, 0, x, y, &one);
    assert_true(y[0] == 1.0f && y[1] == 3.0f && y[2] == 7.0f);
    pq_cumsum_run(&s, PTQC_F32, PQ_CUMSUM_EXCLUSIVE | PQ_CUMSUM_REVERSE, x, y,
                  &one);
    assert_true(y[0] == 6.0f && y[1] == 4.0f && y[2] == 0.0f);
    s.inner = 2;
    pq_cumsum_run(&s, PTQC_I32, PQ_CUMSUM_EXCLUSIVE, a, b, &one);
    int32_t want[] = {0, 0, 1, 10, 3, 30};
    assert_memory_equal(b, want, sizeof want);
}

static void
test_lrn(void **state)
{
    (void)state;
    if (pq_isa_detect() < 0) {
        print_message("skipped: this machine has no AVX2 and FMA\n");
        skip();
    }
    pq_lrn_desc d = {.shape = {2, 7, 3},
                     .size = 5,
                     .alpha = 1e-2f,
                     .beta = 0.75f,
                     .bias = 1.0f};
    fill(X, 42, 8, 0);
    pq_worker one = {.count = 1};
    pq_lrn_run(&d, X, Y, &one);
    for (int64_t i = 0; i < 42; i++) {
        int64_t c = i / 3 % 7;
        float s = 0.0f;
        for (int64_t k = c - 2; k <= c + 2; k++) {
            if (k >= 0 && k < 7) {
                float v = X[i + (k - c) * 3];
                s = fmaf(v, v, s);
            }
        }
        W[i] = X[i] / pq_powf(1.0f + 1e-2f / 5.0f * s, 0.75f);
    }
    assert_same("lrn", Y, W, 42);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reduce),
        cmocka_unit_test(test_integer_reduce),
        cmocka_unit_test(test_softmax),
        cmocka_unit_test(test_norm),
        cmocka_unit_test(test_lp_norm),
        cmocka_unit_test(test_row_quantize),
        cmocka_unit_test(test_arg_reduce),
        cmocka_unit_test(test_cumsum),
        cmocka_unit_test(test_lrn),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
