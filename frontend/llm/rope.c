// SPDX-License-Identifier: Apache-2.0
//
// Rotary frequencies base^(-2 i / dims) and their scalings, computed in f64
// and rounded to f32 once:
//   linear  f / factor
//   llama3  by wavelength w = 2 pi / f, with c = original_context: f where
//           w < c / high, f / factor where w > c / low, between them
//           (1 - s) f / factor + s f, s = (c / w - low) / (high - low)
//           (transformers, modeling_rope_utils.py)
// A GGUF file may hold divisors of its own, rope_freqs.weight.
#include <math.h>

#include "base/bits.h"
#include "frontend/llm/builder.h"

static double
scale(const pq_llm_rope *r, double f)
{
    const double two_pi = 6.283185307179586;
    if (r->scaling == PQ_LLM_SCALING_NONE) {
        return f;
    }
    if (r->scaling == PQ_LLM_SCALING_LINEAR) {
        return f / r->factor;
    }
    double periods = r->original_context * f / two_pi;
    if (periods > r->high_freq_factor) {
        return f;
    }
    if (periods < r->low_freq_factor) {
        return f / r->factor;
    }
    double s = (periods - r->low_freq_factor) /
               (r->high_freq_factor - r->low_freq_factor);
    return (1.0 - s) * f / r->factor + s * f;
}

// NULL when the file has none.
static ptqc_status
find_divisors(pq_llm_builder *b, int64_t count, const pq_llm_tensor **out)
{
    *out = NULL;
    if (b->params->naming != PQ_LLM_GGUF) {
        return PTQC_OK;
    }
    pq_llm_tensor *t =
        pq_llm_tensor_find(b->tensors, PQ_STR("rope_freqs.weight"));
    if (t == NULL) {
        return PTQC_OK;
    }
    if (t->dtype != PTQC_F32 || t->rank != 1 || t->dims[0] != count) {
        return PQ_FAIL(b->ctx, PTQC_E_INPUT,
                       "%.*s: tensor 'rope_freqs.weight': expected f32 "
                       "[%lld]",
                       PQ_STR_ARG(b->model->files[0].path), (long long)count);
    }
    for (int64_t i = 0; i < count; i++) {
        float x = pq_load_f32(t->p + 4 * i);
        if (!(x > 0.0f) || !isfinite(x)) {
            return PQ_FAIL(b->ctx, PTQC_E_INPUT,
                           "%.*s: tensor 'rope_freqs.weight': expected finite "
                           "numbers above 0, found %g",
                           PQ_STR_ARG(b->model->files[0].path), (double)x);
        }
    }
    t->is_used = true;
    *out = t;
    return PTQC_OK;
}

ptqc_status
pq_llm_frequencies(pq_llm_builder *b, pq_value_id *out)
{
    const pq_llm_rope *r = &b->params->rope;
    const pq_llm_tensor *divisors;
    int64_t count = r->dims / 2;
    PQ_TRY(find_divisors(b, count, &divisors));
    float *f = pq_arena_array(pq_graph_arena(b->g), (size_t)count, sizeof *f);
    PQ_TRY_ALLOC(f);
    for (int64_t i = 0; i < count; i++) {
        double x = scale(r, pow(r->base, -2.0 * (double)i / (double)r->dims));
        if (divisors != NULL) {
            x /= (double)pq_load_f32(divisors->p + 4 * i);
        }
        f[i] = (float)x;
    }
    return pq_build_constant(b->g, PQ_STR("rope.frequencies"), PTQC_F32, &count,
                             1, f, out);
}
