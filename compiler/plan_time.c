// SPDX-License-Identifier: Apache-2.0
//
// Guessing the time of samples, see plan_time.h. The constants were fitted to
// the times of passes on one Zen 4 core (docs/recipes.md has what the guess is
// worth).

#include "compiler/plan_time.h"

#include "base/dtype.h"
#include "passes/match.h"

#define MACS_PER_SECOND    5e10 // f32 products
#define SECONDS_PER_NUMBER 3e-9 // elementwise ops, softmax, histograms
#define SECONDS_PER_MEAN   2e-9 // means per channel
// Losses of scales and clips that a search tries, rows * d^2 each.
#define AWQ_TRIES  40.0
#define GPTQ_TRIES 10.0
// AdaRound: iterations on batches (quant/adaround_outputs.c), and one step of
// the optimizer.
#define ROUND_STEPS            1000.0
#define ROUND_BATCH            256.0
#define SECONDS_PER_ROUND_STEP 1.5e-8
// Bias correction in sequence (calib/correct_bias.c).
#define BIAS_RUNS  1280.0
#define BIAS_LEAST 8.0
#define BIAS_MOST  64.0

// ---- counting -------------------------------------------------------------

static double
dim_at(const pq_graph *g, pq_dim dim, const int64_t *symbols)
{
    int64_t min, max;
    if (symbols != NULL && pq_dim_eval(g, dim, symbols, &min) == PTQC_OK) {
        return (double)min;
    }
    pq_dim_bounds(g, dim, &min, &max);
    return min > 0 ? (double)min : 1;
}

static double
elements_of(const pq_graph *g, pq_value_id v, const int64_t *symbols)
{
    const pq_value *value = pq_graph_value(g, v);
    double n = value != NULL ? 1 : 0;
    for (uint32_t i = 0; value != NULL && i < value->type.rank; i++) {
        n *= dim_at(g, value->type.dims[i], symbols);
    }
    return n;
}

// Queries [B, heads, T, D] see half of the T tokens on average.
static void
add_attention(const pq_graph *g, const pq_op *op, const int64_t *symbols,
              pq_plan_work *w)
{
    const pq_type *q = &pq_graph_value(g, op->inputs[0])->type;
    if (q->rank != 4) {
        return;
    }
    double tokens = dim_at(g, q->dims[2], symbols);
    double numbers = elements_of(g, op->inputs[0], symbols);
    w->macs += numbers * tokens;
    w->numbers += numbers / dim_at(g, q->dims[3], symbols) * tokens / 2;
}

static void
add_product(const pq_graph *g, const pq_op *op, pq_mode mode,
            const int64_t *symbols, bool *is_seen, pq_plan_work *w)
{
    double outs = (double)pq_channel_count(g, op);
    double weights = elements_of(g, op->inputs[1], symbols);
    double rows = elements_of(g, op->outputs[0], symbols) / outs;
    double width = weights / outs;
    uint32_t x = op->inputs[0].index;
    if (!(outs > 0)) {
        return;
    }
    w->macs += rows * weights;
    if (mode == PQ_MODE_FLOAT) {
        return;
    }
    w->static_count += mode == PQ_MODE_STATIC;
    w->weights += weights;
    w->weight_columns += weights * width;
    w->gram_macs += is_seen[x] ? 0 : rows * width * width / 2;
    is_seen[x] = true;
}

static bool
updates_state(const pq_op *op)
{
    return op->code == PQ_OP_KV_UPDATE || op->code == PQ_OP_KV_UPDATE_CODES;
}

ptqc_status
pq_plan_count_work(const pq_graph *g, const pq_mode *modes,
                   const int64_t *symbols, pq_arena *arena, pq_plan_work *out)
{
    uint32_t values = pq_graph_value_count(g);
    bool *is_seen = pq_arena_array(arena, values, sizeof *is_seen);
    *out = (pq_plan_work){.has_states = pq_graph_state_count(g) > 0};
    PQ_TRY_ALLOC(is_seen);
    PQ_FOR_EACH_OP(g, id)
    {
        const pq_op *op = pq_graph_op(g, id);
        if (pq_is_product(op->code)) {
            add_product(g, op, modes[id.index], symbols, is_seen, out);
        }
        if (op->code == PQ_OP_ATTENTION) {
            add_attention(g, op, symbols, out);
        }
        for (uint32_t i = 0; !updates_state(op) && i < op->output_count; i++) {
            out->numbers += elements_of(g, op->outputs[i], symbols);
        }
    }
    for (uint32_t i = 1; i < values; i++) {
        pq_value_id v = {i};
        const pq_quant *q = pq_annotation(g, v);
        if (q != NULL && !q->scheme.dynamic && !pq_is_constant(g, v)) {
            out->observed += elements_of(g, v, symbols);
        }
    }
    return PTQC_OK;
}

// ---- seconds --------------------------------------------------------------

static double
seconds_of_run(const pq_plan_work *w)
{
    return w->macs / MACS_PER_SECOND + w->numbers * SECONDS_PER_NUMBER;
}

// The passes that static activations take.
static double
guess_static(const pq_plan_work *w, const pq_recipe *recipe, double samples)
{
    double run = seconds_of_run(w);
    double means = w->observed * SECONDS_PER_MEAN;
    double calibrate = run + w->observed * SECONDS_PER_NUMBER;
    if (recipe->bias_correction == PQ_BIAS_OFF) {
        means = run = 0;
    }
    if (w->has_states) { // outlying tokens: inputs as codes, in two ways
        return samples * (seconds_of_run(w) + means + calibrate + run + means);
    }
    double n = BIAS_RUNS / (double)w->static_count;
    n = n < BIAS_LEAST ? BIAS_LEAST : n > BIAS_MOST ? BIAS_MOST : n;
    n = n < samples ? n : samples;
    double look = recipe->equalize != PQ_EQUALIZE_OFF ? seconds_of_run(w) : 0;
    return samples * (look + calibrate) + n * (3 * run + 2 * means);
}

static double
guess_method(const pq_plan_work *w, const pq_method *m, double samples)
{
    double run = samples * seconds_of_run(w);
    double gram = samples * w->gram_macs / MACS_PER_SECOND;
    double loss = w->weight_columns / MACS_PER_SECOND;
    double seconds = 0;
    if (m->does_smooth) {
        seconds += run + gram;
    }
    if (m->does_awq) {
        seconds += run + gram + AWQ_TRIES * loss;
    }
    if (m->does_gptq) {
        seconds +=
            (m->is_asymmetric ? 2 : 1) * (run + gram) + GPTQ_TRIES * loss;
    }
    if (m->does_adaround) {
        // A product with the matrix, or two small ones, at half the rate.
        double step = m->learns_from_gram
                          ? loss
                          : 4 * ROUND_BATCH * w->weights / MACS_PER_SECOND;
        seconds += (m->learns_from_gram ? run + gram : 2 * run) +
                   ROUND_STEPS * (step + w->weights * SECONDS_PER_ROUND_STEP);
    }
    return seconds;
}

double
pq_plan_guess(const pq_plan_work *w, const pq_recipe *recipe,
              const pq_method *method, double samples)
{
    double seconds = guess_method(w, method, samples);
    return w->static_count > 0 ? seconds + guess_static(w, recipe, samples)
                               : seconds;
}
