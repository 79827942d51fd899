// SPDX-License-Identifier: Apache-2.0
//
// One scale, see share.h. Scales keep the largest element unless the recipe
// asks for a search: those that clip have a smaller squared error and make
// models worse, since the few largest weights matter most (SmolLM2-135M,
// 4 bits in groups of 64, nats per token: 3.22 narrow, 3.35 with a search that
// clips). Symmetric formats below 8 bits take the better of the narrow and the
// full-range meaning of "symmetric" (they cost 1.36 and 1.05 times the
// asymmetric error at 4 bits).

#include "quant/share.h"

#include <math.h>

#include "base/dtype.h"
#include "base/float16.h"
#include "base/mathfn.h"
#include "base/narrow.h"
#include "quant/linalg/micro.h"

#define F16_MIN_NORMAL 0x1p-14f

#define PIECE        256 // elements whose errors are summed in f32
#define SEARCH_STEPS 50  // the range shrinks in fiftieths ...
#define SEARCH_LEAST 10  // ... down to a fifth

// ---- codes ----------------------------------------------------------------

// How numbers become codes: q = rne(x / scale), within [lo, hi], or the
// nearest number of a narrow format.
typedef struct pq_coder {
    const pq_format *format;
    pq_params p;
    const pq_narrow *narrow; // NULL: integer codes
    float lo, hi;            // of code - zero point
} pq_coder;

void
pq_weight_code_range(const pq_scheme *scheme, int32_t *out_min,
                     int32_t *out_max)
{
    const pq_format *f = pq_format_find(scheme->format, scheme->bits);
    bool is_narrow = scheme->symmetric && f->bits >= 8;
    *out_min = is_narrow ? f->narrow_min : f->min;
    *out_max = f->max;
}

static pq_coder
coder_of(const pq_scheme *scheme, pq_params p)
{
    const pq_format *f = pq_format_find(scheme->format, scheme->bits);
    int32_t min;
    int32_t max;
    pq_weight_code_range(scheme, &min, &max);
    return (pq_coder){f, p, pq_narrow_of(f->dtype), (float)(min - p.zero_point),
                      (float)(max - p.zero_point)};
}

// The byte that stores x.
static uint8_t
encode(const pq_coder *c, float x)
{
    float t = x / c->p.scale;
    return c->narrow != NULL
               ? c->narrow->from_f32(t)
               : (uint8_t)(pq_round_code(t, c->lo, c->hi) + c->p.zero_point);
}

// x in units of the scale as its code keeps it.
static float
rounded(const pq_coder *c, float x)
{
    float t = x / c->p.scale;
    return c->narrow != NULL ? c->narrow->to_f32(c->narrow->from_f32(t))
                             : (float)pq_round_code(t, c->lo, c->hi);
}

void
pq_share_encode(const pq_share *s, const pq_scheme *scheme, pq_params p,
                uint8_t *out)
{
    pq_coder c = coder_of(scheme, p);
    for (int64_t r = 0; r < s->runs; r++) {
        const float *w = s->w + r * s->stride;
        uint8_t *to = out + r * s->stride;
        for (int64_t i = 0; i < s->length; i++) {
            to[i] = encode(&c, w[i]);
        }
    }
}

void
pq_share_decode(const pq_scheme *scheme, pq_params p, const uint8_t *codes,
                int64_t n, float *out)
{
    const pq_format *f = pq_format_find(scheme->format, scheme->bits);
    const pq_narrow *narrow = pq_narrow_of(f->dtype);
    for (int64_t i = 0; i < n && narrow != NULL; i++) {
        out[i] = narrow->to_f32(codes[i]) * p.scale;
    }
    // Integers, in two's complement when signed.
    int32_t sign = f->min < 0 ? 0x80 : 0;
    int32_t zero = p.zero_point + sign;
    for (int64_t i = 0; i < n && narrow == NULL; i++) {
        out[i] = (float)((codes[i] ^ sign) - zero) * p.scale;
    }
}

void
pq_share_residues(const pq_share *s, const pq_scheme *scheme, pq_params p,
                  float *e)
{
    pq_coder c = coder_of(scheme, p);
    const pq_micro *micro = pq_micro_best();
    for (int64_t r = 0; r < s->runs; r++) {
        const float *w = s->w + r * s->stride;
        float *to = e + r * s->stride;
        for (int64_t i = 0; i < s->length && c.narrow != NULL; i++) {
            to[i] = w[i] - rounded(&c, w[i]) * p.scale;
        }
        if (c.narrow == NULL) {
            micro->residues(w, s->length, p.scale, c.lo, c.hi, to);
        }
    }
}

// ---- scales ---------------------------------------------------------------

void
pq_share_range(const pq_share *s, float *out_min, float *out_max)
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

typedef struct pq_scale_choice {
    const pq_share *share;
    const pq_scheme *scheme;
    pq_params best;
    double least; // squared error of best
    const pq_micro *micro;
} pq_scale_choice;

// Elements of a share that lie together, or are brought together.
typedef struct pq_piece {
    const float *w;
    const float *importance; // or NULL
    int64_t n;
    float w_copy[PIECE], importance_copy[PIECE];
} pq_piece;

// The piece that begins with element `first` (counted over all runs).
static void
piece_at(const pq_share *s, int64_t first, pq_piece *out)
{
    int64_t i = first % s->length;
    const float *w = s->w + first / s->length * s->stride + i;
    int64_t left = s->runs * s->length - first;
    out->n = left < PIECE ? left : PIECE;
    out->w = out->w_copy;
    out->importance = s->importance != NULL ? out->importance_copy : NULL;
    if (s->length - i >= out->n) {
        out->w = w;
        out->importance = s->importance != NULL ? s->importance + i : NULL;
        return;
    }
    for (int64_t k = 0; k < out->n; k++) {
        out->w_copy[k] = *w++;
        out->importance_copy[k] = s->importance != NULL ? s->importance[i] : 1;
        if (++i == s->length) {
            i = 0;
            w += s->stride - s->length;
        }
    }
}

// Integers, in f32 within a piece: in units of the scale nothing overflows.
static double
integer_error(const pq_scale_choice *choice, const pq_coder *c)
{
    const pq_share *s = choice->share;
    double scale = (double)c->p.scale;
    double sum = 0;
    pq_piece piece;
    for (int64_t i = 0; i < s->runs * s->length; i += piece.n) {
        piece_at(s, i, &piece);
        sum += (double)choice->micro->rounding_error(
            piece.w, piece.importance, piece.n, c->p.scale, c->lo, c->hi);
    }
    return sum * scale * scale;
}

static double
squared_error(const pq_scale_choice *choice, pq_params p)
{
    const pq_share *s = choice->share;
    pq_coder c = coder_of(choice->scheme, p);
    if (c.narrow == NULL) {
        return integer_error(choice, &c);
    }
    double scale = (double)p.scale;
    double sum = 0;
    for (int64_t r = 0; r < s->runs; r++) {
        const float *w = s->w + r * s->stride;
        for (int64_t i = 0; i < s->length; i++) {
            double d = (double)w[i] - scale * (double)rounded(&c, w[i]);
            double factor =
                s->importance != NULL ? (double)s->importance[i] : 1;
            sum += factor * d * d;
        }
    }
    return sum;
}

static void
try_params(pq_scale_choice *choice, pq_params p)
{
    double error = squared_error(choice, p);
    if (error < choice->least) {
        choice->best = p;
        choice->least = error;
    }
}

// The scale as a number of the type that the scheme keeps it in. f16: one that
// no normal f16 is near stays as it is. f8e8m0 (OCP MX 1.0, 6.3): the power of
// two that the exponents of the largest number and the format's largest give,
// so that a float's codes may saturate by less than one step; integers do not
// clip.
static float
stored_scale(const pq_scheme *scheme, const pq_format *f, float scale)
{
    float half = pq_f16_to_f32(pq_f32_to_f16(scale));
    int exponent, format_exponent;
    switch ((int)pq_scheme_scale_format(scheme)) {
    case PTQC_F16:
        return half < F16_MIN_NORMAL || isinf(half) ? scale : half;
    case PTQC_BF16:
        half = pq_bf16_to_f32(pq_f32_to_bf16(scale));
        return isinf(half) ? scale : half;
    case PTQC_F8E8M0:
        if (!pq_dtype_is_float(f->dtype)) {
            float fraction = frexpf(scale, &exponent);
            return ldexpf(1.0f, exponent - (fraction == 0.5f));
        }
        (void)frexpf(scale * (float)f->max, &exponent);
        (void)frexpf((float)f->max, &format_exponent);
        exponent -= format_exponent;
        return ldexpf(1.0f, exponent < -126 ? -126 : exponent);
    default:
        return scale;
    }
}

float
pq_share_stored_scale(const pq_scheme *scheme, float scale)
{
    const pq_format *f = pq_format_find(scheme->format, scheme->bits);
    return copysignf(stored_scale(scheme, f, fabsf(scale)), scale);
}

static pq_params
params_of(const pq_scheme *scheme, const pq_format *f, float min, float max)
{
    pq_params p = pq_params_of_format(min, max, f, scheme->symmetric);
    float stored = stored_scale(scheme, f, p.scale);
    if (stored != p.scale && !scheme->symmetric) {
        p.zero_point = pq_zero_point_of(min, stored, f);
    }
    p.scale = stored;
    return p;
}

// Symmetric integers below 8 bits have two meanings of "symmetric".
static bool
has_full_range(const pq_scheme *scheme, const pq_format *f)
{
    return scheme->symmetric && f->bits < 8 && !pq_dtype_is_float(f->dtype);
}

// A power of two clips, or leaves the highest codes unused: the better one.
static bool
has_coarse_scale(const pq_scheme *scheme, const pq_format *f)
{
    return pq_dtype_is_float(f->dtype) &&
           pq_scheme_scale_format(scheme) == PTQC_F8E8M0;
}

// Scales that keep [min, max]. Symmetric codes below 8 bits have two: narrow,
// largest / (2^(b-1) - 1), and full range, -extreme / 2^(b-1), which is
// negative when the extreme is positive.
static void
try_range(pq_scale_choice *choice, const pq_format *f, float min, float max)
{
    pq_params p = params_of(choice->scheme, f, min, max);
    try_params(choice, p);
    if (has_full_range(choice->scheme, f)) {
        pq_format full = *f;
        full.max++;
        p = params_of(choice->scheme, &full, min, max);
        p.scale = max > -min ? -p.scale : p.scale;
        try_params(choice, p);
    }
    if (has_coarse_scale(choice->scheme, f)) {
        p.scale *= 2;
        try_params(choice, p);
    }
}

static pq_params
choose(const pq_share *s, const pq_scheme *scheme, pq_scale_search search)
{
    float min, max;
    const pq_format *f = pq_format_find(scheme->format, scheme->bits);
    pq_share_range(s, &min, &max);
    pq_params p = params_of(scheme, f, min, max);
    bool has_choice = search == PQ_SCALE_MSE || has_full_range(scheme, f) ||
                      has_coarse_scale(scheme, f);
    if (!has_choice || !(min < 0 || max > 0)) {
        return p;
    }
    pq_scale_choice choice = {s, scheme, p, HUGE_VAL, pq_micro_best()};
    int last = search == PQ_SCALE_MSE ? SEARCH_LEAST : SEARCH_STEPS;
    for (int i = SEARCH_STEPS; i >= last; i--) {
        float share = (float)i / SEARCH_STEPS;
        try_range(&choice, f, min * share, max * share);
    }
    return choice.best;
}

pq_params
pq_share_params_of_range(const pq_share *s, const pq_scheme *scheme, float min,
                         float max)
{
    const pq_format *f = pq_format_find(scheme->format, scheme->bits);
    pq_params p = params_of(scheme, f, min, max);
    pq_scale_choice choice = {s, scheme, p, HUGE_VAL, pq_micro_best()};
    if (has_full_range(scheme, f) && (min < 0 || max > 0)) {
        try_range(&choice, f, min, max);
    }
    return choice.best;
}

pq_params
pq_share_params(const pq_share *s, const pq_scheme *scheme,
                pq_scale_search search, float least_scale)
{
    pq_params p = choose(s, scheme, search);
    if (!(fabsf(p.scale) < least_scale)) {
        return p;
    }
    p.scale = least_scale;
    if (!scheme->symmetric) {
        float min, max;
        const pq_format *f = pq_format_of(scheme->format);
        pq_share_range(s, &min, &max);
        p.zero_point = pq_zero_point_of(min, p.scale, f);
    }
    return p;
}
