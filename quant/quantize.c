// SPDX-License-Identifier: Apache-2.0
//
// Round-to-nearest quantization of plain arrays, see quantize.h. How one scale
// is chosen: share.c.

#include "quant/quantize.h"

#include <float.h>
#include <math.h>

#include "base/mathfn.h"
#include "quant/share.h"

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

int32_t
pq_zero_point_of(float min, float scale, const pq_format *f)
{
    double lo = fmin(finite_of(min), 0);
    double zero = (double)f->min + rint(-lo / (double)scale);
    return (int32_t)fmin(fmax(zero, (double)f->min), (double)f->max);
}

pq_params
pq_params_of_format(float min, float max, const pq_format *f, bool symmetric)
{
    double lo = fmin(finite_of(min), 0);
    double hi = fmax(finite_of(max), 0);
    pq_params p = {1.0f, f->middle};
    if (symmetric) {
        double steps = (double)f->max - f->middle;
        p.scale = scale_of(fmax(-lo, hi), steps);
        return p;
    }
    p.scale = scale_of(hi - lo, (double)f->max - f->min);
    p.zero_point = pq_zero_point_of(min, p.scale, f);
    return p;
}

pq_params
pq_params_of_range(float min, float max, ptqc_dtype format, bool symmetric)
{
    return pq_params_of_format(min, max, pq_format_of(format), symmetric);
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

const char *
pq_scale_search_name(pq_scale_search search)
{
    return search == PQ_SCALE_MSE ? "mse" : "minmax";
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
        // Runs of inner elements where their factors differ.
        int64_t count = ws->outer * ws->channels;
        return ws->importance != NULL
                   ? (pq_share){ws->w, count, ws->inner, ws->inner,
                                ws->importance}
                   : (pq_share){ws->w, 1, count * ws->inner, 0, NULL};
    }
    int64_t step = groups_of(ws) > 1 ? (int64_t)ws->scheme.group : ws->inner;
    int64_t first = group * step;
    int64_t left = ws->inner - first;
    return (pq_share){ws->w + channel * ws->inner + first, ws->outer,
                      left < step ? left : step, ws->channels * ws->inner,
                      ws->importance != NULL ? ws->importance + first : NULL};
}

void
pq_choose_weight_params(const pq_weights *ws, float *out_scales,
                        int32_t *out_zero_points)
{
    int64_t groups = groups_of(ws);
    int64_t count = pq_weights_scale_count(ws);
    for (int64_t i = 0; i < count; i++) {
        pq_share share = share_at(ws, i / groups, i % groups);
        float least = ws->least_scale != NULL ? ws->least_scale[i / groups] : 0;
        pq_params p = pq_share_params(&share, &ws->scheme, ws->search, least);
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
        pq_share_encode(&share, &ws->scheme, p, out_codes + (share.w - ws->w));
    }
}

static void
decode_share(const pq_weights *ws, const pq_share *share, pq_params p,
             const uint8_t *codes, float *out)
{
    for (int64_t r = 0; r < share->runs; r++) {
        ptrdiff_t first = share->w - ws->w + r * share->stride;
        pq_share_decode(&ws->scheme, p, codes + first, share->length,
                        out + first);
    }
}

void
pq_decode_weights(const pq_weights *ws, const float *scales,
                  const int32_t *zero_points, const uint8_t *codes, float *out)
{
    int64_t groups = groups_of(ws);
    int64_t count = pq_weights_scale_count(ws);
    for (int64_t i = 0; i < count; i++) {
        pq_share share = share_at(ws, i / groups, i % groups);
        pq_params p = {scales[i], zero_points[i]};
        decode_share(ws, &share, p, codes, out);
    }
}
