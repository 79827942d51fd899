// SPDX-License-Identifier: Apache-2.0
//
// Matmul and convolution with planar weights on a device against scalar sums:
// every format, odd sizes, groups that do not divide, tails of words.
#include "backends/kgen/expr.h"
#include "base/float16.h"
#include "base/narrow.h"
#include "kernel_host.h"
#include "planar_pack.h"

static float
half_of(uint32_t dtype, float x)
{
    return dtype == PTQC_F16    ? pq_f16_to_f32(pq_f32_to_f16(x))
           : dtype == PTQC_BF16 ? pq_bf16_to_f32(pq_f32_to_bf16(x))
                                : x;
}

// ---- matmul ----------------------------------------------------------------

typedef struct matmul_case {
    pq_kg_weight format;
    pq_kg_scales scales;
    uint32_t x_dtype, y_dtype;
    int64_t m, n, k, segment;
} matmul_case;

typedef struct matmul_data {
    uint8_t *x, *w, *scales, *y;
    double *x_real, *w_real; // [m][k], [n][k]: codes less zero points
    float *scale;            // [segments][n]
    float *bias;             // [n]
    int64_t segments;
} matmul_data;

static uint32_t
random_weight(const matmul_case *c, pq_test_random *r, double *out_real)
{
    float x = pq_test_random_f32(r, -1.0f, 1.0f);
    int64_t code =
        pq_test_random_int(r, c->format == PQ_KG_WEIGHT_I4 ? -8 : -128,
                           c->format == PQ_KG_WEIGHT_I4 ? 7 : 127);
    uint32_t bits = (uint32_t)code & 255u;
    *out_real = (double)code;
    if (c->format == PQ_KG_WEIGHT_F32) {
        memcpy(&bits, &x, 4);
        *out_real = (double)x;
    } else if (c->format == PQ_KG_WEIGHT_F16) {
        bits = pq_f32_to_f16(x);
        *out_real = (double)pq_f16_to_f32((uint16_t)bits);
    } else if (c->format == PQ_KG_WEIGHT_BF16) {
        bits = pq_f32_to_bf16(x);
        *out_real = (double)pq_bf16_to_f32((uint16_t)bits);
    } else if (c->format == PQ_KG_WEIGHT_F8E4M3) {
        bits = pq_f32_to_e4m3(x);
        *out_real = (double)pq_e4m3_to_f32((uint8_t)bits);
    } else if (c->format == PQ_KG_WEIGHT_F8E5M2) {
        bits = pq_f32_to_e5m2(x);
        *out_real = (double)pq_e5m2_to_f32((uint8_t)bits);
    } else if (c->format == PQ_KG_WEIGHT_F4E2M1 ||
               c->format == PQ_KG_WEIGHT_NF4) {
        const pq_narrow *n = pq_narrow_of(
            c->format == PQ_KG_WEIGHT_NF4 ? PTQC_NF4 : PTQC_F4E2M1);
        bits &= 15u;
        *out_real = (double)n->to_f32((uint8_t)bits);
    }
    return bits;
}

static void
make_x(const matmul_case *c, pq_test_random *r, matmul_data *d)
{
    for (int64_t i = 0; i < c->m * c->k; i++) {
        float x = half_of(c->x_dtype, pq_test_random_f32(r, -2.0f, 2.0f));
        int64_t code = c->x_dtype == PTQC_U8 ? pq_test_random_int(r, 0, 255)
                                             : pq_test_random_int(r, -128, 127);
        d->x_real[i] = (double)x;
        if (c->x_dtype == PTQC_F32) {
            memcpy(d->x + 4 * i, &x, 4);
        } else if (c->x_dtype == PTQC_F16 || c->x_dtype == PTQC_BF16) {
            uint16_t h =
                c->x_dtype == PTQC_F16 ? pq_f32_to_f16(x) : pq_f32_to_bf16(x);
            memcpy(d->x + 2 * i, &h, 2);
        } else {
            d->x[i] = (uint8_t)code;
            d->x_real[i] = (double)code;
        }
    }
}

static void
make_scales(const matmul_case *c, pq_test_random *r, matmul_data *d,
            int32_t *zeros)
{
    for (int64_t i = 0; i < d->segments * c->n; i++) {
        float s =
            pq_f16_to_f32(pq_f32_to_f16(pq_test_random_f32(r, 0.001f, 0.1f)));
        int32_t z = (int32_t)pq_test_random_int(r, -8, 7);
        bool has_zero = c->scales >= PQ_KG_SCALES_F16;
        bool is_scaled =
            c->scales != PQ_KG_SCALES_NONE && c->scales != PQ_KG_SCALES_ZERO;
        int64_t row = i % c->n;
        z = c->scales == PQ_KG_SCALES_ZERO && i >= c->n ? zeros[row] : z;
        zeros[i] = has_zero ? z : 0;
        d->scale[i] = is_scaled ? s : 1.0f;
        uint32_t word = pq_f32_to_f16(s) | (uint32_t)pq_f32_to_f16((float)z)
                                               << 16;
        if (c->scales == PQ_KG_SCALES_F32) {
            memcpy(d->scales + 4 * i, &s, 4);
        } else if (c->scales == PQ_KG_SCALES_F16) {
            memcpy(d->scales + 4 * i, &word, 4);
        } else if (c->scales == PQ_KG_SCALES_WIDE) {
            memcpy(d->scales + 8 * i, &s, 4);
            memcpy(d->scales + 8 * i + 4, &z, 4);
        } else if (c->scales == PQ_KG_SCALES_ZERO && i < c->n) {
            memcpy(d->scales + 4 * i, &z, 4);
        }
    }
}

static void
make_weights(const matmul_case *c, pq_test_random *r, matmul_data *d,
             const int32_t *zeros)
{
    for (int64_t n = 0; n < c->n; n++) {
        for (int64_t k = 0; k < c->k; k++) {
            double real;
            uint32_t bits = random_weight(c, r, &real);
            int64_t s = k / c->segment;
            planar_put(d->w, c->format, c->n, c->segment, n, s, k % c->segment,
                       bits);
            d->w_real[n * c->k + k] = real - zeros[s * c->n + n];
        }
    }
}

static matmul_data
make_matmul(const matmul_case *c)
{
    pq_test_random r = pq_test_random_seed((uint64_t)(c->m * 7 + c->n + c->k));
    matmul_data d = {.segments =
                         c->k > 0 ? (c->k + c->segment - 1) / c->segment : 0};
    size_t mk = (size_t)(c->m * c->k), nk = (size_t)(c->n * c->k);
    size_t lines = (size_t)(d.segments * c->n);
    int32_t *zeros = calloc(lines + 1, 4);
    d.x = calloc(mk + 1, 4);
    d.w = calloc(planar_bytes(c->format, c->n, d.segments, c->segment) + 1, 1);
    d.scales = calloc(lines + 1, 8);
    d.y = calloc((size_t)(c->m * c->n) + 1, 4);
    d.x_real = calloc(mk + 1, sizeof *d.x_real);
    d.w_real = calloc(nk + 1, sizeof *d.w_real);
    d.scale = calloc(lines + 1, 4);
    d.bias = calloc((size_t)c->n + 1, 4);
    make_x(c, &r, &d);
    make_scales(c, &r, &d, zeros);
    make_weights(c, &r, &d, zeros);
    pq_test_fill_f32(&r, d.bias, (size_t)c->n, -1.0f, 1.0f);
    free(zeros);
    return d;
}

static void
free_matmul(matmul_data *d)
{
    void *all[] = {d->x,      d->w,      d->scales, d->y,
                   d->x_real, d->w_real, d->scale,  d->bias};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        free(all[i]);
    }
}

static bool
has_codes(const matmul_case *c)
{
    return c->x_dtype == PTQC_U8 || c->x_dtype == PTQC_I8;
}

// The sum as the kernel's rules say; *out_size: what its rounding is of.
static float
reference_sum(const matmul_case *c, const matmul_data *d, int64_t m, int64_t n,
              double *out_size)
{
    double sum = 0.0, size = 0.0;
    float acc = 0.0f;
    for (int64_t s = 0; s < d->segments; s++) {
        double part = 0.0;
        float scale = d->scale[s * c->n + n];
        for (int64_t k = s * c->segment; k < c->k && k < (s + 1) * c->segment;
             k++) {
            double t = d->x_real[m * c->k + k] * d->w_real[n * c->k + k];
            part += t;
            size += fabs(t * (double)scale);
            // what is subtracted for zero points rounds, too
            size += fabs(d->x_real[m * c->k + k]) * 8.0 * (double)scale;
        }
        acc = fmaf((float)part, scale, acc);
        sum += part * (double)scale;
    }
    *out_size = size;
    bool is_exact = has_codes(c) && c->scales != PQ_KG_SCALES_NONE &&
                    c->scales != PQ_KG_SCALES_ZERO;
    return is_exact ? acc : (float)sum;
}

static bool
sum_is_whole(const matmul_case *c)
{
    return has_codes(c) &&
           (c->scales == PQ_KG_SCALES_NONE || c->scales == PQ_KG_SCALES_ZERO);
}

// y = sum + bias, f32; or relu of it as codes of 0.05 (u8, zero point 3), or
// as f16.
#define OUT_SCALE 0.05f
#define OUT_ZERO  3

static void
add_expression(kernel_step *s, const matmul_case *c, uint32_t rank)
{
    bool is_whole = sum_is_whole(c);
    bool has_code_out = c->y_dtype == PTQC_U8;
    kernel_param(s, has_code_out ? 8 : 5);
    kernel_param(s, has_code_out ? 2 : 0);
    kernel_param(s, has_code_out ? 7 : 4);
    kernel_param(s, rank);
    kernel_param(
        s, kernel_op(PQ_EXPR_LOAD, is_whole ? PTQC_I32 : PTQC_F32, 0, 0, 0, 0));
    kernel_param(s, kernel_op(PQ_EXPR_CAST, PTQC_F32, 0, 0, 0, 0));
    kernel_param(s, kernel_op(PQ_EXPR_LOAD, PTQC_F32, 0, 0, 0, 1));
    kernel_param(s, kernel_op(PQ_EXPR_ADD, PTQC_F32, 1, 2, 0, 0));
    if (has_code_out) {
        kernel_param(s, kernel_op(PQ_EXPR_RELU, PTQC_F32, 3, 0, 0, 0));
        kernel_param(s, kernel_op(PQ_EXPR_PARAM, PTQC_F32, 0, 0, 0, 0));
        kernel_param(s, kernel_op(PQ_EXPR_PARAM, PTQC_I32, 0, 0, 0, 1));
        kernel_param(s, kernel_op(PQ_EXPR_QUANTIZE_MUL, PTQC_U8, 4, 5, 6, 0));
        kernel_param_f32(s, 1.0f / OUT_SCALE);
        kernel_param(s, OUT_ZERO);
    } else {
        kernel_param(s, kernel_op(PQ_EXPR_CAST, c->y_dtype, 3, 0, 0, 0));
    }
    kernel_param(s, kernel_map(1, rank)); // bias by row
}

static uint8_t
reference_code(float v)
{
    v = v < 0.0f ? 0.0f : v;
    float t = v * (1.0f / OUT_SCALE);
    t = t > (float)-OUT_ZERO ? t : (float)-OUT_ZERO;
    t = t < (float)(255 - OUT_ZERO) ? t : (float)(255 - OUT_ZERO);
    return (uint8_t)((int)nearbyintf(t) + OUT_ZERO);
}

static void
compare(const matmul_case *c, const matmul_data *d)
{
    for (int64_t i = 0; i < c->m * c->n; i++) {
        double size;
        float sum = reference_sum(c, d, i / c->n, i % c->n, &size);
        float want = sum + d->bias[i % c->n];
        // docs/numerics.md section 10
        double bound = has_codes(c)
                           ? 0.0
                           : 2.0 * (double)(c->k + 2) * 0x1p-24 * size +
                                 0x1p-22 * fabs((double)want);
        if (c->y_dtype == PTQC_U8) {
            uint8_t low = reference_code(want - (float)bound);
            uint8_t high = reference_code(want + (float)bound);
            if (d->y[i] < low || d->y[i] > high) {
                fail_msg("[%lld]: %d, want %d .. %d", (long long)i, d->y[i],
                         low, high);
            }
            continue;
        }
        float got;
        if (c->y_dtype == PTQC_F32) {
            memcpy(&got, d->y + 4 * i, 4);
        } else {
            uint16_t h;
            memcpy(&h, d->y + 2 * i, 2);
            got = pq_f16_to_f32(h);
            bound += 0x1p-10 * fabs((double)want);
        }
        if (!(fabs((double)got - (double)want) <= bound)) {
            fail_msg("[%lld]: %.9g, want %.9g, bound %g", (long long)i,
                     (double)got, (double)want, bound);
        }
    }
}

static void
check_matmul(const matmul_case *c)
{
    matmul_data d = make_matmul(c);
    kernel_step s = {.kind = PQ_STEP_PLANAR_MATMUL};
    int64_t w_bytes =
        (int64_t)planar_bytes(c->format, c->n, d.segments, c->segment);
    int64_t lines = c->scales == PQ_KG_SCALES_ZERO ? c->n : d.segments * c->n;
    kernel_in(&s, c->x_dtype, KERNEL_DIMS(1, c->m, c->k), d.x);
    kernel_in(&s, PTQC_U8, KERNEL_DIMS(w_bytes), d.w);
    if (c->scales == PQ_KG_SCALES_NONE) {
        kernel_absent(&s);
    } else {
        kernel_in(&s, PTQC_U8,
                  KERNEL_DIMS(lines * (c->scales == PQ_KG_SCALES_WIDE ? 8 : 4)),
                  d.scales);
    }
    kernel_in(&s, PTQC_F32, KERNEL_DIMS(c->n), d.bias);
    kernel_out(&s, c->y_dtype, KERNEL_DIMS(1, c->m, c->n), d.y);
    const int64_t own[] = {c->n,      c->k, c->format, c->segment,
                           c->scales, 0,    c->n};
    for (size_t i = 0; i < 7; i++) {
        kernel_param(&s, own[i]);
    }
    add_expression(&s, c, 3);
    kernel_run(&s);
    compare(c, &d);
    if (c->m % 2 != 0) { // another schedule
        kernel_run_on(&s, true);
        compare(c, &d);
    }
    free_matmul(&d);
}

static void
test_matmul_float(void **state)
{
    (void)state;
    static const uint32_t xs[] = {PTQC_F32, PTQC_F16, PTQC_BF16};
    for (uint32_t f = 0; f < PQ_KG_WEIGHT_COUNT; f++) {
        matmul_case c = {.format = (pq_kg_weight)f,
                         .x_dtype = xs[f % 3],
                         .y_dtype = PTQC_F32,
                         .m = 3,
                         .n = 37,
                         .k = 64,
                         .segment = 64};
        check_matmul(&c); // wide
        c.k = c.segment = 45;
        check_matmul(&c); // loose
        c.m = 33;
        check_matmul(&c);
    }
}

static void
test_matmul_groups(void **state)
{
    (void)state;
    for (uint32_t s = PQ_KG_SCALES_F32; s <= PQ_KG_SCALES_WIDE; s++) {
        matmul_case c = {.format = PQ_KG_WEIGHT_I4,
                         .scales = (pq_kg_scales)s,
                         .x_dtype = PTQC_F32,
                         .y_dtype = PTQC_F32,
                         .m = 1,
                         .n = 40,
                         .k = 256,
                         .segment = 32};
        check_matmul(&c);
        c.segment = 128;
        check_matmul(&c);
        c.segment = 48; // ragged, not whole blocks
        check_matmul(&c);
        c.segment = 96;
        check_matmul(&c);
        c.segment = 192;
        check_matmul(&c);
        c.k = 100;
        c.segment = 32;
        c.m = 9;
        check_matmul(&c);
        c.format = PQ_KG_WEIGHT_F4E2M1;
        check_matmul(&c);
        c.format = PQ_KG_WEIGHT_NF4;
        check_matmul(&c);
        c.format = PQ_KG_WEIGHT_I8;
        check_matmul(&c);
        c.y_dtype = PTQC_F16;
        c.n = 39;
        check_matmul(&c);
        c.k = c.segment = 1;
        c.m = c.n = 1;
        check_matmul(&c);
    }
}

static void
test_matmul_codes(void **state)
{
    (void)state;
    for (uint32_t s = 0; s < PQ_KG_SCALES_COUNT; s++) {
        for (uint32_t f = PQ_KG_WEIGHT_I8; f <= PQ_KG_WEIGHT_I4; f++) {
            matmul_case c = {.format = (pq_kg_weight)f,
                             .scales = (pq_kg_scales)s,
                             .x_dtype = s % 2 == 0 ? PTQC_U8 : PTQC_I8,
                             .y_dtype = PTQC_F32,
                             .m = 5,
                             .n = 24,
                             .k = 128,
                             .segment = 128};
            bool is_one = s == PQ_KG_SCALES_NONE || s == PQ_KG_SCALES_ZERO;
            c.segment = is_one ? c.k : 32;
            check_matmul(&c);
            c.k = 99;
            c.segment = is_one ? c.k : 40;
            c.m = 11;
            check_matmul(&c);
            c.y_dtype = PTQC_U8;
            check_matmul(&c);
            c.n = 23; // codes of rows that share a word
            check_matmul(&c);
        }
    }
}

static void
test_matmul_empty(void **state)
{
    (void)state;
    matmul_case c = {.format = PQ_KG_WEIGHT_F32,
                     .x_dtype = PTQC_F32,
                     .y_dtype = PTQC_F32,
                     .m = 0,
                     .n = 8,
                     .k = 16,
                     .segment = 16};
    check_matmul(&c);
    c.m = 2;
    c.k = c.segment = 0;
    check_matmul(&c);
}

// ---- convolution -----------------------------------------------------------

typedef struct conv_case {
    pq_kg_weight format;
    uint32_t x_dtype;
    int64_t batch, groups, c, oc;
    int64_t in[2], kernel[2], stride[2], dilation[2], pad[2], pad_end[2];
    bool is_transposed;
} conv_case;

static int64_t
out_size(const conv_case *c, int i)
{
    int64_t reach = (c->kernel[i] - 1) * c->dilation[i] + 1;
    return c->is_transposed
               ? (c->in[i] - 1) * c->stride[i] + reach - c->pad[i] -
                     c->pad_end[i]
               : (c->in[i] + c->pad[i] + c->pad_end[i] - reach) / c->stride[i] +
                     1;
}

#define PAD_CODE 7

// Position in x of output o at tap t along axis i; -1: in the padding (or, of
// a transposed one, nowhere: -2).
static int64_t
position(const conv_case *c, int i, int64_t o, int64_t t)
{
    if (!c->is_transposed) {
        int64_t p = o * c->stride[i] + t * c->dilation[i] - c->pad[i];
        return p >= 0 && p < c->in[i] ? p : -1;
    }
    int64_t p = o + c->pad[i] - t * c->dilation[i];
    return p >= 0 && p % c->stride[i] == 0 && p / c->stride[i] < c->in[i]
               ? p / c->stride[i]
               : -1;
}

static double
conv_sum(const conv_case *c, const double *x, const double *w, int64_t n,
         const int64_t o[2], int64_t oc, double *out_size_of)
{
    int64_t cg = c->c / c->groups, g = oc / (c->oc / c->groups);
    bool is_code = c->x_dtype == PTQC_U8;
    double sum = 0.0, size = 0.0;
    for (int64_t t = 0; t < c->kernel[0] * c->kernel[1]; t++) {
        int64_t h = position(c, 0, o[0], t / c->kernel[1]);
        int64_t v = position(c, 1, o[1], t % c->kernel[1]);
        for (int64_t i = 0; i < cg; i++) {
            double weight = w[(t * cg + i) * c->oc + oc];
            double value = is_code ? PAD_CODE : 0.0;
            if (h >= 0 && v >= 0) {
                value =
                    x[((n * c->in[0] + h) * c->in[1] + v) * c->c + g * cg + i];
            }
            sum += value * weight;
            size += fabs(value * weight);
        }
    }
    *out_size_of = size;
    return sum;
}

static void
check_conv(const conv_case *c)
{
    pq_test_random r = pq_test_random_seed((uint64_t)(c->c * 31 + c->oc));
    int64_t out[2] = {out_size(c, 0), out_size(c, 1)};
    int64_t taps = c->kernel[0] * c->kernel[1], cg = c->c / c->groups;
    int64_t xs = c->batch * c->in[0] * c->in[1] * c->c;
    int64_t ys = c->batch * out[0] * out[1] * c->oc;
    size_t w_bytes = planar_bytes(c->format, c->oc, taps, cg);
    bool is_code = c->x_dtype == PTQC_U8;
    uint8_t *x = calloc((size_t)xs + 1, 4), *w = calloc(w_bytes + 1, 1);
    uint8_t *y = calloc((size_t)ys + 1, 4);
    double *x_real = calloc((size_t)xs + 1, sizeof *x_real);
    double *w_real = calloc((size_t)(taps * cg * c->oc) + 1, sizeof *w_real);
    for (int64_t i = 0; i < xs; i++) {
        float f = pq_test_random_f32(&r, -1.0f, 1.0f);
        x_real[i] =
            is_code ? (double)pq_test_random_int(&r, 0, 255) : (double)f;
        if (is_code) {
            x[i] = (uint8_t)x_real[i];
        } else {
            memcpy(x + 4 * i, &f, 4);
        }
    }
    matmul_case random_case = {.format = c->format};
    for (int64_t i = 0; i < taps * cg * c->oc; i++) {
        uint32_t bits = random_weight(&random_case, &r, &w_real[i]);
        planar_put(w, c->format, c->oc, cg, i % c->oc, i / c->oc / cg,
                   i / c->oc % cg, bits);
    }
    kernel_step s = {.kind = PQ_STEP_PLANAR_CONV};
    kernel_in(&s, c->x_dtype, KERNEL_DIMS(c->batch, c->in[0], c->in[1], c->c),
              x);
    kernel_in(&s, PTQC_U8, KERNEL_DIMS((int64_t)w_bytes), w);
    kernel_absent(&s);
    uint32_t y_dtype = is_code ? PTQC_I32 : PTQC_F32;
    kernel_out(&s, y_dtype, KERNEL_DIMS(c->batch, out[0], out[1], c->oc), y);
    const int64_t own[] = {
        2, c->groups, c->c, c->oc, 1, c->kernel[0], c->kernel[1], 1,
        c->stride[0], c->stride[1], 1, c->dilation[0], c->dilation[1], 0,
        c->pad[0], c->pad[1], c->format, c->is_transposed, PAD_CODE,
        PQ_KG_SCALES_NONE, 0, c->oc,
        // y = sum
        1, 0, 0, 4, kernel_op(PQ_EXPR_LOAD, y_dtype, 0, 0, 0, 0)};
    for (size_t i = 0; i < sizeof own / sizeof own[0]; i++) {
        kernel_param(&s, own[i]);
    }
    for (int careful = 0; careful < 2; careful++) {
        kernel_run_on(&s, careful != 0);
        for (int64_t i = 0; i < ys; i++) {
            int64_t pixel = i / c->oc;
            int64_t o[2] = {pixel / out[1] % out[0], pixel % out[1]};
            double size,
                want = conv_sum(c, x_real, w_real, pixel / out[1] / out[0], o,
                                i % c->oc, &size);
            double bound =
                is_code ? 0.0 : 2.0 * (double)(taps * cg) * 0x1p-24 * size;
            double got;
            if (is_code) {
                int32_t whole;
                memcpy(&whole, y + 4 * i, 4);
                got = (double)whole;
            } else {
                float real;
                memcpy(&real, y + 4 * i, 4);
                got = (double)real;
            }
            if (!(fabs(got - want) <= bound)) {
                fail_msg("[%lld]: %.9g, want %.9g", (long long)i, got, want);
            }
        }
    }
    void *all[] = {x, w, y, x_real, w_real};
    for (size_t i = 0; i < 5; i++) {
        free(all[i]);
    }
}

static const conv_case CONVS[] = {
    {PQ_KG_WEIGHT_F32,
     PTQC_F32,
     1,
     1,
     1,
     8,
     {9, 7},
     {3, 3},
     {1, 1},
     {1, 1},
     {1, 1},
     {1, 1},
     false},
    {PQ_KG_WEIGHT_F32,
     PTQC_F32,
     2,
     1,
     8,
     12,
     {6, 5},
     {3, 2},
     {2, 1},
     {1, 2},
     {1, 0},
     {1, 2},
     false},
    {PQ_KG_WEIGHT_F32,
     PTQC_F32,
     1,
     3,
     6,
     9,
     {5, 5},
     {3, 3},
     {1, 1},
     {1, 1},
     {0, 2},
     {1, 2},
     false},
    {PQ_KG_WEIGHT_F32,
     PTQC_F32,
     1,
     2,
     8,
     12,
     {5, 5},
     {1, 1},
     {2, 2},
     {1, 1},
     {0, 0},
     {0, 0},
     false},
    {PQ_KG_WEIGHT_F32,
     PTQC_F32,
     1,
     1,
     3,
     5,
     {4, 5},
     {3, 4},
     {2, 3},
     {1, 1},
     {1, 0},
     {0, 1},
     true},
    {PQ_KG_WEIGHT_F32,
     PTQC_F32,
     1,
     2,
     4,
     6,
     {4, 3},
     {2, 3},
     {1, 2},
     {2, 1},
     {0, 1},
     {0, 0},
     true},
    {PQ_KG_WEIGHT_I8,
     PTQC_F32,
     1,
     1,
     16,
     8,
     {4, 4},
     {3, 3},
     {1, 1},
     {1, 1},
     {1, 1},
     {1, 1},
     false},
    {PQ_KG_WEIGHT_I8,
     PTQC_U8,
     1,
     1,
     16,
     10,
     {5, 4},
     {3, 3},
     {1, 2},
     {1, 1},
     {1, 1},
     {1, 1},
     false},
    {PQ_KG_WEIGHT_I8,
     PTQC_U8,
     2,
     1,
     3,
     10,
     {5, 4},
     {3, 3},
     {1, 2},
     {1, 1},
     {1, 1},
     {1, 1},
     false},
    {PQ_KG_WEIGHT_I4,
     PTQC_U8,
     1,
     2,
     24,
     8,
     {5, 4},
     {3, 3},
     {1, 2},
     {2, 1},
     {2, 1},
     {2, 1},
     false},
};

static void
test_conv(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof CONVS / sizeof CONVS[0]; i++) {
        check_conv(&CONVS[i]);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_matmul_empty),
        cmocka_unit_test(test_matmul_float),
        cmocka_unit_test(test_matmul_groups),
        cmocka_unit_test(test_matmul_codes),
        cmocka_unit_test(test_conv),
    };
    return cmocka_run_group_tests(tests, NULL, kernel_teardown);
}
