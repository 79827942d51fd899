// SPDX-License-Identifier: Apache-2.0
//
// Round-to-nearest quantization of plain arrays, see quantize.h. Symmetric
// formats below 8 bits take, group by group, the better of the narrow and the
// full-range meaning of "symmetric" (they cost 1.36 and 1.05 times the
// asymmetric error at 4 bits).

#include "quant/quantize.h"

#include <float.h>
#include <math.h>

#include "base/mathfn.h"

// ---- parameters -----------------------------------------------------------

static double
finite_of(float x)
{
    if (x != x) {
        return 0;
    }
    return x > FLT_MAX ? (double)FLT_MAX
                       : (x < -FLT_MAX ? -(double)FLT_MAX : (double)x);
}

// Scales below the smallest normal number lose bits; all of the range is then
// within a few codes of 0.
static float
scale_of(double range, double steps)
{
    float scale = (float)(range / steps);
    if (!(range > 0)) {
        return 1.0f;
    }
    return scale < FLT_MIN ? FLT_MIN : scale;
}

pq_params
pq_params_of_range(float min, float max, ptqc_dtype format, bool symmetric)
{
    const pq_format *f = pq_format_of(format);
    double lo = fmin(finite_of(min), 0);
    double hi = fmax(finite_of(max), 0);
    pq_params p = {1.0f, f->middle};
    if (symmetric) {
        double steps = (double)f->max - f->middle;
        p.scale = scale_of(fmax(-lo, hi), steps);
        return p;
    }
    p.scale = scale_of(hi - lo, (double)f->max - f->min);
    double zero = (double)f->min + rint(-lo / (double)p.scale);
    zero = fmin(fmax(zero, (double)f->min), (double)f->max);
    p.zero_point = (int32_t)zero;
    return p;
}

int32_t
pq_code_of(float x, pq_params p, ptqc_dtype format)
{
    const pq_format *f = pq_format_of(format);
    return pq_round_code(x / p.scale, (float)(f->min - p.zero_point),
                         (float)(f->max - p.zero_point)) +
           p.zero_point;
}

// ---- weights --------------------------------------------------------------

// A set of elements that share a scale: `runs` runs of `length` elements,
// `stride` apart.
typedef struct pq_share {
    const float *w;
    int64_t runs, length, stride;
} pq_share;

static void
range_of(const pq_share *s, float *out_min, float *out_max)
{
    float min = 0;
    float max = 0;
    for (int64_t r = 0; r < s->runs; r++) {
        const float *w = s->w + r * s->stride;
        for (int64_t i = 0; i < s->length; i++) {
            min = w[i] < min ? w[i] : min;
            max = w[i] > max ? w[i] : max;
        }
    }
    *out_min = min;
    *out_max = max;
}

static double
squared_error(const pq_share *s, pq_params p, ptqc_dtype format)
{
    double sum = 0;
    for (int64_t r = 0; r < s->runs; r++) {
        const float *w = s->w + r * s->stride;
        for (int64_t i = 0; i < s->length; i++) {
            int32_t q = pq_code_of(w[i], p, format) - p.zero_point;
            double d = (double)w[i] - (double)p.scale * (double)q;
            sum += d * d;
        }
    }
    return sum;
}

// The better of two scales that keep the largest element exact: narrow,
// largest / (2^(b-1) - 1), and full range, -extreme / 2^(b-1), which is
// negative when the extreme is positive. Scales that clip have a smaller
// error still and make models worse: the few largest weights matter most
// (SmolLM2-135M, 4 bits in groups of 64, nats per token: 3.22 narrow, 3.35
// with a search that clips).
static pq_params
choose_symmetric(const pq_share *s, float min, float max, ptqc_dtype format)
{
    const pq_format *f = pq_format_of(format);
    double lo = finite_of(min), hi = finite_of(max);
    double narrow = (double)f->max - f->middle;
    pq_params a = {scale_of(fmax(-lo, hi), narrow), f->middle};
    pq_params b = {scale_of(fmax(-lo, hi), narrow + 1), f->middle};
    b.scale = hi > -lo ? -b.scale : b.scale;
    return squared_error(s, b, format) < squared_error(s, a, format) ? b : a;
}

static pq_params
params_of_share(const pq_weights *ws, const pq_share *s, int64_t channel)
{
    float min, max;
    ptqc_dtype format = ws->scheme.format;
    range_of(s, &min, &max);
    pq_params p = pq_params_of_range(min, max, format, ws->scheme.symmetric);
    if (ws->least_scale != NULL && p.scale < ws->least_scale[channel]) {
        p.scale = ws->least_scale[channel];
        if (!ws->scheme.symmetric) {
            min = fminf(min, 0.0f);
            p.zero_point = pq_code_of(
                -min, (pq_params){p.scale, pq_format_of(format)->min}, format);
        }
        return p;
    }
    bool is_narrow_format = pq_format_of(format)->bits < 8;
    return ws->scheme.symmetric && is_narrow_format && (min < 0 || max > 0)
               ? choose_symmetric(s, min, max, format)
               : p;
}

static void
quantize_share(const pq_weights *ws, const pq_share *s, pq_params p,
               uint8_t *codes)
{
    const pq_format *f = pq_format_of(ws->scheme.format);
    bool is_narrow = ws->scheme.symmetric && f->bits >= 8;
    int32_t min = is_narrow ? f->narrow_min : f->min;
    for (int64_t r = 0; r < s->runs; r++) {
        const float *w = s->w + r * s->stride;
        uint8_t *to = codes + (s->w - ws->w) + r * s->stride;
        for (int64_t i = 0; i < s->length; i++) {
            int32_t q = pq_code_of(w[i], p, ws->scheme.format);
            to[i] = (uint8_t)(q < min ? min : q);
        }
    }
}

static int64_t
groups_of(const pq_weights *ws)
{
    int64_t group = (int64_t)ws->scheme.group;
    return ws->scheme.granularity == PQ_GRAN_GROUP && group > 0
               ? (ws->inner + group - 1) / group
               : 1;
}

int64_t
pq_weights_scale_count(const pq_weights *ws)
{
    return ws->scheme.granularity == PQ_GRAN_TENSOR
               ? 1
               : ws->channels * groups_of(ws);
}

static pq_share
share_at(const pq_weights *ws, int64_t channel, int64_t group)
{
    if (ws->scheme.granularity == PQ_GRAN_TENSOR) {
        return (pq_share){ws->w, 1, ws->outer * ws->channels * ws->inner, 0};
    }
    int64_t step = groups_of(ws) > 1 ? (int64_t)ws->scheme.group : ws->inner;
    int64_t first = group * step;
    int64_t left = ws->inner - first;
    return (pq_share){ws->w + channel * ws->inner + first, ws->outer,
                      left < step ? left : step, ws->channels * ws->inner};
}

void
pq_choose_weight_params(const pq_weights *ws, float *out_scales,
                        int32_t *out_zero_points)
{
    int64_t groups = groups_of(ws);
    int64_t count = pq_weights_scale_count(ws);
    for (int64_t i = 0; i < count; i++) {
        pq_share share = share_at(ws, i / groups, i % groups);
        pq_params p = params_of_share(ws, &share, i / groups);
        out_scales[i] = p.scale;
        out_zero_points[i] = p.zero_point;
    }
}

void
pq_encode_weights(const pq_weights *ws, const float *scales,
                  const int32_t *zero_points, uint8_t *out_codes)
{
    int64_t groups = groups_of(ws);
    int64_t count = pq_weights_scale_count(ws);
    for (int64_t i = 0; i < count; i++) {
        pq_share share = share_at(ws, i / groups, i % groups);
        pq_params p = {scales[i], zero_points[i]};
        quantize_share(ws, &share, p, out_codes);
    }
}
