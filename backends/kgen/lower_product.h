// SPDX-License-Identifier: Apache-2.0
//
// Matrix products: the orders of their operands, for every device.
#ifndef PTQC_BACKENDS_KGEN_LOWER_PRODUCT_H
#define PTQC_BACKENDS_KGEN_LOWER_PRODUCT_H

#include "lower.h"

// Physical axis of an operand that has no such axis (it is broadcast).
#define PQ_AXIS_NONE 15u

// Whether the current matmul has constant weights that serve all rows.
// Declines operands of rank 1.
bool pq_lower_is_constant_product(pq_lower *l);
// Order of a whose last axis is K (logical axis k_axis).
void pq_lower_order_of_a(const pq_lower *l, uint32_t gv, uint32_t k_axis,
                         uint8_t *perm);
// b may be used as it is when K or N is innermost.
void pq_lower_order_of_b(const pq_lower *l, uint32_t gv, uint8_t *perm);
// Order for result 0 in which a following transpose leaves it in the graph's
// own order, so that it costs nothing; the last axis stays innermost.
void pq_lower_result_order(const pq_lower *l, uint8_t *perm);
// 4 bits per logical axis (batch axes, row, column) of the physical axis of an
// operand of a batched product; PQ_AXIS_NONE: it has none. swapped: it is
// stored with row and column exchanged.
int64_t pq_lower_batch_map(const pq_ref *ref, uint32_t batch_rank,
                           bool swapped);

#endif
