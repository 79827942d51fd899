// SPDX-License-Identifier: Apache-2.0
//
// AdaRound over a graph by Gram matrices (quant/adaround.h has the
// mathematics): of the products' inputs, for convolutions of their patches
// (im2col), one matrix for each group of channels.
//
// Where the bias is corrected afterwards, the mean of the inputs does not count
// (the matrix is their covariance): what it costs the bias takes back. At most
// POSITIONS places of a sample are looked at, spread evenly, other ones in
// each sample. Products are taken in batches whose matrices fit MATRIX_BYTES;
// each batch runs the samples once. Inputs are those of the float graph.

#include <string.h>

#include "base/checked.h"
#include "passes/calib/adaround.h"
#include "passes/calib/patches.h"
#include "passes/calib/samples.h"
#include "passes/match.h"

#define POSITIONS    256
#define MATRIX_BYTES ((size_t)256 << 20)

typedef struct pq_gram_layer {
    const pq_layer *layer;
    bool is_centred;
    float *h;      // [groups][d][d] lower triangle, owned by the batch
    double *sum;   // [groups][d]
    double count;  // places seen
    uint64_t seen; // samples
} pq_gram_layer;

typedef struct pq_rounding {
    pq_graph *g;
    pq_pass_env *env;
    pq_gram_layer *layers; // [count]
    uint32_t count;
    uint32_t first, end; // the batch
    float *patches;      // [POSITIONS][d]
} pq_rounding;

// ---- Gram matrices --------------------------------------------------------

// Small matrices are not worth the blocks of the big ones.
static void
add_small(const float *x, int64_t n, int64_t d, float *h)
{
    for (int64_t i = 0; i < d; i++) {
        for (int64_t j = 0; j <= i; j++) {
            double sum = 0;
            for (int64_t k = 0; k < n; k++) {
                sum += (double)x[k * d + i] * (double)x[k * d + j];
            }
            h[i * d + j] += (float)sum;
        }
    }
}

#define SMALL_D 32

static ptqc_status
add_patches(const pq_rounding *r, pq_gram_layer *l, int64_t group, int64_t n)
{
    int64_t d = l->layer->d;
    const float *x = r->patches;
    float *h = l->h + group * d * d;
    double *sum = l->sum + group * d;
    for (int64_t i = 0; i < n * d; i++) {
        sum[i % d] += (double)x[i];
    }
    if (d <= SMALL_D) {
        add_small(x, n, d, h);
        return PTQC_OK;
    }
    return pq_gram_add(pq_graph_ctx(r->g), x, n, d, NULL, h);
}

static ptqc_status
take(const pq_rounding *r, pq_gram_layer *l, const pq_tensor *t)
{
    const pq_layer *layer = l->layer;
    pq_window w;
    if (!pq_window_of(r->g, pq_graph_op(r->g, layer->op), t, &w)) {
        return PTQC_OK;
    }
    pq_places p = pq_places_of(w.places, POSITIONS, l->seen++);
    for (int64_t group = 0; group < layer->groups; group++) {
        for (int64_t i = 0; i < p.count; i++) {
            pq_window_read(&w, p.first + i * p.step, group,
                           r->patches + i * layer->d);
        }
        PQ_TRY(add_patches(r, l, group, p.count));
    }
    l->count += (double)p.count;
    return PTQC_OK;
}

static ptqc_status
observe(void *user, pq_value_id v, const pq_tensor *t)
{
    const pq_rounding *r = user;
    for (uint32_t i = r->first; i < r->end; i++) {
        pq_gram_layer *l = &r->layers[i];
        const pq_op *op = pq_graph_op(r->g, l->layer->op);
        if (pq_value_equal(op->inputs[0], v)) {
            PQ_TRY(take(r, l, t));
        }
    }
    return PTQC_OK;
}

static void
centre(pq_gram_layer *l)
{
    int64_t d = l->layer->d;
    for (int64_t group = 0; group < l->layer->groups; group++) {
        float *h = l->h + group * d * d;
        const double *sum = l->sum + group * d;
        for (int64_t i = 0; i < d; i++) {
            for (int64_t j = 0; j <= i; j++) {
                double x = (double)h[i * d + j];
                h[i * d + j] = (float)(x - sum[i] * sum[j] / l->count);
            }
        }
    }
}

// ---- codes ----------------------------------------------------------------

static ptqc_status
round_groups(const pq_rounding *r, const pq_gram_layer *l,
             const pq_layer_weight *weight, uint8_t *codes,
             pq_adaround_report *out)
{
    const pq_layer *layer = l->layer;
    int64_t size = layer->rows * layer->d;
    *out = (pq_adaround_report){0};
    for (int64_t i = 0; i < layer->groups; i++) {
        int64_t scale = i * weight->scale_step;
        pq_adaround_report report;
        const pq_adaround_desc desc = {.name = weight->name,
                                       .w = weight->w + i * size,
                                       .rows = layer->rows,
                                       .d = layer->d,
                                       .h = l->h + i * layer->d * layer->d,
                                       .tokens = l->count,
                                       .scheme = weight->scheme,
                                       .scales = weight->scales + scale,
                                       .zero_points =
                                           weight->zero_points + scale};
        PQ_TRY(pq_check_cancelled(pq_graph_ctx(r->g)));
        PQ_TRY(
            pq_adaround(pq_graph_ctx(r->g), &desc, codes + i * size, &report));
        out->loss += report.loss;
        out->rounding_loss += report.rounding_loss;
    }
    return PTQC_OK;
}

static ptqc_status
round_layer(const pq_rounding *r, const pq_gram_layer *l, pq_arena *arena)
{
    const pq_layer *layer = l->layer;
    pq_layer_weight weight;
    pq_adaround_report report;
    PQ_TRY(pq_layer_read(r->g, layer, arena, &weight));
    uint8_t *codes =
        pq_arena_alloc(arena, (size_t)(layer->groups * layer->rows * layer->d));
    PQ_TRY_ALLOC(codes);
    PQ_TRY(round_groups(r, l, &weight, codes, &report));
    const char *note = pq_layer_describe(&report, l->count, arena);
    PQ_TRY_ALLOC(note);
    pq_layer_tell(r->g, r->env, layer, note);
    return pq_layer_annotate(r->g, layer, codes, arena);
}

// ---- batches --------------------------------------------------------------

static bool
matrix_bytes(const pq_layer *l, size_t *out)
{
    size_t d = (size_t)l->d;
    return pq_mul_size(d, d, out) &&
           pq_mul_size(*out, (size_t)l->groups, out) &&
           pq_mul_size(*out, sizeof(float), out);
}

// Layers from r->first on whose matrices fit, one at least.
static ptqc_status
choose_batch(pq_rounding *r, pq_arena *arena)
{
    size_t total = 0;
    int64_t widest = 0;
    for (r->end = r->first; r->end < r->count; r->end++) {
        pq_gram_layer *l = &r->layers[r->end];
        int64_t d = l->layer->d;
        size_t bytes;
        if (!matrix_bytes(l->layer, &bytes)) {
            return PQ_FAIL(pq_graph_ctx(r->g), PTQC_E_INPUT,
                           "adaround: a Gram matrix is too large");
        }
        if (total > 0 && bytes > MATRIX_BYTES - total) {
            break;
        }
        total = bytes > MATRIX_BYTES ? MATRIX_BYTES : total + bytes;
        widest = d > widest ? d : widest;
        l->h = pq_arena_alloc(arena, bytes);
        l->sum = pq_arena_array(arena, (size_t)(l->layer->groups * d),
                                sizeof *l->sum);
        PQ_TRY_ALLOC(l->h);
        PQ_TRY_ALLOC(l->sum);
        memset(l->h, 0, bytes);
    }
    r->patches =
        pq_arena_array(arena, POSITIONS * (size_t)widest, sizeof *r->patches);
    PQ_TRY_ALLOC(r->patches);
    return PTQC_OK;
}

static ptqc_status
run_batch(pq_rounding *r, pq_arena *arena)
{
    pq_value_id *watched =
        pq_arena_array(arena, r->end - r->first, sizeof *watched);
    uint32_t count = 0;
    PQ_TRY_ALLOC(watched);
    for (uint32_t i = r->first; i < r->end; i++) {
        pq_value_id x = pq_graph_op(r->g, r->layers[i].layer->op)->inputs[0];
        uint32_t k = 0;
        while (k < count && !pq_value_equal(watched[k], x)) {
            k++;
        }
        watched[k] = x;
        count = k == count ? count + 1 : count;
    }
    const pq_watcher watcher = {.user = r, .observe = observe};
    PQ_TRY(pq_run_samples(r->g, r->env, "adaround", watched, count, &watcher));
    for (uint32_t i = r->first; i < r->end; i++) {
        pq_gram_layer *l = &r->layers[i];
        if (!(l->count > 0)) {
            pq_layer_tell(r->g, r->env, l->layer,
                          "no place of any sample: rounded to nearest");
            continue;
        }
        if (l->is_centred) {
            centre(l);
        }
        PQ_TRY(round_layer(r, l, arena));
        pq_progress(pq_graph_ctx(r->g), "round", i + 1, r->count);
    }
    return PTQC_OK;
}

// Whether the bias takes back what the mean of the inputs costs.
static bool
is_centred(const pq_pass_env *env, const pq_layer *l)
{
    return l->mode == PQ_MODE_STATIC && !l->is_turned &&
           env->recipe->bias_correction != PQ_BIAS_OFF;
}

ptqc_status
pq_adaround_by_gram(pq_graph *g, pq_pass_env *env, const pq_layer *layers,
                    uint32_t count)
{
    pq_rounding r = {.g = g, .env = env, .count = count};
    r.layers = pq_arena_array(env->scratch, count, sizeof *r.layers);
    PQ_TRY_ALLOC(r.layers);
    for (uint32_t i = 0; i < count; i++) {
        r.layers[i] = (pq_gram_layer){
            .layer = &layers[i], .is_centred = is_centred(env, &layers[i])};
    }
    while (r.first < r.count) {
        pq_arena arena;
        pq_arena_init(&arena, pq_graph_ctx(g));
        ptqc_status st = choose_batch(&r, &arena);
        if (st == PTQC_OK) {
            st = run_batch(&r, &arena);
        }
        pq_arena_deinit(&arena);
        PQ_TRY(st);
        r.first = r.end;
    }
    return PTQC_OK;
}
