// SPDX-License-Identifier: Apache-2.0
//
// cpu (LLVM 19, hidden), vulkan (the driver's own LLVM) and PoCL (its LLVM)
// in one process, in every order of first use: each order in a process of its
// own, each member used twice, results checked. PoCL is left out, with a line,
// where it is not installed.
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

// ---- PoCL, by the few functions of OpenCL that a kernel needs ---------------

typedef struct opencl {
    int32_t (*clGetPlatformIDs)(uint32_t, void **, uint32_t *);
    int32_t (*clGetDeviceIDs)(void *, uint64_t, uint32_t, void **, uint32_t *);
    void *(*clCreateContext)(const intptr_t *, uint32_t, void *const *, void *,
                             void *, int32_t *);
    void *(*clCreateCommandQueue)(void *, void *, uint64_t, int32_t *);
    void *(*clCreateProgramWithSource)(void *, uint32_t, const char **,
                                       const size_t *, int32_t *);
    int32_t (*clBuildProgram)(void *, uint32_t, void *const *, const char *,
                              void *, void *);
    void *(*clCreateKernel)(void *, const char *, int32_t *);
    void *(*clCreateBuffer)(void *, uint64_t, size_t, void *, int32_t *);
    int32_t (*clSetKernelArg)(void *, uint32_t, size_t, const void *);
    int32_t (*clEnqueueNDRangeKernel)(void *, void *, uint32_t, const size_t *,
                                      const size_t *, const size_t *, uint32_t,
                                      void *const *, void **);
    int32_t (*clEnqueueReadBuffer)(void *, void *, uint32_t, size_t, size_t,
                                   void *, uint32_t, void *const *, void **);
    int32_t (*clReleaseMemObject)(void *);
    int32_t (*clReleaseKernel)(void *);
    int32_t (*clReleaseProgram)(void *);
    int32_t (*clReleaseCommandQueue)(void *);
    int32_t (*clReleaseContext)(void *);
} opencl;

#define ANY_DEVICE UINT64_C(0xffffffff) // CL_DEVICE_TYPE_ALL
#define READ_WRITE (UINT64_C(1) << 0)   // CL_MEM_READ_WRITE
#define COPIED     (UINT64_C(1) << 5)   // CL_MEM_COPY_HOST_PTR

static const char opencl_text[] = "kernel void f(global float *x, float a)\n"
                                  "{\n"
                                  "    size_t i = get_global_id(0);\n"
                                  "    x[i] = fma(x[i], a, 1.0f);\n"
                                  "}\n";

// In the order of `opencl`.
static const char *const opencl_names[] = {"clGetPlatformIDs",
                                           "clGetDeviceIDs",
                                           "clCreateContext",
                                           "clCreateCommandQueue",
                                           "clCreateProgramWithSource",
                                           "clBuildProgram",
                                           "clCreateKernel",
                                           "clCreateBuffer",
                                           "clSetKernelArg",
                                           "clEnqueueNDRangeKernel",
                                           "clEnqueueReadBuffer",
                                           "clReleaseMemObject",
                                           "clReleaseKernel",
                                           "clReleaseProgram",
                                           "clReleaseCommandQueue",
                                           "clReleaseContext"};
#define NAMES (sizeof opencl_names / sizeof opencl_names[0])
_Static_assert(sizeof(opencl) == NAMES * sizeof(void *), "a name per function");

// The loader and a device; NULL, or why there is none.
static const char *
open_opencl(opencl *cl, void **out_device)
{
    void *library = dlopen("libOpenCL.so.1", RTLD_NOW | RTLD_LOCAL);
    void *symbols[NAMES], *platform = NULL;
    uint32_t count = 0;
    if (library == NULL) {
        return "no libOpenCL.so.1";
    }
    for (size_t i = 0; i < NAMES; i++) {
        symbols[i] = dlsym(library, opencl_names[i]);
        if (symbols[i] == NULL) {
            return opencl_names[i];
        }
    }
    memcpy(cl, symbols, sizeof *cl);
    if (cl->clGetPlatformIDs(1, &platform, &count) != 0 || count == 0) {
        return "no OpenCL platform";
    }
    return cl->clGetDeviceIDs(platform, ANY_DEVICE, 1, out_device, &count) != 0
               ? "no OpenCL device"
               : NULL;
}

static bool
run_kernel(const opencl *cl, void *context, void *device, void *kernel)
{
    float x[ELEMENTS], a = 2.0f;
    const size_t count = ELEMENTS;
    for (int i = 0; i < ELEMENTS; i++) {
        x[i] = (float)i;
    }
    void *queue = cl->clCreateCommandQueue(context, device, 0, NULL);
    void *buffer =
        cl->clCreateBuffer(context, READ_WRITE | COPIED, sizeof x, x, NULL);
    bool is_good = queue != NULL && buffer != NULL &&
                   cl->clSetKernelArg(kernel, 0, sizeof buffer, &buffer) == 0 &&
                   cl->clSetKernelArg(kernel, 1, sizeof a, &a) == 0 &&
                   cl->clEnqueueNDRangeKernel(queue, kernel, 1, NULL, &count,
                                              NULL, 0, NULL, NULL) == 0 &&
                   cl->clEnqueueReadBuffer(queue, buffer, 1, 0, sizeof x, x, 0,
                                           NULL, NULL) == 0;
    for (int i = 0; i < ELEMENTS; i++) {
        is_good = is_good && x[i] == 2.0f * (float)i + 1.0f;
    }
    (void)cl->clReleaseMemObject(buffer);
    (void)cl->clReleaseCommandQueue(queue);
    return is_good;
}

// PoCL compiles and runs a kernel, where it is installed.
static bool
use_opencl(void)
{
    opencl cl;
    const char *text = opencl_text;
    void *device = NULL;
    if (open_opencl(&cl, &device) != NULL) {
        return true; // said before
    }
    void *context = cl.clCreateContext(NULL, 1, &device, NULL, NULL, NULL);
    void *program =
        context != NULL
            ? cl.clCreateProgramWithSource(context, 1, &text, NULL, NULL)
            : NULL;
    void *kernel = program != NULL && cl.clBuildProgram(program, 1, &device, "",
                                                        NULL, NULL) == 0
                       ? cl.clCreateKernel(program, "f", NULL)
                       : NULL;
    bool is_good = kernel != NULL && run_kernel(&cl, context, device, kernel);
    if (kernel != NULL) {
        (void)cl.clReleaseKernel(kernel);
    }
    if (program != NULL) {
        (void)cl.clReleaseProgram(program);
    }
    if (context != NULL) {
        (void)cl.clReleaseContext(context);
    }
    if (!is_good) {
        fprintf(stderr, "OpenCL: no kernel, or a wrong result\n");
    }
    return is_good;
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

// Says whether OpenCL takes part, from a process of its own.
static void
say_opencl(void)
{
    pid_t child = fork();
    if (child == 0) {
        opencl cl;
        void *device = NULL;
        const char *why = open_opencl(&cl, &device);
        if (why != NULL) {
            fprintf(stderr, "skipped: OpenCL: %s\n", why);
        }
        _exit(0);
    }
    (void)waitpid(child, NULL, 0);
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
    say_opencl();
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
