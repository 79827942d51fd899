// SPDX-License-Identifier: Apache-2.0
//
// Operands whose axes stand in an order of the lowering's choice.
#ifndef PTQC_BACKENDS_CPU_STEP_AXES_H
#define PTQC_BACKENDS_CPU_STEP_AXES_H

#include "attention.h"
#include "spec.h"

// A tensor of rank 4 along its logical axes; strides in bytes.
typedef struct pq_axes {
    int64_t dims[4], strides[4];
} pq_axes;

// Parameter `param` has 4 bits per logical axis, its physical axis; the last
// one is innermost. A tensor of rank 3 gets a last axis of 1.
ptqc_be_status pq_read_axes(const pq_prep *prep, const pq_shape *s,
                            uint32_t param, pq_axes *out);
// [batch][tokens] i32
bool pq_is_positions(const pq_shape *s, int64_t batch, int64_t tokens);
pq_attention_strides pq_strides_of(const pq_axes *a);

#endif
