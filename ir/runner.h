// SPDX-License-Identifier: Apache-2.0
//
// "Run this graph on these inputs and show me these values": what
// calibration and evaluation need, without knowing who runs. The interpreter
// gives one (interp.h), compiler/ another that runs through a session; both
// give the same bits for integer and float ops. States of the graph are the
// runner's: zero at first, kept from run to run.
#ifndef PTQC_IR_RUNNER_H
#define PTQC_IR_RUNNER_H

#include "ir/graph.h"

// A dense tensor in host memory, borrowed.
typedef struct pq_tensor {
    ptqc_dtype dtype;
    uint32_t rank;
    int64_t dims[PTQC_MAX_RANK];
    void *p;
    size_t bytes;
} pq_tensor;

// Called for each observed value of each run; the tensor is valid during the
// call.
typedef ptqc_status (*pq_observe_fn)(void *user, pq_value_id value,
                                     const pq_tensor *tensor);

typedef struct pq_runner pq_runner;
struct pq_runner {
    // inputs[i] belongs to graph input i. Shows graph outputs and `watched`
    // values (fixed when the runner was made) in unspecified order.
    ptqc_status (*run)(pq_runner *r, const pq_tensor *inputs,
                       pq_observe_fn observe, void *user);
    void (*destroy)(pq_runner *r);
};

// Makes a runner of a graph; the graph is borrowed and unchanged until the
// runner is destroyed.
typedef ptqc_status (*pq_runner_make_fn)(void *user, pq_graph *g,
                                         const pq_value_id *watched,
                                         uint32_t watched_count,
                                         pq_runner **out);

#endif
