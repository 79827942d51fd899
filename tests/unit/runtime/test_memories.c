// SPDX-License-Identifier: Apache-2.0
//
// Sessions over devices with memory of their own: what is copied and when,
// states, reset, refusals. The fake plugin "far" tells of every copy.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/unit/runtime/session_fixture.h"

static const char *const dirs[] = {PTQC_FAKE_DIR "/fake", PTQC_FAKE_DIR "/far",
                                   PTQC_FAKE_DIR "/farther",
                                   PTQC_FAKE_DIR "/handless"};

static ptqc_status
open_chain(fixture *f, size_t count, const char *target)
{
    const ptqc_session_desc desc = {
        .backends = {dirs, sizeof dirs / sizeof *dirs}, .target = target};
    return open_session(f, count, &desc);
}

// Runs and compares with `steps` steps of the sample.
static void
run_chain(fixture *f, int64_t n, uint32_t steps)
{
    f->inputs[0] = tensor(n, f->a);
    f->inputs[1] = tensor(n, f->b);
    f->outputs[0] = (ptqc_tensor){0};
    pq_test_sink_clear(&f->sink);
    assert_int_equal(ptqc_session_run(f->session, f->inputs, 2, f->outputs, 1),
                     PTQC_OK);
    const float *y = f->outputs[0].data;
    for (int64_t i = 0; i < n * SAMPLE_INNER; i++) {
        float x = f->a[i];
        for (uint32_t k = 0; k < steps; k++) {
            x = SAMPLE_K * x + f->b[i];
        }
        assert_true(y[i] == x); // exact: small numbers
    }
}

static unsigned
count_of(const fixture *f, const char *what)
{
    unsigned n = 0;
    for (const char *p = f->sink.text; (p = strstr(p, what)) != NULL; p++) {
        n++;
    }
    return n;
}

static void
check_copies(fixture *f, unsigned up, unsigned down)
{
    assert_int_equal(count_of(f, ": up "), up);
    assert_int_equal(count_of(f, ": down "), down);
    assert_int_equal(count_of(f, ": new "), 0); // since the first run
}

static void
run_plugins(fixture *f, const char *const *plugins, uint32_t count, unsigned up,
            unsigned down)
{
    size_t bytes;
    f->bytes = pq_sample_chain(f->ctx, plugins, count, &bytes);
    assert_int_equal(open_chain(f, bytes, NULL), PTQC_OK);
    for (int64_t n = 1; n <= 5; n += 2) {
        run_chain(f, n, count);
        run_chain(f, n, count);
        check_copies(f, up, down);
    }
}

static void
test_one_device(void **state)
{
    static const char *const plugins[] = {"far"};
    run_plugins(*state, plugins, 1, 2, 1);
}

// What stays on the device is not copied.
static void
test_programs_of_one_device(void **state)
{
    static const char *const plugins[] = {"far", "far", "far"};
    run_plugins(*state, plugins, 3, 2, 1);
}

static void
test_between_host_and_device(void **state)
{
    static const char *const plugins[] = {"far", "fake", "far", "fake"};
    run_plugins(*state, plugins, 4, 3, 2);
}

// By way of the host: x1 comes down and goes up, b goes up to each.
static void
test_between_devices(void **state)
{
    static const char *const plugins[] = {"far", "farther"};
    run_plugins(*state, plugins, 2, 4, 2);
}

static void
test_second_device(void **state)
{
    fixture *f = *state;
    static const char *const plugins[] = {"far", "fake"};
    size_t bytes;
    f->bytes = pq_sample_chain(f->ctx, plugins, 2, &bytes);
    assert_int_equal(open_chain(f, bytes, "fake,far:1"), PTQC_OK);
    assert_string_equal(f->session->memories[1].device, "far:1");
    run_chain(f, 7, 2);
}

static void
test_no_allocation_while_running(void **state)
{
    fixture *f = *state;
    static const char *const plugins[] = {"far", "fake", "farther"};
    size_t bytes;
    f->bytes = pq_sample_chain(f->ctx, plugins, 3, &bytes);
    assert_int_equal(open_chain(f, bytes, NULL), PTQC_OK);
    run_chain(f, 9, 3);
    uint64_t allocations = f->heap.count;
    run_chain(f, 9, 3);
    assert_int_equal(f->heap.count, allocations);
}

// ---- states -----------------------------------------------------------------

// y = k * a + the y before, of the same size; y(0) = 0.
static void
check_state_run(fixture *f, int64_t n, float times)
{
    f->inputs[0] = tensor(n, f->a);
    f->outputs[0] = (ptqc_tensor){0};
    assert_int_equal(ptqc_session_run(f->session, f->inputs, 1, f->outputs, 1),
                     PTQC_OK);
    const float *y = f->outputs[0].data;
    for (int64_t i = 0; i < n * SAMPLE_INNER; i++) {
        assert_true(y[i] == times * SAMPLE_K * f->a[i]); // exact: small numbers
    }
}

// The state never leaves the device; reset zeroes it there.
static void
test_states(void **state)
{
    fixture *f = *state;
    size_t bytes;
    f->bytes = pq_sample_artifact(f->ctx, "far", FAKE_STATE, &bytes);
    assert_int_equal(open_chain(f, bytes, NULL), PTQC_OK);
    check_state_run(f, 2, 1);
    pq_test_sink_clear(&f->sink);
    check_state_run(f, 2, 2);
    check_copies(f, 1, 1);
    check_state_run(f, 50, 1);
    check_state_run(f, 2, 1);
    ptqc_session_reset(f->session);
    pq_test_sink_clear(&f->sink);
    check_state_run(f, 2, 1);
    check_copies(f, 2, 1);
    pq_test_sink_clear(&f->sink);
    check_state_run(f, 2, 2);
    check_copies(f, 1, 1);
}

// ---- refusals ---------------------------------------------------------------

static void
test_no_buffer_functions(void **state)
{
    fixture *f = *state;
    static const char *const plugins[] = {"handless"};
    size_t bytes;
    f->bytes = pq_sample_chain(f->ctx, plugins, 1, &bytes);
    assert_int_equal(open_chain(f, bytes, NULL), PTQC_E_BACKEND);
    assert_non_null(strstr(f->sink.text, "handless:0 has memory of its own"));
}

static ptqc_status
whole_life(ptqc_ctx *ctx, void *user)
{
    fixture *f = user;
    const ptqc_session_desc desc = {
        .backends = {dirs, sizeof dirs / sizeof *dirs}};
    ptqc_tensor inputs[2] = {tensor(4, f->a), tensor(4, f->b)};
    ptqc_tensor y = {0};
    ptqc_artifact *a = NULL;
    ptqc_session *s = NULL;
    ptqc_status st = ptqc_artifact_open_memory(
        ctx, f->bytes, ptqc_artifact_bytes(f->artifact), &a);
    if (st == PTQC_OK) {
        st = ptqc_session_create(ctx, a, &desc, &s);
    }
    if (st == PTQC_OK) {
        st = ptqc_session_run(s, inputs, 2, &y, 1);
    }
    ptqc_session_destroy(s);
    ptqc_artifact_close(a);
    return st;
}

static void
test_out_of_memory(void **state)
{
    fixture *f = *state;
    static const char *const plugins[] = {"far", "fake", "farther"};
    size_t bytes;
    f->bytes = pq_sample_chain(f->ctx, plugins, 3, &bytes);
    assert_int_equal(open_chain(f, bytes, NULL), PTQC_OK);
    assert_true(pq_test_alloc_sweep(whole_life, f) > 30);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_one_device),
        TEST(test_programs_of_one_device),
        TEST(test_between_host_and_device),
        TEST(test_between_devices),
        TEST(test_second_device),
        TEST(test_no_allocation_while_running),
        TEST(test_states),
        TEST(test_no_buffer_functions),
        TEST(test_out_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
