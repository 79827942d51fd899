// SPDX-License-Identifier: Apache-2.0
//
// Operands whose axes stand in an order of the lowering's choice: maps of
// lower_position.c.
#ifndef PTQC_BACKENDS_KGEN_KERNEL_AXES_H
#define PTQC_BACKENDS_KGEN_KERNEL_AXES_H

#include "module.h"

// A tensor of rank 4 along its logical axes; strides in elements.
typedef struct pq_kg_axes {
    int64_t dims[4], strides[4];
} pq_kg_axes;

// Parameter `param` has 4 bits per logical axis, its physical axis; the last
// one is innermost. Fails the launch when it does not fit.
void pq_kg_launch_axes(pq_kg_launcher *l, const pq_kg_tensor *t, uint32_t param,
                       pq_kg_axes *out);
// Fails the launch unless t is i32 [batch][tokens].
void pq_kg_need_positions(pq_kg_launcher *l, const pq_kg_tensor *t,
                          int64_t batch, int64_t tokens);

#endif
