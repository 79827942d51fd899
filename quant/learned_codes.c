// SPDX-License-Identifier: Apache-2.0
//
// Learned codes, see learned_codes.h.

#include "quant/learned_codes.h"

#include <math.h>

#include "base/mathfn.h"
#include "base/narrow.h"
#include "base/threads.h"
#include "quant/rows.h"
#include "quant/share.h"

#define WARM_UP    .2f // share of the iterations without regularizer
#define BETA_FIRST 20.0f
#define BETA_LAST  2.0f
#define PI         3.14159265f

// ---- codes below and above ------------------------------------------------

static void
split_row(const pq_learned_codes *c, int64_t row, int64_t group, int64_t scale)
{
    const pq_weights *ws = &c->view;
    int64_t d = ws->inner;
    int64_t step = pq_rows_group(ws);
    int64_t first = group * step;
    int64_t end = d - first < step ? d : first + step;
    int32_t min;
    int32_t max;
    pq_weight_code_range(&ws->scheme, &min, &max);
    float s = c->scales[scale];
    int32_t zero = c->zero_points[scale];
    for (int64_t i = row * d + first; i < row * d + end; i++) {
        float low = floorf(ws->w[i] / s);
        float q = pq_clipf(low, (float)(min - zero), (float)(max - zero));
        bool is_inside = q == low && q < (float)(max - zero); // integers
        c->below[i] = (uint8_t)((int32_t)q + zero);
        c->rest[i] = ws->w[i] - q * s;
        c->step[i] = is_inside ? s : 0;
    }
}

static pq_soft
soft_at(const pq_learned_codes *c, int64_t first)
{
    return (pq_soft){c->v + first,    c->mean + first, c->square + first,
                     c->rest + first, c->step + first, c->gradient + first,
                     c->e + first};
}

static void
split_rows(void *user, uint64_t begin, uint64_t end, uint32_t worker)
{
    const pq_learned_codes *c = user;
    int64_t groups = pq_rows_group_count(&c->view);
    bool is_one = c->view.scheme.granularity == PQ_GRAN_TENSOR;
    (void)worker;
    for (int64_t r = (int64_t)begin; r < (int64_t)end; r++) {
        for (int64_t g = 0; g < groups; g++) {
            split_row(c, r, g, is_one ? 0 : r * groups + g);
        }
        pq_soft soft = soft_at(c, r * c->view.inner);
        pq_soft_init(&soft, c->view.inner);
    }
}

typedef struct pq_decision {
    const pq_learned_codes *c;
    uint8_t *codes;
} pq_decision;

static void
decide_rows(void *user, uint64_t begin, uint64_t end, uint32_t worker)
{
    const pq_decision *decision = user;
    const pq_learned_codes *c = decision->c;
    int64_t d = c->view.inner;
    (void)worker;
    for (int64_t i = (int64_t)begin * d; i < (int64_t)end * d; i++) {
        bool is_up = c->v[i] >= 0 && c->step[i] != 0; // exact: no code above
        decision->codes[i] = (uint8_t)(c->below[i] + is_up);
    }
}

void
pq_learned_codes_decide(const pq_learned_codes *c, uint8_t *out_codes)
{
    pq_decision decision = {c, out_codes};
    pq_pool_for(c->pool, (uint64_t)c->view.channels, 1, decide_rows, &decision);
}

// ---- steps ----------------------------------------------------------------

static void
step_rows(void *user, uint64_t begin, uint64_t end, uint32_t worker)
{
    const pq_learned_codes *c = user;
    int64_t d = c->view.inner;
    (void)worker;
    pq_soft soft = soft_at(c, (int64_t)begin * d);
    pq_soft_step(&soft, (int64_t)(end - begin) * d, &c->adam);
}

void
pq_learned_codes_step(pq_learned_codes *c)
{
    pq_pool_for(c->pool, (uint64_t)c->view.channels, 1, step_rows, c);
}

// beta goes from 20 to 2 by a cosine; the moments' bias is corrected.
void
pq_learned_codes_schedule(pq_learned_codes *c, const pq_learning *l, uint32_t i)
{
    float done = (float)i / (float)l->iterations;
    float t = (done - WARM_UP) / (1 - WARM_UP);
    c->mean_power *= .9f;
    c->square_power *= .999f;
    c->adam.rate = l->rate / (1 - c->mean_power);
    c->adam.correction = 1 / (1 - c->square_power);
    c->adam.lambda = t < 0 ? 0 : l->lambda;
    t = fmaxf(t, 0);
    c->adam.beta =
        BETA_LAST + .5f * (BETA_FIRST - BETA_LAST) * (1 + pq_cosf(PI * t));
}

// ---- all of it ------------------------------------------------------------

static ptqc_status
allocate(pq_learned_codes *c, ptqc_ctx *ctx)
{
    size_t rows = (size_t)c->view.channels;
    size_t d = (size_t)c->view.inner;
    float **arrays[] = {&c->v,    &c->mean,     &c->square, &c->rest,
                        &c->step, &c->gradient, &c->e};
    for (size_t i = 0; i < sizeof arrays / sizeof *arrays; i++) {
        *arrays[i] = pq_alloc_array(ctx, rows, d * sizeof **arrays[i]);
        PQ_TRY_ALLOC(*arrays[i]);
    }
    c->below = pq_alloc_array(ctx, rows, d);
    PQ_TRY_ALLOC(c->below);
    c->rounded = pq_alloc_array(ctx, rows, d);
    PQ_TRY_ALLOC(c->rounded);
    c->pool = pq_ctx_pool(ctx);
    PQ_TRY_ALLOC(c->pool);
    return PTQC_OK;
}

ptqc_status
pq_learned_codes_init(pq_learned_codes *c, ptqc_ctx *ctx,
                      const pq_weights *view, const float *scales,
                      const int32_t *zero_points)
{
    *c = (pq_learned_codes){.view = *view,
                            .scales = scales,
                            .zero_points = zero_points,
                            .mean_power = 1,
                            .square_power = 1};
    PQ_TRY(allocate(c, ctx));
    PQ_TRY(pq_rows_encode(ctx, view, scales, zero_points, c->rounded));
    pq_pool_for(c->pool, (uint64_t)view->channels, 1, split_rows, c);
    return PTQC_OK;
}

void
pq_learned_codes_deinit(pq_learned_codes *c, ptqc_ctx *ctx)
{
    pq_free(ctx, c->v);
    pq_free(ctx, c->mean);
    pq_free(ctx, c->square);
    pq_free(ctx, c->rest);
    pq_free(ctx, c->step);
    pq_free(ctx, c->gradient);
    pq_free(ctx, c->e);
    pq_free(ctx, c->below);
    pq_free(ctx, c->rounded);
}

static const char *
name_of(const char *name)
{
    return name != NULL ? name : "weight";
}

ptqc_status
pq_learned_codes_check(ptqc_ctx *ctx, const char *name, const pq_scheme *scheme)
{
    PQ_TRY(pq_rows_check(ctx, name_of(name), scheme));
    return pq_narrow_of(scheme->format) == NULL
               ? PTQC_OK
               : PQ_FAIL(ctx, PTQC_E_UNSUPPORTED,
                         "%s: adaround needs codes that are integers",
                         name_of(name));
}

void
pq_learned_codes_tell(ptqc_ctx *ctx, const char *name,
                      const pq_adaround_report *report, pq_adaround_report *out)
{
    if (report->is_rounding) {
        pq_say(ctx, PTQC_SEVERITY_INFO,
               "%s: learned rounding is not better than rounding to nearest",
               name_of(name));
    }
    if (out != NULL) {
        *out = *report;
    }
}
