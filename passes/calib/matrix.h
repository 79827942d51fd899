// SPDX-License-Identifier: Apache-2.0
//
// Annotated weights of matmul as the solvers of quant/ want them: f32
// [rows][cols], rows are outputs, whichever way the model stores them.
#ifndef PTQC_PASSES_CALIB_MATRIX_H
#define PTQC_PASSES_CALIB_MATRIX_H

#include "ir/graph.h"

typedef struct pq_matrix_size {
    int64_t rows, cols;
    size_t scale_count; // of the whole weight
    size_t code_bytes;  // of the constant of codes
} pq_matrix_size;

// A matmul by an annotated matrix of real numbers, its inputs' last axis
// contracted.
bool pq_is_matrix_product(const pq_graph *g, const pq_op *op);
// The annotation's scheme, its axes those of [rows][cols].
pq_scheme pq_matrix_scheme(const pq_graph *g, const pq_op *op);
PTQC_MUST_USE ptqc_status pq_matrix_measure(const pq_graph *g, const pq_op *op,
                                            pq_matrix_size *out);
// A copy in the arena.
PTQC_MUST_USE ptqc_status pq_matrix_read(const pq_graph *g, const pq_op *op,
                                         pq_arena *arena, const float **out);
// codes [rows][cols], one byte each, packed as the graph's constant of codes
// has them; in the arena.
PTQC_MUST_USE ptqc_status pq_matrix_pack(const pq_graph *g, const pq_op *op,
                                         const uint8_t *codes, pq_arena *arena,
                                         const void **out);
// The weight's annotation gets these parameters, copied: as many as
// pq_matrix_measure says.
PTQC_MUST_USE ptqc_status pq_matrix_annotate(pq_graph *g, const pq_op *op,
                                             const float *scales,
                                             const int32_t *zero_points);

#endif
