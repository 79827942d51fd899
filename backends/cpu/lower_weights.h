// SPDX-License-Identifier: Apache-2.0
//
// Constant weights of a matmul, found and packed once for all who read them
// (gemm.h says the layouts).
#ifndef PTQC_BACKENDS_CPU_LOWER_WEIGHTS_H
#define PTQC_BACKENDS_CPU_LOWER_WEIGHTS_H

#include "gemm.h"
#include "lower.h"

typedef struct pq_lower_weights {
    const ptqc_gb_value *value; // the constant
    pq_weight_shape shape;
    pq_weight_source source;
    uint32_t digits; // FIXED8, FIXED4: of the rows
    bool trans;      // stored [N][K]
} pq_lower_weights;

// The constant that value gv is, or is a cast of that is left out.
const ptqc_gb_value *pq_lower_weights_of(const pq_lower *l, uint32_t gv);
// Sizes and strides of pq_lower_weights_of(gv). false: declined.
bool pq_lower_weights_open(pq_lower *l, uint32_t gv, bool trans,
                           pq_lower_weights *out);
// The format: is_integer = multiplied as s8 with codes, is_token = groups of
// codes times codes per row. Declines what has none.
void pq_lower_weights_read(pq_lower *l, bool is_integer, bool is_token,
                           pq_lower_weights *w);
// -> the packed constant; one that is there already is used again.
uint32_t pq_lower_weights_emit(pq_lower *l, const pq_lower_weights *w);

// A gather of rows of a matrix that a product reads, too, or of codes: they
// are read from the packed weights. false: it is some other gather.
bool pq_lower_embedding(pq_lower *l);

#endif
