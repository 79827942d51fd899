// SPDX-License-Identifier: Apache-2.0
//
// The pool: the split is fixed, barriers order memory (run it under
// ThreadSanitizer), nested jobs are serial, several threads may share a pool.
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <string.h>

#include "base/threads.h"
#include "tests/support/cmocka_test.h"
#include "tests/support/context.h"

enum {
    WIDTH_MAX = 8,
    PHASES = 300,
};

static pq_pool *
create_pool(ptqc_ctx *ctx, uint32_t width)
{
    pq_pool *pool;
    assert_int_equal(pq_pool_create(ctx, width, &pool), PTQC_OK);
    assert_int_equal(pq_pool_width(pool), width);
    return pool;
}

// One slot per worker: no two tasks write the same one.
typedef struct split {
    uint64_t begin[WIDTH_MAX], end[WIDTH_MAX];
    unsigned calls[WIDTH_MAX];
} split;

static void
note_range(void *user, uint64_t begin, uint64_t end, uint32_t worker)
{
    split *s = user;
    s->begin[worker] = begin;
    s->end[worker] = end;
    s->calls[worker]++;
}

static void
check_split(pq_pool *pool, uint64_t count, uint64_t grain)
{
    split s = {0};
    pq_pool_for(pool, count, grain, note_range, &s);
    uint64_t next = 0;
    for (uint32_t w = 0; w < WIDTH_MAX && s.calls[w] != 0; w++) {
        assert_int_equal(s.calls[w], 1);
        assert_true(s.begin[w] == next);
        uint64_t n = s.end[w] - s.begin[w];
        assert_true(n >= grain || n == count);
        assert_true(n - 1 <= count / pq_pool_width(pool) ||
                    n < 2 * grain); // balanced as far as the grain allows
        next = s.end[w];
    }
    assert_true(next == count);
    split again = {0};
    pq_pool_for(pool, count, grain, note_range, &again);
    assert_memory_equal(&s, &again, sizeof s);
}

static void
test_split(void **state)
{
    (void)state;
    static const uint64_t counts[] = {0, 1, 2, 3, 7, 8, 9, 100, 1000003};
    static const uint64_t grains[] = {0, 1, 2, 16, 64, 5000};
    ptqc_ctx *ctx = pq_test_ctx_create(NULL, NULL, 1);
    for (uint32_t width = 1; width <= WIDTH_MAX; width += width < 4 ? 1 : 4) {
        pq_pool *pool = create_pool(ctx, width);
        for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++) {
            for (size_t k = 0; k < sizeof grains / sizeof grains[0]; k++) {
                check_split(pool, counts[i], grains[k]);
            }
        }
        check_split(pool, UINT64_MAX, 1); // no overflow in the split
        pq_pool_destroy(pool);
    }
    pq_pool_destroy(NULL);
    assert_true(pq_live_bytes(ctx) == 0);
    ptqc_ctx_destroy(ctx);
}

static void
add_range(void *user, uint64_t begin, uint64_t end, uint32_t worker)
{
    (void)worker;
    for (uint64_t i = begin; i < end; i++) {
        ((uint32_t *)user)[i]++;
    }
}

// Memory written by a job is seen by the next one and by the caller.
static void
test_many_jobs(void **state)
{
    (void)state;
    static uint32_t sums[1000];
    memset(sums, 0, sizeof sums);
    ptqc_ctx *ctx = pq_test_ctx_create(NULL, NULL, 1);
    pq_pool *pool = create_pool(ctx, 4);
    for (uint32_t round = 0; round < 2000; round++) {
        // Other workers get other items in every round.
        pq_pool_for(pool, 1000 - round % 7, 1 + round % 300, add_range, sums);
    }
    pq_pool_destroy(pool);
    assert_int_equal(sums[0], 2000);
    assert_int_equal(sums[993], 2000);
    ptqc_ctx_destroy(ctx);
}

// In every phase each worker adds up what all wrote in the phase before.
typedef struct exchange {
    uint64_t written[2][WIDTH_MAX];
    uint64_t result[WIDTH_MAX];
    uint32_t width;
} exchange;

static void
exchange_phases(void *user, uint32_t worker, uint32_t width, void *region)
{
    exchange *x = user;
    if (worker == 0) {
        x->width = width;
    }
    x->written[0][worker] = worker + 1;
    pq_region_barrier(region);
    for (unsigned phase = 0; phase < PHASES; phase++) {
        uint64_t sum = 0;
        for (uint32_t w = 0; w < width; w++) {
            sum += x->written[phase % 2][w];
        }
        x->written[(phase + 1) % 2][worker] = sum % 1000003 + worker;
        x->result[worker] = sum;
        pq_region_barrier(region);
    }
}

static uint64_t
expected_exchange(uint32_t width)
{
    uint64_t now[WIDTH_MAX];
    uint64_t sum = 0;
    for (uint32_t w = 0; w < width; w++) {
        now[w] = w + 1;
    }
    for (unsigned phase = 0; phase < PHASES; phase++) {
        sum = 0;
        for (uint32_t w = 0; w < width; w++) {
            sum += now[w];
        }
        for (uint32_t w = 0; w < width; w++) {
            now[w] = sum % 1000003 + w;
        }
    }
    return sum;
}

static void
test_barrier(void **state)
{
    (void)state;
    ptqc_ctx *ctx = pq_test_ctx_create(NULL, NULL, 1);
    for (uint32_t width = 1; width <= WIDTH_MAX; width += width < 4 ? 1 : 4) {
        pq_pool *pool = create_pool(ctx, width);
        for (int round = 0; round < 3; round++) {
            exchange x = {0};
            pq_pool_run(pool, exchange_phases, &x);
            assert_int_equal(x.width, width);
            for (uint32_t w = 0; w < width; w++) {
                assert_true(x.result[w] == expected_exchange(width));
            }
        }
        pq_pool_destroy(pool);
    }
    ptqc_ctx_destroy(ctx);
}

typedef struct nested {
    pq_pool *pool;
    uint32_t workers_seen[WIDTH_MAX]; // worker number inside the inner job
    uint64_t inner_count[WIDTH_MAX];
    uint32_t inner_width[WIDTH_MAX];
} nested;

typedef struct inner_job {
    nested *outer;
    uint32_t outer_worker;
} inner_job;

static void
inner_task(void *user, uint64_t begin, uint64_t end, uint32_t worker)
{
    const inner_job *job = user;
    job->outer->workers_seen[job->outer_worker] = worker;
    job->outer->inner_count[job->outer_worker] += end - begin;
}

static void
inner_region(void *user, uint32_t worker, uint32_t width, void *region)
{
    const inner_job *job = user;
    pq_region_barrier(region); // alone: returns at once
    job->outer->inner_width[job->outer_worker] = width + worker;
}

static void
outer_task(void *user, uint64_t begin, uint64_t end, uint32_t worker)
{
    (void)begin;
    (void)end;
    nested *n = user;
    inner_job job = {.outer = n, .outer_worker = worker};
    pq_pool_for(n->pool, 50, 1, inner_task, &job);
    pq_pool_run(n->pool, inner_region, &job);
}

static void
outer_region(void *user, uint32_t worker, uint32_t width, void *region)
{
    outer_task(user, 0, width, worker);
    pq_region_barrier(region);
}

static void
check_nested(nested *n, uint32_t workers)
{
    for (uint32_t w = 0; w < workers; w++) {
        assert_int_equal(n->workers_seen[w], w);
        assert_true(n->inner_count[w] == 50);
        assert_int_equal(n->inner_width[w], 1);
    }
}

static void
test_nested_jobs_are_serial(void **state)
{
    (void)state;
    ptqc_ctx *ctx = pq_test_ctx_create(NULL, NULL, 1);
    nested in_task = {.pool = create_pool(ctx, 4)};
    pq_pool_for(in_task.pool, 4, 1, outer_task, &in_task);
    check_nested(&in_task, 4);
    nested in_single = {.pool = in_task.pool};
    pq_pool_for(in_task.pool, 1, 1, outer_task, &in_single);
    check_nested(&in_single, 1);
    nested in_region = {.pool = in_task.pool};
    pq_pool_run(in_task.pool, outer_region, &in_region);
    check_nested(&in_region, 4);
    pq_pool_destroy(in_task.pool);
    ptqc_ctx_destroy(ctx);
}

typedef struct sharer {
    pq_pool *pool;
    uint32_t sums[64];
} sharer;

static void *
share_pool(void *user)
{
    sharer *s = user;
    for (int i = 0; i < 300; i++) {
        pq_pool_for(s->pool, 64, 1, add_range, s->sums);
    }
    return NULL;
}

static void
test_threads_share_a_pool(void **state)
{
    (void)state;
    enum { SHARERS = 3 };
    static sharer sharers[SHARERS];
    memset(sharers, 0, sizeof sharers);
    ptqc_ctx *ctx = pq_test_ctx_create(NULL, NULL, 1);
    pq_pool *pool = create_pool(ctx, 3);
    pthread_t threads[SHARERS];
    for (int i = 0; i < SHARERS; i++) {
        sharers[i].pool = pool;
        assert_int_equal(
            pthread_create(&threads[i], NULL, share_pool, &sharers[i]), 0);
    }
    for (int i = 0; i < SHARERS; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
        for (int k = 0; k < 64; k++) {
            assert_int_equal(sharers[i].sums[k], 300);
        }
    }
    pq_pool_destroy(pool);
    ptqc_ctx_destroy(ctx);
}

static void
note_signal_mask(void *user, uint32_t worker, uint32_t width, void *region)
{
    (void)width;
    (void)region;
    sigset_t mask;
    bool *blocked = user;
    blocked[worker] = pthread_sigmask(SIG_SETMASK, NULL, &mask) == 0 &&
                      sigismember(&mask, SIGINT) == 1;
}

static void
test_workers_take_no_signals(void **state)
{
    (void)state;
    bool blocked[3] = {false};
    ptqc_ctx *ctx = pq_test_ctx_create(NULL, NULL, 1);
    pq_pool *pool = create_pool(ctx, 3);
    pq_pool_run(pool, note_signal_mask, blocked);
    pq_pool_destroy(pool);
    assert_false(blocked[0]); // the caller's mask is its own
    assert_true(blocked[1] && blocked[2]);
    ptqc_ctx_destroy(ctx);
}

static void
test_widths_refused(void **state)
{
    (void)state;
    pq_test_sink sink = {0};
    ptqc_ctx *ctx = pq_test_ctx_create(&sink, NULL, 1);
    pq_pool *pool;
    assert_int_equal(pq_pool_create(ctx, 0, &pool), PTQC_E_USAGE);
    assert_int_equal(pq_pool_create(ctx, UINT32_MAX, &pool), PTQC_E_USAGE);
    assert_null(pool);
    assert_int_equal(sink.error_count, 2);
    ptqc_ctx_destroy(ctx);
}

static ptqc_status
use_pool(ptqc_ctx *ctx, void *user)
{
    (void)user;
    pq_pool *pool;
    PQ_TRY(pq_pool_create(ctx, 2, &pool));
    pq_pool_destroy(pool);
    return PTQC_OK;
}

static void
test_allocation_failures(void **state)
{
    (void)state;
    assert_int_equal(pq_test_alloc_sweep(use_pool, NULL), 3);
}

static void
test_clock_and_cores(void **state)
{
    (void)state;
    uint64_t a = pq_clock_ns();
    uint64_t b = pq_clock_ns();
    assert_true(b >= a && a != 0);
    assert_in_range(pq_core_count(), 1, 4096);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_split),
        cmocka_unit_test(test_many_jobs),
        cmocka_unit_test(test_barrier),
        cmocka_unit_test(test_nested_jobs_are_serial),
        cmocka_unit_test(test_threads_share_a_pool),
        cmocka_unit_test(test_workers_take_no_signals),
        cmocka_unit_test(test_widths_refused),
        cmocka_unit_test(test_allocation_failures),
        cmocka_unit_test(test_clock_and_cores),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
