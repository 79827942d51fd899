// SPDX-License-Identifier: Apache-2.0
//
// Gram matrices and Cholesky factors of quant/linalg beside OpenBLAS's SSYRK
// and SPOTRF, in one run, at the same number of threads.
//
//     bench_linalg [--threads N] [--rounds N] [--largest D] [--clock cpu]
//         [--blas PATH]
//
// OpenBLAS is opened at run time (libopenblas.so.0; --blas another one);
// without it only our own rates are printed. Ours and theirs alternate; a row
// is the medians. OpenBLAS's threads go on asking for work for 2^26 cycles
// after a call, on cores that ours need: so there is a rest before each side,
// and a call that is not measured. Rates are operations: d (d + 1) n of a Gram
// matrix, d^3 / 3 of a factor. --clock cpu: time of the process's threads over
// their number, for machines that others use.
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "quant/linalg.h"

#define ROUNDS_MAX 101
#define TOKENS     4096

static const int64_t sizes[] = {576, 1536, 2048, 4096};
#define SIZES (sizeof sizes / sizeof *sizes)

// ---- OpenBLAS -------------------------------------------------------------

enum { ROW_MAJOR = 101, LOWER = 122, TRANSPOSED = 112 };

typedef struct blas {
    void (*threads)(int n);
    void (*syrk)(int order, int part, int transposed, int n, int k, float alpha,
                 const float *a, int lda, float beta, float *c, int ldc);
    void (*potrf)(const char *part, const int *n, float *a, const int *lda,
                  int *info);
    char *(*config)(void);
} blas;

static bool
open_blas(const char *path, blas *out)
{
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (library == NULL) {
        printf("no OpenBLAS: %s\n", dlerror());
        return false;
    }
    // A data pointer becomes a function pointer: POSIX allows it.
    *(void **)&out->threads = dlsym(library, "openblas_set_num_threads");
    *(void **)&out->syrk = dlsym(library, "cblas_ssyrk");
    *(void **)&out->potrf = dlsym(library, "spotrf_");
    *(void **)&out->config = dlsym(library, "openblas_get_config");
    return out->threads != NULL && out->syrk != NULL && out->potrf != NULL &&
           out->config != NULL;
}

// ---- cases ----------------------------------------------------------------

typedef struct options {
    uint32_t threads;
    int rounds;
    const char *blas;
    clockid_t clock;
    int64_t largest; // size of matrix
} options;

typedef struct bench {
    options options;
    ptqc_ctx *ctx;
    bool has_blas;
    blas blas;
    int64_t d;
    float *x;           // [TOKENS][d]
    float *h, *scratch; // [d][d]
} bench;

static double
seconds(const bench *b)
{
    struct timespec t;
    (void)clock_gettime(b->options.clock, &t);
    double s = (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
    return b->options.clock == CLOCK_MONOTONIC ? s : s / b->options.threads;
}

static void
check(ptqc_status st)
{
    if (st != PTQC_OK) {
        fprintf(stderr, "failed: %s\n", ptqc_status_name(st));
        exit(1);
    }
}

typedef double (*case_fn)(bench *b);

static double
our_gram(bench *b)
{
    double start = seconds(b);
    check(pq_gram_add(b->ctx, b->x, TOKENS, b->d, NULL, b->scratch));
    return seconds(b) - start;
}

static double
their_gram(bench *b)
{
    double start = seconds(b);
    b->blas.syrk(ROW_MAJOR, LOWER, TRANSPOSED, (int)b->d, TOKENS, 1, b->x,
                 (int)b->d, 1, b->scratch, (int)b->d);
    return seconds(b) - start;
}

static double
our_factor(bench *b)
{
    int64_t bad;
    memcpy(b->scratch, b->h, (size_t)(b->d * b->d) * sizeof *b->h);
    double start = seconds(b);
    check(pq_cholesky(b->ctx, b->scratch, b->d, &bad));
    return bad < 0 ? seconds(b) - start : 0;
}

static double
their_factor(bench *b)
{
    int n = (int)b->d;
    int info;
    memcpy(b->scratch, b->h, (size_t)(b->d * b->d) * sizeof *b->h);
    double start = seconds(b);
    b->blas.potrf("L", &n, b->scratch, &n, &info);
    return info == 0 ? seconds(b) - start : 0;
}

static int
compare_doubles(const void *a, const void *b)
{
    double x = *(const double *)a;
    double y = *(const double *)b;
    return (x > y) - (x < y);
}

static double
median(double *x, int n)
{
    qsort(x, (size_t)n, sizeof *x, compare_doubles);
    return x[n / 2];
}

// Until all threads sleep.
static void
rest(void)
{
    const struct timespec t = {.tv_nsec = 60 * 1000 * 1000};
    (void)nanosleep(&t, NULL);
}

static double
measure(bench *b, case_fn one)
{
    rest();
    (void)one(b); // wakes the threads
    return one(b);
}

static void
run_case(bench *b, const char *name, double operations, case_fn ours,
         case_fn theirs)
{
    double mine[ROUNDS_MAX];
    double other[ROUNDS_MAX] = {0};
    for (int i = -1; i < b->options.rounds; i++) { // the first one warms up
        double m = measure(b, ours);
        double o = b->has_blas ? measure(b, theirs) : 0;
        if (i >= 0) {
            mine[i] = m;
            other[i] = o;
        }
    }
    double m = median(mine, b->options.rounds);
    double o = median(other, b->options.rounds);
    printf("| %-6s | %5lld | %u | %8.3f | %6.1f | %8.3f | %6.1f | %.2f |\n",
           name, (long long)b->d, b->options.threads, m * 1e3,
           operations / m * 1e-9, o * 1e3, o > 0 ? operations / o * 1e-9 : 0,
           m > 0 ? o / m : 0);
}

static void
fill(bench *b)
{
    uint64_t state = 88172645463325252u; // xorshift64 (Marsaglia, 2003)
    for (int64_t i = 0; i < TOKENS * b->d; i++) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        b->x[i] = (float)(int32_t)(state >> 32) * 0x1p-31f;
    }
    memset(b->h, 0, (size_t)(b->d * b->d) * sizeof *b->h);
    check(pq_gram_add(b->ctx, b->x, TOKENS, b->d, NULL, b->h));
    pq_gram_mirror(b->h, b->d);
    for (int64_t i = 0; i < b->d; i++) {
        b->h[i * b->d + i] *= 1.05f;
    }
}

static void
run_size(bench *b, int64_t d)
{
    size_t square = (size_t)(d * d) * sizeof(float);
    b->d = d;
    b->x = malloc((size_t)(TOKENS * d) * sizeof *b->x);
    b->h = malloc(square);
    b->scratch = calloc(1, square);
    if (b->x == NULL || b->h == NULL || b->scratch == NULL) {
        exit(1);
    }
    fill(b);
    double n = (double)d;
    run_case(b, "gram", n * (n + 1) * TOKENS, our_gram, their_gram);
    run_case(b, "factor", n * n * n / 3, our_factor, their_factor);
    free(b->x);
    free(b->h);
    free(b->scratch);
}

static options
parse(int argc, char **argv)
{
    options o = {1, 7, "libopenblas.so.0", CLOCK_MONOTONIC, INT64_MAX};
    for (int i = 1; i + 1 < argc; i += 2) {
        if (strcmp(argv[i], "--threads") == 0) {
            o.threads = (uint32_t)strtoul(argv[i + 1], NULL, 10);
        } else if (strcmp(argv[i], "--rounds") == 0) {
            o.rounds = (int)strtol(argv[i + 1], NULL, 10);
        } else if (strcmp(argv[i], "--largest") == 0) {
            o.largest = strtoll(argv[i + 1], NULL, 10);
        } else if (strcmp(argv[i], "--blas") == 0) {
            o.blas = argv[i + 1];
        } else if (strcmp(argv[i], "--clock") == 0) {
            o.clock = strcmp(argv[i + 1], "cpu") == 0 ? CLOCK_PROCESS_CPUTIME_ID
                                                      : CLOCK_MONOTONIC;
        } else {
            fprintf(stderr, "unknown option %s\n", argv[i]);
            exit(2);
        }
    }
    o.rounds = o.rounds < 1 || o.rounds > ROUNDS_MAX ? 7 : o.rounds;
    o.threads = o.threads < 1 ? 1 : o.threads;
    return o;
}

int
main(int argc, char **argv)
{
    bench b = {.options = parse(argc, argv)};
    ptqc_ctx_desc desc = {.threads = b.options.threads};
    check(ptqc_ctx_create(&desc, &b.ctx));
    b.has_blas = open_blas(b.options.blas, &b.blas);
    if (b.has_blas) {
        b.blas.threads((int)b.options.threads);
        printf("%s\n", b.blas.config());
    }
    printf("| case | d | t | ms | GOPS | OpenBLAS ms | GOPS | rate over it |\n"
           "|---|---|---|---|---|---|---|---|\n");
    for (size_t i = 0; i < SIZES && sizes[i] <= b.options.largest; i++) {
        run_size(&b, sizes[i]);
    }
    ptqc_ctx_destroy(b.ctx);
    return 0;
}
