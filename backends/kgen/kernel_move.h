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
// An element's bits as two words: those of an 8-byte one, or twice the same.
void pq_kg_move_put_fill(pq_kg_launcher *l, int64_t element);

#endif
