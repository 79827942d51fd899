// SPDX-License-Identifier: Apache-2.0
//
// lstm, gru and rnn after ONNX: gate order, activations sigmoid and tanh,
// forward, reverse and bidirectional. f32.
//
//     X [T][B][I] -> Y [T][D][B][H], Y_h [D][B][H], Y_c [D][B][H]
//     W [D][G*H][I], R [D][G*H][H], bias [D][2*G*H] (Wb, then Rb)
//     G: lstm 4 (i o f c), gru 3 (z r h), rnn 1
//
// Sums run in the order of f32 matmul: acc from 0, one fma per k in ascending
// order. Per step, per gate g (x-part over I, h-part over H):
//     lstm, rnn: p = (xpart + (Wb + Rb)) + hpart
//     gru:       z, r as above; h: linear_before_reset ?
//                (xpart + Wb) + r * (hpart + Rb)
//                : (xpart + (Wb + Rb)) + (r * h) R^T
//     lstm: i, f += P * c (fma, peepholes), C = fma(f, c, i * g),
//           o += P * C, H = o * tanh(C)
//     gru:  H = fma(z, h - n, n), n = tanh(the h gate)
//     rnn:  H = tanh(p)
// Workers meet at a barrier after each step, so pq_recurrent_run takes one.
// Absent inputs are NULL: bias and initial states count as 0.
#ifndef PTQC_BACKENDS_CPU_RECURRENT_H
#define PTQC_BACKENDS_CPU_RECURRENT_H

#include <stddef.h>
#include <stdint.h>

#include "backends/kgen/params.h"
#include "backends/kgen/worker.h"
#include "jit.h"

typedef struct pq_recurrent_desc {
    uint32_t kind;                       // pq_recurrent_kind
    uint32_t direction;                  // 0 forward, 1 reverse, 2 both (D = 2)
    uint32_t linear_before_reset;        // gru
    uint32_t peephole;                   // lstm: 1 = with peepholes
    int64_t steps, batch, input, hidden; // T B I H
} pq_recurrent_desc;

// W, R, bias and peephole are constants of the graph, packed once on the
// target side into one blob that does not depend on the level.
typedef struct pq_recurrent_weights {
    const float *w, *r;
    const float *bias;     // or NULL
    const float *peephole; // lstm [D][3*H] (i o f); NULL without
} pq_recurrent_weights;

// Bytes of the blob (a multiple of 64); 0 when a size is not positive or
// overflows. desc's steps and batch do not count.
uint64_t pq_recurrent_weight_bytes(const pq_recurrent_desc *desc);
// `out` is 64-byte aligned.
void pq_recurrent_weight_pack(const pq_recurrent_desc *desc,
                              const pq_recurrent_weights *weights, void *out);

typedef struct pq_recurrent_io {
    const void *weights; // the packed blob, 64-byte aligned
    const float *x;
    const float *h0, *c0; // [D][B][H] or NULL
    float *y, *y_h, *y_c; // each may be NULL
    void *shared;         // pq_recurrent_shared_bytes, 64-byte aligned, the
                          // same on all workers
} pq_recurrent_io;

typedef struct pq_recurrent pq_recurrent;

ptqc_be_status pq_recurrent_prepare(pq_jit *jit, ptqc_call *call,
                                    const pq_recurrent_desc *desc,
                                    pq_recurrent **out);
void pq_recurrent_destroy(pq_recurrent *cell); // NULL allowed
// Workspace shared by all workers (gate sums, states).
uint64_t pq_recurrent_shared_bytes(const pq_recurrent *cell);
// barrier(region) as in ptqc_host_vt; with one worker it is not called.
void pq_recurrent_run(const pq_recurrent *cell, const pq_recurrent_io *io,
                      const pq_worker *worker, void (*barrier)(void *region),
                      void *region);

#endif
