// SPDX-License-Identifier: Apache-2.0
//
// A fixed pool of threads. Work is split into contiguous ranges that depend
// only on (count, grain, width), so results never depend on timing. Workers
// spin briefly between jobs and then sleep (cpu-kernels: a futex wake-up
// costs 20-40 us, a spin 0.1 us). A job started from inside a job runs
// serially on that thread. Any number of threads may use a pool: their jobs
// queue.
#ifndef PTQC_BASE_THREADS_H
#define PTQC_BASE_THREADS_H

#include <stdint.h>

#include "base/ctx.h"

typedef struct pq_pool pq_pool;
typedef void (*pq_task_fn)(void *user, uint64_t begin, uint64_t end,
                           uint32_t worker);
typedef void (*pq_region_fn)(void *user, uint32_t worker, uint32_t width,
                             void *region);

// width >= 1; width 1 makes no thread.
PTQC_MUST_USE ptqc_status pq_pool_create(ptqc_ctx *ctx, uint32_t width,
                                         pq_pool **out);
void pq_pool_destroy(pq_pool *pool); // joins; NULL allowed
uint32_t pq_pool_width(const pq_pool *pool);
// fn on [0, count) in at most `width` ranges of at least `grain` items, the
// first of them by the calling thread; inside a job one range, with the number
// of the calling worker.
void pq_pool_for(pq_pool *pool, uint64_t count, uint64_t grain, pq_task_fn fn,
                 void *user);
// One parallel region over all workers; inside a job it is of width 1.
void pq_pool_run(pq_pool *pool, pq_region_fn fn, void *user);
// All workers of the region must come here equally often.
void pq_region_barrier(void *region);
// Cores this process may use (affinity, cgroup quota), >= 1.
uint32_t pq_core_count(void);
// Monotonic nanoseconds.
uint64_t pq_clock_ns(void);

#endif
