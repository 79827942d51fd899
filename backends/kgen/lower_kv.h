// SPDX-License-Identifier: Apache-2.0
//
// States with a layout of the plugin's own, and attention over them.
#ifndef PTQC_BACKENDS_KGEN_LOWER_KV_H
#define PTQC_BACKENDS_KGEN_LOWER_KV_H

#include "kv_layout.h"
#include "lower.h"

// Decides on the layouts: pq_lower_value.kv of states and of what their
// updates give.
void pq_lower_states(pq_lower *l);
// Dims of value v in a layout other than ROWS; -> rank.
uint32_t pq_kv_dims(pq_lower *l, const ptqc_gb_value *v, pq_kv_layout layout,
                    uint32_t *out);

// What attention has besides keys and values.
typedef struct pq_kv_attention_plan {
    pq_ref q, y;
    uint32_t positions; // PQ_KG_NONE: absent
    float scale;
    bool is_causal;
} pq_kv_attention_plan;

// Whether the current node reads such a state, or codes with scales, on a
// device with such layouts.
bool pq_lower_is_kv_attention(const pq_lower *l);
void pq_lower_kv_attention(pq_lower *l, const pq_kv_attention_plan *plan);

// Of lower_position.c: an order of the value that is there already and has
// the last axis innermost, else the graph's; 4 bits per logical axis, its
// physical axis.
void pq_lower_row_order(const pq_lower *l, uint32_t gv, uint8_t *perm);
int64_t pq_lower_axis_map(const pq_ref *ref);

#endif
