// SPDX-License-Identifier: Apache-2.0
//
// Entropy: the range whose codes lose the least information about the
// distribution, KL(P | Q), after the recipe of TensorRT (Migacz, 8-bit
// Inference with TensorRT, 2017). Candidates keep an inner part of the
// histogram: P is that part with all that lies outside added to its last
// bins; Q has the part's own mass in as many equal shares as there are codes,
// each share spread evenly over its bins that are not empty.
//
// What implementations of the recipe get wrong, and this one does not:
// - zeros: a spike at 0 (ReLU) is not cured by copying a neighbouring bin, it
//   never enters the histogram (zeros are codes whatever the range)
// - shares of uneven size: bins that two shares cut are divided between them
// - Q = 0 where P > 0, which happens when the last bin is empty and takes what
//   lies outside: the divergence is infinite, the candidate is left out; no
//   smoothing that would hide it
// - candidates with fewer bins than codes: none
// - the number of codes is that of the format, not always 128
// KL does not know magnitudes: it is for ranges of activations of
// classifiers, not for weights.

#include <math.h>
#include <string.h>

#include "quant/observer.h"

#define BINS_PER_CODE 16 // at most: 2048 bins for 128 codes

// The histogram with bins joined in pairs until there are few enough.
typedef struct pq_fold {
    double *bins; // [count], owned by the caller
    int64_t first, count;
    double width;
} pq_fold;

static int64_t
largest_side(int64_t first, int64_t count)
{
    int64_t up = first + count;
    return -first > up ? -first : up;
}

// Of |x| for symmetric codes.
static void
fold(const pq_histogram *h, bool is_magnitude, int64_t limit, pq_fold *out)
{
    int shift = 0;
    int64_t first = h->first;
    int64_t last = h->first + h->count - 1;
    int64_t side = largest_side(h->first, h->count);
    while ((is_magnitude ? side : last - first + 1) > limit) {
        shift++;
        first = h->first >> shift; // to minus infinity, as bins are
        last = (h->first + h->count - 1) >> shift;
        side = (side + 1) >> 1;
    }
    out->first = is_magnitude ? 0 : first;
    out->count = is_magnitude ? side : last - first + 1;
    out->width = ldexp((double)h->width, shift);
    for (int64_t i = 0; i < h->count; i++) {
        int64_t bin = h->first + i;
        bin = is_magnitude && bin < 0 ? -1 - bin : bin;
        out->bins[(bin >> shift) - out->first] += (double)h->bins[i];
    }
}

// Shares of bins [begin, end): share k is [begin + k size, begin + (k+1) size).
typedef struct pq_shares {
    const pq_fold *h;
    int64_t begin, end;
    double size;
    double *mass, *full; // [codes] mass, and bins that are not empty
    int64_t codes;
} pq_shares;

// Calls for the shares that cut bin i: at most two, since size >= 1.
static void
cut(const pq_shares *s, int64_t i, int64_t out_share[2], double out_part[2])
{
    double at = (double)(i - s->begin) / s->size;
    int64_t k = (int64_t)at;
    k = k < s->codes ? k : s->codes - 1;
    double left = (double)(k + 1) * s->size - (double)(i - s->begin);
    bool is_cut = left < 1 && k + 1 < s->codes;
    out_share[0] = k;
    out_part[0] = is_cut ? left : 1;
    out_share[1] = is_cut ? k + 1 : k;
    out_part[1] = is_cut ? 1 - left : 0;
}

static void
collect(pq_shares *s)
{
    memset(s->mass, 0, (size_t)s->codes * sizeof *s->mass);
    memset(s->full, 0, (size_t)s->codes * sizeof *s->full);
    for (int64_t i = s->begin; i < s->end; i++) {
        double n = s->h->bins[i];
        int64_t share[2];
        double part[2];
        if (n > 0) {
            cut(s, i, share, part);
            for (int k = 0; k < 2; k++) {
                s->mass[share[k]] += part[k] * n;
                s->full[share[k]] += part[k];
            }
        }
    }
}

static double
spread(const pq_shares *s, int64_t i)
{
    int64_t share[2];
    double part[2];
    double q = 0;
    cut(s, i, share, part);
    for (int k = 0; k < 2; k++) {
        q += part[k] > 0 ? part[k] * s->mass[share[k]] / s->full[share[k]] : 0;
    }
    return q;
}

// KL(P | Q) of the candidate; infinite when Q misses something.
static double
divergence(pq_shares *s, double below, double above, double total)
{
    const double *h = s->h->bins;
    double inside = total - below - above;
    double sum = 0;
    if (!(inside > 0) || (below > 0 && !(h[s->begin] > 0)) ||
        (above > 0 && !(h[s->end - 1] > 0))) {
        return HUGE_VAL;
    }
    collect(s);
    for (int64_t i = s->begin; i < s->end; i++) {
        double p =
            h[i] + (i == s->begin ? below : 0) + (i == s->end - 1 ? above : 0);
        if (p > 0) {
            double q = spread(s, i) / inside;
            sum += p / total * log(p / total / q);
        }
    }
    return sum;
}

static double
mass_of(const pq_fold *h, int64_t begin, int64_t end)
{
    double sum = 0;
    for (int64_t i = begin; i < end; i++) {
        sum += h->bins[i];
    }
    return sum;
}

// Candidates from the smallest on; of equal ones the widest. Both sides shrink
// by the same share of what they had.
static void
search(const pq_fold *h, int64_t codes, double *mass, double *out_lo,
       double *out_hi)
{
    pq_shares s = {.h = h, .mass = mass, .full = mass + codes, .codes = codes};
    int64_t down = h->first < 0 ? -h->first : 0; // bins below 0
    int64_t up = h->first + h->count > 0 ? h->first + h->count : 0;
    double total = mass_of(h, 0, h->count);
    double least = HUGE_VAL;
    *out_lo = -(double)down * h->width;
    *out_hi = (double)up * h->width;
    int64_t longest = down > up ? down : up;
    for (int64_t n = 1; n <= longest; n++) {
        int64_t low = (down * n + longest - 1) / longest;
        int64_t high = (up * n + longest - 1) / longest;
        int64_t begin = -low - h->first;
        int64_t end = high - h->first;
        s.begin = begin < 0 ? 0 : begin;
        s.end = end > h->count ? h->count : end;
        if (s.end - s.begin < codes) {
            continue;
        }
        s.size = (double)(s.end - s.begin) / (double)codes;
        double kl = divergence(&s, mass_of(h, 0, s.begin),
                               mass_of(h, s.end, h->count), total);
        if (kl <= least) {
            least = kl;
            *out_lo = -(double)low * h->width;
            *out_hi = (double)high * h->width;
        }
    }
}

ptqc_status
pq_observe_entropy(const pq_observer *o, float *out_min, float *out_max)
{
    const pq_histogram *h = &o->histogram;
    const pq_format *f = pq_format_of(o->desc.format);
    bool is_symmetric = o->desc.symmetric;
    int64_t codes = is_symmetric ? (int64_t)f->max - f->middle + 1
                                 : (int64_t)f->max - f->min + 1;
    size_t room = (size_t)(codes * BINS_PER_CODE + 2);
    if (h->count == 0) {
        return PTQC_OK;
    }
    pq_fold folded = {.bins = pq_alloc_array(h->ctx, room, sizeof(double))};
    double *mass = pq_alloc_array(h->ctx, 2 * (size_t)codes, sizeof *mass);
    bool has_room = folded.bins != NULL && mass != NULL;
    if (has_room) {
        double lo, hi;
        fold(h, is_symmetric, codes * BINS_PER_CODE, &folded);
        search(&folded, codes, mass, &lo, &hi);
        *out_max = (float)hi;
        *out_min = is_symmetric ? (float)-hi : (float)lo;
    }
    pq_free(h->ctx, folded.bins);
    pq_free(h->ctx, mass);
    return has_room ? PTQC_OK : PTQC_E_RESOURCE;
}
