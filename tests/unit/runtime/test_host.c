// SPDX-License-Identifier: Apache-2.0
//
// Host services as a plugin sees them: memory, diagnostics, threads, cache.
#include <stdio.h>
#include <string.h>

#include "runtime/host.h"
#include "runtime/plugins.h"
#include "tests/support/cmocka_test.h"
#include "tests/support/context.h"

typedef struct fixture {
    pq_test_sink sink;
    pq_test_heap heap;
    ptqc_ctx *ctx;
    ptqc_host host;
    const ptqc_host_vt *vt;
} fixture;

static int
set_up_width(void **state, uint32_t threads)
{
    static fixture f;
    f = (fixture){0};
    f.ctx = pq_test_ctx_create(&f.sink, &f.heap, threads);
    pq_host_init(f.ctx, &f.host);
    f.vt = f.host.vt;
    *state = &f;
    return 0;
}

static int
set_up(void **state)
{
    return set_up_width(state, 1);
}

static int
set_up_three(void **state)
{
    return set_up_width(state, 3);
}

static int
tear_down(void **state)
{
    fixture *f = *state;
    ptqc_ctx_destroy(f->ctx);
    return f->heap.live != 0;
}

static void
test_record(void **state)
{
    fixture *f = *state;
    assert_int_equal(f->host.h.size, sizeof f->host);
    assert_int_equal(f->host.h.type, PTQC_REC_HOST);
    assert_int_equal(f->host.abi_version, PTQC_ABI_VERSION);
    assert_int_equal(f->vt->h.size, sizeof *f->vt);
    assert_int_equal(f->vt->h.type, PTQC_REC_HOST_VT);
    assert_memory_equal(f->host.product.p, "ptqc ", 5);
}

// ---- memory -----------------------------------------------------------------

static void
test_alignment(void **state)
{
    fixture *f = *state;
    for (uint64_t align = 1; align <= 4096; align *= 2) {
        for (uint64_t bytes = 0; bytes < 70; bytes += 23) {
            uint8_t *p = f->vt->alloc(f->host.self, bytes, align);
            assert_non_null(p);
            assert_int_equal((uintptr_t)p % align, 0);
            memset(p, 0xff, bytes);
            f->vt->free(f->host.self, p);
        }
    }
    f->vt->free(f->host.self, NULL);
    assert_null(f->vt->alloc(f->host.self, UINT64_MAX, 64));
    assert_null(f->vt->alloc(f->host.self, UINT64_MAX - 64, 4096));
    f->heap.count = 0;
    f->heap.fail_at = 1;
    assert_null(f->vt->alloc(f->host.self, 100, 64));
}

// ---- calls ------------------------------------------------------------------

static void
say(fixture *f, ptqc_call *call, uint32_t severity, const char *text)
{
    const ptqc_diag d = {.h = {.size = sizeof d, .type = PTQC_REC_DIAG},
                         .severity = severity,
                         .text = {text, strlen(text)}};
    f->vt->diag(call, &d);
}

static void
test_first_error_is_kept(void **state)
{
    fixture *f = *state;
    char name[] = "fake";
    const pq_plugin plugin = {.name = name};
    ptqc_call call;
    pq_call_init(&call, f->ctx, &plugin);
    say(f, &call, PTQC_SEV_ERROR, "the cause");
    say(f, &call, PTQC_SEV_ERROR, "what follows");
    assert_int_equal(f->sink.error_count, 0); // not yet
    assert_int_equal(pq_call_end(&call, PTQC_BE_INTERNAL, "run"),
                     PTQC_E_BACKEND);
    assert_int_equal(f->sink.error_count, 1);
    assert_non_null(strstr(f->sink.text, "plugin fake: run: the cause"));
    assert_null(strstr(f->sink.text, "what follows"));
}

static void
test_warnings_and_long_texts(void **state)
{
    fixture *f = *state;
    char name[] = "fake", text[3000];
    const pq_plugin plugin = {.name = name};
    ptqc_call call;
    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    pq_call_init(&call, f->ctx, &plugin);
    say(f, &call, PTQC_SEV_WARNING, "look out");
    assert_int_equal(f->sink.warning_count, 1);
    assert_non_null(strstr(f->sink.text, "plugin fake: look out"));
    say(f, &call, 99, "no such severity"); // debug: not shown
    assert_int_equal(f->sink.error_count, 0);
    say(f, &call, PTQC_SEV_ERROR, text); // cut
    assert_int_equal(pq_call_end(&call, PTQC_BE_INTERNAL, "run"),
                     PTQC_E_BACKEND);
    // A record of an older plugin, that ends before its text.
    ptqc_diag old = {.h = {.size = offsetof(ptqc_diag, text)},
                     .severity = PTQC_SEV_ERROR,
                     .text = {"never read", 10}};
    pq_call_init(&call, f->ctx, &plugin);
    f->vt->diag(&call, &old);
    assert_string_equal(call.text, "");
}

static void
test_cancelled(void **state)
{
    fixture *f = *state;
    char name[] = "fake";
    const pq_plugin plugin = {.name = name};
    ptqc_call call;
    pq_call_init(&call, f->ctx, &plugin);
    assert_int_equal(f->vt->cancelled(&call), 0);
    ptqc_ctx_cancel(f->ctx);
    assert_int_not_equal(f->vt->cancelled(&call), 0);
}

static const void *
map_seven(void *user, uint64_t id, uint64_t *out_bytes)
{
    *out_bytes = 3;
    return id == 7 ? user : NULL;
}

static void
test_constants(void **state)
{
    fixture *f = *state;
    char name[] = "fake";
    const pq_plugin plugin = {.name = name};
    ptqc_call call;
    uint64_t bytes = 0;
    pq_call_init(&call, f->ctx, &plugin);
    assert_null(f->vt->constant_map(&call, 7, &bytes)); // nobody has any
    call.constant_map = map_seven;
    call.constant_user = name;
    assert_ptr_equal(f->vt->constant_map(&call, 7, &bytes), name);
    assert_int_equal(bytes, 3);
    assert_null(f->vt->constant_map(&call, 8, &bytes));
}

static const void *
map_without_memory(void *user, uint64_t id, uint64_t *out_bytes)
{
    fixture *f = user;
    *out_bytes = 3;
    f->heap.fail_at = f->heap.count + 1;
    return id == 7 ? pq_alloc(f->ctx, 3) : NULL;
}

// What the host has said of its memory is the only error, whatever the plugin
// makes of it.
static void
test_no_memory_for_constants(void **state)
{
    fixture *f = *state;
    char name[] = "fake";
    const pq_plugin plugin = {.name = name};
    static const ptqc_be_status answers[] = {PTQC_BE_RESOURCE, PTQC_BE_INVALID,
                                             PTQC_BE_CORRUPT, PTQC_BE_OK};
    for (size_t i = 0; i < sizeof answers / sizeof *answers; i++) {
        ptqc_call call;
        uint64_t bytes;
        pq_test_sink_clear(&f->sink);
        pq_call_init(&call, f->ctx, &plugin);
        call.constant_map = map_without_memory;
        call.constant_user = f;
        assert_null(f->vt->constant_map(&call, 7, &bytes));
        say(f, &call, PTQC_SEV_ERROR, "the constant is not there");
        assert_int_equal(pq_call_end(&call, answers[i], "run"),
                         PTQC_E_RESOURCE);
        assert_int_equal(f->sink.error_count, 1);
        assert_non_null(strstr(f->sink.text, "out of memory"));
    }
}

// So it is for the plugin's own memory; where the host has said nothing the
// plugin's text counts.
static void
test_no_memory_for_plugins(void **state)
{
    fixture *f = *state;
    char name[] = "fake";
    const pq_plugin plugin = {.name = name};
    ptqc_call call;
    pq_test_sink_clear(&f->sink);
    pq_call_init(&call, f->ctx, &plugin);
    f->heap.fail_at = f->heap.count + 1;
    assert_null(f->vt->alloc(f->host.self, 100, 16));
    assert_int_equal(pq_call_end(&call, PTQC_BE_RESOURCE, "run"),
                     PTQC_E_RESOURCE);
    assert_int_equal(f->sink.error_count, 1);
    assert_null(strstr(f->sink.text, "plugin"));
    pq_test_sink_clear(&f->sink);
    pq_call_init(&call, f->ctx, &plugin);
    assert_int_equal(pq_call_end(&call, PTQC_BE_RESOURCE, "run"),
                     PTQC_E_RESOURCE);
    assert_int_equal(f->sink.error_count, 1);
    assert_non_null(strstr(f->sink.text, "plugin fake: run: out of memory"));
}

// ---- threads ----------------------------------------------------------------

#define ITEMS 1001

typedef struct work {
    fixture *f;
    uint8_t seen[ITEMS];
    uint32_t width, is_outside;
    uint64_t before[8]; // what each worker found after the barrier
    uint32_t arrived;
} work;

static void
mark(void *user, uint64_t begin, uint64_t end, uint32_t worker)
{
    work *w = user;
    if (worker >= w->width) {
        __atomic_store_n(&w->is_outside, 1, __ATOMIC_RELAXED);
    }
    for (uint64_t i = begin; i < end; i++) {
        w->seen[i]++;
    }
}

static void
test_parallel_for(void **state)
{
    fixture *f = *state;
    static const uint64_t grains[] = {0, 1, 7, 1000, 5000};
    work w = {.f = f, .width = f->vt->pool_width(f->host.self)};
    assert_int_equal(w.width, 3);
    for (size_t g = 0; g < sizeof grains / sizeof *grains; g++) {
        memset(w.seen, 0, sizeof w.seen);
        f->vt->parallel_for(f->host.self, ITEMS, grains[g], mark, &w);
        for (int i = 0; i < ITEMS; i++) {
            assert_int_equal(w.seen[i], 1);
        }
    }
    memset(w.seen, 0, sizeof w.seen);
    f->vt->parallel_for(f->host.self, 0, 1, mark, &w);
    assert_int_equal(w.seen[0], 0);
    assert_int_equal(w.is_outside, 0);
}

static void
meet(void *user, uint32_t worker, uint32_t width, void *region)
{
    work *w = user;
    __atomic_add_fetch(&w->arrived, 1, __ATOMIC_RELAXED);
    w->f->vt->barrier(region);
    w->before[worker] = __atomic_load_n(&w->arrived, __ATOMIC_RELAXED);
    w->f->vt->barrier(region);
    if (worker == 0) {
        w->width = width;
    }
}

static void
test_region_and_barrier(void **state)
{
    fixture *f = *state;
    for (int round = 0; round < 50; round++) {
        work w = {.f = f};
        f->vt->pool_run(f->host.self, meet, &w);
        assert_int_equal(w.width, 3);
        for (uint32_t i = 0; i < w.width; i++) {
            assert_int_equal(w.before[i], 3); // nobody went on alone
        }
    }
}

static void
run_inside(void *user, uint64_t begin, uint64_t end, uint32_t worker)
{
    work *w = user;
    (void)begin;
    (void)end;
    if (worker == 0) { // one worker is enough: the others would race
        w->f->vt->parallel_for(w->f->host.self, ITEMS, 1, mark, w);
    }
}

static void
test_call_from_inside_a_task(void **state)
{
    fixture *f = *state;
    work w = {.f = f, .width = 3};
    f->vt->parallel_for(f->host.self, 3, 1, run_inside, &w);
    for (int i = 0; i < ITEMS; i++) {
        assert_int_equal(w.seen[i], 1);
    }
}

// ---- the rest ---------------------------------------------------------------

static void
test_no_cache_directory(void **state)
{
    fixture *f = *state;
    const uint8_t key[32] = {1};
    ptqc_bytes data = {"x", 1};
    assert_int_equal(f->vt->cache_put(f->host.self, key, data),
                     PTQC_BE_UNSUPPORTED);
    assert_int_equal(f->vt->cache_get(f->host.self, key, &data),
                     PTQC_BE_UNSUPPORTED);
}

static void
test_clock(void **state)
{
    fixture *f = *state;
    uint64_t a = f->vt->clock_ns(f->host.self);
    uint64_t b = f->vt->clock_ns(f->host.self);
    assert_true(b >= a);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
#define WIDE(name)                                                             \
    cmocka_unit_test_setup_teardown(name, set_up_three, tear_down)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_record),
        TEST(test_alignment),
        TEST(test_first_error_is_kept),
        TEST(test_warnings_and_long_texts),
        TEST(test_cancelled),
        TEST(test_constants),
        TEST(test_no_memory_for_constants),
        TEST(test_no_memory_for_plugins),
        WIDE(test_parallel_for),
        WIDE(test_region_and_barrier),
        WIDE(test_call_from_inside_a_task),
        TEST(test_no_cache_directory),
        TEST(test_clock),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
