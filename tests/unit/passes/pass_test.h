// SPDX-License-Identifier: Apache-2.0
//
// What the tests of passes share: running passes, and comparing two graphs
// with the same interface by the interpreter on seeded random inputs.
#ifndef PTQC_TESTS_PASS_TEST_H
#define PTQC_TESTS_PASS_TEST_H

#include <math.h>
#include <string.h>

#include "base/dtype.h"
#include "ir/interp/interp.h"
#include "passes/pipeline.h"
#include "tests/support/cmocka_test.h"
#include "tests/support/random.h"

#define PQ_PASS_TEST_VALUES 16
#define PQ_PASS_TEST_SYMBOL 3 // value of every symbol

static inline void
pq_pass_test_say(void *user, ptqc_severity severity, ptqc_status status,
                 const char *text)
{
    (void)user;
    (void)severity;
    print_error("%d: %s\n", (int)status, text);
}

static inline ptqc_ctx *
pq_pass_test_ctx(uint64_t torture)
{
    const ptqc_ctx_desc desc = {
        .diag = pq_pass_test_say, .torture_flags = torture, .threads = 1};
    ptqc_ctx *ctx = NULL;
    assert_int_equal(ptqc_ctx_create(&desc, &ctx), PTQC_OK);
    return ctx;
}

// Runs passes with the verifier after each; env NULL: no recipe, no caps.
static inline void
pq_pass_test_run(pq_graph **g, const char *const *passes, uint32_t count,
                 const pq_pass_env *env)
{
    static const pq_recipe no_recipe;
    const pq_pipeline_desc desc = {.flags = PQ_PIPELINE_VERIFY};
    ptqc_ctx *ctx = pq_graph_ctx(*g);
    pq_arena scratch;
    pq_arena_init(&scratch, ctx);
    pq_pass_env own = {.recipe = &no_recipe};
    if (env != NULL) {
        own = *env;
    }
    own.scratch = &scratch;
    own.make_runner = pq_interp_make;
    own.runner_user = ctx;
    assert_int_equal(pq_pipeline_run(g, &own, passes, count, &desc), PTQC_OK);
    pq_arena_deinit(&scratch);
}

// ---- outputs of a graph ---------------------------------------------------

typedef struct pq_pass_test_outputs {
    const pq_graph *g;
    pq_tensor t[PQ_PASS_TEST_VALUES]; // owned copies
} pq_pass_test_outputs;

static inline ptqc_status
pq_pass_test_keep(void *user, pq_value_id v, const pq_tensor *t)
{
    pq_pass_test_outputs *o = user;
    for (uint32_t i = 0; i < pq_graph_output_count(o->g); i++) {
        if (pq_value_equal(pq_graph_output(o->g, i), v)) {
            o->t[i] = *t;
            o->t[i].p = pq_alloc(pq_graph_ctx(o->g), t->bytes);
            memcpy(o->t[i].p, t->p, t->bytes);
        }
    }
    return PTQC_OK;
}

static inline void
pq_pass_test_input(const pq_graph *g, pq_value_id v, pq_test_random *r,
                   pq_tensor *out)
{
    const pq_type *t = &pq_graph_value(g, v)->type;
    int64_t symbols[64];
    for (int i = 0; i < 64; i++) {
        symbols[i] = PQ_PASS_TEST_SYMBOL;
    }
    *out = (pq_tensor){.dtype = t->dtype, .rank = t->rank};
    for (uint32_t i = 0; i < t->rank; i++) {
        assert_int_equal(pq_dim_eval(g, t->dims[i], symbols, &out->dims[i]),
                         PTQC_OK);
    }
    assert_true(pq_dtype_bytes(t->dtype, out->dims, t->rank, &out->bytes));
    out->p = pq_alloc(pq_graph_ctx(g), out->bytes);
    if (out->p == NULL) {
        return; // tests of failing allocations
    }
    if (t->dtype == PTQC_F32) {
        pq_test_fill_normal(r, out->p, out->bytes / 4, 2);
    } else {
        pq_test_fill_bytes(r, out->p, out->bytes);
    }
}

static inline void
pq_pass_test_execute(pq_graph *g, uint64_t seed, pq_pass_test_outputs *out)
{
    ptqc_ctx *ctx = pq_graph_ctx(g);
    pq_test_random r = pq_test_random_seed(seed);
    pq_tensor inputs[PQ_PASS_TEST_VALUES];
    pq_runner *runner = NULL;
    uint32_t count = pq_graph_input_count(g);
    assert_true(count <= PQ_PASS_TEST_VALUES &&
                pq_graph_output_count(g) <= PQ_PASS_TEST_VALUES);
    *out = (pq_pass_test_outputs){.g = g};
    for (uint32_t i = 0; i < count; i++) {
        pq_pass_test_input(g, pq_graph_input(g, i), &r, &inputs[i]);
    }
    assert_int_equal(pq_interp_make(ctx, g, NULL, 0, &runner), PTQC_OK);
    assert_int_equal(runner->run(runner, inputs, pq_pass_test_keep, out),
                     PTQC_OK);
    runner->destroy(runner);
    for (uint32_t i = 0; i < count; i++) {
        pq_free(ctx, inputs[i].p);
    }
}

static inline void
pq_pass_test_release(pq_pass_test_outputs *o)
{
    for (uint32_t i = 0; i < pq_graph_output_count(o->g); i++) {
        pq_free(pq_graph_ctx(o->g), o->t[i].p);
    }
}

// Largest difference by largest number.
static inline double
pq_pass_test_distance(const pq_tensor *a, const pq_tensor *b)
{
    const float *x = a->p;
    const float *y = b->p;
    double difference = 0;
    double largest = 1e-30;
    for (size_t i = 0; i < a->bytes / 4; i++) {
        if (isnan(x[i]) && isnan(y[i])) {
            continue;
        }
        if (isinf(x[i]) && isinf(y[i]) && (x[i] > 0) == (y[i] > 0)) {
            continue;
        }
        difference = fmax(difference, fabs((double)x[i] - (double)y[i]));
        largest = fmax(largest, fabs((double)x[i]));
        if (isnan(x[i]) != isnan(y[i])) {
            return HUGE_VAL;
        }
    }
    return difference / largest;
}

// tolerance 0: bit for bit.
static inline void
pq_pass_test_compare(const char *what, pq_graph *before, pq_graph *after,
                     double tolerance)
{
    for (uint64_t seed = 1; seed <= 3; seed++) {
        pq_pass_test_outputs a, b;
        pq_pass_test_execute(before, seed, &a);
        pq_pass_test_execute(after, seed, &b);
        for (uint32_t i = 0; i < pq_graph_output_count(before); i++) {
            assert_int_equal(a.t[i].bytes, b.t[i].bytes);
            assert_non_null(a.t[i].p);
            bool is_same = memcmp(a.t[i].p, b.t[i].p, a.t[i].bytes) == 0;
            double d = a.t[i].dtype == PTQC_F32 && tolerance > 0
                           ? pq_pass_test_distance(&a.t[i], &b.t[i])
                           : HUGE_VAL;
            if (!is_same && !(d <= tolerance)) {
                print_error("%s: output %u differs by %g (allowed %g)\n", what,
                            i, d, tolerance);
            }
            assert_true(is_same || d <= tolerance);
        }
        pq_pass_test_release(&a);
        pq_pass_test_release(&b);
    }
}

#endif
