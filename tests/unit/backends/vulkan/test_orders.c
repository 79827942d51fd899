// SPDX-License-Identifier: Apache-2.0
//
// cpu (LLVM 19, hidden), vulkan (the driver's own LLVM) and PoCL (its LLVM)
// in one process, in every order of first use: each order in a process of its
// own, each member used twice, results against the interpreter.
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "compiler/runner.h"
#include "ir/interp/interp.h"
#include "ir/text.h"
#include "tests/support/cmocka_test.h"
#include "tests/support/context.h"

#define ELEMENTS 12

static const char graph_text[] =
    "ptir 1\n"
    "graph \"orders\" stage float\n"
    "const c1: f32[4, 4] = [1, 2, 3, 4, 5, 6, 7, 8, -1, -2, -3, -4, -5, -6, "
    "-7, -8]\n"
    "input %x: f32[3, 4]\n"
    "%w: f32[4, 4] = c1\n"
    "%p: f32[3, 4] = matmul(%x, %w)\n"
    "%y: f32[3, 4] = relu(%p)\n"
    "output %y\n";

static ptqc_status
keep(void *user, pq_value_id value, const pq_tensor *tensor)
{
    (void)value;
    memcpy(user, tensor->p, tensor->bytes);
    return PTQC_OK;
}

static bool
run_graph(pq_runner *runner, float out[ELEMENTS])
{
    float x[ELEMENTS];
    for (int i = 0; i < ELEMENTS; i++) {
        x[i] = (float)(i % 5) - 2.0f; // sums are exact
    }
    pq_tensor input = {.dtype = PTQC_F32,
                       .rank = 2,
                       .dims = {3, 4},
                       .p = x,
                       .bytes = sizeof x};
    return runner->run(runner, &input, keep, out) == PTQC_OK;
}

// ---- members ----------------------------------------------------------------

static bool
use_target(ptqc_ctx *ctx, const char *target)
{
    static const char *const dirs[] = {PTQC_PLUGIN_DIR};
    const pq_session_runner_env env = {
        .ctx = ctx, .target = target, .backends = {dirs, 1}};
    pq_graph *g = NULL;
    pq_runner *runner = NULL, *reference = NULL;
    float got[ELEMENTS] = {0}, want[ELEMENTS] = {1};
    ptqc_status st = pq_graph_parse(
        ctx, "orders", (pq_str){graph_text, sizeof graph_text - 1}, &g);
    if (st == PTQC_OK) {
        st = pq_session_runner_make((void *)(uintptr_t)&env, g, NULL, 0,
                                    &runner);
    }
    if (st == PTQC_OK) {
        st = pq_interp_make(ctx, g, NULL, 0, &reference);
    }
    bool is_good = st == PTQC_OK && run_graph(runner, got) &&
                   run_graph(reference, want) &&
                   memcmp(got, want, sizeof got) == 0;
    if (runner != NULL) {
        runner->destroy(runner);
    }
    if (reference != NULL) {
        reference->destroy(reference);
    }
    pq_graph_destroy(g);
    return is_good;
}

// Makes PoCL open its compiler, where it is installed.
static bool
use_opencl(void)
{
    int (*platforms)(unsigned, void **, unsigned *);
    int (*devices)(void *, unsigned long, unsigned, void **, unsigned *);
    void *library = dlopen("libOpenCL.so.1", RTLD_NOW | RTLD_LOCAL);
    void *a = library != NULL ? dlsym(library, "clGetPlatformIDs") : NULL;
    void *b = library != NULL ? dlsym(library, "clGetDeviceIDs") : NULL;
    void *platform = NULL, *device = NULL;
    unsigned count = 0;
    if (a == NULL || b == NULL) {
        return true; // nothing to test
    }
    memcpy(&platforms, &a, sizeof a);
    memcpy(&devices, &b, sizeof b);
    if (platforms(1, &platform, &count) == 0 && count > 0) {
        (void)devices(platform, 0xffffffff, 1, &device, &count);
    }
    return true;
}

static bool
use(ptqc_ctx *ctx, char member)
{
    return member == 'o' ? use_opencl()
                         : use_target(ctx, member == 'c' ? "cpu" : "vulkan");
}

// ---- orders -----------------------------------------------------------------

static int
live(const char *order)
{
    pq_test_sink sink = {0};
    ptqc_ctx *ctx = pq_test_ctx_create(&sink, NULL, 2);
    bool is_good = true;
    for (int round = 0; round < 2 && is_good; round++) {
        for (const char *m = order; *m != '\0' && is_good; m++) {
            is_good = use(ctx, *m);
        }
    }
    if (!is_good) {
        fprintf(stderr, "%s: %s\n", order, sink.text);
    }
    ptqc_ctx_destroy(ctx);
    return is_good ? 0 : 1;
}

static bool
has_device(void)
{
    static const char *const dirs[] = {PTQC_PLUGIN_DIR};
    const ptqc_backend_dirs backends = {dirs, 1};
    bool has = false;
    pq_test_sink sink = {0};
    ptqc_ctx *ctx = pq_test_ctx_create(&sink, NULL, 1);
    pid_t child = fork(); // this process stays clean
    if (child == 0) {
        const pq_session_runner_env env = {
            .ctx = ctx, .target = "vulkan", .backends = backends};
        pq_graph *g = NULL;
        pq_runner *runner = NULL;
        bool ok = pq_graph_parse(ctx, "orders",
                                 (pq_str){graph_text, sizeof graph_text - 1},
                                 &g) == PTQC_OK &&
                  pq_session_runner_make((void *)(uintptr_t)&env, g, NULL, 0,
                                         &runner) == PTQC_OK;
        if (!ok) {
            fprintf(stderr, "skipped: %s\n", sink.text);
        }
        _exit(ok ? 0 : 1);
    }
    int status = 1;
    has = waitpid(child, &status, 0) == child && status == 0;
    ptqc_ctx_destroy(ctx);
    return has;
}

static void
test_every_order(void **state)
{
    static const char *const orders[] = {"cvo", "cov", "vco",
                                         "voc", "ocv", "ovc"};
    (void)state;
    if (!has_device()) {
        skip();
    }
    for (size_t i = 0; i < sizeof orders / sizeof *orders; i++) {
        pid_t child = fork();
        if (child == 0) {
            exit(live(orders[i])); // also what happens at exit
        }
        int status = 1;
        assert_int_equal(waitpid(child, &status, 0), child);
        if (status != 0) {
            fail_msg("order %s: status %d", orders[i], status);
        }
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_every_order)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
