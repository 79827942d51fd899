// SPDX-License-Identifier: Apache-2.0
//
// Numbers of 8 bits and fewer, as codes of a byte. A format is one row of
// narrow.def and two functions.
//
//   f8e4m3, f8e5m2   OCP 8-bit Floating Point 1.0 (float16.h)
//   f8e8m0           2^(code - 127), 255 is NaN: scales of OCP MX 1.0, 5.4
//   f4e2m1           OCP MX 1.0, 5.3.3: s ee m, bias 1:
//                    0 .5 1 1.5 2 3 4 6 and their negatives
//   nf4              QLoRA (Dettmers et al. 2023), appendix E: the 16 quantiles
//                    of a normal distribution, within [-1, 1]
//
// To narrow: the nearest number, ties to the even code (nf4: the lower one).
// f4e2m1 and nf4 saturate and have no NaN: it becomes 0. f8e8m0: the nearest
// power of two, what is not above 0 gives 2^-127, NaN stays.
#ifndef PTQC_BASE_NARROW_H
#define PTQC_BASE_NARROW_H

#include <stdint.h>

#include "ptqc/types.h"

typedef struct pq_narrow {
    ptqc_dtype dtype;
    float (*to_f32)(uint8_t code); // bits above those of the dtype are 0
    uint8_t (*from_f32)(float x);
} pq_narrow;

// NULL: no such type.
const pq_narrow *pq_narrow_of(ptqc_dtype t);

float pq_e8m0_to_f32(uint8_t b);
uint8_t pq_f32_to_e8m0(float x);
float pq_e2m1_to_f32(uint8_t b);
uint8_t pq_f32_to_e2m1(float x);
float pq_nf4_to_f32(uint8_t b);
uint8_t pq_f32_to_nf4(float x);

#endif
