// SPDX-License-Identifier: Apache-2.0
//
// Kernels whose elements are moved as bits (skeletons/move.kg): what a family
// adds is where element `rest` of y comes from.
#ifndef PTQC_BACKENDS_KGEN_KERNEL_MOVE_H
#define PTQC_BACKENDS_KGEN_KERNEL_MOVE_H

#include "module.h"

// Elements of 8 bytes are two in a kernel, along an axis behind the others.
int64_t pq_kg_move_parts(uint32_t dtype);
// Declares what the skeleton needs; RAW(b, i) reads an element. Words count
// and words_out are the first of the launch. false: declined.
bool pq_kg_move_begin(pq_kg_module *m, const char *name);
// y, and `fetch`: statements that set `element` (zero before) from `rest`.
void pq_kg_move_end(pq_kg_module *m, const char *fetch);
// The first words, and the items.
void pq_kg_move_launch(pq_kg_launcher *l);
// Whether input i is there and has y's type.
bool pq_kg_move_is_like_y(const pq_kg_job *job, uint32_t i);
// Whether a tensor is there and is i32 or i64.
bool pq_kg_move_is_index(const pq_kg_tensor *t);
// PARTS; ID(i) of input `arg` as buffer ids.
void pq_kg_move_parts_define(pq_kg_module *m);
void pq_kg_move_ids(pq_kg_module *m, uint32_t arg);
// RAW(b, i): the bits of an element, or of a part of one.
void pq_kg_move_raw_define(pq_kg_module *m, uint32_t dtype);
// Indices [batch.., tuples.., depth] of input 1 into x [batch.., sizes..,
// inner..].
typedef struct pq_kg_tuples {
    int64_t count, per_batch, depth, inner;
    const int64_t *sizes; // [depth]
    uint32_t size_count;  // of the words: axes of x
} pq_kg_tuples;
// false: the launch failed.
bool pq_kg_tuples_read(pq_kg_launcher *l, const pq_kg_tensor *x,
                       int64_t batch_dims, pq_kg_tuples *out);
// The words depth and sizes, of which there are as many as x has axes.
void pq_kg_tuples_put(pq_kg_launcher *l, const pq_kg_tuples *t);
// An element's bits as two words: those of an 8-byte one, or twice the same.
void pq_kg_move_put_fill(pq_kg_launcher *l, int64_t element);

#endif
