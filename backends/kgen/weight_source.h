// SPDX-License-Identifier: Apache-2.0
//
// A constant matrix of weights before it is packed.
#ifndef PTQC_BACKENDS_KGEN_WEIGHT_SOURCE_H
#define PTQC_BACKENDS_KGEN_WEIGHT_SOURCE_H

#include <stdint.h>

// Where element (k, n) of the source lies: at k * k_stride + n * n_stride
// (elements). One of the strides is 1. Codes of 4 bits are dense, first
// element in the low bits, every row (the axis whose stride is 1) starting
// on a byte: the other stride is then in elements of the padded row.
typedef struct pq_weight_source {
    const void *data; // f32, f16, bf16, s8, or codes: e4m3, e5m2, u8, u4, s8
                      // and s4 (two's complement) when is_signed
    int64_t k_stride, n_stride;
    uint32_t is_signed; // codes are two's complement
    uint32_t reserved;
    const float *scales;  // (group g, n) at g * scale_g_stride +
    const int32_t *zeros; // n * scale_n_stride; zeros: NULL = 0, as the codes
    int64_t scale_g_stride, scale_n_stride;
} pq_weight_source;

#endif
