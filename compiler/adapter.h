// SPDX-License-Identifier: Apache-2.0
//
// Samples of the public API as passes and runners read them.
#ifndef PTQC_COMPILER_ADAPTER_H
#define PTQC_COMPILER_ADAPTER_H

#include "ptqc/compile.h"

#include "passes/pass.h"

typedef struct pq_sample_adapter {
    ptqc_sample_fn fn; // borrowed with its user
    void *user;
    ptqc_tensor *tensors; // [count], in an arena
    uint32_t count;       // of the graph's inputs
} pq_sample_adapter;

// Of a graph with input_count inputs. fn NULL: none are there.
PTQC_MUST_USE ptqc_status pq_sample_adapter_init(pq_sample_adapter *a,
                                                 pq_arena *arena,
                                                 ptqc_sample_fn fn, void *user,
                                                 uint32_t input_count);
// pq_samples.get; user is the adapter.
PTQC_MUST_USE ptqc_status pq_sample_adapter_get(void *user, uint64_t index,
                                                pq_tensor *tensors,
                                                uint32_t count);

ptqc_tensor pq_tensor_to_public(const pq_tensor *t);
pq_tensor pq_tensor_from_public(const ptqc_tensor *t);

#endif
