// SPDX-License-Identifier: Apache-2.0
//
// AdaRound with activations, see adaround_outputs.h. An iteration is two
// products with the places of a batch, which lie together, and a step of Adam.
// The loss is in units of a rounded weight's, so that lambda and the learning
// rate mean the same for every layer.

#include "quant/adaround_outputs.h"

#include <math.h>
#include <string.h>

#include "base/mathfn.h"
#include "base/threads.h"
#include "quant/adaround_group.h"
#include "quant/learned_codes.h"
#include "quant/linalg/gemm.h"
#include "quant/rows.h"

#define ITERATIONS    1000
#define LAMBDA        3.0f
#define LEARNING_RATE .02f
#define BATCH         256
#define BIAS_RATE     .01f // of the deviation of the outputs
#define NEWTON_STEPS  3
#define LEAST_LIVE    .05 // share of places, below which steps get no longer
#define NEWTON_SHARE  .7

// Sums over places of one output channel.
typedef struct pq_row_sums {
    double squares, errors; // of clip(y + bias) - target
    double live_errors;     // of those that no clip cuts
    double live;            // places that no clip cuts
} pq_row_sums;

// A bias and what Adam knows of it; fitted and learned ones compete.
typedef struct pq_bias {
    float *value, *mean, *square; // owned: [all rows]
    float rate;
} pq_bias;

typedef struct pq_outputs {
    const pq_adaround_outputs_desc *desc;
    int64_t rows;             // of all groups
    pq_learned_codes learned; // owned
    pq_gemm_space space;      // owned; of one group
    float *w;                 // owned: [rows][d] weights at hand
    float *products;          // owned: [rows][BATCH]
    pq_row_sums *sums;        // owned: [rows]
    pq_bias bias;
    const float *biases;  // [rows] at hand
    int64_t first, count; // places at hand
    bool wants_gradient;  // products become its factors
} pq_outputs;

// ---- products -------------------------------------------------------------

// Batches share the places out evenly.
static int64_t
batch_count(const pq_outputs *o)
{
    return (o->desc->places + BATCH - 1) / BATCH;
}

static void
take_batch(pq_outputs *o, int64_t i)
{
    int64_t n = batch_count(o);
    o->first = o->desc->places * i / n;
    o->count = o->desc->places * (i + 1) / n - o->first;
}

static pq_group_places
group_places(const pq_outputs *o, int64_t group)
{
    const pq_adaround_outputs_desc *desc = o->desc;
    return (pq_group_places){.x = desc->x + group * desc->d * desc->places +
                                  o->first,
                             .x_ld = desc->places,
                             .rows = desc->rows,
                             .d = desc->d,
                             .n = o->count};
}

// A row's products become factors of its gradient, or stay.
static void
judge_row(const pq_outputs *o, int64_t r)
{
    const pq_adaround_outputs_desc *desc = o->desc;
    float *y = o->products + r * BATCH;
    const float *target = desc->y + r * desc->places + o->first;
    float bias = o->biases[r];
    pq_row_sums s = {0};
    for (int64_t i = 0; i < o->count; i++) {
        float at = y[i] + bias;
        float cut = pq_clipf(at, desc->lo, desc->hi);
        float error = cut - target[i];
        double live = at > desc->lo && at < desc->hi ? 1 : 0;
        s.squares += (double)error * (double)error;
        s.errors += (double)error;
        s.live_errors += live * (double)error;
        s.live += live;
        y[i] = error * (float)live;
    }
    pq_row_sums *sums = &o->sums[r];
    sums->squares += s.squares;
    sums->errors += s.errors;
    sums->live_errors += s.live_errors;
    sums->live += s.live;
}

static void
judge_rows(void *user, uint64_t begin, uint64_t end, uint32_t worker)
{
    const pq_outputs *o = user;
    (void)worker;
    for (int64_t r = (int64_t)begin; r < (int64_t)end; r++) {
        judge_row(o, r);
    }
}

static void
run_groups(void *user, uint64_t begin, uint64_t end, uint32_t worker)
{
    const pq_outputs *o = user;
    int64_t rows = o->desc->rows;
    (void)worker;
    for (int64_t i = (int64_t)begin; i < (int64_t)end; i++) {
        const pq_group_places p = group_places(o, i);
        int64_t r = i * rows;
        pq_group_outputs(&p, o->w + r * p.d, o->products + r * BATCH, BATCH);
        judge_rows(user, (uint64_t)r, (uint64_t)(r + rows), worker);
        if (o->wants_gradient) {
            pq_group_gradient(&p, o->products + r * BATCH, BATCH,
                              o->learned.gradient + r * p.d);
        }
    }
}

static void
run_one_group(pq_outputs *o)
{
    const pq_group_places p = group_places(o, 0);
    const pq_gemm forward = {.m = p.rows,
                             .n = p.n,
                             .k = p.d,
                             .a = {o->w, p.d, 1},
                             .b = {p.x, p.x_ld, 1},
                             .c = o->products,
                             .c_ld = BATCH};
    const pq_gemm backward = {.m = p.rows,
                              .n = p.d,
                              .k = p.n,
                              .a = {o->products, BATCH, 1},
                              .b = {p.x, 1, p.x_ld},
                              .c = o->learned.gradient,
                              .c_ld = p.d,
                              .is_subtracted = true};
    memset(o->products, 0, (size_t)(p.rows * BATCH) * sizeof *o->products);
    pq_gemm_compute(&o->space, &forward);
    pq_pool_for(o->space.pool, (uint64_t)p.rows, 8, judge_rows, o);
    if (o->wants_gradient) {
        memset(backward.c, 0, (size_t)(p.rows * p.d) * sizeof *backward.c);
        pq_gemm_compute(&o->space, &backward);
    }
}

// The batch at hand: adds to the sums.
static void
run_batch(pq_outputs *o)
{
    if (o->desc->groups > 1) {
        pq_pool_for(o->space.pool, (uint64_t)o->desc->groups, 1, run_groups, o);
    } else {
        run_one_group(o);
    }
}

static void
clear_sums(pq_outputs *o)
{
    memset(o->sums, 0, (size_t)o->rows * sizeof *o->sums);
}

// Sums over all places with the weights and biases at hand.
static ptqc_status
run_all(pq_outputs *o)
{
    o->wants_gradient = false;
    clear_sums(o);
    for (int64_t i = 0; i < batch_count(o); i++) {
        PQ_TRY(pq_check_cancelled(o->space.ctx));
        take_batch(o, i);
        run_batch(o);
    }
    return PTQC_OK;
}

// ---- biases ---------------------------------------------------------------

// bias [rows] towards the least error with the weights at hand, by Newton steps
// (places that are cut do not answer); errors [rows]: the least seen, of
// `bias`.
static ptqc_status
fit_bias(pq_outputs *o, float *bias, double *errors)
{
    int64_t n = o->desc->places;
    int steps = o->desc->learns_bias ? NEWTON_STEPS : 0;
    float *next = o->bias.value;
    memcpy(next, bias, (size_t)o->rows * sizeof *bias);
    o->biases = next;
    for (int i = 0; i <= steps; i++) {
        PQ_TRY(run_all(o));
        for (int64_t r = 0; r < o->rows; r++) {
            const pq_row_sums *s = &o->sums[r];
            double live = s->live / (double)n;
            if (i == 0 || s->squares < errors[r]) {
                errors[r] = s->squares;
                bias[r] = next[r];
            }
            live = live < LEAST_LIVE ? LEAST_LIVE : live;
            next[r] -= (float)(NEWTON_SHARE * s->errors / (double)n / live);
        }
    }
    return PTQC_OK;
}

// Mean squared error of all outputs.
static double
mean_error(const pq_outputs *o, const double *errors)
{
    double sum = 0;
    for (int64_t r = 0; r < o->rows; r++) {
        sum += errors[r];
    }
    return sum / (double)(o->rows * o->desc->places);
}

static float
deviation(const pq_outputs *o)
{
    double sum = 0;
    double n = (double)o->desc->places;
    for (int64_t r = 0; r < o->rows; r++) {
        const float *y = o->desc->y + r * o->desc->places;
        double mean = 0;
        double squares = 0;
        for (int64_t i = 0; i < o->desc->places; i++) {
            mean += (double)y[i] / n;
            squares += (double)y[i] * (double)y[i] / n;
        }
        double variance = squares - mean * mean;
        sum += sqrt(variance > 0 ? variance : 0);
    }
    return (float)(sum / (double)o->rows);
}

// Adam with the rates of the codes.
static void
step_bias(pq_outputs *o)
{
    const pq_adam *a = &o->learned.adam;
    pq_bias *b = &o->bias;
    for (int64_t r = 0; r < o->rows; r++) {
        float g = 2 * a->factor * (float)o->sums[r].live_errors;
        b->mean[r] = .9f * b->mean[r] + .1f * g;
        b->square[r] = .999f * b->square[r] + .001f * g * g;
        float root = sqrtf(b->square[r] * a->correction);
        b->value[r] -= b->rate * a->rate * b->mean[r] / (root + 1e-8f);
    }
}

// ---- learning -------------------------------------------------------------

static void
soften_rows(void *user, uint64_t begin, uint64_t end, uint32_t worker)
{
    const pq_outputs *o = user;
    int64_t d = o->desc->d;
    (void)worker;
    for (int64_t i = (int64_t)begin * d; i < (int64_t)end * d; i++) {
        o->w[i] = o->desc->w[i] - o->learned.e[i];
    }
}

// Batches in an order that no period of the samples fits.
static void
learn_step(pq_outputs *o, uint32_t i)
{
    int64_t n = batch_count(o);
    take_batch(o, (int64_t)((uint64_t)i * 7919 % (uint64_t)n));
    pq_pool_for(o->space.pool, (uint64_t)o->rows, 8, soften_rows, o);
    clear_sums(o);
    run_batch(o);
}

static ptqc_status
learn(pq_outputs *o, double rounding_loss)
{
    const pq_adaround_outputs_desc *desc = o->desc;
    pq_learned_codes *c = &o->learned;
    const pq_learning learning = {
        .iterations = desc->iterations > 0 ? desc->iterations : ITERATIONS,
        .rate = desc->learning_rate > 0 ? desc->learning_rate : LEARNING_RATE,
        .lambda = desc->lambda > 0 ? desc->lambda : LAMBDA};
    o->wants_gradient = true;
    o->biases = o->bias.value;
    o->bias.rate = BIAS_RATE * deviation(o) / learning.rate;
    for (uint32_t i = 0; i < learning.iterations; i++) {
        PQ_TRY(pq_check_cancelled(o->space.ctx));
        learn_step(o, i);
        c->adam.factor =
            (float)((double)desc->d / rounding_loss / (double)o->count);
        pq_learned_codes_schedule(c, &learning, i);
        if (desc->learns_bias) {
            step_bias(o);
        }
        pq_learned_codes_step(c);
    }
    return PTQC_OK;
}

// ---- all of it ------------------------------------------------------------

static ptqc_status
allocate(pq_outputs *o, ptqc_ctx *ctx)
{
    const pq_adaround_outputs_desc *desc = o->desc;
    size_t rows = (size_t)o->rows;
    const pq_weights view =
        pq_rows_view(desc->w, o->rows, desc->d, &desc->scheme);
    int64_t widest = desc->d > BATCH ? desc->d : BATCH;
    PQ_TRY(pq_gemm_space_init(&o->space, ctx, NULL, desc->rows, widest));
    PQ_TRY(pq_learned_codes_init(&o->learned, ctx, &view, desc->scales,
                                 desc->zero_points));
    o->w = pq_alloc_array(ctx, rows, (size_t)desc->d * sizeof *o->w);
    PQ_TRY_ALLOC(o->w);
    o->products = pq_alloc_array(ctx, rows, BATCH * sizeof *o->products);
    PQ_TRY_ALLOC(o->products);
    o->sums = pq_alloc_array(ctx, rows, sizeof *o->sums);
    PQ_TRY_ALLOC(o->sums);
    o->bias.value = pq_alloc_array(ctx, rows, 3 * sizeof *o->bias.value);
    PQ_TRY_ALLOC(o->bias.value);
    o->bias.mean = o->bias.value + rows;
    o->bias.square = o->bias.mean + rows;
    return PTQC_OK;
}

static void
deinit(pq_outputs *o, ptqc_ctx *ctx)
{
    pq_gemm_space_deinit(&o->space);
    pq_learned_codes_deinit(&o->learned, ctx);
    pq_free(ctx, o->w);
    pq_free(ctx, o->products);
    pq_free(ctx, o->sums);
    pq_free(ctx, o->bias.value);
}

// The weights that the codes stand for become those at hand; then the best
// bias.
static ptqc_status
judge_codes(pq_outputs *o, ptqc_ctx *ctx, const uint8_t *codes, float *bias,
            double *errors, double *out_loss)
{
    const pq_adaround_outputs_desc *desc = o->desc;
    const pq_learned_codes *c = &o->learned;
    PQ_TRY(pq_rows_error(ctx, &c->view, desc->scales, desc->zero_points, codes,
                         o->w));
    for (int64_t i = 0; i < o->rows * desc->d; i++) {
        o->w[i] = desc->w[i] - o->w[i];
    }
    PQ_TRY(fit_bias(o, bias, errors));
    *out_loss = mean_error(o, errors);
    return PTQC_OK;
}

// bias: the best of rounding's; learned: room for others [rows].
static ptqc_status
compete(pq_outputs *o, ptqc_ctx *ctx, float *bias, float *learned,
        double *errors, uint8_t *codes, pq_adaround_report *report)
{
    size_t bytes = (size_t)o->rows * sizeof *bias;
    memcpy(learned, bias, bytes);
    PQ_TRY(judge_codes(o, ctx, o->learned.rounded, bias, errors,
                       &report->rounding_loss));
    report->loss = HUGE_VAL;
    if (report->rounding_loss > 0 && isfinite(report->rounding_loss)) {
        memcpy(o->w, o->desc->w, (size_t)(o->rows * o->desc->d) * sizeof *o->w);
        PQ_TRY(fit_bias(o, learned, errors));
        memcpy(o->bias.value, learned, bytes);
        PQ_TRY(learn(o, report->rounding_loss));
        pq_learned_codes_decide(&o->learned, codes);
        memcpy(learned, o->bias.value, bytes);
        PQ_TRY(judge_codes(o, ctx, codes, learned, errors, &report->loss));
    }
    if (report->loss < report->rounding_loss) {
        memcpy(bias, learned, bytes);
        return PTQC_OK;
    }
    report->loss = report->rounding_loss;
    report->is_rounding = true;
    memcpy(codes, o->learned.rounded, (size_t)(o->rows * o->desc->d));
    return PTQC_OK;
}

static ptqc_status
run(pq_outputs *o, ptqc_ctx *ctx, float *bias, uint8_t *codes,
    pq_adaround_report *report)
{
    size_t rows = (size_t)o->rows;
    PQ_TRY(allocate(o, ctx));
    double *errors = pq_alloc_array(ctx, rows, sizeof *errors);
    float *learned = pq_alloc_array(ctx, rows, sizeof *learned);
    ptqc_status st = PTQC_E_RESOURCE;
    if (errors != NULL && learned != NULL) {
        st = compete(o, ctx, bias, learned, errors, codes, report);
    }
    pq_free(ctx, errors);
    pq_free(ctx, learned);
    return st;
}

ptqc_status
pq_adaround_outputs(ptqc_ctx *ctx, const pq_adaround_outputs_desc *desc,
                    float *bias, uint8_t *out_codes,
                    pq_adaround_report *out_report)
{
    pq_adaround_report report = {0};
    pq_outputs o = {
        .desc = desc, .rows = desc->groups * desc->rows, .space = {.ctx = ctx}};
    PQ_TRY(pq_learned_codes_check(ctx, desc->name, &desc->scheme));
    ptqc_status st = run(&o, ctx, bias, out_codes, &report);
    if (st == PTQC_OK) {
        pq_learned_codes_tell(ctx, desc->name, &report, out_report);
    }
    deinit(&o, ctx);
    return st;
}
