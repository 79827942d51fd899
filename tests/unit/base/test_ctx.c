// SPDX-License-Identifier: Apache-2.0
//
// The context: memory accounting and limit, diagnostics and their escaping,
// severity filter, cancellation.
#include <signal.h>
#include <string.h>

#include "base/ctx.h"
#include "base/threads.h"
#include "tests/support/cmocka_test.h"
#include "tests/support/context.h"

static void
test_defaults(void **state)
{
    (void)state;
    ptqc_ctx *ctx;
    assert_int_equal(ptqc_ctx_create(NULL, &ctx), PTQC_OK);
    assert_true(pq_memory_limit(ctx) == 0);
    assert_true(pq_memory_left(ctx) == UINT64_MAX);
    assert_true(pq_torture_flags(ctx) == 0);
    assert_null(pq_cache_dir(ctx));
    assert_false(pq_is_cancelled(ctx));
    assert_int_equal(pq_check_cancelled(ctx), PTQC_OK);
    pq_progress(ctx, "nobody listens", 1, 2);
    assert_int_equal(PQ_FAIL(ctx, PTQC_NO, "dropped"), PTQC_NO);
    ptqc_ctx_destroy(ctx);
    ptqc_ctx_destroy(NULL);
}

static void
test_description_is_checked_and_copied(void **state)
{
    (void)state;
    ptqc_ctx *ctx = (ptqc_ctx *)&state; // must be set to NULL
    pq_test_heap heap = {0};
    ptqc_ctx_desc desc = {.alloc = pq_test_heap_alloc, .alloc_user = &heap};
    assert_int_equal(ptqc_ctx_create(&desc, &ctx), PTQC_E_USAGE);
    assert_null(ctx);
    char folder[] = "/cache";
    desc.free = pq_test_heap_free;
    desc.cache_dir = folder;
    desc.torture_flags = PTQC_TORTURE_TEXT;
    for (heap.fail_at = 1;; heap.fail_at++) {
        heap.count = 0;
        ptqc_status st = ptqc_ctx_create(&desc, &ctx);
        if (st == PTQC_OK) {
            break;
        }
        assert_int_equal(st, PTQC_E_RESOURCE);
        assert_null(ctx);
        assert_int_equal(heap.live, 0);
    }
    assert_int_equal(heap.fail_at, 3); // the context and the path
    folder[1] = 'x';
    assert_string_equal(pq_cache_dir(ctx), "/cache");
    assert_true(pq_torture_flags(ctx) == PTQC_TORTURE_TEXT);
    ptqc_ctx_destroy(ctx);
    assert_int_equal(heap.live, 0);
}

static void
test_blocks_are_zeroed_and_aligned(void **state)
{
    (void)state;
    pq_test_heap heap = {0}; // gives bytes of 0xa5
    ptqc_ctx *plain = pq_test_ctx_create(NULL, NULL, 1);
    ptqc_ctx *counted = pq_test_ctx_create(NULL, &heap, 1);
    for (size_t n = 0; n < 300; n += 7) {
        ptqc_ctx *ctx = n % 2 == 0 ? plain : counted;
        uint8_t *p = pq_alloc(ctx, n);
        assert_non_null(p);
        assert_int_equal((uintptr_t)p % 64, 0);
        for (size_t i = 0; i < n; i++) {
            assert_int_equal(p[i], 0);
        }
        memset(p, 0xff, n);
        pq_free(ctx, p);
    }
    pq_free(plain, NULL);
    assert_true(pq_live_bytes(plain) == 0);
    assert_true(pq_live_bytes(counted) == 0);
    ptqc_ctx_destroy(plain);
    ptqc_ctx_destroy(counted);
    assert_int_equal(heap.live, 0);
}

static void
test_limit(void **state)
{
    (void)state;
    pq_test_sink sink = {0};
    ptqc_ctx_desc desc = {.memory_limit_bytes = 1000,
                          .diag = pq_test_sink_add,
                          .diag_user = &sink};
    ptqc_ctx *ctx;
    assert_int_equal(ptqc_ctx_create(&desc, &ctx), PTQC_OK);
    void *a = pq_alloc(ctx, 600);
    assert_non_null(a);
    assert_null(pq_alloc(ctx, 401));
    assert_int_equal(sink.error_count, 1);
    assert_int_equal(sink.last_status, PTQC_E_RESOURCE);
    assert_string_equal(sink.text, "error: out of memory: 401 bytes asked, "
                                   "600 in use, limit 1000\n");
    void *b = pq_alloc(ctx, 400);
    assert_non_null(b);
    assert_true(pq_memory_left(ctx) == 0);
    pq_free(ctx, a);
    assert_true(pq_memory_left(ctx) == 600);
    assert_true(ptqc_ctx_peak_bytes(ctx) == 1000);
    pq_free(ctx, b);
    assert_true(pq_fail_count(ctx) == 1);
    ptqc_ctx_destroy(ctx);
}

static void
test_impossible_sizes(void **state)
{
    (void)state;
    pq_test_sink sink = {0};
    ptqc_ctx *ctx = pq_test_ctx_create(&sink, NULL, 1);
    assert_null(pq_alloc(ctx, SIZE_MAX));
    assert_null(pq_alloc(ctx, SIZE_MAX / 2));
    assert_null(pq_alloc_array(ctx, SIZE_MAX / 2, 3));
    assert_null(pq_realloc_array(ctx, NULL, 0, SIZE_MAX, 16));
    assert_int_equal(sink.error_count, 4);
    assert_true(pq_live_bytes(ctx) == 0);
    ptqc_ctx_destroy(ctx);
}

static void
test_array_growth(void **state)
{
    (void)state;
    ptqc_ctx *ctx = pq_test_ctx_create(NULL, NULL, 1);
    uint32_t *p = pq_realloc_array(ctx, NULL, 0, 3, sizeof *p);
    assert_non_null(p);
    p[0] = 1;
    p[2] = 3;
    p = pq_realloc_array(ctx, p, 3, 100, sizeof *p);
    assert_int_equal(p[0], 1);
    assert_int_equal(p[2], 3);
    for (int i = 3; i < 100; i++) {
        assert_int_equal(p[i], 0);
    }
    p = pq_realloc_array(ctx, p, 100, 1, sizeof *p);
    assert_int_equal(p[0], 1);
    assert_true(pq_live_bytes(ctx) == 4);
    assert_null(pq_realloc_array(ctx, p, 1, SIZE_MAX, sizeof *p));
    assert_int_equal(p[0], 1); // still valid
    pq_free(ctx, p);
    ptqc_ctx_destroy(ctx);
}

typedef struct escape_case {
    const char *given, *said;
} escape_case;

static const escape_case escape_cases[] = {
    {"plain", "error: plain\n"},
    {"", "error: \n"},
    {"a\nb\tc\x7f", "error: a\\x0ab\\x09c\\x7f\n"},
    {"\x1b[31mred", "error: \\x1b[31mred\n"},
    {"caf\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80",
     "error: caf\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80\n"},
    {"\xc0\xaf", "error: \\xc0\\xaf\n"},                   // overlong
    {"\xed\xa0\x80", "error: \\xed\\xa0\\x80\n"},          // surrogate
    {"\xf4\x90\x80\x80", "error: \\xf4\\x90\\x80\\x80\n"}, // > U+10FFFF
    {"\xe2\x82", "error: \\xe2\\x82\n"},                   // cut
    {"\xc2\x9b", "error: \\xc2\\x9b\n"},                   // C1: CSI
    {"\xe2\x80\xaetxt", "error: \\xe2\\x80\\xaetxt\n"},    // right-to-left
    {"\xe2\x81\xa6", "error: \\xe2\\x81\\xa6\n"},          // isolate
};

static void
test_hostile_text_is_escaped(void **state)
{
    (void)state;
    pq_test_sink sink = {0};
    ptqc_ctx *ctx = pq_test_ctx_create(&sink, NULL, 1);
    for (size_t i = 0; i < sizeof escape_cases / sizeof escape_cases[0]; i++) {
        pq_test_sink_clear(&sink);
        (void)PQ_FAIL(ctx, PTQC_E_INPUT, "%s", escape_cases[i].given);
        assert_string_equal(sink.text, escape_cases[i].said);
    }
    ptqc_ctx_destroy(ctx);
}

// All lengths around the 2 KiB cut, with characters of 1 to 4 bytes.
static void
test_long_text_is_cut(void **state)
{
    (void)state;
    static const char *const units[] = {"x", "\xc3\xa9", "\xe2\x82\xac",
                                        "\xf0\x9f\x98\x80", "\x01"};
    char given[2200];
    pq_test_sink sink = {0};
    ptqc_ctx *ctx = pq_test_ctx_create(&sink, NULL, 1);
    for (size_t u = 0; u < sizeof units / sizeof units[0]; u++) {
        size_t step = strlen(units[u]);
        for (size_t n = 2030; n < 2060; n++) {
            memset(given, 'a', n);
            size_t start = n % step; // so that the end is a whole unit
            for (size_t i = start; i + step <= n; i += step) {
                memcpy(given + i, units[u], step);
            }
            given[n] = '\0';
            pq_test_sink_clear(&sink);
            (void)PQ_FAIL(ctx, PTQC_E_INPUT, "%s", given);
            bool is_cut = strstr(sink.text, "...\n") != NULL;
            assert_int_equal(is_cut, n > 2047);
            if (step > 1) { // no character was broken
                assert_null(strstr(sink.text, "\\x"));
            }
        }
    }
    ptqc_ctx_destroy(ctx);
}

static void
test_severities(void **state)
{
    (void)state;
    pq_test_sink sink = {0};
    ptqc_ctx *ctx = pq_test_ctx_create(&sink, NULL, 1);
    pq_say(ctx, PTQC_SEVERITY_INFO, "hidden");
    pq_say(ctx, PTQC_SEVERITY_NOTE, "of the hidden");
    pq_say(ctx, PTQC_SEVERITY_WARNING, "shown %d", 1);
    pq_say(ctx, PTQC_SEVERITY_NOTE, "of the shown");
    pq_say(ctx, PTQC_SEVERITY_NOTE, "another");
    pq_say(ctx, PTQC_SEVERITY_DEBUG, "hidden");
    (void)PQ_FAIL(ctx, PTQC_E_IO, "an error");
    pq_say(ctx, PTQC_SEVERITY_NOTE, "of the error");
    assert_string_equal(sink.text, "warning: shown 1\n"
                                   "note: of the shown\nnote: another\n"
                                   "error: an error\nnote: of the error\n");
    assert_true(pq_fail_count(ctx) == 1);
    ptqc_ctx_destroy(ctx);

    ptqc_ctx_desc desc = {.diag = pq_test_sink_add,
                          .diag_user = &sink,
                          .max_severity = PTQC_SEVERITY_ERROR};
    assert_int_equal(ptqc_ctx_create(&desc, &ctx), PTQC_OK);
    pq_test_sink_clear(&sink);
    pq_say(ctx, PTQC_SEVERITY_WARNING, "hidden");
    assert_string_equal(sink.text, "");
    ptqc_ctx_destroy(ctx);
}

static ptqc_ctx *signal_ctx; // a handler sees nothing else

static void
on_signal(int number)
{
    (void)number;
    ptqc_ctx_cancel(signal_ctx);
}

static void
test_cancel_from_signal(void **state)
{
    (void)state;
    pq_test_sink sink = {0};
    ptqc_ctx *ctx = pq_test_ctx_create(&sink, NULL, 1);
    signal_ctx = ctx;
    struct sigaction before;
    struct sigaction action = {.sa_handler = on_signal};
    assert_int_equal(sigaction(SIGUSR1, &action, &before), 0);
    assert_int_equal(raise(SIGUSR1), 0);
    assert_int_equal(sigaction(SIGUSR1, &before, NULL), 0);
    assert_true(pq_is_cancelled(ctx));
    assert_int_equal(pq_check_cancelled(ctx), PTQC_E_CANCELLED);
    assert_int_equal(pq_check_cancelled(ctx), PTQC_E_CANCELLED);
    assert_int_equal(sink.error_count, 1); // said once
    ptqc_ctx_destroy(ctx);
}

// Who asks to stop waits for the unit at hand; who cancels does not.
static void
test_stop(void **state)
{
    (void)state;
    ptqc_ctx *ctx = pq_test_ctx_create(NULL, NULL, 1);
    pq_unit_begin(ctx);
    ptqc_ctx_stop(ctx);
    assert_false(pq_is_cancelled(ctx));
    assert_int_equal(pq_check_cancelled(ctx), PTQC_OK);
    pq_unit_end(ctx);
    assert_true(pq_is_cancelled(ctx));
    assert_int_equal(pq_check_cancelled(ctx), PTQC_E_CANCELLED);
    pq_unit_begin(ctx);
    assert_false(pq_is_cancelled(ctx));
    ptqc_ctx_cancel(ctx);
    assert_true(pq_is_cancelled(ctx));
    pq_unit_end(ctx);
    ptqc_ctx_destroy(ctx);
}

typedef struct progress_seen {
    char phase[32];
    uint64_t done, total;
} progress_seen;

static void
on_progress(void *user, const char *phase, uint64_t done, uint64_t total)
{
    progress_seen *seen = user;
    strncpy(seen->phase, phase, sizeof seen->phase - 1);
    seen->done = done;
    seen->total = total;
}

static void
test_progress(void **state)
{
    (void)state;
    progress_seen seen = {0};
    ptqc_ctx_desc desc = {.progress = on_progress, .progress_user = &seen};
    ptqc_ctx *ctx;
    assert_int_equal(ptqc_ctx_create(&desc, &ctx), PTQC_OK);
    pq_progress(ctx, "calibrate", 3, 8);
    assert_string_equal(seen.phase, "calibrate");
    assert_true(seen.done == 3 && seen.total == 8);
    ptqc_ctx_destroy(ctx);
}

static void
test_pool(void **state)
{
    (void)state;
    ptqc_ctx *ctx = pq_test_ctx_create(NULL, NULL, 3);
    pq_pool *pool = pq_ctx_pool(ctx);
    assert_non_null(pool);
    assert_int_equal(pq_pool_width(pool), 3);
    assert_ptr_equal(pq_ctx_pool(ctx), pool);
    ptqc_ctx_destroy(ctx);
    ctx = pq_test_ctx_create(NULL, NULL, 0);
    assert_int_equal(pq_pool_width(pq_ctx_pool(ctx)), pq_core_count());
    ptqc_ctx_destroy(ctx);
}

static void
allocate_range(void *user, uint64_t begin, uint64_t end, uint32_t worker)
{
    (void)worker;
    for (uint64_t i = begin; i < end; i++) {
        void *p = pq_alloc(user, (size_t)(i % 100));
        assert_non_null(p);
        pq_free(user, p);
    }
}

static void
test_tasks_may_allocate(void **state)
{
    (void)state;
    ptqc_ctx *ctx = pq_test_ctx_create(NULL, NULL, 4);
    pq_pool *pool = pq_ctx_pool(ctx);
    uint64_t before = pq_live_bytes(ctx);
    pq_pool_for(pool, 4000, 1, allocate_range, ctx);
    assert_true(pq_live_bytes(ctx) == before);
    ptqc_ctx_destroy(ctx);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defaults),
        cmocka_unit_test(test_description_is_checked_and_copied),
        cmocka_unit_test(test_blocks_are_zeroed_and_aligned),
        cmocka_unit_test(test_limit),
        cmocka_unit_test(test_impossible_sizes),
        cmocka_unit_test(test_array_growth),
        cmocka_unit_test(test_hostile_text_is_escaped),
        cmocka_unit_test(test_long_text_is_cut),
        cmocka_unit_test(test_severities),
        cmocka_unit_test(test_cancel_from_signal),
        cmocka_unit_test(test_stop),
        cmocka_unit_test(test_progress),
        cmocka_unit_test(test_pool),
        cmocka_unit_test(test_tasks_may_allocate),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
