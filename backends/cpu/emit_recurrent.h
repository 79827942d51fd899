// SPDX-License-Identifier: Apache-2.0
//
// Kernels behind recurrent.h. A panel is 16 hidden units with all their
// gates: weights [k][gates][16] f32, gate sums [gates][16], states [16].
#ifndef PTQC_BACKENDS_CPU_EMIT_RECURRENT_H
#define PTQC_BACKENDS_CPU_EMIT_RECURRENT_H

#include <stdint.h>

#include "jit.h"

// What a kernel does with the products of its rows and panels.
#define PQ_CELL_SUMS       0u // stores them: xw = a W
#define PQ_CELL_LSTM       1u
#define PQ_CELL_RNN        2u
#define PQ_CELL_GRU_LINEAR 3u // linear_before_reset
#define PQ_CELL_GRU_RESET  4u // z and r gates: stores z and r * h
#define PQ_CELL_GRU_NEW    5u // h gate from the rows r * h: the new h

typedef struct pq_cell_key {
    uint32_t what;         // PQ_CELL_*
    uint32_t gates;        // of the panel: 4, 3, 1
    uint32_t has_peephole; // lstm
} pq_cell_key;

typedef struct pq_cell_args {
    const float *a;        // [rows][k]
    const float *w;        // [panels][k][gates][16]
    float *xw;             // [rows][panels][gates][16]; out of SUMS
    const float *bias;     // [panels][gates][16]: wb + rb (GRU_LINEAR, gate h:
                           // wb)
    const float *bias_h;   // [panels][16]: rb of gate h
    const float *peephole; // [panels][3][16]: i o f
    const float *h;        // [rows][panels][16]
    float *h_next, *c, *z, *reset;             // as h
    int64_t a_stride, xw_stride, state_stride; // bytes between rows
    int64_t rows, panels, k;
} pq_cell_args;

typedef void (*pq_cell_kernel)(const pq_cell_args *args);

extern const pq_kernel_class pq_cell_class;

#endif
