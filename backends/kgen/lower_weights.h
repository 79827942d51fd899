// SPDX-License-Identifier: Apache-2.0
//
// Constant weights of a matmul: what they are. Packing them is the device's.
#ifndef PTQC_BACKENDS_KGEN_LOWER_WEIGHTS_H
#define PTQC_BACKENDS_KGEN_LOWER_WEIGHTS_H

#include "lower.h"
#include "weight_source.h"

typedef struct pq_lower_weights {
    const ptqc_gb_value *value; // the constant
    pq_weight_source source;
    int64_t k, n;
    int64_t group;      // k per scale; 0 = K
    bool is_asymmetric; // codes: a zero point is not the middle code
    bool trans;         // stored [N][K]
} pq_lower_weights;

// The constant that value gv is, or is a cast of that is left out.
const ptqc_gb_value *pq_lower_weights_of(const pq_lower *l, uint32_t gv);
// Marks casts of constants that matmul reads as they are.
void pq_lower_fuse_weights(pq_lower *l);
// Sizes and strides of pq_lower_weights_of(gv). false: declined.
bool pq_lower_weights_open(pq_lower *l, uint32_t gv, bool trans,
                           pq_lower_weights *out);
// Data, scales and zero points of weights that are codes or numbers of 8 or 4
// bits. false: declined.
bool pq_lower_weights_codes(pq_lower *l, pq_lower_weights *w);
// Whether a table of rows is packed as weights: codes with scales per group or
// row, or a table that a product of the block reads as [N][K], too.
bool pq_lower_is_packed_table(const pq_lower *l, const ptqc_gb_value *table);
// ".SCALES.ZEROS" of a layout's name: codes of one constant may carry other
// scales elsewhere. Hashes, "0" for an absent constant.
#define PQ_WEIGHTS_KEY 40
void pq_lower_weights_key(const pq_lower *l, const ptqc_gb_value *v,
                          char out[PQ_WEIGHTS_KEY]);

#endif
