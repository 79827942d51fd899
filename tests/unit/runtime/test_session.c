// SPDX-License-Identifier: Apache-2.0
//
// Sessions over the fake plugin: results, dimensions, memory, refusals.
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/unit/runtime/checksums.h"
#include "tests/unit/runtime/session_fixture.h"

static const char *const fake_dirs[] = {PTQC_FAKE_DIR "/fake"};

static ptqc_status
start(fixture *f, const char *plugin, fake_mode mode, const char *target)
{
    size_t count;
    const ptqc_session_desc desc = {.backends = {fake_dirs, 1},
                                    .target = target};
    f->bytes = pq_sample_artifact(f->ctx, plugin, mode, &count);
    return open_session(f, count, &desc);
}

static ptqc_status
run(fixture *f, int64_t n)
{
    f->inputs[0] = tensor(n, f->a);
    f->inputs[1] = tensor(n, f->b);
    f->outputs[0] = (ptqc_tensor){0};
    pq_test_sink_clear(&f->sink);
    return ptqc_session_run(f->session, f->inputs, 2, f->outputs, 1);
}

static void
check_result(const fixture *f, const float *a, const float *b, int64_t n)
{
    const ptqc_tensor *y = &f->outputs[0];
    assert_int_equal(y->dtype, PTQC_F32);
    assert_int_equal(y->rank, 2);
    assert_int_equal(y->dims[0], n);
    assert_int_equal(y->dims[1], SAMPLE_INNER);
    assert_int_equal(y->bytes, (size_t)n * SAMPLE_INNER * sizeof(float));
    const float *p = y->data;
    for (int64_t i = 0; i < n * SAMPLE_INNER; i++) {
        assert_true(p[i] == SAMPLE_K * a[i] + b[i]); // exact: small numbers
    }
}

// ---- running ----------------------------------------------------------------

static void
test_runs_any_size(void **state)
{
    fixture *f = *state;
    assert_int_equal(start(f, "fake", FAKE_HONEST, NULL), PTQC_OK);
    static const int64_t sizes[] = {3, 1, 64, 2, 17, 5, 3, 1};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        assert_int_equal(run(f, sizes[i]), PTQC_OK);
        check_result(f, f->a, f->b, sizes[i]);
    }
}

static void
test_no_allocation_while_running(void **state)
{
    fixture *f = *state;
    assert_int_equal(start(f, "fake", FAKE_HONEST, NULL), PTQC_OK);
    for (int64_t n = 1; n <= (int64_t)PQ_SHAPE_LIMIT; n++) {
        assert_int_equal(run(f, n), PTQC_OK);
    }
    uint64_t allocations = f->heap.count;
    for (int round = 0; round < 10; round++) {
        for (int64_t n = 1; n <= (int64_t)PQ_SHAPE_LIMIT; n++) {
            assert_int_equal(run(f, n), PTQC_OK);
            check_result(f, f->a, f->b, n);
        }
    }
    assert_int_equal(f->heap.count, allocations);
    assert_int_equal(run(f, 60), PTQC_OK); // a new shape does
    assert_true(f->heap.count > allocations);
}

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

// Another size starts states afresh, also for shapes prepared before.
static void
test_states(void **state)
{
    fixture *f = *state;
    assert_int_equal(start(f, "fake", FAKE_STATE, NULL), PTQC_OK);
    check_state_run(f, 2, 1);
    check_state_run(f, 2, 2);
    check_state_run(f, 50, 1);
    check_state_run(f, 2, 1);
    check_state_run(f, 2, 2);
    check_state_run(f, 50, 1);
    ptqc_session_reset(f->session);
    check_state_run(f, 50, 1);
    check_state_run(f, 50, 2);
}

static void
test_unaligned_inputs_are_copied(void **state)
{
    fixture *f = *state;
    assert_int_equal(start(f, "fake", FAKE_HONEST, NULL), PTQC_OK);
    for (int shift = 0; shift < 5; shift++) {
        f->inputs[0] = tensor(5, f->a + shift);
        f->inputs[1] = tensor(5, f->b + 1);
        f->outputs[0] = (ptqc_tensor){0};
        assert_int_equal(
            ptqc_session_run(f->session, f->inputs, 2, f->outputs, 1), PTQC_OK);
        check_result(f, f->a + shift, f->b + 1, 5);
    }
}

static void
test_output_in_the_callers_memory(void **state)
{
    fixture *f = *state;
    float mine[4 * SAMPLE_INNER + 1];
    assert_int_equal(start(f, "fake", FAKE_HONEST, NULL), PTQC_OK);
    mine[4 * SAMPLE_INNER] = 99.0f;
    f->inputs[0] = tensor(4, f->a);
    f->inputs[1] = tensor(4, f->b);
    f->outputs[0] = (ptqc_tensor){.data = mine, .bytes = sizeof mine};
    assert_int_equal(ptqc_session_run(f->session, f->inputs, 2, f->outputs, 1),
                     PTQC_OK);
    assert_ptr_equal(f->outputs[0].data, mine);
    check_result(f, f->a, f->b, 4);
    assert_true(mine[4 * SAMPLE_INNER] == 99.0f);
    f->outputs[0] = (ptqc_tensor){.data = mine, .bytes = 8};
    assert_int_equal(ptqc_session_run(f->session, f->inputs, 2, f->outputs, 1),
                     PTQC_E_USAGE);
}

static void
count_row(void *user, const ptqc_profile_row *row)
{
    assert_string_equal(row->label, "muladd");
    assert_int_equal(row->ns, 7);
    assert_int_equal(row->ops, 2 * 4 * SAMPLE_INNER);
    ++*(int *)user;
}

static void
test_profile(void **state)
{
    fixture *f = *state;
    int rows = 0;
    assert_int_equal(start(f, "fake", FAKE_HONEST, NULL), PTQC_OK);
    f->inputs[0] = tensor(4, f->a);
    f->inputs[1] = tensor(4, f->b);
    assert_int_equal(ptqc_session_profile(f->session, f->inputs, 2, f->outputs,
                                          1, count_row, &rows),
                     PTQC_OK);
    assert_int_equal(rows, 1);
    check_result(f, f->a, f->b, 4);
}

static void
test_two_sessions_of_one_artifact(void **state)
{
    fixture *f = *state;
    ptqc_session *other = NULL;
    const ptqc_session_desc desc = {.backends = {fake_dirs, 1}};
    assert_int_equal(start(f, "fake", FAKE_HONEST, NULL), PTQC_OK);
    assert_int_equal(ptqc_session_create(f->ctx, f->artifact, &desc, &other),
                     PTQC_OK);
    assert_int_equal(run(f, 7), PTQC_OK);
    ptqc_session_destroy(other);
    check_result(f, f->a, f->b, 7); // still there
}

// One artifact, a context and a session per thread.
static void *
run_alone(void *user)
{
    fixture *shared = user;
    const ptqc_session_desc desc = {.backends = {fake_dirs, 1}};
    ptqc_ctx *ctx = NULL;
    ptqc_session *s = NULL;
    ptqc_status st = ptqc_ctx_create(NULL, &ctx);
    if (st == PTQC_OK) {
        st = ptqc_session_create(ctx, shared->artifact, &desc, &s);
    }
    for (int64_t n = 1; n <= 64 && st == PTQC_OK; n++) {
        ptqc_tensor inputs[2] = {tensor(n, shared->a), tensor(n, shared->b)};
        ptqc_tensor y = {0};
        st = ptqc_session_run(s, inputs, 2, &y, 1);
        int64_t last = n * SAMPLE_INNER - 1;
        if (st == PTQC_OK && ((const float *)y.data)[last] !=
                                 SAMPLE_K * shared->a[last] + shared->b[last]) {
            st = PTQC_E_NUMERIC;
        }
    }
    ptqc_session_destroy(s);
    ptqc_ctx_destroy(ctx);
    return st == PTQC_OK ? NULL : user;
}

static void
test_threads_share_an_artifact(void **state)
{
    fixture *f = *state;
    pthread_t threads[4];
    assert_int_equal(start(f, "fake", FAKE_HONEST, NULL), PTQC_OK);
    for (int i = 0; i < 4; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, run_alone, f), 0);
    }
    for (int i = 0; i < 4; i++) {
        void *failed = NULL;
        assert_int_equal(pthread_join(threads[i], &failed), 0);
        assert_null(failed);
    }
}

// ---- refused inputs ---------------------------------------------------------

// Changes one thing of good inputs and expects a message with `text`.
static void
refuses_inputs(fixture *f, ptqc_status st, const char *text)
{
    f->outputs[0] = (ptqc_tensor){0};
    pq_test_sink_clear(&f->sink);
    assert_int_equal(ptqc_session_run(f->session, f->inputs, 2, f->outputs, 1),
                     st);
    assert_int_equal(f->sink.error_count, 1);
    assert_non_null(strstr(f->sink.text, text));
    f->inputs[0] = tensor(5, f->a);
    f->inputs[1] = tensor(5, f->b);
}

static void
test_wrong_inputs(void **state)
{
    fixture *f = *state;
    assert_int_equal(start(f, "fake", FAKE_HONEST, NULL), PTQC_OK);
    assert_int_equal(run(f, 5), PTQC_OK);
    f->inputs[0].dtype = PTQC_I32;
    refuses_inputs(f, PTQC_E_INPUT, "'a': expected dtype f32, found i32");
    f->inputs[1].rank = 1;
    refuses_inputs(f, PTQC_E_INPUT, "'b': rank: expected 2, found 1");
    f->inputs[1].dims[0] = 6;
    refuses_inputs(f, PTQC_E_INPUT, "'b': dimension: expected 5, found 6");
    f->inputs[0].dims[1] = 4;
    refuses_inputs(f, PTQC_E_INPUT, "'a': dimension: expected 3, found 4");
    f->inputs[0].bytes -= 1;
    refuses_inputs(f, PTQC_E_INPUT, "'a': bytes: expected 60, found 59");
    f->inputs[0].dims[0] = 0;
    refuses_inputs(f, PTQC_E_INPUT, "'n': expected 1..64");
    f->inputs[0].dims[0] = 65;
    refuses_inputs(f, PTQC_E_INPUT, "found 65");
    f->inputs[0].dims[0] = -3;
    f->inputs[1].dims[0] = -3;
    refuses_inputs(f, PTQC_E_INPUT, "'n'");
    f->inputs[0].dims[0] = INT64_MAX;
    refuses_inputs(f, PTQC_E_INPUT, "'n'");
    assert_int_equal(run(f, 5), PTQC_OK); // as if nothing had happened
    check_result(f, f->a, f->b, 5);
}

static void
test_wrong_counts(void **state)
{
    fixture *f = *state;
    assert_int_equal(start(f, "fake", FAKE_HONEST, NULL), PTQC_OK);
    f->inputs[0] = tensor(5, f->a);
    assert_int_equal(ptqc_session_run(f->session, f->inputs, 1, f->outputs, 1),
                     PTQC_E_USAGE);
    assert_int_equal(ptqc_session_run(f->session, f->inputs, 2, f->outputs, 0),
                     PTQC_E_USAGE);
}

static void
test_cancelled(void **state)
{
    fixture *f = *state;
    assert_int_equal(start(f, "fake", FAKE_HONEST, NULL), PTQC_OK);
    ptqc_ctx_cancel(f->ctx);
    assert_int_equal(run(f, 5), PTQC_E_CANCELLED);
}

// ---- refused plugins --------------------------------------------------------

static void
test_plugin_is_not_installed(void **state)
{
    fixture *f = *state;
    assert_int_equal(start(f, "nosuch", FAKE_HONEST, NULL), PTQC_E_BACKEND);
    assert_non_null(strstr(f->sink.text, "'nosuch'"));
    assert_null(f->session);
}

static void
test_devices(void **state)
{
    fixture *f = *state;
    assert_int_equal(start(f, "fake", FAKE_HONEST, "fake:1"), PTQC_E_BACKEND);
    assert_non_null(strstr(f->sink.text, "switched off"));
    const ptqc_session_desc cap = {.backends = {fake_dirs, 1},
                                   .target = "fake;small"};
    assert_int_equal(
        ptqc_session_create(f->ctx, f->artifact, &cap, &f->session),
        PTQC_E_UNSUPPORTED);
    assert_non_null(strstr(f->sink.text, "no caps"));
    const ptqc_session_desc none = {.backends = {fake_dirs, 1},
                                    .target = "fake:7"};
    assert_int_equal(
        ptqc_session_create(f->ctx, f->artifact, &none, &f->session),
        PTQC_E_BACKEND);
    const ptqc_session_desc first = {.backends = {fake_dirs, 1},
                                     .target = "other,fake:0"};
    assert_int_equal(
        ptqc_session_create(f->ctx, f->artifact, &first, &f->session), PTQC_OK);
    assert_int_equal(run(f, 2), PTQC_OK);
}

static void
test_plugin_breaks_the_contract(void **state)
{
    static const fake_mode modes[] = {FAKE_FEW_NEEDS, FAKE_MANY_NEEDS,
                                      FAKE_HUGE_ALIGN};
    for (size_t i = 0; i < sizeof modes / sizeof *modes; i++) {
        fixture *f = *state;
        assert_int_equal(start(f, "fake", modes[i], NULL), PTQC_OK);
        assert_int_not_equal(run(f, 5), PTQC_OK);
        assert_int_equal(f->sink.error_count, 1);
        assert_non_null(strstr(f->sink.text, "fake"));
        (void)tear_down(state);
        (void)set_up(state);
    }
}

static void
test_message_of_the_plugin_comes_through(void **state)
{
    fixture *f = *state;
    assert_int_equal(start(f, "fake", FAKE_FAILS, NULL), PTQC_OK);
    assert_int_equal(run(f, 5), PTQC_E_BACKEND);
    assert_int_equal(f->sink.error_count, 1);
    assert_non_null(strstr(f->sink.text, "plugin fake: run: it fell off"));
    assert_non_null(strstr(f->sink.text, "glue it"));
}

static void
test_damaged_program(void **state)
{
    fixture *f = *state;
    assert_int_equal(start(f, "fake", FAKE_HONEST, NULL), PTQC_OK);
    size_t count = ptqc_artifact_bytes(f->artifact);
    uint8_t *copy = pq_alloc(f->ctx, count);
    ptqc_artifact *a = NULL;
    ptqc_session *s = NULL;
    pq_file_header h;
    memcpy(copy, f->bytes, count);
    memcpy(&h, copy, sizeof h);
    copy[h.sections[PQ_SECTION_BLOBS].offset] ^= 1; // the fake's magic
    pq_fix_checksums(f->ctx, copy, count);
    assert_int_equal(ptqc_artifact_open_memory(f->ctx, copy, count, &a),
                     PTQC_OK);
    const ptqc_session_desc desc = {.backends = {fake_dirs, 1}};
    assert_int_equal(ptqc_session_create(f->ctx, a, &desc, &s),
                     PTQC_E_INTEGRITY);
    assert_null(s);
    ptqc_artifact_close(a);
    pq_free(f->ctx, copy);
}

// ---- memory -----------------------------------------------------------------

static ptqc_status
whole_life(ptqc_ctx *ctx, void *user)
{
    fixture *f = user;
    const ptqc_session_desc desc = {.backends = {fake_dirs, 1},
                                    .huge_pages = 1};
    ptqc_tensor inputs[2] = {tensor(3, f->a), tensor(3, f->b)};
    ptqc_tensor outputs[1] = {{0}};
    ptqc_artifact *a = NULL;
    ptqc_session *s = NULL;
    PQ_TRY(ptqc_artifact_open_memory(ctx, f->bytes,
                                     ptqc_artifact_bytes(f->artifact), &a));
    ptqc_status st = ptqc_session_create(ctx, a, &desc, &s);
    if (st == PTQC_OK) {
        st = ptqc_session_run(s, inputs, 2, outputs, 1);
    }
    ptqc_session_destroy(s);
    ptqc_artifact_close(a);
    return st;
}

static void
test_out_of_memory(void **state)
{
    fixture *f = *state;
    assert_int_equal(start(f, "fake", FAKE_HONEST, NULL), PTQC_OK);
    assert_true(pq_test_alloc_sweep(whole_life, f) > 20);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_runs_any_size),
        TEST(test_no_allocation_while_running),
        TEST(test_states),
        TEST(test_unaligned_inputs_are_copied),
        TEST(test_output_in_the_callers_memory),
        TEST(test_profile),
        TEST(test_two_sessions_of_one_artifact),
        TEST(test_threads_share_an_artifact),
        TEST(test_wrong_inputs),
        TEST(test_wrong_counts),
        TEST(test_cancelled),
        TEST(test_plugin_is_not_installed),
        TEST(test_devices),
        TEST(test_plugin_breaks_the_contract),
        TEST(test_message_of_the_plugin_comes_through),
        TEST(test_damaged_program),
        TEST(test_out_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
