// SPDX-License-Identifier: Apache-2.0
//
// Steps along axes on a device against scalar rows: few and many rows, axes
// that are not innermost, one element, special values.
#include "kernel_host.h"

// [outer][length][inner]
typedef struct shape {
    int64_t outer, length, inner;
} shape;

static const shape SHAPES[] = {
    {1, 1, 1}, {3, 17, 1}, {1, 100, 1}, {40, 16, 1},
    {2, 5, 7}, {1, 3, 33}, {9, 250, 2},
};
#define SHAPE_COUNT (sizeof SHAPES / sizeof SHAPES[0])

static int64_t
count_of(const shape *s)
{
    return s->outer * s->length * s->inner;
}

static float *
make_floats(const shape *s, uint64_t seed)
{
    pq_test_random r = pq_test_random_seed(seed);
    float *x = calloc((size_t)count_of(s) + 1, sizeof *x);
    pq_test_fill_f32(&r, x, (size_t)count_of(s), -3.0f, 3.0f);
    return x;
}

// Row r into `out`.
static void
take_row(const shape *s, const float *x, int64_t r, double *out)
{
    int64_t start = r / s->inner * s->length * s->inner + r % s->inner;
    for (int64_t i = 0; i < s->length; i++) {
        out[i] = (double)x[start + i * s->inner];
    }
}

static int64_t
place(const shape *s, int64_t r, int64_t i)
{
    return r / s->inner * s->length * s->inner + r % s->inner + i * s->inner;
}

static void
check_near(double got, double want, double bound)
{
    if (isnan(want) ? !isnan(got) : !(fabs(got - want) <= bound)) {
        fail_msg("got %.9g, want %.9g, bound %g", got, want, bound);
    }
}

// ---- reduce ----------------------------------------------------------------

static double
reference_reduce(uint32_t op, const double *x, int64_t n)
{
    double sum = 0, prod = 1, high = -(double)INFINITY, low = (double)INFINITY,
           size = 0;
    double squares = 0, exps = 0;
    for (int64_t i = 0; i < n; i++) {
        sum += x[i];
        prod *= x[i];
        size += fabs(x[i]);
        squares += x[i] * x[i];
        exps += exp(x[i]);
        high = x[i] > high ? x[i] : high;
        low = x[i] < low ? x[i] : low;
    }
    const double all[PQ_REDUCE_COUNT] = {
        sum,  sum / (double)n, high,    low,      prod,
        size, sqrt(squares),   squares, log(sum), log(exps)};
    return all[op];
}

static void
test_reduce(void **state)
{
    (void)state;
    for (uint32_t op = 0; op < PQ_REDUCE_COUNT; op++) {
        for (size_t k = 0; k < SHAPE_COUNT; k++) {
            const shape *s = &SHAPES[k];
            int64_t n = s->outer * s->inner;
            float *x = make_floats(s, op * 10 + k);
            float *y = calloc((size_t)n, sizeof *y);
            double row[256];
            for (int64_t i = 0; i < count_of(s); i++) {
                x[i] = op == PQ_REDUCE_LOG_SUM ? fabsf(x[i]) : x[i];
                x[i] = op == PQ_REDUCE_PROD ? 1.0f + x[i] * 0.01f : x[i];
            }
            kernel_step step = {.kind = PQ_STEP_REDUCE};
            kernel_in(&step, PTQC_F32,
                      KERNEL_DIMS(s->outer, s->length, s->inner), x);
            kernel_out(&step, PTQC_F32, KERNEL_DIMS(s->outer, s->inner), y);
            kernel_param(&step, op);
            kernel_param(&step, 1);
            kernel_param(&step, 1);
            for (int careful = 0; careful < 2; careful++) {
                kernel_run_on(&step, careful != 0);
                for (int64_t r = 0; r < n; r++) {
                    take_row(s, x, r, row);
                    double want = reference_reduce(op, row, s->length);
                    check_near((double)y[r], want,
                               2e-6 * (double)s->length * 3.0 *
                                   (1.0 + fabs(want) / (double)s->length));
                }
            }
            free(x);
            free(y);
        }
    }
}

static void
test_reduce_ints(void **state)
{
    (void)state;
    int32_t x[2 * 37], y[2];
    pq_test_random r = pq_test_random_seed(4);
    for (int i = 0; i < 74; i++) {
        x[i] = (int32_t)pq_test_random_int(&r, INT32_MIN, INT32_MAX);
    }
    for (uint32_t op = 0; op <= PQ_REDUCE_PROD; op++) {
        kernel_step step = {.kind = PQ_STEP_REDUCE};
        kernel_in(&step, PTQC_I32, KERNEL_DIMS(2, 37), x);
        kernel_out(&step, PTQC_I32, KERNEL_DIMS(2), y);
        kernel_param(&step, op);
        kernel_param(&step, 1);
        kernel_param(&step, 1);
        kernel_run(&step);
        for (int k = 0; k < 2; k++) {
            uint32_t sum = 0, prod = 1;
            int32_t high = INT32_MIN, low = INT32_MAX;
            for (int i = 37 * k; i < 37 * k + 37; i++) {
                sum += (uint32_t)x[i];
                prod *= (uint32_t)x[i];
                high = x[i] > high ? x[i] : high;
                low = x[i] < low ? x[i] : low;
            }
            const int32_t all[] = {(int32_t)sum, (int32_t)sum / 37, high, low,
                                   (int32_t)prod};
            assert_int_equal(y[k], all[op]);
        }
    }
}

static void
check_code_mean(bool is_signed)
{
    uint32_t dtype = is_signed ? PTQC_I8 : PTQC_U8;
    float low = is_signed ? -205.0f : -77.0f; // zero point 77
    float high = is_signed ? 50.0f : 178.0f;
    for (size_t k = 0; k < SHAPE_COUNT; k++) {
        const shape *s = &SHAPES[k];
        int64_t n = s->outer * s->inner;
        uint8_t *x = calloc((size_t)count_of(s), 1), y[512];
        float real[512];
        pq_test_random random = pq_test_random_seed(k);
        pq_test_fill_bytes(&random, x, (size_t)count_of(s));
        for (int is_real = 0; is_real < 2; is_real++) {
            kernel_step step = {.kind = PQ_STEP_CODE_MEAN};
            kernel_in(&step, dtype, KERNEL_DIMS(s->outer, s->length, s->inner),
                      x);
            kernel_out(&step, is_real != 0 ? PTQC_F32 : dtype,
                       KERNEL_DIMS(s->outer, s->inner),
                       is_real != 0 ? (void *)real : y);
            kernel_param(&step, 1);
            kernel_param(&step, 1);
            kernel_param(&step, 9);
            kernel_param_f32(&step, 0.03f);
            kernel_param(&step, 77);
            kernel_param_f32(&step, 0.05f);
            kernel_run(&step);
            for (int64_t r = 0; r < n; r++) {
                int32_t sum = 0;
                for (int64_t i = 0; i < s->length; i++) {
                    uint8_t code = x[place(s, r, i)];
                    sum += (is_signed ? (int8_t)code : code) - 9;
                }
                float inverse = 1.0f / (float)s->length;
                float m = (is_real != 0 ? 0.03f : 0.03f / 0.05f) * inverse;
                float v = (float)sum * m;
                float t = v > low ? v : low;
                t = t < high ? t : high;
                if (is_real != 0) {
                    assert_memory_equal(&real[r], &v, 4);
                } else {
                    assert_int_equal(y[r], (uint8_t)((int)nearbyintf(t) + 77));
                }
            }
        }
        free(x);
    }
}

static void
test_code_mean(void **state)
{
    (void)state;
    check_code_mean(false);
    check_code_mean(true);
}

// ---- softmax and norms -----------------------------------------------------

typedef void (*row_fn)(const shape *s, const double *x, int64_t r, double *out,
                       double *out_bound);

static void
reference_softmax(const shape *s, const double *x, int64_t r, double *out,
                  double *out_bound)
{
    (void)r;
    double high = -(double)INFINITY, sum = 0;
    for (int64_t i = 0; i < s->length; i++) {
        high = x[i] > high ? x[i] : high;
    }
    for (int64_t i = 0; i < s->length; i++) {
        sum += exp(x[i] - high);
    }
    for (int64_t i = 0; i < s->length; i++) {
        out[i] = exp(x[i] - high) / sum;
    }
    *out_bound = (8.0 + 2.0 * (double)s->length) * 0x1p-24;
}

static void
reference_log_softmax(const shape *s, const double *x, int64_t r, double *out,
                      double *out_bound)
{
    reference_softmax(s, x, r, out, out_bound);
    for (int64_t i = 0; i < s->length; i++) {
        out[i] = log(out[i]);
    }
    *out_bound = 4e-6;
}

static void
reference_lp_norm(const shape *s, const double *x, int64_t r, double *out,
                  double *out_bound)
{
    (void)r;
    double sum = 0;
    for (int64_t i = 0; i < s->length; i++) {
        sum += x[i] * x[i];
    }
    for (int64_t i = 0; i < s->length; i++) {
        out[i] = x[i] / sqrt(sum);
    }
    *out_bound = (8.0 + (double)s->length) * 0x1p-24;
}

static void
check_rows(kernel_step *step, const shape *s, const float *x, const float *y,
           row_fn fn)
{
    double row[256], want[256], bound;
    for (int careful = 0; careful < 2; careful++) {
        kernel_run_on(step, careful != 0);
        for (int64_t r = 0; r < s->outer * s->inner; r++) {
            take_row(s, x, r, row);
            fn(s, row, r, want, &bound);
            for (int64_t i = 0; i < s->length; i++) {
                check_near((double)y[place(s, r, i)], want[i], bound);
            }
        }
    }
}

static void
test_softmax(void **state)
{
    (void)state;
    static const row_fn fns[] = {reference_softmax, reference_log_softmax,
                                 reference_lp_norm};
    for (size_t k = 0; k < SHAPE_COUNT; k++) {
        const shape *s = &SHAPES[k];
        for (uint32_t kind = 0; kind < 3; kind++) {
            float *x = make_floats(s, k + 5), *y = make_floats(s, 1);
            kernel_step step = {.kind = kind == 2 ? PQ_STEP_LP_NORM
                                                  : PQ_STEP_SOFTMAX};
            kernel_in(&step, PTQC_F32,
                      KERNEL_DIMS(s->outer, s->length, s->inner), x);
            kernel_out(&step, PTQC_F32,
                       KERNEL_DIMS(s->outer, s->length, s->inner), y);
            kernel_param(&step, 1);
            kernel_param(&step, kind);
            check_rows(&step, s, x, y, fns[kind]);
            free(x);
            free(y);
        }
    }
}

static void
test_softmax_special(void **state)
{
    (void)state;
    float x[3][4] = {{-INFINITY, 0, 0, -INFINITY},
                     {-INFINITY, -INFINITY, -INFINITY, -INFINITY},
                     {3e38f, -3e38f, 1, 2}};
    float y[3][4];
    kernel_step step = {.kind = PQ_STEP_SOFTMAX};
    kernel_in(&step, PTQC_F32, KERNEL_DIMS(3, 4), x);
    kernel_out(&step, PTQC_F32, KERNEL_DIMS(3, 4), y);
    kernel_param(&step, 1);
    kernel_param(&step, 0);
    kernel_run(&step);
    assert_true(y[0][0] == 0.0f && y[0][1] == 0.5f);
    assert_true(isnan(y[1][0]) && isnan(y[1][3]));
    assert_true(y[2][0] == 1.0f && y[2][1] == 0.0f);
}

// Group norm of [N][C][..] by rows of N * groups; with one group per row and
// channels as the row, layer and rms norm.
static void
check_norm(int64_t n, int64_t c, int64_t size, uint32_t kind, int64_t mode,
           int64_t detail)
{
    shape all = {n, c, size};
    float *x = make_floats(&all, 3), *y = make_floats(&all, 4);
    bool is_rows = mode == 0, is_last = mode == 2;
    int64_t params = is_rows ? size : is_last ? size : c;
    float scale[64], bias[64];
    pq_test_random r = pq_test_random_seed(12);
    pq_test_fill_f32(&r, scale, (size_t)params, 0.5f, 2.0f);
    pq_test_fill_f32(&r, bias, (size_t)params, -1.0f, 1.0f);
    kernel_step step = {.kind = PQ_STEP_NORM};
    kernel_in(&step, PTQC_F32, KERNEL_DIMS(n, c, size), x);
    kernel_in(&step, PTQC_F32, KERNEL_DIMS(params), scale);
    if (kind == PQ_NORM_RMS) {
        kernel_absent(&step);
    } else {
        kernel_in(&step, PTQC_F32, KERNEL_DIMS(params), bias);
    }
    kernel_out(&step, PTQC_F32, KERNEL_DIMS(n, c, size), y);
    kernel_param(&step, kind);
    kernel_param_f32(&step, 1e-5f);
    kernel_param(&step, mode);
    kernel_param(&step, detail);
    kernel_run(&step);
    int64_t groups = mode == 3 ? detail : c;
    shape rows = is_rows   ? (shape){n * c, size, 1}
                 : is_last ? (shape){n, c, size}
                           : (shape){n * groups, c / groups * size, 1};
    double row[256];
    for (int64_t k = 0; k < rows.outer * rows.inner; k++) {
        double mean = 0, var = 0;
        take_row(&rows, x, k, row);
        for (int64_t i = 0; i < rows.length && kind == PQ_NORM_LAYER; i++) {
            mean += row[i] / (double)rows.length;
        }
        for (int64_t i = 0; i < rows.length; i++) {
            var += (row[i] - mean) * (row[i] - mean) / (double)rows.length;
        }
        for (int64_t i = 0; i < rows.length; i++) {
            int64_t p = is_rows   ? i
                        : is_last ? k % size
                                  : k % groups * (c / groups) + i / size;
            double t = (row[i] - mean) / sqrt(var + 1e-5);
            double want = t * (double)scale[p] +
                          (kind == PQ_NORM_LAYER ? (double)bias[p] : 0.0);
            check_near((double)y[place(&rows, k, i)], want,
                       (16.0 + 4.0 * (double)rows.length) * 0x1p-24 *
                           (1.0 + fabs(t)) * (double)scale[p]);
        }
    }
    free(x);
    free(y);
}

static void
test_norms(void **state)
{
    (void)state;
    check_norm(1, 1, 64, PQ_NORM_RMS, 0, 2);
    check_norm(5, 4, 33, PQ_NORM_RMS, 0, 2);
    check_norm(5, 4, 33, PQ_NORM_LAYER, 0, 2);
    check_norm(2, 6, 9, PQ_NORM_LAYER, 1, 0);
    check_norm(2, 6, 9, PQ_NORM_LAYER, 2, 0);
    check_norm(3, 8, 5, PQ_NORM_LAYER, 3, 2);
}

static void
test_lrn(void **state)
{
    (void)state;
    shape s = {2, 9, 5};
    float *x = make_floats(&s, 3), *y = make_floats(&s, 4);
    double row[16];
    kernel_step step = {.kind = PQ_STEP_LRN};
    kernel_in(&step, PTQC_F32, KERNEL_DIMS(2, 9, 5), x);
    kernel_out(&step, PTQC_F32, KERNEL_DIMS(2, 9, 5), y);
    kernel_param(&step, 1);
    kernel_param(&step, 4);
    kernel_param_f32(&step, 0.1f);
    kernel_param_f32(&step, 0.75f);
    kernel_param_f32(&step, 1.5f);
    kernel_run(&step);
    for (int64_t r = 0; r < 10; r++) {
        take_row(&s, x, r, row);
        for (int64_t c = 0; c < 9; c++) {
            double sum = 0;
            for (int64_t i = c - 1; i <= c + 2; i++) {
                sum += i >= 0 && i < 9 ? row[i] * row[i] : 0.0;
            }
            check_near((double)y[place(&s, r, c)],
                       row[c] / pow(1.5 + 0.1 / 4.0 * sum, 0.75), 2e-6);
        }
    }
    free(x);
    free(y);
}

// ---- dynamic quantization --------------------------------------------------

static void
check_quantize(uint32_t dtype, int64_t rows, int64_t length)
{
    shape s = {rows, length, 1};
    float *x = make_floats(&s, (uint64_t)length), scales[64];
    uint8_t codes[8192];
    for (int64_t i = 0; i < length; i++) {
        x[i] *= 1e-42f; // a row that is too small for a scale
    }
    kernel_step step = {.kind = PQ_STEP_ROW_QUANTIZE};
    kernel_in(&step, PTQC_F32, KERNEL_DIMS(rows, length), x);
    kernel_out(&step, dtype, KERNEL_DIMS(rows, length), codes);
    kernel_out(&step, PTQC_F32, KERNEL_DIMS(rows, 1), scales);
    for (int careful = 0; careful < 2; careful++) {
        kernel_run_on(&step, careful != 0);
        for (int64_t r = 0; r < rows; r++) {
            float a = 0.0f;
            for (int64_t i = 0; i < length; i++) {
                a = fabsf(x[r * length + i]) > a ? fabsf(x[r * length + i]) : a;
            }
            float scale = a / 127.0f;
            scale = scale < 0x1p-126f ? 0.0f : scale;
            float inverse = scale == 0.0f ? 0.0f : 1.0f / scale;
            assert_memory_equal(&scales[r], &scale, 4);
            for (int64_t i = 0; i < length; i++) {
                float t = x[r * length + i] * inverse;
                t = t > -127.0f ? t : -127.0f;
                t = t < 127.0f ? t : 127.0f;
                int code = (int)nearbyintf(t) + (dtype == PTQC_U8 ? 128 : 0);
                assert_int_equal(codes[r * length + i], (uint8_t)code);
            }
        }
    }
    free(x);
}

static void
test_row_quantize(void **state)
{
    (void)state;
    check_quantize(PTQC_U8, 1, 64);
    check_quantize(PTQC_I8, 1, 64);
    check_quantize(PTQC_U8, 33, 20);
    check_quantize(PTQC_I8, 33, 20);
    check_quantize(PTQC_U8, 7, 37);
    check_quantize(PTQC_I8, 7, 37);
    check_quantize(PTQC_U8, 3, 1);
    check_quantize(PTQC_I8, 3, 1);
}

// ---- arg reduce, cumsum ----------------------------------------------------

static void
test_arg_reduce(void **state)
{
    (void)state;
    float x[3][5] = {{1, 5, 5, NAN, NAN}, {2, 2, -1, -1, 0}, {7, 7, 7, 7, 7}};
    static const int64_t want[4][3] = {
        {3, 0, 0}, {3, 2, 0}, {4, 1, 4}, {4, 3, 4}};
    for (uint32_t flags = 0; flags < 4; flags++) {
        int64_t y[3];
        kernel_step step = {.kind = PQ_STEP_ARG_REDUCE};
        kernel_in(&step, PTQC_F32, KERNEL_DIMS(3, 5), x);
        kernel_out(&step, PTQC_I64, KERNEL_DIMS(3), y);
        kernel_param(&step, 1);
        kernel_param(&step, flags);
        kernel_run(&step);
        for (int i = 0; i < 3; i++) {
            assert_int_equal(y[i], want[flags][i]);
        }
    }
}

static void
test_cumsum(void **state)
{
    (void)state;
    for (uint32_t flags = 0; flags < 4; flags++) {
        shape s = {2, 7, 3};
        float *x = make_floats(&s, 3), *y = make_floats(&s, 4);
        kernel_step step = {.kind = PQ_STEP_CUMSUM};
        kernel_in(&step, PTQC_F32, KERNEL_DIMS(2, 7, 3), x);
        kernel_out(&step, PTQC_F32, KERNEL_DIMS(2, 7, 3), y);
        kernel_param(&step, 1);
        kernel_param(&step, flags);
        kernel_run(&step);
        for (int64_t r = 0; r < 6; r++) {
            float sum = 0;
            for (int64_t k = 0; k < 7; k++) {
                int64_t at = place(&s, r, (flags & 2) != 0 ? 6 - k : k);
                float next = sum + x[at];
                assert_true(y[at] == ((flags & 1) != 0 ? sum : next));
                sum = next;
            }
        }
        free(x);
        free(y);
    }
}

// ---- long rows -------------------------------------------------------------

// More elements than llvmpipe makes turns of a loop: they are taken many at a
// time, by teams where an item would turn too often, or refused.
static void
test_long_rows(void **state)
{
    (void)state;
    const int64_t n = 90000, rows = 9;
    float *x = calloc((size_t)(n * rows), sizeof *x);
    float *y = calloc((size_t)(n * rows), sizeof *y);
    int64_t found[9];
    assert_true(x != NULL && y != NULL);
    for (int64_t i = 0; i < n * rows; i++) {
        x[i] = i % n == n - 1 - i / n ? 3.0f : (float)(i % 7);
    }
    kernel_step step = {.kind = PQ_STEP_SOFTMAX};
    kernel_in(&step, PTQC_F32, KERNEL_DIMS(rows, n), x);
    kernel_out(&step, PTQC_F32, KERNEL_DIMS(rows, n), y);
    kernel_param(&step, 1);
    kernel_param(&step, 0);
    kernel_run(&step);
    for (int64_t r = 0; r < rows; r++) {
        double sum = 0.0;
        for (int64_t i = 0; i < n; i++) {
            sum += (double)y[r * n + i];
        }
        check_near(sum, 1.0, 1e-4);
    }
    for (int64_t r = 0; r < rows; r++) {
        x[(r + 1) * n - 1 - r] = 10.0f;
    }
    kernel_step arg = {.kind = PQ_STEP_ARG_REDUCE};
    kernel_in(&arg, PTQC_F32, KERNEL_DIMS(rows, n), x);
    kernel_out(&arg, PTQC_I64, KERNEL_DIMS(rows), found);
    kernel_param(&arg, 1);
    kernel_param(&arg, 0);
    kernel_run(&arg);
    for (int64_t r = 0; r < rows; r++) {
        assert_int_equal(found[r], n - 1 - r);
    }
    free(x);
    free(y);
}

static ptqc_be_status
launch_long(int64_t n, uint32_t max_turns, const char **why)
{
    kernel_step step = {.kind = PQ_STEP_ARG_REDUCE};
    kernel_in(&step, PTQC_F32, KERNEL_DIMS(1, n), NULL);
    kernel_out(&step, PTQC_I64, KERNEL_DIMS(1), NULL);
    kernel_param(&step, 1);
    kernel_param(&step, 0);
    const pq_kg_tensor *args[KERNEL_ARGS];
    pq_kg_job job = kernel_job(&step, args);
    pq_mem mem = {.host = &kernel_host};
    const pq_kg_limits limits = {.is_cpu = true, .max_turns = max_turns};
    pq_kg_launch launch;
    ptqc_be_status st = pq_kg_launch_of(&mem, &job, &limits, &launch, why);
    pq_mem_release(&mem);
    return st;
}

static void
test_too_long(void **state)
{
    (void)state;
    const char *why = "";
    assert_int_equal(launch_long(2000000, 0, &why), PTQC_BE_OK);
    assert_int_equal(launch_long(1000000, 65535, &why), PTQC_BE_OK);
    assert_int_equal(launch_long(2000000, 65535, &why), PTQC_BE_RESOURCE);
    assert_non_null(strstr(why, "more turns of a loop"));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reduce),
        cmocka_unit_test(test_reduce_ints),
        cmocka_unit_test(test_code_mean),
        cmocka_unit_test(test_softmax),
        cmocka_unit_test(test_softmax_special),
        cmocka_unit_test(test_norms),
        cmocka_unit_test(test_lrn),
        cmocka_unit_test(test_row_quantize),
        cmocka_unit_test(test_arg_reduce),
        cmocka_unit_test(test_cumsum),
        cmocka_unit_test(test_long_rows),
        cmocka_unit_test(test_too_long),
    };
    return cmocka_run_group_tests(tests, NULL, kernel_teardown);
}
