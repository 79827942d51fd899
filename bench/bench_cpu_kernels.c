// SPDX-License-Identifier: Apache-2.0
//
// The heavy cpu kernels against the instruction peak of the same machine in
// the same run: f32 and u8s8 matmul, 1x1 and 3x3 convolutions of ResNet-50,
// depthwise convolutions of MobileNet, weight-only matmul.
//
// The peak of u8s8 without VNNI is that of widening to 16 bits and pmaddwd.
//
//     bench_cpu_kernels [--level avx2|avx512|vnni] [--threads N]
//                       [--rounds N] [--filter TEXT] [--decode MIB]
//                       [--attention MIB] [--clock wall|cpu]
//
// --decode adds products of one token with MIB of weights each (more than the
// caches hold); their operations are bytes and their peak is a plain read of
// as many. --attention adds attention over states in the same way, with MIB
// of keys and of values for one token, and with a prompt of 512 tokens, whose
// peak is that of fma; "fma" is every such row's share of that peak.
//
// --clock cpu times what the first thread computes, not what it waits for: on
// machines that others use, with one thread.
//
// A row is the median and the best of the rounds; all cases of a round run
// one after the other, so that a disturbance hits them alike. 1 multiply-add
// = 2 operations. Outputs are summed and printed, so nothing can be elided.
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "backends/cpu/conv.h"
#include "backends/cpu/emit.h"
#include "backends/cpu/fixed.h"
#include "backends/cpu/gemm.h"
#include "backends/cpu/kv_attention.h"
#include "bench/peaks.h"

#define CASES_MAX   160
#define ROUNDS_MAX  101
#define THREADS_MAX 64

// ---- host -----------------------------------------------------------------

static void *
host_alloc(void *self, uint64_t bytes, uint64_t align)
{
    (void)self;
    void *p = NULL;
    align = align < 64 ? 64 : align;
    return posix_memalign(&p, align, bytes + 64) == 0 ? p : NULL;
}

static void
host_free(void *self, void *p)
{
    (void)self;
    free(p);
}

static void
host_diag(ptqc_call *call, const ptqc_diag *d)
{
    (void)call;
    fprintf(stderr, "%.*s\n", (int)d->text.n, d->text.p);
}

static const ptqc_host_vt host_vt = {
    .alloc = host_alloc, .free = host_free, .diag = host_diag};
static const ptqc_host host = {.vt = &host_vt};

// ---- threads: a spinning gate, as in the runtime's pool ---------------------

typedef void (*work_fn)(void *user, const pq_worker *worker);

typedef struct team {
    uint32_t count;
    atomic_uint round, done;
    atomic_uint waiting, passed; // at a barrier; barriers that all reached
    work_fn work;
    void *user;
    int stop;
    pthread_t thread[THREADS_MAX];
    void *scratch[THREADS_MAX];
} team;

typedef struct member {
    team *team;
    uint32_t index;
} member;

static void
run_member(team *t, uint32_t index)
{
    pq_worker worker = {index, t->count, t->scratch[index]};
    t->work(t->user, &worker);
}

static void *
member_main(void *user)
{
    member *m = user;
    team *t = m->team;
    for (unsigned seen = 0;;) {
        while (atomic_load_explicit(&t->round, memory_order_acquire) == seen) {
        }
        seen++;
        if (t->stop) {
            return NULL;
        }
        run_member(t, m->index);
        atomic_fetch_add_explicit(&t->done, 1, memory_order_release);
    }
}

static void
team_run(team *t, work_fn work, void *user)
{
    t->work = work;
    t->user = user;
    atomic_store(&t->done, 0);
    atomic_fetch_add_explicit(&t->round, 1, memory_order_release);
    run_member(t, 0);
    while (atomic_load_explicit(&t->done, memory_order_acquire) + 1 <
           t->count) {
    }
}

// For kernels that meet; `region` is the team.
static void
team_barrier(void *region)
{
    team *t = region;
    unsigned passed = atomic_load(&t->passed);
    if (atomic_fetch_add(&t->waiting, 1) + 1 == t->count) {
        atomic_store(&t->waiting, 0);
        atomic_store(&t->passed, passed + 1);
    }
    while (atomic_load(&t->passed) == passed) {
    }
}

// ---- cases ----------------------------------------------------------------

static void
run_peak(void *user, const pq_worker *worker)
{
    peak_case *c = user;
    _Alignas(64) float io[16 * CHAINS];
    memset(io, 0, sizeof io);
    c->kernel(c->rounds, io);
    memcpy(worker->scratch, io, 64);
}

typedef struct bench_case {
    char name[64];
    work_fn work;
    void *op; // pq_matmul, pq_conv or peak_case
    union {
        pq_matmul_io matmul;
        pq_conv_io conv;
        pq_bmm_io bmm;
        pq_kv_attention_io attention;
    } io;
    double operations;
    double bytes; // decode: what the peak is about, instead of operations
    int peak;     // index of the case that is its peak
    void *out;
    int64_t out_bytes;
    double seconds[ROUNDS_MAX];
    int repeats;
} bench_case;

typedef struct bench {
    pq_jit *jit;
    team *team;
    bench_case cases[CASES_MAX];
    int count;
    uint64_t scratch_bytes;
    const char *filter;
    int64_t decode_bytes;    // 0: no such rows
    int64_t attention_bytes; // of keys, and of values; 0: no such rows
    int read;                // the case that is a plain read
    void *keys, *values, *scales;
} bench;

static void
run_matmul(void *user, const pq_worker *worker)
{
    bench_case *c = user;
    pq_matmul_run(c->op, &c->io.matmul, worker);
}

static void
run_conv(void *user, const pq_worker *worker)
{
    bench_case *c = user;
    pq_conv_run(c->op, &c->io.conv, worker);
}

static void
run_bmm(void *user, const pq_worker *worker)
{
    bench_case *c = user;
    pq_bmm_run(c->op, &c->io.bmm, worker);
}

static void
run_attention(void *user, const pq_worker *worker)
{
    bench_case *c = user;
    pq_kv_attention_run(c->op, &c->io.attention, worker);
}

typedef struct read_case {
    void (*kernel)(int64_t bytes, const void *p, void *out);
    const uint8_t *p;
    int64_t bytes;
} read_case;

static void
run_read_case(void *user, const pq_worker *worker)
{
    const read_case *r = ((bench_case *)user)->op;
    pq_range mine = pq_worker_range(worker, r->bytes, 4096);
    r->kernel(mine.end - mine.begin, r->p + mine.begin, worker->scratch);
}

static void
run_peak_case(void *user, const pq_worker *worker)
{
    run_peak(((bench_case *)user)->op, worker);
}

// Memory of small random numbers (f32) or random bytes.
static void *
fill(int64_t bytes, int is_f32)
{
    uint8_t *p = host_alloc(NULL, (uint64_t)bytes, 64);
    if (p == NULL) {
        fprintf(stderr, "out of memory\n");
        exit(1);
    }
    uint32_t seed = (uint32_t)bytes * 2654435761u + (uint32_t)is_f32;
    for (int64_t i = 0; i + 4 <= bytes; i += 4) {
        seed = seed * 1664525u + 1013904223u;
        float x = (float)(seed >> 8) * 0x1p-24f - 0.5f;
        memcpy(p + i, is_f32 ? (const void *)&x : &seed, 4);
    }
    return p;
}

// f16 of magnitudes in [0.25, 0.5).
static void *
fill_f16(int64_t bytes)
{
    uint16_t *p = fill(bytes, 0);
    for (int64_t i = 0; i < bytes / 2; i++) {
        p[i] = (uint16_t)((p[i] & 0x83ff) | 0x3400);
    }
    return p;
}

static bench_case *
new_case(bench *b, const char *name)
{
    if (b->count == CASES_MAX ||
        (b->filter != NULL && strstr(name, b->filter) == NULL &&
         strncmp(name, "peak", 4) != 0)) {
        return NULL;
    }
    bench_case *c = &b->cases[b->count++];
    memset(c, 0, sizeof *c);
    snprintf(c->name, sizeof c->name, "%s", name);
    return c;
}

static void
check(ptqc_be_status st)
{
    if (st != PTQC_BE_OK) {
        exit(1);
    }
}

static void
add_peak(bench *b, int is_dot)
{
    bench_case *c = new_case(b, is_dot ? "peak u8s8 dot" : "peak f32 fma");
    peak_desc desc = {(uint32_t)is_dot};
    peak_case *op = malloc(sizeof *op);
    void (*entry)(void);
    check(pq_jit_get(b->jit, NULL, &peak_class, &desc, &entry));
    op->kernel = (void (*)(int64_t, void *))entry;
    op->rounds = 1000000;
    uint32_t chains = pq_jit_isa(b->jit) == PQ_ISA_AVX2 ? 4 : CHAINS;
    c->op = op;
    c->work = run_peak_case;
    c->peak = is_dot;
    c->operations = (double)op->rounds * chains * 2 * 16 * (is_dot ? 8 : 2);
}

static void
need_scratch(bench *b, uint64_t bytes)
{
    b->scratch_bytes = bytes > b->scratch_bytes ? bytes : b->scratch_bytes;
}

static pq_epilogue_args
some_args(int64_t channels)
{
    return (pq_epilogue_args){.mult = fill(4 * channels, 1),
                              .bias = fill(4 * channels, 1),
                              .lo = -128,
                              .hi = 127,
                              .inv_scale = 1,
                              .out_zero = 128};
}

static void
add_matmul(bench *b, uint32_t format, int64_t m, int64_t k, int64_t n)
{
    static const char *const names[] = {"f32", "u8s8"};
    char name[64];
    snprintf(name, sizeof name, "matmul %s %dx%dx%d", names[format], (int)m,
             (int)k, (int)n);
    int is_s8 = format == PQ_WEIGHT_S8;
    bench_case *c = new_case(b, name);
    if (c == NULL) {
        return;
    }
    pq_matmul_desc desc = {.m = m,
                           .weight = {.k = k, .n = n, .format = format},
                           .epilogue = {is_s8 ? PQ_EPI_INTEGER : PQ_EPI_FLOAT,
                                        PQ_ACT_NONE, PQ_ELEM_NONE,
                                        is_s8 ? PQ_ELEM_U8 : PQ_ELEM_F32,
                                        is_s8 ? PQ_EPI_SATURATE : 0u}};
    pq_matmul *op;
    check(pq_matmul_prepare(b->jit, NULL, &desc, &op));
    need_scratch(b, pq_matmul_scratch_bytes(op));
    int64_t size = is_s8 ? 1 : 4;
    c->work = run_matmul;
    c->op = op;
    c->peak = is_s8;
    c->operations = 2.0 * (double)m * (double)n * (double)k;
    c->out_bytes = m * n * size;
    c->out = fill(c->out_bytes, 0);
    c->io.matmul =
        (pq_matmul_io){.a = fill(m * k * size, !is_s8),
                       .a_stride = k * size,
                       .weights = fill(pq_weight_bytes(&desc.weight), !is_s8),
                       .init = fill(4 * pq_strip_columns(n), 0),
                       .out = c->out,
                       .out_stride = n * size,
                       .epilogue = some_args(pq_strip_columns(n))};
}

// Attention of `heads` heads: q k^T (b transposed) or p v.
static void
add_bmm(bench *b, int64_t heads, int64_t m, int64_t k, int64_t n,
        int is_transposed)
{
    char name[64];
    snprintf(name, sizeof name, "bmm%s f32 %d of %dx%dx%d",
             is_transposed ? "^T" : "", (int)heads, (int)m, (int)k, (int)n);
    bench_case *c = new_case(b, name);
    if (c == NULL) {
        return;
    }
    pq_bmm_desc desc = {
        .m = m,
        .n = n,
        .k = k,
        .batch_rank = 1,
        .batch = {heads},
        .a_batch_stride = {4 * m * k},
        .b_batch_stride = {4 * n * k},
        .out_batch_stride = {4 * m * n},
        .a_stride = 4 * k,
        .b_k_stride = is_transposed ? 4 : 4 * n,
        .b_n_stride = is_transposed ? 4 * k : 4,
        .out_stride = 4 * n,
        .epilogue = {PQ_EPI_FLOAT, PQ_ACT_NONE, PQ_ELEM_NONE, PQ_ELEM_F32, 0}};
    pq_bmm *op;
    check(pq_bmm_prepare(b->jit, NULL, &desc, &op));
    need_scratch(b, pq_bmm_scratch_bytes(op));
    c->work = run_bmm;
    c->op = op;
    c->operations = 2.0 * (double)(heads * m) * (double)(n * k);
    c->out_bytes = 4 * heads * m * n;
    c->out = fill(c->out_bytes, 1);
    c->io.bmm = (pq_bmm_io){.a = fill(4 * heads * m * k, 1),
                            .b = fill(4 * heads * n * k, 1),
                            .out = c->out};
}

typedef struct conv_shape {
    int64_t size, in_channels, out_channels, kernel, stride;
} conv_shape;

static void
add_conv(bench *b, uint32_t weight, const conv_shape *s)
{
    int is_s8 = weight == PQ_WEIGHT_S8;
    int is_depthwise = s->out_channels == 0;
    int64_t outputs = is_depthwise ? s->in_channels : s->out_channels;
    char name[64];
    snprintf(name, sizeof name, "%s %s %dx%d %d:%d k%d s%d",
             is_depthwise ? "dw" : "conv", is_s8 ? "u8s8" : "f32", (int)s->size,
             (int)s->size, (int)s->in_channels, (int)outputs, (int)s->kernel,
             (int)s->stride);
    bench_case *c = new_case(b, name);
    if (c == NULL) {
        return;
    }
    int64_t out = (s->size + s->stride - 1) / s->stride;
    pq_conv_desc desc = {.batch = 1,
                         .groups = is_depthwise ? s->in_channels : 1,
                         .in_channels = s->in_channels,
                         .out_channels = outputs,
                         .in = {1, s->size, s->size},
                         .out = {1, out, out},
                         .kernel = {1, s->kernel, s->kernel},
                         .stride = {1, s->stride, s->stride},
                         .dilation = {1, 1, 1},
                         .pad_begin = {0, s->kernel / 2, s->kernel / 2},
                         .weight = weight,
                         .epilogue = {is_s8 ? PQ_EPI_INTEGER : PQ_EPI_FLOAT,
                                      is_s8 ? PQ_ACT_NONE : PQ_ACT_RELU,
                                      PQ_ELEM_NONE,
                                      is_s8 ? PQ_ELEM_U8 : PQ_ELEM_F32,
                                      is_s8 ? PQ_EPI_SATURATE : PQ_EPI_BIAS}};
    pq_conv *op;
    check(pq_conv_prepare(b->jit, NULL, &desc, &op));
    need_scratch(b, pq_conv_scratch_bytes(op));
    int64_t size = is_s8 ? 1 : 4;
    c->work = run_conv;
    c->op = op;
    c->peak = is_s8;
    c->operations = 2.0 *
                    (double)(out * out * outputs * s->kernel * s->kernel) *
                    (double)(is_depthwise ? 1 : s->in_channels);
    c->out_bytes = out * out * outputs * size;
    c->out = fill(c->out_bytes, 0);
    c->io.conv = (pq_conv_io){
        .x = fill(s->size * s->size * s->in_channels * size, !is_s8),
        .weights = fill(pq_conv_weight_bytes(&desc), !is_s8),
        .init = fill(4 * pq_conv_channel_count(&desc), 0),
        .out = c->out,
        .epilogue = some_args(pq_conv_channel_count(&desc))};
}

static void
add_read(bench *b)
{
    bench_case *c = new_case(b, "peak read");
    read_case *op = malloc(sizeof *op);
    peak_desc desc = {0};
    void (*entry)(void);
    check(pq_jit_get(b->jit, NULL, &read_class, &desc, &entry));
    op->kernel = (void (*)(int64_t, const void *, void *))entry;
    op->bytes = b->decode_bytes > 0 ? b->decode_bytes : b->attention_bytes;
    op->p = fill(op->bytes, 0);
    c->op = op;
    c->work = run_read_case;
    b->read = b->count - 1;
    c->peak = b->read;
    c->bytes = (double)op->bytes;
}

// One token through weights of `group` (0: none) that fill decode_bytes.
static void
add_decode(bench *b, const char *name, uint32_t format, int64_t group,
           uint32_t digits, int peak)
{
    bench_case *c = new_case(b, name);
    if (c == NULL) {
        return;
    }
    pq_matmul_desc desc = {
        .m = 1,
        .weight = {.k = 4096,
                   .n = 16,
                   .format = format,
                   .group = group,
                   .half_scales = digits > 0},
        .digits = digits,
        .epilogue = {PQ_EPI_FLOAT, PQ_ACT_NONE, PQ_ELEM_NONE, PQ_ELEM_F32, 0}};
    int64_t strip = pq_weight_bytes(&desc.weight);
    desc.weight.n = b->decode_bytes / strip * 16;
    pq_matmul *op;
    check(pq_matmul_prepare(b->jit, NULL, &desc, &op));
    need_scratch(b, pq_matmul_scratch_bytes(op));
    c->work = run_matmul;
    c->op = op;
    c->peak = peak;
    c->bytes = (double)pq_weight_bytes(&desc.weight);
    c->out_bytes = 4 * desc.weight.n;
    c->out = fill(c->out_bytes, 0);
    // rows of fixed point numbers are shorter
    c->io.matmul =
        (pq_matmul_io){.a = fill(4 * desc.weight.k, 1),
                       .a_stride = 4 * desc.weight.k,
                       .weights = fill(pq_weight_bytes(&desc.weight), 1),
                       .out = c->out,
                       .out_stride = 4 * desc.weight.n};
}

typedef struct attention_shape {
    uint32_t dtype; // of keys and values
    int64_t batch, kv_heads, group, queries, keys, d;
} attention_shape;

// Bytes of keys, or of values, with their scales.
static int64_t
state_bytes(const attention_shape *s)
{
    int64_t bytes = s->dtype == PTQC_I8 ? s->d + 4 : 2 * s->d;
    return s->batch * s->kv_heads * s->keys * bytes;
}

// Queries see the keys up to their own, the last query all of them.
static void
attention_work(bench_case *c, const attention_shape *s)
{
    double pairs =
        (double)s->queries * ((double)s->keys - 0.5 * (double)(s->queries - 1));
    double rows = (double)(s->batch * s->kv_heads * s->group);
    c->operations = 4.0 * rows * pairs * (double)s->d;
    c->bytes = s->queries == 1 ? 2.0 * (double)state_bytes(s) : 0;
}

static pq_kv_attention_io
attention_operands(bench *b, const attention_shape *s, void *y)
{
    int64_t rows = s->batch * s->queries;
    int32_t *positions = fill(4 * rows, 0);
    for (int64_t i = 0; i < rows; i++) {
        positions[i] = (int32_t)(s->keys - s->queries + i % s->queries);
    }
    if (b->keys == NULL) { // of all cases: they are many and large
        b->keys = fill_f16(b->attention_bytes);
        b->values = fill_f16(b->attention_bytes);
        b->scales = fill(b->attention_bytes / 4, 1);
    }
    return (pq_kv_attention_io){
        .q = fill(4 * rows * s->kv_heads * s->group * s->d, 1),
        .k = b->keys,
        .v = b->values,
        .k_scale = s->dtype == PTQC_I8 ? b->scales : NULL,
        .v_scale = s->dtype == PTQC_I8 ? b->scales : NULL,
        .positions = positions,
        .y = y};
}

static void
add_attention(bench *b, const attention_shape *s)
{
    char name[64];
    snprintf(name, sizeof name, "attention %s %s d%d x%d, %d keys",
             s->queries == 1 ? "decode" : "prompt",
             s->dtype == PTQC_I8 ? "i8" : "f16", (int)s->d, (int)s->group,
             (int)s->keys);
    bench_case *c = new_case(b, name);
    if (c == NULL) {
        return;
    }
    int64_t heads = s->kv_heads * s->group;
    pq_attention_strides rows = {4 * s->queries * heads * s->d, 4 * s->d,
                                 4 * heads * s->d};
    pq_kv_attention_desc desc = {.batch = s->batch,
                                 .heads = heads,
                                 .kv_heads = s->kv_heads,
                                 .tq = s->queries,
                                 .tk = s->keys,
                                 .d = s->d,
                                 .dv = s->d,
                                 .k_dtype = s->dtype,
                                 .v_dtype = s->dtype,
                                 .scale = 0.1f,
                                 .positions = 1,
                                 .q = rows,
                                 .y = rows};
    pq_kv_attention *op;
    check(pq_kv_attention_prepare(b->jit, NULL, &desc, &op));
    need_scratch(b, pq_kv_attention_scratch_bytes(op));
    c->work = run_attention;
    c->op = op;
    attention_work(c, s);
    c->peak = c->bytes > 0 ? b->read : 0;
    c->out_bytes = s->batch * rows.batch;
    c->out = fill(c->out_bytes, 0);
    c->io.attention = attention_operands(b, s, c->out);
    uint64_t shared = pq_kv_attention_shared_bytes(op);
    c->io.attention.shared = shared > 0 ? fill((int64_t)shared, 0) : NULL;
    c->io.attention.barrier = team_barrier;
    c->io.attention.region = b->team;
}

// One token of many sequences, whose states fill the memory; a prompt.
static void
add_attention_cases(bench *b)
{
    static const int64_t d[] = {64, 128}, group[] = {1, 3, 4, 8};
    static const int64_t keys[] = {512, 2048, 4096};
    static const uint32_t types[] = {PTQC_F16, PTQC_I8};
    for (size_t i = 0; i < 48; i++) {
        attention_shape s = {.dtype = types[i / 24],
                             .kv_heads = 8,
                             .batch = 1,
                             .queries = 1,
                             .d = d[i / 12 % 2],
                             .group = group[i / 3 % 4],
                             .keys = keys[i % 3]};
        int64_t one = state_bytes(&s);
        if (b->attention_bytes < one) {
            fprintf(stderr, "bench_cpu_kernels: --attention needs %d MiB\n",
                    (int)((one + (1 << 20) - 1) >> 20));
            exit(1);
        }
        s.batch = b->attention_bytes / one;
        add_attention(b, &s);
    }
    for (size_t i = 0; i < 16; i++) {
        attention_shape s = {.dtype = types[i / 8],
                             .kv_heads = 2,
                             .batch = 1,
                             .queries = 512,
                             .keys = 512,
                             .d = d[i / 4 % 2],
                             .group = group[i % 4]};
        add_attention(b, &s);
    }
}

// A prompt of m tokens through codes with a scale per `group`.
static void
add_prefill(bench *b, const char *name, uint32_t format, int64_t group,
            uint32_t digits)
{
    bench_case *c = new_case(b, name);
    if (c == NULL) {
        return;
    }
    const int64_t m = 512;
    pq_matmul_desc desc = {
        .m = m,
        .weight = {.k = 2048,
                   .n = 5632,
                   .format = format,
                   .group = group,
                   .half_scales = 1},
        .digits = digits,
        .epilogue = {PQ_EPI_FLOAT, PQ_ACT_NONE, PQ_ELEM_NONE, PQ_ELEM_F32, 0}};
    pq_matmul *op;
    check(pq_matmul_prepare(b->jit, NULL, &desc, &op));
    need_scratch(b, pq_matmul_scratch_bytes(op));
    pq_fixed_shape rows = {desc.weight.k, group, digits, 0};
    int64_t row = pq_fixed_row_bytes(&rows);
    c->work = run_matmul;
    c->op = op;
    c->peak = 1;
    c->operations =
        2.0 * (double)m * (double)desc.weight.n * (double)desc.weight.k;
    c->out_bytes = 4 * m * desc.weight.n;
    c->out = fill(c->out_bytes, 0);
    c->io.matmul =
        (pq_matmul_io){.a = fill(m * row, 1),
                       .a_stride = row,
                       .weights = fill(pq_weight_bytes(&desc.weight), 1),
                       .out = c->out,
                       .out_stride = 4 * desc.weight.n};
}

static void
add_prefill_cases(bench *b)
{
    add_prefill(b, "prefill w8a15 g32", PQ_WEIGHT_FIXED8, 32, 2);
    add_prefill(b, "prefill w4a15 g32", PQ_WEIGHT_FIXED4, 32, 2);
    add_prefill(b, "prefill w4a15 g128", PQ_WEIGHT_FIXED4, 128, 2);
    add_prefill(b, "prefill w8a8 g32", PQ_WEIGHT_FIXED8, 32, 1);
    add_prefill(b, "prefill w4a8 g32", PQ_WEIGHT_FIXED4, 32, 1);
    add_prefill(b, "prefill w4a8 g128", PQ_WEIGHT_FIXED4, 128, 1);
}

static void
add_decode_cases(bench *b)
{
    int peak = b->read;
    add_decode(b, "decode f32", PQ_WEIGHT_F32, 0, 0, peak);
    add_decode(b, "decode f16", PQ_WEIGHT_F16, 0, 0, peak);
    add_decode(b, "decode e4m3", PQ_WEIGHT_E4M3, 0, 0, peak);
    add_decode(b, "decode e5m2", PQ_WEIGHT_E5M2, 0, 0, peak);
    add_decode(b, "decode e2m1 g32", PQ_WEIGHT_E2M1, 32, 0, peak);
    add_decode(b, "decode nf4 g64", PQ_WEIGHT_NF4, 64, 0, peak);
    add_decode(b, "decode w8a15 g128", PQ_WEIGHT_FIXED8, 128, 2, peak);
    add_decode(b, "decode w8a15 g32", PQ_WEIGHT_FIXED8, 32, 2, peak);
    add_decode(b, "decode w4a15 g128", PQ_WEIGHT_FIXED4, 128, 2, peak);
    add_decode(b, "decode w4a15 g32", PQ_WEIGHT_FIXED4, 32, 2, peak);
    add_decode(b, "decode w4a8 g128", PQ_WEIGHT_FIXED4, 128, 1, peak);
    add_decode(b, "decode w4a8 g32", PQ_WEIGHT_FIXED4, 32, 1, peak);
}

static void
add_cases(bench *b)
{
    static const conv_shape shapes[] = {
        {224, 3, 64, 7, 2},   {56, 64, 64, 1, 1},   {56, 256, 64, 1, 1},
        {56, 64, 256, 1, 1},  {28, 512, 128, 1, 1}, {14, 1024, 256, 1, 1},
        {7, 512, 2048, 1, 1}, {56, 64, 64, 3, 1},   {28, 128, 128, 3, 1},
        {14, 256, 256, 3, 1}, {7, 512, 512, 3, 1},  {32, 16, 16, 3, 1},
        {56, 24, 144, 1, 1},  {14, 96, 576, 1, 1},  {224, 3, 32, 3, 2},
        {56, 144, 24, 1, 1},  {56, 144, 32, 1, 1},  {14, 576, 96, 1, 1},
        {112, 32, 16, 1, 1},  {7, 960, 160, 1, 1},  {16, 32, 32, 3, 1},
        {8, 64, 64, 3, 1},    {112, 32, 0, 3, 1},   {112, 64, 0, 3, 1},
        {56, 128, 0, 3, 1},   {28, 256, 0, 3, 1},   {14, 512, 0, 3, 1},
        {112, 96, 0, 3, 2},   {7, 960, 0, 3, 1},    {28, 240, 0, 5, 1},
    };
    add_peak(b, 0);
    add_peak(b, 1);
    if (b->decode_bytes > 0 || b->attention_bytes > 0) {
        add_read(b);
    }
    if (b->attention_bytes > 0) {
        add_attention_cases(b);
    }
    if (b->decode_bytes > 0) {
        add_decode_cases(b);
    }
    add_prefill_cases(b);
    for (uint32_t format = 0; format <= PQ_WEIGHT_S8; format++) {
        add_matmul(b, format, 480, 2048, 5632);
        add_matmul(b, format, 128, 768, 768);
        add_matmul(b, format, 1, 2048, 2048);
    }
    add_bmm(b, 12, 128, 64, 128, 1);
    add_bmm(b, 12, 128, 128, 64, 0);
    for (uint32_t weight = PQ_WEIGHT_F32; weight <= PQ_WEIGHT_S8; weight++) {
        for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
            add_conv(b, weight, &shapes[i]);
        }
    }
}

// ---- timing ---------------------------------------------------------------

static clockid_t clock_id = CLOCK_MONOTONIC;

static double
now(void)
{
    struct timespec t;
    clock_gettime(clock_id, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static double
time_case(team *t, bench_case *c)
{
    double start = now();
    for (int i = 0; i < c->repeats; i++) {
        team_run(t, c->work, c);
    }
    return (now() - start) / c->repeats;
}

static int
compare_seconds(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void
report(bench *b, int rounds)
{
    uint64_t sum = 0;
    for (int i = 0; i < b->count; i++) {
        qsort(b->cases[i].seconds, (size_t)rounds, sizeof(double),
              compare_seconds);
    }
    printf("%-34s %9s %9s %8s %6s %6s %6s\n", "case", "median ms", "best ms",
           "GOPS", "share", "best", "fma");
    for (int i = 0; i < b->count; i++) {
        const bench_case *c = &b->cases[i];
        const bench_case *p = &b->cases[c->peak];
        double median = c->seconds[rounds / 2], best = c->seconds[0];
        double work = c->bytes > 0 ? c->bytes : c->operations;
        double peak = (c->bytes > 0 ? p->bytes : p->operations) / p->seconds[0];
        double fma = b->cases[0].operations / b->cases[0].seconds[0];
        printf("%-34s %9.4f %9.4f %8.1f %6.3f %6.3f %6.3f\n", c->name,
               1e3 * median, 1e3 * best, 1e-9 * work / median,
               work / median / peak, work / best / peak,
               c->operations / best / fma);
        for (int64_t k = 0; k < c->out_bytes; k++) {
            sum += ((const uint8_t *)c->out)[k];
        }
    }
    printf("checksum %llu\n", (unsigned long long)sum);
}

int
main(int argc, char **argv)
{
    static bench b;
    static team t;
    static member members[THREADS_MAX];
    int level = pq_isa_detect(), rounds = 9;
    t.count = 1;
    for (int i = 1; i + 1 < argc; i += 2) {
        pq_isa isa;
        if (strcmp(argv[i], "--level") == 0 &&
            pq_isa_parse(argv[i + 1], strlen(argv[i + 1]), &isa)) {
            level = (int)isa < level ? (int)isa : level;
        } else if (strcmp(argv[i], "--threads") == 0) {
            t.count = (uint32_t)atoi(argv[i + 1]);
        } else if (strcmp(argv[i], "--rounds") == 0) {
            rounds = atoi(argv[i + 1]);
        } else if (strcmp(argv[i], "--filter") == 0) {
            b.filter = argv[i + 1];
        } else if (strcmp(argv[i], "--decode") == 0) {
            b.decode_bytes = (int64_t)atoi(argv[i + 1]) << 20;
        } else if (strcmp(argv[i], "--clock") == 0) {
            clock_id = strcmp(argv[i + 1], "cpu") == 0 ? CLOCK_THREAD_CPUTIME_ID
                                                       : CLOCK_MONOTONIC;
        } else if (strcmp(argv[i], "--attention") == 0) {
            b.attention_bytes = (int64_t)atoi(argv[i + 1]) << 20;
        }
    }
    if (level < 0 || rounds < 1 || rounds > ROUNDS_MAX || t.count < 1 ||
        t.count > THREADS_MAX) {
        fprintf(stderr, "bench_cpu_kernels: no usable level, or bad options\n");
        return 1;
    }
    b.team = &t;
    check(pq_jit_create(NULL, &host, (pq_isa)level, &b.jit));
    double start = now();
    add_cases(&b);
    printf("%s, %s, %u threads, %d rounds, %d cases prepared in %.0f ms\n",
           pq_isa_name((pq_isa)level), pq_jit_llvm_version(), t.count, rounds,
           b.count, 1e3 * (now() - start));
    for (uint32_t i = 0; i < t.count; i++) {
        t.scratch[i] = host_alloc(NULL, b.scratch_bytes + 4096, 4096);
        members[i] = (member){&t, i};
        if (i > 0 &&
            pthread_create(&t.thread[i], NULL, member_main, &members[i]) != 0) {
            return 1;
        }
    }
    for (int i = 0; i < b.count; i++) {
        bench_case *c = &b.cases[i];
        c->repeats = 1;
        time_case(&t, c);
        double once = time_case(&t, c);
        c->repeats = once > 2e-3 ? 1 : (int)(2e-3 / once) + 1;
    }
    for (int r = 0; r < rounds; r++) {
        for (int i = 0; i < b.count; i++) {
            b.cases[i].seconds[r] = time_case(&t, &b.cases[i]);
        }
    }
    report(&b, rounds);
    t.stop = 1;
    atomic_fetch_add(&t.round, 1);
    for (uint32_t i = 1; i < t.count; i++) {
        pthread_join(t.thread[i], NULL);
    }
    pq_jit_destroy(b.jit);
    return 0;
}
