// SPDX-License-Identifier: Apache-2.0
//
// What every test of a session has: a context that counts its memory, a
// sample artifact and a session over it, operands of the sample.
#ifndef PTQC_TESTS_RUNTIME_SESSION_FIXTURE_H
#define PTQC_TESTS_RUNTIME_SESSION_FIXTURE_H

#include <stdlib.h>

#include "runtime/session.h"
#include "tests/support/cmocka_test.h"
#include "tests/support/context.h"
#include "tests/unit/runtime/sample.h"

#define MOST  (64 * SAMPLE_INNER)
#define SLACK 16 // elements more than fit, for bad shifts

typedef struct fixture {
    pq_test_sink sink;
    pq_test_heap heap;
    ptqc_ctx *ctx;
    void *bytes;
    ptqc_artifact *artifact;
    ptqc_session *session;
    float a[MOST + SLACK], b[MOST + SLACK];
    ptqc_tensor inputs[2], outputs[1];
} fixture;

static int
set_up(void **state)
{
    fixture *f = calloc(1, sizeof *f);
    f->ctx = pq_test_ctx_create(&f->sink, &f->heap, 1);
    for (int i = 0; i < MOST + SLACK; i++) {
        f->a[i] = (float)i;
        f->b[i] = 0.5f * (float)i - 7.0f;
    }
    *state = f;
    return 0;
}

static int
tear_down(void **state)
{
    fixture *f = *state;
    ptqc_session_destroy(f->session);
    ptqc_artifact_close(f->artifact);
    pq_free(f->ctx, f->bytes);
    int leaked = pq_live_bytes(f->ctx) != 0;
    ptqc_ctx_destroy(f->ctx);
    leaked |= f->heap.live != 0;
    free(f);
    return leaked;
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

// Over f->bytes, `count` of them.
static ptqc_status
open_session(fixture *f, size_t count, const ptqc_session_desc *desc)
{
    assert_int_equal(
        ptqc_artifact_open_memory(f->ctx, f->bytes, count, &f->artifact),
        PTQC_OK);
    pq_test_sink_clear(&f->sink);
    return ptqc_session_create(f->ctx, f->artifact, desc, &f->session);
}

static ptqc_tensor
tensor(int64_t n, float *data)
{
    return (ptqc_tensor){.dtype = PTQC_F32,
                         .rank = 2,
                         .dims = {n, SAMPLE_INNER},
                         .data = data,
                         .bytes = (size_t)n * SAMPLE_INNER * sizeof(float)};
}

#endif
