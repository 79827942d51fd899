// SPDX-License-Identifier: Apache-2.0
//
// One convolution through conv.h against scalar C, bit for bit.
#ifndef PTQC_TESTS_CONV_CHECK_H
#define PTQC_TESTS_CONV_CHECK_H

#include "backends/cpu/conv.h"
#include "kernel_reference.h"

#define CONV_GUARD 64

static inline void *
conv_alloc(int64_t bytes)
{
    void *p = cpu_host_alloc(NULL, (uint64_t)bytes + CONV_GUARD, 64);
    assert_non_null(p);
    memset(p, 0xee, (size_t)bytes + CONV_GUARD);
    return p;
}

static inline int64_t
volume(const int64_t *axes)
{
    return axes[0] * axes[1] * axes[2];
}

// Input position, -1 outside.
static inline int64_t
reference_position(const pq_conv_desc *d, int axis, int64_t out, int64_t tap)
{
    int64_t at =
        out * d->stride[axis] - d->pad_begin[axis] + tap * d->dilation[axis];
    if (d->transposed) {
        at = out + d->pad_begin[axis] - tap * d->dilation[axis];
        if (at % d->stride[axis] != 0) {
            return -1;
        }
        at /= d->stride[axis];
    }
    return at >= 0 && at < d->in[axis] ? at : -1;
}

static inline int
is_conv_codes(const pq_conv_desc *d)
{
    return d->weight == PQ_WEIGHT_W8 || d->weight == PQ_WEIGHT_W4;
}

typedef struct conv_sum {
    float real;
    int32_t whole;
} conv_sum;

static inline conv_sum
reference_sum(const pq_conv_desc *d, const void *x, const void *w,
              const pq_epilogue_args *args, int64_t batch, const int64_t *o,
              int64_t channel)
{
    int64_t inputs = d->in_channels / d->groups;
    int64_t outputs = d->out_channels / d->groups;
    int64_t group = channel / outputs;
    int64_t taps = volume(d->kernel);
    conv_sum sum = {0.0f, 0};
    int32_t w_zero = args->weight_zero == NULL ? 0 : args->weight_zero[channel];
    for (int64_t tap = 0; tap < taps; tap++) {
        int64_t at[3];
        int64_t k[3] = {tap / (d->kernel[1] * d->kernel[2]),
                        tap / d->kernel[2] % d->kernel[1], tap % d->kernel[2]};
        int is_inside = 1;
        for (int a = 0; a < 3; a++) {
            at[a] = reference_position(d, a, o[a], k[a]);
            is_inside &= at[a] >= 0;
        }
        if (!is_inside) {
            continue;
        }
        int64_t pixel =
            ((batch * d->in[0] + at[0]) * d->in[1] + at[1]) * d->in[2] + at[2];
        for (int64_t c = 0; c < inputs; c++) {
            int64_t from = pixel * d->in_channels + group * inputs + c;
            int64_t plane = d->transposed ? (group * inputs + c) * outputs +
                                                channel % outputs
                                          : channel * inputs + c;
            if (d->weight == PQ_WEIGHT_S8) {
                sum.whole +=
                    (((const uint8_t *)x)[from] - (int32_t)d->pad_value) *
                    (((const int8_t *)w)[plane * taps + tap] - w_zero);
            } else if (is_conv_codes(d)) {
                int code = ((const int8_t *)w)[plane * taps + tap];
                float real = (float)(code - w_zero) * args->mult[channel];
                sum.real = fmaf(((const float *)x)[from], real, sum.real);
            } else {
                sum.real =
                    fmaf(((const float *)x)[from],
                         ((const float *)w)[plane * taps + tap], sum.real);
            }
        }
    }
    return sum;
}

static inline void
reference_conv(const pq_conv_desc *d, const void *x, const void *w,
               const int32_t *bias, const pq_epilogue_args *args, void *out)
{
    int64_t pixels = d->batch * volume(d->out);
    for (int64_t p = 0; p < pixels; p++) {
        int64_t o[3] = {p / (d->out[1] * d->out[2]) % d->out[0],
                        p / d->out[2] % d->out[1], p % d->out[2]};
        for (int64_t c = 0; c < d->out_channels; c++) {
            conv_sum sum =
                reference_sum(d, x, w, args, p / volume(d->out), o, c);
            reference_store(&d->epilogue, args, sum.real, sum.whole + bias[c],
                            c, p, p * d->out_channels + c, out);
        }
    }
}

// out = floor((in + pad_begin + pad_end - dilation * (kernel - 1) - 1) /
// stride) + 1, or for transposed convolutions its inverse.
static inline void
set_output(pq_conv_desc *d, int64_t pad_end)
{
    for (int a = 0; a < 3; a++) {
        int64_t reach = d->dilation[a] * (d->kernel[a] - 1);
        int64_t end = d->kernel[a] > 1 ? pad_end : 0;
        if (d->transposed) {
            d->out[a] = (d->in[a] - 1) * d->stride[a] + reach + 1 -
                        d->pad_begin[a] - end;
        } else {
            d->out[a] =
                (d->in[a] + d->pad_begin[a] + end - reach - 1) / d->stride[a] +
                1;
        }
    }
}

static inline void
run_conv(pq_jit *jit, const pq_conv_desc *d, const pq_conv_io *io,
         uint32_t workers, const char *method)
{
    pq_conv *op = NULL;
    cpu_host_message[0] = '\0';
    if (pq_conv_prepare(jit, NULL, d, &op) != PTQC_BE_OK) {
        fail_msg("prepare: %s", cpu_host_message);
    }
    if (method != NULL) {
        assert_string_equal(pq_conv_method(op), method);
    }
    void *scratch = conv_alloc((int64_t)pq_conv_scratch_bytes(op));
    for (uint32_t w = 0; w < workers; w++) {
        pq_worker worker = {w, workers, scratch};
        pq_conv_run(op, io, &worker);
    }
    const uint8_t *guard = (uint8_t *)scratch + pq_conv_scratch_bytes(op);
    for (int i = 0; i < CONV_GUARD; i++) {
        assert_int_equal(guard[i], 0xee);
    }
    free(scratch);
    pq_conv_destroy(op);
}

static inline void
check_conv(pq_jit *jit, const pq_conv_desc *d, const char *method)
{
    pq_test_random r = pq_test_random_seed(
        (uint64_t)(d->in_channels * 131 + d->out_channels * 17 + d->in[2]));
    int is_s8 = d->weight == PQ_WEIGHT_S8;
    int64_t inputs = d->batch * volume(d->in) * d->in_channels;
    int64_t outputs = d->batch * volume(d->out) * d->out_channels;
    int64_t taps =
        d->in_channels / d->groups * d->out_channels * volume(d->kernel);
    float *x = random_floats(&r, inputs, -1.0f, 1.0f);
    float *w = random_floats(&r, taps, -1.0f, 1.0f);
    if (is_s8) {
        pq_test_fill_bytes(&r, x, (size_t)inputs);
        pq_test_fill_bytes(&r, w, (size_t)taps);
    }
    for (int64_t i = 0; is_conv_codes(d) && i < taps; i++) {
        int half = d->weight == PQ_WEIGHT_W4 ? 8 : 128;
        ((int8_t *)w)[i] = (int8_t)pq_test_random_int(&r, -half, half - 1);
    }
    int32_t *bias = conv_alloc(4 * d->out_channels);
    for (int64_t c = 0; c < d->out_channels; c++) {
        bias[c] = is_s8 ? (int32_t)pq_test_random_int(&r, -3000, 3000) : 0;
    }
    reference_data data;
    pq_epilogue_args args =
        reference_args(&r, &d->epilogue, d->out_channels,
                       d->batch * volume(d->out), outputs, &data);
    int64_t k = taps / d->out_channels;
    int32_t *w_zero = conv_alloc(4 * d->out_channels);
    int32_t *start = conv_alloc(4 * d->out_channels);
    for (int64_t c = 0; c < d->out_channels; c++) {
        static const int32_t ends[4] = {-128, 127, 0, -1};
        w_zero[c] =
            c < 4 ? ends[c] : (int32_t)pq_test_random_int(&r, -128, 127);
        start[c] = bias[c];
        if (d->asymmetric) {
            args.weight_zero = w_zero;
        }
        if (d->epilogue.flags & PQ_EPI_WEIGHT_ZERO) {
            start[c] += (int32_t)k * (int32_t)d->pad_value * w_zero[c];
            args.weight_zero = w_zero;
        }
    }
    int64_t size = pq_epilogue_out_bytes(&d->epilogue);
    void *want = conv_alloc(outputs * size);
    reference_conv(d, x, w, bias, &args, want);

    int64_t channels = pq_conv_channel_count(d);
    float *mult = conv_alloc(4 * channels), *add = conv_alloc(4 * channels);
    int32_t *init = conv_alloc(4 * channels);
    int32_t *zeros = conv_alloc(4 * channels);
    void *packed = conv_alloc(pq_conv_weight_bytes(d));
    pq_conv_weight_pack(d, w, packed);
    pq_conv_channel_pack(d, args.mult, mult);
    pq_conv_channel_pack(d, args.bias, add);
    pq_conv_channel_pack(d, w_zero, zeros);
    if (is_s8) {
        pq_conv_init_pack(d, (const int8_t *)w, start, init);
    }
    for (uint32_t workers = 1; workers <= 3; workers += 2) {
        void *out = conv_alloc(outputs * size);
        pq_conv_io io = {x, packed, is_s8 ? init : NULL, out, args};
        io.epilogue.mult = mult;
        io.epilogue.bias = add;
        io.epilogue.weight_zero = zeros;
        char what[160];
        snprintf(what, sizeof what,
                 "%s %s conv in %d,%d,%d,%d out %d groups %d workers %u",
                 pq_isa_name(pq_jit_isa(jit)),
                 is_s8              ? "s8"
                 : is_conv_codes(d) ? "codes"
                                    : "f32",
                 (int)d->in_channels, (int)d->in[0], (int)d->in[1],
                 (int)d->in[2], (int)d->out_channels, (int)d->groups, workers);
        run_conv(jit, d, &io, workers, method);
        assert_same_bytes(out, want, (size_t)(outputs * size + CONV_GUARD),
                          (size_t)size, what);
        free(out);
    }
    free(x);
    free(w);
    free(bias);
    free(want);
    free(mult);
    free(add);
    free(init);
    free(w_zero);
    free(start);
    free(zeros);
    free(packed);
    reference_free(&data);
}

// The descriptor in f32 with bias and relu, and in u8 with requantization.
static inline void
check_two(pq_jit *jit, pq_conv_desc d, const char *method)
{
    d.weight = PQ_WEIGHT_F32;
    d.pad_value = 0;
    d.epilogue = (pq_epilogue){PQ_EPI_FLOAT, PQ_ACT_RELU, PQ_ELEM_NONE,
                               PQ_ELEM_F32, PQ_EPI_BIAS};
    check_conv(jit, &d, method);
    for (uint32_t i = 0; i < 4; i++) {
        d.weight = i & 1 ? PQ_WEIGHT_W4 : PQ_WEIGHT_W8;
        d.asymmetric = i >> 1;
        check_conv(jit, &d, method);
    }
    d.asymmetric = 0;
    d.weight = PQ_WEIGHT_S8;
    d.pad_value = 117;
    d.epilogue = (pq_epilogue){PQ_EPI_INTEGER, PQ_ACT_NONE, PQ_ELEM_NONE,
                               PQ_ELEM_U8, PQ_EPI_SATURATE};
    check_conv(jit, &d, method);
    d.epilogue.flags |= PQ_EPI_WEIGHT_ZERO;
    check_conv(jit, &d, method);
}

// Also with residuals and in real arithmetic.
static inline void
check_all(pq_jit *jit, pq_conv_desc d, const char *method)
{
    check_two(jit, d, method);
    d.weight = PQ_WEIGHT_F32;
    d.pad_value = 0;
    d.epilogue = (pq_epilogue){PQ_EPI_FLOAT, PQ_ACT_RELU, PQ_ELEM_F32,
                               PQ_ELEM_F32, PQ_EPI_BIAS};
    check_conv(jit, &d, method);
    d.weight = PQ_WEIGHT_S8;
    d.pad_value = 117;
    d.epilogue =
        (pq_epilogue){PQ_EPI_INTEGER, PQ_ACT_NONE, PQ_ELEM_U8, PQ_ELEM_U8, 0};
    check_conv(jit, &d, method);
    d.epilogue.flags = PQ_EPI_WEIGHT_ZERO;
    check_conv(jit, &d, method);
    d.epilogue.flags = PQ_EPI_SATURATE;
    check_conv(jit, &d, method);
    d.epilogue.kind = PQ_EPI_REAL;
    d.epilogue.act = PQ_ACT_LEAKY_RELU;
    d.epilogue.residual = PQ_ELEM_NONE;
    d.epilogue.flags = PQ_EPI_SATURATE | PQ_EPI_BIAS;
    check_conv(jit, &d, method);
    d.epilogue = (pq_epilogue){PQ_EPI_REAL, PQ_ACT_SILU, PQ_ELEM_NONE,
                               PQ_ELEM_U8, PQ_EPI_BIAS};
    check_conv(jit, &d, method);
    d.epilogue.flags |= PQ_EPI_WEIGHT_ZERO;
    check_conv(jit, &d, method);
}

#endif
