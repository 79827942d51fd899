// SPDX-License-Identifier: Apache-2.0
//
// f16, bf16 and the two fp8 types of OCP 8-bit Floating Point 1.0, to and
// from f32. To narrow: round to nearest even; e4m3 and e5m2 saturate,
// infinities included; NaN stays NaN. Exact from narrow.
#ifndef PTQC_BASE_FLOAT16_H
#define PTQC_BASE_FLOAT16_H

#include <stddef.h>
#include <stdint.h>

float pq_f16_to_f32(uint16_t h);
uint16_t pq_f32_to_f16(float x); // overflow gives infinity
float pq_bf16_to_f32(uint16_t h);
uint16_t pq_f32_to_bf16(float x);
// n little-endian numbers at p, at any address.
void pq_f16_row_to_f32(const uint8_t *p, size_t n, float *out);
void pq_bf16_row_to_f32(const uint8_t *p, size_t n, float *out);
float pq_e4m3_to_f32(uint8_t b); // "fn": no infinity, 0x7f is NaN, max 448
uint8_t pq_f32_to_e4m3(float x);
float pq_e5m2_to_f32(uint8_t b);
uint8_t pq_f32_to_e5m2(float x);

#endif
