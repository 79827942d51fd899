// SPDX-License-Identifier: Apache-2.0
//
// The epilogue of epilogue.h as plain scalar C, random epilogues for tests,
// and exact comparison of buffers.
#ifndef PTQC_TESTS_KERNEL_REFERENCE_H
#define PTQC_TESTS_KERNEL_REFERENCE_H

#include <math.h>

#include "backends/cpu/epilogue.h"
#include "base/mathfn.h"
#include "cpu_host.h"
#include "tests/support/random.h"

static inline float
reference_act(uint32_t act, float x, float alpha, float beta)
{
    switch ((pq_act)act) {
    case PQ_ACT_RELU:
        return pq_reluf(x);
    case PQ_ACT_CLIP:
        return pq_clipf(x, alpha, beta);
    case PQ_ACT_LEAKY_RELU:
        return pq_leaky_reluf(x, alpha);
    case PQ_ACT_HARDSIGMOID:
        return pq_hardsigmoidf(x, alpha, beta);
    case PQ_ACT_HARDSWISH:
        return pq_hardswishf(x);
    case PQ_ACT_SIGMOID:
        return pq_sigmoidf(x);
    case PQ_ACT_TANH:
        return pq_tanhf(x);
    case PQ_ACT_GELU:
        return pq_gelu_erff(x);
    case PQ_ACT_GELU_TANH:
        return pq_gelu_tanhf(x);
    case PQ_ACT_SILU:
        return pq_siluf(x);
    case PQ_ACT_ELU:
        return pq_eluf(x, alpha);
    case PQ_ACT_MISH:
        return pq_mishf(x);
    case PQ_ACT_SOFTPLUS:
        return pq_softplusf(x);
    case PQ_ACT_NONE:
    case PQ_ACT_COUNT:
        break;
    }
    return x;
}

// One output: the accumulator is `facc` (FLOAT) or `iacc`; channel, row and
// element say where its scales, bias and residual lie.
static inline void
reference_store(const pq_epilogue *ep, const pq_epilogue_args *a, float facc,
                int32_t iacc, int64_t channel, int64_t row, int64_t element,
                void *out)
{
    float residual = 0.0f;
    if (ep->residual == PQ_ELEM_F32) {
        residual = ((const float *)a->residual)[element];
    } else if (ep->residual == PQ_ELEM_U8) {
        residual =
            (float)(((const uint8_t *)a->residual)[element] - a->residual_zero);
    }
    float t;
    if (ep->kind == PQ_EPI_INTEGER) {
        t = (float)iacc * a->mult[channel];
        if (ep->residual == PQ_ELEM_U8) {
            t = fmaf(residual, a->residual_scale, t);
        }
    } else {
        float v = facc;
        if (ep->kind == PQ_EPI_REAL) {
            v = (float)iacc * a->mult[channel];
            if (ep->flags & PQ_EPI_ROW_SCALE) {
                v = v * a->row_scale[row];
            }
        }
        if (ep->flags & PQ_EPI_SCALE) {
            v = v * a->scale;
        }
        if (ep->flags & PQ_EPI_BIAS) {
            v = v + a->bias[channel];
        }
        if (ep->residual == PQ_ELEM_U8) {
            residual = residual * a->residual_scale;
        }
        int is_gate = (ep->flags & PQ_EPI_GATE) != 0;
        if (ep->residual != PQ_ELEM_NONE && !is_gate) {
            v = v + residual;
        }
        v = reference_act(ep->act, v, a->alpha, a->beta);
        v = is_gate ? v * residual : v;
        if (ep->out == PQ_ELEM_F32) {
            ((float *)out)[element] = v;
            return;
        }
        t = v * a->inv_scale;
    }
    int32_t q = pq_round_code(t, a->lo, a->hi) + a->out_zero;
    ((uint8_t *)out)[element] = (uint8_t)q;
}

// Buffers that an epilogue may read, filled at random.
typedef struct reference_data {
    float *mult, *bias, *row_scale;
    void *residual;
} reference_data;

static inline float *
random_floats(pq_test_random *r, int64_t n, float low, float high)
{
    float *x = malloc(4 * (size_t)(n > 0 ? n : 1));
    assert_non_null(x);
    pq_test_fill_f32(r, x, (size_t)n, low, high);
    return x;
}

static inline pq_epilogue_args
reference_args(pq_test_random *r, const pq_epilogue *ep, int64_t channels,
               int64_t rows, int64_t elements, reference_data *data)
{
    data->mult = random_floats(r, channels, 0.001f, 0.003f);
    // overflow in both directions and no number at all
    static const float wild[3] = {1e30f, -1e30f, NAN};
    for (int64_t c = 3; ep->kind == PQ_EPI_INTEGER && c < channels; c += 5) {
        data->mult[c] = wild[c % 3];
    }
    data->bias = random_floats(r, channels, -1.0f, 1.0f);
    data->row_scale = random_floats(r, rows, 0.5f, 2.0f);
    // f32 residuals are used whole, u8 ones take a quarter
    data->residual = random_floats(r, elements, -2.0f, 2.0f);
    if (ep->residual == PQ_ELEM_U8) {
        pq_test_fill_bytes(r, data->residual, (size_t)elements);
    }
    int32_t zero = (int32_t)pq_test_random_int(r, 0, 255);
    return (pq_epilogue_args){
        .mult = data->mult,
        .bias = data->bias,
        .row_scale = data->row_scale,
        .residual = data->residual,
        .lo = (float)-zero,
        .hi = (float)(255 - zero),
        .inv_scale = pq_test_random_f32(r, 10.0f, 60.0f),
        .scale = 0.125f,
        .residual_scale = pq_test_random_f32(r, 0.01f, 1.0f),
        .alpha = -0.3f,
        .beta = 0.7f,
        .out_zero = zero,
        .residual_zero = (int32_t)pq_test_random_int(r, 0, 255),
    };
}

static inline void
reference_free(reference_data *data)
{
    free(data->mult);
    free(data->bias);
    free(data->row_scale);
    free(data->residual);
}

static inline void
assert_same_bytes(const void *got, const void *want, size_t bytes,
                  size_t element_bytes, const char *what)
{
    const uint8_t *a = got, *b = want;
    for (size_t i = 0; i < bytes; i++) {
        if (a[i] != b[i]) {
            size_t at = i / element_bytes;
            float x = 0, y = 0;
            if (element_bytes == 4) {
                memcpy(&x, a + 4 * at, 4);
                memcpy(&y, b + 4 * at, 4);
                if (x != x && y != y) {
                    continue; // NaN payloads may differ
                }
            } else {
                x = a[i];
                y = b[i];
            }
            fail_msg("%s: element %zu is %.9g, expected %.9g", what, at,
                     (double)x, (double)y);
        }
    }
}

#endif
