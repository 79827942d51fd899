// SPDX-License-Identifier: Apache-2.0
//
// The thread pool, on pthreads, C11 atomics and Linux futexes. One job at a
// time: the caller is worker 0, workers 1 .. width - 1 wait on the event
// `start`, whose value counts jobs; the last worker to finish sets `done` to
// the same number. Waiting is a spin of at most SPIN_NS, then a futex
// (cpu-kernels: 0.1 us against 20-40 us); without a core per worker nobody
// spins.
#include "base/threads.h"

#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdalign.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum {
    SPIN_NS = 50 * 1000,
    SPINS_PER_CLOCK = 64, // pauses between two looks at the clock
    CACHE_LINE = 64,
    WIDTH_MAX = 4096,
};

// A number that threads wait to see changed.
typedef struct event {
    alignas(CACHE_LINE) atomic_uint value;
    atomic_uint sleepers;
} event;

typedef struct worker {
    pq_pool *pool; // borrowed
    uint32_t index;
    pthread_t thread;
} worker;

typedef struct job {
    // Exactly one of the two is set.
    pq_task_fn task;
    pq_region_fn region;
    void *user;
    uint64_t count;  // of a task
    uint32_t pieces; // workers that take part in a task
} job;

// The barrier of a region; `region` of the public calls points at one.
typedef struct barrier {
    uint32_t width;
    uint64_t spin_ns;
    alignas(CACHE_LINE) atomic_uint arrived;
    event phase;
} barrier;

struct pq_pool {
    ptqc_ctx *ctx; // borrowed
    uint32_t width;
    uint32_t thread_count; // threads that run, width - 1 when complete
    uint64_t spin_ns;      // 0 = sleep at once
    worker *workers;       // owned, [width]; workers[0] is the caller's seat
    pthread_mutex_t lock;  // held by the caller during its job
    // Thread that runs a job as worker 0; valid while `busy`.
    _Atomic pthread_t caller;
    atomic_bool busy;
    bool stop; // published by `start`
    job job;   // published by `start`
    barrier barrier;
    event start, done;
    alignas(CACHE_LINE) atomic_uint remaining;
};

static void
pause_cpu(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

uint64_t
pq_clock_ns(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t); // cannot fail: Linux has it
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void
futex_wait(atomic_uint *word, unsigned expected)
{
    // Interrupted, changed or woken: the caller looks again.
    (void)syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, expected, NULL, NULL, 0);
}

static void
futex_wake_all(atomic_uint *word)
{
    (void)syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, INT32_MAX, NULL, NULL,
                  0);
}

// -> true when the value changed within the spin.
static bool
event_spin(event *e, unsigned old, uint64_t spin_ns)
{
    if (atomic_load(&e->value) != old) {
        return true;
    }
    if (spin_ns == 0) {
        return false;
    }
    uint64_t end_ns = pq_clock_ns() + spin_ns;
    do {
        for (int i = 0; i < SPINS_PER_CLOCK; i++) {
            if (atomic_load_explicit(&e->value, memory_order_acquire) != old) {
                return true;
            }
            pause_cpu();
        }
    } while (pq_clock_ns() < end_ns);
    return false;
}

// Returns when the value is no longer `old`. The counter of sleepers and the
// value are both sequentially consistent: either the setter sees the sleeper
// or the sleeper sees the new value.
static void
event_wait_change(event *e, unsigned old, uint64_t spin_ns)
{
    if (event_spin(e, old, spin_ns)) {
        return;
    }
    atomic_fetch_add(&e->sleepers, 1);
    while (atomic_load(&e->value) == old) {
        futex_wait(&e->value, old);
    }
    atomic_fetch_sub(&e->sleepers, 1);
}

static void
event_set(event *e, unsigned value)
{
    atomic_store(&e->value, value);
    if (atomic_load(&e->sleepers) != 0) {
        futex_wake_all(&e->value);
    }
}

void
pq_region_barrier(void *region)
{
    barrier *b = region;
    if (b->width == 1) {
        return;
    }
    unsigned phase = atomic_load(&b->phase.value);
    if (atomic_fetch_add(&b->arrived, 1) + 1 == b->width) {
        atomic_store(&b->arrived, 0);
        event_set(&b->phase, phase + 1);
    } else {
        event_wait_change(&b->phase, phase, b->spin_ns);
    }
}

// First item of piece i: the first count % pieces pieces have one more.
static uint64_t
piece_begin(uint64_t count, uint32_t pieces, uint32_t i)
{
    uint64_t share = count / pieces;
    uint64_t extra = count % pieces;
    return share * i + (i < extra ? i : extra);
}

static void
run_share(pq_pool *pool, uint32_t index)
{
    const job *j = &pool->job;
    if (j->region != NULL) {
        j->region(j->user, index, pool->width, &pool->barrier);
    } else if (index < j->pieces) {
        j->task(j->user, piece_begin(j->count, j->pieces, index),
                piece_begin(j->count, j->pieces, index + 1), index);
    }
}

static void *
worker_main(void *user)
{
    worker *w = user;
    pq_pool *pool = w->pool;
    for (unsigned seen = 0;; seen++) {
        event_wait_change(&pool->start, seen, pool->spin_ns);
        if (pool->stop) {
            return NULL;
        }
        run_share(pool, w->index);
        if (atomic_fetch_sub(&pool->remaining, 1) == 1) {
            event_set(&pool->done, seen + 1);
        }
    }
}

// Publishes pool->job and runs it; the lock is held.
static void
run_job(pq_pool *pool)
{
    unsigned number = atomic_load(&pool->start.value);
    atomic_store(&pool->remaining, pool->thread_count);
    event_set(&pool->start, number + 1);
    run_share(pool, 0);
    if (pool->thread_count != 0) {
        event_wait_change(&pool->done, number, pool->spin_ns);
    }
}

// True when the calling thread is inside a job of this pool; then *out_worker
// is its number there. Thread ids stay valid as long as the threads run, and
// `caller` can equal our own id only if we wrote it.
static bool
find_own_seat(pq_pool *pool, uint32_t *out_worker)
{
    pthread_t self = pthread_self();
    *out_worker = 0;
    if (atomic_load(&pool->busy) &&
        pthread_equal(atomic_load(&pool->caller), self)) {
        return true;
    }
    for (uint32_t i = 1; i <= pool->thread_count; i++) {
        if (pthread_equal(pool->workers[i].thread, self)) {
            *out_worker = i;
            return true;
        }
    }
    return false;
}

static void
take_seat(pq_pool *pool)
{
    (void)pthread_mutex_lock(&pool->lock); // not recursive: seats are checked
    atomic_store(&pool->caller, pthread_self());
    atomic_store(&pool->busy, true);
}

static void
leave_seat(pq_pool *pool)
{
    atomic_store(&pool->busy, false);
    (void)pthread_mutex_unlock(&pool->lock);
}

void
pq_pool_for(pq_pool *pool, uint64_t count, uint64_t grain, pq_task_fn fn,
            void *user)
{
    if (count == 0) {
        return;
    }
    uint32_t seat;
    if (find_own_seat(pool, &seat)) {
        fn(user, 0, count, seat);
        return;
    }
    uint64_t most = count / (grain != 0 ? grain : 1);
    uint32_t pieces = most < pool->width ? (uint32_t)most : pool->width;
    take_seat(pool);
    if (pieces <= 1) {
        fn(user, 0, count, 0);
    } else {
        pool->job =
            (job){.task = fn, .user = user, .count = count, .pieces = pieces};
        run_job(pool);
    }
    leave_seat(pool);
}

void
pq_pool_run(pq_pool *pool, pq_region_fn fn, void *user)
{
    uint32_t seat;
    if (find_own_seat(pool, &seat)) {
        barrier alone = {.width = 1};
        fn(user, 0, 1, &alone);
        return;
    }
    take_seat(pool);
    pool->job = (job){.region = fn, .user = user};
    run_job(pool);
    leave_seat(pool);
}

uint32_t
pq_pool_width(const pq_pool *pool)
{
    return pool->width;
}

// Starts the threads with all signals blocked: handlers belong to the
// threads of the program.
static int
start_threads(pq_pool *pool)
{
    sigset_t all;
    sigset_t before;
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &before);
    int error = 0;
    for (uint32_t i = 1; i < pool->width && error == 0; i++) {
        worker *w = &pool->workers[i];
        *w = (worker){.pool = pool, .index = i};
        error = pthread_create(&w->thread, NULL, worker_main, w);
        pool->thread_count += error == 0;
    }
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    return error;
}

ptqc_status
pq_pool_create(ptqc_ctx *ctx, uint32_t width, pq_pool **out)
{
    *out = NULL;
    if (width == 0 || width > WIDTH_MAX) {
        return PQ_FAIL(ctx, PTQC_E_USAGE, "%u threads: 1 to %d are possible",
                       width, WIDTH_MAX);
    }
    pq_pool *pool = pq_alloc(ctx, sizeof *pool);
    PQ_TRY_ALLOC(pool);
    pool->ctx = ctx;
    pool->width = width;
    pool->spin_ns = width <= pq_core_count() ? SPIN_NS : 0;
    pool->barrier.width = width;
    pool->barrier.spin_ns = pool->spin_ns;
    pool->workers = pq_alloc_array(ctx, width, sizeof *pool->workers);
    if (pool->workers == NULL) {
        pq_free(ctx, pool);
        return PTQC_E_RESOURCE;
    }
    (void)pthread_mutex_init(&pool->lock, NULL); // default: cannot fail
    int error = start_threads(pool);
    if (error != 0) {
        uint32_t started = pool->thread_count;
        pq_pool_destroy(pool);
        return PQ_FAIL(ctx, PTQC_E_RESOURCE,
                       "cannot start thread %u of %u: error %d", started + 1,
                       width, error);
    }
    *out = pool;
    return PTQC_OK;
}

void
pq_pool_destroy(pq_pool *pool)
{
    if (pool == NULL) {
        return;
    }
    pool->stop = true;
    event_set(&pool->start, atomic_load(&pool->start.value) + 1);
    for (uint32_t i = 1; i <= pool->thread_count; i++) {
        (void)pthread_join(pool->workers[i].thread, NULL);
    }
    (void)pthread_mutex_destroy(&pool->lock);
    pq_free(pool->ctx, pool->workers);
    pq_free(pool->ctx, pool);
}
