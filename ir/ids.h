// SPDX-License-Identifier: Apache-2.0
//
// Typed 32-bit ids into a graph's tables; index 0 of every table is the null
// element, so a zeroed id means "none".
#ifndef PTQC_IR_IDS_H
#define PTQC_IR_IDS_H

#include <stdbool.h>
#include <stdint.h>

typedef struct pq_value_id {
    uint32_t index;
} pq_value_id;
typedef struct pq_op_id {
    uint32_t index;
} pq_op_id;
typedef struct pq_const_id {
    uint32_t index;
} pq_const_id;
typedef struct pq_quant_id {
    uint32_t index;
} pq_quant_id;
// A dimension (or any integer known from shapes): a hash-consed expression,
// so equal ids mean equal dimensions.
typedef struct pq_dim {
    uint32_t index;
} pq_dim;

#define PQ_DEFINE_ID(type, name)                                               \
    static inline bool name##_equal(type a, type b)                            \
    {                                                                          \
        return a.index == b.index;                                             \
    }                                                                          \
    static inline bool name##_is_none(type a)                                  \
    {                                                                          \
        return a.index == 0;                                                   \
    }
PQ_DEFINE_ID(pq_value_id, pq_value)
PQ_DEFINE_ID(pq_op_id, pq_op)
PQ_DEFINE_ID(pq_const_id, pq_const)
PQ_DEFINE_ID(pq_quant_id, pq_quant)
PQ_DEFINE_ID(pq_dim, pq_dim)
#undef PQ_DEFINE_ID

#define PQ_NO_VALUE ((pq_value_id){0})

#endif
