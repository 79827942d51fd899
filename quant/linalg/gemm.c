// SPDX-License-Identifier: Apache-2.0
//
// Blocked products (Goto and van de Geijn, 2008): blocks of b of cols_max
// columns and PQ_GEMM_BLOCK terms are packed by all workers together, then
// each takes blocks of rows of a, packs and multiplies them. Who takes which
// block does not change a bit.

#include "quant/linalg/gemm.h"

#include <stdatomic.h>

#include "base/checked.h"
#include "base/threads.h"

#define ROWS_MAX    192 // of a block of a: 192 KiB, half of a second level cache
#define COLS_MAX    2048 // of a block of b: 2 MiB
#define ALONE_BELOW 1e6  // products: some 20 us, fork and join are not free
#define PARTS       4    // blocks of a that each worker finds, or smaller ones

typedef struct pq_gemm_job {
    const pq_gemm_space *space;
    const pq_gemm *desc;
    atomic_llong next; // block of rows not yet taken
} pq_gemm_job;

// The block of b that is multiplied.
typedef struct pq_gemm_block {
    int64_t col, cols; // of c
    int64_t k, terms;
} pq_gemm_block;

static int64_t
least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static int64_t
round_up(int64_t n, int64_t step)
{
    return (n + step - 1) / step * step;
}

// ---- memory ---------------------------------------------------------------

ptqc_status
pq_gemm_space_init(pq_gemm_space *s, ptqc_ctx *ctx, const pq_micro *micro,
                   int64_t m, int64_t n)
{
    *s = (pq_gemm_space){.ctx = ctx,
                         .micro = micro != NULL ? micro : pq_micro_best(),
                         .pool = pq_ctx_pool(ctx)};
    PQ_TRY_ALLOC(s->pool);
    int64_t mr = s->micro->mr;
    int64_t nr = s->micro->nr;
    uint32_t workers = pq_pool_width(s->pool);
    s->rows_max =
        round_up(least(pq_ceil_div(m, PARTS * workers), ROWS_MAX), mr);
    s->cols_max = round_up(least(n, COLS_MAX), nr);
    s->a = pq_alloc_array(ctx, workers * (size_t)s->rows_max,
                          PQ_GEMM_BLOCK * sizeof *s->a);
    PQ_TRY_ALLOC(s->a);
    s->b =
        pq_alloc_array(ctx, (size_t)s->cols_max, PQ_GEMM_BLOCK * sizeof *s->b);
    PQ_TRY_ALLOC(s->b);
    return PTQC_OK;
}

void
pq_gemm_space_deinit(pq_gemm_space *s)
{
    pq_free(s->ctx, s->a);
    pq_free(s->ctx, s->b);
}

// ---- one tile -------------------------------------------------------------

// Adds the tile whose first element is c[row][col].
static void
add_tile(const pq_gemm_job *job, const float *tile, int64_t row, int64_t col)
{
    const pq_gemm *g = job->desc;
    const pq_micro *micro = job->space->micro;
    int m = (int)least(g->m - row, micro->mr);
    int n = (int)least(g->n - col, micro->nr);
    float *c = g->c + row * g->c_ld + col;
    bool is_whole =
        g->part == PQ_PART_ALL ||
        (g->part == PQ_PART_LOWER ? row >= col + n - 1 : row + m - 1 <= col);
    if (is_whole) {
        micro->add(tile, m, n, g->is_subtracted, c, g->c_ld);
        return;
    }
    for (int i = 0; i < m; i++) {
        int64_t diagonal = row + i - col; // its place in this row
        int64_t first = g->part == PQ_PART_LOWER ? 0 : diagonal;
        int64_t end = g->part == PQ_PART_LOWER ? diagonal + 1 : n;
        first = first > 0 ? first : 0;
        end = least(end, n);
        if (first < end) {
            micro->add(tile + i * micro->nr + first, 1, (int)(end - first),
                       g->is_subtracted, c + i * g->c_ld + first, g->c_ld);
        }
    }
}

// Whether any element of the rectangle is wanted.
static bool
is_wanted(const pq_gemm *g, int64_t row, int64_t rows, int64_t col,
          int64_t cols)
{
    switch (g->part) {
    case PQ_PART_ALL:
        return true;
    case PQ_PART_LOWER:
        return row + rows > col;
    case PQ_PART_UPPER:
        return row < col + cols;
    }
    return true;
}

// ---- blocks ---------------------------------------------------------------

static void
pack_b(const pq_gemm_job *job, const pq_gemm_block *block, uint32_t worker,
       uint32_t width)
{
    const pq_matrix *b = &job->desc->b;
    const pq_micro *micro = job->space->micro;
    int64_t panels = pq_ceil_div(block->cols, micro->nr);
    for (int64_t i = worker; i < panels; i += width) {
        int64_t col = i * micro->nr;
        micro->pack_nr(b->p + block->k * b->row + (block->col + col) * b->col,
                       b->col, b->row, (int)least(block->cols - col, micro->nr),
                       block->terms, NULL, job->space->b + col * block->terms);
    }
}

static void
pack_a(const pq_gemm_job *job, const pq_gemm_block *block, int64_t row,
       int64_t rows, float *out)
{
    const pq_matrix *a = &job->desc->a;
    const pq_micro *micro = job->space->micro;
    const float *weights = job->desc->weights;
    for (int64_t i = 0; i < rows; i += micro->mr) {
        micro->pack_mr(a->p + (row + i) * a->row + block->k * a->col, a->row,
                       a->col, (int)least(rows - i, micro->mr), block->terms,
                       weights != NULL ? weights + block->k : NULL,
                       out + i * block->terms);
    }
}

// Rows [row, row + rows) of c, from the packed block of b.
static void
multiply_rows(const pq_gemm_job *job, const pq_gemm_block *block, int64_t row,
              int64_t rows, float *a)
{
    const pq_gemm *g = job->desc;
    const pq_micro *micro = job->space->micro;
    _Alignas(64) float tile[PQ_TILE_MAX];
    pack_a(job, block, row, rows, a);
    for (int64_t j = 0; j < block->cols; j += micro->nr) {
        const float *b = job->space->b + j * block->terms;
        for (int64_t i = 0; i < rows; i += micro->mr) {
            if (is_wanted(g, row + i, micro->mr, block->col + j, micro->nr)) {
                micro->product(block->terms, a + i * block->terms, b, tile);
                add_tile(job, tile, row + i, block->col + j);
            }
        }
    }
}

static void
multiply_block(pq_gemm_job *job, const pq_gemm_block *block, uint32_t worker)
{
    const pq_gemm_space *s = job->space;
    const pq_gemm *g = job->desc;
    float *a = s->a + worker * s->rows_max * PQ_GEMM_BLOCK;
    for (;;) {
        int64_t row = atomic_fetch_add(&job->next, 1) * s->rows_max;
        if (row >= g->m) {
            return;
        }
        int64_t rows = least(g->m - row, s->rows_max);
        if (is_wanted(g, row, rows, block->col, block->cols)) {
            multiply_rows(job, block, row, rows, a);
        }
    }
}

static void
region(void *user, uint32_t worker, uint32_t width, void *barrier)
{
    pq_gemm_job *job = user;
    const pq_gemm *g = job->desc;
    const pq_gemm_space *s = job->space;
    for (int64_t col = 0; col < g->n; col += s->cols_max) {
        for (int64_t k = 0; k < g->k; k += PQ_GEMM_BLOCK) {
            pq_gemm_block block = {col, least(g->n - col, s->cols_max), k,
                                   least(g->k - k, PQ_GEMM_BLOCK)};
            pack_b(job, &block, worker, width);
            if (worker == 0) {
                atomic_store(&job->next, 0);
            }
            pq_region_barrier(barrier);
            multiply_block(job, &block, worker);
            pq_region_barrier(barrier);
        }
    }
}

// On the calling thread alone: a region inside a job is of width 1.
static void
region_alone(void *user, uint64_t begin, uint64_t end, uint32_t worker)
{
    pq_gemm_job *job = user;
    (void)begin;
    (void)end;
    (void)worker;
    pq_pool_run(job->space->pool, region, job);
}

void
pq_gemm_compute(const pq_gemm_space *space, const pq_gemm *desc)
{
    pq_gemm_job job = {.space = space, .desc = desc};
    double products = (double)desc->m * (double)desc->n * (double)desc->k;
    if (products < ALONE_BELOW) {
        pq_pool_for(space->pool, 1, 1, region_alone, &job);
    } else {
        pq_pool_run(space->pool, region, &job);
    }
}

ptqc_status
pq_gemm_run(ptqc_ctx *ctx, const pq_gemm *desc)
{
    pq_gemm_space space;
    PQ_TRY(pq_check_cancelled(ctx));
    ptqc_status st = pq_gemm_space_init(&space, ctx, NULL, desc->m, desc->n);
    if (st == PTQC_OK) {
        pq_gemm_compute(&space, desc);
    }
    pq_gemm_space_deinit(&space);
    return st;
}
