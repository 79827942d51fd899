// SPDX-License-Identifier: Apache-2.0
//
// Kernels of backends/kgen on the first Vulkan device, against naive shaders
// of the same arithmetic on the same device in the same run.
//
//     bench_gpu_kernels [--rounds N] [--only TEXT] [--model FOLDER]
//
// The last case is a step of a language model (that of the demo) through the
// plugin: what a dispatch of its recorded commands costs, against an empty
// dispatch alone that is submitted and waited for.
//
// Contenders of a round run one after the other; figures are medians of the
// rounds, ratios medians of the rounds' ratios. Bars are those for lavapipe.
// Needs glslangValidator and spirv-opt on the path.
#include <ptqc/compile.h>
#include <ptqc/runtime.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "backends/kgen/expr.h"
#include "backends/kgen/kernel.h"
#include "backends/kgen/planar.h"
#include "backends/kgen/program.h"
#include "tests/support/gpu.h"

#define ROUNDS_MAX 101

// ---- naive shaders ---------------------------------------------------------

// A row of 4-bit codes per group of 64 lanes, joined in shared memory. w
// [N][K/8] words, low nibble first, code - 8.
static const char NAIVE_GEMV[] =
    "#version 450\n"
    "layout(local_size_x = 64) in;\n"
    "layout(std430, binding = 0) readonly buffer X { float x[]; };\n"
    "layout(std430, binding = 1) readonly buffer W { uint w[]; };\n"
    "layout(std430, binding = 2) buffer Y { float y[]; };\n"
    "layout(push_constant) uniform P { uint n, k; };\n"
    "shared float part[64];\n"
    "void main() {\n"
    "    uint row = gl_WorkGroupID.x, lane = gl_LocalInvocationID.x;\n"
    "    float sum = 0.0;\n"
    "    for (uint i = lane; i < k / 8u; i += 64u) {\n"
    "        uint v = w[row * (k / 8u) + i];\n"
    "        for (uint j = 0u; j < 8u; j++) {\n"
    "            sum += (float((v >> (4u * j)) & 15u) - 8.0) * x[8u * i + j];\n"
    "        }\n"
    "    }\n"
    "    part[lane] = sum;\n"
    "    barrier();\n"
    "    for (uint h = 32u; h > 0u; h >>= 1) {\n"
    "        if (lane < h) { part[lane] += part[lane + h]; }\n"
    "        barrier();\n"
    "    }\n"
    "    if (lane == 0u) { y[row] = part[0]; }\n"
    "}\n";

// A row per lane, eight columns of x. w [K/8][N] words, x [M][K].
static const char NAIVE_GEMM[] =
    "#version 450\n"
    "layout(local_size_x = 64) in;\n"
    "layout(std430, binding = 0) readonly buffer X { float x[]; };\n"
    "layout(std430, binding = 1) readonly buffer W { uint w[]; };\n"
    "layout(std430, binding = 2) buffer Y { float y[]; };\n"
    "layout(push_constant) uniform P { uint n, k; };\n"
    "void main() {\n"
    "    uint row = gl_GlobalInvocationID.x, col = gl_WorkGroupID.y * 8u;\n"
    "    if (row >= n) { return; }\n"
    "    float sum[8];\n"
    "    for (uint c = 0u; c < 8u; c++) { sum[c] = 0.0; }\n"
    "    for (uint i = 0u; i < k / 8u; i++) {\n"
    "        uint v = w[i * n + row];\n"
    "        for (uint j = 0u; j < 8u; j++) {\n"
    "            float q = float((v >> (4u * j)) & 15u) - 8.0;\n"
    "            for (uint c = 0u; c < 8u; c++) {\n"
    "                sum[c] += q * x[(col + c) * k + 8u * i + j];\n"
    "            }\n"
    "        }\n"
    "    }\n"
    "    for (uint c = 0u; c < 8u; c++) { y[(col + c) * n + row] = sum[c]; }\n"
    "}\n";

// ---- contenders ------------------------------------------------------------

typedef struct contender {
    const char *name;
    pq_test_gpu_kernel *kernels[8];
    uint32_t kernel_count;
    double times[ROUNDS_MAX];
} contender;

static void
die(const char *what, const char *why)
{
    fprintf(stderr, "bench_gpu_kernels: %s: %s\n", what, why);
    exit(1);
}

static pq_test_gpu_buffer *
make_buffer(pq_test_gpu *gpu, size_t bytes, uint32_t seed)
{
    pq_test_gpu_buffer *b = calloc(1, sizeof *b);
    if (b == NULL || !pq_test_gpu_buffer_create(gpu, bytes + 16, b)) {
        die("buffer", "no memory");
    }
    uint32_t *p = b->data;
    for (size_t i = 0; i < bytes / 4; i++) {
        seed = seed * 1664525u + 1013904223u;
        p[i] = seed;
    }
    return b;
}

static void
fill_floats(pq_test_gpu_buffer *b)
{
    float *p = b->data;
    for (size_t i = 0; i < b->bytes / 4; i++) {
        p[i] = (float)((int)(i * 2654435761u >> 20) - 2048) * 0.0005f;
    }
}

static void
add_kernel(pq_test_gpu *gpu, contender *c, const char *text,
           pq_test_gpu_desc desc)
{
    bool is_error;
    const char *why;
    uint32_t *spirv =
        pq_test_gpu_compile(text, &desc.spirv_bytes, &is_error, &why);
    if (spirv == NULL) {
        die(c->name, why);
    }
    desc.spirv = spirv;
    c->kernels[c->kernel_count] = pq_test_gpu_kernel_create(gpu, &desc);
    if (c->kernels[c->kernel_count] == NULL) {
        die(c->name, "no pipeline");
    }
    c->kernel_count++;
    free(spirv);
}

// ---- kernels of kgen -------------------------------------------------------

static void *
host_alloc(void *self, uint64_t bytes, uint64_t align)
{
    (void)self;
    (void)align;
    return malloc(bytes);
}

static void
host_free(void *self, void *p)
{
    (void)self;
    free(p);
}

static const ptqc_host_vt HOST_VT = {.alloc = host_alloc, .free = host_free};
static const ptqc_host HOST = {.vt = &HOST_VT};

// buffers[i]: of operand i; NULL = absent.
static void
add_step(pq_test_gpu *gpu, contender *c, const pq_kg_job *job,
         pq_test_gpu_buffer *const *buffers)
{
    const pq_kg_dialect glsl = {.language = PQ_KG_GLSL};
    const pq_kg_limits limits = {.is_cpu = pq_test_gpu_is_cpu(gpu)};
    pq_mem mem = {.host = &HOST};
    pq_kg_source source;
    pq_kg_launch launch;
    const char *why;
    if (pq_kg_source_of(&mem, job, &glsl, &source, &why) != PTQC_BE_OK ||
        pq_kg_launch_of(&mem, job, &limits, &launch, &why) != PTQC_BE_OK) {
        die(c->name, why);
    }
    const pq_test_gpu_buffer *bound[PQ_KG_BUFFERS_MAX + 1];
    for (uint32_t i = 0; i < source.buffer_count; i++) {
        bound[i] = buffers[source.buffers[i].arg];
    }
    if (source.has_table) {
        pq_test_gpu_buffer *table = make_buffer(gpu, 4 * launch.table_words, 1);
        memcpy(table->data, launch.table, 4 * launch.table_words);
        bound[source.buffer_count] = table;
    }
    const pq_test_gpu_desc desc = {
        .buffers = bound,
        .buffer_count = source.buffer_count + source.has_table,
        .specs = launch.specs,
        .spec_count = launch.spec_count,
        .words = launch.words,
        .word_count = launch.word_count,
        .groups = {launch.groups[0], launch.groups[1], launch.groups[2]}};
    add_kernel(gpu, c, source.text, desc);
    pq_mem_release(&mem);
}

static int64_t
op(uint32_t code, uint32_t dtype, uint32_t a, uint32_t b, uint32_t d,
   uint32_t index)
{
    return (int64_t)(code | (uint64_t)dtype << 8 | (uint64_t)a << 16 |
                     (uint64_t)b << 24 | (uint64_t)d << 32 |
                     (uint64_t)index << 40);
}

static int64_t
bits_of(float x)
{
    uint32_t u;
    memcpy(&u, &x, sizeof u);
    return u;
}

// ---- cases -----------------------------------------------------------------

typedef struct bench_case {
    const char *name;
    double bar;
    contender slow, fast;
} bench_case;

// 4-bit weights with f32 scales of groups of 128.
static void
make_product(pq_test_gpu *gpu, bench_case *b, int64_t n, int64_t k, int64_t m)
{
    size_t words = (size_t)(n * k / 8);
    pq_test_gpu_buffer *x = make_buffer(gpu, (size_t)(4 * m * k), 1);
    pq_test_gpu_buffer *w = make_buffer(gpu, 4 * words, 2);
    pq_test_gpu_buffer *y = make_buffer(gpu, (size_t)(4 * m * n), 3);
    pq_test_gpu_buffer *scales = make_buffer(gpu, (size_t)(4 * n * k / 128), 4);
    fill_floats(x);
    fill_floats(scales);
    const pq_test_gpu_buffer *naive[] = {x, w, y};
    const uint32_t sizes[2] = {(uint32_t)n, (uint32_t)k};
    pq_test_gpu_desc d = {.buffers = naive,
                          .buffer_count = 3,
                          .words = sizes,
                          .word_count = 2,
                          .groups = {(uint32_t)n, 1, 1}};
    if (m > 1) {
        d.groups[0] = (uint32_t)(n / 64);
        d.groups[1] = (uint32_t)(m / 8);
    }
    b->slow.name = "naive";
    b->fast.name = "kgen";
    add_kernel(gpu, &b->slow, m > 1 ? NAIVE_GEMM : NAIVE_GEMV, d);
    pq_kg_tensor tensors[4] = {
        {.dtype = PTQC_F32, .rank = 2, .dims = {m, k}},
        {.dtype = PTQC_U8, .rank = 1, .dims = {(int64_t)words * 4}},
        {.dtype = PTQC_U8, .rank = 1, .dims = {4 * n * k / 128}},
        {.dtype = PTQC_F32, .rank = 2, .dims = {m, n}}};
    const pq_kg_tensor *args[] = {&tensors[0], &tensors[1], &tensors[2],
                                  &tensors[3]};
    const int64_t params[] = {n,
                              k,
                              PQ_KG_WEIGHT_I4,
                              128,
                              PQ_KG_SCALES_F32,
                              0,
                              n,
                              1,
                              0,
                              0,
                              2,
                              op(PQ_EXPR_LOAD, PTQC_F32, 0, 0, 0, 0)};
    const pq_kg_job job = {.kind = PQ_STEP_PLANAR_MATMUL,
                           .args = args,
                           .input_count = 3,
                           .output_count = 1,
                           .params = params,
                           .param_count = sizeof params / sizeof params[0]};
    pq_test_gpu_buffer *const buffers[] = {x, w, scales, y};
    add_step(gpu, &b->fast, &job, buffers);
}

// One EXPR step over count elements; inputs[i] NULL ends the list.
static void
add_chain(pq_test_gpu *gpu, contender *c, int64_t rows, int64_t columns,
          pq_test_gpu_buffer *const *inputs, const uint32_t *ranks,
          pq_test_gpu_buffer *y, uint32_t y_dtype, const int64_t *ops,
          uint32_t op_count, const int64_t *values, uint32_t value_count)
{
    pq_kg_tensor tensors[4];
    const pq_kg_tensor *args[4];
    pq_test_gpu_buffer *buffers[4];
    int64_t params[64];
    uint32_t n = 0, p = 0;
    params[p++] = op_count;
    params[p++] = value_count;
    params[p++] = op_count - 1;
    params[p++] = 2;
    for (uint32_t i = 0; i < op_count; i++) {
        params[p++] = ops[i];
    }
    for (uint32_t i = 0; i < value_count; i++) {
        params[p++] = values[i];
    }
    for (; inputs[n] != NULL; n++) {
        tensors[n] = (pq_kg_tensor){.dtype = PTQC_F32, .rank = ranks[n]};
        tensors[n].dims[0] = ranks[n] == 1 ? columns : rows;
        tensors[n].dims[1] = columns;
        params[p++] = ranks[n] == 1 ? 1 : 0x10;
        args[n] = &tensors[n];
        buffers[n] = inputs[n];
    }
    tensors[n] =
        (pq_kg_tensor){.dtype = y_dtype, .rank = 2, .dims = {rows, columns}};
    args[n] = &tensors[n];
    buffers[n] = y;
    const pq_kg_job job = {.kind = PQ_STEP_EXPR,
                           .args = args,
                           .input_count = n,
                           .output_count = 1,
                           .params = params,
                           .param_count = p};
    add_step(gpu, c, &job, buffers);
}

// relu(x + bias) + residual, as codes of u8: one kernel, and one for each op.
static void
make_fusion(pq_test_gpu *gpu, bench_case *b)
{
    const int64_t rows = 2048, columns = 1024;
    size_t bytes = (size_t)(4 * rows * columns);
    pq_test_gpu_buffer *x = make_buffer(gpu, bytes, 1);
    pq_test_gpu_buffer *r = make_buffer(gpu, bytes, 2);
    pq_test_gpu_buffer *t = make_buffer(gpu, bytes, 3);
    pq_test_gpu_buffer *u = make_buffer(gpu, bytes, 3);
    pq_test_gpu_buffer *bias = make_buffer(gpu, (size_t)(4 * columns), 4);
    pq_test_gpu_buffer *y = make_buffer(gpu, bytes / 4, 5);
    fill_floats(x);
    fill_floats(r);
    fill_floats(bias);
    const int64_t values[] = {bits_of(20.0f), 3};
    const int64_t load0 = op(PQ_EXPR_LOAD, PTQC_F32, 0, 0, 0, 0);
    const int64_t load1 = op(PQ_EXPR_LOAD, PTQC_F32, 0, 0, 0, 1);
    const int64_t add = op(PQ_EXPR_ADD, PTQC_F32, 0, 1, 0, 0);
    const int64_t fused[] = {load0,
                             load1,
                             add,
                             op(PQ_EXPR_RELU, PTQC_F32, 2, 0, 0, 0),
                             op(PQ_EXPR_LOAD, PTQC_F32, 0, 0, 0, 2),
                             op(PQ_EXPR_ADD, PTQC_F32, 3, 4, 0, 0),
                             op(PQ_EXPR_PARAM, PTQC_F32, 0, 0, 0, 0),
                             op(PQ_EXPR_PARAM, PTQC_I32, 0, 0, 0, 1),
                             op(PQ_EXPR_QUANTIZE_MUL, PTQC_U8, 5, 6, 7, 0)};
    const int64_t sum[] = {load0, load1, add};
    const int64_t relu[] = {load0, op(PQ_EXPR_RELU, PTQC_F32, 0, 0, 0, 0)};
    const int64_t codes[] = {load0, op(PQ_EXPR_PARAM, PTQC_F32, 0, 0, 0, 0),
                             op(PQ_EXPR_PARAM, PTQC_I32, 0, 0, 0, 1),
                             op(PQ_EXPR_QUANTIZE_MUL, PTQC_U8, 0, 1, 2, 0)};
    static const uint32_t ranks[] = {2, 1, 2}, both[] = {2, 2};
    b->slow.name = "separate";
    b->fast.name = "fused";
    pq_test_gpu_buffer *all[] = {x, bias, r, NULL}, *xb[] = {x, bias, NULL};
    pq_test_gpu_buffer *tn[] = {t, NULL}, *ur[] = {u, r, NULL};
    add_chain(gpu, &b->fast, rows, columns, all, ranks, y, PTQC_U8, fused, 9,
              values, 2);
    add_chain(gpu, &b->slow, rows, columns, xb, ranks, t, PTQC_F32, sum, 3,
              NULL, 0);
    add_chain(gpu, &b->slow, rows, columns, tn, ranks, u, PTQC_F32, relu, 2,
              NULL, 0);
    add_chain(gpu, &b->slow, rows, columns, ur, both, t, PTQC_F32, sum, 3, NULL,
              0);
    add_chain(gpu, &b->slow, rows, columns, tn, ranks, y, PTQC_U8, codes, 4,
              values, 2);
}

// ---- rounds ----------------------------------------------------------------

static double
run_contender(contender *c)
{
    double all = 0.0;
    for (uint32_t i = 0; i < c->kernel_count; i++) {
        double t = pq_test_gpu_kernel_run(c->kernels[i]);
        if (t < 0.0) {
            die(c->name, "device lost");
        }
        all += t;
    }
    return all;
}

static int
compare_doubles(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double
median(const double *x, uint32_t n)
{
    double sorted[ROUNDS_MAX];
    memcpy(sorted, x, n * sizeof *x);
    qsort(sorted, n, sizeof *sorted, compare_doubles);
    return sorted[n / 2];
}

static void
run_case(bench_case *b, uint32_t rounds)
{
    double ratios[ROUNDS_MAX];
    (void)run_contender(&b->slow); // the driver compiles at the first run
    (void)run_contender(&b->fast);
    for (uint32_t i = 0; i < rounds; i++) {
        b->slow.times[i] = run_contender(&b->slow);
        b->fast.times[i] = run_contender(&b->fast);
        ratios[i] = b->slow.times[i] / b->fast.times[i];
    }
    double ratio = median(ratios, rounds);
    printf("%-24s %s %8.2f ms   %s %8.2f ms   %5.2fx (bar %.1fx)%s\n", b->name,
           b->slow.name, 1e3 * median(b->slow.times, rounds), b->fast.name,
           1e3 * median(b->fast.times, rounds), ratio, b->bar,
           ratio < b->bar ? "  BELOW" : "");
    fflush(stdout);
}

// ---- replay ----------------------------------------------------------------

#define REPLAY_BAR 3.0

static const char EMPTY[] = "#version 450\n"
                            "layout(local_size_x = 1) in;\n"
                            "void main() {}\n";

typedef struct replay {
    ptqc_ctx *ctx;
    ptqc_artifact *artifact;
    ptqc_session *session;
    ptqc_tensor inputs[3], output;
    uint32_t dispatches;
} replay;

static void
show(void *user, ptqc_severity severity, ptqc_status st, const char *text)
{
    (void)user;
    (void)st;
    if (severity == PTQC_SEVERITY_ERROR) {
        fprintf(stderr, "bench_gpu_kernels: %s\n", text);
    }
}

static void
need(ptqc_status st, const char *what)
{
    if (st != PTQC_OK) {
        die("replay", what);
    }
}

static void
count_dispatch(void *user, const ptqc_profile_row *row)
{
    (void)row;
    ++*(uint32_t *)user;
}

// A session of the model on vulkan, and inputs of one token.
static void
open_replay(replay *r, const char *path)
{
    static const char *const dirs[] = {PTQC_PLUGIN_DIR};
    const ptqc_ctx_desc about = {.diag = show};
    const ptqc_compile_desc desc = {.target = "vulkan",
                                    .backends = {.dirs = dirs, .dir_count = 1}};
    const ptqc_session_desc session = {.backends = desc.backends};
    ptqc_model *model = NULL;
    void *bytes = NULL;
    size_t count = 0;
    need(ptqc_ctx_create(&about, &r->ctx), "no context");
    need(ptqc_model_open(r->ctx, path, &model), path);
    need(ptqc_compile_memory(r->ctx, model, &desc, &bytes, &count), "compile");
    ptqc_model_close(model);
    need(ptqc_artifact_open_memory(r->ctx, bytes, count, &r->artifact), "open");
    need(ptqc_session_create(r->ctx, r->artifact, &session, &r->session),
         "session");
    if (ptqc_artifact_input_count(r->artifact) != 3) {
        die("replay", "not a language model");
    }
    for (uint32_t i = 0; i < 3; i++) {
        static int32_t zeros[3];
        r->inputs[i] = (ptqc_tensor){.dtype = PTQC_I32,
                                     .rank = 2,
                                     .dims = {1, 1},
                                     .data = &zeros[i],
                                     .bytes = 4};
    }
    need(ptqc_session_profile(r->session, r->inputs, 3, &r->output, 1,
                              count_dispatch, &r->dispatches),
         "profile");
}

static double
seconds_now(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

// Seconds of a step; its output goes nowhere.
static double
run_replay(replay *r)
{
    double start = seconds_now();
    r->output = (ptqc_tensor){0};
    need(ptqc_session_run(r->session, r->inputs, 3, &r->output, 1), "run");
    return seconds_now() - start;
}

static void
run_replay_case(pq_test_gpu *gpu, const char *path, uint32_t rounds)
{
    double empty[ROUNDS_MAX], step[ROUNDS_MAX], ratios[ROUNDS_MAX];
    contender nothing = {.name = "empty"};
    replay r = {0};
    add_kernel(gpu, &nothing, EMPTY, (pq_test_gpu_desc){.groups = {1, 1, 1}});
    open_replay(&r, path);
    for (uint32_t i = 0; i < 3; i++) {
        (void)run_contender(&nothing);
        (void)run_replay(&r);
    }
    for (uint32_t i = 0; i < rounds; i++) {
        empty[i] = run_contender(&nothing);
        step[i] = run_replay(&r) / r.dispatches;
        ratios[i] = step[i] / empty[i];
    }
    double ratio = median(ratios, rounds);
    printf("%-24s empty dispatch %5.1f us   per dispatch of %u %5.1f us   "
           "%5.2fx (bar at most %.1fx)%s\n",
           "replay of a decode step", 1e6 * median(empty, rounds), r.dispatches,
           1e6 * median(step, rounds), ratio, REPLAY_BAR,
           ratio > REPLAY_BAR ? "  ABOVE" : "");
    ptqc_session_destroy(r.session);
    ptqc_artifact_close(r.artifact);
    ptqc_ctx_destroy(r.ctx);
}

int
main(int argc, char **argv)
{
    uint32_t rounds = 15;
    const char *only = "", *model = PTQC_DEMO_LM, *why;
    for (int i = 1; i + 1 < argc; i += 2) {
        if (strcmp(argv[i], "--rounds") == 0) {
            rounds = (uint32_t)strtoul(argv[i + 1], NULL, 10);
        } else if (strcmp(argv[i], "--only") == 0) {
            only = argv[i + 1];
        } else if (strcmp(argv[i], "--model") == 0) {
            model = argv[i + 1];
        }
    }
    rounds = rounds < 1 ? 1 : rounds > ROUNDS_MAX ? ROUNDS_MAX : rounds;
    pq_test_gpu *gpu = pq_test_gpu_open(false, &why);
    if (gpu == NULL) {
        die("no device", why);
    }
    printf("%s, %u rounds\n", pq_test_gpu_name(gpu), rounds);
    bench_case cases[] = {{.name = "w4 gemv 4096x4096", .bar = 4.6},
                          {.name = "w4 gemm 2048x2048x64", .bar = 2.1},
                          {.name = "fused epilogue", .bar = 1.3}};
    for (uint32_t i = 0; i < 3; i++) {
        if (strstr(cases[i].name, only) == NULL) {
            continue;
        }
        if (i < 2) {
            int64_t n = i == 0 ? 4096 : 2048;
            make_product(gpu, &cases[i], n, n, i == 0 ? 1 : 64);
        } else {
            make_fusion(gpu, &cases[i]);
        }
        run_case(&cases[i], rounds);
    }
    if (strstr("replay", only) != NULL) {
        run_replay_case(gpu, model, rounds);
    }
    fflush(stdout);
    return 0;
}
