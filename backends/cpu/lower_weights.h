// SPDX-License-Identifier: Apache-2.0
//
// Constant weights of a matmul, packed once for all who read them (gemm.h says
// the layouts).
#ifndef PTQC_BACKENDS_CPU_LOWER_WEIGHTS_H
#define PTQC_BACKENDS_CPU_LOWER_WEIGHTS_H

#include "backends/kgen/lower_weights.h"
#include "gemm.h"

typedef struct pq_cpu_weights {
    pq_lower_weights read;
    pq_weight_shape shape;
    uint32_t digits; // FIXED8, FIXED4: of the rows
} pq_cpu_weights;

// Sizes and strides, as pq_lower_weights_open. false: declined.
bool pq_cpu_weights_open(pq_lower *l, uint32_t gv, bool trans,
                         pq_cpu_weights *out);
// The format: is_integer = multiplied as s8 with codes, is_token = groups of
// codes times codes per row. Declines what has none.
void pq_cpu_weights_read(pq_lower *l, bool is_integer, bool is_token,
                         pq_cpu_weights *w);
// -> the packed constant; one that is there already is used again.
uint32_t pq_cpu_weights_emit(pq_lower *l, const pq_cpu_weights *w);

#endif
