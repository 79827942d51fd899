// SPDX-License-Identifier: Apache-2.0
//
// The asymmetric target, see gptq.h: the factor's r gives w (cross + l) (r
// r')^-1 by two triangular solves, columns in the factor's order.

#include <string.h>

#include "base/threads.h"
#include "quant/factor.h"

typedef struct pq_target_job {
    const pq_factor *factor;
    const float *w;
    float *straight; // [rows][d] columns in the weight's order
    float *ordered;  // [rows][d] in the factor's
    float blend;
} pq_target_job;

// ordered = scaling (w cross + l w), w cross in `straight`.
static void
order_rows(void *user, uint64_t begin, uint64_t end, uint32_t worker)
{
    const pq_target_job *job = user;
    const pq_factor *f = job->factor;
    float damping = (float)(f->damping * f->scaling);
    float scaling = (float)f->scaling;
    (void)worker;
    for (uint64_t r = begin; r < end; r++) {
        int64_t first = (int64_t)r * f->d;
        for (int64_t i = 0; i < f->d; i++) {
            int64_t from = first + f->order[i];
            job->ordered[first + i] =
                job->straight[from] * scaling + job->w[from] * damping;
        }
    }
}

static void
blend_rows(void *user, uint64_t begin, uint64_t end, uint32_t worker)
{
    const pq_target_job *job = user;
    const pq_factor *f = job->factor;
    (void)worker;
    for (uint64_t r = begin; r < end; r++) {
        int64_t first = (int64_t)r * f->d;
        for (int64_t i = 0; i < f->d; i++) {
            int64_t to = first + f->order[i];
            float change = job->ordered[first + i] - job->w[to];
            job->straight[to] = job->w[to] + job->blend * change;
        }
    }
}

static ptqc_status
solve(ptqc_ctx *ctx, const pq_target_job *job, int64_t rows, const float *cross)
{
    int64_t d = job->factor->d;
    const float *r = job->factor->r;
    pq_target_job copy = *job;
    struct pq_pool *pool = pq_ctx_pool(ctx);
    PQ_TRY_ALLOC(pool);
    pq_gemm product = {.m = rows,
                       .n = d,
                       .k = d,
                       .a = {job->w, d, 1},
                       .b = {cross, d, 1},
                       .c = job->straight,
                       .c_ld = d};
    memset(job->straight, 0, (size_t)(rows * d) * sizeof *job->straight);
    PQ_TRY(pq_gemm_run(ctx, &product));
    pq_pool_for(pool, (uint64_t)rows, 4, order_rows, &copy);
    PQ_TRY(pq_solve_rows(ctx, r, d, PQ_SOLVE_R_TRANSPOSED, job->ordered, rows));
    PQ_TRY(pq_solve_rows(ctx, r, d, PQ_SOLVE_R, job->ordered, rows));
    pq_pool_for(pool, (uint64_t)rows, 4, blend_rows, &copy);
    return PTQC_OK;
}

ptqc_status
pq_target(ptqc_ctx *ctx, const pq_factor *factor, const float *w, int64_t rows,
          const float *cross, float blend, float *out)
{
    size_t count = (size_t)(rows * factor->d);
    if (factor->r == NULL) {
        memcpy(out, w, count * sizeof *out);
        return PTQC_OK;
    }
    pq_target_job job = {factor, w, out, NULL, blend > 0 ? blend : 1.0f};
    job.ordered = pq_alloc_array(ctx, count, sizeof *job.ordered);
    PQ_TRY_ALLOC(job.ordered);
    ptqc_status st = solve(ctx, &job, rows, cross);
    pq_free(ctx, job.ordered);
    return st;
}
