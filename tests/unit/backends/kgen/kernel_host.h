// SPDX-License-Identifier: Apache-2.0
//
// For tests of kernel texts: steps are described, their texts compiled with
// the command-line tools and run on the Vulkan device that is there (lavapipe
// as a rule), and the results handed back to be compared with a scalar
// reference.
#ifndef PTQC_TESTS_KERNEL_HOST_H
#define PTQC_TESTS_KERNEL_HOST_H

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backends/kgen/kernel.h"
#include "backends/kgen/params.h"
#include "backends/kgen/planar.h"
#include "backends/kgen/program.h"
#include "tests/support/cmocka_test.h"
#include "tests/support/compare.h"
#include "tests/support/gpu.h"
#include "tests/support/random.h"

static void *
kernel_host_alloc(void *self, uint64_t bytes, uint64_t align)
{
    (void)self;
    (void)align;
    return malloc(bytes);
}

static void
kernel_host_free(void *self, void *p)
{
    (void)self;
    free(p);
}

static const ptqc_host_vt kernel_host_vt = {.alloc = kernel_host_alloc,
                                            .free = kernel_host_free};
static const ptqc_host kernel_host = {.vt = &kernel_host_vt};

#define KERNEL_ARGS   12u
#define KERNEL_PARAMS 160u

// A step being described: operands with their bytes, parameters.
typedef struct kernel_step {
    uint32_t kind;
    pq_kg_tensor tensors[KERNEL_ARGS];
    void *bytes[KERNEL_ARGS]; // owned by the test; outputs: where they go
    bool is_absent[KERNEL_ARGS];
    uint32_t input_count, output_count;
    int64_t params[KERNEL_PARAMS];
    uint32_t param_count;
    const int64_t *dims;
    uint32_t dim_count;
} kernel_step;

static inline uint32_t
kernel_add(kernel_step *s, uint32_t dtype, const int64_t *dims, uint32_t rank,
           void *bytes)
{
    uint32_t i = s->input_count + s->output_count;
    assert_true(i < KERNEL_ARGS);
    s->tensors[i].dtype = dtype;
    s->tensors[i].rank = rank;
    memcpy(s->tensors[i].dims, dims, rank * sizeof *dims);
    s->bytes[i] = bytes;
    return i;
}

#define KERNEL_DIMS(...)                                                       \
    (const int64_t[]){__VA_ARGS__},                                            \
        (uint32_t)(sizeof((const int64_t[]){__VA_ARGS__}) / sizeof(int64_t))

// kernel_in(&s, PTQC_F32, KERNEL_DIMS(2, 3), x);
static inline void
kernel_in(kernel_step *s, uint32_t dtype, const int64_t *dims, uint32_t rank,
          const void *bytes)
{
    kernel_add(s, dtype, dims, rank, (void *)(uintptr_t)bytes);
    s->input_count++;
}

static inline void
kernel_absent(kernel_step *s)
{
    s->is_absent[s->input_count] = true;
    s->input_count++;
}

static inline void
kernel_out(kernel_step *s, uint32_t dtype, const int64_t *dims, uint32_t rank,
           void *bytes)
{
    kernel_add(s, dtype, dims, rank, bytes);
    s->output_count++;
}

static inline void
kernel_param(kernel_step *s, int64_t x)
{
    assert_true(s->param_count < KERNEL_PARAMS);
    s->params[s->param_count++] = x;
}

static inline void
kernel_param_f32(kernel_step *s, float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    kernel_param(s, bits);
}

// An op of an expression, as EXPR parameters have it.
static inline int64_t
kernel_op(uint32_t code, uint32_t dtype, uint32_t a, uint32_t b, uint32_t c,
          uint32_t index)
{
    return (int64_t)(code | (uint64_t)dtype << 8 | (uint64_t)a << 16 |
                     (uint64_t)b << 24 | (uint64_t)c << 32 |
                     (uint64_t)index << 40);
}

// Map of an operand whose axes are the last ones of y.
static inline int64_t
kernel_map(uint32_t rank, uint32_t y_rank)
{
    uint64_t map = 0;
    for (uint32_t i = 0; i < rank; i++) {
        map |= (uint64_t)(y_rank - rank + i) << (4 * i);
    }
    return (int64_t)map;
}

static inline size_t
kernel_bytes(const pq_kg_tensor *t)
{
    size_t n =
        t->dtype == PTQC_F64 || t->dtype == PTQC_I64 || t->dtype == PTQC_U64 ? 8
        : t->dtype == PTQC_F32 || t->dtype == PTQC_I32 || t->dtype == PTQC_U32
            ? 4
        : t->dtype == PTQC_F16 || t->dtype == PTQC_BF16 ||
                t->dtype == PTQC_I16 || t->dtype == PTQC_U16
            ? 2
            : 1;
    for (uint32_t i = 0; i < t->rank; i++) {
        n *= (size_t)t->dims[i];
    }
    return n;
}

static inline pq_kg_job
kernel_job(const kernel_step *s, const pq_kg_tensor **args)
{
    for (uint32_t i = 0; i < s->input_count + s->output_count; i++) {
        args[i] = s->is_absent[i] ? NULL : &s->tensors[i];
    }
    return (pq_kg_job){.kind = s->kind,
                       .args = args,
                       .input_count = s->input_count,
                       .output_count = s->output_count,
                       .params = s->params,
                       .param_count = s->param_count,
                       .dims = s->dims,
                       .dim_count = s->dim_count};
}

// ---- texts compiled once ---------------------------------------------------

#define KERNEL_MODULES 1024u

typedef struct kernel_module {
    char *text;
    uint32_t *spirv;
    size_t bytes;
} kernel_module;

static struct {
    pq_test_gpu *gpu;
    const char *why_not;
    bool is_open;
    kernel_module modules[KERNEL_MODULES];
    uint32_t module_count;
} kernel_state;

static inline const kernel_module *
kernel_compile(const char *text, const char *name)
{
    for (uint32_t i = 0; i < kernel_state.module_count; i++) {
        if (strcmp(kernel_state.modules[i].text, text) == 0) {
            return &kernel_state.modules[i];
        }
    }
    assert_true(kernel_state.module_count < KERNEL_MODULES);
    bool is_error;
    const char *why = "";
    kernel_module *m = &kernel_state.modules[kernel_state.module_count];
    m->spirv = pq_test_gpu_compile(text, &m->bytes, &is_error, &why);
    if (m->spirv == NULL && !is_error) {
        print_message("skipped: %s\n", why);
        skip();
    }
    if (m->spirv == NULL) {
        (void)fprintf(stderr, "%s\n%s: %s\n", text, name, why);
        fail();
    }
    m->text = strdup(text);
    kernel_state.module_count++;
    return m;
}

static inline pq_test_gpu *
kernel_gpu(void)
{
    if (!kernel_state.is_open) {
        kernel_state.is_open = true;
        kernel_state.gpu = pq_test_gpu_open(true, &kernel_state.why_not);
    }
    if (kernel_state.gpu == NULL) {
        print_message("skipped: %s\n", kernel_state.why_not);
        skip();
    }
    return kernel_state.gpu;
}

static inline int
kernel_teardown(void **state)
{
    (void)state;
    pq_test_gpu_close(kernel_state.gpu);
    for (uint32_t i = 0; i < kernel_state.module_count; i++) {
        free(kernel_state.modules[i].text);
        free(kernel_state.modules[i].spirv);
    }
    memset(&kernel_state, 0, sizeof kernel_state);
    return 0;
}

// ---- running ---------------------------------------------------------------

// Bytes behind every buffer that a kernel may not touch.
#define KERNEL_GUARD 64u

static inline size_t
kernel_round(size_t bytes)
{
    return (bytes + 15) / 16 * 16;
}

static inline void
kernel_check_guard(const pq_test_gpu_buffer *b, size_t bytes)
{
    const uint8_t *p = b->data;
    size_t words = (bytes + 3) / 4 * 4;
    for (size_t i = words; i < b->bytes; i++) {
        assert_int_equal(p[i], 0xa5);
    }
}

static inline void
kernel_dispatch(const kernel_step *s, const pq_kg_source *source,
                const pq_kg_launch *launch)
{
    pq_test_gpu *gpu = kernel_gpu();
    const kernel_module *module = kernel_compile(source->text, source->name);
    pq_test_gpu_buffer buffers[PQ_KG_BUFFERS_MAX + 1];
    const pq_test_gpu_buffer *bound[PQ_KG_BUFFERS_MAX + 1];
    uint32_t n = source->buffer_count;
    for (uint32_t i = 0; i < n + source->has_table; i++) {
        uint32_t arg = i < n ? source->buffers[i].arg : 0;
        size_t bytes =
            i < n ? kernel_bytes(&s->tensors[arg]) : 4 * launch->table_words;
        assert_true(pq_test_gpu_buffer_create(
            gpu, kernel_round(bytes) + KERNEL_GUARD, &buffers[i]));
        bound[i] = &buffers[i];
        memset(buffers[i].data, 0xa5, buffers[i].bytes);
        const void *from = i < n ? s->bytes[arg] : launch->table;
        if (bytes > 0) {
            memcpy(buffers[i].data, from, bytes);
        }
    }
    const pq_test_gpu_desc desc = {
        .spirv = module->spirv,
        .spirv_bytes = module->bytes,
        .buffers = bound,
        .buffer_count = n + source->has_table,
        .specs = launch->specs,
        .spec_count = launch->spec_count,
        .words = launch->words,
        .word_count = launch->word_count,
        .groups = {launch->groups[0], launch->groups[1], launch->groups[2]},
        .needs_full_subgroups =
            (source->features & PQ_KG_SUBGROUPS) != 0 &&
            launch->specs[0] % pq_test_gpu_subgroup(gpu) == 0};
    if (launch->groups[0] != 0 && launch->groups[1] != 0 &&
        launch->groups[2] != 0) {
        pq_test_gpu_kernel *kernel = pq_test_gpu_kernel_create(gpu, &desc);
        assert_non_null(kernel);
        assert_true(pq_test_gpu_kernel_run(kernel) >= 0.0);
        pq_test_gpu_kernel_destroy(kernel);
    }
    for (uint32_t i = 0; i < n + source->has_table; i++) {
        if (i < n) {
            uint32_t arg = source->buffers[i].arg;
            size_t bytes = kernel_bytes(&s->tensors[arg]);
            kernel_check_guard(&buffers[i], bytes);
            if (source->buffers[i].is_written) {
                memcpy(s->bytes[arg], buffers[i].data, bytes);
            } else if (bytes > 0) {
                assert_memory_equal(buffers[i].data, s->bytes[arg], bytes);
            }
        }
        pq_test_gpu_buffer_destroy(gpu, &buffers[i]);
    }
    const char *complaint = pq_test_gpu_complaint(gpu);
    if (complaint != NULL) {
        print_error("%s: %s\n", source->name, complaint);
        fail();
    }
}

// The step with the features that a text may use; which it does. A text
// that uses none of those that are there is not run again.
static inline uint32_t
kernel_run_with(const kernel_step *s, bool careful, uint32_t features)
{
    const pq_kg_dialect glsl = {.language = PQ_KG_GLSL, .features = features};
    pq_kg_limits limits = {.is_cpu = !careful,
                           .max_local_size = careful ? 512 : 0,
                           .max_turns = 65535, // llvmpipe's
                           .subgroup_size = pq_test_gpu_subgroup(kernel_gpu())};
    const pq_kg_tensor *args[KERNEL_ARGS];
    pq_kg_job job = kernel_job(s, args);
    pq_mem mem = {.host = &kernel_host};
    pq_kg_source source;
    pq_kg_launch launch;
    const char *why = "";
    ptqc_be_status st = pq_kg_source_of(&mem, &job, &glsl, &source, &why);
    if (st == PTQC_BE_OK) {
        limits.features = source.features;
        st = pq_kg_launch_of(&mem, &job, &limits, &launch, &why);
    }
    if (st != PTQC_BE_OK) {
        print_error("%s: %s\n", pq_step_info_of(s->kind)->name, why);
    }
    assert_int_equal(st, PTQC_BE_OK);
    uint32_t used = source.features;
    if (features == 0 || used != 0) {
        kernel_dispatch(s, &source, &launch);
    }
    pq_mem_release(&mem);
    return used;
}

static inline void
kernel_copy_outputs(const kernel_step *s, void *const *to, void *const *from)
{
    for (uint32_t i = 0; i < s->output_count; i++) {
        uint32_t arg = s->input_count + i;
        if (!s->is_absent[arg]) {
            memcpy(to[i], from[i], kernel_bytes(&s->tensors[arg]));
        }
    }
}

// Runs the step; its outputs' bytes are written. `careful`: as on a device
// whose divisions may be off. Where the device has optional features, the text
// that uses them has to give the same bytes.
static inline void
kernel_run_on(const kernel_step *s, bool careful)
{
    void *before[KERNEL_ARGS] = {0}, *plain[KERNEL_ARGS] = {0};
    void *const *outputs = &s->bytes[s->input_count];
    uint32_t features = pq_test_gpu_has_dot(kernel_gpu()) ? PQ_KG_DOT : 0;
    features |= pq_test_gpu_subgroup(kernel_gpu()) >= PQ_KG_SUBGROUP_MIN
                    ? PQ_KG_SUBGROUPS
                    : 0;
    features |= pq_test_gpu_has_halves(kernel_gpu()) ? PQ_KG_HALVES : 0;
    for (uint32_t i = 0; i < s->output_count; i++) {
        size_t bytes = kernel_bytes(&s->tensors[s->input_count + i]);
        before[i] = malloc(bytes + 1);
        plain[i] = malloc(bytes + 1);
        assert_true(before[i] != NULL && plain[i] != NULL);
    }
    kernel_copy_outputs(s, before, outputs);
    (void)kernel_run_with(s, careful, 0);
    if (features != 0) {
        kernel_copy_outputs(s, plain, outputs);
        kernel_copy_outputs(s, outputs, before);
        bool is_run = kernel_run_with(s, careful, features) != 0;
        for (uint32_t i = 0; is_run && i < s->output_count; i++) {
            uint32_t arg = s->input_count + i;
            if (!s->is_absent[arg]) {
                assert_memory_equal(outputs[i], plain[i],
                                    kernel_bytes(&s->tensors[arg]));
            }
        }
        kernel_copy_outputs(s, outputs, plain);
    }
    for (uint32_t i = 0; i < s->output_count; i++) {
        free(before[i]);
        free(plain[i]);
    }
}

static inline void
kernel_run(const kernel_step *s)
{
    kernel_run_on(s, false);
}

#endif
