// SPDX-License-Identifier: Apache-2.0
//
// How work is shared inside a submit: one parallel region runs the whole
// plan; every step is called on every worker and takes its own contiguous
// part; a barrier separates steps. Partitions depend on shapes and on
// (index, count) only, and no output is ever computed by two workers, so the
// result does not depend on the number of threads.
#ifndef PTQC_BACKENDS_CPU_STEP_H
#define PTQC_BACKENDS_CPU_STEP_H

#include <stddef.h>
#include <stdint.h>

typedef struct pq_worker {
    uint32_t index; // < count
    uint32_t count; // >= 1
    void *scratch;  // this worker's own, 64-byte aligned; size = the largest
                    // that a step of the plan asked for
} pq_worker;

typedef struct pq_range {
    int64_t begin, end;
} pq_range;

// The part of [0, items) that belongs to the worker, in whole multiples of
// `grain` (>= 1) but for the end.
static inline pq_range
pq_worker_range(const pq_worker *w, int64_t items, int64_t grain)
{
    int64_t blocks = (items + grain - 1) / grain;
    int64_t begin = blocks * w->index / w->count * grain;
    int64_t end = blocks * (w->index + 1) / w->count * grain;
    pq_range range = {begin < items ? begin : items, end < items ? end : items};
    return range;
}

#endif
