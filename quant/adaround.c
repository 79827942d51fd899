// SPDX-License-Identifier: Apache-2.0
//
// AdaRound on the Gram matrix, see adaround.h. An iteration is one product e h
// and one step of Adam. h is scaled to a mean diagonal of 1 and the loss by
// that of a rounded weight, so that lambda and the learning rate mean the same
// for every layer. Few tokens estimate h badly: it is damped as GPTQ's.

#include "quant/adaround.h"

#include <math.h>
#include <string.h>

#include "base/mathfn.h"
#include "base/narrow.h"
#include "base/threads.h"
#include "quant/adaround_step.h"
#include "quant/factor.h"
#include "quant/linalg/gemm.h"
#include "quant/rows.h"
#include "quant/share.h"

#define ITERATIONS    1000
#define LAMBDA        3.0f
#define LEARNING_RATE .03f
#define WARM_UP       .2f // share of the iterations without regularizer
#define BETA_FIRST    20.0f
#define BETA_LAST     2.0f
#define PI            3.14159265f

typedef struct pq_ada {
    const pq_adaround_desc *desc;
    pq_weights view;
    pq_gemm_space space; // owned
    float *h;            // owned: [d][d] scaled, both triangles
    float *v, *mean, *square, *rest, *step, *gradient, *e; // owned: [rows][d]
    uint8_t *below;   // owned: [rows][d] codes below
    uint8_t *rounded; // owned: [rows][d] codes of plain rounding
    uint8_t *codes;   // result
    pq_adam adam;
} pq_ada;

// ---- codes below and above ------------------------------------------------

static void
split_row(const pq_ada *a, int64_t row, int64_t group, int64_t scale)
{
    const pq_adaround_desc *desc = a->desc;
    int64_t step = pq_rows_group(&a->view);
    int64_t first = group * step;
    int64_t end = desc->d - first < step ? desc->d : first + step;
    int32_t min;
    int32_t max;
    pq_weight_code_range(&desc->scheme, &min, &max);
    float s = desc->scales[scale];
    int32_t zero = desc->zero_points[scale];
    for (int64_t i = row * desc->d + first; i < row * desc->d + end; i++) {
        float low = floorf(desc->w[i] / s);
        float q = pq_clipf(low, (float)(min - zero), (float)(max - zero));
        bool is_inside = q == low && q < (float)(max - zero); // integers
        a->below[i] = (uint8_t)((int32_t)q + zero);
        a->rest[i] = desc->w[i] - q * s;
        a->step[i] = is_inside ? s : 0;
    }
}

static pq_soft
soft_at(const pq_ada *a, int64_t first)
{
    return (pq_soft){a->v + first,    a->mean + first, a->square + first,
                     a->rest + first, a->step + first, a->gradient + first,
                     a->e + first};
}

static void
split_rows(void *user, uint64_t begin, uint64_t end, uint32_t worker)
{
    const pq_ada *a = user;
    int64_t groups = pq_rows_group_count(&a->view);
    bool is_one = a->desc->scheme.granularity == PQ_GRAN_TENSOR;
    (void)worker;
    for (int64_t r = (int64_t)begin; r < (int64_t)end; r++) {
        for (int64_t g = 0; g < groups; g++) {
            split_row(a, r, g, is_one ? 0 : r * groups + g);
        }
        pq_soft soft = soft_at(a, r * a->desc->d);
        pq_soft_init(&soft, a->desc->d);
    }
}

static void
decide_rows(void *user, uint64_t begin, uint64_t end, uint32_t worker)
{
    const pq_ada *a = user;
    int64_t d = a->desc->d;
    (void)worker;
    for (int64_t i = (int64_t)begin * d; i < (int64_t)end * d; i++) {
        bool is_up = a->v[i] >= 0 && a->step[i] != 0; // exact: no code above
        a->codes[i] = (uint8_t)(a->below[i] + is_up);
    }
}

// ---- optimization ---------------------------------------------------------

static void
step_rows(void *user, uint64_t begin, uint64_t end, uint32_t worker)
{
    const pq_ada *a = user;
    int64_t d = a->desc->d;
    (void)worker;
    pq_soft soft = soft_at(a, (int64_t)begin * d);
    pq_soft_step(&soft, (int64_t)(end - begin) * d, &a->adam);
}

// beta goes from 20 to 2 by a cosine; the moments' bias is corrected.
static void
set_step(pq_ada *a, uint32_t i, uint32_t count, float *mean_power,
         float *square_power)
{
    const pq_adaround_desc *desc = a->desc;
    float rate = desc->learning_rate > 0 ? desc->learning_rate : LEARNING_RATE;
    float done = (float)i / (float)count;
    float t = (done - WARM_UP) / (1 - WARM_UP);
    *mean_power *= .9f;
    *square_power *= .999f;
    a->adam.rate = rate / (1 - *mean_power);
    a->adam.correction = 1 / (1 - *square_power);
    a->adam.lambda = desc->lambda > 0 ? desc->lambda : LAMBDA;
    a->adam.lambda = t < 0 ? 0 : a->adam.lambda;
    t = fmaxf(t, 0);
    a->adam.beta =
        BETA_LAST + .5f * (BETA_FIRST - BETA_LAST) * (1 + pq_cosf(PI * t));
}

static ptqc_status
optimize(pq_ada *a)
{
    const pq_adaround_desc *desc = a->desc;
    uint32_t count = desc->iterations > 0 ? desc->iterations : ITERATIONS;
    size_t bytes = (size_t)(desc->rows * desc->d) * sizeof(float);
    float mean_power = 1;
    float square_power = 1;
    pq_gemm product = {.m = desc->rows,
                       .n = desc->d,
                       .k = desc->d,
                       .a = {a->e, desc->d, 1},
                       .b = {a->h, desc->d, 1},
                       .c = a->gradient,
                       .c_ld = desc->d};
    for (uint32_t i = 0; i < count; i++) {
        PQ_TRY(pq_check_cancelled(a->space.ctx));
        memset(a->gradient, 0, bytes);
        pq_gemm_compute(&a->space, &product);
        set_step(a, i, count, &mean_power, &square_power);
        pq_pool_for(a->space.pool, (uint64_t)desc->rows, 1, step_rows, a);
    }
    pq_pool_for(a->space.pool, (uint64_t)desc->rows, 1, decide_rows, a);
    return PTQC_OK;
}

// ---- all of it ------------------------------------------------------------

static ptqc_status
allocate(pq_ada *a, ptqc_ctx *ctx)
{
    size_t rows = (size_t)a->desc->rows;
    size_t d = (size_t)a->desc->d;
    float **arrays[] = {&a->v,    &a->mean,     &a->square, &a->rest,
                        &a->step, &a->gradient, &a->e};
    PQ_TRY(pq_gemm_space_init(&a->space, ctx, NULL, a->desc->rows, a->desc->d));
    for (size_t i = 0; i < sizeof arrays / sizeof *arrays; i++) {
        *arrays[i] = pq_alloc_array(ctx, rows, d * sizeof **arrays[i]);
        PQ_TRY_ALLOC(*arrays[i]);
    }
    a->h = pq_alloc_array(ctx, d, d * sizeof *a->h);
    PQ_TRY_ALLOC(a->h);
    a->below = pq_alloc_array(ctx, rows, d);
    PQ_TRY_ALLOC(a->below);
    a->rounded = pq_alloc_array(ctx, rows, d);
    PQ_TRY_ALLOC(a->rounded);
    return PTQC_OK;
}

static void
deinit(pq_ada *a, ptqc_ctx *ctx)
{
    pq_gemm_space_deinit(&a->space);
    pq_free(ctx, a->v);
    pq_free(ctx, a->mean);
    pq_free(ctx, a->square);
    pq_free(ctx, a->rest);
    pq_free(ctx, a->step);
    pq_free(ctx, a->gradient);
    pq_free(ctx, a->e);
    pq_free(ctx, a->h);
    pq_free(ctx, a->below);
    pq_free(ctx, a->rounded);
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
run(pq_ada *a, ptqc_ctx *ctx, pq_adaround_report *report)
{
    const pq_adaround_desc *desc = a->desc;
    size_t count = (size_t)(desc->rows * desc->d);
    double scaled_loss;
    PQ_TRY(pq_rows_encode(ctx, &a->view, desc->scales, desc->zero_points,
                          a->rounded));
    PQ_TRY(pq_rows_loss(ctx, &a->view, desc->scales, desc->zero_points,
                        a->rounded, desc->h, &report->rounding_loss));
    bool is_good = scale_matrix(a) && isfinite(report->rounding_loss);
    if (is_good) {
        PQ_TRY(pq_rows_loss(ctx, &a->view, desc->scales, desc->zero_points,
                            a->rounded, a->h, &scaled_loss));
        is_good = scaled_loss > 0;
    }
    report->loss = HUGE_VAL;
    if (is_good) {
        a->adam.factor = (float)((double)count / scaled_loss);
        pq_pool_for(a->space.pool, (uint64_t)desc->rows, 1, split_rows, a);
        PQ_TRY(optimize(a));
        PQ_TRY(pq_rows_loss(ctx, &a->view, desc->scales, desc->zero_points,
                            a->codes, desc->h, &report->loss));
    }
    if (!(report->loss < report->rounding_loss)) {
        report->loss = report->rounding_loss;
        report->is_rounding = true;
        memcpy(a->codes, a->rounded, count);
    }
    return PTQC_OK;
}

ptqc_status
pq_adaround(ptqc_ctx *ctx, const pq_adaround_desc *desc, uint8_t *out_codes,
            pq_adaround_report *out_report)
{
    const char *name = desc->name != NULL ? desc->name : "weight";
    pq_adaround_report report = {0};
    pq_ada a = {.desc = desc,
                .view =
                    pq_rows_view(desc->w, desc->rows, desc->d, &desc->scheme),
                .space = {.ctx = ctx},
                .codes = out_codes};
    PQ_TRY(pq_rows_check(ctx, name, &desc->scheme));
    if (pq_narrow_of(desc->scheme.format) != NULL) {
        return PQ_FAIL(ctx, PTQC_E_UNSUPPORTED,
                       "%s: adaround needs codes that are integers", name);
    }
    ptqc_status st = allocate(&a, ctx);
    if (st == PTQC_OK) {
        st = run(&a, ctx, &report);
    }
    if (st == PTQC_OK && report.is_rounding) {
        pq_say(ctx, PTQC_SEVERITY_INFO,
               "%s: learned rounding is not better than rounding to nearest",
               name);
    }
    if (st == PTQC_OK && out_report != NULL) {
        *out_report = report;
    }
    deinit(&a, ctx);
    return st;
}
