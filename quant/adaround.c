// SPDX-License-Identifier: Apache-2.0
//
// AdaRound on the Gram matrix, see adaround.h. An iteration is one product e h
// and one step of Adam. h is scaled to a mean diagonal of 1 and the loss by
// that of a rounded weight, so that lambda and the learning rate mean the same
// for every layer. Few tokens estimate h badly: it is damped as GPTQ's.

#include "quant/adaround.h"

#include <math.h>
#include <string.h>

#include "quant/factor.h"
#include "quant/learned_codes.h"
#include "quant/linalg/gemm.h"
#include "quant/rows.h"

#define ITERATIONS    1000
#define LAMBDA        3.0f
#define LEARNING_RATE .03f

typedef struct pq_ada {
    const pq_adaround_desc *desc;
    pq_learned_codes learned; // owned
    pq_gemm_space space;      // owned
    float *h;                 // owned: [d][d] scaled, both triangles
    uint8_t *codes;           // result
} pq_ada;

// ---- optimization ---------------------------------------------------------

static ptqc_status
optimize(pq_ada *a)
{
    const pq_adaround_desc *desc = a->desc;
    pq_learned_codes *c = &a->learned;
    const pq_learning learning = {
        .iterations = desc->iterations > 0 ? desc->iterations : ITERATIONS,
        .rate = desc->learning_rate > 0 ? desc->learning_rate : LEARNING_RATE,
        .lambda = desc->lambda > 0 ? desc->lambda : LAMBDA};
    size_t bytes = (size_t)(desc->rows * desc->d) * sizeof(float);
    pq_gemm product = {.m = desc->rows,
                       .n = desc->d,
                       .k = desc->d,
                       .a = {c->e, desc->d, 1},
                       .b = {a->h, desc->d, 1},
                       .c = c->gradient,
                       .c_ld = desc->d};
    for (uint32_t i = 0; i < learning.iterations; i++) {
        PQ_TRY(pq_check_cancelled(a->space.ctx));
        memset(c->gradient, 0, bytes);
        pq_gemm_compute(&a->space, &product);
        pq_learned_codes_schedule(c, &learning, i);
        pq_learned_codes_step(c);
    }
    pq_learned_codes_decide(c, a->codes);
    return PTQC_OK;
}

// ---- all of it ------------------------------------------------------------

static ptqc_status
allocate(pq_ada *a, ptqc_ctx *ctx)
{
    const pq_adaround_desc *desc = a->desc;
    size_t d = (size_t)desc->d;
    const pq_weights view =
        pq_rows_view(desc->w, desc->rows, desc->d, &desc->scheme);
    PQ_TRY(pq_gemm_space_init(&a->space, ctx, NULL, desc->rows, desc->d));
    PQ_TRY(pq_learned_codes_init(&a->learned, ctx, &view, desc->scales,
                                 desc->zero_points));
    a->h = pq_alloc_array(ctx, d, d * sizeof *a->h);
    PQ_TRY_ALLOC(a->h);
    return PTQC_OK;
}

static void
deinit(pq_ada *a, ptqc_ctx *ctx)
{
    pq_gemm_space_deinit(&a->space);
    pq_learned_codes_deinit(&a->learned, ctx);
    pq_free(ctx, a->h);
}

// h [d][d] of mean diagonal 1, both triangles.
static void
damp(float *h, int64_t d, double tokens)
{
    double squares = 0;
    for (int64_t i = 0; i < d * d; i++) {
        squares += (double)h[i] * (double)h[i];
    }
    float damping =
        (float)pq_shrinking_damping(tokens, (double)d, (double)d, squares);
    for (int64_t i = 0; i < d; i++) {
        h[i * d + i] += damping;
    }
}

// h over its mean diagonal, damped; false when that is not a positive number.
static bool
scale_matrix(pq_ada *a)
{
    int64_t d = a->desc->d;
    double trace = 0;
    for (int64_t i = 0; i < d; i++) {
        trace += (double)a->desc->h[i * d + i];
    }
    if (!(trace > 0) || isinf(trace)) {
        return false;
    }
    float factor = (float)((double)d / trace);
    for (int64_t i = 0; i < d; i++) {
        for (int64_t j = 0; j <= i; j++) {
            a->h[i * d + j] = a->desc->h[i * d + j] * factor;
        }
    }
    pq_gram_mirror(a->h, d);
    if (a->desc->tokens > 0) {
        damp(a->h, d, a->desc->tokens);
    }
    return true;
}

static ptqc_status
loss_of(const pq_ada *a, ptqc_ctx *ctx, const uint8_t *codes, const float *h,
        double *out)
{
    return pq_rows_loss(ctx, &a->learned.view, a->desc->scales,
                        a->desc->zero_points, codes, h, out);
}

static ptqc_status
run(pq_ada *a, ptqc_ctx *ctx, pq_adaround_report *report)
{
    const pq_adaround_desc *desc = a->desc;
    const uint8_t *rounded = a->learned.rounded;
    size_t count = (size_t)(desc->rows * desc->d);
    double scaled_loss;
    PQ_TRY(loss_of(a, ctx, rounded, desc->h, &report->rounding_loss));
    bool is_good = scale_matrix(a) && isfinite(report->rounding_loss);
    if (is_good) {
        PQ_TRY(loss_of(a, ctx, rounded, a->h, &scaled_loss));
        is_good = scaled_loss > 0;
    }
    report->loss = HUGE_VAL;
    if (is_good) {
        a->learned.adam.factor = (float)((double)count / scaled_loss);
        PQ_TRY(optimize(a));
        PQ_TRY(loss_of(a, ctx, a->codes, desc->h, &report->loss));
    }
    if (!(report->loss < report->rounding_loss)) {
        report->loss = report->rounding_loss;
        report->is_rounding = true;
        memcpy(a->codes, rounded, count);
    }
    return PTQC_OK;
}

ptqc_status
pq_adaround(ptqc_ctx *ctx, const pq_adaround_desc *desc, uint8_t *out_codes,
            pq_adaround_report *out_report)
{
    pq_adaround_report report = {0};
    pq_ada a = {.desc = desc, .space = {.ctx = ctx}, .codes = out_codes};
    PQ_TRY(pq_learned_codes_check(ctx, desc->name, &desc->scheme));
    ptqc_status st = allocate(&a, ctx);
    if (st == PTQC_OK) {
        st = run(&a, ctx, &report);
    }
    if (st == PTQC_OK) {
        pq_learned_codes_tell(ctx, desc->name, &report, out_report);
    }
    deinit(&a, ctx);
    return st;
}
