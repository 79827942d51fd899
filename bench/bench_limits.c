// SPDX-License-Identifier: Apache-2.0
//
// What this machine can do at most: reading memory, f32 multiply-add, int8 dot
// product, AMX int8. Benchmarks call it between their rounds, since read
// bandwidth moves with what else the machine does.
//
//     bench_limits [--threads N] [--mib N] [--rounds N] [--json]
//
// A read is the best of one and four streams per thread, each without and with
// prefetching; the figure is the median of the rounds. Instruction peaks are
// the best round. 1 multiply-add = 2 operations; GB = 1e9 bytes.
//
// The loops are assembly, so that no compiler makes less of them.
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "backends/cpu/jit.h"

#if defined(__x86_64__)

#define THREADS_MAX 256
#define ROUNDS_MAX  101
#define PEAK_ROUNDS UINT64_C(1000000)

// ---- all threads at once ---------------------------------------------------

typedef void (*work_fn)(void *user, uint32_t thread);

typedef struct job {
    work_fn work;
    void *user;
    pthread_barrier_t *gate; // borrowed: all start together
    uint32_t thread;
    double start, end;
} job;

static double
now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void *
job_main(void *user)
{
    job *j = user;
    pthread_barrier_wait(j->gate);
    j->start = now();
    j->work(j->user, j->thread);
    j->end = now();
    return NULL;
}

// -> seconds from the first start to the last end.
static double
run_all(uint32_t threads, work_fn work, void *user)
{
    static job jobs[THREADS_MAX];
    pthread_t ids[THREADS_MAX];
    pthread_barrier_t gate;
    pthread_barrier_init(&gate, NULL, threads);
    for (uint32_t i = 0; i < threads; i++) {
        jobs[i] = (job){.work = work, .user = user, .gate = &gate, .thread = i};
        if (i > 0 && pthread_create(&ids[i], NULL, job_main, &jobs[i]) != 0) {
            fprintf(stderr, "bench_limits: no thread %u\n", i);
            exit(1);
        }
    }
    job_main(&jobs[0]);
    double start = jobs[0].start, end = jobs[0].end;
    for (uint32_t i = 1; i < threads; i++) {
        pthread_join(ids[i], NULL);
        start = jobs[i].start < start ? jobs[i].start : start;
        end = jobs[i].end > end ? jobs[i].end : end;
    }
    pthread_barrier_destroy(&gate);
    return end - start;
}

// ---- instruction peaks -----------------------------------------------------

// Twelve independent accumulators in registers 4 to 15.
#define CHAINS 12
#define CLOBBERED                                                              \
    "xmm0", "xmm1", "xmm2", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9",    \
        "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15", "cc"
#define PEAK_LOOP(zero, body)                                                  \
    uint64_t left = PEAK_ROUNDS;                                               \
    __asm__ volatile(                                                          \
        ".irp r,0,1,4,5,6,7,8,9,10,11,12,13,14,15\n\t" zero "\n\t.endr\n"      \
        "1:\n\t"                                                               \
        ".irp r,4,5,6,7,8,9,10,11,12,13,14,15\n\t" body "\n\t.endr\n\t"        \
        "dec %0\n\t"                                                           \
        "jnz 1b\n\t"                                                           \
        "vzeroupper"                                                           \
        : "+r"(left)                                                           \
        :                                                                      \
        : CLOBBERED)

static void
fma_256(void *user, uint32_t thread)
{
    (void)user;
    (void)thread;
    PEAK_LOOP("vpxor %%ymm\\r, %%ymm\\r, %%ymm\\r",
              "vfmadd231ps %%ymm0, %%ymm1, %%ymm\\r");
}

static void
fma_512(void *user, uint32_t thread)
{
    (void)user;
    (void)thread;
    PEAK_LOOP("vpxord %%zmm\\r, %%zmm\\r, %%zmm\\r",
              "vfmadd231ps %%zmm0, %%zmm1, %%zmm\\r");
}

// Without VNNI: bytes to sums of pairs to sums of four to the accumulator.
static void
dot_256(void *user, uint32_t thread)
{
    (void)user;
    (void)thread;
    PEAK_LOOP("vpxor %%ymm\\r, %%ymm\\r, %%ymm\\r",
              "vpmaddubsw %%ymm0, %%ymm1, %%ymm2\n\t"
              "vpmaddwd %%ymm0, %%ymm2, %%ymm2\n\t"
              "vpaddd %%ymm2, %%ymm\\r, %%ymm\\r");
}

static void
dot_512(void *user, uint32_t thread)
{
    (void)user;
    (void)thread;
    PEAK_LOOP("vpxord %%zmm\\r, %%zmm\\r, %%zmm\\r",
              "vpdpbusd %%zmm0, %%zmm1, %%zmm\\r");
}

// ---- AMX -------------------------------------------------------------------

typedef struct tile_config {
    uint8_t palette, start_row, reserved[14];
    uint16_t row_bytes[16];
    uint8_t rows[16];
} tile_config;

// Four products of 16x64 by 64x16 bytes, as in a 2x2 block.
static void
tiles(void *user, uint32_t thread)
{
    uint8_t data[1024];
    uint64_t left = PEAK_ROUNDS / 16, stride = 64;
    tile_config config = {.palette = 1};
    (void)user;
    for (int i = 0; i < 8; i++) {
        config.row_bytes[i] = 64;
        config.rows[i] = 16;
    }
    for (size_t i = 0; i < sizeof data; i++) {
        data[i] = (uint8_t)((i * 2654435761u + thread) >> 11);
    }
    __asm__ volatile(
        "ldtilecfg %[config]\n\t"
        ".irp r,0,1,2,3\n\ttilezero %%tmm\\r\n\t.endr\n\t"
        ".irp r,4,5,6,7\n\t"
        "tileloadd (%[data],%[stride],1), %%tmm\\r\n\t"
        ".endr\n"
        "1:\n\t"
        "tdpbssd %%tmm6, %%tmm4, %%tmm0\n\t"
        "tdpbssd %%tmm7, %%tmm4, %%tmm1\n\t"
        "tdpbssd %%tmm6, %%tmm5, %%tmm2\n\t"
        "tdpbssd %%tmm7, %%tmm5, %%tmm3\n\t"
        "dec %[left]\n\t"
        "jnz 1b\n\t"
        "tilerelease"
        : [left] "+r"(left)
        : [config] "m"(config), [data] "r"(data), [stride] "r"(stride)
        : "memory", "cc");
}

// The kernel gives tiles to processes that ask.
static bool
ask_for_tiles(void)
{
    enum { REQ_XCOMP_PERM = 0x1023, TILE_DATA = 18 };
    return syscall(SYS_arch_prctl, REQ_XCOMP_PERM, TILE_DATA) == 0;
}

// ---- reading ---------------------------------------------------------------

typedef struct read_job {
    const uint8_t *p;
    size_t bytes; // of each thread
    bool four_streams, prefetches;
} read_job;

#define LINE(at)                                                               \
    "vpor " at ", %%ymm4, %%ymm4\n\tvpor 32" at ", %%ymm5, %%ymm5\n\t"
#define LINES                                                                  \
    LINE("(%[p])")                                                             \
    LINE("(%[p],%[gap])")                                                      \
    LINE("(%[p],%[gap],2)")                                                    \
    LINE("(%[last])")
#define AHEAD(at) "prefetcht0 2048" at "\n\t"
#define PREFETCHES                                                             \
    AHEAD("(%[p])")                                                            \
    AHEAD("(%[p],%[gap])")                                                     \
    AHEAD("(%[p],%[gap],2)")                                                   \
    AHEAD("(%[last])")
#define READ_LOOP(body)                                                        \
    __asm__ volatile("1:\n\t" body "add %[step], %[p]\n\t"                     \
                     "add %[step], %[last]\n\t"                                \
                     "dec %[left]\n\t"                                         \
                     "jnz 1b\n\t"                                              \
                     "vzeroupper"                                              \
                     : [p] "+r"(p), [last] "+r"(last), [left] "+r"(left)       \
                     : [gap] "r"(gap), [step] "r"(step)                        \
                     : "memory", "xmm4", "xmm5", "cc")

// Four lines of 64 bytes at a time: neighbours, or one of each quarter.
static void
read_lines(void *user, uint32_t thread)
{
    const read_job *j = user;
    const uint8_t *p = j->p + j->bytes * thread;
    size_t left = j->bytes / 256;
    size_t gap = j->four_streams ? j->bytes / 4 : 64;
    size_t step = j->four_streams ? 64 : 256;
    const uint8_t *last = p + 3 * gap;
    if (j->prefetches) {
        READ_LOOP(PREFETCHES LINES);
    } else {
        READ_LOOP(LINES);
    }
}

// The threads that read a part also touch it first.
static void
touch(void *user, uint32_t thread)
{
    const read_job *j = user;
    memset((uint8_t *)(uintptr_t)j->p + j->bytes * thread, 1 + (int)thread,
           j->bytes);
}

// ---- measuring -------------------------------------------------------------

typedef struct limits {
    double read, plain, f32, int8, amx; // per second; 0: absent
} limits;

static int
compare_doubles(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double
median(double *x, uint32_t n)
{
    qsort(x, n, sizeof *x, compare_doubles);
    return x[n / 2];
}

static void
keep_best(double *best, double amount, double seconds)
{
    double x = amount / seconds;
    *best = x > *best ? x : *best;
}

// One round of reading; *plain is without prefetching.
static void
measure_read(read_job *j, uint32_t threads, double *best, double *plain)
{
    *best = *plain = 0;
    for (int kind = 0; kind < 4; kind++) {
        j->four_streams = (kind & 1) != 0;
        j->prefetches = (kind & 2) != 0;
        double seconds = run_all(threads, read_lines, j);
        double bytes = (double)j->bytes * threads;
        keep_best(best, bytes, seconds);
        if (!j->prefetches) {
            keep_best(plain, bytes, seconds);
        }
    }
}

static void
measure_peaks(pq_isa isa, uint32_t threads, limits *out)
{
    bool is_wide = isa >= PQ_ISA_AVX512, has_vnni = isa >= PQ_ISA_VNNI;
    double f32 = 2.0 * CHAINS * (is_wide ? 16 : 8) * PEAK_ROUNDS * threads;
    double int8 = 2.0 * CHAINS * (has_vnni ? 64 : 32) * PEAK_ROUNDS * threads;
    keep_best(&out->f32, f32,
              run_all(threads, is_wide ? fma_512 : fma_256, NULL));
    keep_best(&out->int8, int8,
              run_all(threads, has_vnni ? dot_512 : dot_256, NULL));
    if (isa == PQ_ISA_AMX && ask_for_tiles()) {
        double amx = 4 * 2.0 * 16 * 16 * 64 * (PEAK_ROUNDS / 16) * threads;
        keep_best(&out->amx, amx, run_all(threads, tiles, NULL));
    }
}

static limits
measure(pq_isa isa, uint32_t threads, size_t bytes, uint32_t rounds)
{
    limits out = {0};
    double read[ROUNDS_MAX], plain[ROUNDS_MAX];
    size_t part = bytes / threads / 4096 * 4096;
    size_t room = part * threads + 4096; // prefetches run past the end
    void *p = mmap(NULL, room, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED) {
        fprintf(stderr, "bench_limits: no memory\n");
        exit(1);
    }
    (void)madvise(p, room, MADV_HUGEPAGE);
    read_job j = {.p = p, .bytes = part};
    run_all(threads, touch, &j);
    for (uint32_t r = 0; r < rounds; r++) {
        measure_read(&j, threads, &read[r], &plain[r]);
        measure_peaks(isa, threads, &out);
    }
    munmap(p, room);
    out.read = median(read, rounds);
    out.plain = median(plain, rounds);
    return out;
}

// ---- options ---------------------------------------------------------------

static void
print(pq_isa isa, uint32_t threads, const limits *l, bool is_json)
{
    const char *format =
        is_json ? "{\"isa\": \"%s\", \"threads\": %u, \"read_gb_s\": %.3f, "
                  "\"plain_gb_s\": %.3f, \"f32_gops\": %.2f, \"int8_gops\": "
                  "%.2f, \"amx_gops\": %.2f}\n"
                : "%s, %u threads: read %.1f GB/s (without prefetching %.1f), "
                  "f32 %.1f GOPS, int8 %.1f GOPS, AMX int8 %.1f GOPS\n";
    printf(format, pq_isa_name(isa), threads, l->read * 1e-9, l->plain * 1e-9,
           l->f32 * 1e-9, l->int8 * 1e-9, l->amx * 1e-9);
}

static uint32_t
number_after(int argc, char **argv, int at)
{
    return at + 1 < argc ? (uint32_t)strtoul(argv[at + 1], NULL, 10) : 0;
}

int
main(int argc, char **argv)
{
    uint32_t threads = 1, mib = 512, rounds = 5;
    bool is_json = false;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--json") == 0) {
            is_json = true;
        } else if (strcmp(argv[i], "--threads") == 0) {
            threads = number_after(argc, argv, i++);
        } else if (strcmp(argv[i], "--mib") == 0) {
            mib = number_after(argc, argv, i++);
        } else if (strcmp(argv[i], "--rounds") == 0) {
            rounds = number_after(argc, argv, i++);
        } else {
            threads = 0;
        }
    }
    int isa = pq_isa_detect();
    if (isa < 0 || threads < 1 || threads > THREADS_MAX || mib < 1 ||
        rounds < 1 || rounds > ROUNDS_MAX) {
        fprintf(stderr, "bench_limits: no usable level, or bad options\n");
        return 1;
    }
    limits l = measure((pq_isa)isa, threads, (size_t)mib << 20, rounds);
    print((pq_isa)isa, threads, &l, is_json);
    return 0;
}

#else

int
main(void)
{
    fprintf(stderr, "bench_limits: only for x86-64\n");
    return 1;
}

#endif
