// SPDX-License-Identifier: Apache-2.0
//
// Integer reductions as plain loops, for row.c.
#ifndef PTQC_BACKENDS_CPU_ROW_PLAIN_H
#define PTQC_BACKENDS_CPU_ROW_PLAIN_H

#include <stdint.h>

#include "backends/kgen/worker.h"
#include "row.h"

// Whether the op (pq_reduce_op) exists for the integer type.
int pq_reduce_int_has(uint32_t op, uint32_t dtype);
void pq_reduce_int_run(const pq_row_shape *shape, uint32_t op, uint32_t dtype,
                       const void *in, void *out, const pq_worker *worker);

#endif
